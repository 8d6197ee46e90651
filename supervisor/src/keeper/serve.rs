//! The loop of a keeper: reads what the container writes, answers who is connected, waits for the end. Never touches a disk
//! and never waits for anybody.
#![forbid(unsafe_code)]

mod clients;
mod streams;

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use caps::Capability;

use super::conns::{Conns, Role, SLOTS};
use super::disk::{Progress, RECORD_MAX, Shared};
use super::evidence::Place;
use super::protocol::{At, CHUNK_MAX, ROTATES, SEALED, Stream, Word};
use super::record::{Memory, VERSION};
use super::seal::Filter;
use super::text::{self, End, Facts};
use crate::sys::keeper::{self as sys, Children, PollFd, PollFlags, Status};

/// How long a full queue may hold the container up before its oldest output is dropped; once until the queue is empty.
const HOLD: Duration = Duration::from_millis(200);
/// How long after the end output is still read from those who hold the pipe open, and then again until it is written.
const DRAIN: Duration = Duration::from_secs(2);
/// How long the removal of the record may take.
const LEAVE: Duration = Duration::from_secs(5);
/// How much of the runtime's last words is kept.
const TAIL: usize = 1024;

/// Which streams a container has.
#[derive(Debug, Clone, Copy)]
pub struct Streams {
    /// A terminal.
    pub tty: bool,
    /// Standard input.
    pub stdin: bool,
}

/// The way on which the terminal comes.
#[derive(Debug)]
pub enum Console {
    /// None, or it has come.
    None,
    /// The runtime will connect.
    Listening(OwnedFd),
    /// It has.
    Connected(OwnedFd),
}

/// How far the container is.
#[derive(Debug)]
enum Phase {
    /// The runtime makes it.
    Creating { runtime: Option<u32> },
    /// It is there.
    Created { handle: OwnedFd, place: Option<Place> },
    /// It has ended; output may still come.
    Draining { until: Instant },
    /// The rest is being written.
    Flushing { until: Instant },
    /// The record is out.
    Ended,
    /// And acknowledged.
    Leaving { until: Instant },
}

/// How the reading of one stream goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    /// As it comes.
    Open,
    /// The queue is full: not before then, or before the bell.
    Held(Instant),
    /// The writer does not catch up: what comes is read, and the oldest is dropped, until the queue is empty.
    Spilling,
}

#[derive(Debug)]
struct Output {
    fd: Option<OwnedFd>,
    flow: Flow,
}

/// How it ended, before it is text.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Ended(Status),
    CreateFailed(Option<i32>),
}

/// What is ready.
#[derive(Debug, Clone, Copy)]
enum Source {
    Children,
    Bell,
    Listen,
    Console,
    Output(Stream),
    Input,
    Conn(usize),
}

/// See the module.
#[derive(Debug)]
pub struct Server {
    run: String,
    boot_id: String,
    dir: PathBuf,
    flags: u8,
    owner: u32,
    listen: OwnedFd,
    conns: Conns,
    children: Option<Children>,
    shared: Arc<Shared>,
    seen: Progress,
    console: Console,
    tty: bool,
    size: Option<(u16, u16)>,
    outputs: [Output; 2],
    takes_input: bool,
    stdin: Option<OwnedFd>,
    input: Vec<u8>,
    eof_after_input: bool,
    buffer: Vec<u8>,
    tail: Vec<u8>,
    phase: Phase,
    pid: u32,
    start_time: u64,
    started: Duration,
    fate: Option<Fate>,
    ended: Duration,
    ended_wall: u64,
    memory: Memory,
}

impl Server {
    /// Allocates everything; nothing is running yet.
    ///
    /// # Errors
    /// None that is known.
    pub fn new(
        run: String,
        boot_id: String,
        dir: PathBuf,
        listen: OwnedFd,
        console: Console,
        shared: Arc<Shared>,
    ) -> io::Result<Server> {
        let output = || Output { fd: None, flow: Flow::Open };
        Ok(Server {
            run,
            boot_id,
            dir,
            flags: ROTATES,
            owner: sys::user(),
            listen,
            conns: Conns::default(),
            children: None,
            seen: shared.progress(),
            shared,
            tty: matches!(console, Console::Listening(_)),
            console,
            size: None,
            outputs: [output(), output()],
            takes_input: false,
            stdin: None,
            input: Vec::with_capacity(CHUNK_MAX),
            eof_after_input: false,
            buffer: vec![0; CHUNK_MAX + 1],
            tail: Vec::with_capacity(2 * TAIL),
            phase: Phase::Creating { runtime: None },
            pid: 0,
            start_time: 0,
            started: Duration::ZERO,
            fate: None,
            ended: Duration::ZERO,
            ended_wall: 0,
            memory: Memory::default(),
        })
    }

