//! The tables that say how the service lives: restart, stop, logs, dependencies, hooks.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::image::command;
use super::read::{Reader, Table, Value};
use crate::names::ServiceName;
use crate::unit::job::Job;
use crate::unit::service::{
    Condition, Dependency, Hook, Hooks, Logs, Match, OnCrashLoop, Policy, Restart, Rule, RuleAction, Stop,
};

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

const HOUR: Duration = secs(3600);
const DAY: Duration = secs(86_400);
const MONTH: Duration = secs(30 * 86_400);
const TICK: Duration = Duration::from_millis(1);

/// What holds without a `[restart]`.
pub(in crate::unit) fn default_restart() -> Restart {
    Restart {
        policy: Policy::UnlessStopped,
        rules: Vec::new(),
        delay: secs(1),
        max_delay: secs(60),
        reset: secs(120),
        crash_failures: 5,
        crash_window: secs(600),
        on_crash_loop: OnCrashLoop::Keep,
    }
}

/// What holds without a `[stop]`.
pub(in crate::unit) fn default_stop() -> Stop {
    let term = crate::unit::service::Signal { number: 15, name: "TERM".into() };
    Stop { signal: term, grace: secs(10) }
}

/// What holds without a `[logs]`.
pub(in crate::unit) fn default_logs() -> Logs {
    Logs { max_size: 10 << 20, max_files: 5, journald: false }
}

/// The time a hook has when it says nothing.
pub(in crate::unit) const HOOK_TIMEOUT: Duration = secs(30);

pub(super) fn restart(r: &mut Reader, t: &Table) -> Restart {
    let mut restart = default_restart();
    let Some(v) = t.get(r, "restart") else { return restart };
    if v.is_string() {
        restart.policy = v.parsed(r, policy).unwrap_or(restart.policy);
        return restart;
    }
    let Some(t) = v.table(r) else { return restart };
    let time = |r: &mut Reader, name: &str, range: RangeInclusive<Duration>, to: &mut Duration| {
        if let Some(d) = t.get(r, name).and_then(|v| v.duration(r, range)) {
            *to = d;
        }
    };
    time(r, "delay", Duration::ZERO..=HOUR, &mut restart.delay);
    time(r, "max_delay", Duration::ZERO..=DAY, &mut restart.max_delay);
    time(r, "reset", secs(1)..=MONTH, &mut restart.reset);
    time(r, "crash_window", secs(1)..=MONTH, &mut restart.crash_window);
    if restart.max_delay < restart.delay {
        let v = t.get(r, "max_delay").or_else(|| t.get(r, "delay"));
        if let Some(v) = v {
            v.say(r, "max_delay is shorter than delay");
        }
    }
    if let Some(p) = t.get(r, "policy").and_then(|v| v.parsed(r, policy)) {
        restart.policy = p;
    }
    if let Some(n) = t.get(r, "crash_failures").and_then(|v| v.natural(r, 1..=1000)) {
        restart.crash_failures = n;
    }
    let words = [("keep", OnCrashLoop::Keep), ("hold", OnCrashLoop::Hold)];
    if let Some(w) = t.get(r, "on_crash_loop").and_then(|v| v.word(r, &words)) {
        restart.on_crash_loop = w;
    }
    restart.rules = t.get(r, "rules").map(|v| v.each(r, rule)).unwrap_or_default();
    restart
}

fn policy(text: &str) -> Result<Policy, String> {
    match text {
        "no" => Ok(Policy::No),
        "always" => Ok(Policy::Always),
        "unless-stopped" => Ok(Policy::UnlessStopped),
        "on-failure" => Ok(Policy::OnFailure(None)),
        _ => {
            let tries = text.strip_prefix("on-failure:");
            if let Some(n) = tries.and_then(|n| n.parse::<u32>().ok()).filter(|n| *n > 0) {
                return Ok(Policy::OnFailure(Some(n)));
            }
            let words = ["no", "on-failure", "always", "unless-stopped"];
            let near = super::value::nearest(text, words)
                .map_or(String::new(), |n| format!("; did you mean {n:?}?"));
            Err(format!(
                "unknown restart policy, got {text:?}, want no, on-failure, on-failure:N, always or unless-stopped{near}"
            ))
        }
    }
}

fn rule(r: &mut Reader, v: &Value) -> Option<Rule> {
    let t = v.table(r)?;
    let codes = t.get(r, "codes").map(|v| v.each(r, codes));
    let signals = t.get(r, "signals").map(|v| v.each(r, |r, v| v.signal(r).map(|s| s.number)));
    let oom = t.get(r, "oom").and_then(|v| v.boolean(r)).unwrap_or(false);
    let not = t.get(r, "not").and_then(|v| v.boolean(r)).unwrap_or(false);
    let words =
        [("restart", RuleAction::Restart), ("complete", RuleAction::Complete), ("fail", RuleAction::Fail)];
    let action = t.need(r, "action").and_then(|v| v.word(r, &words));
    if codes.is_none() && signals.is_none() && !oom {
        v.say(r, "a rule about nothing, want codes, signals or oom = true");
    }
    let when = Match { codes: codes.unwrap_or_default(), signals: signals.unwrap_or_default(), oom, not };
    Some(Rule { when, action: action? })
}

