//! The life of probes: single roads, and what holds on all of them.

use proptest::prelude::*;

use super::*;

fn probe(period: u64, failures: u32) -> Probe {
    Probe {
        kind: Kind::Tcp { host: "localhost".into(), port: 1 },
        initial_delay: Duration::ZERO,
        period: Duration::from_secs(period),
        timeout: Duration::from_secs(1),
        success_threshold: 1,
        failure_threshold: failures,
        grace: None,
    }
}

fn probes() -> Probes {
    Probes {
        startup: Some(probe(2, 3)),
        liveness: Some(probe(10, 2)),
        readiness: Some(Probe { success_threshold: 2, ..probe(5, 2) }),
        on_unhealthy: OnUnhealthy::Restart,
    }
}

fn at(seconds: u64) -> Boot {
    Boot(Duration::from_secs(seconds))
}

fn outcome(verdict: Verdict) -> Outcome {
    Outcome { verdict, text: format!("{verdict:?}"), output: vec![], took: Duration::ZERO }
}

fn answer(health: &mut Health, role: Role, seconds: u64, verdict: Verdict) -> Vec<Decision> {
    let asked = health.questions(at(seconds));
    assert!(asked.iter().any(|q| q.role == role), "{role:?} at {seconds}: {asked:?}");
    answered(health, role, seconds, verdict, None)
}

fn answered(h: &mut Health, role: Role, seconds: u64, verdict: Verdict, why: Option<&str>) -> Vec<Decision> {
    let now = Moment { boot: at(seconds), wall: Timestamp::UNIX_EPOCH };
    h.answered(role, outcome(verdict), now, || why.map(str::to_owned))
}

fn kinds(decisions: &[Decision]) -> Vec<&str> {
    let kind = |d: &Decision| match d {
        Decision::Tell(kind, _) => *kind,
        Decision::GiveUp { .. } => "give-up",
    };
    decisions.iter().map(kind).collect()
}

use Role::{Liveness, Readiness, Startup};
use Verdict::{Error, Fail, Pass, TimedOut};

#[test]
fn startup_holds_the_others_back_and_then_they_begin() {
    let mut h = Health::of_new_run(&probes(), at(0));
    assert_eq!((h.due(), h.is_well(), h.is_ready()), (Some(at(0)), false, false));
    assert!(answer(&mut h, Startup, 0, Fail).is_empty());
    assert_eq!(h.due(), Some(at(2)));
    assert_eq!(h.unready_because().unwrap(), "startup probe failed once: Fail");
    assert_eq!(kinds(&answer(&mut h, Startup, 3, Pass)), ["startup-passed"]);
    assert_eq!((h.due(), h.is_well(), h.is_ready()), (Some(at(3)), true, false));
    let both: Vec<_> = h.questions(at(3)).into_iter().map(|q| q.role).collect();
    assert_eq!(both, [Liveness, Readiness]);
    assert!(h.questions(at(99)).is_empty(), "nobody is asked twice at once");
    answered(&mut h, Liveness, 4, Pass, None);
    assert!(answered(&mut h, Readiness, 4, Pass, None).is_empty());
    assert_eq!(kinds(&answer(&mut h, Readiness, 9, Pass)), ["ready"]);
    assert_eq!(h.known().ready_since, Some(at(9)));
    // One failure is none yet.
    assert!(answer(&mut h, Readiness, 14, Fail).is_empty() && h.is_ready());
    let out = answered_after(&mut h, Readiness, 19, Fail);
    assert_eq!(out, [Decision::Tell("unready", "readiness probe failed 2 times in a row: Fail".into())]);
    assert!(h.is_well() && h.known().ready_since == Some(at(9)));
}

fn answered_after(h: &mut Health, role: Role, seconds: u64, verdict: Verdict) -> Vec<Decision> {
    h.questions(at(seconds));
    answered(h, role, seconds, verdict, None)
}

#[test]
fn a_startup_that_never_passes_is_given_up() {
    let mut h = Health::of_new_run(&probes(), at(0));
    answer(&mut h, Startup, 0, Fail);
    answer(&mut h, Startup, 2, TimedOut);
    assert_eq!(kinds(&answer(&mut h, Startup, 4, Fail)), ["unhealthy", "give-up"]);
    assert_eq!(h.due(), None);
}

