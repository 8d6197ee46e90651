//! What is counted of an instance and of the daemon's loop since the daemon began. Pure, and of a fixed size.
#![forbid(unsafe_code)]

use std::time::Duration;

use crate::journal::record::Record;
use crate::keeper::record::{End, ExitRecord};
use crate::policy::Unwell;
use crate::probe::Verdict;
use crate::unit::service::Role;

/// Upper bounds of the buckets of all durations, in seconds, as numbers and as labels.
pub const BOUNDS: [(f64, &str); 9] = [
    (0.001, "0.001"),
    (0.005, "0.005"),
    (0.025, "0.025"),
    (0.1, "0.1"),
    (0.25, "0.25"),
    (0.5, "0.5"),
    (1.0, "1.0"),
    (2.5, "2.5"),
    (10.0, "10.0"),
];

/// Durations, counted in buckets.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Durations {
    /// One a bound, and one for what is longer; not cumulative.
    counts: [u64; BOUNDS.len() + 1],
    /// Seconds of all of them.
    pub sum: f64,
}

impl Durations {
    /// Counts one.
    pub fn add(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = BOUNDS.iter().position(|(bound, _)| seconds <= *bound).unwrap_or(BOUNDS.len());
        self.counts[bucket] += 1;
        self.sum += seconds;
    }

    /// How many were as long as each bound or shorter.
    pub fn cumulative(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let labels = BOUNDS.iter().map(|(_, label)| *label).chain(["+Inf"]);
        labels.zip(self.counts).scan(0, |sum, (label, n)| {
            *sum += n;
            Some((label, *sum))
        })
    }

    /// All of them.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

macro_rules! causes {
    ($($(#[$doc:meta])* $name:ident = $word:literal),* $(,)?) => {
        /// Why a run was over; a label, so there are no more than these.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Cause { $($(#[$doc])* $name),* }

        impl Cause {
            /// All of them, with their labels, in the order of their numbers.
            pub const ALL: &'static [(Cause, &'static str)] = &[$((Cause::$name, $word)),*];
        }
    };
}

causes! {
    /// It ended by itself with code 0.
    Success = "success",
    /// It ended by itself with another code.
    Exit = "exit",
    /// A signal ended it, which was not the daemon's doing.
    Signal = "signal",
    /// The kernel killed in it for memory.
    Oom = "oom",
    /// A startup or liveness probe failed.
    Probe = "probe",
    /// A job took longer than its deadline.
    Deadline = "deadline",
    /// It was stopped because memory was short.
    Evicted = "evicted",
    /// It could not be started.
    StartFailed = "start-failed",
    /// Its keeper was killed, nobody saw its end.
    MonitorLost = "monitor-lost",
    /// The host went down under it.
    Reboot = "reboot",
    /// The daemon was killed while the run was made.
    Interrupted = "interrupted",
    /// Somebody wanted it to end: a person, a changed file, a rollout.
    Asked = "asked",
}

/// What is counted of one probe.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Looks {
    /// Answers: pass, fail, timed-out, error.
    pub results: [u64; 4],
    /// How long they took.
    pub took: Durations,
}

/// The labels of [`Looks::results`].
pub const RESULTS: [&str; 4] = ["pass", "fail", "timed-out", "error"];

/// What is counted of one instance.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tally {
    /// Ends, by [`Cause::ALL`].
    pub exits: [u32; Cause::ALL.len()],
    /// Those of them that a restart followed.
    pub restarts: [u32; Cause::ALL.len()],
    /// Bytes of output that ended runs could not keep.
    pub log_dropped: u64,
    /// By [`Role::ALL`]; none = it was never asked.
    pub probes: [Option<Box<Looks>>; Role::ALL.len()],
}

impl Tally {
    /// Takes in what is about to be written about one step of an instance. `unwell` is why its run was being stopped.
    pub fn count(&mut self, records: &[Record], unwell: Option<&Unwell>) {
        let (mut cause, mut again) = (None, false);
        for record in records {
            match record {
                Record::Ended { exit, .. } => {
                    self.log_dropped += exit.as_ref().map_or(0, |e| e.log_dropped);
                    cause = Some(of_end(exit.as_ref(), unwell));
                }
                // Written behind the end, and says what the record does not.
                Record::Event(event) => match event.kind.as_str() {
                    "stopped" => cause = Some(Cause::Asked),
                    "start-failed" => cause = Some(Cause::StartFailed),
                    "monitor-lost" => cause = Some(Cause::MonitorLost),
                    "reboot" => cause = Some(Cause::Reboot),
                    "interrupted" => cause = Some(Cause::Interrupted),
                    "restart-scheduled" | "crash-loop" => again = true,
                    _ => {}
                },
                _ => {}
            }
        }
        let Some(cause) = cause else { return };
        let count = |of: &mut [u32; Cause::ALL.len()]| {
            if let Some(n) = of.get_mut(cause as usize) {
                *n = n.saturating_add(1);
            }
        };
        count(&mut self.exits);
        if again {
            count(&mut self.restarts);
        }
    }

