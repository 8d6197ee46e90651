//! The runtime: knarr looks at the kernel, the cgroups and itself; of another one only its version is known.
#![forbid(unsafe_code)]

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;

use super::Finding;

/// How long a program may take to answer.
const DEADLINE: Duration = Duration::from_secs(30);

#[derive(Deserialize)]
struct Report {
    findings: Vec<Finding>,
}

pub(super) async fn look(runtime: Option<&Path>) -> Vec<Finding> {
    let install = "install knarr, or name another one with knarrd --runtime";
    let Some(runtime) = runtime else {
        return vec![Finding::error(
            "runtime",
            "there is no runtime: no program knarr beside knarrd or in PATH",
            install,
        )];
    };
    let version = match told(runtime, &["--version"]).await {
        Ok((0, text)) => text.lines().next().unwrap_or_default().to_owned(),
        Ok((code, _)) => {
            return vec![Finding::error(
                "runtime",
                format!("{} --version exits with {code}", runtime.display()),
                install,
            )];
        }
        Err(e) => return vec![Finding::error("runtime", e, install)],
    };
    if !version.starts_with("knarr version ") {
        let what = format!(
            "{} is {version}: kernel features, controllers, delegation and security modules are not looked at, \
             which `knarr doctor` does",
            runtime.display()
        );
        return vec![Finding::note("runtime.other", what)];
    }
    let asked = told(runtime, &["doctor", "--json"]).await;
    let report = asked.and_then(|(code, text)| {
        serde_json::from_str::<Report>(&text)
            .map_err(|e| format!("{} doctor exits with {code}: {e}", runtime.display()))
    });
    match report {
        Ok(report) => report.findings,
        Err(e) => vec![Finding::warning("runtime", e, "install a runtime of the version of knarrctl")],
    }
}

/// Exit code and standard output of a program.
pub(super) async fn told(program: &Path, args: &[&str]) -> Result<(i32, String), String> {
    let mut command = tokio::process::Command::new(program);
    command.args(args).stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let named = |e: String| format!("{} {}: {e}", program.display(), args.first().unwrap_or(&""));
    let ended = tokio::time::timeout(DEADLINE, command.output()).await;
    let out = ended.map_err(|_| named(format!("no answer in {} s", DEADLINE.as_secs())))?;
    let out = out.map_err(|e| named(e.to_string()))?;
    Ok((out.status.code().unwrap_or(-1), String::from_utf8_lossy(&out.stdout).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::Severity;

    fn asked(script: &str) -> Vec<Finding> {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("runtime");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let rt = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        loop {
            let found = rt.block_on(look(Some(&path)));
            // Another test may just be between fork and exec, with the script still open for writing.
            if !found.iter().any(|f| f.what.contains("Text file busy")) {
                return found;
            }
        }
    }

    #[test]
    fn each_kind_of_runtime() {
        let other = asked("echo runc version 1.1.5");
        assert!(other.len() == 1 && other[0].severity == Severity::Note, "{other:?}");
        let finding =
            r#"{"version":"1","findings":[{"severity":"warning","check":"a.b","what":"w","fix":"f"}]}"#;
        let script = |says: &str| {
            format!("case $1 in doctor) echo '{says}'; exit 1 ;; *) echo knarr version 1 ;; esac")
        };
        assert_eq!(asked(&script(finding)), [Finding::warning("a.b", "w", "f")]);
        assert_eq!(asked(&script("no help topic"))[0].severity, Severity::Warning, "one that is too old");
        assert_eq!(asked("exit 3")[0].severity, Severity::Error);
    }
}
