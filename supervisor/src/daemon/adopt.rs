//! What an earlier daemon left, found again: the journal says what was begun, keepers and exit records say what became of
//! it. Whatever runs and is wanted goes on untouched; what nobody wants is taken away.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::timeout;
use tracing::{info, warn};

use super::desired::InForce;
use super::keepers::ending_variable;
use super::owner::{CREATE_DEADLINE, Owner, Slot};
use super::work::{Job, Rest};
use crate::clock::{Boot, Moment};
use crate::journal::record::{Kept, KeptExit, OpenRun, Record};
use crate::keeper::record::ExitRecord;
use crate::keeper::{Hello, Keeper, Phase};
use crate::machine::{Effect, Event, Machine, Next, State};
use crate::names::{Instance, RunId, ServiceName};
use crate::policy::{Ending, History, pause_left};
use crate::unit;
use crate::unit::service::{Policy, Service};

/// How long an answer of one keeper is waited for before the next is asked.
const ADOPT_PATIENCE: Duration = Duration::from_secs(2);

impl Owner {
    /// Reads the last good service files.
    pub(super) fn load_accepted(&mut self) {
        let loaded = unit::load_dir(&self.options.dirs.accepted());
        for problem in &loaded.problems {
            warn!("last good version: {}: {}", problem.file, problem.message);
        }
        // A damaged copy is no reason to end what runs: what the operator wrote is most often the same.
        let mut loaded = loaded;
        let mut wanted = unit::load_dir(&self.options.dirs.services).services;
        for name in &loaded.broken {
            loaded.services.extend(wanted.remove_entry(name));
        }
        let bound = |(name, (mut service, mut text)): (_, (Service, String))| {
            self.bind_old(&mut service, &mut text);
            (name, InForce::new(service, text))
        };
        self.services = loaded.services.into_iter().map(bound).collect();
        self.resume_rollouts();
        self.bind_parts();
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
            self.release_failed();
            self.release_parts();
        }
        let kept: Vec<_> =
            self.journal.image().instances.iter().map(|(i, k)| (i.clone(), k.clone())).collect();
        for (instance, kept) in &kept {
            let wanted = self.is_wanted(instance);
            if wanted || kept.open.is_some() {
                self.revive(instance, kept, wanted, reboot);
            }
        }
        let names: Vec<_> = self.services.keys().cloned().collect();
        let mut adopted = BTreeSet::new();
        for (instance, kept) in kept {
            let Some(open) = kept.open else { continue };
            let run = RunId { instance, run: open.run };
            super::run::still_starting();
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
        self.replace_as_asked();
        self.resume_watched();
        self.keep_outputs();
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

    /// A boot is a new chance for what failed. Written down, so that it is one also for the daemon after this one.
    fn release_failed(&mut self) {
        let image = self.journal.image();
        let failed = image.instances.iter().filter(|(i, k)| {
            k.finished == Some(false) && !image.is_held(i) && self.services.contains_key(&i.service)
        });
        let records: Vec<_> = failed
            .map(|(i, _)| Record::Goal { service: i.service.clone(), replica: Some(i.replica), held: false })
            .collect();
        self.write(&records);
    }

    /// An instance as the journal knows it, before its run is looked for.
    fn revive(&mut self, instance: &Instance, kept: &Kept, wanted: bool, reboot: bool) {
        let mut machine = Machine::new(instance.clone(), Moment::now());
        machine.last_run = kept.last_run;
        machine.restarts = kept.restarts;
        machine.failures = kept.failures;
        machine.up = wanted && !self.journal.image().is_held(instance);
        machine.reason = kept.exits.back().map(|e| e.text.clone()).unwrap_or_default();
        if let Some(success) = kept.finished.filter(|_| machine.up) {
            machine.state = State::Done { success };
        } else if machine.up && !reboot && kept.open.is_none() {
            self.resume_pause(&mut machine, kept);
        }
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

    /// A pause before the next start goes on where it was when the daemon died, and a crash loop is still one.
    fn resume_pause(&self, machine: &mut Machine, kept: &Kept) {
        let (Some(in_force), Some(last)) =
            (self.in_force(&machine.instance), kept.exits.back().filter(|_| kept.failures > 0))
        else {
            return;
        };
        let restart = &in_force.service.restart;
        let now = Moment::now();
        let age =
            |e: &KeptExit| std::time::Duration::try_from(now.wall.duration_since(e.at)).unwrap_or_default();
        let row = kept.exits.iter().rev().take(usize::try_from(kept.failures).unwrap_or(usize::MAX));
        let recent = row.map(age).filter(|age| *age <= restart.crash_window);
        machine.recent = recent.map(|age| Boot(now.boot.0.saturating_sub(age))).collect();
        machine.recent.make_contiguous().sort_unstable();
        let history = History {
            ran: last.exit.as_ref().map_or(std::time::Duration::ZERO, |e| e.ended.since(e.started)),
            failures: kept.failures,
            recent: u32::try_from(machine.recent.len()).unwrap_or(u32::MAX),
            jitter: 0.0,
        };
        let until = now.boot.after(pause_left(restart, history, age(last)));
        let crash_loop = restart.crash_failures > 0 && history.recent >= restart.crash_failures;
        machine.state = State::Backoff { until, crash_loop };
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
            None => State::Creating { run: run.clone(), hooks: false },
        };
        if open.stopping {
            slot.machine.state = State::Stopping {
                run: run.clone(),
                pid: open.pid,
                kill_at: Boot::now(),
                kills: 0,
                unwell: open.unwell.clone(),
            };
        }
        if let Some(record) = read_record(&self.options.dirs.exit_record(run)).filter(|r| r.run == *run) {
            info!("{run} ended while no daemon was there");
            // Its keeper may still be there and wait for an answer.
            if let Ok((keeper, _)) = Keeper::connect(&self.options.dirs.keeper(run)).await {
                self.connect(run, keeper);
            }
            let earlier = reboot || record.boot_id != self.boot_id;
            return self.take_end(run, record, earlier);
        }
        // One that does not answer at once holds no other up.
        let connect = timeout(ADOPT_PATIENCE, Keeper::connect(&self.options.dirs.keeper(run))).await;
        match connect.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into())) {
            Ok((keeper, hello)) => self.adopt_kept(run, open, keeper, hello).await,
            Err(_) if reboot || open.boot_id != self.boot_id => {
                self.feed(&run.instance, Event::Lost(Ending::Reboot(None)));
            }
            // It is there, and held up: nothing is wrong with its container.
            Err(e) if matches!(e.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock) => {
                info!("{run}: {e}, asked again");
                self.reach(run);
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
            // Its word comes over the connection, or the runtime hangs.
            Phase::Creating if !open.stopping => {
                if let Some(slot) = self.slots.get_mut(&run.instance) {
                    slot.create_by = Some(Boot::now().after(CREATE_DEADLINE));
                }
            }
            Phase::Creating => self.feed(&run.instance, Event::Due),
            Phase::Created { pid, .. } if open.stopping => {
                let (stop, now) = (self.service(&run.instance).0.stop.clone(), Boot::now());
                if let Some(slot) = self.slots.get_mut(&run.instance) {
                    let kill_at = now.after(stop.grace);
                    slot.machine.state = State::Stopping {
                        run: run.clone(),
                        pid: Some(pid),
                        kill_at,
                        kills: 0,
                        unwell: open.unwell.clone(),
                    };
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
            tokio::task::spawn_local(self.shop.clone().signal(job, signal, self.orders(run)));
        }
    }

    /// Runs that exist on this host, whatever the journal says: by their keepers, and by the runtime's state.
    fn found_runs(&self) -> Result<BTreeSet<RunId>> {
        let dirs = &self.options.dirs;
        let mut found = BTreeSet::new();
        let places = [dirs.run.join("bundles"), dirs.run.join("notify")];
        for dir in [dirs.keepers(), dirs.runtime_root(), dirs.exits()].into_iter().chain(places) {
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

    /// A run that the journal does not hold open.
    async fn adopt_stray(&mut self, run: RunId) {
        let kept = self.journal.image().known(&run.instance);
        let idle = self.slots.get(&run.instance).is_some_and(|s| s.machine.run().is_none());
        if idle && kept.open.is_none() && kept.last_run == run.run {
            return self.clean_again(&run, &kept);
        }
        // The journal lost its tail, or the disk did not take it: the run was begun after everything that is written.
        let new = self.is_wanted(&run.instance) && kept.open.is_none() && kept.last_run < run.run;
        if new && !self.journal.image().is_held(&run.instance) {
            let version = std::fs::read_to_string(self.options.dirs.keeper(&run).join("version")).ok();
            let in_force = self.in_force(&run.instance);
            let current = version.is_some_and(|v| in_force.is_some_and(|f| f.makes(&v)));
            let connected = Keeper::connect(&self.options.dirs.keeper(&run)).await;
            match (connected, read_record(&self.options.dirs.exit_record(&run)).filter(|r| r.run == run)) {
                (Ok((keeper, hello)), _) if current => {
                    let open = self.take_in(&run);
                    return self.adopt_kept(&run, &open, keeper, hello).await;
                }
                (Err(_), Some(record)) => {
                    self.take_in(&run);
                    return self.ended(&run, record);
                }
                _ => {}
            }
        }
        info!("{run} is nobody's: taken away");
        self.sweep(run);
    }

    /// Its end is written; the daemon died before all that was left of it was taken away. What comes after waits for that.
    fn clean_again(&mut self, run: &RunId, kept: &Kept) {
        // Whatever it was made from, nothing of it is to be replaced.
        let made_from = self.made_from(run, &self.service(&run.instance).1);
        let Some(slot) = self.slots.get_mut(&run.instance) else { return };
        let next = match slot.machine.state {
            State::Backoff { until, crash_loop } => Next::Pause { until, crash_loop },
            State::Done { success } => Next::Done { success },
            _ => Next::Goal,
        };
        slot.machine.state = State::Cleaning { run: run.clone(), next, failed: 0, retry_at: None };
        slot.made_from = Some(made_from);
        slot.ending = kept.exits.back().and_then(|e| e.exit.as_ref()).and_then(ending_variable);
        self.act(&run.instance, Effect::Clean(run.clone()));
    }

    /// Writes down that a run was begun which the journal does not know.
    fn take_in(&mut self, run: &RunId) -> OpenRun {
        let (service, version) = self.service(&run.instance);
        let boot_id = self.boot_id.clone();
        self.write(&[Record::Intent {
            run: run.clone(),
            boot_id: boot_id.clone(),
            version: version.clone(),
            restarts: 0,
        }]);
        let kept = self.journal.image().known(&run.instance);
        if !self.slots.contains_key(&run.instance) {
            self.revive(&run.instance, &kept, true, false);
        }
        if let Some(slot) = self.slots.get_mut(&run.instance) {
            slot.made_from = Some((service, version.clone()));
            slot.machine.last_run = run.run;
            slot.machine.state = State::Creating { run: run.clone(), hooks: false };
        }
        self.tell(
            Some(&run.instance.service),
            Some(run.instance.replica),
            "adopted",
            format!("{run} was not in the journal and is what the service wants"),
        );
        OpenRun { run: run.run, boot_id, version, ..OpenRun::default() }
    }

    /// Networks of runs that are gone, which could not be taken down.
    pub(super) fn retry_networks(&self) {
        for run in crate::cni::recorded(&self.options.dirs) {
            let lives = self.slots.get(&run.instance).is_some_and(|s| s.machine.run() == Some(&run));
            if !lives && !self.strays.contains_key(&run) {
                let shop = self.shop.clone();
                tokio::task::spawn_local(async move { shop.detach(run).await });
            }
        }
    }

    /// Takes away a run that is nobody's.
    fn sweep(&mut self, run: RunId) {
        let (service, _) = self.made_from(&run, "");
        if let Some(slot) = self.slots.get_mut(&run.instance) {
            slot.machine.last_run = slot.machine.last_run.max(run.run);
        }
        let job = Job { run: run.clone(), runtime: self.runtime(&service), service };
        let rest = Rest {
            cgroup: self.place.keeper(&run),
            of_container: self.place.container(&run),
            ..Rest::default()
        };
        self.strays.insert(run, true);
        tokio::task::spawn_local(self.shop.clone().clean(job, rest));
    }

    /// What is left of it is gone, or is tried again with the next full pass.
    pub(super) fn stray_cleaned(&mut self, run: RunId, result: Result<(), String>) {
        match result {
            Ok(()) => drop(self.strays.remove(&run)),
            Err(text) => {
                let (name, replica) = (run.instance.service.clone(), Some(run.instance.replica));
                self.tell(
                    Some(&name),
                    replica,
                    "clean-failed",
                    format!("{run} cannot be taken away: {text}"),
                );
                self.strays.insert(run, false);
            }
        }
    }

    /// Runs that are nobody's and could not be taken away.
    pub(super) fn retry_strays(&mut self) {
        let again: Vec<_> = self.strays.iter().filter(|(_, busy)| !**busy).map(|(r, _)| r.clone()).collect();
        again.into_iter().for_each(|run| self.sweep(run));
    }

    /// The service a run was made from: the version in force when it is that, else only what can be known.
    pub(super) fn made_from(&self, run: &RunId, version: &str) -> (Rc<Service>, String) {
        let mut service = match self.of_version(&run.instance, version) {
            Some(f) => f.service.clone(),
            None => Rc::new(Service::unknown(&run.instance.service)),
        };
        // The runtime that made it is the one that knows it.
        if let Ok(program) = std::fs::read(self.options.dirs.keeper(run).join("runtime")) {
            let program = PathBuf::from(std::ffi::OsString::from_vec(program));
            if program != self.runtime(&service).program {
                Rc::make_mut(&mut service).runtime = Some(program);
            }
        }
        (service, version.to_owned())
    }

    /// Runs whose turn to be replaced had not come.
    fn replace_as_asked(&mut self) {
        let runs = self.journal.image().instances.iter().filter_map(|(instance, kept)| {
            let open = kept.open.as_ref().filter(|o| o.again && !o.stopping)?;
            let slot = self.slots.get(instance)?;
            let same = slot.machine.run().is_some_and(|r| r.run == open.run);
            let over = matches!(slot.machine.state, State::Stopping { .. } | State::Cleaning { .. });
            (same && !over && slot.machine.up).then(|| instance.clone())
        });
        for instance in runs.collect::<Vec<_>>() {
            self.replace_in_turn(&instance, "to be restarted before this daemon began");
        }
    }

    /// Runs of another version than the one in force are replaced.
    fn replace_outdated(&mut self) {
        let outdated: Vec<_> = self
            .slots
            .iter()
            .filter(|(i, s)| {
                let in_force = self.in_force(i).filter(|_| self.is_on_target(i));
                let made = s.made_from.as_ref().map_or("", |(_, v)| v.as_str());
                let outdated = in_force.is_some_and(|f| !f.makes(made));
                // The next run is made from what is in force; one whose end is written only waits to be taken away.
                let over = matches!(s.machine.state, State::Cleaning { .. });
                s.machine.run().is_some() && !over && s.machine.up && outdated
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
        // In the order of their dependencies, as if they were stopped now.
        for instance in unwanted {
            self.bring_down_in_turn(&instance, "not wanted any more");
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
