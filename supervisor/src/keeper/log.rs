//! The writer of one instance's log files: lines as the CRI has them, rotated by size and number. Runs in the thread that
//! may hang on a disk; every error leaves it in a state from which the same call goes on later.
#![forbid(unsafe_code)]

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::journald::Journald;
use super::protocol::{CHUNK_MAX, Stream};
use super::text;
use crate::sys::keeper as sys;

/// The longest content of one line in bytes; a longer one is continued in the next with the tag `P` before.
pub const LINE_MAX: usize = 16 * 1024;
/// What a line has beside its content: stamp, stream, tag, three spaces, line break.
const FRAME: usize = text::STAMP + 6 + 1 + 3 + 1;
/// Bytes that are written at once, with room for one line of full length.
const OUT: usize = 2 * LINE_MAX;
/// At most so many bytes are written between two looks at the free space: fewer when little is left.
const LOOK_EVERY: u64 = 1 << 20;

/// How much is kept.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of one file.
    pub size: u64,
    /// Files, with the current one.
    pub files: u32,
    /// Nothing is written while less of the file system is free, in percent of it.
    pub min_free: u64,
    /// More than so many bytes are never left free: a tenth of a large disk is no emergency.
    pub min_free_most: u64,
}

/// Why nothing can be written now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Less than so many bytes are free.
    Low(u64),
    /// An errno.
    Os(i32),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Low(bytes) => write!(f, "less than {} KiB of the file system are free", bytes >> 10),
            Trouble::Os(errno) => write!(f, "{}", io::Error::from_raw_os_error(*errno)),
        }
    }
}

impl From<io::Error> for Trouble {
    fn from(e: io::Error) -> Trouble {
        Trouble::Os(e.raw_os_error().unwrap_or(0))
    }
}

/// A line that has begun.
#[derive(Debug)]
struct Line {
    bytes: Box<[u8]>,
    len: usize,
}

/// The piece that is being written: where it came from, when, how far it is done.
#[derive(Debug)]
struct Piece {
    bytes: Box<[u8]>,
    stream: Stream,
    time: u64,
    from: usize,
    to: usize,
}

/// See the module.
#[derive(Debug)]
pub struct Log {
    dir: OwnedFd,
    limits: Limits,
    file: Option<File>,
    number: u32,
    oldest: u32,
    size: u64,
    written: u64,
    looked: u64,
    /// After so many the next look is due.
    look_after: u64,
    out: Vec<u8>,
    piece: Piece,
    lines: [Line; 2],
    journald: Option<Journald>,
    dropped: [u64; 2],
    trouble: Option<Trouble>,
}

/// The file name of a number, `00000001.log`.
pub fn file_name(number: u32) -> String {
    format!("{number:08}.log")
}

/// The number of a file name; `None` = not a log file.
pub fn file_number(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(".log")?;
    let plain = digits.len() >= 8 && digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse().ok().filter(|n| plain && *n > 0)
}

impl Log {
    /// The log in a directory, which is made when it is missing; goes on in the file with the highest number.
    ///
    /// # Errors
    /// The directory cannot be made or read. A file that cannot be opened is no error: that is tried again.
    pub fn open(path: &Path, limits: Limits, journald: Option<Journald>) -> io::Result<Log> {
        if let Err(e) = std::fs::create_dir(path)
            && e.kind() != io::ErrorKind::AlreadyExists
            && !path.is_dir()
        {
            return Err(e);
        }
        let dir = sys::open_dir(path)?;
        let (mut lowest, mut highest) = (u32::MAX, 0);
        for entry in std::fs::read_dir(path)? {
            if let Some(n) = entry?.file_name().to_str().and_then(file_number) {
                (lowest, highest) = (lowest.min(n), highest.max(n));
            }
        }
        let line = || Line { bytes: vec![0; LINE_MAX].into(), len: 0 };
        let bytes = vec![0; CHUNK_MAX].into();
        let mut log = Log {
            dir,
            limits,
            file: None,
            number: highest.max(1),
            oldest: lowest.min(highest.max(1)),
            size: 0,
            written: 0,
            looked: LOOK_EVERY,
            look_after: 0,
            out: Vec::with_capacity(OUT),
            piece: Piece { bytes, stream: Stream::Stdout, time: 0, from: 0, to: 0 },
            lines: [line(), line()],
            journald,
            dropped: [0; 2],
            trouble: None,
        };
        log.trouble = log.ensure_file().err();
        Ok(log)
    }

