//! One look at the figures, and what follows from it. Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use super::rank::{Candidate, rank};
use super::{Action, FORGIVEN, Host, Ladder, Level, Track, Victim, View};
use crate::clock::Boot;
use crate::policy::size;
use crate::unit::pressure::{Priority, Rung};

/// What is frozen gets so long to help before somebody is evicted.
const FREEZE_HELPS: Duration = Duration::from_secs(5);
/// One is not reclaimed from more often than this.
const RECLAIM_EVERY: Duration = Duration::from_secs(10);
/// Most bytes that are reclaimed at once: the kernel works on it without a pause.
const RECLAIM_MOST: u64 = 256 << 20;
/// An eviction that is not over by then does not keep others from being evicted.
const EVICTION_TAKES: Duration = Duration::from_secs(60);
/// The longest pause before a return that does not fit is tried, in holds.
const TRIES_MAX: u32 = 64;
/// Twice what an average of ten seconds remembers.
const STALLS_LAST: Duration = Duration::from_secs(20);
/// So many bytes beyond a request are always worth something.
const WORTH_MOST: u64 = 64 << 20;
/// Below this many bytes a second nobody grows.
const GROWS: f64 = 65_536.0;
/// Limits are in whole pages.
const PAGE: u64 = 4096;

impl Ladder {
    /// Takes figures in and says what is to be done. `views` are the instances that run.
    pub fn step(&mut self, now: Boot, host: &Host, views: &[View]) -> Vec<Action> {
        let mut out = Vec::new();
        let before = self.level();
        self.near = self.limits.near(host);
        let host = &self.without_own_stalls(now, host);
        if let Some((level, why)) = self.gauge.look(now, host, &self.limits) {
            out.push(Action::Level(level, why));
        }
        let level = self.level();
        if level != Level::Act {
            self.first_freeze = None;
        }
        self.see(now, views);
        self.let_go(now, views, &mut out);
        if level > Level::Calm && !self.gauge.is_better() {
            if level > before {
                self.warn(now, views, &mut out);
            }
            let worth = (self.limits.act_below(host.total) / 16).min(WORTH_MOST);
            let mut ranked = rank(views, |v| self.tracks.get(&v.instance), worth);
            ranked.retain(|c| self.is_there(c));
            self.reclaim(now, host, &ranked, &mut out);
            self.throttle(now, &ranked, &mut out);
            if level == Level::Act {
                self.freeze(now, &ranked, &mut out);
                self.evict(now, host, &ranked, &mut out);
            }
        }
        if level != Level::Act {
            self.bring_back(now, host, &mut out);
        }
        out
    }

    /// Who is throttled stalls because of that, and would keep memory short for ever: while anybody is, and for as long after
    /// that as averages remember it, only what is available counts.
    fn without_own_stalls(&self, now: Boot, host: &Host) -> Host {
        let lately = |t: &Track| t.unthrottled.is_some_and(|at| now.since(at) < STALLS_LAST);
        let own = self.tracks.values().any(|t| t.throttled.is_some() || lately(t));
        if own { Host { some: None, full: None, ..*host } } else { *host }
    }

    /// Not on its way out.
    fn is_there(&self, candidate: &Candidate<'_>) -> bool {
        let instance = &candidate.view.instance;
        !self.victims.contains_key(instance) && self.evicting.as_ref().is_none_or(|(i, _)| i != instance)
    }

    /// Notes use and growth, and what is gone.
    fn see(&mut self, now: Boot, views: &[View]) {
        let there: BTreeSet<_> = views.iter().map(|v| &v.instance).collect();
        if self
            .evicting
            .take_if(|(i, since)| !there.contains(i) || now.since(*since) >= EVICTION_TAKES)
            .is_some()
        {
            self.evicted = Some(now);
        }
        let victims = &self.victims;
        self.tracks.retain(|instance, track| {
            let lately = track.returned.is_some_and(|at| now.since(at) < FORGIVEN);
            if !there.contains(instance) {
                (track.frozen, track.throttled, track.seen) = (None, None, None);
            }
            there.contains(instance) || lately || victims.contains_key(instance)
        });
        for view in views {
            let track = self.tracks.entry(view.instance.clone()).or_default();
            if let Some((at, used)) = track.seen {
                let seconds = now.since(at).as_secs_f64();
                if seconds > 0.0 {
                    let rate = (view.current as f64 - used as f64) / seconds;
                    // The last four looks or so.
                    track.growth += (rate - track.growth) / 4.0;
                }
            }
            track.seen = Some((now, view.current));
        }
    }

