//! The tables that say what the container has: limits, security, mounts, files, network.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::image::ID_MAX;
use super::read::{Reader, Table, Value, shown};
use super::value::{cpuset, nearest, size_text};
use crate::memory::limits::NEVER;
use crate::unit::service::{
    FileMount, IoMax, Limits, Mount, MountKind, Network, OnChange, Seccomp, Security,
};

/// All capabilities of Linux 5.9 and later, without `CAP_` (capabilities(7)).
pub(in crate::unit) const CAPABILITIES: [&str; 41] = [
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "AUDIT_WRITE",
    "BLOCK_SUSPEND",
    "BPF",
    "CHECKPOINT_RESTORE",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "IPC_OWNER",
    "KILL",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "PERFMON",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYSLOG",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_CHROOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "WAKE_ALARM",
];

/// Options of mount(8) that runtimes know for a bind mount, and those that only a tmpfs has.
const OPTIONS: [&str; 28] = [
    "ro",
    "rw",
    "nosuid",
    "suid",
    "nodev",
    "dev",
    "noexec",
    "exec",
    "sync",
    "async",
    "atime",
    "noatime",
    "diratime",
    "nodiratime",
    "relatime",
    "norelatime",
    "strictatime",
    "nostrictatime",
    "bind",
    "rbind",
    "private",
    "rprivate",
    "slave",
    "rslave",
    "shared",
    "rshared",
    "unbindable",
    "runbindable",
];
const TMPFS_OPTIONS: [&str; 5] = ["mode=", "uid=", "gid=", "nr_inodes=", "nr_blocks="];

const MEMORY_MIN: u64 = 1 << 20;
const SIZE_MAX: u64 = 1 << 50;

/// Reads a table of the file when it is there; else what the type has as default.
pub(super) fn section<'d, 'i, T: Default>(
    r: &mut Reader,
    t: &Table<'d, 'i>,
    name: &str,
    read: impl FnOnce(&mut Reader, &Table<'d, 'i>) -> T,
) -> T {
    let table = t.get(r, name).and_then(|v| v.table(r));
    table.map(|t| read(r, &t)).unwrap_or_default()
}

pub(super) fn labels(r: &mut Reader, v: &Value) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    for (name, at, value) in v.map(r) {
        if name.is_empty() || name.chars().any(char::is_control) {
            r.say(Some(at), &value.key, format!("bad name of a label, got {}", shown(&name)));
        } else if let Some(text) = value.text(r) {
            labels.insert(name, text);
        }
    }
    labels
}

