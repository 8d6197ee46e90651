//! Compiled programs against the profile itself: an interpreter of classic BPF on one side, a slow and plain
//! reading of the profile on the other, compared over call numbers, architectures and argument values. For tests only.

use super::arch::X32_BIT;
use super::code::op;
use super::words::ret;
use super::*;
use crate::plan::syscalls;
use crate::spec::types::SeccompArg;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

/// Compares, if the profile compiles.
pub(crate) fn agrees(profile: &Seccomp, native: Arch) {
    if compile(profile, native).is_ok() {
        compare(profile, native, false);
    }
}

/// What a filter sees of a call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    pub(super) nr: u32,
    pub(super) audit: u32,
    pub(super) args: [u64; 6],
}

// ---- The interpreter ------------------------------------------------------------------------------------

/// What the kernel checks before it takes a program.
pub(super) fn verify(program: &[Insn]) {
    assert!(!program.is_empty() && program.len() <= 4096, "{} instructions", program.len());
    assert_eq!(program.last().unwrap().code, op::RETURN);
    for (pc, i) in program.iter().enumerate() {
        let far = match i.code {
            op::LOAD => {
                assert!(i.k < 64 && i.k % 4 == 0, "load of {}", i.k);
                0
            }
            op::AND | op::RETURN => 0,
            op::JUMP => i.k as usize,
            op::JUMP_EQ | op::JUMP_GE | op::JUMP_SET => i.jt.max(i.jf).into(),
            code => panic!("code {code:#x} at {pc}"),
        };
        assert!(pc + 1 + far < program.len() || i.code == op::RETURN, "jump out of the program at {pc}");
    }
}

pub(super) fn run(program: &[Insn], big_endian: bool, call: &Call) -> u32 {
    let mut data = Vec::new();
    let word = |v: u32| if big_endian { v.to_be_bytes() } else { v.to_le_bytes() };
    data.extend(word(call.nr));
    data.extend(word(call.audit));
    data.extend([0; 8]);
    for arg in call.args {
        data.extend(if big_endian { arg.to_be_bytes() } else { arg.to_le_bytes() });
    }
    let (mut pc, mut a) = (0, 0u32);
    loop {
        let i = program[pc];
        pc += 1;
        let holds = match i.code {
            op::LOAD => {
                let bytes = data[i.k as usize..][..4].try_into().unwrap();
                a = if big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) };
                continue;
            }
            op::AND => {
                a &= i.k;
                continue;
            }
            op::JUMP => {
                pc += i.k as usize;
                continue;
            }
            op::RETURN => return i.k,
            op::JUMP_EQ => a == i.k,
            op::JUMP_GE => a >= i.k,
            op::JUMP_SET => a & i.k != 0,
            code => panic!("code {code:#x}"),
        };
        pc += usize::from(if holds { i.jt } else { i.jf });
    }
}

// ---- The plain reading ----------------------------------------------------------------------------------

/// One rule for one number, with the conditions as the profile has them.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) action: u32,
    pub(super) args: Vec<SeccompArg>,
}

/// The profile as seen by one architecture.
pub(super) struct Reading {
    pub(super) arch: Arch,
    pub(super) default: u32,
    pub(super) newest: Option<u32>,
    pub(super) lines: BTreeMap<u32, Vec<Line>>,
}

pub(super) fn action_of(word: &str, errno: Option<u32>) -> u32 {
    let errno = errno.unwrap_or(1);
    match word {
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => 0,
        "SCMP_ACT_KILL_PROCESS" => 0x8000_0000,
        "SCMP_ACT_TRAP" => 0x3_0000,
        "SCMP_ACT_ERRNO" => 0x5_0000 + errno,
        "SCMP_ACT_NOTIFY" => 0x7fc0_0000,
        "SCMP_ACT_TRACE" => 0x7ff0_0000 + errno,
        "SCMP_ACT_LOG" => 0x7ffc_0000,
        "SCMP_ACT_ALLOW" => 0x7fff_0000,
        _ => panic!("{word}"),
    }
}

