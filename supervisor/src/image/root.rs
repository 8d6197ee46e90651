//! The root file system of an instance of an image. Its changes are kept over restarts and reboots for as long as it is the
//! same version of its service, as a container's layer is with Docker; a new version begins anew, and with the instance they
//! go. Below the state directory:
//!
//! - `layers/INSTANCE/VERSION/image`: the id of the image, and how the root is made; written last;
//! - `layers/INSTANCE/VERSION/{upper,work}` or `copy`;
//! - `layers/.gone-...`: to be removed.

use std::fs::{DirBuilder, File};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::store::Store;
use super::{Error, Result};
use crate::dirs::Dirs;
use crate::names::Instance;
use crate::sys::{file, tree};

/// The file that says what a layer is of.
pub(super) const IMAGE: &str = "image";

/// How roots are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// An overlay, or a copy where the kernel or the file system has none.
    Auto,
    /// An overlay.
    Overlay,
    /// A copy.
    Copy,
}

impl Mode {
    /// `auto`, `overlay`, `copy`.
    pub fn parse(word: &str) -> Option<Mode> {
        match word {
            "auto" => Some(Mode::Auto),
            "overlay" => Some(Mode::Overlay),
            "copy" => Some(Mode::Copy),
            _ => None,
        }
    }
}

/// Sees to it that the root of an instance is there, at [`Dirs::root`]. Blocks for as long as a copy takes.
/// What is to be told of a root that is new.
///
/// # Errors
/// There is no such image, or the disk does not take it.
pub fn ready(
    dirs: &Dirs,
    instance: &Instance,
    version: &str,
    id: &str,
    mode: Mode,
) -> Result<Option<String>> {
    let store = Store::of(dirs);
    let record = store.record(id)?;
    let lower = store.tree(&record);
    let all = dirs.layers().join(instance.to_string());
    let version: String = version.chars().take(16).collect();
    let layer = all.join(&version);
    let root = dirs.root(instance);
    let kept = std::fs::read_to_string(layer.join(IMAGE)).ok();
    let kept = kept.as_deref().and_then(|t| t.trim_end().split_once(' ')).filter(|(of, _)| *of == id);
    let others = names(&all).iter().any(|n| *n != version);
    if others || kept.is_none() {
        unmount(&root)?;
        set_aside(dirs, instance, &all)?;
    }
    if let (Some((_, how)), false) = (kept, others) {
        attach(&lower, &layer, &root, how == "copy")?;
        return Ok(None);
    }
    private(&layer)?;
    let mut why = String::new();
    let mut copied = mode == Mode::Copy;
    if !copied
        && let Err(e) = prepare_overlay(&lower, &layer).and_then(|()| attach(&lower, &layer, &root, false))
    {
        if mode == Mode::Overlay {
            return Err(e.within("no overlay"));
        }
        why = format!(", because there can be no overlay: {e}");
        copied = true;
    }
    if copied {
        copy(&lower, &layer)?;
        attach(&lower, &layer, &root, true)?;
    }
    let how = if copied { "copy" } else { "overlay" };
    let mark = layer.join(IMAGE);
    std::fs::write(&mark, format!("{id} {how}\n")).map_err(|e| Error::at(&mark, e))?;
    File::open(&mark).and_then(|f| f.sync_all()).map_err(|e| Error::at(&mark, e))?;
    let what = if copied { "a copy" } else { "an overlay" };
    Ok(Some(format!("a new root, {what} of image sha256:{id}{why}")))
}

/// The directory that a container's root is, if [`ready`] has made it.
pub fn current(dirs: &Dirs, instance: &Instance) -> std::io::Result<PathBuf> {
    std::fs::canonicalize(dirs.root(instance))
}

/// Image and way of every root that instances have, `INSTANCE ID HOW`.
pub fn list(dirs: &Dirs) -> Vec<(String, String, String)> {
    let mut all = Vec::new();
    for instance in names(&dirs.layers()) {
        for version in names(&dirs.layers().join(&instance)) {
            let mark = dirs.layers().join(&instance).join(version).join(IMAGE);
            let text = std::fs::read_to_string(mark).unwrap_or_default();
            if let Some((id, how)) = text.trim_end().split_once(' ') {
                all.push((instance.clone(), id.to_owned(), how.to_owned()));
            }
        }
    }
    all.sort();
    all
}

/// An instance is gone: what it has written goes, too. Returns at once; what takes long is for [`sweep`].
///
/// # Errors
/// It cannot be unmounted or renamed.
pub fn forget(dirs: &Dirs, instance: &Instance) -> Result<()> {
    let all = dirs.layers().join(instance.to_string());
    if !all.exists() {
        return Ok(());
    }
    unmount(&dirs.root(instance))?;
    set_aside(dirs, instance, &all)
}

