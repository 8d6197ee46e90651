//! A resolver as runtimes had it: it looks at every component of a path and then gives the kernel the same path once more. It
//! is the control of the exchanges, which must catch it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use nix::mount::MsFlags;

use crate::os;

/// What is mounted below the root, and a file that is made there.
const TARGET: &str = "data/a/b/c";
const FILE: &str = "data/f/g/file";

/// Prepares a root, in a mount namespace of its own, the way that is wrong.
pub fn prepare(root: &Path) -> Result<()> {
    os::private_mounts()?;
    refuse_links(root, TARGET)?;
    let target = root.join(TARGET);
    fs::create_dir_all(&target).with_context(|| format!("mkdir {}", target.display()))?;
    let none: Option<&str> = None;
    nix::mount::mount(Some("none"), &target, Some("tmpfs"), MsFlags::empty(), none).context("mount")?;
    refuse_links(root, FILE)?;
    let file = root.join(FILE);
    fs::create_dir_all(file.parent().context("parent")?).context("mkdir")?;
    fs::write(&file, "").with_context(|| format!("create {}", file.display()))
}

/// The check that is worth nothing as soon as somebody else may move things.
fn refuse_links(root: &Path, path: &str) -> Result<()> {
    let mut at = root.to_path_buf();
    for part in path.split('/') {
        at.push(part);
        if at.symlink_metadata().is_ok_and(|m| m.is_symlink()) {
            bail!("{} is a symbolic link", at.display());
        }
    }
    Ok(())
}
