//! What the API asks, answered by the owner. Whatever must be on disk is, before it is answered.
#![forbid(unsafe_code)]

use super::desired::{sync_parent, whole_file, write_aside};
use super::owner::Owner;
use super::waiters::Until;
use tracing::warn;

use crate::api::core::{Answer, Call, Refusal, Running, Target};
use crate::api::model::{Plan, PlanRequest, VersionInfo};
use crate::journal::record::Record;
use crate::machine::{Event, State};
use crate::names::{Instance, ServiceName};
use crate::unit;

impl Owner {
    /// Answers one call, at once or when what it waits for has come.
    pub(super) fn answer(&mut self, call: Call) {
        match call {
            Call::Ps(to) => reply(to, Ok(self.slots.values().map(|s| self.status_of(s)).collect())),
            Call::Status(name, to) => {
                reply(to, self.status(&name).ok_or_else(|| self.unknown(name.as_str())))
            }
            Call::Plan(request, to) => reply(to, Ok(self.plan(&self.wanted(&request.files)))),
            Call::Apply(request, to) => {
                let applied = self.apply_request(request);
                reply(to, applied);
            }
            Call::Start { target, wait, answer } => self.start(&target, wait, answer),
            Call::Stop { target, wait, answer } => self.stop(&target, wait, answer),
            Call::Restart { target, wait, answer } => self.restart(&target, wait, answer),
            Call::Kill { target, signal, answer } => {
                let killed = self.kill(&target, signal);
                reply(answer, killed);
            }
            Call::Remove { service, wait, answer } => self.remove(&service, wait, answer),
            Call::Explain(target, to) => {
                reply(to, self.explain(&target).ok_or_else(|| self.unknown(&target.to_string())));
            }
            Call::Events { since, answer } => {
                let live = self.events.subscribe();
                let kept =
                    self.journal.image().events.iter().filter(|e| e.seq > since).map(super::explain::info);
                reply(answer, Ok((kept.collect(), live)));
            }
            Call::Running(target, to) => reply(to, self.running(&target)),
            Call::Version(to) => reply(to, Ok(self.version())),
        }
    }

    fn unknown(&self, name: &str) -> Refusal {
        let asked = name.split('.').next().unwrap_or(name);
        let near = self
            .services
            .keys()
            .map(|n| (strsim::damerau_levenshtein(n.as_str(), asked), n))
            .filter(|(d, _)| *d <= 2)
            .min();
        let hint = near.map_or_else(String::new, |(_, n)| format!("; did you mean {n}?"));
        Refusal::NotFound(format!("there is no service or instance {name}{hint}"))
    }

    fn targets(&self, target: &Target) -> Result<Vec<Instance>, Refusal> {
        match target {
            Target::Instance(i) if self.slots.get(i).is_some_and(|s| !s.removed) => Ok(vec![i.clone()]),
            Target::Service(s) if self.services.contains_key(s) => {
                Ok(self.slots.keys().filter(|i| i.service == *s).cloned().collect())
            }
            Target::Instance(_) | Target::Service(_) => Err(self.unknown(&target.to_string())),
        }
    }

    /// Writes what somebody wants; a disk that does not take it means the wish is refused.
    fn goal(&mut self, target: &Target, held: bool) -> Result<(), Refusal> {
        let record = match target {
            Target::Service(s) => Record::Goal { service: s.clone(), replica: None, held },
            Target::Instance(i) => {
                Record::Goal { service: i.service.clone(), replica: Some(i.replica), held }
            }
        };
        let from = self.journal.next_seq();
        let written = self.journal.try_append(&[record]);
        self.publish(from);
        written.map_err(|e| {
            Refusal::Internal(format!("this could not be written to the journal, nothing was done: {e}"))
        })
    }

    fn start(&mut self, target: &Target, wait: bool, answer: Answer<()>) {
        let instances = match self.targets(target).and_then(|i| self.goal(target, false).map(|()| i)) {
            Ok(instances) => instances,
            Err(refusal) => return reply(answer, Err(refusal)),
        };
        let waits = self.wait_for_runs(&instances, false);
        for instance in &instances {
            if let Some(slot) = self.slots.get_mut(instance) {
                slot.down_pending = None;
            }
            self.feed(instance, Event::Up { fresh: true });
        }
        self.when(wait, waits, answer);
    }

    fn restart(&mut self, target: &Target, wait: bool, answer: Answer<()>) {
        let instances = match self.targets(target).and_then(|i| self.goal(target, false).map(|()| i)) {
            Ok(instances) => instances,
            Err(refusal) => return reply(answer, Err(refusal)),
        };
        let waits = self.wait_for_runs(&instances, true);
        for instance in &instances {
            if let Some(slot) = self.slots.get_mut(instance) {
                slot.down_pending = None;
            }
            self.feed(instance, Event::Again { why: "restarted by hand".into() });
        }
        self.when(wait, waits, answer);
    }

    fn stop(&mut self, target: &Target, wait: bool, answer: Answer<()>) {
        let instances = match self.targets(target).and_then(|i| self.goal(target, true).map(|()| i)) {
            Ok(instances) => instances,
            Err(refusal) => return reply(answer, Err(refusal)),
        };
        self.bring_down(&instances, "stopped by hand");
        let waits = instances.into_iter().map(|i| (i, Until::Down)).collect();
        self.when(wait, waits, answer);
    }

    fn bring_down(&mut self, instances: &[Instance], why: &str) {
        for instance in instances {
            self.bring_down_in_turn(instance, why);
        }
        self.settle();
    }

