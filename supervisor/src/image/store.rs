//! Where images are kept, below the state directory:
//!
//! - `lock`: held with flock(2) by whoever changes something here;
//! - `names.json`: from names to ids, written aside and renamed;
//! - `ids/ID.json`: a [`Record`];
//! - `trees/CHAIN`: the unpacked layers, shared by all images with the same layers; never written to again;
//! - `tmp-PID`: what is under way. Whoever holds the lock finds only what a killed command left, and removes it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::config::Record;
use super::{Error, Kind, Result, digits};
use crate::dirs::Dirs;
use crate::sys::tree;

/// The longest name.
const NAME_MAX: usize = 255;

/// The images of a host.
#[derive(Debug, Clone)]
pub struct Store {
    dir: PathBuf,
    dirs: Dirs,
}

/// The right to change something.
#[derive(Debug)]
pub struct Locked {
    store: Store,
    _lock: File,
}

/// Whether this can be the name of an image: as engines write references.
///
/// # Errors
/// What is wrong with it.
pub fn check_name(name: &str) -> std::result::Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/:".contains(c);
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    if name.len() > NAME_MAX {
        Err(format!("the name of an image is longer than {NAME_MAX} bytes"))
    } else if !name.chars().all(plain) || !ends(name.chars().next()) || !ends(name.chars().last()) {
        Err(format!(
            "not the name of an image: {name:?}, want letters, digits and any of . _ - / : between them"
        ))
    } else {
        Ok(())
    }
}

/// A name, perhaps with the id that it had: `web`, `web@sha256:DIGITS`.
///
/// # Errors
/// It is neither.
pub fn split_name(text: &str) -> std::result::Result<(&str, Option<&str>), String> {
    let (name, id) = match text.split_once('@') {
        Some((name, id)) => (name, Some(digits(id).map_err(|e| e.text)?)),
        None => (text, None),
    };
    check_name(name).map(|()| (name, id))
}

impl Store {
    /// That of a daemon with these directories; nothing is looked at.
    pub fn of(dirs: &Dirs) -> Store {
        Store { dir: dirs.images(), dirs: dirs.clone() }
    }

    /// The tree of an image.
    pub fn tree(&self, record: &Record) -> PathBuf {
        self.dir.join("trees").join(&record.chain)
    }

    pub(super) fn trees(&self) -> PathBuf {
        self.dir.join("trees")
    }

    fn ids_dir(&self) -> PathBuf {
        self.dir.join("ids")
    }

    fn record_file(&self, id: &str) -> PathBuf {
        self.ids_dir().join(format!("{id}.json"))
    }

    /// All names with their ids.
    ///
    /// # Errors
    /// The list cannot be read.
    pub fn names(&self) -> Result<BTreeMap<String, String>> {
        let path = self.dir.join("names.json");
        match std::fs::read(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(BTreeMap::new()),
            Err(e) => Err(Error::at(&path, e)),
            Ok(text) => serde_json::from_slice(&text).map_err(|e| Error::at(&path, e)),
        }
    }

