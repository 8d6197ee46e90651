//! Good service files, and the text that no file may break the reader with.

use std::path::Path;
use std::time::Duration;

use super::{DeTable, Reader, Table, locate, parse, service};
use crate::names::ServiceName;
use crate::probe::{Kind, Tls};
use crate::unit::job::Overlap;
use crate::unit::service::*;

/// A file with every key but those that exclude others.
pub(super) const FULL: &str = r#"description = "The shop's front"
labels = { team = "shop" }
bundle = "/srv/web"
replicas = 2
command = ["/bin/serve", "8080"]
env = { MODE = "fast", LINES = "a\nb" }
env_files = ["/etc/web.env"]
workdir = "/srv"
user = "1000:1000"
groups = [44, 100]
tty = false
stdin = true
hostname = "web"
runtime = "/usr/sbin/runc"
network = { cni = ["web"] }
ports = ["8080/tcp", 53]
listen = ["tcp:8080", { address = "unix:/run/web.sock", name = "admin", mode = "0660" }]
depends_on = ["db", { service = "migrate", condition = "completed", timeout = "5m", restart = true }]

[limits]
memory = "64MiB"
swap = 0
cpus = 1.5
cpu_weight = 200
cpuset = "0-3,6"
pids = 256
nofile = 4096
oom_score_adj = 100
memory_request = "32MiB"
memory_high = "56MiB"
memory_min = 4096
memory_low = "16MiB"
zswap = 0
oom_group = false
cpu_burst = "20ms"
io_weight = 300
io_max = [{ device = "/dev/sda", read_bps = "10MiB", write_bps = "20MiB", read_iops = 5, write_iops = 6 }]

[security]
capabilities_add = ["NET_ADMIN"]
capabilities_drop = ["cap_mknod"]
seccomp = "unconfined"
no_new_privileges = true

[restart]
policy = "on-failure:3"
delay = "500ms"
max_delay = "30s"
reset = "5m"
crash_failures = 10
crash_window = "30m"
on_crash_loop = "hold"

[[restart.rules]]
codes = [3, "10-20"]
action = "fail"

[[restart.rules]]
signals = ["KILL"]
oom = true
not = true
action = "complete"

[stop]
signal = "SIGQUIT"
grace = "1m30s"

[logs]
max_size = "1MiB"
max_files = 3
journald = true

[pressure]
priority = 700
rungs = ["evict", "warn", "freeze"]
freeze_for = "10s"
grace = "500ms"
signal = "USR1"
watch = true
restart_above = "80% for 10m"
at_high = "restart"

[probes]
on_unhealthy = "stop"

[probes.startup]
http = { port = 8080, host = "::1", path = "/up?x=1", method = "HEAD", headers = { Host = "shop", X-A = "b" }, status = [200, "300-308"], tls = { verify = true, name = "shop.test", ca = "/etc/ca.pem" } }
initial_delay = "1s"
grace = "3s"

[probes.liveness]
exec = ["/bin/check", "-q"]
period = "1s"
timeout = "500ms"
failure_threshold = 5

[probes.readiness]
grpc = { port = 50051, host = "127.0.0.1", service = "shop.Cart" }
success_threshold = 2

[update]
order = "start-first"
parallelism = 2
min_healthy = "30s"
progress_deadline = "5m"
watch = "10m"
on_failure = "pause"

[[mounts]]
source = "/srv/data"
target = "/data/"
read_only = true
options = ["noexec"]

[[mounts]]
type = "tmpfs"
target = "/cache"
size = "16M"

[[secrets]]
source = "/etc/web/key"
target = "/run/secrets/key"
mode = "0440"
uid = 1
on_change = "restart"

[[configs]]
source = "/etc/web/conf"
target = "/etc/web.conf"
gid = 7
on_change = { signal = "HUP" }

[hooks]
pre_start = [{ command = ["/usr/bin/true", "x"], timeout = "5s" }]
post_start = [{ command = ["/usr/bin/true"] }]
pre_stop = [{ command = ["/usr/bin/true"] }]
post_stop = [{ command = ["/usr/bin/true"] }]
"#;

