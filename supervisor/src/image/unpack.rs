//! Layers put one over the other into one tree. Every name goes through the handle of the tree's root, and what no honest
//! tool writes is refused: the caller throws the tree away then.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use tar::EntryType;

use super::archive::{self, Head};
use super::layer::Space;
use super::{Error, Limits, Result, shown};
use crate::sys::tree::{self, Kind, Meta};

/// The longest name inside, and of one part of it (limits.h, `PATH_MAX`, `NAME_MAX`).
const NAME_MAX: usize = 4095;
const PART_MAX: usize = 255;
/// Directories within directories: each may cost a descriptor when the tree is removed.
const DEPTH_MAX: usize = 200;
/// Content is written in pieces of this size; one of nothing but zeros becomes a hole.
const PIECE: usize = 1 << 16;
const IMPLIED: Meta = Meta { uid: 0, gid: 0, mode: 0o755, mtime: (0, 0) };

/// The tree that layers are put into.
pub(super) struct Tree {
    root: OwnedFd,
    place: PathBuf,
    limits: Limits,
    space: Space,
    /// Bytes of files so far, of all layers.
    pub(super) bytes: u64,
    /// Entries so far.
    pub(super) entries: u64,
    /// What was left out on purpose, and how often.
    pub(super) dropped: BTreeMap<String, u64>,
}

/// What is known of the layer at hand.
#[derive(Default)]
struct Layer {
    /// Names that it has, with what is on the way to them; true = a directory.
    seen: HashMap<Vec<u8>, bool>,
    /// Symbolic links that it has made.
    links: HashSet<Vec<u8>>,
    /// Times of directories, set last: what is put into one changes it.
    times: Vec<(PathBuf, (i64, u32))>,
    /// The directory that was looked up last.
    parent: Option<Parent>,
}

/// An open directory of the tree.
struct Parent {
    /// As the archive has it.
    asked: Vec<u8>,
    /// Where it is in the tree.
    real: Vec<u8>,
    dir: OwnedFd,
}

impl Tree {
    /// An empty tree in a directory that is there.
    ///
    /// # Errors
    /// It cannot be opened, or the disk is full.
    pub(super) fn new(dir: &Path, limits: Limits) -> Result<Tree> {
        let root = tree::open_root(dir).map_err(|e| Error::at(dir, e))?;
        tree::own(&root, &IMPLIED).map_err(|e| Error::at(dir, e))?;
        let place = tree::place(&root).map_err(|e| Error::at(dir, e))?;
        let space = Space::of(dir)?;
        Ok(Tree { root, place, limits, space, bytes: 0, entries: 0, dropped: BTreeMap::new() })
    }

    /// The root of the tree.
    pub(super) fn root(&self) -> &OwnedFd {
        &self.root
    }

    /// Puts one layer over what is there.
    ///
    /// # Errors
    /// See the module.
    pub(super) fn add(&mut self, reader: &mut dyn Read) -> Result<()> {
        let mut layer = Layer::default();
        archive::walk(reader, |head, content| {
            self.entry(&mut layer, head, content).map_err(|e| e.within(shown(&head.name)))
        })?;
        for (path, time) in layer.times.iter().rev() {
            // One that a whiteout of the same layer took away has no time.
            match tree::open_dir_in(&self.root, path) {
                Ok(dir) => tree::set_time(dir, *time).map_err(|e| Error::at(path, e))?,
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => return Err(Error::at(path, e)),
            }
        }
        Ok(())
    }

