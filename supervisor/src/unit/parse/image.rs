//! The keys of the file itself that say what is run: image, process, runtime.

use std::path::PathBuf;

use super::read::{Reader, Table, Value, shown};
use crate::unit::service::{Image, Process, User};

/// The longest host name the kernel takes (uname(2), `__NEW_UTS_LEN`).
const HOSTNAME_MAX: usize = 64;

/// `bundle`, or `image`, or `root` with `command`.
pub(super) fn image(r: &mut Reader, t: &Table, command: bool) -> Option<Image> {
    let bundle = t.get(r, "bundle");
    let stored = t.get(r, "image");
    let root = t.get(r, "root");
    let read_only = t.get(r, "root_read_only");
    if let (Some(v), None, None) = (&read_only, &root, &stored) {
        v.say(r, "root_read_only is about root or image, none of which is given");
    }
    let read_only = read_only.and_then(|v| v.boolean(r)).unwrap_or(false);
    let given = [("bundle", &bundle), ("image", &stored), ("root", &root)];
    let given: Vec<_> = given.into_iter().filter_map(|(name, v)| Some((name, v.as_ref()?))).collect();
    if let [(first, _), (second, v), ..] = given[..] {
        bundle.as_ref().map(|v| v.path(r));
        root.as_ref().map(|v| v.path(r));
        stored.as_ref().map(|v| reference(r, v));
        v.say(r, format!("{first} and {second} exclude each other, both are given"));
        return None;
    }
    match (bundle, stored, root) {
        (Some(bundle), ..) => Some(Image::Bundle(bundle.path(r)?.into())),
        (_, Some(stored), _) => {
            let (name, id) = reference(r, &stored)?;
            Some(Image::Stored { name, id, read_only })
        }
        (.., Some(root)) => {
            let path = root.path(r)?;
            if !command && t.get(r, "command").is_none() {
                root.say(r, "root needs command, which is not given");
            }
            Some(Image::Root { path: path.into(), read_only })
        }
        (None, None, None) => {
            t.say(r, "bundle", "nothing to run: want bundle, or image, or root and command");
            None
        }
    }
}

/// The name of an image, perhaps with its id.
fn reference(r: &mut Reader, v: &Value) -> Option<(String, Option<String>)> {
    v.parsed(r, |text| {
        let (name, id) = crate::image::store::split_name(text)?;
        Ok((name.to_owned(), id.map(str::to_owned)))
    })
}

/// A program of the host: absolute, or a bare name.
pub(super) fn runtime(r: &mut Reader, v: &Value) -> Option<PathBuf> {
    let text = v.text(r)?;
    if text.contains('/') && !text.starts_with('/') {
        v.say(r, format!("want an absolute path or the name of a program, got {}", shown(&text)));
        return None;
    }
    Some(text.into())
}

pub(super) fn process(r: &mut Reader, t: &Table) -> Process {
    let user = t.get(r, "user");
    let groups = t.get(r, "groups");
    if let (Some(v), None) = (&groups, &user) {
        v.say(r, "groups needs user, which is not given");
    }
    let groups = groups.map(|v| v.each(r, |r, v| v.natural(r, 0..=ID_MAX))).unwrap_or_default();
    let user = user.and_then(|v| ids(r, &v)).map(|(uid, gid)| User { uid, gid, groups });
    Process {
        command: t.get(r, "command").and_then(|v| command(r, &v)),
        env: t.get(r, "env").map(|v| environment(r, &v)).unwrap_or_default(),
        env_files: t
            .get(r, "env_files")
            .map(|v| v.each(r, |r, v| v.path(r).map(PathBuf::from)))
            .unwrap_or_default(),
        workdir: t.get(r, "workdir").and_then(|v| v.path(r).filter(|p| no_parents(r, &v, p))),
        user,
        tty: t.get(r, "tty").and_then(|v| v.boolean(r)).unwrap_or(false),
        stdin: t.get(r, "stdin").and_then(|v| v.boolean(r)).unwrap_or(false),
        hostname: t.get(r, "hostname").and_then(|v| hostname(r, &v)),
    }
}

