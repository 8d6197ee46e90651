//! What becomes of every field of config.json: the rows of docs/spec-coverage.md, beside the types they are about. A test
//! (`runtime/tests/docs_coverage.rs`) compares them with the types and writes the page. Text only, none of it in the program.

/// What the answer to a field is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It takes effect, or the command fails and names the field.
    Applied,
    /// A config that has it is an error that names the field.
    Refused,
    /// Accepted, said to have no effect.
    Warning,
    /// Decides something or only holds other fields.
    Read,
}

/// One row: fields as JSON pointers (`[]` each element, `*` each key, `{a,b}` both), answer, how, modules, a case of the
/// conformance suite that shows it. A dash stands for nothing.
pub type Row = (&'static str, Answer, &'static str, &'static str, &'static str);

/// A part of the page.
#[derive(Debug)]
pub struct Section {
    pub title: &'static str,
    /// Text before the table, may be empty.
    pub before: &'static str,
    pub rows: &'static [Row],
    /// Text behind it, may be empty.
    pub after: &'static str,
}

use Answer::{Applied, Read, Refused, Warning};

#[rustfmt::skip]
const TOP_LEVEL: &[Row] = &[
    ("/ociVersion", Read, "SemVer 1.x.y; shown by `state`, given to hooks and seccomp agents", "spec::check", "input.B021-version-9"),
    ("/process", Read, "required", "spec::check", "input.B027-process-missing"),
    ("/root", Read, "required", "spec::check", "input.B022-root-missing"),
    ("/hostname", Applied, "`sethostname`; needs a uts namespace; at most 64 bytes", "init", "uts.hostname"),
    ("/domainname", Applied, "`setdomainname`; needs a uts namespace; at most 64 bytes", "init", "uts.domainname"),
    ("/mounts", Applied, "in the order given; needs a mount namespace", "plan::mounts, create, init::mounts", "mount.order"),
    ("/hooks", Read, "-", "hooks", "hooks.order"),
    ("/annotations", Applied, "kept in the record, shown by `state`, given to hooks and seccomp agents; keys under `io.knarr.` refused; `org.systemd.property.NAME` is a property of the unit with the systemd driver", "state, hooks", "life.state-fields"),
    ("/linux", Read, "absent means no namespaces and no limits", "plan", "-"),
    ("/{solaris,windows,vm,zos,freebsd}", Refused, "when there is no `linux` section; beside one it is a warning", "spec::check", "input.B094-other-platform"),
];

