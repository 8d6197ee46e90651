//! The rules that hold for every host: who is protected stays, nobody comes back too early, nothing goes to and fro.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::sim::{Chance, Made, Part, Sim, view};
use super::*;
use crate::unit::pressure::Rung;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

fn at(seconds: u64) -> Boot {
    Boot(Duration::from_secs(seconds))
}

fn service(name: &str, mib: u64, request: u64, priority: u16, rungs: &[Rung]) -> View {
    let pressure = Pressure {
        priority: Priority::Level(priority),
        rungs: Some(Rungs::of(rungs)),
        ..Pressure::default()
    };
    view(name, mib * MIB, request * MIB, &pressure).unwrap()
}

fn host(available: u64) -> Host {
    Host { total: 4 * GIB, available: available * MIB, ..Host::default() }
}

const EVICT: &[Rung] = &[Rung::Evict];

fn evicted(actions: &[Action]) -> Option<String> {
    actions.iter().find_map(|a| if let Action::Evict(i, ..) = a { Some(i.to_string()) } else { None })
}

#[test]
fn the_lowest_priority_pays_then_the_greatest_excess_then_growth() {
    let mut views = vec![
        service("big.1", 2000, 1900, 500, EVICT),
        service("low.1", 60, 40, 100, EVICT),
        service("over.1", 300, 100, 500, EVICT),
        service("slow.1", 200, 0, 600, EVICT),
        service("fast.1", 100, 0, 600, EVICT),
        service("within.1", 100, 200, 0, EVICT),
    ];
    views.push(
        view("vip.1", GIB, 0, &Pressure { priority: Priority::Protected, ..Pressure::default() }).unwrap(),
    );
    let mut ladder = Ladder::new(Thresholds::default());
    ladder.step(at(0), &host(3000), &views);
    views[4].current += 40 * MIB;
    let mut order = Vec::new();
    for second in 1..400 {
        let actions = ladder.step(at(second), &host(150), &views);
        if let Some(name) = evicted(&actions) {
            views.retain(|v| v.instance.to_string() != name);
            order.push((second, name));
        }
    }
    let names: Vec<_> = order.iter().map(|(_, n)| n.as_str()).collect();
    assert_eq!(names, ["low.1", "over.1", "big.1", "fast.1", "slow.1"]);
    // 15 s from the end of one to the next.
    assert!(order.windows(2).all(|w| w[1].0 - w[0].0 >= 15), "{order:?}");
}

#[test]
fn what_is_frozen_gets_time_to_help_and_is_thawed_in_time() {
    let views = [service("a.1", 900, 0, 100, &[Rung::Freeze]), service("b.1", 900, 0, 200, EVICT)];
    let mut ladder = Ladder::new(Thresholds::default());
    let first = ladder.step(at(0), &host(150), &views);
    assert!(matches!(first[..], [Action::Level(Level::Act, _), Action::Freeze(..)]), "{first:?}");
    for second in 1..5 {
        assert_eq!(ladder.step(at(second), &host(150), &views), []);
    }
    assert_eq!(evicted(&ladder.step(at(5), &host(150), &views)).as_deref(), Some("b.1"));
    for second in 6..30 {
        assert_eq!(ladder.step(at(second), &host(150), &views[..1]), [], "{second}");
    }
    let thawed = ladder.step(at(30), &host(150), &views[..1]);
    assert!(matches!(thawed[..], [Action::Thaw(..)]), "{thawed:?}");
    // Not at once again.
    assert_eq!(ladder.step(at(31), &host(150), &views[..1]), []);
    // Where next to nothing is left nobody waits for milder rungs.
    let mut ladder = Ladder::new(Thresholds::default());
    assert_eq!(evicted(&ladder.step(at(0), &host(90), &views)).as_deref(), Some("b.1"));
}

#[test]
fn nobody_pays_while_it_is_better_already() {
    let views =
        [service("a.1", 900, 0, 100, EVICT), service("b.1", 900, 0, 200, &[Rung::Evict, Rung::Freeze])];
    let limits = Thresholds { pause: Duration::from_secs(1), ..Thresholds::default() };
    let mut ladder = Ladder::new(limits);
    assert!(evicted(&ladder.step(at(0), &host(90), &views)).is_some());
    // The level holds for 30 s; what was done has helped.
    for second in 1..29 {
        assert_eq!(ladder.step(at(second), &host(1000), &views[1..]), [], "{second}");
        assert_eq!(ladder.level(), Level::Act);
    }
    let worse = ladder.step(at(29), &host(90), &views[1..]);
    assert_eq!(evicted(&worse).as_deref(), Some("b.1"));
}

