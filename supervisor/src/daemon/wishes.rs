//! What people want of services: start, stop, restart, remove, of several at once in the order of their dependencies, and a
//! signal. Written down before it is answered, and refused when it cannot be.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use tracing::warn;

use super::answer::reply;
use super::desired::sync_parent;
use super::owner::Owner;
use super::waiters::Until;
use crate::api::core::{Answer, Refusal, Target, Verb};
use crate::journal::record::{FileId, Record};
use crate::machine::{Event, State};
use crate::names::{Instance, ServiceName};

/// Why a run is replaced.
const BY_HAND: &str = "restarted by hand";

/// One target with the place for its answer.
type Wish = (Target, Answer<()>);

impl Owner {
    /// Starts, stops or restarts targets. One that is not known is refused, the others are done all the same.
    pub(super) fn order(&mut self, verb: Verb, targets: Vec<Wish>, wait: bool) {
        let mut known = Vec::new();
        let mut records = Vec::new();
        let mut all = BTreeSet::new();
        for (target, answer) in targets {
            match self.targets(&target) {
                Ok(mut instances) => {
                    records.push(goal(&target, verb == Verb::Stop));
                    let (parts, of_parts) = self.parts_with(&target, verb == Verb::Stop);
                    instances.extend(parts);
                    records.extend(of_parts);
                    all.extend(instances.iter().cloned());
                    known.push((instances, answer));
                }
                Err(refusal) => reply(answer, Err(refusal)),
            }
        }
        if verb == Verb::Restart {
            let runs = all.iter().filter_map(|i| self.slots.get(i)?.machine.run().cloned());
            records.extend(runs.map(|run| Record::Again { run }));
        }
        if matches!(verb, Verb::Start | Verb::Restart) {
            records.extend(self.begun_by_hand(all.iter(), verb == Verb::Restart));
        }
        if let Err(refusal) = self.wish(&records) {
            return known.into_iter().for_each(|(_, answer)| reply(answer, Err(refusal.clone())));
        }
        let until = |owner: &Owner, instance: &Instance| match verb {
            Verb::Start => owner.until_it_runs(instance, false),
            Verb::Restart => owner.until_it_runs(instance, true),
            Verb::Stop | Verb::Remove => Until::Down,
        };
        // What is waited for counts from what is there before anything is done.
        let waits: Vec<Vec<_>> = known
            .iter()
            .map(|(instances, _)| instances.iter().map(|i| (i.clone(), until(self, i))).collect())
            .collect();
        match verb {
            Verb::Start => self.bring_up(&all),
            Verb::Restart => {
                all.iter().for_each(|i| self.replace_in_turn(i, BY_HAND));
                self.restart_dependents(&all);
            }
            Verb::Stop | Verb::Remove => {
                all.iter().for_each(|i| self.bring_down_in_turn(i, "stopped by hand"))
            }
        }
        self.settle();
        for ((_, answer), waits) in known.into_iter().zip(waits) {
            self.when(wait, waits, answer);
        }
    }

    /// Writes what somebody wants; a disk that does not take it means the wish is refused.
    fn wish(&mut self, records: &[Record]) -> Result<(), Refusal> {
        let from = self.journal.next_seq();
        let written = self.journal.try_append(records);
        self.publish(from);
        written.map_err(|e| {
            Refusal::Internal(format!("this could not be written to the journal, nothing was done: {e}"))
        })
    }

    /// Wants instances up, those that others of them depend on first.
    fn bring_up(&mut self, instances: &BTreeSet<Instance>) {
        for instance in instances {
            if let Some(slot) = self.slots.get_mut(instance) {
                slot.down_pending = None;
                let runs = matches!(slot.machine.state, State::Running { .. });
                slot.rising = (!runs).then(|| slot.before_next());
            }
            self.feed(instance, Event::Up { fresh: true });
        }
    }

    fn until_it_runs(&self, instance: &Instance, new: bool) -> Until {
        let Some(slot) = self.slots.get(instance) else { return Until::Ready(0) };
        let last = slot.machine.last_run;
        Until::Ready(match slot.machine.state {
            _ if new => last,
            // One that runs already is there.
            State::Running { .. } => last.saturating_sub(1),
            _ => slot.before_next(),
        })
    }

    pub(super) fn when(&mut self, wait: bool, waits: Vec<(Instance, Until)>, answer: Answer<()>) {
        if !wait {
            return reply(answer, Ok(()));
        }
        let instances: Vec<_> = waits.iter().map(|(i, _)| i.clone()).collect();
        self.waiters.add(waits, answer);
        for instance in instances {
            self.look_for_waiters(&instance);
        }
    }

