//! A web server of one thread for the `web` sample: a page or the files of a directory, a health endpoint, a
//! clean end on SIGTERM; and the client to ask it from inside. Listens on all addresses of its network namespace.

use crate::{Command, Failure, Run, sys};
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Component, Path};
use std::time::Duration;

/// Commands of this topic.
pub const COMMANDS: &[Command] = &[
    Command { name: "serve", args: "PORT [DIR]", run: serve },
    Command { name: "fetch", args: "PORT PATH", run: fetch },
];

/// A request line and headers longer than this are not for us.
const REQUEST_LIMIT: u64 = 16 * 1024;
/// A client that says nothing must not hold the only thread for long.
const PATIENCE: Duration = Duration::from_secs(2);

fn port(text: &str) -> Result<u16, Failure> {
    text.parse().map_err(|_| Failure::usage("a port is a number from 0 to 65535"))
}

fn serve(args: &[String], out: &mut dyn Write) -> Run {
    let (port, dir) = match args {
        [number] => (port(number)?, None),
        [number, dir] => (port(number)?, Some(Path::new(dir))),
        _ => return Err(Failure::usage("serve PORT [DIR]")),
    };
    sys::exit_on(libc::SIGTERM, 0);
    sys::exit_on(libc::SIGINT, 0);
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))?;
    writeln!(out, "listening on port {}", listener.local_addr()?.port())?;
    out.flush()?;
    for stream in listener.incoming() {
        // One broken client is not the end of the server; the log says it.
        match stream.and_then(|stream| answer(stream, dir)) {
            Ok(line) => writeln!(out, "{line}")?,
            Err(e) => writeln!(out, "client: {e}")?,
        }
        out.flush()?;
    }
    Ok(0)
}

pub fn answer(stream: TcpStream, dir: Option<&Path>) -> io::Result<String> {
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
    let (status, kind, body) = match (words.next(), words.next()) {
        (Some("GET" | "HEAD"), Some("/health")) => ("200 OK", PLAIN, b"ok\n".to_vec()),
        (Some("GET" | "HEAD"), Some(path)) => match page(path, dir) {
            Some((kind, body)) => ("200 OK", kind, body),
            None => ("404 Not Found", PLAIN, b"no such page\n".to_vec()),
        },
        (Some(_), Some(_)) => ("405 Method Not Allowed", PLAIN, b"GET or HEAD\n".to_vec()),
        _ => ("400 Bad Request", PLAIN, b"not a request\n".to_vec()),
    };
    let mut stream = reader.into_inner().into_inner();
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    )?;
    if !request.starts_with("HEAD") {
        stream.write_all(&body)?;
    }
    Ok(format!("{status} {:?}", request.trim_end()))
}

const PLAIN: &str = "text/plain; charset=utf-8";

/// What lies at a path: a file below the directory, or the one page of a server without a directory.
fn page(path: &str, dir: Option<&Path>) -> Option<(&'static str, Vec<u8>)> {
    let Some(dir) = dir else {
        let host = sys::uname().map(|[host, _]| host).unwrap_or_default();
        return (path == "/").then(|| (PLAIN, format!("Hello from the container {host}.\n").into_bytes()));
    };
    let name = Path::new(match path.trim_start_matches('/') {
        "" => "index.html",
        name => name,
    });
    // Only plain names: nothing above the directory, and a directory itself is no page.
    if !name.components().all(|c| matches!(c, Component::Normal(_))) {
        return None;
    }
    let kind = match name.extension().and_then(|e| e.to_str()) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css",
        Some("json") => "application/json",
        Some("txt") | None => PLAIN,
        Some(_) => "application/octet-stream",
    };
    Some((kind, fs::read(dir.join(name)).ok()?))
}

/// Asks the server of the own network namespace; status 0 for an answer of the 200 family, else 1.
fn fetch(args: &[String], out: &mut dyn Write) -> Run {
    let [number, path] = args else { return Err(Failure::usage("fetch PORT PATH")) };
    let server = SocketAddr::from((Ipv4Addr::LOCALHOST, port(number)?));
    let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut text = Vec::new();
    stream.read_to_end(&mut text)?;
    let text = String::from_utf8_lossy(&text);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.lines().next().and_then(|l| l.split_whitespace().nth(1)).unwrap_or("none");
    write!(out, "{status}\n{body}")?;
    Ok(u8::from(!status.starts_with('2')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_stay_below_the_directory() {
        let dir = std::env::temp_dir().join(format!("probe-serve-{}", std::process::id()));
        fs::create_dir_all(dir.join("web")).unwrap();
        fs::write(dir.join("secret"), "s").unwrap();
        fs::write(dir.join("web/index.html"), "index").unwrap();
        fs::write(dir.join("web/a.txt"), "a").unwrap();
        let at = |path| page(path, Some(&dir.join("web"))).map(|(_, body)| String::from_utf8(body).unwrap());
        let found =
            [at("/"), at("/a.txt"), at("/../secret"), at("/./../secret"), at("//etc/passwd"), at("/none")];
        fs::remove_dir_all(&dir).unwrap();
        assert_eq!(found, [Some("index".to_owned()), Some("a".to_owned()), None, None, None, None]);
        assert!(page("/", None).is_some() && page("/x", None).is_none());
    }

    #[test]
    fn a_client_is_answered() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let at = listener.local_addr().unwrap().port().to_string();
        let server =
            std::thread::spawn(move || [(); 2].map(|()| answer(listener.accept().unwrap().0, None).unwrap()));
        let mut out = Vec::new();
        assert_eq!(fetch(&[at.clone(), "/health".into()], &mut out).unwrap(), 0);
        assert_eq!(fetch(&[at, "/nothing".into()], &mut out).unwrap(), 1);
        assert_eq!(String::from_utf8(out).unwrap(), "200\nok\n404\nno such page\n");
        assert_eq!(server.join().unwrap()[0], "200 OK \"GET /health HTTP/1.1\"");
    }
}
