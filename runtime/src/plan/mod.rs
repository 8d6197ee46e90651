//! Spec + Host + Request -> Plan. Pure: no system call, no file, no clock. Printable as JSON.
#![forbid(unsafe_code)]

pub mod devices;
pub mod idmap;
pub mod launch;
pub mod mounts;
pub mod process;
pub mod seccomp;
mod syscalls;

use crate::cgroup;
use crate::error::{Code, Error, Result, quoted};
use crate::fds::Kept;
use crate::hooks::State;
use crate::host::{Host, Lsm};
use crate::resctrl;
use crate::spec::{self, Spec, annotations};
use crate::sys::mount::propagation;
use crate::sys::process::ns_flags;
use launch::Launch;
use mounts::{MountKind, MountOp};
use process::ProcessPlan;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What the command line adds to config.json.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    pub id: &'a str,
    /// Absolute.
    pub bundle: &'a Path,
    pub no_pivot: bool,
    pub no_new_keyring: bool,
    pub fds: Kept,
}

/// Everything that will be done, as data. `create` and `init` walk it once.
#[derive(Debug, Serialize)]
pub struct Plan {
    pub id: String,
    pub bundle: PathBuf,
    pub oci_version: String,
    pub annotations: BTreeMap<String, String>,
    pub launch: Launch,
    /// The cgroup namespace is made by init itself, after it has entered its v1 groups.
    pub late_cgroup_ns: bool,
    pub root: RootPlan,
    pub mounts: Vec<MountOp>,
    pub devices: Vec<devices::DeviceNode>,
    /// Network interfaces that the container gets.
    pub interfaces: Vec<Interface>,
    pub masked_paths: Vec<String>,
    pub readonly_paths: Vec<String>,
    pub hostname: Option<String>,
    pub domainname: Option<String>,
    /// Name as configured, path below /proc, value.
    pub sysctls: Vec<(String, String, String)>,
    pub process: ProcessPlan,
    pub personality: Option<u64>,
    pub memory_policy: Option<process::MemoryPolicy>,
    pub cgroup: cgroup::Plan,
    pub resctrl: Option<resctrl::Plan>,
    /// Who gets the cgroup, as the host sees the uid.
    pub cgroup_owner: Option<u32>,
    /// A group below the container's, in which its process starts.
    pub cgroup_below: Option<Below>,
    pub seccomp: Option<seccomp::Filter>,
    #[serde(skip)]
    pub hooks: spec::Hooks,
    pub no_pivot: bool,
    pub no_new_keyring: bool,
    pub fds: Kept,
    pub warnings: Vec<String>,
}

/// A network interface of ours that becomes the container's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Interface {
    /// Its name here.
    pub host: String,
    /// Its name there; one `%d` stands for a number.
    pub name: String,
    /// JSON pointer of the entry.
    pub field: String,
}

/// See [`spec::annotations::delegate`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Below {
    pub name: String,
    /// The container's root, as the host sees its uid.
    pub owner: Option<u32>,
}

/// The root file system.
#[derive(Debug, Clone, Serialize)]
pub struct RootPlan {
    /// Absolute host path.
    pub path: PathBuf,
    pub readonly: bool,
    /// Propagation type and whether recursive.
    pub propagation: Option<(u64, bool)>,
    /// Mounts made inside may travel to the host: bind sources stay in their peer groups.
    pub shared: bool,
}

impl Plan {
    /// runtime.md, "State", as hooks read it.
    pub fn hook_state<'a>(&'a self, status: &'a str, pid: i32) -> State<'a> {
        State {
            oci_version: &self.oci_version,
            id: &self.id,
            status,
            pid,
            bundle: &self.bundle,
            annotations: &self.annotations,
        }
    }
}

