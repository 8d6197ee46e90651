//! Whole rollouts in a small world of instances, with a daemon that is killed at any transition.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use super::*;
use crate::unit::service::{OnUpdateFailure, UpdateOrder};

const REPLICAS: u32 = 4;

/// How the new version is.
#[derive(Debug, Clone, Copy, PartialEq)]
enum New {
    Good,
    CrashesAtOnce,
    NeverReady,
    /// Ready, and after so many seconds it ends.
    CrashesAfter(u64),
    /// Ready, and after so many seconds it says that it is not well.
    UnwellAfter(u64),
}

#[derive(Debug, Clone)]
struct One {
    up: bool,
    last_run: u32,
    new: bool,
    started: u64,
    failed: Option<(u32, String)>,
}

struct World {
    driver: Driver,
    plan: Plan,
    new: New,
    all: BTreeMap<u32, One>,
    now: u64,
    finished: bool,
    told: Vec<&'static str>,
    /// The fewest that were ready.
    least: usize,
    most: usize,
    transitions: usize,
    /// How often the new version was started.
    starts: usize,
    /// After this transition the daemon is killed, before or after it did what follows.
    kill: Option<(usize, bool)>,
}

fn plan(order: UpdateOrder, parallelism: u32, on_failure: OnUpdateFailure) -> Plan {
    let secs = Duration::from_secs;
    Plan {
        seats: Seats::new(REPLICAS, None),
        order,
        parallelism,
        min_healthy: secs(10),
        deadline: secs(100),
        watch: secs(30),
        on_failure,
        can_go_back: true,
    }
}

impl World {
    fn new(plan: Plan, new: New, kill: Option<(usize, bool)>) -> World {
        let one = One { up: true, last_run: 3, new: false, started: 0, failed: None };
        let rollout = Rollout::new(1, 2, Boot::default(), "boot");
        World {
            driver: Driver::new(rollout),
            plan,
            new,
            all: plan.seats.numbers(0).into_iter().map(|r| (r, one.clone())).collect(),
            now: 100,
            finished: false,
            told: Vec::new(),
            least: usize::MAX,
            most: 0,
            transitions: 0,
            starts: 0,
            kill,
        }
    }

    fn boot(&self) -> Boot {
        Boot(Duration::from_secs(self.now))
    }

    fn is_ready(&self, one: &One) -> bool {
        let age = self.now - one.started;
        let unwell = matches!(self.new, New::UnwellAfter(n) if age >= n);
        one.up
            && (!one.new || (self.new != New::NeverReady && self.new != New::CrashesAtOnce && !unwell))
            && age >= 2
    }

    fn view(&self) -> Vec<Seen> {
        let back = self.driver.rollout.back.is_some();
        let see = |(replica, one): (&u32, &One)| {
            let age = self.now - one.started;
            let unwell = one.new && matches!(self.new, New::UnwellAfter(n) if age >= n);
            Seen {
                replica: *replica,
                up: one.up,
                last_run: one.last_run,
                side: one.up.then_some(if one.new == back { Side::Other } else { Side::Target }),
                ready: self.is_ready(one).then(|| Boot(Duration::from_secs(one.started + 2))),
                unwell: unwell.then(|| "liveness probe failed".to_owned()),
                done: false,
                failed: one.failed.clone(),
            }
        };
        self.all.iter().map(see).collect()
    }

    /// As the service's own settings and the rollout want them.
    fn match_instances(&mut self) {
        let want = self.plan.seats.numbers(self.driver.rollout.surge);
        self.all.retain(|r, _| want.contains(r));
        for replica in want {
            if let Entry::Vacant(place) = self.all.entry(replica) {
                place.insert(One { up: true, last_run: 0, new: false, started: 0, failed: None });
                self.start(replica);
            }
        }
    }