pub(super) fn limits(r: &mut Reader, t: &Table, root: bool) -> Limits {
    let (memory, swap, cpus) = (t.get(r, "memory"), t.get(r, "swap"), t.get(r, "cpus"));
    if let (Some(v), None, true) = (&swap, &memory, root) {
        v.say(r, "swap needs memory, which is not given");
    }
    let max = memory.and_then(|v| v.size(r, MEMORY_MIN..=SIZE_MAX));
    let millis = cpus.and_then(|v| v.thousandths(r, 10..=8_192_000));
    let part = |r: &mut Reader, name: &str| {
        let v = t.get(r, name)?;
        let bytes = v.size(r, 0..=SIZE_MAX)?;
        if let Some(max) = max.filter(|max| bytes > *max) {
            v.say(r, format!("more than the limit of memory, {}", size_text(max)));
        }
        Some(bytes)
    };
    let (memory_request, memory_min) = (part(r, "memory_request"), part(r, "memory_min"));
    let memory_low = part(r, "memory_low");
    let disks = t.get(r, "io_max");
    let io_max = disks.as_ref().map(|v| v.each(r, disk)).unwrap_or_default();
    let twice = io_max.iter().enumerate().find(|(i, d)| io_max.iter().take(*i).any(|e| e.device == d.device));
    if let (Some(v), Some((_, disk))) = (&disks, twice) {
        v.say(r, format!("a disk twice, got {:?}", disk.device));
    }
    Limits {
        memory: max,
        swap: swap.and_then(|v| v.size(r, 0..=SIZE_MAX)),
        cpu_millis: millis,
        cpu_weight: t.get(r, "cpu_weight").and_then(|v| v.natural(r, 1..=10_000)),
        cpus: t.get(r, "cpuset").and_then(|v| v.parsed(r, |s| cpuset(s).map(|()| s.to_owned()))),
        pids: t.get(r, "pids").and_then(|v| match v.is_string() {
            true => v.word(r, &[("unlimited", u64::MAX)]),
            false => v.natural(r, 1..=4_194_304),
        }),
        nofile: t.get(r, "nofile").and_then(|v| v.natural(r, 1..=1_073_741_816)),
        oom_score_adj: t.get(r, "oom_score_adj").and_then(|v| v.natural(r, -1000..=1000)),
        memory_request,
        memory_high: t.get(r, "memory_high").and_then(|v| match v.is("none") {
            true => Some(NEVER),
            false => v.size(r, MEMORY_MIN..=SIZE_MAX),
        }),
        memory_min,
        memory_low,
        zswap: t.get(r, "zswap").and_then(|v| v.size(r, 0..=SIZE_MAX)),
        oom_group: t.get(r, "oom_group").and_then(|v| v.boolean(r)),
        cpu_burst: t.get(r, "cpu_burst").and_then(|v| burst(r, &v, millis)),
        io_weight: t.get(r, "io_weight").and_then(|v| v.natural(r, 1..=10_000)),
        io_max,
    }
}

/// At most the quota of one period, which is what the kernel takes (sched-bwc.rst).
fn burst(r: &mut Reader, v: &Value, millis: Option<u64>) -> Option<Duration> {
    let Some(millis) = millis else {
        v.say(r, "cpu_burst needs cpus, which is not given");
        return None;
    };
    // A period is 100 ms: a thousandth of a processor has 100 microseconds of it.
    v.duration(r, Duration::ZERO..=Duration::from_micros(millis.saturating_mul(100)))
}

/// One of `io_max`.
fn disk(r: &mut Reader, v: &Value) -> Option<IoMax> {
    let t = v.table(r)?;
    let device = t.need(r, "device").and_then(|v| v.path(r)).map(PathBuf::from);
    let bytes = |r: &mut Reader, name: &str| t.get(r, name).and_then(|v| v.size(r, 1..=SIZE_MAX));
    let count = |r: &mut Reader, name: &str| t.get(r, name).and_then(|v| v.natural(r, 1..=1 << 40));
    let (read_bps, write_bps) = (bytes(r, "read_bps"), bytes(r, "write_bps"));
    let (read_iops, write_iops) = (count(r, "read_iops"), count(r, "write_iops"));
    if read_bps.is_none() && write_bps.is_none() && read_iops.is_none() && write_iops.is_none() {
        v.say(r, "limits nothing, want read_bps, write_bps, read_iops or write_iops");
    }
    Some(IoMax { device: device?, read_bps, write_bps, read_iops, write_iops })
}

pub(super) fn security(r: &mut Reader, t: &Table) -> Security {
    let drop = t.get(r, "capabilities_drop").map(|v| v.each(r, capability)).unwrap_or_default();
    let add = t.get(r, "capabilities_add");
    let add = add.map(|v| {
        v.each(r, |r, v| {
            let name = capability(r, v)?;
            if drop.contains(&name) {
                v.say(r, format!("both added and dropped, got {name:?}"));
            }
            Some(name)
        })
    });
    Security {
        capabilities_add: add.unwrap_or_default(),
        capabilities_drop: drop,
        seccomp: t.get(r, "seccomp").and_then(|v| seccomp(r, &v)).unwrap_or_default(),
        no_new_privileges: t.get(r, "no_new_privileges").and_then(|v| v.boolean(r)),
    }
}

