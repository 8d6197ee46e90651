//! Looks at real servers in a real network namespace, friendly and hostile. Needs root; left out otherwise.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(300);

/// A process with a network of its own in which loopback is up.
pub(super) struct Network(std::process::Child);

impl Network {
    pub(super) fn new() -> Option<Network> {
        use std::io::Read;
        if crate::sys::peer::own_uid() != 0 {
            eprintln!("skipped: needs root");
            return None;
        }
        let mut child = std::process::Command::new("unshare")
            .args(["--net", "sh", "-c", "ip link set lo up && echo up && exec sleep 600"])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = [0; 3];
        child.stdout.as_mut().unwrap().read_exact(&mut said).unwrap();
        assert_eq!(&said, b"up\n");
        Some(Network(child))
    }

    pub(super) fn home(&self) -> Home {
        Home::of_process(self.0.id()).unwrap()
    }

    /// A listening socket inside, and its port.
    pub(super) async fn listen(&self) -> (TcpListener, u16) {
        let listener = self.home().listener("127.0.0.1").await;
        let port = listener.local_addr().unwrap().port();
        (listener, port)
    }

    /// A server that does this with each connection; its port.
    pub(super) async fn serve<F>(&self, each: impl Fn(TcpStream) -> F + Send + 'static) -> u16
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (listener, port) = self.listen().await;
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(each(stream));
            }
        });
        port
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn http(port: u16) -> Http {
    Http {
        host: "127.0.0.1".into(),
        port,
        path: "/health?a=b".into(),
        method: "GET".into(),
        headers: vec![("X-Probe".into(), "yes".into())],
        status: vec![(200, 399)],
        tls: None,
    }
}

/// Reads a request to the empty line.
async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// A look at a server that answers with these bytes and closes.
async fn answered(network: &Network, answer: &'static [u8], change: impl FnOnce(&mut Http)) -> Outcome {
    let port = network
        .serve(move |mut stream| async move {
            head(&mut stream).await;
            stream.write_all(answer).await.ok();
        })
        .await;
    let mut http = http(port);
    change(&mut http);
    look(&Kind::Http(http), &network.home(), LONG).await
}

#[tokio::test]
async fn tcp() {
    let Some(network) = Network::new() else { return };
    let (listener, port) = network.listen().await;
    let kind = |host: &str| Kind::Tcp { host: host.into(), port };
    let seen = look(&kind("127.0.0.1"), &network.home(), LONG).await;
    assert_eq!((seen.verdict, seen.text), (Verdict::Pass, format!("connected to 127.0.0.1:{port}")));
    // Outside nobody listens, so it was inside.
    assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err());
    assert_eq!(look(&kind("localhost"), &network.home(), LONG).await.verdict, Verdict::Pass);
    drop(listener);
    let seen = look(&kind("localhost"), &network.home(), LONG).await;
    assert_eq!(seen.verdict, Verdict::Fail);
    assert!(seen.text.contains("refused"), "{}", seen.text);
    // No route leads there.
    assert_eq!(look(&kind("192.0.2.1"), &network.home(), LONG).await.verdict, Verdict::Fail);
    assert_eq!(look(&kind("db.example"), &network.home(), LONG).await.verdict, Verdict::Error);
    let six = network.home().listener("::1").await;
    let kind = Kind::Tcp { host: "localhost".into(), port: six.local_addr().unwrap().port() };
    assert_eq!(look(&kind, &network.home(), LONG).await.verdict, Verdict::Pass);
}

#[tokio::test]
async fn a_target_is_who_it_was() {
    let Some(network) = Network::new() else { return };
    let dirs = crate::dirs::Dirs::default();
    let target = |pid| Target {
        run: "web.1.1".parse().unwrap(),
        pid,
        runtime: Runtime::new("/bin/false".into(), dirs.clone()),
    };
    let kind = Kind::Tcp { host: "localhost".into(), port: 1 };
    let seen = check(&kind, &target(network.0.id()), LONG).await;
    assert_eq!(seen.verdict, Verdict::Error);
    assert!(seen.text.contains("none of web.1.1"), "{}", seen.text);
    let mut child = std::process::Command::new("true").spawn().unwrap();
    let pid = child.id();
    child.wait().unwrap();
    for gone in [pid, 0, u32::MAX] {
        let seen = check(&kind, &target(gone), LONG).await;
        assert!(seen.verdict == Verdict::Error && seen.text.contains("has ended"), "{}", seen.text);
    }
}

