//! One line of the journal's file: kind, length, checksum, JSON. Pure: bytes in, bytes out.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

use super::record::{Event, Image, Kept, KeptSchedule, Record};
use crate::names::{Instance, ServiceName};

/// The version of the format that this program writes and the newest that it reads.
pub(super) const VERSION: u32 = 1;

/// `k llllllll cccccccc `, all of it ASCII: what stands before the JSON.
const PREFIX: usize = 20;

/// The first line of a file. Its own form never changes, so that any program can tell that a file is too new for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Head {
    /// [`VERSION`] of the program that wrote the file.
    pub version: u32,
    /// The same for people.
    pub program: String,
    /// No event has had this number or a higher one when the line was written.
    pub reserved: u64,
}

/// What a line can say.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Line {
    /// `h`
    Head(Head),
    /// `n`: events up to below this number may be given from here on.
    Reserved(u64),
    /// `i`: all of an instance, in the first part of a fresh file.
    Instance(Instance, Box<Kept>),
    /// `s`: a service stopped as a whole, in the first part of a fresh file.
    Held(ServiceName),
    /// `g`: the number of the last run of an instance that is gone, in the first part of a fresh file; without an instance
    /// that of all the others.
    Retired(Option<Instance>, u32),
    /// `v`: an event, the most frequent record, without the label that the others need.
    Event(Event),
    /// `r`: any other record.
    Record(Record),
}

/// What stands at the beginning of some bytes. One at a time, on the stack.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, PartialEq)]
pub(super) enum Found {
    /// A whole line of this many bytes, its end included.
    Line(Line, usize),
    /// A whole line with a right checksum that this program has no word for.
    Unknown(usize),
    /// Something else.
    Bad,
}

/// Adds a line to `out`.
fn put<T: Serialize + ?Sized>(out: &mut Vec<u8>, kind: u8, body: &T) {
    let start = out.len();
    out.extend_from_slice(&[b' '; PREFIX]);
    // Writing to memory cannot fail, and none of the types has a map with other keys than strings.
    if serde_json::to_writer(&mut *out, body).is_err() {
        out.truncate(start);
        return;
    }
    let json = &out[start + PREFIX..];
    let prefix = format!("{} {:08x} {:08x} ", char::from(kind), json.len(), checksum(kind, json));
    out[start..start + PREFIX].copy_from_slice(prefix.as_bytes());
    out.push(b'\n');
}

/// CRC-32 over the kind and the JSON.
fn checksum(kind: u8, json: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&[kind]);
    crc.update(json);
    crc.finalize()
}

/// Adds the line of a record.
pub(super) fn put_record(out: &mut Vec<u8>, record: &Record) {
    match record {
        Record::Event(event) => put(out, b'v', event),
        other => put(out, b'r', other),
    }
}

/// Adds the line that gives event numbers free.
pub(super) fn put_reserved(out: &mut Vec<u8>, below: u64) {
    put(out, b'n', &below);
}

/// Adds the first line of a file.
pub(super) fn put_head(out: &mut Vec<u8>, reserved: u64) {
    let head = Head { version: VERSION, program: env!("CARGO_PKG_VERSION").into(), reserved };
    put(out, b'h', &head);
}

/// Gives `sink` the lines of a whole image, with no more than the last `events` events, in pieces of some 64 KiB.
pub(super) fn put_image<E>(
    image: &Image,
    reserved: u64,
    events: usize,
    mut sink: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut out = Vec::with_capacity(80 << 10);
    let mut spill = |out: &mut Vec<u8>, at_least: usize| {
        if out.len() >= at_least {
            sink(out)?;
            out.clear();
        }
        Ok(())
    };
    put_head(&mut out, reserved);
    for line in &image.instances {
        put(&mut out, b'i', &line);
        spill(&mut out, 64 << 10)?;
    }
    for (service, _) in image.held.iter().filter(|(_, held)| **held) {
        put(&mut out, b's', service);
        spill(&mut out, 64 << 10)?;
    }
    for (service, file) in &image.removals {
        put_record(&mut out, &Record::Remove { service: service.clone(), file: *file });
        spill(&mut out, 64 << 10)?;
    }
    for (service, updates) in &image.updates {
        let (service, updates) = (service.clone(), Box::new(updates.clone()));
        put_record(&mut out, &Record::Updates { service, updates });
        spill(&mut out, 64 << 10)?;
    }
    for (service, KeptSchedule { rule, base }) in &image.schedules {
        let (service, rule, base) = (service.clone(), rule.clone(), *base);
        put_record(&mut out, &Record::Schedule { service, rule, base });
        spill(&mut out, 64 << 10)?;
    }
    if image.highest_forgotten > 0 {
        put(&mut out, b'g', &(None::<&Instance>, image.highest_forgotten));
    }
    for line in &image.retired {
        put(&mut out, b'g', &line);
        spill(&mut out, 64 << 10)?;
    }
    for event in image.events.iter().skip(image.events.len().saturating_sub(events)) {
        put(&mut out, b'v', event);
        spill(&mut out, 64 << 10)?;
    }
    spill(&mut out, 0)
}

