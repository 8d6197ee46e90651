//! Sockets that are opened here and used elsewhere: made, listened on, and passed from process to process.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, sockopt,
};

/// The most descriptors of one message.
pub const FDS_MAX: usize = 32;
/// How many connections may wait; the kernel takes less where `net.core.somaxconn` says so.
const BACKLOG: i32 = 4096;

fn socket(family: AddressFamily, kind: SocketType) -> rustix::io::Result<OwnedFd> {
    rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None)
}

/// A bound socket, TCP ones listening; without an address for all of IPv6 and IPv4, or IPv4 where there is nothing else. It
/// blocks, as whoever gets it expects.
///
/// # Errors
/// The address is taken (`AddrInUse`), not this host's (`AddrNotAvailable`), or this process may not.
pub fn inet(ip: Option<IpAddr>, port: u16, tcp: bool) -> io::Result<OwnedFd> {
    let all = IpAddr::from([0u16; 8]);
    match (ip, inet_at(ip.unwrap_or(all), port, tcp)) {
        (None, Err(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL)) => Ok(inet_at([0u8; 4].into(), port, tcp)?),
        (_, socket) => Ok(socket?),
    }
}

fn inet_at(ip: IpAddr, port: u16, tcp: bool) -> rustix::io::Result<OwnedFd> {
    let family = if ip.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = socket(family, if tcp { SocketType::STREAM } else { SocketType::DGRAM })?;
    if ip.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, false)?;
    }
    if tcp {
        // Connections of before that wait for their end are not in the way; a datagram socket would share the port.
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    rustix::net::bind(&socket, &SocketAddr::new(ip, port))?;
    if tcp {
        rustix::net::listen(&socket, BACKLOG)?;
    }
    Ok(socket)
}

/// A listening stream socket at a path that is free. At no moment has it more permission bits than these: those of the
/// socket itself become those of its file.
///
/// # Errors
/// Something is there (`AddrInUse`), or the directory is missing.
pub fn unix(path: &str, mode: u32) -> io::Result<OwnedFd> {
    let socket = socket(AddressFamily::UNIX, SocketType::STREAM)?;
    rustix::fs::fchmod(&socket, Mode::from_raw_mode(mode))?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// Whether somebody listens at a path; without waiting.
///
/// # Errors
/// It cannot be asked; nothing at all is there (`NotFound`).
pub fn is_served(path: &str) -> io::Result<bool> {
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )?;
    match rustix::net::connect(&socket, &SocketAddrUnix::new(path)?) {
        // As many wait as it takes; or it is of another kind.
        Ok(()) | Err(Errno::AGAIN | Errno::PROTOTYPE) => Ok(true),
        Err(Errno::CONNREFUSED) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// Two ends of a connection for packets: unix(7).
///
/// # Errors
/// No descriptor is left.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Sends one packet with descriptors, at most [`FDS_MAX`], without blocking.
///
/// # Errors
/// `WouldBlock`, or the other side is gone.
pub fn send(to: impl AsFd, packet: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    rustix::net::sendmsg(to, &[IoSlice::new(packet)], &mut control, flags)?;
    Ok(())
}

/// Receives one packet and its descriptors without blocking; no bytes = the other side is gone.
///
/// # Errors
/// `WouldBlock`; `InvalidData` = it was cut off, or this process has no room for its descriptors.
pub fn receive(from: impl AsFd, packet: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    receive_with(from, packet, RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC)
}

fn receive_with(from: impl AsFd, packet: &mut [u8], flags: RecvFlags) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let got = rustix::net::recvmsg(from, &mut [IoSliceMut::new(packet)], &mut control, flags)?;
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(all) = message {
            fds.extend(all);
        }
    }
    match got.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        true => Err(io::ErrorKind::InvalidData.into()),
        false => Ok((got.bytes, fds)),
    }
}

/// Takes descriptors that wait at standard input, and which programs started by this one get from number 3 on: in a program
/// that has nothing else open yet they come under these numbers.
///
/// # Errors
/// They are not there, or come under other numbers.
pub fn take_given(count: usize) -> io::Result<Vec<OwnedFd>> {
    let (_, fds) = receive_with(rustix::stdio::stdin(), &mut [0; 1], RecvFlags::DONTWAIT)?;
    let numbers = fds.iter().map(AsRawFd::as_raw_fd);
    match fds.len() == count && numbers.eq((3..).take(count)) {
        true => Ok(fds),
        false => {
            Err(io::Error::other(format!("{} descriptors came, want {count} from number 3 on", fds.len())))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_socket_for_all_addresses_takes_both_families_and_its_port_is_taken() {
        let any = inet(None, 0, true).unwrap();
        let port = std::net::TcpListener::from(any.try_clone().unwrap()).local_addr().unwrap().port();
        std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        assert_eq!(inet(None, port, true).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert_eq!(
            inet(Some([127, 0, 0, 1].into()), port, true).unwrap_err().kind(),
            io::ErrorKind::AddrInUse
        );
        let elsewhere = inet(Some([192, 0, 2, 1].into()), 0, true).unwrap_err();
        assert_eq!(elsewhere.kind(), io::ErrorKind::AddrNotAvailable);
        let one = inet(Some([127, 0, 0, 1].into()), 0, false).unwrap();
        let port = std::net::UdpSocket::from(one.try_clone().unwrap()).local_addr().unwrap().port();
        assert_eq!(
            inet(Some([127, 0, 0, 1].into()), port, false).unwrap_err().kind(),
            io::ErrorKind::AddrInUse
        );
    }

    #[test]
    fn a_unix_socket_has_its_mode_and_is_stale_when_nobody_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s").display().to_string();
        assert_eq!(is_served(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
        let socket = unix(&path, 0o600).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(is_served(&path).unwrap());
        assert_eq!(unix(&path, 0o600).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(socket);
        assert!(!is_served(&path).unwrap());
    }

    #[test]
    fn descriptors_arrive_with_their_packet() {
        let (a, b) = pair().unwrap();
        let (near, mut far) = std::os::unix::net::UnixStream::pair().unwrap();
        send(&a, b"one", &[near.as_fd(), near.as_fd()]).unwrap();
        send(&a, b"two", &[]).unwrap();
        let mut packet = [0; 8];
        let (n, mut fds) = receive(&b, &mut packet).unwrap();
        assert_eq!((&packet[..n], fds.len()), (&b"one"[..], 2));
        drop(near);
        let mut passed = std::os::unix::net::UnixStream::from(fds.remove(0));
        far.write_all(b"x").unwrap();
        passed.read_exact(&mut packet[..1]).unwrap();
        let (n, fds) = receive(&b, &mut packet).unwrap();
        assert!(&packet[..n] == b"two" && fds.is_empty());
        assert_eq!(receive(&b, &mut packet).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(a);
        assert_eq!(receive(&b, &mut packet).unwrap().0, 0);
        assert!(take_given(1).is_err());
    }
}
