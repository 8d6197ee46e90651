//! One rollout, moved on by what is seen.
#![forbid(unsafe_code)]

use std::time::Duration;

use super::{Member, Pause, Rollout, Seats};
use crate::clock::Boot;
use crate::policy::span;
use crate::unit::service::{OnUpdateFailure, UpdateOrder};

/// What a rollout goes by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Plan {
    /// The instances that the service has.
    pub seats: Seats,
    /// Whether an old instance ends before a new one is there.
    pub order: UpdateOrder,
    /// So many at once.
    pub parallelism: u32,
    /// So long ready before the next step.
    pub min_healthy: Duration,
    /// How long a step may take.
    pub deadline: Duration,
    /// How long all are watched after the last step.
    pub watch: Duration,
    /// What a failure leads to.
    pub on_failure: OnUpdateFailure,
    /// There is a good version to go back to.
    pub can_go_back: bool,
}

/// Which version a run was made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The one in force.
    Target,
    /// Another one.
    Other,
}

/// What is seen of one instance.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// Which replica.
    pub replica: u32,
    /// It is wanted up.
    pub up: bool,
    /// The number of its last run.
    pub last_run: u32,
    /// What its run was made from; `None` = there is no run.
    pub side: Option<Side>,
    /// Since when it runs and is ready, without a gap; `None` = it is not.
    pub ready: Option<Boot>,
    /// Why it is not well though it runs and had come up.
    pub unwell: Option<String>,
    /// It ended with success and stays so.
    pub done: bool,
    /// The last run that ended as a failure, and how.
    pub failed: Option<(u32, String)>,
}

/// What is to be done, when what is kept of the rollout is on disk.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    /// Tell people: about one instance or the service, a kind and a line.
    Tell(Option<u32>, &'static str, String),
    /// The service's only instance is this one from now on.
    Seat(u32),
    /// As many instances as the service has and the rollout wants.
    Match,
    /// Replace what runs, or start it.
    Replace {
        /// Which.
        replica: u32,
        /// In which step, for people.
        why: String,
    },
    /// The first step begins: what is part of the service begins anew before its new instances.
    FirstStep,
    /// The last step begins: what restarts with the service does so now.
    LastStep,
    /// The version to go back to is in force from now on.
    GoBack,
    /// It is over: forward or back.
    Finish,
}

/// Moves a rollout on. It knows nothing but what is kept, so a daemon that comes after a kill counts on where the last one was.
#[derive(Debug, Clone, PartialEq)]
pub struct Driver {
    /// What is kept.
    pub rollout: Rollout,
}

impl Driver {
    /// A rollout as it was kept.
    pub fn new(rollout: Rollout) -> Driver {
        Driver { rollout }
    }

    /// Moves on by at most one transition. Nothing comes out = there is nothing to do now.
    pub fn step(&mut self, plan: &Plan, view: &[Seen], now: Boot) -> Vec<Act> {
        if self.rollout.paused.is_some() || self.rests(view, now) {
            return Vec::new();
        }
        let failure = match &self.rollout.back {
            None => self.failure(view).or_else(|| self.late(plan, view, now)),
            Some(_) => None,
        };
        if let Some((replica, why)) = failure {
            return self.fail(plan, replica, why, now);
        }
        if !self.rollout.step.is_empty() {
            return self.end_step(plan, view, now);
        }
        if self.rollout.watching { self.end_watch(plan, view, now) } else { self.begin_step(plan, view, now) }
    }

    /// When [`Driver::step`] has to be asked again without anything having happened.
    pub fn due(&self, plan: &Plan, view: &[Seen], now: Boot) -> Option<Boot> {
        let rollout = &self.rollout;
        if rollout.paused.is_some() || rollout.idle {
            return None;
        }
        let members = if rollout.step.is_empty() { &rollout.fresh } else { &rollout.step };
        let ready = members.iter().filter_map(|m| seen(view, m.replica)?.ready);
        let mut times: Vec<Boot> = ready.map(|at| at.after(plan.min_healthy)).collect();
        match (rollout.step.is_empty(), rollout.watching) {
            (false, _) => times.push(rollout.since.after(plan.deadline)),
            (true, true) => times.extend([plan.watch, watch_limit(plan)].map(|d| rollout.since.after(d))),
            (true, false) => {}
        }
        times.into_iter().filter(|t| *t > now).min()
    }

    /// A service of which nothing is wanted up proves nothing: the clocks stand still.
    fn rests(&mut self, view: &[Seen], now: Boot) -> bool {
        let idle = !view.iter().any(|s| s.up);
        if idle != self.rollout.idle {
            (self.rollout.idle, self.rollout.since) = (idle, now);
        }
        idle
    }

