//! A web server of one thread for the `web` sample: a page, a health endpoint, a clean end on SIGTERM.
//! Listens on all addresses of its network namespace.

use crate::{Failure, Run, sys};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

/// A request line and headers longer than this are not for us.
const REQUEST_LIMIT: u64 = 16 * 1024;
/// A client that says nothing must not hold the only thread for long.
const PATIENCE: Duration = Duration::from_secs(2);

/// `serve PORT`.
pub fn run(args: &[String], out: &mut dyn Write) -> Run {
    let port: u16 = match args {
        [port] => port.parse().map_err(|_| Failure::usage("serve PORT"))?,
        _ => return Err(Failure::usage("serve PORT")),
    };
    sys::exit_on(libc::SIGTERM, 0);
    sys::exit_on(libc::SIGINT, 0);
    let listener = TcpListener::bind(("0.0.0.0", port))?;
    writeln!(out, "listening on port {}", listener.local_addr()?.port())?;
    out.flush()?;
    for stream in listener.incoming() {
        // One broken client is not the end of the server; the log says it.
        match stream.and_then(answer) {
            Ok(line) => writeln!(out, "{line}")?,
            Err(e) => writeln!(out, "client: {e}")?,
        }
        out.flush()?;
    }
    Ok(0)
}

fn answer(stream: TcpStream) -> io::Result<String> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(stream.take(REQUEST_LIMIT));
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut header = String::new();
    while reader.read_line(&mut header)? > 2 {
        header.clear();
    }
    let mut words = request.split_whitespace();
    let (status, body) = match (words.next(), words.next()) {
        (Some("GET" | "HEAD"), Some("/")) => ("200 OK", page()),
        (Some("GET" | "HEAD"), Some("/health")) => ("200 OK", "ok\n".to_owned()),
        (Some("GET" | "HEAD"), Some(_)) => ("404 Not Found", "no such page\n".to_owned()),
        (Some(_), Some(_)) => ("405 Method Not Allowed", "GET or HEAD\n".to_owned()),
        _ => ("400 Bad Request", "not a request\n".to_owned()),
    };
    let mut stream = reader.into_inner().into_inner();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{}",
        body.len(),
        if request.starts_with("HEAD") { "" } else { &body }
    )?;
    Ok(format!("{status} {:?}", request.trim_end()))
}

fn page() -> String {
    let host = sys::uname().map(|[host, _]| host).unwrap_or_default();
    format!("Hello from the container {host}.\n")
}
