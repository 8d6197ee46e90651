//! The start gate: a socket in the container's state directory on which a created init listens. `start`
//! connects once; the connection is close-on-exec in init, so end of file tells that execve happened (or that
//! init ended), and a failed execve can still send its errno. May use: `sys`, `error`.
#![forbid(unsafe_code)]

use crate::error::{Code, Error, Result};
use crate::sys::{errno, fs, poll, sock};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// Name of the socket in the state directory; that somebody listens on it is what "created" means.
pub const NAME: &str = "gate";

/// What became of a start.
#[derive(Debug)]
pub enum Verdict {
    /// execve happened, or init ended after it passed the gate.
    Running,
    /// init could not execute the payload.
    Failed(Error),
}

/// Makes the listening socket in `dir`; init inherits it.
pub fn listen<D: AsFd>(dir: D) -> Result<OwnedFd> {
    sock::listen_in(dir, NAME)
}

/// True while the container waits to be started. A socket without a listener is what a `start` leaves that was
/// killed before it could take the name away.
pub fn waiting<D: AsFd>(dir: D) -> bool {
    fs::statat(&dir, NAME, fs::AtFlags::SYMLINK_NOFOLLOW).is_ok() && sock::alive_in(&dir, NAME)
}

/// Opens the gate of the container whose state directory is `dir` and waits for the verdict.
///
/// # Errors
/// `Status` when nobody listens any more; `Timeout` when init does not answer within `limit`.
pub fn open<D: AsFd>(dir: D, limit: Option<Duration>) -> Result<Verdict> {
    let conn = match sock::connect_in(&dir, NAME) {
        Err(e) if e.is(errno::ECONNREFUSED) || e.is(errno::ENOENT) => {
            let _ = fs::unlinkat(&dir, NAME);
            return Err(Error::new(Code::Status, "cannot start a container that has stopped or is running"));
        }
        r => r?,
    };
    if !poll::wait_readable(&conn, limit)? {
        let seconds = limit.unwrap_or_default().as_secs();
        let text = format!("init has not finished within {seconds} s");
        return Err(Error::new(Code::Timeout, text).step("wait for init to execute the program"));
    }
    let (data, _) = sock::recv(&conn)?;
    let _ = fs::unlinkat(&dir, NAME);
    if data.is_empty() {
        return Ok(Verdict::Running);
    }
    serde_json::from_slice(&data)
        .map(Verdict::Failed)
        .map_err(|e| Error::new(Code::Init, format!("init sent nonsense: {e}")))
}

/// Init's side: waits for one connection. `accept` is the uid that may open the gate besides root; `None` inside
/// a user namespace, where every uid of the host looks the same and the directory's mode alone protects.
pub fn wait(listener: OwnedFd, accept: Option<u32>) -> Result<Conn> {
    loop {
        let conn = sock::accept(&listener)?;
        match accept {
            Some(uid) if ![0, uid].contains(&sock::peer_uid(&conn)?) => continue,
            _ => return Ok(Conn(conn)),
        }
    }
}

/// An opened gate.
#[derive(Debug)]
pub struct Conn(OwnedFd);

impl Conn {
    /// Tells `start` why the payload does not run.
    pub fn failed(&self, e: &Error) {
        if let Ok(data) = serde_json::to_vec(e) {
            let _ = sock::send(&self.0, &data, &[]);
        }
    }
}