/// Sets aside what belongs to instances that `known` does not know.
///
/// # Errors
/// See [`forget`].
pub fn sweep_unknown(dirs: &Dirs, known: &dyn Fn(&Instance) -> bool) -> Result<()> {
    for name in names(&dirs.layers()) {
        if let Ok(instance) = name.parse::<Instance>()
            && !known(&instance)
        {
            forget(dirs, &instance)?;
        }
    }
    Ok(())
}

/// Removes what was set aside. Blocks on the disk.
///
/// # Errors
/// Something cannot be removed.
pub fn sweep(dirs: &Dirs) -> Result<()> {
    for name in names(&dirs.layers()).iter().filter(|n| n.starts_with(".gone-")) {
        let path = dirs.layers().join(name);
        match std::fs::remove_dir_all(&path) {
            // Another one was faster.
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(Error::at(&path, e)),
            _ => {}
        }
    }
    Ok(())
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|e| e.file_name().into_string().ok()).collect()
}

fn private(dir: &Path) -> Result<()> {
    DirBuilder::new().mode(0o700).recursive(true).create(dir).map_err(|e| Error::at(dir, e))
}

/// Renamed at once, so that the place is free; removed later.
fn set_aside(dirs: &Dirs, instance: &Instance, all: &Path) -> Result<()> {
    for number in 0u32.. {
        let gone = dirs.layers().join(format!(".gone-{instance}-{number}"));
        if gone.exists() {
            continue;
        }
        return match std::fs::rename(all, &gone) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(Error::at(all, e)),
            _ => Ok(()),
        };
    }
    Ok(())
}

/// Takes the mount or link at a root away.
fn unmount(root: &Path) -> Result<()> {
    let Ok(kind) = std::fs::symlink_metadata(root) else { return Ok(()) };
    if kind.is_symlink() {
        return std::fs::remove_file(root).map_err(|e| Error::at(root, e));
    }
    if tree::is_overlay(root).unwrap_or(false) {
        // One whose state directory is on an overlay itself says so without being a mount.
        match file::unmount(root) {
            Err(e) if e.kind() != ErrorKind::InvalidInput => return Err(Error::at(root, e)),
            _ => {}
        }
    }
    std::fs::remove_dir(root).map_err(|e| Error::at(root, e))
}

/// The directory of the changes looks like the root that it is put over: an overlay has its owner and mode.
fn prepare_overlay(lower: &Path, layer: &Path) -> Result<()> {
    let like = std::fs::metadata(lower).map_err(|e| Error::at(lower, e))?;
    let upper = layer.join("upper");
    for dir in [&upper, &layer.join("work")] {
        std::fs::create_dir(dir).map_err(|e| Error::at(dir, e))?;
    }
    std::os::unix::fs::chown(&upper, Some(like.uid()), Some(like.gid()))
        .and_then(|()| std::fs::set_permissions(&upper, PermissionsExt::from_mode(like.mode() & 0o7777)))
        .map_err(|e| Error::at(&upper, e))
}

fn attach(lower: &Path, layer: &Path, root: &Path, copied: bool) -> Result<()> {
    let parent = root.parent().unwrap_or(root);
    private(parent)?;
    if copied {
        let copy = layer.join("copy");
        return match std::fs::read_link(root) {
            Ok(old) if old == copy => Ok(()),
            _ => {
                unmount(root)?;
                std::os::unix::fs::symlink(&copy, root).map_err(|e| Error::at(root, e))
            }
        };
    }
    if root.exists() && is_mount(root, parent) {
        return Ok(());
    }
    unmount(root)?;
    private(root)?;
    tree::mount_overlay(lower, &layer.join("upper"), &layer.join("work"), root)
        .map_err(|e| Error::at(root, e))
}

fn is_mount(root: &Path, parent: &Path) -> bool {
    let device = |path: &Path| std::fs::metadata(path).map(|m| m.dev()).ok();
    tree::is_overlay(root).unwrap_or(false) && device(root) != device(parent)
}

/// With everything that the tree has: owners, attributes, hard links, holes.
fn copy(lower: &Path, layer: &Path) -> Result<()> {
    let copy = layer.join("copy");
    let ran = Command::new("cp").arg("-a").arg("--").arg(lower).arg(&copy).output();
    let ran = ran.map_err(|e| Error::failed(format!("cp: {e}")))?;
    match ran.status.success() {
        true => Ok(()),
        false => {
            let text = String::from_utf8_lossy(&ran.stderr);
            Err(Error::failed(format!("cp: {}", text.lines().next().unwrap_or("failed"))))
        }
    }
}