    /// Sets a flag of the hello.
    pub fn set_flag(&mut self, flag: u8) {
        self.flags |= flag;
    }

    /// From now on the end of a child is seen; for the process that serves.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn watch_children(&mut self) -> io::Result<()> {
        self.children = Some(Children::watch()?);
        Ok(())
    }

    /// Starts the runtime's create command, from this file if there is one. That this fails is an end like others.
    pub fn start(&mut self, create: &[OsString], from: Option<&OwnedFd>, streams: Streams) {
        self.takes_input = streams.stdin;
        match self.try_start(create, from, streams) {
            Ok(pid) => self.phase = Phase::Creating { runtime: Some(pid) },
            Err(e) => {
                self.outputs.iter_mut().for_each(|o| o.fd = None);
                let program = create.first().map(|p| p.to_string_lossy()).unwrap_or_default();
                self.keep_tail(format!("cannot run {program}: {e}").as_bytes());
                self.end(Fate::CreateFailed(None));
            }
        }
    }

    fn try_start(
        &mut self,
        create: &[OsString],
        from: Option<&OwnedFd>,
        streams: Streams,
    ) -> io::Result<u32> {
        let null = || std::fs::File::options().read(true).write(true).open("/dev/null").map(OwnedFd::from);
        let piped = |to: &mut Option<OwnedFd>| {
            let (read, write) = sys::pipe()?;
            sys::non_blocking(&read)?;
            *to = Some(read);
            io::Result::Ok(write)
        };
        let stdin = if streams.stdin && !streams.tty {
            let (read, write) = sys::pipe()?;
            sys::non_blocking(&write)?;
            self.stdin = Some(write);
            read
        } else {
            null()?
        };
        let [out, err] = &mut self.outputs;
        let stdout = if streams.tty { null()? } else { piped(&mut out.fd)? };
        let stderr = piped(&mut err.fd)?;
        sys::spawn(create, from, [stdin, stdout, stderr])
    }

    /// Serves until the end is known to somebody.
    pub fn serve(mut self, filter: Option<Filter>) -> ExitCode {
        let mut filter = filter;
        loop {
            if !matches!(self.phase, Phase::Creating { .. })
                && let Some(filter) = filter.take()
            {
                // The container is there or never will be: nothing is executed or looked up from here on.
                if filter.apply(&[Capability::CAP_KILL]) {
                    self.flags |= SEALED;
                }
                drop(filter);
                sys::trim_heap();
            }
            if self.advance() {
                return ExitCode::SUCCESS;
            }
            self.wait();
        }
    }

    /// Takes the steps that need nothing but what is known or the time that has passed. Returns whether all is done.
    fn advance(&mut self) -> bool {
        let now = Instant::now();
        for output in &mut self.outputs {
            if matches!(output.flow, Flow::Held(until) if until <= now) {
                output.flow = Flow::Spilling;
            }
        }
        if let Phase::Draining { until } = self.phase {
            if until <= now {
                [Stream::Stdout, Stream::Stderr].into_iter().for_each(|stream| self.read_rest(stream));
            }
            if self.outputs.iter().all(|o| o.fd.is_none()) {
                self.shared.close();
                self.phase = Phase::Flushing { until: now + DRAIN };
            }
        }
        if let Phase::Flushing { until } = self.phase
            && (self.seen.flushed || until <= now)
        {
            if !self.seen.flushed {
                self.seen.lost = self.shared.abandon();
            }
            self.conclude();
        }
        match self.phase {
            Phase::Ended => (self.seen.durable || self.seen.hopeless) && !self.conns.has_controller(),
            Phase::Leaving { until } => self.seen.removed || until <= now,
            _ => false,
        }
    }

    /// Waits for what comes next and takes it.
    fn wait(&mut self) {
        let (count, ready) = self.poll();
        for source in ready.into_iter().take(count).flatten() {
            match source {
                Source::Children => self.reap(),
                Source::Bell => self.hear(),
                Source::Listen => self.conns.accept(&self.listen, self.owner),
                Source::Console => self.console(),
                Source::Output(stream) => self.read(stream),
                Source::Input => self.write_input(),
                Source::Conn(slot) => self.obey(slot),
            }
        }
    }

    /// What is ready.
    fn poll(&self) -> (usize, [Option<Source>; SLOTS + 8]) {
        let nothing = || PollFd::from_borrowed_fd(self.listen.as_fd(), PollFlags::empty());
        let mut fds: [PollFd<'_>; SLOTS + 8] = std::array::from_fn(|_| nothing());
        let mut sources = [None; SLOTS + 8];
        let mut count = 0;
        let mut watch = |source, fd, flags| {
            fds[count] = PollFd::from_borrowed_fd(fd, flags);
            sources[count] = Some(source);
            count += 1;
        };
        if let Some(children) = &self.children {
            watch(Source::Children, children.as_fd(), PollFlags::IN);
        }
        watch(Source::Bell, self.shared.bell().as_fd(), PollFlags::IN);
        watch(Source::Listen, self.listen.as_fd(), PollFlags::IN);
        if let Console::Listening(fd) | Console::Connected(fd) = &self.console {
            watch(Source::Console, fd.as_fd(), PollFlags::IN);
        }
        for (stream, output) in [Stream::Stdout, Stream::Stderr].into_iter().zip(&self.outputs) {
            if let Some(fd) = &output.fd
                && !matches!(output.flow, Flow::Held(_))
            {
                watch(Source::Output(stream), fd.as_fd(), PollFlags::IN);
            }
        }
        let full = !self.input.is_empty();
        if full && let Some(fd) = self.input_fd() {
            watch(Source::Input, fd.as_fd(), PollFlags::OUT);
        }
        for (slot, role, fd) in self.conns.iter() {
            // Who gives input waits until the last of it is taken.
            if !(full && role == Role::Attached) {
                watch(Source::Conn(slot), fd.as_fd(), PollFlags::IN);
            }
        }
        if sys::poll(&mut fds[..count], self.timeout()).is_err() {
            // No memory in the kernel, for a while.
            std::thread::sleep(Duration::from_millis(100));
            return (0, sources);
        }
        for (fd, source) in fds.iter().zip(&mut sources).take(count) {
            if fd.revents().is_empty() {
                *source = None;
            }
        }
        (count, sources)
    }

    /// How long nothing has to happen; `None` = for ever.
    fn timeout(&self) -> Option<Duration> {
        let phase = match self.phase {
            Phase::Draining { until } | Phase::Flushing { until } | Phase::Leaving { until } => Some(until),
            Phase::Creating { .. } | Phase::Created { .. } | Phase::Ended => None,
        };
        let held = self.outputs.iter().filter_map(|o| match o.flow {
            Flow::Held(until) => Some(until),
            Flow::Open | Flow::Spilling => None,
        });
        let next = held.chain(phase).min()?;
        // Rounded up, so that it is over when poll says so.
        Some(next.saturating_duration_since(Instant::now()) + Duration::from_millis(1))
    }

    fn reap(&mut self) {
        if let Some(children) = &self.children {
            children.silence();
        }
        if let Phase::Creating { runtime } = self.phase {
            // Others wait as zombies: one of them may be the container, whose pid is only known afterwards.
            match sys::reap(runtime) {
                Some((_, Status::Exited(0))) => self.created(),
                Some((_, Status::Exited(code))) => self.end(Fate::CreateFailed(Some(code.into()))),
                Some((_, Status::Signaled(..))) => self.end(Fate::CreateFailed(None)),
                None => return,
            }
        }
        while let Some((pid, status)) = sys::reap(None) {
            if pid == self.pid && self.fate.is_none() {
                self.end(Fate::Ended(status));
            }
        }
    }

    /// The runtime says that the container is there.
    fn created(&mut self) {
        let file = self.dir.join("pid");
        let pid = std::fs::read_to_string(&file).map(|t| t.trim().parse().unwrap_or(0));
        let handle = match pid {
            Ok(0) => Err("has no pid".to_owned()),
            Err(e) => Err(e.to_string()),
            Ok(pid) => match sys::open_child(pid) {
                Ok(handle) => Ok((pid, handle)),
                Err(e) => Err(format!("names process {pid}, which is no child of the keeper: {e}")),
            },
        };
        match handle {
            Err(why) => {
                let text = format!("\ncreate succeeded, but {}: {why}\n", file.display());
                self.keep_tail(text.as_bytes());
                self.end(Fate::CreateFailed(Some(0)));
            }
            Ok((pid, handle)) => {
                self.pid = pid;
                self.start_time = start_time(pid).unwrap_or(0);
                self.started = crate::sys::time::boottime();
                self.tail = Vec::new();
                let word = Word::Created { pid, start_time: self.start_time };
                self.conns.say_all(Role::Controller, word);
                // The controller starts it meanwhile.
                self.phase = Phase::Created { handle, place: Place::of(pid) };
            }
        }
    }

    /// The end is known: first the evidence, then the clocks, then the rest of the output.
    fn end(&mut self, fate: Fate) {
        if let Phase::Created { place: Some(place), .. } = &self.phase {
            self.memory = place.read();
        }
        self.ended = crate::sys::time::boottime();
        self.ended_wall = sys::wall_nanos();
        self.fate = Some(fate);
        self.phase = Phase::Draining { until: Instant::now() + DRAIN };
    }

    /// Tells the end: to the disk and to everybody.
    fn conclude(&mut self) {
        let end = match self.fate {
            Some(Fate::Ended(Status::Exited(code))) => End::Exited(code),
            Some(Fate::Ended(Status::Signaled(signal, core))) => End::Signaled(signal, core),
            Some(Fate::CreateFailed(code)) => End::CreateFailed(code, last_line(&self.tail)),
            None => return,
        };
        let facts = Facts {
            run: &self.run,
            boot_id: &self.boot_id,
            end,
            pid: self.pid,
            started: self.started,
            ended: self.ended,
            ended_wall: self.ended_wall,
            memory: &self.memory,
            log_dropped: self.seen.lost,
        };
        self.shared.write_record(|out| {
            text::record(out, &facts);
            debug_assert!(out.len() <= RECORD_MAX);
        });
        self.phase = Phase::Ended;
        let conns = &mut self.conns;
        self.shared.with_record(|record| {
            conns.say_all(Role::Controller, Word::Ended(record));
            conns.say_all(Role::Attached, Word::Ended(record));
        });
        self.conns.drop_all(Role::Attached);
    }
}

