//! What happens without a report: what is due by the clock, and what can move on because something else did.
#![forbid(unsafe_code)]

use super::owner::{CREATE_DEADLINE, Owner, RETRY, Slot};
use crate::clock::Boot;
use crate::keeper::Order;
use crate::machine::{Event, State};
use crate::names::Instance;
use crate::policy::span;

impl Owner {
    /// When the next thing is due by itself.
    pub(super) fn next_due(&self) -> Option<Boot> {
        // Once it is made, that time limit wakes nobody.
        let creating = |s: &Slot| s.create_by.filter(|_| matches!(s.machine.state, State::Creating { .. }));
        let slots = self.slots.values().flat_map(|s| [s.machine.deadline(), creating(s)]).flatten();
        slots
            .chain(self.retry_at)
            .chain(self.turn_at)
            .chain(self.cap.due())
            .chain(self.look_due())
            .chain(self.rollout_due())
            .chain(self.overdue_at())
            .chain(self.pressure.due())
            .chain(self.leak_due())
            .chain(self.guard_due())
            .chain(self.shutdown_due())
            .min()
    }

    /// Does what is due.
    pub(super) fn due(&mut self) {
        let now = Boot::now();
        if self.retry_at.is_some_and(|t| t <= now) {
            self.retry_at = None;
            self.retry();
        }
        self.turn_at.take_if(|t| *t <= now);
        self.cap_logs_in_time();
        self.ask_due(now);
        self.end_overdue(now);
        self.pressure_due(now);
        self.look_for_leaks(now);
        self.look_at_guards(now);
        if self.going_down.is_none() {
            self.begin_scheduled();
        }
        self.hurry_shutdown(now);
        let late = |t: Option<Boot>| t.is_some_and(|t| t <= now);
        let due: Vec<_> = self
            .slots
            .values()
            .filter(|s| late(s.machine.deadline()))
            .map(|s| s.machine.instance.clone())
            .collect();
        for instance in due {
            self.feed(&instance, Event::Due);
        }
        let hung: Vec<_> = self
            .slots
            .iter_mut()
            .filter_map(|(_, s)| s.create_by.take_if(|t| *t <= now).and(s.machine.run().cloned()))
            .collect();
        for run in hung {
            let state = self.slots.get(&run.instance).map(|s| &s.machine.state);
            if matches!(state, Some(State::Creating { .. })) {
                if let Some(orders) = self.orders(&run) {
                    orders.send(Order::Signal(9)).ok();
                }
                let text = format!("the runtime did not make it within {}", span(CREATE_DEADLINE));
                self.feed_run(&run, Event::NeverRan { code: "runtime-timeout".into(), text, exit: None });
            }
        }
    }

    fn retry(&mut self) {
        match self.journal.retry() {
            Ok(()) => {
                self.ack_late();
                self.tell(None, None, "journal-recovered", "the journal can be written again".into());
            }
            Err(_) => self.retry_at = Some(Boot::now().after(RETRY)),
        }
    }

    /// Moves on whatever can move: stops in order, met dependencies, turns. Ends when nothing moves any more.
    pub(super) fn settle(&mut self) {
        // What an instance is made from is known before it gets its turn.
        while self.settle_rollouts()
            | self.settle_downs()
            | self.settle_replaced()
            | self.settle_dependencies()
            | self.settle_turns()
            | self.settle_removed()
            | self.settle_watched()
        {}
        self.settle_limits();
        self.settle_pressure();
    }

    fn settle_downs(&mut self) -> bool {
        let ready: Vec<_> = self
            .slots
            .iter()
            .filter(|(i, s)| s.down_pending.is_some() && !self.dependents_in_the_way(i))
            .map(|(i, _)| i.clone())
            .collect();
        for instance in &ready {
            let why = self.slots.get_mut(instance).and_then(|s| s.down_pending.take());
            if let Some(why) = why {
                self.feed(instance, Event::Down { why });
            }
        }
        !ready.is_empty()
    }