#[test]
fn stalls_of_who_is_throttled_do_not_keep_it_so() {
    let grown = |mib| [service("a.1", mib, 0, 100, &[Rung::Throttle])];
    let mut ladder = Ladder::new(Thresholds::default());
    ladder.step(at(0), &host(500), &grown(100));
    let actions = ladder.step(at(1), &host(300), &grown(300));
    assert!(actions.iter().any(|a| matches!(a, Action::Throttle(..))), "{actions:?}");
    let stalls = Host { some: Some(90.0), full: Some(90.0), ..host(3000) };
    let ended: Vec<_> = (2..120).flat_map(|n| ladder.step(at(n), &stalls, &grown(300))).collect();
    assert!(matches!(ended[..2], [Action::Level(Level::Calm, _), Action::Unthrottle(_)]), "{ended:?}");
    // Stalls that go on when nobody is throttled any more are somebody else's.
    assert!(ended[2..].iter().any(|a| matches!(a, Action::Level(Level::Act, _))), "{ended:?}");
}

#[test]
fn whom_the_kernel_killed_waits_like_a_victim() {
    let mut ladder = Ladder::new(Thresholds::default());
    let v = service("a.1", 3500, 0, 100, &[]);
    let told = ladder.ran_out(at(0), &v, "why".into());
    assert_eq!(told, Some(Action::Level(Level::Act, "why".into())));
    assert_eq!(ladder.ran_out(at(0), &service("b.1", 9, 0, 900, &[]), String::new()), None, "no news");
    assert!(ladder.holds_back(&v.instance, Priority::Level(100)).is_some());
    let mut returns = Vec::new();
    for second in 1..200 {
        for action in ladder.step(at(second), &host(3000), &[]) {
            if let Action::Return(i, _) = action {
                returns.push((second, i.to_string()));
            }
        }
    }
    // Better from the first look on; one that would take it all is tried later.
    assert_eq!(returns, [(31, "b.1".to_owned()), (61, "a.1".to_owned())]);
    // The second time it waits longer.
    ladder.ran_out(at(200), &v, String::new());
    let back =
        (201..400).find(|n| !ladder.step(at(*n), &host(3000), &[]).iter().all(|a| a.instance().is_none()));
    assert_eq!(back, Some(320));
    // What is protected is not kept down.
    let vip = view("v.1", 9, 0, &Pressure { priority: Priority::Protected, ..Pressure::default() }).unwrap();
    ladder.ran_out(at(400), &vip, String::new());
    assert_eq!(ladder.holds_back(&vip.instance, Priority::Protected), None);
}

#[test]
fn stalls_count_when_they_last_and_swap_only_beside_little_memory() {
    let calm = Host { some: Some(9.0), full: Some(61.0), ..host(3000) };
    let mut ladder = Ladder::new(Thresholds::default());
    for second in 0..30 {
        ladder.step(at(second), &calm, &[]);
        assert_eq!(ladder.level(), Level::Calm);
    }
    ladder.step(at(30), &calm, &[]);
    assert_eq!(ladder.level(), Level::Act);
    let swap = |available| Host { swap_total: GIB, swap_free: 50 * MIB, ..host(available) };
    for (available, want) in [(3000, Level::Calm), (405, Level::Act)] {
        let mut ladder = Ladder::new(Thresholds::default());
        ladder.step(at(0), &swap(available), &[]);
        assert_eq!(ladder.level(), want, "{available}");
    }
    assert_eq!(ladder.next(at(30)), Some(at(31)));
    assert_eq!(Ladder::default().next(at(0)), None, "nothing wakes up while there is enough");
}

#[test]
fn a_service_that_stalls_is_told_once_in_a_while() {
    let v = service("a.1", 10, 0, 5, &[Rung::Warn]);
    let mut ladder = Ladder::new(Thresholds::default());
    assert!(ladder.stalls(at(0), &v).is_some() && ladder.stalls(at(29), &v).is_none());
    assert!(ladder.stalls(at(30), &v).is_some());
    assert!(ladder.stalls(at(99), &service("b.1", 10, 0, 5, EVICT)).is_none());
}

