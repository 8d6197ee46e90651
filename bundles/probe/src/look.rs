//! What the runtime gave this process: identity, limits, namespaces, descriptors, scheduling.
//! Only reads; each answer is small, stable text that a case compares.

use crate::errno::Errno;
use crate::{Command, Failure, Run, names, sys};
use caps::{CapSet, CapsHashSet};
use std::fs;
use std::io::{self, Write};

/// Commands of this topic.
pub const COMMANDS: &[Command] = &[
    Command { name: "hostname", args: "", run: |_, o| line(o, &sys::uname()?[0]) },
    Command { name: "domainname", args: "", run: |_, o| line(o, &sys::uname()?[1]) },
    Command { name: "id", args: "", run: id },
    Command { name: "env", args: "", run: env },
    Command { name: "argv", args: "...", run: argv },
    Command { name: "cwd", args: "", run: |_, o| line(o, &std::env::current_dir()?.display().to_string()) },
    Command { name: "pid", args: "", run: |_, o| line(o, &sys::pids()[0].to_string()) },
    Command { name: "ppid", args: "", run: |_, o| line(o, &sys::pids()[1].to_string()) },
    Command { name: "status", args: "", run: status },
    Command { name: "caps", args: "", run: caps },
    Command { name: "limits", args: "", run: limits },
    Command { name: "fds", args: "", run: fds },
    Command { name: "mountinfo", args: "", run: |_, o| copy("/proc/self/mountinfo", o) },
    Command { name: "cgroup", args: "", run: |_, o| copy("/proc/self/cgroup", o) },
    Command { name: "ns", args: "", run: ns },
    Command { name: "umask", args: "", run: |_, o| line(o, &format!("{:04o}", sys::umask())) },
    Command { name: "keyring", args: "", run: |_, o| line(o, &keyring()?) },
    Command { name: "keyring-label", args: "", run: |_, o| line(o, &sys::session_keyring_label()?) },
    Command { name: "personality", args: "", run: |_, o| line(o, &format!("{:#x}", sys::personality()?)) },
    Command { name: "sched", args: "", run: |_, o| line(o, &sched()?) },
    Command { name: "ioprio", args: "", run: |_, o| line(o, &ioprio()?) },
    Command { name: "affinity", args: "", run: |_, o| line(o, &affinity()?) },
    Command { name: "oom", args: "", run: |_, o| copy("/proc/self/oom_score_adj", o) },
    Command { name: "tty", args: "", run: tty },
    Command { name: "winsize", args: "", run: winsize },
    Command { name: "net", args: "", run: net },
    Command { name: "time-offset", args: "", run: time },
    Command { name: "sysctl", args: "NAME", run: sysctl },
];

fn line(out: &mut dyn Write, text: &str) -> Run {
    writeln!(out, "{text}")?;
    Ok(0)
}

fn copy(path: &str, out: &mut dyn Write) -> Run {
    out.write_all(&fs::read(path)?)?;
    Ok(0)
}

/// Numbers with a comma between.
pub fn joined<T: ToString>(items: &[T], between: &str) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(between)
}

fn id(_: &[String], out: &mut dyn Write) -> Run {
    let ([_, uid, _], [_, gid, _]) = sys::ids();
    line(out, &format!("uid={uid} gid={gid} groups={}", joined(&sys::groups()?, ",")))
}

fn env(_: &[String], out: &mut dyn Write) -> Run {
    for (key, value) in std::env::vars_os() {
        writeln!(out, "{}={}", key.to_string_lossy(), value.to_string_lossy())?;
    }
    Ok(0)
}

fn argv(_: &[String], out: &mut dyn Write) -> Run {
    for (i, word) in std::env::args_os().enumerate() {
        writeln!(out, "{i} {}", word.to_string_lossy())?;
    }
    Ok(0)
}