    /// Runs that are to be replaced end when their turn has come; what came up, or failed to, holds nobody any more.
    fn settle_replaced(&mut self) -> bool {
        for slot in self.slots.values_mut() {
            let over = match &slot.machine.state {
                State::Running { run, .. } => slot.rising.is_some_and(|last| run.run > last),
                State::Down | State::Backoff { .. } | State::Done { .. } => true,
                State::Waiting { .. }
                | State::Queued
                | State::Creating { .. }
                | State::Starting { .. }
                | State::Stopping { .. }
                | State::Cleaning { .. } => false,
            };
            if over && slot.again_pending.is_none() {
                slot.rising = None;
            }
        }
        let ready: Vec<_> = self
            .slots
            .iter()
            .filter(|(i, s)| s.again_pending.is_some() && !self.dependents_in_the_way(i))
            .map(|(i, _)| i.clone())
            .collect();
        for instance in &ready {
            let why = self.slots.get_mut(instance).and_then(|s| s.again_pending.take());
            if let Some(why) = why {
                self.feed(instance, Event::Again { why });
            }
        }
        !ready.is_empty()
    }

    fn settle_dependencies(&mut self) -> bool {
        let mut moved = false;
        let waiting: Vec<_> = self
            .slots
            .iter()
            .filter(|(_, s)| matches!(s.machine.state, State::Waiting { .. } | State::Queued))
            .map(|(i, _)| i.clone())
            .collect();
        for instance in waiting {
            let unmet = self.unmet(&instance);
            let Some(slot) = self.slots.get(&instance) else { continue };
            match (unmet, &slot.machine.state) {
                (None, State::Waiting { .. }) => {
                    moved = true;
                    self.feed(&instance, Event::DependenciesMet);
                }
                (Some((on, deadline)), State::Waiting { on: old, deadline: limit })
                    if on != *old || deadline != *limit =>
                {
                    self.feed(&instance, Event::DependenciesUnmet { on, deadline });
                }
                (Some((on, deadline)), State::Queued) => {
                    self.feed(&instance, Event::DependenciesUnmet { on, deadline });
                }
                _ => {}
            }
        }
        moved
    }

    fn settle_turns(&mut self) -> bool {
        let mut queued = Vec::new();
        for (instance, slot) in &mut self.slots {
            match slot.machine.state {
                State::Queued => queued.push(instance.clone()),
                _ => slot.no_turn = None,
            }
        }
        if queued.is_empty() {
            return false;
        }
        let mut starting = self
            .slots
            .values()
            .filter(|s| matches!(s.machine.state, State::Creating { .. } | State::Starting { .. }))
            .count();
        // To put a long queue in order is not for nothing.
        if !self.turns.place(starting) {
            return false;
        }
        let (mut moved, mut refused) = (false, 0);
        for instance in self.in_start_order(queued) {
            if !self.turns.place(starting) {
                break;
            }
            if !self.has_room(&instance) {
                continue;
            }
            let restarts = self.slots.get(&instance).map_or(0, |s| s.machine.restarts);
            if restarts > 0
                && let Err(at) = self.turns.restart(Boot::now())
            {
                self.turn_at = Some(at);
                self.waits_for_budget(&instance, at.after(self.turns.apart() * refused));
                refused += 1;
                continue;
            }
            starting += 1;
            moved = true;
            self.feed(&instance, Event::Turn);
        }
        moved
    }

    /// That a restart waits for the budget of the host is said once.
    fn waits_for_budget(&mut self, instance: &Instance, until: Boot) {
        let Some(slot) = self.slots.get_mut(instance) else { return };
        let nth = slot.machine.restarts;
        if slot.no_turn.replace(until).is_none() {
            let (left, budget) = (span(until.since(Boot::now())), self.turns.text());
            let text =
                format!("restart {nth} waits for the restart budget of the host ({budget}), about {left}");
            self.tell(Some(&instance.service), Some(instance.replica), "restart-waits", text);
        }
    }

    fn settle_removed(&mut self) -> bool {
        let gone: Vec<_> = self
            .slots
            .iter()
            .filter(|(_, s)| s.removed && s.machine.state == State::Down && s.down_pending.is_none())
            .map(|(i, _)| i.clone())
            .collect();
        for instance in &gone {
            self.slots.remove(instance);
            self.forget(instance);
            self.waiters.gone(instance);
        }
        !gone.is_empty()
    }
}
