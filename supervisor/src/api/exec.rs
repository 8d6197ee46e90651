//! exec and attach: after an HTTP upgrade both ends speak [`super::frames`]. exec starts the runtime's own `exec` as a child
//! of the daemon; a client that goes away closes the program's input, or hangs up its terminal, and all is reaped.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::upgrade::OnUpgrade;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::task::JoinSet;

use super::core::{Call, Running, Target};
use super::fault::Fault;
use super::frames::{self, Channel, Frame};
use super::model::{Control, ErrorBody, ExecRequest, TerminalSize};
use super::request::{self, NoBody, Wanted};
use super::routes::{App, Refused};
use crate::sys::pty;

/// Bytes read from a program at a time.
const CHUNK: usize = 32 * 1024;
/// How long output may stay silent after the program's end while something else still holds it open.
const AFTER_END: Duration = Duration::from_millis(300);

/// Runs a command in a running container. The answer is `101` and frames: one byte channel (0 input, 1 output, 2 error
/// output, 3 control), four bytes length (big endian, at most 65536), the bytes. A control frame is JSON (Control); the last
/// one of the daemon is `exit` or `error`. A client that closes its end is gone: the program's input is closed, its terminal
/// hung up.
#[utoipa::path(
    post, path = "/v1/exec/{target}", request_body = ExecRequest,
    params(("target" = String, Path, description = "instance; of a service the first one that runs"),
           ("Upgrade" = String, Header, description = "knarr-stream/1")),
    responses(Refused, (status = 101, description = "frames follow"), (status = 426, body = ErrorBody))
)]
pub(super) async fn exec(
    State(app): State<App>,
    Wanted(target): Wanted,
    mut req: Request,
) -> Result<Response, Fault> {
    let upgrade = wants_upgrade(&mut req)?;
    let permit = app.stream()?;
    let (parts, body) = req.into_parts();
    let wanted: ExecRequest = request::json(parts.headers, body, app.limits.body, &app).await?;
    check(&wanted)?;
    let running = running(&app, target).await?;
    let tty = wanted.tty;
    tokio::spawn(async move {
        let Some(client) = Client::accept(upgrade, permit).await else { return };
        run(&app.handle.dirs, &running, &wanted, client).await;
    });
    Ok(switching(tty))
}

/// The streams of the container's own process, from now on: frames as for exec.
#[utoipa::path(
    post, path = "/v1/attach/{target}",
    params(("target" = String, Path, description = "instance; of a service the first one that runs"),
           ("Upgrade" = String, Header, description = "knarr-stream/1")),
    responses(Refused, (status = 101, description = "frames follow"), (status = 426, body = ErrorBody))
)]
pub(super) async fn attach(
    State(app): State<App>,
    Wanted(target): Wanted,
    mut req: Request,
) -> Result<Response, Fault> {
    let upgrade = wants_upgrade(&mut req)?;
    let permit = app.stream()?;
    <NoBody as axum::extract::FromRequest<App>>::from_request(req, &app).await?;
    let running = running(&app, target).await?;
    let keeper = super::attach::Attached::to(&app.handle.dirs.keeper(&running.run)).await?;
    tokio::spawn(async move {
        let Some(client) = Client::accept(upgrade, permit).await else { return };
        keeper.relay(client).await;
    });
    Ok(switching(running.tty))
}

async fn running(app: &App, target: Target) -> Result<Running, Fault> {
    Ok(app.ask_soon(|answer| Call::Running(target, answer)).await?)
}

fn wants_upgrade(req: &mut Request) -> Result<OnUpgrade, Fault> {
    let asked =
        req.headers().get(header::UPGRADE).is_some_and(|v| v.as_bytes() == frames::PROTOCOL.as_bytes());
    let possible = req.extensions_mut().remove::<OnUpgrade>();
    possible.filter(|_| asked).ok_or_else(|| {
        let message =
            format!("this needs the headers \"connection: upgrade\" and \"upgrade: {}\"", frames::PROTOCOL);
        Fault::new(StatusCode::UPGRADE_REQUIRED, message)
    })
}

fn switching(tty: bool) -> Response {
    let headers = [(header::CONNECTION, "upgrade"), (header::UPGRADE, frames::PROTOCOL)];
    let kind = [(frames::TTY_HEADER, if tty { "true" } else { "false" })];
    (StatusCode::SWITCHING_PROTOCOLS, headers, kind).into_response()
}

