//! Unix sockets: packet pairs, descriptors in messages, listening in and connecting to a directory.

use super::show;
use crate::error::{Code, Error, Result, quoted};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use std::ffi::OsStr;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

/// Largest packet of the handshake, in bytes.
pub const MAX_PACKET: usize = 64 * 1024;

/// A connected pair of packet sockets (unix(7), SOCK_SEQPACKET).
pub fn pair() -> Result<(OwnedFd, OwnedFd)> {
    sys!(
        "socketpair",
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None),
        "AF_UNIX, SOCK_SEQPACKET"
    )
}

/// sendmsg(2) with at most four descriptors. No SIGPIPE.
pub fn send<S: AsFd>(sock: S, data: &[u8], fds: &[BorrowedFd<'_>]) -> Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(Error::os("sendmsg", "too many descriptors", libc::E2BIG));
    }
    loop {
        match rustix::net::sendmsg(&sock, &[IoSlice::new(data)], &mut control, SendFlags::NOSIGNAL) {
            Err(rustix::io::Errno::INTR) => continue,
            r => {
                return sys!("sendmsg", r, "{}, {} bytes, {} fds", show(&sock), data.len(), fds.len())
                    .map_err(nobody_takes)
                    .and_then(|n| match n == data.len() {
                        true => Ok(()),
                        false => {
                            Err(Error::os("sendmsg", format_args!("{n} of {} bytes", data.len()), libc::EIO))
                        }
                    });
            }
        }
    }
}

/// recvmsg(2): one packet and its descriptors. Zero bytes without descriptors is end of file.
pub fn recv<S: AsFd>(sock: S) -> Result<(Vec<u8>, Vec<OwnedFd>)> {
    /// Nearly all packets are words. What is longer goes into memory that costs nothing as long as it is not touched.
    const SHORT: usize = 512;
    static REST: Mutex<[u8; MAX_PACKET - SHORT]> = Mutex::new([0; MAX_PACKET - SHORT]);
    let mut short = [0u8; SHORT];
    // A second thread, which only tests have, takes memory of its own: this one may wait for a long time.
    let mut shared = REST.try_lock().ok();
    let mut own = if shared.is_some() { Vec::new() } else { vec![0; MAX_PACKET - SHORT] };
    let rest: &mut [u8] = shared.as_deref_mut().map_or(own.as_mut_slice(), |all| all);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let got = loop {
        let mut iov = [IoSliceMut::new(&mut short), IoSliceMut::new(rest)];
        match rustix::net::recvmsg(&sock, &mut iov, &mut control, RecvFlags::CMSG_CLOEXEC) {
            // ECONNRESET says once that the other end closed without reading all that we sent; what it had said
            // before can still be read, and then end of file.
            Err(rustix::io::Errno::INTR | rustix::io::Errno::CONNRESET) => continue,
            r => break sys!("recvmsg", r, "{}", show(&sock))?.bytes,
        }
    };
    let mut fds = Vec::new();
    for msg in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = msg {
            fds.extend(rights);
        }
    }
    let mut data = short[..got.min(SHORT)].to_vec();
    data.extend_from_slice(&rest[..got.saturating_sub(SHORT)]);
    Ok((data, fds))
}

/// connect(2) to a stream socket at a host path, as console, pidfd and seccomp receivers listen on. Connecting and
/// sending give up after ten seconds with EAGAIN (SO_SNDTIMEO, socket(7)). A path that is too long for sun_path is
/// reached through a handle on its directory.
pub fn connect_stream(path: &Path) -> Result<OwnedFd> {
    let sock = socket(SocketType::STREAM)?;
    let patience = Some(Duration::from_secs(10));
    let set = rustix::net::sockopt::set_socket_timeout(&sock, rustix::net::sockopt::Timeout::Send, patience);
    sys!("setsockopt", set, "{}, SO_SNDTIMEO", show(&sock))?;
    // Lives until the connection is there.
    let mut dir = None;
    let addr = match SocketAddrUnix::new(path) {
        Err(rustix::io::Errno::NAMETOOLONG) => {
            let (parent, name) =
                (path.parent().unwrap_or(Path::new("/")), path.file_name().unwrap_or_default());
            let fd = dir.insert(super::fs::open_dir_path(parent)?).as_fd().as_raw_fd();
            SocketAddrUnix::new(Path::new(&format!("/proc/self/fd/{fd}")).join(name))
        }
        r => r,
    };
    let done = addr.and_then(|addr| rustix::net::connect(&sock, &addr));
    let done = sys!("connect", done, "{}", quoted(&path.to_string_lossy()));
    done.map_err(|e| e.path(path.to_string_lossy())).map_err(nobody_takes)?;
    Ok(sock)
}

