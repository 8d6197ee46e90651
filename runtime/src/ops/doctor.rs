//! `doctor`: what of this host keeps containers from working or from being safe, each with what mends it. Reads; changes nothing.

mod files;
mod groups;
mod kernel;

use crate::cli::{DoctorArgs, Global};
use crate::error::{Code, Error, Result};
use crate::report;
use serde::Serialize;

/// How much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Severity {
    /// No container starts, or others than root can take the host over.
    Error,
    /// Something that containers may ask for does not work.
    Warning,
    /// A fact to know; nothing is wrong.
    Note,
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Finding {
    severity: Severity,
    /// A stable name, such as `cgroup.controllers`.
    check: &'static str,
    /// What is so, with paths and values.
    what: String,
    /// What to do about it; empty for a note.
    fix: String,
}

impl Finding {
    fn error(check: &'static str, what: impl Into<String>, fix: impl Into<String>) -> Finding {
        Finding { severity: Severity::Error, check, what: what.into(), fix: fix.into() }
    }

    fn warning(check: &'static str, what: impl Into<String>, fix: impl Into<String>) -> Finding {
        Finding { severity: Severity::Warning, check, what: what.into(), fix: fix.into() }
    }

    fn note(check: &'static str, what: impl Into<String>) -> Finding {
        Finding { severity: Severity::Note, check, what: what.into(), fix: String::new() }
    }
}

#[derive(Serialize)]
struct Report {
    /// Of the runtime.
    version: &'static str,
    /// The worst first.
    findings: Vec<Finding>,
}

/// Prints what was found. Exit code 1 when there is an error or a warning.
pub fn run(global: &Global, args: &DoctorArgs) -> Result<i32> {
    let mut findings = kernel::findings();
    findings.extend(groups::findings());
    findings.extend(files::findings(&global.root));
    findings.sort_by_key(|f| f.severity);
    let wrong = findings.iter().any(|f| f.severity != Severity::Note);
    let text = match args.json {
        true => {
            let report = Report { version: crate::VERSION, findings };
            let json = serde_json::to_string_pretty(&report);
            json.map_err(|e| Error::new(Code::Internal, e.to_string()))? + "\n"
        }
        false => text(&findings),
    };
    report::print(&text)?;
    Ok(i32::from(wrong))
}

fn text(findings: &[Finding]) -> String {
    let mut out = String::new();
    for f in findings {
        let word = match f.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        };
        out.push_str(&format!("{word}: {}: {}\n", f.check, f.what));
        if !f.fix.is_empty() {
            out.push_str(&format!("    fix: {}\n", f.fix));
        }
    }
    if findings.iter().all(|f| f.severity == Severity::Note) {
        out.push_str("ok\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_alone_are_ok() {
        let note = Finding::note("lsm", "none");
        assert_eq!(text(std::slice::from_ref(&note)), "note: lsm: none\nok\n");
        let mut both = vec![note, Finding::warning("tools", "no ps", "install procps")];
        both.sort_by_key(|f| f.severity);
        assert_eq!(text(&both), "warning: tools: no ps\n    fix: install procps\nnote: lsm: none\n");
    }
}