/// What must hold before a process is started for it.
fn check(wanted: &ExecRequest) -> Result<(), Fault> {
    let number = |s: &str| s.parse::<u32>().is_ok_and(|n| n.to_string() == s);
    if wanted.command.first().is_none_or(String::is_empty) {
        return Err(Fault::bad("command: got none, want a program and its arguments"));
    }
    let texts = wanted.command.iter().chain(&wanted.env).chain(&wanted.cwd);
    if texts.into_iter().any(|t| t.contains('\0')) {
        return Err(Fault::bad("command, env and cwd must not contain a NUL byte"));
    }
    if let Some(bad) = wanted.env.iter().find(|e| e.find('=').is_none_or(|i| i == 0)) {
        return Err(Fault::bad(format!("env: got {bad:?}, want NAME=value")));
    }
    if let Some(cwd) = wanted.cwd.as_ref().filter(|c| !c.starts_with('/')) {
        return Err(Fault::bad(format!("cwd: got {cwd:?}, want an absolute path")));
    }
    let good = |u: &String| u.split_once(':').map_or(number(u), |(u, g)| number(u) && number(g));
    if let Some(user) = wanted.user.as_ref().filter(|u| !good(u)) {
        return Err(Fault::bad(format!("user: got {user:?}, want UID or UID:GID")));
    }
    if wanted.size.is_some() && !wanted.tty {
        return Err(Fault::bad("size: there is no terminal without tty"));
    }
    Ok(())
}

/// What a client says after the upgrade.
#[derive(Debug)]
pub(super) enum Input {
    /// For the program's input.
    Bytes(Vec<u8>),
    /// No more of them.
    Eof,
    /// The terminal's new size.
    Resize(TerminalSize),
}

/// The client's end of a session: two bounded channels.
pub(super) struct Client {
    /// What it says.
    pub(super) input: mpsc::Receiver<Input>,
    /// What it is told.
    pub(super) output: mpsc::Sender<Frame>,
    /// `changed` fails when the client is gone.
    pub(super) gone: watch::Receiver<()>,
}

impl Client {
    /// Awaits the upgrade and starts the task that reads and writes frames.
    pub(super) async fn accept(upgrade: OnUpgrade, permit: OwnedSemaphorePermit) -> Option<Client> {
        let (socket, early) = super::serve::taken_over(upgrade.await.ok()?)?;
        let watched = socket.watched().ok()?;
        let (from, mut to) = tokio::io::split(socket);
        let (say, input) = mpsc::channel(4);
        let (output, mut told) = mpsc::channel::<Frame>(4);
        let (here, gone) = watch::channel(());
        let complain = output.clone();
        tokio::spawn(async move {
            let _permit = permit;
            let mut from = io::Cursor::new(early).chain(from);
            let reading = async move {
                if let Err(e) = listen_to(&mut from, &say, &watched).await {
                    let error = Control::Error { code: 125, message: e.to_string() };
                    // Without a writer there is nobody left to tell.
                    let _ = complain.send(Frame::control(&error)).await;
                    drop((say, here));
                    std::future::pending::<()>().await;
                }
            };
            let writing = async move {
                while let Some(frame) = told.recv().await {
                    if frames::write(&mut to, &frame).await.is_err() {
                        return;
                    }
                    // A control frame is the last one.
                    if frame.channel == Channel::Control {
                        break;
                    }
                }
                // The other side may be gone already.
                let _ = to.shutdown().await;
            };
            tokio::select! {
                () = reading => {}
                () = writing => {}
            }
        });
        Some(Client { input, output, gone })
    }
}

/// Hands frames on until the client is gone. While nobody takes them, the socket is asked once a second whether it still
/// has another end: with input under way, a read would not tell.
async fn listen_to<R: AsyncRead + Unpin>(
    from: &mut R,
    say: &mpsc::Sender<Input>,
    watched: &OwnedFd,
) -> io::Result<()> {
    while let Some(frame) = frames::read(from).await? {
        let input = understand(frame)?;
        let place = loop {
            match tokio::time::timeout(Duration::from_secs(1), say.reserve()).await {
                Ok(Ok(place)) => break place,
                Ok(Err(_)) => return Ok(()),
                Err(_) if crate::sys::peer::hung_up(watched) => return Ok(()),
                Err(_) => {}
            }
        };
        place.send(input);
    }
    Ok(())
}

fn understand(frame: Frame) -> io::Result<Input> {
    let wrong = |e: String| io::Error::new(io::ErrorKind::InvalidData, e);
    match frame.channel {
        Channel::Stdin => Ok(Input::Bytes(frame.bytes)),
        Channel::Control => match serde_json::from_slice(&frame.bytes) {
            Ok(Control::Resize(size)) => Ok(Input::Resize(size)),
            Ok(Control::Eof) => Ok(Input::Eof),
            Ok(other) => Err(wrong(format!("control: {other:?} is not for a client to say"))),
            Err(e) => Err(wrong(format!("control: {e}"))),
        },
        other => Err(wrong(format!("frame: {other:?} is not for a client to send"))),
    }
}

