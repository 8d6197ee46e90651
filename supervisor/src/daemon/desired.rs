//! From the services directory to what is in force: a pass reads it whole, refuses what is broken, and applies the rest one
//! service at a time. What is in force lies as a copy in the state directory, so that a broken file never takes the last
//! good version away, also not over a restart of the daemon.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;

use tracing::warn;

use super::owner::{Owner, Slot};
use crate::api::model::{Plan, Problem, ServiceChange, ServiceFile};
use crate::clock::Moment;
use crate::journal::record::Record;
use crate::machine::{Event, Machine};
use crate::names::{Instance, ServiceName};
use crate::rollout::Rejected;
use crate::unit;
use crate::unit::service::Service;

/// A service in force.
#[derive(Debug, Clone)]
pub(super) struct InForce {
    /// What is wanted.
    pub(super) service: Rc<Service>,
    /// The text it was read from.
    pub(super) text: String,
    /// Its version.
    pub(super) version: String,
    /// The version of what makes a run: a run made from an equal one is up to date.
    pub(super) run_version: String,
    /// The same as an earlier daemon may have recorded it.
    run_version_before: String,
    /// What is wrong with the file on disk, when that is another version.
    pub(super) problems: Vec<Problem>,
}

impl InForce {
    pub(super) fn new(service: Service, text: String) -> InForce {
        let (version, run_version) = (unit::version(&service), unit::run_version(&service));
        let run_version_before = unit::run_version_before(&service);
        let service = Rc::new(service);
        InForce { service, text, version, run_version, run_version_before, problems: Vec::new() }
    }

    /// Whether a run that was made from this version is up to date.
    pub(super) fn makes(&self, version: &str) -> bool {
        version == self.run_version || version == self.run_version_before
    }
}

/// What a pass found: the services that should be in force, and what is wrong with the others.
pub(super) struct Wanted {
    pub(super) services: BTreeMap<ServiceName, (Service, String)>,
    pub(super) problems: Vec<Problem>,
}

impl Wanted {
    /// What is wrong.
    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }
}

impl Owner {
    /// Reads the services directory, with some texts in place of files, and says what should be in force: each good file,
    /// and for each broken one its last good version.
    pub(super) fn wanted(&self, overlay: &[ServiceFile]) -> Wanted {
        let mut loaded = unit::load_dir(&self.options.dirs.services);
        let mut given = unit::load_files(overlay);
        self.bind_images(&mut loaded);
        self.bind_images(&mut given);
        for (name, good) in given.services {
            let shown = self.options.dirs.service_file(&name).display().to_string();
            loaded.problems.retain(|p| p.file != shown);
            loaded.broken.remove(&name);
            loaded.services.insert(name, good);
        }
        loaded.broken.extend(given.broken);
        loaded.problems.extend(given.problems);
        let mut wanted = Wanted { services: loaded.services, problems: loaded.problems };
        for name in &loaded.broken {
            self.keep_old(&mut wanted, name);
        }
        if !loaded.complete {
            let missing: Vec<_> =
                self.services.keys().filter(|n| !wanted.services.contains_key(n)).cloned().collect();
            missing.iter().for_each(|name| self.keep_old(&mut wanted, name));
        }
        self.leave_rejected(&mut wanted, overlay);
        self.drop_impossible(&mut wanted);
        wanted
    }

    /// A service whose dependencies cannot be keeps its last good version; a new one stays out. That may break others.
    fn drop_impossible(&self, wanted: &mut Wanted) {
        let mut refused = BTreeSet::new();
        loop {
            let set = wanted.services.iter().map(|(n, (s, _))| (n.clone(), s.clone())).collect();
            let problems: Vec<_> = unit::check_set(&set)
                .into_iter()
                .filter(|p| unit::service_of(p).is_some_and(|name| refused.insert(name)))
                .collect();
            if problems.is_empty() {
                return;
            }
            for mut problem in problems {
                if let Some(name) = unit::service_of(&problem) {
                    let text = wanted.services.get(&name).map(|(_, text)| text.as_str());
                    if let Some((line, column)) = text.and_then(|t| unit::locate(t, &problem.key)) {
                        (problem.line, problem.column) = (line, column);
                    }
                    self.keep_old(wanted, &name);
                }
                wanted.problems.push(problem);
            }
        }
    }

    pub(super) fn keep_old(&self, wanted: &mut Wanted, name: &ServiceName) {
        match self.services.get(name) {
            Some(old) => wanted.services.insert(name.clone(), ((*old.service).clone(), old.text.clone())),
            None => wanted.services.remove(name),
        };
    }

    /// What applying would change.
    pub(super) fn plan(&self, wanted: &Wanted) -> Plan {
        let names: BTreeSet<_> = self.services.keys().chain(wanted.services.keys()).collect();
        let changes = names.into_iter().filter_map(|name| {
            let old = self.services.get(name).map(|f| &*f.service);
            let new = wanted.services.get(name).map(|(s, _)| s);
            let mut change = unit::changes(old, new)?;
            change.rollout = new.and_then(|new| self.rollout_preview(name, new, &change));
            if let Some(new) = new {
                self.note_rungs(&mut change, new);
            }
            Some(change)
        });
        Plan { changes: changes.collect(), problems: wanted.problems.clone() }
    }

