//! The daemon: whether it answers, which one it is, and what its process was given.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use clap::ArgMatches;

use super::Finding;
use crate::api::model::VersionInfo;
use crate::cli::Ctx;
use crate::dirs::Dirs;

/// Descriptors that a host with many services needs; the unit has more.
const FILES_LEAST: u64 = 4096;
/// A daemon with a greater score can be killed for memory before its containers.
const OOM_MOST: i32 = -900;

/// What is known of the daemon that answers, or would be started.
pub(super) struct Seen {
    /// `None` = no daemon answers.
    pub(super) pid: Option<u32>,
    /// Its command line; that of a daemon without options when it cannot be seen.
    pub(super) line: Option<ArgMatches>,
    pub(super) dirs: Dirs,
    pub(super) sockets: [PathBuf; 2],
    /// knarrd, the keeper: those that can be found.
    pub(super) programs: Vec<PathBuf>,
    pub(super) runtime: Option<PathBuf>,
}

impl Seen {
    /// An option with a number.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.line.as_ref()?.get_one::<u64>(name).copied()
    }
}

/// Asks it, and looks at its process.
pub(super) async fn look(ctx: &Ctx) -> (Seen, Vec<Finding>) {
    let mut findings = Vec::new();
    let version = match ctx.client.get::<VersionInfo>("/v1/version").await {
        Ok(version) => Some(version),
        Err(failure) => {
            let fix =
                failure.hint.unwrap_or_else(|| "systemctl status knarrd; journalctl --unit knarrd".into());
            findings.push(Finding::error("daemon.reachable", failure.text, fix));
            None
        }
    };
    if let Some(v) = &version {
        findings.extend(versions(&v.version, env!("CARGO_PKG_VERSION")));
        findings.extend(process(Path::new("/proc").join(v.pid.to_string()).as_path()));
    }
    (seen(version.as_ref()), findings)
}

fn seen(version: Option<&VersionInfo>) -> Seen {
    let proc = version.map(|v| Path::new("/proc").join(v.pid.to_string()));
    let words = proc.as_ref().and_then(|p| fs::read(p.join("cmdline")).ok()).unwrap_or_default();
    let words = words.split(|b| *b == 0).filter(|w| !w.is_empty()).map(|w| OsString::from_vec(w.to_vec()));
    let line = crate::daemon::command().try_get_matches_from(words.collect::<Vec<_>>()).ok();
    let usual = Dirs::default();
    let path = |name: &str| line.as_ref().and_then(|l| l.get_one::<PathBuf>(name).cloned());
    let dirs = Dirs {
        services: path("services").unwrap_or(usual.services),
        state: path("state").unwrap_or(usual.state),
        run: path("run").unwrap_or(usual.run),
    };
    // The link of a program that was replaced does not lead anywhere: then by its name.
    let program = proc.and_then(|p| fs::read_link(p.join("exe")).ok()).filter(|p| p.exists());
    let program = program.or_else(|| in_path(Path::new("knarrd")));
    let beside = |name: &str| program.as_ref().map(|p| p.with_file_name(name)).filter(|p| p.exists());
    let keeper =
        path("keeper").or_else(|| beside("knarr-keeper")).or_else(|| in_path(Path::new("knarr-keeper")));
    let runtime =
        version.map(|v| PathBuf::from(&v.runtime)).or_else(|| path("runtime")).and_then(|p| in_path(&p));
    let runtime = runtime.or_else(|| beside("knarr")).or_else(|| in_path(Path::new("knarr")));
    let sockets = [dirs.socket(), dirs.socket_read_only()];
    let programs = program.into_iter().chain(keeper).collect();
    Seen { pid: version.map(|v| v.pid), line, dirs, sockets, programs, runtime }
}

/// A path as it is; a name as the shell would find it.
fn in_path(name: &Path) -> Option<PathBuf> {
    if name.components().count() > 1 {
        return Some(name.to_owned());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|p| p.is_file())
}

fn versions(daemon: &str, own: &str) -> Option<Finding> {
    (daemon != own).then(|| {
        let what = format!("the daemon is version {daemon}, knarrctl {own}");
        Finding::warning(
            "daemon.version",
            what,
            "systemctl restart knarrd (containers go on), or install both of one version",
        )
    })
}

/// What the kernel says about its process. What may not be read is not known, and no finding.
fn process(dir: &Path) -> Vec<Finding> {
    let mut out = Vec::new();
    if fs::read_link(dir.join("exe")).is_ok_and(|p| p.to_string_lossy().ends_with(" (deleted)")) {
        let what = "its program was replaced or removed after it was started";
        out.push(Finding::warning("daemon.program", what, "systemctl restart knarrd (containers go on)"));
    }
    out.extend(protection(&fs::read_to_string(dir.join("oom_score_adj")).unwrap_or_default()));
    out.extend(descriptors(&fs::read_to_string(dir.join("limits")).unwrap_or_default()));
    out
}

fn protection(score: &str) -> Option<Finding> {
    let score: i32 = score.trim().parse().ok()?;
    (score > OOM_MOST).then(|| {
        let what = format!(
            "its oom_score_adj is {score}: the kernel may kill it for memory before what it looks after"
        );
        Finding::warning("daemon.oom", what, "OOMScoreAdjust=-999 in the unit, as the shipped one has")
    })
}

fn descriptors(limits: &str) -> Option<Finding> {
    let line = limits.lines().find_map(|l| l.strip_prefix("Max open files"))?;
    let hard = line.split_whitespace().nth(1)?.parse::<u64>().ok()?;
    (hard < FILES_LEAST).then(|| {
        let what = format!("it may open {hard} files; a service needs some of its own");
        Finding::warning("daemon.files", what, "LimitNOFILE=524288 in the unit, as the shipped one has")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_as_the_unit_has_it_is_named() {
        assert!(versions("0.1.0", "0.1.0").is_none() && versions("0.1.0", "0.2.0").is_some());
        assert!(protection("-999\n").is_none() && protection("").is_none());
        assert!(protection("0\n").unwrap().what.contains("is 0:"));
        let limits = |hard: &str| {
            format!(
                "Max cpu time   unlimited  unlimited  seconds\nMax open files    1024    {hard}   files\n"
            )
        };
        assert!(descriptors(&limits("524288")).is_none() && descriptors(&limits("unlimited")).is_none());
        assert!(descriptors(&limits("1024")).unwrap().what.contains("1024"));
        assert!(descriptors("").is_none());
    }
}
