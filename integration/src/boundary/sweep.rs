//! One kind of disturbance at many boundaries of one command, judged after each. Goes on after a violation, so that a
//! sweep gives a number.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;

use super::beside::Beside;
use super::tracer::{Deed, Order, Scope, Seen, Victim};
use super::{Verb, calls, disturbed, unit};
use crate::base;
use crate::oracle::{self, Before};
use crate::os;
use crate::soak::Dice;
use crate::trial::{Out, Trial, wait_for};

/// What is swept.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub verb: Verb,
    /// The configuration has more in it than the plainest one.
    pub rich: bool,
    /// systemd makes the cgroups.
    pub systemd: bool,
    pub scope: Scope,
    /// Who is killed; nobody: calls fail, with each errno that they can give.
    pub victim: Option<Victim>,
    /// How many boundaries are taken; all of them without.
    pub sample: Option<usize>,
    pub seed: u64,
    /// Tell how far it is, and each violation as it comes.
    pub told: bool,
}

/// What a sweep has done.
#[derive(Debug, Default)]
pub struct Tally {
    /// System calls of the undisturbed command.
    pub boundaries: usize,
    /// Disturbances that took place.
    pub done: usize,
    /// Failed calls after which the command succeeded all the same: how often, by errno and call.
    pub survived: BTreeMap<String, usize>,
    pub violations: Vec<String>,
}

/// More than these are counted, not told.
const TOLD: usize = 20;
/// How long a disturbed command may take.
const LIMIT: u64 = 20;

impl Plan {
    fn order(&self, t: &Trial<'_>, at: usize, deed: Deed) -> Order {
        let seconds = LIMIT * u64::from(t.yard.patience);
        Order { scope: self.scope, at, deed, caller: self.victim == Some(Victim::Caller), seconds }
    }

    /// The disturbances, given what an undisturbed command did.
    fn disturbances(&self, seen: &Seen) -> Vec<(usize, Deed)> {
        // Before it is there, init cannot be killed.
        let first = if self.victim == Some(Victim::Init) { seen.child_after.unwrap_or(0) } else { 0 };
        let mut all = Vec::new();
        for (at, call) in (1..).zip(&seen.calls).skip(first) {
            match self.victim {
                Some(victim) => all.push((at, Deed::Kill(victim))),
                None => all.extend(
                    calls::ERRORS
                        .iter()
                        .filter(|(_, errno)| calls::can_give(call, *errno))
                        .map(|(_, errno)| (at, Deed::Fail(*errno))),
                ),
            }
        }
        match self.sample {
            Some(count) => spread(&all, count, self.seed),
            None => all,
        }
    }
}

/// A user namespace, hooks, a filter, limits and a control group of its own to see.
fn enrich(t: &mut Trial<'_>) -> Result<()> {
    let busybox = t.yard.busybox.clone().context("busybox")?;
    let hook = json!([{"path": busybox, "args": ["true"]}]);
    let all = json!([{"containerID": 0, "hostID": 0, "size": 65536}]);
    let (spec, patch) = (
        &mut t.spec,
        json!({
            "hooks": {"createRuntime": hook, "createContainer": hook, "poststart": hook, "poststop": hook},
            "linux": {
                "uidMappings": all,
                "gidMappings": all,
                "seccomp": {
                    "defaultAction": "SCMP_ACT_ALLOW",
                    "syscalls": [{"names": ["swapon"], "action": "SCMP_ACT_ERRNO"}]
                },
                "resources": {"pids": {"limit": 100}},
                "sysctl": {"net.ipv4.ip_forward": "1"},
            },
        }),
    );
    base::merge(spec, &patch);
    base::namespace(spec, "user", None);
    base::namespace(spec, "cgroup", None);
    base::add_mount(spec, "/data", "tmpfs", "tmpfs", &["ro", "nosuid"]);
    base::add_mount(spec, "/sys/fs/cgroup", "cgroup", "cgroup", &["ro", "nosuid", "noexec", "nodev"]);
    Ok(())
}

