//! Every step of the life of an instance, as the machine decides it: events in, effects out.

use super::*;
use crate::keeper::record::{End, ExitRecord, VERSION};
use crate::unit::service::Service;

struct Trial {
    machine: Machine,
    service: Service,
    seconds: u64,
    apart: bool,
    counts: Counts,
}

impl Trial {
    fn new(policy: crate::unit::service::Policy) -> Trial {
        let mut service = Service::unknown(&"web".parse().unwrap());
        service.restart.policy = policy;
        let machine = Machine::new("web.1".parse().unwrap(), moment(0));
        Trial { machine, service, seconds: 0, apart: false, counts: Counts::Started }
    }

    fn step(&mut self, event: Event) -> Vec<Effect> {
        let rules = Rules {
            restart: &self.service.restart,
            stop: &self.service.stop,
            hooks: !self.service.hooks.pre_start.is_empty(),
            version: "v",
            boot_id: "b",
            apart: self.apart,
            counts: self.counts,
        };
        self.machine.step(event, Now { moment: moment(self.seconds), jitter: 0.0 }, rules)
    }

    fn run(&mut self) {
        self.step(Event::Up { fresh: true });
        self.start();
    }

    fn start(&mut self) {
        self.step(Event::DependenciesMet);
        assert!(matches!(self.step(Event::Turn).last(), Some(Effect::Launch(_))));
        assert!(matches!(self.step(Event::Created { pid: 7 }).last(), Some(Effect::Start(_))));
        self.step(Event::Started);
        assert_eq!(self.machine.word(), "running");
    }

    fn exit(&mut self, code: u8) -> Vec<Effect> {
        let run = self.machine.run().unwrap().clone();
        let at = moment(self.seconds);
        self.step(Event::Ended(ExitRecord {
            version: VERSION,
            run,
            boot_id: "b".into(),
            end: End::Exited { code },
            pid: 7,
            started: at.boot,
            ended: at.boot,
            ended_wall: at.wall,
            memory: Box::default(),
            log_dropped: 0,
            victim: None,
        }))
    }
}

fn moment(seconds: u64) -> Moment {
    Moment { boot: Boot(Duration::from_secs(seconds)), wall: Timestamp::UNIX_EPOCH }
}

use crate::unit::service::Policy::{No, OnFailure, UnlessStopped};

#[test]
fn a_death_is_written_before_anything_follows_from_it() {
    let mut t = Trial::new(UnlessStopped);
    t.run();
    let effects = t.exit(3);
    assert!(matches!(&effects[0], Effect::Journal(r) if matches!(**r, Record::Ended { failures: 1, .. })));
    assert!(matches!(effects[1], Effect::Ack(_)));
    assert!(matches!(effects.last(), Some(Effect::Clean(_))));
    // The same word again is only acknowledged.
    assert!(matches!(t.exit(3)[..], [Effect::Ack(_)]));
    t.step(Event::Cleaned);
    assert_eq!(t.machine.deadline(), Some(Boot(Duration::from_secs(1))));
    assert!(t.step(Event::Due).is_empty(), "not yet due");
    t.seconds = 1;
    t.step(Event::Due);
    t.start();
    assert_eq!((t.machine.last_run, t.machine.restarts), (2, 1));
}

