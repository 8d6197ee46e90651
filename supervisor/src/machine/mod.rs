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
mod tests {
    use super::*;
    use crate::keeper::record::{End, ExitRecord, VERSION};
    use crate::unit::service::Service;

    struct Trial {
        machine: Machine,
        service: Service,
        seconds: u64,
        apart: bool,
        counts: Counts,
    }

    impl Trial {
        fn new(policy: crate::unit::service::Policy) -> Trial {
            let mut service = Service::unknown(&"web".parse().unwrap());
            service.restart.policy = policy;
            let machine = Machine::new("web.1".parse().unwrap(), moment(0));
            Trial { machine, service, seconds: 0, apart: false, counts: Counts::Started }
        }

        fn step(&mut self, event: Event) -> Vec<Effect> {
            let rules = Rules {
                restart: &self.service.restart,
                stop: &self.service.stop,
                hooks: !self.service.hooks.pre_start.is_empty(),
                version: "v",
                boot_id: "b",
                apart: self.apart,
                counts: self.counts,
            };
            self.machine.step(event, Now { moment: moment(self.seconds), jitter: 0.0 }, rules)
        }

        fn run(&mut self) {
            self.step(Event::Up { fresh: true });
            self.start();
        }

        fn start(&mut self) {
            self.step(Event::DependenciesMet);
            assert!(matches!(self.step(Event::Turn).last(), Some(Effect::Launch(_))));
            assert!(matches!(self.step(Event::Created { pid: 7 }).last(), Some(Effect::Start(_))));
            self.step(Event::Started);
            assert_eq!(self.machine.word(), "running");
        }

        fn exit(&mut self, code: u8) -> Vec<Effect> {
            let run = self.machine.run().unwrap().clone();
            let at = moment(self.seconds);
            self.step(Event::Ended(ExitRecord {
                version: VERSION,
                run,
                boot_id: "b".into(),
                end: End::Exited { code },
                pid: 7,
                started: at.boot,
                ended: at.boot,
                ended_wall: at.wall,
                memory: Box::default(),
                log_dropped: 0,
                victim: None,
            }))
        }
    }

    fn moment(seconds: u64) -> Moment {
        Moment { boot: Boot(Duration::from_secs(seconds)), wall: Timestamp::UNIX_EPOCH }
    }

    use crate::unit::service::Policy::{No, OnFailure, UnlessStopped};

    #[test]
    fn a_death_is_written_before_anything_follows_from_it() {
        let mut t = Trial::new(UnlessStopped);
        t.run();
        let effects = t.exit(3);
        assert!(
            matches!(&effects[0], Effect::Journal(r) if matches!(**r, Record::Ended { failures: 1, .. }))
        );
        assert!(matches!(effects[1], Effect::Ack(_)));
        assert!(matches!(effects.last(), Some(Effect::Clean(_))));
        // The same word again is only acknowledged.
        assert!(matches!(t.exit(3)[..], [Effect::Ack(_)]));
        t.step(Event::Cleaned);
        assert_eq!(t.machine.deadline(), Some(Boot(Duration::from_secs(1))));
        assert!(t.step(Event::Due).is_empty(), "not yet due");
        t.seconds = 1;
        t.step(Event::Due);
        t.start();
        assert_eq!((t.machine.last_run, t.machine.restarts), (2, 1));
    }

