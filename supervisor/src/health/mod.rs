//! What follows from looking at a run: when the next look is due, whether the run is up, well and ready, and what its
//! operator has to be told. Pure: moments and answers go in, decisions come out.
//!
//! The startup probe holds the others back until it has passed. Liveness begins as passing, readiness as failing. A run
//! that is not well is given up, and nobody looks at it again, unless `on_unhealthy` is `none`.
#![forbid(unsafe_code)]

pub mod pressure;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::pressure::pressure;
use crate::clock::{Boot, Moment};
use crate::probe::{Kind, Outcome, Verdict};
use crate::unit::service::{OnUnhealthy, Probe, Probes, Role};

/// How many answers of a probe are kept.
pub const LOOKS_KEPT: usize = 5;
/// For so long a timeout is excused by pressure on the host, from the first one on.
const EXCUSED_MAX: Duration = Duration::from_secs(60);

/// One answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Look {
    /// When it was there.
    pub at: Timestamp,
    /// What it was.
    pub outcome: Outcome,
    /// Why it does not count, when it does not.
    pub excused: Option<String>,
}

/// Where a probe stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It never answered, and that counts as no.
    Unknown,
    /// It passes.
    Passing,
    /// It fails.
    Failing,
}

/// One probe of one run.
#[derive(Debug, Clone)]
pub struct Track {
    /// Which of the three.
    pub role: Role,
    /// What is asked.
    pub probe: Probe,
    /// Where it stands.
    pub standing: Standing,
    /// Failures in a row that counted.
    pub failures: u32,
    /// Passes in a row.
    passes: u32,
    /// When it is asked next; `None` = it is being asked, or nobody asks.
    next: Option<Boot>,
    under_way: bool,
    /// The last answers, oldest first.
    pub looks: VecDeque<Look>,
    /// The first failure of the last row of failures.
    pub first_failing: Option<Look>,
    excused_since: Option<Boot>,
    /// Looks in a row that could not be made.
    errors: u32,
    /// What is under way was asked by an older version of the probe: its answer does not count.
    stale: bool,
}

/// What is known of a run, and outlives the daemon.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Its startup probe has passed.
    pub started: bool,
    /// Its startup or liveness probe fails.
    pub unwell: bool,
    /// Its readiness probe passes.
    pub passes: bool,
    /// When it was ready first.
    pub ready_since: Option<Boot>,
    /// Since when it is ready, without a gap; `None` = it is not.
    #[serde(default)]
    pub ready_now: Option<Boot>,
}

/// What follows from an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// Tell people: a kind and a line.
    Tell(&'static str, String),
    /// It is to be stopped.
    GiveUp {
        /// Which probe failed how.
        why: String,
        /// Stands in for `stop.grace`.
        grace: Option<Duration>,
        /// It stays down.
        stays_down: bool,
    },
}

/// A question that is due.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// Whose.
    pub role: Role,
    /// What is asked.
    pub kind: Kind,
    /// How long an answer may take.
    pub timeout: Duration,
    /// When it was due.
    pub due: Boot,
    /// The last answer did not come in time.
    pub slow: bool,
    /// From one to the next.
    pub period: Duration,
}

/// The probes of one run.
#[derive(Debug, Clone)]
pub struct Health {
    tracks: Vec<Track>,
    on_unhealthy: OnUnhealthy,
    known: Known,
    /// Nobody looks any more.
    over: bool,
}

impl Track {
    fn new(role: Role, probe: &Probe) -> Track {
        Track {
            role,
            probe: probe.clone(),
            standing: if role == Role::Liveness { Standing::Passing } else { Standing::Unknown },
            failures: 0,
            passes: 0,
            next: None,
            under_way: false,
            looks: VecDeque::new(),
            first_failing: None,
            excused_since: None,
            errors: 0,
            stale: false,
        }
    }

    /// When it is asked first, from when it may be. Who has to tell something each period is given the first one for it.
    fn first(&self, from: Boot) -> Boot {
        let told = self.role == Role::Liveness && self.probe.kind == Kind::Push;
        from.after(self.probe.initial_delay + if told { self.probe.period } else { Duration::ZERO })
    }