/// So many of them, one at a random place of each of as many equal parts.
pub(super) fn spread<T: Clone>(all: &[T], count: usize, seed: u64) -> Vec<T> {
    let mut dice = Dice::new(seed);
    let count = count.min(all.len());
    (0..count)
        .filter_map(|part| {
            let (from, to) = (all.len() * part / count, all.len() * (part + 1) / count);
            all.get(from + dice.roll((to - from) as u64) as usize).cloned()
        })
        .collect()
}

/// The system calls of the undisturbed command, in order.
pub fn calls_of(t: &mut Trial<'_>, plan: &Plan) -> Result<Vec<String>> {
    plan.verb.configure(t);
    let (seen, out) = disturbed(t, plan.verb, &plan.order(t, usize::MAX, Deed::Look))?;
    out.ok().context("undisturbed, but followed")?;
    Ok(seen.calls)
}

/// Does everything that the plan says.
pub fn sweep(t: &mut Trial<'_>, plan: &Plan) -> Result<Tally> {
    plan.verb.configure(t);
    if plan.rich {
        enrich(t)?;
    }
    if plan.systemd {
        unit::driver(t);
    }
    let beside = Beside::start(t, plan.systemd).context("a container beside")?;
    let before = Before::note(t)?;
    let (seen, out) = disturbed(t, plan.verb, &plan.order(t, usize::MAX, Deed::Look))?;
    out.ok().context("undisturbed, but followed")?;
    removed(t, plan, &before, &beside).context("undisturbed")?;
    let mut tally = Tally { boundaries: seen.calls.len(), ..Tally::default() };
    let all = plan.disturbances(&seen);
    for (number, (at, deed)) in all.iter().copied().enumerate() {
        ensure!(!os::asked_to_end(), "asked to end");
        let told = t.history.len();
        let result = disturbed(t, plan.verb, &plan.order(t, at, deed));
        let (seen, judged) = match result {
            Ok((seen, out)) => {
                let judged = judge(t, plan, deed, &seen, &out, (&before, &beside));
                (seen, judged)
            }
            Err(e) => (Seen::default(), Err(e)),
        };
        tally.done += usize::from(seen.done.is_some());
        let call = seen.done.as_deref().unwrap_or("nothing");
        match judged {
            Ok(survived) => {
                if survived {
                    *tally.survived.entry(format!("{deed} {call}")).or_default() += 1;
                }
                t.history.truncate(told);
            }
            Err(e) => {
                tally.violations.push(format!("{deed} at call {at}, {call}: {e:#}"));
                if plan.told {
                    eprintln!("{}: {}", plan.verb.name(), tally.violations.last().map_or("", |v| v));
                }
                if tally.violations.len() > TOLD {
                    t.history.truncate(told);
                }
                if plan.systemd {
                    unit::scrub(t)?;
                }
                scrub(t, &before)?;
            }
        }
        t.forget_files()?;
        if plan.told && number % 100 == 99 {
            eprintln!("{}: {} of {}", plan.verb.name(), number + 1, all.len());
        }
    }
    beside.end(t).context("the container beside")?;
    Ok(tally)
}

/// Whether the command succeeded although a call failed.
fn judge(
    t: &mut Trial<'_>,
    plan: &Plan,
    deed: Deed,
    seen: &Seen,
    out: &Out,
    (before, beside): (&Before, &Beside),
) -> Result<bool> {
    if seen.done.is_none() {
        removed(t, plan, before, beside)?;
        return Ok(false);
    }
    let failed = out.code != Some(0);
    let errno = if let Deed::Fail(errno) = deed { errno } else { 0 };
    // Without memory for itself a program can only end.
    let starved =
        errno == libc::ENOMEM && seen.done.as_deref().is_some_and(|c| ["mmap", "brk", "mremap"].contains(&c));
    // In the foreground the runtime ends as its program does, once that runs.
    let followed = deed == Deed::Kill(Victim::Init) && out.code == Some(137);
    let silent = match deed {
        Deed::Kill(Victim::Runtime | Victim::Caller) => true,
        _ => starved || followed && matches!(plan.verb, Verb::Run | Verb::Exec),
    };
    if failed && !silent {
        explained(t, out)?;
        // A `run` that fails after its program has ended leaves the container for `delete`.
        if plan.verb == Verb::Create {
            let left = before.complaints(t);
            ensure!(left.is_empty(), "after the failure ({}): {}", out.stderr.trim(), left.join("; "));
        }
    }
    observed(t)?;
    if plan.verb == Verb::Exec {
        t.is("running").context("the container, after exec")?;
    }
    removed(t, plan, before, beside)
        .with_context(|| format!("after exit {:?} ({})", out.code, out.stderr.trim()))?;
    Ok(!failed && errno != 0)
}