#[rustfmt::skip]
const PROCESS: &[Row] = &[
    ("/process/terminal", Applied, "a pty of the container's own devpts, bound on /dev/console, controlling terminal; master to `--console-socket` or relayed", "init::console, foreground", "tty.console-socket"),
    ("/process/consoleSize", Applied, "ignored without a terminal, as the spec says", "init::console", "tty.console-socket"),
    ("/process/consoleSize/{height,width}", Applied, "`TIOCSWINSZ`; 1 to 65535", "init::console", "tty.console-socket"),
    ("/process/user", Read, "-", "plan::process", "user.ids"),
    ("/process/user/uid", Applied, "`setresuid`; must be mapped in a new user namespace", "init::identity", "user.ids"),
    ("/process/user/gid", Applied, "`setresgid`; must be mapped in a new user namespace", "init::identity", "user.ids"),
    ("/process/user/umask", Applied, "absent means 0022", "init::identity", "user.umask-set"),
    ("/process/user/additionalGids", Applied, "`setgroups` with exactly these, also with none", "init::identity", "user.groups-exact"),
    ("/process/user/username", Warning, "Windows only", "spec::check", "process.of-another-platform"),
    ("/process/args", Applied, "at least one; looked up in the container's PATH as the payload's user", "init::payload", "process.args-exact"),
    ("/process/commandLine", Warning, "Windows only", "spec::check", "process.of-another-platform"),
    ("/process/env", Applied, "exactly these; of equal names the last; HOME filled in from the container's passwd when absent", "init::payload", "process.env-exact"),
    ("/process/cwd", Applied, "absolute; made when missing; must be inside the container", "init::identity", "/process/cwd"),
    ("/process/capabilities", Applied, "absent means all sets empty; unknown names are an error", "plan::process, init::identity", "caps.absent"),
    ("/process/capabilities/bounding", Applied, "the others are dropped, also those newer than we know", "init::identity", "caps.bounding-only"),
    ("/process/capabilities/{effective,permitted}", Applied, "one `capset` for three sets", "init::identity", "caps.root"),
    ("/process/capabilities/inheritable", Applied, "one `capset` for three sets", "init::identity", "caps.inheritable"),
    ("/process/capabilities/ambient", Applied, "must be permitted; not inheritable is a warning and it stays off", "plan::process, init::identity", "caps.user-with-ambient"),
    ("/process/rlimits", Applied, "raised from outside, lowered as one of the last steps; no limit twice", "create, init::payload", "rlimit.several"),
    ("/process/rlimits[]/type", Applied, "16 names of getrlimit(2)", "plan::process", "rlimit.nofile"),
    ("/process/rlimits[]/{soft,hard}", Applied, "soft at most hard", "init::payload", "rlimit.nofile"),
    ("/process/noNewPrivileges", Applied, "`PR_SET_NO_NEW_PRIVS`", "init::identity", "caps.no-new-privs-on"),
    ("/process/apparmorProfile", Applied, "at the next `execve`; an error where AppArmor is off", "plan, init::identity", "lsm.apparmor-process"),
    ("/process/oomScoreAdj", Applied, "written from outside; -1000 to 1000", "create", "process.oom-score"),
    ("/process/selinuxLabel", Applied, "at the next `execve`, and of the session keyring; an error where SELinux is off", "plan, init::identity", "lsm.selinux-process"),
    ("/process/scheduler", Applied, "`sched_setattr` before privilege goes", "init::identity", "sched.batch"),
    ("/process/scheduler/policy", Applied, "OTHER, BATCH, IDLE, FIFO, RR, DEADLINE", "plan::process", "sched.batch"),
    ("/process/scheduler/nice", Applied, "-20 to 19", "plan::process", "sched.other-nice"),
    ("/process/scheduler/priority", Applied, "1 to 99 with FIFO and RR, refused with others", "plan::process", "input.B047-scheduler-mix"),
    ("/process/scheduler/flags", Applied, "seven names of sched_setattr(2)", "plan::process", "sched.reset-on-fork"),
    ("/process/scheduler/{runtime,deadline,period}", Applied, "DEADLINE only, refused with others", "plan::process", "sched.deadline"),
    ("/process/ioPriority", Applied, "`ioprio_set`", "init::identity", "ioprio.best-effort"),
    ("/process/ioPriority/class", Applied, "RT, BE, IDLE", "plan::process", "ioprio.idle"),
    ("/process/ioPriority/priority", Applied, "0 to 7", "plan::process", "ioprio.best-effort"),
    ("/process/execCPUAffinity", Applied, "by `exec`; init runs on every CPU of its cgroup", "exec, init::identity", "exec.cpu-affinity"),
    ("/process/execCPUAffinity/{initial,final}", Applied, "`sched_setaffinity` before and after the cgroup is entered", "plan::process", "exec.cpu-affinity"),
];

#[rustfmt::skip]
const ROOT_AND_MOUNTS: &[Row] = &[
    ("/root/path", Applied, "counts from the bundle; a directory, not the host's root", "create, init::mounts", "root.absolute-path"),
    ("/root/readonly", Applied, "attribute of the root mount; needs a mount namespace", "init::mounts", "root.readonly"),
    ("/mounts[]/destination", Applied, "absolute, inside the root by `openat2`; made when missing; not over the root, below /proc only known files", "spec::check, init::mounts", "mount.target-is-made"),
    ("/mounts[]/type", Applied, "any file system of the kernel by `fsopen`; `bind`; `cgroup` and `cgroup2` bind the container's own groups", "plan::mounts, init::mounts", "mount.type-proc"),
    ("/mounts[]/source", Applied, "opened by the parent before the clone; relative ones count from the bundle", "create", "mount.bind-relative-source"),
    ("/mounts[]/options", Applied, "all of the spec's, recursive ones too, `tmpcopyup`; `idmap` and `ridmap`, alone or as `idmap=uids=FILES-SEEN-COUNT#...;gids=...`; `remount` beside `bind` changes the mount that is there, and only what is named; other words go to the file system; `iversion` is refused, because no call of the mount API sets it; see `knarr features`", "plan::mounts, plan::idmap", "mount.rro"),
    ("/mounts[]/{uidMappings,gidMappings}", Applied, "binds only, by `mount_setattr` with a user namespace made for it, before anybody sees the mount; both or none; refused for others than root", "plan::idmap, create::idmap", "idmap.own-maps"),
    ("/mounts[]/{uidMappings,gidMappings}[]/{containerID,hostID,size}", Applied, "the file system's id, the one that is seen, how many; no overlap, no wrap", "plan::idmap, create::idmap", "idmap.several-mounts"),
];

