//! What people are told of rollouts, and what they want of them.
#![forbid(unsafe_code)]

use super::desired::InForce;
use super::owner::{Owner, Slot};
use crate::api::core::Refusal;
use crate::api::model::ServiceChange;
use crate::api::rollouts::{GenerationInfo, RejectedInfo, RolloutInfo, RolloutWish};
use crate::clock::{Boot, Moment};
use crate::names::ServiceName;
use crate::policy::span;
use crate::rollout::{Pause, Rejected};
use crate::unit;
use crate::unit::service::{OnUpdateFailure, Service, UpdateOrder};

impl Owner {
    /// How far the rollout of a service is.
    pub(super) fn rollout_info(&self, name: &ServiceName) -> Result<RolloutInfo, Refusal> {
        if !self.services.contains_key(name) {
            return Err(self.unknown(name.as_str()));
        }
        let updates = self.journal.image().updates.get(name).cloned().unwrap_or_default();
        let rollout = self.rolling.get(name).map(|r| &r.driver.rollout);
        let names = |keep: &dyn Fn(&Slot) -> bool| {
            let kept = self.slots_of(name).filter(|s| keep(s));
            kept.map(|s| s.machine.instance.to_string()).collect::<Vec<_>>()
        };
        let in_step = |s: &Slot| {
            rollout.is_some_and(|r| r.step.iter().any(|m| m.replica == s.machine.instance.replica))
        };
        let on = |s: &Slot| self.is_on_target(&s.machine.instance);
        let generations = updates.generations.iter().rev().map(|g| GenerationInfo {
            generation: g.number,
            version: g.version.chars().take(12).collect(),
            at: g.at.to_string(),
            good: g.good,
            in_force: g.number == updates.current,
            note: g.note.clone(),
        });
        Ok(RolloutInfo {
            service: name.to_string(),
            state: self.rollout_state(name).into(),
            text: self.rollout_text(name),
            generation: updates.current,
            from: rollout.map(|r| r.from),
            to: rollout.map(|r| r.to),
            why: rollout.and_then(|r| r.paused.as_ref().map(|p| p.why.clone()).or_else(|| r.back.clone())),
            updated: names(&|s| on(s) && !in_step(s)),
            step: names(&in_step),
            left: names(&|s| !on(s)),
            rejected: updates.rejected.as_ref().map(|r| RejectedInfo {
                generation: r.generation,
                why: r.why.clone(),
                at: r.at.to_string(),
            }),
            generations: generations.collect(),
        })
    }

