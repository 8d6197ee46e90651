//! A program in the container, through the `exec` of its runtime: so it has the identity and the limits of every other
//! program there, whatever the runtime is. Between the two runs [`super::inside`], from a sealed copy in memory.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::process::Child;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout as within};

use super::inside::{self, REPORT, Report};
use super::net::is_in_group_of;
use super::{Answer, OUTPUT_MAX, Outcome, SET_UP_MAX, Target};
use crate::runtime::{AFTER_END, last_line};
use crate::sys;

/// How long the container's side may take to end what the probe left, before this side helps.
const CLEAN_MAX: Duration = Duration::from_secs(5);
/// Between two looks at what is left.
const PAUSE: Duration = Duration::from_millis(20);
const SIGKILL: i32 = 9;
const SIGCONT: i32 = 18;

/// The program that [`inside`] is in.
static HELPER: Mutex<Helper> = Mutex::new(Helper { from: None, made: None });

struct Helper {
    /// `None` = `knarr-keeper` beside this program.
    from: Option<PathBuf>,
    /// Its sealed copy, made when it is wanted first, and what keeps the numbers free under which descriptors are passed on.
    made: Option<(OwnedFd, Vec<OwnedFd>)>,
}

/// Says where the program `knarr-keeper` is, of which exec probes take a copy when there are any.
pub fn use_helper(keeper: &Path) {
    let mut helper = HELPER.lock().unwrap_or_else(PoisonError::into_inner);
    if helper.from.as_deref() != Some(keeper) {
        *helper = Helper { from: Some(keeper.to_owned()), made: None };
    }
}

fn helper() -> io::Result<OwnedFd> {
    let mut helper = HELPER.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((copy, _)) = &helper.made {
        return copy.try_clone();
    }
    let from = match &helper.from {
        Some(from) => from.clone(),
        None => std::env::current_exe()?.with_file_name("knarr-keeper"),
    };
    let copy = sys::probe::sealed_copy(&File::open(from)?, "knarr-probe")?;
    let given = copy.try_clone()?;
    helper.made = Some((copy, sys::probe::hold_given()?));
    Ok(given)
}

/// Runs the program and awaits its end, or that of the time; then nothing of it is left.
pub(super) async fn check(command: &[String], target: &Target, timeout: Duration) -> Outcome {
    let copy = target.runtime.copy().await;
    let mut session = match Session::begin(command, target, copy.as_deref()) {
        Ok(session) => session,
        Err(text) => return Outcome::error(text),
    };
    let mut took = Duration::ZERO;
    let mut answer = match within(SET_UP_MAX, session.report()).await {
        Ok(Some(Report::Started)) => {
            let began = Instant::now();
            let end = within(timeout, session.report()).await;
            took = began.elapsed();
            match end {
                Ok(Some(report)) => judge(report),
                Ok(None) => Answer::error("its end is not known: the process that watched it was killed"),
                Err(_) => Answer::timed_out(timeout),
            }
        }
        Ok(Some(report)) => judge(report),
        Ok(None) => Answer::error(""),
        Err(_) => Answer::error(format!("the runtime has not started it within {SET_UP_MAX:?}")),
    };
    let left = session.clean(target).await;
    answer.output = session.output.take();
    if answer.text.is_empty() {
        let said = last_line(&answer.output).unwrap_or_else(|| "it said nothing".into());
        answer.text = format!("{} exec: {said}", target.runtime.program.display());
    }
    if let Err(text) = left {
        answer.text = format!("{}; {text}", answer.text);
    }
    answer.after(took)
}

fn judge(report: Report) -> Answer {
    match report {
        Report::Exited(0) => Answer::pass("exit code 0"),
        Report::Exited(code) => Answer::fail(format!("exit code {code}")),
        Report::Signaled(signal) => Answer::fail(format!("killed by signal {signal}")),
        Report::NotStarted(errno) => {
            Answer::fail(format!("cannot be executed: {}", io::Error::from_raw_os_error(errno)))
        }
        Report::Started => Answer::error("it was started twice"),
    }
}

/// One call of the runtime. Dropped, it ends by itself: the container's side sees that this end is closed.
struct Session {
    runtime: Child,
    control: UnixStream,
    output: Output,
    /// The container's side, on the host, since its first word.
    inside: Option<u32>,
}

