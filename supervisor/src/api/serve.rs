//! Accepting connections: who may, how many, how long. A client can be slow, silent or rude; it costs one task with bounded
//! buffers and never the daemon's time.
#![forbid(unsafe_code)]

use std::future::Future;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep};

use super::bind::{Door, Listeners};
use super::core::Handle;
use super::fault::Fault;
use super::routes::{App, router};

/// How much of everything a client gets.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of a body.
    pub body: usize,
    /// Bytes of a body with service files.
    pub files: usize,
    /// Bytes of a request's head.
    pub head: usize,
    /// Header lines of a request.
    pub headers: usize,
    /// Connections a socket; one more is answered 503 and closed.
    pub connections: usize,
    /// Streams (events, logs, exec, attach) a socket.
    pub streams: usize,
    /// From the first moment, or from the last answer, until a request's head is there.
    pub head_time: Duration,
    /// From a request's head until its body is there.
    pub body_time: Duration,
    /// How long a client may take nothing of what it is sent.
    pub write_time: Duration,
    /// How long answers may still take when the daemon ends.
    pub end_time: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            body: 1024 * 1024,
            files: 4 * 1024 * 1024,
            head: 16 * 1024,
            headers: 64,
            connections: 128,
            streams: 64,
            head_time: Duration::from_secs(15),
            body_time: Duration::from_secs(15),
            write_time: Duration::from_secs(300),
            end_time: Duration::from_secs(2),
        }
    }
}

/// Connections that are told that they may not speak here, at the same time.
const REFUSALS: usize = 16;

/// Serves both sockets until `shutdown` comes, then lets answers that are under way end.
pub async fn serve(handle: Handle, listeners: Listeners, shutdown: impl Future<Output = ()>) {
    serve_with(handle, listeners, Limits::default(), shutdown).await;
}

/// [`serve`] with other limits.
pub async fn serve_with(
    handle: Handle,
    listeners: Listeners,
    limits: Limits,
    shutdown: impl Future<Output = ()>,
) {
    let end_time = limits.end_time;
    let limits = Arc::new(limits);
    let (stopping, stop) = watch::channel(false);
    let mut full = Entrance::new(listeners.full, &handle, &limits, &stop, false);
    let mut read_only = Entrance::new(listeners.read_only, &handle, &limits, &stop, true);
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            () = full.next() => {}
            () = read_only.next() => {}
        }
    }
    // Nobody holds a receiver when there is no connection.
    let _ = stopping.send(true);
    let ended = async {
        while full.tasks.join_next().await.is_some() {}
        while read_only.tasks.join_next().await.is_some() {}
    };
    // What has not ended by then is dropped with its tasks.
    let _ = tokio::time::timeout(end_time, ended).await;
}

/// One socket with the connections it has.
struct Entrance {
    door: Door,
    app: App,
    router: Router,
    room: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
    tasks: JoinSet<()>,
}

impl Entrance {
    fn new(
        door: Door,
        handle: &Handle,
        limits: &Arc<Limits>,
        stop: &watch::Receiver<bool>,
        read_only: bool,
    ) -> Entrance {
        let app = App {
            handle: handle.clone(),
            limits: limits.clone(),
            streams: Arc::new(Semaphore::new(limits.streams)),
            stop: stop.clone(),
            read_only,
        };
        Entrance {
            door,
            router: router(app.clone()),
            room: Arc::new(Semaphore::new(limits.connections)),
            refusals: Arc::new(Semaphore::new(REFUSALS)),
            app,
            tasks: JoinSet::new(),
        }
    }

