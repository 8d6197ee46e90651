//! Connections from inside a container's network namespace. Only the thread that makes a socket goes there, and it ends with
//! that; a socket stays where it was made.

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;

use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Semaphore, oneshot};

use super::{Answer, Target};
use crate::names::RunId;
use crate::sys;

/// Threads that are in a container's network namespace at a time, for the whole daemon.
const THREADS_MAX: usize = 8;
static THREADS: Semaphore = Semaphore::const_new(THREADS_MAX);
/// Bytes of stack of such a thread, which makes a few system calls.
const STACK: usize = 64 * 1024;

/// The network that a container sees.
#[derive(Debug)]
pub(super) struct Home {
    /// Its namespace; `None` = it is ours.
    namespace: Option<File>,
}

/// The way to one port: sockets that are not connected yet, one for each address that the host may have.
#[derive(Debug)]
pub(super) struct Way(Vec<(TcpSocket, SocketAddr)>);

impl Home {
    /// The network of a run's first process. That the number is still its own is looked at while a handle holds it.
    ///
    /// # Errors
    /// One line: it has ended, or it is somebody else's.
    pub(super) fn of(target: &Target) -> Result<Home, String> {
        let pid = target.pid;
        let gone = || format!("process {pid} of {} has ended", target.run);
        let process = sys::process::handle(pid).map_err(|_| gone())?;
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).map_err(|_| gone())?;
        let home = Home::of_process(pid);
        if sys::process::has_ended(&process).unwrap_or(true) {
            return Err(gone());
        }
        if !is_in_group_of(&groups, &target.run) {
            return Err(format!("process {pid} is none of {}", target.run));
        }
        home.map_err(|e| format!("the network namespace of process {pid}: {e}"))
    }

    /// The network of whatever has this number.
    pub(super) fn of_process(pid: u32) -> io::Result<Home> {
        let theirs = File::open(format!("/proc/{pid}/ns/net"))?;
        let own = std::fs::metadata("/proc/thread-self/ns/net")?;
        let (a, b) = (theirs.metadata()?, own);
        let same = (a.dev(), a.ino()) == (b.dev(), b.ino());
        Ok(Home { namespace: (!same).then_some(theirs) })
    }

    /// Makes the sockets for a port of a host: an address or `localhost`.
    ///
    /// # Errors
    /// One line.
    pub(super) async fn way(&self, host: &str, port: u16) -> Result<Way, String> {
        let addresses = addresses(host)?;
        let v6: Vec<bool> = addresses.iter().map(IpAddr::is_ipv6).collect();
        let sockets =
            self.sockets(v6).await.map_err(|e| format!("a socket in the container's network: {e}"))?;
        // Those that the kernel does not have are left out, unless there are no others.
        let mut way = Vec::new();
        for (address, socket) in addresses.into_iter().zip(sockets) {
            match socket {
                Ok(s) => {
                    let socket = TcpSocket::from_std_stream(std::net::TcpStream::from(s));
                    way.push((socket, SocketAddr::new(address, port)));
                }
                Err(e) if host != "localhost" => return Err(format!("a socket for {address}: {e}")),
                Err(_) => {}
            }
        }
        Ok(Way(way))
    }

    async fn sockets(&self, v6: Vec<bool>) -> io::Result<Vec<io::Result<OwnedFd>>> {
        let make = move || v6.into_iter().map(sys::net::tcp_socket).collect();
        let Some(namespace) = &self.namespace else { return Ok(make()) };
        let namespace = namespace.try_clone()?;
        let place = THREADS.acquire().await.map_err(io::Error::other)?;
        let (tell, told) = oneshot::channel();
        // A thread of its own and not one of a pool: it never comes back to our network.
        std::thread::Builder::new().name("probe-net".into()).stack_size(STACK).spawn(move || {
            let made = sys::net::enter(&namespace).map(|()| make());
            // Before the answer: who gets that may look at what is left.
            drop((namespace, place));
            // Nobody waits any more: the sockets are closed.
            tell.send(made).ok();
        })?;
        told.await.map_err(|_| io::Error::other("the thread that makes it broke down"))?
    }
}

#[cfg(test)]
impl Home {
    /// A server's socket inside.
    pub(super) async fn listener(&self, address: &str) -> tokio::net::TcpListener {
        let Way(mut way) = self.way(address, 0).await.unwrap();
        let (socket, address) = way.remove(0);
        socket.bind(address).unwrap();
        socket.listen(64).unwrap()
    }
}

impl Way {
    /// The first connection that comes about, and the address it goes to.
    ///
    /// # Errors
    /// Why the last one did not.
    pub(super) async fn connect(self) -> Result<(TcpStream, SocketAddr), String> {
        let mut why = "there is no address".to_owned();
        for (socket, address) in self.0 {
            match socket.connect(address).await {
                Ok(stream) => return Ok((stream, address)),
                Err(e) => why = format!("cannot connect to {address}: {e}"),
            }
        }
        Err(why)
    }
}

/// Whether somebody accepts.
pub(super) async fn ask(way: Way) -> Answer {
    match way.connect().await {
        Ok((_, address)) => Answer::pass(format!("connected to {address}")),
        Err(text) => Answer::fail(text),
    }
}

/// No name is looked up: resolver and hosts file would be ours, not the container's.
fn addresses(host: &str) -> Result<Vec<IpAddr>, String> {
    if host == "localhost" {
        return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    bare.parse().map(|a| vec![a]).map_err(|_| format!("host: got {host:?}, want an address or localhost"))
}

/// Whether a process with this /proc/PID/cgroup is in a group of the run, or below one.
pub(super) fn is_in_group_of(groups: &str, run: &RunId) -> bool {
    let name = run.to_string();
    // ID:CONTROLLERS:PATH, see cgroups(7).
    groups.lines().filter_map(|l| l.splitn(3, ':').nth(2)).any(|p| p.split('/').any(|part| part == name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        assert_eq!(addresses("localhost").unwrap().len(), 2);
        assert_eq!(addresses("[::1]").unwrap(), addresses("::1").unwrap());
        assert!(addresses("example.org").is_err() && addresses("").is_err() && addresses("1.2.3").is_err());
    }

    #[test]
    fn a_process_belongs_to_its_run() {
        let run = "web.1.2".parse().unwrap();
        let v1 = "2:cpu,cpuacct:/\n1:memory:/knarrd/payload/web.1.2\n0::/user.slice\n";
        assert!(is_in_group_of(v1, &run));
        assert!(is_in_group_of("0::/a/payload/web.1.2/init.scope\n", &run));
        for other in ["0::/knarrd/payload/web.1.20\n", "0::/knarrd/payload/aweb.1.2\n", "0::/\n", "", "x"] {
            assert!(!is_in_group_of(other, &run), "{other:?}");
        }
    }
}
