//! HTTP/1.1: one request, with TLS or without, of which the status decides. The server may be anything: what it sends is
//! bounded, and nothing it says is followed.

use std::future::pending;
use std::sync::Arc;

use http::header::{ACCEPT, CONNECTION, HOST, LOCATION, USER_AGENT};
use http::{HeaderName, HeaderValue, Method, Request, Response, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use super::net::{Home, Way};
use super::{Answer, Http, OUTPUT_MAX, tls};

/// Most bytes of a server's status line and headers.
const HEAD_MAX: usize = 32 * 1024;
/// Most headers in an answer.
const HEADERS_MAX: usize = 128;

/// All that is known before the first byte is sent.
#[derive(Debug)]
pub(super) struct Prepared<'a> {
    http: &'a Http,
    way: Way,
    request: Request<Empty<Bytes>>,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

/// # Errors
/// One line: what of the probe cannot be, or what the host lacks for it.
pub(super) async fn prepare<'a>(http: &'a Http, home: &Home) -> Result<Prepared<'a>, String> {
    let request = request(http)?;
    let tls = match &http.tls {
        Some(wanted) => {
            let name = wanted.name.as_deref().unwrap_or_else(|| bare(&http.host)).to_owned();
            let server =
                ServerName::try_from(name.clone()).map_err(|e| format!("tls name: got {name:?}: {e}"))?;
            Some((tls::config(wanted)?, server))
        }
        None => None,
    };
    Ok(Prepared { http, way: home.way(&http.host, http.port).await?, request, tls })
}

impl Prepared<'_> {
    /// Connects, asks and looks at the answer.
    pub(super) async fn ask(self) -> Answer {
        let stream = match self.way.connect().await {
            Ok((stream, _)) => stream,
            Err(text) => return Answer::fail(text),
        };
        let answer = match self.tls {
            None => exchange(self.http, self.request, stream).await,
            Some((config, name)) => match TlsConnector::from(config).connect(name, stream).await {
                Ok(stream) => exchange(self.http, self.request, stream).await,
                Err(e) => Err(format!("TLS: {e}")),
            },
        };
        answer.unwrap_or_else(Answer::fail)
    }
}

fn request(http: &Http) -> Result<Request<Empty<Bytes>>, String> {
    let method = Method::from_bytes(http.method.as_bytes())
        .map_err(|_| format!("method: got {:?}, want a word such as GET", http.method))?;
    let path = Uri::try_from(http.path.as_str())
        .ok()
        .filter(|_| http.path.starts_with('/'))
        .ok_or_else(|| format!("path: got {:?}, want one that begins with /", http.path))?;
    let mut request = Request::new(Empty::new());
    *request.method_mut() = method;
    *request.uri_mut() = path;
    let headers = request.headers_mut();
    for (name, value) in &http.headers {
        let name =
            HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("headers: got name {name:?}"))?;
        let value = HeaderValue::from_str(value).map_err(|_| format!("headers/{name}: got {value:?}"))?;
        headers.append(name, value);
    }
    let own = [
        (HOST, format!("{}:{}", http.host, http.port)),
        (USER_AGENT, concat!("knarr-probe/", env!("CARGO_PKG_VERSION")).to_owned()),
        (ACCEPT, "*/*".to_owned()),
        (CONNECTION, "close".to_owned()),
    ];
    for (name, value) in own {
        let value = HeaderValue::from_str(&value).map_err(|_| format!("host: got {:?}", http.host))?;
        headers.entry(name).or_insert(value);
    }
    Ok(request)
}

/// One request and its answer over a connection that is dropped with it.
async fn exchange<S>(http: &Http, request: Request<Empty<Bytes>>, stream: S) -> Result<Answer, String>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let broke = |e: hyper::Error| format!("no HTTP answer: {}", causes(&e));
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_MAX)
        .max_headers(HEADERS_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(broke)?;
    let asking = async {
        let response = sender.send_request(request).await.map_err(broke)?;
        judge(http, response).await
    };
    // Its errors come out of the request, too.
    let carried = async {
        drop(connection.await);
        pending().await
    };
    tokio::select! {
        answer = asking => answer,
        never = carried => never,
    }
}

async fn judge(http: &Http, response: Response<Incoming>) -> Result<Answer, String> {
    let status = response.status().as_u16();
    let elsewhere = other_host(http, &response);
    let (passes, named) = expected(http, status);
    let mut answer = match elsewhere {
        _ if !passes => Answer::fail(format!("HTTP status {status}, want {}", wanted(http))),
        Some(host) if !named => {
            Answer::fail(format!("HTTP status {status}, a redirect to another host: {host:?}"))
        }
        _ => Answer::pass(format!("HTTP status {status}")),
    };
    answer.output = body(response.into_body()).await.map_err(|e| format!("{}; {e}", answer.text))?;
    Ok(answer)
}