#[test]
fn the_next_run_is_made_before_the_last_one_is_taken_away() {
    let cleaned = |effects: &[Effect]| {
        effects.iter().filter_map(|e| if let Effect::Clean(r) = e { Some(r.run) } else { None }).next_back()
    };
    let mut t = Trial::new(UnlessStopped);
    (t.service.restart.delay, t.service.restart.max_delay, t.apart) = (Duration::ZERO, Duration::ZERO, true);
    t.run();
    let effects = t.exit(3);
    assert!(matches!(&effects[0], Effect::Journal(r) if matches!(**r, Record::Ended { failures: 1, .. })));
    assert!(matches!(effects[1], Effect::Ack(_)) && cleaned(&effects).is_none(), "{effects:?}");
    t.step(Event::DependenciesMet);
    t.step(Event::Turn);
    assert_eq!(cleaned(&t.step(Event::Created { pid: 8 })), None);
    assert_eq!(cleaned(&t.step(Event::Started)), Some(1));
    // The second death comes before the first is taken away: then no third run is made meanwhile.
    assert_eq!(cleaned(&t.exit(3)), Some(2));
    assert_eq!(t.machine.word(), "backoff");
    // A failed clean-up is repeated and keeps nothing else up.
    assert!(matches!(&t.step(Event::Behind(Err("busy".into())))[..], [Effect::Tell("clean-failed", _)]));
    t.step(Event::Cleaned);
    t.start();
    assert_eq!(t.machine.deadline(), Some(Boot(Duration::from_secs(5))));
    t.seconds = 5;
    assert_eq!(cleaned(&t.step(Event::Due)), Some(1));
    t.step(Event::Behind(Ok(())));
    assert_eq!((t.machine.deadline(), &t.machine.behind), (None, &None));
}

#[test]
fn nothing_is_down_while_the_run_before_is_there() {
    let mut t = Trial::new(UnlessStopped);
    (t.service.restart.delay, t.service.restart.max_delay, t.apart) = (Duration::ZERO, Duration::ZERO, true);
    t.run();
    t.exit(3);
    assert_eq!(t.machine.word(), "waiting");
    let effects = t.step(Event::Down { why: "stopped by hand".into() });
    assert!(matches!(effects.last(), Some(Effect::Clean(run)) if run.run == 1), "{effects:?}");
    assert_eq!(t.machine.word(), "stopping");
    t.step(Event::Cleaned);
    assert_eq!(t.machine.state, State::Down);
    // Where the next run has to wait it is not kept for long.
    t.run();
    t.exit(3);
    assert_eq!(t.machine.deadline(), Some(moment(0).boot.after(BEHIND_MAX)));
    t.seconds = 1;
    assert!(matches!(t.step(Event::Due)[..], [Effect::Clean(_)]));
    assert_eq!((t.machine.word(), t.machine.deadline()), ("waiting", None));
}

#[test]
fn who_is_stopped_may_ask_for_longer_within_a_bound() {
    let mut t = Trial::new(UnlessStopped);
    t.service.stop.grace = Duration::from_secs(10);
    t.run();
    t.step(Event::Extend { until: moment(50).boot });
    assert_eq!(t.machine.deadline(), None);
    t.seconds = 100;
    t.step(Event::Down { why: "stopped by hand".into() });
    // Never shorter than the grace, and what was asked for once is not taken back.
    for (until, kill_at, told) in [(105, 110, 0), (130, 130, 1), (120, 130, 0), (90_000, 3700, 0)] {
        let effects = t.step(Event::Extend { until: moment(until).boot });
        assert_eq!(t.machine.deadline(), Some(moment(kill_at).boot), "{until}");
        let said = effects.iter().filter(|e| matches!(e, Effect::Tell("stop-extended", _))).count();
        assert_eq!(said, told, "{until}: {effects:?}");
    }
    t.seconds = 3700;
    assert!(matches!(t.step(Event::Due).last(), Some(Effect::Kill(_))));
    let after = t.machine.deadline();
    t.step(Event::Extend { until: moment(7000).boot });
    assert_eq!(t.machine.deadline(), after, "it was killed");
}

fn unwell(stays_down: bool) -> Event {
    Event::Unwell { why: "liveness probe failed".into(), grace: Some(Duration::from_secs(3)), stays_down }
}