/// From "kill" to "allow".
pub(super) fn permissiveness(action: u32) -> usize {
    [0x8000_0000, 0, 0x3_0000, 0x5_0000, 0x7fc0_0000, 0x7ff0_0000, 0x7ffc_0000, 0x7fff_0000]
        .iter()
        .position(|a| *a == action & 0xffff_0000)
        .unwrap()
}

/// The number of a multiplexing call and the selector in its first argument.
pub(super) fn multiplexed(name: &str, numbers: &BTreeMap<String, u32>) -> Option<(u32, SeccompArg)> {
    const SOCKETCALLS: &str = "- socket bind connect listen accept getsockname getpeername socketpair send recv \
        sendto recvfrom shutdown setsockopt getsockopt sendmsg recvmsg accept4 recvmmsg sendmmsg";
    const IPCS: &str = "- semop semget semctl semtimedop - - - - - - msgsnd msgrcv msgget msgctl - - - - - - shmat shmdt shmget shmctl";
    for (through, list, mask) in [("socketcall", SOCKETCALLS, 0xffff_ffff), ("ipc", IPCS, 0xffff)] {
        if let (Some(nr), Some(n)) = (numbers.get(through), list.split_whitespace().position(|w| w == name)) {
            let op = "SCMP_CMP_MASKED_EQ".into();
            return Some((*nr, SeccompArg { index: 0, value: mask, value_two: n as u64, op }));
        }
    }
    None
}

pub(super) fn only_low_half_counts(arch: Arch) -> bool {
    matches!(arch, Arch::X86 | Arch::X32 | Arch::Arm | Arch::Ppc | Arch::Mips | Arch::Mipsel)
}

impl Reading {
    pub(super) fn new(profile: &Seccomp, arch: Arch) -> Reading {
        let numbers: BTreeMap<_, _> = syscalls::all(arch).collect();
        let default = action_of(&profile.default_action, profile.default_errno_ret);
        let mut out = Reading { arch, default, newest: None, lines: BTreeMap::new() };
        // A mask of all bits is plain equality.
        let plain = |c: &SeccompArg| {
            let all =
                if only_low_half_counts(arch) { c.value as u32 == u32::MAX } else { c.value == u64::MAX };
            let meant = c.value & c.value_two;
            if c.op == "SCMP_CMP_MASKED_EQ" && all && (meant >> 32 == 0 || !only_low_half_counts(arch)) {
                SeccompArg { value: meant, value_two: 0, op: "SCMP_CMP_EQ".into(), ..*c }
            } else if c.op == "SCMP_CMP_MASKED_EQ" {
                c.clone()
            } else {
                SeccompArg { value_two: 0, ..c.clone() }
            }
        };
        for rule in &profile.syscalls {
            let action = action_of(&rule.action, rule.errno_ret);
            for name in &rule.names {
                let number = numbers.get(name).copied();
                if number.is_some_and(|n| n < 0xf0000 || arch != Arch::Arm) {
                    out.newest = out.newest.max(number);
                }
                if action == default {
                    continue;
                }
                let indices: BTreeSet<_> = rule.args.iter().map(|a| a.index).collect();
                let sets = match indices.len() == rule.args.len() {
                    true => vec![rule.args.iter().map(plain).collect()],
                    false => rule.args.iter().map(|a| vec![plain(a)]).collect(),
                };
                for args in sets {
                    if let Some(nr) = number {
                        out.lines.entry(nr).or_default().push(Line { action, args });
                    }
                }
                let covers = rule.args.is_empty() || permissiveness(action) <= permissiveness(default);
                if let Some((nr, selector)) = multiplexed(name, &numbers).filter(|_| covers) {
                    let selector = plain(&selector);
                    let lines = out.lines.entry(nr).or_default();
                    let same = lines.iter_mut().find(|l| l.args == [selector.clone()]);
                    match same {
                        Some(l) if permissiveness(l.action) > permissiveness(action) => l.action = action,
                        Some(_) => {}
                        None => lines.push(Line { action, args: vec![selector] }),
                    }
                }
            }
        }
        out
    }

    pub(super) fn narrow(&self) -> bool {
        only_low_half_counts(self.arch)
    }

