//! The id maps of a new user namespace, written from outside: by us where the kernel lets us, else by newuidmap and
//! newgidmap, which read /etc/subuid and /etc/subgid. May use: `sys`, `rootfs::Proc`, plan types; starts those programs.

use crate::error::{Code, Context, Error, Result, quoted};
use crate::interrupt;
use crate::plan::launch::{Launch, map_lines};
use crate::rootfs::Proc;
use crate::spec::IdMapping;
use crate::sys::process::{self, sig};
use crate::sys::{errno, fs};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How long one of the programs may take: it reads two files and writes one.
const DEADLINE: Duration = Duration::from_secs(30);
/// How much of what it says is kept, in bytes.
const KEEP: usize = 4096;

/// What differs between the two maps.
struct Side<'a> {
    file: &'static str,
    field: &'static str,
    program: &'static str,
    maps: &'a [IdMapping],
}

/// Writes both maps of the process `pid`, the first one in its new user namespace.
///
/// # Errors
/// Names the field, and where a program is needed that program.
pub(super) fn write(launch: &Launch, pid: i32, proc: &Proc) -> Result<()> {
    let uids =
        Side { file: "uid_map", field: "/linux/uidMappings", program: "newuidmap", maps: &launch.uid_maps };
    let gids =
        Side { file: "gid_map", field: "/linux/gidMappings", program: "newgidmap", maps: &launch.gid_maps };
    one(&uids, pid, proc, || Ok(false))?;
    one(&gids, pid, proc, || give_up_groups(&gids, pid, proc))
}

/// Tries the kernel first; `retry` says whether there is something that makes it worth a second time.
fn one(side: &Side<'_>, pid: i32, proc: &Proc, retry: impl FnOnce() -> Result<bool>) -> Result<()> {
    let path = format!("{pid}/{}", side.file);
    let lines = map_lines(side.maps);
    let refused = match proc.write(&path, &lines) {
        Err(e) if e.is(errno::EPERM) => e,
        r => return r.field(side.field),
    };
    if retry().field(side.field)? {
        return proc.write(&path, &lines).field(side.field);
    }
    by_program(side, pid).map_err(|e| e.field(side.field).hint(format!("without it: {refused}")))
}

/// Without privilege the kernel takes one's own gid only after setgroups(2) was given up (CVE-2014-8989). For more, the
/// program keeps that right.
fn give_up_groups(side: &Side<'_>, pid: i32, proc: &Proc) -> Result<bool> {
    match side.maps {
        [only] if only.size == 1 && only.host_id == process::egid() => {
            proc.write(&format!("{pid}/setgroups"), "deny").map(|()| true)
        }
        _ => Ok(false),
    }
}

fn by_program(side: &Side<'_>, pid: i32) -> Result<()> {
    let mut command = Command::new(side.program);
    command.arg(pid.to_string());
    for m in side.maps {
        command.args([m.container_id, m.host_id, m.size].map(|n| n.to_string()));
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|e| {
        let text = match e.raw_os_error() {
            Some(errno::ENOENT) => {
                format!("{} is needed to map these ids and is not installed", side.program)
            }
            _ => format!("cannot start {}: {e}", side.program),
        };
        Error::new(Code::Unsupported, text)
    })?;
    let ended = heard_out(&mut child);
    if !matches!(ended, Ok(Some(_))) {
        // A program of another user's rights may not be ours to kill; then nobody waits for it.
        let _ =
            process::pidfd_open(child.id() as i32).and_then(|fd| process::pidfd_signal(&fd, sig::SIGKILL));
    }
    let Some(said) = ended? else {
        let text = format!("{} has not ended within {} s", side.program, DEADLINE.as_secs());
        return Err(Error::new(Code::Timeout, text));
    };
    let status = child.wait().map_err(Error::from)?;
    if status.success() {
        return Ok(());
    }
    let last = said.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or_default().trim().to_string();
    Err(Error::new(Code::Unsupported, format!("{} failed, {status}: {}", side.program, quoted(&last))))
}

/// What it said until its end; `None` when the time ran out first. It says less than a pipe holds.
fn heard_out(child: &mut Child) -> Result<Option<String>> {
    let end = process::pidfd_open(child.id() as i32)?;
    if !interrupt::wait_readable(&end, Some(DEADLINE))? {
        return Ok(None);
    }
    let Some(pipe) = child.stderr.take() else { return Ok(Some(String::new())) };
    fs::set_nonblocking(&pipe)?;
    let said = fs::read_all(&pipe, KEEP).unwrap_or_default();
    Ok(Some(String::from_utf8_lossy(&said).into_owned()))
}
