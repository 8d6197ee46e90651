//! Images: archives and layouts are checked and unpacked by `knarrctl image`, which alone reads them; the daemon reads
//! records of what was imported, and makes the root file systems of instances. Why so: docs/decisions/0019-images.md.
#![forbid(unsafe_code)]

pub mod archive;
pub mod bind;
pub mod config;
pub mod import;
mod layer;
mod layout;
pub mod root;
mod source;
pub mod store;
#[cfg(test)]
mod tests;
mod unpack;

use std::fmt;
use std::path::Path;

use sha2::{Digest, Sha256};

/// Why something about an image was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// What sort of reason.
    pub kind: Kind,
    /// One line for people.
    pub text: String,
}

/// Sorts of reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// What was given is not right, or not to be trusted.
    Refused,
    /// There is no such image.
    Missing,
    /// Somebody uses it.
    InUse,
    /// The system did not do what was asked of it.
    Failed,
}

impl Error {
    fn refused(text: impl Into<String>) -> Error {
        Error { kind: Kind::Refused, text: text.into() }
    }

    fn failed(text: impl Into<String>) -> Error {
        Error { kind: Kind::Failed, text: text.into() }
    }

    /// A call of our own on a path.
    fn at(path: &Path, e: impl fmt::Display) -> Error {
        Error::failed(format!("{}: {e}", path.display()))
    }

    /// With the place in front.
    fn within(mut self, place: impl fmt::Display) -> Error {
        self.text = format!("{place}: {}", self.text);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Error {}

/// What comes of it.
pub type Result<T> = std::result::Result<T, Error>;

/// What an image may cost at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all files of all layers, as they are long; also of the archive when it is compressed as a whole.
    pub bytes: u64,
    /// Entries of all layers.
    pub entries: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { bytes: 16 << 30, entries: 1_000_000 }
    }
}

/// 64 hexadecimal digits.
fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

fn sha256(bytes: &[u8]) -> String {
    hex(Sha256::new_with_prefix(bytes))
}

/// The digits of `sha256:DIGITS`; another algorithm is refused by its name.
fn digits(digest: &str) -> Result<&str> {
    let hex = |s: &str| s.len() == 64 && s.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    match digest.split_once(':') {
        Some(("sha256", digits)) if hex(digits) => Ok(digits),
        Some((algorithm, _)) if algorithm != "sha256" => {
            Err(Error::refused(format!("digest algorithm {algorithm:?} is not supported, want sha256")))
        }
        _ => Err(Error::refused(format!("not a digest: {digest:?}"))),
    }
}

/// Bytes of an archive as text that cannot steer a terminal.
fn shown(bytes: &[u8]) -> String {
    format!("{:?}", String::from_utf8_lossy(bytes))
}
