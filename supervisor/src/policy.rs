//! Restart decisions, each with its reason. Pure: what happened and the rules go in, a decision comes out.
#![forbid(unsafe_code)]

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::keeper::record::{End, ExitRecord};
use crate::unit::service::{Match, OnCrashLoop, Policy, Restart, RuleAction};

/// How a run ended, as far as the policy cares.
#[derive(Debug, Clone, PartialEq)]
pub enum Ending {
    /// The keeper saw it.
    Seen(ExitRecord),
    /// It never ran: a reason code and one line for people.
    NeverRan {
        /// `bundle-missing`, `runtime-error`, ...
        code: String,
        /// What was said.
        text: String,
    },
    /// It was stopped because it was not well.
    Unwell {
        /// Which probe failed how.
        unwell: Unwell,
        /// How it ended then.
        end: Box<Ending>,
    },
    /// Nobody saw it: its keeper was killed.
    MonitorLost,
    /// The host went down under it; what its keeper saw, where it still could.
    Reboot(Option<Box<ExitRecord>>),
    /// The daemon died while the run was being made, and nothing of it is there.
    Interrupted,
}

/// Why a run was given up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Unwell {
    /// Which probe failed how, one line for people.
    pub why: String,
    /// It stays down, whatever the policy says of failures.
    pub stays_down: bool,
    /// How long it ran, or was ready, until then: counts for `restart.reset`.
    pub ran: Duration,
    /// It is well and a job whose time is over.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub overdue: bool,
    /// It is well and was evicted: memory was short.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub evicted: bool,
}

impl Ending {
    /// Success is exit code 0.
    pub fn success(&self) -> bool {
        matches!(self, Ending::Seen(ExitRecord { end: End::Exited { code: 0 }, .. }))
    }

    /// Not the service's own doing.
    pub fn innocent(&self) -> bool {
        matches!(self, Ending::Reboot(_) | Ending::Interrupted) || self.evicted()
    }

    /// It was stopped because memory was short.
    pub fn evicted(&self) -> bool {
        matches!(self, Ending::Unwell { unwell: Unwell { evicted: true, .. }, .. })
    }

    /// One line for people: `exited 3`, `killed by SIGKILL: ...`.
    pub fn text(&self) -> String {
        match self {
            Ending::NeverRan { code, text } => format!("could not be started ({code}): {text}"),
            Ending::Unwell { unwell, end } if unwell.overdue || unwell.evicted => {
                format!("{}, {}", unwell.why, end.text())
            }
            Ending::Unwell { unwell, end } => format!("unhealthy ({}), {}", unwell.why, end.text()),
            Ending::MonitorLost => "its keeper is gone, nobody saw its end (monitor-lost)".into(),
            Ending::Reboot(None) => "the host went down under it".into(),
            Ending::Reboot(Some(record)) => format!("the host went down under it, {}", seen(record)),
            Ending::Interrupted => "the daemon ended while it was being made".into(),
            Ending::Seen(record) => seen(record),
        }
    }
}

fn seen(record: &ExitRecord) -> String {
    let oom = crate::memory::cause::text(record);
    match &record.end {
        End::Exited { code } => match oom {
            Some(oom) => format!("exited {code}; {oom}"),
            None => format!("exited {code}"),
        },
        End::Signaled { signal, core } => {
            let name = signal_name(*signal);
            let core = if *core { ", core dumped" } else { "" };
            match oom {
                Some(oom) => format!("exited {} (SIG{name}{core}): {oom}", 128 + signal),
                None => format!("exited {} (SIG{name}{core})", 128 + signal),
            }
        }
        End::CreateFailed { text, .. } => format!("could not be made: {text}"),
    }
}

