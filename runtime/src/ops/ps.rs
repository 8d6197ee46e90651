//! `knarr ps`: the processes of a container's control group, as pids or as rows of the host's ps program.
//! Runs `ps`; reads only.

use super::store;
use crate::cgroup::Cgroup;
use crate::cli::{Format, Global, PsArgs};
use crate::error::{Code, Context, Error, Result, quoted};
use crate::report;
use crate::state::{Record, Status};
use crate::sys::fs::{self, OFlags};
use std::process::{Command, Stdio};

/// Prints the processes.
pub fn run(global: &Global, args: &PsArgs) -> Result<i32> {
    let container = store(global)?.load(&args.id)?;
    let mut pids = match container.status()? {
        // What is left in the group of a stopped container is about to die; there is nothing to look at.
        Status::Stopped => Vec::new(),
        Status::Creating | Status::Created | Status::Running | Status::Paused => {
            let group = Cgroup::open(&container.record.cgroup)?;
            if group.is_lacking() { by_namespace(&container.record)? } else { group.pids()? }
        }
    };
    pids.sort_unstable();
    let text = match args.format {
        Format::Json if pids.is_empty() => "null\n".into(),
        Format::Json => {
            let list: Vec<String> = pids.iter().map(i32::to_string).collect();
            format!("[{}]\n", list.join(","))
        }
        Format::Table => select(&host_ps(args)?, &pids)?,
    };
    report::print(&text)?;
    Ok(0)
}

/// Of a container without a control group: the processes in its pid namespace, or if that is not its own its first one.
fn by_namespace(record: &Record) -> Result<Vec<i32>> {
    let Some(init) = &record.init else { return Ok(Vec::new()) };
    if record.shared_pidns {
        return Ok(vec![init.pid]);
    }
    let space = |pid: i32| fs::stat(format!("/proc/{pid}/ns/pid")).map(|st| st.ino);
    let own = space(init.pid).step("look at the pid namespace of the container")?;
    let names = fs::list(fs::open("/proc", OFlags::RDONLY | OFlags::DIRECTORY, 0)?)?;
    let pids = names.iter().filter_map(|name| name.to_str()?.parse().ok());
    // Those of others, which we may not look at, are not the container's.
    Ok(pids.filter(|pid| space(*pid).is_ok_and(|ino| ino == own)).collect())
}

fn host_ps(args: &PsArgs) -> Result<String> {
    let mut ps = Command::new("ps");
    match args.args.as_slice() {
        [] => ps.arg("-ef"),
        words => ps.args(words),
    };
    let out = ps.stdin(Stdio::null()).output().map_err(|e| Error::from(e).step("execute ps"))?;
    if out.status.success() {
        return Ok(String::from_utf8_lossy(&out.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&out.stderr);
    let first = said.lines().find(|l| !l.trim().is_empty()).unwrap_or_default().trim();
    Err(Error::new(Code::Usage, format!("ps failed: {}: {}", out.status, quoted(first))))
}

/// Keeps the head and the rows whose PID column names one of `pids`.
fn select(table: &str, pids: &[i32]) -> Result<String> {
    let mut lines = table.lines();
    let head = lines.next().unwrap_or_default();
    let column = head
        .split_ascii_whitespace()
        .position(|word| word == "PID")
        .ok_or_else(|| Error::new(Code::Usage, "couldn't find PID field in ps output"))?;
    let mut out = format!("{head}\n");
    for line in lines {
        let pid = line.split_ascii_whitespace().nth(column).and_then(|word| word.parse::<i32>().ok());
        if pid.is_some_and(|pid| pids.binary_search(&pid).is_ok()) {
            out.push_str(line);
            out.push('\n');
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_the_container_only() {
        let table = "UID   PID  PPID CMD\nroot   12     1 sleep 13\nroot   13     1 x\nroot  120 12 y\n";
        assert_eq!(select(table, &[12]).unwrap(), "UID   PID  PPID CMD\nroot   12     1 sleep 13\n");
        assert_eq!(select(table, &[]).unwrap(), "UID   PID  PPID CMD\n");
        assert_eq!(select("  PID\n  5\n", &[5]).unwrap(), "  PID\n  5\n");
        assert!(select("CMD\nx\n", &[5]).unwrap_err().to_string().contains("PID field"));
        assert!(select("", &[5]).is_err());
    }
}