    /// A run of the version that an instance is to be of.
    fn start(&mut self, replica: u32) {
        // A fresh slot is started after the step that it belongs to is known.
        let fresh = self.driver.rollout.back.is_none();
        let on_target = self.driver.rollout.is_on_target(replica) || !self.plan.seats.has(replica);
        self.starts += usize::from(on_target == fresh);
        let one = self.all.get_mut(&replica).unwrap();
        (one.new, one.last_run, one.started) = (on_target == fresh, one.last_run + 1, self.now);
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Tell(_, kind, _) => self.told.push(kind),
            Act::Match => self.match_instances(),
            Act::Seat(_) => {}
            Act::Replace { replica, .. } => self.start(replica),
            Act::GoBack | Act::FirstStep | Act::LastStep | Act::Finish => {}
        }
    }

    /// What the next daemon does with what the last one wrote.
    fn resume(&mut self) {
        let kept = serde_json::to_string(&self.driver.rollout).unwrap();
        self.driver = Driver::new(serde_json::from_str(&kept).unwrap());
        self.match_instances();
        let target = self.driver.rollout.back.is_none();
        let behind = |(r, one): (&u32, &One)| {
            (one.up && self.driver.rollout.is_on_target(*r) && one.new != target).then_some(*r)
        };
        self.all.iter().filter_map(behind).collect::<Vec<_>>().into_iter().for_each(|r| self.start(r));
    }

    fn settle(&mut self) {
        loop {
            let before = self.driver.rollout.clone();
            let (view, now) = (self.view(), self.boot());
            let acts = self.driver.step(&self.plan, &view, now);
            if acts.is_empty() && self.driver.rollout == before {
                return;
            }
            self.transitions += 1;
            self.finished |= acts.contains(&Act::Finish);
            // It is written with the rollout.
            let seat = acts.iter().find_map(|a| if let Act::Seat(n) = a { Some(*n) } else { None });
            self.plan.seats = seat.map_or(self.plan.seats, |n| Seats::new(1, Some(n)));
            let kill = self.kill.filter(|(at, _)| *at == self.transitions).map(|(_, done)| done);
            if kill != Some(false) {
                acts.into_iter().for_each(|a| self.act(a));
            }
            if self.finished {
                return;
            }
            if kill.is_some() {
                self.resume();
            }
        }
    }

    /// A second of everybody's life.
    fn tick(&mut self) {
        self.now += 1;
        let crash = match self.new {
            New::CrashesAtOnce => Some(1),
            New::CrashesAfter(n) => Some(n),
            New::Good | New::NeverReady | New::UnwellAfter(_) => None,
        };
        let now = self.now;
        let dies = |one: &One| one.up && one.new && crash.is_some_and(|n| now - one.started >= n);
        let dead: Vec<u32> = self.all.iter().filter(|(_, o)| dies(o)).map(|(r, _)| *r).collect();
        for replica in dead {
            let one = self.all.get_mut(&replica).unwrap();
            one.failed = Some((one.last_run, "exited 1".into()));
            self.start(replica);
        }
        self.settle();
        let ready = self.all.values().filter(|o| self.is_ready(o)).count();
        (self.least, self.most) = (self.least.min(ready), self.most.max(self.all.len()));
        let due = self.driver.due(&self.plan, &self.view(), self.boot());
        assert!(due.is_none_or(|d| d > self.boot()), "due in the past");
    }

    fn run(mut self) -> World {
        self.settle();
        for _ in 0..3000 {
            if self.finished || self.driver.rollout.paused.is_some() {
                return self;
            }
            self.tick();
        }
        panic!("no end: {:?}", self.driver.rollout);
    }

    fn new_ones(&self) -> usize {
        self.all.values().filter(|o| o.new).count()
    }
}

const ORDERS: [UpdateOrder; 2] = [UpdateOrder::StopFirst, UpdateOrder::StartFirst];
const BAD: [New; 5] =
    [New::CrashesAtOnce, New::NeverReady, New::CrashesAfter(5), New::CrashesAfter(25), New::UnwellAfter(15)];