    /// Applies what is wanted, one service at a time.
    pub(super) fn apply(&mut self, wanted: Wanted) -> Plan {
        self.refused_by_disk = false;
        let plan = self.plan(&wanted);
        if self.problems != wanted.problems {
            let new: Vec<_> = wanted.problems.iter().filter(|p| !self.problems.contains(p)).collect();
            for problem in new {
                let text =
                    format!("{}:{}:{}: {}", problem.file, problem.line, problem.column, problem.message);
                self.tell(unit::service_of(problem).as_ref(), None, "file-refused", text);
            }
        }
        self.problems.clone_from(&wanted.problems);
        let mut services = wanted.services;
        for change in &plan.changes {
            let Ok(name) = change.service.parse::<ServiceName>() else { continue };
            match services.remove(&name) {
                Some((service, text)) => self.apply_one(&name, InForce::new(service, text), change, None),
                None => self.remove_one(&name),
            }
        }
        self.forget_changed_rejects(&services, &plan.problems);
        // Comments and spelling may have changed without changing the service.
        for (name, (_, text)) in services {
            if self.services.get(&name).is_some_and(|f| f.text != text) {
                self.accept(&name, &text);
                if let Some(in_force) = self.services.get_mut(&name) {
                    in_force.text = text;
                }
            }
        }
        self.bind_parts();
        for (name, in_force) in &mut self.services {
            in_force.problems = plan
                .problems
                .iter()
                .filter(|p| unit::service_of(p).as_ref() == Some(name))
                .cloned()
                .collect();
        }
        plan
    }

    /// Puts a version of a service in force. `rejected` = the version of its file, when that is another one.
    pub(super) fn apply_one(
        &mut self,
        name: &ServiceName,
        new: InForce,
        change: &ServiceChange,
        rejected: Option<Rejected>,
    ) {
        let Some(taken) = self.take_version(name, &new, change, rejected) else { return };
        if !self.accept(name, &new.text) {
            return self.leave_version(name, taken);
        }
        let keys: Vec<_> = change.fields.iter().map(|f| f.key.as_str()).take(5).collect();
        let text = match change.action.as_str() {
            "add" => "added".to_owned(),
            action => format!("changed: {} ({action})", keys.join(", ")),
        };
        let rolled = self.put_in_force(name, new, taken);
        // It is there again before the last of it was removed: its logs stay.
        if self.journal.image().removals.contains_key(name) {
            self.write(&[Record::Keep { service: name.clone() }]);
        }
        self.tell(Some(name), None, "applied", text.clone());
        self.change_probes(name);
        self.match_instances(name, (change.action == "restart" && !rolled).then_some(text));
    }

    /// Makes the instances of a service those that it wants. `again` = those that run are replaced.
    pub(super) fn match_instances(&mut self, name: &ServiceName, again: Option<String>) {
        let numbers = self.wanted_numbers(name);
        let surplus = |i: &&Instance| i.service == *name && !numbers.contains(&i.replica);
        let surplus: Vec<_> = self.slots.keys().filter(surplus).cloned().collect();
        for instance in surplus {
            self.remove_instance(&instance, "fewer replicas are wanted");
        }
        for replica in numbers {
            let instance = Instance { service: name.clone(), replica };
            let existed = self.slots.contains_key(&instance);
            if !existed {
                let mut machine = Machine::new(instance.clone(), Moment::now());
                machine.last_run = self.journal.image().known(&instance).last_run;
                // A run that is being taken away still has its name.
                let of_this = self.strays.keys().filter(|r| r.instance == instance);
                machine.last_run = of_this.map(|r| r.run).fold(machine.last_run, u32::max);
                self.slots.insert(instance.clone(), Slot::new(machine));
            }
            if let Some(slot) = self.slots.get_mut(&instance) {
                slot.removed = false;
            }
            if self.journal.image().is_held(&instance) {
                continue;
            }
            if let Some(slot) = self.slots.get_mut(&instance) {
                slot.down_pending = None;
            }
            match &again {
                Some(why) if existed => self.replace_in_turn(&instance, why),
                _ => self.feed(&instance, Event::Up { fresh: !existed }),
            }
        }
        if again.is_some() {
            let all = self.slots.keys().filter(|i| i.service == *name).cloned().collect();
            self.restart_dependents(&all);
            self.restart_parts(name);
        }
    }

    fn remove_one(&mut self, name: &ServiceName) {
        // First the copy: a daemon that starts without it takes away what still runs.
        let path = self.options.dirs.accepted().join(format!("{name}.toml"));
        if let Err(e) = std::fs::remove_file(&path)
            && e.kind() != std::io::ErrorKind::NotFound
        {
            warn!("{}: {e}", path.display());
        }
        if let Err(e) = sync_parent(&path) {
            warn!("{}: {e}", path.display());
        }
        self.tell(Some(name), None, "applied", "removed".into());
        let instances: Vec<_> = self.slots.keys().filter(|i| i.service == *name).cloned().collect();
        for instance in instances {
            let (service, version) = self.service(&instance);
            if let Some(slot) = self.slots.get_mut(&instance) {
                slot.made_from.get_or_insert((service, version));
            }
            self.remove_instance(&instance, "its service file is gone");
        }
        self.services.remove(name);
        self.rolling.remove(name);
        if !self.slots.keys().any(|i| i.service == *name) {
            self.forget_service(name);
        }
    }

