//! The journal's file: appended to, written anew when it is too long, read at start. Touches its own directory alone.
#![forbid(unsafe_code)]

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufReader, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::frame;
use super::record::{Event, Image, Record};
use super::recover::{self, Recovered};
use crate::sys;

/// The file.
const FILE: &str = "journal";
/// The next file while it is written. What is found under this name at start was not finished.
const ASIDE: &str = "journal.new";
/// Holds blocks, so that the journal can be written anew on a full disk.
const SPARE: &str = "spare";
/// Damaged files that are kept: this many, the newest.
const BAD_KEPT: usize = 4;
/// So many event numbers are given free at once, and again when half of them are gone.
const NUMBERS: u64 = 256;

/// How big things may get.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of the file from which on it is written anew; at least half as much again as the image takes.
    pub file: u64,
    /// Bytes set aside behind the end of the file. Events leave them alone, durable records may use them.
    pub ahead: u64,
    /// Bytes of the file that is given up when the journal must be written anew on a full disk.
    pub spare: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { file: 8 << 20, ahead: 1 << 20, spare: 1 << 20 }
    }
}

/// What could not be read at start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Loss {
    /// Bytes behind the last whole record.
    pub tail: u64,
    /// Bytes of records that were damaged with whole ones behind them.
    pub damaged: u64,
    /// Whole records of a kind that this program does not know.
    pub unknown: u64,
    /// The medium's error, when the file could not be read to its end.
    pub unreadable: Option<String>,
    /// Where the damaged file is kept; `None` when nothing but a tail was lost, or when no copy could be made.
    pub copy: Option<PathBuf>,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if self.tail > 0 {
            parts.push(format!("{} bytes at its end were no whole record and were cut off", self.tail));
        }
        if self.damaged > 0 {
            parts.push(format!("{} bytes inside it were damaged and left out", self.damaged));
        }
        if self.unknown > 0 {
            parts.push(format!("{} records of an unknown kind were left out", self.unknown));
        }
        if let Some(e) = &self.unreadable {
            parts.push(format!("it could not be read to its end ({e})"));
        }
        write!(f, "journal: {}", parts.join(", "))?;
        if let Some(copy) = &self.copy {
            write!(f, "; the file is kept as {}", copy.display())?;
        }
        Ok(())
    }
}

/// What [`Journal::open`] gives. The image is the journal's: [`Journal::image`].
#[derive(Debug)]
pub struct Opened {
    /// To write to.
    pub journal: Journal,
    /// What could not be read, if something.
    pub loss: Option<Loss>,
}

/// The journal of one daemon. Nobody else may write to the directory: see [`super::lock()`].
#[derive(Debug)]
pub struct Journal {
    dir: PathBuf,
    limits: Limits,
    /// The file and where its last whole record ends.
    file: Option<File>,
    len: u64,
    /// Up to where blocks are set aside; `None` = the file system cannot do it.
    ahead_to: Option<u64>,
    /// From this length on the file is written anew.
    renew_at: u64,
    /// No event number from here on was ever given.
    reserved: u64,
    image: Image,
    /// Records that are in the image and not in the file.
    pending: usize,
    /// Records that are in the file and perhaps not on the medium.
    unsynced: usize,
    /// The file must not be appended to: it lacks something or cannot be trusted. It is written anew at the next chance.
    renew: bool,
    /// Events that are in the image and not in the file, for want of room.
    dropped: usize,
    /// What the disk said last, as long as something cannot be written.
    problem: Option<String>,
}

impl Journal {
    /// Opens the journal in `dir`, which is made when it is not there. Bad content is never a reason to fail; a disk that
    /// cannot be written is none either (see [`Journal::problem`]).
    ///
    /// # Errors
    /// `Unsupported`: the file is from a newer program. Otherwise what open(2) and mkdir(2) say, a full, failing or
    /// read-only disk excepted.
    pub fn open(dir: &Path) -> io::Result<Opened> {
        Journal::open_with(dir, Limits::default())
    }