/// A job with every key of `[job]`.
pub(super) const JOB: &str = r#"bundle = "/srv/backup"
replicas = 2
[restart]
delay = "10s"
[job]
attempts = 5
deadline = "10m"
schedule = "30 4 * * 1-5"
timezone = "CET-1CEST,M3.5.0,M10.5.0/3"
catch_up = false
overlap = "allow"
jitter = "5m"
"#;

fn name() -> ServiceName {
    "web".parse().unwrap()
}

pub(super) fn good(text: &str) -> Service {
    parse(&name(), Path::new("web.toml"), text).unwrap_or_else(|p| panic!("{text}\n{p:#?}"))
}

#[test]
fn a_file_of_one_line_has_the_defaults() {
    let s = good("bundle = \"/srv/web\"");
    assert_eq!(s.image, Image::Bundle("/srv/web".into()));
    assert_eq!((s.replicas, s.runtime.clone(), s.network.clone()), (1, None, Network::Default));
    assert_eq!(s.restart.policy, Policy::UnlessStopped);
    let secs = Duration::from_secs;
    assert_eq!((s.restart.delay, s.restart.max_delay, s.restart.reset), (secs(1), secs(60), secs(120)));
    assert_eq!((s.restart.crash_failures, s.restart.crash_window), (5, secs(600)));
    assert_eq!((s.stop.signal.number, s.stop.grace), (15, secs(10)));
    assert_eq!((s.logs.max_size, s.logs.max_files, s.logs.journald), (10 << 20, 5, false));
    assert_eq!((s.process, s.limits, s.security), Default::default());
    assert!(s.probes.is_empty());
    assert!(s.mounts.is_empty() && s.files.is_empty() && s.depends_on.is_empty());
}