/// With `CAP_`, or `ALL`.
fn capability(r: &mut Reader, v: &Value) -> Option<String> {
    v.parsed(r, |text| {
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
        if name == "ALL" {
            return Ok("ALL".to_owned());
        }
        if CAPABILITIES.contains(&name) {
            return Ok(format!("CAP_{name}"));
        }
        let near = nearest(name, CAPABILITIES).map_or(String::new(), |n| format!("; did you mean {n:?}?"));
        Err(format!("no such capability, got {text:?}, want a name such as \"NET_ADMIN\", or \"ALL\"{near}"))
    })
}

fn seccomp(r: &mut Reader, v: &Value) -> Option<Seccomp> {
    match v.text(r)?.as_str() {
        "default" => Some(Seccomp::Default),
        "unconfined" => Some(Seccomp::Unconfined),
        path if path.starts_with('/') => v.path(r).map(|p| Seccomp::File(p.into())),
        other => {
            let want = "want \"default\", \"unconfined\" or the absolute path of a file";
            v.say(r, format!("unknown word, got {}, {want}", shown(other)));
            None
        }
    }
}

/// A value with the place of its target, for [`Targets`].
pub(super) struct Placed<T> {
    value: T,
    key: String,
    at: std::ops::Range<usize>,
}

/// Which paths inside are taken.
#[derive(Default)]
pub(super) struct Targets {
    /// Path, key that took it, whether it is a file.
    taken: Vec<(String, String, bool)>,
}

impl Targets {
    /// Complains about each target that is taken already, or lies below or above a file.
    pub(super) fn take<T>(
        &mut self,
        r: &mut Reader,
        values: Vec<Placed<T>>,
        target: impl Fn(&T) -> &String,
        file: bool,
    ) -> Vec<T> {
        let below = |a: &str, b: &str| a.strip_prefix(b).is_some_and(|rest| rest.starts_with('/'));
        let mut kept = Vec::new();
        for Placed { value, key, at } in values {
            let path = target(&value).clone();
            let clash = self.taken.iter().find_map(|(other, by, other_file)| {
                if *other == path {
                    Some(format!("target taken twice, got {path:?}, which {by} has"))
                } else if *other_file && below(&path, other) {
                    Some(format!("target below a file, got {path:?}, and {by} is {other:?}"))
                } else if file && below(other, &path) {
                    Some(format!("a file where {by} needs a directory, got {path:?}"))
                } else {
                    None
                }
            });
            match clash {
                Some(clash) => r.say(Some(at), &key, clash),
                None => self.taken.push((path, key, file)),
            }
            kept.push(value);
        }
        kept
    }
}

pub(super) fn mount(r: &mut Reader, v: &Value) -> Option<Placed<Mount>> {
    let t = v.table(r)?;
    let tmpfs = t.get(r, "type").map_or(Some(false), |v| v.word(r, &[("bind", false), ("tmpfs", true)]));
    let place = t.need(r, "target");
    let target = place.as_ref().and_then(|v| v.target(r));
    let read_only = t.get(r, "read_only").and_then(|v| v.boolean(r)).unwrap_or(false);
    let size = t.get(r, "size");
    let source = t.get(r, "source");
    let options = t.get(r, "options");
    let options = options.map(|v| v.each(r, |r, v| option(r, v, tmpfs?, read_only))).unwrap_or_default();
    let kind = match tmpfs? {
        true => {
            if let Some(v) = source {
                v.say(r, "a tmpfs has no source");
            }
            Some(MountKind::Tmpfs(size.and_then(|v| v.size(r, 4096..=SIZE_MAX))))
        }
        false => {
            if let Some(v) = size {
                v.say(r, "size is about a tmpfs; this is a bind mount");
            }
            if source.is_none() {
                t.say(r, "source", "missing key \"source\"");
            }
            source.and_then(|v| v.path(r)).map(|p| MountKind::Bind(p.into()))
        }
    };
    let place = place?;
    let value = Mount { target: target?, kind: kind?, read_only, options };
    Some(Placed { value, key: place.key, at: place.at })
}

