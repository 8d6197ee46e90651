//! What people and programs are told about an instance: status, reasons, the chain of causes. Reads only.
#![forbid(unsafe_code)]

use std::time::Duration;

use super::order::describe;
use super::owner::{Owner, Slot};
use crate::api::core::Target;
use crate::api::model::{
    EventInfo, ExitInfo, Explanation, InstanceStatus, LookInfo, ProbeInfo, ServiceStatus, Waits,
};
use crate::clock::Boot;
use crate::health::{Look, Standing, Track};
use crate::journal::record::{Event, Kept, KeptExit};
use crate::keeper::record::End;
use crate::machine::{Next, State};
use crate::names::{Instance, RunId, ServiceName};
use crate::policy::span;
use crate::probe::{Outcome, Verdict};

/// How many events an explanation shows.
const CHAIN: usize = 20;

/// An event as the API shows it.
pub(super) fn info(event: &Event) -> EventInfo {
    let instance = event.service.as_ref().zip(event.replica).map(|(s, r)| format!("{s}.{r}"));
    EventInfo {
        seq: event.seq,
        at: event.at.to_string(),
        service: event.service.as_ref().map(ToString::to_string),
        instance,
        kind: event.kind.clone(),
        severity: crate::api::kinds::severity(&event.kind),
        text: event.text.clone(),
        cause: event.cause,
    }
}

impl Owner {
    /// One instance for `ps`.
    pub(super) fn status_of(&self, slot: &Slot) -> InstanceStatus {
        let machine = &slot.machine;
        let pid = match &machine.state {
            State::Starting { pid, .. } | State::Running { pid, .. } => Some(*pid),
            State::Stopping { pid, .. } => *pid,
            State::Down
            | State::Waiting { .. }
            | State::Queued
            | State::Creating { .. }
            | State::Cleaning { .. }
            | State::Backoff { .. }
            | State::Done { .. } => None,
        };
        let usage = pid.map(|p| self.controllers.usage(p)).unwrap_or_default();
        let last_run = machine.last_run;
        let run =
            (last_run > 0).then(|| RunId { instance: machine.instance.clone(), run: last_run }.to_string());
        InstanceStatus {
            instance: machine.instance.to_string(),
            service: machine.instance.service.to_string(),
            state: machine.word().into(),
            detail: self.detail(slot),
            waits: waits(slot),
            reason: machine.reason.clone(),
            run,
            pid,
            since: machine.changed.1.to_string(),
            seconds: Boot::now().since(machine.changed.0).as_secs_f64(),
            ready: self.fitness(slot).ready,
            restarts: machine.restarts,
            last_exit: self.last_exit(&machine.instance),
            memory: usage.memory,
            memory_limit: usage.limit,
        }
    }

    /// The exit code of the last end.
    pub(super) fn last_exit(&self, instance: &Instance) -> Option<i32> {
        let kept = self.journal.image().instances.get(instance);
        kept.and_then(|k| k.exits.back()).and_then(code)
    }

    /// What the state is about, one line.
    fn detail(&self, slot: &Slot) -> String {
        let machine = &slot.machine;
        match &machine.state {
            _ if slot.down_pending.is_some() => "goes down after what depends on it".into(),
            _ if slot.again_pending.is_some() => "restarts after what depends on it".into(),
            State::Down if self.journal.image().is_held(&machine.instance) => "stopped by hand".into(),
            State::Down => machine.reason.clone(),
            State::Waiting { on, .. } if on.is_empty() => "about to start".into(),
            State::Waiting { on, .. } => format!("waits for {on}"),
            State::Queued => match (&slot.no_room, slot.no_turn) {
                (Some(what), _) => format!("waits for {what}"),
                (None, Some(at)) => format!("waits for the restart budget of the host, {}", until(at)),
                (None, None) => "waits for its turn".into(),
            },
            State::Creating { run, hooks: true } => format!("pre-start hooks of {run}"),
            State::Creating { run, hooks: false } => format!("makes {run}"),
            State::Starting { run, .. } => format!("starts {run}"),
            State::Running { .. } => self.running_detail(slot),
            State::Stopping { kills: 0, kill_at, .. } => format!("killed in {}", until(*kill_at)),
            State::Stopping { kills, .. } => format!("killed {kills} times"),
            State::Cleaning { failed: 0, next: Next::Pause { until: at, .. }, .. } => {
                format!("next try in {}; {}", until(*at), machine.reason)
            }
            State::Cleaning { failed: 0, .. } => "takes away what is left".into(),
            State::Cleaning { .. } => machine.reason.clone(),
            State::Backoff { until: at, .. } => format!("next try in {}; {}", until(*at), machine.reason),
            State::Done { .. } => match self.next_run(&machine.instance.service) {
                Some(next) => format!("{}; next run at {next}", machine.reason),
                None => machine.reason.clone(),
            },
        }
    }