    fn entry(&mut self, layer: &mut Layer, head: &Head, content: &mut dyn Read) -> Result<()> {
        self.entries += 1;
        if self.entries > self.limits.entries {
            let most = self.limits.entries;
            return Err(Error::refused(format!("more than {most} entries (--max-entries)")));
        }
        let mut parts = parts(&head.name)?;
        let meta = meta(head)?;
        let directory = head.kind == EntryType::Directory
            || (matches!(head.kind, EntryType::Regular) && head.name.ends_with(b"/"));
        let Some(name) = parts.pop() else {
            return match directory {
                true => self.directory_done(layer, &[], None, &meta, head),
                false => Err(Error::refused("the root itself, and no directory")),
            };
        };
        self.find_parent(layer, &parts)?;
        if let Some(hidden) = name.strip_prefix(b".wh.") {
            return self.whiteout(layer, hidden);
        }
        if self.is_left_out(layer, head, &parts)? {
            return Ok(());
        }
        let path = layer.path(name);
        match layer.seen.insert(path.clone(), directory) {
            Some(true) if directory => {}
            Some(_) => return Err(Error::refused("is there twice in one layer")),
            None => {}
        }
        let name = OsStr::from_bytes(name);
        let kept = self.clear(layer, name, directory)?;
        if directory {
            return self.directory_done(layer, &path, (!kept).then_some(name), &meta, head);
        }
        let dir = layer.dir()?;
        match head.kind {
            EntryType::Regular | EntryType::Continuous => self.file(dir, name, head, &meta, content),
            EntryType::Symlink => {
                let target = OsStr::from_bytes(&head.link);
                if head.link.is_empty() || head.link.len() > NAME_MAX {
                    return Err(Error::refused("a symbolic link to nothing, or to a name that is too long"));
                }
                tree::make_symlink(target, dir, name).map_err(call)?;
                tree::own_at(dir, name, &meta, true).map_err(call)?;
                tree::set_time_at(dir, name, meta.mtime).map_err(call)?;
                layer.links.insert(path);
                Ok(())
            }
            EntryType::Link => self.hard_link(layer, name, &head.link),
            EntryType::Fifo => {
                tree::make_fifo(dir, name).map_err(call)?;
                tree::own_at(dir, name, &meta, false).map_err(call)?;
                tree::set_time_at(dir, name, meta.mtime).map_err(call)
            }
            other => Err(Error::refused(format!("an entry of type {other:?} is not supported"))),
        }
    }

    /// Opens the directory that an entry is in; what is missing on the way is made.
    fn find_parent(&mut self, layer: &mut Layer, parts: &[&[u8]]) -> Result<()> {
        let asked = parts.join(&b'/');
        if layer.parent.as_ref().is_some_and(|p| p.asked == asked) {
            return Ok(());
        }
        layer.parent = None;
        for end in 1..=parts.len() {
            let way = parts.get(..end).unwrap_or_default().join(&b'/');
            if layer.links.contains(&way) {
                return Err(Error::refused(format!(
                    "lies behind {}, a symbolic link of the same layer",
                    shown(&way)
                )));
            }
        }
        let dir = match tree::open_dir_in(&self.root, Path::new(OsStr::from_bytes(&asked))) {
            Ok(dir) => dir,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => self.make_parents(parts)?,
            Err(e) => return Err(Error::refused(format!("what it is in is no directory: {e}"))),
        };
        let real = tree::place(&dir).map_err(call)?;
        let real = real.strip_prefix(&self.place);
        let real =
            real.map_err(|_| Error::refused("leads out of the image"))?.as_os_str().as_bytes().to_vec();
        let mut way = &real[..];
        while !way.is_empty() {
            layer.seen.entry(way.to_vec()).or_insert(true);
            way = way.iter().rposition(|b| *b == b'/').map_or(&[], |i| way.get(..i).unwrap_or_default());
        }
        layer.parent = Some(Parent { asked, real, dir });
        Ok(())
    }

