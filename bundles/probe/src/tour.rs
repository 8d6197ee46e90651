//! What the `hello` sample says: how its container is confined, in words, as the kernel reports it from inside.
//! Only reads.

use crate::{Run, look, sys};
use caps::CapSet;
use std::fs;
use std::io::Write;

/// `hello`.
pub fn run(_: &[String], out: &mut dyn Write) -> Run {
    let [host, _] = sys::uname()?;
    let ([_, uid, _], [_, gid, _]) = sys::ids();
    let [pid, ..] = sys::pids();
    let root = fs::write("/.probe", "").map(|()| fs::remove_file("/.probe"));
    writeln!(out, "Hello from inside. What the kernel tells me here:")?;
    let mut row = |name: &str, value: String| writeln!(out, "  {name:<15} {value}");
    row("host name", host)?;
    row("process id", pid.to_string())?;
    row("processes seen", look::processes()?.to_string())?;
    row("user, group", format!("{uid}, {gid}"))?;
    row("capabilities", capabilities())?;
    row(
        "new privileges",
        if sys::prctl(libc::PR_GET_NO_NEW_PRIVS, 0)? == 1 { "never" } else { "possible" }.to_owned(),
    )?;
    row("seccomp", seccomp())?;
    row("root directory", if root.is_ok() { "writable" } else { "read-only" }.to_owned())?;
    row("network", look::interfaces()?.join("; "))?;
    row("memory limit", memory_limit())?;
    row("process limit", file(&["pids.max", "pids/pids.max"]).unwrap_or_else(not_shown))?;
    row("cpu limit", cpu_limit())?;
    Ok(0)
}

fn not_shown() -> String {
    "not shown here".to_owned()
}

fn capabilities() -> String {
    let mut names: Vec<String> = caps::read(None, CapSet::Effective)
        .map(|set| set.iter().map(|c| c.to_string().trim_start_matches("CAP_").to_lowercase()).collect())
        .unwrap_or_default();
    names.sort();
    format!("{} of {}: {}", names.len(), caps::all().len(), names.join(" "))
}

fn seccomp() -> String {
    match look::status_field("Seccomp").as_deref() {
        Some("0") => "off (mode 0)".to_owned(),
        Some("2") => {
            format!("filter (mode 2), filters: {}", look::status_field("Seccomp_filters").unwrap_or_default())
        }
        Some(other) => format!("mode {other}"),
        None => not_shown(),
    }
}

/// The first of these files below the mounted cgroup tree: the name with one unified tree, then the name with
/// one tree a controller.
fn file(names: &[&str]) -> Option<String> {
    let text = names.iter().find_map(|name| fs::read_to_string(format!("/sys/fs/cgroup/{name}")).ok())?;
    Some(text.trim().to_owned())
}

fn memory_limit() -> String {
    match file(&["memory.max", "memory/memory.limit_in_bytes"]) {
        Some(text) => text.parse().map_or(text, |bytes: u64| format!("{bytes} bytes ({} MiB)", bytes >> 20)),
        None => not_shown(),
    }
}

fn cpu_limit() -> String {
    let pair = file(&["cpu.max"]).or_else(|| {
        Some(format!("{} {}", file(&["cpu/cpu.cfs_quota_us"])?, file(&["cpu/cpu.cfs_period_us"])?))
    });
    let Some(pair) = pair else { return not_shown() };
    match pair.split_once(' ').map(|(quota, period)| (quota.parse::<u64>(), period.parse::<u64>())) {
        Some((Ok(quota), Ok(period))) if period > 0 => {
            format!("{quota} of {period} microseconds ({} % of one CPU)", quota * 100 / period)
        }
        _ => "none".to_owned(),
    }
}
