//! Bad values of config.json, a row each.

use serde_json::{Value, json};

use super::row::{Row, linux, mounts, process, resources, row, spaces, tmpfs, user};
use crate::base::PROBE;
use crate::case::Case;
use crate::host::Need;

pub fn cases() -> Vec<Case> {
    rows().into_iter().map(Row::case).collect()
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
