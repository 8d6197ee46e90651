//! Device rules as an eBPF program for a cgroup2 directory (`BPF_PROG_TYPE_CGROUP_DEVICE`). Pure: the result is
//! a list of instructions. May use: the device rules.
#![forbid(unsafe_code)]

use super::device::{ALL, Rule};

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

fn answer(allow: bool) -> [Insn; 2] {
    [op(MOVE_IMM, RESULT, allow.into()), op(EXIT, 0, 0)]
}

/// The instructions as the kernel takes them.
pub(super) fn program(rules: &[Rule]) -> Vec<u64> {
    compile(rules).into_iter().map(Insn::bytes).collect()
}

/// Walks the rules from the last to the first, striking out the access letters that are granted; a denied
/// letter ends it. What is still wanted after the first rule is denied.
pub(super) fn compile(rules: &[Rule]) -> Vec<Insn> {
    let mut code = vec![
        // struct bpf_cgroup_dev_ctx { access_type: (access << 16) | type, major, minor }
        load(NODE, 0),
        Insn { code: MOVE, dst: WANTED, src: NODE, off: 0, imm: 0 },
        op(SHIFT_RIGHT_IMM, WANTED, 16),
        op(AND_IMM, NODE, 0xffff),
        load(MAJOR, 4),
        load(MINOR, 8),
    ];
    for rule in rules.iter().rev() {
        code.extend(one(rule));
        if rule.is_total() {
            // The verifier refuses code that cannot be reached.
            return code;
        }
    }
    code.extend(answer(false));
    code
}

fn one(rule: &Rule) -> Vec<Insn> {
    let verdict = match (rule.allow, rule.access) {
        (_, ALL) => answer(rule.allow).to_vec(),
        (true, bits) => {
            let [set, exit] = answer(true);
            // Still something wanted: on to the next rule, behind the answer.
            vec![
                op(AND_IMM, WANTED, !i32::from(bits)),
                Insn { off: 2, ..op(JUMP_NOT_EQUAL_IMM, WANTED, 0) },
                set,
                exit,
            ]
        }
        (false, bits) => {
            let [set, exit] = answer(false);
            vec![
                Insn { off: 1, ..op(JUMP_ANY_BIT_IMM, WANTED, bits.into()) },
                Insn { off: 2, ..op(JUMP, 0, 0) },
                set,
                exit,
            ]
        }
    };
    let tests = [
        (NODE, rule.node.map(|n| n as i32)),
        (MAJOR, rule.major.map(|n| n as i32)),
        (MINOR, rule.minor.map(|n| n as i32)),
    ];
    let tests: Vec<(u8, i32)> = tests.into_iter().filter_map(|(r, v)| v.map(|v| (r, v))).collect();
    let mut code = Vec::with_capacity(tests.len() + verdict.len());
    for (i, (register, value)) in tests.iter().enumerate() {
        let off = tests.len() - i - 1 + verdict.len();
        code.push(Insn { off: off as i16, ..op(JUMP_NOT_EQUAL_IMM, *register, *value) });
    }
    code.extend(verdict);
    code
}

#[cfg(test)]
mod tests {
    use super::super::device::tests::{GRID, lists, naive};
    use super::super::device::{Node, rules};
    use super::*;

    /// Runs the instructions used here, refusing all others, jumps out of the program and endless loops.
    fn run(code: &[Insn], node: Node, major: u32, minor: u32, access: u8) -> bool {
        let context = [u32::from(access) << 16 | node as u32, major, minor];
        let mut r = [0u64; 11];
        let mut pc = 0usize;
        for _ in 0..=code.len() {
            let i = code[pc];
            let (dst, imm) = (i.dst as usize, i64::from(i.imm) as u64);
            let mut jump = false;
            match i.code {
                LOAD_WORD => {
                    assert_eq!((i.src, i.off % 4), (1, 0));
                    r[dst] = u64::from(context[i.off as usize / 4]);
                }
                MOVE => r[dst] = r[i.src as usize],
                MOVE_IMM => r[dst] = imm,
                AND_IMM => r[dst] &= imm,
                SHIFT_RIGHT_IMM => r[dst] >>= imm,
                JUMP => jump = true,
                JUMP_NOT_EQUAL_IMM => jump = r[dst] != imm,
                JUMP_ANY_BIT_IMM => jump = r[dst] & imm != 0,
                EXIT => return r[0] != 0,
                other => panic!("opcode {other:#x}"),
            }
            assert!(i.off >= 0 && (i.code == LOAD_WORD || pc + 1 + (i.off as usize) < code.len()));
            pc += 1 + if jump { i.off as usize } else { 0 };
        }
        panic!("no answer");
    }

    #[test]
    fn says_what_the_rules_mean() {
        for list in lists() {
            let rules = rules(&list).unwrap();
            let code = compile(&rules);
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
            let code = compile(&rules);
            for (major, minor) in GRID {
                for access in 1..=ALL {
                    let got = run(&code, Node::Block, major, minor, access);
                    assert_eq!(got, naive(&rules, Node::Block, major, minor, access), "{list:?}");
                }
            }
        }
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