#[tokio::test]
async fn no_thread_and_no_descriptor_is_left() {
    let Some(network) = Network::new() else { return };
    let (listener, port) = network.listen().await;
    tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    let home = Arc::new(network.home());
    let kind = Kind::Tcp { host: "127.0.0.1".into(), port };
    let count = |of: &str| std::fs::read_dir(format!("/proc/self/{of}")).unwrap().count();
    let before = count("fd");
    let many: Vec<_> = (0..100)
        .map(|_| {
            let (home, kind) = (home.clone(), kind.clone());
            tokio::spawn(async move { look(&kind, &home, LONG).await.verdict })
        })
        .collect();
    for one in many {
        assert_eq!(one.await.unwrap(), Verdict::Pass);
    }
    let threads = || {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
        let names = tasks.filter_map(|t| std::fs::read_to_string(t.path().join("comm")).ok());
        names.filter(|n| n == "probe-net\n").count()
    };
    let until = Instant::now() + LONG;
    // Other tests of this process open and close files, too, and a thread ends after its last word.
    while (count("fd") > before + 20 || threads() > 0) && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(count("fd") <= before + 20 && threads() <= THREADS_OF_OTHERS, "{} {}", count("fd"), threads());
}

/// Tests run beside each other.
const THREADS_OF_OTHERS: usize = 3;