/// Reads what stands at the beginning of `bytes`. What is behind the line is not looked at.
pub(super) fn take(bytes: &[u8]) -> Found {
    let Some((kind, json, all)) = cut(bytes) else { return Found::Bad };
    let line = match kind {
        b'h' => serde_json::from_slice(json).map(Line::Head),
        b'n' => serde_json::from_slice(json).map(Line::Reserved),
        b'i' => serde_json::from_slice(json).map(|(name, kept)| Line::Instance(name, Box::new(kept))),
        b's' => serde_json::from_slice(json).map(Line::Held),
        b'g' => serde_json::from_slice(json).map(|(name, last)| Line::Retired(name, last)),
        b'v' => serde_json::from_slice(json).map(Line::Event),
        b'r' => serde_json::from_slice(json).map(Line::Record),
        _ => return Found::Unknown(all),
    };
    line.map_or(Found::Unknown(all), |line| Found::Line(line, all))
}

/// Kind, JSON and length of a line whose checksum is right.
fn cut(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let prefix = bytes.get(..PREFIX)?;
    let kind = prefix[0];
    if [prefix[1], prefix[10], prefix[19]] != [b' '; 3] {
        return None;
    }
    let len = usize::try_from(hex(&prefix[2..10])?).ok()?;
    let end = PREFIX.checked_add(len)?;
    let json = bytes.get(PREFIX..end)?;
    // Without its end a line is not whole: the write that made it was cut there.
    bytes.get(end)?;
    (checksum(kind, json) == hex(&prefix[11..19])?).then_some((kind, json, end + 1))
}

fn hex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0u32, |n, d| Some(n << 4 | char::from(*d).to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Vec<u8> {
        let mut out = Vec::new();
        put_record(&mut out, &Record::Stopping { run: "web.1.7".parse().unwrap(), unwell: None });
        out
    }

    #[test]
    fn a_line_comes_back_and_is_text() {
        let bytes = line();
        assert!(bytes.starts_with(b"r 0000"), "{}", String::from_utf8_lossy(&bytes));
        let want = Line::Record(Record::Stopping { run: "web.1.7".parse().unwrap(), unwell: None });
        assert_eq!(take(&bytes), Found::Line(want, bytes.len()));
    }

    #[test]
    fn no_cut_and_no_flipped_bit_gives_another_line() {
        let bytes = line();
        for n in 0..bytes.len() {
            assert_eq!(take(&bytes[..n]), Found::Bad, "cut at {n}");
        }
        let whole = take(&bytes);
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut bad = bytes.clone();
                bad[at] ^= 1 << bit;
                // A hex digit in upper case says the same, and the end of the line is not part of it.
                let found = take(&bad);
                assert!(found == Found::Bad || found == whole, "bit {bit} of byte {at}: {found:?}");
            }
        }
    }

    #[test]
    fn what_is_not_known_is_not_bad() {
        let mut out = Vec::new();
        put(&mut out, b'z', &1);
        assert_eq!(take(&out), Found::Unknown(out.len()));
        out.clear();
        put(&mut out, b'r', &serde_json::json!({"record": "of-a-later-version"}));
        assert_eq!(take(&out), Found::Unknown(out.len()));
    }
}