#[test]
fn who_is_not_well_is_stopped_and_that_is_a_failure() {
    let mut t = Trial::new(UnlessStopped);
    t.run();
    let effects = t.step(unwell(false));
    assert!(
        matches!(&effects[0], Effect::Journal(r) if matches!(&**r, Record::Stopping { unwell: Some(_), .. }))
    );
    assert!(effects.iter().any(|e| matches!(e, Effect::Stop(_, s) if s.name == "TERM")));
    assert_eq!((t.machine.word(), t.machine.deadline()), ("stopping", Some(moment(3).boot)));
    let effects = t.exit(0);
    assert!(
        matches!(&effects[0], Effect::Journal(r) if matches!(&**r, Record::Ended { failures: 1, text, .. }
            if text == "unhealthy (liveness probe failed), exited 0"))
    );
    t.step(Event::Cleaned);
    assert_eq!(t.machine.word(), "backoff");
    // Once more, and it is to stay down.
    t.seconds = 1;
    t.step(Event::Due);
    t.start();
    t.step(unwell(true));
    t.exit(143);
    t.step(Event::Cleaned);
    assert_eq!(t.machine.word(), "failed");
}

#[test]
fn a_wish_while_it_is_given_up_counts_more() {
    for wish in [Event::Down { why: "w".into() }, Event::Again { why: "w".into() }, Event::Up { fresh: true }]
    {
        let mut t = Trial::new(UnlessStopped);
        t.run();
        t.step(unwell(true));
        t.step(wish.clone());
        let effects = t.exit(143);
        assert!(
            matches!(&effects[0], Effect::Journal(r) if matches!(&**r, Record::Ended { failures: 0, finished: None, .. })),
            "{wish:?}: {effects:?}"
        );
    }
    // One that only waits for its turn to be stopped is left alone.
    let mut t = Trial::new(UnlessStopped);
    t.run();
    t.step(Event::Unwanted { why: "w".into() });
    assert!(t.step(unwell(false)).is_empty());
}

#[test]
fn a_long_run_that_was_never_ready_is_no_healthy_one() {
    for (counts, pause) in
        [(Counts::Started, 0), (Counts::Ready(None), 2), (Counts::Ready(Some(moment(10).boot)), 0)]
    {
        let mut t = Trial::new(UnlessStopped);
        t.counts = counts;
        t.machine.failures = 1;
        t.run();
        t.machine.failures = 1;
        t.seconds = 130;
        t.exit(1);
        let State::Cleaning { next: Next::Pause { until, .. }, .. } = t.machine.state else { panic!() };
        assert_eq!(until.since(moment(130).boot), Duration::from_secs(pause), "{counts:?}");
    }
}

#[test]
fn an_eviction_is_nobodys_failure_and_does_not_count() {
    for policy in [UnlessStopped, No, OnFailure(Some(1))] {
        let mut t = Trial::new(policy);
        t.machine.failures = 1;
        t.run();
        t.machine.failures = 1;
        let effects = t.step(Event::Evicted { why: "evicted: memory".into(), grace: Duration::from_secs(2) });
        assert!(effects.iter().any(|e| matches!(e, Effect::Stop(_, s) if s.name == "TERM")));
        assert_eq!(t.machine.deadline(), Some(moment(2).boot));
        let effects = t.exit(143);
        assert!(
            matches!(&effects[0], Effect::Journal(r) if matches!(&**r, Record::Ended { failures: 1, finished: None, text, .. }
                if text.starts_with("evicted: memory, exited"))),
            "{effects:?}"
        );
        t.step(Event::Cleaned);
        // It waits for what [`crate::memory::ladder`] says.
        assert_eq!(t.machine.word(), "waiting");
        assert!(t.machine.recent.is_empty());
    }
}

#[test]
fn an_intent_is_written_before_the_launch() {
    let mut t = Trial::new(UnlessStopped);
    t.step(Event::Up { fresh: true });
    t.step(Event::DependenciesMet);
    let effects = t.step(Event::Turn);
    assert!(matches!(&effects[0], Effect::Journal(r) if matches!(**r, Record::Intent { .. })));
    assert!(matches!(effects.last(), Some(Effect::Launch(_))));
}

