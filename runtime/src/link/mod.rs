//! The handshake between the parent (`create`) and init: one packet socket, one enum per direction, one type per
//! phase. Any wait also takes `Log` (printed, go on) and `Failed` (becomes the parent's error); end of file is
//! never success. May use: `sys::sock`, `error`.
//!
//! ```text
//!   parent                         init
//!   Held      -- Build ----------> Held       id maps, rlimits are set
//!   Building  <- RootReady ------- Building   mounts and devices are in place
//!   Hooking   -- Enter ----------> Hooking    prestart, createRuntime hooks have run
//!   Entering  <- Console (fd) ---- Entering   only with a terminal
//!             <- Listener -------- Entering   its number; only with seccomp notify
//!             -- ListenerTaken -->
//!             <- Ready ----------- Entering   confined, program found
//!   Sealed    -- Go -------------> Sealed     `run` only; `create` leaves that to the gate
//! ```
#![forbid(unsafe_code)]

use crate::error::{Code, Error, Result};
use crate::report;
use crate::sys::sock;
use serde::{Deserialize, Serialize};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// What the parent says.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToInit {
    Build,
    Enter { pid: i32 },
    ListenerTaken,
    Go,
}

/// What init says.
#[derive(Debug, Serialize, Deserialize)]
pub enum FromInit {
    RootReady,
    /// Carries the terminal's master.
    Console,
    /// The number of the seccomp listener in init. Not the descriptor itself: the filter is active, and may
    /// hold up the call that would carry it until the agent, which has no listener yet, answers.
    Listener {
        fd: i32,
    },
    Ready,
    Failed(Error),
    Warn(String),
}

/// The parent's end in phase `P`.
#[derive(Debug)]
pub struct Parent<P> {
    sock: OwnedFd,
    phase: P,
}

/// Init's end in phase `P`.
#[derive(Debug)]
pub struct Init<P> {
    sock: OwnedFd,
    phase: P,
}

/// Init waits for its maps and limits.
#[derive(Debug, Clone, Copy)]
pub struct Held;
/// Init builds the root file system.
#[derive(Debug, Clone, Copy)]
pub struct Building;
/// Hooks of the runtime namespace run.
#[derive(Debug, Clone, Copy)]
pub struct Hooking;
/// Init enters the root and gives up privilege.
#[derive(Debug, Clone, Copy)]
pub struct Entering;
/// Init is confined and waits to be started.
#[derive(Debug, Clone, Copy)]
pub struct Sealed;

/// What init handed over on its way from *Entering* to *Sealed*.
#[derive(Debug, Default)]
pub struct Handed {
    pub console: Option<OwnedFd>,
}

/// Both ends of a new link in their first phase.
pub fn pair() -> Result<(Parent<Held>, Init<Held>)> {
    let (a, b) = sock::pair()?;
    Ok((Parent { sock: a, phase: Held }, Init { sock: b, phase: Held }))
}