    /// Whether it gates the others, or is one of those that are gated and the gate is open.
    fn is_asked(&self, started: bool) -> bool {
        (self.role == Role::Startup) != started
    }

    fn question(&mut self, now: Boot) -> Option<Question> {
        let due = self.next.take_if(|t| *t <= now)?;
        self.under_way = true;
        let slow = self.looks.back().is_some_and(|l| l.outcome.verdict == Verdict::TimedOut);
        Some(Question {
            role: self.role,
            kind: self.probe.kind.clone(),
            timeout: self.probe.timeout,
            due,
            slow,
            period: self.probe.period,
        })
    }

    /// Keeps an answer and counts it: the new standing, when it is another one.
    fn count(&mut self, look: Look) -> Option<Standing> {
        match look.outcome.verdict {
            Verdict::Pass => {
                (self.failures, self.excused_since) = (0, None);
                self.passes = self.passes.saturating_add(1);
            }
            Verdict::Fail | Verdict::TimedOut if look.excused.is_none() => {
                self.passes = 0;
                self.failures = self.failures.saturating_add(1);
                if self.failures == 1 {
                    self.first_failing = Some(look.clone());
                }
            }
            Verdict::Fail | Verdict::TimedOut | Verdict::Error => {}
        }
        self.looks.push_back(look);
        while self.looks.len() > LOOKS_KEPT {
            self.looks.pop_front();
        }
        let standing = if self.passes >= self.probe.success_threshold {
            Standing::Passing
        } else if self.failures >= self.probe.failure_threshold {
            Standing::Failing
        } else {
            self.standing
        };
        (std::mem::replace(&mut self.standing, standing) != standing).then_some(standing)
    }

    /// Whether a timeout does not count because of the host: not for readiness, which ends nothing, and not for ever.
    fn is_excused(&mut self, verdict: Verdict, now: Boot, pressure: bool) -> bool {
        if self.role == Role::Readiness || verdict != Verdict::TimedOut || !pressure {
            return false;
        }
        let since = *self.excused_since.get_or_insert(now);
        now.since(since) < EXCUSED_MAX
    }

    fn failed_text(&self) -> String {
        let last = self.looks.back().map_or("", |l| l.outcome.text.as_str());
        let times =
            if self.failures == 1 { "once".into() } else { format!("{} times in a row", self.failures) };
        format!("{} probe failed {times}: {last}", self.role.word())
    }
}

impl Health {
    /// Of a run that begins now.
    pub fn of_new_run(probes: &Probes, now: Boot) -> Health {
        let known = Known { started: probes.startup.is_none(), ..Known::default() };
        let mut health = Health::with(probes, known);
        health.schedule_asked(|track| track.first(now));
        health.note_ready(now);
        health
    }

    /// Of a run that goes on: what was known holds, and the first looks are spread over a period. `chance` is from 0 to 1.
    /// `began` = since when nothing else is known of it: what is ready by that alone is so since then.
    pub fn of_old_run(
        probes: &Probes,
        known: Known,
        began: Boot,
        now: Boot,
        mut chance: impl FnMut() -> f64,
    ) -> Health {
        let mut health = Health::with(probes, known);
        health.schedule_asked(|track| match track.probe.kind {
            // Nobody is asked, and nobody's period is cut short.
            Kind::Push => now.after(track.probe.period),
            _ => now.after(track.probe.period.mul_f64(chance().clamp(0.0, 1.0))),
        });
        health.note_ready(began);
        health
    }

    fn with(probes: &Probes, known: Known) -> Health {
        let mut known = known;
        known.started |= probes.startup.is_none();
        known.passes &= probes.readiness.is_some();
        // One that was to be given up, and is still there, is looked at anew.
        known.unwell &= probes.on_unhealthy == OnUnhealthy::None;
        known.unwell &= probes.startup.is_some() || probes.liveness.is_some();
        let tracks = Role::ALL.into_iter().filter_map(|role| Some(Track::new(role, probes.of(role)?)));
        let mut tracks: Vec<_> = tracks.collect();
        for track in &mut tracks {
            track.standing = match track.role {
                Role::Startup if known.started => Standing::Passing,
                Role::Readiness if known.passes => Standing::Passing,
                Role::Liveness if known.unwell && known.started => Standing::Failing,
                Role::Startup if known.unwell => Standing::Failing,
                _ => track.standing,
            };
        }
        Health { tracks, on_unhealthy: probes.on_unhealthy, known, over: false }
    }

