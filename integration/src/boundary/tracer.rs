//! A command and everything it starts under ptrace(2): counts the system calls and does one thing at the entry of one of
//! them. Knows nothing of containers.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;

use super::calls;
use super::exchange::Exchange;
use crate::os;

/// Whose system calls count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Those of the runtime's first process.
    Runtime,
    /// Those of everybody below it, too, until they execute another program.
    Tree,
}

/// Who is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victim {
    /// The runtime's first process.
    Runtime,
    /// Its first child.
    Init,
    /// The process that called it; the runtime dies of that.
    Caller,
}

/// What is done at the boundary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Nothing: the calls are counted.
    Look,
    Kill(Victim),
    /// The call is not made and gives this errno.
    Fail(i32),
    /// The tree's exchange takes place before the call; with `back` it is taken back after that one call.
    Swap {
        back: bool,
    },
}

impl std::fmt::Display for Deed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Deed::Look => f.write_str("nothing"),
            Deed::Kill(victim) => write!(f, "{victim:?} killed"),
            Deed::Fail(errno) => f.write_str(calls::errno_name(*errno)),
            Deed::Swap { back: false } => f.write_str("exchanged"),
            Deed::Swap { back: true } => f.write_str("exchanged for one call"),
        }
    }
}

/// One thing to do, once.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    pub scope: Scope,
    /// At the entry of the call with this number, the first being 1.
    pub at: usize,
    pub deed: Deed,
    /// The followed process is the runtime's caller, not the runtime.
    pub caller: bool,
    /// Time for all of it.
    pub seconds: u64,
}

/// What was seen.
#[derive(Debug, Default)]
pub struct Seen {
    /// Names of the calls in the scope, in order, up to the deed.
    pub calls: Vec<String>,
    /// When nothing is done: the path of each of them, where it takes one.
    pub paths: Vec<Option<String>>,
    /// The same: the first two arguments of each, as they are in the registers.
    pub arguments: Vec<[u64; 2]>,
    /// So many calls were seen when the first child of the runtime appeared.
    pub child_after: Option<usize>,
    /// The call at which it was done; nothing when there was no such call, or nobody to kill.
    pub done: Option<String>,
    /// The command was still there when the time was up, and was killed.
    pub hung: bool,
}

/// A process or a thread that is followed.
#[derive(Debug)]
struct Tracee {
    /// Its process.
    group: Pid,
    /// It has shown its first stop.
    begun: bool,
    /// It executes another program: a hook, the container's.
    foreign: bool,
    /// The errno that its call is going to give.
    failing: Option<i32>,
}

/// Everything that is followed. Dropped before `leave`, it kills what is left.
#[derive(Debug)]
pub struct Tree {
    root: Pid,
    subject: Option<Pid>,
    /// The subject is the runtime's program, no longer a copy of its caller.
    ready: bool,
    init: Option<Pid>,
    tracees: BTreeMap<Pid, Tracee>,
    exchange: Option<Exchange>,
    /// In whose call the exchange is to be taken back.
    swapped: Option<Pid>,
}

/// How long a process may take to stop for being let go.
const STOPPING: Duration = Duration::from_secs(2);

impl Tree {
    /// Follows a command that was started with [`os::traced`].
    pub fn follow(root: u32) -> Result<Tree> {
        let root = Pid::from_raw(root as i32);
        let mut tree = Tree {
            root,
            subject: None,
            ready: false,
            init: None,
            tracees: BTreeMap::new(),
            exchange: None,
            swapped: None,
        };
        tree.note(root);
        let first = waitpid(root, Some(WaitPidFlag::__WALL)).context("wait for the first stop")?;
        ensure!(matches!(first, WaitStatus::Stopped(_, Signal::SIGTRAP)), "the first stop is {first:?}");
        let options = Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_TRACEFORK
            | Options::PTRACE_O_TRACEVFORK
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_TRACEEXEC
            | Options::PTRACE_O_EXITKILL;
        ptrace::setoptions(root, options).context("PTRACE_SETOPTIONS")?;
        Ok(tree)
    }

    /// What [`Deed::Swap`] exchanges.
    pub fn exchanging(mut self, exchange: Exchange) -> Tree {
        self.exchange = Some(exchange);
        self
    }

