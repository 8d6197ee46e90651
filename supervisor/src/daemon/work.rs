//! What runs beside the loop: everything that waits for another program. Each job ends with one [`Done`].
#![forbid(unsafe_code)]

use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tracing::warn;

use super::held::Held;
use super::hook_group::HookGroups;
use super::hooks::{self, Cut};
use super::resize::Resized;
use crate::dirs::Dirs;
use crate::keeper::{self, Hello, Keeper, Launch, Note};
use crate::names::RunId;
use crate::probe::Outcome;
use crate::probe::push::{self, Message, Socket};
use crate::runtime::Runtime;
use crate::sys::held::FDS_MAX;
use crate::unit::bundle;
use crate::unit::service::{Network, Role, Service};

/// How long a keeper may take to go after its container was deleted.
const KEEPER_PATIENCE: Duration = Duration::from_secs(5);

/// The pause before a keeper that does not answer is asked again.
const REACH_AGAIN: Duration = Duration::from_secs(1);

/// What a job came to.
#[derive(Debug)]
pub(super) enum Done {
    /// The pre-start hooks are done.
    Prepared(RunId),
    /// A keeper is there.
    Launched(RunId, Keeper, Hello),
    /// The container was started.
    Started(RunId),
    /// The run failed: code and text.
    NeverRan(RunId, String, String),
    /// The same, and its process has ended: what its keeper knows of that is on the way.
    StartFailed(RunId, String, String),
    /// A keeper said something; `None` = its connection is over.
    Said(RunId, Option<Note>),
    /// There is no keeper any more.
    KeeperGone(RunId),
    /// What is left of a run is gone, or not.
    Cleaned(RunId, Result<(), String>),
    /// What the last run of a job has printed last.
    Printed(RunId, String),
    /// A probe has its answer.
    Looked(RunId, Role, Outcome),
    /// Its limits are those of its service, or not.
    Resized(RunId, Resized),
    /// The notify socket of a run is there.
    Hears(RunId, Socket),
    /// A run told something on it.
    Told(RunId, Message),
    /// Processes stall for memory: of this run, or some.
    Stalls(Option<RunId>),
    /// The process that holds the sockets is gone.
    HolderGone,
    /// Something to tell about a run.
    Tell(RunId, &'static str, String),
}

/// What jobs need. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Shop {
    /// Where they report.
    pub(super) done: mpsc::UnboundedSender<Done>,
    /// The daemon's directories.
    pub(super) dirs: Rc<Dirs>,
    /// The program `knarr-keeper`.
    pub(super) keeper: Rc<Path>,
    /// Nothing is logged while less than this share of the file system is free, in percent; more than 1 GiB is never wanted.
    pub(super) log_min_free: u8,
    /// The cgroups of hooks.
    pub(super) hook_groups: HookGroups,
    /// The sockets that are held for services.
    pub(super) held: Held,
    /// How the roots of images are made.
    pub(super) image_root: crate::image::root::Mode,
}

/// One run, as its jobs see it.
#[derive(Debug, Clone)]
pub(super) struct Job {
    /// The run.
    pub(super) run: RunId,
    /// The service as it was when the run was made.
    pub(super) service: Rc<Service>,
    /// Its runtime.
    pub(super) runtime: Runtime,
}

/// What else is known when a run is taken away.
#[derive(Debug, Default)]
pub(super) struct Rest {
    /// Becomes true when the keeper's connection is over; `None` = there is none.
    pub(super) gone: Option<watch::Receiver<bool>>,
    /// The keeper's cgroup.
    pub(super) cgroup: Option<PathBuf>,
    /// The container's cgroups, should the runtime have left one.
    pub(super) of_container: Vec<PathBuf>,
    /// For the post-stop hooks: `KNARR_EXIT_CODE=3`.
    pub(super) ending: Option<String>,
    /// The end is not on disk yet: the keeper has to keep its record, and its directory stays.
    pub(super) unwritten: bool,
    /// Looks that are under way: a program that a probe runs is in the container's cgroup.
    pub(super) looks: Vec<JoinHandle<()>>,
}

/// What is left of a keeper.
enum Left {
    /// It is connected; true when it has gone.
    Connected(watch::Receiver<bool>),
    /// The run was given up before its keeper was known, or by an earlier daemon.
    Found(Keeper),
    /// Nobody answers.
    Nobody,
}