    fn remove_instance(&mut self, instance: &Instance, why: &str) {
        if let Some(slot) = self.slots.get_mut(instance) {
            slot.removed = true;
        }
        self.bring_down_in_turn(instance, why);
    }

    /// It is not wanted from now on, and is brought down as soon as what depends on it is.
    pub(super) fn bring_down_in_turn(&mut self, instance: &Instance, why: &str) {
        if let Some(slot) = self.slots.get_mut(instance) {
            slot.down_pending = Some(why.to_owned());
            (slot.again_pending, slot.rising) = (None, None);
            self.feed(instance, Event::Unwanted { why: why.to_owned() });
        }
    }

    /// Its run is replaced as soon as those that are replaced with it and depend on it have ended.
    pub(super) fn replace_in_turn(&mut self, instance: &Instance, why: &str) {
        let Some(slot) = self.slots.get_mut(instance) else { return };
        slot.down_pending = None;
        slot.rising = Some(slot.machine.last_run);
        if slot.machine.run().is_some() {
            slot.again_pending = Some(why.to_owned());
        } else {
            self.feed(instance, Event::Again { why: why.to_owned() });
        }
    }

    /// An instance that was removed is down: what is written about it goes, with the last one the service's.
    pub(super) fn forget(&mut self, instance: &Instance) {
        self.forget_root(instance);
        let name = &instance.service;
        if self.services.contains_key(name) || self.slots.keys().any(|i| i.service == *name) {
            return self.write(&[Record::ForgetInstance { instance: instance.clone() }]);
        }
        self.forget_service(name);
    }

    /// Nothing of a service is there any more. `rm` takes the logs, too; a service file that is gone does not.
    pub(super) fn forget_service(&mut self, name: &ServiceName) {
        if self.journal.image().removals.contains_key(name)
            && let Err(e) = self.remove_logs(name)
        {
            let text = format!("its logs cannot be removed, tried again by the next daemon: {e}");
            return self.tell(Some(name), None, "remove-failed", text);
        }
        self.write(&[Record::Forget { service: name.clone() }]);
        self.forget_versions(name);
    }

    fn remove_logs(&self, name: &ServiceName) -> std::io::Result<()> {
        for entry in std::fs::read_dir(self.options.dirs.logs())? {
            let entry = entry?;
            let instance = entry.file_name().to_str().and_then(|n| n.parse::<Instance>().ok());
            if instance.is_some_and(|i| i.service == *name) {
                crate::logs::remove(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Keeps a copy of the version that is in force from now on; without it nothing is applied.
    pub(super) fn accept(&mut self, name: &ServiceName, text: &str) -> bool {
        let path = self.options.dirs.accepted().join(format!("{name}.toml"));
        let written = write_aside(&path, text.as_bytes());
        if let Err(e) = &written {
            let text =
                format!("the new version cannot be kept, the old one goes on: {}: {e}", path.display());
            self.tell(Some(name), None, "apply-failed", text);
            self.refused_by_disk = true;
        }
        written.is_ok()
    }
}

/// A problem of a whole file.
pub(super) fn whole_file(file: &str, message: String) -> Problem {
    Problem { file: file.to_owned(), line: 0, column: 0, key: String::new(), message }
}

/// Writes a file aside, syncs it, renames it into place, syncs the directory. A new file is for root alone, because there may
/// be values in it that are not for everybody; one that was there keeps its mode.
///
/// # Errors
/// What the file system says; the old content is still there.
pub(super) fn write_aside(path: &Path, content: &[u8]) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;
    let parent = path.parent().ok_or(std::io::ErrorKind::InvalidInput)?;
    // A name that is no service file, should it be left behind.
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let aside = parent.join(format!(".{name}.new"));
    let mode = std::fs::metadata(path).map_or(0o600, |m| m.permissions().mode() & 0o777);
    let written = std::fs::File::create(&aside).and_then(|mut file| {
        file.set_permissions(std::fs::Permissions::from_mode(mode))?;
        file.write_all(content)?;
        file.sync_all()
    });
    let renamed = written.and_then(|()| std::fs::rename(&aside, path));
    if renamed.is_err() {
        std::fs::remove_file(&aside).ok();
    }
    renamed?;
    sync_parent(path)
}

/// Brings a change of names in the directory of a file to the disk.
///
/// # Errors
/// open(2), fsync(2).
pub(super) fn sync_parent(path: &Path) -> std::io::Result<()> {
    let parent = path.parent().ok_or(std::io::ErrorKind::InvalidInput)?;
    std::fs::File::open(parent)?.sync_all()
}