#[test]
fn a_stop_cuts_pre_start_hooks_short_and_then_kills_them() {
    let mut t = Trial::new(UnlessStopped);
    t.service.hooks.pre_start =
        vec![crate::unit::service::Hook { command: vec!["/h".into()], timeout: Duration::from_secs(60) }];
    t.step(Event::Up { fresh: true });
    t.step(Event::DependenciesMet);
    t.step(Event::Turn);
    let mut prepared = t.machine.clone();
    let effects = t.step(Event::Down { why: "stopped by hand".into() });
    assert!(matches!(effects.last(), Some(Effect::Cut(_))), "{effects:?}");
    assert_eq!(t.machine.deadline(), Some(Boot(Duration::from_secs(10))));
    t.seconds = 10;
    assert!(matches!(t.step(Event::Due).last(), Some(Effect::Kill(_))));
    // Once they are done there is nothing to be gentle with.
    std::mem::swap(&mut t.machine, &mut prepared);
    t.step(Event::Prepared);
    let effects = t.step(Event::Down { why: "stopped by hand".into() });
    assert!(matches!(effects.last(), Some(Effect::Kill(_))), "{effects:?}");
}

#[test]
fn a_stop_is_a_signal_then_kills_then_stuck() {
    let mut t = Trial::new(UnlessStopped);
    t.run();
    let effects = t.step(Event::Down { why: "stopped by hand".into() });
    assert!(effects.iter().any(|e| matches!(e, Effect::Stop(_, s) if s.name == "TERM")));
    assert_eq!(t.machine.deadline(), Some(Boot(Duration::from_secs(10))));
    for _ in 0..6 {
        t.seconds = t.machine.deadline().unwrap().0.as_secs();
        assert!(t.step(Event::Due).iter().any(|e| matches!(e, Effect::Kill(_))));
    }
    assert_eq!(t.machine.word(), "stuck");
    let effects = t.exit(0);
    assert!(
        matches!(&effects[0], Effect::Journal(r) if matches!(**r, Record::Ended { failures: 0, finished: None, .. }))
    );
    t.step(Event::Cleaned);
    assert_eq!(t.machine.state, State::Down);
}

#[test]
fn a_stop_while_it_is_made_kills_it_and_a_late_word_does_not_start_it() {
    let mut t = Trial::new(UnlessStopped);
    t.step(Event::Up { fresh: true });
    t.step(Event::DependenciesMet);
    t.step(Event::Turn);
    let effects = t.step(Event::Down { why: "stopped by hand".into() });
    assert!(effects.iter().any(|e| matches!(e, Effect::Kill(_))));
    let effects = t.step(Event::Created { pid: 9 });
    assert!(matches!(effects[..], [Effect::Kill(_)]), "{effects:?}");
    assert!(t.step(Event::Started).is_empty());
    assert_eq!(t.machine.word(), "stopping");
}

#[test]
fn what_is_not_wanted_runs_until_its_turn_and_is_not_started_again() {
    let mut t = Trial::new(UnlessStopped);
    t.run();
    let unwanted = || Event::Unwanted { why: "stopped by hand".into() };
    assert!(matches!(&t.step(unwanted())[..], [Effect::Tell("wanted-down", _)]));
    assert_eq!(t.machine.word(), "running");
    // It ends by itself: that is no failure, and nothing follows.
    let effects = t.exit(1);
    assert!(
        matches!(&effects[0], Effect::Journal(r) if matches!(**r, Record::Ended { failures: 0, finished: None, .. }))
    );
    t.step(Event::Cleaned);
    assert_eq!(t.machine.state, State::Down);
    // Where there is nothing to stop, nobody has to wait.
    t.run();
    t.exit(1);
    t.step(Event::Cleaned);
    assert_eq!(t.machine.word(), "backoff");
    t.step(unwanted());
    assert_eq!(t.machine.state, State::Down);
}

