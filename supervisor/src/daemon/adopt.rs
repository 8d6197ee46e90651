//! What an earlier daemon left, found again: the journal says what was begun, keepers and exit records say what became of
//! it. Whatever runs and is wanted goes on untouched; what nobody wants is taken away.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::path::Path;
use std::rc::Rc;

use anyhow::{Context, Result};
use tokio::sync::watch;
use tracing::{info, warn};

use super::desired::InForce;
use super::owner::{Owner, Slot};
use super::work::{Job, Rest, acknowledge};
use crate::clock::{Boot, Moment};
use crate::journal::record::{Kept, OpenRun, Record};
use crate::keeper::record::ExitRecord;
use crate::keeper::{Hello, Keeper, Phase};
use crate::machine::{Event, Machine, State};
use crate::names::{Instance, RunId, ServiceName};
use crate::policy::Ending;
use crate::unit;
use crate::unit::service::{Policy, Service};

impl Owner {
    /// Reads the last good service files.
    pub(super) fn load_accepted(&mut self) {
        let loaded = unit::load_dir(&self.options.dirs.accepted());
        for problem in &loaded.problems {
            warn!("last good version: {}: {}", problem.file, problem.message);
        }
        self.services = loaded.services.into_iter().map(|(n, (s, t))| (n, InForce::new(s, t))).collect();
    }

    /// Neither an accepted service nor an instance is on record.
    pub(super) fn knows_nothing(&self) -> bool {
        self.services.is_empty() && self.journal.image().instances.is_empty()
    }

    /// Makes an instance of everything that is in force or was begun, and finds what became of each run.
    ///
    /// # Errors
    /// A directory cannot be read.
    pub(super) async fn adopt(&mut self, reboot: bool) -> Result<()> {
        if reboot {
            self.release_always();
        }
        let kept: Vec<_> =
            self.journal.image().instances.iter().map(|(i, k)| (i.clone(), k.clone())).collect();
        for (instance, kept) in &kept {
            let wanted =
                self.services.get(&instance.service).is_some_and(|f| instance.replica <= f.service.replicas);
            if wanted || kept.open.is_some() {
                self.revive(instance, kept, wanted, reboot);
            }
        }
        let names: Vec<_> = self.services.keys().cloned().collect();
        let mut adopted = BTreeSet::new();
        for (instance, kept) in kept {
            let Some(open) = kept.open else { continue };
            let run = RunId { instance, run: open.run };
            self.adopt_run(&run, &open, reboot).await;
            adopted.insert(run);
        }
        for run in self.found_runs()? {
            if !adopted.contains(&run) {
                self.adopt_stray(run).await;
            }
        }
        for name in names {
            self.match_instances(&name, None);
        }
        self.replace_outdated();
        Ok(())
    }

    /// After a reboot `always` means: also what was stopped by hand.
    fn release_always(&mut self) {
        let names: Vec<ServiceName> = self
            .services
            .iter()
            .filter(|(_, f)| f.service.restart.policy == Policy::Always)
            .map(|(n, _)| n.clone())
            .collect();
        for service in names {
            let image = self.journal.image();
            let held = image.held.contains_key(&service)
                || image.instances.iter().any(|(i, k)| i.service == service && k.held);
            if held {
                self.write(&[Record::Goal { service, replica: None, held: false }]);
            }
        }
    }

    /// An instance as the journal knows it, before its run is looked for.
    fn revive(&mut self, instance: &Instance, kept: &Kept, wanted: bool, reboot: bool) {
        let mut machine = Machine::new(instance.clone(), Moment::now());
        machine.last_run = kept.last_run;
        machine.restarts = kept.restarts;
        machine.failures = kept.failures;
        machine.up = wanted && !self.journal.image().is_held(instance);
        // A boot is a new chance for what failed; what completed stays completed.
        if let Some(success) = kept.finished
            && machine.up
            && (success || !reboot)
        {
            machine.state = State::Done { success };
        }
        machine.reason = kept.exits.back().map(|e| e.text.clone()).unwrap_or_default();
        let mut slot = Slot::new(machine);
        slot.removed = !wanted;
        slot.last_event = self
            .journal
            .image()
            .events
            .iter()
            .rev()
            .find(|e| e.service.as_ref() == Some(&instance.service) && e.replica == Some(instance.replica))
            .map(|e| e.seq);
        self.slots.insert(instance.clone(), slot);
    }

