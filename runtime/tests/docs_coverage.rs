//! The documents against the program. docs/spec-coverage.md: is what `knarr::spec::coverage` says; every field of config.json
//! has exactly one row, and every row names a field. docs/errors.md: its texts, codes and keys are in the sources. Reads
//! both; touches nothing, but for the page with `KNARR_WRITE_DOCS=1` in the environment.

use knarr::spec::Spec;
use knarr::spec::coverage::{Answer, BEYOND, SECTIONS};
use knarr::spec::shape::{Shape, Shaped};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

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

fn read(path: &str) -> String {
    std::fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

const PAGE: &str = "../docs/spec-coverage.md";

fn page() -> String {
    read(PAGE)
}

const HEAD: &str = "\
# Coverage of runtime-spec 1.3 (Linux)

Every field of config.json: what `knarr` does with it, where, and a case of the conformance suite that looks at it. Written
from the table beside the types (`runtime/src/spec/coverage.rs`) by

```
KNARR_WRITE_DOCS=1 cargo test -p knarr --test docs_coverage
```

Without the variable the same test compares the page with the table, and the table with the types, so that no field is missing
and no row is stale; another (`integration/src/docs_tests.rs`) looks up the cases.

| answer | meaning |
|---|---|
| applied | it takes effect, or the command fails and names the field |
| refused | a config that has it is an error that names the field |
| warning | accepted, said to have no effect |
| read | decides something or only holds other fields |

Every value is also checked before anything is made: type and range by `spec::json` and `spec::check`, with the JSON
pointer of the field in the error (cases `input.*`). `[]` stands for each element, `*` for each key, `{a,b}` for both.
Unknown fields are a warning.
";

/// The page as the table has it.
fn rendered() -> String {
    let code = |words: &str| match words {
        "-" => "-".to_string(),
        words => words.split(", ").map(|w| format!("`{w}`")).collect::<Vec<_>>().join(", "),
    };
    let mut out = HEAD.to_string();
    for section in SECTIONS {
        out += &format!("\n## {}\n\n", section.title);
        if !section.before.is_empty() {
            out += &format!("{}\n\n", section.before);
        }
        out += "| field | answer | how | module | case |\n|---|---|---|---|---|\n";
        for (field, answer, how, modules, case) in section.rows {
            let answer = match answer {
                Answer::Applied => "applied",
                Answer::Refused => "refused",
                Answer::Warning => "warning",
                Answer::Read => "read",
            };
            out += &format!("| `{field}` | {answer} | {how} | {} | {} |\n", code(modules), code(case));
        }
        if !section.after.is_empty() {
            out += &format!("\n{}\n", section.after);
        }
    }
    out += "\n## Beyond config.json\n\n| part of the spec | answer |\n|---|---|\n";
    BEYOND.iter().for_each(|(part, answer)| out += &format!("| {part} | {answer} |\n"));
    out
}

#[test]
fn the_page_is_the_table() {
    let want = rendered();
    if std::env::var_os("KNARR_WRITE_DOCS").is_some() {
        std::fs::write(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(PAGE), &want).unwrap();
    }
    let page = page();
    let other = page.lines().zip(want.lines()).find(|(a, b)| a != b);
    assert!(page == want, "docs/spec-coverage.md is not what runtime/src/spec/coverage.rs says: {other:#?}");
}

#[test]
fn every_field_has_one_row() {
    let mut want = BTreeSet::new();
    fields("", Spec::SHAPE, &mut want);
    assert!(want.len() > 150, "the walk reaches the whole document");
    let page = rendered();
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
    for line in rendered().lines().filter(|l| row(l).is_some()) {
        let cells: Vec<&str> = line.trim().trim_matches('|').split(" | ").map(str::trim).collect();
        assert_eq!(cells.len(), 5, "field, answer, how, module, case: {line}");
        assert!(cells.iter().all(|c| !c.is_empty()), "a dash stands for nothing: {line}");
    }
}

/// All sources of the program, one after the other.
fn sources(dir: &Path, out: &mut String) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
}

/// First cells in backquotes of the rows below a heading.
fn column(page: &str, heading: &str) -> BTreeSet<String> {
    let (_, section) = page.split_once(&format!("\n## {heading}\n")).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let cells = section.lines().filter_map(|l| l.strip_prefix("| `")?.split_once('`'));
    cells.map(|(cell, _)| cell.to_string()).collect()
}

#[test]
fn texts_that_callers_look_for_are_in_the_sources() {
    let mut code = String::new();
    sources(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src"), &mut code);
    let texts = column(&read("../docs/errors.md"), "Texts that callers look for");
    assert!(texts.len() > 30);
    // The kernel's own words come from the C library.
    let of_errno: BTreeSet<String> = [2, 3, 13, 20].into_iter().map(knarr::error::errno_text).collect();
    let missing: Vec<_> = texts.iter().filter(|t| !code.contains(*t) && !of_errno.contains(*t)).collect();
    assert!(missing.is_empty(), "not in the program: {missing:#?}");
}

#[test]
fn codes_and_keys_are_all_there() {
    let page = read("../docs/errors.md");
    let error = read("src/error.rs");
    let (_, code) = error.split_once("pub enum Code {").unwrap();
    let (code, _) = code.split_once("\n}").unwrap();
    let names = code.lines().map(str::trim).filter(|l| !l.starts_with("//") && !l.is_empty());
    let snake = |name: &str| {
        let word = |c: char| if c.is_uppercase() { format!("_{}", c.to_lowercase()) } else { c.to_string() };
        name.trim_end_matches(',').chars().map(word).collect::<String>().trim_start_matches('_').to_string()
    };
    assert_eq!(column(&page, "Codes"), names.map(snake).collect());

    let report = read("src/report.rs");
    let (_, record) = report.split_once("struct Json<'a> {").unwrap();
    let (record, _) = record.split_once("\n}").unwrap();
    let keys = record
        .lines()
        .filter(|l| !l.contains('#'))
        .filter_map(|l| l.trim().split_once(':').map(|k| k.0.to_string()));
    assert_eq!(column(&page, "The log"), keys.collect());
}
