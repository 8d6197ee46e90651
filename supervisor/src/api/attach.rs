//! attach: between a client's frames and the messages of a container's keeper.
#![forbid(unsafe_code)]

use std::io;
use std::path::Path;

use super::core::Refusal;
use super::exec::{Client, Input};
use super::fault::Fault;
use super::frames::{Channel, Frame};
use super::model::Control;
use crate::keeper::client::{Attach, Phase, Piece, attach};
use crate::keeper::protocol::{CHUNK_MAX, Order, Stream};
use crate::keeper::record::{End, ExitRecord};

/// A connection to a keeper whose container runs.
pub(super) struct Attached(Attach);

impl Attached {
    /// To the keeper in `dir`.
    pub(super) async fn to(dir: &Path) -> Result<Attached, Fault> {
        let gone = || Fault::from(Refusal::Conflict("the container has ended".into()));
        match attach(dir).await {
            Ok((_, hello)) if matches!(hello.phase, Phase::Ended(_)) => Err(gone()),
            Ok((attach, _)) => Ok(Attached(attach)),
            Err(e) => Err(match e.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => gone(),
                io::ErrorKind::ConnectionReset => {
                    Refusal::Conflict("as many clients as its keeper takes are attached already".into())
                        .into()
                }
                _ => Refusal::Internal(format!("keeper: {e}")).into(),
            }),
        }
    }

    /// Carries both directions until one side is gone.
    pub(super) async fn relay(self, client: Client) {
        let Client { mut input, output, mut gone } = client;
        let keeper = &self.0;
        let feed = async {
            while let Some(said) = input.recv().await {
                if tell(keeper, said).await.is_err() {
                    break;
                }
            }
            // The keeper's side says what became of it.
            std::future::pending::<()>().await;
        };
        let show = async {
            loop {
                let frame = match keeper.recv().await {
                    Ok(Some(Piece::Output(stream, bytes))) => {
                        let channel = match stream {
                            Stream::Stdout => Channel::Stdout,
                            Stream::Stderr => Channel::Stderr,
                        };
                        Frame { channel, bytes }
                    }
                    Ok(Some(Piece::Ended(record))) => return last_word(&record),
                    Ok(None) => return failed("the connection to the keeper ended".into()),
                    Err(e) => return failed(format!("keeper: {e}")),
                };
                if output.send(frame).await.is_err() {
                    return failed("the client is gone".into());
                }
            }
        };
        tokio::select! {
            () = feed => {}
            _ = gone.changed() => {}
            last = show => {
                // Nobody there any more = nobody to tell.
                let _ = output.send(Frame::control(&last)).await;
            }
        }
    }
}

async fn tell(keeper: &Attach, said: Input) -> io::Result<()> {
    match said {
        Input::Bytes(bytes) => {
            for part in bytes.chunks(CHUNK_MAX) {
                keeper.send(Order::Stdin(part)).await?;
            }
            Ok(())
        }
        Input::Eof => keeper.send(Order::StdinEof).await,
        Input::Resize(size) => keeper.send(Order::Resize { rows: size.rows, cols: size.cols }).await,
    }
}

fn failed(message: String) -> Control {
    Control::Error { code: 125, message }
}

fn last_word(record: &ExitRecord) -> Control {
    match &record.end {
        End::Exited { code } => Control::Exit { code: i32::from(*code) },
        End::Signaled { signal, .. } => Control::Exit { code: 128 + signal },
        End::CreateFailed { text, .. } => failed(format!("the runtime could not make the container: {text}")),
    }
}
