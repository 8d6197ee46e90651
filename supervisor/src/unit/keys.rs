//! Every key of a service file: where it may be, what it takes, and whether a change of it needs a restart. The reader, the
//! plan and docs/service-file.md all go by this list. Data only.
#![forbid(unsafe_code)]

pub use super::key::{Change, Key, within};
use super::key::{key, live, next};
use super::keys_pressure::PRESSURE;
use super::keys_probes::PROBES;

/// The list, in the order of the documentation.
pub const KEYS: &[Key] = &joined::<{ BEFORE.len() + PRESSURE.len() + PROBES.len() + AFTER.len() }>([
    BEFORE, PRESSURE, PROBES, AFTER,
]);

/// Several lists as one; at compile time.
const fn joined<const N: usize>(lists: [&[Key]; 4]) -> [Key; N] {
    let mut all = [BEFORE[0]; N];
    let (mut list, mut from, mut to) = (0, 0, 0);
    while list < lists.len() {
        if from == lists[list].len() {
            (list, from) = (list + 1, 0);
            continue;
        }
        all[to] = lists[list][from];
        (from, to) = (from + 1, to + 1);
    }
    all
}

/// What comes before the probes.
const BEFORE: &[Key] = &[
    live("description", "text", "none", r#""The shop's front""#, "Shown by `status`; nothing else."),
    live("labels", "table of text", "none", r#"{ team = "shop" }"#, "For selecting and showing only."),
    key(
        "bundle",
        "path",
        "none",
        r#""/srv/web""#,
        "A directory with `config.json`; the daemon runs a copy of it with the changes of this file. One of this, `image` and `root`.",
    ),
    key(
        "image",
        "name of an image",
        "none",
        r#""web""#,
        "An image that `knarrctl image import` has brought; its own configuration stands in for what this file does not give. `NAME@sha256:DIGITS` is one image for good.",
    ),
    key(
        "root",
        "path",
        "none",
        r#""/srv/rootfs""#,
        "A root file system; `config.json` is made from safe defaults. Needs `command`.",
    ),
    key(
        "root_read_only",
        "true or false",
        "false",
        "true",
        "The root file system of `root` or `image` is mounted read-only.",
    ),
    live(
        "replicas",
        "0 to 1000",
        "1",
        "2",
        "How many instances; 0 = none. A change starts or stops only the difference.",
    ),
    key(
        "command",
        "list of text",
        "the bundle's",
        r#"["/bin/serve", "8080"]"#,
        "Program and arguments; no shell is involved.",
    ),
    key(
        "env",
        "table of text",
        "none",
        r#"{ MODE = "fast" }"#,
        "Environment; wins over `env_files` and the bundle. Names beginning with `KNARR_` are the daemon's.",
    ),
    key(
        "env_files",
        "list of paths",
        "none",
        r#"["/etc/web.env"]"#,
        "Files of `NAME=value` lines on the host, read at each start; a later one wins.",
    ),
    key("workdir", "path inside", "the bundle's, or `/`", r#""/srv""#, "Working directory."),
    key(
        "user",
        "`\"UID:GID\"`",
        "the bundle's, or `0:0`",
        r#""1000:1000""#,
        "Who the process is, as numbers: names would mean what the container's own files say.",
    ),
    key("groups", "list of group ids", "none", "[44, 100]", "Further groups, exactly these. Needs `user`."),
    key("tty", "true or false", "false, or the bundle's", "false", "A terminal instead of pipes."),
    key(
        "stdin",
        "true or false",
        "false",
        "true",
        "Standard input stays open for `attach`; else it is `/dev/null`.",
    ),
    key("hostname", "host name", "the bundle's, or `web-1` for `web.1`", r#""web""#, "Host name inside."),
    key(
        "runtime",
        "path or program name",
        "the daemon's `--runtime`",
        r#""/usr/sbin/runc""#,
        "The OCI runtime that makes this service's containers.",
    ),
    key(
        "network",
        "`\"host\"`, `\"none\"` or `{ cni = [...] }`",
        "the bundle's, or none",
        r#"{ cni = ["web"] }"#,
        "`none` is a network namespace with loopback only.",
    ),
    key(
        "network.cni",
        "list of names",
        "",
        r#"["web"]"#,
        "CNI networks of `/etc/cni/net.d`, attached in this order as `eth0`, `eth1` and so on.",
    ),
    live(
        "ports",
        "list of `PORT/PROTOCOL`",
        "none",
        r#"["8080/tcp"]"#,
        "What it listens on, as documentation; nothing is published. Protocols: tcp, udp, sctp.",
    ),
    key(
        "listen",
        "list of addresses or tables",
        "none",
        r#"["tcp:8080", "unix:/run/web.sock"]"#,
        "Sockets that the daemon opens on the host, keeps open and passes to every instance from descriptor 3 on (sd_listen_fds(3)).",
    ),
    key(
        "listen[].address",
        "`tcp:PORT`, `tcp:ADDRESS:PORT`, `udp:...` or `unix:PATH`",
        "required",
        r#""tcp:127.0.0.1:8080""#,
        "Where; `tcp:8080` is all addresses, IPv4 and IPv6. IPv6 addresses are in brackets.",
    ),
    key(
        "listen[].name",
        "text without `:`",
        "the service's name",
        r#""admin""#,
        "What the instance finds in `LISTEN_FDNAMES`.",
    ),
    key("listen[].mode", "octal digits", "`\"0666\"`", r#""0660""#, "Permission bits of a unix socket."),
    key("limits", "table", "", "", "Limits on the host's resources."),
    live("limits.memory", "size", "the bundle's, or none", r#""64MiB""#, "Most memory, from 1 MiB on."),
    live("limits.swap", "size", "0 with `memory`", r#""16MiB""#, "Swap beside a limit of memory."),
    live(
        "limits.memory_request",
        "size",
        "none",
        r#""32MiB""#,
        "Memory that it needs: a start waits until the host has it, and reclaim leaves it that much before others.",
    ),
    live(
        "limits.memory_high",
        "size or `none`",
        "nine tenths of the way from `memory_request` to `memory`, where both are given",
        r#""56MiB""#,
        "From here on it is slowed down and reclaimed from, before it comes to its limit. cgroup v2; the default is left out on other hosts.",
    ),
    live("limits.memory_min", "size", "0", r#""8MiB""#, "Memory that is never reclaimed from it. cgroup v2."),
    live(
        "limits.memory_low",
        "size",
        "`memory_request`",
        r#""32MiB""#,
        "Memory that is reclaimed from it only when others have nothing left. cgroup v2.",
    ),
    live(
        "limits.zswap",
        "size",
        "as much as its swap",
        r#""8MiB""#,
        "Most compressed swap in memory. cgroup v2.",
    ),
    live(
        "limits.oom_group",
        "true or false",
        "true on cgroup v2 where memory is limited, false for jobs",
        "false",
        "A kill for memory takes all of its processes, not one. cgroup v2.",
    ),
    live(
        "limits.cpus",
        "0.01 to 8192",
        "the bundle's, or none",
        "1.5",
        "Processor time, in processors; at most three decimals.",
    ),
    live(
        "limits.cpu_burst",
        "time up to 100 ms a processor of `cpus`",
        "0",
        r#""20ms""#,
        "Time that it did not use and may use later, on top of the quota of a period of 100 ms. Needs `cpus`.",
    ),
    live(
        "limits.cpu_weight",
        "1 to 10000",
        "the bundle's, or 100",
        "200",
        "Share when processors are short.",
    ),
    key("limits.cpuset", "processor list", "the bundle's, or all", r#""0-3,6""#, "Processors it may run on."),
    live("limits.io_weight", "1 to 10000", "100", "200", "Share when disks are short. cgroup v2."),
    key("limits.io_max", "list of tables", "none", "", "Most traffic with single disks."),
    key("limits.io_max[].device", "path", "required", r#""/dev/sda""#, "Device file of a whole disk."),
    key("limits.io_max[].read_bps", "size", "none", r#""10MiB""#, "Bytes read in a second."),
    key("limits.io_max[].write_bps", "size", "none", r#""10MiB""#, "Bytes written in a second."),
    key("limits.io_max[].read_iops", "from 1 on", "none", "500", "Reads in a second."),
    key("limits.io_max[].write_iops", "from 1 on", "none", "500", "Writes in a second."),
    live(
        "limits.pids",
        "1 to 4194304 or `\"unlimited\"`",
        "the bundle's, or 2048",
        "256",
        "Processes and threads.",
    ),
    key(
        "limits.nofile",
        "1 to 1073741816",
        "the bundle's, or 1024 soft and up to 524288 hard",
        "4096",
        "Open files, soft and hard.",
    ),
    key(
        "limits.oom_score_adj",
        "-1000 to 1000",
        "the bundle's, or 0",
        "100",
        "How early the kernel picks it when memory ends; never the daemon's own value.",
    ),
    key("security", "table", "", "", "What the container may do."),
    key(
        "security.capabilities_add",
        "list of capabilities",
        "none",
        r#"["NET_ADMIN"]"#,
        "Added to the default set (or the bundle's), with or without `CAP_`; `ALL` adds all. For a user other than 0 they are ambient.",
    ),
    key(
        "security.capabilities_drop",
        "list of capabilities",
        "none",
        r#"["MKNOD"]"#,
        "Taken from it first; `ALL` takes all.",
    ),
    key(
        "security.seccomp",
        "`\"default\"`, `\"unconfined\"` or path",
        "`\"default\"`",
        r#""default""#,
        "`default` is the daemon's profile for `root` and the bundle's own for `bundle`; a path names a JSON file with the value of `linux.seccomp`.",
    ),
    key(
        "security.no_new_privileges",
        "true or false",
        "true for `root`, else the bundle's",
        "true",
        "Set-user-id programs and file capabilities give nothing.",
    ),
    live(
        "restart",
        "policy or table",
        "",
        r#""always""#,
        "When it is started again; `restart = \"always\"` is short for a table with only `policy`.",
    ),
    live(
        "restart.policy",
        "`no`, `on-failure`, `on-failure:N`, `always`, `unless-stopped`",
        "`\"unless-stopped\"`",
        r#""on-failure:3""#,
        "For ends that no rule matches; N = most tries in a row.",
    ),
    live(
        "restart.delay",
        "0s to 1h",
        "`\"1s\"`",
        r#""500ms""#,
        "The pause after a failure in a row; it doubles each time.",
    ),
    live("restart.max_delay", "0s to 1d", "`\"60s\"`", r#""30s""#, "The longest pause; not below `delay`."),
    live(
        "restart.reset",
        "1s to 30d",
        "`\"120s\"`",
        r#""5m""#,
        "Running this long counts as healthy: the next failure is a first one.",
    ),
    live(
        "restart.crash_failures",
        "1 to 1000",
        "5",
        "10",
        "This many failures within `crash_window` are a crash loop.",
    ),
    live("restart.crash_window", "1s to 30d", "`\"10m\"`", r#""30m""#, "See `crash_failures`."),
    live(
        "restart.on_crash_loop",
        "`keep` or `hold`",
        "`\"keep\"`",
        r#""hold""#,
        "`keep` goes on trying at the longest pause, `hold` stays down.",
    ),
    live("restart.rules", "list of tables", "none", "", "Exit rules; the first that matches decides."),
    live("restart.rules[].codes", "list of 0 to 255 or `\"A-B\"`", "none", r#"[3, "10-20"]"#, "Exit codes."),
    live("restart.rules[].signals", "list of signals", "none", r#"["KILL"]"#, "Signals that killed it."),
    live("restart.rules[].oom", "true or false", "false", "true", "The kernel killed it for memory."),
    live("restart.rules[].not", "true or false", "false", "true", "The rule is about all other ends."),
    live(
        "restart.rules[].action",
        "`restart`, `complete` or `fail`",
        "required",
        r#""fail""#,
        "Start again; done as after success; down as failed until somebody starts it.",
    ),
    next("stop", "table", "", "", "How it is stopped."),
    next(
        "stop.signal",
        "signal",
        "`\"TERM\"`",
        r#""QUIT""#,
        "First signal: a name with or without `SIG`, `RTMIN+3`, or a number.",
    ),
    next(
        "stop.grace",
        "0s to 1d",
        "`\"10s\"`",
        r#""30s""#,
        "From the signal to the kill, `pre_stop` hooks included.",
    ),
    next("logs", "table", "", "", "What becomes of its output."),
    key("logs.max_size", "64KiB to 1TiB", "`\"10MiB\"`", r#""1MiB""#, "Bytes a log file."),
    key("logs.max_files", "1 to 1000", "5", "3", "Log files an instance, the one being written included."),
    next("logs.journald", "true or false", "false", "true", "Copied to journald as well."),
    key("mounts", "list of tables", "none", "", "Further mounts."),
    key(
        "mounts[].type",
        "`bind` or `tmpfs`",
        "`\"bind\"`",
        r#""bind""#,
        "A file or directory of the host; or memory, new at each start.",
    ),
    key("mounts[].source", "path", "required for `bind`", r#""/srv/data""#, "On the host."),
    key("mounts[].target", "path inside", "required", r#""/data""#, "Where; not `/` or below `/proc`."),
    key("mounts[].read_only", "true or false", "false", "true", "Read-only."),
    key("mounts[].size", "size", "half of the host's memory", r#""16MiB""#, "Of a `tmpfs`."),
    key(
        "mounts[].options",
        "list of mount options",
        "none",
        r#"["noexec"]"#,
        "In the words of mount(8); a `tmpfs` also takes `mode=`, `uid=`, `gid=`, `nr_inodes=`, and is `mode=1777` without a word.",
    ),
    key(
        "secrets",
        "list of tables",
        "none",
        "",
        "Files that are copied to tmpfs at each start and mounted read-only; plans and logs never show their content.",
    ),
    key("secrets[].source", "path", "required", r#""/etc/web/key""#, "A file on the host, at most 1 MiB."),
    key("secrets[].target", "path inside", "required", r#""/run/secrets/key""#, "Where."),
    key("secrets[].mode", "octal digits", "`\"0400\"`", r#""0440""#, "Permission bits."),
    key("secrets[].uid", "user id", "that of `user`, or 0", "1000", "Owner inside."),
    key("secrets[].gid", "group id", "that of `user`, or 0", "1000", "Group inside."),
    next(
        "secrets[].on_change",
        "`ignore`, `restart` or `{ signal = ... }`",
        "`\"ignore\"`",
        r#""restart""#,
        "What happens when the source changes while it runs. With a signal the new content is put in place first.",
    ),
    next("secrets[].on_change.signal", "signal", "", r#""HUP""#, "For the container's first process."),
    key("configs", "list of tables", "none", "", "The same for files that are no secrets."),
    key("configs[].source", "path", "required", r#""/etc/web/conf""#, "A file on the host, at most 1 MiB."),
    key("configs[].target", "path inside", "required", r#""/etc/web.conf""#, "Where."),
    key("configs[].mode", "octal digits", "`\"0444\"`", r#""0644""#, "Permission bits."),
    key("configs[].uid", "user id", "that of `user`, or 0", "1000", "Owner inside."),
    key("configs[].gid", "group id", "that of `user`, or 0", "1000", "Group inside."),
    next(
        "configs[].on_change",
        "`ignore`, `restart` or `{ signal = ... }`",
        "`\"ignore\"`",
        r#"{ signal = "HUP" }"#,
        "See `secrets`.",
    ),
    next("configs[].on_change.signal", "signal", "", r#""HUP""#, "See `secrets`."),
];

/// What comes after the probes.
const AFTER: &[Key] = &[
    live("update", "table", "", "", "How running instances come to be of a changed file."),
    live(
        "update.order",
        "`stop-first` or `start-first`",
        "`\"stop-first\"`",
        r#""start-first""#,
        "Whether an old instance ends before a new one is there; `start-first` needs room for `parallelism` more.",
    ),
    live("update.parallelism", "1 to 1000", "1", "2", "So many instances are replaced at once."),
    live(
        "update.min_healthy",
        "0s to 1d",
        "`\"10s\"`",
        r#""30s""#,
        "So long new instances must have been ready before the next ones are replaced.",
    ),
    live(
        "update.progress_deadline",
        "1s to 7d",
        "`\"10m\"`",
        r#""5m""#,
        "A step whose instances are not ready by then has failed; longer than `min_healthy`.",
    ),
    live(
        "update.watch",
        "0s to 7d",
        "what the probes need, and `min_healthy`",
        r#""5m""#,
        "So long all are watched after the last step; not shorter than liveness and readiness probes need to notice: `initial_delay` and `failure_threshold` times `period` and `timeout`.",
    ),
    live(
        "update.on_failure",
        "`rollback`, `pause` or `continue`",
        "`\"rollback\"`",
        r#""pause""#,
        "When a new instance ends, is not well or not ready in time: the last good version again; nothing more is replaced until somebody decides; only a word.",
    ),
    live(
        "depends_on",
        "list of names or tables",
        "none",
        r#"["db"]"#,
        "What must be there before it starts; a bare name is short for a table with only `service`.",
    ),
    live("depends_on[].service", "service name", "required", r#""db""#, "Another service."),
    live(
        "depends_on[].condition",
        "`started`, `ready`, `completed` or `succeeded`",
        "`\"started\"`",
        r#""ready""#,
        "All its instances run; are ready (`healthy` is the same); are done; are done with success.",
    ),
    live(
        "depends_on[].timeout",
        "1ms to 30d",
        "no limit",
        r#""5m""#,
        "A start that waits longer is a failed start.",
    ),
    live(
        "depends_on[].restart",
        "true or false",
        "false",
        "true",
        "An order or a changed file that restarts the other service restarts this one after it; a crash does not.",
    ),
    live(
        "part_of",
        "service name",
        "none",
        r#""shop""#,
        "It is an init step (a job) or a sidecar of this service, which waits until it succeeded or is ready.",
    ),
    next(
        "hooks",
        "table",
        "",
        "",
        "Programs on the host around it; they see `KNARR_SERVICE`, `KNARR_INSTANCE` and `KNARR_RUN`. A hook is over when its program has ended: what that left in the background is killed.",
    ),
    next(
        "hooks.pre_start",
        "list of tables",
        "none",
        "",
        "Before the container is made; a failure is a failed start. A stop ends it: SIGTERM, after `stop.grace` SIGKILL.",
    ),
    next(
        "hooks.pre_start[].command",
        "list of text",
        "required",
        r#"["/usr/bin/true"]"#,
        "Absolute program and arguments; no shell is involved.",
    ),
    next(
        "hooks.pre_start[].timeout",
        "1ms to 1h",
        "`\"30s\"`",
        r#""5s""#,
        "After it the hook is killed, with all that it has started, and has failed.",
    ),
    next(
        "hooks.post_start",
        "list of tables",
        "none",
        "",
        "After the process runs; a failure is reported only.",
    ),
    next(
        "hooks.post_start[].command",
        "list of text",
        "required",
        r#"["/usr/bin/true"]"#,
        "See `pre_start`.",
    ),
    next("hooks.post_start[].timeout", "1ms to 1h", "`\"30s\"`", r#""5s""#, "See `pre_start`."),
    next("hooks.pre_stop", "list of tables", "none", "", "Before the stop signal, inside the grace time."),
    next("hooks.pre_stop[].command", "list of text", "required", r#"["/usr/bin/true"]"#, "See `pre_start`."),
    next("hooks.pre_stop[].timeout", "1ms to 1h", "`\"30s\"`", r#""5s""#, "See `pre_start`."),
    next(
        "hooks.post_stop",
        "list of tables",
        "none",
        "",
        "After its end, also after a crash; also sees `KNARR_EXIT_CODE` or `KNARR_EXIT_SIGNAL`.",
    ),
    next("hooks.post_stop[].command", "list of text", "required", r#"["/usr/bin/true"]"#, "See `pre_start`."),
    next("hooks.post_stop[].timeout", "1ms to 1h", "`\"30s\"`", r#""5s""#, "See `pre_start`."),
];

/// Whether a change of this key, `mounts[2].source`, replaces running instances. Keys below a listed one go by it.
pub fn needs_restart(key: &str) -> bool {
    let mut pattern = String::new();
    let mut inside = false;
    for c in key.chars() {
        match c {
            '[' => inside = true,
            ']' => inside = false,
            _ if inside => continue,
            _ => {}
        }
        pattern.push(c);
    }
    // Three tables whose keys are listed once.
    if let Some((probe, rest)) = pattern.strip_prefix("probes.").and_then(|rest| rest.split_once('.'))
        && probe != "on_unhealthy"
    {
        pattern = format!("probes.*.{rest}");
    }
    let below = |k: &&Key| {
        pattern.strip_prefix(k.path).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    KEYS.iter().filter(below).max_by_key(|k| k.path.len()).is_none_or(|k| k.change == Change::Restart)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_listed_key_decides() {
        for (key, restart) in [
            ("limits.memory", false),
            ("limits.nofile", true),
            ("restart.policy", false),
            ("env.A", true),
            ("labels.x", false),
            ("mounts[3].options[1]", true),
            ("secrets[0].on_change.signal", false),
            ("secrets[0].mode", true),
            ("logs.journald", false),
            ("logs.max_size", true),
            ("probes.liveness.http.port", false),
            ("unheard", true),
        ] {
            assert_eq!(needs_restart(key), restart, "{key}");
        }
    }

    #[test]
    fn a_key_is_listed_once() {
        let mut paths: Vec<_> = KEYS.iter().map(|k| k.path).collect();
        paths.sort_unstable();
        paths.dedup();
        assert_eq!(paths.len(), KEYS.len());
    }

    /// The row of a key in docs/service-file.md.
    fn row(key: &Key) -> String {
        let Key { path, kind, default, example, about, change } = key;
        let example = if example.is_empty() { String::new() } else { format!("`{example}`") };
        let change = match change {
            Change::Restart => "restart",
            Change::Live => "live",
            Change::NextStart => "next start",
        };
        let cell = |text: &str| text.replace('|', "\\|");
        format!(
            "| `{path}` | {} | {} | {} | {change} | {} |",
            cell(kind),
            cell(default),
            cell(&example),
            cell(about)
        )
    }

    #[test]
    fn the_documentation_has_a_row_for_every_key_and_no_other() {
        let doc = include_str!("../../../docs/service-file.md");
        let rows: Vec<&str> = doc.lines().filter(|l| l.starts_with("| `")).collect();
        let wanted: Vec<String> = KEYS.iter().map(row).collect();
        let missing: Vec<_> =
            wanted.iter().filter(|w| !rows.contains(&w.as_str())).map(String::as_str).collect();
        assert!(missing.is_empty(), "docs/service-file.md misses:\n{}", missing.join("\n"));
        let extra: Vec<_> = rows.into_iter().filter(|r| !wanted.iter().any(|w| w == r)).collect();
        assert!(extra.is_empty(), "docs/service-file.md has rows of no key:\n{}", extra.join("\n"));
    }
}
