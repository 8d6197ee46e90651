//! The handshake between the parent (`create`) and init: one packet socket, one enum per direction, one type per
//! phase. Any wait also takes `Log` (printed, go on) and `Failed` (becomes the parent's error); end of file is
//! never success. May use: `sys`, `error`, `report`.
//!
//! ```text
//!   parent                         init
//!   Held      -- Build ----------> Held       id maps, rlimits are set
//!   Building  <- RootReady ------- Building   mounts and devices are in place
//!   Hooking   -- Enter ----------> Hooking    prestart, createRuntime hooks have run
//!   Entering  <- Console (fd) ---- Entering   only with a terminal
//!             <- Listener -------- Entering   only with seccomp notify: about to install the filter
//!             -- ListenerTaken -->            the parent took the listener and handed it to the agent
//!             <- Ready ----------- Entering   confined, program found
//!   Sealed    -- Go -------------> Sealed     `run` only; `create` leaves that to the gate
//! ```
#![forbid(unsafe_code)]

use crate::error::{Code, Context, Error, Result};
use crate::interrupt;
use crate::report;
use crate::sys::{errno, poll, process, sock};
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

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
    /// The next call installs a filter whose listener will have this descriptor number. It cannot be sent: the
    /// filter may notify of sendmsg(2) itself, and nobody would answer.
    Listener {
        number: i32,
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

/// How long init may take for a part of its work that no hook has a share in: a file system that never answers must
/// not keep the caller for ever.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// How long an agent may take to let init's own calls go on. Only with seccomp notify.
const AGENT_DEADLINE: Duration = Duration::from_secs(60);

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
        // write(2) is the one call that a profile may not hand to an agent, who might not answer.
        return crate::sys::fs::write_once(sock, &data);
    }
    sock::send(sock, &data, fds)
}

fn closed(by: &str) -> Error {
    Error::new(Code::Init, format!("{by} ended before the container was ready"))
}

