//! The loopback address of `--web`, for who cannot use a unix socket, such as Prometheus or a browser. It only answers
//! reading, wants a token for all but its empty page, and knows its own names, so that neither another user of the host nor a
//! page from elsewhere reads anything.
#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tracing::warn;

use super::core::Handle;
use super::fault::Fault;
use super::routes::{self, App};
use super::serve::{Limits, Patient, http};
use super::token::Token;
use super::{metrics, page};

/// Connections at a time; one more is closed.
const CONNECTIONS: usize = 16;
/// Answers that are streams at a time.
const STREAMS: usize = 4;
/// How long a client may take nothing of what it is sent.
const WRITE_TIME: Duration = Duration::from_secs(30);
/// Between two attempts to listen on an address that somebody else has.
const BUSY: Duration = Duration::from_secs(60);

/// The status page.
const PAGE: &str = "/";
/// What an answer that is no page may do.
const NOTHING: &str = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// Where it listens and what it wants.
#[derive(Debug)]
pub struct Web {
    address: SocketAddr,
    token: Arc<Token>,
    listener: Option<TcpListener>,
}

impl Web {
    /// Listens, if the address can be had now; else [`serve_web`] goes on trying.
    ///
    /// # Errors
    /// With the value to use all the same: why it does not listen yet.
    pub async fn listen(address: SocketAddr, token: Token) -> (Web, Option<std::io::Error>) {
        let token = Arc::new(token);
        match TcpListener::bind(address).await {
            // Port 0 is one that the kernel chooses.
            Ok(listener) => {
                let address = listener.local_addr().unwrap_or(address);
                (Web { address, token, listener: Some(listener) }, None)
            }
            Err(e) => (Web { address, token, listener: None }, Some(e)),
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// An address of this host alone, as `--web` takes it.
///
/// # Errors
/// Why not, for people.
pub fn loopback(text: &str) -> Result<SocketAddr, String> {
    let want = "want 127.0.0.1:PORT or [::1]:PORT";
    let address: SocketAddr =
        text.parse().map_err(|_| format!("{text:?} is no address with a port, {want}"))?;
    match address.ip().to_canonical().is_loopback() {
        true => Ok(address),
        false => Err(format!("{address} can be reached from other hosts, and there is no TLS: {want}")),
    }
}

/// Answers until it is dropped.
pub async fn serve_web(handle: Handle, web: Web) {
    let Web { address, token, listener } = web;
    let listener = match listener {
        Some(listener) => listener,
        None => patiently(address).await,
    };
    let (_stopping, stop) = watch::channel(false);
    let limits = Arc::new(Limits { write_time: WRITE_TIME, ..Limits::default() });
    let streams = Arc::new(Semaphore::new(STREAMS));
    let app = App { handle, limits, streams, stop, read_only: true };
    let router = router(app.clone(), Gate { address, token });
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            got = listener.accept() => match got {
                Ok((stream, _)) => {
                    if let Ok(permit) = room.clone().try_acquire_owned() {
                        tasks.spawn(converse(stream, router.clone(), app.limits.clone(), permit));
                    }
                }
                // Mostly a lack of descriptors: accept(2) would fail at once again.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            },
            Some(_) = tasks.join_next() => {}
        }
    }
}

async fn patiently(address: SocketAddr) -> TcpListener {
    loop {
        tokio::time::sleep(BUSY).await;
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(e) => warn!("--web {address}: {e}"),
        }
    }
}

async fn converse(stream: TcpStream, router: Router, limits: Arc<Limits>, _permit: OwnedSemaphorePermit) {
    let io = TokioIo::new(Patient::new(stream, limits.write_time));
    let connection = http(&limits).serve_connection(io, TowerToHyperService::new(router));
    // An error here is the client's.
    let _ = pin!(connection).await;
}

/// Who gets in.
#[derive(Debug, Clone)]
struct Gate {
    address: SocketAddr,
    token: Arc<Token>,
}

fn router(app: App, gate: Gate) -> Router {
    Router::new()
        .route(PAGE, get(page::get))
        .route("/metrics", get(metrics::get))
        .route("/v1/version", get(routes::version))
        .route("/v1/instances", get(routes::instances))
        .route("/v1/explain/{target}", get(routes::explain))
        .route("/v1/services/{target}/history", get(routes::history))
        .fallback(async |req: Request| {
            Fault::new(StatusCode::NOT_FOUND, format!("no such path: {:?}", req.uri().path()))
        })
        .layer(middleware::from_fn_with_state(gate, admit))
        .with_state(app)
}

async fn admit(State(gate): State<Gate>, req: Request, next: Next) -> Response {
    let mut answer = match gate.refuses(req.method(), req.uri(), req.headers()) {
        Some(refusal) => refusal,
        None => next.run(req).await,
    };
    let headers = answer.headers_mut();
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static(NOTHING));
    answer
}

