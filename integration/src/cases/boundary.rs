//! A runtime that is killed, or whose system calls fail, at each boundary of its commands: a sample of the boundaries here,
//! all of them in the long mode.

use std::cell::RefCell;
use std::rc::Rc;

use crate::boundary::{Plan, Scope, Verb, Victim, sweep};
use crate::case::{Case, case};
use crate::host::Need;

/// Boundaries of one case in a lane.
const SOME: usize = 6;

/// All of this subject, with a sample of the boundaries.
pub fn cases() -> Vec<Case> {
    all(Some(SOME), 1, false, &Rc::default())
}

/// The same with every boundary, or with so many; what was done is written into the page.
pub fn long(sample: Option<usize>, seed: u64, page: &Rc<RefCell<String>>) -> Vec<Case> {
    all(sample, seed, true, page)
}

fn all(sample: Option<usize>, seed: u64, told: bool, page: &Rc<RefCell<String>>) -> Vec<Case> {
    let plan = |verb, scope, victim| Plan { verb, scope, victim, sample, seed, told };
    let mut plans: Vec<(String, Plan)> = Vec::new();
    for verb in Verb::ALL {
        plans.push((format!("killed-{}", verb.name()), plan(verb, Scope::Tree, Some(Victim::Runtime))));
    }
    for verb in [Verb::Create, Verb::Run, Verb::Exec] {
        let name = verb.name();
        plans.push((format!("caller-killed-{name}"), plan(verb, Scope::Runtime, Some(Victim::Caller))));
        plans.push((format!("init-killed-{name}"), plan(verb, Scope::Tree, Some(Victim::Init))));
    }
    for verb in [Verb::Create, Verb::Exec, Verb::Delete] {
        plans.push((format!("fault-{}", verb.name()), plan(verb, Scope::Tree, None)));
    }
    plans.into_iter().map(|(name, plan)| one(&name, plan, page.clone())).collect()
}

fn one(name: &str, plan: Plan, page: Rc<RefCell<String>>) -> Case {
    let mut needs = vec![Need::CgroupAny("pids")];
    let (what, number) = match plan.victim {
        Some(_) => ("killed at a system call, delete --force leaves nothing", "K01-K05"),
        None => ("a system call that fails is a clear error", "K06-K11"),
    };
    if plan.victim.is_none() {
        needs.push(Need::X86_64);
    }
    let name = format!("boundary.{name}");
    case(&name).checks(format!("fault {number}: {what}")).needs(needs).steps(move |t| {
        let tally = sweep(t, &plan)?;
        let line = format!(
            "| {} | `{name}` | {} | {} | {} | {} |\n",
            t.runtime.name,
            tally.boundaries,
            tally.done,
            tally.survived,
            tally.violations.len()
        );
        page.borrow_mut().push_str(&line);
        tally.verdict()
    })
}