impl Shop {
    pub(super) fn tell(&self, done: Done) {
        // The loop is gone only when the daemon ends.
        self.done.send(done).ok();
    }

    /// Pre-start hooks when there is a way to cut them short, bundle, keeper.
    pub(super) async fn launch(
        self,
        job: Job,
        version: String,
        cgroups_path: String,
        cgroup: Option<PathBuf>,
        cut: Option<watch::Receiver<Cut>>,
    ) {
        let run = job.run.clone();
        let done = match self.try_launch(&job, &version, &cgroups_path, cgroup, cut).await {
            Ok((keeper, hello)) => Done::Launched(run, keeper, hello),
            Err((code, text)) => Done::NeverRan(run, code, text),
        };
        self.tell(done);
    }

    async fn try_launch(
        &self,
        job: &Job,
        version: &str,
        cgroups_path: &str,
        cgroup: Option<PathBuf>,
        cut: Option<watch::Receiver<Cut>>,
    ) -> Result<(Keeper, Hello), (String, String)> {
        let run = &job.run;
        let internal = |what: &str, e: std::io::Error| ("internal".to_owned(), format!("{what}: {e}"));
        if let Some(cut) = cut {
            hooks::run(&self.hook_groups, job, "pre_start", &job.service.hooks.pre_start, None, Some(cut))
                .await
                .map_err(|text| ("pre-start-hook".to_owned(), text))?;
            self.tell(Done::Prepared(run.clone()));
        }
        let dir = self.dirs.keeper(run);
        private_dir(&dir).map_err(|e| internal("the keeper's directory", e))?;
        // For a daemon that comes after this one, whatever the service file says by then.
        std::fs::write(dir.join("version"), version)
            .and_then(|()| {
                std::fs::write(dir.join("runtime"), job.runtime.program.as_os_str().as_encoded_bytes())
            })
            .map_err(|e| internal("the keeper's directory", e))?;
        self.image_root(job, version).await?;
        let prepared = bundle::prepare(&job.service, run, &self.dirs, cgroups_path)
            .map_err(|f| (f.code.to_owned(), f.text))?;
        let sockets = self.sockets(job).await?;
        self.notify_socket(run, &job.service).await?;
        // Not where there is no number left for it.
        let copy = job.runtime.copy().await.filter(|_| sockets.len() < FDS_MAX);
        let launch = Launch {
            program: self.keeper.to_path_buf(),
            run: run.clone(),
            dir: dir.clone(),
            exit: self.dirs.exit_record(run),
            log: self.dirs.log(&run.instance),
            log_size: job.service.logs.max_size,
            log_files: job.service.logs.max_files,
            log_min_free: self.log_min_free,
            tty: prepared.terminal,
            stdin: job.service.process.stdin,
            journald: job.service.logs.journald,
            cgroup,
            pass: sockets.len(),
            sealed: copy.is_some(),
            create: job.runtime.create_line(run, prepared.terminal, sockets.len()),
        };
        let fds: Vec<_> = sockets.iter().chain(copy.as_deref()).map(AsFd::as_fd).collect();
        keeper::spawn_with(&launch, &fds).await.map_err(|e| internal("the keeper", e))?;
        Keeper::connect(&dir).await.map_err(|e| match e.kind() {
            ErrorKind::ConnectionReset | ErrorKind::ConnectionRefused | ErrorKind::BrokenPipe => {
                ("monitor-lost".into(), format!("its keeper is gone: {e}"))
            }
            _ => internal("the keeper", e),
        })
    }

    /// Connects to the keeper of a run that goes on. One that does not answer is not gone: a host that is short of memory, or
    /// a debugger, may hold it up for long.
    pub(super) async fn reach(self, run: RunId) {
        loop {
            match Keeper::connect(&self.dirs.keeper(&run)).await {
                Ok((keeper, hello)) => return self.tell(Done::Launched(run, keeper, hello)),
                Err(e) if matches!(e.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock) => {
                    warn!("{run}: {e}, asked again");
                    tokio::time::sleep(REACH_AGAIN).await;
                }
                Err(e) => {
                    warn!("the keeper of {run} is gone: {e}");
                    return self.tell(Done::KeeperGone(run));
                }
            }
        }
    }

