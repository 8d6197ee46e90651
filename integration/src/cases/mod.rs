//! The cases, one file a subject, and the reviewed lists of known differences.

mod annotations;
mod boundary;
mod callers;
mod cgroups;
mod cli;
mod contract;
mod devices;
mod doctor;
mod engines;
mod events;
mod exec;
mod faults;
mod features;
mod flags;
mod hooks;
mod hostile;
mod identity;
mod input;
mod input_states;
mod interfaces;
mod labels;
mod lifecycle;
mod mounts;
mod namespaces;
mod notify;
mod own;
mod placement;
mod rootless;
mod seccomp;
mod security;
mod selinux;
mod supervisor;
mod swap;
mod systemd;
mod systemd_annotations;
mod systemd_bus;
mod terminal;
mod trace;
mod update;

use anyhow::{Context, Result};

use crate::case::Case;

pub use boundary::long as long_boundary;
pub use cgroups::disk;
pub use engines::{conmon_memory, podman_checks, shim_memory};
pub use selinux::here as has_selinux;
pub use supervisor::long as long_supervisor;
pub use swap::long as long_swap;

/// Every case, in the order of the report.
pub fn all() -> Vec<Case> {
    [
        lifecycle::cases(),
        cli::cases(),
        contract::cases(),
        callers::cases(),
        flags::cases(),
        terminal::cases(),
        identity::cases(),
        namespaces::cases(),
        interfaces::cases(),
        mounts::cases(),
        devices::cases(),
        cgroups::cases(),
        update::cases(),
        events::cases(),
        features::cases(),
        doctor::cases(),
        placement::cases(),
        labels::cases(),
        selinux::cases(),
        seccomp::cases(),
        hooks::cases(),
        exec::cases(),
        rootless::cases(),
        notify::cases(),
        annotations::cases(),
        security::cases(),
        own::cases(),
        faults::cases(),
        hostile::cases(),
        boundary::cases(),
        swap::cases(),
        engines::cases(),
        systemd::cases(),
        systemd_annotations::cases(),
        systemd_bus::cases(),
        trace::cases(),
        input::cases(),
        input_states::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Every case of the supervisor.
pub fn supervisor() -> Vec<Case> {
    supervisor::cases()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_difference_is_a_case() {
        let rows = crate::clients::all().into_iter().flat_map(|c| c.rows).map(|r| r.name);
        let names: std::collections::BTreeSet<String> =
            all().into_iter().chain(supervisor()).map(|c| c.name).chain(rows).collect();
        for runtime in ["runc", "crun"] {
            for (case, why) in known(runtime).unwrap() {
                assert!(names.contains(&case), "known/{runtime}: no case {case}");
                assert!(!why.is_empty());
            }
        }
    }

    #[test]
    fn a_line_without_reason_is_refused() {
        assert!(parse_known("# comment\n\na.b  why not\n").is_ok());
        assert!(parse_known("a.b\n").is_err());
    }

    #[test]
    fn the_required_catalogue_numbers_are_there() {
        let all: Vec<String> = all().into_iter().map(|c| c.name + " " + &c.checks).collect();
        for n in (1..=58).chain(61..=73) {
            let id = format!("B{n:03}");
            assert!(all.iter().any(|c| c.contains(&id)), "no case for {id}");
        }
    }
}