    /// The file that is written now.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Bytes that were written to all files.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Goes on in the next file, unless nothing is in this one.
    ///
    /// # Errors
    /// As [`Log::write`].
    pub fn turn(&mut self) -> Result<(), Trouble> {
        self.write()?;
        self.ensure_file()?;
        if self.size > 0 { self.rotate() } else { Ok(()) }
    }

    /// Takes the next piece through `fill`, which returns its time and length; the last one must be done.
    pub fn take(&mut self, stream: Stream, fill: impl FnOnce(&mut [u8]) -> Option<(u64, usize)>) {
        if let Some((time, len)) = fill(&mut self.piece.bytes) {
            (self.piece.stream, self.piece.time, self.piece.from, self.piece.to) = (stream, time, 0, len);
        }
    }

    /// Bytes of a stream were dropped before the next piece.
    pub fn add_dropped(&mut self, stream: Stream, bytes: u64) {
        self.dropped[index(stream)] += bytes;
    }

    /// Nothing was dropped since the last trouble: what is dropped from here on has another reason.
    pub fn forget_trouble(&mut self) {
        self.trouble = None;
    }

    /// Whether something was taken that is not in the file yet. A line that has only begun is none.
    pub fn is_behind(&self) -> bool {
        self.piece.from < self.piece.to || !self.out.is_empty() || self.dropped != [0; 2]
    }

    /// Writes what was taken.
    ///
    /// # Errors
    /// Nothing can be written now; the same call goes on.
    pub fn write(&mut self) -> Result<(), Trouble> {
        let done = self.report().and_then(|()| self.split()).and_then(|()| self.flush());
        if let Err(trouble) = done {
            self.trouble = Some(trouble);
        }
        done
    }

    /// Writes what was taken and what has begun: nothing follows.
    ///
    /// # Errors
    /// As [`Log::write`].
    pub fn finish(&mut self) -> Result<(), Trouble> {
        self.write()?;
        self.end_line(Stream::Stdout)?;
        self.end_line(Stream::Stderr)?;
        self.flush()
    }

    /// Forgets all that is not written and counts its bytes.
    pub fn give_up(&mut self) -> u64 {
        let lines = self.out.split_inclusive(|b| *b == b'\n');
        let mut lost: usize = lines.map(content).sum();
        self.out.clear();
        lost += self.piece.to - self.piece.from + self.lines[0].len + self.lines[1].len;
        self.piece.from = self.piece.to;
        (self.lines[0].len, self.lines[1].len) = (0, 0);
        self.dropped = [0; 2];
        lost as u64
    }

    /// Bytes that were dropped and are not noted yet.
    pub fn unnoted(&self) -> u64 {
        self.dropped.iter().sum()
    }

    /// The last note, after all was given up: a few bytes that the limit for free space does not hold up.
    ///
    /// # Errors
    /// As [`Log::write`].
    pub fn last_words(&mut self, dropped: u64) -> Result<(), Trouble> {
        self.limits.min_free = 0;
        // Opened again, a line that was cut off is ended.
        self.file = None;
        self.note(format_args!("{dropped} bytes dropped at the end: {}", Why(self.trouble)))?;
        self.flush()
    }

