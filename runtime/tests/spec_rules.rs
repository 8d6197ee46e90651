//! Each rule of config.json: a document with one fault must be refused for that fault, at its place and nowhere
//! else, and the same document without the fault must pass. The rows are those of the project's list of bad input.

use knarr::spec::{check, read};
use serde_json::{Value, json};

/// A config.json that nobody objects to, with every namespace made new.
fn base() -> Value {
    json!({
        "ociVersion": "1.2.0",
        "process": { "user": { "uid": 0, "gid": 0 }, "args": ["sh"], "env": ["PATH=/bin"], "cwd": "/" },
        "root": { "path": "rootfs" },
        "linux": {
            "uidMappings": [{ "containerID": 0, "hostID": 1000, "size": 10 }],
            "gidMappings": [{ "containerID": 0, "hostID": 1000, "size": 10 }],
            "namespaces": [
                { "type": "pid" }, { "type": "network" }, { "type": "mount" }, { "type": "ipc" },
                { "type": "uts" }, { "type": "user" }, { "type": "cgroup" }, { "type": "time" }
            ]
        }
    })
}

/// RFC 7396: objects are merged, `null` removes, anything else replaces.
fn merge(into: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *into = patch.clone();
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    let object = into.as_object_mut().unwrap();
    for (key, value) in patch {
        if value.is_null() {
            object.remove(key);
        } else {
            merge(object.entry(key).or_insert(Value::Null), value);
        }
    }
}

fn patched(patch: &Value) -> Vec<u8> {
    let mut doc = base();
    merge(&mut doc, patch);
    serde_json::to_vec(&doc).unwrap()
}

/// Every complaint about a document, from reading or from checking.
fn complaints(doc: &[u8]) -> Vec<(String, String)> {
    let errors = match read::config(doc) {
        Ok((spec, _)) => check::config(&spec),
        Err(e) => vec![e],
    };
    let pair = |e: knarr::error::Error| (e.field_path().unwrap_or("").to_string(), e.to_string());
    errors.into_iter().map(pair).collect()
}

/// One fault and the same place without it.
struct Row {
    row: &'static str,
    bad: Value,
    at: &'static str,
    says: &'static str,
    good: Value,
}

fn row(row: &'static str, bad: Value, at: &'static str, says: &'static str, good: Value) -> Row {
    Row { row, bad, at, says, good }
}

fn verify(rows: Vec<Row>) {
    assert_eq!(complaints(&patched(&json!({}))), [], "the base must pass");
    for Row { row, bad, at, says, good } in rows {
        let found = complaints(&patched(&bad));
        assert_eq!(found.len(), 1, "{row} {bad}: want one complaint, got {found:?}");
        let (pointer, text) = &found[0];
        assert_eq!(pointer, at, "{row} {bad}: {text}");
        assert!(text.contains(says), "{row} {bad}: {text:?} does not say {says:?}");
        assert!(!text.contains('\n'), "{row}: {text:?} is more than one line");
        assert_eq!(complaints(&patched(&good)), [], "{row}: {good} must pass");
    }
}

/// A patch of `process`.
fn process(p: Value) -> Value {
    json!({ "process": p })
}

/// A patch of `linux`.
fn linux(l: Value) -> Value {
    json!({ "linux": l })
}

/// A patch of `linux.resources`.
fn resources(r: Value) -> Value {
    json!({ "linux": { "resources": r } })
}

/// One mount more.
fn mount(m: Value) -> Value {
    json!({ "mounts": [m] })
}

/// A bind mount on `destination`.
fn bind(destination: &str) -> Value {
    mount(json!({ "destination": destination, "type": "bind", "source": "/srv", "options": ["rbind"] }))
}

/// All namespaces but one.
fn without(kind: &str) -> Value {
    let mut list = base()["linux"]["namespaces"].clone();
    list.as_array_mut().unwrap().retain(|n| n["type"] != kind);
    list
}

fn also(mut patch: Value, more: Value) -> Value {
    merge(&mut patch, &more);
    patch
}

#[test]
fn top_level() {
    let version = |v: &str| json!({ "ociVersion": v });
    verify(vec![
        row("B020", json!({ "ociVersion": null }), "/ociVersion", "missing", version("1.0.0")),
        row("B020", version(""), "/ociVersion", "missing", version("1.0.2-dev")),
        row("B020", version("junk"), "/ociVersion", "not a SemVer version", version("1.3.0")),
        row("B021", version("9.0.0"), "/ociVersion", "1.0.0 to 1.3.x", version("1.4.0-dev")),
        row("B021", version("0.9.9"), "/ociVersion", "unsupported version", version("1.0.0-rc5-dev")),
        row("B022", json!({ "root": null }), "/root", "missing", json!({ "root": { "path": "r" } })),
        row(
            "B022",
            json!({ "root": { "path": "" } }),
            "/root/path",
            "missing",
            json!({ "root": { "path": "/r" } }),
        ),
        row(
            "B025",
            json!({ "root": { "path": "a/".repeat(2048) } }),
            "/root/path",
            "path too long",
            json!({ "root": { "path": "a/".repeat(2047) } }),
        ),
        row("B027", json!({ "process": null }), "/process", "missing", json!({})),
        row(
            "B094",
            json!({ "linux": null, "windows": {} }),
            "/windows",
            "wrong platform",
            json!({ "windows": { "x": 1 } }),
        ),
        row("B095", json!({ "annotations": { "a": 1 } }), "/annotations/a", "want a string", json!({})),
        row(
            "B095",
            json!({ "annotations": { "": "x" } }),
            "/annotations/",
            "empty key",
            json!({ "annotations": { "a/b~c": "" } }),
        ),
        row(
            "B095",
            json!({ "annotations": { "io.knarr.x": "" } }),
            "/annotations/io.knarr.x",
            "reserved",
            json!({ "annotations": { "io.knarrd": "" } }),
        ),
    ]);
}