#[test]
fn a_good_version_is_rolled_out_whoever_is_killed_when() {
    for order in ORDERS {
        for parallelism in [1, 2, 3, 9] {
            let plan = plan(order, parallelism, OnUpdateFailure::Rollback);
            let whole = World::new(plan, New::Good, None).run();
            let beside = parallelism.min(REPLICAS) as usize;
            match order {
                UpdateOrder::StopFirst => {
                    assert_eq!((whole.least, whole.most), (REPLICAS as usize - beside, REPLICAS as usize));
                }
                UpdateOrder::StartFirst => {
                    assert_eq!((whole.least, whole.most), (REPLICAS as usize, REPLICAS as usize + beside));
                }
            }
            assert!(!whole.told.contains(&"rollout-failed"), "{:?}", whole.told);
            for at in 1..=whole.transitions {
                for done in [false, true] {
                    let world = World::new(plan, New::Good, Some((at, done))).run();
                    let found = (world.new_ones(), world.all.len(), world.driver.rollout.back.clone());
                    assert_eq!(
                        found,
                        (REPLICAS as usize, REPLICAS as usize, None),
                        "{order:?} {parallelism} {at} {done}"
                    );
                    // What was ready for a while before the kill is so after it; only what was not done yet begins later.
                    assert!(world.now == whole.now || !done, "{order:?} {parallelism} {at}: it took longer");
                }
            }
        }
    }
}

#[test]
fn a_bad_version_is_rolled_back_whoever_is_killed_when() {
    for (order, parallelism, new) in
        ORDERS.into_iter().flat_map(|o| [1, 2, 4].map(|p| (o, p))).flat_map(|(o, p)| BAD.map(|b| (o, p, b)))
    {
        let plan = plan(order, parallelism, OnUpdateFailure::Rollback);
        let whole = World::new(plan, new, None).run();
        assert!(whole.told.contains(&"rollout-failed"), "{:?}", whole.told);
        for at in 0..=whole.transitions {
            for done in [false, true] {
                let world = World::new(plan, new, Some((at, done))).run();
                let found = (world.new_ones(), world.all.len(), world.driver.rollout.back.is_some());
                assert_eq!(
                    found,
                    (0, REPLICAS as usize, true),
                    "{order:?} {parallelism} {new:?} {at} {done}"
                );
            }
        }
    }
}

#[test]
fn a_single_instance_changes_places_with_the_next_one_whoever_is_killed_when() {
    for single in [1, 2] {
        let plan = Plan {
            seats: Seats::new(1, Some(single)),
            ..plan(UpdateOrder::StartFirst, 3, OnUpdateFailure::Rollback)
        };
        for new in [New::Good].into_iter().chain(BAD) {
            let whole = World::new(plan, new, None).run();
            let good = new == New::Good;
            let after = if good { 3 - single } else { single };
            assert_eq!(whole.plan.seats.single(), Some(after), "{new:?}");
            assert!(whole.most == 2 || new == New::CrashesAtOnce, "{new:?}: {} at once", whole.most);
            // It is ready all the time, unless it is no good only when it has the place.
            let early = matches!(new, New::CrashesAtOnce | New::NeverReady | New::CrashesAfter(5));
            assert!(whole.least == 1 || !(good || early), "{new:?}");
            assert!(!good || whole.starts == 1, "{} starts", whole.starts);
            for (at, done) in (1..=whole.transitions).flat_map(|at| [(at, false), (at, true)]) {
                let world = World::new(plan, new, Some((at, done))).run();
                let found = (world.new_ones(), world.all.len(), world.driver.rollout.back.is_none());
                assert_eq!(found, (usize::from(good), 1, good), "{new:?} {at} {done}");
                assert!(world.all.contains_key(&world.plan.seats.single().unwrap()), "{new:?} {at} {done}");
            }
        }
    }
}

#[test]
fn one_bad_instance_is_all_that_a_careful_rollout_breaks() {
    for new in [New::CrashesAtOnce, New::NeverReady, New::CrashesAfter(5)] {
        let stop = World::new(plan(UpdateOrder::StopFirst, 1, OnUpdateFailure::Rollback), new, None).run();
        assert_eq!(stop.least, REPLICAS as usize - 1, "{new:?}");
        let start = World::new(plan(UpdateOrder::StartFirst, 1, OnUpdateFailure::Rollback), new, None).run();
        assert_eq!(start.least, REPLICAS as usize, "{new:?}: no old one ends");
    }
}

