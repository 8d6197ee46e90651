//! Bad input, from one table: what is wrong, which field must be named, what must be said. Every row has a
//! twin that passes. The numbers are those of the project's catalogue of bad inputs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

use anyhow::{Context, Result, ensure};
use rustix::fs::{CWD, FileType, makedev, mknodat};
use serde_json::{Value, json};

use crate::base::{self, PROBE, merge};
use crate::case::{Case, case};
use crate::host::Need;
use crate::trial::Trial;

/// All of this subject.
pub fn cases() -> Vec<Case> {
    let mut all: Vec<Case> = rows().into_iter().map(Row::case).collect();
    all.extend(documents());
    all.extend(files());
    all.extend(programs());
    all.extend(hosts());
    all.extend(accepted());
    all.extend(exec());
    number(all)
}

/// Several rows have one catalogue number; a letter tells them apart.
fn number(cases: Vec<Case>) -> Vec<Case> {
    let mut count = std::collections::BTreeMap::new();
    cases
        .into_iter()
        .map(|mut c| {
            let n = count.entry(c.name.clone()).or_insert(0u8);
            *n += 1;
            if *n > 1 {
                c.name = format!("{}-{n}", c.name);
            }
            c
        })
        .collect()
}

/// One row: patches of config.json for the twin and for the fault, the field and the words of the refusal.
struct Row {
    id: &'static str,
    what: &'static str,
    good: Value,
    bad: Value,
    pointer: &'static str,
    text: &'static str,
    needs: Vec<Need>,
}

impl Row {
    fn case(self) -> Case {
        let Row { id, what, good, bad, pointer, text, needs } = self;
        case(format!("input.{id}-{what}"))
            .checks(format!("catalogue {id}"))
            .needs(needs)
            .spec(move |s| merge(s, &good))
            .wrong(move |s| merge(s, &bad))
            .refused(pointer, text)
    }
}

fn row(id: &'static str, what: &'static str, bad: Value, pointer: &'static str, text: &'static str) -> Row {
    Row { id, what, good: json!({}), bad, pointer, text, needs: Vec::new() }
}

impl Row {
    /// The twin's patch.
    fn twin(mut self, good: Value) -> Row {
        self.good = good;
        self
    }

    fn needs(mut self, needs: impl IntoIterator<Item = Need>) -> Row {
        self.needs.extend(needs);
        self
    }
}

fn process(p: Value) -> Value {
    json!({"process": p})
}

fn user(u: Value) -> Value {
    process(json!({"user": u}))
}

fn linux(l: Value) -> Value {
    json!({"linux": l})
}

fn resources(r: Value) -> Value {
    linux(json!({"resources": r}))
}

/// Exactly these mounts beside /proc and /dev; the first of them is `/mounts/2`.
fn mounts(list: Value) -> Value {
    let mut all = vec![
        json!({"destination": "/proc", "type": "proc", "source": "proc"}),
        json!({"destination": "/dev", "type": "tmpfs", "source": "tmpfs"}),
    ];
    all.extend(list.as_array().cloned().unwrap_or_default());
    json!({"mounts": all, "linux": {"maskedPaths": [], "readonlyPaths": []}})
}

fn tmpfs(option: &str) -> Value {
    mounts(json!([{"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": [option]}]))
}

/// The base's namespaces without one, with more.
fn spaces(without: &str, more: Value) -> Value {
    let mut all: Vec<Value> = ["pid", "network", "ipc", "uts", "mount"]
        .iter()
        .filter(|k| **k != without)
        .map(|k| json!({"type": k}))
        .collect();
    all.extend(more.as_array().cloned().unwrap_or_default());
    json!(all)
}

fn rows() -> Vec<Row> {
    let mut all = top();
    all.extend(of_process());
    all.extend(of_identity());
    all.extend(of_namespaces());
    all.extend(of_mounts());
    all.extend(of_linux());
    all
}

fn top() -> Vec<Row> {
    vec![
        row("B016", "string-for-list", json!({"mounts": "x"}), "/mounts", "want an array"),
        row("B016", "number-for-string", json!({"hostname": 4}), "/hostname", "want a string")
            .twin(json!({"hostname": "4"})),
        row(
            "B016",
            "string-for-number",
            user(json!({"uid": "4"})),
            "/process/user/uid",
            "got the string \"4\"",
        )
        .twin(user(json!({"uid": 4}))),
        row("B017", "nul-in-string", process(json!({"args": [PROBE, "a\u{0}b"]})), "/process/args/1", "NUL"),
        row("B017", "nul-in-env", process(json!({"env": ["A=\u{0}"]})), "/process/env/0", "NUL")
            .twin(process(json!({"env": ["A="]}))),
        row("B020", "version-missing", json!({"ociVersion": null}), "/ociVersion", "missing")
            .twin(json!({"ociVersion": "1.0.0"})),
        row("B020", "version-empty", json!({"ociVersion": ""}), "/ociVersion", "missing"),
        row("B020", "version-junk", json!({"ociVersion": "junk"}), "/ociVersion", "junk"),
        row("B021", "version-9", json!({"ociVersion": "9.0.0"}), "/ociVersion", "9.0.0")
            .twin(json!({"ociVersion": "1.1.0"})),
        row("B022", "root-missing", json!({"root": null}), "/root", "missing"),
        row("B022", "root-path-empty", json!({"root": {"path": ""}}), "/root/path", "missing")
            .twin(json!({"root": {"path": "rootfs/"}})),
        row("B023", "root-not-there", json!({"root": {"path": "nothing"}}), "/root/path", "nothing"),
        row("B024", "root-is-host", json!({"root": {"path": "/"}}), "/root/path", "/"),
        row(
            "B026",
            "propagation",
            linux(json!({"rootfsPropagation": "sharded"})),
            "/linux/rootfsPropagation",
            "sharded",
        )
        .twin(linux(json!({"rootfsPropagation": "rprivate"}))),
        row("B027", "process-missing", json!({"process": null}), "/process", "missing"),
        row("B094", "other-platform", json!({"linux": null, "windows": {"x": {}}}), "/windows", "platform"),
        row("B095", "annotation-number", json!({"annotations": {"a": 1}}), "/annotations/a", "string")
            .twin(json!({"annotations": {"a": "1"}})),
        row("B095", "annotation-empty-key", json!({"annotations": {"": "x"}}), "/annotations", "empty"),
    ]
}

