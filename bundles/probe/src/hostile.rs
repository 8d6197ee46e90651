//! A server that is no good, for those who ask servers how they are: what it does depends on the path that it is asked for. Every
//! connection has a thread of its own, so that one which never ends holds up no other.

use crate::{Command, Failure, Run, sys};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// Commands of this topic.
pub const COMMANDS: &[Command] = &[Command { name: "bad-server", args: "PORT", run }];

/// More than anybody may want to read of headers.
const HEADERS: usize = 1 << 30;

fn run(args: &[String], out: &mut dyn Write) -> Run {
    let [port] = args else { return Err(Failure::usage("bad-server PORT")) };
    let port = port.parse().map_err(|_| Failure::usage("a port is a number from 0 to 65535"))?;
    sys::exit_on(libc::SIGTERM, 0);
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))?;
    writeln!(out, "ready")?;
    out.flush()?;
    for stream in listener.incoming() {
        let stream = stream?;
        // Who asks goes away at some time, and the thread with it.
        std::thread::spawn(move || answer(stream));
    }
    Ok(0)
}

fn answer(mut stream: TcpStream) -> io::Result<()> {
    let mut request = [0; 4096];
    let read = stream.read(&mut request)?;
    let text = String::from_utf8_lossy(&request[..read]);
    match text.split_whitespace().nth(1) {
        Some("/headers") => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n")?;
            let many = b"a: b\r\n".repeat(10_000);
            (0..HEADERS / many.len()).try_for_each(|_| stream.write_all(&many))
        }
        Some("/endless") => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nX: ")?;
            loop {
                stream.write_all(b"y")?;
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        Some("/redirect") => stream.write_all(
            b"HTTP/1.1 302 Found\r\nLocation: http://elsewhere.example/\r\nContent-Length: 0\r\n\r\n",
        ),
        Some("/fine") => stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        // What a gRPC client says first is no request of HTTP/1.
        Some("*") => stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"),
        // It closes at once.
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a client reads of the answer to this request line, up to so many bytes.
    fn ask(line: &str, most: u64) -> Vec<u8> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let at = listener.local_addr().unwrap();
        std::thread::spawn(move || answer(listener.accept().unwrap().0));
        let mut stream = TcpStream::connect(at).unwrap();
        stream.write_all(line.as_bytes()).unwrap();
        let mut got = Vec::new();
        // It may close with something unread.
        stream.take(most).read_to_end(&mut got).ok();
        got
    }

    #[test]
    fn each_path_has_its_fault() {
        let get = |path: &str, most| ask(&format!("GET {path} HTTP/1.1\r\n\r\n"), most);
        assert_eq!(get("/headers", 1 << 20).len(), 1 << 20);
        assert!(get("/endless", 25).ends_with(b"X: yyyyy"), "{:?}", get("/endless", 25));
        assert!(get("/close", 100).is_empty());
        assert!(get("/fine", 100).starts_with(b"HTTP/1.1 200 "));
        assert!(String::from_utf8(get("/redirect", 100)).unwrap().contains("elsewhere"));
        assert!(ask("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 12).ends_with(b"400"));
    }
}