    /// Finds what became of a run that was begun and has not ended, as far as is written.
    async fn adopt_run(&mut self, run: &RunId, open: &OpenRun, reboot: bool) {
        let made_from = self.made_from(run, &open.version);
        let Some(slot) = self.slots.get_mut(&run.instance) else { return };
        slot.made_from = Some(made_from);
        slot.machine.state = match open.pid {
            Some(pid) => {
                State::Running { run: run.clone(), pid, since: open.started.unwrap_or_else(Boot::now) }
            }
            None => State::Creating { run: run.clone() },
        };
        if open.stopping {
            slot.machine.state =
                State::Stopping { run: run.clone(), pid: open.pid, kill_at: Boot::now(), kills: 0 };
        }
        if let Some(record) = read_record(&self.options.dirs.exit_record(run)).filter(|r| r.run == *run) {
            info!("{run} ended while no daemon was there");
            // Its keeper may still be there and wait for an answer.
            if let Ok((keeper, _)) = Keeper::connect(&self.options.dirs.keeper(run)).await {
                self.connect(run, keeper);
            }
            return self.ended(run, record);
        }
        match Keeper::connect(&self.options.dirs.keeper(run)).await {
            Ok((keeper, hello)) => self.adopt_kept(run, open, keeper, hello).await,
            Err(_) if reboot || open.boot_id != self.boot_id => {
                self.feed(&run.instance, Event::Lost(Ending::Reboot));
            }
            // The daemon died before it had made the keeper, and nothing of the run is there.
            Err(_) if open.pid.is_none() && !self.options.dirs.keeper(run).join("pid").exists() => {
                self.feed(&run.instance, Event::Lost(Ending::Interrupted));
            }
            Err(e) => {
                info!("the keeper of {run} is gone: {e}");
                // It may have written its record between our two looks.
                match read_record(&self.options.dirs.exit_record(run)).filter(|r| r.run == *run) {
                    Some(record) => self.ended(run, record),
                    None => self.feed(&run.instance, Event::Lost(Ending::MonitorLost)),
                }
            }
        }
    }

    async fn adopt_kept(&mut self, run: &RunId, open: &OpenRun, keeper: Keeper, hello: Hello) {
        self.connect(run, keeper);
        match hello.phase {
            Phase::Ended(record) => self.ended(run, *record),
            // Its word comes over the connection.
            Phase::Creating if !open.stopping => {}
            Phase::Creating => self.feed(&run.instance, Event::Due),
            Phase::Created { pid, .. } if open.stopping => {
                let (stop, now) = (self.service(&run.instance).0.stop.clone(), Boot::now());
                if let Some(slot) = self.slots.get_mut(&run.instance) {
                    let kill_at = now.after(stop.grace);
                    slot.machine.state =
                        State::Stopping { run: run.clone(), pid: Some(pid), kill_at, kills: 0 };
                }
                self.stop_again(run, stop.signal.number);
            }
            Phase::Created { .. } if open.pid.is_some() => info!("{run} is adopted, it runs"),
            Phase::Created { pid, .. } => self.adopt_created(run, pid).await,
        }
    }

    /// The container is made; whether the daemon came to start it, the runtime knows.
    async fn adopt_created(&mut self, run: &RunId, pid: u32) {
        let Some(job) = self.job(run) else { return };
        let state = job.runtime.state(run).await;
        let status = state.ok().flatten().map(|s| s.status);
        if status.as_deref() == Some("created") {
            // Feeds the same road as a keeper's word: the machine starts it.
            return self.feed(&run.instance, Event::Created { pid });
        }
        if let Some(slot) = self.slots.get_mut(&run.instance) {
            slot.machine.state = State::Starting { run: run.clone(), pid };
        }
        // Started before the daemon could write it, or ended: then the keeper's word follows.
        self.feed(&run.instance, Event::Started);
    }

    fn stop_again(&self, run: &RunId, signal: i32) {
        if let Some(job) = self.job(run) {
            let orders = self.slots.get(&run.instance).and_then(|s| s.orders.clone());
            tokio::task::spawn_local(self.shop.clone().signal(job, signal, orders));
        }
    }

    /// Runs that exist on this host, whatever the journal says: by their keepers, and by the runtime's state.
    fn found_runs(&self) -> Result<BTreeSet<RunId>> {
        let dirs = &self.options.dirs;
        let mut found = BTreeSet::new();
        for dir in [dirs.keepers(), dirs.runtime_root(), dirs.exits(), dirs.run.join("bundles")] {
            let entries = match std::fs::read_dir(&dir) {
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
                other => other.with_context(|| format!("cannot read {}", dir.display()))?,
            };
            let names = entries.filter_map(|e| e.ok()?.file_name().into_string().ok());
            found.extend(names.filter_map(|n| n.parse::<RunId>().ok()));
        }
        found.extend(crate::cni::recorded(dirs));
        Ok(found)
    }

    /// A run of which the journal has no intent: it lost its tail. When the service still wants just that version it goes
    /// on; else it is taken away.
    async fn adopt_stray(&mut self, run: RunId) {
        let version = std::fs::read_to_string(self.options.dirs.keeper(&run).join("version")).ok();
        let in_force = self.services.get(&run.instance.service);
        let wanted = in_force.is_some_and(|f| {
            run.instance.replica <= f.service.replicas && version.as_deref() == Some(f.run_version.as_str())
        });
        let kept = self.journal.image().instances.get(&run.instance);
        let newer = kept.is_none_or(|k| k.last_run < run.run && k.open.is_none());
        if wanted && newer && !self.journal.image().is_held(&run.instance) {
            let connected = Keeper::connect(&self.options.dirs.keeper(&run)).await;
            if let Ok((keeper, hello)) = connected {
                return self.adopt_unwritten(run, keeper, hello).await;
            }
        }
        info!("{run} is nobody's: taken away");
        self.sweep(run).await;
    }