    pub(super) fn holds(&self, cond: &SeccompArg, args: &[u64; 6]) -> bool {
        let mut arg = args[cond.index as usize];
        let (mut value, mask) = match cond.op.as_str() {
            "SCMP_CMP_MASKED_EQ" => (cond.value & cond.value_two, cond.value),
            _ => (cond.value, u64::MAX),
        };
        if self.narrow() {
            arg = u64::from(arg as u32);
            // Minus something in 64 bits means the same in 32.
            let minus = (value | !mask) as i64;
            if value & 0x8000_0000 != 0 && mask & 0x8000_0000 != 0 && minus | 0xffff_ffff == -1 {
                value = u64::from(value as u32);
            }
        }
        match cond.op.as_str() {
            "SCMP_CMP_EQ" => arg == value,
            "SCMP_CMP_NE" => arg != value,
            "SCMP_CMP_LT" => arg < value,
            "SCMP_CMP_LE" => arg <= value,
            "SCMP_CMP_GT" => arg > value,
            "SCMP_CMP_GE" => arg >= value,
            "SCMP_CMP_MASKED_EQ" => arg & mask == value,
            op => panic!("{op}"),
        }
    }

    /// No condition: a mask without bits compares nothing.
    pub(super) fn empty(&self, cond: &SeccompArg) -> bool {
        let low = if self.narrow() { cond.value as u32 as u64 } else { cond.value };
        let high_matters = cond.value & cond.value_two >> 32 << 32 != 0;
        cond.op == "SCMP_CMP_MASKED_EQ" && low == 0 && !(self.narrow() && high_matters)
    }

    pub(super) fn rank(&self, a: &Line, b: &Line) -> Ordering {
        let key = |l: &Line| {
            let mut conds: Vec<_> = l.args.iter().filter(|c| !self.empty(c)).collect();
            conds.sort_by_key(|c| c.index);
            let mut keys: Vec<_> = conds
                .iter()
                .map(|c| {
                    let value = match c.op.as_str() {
                        "SCMP_CMP_MASKED_EQ" => c.value & c.value_two,
                        _ => c.value,
                    };
                    let meant = match self.narrow() && value >> 32 == 0xffff_ffff && value & 0x8000_0000 != 0
                    {
                        true => value & 0xffff_ffff,
                        false => value,
                    };
                    match c.op.as_str() {
                        "SCMP_CMP_GT" | "SCMP_CMP_GE" => (6 - c.index, 2, !meant),
                        "SCMP_CMP_LT" | "SCMP_CMP_LE" => (6 - c.index, 1, meant),
                        _ => (6 - c.index, 0, !meant),
                    }
                })
                .collect();
            // The end of a shorter list sorts first.
            keys.truncate(6);
            keys
        };
        key(a).cmp(&key(b))
    }

    pub(super) fn answer(&self, nr: u32, args: &[u64; 6]) -> u32 {
        let stub = !matches!(self.default & 0xffff_0000, 0x7ff0_0000 | 0x7ffc_0000 | 0x7fff_0000);
        let unknown = match self.newest {
            Some(newest) if stub && (nr > newest || nr == 0 && self.arch == Arch::S390x) => 0x5_0000 + 38,
            _ => self.default,
        };
        let Some(lines) = self.lines.get(&nr) else { return unknown };
        if let Some(line) = lines.iter().find(|l| l.args.iter().all(|c| self.empty(c))) {
            return line.action;
        }
        let mut best: Option<&Line> = None;
        for line in lines {
            let holds = line.args.iter().all(|c| self.empty(c) || self.holds(c, args));
            if holds && best.is_none_or(|b| self.rank(line, b).is_lt()) {
                best = Some(line);
            }
        }
        // The profile names the call, so it is known, whatever its number.
        best.map_or(self.default, |l| l.action)
    }
}

/// A profile as all its architectures see it.
pub(super) struct Readings(pub(super) Arch, pub(super) Vec<Reading>);

impl Readings {
    pub(super) fn new(profile: &Seccomp, native: Arch) -> Readings {
        let mut out = vec![Reading::new(profile, native)];
        for (name, arch) in arch::NAMES {
            if let Some(arch) = arch
                && arch != native
                && arch.runs_on(native)
                && profile.architectures.iter().any(|a| a == name)
            {
                out.push(Reading::new(profile, arch));
            }
        }
        Readings(native, out)
    }

