//! From decisions to a classic BPF program: balanced trees of comparisons, written from the end to the start
//! so that every jump knows its distance. May use: the decisions of this module, crate::sys::seccomp::Insn. Pure.

use super::arch::{Arch, X32_BIT};
use super::rules::{Calls, Case, Cond, Decision};
use super::words::{Op, ret};
use crate::sys::seccomp::Insn;

/// Instruction codes of linux/bpf_common.h that a filter needs.
pub(super) mod op {
    /// Load a word of `seccomp_data` into the accumulator.
    pub(crate) const LOAD: u16 = 0x20;
    pub(crate) const AND: u16 = 0x54;
    /// Jump always; the distance is in `k`.
    pub(crate) const JUMP: u16 = 0x05;
    pub(crate) const JUMP_EQ: u16 = 0x15;
    pub(crate) const JUMP_GE: u16 = 0x35;
    /// Jump if any bit of `k` is set.
    pub(crate) const JUMP_SET: u16 = 0x45;
    pub(crate) const RETURN: u16 = 0x06;
}

/// Offsets in `struct seccomp_data` of linux/seccomp.h.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const ARGS: u32 = 16;

/// Farthest target of a conditional jump; two less than the field holds, because aiming one branch may put
/// one more instruction in between.
const NEAR: usize = 253;

/// An instruction of the unfinished program, counted from its end.
type Label = usize;

/// Where a decision ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target<'a> {
    Return(u32),
    At(Label),
    /// Tests of arguments as this architecture sees them, written on first use.
    Cases(Arch, &'a [Case]),
}

/// From this value on (until the next entry): there.
type Step<'a, T> = (T, Target<'a>);

struct Writer {
    /// Last instruction first.
    code: Vec<Insn>,
    /// The latest copy of each return.
    returns: Vec<(u32, Label)>,
    /// For the conditions being written.
    arch: Arch,
    default: u32,
}

/// One architecture to write.
pub(super) struct Section {
    pub arch: Arch,
    pub calls: Calls,
}

/// Writes the whole program. `native` comes first in the dispatch; calls of architectures without a section
/// end the thread. `stub` turns the default into ENOSYS above the newest number that a profile mentions.
pub(super) fn program(sections: &[Section], default: u32, stub: bool) -> Vec<Insn> {
    let mut w = Writer { code: Vec::with_capacity(1024), returns: Vec::new(), arch: Arch::NATIVE, default };
    let mut entries = Vec::new();
    for section in sections.iter().rev().filter(|s| s.arch != Arch::X32) {
        let mut steps = number_steps(section, default, stub);
        if section.arch == Arch::X86_64 {
            match sections.iter().find(|s| s.arch == Arch::X32) {
                Some(x32) => steps.extend(number_steps(x32, default, stub)),
                // Minus one is no call at all: a tracer has cancelled the call.
                None => {
                    steps.push((X32_BIT, Target::Return(ret::KILL_THREAD)));
                    steps.push((u32::MAX, Target::Return(default)));
                }
            }
        }
        let tree = w.tree(&merged(steps));
        let start = w.load(NUMBER, tree);
        entries.push((section.arch.audit(), start));
    }
    let mut next = w.ret(ret::KILL_THREAD);
    for (audit, start) in entries {
        next = w.branch(op::JUMP_EQ, audit, start, next);
    }
    w.load(ARCH, next);
    w.code.reverse();
    w.code
}

/// All numbers of one architecture, in order.
fn number_steps(section: &Section, default: u32, stub: bool) -> Vec<Step<'_, u32>> {
    let Section { arch, calls: Calls { decisions, newest } } = section;
    let newest = newest.filter(|_| stub);
    let fallback = |number| match newest {
        Some(newest) if number > newest => Target::Return(ret::ENOSYS),
        // On s390 a call that the kernel does not know arrives as number 0.
        Some(_) if number == 0 && *arch == Arch::S390x => Target::Return(ret::ENOSYS),
        _ => Target::Return(default),
    };
    let first = arch.number_bit();
    let mut changes = vec![(first, fallback(first)), (first + 1, fallback(first + 1))];
    changes.extend(newest.map(|n| (n + 1, fallback(n + 1))));
    changes.sort_by_key(|c| c.0);
    let mut changes = changes.into_iter().peekable();
    let mut steps = Vec::with_capacity(2 * decisions.len() + 3);
    for (number, decision) in decisions {
        while let Some(change) = changes.next_if(|c| c.0 <= *number) {
            steps.push(change);
        }
        let target = match decision {
            Decision::Always(action) => Target::Return(*action),
            Decision::Cases(cases) => Target::Cases(*arch, cases),
        };
        steps.push((*number, target));
        steps.push((*number + 1, fallback(*number + 1)));
    }
    steps.extend(changes);
    steps
}

