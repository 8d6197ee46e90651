//! A runtime that is killed, or whose system calls fail, at each boundary of its commands: a sample of the boundaries here,
//! all of them in the long mode.

use std::cell::RefCell;
use std::rc::Rc;

use crate::boundary::{Plan, Scope, Verb, Victim, sweep};
use crate::case::{Case, case};
use crate::host::Need;

/// Boundaries of one case in a lane.
const SOME: usize = 4;
/// The same where systemd makes the cgroups, which is emulated; and the commands that have to do with systemd, for a sample.
const FEW: usize = 2;
const OF_SYSTEMD: [Verb; 4] = [Verb::Create, Verb::Exec, Verb::Update, Verb::Delete];

/// All of this subject, with a sample of the boundaries.
pub fn cases() -> Vec<Case> {
    all(Some(SOME), 1, false, &Rc::default())
}

/// The same with every boundary, or with so many; what was done is written into the page.
pub fn long(sample: Option<usize>, seed: u64, page: &Rc<RefCell<String>>) -> Vec<Case> {
    all(sample, seed, true, page)
}

fn all(sample: Option<usize>, seed: u64, told: bool, page: &Rc<RefCell<String>>) -> Vec<Case> {
    let plan =
        |verb, scope, victim| Plan { verb, rich: false, systemd: false, scope, victim, sample, seed, told };
    let mut plans: Vec<(String, Plan)> = Vec::new();
    for verb in Verb::ALL {
        let name = verb.name();
        plans.push((format!("killed-{name}"), plan(verb, Scope::Tree, Some(Victim::Runtime))));
        plans.push((format!("fault-{name}"), plan(verb, Scope::Tree, None)));
    }
    for verb in [Verb::Create, Verb::Run, Verb::Exec] {
        let name = verb.name();
        plans.push((format!("caller-killed-{name}"), plan(verb, Scope::Runtime, Some(Victim::Caller))));
        plans.push((format!("init-killed-{name}"), plan(verb, Scope::Tree, Some(Victim::Init))));
    }
    for verb in [Verb::Create, Verb::Delete] {
        for (word, victim) in [("killed", Some(Victim::Runtime)), ("fault", None)] {
            let name = format!("{word}-{}-rich", verb.name());
            plans.push((name, Plan { rich: true, ..plan(verb, Scope::Tree, victim) }));
        }
    }
    for verb in if told { Verb::ALL.to_vec() } else { OF_SYSTEMD.to_vec() } {
        for (word, victim) in [("killed", Some(Victim::Runtime)), ("fault", None)] {
            let few = if victim.is_some() { FEW } else { SOME };
            let sample = if told { sample } else { Some(few) };
            let name = format!("systemd-{word}-{}", verb.name());
            plans.push((name, Plan { systemd: true, sample, ..plan(verb, Scope::Tree, victim) }));
        }
    }
    plans.into_iter().map(|(name, plan)| one(&name, plan, page.clone())).collect()
}

fn one(name: &str, plan: Plan, page: Rc<RefCell<String>>) -> Case {
    let mut needs = Vec::new();
    let (what, number) = match plan.victim {
        Some(_) => ("killed at a system call, delete --force leaves nothing", "K01-K05"),
        None => ("a system call that fails is a clear error", "K06-K11"),
    };
    if plan.victim.is_none() {
        needs.push(Need::X86_64);
    }
    if plan.rich {
        needs.extend([Need::Userns, Need::Busybox]);
    }
    if plan.systemd {
        needs.push(Need::Systemd);
    }
    if plan.rich || plan.verb == Verb::Update {
        needs.push(Need::CgroupAny("pids"));
    }
    let name = format!("boundary.{name}");
    case(&name).checks(format!("fault {number}: {what}")).needs(needs).steps(move |t| {
        let tally = sweep(t, &plan)?;
        let line = format!(
            "| {} | `{name}` | {} | {} | {} | {} |\n",
            t.runtime.name,
            tally.boundaries,
            tally.done,
            tally.survived.values().sum::<usize>(),
            tally.violations.len()
        );
        page.borrow_mut().push_str(&line);
        if plan.told {
            eprintln!("{name}: succeeded all the same: {:?}", tally.survived);
        }
        tally.verdict()
    })
}
