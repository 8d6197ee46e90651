//! The terminal that a person sits at: whether there is one, its size, raw mode.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::termios as rt;

/// isatty(3).
pub fn is_terminal<F: AsFd>(fd: F) -> bool {
    rt::isatty(fd)
}

/// Rows and columns (`TIOCGWINSZ`); `None` when it is not a terminal or does not know its columns. Rows can be 0: unknown.
pub fn size<F: AsFd>(fd: F) -> Option<(u16, u16)> {
    rt::tcgetwinsize(fd).ok().filter(|w| w.ws_col > 0).map(|w| (w.ws_row, w.ws_col))
}

/// The mode of a terminal, in words.
#[cfg(test)]
pub fn describe<F: AsFd>(fd: F) -> String {
    format!("{:?}", rt::tcgetattr(fd))
}

/// A terminal in raw mode; the old mode comes back when this is dropped.
#[derive(Debug)]
pub struct Raw {
    fd: OwnedFd,
    old: rt::Termios,
}

impl Raw {
    /// cfmakeraw(3): every key goes to the other end, Ctrl-C too.
    pub fn enter<F: AsFd>(fd: F) -> io::Result<Raw> {
        let fd = fd.as_fd().try_clone_to_owned()?;
        let old = rt::tcgetattr(&fd)?;
        let mut new = old.clone();
        new.make_raw();
        rt::tcsetattr(&fd, rt::OptionalActions::Now, &new)?;
        Ok(Raw { fd, old })
    }

    /// Back to the old mode, as at the end of this; for who does not get there.
    pub fn leave(&self) {
        // Nobody is left to tell when even this fails.
        let _ = rt::tcsetattr(&self.fd, rt::OptionalActions::Now, &self.old);
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.leave();
    }
}
