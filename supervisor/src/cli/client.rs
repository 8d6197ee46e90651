//! The API's client: one connection a request over the unix socket.
#![forbid(unsafe_code)]

use std::io;
use std::path::{Path, PathBuf};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, UPGRADE};
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::failure::{Failure, Result};
use crate::api::frames;
use crate::dirs::Dirs;

/// A longer line of a stream is none of the daemon's.
const LINE_MAX: usize = 16 * 1024 * 1024;

/// Where the daemon is.
#[derive(Debug, Clone)]
pub(super) struct Client {
    socket: PathBuf,
    /// For reading, when the other one may not be used and none was named.
    read_only: Option<PathBuf>,
}

impl Client {
    /// The socket that was named, or `KNARR_SOCKET`, or the usual ones.
    pub(super) fn new(named: Option<PathBuf>) -> Client {
        let named =
            named.or_else(|| std::env::var_os("KNARR_SOCKET").filter(|s| !s.is_empty()).map(PathBuf::from));
        let usual = Dirs::default();
        match named {
            Some(socket) => Client { socket, read_only: None },
            None => Client { socket: usual.socket(), read_only: Some(usual.socket_read_only()) },
        }
    }

    async fn connect(&self, harmless: bool) -> Result<UnixStream> {
        let failed = match UnixStream::connect(&self.socket).await {
            Ok(stream) => return Ok(stream),
            Err(e) => e,
        };
        if harmless
            && failed.kind() == io::ErrorKind::PermissionDenied
            && let Some(other) = &self.read_only
            && let Ok(stream) = UnixStream::connect(other).await
        {
            return Ok(stream);
        }
        Err(Failure::connect(&self.socket, &failed))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
        upgrade: bool,
    ) -> Result<Response<Incoming>> {
        let harmless = method == Method::GET || path == "/v1/plan";
        let stream = self.connect(harmless).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(Failure::lost)?;
        tokio::spawn(async move {
            // What goes wrong with the connection shows in the answer.
            let _ = connection.with_upgrades().await;
        });
        let mut request = Request::builder().method(method).uri(path).header(HOST, "knarrd");
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if upgrade {
            request = request.header(CONNECTION, "upgrade").header(UPGRADE, frames::PROTOCOL);
        }
        let request = request.body(Full::new(Bytes::from(body.unwrap_or_default())));
        let request = request.map_err(|e| Failure::usage(e.to_string()))?;
        let answer = sender.send_request(request).await.map_err(Failure::lost)?;
        if answer.status().is_success() || answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(answer);
        }
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.map_err(Failure::lost)?.to_bytes();
        Err(Failure::refused(status, &body))
    }

    /// GET of a document.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        parse(self.send(Method::GET, path, None, false).await?).await
    }

    /// POST of a document, answered by one.
    pub(super) async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        parse(self.send(Method::POST, path, Some(json(body)?), false).await?).await
    }

    /// An order without documents.
    pub(super) async fn order(&self, method: Method, path: &str) -> Result<()> {
        let answer = self.send(method, path, None, false).await?;
        answer.into_body().collect().await.map(drop).map_err(Failure::lost)
    }

    /// GET of JSON lines.
    pub(super) async fn lines(&self, path: &str) -> Result<Lines> {
        let body = self.send(Method::GET, path, None, false).await?.into_body();
        Ok(Lines { body, rest: Vec::new(), seen: 0 })
    }

    /// POST that leaves HTTP; the flag says whether there is a terminal at the other end.
    pub(super) async fn upgrade(
        &self,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<(Upgraded, bool)> {
        let body = body.map(json).transpose()?;
        let answer = self.send(Method::POST, path, body, true).await?;
        let tty = answer.headers().get(frames::TTY_HEADER).is_some_and(|v| v == "true");
        Ok((hyper::upgrade::on(answer).await.map_err(Failure::lost)?, tty))
    }

    /// The socket, to name it.
    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }
}

fn json(body: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(body).map_err(|e| Failure::usage(e.to_string()))
}

async fn parse<T: DeserializeOwned>(answer: Response<Incoming>) -> Result<T> {
    let body = answer.into_body().collect().await.map_err(Failure::lost)?.to_bytes();
    serde_json::from_slice(&body).map_err(|e| {
        Failure::new(super::failure::FAILED, format!("the daemon's answer: {e}"))
            .hint("daemon and knarrctl may be of different versions, see knarrctl version")
    })
}

/// A name as a part of a path.
pub(super) fn segment(name: &str) -> String {
    let mut out = String::new();
    for b in name.bytes() {
        match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(b)),
            _ => out.push_str(&format!("%{b:02X}")),
        }
    }
    out
}

/// JSON lines that come.
pub(super) struct Lines {
    body: Incoming,
    rest: Vec<u8>,
    seen: usize,
}

impl Lines {
    /// The next line without its end; `None` = all came.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<u8>>> {
        loop {
            if let Some(at) = self.rest[self.seen..].iter().position(|b| *b == b'\n') {
                let tail = self.rest.split_off(self.seen + at + 1);
                let mut line = std::mem::replace(&mut self.rest, tail);
                line.pop();
                self.seen = 0;
                return Ok(Some(line));
            }
            self.seen = self.rest.len();
            if self.seen > LINE_MAX {
                return Err(Failure::lost("a line without an end"));
            }
            match self.body.frame().await {
                None if self.rest.is_empty() => return Ok(None),
                None => return Err(Failure::lost("the last line is cut")),
                Some(frame) => {
                    if let Ok(data) = frame.map_err(Failure::lost)?.into_data() {
                        self.rest.extend_from_slice(&data);
                    }
                }
            }
        }
    }
}
