//! What a container gets that asks for nothing. Data and pure functions.

use oci_spec::runtime::{Capability, Mount, get_default_mounts};

/// The default seccomp profile, an object as `linux.seccomp` wants it: names of calls differ between machines.
pub const SECCOMP_PROFILE: &str = if cfg!(target_arch = "aarch64") {
    include_str!("../profiles/default-seccomp-aarch64.json")
} else {
    include_str!("../profiles/default-seccomp.json")
};
/// What Docker gives a container that asks for nothing.
pub const CAPABILITIES: [Capability; 14] = [
    Capability::AuditWrite,
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::Mknod,
    Capability::NetBindService,
    Capability::NetRaw,
    Capability::Setfcap,
    Capability::Setgid,
    Capability::Setpcap,
    Capability::Setuid,
    Capability::SysChroot,
];

/// Files of the kernel that tell about the host or are attack surface.
pub const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// Files of the kernel that change the host.
pub const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The usual mounts: `/proc`, `/dev` and what is in it, `/sys` read-only, the own cgroup.
pub fn mounts() -> Vec<Mount> {
    let mut mounts = get_default_mounts();
    for mount in &mut mounts {
        if mount.destination() == "/proc" {
            mount.set_options(Some(["nosuid", "noexec", "nodev"].map(str::to_owned).to_vec()));
        }
    }
    mounts
}