    /// What is not as it should be about one that runs.
    fn running_detail(&self, slot: &Slot) -> String {
        let told = slot.machine.run().and_then(|run| self.told.get(run));
        let says = told.and_then(|t| t.kept.status.as_ref()).map(|s| format!("says: {s}"));
        let rollout = Some(self.rollout_text(&slot.machine.instance.service)).filter(|text| !text.is_empty());
        more(slot)
            .chain(self.lacks_rungs(slot))
            .chain(self.under_pressure(slot))
            .chain(says)
            .chain(rollout)
            .collect::<Vec<_>>()
            .join("; ")
    }

    /// One service with everything about it.
    pub(super) fn status(&self, name: &ServiceName) -> Option<ServiceStatus> {
        let in_force = self.services.get(name)?;
        let slots: Vec<_> = self.slots.values().filter(|s| s.machine.instance.service == *name).collect();
        let held = self.journal.image().held.contains_key(name);
        let up = slots.iter().any(|s| s.machine.up);
        let depends = in_force
            .service
            .depends_on
            .iter()
            .map(|d| format!("{} ({})", describe(d), if self.met(d) { "met" } else { "not met" }));
        let image = self.journal.image();
        let of_service = image.instances.iter().filter(|(i, _)| i.service == *name);
        let mut exits: Vec<_> = of_service.flat_map(|(i, k)| k.exits.iter().map(move |e| (i, e))).collect();
        exits.sort_by_key(|(_, e)| std::cmp::Reverse(e.at));
        Some(ServiceStatus {
            service: name.to_string(),
            description: in_force.service.description.clone(),
            file: self.options.dirs.service_file(name).display().to_string(),
            version: in_force.version.chars().take(12).collect(),
            goal: if up { "up" } else { "down" }.into(),
            goal_reason: if held { "stopped by hand".into() } else { String::new() },
            problems: in_force.problems.clone(),
            depends_on: depends.collect(),
            instances: slots.iter().map(|s| self.status_of(s)).collect(),
            job: self.job_info(&in_force.service),
            probes: slots.iter().flat_map(|s| probes(s)).collect(),
            exits: exits.into_iter().take(20).map(|(i, e)| exit_info(i, e)).collect(),
        })
    }

    /// Why it is as it is.
    pub(super) fn explain(&self, target: &Target) -> Option<Explanation> {
        let (service, slot) = match target {
            Target::Instance(i) => (&i.service, self.slots.get(i)),
            Target::Service(s) => {
                // The one with the most to say: what does not simply run comes first.
                let of = |running: bool| {
                    self.slots.values().find(move |slot| {
                        slot.machine.instance.service == *s
                            && matches!(slot.machine.state, State::Running { .. }) == running
                    })
                };
                (s, of(false).or_else(|| of(true)))
            }
        };
        if slot.is_none() && (matches!(target, Target::Instance(_)) || !self.services.contains_key(service)) {
            return None;
        }
        let replica = slot.map(|s| s.machine.instance.replica);
        let about =
            |e: &&Event| e.service.as_ref() == Some(service) && (e.replica.is_none() || e.replica == replica);
        let mut chain: Vec<_> =
            self.journal.image().events.iter().rev().filter(about).take(CHAIN).map(info).collect();
        chain.reverse();
        let Some(slot) = slot else {
            let summary = format!("{service} has no instances: replicas = 0");
            return Some(Explanation { name: service.to_string(), summary, chain, next: None });
        };
        let machine = &slot.machine;
        let now = Boot::now();
        let lasted = span(now.since(machine.changed.0));
        let word = machine.word();
        let mut summary = format!("{word} since {lasted}");
        let kept = self.journal.image().instances.get(&machine.instance);
        if let State::Running { run, pid, .. } = &machine.state {
            summary = format!("runs since {lasted} as {run}, process {pid}");
            let pressure = self.lacks_rungs(slot).into_iter().chain(self.under_pressure(slot));
            for why in more(slot).chain(pressure).chain(self.controllers.strain(*pid).words()) {
                summary.push_str(&format!(", {why}"));
            }
            if machine.restarts > 0
                && let Some(last) = kept.and_then(|k| k.exits.back())
            {
                let times = if machine.restarts == 1 { "restart" } else { "restarts" };
                let text = format!(", after {} {times}; before that it {}", machine.restarts, last.text);
                summary.push_str(&text);
            }
        } else if !machine.reason.is_empty() {
            summary.push_str(&format!(": {}", machine.reason));
        }
        let rollout = self.rollout_text(service);
        if !rollout.is_empty() {
            summary.push_str(&format!("; {rollout}"));
        }
        Some(Explanation { name: machine.instance.to_string(), summary, chain, next: self.next(slot, kept) })
    }