    #[test]
    fn the_next_run_is_made_before_the_last_one_is_taken_away() {
        let cleaned = |effects: &[Effect]| {
            effects
                .iter()
                .filter_map(|e| if let Effect::Clean(r) = e { Some(r.run) } else { None })
                .next_back()
        };
        let mut t = Trial::new(UnlessStopped);
        (t.service.restart.delay, t.service.restart.max_delay, t.apart) =
            (Duration::ZERO, Duration::ZERO, true);
        t.run();
        let effects = t.exit(3);
        assert!(
            matches!(&effects[0], Effect::Journal(r) if matches!(**r, Record::Ended { failures: 1, .. }))
        );
        assert!(matches!(effects[1], Effect::Ack(_)) && cleaned(&effects).is_none(), "{effects:?}");
        t.step(Event::DependenciesMet);
        t.step(Event::Turn);
        assert_eq!(cleaned(&t.step(Event::Created { pid: 8 })), None);
        assert_eq!(cleaned(&t.step(Event::Started)), Some(1));
        // The second death comes before the first is taken away: then no third run is made meanwhile.
        assert_eq!(cleaned(&t.exit(3)), Some(2));
        assert_eq!(t.machine.word(), "backoff");
        // A failed clean-up is repeated and keeps nothing else up.
        assert!(matches!(&t.step(Event::Behind(Err("busy".into())))[..], [Effect::Tell("clean-failed", _)]));
        t.step(Event::Cleaned);
        t.start();
        assert_eq!(t.machine.deadline(), Some(Boot(Duration::from_secs(5))));
        t.seconds = 5;
        assert_eq!(cleaned(&t.step(Event::Due)), Some(1));
        t.step(Event::Behind(Ok(())));
        assert_eq!((t.machine.deadline(), &t.machine.behind), (None, &None));
    }

    #[test]
    fn nothing_is_down_while_the_run_before_is_there() {
        let mut t = Trial::new(UnlessStopped);
        (t.service.restart.delay, t.service.restart.max_delay, t.apart) =
            (Duration::ZERO, Duration::ZERO, true);
        t.run();
        t.exit(3);
        assert_eq!(t.machine.word(), "waiting");
        let effects = t.step(Event::Down { why: "stopped by hand".into() });
        assert!(matches!(effects.last(), Some(Effect::Clean(run)) if run.run == 1), "{effects:?}");
        assert_eq!(t.machine.word(), "stopping");
        t.step(Event::Cleaned);
        assert_eq!(t.machine.state, State::Down);
        // Where the next run has to wait it is not kept for long.
        t.run();
        t.exit(3);
        assert_eq!(t.machine.deadline(), Some(moment(0).boot.after(BEHIND_MAX)));
        t.seconds = 1;
        assert!(matches!(t.step(Event::Due)[..], [Effect::Clean(_)]));
        assert_eq!((t.machine.word(), t.machine.deadline()), ("waiting", None));
    }

    #[test]
    fn who_is_stopped_may_ask_for_longer_within_a_bound() {
        let mut t = Trial::new(UnlessStopped);
        t.service.stop.grace = Duration::from_secs(10);
        t.run();
        t.step(Event::Extend { until: moment(50).boot });
        assert_eq!(t.machine.deadline(), None);
        t.seconds = 100;
        t.step(Event::Down { why: "stopped by hand".into() });
        // Never shorter than the grace, and what was asked for once is not taken back.
        for (until, kill_at, told) in [(105, 110, 0), (130, 130, 1), (120, 130, 0), (90_000, 3700, 0)] {
            let effects = t.step(Event::Extend { until: moment(until).boot });
            assert_eq!(t.machine.deadline(), Some(moment(kill_at).boot), "{until}");
            let said = effects.iter().filter(|e| matches!(e, Effect::Tell("stop-extended", _))).count();
            assert_eq!(said, told, "{until}: {effects:?}");
        }
        t.seconds = 3700;
        assert!(matches!(t.step(Event::Due).last(), Some(Effect::Kill(_))));
        let after = t.machine.deadline();
        t.step(Event::Extend { until: moment(7000).boot });
        assert_eq!(t.machine.deadline(), after, "it was killed");
    }

    fn unwell(stays_down: bool) -> Event {
        Event::Unwell { why: "liveness probe failed".into(), grace: Some(Duration::from_secs(3)), stays_down }
    }

