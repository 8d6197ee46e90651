//! Gives up privilege, in the one order that works. Used by init and by `exec`, so both end up the same.
//! May use: `sys`, `rootfs::Proc`, plan types.

use crate::error::{Code, Context, Error, Result, quoted};
use crate::plan::process::{MemoryPolicy, ProcessPlan};
use crate::plan::seccomp::Filter;
use crate::rootfs::Proc;
use crate::sys::cred::{self, CapSets};
use crate::sys::fs::{self, OFlags};
use crate::sys::{OwnedFd, errno, process, sched, seccomp};
use std::ffi::CString;
use std::path::Path;

/// What `confine` needs besides the process itself.
pub struct Confinement<'a> {
    pub process: &'a ProcessPlan,
    /// Name of the session keyring; `None` with `--no-new-keyring`.
    pub keyring: Option<String>,
    pub filter: Option<&'a Filter>,
    pub personality: Option<u64>,
    pub memory_policy: Option<&'a MemoryPolicy>,
    /// CPUs to run on; `None` for all that the cgroup allows.
    pub affinity: Option<&'a [u8]>,
}

/// Steps whose place matters carry the reason. The filter comes later, see [`filter`].
pub fn confine(c: &Confinement<'_>, proc: &Proc) -> Result<()> {
    let p = c.process;
    // Scheduling first: real-time policies need CAP_SYS_NICE.
    scheduling(c)?;
    // Labels only take effect at the next execve, and need an unconfined writer.
    labels(p, proc)?;
    if let Some(name) = &c.keyring {
        // Before the ids change, so that the keyring can be searched by the container's user later.
        key_label(p, proc, p.selinux.as_deref())?;
        keyring(name)?;
        key_label(p, proc, p.selinux.as_ref().map(|_| ""))?;
    }
    stdio(p)?;
    // The bounding set before the uid: dropping needs CAP_SETPCAP.
    bounding(p)?;
    // As root first: a directory that only root may enter is a valid working directory (as in runc).
    let entered = enter_cwd(p);
    ids(p, proc)?;
    if entered.is_err() {
        enter_cwd(p)?;
    }
    fs::umask(p.umask);
    capabilities(p, if c.filter.is_some() { for_filter(p)? } else { 0 })?;
    if p.no_new_privs {
        cred::no_new_privs()?;
    }
    Ok(())
}

/// What `confine` leaves of the capabilities so that the filter can be the last step: without no_new_privs only
/// CAP_SYS_ADMIN may install one (seccomp(2)). It is not in the bounding set any more, so no program gets it.
fn for_filter(p: &ProcessPlan) -> Result<u64> {
    const SYS_ADMIN: u64 = 1 << 21;
    if p.no_new_privs { Ok(0) } else { Ok(SYS_ADMIN & cred::get_caps()?.permitted) }
}

/// Installs the filter, then gives up what that needed. With no_new_privs nothing of ours but execve comes after the
/// filter, without it one capset. Gives the listener when the filter has one.
pub fn filter(p: &ProcessPlan, filter: &Filter) -> Result<Option<OwnedFd>> {
    let borrowed = for_filter(p)? & !(p.caps.permitted & p.caps.effective);
    if borrowed != 0 {
        set_caps(p, CapSets { effective: borrowed, permitted: borrowed, inheritable: 0 })?;
    }
    let listener = seccomp::install(&filter.program, filter.flags)
        .step("unable to init seccomp")
        .field("/linux/seccomp")?;
    if borrowed != 0 {
        set_caps(p, CapSets::default())
            .map_err(|e| e.hint("without noNewPrivileges the seccomp profile must allow capset"))?;
    }
    Ok(listener)
}

fn scheduling(c: &Confinement<'_>) -> Result<()> {
    let p = c.process;
    // The cpuset of the new cgroup decides, not the affinity of whoever called us: since Linux 6.2 an explicit
    // affinity survives a change of cpuset. The kernel cuts the mask down to what is allowed.
    let mask = c.affinity.unwrap_or(&[0xff; 128]);
    sched::set_affinity(0, mask).field(&format!("{}/execCPUAffinity/final", p.base))?;
    if let Some(s) = p.scheduler {
        sched::sched_setattr(s).field(&format!("{}/scheduler", p.base))?;
    }
    if let Some((class, level)) = p.io_priority {
        sched::set_io_priority(class, level).field(&format!("{}/ioPriority", p.base))?;
    }
    if let Some(MemoryPolicy { mode, nodes }) = c.memory_policy {
        sched::set_memory_policy(*mode, nodes).field("/linux/memoryPolicy").map_err(|e| match e.errno() {
            Some(errno::EINVAL) => {
                e.hint("want nodes that are there and in the cpuset, and a mode that takes them")
            }
            Some(errno::ENOSYS) => e.hint("this kernel has no NUMA"),
            _ => e,
        })?;
    }
    if let Some(persona) = c.personality {
        sched::set_personality(persona).field("/linux/personality")?;
    }
    Ok(())
}

