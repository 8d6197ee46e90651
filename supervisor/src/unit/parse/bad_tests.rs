//! Every kind of wrong value: the place, the key and the reason of the complaint, and a good twin that is taken.

use std::path::Path;

use super::tests::{FULL, good};
use super::*;

fn problems(text: &str) -> Vec<Problem> {
    parse(&"web".parse().unwrap(), Path::new("web.toml"), text).expect_err(text)
}

/// A text with `¦` where the one complaint is, its key, a part of its reason, and the good twin.
type Case = (&'static str, &'static str, &'static str, &'static str);

/// These stand after `bundle = "/b"`.
const CASES: &[Case] = &[
    // Keys.
    ("¦replica = 2", "replica", "unknown key \"replica\"; did you mean \"replicas\"?", "replicas = 2"),
    ("¦health = {}", "health", "unknown key \"health\"; known here are description, ", "tty = true"),
    ("[limits]\n¦memroy = 1", "limits.memroy", "did you mean \"memory\"?", "[limits]\nmemory = \"1M\""),
    (
        "[limits]\n¦network = \"host\"",
        "limits.network",
        "put it above the first [table]",
        "network = \"host\"\n[limits]",
    ),
    (
        "[limits]\nmemory = \"1M\"\nmemory_request = ¦\"2M\"",
        "limits.memory_request",
        "more than the limit of memory, 1MiB",
        "[limits]\nmemory = \"2M\"\nmemory_request = \"2M\"",
    ),
    (
        "[limits]\ncpu_burst = ¦\"1ms\"",
        "limits.cpu_burst",
        "needs cpus",
        "[limits]\ncpus = 0.01\ncpu_burst = \"1ms\"",
    ),
    (
        "[limits]\nio_max = [¦{ device = \"/dev/a\" }]",
        "limits.io_max[0]",
        "limits nothing",
        "[limits]\nio_max = [{ device = \"/dev/a\", write_iops = 1 }]",
    ),
    (
        "[limits]\nio_max = ¦[{ device = \"/dev/a\", read_iops = 1 }, { device = \"/dev/a\", write_iops = 1 }]",
        "limits.io_max",
        "a disk twice",
        "[limits]\nio_max = [{ device = \"/dev/a\", read_iops = 1 }, { device = \"/dev/b\", write_iops = 1 }]",
    ),
    (
        "[pressure]\n¦priorty = 5",
        "pressure.priorty",
        "did you mean \"priority\"?",
        "[pressure]\npriority = 5",
    ),
    ("[pressure]\npriority = ¦1001", "pressure.priority", "0 to 1000", "[pressure]\npriority = 1000"),
    (
        "[pressure]\npriority = ¦\"low\"",
        "pressure.priority",
        "want \"protected\"",
        "[pressure]\npriority = \"protected\"",
    ),
    (
        "[pressure]\npriority = \"protected\"\nrungs = ¦[\"warn\", \"freeze\"]",
        "pressure.rungs",
        "what is protected is never shed, got \"freeze\"",
        "[pressure]\npriority = \"protected\"\nrungs = [\"warn\", \"reclaim\"]",
    ),
    ("[pressure]\nrungs = ¦[\"warn\", \"warn\"]", "pressure.rungs", "a rung twice", "[pressure]\nrungs = []"),
    (
        "[pressure]\nrungs = [¦\"kill\"]",
        "pressure.rungs[0]",
        "\"throttle\"",
        "[pressure]\nrungs = [\"throttle\"]",
    ),
    (
        "[pressure]\nfreeze_for = ¦\"5s\"",
        "pressure.freeze_for",
        "about the rung \"freeze\"",
        "[pressure]\nrungs = [\"freeze\"]\nfreeze_for = \"5s\"",
    ),
    (
        "[pressure]\nrungs = [\"freeze\"]\nfreeze_for = ¦\"11m\"",
        "pressure.freeze_for",
        "10m",
        "[pressure]\nrungs = [\"freeze\"]\nfreeze_for = \"10m\"",
    ),
    (
        "[pressure]\npriority = \"protected\"\ngrace = ¦\"1s\"",
        "pressure.grace",
        "about the rung \"evict\"",
        "[pressure]\npriority = 1\ngrace = \"1s\"",
    ),
    (
        "[pressure]\nrungs = [\"evict\"]\nsignal = ¦\"USR1\"",
        "pressure.signal",
        "about the rung \"warn\"",
        "[pressure]\nrungs = [\"evict\", \"warn\"]\nsignal = \"USR1\"",
    ),
    (
        "[pressure]\nrestart_above = ¦\"101% for 1m\"",
        "pressure.restart_above",
        "such as \"80% for 10m\"",
        "[pressure]\nrestart_above = \"100% for 1m\"",
    ),
    (
        "[pressure]\nrestart_above = ¦\"80% for 8d\"",
        "pressure.restart_above",
        "want 1s to 7d",
        "[pressure]\nrestart_above = \"80% for 7d\"",
    ),
    (
        "[pressure]\nat_high = ¦\"raise\"",
        "pressure.at_high",
        "about limits.memory_high, and there is none",
        "[limits]\nmemory_high = \"64MiB\"\n[pressure]\nat_high = \"raise\"",
    ),
    (
        "[limits]\nmemory_request = \"4MiB\"\n[pressure]\nat_high = ¦\"kill\"",
        "pressure.at_high",
        "unknown word",
        "[limits]\nmemory_request = \"4MiB\"\n[pressure]\nat_high = \"leave\"",
    ),
    ("[limits]\nmemory_high = ¦\"never\"", "limits.memory_high", "", "[limits]\nmemory_high = \"none\""),
    ("[security]\n¦privileged = true", "security.privileged", "unknown key", "[security]"),
    (
        "[restart]\n¦max-delay = \"9s\"",
        "restart.max-delay",
        "did you mean \"max_delay\"?",
        "[restart]\nmax_delay = \"9s\"",
    ),
    (
        "[[restart.rules]]\noom = true\naction = \"fail\"\n¦code = [1]",
        "restart.rules[0].code",
        "\"codes\"",
        "[[restart.rules]]\ncodes = [1]\naction = \"fail\"",
    ),
    ("[stop]\n¦timeout = \"1s\"", "stop.timeout", "known here are signal, grace", "[stop]\ngrace = \"1s\""),
    ("[logs]\n¦maxsize = \"1M\"", "logs.maxsize", "\"max_size\"", "[logs]\nmax_size = \"1M\""),
    (
        "mounts = [{ source = \"/a\", target = \"/a\", ¦readonly = true }]",
        "mounts[0].readonly",
        "\"read_only\"",
        "mounts = [{ source = \"/a\", target = \"/a\", read_only = true }]",
    ),
    (
        "secrets = [{ source = \"/a\", target = \"/a\", ¦owner = 1 }]",
        "secrets[0].owner",
        "unknown key",
        "secrets = [{ source = \"/a\", target = \"/a\", uid = 1 }]",
    ),
    (
        "[[configs]]\nsource = \"/a\"\ntarget = \"/a\"\non_change = { signal = 1, ¦sig = 1 }",
        "configs[0].on_change.sig",
        "unknown key",
        "configs = [{ source = \"/a\", target = \"/a\", on_change = { signal = 1 } }]",
    ),
    (
        "depends_on = [{ service = \"db\", ¦wait = 1 }]",
        "depends_on[0].wait",
        "unknown key",
        "depends_on = [{ service = \"db\" }]",
    ),
    (
        "hooks.pre_start = [{ command = [\"/a\"], ¦shell = true }]",
        "hooks.pre_start[0].shell",
        "unknown key",
        "hooks.pre_start = [{ command = [\"/a\"] }]",
    ),
    ("network = { cni = [\"a\"], ¦dns = 1 }", "network.dns", "unknown key", "network = { cni = [\"a\"] }"),
    ("¦\"a b\\n\" = 1", "\"a b\\n\"", "unknown key \"a b\\n\"", "tty = false"),
    // Types.
    (
        "description = ¦3",
        "description",
        "wrong type, got a whole number, want a string",
        "description = \"3\"",
    ),
    ("replicas = ¦\"2\"", "replicas", "wrong type, got a string, want a whole number", "replicas = 2"),
    ("replicas = ¦1.5", "replicas", "got a decimal number", "replicas = 1"),
    ("tty = ¦\"yes\"", "tty", "want true or false", "tty = true"),
    ("stdin = ¦1", "stdin", "want true or false", "stdin = false"),
    ("env = ¦[\"A=b\"]", "env", "got a list, want a table of strings", "env = { A = \"b\" }"),
    ("env = { A = ¦1 }", "env.A", "want a string", "env = { A = \"1\" }"),
    ("command = ¦\"/bin/a b\"", "command", "no shell is involved", "command = [\"/bin/a\", \"b\"]"),
    ("command = [\"/bin/a\", ¦1]", "command[1]", "want a string", "command = [\"/bin/a\", \"1\"]"),
    ("limits = ¦3", "limits", "want a table", "limits = {}"),
    ("mounts = ¦{}", "mounts", "want a list", "mounts = []"),
    ("mounts = [¦3]", "mounts[0]", "want a table", "mounts = []"),
    ("user = ¦1000", "user", "\"1000:1000\"", "user = \"1000:1000\""),
    ("description = ¦1979-05-27", "description", "got a date", "description = \"1979-05-27\""),
    (
        "stop.grace = ¦10",
        "stop.grace",
        "a time without a unit, got 10, want such as \"10s\"",
        "stop.grace = \"10s\"",
    ),
    ("stop.grace = ¦true", "stop.grace", "want a time", "stop.grace = \"0s\""),
    ("limits.memory = ¦64.5", "limits.memory", "want bytes or a size", "limits.memory = 67108864"),
    // Ranges and units.
    ("replicas = ¦1001", "replicas", "out of range, got 1001, want 0 to 1000", "replicas = 1000"),
    ("replicas = ¦-1", "replicas", "out of range, got -1", "replicas = 0"),
    (
        "replicas = ¦99999999999999999999",
        "replicas",
        "out of range, got \"99999999999999999999\"",
        "replicas = 0x10",
    ),
    (
        "limits.memory = ¦\"64MB\"",
        "limits.memory",
        "unknown unit \"MB\" of a size",
        "limits.memory = \"64MiB\"",
    ),
    ("limits.memory = ¦\"lots\"", "limits.memory", "not a size", "limits.memory = \"1g\""),
    ("limits.memory = ¦4096", "limits.memory", "got 4096 bytes, want 1MiB to ", "limits.memory = 1048576"),
    ("limits.memory = ¦-1", "limits.memory", "out of range, got -1", "limits.memory = \"1M\""),
    ("limits.cpus = ¦0", "limits.cpus", "want 0.01 to 8192", "limits.cpus = 0.01"),
    ("limits.cpus = ¦1.2345", "limits.cpus", "three decimals", "limits.cpus = 1.234"),
    ("limits.cpus = ¦nan", "limits.cpus", "out of range, got \"nan\"", "limits.cpus = \"2\""),
    ("limits.cpu_weight = ¦0", "limits.cpu_weight", "want 1 to 10000", "limits.cpu_weight = 1"),
    ("limits.cpuset = ¦\"3-1\"", "limits.cpuset", "not a list of processors", "limits.cpuset = \"1-3\""),
    ("limits.pids = ¦0", "limits.pids", "want 1 to 4194304", "limits.pids = 1"),
    ("limits.pids = ¦\"max\"", "limits.pids", "want \"unlimited\"", "limits.pids = \"unlimited\""),
    ("limits.nofile = ¦0", "limits.nofile", "out of range", "limits.nofile = 3"),
    (
        "limits.oom_score_adj = ¦-1001",
        "limits.oom_score_adj",
        "want -1000 to 1000",
        "limits.oom_score_adj = -1000",
    ),
    ("stop.grace = ¦\"10 sec\"", "stop.grace", "a time without a unit", "stop.grace = \"10s\""),
    (
        "stop.grace = ¦\"10parsecs\"",
        "stop.grace",
        "unknown unit \"parsecs\" of a time",
        "stop.grace = \"1h\"",
    ),
    ("stop.grace = ¦\"2d\"", "stop.grace", "out of range, got 2d, want 0s to 1d", "stop.grace = \"1d\""),
    ("stop.signal = ¦\"TREM\"", "stop.signal", "did you mean \"TERM\"?", "stop.signal = \"term\""),
    ("stop.signal = ¦65", "stop.signal", "want 1 to 64, got 65", "stop.signal = 64"),
    ("stop.signal = ¦\"RTMIN+99\"", "stop.signal", "no such signal", "stop.signal = \"RTMIN+9\""),
    ("stop.signal = ¦[]", "stop.signal", "want a signal", "stop.signal = \"INT\""),
    ("logs.max_size = ¦\"1k\"", "logs.max_size", "want 64KiB to 1TiB", "logs.max_size = \"64k\""),
    ("logs.max_files = ¦0", "logs.max_files", "want 1 to 1000", "logs.max_files = 1"),
    ("ports = [¦\"http\"]", "ports[0]", "not a port", "ports = [80]"),
    ("ports = [80, ¦0]", "ports[1]", "want 1 to 65535", "ports = [80, 80]"),
    (
        "probes.liveness.push = ¦false",
        "probes.liveness.push",
        "true or not there",
        "probes.liveness.push = true",
    ),
    (
        "probes.liveness = { push = true, timeout = ¦\"1s\" }",
        "probes.liveness.timeout",
        "nobody is asked by push",
        "probes.liveness = { push = true, period = \"1s\" }",
    ),
    (
        "probes.readiness = { tcp = { port = 1 }, push = ¦true }",
        "probes.readiness.push",
        "exclude each other",
        "probes.readiness = { push = true }",
    ),
    ("listen = ¦\"tcp:80\"", "listen", "want a list", "listen = [\"tcp:80\"]"),
    ("listen = [¦80]", "listen[0]", "want a string", "listen = [\"tcp:80\"]"),
    (
        "listen = [\"tcp:80\", ¦\"80\"]",
        "listen[1]",
        "no address to listen on",
        "listen = [\"tcp:80\", \"tcp:81\"]",
    ),
    ("listen = [¦\"tcp:localhost:80\"]", "listen[0]", "host names", "listen = [\"tcp:127.0.0.1:80\"]"),
    (
        "listen = [\"tcp:80\", ¦\"tcp:080\"]",
        "listen[1]",
        "an address twice",
        "listen = [\"tcp:80\", \"udp:80\"]",
    ),
    (
        "listen = [¦{ name = \"x\" }]",
        "listen[0].address",
        "missing key",
        "listen = [{ address = \"tcp:80\" }]",
    ),
    (
        "listen = [{ address = \"tcp:80\", name = ¦\"a:b\" }]",
        "listen[0].name",
        "without \":\"",
        "listen = [{ address = \"tcp:80\", name = \"a.b\" }]",
    ),
    (
        "listen = [{ address = \"tcp:80\", mode = ¦\"0600\" }]",
        "listen[0].mode",
        "about a unix socket",
        "listen = [{ address = \"unix:/run/x\", mode = \"0600\" }]",
    ),
    (
        "listen = [{ address = \"tcp:80\", ¦backlog = 1 }]",
        "listen[0].backlog",
        "unknown key",
        "listen = [{ address = \"tcp:80\" }]",
    ),
    ("ports = [¦\"80/icmp\"]", "ports[0]", "not a port", "ports = [\"80/sctp\"]"),
    // Restart.
    ("restart = ¦\"allways\"", "restart", "did you mean \"always\"?", "restart = \"always\""),
    ("restart = ¦\"on-failure:0\"", "restart", "unknown restart policy", "restart = \"on-failure:1\""),
    ("restart = ¦true", "restart", "want a table", "restart = \"no\""),
    ("restart.crash_failures = ¦0", "restart.crash_failures", "want 1 to 1000", "restart.crash_failures = 1"),
    (
        "restart.on_crash_loop = ¦\"reboot\"",
        "restart.on_crash_loop",
        "want \"keep\" or \"hold\"",
        "restart.on_crash_loop = \"hold\"",
    ),
    (
        "restart.delay = \"2m\"\nrestart.max_delay = ¦\"1m\"",
        "restart.max_delay",
        "shorter than delay",
        "restart.delay = \"1m\"\nrestart.max_delay = \"1m\"",
    ),
    ("restart.delay = ¦\"2m\"", "restart.delay", "shorter than delay", "restart.delay = \"1m\""),
    (
        "restart.rules = [¦{ action = \"fail\" }]",
        "restart.rules[0]",
        "a rule about nothing",
        "restart.rules = [{ oom = true, action = \"fail\" }]",
    ),
    (
        "restart.rules = [¦{ oom = true }]",
        "restart.rules[0].action",
        "missing key \"action\"",
        "restart.rules = [{ oom = true, action = \"restart\" }]",
    ),
    (
        "restart.rules = [{ codes = [¦256], action = \"fail\" }]",
        "restart.rules[0].codes[0]",
        "want 0 to 255",
        "restart.rules = [{ codes = [255], action = \"fail\" }]",
    ),
    (
        "restart.rules = [{ codes = [¦\"20-10\"], action = \"fail\" }]",
        "restart.rules[0].codes[0]",
        "not exit codes",
        "restart.rules = [{ codes = [\"10-20\"], action = \"fail\" }]",
    ),
    (
        "restart.rules = [{ oom = true, action = ¦\"ignore\" }]",
        "restart.rules[0].action",
        "unknown word",
        "restart.rules = [{ oom = true, action = \"complete\" }]",
    ),
    // Image and process.
    ("root = ¦\"/r\"\ncommand = [\"/x\"]", "root", "exclude each other", ""),
    ("root_read_only = ¦true", "root_read_only", "about root", ""),
    ("image = ¦\"web\"", "image", "bundle and image exclude each other", ""),
    ("runtime = ¦\"bin/runc\"", "runtime", "absolute path or the name", "runtime = \"runc\""),
    ("command = ¦[]", "command", "empty list", "command = [\"/a\"]"),
    ("command = ¦[\"\"]", "command", "program must not be empty", "command = [\"/a\", \"\"]"),
    ("command = [\"/a\", ¦\"b\\u0000\"]", "command[1]", "NUL", "command = [\"/a\", \"b\\n\"]"),
    ("env = { A = ¦\"b\\u0000\" }", "env.A", "NUL", "env = { A = \"b\\u0001\" }"),
    ("env = { ¦\"A=B\" = \"c\" }", "env.\"A=B\"", "no \"=\"", "env = { \"A.B\" = \"c=d\" }"),
    ("env = { ¦\"\" = \"c\" }", "env.\"\"", "empty name", "env = { a = \"\" }"),
    ("env = { ¦\"A B\" = \"c\" }", "env.\"A B\"", "space", "env = { A_B = \"c\" }"),
    ("env = { ¦KNARR_SERVICE = \"c\" }", "env.KNARR_SERVICE", "the daemon's", "env = { KNARR = \"c\" }"),
    ("env_files = [¦\"web.env\"]", "env_files[0]", "not an absolute path", "env_files = [\"/web.env\"]"),
    ("workdir = ¦\"srv\"", "workdir", "not an absolute path", "workdir = \"/srv\""),
    ("workdir = ¦\"/srv/../etc\"", "workdir", "\"..\"", "workdir = \"/srv/..x\""),
    ("user = ¦\"www-data\"", "user", "names are not looked up", "user = \"33:33\""),
    ("user = ¦\"root:0\"", "user", "names are not looked up", "user = \"0:0\""),
    ("user = ¦\"1000\"", "user", "without a group", "user = \"1000:1000\""),
    ("user = ¦\"1000:4294967295\"", "user", "not a user", "user = \"1000:4294967294\""),
    ("groups = ¦[1]", "groups", "needs user", "user = \"1:1\"\ngroups = [1]"),
    ("user = \"1:1\"\ngroups = [¦-1]", "groups[0]", "out of range", "user = \"1:1\"\ngroups = [0]"),
    ("hostname = ¦\"a_b/c\"", "hostname", "not a host name", "hostname = \"a-b.c\""),
    ("hostname = ¦\"\"", "hostname", "empty string", "hostname = \"h\""),
    ("description = ¦\"two\\nlines\"", "description", "control character", "description = \"two lines\""),
    ("labels = { a = ¦\"x\\u001b[1m\" }", "labels.a", "control character", "labels = { a = \"x\" }"),
    ("labels = { ¦\"\" = \"x\" }", "labels.\"\"", "bad name of a label", "labels = { \"a/b\" = \"x\" }"),
    // Network.
    ("network = ¦\"bridge\"", "network", "want \"host\" or \"none\"", "network = \"none\""),
    ("network = ¦{}", "network.cni", "missing key \"cni\"", "network = { cni = [\"a\"] }"),
    ("network = { cni = ¦[] }", "network.cni", "at least one", "network = { cni = [\"a\"] }"),
    (
        "network = { cni = [¦\"../x\"] }",
        "network.cni[0]",
        "not the name of a CNI network",
        "network = { cni = [\"a.b\"] }",
    ),
    (
        "network = { cni = ¦[\"a\", \"a\"] }",
        "network.cni",
        "a network twice",
        "network = { cni = [\"a\", \"b\"] }",
    ),
    // Security.
    (
        "security.capabilities_add = [¦\"NET_ADMN\"]",
        "security.capabilities_add[0]",
        "did you mean \"NET_ADMIN\"?",
        "security.capabilities_add = [\"net_admin\"]",
    ),
    (
        "security.capabilities_drop = [\"KILL\"]\nsecurity.capabilities_add = [¦\"CAP_KILL\"]",
        "security.capabilities_add[0]",
        "both added and dropped",
        "security.capabilities_drop = [\"ALL\"]\nsecurity.capabilities_add = [\"CAP_KILL\"]",
    ),
    ("security.seccomp = ¦\"off\"", "security.seccomp", "unknown word", "security.seccomp = \"unconfined\""),
    (
        "security.seccomp = ¦\"profile.json\"",
        "security.seccomp",
        "absolute path",
        "security.seccomp = \"/profile.json\"",
    ),
    // Mounts and files.
    (
        "mounts = [¦{ target = \"/a\" }]",
        "mounts[0].source",
        "missing key \"source\"",
        "mounts = [{ type = \"tmpfs\", target = \"/a\" }]",
    ),
    (
        "mounts = [¦{ source = \"/a\" }]",
        "mounts[0].target",
        "missing key \"target\"",
        "mounts = [{ source = \"/a\", target = \"/a\" }]",
    ),
    (
        "mounts = [{ type = ¦\"volume\", target = \"/a\" }]",
        "mounts[0].type",
        "want \"bind\" or \"tmpfs\"",
        "mounts = [{ type = \"tmpfs\", target = \"/a\" }]",
    ),
    (
        "mounts = [{ source = ¦\"a\", target = \"/a\" }]",
        "mounts[0].source",
        "not an absolute path",
        "mounts = [{ source = \"/a/../b\", target = \"/a\" }]",
    ),
    (
        "mounts = [{ source = \"/a\", target = ¦\"a\" }]",
        "mounts[0].target",
        "not an absolute path",
        "mounts = [{ source = \"/a\", target = \"/a/./b/\" }]",
    ),
    (
        "mounts = [{ source = \"/a\", target = ¦\"/a/../etc\" }]",
        "mounts[0].target",
        "must not have \"..\"",
        "mounts = [{ source = \"/a\", target = \"/a..\" }]",
    ),
    (
        "mounts = [{ source = \"/a\", target = ¦\"//\" }]",
        "mounts[0].target",
        "the root itself",
        "mounts = [{ source = \"/a\", target = \"//a\" }]",
    ),
    (
        "mounts = [{ source = \"/a\", target = ¦\"/proc/sys\" }]",
        "mounts[0].target",
        "/proc",
        "mounts = [{ source = \"/a\", target = \"/process\" }]",
    ),
    (
        "mounts = [{ source = \"/a\", target = \"/a\", size = ¦\"1M\" }]",
        "mounts[0].size",
        "about a tmpfs",
        "mounts = [{ type = \"tmpfs\", target = \"/a\", size = \"1M\" }]",
    ),
    (
        "mounts = [{ type = \"tmpfs\", source = ¦\"/a\", target = \"/a\" }]",
        "mounts[0].source",
        "has no source",
        "mounts = [{ type = \"tmpfs\", target = \"/a\" }]",
    ),
    (
        "mounts = [{ source = \"/a\", target = \"/a\", options = [¦\"nosiud\"] }]",
        "mounts[0].options[0]",
        "did you mean \"nosuid\"?",
        "mounts = [{ source = \"/a\", target = \"/a\", options = [\"nosuid\"] }]",
    ),
    (
        "mounts = [{ type = \"tmpfs\", target = \"/a\", options = [¦\"size=5\"] }]",
        "mounts[0].options[0]",
        "use the key size",
        "mounts = [{ type = \"tmpfs\", target = \"/a\", options = [\"mode=1777\"] }]",
    ),
    (
        "mounts = [{ source = \"/a\", target = \"/a\", options = [¦\"mode=1777\"] }]",
        "mounts[0].options[0]",
        "unknown mount option",
        "mounts = [{ source = \"/a\", target = \"/a\", options = [\"ro\"] }]",
    ),
    (
        "mounts = [{ source = \"/a\", target = \"/a\", read_only = true, options = [¦\"rw\"] }]",
        "mounts[0].options[0]",
        "contradicts read_only",
        "mounts = [{ source = \"/a\", target = \"/a\", options = [\"rw\"] }]",
    ),
    (
        "mounts = [{ source = \"/a\", target = \"/a\" }, { source = \"/b\", target = ¦\"/a/\" }]",
        "mounts[1].target",
        "taken twice, got \"/a\", which mounts[0].target has",
        "mounts = [{ source = \"/a\", target = \"/a\" }, { source = \"/b\", target = \"/a/b\" }]",
    ),
    (
        "secrets = [{ source = \"/a\", target = \"/a\" }]\nconfigs = [{ source = \"/b\", target = ¦\"/a\" }]",
        "configs[0].target",
        "which secrets[0].target has",
        "secrets = [{ source = \"/a\", target = \"/a\" }]\nconfigs = [{ source = \"/b\", target = \"/b\" }]",
    ),
    (
        "secrets = [{ source = \"/a\", target = \"/a\" }, { source = \"/b\", target = ¦\"/a/b\" }]",
        "secrets[1].target",
        "below a file",
        "secrets = [{ source = \"/a\", target = \"/a\" }, { source = \"/b\", target = \"/ab\" }]",
    ),
    (
        "mounts = [{ source = \"/a\", target = \"/a/b\" }]\nsecrets = [{ source = \"/a\", target = ¦\"/a\" }]",
        "secrets[0].target",
        "needs a directory",
        "mounts = [{ source = \"/a\", target = \"/a\" }]\nsecrets = [{ source = \"/a\", target = \"/a/b\" }]",
    ),
    (
        "secrets = [{ source = \"/a\", target = \"/a\", mode = ¦\"rw\" }]",
        "secrets[0].mode",
        "want octal digits",
        "secrets = [{ source = \"/a\", target = \"/a\", mode = \"0440\" }]",
    ),
    (
        "secrets = [{ source = \"/a\", target = \"/a\", mode = ¦400 }]",
        "secrets[0].mode",
        "not octal, got \"400\"",
        "secrets = [{ source = \"/a\", target = \"/a\", mode = 0o400 }]",
    ),
    (
        "secrets = [{ source = \"/a\", target = \"/a\", mode = ¦\"4755\" }]",
        "secrets[0].mode",
        "not a mode",
        "secrets = [{ source = \"/a\", target = \"/a\", mode = \"755\" }]",
    ),
    (
        "secrets = [{ source = \"/a\", target = \"/a\", uid = ¦-1 }]",
        "secrets[0].uid",
        "out of range",
        "secrets = [{ source = \"/a\", target = \"/a\", uid = 0 }]",
    ),
    (
        "configs = [{ source = \"/a\", target = \"/a\", on_change = ¦\"reload\" }]",
        "configs[0].on_change",
        "want \"ignore\" or \"restart\"",
        "configs = [{ source = \"/a\", target = \"/a\", on_change = \"restart\" }]",
    ),
    (
        "configs = [{ source = \"/a\", target = \"/a\", on_change = { signal = ¦\"RELOAD\" } }]",
        "configs[0].on_change.signal",
        "no such signal",
        "configs = [{ source = \"/a\", target = \"/a\", on_change = { signal = \"USR1\" } }]",
    ),
    // Dependencies and hooks.
    ("depends_on = [¦\"a/b\"]", "depends_on[0]", "'/'", "depends_on = [\"a-b\"]"),
    ("depends_on = [¦\"web\"]", "depends_on[0]", "web depends on itself", "depends_on = [\"web2\"]"),
    (
        "depends_on = [\"db\", ¦\"db\"]",
        "depends_on[1]",
        "a dependency twice",
        "depends_on = [\"db\", { service = \"db\", condition = \"completed\" }]",
    ),
    (
        "depends_on = [¦{ condition = \"started\" }]",
        "depends_on[0].service",
        "missing key \"service\"",
        "depends_on = [{ service = \"db\", condition = \"started\" }]",
    ),
    (
        "depends_on = [{ service = \"db\", condition = ¦\"heathy\" }]",
        "depends_on[0].condition",
        "did you mean \"healthy\"?",
        "depends_on = [{ service = \"db\", condition = \"healthy\" }]",
    ),
    (
        "depends_on = [{ service = \"db\", timeout = ¦\"0s\" }]",
        "depends_on[0].timeout",
        "want 1ms to 30d",
        "depends_on = [{ service = \"db\", timeout = \"1ms\" }]",
    ),
    (
        "hooks.pre_start = [{ command = ¦[\"true\"] }]",
        "hooks.pre_start[0].command",
        "absolute path",
        "hooks.pre_start = [{ command = [\"/bin/true\"] }]",
    ),
    (
        "hooks.pre_start = [¦{ timeout = \"1s\" }]",
        "hooks.pre_start[0].command",
        "missing key",
        "hooks.pre_start = []",
    ),
    (
        "hooks.post_stop = [{ command = [\"/a\"], timeout = ¦\"2h\" }]",
        "hooks.post_stop[0].timeout",
        "want 1ms to 1h",
        "hooks.post_stop = [{ command = [\"/a\"], timeout = \"1h\" }]",
    ),
    // Updates.
    (
        "update.order = ¦\"start-firts\"",
        "update.order",
        "did you mean \"start-first\"?",
        "update.order = \"start-first\"",
    ),
    ("update.parallelism = ¦0", "update.parallelism", "want 1 to 1000", "update.parallelism = 1"),
    ("update.min_healthy = ¦\"2d\"", "update.min_healthy", "want 0s to 1d", "update.min_healthy = \"1s\""),
    (
        "update.progress_deadline = ¦\"8d\"",
        "update.progress_deadline",
        "want 1s to 7d",
        "update.progress_deadline = \"7d\"",
    ),
    (
        "update.progress_deadline = ¦\"10s\"",
        "update.progress_deadline",
        "no longer than min_healthy of 10s",
        "update.progress_deadline = \"11s\"",
    ),
    (
        "update.min_healthy = ¦\"10m\"",
        "update.min_healthy",
        "progress_deadline is 10m and no longer than min_healthy of 10m",
        "update.min_healthy = \"9m\"",
    ),
    (
        "probes.liveness = { exec = [\"/x\"] }\nupdate.watch = ¦\"44s\"",
        "update.watch",
        "too short, the probes need up to 45s to notice a bad version",
        "probes.liveness = { exec = [\"/x\"] }\nupdate.watch = \"45s\"",
    ),
    ("update.watch = ¦\"8d\"", "update.watch", "want 0s to 7d", "update.watch = \"0s\""),
    ("update.on_failure = ¦\"roll-back\"", "update.on_failure", "did you mean \"rollback\"?", "update = {}"),
    ("update.¦max_surge = 1", "update.max_surge", "unknown key \"max_surge\"", "update.parallelism = 2"),
    ("update = ¦\"fast\"", "update", "wrong type, got a string, want a table", "update = {}"),
    // Jobs and parts.
    ("[job]\nattempts = ¦0", "job.attempts", "want 1 to 1000", "[job]\nattempts = 1"),
    ("[job]\nattempts = ¦1001", "job.attempts", "want 1 to 1000", "[job]\nattempts = 1000"),
    ("[job]\n¦atempts = 1", "job.atempts", "did you mean \"attempts\"?", "[job]\nattempts = 2"),
    ("job = ¦true", "job", "wrong type", "[job]"),
    ("[job]\ndeadline = ¦\"99ms\"", "job.deadline", "want 100ms to 30d", "[job]\ndeadline = \"100ms\""),
    ("[job]\ndeadline = ¦\"31d\"", "job.deadline", "want 100ms to 30d", "[job]\ndeadline = \"30d\""),
    (
        "[job]\nschedule = ¦\"0 25 * * *\"",
        "job.schedule",
        "hour: out of range or no number, got \"25\", want 0 to 23",
        "[job]\nschedule = \"0 23 * * *\"",
    ),
    ("[job]\nschedule = ¦\"* * *\"", "job.schedule", "3 fields", "[job]\nschedule = \"* * * * *\""),
    (
        "[job]\nschedule = ¦\"@dayly\"",
        "job.schedule",
        "did you mean \"@daily\"?",
        "[job]\nschedule = \"@daily\"",
    ),
    ("[job]\nschedule = ¦\"0 0 31 2 *\"", "job.schedule", "never comes", "[job]\nschedule = \"0 0 29 2 *\""),
    (
        "[job]\nschedule = \"@daily\"\ntimezone = ¦\"Mars/Olympus\"",
        "job.timezone",
        "no such time zone",
        "[job]\nschedule = \"@daily\"\ntimezone = \"UTC\"",
    ),
    (
        "[job]\nschedule = \"@daily\"\ntimezone = ¦\"UTC+1\"",
        "job.timezone",
        "read two ways",
        "[job]\nschedule = \"@daily\"\ntimezone = \"<+01>-1\"",
    ),
    (
        "[job]\nschedule = \"@daily\"\noverlap = ¦\"skipp\"",
        "job.overlap",
        "did you mean \"skip\"?",
        "[job]\nschedule = \"@daily\"\noverlap = \"skip\"",
    ),
    (
        "[job]\nschedule = \"@daily\"\njitter = ¦\"25h\"",
        "job.jitter",
        "want 0s to 1d",
        "[job]\nschedule = \"@daily\"\njitter = \"24h\"",
    ),
    (
        "[job]\nschedule = \"@daily\"\ncatch_up = ¦1",
        "job.catch_up",
        "wrong type",
        "[job]\nschedule = \"@daily\"\ncatch_up = true",
    ),
    (
        "[job]\ntimezone = ¦\"UTC\"",
        "job.timezone",
        "timezone needs schedule, which is not given",
        "[job]\ntimezone = \"UTC\"\nschedule = \"@daily\"",
    ),
    (
        "[job]\noverlap = ¦\"skip\"",
        "job.overlap",
        "overlap needs schedule",
        "[job]\noverlap = \"skip\"\nschedule = \"@daily\"",
    ),
    (
        "restart = ¦\"always\"\n[job]",
        "restart",
        "attempts and no restart policy",
        "restart = { delay = \"2s\" }\n[job]",
    ),
    (
        "restart.policy = ¦\"on-failure:3\"\n[job]",
        "restart.policy",
        "attempts and no restart policy",
        "restart.delay = \"2s\"\n[job]",
    ),
    (
        "replicas = 2\n[job]\nschedule = ¦\"@daily\"",
        "job.schedule",
        "one run at a time, got replicas = 2",
        "replicas = 2\n[job]\nschedule = \"@daily\"\noverlap = \"allow\"",
    ),
    (
        "[job]\nschedule = ¦\"@daily\"\noverlap = \"allow\"",
        "job.schedule",
        "got replicas = 1, want 2 or more",
        "[job]\nschedule = \"@daily\"\noverlap = \"replace\"",
    ),
    ("part_of = ¦\"web\"", "part_of", "web is part of itself", "part_of = \"web2\""),
    (
        "part_of = ¦\"db\"\n[job]\nschedule = \"@daily\"",
        "part_of",
        "a schedule of its own",
        "part_of = \"db\"\n[job]",
    ),
    ("part_of = ¦3", "part_of", "wrong type", "part_of = \"db3\""),
    // Probes.
    (
        "probes.liveness = ¦{}",
        "probes.liveness",
        "nothing to ask: want one of exec, http, tcp, grpc and push",
        "probes.liveness = { exec = [\"/x\"] }",
    ),
    (
        "[probes.liveness]\nexec = [\"/x\"]\ntcp = ¦{ port = 1 }",
        "probes.liveness.tcp",
        "exec and tcp exclude each other",
        "[probes.liveness]\ntcp = { port = 1 }",
    ),
    (
        "[probes.¦alive]\nexec = [\"/x\"]",
        "probes.alive",
        "unknown key \"alive\"; known here are startup, ",
        "[probes]",
    ),
    (
        "[probes.liveness]\nexec = [\"/x\"]\n¦perod = \"1s\"",
        "probes.liveness.perod",
        "did you mean \"period\"?",
        "[probes.liveness]\nexec = [\"/x\"]\nperiod = \"1s\"",
    ),
    (
        "[probes.readiness]\nexec = [\"/x\"]\ngrace = ¦\"1s\"",
        "probes.readiness.grace",
        "readiness stops nothing",
        "[probes.startup]\nexec = [\"/x\"]\ngrace = \"1s\"",
    ),
    (
        "[probes.liveness]\nexec = [\"/x\"]\nsuccess_threshold = ¦2",
        "probes.liveness.success_threshold",
        "out of range, got 2, want 1",
        "[probes.readiness]\nexec = [\"/x\"]\nsuccess_threshold = 2",
    ),
    (
        "probes.liveness = { exec = [\"/x\"], period = ¦\"99ms\" }",
        "probes.liveness.period",
        "want 100ms to 1d",
        "probes.liveness = { exec = [\"/x\"], period = \"100ms\" }",
    ),
    (
        "probes.liveness = { exec = [\"/x\"], timeout = ¦\"0s\" }",
        "probes.liveness.timeout",
        "want 1ms to 10m",
        "probes.liveness = { exec = [\"/x\"], timeout = \"1ms\" }",
    ),
    (
        "probes.liveness = { exec = [\"/x\"], initial_delay = ¦5 }",
        "probes.liveness.initial_delay",
        "a time without a unit",
        "probes.liveness = { exec = [\"/x\"], initial_delay = \"5s\" }",
    ),
    (
        "probes.liveness = { exec = [\"/x\"], failure_threshold = ¦0 }",
        "probes.liveness.failure_threshold",
        "want 1 to 100000",
        "probes.liveness = { exec = [\"/x\"], failure_threshold = 1 }",
    ),
    (
        "probes.liveness.exec = ¦\"/x -q\"",
        "probes.liveness.exec",
        "no shell is involved",
        "probes.liveness.exec = [\"/x\", \"-q\"]",
    ),
    ("probes.liveness.tcp = ¦{}", "probes.liveness.tcp.port", "missing key", "probes.liveness.tcp.port = 1"),
    (
        "probes.liveness.tcp.port = ¦65536",
        "probes.liveness.tcp.port",
        "want 1 to 65535",
        "probes.liveness.tcp.port = 65535",
    ),
    (
        "probes.liveness.tcp = { port = 1, host = ¦\"db\" }",
        "probes.liveness.tcp.host",
        "not an address, got \"db\"",
        "probes.liveness.tcp = { port = 1, host = \"::1\" }",
    ),
    (
        "probes.liveness.http = { port = 1, path = ¦\"x\" }",
        "probes.liveness.http.path",
        "not a path",
        "probes.liveness.http = { port = 1, path = \"/x?y=%20\" }",
    ),
    (
        "probes.liveness.http = { port = 1, path = ¦\"/ HTTP/1.1\" }",
        "probes.liveness.http.path",
        "without spaces",
        "probes.liveness.http = { port = 1, path = \"/\" }",
    ),
    (
        "probes.liveness.http = { port = 1, method = ¦\"get\" }",
        "probes.liveness.http.method",
        "capital letters",
        "probes.liveness.http = { port = 1, method = \"OPTIONS\" }",
    ),
    (
        "probes.liveness.http = { port = 1, headers = { ¦\"a b\" = \"1\" } }",
        "probes.liveness.http.headers.\"a b\"",
        "bad name of a header",
        "probes.liveness.http = { port = 1, headers = { a-b = \"1\" } }",
    ),
    (
        "probes.liveness.http = { port = 1, headers = { ¦connection = \"close\" } }",
        "probes.liveness.http.headers.connection",
        "a header of the connection",
        "probes.liveness.http = { port = 1, headers = { host = \"x\" } }",
    ),
    (
        "probes.liveness.http = { port = 1, headers = { a = ¦\"x\\r\\ny: z\" } }",
        "probes.liveness.http.headers.a",
        "control character",
        "probes.liveness.http = { port = 1, headers = { a = \"x y\" } }",
    ),
    (
        "probes.liveness.http = { port = 1, status = [¦99] }",
        "probes.liveness.http.status[0]",
        "want 100 to 599",
        "probes.liveness.http = { port = 1, status = [100] }",
    ),
    (
        "probes.liveness.http = { port = 1, status = [¦\"300-200\"] }",
        "probes.liveness.http.status[0]",
        "not status codes",
        "probes.liveness.http = { port = 1, status = [\"200-300\"] }",
    ),
    (
        "probes.liveness.http = { port = 1, status = ¦[] }",
        "probes.liveness.http.status",
        "empty list",
        "probes.liveness.http = { port = 1 }",
    ),
    (
        "probes.liveness.http = { port = 1, tls = { verify = false, ca = ¦\"/ca\" } }",
        "probes.liveness.http.tls.ca",
        "verify is false",
        "probes.liveness.http = { port = 1, tls = { ca = \"/ca\" } }",
    ),
    (
        "probes.liveness.grpc = { port = 1, ¦tls = true }",
        "probes.liveness.grpc.tls",
        "unknown key",
        "probes.liveness.grpc = { port = 1 }",
    ),
    (
        "probes.on_unhealthy = ¦\"reboot\"",
        "probes.on_unhealthy",
        "want \"restart\" or \"stop\" or \"none\"",
        "probes.on_unhealthy = \"none\"",
    ),
    (
        "healthcheck = ¦{ interval = \"1s\" }",
        "healthcheck.test",
        "missing key",
        "healthcheck = { test = \"x\", interval = \"1s\" }",
    ),
    (
        "healthcheck.test = ¦[\"/bin/x\"]",
        "healthcheck.test",
        "not a test, got \"/bin/x\"",
        "healthcheck.test = [\"CMD\", \"/bin/x\"]",
    ),
    (
        "probes.liveness.exec = [\"/x\"]\nhealthcheck = ¦{ test = \"x\" }",
        "healthcheck",
        "one of which is given as well",
        "probes.readiness.exec = [\"/x\"]\nhealthcheck = { test = \"x\" }",
    ),
    (
        "healthcheck = { test = \"x\", retries = ¦0 }",
        "healthcheck.retries",
        "want 1 to 1000",
        "healthcheck = { test = \"x\", retries = 1 }",
    ),
    // TOML itself.
    ("tty = ¦yes", "", "not TOML", "tty = true"),
    ("tty = true\n¦tty = true", "", "not TOML: duplicate key", "tty = true"),
    ("mode = ¦0400", "", "not TOML", "tty = true"),
];

