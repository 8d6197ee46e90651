//! What an instance can be in, what can happen to it, and what can follow. Pure data.

use std::time::Duration;

use crate::clock::Boot;
use crate::journal::record::Record;
use crate::keeper::record::ExitRecord;
use crate::names::RunId;
use crate::policy::{Ending, Unwell};
use crate::unit::service::Signal;

/// Where an instance is.
#[derive(Debug, Clone, PartialEq)]
pub enum State {
    /// Not wanted, and nothing of it is there.
    Down,
    /// Waits for what it depends on.
    Waiting {
        /// What is missing, for people.
        on: String,
        /// When waiting becomes a failed start.
        deadline: Option<Boot>,
    },
    /// Waits for its turn: the host starts a few at a time.
    Queued,
    /// The runtime makes the container.
    Creating {
        /// Which run.
        run: RunId,
        /// First its pre-start hooks run.
        hooks: bool,
    },
    /// The container is made; network and start are under way.
    Starting {
        /// Which run.
        run: RunId,
        /// Its first process.
        pid: u32,
    },
    /// Its process runs.
    Running {
        /// Which run.
        run: RunId,
        /// Its first process.
        pid: u32,
        /// Since when.
        since: Boot,
    },
    /// It was told to end.
    Stopping {
        /// Which run.
        run: RunId,
        /// Its first process, once there was one.
        pid: Option<u32>,
        /// When it is killed, again if it was killed before.
        kill_at: Boot,
        /// How often it was killed.
        kills: u32,
        /// It is stopped because it is not well: its end is a failure.
        unwell: Option<Unwell>,
    },
    /// It ended; what is left of the run is taken away.
    Cleaning {
        /// Which run.
        run: RunId,
        /// What comes after.
        next: Next,
        /// Failed attempts.
        failed: u32,
        /// The next attempt, when the last one failed.
        retry_at: Option<Boot>,
    },
    /// Waits before the next start.
    Backoff {
        /// Until when.
        until: Boot,
        /// It fails again and again.
        crash_loop: bool,
    },
    /// The policy is done with it.
    Done {
        /// It ended with success.
        success: bool,
    },
}

/// What comes after the clean-up of a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Next {
    /// What is wanted: down, or a fresh start.
    Goal,
    /// A pause, then a start.
    Pause {
        /// Until when.
        until: Boot,
        /// It fails again and again.
        crash_loop: bool,
    },
    /// Nothing.
    Done {
        /// It ended with success.
        success: bool,
    },
}

/// A run whose end is written, and which is taken away beside the next one.
#[derive(Debug, Clone, PartialEq)]
pub struct Behind {
    /// Which run.
    pub run: RunId,
    /// Failed attempts.
    pub failed: u32,
    /// The next attempt; `None` = one is under way.
    pub due: Option<Boot>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// It is wanted up. `fresh`: by a person or a new version; what failed before is forgotten.
    Up {
        /// See above.
        fresh: bool,
    },
    /// It is not wanted any more. A run that exists goes on until [`Event::Down`], which comes in its turn.
    Unwanted {
        /// For people: "stopped by hand".
        why: String,
    },
    /// It is wanted down, now.
    Down {
        /// For people: "stopped by hand".
        why: String,
    },
    /// Its probes say that it is not well.
    Unwell {
        /// Which one failed how.
        why: String,
        /// From the signal to the kill; `None` = the service's own grace.
        grace: Option<Duration>,
        /// It stays down.
        stays_down: bool,
    },
    /// It is being stopped, and says that it needs longer.
    Extend {
        /// It is not killed before; never shorter than its grace.
        until: Boot,
    },
    /// The time that a job has for one attempt is over.
    Overdue {
        /// For people: "deadline of 10 min passed".
        why: String,
    },
    /// What runs is to be replaced by a fresh run.
    Again {
        /// For people: "changed: limits.memory".
        why: String,
    },
    /// All it depends on is there.
    DependenciesMet,
    /// Something it depends on is not there.
    DependenciesUnmet {
        /// What, for people.
        on: String,
        /// When that becomes a failed start.
        deadline: Option<Boot>,
    },
    /// It is its turn.
    Turn,
    /// The pre-start hooks are done.
    Prepared,
    /// The runtime has made the container.
    Created {
        /// Its first process.
        pid: u32,
    },
    /// The runtime has started it.
    Started,
    /// The run failed before its process ran.
    NeverRan {
        /// Reason code.
        code: String,
        /// For people.
        text: String,
        /// The keeper's record, if it came that far.
        exit: Option<ExitRecord>,
    },
    /// The keeper saw the end.
    Ended(ExitRecord),
    /// Nobody saw the end.
    Lost(Ending),
    /// What was left of the run is gone.
    Cleaned,
    /// It is not.
    CleanFailed(String),
    /// What was left of [`Behind::run`] is gone, or why it is not.
    Behind(Result<(), String>),
    /// The time that [`Machine::deadline`] names has come.
    Due,
}

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Write it down before the next effect.
    Journal(Box<Record>),
    /// Tell people: a kind and a line.
    Tell(&'static str, String),
    /// The keeper may forget the exit record.
    Ack(RunId),
    /// Make the container.
    Launch(RunId),
    /// Attach networks, start it.
    Start(RunId),
    /// Run the pre-stop hooks, then send this signal to the first process.
    Stop(RunId, Signal),
    /// Have its pre-start hooks end.
    Cut(RunId),
    /// Kill all of it, its pre-start hooks while they run.
    Kill(RunId),
    /// Take away what is left.
    Clean(RunId),
}
