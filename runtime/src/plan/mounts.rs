//! Mount options to typed operations: `mounts[]` of config.json becomes a list that init walks once. Pure.

use super::idmap::{self, IdMap};
use super::launch::{Launch, on_host};
use crate::error::{Code, Error, Result, quoted};
use crate::spec;
use crate::sys::mount::{attr, propagation};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// One mount, ready to be made. Walked in order.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MountOp {
    /// JSON pointer of the entry.
    pub field: String,
    /// Absolute path inside the container.
    pub dest: String,
    pub kind: MountKind,
    /// `MOUNT_ATTR_*` bits to set and to clear on this mount.
    pub set: u64,
    pub clear: u64,
    /// The same for the whole tree (Linux 5.12).
    pub rec_set: u64,
    pub rec_clear: u64,
    /// Propagation changes in the order given: type and whether recursive.
    pub propagation: Vec<(u64, bool)>,
    /// SELinux label of the root of a new file system that has no option for one.
    pub label: Option<String>,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MountKind {
    /// A host file or directory.
    Bind { source: PathBuf, recursive: bool, ids: Option<IdMap> },
    /// A new instance of a file system, with its own options.
    Fs { fs: String, source: String, options: Vec<(String, Option<String>)>, copy_up: bool },
    /// The container's view of its control groups.
    Cgroup,
    /// Nothing: what an earlier entry mounted there gets other attributes.
    Again,
}

impl MountOp {
    /// True when the mount itself (not its tree) is asked to be read-only.
    pub fn read_only(&self) -> bool {
        self.set & attr::RDONLY != 0
    }
}