#[test]
fn every_value_of_a_full_file_arrives() {
    let s = good(FULL);
    assert_eq!(s.process.env["LINES"], "a\nb");
    assert_eq!(s.process.user, Some(User { uid: 1000, gid: 1000, groups: vec![44, 100] }));
    assert_eq!(s.network, Network::Cni(vec!["web".into()]));
    assert_eq!(s.ports, ["8080/tcp", "53/tcp"]);
    let listen: Vec<_> =
        s.listen.iter().map(|l| (l.address.to_string(), l.name.as_deref(), l.mode)).collect();
    let want = [("tcp:8080".into(), None, 0o666), ("unix:/run/web.sock".into(), Some("admin"), 0o660)];
    assert_eq!(listen, want);
    let l = &s.limits;
    assert_eq!(
        (l.memory, l.swap, l.cpu_millis, l.cpu_weight),
        (Some(64 << 20), Some(0), Some(1500), Some(200))
    );
    assert_eq!(
        (l.cpus.as_deref(), l.pids, l.nofile, l.oom_score_adj),
        (Some("0-3,6"), Some(256), Some(4096), Some(100))
    );
    assert_eq!(
        (l.memory_request, l.memory_high, l.memory_min, l.memory_low),
        (Some(32 << 20), Some(56 << 20), Some(4096), Some(16 << 20))
    );
    assert_eq!((l.zswap, l.oom_group, l.io_weight), (Some(0), Some(false), Some(300)));
    assert_eq!(l.cpu_burst, Some(Duration::from_millis(20)));
    let disk = &l.io_max[0];
    assert_eq!((disk.read_bps, disk.write_bps), (Some(10 << 20), Some(20 << 20)));
    assert_eq!((disk.read_iops, disk.write_iops), (Some(5), Some(6)));
    assert_eq!(s.security.capabilities_add, ["CAP_NET_ADMIN"]);
    assert_eq!(s.security.capabilities_drop, ["CAP_MKNOD"]);
    assert_eq!(s.security.seccomp, Seccomp::Unconfined);
    assert_eq!(s.restart.policy, Policy::OnFailure(Some(3)));
    let when = Match { codes: vec![(3, 3), (10, 20)], signals: vec![], oom: false, not: false };
    assert_eq!(s.restart.rules[0], Rule { when, action: RuleAction::Fail });
    let when = Match { codes: vec![], signals: vec![9], oom: true, not: true };
    assert_eq!(s.restart.rules[1], Rule { when, action: RuleAction::Complete });
    assert_eq!((s.stop.signal.number, s.stop.grace.as_secs()), (3, 90));
    let p = &s.pressure;
    assert_eq!(p.priority, crate::unit::pressure::Priority::Level(700));
    assert_eq!(p.rungs().iter().map(|r| r.word()).collect::<Vec<_>>(), ["warn", "freeze", "evict"]);
    assert_eq!((p.freeze_for, p.grace), (Some(Duration::from_secs(10)), Some(Duration::from_millis(500))));
    let above = crate::memory::leak::Above { percent: 80, lasts: Duration::from_secs(600) };
    assert_eq!((p.restart_above, p.at_high), (Some(above), crate::memory::guard::AtHigh::Restart));
    assert_eq!((p.signal.as_ref().map(|s| s.number), p.watch), (Some(10), true));
    assert_eq!(s.mounts[0].target, "/data");
    assert_eq!(s.mounts[1].kind, MountKind::Tmpfs(Some(16 << 20)));
    let key = &s.files[0];
    assert_eq!((key.secret, key.mode, key.uid, key.gid), (true, 0o440, 1, 1000));
    assert_eq!(key.on_change, OnChange::Restart);
    let conf = &s.files[1];
    assert_eq!((conf.secret, conf.mode, conf.uid, conf.gid), (false, 0o444, 1000, 7));
    assert!(matches!(&conf.on_change, OnChange::Signal(s) if s.name == "HUP"));
    assert_eq!(s.depends_on[0].condition, Condition::Started);
    assert_eq!(s.depends_on[1].timeout, Some(Duration::from_secs(300)));
    assert!(s.depends_on[1].restart && !s.depends_on[0].restart);
    let Some(Kind::Http(http)) = s.probes.startup.as_ref().map(|p| &p.kind) else { panic!() };
    assert_eq!((http.port, http.host.as_str(), http.path.as_str()), (8080, "::1", "/up?x=1"));
    assert_eq!(http.headers, [("Host".to_owned(), "shop".to_owned()), ("X-A".into(), "b".into())]);
    assert_eq!(http.status, [(200, 200), (300, 308)]);
    let tls = Tls { verify: true, name: Some("shop.test".into()), ca: Some("/etc/ca.pem".into()) };
    assert_eq!(http.tls, Some(tls));
    let p = s.probes.startup.as_ref().unwrap();
    let (secs, millis) = (Duration::from_secs, Duration::from_millis);
    assert_eq!((p.initial_delay, p.period, p.timeout), (secs(1), secs(2), secs(5)));
    assert_eq!((p.failure_threshold, p.grace), (60, Some(secs(3))));
    let p = s.probes.liveness.as_ref().unwrap();
    assert_eq!(p.kind, Kind::Exec { command: vec!["/bin/check".into(), "-q".into()] });
    assert_eq!((p.period, p.timeout, p.failure_threshold), (secs(1), millis(500), 5));
    let p = s.probes.readiness.as_ref().unwrap();
    assert_eq!((p.timeout, p.success_threshold, p.failure_threshold), (secs(2), 2, 3));
    assert_eq!(s.probes.on_unhealthy, OnUnhealthy::Stop);
    assert_eq!(s.hooks.pre_start[0].timeout.as_secs(), 5);
    assert_eq!(s.hooks.post_stop[0].timeout.as_secs(), 30);
}

