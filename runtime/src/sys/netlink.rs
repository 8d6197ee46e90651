//! rtnetlink(7): the few requests that moving a network interface needs. One function is one request, as elsewhere in `sys`.

use super::{Errno, cvt, show};
use crate::error::{Error, Result, quoted};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// A socket of one network namespace: that in which it was made.
#[derive(Debug)]
pub struct Netlink {
    fd: OwnedFd,
}

/// An address of an interface, with what is needed to give it to another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    pub family: u8,
    /// Bits of the network.
    pub prefix: u8,
    /// `RT_SCOPE_*`.
    pub scope: u8,
    /// `IFA_F_*`.
    pub flags: u32,
    /// Attributes of rtnetlink(7) by number: address, local address, broadcast address, route metric.
    pub attributes: Vec<(u16, Vec<u8>)>,
}

/// `IFA_F_*`: given by an administrator, not for a time.
pub const PERMANENT: u32 = libc::IFA_F_PERMANENT;
/// Scope of addresses that are valid everywhere.
pub const SCOPE_UNIVERSE: u8 = libc::RT_SCOPE_UNIVERSE;

/// linux/if_addr.h; what the kernel lets a request set.
const KEPT_FLAGS: u32 = libc::IFA_F_NODAD | libc::IFA_F_NOPREFIXROUTE | libc::IFA_F_MCAUTOJOIN;
/// linux/if_addr.h.
const IFA_FLAGS: u16 = 8;
const IFA_RT_PRIORITY: u16 = 9;
/// linux/if_link.h.
const IFLA_NET_NS_FD: u16 = 28;
/// linux/netlink.h.
const NLM_F_ACK_TLVS: u16 = 0x200;
const NLM_F_CAPPED: u16 = 0x100;
const NLMSGERR_ATTR_MSG: u16 = 1;
const NETLINK_CAP_ACK: i32 = 10;
const NETLINK_EXT_ACK: i32 = 11;
/// netdevice(7).
const IFF_UP: u32 = libc::IFF_UP as u32;
/// Bytes of nlmsghdr.
const HEADER: usize = 16;