    fn rollout_state(&self, name: &ServiceName) -> &'static str {
        let Some(rolling) = self.rolling.get(name) else { return "none" };
        match &rolling.driver.rollout {
            r if r.paused.is_some() => "paused",
            r if r.back.is_some() => "rolling-back",
            r if r.watching => "watching",
            _ => "stepping",
        }
    }

    /// One line about a rollout, or about what came of the last one.
    pub(super) fn rollout_text(&self, name: &ServiceName) -> String {
        let Some(updates) = self.journal.image().updates.get(name) else { return String::new() };
        let Some(rolling) = self.rolling.get(name) else {
            return updates.rejected.as_ref().map_or_else(String::new, |r| {
                format!("its file is not in force, generation {} was rolled back: {}", r.generation, r.why)
            });
        };
        let rollout = &rolling.driver.rollout;
        let all = self.slots_of(name).count();
        let done = self.slots_of(name).filter(|s| self.is_on_target(&s.machine.instance)).count();
        let (from, to) = (rollout.from, rollout.to);
        match (&rollout.paused, &rollout.back) {
            (Some(pause), _) => format!("rollout to generation {to} is paused: {}", pause.why),
            (None, Some(why)) => {
                format!("goes back from generation {to} to {from}, {done} of {all} instances: {why}")
            }
            (None, None) if rollout.idle => {
                format!("rollout to generation {to} waits: nothing of it is wanted up")
            }
            (None, None) if rollout.watching => {
                let left = self.rollout_plan(name).map_or_else(String::new, |plan| {
                    let left = rollout.since.after(plan.watch).since(Boot::now());
                    format!(" for {}", span(std::time::Duration::from_secs(left.as_secs())))
                });
                format!("generation {to} is watched{left}")
            }
            (None, None) => format!("rollout to generation {to}, {done} of {all} instances"),
        }
    }

    /// Does what somebody wants of a rollout.
    pub(super) fn rollout_wish(&mut self, name: &ServiceName, wish: RolloutWish) -> Result<(), Refusal> {
        if !self.services.contains_key(name) {
            return Err(self.unknown(name.as_str()));
        }
        match wish {
            RolloutWish::Pause => self.pause_rollout(name),
            RolloutWish::Resume => self.resume_by_hand(name),
            RolloutWish::Undo(generation) => self.undo(name, generation),
        }
    }

    fn pause_rollout(&mut self, name: &ServiceName) -> Result<(), Refusal> {
        let Some(rolling) = self.rolling.get_mut(name) else {
            return Err(Refusal::Conflict(format!("{name} is not being rolled out")));
        };
        if let Some(pause) = &rolling.driver.rollout.paused {
            return Err(Refusal::Conflict(format!("the rollout of {name} is paused already: {}", pause.why)));
        }
        rolling.driver.rollout.paused = Some(Pause { why: "paused by hand".into(), failed: false });
        self.keep_rollout(name, &[]);
        self.tell(Some(name), None, "rollout-paused", "paused by hand".into());
        Ok(())
    }

    fn resume_by_hand(&mut self, name: &ServiceName) -> Result<(), Refusal> {
        let view = self.rollout_view(name);
        let paused = self.rolling.get_mut(name).filter(|r| r.driver.rollout.paused.is_some());
        if let Some(rolling) = paused {
            rolling.driver.rollout.resume(&view, Boot::now());
            self.keep_rollout(name, &[]);
            self.tell(Some(name), None, "rollout-resumed", "goes on by hand".into());
            return Ok(());
        }
        let rejected = self.journal.image().updates.get(name).is_some_and(|u| u.rejected.is_some());
        if self.rolling.contains_key(name) || !rejected {
            return Err(Refusal::Conflict(format!(
                "no rollout of {name} is paused and its file was not rolled back"
            )));
        }
        self.tell(Some(name), None, "rollout-resumed", "its file is tried again by hand".into());
        self.forget_reject(name);
        let wanted = self.wanted(&[]);
        self.apply(wanted);
        Ok(())
    }

    fn undo(&mut self, name: &ServiceName, generation: Option<u64>) -> Result<(), Refusal> {
        let rolling = self.rolling.get_mut(name).map(|r| &mut r.driver.rollout);
        if let Some(rollout) = rolling.filter(|r| generation.is_none_or(|g| g == r.from)) {
            if rollout.back.is_some() && rollout.paused.is_none() {
                return Err(Refusal::Conflict(format!(
                    "{name} goes back to generation {} already",
                    rollout.from
                )));
            }
            if rollout.back.is_none() {
                rollout.turn_back("undone by hand".into(), Boot::now());
                self.keep_rollout(name, &[crate::rollout::Act::GoBack]);
                self.tell(Some(name), None, "rollout-undone", "undone by hand".into());
                self.go_back(name);
                return Ok(());
            }
        }
        let (number, target) = self.earlier(name, generation)?;
        let rejected = self.reject_file(name, &target, number);
        let old = self.services.get(name).map(|f| f.service.clone());
        let Some(change) = unit::changes(old.as_deref(), Some(&target.service)) else {
            return Err(Refusal::Conflict(format!("generation {number} of {name} is in force")));
        };
        self.tell(Some(name), None, "rollout-undone", format!("back to generation {number} by hand"));
        self.refused_by_disk = false;
        self.apply_one(name, target, &change, rejected);
        if self.refused_by_disk {
            return Err(Refusal::Internal(format!("generation {number} of {name} cannot be kept on disk")));
        }
        let wanted = self.wanted(&[]);
        self.apply(wanted);
        Ok(())
    }

    /// The generation to go back to.
    fn earlier(&self, name: &ServiceName, generation: Option<u64>) -> Result<(u64, InForce), Refusal> {
        let updates = self.journal.image().updates.get(name);
        let current = self.services.get(name).map_or("", |f| &f.version);
        let found = updates.and_then(|u| match generation {
            Some(number) => u.generation(number),
            None => u.last_good(current),
        });
        let Some(found) = found else {
            return Err(match generation {
                Some(number) => Refusal::NotFound(format!("there is no generation {number} of {name}")),
                None => Refusal::Conflict(format!("there is no earlier good version of {name}")),
            });
        };
        let number = found.number;
        let read = self.read_generation(name, number);
        let read =
            read.ok_or_else(|| Refusal::Internal(format!("generation {number} of {name} cannot be read")));
        Ok((number, read?))
    }

    /// The version of the file, which is not to be in force any more.
    fn reject_file(&self, name: &ServiceName, target: &InForce, number: u64) -> Option<Rejected> {
        let updates = self.journal.image().updates.get(name)?;
        let file = unit::load_dir(&self.options.dirs.services).services.remove(name);
        let version = file.map(|(mut service, mut text)| {
            self.bind_old(&mut service, &mut text);
            unit::version(&service)
        })?;
        let generation = updates.generations.iter().find(|g| g.version == version);
        let generation = generation.map_or(updates.current, |g| g.number);
        let why = format!("back to generation {number} by hand");
        (version != target.version).then(|| Rejected { version, generation, why, at: Moment::now().wall })
    }

    /// How a change would be rolled out, one line for people.
    pub(super) fn rollout_preview(
        &self,
        name: &ServiceName,
        new: &Service,
        change: &ServiceChange,
    ) -> Option<String> {
        if change.action != "restart" || !self.rolls(name, new) {
            return None;
        }
        let update = &new.update;
        let order = match update.order {
            UpdateOrder::StopFirst => "stop-first",
            UpdateOrder::StartFirst => "start-first",
        };
        let failure = match update.on_failure {
            OnUpdateFailure::Rollback => "rollback",
            OnUpdateFailure::Pause => "pause",
            OnUpdateFailure::Continue => "continue",
        };
        let at_once = update.parallelism.min(new.replicas.max(1));
        Some(format!(
            "{order}, {} at a time, {} in all; each ready for {} within {}, then watched for {}; on failure {failure}",
            at_once,
            new.replicas,
            span(update.min_healthy),
            span(update.progress_deadline),
            span(update.watched(&new.probes)),
        ))
    }
}