fn send<T: Serialize>(sock: &OwnedFd, msg: &T, fds: &[BorrowedFd<'_>]) -> Result<()> {
    let data = serde_json::to_vec(msg).map_err(|e| Error::new(Code::Internal, e.to_string()))?;
    if fds.is_empty() {
        // write(2) is the one call that a profile may not hand to an agent.
        return crate::sys::fs::write_once(sock, &data);
    }
    sock::send(sock, &data, fds)
}

fn closed(by: &str) -> Error {
    Error::new(Code::Init, format!("{by} ended before the container was ready"))
}

impl<P> Parent<P> {
    fn next(&self) -> Result<(FromInit, Vec<OwnedFd>)> {
        loop {
            let (data, fds) = sock::recv(&self.sock)?;
            if data.is_empty() {
                return Err(closed("init"));
            }
            match serde_json::from_slice(&data) {
                Ok(FromInit::Failed(e)) => return Err(e),
                Ok(FromInit::Warn(text)) => report::warn(format_args!("{text}")),
                Ok(msg) => return Ok((msg, fds)),
                Err(e) => return Err(Error::new(Code::Init, format!("init sent nonsense: {e}"))),
            }
        }
    }
    fn go_on<Q>(self, phase: Q) -> Parent<Q> {
        Parent { sock: self.sock, phase }
    }
}

fn unexpected(msg: &FromInit) -> Error {
    Error::new(Code::Init, format!("init spoke out of turn: {msg:?}"))
}

impl Parent<Held> {
    /// Maps and limits are set: build the root file system.
    pub fn build(self) -> Result<Parent<Building>> {
        let Held = self.phase;
        send(&self.sock, &ToInit::Build, &[])?;
        Ok(self.go_on(Building))
    }
}

impl Parent<Building> {
    /// Waits until mounts and devices are in place.
    pub fn root_ready(self) -> Result<Parent<Hooking>> {
        let Building = self.phase;
        match self.next()? {
            (FromInit::RootReady, _) => Ok(self.go_on(Hooking)),
            (other, _) => Err(unexpected(&other)),
        }
    }
}

impl Parent<Hooking> {
    /// Hooks have run; `pid` is init's as the host sees it, for its own hooks' state.
    pub fn enter(self, pid: i32) -> Result<Parent<Entering>> {
        let Hooking = self.phase;
        send(&self.sock, &ToInit::Enter { pid }, &[])?;
        Ok(self.go_on(Entering))
    }
}

impl Parent<Entering> {
    /// Waits until init is confined; `listener` takes the seccomp listener when there is one.
    pub fn ready(self, mut listener: impl FnMut(i32) -> Result<()>) -> Result<(Parent<Sealed>, Handed)> {
        let Entering = self.phase;
        let mut handed = Handed::default();
        loop {
            let (msg, mut fds) = self.next()?;
            match (msg, fds.pop()) {
                (FromInit::Ready, None) => return Ok((self.go_on(Sealed), handed)),
                (FromInit::Console, Some(fd)) => handed.console = Some(fd),
                (FromInit::Listener { fd }, None) => {
                    listener(fd)?;
                    send(&self.sock, &ToInit::ListenerTaken, &[])?;
                }
                (other, _) => return Err(unexpected(&other)),
            }
        }
    }
}

impl Parent<Sealed> {
    /// Starts the payload over the link. End of file then means that execve succeeded or that init ended.
    pub fn go(self) -> Result<()> {
        let Sealed = self.phase;
        send(&self.sock, &ToInit::Go, &[])?;
        match self.next() {
            Ok((other, _)) => Err(unexpected(&other)),
            Err(e) if e.kind() == Code::Init && e.to_string().starts_with("init ended") => Ok(()),
            Err(e) => Err(e),
        }
    }
}

impl<P> Init<P> {
    fn next(&self) -> Result<ToInit> {
        let (data, _) = sock::recv(&self.sock)?;
        if data.is_empty() {
            return Err(closed("the runtime"));
        }
        serde_json::from_slice(&data).map_err(|e| Error::new(Code::Init, e.to_string()))
    }
    fn go_on<Q>(self, phase: Q) -> Init<Q> {
        Init { sock: self.sock, phase }
    }
    /// A line for the user that is no failure.
    pub fn warn(&self, text: &str) {
        let _ = send(&self.sock, &FromInit::Warn(text.to_string()), &[]);
    }
    /// The socket, for the list of what to keep open.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.sock.as_fd()
    }
    /// A second handle on the socket that can only say *Failed*: for the last word, also from a panic.
    pub fn last_word(&self) -> Result<LastWord> {
        Ok(LastWord(crate::sys::fs::dup(&self.sock)?))
    }
}

/// See [`Init::last_word`].
#[derive(Debug)]
pub struct LastWord(OwnedFd);

impl LastWord {
    /// The socket, for the list of what to keep open.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
    /// Tells the parent why init ends now.
    pub fn failed(&self, e: &Error) {
        let _ = send(&self.0, &FromInit::Failed(e.clone()), &[]);
    }
}

