//! One directory a container below the state root. Making the directory reserves the id, flock(2) on it
//! serialises commands, the record is the last file to go. Everything is reached by directory handle.

use super::observe::{self, Status};
use super::record::{self, Record, check_id};
use crate::error::{Code, Error, Result, quoted};
use crate::gate;
use crate::report;
use crate::sys::fs::{self, AtFlags, Lock, OFlags};
use crate::sys::{BorrowedFd, OwnedFd, errno, process};
use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// The record.
const RECORD: &str = "state.json";
/// The copy of config.json as `create` read it.
const CONFIG: &str = "config.json";
/// Largest stored config.json, in bytes.
const CONFIG_LIMIT: usize = 64 << 20;
/// What a directory may hold before its first record is there; anything else is not ours.
const EARLY: [&str; 4] = [CONFIG, gate::NAME, ".state.json.tmp", ".config.json.tmp"];
/// How long a command waits for another one on the same container.
const LOCK_WAIT: Duration = Duration::from_secs(30);
/// Deepest directory that is removed with a container; ours are at most two deep.
const MAX_DEPTH: u32 = 8;

/// The state root.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    explicit: bool,
    /// None while the directory does not exist.
    dir: Option<Rc<OwnedFd>>,
}

/// What `list` sees of one container.
#[derive(Debug)]
pub struct Listed {
    pub id: String,
    /// An error is a damaged record.
    pub seen: Result<(Record, Status)>,
}

impl Store {
    /// Opens the state root. A missing one is an empty one: `reserve` makes it. `explicit` says that the user
    /// named it, which makes a missing one an error for `list`.
    ///
    /// # Errors
    /// Not a directory, a symbolic link, writable for all, or owned by somebody who is neither root nor us:
    /// whoever can write there decides which processes we signal.
    pub fn open(path: &Path, explicit: bool) -> Result<Store> {
        let dir = match open_dir(fs::CWD, path) {
            Ok(dir) => Some(dir),
            Err(e) if e.is(errno::ENOENT) => None,
            Err(e) => return Err(bad_root(path, e)),
        };
        if let Some(dir) = &dir {
            check_root(dir).map_err(|e| bad_root(path, e))?;
        }
        Ok(Store { path: path.to_path_buf(), explicit, dir: dir.map(Rc::new) })
    }

