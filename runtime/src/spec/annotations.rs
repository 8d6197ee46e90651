//! Annotations of config.json that crun gave a meaning and engines set: what they ask for, and what is refused. Pure. May
//! use: `error`.

use super::at::At;
use super::check::Findings;
use super::types::Spec;
use crate::error::quoted;
use std::collections::BTreeMap;

/// `1`: the process keeps the groups of the caller.
const KEEP_GROUPS: &str = "run.oci.keep_original_groups";
/// The name of a cgroup below the container's, in which the process starts.
const DELEGATE: &str = "run.oci.delegate-cgroup";
/// Host file for what hooks print, appended.
const HOOKS_STDOUT: &str = "run.oci.hooks.stdout";
const HOOKS_STDERR: &str = "run.oci.hooks.stderr";
/// As `/linux/seccomp/listenerPath`.
const RECEIVER: &str = "run.oci.seccomp.receiver";
/// As `--pidfd-socket`.
const PIDFD: &str = "run.oci.pidfd_receiver";
/// Which mount option carries `/linux/mountLabel`.
const CONTEXT: &str = "run.oci.mount_context_type";
const CONTEXTS: [&str; 4] = ["context", "defcontext", "fscontext", "rootcontext"];

/// What would make another program or another filter of a container: running without it is not what was asked for.
const REFUSED: [(&str, &str); 3] = [
    ("run.oci.handler", "there are no handlers: programs are run by the kernel of this machine"),
    ("run.oci.seccomp.plugins", "there are no plugins; use /linux/seccomp/listenerPath"),
    ("run.oci.seccomp_bpf_data", "ready-made filters are not taken; use /linux/seccomp"),
];

/// Annotations, or how they begin, that change what is done: `features` lists them.
pub const MEANT: [&str; 2] = ["org.systemd.property.", "run.oci."];

/// The caller's groups stay.
pub fn keeps_groups(of: &BTreeMap<String, String>) -> bool {
    of.get(KEEP_GROUPS).is_some_and(|v| v == "1")
}

/// The cgroup below the container's own.
pub fn delegate(of: &BTreeMap<String, String>) -> Option<&str> {
    of.get(DELEGATE).map(String::as_str)
}

/// The files for stdout and stderr of hooks.
pub fn hook_files(of: &BTreeMap<String, String>) -> [Option<&str>; 2] {
    [HOOKS_STDOUT, HOOKS_STDERR].map(|name| of.get(name).map(String::as_str))
}

/// The socket that gets a pidfd.
pub fn pidfd_receiver(of: &BTreeMap<String, String>) -> Option<&str> {
    of.get(PIDFD).map(String::as_str)
}

/// What has a field of its own by now goes there, unless that is set.
pub(super) fn fold(spec: &mut Spec) {
    let Some(path) = spec.annotations.get(RECEIVER) else { return };
    if let Some(profile) =
        spec.linux.as_mut().and_then(|l| l.seccomp.as_mut()).filter(|s| s.listener_path.is_empty())
    {
        profile.listener_path = path.clone();
    }
}

/// Name, what fits, and that in words.
type Rule = (&'static str, fn(&str) -> bool, &'static str);

fn is_name(v: &str) -> bool {
    !matches!(v, "" | "." | "..") && !v.contains(['/', '\n', '\0']) && v.len() <= 255
}

/// Values that cannot be meant, and what is refused.
pub(super) fn check(f: &mut Findings, at: &At<'_>, spec: &Spec) {
    for (name, why) in REFUSED {
        if spec.annotations.get(name).is_some_and(|v| !v.is_empty()) {
            f.fail(&at.key(name), why);
        }
    }
    for name in [HOOKS_STDOUT, HOOKS_STDERR, RECEIVER, PIDFD] {
        if let Some(v) = spec.annotations.get(name).filter(|v| !v.starts_with('/')) {
            f.fail(&at.key(name), format!("got {}, want an absolute path of the host", quoted(v)));
        }
    }
    let rules: [Rule; 3] = [
        (KEEP_GROUPS, |v| matches!(v, "0" | "1"), "0 or 1"),
        (DELEGATE, is_name, "one name of a directory"),
        (CONTEXT, |v| CONTEXTS.contains(&v), "context, defcontext, fscontext or rootcontext"),
    ];
    for (name, fits, rule) in rules {
        if let Some(v) = spec.annotations.get(name).filter(|v| !fits(v)) {
            f.fail(&at.key(name), format!("got {}, want {rule}", quoted(v)));
        }
    }
    let inside = spec.hooks.as_ref().is_some_and(|h| !h.start_container.is_empty());
    for name in
        [HOOKS_STDOUT, HOOKS_STDERR].iter().filter(|name| inside && spec.annotations.contains_key(**name))
    {
        f.fail(&at.key(name), "hooks of /hooks/startContainer run where this file is not");
    }
}

#[cfg(test)]
mod tests {
    use crate::spec::{check, read};

    fn errors(annotations: &str) -> Vec<String> {
        let text = format!(
            r#"{{"ociVersion":"1.3.0","process":{{"args":["a"],"cwd":"/"}},"root":{{"path":"r"}},"linux":{{}},"annotations":{annotations}}}"#
        );
        let (spec, _) = read::config(text.as_bytes()).unwrap();
        check::findings(&spec).errors.iter().map(|e| e.to_string()).collect()
    }

    #[test]
    fn values_are_looked_at_and_strangers_are_not() {
        assert!(
            errors(r#"{"run.oci.keep_original_groups":"1","com.example":"x","org.criu.config":"/x"}"#)
                .is_empty()
        );
        for bad in [
            r#"{"run.oci.keep_original_groups":"yes"}"#,
            r#"{"run.oci.delegate-cgroup":"a/b"}"#,
            r#"{"run.oci.hooks.stdout":"log"}"#,
            r#"{"run.oci.mount_context_type":"none"}"#,
            r#"{"run.oci.handler":"krun"}"#,
        ] {
            let found = errors(bad);
            assert!(found.len() == 1 && found[0].starts_with("/annotations/run.oci."), "{bad}: {found:?}");
        }
    }

    #[test]
    fn the_receiver_is_the_listener_path() {
        let text = r#"{"ociVersion":"1.3.0","linux":{"seccomp":{"defaultAction":"SCMP_ACT_ALLOW"}},
            "annotations":{"run.oci.seccomp.receiver":"/run/agent"}}"#;
        let (spec, _) = read::config(text.as_bytes()).unwrap();
        assert_eq!(spec.linux.unwrap().seccomp.unwrap().listener_path, "/run/agent");
    }
}