/// These are whole files.
const FILES: &[Case] = &[
    ("command = [\"/a\"]", "bundle", "nothing to run", "root = \"/r\"\ncommand = [\"/a\"]"),
    ("", "bundle", "nothing to run", "bundle = \"/b\""),
    ("root = ¦\"/r\"", "root", "needs command", "root = \"/r\"\ncommand = [\"/a\"]"),
    ("bundle = ¦\"srv/web\"", "bundle", "not an absolute path", "bundle = \"/srv/web\""),
    ("image = ¦\"../web\"", "image", "not the name of an image", "image = \"web\""),
    ("image = ¦\"web@sha256:0\"", "image", "not a digest", "image = \"a.b/web:1\"\nroot_read_only = true"),
    ("bundle = ¦\"\"", "bundle", "empty string", "bundle = \"/\""),
    ("bundle = ¦\"/srv/\\u0007\"", "bundle", "control character", "bundle = \"/srv/é\""),
    (
        "root = \"/r\"\ncommand = [\"/a\"]\nlimits.swap = ¦\"1M\"",
        "limits.swap",
        "needs memory",
        "root = \"/r\"\ncommand = [\"/a\"]\nlimits.swap = \"1M\"\nlimits.memory = \"1M\"",
    ),
    ("bundle = \"/b\" # ¦\u{7}", "", "control character '\\u{7}' in the file", "bundle = \"/b\" # \t\r\n"),
    ("# \u{e9}\u{e9}\nbundle = \"/b\" ¦\0", "", "control character '\\0'", "# \u{e9}\u{e9}\nbundle = \"/b\""),
    ("bundle = \"/b\" # ¦\r x", "", "control character '\\r'", "bundle = \"/b\" # x\r\n"),
    ("bundle = \"/b\" # ¦\u{85}", "", "control character", "bundle = \"/b\" # ü"),
];