#[test]
fn liveness_passes_at_first_and_gives_up_once() {
    let mut h = Health::of_new_run(&Probes { startup: None, readiness: None, ..probes() }, at(0));
    assert!(h.is_ready() && h.known().ready_since == Some(at(0)));
    assert!(answer(&mut h, Liveness, 0, Fail).is_empty());
    assert!(answer(&mut h, Liveness, 10, Pass).is_empty());
    assert!(answer(&mut h, Liveness, 20, Fail).is_empty());
    let out = answer(&mut h, Liveness, 30, TimedOut);
    let why = "liveness probe failed 2 times in a row: TimedOut";
    let up = Decision::GiveUp { why: why.into(), grace: None, stays_down: false };
    assert_eq!(out, [Decision::Tell("unhealthy", why.into()), up]);
    assert_eq!((h.due(), h.is_ready()), (None, false));
    assert_eq!(h.tracks()[0].first_failing.as_ref().unwrap().outcome.verdict, Fail);
}

#[test]
fn without_consequences_it_is_looked_at_again() {
    let none = Probes { startup: None, readiness: None, on_unhealthy: OnUnhealthy::None, ..probes() };
    let mut h = Health::of_new_run(&none, at(0));
    answer(&mut h, Liveness, 0, Fail);
    assert_eq!(kinds(&answer(&mut h, Liveness, 10, Fail)), ["unhealthy"]);
    assert!(answer(&mut h, Liveness, 20, Fail).is_empty() && !h.is_ready());
    assert_eq!(kinds(&answer(&mut h, Liveness, 30, Pass)), ["healthy"]);
    assert!(h.is_ready());
}

#[test]
fn a_look_that_could_not_be_made_counts_neither_way_and_is_told_once() {
    let mut h = Health::of_new_run(&Probes { startup: None, readiness: None, ..probes() }, at(0));
    assert!(answer(&mut h, Liveness, 0, Error).is_empty(), "once may be an end that is not known yet");
    assert_eq!(kinds(&answer(&mut h, Liveness, 10, Error)), ["probe-error"]);
    assert!(answer(&mut h, Liveness, 20, Error).is_empty());
    assert!(answer(&mut h, Liveness, 30, Fail).is_empty());
    assert!(answer(&mut h, Liveness, 40, Error).is_empty());
    assert_eq!(kinds(&answer(&mut h, Liveness, 50, Fail)), ["unhealthy", "give-up"]);
}

#[test]
fn a_timeout_under_pressure_is_kept_and_does_not_count_for_a_minute() {
    let mut h = Health::of_new_run(&Probes { startup: None, ..probes() }, at(0));
    let mut timeout = |seconds, role| {
        h.questions(at(seconds));
        answered(&mut h, role, seconds, TimedOut, Some("memory stalls 50 %"))
    };
    // It is said once.
    assert_eq!(kinds(&timeout(0, Liveness)), ["probe-excused"]);
    for seconds in (10..60).step_by(10) {
        assert!(timeout(seconds, Liveness).is_empty(), "{seconds}");
    }
    assert!(timeout(60, Liveness).is_empty());
    assert_eq!(kinds(&timeout(70, Liveness)), ["unhealthy", "give-up"]);
    let excused = h.tracks()[0].looks.iter().filter(|l| l.excused.is_some()).count();
    assert_eq!((h.tracks()[0].looks.len(), excused), (LOOKS_KEPT, 3));
}

#[test]
fn what_was_known_outlives_the_daemon_and_the_first_looks_are_spread() {
    let known = Known {
        started: true,
        unwell: false,
        passes: true,
        ready_since: Some(at(5)),
        ready_now: Some(at(50)),
    };
    let mut chances = [0.5, 1.0].into_iter();
    let h = Health::of_old_run(&probes(), known, at(100), at(100), || chances.next().unwrap());
    assert!(h.is_ready() && h.known() == known);
    assert_eq!(h.due(), Some(at(105)));
    assert_eq!(h.track(Liveness).unwrap().next, Some(at(105)));
    let unwell = Known { started: true, unwell: true, ..Known::default() };
    let mut h = Health::of_old_run(&Probes { readiness: None, ..probes() }, unwell, at(100), at(100), || 0.0);
    assert!(h.is_well(), "its stop was not written: it is looked at anew");
    answer(&mut h, Liveness, 100, Fail);
    assert_eq!(kinds(&answer(&mut h, Liveness, 110, Fail)), ["unhealthy", "give-up"]);
    let h = Health::of_old_run(&probes(), Known::default(), at(100), at(100), || 0.0);
    assert!(!h.is_well() && h.track(Liveness).unwrap().next.is_none());
}

