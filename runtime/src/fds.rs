//! Descriptors that the caller passes on to the payload: `--preserve-fds` and socket activation (sd_listen_fds(3)).
//! May use: `sys`.
#![forbid(unsafe_code)]

use crate::error::{Code, Error, Result};
use crate::sys::process;

/// Which descriptors from 3 up belong to the payload.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Kept {
    /// Sockets of `LISTEN_FDS`; the payload is told their number.
    pub listen: u32,
    /// All of them, those of `--preserve-fds` included.
    pub total: u32,
}

impl Kept {
    /// From the flag's value and the environment. `LISTEN_FDS` counts only when `LISTEN_PID` is us.
    pub fn new(preserve: u32) -> Kept {
        let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u32>().ok());
        let ours = |_: &u32| number("LISTEN_PID") == u32::try_from(process::getpid()).ok();
        let listen = number("LISTEN_FDS").filter(ours).unwrap_or(0);
        Kept { listen, total: listen.saturating_add(preserve) }
    }

    /// The first number that is ours to use.
    pub fn end(self) -> u32 {
        self.total.saturating_add(3)
    }

    /// Takes stock of what the caller left open: closes what it did not ask to keep, and makes sure that all it
    /// asked to keep is there. Comes before this process opens anything of its own, or a number that the caller
    /// promised and did not open would become one of our own descriptors, and be handed to the payload.
    ///
    /// # Errors
    /// Names the first promised descriptor that is not open.
    pub fn take_stock(self) -> Result<()> {
        process::close_from(self.end())?;
        match (3..self.end()).find(|fd| !process::is_open(*fd)) {
            Some(fd) => {
                let text = format!("descriptor {fd} is not open, want {} of them from 3 up", self.total);
                Err(Error::new(Code::Usage, text).hint("see --preserve-fds and LISTEN_FDS"))
            }
            None => Ok(()),
        }
    }

    /// Hides the kept ones from hooks; the payload's last step before execve makes them inheritable again.
    pub fn hide(self) -> Result<()> {
        if self.total == 0 { Ok(()) } else { process::cloexec_from(3) }
    }
}