fn hello<'a>(flags: u8, run: &'a str, at: At<'a>) -> Word<'a> {
    Word::Hello { version: VERSION, flags, run, at }
}

/// Keeps the end of what comes.
fn keep_tail(tail: &mut Vec<u8>, piece: &[u8]) {
    let piece = &piece[piece.len().saturating_sub(TAIL)..];
    let keep = TAIL.min(tail.len());
    if tail.len() + piece.len() > 2 * TAIL {
        tail.drain(..tail.len() - keep);
    }
    tail.extend_from_slice(piece);
}

/// The last line that is not empty, at most [`TAIL`] bytes of it.
fn last_line(tail: &[u8]) -> &[u8] {
    let line = tail.trim_ascii_end().rsplit(|b| *b == b'\n').next().unwrap_or_default();
    let line = line.trim_ascii();
    &line[..line.len().min(TAIL)]
}

/// Field 22 of /proc/PID/stat; the name before it may contain anything, so it is counted from its end (proc_pid_stat(5)).
fn start_time(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_survives_a_flood() {
        let mut tail = Vec::new();
        assert_eq!(last_line(&tail), b"");
        for n in 0..1000 {
            keep_tail(&mut tail, format!("line {n}\n").as_bytes());
        }
        keep_tail(&mut tail, &[b'x'; 5000]);
        keep_tail(&mut tail, b"\nthe reason \n\n");
        assert!(tail.len() <= 2 * TAIL);
        assert_eq!(last_line(&tail), b"the reason");
        keep_tail(&mut tail, &[b'y'; 5000]);
        assert_eq!(last_line(&tail), [b'y'; TAIL]);
    }

    #[test]
    fn a_process_start_time_is_after_its_parent_s() {
        let this = start_time(std::process::id()).unwrap();
        let mut child = std::process::Command::new("sleep").arg("9").spawn().unwrap();
        let its = start_time(child.id()).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(this > 0 && its >= this);
        assert_eq!(start_time(0), None);
    }
}
