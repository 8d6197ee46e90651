//! Good service files, and the text that no file may break the reader with.

use std::path::Path;
use std::time::Duration;

use super::parse;
use crate::names::ServiceName;
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
depends_on = ["db", { service = "migrate", condition = "completed", timeout = "5m" }]

[limits]
memory = "64MiB"
swap = 0
cpus = 1.5
cpu_weight = 200
cpuset = "0-3,6"
pids = 256
nofile = 4096
oom_score_adj = 100

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
    assert!(s.mounts.is_empty() && s.files.is_empty() && s.depends_on.is_empty());
}

#[test]
fn every_value_of_a_full_file_arrives() {
    let s = good(FULL);
    assert_eq!(s.process.env["LINES"], "a\nb");
    assert_eq!(s.process.user, Some(User { uid: 1000, gid: 1000, groups: vec![44, 100] }));
    assert_eq!(s.network, Network::Cni(vec!["web".into()]));
    assert_eq!(s.ports, ["8080/tcp", "53/tcp"]);
    let l = &s.limits;
    assert_eq!(
        (l.memory, l.swap, l.cpu_millis, l.cpu_weight),
        (Some(64 << 20), Some(0), Some(1500), Some(200))
    );
    assert_eq!(
        (l.cpus.as_deref(), l.pids, l.nofile, l.oom_score_adj),
        (Some("0-3,6"), Some(256), Some(4096), Some(100))
    );
    assert_eq!(s.security.capabilities_add, ["CAP_NET_ADMIN"]);
    assert_eq!(s.security.capabilities_drop, ["CAP_MKNOD"]);
    assert_eq!(s.security.seccomp, Seccomp::Unconfined);
    assert_eq!(s.restart.policy, Policy::OnFailure(Some(3)));
    let when = Match { codes: vec![(3, 3), (10, 20)], signals: vec![], oom: false, not: false };
    assert_eq!(s.restart.rules[0], Rule { when, action: RuleAction::Fail });
    let when = Match { codes: vec![], signals: vec![9], oom: true, not: true };
    assert_eq!(s.restart.rules[1], Rule { when, action: RuleAction::Complete });
    assert_eq!((s.stop.signal.number, s.stop.grace.as_secs()), (3, 90));
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
    assert_eq!(s.hooks.pre_start[0].timeout.as_secs(), 5);
    assert_eq!(s.hooks.post_stop[0].timeout.as_secs(), 30);
}
