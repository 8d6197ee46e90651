//! The daemon's end of the holder: starts it, gives it sockets, takes them back. Asynchronous on the caller's runtime.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::UnixDatagram;

use super::client::into_background;
use super::hold::NAME_MAX;
use crate::sys::{held, keeper as sys};

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection to the holder.
#[derive(Debug)]
pub struct Holder(UnixDatagram);

/// The end of a holder, to be waited for.
#[derive(Debug)]
pub struct Gone(UnixDatagram);

impl Holder {
    /// Connects to the holder in a directory.
    ///
    /// # Errors
    /// `NotFound`, `ConnectionRefused`: there is none.
    pub fn connect(dir: &Path) -> io::Result<Holder> {
        connect(dir).map(Holder)
    }

    /// Connects to the one that is there, or starts one. The directory must be there and private.
    ///
    /// # Errors
    /// The program cannot be run or refuses; its own words are the error's.
    pub async fn start(program: &Path, dir: &Path, cgroup: Option<&Path>) -> io::Result<Holder> {
        if let Ok(holder) = Holder::connect(dir) {
            return Ok(holder);
        }
        let mut args = vec!["--hold".into(), dir.into()];
        args.extend(cgroup.into_iter().flat_map(|c| ["--cgroup".into(), c.into()]));
        into_background(program, args, Stdio::null()).await?;
        Holder::connect(dir)
    }

    /// Becomes ready when the holder is gone, on a connection of its own.
    ///
    /// # Errors
    /// It is gone already.
    pub fn gone(dir: &Path) -> io::Result<Gone> {
        connect(dir).map(Gone)
    }

    /// Keeps a socket under a name, in the place of one of that name.
    ///
    /// # Errors
    /// It is gone, does not answer within 10 s, or says that it cannot.
    pub async fn put(&self, name: &str, fd: &OwnedFd) -> io::Result<()> {
        self.done(b'P', name, Some(fd)).await
    }

    /// Closes one; one that is not there is closed.
    ///
    /// # Errors
    /// As [`Holder::put`].
    pub async fn remove(&self, name: &str) -> io::Result<()> {
        self.done(b'D', name, None).await
    }

    /// All that it has.
    ///
    /// # Errors
    /// As [`Holder::put`]; a name that is no text (`InvalidData`).
    pub async fn all(&self) -> io::Result<Vec<(String, OwnedFd)>> {
        let mut all: Vec<(String, OwnedFd)> = Vec::new();
        loop {
            let last = all.last().map_or("", |(name, _)| name.as_str());
            let (packet, fd) = self.ask(b'N', last, None).await?;
            match (packet.split_first(), fd) {
                (Some((b'E', [])), None) => return Ok(all),
                (Some((b'I', name)), Some(fd)) => {
                    let name = String::from_utf8(name.to_vec()).map_err(|_| foreign(&packet))?;
                    if name.as_str() <= last {
                        return Err(foreign(&packet));
                    }
                    all.push((name, fd));
                }
                _ => return Err(foreign(&packet)),
            }
        }
    }

    async fn done(&self, word: u8, name: &str, fd: Option<&OwnedFd>) -> io::Result<()> {
        match self.ask(word, name, fd).await? {
            (packet, None) if packet == b"O" => Ok(()),
            (packet, _) => Err(foreign(&packet)),
        }
    }

    async fn ask(
        &self,
        word: u8,
        name: &str,
        fd: Option<&OwnedFd>,
    ) -> io::Result<(Vec<u8>, Option<OwnedFd>)> {
        let packet = [&[word], name.as_bytes()].concat();
        if name.len() > NAME_MAX {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let fd: Vec<_> = fd.iter().map(|fd| fd.as_fd()).collect();
        held::send(&self.0, &packet, &fd)?;
        tokio::time::timeout(PATIENCE, self.answer())
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the holder of sockets does not answer"))?
    }

    async fn answer(&self) -> io::Result<(Vec<u8>, Option<OwnedFd>)> {
        loop {
            self.0.readable().await?;
            let mut packet = vec![0; NAME_MAX + 1];
            match self.0.try_io(Interest::READABLE, || held::receive(&self.0, &mut packet)) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Ok((0, _)) => return Err(io::ErrorKind::ConnectionReset.into()),
                other => {
                    let (n, fds) = other?;
                    packet.truncate(n);
                    return Ok((packet, fds.into_iter().next()));
                }
            }
        }
    }
}

impl Gone {
    /// Waits for it.
    pub async fn wait(self) {
        // It never says anything here: what can be read is the end.
        self.0.readable().await.ok();
    }
}

fn connect(dir: &Path) -> io::Result<UnixDatagram> {
    // Not a datagram socket, but all that tokio does with one fits a packet socket, too.
    UnixDatagram::from_std(sys::connect(dir)?.into())
}

fn foreign(packet: &[u8]) -> io::Error {
    let text = String::from_utf8_lossy(packet.strip_prefix(b"X").unwrap_or(packet)).into_owned();
    io::Error::new(io::ErrorKind::InvalidData, format!("the holder of sockets says {text:?}"))
}
