//! Everything about this process that a runtime decides, as one JSON object, one top-level key a line: two
//! processes of a container are compared line by line. Only reads.

use crate::errno::Errno;
use crate::{Run, look, sys};
use std::fmt;
use std::fs;
use std::io::Write;

/// Just enough JSON to print.
enum Json {
    Text(String),
    Number(i64),
    List(Vec<Json>),
    Map(Vec<(String, Json)>),
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Json::Text(text) => quote(f, text),
            Json::Number(n) => write!(f, "{n}"),
            Json::List(items) => {
                f.write_str("[")?;
                for (i, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if i == 0 { "" } else { "," })?;
                }
                f.write_str("]")
            }
            Json::Map(items) => {
                f.write_str("{")?;
                for (i, (key, item)) in items.iter().enumerate() {
                    f.write_str(if i == 0 { "" } else { "," })?;
                    quote(f, key)?;
                    write!(f, ":{item}")?;
                }
                f.write_str("}")
            }
        }
    }
}

fn quote(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str("\"")?;
    for c in text.chars() {
        match c {
            '"' | '\\' => write!(f, "\\{c}")?,
            c if u32::from(c) < 0x20 => write!(f, "\\u{:04x}", u32::from(c))?,
            c => write!(f, "{c}")?,
        }
    }
    f.write_str("\"")
}

fn texts(items: impl IntoIterator<Item = impl ToString>) -> Json {
    Json::List(items.into_iter().map(|t| Json::Text(t.to_string())).collect())
}

fn numbers(items: &[impl Copy + Into<i64>]) -> Json {
    Json::List(items.iter().map(|n| Json::Number((*n).into())).collect())
}

fn pairs(items: impl IntoIterator<Item = (impl ToString, impl ToString)>) -> Json {
    Json::Map(items.into_iter().map(|(k, v)| (k.to_string(), Json::Text(v.to_string()))).collect())
}

fn text(result: Result<String, Errno>) -> Json {
    Json::Text(result.unwrap_or_else(|e| e.to_string()))
}

fn number(result: Result<i64, Errno>) -> Json {
    result.map_or_else(|e| Json::Text(e.to_string()), Json::Number)
}

/// A file of the kernel, or why it cannot be read.
fn file(path: &str) -> Json {
    match fs::read_to_string(path) {
        Ok(text) => Json::Text(text.trim_end_matches(['\n', '\0']).to_owned()),
        Err(e) => Json::Text(Errno(e.raw_os_error().unwrap_or(0)).to_string()),
    }
}

fn lines(path: &str) -> Json {
    match fs::read_to_string(path) {
        Ok(text) => texts(text.lines()),
        Err(e) => Json::Text(Errno(e.raw_os_error().unwrap_or(0)).to_string()),
    }
}

fn link(path: &str) -> Json {
    text(
        fs::read_link(path)
            .map(|p| p.display().to_string())
            .map_err(|e| Errno(e.raw_os_error().unwrap_or(0))),
    )
}

fn status(keys: &[&str]) -> Json {
    pairs(keys.iter().map(|key| (*key, look::status_field(key).unwrap_or_default())))
}

/// Values that are the same for every process the runtime makes in one container, besides the pids.
fn facts() -> Result<Vec<(&'static str, Json)>, crate::Failure> {
    let (uids, gids) = sys::ids();
    let [pid, ppid, pgid, sid] = sys::pids();
    let [host, domain] = sys::uname()?;
    let prctl = |option| number(sys::prctl(option, 0));
    Ok(vec![
        ("argv", texts(std::env::args_os().map(|a| a.to_string_lossy().into_owned()))),
        (
            "env",
            texts(
                std::env::vars_os().map(|(k, v)| format!("{}={}", k.to_string_lossy(), v.to_string_lossy())),
            ),
        ),
        ("pids", pairs([("pid", pid), ("ppid", ppid), ("pgid", pgid), ("sid", sid)])),
        ("uids", numbers(&uids)),
        ("gids", numbers(&gids)),
        ("fsids", status(&["Uid", "Gid"])),
        ("groups", numbers(&sys::groups()?)),
        ("capabilities", pairs(look::capability_sets()?)),
        ("securebits", prctl(libc::PR_GET_SECUREBITS)),
        ("noNewPrivileges", prctl(libc::PR_GET_NO_NEW_PRIVS)),
        ("seccomp", status(&["Seccomp", "Seccomp_filters"])),
        ("speculation", status(&["Speculation_Store_Bypass", "SpeculationIndirectBranch"])),
        ("label", file("/proc/self/attr/current")),
        ("dumpable", prctl(libc::PR_GET_DUMPABLE)),
        ("timerSlack", prctl(libc::PR_GET_TIMERSLACK)),
        ("parentDeathSignal", number(sys::parent_death_signal().map(i64::from))),
        ("childSubreaper", number(sys::child_subreaper().map(i64::from))),
        ("signals", status(&["SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt"])),
        ("namespaces", pairs(look::namespaces().unwrap_or_default())),
        ("hostname", Json::Text(host)),
        ("domainname", Json::Text(domain)),
        ("cgroup", lines("/proc/self/cgroup")),
        ("cwd", link("/proc/self/cwd")),
        ("root", link("/proc/self/root")),
        ("exe", link("/proc/self/exe")),
        ("umask", Json::Text(format!("{:04o}", sys::umask()))),
        ("rlimits", texts(look::limit_lines()?)),
        ("fds", pairs(look::descriptors().unwrap_or_default())),
        ("terminals", texts(look::terminals())),
        ("keyring", text(look::keyring())),
        ("affinity", text(look::affinity())),
        ("memoryNodes", status(&["Mems_allowed_list"])),
        ("scheduler", text(look::sched())),
        ("ioPriority", text(look::ioprio())),
        ("oomScoreAdj", file("/proc/self/oom_score_adj")),
        ("personality", text(sys::personality().map(|p| format!("{p:#x}")))),
        ("uidMap", lines("/proc/self/uid_map")),
        ("gidMap", lines("/proc/self/gid_map")),
        ("setgroups", file("/proc/self/setgroups")),
        ("timeOffsets", lines("/proc/self/timens_offsets")),
        ("network", texts(look::interfaces().unwrap_or_default())),
        ("mounts", lines("/proc/self/mountinfo")),
    ])
}

/// `posture`.
pub fn run(_: &[String], out: &mut dyn Write) -> Run {
    let facts = facts()?;
    for (i, (key, value)) in facts.iter().enumerate() {
        write!(out, "{}\n  \"{key}\": {value}", if i == 0 { "{" } else { "," })?;
    }
    writeln!(out, "\n}}")?;
    Ok(0)
}
