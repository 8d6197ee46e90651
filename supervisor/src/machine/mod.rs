//! The life of one instance: state and event give state and effects. Pure, and every pair of both is written out.
//!
//! ```text
//! Down -> Waiting -> Queued -> Creating -> Starting -> Running -> Cleaning -> Backoff -> Waiting ...
//!          (dependencies) (slot)                       Stopping -^      \-> Done | Down
//! ```
//! A run exists from Creating to the end of Cleaning. Its end is journalled by the first effect of the step that learns
//! of it; nothing follows from an end before that. Where what is left of a run is in nobody's way and no pause was asked
//! for, the next run is made first and Cleaning is left out: see [`Behind`].
#![forbid(unsafe_code)]

mod end;
mod state;

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;

pub use self::state::{Behind, Effect, Event, Next, State};
use crate::clock::{Boot, Moment};
use crate::journal::record::Record;
use crate::names::{Instance, RunId};
use crate::policy::{Ending, Unwell, span};
use crate::unit::service::{Restart, Stop};

/// How long the kernel gets to end a killed container before it is killed again.
const KILL_PATIENCE: Duration = Duration::from_secs(10);
/// After so many kills without an end the instance is called stuck.
const KILLS: u32 = 5;
/// The pause before the first repeated clean-up; doubled up to [`CLEAN_PAUSE_MAX`].
const CLEAN_PAUSE: Duration = Duration::from_secs(5);
/// The longest pause between two clean-ups, and between two kills of a stuck container.
const CLEAN_PAUSE_MAX: Duration = Duration::from_secs(120);
/// After so many failed clean-ups the instance is called stuck.
const CLEANS: u32 = 5;
/// How long a container may hold its stop up by saying that it needs longer.
const EXTENDED_MAX: Duration = Duration::from_secs(3600);
/// How long a run that ended may lie beside the making of the next one, which needs the processors and the kernel's locks.
const BEHIND_MAX: Duration = Duration::from_secs(1);

/// The settings of the service that its life depends on.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// When it is started again.
    pub restart: &'a Restart,
    /// How it is stopped.
    pub stop: &'a Stop,
    /// Whether hooks run before its start.
    pub hooks: bool,
    /// Version of the service.
    pub version: &'a str,
    /// The kernel's id of this boot.
    pub boot_id: &'a str,
    /// Nothing that is left of this run is in the way of the next one.
    pub apart: bool,
    /// From when on its running counts for `restart.reset`.
    pub counts: Counts,
}

/// From when on the running of a run counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Counts {
    /// From its start.
    Started,
    /// From when it was ready first; `None` = it never was.
    Ready(Option<Boot>),
}

/// The moment of a step, and the chance that goes into it.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// On both clocks.
    pub moment: Moment,
    /// From 0 to 1, at random.
    pub jitter: f64,
}

/// One instance.
#[derive(Debug, Clone, PartialEq)]
pub struct Machine {
    /// Which one.
    pub instance: Instance,
    /// Wanted up.
    pub up: bool,
    /// Where it is.
    pub state: State,
    /// Since when.
    pub changed: (Boot, Timestamp),
    /// The last decision and its reason.
    pub reason: String,
    /// Failures in a row.
    pub failures: u32,
    /// When it failed lately, for the crash loop.
    pub recent: VecDeque<Boot>,
    /// Starts after an end, since a person started it.
    pub restarts: u32,
    /// The number of the last run.
    pub last_run: u32,
    /// The run before, while it has yet to be taken away.
    pub behind: Option<Behind>,
    /// The run that is being stopped was given more time, and that was told.
    pub extended: bool,
}

impl Machine {
    /// An instance that was never started.
    pub fn new(instance: Instance, now: Moment) -> Machine {
        Machine {
            instance,
            up: false,
            state: State::Down,
            changed: (now.boot, now.wall),
            reason: String::new(),
            failures: 0,
            recent: VecDeque::new(),
            restarts: 0,
            last_run: 0,
            behind: None,
            extended: false,
        }
    }

    /// The run that exists now.
    pub fn run(&self) -> Option<&RunId> {
        match &self.state {
            State::Creating { run, .. }
            | State::Starting { run, .. }
            | State::Running { run, .. }
            | State::Stopping { run, .. }
            | State::Cleaning { run, .. } => Some(run),
            State::Down
            | State::Waiting { .. }
            | State::Queued
            | State::Backoff { .. }
            | State::Done { .. } => None,
        }
    }

