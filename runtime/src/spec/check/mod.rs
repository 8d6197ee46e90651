//! The rules of config.json that need no host: every problem is found, in the order of the document, and named
//! with its place, the value and the rule. Pure: no file, no system call. May use: std, `error`, `at`, `types`.
//!
//! Every spec type is taken apart here without `..`, so that a new field does not compile until somebody has
//! decided which rule it has. `_` stands for a field whose rule needs the host or the whole plan.

mod devices;
mod hooks;
mod linux;
mod mounts;
mod namespaces;
mod process;
mod resources;
mod seccomp;
mod sysctl;

pub use sysctl::sysctl_path;

use super::at::{At, Warning};
use super::types::{Process, Resources, Root, Spec};
use crate::error::{Error, quoted};
use namespaces::Spaces;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Bytes of a path with its NUL, as the kernel counts them (PATH_MAX in linux/limits.h).
const PATH_MAX: usize = 4096;
/// Bytes of one component of a path (NAME_MAX).
const NAME_MAX: usize = 255;

/// Errors, and warnings, that are kept of one document: nobody reads more, and a hostile one has many.
const MAX_FINDINGS: usize = 100;

/// Annotations under this prefix are ours to write, never the caller's.
pub const RESERVED_ANNOTATIONS: &str = "io.knarr.";

/// What is to be said about a document.
#[derive(Debug, Default)]
pub struct Findings {
    /// Reasons to refuse it, the first hundred.
    pub errors: Vec<Error>,
    /// Fields that have no effect or not the expected one.
    pub warnings: Vec<Warning>,
}

/// Every reason to refuse a config.json, in document order; no more than the first hundred.
pub fn config(spec: &Spec) -> Vec<Error> {
    findings(spec).errors
}

/// Every reason to refuse a process document. `base` is its JSON pointer: "/process" inside config.json, "" for
/// the file of `exec --process`.
pub fn process(p: &Process, base: &str) -> Vec<Error> {
    let mut f = Findings::default();
    process::check(&mut f, &At::Base(base), p);
    f.errors
}

/// Every reason to refuse resources. `base` is their JSON pointer: "/linux/resources" inside config.json, "" for
/// the file of `update --resources`.
pub fn resources(r: &Resources, base: &str) -> Vec<Error> {
    let mut f = Findings::default();
    resources::check(&mut f, &At::Base(base), r);
    f.errors
}

/// Errors and warnings about a config.json in one walk.
pub fn findings(spec: &Spec) -> Findings {
    let Spec {
        oci_version,
        process,
        root,
        hostname,
        domainname,
        mounts,
        hooks,
        annotations,
        linux,
        solaris,
        windows,
        vm,
        zos,
        freebsd,
    } = spec;
    let mut f = Findings::default();
    let top = At::Base("");
    let spaces = Spaces::of(linux.as_ref());

    for (name, section) in
        [("solaris", solaris), ("windows", windows), ("vm", vm), ("zos", zos), ("freebsd", freebsd)]
    {
        match (section, linux) {
            (Some(_), None) => {
                f.fail(&top.key(name), "wrong platform: this runtime starts Linux containers only")
            }
            (Some(_), Some(_)) => {
                f.warn(&top.key(name), "ignored: this runtime starts Linux containers only")
            }
            (None, _) => {}
        }
    }
    version(&mut f, &top.key("ociVersion"), oci_version.as_deref());
    match process {
        Some(p) => process::check(&mut f, &top.key("process"), p),
        None => f.fail(&top.key("process"), "missing, a container needs a process to start"),
    }
    root_directory(&mut f, &top.key("root"), root.as_ref(), &spaces);
    namespaces::uts_name(&mut f, &top.key("hostname"), hostname, &spaces);
    namespaces::uts_name(&mut f, &top.key("domainname"), domainname, &spaces);
    mounts::check(&mut f, &top.key("mounts"), mounts, &spaces);
    if let Some(hooks) = hooks {
        hooks::check(&mut f, &top.key("hooks"), hooks);
    }
    annotation_keys(&mut f, &top.key("annotations"), annotations);
    super::annotations::check(&mut f, &top.key("annotations"), spec);
    if let Some(linux) = linux {
        linux::check(&mut f, &top.key("linux"), linux, spec, &spaces);
    }
    f
}

