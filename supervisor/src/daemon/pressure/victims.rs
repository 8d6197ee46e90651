//! Victims of the ladder, and of the kernel where it was faster, at the time of an earlier daemon: their ends in the journal say
//! who they are, since when they wait, and what they used.
#![forbid(unsafe_code)]

use crate::clock::Boot;
use crate::daemon::owner::{Owner, Slot};
use crate::journal::record::{Kept, KeptExit};
use crate::machine::State;
use crate::memory::cause;
use crate::memory::ladder::{FORGIVEN, Victim};
use crate::unit::pressure::Priority;

impl Owner {
    /// One that was evicted or killed for want of memory before this daemon began, and how often in a row; `None` = it is not,
    /// or nobody wants it any more.
    pub(super) fn victim_before(&self, slot: &Slot, now: Boot) -> Option<(Victim, u32)> {
        if !slot.machine.up || matches!(slot.machine.state, State::Done { .. }) {
            return None;
        }
        let instance = &slot.machine.instance;
        let service = self.service(instance).0;
        let terms = (service.pressure.priority, service.limits.memory_request.unwrap_or(0));
        let kept = self.journal.image().instances.get(instance)?;
        if kept.open.is_none() {
            return past(kept, &self.boot_id, terms, now);
        }
        // It is on its way out.
        let open = kept.open.as_ref()?;
        let State::Stopping { pid, .. } = slot.machine.state else { return None };
        if !open.unwell.as_ref().is_some_and(|u| u.evicted) {
            return None;
        }
        let used = pid.and_then(|pid| self.controllers.used(pid)).unwrap_or_default();
        let used = used.current.saturating_sub(used.cache);
        let victim = Victim { priority: terms.0, since: now, used, request: terms.1, killed: false };
        Some((victim, times(kept).saturating_add(1)))
    }
}

/// Whether an end was for want of memory of the host or of a group above: by the ladder, or by the kernel (`Some(true)`).
fn for_want(exit: &KeptExit) -> Option<bool> {
    let killed = exit.exit.as_ref().is_some_and(|e| cause::ran_out(&e.memory, e.victim.as_deref()));
    (exit.evicted || killed).then_some(!exit.evicted)
}

/// What the last end says, when it was in this boot.
fn past(kept: &Kept, boot_id: &str, terms: (Priority, u64), now: Boot) -> Option<(Victim, u32)> {
    let last = kept.exits.back()?;
    let killed = for_want(last)?;
    let (since, used) = match &last.exit {
        Some(exit) if exit.boot_id != boot_id => return None,
        Some(exit) => (exit.ended, exit.memory.peak.unwrap_or(0)),
        None => (now, 0),
    };
    Some((Victim { priority: terms.0, since, used, request: terms.1, killed }, times(kept)))
}

/// How often in a row: who went on for long in between begins anew.
fn times(kept: &Kept) -> u32 {
    let mut n = 0u32;
    for exit in kept.exits.iter().rev().take_while(|e| for_want(e).is_some()) {
        n = n.saturating_add(1);
        if exit.exit.as_ref().is_some_and(|e| e.ended.since(e.started) >= FORGIVEN) {
            break;
        }
    }
    n
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::keeper::record::{End, ExitRecord, Memory, Short};

    fn end(ran: u64, evicted: bool, short: Option<Short>) -> KeptExit {
        let memory = Memory { oom_kills: short.map(|_| 1), peak: Some(77), ..Memory::default() };
        let exit = ExitRecord {
            version: 1,
            run: "a.1.1".parse().unwrap(),
            boot_id: "now".into(),
            end: End::Signaled { signal: 9, core: false },
            pid: 5,
            started: Boot(Duration::from_secs(1000 - ran)),
            ended: Boot(Duration::from_secs(1000)),
            ended_wall: jiff::Timestamp::UNIX_EPOCH,
            memory: Box::new(memory),
            log_dropped: 0,
            victim: short.map(|s| {
                Box::new(crate::keeper::record::Victim { pid: 5, name: "x".into(), short: Some(s) })
            }),
        };
        let at = jiff::Timestamp::UNIX_EPOCH;
        KeptExit { run: 1, exit: Some(exit), at, text: String::new(), evicted }
    }

    fn kept(exits: Vec<KeptExit>) -> Kept {
        Kept { exits: exits.into(), ..Kept::default() }
    }

    const TERMS: (Priority, u64) = (Priority::Level(7), 9);
    const NOW: Boot = Boot(Duration::from_secs(2000));

    #[test]
    fn who_was_evicted_or_killed_for_the_host_waits_as_before() {
        for (last, killed) in [
            (end(5, true, None), Some(false)),
            // The kernel was faster than the end of its grace.
            (end(5, true, Some(Short::Host)), Some(false)),
            (end(5, false, Some(Short::Host)), Some(true)),
            (end(5, false, Some(Short::Above)), Some(true)),
            (end(5, false, Some(Short::Own)), None),
            (end(5, false, None), None),
        ] {
            let found = past(&kept(vec![last.clone()]), "now", TERMS, NOW);
            let since = Boot(Duration::from_secs(1000));
            let want =
                killed.map(|killed| (Victim { priority: TERMS.0, since, used: 77, request: 9, killed }, 1));
            assert_eq!(found, want, "{last:?}");
            assert_eq!(past(&kept(vec![last]), "another boot", TERMS, NOW), None);
        }
        // What came after it counts.
        let since = [end(5, true, None), end(5, false, None)];
        assert_eq!(past(&kept(since.to_vec()), "now", TERMS, NOW), None);
        let unseen = KeptExit { exit: None, ..end(5, true, None) };
        let (victim, _) = past(&kept(vec![unseen]), "now", TERMS, NOW).unwrap();
        assert_eq!((victim.since, victim.used), (NOW, 0));
    }

    #[test]
    fn times_in_a_row_are_counted_until_it_went_on_for_long() {
        let host = |ran| end(ran, false, Some(Short::Host));
        for (exits, want) in [
            (vec![], 0),
            (vec![host(5), host(5), end(5, true, None)], 3),
            (vec![host(5), end(5, false, None), host(5)], 1),
            (vec![host(5), host(600), host(5)], 2),
            (vec![host(5), host(600)], 1),
        ] {
            assert_eq!(times(&kept(exits.clone())), want, "{exits:?}");
        }
    }
}