    /// The same with other limits.
    ///
    /// # Errors
    /// As [`Journal::open`].
    pub fn open_with(dir: &Path, limits: Limits) -> io::Result<Opened> {
        let mut journal = Journal {
            dir: dir.to_owned(),
            renew_at: limits.file,
            limits,
            file: None,
            len: 0,
            ahead_to: Some(0),
            reserved: 0,
            image: Image::default(),
            pending: 0,
            unsynced: 0,
            renew: true,
            dropped: 0,
            problem: None,
        };
        match DirBuilder::new().recursive(true).mode(0o700).create(dir) {
            Err(e) if !is_of_the_disk(&e) => return Err(named(&e, "cannot make", dir)),
            _ => {}
        }
        let path = dir.join(FILE);
        let (file, writable) = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => (Some(file), true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => (None, true),
            Err(e) if is_of_the_disk(&e) => (File::open(&path).ok(), false),
            Err(e) => return Err(named(&e, "cannot open", &path)),
        };
        let mut loss = None;
        if let Some(file) = file {
            let found = recover::read(BufReader::with_capacity(64 << 10, &file));
            if let Some(version) = found.version.filter(|v| *v > frame::VERSION) {
                let text = format!(
                    "{} is of version {version}, and this program reads up to {}: a newer knarrd wrote it",
                    path.display(),
                    frame::VERSION
                );
                return Err(io::Error::new(io::ErrorKind::Unsupported, text));
            }
            loss = journal.take_over(file, found, writable);
        }
        journal.image.next_seq = journal.image.next_seq.max(journal.reserved).max(1);
        if journal.file.is_none() {
            // The directories may be as new as the file.
            dir.ancestors().skip(1).take(2).for_each(|d| drop(sys::journal::sync_dir(d)));
        }
        // What an earlier attempt left. The file itself has everything.
        let _ = fs::remove_file(dir.join(ASIDE));
        let _ = journal.retry();
        journal.keep_spare();
        Ok(Opened { journal, loss })
    }

    /// Goes on with a file that was found.
    fn take_over(&mut self, file: File, found: Recovered, writable: bool) -> Option<Loss> {
        let hurt =
            found.damaged > 0 || found.unknown > 0 || found.unreadable.is_some() || found.version.is_none();
        let mut loss = Loss {
            tail: found.tail,
            damaged: found.damaged,
            unknown: found.unknown,
            unreadable: found.unreadable.map(|e| e.to_string()),
            copy: None,
        };
        if hurt && writable {
            loss.copy = quarantine(&self.dir);
        }
        // Without the first line nobody knows which numbers were free; a block more than any that is seen is safe.
        let unsure = if found.version.is_none() { NUMBERS } else { 0 };
        self.reserved = found.reserved.max(found.image.next_seq.saturating_add(unsure));
        self.image = found.image;
        self.len = found.end;
        // Damage is not carried on: what was readable goes into a fresh file.
        self.renew = hurt || !writable || (found.tail > 0 && file.set_len(found.end).is_err());
        self.file = Some(file);
        (Loss { copy: None, ..loss.clone() } != Loss::default()).then_some(loss)
    }

    /// Everything that follows from all records that were taken in, those included that could not be written yet.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// The number that the next event must have. Within one append each further event has one more.
    pub fn next_seq(&self) -> u64 {
        self.image.next_seq
    }

    /// Writes records with one write(2), and on to the medium when one of them is [`Record::durable`]. For what has
    /// happened: when they cannot be written they are taken in all the same, and written at the next chance. On a full
    /// disk events are left out of the file and counted, which is no error.
    ///
    /// # Errors
    /// They are not on disk; see [`Journal::retry`].
    pub fn append(&mut self, records: &[Record]) -> io::Result<()> {
        self.append_unsynced(records)?;
        self.sync()
    }

    /// The first half of [`Journal::append`]: the records are in the file, which is all that a killed daemon needs, and on
    /// the medium after [`Journal::sync`]. So one wait for the medium is enough for all that happens at a time.
    ///
    /// # Errors
    /// They are not in the file; see [`Journal::retry`].
    pub fn append_unsynced(&mut self, records: &[Record]) -> io::Result<()> {
        let done = self.write(records, false);
        records.iter().for_each(|r| self.image.apply(r));
        if done.is_err() {
            self.pending += records.len();
            self.renew = true;
        }
        self.after(done)
    }

    /// Waits until everything durable is on the medium.
    ///
    /// # Errors
    /// It is not; see [`Journal::retry`].
    pub fn sync(&mut self) -> io::Result<()> {
        if self.unsynced == 0 {
            return Ok(());
        }
        let done = match &self.file {
            Some(file) if !self.renew => file.sync_data(),
            // What a failed sync has left is not brought to the medium by another one.
            _ => self.write_anew(),
        };
        let unsynced = std::mem::take(&mut self.unsynced);
        if done.is_err() {
            self.pending += unsynced;
            self.renew = true;
        }
        self.after(done.map(|()| None))
    }

