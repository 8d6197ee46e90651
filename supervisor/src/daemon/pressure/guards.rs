//! What gets nowhere at its `memory_high`: looked at while the kernel says that it stalls, and freed, restarted or told of.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use crate::clock::Boot;
use crate::daemon::owner::{Owner, Slot};
use crate::machine::State;
use crate::memory::guard::{AtHigh, Guard, Seen};
use crate::names::RunId;

/// While somebody stalls.
const EVERY: Duration = Duration::from_secs(1);

/// What is looked at and when again; without a time that is over for the run.
pub(super) type Guards = BTreeMap<RunId, (Option<Boot>, Guard)>;

impl Owner {
    /// When somebody who stalls is looked at.
    pub(in crate::daemon) fn guard_due(&self) -> Option<Boot> {
        self.pressure.guards.values().filter_map(|(at, _)| *at).min()
    }

    /// The kernel says that a run stalls.
    pub(super) fn begin_guard(&mut self, run: &RunId) {
        let first = (Some(Boot::now()), Guard::default());
        self.pressure.guards.entry(run.clone()).or_insert(first);
    }

    pub(super) fn settle_guards(&mut self, running: &BTreeSet<RunId>) {
        self.pressure.guards.retain(|run, _| running.contains(run));
    }

    /// Looks at those that are due.
    pub(in crate::daemon) fn look_at_guards(&mut self, now: Boot) {
        let late = |at: &Option<Boot>| at.is_some_and(|at| at <= now);
        let due: Vec<_> =
            self.pressure.guards.iter().filter(|(_, (at, _))| late(at)).map(|(r, _)| r.clone()).collect();
        for run in due {
            let figures = self.place.unified_container(&run).and_then(|dir| figures(&dir));
            // The ladder's own throttling ends by itself.
            let throttled = self.pressure.marks.get(&run).is_some_and(|m| m.throttled.is_some());
            let Some((used, high, full)) = figures.filter(|_| !throttled) else {
                self.pressure.guards.remove(&run);
                continue;
            };
            let Some((at, guard)) = self.pressure.guards.get_mut(&run) else { continue };
            match guard.look(now, used, high, full) {
                Seen::Calm => drop(self.pressure.guards.remove(&run)),
                Seen::Again => *at = Some(now.after(EVERY)),
                Seen::Stuck(why) => {
                    *at = None;
                    self.unstick(&run, why);
                }
            }
        }
    }

    fn unstick(&mut self, run: &RunId, why: String) {
        let instance = &run.instance;
        let up = |s: &Slot| s.machine.up && matches!(s.machine.state, State::Running { .. });
        if !self.slots.get(instance).is_some_and(up) {
            return;
        }
        match self.service(instance).0.pressure.at_high {
            AtHigh::Raise => {
                let file = self.place.unified_container(run).map(|dir| dir.join("memory.high"));
                let done = file.map_or(Ok(()), |file| std::fs::write(file, "max"));
                let text = match done {
                    Ok(()) => format!("{why}: memory_high is lifted until its next start"),
                    Err(e) => format!("{why}: memory.high cannot be lifted: {e}"),
                };
                self.tell_of(instance, "memory-high-raised", text);
            }
            AtHigh::Leave => self.tell_of(instance, "memory-high-stalls", why),
            AtHigh::Restart => {
                self.tell_of(instance, "memory-high-restart", why.clone());
                self.restart_dependents(&BTreeSet::from([instance.clone()]));
                self.replace_in_turn(instance, &why);
            }
        }
    }
}

/// Bytes in use, `memory.high`, and how much of ten seconds all of it stalled; `None` = it has no such line.
fn figures(dir: &Path) -> Option<(u64, u64, f64)> {
    let number = |name: &str| std::fs::read_to_string(dir.join(name)).ok()?.trim().parse::<u64>().ok();
    let pressure = std::fs::read_to_string(dir.join("memory.pressure")).ok()?;
    let full = crate::health::pressure::avg10(&pressure, "full")?;
    Some((number("memory.current")?, number("memory.high")?, full))
}
