//! The thread that may hang: everything that touches a disk, so that the keeper answers whatever the disk does. Between the
//! two threads stand two bounded queues, one lock that nobody holds over a disk access, and a bell.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::log::{Log, Trouble};
use super::protocol::Stream;
use super::ring::Ring;
use crate::sys::keeper as sys;

/// Bytes between reader and writer, for each stream.
pub const RING: usize = 1 << 20;
/// Room for the record; this much is taken from the disk at the start.
pub const RECORD_MAX: usize = 8 * 1024;
/// The first and the longest pause before a log that cannot be written is tried again.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// The pause before a record that cannot be written is tried again.
const RECORD_PAUSE: Duration = Duration::from_secs(1);

/// The controller hears of the log after so many bytes, so that all logs together can be kept within a limit, but no more
/// often than this: it may be slow itself, and looks again a while after each word.
const GROWN: (u64, Duration) = (256 * 1024, Duration::from_millis(900));

const STREAMS: [Stream; 2] = [Stream::Stdout, Stream::Stderr];

/// What both threads see.
#[derive(Debug)]
pub struct Shared {
    state: Mutex<State>,
    work: Condvar,
    bell: OwnedFd,
}

/// How far the disk is, for the thread that answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The log file that is written.
    pub file: u32,
    /// Changes with the file, and when the log has grown by [`GROWN`].
    pub steps: u32,
    /// After [`Shared::close`]: all output is written or given up.
    pub flushed: bool,
    /// The record is on the disk under its name.
    pub durable: bool,
    /// The record is gone again.
    pub removed: bool,
    /// There is no place for the record any more and no way to this keeper: both directories were removed.
    pub hopeless: bool,
    /// Bytes of output that were dropped.
    pub lost: u64,
}

#[derive(Debug)]
struct State {
    rings: [Ring; 2],
    /// The writer is in trouble: no use in waiting for room.
    stuck: bool,
    /// The reader waits for room.
    wanted: bool,
    closing: bool,
    rotate: bool,
    record: Vec<u8>,
    write_record: bool,
    remove_record: bool,
    progress: Progress,
}

impl Shared {
    /// Nothing is read yet.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn new(log: &Log) -> io::Result<Arc<Shared>> {
        let progress = Progress {
            file: log.number(),
            steps: 0,
            flushed: false,
            durable: false,
            removed: false,
            hopeless: false,
            lost: 0,
        };
        let state = State {
            rings: [Ring::new(RING), Ring::new(RING)],
            stuck: false,
            wanted: false,
            closing: false,
            rotate: false,
            record: Vec::with_capacity(RECORD_MAX),
            write_record: false,
            remove_record: false,
            progress,
        };
        Ok(Arc::new(Shared { state: Mutex::new(state), work: Condvar::new(), bell: sys::bell()? }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ready to be read when there is progress; see [`Shared::progress`].
    pub fn bell(&self) -> &OwnedFd {
        &self.bell
    }

    /// Silences the bell and says how far the disk is.
    pub fn progress(&self) -> Progress {
        let _ = sys::read(&self.bell, &mut [0; 8]);
        self.lock().progress
    }

    /// Whether a piece of this length has room now. If not, the bell rings when half of the queue is free.
    pub fn fits(&self, stream: Stream, len: usize) -> Room {
        let mut state = self.lock();
        if state.rings[stream as usize].fits(len) {
            return Room::Free;
        }
        state.wanted = !state.stuck;
        if state.stuck { Room::Stuck } else { Room::Full }
    }

    /// Whether a queue is empty.
    pub fn is_empty(&self, stream: Stream) -> bool {
        self.lock().rings[stream as usize].is_empty()
    }

    /// Gives a piece to be logged; the oldest go when there is no room.
    pub fn push(&self, stream: Stream, time: u64, piece: &[u8]) {
        self.lock().rings[stream as usize].push(time, piece);
        self.work.notify_one();
    }

    /// Has the log go on in the next file.
    pub fn rotate(&self) {
        self.lock().rotate = true;
        self.work.notify_one();
    }

    /// No piece follows: the rest is written, or given up when that is not possible now.
    pub fn close(&self) {
        self.lock().closing = true;
        self.work.notify_one();
    }

    /// Drops what waits, because there is no more time; returns all bytes that were dropped.
    pub fn abandon(&self) -> u64 {
        let mut state = self.lock();
        for ring in &mut state.rings {
            ring.clear();
        }
        state.take_dropped(&mut |_, _| {});
        state.progress.lost
    }

    /// Writes the record through `text` and has it put on the disk.
    pub fn write_record(&self, text: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.lock();
        text(&mut state.record);
        state.write_record = true;
        self.work.notify_one();
    }

    /// Shows the record.
    pub fn with_record<T>(&self, see: impl FnOnce(&[u8]) -> T) -> T {
        see(&self.lock().record)
    }

    /// Removes the record from the disk.
    pub fn remove_record(&self) {
        self.lock().remove_record = true;
        self.work.notify_one();
    }
}

/// Whether a piece has room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// It has.
    Free,
    /// Not now; the writer is at work.
    Full,
    /// Not now, and the writer can do nothing about it.
    Stuck,
}

impl State {
    /// Hands the counts of dropped bytes over, and adds them to the sum.
    fn take_dropped(&mut self, to: &mut dyn FnMut(Stream, u64)) {
        for (stream, ring) in STREAMS.into_iter().zip(&mut self.rings) {
            let bytes = ring.take_dropped();
            self.progress.lost += bytes;
            to(stream, bytes);
        }
    }

