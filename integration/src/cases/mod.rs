//! The cases, one file a subject, and the reviewed lists of known differences.

mod cgroups;
mod cli;
mod devices;
mod engines;
mod exec;
mod hooks;
mod identity;
mod input;
mod lifecycle;
mod mounts;
mod namespaces;
mod seccomp;
mod security;
mod terminal;

use anyhow::{Context, Result};

use crate::case::Case;

pub use cgroups::disk;

/// Every case, in the order of the report.
pub fn all() -> Vec<Case> {
    [
        lifecycle::cases(),
        cli::cases(),
        terminal::cases(),
        identity::cases(),
        namespaces::cases(),
        mounts::cases(),
        devices::cases(),
        cgroups::cases(),
        seccomp::cases(),
        hooks::cases(),
        exec::cases(),
        security::cases(),
        engines::cases(),
        input::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The known differences that ship with the suite.
pub fn known(runtime: &str) -> Result<Vec<(String, String)>> {
    match runtime {
        "runc" => parse_known(include_str!("../../known/runc")),
        "crun" => parse_known(include_str!("../../known/crun")),
        _ => Ok(Vec::new()),
    }
}

/// Lines of `case  reason`; `#` starts a comment.
pub fn parse_known(text: &str) -> Result<Vec<(String, String)>> {
    text.lines()
        .map(str::trim)
        .filter(|l| !l.is_empty() && !l.starts_with('#'))
        .map(|l| {
            let (name, why) = l.split_once(char::is_whitespace).with_context(|| format!("no reason: {l}"))?;
            Ok((name.to_string(), why.trim().to_string()))
        })
        .collect()
}
