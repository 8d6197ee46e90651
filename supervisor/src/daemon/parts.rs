//! Init steps and sidecars: services that are part of another one. It waits for them, they go down after it, and orders and changes
//! of it are about them, too.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::rc::Rc;

use super::owner::Owner;
use crate::api::core::Target;
use crate::journal::record::Record;
use crate::names::{Instance, ServiceName};
use crate::unit;

impl Owner {
    /// Has services depend on their parts.
    pub(super) fn bind_parts(&mut self) {
        let bound = unit::implied(self.services.values().map(|f| &*f.service));
        let others = self.rolling.iter_mut().map(|(name, r)| (name, &mut r.other));
        for (name, in_force) in self.services.iter_mut().chain(others) {
            let parts = bound.get(name).map(Vec::as_slice).unwrap_or_default();
            if !in_force.service.depends_on.iter().filter(|d| d.implied).eq(parts) {
                let service = Rc::make_mut(&mut in_force.service);
                service.depends_on.retain(|d| !d.implied);
                service.depends_on.extend(parts.iter().cloned());
            }
        }
    }

    /// The parts of a service.
    pub(super) fn parts_of(&self, name: &ServiceName) -> Vec<ServiceName> {
        let parts = self.services.values().filter(|f| f.service.part_of.as_ref() == Some(name));
        parts.map(|f| f.service.name.clone()).collect()
    }

    /// The instances of the parts of what an order is about, and what is to be written about them.
    pub(super) fn parts_with(&self, target: &Target, held: bool) -> (Vec<Instance>, Vec<Record>) {
        // A single instance of several has no part of its own.
        let Target::Service(name) = target else { return (Vec::new(), Vec::new()) };
        let parts = self.parts_of(name);
        let instances = self.slots.iter().filter(|(i, s)| parts.contains(&i.service) && !s.removed);
        let instances = instances.map(|(i, _)| i.clone()).collect();
        let goal = |service| Record::Goal { service, replica: None, held };
        (instances, parts.into_iter().map(goal).collect())
    }

    /// A service is replaced because it changed: its init steps run again, its sidecars begin anew.
    pub(super) fn restart_parts(&mut self, name: &ServiceName) {
        let parts = self.parts_of(name);
        let image = self.journal.image();
        let all = self
            .slots
            .iter()
            .filter(|(i, s)| parts.contains(&i.service) && s.machine.up && !s.removed && !image.is_held(i));
        let all: BTreeSet<_> = all.map(|(i, _)| i.clone()).collect();
        // What is done counts as never run, and what runs is replaced, also by the daemon after this one.
        let record = |i: &Instance| match self.slots.get(i).and_then(|s| s.machine.run()) {
            Some(run) => Record::Again { run: run.clone() },
            None => Record::Goal { service: i.service.clone(), replica: Some(i.replica), held: false },
        };
        let records: Vec<_> = all.iter().map(record).collect();
        self.write(&records);
        let why = format!("part of {name}, which changed");
        all.iter().for_each(|i| self.replace_in_turn(i, &why));
    }

    /// A boot is a start of everything: init steps that are done run again.
    pub(super) fn release_parts(&mut self) {
        let image = self.journal.image();
        let is_step = |i: &Instance| {
            self.services
                .get(&i.service)
                .is_some_and(|f| f.service.part_of.is_some() && f.service.job.is_some())
        };
        let done =
            image.instances.iter().filter(|(i, k)| k.finished.is_some() && !image.is_held(i) && is_step(i));
        let goal =
            |i: &Instance| Record::Goal { service: i.service.clone(), replica: Some(i.replica), held: false };
        let records: Vec<_> = done.map(|(i, _)| goal(i)).collect();
        self.write(&records);
    }

    /// Services are removed: what is part of them and stays is stopped.
    pub(super) fn stop_parts_of_removed(&mut self, removed: &[ServiceName]) {
        let parts: Vec<_> = removed.iter().flat_map(|name| self.parts_of(name)).collect();
        let left: Vec<_> = parts.into_iter().filter(|part| !removed.contains(part)).collect();
        let goal =
            |service: &ServiceName| Record::Goal { service: service.clone(), replica: None, held: true };
        let records: Vec<_> = left.iter().map(goal).collect();
        self.write(&records);
        let instances: Vec<_> = self.slots.keys().filter(|i| left.contains(&i.service)).cloned().collect();
        instances
            .iter()
            .for_each(|i| self.bring_down_in_turn(i, "the service that it is part of is removed"));
    }
}