/// Bytes in the largest binary unit that leaves at most one decimal.
pub fn size(bytes: u64) -> String {
    let units = [("GiB", 1u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let Some((unit, factor)) = units.into_iter().find(|(_, f)| bytes >= *f) else {
        return format!("{bytes} B");
    };
    if bytes.is_multiple_of(factor) {
        return format!("{} {unit}", bytes / factor);
    }
    let tenths = u128::from(bytes) * 10 / u128::from(factor);
    format!("{}.{} {unit}", tenths / 10, tenths % 10)
}

/// A duration as people say it: `250 ms`, `4 s`, `2 min 5 s`, `3 h 2 min`.
pub fn span(d: Duration) -> String {
    let s = d.as_secs();
    match s {
        0 if d.is_zero() => "0 s".into(),
        0 => format!("{} ms", d.as_millis().max(1)),
        1..60 if d.subsec_millis() >= 100 && s < 10 => format!("{}.{} s", s, d.subsec_millis() / 100),
        1..60 => format!("{s} s"),
        60..3600 if s.is_multiple_of(60) => format!("{} min", s / 60),
        60..3600 => format!("{} min {} s", s / 60, s % 60),
        3600..86_400 => format!("{} h {} min", s / 3600, s % 3600 / 60),
        _ => format!("{} d {} h", s / 86_400, s % 86_400 / 3600),
    }
}

/// The name of a signal without `SIG`, signal(7); real-time ones as `RTMIN+n`.
pub fn signal_name(number: i32) -> String {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
        "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
        "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];
    match usize::try_from(number - 1).ok().and_then(|i| NAMES.get(i)) {
        Some(name) => (*name).to_owned(),
        None if (34..=64).contains(&number) => format!("RTMIN+{}", number - 34),
        None => number.to_string(),
    }
}

/// What follows from an end.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// Done, as wanted.
    Complete {
        /// Why.
        why: String,
    },
    /// Done for, until somebody starts it.
    Fail {
        /// Why.
        why: String,
    },
    /// Again.
    Restart {
        /// After this pause.
        after: Duration,
        /// Failures in a row, this one included.
        failures: u32,
        /// It is in a crash loop.
        crash_loop: bool,
        /// Why.
        why: String,
    },
}

/// What came before an end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct History {
    /// How long it ran.
    pub ran: Duration,
    /// Failures in a row before this one.
    pub failures: u32,
    /// Failures within the crash window, this one included.
    pub recent: u32,
    /// From 0 to 1, at random: where in the jitter's range this pause lies.
    pub jitter: f64,
}

/// What follows from an end that nobody asked for.
pub fn after_end(restart: &Restart, ending: &Ending, history: History) -> Decision {
    let text = ending.text();
    // It was wanted and never got its chance, whatever the policy says of ends.
    if *ending == Ending::Interrupted || ending.evicted() {
        return again(restart, ending, history, "it is still wanted");
    }
    if let Ending::Unwell { unwell: Unwell { stays_down: true, .. }, .. } = ending {
        return Decision::Fail { why: format!("{text}; on_unhealthy stop") };
    }
    if let Some(rule) = restart.rules.iter().position(|r| matches(&r.when, ending)) {
        let nth = rule + 1;
        return match restart.rules.get(rule).map(|r| r.action) {
            Some(RuleAction::Complete) => {
                Decision::Complete { why: format!("{text}; restart rule {nth} says complete") }
            }
            Some(RuleAction::Fail) => Decision::Fail { why: format!("{text}; restart rule {nth} says fail") },
            Some(RuleAction::Restart) | None => {
                again(restart, ending, history, &format!("restart rule {nth}"))
            }
        };
    }
    match restart.policy {
        Policy::No if ending.success() => Decision::Complete { why: format!("{text}; restart policy no") },
        Policy::No => Decision::Fail { why: format!("{text}; restart policy no") },
        Policy::OnFailure(_) if ending.success() => {
            Decision::Complete { why: format!("{text}; restart policy on-failure") }
        }
        Policy::OnFailure(Some(most)) if row(restart, history) > most => Decision::Fail {
            why: format!("{text}; given up after {most} restarts (restart policy on-failure:{most})"),
        },
        Policy::OnFailure(_) => again(restart, ending, history, "restart policy on-failure"),
        Policy::Attempts(_) if ending.success() => Decision::Complete { why: text },
        Policy::Attempts(most) if row(restart, history) >= most && !ending.innocent() => {
            let times = if most == 1 { "attempt" } else { "attempts" };
            Decision::Fail { why: format!("{text}; given up after {most} {times}") }
        }
        Policy::Attempts(most) => {
            let done = if ending.innocent() { history.failures } else { row(restart, history) };
            let nth = done.saturating_add(1);
            again(restart, ending, history, &format!("attempt {nth} of {most}"))
        }
        Policy::Always => again(restart, ending, history, "restart policy always"),
        Policy::UnlessStopped => again(restart, ending, history, "restart policy unless-stopped"),
    }
}

/// Failures in a row, this one included: a run as long as `reset` was healthy and begins a new row.
fn row(restart: &Restart, history: History) -> u32 {
    if is_healthy(restart, history) { 1 } else { history.failures.saturating_add(1) }
}