    fn make_root(&self) -> Result<Rc<OwnedFd>> {
        if let Some(dir) = &self.dir {
            return Ok(dir.clone());
        }
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.path);
        made.map_err(|e| bad_root(&self.path, Error::from(e).step("mkdir")))?;
        let dir = open_dir(fs::CWD, &self.path).map_err(|e| bad_root(&self.path, e))?;
        check_root(&dir).map_err(|e| bad_root(&self.path, e))?;
        if !self.explicit && self.path != Path::new("/run/knarr") {
            // Below XDG_RUNTIME_DIR: the sticky bit keeps cleaners of temporary files away, as runc does it.
            let sticky = std::fs::Permissions::from_mode(0o1700);
            if let Err(e) = std::fs::set_permissions(&self.path, sticky) {
                report::warn(format_args!("set the sticky bit of the state root: {e}"));
            }
        }
        Ok(Rc::new(dir))
    }

    /// Where a container's directory is or will be.
    pub fn place(&self, id: &str) -> PathBuf {
        self.path.join(id)
    }

    /// Takes an id: makes its directory and locks it. Exactly one of any number of callers succeeds.
    ///
    /// # Errors
    /// [`Code::Usage`] for an id that is none, [`Code::Exists`] with the status of the container there.
    pub fn reserve(&self, id: &str) -> Result<Reservation> {
        check_id(id)?;
        let root = self.make_root()?;
        // A `delete` that finds our directory before we have locked it may remove it; then the id is free again.
        for _ in 0..16 {
            match fs::mkdirat(&root, id, 0o700) {
                Ok(()) => {}
                Err(e) if e.is(errno::EEXIST) => return Err(self.exists(id)),
                Err(e) => return Err(e.step("reserve the container id")),
            }
            let taken = self.take(&root, id).inspect_err(|_| {
                // Ours, and empty.
                let _ = fs::rmdirat(&root, id);
            });
            if let Some(home) = taken? {
                return Ok(Reservation { home, keep: false });
            }
        }
        Err(Error::new(
            Code::Exists,
            format!("container with given ID already exists: {} is being deleted", quoted(id)),
        ))
    }

    /// Locks the directory just made; `None` when somebody was faster.
    fn take(&self, root: &Rc<OwnedFd>, id: &str) -> Result<Option<Home>> {
        let opened = open_dir(root, id).and_then(|dir| Ok((Guard::new(&dir)?, dir)));
        let Some((lock, dir)) = gone_is_none(opened)? else { return Ok(None) };
        let home = Home { root: root.clone(), id: id.to_string(), path: self.path.join(id), lock, dir };
        let ours = home.lock.attempt(true)? && home.linked()?;
        Ok(ours.then_some(home))
    }

    fn exists(&self, id: &str) -> Error {
        let status = match self.load(id).and_then(|c| c.status()) {
            Ok(status) => format!("status {status}"),
            Err(e) if e.kind() == Code::NotFound => "without a record; use delete --force".to_string(),
            Err(_) => "damaged; use delete --force".to_string(),
        };
        Error::new(Code::Exists, format!("container with given ID already exists: {} ({status})", quoted(id)))
    }

    fn home(&self, id: &str) -> Result<Home> {
        check_id(id)?;
        let root = self.dir.clone().ok_or_else(|| unknown(id))?;
        let dir = match open_dir(&root, id) {
            Ok(dir) => dir,
            Err(e) if e.is(errno::ENOENT) => return Err(unknown(id)),
            Err(e) if e.is(errno::ENOTDIR) || e.is(errno::ELOOP) => {
                return Err(unknown(id).hint("a file of that name is in the state root"));
            }
            Err(e) => return Err(e),
        };
        check_owner(fs::fstat(&dir)?.uid)?;
        Ok(Home { root, id: id.to_string(), path: self.path.join(id), lock: Guard::new(&dir)?, dir })
    }

    /// Reads a container without waiting for commands that change it: records are replaced whole.
    ///
    /// # Errors
    /// [`Code::NotFound`], [`Code::Damaged`].
    pub fn load(&self, id: &str) -> Result<Container> {
        let home = self.home(id)?;
        let record = home.read()?;
        Ok(Container { home, record })
    }

    /// Locks a container and reads it: shared for those who only need it to stay, exclusive for those who
    /// change it. Waits up to 30 s for other commands, but not for `create`.
    ///
    /// # Errors
    /// [`Code::Status`] while it is being created, [`Code::NotFound`], [`Code::Damaged`], [`Code::Timeout`].
    pub fn lock(&self, id: &str, exclusive: bool) -> Result<Container> {
        let home = self.home(id)?;
        home.acquire(exclusive, LOCK_WAIT)?;
        let record = home.read()?;
        Ok(Container { home, record })
    }

    /// Locks a container exclusively, whatever its record is like: for `delete`.
    ///
    /// # Errors
    /// [`Code::Status`] while it is being created; [`Code::NotFound`]; [`Code::Timeout`] when somebody else
    /// holds the lock for longer than `wait`.
    pub fn entry(&self, id: &str, wait: Duration) -> Result<Entry> {
        let home = self.home(id)?;
        home.acquire(true, wait)?;
        let record = home.read();
        Ok(Entry { home, record })
    }

    /// All containers, sorted by id, one at a time so that no number of them needs many descriptors. Those that
    /// vanish meanwhile are left out, names that are no containers are left out with one warning.
    ///
    /// # Errors
    /// A state root that was named and does not exist.
    pub fn list(&self) -> Result<Vec<Listed>> {
        let Some(dir) = &self.dir else {
            if self.explicit {
                let e = Error::os(
                    "openat",
                    format_args!("{}", quoted(&self.path.to_string_lossy())),
                    errno::ENOENT,
                );
                return Err(bad_root(&self.path, e));
            }
            return Ok(Vec::new());
        };
        // A listing moves the position of its handle, so it gets one of its own.
        let mut names = fs::list(open_dir(dir, ".")?)?;
        names.sort();
        let mut alien = Vec::new();
        let mut out = Vec::new();
        for name in names {
            let name = name.to_string_lossy().into_owned();
            match self.load(&name) {
                Ok(c) => {
                    let seen = c.status().map(|status| (c.record, status));
                    out.push(Listed { id: name, seen });
                }
                Err(e) if e.kind() == Code::NotFound && !self.early_or_gone(&name) => {
                    alien.push(quoted(&name))
                }
                Err(e) if e.kind() == Code::NotFound => {}
                Err(e) if e.kind() == Code::Usage => alien.push(quoted(&name)),
                Err(e) => out.push(Listed { id: name, seen: Err(e) }),
            }
        }
        if !alien.is_empty() {
            let root = quoted(&self.path.to_string_lossy());
            report::warn(format_args!("not containers, skipped in {root}: {}", alien.join(", ")));
        }
        Ok(out)
    }

    /// Whether a name without a record is one that `create` is about to fill or `delete` has just emptied.
    fn early_or_gone(&self, id: &str) -> bool {
        match self.home(id) {
            Ok(home) => home.holds_only_early().unwrap_or(true),
            Err(e) => e.hint_text().is_none(),
        }
    }
}

