//! How a service is looked at while it runs: the three probes, and a health check in Compose's words that is read as two.

use std::net::IpAddr;
use std::time::Duration;

use super::image::command;
use super::read::{Reader, Table, Value, shown};
use crate::probe::{Http, Kind, Tls};
use crate::unit::service::{OnUnhealthy, Probe, Probes, Role};

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

const DAY: Duration = secs(86_400);
/// More often than this nobody is asked: each question costs the host something.
const PERIOD_MIN: Duration = Duration::from_millis(100);
/// No answer is waited for longer.
const TIMEOUT_MAX: Duration = secs(600);
/// Enough for an hour of the shortest periods.
const FAILURES_MAX: i64 = 100_000;
const TICK: Duration = Duration::from_millis(1);

/// Where a request goes without `host`.
pub(in crate::unit) const HOST: &str = "localhost";
/// What it asks for without `path`.
pub(in crate::unit) const PATH: &str = "/";
/// How it asks without `method`.
pub(in crate::unit) const METHOD: &str = "GET";
/// What passes without `status`.
pub(in crate::unit) const STATUS: [(u16, u16); 1] = [(200, 399)];

/// Headers that belong to whoever sends the request.
const OWN_HEADERS: [&str; 3] = ["connection", "content-length", "transfer-encoding"];

/// A probe of which only the kind is given.
pub(in crate::unit) fn default_probe(role: Role, kind: Kind) -> Probe {
    let (period, timeout, mut failure_threshold) = match role {
        Role::Startup => (secs(2), secs(5), 60),
        Role::Liveness => (secs(10), secs(5), 3),
        Role::Readiness => (secs(10), secs(2), 3),
    };
    // As with WatchdogSec= of systemd, the first sign of life that does not come is one too many; and a word is a word.
    if role != Role::Startup && kind == Kind::Push {
        failure_threshold = 1;
    }
    let initial_delay = Duration::ZERO;
    Probe { kind, initial_delay, period, timeout, success_threshold: 1, failure_threshold, grace: None }
}

/// `[probes]`, or what `[healthcheck]` means.
pub(super) fn probes(r: &mut Reader, t: &Table) -> Probes {
    let place = t.get(r, "probes");
    let mut probes = place.as_ref().map(|v| own(r, v)).unwrap_or_default();
    let Some(v) = t.get(r, "healthcheck") else { return probes };
    let check = healthcheck(r, &v);
    if probes.startup.is_some() || probes.liveness.is_some() {
        v.say(r, "healthcheck stands for a startup and a liveness probe, one of which is given as well");
    } else if let Some((startup, liveness)) = check {
        (probes.startup, probes.liveness) = (Some(startup), Some(liveness));
    }
    probes
}

fn own(r: &mut Reader, v: &Value) -> Probes {
    let Some(t) = v.table(r) else { return Probes::default() };
    let mut one = |name: &str, role| t.get(r, name).and_then(|v| probe(r, &v, role));
    let (startup, liveness, readiness) =
        (one("startup", Role::Startup), one("liveness", Role::Liveness), one("readiness", Role::Readiness));
    let words = [("restart", OnUnhealthy::Restart), ("stop", OnUnhealthy::Stop), ("none", OnUnhealthy::None)];
    let place = t.get(r, "on_unhealthy");
    let on_unhealthy = place.and_then(|v| v.word(r, &words)).unwrap_or_default();
    Probes { startup, liveness, readiness, on_unhealthy }
}

fn probe(r: &mut Reader, v: &Value, role: Role) -> Option<Probe> {
    let t = v.table_like(r, "probes.*")?;
    let kind = kind(r, v, &t);
    let mut probe = default_probe(role, kind.clone().unwrap_or(Kind::Exec { command: Vec::new() }));
    if let Some(Kind::Push) = kind {
        for name in ["timeout", "success_threshold"] {
            if let Some(v) = t.get(r, name) {
                v.say(r, format!("nobody is asked by push, so there is no {name}"));
            }
        }
    }
    let time = |r: &mut Reader, name: &str, range| t.get(r, name).and_then(|v| v.duration(r, range));
    if let Some(d) = time(r, "initial_delay", Duration::ZERO..=DAY) {
        probe.initial_delay = d;
    }
    if let Some(d) = time(r, "period", PERIOD_MIN..=DAY) {
        probe.period = d;
    }
    if let Some(d) = time(r, "timeout", TICK..=TIMEOUT_MAX) {
        probe.timeout = d;
    }
    probe.grace = time(r, "grace", Duration::ZERO..=DAY);
    if let Some(n) = t.get(r, "failure_threshold").and_then(|v| v.natural(r, 1..=FAILURES_MAX)) {
        probe.failure_threshold = n;
    }
    if let Some(v) = t.get(r, "success_threshold")
        && let Some(n) = v.natural(r, 1..=1000)
    {
        probe.success_threshold = n;
        if n > 1 && role != Role::Readiness {
            v.say(r, format!("out of range, got {n}, want 1: only readiness can need more than one pass"));
        }
    }
    if let (Some(v), Role::Readiness) = (t.get(r, "grace"), role) {
        v.say(r, "readiness stops nothing, grace is for startup and liveness");
    }
    kind.map(|_| probe)
}

