//! The versions of a service: which were in force, which of them were good, and which one is not tried again. Their texts
//! are in the state directory, what is known of them in the journal.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tracing::warn;

use super::desired::{InForce, Wanted, whole_file, write_aside};
use super::owner::{Owner, Slot};
use super::rollouts::Rolling;
use crate::api::model::{Problem, ServiceChange, ServiceFile};
use crate::clock::{Boot, Moment};
use crate::journal::record::Record;
use crate::machine::State;
use crate::names::{Instance, ServiceName};
use crate::rollout::{Driver, Member, Rejected, Rollout, Seats, Updates};
use crate::unit;
use crate::unit::service::Service;

/// What is written of a version that is about to be in force.
pub(super) struct Taken {
    /// What was written before.
    before: Option<Updates>,
    /// The version that instances are of which are not replaced yet; `None` = it is not rolled out in steps.
    other: Option<InForce>,
}

impl Owner {
    /// What the next run of an instance is made from.
    pub(super) fn in_force(&self, instance: &Instance) -> Option<&InForce> {
        let target = self.services.get(&instance.service)?;
        let rolling = self.rolling.get(&instance.service);
        Some(
            rolling.filter(|r| !r.driver.rollout.is_on_target(instance.replica)).map_or(target, |r| &r.other),
        )
    }

    /// The version of this name, if it is one of those that instances run; else that of the next run.
    pub(super) fn of_version(&self, instance: &Instance, run_version: &str) -> Option<&InForce> {
        let target = self.services.get(&instance.service);
        let other = self.rolling.get(&instance.service).map(|r| &r.other);
        let same = target.into_iter().chain(other).find(|f| f.makes(run_version));
        same.or_else(|| self.in_force(instance))
    }

    /// Whether an instance is of the version in force or is being made so, and not one that waits for its step.
    pub(super) fn is_on_target(&self, instance: &Instance) -> bool {
        let rolling = self.rolling.get(&instance.service);
        rolling.is_none_or(|r| r.driver.rollout.is_on_target(instance.replica))
    }

    /// The numbers that the instances of a service have.
    pub(super) fn seats(&self, name: &ServiceName) -> Seats {
        let replicas = self.services.get(name).map_or(0, |f| f.service.replicas);
        Seats::new(replicas, self.journal.image().updates.get(name).and_then(|u| u.single))
    }

    /// The numbers of the instances that a service has now, those beside old ones included.
    pub(super) fn wanted_numbers(&self, name: &ServiceName) -> Vec<u32> {
        let surge = self.rolling.get(name).map_or(0, |r| r.driver.rollout.surge);
        self.seats(name).numbers(surge)
    }

    /// Whether an instance is one of them.
    pub(super) fn is_wanted(&self, instance: &Instance) -> bool {
        self.wanted_numbers(&instance.service).contains(&instance.replica)
    }

    /// A version that was rolled back stays out as long as its file is the same.
    pub(super) fn leave_rejected(&self, wanted: &mut Wanted, overlay: &[ServiceFile]) {
        for (name, updates) in &self.journal.image().updates {
            let Some(rejected) = updates.rejected.as_ref().filter(|_| self.services.contains_key(name))
            else {
                continue;
            };
            let given = overlay.iter().any(|f| f.name == name.as_str());
            let same = |(service, _): &(Service, String)| unit::version(service) == rejected.version;
            if !given && wanted.services.get(name).is_some_and(same) {
                self.keep_old(wanted, name);
                let file = self.options.dirs.service_file(name).display().to_string();
                let text = format!(
                    "not in force, generation {} was rolled back: {}; `knarrctl rollout resume {name}` tries it again",
                    rejected.generation, rejected.why
                );
                wanted.problems.push(whole_file(&file, text));
            }
        }
    }

    /// A file that was rolled back and is now what is in force is a file like any other.
    pub(super) fn forget_changed_rejects(
        &mut self,
        unchanged: &BTreeMap<ServiceName, (Service, String)>,
        problems: &[Problem],
    ) {
        let wrong = |name: &ServiceName| problems.iter().any(|p| unit::service_of(p).as_ref() == Some(name));
        let names: Vec<_> = unchanged.keys().filter(|name| !wrong(name)).cloned().collect();
        names.iter().for_each(|name| self.forget_reject(name));
    }

    /// The version that was rolled back may be tried again.
    pub(super) fn forget_reject(&mut self, name: &ServiceName) {
        let updates = self.journal.image().updates.get(name).filter(|u| u.rejected.is_some());
        if let Some(mut updates) = updates.cloned() {
            updates.rejected = None;
            self.keep_versions(name, updates);
        }
    }

