//! What a probe asks of a container: the four kinds that are asked, and the one that is told. Pure data.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use serde::Serialize;

/// What is looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A program in the container; exit code 0 passes. No shell is involved.
    Exec {
        /// Program and arguments.
        command: Vec<String>,
    },
    /// An HTTP request from inside the container's network namespace.
    Http(Http),
    /// A TCP connection from inside the container's network namespace.
    Tcp {
        /// Where to: an address or `localhost`.
        host: String,
        /// Port, from 1 on.
        port: u16,
    },
    /// `grpc.health.v1.Health/Check`, without TLS, from inside the container's network namespace.
    Grpc {
        /// Where to: an address or `localhost`.
        host: String,
        /// Port, from 1 on.
        port: u16,
        /// The service that is asked for; empty = the server as a whole.
        service: String,
    },
    /// The container tells: `READY=1`, `WATCHDOG=1` on its notify socket (`sd_notify(3)`).
    Push,
}

/// One HTTP request and what passes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Http {
    /// Where to: an address or `localhost`.
    pub host: String,
    /// Port, from 1 on.
    pub port: u16,
    /// With the question mark and what follows; begins with `/`.
    pub path: String,
    /// `GET`, `HEAD`, ...
    pub method: String,
    /// Sent as they are, in this order.
    pub headers: Vec<(String, String)>,
    /// Status codes that pass, inclusive ranges.
    pub status: Vec<(u16, u16)>,
    /// `None` = without TLS.
    pub tls: Option<Tls>,
}

/// How TLS is verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tls {
    /// The certificate must be valid for `name`, or `host`.
    pub verify: bool,
    /// The name that is asked for and verified; `None` = `host`.
    pub name: Option<String>,
    /// Authorities in PEM; `None` = the host's own.
    pub ca: Option<PathBuf>,
}