    /// Networks, start, post-start hooks.
    pub(super) async fn start(self, job: Job, pid: u32) {
        let run = job.run.clone();
        if let Network::Cni(networks) = &job.service.network {
            let netns = format!("/proc/{pid}/ns/net");
            if let Err(text) = crate::cni::attach(networks, &run, Path::new(&netns), &self.dirs).await {
                return self.tell(Done::NeverRan(run, "network".into(), text));
            }
        }
        if let Err(failure) = job.runtime.start(&run).await {
            let state = job.runtime.state(&run).await.ok().flatten();
            match state.as_ref().map(|s| s.status.as_str()) {
                // The start of an earlier daemon, which was killed meanwhile, got there first.
                Some("running" | "paused") => {}
                Some("stopped") => return self.tell(Done::StartFailed(run, failure.code, failure.text)),
                _ => return self.tell(Done::NeverRan(run, failure.code, failure.text)),
            }
        }
        self.tell(Done::Started(run.clone()));
        if let Err(text) =
            hooks::run(&self.hook_groups, &job, "post_start", &job.service.hooks.post_start, None, None).await
        {
            self.tell(Done::Tell(run, "hook-failed", text));
        }
    }

    /// Pre-stop hooks, then the signal.
    pub(super) async fn stop(self, job: Job, signal: i32, orders: Option<keeper::Orders>) {
        if let Err(text) =
            hooks::run(&self.hook_groups, &job, "pre_stop", &job.service.hooks.pre_stop, None, None).await
        {
            self.tell(Done::Tell(job.run.clone(), "hook-failed", text));
        }
        self.signal(job, signal, orders).await;
    }

    /// A signal to the first process: by the keeper, which has a pidfd; by the runtime when the keeper is gone.
    pub(super) async fn signal(self, job: Job, signal: i32, orders: Option<keeper::Orders>) {
        let sent = orders.is_some_and(|o| o.send(keeper::Order::Signal(signal)).is_ok());
        if !sent && let Err(failure) = job.runtime.kill(&job.run, signal).await {
            self.tell(Done::Tell(job.run, "signal-failed", failure.text));
        }
    }

    /// Everything dies: by the runtime, and while that is still making the container by the keeper.
    pub(super) async fn kill(self, job: Job, orders: Option<keeper::Orders>) {
        let by_keeper = orders.is_some_and(|o| o.send(keeper::Order::Signal(9)).is_ok());
        if let Err(failure) = job.runtime.kill(&job.run, 9).await
            && !by_keeper
        {
            self.tell(Done::Tell(job.run, "signal-failed", failure.text));
        }
    }

    /// The runtime's container, the keeper and its cgroup, networks, post-stop hooks, files: in this order.
    pub(super) async fn clean(self, job: Job, rest: Rest) {
        let result = self.try_clean(&job, rest).await;
        self.tell(Done::Cleaned(job.run, result));
    }

    async fn try_clean(&self, job: &Job, rest: Rest) -> Result<(), String> {
        let run = &job.run;
        for look in rest.looks {
            // One that was ended before its time has nothing to say.
            look.await.ok();
        }
        self.hook_groups.end_of(run).await;
        let left = match rest.gone {
            Some(gone) => Left::Connected(gone),
            None => self.find_keeper(run, rest.cgroup.as_deref()).await,
        };
        job.runtime.delete(run).await.map_err(|f| f.text)?;
        remove_cgroups(rest.of_container).await;
        if !rest.unwritten {
            self.bury_keeper(run, left, rest.cgroup.as_deref()).await;
        }
        self.detach(run.clone()).await;
        if let Err(text) =
            hooks::run(&self.hook_groups, job, "post_stop", &job.service.hooks.post_stop, rest.ending, None)
                .await
        {
            self.tell(Done::Tell(run.clone(), "hook-failed", text));
        }
        if rest.unwritten {
            return Ok(());
        }
        remove_files(run, &self.dirs).map_err(|e| e.to_string())
    }