    /// Writes records or takes none of them in: for what somebody asks for, and can be refused.
    ///
    /// # Errors
    /// They count as never said.
    pub fn try_append(&mut self, records: &[Record]) -> io::Result<()> {
        let done = self.write(records, true);
        if done.is_ok() {
            records.iter().for_each(|r| self.image.apply(r));
        }
        self.after(done)
    }

    /// Writes what is pending. For a timer, while [`Journal::problem`] says something.
    ///
    /// # Errors
    /// It is still pending.
    pub fn retry(&mut self) -> io::Result<()> {
        if self.renew {
            let done = self.write_anew();
            return self.after(done.map(|()| None));
        }
        Ok(())
    }

    /// How many records were taken in and are not on disk.
    pub fn pending(&self) -> usize {
        self.pending
    }

    /// What the disk said last, as long as something cannot be written.
    pub fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// Bytes of the file.
    pub fn size(&self) -> u64 {
        self.len
    }

    /// What every attempt to write ends with. `note` is the journal's own event, which was written behind the others.
    fn after(&mut self, done: io::Result<Option<Event>>) -> io::Result<()> {
        let note = done.inspect_err(|e| self.problem = Some(e.to_string()))?;
        self.problem = None;
        if let Some(note) = note {
            self.image.event(note);
        }
        if self.len >= self.renew_at && self.write_anew().is_err() {
            // Everything is in the file: that it is long can wait.
            self.renew_at = self.len + self.limits.file / 8;
        }
        Ok(())
    }

    /// Brings records to the end of the file, and the journal's own event when there is something to tell; on to the medium
    /// now or with the next [`Journal::sync`].
    fn write(&mut self, records: &[Record], now: bool) -> io::Result<Option<Event>> {
        if self.renew {
            self.write_anew()?;
        }
        let room = self.has_room();
        let next = records.iter().filter_map(|r| match r {
            Record::Event(event) => Some(event.seq.saturating_add(1)),
            _ => None,
        });
        let next = next.fold(self.image.next_seq, u64::max);
        let mut out = Vec::new();
        let reserved = if next.saturating_add(NUMBERS / 2) > self.reserved {
            frame::put_reserved(&mut out, next.saturating_add(NUMBERS));
            next.saturating_add(NUMBERS)
        } else {
            self.reserved
        };
        let durable = !out.is_empty() || records.iter().any(Record::durable);
        let sync = durable && now;
        let mut dropped = 0;
        for record in records {
            match record {
                Record::Event(_) if !room => dropped += 1,
                other => frame::put_record(&mut out, other),
            }
        }
        let note = (room && self.dropped > 0).then(|| self.dropped_event(next));
        if let Some(note) = &note {
            frame::put_record(&mut out, &Record::Event(note.clone()));
        }
        match self.put(&out, sync) {
            Err(e) if is_full(&e) => {
                // What the old file took is free now, or nothing is.
                self.write_anew()?;
                self.has_room();
                self.put(&out, sync)?;
            }
            done => done?,
        }
        if durable {
            self.unsynced = if sync { 0 } else { self.unsynced + records.len() };
        }
        self.reserved = self.reserved.max(reserved);
        self.dropped = if note.is_some() { 0 } else { self.dropped + dropped };
        Ok(note)
    }

    fn dropped_event(&self, seq: u64) -> Event {
        Event {
            seq,
            at: Timestamp::now(),
            service: None,
            replica: None,
            kind: "journal".into(),
            text: format!("{} events were not written down: the disk was full", self.dropped),
            cause: None,
        }
    }

