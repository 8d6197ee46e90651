//! sd_notify(3) for payloads, when a service manager is waiting for us: the container gets a socket of its own, and from
//! it READY=1 is passed on, with the main process, and nothing else. May use: `sys`, `interrupt`, plan types, the environment.
#![forbid(unsafe_code)]

use crate::error::{Context, Error, Result};
use crate::interrupt;
use crate::plan::Plan;
use crate::plan::mounts::{MountKind, MountOp};
use crate::report;
use crate::sys::mount::attr;
use crate::sys::poll::{self, Interest};
use crate::sys::process;
use crate::sys::{BorrowedFd, OwnedFd, errno, fs, sock};
use std::ffi::OsString;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

/// The variable that names the socket of a service manager, and to whom it belongs.
const VARIABLE: &str = "NOTIFY_SOCKET";
/// The directory below the container's state that it sees as [`INSIDE`].
const DIR: &str = "notify";
const NAME: &str = "notify.sock";
/// As in runc.
const INSIDE: &str = "/run/notify";
/// How long a service manager may take to see who we are (sd_notify_barrier(3)).
const BARRIER: Duration = Duration::from_secs(30);

/// The socket of who waits for us.
pub fn asked() -> Option<OsString> {
    std::env::var_os(VARIABLE).filter(|name| !name.is_empty())
}

/// Adds the container's socket to what was planned: the directory as a read-only mount, the name in the environment.
/// `home` is the container's state directory.
pub fn add_to(plan: &mut Plan, home: &Path) {
    plan.process.env.push(format!("{VARIABLE}={INSIDE}/{NAME}"));
    plan.mounts.push(MountOp {
        field: VARIABLE.into(),
        dest: INSIDE.into(),
        kind: MountKind::Bind { source: home.join(DIR), recursive: false, ids: None },
        set: attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC,
        clear: 0,
        rec_set: 0,
        rec_clear: 0,
        propagation: Vec::new(),
        label: None,
    });
}

/// Makes the directory in the container's state directory.
pub fn make_dir(home: BorrowedFd<'_>) -> Result<()> {
    fs::mkdirat(home, DIR, 0o755)?;
    // Whatever the umask: users of the container have to reach the socket.
    fs::chmodat(home, DIR, 0o755)
}

/// Between the container's socket and the service manager's.
#[derive(Debug)]
pub struct Proxy {
    inside: OwnedFd,
    outside: OwnedFd,
    told: bool,
}

impl Proxy {
    /// Listens for a container that has the directory; `None` when nobody waits for it, or `create` was not asked to.
    ///
    /// # Errors
    /// Whoever waits cannot be reached.
    pub fn open(home: BorrowedFd<'_>) -> Result<Option<Proxy>> {
        let Some(name) = asked() else { return Ok(None) };
        let flags = fs::OFlags::PATH | fs::OFlags::DIRECTORY | fs::OFlags::NOFOLLOW;
        let dir = match fs::openat(home, DIR, flags, 0) {
            Err(e) if e.is(errno::ENOENT) => return Ok(None),
            r => r?,
        };
        let outside = sock::connect_datagram(&name).step(VARIABLE)?;
        let _ = fs::unlinkat(&dir, NAME);
        let inside = sock::datagram_in(&dir, NAME).step(VARIABLE)?;
        fs::chmodat(&dir, NAME, 0o777)?;
        fs::set_nonblocking(&inside)?;
        Ok(Some(Proxy { inside, outside, told: false }))
    }

    /// To wait for, until READY was passed on.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        (!self.told).then(|| self.inside.as_fd())
    }

    /// Takes what the container said. When it is ready, that and `pid` as the main process are passed on.
    pub fn turn(&mut self, pid: i32) -> Result<()> {
        while !self.told {
            let (said, _) = match sock::recv(&self.inside) {
                Err(e) if e.is(errno::EAGAIN) => return Ok(()),
                r => r?,
            };
            let ready = said.split(|b| *b == b'\n').any(|line| line.starts_with(b"READY="));
            if ready {
                self.told = true;
                self.tell(pid).step(VARIABLE)?;
            }
        }
        Ok(())
    }

    /// The manager takes no word of a process that is gone by then; the barrier says when it has read all of ours.
    fn tell(&self, pid: i32) -> Result<()> {
        sock::send(&self.outside, b"READY=1\n", &[])?;
        sock::send(&self.outside, format!("MAINPID={pid}\n").as_bytes(), &[])?;
        report::step(format_args!("ready, with main process {pid}"));
        let (ours, theirs) = process::pipe()?;
        sock::send(&self.outside, b"BARRIER=1", &[theirs.as_fd()])?;
        drop(theirs);
        if !interrupt::wait_readable(&ours, Some(BARRIER))? {
            report::warn(format_args!("{VARIABLE}: no answer within {} s", BARRIER.as_secs()));
        }
        Ok(())
    }

    /// Waits until the container is ready or its first process, `pid`, ends.
    pub fn until_ready(&mut self, init: BorrowedFd<'_>, pid: i32) -> Result<()> {
        while let Some(inside) = self.fd() {
            let mut fds = vec![(inside, Interest::Read), (init, Interest::Read)];
            fds.extend(interrupt::fd().map(|f| (f, Interest::Read)));
            let ready = poll::wait_any(&fds, None)?;
            interrupt::check()?;
            let ended = ready.get(1) == Some(&true);
            self.turn(pid)?;
            if ended {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// Why a start went wrong after the program ran.
pub fn late(e: Error) {
    report::warn(e.hint("the program runs; whoever waits for it was not told"));
}