/// Whether a status passes, and whether it does so as a redirect that was asked for: by a range of redirects only.
fn expected(http: &Http, status: u16) -> (bool, bool) {
    let hits = || http.status.iter().filter(|(from, to)| (*from..=*to).contains(&status));
    (hits().next().is_some(), hits().any(|(from, to)| (300..400).contains(from) && (300..400).contains(to)))
}

/// `200-399, 404`.
fn wanted(http: &Http) -> String {
    let range = |(from, to): &(u16, u16)| if from == to { from.to_string() } else { format!("{from}-{to}") };
    http.status.iter().map(range).collect::<Vec<_>>().join(", ")
}

/// The host that a redirect points to, when it is another one than was asked. What cannot be read is another one.
fn other_host(http: &Http, response: &Response<Incoming>) -> Option<String> {
    let to = response.headers().get(LOCATION).filter(|_| response.status().is_redirection())?;
    redirected(http, &String::from_utf8_lossy(to.as_bytes()))
}

/// See [`other_host`].
fn redirected(http: &Http, location: &str) -> Option<String> {
    // A path is of the same host, but `//host/path` is not one.
    let text = match location.strip_prefix("//") {
        Some(rest) => format!("http://{rest}"),
        None => location.to_owned(),
    };
    let shown = |s: &str| s.chars().filter(|c| !c.is_control()).take(200).collect::<String>();
    let Ok(uri) = Uri::try_from(text.as_str()) else { return Some(shown(location)) };
    let host = uri.host()?;
    let asked = http.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("host"));
    let same = |a: &str| bare(a).eq_ignore_ascii_case(bare(host));
    let known = asked.is_some_and(|(_, v)| v.parse::<http::uri::Authority>().is_ok_and(|a| same(a.host())));
    (!known && !same(&http.host)).then(|| shown(host))
}

/// An IPv6 address without its brackets.
fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host)
}

/// The first [`OUTPUT_MAX`] bytes.
async fn body(mut body: Incoming) -> Result<Vec<u8>, String> {
    let mut output = Vec::new();
    while output.len() < OUTPUT_MAX
        && let Some(frame) = body.frame().await
    {
        let frame = frame.map_err(|e| format!("the body broke off: {}", causes(&e)))?;
        let data = frame.data_ref().map(|d| &d[..d.len().min(OUTPUT_MAX - output.len())]);
        output.extend_from_slice(data.unwrap_or_default());
    }
    Ok(output)
}

/// An error with all that it says led to it, on one line.
fn causes(e: &dyn std::error::Error) -> String {
    let all = std::iter::successors(Some(e), |e| e.source());
    all.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http() -> Http {
        Http {
            host: "localhost".into(),
            port: 80,
            path: "/".into(),
            method: "GET".into(),
            headers: Vec::new(),
            status: vec![(200, 399)],
            tls: None,
        }
    }

    #[test]
    fn requests() {
        let good = Http { headers: vec![("HOST".into(), "a.example".into())], ..http() };
        let made = request(&good).unwrap();
        assert_eq!(made.headers().get_all(HOST).iter().collect::<Vec<_>>(), ["a.example"]);
        assert_eq!(request(&http()).unwrap().headers()[HOST], "localhost:80");
        let bad = [
            Http { path: "x".into(), ..http() },
            Http { path: "/\n".into(), ..http() },
            Http { path: "http://b.example/".into(), ..http() },
            Http { method: "G T".into(), ..http() },
            Http { method: String::new(), ..http() },
            Http { headers: vec![("a b".into(), String::new())], ..http() },
            Http { headers: vec![("a".into(), "b\r\nc: d".into())], ..http() },
        ];
        for bad in bad {
            assert!(request(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn redirects() {
        for same in ["/x", "x", "http://localhost:81/", "https://LOCALHOST/", "//localhost/x", "?q", ""] {
            let other = redirected(&http(), same);
            assert!(other.is_none() || same.is_empty() || !same.contains("localhost"), "{same}: {other:?}");
        }
        assert_eq!(redirected(&http(), "/x"), None);
        for other in ["http://b.example/", "//b.example", "http://", "h\u{0}"] {
            assert!(redirected(&http(), other).is_some(), "{other}");
        }
        let named = Http { headers: vec![("host".into(), "b.example:8080".into())], ..http() };
        assert_eq!(redirected(&named, "https://b.example/"), None);
        let six = Http { host: "::1".into(), ..http() };
        assert_eq!(redirected(&six, "http://[::1]/"), None);
    }

    #[test]
    fn statuses() {
        let of =
            |ranges: &[(u16, u16)], status| expected(&Http { status: ranges.to_vec(), ..http() }, status);
        assert_eq!(of(&[(200, 399)], 302), (true, false));
        assert_eq!(of(&[(200, 299), (302, 302)], 302), (true, true));
        assert_eq!(of(&[(200, 299), (404, 404)], 403), (false, false));
        assert_eq!(wanted(&Http { status: vec![(200, 299), (404, 404)], ..http() }), "200-299, 404");
    }
}