#[test]
fn pause_and_continue_do_what_they_say() {
    for new in BAD {
        let world = World::new(plan(UpdateOrder::StopFirst, 1, OnUpdateFailure::Pause), new, None).run();
        let pause = world.driver.rollout.paused.clone().unwrap();
        assert!(pause.failed && pause.why.starts_with("replica 1: "), "{pause:?}");
        assert!(!world.finished && world.driver.rollout.back.is_none());

        let world = World::new(plan(UpdateOrder::StopFirst, 1, OnUpdateFailure::Continue), new, None).run();
        assert_eq!(world.new_ones(), REPLICAS as usize, "{new:?}");
        assert_eq!(world.driver.rollout.given_up.len(), REPLICAS as usize, "{new:?}");
    }
}

#[test]
fn without_a_good_version_it_pauses() {
    let mut plan = plan(UpdateOrder::StopFirst, 2, OnUpdateFailure::Rollback);
    plan.can_go_back = false;
    let world = World::new(plan, New::CrashesAtOnce, None).run();
    assert!(world.driver.rollout.paused.is_some_and(|p| p.failed));
}

#[test]
fn a_pause_by_hand_holds_everything_until_it_goes_on() {
    let mut world = World::new(plan(UpdateOrder::StopFirst, 1, OnUpdateFailure::Rollback), New::Good, None);
    world.settle();
    world.tick();
    world.driver.rollout.paused = Some(Pause { why: "by hand".into(), failed: false });
    for _ in 0..500 {
        world.tick();
    }
    assert_eq!((world.new_ones(), world.driver.due(&world.plan, &world.view(), world.boot())), (1, None));
    let (view, now) = (world.view(), world.boot());
    world.driver.rollout.resume(&view, now);
    assert_eq!(world.run().new_ones(), REPLICAS as usize);
}

#[test]
fn what_failed_before_somebody_went_on_does_not_count() {
    let mut world =
        World::new(plan(UpdateOrder::StopFirst, 1, OnUpdateFailure::Pause), New::CrashesAtOnce, None).run();
    world.new = New::Good;
    let (view, now) = (world.view(), world.boot());
    world.driver.rollout.resume(&view, now);
    let world = world.run();
    assert!(world.finished && world.new_ones() == REPLICAS as usize);
}

#[test]
fn what_is_stopped_by_hand_waits_and_what_is_stopped_alone_costs_no_step() {
    let mut world = World::new(plan(UpdateOrder::StopFirst, 1, OnUpdateFailure::Rollback), New::Good, None);
    world.all.values_mut().for_each(|o| o.up = false);
    for _ in 0..500 {
        world.tick();
    }
    assert!(world.driver.rollout.idle && world.driver.rollout.fresh.is_empty());
    world.all.values_mut().skip(1).for_each(|o| o.up = true);
    let world = world.run();
    // The stopped one and one more, then the others.
    assert_eq!((world.driver.rollout.steps, world.finished), (3, true));
}

#[test]
fn the_good_versions_are_the_last_that_are_let_go() {
    let mut updates = Updates::default();
    for n in 0..30u64 {
        updates.current = updates.add(format!("v{n}"), format!("r{n}"), Timestamp::UNIX_EPOCH, String::new());
        if n == 2 {
            updates.generation_mut(3).unwrap().good = true;
        }
        updates.trim();
    }
    let numbers: Vec<u64> = updates.generations.iter().map(|g| g.number).collect();
    assert_eq!(numbers, [3, 22, 23, 24, 25, 26, 27, 28, 29, 30]);
    assert_eq!(updates.last_good("v29").map(|g| g.number), Some(3));
    // The same version again is the newest again, and what makes the same runs as a good one is good.
    let again = updates.add("v2".into(), "r2".into(), Timestamp::UNIX_EPOCH, String::new());
    assert_eq!(
        (again, updates.generation(3), updates.generation(31).map(|g| g.good)),
        (31, None, Some(true))
    );
}
