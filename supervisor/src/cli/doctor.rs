//! doctor: what of this host keeps services from running or from being safe, each with what mends it. Reads; changes nothing.
//! What a runtime knows is asked of the runtime.
#![forbid(unsafe_code)]

mod daemon;
mod files;
mod host;
mod runtime;
mod systemd;

use clap::ArgMatches;
use serde::{Deserialize, Serialize};

use super::failure::{FAILED, Result};
use super::text::{Color, Style, clean};
use super::{Ctx, out, out_json};

/// How much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Severity {
    /// Services do not run, or others than root can take the host over.
    Error,
    /// Something does not work as well as it could.
    Warning,
    /// A fact to know; nothing is wrong.
    Note,
}

/// One thing that was found; the runtime's have the same form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Finding {
    severity: Severity,
    /// A stable name, such as `files.services`.
    check: String,
    /// What is so, with paths and values.
    what: String,
    /// What to do about it; empty for a note.
    #[serde(default)]
    fix: String,
}

impl Finding {
    fn error(check: &str, what: impl Into<String>, fix: impl Into<String>) -> Finding {
        Finding { severity: Severity::Error, check: check.into(), what: what.into(), fix: fix.into() }
    }

    fn warning(check: &str, what: impl Into<String>, fix: impl Into<String>) -> Finding {
        Finding { severity: Severity::Warning, check: check.into(), what: what.into(), fix: fix.into() }
    }

    fn note(check: &str, what: impl Into<String>) -> Finding {
        Finding { severity: Severity::Note, check: check.into(), what: what.into(), fix: String::new() }
    }
}

#[derive(Serialize)]
struct Report {
    /// Of knarrctl.
    version: &'static str,
    /// The worst first.
    findings: Vec<Finding>,
}

/// `doctor`. 1 when there is an error or a warning.
pub(super) async fn doctor(ctx: &Ctx, m: &ArgMatches) -> Result<u8> {
    let (seen, mut findings) = daemon::look(ctx).await;
    let (unit, said) = systemd::look(&seen).await;
    findings.extend(said);
    findings.extend(runtime::look(seen.runtime.as_deref()).await);
    findings.extend(files::look(&seen, unit.as_deref()));
    findings.extend(host::look(&seen));
    findings.sort_by_key(|f| f.severity);
    let wrong = findings.iter().any(|f| f.severity != Severity::Note);
    if m.get_flag("json") {
        out_json(&Report { version: env!("CARGO_PKG_VERSION"), findings })?;
    } else {
        out(&text(&findings, ctx.style))?;
    }
    Ok(if wrong { FAILED } else { 0 })
}

fn text(findings: &[Finding], style: Style) -> String {
    let mut out = String::new();
    for f in findings {
        let word = match f.severity {
            Severity::Error => style.paint(Color::Red, "error"),
            Severity::Warning => style.paint(Color::Yellow, "warning"),
            Severity::Note => style.paint(Color::Dim, "note"),
        };
        out.push_str(&format!(
            "{word}: {}: {}\n",
            style.paint(Color::Bold, &clean(&f.check)),
            clean(&f.what)
        ));
        if !f.fix.is_empty() {
            out.push_str(&format!("    fix: {}\n", clean(&f.fix)));
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
    fn what_is_wrong_has_a_fix_and_notes_are_ok() {
        let note = Finding::note("runtime.other", "runc");
        assert_eq!(text(std::slice::from_ref(&note), Style::fixed(false)), "note: runtime.other: runc\nok\n");
        let all = [Finding::error("files.socket", "0666", "chmod o-rw"), note];
        let want = "error: files.socket: 0666\n    fix: chmod o-rw\nnote: runtime.other: runc\n";
        assert_eq!(text(&all, Style::fixed(false)), want);
    }
}