/// A job that ran for long and failed has failed.
fn is_healthy(restart: &Restart, history: History) -> bool {
    history.ran >= restart.reset && !matches!(restart.policy, Policy::Attempts(_))
}

fn again(restart: &Restart, ending: &Ending, history: History, because: &str) -> Decision {
    let text = ending.text();
    // The host's or the daemon's fault and not its own: at once, and not counted.
    if ending.innocent() {
        let why = format!("{text}; {because}");
        return Decision::Restart {
            after: Duration::ZERO,
            failures: history.failures,
            crash_loop: false,
            why,
        };
    }
    let failures = row(restart, history);
    let bounded = matches!(restart.policy, Policy::Attempts(_));
    let crash_loop = !bounded && restart.crash_failures > 0 && history.recent >= restart.crash_failures;
    let window = span(restart.crash_window);
    if crash_loop && restart.on_crash_loop == OnCrashLoop::Hold {
        return Decision::Fail {
            why: format!("{text}; crash loop: {} failures within {window}", history.recent),
        };
    }
    let after = pause(restart, failures, is_healthy(restart, history), history.jitter);
    let why = if crash_loop {
        format!("{text}; crash loop: {} failures within {window}; {because}", history.recent)
    } else {
        format!("{text}; {because}")
    };
    Decision::Restart { after, failures, crash_loop, why }
}

/// What is left of the pause after an end of long ago, for a daemon that has taken over in the middle of it. The clock of
/// the host may have been set meanwhile: it is never more than the whole pause.
pub fn pause_left(restart: &Restart, history: History, gone: Duration) -> Duration {
    let healthy = is_healthy(restart, history);
    pause(restart, history.failures, healthy, history.jitter).saturating_sub(gone)
}

/// `delay` doubled for each failure in a row, at most `max_delay`, and up to a quarter more so that what failed together
/// does not start together. None after a healthy run.
fn pause(restart: &Restart, failures: u32, was_healthy: bool, jitter: f64) -> Duration {
    if was_healthy || restart.delay.is_zero() {
        return Duration::ZERO;
    }
    let doublings = failures.saturating_sub(1).min(31);
    let plain = restart.delay.saturating_mul(1 << doublings).min(restart.max_delay);
    plain.saturating_add(plain.mul_f64(0.25 * jitter.clamp(0.0, 1.0)))
}