fn bad_root(path: &Path, e: Error) -> Error {
    let text = path.to_string_lossy();
    e.path(text.clone()).step(format!("state root {}", quoted(&text)))
}

fn unknown(id: &str) -> Error {
    Error::new(Code::NotFound, format!("container does not exist: {}", quoted(id)))
}

fn gone_is_none<T>(r: Result<T>) -> Result<Option<T>> {
    match r {
        Err(e) if e.is(errno::ENOENT) => Ok(None),
        r => r.map(Some),
    }
}

fn open_dir<D: AsFd>(at: D, path: impl AsRef<Path>) -> Result<OwnedFd> {
    fs::openat(at, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW, 0)
}

fn check_root(dir: &OwnedFd) -> Result<()> {
    let stat = fs::fstat(dir)?;
    if stat.mode & 0o002 != 0 {
        let text = format!("writable for everybody, got mode {:04o}, want 0700", stat.mode & 0o7777);
        return Err(Error::new(Code::Status, text));
    }
    check_owner(stat.uid)
}

/// Files of a third user are that user's word about our processes.
fn check_owner(uid: u32) -> Result<()> {
    let euid = process::caller_euid();
    if uid == 0 || uid == euid {
        return Ok(());
    }
    Err(Error::new(Code::Damaged, format!("state damaged: owned by uid {uid}, want 0 or {euid}")))
}

/// The lock of one container. It has an open file of its own, so that it is not kept by a child that inherits
/// the directory's handle, and is given up for all copies when dropped.
#[derive(Debug)]
struct Guard(OwnedFd);

impl Guard {
    fn new(dir: &OwnedFd) -> Result<Guard> {
        open_dir(dir, ".").map(Guard)
    }

    fn attempt(&self, exclusive: bool) -> Result<bool> {
        fs::flock(&self.0, if exclusive { Lock::TryExclusive } else { Lock::TryShared })
    }

    fn release(&self) {
        // Unlocking an open file cannot fail for a reason that anybody could act on.
        let _ = fs::flock(&self.0, Lock::Unlock);
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Closing does the same unless a copy is left somewhere.
        self.release();
    }
}

/// A container's directory.
#[derive(Debug)]
struct Home {
    root: Rc<OwnedFd>,
    id: String,
    /// Of the directory, for messages.
    path: PathBuf,
    dir: OwnedFd,
    lock: Guard,
}

impl Home {
    /// Whether the directory is still the one of its name.
    fn linked(&self) -> Result<bool> {
        let ours = fs::fstat(&self.dir)?;
        let named = gone_is_none(fs::statat(&*self.root, &self.id, AtFlags::SYMLINK_NOFOLLOW))?;
        Ok(named.is_some_and(|n| (n.dev, n.ino) == (ours.dev, ours.ino)))
    }