/// One exec, from the start of the runtime to the last frame.
async fn run(dirs: &crate::dirs::Dirs, running: &Running, wanted: &ExecRequest, client: Client) {
    let output = client.output.clone();
    let last = match Place::new(&dirs.exec()) {
        Ok(place) => {
            let session = start(dirs, running, wanted, &place).await;
            let ended = match session {
                Ok((child, ends)) => converse(child, ends, client).await,
                Err(e) => Err(e),
            };
            verdict(ended, &place)
        }
        Err(e) => Control::Error { code: 125, message: format!("{}: {e}", dirs.exec().display()) },
    };
    // Nobody there any more = nobody to tell.
    let _ = output.send(Frame::control(&last)).await;
}

/// The runtime's log of one exec, removed with it.
struct Place(PathBuf);

impl Place {
    fn new(dir: &Path) -> io::Result<Place> {
        use std::os::unix::fs::DirBuilderExt;
        static NEXT: AtomicU64 = AtomicU64::new(1);
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let place = Place(dir.join(format!("{}-{n}.log", std::process::id())));
        std::fs::File::create(&place.0)?;
        Ok(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Below the run directory, which a reboot empties anyway.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Where the program's streams end on our side.
enum Ends {
    Pipes(ChildStdin, tokio::process::ChildStdout, tokio::process::ChildStderr),
    Terminal(Arc<AsyncFd<OwnedFd>>),
}

async fn start(
    dirs: &crate::dirs::Dirs,
    running: &Running,
    wanted: &ExecRequest,
    place: &Place,
) -> io::Result<(Child, Ends)> {
    let mut command = Command::new(&running.runtime);
    command.arg("--root").arg(dirs.runtime_root()).arg("--log").arg(&place.0).args([
        "--log-format",
        "json",
        "exec",
    ]);
    for env in &wanted.env {
        command.arg("--env").arg(env);
    }
    if let Some(cwd) = &wanted.cwd {
        command.arg("--cwd").arg(cwd);
    }
    if let Some(user) = &wanted.user {
        command.arg("--user").arg(user);
    }
    if wanted.tty {
        command.arg("--tty");
    }
    command.arg(running.run.to_string()).args(&wanted.command).current_dir("/");
    // What systemd tells the daemon is not for a container.
    for name in crate::runtime::NOT_FOR_RUNTIMES {
        command.env_remove(name);
    }
    let named = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", running.runtime.display()));
    if wanted.tty {
        // The runtime has the container's terminal itself and passes everything between it and the terminal it is
        // started on: only so does it stay until the end and know the exit code.
        let (master, terminal) = pty::open()?;
        if let Some(size) = wanted.size {
            pty::set_size(&master, size.rows, size.cols)?;
        }
        pty::set_nonblocking(&master)?;
        let master = pty::watched(master)?;
        command.stdin(terminal.try_clone()?).stdout(terminal.try_clone()?).stderr(terminal);
        pty::controlled(&mut command);
        return Ok((command.spawn().map_err(named)?, Ends::Terminal(Arc::new(master))));
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(named)?;
    match (child.stdin.take(), child.stdout.take(), child.stderr.take()) {
        (Some(i), Some(o), Some(e)) => Ok((child, Ends::Pipes(i, o, e))),
        _ => Err(io::Error::other("the pipes to the runtime are missing")),
    }
}

/// Carries bytes until the program has ended. When the client goes first, its ends are closed and the end is awaited still.
async fn converse(mut child: Child, ends: Ends, client: Client) -> io::Result<ExitStatus> {
    let Client { input, output, mut gone } = client;
    let (ended, end) = watch::channel(false);
    let mut tasks = JoinSet::new();
    match ends {
        Ends::Pipes(stdin, stdout, stderr) => {
            tasks.spawn(carry(stdout, Channel::Stdout, output.clone(), end.clone()));
            tasks.spawn(carry(stderr, Channel::Stderr, output, end.clone()));
            tasks.spawn(feed_pipe(stdin, input, end));
        }
        Ends::Terminal(master) => {
            tasks.spawn(carry(Master(master.clone()), Channel::Stdout, output, end.clone()));
            tasks.spawn(feed_terminal(master, input, end));
        }
    }
    let status = tokio::select! {
        status = child.wait() => status?,
        // The client is gone: nothing of the program's is held open any longer.
        _ = gone.changed() => {
            tasks.shutdown().await;
            child.wait().await?
        }
    };
    // Fails when all tasks have ended already.
    let _ = ended.send(true);
    tokio::select! {
        () = async { while tasks.join_next().await.is_some() {} } => {}
        _ = gone.changed() => {}
    }
    Ok(status)
}

/// Output to frames, until its end; after the program's end only as long as more is coming.
async fn carry<R: AsyncRead + Unpin>(
    mut from: R,
    channel: Channel,
    to: mpsc::Sender<Frame>,
    mut end: watch::Receiver<bool>,
) {
    let mut ended = false;
    let mut buf = vec![0; CHUNK];
    loop {
        let read = tokio::select! {
            read = from.read(&mut buf) => read,
            _ = end.wait_for(|e| *e), if !ended => {
                ended = true;
                continue;
            }
            () = tokio::time::sleep(AFTER_END), if ended => return,
        };
        let Ok(n @ 1..) = read else { return };
        let bytes = buf.get(..n).unwrap_or_default().to_vec();
        if to.send(Frame { channel, bytes }).await.is_err() {
            return;
        }
    }
}

/// Frames to the program's input, until the program ends. Input that it does not want is dropped.
async fn feed_pipe(stdin: ChildStdin, mut input: mpsc::Receiver<Input>, mut end: watch::Receiver<bool>) {
    let mut stdin = Some(stdin);
    let feed = async {
        while let Some(said) = input.recv().await {
            match said {
                Input::Bytes(bytes) => {
                    if let Some(pipe) = &mut stdin
                        && pipe.write_all(&bytes).await.is_err()
                    {
                        stdin = None;
                    }
                }
                Input::Eof => stdin = None,
                Input::Resize(_) => {}
            }
        }
    };
    tokio::select! {
        () = feed => {}
        _ = end.wait_for(|e| *e) => {}
    }
}

/// Frames to the terminal, until the program ends. The end of input is the key Ctrl-D at the start of a line, as terminals
/// have no other.
async fn feed_terminal(
    master: Arc<AsyncFd<OwnedFd>>,
    mut input: mpsc::Receiver<Input>,
    mut end: watch::Receiver<bool>,
) {
    let mut master = Master(master);
    let feed = async {
        while let Some(said) = input.recv().await {
            let done = match said {
                Input::Bytes(bytes) => master.write_all(&bytes).await,
                Input::Eof => master.write_all(&[4]).await,
                Input::Resize(size) => pty::set_size(master.0.as_ref(), size.rows, size.cols),
            };
            if done.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = feed => {}
        _ = end.wait_for(|e| *e) => {}
    }
}

/// Our end of a terminal.
struct Master(Arc<AsyncFd<OwnedFd>>);

impl AsyncRead for Master {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut ready = ready!(self.0.poll_read_ready(cx))?;
            if let Ok(done) = ready.try_io(|fd| pty::read(fd.get_ref(), buf.initialize_unfilled())) {
                return Poll::Ready(done.map(|n| buf.advance(n)));
            }
        }
    }
}

impl AsyncWrite for Master {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut ready = ready!(self.0.poll_write_ready(cx))?;
            if let Ok(done) = ready.try_io(|fd| pty::write(fd.get_ref(), bytes)) {
                return Poll::Ready(done);
            }
        }
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The last frame. A runtime that failed by itself has written an error to its log; a program's own code never does.
fn verdict(ended: io::Result<ExitStatus>, place: &Place) -> Control {
    use std::os::unix::process::ExitStatusExt;
    if let Some(message) = last_error(&place.0) {
        return Control::Error { code: failure_code(&message), message };
    }
    match ended {
        Ok(status) => {
            Control::Exit { code: status.code().or(status.signal().map(|s| 128 + s)).unwrap_or(125) }
        }
        Err(e) => Control::Error { code: 125, message: e.to_string() },
    }
}

/// The last line of level error in a runtime's JSON log.
fn last_error(log: &Path) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Line {
        level: String,
        msg: String,
    }
    let text = std::fs::read_to_string(log).ok()?;
    let mut lines = text.lines().rev().filter_map(|l| serde_json::from_str::<Line>(l).ok());
    lines.find(|l| matches!(l.level.as_str(), "error" | "fatal")).map(|l| l.msg)
}

/// 127 when there is no such program, 126 when it cannot be executed, as shells and engines have it; else 125.
fn failure_code(message: &str) -> i32 {
    let has = |words: &[&str]| words.iter().any(|w| message.to_lowercase().contains(w));
    if has(&["executable file not found", "no such file or directory"]) {
        127
    } else if has(&["permission denied", "exec format error", "is a directory"]) {
        126
    } else {
        125
    }
}