    #[test]
    fn who_is_not_well_is_stopped_and_that_is_a_failure() {
        let mut t = Trial::new(UnlessStopped);
        t.run();
        let effects = t.step(unwell(false));
        assert!(
            matches!(&effects[0], Effect::Journal(r) if matches!(&**r, Record::Stopping { unwell: Some(_), .. }))
        );
        assert!(effects.iter().any(|e| matches!(e, Effect::Stop(_, s) if s.name == "TERM")));
        assert_eq!((t.machine.word(), t.machine.deadline()), ("stopping", Some(moment(3).boot)));
        let effects = t.exit(0);
        assert!(
            matches!(&effects[0], Effect::Journal(r) if matches!(&**r, Record::Ended { failures: 1, text, .. }
                if text == "unhealthy (liveness probe failed), exited 0"))
        );
        t.step(Event::Cleaned);
        assert_eq!(t.machine.word(), "backoff");
        // Once more, and it is to stay down.
        t.seconds = 1;
        t.step(Event::Due);
        t.start();
        t.step(unwell(true));
        t.exit(143);
        t.step(Event::Cleaned);
        assert_eq!(t.machine.word(), "failed");
    }

    #[test]
    fn a_wish_while_it_is_given_up_counts_more() {
        for wish in
            [Event::Down { why: "w".into() }, Event::Again { why: "w".into() }, Event::Up { fresh: true }]
        {
            let mut t = Trial::new(UnlessStopped);
            t.run();
            t.step(unwell(true));
            t.step(wish.clone());
            let effects = t.exit(143);
            assert!(
                matches!(&effects[0], Effect::Journal(r) if matches!(&**r, Record::Ended { failures: 0, finished: None, .. })),
                "{wish:?}: {effects:?}"
            );
        }
        // One that only waits for its turn to be stopped is left alone.
        let mut t = Trial::new(UnlessStopped);
        t.run();
        t.step(Event::Unwanted { why: "w".into() });
        assert!(t.step(unwell(false)).is_empty());
    }

    #[test]
    fn a_long_run_that_was_never_ready_is_no_healthy_one() {
        for (counts, pause) in
            [(Counts::Started, 0), (Counts::Ready(None), 2), (Counts::Ready(Some(moment(10).boot)), 0)]
        {
            let mut t = Trial::new(UnlessStopped);
            t.counts = counts;
            t.machine.failures = 1;
            t.run();
            t.machine.failures = 1;
            t.seconds = 130;
            t.exit(1);
            let State::Cleaning { next: Next::Pause { until, .. }, .. } = t.machine.state else { panic!() };
            assert_eq!(until.since(moment(130).boot), Duration::from_secs(pause), "{counts:?}");
        }
    }

    #[test]
    fn an_eviction_is_nobodys_failure_and_does_not_count() {
        for policy in [UnlessStopped, No, OnFailure(Some(1))] {
            let mut t = Trial::new(policy);
            t.machine.failures = 1;
            t.run();
            t.machine.failures = 1;
            let effects =
                t.step(Event::Evicted { why: "evicted: memory".into(), grace: Duration::from_secs(2) });
            assert!(effects.iter().any(|e| matches!(e, Effect::Stop(_, s) if s.name == "TERM")));
            assert_eq!(t.machine.deadline(), Some(moment(2).boot));
            let effects = t.exit(143);
            assert!(
                matches!(&effects[0], Effect::Journal(r) if matches!(&**r, Record::Ended { failures: 1, finished: None, text, .. }
                    if text.starts_with("evicted: memory, exited"))),
                "{effects:?}"
            );
            t.step(Event::Cleaned);
            // It waits for what [`crate::memory::ladder`] says.
            assert_eq!(t.machine.word(), "waiting");
            assert!(t.machine.recent.is_empty());
        }
    }

    #[test]
    fn an_intent_is_written_before_the_launch() {
        let mut t = Trial::new(UnlessStopped);
        t.step(Event::Up { fresh: true });
        t.step(Event::DependenciesMet);
        let effects = t.step(Event::Turn);
        assert!(matches!(&effects[0], Effect::Journal(r) if matches!(**r, Record::Intent { .. })));
        assert!(matches!(effects.last(), Some(Effect::Launch(_))));
    }

