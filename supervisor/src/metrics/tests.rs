//! The table of metrics: conventions, the page that documents it, and what the examples of docs/metrics name.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::scene::{Scene, Seen};
use super::table::{FAMILIES, Of, STATES};
use super::tally::{Cause, Tally};
use super::text::{Form, Kind};
use crate::health::Standing;
use crate::probe::Verdict;
use crate::unit::service::Role;

const PAGE: &str = include_str!("../../../docs/metrics.md");

fn page_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics")
}

/// As a row of the page's table.
fn row(head: &super::text::Head) -> String {
    let labels: Vec<_> = head.labels.iter().map(|l| format!("`{l}`")).collect();
    format!("| `{}` | {} | {} | {} |", head.name, head.kind.word(), labels.join(" "), head.help)
}

#[test]
fn the_page_has_every_metric_and_no_other() {
    let rows: BTreeSet<String> = FAMILIES.iter().map(|f| row(&f.head)).collect();
    let written: BTreeSet<String> =
        PAGE.lines().filter(|l| l.starts_with("| `knarr_")).map(str::to_owned).collect();
    let missing: Vec<_> = rows.difference(&written).collect();
    let extra: Vec<_> = written.difference(&rows).collect();
    assert!(missing.is_empty() && extra.is_empty(), "missing: {missing:#?}\nnot in the code: {extra:#?}");
}

#[test]
fn the_page_names_every_value_of_a_label() {
    let words = STATES.iter().chain(Cause::ALL.iter().map(|(_, word)| word));
    let missing: Vec<_> = words.filter(|word| !PAGE.contains(&format!("`{word}`"))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn names_follow_the_conventions() {
    let mut names = BTreeSet::new();
    for family in FAMILIES {
        let head = family.head;
        assert!(names.insert(head.name), "{} twice", head.name);
        assert!(head.name.starts_with("knarr_"), "{}", head.name);
        assert_eq!(head.name.ends_with("_total"), head.kind == Kind::Counter, "{}", head.name);
        assert!(head.help.ends_with('.') && !head.help.contains(['\n', '\\', '|']), "{}", head.name);
        for unit in ["bytes", "seconds", "ratio"] {
            let stem = head.name.trim_end_matches("_total");
            assert!(!stem.contains(&format!("_{unit}_")) || stem.ends_with(unit), "{}: unit last", head.name);
        }
        for other in ["_ms", "_percent", "_kb", "_usec", "_minutes"] {
            assert!(!head.name.contains(other), "{}: no base unit", head.name);
        }
        if let Of::Instance(_) = family.of {
            assert_eq!(head.labels[..2], ["service", "replica"], "{}", head.name);
        }
        // Prometheus gives targets these, and a run's number is another series with each restart.
        assert!(
            !head.labels.iter().any(|l| ["instance", "job", "run", "pid", "le"].contains(l)),
            "{}",
            head.name
        );
    }
}

#[test]
fn every_state_of_a_machine_is_known() {
    let source = include_str!("../machine/mod.rs");
    let body = source.split("pub fn word(").nth(1).unwrap().split("\n    }\n").next().unwrap();
    let words: BTreeSet<&str> = body.split('"').skip(1).step_by(2).collect();
    assert_eq!(words, STATES.into_iter().collect());
}

#[test]
fn examples_name_what_exists() {
    let mut seen = 0;
    for entry in std::fs::read_dir(page_dir()).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        for word in text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            // Names of files and of recording rules have other forms.
            let Some(_) = word.strip_prefix("knarr_") else { continue };
            let known = FAMILIES.iter().any(|f| {
                let suffix = word.strip_prefix(f.head.name);
                let of_histogram = ["_bucket", "_sum", "_count"];
                suffix == Some("")
                    || f.head.kind == Kind::Histogram && suffix.is_some_and(|s| of_histogram.contains(&s))
            });
            assert!(known, "{}: there is no metric {word}", path.display());
            seen += 1;
        }
    }
    assert!(seen > 20, "{seen} metrics in the examples");
}

#[test]
fn the_dashboard_is_json_with_an_expression_in_every_panel() {
    let text = std::fs::read_to_string(page_dir().join("grafana.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(panels.len() >= 8, "{}", panels.len());
    let mut ids = BTreeSet::new();
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty() && targets.iter().all(|t| t["expr"].is_string()), "{panel}");
    }
}

fn scene(instances: usize) -> Scene {
    let mut tally = Tally::default();
    tally.looked(Role::Readiness, Verdict::Pass, Duration::from_millis(3));
    let seen = |n: usize| Seen {
        service: format!("s{n}"),
        replica: "1".into(),
        state: "running",
        tally: tally.clone(),
        probes: vec![("readiness", Standing::Passing, 0)],
        ..Seen::default()
    };
    Scene { instances: (0..instances).map(seen).collect(), ..Scene::default() }
}

fn whole(scene: &Scene, form: Form) -> String {
    let mut out = String::new();
    for family in FAMILIES {
        let begun =
            scene.instances.iter().fold(false, |begun, i| family.of_instance(form, i, begun, &mut out));
        assert!(!begun || matches!(family.of, Of::Instance(_)));
        family.of_daemon(form, scene, &mut out);
    }
    out + form.end()
}

#[test]
fn samples_of_a_metric_follow_its_head() {
    let text = whole(&scene(3), Form::OpenMetrics);
    assert!(text.ends_with("\n# EOF\n"), "{text}");
    let mut heads = BTreeSet::new();
    let mut current = "";
    for line in text.lines().filter(|l| *l != "# EOF") {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            current = rest.split(' ').next().unwrap();
            assert!(heads.insert(current), "{current} twice");
        } else if !line.starts_with('#') {
            assert!(line.starts_with(current), "{line} below {current}");
        }
    }
    assert!(heads.contains("knarr_probe_duration_seconds") && heads.contains("knarr_instance_exits"));
}

/// One of which everything is known.
fn full(probes: &[Role]) -> Seen {
    let mut seen = Seen { service: "s".into(), replica: "1".into(), state: "running", ..Seen::default() };
    for role in probes {
        seen.tally.looked(*role, Verdict::Pass, Duration::from_millis(3));
        seen.probes.push((role.word(), Standing::Passing, 0));
    }
    (seen.last_exit, seen.memory_request, seen.log) = (Some(1), Some(1), Some(1));
    let (one, stall) = (Some(1), Some(super::psi::Stall::default()));
    let psi = super::psi::Psi { some: stall, full: stall };
    seen.group = super::cgroup::Group {
        memory: one,
        memory_peak: one,
        swap: one,
        memory_high: one,
        memory_max: one,
        memory_events: [one; 5],
        pressure: [psi; 3],
        cpu: [Some(1.0); 3],
        periods: one,
        throttled: one,
        throttled_seconds: Some(1.0),
        io: Some([1, 1]),
        pids: one,
        pids_max: one,
        pids_refused: one,
    };
    seen
}

#[test]
fn an_instance_has_no_more_series_than_the_page_says() {
    let lines = |instances| {
        let scene = Scene { instances, ..Scene::default() };
        whole(&scene, Form::Classic).lines().filter(|l| !l.starts_with('#')).count()
    };
    let own = lines(vec![]);
    let (three, none) = (lines(vec![full(&Role::ALL)]) - own, lines(vec![full(&[])]) - own);
    let text = format!("{three} series when it runs with three probes, {none} without any");
    assert!(PAGE.split_whitespace().collect::<Vec<_>>().join(" ").contains(&text), "{text}");
    assert_eq!(lines(vec![full(&Role::ALL), full(&Role::ALL)]) - own, 2 * three);
}