    fn acquire(&self, exclusive: bool, wait: Duration) -> Result<()> {
        let end = Instant::now() + wait;
        let mut pause = Duration::from_millis(1);
        while !self.lock.attempt(exclusive)? {
            self.not_creating()?;
            if Instant::now() >= end {
                let text = format!(
                    "container {} is busy: another command has held its lock for {} s",
                    quoted(&self.id),
                    wait.as_secs()
                );
                return Err(Error::new(Code::Timeout, text));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
        // The one we waited for may have been `delete`.
        if self.linked()? { Ok(()) } else { Err(unknown(&self.id)) }
    }

    /// A `create` keeps its lock for as long as its hooks like to run: nobody waits for that.
    fn not_creating(&self) -> Result<()> {
        let Ok(record) = self.read() else { return Ok(()) };
        if observe::observe(self.dir.as_fd(), &record)? != Status::Creating {
            return Ok(());
        }
        let text = format!(
            "container {} is still being created by process {}",
            quoted(&self.id),
            record.creator.pid
        );
        Err(Error::new(Code::Status, text))
    }

    fn read(&self) -> Result<Record> {
        let named = |e: Error| {
            let damaged = e.kind() == Code::Damaged;
            let file = quoted(&self.path.join(RECORD).to_string_lossy());
            let e = e.step(file).step(format!("container {}", quoted(&self.id)));
            if damaged { e.hint("delete --force removes the container") } else { e }
        };
        match read_checked(&self.dir, RECORD, record::LIMIT) {
            Ok(bytes) => Record::parse(&bytes, &self.id).map_err(named),
            Err(e) if e.is(errno::ENOENT) => Err(unknown(&self.id)),
            Err(e) => Err(named(e)),
        }
    }

    fn save(&self, record: &Record) -> Result<()> {
        fs::write_aside(&self.dir, RECORD, &record.to_bytes()?, 0o600)
            .map_err(|e| e.step(format!("save the record of {}", quoted(&self.id))))
    }

    fn holds_only_early(&self) -> Result<bool> {
        let names = fs::list(open_dir(&self.dir, ".")?)?;
        Ok(names.iter().all(|n| n.to_str().is_some_and(|n| EARLY.contains(&n))))
    }

    /// Removes the directory, the record last, so that a removal that is cut short can be done again.
    fn remove(&self) -> Result<()> {
        let step = |e: Error| e.step(format!("remove the state of {}", quoted(&self.id)));
        clear(&self.dir, &[RECORD], MAX_DEPTH).map_err(step)?;
        discard(&self.dir, RECORD.as_ref(), MAX_DEPTH).map_err(step)?;
        gone_is_none(fs::rmdirat(&*self.root, &self.id)).map_err(step)?;
        Ok(())
    }
}

/// Unlinks everything in `dir` but `keep`, never through a symbolic link.
fn clear(dir: &OwnedFd, keep: &[&str], depth: u32) -> Result<()> {
    for name in fs::list(open_dir(dir, ".")?)? {
        if name.to_str().is_some_and(|n| keep.contains(&n)) {
            continue;
        }
        discard(dir, &name, depth)?;
    }
    Ok(())
}

/// Unlinks one name, with what is below it. One that is gone already is fine.
fn discard(dir: &OwnedFd, name: &OsStr, depth: u32) -> Result<()> {
    match gone_is_none(fs::unlinkat(dir, name)) {
        Err(e) if (e.is(errno::EISDIR) || e.is(errno::EPERM)) && depth > 0 => {
            clear(&open_dir(dir, name)?, &[], depth - 1)?;
            gone_is_none(fs::rmdirat(dir, name)).map(|_| ())
        }
        r => r.map(|_| ()),
    }
}

/// Reads a file of ours: regular, with one name, of the right owner. Anything else was put there by somebody.
fn read_checked(dir: &OwnedFd, name: &str, limit: usize) -> Result<Vec<u8>> {
    let damaged = |why: String| Err(Error::new(Code::Damaged, format!("state damaged: {name}: {why}")));
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = match fs::openat(dir, name, flags, 0) {
        Err(e) if e.is(errno::ELOOP) => return damaged("a symbolic link".into()),
        Err(e) if e.is(errno::ENXIO) => return damaged("not a regular file".into()),
        r => r?,
    };
    let stat = fs::fstat(&file)?;
    if stat.kind() != fs::FileType::RegularFile {
        return damaged("not a regular file".into());
    }
    if stat.nlink != 1 {
        return damaged(format!("{} links, want 1", stat.nlink));
    }
    check_owner(stat.uid)?;
    if stat.size > limit as u64 {
        return damaged(format!("{} bytes, want at most {limit}", stat.size));
    }
    fs::read_sized(&file, stat.size, limit)
}

/// An id taken by `create`. Dropped without [`Reservation::keep`], it takes the directory away again.
#[derive(Debug)]
pub struct Reservation {
    home: Home,
    keep: bool,
}

impl Reservation {
    /// The id.
    pub fn id(&self) -> &str {
        &self.home.id
    }
    /// The container's directory.
    pub fn dir(&self) -> BorrowedFd<'_> {
        self.home.dir.as_fd()
    }
    /// Writes the record aside and puts it in place. The first record must be there before any other file but
    /// the copy of config.json and the gate.
    pub fn save(&self, record: &Record) -> Result<()> {
        self.home.save(record)
    }
    /// Writes any other file, with mode 0600.
    pub fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        fs::write_aside(&self.home.dir, name, bytes, 0o600)
    }
    /// Stores what `create` read as config.json.
    pub fn put_config(&self, bytes: &[u8]) -> Result<()> {
        self.put(CONFIG, bytes)
    }
    /// The container stays, and the lock is given up when this is dropped.
    pub fn leave(&mut self) {
        self.keep = true;
    }
    /// The container stays. The lock is given up.
    pub fn keep(mut self) {
        self.leave();
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.keep
            && let Err(e) = self.home.remove()
        {
            report::warn(format_args!("{e}"));
        }
    }
}