/// Drops what begins where the next step begins, and what continues the step before it.
fn merged<T: PartialEq + Copy>(steps: Vec<Step<'_, T>>) -> Vec<Step<'_, T>> {
    let mut out: Vec<Step<'_, T>> = Vec::with_capacity(steps.len());
    for step in steps {
        if out.last().is_some_and(|last| last.0 == step.0) {
            out.pop();
        }
        if out.last().is_none_or(|last| last.1 != step.1) {
            out.push(step);
        }
    }
    out
}

impl Writer {
    fn push(&mut self, code: u16, k: u32) -> Label {
        self.code.push(Insn { code, jt: 0, jf: 0, k });
        self.code.len() - 1
    }

    /// A return that a branch written next can reach; an earlier copy if possible.
    fn ret(&mut self, result: u32) -> Label {
        let here = self.code.len();
        match self.returns.iter_mut().find(|(r, _)| *r == result) {
            Some((_, label)) if here - *label <= NEAR => return *label,
            Some((_, label)) => *label = here,
            None => self.returns.push((result, here)),
        }
        self.push(op::RETURN, result)
    }

    /// The same place, in reach of a branch written next.
    fn near(&mut self, label: Label) -> Label {
        let distance = self.code.len() - label;
        if distance <= NEAR {
            return label;
        }
        match self.code[label] {
            Insn { code: op::RETURN, k, .. } => self.ret(k),
            _ => self.push(op::JUMP, distance as u32 - 1),
        }
    }

    /// Compares the accumulator with `k`.
    fn branch(&mut self, code: u16, k: u32, yes: Label, no: Label) -> Label {
        if yes == no {
            return yes;
        }
        let yes = self.near(yes);
        let no = self.near(no);
        let here = self.code.len();
        let skip = |label: Label| (here - label - 1) as u8;
        self.code.push(Insn { code, jt: skip(yes), jf: skip(no), k });
        here
    }

    /// Loads a word and goes on at `next`, which must be near enough to fall into.
    fn load(&mut self, offset: u32, next: Label) -> Label {
        self.fall_into(next);
        self.push(op::LOAD, offset)
    }

    /// Makes `label` the next instruction.
    fn fall_into(&mut self, label: Label) {
        let distance = self.code.len() - label;
        match self.code[label] {
            _ if distance == 1 => {}
            Insn { code: op::RETURN, k, .. } => {
                self.push(op::RETURN, k);
            }
            _ => {
                self.push(op::JUMP, distance as u32 - 1);
            }
        }
    }

    /// The word of argument `arg` that holds its high or low half.
    fn arg_offset(&self, arg: u8, high: bool) -> u32 {
        let second = high != self.arch.is_big_endian();
        ARGS + 8 * u32::from(arg) + if second { 4 } else { 0 }
    }

    fn target(&mut self, target: Target) -> Label {
        match target {
            Target::Return(result) => self.ret(result),
            Target::At(label) => label,
            Target::Cases(arch, cases) => {
                self.arch = arch;
                self.cases(cases)
            }
        }
    }

    /// A balanced decision over the accumulator. `steps` is sorted, merged, and begins at the least value.
    fn tree(&mut self, steps: &[Step<u32>]) -> Label {
        match steps {
            [] => self.ret(self.default),
            [(_, only)] => self.target(*only),
            [(_, outer), (value, inner), (next, outer2)] if outer == outer2 && *next == *value + 1 => {
                let inner = self.target(*inner);
                let outer = self.target(*outer);
                self.branch(op::JUMP_EQ, *value, inner, outer)
            }
            _ => {
                let (low, high) = steps.split_at(steps.len() / 2);
                let value = high[0].0;
                let high = self.tree(high);
                let low = self.tree(low);
                self.branch(op::JUMP_GE, value, high, low)
            }
        }
    }

    /// Tests of arguments. Neighbours that look at one and the same argument become one tree.
    fn cases(&mut self, cases: &[Case]) -> Label {
        let mut next = self.ret(self.default);
        let groups: Vec<&[Case]> =
            cases.chunk_by(|a, b| plain(a).is_some() && plain(a) == plain(b)).collect();
        for group in groups.into_iter().rev() {
            if let Some(arg) = plain(&group[0]) {
                let steps = value_steps(group, next);
                next = self.value_tree(arg, &steps);
                continue;
            }
            for case in group.iter().rev() {
                let mut yes = self.ret(case.action);
                for cond in case.conds.iter().rev() {
                    yes = self.cond(cond, yes, next);
                }
                next = yes;
            }
        }
        next
    }

    /// One condition.
    fn cond(&mut self, cond: &Cond, yes: Label, no: Label) -> Label {
        if cond.op != Op::MaskedEq {
            let at = |holds| Target::At(if holds { yes } else { no });
            let steps = edges([*cond]).into_iter().map(|v| (v, at(cond.holds(v)))).collect();
            return self.value_tree(cond.arg, &merged(steps));
        }
        let mut next = yes;
        for high in [false, true] {
            let half = |v: u64| if high { (v >> 32) as u32 } else { v as u32 };
            let (mask, value) = (half(cond.mask), half(cond.value));
            if mask == 0 {
                continue;
            }
            next = match value {
                0 => self.branch(op::JUMP_SET, mask, no, next),
                _ => self.branch(op::JUMP_EQ, value, next, no),
            };
            if value != 0 && mask != u32::MAX {
                self.fall_into(next);
                next = self.push(op::AND, mask);
            }
            next = self.load(self.arg_offset(cond.arg, high), next);
        }
        next
    }

    /// A decision over a whole argument; over its low half where only that counts.
    fn value_tree(&mut self, arg: u8, steps: &[Step<'_, u64>]) -> Label {
        let low_only = self.arch.is_32bit();
        let in_reach =
            if low_only { steps.partition_point(|s| s.0 <= u64::from(u32::MAX)) } else { steps.len() };
        let steps = &steps[..in_reach];
        let mut words: Vec<Step<'_, u32>> = Vec::new();
        for group in steps.chunk_by(|a, b| a.0 >> 32 == b.0 >> 32) {
            let high = (group[0].0 >> 32) as u32;
            let mut low: Vec<Step<'_, u32>> = group.iter().map(|(v, t)| (*v as u32, *t)).collect();
            if let (false, Some((_, before))) = (low[0].0 == 0, words.last()) {
                low.insert(0, (0, *before));
            }
            let last = low[low.len() - 1].1;
            let low = self.tree_of_word(self.arg_offset(arg, false), &low);
            words.push((high, low));
            if high < u32::MAX {
                words.push((high + 1, last));
            }
        }
        if low_only {
            return words.first().map_or(0, |(_, low)| self.target(*low));
        }
        let words = merged(words);
        match self.tree_of_word(self.arg_offset(arg, true), &words) {
            Target::At(label) => label,
            target => self.target(target),
        }
    }

    /// A decision over one loaded word; no load when there is nothing to decide.
    fn tree_of_word<'a>(&mut self, offset: u32, steps: &[Step<'a, u32>]) -> Target<'a> {
        if let [(_, only)] = steps {
            return *only;
        }
        let tree = self.tree(steps);
        Target::At(self.load(offset, tree))
    }
}

/// The argument of a case that only compares that one argument, without a mask.
fn plain(case: &Case) -> Option<u8> {
    match case.conds.as_slice() {
        [cond] if cond.op != Op::MaskedEq => Some(cond.arg),
        _ => None,
    }
}

/// What the first case that holds does, for every value of the argument; `next` when none does.
fn value_steps(cases: &[Case], next: Label) -> Vec<Step<'static, u64>> {
    let at = |value| {
        let first = cases.iter().find(|case| case.conds.iter().all(|c| c.holds(value)));
        first.map_or(Target::At(next), |case| Target::Return(case.action))
    };
    let values = edges(cases.iter().flat_map(|case| case.conds.iter().copied()));
    merged(values.into_iter().map(|v| (v, at(v))).collect())
}

/// The least value, and every value at which one of the conditions may begin or cease to hold.
fn edges(conds: impl IntoIterator<Item = Cond>) -> Vec<u64> {
    let mut out = vec![0];
    for cond in conds {
        out.push(cond.value);
        out.extend(cond.value.checked_add(1));
    }
    out.sort_unstable();
    out.dedup();
    out
}