    /// Ends what has lasted long enough, or is not needed any more.
    fn let_go(&mut self, now: Boot, views: &[View], out: &mut Vec<Action>) {
        let level = self.gauge.level;
        for view in views {
            let Some(track) = self.tracks.get_mut(&view.instance) else { continue };
            let Some(since) = track.frozen else { continue };
            let why = if level != Level::Act {
                "memory is not short any more"
            } else if now.since(since) >= view.terms.freeze_for {
                "it was frozen for as long as it may be"
            } else if !may(view, Rung::Freeze) {
                "its file does not allow it any more"
            } else {
                continue;
            };
            (track.frozen, track.thawed) = (None, Some(now));
            out.push(Action::Thaw(view.instance.clone(), why));
        }
        for view in views {
            let Some(track) = self.tracks.get_mut(&view.instance) else { continue };
            if track.throttled.is_some() && (level == Level::Calm || !may(view, Rung::Throttle)) {
                (track.throttled, track.unthrottled) = (None, Some(now));
                out.push(Action::Unthrottle(view.instance.clone()));
            }
        }
    }

    fn warn(&mut self, now: Boot, views: &[View], out: &mut Vec<Action>) {
        for view in views.iter().filter(|v| v.terms.rungs.has(Rung::Warn)) {
            out.extend(self.told(now, view));
        }
    }

    /// A service stalls by itself, whatever the host does: it is told, but not again and again.
    pub fn stalls(&mut self, now: Boot, view: &View) -> Option<Action> {
        if view.terms.rungs.has(Rung::Warn) { self.told(now, view) } else { None }
    }

    fn told(&mut self, now: Boot, view: &View) -> Option<Action> {
        let track = self.tracks.entry(view.instance.clone()).or_default();
        if track.warned.is_some_and(|at| now.since(at) < self.limits.hold) {
            return None;
        }
        track.warned = Some(now);
        Some(Action::Warn(view.instance.clone()))
    }