    /// What [`Shop::clean`] left of a run because its end was not on disk.
    pub(super) async fn bury(&self, run: &RunId, rest: Rest) {
        let left = rest.gone.map_or(Left::Nobody, Left::Connected);
        self.bury_keeper(run, left, rest.cgroup.as_deref()).await;
        if let Err(e) = remove_files(run, &self.dirs) {
            warn!("{run}: {e}");
        }
    }

    /// Looks for a keeper that is not connected, and has it end its container. Where nobody answers, what the keeper left in
    /// its cgroup ends: a runtime whose keeper was killed would go on making the container.
    async fn find_keeper(&self, run: &RunId, cgroup: Option<&Path>) -> Left {
        let connect = tokio::time::timeout(KEEPER_PATIENCE, Keeper::connect(&self.dirs.keeper(run))).await;
        if let Ok(Ok((keeper, _))) = connect {
            keeper.send(keeper::Order::Signal(9)).ok();
            return Left::Found(keeper);
        }
        kill_group(cgroup);
        Left::Nobody
    }

    /// Waits until the keeper has gone, and removes what is its own.
    async fn bury_keeper(&self, run: &RunId, left: Left, cgroup: Option<&Path>) {
        let over = async {
            match left {
                Left::Connected(mut gone) => drop(gone.wait_for(|over| *over).await),
                Left::Found(keeper) => acknowledge(keeper).await,
                Left::Nobody => keeper::remove_record(&self.dirs.exit_record(run)),
            }
        };
        if tokio::time::timeout(KEEPER_PATIENCE, over).await.is_err() {
            warn!("the keeper of {run} does not end by itself");
            kill_group(cgroup);
        }
        keeper::remove_aside(&self.dirs.exit_record(run));
        remove_cgroups(cgroup.map(Path::to_owned).into_iter().collect()).await;
    }

    /// Takes a run's networks down. One that fails stays recorded and is tried again with the next full pass: a plugin
    /// that is out of order keeps no service down.
    pub(super) async fn detach(self: &Shop, run: RunId) {
        if let Err(text) = crate::cni::detach(&run, None, &self.dirs).await {
            self.tell(Done::Tell(run, "network-left", text));
        }
    }
}

/// Answers the end of a keeper that is nobody's, until it goes.
pub(super) async fn acknowledge(mut keeper: Keeper) {
    while let Ok(Some(note)) = keeper.next().await {
        if matches!(note, Note::Ended(_)) && keeper.send(keeper::Order::Ack).is_err() {
            return;
        }
    }
}

/// Ends everything in a keeper's cgroup (cgroup.kill, Linux 5.14); where there is none, nothing is done.
fn kill_group(dir: Option<&Path>) {
    if let Some(dir) = dir
        && let Err(e) = std::fs::write(dir.join("cgroup.kill"), "1")
        && e.kind() != ErrorKind::NotFound
    {
        warn!("{}: {e}", dir.display());
    }
}

/// A keeper that has closed its connection is in its cgroup for a moment still: exit(2) closes files first. A container's
/// are there when its runtime was ended after it had made them and before it had written down that it did.
async fn remove_cgroups(mut dirs: Vec<PathBuf>) {
    let mut pause = Duration::from_millis(1);
    let mut why = None;
    loop {
        dirs.retain(|dir| match std::fs::remove_dir(dir) {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                why = Some(e);
                true
            }
            _ => false,
        });
        let (Some(dir), Some(e)) = (dirs.first(), &why) else { return };
        if pause > KEEPER_PATIENCE / 4 {
            return warn!("{} stays: {e}", dir.display());
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
}

/// Removes the directories of a run that is over; what is not there is removed.
pub(super) fn remove_files(run: &RunId, dirs: &Dirs) -> std::io::Result<()> {
    bundle::clean(run, dirs)?;
    push::remove(dirs, run)?;
    // With the last files goes the file system that was mounted for them.
    if is_empty(&dirs.run.join("files"))
        && let Err(e) = bundle::release(dirs)
    {
        warn!("{}: {e}", dirs.run.join("files").display());
    }
    match std::fs::remove_dir_all(dirs.keeper(run)) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

fn is_empty(dir: &Path) -> bool {
    std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_none())
}

fn private_dir(dir: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    // What a killed daemon left of the same run.
    match std::fs::remove_dir_all(dir) {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    std::fs::DirBuilder::new().mode(0o700).recursive(true).create(dir)
}
