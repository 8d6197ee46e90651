//! The end of a run: whose doing it was, what the policy makes of it, and what comes next. Pure.

use std::time::Duration;

use super::{BEHIND_MAX, Behind, Counts, Effect, Machine, Next, Now, Rules, State};
use crate::clock::Boot;
use crate::journal::record::Record;
use crate::keeper::record::ExitRecord;
use crate::policy::{self, Decision, Ending, History, span};

impl Machine {
    pub(super) fn on_end(
        &mut self,
        ending: Ending,
        exit: Option<ExitRecord>,
        now: Now,
        rules: Rules<'_>,
        out: &mut Vec<Effect>,
    ) {
        let (run, began, wanted) = match &self.state {
            // One that ends by itself before its turn to be stopped has come is as good as stopped.
            State::Creating { run, .. } | State::Starting { run, .. } => (run.clone(), None, !self.up),
            State::Running { run, since, .. } => (run.clone(), Some(*since), !self.up),
            State::Stopping { run, unwell: Some(_), .. } => (run.clone(), None, !self.up),
            State::Stopping { run, unwell: None, .. } => (run.clone(), None, true),
            // A second word about a run whose end is written.
            State::Cleaning { run, .. } => {
                out.push(Effect::Ack(run.clone()));
                return;
            }
            State::Down
            | State::Waiting { .. }
            | State::Queued
            | State::Backoff { .. }
            | State::Done { .. } => return,
        };
        let (ending, well) = self.blame(ending);
        let text = ending.text();
        let (next, finished, told) = if wanted {
            (Next::Goal, None, Effect::Tell("stopped", text.clone()))
        } else {
            let end = exit.as_ref().map_or(now.moment.boot, |e| e.ended);
            let ran = well.or_else(|| began.map(|b| ran(rules, b, end))).unwrap_or(Duration::ZERO);
            self.decide(&ending, ran, now, rules)
        };
        out.push(Effect::Journal(Box::new(Record::Ended {
            run: run.clone(),
            exit,
            at: now.moment.wall,
            text: text.clone(),
            failures: if wanted { 0 } else { self.failures },
            finished,
        })));
        out.push(Effect::Ack(run.clone()));
        if !wanted {
            let kind = match ending {
                Ending::Seen(_) | Ending::Unwell { .. } => "exited",
                Ending::NeverRan { .. } => "start-failed",
                Ending::MonitorLost => "monitor-lost",
                Ending::Reboot(_) => "reboot",
                Ending::Interrupted => "interrupted",
            };
            out.push(Effect::Tell(kind, text));
        }
        out.push(told);
        let at_once = matches!(next, Next::Pause { until, .. } if until <= now.moment.boot);
        if at_once && rules.apart && self.behind.is_none() {
            let due = Some(now.moment.boot.after(BEHIND_MAX));
            self.behind = Some(Behind { run, failed: 0, due });
            return self.restart();
        }
        out.push(Effect::Clean(run.clone()));
        self.state = State::Cleaning { run, next, failed: 0, retry_at: None };
    }

    /// An end that its probes asked for is a failure of its own kind; then also how long it was well before.
    fn blame(&self, ending: Ending) -> (Ending, Option<Duration>) {
        match &self.state {
            State::Stopping { unwell: Some(unwell), .. } if !ending.innocent() => {
                let (unwell, ran) = (unwell.clone(), unwell.ran);
                (Ending::Unwell { unwell, end: Box::new(ending) }, Some(ran))
            }
            _ => (ending, None),
        }
    }

    /// What follows from an end that nobody asked for: what comes next, what is written, what is told.
    pub(super) fn decide(
        &mut self,
        ending: &Ending,
        ran: Duration,
        now: Now,
        rules: Rules<'_>,
    ) -> (Next, Option<bool>, Effect) {
        let boot = now.moment.boot;
        let window = rules.restart.crash_window;
        if !ending.innocent() {
            self.recent.push_back(boot);
        }
        self.recent.retain(|t| boot.since(*t) <= window);
        while self.recent.len() > 1000 {
            self.recent.pop_front();
        }
        let recent = u32::try_from(self.recent.len()).unwrap_or(u32::MAX);
        let history = History { ran, failures: self.failures, recent, jitter: now.jitter };
        match policy::after_end(rules.restart, ending, history) {
            Decision::Complete { why } => {
                (self.failures, self.reason) = (0, why.clone());
                (Next::Done { success: true }, Some(true), Effect::Tell("completed", why))
            }
            Decision::Fail { why } => {
                self.failures = self.failures.saturating_add(1);
                self.reason.clone_from(&why);
                (Next::Done { success: false }, Some(false), Effect::Tell("failed", why))
            }
            Decision::Restart { after, failures, crash_loop, why } => {
                (self.failures, self.reason) = (failures, why.clone());
                let kind = if crash_loop { "crash-loop" } else { "restart-scheduled" };
                let nth = self.restarts.saturating_add(1);
                let told = Effect::Tell(kind, format!("restart {nth} in {} ({why})", span(after)));
                (Next::Pause { until: boot.after(after), crash_loop }, None, told)
            }
        }
    }
}

/// How long a run had run when it ended, or had been ready where that is what counts.
pub(super) fn ran(rules: Rules<'_>, since: Boot, end: Boot) -> Duration {
    match rules.counts {
        Counts::Started => end.since(since),
        Counts::Ready(since) => since.map_or(Duration::ZERO, |ready| end.since(ready)),
    }
}
