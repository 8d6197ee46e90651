//! The part of an exec probe that runs in the container, between the runtime's `exec` and the program: it takes in whatever
//! the program leaves behind, ends and reaps it. From outside nobody could: orphans in a pid namespace go to its first
//! process, which may never reap, unless one of their own ancestors takes them in.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, ExitCode, Stdio};

use crate::sys::keeper::{self, Children, PollFd, PollFlags, Status};
use crate::sys::probe as sys;

/// The first argument of this part.
pub(super) const WORD: &str = "probe-inside";
/// Bytes of a word to the daemon: what happened, and a number (little endian).
pub(super) const REPORT: usize = 5;

/// What this part tells the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Report {
    /// Everything is set up, and the program is executed next.
    Started,
    /// It cannot be executed: the number of the error.
    NotStarted(i32),
    /// It returned this.
    Exited(u8),
    /// A signal ended it.
    Signaled(i32),
}

impl Report {
    pub(super) fn bytes(self) -> [u8; REPORT] {
        let (tag, number) = match self {
            Report::Started => (b'S', 0),
            Report::NotStarted(errno) => (b'F', errno),
            Report::Exited(code) => (b'E', i32::from(code)),
            Report::Signaled(signal) => (b'K', signal),
        };
        let [a, b, c, d] = number.to_le_bytes();
        [tag, a, b, c, d]
    }

    /// `None` = nobody of ours said that.
    pub(super) fn read(bytes: &[u8]) -> Option<Report> {
        let &[tag, a, b, c, d] = bytes else { return None };
        let number = i32::from_le_bytes([a, b, c, d]);
        match tag {
            b'S' => Some(Report::Started),
            b'F' => Some(Report::NotStarted(number)),
            b'E' => u8::try_from(number).ok().map(Report::Exited),
            b'K' => Some(Report::Signaled(number)),
            _ => None,
        }
    }
}

/// The program and its arguments, when this part is what was called.
pub(crate) fn asked(args: impl Iterator<Item = OsString>) -> Option<Vec<OsString>> {
    let mut args = args.skip(1);
    (args.next()? == WORD).then(|| args.collect())
}

/// The whole part: the program runs until it ends or the daemon closes its end, which it also does by dying; then
/// everything that is left is ended.
pub(crate) fn main(command: &[OsString]) -> ExitCode {
    let run = || {
        let control = UnixStream::from(sys::given()?);
        keeper::become_subreaper()?;
        sys::hold_sigchld()?;
        let children = Children::watch()?;
        let (program, args) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        // At its end from the beginning; there may be no /dev/null.
        let (input, _) = io::pipe()?;
        let mut call = Command::new(program);
        sys::hold_nothing(&mut call);
        // Before it is true: the program could stop this process before the word is out.
        tell(&control, Report::Started);
        match call.args(args).stdin(Stdio::from(input)).spawn() {
            Ok(child) => {
                let code = wait(child.id(), &control, &children)?;
                end_all();
                Ok(code)
            }
            Err(e) => {
                tell(&control, Report::NotStarted(e.raw_os_error().unwrap_or_default()));
                Ok(ExitCode::from(127))
            }
        }
    };
    run().unwrap_or_else(|e: io::Error| {
        eprintln!("a probe in the container: {e}");
        ExitCode::from(125)
    })
}

/// Until the program ends, which is told, or the daemon wants no more.
fn wait(program: u32, control: &UnixStream, children: &Children) -> io::Result<ExitCode> {
    loop {
        let mut watched = [
            PollFd::from_borrowed_fd(control.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(children.as_fd(), PollFlags::IN),
        ];
        keeper::poll(&mut watched, None)?;
        let over = !watched[0].revents().is_empty();
        children.silence();
        while let Some((pid, status)) = keeper::reap(None) {
            if pid == program {
                let (report, code) = match status {
                    Status::Exited(code) => (Report::Exited(code), code),
                    Status::Signaled(signal, _) => (
                        Report::Signaled(signal),
                        u8::try_from(signal).map_or(u8::MAX, |s| s.saturating_add(128)),
                    ),
                };
                tell(control, report);
                return Ok(ExitCode::from(code));
            }
        }
        if over {
            return Ok(ExitCode::from(124));
        }
    }
}

/// Ends children until there are none: those of an ended one become ours.
fn end_all() {
    loop {
        for pid in own_children() {
            // One that has become another user: the daemon ends it.
            sys::kill_child(pid).ok();
        }
        if !sys::reap_one() {
            return;
        }
        while keeper::reap(None).is_some() {}
    }
}

/// Needs `CONFIG_PROC_CHILDREN`, which all distributions have.
fn own_children() -> Vec<u32> {
    listed(&std::fs::read_to_string("/proc/thread-self/children").unwrap_or_default())
}

/// The numbers of a `children` file of /proc.
pub(super) fn listed(children: &str) -> Vec<u32> {
    children.split_ascii_whitespace().filter_map(|n| n.parse().ok()).collect()
}

/// The daemon may be gone; that is seen soon enough.
fn tell(mut control: &UnixStream, report: Report) {
    control.write_all(&report.bytes()).ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports() {
        for report in [
            Report::Started,
            Report::NotStarted(2),
            Report::Exited(255),
            Report::Exited(0),
            Report::Signaled(9),
        ] {
            assert_eq!(Report::read(&report.bytes()), Some(report));
        }
        for bad in [&b""[..], b"S", b"E\x00\x01\x00\x00", b"X\x00\x00\x00\x00", b"S\x00\x00\x00\x00\x00"] {
            assert_eq!(Report::read(bad), None);
        }
    }

    #[test]
    fn called() {
        let words = |w: &[&str]| asked(w.iter().map(OsString::from));
        assert_eq!(words(&["knarr-keeper", WORD, "a", "--b"]), Some(vec!["a".into(), "--b".into()]));
        assert_eq!((words(&["knarr-keeper", "--run", WORD]), words(&[])), (None, None));
    }
}