    /// The record of an id.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub fn record(&self, id: &str) -> Result<Record> {
        let path = self.record_file(id);
        match std::fs::read(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => {
                Err(Error { kind: Kind::Missing, text: format!("there is no image sha256:{id}") })
            }
            Err(e) => Err(Error::at(&path, e)),
            Ok(text) => serde_json::from_slice(&text).map_err(|e| Error::at(&path, e)),
        }
    }

    /// The image of a name, of `NAME@sha256:DIGITS`, or of the first digits of an id.
    ///
    /// # Errors
    /// There is none.
    pub fn find(&self, text: &str) -> Result<Record> {
        let missing = |text: String| Error { kind: Kind::Missing, text };
        if let (_, Some(id)) = split_name(text).map_err(Error::refused)? {
            return self.record(id);
        }
        let names = self.names()?;
        let with_tag = format!("{text}:latest");
        if let Some(id) = names.get(text).or_else(|| names.get(&with_tag)) {
            return self.record(id);
        }
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        let begins = |id: &&String| hex.len() >= 8 && id.starts_with(hex);
        let ids = self.ids()?;
        let mut found = ids.iter().filter(begins);
        match (found.next(), found.next()) {
            (Some(id), None) => self.record(id),
            _ => Err(missing(format!("there is no image {text}; knarrctl image import brings one"))),
        }
    }

    /// All ids, also of images that have no name any more.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn ids(&self) -> Result<BTreeSet<String>> {
        let dir = self.ids_dir();
        let entries = match std::fs::read_dir(&dir) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(BTreeSet::new()),
            entries => entries.map_err(|e| Error::at(&dir, e))?,
        };
        let mut ids = BTreeSet::new();
        for entry in entries {
            let name = entry.map_err(|e| Error::at(&dir, e))?.file_name();
            if let Some(id) = name.to_str().and_then(|n| n.strip_suffix(".json"))
                && digits(&format!("sha256:{id}")).is_ok()
            {
                ids.insert(id.to_owned());
            }
        }
        Ok(ids)
    }

    /// Who uses an image: services in force, generations that can be gone back to, and what instances have written on it.
    ///
    /// # Errors
    /// That cannot be read to its end: then nobody can say that nobody does.
    pub fn users(&self, id: &str) -> Result<Vec<String>> {
        let mut users = Vec::new();
        let pin = format!("sha256:{id}");
        for (file, service, _) in files(&self.dirs.accepted(), 0)? {
            if holds(&file, &pin)? {
                users.push(format!("service {}", service.trim_end_matches(".toml")));
            }
        }
        for (file, number, service) in files(&self.dirs.generations(), 1)? {
            if holds(&file, &pin)? {
                users.push(format!("generation {} of {service}", number.trim_end_matches(".toml")));
            }
        }
        for (file, name, version) in files(&self.dirs.layers(), 2)? {
            if name == super::root::IMAGE && holds(&file, id)? {
                let instance = file.parent().and_then(Path::parent).and_then(Path::file_name);
                let instance = instance.unwrap_or_default().to_string_lossy().into_owned();
                users.push(format!("the files of {instance} ({version})"));
            }
        }
        users.sort();
        users.dedup();
        Ok(users)
    }

    /// Waits for the lock, makes the directories, and removes what killed commands left.
    ///
    /// # Errors
    /// This is not root, or something cannot be made or removed.
    pub fn lock(&self) -> Result<Locked> {
        if !tree::is_root() {
            return Err(Error::failed("only root can have files of other owners; run it as root"));
        }
        for dir in [&self.dir, &self.trees(), &self.ids_dir()] {
            let made = std::fs::DirBuilder::new().mode(0o700).recursive(true).create(dir);
            made.map_err(|e| Error::at(dir, e))?;
        }
        let path = self.dir.join("lock");
        let lock = File::options().create(true).truncate(false).write(true).open(&path);
        let lock = lock.map_err(|e| Error::at(&path, e))?;
        if !tree::lock(&lock, false).map_err(|e| Error::at(&path, e))? {
            eprintln!("waiting for another knarrctl image command");
            tree::lock(&lock, true).map_err(|e| Error::at(&path, e))?;
        }
        let locked = Locked { store: self.clone(), _lock: lock };
        locked.sweep()?;
        Ok(locked)
    }
}

/// Files at a depth of directories: path, name, and name of the directory. None where the first one is missing.
fn files(dir: &Path, depth: u32) -> Result<Vec<(PathBuf, String, String)>> {
    let entries = match std::fs::read_dir(dir) {
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(Vec::new()),
        entries => entries.map_err(|e| Error::at(dir, e))?,
    };
    let mut all = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| Error::at(dir, e))?.path();
        if depth > 0 {
            all.extend(files(&path, depth - 1)?);
        } else {
            let text = |p: Option<&std::ffi::OsStr>| p.unwrap_or_default().to_string_lossy().into_owned();
            all.push((path.clone(), text(path.file_name()), text(dir.file_name())));
        }
    }
    Ok(all)
}

fn holds(file: &Path, word: &str) -> Result<bool> {
    match std::fs::read_to_string(file) {
        // Gone since the directory was read.
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        text => Ok(text.map_err(|e| Error::at(file, e))?.contains(word)),
    }
}

impl Locked {
    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// What killed commands left: directories of theirs, trees without a record, and records without a tree.
    fn sweep(&self) -> Result<()> {
        let dir = &self.store.dir;
        for entry in std::fs::read_dir(dir).map_err(|e| Error::at(dir, e))? {
            let entry = entry.map_err(|e| Error::at(dir, e))?;
            let name = entry.file_name();
            if name.as_encoded_bytes().starts_with(b"tmp-") || name.as_encoded_bytes().starts_with(b".") {
                remove(dir, &name)?;
            }
        }
        let mut chains = BTreeSet::new();
        for id in self.store.ids()? {
            chains.insert(self.store.record(&id)?.chain);
        }
        let trees = self.store.trees();
        for entry in std::fs::read_dir(&trees).map_err(|e| Error::at(&trees, e))? {
            let name = entry.map_err(|e| Error::at(&trees, e))?.file_name();
            if name.to_str().is_none_or(|n| !chains.contains(n)) {
                remove(&trees, &name)?;
            }
        }
        Ok(())
    }