/// What an option does.
#[derive(Clone, Copy)]
enum Effect {
    Nothing,
    Set(u64),
    Clear(u64),
    Atime(u64),
    RecSet(u64),
    RecClear(u64),
    RecAtime(u64),
    Propagation(u64, bool),
    /// A flag of the superblock, passed to the file system by this name.
    Super(&'static str),
    Bind(bool),
    /// Id-mapped, recursively or not.
    IdMapped(bool),
    CopyUp,
    Remount,
    /// Known to the spec, impossible; says why.
    Refused(&'static str),
}

use Effect::*;

/// Every option that is not handed to the file system. One table: parsing and `features` both read it.
const OPTIONS: &[(&str, Effect)] = &[
    ("acl", Super("acl")),
    ("async", Super("async")),
    ("atime", Clear(attr::NOATIME)),
    ("bind", Bind(false)),
    ("defaults", Nothing),
    ("dev", Clear(attr::NODEV)),
    ("diratime", Clear(attr::NODIRATIME)),
    ("dirsync", Super("dirsync")),
    ("exec", Clear(attr::NOEXEC)),
    ("idmap", IdMapped(false)),
    ("iversion", Refused("no call of the mount API can set it, file systems decide")),
    ("lazytime", Super("lazytime")),
    ("loud", Nothing),
    ("mand", Super("mand")),
    ("noacl", Super("noacl")),
    ("noatime", Atime(attr::NOATIME)),
    ("nodev", Set(attr::NODEV)),
    ("nodiratime", Set(attr::NODIRATIME)),
    ("noexec", Set(attr::NOEXEC)),
    ("noiversion", Nothing),
    ("nolazytime", Super("nolazytime")),
    ("nomand", Super("nomand")),
    ("norelatime", Atime(attr::STRICTATIME)),
    ("nostrictatime", Atime(0)),
    ("nosuid", Set(attr::NOSUID)),
    ("nosymfollow", Set(attr::NOSYMFOLLOW)),
    ("private", Propagation(propagation::PRIVATE, false)),
    ("ratime", RecClear(attr::NOATIME)),
    ("rbind", Bind(true)),
    ("rdev", RecClear(attr::NODEV)),
    ("rdiratime", RecClear(attr::NODIRATIME)),
    ("relatime", Atime(0)),
    ("remount", Remount),
    ("rexec", RecClear(attr::NOEXEC)),
    ("ridmap", IdMapped(true)),
    ("rnoatime", RecAtime(attr::NOATIME)),
    ("rnodev", RecSet(attr::NODEV)),
    ("rnodiratime", RecSet(attr::NODIRATIME)),
    ("rnoexec", RecSet(attr::NOEXEC)),
    ("rnorelatime", RecAtime(attr::STRICTATIME)),
    ("rnostrictatime", RecAtime(0)),
    ("rnosuid", RecSet(attr::NOSUID)),
    ("rnosymfollow", RecSet(attr::NOSYMFOLLOW)),
    ("ro", Set(attr::RDONLY)),
    ("rprivate", Propagation(propagation::PRIVATE, true)),
    ("rrelatime", RecAtime(0)),
    ("rro", RecSet(attr::RDONLY)),
    ("rrw", RecClear(attr::RDONLY)),
    ("rshared", Propagation(propagation::SHARED, true)),
    ("rslave", Propagation(propagation::SLAVE, true)),
    ("rstrictatime", RecAtime(attr::STRICTATIME)),
    ("rsuid", RecClear(attr::NOSUID)),
    ("rsymfollow", RecClear(attr::NOSYMFOLLOW)),
    ("runbindable", Propagation(propagation::UNBINDABLE, true)),
    ("rw", Clear(attr::RDONLY)),
    ("shared", Propagation(propagation::SHARED, false)),
    ("silent", Nothing),
    ("slave", Propagation(propagation::SLAVE, false)),
    ("strictatime", Atime(attr::STRICTATIME)),
    ("suid", Clear(attr::NOSUID)),
    ("symfollow", Clear(attr::NOSYMFOLLOW)),
    ("sync", Super("sync")),
    ("tmpcopyup", CopyUp),
    ("unbindable", Propagation(propagation::UNBINDABLE, false)),
];

/// Names of the options that are honoured, sorted, for `features`.
pub fn option_names() -> impl Iterator<Item = &'static str> {
    OPTIONS.iter().filter(|(_, e)| !matches!(e, Refused(_))).map(|(n, _)| *n)
}

/// All of `mounts[]`. Relative bind sources count from the bundle, as in runc.
pub fn plan(mounts: &[spec::Mount], bundle: &Path, ids: idmap::Context<'_>) -> Result<Vec<MountOp>> {
    mounts.iter().enumerate().map(|(i, m)| plan_one(m, bundle, format!("/mounts/{i}"), ids)).collect()
}

fn plan_one(m: &spec::Mount, bundle: &Path, field: String, ids: idmap::Context<'_>) -> Result<MountOp> {
    // The mappings: see `idmap`.
    let spec::Mount { destination, kind, source, options, uid_mappings: _, gid_mappings: _ } = m;
    let mut op = MountOp {
        field,
        dest: destination.clone(),
        kind: MountKind::Cgroup,
        set: 0,
        clear: 0,
        rec_set: 0,
        rec_clear: 0,
        propagation: Vec::new(),
        label: None,
    };
    let words = read(options, &mut op)?;
    let bind = words.bind.or((kind == "bind").then_some(true));
    let ids = idmap::plan(&op.field, m, words.mapped, bind.is_some(), ids)?;
    let wrong = |i: usize, text: String| Err(Error::spec(format!("{}/options/{i}", op.field), text));
    op.kind = match (bind, words.remount) {
        // Of a file system that the host may use, too.
        (None, Some(i)) => {
            return wrong(i, "remount changes one mount, not its file system: want bind beside it".into());
        }
        (Some(_), Some(i)) if ids.is_some() => {
            return wrong(i, "a mount that is there cannot be id-mapped any more".into());
        }
        (Some(recursive), again) => {
            // It has no file system to hand options to; accepting them would be a silent lie.
            if let Some((i, one)) = words.foreign {
                let text = "bind mounts cannot have any filesystem-specific options applied";
                return wrong(i, format!("{text}, got {}", quoted(one)));
            }
            match again {
                Some(_) => MountKind::Again,
                None => MountKind::Bind { source: bundle.join(source), recursive, ids },
            }
        }
        (None, None) if kind == "cgroup" || kind == "cgroup2" => MountKind::Cgroup,
        (None, None) if kind.is_empty() => {
            let rule = "required unless options hold bind or rbind";
            return Err(Error::spec(format!("{}/type", op.field), rule));
        }
        (None, None) => MountKind::Fs {
            fs: kind.clone(),
            source: source.clone(),
            options: words.data,
            copy_up: words.copy_up,
        },
    };
    if words.copy_up && !matches!(&op.kind, MountKind::Fs { fs, .. } if fs == "tmpfs") {
        return Err(Error::spec(format!("{}/options", op.field), "tmpcopyup works on tmpfs only"));
    }
    Ok(op)
}

/// What the options say besides the attributes.
#[derive(Default)]
struct Words<'a> {
    /// Recursive or not.
    bind: Option<bool>,
    mapped: Option<idmap::Asked<'a>>,
    /// The place of the option.
    remount: Option<usize>,
    copy_up: bool,
    data: Vec<(String, Option<String>)>,
    /// The first option that only a file system would understand.
    foreign: Option<(usize, &'a str)>,
}

/// Reads the options; attributes go to `op`.
fn read<'a>(options: &'a [String], op: &mut MountOp) -> Result<Words<'a>> {
    let mut words = Words::default();
    for (i, option) in options.iter().enumerate() {
        // Callers also pass several in one string.
        for one in several(option).filter(|o| !o.is_empty()) {
            let (word, inline) = split_idmap(one);
            let effect = OPTIONS.binary_search_by_key(&word, |(n, _)| n).ok().map(|k| OPTIONS[k].1);
            match effect {
                Some(Bind(recursive)) => words.bind = Some(recursive),
                Some(IdMapped(recursive)) => {
                    words.mapped = Some(idmap::Asked { index: i, recursive, inline });
                }
                Some(CopyUp) => words.copy_up = true,
                Some(Remount) => words.remount = Some(i),
                Some(Super(name)) => words.data.push((name.to_string(), None)),
                Some(Refused(why)) => {
                    let text = format!("mount option {} is not supported: {why}", quoted(one));
                    let e = Error::spec(format!("{}/options/{i}", op.field), text);
                    return Err(e.code(Code::Unsupported));
                }
                Some(e) => apply(op, e),
                None => {
                    words.foreign.get_or_insert((i, one));
                    words.data.push(match one.split_once('=') {
                        Some((k, v)) if LABELS.contains(&k) => (k.to_string(), Some(v.replace('"', ""))),
                        Some((k, v)) => (k.to_string(), Some(v.to_string())),
                        None => (one.to_string(), None),
                    });
                }
            }
        }
    }
    Ok(words)
}

