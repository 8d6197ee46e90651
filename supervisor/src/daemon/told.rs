//! What containers tell by themselves on their notify sockets, kept for the probes that are told and not asked.
#![forbid(unsafe_code)]

use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::warn;

use super::owner::Owner;
use super::work::{Done, Shop};
use crate::clock::Boot;
use crate::health::{Known, Question};
use crate::machine::Event;
use crate::names::RunId;
use crate::probe::push::{self, Message, Said, Socket, Watchdog};
use crate::probe::{Kind, Outcome, Verdict};
use crate::unit::service::{Role, Service};

/// A container that tells without a pause is heard so often; the rest waits in its socket, where it can block nobody else.
const PAUSE: Duration = Duration::from_millis(20);

/// What one run has told.
#[derive(Debug)]
pub(super) struct Heard {
    /// `READY=1` has come, to this daemon or one before it.
    ready: bool,
    /// `STOPPING=1` has come since.
    stopping: bool,
    /// `WATCHDOG=` since the last look.
    watchdog: Option<Watchdog>,
    /// What the next daemon is to know, too.
    pub(super) kept: Said,
    reader: JoinHandle<()>,
}

impl Drop for Heard {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Heard {
    fn new(ready: bool, kept: Said, reader: JoinHandle<()>) -> Heard {
        Heard { ready, stopping: false, watchdog: None, kept, reader }
    }

    /// Takes a message in: whose probes have an answer by it.
    fn take(&mut self, message: Message, now: Boot) -> Vec<Role> {
        let Message { ready, stopping, watchdog, status, extend, ignored: _ } = message;
        let mut roles = Vec::new();
        if ready {
            (self.ready, self.stopping) = (true, false);
            roles.extend([Role::Startup, Role::Readiness]);
        }
        if stopping {
            self.stopping = true;
            roles.push(Role::Readiness);
        }
        if watchdog.is_some() {
            self.watchdog = watchdog;
            roles.push(Role::Liveness);
        }
        if let Some(status) = status {
            self.kept.status = Some(status).filter(|s| !s.is_empty());
        }
        if let Some(extend) = extend {
            self.kept.extended = Some(now.after(extend));
        }
        roles
    }

