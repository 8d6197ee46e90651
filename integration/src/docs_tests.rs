//! The documents of the project: the cases of this suite that they name exist, and what they link to is there. Reads
//! the documents, touches nothing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Files of a v2 cgroup, which are written like cases of the subject `cgroup`.
const CGROUP_FILES: [&str; 8] =
    ["controllers", "events", "freeze", "kill", "procs", "subtree_control", "threads", "type"];

fn pages() -> Vec<PathBuf> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut out = vec![top.join("ARCHITECTURE.md"), top.join("integration/README.md")];
    for dir in ["docs", "docs/decisions", "docs/guides"] {
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
    let names: BTreeSet<String> =
        crate::cases::all().into_iter().chain(crate::cases::supervisor()).map(|c| c.name).collect();
    let subjects: BTreeSet<&str> = names.iter().filter_map(|n| n.split_once('.')).map(|s| s.0).collect();
    let (mut seen, mut unknown) = (0, Vec::new());
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        // What a page explains in a table, it means: the keys of a service file have subjects of the same names.
        let explained: BTreeSet<&str> =
            text.lines().filter_map(|l| l.strip_prefix("| `")?.split('`').next()).collect();
        for word in quoted(&text).filter(|w| !explained.contains(w)) {
            let Some((subject, rest)) = word.split_once('.') else { continue };
            let is_file = rest.ends_with("rs") || subject == "cgroup" && CGROUP_FILES.contains(&rest);
            if is_file || !subjects.contains(subject) || rest.contains(char::is_whitespace) {
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

#[test]
fn links_lead_somewhere() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let others =
        ["README.md", "CHANGELOG.md", "supervisor/README.md", "ci/README.md", "integration/README.md"];
    for page in pages().into_iter().chain(others.map(|p| top.join(p))) {
        let text = std::fs::read_to_string(&page).unwrap_or_else(|e| panic!("{}: {e}", page.display()));
        for target in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|t| t.0) {
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            if file.contains("://") {
                continue;
            }
            let file = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            assert!(file.exists(), "{} links to {target}", page.display());
            let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
            let heading = |l: &str| {
                let words: String = l.trim_start_matches('#').trim().chars().filter(kept).collect();
                words.to_lowercase().replace(' ', "-")
            };
            let there = |t: String| t.lines().any(|l| l.starts_with('#') && heading(l) == anchor);
            assert!(anchor.is_empty() || std::fs::read_to_string(file).is_ok_and(there), "{target}");
        }
    }
}