    fn next(&self, slot: &Slot, _kept: Option<&Kept>) -> Option<String> {
        let machine = &slot.machine;
        match &machine.state {
            State::Backoff { until: at, .. }
            | State::Cleaning { next: Next::Pause { until: at, .. }, retry_at: None, .. } => {
                let nth = machine.restarts.saturating_add(1);
                Some(format!("restart {nth}: next try in {}", until(*at)))
            }
            State::Stopping { kill_at, kills: 0, .. } => Some(format!("killed in {}", until(*kill_at))),
            State::Stopping { kill_at, .. } => Some(format!("killed again in {}", until(*kill_at))),
            State::Waiting { on, deadline } if !on.is_empty() => Some(match deadline {
                Some(at) => format!("waits for {on}, at most {} more", until(*at)),
                None => format!("waits for {on}"),
            }),
            State::Queued if slot.no_room.is_some() => {
                Some(format!("starts when there is {}", slot.no_room.as_deref().unwrap_or_default()))
            }
            State::Queued if let Some(at) = slot.no_turn => {
                let nth = machine.restarts;
                Some(format!(
                    "restart {nth}: when the restart budget of the host allows it, in {}",
                    until(at)
                ))
            }
            State::Cleaning { retry_at: Some(at), .. } => Some(format!("tried again in {}", until(*at))),
            State::Done { .. } if let Some(next) = self.next_run(&machine.instance.service) => {
                Some(format!("runs at {next}"))
            }
            State::Done { .. } => Some("nothing, until somebody starts it or changes its file".into()),
            State::Down if self.journal.image().is_held(&machine.instance) => {
                Some(format!("nothing, until `knarrctl start {}`", machine.instance.service))
            }
            State::Down
            | State::Waiting { .. }
            | State::Queued
            | State::Creating { .. }
            | State::Starting { .. }
            | State::Running { .. }
            | State::Cleaning { .. } => None,
        }
    }
}

/// `not ready: readiness probe failed 3 times in a row: exit code 1`.
fn unready(slot: &Slot) -> Option<String> {
    let watched = slot.watched.as_ref().filter(|w| slot.machine.run() == Some(&w.run))?;
    watched.health.unready_because().map(|why| format!("not ready: {why}"))
}

/// What is to be said of one that runs, the most important first.
fn more(slot: &Slot) -> impl Iterator<Item = String> {
    [unready(slot), Owner::unlike_its_file(slot), Owner::lost_children(slot)].into_iter().flatten()
}

/// The probes of the last run.
fn probes(slot: &Slot) -> Vec<ProbeInfo> {
    let tracks = slot.watched.as_ref().map_or(&[][..], |w| w.health.tracks());
    let info = |track: &Track| ProbeInfo {
        instance: slot.machine.instance.to_string(),
        probe: track.role.word().into(),
        state: match track.standing {
            Standing::Unknown => "unknown",
            Standing::Passing => "passing",
            Standing::Failing => "failing",
        }
        .into(),
        failures: track.failures,
        looks: track.looks.iter().map(look_info).collect(),
        first_failing: track.first_failing.as_ref().map(look_info),
    };
    tracks.iter().map(info).collect()
}

fn look_info(look: &Look) -> LookInfo {
    let Look { at, outcome: Outcome { verdict, text, output, took }, excused } = look;
    LookInfo {
        at: at.to_string(),
        verdict: match verdict {
            Verdict::Pass => "pass",
            Verdict::Fail => "fail",
            Verdict::TimedOut => "timed-out",
            Verdict::Error => "error",
        }
        .into(),
        text: text.clone(),
        output: String::from_utf8_lossy(output).into_owned(),
        seconds: took.as_secs_f64(),
        excused: excused.clone(),
    }
}

fn waits(slot: &Slot) -> Option<Waits> {
    if let (State::Queued, Some(on)) = (&slot.machine.state, &slot.no_room) {
        return Some(Waits { on: on.clone(), seconds: None });
    }
    let State::Waiting { on, deadline } = &slot.machine.state else { return None };
    let seconds = deadline.map(|at| at.since(Boot::now()).as_secs_f64());
    (!on.is_empty()).then(|| Waits { on: on.clone(), seconds })
}

fn until(at: Boot) -> String {
    let left = at.since(Boot::now());
    // Whole seconds read better than 3.9 s.
    span(if left > Duration::from_secs(2) {
        Duration::from_secs(left.as_secs_f64().round() as u64)
    } else {
        left
    })
}

fn code(exit: &KeptExit) -> Option<i32> {
    match exit.exit.as_ref()?.end {
        End::Exited { code } => Some(i32::from(code)),
        End::Signaled { signal, .. } => Some(128 + signal),
        End::CreateFailed { .. } => None,
    }
}

fn exit_info(instance: &Instance, exit: &KeptExit) -> ExitInfo {
    let record = exit.exit.as_ref();
    ExitInfo {
        run: RunId { instance: instance.clone(), run: exit.run }.to_string(),
        at: exit.at.to_string(),
        code: code(exit),
        text: exit.text.clone(),
        seconds: record.map_or(0.0, |r| r.ended.since(r.started).as_secs_f64()),
        memory_peak: record.and_then(|r| r.memory.peak),
        oom_kills: record.and_then(|r| r.memory.oom_kills),
        memory_high_events: record.and_then(|r| r.memory.high),
        memory_max_events: record.and_then(|r| r.memory.max),
        swap_peak: record.and_then(|r| r.memory.swap_peak),
        memory_stalled: record.and_then(|r| r.memory.stalled).map(|us| us as f64 / 1e6),
    }
}