impl<P> Parent<P> {
    /// The next message that is not a log line, which init sends when it has done `what`; `None` at end of file.
    fn hear(&self, what: &str, limit: Option<Duration>) -> Result<Option<(FromInit, Vec<OwnedFd>)>> {
        let end = limit.map(|l| Instant::now() + l);
        loop {
            let left = end.map(|e| e.saturating_duration_since(Instant::now()));
            let waiting = || format!("wait for init to {what}");
            if !interrupt::wait_readable(&self.sock, left).step_with(waiting)? {
                let seconds = limit.unwrap_or_default().as_secs();
                let text = format!("init has not finished within {seconds} s");
                return Err(Error::new(Code::Timeout, text).step(waiting()));
            }
            let (data, fds) = sock::recv(&self.sock)?;
            if data.is_empty() {
                return Ok(None);
            }
            match serde_json::from_slice(&data) {
                Ok(FromInit::Failed(e)) => return Err(e),
                Ok(FromInit::Warn(text)) => report::warn(format_args!("{text}")),
                Ok(msg) => return Ok(Some((msg, fds))),
                Err(e) => return Err(Error::new(Code::Init, format!("init sent nonsense: {e}"))),
            }
        }
    }
    fn next(&self, what: &str, limit: Option<Duration>) -> Result<(FromInit, Vec<OwnedFd>)> {
        self.hear(what, limit)?.ok_or_else(|| closed("init"))
    }
    /// Why init has ended.
    fn last_word(&self) -> Result<(FromInit, Vec<OwnedFd>)> {
        self.next("say why it ended", Some(DEADLINE))
    }
    fn say(&self, msg: &ToInit) -> Result<()> {
        match send(&self.sock, msg, &[]) {
            // It ended; its last word, if there was one, is the better reason.
            Err(e) if e.is(errno::EPIPE) || e.is(errno::ECONNRESET) => match self.last_word() {
                Ok((other, _)) => Err(unexpected(&other)),
                Err(why) => Err(why),
            },
            r => r,
        }
    }
    /// What to report when something done to init from outside failed with `e`: init's own last word, if that is
    /// why.
    pub fn blame(&self, e: Error) -> Error {
        match poll::wait_readable(&self.sock, Some(Duration::ZERO)) {
            Ok(true) => self.last_word().err().unwrap_or(e),
            _ => e,
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
    /// `exec`: there is no root to build and no hook to run.
    pub fn straight(self) -> Parent<Entering> {
        let Held = self.phase;
        self.go_on(Entering)
    }
    /// Maps and limits are set: build the root file system.
    pub fn build(self) -> Result<Parent<Building>> {
        let Held = self.phase;
        self.say(&ToInit::Build)?;
        Ok(self.go_on(Building))
    }
}

impl Parent<Building> {
    /// Waits until mounts and devices are in place.
    pub fn root_ready(self) -> Result<Parent<Hooking>> {
        let Building = self.phase;
        match self.next("build the root", Some(DEADLINE))? {
            (FromInit::RootReady, _) => Ok(self.go_on(Hooking)),
            (other, _) => Err(unexpected(&other)),
        }
    }
}

impl Parent<Hooking> {
    /// Hooks have run; `pid` is init's as the host sees it, for its own hooks' state.
    pub fn enter(self, pid: i32) -> Result<Parent<Entering>> {
        let Hooking = self.phase;
        self.say(&ToInit::Enter { pid })?;
        Ok(self.go_on(Entering))
    }
}

impl Parent<Entering> {
    /// Waits until init is confined, `None` for as long as its hooks may take; `listener` takes the seccomp listener, when there is one, out of the descriptor
    /// table of `init`, a pidfd.
    pub fn ready(
        self,
        limit: Option<Duration>,
        init: BorrowedFd<'_>,
        listener: impl Fn(OwnedFd) -> Result<()>,
    ) -> Result<(Parent<Sealed>, Handed)> {
        let Entering = self.phase;
        let mut handed = Handed::default();
        let (mut what, mut limit) = ("confine itself", limit);
        loop {
            let (msg, mut fds) = self.next(what, limit)?;
            match (msg, fds.pop()) {
                (FromInit::Ready, None) => return Ok((self.go_on(Sealed), handed)),
                (FromInit::Console, Some(fd)) => handed.console = Some(fd),
                (FromInit::Listener { number }, None) => {
                    listener(self.fetch_listener(init, number)?)?;
                    self.say(&ToInit::ListenerTaken)?;
                    (what, limit) = ("be let go on by the seccomp agent", Some(AGENT_DEADLINE));
                }
                (other, _) => return Err(unexpected(&other)),
            }
        }
    }
}

impl Parent<Entering> {
    /// Waits until the filter is installed, which a moment after its announcement it is.
    fn fetch_listener(&self, init: BorrowedFd<'_>, number: i32) -> Result<OwnedFd> {
        let end = Instant::now() + AGENT_DEADLINE;
        loop {
            match process::pidfd_getfd(&init, number) {
                Err(e) if e.is(errno::EBADF) && Instant::now() < end => {}
                Err(e) if e.is(errno::EPERM) => {
                    return Err(e.hint("taking over a seccomp listener needs CAP_SYS_PTRACE"));
                }
                r => return r,
            }
            // It has something to say instead: that it could not be installed.
            if interrupt::wait_readable(&self.sock, Some(Duration::from_millis(1)))? {
                return Err(self.last_word().map_or_else(|e| e, |(other, _)| unexpected(&other)));
            }
        }
    }
}

impl Parent<Sealed> {
    /// Starts the payload over the link, and waits as [`Parent::ready`] does. End of file then means that execve
    /// succeeded or that init ended.
    pub fn go(self, limit: Option<Duration>) -> Result<()> {
        let Sealed = self.phase;
        self.say(&ToInit::Go)?;
        match self.hear("execute the program", limit)? {
            Some((other, _)) => Err(unexpected(&other)),
            None => Ok(()),
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
}

/// A second handle on the socket that can only say *Failed*.
#[derive(Debug)]
struct LastWord(OwnedFd);

impl LastWord {
    fn failed(&self, e: &Error) {
        let _ = send(&self.0, &FromInit::Failed(e.clone()), &[]);
    }
}

impl Init<Held> {
    /// `exec`: there is no root to build and no hook to wait for.
    pub fn straight(self) -> Init<Entering> {
        let Held = self.phase;
        self.go_on(Entering)
    }
    /// Runs `life`, which ends in execve or with an error. The error, and a panic too, goes to the parent as the last
    /// word over a handle that `life` must keep open. The result is an exit code, which nobody but a supervisor
    /// sees.
    pub fn live(self, life: impl FnOnce(Init<Held>, BorrowedFd<'_>) -> Result<Infallible>) -> i32 {
        let Ok(word) = crate::sys::fs::dup(&self.sock).map(|fd| Arc::new(LastWord(fd))) else { return 1 };
        let at_panic = Arc::clone(&word);
        std::panic::set_hook(Box::new(move |info| {
            at_panic.failed(&Error::new(Code::Internal, format!("init panicked: {info}")));
        }));
        // What tells the parent to stop is not for us: we end when it does.
        interrupt::disarm();
        process::unblock_signals();
        let Err(e) = life(self, word.0.as_fd());
        word.failed(&e);
        1
    }

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
    /// Announces a filter with a listener, has `install` do it, and waits until the agent has the listener.
    pub fn listener(&self, install: impl FnOnce() -> Result<Option<OwnedFd>>) -> Result<()> {
        // The kernel gives out the lowest number that is free.
        let number = crate::sys::fs::dup(&self.sock)?.as_raw_fd();
        send(&self.sock, &FromInit::Listener { number }, &[])?;
        let _listener = install()?;
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
    use crate::sys::fs::OFlags;

    /// The end of `live`, which itself would change the panic hook of all tests.
    fn die<P>(init: Init<P>, e: Error) {
        LastWord(init.sock).failed(&e);
    }

    /// From the clone to execve; whether the listener that the parent took over is the file that init opened.
    fn whole_road() -> bool {
        let (parent, init) = pair().unwrap();
        let t = std::thread::spawn(move || {
            let init = init.wait_build().unwrap();
            init.warn("a line");
            let (init, pid) = init.root_ready().unwrap();
            assert_eq!(pid, 7);
            let (master, _keep) = sock::pair().unwrap();
            init.console(master).unwrap();
            init.listener(|| crate::sys::fs::open("/proc/self/exe", OFlags::RDONLY, 0).map(Some)).unwrap();
            let init = init.ready().unwrap();
            drop(init.wait_go().unwrap());
        });
        let parent = parent.build().unwrap().root_ready().unwrap().enter(7).unwrap();
        let pidfd = process::pidfd_open(process::getpid()).unwrap();
        let taken = std::cell::Cell::new(None);
        let take = |fd: OwnedFd| {
            taken.set(Some(crate::sys::fs::fstat(fd)?.ino));
            Ok(())
        };
        let Ok((parent, handed)) = parent.ready(None, pidfd.as_fd(), take) else {
            let _ = t.join();
            return false;
        };
        assert!(handed.console.is_some());
        parent.go(None).unwrap();
        t.join().unwrap();
        taken.get() == Some(crate::sys::fs::stat("/proc/self/exe").unwrap().ino)
    }

    #[test]
    fn the_whole_road() {
        // Init is a thread here, and others of this process may be given the number that it has announced.
        assert!((0..100).any(|_| whole_road()));
    }

    #[test]
    fn a_failure_crosses_with_its_errno() {
        let (parent, init) = pair().unwrap();
        let parent = parent.build().unwrap();
        // It ends without having read "Build", which must not cost its last word.
        die(init, Error::os("mount", "x", 1).step("mount proc"));
        let e = parent.root_ready().unwrap_err();
        assert_eq!(e.errno(), Some(1));
        assert!(e.to_string().starts_with("mount proc: mount(x)"), "{e}");
    }

    #[test]
    fn a_last_word_is_heard_in_place_of_a_broken_pipe() {
        for early in [false, true] {
            let (parent, init) = pair().unwrap();
            die(init, Error::new(Code::Spec, "why"));
            let e =
                if early { parent.blame(Error::new(Code::Os, "gone")) } else { parent.build().unwrap_err() };
            assert_eq!(e.to_string(), "why");
        }
        let (parent, _init) = pair().unwrap();
        assert_eq!(parent.blame(Error::new(Code::Os, "gone")).to_string(), "gone");
    }

    #[test]
    fn end_of_file_is_never_success() {
        let (parent, init) = pair().unwrap();
        drop(init);
        let e = parent.build().map(|p| p.root_ready().map(|_| ())).unwrap_or_else(Err).unwrap_err();
        assert!(e.kind() == Code::Init || e.errno().is_some(), "{e}");
    }

    #[test]
    fn a_silent_init_is_not_waited_for_for_ever() {
        let (parent, init) = pair().unwrap();
        let parent = parent.straight();
        init.warn("a line is no answer");
        let here = process::pidfd_open(process::getpid()).unwrap();
        let e = parent.ready(Some(Duration::from_millis(30)), here.as_fd(), |_| Ok(())).unwrap_err();
        assert_eq!(e.kind(), Code::Timeout);
        assert!(e.to_string().starts_with("wait for init to confine itself: "), "{e}");
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