    /// The first new instance that is no good.
    fn failure(&self, view: &[Seen]) -> Option<(u32, String)> {
        let fresh = self.rollout.fresh.iter().filter(|m| !self.rollout.given_up.contains(&m.replica));
        fresh.into_iter().find_map(|member| {
            let seen = seen(view, member.replica).filter(|s| s.up)?;
            let failed = seen.failed.as_ref().filter(|(run, _)| *run > member.after).map(|(_, why)| why);
            let unwell = seen.unwell.as_ref().filter(|_| seen.last_run > member.after);
            failed.or(unwell).map(|why| (member.replica, why.clone()))
        })
    }

    /// A new instance that is not ready in time.
    fn late(&self, plan: &Plan, view: &[Seen], now: Boot) -> Option<(u32, String)> {
        let rollout = &self.rollout;
        let lasted = now.since(rollout.since);
        let (members, limit) = match (rollout.step.is_empty(), rollout.watching) {
            (false, _) => (&rollout.step, plan.deadline),
            (true, true) => (&rollout.fresh, watch_limit(plan)),
            (true, false) => return None,
        };
        let late = members.iter().find(|m| !self.is_settled(plan, view, m, now))?;
        (lasted >= limit).then(|| {
            let text = format!("not ready for {} within {}", span(plan.min_healthy), span(limit));
            (late.replica, text)
        })
    }

    /// Whether nobody has to wait for a member of a step any more.
    fn is_settled(&self, plan: &Plan, view: &[Seen], member: &Member, now: Boot) -> bool {
        let Some(seen) = seen(view, member.replica).filter(|s| s.up) else { return true };
        if self.rollout.given_up.contains(&member.replica) {
            return true;
        }
        let ready = seen.ready.filter(|_| seen.last_run > member.after);
        // What was good before needs no proof.
        let healthy = if self.rollout.back.is_some() { Duration::ZERO } else { plan.min_healthy };
        let done = seen.done && seen.last_run > member.after;
        done || ready.is_some_and(|at| now.since(at) >= healthy)
    }

    fn fail(&mut self, plan: &Plan, replica: u32, why: String, now: Boot) -> Vec<Act> {
        let rollout = &mut self.rollout;
        let tell = |text: String| Act::Tell(Some(replica), "rollout-failed", text);
        let generation = rollout.to;
        match plan.on_failure {
            OnUpdateFailure::Continue => {
                rollout.given_up.insert(replica);
                vec![tell(format!("generation {generation}: {why}; the rollout goes on"))]
            }
            OnUpdateFailure::Rollback if plan.can_go_back => {
                let (from, text) = (rollout.from, format!("replica {replica}: {why}"));
                rollout.turn_back(text, now);
                vec![tell(format!("generation {generation}: {why}; back to generation {from}")), Act::GoBack]
            }
            OnUpdateFailure::Rollback | OnUpdateFailure::Pause => {
                let hint = if plan.on_failure == OnUpdateFailure::Pause {
                    "nothing more is replaced until somebody decides"
                } else {
                    "there is no good version to go back to, nothing more is replaced"
                };
                rollout.paused = Some(Pause { why: format!("replica {replica}: {why}"), failed: true });
                vec![tell(format!("generation {generation}: {why}; {hint}"))]
            }
        }
    }

    fn end_step(&mut self, plan: &Plan, view: &[Seen], now: Boot) -> Vec<Act> {
        let waits = |m: &&Member| !self.is_settled(plan, view, m, now);
        let waiting: Vec<u32> = self.rollout.step.iter().filter(waits).map(|m| m.replica).collect();
        let late = now.since(self.rollout.since) >= plan.deadline;
        if !waiting.is_empty() && !late {
            return Vec::new();
        }
        // Only on the way back: what is late then is left to its restart policy.
        let text =
            format!("not ready within {} after it went back; the next ones follow", span(plan.deadline));
        let acts = waiting.into_iter().map(|r| Act::Tell(Some(r), "rollback-late", text.clone())).collect();
        self.rollout.step.clear();
        self.rollout.steps += 1;
        self.rollout.since = now;
        acts
    }

    fn end_watch(&mut self, plan: &Plan, view: &[Seen], now: Boot) -> Vec<Act> {
        let all = self.rollout.fresh.iter().all(|m| {
            let seen = seen(view, m.replica).filter(|s| s.up && !self.rollout.given_up.contains(&s.replica));
            seen.is_none_or(|s| s.ready.is_some() || s.done)
        });
        let over = now.since(self.rollout.since) >= plan.watch;
        if all && over { vec![Act::Finish] } else { Vec::new() }
    }