    /// Writes down that a version comes into force, and how; `None` = it cannot be kept, and nothing has changed.
    pub(super) fn take_version(
        &mut self,
        name: &ServiceName,
        new: &InForce,
        change: &ServiceChange,
        rejected: Option<Rejected>,
    ) -> Option<Taken> {
        let before = self.journal.image().updates.get(name).cloned();
        let mut updates = before.clone().unwrap_or_default();
        updates.rejected = rejected;
        let now = Moment::now();
        let Some(old) = self.services.get(name).cloned() else {
            // Counted with its first change. Removed before and there again: whatever was under way is over.
            updates.rollout = None;
            if before.is_some() {
                self.keep_versions(name, updates);
            }
            return Some(Taken { before, other: None });
        };
        if let Err(e) = self.value_old(name, &old, &mut updates) {
            return self.cannot_keep(name, &e);
        }
        if let Some(other) = self.turned_back(name, new, &mut updates, now.boot) {
            self.keep_versions(name, updates);
            return Some(Taken { before, other: Some(other) });
        }
        let number = updates.add(new.version.clone(), new.run_version.clone(), now.wall, "applied".into());
        if let Err(e) = self.write_generation(name, number, &new.text) {
            return self.cannot_keep(name, &e);
        }
        let mut other = None;
        match change.action.as_str() {
            "restart" if self.rolls(name, &new.service) => {
                other = self.begin(name, new, &old, number, &mut updates, now.boot);
            }
            "restart" => updates.rollout = None,
            _ => self.follow(name, new, number, &mut updates),
        }
        updates.current = number;
        if updates.rollout.is_none() && new.service.replicas != 1 {
            updates.single = None;
        }
        let gone = updates.trim();
        self.keep_versions(name, updates);
        for number in gone {
            std::fs::remove_file(self.generation_file(name, number)).ok();
        }
        Some(Taken { before, other })
    }

    fn cannot_keep(&mut self, name: &ServiceName, e: &std::io::Error) -> Option<Taken> {
        let place = self.options.dirs.generations();
        let text = format!("the new version cannot be kept, the old one goes on: {}: {e}", place.display());
        self.tell(Some(name), None, "apply-failed", text);
        self.refused_by_disk = true;
        None
    }

    /// The version could not be put in force after all.
    pub(super) fn leave_version(&mut self, name: &ServiceName, taken: Taken) {
        if self.journal.image().updates.contains_key(name) {
            self.keep_versions(name, taken.before.unwrap_or_default());
        }
    }

    /// The version is in force; whether instances are replaced in steps.
    pub(super) fn put_in_force(&mut self, name: &ServiceName, new: InForce, taken: Taken) -> bool {
        self.services.insert(name.clone(), new);
        let rollout = self.journal.image().updates.get(name).and_then(|u| u.rollout.clone());
        let Some(rollout) = rollout else {
            self.rolling.remove(name);
            return false;
        };
        match (self.rolling.get_mut(name), taken.other) {
            (Some(rolling), None) => rolling.driver.rollout = rollout,
            (_, Some(other)) => {
                let (from, to) = (rollout.from, rollout.to);
                let text = match &rollout.back {
                    None => format!("from generation {from} to generation {to}"),
                    Some(why) => format!("back from generation {to} to generation {from}: {why}"),
                };
                self.rolling.insert(name.clone(), Rolling { driver: Driver::new(rollout), other });
                self.tell(Some(name), None, "rollout-started", text);
                return true;
            }
            (None, None) => {}
        }
        false
    }

    /// What was in force gets its number, if it has none, and is good if all of it is ready.
    fn value_old(&self, name: &ServiceName, old: &InForce, updates: &mut Updates) -> std::io::Result<()> {
        let known = updates.generation(updates.current).is_some_and(|g| g.version == old.version);
        if !known {
            let note = "in force before".to_owned();
            let at = Moment::now().wall;
            updates.current = updates.add(old.version.clone(), old.run_version.clone(), at, note);
            self.write_generation(name, updates.current, &old.text)?;
        }
        let mut slots = self.slots_of(name).peekable();
        let ready = slots.peek().is_some() && slots.all(|s| s.machine.up && self.fitness(s).ready);
        let current = updates.current;
        if updates.rollout.is_none()
            && ready
            && let Some(generation) = updates.generation_mut(current)
        {
            generation.good = true;
        }
        Ok(())
    }

    /// The file is again what is gone back to: then that is done.
    fn turned_back(
        &self,
        name: &ServiceName,
        new: &InForce,
        updates: &mut Updates,
        now: Boot,
    ) -> Option<InForce> {
        let rollout = updates.rollout.as_mut().filter(|r| r.back.is_none())?;
        let from = updates.generations.iter().find(|g| g.number == rollout.from)?;
        if from.version != new.version {
            return None;
        }
        let from = from.number;
        rollout.turn_back(format!("its file is that of generation {from} again"), now);
        updates.current = from;
        self.services.get(name).cloned()
    }