#[rustfmt::skip]
const HOOKS: &[Row] = &[
    ("/hooks/prestart", Applied, "by the parent, after the mounts, before `pivot_root`", "create", "hooks.state-prestart"),
    ("/hooks/createRuntime", Applied, "by the parent, after `prestart`", "create", "hooks.state-createRuntime"),
    ("/hooks/createContainer", Applied, "by init, in the container's namespaces, before `pivot_root`", "init", "hooks.namespace-createContainer"),
    ("/hooks/startContainer", Applied, "by init, inside the container, after `start`", "init", "hooks.start-container-before-program"),
    ("/hooks/poststart", Applied, "by `start` or `run`, after `execve`; a failure stops the container", "ops::start, ops::run", "hooks.fail-poststart"),
    ("/hooks/poststop", Applied, "by `delete`, after everything is gone; failures are warnings", "ops::delete", "hooks.fail-poststop-still-deletes"),
    ("/hooks/{prestart,createRuntime,createContainer,startContainer,poststart,poststop}[]/path", Applied, "absolute", "hooks", "hooks.relative"),
    ("/hooks/{prestart,createRuntime,createContainer,startContainer,poststart,poststop}[]/args", Applied, "exactly these, the first as the program's name", "hooks", "hooks.args-exact"),
    ("/hooks/{prestart,createRuntime,createContainer,startContainer,poststart,poststop}[]/env", Applied, "exactly these; absent means none", "hooks", "hooks.env-exact"),
    ("/hooks/{prestart,createRuntime,createContainer,startContainer,poststart,poststop}[]/timeout", Applied, "whole seconds from 1; then the hook's process group is killed", "hooks", "hooks.timeout"),
];

