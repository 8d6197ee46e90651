//! Follows whoever comes into the pid namespace, by ptrace(2), and says who they were when they stopped.

use crate::errno::Errno;
use crate::{Command, Run, sys};
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;

/// Commands of this topic.
pub const COMMANDS: &[Command] = &[Command { name: "trace-newcomers", args: "", run }];

const DETACH: i64 = 17;
const SEIZE: i64 = 0x4206;
const INTERRUPT: i64 = 0x4207;

/// Again and again, until it is ended: `traced NAME` for each that stopped, `refused` for each that did not let itself be followed.
fn run(_: &[String], out: &mut dyn Write) -> Run {
    sys::exit_on(libc::SIGTERM, 0);
    writeln!(out, "ready")?;
    out.flush()?;
    let mut told = BTreeSet::new();
    loop {
        for pid in others()? {
            let line = match name_of(pid) {
                Ok(name) => format!("traced {name}"),
                Err(Errno(libc::EPERM)) => "refused".to_owned(),
                // It has ended.
                Err(_) => continue,
            };
            if told.insert((pid, line.clone())) {
                writeln!(out, "{line}")?;
                out.flush()?;
            }
        }
    }
}

/// All processes but this one.
fn others() -> std::io::Result<Vec<i32>> {
    let me = std::process::id() as i32;
    let names = fs::read_dir("/proc")?.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok());
    Ok(names.filter(|pid| *pid != me).collect())
}

/// Stops a process, looks at its name and lets it go. Without a signal, which would be left for one that executes its program
/// in between.
fn name_of(pid: i32) -> Result<String, Errno> {
    sys::raw(libc::SYS_ptrace, [SEIZE, pid.into(), 0, 0, 0, 0])?;
    // It may have ended, which the wait tells; without that its parent would never know.
    let _ = sys::raw(libc::SYS_ptrace, [INTERRUPT, pid.into(), 0, 0, 0, 0]);
    let (_, status) = sys::wait(pid)?;
    if !libc::WIFSTOPPED(status) {
        return Err(Errno(libc::ESRCH));
    }
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    sys::raw(libc::SYS_ptrace, [DETACH, pid.into(), 0, 0, 0, 0])?;
    Ok(name.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_met_and_lives_on() {
        let mut child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        let pid = child.id() as i32;
        assert!(others().unwrap().contains(&pid));
        // Where following is not allowed at all there is nothing to see.
        if let Ok(name) = name_of(pid) {
            assert_eq!(name, "sleep");
        }
        assert!(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(name_of(pid), Err(Errno(libc::ESRCH)));
    }
}