    /// The stream whose front is the oldest, so that the two keep their order.
    fn next(&self) -> Option<Stream> {
        let waits = STREAMS.into_iter().filter_map(|s| Some((self.rings[s as usize].oldest()?, s)));
        waits.min_by_key(|(time, _)| *time).map(|(_, stream)| stream)
    }
}

/// What is to be done.
enum Work {
    Log,
    Rotate,
    EndLog,
    Record,
    RemoveRecord,
}

/// The thread's own things.
#[derive(Debug)]
pub struct Disk {
    shared: Arc<Shared>,
    log: Log,
    file: RecordFile,
    /// Bytes of the log that the controller knows of.
    told: u64,
    told_at: Option<Instant>,
    log_again: Option<Instant>,
    pause: Duration,
    record_again: Option<Instant>,
    record: Vec<u8>,
}

impl Disk {
    /// All is opened and allocated; [`Disk::run`] does the rest.
    pub fn new(shared: Arc<Shared>, log: Log, file: RecordFile) -> Disk {
        let record = Vec::with_capacity(RECORD_MAX);
        Disk {
            shared,
            log,
            file,
            told: 0,
            told_at: None,
            log_again: None,
            pause: PAUSE.0,
            record_again: None,
            record,
        }
    }

    /// Works until the process ends.
    pub fn run(mut self) -> ! {
        loop {
            match self.wait() {
                Work::Log => self.write_log(Log::write),
                Work::Rotate => self.write_log(Log::turn),
                Work::EndLog => self.end_log(),
                Work::Record => self.write_record(),
                Work::RemoveRecord => {
                    self.file.remove();
                    self.tell(|p| p.removed = true);
                }
            }
        }
    }

    fn tell(&self, what: impl FnOnce(&mut Progress)) {
        what(&mut self.shared.lock().progress);
        self.ring();
    }

    fn ring(&self) {
        let _ = sys::write(&self.shared.bell, &1u64.to_ne_bytes());
    }

