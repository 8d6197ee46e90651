//! What the container writes and reads: its output into the log's queue and to those attached, their input to it. Never waits.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::OwnedFd;
use std::time::Instant;

use super::{Console, Flow, HOLD, Server, keep_tail};
use crate::keeper::conns::Role;
use crate::keeper::disk::{RING, Room};
use crate::keeper::protocol::{CHUNK_MAX, Stream, Word};
use crate::sys::keeper as sys;

impl Server {
    pub(super) fn read(&mut self, stream: Stream) {
        let output = &mut self.outputs[stream as usize];
        let Some(fd) = &output.fd else { return };
        match (self.shared.fits(stream, CHUNK_MAX), output.flow) {
            (Room::Free, Flow::Spilling) if !self.shared.is_empty(stream) => {}
            (Room::Free, _) => output.flow = Flow::Open,
            (Room::Full, Flow::Open) => {
                output.flow = Flow::Held(Instant::now() + HOLD);
                return;
            }
            (Room::Full, Flow::Held(_)) => return,
            (Room::Full, Flow::Spilling) | (Room::Stuck, _) => output.flow = Flow::Spilling,
        }
        match sys::read(fd, &mut self.buffer[..CHUNK_MAX]) {
            // A terminal whose last user has gone fails with EIO.
            Ok(0) => output.fd = None,
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(_) => output.fd = None,
            Ok(n) => self.hand_on(stream, n),
        }
    }

    /// Reads what a stream holds now and closes it: nobody is waited for any more, and a keeper that was not scheduled for
    /// a while has not seen all of it. No more than a queue holds, for one who never stops writing.
    pub(super) fn read_rest(&mut self, stream: Stream) {
        let Some(fd) = self.outputs[stream as usize].fd.take() else { return };
        for _ in 0..RING / CHUNK_MAX {
            match sys::read(&fd, &mut self.buffer[..CHUNK_MAX]) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => return,
                Ok(n) => self.hand_on(stream, n),
            }
        }
    }

    /// Gives what was read to the log and to those attached.
    fn hand_on(&mut self, stream: Stream, n: usize) {
        let piece = &self.buffer[..n];
        self.shared.push(stream, sys::wall_nanos(), piece);
        self.conns.say_all(Role::Attached, Word::Output(stream, piece));
        if stream == Stream::Stderr && self.pid == 0 {
            keep_tail(&mut self.tail, piece);
        }
    }

    pub(super) fn keep_tail(&mut self, piece: &[u8]) {
        keep_tail(&mut self.tail, piece);
    }

    pub(super) fn input_fd(&self) -> Option<&OwnedFd> {
        if !self.takes_input {
            return None;
        }
        if self.tty { self.outputs[0].fd.as_ref() } else { self.stdin.as_ref() }
    }

    pub(super) fn write_input(&mut self) {
        let written = match self.input_fd() {
            Some(fd) => sys::write(fd, &self.input),
            // Nobody reads it any more.
            None => Ok(self.input.len()),
        };
        match written {
            Ok(n) => drop(self.input.drain(..n)),
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(_) => {
                self.input.clear();
                self.stdin = None;
            }
        }
        if self.input.is_empty() && self.eof_after_input {
            self.stdin = None;
        }
    }

    pub(super) fn console(&mut self) {
        match std::mem::replace(&mut self.console, Console::None) {
            Console::Listening(fd) => {
                self.console = match sys::accept(&fd) {
                    Ok((conn, _)) => Console::Connected(conn),
                    Err(_) => Console::Listening(fd),
                };
            }
            Console::Connected(fd) => match sys::recv_fd(&fd) {
                Ok(terminal) => {
                    self.outputs[0].fd = terminal;
                    if let Some((rows, cols)) = self.size {
                        self.resize(rows, cols);
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.console = Console::Connected(fd),
                Err(_) => {}
            },
            Console::None => {}
        }
    }

    pub(super) fn resize(&mut self, rows: u16, cols: u16) {
        self.size = Some((rows, cols));
        if let Some(terminal) = self.outputs[0].fd.as_ref().filter(|_| self.tty) {
            // A terminal that is gone has no size.
            let _ = sys::resize(terminal, rows, cols);
        }
    }
}