/// A failure is one line, and neither a crash nor a signal.
pub(super) fn explained(t: &Trial<'_>, out: &Out) -> Result<()> {
    let out = out.clone().fails()?;
    if t.runtime.strict {
        let lines: Vec<&str> = out.stderr.lines().filter(|l| !l.contains("level=warning")).collect();
        ensure!(lines.len() == 1, "want one line of error, got {:?}", out.stderr);
    }
    Ok(())
}

/// `state` and `list` give a sensible answer, whatever happened.
fn observed(t: &mut Trial<'_>) -> Result<()> {
    let state = t.verb("state", &[])?;
    if state.code == Some(0) {
        let status = state.json()?["status"].as_str().unwrap_or_default().to_string();
        let words = ["creating", "created", "running", "paused", "stopped"];
        ensure!(words.contains(&status.as_str()), "state says {status:?}");
    } else {
        let state = state.fails()?;
        if t.runtime.strict {
            state.says("does not exist")?;
        }
    }
    let list = t.rt(&["list", "--format", "json"]).run()?.ok()?.json()?;
    ensure!(list.is_array() || list.is_null(), "list prints {list}");
    Ok(())
}

/// One `delete --force` succeeds, and nothing is left of this container while the other one lives.
fn removed(t: &mut Trial<'_>, plan: &Plan, before: &Before, beside: &Beside) -> Result<()> {
    t.remove()?;
    let mut left = before.complaints(t);
    left.extend(oracle::traces(t));
    if plan.systemd {
        left.extend(unit::traces(t));
    }
    left.extend(beside.complaints(t));
    ensure!(left.is_empty(), "{}", left.join("; "));
    Ok(())
}

/// After a violation: what is new goes by force, so that the next disturbance begins as this one did.
pub(super) fn scrub(t: &mut Trial<'_>, before: &Before) -> Result<()> {
    let done = wait_for(5, || {
        before.new_children().iter().for_each(|(pid, _)| os::kill(*pid, libc::SIGKILL));
        for dir in before.new_cgroups(t.yard) {
            for top in t.yard.host.hierarchies().iter().filter(|top| dir.starts_with(top)) {
                oracle::release(&dir, top);
            }
            let _ = fs::remove_dir(&dir);
        }
        let _ = fs::remove_dir_all(t.state_root().join(&t.id));
        Ok((before.new_children().is_empty() && before.new_cgroups(t.yard).is_empty()).then_some(()))
    });
    if done.is_err() {
        bail!("a violation cannot be taken away: {}", before.complaints(t).join("; "));
    }
    Ok(())
}

impl Tally {
    /// No violation, and the sweep has not missed its subject.
    pub fn verdict(&self) -> Result<()> {
        ensure!(self.done > 0, "of {} boundaries none was hit", self.boundaries);
        let told: Vec<&str> = self.violations.iter().take(TOLD).map(String::as_str).collect();
        let count = self.violations.len();
        ensure!(count == 0, "{count} of {} disturbances: {}", self.done, told.join("\n  "));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_spread_and_repeats() {
        let all: Vec<usize> = (0..100).collect();
        let some = spread(&all, 10, 1);
        assert_eq!(some.len(), 10);
        assert!(some.iter().enumerate().all(|(part, n)| n / 10 == part), "{some:?}");
        assert_eq!(some, spread(&all, 10, 1));
        assert_ne!(some, spread(&all, 10, 2));
        assert_eq!(spread(&all[..3], 10, 1), [0, 1, 2]);
    }
}
