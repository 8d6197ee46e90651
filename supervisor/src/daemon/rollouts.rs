//! Rollouts under way: what is seen of instances goes to [`crate::rollout`], and what comes out of it is done, after it is
//! on disk.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;

use tracing::warn;

use super::desired::InForce;
use super::owner::{Owner, Slot};
use crate::clock::{Boot, Moment};
use crate::journal::record::Kept;
use crate::machine::State;
use crate::names::{Instance, ServiceName};
use crate::rollout::{Act, Driver, Plan, Rejected, Seen, Side, Updates};

/// A service that is being rolled out.
#[derive(Debug)]
pub(super) struct Rolling {
    /// How far it is.
    pub(super) driver: Driver,
    /// The version that is not in force: forward the old one, back the new one.
    pub(super) other: InForce,
}

impl Owner {
    /// When the next rollout has something to do by the clock.
    pub(super) fn rollout_due(&self) -> Option<Boot> {
        let now = Boot::now();
        let due = |(name, r): (&ServiceName, &Rolling)| {
            r.driver.due(&self.rollout_plan(name)?, &self.rollout_view(name), now)
        };
        self.rolling.iter().filter_map(due).min()
    }

    /// Moves all rollouts on.
    pub(super) fn settle_rollouts(&mut self) -> bool {
        let mut moved = false;
        // The next boot goes on with them.
        if self.going_down.is_some() {
            return moved;
        }
        for name in self.rolling.keys().cloned().collect::<Vec<_>>() {
            while self.step_rollout(&name) {
                moved = true;
            }
        }
        moved
    }

    fn step_rollout(&mut self, name: &ServiceName) -> bool {
        let Some(plan) = self.rollout_plan(name) else { return false };
        let view = self.rollout_view(name);
        let Some(rolling) = self.rolling.get_mut(name) else { return false };
        let before = rolling.driver.rollout.clone();
        let acts = rolling.driver.step(&plan, &view, Boot::now());
        if acts.is_empty() && rolling.driver.rollout == before {
            return false;
        }
        self.keep_rollout(name, &acts);
        acts.into_iter().for_each(|act| self.carry_on(name, act));
        true
    }

    /// Writes how far it is. Everything that follows from it can be done again by the next daemon.
    pub(super) fn keep_rollout(&mut self, name: &ServiceName, acts: &[Act]) {
        let Some(rolling) = self.rolling.get(name) else { return };
        let rollout = rolling.driver.rollout.clone();
        let mut updates = self.journal.image().updates.get(name).cloned().unwrap_or_default();
        if acts.contains(&Act::GoBack) {
            updates.current = rollout.from;
            reject(&mut updates, rollout.to, rollout.back.clone().unwrap_or_default());
        }
        if let Some(number) = acts.iter().find_map(|a| if let Act::Seat(n) = a { Some(*n) } else { None }) {
            updates.single = Some(number);
        }
        if acts.contains(&Act::Finish) {
            if let Some(generation) = updates.generation_mut(rollout.to).filter(|_| rollout.back.is_none()) {
                let failed: Vec<_> = rollout.given_up.iter().map(u32::to_string).collect();
                generation.good |= failed.is_empty();
                generation.note = match failed.is_empty() {
                    true => "complete".into(),
                    false => format!("complete, though replica {} failed", failed.join(", ")),
                };
            }
            updates.rollout = None;
            updates.single = updates.single.filter(|_| self.seats(name).single().is_some());
        } else {
            updates.rollout = Some(rollout);
        }
        self.keep_versions(name, updates);
    }

    fn carry_on(&mut self, name: &ServiceName, act: Act) {
        match act {
            Act::Tell(replica, kind, text) => self.tell(Some(name), replica, kind, text),
            // It is written, and that is all that there is to do.
            Act::Seat(_) => {}
            Act::Match => self.match_instances(name, None),
            Act::Replace { replica, why } => {
                self.replace_in_turn(&Instance { service: name.clone(), replica }, &why);
            }
            Act::FirstStep => self.restart_parts(name),
            Act::LastStep => {
                let all: BTreeSet<_> = self.slots_of(name).map(|s| s.machine.instance.clone()).collect();
                self.restart_dependents(&all);
            }
            Act::GoBack => self.go_back(name),
            Act::Finish => self.finish_rollout(name),
        }
    }

    /// The version that is gone back to is in force from now on.
    pub(super) fn go_back(&mut self, name: &ServiceName) {
        let (Some(rolling), Some(new)) = (self.rolling.get_mut(name), self.services.get_mut(name)) else {
            return;
        };
        std::mem::swap(&mut rolling.other, new);
        let text = new.text.clone();
        // The journal has it: the next daemon would put it in force as well.
        if !self.accept(name, &text) {
            warn!("{name}: generation to go back to is in force and not accepted yet");
        }
        self.change_probes(name);
        self.match_instances(name, None);
        // Its file is looked at again: what is wrong with it is known from now on.
        let wanted = self.wanted(&[]);
        self.apply(wanted);
    }