#[rustfmt::skip]
const LINUX: &[Row] = &[
    ("/linux/{uidMappings,gidMappings}", Applied, "of a new user namespace, written by the parent; at most 340 lines", "create", "userns.maps"),
    ("/linux/{uidMappings,gidMappings}[]/{containerID,hostID,size}", Applied, "no overlap, no wrap", "create", "userns.maps"),
    ("/linux/namespaces", Applied, "each type at most once", "plan::launch", "ns.new-pid"),
    ("/linux/namespaces[]/type", Applied, "pid, network, mount, ipc, uts, user, cgroup, time", "plan::launch", "ns.new-network"),
    ("/linux/namespaces[]/path", Applied, "opened and its type verified, then joined", "create", "ns.joined-network"),
    ("/linux/timeOffsets", Applied, "written before the namespace's first process", "create", "timens.offsets"),
    ("/linux/timeOffsets/*/{secs,nanosecs}", Applied, "clocks `monotonic` and `boottime`", "create", "timens.offset-negative"),
    ("/linux/devices", Applied, "nodes beside the default ones; bound from the host where mknod is not allowed", "plan::devices, init::mounts", "dev.configured-char"),
    ("/linux/devices[]/type", Applied, "c, u, b, p", "plan::devices", "dev.configured-fifo"),
    ("/linux/devices[]/path", Applied, "absolute, inside the root", "init::mounts", "dev.configured-below"),
    ("/linux/devices[]/{major,minor}", Applied, "12 and 20 bits", "init::mounts", "dev.configured-block"),
    ("/linux/devices[]/fileMode", Applied, "absent means 0666; the umask does not count", "init::mounts", "dev.mode-beats-umask"),
    ("/linux/devices[]/{uid,gid}", Applied, "absent means 0", "init::mounts", "dev.configured-char"),
    ("/linux/netDevices", Applied, "moved from the runtime's network namespace before hooks run, with permanent addresses of global scope, and set up; taken back when the container is not made; refused for others than root", "plan, create::interfaces", "netdev.moved"),
    ("/linux/netDevices/*/name", Applied, "in the same request as the move; one `%d` becomes the first free number", "create::interfaces", "netdev.renamed"),
    ("/linux/cgroupsPath", Applied, "absolute from the hierarchy's root, relative from our own group, absent means the id; no `..`; `slice:prefix:name` with the systemd driver (`systemd.scope`)", "cgroup::plan", "cgroup.path-absolute"),
    ("/linux/rootfsPropagation", Applied, "on the root mount, after `pivot_root`; with `shared`, binds stay in their peer groups", "plan, init::mounts", "propagation.root-shared"),
    ("/linux/maskedPaths", Applied, "an empty read-only tmpfs over directories, the host's checked null device over the rest; absent ones are fine", "init::mounts", "mask.file"),
    ("/linux/readonlyPaths", Applied, "a read-only copy of the mount over the path, recursively; absent ones are fine", "init::mounts", "readonly.directory"),
    ("/linux/mountLabel", Applied, "option `context` (or what the annotation `run.oci.mount_context_type` says) of every new file system but procfs and sysfs; an error where SELinux is off", "plan, init::mounts", "lsm.selinux-mount-label"),
    ("/linux/sysctl", Applied, "only settings of a namespace the container has; written before /proc/sys is covered", "spec::check, init::mounts", "ipc.sysctl"),
    ("/linux/personality", Applied, "`personality(2)`", "init::identity", "/process/personality"),
    ("/linux/personality/domain", Applied, "LINUX, LINUX32", "plan::process", "/process/personality"),
    ("/linux/personality/flags", Refused, "the spec has no flags", "spec::check", "input.B093-personality"),
    ("/linux/intelRdt", Applied, "a class of service in resctrl, entered before the program and by `exec`; an error where resctrl is not mounted", "resctrl, create", "rdt.absent"),
    ("/linux/intelRdt/closID", Applied, "absent means a class of the container's own, which goes with it; a named one stays, must be there if there are no schemata, and must have them if there are", "resctrl", "rdt.class-outside"),
    ("/linux/intelRdt/{l3CacheSchema,memBwSchema,schemata}", Applied, "lines of `schemata`, in this order; `MB:` lines of the first give way to the second; no kernel at hand has resctrl, unit tests of `resctrl` read and write a made tree", "resctrl", "-"),
    ("/linux/intelRdt/{enableMonitoring,enableCMT,enableMBM}", Applied, "any of them: a monitoring group of the container's own, which goes with it; as the schemata, seen on a made tree only", "resctrl", "-"),
    ("/linux/memoryPolicy", Applied, "`set_mempolicy`, for `exec` too; an empty object changes nothing", "plan::process, init::identity", "mempolicy.bind"),
    ("/linux/memoryPolicy/mode", Applied, "seven modes of set_mempolicy(2)", "plan::process", "mempolicy.interleave"),
    ("/linux/memoryPolicy/nodes", Applied, "the kernel refuses nodes that are not there or not in the cpuset", "plan::process", "mempolicy.no-such-node"),
    ("/linux/memoryPolicy/flags", Applied, "three flags of set_mempolicy(2)", "plan::process", "mempolicy.static-nodes"),
];

