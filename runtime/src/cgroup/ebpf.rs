//! Device rules as an eBPF program for a cgroup2 directory (`BPF_PROG_TYPE_CGROUP_DEVICE`). Pure: the result is
//! a list of instructions. May use: the device rules, `error`.
//!
//! The rules are decided here, not in the program: it only looks the device up in a table of types, majors and
//! minors and finds a constant set of granted letters. A program that walks the rules does the same, but the
//! kernel's verifier follows each of its branches, which makes loading it ten times dearer.
#![forbid(unsafe_code)]

use super::device::{ALL, MKNOD, Node, READ, Rule, WRITE};
use crate::error::{Code, Error, Result};
use std::collections::BTreeSet;

/// One `struct bpf_insn` (Documentation/bpf/standardization/instruction-set.rst).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Insn {
    pub code: u8,
    pub dst: u8,
    pub src: u8,
    pub off: i16,
    pub imm: i32,
}

impl Insn {
    /// As the kernel reads it from memory.
    fn bytes(self) -> u64 {
        // Bit fields: on little-endian machines `dst` is the low half of the second byte.
        let regs =
            if cfg!(target_endian = "little") { self.src << 4 | self.dst } else { self.dst << 4 | self.src };
        let (off, imm) = (self.off.to_ne_bytes(), self.imm.to_ne_bytes());
        u64::from_ne_bytes([self.code, regs, off[0], off[1], imm[0], imm[1], imm[2], imm[3]])
    }
}

pub(super) const LOAD_WORD: u8 = 0x61;
pub(super) const MOVE: u8 = 0xbf;
pub(super) const MOVE_IMM: u8 = 0xb7;
pub(super) const AND_IMM: u8 = 0x57;
pub(super) const SHIFT_RIGHT_IMM: u8 = 0x77;
pub(super) const JUMP: u8 = 0x05;
pub(super) const JUMP_EQUAL_IMM: u8 = 0x15;
pub(super) const JUMP_NOT_EQUAL_IMM: u8 = 0x55;
pub(super) const JUMP_ANY_BIT_IMM: u8 = 0x45;
pub(super) const EXIT: u8 = 0x95;

const RESULT: u8 = 0;
const CONTEXT: u8 = 1;
const NODE: u8 = 2;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const WANTED: u8 = 6;

fn op(code: u8, dst: u8, imm: i32) -> Insn {
    Insn { code, dst, src: 0, off: 0, imm }
}

fn load(dst: u8, off: i16) -> Insn {
    Insn { code: LOAD_WORD, dst, src: CONTEXT, off, imm: 0 }
}

/// The instructions as the kernel takes them.
///
/// # Errors
/// More rules than [`MOST`].
pub(super) fn program(rules: &[Rule]) -> Result<Vec<u64>> {
    Ok(compile(rules)?.into_iter().map(Insn::bytes).collect())
}

/// The letters granted to a device; `None` stands for a number that no rule names.
fn granted(rules: &[Rule], node: Node, major: Option<u32>, minor: Option<u32>) -> u8 {
    let speaks = |r: &&Rule, bit: u8| {
        r.access & bit != 0
            && r.node.is_none_or(|n| n == node)
            && (r.major.is_none() || r.major == major)
            && (r.minor.is_none() || r.minor == minor)
    };
    let last = |bit: u8| rules.iter().rev().find(|r| speaks(r, bit)).is_some_and(|r| r.allow);
    [MKNOD, READ, WRITE].into_iter().filter(|bit| last(*bit)).fold(0, |set, bit| set | bit)
}

/// What is granted under one major number: exceptions by minor number, and the rest.
#[derive(PartialEq, Eq)]
struct Minors {
    cases: Vec<(u32, u8)>,
    rest: u8,
}

fn minors(rules: &[Rule], node: Node, major: Option<u32>) -> Minors {
    let near = |r: &&Rule| r.node.is_none_or(|n| n == node) && (r.major.is_none() || r.major == major);
    let named: BTreeSet<u32> = rules.iter().filter(near).filter_map(|r| r.minor).collect();
    let rest = granted(rules, node, major, None);
    let cases = named.into_iter().map(|n| (n, granted(rules, node, major, Some(n))));
    Minors { cases: cases.filter(|(_, set)| *set != rest).collect(), rest }
}

/// Code whose jumps to the answers, one for each set of letters, are filled in last.
struct Draft {
    code: Vec<Insn>,
    /// (place of a jump, the set it leads to).
    open: Vec<(usize, u8)>,
}

impl Draft {
    fn jump(&mut self, insn: Insn, set: u8) {
        self.open.push((self.code.len(), set));
        self.code.push(insn);
    }

    fn minors(&mut self, m: &Minors) {
        for (minor, set) in &m.cases {
            self.jump(op(JUMP_EQUAL_IMM, MINOR, *minor as i32), *set);
        }
        self.jump(op(JUMP, 0, 0), m.rest);
    }

    /// Puts a jump in front of what `inside` writes, over it.
    fn skip_unless(
        &mut self,
        register: u8,
        value: u32,
        inside: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        let at = self.code.len();
        self.code.push(op(JUMP_NOT_EQUAL_IMM, register, value as i32));
        inside(self)?;
        self.code[at].off = distance(at, self.code.len())?;
        Ok(())
    }