/// Options with an SELinux label, which may have commas in it and then stands in quotes (mount(8)); those are not part of it.
pub(super) const LABELS: [&str; 4] = ["context", "fscontext", "defcontext", "rootcontext"];

/// The options in one string, between commas.
fn several(option: &str) -> impl Iterator<Item = &str> {
    let mut left = Some(option);
    std::iter::from_fn(move || {
        let text = left?;
        let quoted = text.split_once("=\"").filter(|(name, _)| LABELS.contains(name));
        let from = quoted.and_then(|(name, rest)| Some(name.len() + 2 + rest.find('"')?)).unwrap_or(0);
        let end = text[from..].find(',').map(|at| from + at);
        left = end.map(|at| &text[at + 1..]);
        Some(&text[..end.unwrap_or(text.len())])
    })
}

/// `idmap=MAPS` is the one option of ours with a value.
fn split_idmap(option: &str) -> (&str, Option<&str>) {
    match option.split_once('=') {
        Some((word @ ("idmap" | "ridmap"), maps)) => (word, Some(maps)),
        _ => (option, None),
    }
}

/// Owners of new file systems that a new user namespace does not have.
pub fn ids_mapped(mounts: &[spec::Mount], launch: &Launch) -> Result<()> {
    for (i, mount) in mounts.iter().enumerate() {
        for (n, option) in mount.options.iter().enumerate() {
            let (maps, id) = match option.split_once('=') {
                Some(("uid", id)) => (&launch.uid_maps, id),
                Some(("gid", id)) => (&launch.gid_maps, id),
                _ => continue,
            };
            if id.parse().is_ok_and(|id| on_host(maps, id).is_none()) {
                let text = format!("got {option}, which is not mapped in the container's user namespace");
                return Err(Error::spec(format!("/mounts/{i}/options/{n}"), text));
            }
        }
    }
    Ok(())
}

fn apply(op: &mut MountOp, effect: Effect) {
    match effect {
        Set(bit) => (op.set, op.clear) = (op.set | bit, op.clear & !bit),
        Clear(bit) => (op.set, op.clear) = (op.set & !bit, op.clear | bit),
        Atime(mode) => {
            op.set = op.set & !attr::ATIME_MASK | mode;
            op.clear |= attr::ATIME_MASK;
        }
        RecSet(bit) => (op.rec_set, op.rec_clear) = (op.rec_set | bit, op.rec_clear & !bit),
        RecClear(bit) => (op.rec_set, op.rec_clear) = (op.rec_set & !bit, op.rec_clear | bit),
        RecAtime(mode) => {
            op.rec_set = op.rec_set & !attr::ATIME_MASK | mode;
            op.rec_clear |= attr::ATIME_MASK;
        }
        Propagation(kind, recursive) => op.propagation.push((kind, recursive)),
        Nothing | Super(_) | Bind(_) | IdMapped(_) | CopyUp | Remount | Refused(_) => {}
    }
}