    #[test]
    fn a_stop_cuts_pre_start_hooks_short_and_then_kills_them() {
        let mut t = Trial::new(UnlessStopped);
        t.service.hooks.pre_start =
            vec![crate::unit::service::Hook { command: vec!["/h".into()], timeout: Duration::from_secs(60) }];
        t.step(Event::Up { fresh: true });
        t.step(Event::DependenciesMet);
        t.step(Event::Turn);
        let mut prepared = t.machine.clone();
        let effects = t.step(Event::Down { why: "stopped by hand".into() });
        assert!(matches!(effects.last(), Some(Effect::Cut(_))), "{effects:?}");
        assert_eq!(t.machine.deadline(), Some(Boot(Duration::from_secs(10))));
        t.seconds = 10;
        assert!(matches!(t.step(Event::Due).last(), Some(Effect::Kill(_))));
        // Once they are done there is nothing to be gentle with.
        std::mem::swap(&mut t.machine, &mut prepared);
        t.step(Event::Prepared);
        let effects = t.step(Event::Down { why: "stopped by hand".into() });
        assert!(matches!(effects.last(), Some(Effect::Kill(_))), "{effects:?}");
    }

    #[test]
    fn a_stop_is_a_signal_then_kills_then_stuck() {
        let mut t = Trial::new(UnlessStopped);
        t.run();
        let effects = t.step(Event::Down { why: "stopped by hand".into() });
        assert!(effects.iter().any(|e| matches!(e, Effect::Stop(_, s) if s.name == "TERM")));
        assert_eq!(t.machine.deadline(), Some(Boot(Duration::from_secs(10))));
        for _ in 0..6 {
            t.seconds = t.machine.deadline().unwrap().0.as_secs();
            assert!(t.step(Event::Due).iter().any(|e| matches!(e, Effect::Kill(_))));
        }
        assert_eq!(t.machine.word(), "stuck");
        let effects = t.exit(0);
        assert!(
            matches!(&effects[0], Effect::Journal(r) if matches!(**r, Record::Ended { failures: 0, finished: None, .. }))
        );
        t.step(Event::Cleaned);
        assert_eq!(t.machine.state, State::Down);
    }

    #[test]
    fn a_stop_while_it_is_made_kills_it_and_a_late_word_does_not_start_it() {
        let mut t = Trial::new(UnlessStopped);
        t.step(Event::Up { fresh: true });
        t.step(Event::DependenciesMet);
        t.step(Event::Turn);
        let effects = t.step(Event::Down { why: "stopped by hand".into() });
        assert!(effects.iter().any(|e| matches!(e, Effect::Kill(_))));
        let effects = t.step(Event::Created { pid: 9 });
        assert!(matches!(effects[..], [Effect::Kill(_)]), "{effects:?}");
        assert!(t.step(Event::Started).is_empty());
        assert_eq!(t.machine.word(), "stopping");
    }

    #[test]
    fn what_is_not_wanted_runs_until_its_turn_and_is_not_started_again() {
        let mut t = Trial::new(UnlessStopped);
        t.run();
        let unwanted = || Event::Unwanted { why: "stopped by hand".into() };
        assert!(matches!(&t.step(unwanted())[..], [Effect::Tell("wanted-down", _)]));
        assert_eq!(t.machine.word(), "running");
        // It ends by itself: that is no failure, and nothing follows.
        let effects = t.exit(1);
        assert!(
            matches!(&effects[0], Effect::Journal(r) if matches!(**r, Record::Ended { failures: 0, finished: None, .. }))
        );
        t.step(Event::Cleaned);
        assert_eq!(t.machine.state, State::Down);
        // Where there is nothing to stop, nobody has to wait.
        t.run();
        t.exit(1);
        t.step(Event::Cleaned);
        assert_eq!(t.machine.word(), "backoff");
        t.step(unwanted());
        assert_eq!(t.machine.state, State::Down);
    }