impl Netlink {
    /// socket(2), `NETLINK_ROUTE`, that tells the reason of a refusal in words where the kernel has some (Linux 4.12).
    pub fn open() -> Result<Netlink> {
        // SAFETY: a new socket descriptor or -1.
        let raw = unsafe {
            libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_ROUTE)
        };
        let raw = sys!("socket", cvt(raw.into()), "AF_NETLINK, NETLINK_ROUTE")?;
        // SAFETY: just made, owned by nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(raw as i32) };
        let on: libc::c_int = 1;
        for option in [NETLINK_CAP_ACK, NETLINK_EXT_ACK] {
            // Without them errors have no words; nothing else changes.
            // SAFETY: `on` is valid for the size given.
            unsafe {
                libc::setsockopt(
                    fd.as_raw_fd(),
                    libc::SOL_NETLINK,
                    option,
                    (&raw const on).cast(),
                    size_of_val(&on) as libc::socklen_t,
                )
            };
        }
        Ok(Netlink { fd })
    }

    /// RTM_GETLINK: the number of the interface of this name, and whether it is up.
    ///
    /// # Errors
    /// ENODEV when there is none.
    pub fn find(&self, name: &str) -> Result<(u32, bool)> {
        let mut request = Request::link(libc::RTM_GETLINK, 0, 0, 0);
        request.attribute(libc::IFLA_IFNAME, &with_nul(name));
        let mut found = None;
        self.ask(request, 0, &format!("RTM_GETLINK, {}", quoted(name)), |message| {
            let at = |range| message.get(range).and_then(number);
            found = at(4..8).zip(at(8..12).map(|flags| flags & IFF_UP != 0)).or(found);
        })?;
        found.ok_or_else(|| Error::os("netlink", format_args!("RTM_GETLINK, {}", quoted(name)), libc::ENODEV))
    }

    /// RTM_GETLINK: the names of all interfaces.
    pub fn names(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        self.ask(Request::link(libc::RTM_GETLINK, 0, 0, 0), libc::NLM_F_DUMP, "RTM_GETLINK", |message| {
            let attributes = message.get(16..).unwrap_or_default();
            let name = find(attributes, libc::IFLA_IFNAME);
            names.extend(name.map(|n| String::from_utf8_lossy(n).trim_end_matches('\0').to_string()));
        })?;
        Ok(names)
    }

    /// RTM_GETADDR: the addresses of an interface, of every family.
    pub fn addresses(&self, index: u32) -> Result<Vec<Address>> {
        let mut request = Request::new(libc::RTM_GETADDR);
        request.bytes.extend([0u8; 8]);
        let mut out = Vec::new();
        self.ask(request, libc::NLM_F_DUMP, &format!("RTM_GETADDR, {index}"), |message| {
            out.extend(address(message).filter(|(of, _)| *of == index).map(|(_, a)| a));
        })?;
        Ok(out)
    }

    /// RTM_NEWADDR.
    pub fn add_address(&self, index: u32, a: &Address) -> Result<()> {
        let mut request = Request::new(libc::RTM_NEWADDR);
        request.bytes.extend([a.family, a.prefix, 0, a.scope]);
        request.bytes.extend(index.to_ne_bytes());
        for (kind, value) in &a.attributes {
            request.attribute(*kind, value);
        }
        request.attribute(IFA_FLAGS, &(a.flags & KEPT_FLAGS).to_ne_bytes());
        let what = format!("RTM_NEWADDR, {index}, {:?}/{}", a.attributes, a.prefix);
        self.ask(request, libc::NLM_F_CREATE | libc::NLM_F_EXCL, &what, |_| {})
    }

    /// RTM_NEWLINK: up or down.
    pub fn set_up(&self, index: u32, up: bool) -> Result<()> {
        let request = Request::link(libc::RTM_NEWLINK, index, if up { IFF_UP } else { 0 }, IFF_UP);
        self.ask(request, 0, &format!("RTM_NEWLINK, {index}, {}", if up { "up" } else { "down" }), |_| {})
    }

    /// RTM_NEWLINK with `IFLA_NET_NS_FD`: moves an interface to another network namespace, where it has this name. Both at
    /// once, so that no name is taken twice in between.
    pub fn move_to(&self, index: u32, netns: BorrowedFd<'_>, name: &str) -> Result<()> {
        let mut request = Request::link(libc::RTM_NEWLINK, index, 0, 0);
        request.attribute(libc::IFLA_IFNAME, &with_nul(name));
        request.attribute(IFLA_NET_NS_FD, &netns.as_raw_fd().to_ne_bytes());
        self.ask(request, 0, &format!("RTM_NEWLINK, {index}, to {}, {}", show(&netns), quoted(name)), |_| {})
    }

    /// Sends a request and gives each message of the answer to `take`.
    fn ask(&self, request: Request, flags: i32, what: &str, mut take: impl FnMut(&[u8])) -> Result<()> {
        let dump = flags & libc::NLM_F_DUMP == libc::NLM_F_DUMP;
        let ack = if dump { 0 } else { libc::NLM_F_ACK };
        let bytes = request.finish((libc::NLM_F_REQUEST | ack | flags) as u16);
        let fail = |errno: i32| Error::os("netlink", what, errno);
        self.send(&bytes).map_err(fail)?;
        let mut buffer = vec![0u8; 1 << 16];
        loop {
            let n = self.receive(&mut buffer).map_err(fail)?;
            let mut rest = buffer.get(..n).unwrap_or_default();
            if rest.len() < HEADER {
                return Err(fail(libc::EPROTO));
            }
            while let Some((kind, flags, message, next)) = split(rest) {
                rest = next;
                match i32::from(kind) {
                    libc::NLMSG_DONE => return Ok(()),
                    libc::NLMSG_ERROR => return verdict(message, flags, fail),
                    libc::NLMSG_NOOP => {}
                    _ => take(message),
                }
            }
        }
    }

    fn send(&self, bytes: &[u8]) -> Result<(), i32> {
        // SAFETY: pointer and length describe `bytes`; a socket without a peer talks to the kernel (netlink(7)).
        let r = unsafe { libc::send(self.fd.as_fd().as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) };
        cvt(r as libc::c_long).map(|_| ()).map_err(Errno::raw_os_error)
    }

    fn receive(&self, buffer: &mut [u8]) -> Result<usize, i32> {
        loop {
            // SAFETY: pointer and length describe `buffer`.
            let r = unsafe { libc::recv(self.fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
            match cvt(r as libc::c_long) {
                Err(Errno(libc::EINTR)) => {}
                r => return r.map(|n| n as usize).map_err(Errno::raw_os_error),
            }
        }
    }
}

/// A request being put together, behind room for its header.
struct Request {
    kind: u16,
    bytes: Vec<u8>,
}

impl Request {
    fn new(kind: u16) -> Request {
        Request { kind, bytes: vec![0; HEADER] }
    }

    /// With an ifinfomsg.
    fn link(kind: u16, index: u32, flags: u32, change: u32) -> Request {
        let mut request = Request::new(kind);
        request.bytes.extend([0u8; 4]);
        for number in [index, flags, change] {
            request.bytes.extend(number.to_ne_bytes());
        }
        request
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.bytes.extend((value.len() as u16 + 4).to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(mut self, flags: u16) -> Vec<u8> {
        let length = self.bytes.len() as u32;
        let mut header = Vec::with_capacity(HEADER);
        header.extend(length.to_ne_bytes());
        header.extend(self.kind.to_ne_bytes());
        header.extend(flags.to_ne_bytes());
        header.extend([1u32.to_ne_bytes(), [0; 4]].concat());
        self.bytes.splice(..HEADER, header);
        self.bytes
    }
}

fn with_nul(name: &str) -> Vec<u8> {
    name.bytes().chain([0]).collect()
}

fn number(bytes: &[u8]) -> Option<u32> {
    bytes.try_into().ok().map(u32::from_ne_bytes)
}

fn short(bytes: &[u8]) -> Option<u16> {
    bytes.try_into().ok().map(u16::from_ne_bytes)
}

/// The first message: type, flags, what follows the header, and the messages behind it.
fn split(bytes: &[u8]) -> Option<(u16, u16, &[u8], &[u8])> {
    let length = number(bytes.get(..4)?)? as usize;
    let (kind, flags) = (short(bytes.get(4..6)?)?, short(bytes.get(6..8)?)?);
    let message = bytes.get(HEADER..length)?;
    Some((kind, flags, message, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

/// Attributes as (number, value).
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(short(bytes.get(..2)?)?);
        let kind = short(bytes.get(2..4)?)?;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(k, _)| *k == kind).map(|(_, value)| value)
}

/// An ifaddrmsg with its attributes, and the interface it is of.
fn address(message: &[u8]) -> Option<(u32, Address)> {
    let [family, prefix, flags, scope] = *message.get(..4)? else { return None };
    let index = number(message.get(4..8)?)?;
    let rest = message.get(8..)?;
    let kept = [libc::IFA_ADDRESS, libc::IFA_LOCAL, libc::IFA_BROADCAST, IFA_RT_PRIORITY];
    let list = attributes(rest).filter(|(kind, _)| kept.contains(kind));
    // The byte of the header has no room for all flags.
    let flags = find(rest, IFA_FLAGS).and_then(number).unwrap_or(flags.into());
    let attributes = list.map(|(kind, value)| (kind, value.to_vec())).collect();
    Some((index, Address { family, prefix, scope, flags, attributes }))
}

/// An nlmsgerr: the errno, 0 for success, and in newer kernels a sentence.
fn verdict(message: &[u8], flags: u16, fail: impl Fn(i32) -> Error) -> Result<()> {
    let errno = message.get(..4).and_then(number).map_or(libc::EPROTO, |n| -(n as i32));
    if errno == 0 {
        return Ok(());
    }
    let echo = message.get(4..8).and_then(number).unwrap_or(0) as usize;
    let skip = 4 + if flags & NLM_F_CAPPED != 0 { HEADER } else { echo.next_multiple_of(4) };
    let words = (flags & NLM_F_ACK_TLVS != 0).then(|| message.get(skip..)).flatten();
    let text = words.and_then(|w| find(w, NLMSGERR_ATTR_MSG)).map(String::from_utf8_lossy);
    Err(match text {
        Some(text) => fail(errno).hint(text.trim_end_matches('\0').to_string()),
        None => fail(errno),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_their_length_and_padding() {
        let mut request = Request::link(libc::RTM_GETLINK, 7, 0, 0);
        request.attribute(libc::IFLA_IFNAME, b"eth0\0");
        let bytes = request.finish(5);
        assert_eq!(bytes.len(), 16 + 16 + 4 + 8);
        assert_eq!(number(&bytes[..4]), Some(44));
        let (kind, flags, message, rest) = split(&bytes).unwrap();
        assert_eq!((kind, flags, rest.len()), (libc::RTM_GETLINK, 5, 0));
        assert_eq!(number(&message[4..8]), Some(7));
        assert_eq!(find(&message[16..], libc::IFLA_IFNAME), Some(&b"eth0\0"[..]));
    }

    #[test]
    fn what_is_cut_short_is_no_message() {
        for bytes in [&[][..], &[0; 15], &[200, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[1; 40]] {
            assert!(split(bytes).is_none(), "{bytes:?}");
        }
        assert_eq!(attributes(&[3, 0, 1, 0]).count(), 0);
        assert_eq!(attributes(&[9, 0, 1, 0, 1]).count(), 0);
        assert!(address(&[2, 24, 0]).is_none());
    }

    #[test]
    fn the_kernel_answers() {
        let link = Netlink::open().unwrap();
        assert!(link.names().unwrap().iter().any(|n| n == "lo"));
        let lo = link.find("lo").unwrap().0;
        assert_eq!(lo, 1);
        for a in link.addresses(lo).unwrap() {
            assert!(a.flags & PERMANENT != 0 && a.prefix >= 8, "{a:?}");
        }
        let e = link.find("kn-none").unwrap_err();
        assert!(e.is(libc::ENODEV), "{e}");
    }
}