#[test]
fn the_program() {
    let args = |a: Value| process(json!({ "args": a }));
    let env = |e: Value| process(json!({ "env": e }));
    let cwd = |c: &str| process(json!({ "cwd": c }));
    verify(vec![
        row("B028", args(json!(null)), "/process/args", "at least one element", args(json!(["a"]))),
        row("B028", args(json!([])), "/process/args", "at least one element", args(json!(["a", ""]))),
        row("B029", args(json!([null])), "/process/args/0", "got null, want a string", args(json!(["null"]))),
        row(
            "B029",
            args(json!(["a", 1])),
            "/process/args/1",
            "got 1, want a string",
            args(json!(["a", "1"])),
        ),
        row("B030", args(json!([""])), "/process/args/0", "empty program name", args(json!([" "]))),
        row(
            "B031",
            args(json!(["a", "x".repeat(2 << 20)])),
            "/process/args/1",
            "too long for execve",
            args(json!(["a", "x".repeat(100_000)])),
        ),
        row(
            "B031",
            args(json!(vec!["x".repeat(70_000); 100])),
            "/process/args",
            "too large for execve",
            args(json!(vec!["x".repeat(50_000); 100])),
        ),
        row("B033", cwd(""), "/process/cwd", "absolute", cwd("/")),
        row("B033", process(json!({ "cwd": null })), "/process/cwd", "absolute", cwd("/tmp")),
        row("B033", cwd("tmp"), "/process/cwd", "must be absolute: got \"tmp\"", cwd("/proc/self/cwd")),
        row(
            "B036",
            env(json!(["A=b", "FOO"])),
            "/process/env/1",
            "want NAME=value",
            env(json!(["A=", "FOO="])),
        ),
        row("B036", env(json!(["=x"])), "/process/env/0", "without a name", env(json!(["A==x"]))),
        row("B036", env(json!([null])), "/process/env/0", "want a string", env(json!([]))),
    ]);
}

#[test]
fn identity() {
    let user = |u: Value| process(json!({ "user": u }));
    let top = u32::MAX - 1;
    verify(vec![
        row("B038", user(json!({ "uid": -1 })), "/process/user/uid", "got -1", user(json!({ "uid": 1 }))),
        row(
            "B038",
            user(json!({ "uid": u32::MAX })),
            "/process/user/uid",
            "0 to 4294967294",
            user(json!({ "uid": top })),
        ),
        row(
            "B038",
            user(json!({ "gid": u32::MAX })),
            "/process/user/gid",
            "0 to 4294967294",
            user(json!({ "gid": top })),
        ),
        row(
            "B038",
            user(json!({ "uid": 1u64 << 32 })),
            "/process/user/uid",
            "out of range",
            user(json!({ "uid": null })),
        ),
        row(
            "B038",
            user(json!({ "uid": "0" })),
            "/process/user/uid",
            "got the string \"0\"",
            user(json!({ "uid": 0 })),
        ),
        row(
            "B040",
            user(json!({ "additionalGids": [5, -1] })),
            "/process/user/additionalGids/1",
            "got -1",
            user(json!({ "additionalGids": [5, 5] })),
        ),
        row(
            "B040",
            user(json!({ "additionalGids": vec![7; 65537] })),
            "/process/user/additionalGids",
            "at most 65536",
            user(json!({ "additionalGids": vec![7; 65536] })),
        ),
        row(
            "B041",
            user(json!({ "umask": 512 })),
            "/process/user/umask",
            "got 01000",
            user(json!({ "umask": 511 })),
        ),
        row(
            "B041",
            user(json!({ "umask": -1 })),
            "/process/user/umask",
            "got -1",
            user(json!({ "umask": 0 })),
        ),
    ]);
}

#[test]
fn capabilities_and_limits() {
    let caps = |c: Value| process(json!({ "capabilities": c }));
    let all = json!({ "bounding": ["CAP_KILL"], "permitted": ["CAP_KILL"], "inheritable": ["CAP_KILL"],
                      "effective": ["CAP_KILL"], "ambient": ["CAP_KILL"] });
    let limit = |list: Value| process(json!({ "rlimits": list }));
    let nofile = json!({ "type": "RLIMIT_NOFILE", "hard": 2, "soft": 1 });
    verify(vec![
        row(
            "B042",
            caps(json!({ "bounding": ["CAP_KILL", "CAP_FLY"] })),
            "/process/capabilities/bounding/1",
            "unknown capability: got \"CAP_FLY\"",
            caps(all.clone()),
        ),
        row(
            "B042",
            caps(json!({ "effective": ["cap_kill"] })),
            "/process/capabilities/effective/0",
            "unknown capability",
            caps(json!({ "effective": ["CAP_CHECKPOINT_RESTORE"] })),
        ),
        row(
            "B042",
            caps(json!({ "permitted": ["KILL"] })),
            "/process/capabilities/permitted/0",
            "unknown",
            caps(json!({})),
        ),
        row(
            "B043",
            caps(json!({ "ambient": ["CAP_KILL"], "inheritable": ["CAP_KILL"] })),
            "/process/capabilities/ambient/0",
            "cannot be raised",
            caps(all),
        ),
        row(
            "B044",
            limit(json!([{ "type": "RLIMIT_FUN", "hard": 1, "soft": 1 }])),
            "/process/rlimits/0/type",
            "unknown limit: got \"RLIMIT_FUN\"",
            limit(json!([{ "type": "RLIMIT_RTTIME", "hard": u64::MAX, "soft": u64::MAX }])),
        ),
        row(
            "B044",
            limit(json!([nofile, nofile])),
            "/process/rlimits/1/type",
            "duplicate",
            limit(json!([nofile])),
        ),
        row(
            "B044",
            limit(json!([{ "type": "RLIMIT_CPU", "hard": 1, "soft": 2 }])),
            "/process/rlimits/0/soft",
            "got soft 2 and hard 1",
            limit(json!([{ "type": "RLIMIT_CPU", "hard": 2, "soft": 2 }])),
        ),
        row(
            "B045",
            process(json!({ "oomScoreAdj": 5000 })),
            "/process/oomScoreAdj",
            "-1000 to 1000",
            process(json!({ "oomScoreAdj": 1000 })),
        ),
        row(
            "B045",
            process(json!({ "oomScoreAdj": -2000 })),
            "/process/oomScoreAdj",
            "got -2000",
            process(json!({ "oomScoreAdj": -1000 })),
        ),
        row(
            "B046",
            process(json!({ "noNewPrivileges": "false" })),
            "/process/noNewPrivileges",
            "got the string \"false\", want true or false",
            process(json!({ "noNewPrivileges": false })),
        ),
    ]);
}