#[test]
fn a_change_keeps_what_is_known_and_what_did_not_change() {
    let mut h = Health::of_new_run(&probes(), at(0));
    answer(&mut h, Startup, 0, Pass);
    h.questions(at(0));
    for seconds in [0, 5] {
        h.questions(at(seconds));
        answered(&mut h, Readiness, seconds, Pass, None);
    }
    let mut new = probes();
    new.readiness = Some(probe(7, 1));
    h.change(&new, at(6));
    assert!(h.is_ready() && h.track(Liveness).unwrap().under_way);
    assert_eq!(h.due(), Some(at(13)));
    h.change(&Probes { startup: new.startup.clone(), ..Probes::default() }, at(6));
    assert!(h.is_ready() && h.due().is_none(), "it has passed");
    // What is under way when its probe changes is waited for and does not count.
    let mut h = Health::of_new_run(&Probes { startup: None, readiness: None, ..probes() }, at(0));
    h.questions(at(0));
    h.change(&Probes { liveness: Some(probe(3, 1)), ..Probes::default() }, at(1));
    assert!(h.due().is_none() && answered(&mut h, Liveness, 2, Fail, None).is_empty());
    assert_eq!(h.due(), Some(at(5)));
    assert_eq!(kinds(&answer(&mut h, Liveness, 5, Fail)), ["unhealthy", "give-up"]);
    // A gate that goes away lets in what it held back.
    let mut h = Health::of_new_run(&probes(), at(0));
    h.change(&Probes { startup: None, ..probes() }, at(1));
    assert_eq!((h.is_well(), h.due()), (true, Some(at(6))));
    // A gate that comes late.
    let mut h = Health::of_new_run(&Probes::default(), at(0));
    h.change(&probes(), at(1));
    assert!(h.is_well() && !h.is_ready());
    assert_eq!(h.due(), Some(at(6)));
}

#[test]
fn who_is_stopped_is_not_asked_and_not_listened_to() {
    let mut h = Health::of_new_run(&probes(), at(0));
    h.questions(at(0));
    h.stop();
    assert!(answered(&mut h, Startup, 1, Pass, None).is_empty());
    assert_eq!((h.due(), h.is_well()), (None, false));
}

/// One step of a run: time passes, then an answer to one of the questions that are open.
fn steps() -> impl Strategy<Value = Vec<(u64, usize, Verdict, bool)>> {
    let verdict = prop_oneof![3 => Just(Pass), 3 => Just(Fail), 2 => Just(TimedOut), 1 => Just(Error)];
    proptest::collection::vec((0u64..8, 0usize..3, verdict, any::<bool>()), 1..200)
}

fn any_probe() -> impl Strategy<Value = Option<Probe>> {
    proptest::option::of((1u64..6, 1u32..4, 1u32..3).prop_map(|(period, failures, passes)| Probe {
        success_threshold: passes,
        ..probe(period, failures)
    }))
}

fn any_probes() -> impl Strategy<Value = Probes> {
    let action = prop_oneof![Just(OnUnhealthy::Restart), Just(OnUnhealthy::Stop), Just(OnUnhealthy::None)];
    (any_probe(), any_probe(), any_probe(), action).prop_map(
        |(startup, liveness, readiness, on_unhealthy)| {
            let once = |p: Option<Probe>| p.map(|p| Probe { success_threshold: 1, ..p });
            Probes { startup: once(startup), liveness: once(liveness), readiness, on_unhealthy }
        },
    )
}