#[tokio::test]
async fn http_answers() {
    let Some(network) = Network::new() else { return };
    let port = network
        .serve(|mut stream| async move {
            let said = head(&mut stream).await;
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{said}", said.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
        })
        .await;
    let seen = look(&Kind::Http(http(port)), &network.home(), LONG).await;
    assert_eq!((seen.verdict, seen.text.as_str()), (Verdict::Pass, "HTTP status 200"));
    let said = String::from_utf8(seen.output).unwrap();
    assert!(said.starts_with("GET /health?a=b HTTP/1.1\r\n"), "{said}");
    for line in ["x-probe: yes", &format!("host: 127.0.0.1:{port}"), "connection: close"] {
        assert!(said.to_lowercase().contains(line), "{line}: {said}");
    }
    let seen = answered(&network, b"HTTP/1.1 503 No\r\n\r\nsorry", |_| ()).await;
    assert_eq!(
        (seen.verdict, seen.text.as_str(), seen.output.as_slice()),
        (Verdict::Fail, "HTTP status 503, want 200-399", b"sorry".as_slice())
    );
    let seen = answered(&network, b"HTTP/1.1 503 No\r\n\r\n", |h| h.status = vec![(503, 503)]).await;
    assert_eq!(seen.verdict, Verdict::Pass);
    let seen =
        answered(&network, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", |h| h.method = "HEAD".into());
    assert_eq!(seen.await.verdict, Verdict::Pass);
}

#[tokio::test]
async fn http_redirects() {
    let Some(network) = Network::new() else { return };
    let there = b"HTTP/1.1 302 Found\r\nLocation: http://elsewhere.example/\r\nContent-Length: 0\r\n\r\n";
    let seen = answered(&network, there, |_| ()).await;
    assert_eq!(seen.verdict, Verdict::Fail);
    assert!(seen.text.contains("another host: \"elsewhere.example\""), "{}", seen.text);
    assert_eq!(answered(&network, there, |h| h.status = vec![(302, 302)]).await.verdict, Verdict::Pass);
    let here = b"HTTP/1.1 301 Moved\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(answered(&network, here, |_| ()).await.verdict, Verdict::Pass);
}

#[tokio::test]
async fn hostile_http_servers() {
    let Some(network) = Network::new() else { return };
    let peak_before = memory();
    // 1 GiB of headers; one header without an end; a body without an end.
    for (start, more) in [("HTTP/1.1 200 OK\r\n", "a: b\r\n"), ("HTTP/1.1 200 OK\r\na: ", "b")] {
        let port = network
            .serve(move |mut stream| async move {
                head(&mut stream).await;
                stream.write_all(start.as_bytes()).await.ok();
                let chunk = more.repeat(10_000);
                for _ in 0..(1 << 30) / chunk.len() {
                    if stream.write_all(chunk.as_bytes()).await.is_err() {
                        return;
                    }
                }
            })
            .await;
        let seen = look(&Kind::Http(http(port)), &network.home(), LONG).await;
        assert_eq!(seen.verdict, Verdict::Fail, "{}", seen.text);
        assert!(seen.text.starts_with("no HTTP answer: "), "{}", seen.text);
    }
    let port = network
        .serve(|mut stream| async move {
            head(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.ok();
            while stream.write_all(&[b'x'; 65536]).await.is_ok() {}
        })
        .await;
    let seen = look(&Kind::Http(http(port)), &network.home(), LONG).await;
    assert_eq!((seen.verdict, seen.output.len()), (Verdict::Pass, OUTPUT_MAX));
    assert!(memory() < peak_before + 64 * 1024, "{} KiB more", memory() - peak_before);
    // Closes at once; says something else; says nothing; breaks off.
    for answer in ["", "SSH-2.0-x\r\n", "HTTP/9.9 200 OK\r\n\r\n", "HTTP/1.1 2000 OK\r\n\r\n"] {
        let seen = answered(&network, answer.as_bytes(), |_| ()).await;
        assert_eq!(seen.verdict, Verdict::Fail, "{answer:?}: {}", seen.text);
    }
    let seen = answered(&network, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", |_| ()).await;
    assert!(seen.verdict == Verdict::Fail && seen.text.contains("broke off"), "{}", seen.text);
}

/// Peak of this process' memory in KiB.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test]
async fn slow_http_servers() {
    let Some(network) = Network::new() else { return };
    // Silence; a byte now and then in the head, and in the body; interim answers without an end.
    for (start, byte) in [
        ("", ""),
        ("HTTP/1.1 200 OK\r\nx: ", "y"),
        ("HTTP/1.1 200 OK\r\n\r\n", "z"),
        ("", "HTTP/1.1 103 Early Hints\r\n\r\n"),
    ] {
        let port = network
            .serve(move |mut stream| async move {
                head(&mut stream).await;
                stream.write_all(start.as_bytes()).await.ok();
                while stream.write_all(byte.as_bytes()).await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            })
            .await;
        let began = Instant::now();
        let seen = look(&Kind::Http(http(port)), &network.home(), SHORT).await;
        assert_eq!((seen.verdict, seen.text.as_str()), (Verdict::TimedOut, "no answer within 300ms"));
        assert!(began.elapsed() < LONG && seen.took >= SHORT);
    }
}

const CERTIFICATE: &[u8] = include_bytes!("testdata/server.pem");
const KEY: &[u8] = include_bytes!("testdata/server.key");

async fn tls_server(network: &Network) -> u16 {
    let chain = vec![CertificateDer::from_pem_slice(CERTIFICATE).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(KEY).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    network
        .serve(move |stream| {
            let acceptor = acceptor.clone();
            async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                while stream.read_u8().await.is_ok_and(|b| b != b'\r') {}
                stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.ok();
                stream.shutdown().await.ok();
            }
        })
        .await
}

#[tokio::test]
async fn tls() {
    let Some(network) = Network::new() else { return };
    let port = tls_server(&network).await;
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("ca.pem");
    std::fs::write(&ca, include_bytes!("testdata/ca.pem")).unwrap();
    let with = |verify, name: Option<&str>, ca: Option<&std::path::Path>| {
        let tls = Tls { verify, name: name.map(Into::into), ca: ca.map(Into::into) };
        Kind::Http(Http { tls: Some(tls), ..http(port) })
    };
    let see = async |kind| look(&kind, &network.home(), LONG).await;
    for good in [
        with(true, None, Some(&ca)),
        with(true, Some("service.example"), Some(&ca)),
        with(false, None, None),
        with(false, Some("other.example"), None),
    ] {
        let seen = see(good).await;
        assert_eq!((seen.verdict, seen.text.as_str()), (Verdict::Pass, "HTTP status 204"));
    }
    let seen = see(with(true, Some("other.example"), Some(&ca))).await;
    assert!(seen.verdict == Verdict::Fail && seen.text.starts_with("TLS: "), "{}", seen.text);
    // The authority is none of the host's.
    if std::path::Path::new("/etc/ssl/certs/ca-certificates.crt").exists() {
        assert_eq!(see(with(true, None, None)).await.verdict, Verdict::Fail);
    }
    // Made anew when the file is another one.
    std::fs::write(&ca, "nothing").unwrap();
    let seen = see(with(true, None, Some(&ca))).await;
    assert!(seen.verdict == Verdict::Error && seen.text.contains("no certificate"), "{}", seen.text);
    for bad in [dir.path().join("none"), dir.path().to_owned(), "/dev/zero".into()] {
        assert_eq!(see(with(true, None, Some(&bad))).await.verdict, Verdict::Error);
    }
    // Somebody who does not speak it.
    let plain = network
        .serve(|mut stream| async move {
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.ok();
        })
        .await;
    let tls = Tls { verify: false, name: None, ca: None };
    let seen = see(Kind::Http(Http { tls: Some(tls), ..http(plain) })).await;
    assert!(seen.verdict == Verdict::Fail && seen.text.starts_with("TLS: "), "{}", seen.text);
}

/// A health server that knows these services.
async fn health_server(network: &Network, answer: fn(&[u8]) -> Health) -> u16 {
    network
        .serve(move |stream| async move {
            let mut connection = h2::server::handshake(stream).await.unwrap();
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
                tokio::spawn(async move {
                    let mut body = request.into_body();
                    let mut asked = Vec::new();
                    while let Some(Ok(data)) = body.data().await {
                        asked.extend_from_slice(&data);
                    }
                    let response = ::http::Response::builder().header("content-type", "application/grpc");
                    match answer(&asked[5..]) {
                        Health::Status(status) => {
                            let mut send = respond.send_response(response.body(()).unwrap(), false).unwrap();
                            send.send_data(vec![0, 0, 0, 0, 2, 8, status].into(), false).unwrap();
                            send.send_trailers(grpc_status("0")).unwrap();
                        }
                        Health::Refused(code) => {
                            let response = response.header("grpc-status", code).body(()).unwrap();
                            respond.send_response(response, true).unwrap();
                        }
                        Health::TooLong => {
                            let mut send = respond.send_response(response.body(()).unwrap(), false).unwrap();
                            send.send_data(vec![0; OUTPUT_MAX + 1].into(), true).unwrap();
                        }
                    }
                });
            }
        })
        .await
}

enum Health {
    Status(u8),
    Refused(&'static str),
    TooLong,
}

fn grpc_status(code: &'static str) -> ::http::HeaderMap {
    let mut trailers = ::http::HeaderMap::new();
    trailers.insert("grpc-status", ::http::HeaderValue::from_static(code));
    trailers
}

#[tokio::test]
async fn grpc() {
    let Some(network) = Network::new() else { return };
    let port = health_server(&network, |asked| match asked {
        b"" => Health::Status(1),
        b"\x0a\x04down" => Health::Status(2),
        b"\x0a\x04long" => Health::TooLong,
        b"\x0a\x04none" => Health::Refused("12"),
        _ => Health::Refused("5"),
    })
    .await;
    let see = async |service: &str| {
        let kind = Kind::Grpc { host: "localhost".into(), port, service: service.into() };
        let seen = look(&kind, &network.home(), LONG).await;
        (seen.verdict, seen.text)
    };
    let is = |verdict, text: &str| (verdict, text.to_owned());
    assert_eq!(see("").await, is(Verdict::Pass, "SERVING"));
    assert_eq!(see("down").await, is(Verdict::Fail, "gRPC health NOT_SERVING, want SERVING"));
    assert_eq!(see("none").await, is(Verdict::Fail, "gRPC status 12: the server has no health service"));
    assert_eq!(see("else").await, is(Verdict::Fail, "gRPC status 5: the server does not know this service"));
    assert_eq!(see("long").await, is(Verdict::Fail, "the gRPC answer is longer than 4096 bytes"));
}

#[tokio::test]
async fn what_is_no_grpc_server() {
    let Some(network) = Network::new() else { return };
    let see = async |port, timeout| {
        let kind = Kind::Grpc { host: "127.0.0.1".into(), port, service: String::new() };
        look(&kind, &network.home(), timeout).await
    };
    for answer in ["HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", "SSH-2.0-x\r\n", ""] {
        let port = network
            .serve(move |mut stream| async move {
                let mut buf = [0; 24];
                stream.read_exact(&mut buf).await.ok();
                stream.write_all(answer.as_bytes()).await.ok();
            })
            .await;
        let seen = see(port, LONG).await;
        assert_eq!(seen.verdict, Verdict::Fail, "{answer:?}: {}", seen.text);
        assert!(seen.text.starts_with("no gRPC answer: "), "{}", seen.text);
    }
    // HTTP/2, but not this.
    let port = network
        .serve(|stream| async move {
            let mut connection = h2::server::handshake(stream).await.unwrap();
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                respond.send_response(::http::Response::new(()), true).unwrap();
            }
        })
        .await;
    let seen = see(port, LONG).await;
    assert!(seen.verdict == Verdict::Fail && seen.text.starts_with("not a gRPC server"), "{}", seen.text);
    let silent = network
        .serve(|stream| async move {
            tokio::time::sleep(LONG).await;
            drop(stream);
        })
        .await;
    assert_eq!(see(silent, SHORT).await.verdict, Verdict::TimedOut);
    let flood = network
        .serve(|mut stream| async move {
            // Frames of a kind that nobody knows, without an end.
            while stream.write_all(&[0, 0, 0, 0xfa, 0, 0, 0, 0, 0].repeat(1000)).await.is_ok() {}
        })
        .await;
    assert_ne!(see(flood, SHORT).await.verdict, Verdict::Pass);
}