fn codes(r: &mut Reader, v: &Value) -> Option<(u8, u8)> {
    if !v.is_string() {
        return v.natural(r, 0..=255).map(|n| (n, n));
    }
    v.parsed(r, |text| {
        let number = |s: &str| s.parse::<u8>().ok().filter(|n| n.to_string() == s);
        let (a, b) = text.split_once('-').unwrap_or((text, text));
        match (number(a), number(b)) {
            (Some(a), Some(b)) if a <= b => Ok((a, b)),
            _ => Err(format!("not exit codes, got {text:?}, want 0 to 255 or a range such as \"10-20\"")),
        }
    })
}

pub(super) fn stop(r: &mut Reader, t: &Table) -> Stop {
    let mut stop = default_stop();
    let Some(t) = t.get(r, "stop").and_then(|v| v.table(r)) else { return stop };
    if let Some(s) = t.get(r, "signal").and_then(|v| v.signal(r)) {
        stop.signal = s;
    }
    if let Some(d) = t.get(r, "grace").and_then(|v| v.duration(r, Duration::ZERO..=DAY)) {
        stop.grace = d;
    }
    stop
}

pub(super) fn logs(r: &mut Reader, t: &Table) -> Logs {
    let mut logs = default_logs();
    let Some(t) = t.get(r, "logs").and_then(|v| v.table(r)) else { return logs };
    if let Some(n) = t.get(r, "max_size").and_then(|v| v.size(r, 64 << 10..=1 << 40)) {
        logs.max_size = n;
    }
    if let Some(n) = t.get(r, "max_files").and_then(|v| v.natural(r, 1..=1000)) {
        logs.max_files = n;
    }
    logs.journald = t.get(r, "journald").and_then(|v| v.boolean(r)).unwrap_or(false);
    logs
}

pub(super) fn dependencies(r: &mut Reader, v: &Value, own: &ServiceName) -> Vec<Dependency> {
    let mut all: Vec<Dependency> = Vec::new();
    for v in v.list(r) {
        let Some(d) = dependency(r, &v) else { continue };
        if d.service == *own {
            v.say(r, format!("{own} depends on itself"));
        } else if all.iter().any(|o| o.service == d.service && o.condition == d.condition) {
            v.say(r, format!("a dependency twice, got {:?}", d.service.as_str()));
        }
        all.push(d);
    }
    all
}

/// Whose part it is. One that is due by a schedule of its own is nobody's.
pub(super) fn part_of(
    r: &mut Reader,
    v: &Value,
    own: &ServiceName,
    job: Option<&Job>,
) -> Option<ServiceName> {
    let whole = v.parsed(r, str::parse::<ServiceName>)?;
    if whole == *own {
        v.say(r, format!("{own} is part of itself"));
    }
    if job.is_some_and(|j| j.schedule.is_some()) {
        v.say(r, "a part runs when its service starts, and this one has a schedule of its own");
    }
    Some(whole)
}

fn dependency(r: &mut Reader, v: &Value) -> Option<Dependency> {
    let name = |r: &mut Reader, v: &Value| v.parsed(r, str::parse::<ServiceName>);
    if v.is_string() {
        return Some(Dependency {
            service: name(r, v)?,
            condition: Condition::Started,
            timeout: None,
            restart: false,
            implied: false,
        });
    }
    let t = v.table(r)?;
    let service = t.need(r, "service").and_then(|v| name(r, &v));
    let words = [
        ("started", Condition::Started),
        ("ready", Condition::Ready),
        ("completed", Condition::Completed),
        ("succeeded", Condition::Succeeded),
        // Compose's word for ready.
        ("healthy", Condition::Ready),
    ];
    let condition = t.get(r, "condition").map_or(Some(Condition::Started), |v| v.word(r, &words));
    let timeout = t.get(r, "timeout").and_then(|v| v.duration(r, TICK..=MONTH));
    let restart = t.get(r, "restart").and_then(|v| v.boolean(r)).unwrap_or(false);
    Some(Dependency { service: service?, condition: condition?, timeout, restart, implied: false })
}

pub(super) fn hooks(r: &mut Reader, t: &Table) -> Hooks {
    let list = |r: &mut Reader, name: &str| t.get(r, name).map(|v| v.each(r, hook)).unwrap_or_default();
    Hooks {
        pre_start: list(r, "pre_start"),
        post_start: list(r, "post_start"),
        pre_stop: list(r, "pre_stop"),
        post_stop: list(r, "post_stop"),
    }
}

fn hook(r: &mut Reader, v: &Value) -> Option<Hook> {
    let t = v.table(r)?;
    let place = t.need(r, "command");
    let words = place.as_ref().and_then(|v| command(r, v));
    let timeout = t.get(r, "timeout").and_then(|v| v.duration(r, TICK..=HOUR)).unwrap_or(HOOK_TIMEOUT);
    let (place, words) = (place?, words?);
    if !words.first().is_some_and(|p| p.starts_with('/')) {
        place.say(r, "the program of a hook must be an absolute path");
    }
    Some(Hook { command: words, timeout })
}
