//! The one error type of the runtime. It says which steps were under way, which system call failed as it
//! was made, which field of config.json is to blame, and what to do. May use: std and serde only.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};
use std::fmt;

/// `Result` with the runtime's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Stable machine codes, written as `code` into the JSON log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// A system call failed; `syscall` and `errno` say which and how.
    Os,
    /// config.json, process.json or resources are wrong; `field` says where.
    Spec,
    /// A valid request that this host or kernel cannot satisfy.
    Unsupported,
    /// The command line is wrong.
    Usage,
    /// No container of that id.
    NotFound,
    /// A container of that id is there already.
    Exists,
    /// The container's status does not allow the operation.
    Status,
    /// The container's record cannot be read.
    Damaged,
    /// A hook failed or ran out of time.
    Hook,
    /// init ended or sent nonsense before the container was ready.
    Init,
    /// A wait on the outside ran into its deadline.
    Timeout,
    /// A signal told us to stop.
    Interrupted,
    /// Something a test should have caught.
    Internal,
}

/// What went wrong. Boxed so that `Result<T>` stays one word wide on the hot path.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Error(Box<Inner>);

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Inner {
    code: Code,
    /// Innermost message, without steps.
    text: String,
    /// Outermost last; printed in reverse.
    steps: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    syscall: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    errno: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl Error {
    /// A plain error of class `code`.
    pub fn new(code: Code, text: impl Into<String>) -> Self {
        Error(Box::new(Inner {
            code,
            text: text.into(),
            steps: Vec::new(),
            syscall: None,
            errno: None,
            path: None,
            field: None,
            hint: None,
        }))
    }

    /// A failed system call: `call` is its name, `args` the arguments as made.
    pub fn os(call: &str, args: impl fmt::Display, errno: i32) -> Self {
        let mut e = Error::new(Code::Os, format!("{call}({args}): {}", errno_text(errno)));
        e.0.syscall = Some(call.to_string());
        e.0.errno = Some(errno);
        e
    }

    /// A wrong field. `pointer` is a JSON pointer such as `/process/cwd`.
    pub fn spec(pointer: impl Into<String>, text: impl Into<String>) -> Self {
        let mut e = Error::new(Code::Spec, text);
        e.0.field = Some(pointer.into());
        e
    }

    /// Puts the name of an outer step in front of the message.
    #[must_use]
    pub fn step(mut self, step: impl Into<String>) -> Self {
        self.0.steps.push(step.into());
        self
    }

    /// Names the field of config.json that asked for the failing step, unless one is named already.
    #[must_use]
    pub fn field(mut self, pointer: impl Into<String>) -> Self {
        self.0.field.get_or_insert_with(|| pointer.into());
        self
    }

    /// Names the object of the failing step, unless one is named already.
    #[must_use]
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.0.path.get_or_insert_with(|| path.into());
        self
    }

    /// Adds what the reader could do about it, unless something is said already.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint.get_or_insert_with(|| hint.into());
        self
    }

    /// Changes the class, for example when ENOENT means "no such container".
    #[must_use]
    pub fn code(mut self, code: Code) -> Self {
        self.0.code = code;
        self
    }

    /// The class.
    pub fn kind(&self) -> Code {
        self.0.code
    }

    /// The errno of the failing call, if a call failed.
    pub fn errno(&self) -> Option<i32> {
        self.0.errno
    }

    /// True when a system call failed with exactly this errno.
    pub fn is(&self, errno: i32) -> bool {
        self.0.errno == Some(errno)
    }

    /// The JSON pointer of the field to blame, if known.
    pub fn field_path(&self) -> Option<&str> {
        self.0.field.as_deref()
    }

    /// The hint, if any.
    pub fn hint_text(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// The failing call's name, if a call failed.
    pub fn syscall(&self) -> Option<&str> {
        self.0.syscall.as_deref()
    }

    /// The object of the failing step, if named.
    pub fn object(&self) -> Option<&str> {
        self.0.path.as_deref()
    }
}

/// One line: outer steps first, then field, message and hint. Control characters are escaped, because parts
/// of it come from images.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = String::new();
        for step in self.0.steps.iter().rev() {
            line.push_str(step);
            line.push_str(": ");
        }
        if let Some(field) = &self.0.field {
            line.push_str(field);
            line.push_str(": ");
        }
        line.push_str(&self.0.text);
        if let Some(hint) = &self.0.hint {
            line.push_str(" (");
            line.push_str(hint);
            line.push(')');
        }
        f.write_str(&printable(&line))
    }
}

impl std::error::Error for Error {}

/// Adds steps to results without closures at each call.
pub trait Context<T> {
    /// Names the outer step.
    fn step(self, step: &str) -> Result<T>;
    /// Names the outer step, built only on failure.
    fn step_with<S: Into<String>>(self, step: impl FnOnce() -> S) -> Result<T>;
    /// Names the field to blame.
    fn field(self, pointer: &str) -> Result<T>;
}

impl<T> Context<T> for Result<T> {
    fn step(self, step: &str) -> Result<T> {
        self.map_err(|e| e.step(step))
    }
    fn step_with<S: Into<String>>(self, step: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|e| e.step(step()))
    }
    fn field(self, pointer: &str) -> Result<T> {
        self.map_err(|e| e.field(pointer))
    }
}

impl From<std::io::Error> for Error {
    fn from(e: std::io::Error) -> Self {
        let mut out = match e.raw_os_error() {
            Some(n) => Error::new(Code::Os, errno_text(n)),
            None => Error::new(Code::Os, e.to_string()),
        };
        out.0.errno = e.raw_os_error();
        out
    }
}

/// The kernel's text for an errno, lower case: callers of runc match "no such file or directory",
/// "permission denied" and "not a directory" in error lines.
pub fn errno_text(errno: i32) -> String {
    let full = std::io::Error::from_raw_os_error(errno).to_string();
    let text = full.split(" (os error").next().unwrap_or(&full);
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => format!("errno {errno}"),
    }
}

/// Escapes control characters, so that bytes from an image cannot forge log lines or drive a terminal.
pub fn printable(s: &str) -> String {
    let mut out = String::with_capacity(s.len());
    for c in s.chars() {
        if c.is_control() && !cfg!(feature = "weak-escape") {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// `printable`, quoted and cut at 200 characters: the form in which untrusted values appear in messages.
pub fn quoted(s: &str) -> String {
    let mut out = String::from("\"");
    for (i, c) in s.chars().enumerate() {
        if i == 200 {
            out.push_str("...");
            break;
        }
        if (c.is_control() || c == '"') && !cfg!(feature = "weak-escape") {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_with_steps_field_and_hint() {
        let e = Error::os("openat2", "3</rootfs>, \"proc\"", 2)
            .step("mount proc")
            .field("/mounts/0")
            .step("create web")
            .hint("make it");
        assert_eq!(
            e.to_string(),
            "create web: mount proc: /mounts/0: openat2(3</rootfs>, \"proc\"): no such file or directory (make it)"
        );
        assert_eq!(e.errno(), Some(2));
    }

    #[test]
    fn control_characters_cannot_leave_the_line() {
        let e = Error::new(Code::Spec, "a\nb\u{1b}[31m");
        assert_eq!(e.to_string(), "a\\nb\\u{1b}[31m");
    }

    #[test]
    fn survives_the_link() {
        let e = Error::os("setns", "5", 1).step("join net").field("/linux/namespaces/1");
        let back: Error = serde_json::from_slice(&serde_json::to_vec(&e).unwrap()).unwrap();
        assert_eq!(back.to_string(), e.to_string());
        assert_eq!(back.errno(), Some(1));
    }
}