    /// Lets everybody go on until the command has ended. The command itself is left for its owner to reap.
    pub fn run(&mut self, order: &Order) -> Result<Seen> {
        let _ticks = os::Ticks::start(Duration::from_millis(100))?;
        let end = Instant::now() + Duration::from_secs(order.seconds);
        let mut seen = Seen::default();
        if !order.caller {
            self.subject = Some(self.root);
            self.ready = true;
        }
        self.go(self.root, order, &seen, None);
        while let Some(status) = self.next(end)? {
            self.handle(status, order, &mut seen)?;
        }
        if !ended(self.root)? {
            seen.hung = true;
            for pid in [Some(self.root), self.subject].into_iter().flatten() {
                os::kill(pid.as_raw(), libc::SIGKILL);
            }
        }
        if let Some(subject) = self.subject.filter(|s| *s != self.root) {
            self.await_end(subject, Instant::now() + STOPPING)?;
        }
        Ok(seen)
    }

    /// The next thing that happens; nothing when the command has ended, or the time is up.
    fn next(&mut self, end: Instant) -> Result<Option<WaitStatus>> {
        loop {
            if Instant::now() > end || os::asked_to_end() {
                return Ok(None);
            }
            let look =
                WaitPidFlag::WEXITED | WaitPidFlag::WSTOPPED | WaitPidFlag::WNOWAIT | WaitPidFlag::__WALL;
            let status = match waitid(Id::All, look) {
                Err(Errno::EINTR) => continue,
                status => status.context("waitid")?,
            };
            let gone = matches!(status, WaitStatus::Exited(..) | WaitStatus::Signaled(..));
            match status.pid() {
                // Its owner will want its exit code.
                Some(pid) if gone && pid == self.root => return Ok(None),
                Some(pid) if gone && !self.tracees.contains_key(&pid) => {
                    ensure!(!os::is_tracked(pid.as_raw()), "process {pid}, which is not followed, has ended");
                    os::reap_orphans();
                }
                Some(pid) => {
                    let flags = WaitPidFlag::__WALL | WaitPidFlag::WNOHANG;
                    return Ok(Some(waitpid(pid, Some(flags)).context("waitpid")?));
                }
                None => {}
            }
        }
    }