#[test]
fn scheduling_and_terminal() {
    let sched = |s: Value| process(json!({ "scheduler": s }));
    let io = |i: Value| process(json!({ "ioPriority": i }));
    let size =
        |h: Value, w: Value| process(json!({ "terminal": true, "consoleSize": { "height": h, "width": w } }));
    let cpus = |c: &str| process(json!({ "execCPUAffinity": { "initial": c } }));
    let deadline = |r: u64, d: u64, p: u64| {
        sched(json!({ "policy": "SCHED_DEADLINE", "runtime": r, "deadline": d, "period": p }))
    };
    verify(vec![
        row(
            "B047",
            sched(json!({})),
            "/process/scheduler/policy",
            "unknown policy",
            sched(json!({ "policy": "SCHED_OTHER" })),
        ),
        row(
            "B047",
            sched(json!({ "policy": "SCHED_ISO" })),
            "/process/scheduler/policy",
            "want SCHED_OTHER",
            sched(json!({ "policy": "SCHED_IDLE" })),
        ),
        row(
            "B047",
            sched(json!({ "policy": "SCHED_BATCH", "nice": 20 })),
            "/process/scheduler/nice",
            "-20 to 19",
            sched(json!({ "policy": "SCHED_BATCH", "nice": 19 })),
        ),
        row(
            "B047",
            sched(json!({ "policy": "SCHED_OTHER", "priority": 1 })),
            "/process/scheduler/priority",
            "SCHED_FIFO",
            sched(json!({ "policy": "SCHED_RR", "priority": 1 })),
        ),
        row(
            "B047",
            sched(json!({ "policy": "SCHED_FIFO", "priority": 100 })),
            "/process/scheduler/priority",
            "1 to 99",
            sched(json!({ "policy": "SCHED_FIFO", "priority": 99 })),
        ),
        row(
            "B047",
            sched(json!({ "policy": "SCHED_IDLE", "period": 1 })),
            "/process/scheduler/period",
            "SCHED_DEADLINE",
            sched(json!({ "policy": "SCHED_IDLE" })),
        ),
        row(
            "B047",
            deadline(20000, 10000, 30000),
            "/process/scheduler/runtime",
            "runtime <= deadline",
            deadline(10000, 20000, 30000),
        ),
        row(
            "B047",
            deadline(0, 10000, 30000),
            "/process/scheduler/runtime",
            "got runtime 0",
            deadline(10000, 10000, 0),
        ),
        row(
            "B047",
            sched(json!({ "policy": "SCHED_RR", "priority": 1, "flags": ["X"] })),
            "/process/scheduler/flags/0",
            "unknown flag",
            sched(json!({ "policy": "SCHED_RR", "priority": 1, "flags": ["SCHED_FLAG_RESET_ON_FORK"] })),
        ),
        row(
            "B047",
            io(json!({ "class": "BE", "priority": 1 })),
            "/process/ioPriority/class",
            "unknown class",
            io(json!({ "class": "IOPRIO_CLASS_BE", "priority": 7 })),
        ),
        row(
            "B047",
            io(json!({ "class": "IOPRIO_CLASS_RT", "priority": 8 })),
            "/process/ioPriority/priority",
            "0 to 7",
            io(json!({ "class": "IOPRIO_CLASS_IDLE" })),
        ),
        row("B047", cpus("3-1"), "/process/execCPUAffinity/initial", "runs backwards", cpus(" 0-3, 7,")),
        row(
            "B049",
            size(json!(0), json!(80)),
            "/process/consoleSize/height",
            "1 to 65535",
            size(json!(1), json!(65535)),
        ),
        row(
            "B049",
            size(json!(24), json!(1u64 << 32)),
            "/process/consoleSize/width",
            "1 to 65535",
            process(json!({ "consoleSize": { "height": 0, "width": 0 } })),
        ),
        row(
            "B051",
            process(json!({ "apparmorProfile": "a\nb" })),
            "/process/apparmorProfile",
            "control character",
            process(json!({ "apparmorProfile": "a" })),
        ),
        row(
            "B051",
            process(json!({ "selinuxLabel": "a\nb" })),
            "/process/selinuxLabel",
            "control character",
            process(json!({ "selinuxLabel": "a:b:c" })),
        ),
    ]);
}

#[test]
fn namespaces() {
    let list = |l: Value| json!({ "linux": { "namespaces": l, "uidMappings": null, "gidMappings": null } });
    let map = |m: Value| linux(json!({ "uidMappings": m }));
    let line = |c: u64, h: u64, s: u64| json!({ "containerID": c, "hostID": h, "size": s });
    let lines = |n: u64| (0..n).map(|i| line(i, i, 1)).collect::<Value>();
    let all = base()["linux"]["namespaces"].clone();
    let joined = |kind: &str| {
        let mut l = without(kind);
        l.as_array_mut().unwrap().push(json!({ "type": kind, "path": "/proc/1/ns/x" }));
        l
    };
    let clock = |c: Value| linux(json!({ "timeOffsets": { "boottime": c } }));
    verify(vec![
        row(
            "B052",
            list(json!([{ "type": "moon" }])),
            "/linux/namespaces/0/type",
            "unknown namespace: got \"moon\"",
            list(json!([])),
        ),
        row(
            "B053",
            list(json!([{ "type": "pid" }, { "type": "pid" }])),
            "/linux/namespaces/1/type",
            "duplicate",
            list(json!([{ "type": "pid" }])),
        ),
        row(
            "B054",
            list(json!([{ "type": "pid", "path": "ns/pid" }])),
            "/linux/namespaces/0/path",
            "must be absolute",
            list(json!([{ "type": "pid", "path": "/ns/pid" }])),
        ),
        row(
            "B055",
            also(bind("/data"), linux(json!({ "namespaces": without("mount") }))),
            "/mounts",
            "mount namespace",
            bind("/data"),
        ),
        row(
            "B055",
            linux(json!({ "namespaces": without("mount"), "maskedPaths": ["/a"] })),
            "/linux/maskedPaths",
            "mount namespace",
            linux(json!({ "maskedPaths": ["/a"] })),
        ),
        row(
            "B055",
            json!({ "root": { "readonly": true }, "linux": { "namespaces": without("mount") } }),
            "/root/readonly",
            "mount namespace",
            json!({ "root": { "readonly": true } }),
        ),
        row(
            "B056",
            linux(json!({ "gidMappings": null })),
            "/linux/gidMappings",
            "at least one mapping",
            linux(json!({ "gidMappings": null, "uidMappings": null, "namespaces": joined("user") })),
        ),
        row(
            "B057",
            linux(json!({ "namespaces": without("user"), "gidMappings": null })),
            "/linux/uidMappings",
            "user namespace",
            linux(json!({ "namespaces": all })),
        ),
        row(
            "B058",
            map(json!([line(0, 0, 0)])),
            "/linux/uidMappings/0/size",
            "got 0",
            map(json!([line(0, 0, 1)])),
        ),
        row(
            "B058",
            map(json!([line(0, 0, 5), line(4, 10, 1)])),
            "/linux/uidMappings/1",
            "overlaps with /linux/uidMappings/0",
            map(json!([line(0, 0, 5), line(5, 10, 1)])),
        ),
        row(
            "B058",
            map(json!([line(0, 0, 5), line(9, 4, 1)])),
            "/linux/uidMappings/1",
            "overlaps",
            map(json!([line(0, 0, 5), line(9, 5, 1)])),
        ),
        row(
            "B058",
            map(json!([line(0, 4294967290, 10)])),
            "/linux/uidMappings/0/hostID",
            "past the last id",
            map(json!([line(0, 4294967290, 5)])),
        ),
        row(
            "B058",
            map(json!([line(1, 0, 4294967295u64)])),
            "/linux/uidMappings/0/containerID",
            "past the last id",
            map(json!([line(0, 0, 4294967295u64)])),
        ),
        row("B058", map(lines(341)), "/linux/uidMappings", "at most 340", map(lines(340))),
        row(
            "B060",
            also(clock(json!({ "secs": 1 })), linux(json!({ "namespaces": without("time") }))),
            "/linux/timeOffsets",
            "time namespace",
            clock(json!({ "secs": -1 })),
        ),
        row(
            "B060",
            also(clock(json!({ "secs": 1 })), linux(json!({ "namespaces": joined("time") }))),
            "/linux/timeOffsets",
            "cannot be set",
            linux(json!({ "namespaces": joined("time") })),
        ),
        row(
            "B060",
            clock(json!({ "nanosecs": 1_000_000_000 })),
            "/linux/timeOffsets/boottime/nanosecs",
            "out of range",
            clock(json!({ "nanosecs": 999_999_999 })),
        ),
        row(
            "B060",
            clock(json!({ "secs": i64::MAX })),
            "/linux/timeOffsets/boottime/secs",
            "out of range",
            clock(json!({ "secs": 9_223_372_036i64 })),
        ),
        row(
            "B060",
            linux(json!({ "timeOffsets": { "realtime": {} } })),
            "/linux/timeOffsets/realtime",
            "unknown clock",
            linux(json!({ "timeOffsets": { "monotonic": {} } })),
        ),
        row(
            "B061",
            json!({ "hostname": "h", "linux": { "namespaces": without("uts") } }),
            "/hostname",
            "uts namespace",
            json!({ "hostname": "h" }),
        ),
        row(
            "B061",
            json!({ "hostname": "h".repeat(65) }),
            "/hostname",
            "at most 64",
            json!({ "hostname": "h".repeat(64) }),
        ),
        row(
            "B062",
            json!({ "domainname": "h", "linux": { "namespaces": without("uts") } }),
            "/domainname",
            "uts namespace",
            json!({ "domainname": "h" }),
        ),
        row(
            "B062",
            json!({ "domainname": "h".repeat(65) }),
            "/domainname",
            "at most 64",
            json!({ "domainname": "h".repeat(64) }),
        ),
    ]);
}