#[rustfmt::skip]
const LINUX_RESOURCES: &[Row] = &[
    ("/linux/resources", Applied, "before anybody is inside", "cgroup::create", "cgroup.several-at-once"),
    ("/linux/resources/devices", Applied, "everything is denied first, later rules win, the runtime's own devices last; eBPF on v2, a list on v1", "cgroup::device, cgroup::ebpf, cgroup::v1", "devctl.later-deny-wins"),
    ("/linux/resources/devices[]/allow", Applied, "-", "cgroup::device", "devctl.deny-all"),
    ("/linux/resources/devices[]/type", Applied, "a, b, c; absent means a", "cgroup::device", "devctl.other-type"),
    ("/linux/resources/devices[]/{major,minor}", Applied, "absent and -1 mean all", "cgroup::device", "devctl.wildcard-minor"),
    ("/linux/resources/devices[]/access", Applied, "letters r, w, m, each for itself", "cgroup::device", "devctl.read-not-write"),
    ("/linux/resources/memory", Read, "-", "cgroup::plan", "cgroup.memory-enforced"),
    ("/linux/resources/memory/limit", Applied, "`memory.max`, `memory.limit_in_bytes`; at least a page", "cgroup::v2, cgroup::v1", "cgroup.memory-limit"),
    ("/linux/resources/memory/reservation", Applied, "`memory.low`, `memory.soft_limit_in_bytes`; at most the limit", "cgroup::v2, cgroup::v1", "cgroup.memory-reservation"),
    ("/linux/resources/memory/swap", Applied, "memory and swap together, as v1 counts; `memory.swap.max` gets the difference", "cgroup::v2, cgroup::v1", "cgroup.memory-swap"),
    ("/linux/resources/memory/{kernel,kernelTCP}", Warning, "the kernel has no such limit any more", "cgroup::v2", "cgroup.kernel-memory-is-said"),
    ("/linux/resources/memory/swappiness", Applied, "v1 only, refused on v2", "cgroup::v1", "cgroup.v1-swappiness"),
    ("/linux/resources/memory/disableOOMKiller", Applied, "v1 only, `true` refused on v2", "cgroup::v1", "cgroup.v1-disable-oom-killer"),
    ("/linux/resources/memory/useHierarchy", Applied, "v1 only, `false` refused on v2", "cgroup::v1", "cgroup.v1-use-hierarchy"),
    ("/linux/resources/memory/checkBeforeUpdate", Applied, "on v2 a limit at or below the usage is refused; v1's kernel does that itself", "cgroup::create", "update.checked-before"),
    ("/linux/resources/cpu", Read, "-", "cgroup::plan", "cgroup.cpu-quota-felt"),
    ("/linux/resources/cpu/shares", Applied, "`cpu.shares`, `cpu.weight` (1024 is 100)", "cgroup::v2, cgroup::v1", "cgroup.cpu-weight"),
    ("/linux/resources/cpu/quota", Applied, "`cpu.max`, `cpu.cfs_quota_us`", "cgroup::v2, cgroup::v1", "cgroup.cpu-quota"),
    ("/linux/resources/cpu/burst", Applied, "`cpu.max.burst`, `cpu.cfs_burst_us`; at most the quota", "cgroup::v2, cgroup::v1", "cgroup.cpu-burst"),
    ("/linux/resources/cpu/period", Applied, "1,000 to 1,000,000 µs", "cgroup::v2, cgroup::v1", "cgroup.cpu-period"),
    ("/linux/resources/cpu/{realtimeRuntime,realtimePeriod}", Applied, "v1 only, refused on v2", "cgroup::v1", "cgroup.v1-realtime"),
    ("/linux/resources/cpu/cpus", Applied, "`cpuset.cpus`; none of them available is an error", "cgroup::v2, cgroup::create", "cgroup.cpuset-enforced"),
    ("/linux/resources/cpu/mems", Applied, "`cpuset.mems`; none of them available is an error", "cgroup::v2, cgroup::create", "cgroup.cpuset-mems"),
    ("/linux/resources/cpu/idle", Applied, "`cpu.idle`, 0 or 1", "cgroup::v2, cgroup::v1", "cgroup.cpu-idle"),
    ("/linux/resources/pids", Read, "-", "cgroup::plan", "cgroup.pids-enforced"),
    ("/linux/resources/pids/limit", Applied, "`pids.max`; absent is not set, 0 becomes 1 (before version 1.3 of the spec: not set), -1 is no limit", "cgroup::v2", "cgroup.pids-limit"),
    ("/linux/resources/blockIO", Read, "-", "cgroup::plan", "cgroup.io-throttle"),
    ("/linux/resources/blockIO/weight", Applied, "BFQ's file where it exists, else `io.weight` or `blkio.weight`", "cgroup::v2, cgroup::v1", "cgroup.io-weight"),
    ("/linux/resources/blockIO/leafWeight", Applied, "v1 only, refused on v2; of a scheduler that left with Linux 5.0, so that no case can show it", "cgroup::v1", "-"),
    ("/linux/resources/blockIO/weightDevice", Applied, "as the weights", "cgroup::v2, cgroup::v1", "cgroup.io-weight-of-a-device"),
    ("/linux/resources/blockIO/weightDevice[]/{major,minor,weight}", Applied, "-", "cgroup::v2, cgroup::v1", "cgroup.io-weight-of-a-device"),
    ("/linux/resources/blockIO/weightDevice[]/leafWeight", Applied, "v1 only, refused on v2; as `leafWeight`", "cgroup::v1", "-"),
    ("/linux/resources/blockIO/{throttleReadBpsDevice,throttleWriteBpsDevice,throttleReadIOPSDevice,throttleWriteIOPSDevice}", Applied, "`io.max`, `blkio.throttle.*`", "cgroup::v2, cgroup::v1", "cgroup.io-throttle"),
    ("/linux/resources/blockIO/{throttleReadBpsDevice,throttleWriteBpsDevice,throttleReadIOPSDevice,throttleWriteIOPSDevice}[]/{major,minor,rate}", Applied, "a rate of 0 is no limit", "cgroup::v2, cgroup::v1", "cgroup.io-throttle"),
    ("/linux/resources/hugepageLimits", Applied, "the limit of reservations too, where the kernel has it", "cgroup::v2, cgroup::v1", "cgroup.hugetlb"),
    ("/linux/resources/hugepageLimits[]/pageSize", Applied, "as the kernel names its files, `2MB`; none twice", "cgroup::v2, cgroup::v1", "cgroup.hugetlb-two-sizes"),
    ("/linux/resources/hugepageLimits[]/limit", Applied, "bytes", "cgroup::v2, cgroup::v1", "cgroup.hugetlb"),
    ("/linux/resources/network", Read, "v1 only: v2 has no such controllers", "cgroup::plan", "cgroup.v1-network"),
    ("/linux/resources/network/classID", Applied, "`net_cls.classid`", "cgroup::v1", "cgroup.v1-network"),
    ("/linux/resources/network/priorities", Applied, "`net_prio.ifpriomap`", "cgroup::v1", "cgroup.v1-network"),
    ("/linux/resources/network/priorities[]/{name,priority}", Applied, "-", "cgroup::v1", "cgroup.v1-network"),
    ("/linux/resources/rdma", Applied, "`rdma.max`", "cgroup::limits", "cgroup.rdma"),
    ("/linux/resources/rdma/*/{hcaHandles,hcaObjects}", Applied, "at least one of them", "cgroup::limits", "cgroup.rdma"),
    ("/linux/resources/unified", Applied, "written verbatim, line by line, after all others; not the files that move, kill or freeze", "cgroup::v2", "cgroup.unified-beats-fields"),
];