impl Session {
    fn begin(command: &[String], target: &Target, copy: Option<&OwnedFd>) -> Result<Session, String> {
        let failed = |what: &'static str| move |e: io::Error| format!("{what}: {e}");
        let program = helper().map_err(failed("the helper for exec probes"))?;
        let (control, theirs) = UnixStream::pair().map_err(failed("a socket"))?;
        sys::probe::want_senders(&control).map_err(failed("a socket"))?;
        let theirs = theirs.into_std().map_err(failed("a socket"))?;
        theirs.set_nonblocking(false).map_err(failed("a socket"))?;
        let (read, write) = sys::keeper::pipe().map_err(failed("a pipe"))?;
        let output = Output::keep(read).map_err(failed("a pipe"))?;
        let fds = [program, theirs.into()];
        let inside = format!("/proc/self/fd/{}", sys::probe::GIVEN[0]);
        let mut line = vec![inside.as_str(), inside::WORD];
        line.extend(command.iter().map(String::as_str));
        let mut call = target.runtime.exec(&target.run, copy, fds.len(), &line);
        let both = write.try_clone().map_err(failed("a pipe"))?;
        call.stdin(Stdio::null()).stdout(both).stderr(write);
        sys::probe::give(&mut call, fds);
        let runtime = call.spawn().map_err(|e| format!("{}: {e}", target.runtime.program.display()))?;
        if let Some(pid) = runtime.id() {
            // The daemon is the last to die for want of memory, what it calls is not. Gone already is good, too.
            std::fs::write(format!("/proc/{pid}/oom_score_adj"), "0").ok();
        }
        Ok(Session { runtime, control, output, inside: None })
    }

    /// The next word from the container; `None` = there is no more.
    async fn report(&mut self) -> Option<Report> {
        let mut bytes = [0; REPORT];
        loop {
            self.control.readable().await.ok()?;
            let read = || sys::probe::receive(&self.control, &mut bytes);
            match self.control.try_io(Interest::READABLE, read) {
                Ok(got) => {
                    self.inside = self.inside.or(got.pid);
                    return Report::read(bytes.get(..got.len)?);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return None,
            }
        }
    }

    /// Waits until everything is gone, and helps when it does not go by itself.
    async fn clean(&mut self, target: &Target) -> Result<(), String> {
        // Closed already is good, too.
        self.control.shutdown().await.ok();
        let mut gone = within(CLEAN_MAX, self.runtime.wait()).await.is_ok();
        if !gone {
            gone = self.force(target).await;
        }
        self.output.end().await;
        if gone {
            return Ok(());
        }
        // The last resort: what is left in the container goes with the container.
        self.runtime.start_kill().ok();
        Err(format!("it does not end within {:?}", 2 * CLEAN_MAX))
    }

    /// Ends the children of the container's side by the host's rights, then that itself.
    async fn force(&mut self, target: &Target) -> bool {
        let until = Instant::now() + CLEAN_MAX;
        while Instant::now() < until {
            if let Some(pid) = self.inside {
                end_below(pid, target);
            }
            if within(PAUSE, self.runtime.wait()).await.is_ok() {
                return true;
            }
        }
        false
    }
}

/// SIGKILL to the children of a process of the run, or, when it has none, to that itself.
fn end_below(pid: u32, target: &Target) {
    let Ok(parent) = sys::process::handle(pid) else { return };
    let ours =
        std::fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|g| is_in_group_of(&g, &target.run));
    if !ours {
        return;
    }
    let children = || {
        let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        inside::listed(&text.unwrap_or_default())
    };
    let handles: Vec<_> = children().into_iter().map(|n| (n, sys::process::handle(n))).collect();
    // A child of this number now was it when its handle was opened, or the handle's process is gone.
    let still = children();
    for (number, handle) in &handles {
        if let Ok(handle) = handle
            && still.contains(number)
        {
            sys::keeper::signal(handle, SIGKILL).ok();
        }
    }
    // The program may have stopped it.
    sys::keeper::signal(&parent, SIGCONT).ok();
    if still.is_empty() {
        sys::keeper::signal(&parent, SIGKILL).ok();
    }
}

/// The beginning of what the program prints; the rest is read and forgotten, so that it can go on.
struct Output {
    kept: Arc<Mutex<Vec<u8>>>,
    reading: JoinHandle<()>,
}

impl Output {
    fn keep(from: OwnedFd) -> io::Result<Output> {
        let mut from = pipe::Receiver::from_owned_fd(from)?;
        let kept = Arc::new(Mutex::new(Vec::new()));
        let into = kept.clone();
        let reading = tokio::spawn(async move {
            let mut buf = [0; 4096];
            while let Ok(n @ 1..) = from.read(&mut buf).await {
                let mut kept = lock(&into);
                let room = OUTPUT_MAX.saturating_sub(kept.len()).min(n);
                kept.extend_from_slice(buf.get(..room).unwrap_or_default());
            }
        });
        Ok(Output { kept, reading })
    }

    /// No more is read, after a moment for what has been written already.
    async fn end(&mut self) {
        if within(AFTER_END, &mut self.reading).await.is_err() {
            self.reading.abort();
        }
    }

    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut lock(&self.kept))
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

fn lock(kept: &Mutex<Vec<u8>>) -> MutexGuard<'_, Vec<u8>> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}
