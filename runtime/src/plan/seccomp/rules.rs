//! From a profile to decisions: which rule speaks for which system call number of one architecture.
//! May use: spec types, the call tables, crate::error. Pure.
//!
//! Which rule wins is what libseccomp does, because that is what profiles were written against:
//! - a rule with the default action is dropped;
//! - a rule without conditions beats every rule with conditions on that call, and of two the first wins;
//! - the same conditions with two actions are an error, and so is a rule whose conditions begin an earlier,
//!   longer rule with another action;
//! - rules whose first condition is on a higher argument are tested first, then EQ, NE and MASKED_EQ before
//!   LT and LE before GT and GE, then greater values first (for LT and LE smaller ones).

use super::arch::Arch;
use super::mux::Multiplexers;
use super::words::{OPERATORS, Op, action, known, ret};
use crate::error::{Code, Error, Result, quoted};
use crate::plan::syscalls::{self, Call};
use crate::spec::types::{Seccomp, SeccompArg, SeccompRule};
use std::cmp::Ordering;

/// Arguments that a system call has.
const ARGS: u32 = 6;
/// The kernel takes no longer program (`BPF_MAXINSNS`), so more cases than that cannot be compiled.
pub(super) const MAX_INSNS: usize = 4096;

/// One comparison of an argument. A mask only with [`Op::MaskedEq`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cond {
    pub arg: u8,
    pub op: Op,
    pub mask: u64,
    pub value: u64,
}

/// All conditions hold: this action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Case {
    /// Sorted by argument, each at most once, never empty.
    pub conds: Vec<Cond>,
    pub action: u32,
    /// True for cases of our own making on a multiplexing call; they give way instead of clashing.
    derived: bool,
}

/// What happens at one system call number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    Always(u32),
    /// The first case that holds; the default action when none does.
    Cases(Vec<Case>),
}

/// A rule that was read and checked.
struct Rule {
    /// Position in the profile.
    at: usize,
    action: u32,
    calls: Vec<Call>,
    /// One of these must hold; no entry means no condition.
    any_of: Vec<Vec<Cond>>,
}

/// A profile that was read and checked, before any architecture is considered.
pub(super) struct Profile {
    pub default: u32,
    rules: Vec<Rule>,
    /// Some rule asks for notifications.
    pub notify: bool,
    /// Names that no architecture has.
    pub unknown: Vec<String>,
}

/// Every decision of one architecture.
pub(super) struct Calls {
    /// Sorted by number.
    pub decisions: Vec<(u32, Decision)>,
    /// The greatest number that the profile mentions, leaving out Arm's private range.
    pub newest: Option<u32>,
}

/// Reads the rules of a profile.
///
/// # Errors
/// Unknown words and values out of range, with the JSON pointer of the field.
pub(super) fn read(profile: &Seccomp) -> Result<Profile> {
    let default = action(
        || "/linux/seccomp".into(),
        ("defaultAction", &profile.default_action),
        ("defaultErrnoRet", profile.default_errno_ret),
    )?;
    if default == ret::USER_NOTIF {
        let text = "SCMP_ACT_NOTIFY cannot be used as default action";
        return Err(Error::spec("/linux/seccomp/defaultAction", text));
    }
    let mut out = Profile { default, rules: Vec::new(), notify: false, unknown: Vec::new() };
    for (i, rule) in profile.syscalls.iter().enumerate() {
        read_rule(&mut out, i, rule).map_err(|e| e.field(format!("/linux/seccomp/syscalls/{i}")))?;
    }
    Ok(out)
}

fn read_rule(out: &mut Profile, at: usize, rule: &SeccompRule) -> Result<()> {
    let SeccompRule { names, action: word, errno_ret, args } = rule;
    let here = || format!("/linux/seccomp/syscalls/{at}");
    let action = action(here, ("action", word), ("errnoRet", *errno_ret))?;
    if names.is_empty() {
        return Err(Error::spec(
            format!("{}/names", here()),
            "empty list, want at least one system call name",
        ));
    }
    let mut calls = Vec::with_capacity(names.len());
    for (i, name) in names.iter().enumerate() {
        if action == ret::USER_NOTIF && name == "write" {
            let text = "SCMP_ACT_NOTIFY cannot be used for the write syscall";
            return Err(Error::spec(format!("{}/names/{i}", here()), text));
        }
        match syscalls::find(name) {
            Some(call) => calls.push(call),
            None if name.is_empty() => {
                return Err(Error::spec(format!("{}/names/{i}", here()), "empty system call name"));
            }
            None => out.unknown.push(format!("{}/names/{i}: unknown system call {}", here(), quoted(name))),
        }
    }
    let mut conds = Vec::with_capacity(args.len());
    for (i, arg) in args.iter().enumerate() {
        conds.push(read_cond(arg, || format!("{}/args/{i}", here()))?);
    }
    out.notify |= action == ret::USER_NOTIF;
    out.rules.push(Rule { at, action, calls, any_of: alternatives(conds) });
    Ok(())
}