    fn make_parents(&self, parts: &[&[u8]]) -> Result<OwnedFd> {
        let mut way = PathBuf::new();
        let mut last = tree::open_dir_in(&self.root, &way).map_err(call)?;
        for part in parts {
            way.push(OsStr::from_bytes(part));
            last = match tree::open_dir_in(&self.root, &way) {
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                    let made = tree::make_dir(&last, OsStr::from_bytes(part));
                    made.map_err(|e| Error::refused(format!("what it is in cannot be made: {e}")))?
                }
                found => found.map_err(|e| Error::refused(format!("what it is in is no directory: {e}")))?,
            };
        }
        Ok(last)
    }

    /// `.wh.NAME` takes a name of the layers below away, `.wh..wh..opq` all of a directory (image-spec, layer.md).
    fn whiteout(&mut self, layer: &mut Layer, hidden: &[u8]) -> Result<()> {
        if hidden == b".wh..opq" {
            let parent = layer.parent.take().ok_or_else(|| Error::failed("no directory"))?;
            return remove_lower(&parent.dir, &parent.real, &layer.seen);
        }
        if hidden.starts_with(b".wh.") {
            // The book-keeping of one driver.
            *self.dropped.entry("marks of AUFS".into()).or_default() += 1;
            return Ok(());
        }
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(Error::refused("a whiteout of nothing"));
        }
        if layer.seen.contains_key(&layer.path(hidden)) {
            return Err(Error::refused("a whiteout of what the same layer has"));
        }
        let name = OsStr::from_bytes(hidden);
        let gone = tree::kind(layer.dir()?, name).map_err(call)?.is_some();
        if gone {
            tree::remove(layer.dir()?, name).map_err(call)?;
            layer.parent = None;
        }
        Ok(())
    }

    /// Device files: `/dev` of a container is made by its runtime, so those in it are left out; elsewhere nobody needs one.
    fn is_left_out(&mut self, layer: &Layer, head: &Head, parts: &[&[u8]]) -> Result<bool> {
        if !matches!(head.kind, EntryType::Char | EntryType::Block) {
            return Ok(false);
        }
        let real = layer.parent.as_ref().map_or(&b""[..], |p| &p.real);
        if parts.first() != Some(&&b"dev"[..]) || !(real == b"dev" || real.starts_with(b"dev/")) {
            return Err(Error::refused("a device file outside of /dev"));
        }
        *self.dropped.entry("device files in /dev".into()).or_default() += 1;
        Ok(true)
    }

    /// Makes room for an entry; whether a directory is there already that stays.
    fn clear(&self, layer: &mut Layer, name: &OsStr, directory: bool) -> Result<bool> {
        match tree::kind(layer.dir()?, name).map_err(call)? {
            None => Ok(false),
            Some(Kind::Directory) if directory => Ok(true),
            Some(_) => tree::remove(layer.dir()?, name).map_err(call).map(|()| false),
        }
    }

    /// A directory gets what the archive says of it; `new` = it is made.
    fn directory_done(
        &mut self,
        layer: &mut Layer,
        path: &[u8],
        new: Option<&OsStr>,
        meta: &Meta,
        head: &Head,
    ) -> Result<()> {
        let path = PathBuf::from(OsString::from_vec(path.to_vec()));
        let dir = match new {
            Some(name) => tree::make_dir(layer.dir()?, name).map_err(call)?,
            None => tree::open_dir_in(&self.root, &path).map_err(call)?,
        };
        tree::own(&dir, meta).map_err(call)?;
        self.attributes(&dir, head)?;
        layer.times.push((path, meta.mtime));
        Ok(())
    }

    fn file(
        &mut self,
        dir: &OwnedFd,
        name: &OsStr,
        head: &Head,
        meta: &Meta,
        content: &mut dyn Read,
    ) -> Result<()> {
        self.bytes = self.bytes.saturating_add(head.size);
        if self.bytes > self.limits.bytes {
            let most = self.limits.bytes;
            return Err(Error::refused(format!("unpacked more than {most} bytes (--max-bytes)")));
        }
        self.space.take(head.size)?;
        let mut file = tree::create_file(dir, name).map_err(call)?;
        let mut piece = vec![0; PIECE.min(usize::try_from(head.size).unwrap_or(PIECE))];
        let mut left = head.size;
        while left > 0 {
            let n = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
            let piece = piece.get_mut(..n).unwrap_or_default();
            content.read_exact(piece).map_err(|e| Error::refused(format!("cut off: {e}")))?;
            match piece.iter().all(|b| *b == 0) {
                true => drop(file.seek(SeekFrom::Current(n as i64)).map_err(call)?),
                false => file.write_all(piece).map_err(call)?,
            }
            left -= n as u64;
        }
        file.set_len(head.size).map_err(call)?;
        tree::own(&file, meta).map_err(call)?;
        self.attributes(&file, head)?;
        tree::set_time(&file, meta.mtime).map_err(call)
    }

    fn hard_link(&self, layer: &Layer, name: &OsStr, link: &[u8]) -> Result<()> {
        let outside = |e: Error| Error::refused(format!("a hard link to {}: {}", shown(link), e.text));
        let mut parts = parts(link).map_err(outside)?;
        let Some(last) = parts.pop() else {
            return Err(outside(Error::refused("no name")));
        };
        let parent = PathBuf::from(OsString::from_vec(parts.join(&b'/')));
        let old = OsStr::from_bytes(last);
        let from = tree::open_dir_in(&self.root, &parent).map_err(|e| outside(call(e)))?;
        match tree::kind(&from, old).map_err(call)? {
            None => Err(outside(Error::refused("there is none"))),
            Some(Kind::Directory) => Err(outside(Error::refused("it is a directory"))),
            Some(_) => tree::make_link(&from, old, layer.dir()?, name).map_err(call),
        }
    }

    /// What is kept of extended attributes is what means the same on every host.
    fn attributes(&mut self, file: impl std::os::fd::AsFd, head: &Head) -> Result<()> {
        for (name, value) in &head.xattrs {
            if name.starts_with(b"trusted.") || name.starts_with(b"user.overlay.") {
                return Err(Error::refused(format!("the attribute {} is for file systems", shown(name))));
            }
            if name == b"security.capability" || name.starts_with(b"user.") {
                let set = tree::set_xattr(&file, name, value);
                set.map_err(|e| Error::failed(format!("attribute {}: {e}", shown(name))))?;
            } else {
                let name = format!("attributes {}", String::from_utf8_lossy(name).escape_default());
                *self.dropped.entry(name).or_default() += 1;
            }
        }
        Ok(())
    }
}