#[test]
fn mounts() {
    let typed = |d: &str, t: &str| mount(json!({ "destination": d, "type": t, "source": t }));
    let tmpfs =
        |o: &str| mount(json!({ "destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": [o] }));
    let from =
        |s: &str| mount(json!({ "destination": "/proc", "type": "bind", "source": s, "options": ["rbind"] }));
    let at = "/mounts/0/destination";
    let idmapped = |m: Value| {
        let base = mount(
            json!({ "destination": "/d", "type": "bind", "source": "/s", "options": ["bind", "idmap"] }),
        );
        let mut patch =
            also(base, linux(json!({ "namespaces": without("user"), "uidMappings": [], "gidMappings": [] })));
        merge(&mut patch["mounts"][0], &m);
        patch
    };
    let map = json!([{ "containerID": 0, "hostID": 0, "size": 1 }]);
    verify(vec![
        row("B063", bind(""), at, "want an absolute path", bind("/data")),
        row("B063", bind("data"), at, "must be absolute: got \"data\"", bind("/data/")),
        row(
            "B063",
            mount(json!({ "type": "bind", "source": "/s" })),
            at,
            "want an absolute path",
            bind("//data"),
        ),
        row("B064", bind("/"), at, "root", bind("/a")),
        row("B064", bind("/a/.."), at, "root", bind("/a/../b")),
        row(
            "B065",
            bind(&format!("/{}", "x".repeat(300))),
            at,
            "file name too long",
            bind(&format!("/{}", "x".repeat(255))),
        ),
        row("B065", bind(&"/x".repeat(2049)), at, "path too long", bind("/with\nnewline")),
        row(
            "B066",
            mount(json!({ "destination": "/d", "options": ["rbind"] })),
            "/mounts/0/source",
            "needs a source",
            bind("/d"),
        ),
        row(
            "B068",
            idmapped(json!({})),
            "/mounts/0/options/1",
            "\"idmap\" without mappings",
            idmapped(json!({ "uidMappings": map, "gidMappings": map })),
        ),
        row(
            "B068",
            idmapped(json!({ "uidMappings": map })),
            "/mounts/0",
            "go together",
            mount(
                json!({ "destination": "/d", "type": "bind", "source": "/s", "options": ["bind", "ridmap"] }),
            ),
        ),
        row(
            "B070",
            tmpfs("size=1E"),
            "/mounts/0/options/0",
            "bad value for size: got \"1E\"",
            tmpfs("size=65536k"),
        ),
        row("B070", tmpfs("size=-1"), "/mounts/0/options/0", "got \"-1\"", tmpfs("size=50%")),
        row("B070", tmpfs("size=abc"), "/mounts/0/options/0", "got \"abc\"", tmpfs("size=0")),
        row("B070", tmpfs("mode=99999"), "/mounts/0/options/0", "octal", tmpfs("mode=01777")),
        row(
            "B070",
            tmpfs("nr_inodes=x"),
            "/mounts/0/options/0",
            "bad value for nr_inodes",
            tmpfs("nr_inodes=10k"),
        ),
        row("B070", tmpfs("uid=root"), "/mounts/0/options/0", "bad value for uid", tmpfs("uid=0")),
        row("B071", bind("/proc/self/attr"), at, "is inside /proc", bind("/proc/meminfo")),
        row(
            "B071",
            bind("/proc/../proc//sys"),
            at,
            "\"/proc/sys\" cannot be mounted because it is inside /proc",
            bind("/proc/net/dev"),
        ),
        row(
            "B071",
            typed("/proc/", "tmpfs"),
            at,
            "\"/proc\" cannot be mounted because it is not of type proc",
            typed("/proc/", "proc"),
        ),
        row("B071", from("/srv"), at, "not of type proc", from("/proc")),
        row("B071", from("/proc/../srv"), at, "not of type proc", from("/proc/")),
        row(
            "B071",
            typed("/sys/kernel", "tmpfs"),
            at,
            "cannot hide \"/sys/kernel\"",
            bind("/sys/kernel/debug"),
        ),
        row(
            "B071",
            typed("/sys/kernel/security", "tmpfs"),
            at,
            "cannot hide",
            typed("/sys/kernel/security", "securityfs"),
        ),
    ]);
}

