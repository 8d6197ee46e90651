//! The API against a fake owner, over real sockets.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::{broadcast, mpsc, oneshot};

use super::core::{Call, Handle, Refusal, Running, Target};
use super::model::*;
use super::rollouts::{GenerationInfo, RolloutInfo, RolloutWish};
use super::*;
use crate::dirs::Dirs;

/// A daemon whose owner of state answers from a table; ends with the value.
pub(crate) struct Fake {
    pub(crate) dirs: Dirs,
    /// What the owner was asked, in words.
    pub(crate) asked: Arc<Mutex<Vec<String>>>,
    /// Live events.
    pub(crate) live: broadcast::Sender<EventInfo>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

pub(crate) fn instance(name: &str, replica: u32, state: &str) -> InstanceStatus {
    InstanceStatus {
        instance: format!("{name}.{replica}"),
        service: name.into(),
        state: state.into(),
        detail: "next try in 4 s".into(),
        waits: None,
        reason: "on-failure: exited 3".into(),
        run: Some(format!("{name}.{replica}.7")),
        pid: Some(4711),
        since: "2026-11-21T12:00:00Z".into(),
        seconds: 75.5,
        ready: state == "running",
        restarts: 3,
        last_exit: Some(137),
        memory: Some(12 << 20),
        memory_limit: Some(64 << 20),
    }
}

pub(crate) fn event(seq: u64) -> EventInfo {
    EventInfo {
        seq,
        at: "2026-11-21T12:00:01.5Z".into(),
        service: Some("web".into()),
        instance: Some("web.1".into()),
        kind: "exited".into(),
        severity: Severity::Info,
        text: "exited 137: the memory limit of 64 MiB was hit".into(),
        cause: seq.checked_sub(1),
    }
}

fn status(name: &str) -> ServiceStatus {
    ServiceStatus {
        service: name.into(),
        description: Some("the shop".into()),
        file: format!("/etc/knarr/services.d/{name}.toml"),
        version: "0123456789ab".into(),
        goal: "up".into(),
        goal_reason: String::new(),
        problems: vec![],
        depends_on: vec!["db: ready (met)".into()],
        instances: vec![instance(name, 1, "running")],
        job: None,
        probes: vec![],
        exits: vec![ExitInfo {
            run: format!("{name}.1.6"),
            at: "2026-11-21T11:59:00Z".into(),
            code: Some(137),
            text: "killed by SIGKILL: memory limit of 64 MiB".into(),
            seconds: 12.25,
            memory_peak: Some(64 << 20),
            memory_high_events: None,
            memory_max_events: Some(3),
            swap_peak: None,
            memory_stalled: Some(0.25),
            oom_kills: Some(1),
        }],
    }
}

fn rollout() -> RolloutInfo {
    RolloutInfo {
        service: "web".into(),
        state: "stepping".into(),
        text: "rollout to generation 2, 1 of 2 instances".into(),
        generation: 2,
        from: Some(1),
        to: Some(2),
        why: None,
        updated: vec!["web.1".into()],
        step: vec![],
        left: vec!["web.2".into()],
        rejected: None,
        generations: vec![GenerationInfo {
            generation: 2,
            version: "0123456789ab".into(),
            at: "2026-11-21T12:00:00Z".into(),
            good: false,
            in_force: true,
            note: "applied".into(),
        }],
    }
}

fn plan() -> Plan {
    Plan {
        changes: vec![ServiceChange {
            service: "web".into(),
            action: "restart".into(),
            fields: vec![
                FieldChange {
                    key: "limits.memory".into(),
                    old: Some("67108864".into()),
                    new: Some("134217728".into()),
                    hidden: false,
                },
                FieldChange {
                    key: "env.PASSWORD".into(),
                    old: Some("\"old word\"".into()),
                    new: Some("\"new word\"".into()),
                    hidden: false,
                },
            ],
            rollout: None,
            notes: Vec::new(),
        }],
        problems: vec![],
    }
}

fn scene() -> crate::metrics::Scene {
    let seen = |service: &str| crate::metrics::scene::Seen {
        service: service.into(),
        replica: "1".into(),
        state: "running",
        runs: 7,
        ..Default::default()
    };
    crate::metrics::Scene { instances: vec![seen("db"), seen("web")], services: 2, ..Default::default() }
}

pub(crate) fn history(name: &str) -> History {
    let sample = |minute: u32, memory: Option<u64>| Sample {
        at: format!("2026-11-21T12:{minute:02}:00Z"),
        run: 7,
        memory,
        cpu: Some(0.25 * f64::from(minute)),
        cpu_pressure: Some(0.125),
        memory_pressure: None,
        io_pressure: Some(0.0),
    };
    History {
        instance: name.into(),
        every: 60.0,
        kept: 120,
        memory_request: Some(16 << 20),
        memory_high: None,
        memory_max: Some(64 << 20),
        samples: vec![sample(0, Some(12 << 20)), sample(1, Some(24 << 20)), sample(2, None)],
    }
}

/// The table: `web` with two instances, `db` with one; `stuck` conflicts; the rest is unknown.
fn known(target: &Target) -> Result<(), Refusal> {
    match target.to_string().as_str() {
        "web" | "web.1" | "web.2" | "db" | "db.1" => Ok(()),
        "stuck" => Err(Refusal::Conflict("stuck is being removed".into())),
        name => Err(Refusal::NotFound(format!("no service {name:?}"))),
    }
}

fn answer(call: Call, live: &broadcast::Sender<EventInfo>, runtime: &std::path::Path) {
    // A client that went away has no receiver any more.
    match call {
        Call::Ps(a) => {
            let all =
                vec![instance("db", 1, "running"), instance("web", 1, "backoff"), instance("web", 2, "held")];
            drop(a.send(Ok(all)))
        }
        Call::Status(name, a) => {
            drop(a.send(known(&Target::Service(name.clone())).map(|()| status(name.as_str()))))
        }
        Call::Plan(_, a) => drop(a.send(Ok(plan()))),
        Call::Apply(request, a) => drop(a.send(match request.files.first() {
            Some(f) if f.text.contains("nonsense") => Err(Refusal::BadRequest(
                "1 file is refused".into(),
                vec![Problem {
                    file: "web.toml".into(),
                    line: 1,
                    column: 3,
                    key: "nonsense".into(),
                    message: "unknown key".into(),
                }],
            )),
            Some(f) if f.text.contains("full") => Err(Refusal::Internal("No space left on device".into())),
            _ => Ok(plan()),
        })),
        Call::Set { service, answer, .. } => {
            let set = known(&Target::Service(service)).map(|()| plan());
            drop(answer.send(set));
        }
        Call::Order { targets, .. } => {
            targets.into_iter().for_each(|(target, answer)| drop(answer.send(known(&target))));
        }
        Call::Wait { target, answer, .. } | Call::Kill { target, answer, .. } => {
            drop(answer.send(known(&target)))
        }
        Call::Rollout(name, a) => drop(a.send(known(&Target::Service(name)).map(|()| rollout()))),
        Call::RolloutWish { service, wish, answer } => {
            let paused = || Refusal::Conflict("paused already".into());
            let done = if wish == RolloutWish::Pause { Err(paused()) } else { Ok(()) };
            drop(answer.send(known(&Target::Service(service)).and(done)));
        }
        Call::Explain(target, a) => drop(a.send(known(&target).map(|()| Explanation {
            name: target.to_string(),
            summary: "waits before the next try".into(),
            chain: vec![event(1), event(2)],
            next: Some("starts again in 4 s".into()),
        }))),
        Call::Events { since, answer } => {
            let past = (since + 1..=5).map(event).collect();
            let numbers = super::cursor::Numbers { oldest: Some(1), next: 6 };
            drop(answer.send(Ok(core::Page { past, live: live.subscribe(), numbers })))
        }
        Call::Running(target, a) => {
            drop(
                a.send(match target.to_string().as_str() {
                    "web.1" => {
                        Ok(Running { run: "web.1.7".parse().unwrap(), runtime: runtime.into(), tty: false })
                    }
                    "web" => Err(Refusal::Conflict("web has 2 instances, want one of web.1, web.2".into())),
                    _ => known(&target)
                        .and_then(|()| Err(Refusal::Conflict(format!("{target} does not run: held")))),
                }),
            )
        }
        Call::History(target, a) => drop(a.send(known(&target).map(|()| vec![history(&target.to_string())]))),
        Call::Metrics(a) => drop(a.send(Ok(Box::new(scene())))),
        Call::Version(a) => drop(a.send(Ok(VersionInfo {
            version: "0.1.0".into(),
            api: 1,
            keeper_protocol: 1,
            runtime: "knarr".into(),
            pid: 1,
        }))),
    }
}

static NEXT: AtomicU32 = AtomicU32::new(0);

impl Fake {
    pub(crate) fn start() -> Fake {
        Fake::with(Limits::default(), None)
    }