/// Lines of `/proc/self/status` that a runtime can influence.
fn status(_: &[String], out: &mut dyn Write) -> Run {
    const WANTED: &[&str] = &[
        "Name",
        "Umask",
        "State",
        "Pid",
        "PPid",
        "TracerPid",
        "Uid",
        "Gid",
        "FDSize",
        "Groups",
        "NStgid",
        "NSpid",
        "NSpgid",
        "NSsid",
        "Threads",
        "SigPnd",
        "ShdPnd",
        "SigBlk",
        "SigIgn",
        "SigCgt",
        "CapInh",
        "CapPrm",
        "CapEff",
        "CapBnd",
        "CapAmb",
        "NoNewPrivs",
        "Seccomp",
        "Seccomp_filters",
        "Speculation_Store_Bypass",
        "SpeculationIndirectBranch",
        "Cpus_allowed_list",
        "Mems_allowed_list",
        "THP_enabled",
    ];
    for text in fs::read_to_string("/proc/self/status")?.lines() {
        if text.split(':').next().is_some_and(|key| WANTED.contains(&key)) {
            writeln!(out, "{text}")?;
        }
    }
    Ok(0)
}

/// One field of `/proc/self/status`.
pub fn status_field(key: &str) -> Option<String> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let found = text.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix(':'));
    found.map(|v| v.trim().to_owned())
}

/// The five capability sets as the kernel shows them: name and 16 hexadecimal digits.
pub fn capability_sets() -> Result<[(&'static str, String); 5], Failure> {
    let read = |set| {
        let names: CapsHashSet =
            caps::read(None, set).map_err(|e| Failure { status: 1, text: e.to_string() })?;
        Ok::<String, Failure>(format!("{:016x}", names.iter().fold(0u64, |bits, cap| bits | cap.bitmask())))
    };
    Ok([
        ("CapInh", read(CapSet::Inheritable)?),
        ("CapPrm", read(CapSet::Permitted)?),
        ("CapEff", read(CapSet::Effective)?),
        ("CapBnd", read(CapSet::Bounding)?),
        ("CapAmb", read(CapSet::Ambient)?),
    ])
}

/// `caps`: five lines `CapEff: 00000000a80425fb`.
fn caps(_: &[String], out: &mut dyn Write) -> Run {
    for (name, bits) in capability_sets()? {
        writeln!(out, "{name}: {bits}")?;
    }
    Ok(0)
}

/// Every limit as `NAME soft hard`.
pub fn limit_lines() -> Result<Vec<String>, Errno> {
    let text = |v: Option<u64>| v.map_or_else(|| "unlimited".to_owned(), |v| v.to_string());
    (0u32..)
        .zip(names::LIMITS)
        .map(|(number, name)| {
            sys::limit(number).map(|[soft, hard]| format!("{name} {} {}", text(soft), text(hard)))
        })
        .collect()
}

fn limits(_: &[String], out: &mut dyn Write) -> Run {
    line(out, &limit_lines()?.join("\n"))
}

/// Open descriptors with what they lead to; the one that lists them is closed when the targets are read
/// and so drops out.
pub fn descriptors() -> io::Result<Vec<(u32, String)>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        numbers.extend(entry?.file_name().to_str().and_then(|n| n.parse::<u32>().ok()));
    }
    numbers.sort_unstable();
    let target = |n| Some((n, fs::read_link(format!("/proc/self/fd/{n}")).ok()?.display().to_string()));
    Ok(numbers.into_iter().filter_map(target).collect())
}

/// How many processes this one can see.
pub fn processes() -> io::Result<usize> {
    let number =
        |name: &std::ffi::OsStr| name.to_str().is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()));
    Ok(fs::read_dir("/proc")?.filter_map(Result::ok).filter(|e| number(&e.file_name())).count())
}

fn fds(_: &[String], out: &mut dyn Write) -> Run {
    for (number, target) in descriptors()? {
        writeln!(out, "{number} {target}")?;
    }
    Ok(0)
}

/// Namespaces: name and link, sorted by name.
pub fn namespaces() -> io::Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc/self/ns")? {
        let entry = entry?;
        let target = fs::read_link(entry.path())?;
        found.push((entry.file_name().to_string_lossy().into_owned(), target.display().to_string()));
    }
    found.sort();
    Ok(found)
}