    fn node(&mut self, rules: &[Rule], node: Node) -> Result<()> {
        let rest = minors(rules, node, None);
        let named: BTreeSet<u32> =
            rules.iter().filter(|r| r.node.is_none_or(|n| n == node)).filter_map(|r| r.major).collect();
        for major in named {
            let here = minors(rules, node, Some(major));
            if here != rest {
                self.skip_unless(MAJOR, major, |d| {
                    d.minors(&here);
                    Ok(())
                })?;
            }
        }
        self.minors(&rest);
        Ok(())
    }

    /// Appends the answers that are used (the verifier refuses code that cannot be reached).
    fn answers(mut self) -> Result<Vec<Insn>> {
        for set in 0..=ALL {
            let start = self.code.len();
            let from: Vec<usize> = self.open.iter().filter(|(_, s)| *s == set).map(|(at, _)| *at).collect();
            for at in &from {
                self.code[*at].off = distance(*at, start)?;
            }
            if from.is_empty() {
                continue;
            }
            if set != 0 && set != ALL {
                self.code.push(Insn { off: 2, ..op(JUMP_ANY_BIT_IMM, WANTED, (ALL & !set).into()) });
            }
            if set != 0 {
                self.code.extend([op(MOVE_IMM, RESULT, 1), op(EXIT, 0, 0)]);
            }
            if set != ALL {
                self.code.extend([op(MOVE_IMM, RESULT, 0), op(EXIT, 0, 0)]);
            }
        }
        Ok(self.code)
    }
}

fn distance(from: usize, to: usize) -> Result<i16> {
    i16::try_from(to - from - 1)
        .map_err(|_| Error::new(Code::Unsupported, "too many device rules for a program of cgroup v2"))
}

/// The work grows with the square of the number of rules, and a jump reaches 32767 instructions far.
const MOST: usize = 4096;

pub(super) fn compile(rules: &[Rule]) -> Result<Vec<Insn>> {
    if rules.len() > MOST {
        let text = format!("{} device rules, want at most {MOST} on cgroup v2", rules.len());
        return Err(Error::new(Code::Unsupported, text));
    }
    let code = vec![
        // struct bpf_cgroup_dev_ctx { access_type: (access << 16) | type, major, minor }
        load(NODE, 0),
        Insn { code: MOVE, dst: WANTED, src: NODE, off: 0, imm: 0 },
        op(SHIFT_RIGHT_IMM, WANTED, 16),
        op(AND_IMM, NODE, 0xffff),
        load(MAJOR, 4),
        load(MINOR, 8),
    ];
    let mut draft = Draft { code, open: Vec::new() };
    draft.skip_unless(NODE, Node::Char as u32, |d| d.node(rules, Node::Char))?;
    draft.node(rules, Node::Block)?;
    draft.answers()
}

#[cfg(test)]
mod tests {
    use super::super::device::rules;
    use super::super::device::tests::{GRID, lists};
    use super::super::device_oracle::{naive, run};
    use super::*;

    #[test]
    fn says_what_the_rules_mean() {
        for list in lists() {
            let rules = rules(&list).unwrap();
            let code = compile(&rules).unwrap();
            for (major, minor) in GRID {
                for node in [Node::Block, Node::Char] {
                    for access in 1..=ALL {
                        assert_eq!(
                            run(&code, node, major, minor, access),
                            naive(&rules, node, major, minor, access),
                            "{list:?} {node:?} {major}:{minor} {access}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn without_the_defaults_too() {
        for list in lists() {
            let mut rules = rules(&list).unwrap();
            rules.retain(|r| r.index.is_some());
            let code = compile(&rules).unwrap();
            for (major, minor) in GRID {
                for access in 1..=ALL {
                    let got = run(&code, Node::Block, major, minor, access);
                    assert_eq!(got, naive(&rules, Node::Block, major, minor, access), "{list:?}");
                }
            }
        }
    }

    fn any_rule() -> impl proptest::strategy::Strategy<Value = Rule> {
        use proptest::prelude::*;
        let number = || proptest::option::of(0u32..3);
        let node = prop_oneof![Just(None), Just(Some(Node::Block)), Just(Some(Node::Char))];
        (any::<bool>(), node, number(), number(), 1..=ALL).prop_map(|(allow, node, major, minor, access)| {
            Rule { allow, node, major, minor, access, index: None }
        })
    }

    proptest::proptest! {
        #[test]
        fn any_rules(rules in proptest::collection::vec(any_rule(), 0..12)) {
            let code = compile(&rules).unwrap();
            for (major, minor) in (0..4).flat_map(|a| (0..4).map(move |b| (a, b))) {
                for node in [Node::Block, Node::Char] {
                    for access in 1..=ALL {
                        let want = naive(&rules, node, major, minor, access);
                        proptest::prop_assert_eq!(run(&code, node, major, minor, access), want);
                    }
                }
            }
        }
    }

    #[test]
    fn too_many_rules_are_an_error() {
        let many = |n: usize| vec![Rule { minor: Some(1), ..rules(&[]).unwrap()[0] }; n];
        assert!(compile(&many(MOST)).is_ok());
        assert_eq!(compile(&many(MOST + 1)).map(|code| code.len()).unwrap_err().kind(), Code::Unsupported);
    }

    #[test]
    fn instruction_bytes_are_the_kernels() {
        // r4 = *(u32 *)(r1 + 4), as the C compiler encodes it.
        let want = if cfg!(target_endian = "little") {
            [0x61, 0x14, 4, 0, 0, 0, 0, 0]
        } else {
            [0x61, 0x41, 0, 4, 0, 0, 0, 0]
        };
        assert_eq!(load(MAJOR, 4).bytes().to_ne_bytes(), want);
    }
}