    /// One at a time: the kernel works on it for a while.
    fn reclaim(&mut self, now: Boot, host: &Host, ranked: &[Candidate<'_>], out: &mut Vec<Action>) {
        let wanted = self.limits.act_below(host.total).saturating_mul(2).saturating_sub(host.available);
        let due = |t: &Track| t.reclaimed.is_none_or(|at| now.since(at) >= RECLAIM_EVERY);
        for candidate in ranked.iter().filter(|c| may(c.view, Rung::Reclaim)) {
            let Some(track) = self.tracks.get_mut(&candidate.view.instance) else { continue };
            if due(track) {
                track.reclaimed = Some(now);
                let bytes = candidate.excess.min(wanted.max(1 << 20)).min(RECLAIM_MOST);
                out.push(Action::Reclaim(candidate.view.instance.clone(), bytes));
                return;
            }
        }
    }

    fn throttle(&mut self, now: Boot, ranked: &[Candidate<'_>], out: &mut Vec<Action>) {
        let hold = self.limits.hold;
        for candidate in ranked.iter().filter(|c| may(c.view, Rung::Throttle) && c.growth > GROWS) {
            let view = candidate.view;
            let Some(track) = self.tracks.get_mut(&view.instance) else { continue };
            if track.throttled.is_none() && rested(track.unthrottled, now, hold) {
                track.throttled = Some(now);
                let high = view.request.max(view.current / 10 * 9) / PAGE * PAGE;
                out.push(Action::Throttle(view.instance.clone(), high.max(PAGE)));
                return;
            }
        }
    }

    fn freeze(&mut self, now: Boot, ranked: &[Candidate<'_>], out: &mut Vec<Action>) {
        let hold = self.limits.hold;
        for candidate in ranked.iter().filter(|c| may(c.view, Rung::Freeze)) {
            let view = candidate.view;
            let Some(track) = self.tracks.get_mut(&view.instance) else { continue };
            if track.frozen.is_none() && rested(track.thawed, now, hold) {
                track.frozen = Some(now);
                self.first_freeze.get_or_insert(now);
                out.push(Action::Freeze(view.instance.clone(), now.after(view.terms.freeze_for)));
                return;
            }
        }
    }

    /// Whether what is frozen has yet to help.
    fn freeze_may_help(&self, now: Boot) -> bool {
        self.first_freeze.is_some_and(|at| now.since(at) < FREEZE_HELPS)
    }

    fn evict(&mut self, now: Boot, host: &Host, ranked: &[Candidate<'_>], out: &mut Vec<Action>) {
        let pausing = self.evicted.is_some_and(|at| now.since(at) < self.limits.pause);
        if self.evicting.is_some() || pausing || (self.freeze_may_help(now) && !self.limits.urgent(host)) {
            return;
        }
        let Some(candidate) = ranked.iter().find(|c| may(c.view, Rung::Evict)) else { return };
        let view = candidate.view;
        let instance = &view.instance;
        let track = self.tracks.entry(instance.clone()).or_default();
        let frozen = track.frozen.is_some();
        track.evicted_again(now);
        if frozen {
            track.thawed = Some(now);
            out.push(Action::Thaw(instance.clone(), "it is evicted"));
        }
        let (priority, used, request) = (view.terms.priority, view.current, view.request);
        let victim = Victim { priority, since: now, used, request, killed: false };
        self.victims.insert(instance.clone(), victim);
        self.evicting = Some((instance.clone(), now));
        out.push(Action::Evict(instance.clone(), view.terms.grace, why(candidate)));
    }

    /// The one of the highest priority returns when there is room for it; the next one when that has shown what it takes.
    fn bring_back(&mut self, now: Boot, host: &Host, out: &mut Vec<Action>) {
        let hold = self.limits.hold;
        let over = |i: &&super::Instance| self.evicting.as_ref().is_none_or(|(e, _)| e != *i);
        let first = self.victims.iter().filter(|(i, _)| over(i)).max_by(|a, b| {
            let (x, y) = (a.1, b.1);
            x.priority.cmp(&y.priority).then_with(|| y.since.cmp(&x.since)).then_with(|| b.0.cmp(a.0))
        });
        let Some((instance, victim)) = first else { return };
        let waited = now.since(victim.since);
        if waited < hold || !rested(self.returned, now, hold) {
            return;
        }
        let room = host.available.saturating_sub(self.limits.enough(host.total));
        let times = self.tracks.get(instance).map_or(1, |t| t.evictions.max(1));
        let tries = hold.saturating_mul(2u32.saturating_pow(times).min(TRIES_MAX));
        let why = if victim.used <= room {
            format!("{} are available, and it used {}", size(host.available), size(victim.used))
        } else if victim.request <= room && waited >= tries {
            format!(
                "{} are available: it is tried, though it used {}",
                size(host.available),
                size(victim.used)
            )
        } else {
            return;
        };
        let instance = instance.clone();
        self.victims.remove(&instance);
        self.returned = Some(now);
        self.tracks.entry(instance.clone()).or_default().returned = Some(now);
        out.push(Action::Return(instance, why));
    }
}

fn may(view: &View, rung: Rung) -> bool {
    view.terms.rungs.has(rung) && (view.terms.priority != Priority::Protected || !rung.sheds())
}

fn rested(since: Option<Boot>, now: Boot, hold: Duration) -> bool {
    since.is_none_or(|at| now.since(at) >= hold)
}

/// `priority 100, 300 MiB beyond its request of 20 MiB`.
fn why(candidate: &Candidate<'_>) -> String {
    let view = candidate.view;
    let priority = match view.terms.priority {
        Priority::Level(n) => n.to_string(),
        Priority::Protected => "protected".into(),
    };
    let beyond = match view.request {
        0 => format!("uses {} and requested none", size(view.current)),
        request => {
            format!("uses {}, {} beyond its request", size(view.current), size(view.current - request))
        }
    };
    let grows = match candidate.growth {
        rate if rate > GROWS => format!(", grows by {} a second", size(rate as u64)),
        _ => String::new(),
    };
    format!("priority {priority}, {beyond}{grows}")
}
