//! What is known of one key of a service file. Data only.
#![forbid(unsafe_code)]

use super::keys::KEYS;

/// One key.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// `limits.memory`, `mounts[].source`.
    pub path: &'static str,
    /// What it takes.
    pub kind: &'static str,
    /// What holds without it.
    pub default: &'static str,
    /// Its value in an example, as TOML.
    pub example: &'static str,
    /// One sentence.
    pub about: &'static str,
    /// How a change of it reaches running instances.
    pub change: Change,
}

/// How a change of a key reaches running instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// They are replaced.
    Restart,
    /// At once, as they are.
    Live,
    /// Not at all: they end as they were started, and the next start has it.
    NextStart,
}

/// A key whose change replaces running instances.
pub(super) const fn key(
    path: &'static str,
    kind: &'static str,
    default: &'static str,
    example: &'static str,
    about: &'static str,
) -> Key {
    Key { path, kind, default, example, about, change: Change::Restart }
}

/// A key whose change reaches running instances without a restart.
pub(super) const fn live(
    path: &'static str,
    kind: &'static str,
    default: &'static str,
    example: &'static str,
    about: &'static str,
) -> Key {
    Key { path, kind, default, example, about, change: Change::Live }
}

/// A key whose change waits for the next start, whenever that is.
pub(super) const fn next(
    path: &'static str,
    kind: &'static str,
    default: &'static str,
    example: &'static str,
    about: &'static str,
) -> Key {
    Key { path, kind, default, example, about, change: Change::NextStart }
}

/// The names of the keys of a table: of the file (`""`), of `limits`, of `mounts[]`.
pub fn within(pattern: &str) -> impl Iterator<Item = &'static str> {
    KEYS.iter().filter_map(move |k| {
        let (parent, name) = k.path.rsplit_once('.').unwrap_or(("", k.path));
        (parent == pattern).then_some(name)
    })
}