    /// When [`Event::Due`] is due.
    pub fn deadline(&self) -> Option<Boot> {
        let behind = self.behind.as_ref().and_then(|b| b.due);
        [self.state_deadline(), behind].into_iter().flatten().min()
    }

    fn state_deadline(&self) -> Option<Boot> {
        match &self.state {
            State::Waiting { deadline, .. } => *deadline,
            State::Stopping { kill_at, .. } => Some(*kill_at),
            State::Cleaning { retry_at, .. } => *retry_at,
            State::Backoff { until, .. } => Some(*until),
            State::Down
            | State::Queued
            | State::Creating { .. }
            | State::Starting { .. }
            | State::Running { .. }
            | State::Done { .. } => None,
        }
    }

    /// The word for it in `ps`.
    pub fn word(&self) -> &'static str {
        match &self.state {
            State::Down => "held",
            State::Waiting { .. } | State::Queued => "waiting",
            State::Creating { .. } => "creating",
            State::Starting { .. } => "starting",
            State::Running { .. } => "running",
            State::Stopping { kills, .. } if *kills > KILLS => "stuck",
            State::Stopping { .. } => "stopping",
            State::Cleaning { failed, .. } if *failed > CLEANS => "stuck",
            State::Cleaning { next: Next::Goal, .. } => "stopping",
            State::Cleaning { next: Next::Pause { crash_loop, .. }, .. }
            | State::Backoff { crash_loop, .. } => {
                if *crash_loop {
                    "crashloop"
                } else {
                    "backoff"
                }
            }
            State::Cleaning { next: Next::Done { success }, .. } | State::Done { success } => {
                if *success {
                    "exited"
                } else {
                    "failed"
                }
            }
        }
    }

    /// Takes one event in.
    pub fn step(&mut self, event: Event, now: Now, rules: Rules<'_>) -> Vec<Effect> {
        let before = self.word();
        let mut out = Vec::new();
        match event {
            Event::Up { fresh } => self.on_up(fresh, &mut out),
            Event::Unwanted { why } => self.on_unwanted(&why, &mut out),
            Event::Down { why } => self.on_down(why, now, rules, &mut out),
            Event::Again { why } => self.on_again(why, now, rules, &mut out),
            Event::Unwell { why, grace, stays_down } => {
                self.on_unwell(why, grace, stays_down, now, rules, &mut out);
            }
            Event::Extend { until } => self.on_extend(until, now, &mut out),
            Event::Overdue { why } => self.on_overdue(why, now, rules, &mut out),
            Event::Evicted { why, grace } => self.on_evicted(why, grace, now, rules, &mut out),
            Event::DependenciesMet => self.on_met(),
            Event::DependenciesUnmet { on, deadline } => self.on_unmet(on, deadline, &mut out),
            Event::Turn => self.on_turn(rules, &mut out),
            Event::Prepared => self.on_prepared(),
            Event::Created { pid } => self.on_created(pid, &mut out),
            Event::Started => self.on_started(now, &mut out),
            Event::NeverRan { code, text, exit } => {
                self.on_end(Ending::NeverRan { code, text }, exit, now, rules, &mut out);
            }
            Event::Ended(exit) => self.on_end(Ending::Seen(exit.clone()), Some(exit), now, rules, &mut out),
            Event::Lost(ending) => {
                let exit = if let Ending::Reboot(exit) = &ending { exit.as_deref().cloned() } else { None };
                self.on_end(ending, exit, now, rules, &mut out);
            }
            Event::Cleaned => self.on_cleaned(now),
            Event::CleanFailed(text) => self.on_clean_failed(text, now, &mut out),
            Event::Behind(result) => self.on_behind(result, now, &mut out),
            Event::Due => self.on_due(now, rules, &mut out),
        }
        self.look_behind(&mut out);
        if self.word() != before {
            self.changed = (now.moment.boot, now.moment.wall);
        }
        out
    }

    fn on_up(&mut self, fresh: bool, out: &mut Vec<Effect>) {
        if fresh {
            self.forget_failures();
        }
        let was_up = std::mem::replace(&mut self.up, true);
        match &mut self.state {
            State::Down => self.wait("started"),
            State::Stopping { unwell, .. } if fresh => *unwell = None,
            State::Backoff { .. } if fresh => self.wait("started by hand"),
            State::Done { .. } if fresh => self.wait("started"),
            // The clean-up of a stopped run goes on; then what is wanted counts.
            State::Cleaning { next, .. } if fresh || !was_up => *next = Next::Goal,
            State::Backoff { .. } | State::Done { .. } | State::Cleaning { .. } => {}
            State::Waiting { .. }
            | State::Queued
            | State::Creating { .. }
            | State::Starting { .. }
            | State::Running { .. }
            | State::Stopping { .. } => {}
        }
        if !was_up {
            out.push(Effect::Tell("wanted-up", "wanted up".into()));
        }
    }

    fn on_unwanted(&mut self, why: &str, out: &mut Vec<Effect>) {
        if std::mem::replace(&mut self.up, false) {
            out.push(Effect::Tell("wanted-down", why.to_owned()));
        }
        why.clone_into(&mut self.reason);
        match &mut self.state {
            State::Down
            | State::Waiting { .. }
            | State::Queued
            | State::Backoff { .. }
            | State::Done { .. } => {
                self.state = State::Down;
            }
            State::Cleaning { next, .. } => *next = Next::Goal,
            State::Creating { .. }
            | State::Starting { .. }
            | State::Running { .. }
            | State::Stopping { .. } => {}
        }
    }

    fn on_down(&mut self, why: String, now: Now, rules: Rules<'_>, out: &mut Vec<Effect>) {
        self.on_unwanted(&why, out);
        self.forgive();
        self.end_run(&why, None, now, rules, out);
    }

    /// Somebody wants the run to end: that it was about to be stopped anyhow is no failure any more.
    fn forgive(&mut self) {
        if let State::Stopping { unwell, .. } = &mut self.state {
            *unwell = None;
        }
    }

    fn on_unwell(
        &mut self,
        why: String,
        grace: Option<Duration>,
        stays_down: bool,
        now: Now,
        rules: Rules<'_>,
        out: &mut Vec<Effect>,
    ) {
        let State::Running { since, .. } = &self.state else { return };
        // One that is not wanted any more only waits for its turn.
        if !self.up {
            return;
        }
        let ran = end::ran(rules, *since, now.moment.boot);
        let own = Stop { grace: grace.unwrap_or(rules.stop.grace), ..rules.stop.clone() };
        let unwell = Unwell { why, stays_down, ran, overdue: false, evicted: false };
        let rules = Rules { stop: &own, ..rules };
        self.end_run("unhealthy", Some(unwell), now, rules, out);
    }

    fn on_overdue(&mut self, why: String, now: Now, rules: Rules<'_>, out: &mut Vec<Effect>) {
        let State::Running { since, .. } = &self.state else { return };
        if self.up {
            let ran = end::ran(rules, *since, now.moment.boot);
            let unwell = Unwell { why: why.clone(), stays_down: false, ran, overdue: true, evicted: false };
            self.end_run(&why, Some(unwell), now, rules, out);
        }
    }

    fn on_evicted(
        &mut self,
        why: String,
        grace: Duration,
        now: Now,
        rules: Rules<'_>,
        out: &mut Vec<Effect>,
    ) {
        let State::Running { since, .. } = &self.state else { return };
        if self.up {
            let ran = end::ran(rules, *since, now.moment.boot);
            let unwell = Unwell { why: why.clone(), stays_down: false, ran, overdue: false, evicted: true };
            let stop = Stop { grace, ..rules.stop.clone() };
            let rules = Rules { stop: &stop, ..rules };
            self.end_run(&why, Some(unwell), now, rules, out);
        }
    }

    /// Who was killed already is not asked any more.
    fn on_extend(&mut self, until: Boot, now: Now, out: &mut Vec<Effect>) {
        let most = self.changed.0.after(EXTENDED_MAX);
        let State::Stopping { run, kill_at, kills: 0, .. } = &mut self.state else { return };
        let later = until.min(most);
        if later <= *kill_at {
            return;
        }
        *kill_at = later;
        // A run may ask every second; the first time is news.
        if !std::mem::replace(&mut self.extended, true) {
            let (left, most) = (span(later.since(now.moment.boot)), span(EXTENDED_MAX));
            let text =
                format!("{run} asks for longer: not killed for another {left}, for {most} in all at most");
            out.push(Effect::Tell("stop-extended", text));
        }
    }

    fn on_again(&mut self, why: String, now: Now, rules: Rules<'_>, out: &mut Vec<Effect>) {
        self.up = true;
        self.forget_failures();
        self.reason.clone_from(&why);
        self.forgive();
        self.end_run(&why, None, now, rules, out);
        match &mut self.state {
            State::Down | State::Backoff { .. } | State::Done { .. } => self.wait(&why),
            State::Waiting { .. } | State::Queued => {}
            State::Cleaning { next, .. } => *next = Next::Goal,
            State::Creating { .. }
            | State::Starting { .. }
            | State::Running { .. }
            | State::Stopping { .. } => {}
        }
    }

    /// Tells a run that exists to end: by its signal when it runs, else at once.
    fn end_run(
        &mut self,
        why: &str,
        unwell: Option<Unwell>,
        now: Now,
        rules: Rules<'_>,
        out: &mut Vec<Effect>,
    ) {
        let (run, pid, gently) = match &self.state {
            State::Creating { run, hooks } => (run.clone(), None, *hooks),
            State::Starting { run, pid } => (run.clone(), Some(*pid), false),
            State::Running { run, pid, .. } => (run.clone(), Some(*pid), true),
            State::Stopping { .. } | State::Cleaning { .. } => return,
            State::Down
            | State::Waiting { .. }
            | State::Queued
            | State::Backoff { .. }
            | State::Done { .. } => return,
        };
        self.extended = false;
        out.push(Effect::Journal(Box::new(Record::Stopping { run: run.clone(), unwell: unwell.clone() })));
        let signal = &rules.stop.signal;
        if gently && signal.name != "KILL" {
            let grace = span(rules.stop.grace);
            let (what, effect) = match pid {
                Some(_) => (format!("SIG{}", signal.name), Effect::Stop(run.clone(), signal.clone())),
                None => ("SIGTERM to its pre-start hook".to_owned(), Effect::Cut(run.clone())),
            };
            out.push(Effect::Tell("stopping", format!("{why}: {what}, killed after {grace}")));
            out.push(effect);
            let kill_at = now.moment.boot.after(rules.stop.grace);
            self.state = State::Stopping { run, pid, kill_at, kills: 0, unwell };
        } else {
            out.push(Effect::Tell("stopping", format!("{why}: killed")));
            out.push(Effect::Kill(run.clone()));
            let kill_at = now.moment.boot.after(KILL_PATIENCE);
            self.state = State::Stopping { run, pid, kill_at, kills: 1, unwell };
        }
    }

    fn on_met(&mut self) {
        match &self.state {
            State::Waiting { .. } => self.state = State::Queued,
            State::Down
            | State::Queued
            | State::Creating { .. }
            | State::Starting { .. }
            | State::Running { .. }
            | State::Stopping { .. }
            | State::Cleaning { .. }
            | State::Backoff { .. }
            | State::Done { .. } => {}
        }
    }

    fn on_unmet(&mut self, on: String, deadline: Option<Boot>, out: &mut Vec<Effect>) {
        match &mut self.state {
            State::Waiting { on: old, deadline: limit } => {
                if *old != on {
                    out.push(Effect::Tell("waiting", format!("waits for {on}")));
                }
                (*old, *limit) = (on, deadline);
            }
            State::Queued => {
                out.push(Effect::Tell("waiting", format!("waits for {on}")));
                self.state = State::Waiting { on, deadline };
            }
            State::Down
            | State::Creating { .. }
            | State::Starting { .. }
            | State::Running { .. }
            | State::Stopping { .. }
            | State::Cleaning { .. }
            | State::Backoff { .. }
            | State::Done { .. } => {}
        }
    }

    fn on_turn(&mut self, rules: Rules<'_>, out: &mut Vec<Effect>) {
        match &self.state {
            State::Queued => {
                self.last_run += 1;
                let run = RunId { instance: self.instance.clone(), run: self.last_run };
                out.push(Effect::Journal(Box::new(Record::Intent {
                    run: run.clone(),
                    boot_id: rules.boot_id.to_owned(),
                    version: rules.version.to_owned(),
                    restarts: self.restarts,
                })));
                let first = if rules.hooks { ", first its pre-start hooks" } else { "" };
                out.push(Effect::Tell("creating", format!("makes {run}{first}")));
                out.push(Effect::Launch(run.clone()));
                self.state = State::Creating { run, hooks: rules.hooks };
            }
            State::Down
            | State::Waiting { .. }
            | State::Creating { .. }
            | State::Starting { .. }
            | State::Running { .. }
            | State::Stopping { .. }
            | State::Cleaning { .. }
            | State::Backoff { .. }
            | State::Done { .. } => {}
        }
    }

    fn on_prepared(&mut self) {
        if let State::Creating { hooks, .. } = &mut self.state {
            *hooks = false;
        }
    }

    fn on_created(&mut self, new: u32, out: &mut Vec<Effect>) {
        match &mut self.state {
            State::Creating { run, .. } => {
                let run = run.clone();
                out.push(Effect::Start(run.clone()));
                self.state = State::Starting { run, pid: new };
            }
            // The kill may have met nobody.
            State::Stopping { run, pid, .. } => {
                if pid.is_none() {
                    out.push(Effect::Kill(run.clone()));
                }
                *pid = Some(new);
            }
            State::Down
            | State::Waiting { .. }
            | State::Queued
            | State::Starting { .. }
            | State::Running { .. }
            | State::Cleaning { .. }
            | State::Backoff { .. }
            | State::Done { .. } => {}
        }
    }

    fn on_started(&mut self, now: Now, out: &mut Vec<Effect>) {
        match &self.state {
            State::Starting { run, pid } => {
                let (run, pid, since) = (run.clone(), *pid, now.moment.boot);
                out.push(Effect::Journal(Box::new(Record::Started { run: run.clone(), pid, at: since })));
                out.push(Effect::Tell("started", format!("runs as process {pid}")));
                self.reason = "runs".into();
                self.state = State::Running { run, pid, since };
            }
            State::Down
            | State::Waiting { .. }
            | State::Queued
            | State::Creating { .. }
            | State::Running { .. }
            | State::Stopping { .. }
            | State::Cleaning { .. }
            | State::Backoff { .. }
            | State::Done { .. } => {}
        }
    }

    fn on_cleaned(&mut self, now: Now) {
        let next = match &self.state {
            State::Cleaning { next, .. } => *next,
            State::Down
            | State::Waiting { .. }
            | State::Queued
            | State::Creating { .. }
            | State::Starting { .. }
            | State::Running { .. }
            | State::Stopping { .. }
            | State::Backoff { .. }
            | State::Done { .. } => return,
        };
        match next {
            _ if !self.up => self.state = State::Down,
            Next::Goal => self.wait("started"),
            Next::Done { success } => self.state = State::Done { success },
            Next::Pause { until, .. } if until <= now.moment.boot => self.restart(),
            Next::Pause { until, crash_loop } => self.state = State::Backoff { until, crash_loop },
        }
    }

    fn on_clean_failed(&mut self, text: String, now: Now, out: &mut Vec<Effect>) {
        match &mut self.state {
            State::Cleaning { run, failed, retry_at, .. } => {
                *failed = failed.saturating_add(1);
                let (pause, told) = clean_again(run, *failed, &text);
                *retry_at = Some(now.moment.boot.after(pause));
                out.push(told);
                self.reason = format!("{run} cannot be taken away: {text}");
            }
            State::Down
            | State::Waiting { .. }
            | State::Queued
            | State::Creating { .. }
            | State::Starting { .. }
            | State::Running { .. }
            | State::Stopping { .. }
            | State::Backoff { .. }
            | State::Done { .. } => {}
        }
    }

    fn on_behind(&mut self, result: Result<(), String>, now: Now, out: &mut Vec<Effect>) {
        let Some(behind) = &mut self.behind else { return };
        let Err(text) = result else {
            self.behind = None;
            return;
        };
        behind.failed = behind.failed.saturating_add(1);
        let (pause, told) = clean_again(&behind.run, behind.failed, &text);
        behind.due = Some(now.moment.boot.after(pause));
        out.push(told);
    }

    /// The run before is taken away when the next one is made, or will not be; nothing is down or done while it is there.
    fn look_behind(&mut self, out: &mut Vec<Effect>) {
        let Some(behind) = &mut self.behind else { return };
        let next = match &self.state {
            State::Waiting { .. } | State::Queued | State::Creating { .. } | State::Starting { .. } => return,
            State::Running { .. }
            | State::Stopping { .. }
            | State::Cleaning { .. }
            | State::Backoff { .. } => None,
            State::Down => Some(Next::Goal),
            State::Done { success } => Some(Next::Done { success: *success }),
        };
        if behind.failed == 0 && behind.due.take().is_some() {
            out.push(Effect::Clean(behind.run.clone()));
        }
        if let Some((next, behind)) = next.zip(self.behind.take_if(|_| next.is_some())) {
            let Behind { run, failed, due } = behind;
            self.state = State::Cleaning { run, next, failed, retry_at: due };
        }
    }

    fn on_due(&mut self, now: Now, rules: Rules<'_>, out: &mut Vec<Effect>) {
        let boot = now.moment.boot;
        if let Some(behind) = self.behind.as_mut().filter(|b| b.due.is_some_and(|d| d <= boot)) {
            behind.due = None;
            out.push(Effect::Clean(behind.run.clone()));
        }
        if self.state_deadline().is_none_or(|d| d > boot) {
            return;
        }
        match &mut self.state {
            State::Waiting { on, .. } => {
                let text = format!("waited too long for {on}");
                let ending = Ending::NeverRan { code: "dependency-timeout".into(), text };
                out.push(Effect::Tell("start-failed", ending.text()));
                let (next, _, told) = self.decide(&ending, Duration::ZERO, now, rules);
                out.push(told);
                self.state = match next {
                    Next::Done { success } => State::Done { success },
                    Next::Pause { until, crash_loop } => State::Backoff { until, crash_loop },
                    Next::Goal => State::Down,
                };
            }
            State::Stopping { run, kill_at, kills, unwell, .. } => {
                *kills = kills.saturating_add(1);
                let stuck = *kills > KILLS;
                *kill_at = boot.after(if stuck { CLEAN_PAUSE_MAX } else { KILL_PATIENCE });
                let (kind, text) = if stuck {
                    ("stuck", format!("{run} does not end after {KILLS} kills"))
                } else {
                    let waited = match *kills {
                        1 if unwell.is_some() => "its grace".to_owned(),
                        1 => format!("its grace of {}", span(rules.stop.grace)),
                        _ => format!("{} of being killed", span(KILL_PATIENCE)),
                    };
                    ("killed", format!("{run} did not end within {waited}, killed"))
                };
                out.push(Effect::Tell(kind, text));
                out.push(Effect::Kill(run.clone()));
            }
            State::Cleaning { run, retry_at, .. } => {
                *retry_at = None;
                out.push(Effect::Clean(run.clone()));
            }
            State::Backoff { .. } => self.restart(),
            State::Down
            | State::Queued
            | State::Creating { .. }
            | State::Starting { .. }
            | State::Running { .. }
            | State::Done { .. } => {}
        }
    }

    fn restart(&mut self) {
        self.restarts = self.restarts.saturating_add(1);
        let reason = std::mem::take(&mut self.reason);
        self.wait(&reason);
    }

    fn wait(&mut self, reason: &str) {
        self.reason = reason.to_owned();
        self.state = State::Waiting { on: String::new(), deadline: None };
    }

    fn forget_failures(&mut self) {
        (self.failures, self.restarts) = (0, 0);
        self.recent.clear();
    }
}

/// The pause after so many failed attempts to take a run away, and what is told.
fn clean_again(run: &RunId, failed: u32, text: &str) -> (Duration, Effect) {
    let pause = CLEAN_PAUSE.saturating_mul(1 << failed.saturating_sub(1).min(8)).min(CLEAN_PAUSE_MAX);
    let kind = if failed > CLEANS { "stuck" } else { "clean-failed" };
    (pause, Effect::Tell(kind, format!("{run} cannot be taken away, again in {}: {text}", span(pause))))
}

#[cfg(test)]
mod tests;