fn option(r: &mut Reader, v: &Value, tmpfs: bool, read_only: bool) -> Option<String> {
    v.parsed(r, |text| {
        if text == "rw" && read_only {
            return Err("contradicts read_only, got \"rw\"".into());
        }
        if OPTIONS.contains(&text) {
            return Ok(text.to_owned());
        }
        let data = TMPFS_OPTIONS.iter().any(|name| {
            text.strip_prefix(name).is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
        });
        if tmpfs && data {
            return Ok(text.to_owned());
        }
        let near = nearest(text, OPTIONS).map_or(String::new(), |n| format!("; did you mean {n:?}?"));
        let hint = if text.starts_with("size=") { "; use the key size" } else { &near };
        Err(format!("unknown mount option, got {text:?}{hint}"))
    })
}

/// One of `secrets` or `configs`.
pub(super) fn file(r: &mut Reader, v: &Value, secret: bool, owner: (u32, u32)) -> Option<Placed<FileMount>> {
    let t = v.table(r)?;
    let source = t.need(r, "source").and_then(|v| v.path(r));
    let place = t.need(r, "target");
    let target = place.as_ref().and_then(|v| v.target(r));
    let mode = t.get(r, "mode").and_then(|v| v.mode(r)).unwrap_or(if secret { 0o400 } else { 0o444 });
    let uid = t.get(r, "uid").and_then(|v| v.natural(r, 0..=ID_MAX)).unwrap_or(owner.0);
    let gid = t.get(r, "gid").and_then(|v| v.natural(r, 0..=ID_MAX)).unwrap_or(owner.1);
    let on_change = t.get(r, "on_change").map_or(Some(OnChange::Ignore), |v| on_change(r, &v));
    let place = place?;
    let source = PathBuf::from(source?);
    let value = FileMount { secret, source, target: target?, mode, uid, gid, on_change: on_change? };
    Some(Placed { value, key: place.key, at: place.at })
}

fn on_change(r: &mut Reader, v: &Value) -> Option<OnChange> {
    if v.is_table() {
        let t = v.table(r)?;
        return t.need(r, "signal")?.signal(r).map(OnChange::Signal);
    }
    v.word(r, &[("ignore", OnChange::Ignore), ("restart", OnChange::Restart)])
}

pub(super) fn network(r: &mut Reader, v: &Value) -> Option<Network> {
    if !v.is_table() {
        return v.word(r, &[("host", Network::Host), ("none", Network::None)]);
    }
    let t = v.table(r)?;
    let list = t.need(r, "cni")?;
    let elements = list.list(r);
    let read = |r: &mut Reader, v: &Value| {
        v.parsed(r, |text| {
            let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
            match text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(plain) {
                true => Ok(text.to_owned()),
                false => {
                    Err(format!("not the name of a CNI network, got {text:?}, want letters, digits, \"_.-\""))
                }
            }
        })
    };
    let names: Vec<String> = elements.iter().filter_map(|v| read(r, v)).collect();
    if elements.is_empty() {
        list.say(r, "want the name of at least one CNI network");
    }
    if let Some(twice) = names.iter().enumerate().find_map(|(i, n)| names[..i].contains(n).then_some(n)) {
        list.say(r, format!("a network twice, got {twice:?}"));
    }
    Some(Network::Cni(names))
}

/// `8080`, `8080/udp`: comes back with its protocol.
pub(super) fn port(r: &mut Reader, v: &Value) -> Option<String> {
    if !v.is_string() {
        return v.natural::<u16>(r, 1..=65_535).map(|n| format!("{n}/tcp"));
    }
    v.parsed(r, |text| {
        let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let digits = number.bytes().all(|b| b.is_ascii_digit());
        match number.parse::<u16>() {
            Ok(n) if n > 0 && digits && ["tcp", "udp", "sctp"].contains(&protocol) => {
                Ok(format!("{n}/{protocol}"))
            }
            _ => Err(format!("not a port, got {text:?}, want 1 to 65535 with /tcp, /udp or /sctp")),
        }
    })
}
