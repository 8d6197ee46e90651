//! Confinement by a security module: AppArmor profiles of the process and of `exec`, with a profile that the case loads.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::base::PROBE;
use crate::case::{Case, case};
use crate::host::{Need, find_program};
use crate::trial::Trial;

const NEEDS: [Need; 2] = [Need::Apparmor, Need::Program("apparmor_parser")];
const SPEC: &str = "config.md#linux-process apparmorProfile";

/// All of this subject.
pub fn cases() -> Vec<Case> {
    let attempt =
        ["all", "cat", "/proc/self/attr/apparmor/current", "--", "syscall", "mkdir", "str:/data/x", "493"];
    vec![
        case("lsm.apparmor-process").checks(SPEC).needs(NEEDS).steps(move |t| {
            let profile = Profile::load(t)?;
            let args: Vec<&str> = [PROBE].into_iter().chain(attempt).collect();
            t.spec["process"]["args"] = json!(args);
            // The control: without it the directory can be made.
            let out = t.run()?.ok()?.stdout;
            ensure!(
                out.starts_with("unconfined") && t.rootfs().join("data/x").exists(),
                "the control: {out}"
            );
            fs::remove_dir(t.rootfs().join("data/x"))?;
            t.spec["process"]["apparmorProfile"] = profile.name.clone().into();
            let out = t.run()?.ok()?.stdout;
            confined(&out, &profile.name)?;
            profile.unload(t)
        }),
        case("lsm.apparmor-exec").checks("cli: exec --apparmor").needs(NEEDS).steps(move |t| {
            let profile = Profile::load(t)?;
            t.resident()?;
            t.exec_flags = vec![format!("--apparmor={}", profile.name)];
            confined(&t.exec_probe(&attempt)?.ok()?.stdout, &profile.name)?;
            t.remove()?;
            profile.unload(t)
        }),
        case("lsm.apparmor-exec-as-init").checks("catalogue: exec is as init").needs(NEEDS).steps(move |t| {
            let profile = Profile::load(t)?;
            t.spec["process"]["apparmorProfile"] = profile.name.clone().into();
            t.resident()?;
            confined(&t.exec_probe(&attempt)?.ok()?.stdout, &profile.name)?;
            t.remove()?;
            profile.unload(t)
        }),
        case("lsm.apparmor-no-such-profile")
            .checks(SPEC)
            .needs([Need::Apparmor])
            .wrong(|s| s["process"]["apparmorProfile"] = "kn-never-loaded".into())
            .refused("/process/apparmorProfile", "apparmor profile"),
    ]
}

fn confined(out: &str, profile: &str) -> Result<()> {
    ensure!(out.starts_with(&format!("{profile} (enforce)")), "it runs as {out}");
    ensure!(out.trim_end().ends_with("EACCES"), "the profile's rule does not hold: {out}");
    Ok(())
}

/// A profile in the kernel that allows everything but to write below /data.
struct Profile {
    name: String,
    file: String,
}

impl Profile {
    fn load(t: &mut Trial<'_>) -> Result<Profile> {
        let name = format!("{}-profile", t.id);
        let file = t.dir.join("profile");
        let rules = "capability, network, signal, ptrace, file, deny /data/** w,";
        fs::write(&file, format!("profile {name} flags=(attach_disconnected) {{ {rules} }}\n"))?;
        let profile = Profile { name, file: file.display().to_string() };
        profile.parser(t, "--replace")?;
        Ok(profile)
    }

    fn unload(&self, t: &mut Trial<'_>) -> Result<()> {
        self.parser(t, "--remove")
    }

    fn parser(&self, t: &mut Trial<'_>, what: &str) -> Result<()> {
        let parser = find_program("apparmor_parser").context("no apparmor_parser")?;
        let words = [what, "--skip-cache", "--skip-read-cache", &self.file].map(String::from);
        t.command(&parser, &words).run()?.ok()?;
        Ok(())
    }
}