fn labels(p: &ProcessPlan, proc: &Proc) -> Result<()> {
    if let Some(profile) = &p.apparmor {
        // apparmor/exec exists since Linux 5.8; before, the shared file is AppArmor's.
        let text = format!("exec {profile}");
        let done = match proc.write("thread-self/attr/apparmor/exec", &text) {
            Err(e) if e.is(errno::ENOENT) => proc.write("thread-self/attr/exec", &text),
            r => r,
        };
        done.step_with(|| format!("unable to apply apparmor profile {}", quoted(profile)))
            .field(&format!("{}/apparmorProfile", p.base))?;
    }
    if let Some(label) = &p.selinux {
        proc.write("thread-self/attr/exec", label)
            .step_with(|| format!("unable to set selinux label {}", quoted(label)))
            .field(&format!("{}/selinuxLabel", p.base))?;
    }
    Ok(())
}

/// SELinux: the label of keys that are made from now on; the empty one is the module's own choice (proc_pid_attr(5)).
fn key_label(p: &ProcessPlan, proc: &Proc, label: Option<&str>) -> Result<()> {
    let Some(label) = label else { return Ok(()) };
    proc.write("thread-self/attr/keycreate", label)
        .step_with(|| format!("unable to label keys {}", quoted(label)))
        .field(&format!("{}/selinuxLabel", p.base))
}

/// A session keyring of its own: the host's keys are not the container's (keyrings(7)).
fn keyring(name: &str) -> Result<()> {
    let cname = CString::new(name).map_err(|_| Error::new(Code::Spec, "id with NUL"))?;
    let serial = match cred::join_session_keyring(&cname) {
        // A kernel without keyrings has nothing to protect.
        Err(e) if e.is(errno::ENOSYS) => return Ok(()),
        Err(e) if e.is(errno::EDQUOT) => {
            return Err(e.hint("the key quota of this user is used up: see sysctl kernel.keys.maxkeys"));
        }
        r => r?,
    };
    // Search permission for the owner: programs inside look keys up by name.
    const KEY_USR_SEARCH: u32 = 0x0008_0000;
    cred::add_key_permission(serial, KEY_USR_SEARCH)
}

/// The payload's user must own its own streams, or it could not reopen /dev/stdout. A null device is replaced
/// by the container's own: through a stream, root inside could change the mode of the host's.
fn stdio(p: &ProcessPlan) -> Result<()> {
    for fd in 0..3 {
        let Some(st) = fs::fstat_number(fd) else { continue };
        if st.is_char(1, 3) {
            if let Some(null) = own_null()? {
                process::dup_onto(null, fd)?;
            }
            if cfg!(feature = "weak-null")
                && let Some(now) = process::dup_number(fd)
            {
                fs::chown(&now, Some(p.uid), None)?;
            }
            continue;
        }
        if st.uid == p.uid {
            continue;
        }
        let Some(copy) = process::dup_number(fd) else { continue };
        match fs::chown(&copy, Some(p.uid), None) {
            // Inherited from somewhere that we do not own: the caller's business.
            Err(e) if e.is(errno::EPERM) || e.is(errno::EROFS) || e.is(errno::EINVAL) => {}
            r => r?,
        }
    }
    Ok(())
}

/// The image, or a process of a running container, may have put something else there. `None` when there is none: a
/// container without a mount namespace has the /dev of its image.
fn own_null() -> Result<Option<OwnedFd>> {
    let step = "open the container's /dev/null in place of the caller's";
    let follow = if cfg!(feature = "weak-null") { OFlags::empty() } else { OFlags::NOFOLLOW };
    let null = match fs::open("/dev/null", OFlags::RDWR | follow | OFlags::NOCTTY, 0).step(step) {
        Err(e) if e.is(errno::ENOENT) => return Ok(None),
        r => r?,
    };
    if !fs::fstat(&null)?.is_char(1, 3) && !cfg!(feature = "weak-null") {
        return Err(Error::new(Code::Spec, "/dev/null is not the null device").step(step));
    }
    Ok(Some(null))
}