fn ns(_: &[String], out: &mut dyn Write) -> Run {
    for (name, target) in namespaces()? {
        writeln!(out, "{name} {target}")?;
    }
    Ok(0)
}

/// Session keyring: id and description.
pub fn keyring() -> Result<String, Errno> {
    sys::session_keyring().map(|(id, text)| format!("{id} {text}"))
}

/// Scheduling as `policy=.. nice=.. priority=.. flags=.. runtime=.. deadline=.. period=..`.
pub fn sched() -> Result<String, Errno> {
    let a = sys::sched()?;
    Ok(format!(
        "policy={} nice={} priority={} flags={:#x} runtime={} deadline={} period={}",
        names::policy(a.policy),
        a.nice,
        a.priority,
        a.flags,
        a.runtime,
        a.deadline,
        a.period
    ))
}

/// I/O priority as `class=.. level=..`.
pub fn ioprio() -> Result<String, Errno> {
    sys::ioprio().map(|(class, level)| format!("class={} level={level}", names::ioprio_class(class)))
}

/// CPUs as the kernel writes lists: `0-2,5`.
pub fn affinity() -> Result<String, Errno> {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for cpu in sys::affinity()? {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == cpu => *last = cpu,
            _ => ranges.push((cpu, cpu)),
        }
    }
    let text = |(first, last): &(usize, usize)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    Ok(ranges.iter().map(text).collect::<Vec<_>>().join(","))
}

/// Per standard descriptor: a terminal with its size, or not.
pub fn terminals() -> [String; 3] {
    [0, 1, 2].map(|fd| match (sys::is_terminal(fd), sys::window(fd)) {
        (true, Ok((rows, columns))) => format!("{fd} tty {rows} {columns}"),
        _ => format!("{fd} not-a-tty"),
    })
}

fn tty(_: &[String], out: &mut dyn Write) -> Run {
    line(out, &terminals().join("\n"))
}

fn winsize(_: &[String], out: &mut dyn Write) -> Run {
    let size = [0, 1, 2].into_iter().find_map(|fd| sys::window(fd).ok());
    let (rows, columns) = size.ok_or(Errno(libc::ENOTTY))?;
    line(out, &format!("{rows} {columns}"))
}

/// Interfaces as `lo UP LOOPBACK 127.0.0.1`.
pub fn interfaces() -> Result<Vec<String>, Errno> {
    let mut lines: Vec<(String, String)> = Vec::new();
    for item in sys::interfaces()? {
        if !lines.iter().any(|(name, _)| *name == item.name) {
            let flag = |bit: i32, word| if item.flags & bit as u32 != 0 { word } else { "" };
            let flags = [
                flag(libc::IFF_UP, " UP"),
                flag(libc::IFF_RUNNING, " RUNNING"),
                flag(libc::IFF_LOOPBACK, " LOOPBACK"),
            ];
            lines.push((item.name.clone(), item.name.clone() + &flags.concat()));
        }
        if let (Some(address), Some((_, text))) =
            (item.address, lines.iter_mut().find(|(n, _)| *n == item.name))
        {
            text.push_str(&format!(" {address}"));
        }
    }
    Ok(lines.into_iter().map(|(_, text)| text).collect())
}

fn net(_: &[String], out: &mut dyn Write) -> Run {
    for text in interfaces()? {
        writeln!(out, "{text}")?;
    }
    Ok(0)
}

fn time(_: &[String], out: &mut dyn Write) -> Run {
    for (name, id) in [("monotonic", libc::CLOCK_MONOTONIC), ("boottime", libc::CLOCK_BOOTTIME)] {
        let (seconds, nanos) = sys::clock(id)?;
        writeln!(out, "{name} {seconds}.{nanos:09}")?;
    }
    Ok(0)
}

fn sysctl(args: &[String], out: &mut dyn Write) -> Run {
    let [name] = args else { return Err(Failure::usage("sysctl NAME")) };
    copy(&format!("/proc/sys/{}", name.replace('.', "/")), out)
}