    fn wait_for_runs(&self, instances: &[Instance], new: bool) -> Vec<(Instance, Until)> {
        let after = |i: &Instance| {
            let slot = self.slots.get(i);
            let runs = slot.is_some_and(|s| matches!(s.machine.state, State::Running { .. }));
            let last = slot.map_or(0, |s| s.machine.last_run);
            // One that runs already is there.
            if runs && !new { last.saturating_sub(1) } else { last }
        };
        // A run that is being made is the one that is waited for.
        let made = |i: &Instance| {
            let state = self.slots.get(i).map(|s| &s.machine.state);
            !new && matches!(state, Some(State::Creating { .. } | State::Starting { .. }))
        };
        instances.iter().map(|i| (i.clone(), Until::Running(after(i) - u32::from(made(i))))).collect()
    }

    fn when(&mut self, wait: bool, waits: Vec<(Instance, Until)>, answer: Answer<()>) {
        if !wait {
            return reply(answer, Ok(()));
        }
        let instances: Vec<_> = waits.iter().map(|(i, _)| i.clone()).collect();
        self.waiters.add(waits, answer);
        for instance in instances {
            if let Some(slot) = self.slots.get(&instance) {
                self.waiters.look(&slot.machine);
            }
        }
    }

    fn kill(&mut self, target: &Target, signal: i32) -> Result<(), Refusal> {
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

    fn remove(&mut self, service: &ServiceName, wait: bool, answer: Answer<()>) {
        if !self.services.contains_key(service) {
            return reply(answer, Err(self.unknown(service.as_str())));
        }
        let file = self.options.dirs.service_file(service);
        if let Err(e) = std::fs::remove_file(&file)
            && e.kind() != std::io::ErrorKind::NotFound
        {
            return reply(answer, Err(Refusal::Internal(format!("{}: {e}", file.display()))));
        }
        // A power cut must not bring back what was said to be removed.
        if let Err(e) = sync_parent(&file) {
            warn!("{}: {e}", file.display());
        }
        let instances: Vec<_> = self.slots.keys().filter(|i| i.service == *service).cloned().collect();
        let wanted = self.wanted(&[]);
        self.apply(wanted);
        self.purge.insert(service.clone());
        self.settle();
        // What had nothing to stop is gone already.
        let waits =
            instances.into_iter().filter(|i| self.slots.contains_key(i)).map(|i| (i, Until::Down)).collect();
        self.when(wait, waits, answer);
    }

    fn apply_request(&mut self, request: PlanRequest) -> Result<Plan, Refusal> {
        if request.files.is_empty() {
            let wanted = self.wanted(&[]);
            return Ok(self.apply(wanted));
        }
        let mut names = Vec::new();
        for file in &request.files {
            let name = file.name.parse::<ServiceName>();
            let name = name.map_err(|e| format!("{:?} is no name of a service: {e}", file.name));
            match name {
                Ok(name) if !names.contains(&name) => names.push(name),
                Ok(name) => {
                    return Err(Refusal::BadRequest(format!("service {name} is given twice"), Vec::new()));
                }
                Err(text) => return Err(Refusal::BadRequest(text, Vec::new())),
            }
        }
        // Also what cannot be with the others, a cycle of dependencies, never gets into the directory.
        let mut problems = self.wanted(&request.files).into_problems();
        problems.retain(|p| unit::service_of(p).is_some_and(|name| names.contains(&name)));
        for (name, file) in names.into_iter().zip(&request.files) {
            let path = self.options.dirs.service_file(&name);
            if problems.iter().any(|p| unit::service_of(p).as_ref() == Some(&name)) {
                continue;
            }
            if let Err(e) = write_aside(&path, file.text.as_bytes()) {
                problems.push(whole_file(&path.display().to_string(), e.to_string()));
            }
        }
        let wanted = self.wanted(&[]);
        let mut plan = self.apply(wanted);
        problems.retain(|p| !plan.problems.contains(p));
        plan.problems.extend(problems);
        Ok(plan)
    }

    fn running(&self, target: &Target) -> Result<Running, Refusal> {
        let instances = self.targets(target)?;
        let found =
            instances.iter().filter_map(|i| self.slots.get(i)).find_map(|slot| match &slot.machine.state {
                State::Running { run, .. } => Some((run.clone(), slot)),
                State::Down
                | State::Waiting { .. }
                | State::Queued
                | State::Creating { .. }
                | State::Starting { .. }
                | State::Stopping { .. }
                | State::Cleaning { .. }
                | State::Backoff { .. }
                | State::Done { .. } => None,
            });
        let Some((run, slot)) = found else {
            let state =
                instances.first().and_then(|i| self.slots.get(i)).map_or("gone", |s| s.machine.word());
            return Err(Refusal::Conflict(format!("{target} does not run: it is {state}")));
        };
        let service =
            slot.made_from.as_ref().map_or_else(|| self.service(&run.instance).0, |(s, _)| s.clone());
        Ok(Running { run, runtime: self.runtime(&service).program, tty: service.process.tty })
    }

    fn version(&self) -> VersionInfo {
        VersionInfo {
            version: env!("CARGO_PKG_VERSION").into(),
            api: 1,
            keeper_protocol: crate::keeper::record::VERSION,
            runtime: self.options.runtime.display().to_string(),
            pid: std::process::id(),
        }
    }
}

/// Whoever asked may be gone.
fn reply<T>(to: Answer<T>, result: Result<T, Refusal>) {
    to.send(result).ok();
}