fn of_process() -> Vec<Row> {
    vec![
        row("B028", "args-missing", process(json!({"args": null})), "/process/args", "at least one"),
        row("B028", "args-empty", process(json!({"args": []})), "/process/args", "at least one"),
        row("B029", "args-null", process(json!({"args": [null]})), "/process/args/0", "string"),
        row("B029", "args-number", process(json!({"args": [PROBE, 1]})), "/process/args/1", "string")
            .twin(process(json!({"args": [PROBE, "true", "1"]}))),
        row("B030", "args-empty-name", process(json!({"args": [""]})), "/process/args/0", "empty"),
        row(
            "B031",
            "one-arg-too-long",
            process(json!({"args": [PROBE, "true", "x".repeat(200_000)]})),
            "/process/args/2",
            "execve",
        )
        .twin(process(json!({"args": [PROBE, "true", "x".repeat(100_000)]}))),
        row(
            "B031",
            "all-args-too-long",
            process(json!({"args": vec!["x".repeat(70_000); 100]})),
            "/process/args",
            "execve",
        ),
        row("B033", "cwd-missing", process(json!({"cwd": null})), "/process/cwd", "absolute"),
        row("B033", "cwd-empty", process(json!({"cwd": ""})), "/process/cwd", "absolute"),
        row("B033", "cwd-relative", process(json!({"cwd": "tmp"})), "/process/cwd", "absolute")
            .twin(process(json!({"cwd": "/tmp"}))),
        row("B036", "env-without-equals", process(json!({"env": ["A=b", "FOO"]})), "/process/env/1", "FOO")
            .twin(process(json!({"env": ["A=b", "FOO="]}))),
        row("B036", "env-without-name", process(json!({"env": ["=x"]})), "/process/env/0", "name"),
        row("B036", "env-null", process(json!({"env": [null]})), "/process/env/0", "string"),
        row(
            "B042",
            "capability-unknown",
            process(json!({"capabilities": {"bounding": ["CAP_KILL", "CAP_FLY"]}})),
            "/process/capabilities/bounding/1",
            "CAP_FLY",
        ),
        row(
            "B042",
            "capability-lower-case",
            process(json!({"capabilities": {"bounding": ["cap_kill"]}})),
            "/process/capabilities/bounding/0",
            "cap_kill",
        ),
        row(
            "B042",
            "capability-short",
            process(json!({"capabilities": {"permitted": ["KILL"]}})),
            "/process/capabilities/permitted/0",
            "KILL",
        ),
        row(
            "B043",
            "ambient-not-permitted",
            process(json!({"capabilities": {"ambient": ["CAP_CHOWN"], "inheritable": ["CAP_CHOWN"]}})),
            "/process/capabilities/ambient/0",
            "CAP_CHOWN",
        )
        .twin(process(json!({"capabilities": {"ambient": ["CAP_KILL"], "inheritable": ["CAP_KILL"]}}))),
        row(
            "B044",
            "rlimit-unknown",
            process(json!({"rlimits": [{"type": "RLIMIT_FUN", "hard": 1, "soft": 1}]})),
            "/process/rlimits/0/type",
            "RLIMIT_FUN",
        ),
        row(
            "B044",
            "rlimit-twice",
            process(
                json!({"rlimits": [{"type": "RLIMIT_NOFILE", "hard": 100, "soft": 100}, {"type": "RLIMIT_NOFILE", "hard": 90, "soft": 90}]}),
            ),
            "/process/rlimits/1/type",
            "duplicate",
        ),
        row(
            "B044",
            "rlimit-soft-above-hard",
            process(json!({"rlimits": [{"type": "RLIMIT_CPU", "hard": 100, "soft": 200}]})),
            "/process/rlimits/0/soft",
            "200",
        )
        .twin(process(json!({"rlimits": [{"type": "RLIMIT_CPU", "hard": 200, "soft": 100}]}))),
        row(
            "B044",
            "rlimit-above-ours",
            process(
                json!({"rlimits": [{"type": "RLIMIT_MEMLOCK", "hard": 1_099_511_627_776u64, "soft": 1024}]}),
            ),
            "/process/rlimits/0",
            "RLIMIT_MEMLOCK",
        )
        .needs([Need::NoCapSysResource]),
        row("B045", "oom-too-high", process(json!({"oomScoreAdj": 5000})), "/process/oomScoreAdj", "5000")
            .twin(process(json!({"oomScoreAdj": 1000}))),
        row("B045", "oom-too-low", process(json!({"oomScoreAdj": -2000})), "/process/oomScoreAdj", "-2000"),
        row(
            "B045",
            "oom-without-right",
            process(json!({"oomScoreAdj": -999})),
            "/process/oomScoreAdj",
            "-999",
        )
        .needs([Need::NoCapSysResource]),
        row(
            "B046",
            "bool-as-string",
            process(json!({"noNewPrivileges": "false"})),
            "/process/noNewPrivileges",
            "\"false\"",
        )
        .twin(process(json!({"noNewPrivileges": false}))),
        row(
            "B047",
            "scheduler-unknown",
            process(json!({"scheduler": {"policy": "SCHED_FAST"}})),
            "/process/scheduler/policy",
            "SCHED_FAST",
        )
        .twin(process(json!({"scheduler": {"policy": "SCHED_BATCH"}}))),
        row(
            "B047",
            "scheduler-mix",
            process(json!({"scheduler": {"policy": "SCHED_OTHER", "priority": 1}})),
            "/process/scheduler/priority",
            "1",
        ),
        row(
            "B047",
            "scheduler-nice",
            process(json!({"scheduler": {"policy": "SCHED_BATCH", "nice": 20}})),
            "/process/scheduler/nice",
            "20",
        ),
        row(
            "B047",
            "scheduler-flag",
            process(json!({"scheduler": {"policy": "SCHED_BATCH", "flags": ["SCHED_FLAG_X"]}})),
            "/process/scheduler/flags/0",
            "SCHED_FLAG_X",
        ),
        row(
            "B047",
            "ioprio-class",
            process(json!({"ioPriority": {"class": "BE", "priority": 1}})),
            "/process/ioPriority/class",
            "BE",
        )
        .twin(process(json!({"ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 1}}))),
        row(
            "B047",
            "ioprio-level",
            process(json!({"ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 8}})),
            "/process/ioPriority/priority",
            "8",
        ),
        row(
            "B049",
            "console-height-0",
            process(json!({"terminal": true, "consoleSize": {"height": 0, "width": 80}})),
            "/process/consoleSize/height",
            "0",
        ),
        row(
            "B049",
            "console-width-huge",
            process(json!({"terminal": true, "consoleSize": {"height": 24, "width": 4_294_967_296u64}})),
            "/process/consoleSize/width",
            "4294967296",
        ),
        row(
            "B050",
            "apparmor-absent",
            process(json!({"apparmorProfile": "some-profile"})),
            "/process/apparmorProfile",
            "AppArmor",
        )
        .needs([Need::NoLsm]),
        row(
            "B050",
            "selinux-absent",
            process(json!({"selinuxLabel": "system_u:system_r:container_t:s0"})),
            "/process/selinuxLabel",
            "SELinux",
        )
        .needs([Need::NoLsm]),
        row(
            "B051",
            "apparmor-newline",
            process(json!({"apparmorProfile": "a\nb"})),
            "/process/apparmorProfile",
            "control",
        ),
        row(
            "B051",
            "apparmor-not-loaded",
            process(json!({"apparmorProfile": "not-loaded-here"})),
            "/process/apparmorProfile",
            "not-loaded-here",
        )
        .needs([Need::Apparmor]),
    ]
}

fn of_identity() -> Vec<Row> {
    let map = |list: Value| {
        linux(
            json!({"namespaces": spaces("", json!([{"type": "user"}])), "uidMappings": list, "gidMappings": [{"containerID": 0, "hostID": 0, "size": 65536}]}),
        )
    };
    let line = |c: u64, h: u64, s: u64| json!({"containerID": c, "hostID": h, "size": s});
    let good = map(json!([line(0, 0, 65536)]));
    let lines: Value = (0..341u64).map(|i| line(i, i, 1)).collect();
    vec![
        row("B038", "uid-negative", user(json!({"uid": -1})), "/process/user/uid", "-1"),
        row(
            "B038",
            "uid-2-32-less-1",
            user(json!({"uid": 4_294_967_295u64})),
            "/process/user/uid",
            "4294967295",
        ),
        row(
            "B038",
            "gid-2-32-less-1",
            user(json!({"gid": 4_294_967_295u64})),
            "/process/user/gid",
            "4294967295",
        ),
        row("B038", "uid-2-32", user(json!({"uid": 4_294_967_296u64})), "/process/user/uid", "4294967296"),
        row("B038", "uid-string", user(json!({"uid": "0"})), "/process/user/uid", "string"),
        row("B039", "uid-not-mapped", user(json!({"uid": 100_000})), "/process/user/uid", "100000")
            .twin(good.clone())
            .needs([Need::Userns]),
        row(
            "B040",
            "group-negative",
            user(json!({"additionalGids": [5, -1]})),
            "/process/user/additionalGids/1",
            "-1",
        )
        .twin(user(json!({"additionalGids": [5, 1]}))),
        row(
            "B040",
            "group-not-mapped",
            user(json!({"additionalGids": [70_000]})),
            "/process/user/additionalGids/0",
            "70000",
        )
        .twin(good.clone())
        .needs([Need::Userns]),
        row(
            "B040",
            "groups-too-many",
            user(json!({"additionalGids": vec![7; 65537]})),
            "/process/user/additionalGids",
            "65536",
        ),
        row("B041", "umask-high", user(json!({"umask": 512})), "/process/user/umask", "01000")
            .twin(user(json!({"umask": 511}))),
        row("B041", "umask-negative", user(json!({"umask": -1})), "/process/user/umask", "-1"),
        row(
            "B056",
            "userns-without-maps",
            linux(json!({"uidMappings": null, "gidMappings": null})),
            "/linux/uidMappings",
            "mapping",
        )
        .twin(good.clone())
        .needs([Need::Userns]),
        row(
            "B057",
            "maps-without-userns",
            linux(json!({"uidMappings": [line(0, 0, 10)], "gidMappings": [line(0, 0, 10)]})),
            "/linux/uidMappings",
            "user namespace",
        ),
        row("B058", "map-size-0", map(json!([line(0, 0, 0)])), "/linux/uidMappings/0/size", "0")
            .twin(good.clone())
            .needs([Need::Userns]),
        row(
            "B058",
            "map-overlap",
            map(json!([line(0, 0, 10), line(5, 100, 10)])),
            "/linux/uidMappings/1",
            "overlap",
        )
        .twin(good.clone())
        .needs([Need::Userns]),
        row(
            "B058",
            "map-overlap-outside",
            map(json!([line(0, 0, 10), line(50, 5, 10)])),
            "/linux/uidMappings/1",
            "overlap",
        )
        .twin(good.clone())
        .needs([Need::Userns]),
        row(
            "B058",
            "map-wraps",
            map(json!([line(0, 4_294_967_290, 10)])),
            "/linux/uidMappings/0/hostID",
            "last id",
        )
        .twin(good.clone())
        .needs([Need::Userns]),
        row("B058", "map-341-lines", map(lines), "/linux/uidMappings", "340")
            .twin(good)
            .needs([Need::Userns]),
    ]
}

fn of_namespaces() -> Vec<Row> {
    let list = |l: Value| linux(json!({"namespaces": l}));
    let name = "h".repeat(65);
    vec![
        row("B052", "namespace-unknown", list(spaces("", json!([{"type": "moon"}]))), "/linux/namespaces/5/type", "moon"),
        row("B053", "namespace-twice", list(spaces("", json!([{"type": "pid"}]))), "/linux/namespaces/5/type", "duplicate"),
        row("B054", "path-missing", list(spaces("uts", json!([{"type": "uts", "path": "/not/there"}]))), "/linux/namespaces/4/path", "/not/there"),
        row("B054", "path-wrong-type", list(spaces("network", json!([{"type": "network", "path": "/proc/self/ns/uts"}]))), "/linux/namespaces/4/path", "network"),
        row("B054", "path-relative", list(spaces("uts", json!([{"type": "uts", "path": "ns/uts"}]))), "/linux/namespaces/4/path", "absolute"),
        row("B054", "path-regular-file", list(spaces("uts", json!([{"type": "uts", "path": "/etc/passwd"}]))), "/linux/namespaces/4/path", "/etc/passwd"),
        row("B055", "mounts-without-namespace", list(spaces("mount", json!([]))), "/mounts", "mount namespace"),
        row("B055", "masks-without-namespace", json!({"mounts": [], "linux": {"namespaces": spaces("mount", json!([])), "readonlyPaths": []}}), "/linux/maskedPaths", "mount namespace"),
        row("B060", "offsets-without-namespace", linux(json!({"timeOffsets": {"boottime": {"secs": 1}}})), "/linux/timeOffsets", "time namespace"),
        row("B060", "offset-nanoseconds", linux(json!({"namespaces": spaces("", json!([{"type": "time"}])), "timeOffsets": {"boottime": {"nanosecs": 1_000_000_000}}})), "/linux/timeOffsets/boottime/nanosecs", "1000000000").needs([Need::Timens]),
        row("B060", "clock-unknown", linux(json!({"namespaces": spaces("", json!([{"type": "time"}])), "timeOffsets": {"realtime": {"secs": 1}}})), "/linux/timeOffsets/realtime", "realtime").needs([Need::Timens]),
        row("B061", "hostname-without-uts", list(spaces("uts", json!([]))), "/hostname", "uts"),
        row("B061", "hostname-65", json!({"hostname": name}), "/hostname", "64").twin(json!({"hostname": "h".repeat(64)})),
        row("B061", "hostname-nul", json!({"hostname": "a\u{0}b"}), "/hostname", "NUL"),
        row("B062", "domainname-without-uts", json!({"hostname": null, "domainname": "d", "linux": {"namespaces": spaces("uts", json!([]))}}), "/domainname", "uts").twin(json!({"hostname": null, "domainname": "d"})),
        row("B062", "domainname-65", json!({"domainname": "h".repeat(65)}), "/domainname", "64").twin(json!({"domainname": "h".repeat(64)})),
    ]
}

fn of_mounts() -> Vec<Row> {
    let one = |m: Value| mounts(json!([m]));
    let bind = |d: &str| {
        one(json!({"destination": d, "type": "bind", "source": "/etc", "options": ["rbind", "ro"]}))
    };
    let at = "/mounts/2/destination";
    vec![
        row("B063", "destination-empty", bind(""), at, "absolute").twin(bind("/data")),
        row("B063", "destination-relative", bind("data"), at, "absolute").twin(bind("/data")),
        row("B063", "destination-missing", one(json!({"type": "bind", "source": "/etc", "options": ["rbind"]})), at, "absolute").twin(bind("/data")),
        row("B064", "destination-root", bind("/"), at, "root").twin(bind("/data")),
        row("B064", "destination-root-by-dotdot", bind("/data/.."), at, "root").twin(bind("/data/../data")),
        row("B065", "component-300", bind(&format!("/{}", "x".repeat(300))), at, "too long").twin(bind("/data")),
        row("B065", "path-4097", one(json!({"destination": "/x".repeat(2049), "type": "bind", "source": "/etc", "options": ["rbind"]})), at, "too long").twin(bind("/data")),
        row("B066", "source-missing", one(json!({"destination": "/data", "type": "bind", "source": "/not/there", "options": ["bind"]})), "/mounts/2", "/not/there").twin(bind("/data")),
        row("B066", "source-absent", one(json!({"destination": "/data", "type": "bind", "options": ["bind"]})), "/mounts/2/source", "source").twin(bind("/data")),
        row("B067", "directory-on-file", one(json!({"destination": "/etc/marker", "type": "bind", "source": "/etc", "options": ["bind"]})), "/mounts/2", "/etc/marker").twin(bind("/data")),
        row("B067", "file-on-directory", one(json!({"destination": "/data", "type": "bind", "source": "/etc/passwd", "options": ["bind"]})), "/mounts/2", "/data").twin(bind("/data")),
        row("B068", "type-unknown", one(json!({"destination": "/data", "type": "nosuchfs", "source": "x"})), "/mounts/2", "nosuchfs").twin(tmpfs("ro")),
        row("B068", "option-unknown", tmpfs("nosuchoption"), "/mounts/2", "nosuchoption").twin(tmpfs("ro")),
        row("B068", "bind-with-data", one(json!({"destination": "/data", "type": "bind", "source": "/etc", "options": ["bind", "size=1k"]})), "/mounts/2/options/1", "size=1k").twin(bind("/data")),
        row("B068", "idmap-without-maps", one(json!({"destination": "/data", "type": "bind", "source": "/etc", "options": ["bind", "idmap"]})), "/mounts/2/options/1", "idmap").twin(bind("/data")),
        row("B070", "size-1E", tmpfs("size=1E"), "/mounts/2/options/0", "size").twin(tmpfs("size=1m")),
        row("B070", "size-negative", tmpfs("size=-1"), "/mounts/2/options/0", "-1").twin(tmpfs("size=50%")),
        row("B070", "size-abc", tmpfs("size=abc"), "/mounts/2/options/0", "abc").twin(tmpfs("size=64k")),
        row("B070", "mode-99999", tmpfs("mode=99999"), "/mounts/2/options/0", "99999").twin(tmpfs("mode=1777")),
        row("B071", "over-proc-attr", one(json!({"destination": "/proc/self/attr", "type": "tmpfs", "source": "tmpfs"})), at, "/proc").twin(tmpfs("ro")),
        row("B071", "over-proc-sys", one(json!({"destination": "/proc/sys", "type": "tmpfs", "source": "tmpfs"})), at, "inside /proc").twin(tmpfs("ro")),
        row("B071", "over-proc-1", bind("/proc/1"), at, "inside /proc").twin(bind("/data")),
        row("B071", "tmpfs-as-proc", json!({"mounts": [{"destination": "/proc", "type": "tmpfs", "source": "tmpfs"}]}), "/mounts/0/destination", "type proc"),
        row("B071", "dotdot-into-proc", bind("/data/../proc/sys"), at, "inside /proc").twin(bind("/data")),
        row("B071", "over-sys-kernel", json!({"mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}, {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"]}, {"destination": "/sys/kernel", "type": "tmpfs", "source": "tmpfs"}]}), "/mounts/2/destination", "/sys/kernel"),
    ]
}

fn of_linux() -> Vec<Row> {
    let set = |k: &str, v: &str| linux(json!({"sysctl": {k: v}}));
    let filter = |f: Value| linux(json!({"seccomp": f}));
    let rule = |r: Value| linux(json!({"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [r]}}));
    let device = |d: Value| linux(json!({"devices": [d]}));
    let good_device = device(json!({"path": "/dev/x", "type": "c", "major": 1, "minor": 3}));
    vec![
        row("B075", "sysctl-host-wide", set("kernel.panic", "1"), "/linux/sysctl/kernel.panic", "namespace")
            .twin(set("kernel.msgmax", "9000")),
        row("B075", "sysctl-dotdot", set("net/../kernel/panic", "1"), "/linux/sysctl", "panic"),
        row("B075", "sysctl-newline", set("kernel.msgmax", "1\n2"), "/linux/sysctl/kernel.msgmax", "value"),
        row(
            "B076",
            "sysctl-without-netns",
            json!({"linux": {"sysctl": {"net.ipv4.ip_unprivileged_port_start": "1"}, "namespaces": spaces("network", json!([]))}, "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}]}),
            "/linux/sysctl/net.ipv4.ip_unprivileged_port_start",
            "namespace",
        ),
        row(
            "B076",
            "sysctl-hostname-twice",
            set("kernel.hostname", "h"),
            "/linux/sysctl/kernel.hostname",
            "conflict",
        ),
        row(
            "B079",
            "memory-limit-below-unlimited",
            resources(json!({"memory": {"limit": -2}})),
            "/linux/resources/memory/limit",
            "-2",
        ),
        row(
            "B079",
            "swap-below-limit",
            resources(json!({"memory": {"limit": 67_108_864, "swap": 1_048_576}})),
            "/linux/resources/memory/swap",
            "1048576",
        ),
        row(
            "B081",
            "cpu-shares-1",
            resources(json!({"cpu": {"shares": 1}})),
            "/linux/resources/cpu/shares",
            "1",
        ),
        row(
            "B081",
            "cpu-quota-small",
            resources(json!({"cpu": {"quota": 999}})),
            "/linux/resources/cpu/quota",
            "999",
        ),
        row(
            "B081",
            "cpus-backwards",
            resources(json!({"cpu": {"cpus": "3-1"}})),
            "/linux/resources/cpu/cpus",
            "3-1",
        ),
        row(
            "B081",
            "cpus-letters",
            resources(json!({"cpu": {"cpus": "a-b"}})),
            "/linux/resources/cpu/cpus",
            "a-b",
        ),
        row(
            "B081",
            "cpus-too-many",
            resources(json!({"cpu": {"cpus": "0-9999"}})),
            "/linux/resources/cpu/cpus",
            "9999",
        ),
        row(
            "B082",
            "pids-negative",
            resources(json!({"pids": {"limit": -5}})),
            "/linux/resources/pids/limit",
            "-5",
        )
        .twin(resources(json!({"pids": {"limit": -1}})))
        .needs([Need::CgroupAny("pids")]),
        row(
            "B082",
            "pids-2-63",
            resources(json!({"pids": {"limit": 9_223_372_036_854_775_808u64}})),
            "/linux/resources/pids/limit",
            "9223372036854775808",
        ),
        row(
            "B083",
            "unified-slash",
            resources(json!({"unified": {"a/b": "1"}})),
            "/linux/resources/unified",
            "a/b",
        )
        .needs([Need::CgroupV2]),
        // A number that no process can have: a runtime that writes it moves nobody.
        row(
            "B083",
            "unified-procs",
            resources(json!({"unified": {"cgroup.procs": "4194304"}})),
            "/linux/resources/unified/cgroup.procs",
            "cgroup.procs",
        )
        .needs([Need::CgroupV2]),
        row(
            "B085",
            "device-type",
            device(json!({"path": "/dev/x", "type": "z", "major": 1, "minor": 3})),
            "/linux/devices/0/type",
            "\"z\"",
        )
        .twin(good_device.clone()),
        row(
            "B085",
            "device-major",
            device(json!({"path": "/dev/x", "type": "c", "major": -1, "minor": 3})),
            "/linux/devices/0/major",
            "-1",
        )
        .twin(good_device.clone()),
        row(
            "B085",
            "device-relative",
            device(json!({"path": "dev/x", "type": "c", "major": 1, "minor": 3})),
            "/linux/devices/0/path",
            "absolute",
        )
        .twin(good_device.clone()),
        row(
            "B085",
            "device-dotdot",
            device(json!({"path": "/dev/../x", "type": "c", "major": 1, "minor": 3})),
            "/linux/devices/0/path",
            "..",
        )
        .twin(good_device),
        row(
            "B086",
            "device-access",
            resources(json!({"devices": [{"allow": true, "access": "rwx"}]})),
            "/linux/resources/devices/0/access",
            "rwx",
        ),
        row(
            "B087",
            "hugepage-size",
            resources(json!({"hugepageLimits": [{"pageSize": "3MB", "limit": 0}]})),
            "/linux/resources/hugepageLimits/0/pageSize",
            "3MB",
        ),
        row(
            "B088",
            "seccomp-action",
            filter(json!({"defaultAction": "SCMP_ACT_DANCE"})),
            "/linux/seccomp/defaultAction",
            "SCMP_ACT_DANCE",
        )
        .twin(filter(json!({"defaultAction": "SCMP_ACT_ALLOW"}))),
        row(
            "B088",
            "seccomp-action-missing",
            filter(json!({"architectures": []})),
            "/linux/seccomp/defaultAction",
            "defaultAction",
        ),
        row(
            "B088",
            "seccomp-architecture",
            filter(json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_MOON"]})),
            "/linux/seccomp/architectures/0",
            "SCMP_ARCH_MOON",
        ),
        row(
            "B088",
            "seccomp-operator",
            rule(
                json!({"names": ["acct"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_ABOUT"}]}),
            ),
            "/linux/seccomp/syscalls/0/args/0/op",
            "SCMP_CMP_ABOUT",
        ),
        row(
            "B090",
            "seccomp-index-6",
            rule(
                json!({"names": ["acct"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 6, "value": 1, "op": "SCMP_CMP_EQ"}]}),
            ),
            "/linux/seccomp/syscalls/0/args/0/index",
            "6",
        ),
        row(
            "B090",
            "seccomp-errno-5000",
            rule(json!({"names": ["acct"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5000})),
            "/linux/seccomp/syscalls/0/errnoRet",
            "5000",
        ),
        row(
            "B090",
            "seccomp-no-names",
            rule(json!({"names": [], "action": "SCMP_ACT_ERRNO"})),
            "/linux/seccomp/syscalls/0/names",
            "at least one",
        ),
        row(
            "B092",
            "mask-relative",
            linux(json!({"maskedPaths": ["proc/kcore"]})),
            "/linux/maskedPaths/0",
            "absolute",
        ),
        row(
            "B092",
            "mask-dotdot",
            linux(json!({"maskedPaths": ["/proc/../etc"]})),
            "/linux/maskedPaths/0",
            "clean",
        ),
        row(
            "B092",
            "readonly-empty",
            linux(json!({"readonlyPaths": [""]})),
            "/linux/readonlyPaths/0",
            "absolute",
        ),
        row(
            "B093",
            "personality",
            linux(json!({"personality": {"domain": "SOLARIS"}})),
            "/linux/personality/domain",
            "SOLARIS",
        )
        .twin(linux(json!({"personality": {"domain": "LINUX"}}))),
    ]
}

/// A refusal whose fault rewrites the bytes of config.json.
fn bytes(
    id: &str,
    what: &str,
    change: impl Fn(Vec<u8>) -> Vec<u8> + 'static,
    pointer: &str,
    text: &str,
) -> Case {
    case(format!("input.{id}-{what}"))
        .checks(format!("catalogue {id}"))
        .fault(move |t| {
            t.raw = Some(change(serde_json::to_vec(&t.spec)?));
            Ok(())
        })
        .refused(pointer, text)
}

/// Replaces one piece of the document's text.
fn swap(from: &'static str, to: &'static str) -> impl Fn(Vec<u8>) -> Vec<u8> + 'static {
    move |b| {
        let text = String::from_utf8_lossy(&b).into_owned();
        assert!(text.contains(from), "the base has no {from}");
        text.replacen(from, to, 1).into_bytes()
    }
}

fn documents() -> Vec<Case> {
    let whole = |to: &'static [u8]| move |_: Vec<u8>| to.to_vec();
    let mut all = vec![
        bytes("B005", "spaces", whole(b" \n"), "", "empty"),
        bytes("B006", "null", whole(b"null"), "", "object"),
        bytes("B007", "array", whole(b"[]"), "", "object"),
        bytes("B007", "number", whole(b"42"), "", "object"),
        bytes("B007", "string", whole(b"\"x\""), "", "object"),
        bytes(
            "B009",
            "byte-order-mark",
            |mut b| {
                b.splice(0..0, [0xef, 0xbb, 0xbf]);
                b
            },
            "",
            "byte order mark",
        ),
        bytes("B009", "utf-16", |b| b.iter().flat_map(|c| [*c, 0]).collect(), "", "UTF-8"),
        bytes(
            "B010",
            "bad-utf-8",
            |b| {
                let mut v = swap("\"conformance\"", "\"conf@rmance\"")(b);
                v.iter_mut().filter(|c| **c == b'@').for_each(|c| *c = 0xc3);
                v
            },
            "",
            "UTF-8",
        ),
        bytes("B010", "lone-surrogate", swap("\"conformance\"", "\"a\\ud800b\""), "/hostname", "surrogate"),
        bytes(
            "B011",
            "second-document",
            |mut b| {
                b.extend(b"{}");
                b
            },
            "",
            "after the document",
        ),
        bytes(
            "B011",
            "garbage-after",
            |mut b| {
                b.extend(b"\n]");
                b
            },
            "",
            "after the document",
        ),
        bytes(
            "B012",
            "nesting",
            |b| {
                let deep = "[".repeat(200_000) + &"]".repeat(200_000);
                swap_in(b, "\"hostname\":", &format!("\"deep\":{deep},\"hostname\":"))
            },
            "",
            "nested deeper",
        ),
        bytes(
            "B013",
            "process-twice",
            swap("\"hostname\":", "\"process\":{},\"hostname\":"),
            "/process",
            "duplicate",
        ),
        bytes(
            "B013",
            "key-twice",
            swap("\"hostname\":", "\"hostname\":\"x\",\"hostname\":"),
            "/hostname",
            "duplicate",
        ),
        bytes("B014", "other-case", swap("\"process\":", "\"Process\":"), "/process", "missing"),
        bytes("B015", "nan", swap("\"uid\":0", "\"uid\":NaN"), "/process/user/uid", "not JSON"),
        bytes("B015", "huge-exponent", swap("\"uid\":0", "\"uid\":1e400"), "/process/user/uid", "1e400"),
        bytes("B015", "fraction", swap("\"uid\":0", "\"uid\":1.5"), "/process/user/uid", "1.5"),
        bytes(
            "B015",
            "two-to-64",
            swap("\"uid\":0", "\"uid\":18446744073709551616"),
            "/process/user/uid",
            "18446744073709551616",
        ),
        bytes(
            "B018",
            "file-too-large",
            |mut b| {
                b.resize(100 << 20, b' ');
                b
            },
            "",
            "larger than",
        ),
        bytes(
            "B018",
            "array-too-large",
            |b| swap_in(b, "\"args\":[", &format!("\"args\":[{}", "\"\",".repeat(1_000_000))),
            "",
            "more than",
        ),
    ];
    all.extend((1..10u32).map(|tenth| {
        bytes(
            "B008",
            &format!("cut-at-{tenth}0-percent"),
            move |b| {
                let n = b.len() * tenth as usize / 10;
                b[..n].to_vec()
            },
            "",
            "end",
        )
    }));
    all
}

fn swap_in(b: Vec<u8>, from: &str, to: &str) -> Vec<u8> {
    String::from_utf8_lossy(&b).replacen(from, to, 1).into_bytes()
}

/// A refusal whose fault is something else than a regular config.json or root.
fn file(
    id: &str,
    what: &str,
    fault: impl Fn(&mut Trial<'_>) -> Result<()> + 'static,
    pointer: &str,
    text: &str,
) -> Case {
    case(format!("input.{id}-{what}"))
        .checks(format!("catalogue {id}"))
        .fault(move |t| {
            t.write_config()?;
            // An empty replacement: the bundle stays as the fault left it.
            t.raw = Some(Vec::new());
            fault(t)
        })
        .refused(pointer, text)
}

fn files() -> Vec<Case> {
    let config = |t: &Trial<'_>| t.bundle.join("config.json");
    vec![
        file("B001", "config-missing", move |t| Ok(fs::remove_file(config(t))?), "", "config.json"),
        file("B002", "config-is-directory", move |t| { fs::remove_file(config(t))?; Ok(fs::create_dir(config(t))?) }, "", "config.json"),
        file("B002", "config-is-fifo", move |t| { fs::remove_file(config(t))?; Ok(mknodat(CWD, config(t), FileType::Fifo, 0o600.into(), 0)?) }, "", "regular file"),
        file("B002", "config-is-socket", move |t| { fs::remove_file(config(t))?; drop(UnixListener::bind(config(t))?); Ok(()) }, "", "config.json"),
        file("B002", "config-is-device", move |t| { fs::remove_file(config(t))?; Ok(mknodat(CWD, config(t), FileType::CharacterDevice, 0o600.into(), makedev(1, 5))?) }, "", "regular file"),
        file("B005", "config-0-bytes", move |t| Ok(fs::write(config(t), b"")?), "", "empty"),
        file("B001", "bundle-missing", |t| { t.bundle = t.dir.join("no-such-bundle"); Ok(()) }, "", "no-such-bundle"),
        file("B023", "root-is-file", |t| { fs::rename(t.rootfs(), t.bundle.join("away"))?; Ok(fs::write(t.rootfs(), "x")?) }, "/root/path", "directory"),
        file("B023", "root-is-dangling-link", |t| { fs::rename(t.rootfs(), t.bundle.join("away"))?; Ok(std::os::unix::fs::symlink("nowhere", t.rootfs())?) }, "/root/path", "rootfs"),
        case("input.B003-config-is-link").checks("catalogue B003: a link is followed, as every peer does").probe(["echo", "followed"]).steps(|t| {
            t.write_config()?;
            let away = t.host_dir("away")?.join("c.json");
            fs::rename(t.bundle.join("config.json"), &away)?;
            std::os::unix::fs::symlink(&away, t.bundle.join("config.json"))?;
            let (bundle, id) = (t.bundle.display().to_string(), t.id.clone());
            t.rt(&["run", "--bundle", &bundle, &id]).run()?.ok()?.prints("followed\n")?;
            Ok(())
        }),
        case("input.B004-config-not-readable").checks("catalogue B004").steps(|t| {
            let run = |t: &mut Trial<'_>| {
                let (bundle, id) = (t.bundle.display().to_string(), t.id.clone());
                t.rt(&["run", "--bundle", &bundle, &id]).run()
            };
            t.user = Some(t.within_reach(&t.runtime.path)?);
            t.write_config()?;
            fs::set_permissions(t.bundle.join("config.json"), fs::Permissions::from_mode(0o000))?;
            // The log of another user goes where that user may write.
            fs::set_permissions(t.dir.join("out"), fs::Permissions::from_mode(0o777))?;
            let out = run(t)?.fails()?;
            ensure!(out.stderr.contains("ermission denied") && out.stderr.contains("config.json"), "{}", out.stderr);
            fs::set_permissions(t.bundle.join("config.json"), fs::Permissions::from_mode(0o644))?;
            let twin = run(t)?;
            ensure!(!twin.stderr.contains("config.json"), "readable, and yet: {}", twin.stderr);
            Ok(())
        }),
        case("input.B019-config-changes-while-read").checks("catalogue B019").needs([Need::Busybox]).steps(|t| {
            for name in ["aaaa", "bbbb"] {
                t.spec["hostname"] = name.into();
                t.spec["process"]["args"] = json!([PROBE, "all", "hostname", "--", "echo", name]);
                fs::write(t.dir.join(name), t.spec.to_string())?;
            }
            fs::copy(t.dir.join("aaaa"), t.bundle.join("config.json"))?;
            let busybox = t.yard.busybox.clone().context("busybox")?;
            let (d, b) = (t.dir.display().to_string(), t.bundle.display().to_string());
            let script = format!("while :; do for n in aaaa bbbb; do cp {d}/$n {b}/next; mv {b}/next {b}/config.json; done; done");
            let _swapper = t.command(&busybox, &["sh".into(), "-c".into(), script]).spawn()?;
            for _ in 0..10 {
                let id = t.id.clone();
                let out = t.rt(&["run", "--bundle", &b, &id]).run()?.ok()?.stdout;
                ensure!(out == "aaaa\naaaa\n" || out == "bbbb\nbbbb\n", "two documents were mixed: {out:?}");
            }
            Ok(())
        }),
    ]
}

fn programs() -> Vec<Case> {
    let program =
        |id: &str, what: &str, prepare: fn(&Trial<'_>) -> Result<()>, path: &'static str, text: &str| {
            case(format!("input.{id}-{what}"))
                .checks(format!("catalogue {id}"))
                .fault(move |t| {
                    prepare(t)?;
                    t.spec["process"]["args"] = json!([path]);
                    Ok(())
                })
                .refused("/process/args/0", text)
        };
    vec![
        program("B032", "program-missing", |_| Ok(()), "/no/such/program", "no such file or directory"),
        program("B032", "program-not-in-path", |_| Ok(()), "nosuchprogram", "executable file not found in"),
        program(
            "B032",
            "program-not-executable",
            |t| t.put("plain", "text", 0o644).map(drop),
            "/plain",
            "ermission denied",
        ),
        program("B032", "program-is-directory", |t| t.put_dir("adir").map(drop), "/adir", "/adir"),
        program(
            "B032",
            "program-no-format",
            |t| t.put("plain", "neither ELF nor script\n", 0o755).map(drop),
            "/plain",
            "xec format error",
        ),
        program(
            "B032",
            "script-without-interpreter",
            |t| t.put("script", "#!/no/such/shell\n", 0o755).map(drop),
            "/script",
            "no such file or directory",
        ),
        case("input.B034-cwd-is-file")
            .checks("catalogue B034")
            .wrong(|s| s["process"]["cwd"] = "/etc/marker".into())
            .refused("/process/cwd", "/etc/marker"),
        case("input.B035-cwd-outside")
            .checks("catalogue B035")
            .wrong(|s| s["process"]["cwd"] = "/proc/self/fd/7".into())
            .refused("/process/cwd", "no such file"),
        case("input.B072-proc-on-link")
            .checks("catalogue B072")
            .fault(|t| {
                fs::remove_dir(t.rootfs().join("proc"))?;
                t.put_dir("elsewhere")?;
                t.put_link("proc", "/elsewhere")
            })
            .refused("/mounts/0", "must be mounted on ordinary directory"),
        case("input.B072-sys-on-link")
            .checks("catalogue B072")
            .fault(|t| {
                fs::remove_dir(t.rootfs().join("sys"))?;
                t.put_dir("elsewhere")?;
                t.put_link("sys", "elsewhere")
            })
            .refused("/mounts/5", "must be mounted on ordinary directory"),
    ]
}

fn hosts() -> Vec<Case> {
    vec![
        case("input.B048-create-terminal-without-socket").checks("catalogue B048").steps(|t| {
            t.try_create()?.ok()?;
            t.remove()?;
            t.spec["process"]["terminal"] = true.into();
            let out = t.try_create()?.exits(1)?.fails()?;
            ensure!(
                out.stderr.contains("console socket") || out.stderr.contains("console-socket"),
                "{}",
                out.stderr
            );
            Ok(())
        }),
        case("input.B048-socket-without-terminal").checks("catalogue B048").steps(|t| {
            let path = t.dir.join("c.sock");
            let _listener = UnixListener::bind(&path)?;
            t.flags = vec!["--console-socket".into(), path.display().to_string()];
            let out = t.try_create()?.exits(1)?.fails()?;
            ensure!(out.stderr.contains("terminal") || out.stderr.contains("console"), "{}", out.stderr);
            Ok(())
        }),
        case("input.B112-console-socket-missing").checks("catalogue B112").steps(|t| {
            t.spec["process"]["terminal"] = true.into();
            t.flags = vec!["--console-socket".into(), t.dir.join("nobody.sock").display().to_string()];
            let out = t.try_create()?.exits(1)?.fails()?;
            ensure!(
                out.stderr.contains("nobody.sock") || out.stderr.contains("no such file"),
                "{}",
                out.stderr
            );
            Ok(())
        }),
        case("input.B077-cgroup-dotdot")
            .checks("catalogue B077")
            .fault(|t| {
                t.spec["linux"]["cgroupsPath"] = format!("/{}/x/../y", t.yard.cgroup).into();
                Ok(())
            })
            .refused("/linux/cgroupsPath", ".."),
        case("input.B077-cgroup-name-256")
            .checks("catalogue B077")
            .fault(|t| {
                t.spec["linux"]["cgroupsPath"] = format!("/{}/{}", t.yard.cgroup, "a".repeat(256)).into();
                Ok(())
            })
            .refused("/linux/cgroupsPath", "too long"),
        case("input.B054-path-is-fifo")
            .checks("catalogue B054")
            .fault(|t| {
                let path = t.dir.join("fifo");
                mknodat(CWD, &path, FileType::Fifo, 0o600.into(), 0)?;
                base::namespace(&mut t.spec, "uts", Some(&path.display().to_string()));
                Ok(())
            })
            .refused("/linux/namespaces/4/path", "fifo"),
    ]
}

/// Inputs that look odd and are fine.
fn accepted() -> Vec<Case> {
    vec![
        case("input.B025-root-with-dotdot")
            .checks("catalogue B025")
            .probe(["cat", "/etc/marker"])
            .spec(|s| s["root"]["path"] = "rootfs/../rootfs/./".into())
            .stdout("marker\n"),
        case("input.B025-root-with-newline")
            .checks("catalogue B025")
            .probe(["cat", "/etc/marker"])
            .prepare(|t| {
                fs::rename(t.rootfs(), t.bundle.join("a\nb"))?;
                t.spec["root"]["path"] = "a\nb".into();
                Ok(())
            })
            .stdout("marker\n"),
        case("input.B025-root-too-long")
            .checks("catalogue B025")
            .wrong(|s| s["root"]["path"] = "x/".repeat(2049).into())
            .refused("/root/path", "too long"),
        case("input.B031-many-args")
            .checks("catalogue B031")
            .spec(|s| {
                let mut args = vec![PROBE, "echo"];
                args.extend(std::iter::repeat_n("x", 50_000));
                s["process"]["args"] = json!(args);
            })
            .stdout(format!("{}\n", vec!["x"; 50_000].join(" "))),
        case("input.B037-env-twice-last-wins")
            .checks("catalogue B037")
            .probe(["env"])
            .spec(|s| s["process"]["env"] = json!(["A=1", "B=2", "A=3"]))
            .output(|o| {
                let last = o.lines().rfind(|l| l.starts_with("A=")).context("no A")?;
                ensure!(last == "A=3", "{o}");
                Ok(())
            }),
        case("input.B065-destination-with-newline")
            .checks("catalogue B065")
            .probe(["ls", "/data/a\nb"])
            .prepare(|t| {
                let dir = t.host_dir("src")?;
                fs::write(dir.join("file"), "x")?;
                base::add_mount(&mut t.spec, "/data/a\nb", "bind", &dir.display().to_string(), &["bind"]);
                Ok(())
            })
            .stdout("file\n"),
        case("input.B069-contradicting-options")
            .checks("catalogue B069: the last one counts")
            .probe(["mknod", "/data/x", "p"])
            .prepare(|t| {
                base::add_mount(&mut t.spec, "/data", "tmpfs", "tmpfs", &["ro", "rw"]);
                Ok(())
            })
            .stdout("ok 0\n"),
        case("input.B073-many-mounts")
            .checks("catalogue B073")
            .seconds(60)
            .probe(["echo", "done"])
            .prepare(|t| {
                for n in 0..2000 {
                    base::add_mount(&mut t.spec, &format!("/tmp/{n}"), "bind", "/etc", &["bind", "ro"]);
                }
                Ok(())
            })
            .stdout("done\n"),
        case("input.B073-stacked-mounts")
            .checks("catalogue B073")
            .seconds(60)
            .probe(["ls", "/data"])
            .prepare(|t| {
                for _ in 0..100 {
                    base::add_mount(&mut t.spec, "/data", "tmpfs", "tmpfs", &[]);
                }
                let dir = t.host_dir("src")?;
                fs::write(dir.join("top"), "x")?;
                base::add_mount(&mut t.spec, "/data", "bind", &dir.display().to_string(), &["bind"]);
                Ok(())
            })
            .stdout("top\n"),
        case("input.B073-cyclic-sources")
            .checks("catalogue B073")
            .seconds(60)
            .probe(["echo", "done"])
            .prepare(|t| {
                // Each bind takes in the root with what was mounted so far.
                let root = t.rootfs().display().to_string();
                for n in 0..8 {
                    base::add_mount(&mut t.spec, &format!("/data/{n}"), "bind", &root, &["rbind"]);
                }
                Ok(())
            })
            .stdout("done\n"),
        case("input.unknown-keys-are-ignored")
            .checks("config.md#extensibility")
            .probe(["echo", "fine"])
            .spec(|s| {
                s["x-unknown"] = json!({"a": [1, 2, {"b": null}]});
                s["process"]["x-unknown"] = 5.into();
                s["linux"]["x-unknown"] = "x".into();
            })
            .stdout("fine\n"),
        case("input.null-fields-are-absent")
            .checks("config.md")
            .probe(["echo", "fine"])
            .spec(|s| {
                s["hooks"] = Value::Null;
                s["annotations"] = Value::Null;
                s["linux"]["seccomp"] = Value::Null;
                s["linux"]["devices"] = Value::Null;
                s["process"]["rlimits"] = Value::Null;
            })
            .stdout("fine\n"),
    ]
}

/// The document of `exec --process`, with the same rules.
fn exec() -> Vec<Case> {
    let bad = |what: &str, patch: Value, pointer: &str, text: &str| {
        case(format!("input.B117-exec-{what}"))
            .checks("catalogue B117")
            .of_exec()
            .fault(move |t| {
                merge(&mut t.process, &patch);
                Ok(())
            })
            .refused(pointer, text)
    };
    let mut all = vec![
        bad("args-missing", json!({"args": null}), "/args", "at least one"),
        bad("args-empty-name", json!({"args": [""]}), "/args/0", "empty"),
        bad("args-null", json!({"args": [null]}), "/args/0", "string"),
        bad("cwd-relative", json!({"cwd": "tmp"}), "/cwd", "absolute"),
        bad("cwd-is-file", json!({"cwd": "/etc/marker"}), "/cwd", "/etc/marker"),
        bad("cwd-outside", json!({"cwd": "/proc/self/fd/7"}), "/cwd", "chdir"),
        bad("env-without-equals", json!({"env": ["FOO"]}), "/env/0", "FOO"),
        bad("uid-too-high", json!({"user": {"uid": 4_294_967_295u64}}), "/user/uid", "4294967295"),
        bad("uid-string", json!({"user": {"uid": "0"}}), "/user/uid", "string"),
        bad(
            "capability-unknown",
            json!({"capabilities": {"bounding": ["CAP_FLY"]}}),
            "/capabilities/bounding/0",
            "CAP_FLY",
        ),
        bad(
            "rlimit-unknown",
            json!({"rlimits": [{"type": "RLIMIT_FUN", "hard": 1, "soft": 1}]}),
            "/rlimits/0/type",
            "RLIMIT_FUN",
        ),
        bad("oom-too-high", json!({"oomScoreAdj": 5000}), "/oomScoreAdj", "5000"),
        bad("bool-as-string", json!({"noNewPrivileges": "true"}), "/noNewPrivileges", "string"),
        bad("umask-high", json!({"user": {"umask": 512}}), "/user/umask", "01000"),
        bad("program-missing", json!({"args": ["/no/such/program"]}), "/args/0", "no such file or directory"),
        bad(
            "scheduler-unknown",
            json!({"scheduler": {"policy": "SCHED_FAST"}}),
            "/scheduler/policy",
            "SCHED_FAST",
        ),
    ];
    // 255 is an `exec` that failed; a number that cannot be read is a line that is none, as in runc.
    for (what, flag, text, exit) in [
        ("flag-cwd-relative", "--cwd=tmp", "absolute", 255),
        ("flag-env", "--env=FOO", "FOO", 255),
        ("flag-cap", "--cap=CAP_FLY", "CAP_FLY", 255),
        ("flag-cgroup", "--cgroup=../x", "bad sub cgroup path", 255),
        ("flag-process-missing", "--process=/no/such/file", "/no/such/file", 255),
        ("flag-preserve-fds", "--preserve-fds=abc", "abc", 1),
    ] {
        all.push(case(format!("input.B117-exec-{what}")).checks("catalogue B117").steps(move |t| {
            t.resident()?;
            t.exec_probe(&["true"])?.ok()?;
            t.exec_flags = vec![flag.into()];
            let out = t.exec_probe(&["true"])?.fails()?;
            if t.runtime.strict {
                ensure!(out.code == Some(exit), "exit {:?}", out.code);
                ensure!(out.stderr.contains(text), "want {text:?}: {}", out.stderr);
            }
            t.is("running")
        }));
    }
    all
}