    fn handle(&mut self, status: WaitStatus, order: &Order, seen: &mut Seen) -> Result<()> {
        match status {
            WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..) => {
                self.tracees.remove(&pid);
            }
            WaitStatus::PtraceSyscall(pid) => {
                self.note(pid);
                self.at_call(pid, order, seen)?;
                self.go(pid, order, seen, None);
            }
            WaitStatus::PtraceEvent(pid, _, event) => {
                if [libc::PTRACE_EVENT_FORK, libc::PTRACE_EVENT_VFORK, libc::PTRACE_EVENT_CLONE]
                    .contains(&event)
                {
                    self.born(pid, seen);
                }
                if event == libc::PTRACE_EVENT_EXEC {
                    self.executes(pid);
                }
                self.go(pid, order, seen, None);
            }
            WaitStatus::Stopped(pid, signal) => {
                self.note(pid);
                let first =
                    self.tracees.get_mut(&pid).is_some_and(|t| !std::mem::replace(&mut t.begun, true));
                let ours = signal == Signal::SIGTRAP || first && signal == Signal::SIGSTOP;
                self.go(pid, order, seen, (!ours).then_some(signal));
            }
            _ => {}
        }
        Ok(())
    }

    /// Somebody executes a program: the runtime itself, or another one.
    fn executes(&mut self, pid: Pid) {
        if self.subject == Some(pid) {
            self.ready = true;
        } else if let Some(tracee) = self.tracees.get_mut(&pid) {
            tracee.foreign = true;
        }
    }

    /// Somebody has a child.
    fn born(&mut self, parent: Pid, seen: &mut Seen) {
        let Ok(child) = ptrace::getevent(parent) else { return };
        let child = Pid::from_raw(child as i32);
        self.note(child);
        let parent = self.tracees.get(&parent).map(|t| t.group);
        let process = self.tracees.get(&child).is_some_and(|t| t.group == child);
        if self.subject.is_none() && process {
            self.subject = Some(child);
        } else if self.init.is_none() && process && parent == self.subject {
            self.init = Some(child);
            seen.child_after = Some(seen.calls.len());
        }
    }

    /// Remembers a process or a thread.
    fn note(&mut self, pid: Pid) {
        let group = || procfs::process::Process::new(pid.as_raw()).and_then(|p| p.status()).map(|s| s.tgid);
        let begun = pid == self.root;
        self.tracees.entry(pid).or_insert_with(|| Tracee {
            group: group().map_or(pid, Pid::from_raw),
            begun,
            foreign: false,
            failing: None,
        });
    }

    fn at_call(&mut self, pid: Pid, order: &Order, seen: &mut Seen) -> Result<()> {
        let Some(tracee) = self.tracees.get_mut(&pid) else { return Ok(()) };
        let Ok(entered) = os::entered_call(pid) else { return Ok(()) };
        let Some(number) = entered else {
            if self.swapped.take_if(|p| *p == pid).is_some()
                && let Some(exchange) = &mut self.exchange
            {
                exchange.take_back();
            }
            return match tracee.failing.take() {
                Some(errno) => os::answer_call(pid, errno),
                None => Ok(()),
            };
        };
        let in_scope = |subject| order.scope == Scope::Tree && !tracee.foreign || tracee.group == subject;
        let counts = self.ready && self.subject.is_some_and(in_scope);
        if !counts || seen.done.is_some() || seen.calls.len() >= order.at && order.deed != Deed::Look {
            return Ok(());
        }
        seen.calls.push(calls::name(number));
        if order.deed == Deed::Look {
            seen.paths.push(seen.calls.last().and_then(|call| path_of(pid, call)));
            let [first, second, ..] = os::call_arguments(pid).unwrap_or_default();
            seen.arguments.push([first, second]);
        }
        if seen.calls.len() < order.at {
            return Ok(());
        }
        let done = match order.deed {
            Deed::Look => false,
            // Processes met in another order than when they were counted.
            Deed::Fail(errno) if !seen.calls.last().is_some_and(|c| calls::can_give(c, errno)) => false,
            Deed::Fail(errno) => {
                os::skip_call(pid)?;
                tracee.failing = Some(errno);
                true
            }
            Deed::Kill(victim) => self.kill(victim),
            Deed::Swap { back } => {
                let done = self.exchange.as_mut().is_some_and(Exchange::take_place);
                self.swapped = (done && back).then_some(pid);
                done
            }
        };
        if done {
            seen.done = seen.calls.last().cloned();
        }
        Ok(())
    }

    /// `false` when there is nobody to kill.
    fn kill(&self, victim: Victim) -> bool {
        let pid = match victim {
            Victim::Runtime => self.subject,
            Victim::Init => self.init.filter(|i| self.tracees.contains_key(i)),
            Victim::Caller => Some(self.root),
        };
        if let Some(pid) = pid {
            os::kill(pid.as_raw(), libc::SIGKILL);
        }
        pid.is_some()
    }

    /// Lets one go on: to its next call, or until something befalls it when no more calls are of interest.
    fn go(&self, pid: Pid, order: &Order, seen: &Seen, signal: Option<Signal>) {
        let failing =
            self.tracees.get(&pid).is_some_and(|t| t.failing.is_some()) || self.swapped == Some(pid);
        let over = order.deed != Deed::Look && seen.calls.len() >= order.at;
        // One that was killed meanwhile cannot go on, which the next wait tells.
        let _ = if over && !failing { ptrace::cont(pid, signal) } else { ptrace::syscall(pid, signal) };
    }

    /// Waits for the end of a process of the tree that is not the command.
    fn await_end(&mut self, pid: Pid, end: Instant) -> Result<()> {
        while self.tracees.contains_key(&pid) {
            let flags = WaitPidFlag::__WALL | WaitPidFlag::WNOHANG;
            match waitpid(pid, Some(flags)) {
                Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)) | Err(Errno::ECHILD) => {
                    self.tracees.remove(&pid);
                }
                Ok(WaitStatus::StillAlive) if Instant::now() > end => {
                    bail!("process {pid} outlives its caller")
                }
                Ok(WaitStatus::StillAlive) => std::thread::sleep(Duration::from_millis(1)),
                // A stop that was on its way.
                Ok(_) => {
                    let _ = ptrace::cont(pid, None);
                }
                Err(e) => return Err(e).context("waitpid"),
            }
        }
        Ok(())
    }

    /// Lets go of everybody; they live on as if nobody had looked. In rounds: the first process of a pid namespace ends after
    /// the others of it have been reaped, a process after its threads.
    pub fn leave(mut self) -> Result<()> {
        let end = Instant::now() + STOPPING;
        let mut asked = BTreeSet::new();
        loop {
            let all = followed()?;
            for one in &all {
                // Who is stopped can be let go.
                if !one.dead && asked.insert(one.pid) {
                    os::kill_thread(one.group.as_raw(), one.pid.as_raw(), libc::SIGSTOP);
                }
                release(one)?;
            }
            if all.iter().all(|f| f.dead) {
                self.tracees.clear();
                return Ok(());
            }
            ensure!(Instant::now() < end, "processes cannot be let go: {all:?}");
            std::thread::sleep(Duration::from_micros(300));
        }
    }
}