/// config.md, "Specification version": SemVer 2.0.0. A minor version newer than ours only adds fields.
fn version(f: &mut Findings, at: &At<'_>, got: Option<&str>) {
    let range = "want a SemVer version 1.x.y";
    let Some(got) = got.filter(|v| !v.is_empty()) else {
        return f.fail(at, format!("missing, {range}"));
    };
    match semver_major(got) {
        None => f.fail(at, format!("not a SemVer version: got {}, {range}", quoted(got))),
        Some("1") => {}
        Some(_) => f.fail(
            at,
            format!("unsupported version: got {}, {range} (1.0.0 to 1.3.x are known)", quoted(got)),
        ),
    }
}

/// The major number of a SemVer 2.0.0 version, `None` when it is none.
fn semver_major(version: &str) -> Option<&str> {
    let number = |s: &str| {
        !s.is_empty()
            && s.bytes().all(|b| b.is_ascii_digit())
            && (s == "0" || !s.starts_with('0'))
            && s.len() < 10
    };
    let labels = |s: &str| {
        s.split('.').all(|l| !l.is_empty() && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'))
    };
    let (rest, build) = version.split_once('+').map_or((version, None), |(a, b)| (a, Some(b)));
    let (core, pre) = rest.split_once('-').map_or((rest, None), |(a, b)| (a, Some(b)));
    let mut parts = core.split('.');
    let (major, minor, patch) = (parts.next()?, parts.next()?, parts.next()?);
    let good = parts.next().is_none()
        && [major, minor, patch].into_iter().all(number)
        && pre.is_none_or(labels)
        && build.is_none_or(labels);
    good.then_some(major)
}

fn root_directory(f: &mut Findings, at: &At<'_>, root: Option<&Root>, spaces: &Spaces) {
    let Some(Root { path, readonly }) = root else {
        return f.fail(at, "missing, want an object with the path of the root file system");
    };
    if path.is_empty() {
        f.fail(&at.key("path"), "missing, want the path of the root file system");
    }
    path_length(f, &at.key("path"), path);
    if *readonly && !spaces.mount {
        f.fail(&at.key("readonly"), "a read-only root needs a mount namespace in /linux/namespaces");
    }
}

fn annotation_keys(f: &mut Findings, at: &At<'_>, annotations: &BTreeMap<String, String>) {
    for key in annotations.keys() {
        if key.is_empty() {
            f.fail(&at.key(key), "empty key, want a name such as \"com.example.key\"");
        }
        if key.starts_with(RESERVED_ANNOTATIONS) {
            let rule = format!("want a key outside {}", quoted(RESERVED_ANNOTATIONS));
            f.fail(&at.key(key), format!("reserved for the runtime itself, {rule}"));
        }
    }
}

impl Findings {
    pub(super) fn fail(&mut self, at: &At<'_>, text: impl Into<String>) {
        if self.errors.len() < MAX_FINDINGS {
            self.errors.push(at.error(text));
        }
    }

    fn warn(&mut self, at: &At<'_>, text: impl Into<String>) {
        if self.warnings.len() < MAX_FINDINGS {
            self.warnings.push(at.warning(text));
        }
    }

    /// `name` must not be in `seen`; it is afterwards, with its index in the list `at`.
    fn once<'n>(
        &mut self,
        at: &At<'_>,
        key: &str,
        seen: &mut BTreeMap<&'n str, usize>,
        name: &'n str,
        index: usize,
    ) {
        if let Some(before) = seen.get(name) {
            let earlier = at.item(*before).pointer();
            self.fail(
                &at.item(index).key(key),
                format!("duplicate: {} is in {earlier} already", quoted(name)),
            );
        } else {
            seen.insert(name, index);
        }
    }

    /// `got` must be one of `allowed`.
    fn one_of(&mut self, at: &At<'_>, what: &str, got: &str, allowed: &[&str]) {
        if !allowed.contains(&got) {
            self.fail(at, format!("unknown {what}: got {}, want {}", quoted(got), allowed.join(", ")));
        }
    }

    /// `got` must lie between `min` and `max`, both included.
    fn within(&mut self, at: &At<'_>, got: impl Into<i128>, min: i128, max: i128) {
        let got = got.into();
        if !(min..=max).contains(&got) {
            self.fail(at, format!("out of range: got {got}, want {min} to {max}"));
        }
    }

    /// `path` must be absolute and within the kernel's limits; false when it is not.
    fn absolute(&mut self, at: &At<'_>, path: &str) -> bool {
        if path.is_empty() {
            self.fail(at, "missing, want an absolute path");
            return false;
        }
        if !path.starts_with('/') {
            self.fail(at, format!("must be absolute: got {}, want a path that starts with /", quoted(path)));
            return false;
        }
        path_length(self, at, path)
    }

    /// `name` must be usable as the name of a network interface (dev_valid_name in net/core/dev.c).
    fn interface(&mut self, at: &At<'_>, name: &str) {
        let wrong = |c: char| c.is_whitespace() || c.is_control() || c == '/' || c == ':';
        if name.is_empty() || name.len() > 15 || name == "." || name == ".." || name.contains(wrong) {
            let rule = "want 1 to 15 bytes without blanks, / and :";
            self.fail(at, format!("not a network interface name: got {}, {rule}", quoted(name)));
        }
    }

    /// `label` goes as one line into a file of the kernel.
    fn one_line(&mut self, at: &At<'_>, label: &str) {
        if label.chars().any(char::is_control) {
            self.fail(at, format!("control character: got {}, want one line of text", quoted(label)));
        }
    }

    /// 2^32-1 means "leave as it is" to the kernel, so nobody has it as a uid or gid.
    fn identity(&mut self, at: &At<'_>, id: u32) {
        self.within(at, id, 0, i128::from(u32::MAX) - 1);
    }
}

