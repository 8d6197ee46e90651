//! Dependencies between services: who waits for whom at the start, and who goes first at the stop.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;

use crate::clock::Boot;
use crate::journal::record::Record;
use crate::machine::State;
use crate::names::{Instance, ServiceName};
use crate::unit;
use crate::unit::service::{Condition, Dependency, Service};

use super::desired::InForce;
use super::owner::{Owner, Slot};

impl Owner {
    /// What an instance waits for, for people, and when waiting becomes a failure. `None` = everything is there.
    pub(super) fn unmet(&self, instance: &Instance) -> Option<(String, Option<Boot>)> {
        if let Some(schedule) = self.waits_for_schedule(instance) {
            return Some((schedule, None));
        }
        if let Some(short) = self.held_back(instance) {
            return Some((short, None));
        }
        let (service, _) = self.service(instance);
        let unmet: Vec<_> = service.depends_on.iter().filter(|d| !self.met(d)).collect();
        if unmet.is_empty() {
            return self.rises_before(instance).map(|on| (on, None));
        }
        let since = self.slots.get(instance).map_or_else(Boot::now, |s| s.machine.changed.0);
        let since = since.max(self.begun_since(instance));
        let deadline = unmet.iter().filter_map(|d| d.timeout).min().map(|t| since.after(t));
        let text: Vec<_> = unmet.iter().map(|d| self.describe_unmet(d)).collect();
        Some((text.join(", "), deadline))
    }

    /// `db: started (stopped by hand)`: that nobody brings it up by itself must be seen by who waits.
    fn describe_unmet(&self, dependency: &Dependency) -> String {
        let image = self.journal.image();
        let of = self.slots.keys().filter(|i| i.service == dependency.service);
        let held = image.held.contains_key(&dependency.service) || of.into_iter().any(|i| image.is_held(i));
        format!("{}{}", describe(dependency), if held { " (stopped by hand)" } else { "" })
    }

    /// Whether a dependency is there.
    pub(super) fn met(&self, dependency: &Dependency) -> bool {
        let Some(in_force) = self.services.get(&dependency.service) else { return false };
        let mut instances = 0;
        let (replicas, seats) = (in_force.service.replicas, self.seats(&dependency.service));
        // Those that a rollout has beside them do not count.
        let of = |s: &&Slot| seats.has(s.machine.instance.replica) && !s.removed;
        for slot in self.slots_of(&dependency.service).filter(of) {
            instances += 1;
            let there = match dependency.condition {
                Condition::Started => matches!(slot.machine.state, State::Running { .. }),
                Condition::Ready => self.fitness(slot).ready,
                Condition::Completed => matches!(slot.machine.state, State::Done { .. }),
                Condition::Succeeded => slot.machine.state == State::Done { success: true },
            };
            if !there {
                return false;
            }
        }
        instances >= replicas
    }

    /// What of the same order has to come up before an instance: services that it depends on, also by way of others.
    pub(super) fn rises_before(&self, instance: &Instance) -> Option<String> {
        self.slots.get(instance)?.rising?;
        let before = self.slots.values().filter(|s| s.again_pending.is_some() || s.rising.is_some());
        let names = before.map(|s| &s.machine.instance.service).filter(|name| **name != instance.service);
        let mut names: Vec<_> =
            names.filter(|name| self.depends(instance, name, 0)).map(|n| n.as_str()).collect();
        names.dedup();
        (!names.is_empty()).then(|| format!("{}: comes up first", names.join(", ")))
    }

    /// Instances that are to be restarted after some others, because of `restart = true` in a dependency, also by way of
    /// others; those others are not among them. What does not run or is not wanted is left as it is.
    pub(super) fn restarts_with(&self, instances: &BTreeSet<Instance>) -> BTreeSet<Instance> {
        let mut services: BTreeSet<_> = instances.iter().map(|i| i.service.clone()).collect();
        loop {
            let with = |f: &&InForce| {
                let depends = |d: &Dependency| d.restart && services.contains(&d.service);
                !services.contains(&f.service.name) && f.service.depends_on.iter().any(depends)
            };
            let more: Vec<_> = self.services.values().filter(with).map(|f| f.service.name.clone()).collect();
            if more.is_empty() {
                break;
            }
            services.extend(more);
        }
        let of = |s: &&Slot| {
            let named = instances.iter().any(|i| i.service == s.machine.instance.service);
            !named
                && services.contains(&s.machine.instance.service)
                && s.machine.up
                && s.machine.run().is_some()
        };
        self.slots.values().filter(of).map(|s| s.machine.instance.clone()).collect()
    }

    /// Restarts what depends on some services that are restarted, and says in the journal that it is to be.
    pub(super) fn restart_dependents(&mut self, instances: &BTreeSet<Instance>) {
        let dependents = self.restarts_with(instances);
        let runs = dependents.iter().filter_map(|i| self.slots.get(i)?.machine.run().cloned());
        let records: Vec<_> = runs.map(|run| Record::Again { run }).collect();
        self.note(&records);
        let mut names: Vec<_> = instances.iter().map(|i| i.service.as_str()).collect();
        names.dedup();
        let why = format!("restarts with {}", names.join(", "));
        dependents.iter().for_each(|i| self.replace_in_turn(i, &why));
    }

    /// Whether something that depends on this instance's service is on its way down and not there yet.
    pub(super) fn dependents_in_the_way(&self, instance: &Instance) -> bool {
        self.slots.values().any(|slot| {
            let replaced = slot.again_pending.is_some()
                || slot.rising.is_some_and(|last| slot.machine.run().is_some_and(|r| r.run <= last));
            let going = replaced
                || slot.down_pending.is_some()
                || (!slot.machine.up && slot.machine.state != State::Down);
            going
                && slot.machine.instance.service != instance.service
                && self.depends(&slot.machine.instance, &instance.service, 0)
        })
    }

    fn depends(&self, instance: &Instance, on: &ServiceName, depth: usize) -> bool {
        let (service, _) = self.service(instance);
        self.service_depends(&service, on, depth)
    }

    fn service_depends(&self, service: &Service, on: &ServiceName, depth: usize) -> bool {
        // Cycles are refused at load; the bound is for what was accepted piece by piece.
        depth < 64
            && service.depends_on.iter().any(|d| {
                d.service == *on
                    || self
                        .services
                        .get(&d.service)
                        .is_some_and(|s| self.service_depends(&s.service, on, depth + 1))
            })
    }

    /// Instances, those of roots of the dependencies first.
    pub(super) fn in_start_order(&self, mut instances: Vec<Instance>) -> Vec<Instance> {
        if instances.len() < 2 {
            return instances;
        }
        let services = self.services.iter().map(|(n, f)| (n.clone(), f.service.clone())).collect();
        let rank: std::collections::BTreeMap<_, _> =
            unit::start_order(&services).into_iter().enumerate().map(|(i, n)| (n, i)).collect();
        instances.sort_by_key(|i| (rank.get(&i.service).copied().unwrap_or(usize::MAX), i.clone()));
        instances
    }
}

/// `db: ready`.
pub(super) fn describe(dependency: &Dependency) -> String {
    let condition = match dependency.condition {
        Condition::Started => "started",
        Condition::Ready => "ready",
        Condition::Completed => "completed",
        Condition::Succeeded => "succeeded",
    };
    format!("{}: {condition}", dependency.service)
}
