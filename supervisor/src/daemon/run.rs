//! The start of the daemon, its loop, its end.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::alarm::Alarm;
use super::desired::write_aside;
use super::oom::KernelLog;
use super::options::Options;
use super::owner::Owner;
use super::place::Place;
use super::shutdown::host_goes_down;
use super::watch::Watch;
use crate::api;
use crate::api::token::Token;
use crate::api::web::Web;
use crate::clock::{Boot, boot_id};
use crate::dirs::Dirs;
use crate::journal::{Journal, lock};

/// An editor writes more than once; files are read when nothing changed for so long.
const QUIET: Duration = Duration::from_millis(500);
/// Requests that may wait for the owner.
const CALLS: usize = 64;

/// Why the daemon ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By this signal. Containers and keepers go on, unless the host goes down.
    Asked(&'static str),
}

/// Runs the daemon until it is told to end.
///
/// # Errors
/// What keeps it from starting: another daemon, directories, the journal, the sockets.
pub async fn run(options: Options) -> Result<Ended> {
    // Before anything else: a SIGHUP while it starts means "read the files" and not "die".
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    make_dirs(&options.dirs)?;
    let _lock = lock(&options.dirs).context("the state directory")?;
    protect();
    let boot_id = boot_id().context("the kernel's boot id")?;
    let place = Place::find(options.cgroup_parent.as_deref())?;
    place.prepare()?;
    let opened = Journal::open(&options.dirs.journal()).context("the journal")?;
    // Where the run directory is on a disk after all, the mark of an earlier boot is still there.
    let reboot = std::fs::read(options.dirs.boot_mark()).ok().as_deref() != Some(boot_id.as_bytes());
    // One that ends by itself takes it away.
    let left = options.dirs.socket().exists();
    let listeners = api::bind(&options.dirs, options.group, options.group).context("the sockets")?;
    let (mut owner, mut reports) = Owner::new(options, boot_id, place, opened.journal);
    owner.tell_begun(reboot, left);
    if let Some(loss) = opened.loss {
        owner.tell(None, None, "journal-loss", loss.to_string());
    }
    let web = match begin(&mut owner, reboot).await {
        Ok(web) => web,
        Err(e) => {
            owner.tell_failed(&e);
            return Err(e);
        }
    };
    let (calls, mut asked) = mpsc::channel(CALLS);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let handle = api::core::Handle { calls, dirs: owner.options.dirs.clone() };
    let web = web.map(|web| tokio::task::spawn_local(api::web::serve_web(handle.clone(), web)));
    let server = tokio::task::spawn_local(api::serve(handle, listeners, async {
        stopped.await.ok();
    }));

    let mut watchdog = Watchdog::start();
    let mut alarm = Alarm::default();
    let mut watch = Watch::new();
    let mut kernel = KernelLog::open();
    let mut passes = Passes::new(owner.options.full_pass);
    watch.set(passes.dirs(&owner).iter().map(PathBuf::as_path));
    info!("ready: {} services, {} instances", owner.services.len(), owner.slots.len());
    let why = loop {
        alarm.set(owner.next_scheduled());
        let pass_at = owner.going_down.is_none().then_some(passes.at);
        let due = [owner.next_due(), pass_at].into_iter().flatten().min();
        tokio::select! {
            biased;
            _ = terminate.recv() => {
                if owner.going_down.is_some() || !(host_goes_down().await && owner.begin_shutdown()) {
                    break "SIGTERM";
                }
                // More than systemd gives a service, where the operator gives more.
                let wait = owner.options.shutdown_total.saturating_add(Duration::from_secs(30));
                let wait = u32::try_from(wait.as_micros()).unwrap_or(u32::MAX);
                notify(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(wait)]);
            }
            _ = interrupt.recv() => break "SIGINT",
            Some(report) = reports.recv() => owner.report(report),
            Some(call) = asked.recv() => owner.answer(call),
            _ = hangup.recv() => passes.soon(Duration::ZERO),
            () = watch.changed() => passes.soon(QUIET),
            () = until(due) => {}
            kills = kernel.killed() => owner.killed(kills),
            () = alarm.rings() => {}
            () = watchdog.tick() => watchdog.feed(),
        }
        // What else is there already, before anything is decided: a burst of ends is one look at all of them.
        while let Ok(report) = reports.try_recv() {
            owner.report(report);
        }
        owner.meter.turned(due);
        owner.due();
        if owner.going_down.is_none() && passes.at <= Boot::now() {
            passes.run(&mut owner);
            watch.set(passes.dirs(&owner).iter().map(PathBuf::as_path));
        }
        owner.settle();
        owner.commit();
        owner.close_unwanted();
        owner.tell_endpoints();
        if owner.has_gone_down() {
            break "SIGTERM";
        }
    };
    owner.tell_ended(why);
    notify(&[NotifyState::Stopping]);
    stop.send(()).ok();
    web.inspect(tokio::task::JoinHandle::abort);
    owner.end_pressure();
    owner.close_unwanted_at_last().await;
    tokio::time::timeout(Duration::from_secs(2), server).await.ok();
    // Nobody else has them while the lock is held.
    for socket in [owner.options.dirs.socket(), owner.options.dirs.socket_read_only()] {
        std::fs::remove_file(socket).ok();
    }
    owner.place.tidy();
    Ok(Ended::Asked(why))
}

