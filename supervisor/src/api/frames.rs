//! The frames of exec and attach after the upgrade to `knarr-stream/1`: one byte channel, four bytes length (big endian),
//! then the bytes. Both ends use this; pure but for the reading and writing itself.
#![forbid(unsafe_code)]

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::model::Control;

/// What the `Upgrade` header says.
pub const PROTOCOL: &str = "knarr-stream/1";
/// In the answer: `true` when everything comes from a terminal.
pub const TTY_HEADER: &str = "knarr-tty";
/// Most bytes of one frame.
pub const FRAME_MAX: usize = 64 * 1024;

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// To the program.
    Stdin,
    /// From the program; with a terminal everything comes here.
    Stdout,
    /// From the program.
    Stderr,
    /// JSON, a [`Control`].
    Control,
}

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What it carries.
    pub channel: Channel,
    /// At most [`FRAME_MAX`].
    pub bytes: Vec<u8>,
}

impl Frame {
    /// A control frame.
    pub fn control(control: &Control) -> Frame {
        // Strings and numbers only: cannot fail.
        Frame { channel: Channel::Control, bytes: serde_json::to_vec(control).unwrap_or_default() }
    }
}

fn wrong(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Reads one frame; `None` at the end between two frames. Not cancel safe: give it a task of its own.
///
/// # Errors
/// Reading; an end inside a frame; an unknown channel; a frame that is too long.
pub async fn read<R: AsyncRead + Unpin>(from: &mut R) -> io::Result<Option<Frame>> {
    let mut head = [0u8; 5];
    if from.read(&mut head[..1]).await? == 0 {
        return Ok(None);
    }
    from.read_exact(&mut head[1..]).await?;
    let [channel, length @ ..] = head;
    let channel = match channel {
        0 => Channel::Stdin,
        1 => Channel::Stdout,
        2 => Channel::Stderr,
        3 => Channel::Control,
        n => return Err(wrong(format!("frame: channel {n}, want 0 to 3"))),
    };
    let length = u32::from_be_bytes(length) as usize;
    if length > FRAME_MAX {
        return Err(wrong(format!("frame: {length} bytes, want at most {FRAME_MAX}")));
    }
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes).await?;
    Ok(Some(Frame { channel, bytes }))
}

/// Writes one frame and flushes.
///
/// # Errors
/// Writing; a frame that is too long.
pub async fn write<W: AsyncWrite + Unpin>(to: &mut W, frame: &Frame) -> io::Result<()> {
    let length = u32::try_from(frame.bytes.len()).ok().filter(|n| *n as usize <= FRAME_MAX);
    let length = length.ok_or_else(|| wrong(format!("frame: {} bytes", frame.bytes.len())))?;
    let mut all = Vec::with_capacity(5 + frame.bytes.len());
    all.push(frame.channel as u8);
    all.extend_from_slice(&length.to_be_bytes());
    all.extend_from_slice(&frame.bytes);
    to.write_all(&all).await?;
    to.flush().await
}