    /// The answer of one probe.
    ///
    /// # Errors
    /// When to look again: the container asked for more time.
    fn answer(&mut self, role: Role, period: Duration, now: Boot) -> Result<Outcome, Boot> {
        let (verdict, text) = match role {
            Role::Readiness if self.stopping => (Verdict::Fail, "STOPPING=1".to_owned()),
            Role::Startup | Role::Readiness if self.ready => (Verdict::Pass, "READY=1".into()),
            Role::Startup if self.kept.extended.is_some_and(|t| t > now) => {
                return Err(self.kept.extended.unwrap_or(now));
            }
            Role::Startup | Role::Readiness => (Verdict::Fail, "READY=1 has not come".into()),
            Role::Liveness => match self.watchdog.take() {
                Some(Watchdog::Alive) => (Verdict::Pass, "WATCHDOG=1".into()),
                Some(Watchdog::Trigger) => (Verdict::Fail, "WATCHDOG=trigger".into()),
                None => (Verdict::TimedOut, format!("no WATCHDOG=1 within {}", crate::policy::span(period))),
            },
        };
        Ok(Outcome { verdict, text, output: Vec::new(), took: Duration::ZERO })
    }
}

/// Whether a service has a probe that is told.
pub(super) fn tells(service: &Service) -> bool {
    Role::ALL.into_iter().filter_map(|role| service.probes.of(role)).any(|p| p.kind == Kind::Push)
}

/// Hands what a run tells to the loop until it is dropped.
async fn hear(socket: Socket, run: RunId, done: mpsc::UnboundedSender<Done>) {
    loop {
        match socket.next().await {
            Ok(message) => {
                if done.send(Done::Told(run.clone(), message)).is_err() {
                    return;
                }
            }
            Err(e) => warn!("the notify socket of {run}: {e}"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

impl Shop {
    /// The notify socket of a run that is about to be made, when it has a probe that is told.
    pub(super) async fn notify_socket(&self, run: &RunId, service: &Service) -> Result<(), (String, String)> {
        if !tells(service) {
            return Ok(());
        }
        let failed = |e: std::io::Error| ("internal".to_owned(), format!("the notify socket: {e}"));
        let socket = Socket::bind(&self.dirs, run).map_err(failed)?;
        self.hold_notify(run, socket.copy().map_err(failed)?).await;
        self.done.send(Done::Hears(run.clone(), socket)).ok();
        Ok(())
    }
}

impl Owner {
    /// The notify socket of a run is there.
    pub(super) fn hears(&mut self, run: &RunId, socket: Socket) {
        self.hear(run, socket, false, Said::default());
    }

    fn hear(&mut self, run: &RunId, socket: Socket, ready: bool, said: Said) {
        if self.slots.get(&run.instance).is_none_or(|s| s.machine.run() != Some(run)) {
            return;
        }
        let reader = tokio::task::spawn_local(hear(socket, run.clone(), self.shop.done.clone()));
        self.told.insert(run.clone(), Heard::new(ready, said, reader));
    }

    /// Goes on to hear the runs that an earlier daemon heard, on the sockets that were held meanwhile.
    pub(super) fn hear_again(&mut self, mut held: Vec<(RunId, OwnedFd)>) {
        let runs = self
            .slots
            .values()
            .filter_map(|s| Some((s.machine.run()?.clone(), s.made_from.as_ref()?.0.clone())));
        for (run, service) in runs.filter(|(_, service)| tells(service)).collect::<Vec<_>>() {
            let at = held.iter().position(|(of, _)| *of == run);
            let socket = match at.map(|at| held.swap_remove(at).1) {
                Some(fd) => Socket::of(fd, &run),
                // What was told meanwhile is lost.
                None => Socket::bind(&self.options.dirs, &run).inspect(|new| self.hold_new(&run, new)),
            };
            let known = self.known_health(&run);
            match socket {
                Ok(socket) => {
                    let said = push::said(&self.options.dirs, &run);
                    let until = said.extended;
                    self.hear(&run, socket, was_ready(&service, known), said);
                    self.extend_stop(&run, until);
                }
                Err(e) => warn!("{run}: what it tells is not heard: {e}"),
            }
        }
    }

    fn hold_new(&self, run: &RunId, socket: &Socket) {
        if let Ok(copy) = socket.copy() {
            let (shop, run) = (self.shop.clone(), run.clone());
            tokio::task::spawn_local(async move { shop.hold_notify(&run, copy).await });
        }
    }

    /// A run has told something: the probes that it answers are due.
    pub(super) fn told(&mut self, run: &RunId, message: Message) {
        let now = Boot::now();
        let Some(told) = self.told.get_mut(run) else { return };
        let before = told.kept.clone();
        let roles = told.take(message, now);
        let kept = told.kept.clone();
        if kept != before
            && let Err(e) = push::keep_said(&self.options.dirs, run, &kept)
        {
            warn!("what {run} says is not kept for the next daemon: {e}");
        }
        let watched = self.slots.get_mut(&run.instance).and_then(|s| s.watched.as_mut());
        if let Some(watched) = watched.filter(|w| w.run == *run) {
            roles.into_iter().for_each(|role| watched.health.told(role, now));
        }
        if kept.extended != before.extended {
            self.extend_stop(run, kept.extended);
        }
    }

    /// A run that is being stopped is not killed before, as it was asked for.
    fn extend_stop(&mut self, run: &RunId, until: Option<Boot>) {
        if let Some(until) = until {
            self.feed_run(run, Event::Extend { until });
        }
    }

    /// Answers a question that nobody is asked.
    pub(super) fn answer_told(&mut self, run: &RunId, question: &Question, now: Boot) {
        let outcome = match self.told.get_mut(run) {
            Some(told) => told.answer(question.role, question.period, now),
            None => Ok(Outcome {
                verdict: Verdict::Error,
                text: "it has no notify socket".into(),
                output: Vec::new(),
                took: Duration::ZERO,
            }),
        };
        match outcome {
            Ok(outcome) => self.looked(run, question.role, outcome),
            Err(until) => {
                if let Some(watched) = self.slots.get_mut(&run.instance).and_then(|s| s.watched.as_mut()) {
                    watched.health.postpone(question.role, until);
                }
            }
        }
    }
}

/// Whether it has told that it is ready, as far as is written.
fn was_ready(service: &Service, known: Known) -> bool {
    let is = |role| service.probes.of(role).is_some_and(|p| p.kind == Kind::Push);
    is(Role::Startup) && known.started || is(Role::Readiness) && known.passes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Boot {
        Boot(Duration::from_secs(seconds))
    }

    #[tokio::test]
    async fn what_is_told_answers() {
        let mut told = Heard::new(false, Said::default(), tokio::spawn(async {}));
        let take = |told: &mut Heard, text: &str, now| told.take(Message::parse(text.as_bytes()), at(now));
        let answer = |told: &mut Heard, role, now| {
            let outcome = told.answer(role, Duration::from_secs(10), at(now));
            outcome.map(|o| (o.verdict, o.text))
        };
        let (start, live, ready) = (Role::Startup, Role::Liveness, Role::Readiness);
        let fail = |text: &str| Ok((Verdict::Fail, text.to_owned()));
        let pass = |text: &str| Ok((Verdict::Pass, text.to_owned()));
        assert_eq!(answer(&mut told, start, 1), fail("READY=1 has not come"));
        assert!(take(&mut told, "EXTEND_TIMEOUT_USEC=5000000\nSTATUS=warming up", 1).is_empty());
        assert_eq!(answer(&mut told, start, 5), Err(at(6)));
        assert_eq!(answer(&mut told, start, 6), fail("READY=1 has not come"));
        assert_eq!(answer(&mut told, ready, 1), fail("READY=1 has not come"));
        assert_eq!(told.kept.status.as_deref(), Some("warming up"));
        assert_eq!(take(&mut told, "READY=1\nSTATUS=", 7), [start, ready]);
        assert_eq!((answer(&mut told, start, 7), told.kept.status.clone()), (pass("READY=1"), None));
        assert_eq!(answer(&mut told, live, 7), Ok((Verdict::TimedOut, "no WATCHDOG=1 within 10 s".into())));
        assert_eq!(take(&mut told, "WATCHDOG=1", 8), [live]);
        assert_eq!(answer(&mut told, live, 8), pass("WATCHDOG=1"));
        take(&mut told, "WATCHDOG=trigger", 8);
        assert_eq!(answer(&mut told, live, 8), fail("WATCHDOG=trigger"));
        assert_eq!(take(&mut told, "STOPPING=1", 9), [ready]);
        assert_eq!(answer(&mut told, ready, 9), fail("STOPPING=1"));
        take(&mut told, "READY=1", 9);
        assert_eq!(answer(&mut told, ready, 9), pass("READY=1"));
    }
}