fn bounding(p: &ProcessPlan) -> Result<()> {
    // Also those that are newer than our list of names: up to the first that this kernel does not have.
    for cap in (0..64).filter(|cap| p.caps.bounding & 1 << cap == 0) {
        match cred::drop_bounding(cap) {
            Err(e) if e.is(errno::EINVAL) => break,
            // Without CAP_SETPCAP only what is there already can stay away.
            Err(e) if e.is(errno::EPERM) && !cred::in_bounding(cap) => {}
            r => r.field(&format!("{}/capabilities/bounding", p.base))?,
        }
    }
    Ok(())
}

fn ids(p: &ProcessPlan, proc: &Proc) -> Result<()> {
    // Only a change from root to another uid takes the permitted set away (capabilities(7)).
    let keep = p.uid != 0;
    if keep {
        cred::keep_caps(true)?;
    }
    let field = format!("{}/user", p.base);
    // Also for the empty list: the caller's groups must not come along (CVE-2022-36109 and others).
    groups(p, proc).map_err(unmapped).field(&format!("{field}/additionalGids"))?;
    cred::set_gid(p.gid).map_err(unmapped).field(&format!("{field}/gid"))?;
    cred::set_uid(p.uid).map_err(unmapped).field(&format!("{field}/uid"))?;
    if keep { cred::keep_caps(false) } else { Ok(()) }
}

/// Where a group map was written without privilege, nobody can change groups (user_namespaces(7)): then those that were
/// there stay, and others cannot be had.
fn groups(p: &ProcessPlan, proc: &Proc) -> Result<()> {
    if p.keep_groups {
        return Ok(());
    }
    let denied = || proc.read("thread-self/setgroups").is_ok_and(|t| t.trim() == "deny");
    match cred::set_groups(&p.groups) {
        Err(e) if e.is(errno::EPERM) && denied() => match p.groups.as_slice() {
            [] => Ok(()),
            _ => Err(e.hint(
                "this user namespace has no right to setgroups(2): newgidmap was not used for its map",
            )),
        },
        r => r,
    }
}

fn unmapped(e: Error) -> Error {
    if e.is(errno::EINVAL) { e.hint("the id is not mapped in this user namespace") } else { e }
}

/// Changes to the working directory and makes sure that it is inside: a directory reached through a leaked
/// descriptor shows up as unreachable (CVE-2024-21626).
fn enter_cwd(p: &ProcessPlan) -> Result<()> {
    let field = format!("{}/cwd", p.base);
    process::chdir(Path::new(&p.cwd))
        .field(&field)
        .step_with(|| format!("chdir to cwd ({})", quoted(&p.cwd)))?;
    let outside = || {
        Error::spec(field.clone(), "current working directory is outside of container mount namespace root")
    };
    match process::getcwd() {
        Ok(path) if path.starts_with("/") => Ok(()),
        Ok(_) => Err(outside()),
        Err(e) if e.is(errno::ENOENT) => Err(outside()),
        Err(e) => Err(e),
    }
}

/// All five sets; those in `permitted` stay within reach as well.
fn capabilities(p: &ProcessPlan, permitted: u64) -> Result<()> {
    set_caps(p, CapSets { permitted, ..CapSets::default() }).map_err(|e| {
        if e.is(errno::EPERM) { e.hint("more was asked for than the runtime itself has") } else { e }
    })?;
    // What is not inheritable cannot be ambient: the kernel has taken it away with that set (capabilities(7)).
    if p.caps.inheritable != 0 {
        cred::clear_ambient()?;
    }
    for cap in (0..64).filter(|n| p.caps.ambient & 1 << n != 0) {
        cred::raise_ambient(cap).field(&format!("{}/capabilities/ambient", p.base))?;
    }
    Ok(())
}

/// The sets as configured, and what is in `more`.
fn set_caps(p: &ProcessPlan, more: CapSets) -> Result<()> {
    let c = &p.caps;
    let sets = CapSets {
        effective: c.effective | more.effective,
        permitted: c.permitted | more.permitted,
        inheritable: c.inheritable | more.inheritable,
    };
    cred::set_caps(sets).field(&format!("{}/capabilities", p.base))
}
