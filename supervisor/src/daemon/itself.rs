//! What the daemon tells of itself: how the one before ended, its own start, its own end.
#![forbid(unsafe_code)]

use tracing::info;

use super::owner::Owner;
use crate::clock::Moment;
use crate::journal::record::{Event, Record};

/// What an end by itself is called in the journal.
const ENDED: &str = "daemon-ended";
/// An end before its start was over.
const FAILED: &str = "daemon-failed";
/// The first word of a daemon.
const BEGUN: &str = "daemon-started";

/// How the daemon before this one ended, as far as can be known.
#[derive(Debug, PartialEq)]
enum Before {
    /// There was none, or nobody knows of it.
    Unknown,
    /// By itself; the number of the event that says so.
    Ended(u64),
    /// Not by itself.
    Killed(&'static str),
}

/// `left`: it has left its socket, which one that ends by itself takes away.
fn before<'e>(events: impl DoubleEndedIterator<Item = &'e Event>, reboot: bool, left: bool) -> Before {
    let mut own = events.rev().filter(|e| [BEGUN, FAILED, ENDED].contains(&e.kind.as_str()));
    match own.next() {
        Some(event) if event.kind != BEGUN => Before::Ended(event.seq),
        Some(_) if reboot => Before::Killed("the host went down while it ran"),
        Some(_) => Before::Killed("it was killed"),
        // Its start is no longer kept, or it was of an earlier version.
        None if left => Before::Killed("it was killed"),
        None => Before::Unknown,
    }
}

impl Owner {
    /// The first word of a daemon.
    pub(super) fn tell_begun(&mut self, reboot: bool, left: bool) {
        let cause = match before(self.journal.image().events.iter(), reboot, left) {
            Before::Unknown => None,
            Before::Ended(seq) => Some(seq),
            Before::Killed(how) => {
                let text = format!("the daemon before did not end by itself: {how}");
                Some(self.tell_because(None, "daemon-killed", text))
            }
        };
        let (version, pid) = (env!("CARGO_PKG_VERSION"), std::process::id());
        let after = if reboot { ", the first since the host was booted" } else { "" };
        self.tell_because(cause, BEGUN, format!("knarrd {version} began as process {pid}{after}"));
    }

    /// Its last one.
    pub(super) fn tell_ended(&mut self, why: &str) {
        let (version, pid) = (env!("CARGO_PKG_VERSION"), std::process::id());
        let rest = if self.going_down.is_some() { "the host goes down" } else { "what runs goes on" };
        let text = format!("knarrd {version}, process {pid}, ends by {why}; {rest}");
        self.tell_because(self.begun(), ENDED, text);
    }

    /// Its last one, when it cannot go on with its start.
    pub(super) fn tell_failed(&mut self, why: &anyhow::Error) {
        self.tell_because(self.begun(), FAILED, format!("the start is given up: {why:#}"));
    }

    fn begun(&self) -> Option<u64> {
        self.journal.image().events.iter().rev().find(|e| e.kind == BEGUN).map(|e| e.seq)
    }

    fn tell_because(&mut self, cause: Option<u64>, kind: &str, text: String) -> u64 {
        info!("{kind}: {text}");
        let (seq, at) = (self.journal.next_seq(), Moment::now().wall);
        self.write(&[Record::Event(Event {
            seq,
            at,
            service: None,
            replica: None,
            kind: kind.into(),
            text,
            cause,
        })]);
        seq
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(seq: u64, kind: &str) -> Event {
        Event {
            seq,
            at: jiff::Timestamp::UNIX_EPOCH,
            service: None,
            replica: None,
            kind: kind.into(),
            text: String::new(),
            cause: None,
        }
    }

    #[test]
    fn the_end_of_the_one_before_is_found_out() {
        let of = |kinds: &[&str], reboot, left| {
            let events: Vec<_> = kinds.iter().zip(1..).map(|(kind, seq)| event(seq, kind)).collect();
            before(events.iter(), reboot, left)
        };
        assert_eq!(of(&[], false, false), Before::Unknown);
        assert_eq!(of(&[BEGUN, "exited", ENDED, "journal"], false, false), Before::Ended(3));
        assert_eq!(of(&[BEGUN, FAILED], false, true), Before::Ended(2));
        // A daemon that was killed while it ended has told its end; that is what counts.
        assert_eq!(of(&[BEGUN, ENDED], true, true), Before::Ended(2));
        assert_eq!(of(&[ENDED, BEGUN, "exited"], false, true), Before::Killed("it was killed"));
        let down = Before::Killed("the host went down while it ran");
        assert_eq!(of(&[BEGUN], true, false), down);
        // Of an earlier version, or its start is too long ago to be kept.
        assert_eq!(of(&["exited"], false, true), Before::Killed("it was killed"));
        assert_eq!(of(&["exited"], false, false), Before::Unknown);
    }
}