    /// The same run by changed probes: what was known holds, and what changed begins to count anew.
    pub fn change(&mut self, probes: &Probes, now: Boot) {
        let mut known = self.known;
        // It runs already: a gate that comes late keeps nobody out.
        known.started |= !self.tracks.iter().any(|t| t.role == Role::Startup);
        let mut new = Health::with(probes, known);
        let same_action = self.on_unhealthy == probes.on_unhealthy;
        for track in &mut new.tracks {
            let old = self.tracks.iter().position(|old| old.role == track.role);
            match old.map(|at| self.tracks.swap_remove(at)) {
                Some(old) if old.probe == track.probe && same_action => *track = old,
                Some(old) => (track.under_way, track.stale) = (old.under_way, old.under_way),
                None => {}
            }
            if track.next.is_none() && !track.under_way && track.is_asked(new.known.started) {
                track.next = Some(now.after(track.probe.period));
            }
        }
        if self.over {
            new.stop();
        }
        new.note_ready(now);
        *self = new;
    }

    fn schedule_asked(&mut self, mut at: impl FnMut(&Track) -> Boot) {
        for track in self.tracks.iter_mut().filter(|t| t.is_asked(self.known.started)) {
            track.next = Some(at(track));
        }
    }

    /// When the next look is due.
    pub fn due(&self) -> Option<Boot> {
        self.tracks.iter().filter_map(|t| t.next).min()
    }

    /// What is to be asked now. Each answer comes back by [`Health::answered`].
    pub fn questions(&mut self, now: Boot) -> Vec<Question> {
        self.tracks.iter_mut().filter_map(|t| t.question(now)).collect()
    }

    /// A probe that is told has been: it is looked at now.
    pub fn told(&mut self, role: Role, now: Boot) {
        let (started, over) = (self.known.started, self.over);
        let told = |t: &&mut Track| t.role == role && t.probe.kind == Kind::Push && !t.under_way;
        if let Some(track) = self.tracks.iter_mut().find(told).filter(|t| !over && t.is_asked(started)) {
            track.next = Some(now);
        }
    }

    /// A question that was given out is asked again then instead.
    pub fn postpone(&mut self, role: Role, until: Boot) {
        let over = self.over;
        if let Some(track) = self.tracks.iter_mut().find(|t| t.role == role && t.under_way) {
            track.under_way = false;
            track.next = (!over).then_some(until);
        }
    }

    /// Nobody looks any more: the run is being stopped, or is over.
    pub fn stop(&mut self) {
        self.over = true;
        self.tracks.iter_mut().for_each(|t| t.next = None);
    }

    /// An answer has come. `pressure` = why the host is under pressure, and is asked for only when that matters.
    pub fn answered(
        &mut self,
        role: Role,
        outcome: Outcome,
        now: Moment,
        pressure: impl FnOnce() -> Option<String>,
    ) -> Vec<Decision> {
        let mut out = Vec::new();
        let over = self.over;
        let Some(track) = self.tracks.iter_mut().find(|t| t.role == role && t.under_way) else { return out };
        track.under_way = false;
        if over {
            return out;
        }
        track.next = Some(now.boot.after(track.probe.period));
        if std::mem::take(&mut track.stale) {
            return out;
        }
        let pressure = (outcome.verdict == Verdict::TimedOut).then(pressure).flatten();
        let first = track.excused_since.is_none();
        let excused = pressure.filter(|_| track.is_excused(outcome.verdict, now.boot, true));
        // Of a row of them only the first is news.
        if let Some(why) = excused.as_ref().filter(|_| first) {
            let text = format!("a timeout of the {} probe does not count: {why}", role.word());
            out.push(Decision::Tell("probe-excused", text));
        }
        track.errors = if outcome.verdict == Verdict::Error { track.errors.saturating_add(1) } else { 0 };
        // Once is no news: the container may just have ended.
        if track.errors == 2 {
            let text = format!("the {} probe could not look: {}", role.word(), outcome.text);
            out.push(Decision::Tell("probe-error", text));
        }
        let was_ready = self.is_ready();
        if let Some(standing) = self.count(role, Look { at: now.wall, outcome, excused }) {
            self.stands(role, standing, now.boot, &mut out);
        }
        self.note_ready(now.boot);
        self.tell_ready(was_ready, &mut out);
        out
    }

