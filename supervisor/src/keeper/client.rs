//! The daemon's end of the keepers: starts one, talks to one, attaches to one. Asynchronous on the caller's runtime, no
//! thread of its own; every wait here may be cancelled without losing a message.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::UnixDatagram;
use tokio::sync::mpsc;

use super::protocol::{
    At, CHUNK_MAX, MESSAGE_MAX, OOM_PROTECTED, OWN_CGROUP, Order, ROTATES, SEALED, Stream, Word,
};
use super::record::{ExitRecord, VERSION};
use crate::names::RunId;
use crate::runtime::NOT_FOR_RUNTIMES;
use crate::sys::keeper as sys;

/// Longest wait for a keeper to go into the background, and for its hello.
const PATIENCE: Duration = Duration::from_secs(10);

/// How a keeper is started. All paths are absolute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// The program `knarr-keeper`.
    pub program: PathBuf,
    /// Whose keeper it is.
    pub run: RunId,
    /// Its directory, which is there and private: [`crate::dirs::Dirs::keeper`].
    pub dir: PathBuf,
    /// Where the exit record goes; the directory is there: [`crate::dirs::Dirs::exit_record`].
    pub exit: PathBuf,
    /// The log directory of the instance, made when it is missing: [`crate::dirs::Dirs::log`].
    pub log: PathBuf,
    /// Bytes of one log file.
    pub log_size: u64,
    /// How many log files are kept, with the current one.
    pub log_files: u32,
    /// Nothing is logged while less than this share of the file system is free, in percent; more than 1 GiB is never wanted.
    pub log_min_free: u8,
    /// A terminal instead of pipes; the create command names `DIR/console` as its console socket.
    pub tty: bool,
    /// Standard input is kept open for those who attach; else it is /dev/null.
    pub stdin: bool,
    /// Each line goes to journald, too.
    pub journald: bool,
    /// The keeper's own cgroup in the v2 tree, made when it is missing and removed by the daemon after the keeper's end.
    pub cgroup: Option<PathBuf>,
    /// How many descriptors the create command gets from number 3 on.
    pub pass: usize,
    /// The keeper gets one more, the last: the program that it executes in the place of the create command's.
    pub sealed: bool,
    /// The complete create command: program and arguments, with `--pid-file DIR/pid`.
    pub create: Vec<OsString>,
}

impl Launch {
    /// The keeper's arguments.
    pub fn args(&self) -> Vec<OsString> {
        let mut args: Vec<OsString> = Vec::new();
        let mut option = |name: &str, value: OsString| args.extend([name.into(), value]);
        option("--run", self.run.to_string().into());
        option("--dir", self.dir.clone().into());
        option("--exit", self.exit.clone().into());
        option("--log", self.log.clone().into());
        option("--log-size", self.log_size.to_string().into());
        option("--log-files", self.log_files.to_string().into());
        option("--log-min-free", self.log_min_free.to_string().into());
        if let Some(cgroup) = &self.cgroup {
            option("--cgroup", cgroup.clone().into());
        }
        if self.pass > 0 {
            option("--pass", self.pass.to_string().into());
        }
        let switches = [
            ("--tty", self.tty),
            ("--stdin", self.stdin),
            ("--journald", self.journald),
            ("--sealed", self.sealed),
        ];
        args.extend(switches.iter().filter(|(_, on)| *on).map(|(name, _)| OsString::from(name)));
        args.push("--".into());
        args.extend(self.create.iter().cloned());
        args
    }
}

/// Starts a keeper. When this returns, its socket listens and it is nobody's child.
///
/// # Errors
/// The program cannot be run, refuses (its own words are the error's), or does not answer within 10 s.
pub async fn spawn(launch: &Launch) -> io::Result<()> {
    into_background(&launch.program, launch.args(), Stdio::null()).await
}

/// The same for one whose create command gets these descriptors, [`Launch::pass`] of them, from number 3 on; behind them the
/// program, if it is [`Launch::sealed`].
///
/// # Errors
/// As [`spawn`].
pub async fn spawn_with(launch: &Launch, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    if fds.is_empty() {
        return spawn(launch).await;
    }
    // They wait at its standard input: under a number of its own each would have to be free in this process, too.
    let (near, far) = crate::sys::held::pair()?;
    crate::sys::held::send(&near, b"3", fds)?;
    into_background(&launch.program, launch.args(), Stdio::from(far)).await
}

/// Starts a program that goes into the background by itself.
pub(super) async fn into_background(program: &Path, args: Vec<OsString>, stdin: Stdio) -> io::Result<()> {
    let mut command = tokio::process::Command::new(program);
    command.args(args).kill_on_drop(true);
    command.stdin(stdin).stdout(Stdio::null()).stderr(Stdio::piped());
    for name in NOT_FOR_RUNTIMES {
        command.env_remove(name);
    }
    let out = tokio::time::timeout(PATIENCE, command.output()).await.map_err(|_| {
        io::Error::new(io::ErrorKind::TimedOut, "the keeper does not go into the background")
    })??;
    if out.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&out.stderr);
    Err(io::Error::other(format!("{}: {}", out.status, said.trim())))
}