/// A container with a readable record.
#[derive(Debug)]
pub struct Container {
    home: Home,
    pub record: Record,
}

impl Container {
    /// The id.
    pub fn id(&self) -> &str {
        &self.home.id
    }
    /// The container's directory.
    pub fn dir(&self) -> BorrowedFd<'_> {
        self.home.dir.as_fd()
    }
    /// The status now.
    pub fn status(&self) -> Result<Status> {
        observe::observe(self.dir(), &self.record)
            .map_err(|e| e.step(format!("status of container {}", quoted(self.id()))))
    }
    /// Lets other commands at it while this one still looks.
    pub fn unlock(&self) {
        self.home.lock.release();
    }
    /// Writes the changed record. Needs the exclusive lock.
    pub fn save(&self) -> Result<()> {
        self.home.save(&self.record)
    }
    /// config.json as `create` read it; what the bundle holds now does not matter.
    pub fn config(&self) -> Result<Vec<u8>> {
        read_config(&self.home)
    }
    /// Removes the directory. Needs the exclusive lock.
    pub fn remove(&self) -> Result<()> {
        self.home.remove()
    }
}

/// A container as `delete` finds it.
#[derive(Debug)]
pub struct Entry {
    home: Home,
    /// The record, or why there is none: [`Code::NotFound`] when the file is missing, [`Code::Damaged`].
    pub record: Result<Record>,
}

impl Entry {
    /// The id.
    pub fn id(&self) -> &str {
        &self.home.id
    }
    /// The container's directory.
    pub fn dir(&self) -> BorrowedFd<'_> {
        self.home.dir.as_fd()
    }
    /// config.json as `create` read it.
    pub fn config(&self) -> Result<Vec<u8>> {
        read_config(&self.home)
    }
    /// Removes the directory.
    ///
    /// # Errors
    /// Without a record, a directory that holds anything `create` would not have put there is not ours; it
    /// stays as it is.
    pub fn remove(&self) -> Result<()> {
        let recordless = self.record.as_ref().is_err_and(|e| e.kind() == Code::NotFound);
        if recordless && !self.home.holds_only_early()? {
            return Err(unknown(self.id()).hint("a directory of that name is in the state root"));
        }
        self.home.remove()
    }
}

fn read_config(home: &Home) -> Result<Vec<u8>> {
    read_checked(&home.dir, CONFIG, CONFIG_LIMIT)
        .map_err(|e| e.step(format!("stored config.json of {}", quoted(&home.id))))
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