fn past(used: u64, killed: bool) -> Victim {
    Victim { priority: Priority::Level(1), since: at(100), used: used * MIB, request: 0, killed }
}

#[test]
fn victims_of_an_earlier_daemon_wait_as_they_did() {
    let a: Instance = "a.1".parse().unwrap();
    let back = |victim: Victim, times, from: u64| {
        let mut ladder = Ladder::new(Thresholds::default());
        ladder.was_victim(a.clone(), victim, times, at(from));
        assert!(ladder.holds_back(&a, Priority::Level(1)).is_some());
        let returns =
            |n: &u64| ladder.step(at(*n), &host(3000), &[]).iter().any(|a| matches!(a, Action::Return(..)));
        (from..1000).find(returns)
    };
    // 30 s from its end, not from the new daemon's start.
    assert_eq!(back(past(0, false), 1, 110), Some(130));
    assert_eq!(back(past(0, false), 1, 300), Some(300));
    // One that does not fit waits for as long as it would have.
    assert_eq!(back(past(3500, false), 1, 110), Some(160));
    assert_eq!(back(past(3500, false), 2, 110), Some(220));
    assert_eq!(back(past(3500, true), 2, 300), Some(300));
}

#[test]
fn a_kill_by_the_kernel_has_memory_short_for_the_next_daemon_too() {
    let (a, b): (Instance, Instance) = ("a.1".parse().unwrap(), "b.1".parse().unwrap());
    for (from, killed, level) in
        [(110, true, Level::Act), (130, true, Level::Calm), (110, false, Level::Calm)]
    {
        let mut ladder = Ladder::new(Thresholds::default());
        ladder.was_victim(a.clone(), past(10, killed), 1, at(from));
        assert_eq!(ladder.level(), level, "{from} {killed}");
        assert_eq!(ladder.holds_back(&b, Priority::Level(9)).is_some(), level == Level::Act);
        let why = ladder.holds_back(&a, Priority::Level(1)).unwrap();
        assert_eq!(why.contains("the kernel killed it"), killed, "{why}");
    }
    // What this daemon has seen itself counts more.
    let mut ladder = Ladder::new(Thresholds::default());
    ladder.ran_out(at(120), &service("a.1", 9, 0, 1, &[]), String::new());
    let before = ladder.clone();
    ladder.was_victim(a, past(0, false), 5, at(121));
    assert_eq!(ladder, before);
}

#[test]
fn a_failed_action_is_tried_again() {
    let views = [service("a.1", 900, 0, 100, EVICT)];
    let mut ladder = Ladder::new(Thresholds::default());
    let actions = ladder.step(at(0), &host(100), &views);
    ladder.failed(actions.last().unwrap());
    assert_eq!(ladder.holds_back(&views[0].instance, Priority::Protected), None);
    assert!(evicted(&ladder.step(at(1), &host(100), &views)).is_some());
}

/// What is seen of one instance in the course of a trace.
#[derive(Default)]
struct Past {
    evicted: Option<Boot>,
    thawed: Option<Boot>,
    unthrottled: Option<Boot>,
    returned: Option<Boot>,
}

