//! What the API asks, answered by the owner. Whatever must be on disk is, before it is answered.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use super::desired::{whole_file, write_aside};
use super::owner::Owner;
use super::waiters::Until;
use crate::api::core::{Answer, Call, Page, Refusal, Running, Target, Verb};
use crate::api::cursor::Numbers;
use crate::api::model::{Plan, PlanRequest, ServiceFile, VersionInfo};
use crate::machine::State;
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
            Call::Plan(request, to) => {
                let before = self.images.clone();
                self.look_up_images(if request.files.is_empty() { None } else { Some(&[]) });
                let plan = self.plan(&self.wanted(&request.files));
                self.images = before;
                reply(to, Ok(plan));
            }
            Call::Apply(request, to) => {
                let applied = self.apply_request(request);
                reply(to, applied);
            }
            Call::Set { service, limits, answer } => {
                let set = self.set_limits(&service, &limits);
                reply(answer, set);
            }
            Call::Order { verb: Verb::Remove, targets, wait } => self.remove(targets, wait),
            Call::Order { verb, targets, wait } => self.order(verb, targets, wait),
            Call::Wait { target, sight, answer } => match self.targets(&target) {
                Ok(instances) => {
                    let waits = instances.into_iter().map(|i| (i, Until::Seen(sight))).collect();
                    self.when(true, waits, answer);
                }
                Err(refusal) => reply(answer, Err(refusal)),
            },
            Call::Kill { target, signal, answer } => {
                let killed = self.kill(&target, signal);
                reply(answer, killed);
            }
            Call::Explain(target, to) => {
                reply(to, self.explain(&target).ok_or_else(|| self.unknown(&target.to_string())));
            }
            Call::Events { since, answer } => {
                let live = self.events.subscribe();
                let events = &self.journal.image().events;
                let numbers =
                    Numbers { oldest: events.front().map(|e| e.seq), next: self.journal.next_seq() };
                let past = events.iter().filter(|e| e.seq > since).map(super::explain::info).collect();
                reply(answer, Ok(Page { past, live, numbers }));
            }
            Call::Rollout(name, to) => reply(to, self.rollout_info(&name)),
            Call::RolloutWish { service, wish, answer } => {
                let done = self.rollout_wish(&service, wish);
                reply(answer, done);
            }
            Call::Running(target, to) => reply(to, self.running(&target)),
            Call::History(target, to) => {
                let told = self.targets(&target).map(|all| self.history(&all));
                reply(to, told);
            }
            Call::Metrics(to) => reply(to, Ok(Box::new(self.scene()))),
            Call::Version(to) => reply(to, Ok(self.version())),
        }
    }

    pub(super) fn unknown(&self, name: &str) -> Refusal {
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

    pub(super) fn targets(&self, target: &Target) -> Result<Vec<Instance>, Refusal> {
        match target {
            Target::Instance(i) if self.slots.get(i).is_some_and(|s| !s.removed) => Ok(vec![i.clone()]),
            Target::Service(s) if self.services.contains_key(s) => {
                Ok(self.slots.keys().filter(|i| i.service == *s).cloned().collect())
            }
            Target::Instance(_) | Target::Service(_) => Err(self.unknown(&target.to_string())),
        }
    }

    /// The file on disk is what is changed, also when it is newer than what is in force.
    fn set_limits(
        &mut self,
        service: &ServiceName,
        limits: &BTreeMap<String, serde_json::Value>,
    ) -> Result<Plan, Refusal> {
        if !self.services.contains_key(service) {
            return Err(self.unknown(service.as_str()));
        }
        let text = unit::read_file(&self.options.dirs.service_file(service)).map_err(Refusal::Conflict)?;
        let text = unit::set_limits(&text, limits).map_err(Refusal::Conflict)?;
        let file = ServiceFile { name: service.to_string(), text };
        self.apply_request(PlanRequest { files: vec![file] })
    }

    fn apply_request(&mut self, request: PlanRequest) -> Result<Plan, Refusal> {
        if request.files.is_empty() {
            self.look_up_images(None);
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
        let names_given = names.clone();
        for (name, file) in names.into_iter().zip(&request.files) {
            let path = self.options.dirs.service_file(&name);
            if problems.iter().any(|p| unit::service_of(p).as_ref() == Some(&name)) {
                continue;
            }
            if let Err(e) = write_aside(&path, file.text.as_bytes()) {
                problems.push(whole_file(&path.display().to_string(), e.to_string()));
            }
        }
        // Whoever gives a file that was rolled back wants it tried again.
        names_given.iter().for_each(|name| self.forget_reject(name));
        self.look_up_images(Some(&names_given));
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
pub(super) fn reply<T>(to: Answer<T>, result: Result<T, Refusal>) {
    to.send(result).ok();
}
