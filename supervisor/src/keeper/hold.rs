//! The holder: one small process that keeps a copy of every socket that the daemon holds, so that neither the end of a daemon
//! nor a moment without any instance closes one. It knows their names and nothing else, and ends when it has none left.
//!
//! The daemon asks, one packet each, and has one packet as answer:
//!
//! | asked | answered |
//! |---|---|
//! | `P` and a name, with a descriptor: keep it, in the place of one of that name | `O` |
//! | `D` and a name: close it | `O` |
//! | `N` and a name: the first one after that name, in the order of bytes | `I` and its name, with the descriptor, or `E` |
//!
//! `X` and a text is the answer to what is none of these. Frozen as the keeper's protocol is: additions only.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use super::seal::Filter;
use super::start::make_cgroup;
use crate::sys::held;
use crate::sys::keeper::{self as sys, PollFd, PollFlags, Side};

/// The longest name, and so the longest packet but one byte.
pub const NAME_MAX: usize = 1023;
/// How many daemons may be connected: one, one that comes, and both twice.
const CONNS_MAX: usize = 8;
/// How long a holder waits for its first socket.
const FIRST: Duration = Duration::from_secs(30);

/// The whole program, after its arguments.
pub fn main(dir: &Path, cgroup: Option<PathBuf>) -> ExitCode {
    match start(dir, cgroup) {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(holder)) => holder.run(),
        Err(e) => {
            eprintln!("knarr-keeper: {}: {e}", dir.display());
            ExitCode::FAILURE
        }
    }
}

/// Listens, and goes into the background; `None` = this is the process that was called.
fn start(dir: &Path, cgroup: Option<PathBuf>) -> io::Result<Option<Holder>> {
    let home = sys::open_dir(dir)?;
    let listen = sys::listen(&home, "sock", true)?;
    // Without its own cgroup it works as well.
    let cgroup = cgroup.filter(|dir| make_cgroup(dir).is_ok());
    let cgroup_fd = cgroup.as_deref().and_then(|dir| sys::open_dir(dir).ok());
    match sys::go_away(cgroup_fd.as_ref().map(AsFd::as_fd))? {
        Side::Caller => Ok(None),
        Side::Away { in_cgroup } => Ok(Some(Holder {
            listen,
            owner: sys::user(),
            conns: Vec::new(),
            sockets: BTreeMap::new(),
            cgroup: cgroup.filter(|_| !in_cgroup),
        })),
    }
}

/// See the module.
struct Holder {
    listen: OwnedFd,
    owner: u32,
    conns: Vec<OwnedFd>,
    sockets: BTreeMap<Vec<u8>, OwnedFd>,
    /// Where it has yet to go.
    cgroup: Option<PathBuf>,
}

impl Holder {
    fn run(mut self) -> ExitCode {
        if let Some(dir) = self.cgroup.take() {
            std::fs::write(dir.join("cgroup.procs"), "0").ok();
        }
        // Going down needs CAP_SYS_RESOURCE.
        std::fs::write("/proc/self/oom_score_adj", "-999").ok();
        let set_up = std::env::set_current_dir("/")
            .and_then(|()| sys::quiet_stdio())
            .and_then(|()| sys::hold_signals());
        if set_up.is_err() {
            return ExitCode::FAILURE;
        }
        if let Ok(filter) = Filter::compile() {
            filter.apply(&[]);
        }
        sys::trim_heap();
        let mut patience = Some(FIRST);
        loop {
            let ready = self.wait(patience);
            if ready.is_empty() && patience.is_some() {
                return ExitCode::SUCCESS;
            }
            self.serve(&ready);
            // A daemon may be about to put its first one: as long as it is connected it is waited for.
            patience = self.conns.is_empty().then_some(FIRST).filter(|_| self.sockets.is_empty());
            if patience.is_some() && ready.iter().any(|at| *at > 0) {
                return ExitCode::SUCCESS;
            }
        }
    }

    /// Which of the listening socket (0) and the connections (from 1 on) have something.
    fn wait(&self, patience: Option<Duration>) -> Vec<usize> {
        let all = std::iter::once(&self.listen).chain(&self.conns);
        let mut fds: Vec<_> = all.map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
        if sys::poll(&mut fds, patience).is_err() {
            // No memory in the kernel, for a while.
            std::thread::sleep(Duration::from_millis(100));
            return vec![0];
        }
        fds.iter().enumerate().filter(|(_, fd)| !fd.revents().is_empty()).map(|(at, _)| at).collect()
    }

    fn serve(&mut self, ready: &[usize]) {
        let conns = std::mem::take(&mut self.conns);
        let keep = |holder: &mut Holder, at: usize, conn: &OwnedFd| {
            !ready.contains(&(at + 1)) || holder.answer(conn).is_ok()
        };
        let kept = conns.into_iter().enumerate().filter_map(|(at, c)| keep(self, at, &c).then_some(c));
        self.conns = kept.collect();
        if ready.contains(&0) {
            self.accept();
        }
    }

    /// Takes all who wait; others than root and the own user are sent away, and of too many the oldest.
    fn accept(&mut self) {
        while let Ok((conn, uid)) = sys::accept(&self.listen) {
            if uid != 0 && uid != self.owner {
                continue;
            }
            if self.conns.len() == CONNS_MAX {
                self.conns.remove(0);
            }
            self.conns.push(conn);
        }
    }

    /// # Errors
    /// The connection is over.
    fn answer(&mut self, conn: &OwnedFd) -> io::Result<()> {
        let mut packet = [0; NAME_MAX + 1];
        let (n, fds) = match held::receive(conn, &mut packet) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::InvalidData => {
                return held::send(conn, b"Xtoo long, or no descriptor is left", &[]);
            }
            other => other?,
        };
        let Some((word, name)) = packet.get(..n).and_then(<[u8]>::split_first) else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        let mut fds = fds.into_iter();
        match (word, fds.next()) {
            (b'P', Some(fd)) => {
                self.sockets.insert(name.to_vec(), fd);
            }
            (b'D', None) => {
                self.sockets.remove(name);
            }
            (b'N', None) => {
                let after = (std::ops::Bound::Excluded(name), std::ops::Bound::Unbounded);
                return match self.sockets.range::<[u8], _>(after).next() {
                    Some((name, fd)) => held::send(conn, &[b"I", &name[..]].concat(), &[fd.as_fd()]),
                    None => held::send(conn, b"E", &[]),
                };
            }
            _ => return held::send(conn, b"Xno such request", &[]),
        }
        held::send(conn, b"O", &[])
    }
}