#[test]
fn sysctl_and_cgroup() {
    let set = |k: &str, v: &str| linux(json!({ "sysctl": { k: v } }));
    let cgroup = |p: &str| linux(json!({ "cgroupsPath": p }));
    let alone = |kind: &str, k: &str| also(set(k, "1"), linux(json!({ "namespaces": without(kind) })));
    verify(vec![
        row(
            "B075",
            set("kernel.panic", "1"),
            "/linux/sysctl/kernel.panic",
            "not in a separate kernel namespace",
            set("kernel.shmmax", "1"),
        ),
        row(
            "B075",
            set("vm/swappiness", "1"),
            "/linux/sysctl/vm~1swappiness",
            "not in a separate kernel namespace",
            set("net/core/somaxconn", "1"),
        ),
        row(
            "B075",
            set("net/../kernel/panic", "1"),
            "/linux/sysctl/net~1..~1kernel~1panic",
            "not the name of a sysctl",
            set("net.ipv4.conf.eth0/5.rp_filter", "1"),
        ),
        row(
            "B075",
            set("net.core.x", "1\n2"),
            "/linux/sysctl/net.core.x",
            "bad value",
            set("kernel.sem", "250\t32000 100 128"),
        ),
        row(
            "B075",
            linux(json!({ "sysctl": { "net.a.b": "1", "net/a/b": "2" } })),
            "/linux/sysctl/net~1a~1b",
            "the same setting as \"net.a.b\"",
            linux(json!({ "sysctl": { "net.a.b": "1", "net/a/c": "2" } })),
        ),
        row(
            "B075",
            alone("ipc", "fs.mqueue.msg_max"),
            "/linux/sysctl/fs.mqueue.msg_max",
            "host's ipc namespace",
            set("fs.mqueue.msg_max", "1"),
        ),
        row(
            "B076",
            alone("network", "net.a.b"),
            "/linux/sysctl/net.a.b",
            "host network namespace",
            set("net.a.b", "1"),
        ),
        row(
            "B076",
            set("kernel.hostname", "h"),
            "/linux/sysctl/kernel.hostname",
            "conflicts",
            set("kernel.domainname", "d"),
        ),
        row(
            "B076",
            also(set("kernel.domainname", "h"), json!({ "domainname": "d" })),
            "/linux/sysctl/kernel.domainname",
            "conflicts",
            json!({ "domainname": "d" }),
        ),
        row(
            "B076",
            alone("uts", "kernel.domainname"),
            "/linux/sysctl/kernel.domainname",
            "not in a separate",
            set("kernel.domainname", "d"),
        ),
        row("B077", cgroup("/a/../b"), "/linux/cgroupsPath", "without ..", cgroup("/a/b..c")),
        row("B077", cgroup(&"/a".repeat(2500)), "/linux/cgroupsPath", "path too long", cgroup("/docker/abc")),
        row(
            "B077",
            cgroup(&"a".repeat(256)),
            "/linux/cgroupsPath",
            "file name too long",
            cgroup(&"a".repeat(255)),
        ),
        row(
            "B077",
            cgroup("a\nb"),
            "/linux/cgroupsPath",
            "control character",
            cgroup("system.slice:docker:x"),
        ),
    ]);
}

#[test]
fn memory_cpu_and_pids() {
    let mem = |m: Value| resources(json!({ "memory": m }));
    let cpu = |c: Value| resources(json!({ "cpu": c }));
    let pids = |p: Value| resources(json!({ "pids": { "limit": p } }));
    verify(vec![
        row(
            "B079",
            mem(json!({ "limit": -2 })),
            "/linux/resources/memory/limit",
            "got -2",
            mem(json!({ "limit": -1 })),
        ),
        row(
            "B079",
            mem(json!({ "kernelTCP": -2 })),
            "/linux/resources/memory/kernelTCP",
            "got -2",
            mem(json!({ "kernelTCP": 0 })),
        ),
        row(
            "B079",
            mem(json!({ "limit": 100, "swap": 99 })),
            "/linux/resources/memory/swap",
            "got swap 99 and limit 100",
            mem(json!({ "limit": 100, "swap": -1 })),
        ),
        row(
            "B079",
            mem(json!({ "swappiness": 101 })),
            "/linux/resources/memory/swappiness",
            "0 to 100",
            mem(json!({ "swappiness": u64::MAX })),
        ),
        row(
            "B081",
            cpu(json!({ "shares": 1 })),
            "/linux/resources/cpu/shares",
            "got 1, want 2 to 262144",
            cpu(json!({ "shares": 0 })),
        ),
        row(
            "B081",
            cpu(json!({ "quota": 999 })),
            "/linux/resources/cpu/quota",
            "got 999",
            cpu(json!({ "quota": -1 })),
        ),
        row(
            "B081",
            cpu(json!({ "period": 999 })),
            "/linux/resources/cpu/period",
            "got 999",
            cpu(json!({ "period": 0 })),
        ),
        row(
            "B081",
            cpu(json!({ "quota": 1000, "burst": 1001 })),
            "/linux/resources/cpu/burst",
            "above the quota",
            cpu(json!({ "quota": -1, "burst": 1001 })),
        ),
        row(
            "B081",
            cpu(json!({ "realtimeRuntime": 2, "realtimePeriod": 1 })),
            "/linux/resources/cpu/realtimeRuntime",
            "above the period",
            cpu(json!({ "realtimeRuntime": 2 })),
        ),
        row(
            "B081",
            cpu(json!({ "idle": 2 })),
            "/linux/resources/cpu/idle",
            "0 to 1",
            cpu(json!({ "idle": 1 })),
        ),
        row(
            "B081",
            cpu(json!({ "cpus": "0-9999" })),
            "/linux/resources/cpu/cpus",
            "got \"0-9999\"",
            cpu(json!({ "cpus": "0-3,7" })),
        ),
        row(
            "B081",
            cpu(json!({ "cpus": "a-b" })),
            "/linux/resources/cpu/cpus",
            "got \"a-b\"",
            cpu(json!({ "cpus": "" })),
        ),
        row(
            "B081",
            cpu(json!({ "mems": "3-1" })),
            "/linux/resources/cpu/mems",
            "runs backwards",
            cpu(json!({ "mems": "0-1" })),
        ),
        row("B082", pids(json!(-5)), "/linux/resources/pids/limit", "got -5", pids(json!(-1))),
        row(
            "B082",
            pids(json!(1u64 << 63)),
            "/linux/resources/pids/limit",
            "out of range",
            pids(json!(null)),
        ),
    ]);
}

