//! Probes: one look at a running container, bounded in time and in memory, that leaves nothing behind.
#![forbid(unsafe_code)]

mod exec;
mod grpc;
mod http;
pub(crate) mod inside;
pub mod kind;
mod net;
pub mod push;
#[cfg(test)]
mod tests;
mod tls;

use std::time::Duration;

use tokio::time::{Instant, timeout as within};

pub use self::exec::use_helper;
pub use self::kind::{Http, Kind, Tls};
use self::net::Home;
use crate::names::RunId;
use crate::runtime::Runtime;

/// Most bytes of output that a result keeps.
pub const OUTPUT_MAX: usize = 4096;
/// How long it may take until the question can be asked at all; it is not in the timeout.
pub const SET_UP_MAX: Duration = Duration::from_secs(30);

/// The container that is looked at.
#[derive(Debug, Clone)]
pub struct Target {
    /// Which run.
    pub run: RunId,
    /// Its first process on the host.
    pub pid: u32,
    /// The runtime that made it.
    pub runtime: Runtime,
}

/// What one look saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The answer.
    pub verdict: Verdict,
    /// One line for people: `exit code 1`, `HTTP status 503, want 200-399`, `no answer within 5s`.
    pub text: String,
    /// What it printed or answered, the first [`OUTPUT_MAX`] bytes.
    pub output: Vec<u8>,
    /// From the question to the answer; the set-up is not in it.
    pub took: Duration,
}

/// The answer of one look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is well.
    Pass,
    /// It is not.
    Fail,
    /// It did not answer in time: a failure that a host under pressure may have made.
    TimedOut,
    /// The look itself could not be made, for example because the container is gone; it says nothing about the service.
    Error,
}

/// Looks once. Takes at most [`SET_UP_MAX`], then `timeout`, then the time to clean up; what it started has ended when it
/// returns, or soon after it is dropped. For a runtime of one thread, which it never blocks.
pub async fn check(kind: &Kind, target: &Target, timeout: Duration) -> Outcome {
    if let Kind::Exec { command } = kind {
        return exec::check(command, target, timeout).await;
    }
    match Home::of(target) {
        Ok(home) => look(kind, &home, timeout).await,
        Err(text) => Outcome::error(text),
    }
}

/// See [`check`]; for the kinds that want nothing but the container's network.
async fn look(kind: &Kind, home: &Home, timeout: Duration) -> Outcome {
    match kind {
        Kind::Tcp { host, port } => asked(home.way(host, *port), net::ask, timeout).await,
        Kind::Http(http) => asked(http::prepare(http, home), http::Prepared::ask, timeout).await,
        Kind::Grpc { host, port, service } => {
            asked(home.way(host, *port), |way| grpc::ask(way, service), timeout).await
        }
        Kind::Exec { .. } | Kind::Push => Outcome::error("this is not asked over a network".into()),
    }
}

/// Sets up, then asks, each in its time.
async fn asked<T, A: Future<Output = Answer>>(
    set_up: impl Future<Output = Result<T, String>>,
    ask: impl FnOnce(T) -> A,
    timeout: Duration,
) -> Outcome {
    let ready = match within(SET_UP_MAX, set_up).await {
        Ok(Ok(ready)) => ready,
        Ok(Err(text)) => return Outcome::error(text),
        Err(_) => return Outcome::error(format!("not ready to ask within {SET_UP_MAX:?}")),
    };
    let began = Instant::now();
    let answer = within(timeout, ask(ready)).await.unwrap_or_else(|_| Answer::timed_out(timeout));
    answer.after(began.elapsed())
}

/// An [`Outcome`] without its time.
#[derive(Debug)]
struct Answer {
    verdict: Verdict,
    text: String,
    output: Vec<u8>,
}

impl Answer {
    fn new(verdict: Verdict, text: impl Into<String>) -> Answer {
        Answer { verdict, text: text.into(), output: Vec::new() }
    }

    fn pass(text: impl Into<String>) -> Answer {
        Answer::new(Verdict::Pass, text)
    }

    fn fail(text: impl Into<String>) -> Answer {
        Answer::new(Verdict::Fail, text)
    }

    fn error(text: impl Into<String>) -> Answer {
        Answer::new(Verdict::Error, text)
    }

    fn timed_out(timeout: Duration) -> Answer {
        Answer::new(Verdict::TimedOut, format!("no answer within {timeout:?}"))
    }

    fn after(self, took: Duration) -> Outcome {
        let Answer { verdict, text, output } = self;
        Outcome { verdict, text, output, took }
    }
}

impl Outcome {
    fn error(text: String) -> Outcome {
        Answer::error(text).after(Duration::ZERO)
    }
}