fn read_cond(arg: &SeccompArg, at: impl Fn() -> String) -> Result<Cond> {
    let SeccompArg { index, value, value_two, op } = arg;
    let op = known(&OPERATORS, "operator", op, || format!("{}/op", at()))?;
    if *index >= ARGS {
        let text = format!("no such argument, got {index}, want 0 to {}", ARGS - 1);
        return Err(Error::spec(format!("{}/index", at()), text));
    }
    // MASKED_EQ has the mask in `value`; bits of `valueTwo` outside the mask do not count.
    let (mask, value) = if op == Op::MaskedEq { (*value, value & value_two) } else { (u64::MAX, *value) };
    Ok(Cond { arg: *index as u8, op, mask, value })
}

/// Conditions on different arguments must all hold; when an argument occurs twice, any of them is enough.
fn alternatives(mut conds: Vec<Cond>) -> Vec<Vec<Cond>> {
    conds.sort_by_key(|c| c.arg);
    if conds.windows(2).any(|w| w[0].arg == w[1].arg) {
        conds.into_iter().map(|c| vec![c]).collect()
    } else if conds.is_empty() {
        Vec::new()
    } else {
        vec![conds]
    }
}

impl Cond {
    /// True when the condition holds for `arg`.
    pub(super) fn holds(&self, arg: u64) -> bool {
        match self.op {
            Op::Eq => arg == self.value,
            Op::Ne => arg != self.value,
            Op::Lt => arg < self.value,
            Op::Le => arg <= self.value,
            Op::Gt => arg > self.value,
            Op::Ge => arg >= self.value,
            Op::MaskedEq => arg & self.mask == self.value,
        }
    }

    /// The condition as `arch` must see it; `Err(b)` when the answer is always `b`.
    ///
    /// (A mask of all bits is EQ.)
    ///
    /// A 32-bit call leaves the upper half of a register to chance (the caller can put anything there), so
    /// only the lower half counts. A value that is the sign extension of 32 bits means those bits; any other
    /// value above 32 bits is greater than every argument.
    pub(super) fn on(mut self, arch: Arch) -> Result<Cond, bool> {
        const LOW: u64 = 0xffff_ffff;
        let whole = if arch.is_32bit() { LOW } else { u64::MAX };
        if self.mask & whole == whole && self.op == Op::MaskedEq && self.value & !whole == 0 {
            self = Cond { op: Op::Eq, mask: u64::MAX, ..self };
        }
        if self.mask == 0 {
            return Err(true);
        }
        if !arch.is_32bit() {
            return Ok(self);
        }
        let high_of_mask = self.mask & !LOW;
        let sign_extended = self.value & !LOW == high_of_mask && self.value & self.mask & 0x8000_0000 != 0;
        if sign_extended {
            self.value &= LOW;
        }
        if self.op == Op::MaskedEq {
            if self.value & !LOW != 0 {
                return Err(false);
            }
            self.mask &= LOW;
            if self.mask == 0 {
                return Err(true);
            }
        }
        Ok(self)
    }

    /// Whether it is tested before `other`.
    fn order(&self, other: &Cond) -> Ordering {
        let class = |c: &Cond| match c.op {
            Op::Eq | Op::Ne | Op::MaskedEq => 0,
            Op::Lt | Op::Le => 1,
            Op::Gt | Op::Ge => 2,
        };
        let by_value = other.value.cmp(&self.value);
        let by_value = if class(self) == 1 { by_value.reverse() } else { by_value };
        other.arg.cmp(&self.arg).then(class(self).cmp(&class(other))).then(by_value)
    }
}

/// Which case is tested first.
fn order(a: &Case, b: &Case) -> Ordering {
    let pairs = a.conds.iter().zip(&b.conds);
    let differ = pairs.map(|(x, y)| x.order(y)).find(|o| o.is_ne());
    differ.unwrap_or_else(|| a.conds.len().cmp(&b.conds.len()))
}

