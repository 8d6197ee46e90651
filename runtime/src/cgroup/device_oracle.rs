//! Device programs against the rules themselves: an interpreter of the instructions used on one side, a slow and plain
//! reading of the rules on the other. For tests only.
#![forbid(unsafe_code)]

use super::device::{ALL, MKNOD, Node, READ, Rule, WRITE, rules};
use super::ebpf::*;
use crate::spec::DeviceRule;

/// Compares around every device that a list names, if the list is one.
pub(crate) fn agrees(list: &[DeviceRule]) {
    let Ok(rules) = rules(list) else { return };
    let Ok(code) = compile(&rules) else { return };
    let near = |numbers: Vec<Option<u32>>| -> std::collections::BTreeSet<u32> {
        numbers.into_iter().flatten().flat_map(|n| [n.saturating_sub(1), n, n + 1]).collect()
    };
    let majors = near(rules.iter().filter(|r| r.index.is_some()).map(|r| r.major).chain([Some(1)]).collect());
    let minors = near(rules.iter().filter(|r| r.index.is_some()).map(|r| r.minor).chain([Some(3)]).collect());
    for (major, minor) in majors.iter().flat_map(|a| minors.iter().map(move |b| (*a, *b))) {
        for node in [Node::Block, Node::Char] {
            for access in 1..=ALL {
                let (got, want) =
                    (run(&code, node, major, minor, access), naive(&rules, node, major, minor, access));
                assert_eq!(got, want, "{node:?} {major}:{minor} {access} {rules:?}");
            }
        }
    }
}

/// What the rules mean, said the slow way: for each letter asked for, the last rule that speaks about the
/// device and the letter decides; without one it is denied.
pub(super) fn naive(rules: &[Rule], node: Node, major: u32, minor: u32, access: u8) -> bool {
    [MKNOD, READ, WRITE].iter().filter(|bit| access & **bit != 0).all(|bit| {
        rules
            .iter()
            .rev()
            .find(|r| r.matches(node, major, minor) && r.access & bit != 0)
            .is_some_and(|r| r.allow)
    })
}

/// Runs the instructions used here, refusing all others, jumps out of the program and endless loops.
pub(super) fn run(code: &[Insn], node: Node, major: u32, minor: u32, access: u8) -> bool {
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
            JUMP_EQUAL_IMM => jump = r[dst] == imm,
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
