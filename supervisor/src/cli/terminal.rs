//! exec and attach: this terminal, or these pipes, joined with a program inside a container.
#![forbid(unsafe_code)]

use std::io::{self, Write};

use clap::ArgMatches;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::signal::unix::{SignalKind, signal};

use super::Ctx;
use super::client::segment;
use super::failure::{Failure, NO_EXEC, PIPE, Result};
use crate::api::frames::{self, Channel, Frame};
use crate::api::model::{Control, ExecRequest, TerminalSize};
use crate::sys::term;

/// Ctrl-P Ctrl-Q.
const DETACH: [u8; 2] = [0x10, 0x11];
/// So much of what was shown is kept, to say nothing twice.
const KEPT: usize = 4096;

/// `exec`.
pub(super) async fn exec(ctx: &Ctx, m: &ArgMatches) -> Result<u8> {
    let text = |name: &str| m.get_one::<String>(name).cloned();
    let list = |name: &str| m.get_many::<String>(name).into_iter().flatten().cloned().collect();
    let (tty, interactive) = (m.get_flag("tty"), m.get_flag("interactive"));
    if tty && interactive && !term::is_terminal(io::stdin()) {
        return Err(Failure::new(NO_EXEC, "--tty with --interactive: standard input is no terminal"));
    }
    let request = ExecRequest {
        command: list("command"),
        env: list("env"),
        cwd: text("workdir"),
        user: text("user"),
        tty,
        size: if tty { own_size() } else { None },
    };
    let path = format!("/v1/exec/{}", segment(&text("name").unwrap_or_default()));
    let joined = async {
        let (stream, tty) = ctx.client.upgrade(&path, Some(&request)).await?;
        let input = if interactive { Input::Passed } else { Input::Closed };
        join(stream, Way { input, tty, detach: false }).await
    };
    joined.await.map_err(not_run)
}

/// `attach`.
pub(super) async fn attach(ctx: &Ctx, m: &ArgMatches) -> Result<u8> {
    let name = m.get_one::<String>("name").map_or("", String::as_str);
    let path = format!("/v1/attach/{}", segment(name));
    let joined = async {
        let (stream, tty) = ctx.client.upgrade(&path, None::<&()>).await?;
        let input = if m.get_flag("no-stdin") { Input::Left } else { Input::Passed };
        join(stream, Way { input, tty, detach: tty }).await
    };
    joined.await.map_err(not_run)
}

/// Every failure of ours has one code, as the others are the program's.
fn not_run(failure: Failure) -> Failure {
    if failure.code == PIPE { failure } else { Failure { code: failure.code.max(NO_EXEC), ..failure } }
}

/// What becomes of standard input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Input {
    /// Goes to the program.
    Passed,
    /// The program's is closed.
    Closed,
    /// The program's is left as it is.
    Left,
}

/// How both sides are joined.
#[derive(Debug, Clone, Copy)]
struct Way {
    input: Input,
    tty: bool,
    detach: bool,
}

fn own_size() -> Option<TerminalSize> {
    term::size(io::stdout())
        .or_else(|| term::size(io::stdin()))
        .map(|(rows, cols)| TerminalSize { rows, cols })
}