/// The kernel's limits on a path and its components; false when one is broken.
fn path_length(f: &mut Findings, at: &At<'_>, path: &str) -> bool {
    if path.len() >= PATH_MAX {
        f.fail(at, format!("path too long: got {} bytes, want less than {PATH_MAX}", path.len()));
        return false;
    }
    if let Some(long) = path.split('/').find(|c| c.len() > NAME_MAX) {
        let got = format!("got a component of {} bytes, want at most {NAME_MAX}", long.len());
        f.fail(at, format!("file name too long: {got}"));
        return false;
    }
    true
}

/// True when a component of the path is `..`.
fn climbs(path: &str) -> bool {
    path.split('/').any(|c| c == "..")
}

/// The absolute path without `.`, `..`, double and trailing slashes, as text: no link is followed.
fn tidy(path: &str) -> Cow<'_, str> {
    let clean = |rest: &str| rest.split('/').all(|part| !matches!(part, "" | "." | ".."));
    if path.strip_prefix('/').is_some_and(clean) {
        return Cow::Borrowed(path);
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    Cow::Owned(format!("/{}", parts.join("/")))
}

/// Checks a list such as `0-3,7`, as the kernel reads it (bitmap_parselist): blanks and empty items are nothing.
/// On failure: what is wrong and what is wanted.
fn number_list(list: &str, max: u32) -> Result<(), String> {
    let number = |s: &str| match s.parse::<u32>() {
        Ok(n) if s.bytes().all(|b| b.is_ascii_digit()) && n <= max => Ok(n),
        _ => Err(format!("got {}, want numbers from 0 to {max} and ranges such as 0-3,7", quoted(list))),
    };
    for item in list.split(',').map(|i| i.trim_matches([' ', '\t'])).filter(|i| !i.is_empty()) {
        let (first, last) = item.split_once('-').unwrap_or((item, item));
        if number(first)? > number(last)? {
            return Err(format!("got {}, where the range {} runs backwards", quoted(list), quoted(item)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn semver() {
        for good in ["1.0.0", "1.0.2-dev", "1.0.0-rc5-dev", "1.2.1+dev", "1.3.0-rc.1+a.b-c", "1.4.0"] {
            assert_eq!(semver_major(good), Some("1"), "{good}");
        }
        assert_eq!(semver_major("0.9.1"), Some("0"));
        for bad in [
            "",
            "1",
            "1.0",
            "1.0.0.0",
            "01.0.0",
            "1.0.x",
            "v1.0.0",
            "1.0.0-",
            "1.0.0+",
            "1.0.0-a..b",
            "1.0. 0",
        ] {
            assert_eq!(semver_major(bad), None, "{bad}");
        }
    }

    #[test]
    fn tidy_paths() {
        assert_eq!(tidy("/proc/../proc//self/."), "/proc/self");
        assert_eq!(tidy("/../.."), "/");
        assert_eq!(tidy("/"), "/");
        assert_eq!(tidy("/a/b"), "/a/b");
        assert_eq!(tidy("/a/b/"), "/a/b");
    }

    #[test]
    fn number_lists() {
        for good in ["", "0", "0-3,7", " 1 , 2-2,,", "8191"] {
            assert_eq!(number_list(good, 8191), Ok(()), "{good}");
        }
        for bad in ["a-b", "3-1", "0-9999", "-1", "1-", "+1", "1 2", "0x1", "1\n", "99999999999"] {
            assert!(number_list(bad, 8191).is_err(), "{bad}");
        }
    }
}