    /// Takes an answer of a probe in.
    pub fn looked(&mut self, role: Role, verdict: Verdict, took: Duration) {
        let Some(nth) = Role::ALL.iter().position(|r| *r == role) else { return };
        let looks = self.probes[nth].get_or_insert_default();
        let result = match verdict {
            Verdict::Pass => 0,
            Verdict::Fail => 1,
            Verdict::TimedOut => 2,
            Verdict::Error => 3,
        };
        looks.results[result] += 1;
        // One that could not be made has taken no time of the service.
        if verdict != Verdict::Error {
            looks.took.add(took);
        }
    }
}

/// Whose doing an end was, as far as its record says.
fn of_end(exit: Option<&ExitRecord>, unwell: Option<&Unwell>) -> Cause {
    match (unwell, exit) {
        (Some(u), _) if u.evicted => Cause::Evicted,
        (Some(u), _) if u.overdue => Cause::Deadline,
        (Some(_), _) => Cause::Probe,
        (None, None) => Cause::MonitorLost,
        (None, Some(exit)) => match exit.end {
            End::Exited { code: 0 } => Cause::Success,
            _ if exit.memory.oom_kills.is_some_and(|n| n > 0) => Cause::Oom,
            End::Exited { .. } => Cause::Exit,
            End::Signaled { .. } => Cause::Signal,
            End::CreateFailed { .. } => Cause::StartFailed,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::record::Event;
    use crate::keeper::record::Memory;

    fn ended(end: End, oom_kills: Option<u64>) -> Record {
        let exit = ExitRecord {
            version: 1,
            run: "web.1.7".parse().unwrap(),
            boot_id: "b".into(),
            end,
            pid: 1,
            started: crate::clock::Boot::now(),
            ended: crate::clock::Boot::now(),
            ended_wall: jiff::Timestamp::UNIX_EPOCH,
            memory: Memory { oom_kills, ..Memory::default() }.into(),
            log_dropped: 5,
            victim: None,
        };
        Record::Ended {
            run: exit.run.clone(),
            exit: Some(exit),
            at: jiff::Timestamp::UNIX_EPOCH,
            text: String::new(),
            failures: 0,
            finished: None,
        }
    }

    fn told(kind: &str) -> Record {
        Record::Event(Event {
            seq: 1,
            at: jiff::Timestamp::UNIX_EPOCH,
            service: None,
            replica: None,
            kind: kind.into(),
            text: String::new(),
            cause: None,
        })
    }

    #[test]
    fn causes_are_numbered_as_they_are_listed() {
        for (nth, (cause, word)) in Cause::ALL.iter().enumerate() {
            assert_eq!(*cause as usize, nth, "{word}");
        }
    }

    #[test]
    fn each_end_has_one_cause() {
        let unwell = |overdue, evicted| Unwell {
            why: String::new(),
            stays_down: false,
            ran: Duration::ZERO,
            overdue,
            evicted,
        };
        let exited = |code| ended(End::Exited { code }, None);
        let cases: [(Vec<Record>, Option<Unwell>, &str, u32); 9] = [
            (vec![exited(0), told("exited"), told("completed")], None, "success", 0),
            (vec![exited(3), told("exited"), told("restart-scheduled")], None, "exit", 1),
            (vec![exited(3), told("exited"), told("crash-loop")], None, "exit", 1),
            (vec![exited(3), told("exited"), told("failed")], None, "exit", 0),
            (vec![exited(143), told("stopped")], None, "asked", 0),
            (vec![ended(End::Signaled { signal: 9, core: false }, Some(1))], None, "oom", 0),
            (
                vec![exited(143), told("exited"), told("restart-scheduled")],
                Some(unwell(false, false)),
                "probe",
                1,
            ),
            (vec![exited(143), told("exited")], Some(unwell(false, true)), "evicted", 0),
            // It waited too long for what it depends on: there was no run that could end.
            (vec![told("start-failed"), told("restart-scheduled")], None, "start-failed", 1),
        ];
        for (records, unwell, word, restarts) in cases {
            let mut tally = Tally::default();
            tally.count(&records, unwell.as_ref());
            let counted: Vec<_> =
                Cause::ALL.iter().filter(|(c, _)| tally.exits[*c as usize] > 0).map(|(_, w)| *w).collect();
            assert_eq!(counted, [word]);
            assert_eq!(tally.restarts.iter().sum::<u32>(), restarts, "{word}");
        }
        let mut tally = Tally::default();
        tally.count(&[told("started"), told("creating")], None);
        assert_eq!(tally, Tally::default());
    }

    #[test]
    fn buckets_are_cumulative() {
        let mut took = Durations::default();
        for ms in [1, 2, 30, 30, 20_000] {
            took.add(Duration::from_millis(ms));
        }
        let all: Vec<_> = took.cumulative().collect();
        assert_eq!(all[..4], [("0.001", 1), ("0.005", 2), ("0.025", 2), ("0.1", 4)]);
        assert_eq!((all.last(), took.count()), (Some(&("+Inf", 5)), 5));
        assert!((took.sum - 20.063).abs() < 1e-9);
    }

    #[test]
    fn a_look_that_could_not_be_made_took_no_time() {
        let mut tally = Tally::default();
        tally.looked(Role::Readiness, Verdict::Error, Duration::from_secs(1));
        tally.looked(Role::Readiness, Verdict::TimedOut, Duration::from_secs(1));
        let looks = tally.probes[2].as_ref().unwrap();
        assert_eq!((looks.results, looks.took.count()), ([0, 0, 1, 1], 1));
    }
}
