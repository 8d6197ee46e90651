//! The second way into a system call: through a call that stands for many.
//! Tables and lookups; may use: the call tables and conditions of this module. Pure.

use super::arch::Arch;
use super::rules::Cond;
use super::words::Op;
use crate::plan::syscalls::{self, Call};

/// `socketcall(2)` and `ipc(2)`: one number for many calls, told apart by the first argument. Their other
/// arguments are behind a pointer or in other places, where a filter cannot look. So a rule without
/// conditions goes through them too; a rule with conditions goes through, without its conditions, only when
/// it forbids more than the default does.
///
/// Sorted by call.
pub(super) struct Multiplexers(Vec<(Call, u32, Cond)>);

impl Multiplexers {
    /// The routes of one architecture; none where it has no such call.
    pub(super) fn of(arch: Arch) -> Multiplexers {
        // The upper half of ipc's selector is a version, which does not change what is called.
        let tables = [("socketcall", 0xffff_ffff, &SOCKETCALL[..]), ("ipc", 0xffff, &IPC[..])];
        let mut out = Vec::new();
        for (name, mask, calls) in tables {
            let Some(number) = syscalls::find(name).and_then(|call| syscalls::number(call, arch)) else {
                continue;
            };
            for &(name, value) in calls {
                let cond = Cond { arg: 0, op: Op::MaskedEq, mask, value }.on(arch);
                if let (Some(call), Ok(cond)) = (syscalls::find(name), cond) {
                    out.push((call, number, cond));
                }
            }
        }
        out.sort_by_key(|(call, ..)| *call);
        Multiplexers(out)
    }

    /// The other way to reach `call`, and the number it goes through.
    pub(super) fn route(&self, call: Call) -> Option<(u32, u32)> {
        let route = self.0.binary_search_by_key(&call, |(call, ..)| *call).ok()?;
        Some((route as u32, self.0[route].1))
    }

    /// What the arguments must be for a route.
    pub(super) fn cond(&self, route: u32) -> Cond {
        self.0[route as usize].2
    }
}

/// `SYS_*` of linux/net.h.
const SOCKETCALL: [(&str, u64); 20] = [
    ("socket", 1),
    ("bind", 2),
    ("connect", 3),
    ("listen", 4),
    ("accept", 5),
    ("getsockname", 6),
    ("getpeername", 7),
    ("socketpair", 8),
    ("send", 9),
    ("recv", 10),
    ("sendto", 11),
    ("recvfrom", 12),
    ("shutdown", 13),
    ("setsockopt", 14),
    ("getsockopt", 15),
    ("sendmsg", 16),
    ("recvmsg", 17),
    ("accept4", 18),
    ("recvmmsg", 19),
    ("sendmmsg", 20),
];

/// Selectors of linux/ipc.h.
const IPC: [(&str, u64); 12] = [
    ("semop", 1),
    ("semget", 2),
    ("semctl", 3),
    ("semtimedop", 4),
    ("msgsnd", 11),
    ("msgrcv", 12),
    ("msgget", 13),
    ("msgctl", 14),
    ("shmat", 21),
    ("shmdt", 22),
    ("shmget", 23),
    ("shmctl", 24),
];