/// The fixed spelling as TOML.
fn toml(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Object(table) => {
            let pairs: Vec<_> = table.iter().map(|(k, v)| format!("{k:?} = {}", toml(v))).collect();
            format!("{{ {} }}", pairs.join(", "))
        }
        serde_json::Value::Array(list) => {
            format!("[{}]", list.iter().map(toml).collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

#[test]
fn every_value_of_a_job_arrives() {
    let s = good(JOB);
    let secs = Duration::from_secs;
    let job = s.job.clone().unwrap();
    assert_eq!((job.attempts, job.deadline, s.restart.delay), (5, Some(secs(600)), secs(10)));
    assert_eq!(s.restart.policy, Policy::Attempts(5));
    let schedule = job.schedule.unwrap();
    assert_eq!(
        (schedule.cron.as_str(), schedule.timezone.as_str()),
        ("30 4 * * 1-5", "CET-1CEST,M3.5.0,M10.5.0/3")
    );
    assert_eq!((schedule.catch_up, schedule.overlap, schedule.jitter), (false, Overlap::Allow, secs(300)));
    let plain = good("bundle = \"/b\"\n[job]").job.unwrap();
    assert_eq!((plain.attempts, plain.deadline, plain.schedule), (3, None, None));
    let daily = good("bundle = \"/b\"\njob.schedule = \"@daily\"").job.unwrap().schedule.unwrap();
    assert_eq!(
        (daily.timezone.as_str(), daily.catch_up, daily.overlap, daily.jitter),
        ("UTC", true, Overlap::Skip, Duration::ZERO)
    );
    assert_eq!(good("bundle = \"/b\"\npart_of = \"db\"").part_of, Some("db".parse().unwrap()));
    for word in ["healthy", "ready"] {
        let text = format!("bundle = \"/b\"\ndepends_on = [{{ service = \"db\", condition = {word:?} }}]");
        assert_eq!(good(&text).depends_on[0].condition, Condition::Ready);
    }
}

#[test]
fn the_fixed_spelling_reads_back_as_the_same_service() {
    let root = "root = \"/r\"\nroot_read_only = true\ncommand = [\"/x\"]\nnetwork = \"host\"\nreplicas = 0\ntty = true\n\
                restart = \"on-failure\"\nsecurity.seccomp = \"/p\"\nlimits.pids = \"unlimited\"\nstop.signal = \"RTMAX\"\n\
                restart.rules = [{ signals = [33], action = \"restart\" }]";
    let root = root.replace("restart = \"on-failure\"\n", "restart.policy = \"on-failure\"\n");
    for text in [
        FULL,
        JOB,
        "bundle = \"/b\"\npart_of = \"db\"\n[job]",
        "bundle = \"/b\"\n[job]\nattempts = 1\nschedule = \"@daily\"",
        &root,
        "bundle = \"/b\"\nrestart = \"no\"\nnetwork = \"none\"",
        "bundle = \"/b\"\nrestart = \"always\"",
        "bundle = \"/b\"\nhealthcheck.test = \"true\"\nhealthcheck.start_period = \"1h\"\nhealthcheck.start_interval = \"100ms\"",
        "bundle = \"/b\"\nprobes.liveness.tcp.port = 1\nprobes.readiness.http = { port = 2, tls = true }",
        "bundle = \"/b\"\nprobes.liveness.http = { port = 2, tls.verify = false }",
        "bundle = \"/b\"\nprobes.startup.push = true\nprobes.liveness = { push = true, failure_threshold = 2 }\nprobes.readiness.push = true",
    ] {
        let service = good(text);
        let rendered = crate::unit::render::render(&service);
        let lines: Vec<_> =
            rendered.as_object().unwrap().iter().map(|(k, v)| format!("{k} = {}\n", toml(v))).collect();
        assert_eq!(good(&lines.concat()), service, "{}", lines.concat());
    }
}

#[test]
fn every_listed_key_is_read_and_no_other() {
    let (document, _) = DeTable::parse_recoverable(FULL);
    let mut r = Reader::new("web.toml".into(), FULL);
    let table = Table::file(&mut r, document.get_ref());
    assert!(service(&mut r, &name(), &table).is_some());
    let listed: std::collections::BTreeSet<String> =
        crate::unit::KEYS.iter().map(|k| k.path.to_owned()).collect();
    // One is read only when the other is not the one that is used.
    let others =
        ["secrets[].on_change.signal".to_owned(), "probes.*.tcp.host".into(), "probes.*.tcp.port".into()];
    let healthcheck = listed.iter().filter(|k| k.starts_with("healthcheck.")).cloned();
    let mut of_job = Reader::new("web.toml".into(), JOB);
    let (document, _) = DeTable::parse_recoverable(JOB);
    let table = Table::file(&mut of_job, document.get_ref());
    assert!(service(&mut of_job, &name(), &table).is_some());
    let of_job = of_job.asked.clone().into_iter().filter(|k| k.starts_with("job."));
    let asked = r.asked.clone().into_iter().chain(others).chain(healthcheck).chain(of_job).collect();
    assert_eq!(listed, asked);
}

/// Every example of the list is taken where its key may be.
#[test]
fn examples_are_good() {
    for key in crate::unit::KEYS.iter().filter(|k| !k.example.is_empty()) {
        let mut text = String::new();
        match key.path.rsplit_once('.') {
            _ if key.path == "bundle" => {}
            _ if key.path.starts_with("root") || key.path == "image" => continue,
            None => text = format!("{} = {}\n", key.path, key.example),
            Some((table, name)) => {
                let more = match table {
                    "limits" if name == "swap" => "memory = \"1M\"\n",
                    "limits" if name == "cpu_burst" => "cpus = 1\n",
                    "limits.io_max[]" if name == "device" => "read_bps = 1\n",
                    "limits.io_max[]" => "device = \"/dev/sda\"\n",
                    "restart.rules[]" if name == "action" => "oom = true\n",
                    "restart.rules[]" if name == "oom" || name == "codes" || name == "signals" => {
                        "action = \"fail\"\n"
                    }
                    "restart.rules[]" => "oom = true\naction = \"fail\"\n",
                    "mounts[]" if name == "source" => "target = \"/t\"\n",
                    "mounts[]" if name == "target" => "source = \"/s\"\n",
                    "mounts[]" if name == "size" => "type = \"tmpfs\"\ntarget = \"/t\"\n",
                    "mounts[]" => "source = \"/s\"\ntarget = \"/t\"\n",
                    "listen[]" if name == "mode" => "address = \"unix:/s\"\n",
                    "listen[]" if name == "name" => "address = \"tcp:80\"\n",
                    "secrets[]" | "configs[]" if name == "source" => "target = \"/t\"\n",
                    "secrets[]" | "configs[]" if name == "target" => "source = \"/s\"\n",
                    "secrets[]" | "configs[]" => "source = \"/s\"\ntarget = \"/t\"\n",
                    "depends_on[]" if name != "service" => "service = \"db\"\n",
                    "probes.*.http" | "probes.*.tcp" | "probes.*.grpc" if name != "port" => "port = 80\n",
                    "probes.*" if name != "exec" && name != "push" => "exec = [\"/x\"]\n",
                    "probes" | "probes.*" | "probes.*.http" | "probes.*.tcp" | "probes.*.grpc" => "",
                    "job" if ["timezone", "catch_up", "overlap", "jitter"].contains(&name) => {
                        "schedule = \"@daily\"\n"
                    }
                    "pressure" if name == "freeze_for" => "rungs = [\"freeze\"]\n",
                    "healthcheck" if name != "test" => "test = \"true\"\n",
                    _ if name == "timeout" => "command = [\"/x\"]\n",
                    _ => "",
                };
                if table.ends_with("on_change") || table.ends_with(".tls") {
                    continue;
                }
                let table = table.replace(".*", ".readiness");
                let table = if key.path == "probes.*.grace" { "probes.liveness" } else { &table };
                let header = match table.strip_suffix("[]") {
                    Some(list) => format!("[[{list}]]"),
                    None => format!("[{table}]"),
                };
                let high = if name == "at_high" { "[limits]\nmemory_high = \"9MiB\"\n" } else { "" };
                text = format!("{high}{header}\n{more}{name} = {}\n", key.example);
            }
        }
        let user = if key.path == "groups" { "user = \"1:1\"\n" } else { "" };
        good(&format!("bundle = \"/b\"\n{user}{text}"));
    }
}

#[test]
fn the_place_of_a_key_is_found_again() {
    let text = "bundle = \"/b\"\ndepends_on = [\n  \"a\",\n  { service = \"b\" },\n]\n[limits]\npids = 3\n";
    for (key, place) in [
        ("bundle", Some((1, 10))),
        ("depends_on[0]", Some((3, 3))),
        ("depends_on[1]", Some((4, 3))),
        ("depends_on[1].service", Some((4, 15))),
        ("limits.pids", Some((7, 8))),
        ("limits.memory", None),
        ("depends_on[9]", None),
        ("bundle.x", None),
        ("", None),
    ] {
        assert_eq!(locate(text, key), place, "{key}");
    }
    assert_eq!(locate("not toml", "a"), None);
}

#[test]
fn the_sample_services_are_good_and_belong_together() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bundles/services");
    let files: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let text = std::fs::read_to_string(path).unwrap().replace("@BUNDLES@", "/b");
            crate::api::model::ServiceFile { name, text }
        })
        .collect();
    let loaded = crate::unit::load_files(&files);
    assert!(loaded.problems.is_empty(), "{:#?}", loaded.problems);
    let set = loaded.services.into_iter().map(|(name, (service, _))| (name, service)).collect();
    assert!(crate::unit::check_set(&set).is_empty());
    let mut order: Vec<_> = crate::unit::start_order(&set).iter().map(ToString::to_string).collect();
    order.retain(|name| ["crasher", "web", "worker"].contains(&name.as_str()));
    assert_eq!(order, ["crasher", "web", "worker"]);
    assert_eq!(set[&name()].limits.memory, Some(64 << 20));
    // What is built has a sample.
    let all = || set.values();
    let kinds: std::collections::BTreeSet<_> = all()
        .flat_map(|s| Role::ALL.into_iter().filter_map(|role| s.probes.of(role)))
        .map(|p| match p.kind {
            Kind::Exec { .. } => "exec",
            Kind::Http(_) => "http",
            Kind::Tcp { .. } => "tcp",
            Kind::Grpc { .. } => "grpc",
            Kind::Push => "push",
        })
        .collect();
    assert_eq!(kinds.len(), 5, "{kinds:?}");
    assert!(Role::ALL.into_iter().all(|role| all().any(|s| s.probes.of(role).is_some())));
    assert!(files.iter().any(|f| f.text.contains("\n[healthcheck]\n")));
    let has = [
        all().any(|s| s.part_of.is_some() && s.job.is_some()),
        all().any(|s| s.part_of.is_some() && s.job.is_none()),
        all().any(|s| s.job.as_ref().is_some_and(|j| j.schedule.is_some() && j.deadline.is_some())),
        all().any(|s| s.replicas > 1 && !s.listen.is_empty() && s.update.watch.is_some()),
        all().any(|s| s.depends_on.iter().any(|d| d.restart && d.timeout.is_some())),
    ];
    assert!(has.iter().all(|h| *h), "{has:?}");
    // And the page of the keys shows each of them.
    let page = include_str!("../../../../docs/service-file.md");
    for file in &files {
        let link = format!("../bundles/services/{}.toml)", file.name);
        assert!(page.contains(&link), "no word of {}", file.name);
    }
}