#[test]
fn every_wrong_value_has_its_place_key_and_reason_and_the_right_one_is_taken() {
    let below = CASES.iter().map(|(bad, key, why, twin)| {
        (format!("bundle = \"/b\"\n{bad}"), *key, *why, format!("bundle = \"/b\"\n{twin}"))
    });
    let whole = FILES.iter().map(|(bad, key, why, twin)| ((*bad).to_owned(), *key, *why, (*twin).to_owned()));
    let mut wrong = String::new();
    for (marked, key, why, twin) in below.chain(whole) {
        let text = marked.replace('¦', "");
        let found = problems(&text);
        let place = marked.split_once('¦').map_or((0, 0), |(before, _)| {
            let line = before.split('\n').next_back().unwrap_or("");
            (before.matches('\n').count() + 1, line.chars().count() + 1)
        });
        let right = match &found[..] {
            [p] => {
                (p.line as usize, p.column as usize) == place
                    && p.key == key
                    && p.message.contains(why)
                    && p.file == "web.toml"
                    && !p.message.chars().any(char::is_control)
            }
            _ => false,
        };
        if !right {
            wrong.push_str(&format!("{text}\nwanted {place:?} {key:?} {why:?}, got {found:#?}\n\n"));
        }
        good(&twin);
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(CASES.len() + FILES.len() > 60);
}

#[test]
fn all_complaints_come_at_once_in_the_order_of_the_text() {
    let text =
        "bundle = 3\nreplica = 1\n[limits]\nmemory = \"x\"\npids = -1\n[stop]\ngrace = 5\nsignal = \"X\"\n";
    let places: Vec<_> = problems(text).iter().map(|p| (p.line, p.column, p.key.clone())).collect();
    let wanted = [
        (1, 10, "bundle"),
        (2, 1, "replica"),
        (4, 10, "limits.memory"),
        (5, 8, "limits.pids"),
        (7, 9, "stop.grace"),
        (8, 10, "stop.signal"),
    ];
    assert_eq!(places, wanted.map(|(l, c, k)| (l, c, k.to_owned())));
}

#[test]
fn floods_are_bounded() {
    let many: String = (0..5000).map(|i| format!("x{i} = 1\n")).collect();
    assert!(problems(&many).len() <= 101);
    let long = format!("bundle = \"/b\"\n{} = 1\nruntime = \"a/{}\"", "k".repeat(5000), "v".repeat(5000));
    for p in problems(&long) {
        assert!(p.message.len() < 1500 && p.key.len() < 200, "{p:?}");
    }
    assert!(problems(&"#".repeat(SIZE_MAX + 1))[0].message.contains("longer than 1048576"));
    let deep = format!("bundle = \"/b\"\nlabels = {}", "[".repeat(100_000));
    assert!(!problems(&deep).is_empty());
    let list = format!("bundle = \"/b\"\ncommand = [{}]", "\"a\",".repeat(2000));
    assert!(problems(&list)[0].message.contains("too long a list, got 2000"));
}

/// A small deterministic generator (xorshift64*): the same mutations in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n
    }
}

