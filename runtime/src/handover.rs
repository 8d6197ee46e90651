//! What the caller of `create`, `run` and `exec` gets besides an exit code: the terminal, a pidfd, the pid file. All
//! of it is looked at before anything is made, so that a wrong path costs nothing. May use: `sys`, `error`.
#![forbid(unsafe_code)]

use crate::error::{Context, Error, Result, quoted};
use crate::sys::process::{self, Child};
use crate::sys::{OwnedFd, errno, fs, sock};
use std::os::fd::AsFd;
use std::path::Path;

/// What was asked for. Paths are absolute.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asked<'a> {
    pub console_socket: Option<&'a Path>,
    pub pidfd_socket: Option<&'a Path>,
    pub pid_file: Option<&'a Path>,
    /// The caller will not stay: a terminal needs somebody to hand it to.
    pub detach: bool,
}

/// Connected and checked, before anything is made.
pub struct Handover<'a> {
    console: Option<OwnedFd>,
    pidfd: Option<OwnedFd>,
    pid_file: Option<&'a Path>,
}

impl<'a> Handover<'a> {
    /// `terminal`: the process has one.
    ///
    /// # Errors
    /// A console socket without a terminal or the other way round, in runc's words; a socket nobody listens on; a
    /// pid file that could not be written.
    pub fn prepare(asked: Asked<'a>, terminal: bool) -> Result<Handover<'a>> {
        let Asked { console_socket, pidfd_socket, pid_file, detach } = asked;
        console_rules(terminal, detach, console_socket)?;
        if let Some(path) = pid_file {
            check_pid_file(path)?;
        }
        Ok(Handover {
            console: console_socket.map(sock::connect_stream).transpose().step("--console-socket")?,
            pidfd: pidfd_socket.map(sock::connect_stream).transpose().step("--pidfd-socket")?,
            pid_file,
        })
    }

    /// Hands out the descriptors; gives the terminal's master back when nobody else takes it.
    pub fn descriptors(&self, console: Option<OwnedFd>, child: &Child) -> Result<Option<OwnedFd>> {
        if let Some(s) = &self.pidfd {
            sock::send(s, b"pidfd", &[child.pidfd()]).step("--pidfd-socket")?;
        }
        match (&self.console, console) {
            (Some(s), Some(master)) => {
                sock::send(s, b"/dev/ptmx", &[master.as_fd()]).step("--console-socket")?;
                Ok(None)
            }
            (_, master) => Ok(master),
        }
    }

    /// Comes last: who sees the file may count on the rest.
    pub fn pid_file(&self, child: &Child) -> Result<()> {
        self.pid_file.map_or(Ok(()), |path| write_pid_file(path, child.pid()))
    }
}

/// runc's rules and texts: a terminal that nobody holds would be lost.
fn console_rules(terminal: bool, detach: bool, socket: Option<&Path>) -> Result<()> {
    let text = match (terminal, detach, socket.is_some()) {
        (true, true, false) => "cannot allocate tty if runc will detach without setting console socket",
        (false, _, true) | (true, false, true) => {
            "cannot use console socket if runc will not detach or allocate tty"
        }
        _ => return Ok(()),
    };
    Err(Error::spec("/process/terminal", text).hint("see --console-socket and --detach"))
}

/// A pid file that cannot be written is found out before anything exists.
fn check_pid_file(path: &Path) -> Result<()> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    let step = || format!("--pid-file {}", quoted(&path.to_string_lossy()));
    let fd = fs::open_dir_path(dir).step_with(step)?;
    process::may_write(&fd).step_with(step)?;
    match fs::stat(path) {
        Ok(st) if st.is_dir() => {
            Err(Error::os("rename", quoted(&path.to_string_lossy()), errno::EISDIR).step(step()))
        }
        _ => Ok(()),
    }
}

/// Written aside and renamed: a reader sees no half number. Decimal, no newline.
fn write_pid_file(path: &Path, pid: i32) -> Result<()> {
    let dir = fs::open_dir_path(path.parent().unwrap_or(Path::new("/")))?;
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    fs::write_aside(&dir, &name, pid.to_string().as_bytes(), 0o644).step("--pid-file")
}