/// Holds every rule against a host of any kind.
fn rules(made: &Made, wild: bool) -> Result<(u32, u32), TestCaseError> {
    let mut sim = Sim::make(made);
    let mut chance = Chance::new(!made.seed);
    let limits =
        Thresholds { available: None, pause: Duration::from_secs(15), hold: Duration::from_secs(30) };
    let mut ladder = Ladder::new(limits);
    let step = Duration::from_millis(made.step_ms.into());
    let protected: Vec<_> = sim
        .parts
        .iter()
        .filter(|p| p.view.terms.priority == Priority::Protected)
        .map(|p| p.view.instance.clone())
        .collect();
    let mut past: BTreeMap<Instance, Past> = BTreeMap::new();
    let (mut level, mut risen, mut act_ended) = (Level::Calm, at(0), None);
    let (mut evictions, mut returns) = (0, 0);
    let (mut last_eviction, mut last_return) = (None, None);
    let mut ended_after: Option<Boot> = None;
    for _ in 0..made.seconds * 1000 / made.step_ms {
        if wild {
            // The rest of the host comes and goes.
            let swing = made.total / 20;
            sim.others = (sim.others + chance.below(swing * 2)).saturating_sub(swing).min(made.total / 2);
            for part in sim.parts.iter_mut().take(20) {
                part.grows = part.grows * chance.below(3) + chance.below(1 + made.total / 1000);
                part.grows = part.grows.min(made.total / 50);
            }
        }
        let under_way = last_eviction.is_some() && ended_after.is_none();
        let actions = sim.look(&mut ladder, step);
        let now = sim.now;
        if under_way
            && sim
                .parts
                .iter()
                .all(|p| p.up || past.get(&p.view.instance).is_some_and(|x| x.evicted.is_some()))
        {
            let running = |i: &Instance| sim.parts.iter().any(|p| p.view.instance == *i && p.up);
            let (_, who): (Boot, Instance) = last_eviction.clone().unwrap();
            ended_after = (!running(&who)).then_some(now);
        }
        for action in &actions {
            if let Some(i) = action.instance() {
                let sheds = matches!(action, Action::Throttle(..) | Action::Freeze(..) | Action::Evict(..));
                prop_assert!(!sheds || !protected.contains(i), "{i} is protected: {action:?}");
            }
            let gap = |since: Option<Boot>| since.is_none_or(|t| now.since(t) >= limits.hold);
            match action {
                Action::Level(new, _) => {
                    if *new < level {
                        prop_assert!(gap(Some(risen)), "better after {:?}", now.since(risen));
                        if level == Level::Act {
                            act_ended = Some(now);
                        }
                    } else {
                        risen = now;
                    }
                    level = *new;
                }
                Action::Evict(i, ..) => {
                    evictions += 1;
                    prop_assert_eq!(level, Level::Act);
                    let pause = ended_after.is_none_or(|t| now.since(t) >= limits.pause);
                    prop_assert!(pause, "the next eviction after {:?}", ended_after);
                    (last_eviction, ended_after) = (Some((now, i.clone())), None);
                    past.entry(i.clone()).or_default().evicted = Some(now);
                }
                Action::Return(i, _) => {
                    returns += 1;
                    let p = past.entry(i.clone()).or_default();
                    prop_assert!(p.evicted.is_some() && gap(p.evicted), "{i} was not evicted, or just now");
                    prop_assert!(level != Level::Act && act_ended >= p.evicted, "{i} returns into the same");
                    prop_assert!(gap(last_return), "two return at once");
                    (p.evicted, p.returned, last_return) = (None, Some(now), Some(now));
                    let of = |i: &Instance| {
                        sim.parts.iter().find(|x| x.view.instance == *i).map(|x| x.view.terms.priority)
                    };
                    let mine = of(i);
                    let higher = past.iter().filter(|(_, x)| x.evicted.is_some()).any(|(o, _)| of(o) > mine);
                    prop_assert!(!higher, "{i} returns before one of a higher priority");
                }
                Action::Freeze(i, until) => {
                    prop_assert!(
                        gap(past.entry(i.clone()).or_default().thawed),
                        "{i} is frozen again at once"
                    );
                    prop_assert!(until.since(now) <= FREEZE_FOR);
                }
                Action::Thaw(i, _) => past.entry(i.clone()).or_default().thawed = Some(now),
                Action::Throttle(i, high) => {
                    prop_assert!(*high >= 4096 && high.is_multiple_of(4096));
                    prop_assert!(gap(past.entry(i.clone()).or_default().unthrottled));
                }
                Action::Unthrottle(i) => past.entry(i.clone()).or_default().unthrottled = Some(now),
                Action::Warn(_) | Action::Reclaim(..) => {}
            }
        }
        for (i, p) in &past {
            let starts = p.evicted.is_none() || ladder.holds_back(i, Priority::Protected).is_some();
            prop_assert!(starts, "{i} may start while it is evicted");
        }
    }
    Ok((evictions, returns))
}

