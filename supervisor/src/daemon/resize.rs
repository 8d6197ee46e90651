//! Limits of containers that run: brought to what the service files say, without a restart. One job at a time for a run;
//! what it gave is kept in the run's configuration, so that a daemon that was killed in the middle of it begins anew.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::owner::Owner;
use super::stats::Controllers;
use super::work::{Done, Job, Shop};
use crate::machine::State;
use crate::memory::resize::{Resize, may_lower, resize};
use crate::names::RunId;
use crate::sys::keeper::trim_heap;
use crate::unit::bundle::resources;
use crate::unit::service::{Limits, Service};

/// How long a container may take to get below a lower limit.
const EASE: Duration = Duration::from_secs(5);
/// How often is looked whether it is.
const LOOK: Duration = Duration::from_millis(100);

/// How the limits of an instance are.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sized {
    /// Of which run.
    run: RunId,
    /// What it has, was about to get, or could not get.
    limits: Limits,
    /// A job is under way.
    busy: bool,
    /// Why it could not get them.
    refused: Option<String>,
}

impl Sized {
    /// A run that is made with these limits.
    pub(super) fn made(run: RunId, limits: Limits) -> Sized {
        Sized { run, limits, busy: false, refused: None }
    }
}

/// What a resize came to.
#[derive(Debug)]
pub(super) enum Resized {
    /// All was as it should be.
    Same,
    /// It was changed.
    Done(String),
    /// It stays as it was, and why.
    Refused(String),
}

impl Owner {
    /// Sees to the limits of what runs.
    pub(super) fn settle_limits(&mut self) {
        let mut begin = Vec::new();
        for (instance, slot) in &self.slots {
            let State::Running { run, pid, .. } = &slot.machine.state else { continue };
            if !slot.machine.up {
                continue;
            }
            // While a rollout has yet to come to it, it has the limits of the version before.
            let Some(service) = self.in_force(instance).map(|f| &f.service) else { continue };
            let of_this = slot.sized.as_ref().filter(|s| s.run == *run);
            if of_this.is_none_or(|s| !s.busy && s.limits != service.limits) {
                begin.push((run.clone(), *pid, service.clone()));
            }
        }
        for (run, _, service) in &begin {
            if let Some(slot) = self.slots.get_mut(&run.instance) {
                let (run, limits) = (run.clone(), service.limits.clone());
                slot.sized = Some(Sized { run, limits, busy: true, refused: None });
            }
        }
        for (run, pid, service) in begin {
            let Some(job) = self.job(&run) else { continue };
            let groups =
                Groups { pid, unified: self.place.unified_container(&run), all: self.controllers.clone() };
            tokio::task::spawn_local(self.shop.clone().resize(job, service, groups));
        }
    }

    /// A resize is over.
    pub(super) fn resized(&mut self, run: &RunId, result: Resized) {
        self.note_resized(run, result);
        if !self.slots.values().any(|s| s.sized.as_ref().is_some_and(|s| s.busy)) {
            // After an adoption all runs were looked at, and hundreds of configurations were read.
            trim_heap();
        }
    }

    fn note_resized(&mut self, run: &RunId, result: Resized) {
        let slot = self.slots.get_mut(&run.instance);
        let Some(sized) = slot.and_then(|s| s.sized.as_mut()).filter(|s| s.run == *run) else { return };
        sized.busy = false;
        let (kind, text) = match result {
            Resized::Same => return,
            Resized::Done(text) => ("resized", text),
            Resized::Refused(text) => {
                sized.refused = Some(text.clone());
                ("resize-refused", text)
            }
        };
        self.tell(Some(&run.instance.service), Some(run.instance.replica), kind, text);
    }

    /// Limits that could not be given are tried again.
    pub(super) fn retry_limits(&mut self) {
        for slot in self.slots.values_mut() {
            slot.sized.take_if(|s| s.refused.is_some() && !s.busy);
        }
    }

    /// Why what runs does not have the limits of its service file.
    pub(super) fn unlike_its_file(slot: &super::owner::Slot) -> Option<String> {
        let sized = slot.sized.as_ref().filter(|s| slot.machine.run() == Some(&s.run))?;
        sized.refused.as_ref().map(|why| format!("its new limits are not in force: {why}"))
    }
}

/// Where the figures and files of a run are.
#[derive(Debug)]
pub(super) struct Groups {
    pid: u32,
    /// Its cgroup of v2, where that has the controllers.
    unified: Option<PathBuf>,
    all: Controllers,
}