/// How a keeper introduces itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The protocol's version on its side.
    pub version: u32,
    /// Whose keeper it is.
    pub run: RunId,
    /// Whether its `oom_score_adj` is -999; not so where the host does not let it be lowered.
    pub oom_protected: bool,
    /// Whether it is in its own cgroup.
    pub own_cgroup: bool,
    /// Whether it has given up capabilities and system calls, as it does when its container is there.
    pub sealed: bool,
    /// Whether it knows [`Order::Rotate`].
    pub rotates: bool,
    /// How far it is.
    pub phase: Phase,
}

/// How far a keeper is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// The runtime is making the container.
    Creating,
    /// The container is there, started or not.
    Created {
        /// Its first process.
        pid: u32,
        /// Field 22 of its `/proc/PID/stat`, in clock ticks since the boot.
        start_time: u64,
    },
    /// It has ended, or could not be made.
    Ended(Box<ExitRecord>),
}

/// What a keeper tells its controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// The container is there.
    Created {
        /// Its first process.
        pid: u32,
        /// Field 22 of its `/proc/PID/stat`, in clock ticks since the boot.
        start_time: u64,
    },
    /// It writes a new log file with this number.
    Rotated(u32),
    /// The container has ended, or could not be made: journal it, then send [`Order::Ack`].
    Ended(Box<ExitRecord>),
}

/// The controller's connection to one keeper.
#[derive(Debug)]
pub struct Keeper {
    fd: Arc<UnixDatagram>,
    rotates: bool,
}

/// The half that sends; any number of copies.
#[derive(Debug, Clone)]
pub struct Orders(Arc<UnixDatagram>);

impl Keeper {
    /// Becomes the controller of the keeper in `dir`; an older controller's connection ends.
    ///
    /// # Errors
    /// Nobody listens there (`ConnectionRefused`, `NotFound`: the keeper is gone, look for its exit record), it does not
    /// answer within 10 s, or it speaks another language (`InvalidData`).
    pub async fn connect(dir: &Path) -> io::Result<(Keeper, Hello)> {
        let (fd, hello) = introduce(dir, Order::Control).await?;
        Ok((Keeper { fd: Arc::new(fd), rotates: hello.rotates }, hello))
    }

    /// The next note; `None` = the connection is over: the keeper is gone or has a newer controller. Cancel safe.
    ///
    /// # Errors
    /// The connection fails, or a message is none of this version (`InvalidData`).
    pub async fn next(&mut self) -> io::Result<Option<Note>> {
        let packet = receive(&self.fd, MESSAGE_MAX).await?;
        if packet.is_empty() { Ok(None) } else { note(&packet).map(Some) }
    }

    /// Sends one order without waiting.
    ///
    /// # Errors
    /// The keeper is gone (`BrokenPipe`, `ConnectionReset`) or does not read (`WouldBlock`).
    pub fn send(&self, order: Order<'_>) -> io::Result<()> {
        send_now(&self.fd, order)
    }

    /// Whether it knows [`Order::Rotate`].
    pub fn rotates(&self) -> bool {
        self.rotates
    }

    /// A handle that only sends.
    pub fn orders(&self) -> Orders {
        Orders(self.fd.clone())
    }

    /// Hands all notes to a channel from a task of its own, marked with `mark`; the last one is `Ok(None)` or an error.
    /// When the channel closes, so does the connection's reading side.
    pub fn forward<M: Clone + Send + 'static>(
        mut self,
        mark: M,
        to: mpsc::Sender<(M, io::Result<Option<Note>>)>,
    ) -> Orders {
        let orders = self.orders();
        tokio::spawn(async move {
            loop {
                let note = self.next().await;
                let last = !matches!(note, Ok(Some(_)));
                if to.send((mark.clone(), note)).await.is_err() || last {
                    return;
                }
            }
        });
        orders
    }
}

impl Orders {
    /// Sends one order without waiting.
    ///
    /// # Errors
    /// As [`Keeper::send`].
    pub fn send(&self, order: Order<'_>) -> io::Result<()> {
        send_now(&self.0, order)
    }
}

/// What an attached client gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Bytes that the container wrote.
    Output(Stream, Vec<u8>),
    /// It has ended; nothing follows.
    Ended(Box<ExitRecord>),
}

/// One attached client. Both directions may be used at the same time through `&self`.
#[derive(Debug)]
pub struct Attach {
    fd: UnixDatagram,
}