    /// One connection more or one less.
    async fn next(&mut self) {
        tokio::select! {
            got = self.door.listener.accept() => match got {
                Ok((stream, _)) => self.admit(stream),
                // Mostly a lack of descriptors: it goes away when a connection ends. accept(2) would fail at once again.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            },
            Some(_) = self.tasks.join_next() => {}
        }
    }

    fn admit(&mut self, stream: UnixStream) {
        let known = crate::sys::peer::of(&stream).ok();
        if !known.as_ref().is_some_and(|peer| self.door.guard.admits(peer)) {
            let who = known.map_or("this process".to_owned(), |p| format!("uid {}", p.uid));
            let message = format!("{who} may not use this socket: want root, or a member of its group");
            // Without a permit the connection is dropped without a word.
            if let Ok(permit) = self.refusals.clone().try_acquire_owned() {
                let fault = Fault::new(StatusCode::FORBIDDEN, message);
                self.tasks.spawn(refuse(stream, fault, permit, self.app.limits.clone()));
            }
            return;
        }
        match self.room.clone().try_acquire_owned() {
            Ok(permit) => {
                let (router, app) = (self.router.clone(), self.app.clone());
                self.tasks.spawn(converse(stream, router, app, permit));
            }
            Err(_) => {
                if let Ok(permit) = self.refusals.clone().try_acquire_owned() {
                    self.tasks.spawn(turn_away(stream, permit));
                }
            }
        }
    }
}

/// One connection, request after request.
async fn converse(stream: UnixStream, router: Router, app: App, _permit: OwnedSemaphorePermit) {
    let io = TokioIo::new(Patient::new(stream, app.limits.write_time));
    let service = TowerToHyperService::new(router);
    let connection = http(&app.limits).serve_connection(io, service).with_upgrades();
    let mut connection = pin!(connection);
    let mut stop = app.stop.clone();
    // An error here is the client's: it went away, was too slow, or sent what is no HTTP and was told so.
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = stop.wait_for(|s| *s) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// 403 to the first request, whatever it is, before its body is read.
async fn refuse(stream: UnixStream, fault: Fault, _permit: OwnedSemaphorePermit, limits: Arc<Limits>) {
    let io = TokioIo::new(Patient::new(stream, Duration::from_secs(5)));
    let service = service_fn(|_: hyper::Request<hyper::body::Incoming>| {
        let answer = fault.clone().into_response();
        async { Ok::<_, std::convert::Infallible>(answer) }
    });
    let mut http = http(&limits);
    http.keep_alive(false).header_read_timeout(Duration::from_secs(5).min(limits.head_time));
    let _ = http.serve_connection(io, service).await;
}

/// 503 without reading anything.
async fn turn_away(mut stream: UnixStream, _permit: OwnedSemaphorePermit) {
    const BODY: &str = r#"{"code":"busy","message":"too many connections"}"#;
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{BODY}",
        BODY.len()
    );
    // It fits into the socket's buffer; a client that is gone needs no answer.
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}

pub(super) fn http(limits: &Limits) -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.head_time)
        .max_headers(limits.headers)
        .max_buf_size(limits.head);
    http
}

/// The socket of a connection that has left HTTP, and what the client had already sent.
pub(super) fn taken_over(upgraded: Upgraded) -> Option<(Patient, Bytes)> {
    let parts = upgraded.downcast::<TokioIo<Patient>>().ok()?;
    Some((parts.io.into_inner(), parts.read_buf))
}

/// A stream whose writes fail when the other side takes nothing for a while.
pub(super) struct Patient<S = UnixStream> {
    stream: S,
    patience: Duration,
    waits: Option<Pin<Box<Sleep>>>,
}

impl Patient {
    /// The same socket once more, for asking whether it still has another end.
    pub(super) fn watched(&self) -> io::Result<OwnedFd> {
        self.stream.as_fd().try_clone_to_owned()
    }
}

impl<S> Patient<S> {
    /// Waits so long at most.
    pub(super) fn new(stream: S, patience: Duration) -> Patient<S> {
        Patient { stream, patience, waits: None }
    }

    /// Passes `done` on; while there is none, the clock runs.
    fn limit<T>(&mut self, cx: &mut Context<'_>, done: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if done.is_ready() {
            self.waits = None;
            return done;
        }
        let patience = self.patience;
        let wait =
            self.waits.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + patience)));
        ready!(wait.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.limit(cx, done)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.stream).poll_flush(cx);
        self.limit(cx, done)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.limit(cx, done)
    }
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
