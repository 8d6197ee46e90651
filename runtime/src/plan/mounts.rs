//! Mount options to typed operations: `mounts[]` of config.json becomes a list that init walks once. Pure.

use super::idmap::{self, IdMap};
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
    /// Known to the spec, not built here; the text says what.
    Refused,
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
    ("lazytime", Super("lazytime")),
    ("loud", Nothing),
    ("mand", Super("mand")),
    ("noacl", Super("noacl")),
    ("noatime", Atime(attr::NOATIME)),
    ("nodev", Set(attr::NODEV)),
    ("nodiratime", Set(attr::NODIRATIME)),
    ("noexec", Set(attr::NOEXEC)),
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
    ("remount", Refused),
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
    OPTIONS.iter().filter(|(_, e)| !matches!(e, Refused)).map(|(n, _)| *n)
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
    };
    let mut bind = (kind == "bind").then_some(true);
    let mut copy_up = false;
    let mut mapped = None;
    let mut data: Vec<(String, Option<String>)> = Vec::new();
    // The first option that only a file system would understand.
    let mut foreign = None;
    for (i, option) in options.iter().enumerate() {
        // Callers also pass several in one string.
        for one in option.split(',').filter(|o| !o.is_empty()) {
            let (word, inline) = split_idmap(one);
            let effect = OPTIONS.binary_search_by_key(&word, |(n, _)| n).ok().map(|k| OPTIONS[k].1);
            match effect {
                Some(Bind(recursive)) => bind = Some(recursive),
                Some(IdMapped(recursive)) => mapped = Some(idmap::Asked { index: i, recursive, inline }),
                Some(CopyUp) => copy_up = true,
                Some(Super(name)) => data.push((name.to_string(), None)),
                Some(Refused) => {
                    let text = format!("mount option {} is not built yet", quoted(one));
                    return Err(
                        Error::spec(format!("{}/options/{i}", op.field), text).code(Code::Unsupported)
                    );
                }
                Some(e) => apply(&mut op, e),
                None => {
                    foreign.get_or_insert((i, one));
                    data.push(match one.split_once('=') {
                        Some((k, v)) => (k.to_string(), Some(v.to_string())),
                        None => (one.to_string(), None),
                    });
                }
            }
        }
    }
    let ids = idmap::plan(&op.field, m, mapped, bind.is_some(), ids)?;
    op.kind = match bind {
        Some(recursive) => {
            // It has no file system to hand options to; accepting them would be a silent lie.
            if let Some((i, one)) = foreign {
                let text = format!(
                    "bind mounts cannot have any filesystem-specific options applied, got {}",
                    quoted(one)
                );
                return Err(Error::spec(format!("{}/options/{i}", op.field), text));
            }
            MountKind::Bind { source: bundle.join(source), recursive, ids }
        }
        None if kind == "cgroup" || kind == "cgroup2" => MountKind::Cgroup,
        None if kind.is_empty() => {
            return Err(Error::spec(
                format!("{}/type", op.field),
                "required unless options hold bind or rbind",
            ));
        }
        None => MountKind::Fs { fs: kind.clone(), source: source.clone(), options: data, copy_up },
    };
    if copy_up && !matches!(&op.kind, MountKind::Fs { fs, .. } if fs == "tmpfs") {
        return Err(Error::spec(format!("{}/options", op.field), "tmpcopyup works on tmpfs only"));
    }
    Ok(op)
}

/// `idmap=MAPS` is the one option of ours with a value.
fn split_idmap(option: &str) -> (&str, Option<&str>) {
    match option.split_once('=') {
        Some((word @ ("idmap" | "ridmap"), maps)) => (word, Some(maps)),
        _ => (option, None),
    }
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
        Nothing | Super(_) | Bind(_) | IdMapped(_) | CopyUp | Refused => {}
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
    fn unknown_words_go_to_the_file_system() {
        let op = one("tmpfs", &["size=1k", "huge", "nosuid,nodev"]).unwrap();
        let MountKind::Fs { options, .. } = op.kind else { panic!("not a file system") };
        assert_eq!(options, vec![("size".into(), Some("1k".into())), ("huge".into(), None)]);
        assert_eq!(op.set, attr::NOSUID | attr::NODEV);
    }
}