/// What EAGAIN means on a socket with a time limit.
fn nobody_takes(e: Error) -> Error {
    if e.is(libc::EAGAIN) {
        e.code(Code::Timeout).hint("whoever listens there has not taken it within 10 s")
    } else {
        e
    }
}

/// A listening packet socket named `name` in the directory `dir`. The name is reached through the directory's
/// descriptor, so the 108-byte limit of sun_path does not apply to the directory's path.
pub fn listen_in<D: AsFd>(dir: D, name: &str) -> Result<OwnedFd> {
    let addr = address_in(&dir, name)?;
    let sock = socket(SocketType::SEQPACKET)?;
    sys!("bind", rustix::net::bind(&sock, &addr), "{}, {name}", show(&dir))?;
    sys!("listen", rustix::net::listen(&sock, 1), "{}", show(&sock))?;
    Ok(sock)
}

/// A datagram socket named `name` in the directory `dir`, see [`listen_in`].
pub fn datagram_in<D: AsFd>(dir: D, name: &str) -> Result<OwnedFd> {
    let addr = address_in(&dir, name)?;
    let sock = socket(SocketType::DGRAM)?;
    sys!("bind", rustix::net::bind(&sock, &addr), "{}, {name}", show(&dir))?;
    Ok(sock)
}

/// connect(2) to a datagram socket: a path, or with a leading "@" a name of the abstract namespace (unix(7)).
pub fn connect_datagram(name: &OsStr) -> Result<OwnedFd> {
    let sock = socket(SocketType::DGRAM)?;
    let addr = match name.as_bytes().strip_prefix(b"@") {
        Some(rest) => SocketAddrUnix::new_abstract_name(rest),
        None => SocketAddrUnix::new(name.as_bytes()),
    };
    let done = addr.and_then(|addr| rustix::net::connect(&sock, &addr));
    sys!("connect", done, "{}", quoted(&name.to_string_lossy()))?;
    Ok(sock)
}

/// Connects to a socket made by [`listen_in`].
pub fn connect_in<D: AsFd>(dir: D, name: &str) -> Result<OwnedFd> {
    let addr = address_in(&dir, name)?;
    let sock = socket(SocketType::SEQPACKET)?;
    sys!("connect", rustix::net::connect(&sock, &addr), "{}, {name}", show(&dir))?;
    Ok(sock)
}

/// True when some process has the socket of that name open. A connect(2) of another type is refused with
/// EPROTOTYPE, without the listener noticing; with ECONNREFUSED when nobody holds the socket.
pub fn alive_in<D: AsFd>(dir: D, name: &str) -> bool {
    let probe = address_in(&dir, name).and_then(|addr| {
        let sock = socket(SocketType::DGRAM)?;
        sys!("connect", rustix::net::connect(&sock, &addr), "{}, {name}", show(&dir))
    });
    probe.is_err_and(|e| e.is(libc::EPROTOTYPE))
}

/// accept4(2).
pub fn accept<S: AsFd>(sock: S) -> Result<OwnedFd> {
    loop {
        match rustix::net::accept_with(&sock, SocketFlags::CLOEXEC) {
            Err(rustix::io::Errno::INTR | rustix::io::Errno::CONNABORTED) => continue,
            r => return sys!("accept4", r, "{}", show(&sock)),
        }
    }
}

/// The uid on the other side of a connection (SO_PEERCRED, unix(7)), as our user namespace sees it.
pub fn peer_uid<S: AsFd>(sock: S) -> Result<u32> {
    let mut cred = libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
    let mut len = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: both pointers are valid for the length given. (The peer's pid is 0 when it is in a pid namespace
    // that we cannot see, which is why no typed wrapper is used.)
    let r = unsafe {
        libc::getsockopt(
            sock.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut cred).cast(),
            &raw mut len,
        )
    };
    sys!("getsockopt", super::cvt(r.into()), "{}, SO_PEERCRED", show(&sock)).map(|_| cred.uid)
}

fn socket(kind: SocketType) -> Result<OwnedFd> {
    sys!(
        "socket",
        rustix::net::socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None),
        "AF_UNIX, {kind:?}"
    )
}

fn address_in<D: AsFd>(dir: &D, name: &str) -> Result<SocketAddrUnix> {
    let path = format!("/proc/self/fd/{}/{name}", dir.as_fd().as_raw_fd());
    sys!("bind", SocketAddrUnix::new(path.as_str()), "{path}")
}