/// The kernel keeps the last id for itself (`(uid_t) -1`).
pub(super) const ID_MAX: i64 = (u32::MAX - 1) as i64;

fn no_parents(r: &mut Reader, v: &Value, path: &str) -> bool {
    let good = !path.split('/').any(|p| p == "..");
    if !good {
        v.say(r, format!("a path inside must not have \"..\", got {}", shown(path)));
    }
    good
}

/// Program and arguments.
pub(super) fn command(r: &mut Reader, v: &Value) -> Option<Vec<String>> {
    if v.is_string() {
        v.say(
            r,
            "wrong type, got a string, want a list such as [\"/bin/serve\", \"8080\"]; no shell is involved",
        );
        return None;
    }
    let words = v.list(r);
    let all: Vec<String> = words.iter().filter_map(|w| w.raw(r)).collect();
    match all.first() {
        Some(program) if program.is_empty() => {
            v.say(r, "the program must not be empty");
            None
        }
        None => {
            if words.is_empty() {
                v.say(r, "empty list, want a program and its arguments");
            }
            None
        }
        Some(_) => Some(all),
    }
}

fn environment(r: &mut Reader, v: &Value) -> std::collections::BTreeMap<String, String> {
    let mut env = std::collections::BTreeMap::new();
    for (name, at, value) in v.map(r) {
        if let Err(e) = env_name(&name) {
            r.say(Some(at), &value.key, e);
        } else if let Some(text) = value.unshown(r) {
            env.insert(name, text);
        }
    }
    env
}

/// Whether this can be a name in a service's environment.
pub(in crate::unit) fn env_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        Err("empty name in the environment".into())
    } else if name.contains('=') || name.chars().any(|c| c.is_control() || c.is_whitespace()) {
        Err(format!(
            "bad name in the environment, got {}, want no \"=\", space or control character",
            shown(name)
        ))
    } else if name.starts_with("KNARR_") {
        Err(format!("names beginning with KNARR_ are the daemon's, got {}", shown(name)))
    } else {
        Ok(())
    }
}

fn ids(r: &mut Reader, v: &Value) -> Option<(u32, u32)> {
    if !v.is_string() {
        v.say(r, "wrong type, want user and group as one string of numbers, \"1000:1000\"");
        return None;
    }
    v.parsed(r, |text| {
        let want = "want user and group as numbers, \"1000:1000\"";
        let id = |s: &str| {
            let digits = !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
            s.parse::<u32>().ok().filter(|n| digits && i64::from(*n) <= ID_MAX)
        };
        let name = |s: &str| s.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        match text.split_once(':') {
            Some((uid, gid)) if name(uid) || name(gid) => {
                Err(format!("names are not looked up, got {text:?}, {want}"))
            }
            Some((uid, gid)) => match (id(uid), id(gid)) {
                (Some(uid), Some(gid)) => Ok((uid, gid)),
                _ => Err(format!("not a user, got {text:?}, {want}")),
            },
            None if name(text) => Err(format!("names are not looked up, got {text:?}, {want}")),
            None => Err(format!("a user without a group, got {text:?}, {want}")),
        }
    })
}

/// What uname(2) takes as a name of a host.
pub(super) fn hostname(r: &mut Reader, v: &Value) -> Option<String> {
    v.parsed(r, |text| {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.' || c == '_';
        if text.len() > HOSTNAME_MAX {
            Err(format!("host name of {} bytes is longer than {HOSTNAME_MAX}", text.len()))
        } else if !text.chars().all(plain) || text.starts_with(['-', '.']) || text.ends_with(['-', '.']) {
            Err(format!("not a host name, got {text:?}, want letters, digits, \"-\" and \".\""))
        } else {
            Ok(text.to_owned())
        }
    })
}