    /// The next instances that are replaced, or what comes after the last ones.
    fn begin_step(&mut self, plan: &Plan, view: &[Seen], now: Boot) -> Vec<Act> {
        let mut left: Vec<&Seen> =
            view.iter().filter(|s| plan.seats.has(s.replica) && self.is_left(s)).collect();
        if left.is_empty() {
            return self.end_steps(plan, now);
        }
        let up = left.iter().filter(|s| s.up).count();
        let more = view.iter().filter(|s| !plan.seats.has(s.replica));
        if plan.order == UpdateOrder::StartFirst && up > 0 && !self.rollout.surged {
            if self.rollout.surge == 0 {
                self.rollout.surge = plan.parallelism.min(u32::try_from(up).unwrap_or(u32::MAX));
                return vec![Act::Match];
            }
            self.rollout.surged = true;
            let more: Vec<&Seen> = more.collect();
            return self.replace(&more, false, plan, now);
        }
        // What is beside the only one takes its place: nothing is started twice.
        if let (Some(single), Some(beside)) = (plan.seats.single(), more.map(|s| s.replica).next())
            && self.rollout.surged
        {
            return self.change_places(single, beside, now);
        }
        // What serves nobody goes first; what is not wanted up costs no step.
        left.sort_by_key(|s| (s.up, s.ready.is_some(), s.replica));
        let idle = left.iter().filter(|s| !s.up).count();
        // On the way back all that serve nobody go at once: they have no room to keep free for.
        let down = left.iter().filter(|s| s.up && s.ready.is_none() && self.rollout.back.is_some()).count();
        let at_once = usize::try_from(plan.parallelism).unwrap_or(usize::MAX).max(down);
        let take = idle.saturating_add(at_once).min(left.len());
        let last = take == left.len();
        let members: Vec<&Seen> = left.into_iter().take(take).collect();
        self.replace(&members, last, plan, now)
    }

    fn is_left(&self, seen: &Seen) -> bool {
        let fresh = self.rollout.fresh.iter().any(|m| m.replica == seen.replica);
        match self.rollout.back {
            None => !fresh,
            Some(_) => fresh || (seen.up && seen.side == Some(Side::Other)),
        }
    }

    fn replace(&mut self, members: &[&Seen], last: bool, plan: &Plan, now: Boot) -> Vec<Act> {
        let rollout = &mut self.rollout;
        let mut acts = Vec::new();
        let names: Vec<String> = members.iter().map(|s| s.replica.to_string()).collect();
        let (way, to) = match rollout.back {
            None => ("", rollout.to),
            Some(_) => ("back ", rollout.from),
        };
        let why = format!("rolled {way}to generation {to}, step {}", rollout.steps + 1);
        for seen in members {
            let current = seen.side == Some(Side::Target);
            // Its run may be of this version already.
            let after = if current { seen.last_run.saturating_sub(1) } else { seen.last_run };
            let member = Member { replica: seen.replica, after };
            rollout.fresh.retain(|m| m.replica != seen.replica);
            if rollout.back.is_none() {
                rollout.fresh.push(member);
            }
            rollout.step.push(member);
            if seen.up && !current {
                acts.push(Act::Replace { replica: seen.replica, why: why.clone() });
            }
        }
        rollout.since = now;
        let beside =
            if members.iter().any(|s| !plan.seats.has(s.replica)) { ", beside the old ones" } else { "" };
        let text = format!("{why}: {}{beside}", names.join(", "));
        acts.insert(0, Act::Tell(None, "rollout-step", text));
        if !std::mem::replace(&mut rollout.begun, true) {
            acts.push(Act::FirstStep);
        }
        if last {
            acts.push(Act::LastStep);
        }
        acts
    }

    fn change_places(&mut self, single: u32, beside: u32, now: Boot) -> Vec<Act> {
        let rollout = &mut self.rollout;
        (rollout.surge, rollout.since) = (0, now);
        rollout.steps += 1;
        rollout.fresh.retain(|m| m.replica != single);
        let text = format!("step {}: {beside} takes the place of {single}", rollout.steps);
        vec![Act::Tell(None, "rollout-step", text), Act::Seat(beside), Act::Match, Act::LastStep]
    }

    /// Every instance had its step.
    fn end_steps(&mut self, plan: &Plan, now: Boot) -> Vec<Act> {
        let rollout = &mut self.rollout;
        if rollout.surge > 0 {
            rollout.surge = 0;
            rollout.fresh.retain(|m| plan.seats.has(m.replica));
            return vec![Act::Match];
        }
        if rollout.back.is_some() {
            return vec![Act::Finish];
        }
        (rollout.watching, rollout.since) = (true, now);
        vec![Act::Tell(None, "rollout-watch", "all instances are replaced and are watched now".into())]
    }
}

/// What is not ready so long after the last step has failed.
fn watch_limit(plan: &Plan) -> Duration {
    plan.watch.saturating_add(plan.deadline)
}

fn seen(view: &[Seen], replica: u32) -> Option<&Seen> {
    view.iter().find(|s| s.replica == replica)
}