    /// Waits for something to do, without a timeout when nothing has failed.
    fn wait(&mut self) -> Work {
        let shared = self.shared.clone();
        let mut state = shared.lock();
        loop {
            let now = Instant::now();
            let due = |at: Option<Instant>| at.is_none_or(|at| at <= now);
            if std::mem::take(&mut state.remove_record) {
                state.write_record = false;
                return Work::RemoveRecord;
            }
            if state.write_record && due(self.record_again) {
                self.record.clone_from(&state.record);
                return Work::Record;
            }
            if !state.progress.flushed && (state.closing || due(self.log_again)) {
                if std::mem::take(&mut state.rotate) {
                    return Work::Rotate;
                }
                if self.log.is_behind() || self.take(&mut state) {
                    return Work::Log;
                }
                if state.closing {
                    return Work::EndLog;
                }
            }
            let log_again = self.log_again.filter(|_| !state.progress.flushed);
            let record_again = self.record_again.filter(|_| state.write_record);
            let until = [log_again, record_again].into_iter().flatten().min();
            state = match until {
                None => shared.work.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(at) => {
                    let wait = shared.work.wait_timeout(state, at.saturating_duration_since(now));
                    wait.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// Takes the next piece, and what is to be said before it.
    fn take(&mut self, state: &mut State) -> bool {
        if !state.rings.iter().any(Ring::has_dropped) {
            self.log.forget_trouble();
        }
        state.take_dropped(&mut |stream, bytes| self.log.add_dropped(stream, bytes));
        if let Some(stream) = state.next() {
            self.log.take(stream, |into| state.rings[stream as usize].pop(into));
        }
        if state.wanted && state.rings.iter().all(Ring::has_room) {
            state.wanted = false;
            self.ring();
        }
        self.log.is_behind()
    }

    fn write_log(&mut self, write: fn(&mut Log) -> Result<(), Trouble>) {
        let before = self.log.number();
        match write(&mut self.log) {
            Ok(()) if self.log_again.is_none() => {}
            Ok(()) => {
                (self.log_again, self.pause) = (None, PAUSE.0);
                self.shared.lock().stuck = false;
            }
            Err(trouble) => self.log_failed(trouble),
        }
        let file = self.log.number();
        let grown = self.log.written() - self.told >= GROWN.0;
        if file != before || grown && self.told_at.is_none_or(|at| at.elapsed() >= GROWN.1) {
            (self.told, self.told_at) = (self.log.written(), Some(Instant::now()));
            self.tell(|p| (p.file, p.steps) = (file, p.steps.wrapping_add(1)));
        }
    }

    fn log_failed(&mut self, _trouble: Trouble) {
        self.log_again = Some(Instant::now() + self.pause);
        self.pause = (self.pause * 2).min(PAUSE.1);
        let mut state = self.shared.lock();
        state.stuck = true;
        let closing = state.closing;
        let wanted = std::mem::take(&mut state.wanted);
        drop(state);
        if closing {
            self.give_up();
        } else if wanted {
            self.ring();
        }
    }

    fn end_log(&mut self) {
        match self.log.finish() {
            Ok(()) => self.tell(|p| p.flushed = true),
            Err(_) => self.give_up(),
        }
    }

    /// The container has ended and its last output cannot be written.
    fn give_up(&mut self) {
        let unnoted = self.log.unnoted();
        let lost = self.log.give_up();
        let before = self.shared.lock().progress.lost;
        let abandoned = self.shared.abandon() - before;
        // Where there is no room for this either, the exit record has it.
        let _ = self.log.last_words(unnoted + lost + abandoned);
        self.tell(|p| {
            p.lost += lost;
            p.flushed = true;
        });
    }

    fn write_record(&mut self) {
        self.record_again = Some(Instant::now() + RECORD_PAUSE);
        match self.file.write(&self.record) {
            Ok(()) => {
                self.shared.lock().write_record = false;
                self.tell(|p| p.durable = true);
            }
            Err(_) if self.file.is_hopeless() => self.tell(|p| p.hopeless = true),
            Err(_) => {}
        }
    }
}

/// Where the record goes. Its blocks are taken at the start, so that a disk that is full at the end does no harm.
#[derive(Debug)]
pub struct RecordFile {
    home: File,
    dir: OwnedFd,
    name: String,
    aside: String,
    file: Option<File>,
}

/// The name of the file whose blocks are taken before there is a record.
pub(super) fn aside_name(name: &str) -> String {
    format!(".{name}.tmp")
}

impl RecordFile {
    /// Takes the blocks. That this fails is no error: the end is another chance. `home` is the keeper's own directory.
    ///
    /// # Errors
    /// There is no such directory, or the path has no name.
    pub fn prepare(path: &Path, home: OwnedFd) -> io::Result<RecordFile> {
        let name = path.file_name().and_then(OsStr::to_str).ok_or(io::ErrorKind::InvalidInput)?;
        let dir = sys::open_dir(path.parent().unwrap_or(Path::new("/")))?;
        let aside = aside_name(name);
        let mut file = RecordFile { home: home.into(), dir, name: name.to_owned(), aside, file: None };
        let _ = file.open();
        Ok(file)
    }

    fn open(&mut self) -> io::Result<()> {
        let file = sys::open_new(&self.dir, &self.aside)?;
        sys::allocate(&file, RECORD_MAX as u64)?;
        self.file = Some(file.into());
        Ok(())
    }

    /// Puts the record on the disk: aside, fsync, rename, fsync of the directory.
    fn write(&mut self, record: &[u8]) -> io::Result<()> {
        if self.file.is_none() {
            self.open()?;
        }
        // An error of fsync means that the written pages may be forgotten: from the beginning, with a new file.
        let Some(file) = self.file.take() else { return Ok(()) };
        file.write_all_at(record, 0)?;
        file.set_len(record.len() as u64)?;
        file.sync_all()?;
        sys::rename(&self.dir, &self.aside, &self.name)?;
        sys::sync(&self.dir)
    }

    /// Whether its directory and the keeper's own were removed: nobody can ever ask.
    fn is_hopeless(&self) -> bool {
        let gone = |meta: io::Result<Metadata>| meta.is_ok_and(|m| m.nlink() == 0);
        let dir = self.dir.try_clone().map(File::from).and_then(|dir| dir.metadata());
        gone(dir) && gone(self.home.metadata())
    }

    /// Removes it, under both names.
    fn remove(&mut self) {
        let _ = sys::remove(&self.dir, &self.name);
        let _ = sys::remove(&self.dir, &self.aside);
    }
}