/// From a journal to a host on which everything is as wanted, or on its way there.
async fn begin(owner: &mut Owner, reboot: bool) -> Result<Option<Web>> {
    let held = owner.restore_held().await;
    owner.resume_removals();
    owner.load_accepted();
    if owner.knows_nothing() {
        // The state directory is new, or was lost: then what the files want decides what may go on.
        let wanted = owner.wanted(&[]);
        owner.apply(wanted);
    }
    owner.adopt(reboot).await?;
    owner.hear_again(held);
    let wanted = owner.wanted(&[]);
    owner.apply(wanted);
    owner.sweep_roots(true);
    owner.begin_scheduled();
    owner.begin_pressure();
    owner.settle();
    owner.finish_removals();
    owner.cap.grew();
    owner.commit();
    owner.tell_endpoints();
    owner.sample();
    write_aside(&owner.options.dirs.boot_mark(), owner.boot_id.as_bytes())
        .context("the mark of this boot")?;
    open_web(owner).await
}

/// The loopback address, where one is wanted. Without a token that is one it is an error; an address that somebody else has
/// is none: services are worth more than their metrics.
async fn open_web(owner: &mut Owner) -> Result<Option<Web>> {
    let Some(wanted) = owner.options.web.clone() else { return Ok(None) };
    let own = owner.options.dirs.web_token();
    let token = Token::from_file(wanted.token.as_deref().unwrap_or(&own), wanted.token.is_none());
    let (web, failed) = Web::listen(wanted.address, token.context("the token of --web")?).await;
    match failed {
        Some(e) => {
            let text = format!("--web {}: {e}; tried again every minute", web.address());
            owner.tell(None, None, "web-failed", text);
        }
        None => info!("status page and metrics on http://{}/", web.address()),
    }
    Ok(Some(web))
}

async fn until(at: Option<Boot>) {
    match at {
        Some(at) => tokio::time::sleep(at.since(Boot::now())).await,
        None => std::future::pending().await,
    }
}

fn make_dirs(dirs: &Dirs) -> Result<()> {
    let all = [
        (&dirs.services, 0o755),
        (&dirs.state, 0o700),
        (&dirs.accepted(), 0o700),
        (&dirs.generations(), 0o700),
        (&dirs.logs(), 0o700),
        (&dirs.exits(), 0o700),
        (&dirs.run, 0o755),
        (&dirs.keepers(), 0o700),
        (&dirs.runtime_root(), 0o700),
    ];
    for (dir, mode) in all {
        // A state directory that cannot be written is said by what needs to write there.
        let made = std::fs::DirBuilder::new().mode(mode).recursive(true).create(dir);
        made.with_context(|| format!("cannot make {}", dir.display()))?;
    }
    Ok(())
}