    fn finish_rollout(&mut self, name: &ServiceName) {
        let Some(Rolling { driver, .. }) = self.rolling.remove(name) else { return };
        let rollout = driver.rollout;
        let (kind, text) = match rollout.back {
            None => ("rollout-complete", format!("generation {} is rolled out", rollout.to)),
            Some(why) => ("rolled-back", format!("generation {} is in force again: {why}", rollout.from)),
        };
        self.tell(Some(name), None, kind, text);
    }

    /// What a rollout goes by: the file that is rolled out, also on the way back.
    pub(super) fn rollout_plan(&self, name: &ServiceName) -> Option<Plan> {
        let rolling = self.rolling.get(name)?;
        let service = &self.services.get(name)?.service;
        let update = &service.update;
        let updates = self.journal.image().updates.get(name)?;
        Some(Plan {
            seats: self.seats(name),
            order: update.order,
            parallelism: update.parallelism,
            min_healthy: update.min_healthy,
            deadline: update.progress_deadline,
            watch: update.watched(&service.probes),
            on_failure: update.on_failure,
            can_go_back: updates.generation(rolling.driver.rollout.from).is_some_and(|g| g.good),
        })
    }

    /// What is seen of the instances of a service.
    pub(super) fn rollout_view(&self, name: &ServiceName) -> Vec<Seen> {
        let target = self.services.get(name);
        self.slots_of(name).map(|slot| self.see(slot, target)).collect()
    }

    fn see(&self, slot: &Slot, target: Option<&InForce>) -> Seen {
        let machine = &slot.machine;
        let made = slot.made_from.as_ref().map_or("", |(_, version)| version.as_str());
        let side = if target.is_some_and(|f| f.makes(made)) { Side::Target } else { Side::Other };
        let watched = slot.watched.as_ref().filter(|w| machine.run() == Some(&w.run));
        let unwell = watched.filter(|w| w.health.known().started && w.health.known().unwell);
        Seen {
            replica: machine.instance.replica,
            up: machine.up && slot.down_pending.is_none(),
            last_run: machine.last_run,
            side: machine.run().map(|_| side),
            ready: self.ready_since(slot).filter(|_| slot.again_pending.is_none()),
            unwell: unwell.and_then(|w| w.health.unready_because()),
            done: machine.state == State::Done { success: true },
            failed: self.journal.image().instances.get(&machine.instance).and_then(failed),
        }
    }

    /// Goes on with what an earlier daemon was about to do: the version that the journal names is in force.
    pub(super) fn resume_rollouts(&mut self) {
        let all: Vec<_> = self.journal.image().updates.iter().map(|(n, u)| (n.clone(), u.clone())).collect();
        for (name, updates) in all {
            if let Some(in_force) = self.services.get(&name) {
                let version = in_force.version.clone();
                self.resume_rollout(&name, updates, &version);
            }
        }
    }

    fn resume_rollout(&mut self, name: &ServiceName, mut updates: Updates, accepted: &str) {
        let number = updates.target();
        let refused = updates.rejected.as_ref().is_some_and(|r| r.version == accepted);
        if updates.rollout.is_none() && !refused {
            return;
        }
        let written = updates.generation(number).is_none_or(|g| g.version == accepted);
        if !written && let Some(target) = self.read_generation(name, number) {
            self.accept(name, &target.text.clone());
            self.services.insert(name.clone(), target);
        }
        let Some(mut rollout) = updates.rollout.take() else { return };
        let other = if rollout.back.is_some() { rollout.to } else { rollout.from };
        let Some(other) = self.read_generation(name, other) else {
            let text = "the version before cannot be read; what runs is replaced at once".to_owned();
            self.keep_versions(name, updates);
            return self.tell(Some(name), None, "rollout-lost", text);
        };
        if rollout.boot_id != self.boot_id {
            (rollout.since, rollout.boot_id) = (Moment::now().boot, self.boot_id.clone());
        }
        self.rolling.insert(name.clone(), Rolling { driver: Driver::new(rollout), other });
    }
}

/// Marks a generation as one that is not tried again.
pub(super) fn reject(updates: &mut Updates, number: u64, why: String) {
    let Some(generation) = updates.generation_mut(number) else { return };
    generation.good = false;
    generation.note = format!("rolled back: {why}");
    let version = generation.version.clone();
    updates.rejected = Some(Rejected { version, generation: number, why, at: Moment::now().wall });
}

/// The last run that ended as a failure: the policy counted it, or it was started again after it.
fn failed(kept: &Kept) -> Option<(u32, String)> {
    let last = kept.exits.back()?;
    let again = kept.open.as_ref().is_some_and(|o| o.run > last.run) && kept.restarts > 0;
    let bad = kept.failures > 0 || kept.finished == Some(false) || (again && last.exit.is_some());
    bad.then(|| (last.run, last.text.clone()))
}