#[rustfmt::skip]
const LINUX_SECCOMP: &[Row] = &[
    ("/linux/seccomp", Applied, "one program for all architectures; last thing before `execve` with `noNewPrivileges`, else before privilege goes", "plan::seccomp, init::identity", "seccomp.is-on"),
    ("/linux/seccomp/defaultAction", Applied, "all but NOTIFY", "plan::seccomp", "seccomp.default-kill"),
    ("/linux/seccomp/defaultErrnoRet", Applied, "with ERRNO and TRACE; absent means EPERM", "plan::seccomp", "seccomp.older-call-default-errno"),
    ("/linux/seccomp/architectures", Applied, "the native one always; unlisted ones kill; valid names without a table here are a warning", "plan::seccomp", "seccomp.i386-filtered"),
    ("/linux/seccomp/flags", Applied, "TSYNC, LOG, SPEC_ALLOW, WAIT_KILLABLE_RECV; absent means SPEC_ALLOW", "plan::seccomp", "seccomp.flag-log"),
    ("/linux/seccomp/listenerPath", Applied, "connected by the parent, which sends the descriptor and the container process state", "create", "seccomp.notify-answered"),
    ("/linux/seccomp/listenerMetadata", Applied, "handed to the agent; refused without `listenerPath`", "create", "seccomp.notify-answered"),
    ("/linux/seccomp/syscalls", Applied, "the rules of libseccomp about which rule wins", "plan::seccomp", "seccomp.actions-mixed"),
    ("/linux/seccomp/syscalls[]/names", Applied, "names that no architecture has are a warning", "plan::seccomp", "seccomp.unknown-name-ignored"),
    ("/linux/seccomp/syscalls[]/action", Applied, "KILL, KILL_PROCESS, KILL_THREAD, TRAP, ERRNO, TRACE, ALLOW, LOG, NOTIFY", "plan::seccomp", "seccomp.kill-process"),
    ("/linux/seccomp/syscalls[]/errnoRet", Applied, "with ERRNO and TRACE, refused with others", "plan::seccomp", "seccomp.errno-given"),
    ("/linux/seccomp/syscalls[]/args", Applied, "all must hold; the same argument twice means any", "plan::seccomp", "seccomp.args-are-anded"),
    ("/linux/seccomp/syscalls[]/args[]/index", Applied, "0 to 5", "plan::seccomp", "seccomp.last-argument"),
    ("/linux/seccomp/syscalls[]/args[]/value", Applied, "64 bits; on 32-bit architectures the low half", "plan::seccomp", "seccomp.op-eq-64"),
    ("/linux/seccomp/syscalls[]/args[]/valueTwo", Applied, "with MASKED_EQ; `value` is the mask", "plan::seccomp", "seccomp.op-masked"),
    ("/linux/seccomp/syscalls[]/args[]/op", Applied, "NE, LT, LE, EQ, GE, GT, MASKED_EQ", "plan::seccomp", "seccomp.op-lt"),
];