    /// Writes the notes about what was dropped, each in the place of what it is about.
    fn report(&mut self) -> Result<(), Trouble> {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let bytes = self.dropped[index(stream)];
            if bytes > 0 {
                self.end_line(stream)?;
                self.note(format_args!("{bytes} bytes dropped: {}: {}", stream.word(), Why(self.trouble)))?;
                self.dropped[index(stream)] = 0;
            }
        }
        if let Some(journald) = &mut self.journald {
            let lines = journald.take_dropped();
            if lines > 0 {
                self.note(format_args!("{lines} lines dropped: journald does not take them"))?;
            }
        }
        Ok(())
    }

    /// Splits the piece into lines.
    fn split(&mut self) -> Result<(), Trouble> {
        while self.piece.from < self.piece.to {
            let at = index(self.piece.stream);
            let room = LINE_MAX - self.lines[at].len;
            let rest = &self.piece.bytes[self.piece.from..self.piece.to];
            let reach = rest.len().min(room + 1);
            match rest[..reach].iter().position(|b| *b == b'\n') {
                Some(end) => {
                    self.line(at, end, true)?;
                    self.piece.from += end + 1;
                }
                None if reach > room => {
                    self.line(at, room, false)?;
                    self.piece.from += room;
                }
                None => {
                    let line = &mut self.lines[at];
                    line.bytes[line.len..line.len + reach].copy_from_slice(rest);
                    line.len += reach;
                    self.piece.from = self.piece.to;
                }
            }
        }
        Ok(())
    }

    /// Puts out what has begun of a stream and `more` bytes of the piece as one line.
    fn line(&mut self, at: usize, more: usize, whole: bool) -> Result<(), Trouble> {
        self.make_room(FRAME + self.lines[at].len + more)?;
        let (line, piece) = (&mut self.lines[at], &self.piece);
        let more = &piece.bytes[piece.from..piece.from + more];
        let stream = if at == 0 { Stream::Stdout } else { Stream::Stderr };
        frame(&mut self.out, piece.time, stream.word(), whole);
        let content = self.out.len();
        self.out.extend_from_slice(&line.bytes[..line.len]);
        self.out.extend_from_slice(more);
        line.len = 0;
        if let Some(journald) = &mut self.journald {
            journald.send(stream, whole, &self.out[content..]);
        }
        self.out.push(b'\n');
        Ok(())
    }

    /// Puts out what has begun of a stream, though its line break never came.
    fn end_line(&mut self, stream: Stream) -> Result<(), Trouble> {
        if self.lines[index(stream)].len > 0 { self.line(index(stream), 0, true) } else { Ok(()) }
    }

    /// A line of the keeper's own.
    fn note(&mut self, words: fmt::Arguments<'_>) -> Result<(), Trouble> {
        self.make_room(FRAME + 200)?;
        frame(&mut self.out, sys::wall_nanos(), "keeper", true);
        // Writing to a vector cannot fail.
        let _ = write!(self.out, "{words}");
        self.out.push(b'\n');
        Ok(())
    }

    /// Makes room for a line of so many bytes: in the buffer, and in the file, by going on to the next one.
    fn make_room(&mut self, len: usize) -> Result<(), Trouble> {
        self.ensure_file()?;
        let full = |log: &Log, more: usize| {
            let size = log.size + log.out.len() as u64;
            size > 0 && size + more as u64 > log.limits.size
        };
        if full(self, len) {
            self.flush()?;
            if full(self, len) {
                self.rotate()?;
            }
        }
        if self.out.len() + len > OUT {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Trouble> {
        while !self.out.is_empty() {
            self.look()?;
            self.ensure_file()?;
            let Some(file) = &mut self.file else { continue };
            match file.write(&self.out) {
                Ok(0) => return Err(Trouble::Os(0)),
                Ok(n) => {
                    self.out.drain(..n);
                    self.size += n as u64;
                    self.written += n as u64;
                    self.looked += n as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    /// Looks at the free space, now and then while all is well, each time while it is low.
    fn look(&mut self) -> Result<(), Trouble> {
        if self.looked >= self.look_after && self.limits.min_free > 0 {
            let (free, all) = sys::free_space(&self.dir)?;
            let share = (u128::from(all) * u128::from(self.limits.min_free)).div_ceil(100);
            let least = u64::try_from(share).unwrap_or(u64::MAX).min(self.limits.min_free_most);
            let Some(rest) = free.checked_sub(least) else { return Err(Trouble::Low(least)) };
            // Others write, too.
            self.look_after = (rest / 4).min(LOOK_EVERY);
            self.looked = 0;
        }
        Ok(())
    }

    /// Opens the current file. A last line that a killed keeper left unfinished is ended.
    fn ensure_file(&mut self) -> Result<(), Trouble> {
        if self.file.is_some() {
            return Ok(());
        }
        let mut file = File::from(sys::open_append(&self.dir, &file_name(self.number))?);
        let mut size = file.metadata()?.len();
        let mut last = [b'\n'];
        if let Some(at) = size.checked_sub(1) {
            file.read_exact_at(&mut last, at)?;
        }
        if last != [b'\n'] {
            size += file.write(b"\n")? as u64;
        }
        (self.file, self.size) = (Some(file), size);
        Ok(())
    }

    /// Goes on to the next file, and removes the oldest beyond the limit.
    fn rotate(&mut self) -> Result<(), Trouble> {
        let next = self.number.checked_add(1).ok_or(Trouble::Os(0))?;
        self.file = Some(File::from(sys::open_append(&self.dir, &file_name(next))?));
        (self.number, self.size, self.looked) = (next, 0, LOOK_EVERY);
        while self.number - self.oldest >= self.limits.files {
            // One that cannot be removed now is removed at the next rotation.
            if sys::remove(&self.dir, &file_name(self.oldest)).is_err() {
                break;
            }
            self.oldest += 1;
        }
        Ok(())
    }
}

/// The reason of a drop.
struct Why(Option<Trouble>);

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(trouble) => trouble.fmt(f),
            None => f.write_str("the disk is too slow"),
        }
    }
}

fn index(stream: Stream) -> usize {
    match stream {
        Stream::Stdout => 0,
        Stream::Stderr => 1,
    }
}

fn frame(out: &mut Vec<u8>, time: u64, word: &str, whole: bool) {
    out.extend_from_slice(&text::stamp(time));
    out.push(b' ');
    out.extend_from_slice(word.as_bytes());
    out.extend_from_slice(if whole { b" F " } else { b" P " });
}

/// How many bytes of the container's output are in a line of the file, with the line break that was its own.
fn content(line: &[u8]) -> usize {
    let partial = line.get(text::STAMP + 8) == Some(&b'P');
    if line.get(31..37) == Some(b"keeper") {
        0
    } else {
        line.len().saturating_sub(FRAME - usize::from(!partial))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Dir {
            let path = std::env::temp_dir().join(format!("knarr-log-{}-{name}", std::process::id()));
            let _ = std::fs::remove_dir_all(&path);
            std::fs::create_dir(&path).unwrap();
            Dir(path)
        }
        fn open(&self, size: u64, files: u32) -> Log {
            Log::open(&self.0, Limits { size, files, min_free: 0, min_free_most: 0 }, None).unwrap()
        }
        fn names(&self) -> Vec<String> {
            let all = std::fs::read_dir(&self.0).unwrap();
            let mut all: Vec<String> = all.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
            all.sort();
            all
        }
        fn read(&self, name: &str) -> String {
            std::fs::read_to_string(self.0.join(name)).unwrap()
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn give(log: &mut Log, stream: Stream, bytes: &[u8]) {
        for piece in bytes.chunks(CHUNK_MAX) {
            log.take(stream, |into| {
                into[..piece.len()].copy_from_slice(piece);
                Some((1_700_000_000_000_000_000, piece.len()))
            });
            log.write().unwrap();
        }
    }

    #[test]
    fn lines_are_as_the_cri_has_them() {
        let dir = Dir::new("cri");
        let mut log = dir.open(1 << 20, 2);
        give(&mut log, Stream::Stdout, b"one\n\ntw");
        give(&mut log, Stream::Stderr, b"err\n");
        give(&mut log, Stream::Stdout, b"o\nrest");
        assert!(!log.is_behind());
        log.finish().unwrap();
        let t = "2023-11-14T22:13:20.000000000Z";
        let want = format!(
            "{t} stdout F one\n{t} stdout F \n{t} stderr F err\n{t} stdout F two\n{t} stdout F rest\n"
        );
        assert_eq!(dir.read("00000001.log"), want);
        assert_eq!(dir.names(), ["00000001.log"]);
    }

    #[test]
    fn long_lines_are_cut_and_marked() {
        let dir = Dir::new("long");
        for (len, tags) in [
            (LINE_MAX - 1, "F"),
            (LINE_MAX, "F"),
            (LINE_MAX + 1, "PF"),
            (2 * LINE_MAX, "PF"),
            (5 * LINE_MAX + 7, "PPPPPF"),
        ] {
            let mut log = dir.open(1 << 30, 2);
            let mut bytes = vec![b'x'; len];
            bytes.push(b'\n');
            give(&mut log, Stream::Stdout, &bytes);
            log.finish().unwrap();
            let text = dir.read("00000001.log");
            let got: String = text.lines().map(|l| &l[38..39]).collect();
            assert_eq!(got, tags, "{len}");
            assert_eq!(text.lines().map(|l| l.len() - 40).sum::<usize>(), len);
            assert_eq!(text.as_bytes().split_inclusive(|b| *b == b'\n').map(content).sum::<usize>(), len + 1);
            std::fs::remove_file(dir.0.join("00000001.log")).unwrap();
        }
    }

    #[test]
    fn files_go_on_by_number_and_the_oldest_goes() {
        let dir = Dir::new("rotate");
        std::fs::write(dir.0.join("other.txt"), "stays").unwrap();
        let mut log = dir.open(1000, 3);
        for n in 0..100 {
            give(&mut log, Stream::Stdout, format!("line {n:04}\n").as_bytes());
        }
        // 50 bytes a line, 20 lines a file.
        assert_eq!(dir.names(), ["00000003.log", "00000004.log", "00000005.log", "other.txt"]);
        assert_eq!(dir.read("00000005.log").len(), 1000);
        assert!(dir.read("00000003.log").contains("line 0040\n"));
        drop(log);
        // The next keeper goes on in the same file, which is full, with fewer files to keep.
        let mut log = dir.open(1000, 1);
        give(&mut log, Stream::Stdout, b"next\n");
        assert_eq!((log.number(), dir.names()), (6, vec!["00000006.log".into(), "other.txt".into()]));
    }

    #[test]
    fn a_torn_last_line_is_ended() {
        let dir = Dir::new("torn");
        std::fs::write(dir.0.join("00000007.log"), "2023-11-14T22:13:20.000000000Z stdout F to").unwrap();
        let mut log = dir.open(1 << 20, 2);
        give(&mut log, Stream::Stdout, b"new\n");
        let t = "2023-11-14T22:13:20.000000000Z";
        assert_eq!(dir.read("00000007.log"), format!("{t} stdout F to\n{t} stdout F new\n"));
    }

    #[test]
    fn a_gap_is_told_in_its_place() {
        let dir = Dir::new("gap");
        let mut log = dir.open(1 << 20, 2);
        give(&mut log, Stream::Stdout, b"before\nbeg");
        log.add_dropped(Stream::Stdout, 123);
        assert!(log.is_behind());
        give(&mut log, Stream::Stdout, b"after\n");
        let text = dir.read("00000001.log");
        let words: Vec<&str> = text.lines().map(|l| &l[31..]).collect();
        assert_eq!(
            words,
            [
                "stdout F before",
                "stdout F beg",
                "keeper F 123 bytes dropped: stdout: the disk is too slow",
                "stdout F after"
            ]
        );
    }

    #[test]
    fn what_is_given_up_is_counted_to_the_byte() {
        let dir = Dir::new("low");
        // Nothing has 100 % free and more.
        let limits = Limits { size: 1 << 20, files: 2, min_free: 101, min_free_most: u64::MAX };
        let mut log = Log::open(&dir.0, limits, None).unwrap();
        let bytes = [&[b'x'; 3000][..], b"\n", &[b'y'; 500]].concat();
        log.take(Stream::Stderr, |into| {
            into[..bytes.len()].copy_from_slice(&bytes);
            Some((0, bytes.len()))
        });
        assert!(matches!(log.write(), Err(Trouble::Low(_))));
        assert!(log.is_behind());
        assert_eq!(log.give_up(), bytes.len() as u64);
        assert!(!log.is_behind());
        assert_eq!(dir.read("00000001.log"), "");
        assert_eq!(Trouble::Low(10 << 20).to_string(), "less than 10240 KiB of the file system are free");
    }

    #[test]
    fn names_of_log_files() {
        assert_eq!(file_name(1), "00000001.log");
        assert_eq!(file_number("00000012.log"), Some(12));
        assert_eq!(file_number("123456789.log"), Some(123_456_789));
        for name in ["1.log", "00000000.log", "0000000x.log", "00000001", "+0000001.log", "00000001.log.gz"] {
            assert_eq!(file_number(name), None, "{name}");
        }
    }
}
