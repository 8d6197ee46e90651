//! Reads a journal's file, whatever is in it: every whole line counts, in order, and what was not whole is counted. Touches
//! the given reader alone.
#![forbid(unsafe_code)]

use std::io::{self, BufRead};

use super::frame::{self, Found, Line};
use super::record::Image;

/// What was in a file.
#[derive(Debug, Default)]
pub(super) struct Recovered {
    /// What follows from all whole lines.
    pub image: Image,
    /// Event numbers below it may have been given.
    pub reserved: u64,
    /// Bytes up to the end of the last whole line.
    pub end: u64,
    /// Bytes behind it.
    pub tail: u64,
    /// Bytes that are no whole lines and have whole ones behind them.
    pub damaged: u64,
    /// Whole lines that this program has no word for.
    pub unknown: u64,
    /// The medium failed while it was read; what came before counts.
    pub unreadable: Option<io::Error>,
    /// The version of the file, when its first line could be read.
    pub version: Option<u32>,
}

/// Reads to the end.
pub(super) fn read(mut from: impl BufRead) -> Recovered {
    let mut r = Recovered::default();
    let mut chunk = Vec::new();
    // `tail` holds what is not whole until a whole line behind it shows that it is damage and not the end.
    loop {
        chunk.clear();
        match from.read_until(b'\n', &mut chunk) {
            Ok(0) => return r,
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => {
                r.tail += chunk.len() as u64;
                r.unreadable = Some(e);
                return r;
            }
        }
        let mut rest = &chunk[..];
        while !rest.is_empty() {
            let size = match frame::take(rest) {
                Found::Line(line, size) => {
                    r.line(line);
                    size
                }
                Found::Unknown(size) => {
                    r.unknown += 1;
                    size
                }
                Found::Bad => {
                    r.tail += rest.len() as u64;
                    break;
                }
            };
            r.damaged += r.tail;
            r.end += r.tail + size as u64;
            r.tail = 0;
            if rest[size - 1] != b'\n' {
                r.damaged += 1;
            }
            rest = &rest[size..];
        }
    }
}

impl Recovered {
    fn line(&mut self, line: Line) {
        match line {
            Line::Head(head) => {
                self.version = self.version.max(Some(head.version));
                self.reserved = self.reserved.max(head.reserved);
            }
            Line::Reserved(below) => self.reserved = self.reserved.max(below),
            Line::Instance(instance, kept) => {
                self.image.instances.insert(instance, *kept);
            }
            Line::Held(service) => {
                self.image.held.insert(service, true);
            }
            Line::Retired(Some(instance), last) => self.image.retire(instance, last),
            Line::Retired(None, last) => {
                self.image.highest_forgotten = self.image.highest_forgotten.max(last);
            }
            Line::Event(event) => self.image.event(event),
            Line::Record(record) => self.image.apply(&record),
        }
    }
}
