//! docs/spec-coverage.md against the types: every field of config.json has exactly one row there, and every row names
//! a field. Reads the page; touches nothing.

use knarr::spec::Spec;
use knarr::spec::shape::{Shape, Shaped};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Every field below `at`, as the page writes it: `/mounts[]/source`, `/linux/resources/rdma/*/hcaHandles`.
fn fields(at: &str, shape: &Shape, out: &mut BTreeSet<String>) {
    match shape {
        Shape::Object(members) => {
            for (name, inner) in *members {
                let here = format!("{at}/{name}");
                out.insert(here.clone());
                fields(&here, inner, out);
            }
        }
        Shape::List(inner) => fields(&format!("{at}[]"), inner, out),
        Shape::Map(inner) => fields(&format!("{at}/*"), inner, out),
        Shape::Any | Shape::Bool | Shape::Text | Shape::Int(..) => {}
    }
}

/// The first cell of a row, where it is a field in backquotes: `` | `/root/path` | ... ``.
fn row(line: &str) -> Option<&str> {
    line.strip_prefix("| `")
        .filter(|rest| rest.starts_with('/'))
        .and_then(|rest| rest.split_once('`'))
        .map(|r| r.0)
}

/// `/a/{b,c}/d` is `/a/b/d` and `/a/c/d`.
fn expanded(field: &str) -> Vec<String> {
    match field.split_once('{').and_then(|(head, rest)| Some((head, rest.split_once('}')?))) {
        None => vec![field.to_string()],
        Some((head, (choices, tail))) => {
            let each = choices.split(',').map(|choice| format!("{head}{choice}{tail}"));
            each.flat_map(|f| expanded(&f)).collect()
        }
    }
}

fn page() -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/spec-coverage.md");
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn every_field_has_one_row() {
    let mut want = BTreeSet::new();
    fields("", Spec::SHAPE, &mut want);
    assert!(want.len() > 150, "the walk reaches the whole document");
    let page = page();
    let rows: Vec<String> = page.lines().filter_map(row).flat_map(expanded).collect();
    let got: BTreeSet<String> = rows.iter().cloned().collect();
    let missing: Vec<_> = want.difference(&got).collect();
    let unknown: Vec<_> = got.difference(&want).collect();
    assert!(missing.is_empty(), "fields without a row in docs/spec-coverage.md: {missing:#?}");
    assert!(unknown.is_empty(), "rows that are no field: {unknown:#?}");
    assert_eq!(rows.len(), want.len(), "a field has two rows");
}

#[test]
fn every_row_says_what_happens() {
    for line in page().lines().filter(|l| row(l).is_some()) {
        let cells: Vec<&str> = line.trim().trim_matches('|').split(" | ").map(str::trim).collect();
        assert_eq!(cells.len(), 5, "field, answer, how, module, case: {line}");
        let answer = ["applied", "refused", "warning", "not applied", "read"];
        assert!(answer.contains(&cells[1]), "one of {answer:?}: {line}");
        assert!(cells.iter().all(|c| !c.is_empty()), "a dash stands for nothing: {line}");
    }
}