/// Plans a checked config for this host.
///
/// # Errors
/// The first thing that this host cannot give, with the field that asked for it.
pub fn plan(spec: &Spec, host: &Host, req: Request<'_>) -> Result<Plan> {
    let linux = spec.linux();
    let process =
        spec.process.as_ref().ok_or_else(|| Error::spec("/process", "process property must not be empty"))?;
    let root = spec.root.as_ref().ok_or_else(|| Error::spec("/root", "required"))?;
    let mut launch = launch::plan(&linux)?;
    let process = process::plan(process, "/process")?;
    lsm_present(&process, host.lsm)?;
    let mount_label = mount_label(spec, host.lsm)?;
    if launch.new & ns_flags::USER != 0 {
        process::ids_mapped(&process, &launch.uid_maps, &launch.gid_maps)?;
        mounts::ids_mapped(&spec.mounts, &launch)?;
    }
    let mut resources = linux.resources.clone().unwrap_or_default();
    pids_of_old_configs(&mut resources, spec.oci_version.as_deref().unwrap_or_default());
    let place = (linux.cgroups_path.as_str(), req.id);
    let cgroup = match &host.systemd {
        _ if host.without_cgroup => cgroup::plan_without(&host.cgroups, &resources)?,
        Some(m) => cgroup::plan_unit(&host.cgroups, m, place, &resources, &spec.annotations)?,
        None => cgroup::plan(&host.cgroups, place.0, place.1, &resources)?,
    };
    let cgroup_owner = cgroup_owner(spec, host, &launch, process.uid);
    let late_cgroup_ns = launch.new & ns_flags::CGROUP != 0 && !host.cgroups.v1.is_empty();
    if late_cgroup_ns {
        launch.new &= !ns_flags::CGROUP;
    }
    let cgroup_below = cgroup_below(spec, host, &launch)?;
    let filter = linux.seccomp.as_ref().map(|s| seccomp::compile(s, seccomp::Arch::NATIVE)).transpose()?;
    let mut warnings = filter.as_ref().map(|f| f.warnings.clone()).unwrap_or_default();
    warnings.extend(cgroup.warnings.iter().cloned());
    let propagation = root_propagation(&linux.rootfs_propagation)?;
    if req.no_pivot && matches!(propagation, Some((propagation::PRIVATE, _))) {
        // runc's rule and text.
        let text = "rootfsPropagation of [r]private is not safe without pivot_root";
        return Err(Error::spec("/linux/rootfsPropagation", text).hint("leave --no-pivot out"));
    }
    Ok(Plan {
        id: req.id.to_string(),
        bundle: req.bundle.to_path_buf(),
        oci_version: spec.oci_version.clone().unwrap_or_default(),
        annotations: spec.annotations.clone(),
        late_cgroup_ns,
        root: RootPlan {
            path: req.bundle.join(&root.path),
            readonly: root.readonly,
            propagation,
            shared: matches!(propagation, Some((propagation::SHARED, _))),
        },
        mounts: labelled(
            mounts::plan(
                &spec.mounts,
                req.bundle,
                idmap::Context { launch: &launch, rootless: host.euid != 0 },
            )?,
            &mount_label,
        ),
        devices: devices::plan(&linux.devices)?,
        interfaces: interfaces(&linux.net_devices, host.euid != 0)?,
        masked_paths: linux.masked_paths.clone(),
        readonly_paths: linux.readonly_paths.clone(),
        hostname: Some(spec.hostname.clone()).filter(|s| !s.is_empty()),
        domainname: Some(spec.domainname.clone()).filter(|s| !s.is_empty()),
        sysctls: sysctls(&linux.sysctl)?,
        process,
        personality: linux.personality.as_ref().map(process::personality).transpose()?,
        memory_policy: process::memory_policy(&linux.memory_policy.clone().unwrap_or_default())?,
        launch,
        cgroup,
        resctrl: linux.intel_rdt.as_ref().map(|r| resctrl::plan(r, req.id)),
        cgroup_owner,
        cgroup_below,
        seccomp: filter,
        hooks: spec.hooks.clone().unwrap_or_default(),
        no_pivot: req.no_pivot,
        no_new_keyring: req.no_new_keyring,
        fds: req.fds,
        warnings,
    })
}

/// Whether a configuration asks for a label of a security module.
pub fn names_labels(spec: &Spec) -> bool {
    let of_process = |p: &crate::spec::Process| !p.apparmor_profile.is_empty() || !p.selinux_label.is_empty();
    spec.process.as_ref().is_some_and(of_process) || !spec.linux().mount_label.is_empty()
}

/// Confinement that was asked for and cannot be given is an error, never a warning.
pub fn lsm_present(p: &ProcessPlan, lsm: Lsm) -> Result<()> {
    if let Some(profile) = p.apparmor.as_ref().filter(|p| !lsm.apparmor && *p != "unconfined") {
        let text = format!("AppArmor is not enabled on this host, got {}", quoted(profile));
        return Err(Error::spec(format!("{}/apparmorProfile", p.base), text).code(Code::Unsupported));
    }
    if let Some(label) = p.selinux.as_ref().filter(|_| !lsm.selinux) {
        let text = format!("SELinux is not enabled on this host, got {}", quoted(label));
        return Err(Error::spec(format!("{}/selinuxLabel", p.base), text).code(Code::Unsupported));
    }
    Ok(())
}

