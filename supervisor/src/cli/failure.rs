//! How a command fails: an exit code that scripts can use, one line, and a hint.
#![forbid(unsafe_code)]

use std::io;
use std::path::Path;

use super::text::{Color, Style, clean};
use crate::api::model::{ErrorBody, Problem};

/// It was refused or did not work.
pub(super) const FAILED: u8 = 1;
/// The command line is wrong.
pub(super) const USAGE: u8 = 2;
/// No such service or instance.
pub(super) const NOT_FOUND: u8 = 3;
/// No daemon answers, or it went away.
pub(super) const UNREACHABLE: u8 = 4;
/// This user may not.
pub(super) const FORBIDDEN: u8 = 5;
/// Not in the state that this needs.
pub(super) const CONFLICT: u8 = 6;
/// `plan --exit-code`: there is something to do.
pub(super) const CHANGES: u8 = 7;
/// `exec`: the command could not be run.
pub(super) const NO_EXEC: u8 = 125;
/// Nobody reads the output any more: 128 + SIGPIPE, as a shell shows it.
pub(super) const PIPE: u8 = 141;

pub(super) type Result<T> = std::result::Result<T, Failure>;

/// Why a command failed.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    /// The exit code.
    pub(super) code: u8,
    /// One line; empty = there is nothing to say.
    pub(super) text: String,
    /// What could help.
    pub(super) hint: Option<String>,
    /// Of service files.
    pub(super) problems: Vec<Problem>,
}

impl Failure {
    pub(super) fn new(code: u8, text: impl Into<String>) -> Failure {
        Failure { code, text: text.into(), hint: None, problems: Vec::new() }
    }

    pub(super) fn usage(text: impl Into<String>) -> Failure {
        Failure::new(USAGE, text).hint("see knarrctl --help")
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint = Some(hint.into());
        self
    }

    /// Writing to standard output failed.
    pub(super) fn output(e: io::Error) -> Failure {
        match e.kind() {
            io::ErrorKind::BrokenPipe => Failure::new(PIPE, ""),
            _ => Failure::new(FAILED, format!("standard output: {e}")),
        }
    }

    /// Connecting failed.
    pub(super) fn connect(path: &Path, e: &io::Error) -> Failure {
        let text = format!("{}: {e}", path.display());
        match e.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Failure::new(UNREACHABLE, text)
                .hint("is knarrd running? another socket is chosen with --socket or KNARR_SOCKET"),
            io::ErrorKind::PermissionDenied => Failure::new(FORBIDDEN, text)
                .hint("root and the members of the socket's group may use it, see its owner with ls -l"),
            _ => Failure::new(UNREACHABLE, text),
        }
    }

    /// The connection broke while something was under way.
    pub(super) fn lost(e: impl std::fmt::Display) -> Failure {
        Failure::new(UNREACHABLE, format!("the connection to the daemon broke: {e}"))
            .hint("what was asked for may still happen, see knarrctl events")
    }

    /// The daemon refused.
    pub(super) fn refused(status: u16, body: &[u8]) -> Failure {
        let code = match status {
            403 => FORBIDDEN,
            404 => NOT_FOUND,
            409 => CONFLICT,
            _ => FAILED,
        };
        match serde_json::from_slice::<ErrorBody>(body) {
            Ok(body) => Failure { problems: body.problems, ..Failure::new(code, body.message) },
            Err(_) => Failure::new(code, format!("the daemon answered with status {status}")),
        }
    }

    /// The daemon refused one target of several.
    pub(super) fn of(body: ErrorBody) -> Failure {
        let code = match body.code.as_str() {
            "not-found" => NOT_FOUND,
            "conflict" => CONFLICT,
            _ => FAILED,
        };
        Failure { problems: body.problems, ..Failure::new(code, body.message) }
    }

    /// To standard error.
    pub(super) fn print(&self, style: Style) {
        let style = style.for_stderr();
        for problem in &self.problems {
            eprint!("{}", super::validate::complaint(problem, style));
        }
        if !self.text.is_empty() {
            eprintln!("knarrctl: {}", style.paint(Color::Red, &clean(&self.text)));
        }
        if let Some(hint) = &self.hint {
            eprintln!("knarrctl: hint: {}", clean(hint));
        }
    }
}
