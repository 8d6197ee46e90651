//! The part of runtime-spec 1.3 (Linux) that config.json can say, as plain owned data. Every field of the
//! Linux spec is here; nothing is interpreted. `null` reads as absent, as in Go. May use: serde, `shape`.

use super::shape::{Shape, Shaped};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;

/// Reads `null` as the type's default, which is what Go's decoder does for non-pointer fields.
fn or_null<'de, D, T>(d: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(d)?.unwrap_or_default())
}

macro_rules! spec_struct {
    ($(#[$doc:meta])* $name:ident { $($(#[$fdoc:meta])* $field:ident : $ty:ty = $json:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
        pub struct $name {
            $($(#[$fdoc])*
            #[serde(rename = $json, default, deserialize_with = "or_null", skip_serializing_if = "is_default")]
            pub $field: $ty),*
        }

        impl Shaped for $name {
            const SHAPE: &'static Shape = &Shape::Object(&[$(($json, <$ty as Shaped>::SHAPE)),*]);
        }
        // The reader marks the keys it has seen in the bits of a u64.
        const _: () = assert!([$($json),*].len() <= 64);
    };
}

fn is_default<T: Default + PartialEq>(v: &T) -> bool {
    *v == T::default()
}

spec_struct! {
/// The whole document. config.md.
Spec {
    oci_version: Option<String> = "ociVersion",
    process: Option<Process> = "process",
    root: Option<Root> = "root",
    hostname: String = "hostname",
    domainname: String = "domainname",
    mounts: Vec<Mount> = "mounts",
    hooks: Option<Hooks> = "hooks",
    annotations: BTreeMap<String, String> = "annotations",
    linux: Option<Linux> = "linux",
    /// Sections of other platforms: read only to say that they do not apply.
    solaris: Option<serde_json::Value> = "solaris",
    windows: Option<serde_json::Value> = "windows",
    vm: Option<serde_json::Value> = "vm",
    zos: Option<serde_json::Value> = "zos",
    freebsd: Option<serde_json::Value> = "freebsd",
}}

spec_struct! {
/// config.md, "process". Also the document of `exec --process`.
Process {
    terminal: bool = "terminal",
    console_size: Option<ConsoleSize> = "consoleSize",
    user: User = "user",
    args: Vec<String> = "args",
    command_line: String = "commandLine",
    env: Vec<String> = "env",
    cwd: String = "cwd",
    capabilities: Option<Capabilities> = "capabilities",
    rlimits: Vec<Rlimit> = "rlimits",
    no_new_privileges: bool = "noNewPrivileges",
    apparmor_profile: String = "apparmorProfile",
    oom_score_adj: Option<i64> = "oomScoreAdj",
    selinux_label: String = "selinuxLabel",
    scheduler: Option<Scheduler> = "scheduler",
    io_priority: Option<IoPriority> = "ioPriority",
    exec_cpu_affinity: Option<ExecCpuAffinity> = "execCPUAffinity",
}}

spec_struct! { /// Terminal size in characters.
ConsoleSize { height: u64 = "height", width: u64 = "width" }}

spec_struct! { /// Ids inside the container.
User {
    uid: u32 = "uid",
    gid: u32 = "gid",
    umask: Option<u32> = "umask",
    additional_gids: Vec<u32> = "additionalGids",
    username: String = "username",
}}

spec_struct! { /// Five sets of names such as `CAP_KILL`.
Capabilities {
    bounding: Vec<String> = "bounding",
    effective: Vec<String> = "effective",
    inheritable: Vec<String> = "inheritable",
    permitted: Vec<String> = "permitted",
    ambient: Vec<String> = "ambient",
}}

spec_struct! { /// setrlimit(2) values; `RLIM_INFINITY` is 2^64-1.
Rlimit { kind: String = "type", hard: u64 = "hard", soft: u64 = "soft" }}

spec_struct! { /// sched_setattr(2). Times in nanoseconds.
Scheduler {
    policy: String = "policy",
    nice: i32 = "nice",
    priority: i32 = "priority",
    flags: Vec<String> = "flags",
    runtime: u64 = "runtime",
    deadline: u64 = "deadline",
    period: u64 = "period",
}}

spec_struct! { /// ioprio_set(2).
IoPriority { class: String = "class", priority: i64 = "priority" }}

spec_struct! { /// CPU lists for `exec`, before and after the cgroup is joined.
ExecCpuAffinity { initial: String = "initial", r#final: String = "final" }}

spec_struct! { /// config.md, "root".
Root { path: String = "path", readonly: bool = "readonly" }}

spec_struct! { /// config.md, "mounts".
Mount {
    destination: String = "destination",
    kind: String = "type",
    source: String = "source",
    options: Vec<String> = "options",
    uid_mappings: Vec<IdMapping> = "uidMappings",
    gid_mappings: Vec<IdMapping> = "gidMappings",
}}

spec_struct! { /// One line of uid_map or gid_map.
IdMapping { container_id: u32 = "containerID", host_id: u32 = "hostID", size: u32 = "size" }}

spec_struct! { /// config.md, "POSIX-platform Hooks".
Hooks {
    prestart: Vec<Hook> = "prestart",
    create_runtime: Vec<Hook> = "createRuntime",
    create_container: Vec<Hook> = "createContainer",
    start_container: Vec<Hook> = "startContainer",
    poststart: Vec<Hook> = "poststart",
    poststop: Vec<Hook> = "poststop",
}}

spec_struct! { /// One program; `timeout` in seconds.
Hook {
    path: String = "path",
    args: Vec<String> = "args",
    env: Vec<String> = "env",
    timeout: Option<i64> = "timeout",
}}

spec_struct! { /// config-linux.md.
Linux {
    uid_mappings: Vec<IdMapping> = "uidMappings",
    gid_mappings: Vec<IdMapping> = "gidMappings",
    sysctl: BTreeMap<String, String> = "sysctl",
    resources: Option<Resources> = "resources",
    cgroups_path: String = "cgroupsPath",
    namespaces: Vec<Namespace> = "namespaces",
    devices: Vec<Device> = "devices",
    net_devices: BTreeMap<String, NetDevice> = "netDevices",
    seccomp: Option<Seccomp> = "seccomp",
    rootfs_propagation: String = "rootfsPropagation",
    masked_paths: Vec<String> = "maskedPaths",
    readonly_paths: Vec<String> = "readonlyPaths",
    mount_label: String = "mountLabel",
    intel_rdt: Option<IntelRdt> = "intelRdt",
    memory_policy: Option<MemoryPolicy> = "memoryPolicy",
    personality: Option<Personality> = "personality",
    time_offsets: BTreeMap<String, TimeOffset> = "timeOffsets",
}}

spec_struct! { /// A namespace to make, or with `path` to join.
Namespace { kind: String = "type", path: String = "path" }}

spec_struct! { /// A device node to make in the container.
Device {
    kind: String = "type",
    path: String = "path",
    major: i64 = "major",
    minor: i64 = "minor",
    file_mode: Option<u32> = "fileMode",
    uid: Option<u32> = "uid",
    gid: Option<u32> = "gid",
}}

spec_struct! { /// New name of a host network device inside the container.
NetDevice { name: String = "name" }}

spec_struct! { /// Offset of a clock in a time namespace.
TimeOffset { secs: i64 = "secs", nanosecs: u32 = "nanosecs" }}

spec_struct! { /// personality(2).
Personality { domain: String = "domain", flags: Vec<String> = "flags" }}

spec_struct! { /// set_mempolicy(2).
MemoryPolicy { mode: String = "mode", nodes: String = "nodes", flags: Vec<String> = "flags" }}

spec_struct! { /// resctrl.
IntelRdt {
    clos_id: String = "closID",
    schemata: Vec<String> = "schemata",
    l3_cache_schema: String = "l3CacheSchema",
    mem_bw_schema: String = "memBwSchema",
    enable_monitoring: bool = "enableMonitoring",
    enable_cmt: bool = "enableCMT",
    enable_mbm: bool = "enableMBM",
}}

spec_struct! { /// config-linux.md, "Control groups". Also the document of `update --resources`.
Resources {
    devices: Vec<DeviceRule> = "devices",
    memory: Option<Memory> = "memory",
    cpu: Option<Cpu> = "cpu",
    pids: Option<Pids> = "pids",
    block_io: Option<BlockIo> = "blockIO",
    hugepage_limits: Vec<HugepageLimit> = "hugepageLimits",
    network: Option<Network> = "network",
    rdma: BTreeMap<String, Rdma> = "rdma",
    unified: BTreeMap<String, String> = "unified",
}}

spec_struct! { /// One rule of the device controller; absent numbers mean all.
DeviceRule {
    allow: bool = "allow",
    kind: String = "type",
    major: Option<i64> = "major",
    minor: Option<i64> = "minor",
    access: String = "access",
}}

spec_struct! { /// Bytes; -1 means no limit.
Memory {
    limit: Option<i64> = "limit",
    reservation: Option<i64> = "reservation",
    swap: Option<i64> = "swap",
    kernel: Option<i64> = "kernel",
    kernel_tcp: Option<i64> = "kernelTCP",
    swappiness: Option<u64> = "swappiness",
    disable_oom_killer: Option<bool> = "disableOOMKiller",
    use_hierarchy: Option<bool> = "useHierarchy",
    check_before_update: Option<bool> = "checkBeforeUpdate",
}}

spec_struct! { /// Times in microseconds.
Cpu {
    shares: Option<u64> = "shares",
    quota: Option<i64> = "quota",
    burst: Option<u64> = "burst",
    period: Option<u64> = "period",
    realtime_runtime: Option<i64> = "realtimeRuntime",
    realtime_period: Option<u64> = "realtimePeriod",
    cpus: String = "cpus",
    mems: String = "mems",
    idle: Option<i64> = "idle",
}}

spec_struct! { /// Number of tasks; -1 means no limit.
Pids { limit: Option<i64> = "limit" }}

spec_struct! { /// Block I/O weights and throttles.
BlockIo {
    weight: Option<u16> = "weight",
    leaf_weight: Option<u16> = "leafWeight",
    weight_device: Vec<WeightDevice> = "weightDevice",
    throttle_read_bps_device: Vec<ThrottleDevice> = "throttleReadBpsDevice",
    throttle_write_bps_device: Vec<ThrottleDevice> = "throttleWriteBpsDevice",
    throttle_read_iops_device: Vec<ThrottleDevice> = "throttleReadIOPSDevice",
    throttle_write_iops_device: Vec<ThrottleDevice> = "throttleWriteIOPSDevice",
}}

spec_struct! { /// Weight of one device.
WeightDevice {
    major: i64 = "major",
    minor: i64 = "minor",
    weight: Option<u16> = "weight",
    leaf_weight: Option<u16> = "leafWeight",
}}

spec_struct! { /// Bytes or operations a second of one device.
ThrottleDevice { major: i64 = "major", minor: i64 = "minor", rate: u64 = "rate" }}

spec_struct! { /// Limit in bytes for one page size such as `2MB`.
HugepageLimit { page_size: String = "pageSize", limit: u64 = "limit" }}

spec_struct! { /// net_cls and net_prio, which only cgroup v1 has.
Network { class_id: Option<u32> = "classID", priorities: Vec<InterfacePriority> = "priorities" }}

spec_struct! { /// Priority of traffic on one interface.
InterfacePriority { name: String = "name", priority: u32 = "priority" }}

spec_struct! { /// Limits of one RDMA device.
Rdma { hca_handles: Option<u32> = "hcaHandles", hca_objects: Option<u32> = "hcaObjects" }}

spec_struct! { /// config-linux.md, "Seccomp".
Seccomp {
    default_action: String = "defaultAction",
    default_errno_ret: Option<u32> = "defaultErrnoRet",
    architectures: Vec<String> = "architectures",
    flags: Option<Vec<String>> = "flags",
    listener_path: String = "listenerPath",
    listener_metadata: String = "listenerMetadata",
    syscalls: Vec<SeccompRule> = "syscalls",
}}

spec_struct! { /// One action for several system calls.
SeccompRule {
    names: Vec<String> = "names",
    action: String = "action",
    errno_ret: Option<u32> = "errnoRet",
    args: Vec<SeccompArg> = "args",
}}

spec_struct! { /// One condition on an argument.
SeccompArg {
    index: u32 = "index",
    value: u64 = "value",
    value_two: u64 = "valueTwo",
    op: String = "op",
}}

impl Spec {
    /// The Linux section, empty when absent.
    pub fn linux(&self) -> std::borrow::Cow<'_, Linux> {
        match &self.linux {
            Some(l) => std::borrow::Cow::Borrowed(l),
            None => std::borrow::Cow::Owned(Linux::default()),
        }
    }
}
