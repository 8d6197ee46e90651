//! Who waits for an instance to get somewhere, and what they are told. Pure but for the answering.
#![forbid(unsafe_code)]

use crate::api::core::{Answer, Refusal};
use crate::api::model::Sight;
use crate::machine::{Machine, State};

use super::looks::Fitness;

/// What somebody waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// It is ready, or has ended with success, in a later run than this one.
    Ready(u32),
    /// What somebody watches for, however long it takes.
    Seen(Sight),
    /// Nothing of it is there.
    Down,
}

impl Until {
    /// An instance that is gone is as far as it gets.
    fn is_down(self) -> bool {
        matches!(self, Until::Down | Until::Seen(Sight::Stopped))
    }
}

/// One request that waits for some instances.
#[derive(Debug)]
pub(super) struct Waiter {
    answer: Option<Answer<()>>,
    left: usize,
    failed: Option<String>,
}

impl Waiter {
    /// Waits for so many instances.
    pub(super) fn new(left: usize, answer: Answer<()>) -> Waiter {
        Waiter { answer: Some(answer), left, failed: None }
    }
}

/// Everything that is waited for.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    list: Vec<(crate::names::Instance, Until, usize)>,
    waiters: Vec<Option<Waiter>>,
}

impl Waiters {
    /// Adds a request; without instances it is answered at once.
    pub(super) fn add(&mut self, instances: Vec<(crate::names::Instance, Until)>, answer: Answer<()>) {
        if instances.is_empty() {
            answer.send(Ok(())).ok();
            return;
        }
        self.forget_those_who_left();
        let free = self.waiters.iter().position(Option::is_none);
        let waiter = Some(Waiter::new(instances.len(), answer));
        let index = match free {
            Some(i) => {
                if let Some(place) = self.waiters.get_mut(i) {
                    *place = waiter;
                }
                i
            }
            None => {
                self.waiters.push(waiter);
                self.waiters.len() - 1
            }
        };
        self.list.extend(instances.into_iter().map(|(i, until)| (i, until, index)));
    }

    /// Who has hung up waits for nothing.
    fn forget_those_who_left(&mut self) {
        for place in &mut self.waiters {
            place.take_if(|w| w.answer.as_ref().is_none_or(|answer| answer.is_closed()));
        }
        let there = |index: usize| self.waiters.get(index).is_some_and(Option::is_some);
        self.list.retain(|(_, _, index)| there(*index));
    }

    /// Answers those whose instance got there, or cannot get there any more.
    pub(super) fn look(&mut self, machine: &Machine, fitness: Fitness) {
        let mut i = 0;
        while let Some((instance, until, index)) = self.list.get(i) {
            let verdict =
                if *instance == machine.instance { verdict(machine, fitness, *until) } else { None };
            let Some(verdict) = verdict else {
                i += 1;
                continue;
            };
            let index = *index;
            self.list.swap_remove(i);
            self.arrived(index, verdict);
        }
    }

    /// The instance is gone: that is down.
    pub(super) fn gone(&mut self, instance: &crate::names::Instance) {
        let mut i = 0;
        while let Some((waited, until, index)) = self.list.get(i) {
            if waited != instance {
                i += 1;
                continue;
            }
            let (until, index) = (*until, *index);
            self.list.swap_remove(i);
            let verdict = if until.is_down() { Ok(()) } else { Err(format!("{instance} was removed")) };
            self.arrived(index, verdict);
        }
    }

    fn arrived(&mut self, index: usize, verdict: Result<(), String>) {
        let Some(slot) = self.waiters.get_mut(index) else { return };
        let Some(waiter) = slot else { return };
        waiter.left -= 1;
        if let Err(text) = verdict {
            waiter.failed.get_or_insert(text);
        }
        if waiter.left == 0 {
            let failed = waiter.failed.take().map_or(Ok(()), |t| Err(Refusal::Conflict(t)));
            if let Some(answer) = waiter.answer.take() {
                answer.send(failed).ok();
            }
            *slot = None;
        }
    }
}

fn verdict(machine: &Machine, fitness: Fitness, until: Until) -> Option<Result<(), String>> {
    let failed = || Some(Err(format!("{}: {}", machine.instance, machine.reason)));
    match (until, &machine.state) {
        (Until::Seen(sight), state) => is_seen(sight, state, fitness).then_some(Ok(())),
        (Until::Down, State::Down) => Some(Ok(())),
        (Until::Down, _) if machine.up => Some(Err(format!("{} is wanted up again", machine.instance))),
        (Until::Down, _) => None,
        (Until::Ready(after), State::Running { run, .. }) => {
            (run.run > after && fitness.ready).then_some(Ok(()))
        }
        // A job may be over before anybody looks.
        (Until::Ready(after), State::Done { success: true }) if machine.last_run > after => Some(Ok(())),
        (Until::Ready(_), State::Done { success: false } | State::Backoff { .. }) => failed(),
        (Until::Ready(_), State::Down) => {
            Some(Err(format!("{} was stopped: {}", machine.instance, machine.reason)))
        }
        (
            Until::Ready(_),
            State::Waiting { .. }
            | State::Queued
            | State::Creating { .. }
            | State::Starting { .. }
            | State::Stopping { .. }
            | State::Cleaning { .. }
            | State::Done { .. },
        ) => None,
    }
}

fn is_seen(sight: Sight, state: &State, fitness: Fitness) -> bool {
    match sight {
        Sight::Ready => fitness.ready,
        Sight::Healthy => fitness.well,
        Sight::Stopped => matches!(state, State::Down | State::Done { .. }),
    }
}
