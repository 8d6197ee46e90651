//! The copy of a runtime that the daemon keeps in memory: which runtimes are executed from it, and what happens when the file
//! is replaced.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::{SOON, sup};
use crate::base::PROBE;
use crate::case::Case;
use crate::host::Need;
use crate::trial::wait_for;

pub fn cases() -> Vec<Case> {
    vec![
        sup("copies.which", "what a runtime is executed from").needs([Need::Busybox]).daemon(|d| {
            let bundle = d.t.dir.join("told");
            super::restart::copy_bundle(d, &bundle)?;
            let (config, told) = (bundle.join("config.json"), d.t.dir.join("told-by"));
            let busybox = d.t.yard.busybox.clone().context("busybox")?.display().to_string();
            let mut spec: serde_json::Value = serde_json::from_slice(&fs::read(&config)?)?;
            // The parent of a hook is the runtime.
            let script = format!("{busybox} readlink /proc/$PPID/exe > {}", told.display());
            spec["hooks"] = json!({"createRuntime": [{"path": busybox, "args": ["sh", "-c", script]}]});
            fs::write(&config, spec.to_string())?;
            d.write("a", &format!("bundle = '{}'\n", bundle.display()))?;
            d.apply()?;
            d.ready("a.1")?;
            let said = fs::read_to_string(&told).context("the hook")?;
            let ours = said.trim() == "/memfd:knarr-kept (deleted)";
            ensure!(ours == (d.t.runtime.name == "knarr"), "it was executed from {said:?}");
            Ok(())
        }),
        sup("copies.replaced", "a runtime that is replaced is the new one").daemon(|d| {
            let (program, calls) = (d.t.dir.join("runtime"), d.t.dir.join("calls"));
            let real = d.t.runtime.path.clone();
            // An own file: a link could be replaced by nobody who watches the file.
            put(&program, |new| fs::copy(&real, new).map(drop))?;
            let probe = format!("[probes.liveness]\nexec = ['{PROBE}', 'true']\nperiod = '100ms'\n");
            d.service("a", &["trap", "TERM"], &format!("runtime = '{}'\n{probe}{SOON}", program.display()))?;
            d.ready("a.1")?;
            let script =
                format!("#!/bin/sh\necho \"$*\" >> {}\nexec {} \"$@\"\n", calls.display(), real.display());
            put(&program, |new| fs::write(new, &script))?;
            let called = |verb: &str| {
                let text = fs::read_to_string(&calls).unwrap_or_default();
                text.lines().filter(|l| l.split(' ').any(|w| w == verb)).count()
            };
            wait_for(d.t.seconds(), || Ok((called("exec") > 0).then_some(())))
                .context("a probe by the new one")?;
            d.post("/v1/services/a/restart?wait=true")?;
            ensure!(called("create") == 1, "created by the old one");
            put(&program, |new| fs::copy(&real, new).map(drop))?;
            d.post("/v1/services/a/restart?wait=true")?;
            d.ready("a.1")?;
            ensure!(called("create") == 1, "created by the one before");
            Ok(())
        }),
    ]
}

/// Puts a program in the place of another, as a package does: a new file, then rename(2).
fn put(program: &Path, write: impl Fn(&PathBuf) -> std::io::Result<()>) -> Result<()> {
    let new = program.with_extension("new");
    write(&new)?;
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755))?;
    fs::rename(&new, program).context("rename")
}