impl Init<Held> {
    /// Waits for maps and limits.
    pub fn wait_build(self) -> Result<Init<Building>> {
        let Held = self.phase;
        match self.next()? {
            ToInit::Build => Ok(self.go_on(Building)),
            ToInit::Enter { .. } | ToInit::ListenerTaken | ToInit::Go => Err(out_of_turn()),
        }
    }
}

fn out_of_turn() -> Error {
    Error::new(Code::Init, "the runtime spoke out of turn")
}

impl Init<Building> {
    /// Mounts and devices are in place; sleeps through the hooks. Gives the pid that the host sees.
    pub fn root_ready(self) -> Result<(Init<Entering>, i32)> {
        let Building = self.phase;
        send(&self.sock, &FromInit::RootReady, &[])?;
        match self.next()? {
            ToInit::Enter { pid } => Ok((self.go_on(Entering), pid)),
            ToInit::Build | ToInit::ListenerTaken | ToInit::Go => Err(out_of_turn()),
        }
    }
}

impl Init<Entering> {
    /// Hands the terminal's master to the parent.
    pub fn console(&self, master: OwnedFd) -> Result<()> {
        send(&self.sock, &FromInit::Console, &[master.as_fd()])
    }
    /// Hands the seccomp listener to the parent and waits until its agent has it.
    pub fn listener(&self, fd: OwnedFd) -> Result<()> {
        send(&self.sock, &FromInit::Listener { fd: fd.as_raw_fd() }, &[])?;
        match self.next()? {
            ToInit::ListenerTaken => Ok(()),
            ToInit::Build | ToInit::Enter { .. } | ToInit::Go => Err(out_of_turn()),
        }
    }
    /// Confined, program found.
    pub fn ready(self) -> Result<Init<Sealed>> {
        let Entering = self.phase;
        send(&self.sock, &FromInit::Ready, &[])?;
        Ok(self.go_on(Sealed))
    }
}

impl Init<Sealed> {
    /// `run` only: waits to be started, keeps the socket for the last word. Close-on-exec tells the parent the
    /// rest.
    pub fn wait_go(self) -> Result<Init<Sealed>> {
        let Sealed = self.phase;
        match self.next()? {
            ToInit::Go => Ok(self),
            ToInit::Build | ToInit::Enter { .. } | ToInit::ListenerTaken => Err(out_of_turn()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_road() {
        let (parent, init) = pair().unwrap();
        let t = std::thread::spawn(move || {
            let init = init.wait_build().unwrap();
            init.warn("a line");
            let (init, pid) = init.root_ready().unwrap();
            assert_eq!(pid, 7);
            let (master, _keep) = sock::pair().unwrap();
            init.console(master).unwrap();
            let init = init.ready().unwrap();
            drop(init.wait_go().unwrap());
        });
        let parent = parent.build().unwrap().root_ready().unwrap().enter(7).unwrap();
        let (parent, handed) = parent.ready(|_| Ok(())).unwrap();
        assert!(handed.console.is_some());
        parent.go().unwrap();
        t.join().unwrap();
    }

    #[test]
    fn a_failure_crosses_with_its_errno() {
        let (parent, init) = pair().unwrap();
        let parent = parent.build().unwrap();
        let init = init.wait_build().unwrap();
        init.last_word().unwrap().failed(&Error::os("mount", "x", 1).step("mount proc"));
        let e = parent.root_ready().unwrap_err();
        assert_eq!(e.errno(), Some(1));
        assert!(e.to_string().starts_with("mount proc: mount(x)"), "{e}");
    }

    #[test]
    fn end_of_file_is_never_success() {
        let (parent, init) = pair().unwrap();
        drop(init);
        let e = parent.build().map(|p| p.root_ready().map(|_| ())).unwrap_or_else(Err).unwrap_err();
        assert!(e.kind() == Code::Init || e.errno().is_some(), "{e}");
    }

    #[test]
    fn words_out_of_turn_are_refused() {
        let (parent, init) = pair().unwrap();
        let parent = parent.build().unwrap();
        send(&init.sock, &FromInit::Ready, &[]).unwrap();
        let e = parent.root_ready().unwrap_err();
        assert!(e.to_string().contains("out of turn"), "{e}");
    }
}