/// The mount option and the SELinux label for new file systems. The option is `context`, or what crun's annotation says.
fn mount_label(spec: &Spec, lsm: Lsm) -> Result<Option<(String, String)>> {
    const ANNOTATION: &str = "run.oci.mount_context_type";
    let label = spec.linux().mount_label.clone();
    if label.is_empty() {
        return Ok(None);
    }
    if !lsm.selinux {
        let text = format!("SELinux is not enabled on this host, got {}", quoted(&label));
        return Err(Error::spec("/linux/mountLabel", text).code(Code::Unsupported));
    }
    let kind = spec.annotations.get(ANNOTATION).map_or(mounts::LABELS[0], String::as_str);
    if !mounts::LABELS.contains(&kind) {
        let text = format!("got {}, want one of {}", quoted(kind), mounts::LABELS.join(", "));
        return Err(Error::spec(format!("/annotations/{ANNOTATION}"), text));
    }
    Ok(Some((kind.to_string(), label)))
}

/// What runc labels: every new file system but procfs and sysfs, whose files have labels of their own. That of message
/// queues takes the label after it is mounted.
fn labelled(mut ops: Vec<MountOp>, label: &Option<(String, String)>) -> Vec<MountOp> {
    let Some((kind, label)) = label else { return ops };
    for op in &mut ops {
        let MountKind::Fs { fs, options, .. } = &mut op.kind else { continue };
        match fs.as_str() {
            "proc" | "sysfs" => {}
            "mqueue" => op.label = Some(label.clone()),
            _ if options.iter().any(|(name, _)| name == kind) => {}
            _ => options.push((kind.clone(), Some(label.clone()))),
        }
    }
    ops
}

/// config-linux.md, "Cgroup ownership": the container's user gets a v2 group that it sees as the root of its own tree and
/// can write to. Nothing is to be done when that user is
/// ours, who has it anyway.
fn cgroup_owner(spec: &Spec, host: &Host, launch: &Launch, uid: u32) -> Option<u32> {
    let writable = |m: &spec::Mount| {
        let last = m.options.iter().rev().find(|o| matches!(o.as_str(), "ro" | "rw" | "rro" | "rrw"));
        matches!(m.kind.as_str(), "cgroup" | "cgroup2") && last.is_none_or(|o| o.ends_with("rw"))
    };
    let own_tree = launch.makes(ns_flags::CGROUP) && host.cgroups.v1.is_empty() && host.cgroups.v2.is_some();
    if !own_tree || !spec.mounts.iter().any(writable) {
        return None;
    }
    let on_host = match () {
        () if launch.makes(ns_flags::USER) => launch::on_host(&launch.uid_maps, uid)?,
        // Its maps are somebody else's.
        () if launch.user.is_some() => return None,
        () => uid,
    };
    Some(on_host).filter(|uid| *uid != host.euid)
}

fn interfaces(asked: &BTreeMap<String, spec::NetDevice>, rootless: bool) -> Result<Vec<Interface>> {
    let one = |(host, spec::NetDevice { name }): (&String, &spec::NetDevice)| {
        // A name may not have a slash, but runtime-spec does not forbid `~` (RFC 6901).
        let field = format!("/linux/netDevices/{}", host.replace('~', "~0"));
        if rootless {
            let text = "network devices are not supported for rootless containers";
            return Err(Error::spec(field, text).code(Code::Unsupported));
        }
        let name = if name.is_empty() { host } else { name };
        Ok(Interface { host: host.clone(), name: name.clone(), field })
    };
    asked.iter().map(one).collect()
}

fn cgroup_below(spec: &Spec, host: &Host, launch: &Launch) -> Result<Option<Below>> {
    let Some(name) = annotations::delegate(&spec.annotations) else { return Ok(None) };
    if !host.cgroups.v1.is_empty() || host.cgroups.v2.is_none() {
        let text = "needs a host with cgroup2 alone";
        return Err(Error::spec("/annotations/run.oci.delegate-cgroup", text).code(Code::Unsupported));
    }
    let owner = if launch.makes(ns_flags::USER) { launch::on_host(&launch.uid_maps, 0) } else { None };
    Ok(Some(Below { name: name.to_string(), owner: owner.filter(|uid| *uid != host.euid) }))
}

