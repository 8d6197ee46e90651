//! Reads an instance's log over all its files, from where it is asked, to the end or for ever. Touches the files alone;
//! memory is bounded whatever is in them.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::follow::Watch;
use super::line::{LogLine, Stream};
use super::tail::{self, Place};

/// Bytes read at once.
const BLOCK: usize = 64 << 10;
/// A longer line than this is none of a keeper's: it is given in pieces.
const LINE_MAX: usize = 32 << 10;
/// Parts are joined up to this length.
const JOINED_MAX: usize = 1 << 20;

/// What somebody wants to read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// From the first line of this time on, and everything behind it (clocks can be set back).
    pub since: Option<Timestamp>,
    /// No more than so many lines of what is there. The parts of a long line count as one.
    pub tail: Option<usize>,
    /// Goes on with what is written later, until the directory is removed.
    pub follow: bool,
    /// Parts of long lines are put together, up to 1 MiB.
    pub join: bool,
}

/// Reads lines in the order in which they were written.
pub struct LogReader {
    dir: PathBuf,
    watch: Option<Watch>,
    join: bool,
    /// Lines are left out until one is of this time or later.
    since: Option<Timestamp>,
    /// Without `follow`: what comes behind this place was written after the question.
    until: Place,
    current: Option<Current>,
    /// The number of the file that was read last, or the one before the first.
    last: u64,
    /// Parts that wait for the rest of their line, one a stream.
    parts: Vec<LogLine>,
    /// Ready to be given.
    ready: VecDeque<LogLine>,
    ended: bool,
}

/// The file that is read.
struct Current {
    number: u64,
    file: File,
    /// What was read and not yet given, and where it begins in the file.
    buffer: Vec<u8>,
    taken: usize,
    offset: u64,
}

impl LogReader {
    /// Begins to read the log in `dir`. That there is none (yet) is no error. To follow needs a tokio runtime.
    ///
    /// # Errors
    /// The directory cannot be read or watched.
    pub fn open(dir: &Path, query: Query) -> io::Result<LogReader> {
        // Watched first: what is written from here on wakes the reader up.
        let watch = if query.follow { Some(Watch::new(dir)?) } else { None };
        let numbers = super::numbers(dir)?;
        let until = match numbers.last() {
            Some(number) => Place { number: *number, offset: size(dir, *number)? },
            None => Place { number: 0, offset: 0 },
        };
        let mut place = None;
        if let Some(since) = query.since {
            place = tail::first_file(dir, &numbers, since)?.map(|number| Place { number, offset: 0 });
        }
        if let Some(lines) = query.tail {
            place = place.max(tail::last_lines(dir, &numbers, lines)?);
        }
        let mut reader = LogReader {
            dir: dir.to_owned(),
            watch,
            join: query.join,
            since: query.since,
            until,
            current: None,
            last: numbers.first().map_or(0, |first| first - 1),
            parts: Vec::new(),
            ready: VecDeque::new(),
            ended: query.tail == Some(0) && !query.follow,
        };
        if let Some(place) = place {
            reader.last = place.number - 1;
            reader.open_next(place.offset)?;
        }
        Ok(reader)
    }