/// A rule as it reaches one number: itself, or through a multiplexing call. Small, because it is sorted.
struct Entry<'a> {
    number: u32,
    /// Index of the route in [`Multiplexers`].
    route: Option<u32>,
    rule: &'a Rule,
}

impl Profile {
    /// The decisions for one architecture.
    ///
    /// # Errors
    /// Two rules that contradict each other, with the pointer of the second.
    pub(super) fn calls(&self, arch: Arch) -> Result<Calls> {
        let multiplexers = Multiplexers::of(arch);
        let names = self.rules.iter().map(|rule| rule.calls.len()).sum();
        let (mut entries, mut newest) = (Vec::with_capacity(names), None);
        for rule in &self.rules {
            for &call in &rule.calls {
                let number = syscalls::number(call, arch);
                newest = newest.max(number.filter(|n| !(arch == Arch::Arm && *n >= 0xf_0000)));
                if rule.action == self.default {
                    continue;
                }
                if let Some(number) = number {
                    entries.push(Entry { number, route: None, rule });
                }
                if let Some((route, number)) = multiplexers.route(call)
                    && (rule.any_of.is_empty() || !more_permissive(rule.action, self.default))
                {
                    entries.push(Entry { number, route: Some(route), rule });
                }
            }
        }
        entries.sort_by_key(|e| e.number);
        let mut decisions = Vec::with_capacity(entries.len());
        for group in entries.chunk_by(|a, b| a.number == b.number) {
            decisions.push((group[0].number, decide(group, &multiplexers, arch)?));
        }
        Ok(Calls { decisions, newest })
    }
}

/// The order in which the kernel ranks results of several filters: later ones let more through.
fn more_permissive(a: u32, b: u32) -> bool {
    (a & ret::ACTION) as i32 > (b & ret::ACTION) as i32
}

/// What the rules for one number come to.
fn decide(entries: &[Entry], multiplexers: &Multiplexers, arch: Arch) -> Result<Decision> {
    let mut cases: Vec<Case> = Vec::new();
    for entry in entries {
        let Rule { at, action, ref any_of, .. } = *entry.rule;
        if let Some(route) = entry.route {
            let conds = vec![multiplexers.cond(route)];
            add(&mut cases, Case { conds, action, derived: true }, at)?;
            continue;
        }
        if any_of.is_empty() {
            return Ok(Decision::Always(action));
        }
        for all_of in any_of {
            let Some(conds) = narrowed(all_of, arch) else { continue };
            if conds.is_empty() {
                return Ok(Decision::Always(action));
            }
            add(&mut cases, Case { conds, action, derived: false }, at)?;
        }
    }
    cases.sort_by(order);
    Ok(Decision::Cases(cases))
}

/// The conditions that remain on `arch`; `None` when one of them can never hold.
fn narrowed(conds: &[Cond], arch: Arch) -> Option<Vec<Cond>> {
    let mut out = Vec::with_capacity(conds.len());
    for cond in conds {
        match cond.on(arch) {
            Ok(cond) => out.push(cond),
            Err(true) => {}
            Err(false) => return None,
        }
    }
    Some(out)
}

/// Adds a case unless an earlier one covers it.
fn add(cases: &mut Vec<Case>, new: Case, at: usize) -> Result<()> {
    for old in cases.iter_mut() {
        if old.conds == new.conds && (old.derived || new.derived) {
            // One number stands for several calls here: keep the stricter answer.
            if more_permissive(old.action, new.action) {
                old.action = new.action;
            }
            old.derived &= new.derived;
            return Ok(());
        }
        let clash = old.action != new.action && !old.derived && !new.derived;
        if clash && old.conds.starts_with(&new.conds) {
            let text = "same conditions as an earlier rule for the same system call, but another action";
            return Err(Error::spec(format!("/linux/seccomp/syscalls/{at}"), text));
        }
        if new.conds.starts_with(&old.conds) {
            return Ok(());
        }
    }
    if cases.len() >= MAX_INSNS {
        return Err(too_long(&format!("/linux/seccomp/syscalls/{at}"), cases.len()));
    }
    cases.push(new);
    Ok(())
}

/// The program cannot be as long as the profile needs.
pub(super) fn too_long(at: &str, insns: usize) -> Error {
    let text = format!("the filter is too long, got {insns} instructions, want at most {MAX_INSNS}");
    Error::spec(at, text).code(Code::Unsupported)
}