    #[test]
    fn again_replaces_what_runs() {
        let mut t = Trial::new(No);
        t.run();
        t.step(Event::Again { why: "changed".into() });
        t.exit(143);
        t.step(Event::Cleaned);
        t.start();
        assert_eq!((t.machine.last_run, t.machine.restarts), (2, 0));
    }

    #[test]
    fn what_is_done_stays_done_until_somebody_starts_it() {
        let mut t = Trial::new(OnFailure(None));
        t.run();
        t.exit(0);
        t.step(Event::Cleaned);
        assert_eq!(t.machine.word(), "exited");
        t.step(Event::Up { fresh: false });
        assert_eq!(t.machine.word(), "exited");
        t.step(Event::Up { fresh: true });
        t.start();
    }

    #[test]
    fn waiting_too_long_is_a_failed_start_and_tried_again() {
        let mut t = Trial::new(UnlessStopped);
        t.step(Event::Up { fresh: true });
        t.step(Event::DependenciesUnmet { on: "db: started".into(), deadline: Some(moment(5).boot) });
        t.seconds = 5;
        let effects = t.step(Event::Due);
        assert!(matches!(&effects[0], Effect::Tell("start-failed", text) if text.contains("db: started")));
        assert_eq!(t.machine.word(), "backoff");
    }

    #[test]
    fn no_event_is_too_much_for_any_state() {
        let events = || {
            vec![
                Event::Up { fresh: true },
                Event::DependenciesMet,
                Event::Turn,
                Event::Created { pid: 3 },
                Event::Started,
                Event::Cleaned,
                Event::CleanFailed("busy".into()),
                Event::Behind(Ok(())),
                Event::Behind(Err("busy".into())),
                Event::Unwanted { why: "unwanted".into() },
                Event::Down { why: "down".into() },
                Event::Again { why: "again".into() },
                unwell(false),
                unwell(true),
                Event::Overdue { why: "late".into() },
                Event::Evicted { why: "evicted".into(), grace: Duration::from_secs(1) },
                Event::Lost(Ending::MonitorLost),
                Event::NeverRan { code: "c".into(), text: "t".into(), exit: None },
                Event::Due,
                Event::DependenciesUnmet { on: "db".into(), deadline: None },
            ]
        };
        // A walk over all of them in many orders; the invariants hold after each step.
        let mut seed = 1u64;
        let mut t = Trial::new(UnlessStopped);
        (t.service.restart.delay, t.service.restart.max_delay) = (Duration::ZERO, Duration::ZERO);
        let (mut last, mut beside) = (0, 0);
        for _ in 0..40_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            t.seconds += seed >> 60;
            t.apart = seed >> 58 & 1 == 0;
            let mut all = events();
            let n = usize::try_from(seed >> 33).unwrap() % (all.len() + 1);
            let ends = n == all.len() && t.machine.run().is_some();
            let effects = if ends { t.exit(1) } else { t.step(all.swap_remove(n % all.len())) };
            beside += u32::from(t.machine.behind.is_some() && t.machine.run().is_some());
            let over = matches!(t.machine.state, State::Down | State::Done { .. });
            assert!(!over || t.machine.behind.is_none(), "over, and yet {:?}", t.machine.behind);
            let launches = effects.iter().filter(|e| matches!(e, Effect::Launch(_))).count();
            assert!(launches <= 1 && t.machine.last_run >= last, "a run is never used twice");
            assert_eq!(launches, usize::try_from(t.machine.last_run - last).unwrap());
            last = t.machine.last_run;
            if !t.machine.up {
                let comes = matches!(
                    t.machine.state,
                    State::Waiting { .. } | State::Queued | State::Backoff { .. } | State::Done { .. }
                );
                assert!(!comes && launches == 0, "not wanted, and yet {:?}", t.machine.state);
            }
        }
        assert!(last > 100 && beside > 10, "the walk starts things: {last}, {beside} beside another");
    }
}