/// The daemon is the last that should die for memory; containers get a value of their own in their configuration.
fn protect() {
    if let Err(e) = std::fs::write("/proc/self/oom_score_adj", "-999") {
        warn!("this daemon is not protected from the OOM killer: {e}");
    }
}

/// Tells the service manager that the start is under way, however long single keepers take to answer.
pub(super) fn still_starting() {
    notify(&[NotifyState::ExtendTimeoutUsec(60_000_000)]);
}

fn notify(state: &[NotifyState<'_>]) {
    if let Err(e) = sd_notify::notify(false, state) {
        warn!("the service manager cannot be told: {e}");
    }
}

/// When the services directory is read next, and what it was when it was read last.
struct Passes {
    every: Duration,
    at: Boot,
    seen: Vec<Stamp>,
}

/// What a file looks like from outside; the same stamp = the same content.
type Stamp = (PathBuf, Option<(u64, u64, i64, i64)>);

impl Passes {
    fn new(every: Duration) -> Passes {
        Passes { every, at: Boot::now().after(every), seen: Vec::new() }
    }

    fn soon(&mut self, pause: Duration) {
        self.at = self.at.min(Boot::now().after(pause));
    }

    /// Reads the directory when anything in it differs from the last time, and the sources of secrets and configs.
    fn run(&mut self, owner: &mut Owner) {
        self.at = Boot::now().after(self.every);
        let seen = stamps(&owner.options.dirs.services);
        if seen != self.seen {
            let wanted = owner.wanted(&[]);
            owner.apply(wanted);
            // What could not be kept for want of room is tried again.
            self.seen = if owner.refused_by_disk { Vec::new() } else { seen };
        }
        owner.meter.reconciled();
        owner.refresh_files();
        owner.retry_networks();
        owner.hold_again(false);
        owner.retry_strays();
        owner.retry_limits();
        owner.look_at_pressure();
        owner.sample();
    }

    /// The directories whose changes matter.
    fn dirs(&self, owner: &Owner) -> BTreeSet<PathBuf> {
        let files = owner.services.values().flat_map(|f| &f.service.files);
        let sources = files.filter_map(|f| f.source.parent().map(Path::to_owned));
        sources.chain([owner.options.dirs.services.clone()]).collect()
    }
}

fn stamps(dir: &Path) -> Vec<Stamp> {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut all: Vec<_> = entries
        .flatten()
        .map(|e| {
            let meta = std::fs::metadata(e.path()).ok();
            (e.path(), meta.map(|m| (m.ino(), m.size(), m.mtime(), m.mtime_nsec())))
        })
        .collect();
    all.sort();
    all
}

/// Tells the service manager that the loop makes progress: only the loop feeds it (sd_watchdog_enabled(3)).
struct Watchdog {
    every: Option<Duration>,
    next: Instant,
}

/// How long the service manager waits for a sign of life. As sd_watchdog_enabled(3) has it, a time without a pid is for
/// whoever reads it.
fn watchdog_time() -> Option<Duration> {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().ok());
    let usec = number("WATCHDOG_USEC")??;
    let mine = number("WATCHDOG_PID").is_none_or(|pid| pid == Some(u64::from(std::process::id())));
    (mine && usec > 0).then(|| Duration::from_micros(usec))
}

impl Watchdog {
    fn start() -> Watchdog {
        notify(&[NotifyState::Ready]);
        let every = watchdog_time().map(|time| time / 3);
        Watchdog { every, next: Instant::now() }
    }

    async fn tick(&self) {
        match self.every {
            Some(_) => tokio::time::sleep_until(self.next.into()).await,
            None => std::future::pending().await,
        }
    }

    fn feed(&mut self) {
        if let Some(every) = self.every {
            notify(&[NotifyState::Watchdog]);
            self.next = Instant::now() + every;
        }
    }
}