#[test]
fn no_mutation_of_a_good_file_breaks_the_reader() {
    let mut dice = Dice(0x6b6e_6172_7200_0001);
    let words: [&[u8]; 12] = [
        b"[[",
        b"\"",
        b"'''",
        b"=",
        b".",
        b"\n[",
        b"-9",
        b"1e999",
        b"\\u0000",
        b"\xff",
        b"{",
        b"9223372036854775808",
    ];
    let (mut refused, mut taken) = (0, 0);
    for _ in 0..4000 {
        let mut bytes = FULL.as_bytes().to_vec();
        for _ in 0..1 + dice.below(4) {
            let at = dice.below(bytes.len());
            match dice.below(5) {
                0 => bytes[at] = u8::try_from(dice.below(256)).unwrap(),
                1 => drop(bytes.remove(at)),
                2 => bytes.truncate(at + 1),
                3 => drop(bytes.splice(at..at, words[dice.below(words.len())].iter().copied())),
                _ => {
                    let end = (at + dice.below(40)).min(bytes.len());
                    let part = bytes[at..end].to_vec();
                    let to = dice.below(bytes.len());
                    bytes.splice(to..to, part);
                }
            }
        }
        let text = String::from_utf8_lossy(&bytes);
        let lines = text.split('\n').count();
        match parse(&"web".parse().unwrap(), Path::new("web.toml"), &text) {
            Ok(service) => {
                taken += 1;
                assert!(!crate::unit::version(&service).is_empty());
            }
            Err(found) => {
                refused += 1;
                assert!(!found.is_empty(), "{text}");
                assert!(
                    found.iter().all(|p| p.line as usize <= lines && !p.message.is_empty()),
                    "{found:#?}"
                );
            }
        }
    }
    assert!(refused > 1000 && taken > 100, "{refused} refused, {taken} taken");
}
