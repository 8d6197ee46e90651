//! Who is connected to a keeper: one controller, a bounded number of attached clients, and those who have not said yet what
//! they are. Nobody here is ever waited for.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::OwnedFd;

use super::protocol::Word;
use crate::sys::keeper as sys;

/// How many may be connected in all.
pub const SLOTS: usize = 12;
/// How many of them may be attached: newcomers and a controller always find a place.
pub const ATTACHED: usize = 8;

/// What a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It has not said.
    New,
    /// The controller.
    Controller,
    /// An attached client.
    Attached,
}

#[derive(Debug)]
struct Conn {
    fd: OwnedFd,
    role: Role,
}

/// All connections, by slot.
#[derive(Debug, Default)]
pub struct Conns([Option<Conn>; SLOTS]);

impl Conns {
    /// Takes all who wait. Others than root and the keeper's own user are sent away.
    pub fn accept(&mut self, socket: &OwnedFd, owner: u32) {
        while let Ok((fd, uid)) = sys::accept(socket) {
            if uid != 0 && uid != owner {
                continue;
            }
            // One who takes a place and says nothing loses it to one who comes.
            let free = self.0.iter().position(Option::is_none).or_else(|| self.find(Role::New));
            if let Some(slot) = free {
                self.0[slot] = Some(Conn { fd, role: Role::New });
            }
        }
    }

    /// All connections with their roles.
    pub fn iter(&self) -> impl Iterator<Item = (usize, Role, &OwnedFd)> {
        self.0.iter().enumerate().filter_map(|(i, c)| c.as_ref().map(|c| (i, c.role, &c.fd)))
    }

    /// What a slot is.
    pub fn role(&self, slot: usize) -> Option<Role> {
        self.0.get(slot)?.as_ref().map(|c| c.role)
    }

    /// Whether there is a controller.
    pub fn has_controller(&self) -> bool {
        self.find(Role::Controller).is_some()
    }

    /// Gives a newcomer its role; a controller takes the place of an older one, an attached client only a free place.
    pub fn set_role(&mut self, slot: usize, role: Role) -> bool {
        match role {
            Role::Controller => {
                if let Some(old) = self.find(Role::Controller) {
                    self.drop(old);
                }
            }
            Role::Attached if self.iter().filter(|(_, r, _)| *r == Role::Attached).count() >= ATTACHED => {
                return false;
            }
            Role::Attached | Role::New => {}
        }
        if let Some(Some(conn)) = self.0.get_mut(slot) {
            conn.role = role;
        }
        true
    }

    /// The next packet of a connection; `Ok(None)` = none is there.
    ///
    /// # Errors
    /// The connection is over.
    pub fn recv(&self, slot: usize, packet: &mut [u8]) -> io::Result<Option<usize>> {
        let Some(Some(conn)) = self.0.get(slot) else { return Ok(None) };
        match sys::recv(&conn.fd, packet) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => Ok(Some(n)),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Says one word to a connection. One that does not take it is closed.
    pub fn say(&mut self, slot: usize, word: Word<'_>) {
        if let Some(Some(conn)) = self.0.get(slot) {
            let mut space = [0; 300];
            let (head, body) = word.encode(&mut space);
            if sys::send(&conn.fd, head, body).is_err() {
                self.drop(slot);
            }
        }
    }

    /// Says one word to all of a role.
    pub fn say_all(&mut self, role: Role, word: Word<'_>) {
        for slot in 0..SLOTS {
            if self.role(slot) == Some(role) {
                self.say(slot, word);
            }
        }
    }

    /// Closes a connection.
    pub fn drop(&mut self, slot: usize) {
        if let Some(conn) = self.0.get_mut(slot) {
            *conn = None;
        }
    }

    /// Closes all of a role.
    pub fn drop_all(&mut self, role: Role) {
        self.0.iter_mut().filter(|c| c.as_ref().is_some_and(|c| c.role == role)).for_each(|c| *c = None);
    }

    fn find(&self, role: Role) -> Option<usize> {
        self.0.iter().position(|c| c.as_ref().is_some_and(|c| c.role == role))
    }
}