fn root_propagation(name: &str) -> Result<Option<(u64, bool)>> {
    let (kind, recursive) = match name.strip_prefix('r') {
        Some(rest) => (rest, true),
        None => (name, false),
    };
    match kind {
        "" => Ok(None),
        "shared" => Ok(Some((propagation::SHARED, recursive))),
        "slave" => Ok(Some((propagation::SLAVE, recursive))),
        "private" => Ok(Some((propagation::PRIVATE, recursive))),
        "unbindable" => Ok(Some((propagation::UNBINDABLE, recursive))),
        _ => Err(Error::spec("/linux/rootfsPropagation", format!("unknown value, got {}", quoted(name)))),
    }
}

fn sysctls(asked: &BTreeMap<String, String>) -> Result<Vec<(String, String, String)>> {
    let one = |(name, value): (&String, &String)| {
        let path = spec::check::sysctl_path(name)
            .ok_or_else(|| Error::spec("/linux/sysctl", format!("not a name: got {}", quoted(name))))?;
        Ok((name.clone(), format!("sys/{path}"), value.clone()))
    };
    asked.iter().map(one).collect()
}

/// A pids limit of 0 means no limit before version 1.3 of config-linux.md, and engines of that time write it for
/// `--pids-limit -1`; since 1.3 it means that no further process may be made.
pub(crate) fn pids_of_old_configs(resources: &mut spec::Resources, version: &str) {
    let minor = version.split('.').nth(1).and_then(|n| n.parse::<u32>().ok());
    if minor.is_some_and(|n| n < 3)
        && let Some(pids) = resources.pids.as_mut().filter(|p| p.limit == Some(0))
    {
        pids.limit = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_pids_are_no_limit_before_version_1_3() {
        let limit = |version: &str, limit: i64| {
            let mut r =
                spec::Resources { pids: Some(spec::Pids { limit: Some(limit) }), ..Default::default() };
            pids_of_old_configs(&mut r, version);
            r.pids.and_then(|p| p.limit)
        };
        assert_eq!(limit("1.0.2-dev", 0), None);
        assert_eq!(limit("1.2.1", 0), None);
        assert_eq!(limit("1.3.0", 0), Some(0));
        assert_eq!(limit("1.0.2", 7), Some(7));
        assert_eq!(limit("1.0.2", -1), Some(-1));
    }

    #[test]
    fn new_file_systems_are_labelled() {
        let fs = |name: &str| {
            let kind =
                MountKind::Fs { fs: name.into(), source: String::new(), options: Vec::new(), copy_up: false };
            MountOp {
                field: String::new(),
                dest: String::new(),
                kind,
                set: 0,
                clear: 0,
                rec_set: 0,
                rec_clear: 0,
                propagation: Vec::new(),
                label: None,
            }
        };
        let ops =
            labelled(vec![fs("tmpfs"), fs("proc"), fs("mqueue")], &Some(("context".into(), "a:b:c".into())));
        let options = |op: &MountOp| match &op.kind {
            MountKind::Fs { options, .. } => options.clone(),
            _ => Vec::new(),
        };
        assert_eq!(options(&ops[0]), [("context".to_string(), Some("a:b:c".to_string()))]);
        assert!(options(&ops[1]).is_empty() && ops[1].label.is_none());
        assert!(options(&ops[2]).is_empty() && ops[2].label.as_deref() == Some("a:b:c"));
    }

    #[test]
    fn a_mount_label_needs_selinux() {
        let linux = spec::Linux { mount_label: "a:b:c:s0".into(), ..Default::default() };
        let mut spec = Spec { linux: Some(linux), ..Default::default() };
        let lsm = |selinux| Lsm { apparmor: false, selinux };
        let e = mount_label(&spec, lsm(false)).unwrap_err();
        assert_eq!(e.field_path(), Some("/linux/mountLabel"), "{e}");
        assert_eq!(mount_label(&spec, lsm(true)).unwrap(), Some(("context".into(), "a:b:c:s0".into())));
        spec.annotations.insert("run.oci.mount_context_type".into(), "rootcontext".into());
        assert_eq!(mount_label(&spec, lsm(true)).unwrap().unwrap().0, "rootcontext");
        spec.annotations.insert("run.oci.mount_context_type".into(), "x".into());
        assert!(mount_label(&spec, lsm(true)).is_err());
        assert_eq!(mount_label(&Spec::default(), lsm(false)).unwrap(), None);
    }

    #[test]
    fn propagation_names() {
        assert_eq!(root_propagation("rslave").unwrap(), Some((propagation::SLAVE, true)));
        assert_eq!(root_propagation("").unwrap(), None);
        assert!(root_propagation("sharded").is_err());
    }
}