impl Layer {
    fn dir(&self) -> Result<&OwnedFd> {
        self.parent.as_ref().map(|p| &p.dir).ok_or_else(|| Error::failed("no directory"))
    }

    /// Where a name of the directory at hand is in the tree.
    fn path(&self, name: &[u8]) -> Vec<u8> {
        match self.parent.as_ref().map(|p| &p.real[..]) {
            None | Some(b"") => name.to_vec(),
            Some(real) => [real, b"/", name].concat(),
        }
    }
}

/// Removes what lower layers have put into a directory, and leaves what this one has.
fn remove_lower(dir: &OwnedFd, path: &[u8], seen: &HashMap<Vec<u8>, bool>) -> Result<()> {
    for name in tree::names(dir).map_err(call)? {
        let below =
            if path.is_empty() { name.as_bytes().to_vec() } else { [path, b"/", name.as_bytes()].concat() };
        if !seen.contains_key(&below) {
            tree::remove(dir, &name).map_err(call)?;
        } else if tree::kind(dir, &name).map_err(call)? == Some(Kind::Directory) {
            remove_lower(&tree::open_child(dir, &name).map_err(call)?, &below, seen)?;
        }
    }
    Ok(())
}

fn call(e: std::io::Error) -> Error {
    Error::failed(e.to_string())
}

/// The parts of a name; the root has none.
fn parts(name: &[u8]) -> Result<Vec<&[u8]>> {
    if name.starts_with(b"/") {
        return Err(Error::refused("an absolute name"));
    }
    if name.is_empty() || name.len() > NAME_MAX || name.contains(&0) {
        return Err(Error::refused("no name, one with a zero byte, or one that is too long"));
    }
    let mut parts = Vec::new();
    for part in name.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err(Error::refused("a name with \"..\"")),
            part if part.len() > PART_MAX => return Err(Error::refused("a name that is too long")),
            part => parts.push(part),
        }
    }
    match parts.len() {
        0..=DEPTH_MAX => Ok(parts),
        n => Err(Error::refused(format!("{n} directories deep, want at most {DEPTH_MAX}"))),
    }
}

fn meta(head: &Head) -> Result<Meta> {
    let id = |id: u64| {
        // The kernel keeps the last one for itself.
        let id = u32::try_from(id).ok().filter(|id| *id != u32::MAX);
        id.ok_or_else(|| Error::refused("an owner that is no user or group id"))
    };
    Ok(Meta { uid: id(head.uid)?, gid: id(head.gid)?, mode: head.mode & 0o7777, mtime: head.mtime })
}
