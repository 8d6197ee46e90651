//! The page of clients: a part for each manager of cgroups, a table for each client. One run writes one part, the other stays.

use std::fmt::Write as _;

use super::{Manager, of};
use crate::report::Results;
use crate::run::Outcome;

/// What both parts have in common.
const HEAD: &str = "# Real clients on top of knarr\n\n\
    Written as root by `ci/lane-clients --write` and `ci/lane-systemd --write`, a part each; do not edit. Each line is one operation\n\
    of a client from Debian's packages, done with each runtime by the same script (`integration/src/clients/*.sh`): the lines it\n\
    must print and its exit code decide. `dev` is a difference that was reviewed (`integration/known/`), `skip` something that the\n\
    machine lacks, `-` an operation that has not been run. How to set a client up: [guides](guides/README.md).\n";

impl Manager {
    /// Heading of its part.
    fn title(self) -> &'static str {
        match self {
            Manager::Cgroupfs => "\n## The runtime makes the cgroups\n",
            Manager::Systemd => "\n## systemd makes the cgroups\n",
        }
    }

    /// What is to be known of its part.
    fn about(self) -> &'static str {
        match self {
            Manager::Cgroupfs => {
                "Every operation, on the machine that the lane runs on, as its cgroups are mounted."
            }
            Manager::Systemd => {
                "In a virtual machine with Debian's systemd and cgroup2 alone: Podman with `--cgroup-manager systemd`, Docker and Swarm\n\
                 with `native.cgroupdriver=systemd`, containerd with `SystemdCgroup = true` and `ctr --runc-systemd-cgroup`. The operations\n\
                 that have to do with cgroups, with the life of a container, its terminals and its rights, and those that want every capability;\n\
                 the others do not know who made the cgroup. `ci/test` has this part with knarr; `ci/lane-systemd --clients`, run by hand, has\n\
                 runc beside. With Debian 12 and its systemd 252. The cases `systemd.*` were also run with systemd's hybrid layout and with\n\
                 Debian 13 ([ci/README.md](../ci/README.md)), clients there were not. Where the runtime makes the groups of cgroup2 and no systemd\n\
                 runs, operations with limits of Podman and Buildah are part of `ci/lane-guest`."
            }
        }
    }
}

/// The page after a run: the part of this manager is that of the results, the other one is that of the page before.
pub fn put_in(page: &str, manager: Manager, results: &Results) -> String {
    let parts = Manager::ALL.map(|m| match m == manager {
        true => part(m, results),
        false => part_of(page, m),
    });
    format!("{HEAD}{}", parts.concat())
}

/// The part of a manager as a page has it; nothing when it has none.
fn part_of(page: &str, manager: Manager) -> String {
    let Some((_, rest)) = page.split_once(manager.title()) else { return String::new() };
    let end = Manager::ALL.iter().filter_map(|m| rest.find(m.title())).min().unwrap_or(rest.len());
    format!("{}{}", manager.title(), &rest[..end])
}

fn part(manager: Manager, results: &Results) -> String {
    let mut text = format!("{}\n{}\n\n", manager.title(), manager.about());
    for column in &results.columns {
        let _ = writeln!(text, "- {}: `{}`", column.runtime, column.version);
    }
    let names: Vec<&str> = results.columns.iter().map(|c| c.runtime.as_str()).collect();
    for client in of(manager) {
        let _ = write!(
            text,
            "\n### {}\n\n{}.\n\n| operation | what it shows | {} |\n|---|---|{}\n",
            client.name,
            client.title,
            names.join(" | "),
            "---|".repeat(names.len())
        );
        let prefix = format!("{}.", client.name);
        for (row, name) in results.rows.iter().filter_map(|r| Some((r, r.name.strip_prefix(&prefix)?))) {
            let cells: Vec<String> =
                row.verdicts.iter().map(|v| cell(v.as_ref().map(|v| &v.outcome))).collect();
            let _ = writeln!(text, "| `{name}` | {} | {} |", row.checks, cells.join(" | "));
        }
    }
    text
}

fn cell(outcome: Option<&Outcome>) -> String {
    match outcome {
        Some(o @ (Outcome::Skipped(why) | Outcome::Differs(why))) => format!("{}: {why}", o.word()),
        o => o.map_or("-", Outcome::word).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Column, Row};
    use crate::run::Verdict;

    fn results(name: &str) -> Results {
        let verdict = Verdict { outcome: Outcome::Passed, seconds: 0.0, story: String::new() };
        Results {
            columns: vec![Column { runtime: "mine".into(), version: "1".into(), lane: String::new() }],
            rows: vec![Row { name: name.into(), checks: "it".into(), verdicts: vec![Some(verdict)] }],
        }
    }

    #[test]
    fn a_part_is_replaced_and_the_other_stays() {
        let one = put_in("", Manager::Systemd, &results("podman.first"));
        let two = put_in(&one, Manager::Cgroupfs, &results("podman.second"));
        let three = put_in(&two, Manager::Systemd, &results("podman.third"));
        assert!(one.contains("`first` | it | pass |"), "{one}");
        assert!(two.contains("`first`") && two.contains("`second`"), "{two}");
        assert!(
            !three.contains("`first`") && three.contains("`second`") && three.contains("`third`"),
            "{three}"
        );
        assert_eq!(put_in(&three, Manager::Systemd, &results("podman.third")), three);
    }

    #[test]
    fn the_page_has_every_row() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/clients.md");
        let page = std::fs::read_to_string(page).unwrap();
        for manager in Manager::ALL {
            let part = part_of(&page, manager);
            for client in of(manager) {
                let (_, section) = part.split_once(&format!("\n### {}\n", client.name)).expect(client.name);
                let section = section.split("\n### ").next().unwrap();
                let listed: Vec<&str> = section
                    .lines()
                    .filter_map(|l| l.strip_prefix("| `")?.split_once("` |"))
                    .map(|p| p.0)
                    .collect();
                let mut rows: Vec<&str> =
                    client.rows.iter().map(|r| &r.name[client.name.len() + 1..]).collect();
                rows.push("leaves-nothing");
                assert_eq!(
                    listed, rows,
                    "docs/clients.md is not of these rows; ci/lane-clients and ci/lane-systemd write it with --write"
                );
            }
        }
    }
}
