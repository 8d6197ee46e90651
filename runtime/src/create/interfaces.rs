//! `linux.netDevices`: hands interfaces of the runtime's network namespace to the container, before any hook runs. Until
//! the container is complete they can be taken back. May use: `sys`, plan types.

use crate::error::{Code, Context, Error, Result, quoted};
use crate::plan::Interface;
use crate::report;
use crate::sys::fs::{self, OFlags};
use crate::sys::netlink::{Address, Netlink, PERMANENT, SCOPE_UNIVERSE};
use crate::sys::process::{Child, ns_flags};
use crate::sys::{OwnedFd, errno, ns};
use std::os::fd::AsFd;

/// Interfaces that the container has been given. Dropping it takes them back.
pub(super) struct Given<'a> {
    ends: Option<(End, End)>,
    moved: Vec<Moved<'a>>,
}

/// An interface on its way, and what it was.
struct Moved<'a> {
    of: &'a Interface,
    /// Its name in the container.
    name: String,
    up: bool,
    addresses: Vec<Address>,
}

/// A network namespace and a socket in it.
struct End {
    netns: OwnedFd,
    link: Netlink,
}

impl<'a> Given<'a> {
    /// Moves them all, in the order of their names.
    pub(super) fn to(interfaces: &'a [Interface], child: &Child) -> Result<Given<'a>> {
        let mut given = Given { ends: None, moved: Vec::new() };
        if interfaces.is_empty() {
            return Ok(given);
        }
        let (ours, theirs) = given.ends.insert(ends(child)?);
        for interface in interfaces {
            let Interface { host, name: _, field } = interface;
            let step = || format!("move the interface {} into the container", quoted(host));
            let name = free_name(interface, theirs).field(field)?;
            let (index, up) = ours.link.find(host).field(field).step_with(step).map_err(|e| {
                if e.is(errno::ENODEV) {
                    e.hint("no such interface in the runtime's network namespace")
                } else {
                    e
                }
            })?;
            let addresses = ours.link.addresses(index).field(field)?;
            let moved = Moved { of: interface, name, up, addresses };
            moved.leave((ours, index), (theirs, &moved.name)).field(field).step_with(step)?;
            let settled =
                theirs.link.find(&moved.name).and_then(|(index, _)| moved.settle(theirs, index, true));
            given.moved.push(moved);
            settled.field(field).step_with(step)?;
        }
        Ok(given)
    }

    /// They are the container's.
    pub(super) fn keep(mut self) {
        self.ends = None;
    }
}

impl Drop for Given<'_> {
    fn drop(&mut self) {
        let Some((ours, theirs)) = &self.ends else { return };
        for moved in self.moved.iter().rev() {
            let Moved { of, name, up, addresses: _ } = moved;
            let back = || -> Result<()> {
                moved.leave((theirs, theirs.link.find(name)?.0), (ours, &of.host))?;
                moved.settle(ours, ours.link.find(&of.host)?.0, *up)
            };
            if let Err(e) = back() {
                report::warn(e.step(format!("take the interface {} back", quoted(&of.host))));
            }
        }
    }
}

impl Moved<'_> {
    /// What runc does, in its order: down, then moved and renamed in one request. One that cannot leave stays as it was.
    fn leave(&self, (from, index): (&End, u32), (to, name): (&End, &str)) -> Result<()> {
        from.link.set_up(index, false)?;
        from.link.move_to(index, to.netns.as_fd(), name).inspect_err(|_| {
            // The error that matters is the first one.
            let _ = self.settle(from, index, self.up);
        })
    }

    /// The kernel forgets addresses when an interface changes its namespace, those of IPv6 already when it goes down.
    fn settle(&self, at: &End, index: u32, up: bool) -> Result<()> {
        for address in self.addresses.iter().filter(|a| is_kept(a)) {
            match at.link.add_address(index, address) {
                Err(e) if !e.is(errno::EEXIST) => return Err(e),
                _ => {}
            }
        }
        if up { at.link.set_up(index, true) } else { Ok(()) }
    }
}

/// Our end and the child's.
fn ends(child: &Child) -> Result<(End, End)> {
    let open = |of: &str| fs::open(format!("/proc/{of}/ns/net"), OFlags::RDONLY, 0);
    let ours = End { netns: open("self")?, link: Netlink::open()? };
    let netns = open(&child.pid().to_string())?;
    ns::setns(&netns, ns_flags::NET).step("enter the container's network namespace")?;
    let link = Netlink::open();
    ns::setns(&ours.netns, ns_flags::NET).step("go back to our own network namespace")?;
    Ok((ours, End { netns, link: link? }))
}

/// The name inside. One `%d` stands for the first number that is free there, as in the kernel (`dev_alloc_name`).
fn free_name(interface: &Interface, inside: &End) -> Result<String> {
    if !interface.name.contains("%d") {
        return Ok(interface.name.clone());
    }
    let taken = inside.link.names()?;
    let mut names = (0..=taken.len()).map(|n| interface.name.replace("%d", &n.to_string()));
    let free = names.find(|n| !taken.contains(n));
    free.ok_or_else(|| Error::new(Code::Internal, "no name is free"))
}

/// config-linux.md, "Network Devices": permanent addresses of global scope. Others belong to the place they were got in.
fn is_kept(a: &Address) -> bool {
    a.flags & PERMANENT != 0 && a.scope == SCOPE_UNIVERSE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lasting_addresses_of_global_scope_move() {
        let a = |flags, scope| Address { family: 2, prefix: 24, scope, flags, attributes: Vec::new() };
        assert!(is_kept(&a(PERMANENT, SCOPE_UNIVERSE)));
        assert!(!is_kept(&a(0, SCOPE_UNIVERSE)));
        assert!(!is_kept(&a(PERMANENT, 253)));
    }
}
