//! Confinement by SELinux, with the policy that `ci/lane-guest` loads into a kernel of its own (`ci/guest/selinux.cil`): labels of
//! processes, of what `exec` adds, of new file systems and of keys. Its rule is that a confined program may make no directory
//! where the label says `knarr_sealed_t`.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use rustix::fs::lgetxattr;
use serde_json::json;

use crate::base::{PROBE, add_mount};
use crate::case::{Case, case};
use crate::host::Need;
use crate::trial::Trial;

const PROCESS: &str = "system_u:system_r:knarr_container_t:s0:c1,c2";
const OTHER: &str = "system_u:system_r:knarr_container_t:s0:c3";
const SEALED: &str = "system_u:object_r:knarr_sealed_t:s0:c1,c2";
const SPEC: &str = "config.md#linux-process selinuxLabel";
const MOUNTS: &str = "config-linux.md#mount-label";
/// Says who it is, and tries what the policy forbids.
const ATTEMPT: [&str; 8] =
    ["all", "cat", "/proc/self/attr/current", "--", "syscall", "mkdir", "str:/sealed/x", "493"];

/// Whether SELinux is on, with a policy that knows the labels of these cases.
pub fn here() -> bool {
    std::fs::read_to_string("/sys/fs/selinux/enforce").is_ok_and(|s| s.trim() == "1")
        && std::fs::write("/sys/fs/selinux/context", PROCESS).is_ok()
}

/// All of this subject.
pub fn cases() -> Vec<Case> {
    let mut all = processes();
    all.extend(file_systems());
    all
}

fn processes() -> Vec<Case> {
    vec![
        case("lsm.selinux-process").checks(SPEC).needs([Need::Selinux]).steps(|t| {
            sealed(t);
            let args: Vec<&str> = [PROBE].into_iter().chain(ATTEMPT).collect();
            t.spec["process"]["args"] = json!(args);
            // The control: without a label the directory can be made.
            let out = t.run()?.ok()?.stdout;
            ensure!(out.contains(":kernel_t:") && !out.contains("EACCES"), "the control: {out}");
            t.spec["process"]["selinuxLabel"] = PROCESS.into();
            confined(&t.run()?.ok()?.stdout, PROCESS)
        }),
        case("lsm.selinux-exec").checks("cli: exec --process-label").needs([Need::Selinux]).steps(|t| {
            sealed(t);
            t.resident()?;
            t.exec_flags = vec![format!("--process-label={PROCESS}")];
            confined(&t.exec_probe(&ATTEMPT)?.ok()?.stdout, PROCESS)
        }),
        case("lsm.selinux-exec-as-init").checks("catalogue: exec is as init").needs([Need::Selinux]).steps(
            |t| {
                sealed(t);
                t.spec["process"]["selinuxLabel"] = PROCESS.into();
                t.resident()?;
                confined(&t.exec_probe(&ATTEMPT)?.ok()?.stdout, PROCESS)?;
                // Unless it is told otherwise.
                t.exec_flags = vec![format!("--process-label={OTHER}")];
                confined(&t.exec_probe(&ATTEMPT)?.ok()?.stdout, OTHER)
            },
        ),
        case("lsm.selinux-keyring")
            .checks("catalogue: the keyring has the process's label")
            .needs([Need::Selinux])
            .steps(|t| {
                t.spec["process"]["args"] = json!([PROBE, "keyring-label"]);
                let plain = t.run()?.ok()?.stdout;
                ensure!(plain.contains(":kernel_t:"), "the control: {plain}");
                t.spec["process"]["selinuxLabel"] = PROCESS.into();
                t.run()?.ok()?.prints(&format!("{PROCESS}\n"))?;
                Ok(())
            }),
        case("lsm.selinux-no-such-label")
            .checks(SPEC)
            .needs([Need::Selinux])
            .wrong(|s| s["process"]["selinuxLabel"] = "system_u:system_r:no_such_t:s0".into())
            .refused("/process/selinuxLabel", "selinux label"),
    ]
}

fn file_systems() -> Vec<Case> {
    vec![
        case("lsm.selinux-mount-label").checks(MOUNTS).needs([Need::Selinux]).steps(|t| {
            let places = ["/data", "/dev", "/dev/shm", "/dev/pts", "/dev/mqueue"];
            add_mount(&mut t.spec, "/data", "tmpfs", "tmpfs", &[]);
            // The control: the label is not there by itself.
            let pid = t.resident()?;
            for place in places {
                ensure!(label(pid, place)? != SEALED, "the control: {place}");
            }
            t.remove()?;
            t.spec["linux"]["mountLabel"] = SEALED.into();
            let pid = t.resident()?;
            for place in places {
                ensure!(label(pid, place)? == SEALED, "{place} has {}", label(pid, place)?);
            }
            // What the kernel shows of itself keeps its own.
            for place in ["/proc", "/sys"] {
                ensure!(label(pid, place)? != SEALED, "{place} is labelled");
            }
            Ok(())
        }),
        case("lsm.selinux-mount-label-holds").checks(MOUNTS).needs([Need::Selinux]).steps(|t| {
            t.spec["process"]["selinuxLabel"] = PROCESS.into();
            add_mount(&mut t.spec, "/sealed", "tmpfs", "tmpfs", &[]);
            let args: Vec<&str> = [PROBE].into_iter().chain(ATTEMPT).collect();
            t.spec["process"]["args"] = json!(args);
            let out = t.run()?.ok()?.stdout;
            ensure!(!out.contains("EACCES"), "the control: {out}");
            t.spec["linux"]["mountLabel"] = SEALED.into();
            confined(&t.run()?.ok()?.stdout, PROCESS)
        }),
        case("lsm.selinux-no-such-mount-label")
            .checks(MOUNTS)
            .needs([Need::Selinux])
            .spec(|s| add_mount(s, "/data", "tmpfs", "tmpfs", &[]))
            .wrong(|s| s["linux"]["mountLabel"] = "system_u:object_r:no_such_t:s0".into())
            .refused("/mounts", "context"),
    ]
}

/// A file system with the label below which the policy lets nobody confined make anything.
fn sealed(t: &mut Trial<'_>) {
    add_mount(&mut t.spec, "/sealed", "tmpfs", "tmpfs", &[&format!("context=\"{SEALED}\"")]);
}

fn confined(out: &str, label: &str) -> Result<()> {
    let said = out.trim_end_matches(['\0', '\n']).split(['\0', '\n']).next().unwrap_or("").trim();
    ensure!(said == label, "it runs as {said:?}");
    ensure!(out.trim_end().ends_with("EACCES"), "the policy's rule does not hold: {out}");
    Ok(())
}

/// The label of a place, as the process sees it.
fn label(pid: i32, place: &str) -> Result<String> {
    let mut text = [0u8; 256];
    let path = format!("/proc/{pid}/root{place}");
    let length = lgetxattr(Path::new(&path), "security.selinux", &mut text[..]).context(path)?;
    Ok(String::from_utf8_lossy(&text[..length]).trim_end_matches('\0').to_string())
}