/// Exactly one of the kinds.
fn kind(r: &mut Reader, place: &Value, t: &Table) -> Option<Kind> {
    let given: Vec<_> = ["exec", "http", "tcp", "grpc", "push"]
        .into_iter()
        .filter_map(|name| Some((name, t.get(r, name)?)))
        .collect();
    let mut kinds: Vec<_> = given.iter().map(|(name, v)| read_kind(r, name, v)).collect();
    match &given[..] {
        [] => place.say(r, "nothing to ask: want one of exec, http, tcp, grpc and push"),
        [_] => return kinds.pop().flatten(),
        [(first, _), (name, v), ..] => {
            v.say(r, format!("{first} and {name} exclude each other, both are given"));
        }
    }
    None
}

fn read_kind(r: &mut Reader, name: &str, v: &Value) -> Option<Kind> {
    if name == "exec" {
        return command(r, v).map(|command| Kind::Exec { command });
    }
    if name == "push" {
        let yes = v.boolean(r)?;
        if !yes {
            v.say(r, "push is true or not there");
        }
        return yes.then_some(Kind::Push);
    }
    let t = v.table(r)?;
    let port = t.need(r, "port").and_then(|v| v.natural(r, 1..=65_535));
    let host = t.get(r, "host").map_or(Some(HOST.into()), |v| host(r, &v));
    match name {
        "tcp" => Some(Kind::Tcp { host: host?, port: port? }),
        "grpc" => {
            let service = t.get(r, "service").map_or(Some(String::new()), |v| v.text(r));
            Some(Kind::Grpc { host: host?, port: port?, service: service? })
        }
        _ => http(r, &t, host, port).map(Kind::Http),
    }
}

/// An address, or the one name that every container knows.
fn host(r: &mut Reader, v: &Value) -> Option<String> {
    v.parsed(r, |text| match text == HOST || text.parse::<IpAddr>().is_ok() {
        true => Ok(text.to_owned()),
        false => Err(format!("not an address, got {text:?}, want such as \"127.0.0.1\" or \"localhost\"")),
    })
}

fn http(r: &mut Reader, t: &Table, host: Option<String>, port: Option<u16>) -> Option<Http> {
    let path = t.get(r, "path").map_or(Some(PATH.into()), |v| {
        v.parsed(r, |text| match text.starts_with('/') && text.bytes().all(|b| b.is_ascii_graphic()) {
            true => Ok(text.to_owned()),
            false => {
                Err(format!("not a path, got {text:?}, want ASCII without spaces that begins with \"/\""))
            }
        })
    });
    let method = t.get(r, "method").map_or(Some(METHOD.into()), |v| {
        v.parsed(r, |text| match text.len() <= 16 && text.bytes().all(|b| b.is_ascii_uppercase()) {
            true => Ok(text.to_owned()),
            false => Err(format!("not a method, got {text:?}, want capital letters such as \"HEAD\"")),
        })
    });
    let headers = t.get(r, "headers").map(|v| headers(r, &v)).unwrap_or_default();
    let status = t.get(r, "status").map(|v| {
        let all = v.each(r, status);
        if v.list(r).is_empty() {
            v.say(r, "empty list, want at least one status code");
        }
        all
    });
    let tls = t.get(r, "tls").and_then(|v| tls(r, &v));
    let status = status.unwrap_or_else(|| STATUS.to_vec());
    Some(Http { host: host?, port: port?, path: path?, method: method?, headers, status, tls })
}

fn headers(r: &mut Reader, v: &Value) -> Vec<(String, String)> {
    let mut headers = Vec::new();
    for (name, at, value) in v.map(r) {
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        let good = !name.is_empty() && name.bytes().all(token);
        if !good || OWN_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
            let why = if good { "a header of the connection" } else { "bad name of a header" };
            r.say(Some(at), &value.key, format!("{why}, got {}", shown(&name)));
        } else if let Some(text) = value.text(r) {
            headers.push((name, text));
        }
    }
    headers
}