fn matches(when: &Match, ending: &Ending) -> bool {
    let Ending::Seen(record) = ending else { return false };
    let hit = match record.end {
        End::Exited { code } => when.codes.iter().any(|(low, high)| (*low..=*high).contains(&code)),
        End::Signaled { signal, .. } => when.signals.contains(&signal),
        End::CreateFailed { .. } => return false,
    };
    let oom = when.oom && record.memory.oom_kills.is_some_and(|n| n > 0);
    (hit || oom) != when.not
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Boot;
    use crate::keeper::record::{Memory, VERSION, Victim};
    use crate::unit::service::Rule;

    pub(crate) fn restart(policy: Policy) -> Restart {
        Restart {
            policy,
            rules: vec![],
            delay: Duration::from_secs(1),
            max_delay: Duration::from_secs(60),
            reset: Duration::from_secs(120),
            crash_failures: 5,
            crash_window: Duration::from_secs(600),
            on_crash_loop: OnCrashLoop::Keep,
        }
    }

    fn record(end: End) -> ExitRecord {
        ExitRecord {
            version: VERSION,
            run: "web.1.1".parse().unwrap(),
            boot_id: String::new(),
            end,
            pid: 7,
            started: Boot::default(),
            ended: Boot::default(),
            ended_wall: "2026-01-01T00:00:00Z".parse().unwrap(),
            memory: Box::default(),
            log_dropped: 0,
            victim: None,
        }
    }

    fn exited(code: u8) -> Ending {
        Ending::Seen(record(End::Exited { code }))
    }

    fn at(ran: u64, failures: u32, recent: u32) -> History {
        History { ran: Duration::from_secs(ran), failures, recent, jitter: 0.0 }
    }

    fn after(d: &Decision) -> (u64, u32) {
        match d {
            Decision::Restart { after, failures, .. } => (after.as_secs(), *failures),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn policies() {
        let first = at(1, 0, 1);
        for (policy, code, restarts) in [
            (Policy::No, 0, false),
            (Policy::No, 1, false),
            (Policy::OnFailure(None), 0, false),
            (Policy::OnFailure(None), 1, true),
            (Policy::Always, 0, true),
            (Policy::UnlessStopped, 0, true),
            (Policy::UnlessStopped, 9, true),
        ] {
            let d = after_end(&restart(policy), &exited(code), first);
            assert_eq!(matches!(d, Decision::Restart { .. }), restarts, "{policy:?} {code}: {d:?}");
            if !restarts {
                assert_eq!(matches!(d, Decision::Complete { .. }), code == 0, "{d:?}");
            }
        }
    }

    #[test]
    fn pauses_double_to_the_cap_and_start_anew_after_a_healthy_run() {
        let r = restart(Policy::Always);
        let pauses: Vec<_> = (0..9).map(|n| after(&after_end(&r, &exited(1), at(1, n, 1))).0).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(after(&after_end(&r, &exited(1), at(120, 8, 1))), (0, 1));
        assert_eq!(after(&after_end(&r, &exited(1), at(119, 8, 1))), (60, 9));
        let full = History { jitter: 1.0, ..at(1, 8, 1) };
        assert_eq!(after(&after_end(&r, &exited(1), full)).0, 75);
        assert_eq!(after(&after_end(&r, &exited(1), at(1, u32::MAX, 1))), (60, u32::MAX));
    }

    #[test]
    fn a_pause_goes_on_over_the_death_of_the_daemon() {
        let r = restart(Policy::Always);
        let left =
            |ran, failures, gone| pause_left(&r, at(ran, failures, 1), Duration::from_secs(gone)).as_secs();
        assert_eq!((left(1, 4, 0), left(1, 4, 5), left(1, 4, 8), left(1, 4, 1 << 40)), (8, 3, 0, 0));
        assert_eq!(left(120, 1, 0), 0);
    }

    #[test]
    fn who_is_not_well_has_failed_however_it_ended() {
        let unwell = |stays_down| Ending::Unwell {
            unwell: Unwell {
                why: "liveness probe failed".into(),
                stays_down,
                ran: Duration::ZERO,
                overdue: false,
                evicted: false,
            },
            end: Box::new(exited(0)),
        };
        let mut r = restart(Policy::OnFailure(None));
        // A rule is about ends of its own.
        let when = Match { codes: vec![(0, 0)], signals: vec![], oom: false, not: false };
        r.rules = vec![Rule { when, action: RuleAction::Complete }];
        let d = after_end(&r, &unwell(false), at(1, 1, 1));
        assert_eq!(after(&d), (2, 2));
        assert!(matches!(&d, Decision::Restart { why, .. }
            if why == "unhealthy (liveness probe failed), exited 0; restart policy on-failure"));
        let d = after_end(&r, &unwell(true), at(1, 1, 1));
        assert!(matches!(&d, Decision::Fail { why } if why.ends_with("; on_unhealthy stop")), "{d:?}");
        assert!(matches!(
            after_end(&restart(Policy::No), &unwell(false), at(1, 0, 1)),
            Decision::Fail { .. }
        ));
    }

    #[test]
    fn a_job_has_its_attempts_however_long_they_ran() {
        let mut r = restart(Policy::Attempts(3));
        r.crash_failures = 1;
        r.on_crash_loop = OnCrashLoop::Hold;
        assert_eq!(after(&after_end(&r, &exited(1), at(500, 0, 1))), (1, 1));
        let d = after_end(&r, &exited(1), at(500, 1, 2));
        assert_eq!(after(&d), (2, 2));
        assert!(matches!(&d, Decision::Restart { why, .. } if why == "exited 1; attempt 3 of 3"), "{d:?}");
        let d = after_end(&r, &exited(1), at(500, 2, 3));
        assert!(
            matches!(&d, Decision::Fail { why } if why == "exited 1; given up after 3 attempts"),
            "{d:?}"
        );
        assert!(matches!(after_end(&r, &exited(0), at(1, 2, 3)), Decision::Complete { .. }));
        // Nobody's fault is no attempt.
        assert_eq!(after(&after_end(&r, &Ending::Reboot(None), at(1, 2, 3))), (0, 2));
        let once = restart(Policy::Attempts(1));
        let d = after_end(&once, &exited(1), at(1, 0, 1));
        assert!(matches!(&d, Decision::Fail { why } if why.ends_with("given up after 1 attempt")), "{d:?}");
    }

    #[test]
    fn on_failure_gives_up() {
        let r = restart(Policy::OnFailure(Some(2)));
        assert_eq!(after(&after_end(&r, &exited(1), at(1, 0, 1))).1, 1);
        assert_eq!(after(&after_end(&r, &exited(1), at(1, 1, 2))).1, 2);
        let d = after_end(&r, &exited(1), at(1, 2, 3));
        assert!(matches!(&d, Decision::Fail { why } if why.contains("given up after 2 restarts")), "{d:?}");
    }

    #[test]
    fn crash_loop_is_said_and_may_hold() {
        let mut r = restart(Policy::Always);
        let d = after_end(&r, &exited(1), at(1, 4, 5));
        assert!(
            matches!(&d, Decision::Restart { crash_loop: true, why, .. } if why.contains("5 failures within 10 min"))
        );
        assert!(matches!(
            after_end(&r, &exited(1), at(1, 3, 4)),
            Decision::Restart { crash_loop: false, .. }
        ));
        r.on_crash_loop = OnCrashLoop::Hold;
        assert!(matches!(after_end(&r, &exited(1), at(1, 4, 5)), Decision::Fail { .. }));
    }

    #[test]
    fn first_matching_rule_wins() {
        let rule = |codes: &[(u8, u8)], signals: &[i32], not, action| Rule {
            when: Match { codes: codes.to_vec(), signals: signals.to_vec(), oom: false, not },
            action,
        };
        let mut r = restart(Policy::Always);
        r.rules = vec![
            rule(&[(3, 5)], &[], false, RuleAction::Fail),
            rule(&[(0, 4)], &[15], false, RuleAction::Complete),
            rule(&[(77, 77)], &[], true, RuleAction::Restart),
        ];
        assert!(matches!(after_end(&r, &exited(4), at(1, 0, 1)), Decision::Fail { .. }));
        assert!(matches!(after_end(&r, &exited(0), at(1, 0, 1)), Decision::Complete { .. }));
        let term = Ending::Seen(record(End::Signaled { signal: 15, core: false }));
        assert!(matches!(after_end(&r, &term, at(1, 0, 1)), Decision::Complete { .. }));
        let d = after_end(&r, &exited(9), at(1, 0, 1));
        assert!(matches!(&d, Decision::Restart { why, .. } if why.contains("restart rule 3")), "{d:?}");
        let d = after_end(&r, &exited(77), at(1, 0, 1));
        assert!(matches!(&d, Decision::Restart { why, .. } if why.contains("policy always")), "{d:?}");
    }

    #[test]
    fn a_reboot_is_not_its_fault() {
        let d = after_end(&restart(Policy::UnlessStopped), &Ending::Reboot(None), at(1, 3, 9));
        assert_eq!(after(&d), (0, 3));
        assert!(matches!(
            after_end(&restart(Policy::No), &Ending::Reboot(None), at(1, 0, 1)),
            Decision::Fail { .. }
        ));
    }

    #[test]
    fn only_counters_make_an_oom() {
        let killed = record(End::Signaled { signal: 9, core: false });
        assert_eq!(Ending::Seen(killed.clone()).text(), "exited 137 (SIGKILL)");
        let memory = Memory {
            oom_kills: Some(1),
            oom_events: Some(1),
            peak: Some(64 << 20),
            limit: Some(64 << 20),
            ..Memory::default()
        };
        let text = Ending::Seen(ExitRecord { memory: memory.clone().into(), ..killed }).text();
        assert_eq!(
            text,
            "exited 137 (SIGKILL): the memory limit of 64 MiB was hit, the kernel killed 1 process, peak 64 MiB"
        );
        let victim = Some(Box::new(Victim { pid: 12, name: "ja\x1bva".into(), short: None }));
        let named = ExitRecord { memory: memory.clone().into(), victim, ..record(End::Exited { code: 1 }) };
        assert!(Ending::Seen(named).text().contains(r"the kernel killed process 12 (ja\u{1b}va), peak"));
        let child = ExitRecord { memory: memory.into(), ..record(End::Exited { code: 1 }) };
        assert!(Ending::Seen(child).text().starts_with("exited 1; the memory limit"));
    }

    #[test]
    fn spans_and_sizes() {
        let spans = [(0, "0 s"), (250, "250 ms"), (1500, "1.5 s"), (4000, "4 s"), (125_000, "2 min 5 s")];
        for (ms, text) in spans {
            assert_eq!(span(Duration::from_millis(ms)), text);
        }
        assert_eq!(span(Duration::from_secs(90_000)), "1 d 1 h");
        assert_eq!(size(512), "512 B");
        assert_eq!(size(3 << 19), "1.5 MiB");
    }
}