impl Shop {
    /// Gives a run the limits of a service.
    pub(super) async fn resize(self, job: Job, service: Rc<Service>, groups: Groups) {
        let run = job.run.clone();
        let result = self.try_resize(job, &service, &groups).await;
        self.done.send(Done::Resized(run, result)).ok();
    }

    async fn try_resize(&self, job: Job, service: &Service, groups: &Groups) -> Resized {
        let run = &job.run;
        let refused = |what: &str, e: std::io::Error| Resized::Refused(format!("{what}: {e}"));
        let old = match resources::in_force(run, &self.dirs) {
            Ok(old) => old,
            Err(e) => return refused("its configuration", e),
        };
        let new = match resources::wanted(service, run, &self.dirs) {
            Ok(new) => new,
            Err(f) => return Resized::Refused(f.text),
        };
        let Some(change) = resize(&old, &new) else { return Resized::Same };
        if let Err(text) = self.carry_out(&job, &change, groups).await {
            return Resized::Refused(text);
        }
        match resources::keep(run, &self.dirs, new) {
            Ok(()) => Resized::Done(text_of(&change)),
            Err(e) => refused("its configuration", e),
        }
    }

    async fn carry_out(&self, job: &Job, change: &Resize, groups: &Groups) -> Result<(), String> {
        let eased = match change.lower {
            Some(to) => groups.ease(to).await?,
            None => None,
        };
        let written = self.write(job, change, groups).await;
        // What it was throttled to meanwhile is put back, unless the change itself said something about that.
        if let Some(high) = eased.filter(|_| written.is_err() || change.files.iter().all(|(f, _)| f != HIGH))
        {
            groups.put(HIGH, high.trim())?;
        }
        written
    }

    async fn write(&self, job: &Job, change: &Resize, groups: &Groups) -> Result<(), String> {
        if let Some(update) = &change.update {
            let file = self.dirs.keeper(&job.run).join("resources.json");
            std::fs::write(&file, update.to_string()).map_err(|e| format!("{}: {e}", file.display()))?;
            let updated = job.runtime.update(&job.run, &file).await;
            std::fs::remove_file(&file).ok();
            updated.map_err(|f| f.text)?;
        }
        change.files.iter().try_for_each(|(name, text)| groups.put(name, text))
    }
}

const HIGH: &str = "memory.high";

impl Groups {
    /// Brings what is in use below a lower limit, before that is set: a limit that is below what is in use has the kernel
    /// kill. On v2 throttled and reclaimed from, and what was throttled before comes back; v1 refuses by itself.
    async fn ease(&self, to: u64) -> Result<Option<String>, String> {
        let used = self.all.used(self.pid).unwrap_or_default();
        may_lower(to, used)?;
        let Some(dir) = self.unified.as_deref() else { return Ok(None) };
        let before = std::fs::read_to_string(dir.join(HIGH)).map_err(|e| format!("{HIGH}: {e}"))?;
        self.put(HIGH, &to.to_string())?;
        let by = Instant::now() + EASE;
        loop {
            let now = self.all.used(self.pid).unwrap_or_default().current;
            if now < to {
                return Ok(Some(before));
            }
            if Instant::now() >= by {
                break;
            }
            // Since Linux 5.19; what cannot be reclaimed now fails, and is tried again.
            reclaim(dir, now - to + (1 << 20)).await;
            tokio::time::sleep(LOOK).await;
        }
        self.put(HIGH, before.trim())?;
        let now = self.all.used(self.pid).unwrap_or_default().current;
        use crate::policy::size;
        Err(format!("{} are in use and do not get below the new limit of {}", size(now), size(to)))
    }

    fn put(&self, name: &str, text: &str) -> Result<(), String> {
        let dir = self.unified.as_deref().ok_or_else(|| format!("{name}: no cgroup v2 with controllers"))?;
        std::fs::write(dir.join(name), text).map_err(|e| format!("{name} to {text:?}: {e}"))
    }
}

/// The write comes back when it is done, which can take a while: not in the loop.
async fn reclaim(dir: &Path, bytes: u64) {
    let file = dir.join("memory.reclaim");
    tokio::task::spawn_blocking(move || std::fs::write(file, bytes.to_string())).await.ok();
}

/// What was changed, for people.
fn text_of(change: &Resize) -> String {
    let sections = change.update.as_ref().and_then(|u| u.as_object()).into_iter().flatten();
    let values = sections.flat_map(|(section, values)| {
        values.as_object().into_iter().flatten().map(move |(name, value)| format!("{section}.{name} {value}"))
    });
    let files = change.files.iter().map(|(name, text)| format!("{name} {text}"));
    values.chain(files).collect::<Vec<_>>().join(", ")
}