    /// A rollout to a new version; what instances are of until their step comes.
    fn begin(
        &self,
        name: &ServiceName,
        new: &InForce,
        old: &InForce,
        number: u64,
        updates: &mut Updates,
        now: Boot,
    ) -> Option<InForce> {
        let current = (updates.current, old.clone());
        let under_way = updates.rollout.as_ref().and_then(|r| {
            let from = if r.back.is_some() { old.clone() } else { self.rolling.get(name)?.other.clone() };
            Some((r.from, from))
        });
        let is_good = updates.generation(updates.current).is_some_and(|g| g.good);
        let good = || {
            let generation = updates.last_good(&new.version).filter(|_| !is_good)?;
            Some((generation.number, self.read_generation(name, generation.number)?))
        };
        let (from, other) = under_way.or_else(good).unwrap_or(current);
        let mut rollout = Rollout::new(from, number, now, &self.boot_id);
        self.take_new_instances(name, new, &mut rollout);
        updates.rollout = Some(rollout);
        Some(other)
    }

    /// A change that replaces nothing goes into the version that is being rolled out.
    fn follow(&self, name: &ServiceName, new: &InForce, number: u64, updates: &mut Updates) {
        let Some(rollout) = &mut updates.rollout else { return };
        match rollout.back {
            None => rollout.to = number,
            Some(_) => rollout.from = number,
        }
        self.take_new_instances(name, new, rollout);
    }

    /// Instances that the service did not have are of the new version from the start.
    fn take_new_instances(&self, name: &ServiceName, new: &InForce, rollout: &mut Rollout) {
        if rollout.back.is_some() {
            return;
        }
        let single = self.journal.image().updates.get(name).and_then(|u| u.single);
        for replica in Seats::new(new.service.replicas, single).numbers(rollout.surge) {
            let instance = Instance { service: name.clone(), replica };
            let known = rollout.fresh.iter().any(|m| m.replica == replica);
            if !known && self.slots.get(&instance).is_none_or(|s| s.removed) {
                let kept = self.journal.image().known(&instance);
                let last = self.slots.get(&instance).map_or(0, |s| s.machine.last_run);
                let member = Member { replica, after: kept.last_run.max(last) };
                rollout.fresh.push(member);
                rollout.step.push(member);
            }
        }
    }

    /// Whether there is something to replace in steps: instances that are wanted up and are not done, and no job.
    pub(super) fn rolls(&self, name: &ServiceName, new: &Service) -> bool {
        new.job.is_none()
            && self
                .slots_of(name)
                .any(|s| s.machine.up && !matches!(s.machine.state, State::Done { success: true }))
    }

    /// The instances of a service that are not being removed.
    pub(super) fn slots_of(&self, name: &ServiceName) -> impl Iterator<Item = &Slot> {
        let first = Instance { service: name.clone(), replica: 0 };
        let from_there = self.slots.range(first..).take_while(move |(i, _)| i.service == *name);
        from_there.map(|(_, slot)| slot).filter(|s| !s.removed)
    }

    /// Writes what is known of the versions of a service.
    pub(super) fn keep_versions(&mut self, name: &ServiceName, updates: Updates) {
        self.write(&[Record::Updates { service: name.clone(), updates: Box::new(updates) }]);
    }

    /// The text of a generation.
    pub(super) fn generation_file(&self, name: &ServiceName, number: u64) -> PathBuf {
        self.options.dirs.generations().join(name.as_str()).join(format!("{number}.toml"))
    }

    fn write_generation(&self, name: &ServiceName, number: u64, text: &str) -> std::io::Result<()> {
        let path = self.generation_file(name, number);
        path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
        write_aside(&path, text.as_bytes())
    }

    /// A version as it was in force.
    pub(super) fn read_generation(&self, name: &ServiceName, number: u64) -> Option<InForce> {
        let path = self.generation_file(name, number);
        let read = |path: &Path| -> Result<InForce, String> {
            let mut text = unit::read_file(path).map_err(|e| e.to_string())?;
            let service = unit::parse(name, path, &text);
            let first = |p: Vec<Problem>| p.into_iter().next().map(|p| p.message);
            let mut service = service.map_err(|p| first(p).unwrap_or_default())?;
            self.bind_old(&mut service, &mut text);
            Ok(InForce::new(service, text))
        };
        read(&path).inspect_err(|e| warn!("{}: {e}", path.display())).ok()
    }

    /// Nothing of a service is there any more.
    pub(super) fn forget_versions(&self, name: &ServiceName) {
        let dir = self.options.dirs.generations().join(name.as_str());
        if let Err(e) = std::fs::remove_dir_all(&dir)
            && e.kind() != std::io::ErrorKind::NotFound
        {
            warn!("{}: {e}", dir.display());
        }
    }
}