proptest! {
    #[test]
    fn on_every_road(probes in any_probes(), steps in steps()) {
        let mut h = Health::of_new_run(&probes, at(0));
        let (mut now, mut open) = (0, Vec::<Role>::new());
        let mut last_answer = std::collections::BTreeMap::<Role, u64>::new();
        let mut given_up = false;
        for (pause, which, verdict, pressed) in steps {
            now += pause;
            for question in h.questions(at(now)) {
                prop_assert!(!given_up && !open.contains(&question.role));
                prop_assert_eq!(question.role == Startup, !h.known().started);
                if let Some(last) = last_answer.get(&question.role) {
                    prop_assert!(now >= last + probes.of(question.role).unwrap().period.as_secs());
                }
                open.push(question.role);
            }
            if open.is_empty() {
                prop_assert!(given_up || h.due().is_some() || (h.known().started && probes.liveness.is_none() && probes.readiness.is_none()));
                continue;
            }
            let role = open.remove(which % open.len());
            let before = (h.is_ready(), h.known());
            let out = answered(&mut h, role, now, verdict, pressed.then_some("pressed"));
            last_answer.insert(role, now);
            for decision in &out {
                if let Decision::GiveUp { stays_down, .. } = decision {
                    prop_assert!(!given_up && role != Readiness && !matches!(verdict, Pass | Error));
                    prop_assert_eq!(*stays_down, probes.on_unhealthy == OnUnhealthy::Stop);
                    given_up = true;
                }
            }
            if verdict == Error || (verdict == Fail && before.0 == h.is_ready() && before.1 == h.known()) {
                prop_assert!(out.iter().all(|d| matches!(d, Decision::Tell("probe-error", _))));
            }
            if h.is_ready() {
                prop_assert!(h.known().ready_since.is_some() && h.unready_because().is_none());
            } else {
                prop_assert!(h.unready_because().is_some());
            }
            prop_assert!(h.tracks().iter().all(|t| t.looks.len() <= LOOKS_KEPT));
            prop_assert!(!given_up || (h.due().is_none() && !h.is_ready()));
        }
    }
}

#[test]
fn what_is_told_is_looked_at_at_once_and_silence_after_a_whole_period() {
    let push = |period, failures| Probe { kind: Kind::Push, ..probe(period, failures) };
    let probes = Probes { startup: Some(push(2, 3)), liveness: Some(push(10, 1)), ..Probes::default() };
    let mut h = Health::of_new_run(&probes, at(0));
    answer(&mut h, Startup, 0, Fail);
    h.told(Liveness, at(1));
    assert_eq!(h.due(), Some(at(2)), "nobody looks at it before the start");
    assert_eq!(h.questions(at(2)).len(), 1);
    h.postpone(Startup, at(30));
    assert_eq!(h.due(), Some(at(30)));
    h.told(Startup, at(5));
    assert_eq!(kinds(&answer(&mut h, Startup, 5, Pass)), ["startup-passed"]);
    assert_eq!(h.due(), Some(at(15)), "the first sign of life has a period");
    h.told(Liveness, at(9));
    assert!(answer(&mut h, Liveness, 9, Pass).is_empty());
    assert_eq!(h.due(), Some(at(19)));
    let old = Health::of_old_run(&probes, h.known(), at(100), at(100), || 0.0);
    assert_eq!(old.due(), Some(at(110)), "the end of a daemon cuts nobody's period short");
    assert_eq!(kinds(&answer(&mut h, Liveness, 19, TimedOut)), ["unhealthy", "give-up"]);
    h.told(Liveness, at(20));
    assert_eq!(h.due(), None, "it has been given up");
}

#[test]
fn how_long_it_is_ready_is_known_over_daemons_and_gaps() {
    let liveness_only = Probes { startup: None, readiness: None, ..probes() };
    // Nothing was written of it: nothing has changed since it began.
    let h = Health::of_old_run(&liveness_only, Known::default(), at(7), at(100), || 0.0);
    assert_eq!(h.known().ready_now, Some(at(7)));
    let none = Probes { startup: None, liveness: None, readiness: Some(probe(5, 2)), ..probes() };
    let mut h = Health::of_new_run(&none, at(0));
    assert_eq!(h.known().ready_now, None);
    answer(&mut h, Readiness, 1, Pass);
    assert_eq!(h.known().ready_now, Some(at(1)));
    let h = Health::of_old_run(&none, h.known(), at(60), at(60), || 0.0);
    assert_eq!(h.known().ready_now, Some(at(1)), "the time before is lost");
    // A gap begins it anew; when it was ready first stays.
    let mut h = h;
    (70..73).for_each(|t| drop(answer(&mut h, Readiness, t * 10, Fail)));
    assert_eq!((h.is_ready(), h.known().ready_now), (false, None));
    answer(&mut h, Readiness, 800, Pass);
    assert_eq!((h.known().ready_now, h.known().ready_since), (Some(at(800)), Some(at(1))));
}
