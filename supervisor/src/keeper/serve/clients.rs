//! Those who are connected: what each role may order, and what it is told. Never waits.
#![forbid(unsafe_code)]

use std::time::Instant;

use super::{Flow, LEAVE, Phase, Server, hello};
use crate::keeper::conns::Role;
use crate::keeper::protocol::{At, Order, Word};
use crate::sys::keeper as sys;

impl Server {
    pub(super) fn obey(&mut self, slot: usize) {
        let mut packet = std::mem::take(&mut self.buffer);
        match self.conns.recv(slot, &mut packet) {
            Ok(None) => {}
            Err(_) => self.conns.drop(slot),
            Ok(Some(n)) => {
                let role = self.conns.role(slot);
                match Order::decode(&packet[..n]).zip(role) {
                    Some((order, role)) if self.order(slot, role, order) => {}
                    _ => self.conns.drop(slot),
                }
            }
        }
        self.buffer = packet;
    }

    /// Follows one order; `false` = it is none that this role may give.
    fn order(&mut self, slot: usize, role: Role, order: Order<'_>) -> bool {
        match (role, order) {
            (Role::New, Order::Control) => self.welcome(slot, Role::Controller),
            (Role::New, Order::Attach) => self.welcome(slot, Role::Attached),
            (Role::Controller, Order::Signal(number)) => {
                self.signal(number);
                true
            }
            (Role::Controller, Order::Ack) => {
                if matches!(self.phase, Phase::Ended) {
                    self.shared.remove_record();
                    self.phase = Phase::Leaving { until: Instant::now() + LEAVE };
                }
                true
            }
            (Role::Controller, Order::Rotate) => {
                self.shared.rotate();
                true
            }
            (Role::Controller | Role::Attached, Order::Resize { rows, cols }) => {
                self.resize(rows, cols);
                true
            }
            (Role::Attached, Order::Stdin(bytes)) => {
                // The capacity is there: nobody is read while something waits.
                self.input.extend_from_slice(bytes);
                self.write_input();
                true
            }
            (Role::Attached, Order::StdinEof) => {
                self.eof_after_input = true;
                self.write_input();
                true
            }
            _ => false,
        }
    }

    /// Gives a newcomer its role and tells it how far things are.
    fn welcome(&mut self, slot: usize, role: Role) -> bool {
        if !self.conns.set_role(slot, role) {
            return false;
        }
        let (flags, run, conns) = (self.flags, &*self.run, &mut self.conns);
        let (pid, start_time) = (self.pid, self.start_time);
        match self.phase {
            Phase::Ended | Phase::Leaving { .. } => {
                self.shared.with_record(|record| conns.say(slot, hello(flags, run, At::Ended(record))));
                if role == Role::Attached {
                    conns.drop(slot);
                }
            }
            // The end is told with the record: until that is complete it is not yet.
            _ if pid == 0 => conns.say(slot, hello(flags, run, At::Creating)),
            _ => conns.say(slot, hello(flags, run, At::Created { pid, start_time })),
        }
        true
    }

    pub(super) fn signal(&self, number: i32) {
        // One that has just ended cannot be signalled: its end is on the way to the sender.
        let _ = match &self.phase {
            Phase::Creating { runtime: Some(pid) } => sys::signal_group(*pid, number),
            Phase::Created { handle, .. } => sys::signal(handle, number),
            _ => Ok(()),
        };
    }

    pub(super) fn hear(&mut self) {
        let before = self.seen.steps;
        let lost = self.seen.lost;
        self.seen = self.shared.progress();
        self.seen.lost = self.seen.lost.max(lost);
        if self.seen.steps != before {
            self.conns.say_all(Role::Controller, Word::Rotated(self.seen.file));
        }
        for output in self.outputs.iter_mut().filter(|o| matches!(o.flow, Flow::Held(_))) {
            output.flow = Flow::Open;
        }
    }
}