    async fn adopt_unwritten(&mut self, run: RunId, keeper: Keeper, hello: Hello) {
        let (service, version) = self.service(&run.instance);
        let boot_id = self.boot_id.clone();
        self.write(&[Record::Intent {
            run: run.clone(),
            boot_id: boot_id.clone(),
            version: version.clone(),
            restarts: 0,
        }]);
        let kept = self.journal.image().instances.get(&run.instance).cloned().unwrap_or_default();
        if !self.slots.contains_key(&run.instance) {
            self.revive(&run.instance, &kept, true, false);
        }
        if let Some(slot) = self.slots.get_mut(&run.instance) {
            slot.made_from = Some((service, version.clone()));
            slot.machine.last_run = run.run;
            slot.machine.state = State::Creating { run: run.clone() };
        }
        let open = OpenRun { run: run.run, boot_id, version, pid: None, started: None, stopping: false };
        self.tell(
            Some(&run.instance.service),
            Some(run.instance.replica),
            "adopted",
            format!("{run} was not in the journal and is what the service wants"),
        );
        self.adopt_kept(&run, &open, keeper, hello).await;
    }

    /// Networks of runs that are gone, which could not be taken down.
    pub(super) fn retry_networks(&self) {
        for run in crate::cni::recorded(&self.options.dirs) {
            let lives = self.slots.get(&run.instance).is_some_and(|s| s.machine.run() == Some(&run));
            if !lives && !self.strays.contains(&run) {
                let shop = self.shop.clone();
                tokio::task::spawn_local(async move { shop.detach(run).await });
            }
        }
    }

    /// Takes away a run that is nobody's.
    async fn sweep(&mut self, run: RunId) {
        let service = Rc::new(Service::unknown(&run.instance.service));
        let runtime = self.runtime(&service);
        let job = Job { run: run.clone(), service, runtime };
        let mut rest = Rest { cgroups: self.place.groups(&run), ..Rest::default() };
        if let Ok((keeper, _)) = Keeper::connect(&self.options.dirs.keeper(&run)).await {
            let orders = keeper.orders();
            let over = watch::Sender::new(false);
            rest.gone = Some(over.subscribe());
            tokio::task::spawn_local(self.shop.clone().kill(job.clone(), Some(orders)));
            tokio::task::spawn_local(async move {
                acknowledge(keeper).await;
                over.send_replace(true);
            });
        } else {
            crate::keeper::remove_record(&self.options.dirs.exit_record(&run));
        }
        if let Some(slot) = self.slots.get_mut(&run.instance) {
            slot.machine.last_run = slot.machine.last_run.max(run.run);
        }
        self.strays.push(run);
        tokio::task::spawn_local(self.shop.clone().clean(job, rest));
    }

    /// The service a run was made from: the version in force when it is that, else only what can be known.
    fn made_from(&self, run: &RunId, version: &str) -> (Rc<Service>, String) {
        match self.services.get(&run.instance.service) {
            Some(f) => (f.service.clone(), version.to_owned()),
            None => (Rc::new(Service::unknown(&run.instance.service)), version.to_owned()),
        }
    }

    /// Runs of another version than the one in force are replaced.
    fn replace_outdated(&mut self) {
        let outdated: Vec<_> = self
            .slots
            .iter()
            .filter(|(i, s)| {
                let in_force = self.services.get(&i.service).map(|f| &f.run_version);
                let made = s.made_from.as_ref().map(|(_, v)| v);
                s.machine.run().is_some() && s.machine.up && in_force.is_some() && made != in_force
            })
            .map(|(i, _)| i.clone())
            .collect();
        for instance in outdated {
            self.feed(&instance, Event::Again { why: "made from an older version of its service".into() });
        }
        let unwanted: Vec<_> = self
            .slots
            .iter()
            .filter(|(_, s)| !s.machine.up && s.machine.state != State::Down && s.down_pending.is_none())
            .map(|(i, _)| i.clone())
            .collect();
        for instance in unwanted {
            self.feed(&instance, Event::Down { why: "not wanted any more".into() });
        }
    }
}

/// An exit record as a keeper left it; a file that is none counts as not there and is said.
pub(super) fn read_record(path: &Path) -> Option<ExitRecord> {
    let text = std::fs::read(path).ok()?;
    match serde_json::from_slice(&text) {
        Ok(record) => Some(record),
        Err(e) => {
            warn!("{}: not an exit record: {e}", path.display());
            None
        }
    }
}