#[test]
fn devices_io_and_the_rest_of_resources() {
    let io = |b: Value| resources(json!({ "blockIO": b }));
    let unified = |k: &str| resources(json!({ "unified": { k: "1" } }));
    let huge = |s: &str| resources(json!({ "hugepageLimits": [{ "pageSize": s, "limit": u64::MAX }] }));
    let rule = |r: Value| resources(json!({ "devices": [r] }));
    let dev = |d: Value| {
        let mut device = json!({ "path": "/dev/x", "type": "c", "major": 1, "minor": 3 });
        merge(&mut device, &d);
        linux(json!({ "devices": [device] }))
    };
    let twice = |minor: u32| {
        let one = json!({ "path": "/dev/x", "type": "c", "major": 1, "minor": 3 });
        linux(json!({ "devices": [one, { "path": "/dev//x", "type": "c", "major": 1, "minor": minor }] }))
    };
    let same = json!({ "path": "/dev/x", "type": "c", "major": 1, "minor": 3 });
    verify(vec![
        row(
            "B081",
            io(json!({ "weight": 10001 })),
            "/linux/resources/blockIO/weight",
            "10 to 1000",
            io(json!({ "weight": 0 })),
        ),
        row(
            "B081",
            io(json!({ "weight": 70000 })),
            "/linux/resources/blockIO/weight",
            "0 to 65535",
            io(json!({ "leafWeight": 1000 })),
        ),
        row(
            "B081",
            io(json!({ "weightDevice": [{ "major": 8, "minor": 0 }] })),
            "/linux/resources/blockIO/weightDevice/0",
            "weight or leafWeight",
            io(json!({ "weightDevice": [{ "major": 8, "minor": 0, "weight": 10 }] })),
        ),
        row(
            "B081",
            io(json!({ "throttleReadBpsDevice": [{ "major": -1, "minor": 0, "rate": 1 }] })),
            "/linux/resources/blockIO/throttleReadBpsDevice/0/major",
            "got -1",
            io(json!({ "throttleReadBpsDevice": [{ "major": 8, "minor": 0, "rate": 1 }] })),
        ),
        row(
            "B083",
            unified("memory/high"),
            "/linux/resources/unified/memory~1high",
            "not an allowed cgroup file",
            unified("memory.high"),
        ),
        row(
            "B083",
            unified("a..b"),
            "/linux/resources/unified/a..b",
            "not an allowed cgroup file",
            unified("hugetlb.2MB.max"),
        ),
        row(
            "B083",
            unified("a.b\n"),
            "/linux/resources/unified/a.b\n",
            "not an allowed cgroup file",
            resources(json!({ "unified": { "io.max": "8:0 rbps=1\n8:16 rbps=1" } })),
        ),
        row(
            "B083",
            unified("cgroup.procs"),
            "/linux/resources/unified/cgroup.procs",
            "not an allowed cgroup file",
            unified("cgroup.max.depth"),
        ),
        row(
            "B085",
            dev(json!({ "type": "z" })),
            "/linux/devices/0/type",
            "unknown device type: got \"z\"",
            dev(json!({ "type": "u" })),
        ),
        row(
            "B085",
            dev(json!({ "major": -1 })),
            "/linux/devices/0/major",
            "got -1",
            dev(json!({ "major": 4095 })),
        ),
        row(
            "B085",
            dev(json!({ "minor": 1 << 20 })),
            "/linux/devices/0/minor",
            "out of range",
            dev(json!({ "minor": (1 << 20) - 1 })),
        ),
        row(
            "B085",
            dev(json!({ "path": "dev/x" })),
            "/linux/devices/0/path",
            "must be absolute",
            dev(json!({ "path": "/x" })),
        ),
        row(
            "B085",
            dev(json!({ "path": "/dev/../x" })),
            "/linux/devices/0/path",
            "without ..",
            dev(json!({ "path": "/dev/net/tun" })),
        ),
        row(
            "B085",
            dev(json!({ "fileMode": 0o17777 })),
            "/linux/devices/0/fileMode",
            "got 017777",
            dev(json!({ "fileMode": 0o20666 })),
        ),
        row(
            "B085",
            dev(json!({ "uid": u32::MAX })),
            "/linux/devices/0/uid",
            "out of range",
            dev(json!({ "uid": 0, "gid": null })),
        ),
        row(
            "B085",
            twice(4),
            "/linux/devices/1/path",
            "duplicate",
            linux(json!({ "devices": [same, same] })),
        ),
        row(
            "B086",
            rule(json!({ "allow": true, "access": "rwx" })),
            "/linux/resources/devices/0/access",
            "letters r, w, m",
            rule(json!({ "allow": false, "access": "rwm" })),
        ),
        row(
            "B086",
            rule(json!({ "allow": true, "type": "c" })),
            "/linux/resources/devices/0/access",
            "letters r, w, m",
            rule(json!({ "allow": true, "type": "c", "major": 13, "minor": -1, "access": "r" })),
        ),
        row(
            "B086",
            rule(json!({ "type": "p", "access": "r" })),
            "/linux/resources/devices/0/type",
            "unknown device type",
            rule(json!({ "type": "", "access": "r" })),
        ),
        row(
            "B087",
            huge("3MB"),
            "/linux/resources/hugepageLimits/0/pageSize",
            "no such page size: got \"3MB\"",
            huge("2MB"),
        ),
        row(
            "B087",
            huge("2mb"),
            "/linux/resources/hugepageLimits/0/pageSize",
            "no such page size",
            huge("64KB"),
        ),
        row(
            "B087",
            resources(json!({ "rdma": { "mlx5_1": {} } })),
            "/linux/resources/rdma/mlx5_1",
            "got neither",
            resources(json!({ "rdma": { "mlx5_1": { "hcaObjects": 1 } } })),
        ),
        row(
            "B087",
            resources(json!({ "network": { "priorities": [{ "name": "a b", "priority": 1 }] } })),
            "/linux/resources/network/priorities/0/name",
            "not a network interface name",
            resources(json!({ "network": { "priorities": [{ "name": "eth0", "priority": 1 }] } })),
        ),
    ]);
}