#[test]
fn again_replaces_what_runs() {
    let mut t = Trial::new(No);
    t.run();
    t.step(Event::Again { why: "changed".into() });
    t.exit(143);
    t.step(Event::Cleaned);
    t.start();
    assert_eq!((t.machine.last_run, t.machine.restarts), (2, 0));
}

#[test]
fn what_is_done_stays_done_until_somebody_starts_it() {
    let mut t = Trial::new(OnFailure(None));
    t.run();
    t.exit(0);
    t.step(Event::Cleaned);
    assert_eq!(t.machine.word(), "exited");
    t.step(Event::Up { fresh: false });
    assert_eq!(t.machine.word(), "exited");
    t.step(Event::Up { fresh: true });
    t.start();
}

#[test]
fn waiting_too_long_is_a_failed_start_and_tried_again() {
    let mut t = Trial::new(UnlessStopped);
    t.step(Event::Up { fresh: true });
    t.step(Event::DependenciesUnmet { on: "db: started".into(), deadline: Some(moment(5).boot) });
    t.seconds = 5;
    let effects = t.step(Event::Due);
    assert!(matches!(&effects[0], Effect::Tell("start-failed", text) if text.contains("db: started")));
    assert_eq!(t.machine.word(), "backoff");
}

#[test]
fn no_event_is_too_much_for_any_state() {
    let events = || {
        vec![
            Event::Up { fresh: true },
            Event::DependenciesMet,
            Event::Turn,
            Event::Created { pid: 3 },
            Event::Started,
            Event::Cleaned,
            Event::CleanFailed("busy".into()),
            Event::Behind(Ok(())),
            Event::Behind(Err("busy".into())),
            Event::Unwanted { why: "unwanted".into() },
            Event::Down { why: "down".into() },
            Event::Again { why: "again".into() },
            unwell(false),
            unwell(true),
            Event::Overdue { why: "late".into() },
            Event::Evicted { why: "evicted".into(), grace: Duration::from_secs(1) },
            Event::Lost(Ending::MonitorLost),
            Event::NeverRan { code: "c".into(), text: "t".into(), exit: None },
            Event::Due,
            Event::DependenciesUnmet { on: "db".into(), deadline: None },
        ]
    };
    // A walk over all of them in many orders; the invariants hold after each step.
    let mut seed = 1u64;
    let mut t = Trial::new(UnlessStopped);
    (t.service.restart.delay, t.service.restart.max_delay) = (Duration::ZERO, Duration::ZERO);
    let (mut last, mut beside) = (0, 0);
    for _ in 0..40_000 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        t.seconds += seed >> 60;
        t.apart = seed >> 58 & 1 == 0;
        let mut all = events();
        let n = usize::try_from(seed >> 33).unwrap() % (all.len() + 1);
        let ends = n == all.len() && t.machine.run().is_some();
        let effects = if ends { t.exit(1) } else { t.step(all.swap_remove(n % all.len())) };
        beside += u32::from(t.machine.behind.is_some() && t.machine.run().is_some());
        let over = matches!(t.machine.state, State::Down | State::Done { .. });
        assert!(!over || t.machine.behind.is_none(), "over, and yet {:?}", t.machine.behind);
        let launches = effects.iter().filter(|e| matches!(e, Effect::Launch(_))).count();
        assert!(launches <= 1 && t.machine.last_run >= last, "a run is never used twice");
        assert_eq!(launches, usize::try_from(t.machine.last_run - last).unwrap());
        last = t.machine.last_run;
        if !t.machine.up {
            let comes = matches!(
                t.machine.state,
                State::Waiting { .. } | State::Queued | State::Backoff { .. } | State::Done { .. }
            );
            assert!(!comes && launches == 0, "not wanted, and yet {:?}", t.machine.state);
        }
    }
    assert!(last > 100 && beside > 10, "the walk starts things: {last}, {beside} beside another");
}
