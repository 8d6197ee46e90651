//! Staying with a payload until it ends: signals are passed on, the terminal is relayed, the exit status is
//! taken from the pidfd. Used by `run` and `exec`. May use: `sys`, `error`, `notify`.
#![forbid(unsafe_code)]

use crate::error::Result;
use crate::notify::{self, Proxy};
use crate::sys::poll::{self, Interest};
use crate::sys::process::{self, Child, Exit, sig};
use crate::sys::tty::{self, RawMode};
use crate::sys::{BorrowedFd, OwnedFd, errno, fs};
use std::os::fd::AsFd;
use std::time::Duration;

/// Signals blocked and read through a descriptor, so that none is lost between two waits.
pub struct Signals(OwnedFd);

impl Signals {
    /// Blocks every signal that can be passed on. To be called before the payload runs.
    pub fn block() -> Result<Signals> {
        // KILL and STOP cannot be blocked; ILL, TRAP, BUS, FPE and SEGV are raised by our own faults.
        process::signal_fd_but(&[4, 5, 7, 8, 11]).map(Signals)
    }
}

/// Waits for the end of `child`, relaying its terminal if it has one, and passing on that it is ready. Whoever waits for
/// that started us, so we are the main process.
pub fn wait(
    child: &mut Child,
    signals: &Signals,
    mut relay: Option<Relay>,
    mut proxy: Option<Proxy>,
) -> Result<Exit> {
    loop {
        let mut fds = vec![(child.pidfd(), Interest::Read), (signals.0.as_fd(), Interest::Read)];
        if let Some(r) = &relay {
            r.interests(&mut fds);
        }
        fds.extend(proxy.iter().filter_map(Proxy::fd).map(|fd| (fd, Interest::Read)));
        let ready = poll::wait_any(&fds, relay.as_ref().and_then(Relay::look_again))?;
        drop(fds);
        if ready[1] {
            for n in process::pending_signals(&signals.0) {
                pass_on(child, n, relay.as_ref());
            }
        }
        if let Some(r) = &mut relay {
            r.turn();
        }
        if let Some(Err(e)) = proxy.as_mut().map(|p| p.turn(process::getpid())) {
            notify::late(e);
            proxy = None;
        }
        if ready[0] {
            if let Some(r) = &mut relay {
                r.drain();
            }
            return child.wait();
        }
    }
}

fn pass_on(child: &Child, n: i32, relay: Option<&Relay>) {
    match (n, relay) {
        (sig::SIGCHLD, _) => process::reap_others(child.pid()),
        // A broken pipe of ours, or a byte out of turn on one of our sockets.
        (sig::SIGPIPE | sig::SIGURG, _) => {}
        (sig::SIGWINCH, Some(r)) => r.copy_size(),
        // Gone already: the pidfd says so in the next round.
        _ => {
            let _ = process::pidfd_signal(&child.pidfd(), n);
        }
    }
}

/// From the first to the last pause between two looks at a terminal that nobody has open.
const LOOK_FIRST: Duration = Duration::from_millis(5);
const LOOK_LAST: Duration = Duration::from_millis(80);

/// More than a terminal holds, in bytes.
const MAX_LEFT: usize = 256 * 1024;

/// Our stdin to the terminal, the terminal to our stdout. One small buffer each way; a slow reader makes the
/// other side wait, it loses nothing.
pub struct Relay {
    master: OwnedFd,
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    /// Typed but not yet taken by the terminal.
    pending: Vec<u8>,
    /// Set while nobody has the far end open: poll(2) would say so again and again, so it is left out and looked at after this.
    hung_up: Option<Duration>,
    _raw: Option<RawMode>,
}

impl Relay {
    /// Puts our terminal, if stdin is one, into raw mode until this is dropped, and gives `master` its size. To be
    /// called before the payload runs, which then finds the terminal as it stays.
    ///
    /// # Errors
    /// A terminal that cannot be set up.
    pub fn new(master: OwnedFd) -> Result<Relay> {
        let (stdin, stdout) = (process::dup_number(0), process::dup_number(1));
        let raw = match &stdin {
            Some(fd) if tty::is_tty(fd) => Some(RawMode::enter(fs::dup(fd)?)?),
            _ => None,
        };
        fs::set_nonblocking(&master)?;
        // Our own terminal, or whatever stdout is, gets plain newlines (as under runc).
        tty::clear_onlcr(&master)?;
        let relay = Relay { master, stdin, stdout, pending: Vec::new(), hung_up: None, _raw: raw };
        relay.copy_size();
        Ok(relay)
    }

    fn copy_size(&self) {
        if let Some(size) = self.stdin.as_ref().and_then(tty::size) {
            let _ = tty::set_size(&self.master, size);
        }
    }

    fn interests<'a>(&'a self, fds: &mut Vec<(BorrowedFd<'a>, Interest)>) {
        if self.hung_up.is_none() {
            fds.push((self.master.as_fd(), Interest::Read));
        }
        match &self.stdin {
            Some(fd) if self.pending.is_empty() => fds.push((fd.as_fd(), Interest::Read)),
            _ if !self.pending.is_empty() && self.hung_up.is_none() => {
                fds.push((self.master.as_fd(), Interest::Write));
            }
            _ => {}
        }
    }

    /// When to look at the terminal again that nobody has open.
    fn look_again(&self) -> Option<Duration> {
        self.hung_up
    }

    /// Moves what can be moved without waiting.
    fn turn(&mut self) {
        self.output();
        if self.pending.is_empty() {
            self.typed();
        }
        self.input();
    }

    /// Takes what was typed.
    fn typed(&mut self) {
        let Some(fd) = &self.stdin else { return };
        if !poll::wait_readable(fd, Some(Duration::ZERO)).unwrap_or(false) {
            return;
        }
        let mut buf = [0u8; 4096];
        match fs::read_some(fd, &mut buf) {
            Ok(n) if n > 0 => self.pending.extend_from_slice(&buf[..n]),
            // Somebody who shares our stdin was quicker.
            Err(e) if e.is(errno::EAGAIN) => {}
            _ => self.stdin = None,
        }
    }

    fn input(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        match fs::write_some(&self.master, &self.pending) {
            Ok(n) => drop(self.pending.drain(..n)),
            Err(e) if e.is(errno::EAGAIN) => {}
            // The far end is closed: what was typed has no reader any more.
            Err(_) => self.pending.clear(),
        }
    }

    /// True when something was read.
    fn output(&mut self) -> bool {
        let mut buf = [0u8; 8192];
        // EIO: all was read, and nobody has the far end open now; that can change. EAGAIN: nothing to read.
        let read = fs::read_some(&self.master, &mut buf);
        self.hung_up = match &read {
            Err(e) if e.is(errno::EIO) => Some(self.hung_up.map_or(LOOK_FIRST, |d| (d * 2).min(LOOK_LAST))),
            _ => None,
        };
        let n = read.unwrap_or(0);
        if let Some(out) = self.stdout.as_ref().filter(|_| n > 0)
            && fs::write_patiently(out, &buf[..n]).is_err()
        {
            self.stdout = None;
        }
        n > 0
    }

    /// What the payload wrote before it ended, and not what others on its terminal go on writing.
    fn drain(&mut self) {
        for _ in 0..MAX_LEFT / 4096 {
            if !poll::wait_readable(&self.master, Some(Duration::ZERO)).unwrap_or(false) || !self.output() {
                return;
            }
        }
    }
}