    /// One write at the end of the file. After a failure the file ends where it did, or is not used any more.
    fn put(&mut self, bytes: &[u8], sync: bool) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let Some(file) = &self.file else { return Err(io::ErrorKind::NotFound.into()) };
        let end = self.len + bytes.len() as u64;
        if self.ahead_to.is_some_and(|ahead| ahead < end) {
            sys::journal::reserve(file, self.len, bytes.len() as u64)?;
            self.ahead_to = Some(end);
        }
        let written = file.write_all_at(bytes, self.len);
        let arrived = written.is_ok();
        let done = written.and_then(|()| if sync { file.sync_data() } else { Ok(()) });
        if let Err(e) = done {
            // After a failed sync the kernel takes the pages for clean: nothing more may be built upon this file.
            self.renew = file.set_len(self.len).is_err() || arrived;
            self.ahead_to = self.ahead_to.map(|_| self.len);
            return Err(e);
        }
        self.len = end;
        Ok(())
    }

    /// Sets blocks aside behind the end, so that durable records find room on a full disk. Whether events may be written.
    fn has_room(&mut self) -> bool {
        let (Some(file), Some(ahead_to)) = (&self.file, self.ahead_to) else { return true };
        let all = self.limits.ahead;
        if ahead_to >= self.len + all / 2 {
            return true;
        }
        for want in [all, all / 4, all / 16, all / 64] {
            if ahead_to >= self.len + want {
                return false;
            }
            match sys::journal::reserve(file, self.len, want) {
                Ok(()) => {
                    self.ahead_to = Some(self.len + want);
                    return want == all;
                }
                Err(e) if is_full(&e) => {}
                Err(_) => {
                    self.ahead_to = None;
                    return true;
                }
            }
        }
        false
    }

    /// Writes the image as a fresh file in place of the old one. On a full disk first the spare blocks go, then old events.
    fn write_anew(&mut self) -> io::Result<()> {
        let _ = DirBuilder::new().recursive(true).mode(0o700).create(&self.dir);
        let mut done = self.write_aside(usize::MAX);
        // The spare blocks must do for the image; what the old file took is then free for the next time.
        for bytes in [self.limits.spare / 4, 0] {
            if done.as_ref().is_err_and(is_full) {
                let _ = fs::remove_file(self.dir.join(SPARE));
                let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
                done = self.write_aside(self.image.events_within(bytes));
            }
        }
        if done.is_err() {
            let _ = fs::remove_file(self.dir.join(ASIDE));
        }
        // The old file, which may hold the last free blocks, is closed by now.
        let (file, len, reserved, events) = done?;
        (self.file, self.len, self.reserved) = (Some(file), len, reserved);
        self.dropped = self.image.events.len() - events;
        self.ahead_to = Some(0);
        self.renew_at = self.limits.file.max(len + len / 2);
        (self.renew, self.pending, self.unsynced) = (false, 0, 0);
        self.keep_spare();
        self.has_room();
        Ok(())
    }

    /// Aside, sync, rename, sync of the directory: a crash leaves the old file or the new one. Gives the file, its length,
    /// the numbers it gives free and how many events are in it.
    fn write_aside(&self, events: usize) -> io::Result<(File, u64, u64, usize)> {
        let events = events.min(self.image.events.len());
        let path = self.dir.join(ASIDE);
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        let reserved = self.reserved.max(self.image.next_seq.saturating_add(NUMBERS));
        let mut len = 0;
        frame::put_image(&self.image, reserved, events, |bytes| {
            len += bytes.len() as u64;
            file.write_all(bytes)
        })?;
        file.sync_all()?;
        fs::rename(&path, self.dir.join(FILE))?;
        sys::journal::sync_dir(&self.dir)?;
        Ok((file, len, reserved, events))
    }

    /// Makes the file whose blocks are given up on a full disk. That there is no room for it is no error.
    fn keep_spare(&self) {
        let path = self.dir.join(SPARE);
        if fs::metadata(&path).is_ok_and(|m| m.len() == self.limits.spare) {
            return;
        }
        let made = File::create(&path).and_then(|file| {
            sys::journal::reserve(&file, 0, self.limits.spare)?;
            file.set_len(self.limits.spare)
        });
        if made.is_err() {
            let _ = fs::remove_file(&path);
        }
    }
}

/// Keeps the damaged file under another name, and no more than the last few of them.
fn quarantine(dir: &Path) -> Option<PathBuf> {
    let number = |name: &std::ffi::OsStr| name.to_str()?.strip_prefix("journal.bad-")?.parse::<u64>().ok();
    let mut numbers: Vec<u64> =
        fs::read_dir(dir).ok()?.filter_map(|e| number(&e.ok()?.file_name())).collect();
    numbers.sort_unstable();
    let of = |n: u64| dir.join(format!("journal.bad-{n}"));
    while numbers.len() >= BAD_KEPT {
        let _ = fs::remove_file(of(numbers.remove(0)));
    }
    let (from, to) = (dir.join(FILE), of(numbers.last().map_or(1, |n| n.saturating_add(1))));
    // The fresh file replaces the name, so a second name is as good as a copy.
    fs::hard_link(&from, &to).or_else(|_| fs::copy(&from, &to).map(|_| ())).ok().map(|()| to)
}

fn is_full(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Full, read-only or failing: a reason to go on in memory and say so.
fn is_of_the_disk(e: &io::Error) -> bool {
    is_full(e) || e.kind() == io::ErrorKind::ReadOnlyFilesystem || sys::journal::is_medium_error(e)
}

fn named(e: &io::Error, what: &str, path: &Path) -> io::Error {
    io::Error::new(e.kind(), format!("{what} {}: {e}", path.display()))
}