/// The kernel wants the whole access time field cleared when any of its modes changes.
pub fn attr_pair(set: u64, clear: u64) -> (u64, u64) {
    if (set | clear) & attr::ATIME_MASK != 0 { (set, clear | attr::ATIME_MASK) } else { (set, clear) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::launch::Launch;

    fn mount(kind: &str, options: &[&str]) -> spec::Mount {
        spec::Mount {
            destination: "/d".into(),
            kind: kind.into(),
            source: "s".into(),
            options: options.iter().map(|o| o.to_string()).collect(),
            ..Default::default()
        }
    }

    fn one(kind: &str, options: &[&str]) -> Result<MountOp> {
        let ids = idmap::Context { launch: &Launch::default(), rootless: false };
        plan_one(&mount(kind, options), Path::new("/b"), "/mounts/0".into(), ids)
    }

    #[test]
    fn table_is_sorted() {
        assert!(OPTIONS.windows(2).all(|w| w[0].0 < w[1].0));
    }

    #[test]
    fn the_last_of_contradicting_options_wins() {
        let op = one("tmpfs", &["ro", "rw", "noatime", "relatime"]).unwrap();
        assert_eq!((op.set & attr::RDONLY, op.clear & attr::RDONLY), (0, attr::RDONLY));
        assert_eq!(op.set & attr::ATIME_MASK, 0);
        assert_eq!(op.clear & attr::ATIME_MASK, attr::ATIME_MASK);
    }

    #[test]
    fn bind_sources_count_from_the_bundle() {
        let op = one("none", &["rbind", "rro"]).unwrap();
        assert_eq!(op.kind, MountKind::Bind { source: "/b/s".into(), recursive: true, ids: None });
        assert_eq!(op.rec_set, attr::RDONLY);
    }

    #[test]
    fn bind_refuses_file_system_options_and_takes_none() {
        let e = one("bind", &["size=1"]).unwrap_err();
        assert!(e.to_string().contains("filesystem-specific options"), "{e}");
        one("bind", &["ro"]).unwrap();
    }

    #[test]
    fn remount_is_of_one_mount() {
        assert_eq!(one("", &["bind", "remount", "ro"]).unwrap().kind, MountKind::Again);
        for (kind, options) in
            [("tmpfs", &["remount"][..]), ("bind", &["remount", "idmap=uids=0-0-1;gids=0-0-1"])]
        {
            let e = one(kind, options).unwrap_err();
            assert_eq!(e.field_path(), Some("/mounts/0/options/0"), "{e}");
        }
    }

    #[test]
    fn unknown_words_go_to_the_file_system() {
        let op = one("tmpfs", &["size=1k", "huge", "nosuid,nodev"]).unwrap();
        let MountKind::Fs { options, .. } = op.kind else { panic!("not a file system") };
        assert_eq!(options, vec![("size".into(), Some("1k".into())), ("huge".into(), None)]);
        assert_eq!(op.set, attr::NOSUID | attr::NODEV);
    }

    #[test]
    fn labels_have_commas() {
        for (option, label) in [
            ("context=\"u:r:t:s0:c1,c2\"", "u:r:t:s0:c1,c2"),
            ("nosuid,context=\"u:r:t:s0:c1,c2\",nodev", "u:r:t:s0:c1,c2"),
            ("nosuid,context=u:r:t:s0,nodev", "u:r:t:s0"),
            ("context=\"u:r:t", "u:r:t"),
        ] {
            let MountKind::Fs { options, .. } = one("tmpfs", &[option]).unwrap().kind else {
                panic!("{option}")
            };
            assert_eq!(options, vec![("context".into(), Some(label.into()))], "{option}");
        }
        // Elsewhere a quote is a character as any other.
        let MountKind::Fs { options, .. } = one("x", &["name=\"a,b\""]).unwrap().kind else { panic!() };
        assert_eq!(options, vec![("name".into(), Some("\"a".into())), ("b\"".into(), None)]);
    }
}
