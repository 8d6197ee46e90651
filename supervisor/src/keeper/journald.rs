//! A copy of each line for journald, in its native protocol (systemd.io, "Native Journal Protocol"). Never waits: what the
//! socket does not take at once is dropped and counted.
#![forbid(unsafe_code)]

use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;

use super::protocol::Stream;
use crate::sys::keeper as sys;

/// Where journald listens.
pub const SOCKET: &str = "/run/systemd/journal/socket";

/// The way to journald.
#[derive(Debug)]
pub struct Journald {
    socket: OwnedFd,
    to: sys::Address,
    /// The fields that are the same on each line.
    fields: Vec<u8>,
    dropped: u64,
}

impl Journald {
    /// A way that marks each line with its run, `web.1.17`.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn new(path: &str, run: &crate::names::RunId) -> io::Result<Journald> {
        let fields = format!(
            "SYSLOG_IDENTIFIER={instance}\nKNARR_SERVICE={service}\nKNARR_INSTANCE={instance}\nKNARR_RUN={run}\n",
            service = run.instance.service,
            instance = run.instance,
        );
        Ok(Journald {
            socket: sys::datagram_socket()?,
            to: sys::socket_path(path)?,
            fields: fields.into_bytes(),
            dropped: 0,
        })
    }

    /// Sends one line without its line break. `whole` = it is not continued in the next one.
    pub fn send(&mut self, stream: Stream, whole: bool, line: &[u8]) {
        // Priorities of syslog(3): information, error.
        let (priority, name) = match stream {
            Stream::Stdout => ("PRIORITY=6\nKNARR_STREAM=", stream.word()),
            Stream::Stderr => ("PRIORITY=3\nKNARR_STREAM=", stream.word()),
        };
        // The form with a length takes any bytes.
        let len = (line.len() as u64).to_le_bytes();
        let parts = [
            IoSlice::new(&self.fields),
            IoSlice::new(priority.as_bytes()),
            IoSlice::new(name.as_bytes()),
            IoSlice::new(if whole { b"\nMESSAGE\n" } else { b"\nKNARR_PARTIAL=1\nMESSAGE\n" }),
            IoSlice::new(&len),
            IoSlice::new(line),
            IoSlice::new(b"\n"),
        ];
        if sys::send_to(&self.socket, &self.to, &parts).is_err() {
            self.dropped += 1;
        }
    }

    /// Lines dropped since the last call.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;

    #[test]
    fn lines_arrive_as_fields_and_are_counted_when_nobody_listens() {
        let dir = std::env::temp_dir().join(format!("knarr-journald-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("socket");
        let mut to = Journald::new(path.to_str().unwrap(), &"web.1.17".parse().unwrap()).unwrap();
        to.send(Stream::Stdout, true, b"lost");
        assert_eq!((to.take_dropped(), to.take_dropped()), (1, 0));
        let socket = UnixDatagram::bind(&path).unwrap();
        to.send(Stream::Stderr, false, b"a\xff=\nb");
        let mut got = [0; 512];
        let n = socket.recv(&mut got).unwrap();
        assert_eq!(
            got[..n],
            *b"SYSLOG_IDENTIFIER=web.1\nKNARR_SERVICE=web\nKNARR_INSTANCE=web.1\nKNARR_RUN=web.1.17\n\
               PRIORITY=3\nKNARR_STREAM=stderr\nKNARR_PARTIAL=1\nMESSAGE\n\x05\0\0\0\0\0\0\0a\xff=\nb\n"
        );
        // A full socket does not hold anybody up.
        for _ in 0..5000 {
            to.send(Stream::Stdout, true, &[b'x'; 1000]);
        }
        assert!(to.take_dropped() > 0);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