fn made() -> impl Strategy<Value = Made> {
    (32u32..41, 10u32..120, 0u32..6, any::<u64>(), prop_oneof![Just(250u32), Just(1000), Just(3000)])
        .prop_map(|(power, services, hogs, seed, step_ms)| Made {
            total: 1u64 << power,
            services,
            hogs,
            seconds: 600,
            seed: seed >> 1,
            step_ms,
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_rules_hold_on_every_host(made in made()) {
        rules(&made, false)?;
    }

    #[test]
    fn the_rules_hold_where_the_rest_of_the_host_comes_and_goes(made in made()) {
        rules(&made, true)?;
    }
}

#[test]
fn hogs_are_evicted_and_come_back() {
    let made = Made { total: 16 * GIB, services: 40, hogs: 4, seconds: 1800, seed: 3, step_ms: 1000 };
    let (evictions, returns) = rules(&made, false).unwrap();
    assert!(evictions > 2 && returns > 0, "{evictions} evictions, {returns} returns: the rules saw nothing");
    // A hog that is evicted over and over is tried less and less often.
    assert!(evictions < 60, "{evictions} evictions within half an hour");
}

#[test]
fn a_part_of_a_made_host_does_what_it_is_told() {
    let v = service("a.1", 100, 0, 5, EVICT);
    let instance = v.instance.clone();
    let mut sim = Sim { total: GIB, others: 0, parts: vec![Part::new(v, 10 * MIB, GIB)], now: at(0) };
    sim.pass(Duration::from_secs(1));
    assert_eq!(sim.parts[0].view.current, 110 * MIB);
    sim.obey(&Action::Freeze(instance.clone(), at(9)));
    sim.pass(Duration::from_secs(1));
    assert_eq!(sim.parts[0].view.current, 110 * MIB);
    sim.obey(&Action::Evict(instance.clone(), Duration::from_secs(1), String::new()));
    sim.pass(Duration::from_secs(1));
    assert!(sim.views().is_empty());
    sim.obey(&Action::Return(instance, String::new()));
    assert_eq!(sim.views()[0].current, 100 * MIB);
}

#[test]
fn the_sample_traces_are_replayed() {
    let kinds = |text: &str| {
        let replayed = super::replay::replay(text).unwrap();
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        replayed.decisions.iter().for_each(|d| *counts.entry(d.action).or_default() += 1);
        (replayed, counts)
    };
    let (edge, counts) = kinds(include_str!("../../../../bundles/pressure/edge-4gib.jsonl"));
    for kind in ["level", "warn", "throttle", "freeze", "evict", "return"] {
        assert!(counts.contains_key(kind), "no {kind} in {counts:?}");
    }
    let first = |kind| edge.decisions.iter().find(|d| d.action == kind).unwrap();
    assert_eq!(first("evict").instance.as_deref(), Some("report.1"));
    let (evicted, returned) = (first("evict").at, first("return").at);
    assert!(returned - evicted >= 30.0, "back after {}", returned - evicted);
    assert!(edge.decisions.iter().all(|d| d.instance.as_deref() != Some("shop.1") || d.action == "warn"));
    let (_, small) = kinds(include_str!("../../../../bundles/pressure/small-16gib.jsonl"));
    let (large, counts) = kinds(include_str!("../../../../bundles/pressure/large-1tib.jsonl"));
    assert!(small["evict"] > 0 && counts["evict"] > 0 && large.looks == 120, "{small:?}, {counts:?}");
}

#[test]
fn a_bad_trace_is_refused_with_its_line() {
    let refused = |text: &str| super::replay::replay(text).unwrap_err();
    let look =
        r#"{"at": 1, "host": {"total": 100, "available": 50}, "services": [{"name": "a.1", "current": 5}]}"#;
    assert_eq!(super::replay::replay(look).map(|r| r.looks), Ok(1));
    for (text, want) in [
        ("\n{", "line 2: "),
        (r#"{"at": 1, "host": {"total": 1}}"#, "available"),
        (r#"{"at": 1}"#, "want thresholds"),
        (r#"{"at": -1, "host": {"total": 1, "available": 1}}"#, "line 1: at: "),
        (r#"{"unheard": 1}"#, "unheard"),
        (r#"{"made": {"total": 1, "services": 1, "hogs": 2, "seconds": 1}}"#, "hogs among the services"),
        (&look.replace("a.1", "a"), "line 1: "),
        (&look.replace("\"current\": 5", "\"priority\": 1001"), "0 to 1000"),
        (&look.replace("\"current\": 5", "\"rungs\": [\"kill\"]"), "no such rung"),
        (&format!("{look}\n{look}"), "line 2: at 1 is not after"),
        (&format!("{look}\n{{\"thresholds\": {{}}}}"), "come first"),
    ] {
        assert!(refused(text).contains(want), "{text}: {}", refused(text));
    }
}