/// Carries both directions until the program ends; its code.
async fn join(stream: Upgraded, way: Way) -> Result<u8> {
    let raw = way.tty && way.input == Input::Passed && term::is_terminal(io::stdin());
    // Given back when this returns.
    let _raw = if raw {
        Some(term::Raw::enter(io::stdin()).map_err(|e| Failure::new(NO_EXEC, format!("terminal: {e}")))?)
    } else {
        None
    };
    let (mut from, mut to) = tokio::io::split(TokioIo::new(stream));
    let mut shown = Vec::new();
    let show = async {
        loop {
            let frame = frames::read(&mut from).await.map_err(Failure::lost)?;
            let Some(frame) = frame else { return Err(Failure::lost("it ended before the program did")) };
            if frame.channel != Channel::Control {
                shown.extend_from_slice(&frame.bytes);
                shown.drain(..shown.len().saturating_sub(KEPT));
            }
            match frame.channel {
                Channel::Stdout => write_out(&mut io::stdout().lock(), &frame.bytes)?,
                Channel::Stderr => write_out(&mut io::stderr().lock(), &frame.bytes)?,
                Channel::Control => match serde_json::from_slice(&frame.bytes) {
                    Ok(Control::Exit { code }) => return Ok(u8::try_from(code).unwrap_or(NO_EXEC)),
                    Ok(Control::Error { code, message }) => return Err(failed(code, message, &shown)),
                    _ => return Err(Failure::lost("a control frame that a daemon does not send")),
                },
                Channel::Stdin => return Err(Failure::lost("a frame that a daemon does not send")),
            }
        }
    };
    let leave = async {
        match feed(&mut to, way).await {
            // The daemon is done with it: how it ended is still to be read.
            Err(e) if matches!(e.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {
                std::future::pending().await
            }
            left => left,
        }
    };
    tokio::select! {
        done = show => done,
        left = leave => {
            left.map_err(Failure::lost)?;
            write_out(&mut io::stderr().lock(), b"\r\n").map(|()| 0)
        }
    }
}

fn write_out(to: &mut impl Write, bytes: &[u8]) -> Result<()> {
    to.write_all(bytes).and_then(|()| to.flush()).map_err(Failure::output)
}

/// The runtime has mostly said it by itself already.
fn failed(code: i32, message: String, shown: &[u8]) -> Failure {
    let code = u8::try_from(code).unwrap_or(NO_EXEC);
    let said = String::from_utf8_lossy(shown).contains(&message);
    Failure::new(code, if said { String::new() } else { message })
}

/// Carries input and sizes. Returns only when the person leaves.
async fn feed<W: AsyncWrite + Unpin>(to: &mut W, way: Way) -> io::Result<()> {
    let mut stdin = tokio::io::stdin();
    let mut resized = signal(SignalKind::window_change())?;
    let mut open = way.input == Input::Passed;
    let mut keys = Keys::default();
    let mut buf = vec![0; 16 * 1024];
    if way.tty
        && let Some(size) = own_size()
    {
        frames::write(to, &Frame::control(&Control::Resize(size))).await?;
    }
    if way.input == Input::Closed {
        frames::write(to, &Frame::control(&Control::Eof)).await?;
    }
    loop {
        tokio::select! {
            read = stdin.read(&mut buf), if open => {
                let n = read?;
                if n == 0 {
                    open = false;
                    frames::write(to, &Frame::control(&Control::Eof)).await?;
                    continue;
                }
                let given = buf.get(..n).unwrap_or_default();
                let (bytes, leave) = if way.detach { keys.take(given) } else { (given.to_vec(), false) };
                if !bytes.is_empty() {
                    frames::write(to, &Frame { channel: Channel::Stdin, bytes }).await?;
                }
                if leave {
                    return to.shutdown().await;
                }
            }
            Some(()) = resized.recv(), if way.tty => {
                if let Some(size) = own_size() {
                    frames::write(to, &Frame::control(&Control::Resize(size))).await?;
                }
            }
            // No input and no terminal any more: what is left is to watch.
            else => std::future::pending::<()>().await,
        }
    }
}

/// Looks for the keys that leave.
#[derive(Debug, Default)]
pub(super) struct Keys {
    /// The first of them was pressed.
    first: bool,
}

impl Keys {
    /// What goes on to the program, and whether the keys came.
    pub(super) fn take(&mut self, bytes: &[u8]) -> (Vec<u8>, bool) {
        let mut on = Vec::new();
        for b in bytes {
            match (self.first, *b) {
                (true, b) if b == DETACH[1] => return (on, true),
                (true, b) => {
                    on.push(DETACH[0]);
                    self.first = b == DETACH[0];
                    if !self.first {
                        on.push(b);
                    }
                }
                (false, b) if b == DETACH[0] => self.first = true,
                (false, b) => on.push(b),
            }
        }
        (on, false)
    }
}