    fn count(&mut self, role: Role, look: Look) -> Option<Standing> {
        self.tracks.iter_mut().find(|t| t.role == role)?.count(look)
    }

    /// A probe stands somewhere else than before.
    fn stands(&mut self, role: Role, standing: Standing, now: Boot, out: &mut Vec<Decision>) {
        let Some(track) = self.track(role) else { return };
        let (text, grace) = (track.failed_text(), track.probe.grace);
        match (role, standing) {
            (Role::Readiness, _) => self.known.passes = standing == Standing::Passing,
            (Role::Startup, Standing::Passing) => {
                (self.known.started, self.known.unwell) = (true, false);
                out.push(Decision::Tell("startup-passed", "its startup probe has passed".into()));
                self.tracks.iter_mut().for_each(|t| t.next = None);
                self.schedule_asked(|track| track.first(now));
            }
            (Role::Liveness, Standing::Passing) => {
                self.known.unwell = false;
                out.push(Decision::Tell("healthy", "its liveness probe passes again".into()));
            }
            (Role::Startup | Role::Liveness, Standing::Failing) => {
                self.known.unwell = true;
                out.push(Decision::Tell("unhealthy", text.clone()));
                if self.on_unhealthy != OnUnhealthy::None {
                    self.stop();
                    let stays_down = self.on_unhealthy == OnUnhealthy::Stop;
                    out.push(Decision::GiveUp { why: text, grace, stays_down });
                }
            }
            (Role::Startup | Role::Liveness, Standing::Unknown) => {}
        }
    }

    /// Only a readiness probe is worth a word of its own: what else makes ready or not is told as what it is.
    fn tell_ready(&self, was: bool, out: &mut Vec<Decision>) {
        let Some(track) = self.track(Role::Readiness) else { return };
        match (was, self.is_ready()) {
            (false, true) => out.push(Decision::Tell("ready", "it is ready".into())),
            (true, false) if !self.known.unwell => out.push(Decision::Tell("unready", track.failed_text())),
            _ => {}
        }
    }

    fn note_ready(&mut self, now: Boot) {
        if self.is_ready() {
            self.known.ready_since.get_or_insert(now);
            self.known.ready_now.get_or_insert(now);
        } else {
            self.known.ready_now = None;
        }
    }

    fn track(&self, role: Role) -> Option<&Track> {
        self.tracks.iter().find(|t| t.role == role)
    }

    /// The probes, startup first.
    pub fn tracks(&self) -> &[Track] {
        &self.tracks
    }

    /// What outlives the daemon.
    pub fn known(&self) -> Known {
        self.known
    }

    /// Its startup probe has passed and its liveness probe does not fail.
    pub fn is_well(&self) -> bool {
        self.known.started && !self.known.unwell
    }

    /// It is well and can be used.
    pub fn is_ready(&self) -> bool {
        self.is_well() && (self.known.passes || self.track(Role::Readiness).is_none())
    }

    /// Why it is not ready, one line for people; `None` = it is.
    pub fn unready_because(&self) -> Option<String> {
        if self.is_ready() {
            return None;
        }
        let role = match self.known {
            Known { started: false, .. } => Role::Startup,
            Known { unwell: true, .. } => Role::Liveness,
            _ => Role::Readiness,
        };
        let track = self.track(role)?;
        Some(match track.looks.back() {
            _ if track.failures > 0 => track.failed_text(),
            Some(look) if look.outcome.verdict != Verdict::Pass => {
                format!("{} probe: {}", role.word(), look.outcome.text)
            }
            _ => format!("{} probe has yet to pass", role.word()),
        })
    }
}