    /// The next line; `None` = the end. Safe to drop while it waits.
    ///
    /// # Errors
    /// A file cannot be read; the next call goes on behind it.
    pub async fn next(&mut self) -> io::Result<Option<LogLine>> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Ok(Some(line));
            }
            if self.ended {
                return Ok(None);
            }
            self.take_lines();
            if !self.ready.is_empty() || self.ended {
                continue;
            }
            if self.read_on()? {
                // Others want to run as well, and a log can be long.
                tokio::task::yield_now().await;
                continue;
            }
            let more = match &mut self.watch {
                Some(watch) => watch.changed().await?,
                None => false,
            };
            if !more {
                self.leave_file();
                self.end();
            }
        }
    }

    /// Makes lines of the bytes at hand.
    fn take_lines(&mut self) {
        while let Some(current) = &mut self.current {
            let here = Place { number: current.number, offset: current.offset + current.taken as u64 };
            if self.watch.is_none() && here >= self.until {
                self.current = None;
                self.end();
                return;
            }
            let Some((line, whole)) = current.line() else { return };
            let line = LineRef { bytes: &line, whole };
            if let Some(line) = line.wanted(&mut self.since) {
                self.give(line);
            }
        }
    }

    /// Reads more bytes, or opens the next file. `false` = there is nothing more now.
    fn read_on(&mut self) -> io::Result<bool> {
        let Some(current) = &mut self.current else { return self.open_next(0) };
        let number = current.number;
        match current.fill() {
            Ok(0) => {}
            Ok(_) => return Ok(true),
            Err(e) => {
                (self.last, self.current) = (number, None);
                return Err(e);
            }
        }
        // A file is finished when there is a later one; what was written between the two looks must not be missed.
        let later = super::numbers(&self.dir)?.last().is_some_and(|n| *n > number);
        if !later || (self.watch.is_none() && number >= self.until.number) {
            return Ok(false);
        }
        if !self.current.as_mut().is_some_and(|c| c.fill().is_ok_and(|n| n > 0)) {
            self.leave_file();
        }
        Ok(true)
    }

    /// Opens the file behind the last one, to be read from `offset` on.
    fn open_next(&mut self, offset: u64) -> io::Result<bool> {
        loop {
            let numbers = super::numbers(&self.dir)?;
            let Some(number) = numbers.into_iter().find(|n| *n > self.last) else { return Ok(false) };
            let file = match File::open(super::file(&self.dir, number)) {
                Ok(file) => file,
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => {
                    self.last = number;
                    return Err(e);
                }
            };
            let missed = number - self.last - 1;
            if missed > 0 {
                let text = format!("{missed} log files were removed before they could be read");
                self.ready.push_back(LogLine::words(text));
            }
            let offset = if missed > 0 { 0 } else { offset };
            self.current = Some(Current { number, file, buffer: Vec::new(), taken: 0, offset });
            return Ok(true);
        }
    }

    /// Gives what is left of the file, a line without its end, as it is.
    fn leave_file(&mut self) {
        let Some(current) = self.current.take() else { return };
        self.last = current.number;
        let rest = &current.buffer[current.taken..];
        if !rest.is_empty()
            && let Some(line) = (LineRef { bytes: rest, whole: true }).wanted(&mut self.since)
        {
            self.give(line);
        }
    }

    /// There will be no more: parts without the rest of their line are given as they are.
    fn end(&mut self) {
        self.ready.extend(self.parts.drain(..));
        self.ended = true;
    }

    /// Hands a line out, or keeps it until the rest of it is there.
    fn give(&mut self, line: LogLine) {
        if !self.join || line.stream == Stream::Raw {
            return self.ready.push_back(line);
        }
        let waiting = self.parts.iter().position(|p| p.stream == line.stream);
        let line = match waiting.map(|i| self.parts.swap_remove(i)) {
            Some(mut first) => {
                first.text.extend_from_slice(&line.text);
                first.partial = line.partial;
                first
            }
            None => line,
        };
        if line.partial && line.text.len() < JOINED_MAX {
            self.parts.push(line);
        } else {
            self.ready.push_back(line);
        }
    }
}

/// A line as it stands in the file; not `whole` = a piece of one that is longer than any of a keeper's.
struct LineRef<'a> {
    bytes: &'a [u8],
    whole: bool,
}

impl LineRef<'_> {
    /// The line, unless it comes before the time that is waited for.
    fn wanted(&self, since: &mut Option<Timestamp>) -> Option<LogLine> {
        let line = if self.whole {
            LogLine::parse(self.bytes)
        } else {
            LogLine { at: None, stream: Stream::Raw, partial: true, text: self.bytes.to_vec() }
        };
        if let Some(from) = *since {
            if line.at.is_none_or(|at| at < from) {
                return None;
            }
            *since = None;
        }
        Some(line)
    }
}

impl Current {
    /// The next line without its end, and whether it is whole; `None` = more bytes are needed.
    fn line(&mut self) -> Option<(Vec<u8>, bool)> {
        let rest = &self.buffer[self.taken..];
        let (len, end) = match rest.iter().take(LINE_MAX).position(|b| *b == b'\n') {
            Some(len) => (len, 1),
            None if rest.len() >= LINE_MAX => (LINE_MAX, 0),
            None => return None,
        };
        let line = rest[..len].to_vec();
        self.taken += len + end;
        Some((line, end == 1))
    }

    /// Reads on; how many bytes came.
    fn fill(&mut self) -> io::Result<usize> {
        self.buffer.drain(..self.taken);
        self.offset += self.taken as u64;
        self.taken = 0;
        let had = self.buffer.len();
        self.buffer.resize(had + BLOCK, 0);
        let read = self.file.read_at(&mut self.buffer[had..], self.offset + had as u64);
        self.buffer.truncate(had + *read.as_ref().unwrap_or(&0));
        if matches!(read, Ok(0)) {
            // A follower can wait for long.
            self.buffer.shrink_to_fit();
        }
        read
    }
}

fn size(dir: &Path, number: u64) -> io::Result<u64> {
    match std::fs::metadata(super::file(dir, number)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(0),
        other => Ok(other?.len()),
    }
}
