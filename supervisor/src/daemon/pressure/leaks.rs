//! `restart_above`: what uses more and more is restarted before its limit ends it. Only services that ask for it are looked at.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};

use crate::clock::Boot;
use crate::daemon::owner::{Owner, Slot};
use crate::machine::State;
use crate::memory::leak::{Above, Leak};
use crate::names::RunId;

/// What is looked at, and when again.
pub(super) type Leaks = BTreeMap<RunId, (Boot, Leak)>;

impl Owner {
    /// When a service is looked at for a leak.
    pub(in crate::daemon) fn leak_due(&self) -> Option<Boot> {
        self.pressure.leaks.values().map(|(at, _)| *at).min()
    }

    /// Begins to look at what has come up.
    pub(super) fn settle_leaks(&mut self, running: &BTreeSet<RunId>) {
        let now = Boot::now();
        self.pressure.leaks.retain(|run, _| running.contains(run));
        for run in running {
            if let Some(rule) = self.service(&run.instance).0.pressure.restart_above {
                let first = (now.after(rule.every()), Leak::default());
                self.pressure.leaks.entry(run.clone()).or_insert(first);
            }
        }
    }

    /// Looks at those that are due, and restarts who has leaked for long enough.
    pub(in crate::daemon) fn look_for_leaks(&mut self, now: Boot) {
        let due: Vec<_> =
            self.pressure.leaks.iter().filter(|(_, (at, _))| *at <= now).map(|(r, _)| r.clone()).collect();
        for run in due {
            let rule = self.service(&run.instance).0.pressure.restart_above;
            let Some((rule, (used, limit))) = rule.zip(self.use_of(&run)) else {
                self.pressure.leaks.remove(&run);
                continue;
            };
            let Some((at, leak)) = self.pressure.leaks.get_mut(&run) else { continue };
            *at = now.after(rule.every());
            if let Some(why) = leak.look(now, &rule, used, limit) {
                self.restart_leak(&run, &rule, why, now);
            }
        }
    }

    /// Bytes in use that are no contents of files, and their limit.
    fn use_of(&self, run: &RunId) -> Option<(u64, u64)> {
        let slot = self.slots.get(&run.instance)?;
        let State::Running { run: current, pid, .. } = &slot.machine.state else { return None };
        let used = self.controllers.used(*pid)?;
        let limit = self.controllers.usage(*pid).limit?;
        (current == run).then_some((used.current.saturating_sub(used.cache), limit))
    }

    /// Not while another instance of it is not ready, and not beyond the restarts that the host may have: then later.
    fn restart_leak(&mut self, run: &RunId, rule: &Above, why: String, now: Boot) {
        let instance = &run.instance;
        let other = |s: &&Slot| {
            let of = &s.machine.instance;
            of.service == instance.service && of != instance && s.machine.up && !self.fitness(s).ready
        };
        let wanted = self.slots.get(instance).is_some_and(|s| s.machine.up && s.again_pending.is_none());
        let rolling = self.rolling.contains_key(&instance.service);
        if !wanted || rolling || self.slots.values().any(|s| other(&s)) {
            return;
        }
        if let Err(at) = self.turns.restart(now) {
            if let Some((next, _)) = self.pressure.leaks.get_mut(run) {
                *next = at.max(now.after(rule.every()));
            }
            return;
        }
        self.pressure.leaks.remove(run);
        self.tell(Some(&instance.service), Some(instance.replica), "restart-above", why.clone());
        // Those that say `restart = true` about it are restarted after it.
        self.restart_dependents(&BTreeSet::from([instance.clone()]));
        self.replace_in_turn(instance, &why);
    }
}