    pub(super) fn answer(&self, call: &Call) -> u32 {
        let x32 = call.audit == 0xc000_003e && call.nr & X32_BIT != 0 && call.nr >> 31 == 0;
        let x32_or_more = call.audit == 0xc000_003e && call.nr >= X32_BIT;
        let known = self
            .1
            .iter()
            .find(|r| r.arch.audit() == call.audit && (r.arch == Arch::X32) == (x32 || x32_or_more));
        match known {
            Some(r) => r.answer(call.nr, &call.args),
            None if call.audit == self.0.audit() && call.nr == u32::MAX => self.1[0].default,
            None => ret::KILL_THREAD,
        }
    }
}

// ---- The comparison -------------------------------------------------------------------------------------

/// Values around everything that the profile compares with.
pub(super) fn interesting(profile: &Seccomp) -> Vec<u64> {
    let mut out =
        BTreeSet::from([0, 1, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 1 << 32, (1 << 32) + 1, 1 << 63, !0]);
    for arg in profile.syscalls.iter().flat_map(|r| &r.args) {
        for v in [arg.value, arg.value_two, arg.value & arg.value_two, !arg.value] {
            out.extend([v.wrapping_sub(1), v, v.wrapping_add(1), v | 1 << 32, v | 1 << 63]);
            out.extend([v & 0xffff_ffff, v | 0xffff_ffff << 32, v << 32 | 7]);
        }
    }
    out.into_iter().collect()
}

/// Compares program and profile; gives the number of calls compared.
pub(super) fn compare(profile: &Seccomp, native: Arch, dense: bool) -> usize {
    let filter = compile(profile, native).unwrap();
    verify(&filter.program);
    let readings = Readings::new(profile, native);
    let values = interesting(profile);
    let mut compared = 0;
    let mut check = |call: Call| {
        let got = run(&filter.program, native.is_big_endian(), &call);
        let want = readings.answer(&call);
        assert_eq!(got, want, "got {got:#x}, want {want:#x} for {call:x?}\n{profile:#?}");
        compared += 1;
    };
    let audits: BTreeSet<u32> =
        arch::NAMES.iter().filter_map(|(_, a)| a.map(Arch::audit)).chain([0, u32::MAX]).collect();
    for audit in audits {
        let listed: Vec<_> = readings.1.iter().filter(|r| r.arch.audit() == audit).collect();
        let mut numbers =
            BTreeSet::from([0, 1, X32_BIT - 1, X32_BIT, X32_BIT | 600, 0x7fff_ffff, 1 << 31, !0]);
        for r in &listed {
            let tested: Vec<u32> = match dense {
                true => syscalls::all(r.arch).map(|c| c.1).collect(),
                false => r.lines.keys().copied().chain(r.newest).collect(),
            };
            numbers.extend(tested.iter().flat_map(|n| [n.saturating_sub(1), *n, n + 1]));
        }
        if dense && !listed.is_empty() {
            numbers.extend((0..700).flat_map(|n| [n, n | X32_BIT]));
        }
        for nr in numbers {
            check(Call { nr, audit, args: [0; 6] });
            check(Call { nr, audit, args: [!0; 6] });
            let lines: Vec<&Line> = listed.iter().filter_map(|r| r.lines.get(&nr)).flatten().collect();
            let used: BTreeSet<u32> = lines.iter().flat_map(|l| l.args.iter().map(|a| a.index)).collect();
            for &i in &used {
                for &v in &values {
                    for other in [0, !0] {
                        let mut args = [other; 6];
                        args[i as usize] = v;
                        check(Call { nr, audit, args });
                    }
                }
            }
            // Every rule in full, and one value away from it.
            for line in lines.iter().filter(|l| l.args.len() > 1) {
                for wrong in 0..=line.args.len() {
                    for &v in &values {
                        let mut args = [0; 6];
                        for (n, a) in line.args.iter().enumerate() {
                            args[a.index as usize] = if n == wrong { v } else { a.value };
                        }
                        check(Call { nr, audit, args });
                    }
                }
            }
        }
    }
    compared
}