/// The page, in its order.
pub const SECTIONS: &[Section] = &[
    Section { title: "Top level", before: "", rows: TOP_LEVEL, after: "" },
    Section {
        title: "process",
        before: "",
        rows: PROCESS,
        after: "`exec --process` takes the same object; what it leaves out of capabilities, rlimits, labels, oom score, scheduler and I/O\n\
                priority comes from the container's own process. Cases `exec.*`, `parity.*`.",
    },
    Section { title: "root and mounts", before: "", rows: ROOT_AND_MOUNTS, after: "" },
    Section { title: "hooks", before: "", rows: HOOKS, after: "" },
    Section { title: "linux", before: "", rows: LINUX, after: "" },
    Section {
        title: "linux.resources",
        before: "Where a controller is mounted as v1, its v1 file is written, else the v2 file. A limit without its controller is an error\n\
                 with field, controller and layout: case `cgroup.missing-controller-is-said`.",
        rows: LINUX_RESOURCES,
        after: "",
    },
    Section { title: "linux.seccomp", before: "", rows: LINUX_SECCOMP, after: "" },
];

/// What the specifications have besides config.json, as it stands at the end of the page.
#[rustfmt::skip]
pub const BEYOND: &[(&str, &str)] = &[
    ("cgroup ownership (config-linux.md)", "on a unified host, with a cgroup namespace and a writable cgroup mount, the group belongs to `/process/user/uid`; cases `userns.owns-its-cgroup`, `userns.readonly-cgroup-not-owned`"),
    ("`state` (runtime.md)", "all fields, and runc's `rootfs`, `created`, `owner`; status also `paused`"),
    ("lifecycle, operations (runtime.md)", "`create`, `start`, `state`, `kill`, `delete`"),
    ("default file systems and devices (config-linux.md)", "the six devices, the links of /dev, `/dev/ptmx`, `/dev/console` with a terminal"),
    ("features document (features.md, features-linux.md)", "`knarr features`: lists of names are what this build does and this kernel has; properties of the program do not depend on the host, as the spec has it; cases `features.*` try them"),
    ("container process state (config-linux.md)", "sent to seccomp agents"),
];