/// The examples of the documentation that are whole service files.
#[test]
fn the_examples_of_the_documentation_are_good() {
    let doc = include_str!("../../../../docs/service-file.md");
    let blocks: Vec<&str> = doc.split("```toml\n").skip(1).filter_map(|b| b.split("```").next()).collect();
    assert!(blocks.len() >= 2);
    for block in blocks {
        good(block);
    }
}

#[test]
fn a_health_check_of_compose_is_a_startup_and_a_liveness_probe() {
    let secs = Duration::from_secs;
    let of = |text: &str| good(&format!("bundle = \"/b\"\n[healthcheck]\n{text}")).probes;
    let probes = of("test = \"curl -f x || exit 1\"\nretries = 2\nstart_period = \"11s\"\ntimeout = \"4s\"");
    let (startup, liveness) = (probes.startup.unwrap(), probes.liveness.unwrap());
    let shell = ["/bin/sh", "-c", "curl -f x || exit 1"].map(str::to_owned).to_vec();
    assert_eq!((&startup.kind, &liveness.kind), (&Kind::Exec { command: shell.clone() }, &startup.kind));
    assert_eq!((startup.period, startup.failure_threshold, startup.timeout), (secs(5), 5, secs(4)));
    assert_eq!((liveness.period, liveness.initial_delay), (secs(30), secs(30)));
    assert_eq!((liveness.failure_threshold, liveness.timeout), (2, secs(4)));
    assert_eq!(probes.readiness, None);
    let probes = of("test = [\"CMD\", \"/c\", \"-x\"]");
    let startup = probes.startup.unwrap();
    assert_eq!(startup.kind, Kind::Exec { command: vec!["/c".into(), "-x".into()] });
    assert_eq!((startup.period, startup.failure_threshold, startup.timeout), (secs(30), 3, secs(30)));
    for none in ["disable = true", "test = [\"NONE\"]", "test = \"x\"\ndisable = true"] {
        assert!(of(none).is_empty(), "{none}");
    }
}
