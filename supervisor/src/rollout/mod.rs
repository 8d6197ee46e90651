//! How running instances come to be of a changed file: in steps, watched, and back to the last good version when the new
//! one is no good. Pure: what is seen goes in, what is to be done comes out. What is kept of it is one record of the
//! journal, written before anything follows from it, so that a daemon that comes after a kill or a power cut goes on.
#![forbid(unsafe_code)]

mod drive;
mod seats;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::drive::{Act, Driver, Plan, Seen, Side};
pub use self::seats::Seats;
use crate::clock::Boot;

/// So many versions of a service are kept.
pub const GENERATIONS_KEPT: usize = 10;

/// What is known of the versions of one service.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Updates {
    /// The last versions, oldest first; their texts are in the state directory.
    pub generations: Vec<Generation>,
    /// The number of the one in force.
    pub current: u64,
    /// What is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Rollout>,
    /// The number of the instance of a service that has one: the next one took the place of the one before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub single: Option<u32>,
    /// The version that is not put in force though its file may still be there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<Rejected>,
}

/// One version of a service that was in force.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Generation {
    /// Grows by one with each; never given twice.
    pub number: u64,
    /// Of the whole service.
    pub version: String,
    /// Of what makes a run.
    pub run_version: String,
    /// Since when it was in force first.
    pub at: Timestamp,
    /// It was rolled out whole, or all its instances were ready when the next one came.
    pub good: bool,
    /// What became of it, one line for people.
    pub note: String,
}

/// A version that is not tried again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rejected {
    /// Of the whole service.
    pub version: String,
    /// Its number.
    pub generation: u64,
    /// One line for people.
    pub why: String,
    /// Since when.
    pub at: Timestamp,
}

/// One rollout, from its first step to its end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rollout {
    /// The generation to go back to.
    pub from: u64,
    /// The generation that is rolled out.
    pub to: u64,
    /// Why it goes back; `None` = it goes forward.
    pub back: Option<String>,
    /// All steps are done; what is new is watched.
    pub watching: bool,
    /// Nothing more is done until somebody says so.
    pub paused: Option<Pause>,
    /// Instances of the new version.
    pub fresh: Vec<Member>,
    /// Instances that are being replaced.
    pub step: Vec<Member>,
    /// So many more instances than the service has, while old ones are replaced.
    pub surge: u32,
    /// They had their step.
    pub surged: bool,
    /// The first instances that were there before had their step, in this direction.
    pub begun: bool,
    /// Steps that are done, in this direction.
    pub steps: u32,
    /// Instances that failed while that is only to be said.
    pub given_up: BTreeSet<u32>,
    /// Nothing of the service is wanted up.
    pub idle: bool,
    /// Since when it is where it is.
    pub since: Boot,
    /// The boot that moment belongs to.
    pub boot_id: String,
}

/// An instance with the number of its last run before it was replaced: what later runs do is the doing of the other version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Which replica.
    pub replica: u32,
    /// Its last run before.
    pub after: u32,
}

/// Why nothing more is done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pause {
    /// One line for people.
    pub why: String,
    /// Because the new version is no good, and not because somebody said so.
    pub failed: bool,
}

impl Updates {
    /// A generation by its number.
    pub fn generation(&self, number: u64) -> Option<&Generation> {
        self.generations.iter().find(|g| g.number == number)
    }

    /// The same, to be changed.
    pub fn generation_mut(&mut self, number: u64) -> Option<&mut Generation> {
        self.generations.iter_mut().find(|g| g.number == number)
    }

    /// The last good version that is not this one.
    pub fn last_good(&self, but: &str) -> Option<&Generation> {
        self.generations.iter().rev().find(|g| g.good && g.version != but)
    }

    /// Takes a version in as the newest, and gives its number. One that makes the same runs as a good one is good.
    pub fn add(&mut self, version: String, run_version: String, at: Timestamp, note: String) -> u64 {
        let number = self.generations.iter().map(|g| g.number).max().unwrap_or(0) + 1;
        let good = self.generations.iter().any(|g| g.good && g.run_version == run_version);
        self.generations.retain(|g| g.version != version);
        self.generations.push(Generation { number, version, run_version, at, good, note });
        number
    }

    /// Lets the oldest go that are too many, and gives their numbers. What may still be gone back to stays.
    pub fn trim(&mut self) -> Vec<u64> {
        let mut gone = Vec::new();
        let pinned = |u: &Updates, n: u64| {
            n == u.current || u.rollout.as_ref().is_some_and(|r| r.from == n || r.to == n)
        };
        while self.generations.len() > GENERATIONS_KEPT {
            let last_good = self.last_good("").map(|g| g.number);
            let oldest = self.generations.iter().map(|g| g.number);
            let Some(oldest) = oldest.filter(|n| !pinned(self, *n) && Some(*n) != last_good).min() else {
                break;
            };
            self.generations.retain(|g| g.number != oldest);
            gone.push(oldest);
        }
        gone
    }

    /// The generation whose file is to be in force now.
    pub fn target(&self) -> u64 {
        match &self.rollout {
            Some(r) if r.back.is_some() => r.from,
            Some(r) => r.to,
            None => self.current,
        }
    }
}

impl Rollout {
    /// A rollout that has yet to begin its first step.
    pub fn new(from: u64, to: u64, now: Boot, boot_id: &str) -> Rollout {
        Rollout {
            from,
            to,
            back: None,
            watching: false,
            paused: None,
            fresh: Vec::new(),
            step: Vec::new(),
            surge: 0,
            surged: false,
            begun: false,
            steps: 0,
            given_up: BTreeSet::new(),
            idle: false,
            since: now,
            boot_id: boot_id.to_owned(),
        }
    }

    /// Whether the next run of an instance is of the version in force, and not of the other one.
    pub fn is_on_target(&self, replica: u32) -> bool {
        let fresh = self.fresh.iter().any(|m| m.replica == replica);
        fresh == self.back.is_none()
    }

    /// Goes back from here on: by its own judgement, or because somebody says so.
    pub fn turn_back(&mut self, why: String, now: Boot) {
        self.back = Some(why);
        (self.watching, self.surged, self.begun) = (false, false, false);
        (self.steps, self.since) = (0, now);
        self.paused = None;
        self.step.clear();
        self.given_up.clear();
    }

    /// Goes on after a pause. What failed before does not count any more.
    pub fn resume(&mut self, view: &[Seen], now: Boot) {
        if self.paused.take().is_some_and(|p| p.failed) {
            for member in self.fresh.iter_mut().chain(&mut self.step) {
                if let Some(seen) = view.iter().find(|s| s.replica == member.replica)
                    && seen.failed.as_ref().is_some_and(|(run, _)| *run > member.after)
                {
                    member.after = seen.failed.as_ref().map_or(member.after, |(run, _)| *run);
                }
            }
        }
        self.since = now;
    }
}
