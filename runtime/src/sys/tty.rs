//! Pseudo terminals: pty(7), ioctl_tty(2).

use super::show;
use crate::error::Result;
use rustix::pty::OpenptFlags;
use rustix::termios as rt;
use std::os::fd::{AsFd, OwnedFd};

/// The terminal's far end, opened through the master itself with TIOCGPTPEER (Linux 4.13), so that no path in
/// a hostile /dev is involved.
pub fn open_peer<F: AsFd>(master: F) -> Result<OwnedFd> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    sys!("ioctl", rustix::pty::ioctl_tiocgptpeer(&master, flags), "{}, TIOCGPTPEER", show(&master))
}

/// unlockpt(3).
pub fn unlock<F: AsFd>(master: F) -> Result<()> {
    sys!("ioctl", rustix::pty::unlockpt(&master), "{}, TIOCSPTLCK", show(&master))
}

/// TIOCSCTTY: makes `fd` the controlling terminal of our (new) session.
pub fn set_controlling<F: AsFd>(fd: F) -> Result<()> {
    sys!("ioctl", rustix::process::ioctl_tiocsctty(&fd), "{}, TIOCSCTTY", show(&fd))
}

/// Terminal size in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    pub rows: u16,
    pub cols: u16,
}

/// TIOCGWINSZ, `None` when `fd` is not a terminal.
pub fn size<F: AsFd>(fd: F) -> Option<Size> {
    rt::tcgetwinsize(fd).ok().map(|w| Size { rows: w.ws_row, cols: w.ws_col })
}

/// TIOCSWINSZ.
pub fn set_size<F: AsFd>(fd: F, size: Size) -> Result<()> {
    let w = rt::Winsize { ws_row: size.rows, ws_col: size.cols, ws_xpixel: 0, ws_ypixel: 0 };
    sys!("ioctl", rt::tcsetwinsize(&fd, w), "{}, TIOCSWINSZ", show(&fd))
}

/// isatty(3).
pub fn is_tty<F: AsFd>(fd: F) -> bool {
    rt::isatty(fd)
}

/// A terminal in raw mode; the old mode comes back when this is dropped.
pub struct RawMode {
    fd: OwnedFd,
    old: rt::Termios,
}

impl RawMode {
    /// Puts the terminal into raw mode (termios(3), cfmakeraw) but keeps output processing as it was.
    pub fn enter(fd: OwnedFd) -> Result<RawMode> {
        let old = sys!("ioctl", rt::tcgetattr(&fd), "{}, TCGETS", show(&fd))?;
        let mut new = old.clone();
        new.make_raw();
        new.output_modes = old.output_modes;
        sys!("ioctl", rt::tcsetattr(&fd, rt::OptionalActions::Now, &new), "{}, TCSETS", show(&fd))?;
        Ok(RawMode { fd, old })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        let _ = rt::tcsetattr(&self.fd, rt::OptionalActions::Now, &self.old);
    }
}

/// Turns off ONLCR, so that the container's `\n` reaches a recorder as `\n`: what callers of the console socket
/// expect of runc.
pub fn clear_onlcr<F: AsFd>(fd: F) -> Result<()> {
    let mut t = sys!("ioctl", rt::tcgetattr(&fd), "{}, TCGETS", show(&fd))?;
    t.output_modes.remove(rt::OutputModes::ONLCR);
    sys!("ioctl", rt::tcsetattr(&fd, rt::OptionalActions::Now, &t), "{}, TCSETS", show(&fd))
}
