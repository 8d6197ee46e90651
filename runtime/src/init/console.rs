//! The container's terminal: a pty from its own devpts, made without trusting any path of the image.
//! May use: `sys`, `rootfs`.

use crate::error::{Code, Context, Error, Result};
use crate::rootfs::RootDir;
use crate::sys::fs::{self, OFlags};
use crate::sys::tty::{self, Size};
use crate::sys::{OwnedFd, process};
use std::os::fd::AsFd;

/// devpts(5): the inode number of every instance's ptmx.
const PTMX_INO: u64 = 2;

/// A master and its far end.
pub struct Console {
    pub master: OwnedFd,
    peer: OwnedFd,
}

/// Opens a new terminal in the container's devpts. An image or a racing process may offer something else under
/// that name: it has to be devpts, inode 2, character device 5:2 (CVE-2025-52565).
pub fn open(root: &RootDir) -> Result<Console> {
    let step = "open the container's /dev/pts/ptmx";
    let master = root.open("/dev/pts/ptmx", OFlags::RDWR | OFlags::NOCTTY).step(step)?;
    let st = fs::fstat(&master)?;
    if fs::fs_magic(&master)? != fs::magic::DEVPTS || st.ino != PTMX_INO || !st.is_char(5, 2) {
        return Err(Error::new(Code::Spec, "/dev/pts/ptmx is not the multiplexer of a devpts").step(step));
    }
    tty::unlock(&master)?;
    let peer = tty::open_peer(&master)?;
    Ok(Console { master, peer })
}

impl Console {
    /// Binds the far end onto /dev/console.
    pub fn bind(&self, root: &RootDir) -> Result<()> {
        super::mounts::bind_file(root, self.peer.as_fd(), "/dev/console")
            .step("bind the terminal on /dev/console")
    }

    /// Makes the far end stdin, stdout, stderr and the controlling terminal. Needs a new session.
    pub fn adopt(&self, size: Option<Size>) -> Result<()> {
        if let Some(size) = size {
            tty::set_size(&self.master, size)?;
        }
        for n in 0..3 {
            process::dup_onto(&self.peer, n)?;
        }
        tty::set_controlling(&self.peer)
    }
}
