//! Listening sockets that the daemon holds for a service: addresses and their one spelling. Pure.
#![forbid(unsafe_code)]

use std::fmt;
use std::net::IpAddr;

use serde::Serialize;

/// The longest path of a unix socket: `sun_path` without its end, unix(7).
const PATH_MAX: usize = 107;

/// One socket that is opened on the host and passed to every instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listen {
    /// Where.
    pub address: Address,
    /// What the instance finds in `LISTEN_FDNAMES`; `None` = the service's name.
    pub name: Option<String>,
    /// Permission bits of a unix socket.
    pub mode: u32,
}

/// Permission bits without a word: whoever can reach the path may connect, as with systemd.
pub const MODE: u32 = 0o666;

impl Listen {
    /// A socket of which only the address is given.
    pub fn at(address: Address) -> Listen {
        Listen { address, name: None, mode: MODE }
    }
}

/// Where a socket listens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Address {
    /// TCP; without an address on all of IPv4 and IPv6.
    Tcp(Option<IpAddr>, u16),
    /// UDP; without an address on all of IPv4 and IPv6.
    Udp(Option<IpAddr>, u16),
    /// A stream on a path of the host.
    Unix(String),
}

impl Address {
    /// Reads `tcp:8080`, `tcp:127.0.0.1:8080`, `udp:[::1]:53`, `unix:/run/web.sock`.
    ///
    /// # Errors
    /// What is wrong, without the text itself.
    pub fn parse(text: &str) -> Result<Address, &'static str> {
        match text.split_once(':') {
            Some(("tcp", rest)) => inet(rest).map(|(ip, port)| Address::Tcp(ip, port)),
            Some(("udp", rest)) => inet(rest).map(|(ip, port)| Address::Udp(ip, port)),
            Some(("unix", path)) => unix(path),
            _ => Err("no address to listen on"),
        }
    }
}

fn inet(text: &str) -> Result<(Option<IpAddr>, u16), &'static str> {
    let (ip, port) = match text.rsplit_once(':') {
        None => (None, text),
        Some((ip, port)) => (Some(ip_address(ip)?), port),
    };
    let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    match port.parse() {
        Ok(n) if n > 0 && digits => Ok((ip, n)),
        _ => Err("no port from 1 to 65535"),
    }
}

fn ip_address(text: &str) -> Result<IpAddr, &'static str> {
    match text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
        Some(v6) => v6.parse().map(IpAddr::V6).map_err(|_| "no IPv6 address in the brackets"),
        None if text.contains(':') => Err("an IPv6 address needs brackets"),
        None => text.parse().map(IpAddr::V4).map_err(|_| "no IP address; host names are not looked up"),
    }
}

fn unix(path: &str) -> Result<Address, &'static str> {
    let parts = || path.split('/').skip(1);
    match path {
        _ if !path.starts_with('/') => Err("the path of a unix socket must be absolute"),
        _ if path.len() > PATH_MAX => Err("the path of a unix socket is longer than 107 bytes"),
        _ if parts().any(|p| matches!(p, "" | "." | "..")) => {
            Err("the path of a unix socket must have no empty part, \".\" or \"..\"")
        }
        _ => Ok(Address::Unix(path.to_owned())),
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut inet = |kind: &str, ip: &Option<IpAddr>, port: u16| match ip {
            None => write!(f, "{kind}:{port}"),
            Some(IpAddr::V4(ip)) => write!(f, "{kind}:{ip}:{port}"),
            Some(IpAddr::V6(ip)) => write!(f, "{kind}:[{ip}]:{port}"),
        };
        match self {
            Address::Tcp(ip, port) => inet("tcp", ip, *port),
            Address::Udp(ip, port) => inet("udp", ip, *port),
            Address::Unix(path) => write!(f, "unix:{path}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_their_one_spelling() {
        for (text, again) in [
            ("tcp:8080", "tcp:8080"),
            ("tcp:08080", "tcp:8080"),
            ("tcp:127.0.0.1:80", "tcp:127.0.0.1:80"),
            ("tcp:0.0.0.0:80", "tcp:0.0.0.0:80"),
            ("tcp:[::1]:65535", "tcp:[::1]:65535"),
            ("udp:[0:0::0]:53", "udp:[::]:53"),
            ("udp:53", "udp:53"),
            ("unix:/run/web.sock", "unix:/run/web.sock"),
            ("unix:/run/a b:c", "unix:/run/a b:c"),
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!(address.to_string(), again);
            assert_eq!(Address::parse(again).as_ref(), Ok(&address));
        }
    }

    #[test]
    fn what_is_no_address() {
        let long = format!("unix:/{}", "x".repeat(PATH_MAX));
        for (text, why) in [
            ("8080", "no address"),
            ("/run/web.sock", "no address"),
            ("sctp:80", "no address"),
            ("TCP:80", "no address"),
            ("", "no address"),
            ("tcp:", "no port"),
            ("tcp:0", "no port"),
            ("tcp:65536", "no port"),
            ("tcp:+80", "no port"),
            ("tcp:http", "no port"),
            ("tcp:127.0.0.1:", "no port"),
            ("tcp::80", "no IP address"),
            ("tcp:localhost:80", "host names"),
            ("tcp:127.0.0.1.5:80", "no IP address"),
            ("tcp:::1:80", "brackets"),
            ("tcp:[::1:80", "brackets"),
            ("tcp:[127.0.0.1]:80", "no IPv6"),
            ("tcp:[fe80::1%eth0]:80", "no IPv6"),
            ("unix:web.sock", "absolute"),
            ("unix:@web", "absolute"),
            ("unix:/run/../x", "\"..\""),
            ("unix:/run//x", "empty part"),
            ("unix:/run/", "empty part"),
            (&long, "107"),
        ] {
            let why_not = Address::parse(text).expect_err(text);
            assert!(why_not.contains(why), "{text}: {why_not}");
        }
    }
}