    /// A signal to the first process of each instance.
    pub(super) fn kill(&mut self, target: &Target, signal: i32) -> Result<(), Refusal> {
        if !(1..=64).contains(&signal) {
            return Err(Refusal::BadRequest(format!("there is no signal {signal}"), vec![]));
        }
        let instances = self.targets(target)?;
        let runs: Vec<_> = instances
            .iter()
            .filter_map(|i| {
                let slot = self.slots.get(i)?;
                let runs = matches!(slot.machine.state, State::Running { .. } | State::Stopping { .. });
                runs.then(|| slot.machine.run().cloned()).flatten()
            })
            .collect();
        if runs.is_empty() {
            return Err(Refusal::Conflict(format!("{target} does not run")));
        }
        for run in runs {
            let text = format!("SIG{} sent by hand", crate::policy::signal_name(signal));
            self.tell(Some(&run.instance.service), Some(run.instance.replica), "signal", text);
            let orders = self.orders(&run);
            if let Some(job) = self.job(&run) {
                tokio::task::spawn_local(self.shop.clone().signal(job, signal, orders));
            }
        }
        Ok(())
    }

    /// Removes services: files first, then in the order of their dependencies what runs, at last logs and history.
    pub(super) fn remove(&mut self, targets: Vec<Wish>, wait: bool) {
        let mut known = Vec::new();
        for (target, answer) in targets {
            match target {
                Target::Service(s) if self.services.contains_key(&s) => known.push((s, answer)),
                Target::Service(s) => reply(answer, Err(self.unknown(s.as_str()))),
                Target::Instance(i) => reply(answer, Err(Refusal::BadRequest(i.only_whole(), vec![]))),
            }
        }
        let wish = |service: &ServiceName| Record::Remove {
            service: service.clone(),
            file: file_id(&self.options.dirs.service_file(service)),
        };
        let records: Vec<_> = known.iter().map(|(service, _)| wish(service)).collect();
        if let Err(refusal) = self.wish(&records) {
            return known.into_iter().for_each(|(_, answer)| reply(answer, Err(refusal.clone())));
        }
        let names: Vec<_> = known.iter().map(|(service, _)| service.clone()).collect();
        self.stop_parts_of_removed(&names);
        let mut removed = Vec::new();
        for (service, answer) in known {
            match self.remove_file(&service) {
                Ok(()) => {
                    let all = self.slots.keys().filter(|i| i.service == service).cloned();
                    removed.push((all.collect::<Vec<_>>(), answer));
                }
                Err(refusal) => {
                    self.write(&[Record::Keep { service }]);
                    reply(answer, Err(refusal));
                }
            }
        }
        let wanted = self.wanted(&[]);
        self.apply(wanted);
        self.settle();
        for (instances, answer) in removed {
            // What had nothing to stop is gone already.
            let left = instances.into_iter().filter(|i| self.slots.contains_key(i));
            self.when(wait, left.map(|i| (i, Until::Down)).collect(), answer);
        }
    }

    fn remove_file(&self, service: &ServiceName) -> Result<(), Refusal> {
        let file = self.options.dirs.service_file(service);
        if let Err(e) = std::fs::remove_file(&file)
            && e.kind() != std::io::ErrorKind::NotFound
        {
            return Err(Refusal::Internal(format!("{}: {e}", file.display())));
        }
        // A power cut must not bring back what was said to be removed.
        if let Err(e) = sync_parent(&file) {
            warn!("{}: {e}", file.display());
        }
        Ok(())
    }

    /// Goes on with removals that an earlier daemon had begun: their files, if they are still the same. One that is written
    /// anew since is a service that somebody wants.
    pub(super) fn resume_removals(&mut self) {
        for (service, file) in self.journal.image().removals.clone() {
            let found = file_id(&self.options.dirs.service_file(&service));
            if found.is_some() && found != file {
                self.write(&[Record::Keep { service }]);
            } else if let Err(Refusal::Internal(e)) = self.remove_file(&service) {
                warn!("{service} cannot be removed: {e}");
            }
        }
    }

    /// What is left of removals of which nothing runs any more: their logs.
    pub(super) fn finish_removals(&mut self) {
        let gone = |owner: &Owner, name: &ServiceName| {
            !owner.services.contains_key(name) && !owner.slots.keys().any(|i| i.service == *name)
        };
        let names: Vec<_> = self.journal.image().removals.keys().filter(|n| gone(self, n)).cloned().collect();
        names.iter().for_each(|name| self.forget_service(name));
    }
}

/// Which file it is; `None` = there is none.
fn file_id(path: &Path) -> Option<FileId> {
    let meta = std::fs::symlink_metadata(path).ok()?;
    Some(FileId { inode: meta.ino(), seconds: meta.mtime(), nanoseconds: meta.mtime_nsec() })
}

/// What is written down.
fn goal(target: &Target, held: bool) -> Record {
    match target {
        Target::Service(s) => Record::Goal { service: s.clone(), replica: None, held },
        Target::Instance(i) => Record::Goal { service: i.service.clone(), replica: Some(i.replica), held },
    }
}