/// The path that a call is about to take, as it is in the memory of the process.
fn path_of(pid: Pid, call: &str) -> Option<String> {
    let address = *os::call_arguments(pid).ok()?.get(calls::path_argument(call)?)?;
    let memory = std::fs::File::open(format!("/proc/{pid}/mem")).ok()?;
    let mut text = Vec::new();
    while text.len() < 4096 {
        // Never beyond a page at a time: the next one may not be there.
        let here = address + text.len() as u64;
        let mut page = vec![0; (4096 - here % 4096) as usize];
        let count = memory.read_at(&mut page, here).ok().filter(|n| *n > 0)?;
        let part = &page[..count];
        match part.iter().position(|byte| *byte == 0) {
            Some(end) => {
                text.extend_from_slice(&part[..end]);
                break;
            }
            None => text.extend_from_slice(part),
        }
    }
    Some(String::from_utf8_lossy(&text).into_owned())
}

/// A thread that this process follows.
#[derive(Debug)]
struct Followed {
    pid: Pid,
    /// Its process.
    group: Pid,
    /// It waits to be reaped.
    dead: bool,
}

/// All of them. Not all have been seen: whose parent was killed while it was telling of its birth was not.
fn followed() -> Result<Vec<Followed>> {
    let me = std::process::id() as i32;
    let ours = |s: procfs::process::Status| {
        let (pid, group) = (Pid::from_raw(s.pid), Pid::from_raw(s.tgid));
        (s.tracerpid == me).then(|| Followed { pid, group, dead: s.state.starts_with(['Z', 'X']) })
    };
    let all = procfs::process::all_processes().context("look at all processes")?.flatten();
    let threads = all.filter_map(|p| p.tasks().ok()).flatten().flatten();
    Ok(threads.filter_map(|t| t.status().ok()).filter_map(ours).collect())
}

/// Reaps one that has ended, lets go of one that has stopped.
fn release(one: &Followed) -> Result<()> {
    match waitpid(one.pid, Some(WaitPidFlag::__WALL | WaitPidFlag::WNOHANG)) {
        Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..) | WaitStatus::StillAlive)
        | Err(Errno::ECHILD) => Ok(()),
        Ok(status) => {
            let signal = match status {
                WaitStatus::Stopped(_, s) if s != Signal::SIGSTOP && s != Signal::SIGTRAP => Some(s),
                _ => None,
            };
            let _ = ptrace::detach(one.pid, signal);
            // The stop may still be pending; this takes it away.
            os::kill_thread(one.group.as_raw(), one.pid.as_raw(), libc::SIGCONT);
            Ok(())
        }
        Err(e) => Err(e).context("waitpid"),
    }
}

fn ended(pid: Pid) -> Result<bool> {
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT | WaitPidFlag::WNOHANG;
    Ok(waitid(Id::Pid(pid), look).context("waitid")? != WaitStatus::StillAlive)
}

impl Drop for Tree {
    fn drop(&mut self) {
        if self.tracees.is_empty() {
            return;
        }
        let end = Instant::now() + STOPPING;
        while Instant::now() < end {
            // The command has an owner who reaps it.
            let all = followed().unwrap_or_default().into_iter().filter(|f| f.pid != self.root);
            let all: Vec<Followed> = all.collect();
            if all.is_empty() {
                return;
            }
            for one in all {
                os::kill(one.group.as_raw(), libc::SIGKILL);
                let _ = waitpid(one.pid, Some(WaitPidFlag::__WALL | WaitPidFlag::WNOHANG));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