    /// A directory for what is under way.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn scratch(&self) -> Result<Scratch> {
        let name = format!("tmp-{}", std::process::id());
        let path = self.store.dir.join(&name);
        std::fs::DirBuilder::new().mode(0o700).create(&path).map_err(|e| Error::at(&path, e))?;
        Ok(Scratch { parent: self.store.dir.clone(), name })
    }

    /// Keeps a record whose tree is there.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn keep(&self, record: &Record) -> Result<()> {
        self.write(&self.store.record_file(&record.id), record)
    }

    /// Gives a name to an id; the id that had it before.
    ///
    /// # Errors
    /// The list cannot be written.
    pub fn name(&self, name: &str, id: &str) -> Result<Option<String>> {
        let mut names = self.store.names()?;
        let before = names.insert(name.to_owned(), id.to_owned());
        self.write(&self.store.dir.join("names.json"), &names)?;
        Ok(before.filter(|b| b != id))
    }

    fn write(&self, path: &Path, value: &impl serde::Serialize) -> Result<()> {
        use std::io::Write;
        let text = serde_json::to_vec_pretty(value).map_err(|e| Error::failed(e.to_string()))?;
        let aside = self.store.dir.join(".aside");
        let written = File::create(&aside).and_then(|mut f| {
            f.write_all(&text)?;
            f.sync_all()
        });
        let parent = path.parent().unwrap_or(path);
        written
            .and_then(|()| std::fs::rename(&aside, path))
            .and_then(|()| File::open(parent)?.sync_all())
            .map_err(|e| Error::at(path, e))
    }

    /// Takes a name away, and its image when that was the last one and nobody uses it.
    ///
    /// # Errors
    /// There is none, or it is used: by whom is in the text.
    pub fn remove(&self, text: &str) -> Result<Record> {
        let record = self.store.find(text)?;
        let mut names = self.store.names()?;
        let of_this: Vec<_> =
            names.iter().filter(|(_, id)| **id == record.id).map(|(n, _)| n.clone()).collect();
        let asked = of_this.iter().find(|n| *n == text || **n == format!("{text}:latest")).cloned();
        if let (Some(name), true) = (&asked, of_this.len() > 1) {
            names.remove(name);
            self.write(&self.store.dir.join("names.json"), &names)?;
            return Ok(record);
        }
        let users = self.store.users(&record.id)?;
        if !users.is_empty() {
            let text = format!("image {text} is used by {}", users.join(", "));
            return Err(Error { kind: Kind::InUse, text });
        }
        names.retain(|_, id| *id != record.id);
        self.write(&self.store.dir.join("names.json"), &names)?;
        self.drop_record(&record)?;
        Ok(record)
    }

    /// First the record, which is what makes a tree belong to somebody.
    fn drop_record(&self, record: &Record) -> Result<()> {
        let path = self.store.record_file(&record.id);
        std::fs::remove_file(&path).map_err(|e| Error::at(&path, e))?;
        self.sweep()
    }

    /// All images that have no name and that nobody uses.
    ///
    /// # Errors
    /// Something cannot be read.
    pub fn unused(&self) -> Result<Vec<Record>> {
        let named: BTreeSet<_> = self.store.names()?.into_values().collect();
        let mut unused = Vec::new();
        for id in self.store.ids()?.difference(&named) {
            if self.store.users(id)?.is_empty() {
                unused.push(self.store.record(id)?);
            }
        }
        Ok(unused)
    }

    /// Removes them.
    ///
    /// # Errors
    /// One cannot be removed.
    pub fn prune(&self) -> Result<Vec<Record>> {
        let unused = self.unused()?;
        unused.iter().try_for_each(|record| self.drop_record(record))?;
        Ok(unused)
    }
}

fn remove(dir: &Path, name: &std::ffi::OsStr) -> Result<()> {
    let open = tree::open_root(dir).map_err(|e| Error::at(dir, e))?;
    tree::remove(open, name).map_err(|e| Error::at(&dir.join(name), e))
}

/// A directory that goes with its owner.
#[derive(Debug)]
pub struct Scratch {
    parent: PathBuf,
    name: String,
}

impl Scratch {
    /// Where it is.
    pub fn path(&self) -> PathBuf {
        self.parent.join(&self.name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed now, the next command tries again.
        remove(&self.parent, self.name.as_ref()).ok();
    }
}