fn status(r: &mut Reader, v: &Value) -> Option<(u16, u16)> {
    if !v.is_string() {
        return v.natural(r, 100..=599).map(|n| (n, n));
    }
    v.parsed(r, |text| {
        let number = |s: &str| s.parse::<u16>().ok().filter(|n| (100..=599).contains(n) && s.len() == 3);
        match text.split_once('-').map(|(a, b)| (number(a), number(b))) {
            Some((Some(a), Some(b))) if a <= b => Ok((a, b)),
            _ => {
                Err(format!("not status codes, got {text:?}, want 100 to 599 or a range such as \"200-299\""))
            }
        }
    })
}

fn tls(r: &mut Reader, v: &Value) -> Option<Tls> {
    let mut tls = Tls { verify: true, name: None, ca: None };
    if !v.is_table() {
        return v.boolean(r)?.then_some(tls);
    }
    let t = v.table(r)?;
    tls.verify = t.get(r, "verify").and_then(|v| v.boolean(r)).unwrap_or(true);
    tls.name = t.get(r, "name").and_then(|v| super::image::hostname(r, &v));
    let ca = t.get(r, "ca");
    if let (Some(v), false) = (&ca, tls.verify) {
        v.say(r, "ca is for verifying, and verify is false");
    }
    tls.ca = ca.and_then(|v| v.path(r)).map(Into::into);
    Some(tls)
}

/// What Compose's words mean: a startup probe until it passes for the first time, and a liveness probe from then on. Within
/// `start_period` failures do not count, after it `retries` of them do.
fn healthcheck(r: &mut Reader, v: &Value) -> Option<(Probe, Probe)> {
    let t = v.table(r)?;
    let disabled = t.get(r, "disable").and_then(|v| v.boolean(r)).unwrap_or(false);
    let test = t.get(r, "test");
    let kind = match &test {
        Some(v) => test_of(r, v),
        None if disabled => None,
        None => t.need(r, "test").and(None),
    };
    let time = |r: &mut Reader, name: &str, default, range| {
        t.get(r, name).and_then(|v| v.duration(r, range)).unwrap_or(default)
    };
    let interval = time(r, "interval", secs(30), PERIOD_MIN..=DAY);
    let timeout = time(r, "timeout", secs(30), TICK..=TIMEOUT_MAX);
    let start_period = time(r, "start_period", Duration::ZERO, Duration::ZERO..=secs(3600));
    let start_interval = time(r, "start_interval", secs(5), PERIOD_MIN..=DAY);
    let retries: u32 = t.get(r, "retries").and_then(|v| v.natural(r, 1..=1000)).unwrap_or(3);
    let kind = kind.filter(|_| !disabled)?;
    Some(health_pair(kind, interval, timeout, start_period, start_interval, retries))
}

/// The startup and the liveness probe that a health check in Compose's words means.
pub(crate) fn health_pair(
    kind: Kind,
    interval: Duration,
    timeout: Duration,
    start_period: Duration,
    start_interval: Duration,
    retries: u32,
) -> (Probe, Probe) {
    let free = start_period.as_millis().div_ceil(start_interval.as_millis().max(1));
    let free = u32::try_from(free).unwrap_or(u32::MAX);
    let startup = Probe {
        timeout,
        period: if start_period.is_zero() { interval } else { start_interval },
        failure_threshold: retries.saturating_add(free),
        ..default_probe(Role::Startup, kind.clone())
    };
    let liveness = Probe {
        timeout,
        period: interval,
        initial_delay: interval,
        failure_threshold: retries,
        ..default_probe(Role::Liveness, kind)
    };
    (startup, liveness)
}

/// `None` = none, or with a complaint.
fn test_of(r: &mut Reader, v: &Value) -> Option<Kind> {
    let shell = |text: String| Kind::Exec { command: vec!["/bin/sh".into(), "-c".into(), text] };
    if v.is_string() {
        return v.text(r).map(shell);
    }
    let mut words: Vec<String> = v.list(r).iter().filter_map(|w| w.raw(r)).collect();
    let first = if words.is_empty() { String::new() } else { words.remove(0) };
    match (first.as_str(), words.len()) {
        ("NONE", 0) => None,
        ("CMD", 1..) => Some(Kind::Exec { command: words }),
        ("CMD-SHELL", 1) => words.pop().map(shell),
        _ => {
            let want = "want [\"CMD\", PROGRAM, ...], [\"CMD-SHELL\", TEXT] or [\"NONE\"]";
            v.say(r, format!("not a test, got {}, {want}", shown(&first)));
            None
        }
    }
}
