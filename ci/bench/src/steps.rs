//! Instructions of a command, counted by executing it one instruction at a time (ptrace(2), PTRACE_SINGLESTEP).
//! Starts the command and follows every process and thread that it makes. Needs no counters of the processor, which most
//! virtual machines do not show. Counts what runs outside the kernel; a repeated string instruction counts each time.

use std::collections::HashSet;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::ptrace::{self, Event, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// A step takes some microseconds: this is enough for tens of millions.
const LIMIT: Duration = Duration::from_secs(240);

/// Instructions from the first of the program of `command` to the end of its last process.
///
/// # Errors
/// One that cannot be followed, that fails, or that does not end within four minutes.
pub fn count(command: &Command) -> Result<u64> {
    let everywhere = sched_getaffinity(Pid::from_raw(0))?;
    // On one processor the step of the command and the look of this process need not wake another one.
    let mut one = CpuSet::new();
    (0..CpuSet::count()).find(|n| everywhere.is_set(*n) == Ok(true)).map_or(Ok(()), |n| one.set(n))?;
    sched_setaffinity(Pid::from_raw(0), &one).context("sched_setaffinity")?;
    let counted = on_this_processor(command);
    sched_setaffinity(Pid::from_raw(0), &everywhere).context("sched_setaffinity")?;
    counted
}

fn on_this_processor(command: &Command) -> Result<u64> {
    let mut shell = Command::new("/bin/sh");
    // It stops before the program is executed: until then nobody follows it.
    shell
        .args(["-c", "kill -STOP $$; exec \"$0\" \"$@\""])
        .arg(command.get_program())
        .args(command.get_args());
    shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    let child = shell.spawn().context("sh")?;
    let main = Pid::from_raw(i32::try_from(child.id())?);
    let stopped = waitpid(main, Some(WaitPidFlag::WUNTRACED))?;
    ensure!(matches!(stopped, WaitStatus::Stopped(..)), "sh: {stopped:?}");
    let follow = Options::PTRACE_O_TRACEFORK
        | Options::PTRACE_O_TRACEVFORK
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEEXEC
        | Options::PTRACE_O_EXITKILL;
    ptrace::seize(main, follow).context("ptrace")?;
    kill(main, Signal::SIGCONT)?;
    let mut followed = Followed { main, steps: None, alive: HashSet::from([main]), status: None };
    let result = followed.follow();
    if result.is_err() {
        // Those that are left end with this process at the latest; the command must not go on beside other figures.
        followed.alive.iter().for_each(|pid| {
            let _ = kill(*pid, Signal::SIGKILL);
        });
        while !followed.alive.is_empty() && followed.next().is_ok() {}
    }
    result
}

struct Followed {
    main: Pid,
    /// `None` until the program itself runs.
    steps: Option<u64>,
    alive: HashSet<Pid>,
    status: Option<i32>,
}

impl Followed {
    fn follow(&mut self) -> Result<u64> {
        let end = Instant::now() + LIMIT;
        while !self.alive.is_empty() {
            self.next()?;
            ensure!(Instant::now() < end, "did not end within {} s, step by step", LIMIT.as_secs());
        }
        match self.status {
            Some(0) => self.steps.context("the program was not executed"),
            other => bail!("ended with {other:?}, step by step"),
        }
    }

    /// One stop or end of any of them.
    fn next(&mut self) -> Result<()> {
        // Of this thread: nobody else's children are collected.
        let all = Some(WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD);
        match waitpid(None, all)? {
            WaitStatus::Stopped(pid, Signal::SIGTRAP) => {
                if let Some(n) = &mut self.steps {
                    *n += 1;
                }
                self.go_on(pid, None)
            }
            WaitStatus::Stopped(pid, signal) => self.go_on(pid, Some(signal)),
            WaitStatus::PtraceEvent(pid, _, event) => {
                if event == Event::PTRACE_EVENT_EXEC as i32 && pid == self.main {
                    self.steps.get_or_insert(0);
                }
                self.alive.insert(pid);
                self.go_on(pid, None)
            }
            WaitStatus::Exited(pid, status) => {
                self.ended(pid, status);
                Ok(())
            }
            WaitStatus::Signaled(pid, signal, _) => {
                self.ended(pid, 128 + signal as i32);
                Ok(())
            }
            other => bail!("{other:?}"),
        }
    }

    fn ended(&mut self, pid: Pid, status: i32) {
        self.alive.remove(&pid);
        if pid == self.main {
            self.status = Some(status);
        }
    }

    fn go_on(&mut self, pid: Pid, signal: Option<Signal>) -> Result<()> {
        self.alive.insert(pid);
        let next = match self.steps {
            // The shell before the program counts for nothing.
            None => ptrace::cont(pid, signal),
            Some(_) => ptrace::step(pid, signal),
        };
        match next {
            // Killed meanwhile: its end comes next.
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(e) => Err(e).context("ptrace"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_a_program_to_its_end() {
        let once = count(&Command::new("/bin/true")).unwrap();
        assert!(once > 1000, "{once}");
    }
}