    pub(crate) fn with(limits: Limits, group: Option<u32>) -> Fake {
        let base: PathBuf = std::env::temp_dir().join(format!(
            "knarrd-api-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        ));
        let dirs = Dirs { services: base.join("etc"), state: base.join("state"), run: base.join("run") };
        std::fs::create_dir_all(&dirs.run).unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (live, _) = broadcast::channel(8);
        let (stop, stopped) = oneshot::channel::<()>();
        let (ready, started) = std::sync::mpsc::channel();
        let thread = {
            let (dirs, asked, live) = (dirs.clone(), asked.clone(), live.clone());
            std::thread::spawn(move || {
                let rt = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                rt.block_on(async {
                    let (calls, mut queue) = mpsc::channel(16);
                    let runtime = dirs.run.join("runtime.sh");
                    tokio::spawn(async move {
                        while let Some(call) = queue.recv().await {
                            asked.lock().unwrap().push(format!("{call:?}"));
                            answer(call, &live, &runtime);
                        }
                    });
                    let listeners = bind(&dirs, group, None).unwrap();
                    ready.send(()).unwrap();
                    let end = async {
                        // A dropped sender ends it, too.
                        let _ = stopped.await;
                    };
                    serve_with(Handle { calls, dirs }, listeners, limits, end).await;
                });
            })
        };
        started.recv().unwrap();
        Fake { dirs, asked, live, stop: Some(stop), thread: Some(thread) }
    }

    pub(crate) fn connect(&self) -> UnixStream {
        let s = UnixStream::connect(self.dirs.socket()).unwrap();
        s.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        s
    }

    fn connect_read_only(&self) -> UnixStream {
        let s = UnixStream::connect(self.dirs.socket_read_only()).unwrap();
        s.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        s
    }

    /// One request on a connection of its own.
    fn say(&self, request: &str) -> Reply {
        talk(self.connect(), request.as_bytes())
    }

    fn get(&self, path: &str) -> Reply {
        self.say(&format!("GET {path} HTTP/1.1\r\nhost: k\r\nconnection: close\r\n\r\n"))
    }

    fn post(&self, path: &str, body: &str) -> Reply {
        self.say(&post(path, body))
    }

    fn last(&self) -> String {
        self.asked.lock().unwrap().last().cloned().unwrap_or_default()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        drop(self.stop.take());
        let joined = self.thread.take().map(|t| t.join());
        let _ = std::fs::remove_dir_all(self.dirs.run.parent().unwrap());
        if !std::thread::panicking() {
            joined.unwrap().unwrap();
        }
    }
}

fn post(path: &str, body: &str) -> String {
    let kind = if body.is_empty() { "" } else { "content-type: application/json\r\n" };
    format!(
        "POST {path} HTTP/1.1\r\nhost: k\r\n{kind}content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

#[derive(Debug)]
struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Reply {
    fn error(&self) -> ErrorBody {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

fn talk(mut s: UnixStream, request: &[u8]) -> Reply {
    // The daemon may refuse and close before all is written.
    let _ = s.write_all(request);
    let mut all = Vec::new();
    let _ = s.read_to_end(&mut all);
    parse(&all)
}

fn parse(all: &[u8]) -> Reply {
    let text = String::from_utf8_lossy(all);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    let head = head.to_ascii_lowercase();
    let body = if head.contains("transfer-encoding: chunked") { dechunk(body) } else { body.to_owned() };
    Reply { status, head, body }
}

fn dechunk(mut body: &str) -> String {
    let mut out = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let n = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        if n == 0 {
            break;
        }
        out.push_str(&rest[..n.min(rest.len())]);
        body = rest.get(n + 2..).unwrap_or("");
    }
    out
}

#[test]
fn metrics_are_text_of_the_wanted_kind() {
    let d = Fake::start();
    let classic = d.get("/metrics");
    assert_eq!(classic.status, 200);
    assert!(classic.head.contains("content-type: text/plain; version=0.0.4"), "{classic:?}");
    assert!(
        classic.body.contains("knarr_instance_runs_total{service=\"web\",replica=\"1\"} 7\n"),
        "{classic:?}"
    );
    assert!(classic.body.contains("\nknarr_services 2\n") && !classic.body.contains("# EOF"), "{classic:?}");
    let accept = "accept: application/openmetrics-text;version=1.0.0";
    let open = d.say(&format!("GET /metrics HTTP/1.1\r\nhost: k\r\n{accept}\r\nconnection: close\r\n\r\n"));
    assert!(open.head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{open:?}");
    assert!(open.body.ends_with("\n# EOF\n"), "{open:?}");
}

#[test]
fn every_reading_route_answers() {
    let d = Fake::start();
    assert_eq!(d.get("/v1/version").json()["api"], 1);
    assert_eq!(d.get("/v1/instances").json().as_array().unwrap().len(), 3);
    assert_eq!(d.get("/v1/services/web").json()["service"], "web");
    assert_eq!(d.get("/v1/explain/web.1").json()["chain"][1]["seq"], 2);
    let usage = d.get("/v1/usage").json();
    assert_eq!(usage["instances"][1]["instance"], "web.1");
    // Nothing runs: of what the kernel would tell nothing is known. What is not of a container is.
    assert!(usage["instances"][1]["memory"].is_null() && usage["instances"][1]["run"] == 7);
    assert!(usage["host"]["memory"].as_u64() > Some(1 << 20));
    let history = d.get("/v1/services/web.1/history").json();
    assert_eq!(history[0]["samples"][1]["memory"], 24 << 20);
    assert_eq!(d.get("/v1/services/nope/history").status, 404);
    assert_eq!(d.get("/v1/openapi.json").json()["openapi"], "3.1.0");
    let events = d.get("/v1/events?since=3");
    assert_eq!(events.status, 200);
    assert!(events.head.contains("content-type: application/x-ndjson"), "{}", events.head);
    let seqs: Vec<u64> =
        events.body.lines().map(|l| serde_json::from_str::<EventInfo>(l).unwrap().seq).collect();
    assert_eq!(seqs, [4, 5]);
    // No event ever had this number: it begins anew, and says so.
    let anew = d.get("/v1/events?since=99").body;
    assert!(anew.starts_with("{\"lagged\":0,\"oldest\":1,\"reason\":\"numbers-began-anew\"}\n{"), "{anew}");
    assert_eq!(anew.lines().count(), 6, "{anew}");
    assert_eq!(d.get("/v1/events?target=web.1&kind=exited").body.lines().count(), 5);
    for none in ["target=db", "kind=started", "severity=warning"] {
        assert_eq!(d.get(&format!("/v1/events?{none}")).body, "", "{none}");
    }
    let head = d.say("HEAD /v1/instances HTTP/1.1\r\nhost: k\r\nconnection: close\r\n\r\n");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

#[test]
fn who_may_only_look_sees_no_values_of_the_environment() {
    let d = Fake::start();
    assert!(d.post("/v1/plan", "{}").body.contains("old word"));
    let mut plan = plan();
    plan.hide_values();
    let text = serde_json::to_string(&plan).unwrap();
    assert!(
        !text.contains("word\\\"") && text.contains("env.PASSWORD") && text.contains("134217728"),
        "{text}"
    );
    assert!(text.contains("\"hidden\":true"), "{text}");
}

#[test]
fn orders_reach_the_owner_as_they_were_given() {
    let d = Fake::start();
    for (path, asked) in [
        ("/v1/services/web/start", "Order { verb: Start, targets: [(Service(ServiceName(\"web\"))"),
        ("/v1/services/web/start", "wait: false"),
        ("/v1/services/web/start?wait=true", "wait: true"),
        ("/v1/services/web.2/stop?wait=false", "Order { verb: Stop, targets: [(Instance("),
        ("/v1/services/db/restart", "verb: Restart"),
        ("/v1/services/db/kill", "signal: 15"),
        ("/v1/services/db/kill?signal=SIGHUP", "signal: 1,"),
        ("/v1/services/db/kill?signal=RTMIN%2B3", "signal: 37"),
        ("/v1/services/db/kill?signal=9", "signal: 9"),
    ] {
        let reply = d.post(path, "");
        assert_eq!((reply.status, reply.body.as_str()), (204, ""), "{path}");
        assert!(d.last().contains(asked), "{path}: {}", d.last());
    }
    let reply = d.say("DELETE /v1/services/db?wait=true HTTP/1.1\r\nhost: k\r\nconnection: close\r\n\r\n");
    assert_eq!(reply.status, 204);
    assert!(d.last().contains("verb: Remove, targets: [(Service(ServiceName(\"db\"))"));
    let reply = d.post("/v1/orders?wait=true", r#"{"verb":"stop","targets":["db","nosuch","-","web.1"]}"#);
    assert_eq!(reply.status, 200);
    let codes: Vec<_> = reply
        .json()
        .as_array()
        .unwrap()
        .iter()
        .map(|o| o["error"]["code"].as_str().unwrap_or("").to_owned())
        .collect();
    assert_eq!(codes, ["", "not-found", "bad-request", ""]);
    assert!(
        d.last().contains("verb: Stop, targets: [(Service(ServiceName(\"db\"))")
            && d.last().contains("wait: true")
    );
    let reply = d.post("/v1/orders", r#"{"verb":"remove","targets":["web.1"]}"#);
    assert!(reply.body.contains("want the service, web"), "{}", reply.body);
    let files = r#"{"files":[{"name":"web","text":"x = 1\n"}]}"#;
    for path in ["/v1/plan", "/v1/apply"] {
        assert_eq!(d.post(path, files).json()["changes"][0]["fields"][0]["new"], "134217728");
        assert!(d.last().contains(r#"ServiceFile { name: "web", text: "x = 1\n" }"#), "{}", d.last());
        assert_eq!(d.post(path, "{}").status, 200);
    }
}

#[test]
fn refusals_of_the_owner_have_their_status() {
    let d = Fake::start();
    for (reply, status, code, text) in [
        (d.get("/v1/services/wbe"), 404, "not-found", "no service \"wbe\""),
        (d.get("/v1/explain/zzzzz"), 404, "not-found", "no service \"zzzzz\""),
        (d.post("/v1/services/web.3/stop", ""), 404, "not-found", "no service \"web.3\""),
        (d.post("/v1/services/stuck/start", ""), 409, "conflict", "being removed"),
        (
            d.post("/v1/apply", r#"{"files":[{"name":"web","text":"nonsense"}]}"#),
            400,
            "bad-request",
            "refused",
        ),
        (d.post("/v1/apply", r#"{"files":[{"name":"web","text":"full"}]}"#), 500, "internal", "No space"),
    ] {
        assert_eq!(reply.status, status, "{reply:?}");
        assert_eq!(reply.error().code, code);
        assert!(reply.error().message.contains(text), "{reply:?}");
    }
    let problems = d.post("/v1/apply", r#"{"files":[{"name":"web","text":"nonsense"}]}"#).error().problems;
    assert_eq!((problems[0].line, problems[0].column), (1, 3));
}

#[test]
fn malformed_requests_are_refused_and_ask_nothing() {
    let d = Fake::start();
    let plain = |body: &str| {
        format!(
            "POST /v1/plan HTTP/1.1\r\nhost: k\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        )
    };
    let ten_mib = "POST /v1/apply HTTP/1.1\r\nhost: k\r\ncontent-type: application/json\r\ncontent-length: 10485760\r\n\r\n";
    let cases: Vec<(String, u16, &str)> = vec![
        (post("/v1/plan", "{"), 400, "body: EOF"),
        (post("/v1/plan", "[]"), 400, "body:"),
        (post("/v1/plan", r#"{"file":[]}"#), 400, "unknown field `file`"),
        (post("/v1/plan", r#"{"files":[{"name":"a","text":"","mode":1}]}"#), 400, "unknown field `mode`"),
        (post("/v1/plan", r#"{"files":[],"files":[]}"#), 400, "duplicate field"),
        (post("/v1/plan", "{}{}"), 400, "trailing"),
        (post("/v1/plan", "\u{0}"), 400, "body:"),
        (plain("{}"), 415, "content-type"),
        (post("/v1/plan", ""), 415, "content-type"),
        (post("/v1/services/web/start", "{}"), 400, "takes no body"),
        (post("/v1/services/web/start?wait=yes", ""), 400, "wait"),
        (post("/v1/services/web/start?wiat=true", ""), 400, "unknown field `wiat`"),
        (post("/v1/services/web/start?wait=true&wait=true", ""), 400, "duplicate field"),
        (post("/v1/services/web/kill?signal=NONE", ""), 400, "signal: no such signal, got \"NONE\""),
        (post("/v1/services/web/kill?signal=0", ""), 400, "signal"),
        (post("/v1/services/web/kill?signal=65", ""), 400, "signal"),
        (post("/v1/services/web/kill?signal=RTMIN-1", ""), 400, "signal"),
        (post("/v1/services/a%2Fb/start", ""), 400, "\"a/b\""),
        (post("/v1/services/..%2F..%2Fetc/start", ""), 400, "../../etc"),
        (post("/v1/services/a%00b/start", ""), 400, "\\0"),
        (post("/v1/services/a%0Ab/start", ""), 400, "\\n"),
        (post("/v1/services/%FF/start", ""), 400, "UTF-8"),
        (post("/v1/services/web.0/start", ""), 400, "replica"),
        (post("/v1/services/web.1.7/start", ""), 400, "replica"),
        (post("/v1/services/Web/start", ""), 400, "lower case"),
        (post(&format!("/v1/services/{}/start", "a".repeat(64)), ""), 400, "longer than 63"),
        (get("/v1/services/web.1"), 400, "one instance"),
        (get("/v1/services/"), 404, "no such path"),
        (get("/v1/services/web/"), 404, "no such path"),
        (get("/v1/services/a/b/c"), 404, "no such path"),
        (get("/v2/version"), 404, "no such path"),
        (get("/"), 404, "no such path"),
        (get("/v1/events?since=-1"), 400, "since"),
        (get("/v1/events?since=18446744073709551616"), 400, "since"),
        (get("/v1/events?follow"), 400, "follow"),
        (get("/v1/events?target=We"), 400, "target"),
        (get("/v1/events?kind=,"), 400, "kind"),
        (get("/v1/events?severity=bad"), 400, "severity"),
        (get("/v1/logs/web?tail=-1"), 400, "tail"),
        (get("/v1/logs/web?since=yesterday"), 400, "since"),
        (post("/v1/version", ""), 405, "POST cannot be used"),
        (get("/v1/plan"), 405, "GET cannot be used"),
        (post("/v1/exec/web.1", r#"{"command":["ls"]}"#), 426, "knarr-stream/1"),
        (post("/v1/attach/web.1", ""), 426, "knarr-stream/1"),
        (ten_mib.to_owned(), 413, "longer than 4194304"),
    ];
    for (request, status, text) in &cases {
        let reply = d.say(request);
        assert_eq!(reply.status, *status, "{request:?}: {reply:?}");
        assert!(reply.error().message.contains(text), "{request:?}: {reply:?}");
    }
    assert_eq!(*d.asked.lock().unwrap(), Vec::<String>::new());
    let not_allowed = d.post("/v1/services/web", "");
    assert!(not_allowed.head.contains("allow: "), "{}", not_allowed.head);
    let allow = not_allowed.head.lines().find(|l| l.starts_with("allow:")).unwrap();
    assert!(allow.contains("get") && allow.contains("delete"), "{allow}");
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: k\r\nconnection: close\r\n\r\n")
}

#[test]
fn what_is_no_http_is_answered_or_cut() {
    let d = Fake::start();
    let flood: String = (0..200).map(|i| format!("x-{i}: y\r\n")).collect();
    let long = "a".repeat(20_000);
    for (request, status) in [
        ("\u{0}\u{1}\u{2}\r\n\r\n".to_owned(), 400),
        ("GET\r\n\r\n".to_owned(), 400),
        ("GET /v1/version HTTP/9.9\r\n\r\n".to_owned(), 400),
        ("GET /v1/version HTTP/1.1\r\nbad header\r\n\r\n".to_owned(), 400),
        (format!("GET /v1/version HTTP/1.1\r\nhost: k\r\n{flood}\r\n"), 431),
        (format!("GET /v1/version HTTP/1.1\r\nhost: k\r\nx: {long}\r\n\r\n"), 431),
        (format!("GET /{long} HTTP/1.1\r\nhost: k\r\n\r\n"), 431),
        (
            "POST /v1/plan HTTP/1.1\r\nhost: k\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab"
                .to_owned(),
            400,
        ),
    ] {
        let reply = d.say(&request);
        assert_eq!(reply.status, status, "{:.60}: {reply:?}", request);
    }
    // A body without a declared length is cut at the limit.
    let mut s = d.connect();
    s.write_all(b"POST /v1/plan HTTP/1.1\r\nhost: k\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n")
        .unwrap();
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    for _ in 0..100 {
        if s.write_all(chunk.as_bytes()).is_err() {
            break;
        }
    }
    let mut all = Vec::new();
    let _ = s.read_to_end(&mut all);
    assert_eq!(parse(&all).status, 413);
    assert_eq!(d.get("/v1/version").status, 200);
}

#[test]
fn one_connection_carries_several_requests() {
    let d = Fake::start();
    let mut s = d.connect();
    let two = "GET /v1/version HTTP/1.1\r\nhost: k\r\n\r\n".repeat(2) + &get("/v1/services/nope");
    s.write_all(two.as_bytes()).unwrap();
    let mut text = String::new();
    s.read_to_string(&mut text).unwrap();
    assert_eq!(text.matches("HTTP/1.1 200").count(), 2);
    assert_eq!(text.matches("HTTP/1.1 404").count(), 1);
}

#[test]
fn the_read_only_socket_only_looks() {
    let d = Fake::start();
    let ask = |request: String| talk(d.connect_read_only(), request.as_bytes());
    for path in [
        "/metrics",
        "/v1/version",
        "/v1/instances",
        "/v1/usage",
        "/v1/events",
        "/v1/explain/web",
        "/v1/services/web/history",
        "/v1/openapi.json",
    ] {
        assert_eq!(ask(get(path)).status, 200, "{path}");
    }
    assert_eq!(ask(post("/v1/plan", "{}")).status, 200);
    let before = d.asked.lock().unwrap().len();
    for path in [
        "/v1/apply",
        "/v1/services/web/start",
        "/v1/services/web/stop",
        "/v1/services/web/restart",
        "/v1/services/web/kill",
        "/v1/exec/web.1",
        "/v1/attach/web.1",
        "/v1/plan/",
        "/v1/nothing",
    ] {
        let reply = ask(post(path, "{}"));
        assert_eq!((reply.status, reply.error().code.as_str()), (403, "forbidden"), "{path}");
        assert!(reply.error().message.contains("knarrd.sock"), "{reply:?}");
    }
    let delete = "DELETE /v1/services/web HTTP/1.1\r\nhost: k\r\nconnection: close\r\n\r\n";
    assert_eq!(ask(delete.into()).status, 403);
    assert_eq!(d.asked.lock().unwrap().len(), before);
}

#[test]
fn half_sent_requests_are_dropped_at_their_timeout() {
    let short = Duration::from_millis(200);
    let d = Fake::with(Limits { head_time: short, body_time: short, ..Limits::default() }, None);
    for part in ["", "GET /v1/ver", "GET /v1/version HTTP/1.1\r\nhost: k\r\n"] {
        let begin = Instant::now();
        let reply = d.say(part);
        assert!(matches!(reply.status, 0 | 408), "{part:?}: {reply:?}");
        assert!(begin.elapsed() < Duration::from_secs(5), "{part:?} took {:?}", begin.elapsed());
    }
    let body =
        "POST /v1/plan HTTP/1.1\r\nhost: k\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{";
    let reply = d.say(body);
    assert_eq!((reply.status, reply.error().code.as_str()), (408, "timeout"), "{reply:?}");
    // Kept alive, then silent.
    let begin = Instant::now();
    assert_eq!(d.say("GET /v1/version HTTP/1.1\r\nhost: k\r\n\r\n").status, 200);
    assert!(begin.elapsed() < Duration::from_secs(5));
}

#[test]
fn connections_and_streams_are_counted() {
    let d = Fake::with(Limits { connections: 20, streams: 5, ..Limits::default() }, None);
    let silent: Vec<UnixStream> = (0..300).map(|_| d.connect()).collect();
    let told = silent
        .iter()
        .filter(|s| {
            s.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
            let mut buf = [0; 12];
            matches!((&**s).read(&mut buf), Ok(n) if buf[..n] == *b"HTTP/1.1 503" || n == 0)
        })
        .count();
    assert!(told >= 270, "{told}");
    // The other socket has room of its own.
    assert_eq!(talk(d.connect_read_only(), get("/v1/version").as_bytes()).status, 200);
    drop(silent);
    let begin = Instant::now();
    while d.get("/v1/version").status != 200 {
        assert!(begin.elapsed() < Duration::from_secs(5));
        std::thread::sleep(Duration::from_millis(10));
    }
    let streams: Vec<UnixStream> = (0..5)
        .map(|_| {
            let mut s = d.connect();
            s.write_all(b"GET /v1/events?follow=true HTTP/1.1\r\nhost: k\r\n\r\n").unwrap();
            s.read_exact(&mut [0; 12]).unwrap();
            s
        })
        .collect();
    let reply = d.get("/v1/events");
    assert_eq!((reply.status, reply.error().code.as_str()), (503, "busy"));
    drop(streams);
    while d.get("/v1/events").status != 200 {
        assert!(begin.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn three_hundred_slow_readers_do_not_stall_the_daemon() {
    let d = Fake::with(Limits { connections: 400, streams: 400, ..Limits::default() }, None);
    let slow: Vec<UnixStream> = (0..300)
        .map(|_| {
            let mut s = d.connect();
            s.write_all(b"GET /v1/events?follow=true HTTP/1.1\r\nhost: k\r\n\r\n").unwrap();
            s
        })
        .collect();
    let mut longest = Duration::ZERO;
    for seq in 6..400 {
        // Nobody may be there yet.
        let _ = d.live.send(event(seq));
        if seq % 40 == 0 {
            let begin = Instant::now();
            assert_eq!(d.get("/v1/version").status, 200);
            longest = longest.max(begin.elapsed());
        }
    }
    assert!(longest < Duration::from_secs(2), "{longest:?}");
    drop(slow);
}

#[test]
fn following_gives_what_was_and_what_comes() {
    let d = Fake::start();
    let mut s = d.connect();
    s.write_all(b"GET /v1/events?since=4&follow=true HTTP/1.1\r\nhost: k\r\n\r\n").unwrap();
    let mut text = String::new();
    let mut buf = [0; 4096];
    while !text.contains("\"seq\":5") {
        let n = s.read(&mut buf).unwrap();
        text.push_str(&String::from_utf8_lossy(&buf[..n]));
    }
    d.live.send(event(5)).unwrap();
    d.live.send(event(6)).unwrap();
    while !text.contains("\"seq\":6") {
        let n = s.read(&mut buf).unwrap();
        text.push_str(&String::from_utf8_lossy(&buf[..n]));
    }
    assert_eq!(text.matches("\"seq\":5").count(), 1, "{text}");
    assert!(!text.contains("\"seq\":4"));
    // The daemon's end ends the stream in order.
    let stop = d.asked.clone();
    drop(d);
    let mut rest = String::new();
    s.read_to_string(&mut rest).unwrap();
    assert!(rest.ends_with("0\r\n\r\n"), "{rest:?}");
    drop(stop);
}

#[test]
fn sockets_are_made_private_and_taken_over_only_when_dead() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let d = Fake::with(Limits::default(), Some(12));
    for path in [d.dirs.socket(), d.dirs.socket_read_only()] {
        let m = std::fs::metadata(path).unwrap();
        assert_eq!(m.permissions().mode() & 0o7777, 0o660);
        assert_eq!(m.gid(), 12);
    }
    let rt = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _inside = rt.enter();
    assert_eq!(bind(&d.dirs, None, None).unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
    assert_eq!(d.get("/v1/version").status, 200);
    let other = Dirs { run: d.dirs.run.join("other"), ..d.dirs.clone() };
    std::fs::create_dir(&other.run).unwrap();
    drop(std::os::unix::net::UnixListener::bind(other.socket()).unwrap());
    drop(bind(&other, None, None).unwrap());
    assert_eq!(std::fs::metadata(other.socket()).unwrap().permissions().mode() & 0o7777, 0o600);
    std::fs::remove_file(other.socket()).unwrap();
    std::fs::write(other.socket(), "precious").unwrap();
    assert!(bind(&other, None, None).is_err());
    assert_eq!(std::fs::read_to_string(other.socket()).unwrap(), "precious");
}

#[test]
fn the_group_and_nobody_else() {
    use super::bind::Guard;
    use crate::sys::peer::Peer;
    let peer = |uid, gid, groups: &[u32]| Peer { uid, gid, groups: groups.to_vec() };
    let guard = Guard { owner: 7, group: Some(50) };
    for (who, may) in [
        (peer(0, 1, &[]), true),
        (peer(7, 1, &[]), true),
        (peer(1000, 50, &[]), true),
        (peer(1000, 1000, &[4, 50]), true),
        (peer(1000, 1000, &[4, 51]), false),
        (peer(50, 1000, &[]), false),
    ] {
        assert_eq!(guard.admits(&who), may, "{who:?}");
    }
    assert!(!Guard { owner: 0, group: None }.admits(&peer(1000, 0, &[0])));
}

#[test]
fn the_document_has_every_route_and_no_other() {
    let document: serde_json::Value = serde_json::from_str(&document()).unwrap();
    let mut described: Vec<(String, String)> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, of)| of.as_object().unwrap().keys().map(move |m| (m.to_uppercase(), path.clone())))
        .collect();
    let mut there: Vec<(String, String)> =
        routes::table().into_iter().map(|(m, p, _)| (m.to_string(), p.to_owned())).collect();
    described.sort();
    there.sort();
    assert_eq!(described, there);
    // The table says the truth about its handlers.
    let d = Fake::start();
    for (method, path) in &there {
        let path = path.replace("{target}", "web.1");
        let reply = d.say(&format!("{method} {path} HTTP/1.1\r\nhost: k\r\nconnection: close\r\n\r\n"));
        assert!(reply.status != 404 && reply.status != 405, "{method} {path}: {reply:?}");
    }
    // Every reference points somewhere.
    let text = document.to_string();
    for part in text.split("#/components/schemas/").skip(1) {
        let name = part.split('"').next().unwrap();
        assert!(document["components"]["schemas"].get(name).is_some(), "{name}");
    }
}

#[test]
fn somebody_else_is_told_so_before_the_body_is_read() {
    use std::os::unix::fs::PermissionsExt;
    if crate::sys::peer::own_uid() != 0 {
        eprintln!("needs root: skipped");
        return;
    }
    let d = Fake::with(Limits::default(), Some(12));
    // Beyond the guard of the file system.
    std::fs::set_permissions(d.dirs.socket(), std::fs::Permissions::from_mode(0o666)).unwrap();
    let socket = d.dirs.socket();
    let mut dir = socket.parent();
    while let Some(p) = dir.filter(|p| p.starts_with(std::env::temp_dir()) && *p != std::env::temp_dir()) {
        std::fs::set_permissions(p, std::fs::Permissions::from_mode(0o755)).unwrap();
        dir = p.parent();
    }
    let ask = |groups: &'static [u32], request: String| {
        let socket = socket.clone();
        std::thread::spawn(move || {
            crate::sys::peer::become_nobody(groups).unwrap();
            let s = UnixStream::connect(&socket).unwrap();
            s.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            talk(s, request.as_bytes())
        })
        .join()
        .unwrap()
    };
    let reply = ask(&[4], get("/v1/version"));
    assert_eq!((reply.status, reply.error().code.as_str()), (403, "forbidden"));
    assert!(reply.error().message.contains("uid 65534"), "{reply:?}");
    assert!(reply.head.contains("connection: close"));
    let begun =
        "POST /v1/apply HTTP/1.1\r\nhost: k\r\ncontent-type: application/json\r\ncontent-length: 900\r\n\r\n";
    assert_eq!(ask(&[4], begun.to_owned()).status, 403);
    assert_eq!(*d.asked.lock().unwrap(), Vec::<String>::new());
    assert_eq!(ask(&[4, 12], get("/v1/version")).status, 200);
}

#[test]
fn logs_of_all_instances_come_in_the_order_of_time() {
    let d = Fake::start();
    let log = |instance: &str| d.dirs.log(&instance.parse().unwrap());
    for (instance, lines) in [("web.1", [1, 3, 5]), ("web.2", [2, 4, 6])] {
        std::fs::create_dir_all(log(instance)).unwrap();
        let text: String =
            lines.iter().map(|n| format!("2026-11-21T12:00:0{n}.000000000Z stdout F line {n}\n")).collect();
        std::fs::write(log(instance).join("00000001.log"), text).unwrap();
    }
    let texts = |reply: &Reply| -> Vec<String> {
        reply.body.lines().map(|l| serde_json::from_str::<LogLine>(l).unwrap().text).collect()
    };
    let all = d.get("/v1/logs/web");
    assert_eq!(texts(&all), ["line 1", "line 2", "line 3", "line 4", "line 5", "line 6"]);
    assert_eq!(texts(&d.get("/v1/logs/web.2?tail=2")), ["line 4", "line 6"]);
    assert_eq!(texts(&d.get("/v1/logs/web?since=2026-11-21T12:00:05Z")), ["line 5", "line 6"]);
    assert_eq!(texts(&d.get("/v1/logs/db")), Vec::<String>::new());
    assert_eq!(d.get("/v1/logs/wbe").status, 404);
    let mut s = d.connect();
    s.write_all(b"GET /v1/logs/web?follow=true&tail=1 HTTP/1.1\r\nhost: k\r\n\r\n").unwrap();
    let mut text = String::new();
    let mut more = |text: &mut String, until: &str| {
        let mut buf = [0; 4096];
        while !text.contains(until) {
            let n = s.read(&mut buf).unwrap();
            text.push_str(&String::from_utf8_lossy(&buf[..n]));
        }
    };
    more(&mut text, "line 6");
    let mut file = std::fs::OpenOptions::new().append(true).open(log("web.1").join("00000001.log")).unwrap();
    file.write_all(b"2026-11-21T12:00:07.000000000Z stderr F line 7\n").unwrap();
    more(&mut text, "line 7");
    assert!(text.contains("line 5") && !text.contains("line 4"), "{text}");
}