/// Attaches to the keeper in `dir`: from here on its output comes; what was before is in the logs.
///
/// # Errors
/// As [`Keeper::connect`]; `ConnectionReset` = it has as many clients as it takes.
pub async fn attach(dir: &Path) -> io::Result<(Attach, Hello)> {
    let (fd, hello) = introduce(dir, Order::Attach).await?;
    Ok((Attach { fd }, hello))
}

impl Attach {
    /// The next piece; `None` = the connection is over: the container has ended or this client was too slow. Cancel safe.
    ///
    /// # Errors
    /// The connection fails, or a message is none of this version (`InvalidData`).
    pub async fn recv(&self) -> io::Result<Option<Piece>> {
        let mut packet = receive(&self.fd, CHUNK_MAX + 2).await?;
        match Word::decode(&packet) {
            _ if packet.is_empty() => Ok(None),
            Some(Word::Output(stream, _)) => {
                packet.drain(..2);
                Ok(Some(Piece::Output(stream, packet)))
            }
            Some(Word::Ended(json)) => Ok(Some(Piece::Ended(record(json)?))),
            _ => Err(foreign(&packet)),
        }
    }

    /// Sends an order ([`Order::Stdin`], [`Order::StdinEof`], [`Order::Resize`]); waits while the container does not read.
    /// Cancel safe: sent or not sent.
    ///
    /// # Errors
    /// The keeper is gone, or the bytes are more than [`CHUNK_MAX`] (`InvalidInput`).
    pub async fn send(&self, order: Order<'_>) -> io::Result<()> {
        if matches!(order, Order::Stdin(bytes) if bytes.len() > CHUNK_MAX) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let (head, body) = order.encode();
        loop {
            self.fd.writable().await?;
            let sent = self.fd.try_io(Interest::WRITABLE, || sys::send(&self.fd, head.as_bytes(), body));
            match sent {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                sent => return sent,
            }
        }
    }
}

/// Connects, says what this is, reads the hello.
async fn introduce(dir: &Path, role: Order<'_>) -> io::Result<(UnixDatagram, Hello)> {
    // Not a datagram socket, but all that tokio does with one fits a packet socket, too.
    let fd = UnixDatagram::from_std(sys::connect(dir)?.into())?;
    send_now(&fd, role)?;
    let packet = tokio::time::timeout(PATIENCE, receive(&fd, MESSAGE_MAX))
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the keeper does not answer"))??;
    match Word::decode(&packet) {
        _ if packet.is_empty() => Err(io::ErrorKind::ConnectionReset.into()),
        Some(Word::Hello { version, .. }) if version != VERSION => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("the keeper speaks version {version} of the protocol, want {VERSION}"),
        )),
        Some(Word::Hello { version, flags, run, at }) => {
            let run = run.parse().map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
            let phase = match at {
                At::Creating => Phase::Creating,
                At::Created { pid, start_time } => Phase::Created { pid, start_time },
                At::Ended(json) => Phase::Ended(record(json)?),
            };
            let has = |flag| flags & flag != 0;
            let (oom_protected, own_cgroup, sealed) = (has(OOM_PROTECTED), has(OWN_CGROUP), has(SEALED));
            Ok((fd, Hello { version, run, oom_protected, own_cgroup, sealed, rotates: has(ROTATES), phase }))
        }
        _ => Err(foreign(&packet)),
    }
}

fn note(packet: &[u8]) -> io::Result<Note> {
    match Word::decode(packet) {
        Some(Word::Created { pid, start_time }) => Ok(Note::Created { pid, start_time }),
        Some(Word::Rotated(file)) => Ok(Note::Rotated(file)),
        Some(Word::Ended(json)) => Ok(Note::Ended(record(json)?)),
        _ => Err(foreign(packet)),
    }
}

fn record(json: &[u8]) -> io::Result<Box<ExitRecord>> {
    serde_json::from_slice(json)
        .map(Box::new)
        .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, format!("exit record: {e}")))
}

fn foreign(packet: &[u8]) -> io::Error {
    let kind = packet.first().copied().unwrap_or_default();
    io::Error::new(io::ErrorKind::InvalidData, format!("no message of this protocol: type {kind}"))
}

/// One message of at most `max` bytes; an empty one = the connection is over. Room for it is there only while it is read:
/// most connections are silent for their whole life, and there are hundreds.
async fn receive(fd: &UnixDatagram, max: usize) -> io::Result<Vec<u8>> {
    loop {
        fd.readable().await?;
        let mut packet = vec![0; max];
        match fd.try_io(Interest::READABLE, || sys::recv(fd, &mut packet)) {
            // A connection that was reset is one that is over.
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Ok(Vec::new()),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            done => {
                packet.truncate(done?);
                return Ok(packet);
            }
        }
    }
}

fn send_now(fd: &UnixDatagram, order: Order<'_>) -> io::Result<()> {
    let (head, body) = order.encode();
    sys::send(fd, head.as_bytes(), body)
}