impl Gate {
    fn refuses(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Option<Response> {
        if !self.is_called(uri, headers) {
            let text = format!("host: want {}, or localhost with its port", self.address);
            return Some(Fault::new(StatusCode::MISDIRECTED_REQUEST, text).into_response());
        }
        if !matches!(*method, Method::GET | Method::HEAD) {
            let fault = Fault::new(StatusCode::METHOD_NOT_ALLOWED, "this address only answers GET and HEAD");
            return Some(([(header::ALLOW, "GET, HEAD")], fault).into_response());
        }
        if is_foreign(uri, headers) {
            let text = "a page from elsewhere asks: this address answers its own page, and programs";
            return Some(Fault::new(StatusCode::FORBIDDEN, text).into_response());
        }
        // There is nothing in it, and a browser that opens it cannot send a token.
        if uri.path() != PAGE && !self.knows(headers) {
            let fault = Fault::new(StatusCode::UNAUTHORIZED, "want the header authorization: Bearer TOKEN");
            return Some(([(header::WWW_AUTHENTICATE, "Bearer realm=\"knarrd\"")], fault).into_response());
        }
        None
    }

    /// A name of elsewhere may lead here, and a browser then takes its page for ours.
    fn is_called(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        let mut hosts = headers.get_all(header::HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
        let port = self.address.port();
        let own = |name: &str| {
            ["127.0.0.1", "localhost", "[::1]"].iter().any(|n| {
                name.eq_ignore_ascii_case(&format!("{n}:{port}"))
                    || port == 80 && name.eq_ignore_ascii_case(n)
            }) || name == self.address.to_string()
        };
        host.to_str().is_ok_and(own) && uri.authority().is_none_or(|a| own(a.as_str()))
    }

    fn knows(&self, headers: &HeaderMap) -> bool {
        let mut given = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(value), None) = (given.next(), given.next()) else { return false };
        let value = value.as_bytes();
        let Some((scheme, rest)) = value.split_at_checked("Bearer ".len()) else { return false };
        scheme.eq_ignore_ascii_case(b"Bearer ") && self.token.is(rest.trim_ascii())
    }
}

/// Whether a browser says that another page asks (Fetch, `Origin` and `Sec-Fetch-Site`). A link to the page may be anywhere.
fn is_foreign(uri: &Uri, headers: &HeaderMap) -> bool {
    let all = |name: &str, good: &dyn Fn(&str) -> bool| {
        headers.get_all(name).iter().all(|value| value.to_str().is_ok_and(good))
    };
    let host = headers.get(header::HOST).and_then(|h| h.to_str().ok()).unwrap_or_default();
    let followed = uri.path() == PAGE && headers.get("sec-fetch-mode").is_some_and(|mode| mode == "navigate");
    let same_site = followed || all("sec-fetch-site", &|site| matches!(site, "same-origin" | "none"));
    let same_origin = all("origin", &|origin| {
        origin.strip_prefix("http://").is_some_and(|name| name.eq_ignore_ascii_case(host))
    });
    !same_site || !same_origin
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn gate() -> Gate {
        Gate {
            address: "127.0.0.1:9464".parse().unwrap(),
            token: Arc::new(Token::from_text(SECRET).unwrap()),
        }
    }

    fn ask(method: Method, uri: &str, pairs: &[(&'static str, &str)]) -> Option<StatusCode> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        gate().refuses(&method, &uri.parse().unwrap(), &headers).map(|r| r.status())
    }

    #[test]
    fn only_addresses_of_loopback() {
        for good in ["127.0.0.1:9464", "[::1]:9464", "127.9.9.9:1", "[::ffff:127.0.0.1]:1"] {
            assert!(loopback(good).is_ok(), "{good}");
        }
        for bad in ["0.0.0.0:9464", "[::]:9464", "10.0.0.1:9464", "192.168.1.2:1", "[::ffff:10.0.0.1]:1"] {
            assert!(loopback(bad).unwrap_err().contains("other hosts"), "{bad}");
        }
        for bad in ["", "9464", "localhost:9464", "127.0.0.1", "127.0.0.1:x"] {
            assert!(loopback(bad).unwrap_err().contains("no address"), "{bad}");
        }
    }

    #[test]
    fn names_from_elsewhere_are_refused_before_anything_else() {
        let auth = format!("Bearer {SECRET}");
        let known = ("authorization", auth.as_str());
        for host in ["127.0.0.1:9464", "localhost:9464", "LOCALHOST:9464", "[::1]:9464"] {
            assert_eq!(ask(Method::GET, "/metrics", &[("host", host), known]), None, "{host}");
        }
        let misdirected = Some(StatusCode::MISDIRECTED_REQUEST);
        for host in ["evil.example:9464", "127.0.0.1", "127.0.0.1:80", "localhost.evil.example:9464", ""] {
            assert_eq!(ask(Method::GET, "/metrics", &[("host", host), known]), misdirected, "{host}");
        }
        assert_eq!(ask(Method::GET, "/metrics", &[known]), misdirected);
        let two = [("host", "localhost:9464"), ("host", "localhost:9464"), known];
        assert_eq!(ask(Method::GET, "/metrics", &two), misdirected);
        let uri = "http://evil.example:9464/metrics";
        assert_eq!(ask(Method::GET, uri, &[("host", "localhost:9464"), known]), misdirected);
    }

    #[test]
    fn only_reading_and_only_with_the_token() {
        let host = ("host", "localhost:9464");
        let auth = format!("Bearer {SECRET}");
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS, Method::PATCH] {
            let got = ask(method.clone(), "/metrics", &[host, ("authorization", &auth)]);
            assert_eq!(got, Some(StatusCode::METHOD_NOT_ALLOWED), "{method}");
        }
        assert_eq!(ask(Method::HEAD, "/metrics", &[host, ("authorization", &auth)]), None);
        assert_eq!(
            ask(Method::GET, "/metrics", &[host, ("authorization", &auth.replace("Bearer", "bearer"))]),
            None
        );
        let wrong = [
            "Bearer".to_owned(),
            "Bearer ".to_owned(),
            format!("Basic {SECRET}"),
            SECRET.to_owned(),
            format!("Bearer {}", &SECRET[1..]),
            format!("Bearer {SECRET}0"),
            format!("Bearer {}", SECRET.to_uppercase()),
        ];
        for value in &wrong {
            let got = ask(Method::GET, "/metrics", &[host, ("authorization", value)]);
            assert_eq!(got, Some(StatusCode::UNAUTHORIZED), "{value}");
        }
        assert_eq!(ask(Method::GET, "/metrics", &[host]), Some(StatusCode::UNAUTHORIZED));
        assert_eq!(ask(Method::GET, "/anything", &[host]), Some(StatusCode::UNAUTHORIZED));
        // The page is the same for everybody.
        assert_eq!(ask(Method::GET, "/", &[host]), None);
        assert_eq!(ask(Method::GET, "/?x", &[host]), None);
        assert_eq!(ask(Method::POST, "/", &[host]), Some(StatusCode::METHOD_NOT_ALLOWED));
        assert_eq!(ask(Method::GET, "/", &[]), Some(StatusCode::MISDIRECTED_REQUEST));
        for path in ["//", "/%2f", "/page.js", "/v1/instances"] {
            assert_eq!(ask(Method::GET, path, &[host]), Some(StatusCode::UNAUTHORIZED), "{path}");
        }
    }

    #[test]
    fn pages_from_elsewhere_are_refused() {
        let host = ("host", "localhost:9464");
        let auth = format!("Bearer {SECRET}");
        let with = |path: &str, more: &[(&'static str, &str)]| {
            ask(Method::GET, path, &[&[host, ("authorization", &auth)], more].concat())
        };
        let forbidden = Some(StatusCode::FORBIDDEN);
        for path in ["/", "/v1/instances", "/metrics"] {
            for site in ["same-origin", "none"] {
                assert_eq!(
                    with(path, &[("sec-fetch-site", site), ("sec-fetch-mode", "cors")]),
                    None,
                    "{site}"
                );
            }
            for site in ["cross-site", "same-site", "", "same-origin, none"] {
                assert_eq!(with(path, &[("sec-fetch-site", site)]), forbidden, "{path} {site}");
            }
            assert_eq!(with(path, &[("origin", "http://localhost:9464")]), None);
            for origin in [
                "https://localhost:9464",
                "http://localhost",
                "http://localhost:9465",
                "http://127.0.0.1:9464",
                "http://evil.example",
                "null",
                "",
            ] {
                assert_eq!(with(path, &[("origin", origin)]), forbidden, "{path} {origin}");
            }
            let two = [("origin", "http://localhost:9464"), ("origin", "http://evil.example")];
            assert_eq!(with(path, &two), forbidden);
        }
        // A link may be anywhere, but only to the page.
        let link = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")];
        assert_eq!(with("/", &link), None);
        assert_eq!(with("/v1/instances", &link), forbidden);
    }
}