#[test]
fn seccomp() {
    let sec = |s: Value| linux(json!({ "seccomp": also(json!({ "defaultAction": "SCMP_ACT_ALLOW" }), s) }));
    let rule = |r: Value| {
        sec(json!({ "syscalls": [also(json!({ "names": ["getcwd"], "action": "SCMP_ACT_ERRNO" }), r)] }))
    };
    let arg = |i: u32, op: &str| rule(json!({ "args": [{ "index": i, "value": 1, "op": op }] }));
    let notify = |n: &str| {
        sec(json!({ "listenerPath": "/a", "syscalls": [{ "names": [n], "action": "SCMP_ACT_NOTIFY" }] }))
    };
    let plain = sec(json!({}));
    verify(vec![
        row(
            "B088",
            sec(json!({ "defaultAction": null })),
            "/linux/seccomp/defaultAction",
            "missing",
            plain.clone(),
        ),
        row(
            "B088",
            sec(json!({ "defaultAction": "ALLOW" })),
            "/linux/seccomp/defaultAction",
            "unknown action",
            plain.clone(),
        ),
        row(
            "B088",
            sec(json!({ "defaultAction": "SCMP_ACT_NOTIFY" })),
            "/linux/seccomp/defaultAction",
            "cannot be used as default action",
            plain.clone(),
        ),
        row(
            "B088",
            sec(json!({ "architectures": ["SCMP_ARCH_VAX"] })),
            "/linux/seccomp/architectures/0",
            "unknown architecture",
            sec(json!({ "architectures": ["SCMP_ARCH_RISCV64"] })),
        ),
        row(
            "B088",
            sec(json!({ "flags": ["SECCOMP_FILTER_FLAG_NEW_LISTENER"] })),
            "/linux/seccomp/flags/0",
            "unknown flag",
            sec(json!({ "flags": [] })),
        ),
        row(
            "B088",
            rule(json!({ "action": "X" })),
            "/linux/seccomp/syscalls/0/action",
            "unknown action",
            rule(json!({ "action": "SCMP_ACT_LOG" })),
        ),
        row(
            "B088",
            arg(0, "=="),
            "/linux/seccomp/syscalls/0/args/0/op",
            "unknown operator",
            arg(0, "SCMP_CMP_EQ"),
        ),
        row(
            "B090",
            arg(6, "SCMP_CMP_EQ"),
            "/linux/seccomp/syscalls/0/args/0/index",
            "0 to 5",
            arg(5, "SCMP_CMP_MASKED_EQ"),
        ),
        row(
            "B090",
            rule(json!({ "errnoRet": 5000 })),
            "/linux/seccomp/syscalls/0/errnoRet",
            "0 to 4095",
            rule(json!({ "errnoRet": 38 })),
        ),
        row(
            "B090",
            rule(json!({ "action": "SCMP_ACT_KILL", "errnoRet": 1 })),
            "/linux/seccomp/syscalls/0/errnoRet",
            "returns no errno",
            rule(json!({ "action": "SCMP_ACT_TRACE", "errnoRet": 65535 })),
        ),
        row(
            "B090",
            sec(json!({ "defaultErrnoRet": 1 })),
            "/linux/seccomp/defaultErrnoRet",
            "returns no errno",
            sec(json!({ "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1 })),
        ),
        row(
            "B090",
            rule(json!({ "names": [] })),
            "/linux/seccomp/syscalls/0/names",
            "at least one",
            rule(json!({ "names": ["a", "b"] })),
        ),
        row(
            "B090",
            rule(json!({ "names": ["a", ""] })),
            "/linux/seccomp/syscalls/0/names/1",
            "empty name",
            rule(json!({ "names": ["a"] })),
        ),
        row(
            "B090",
            notify("write"),
            "/linux/seccomp/syscalls/0/names/0",
            "SCMP_ACT_NOTIFY cannot be used for the write syscall",
            notify("mkdir"),
        ),
        row(
            "B091",
            sec(json!({ "listenerPath": "agent" })),
            "/linux/seccomp/listenerPath",
            "must be absolute",
            sec(json!({ "listenerPath": "/a", "listenerMetadata": "m" })),
        ),
        row(
            "B091",
            sec(json!({ "listenerMetadata": "m" })),
            "/linux/seccomp/listenerMetadata",
            "without listenerPath",
            plain,
        ),
        row(
            "B091",
            rule(json!({ "action": "SCMP_ACT_NOTIFY" })),
            "/linux/seccomp/listenerPath",
            "missing",
            notify("mkdir"),
        ),
    ]);
}

#[test]
fn the_rest_of_linux() {
    let l = linux;
    let net = |n: Value| linux(json!({ "netDevices": n }));
    let rdt = |r: Value| linux(json!({ "intelRdt": r }));
    let pol = |p: Value| linux(json!({ "memoryPolicy": p }));
    verify(vec![
        row(
            "B026",
            l(json!({ "rootfsPropagation": "sharded" })),
            "/linux/rootfsPropagation",
            "want shared, slave",
            l(json!({ "rootfsPropagation": "rslave" })),
        ),
        row(
            "B092",
            l(json!({ "maskedPaths": ["proc/kcore"] })),
            "/linux/maskedPaths/0",
            "must be absolute",
            l(json!({ "maskedPaths": ["/proc/kcore", "/proc/kcore"] })),
        ),
        row(
            "B092",
            l(json!({ "maskedPaths": [""] })),
            "/linux/maskedPaths/0",
            "want an absolute path",
            l(json!({ "maskedPaths": ["/proc/acpi/"] })),
        ),
        row(
            "B092",
            l(json!({ "maskedPaths": ["/a", "/proc/../etc"] })),
            "/linux/maskedPaths/1",
            "must be clean",
            l(json!({ "maskedPaths": ["/a", "/etc"] })),
        ),
        row(
            "B092",
            l(json!({ "readonlyPaths": ["/"] })),
            "/linux/readonlyPaths/0",
            "must be clean",
            l(json!({ "readonlyPaths": ["/proc/sys"] })),
        ),
        row(
            "B093",
            l(json!({ "personality": { "domain": "WINDOWS" } })),
            "/linux/personality/domain",
            "want LINUX, LINUX32",
            l(json!({ "personality": { "domain": "LINUX32" } })),
        ),
        row(
            "B093",
            l(json!({ "personality": { "domain": "LINUX", "flags": ["X"] } })),
            "/linux/personality/flags",
            "no flags",
            l(json!({ "personality": { "domain": "LINUX", "flags": [] } })),
        ),
        row(
            "B093",
            rdt(json!({ "closID": "a/b" })),
            "/linux/intelRdt/closID",
            "name of a directory",
            rdt(json!({ "closID": "/" })),
        ),
        row(
            "B093",
            rdt(json!({ "closID": "info" })),
            "/linux/intelRdt/closID",
            "name of a directory",
            rdt(json!({})),
        ),
        row(
            "B093",
            rdt(json!({ "schemata": ["L3:0=f\nMB:0=1"] })),
            "/linux/intelRdt/schemata/0",
            "want one line",
            rdt(json!({ "schemata": ["L3:0=f", "MB:0=1"] })),
        ),
        row(
            "B093",
            rdt(json!({ "memBwSchema": "L3:0=f" })),
            "/linux/intelRdt/memBwSchema",
            "starts with MB:",
            rdt(json!({ "memBwSchema": "MB:0=1" })),
        ),
        row(
            "B093",
            rdt(json!({ "l3CacheSchema": "L3:0=f\r" })),
            "/linux/intelRdt/l3CacheSchema",
            "control character",
            rdt(json!({ "l3CacheSchema": "L3:0=f\nMB:0=1" })),
        ),
        row(
            "B093",
            pol(json!({ "mode": "INTERLEAVE", "nodes": "0" })),
            "/linux/memoryPolicy/mode",
            "invalid memory policy mode",
            pol(json!({ "mode": "MPOL_INTERLEAVE", "nodes": "0" })),
        ),
        row(
            "B093",
            pol(json!({ "nodes": "0-7" })),
            "/linux/memoryPolicy/mode",
            "invalid memory policy mode",
            pol(json!({})),
        ),
        row(
            "B093",
            pol(json!({ "mode": "MPOL_BIND", "nodes": "0-9876543210" })),
            "/linux/memoryPolicy/nodes",
            "invalid memory policy node",
            pol(json!({ "mode": "MPOL_BIND", "nodes": "0-1" })),
        ),
        row(
            "B093",
            pol(json!({ "mode": "MPOL_BIND", "flags": ["x"] })),
            "/linux/memoryPolicy/flags/0",
            "invalid memory policy flag",
            pol(json!({ "mode": "MPOL_BIND", "flags": ["MPOL_F_STATIC_NODES"] })),
        ),
        row(
            "B093",
            net(json!({ "a/b": {} })),
            "/linux/netDevices/a~1b",
            "not a network interface name",
            net(json!({ "eth0": {} })),
        ),
        row(
            "B093",
            net(json!({ "eth0": { "name": "sixteen-letters-" } })),
            "/linux/netDevices/eth0/name",
            "not a network interface name",
            net(json!({ "eth0": { "name": "net%d" } })),
        ),
        row(
            "B093",
            net(json!({ "eth0": { "name": "n%d%d" } })),
            "/linux/netDevices/eth0/name",
            "at most one %d",
            net(json!({ "eth0": { "name": "n%d" }, "eth1": { "name": "n%d" } })),
        ),
        row(
            "B093",
            net(json!({ "eth0": { "name": "eth1" }, "eth1": {} })),
            "/linux/netDevices/eth1/name",
            "duplicate",
            net(json!({ "eth0": { "name": "eth1" }, "eth1": { "name": "eth0" } })),
        ),
        row(
            "B093",
            also(net(json!({ "eth0": {} })), l(json!({ "namespaces": without("network") }))),
            "/linux/netDevices",
            "network namespace",
            net(json!({ "eth0": {} })),
        ),
        row(
            "B093",
            l(json!({ "mountLabel": "a\nb" })),
            "/linux/mountLabel",
            "control character",
            l(json!({ "mountLabel": "a:b" })),
        ),
    ]);
}

#[test]
fn hooks() {
    let hook = |kind: &str, h: Value| json!({ "hooks": { kind: [h] } });
    let timeout = |t: Value| hook("poststop", json!({ "path": "/h", "timeout": t }));
    verify(vec![
        row(
            "B096",
            hook("prestart", json!({ "path": "h" })),
            "/hooks/prestart/0/path",
            "must be absolute",
            hook("prestart", json!({ "path": "/h" })),
        ),
        row(
            "B096",
            hook("createRuntime", json!({ "args": ["a"] })),
            "/hooks/createRuntime/0/path",
            "want an absolute path",
            hook("createRuntime", json!({ "path": "/h", "args": ["a"] })),
        ),
        row(
            "B096",
            hook("startContainer", json!({ "path": "/h", "env": ["A"] })),
            "/hooks/startContainer/0/env/0",
            "want NAME=value",
            hook("startContainer", json!({ "path": "/h", "env": ["A=b"] })),
        ),
        row(
            "B098",
            timeout(json!(0)),
            "/hooks/poststop/0/timeout",
            "must be positive: got 0",
            timeout(json!(1)),
        ),
        row("B098", timeout(json!(-5)), "/hooks/poststop/0/timeout", "got -5", timeout(json!(null))),
        row(
            "B098",
            timeout(json!(1u64 << 63)),
            "/hooks/poststop/0/timeout",
            "out of range",
            timeout(json!(i64::MAX)),
        ),
    ]);
}

#[test]
fn every_problem_is_told_in_document_order() {
    let found = complaints(&patched(&json!({
        "ociVersion": null, "process": { "cwd": "x", "args": [] }, "mounts": [{ "destination": "y" }],
        "linux": { "rootfsPropagation": "z" }
    })));
    let places: Vec<&str> = found.iter().map(|(at, _)| at.as_str()).collect();
    assert_eq!(
        places,
        ["/ociVersion", "/process/args", "/process/cwd", "/mounts/0/destination", "/linux/rootfsPropagation"]
    );
}

#[test]
fn a_flood_of_problems_is_cut() {
    let found = complaints(&patched(&process(json!({ "env": vec!["x"; 5000] }))));
    assert_eq!(found.len(), 100);
}

#[test]
fn remarks_that_are_no_reason_to_refuse() {
    for (patch, at, says) in [
        (process(json!({ "env": ["A=1", "B=1", "A=2"] })), "/process/env/2", "last one wins"),
        (
            process(json!({ "capabilities": { "permitted": ["CAP_KILL"], "ambient": ["CAP_KILL"] } })),
            "/process/capabilities/ambient",
            "stays off",
        ),
        (process(json!({ "commandLine": "x" })), "/process/commandLine", "Windows"),
        (process(json!({ "user": { "username": "x" } })), "/process/user/username", "Windows"),
        (json!({ "vm": {} }), "/vm", "Linux containers only"),
        (
            resources(json!({ "memory": { "limit": 1, "reservation": 2 } })),
            "/linux/resources/memory/reservation",
            "no effect",
        ),
    ] {
        let (spec, _) = read::config(&patched(&patch)).unwrap();
        let found = check::findings(&spec);
        assert!(found.errors.is_empty(), "{patch}: {:?}", found.errors);
        let [warning] = found.warnings.as_slice() else { panic!("{patch}: {:?}", found.warnings) };
        assert_eq!(warning.pointer, at);
        assert!(warning.text.contains(says), "{warning}");
    }
    let (spec, _) = read::config(&patched(&json!({}))).unwrap();
    assert_eq!(check::findings(&spec).warnings, []);
}

#[test]
fn the_documents_of_exec_and_update() {
    let exec = read::process(br#"{"args":["sh"],"cwd":"x"}"#).unwrap();
    let [error] = check::process(&exec, "").try_into().unwrap();
    assert_eq!(error.field_path(), Some("/cwd"));
    let [error] = check::process(&exec, "/process").try_into().unwrap();
    assert_eq!(error.field_path(), Some("/process/cwd"));

    let update = read::resources(br#"{"pids":{"limit":-5}}"#).unwrap();
    let [error] = check::resources(&update, "").try_into().unwrap();
    assert_eq!(error.field_path(), Some("/pids/limit"));
    assert!(check::resources(&read::resources(b"{}").unwrap(), "").is_empty());
}
