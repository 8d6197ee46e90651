//! The documents of the project name cases of this suite; each such name must be a case. Reads `docs/` and
//! ARCHITECTURE.md, touches nothing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Files of a v2 cgroup, which are written like cases of the subject `cgroup`.
const CGROUP_FILES: [&str; 8] =
    ["controllers", "events", "freeze", "kill", "procs", "subtree_control", "threads", "type"];

fn pages() -> Vec<PathBuf> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut out = vec![top.join("ARCHITECTURE.md")];
    for dir in ["docs", "docs/decisions"] {
        let entries = std::fs::read_dir(top.join(dir)).unwrap().map(|e| e.unwrap().path());
        out.extend(entries.filter(|p| p.extension().is_some_and(|e| e == "md")));
    }
    out
}

/// What stands in backquotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.lines().flat_map(|line| line.split('`').skip(1).step_by(2))
}

#[test]
fn cases_that_documents_name_exist() {
    let names: BTreeSet<String> = crate::cases::all().into_iter().map(|c| c.name).collect();
    let subjects: BTreeSet<&str> = names.iter().filter_map(|n| n.split_once('.')).map(|s| s.0).collect();
    let (mut seen, mut unknown) = (0, Vec::new());
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        for word in quoted(&text) {
            let Some((subject, rest)) = word.split_once('.') else { continue };
            let is_file = rest.ends_with("rs") || subject == "cgroup" && CGROUP_FILES.contains(&rest);
            if is_file || !subjects.contains(subject) || rest.contains(|c: char| c.is_whitespace()) {
                continue;
            }
            seen += 1;
            let found = match word.strip_suffix('*') {
                Some(head) => names.iter().any(|n| n.starts_with(head)),
                None => names.contains(word),
            };
            if !found {
                unknown.push(format!("{}: {word}", page.display()));
            }
        }
    }
    assert!(unknown.is_empty(), "documents name cases that do not exist: {unknown:#?}");
    assert!(seen > 100, "the documents name cases, {seen} were found");
}
