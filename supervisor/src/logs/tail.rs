//! Where reading begins: so many lines from the end, or at a time. Reads the files in blocks, never a whole one.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use jiff::Timestamp;

use super::line::Parts;

/// Bytes read at once.
const BLOCK: u64 = 64 << 10;
/// Within so many bytes of a line everything stands that comes before its text.
const HEADER: usize = 64;

/// A place in the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// The file.
    pub number: u64,
    /// The byte in it.
    pub offset: u64,
}

/// Where the last `lines` lines begin. The parts of a long line count as one.
pub(super) fn last_lines(dir: &Path, numbers: &[u64], lines: usize) -> io::Result<Option<Place>> {
    let mut wanted = Wanted { lines, place: None };
    for number in numbers.iter().rev() {
        let file = match File::open(super::file(dir, *number)) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(e),
        };
        if wanted.in_file(&file, *number)? {
            break;
        }
    }
    Ok(wanted.place)
}

struct Wanted {
    /// Still to be found.
    lines: usize,
    /// Where the ones found so far begin.
    place: Option<Place>,
}

impl Wanted {
    /// Goes through a file from its end; whether all have been found.
    fn in_file(&mut self, file: &File, number: u64) -> io::Result<bool> {
        let size = file.metadata()?.len();
        let newest = self.place.is_none();
        if newest {
            self.place = Some(Place { number, offset: 0 });
        }
        let mut block = Vec::new();
        // The end of the last line that ends.
        let mut end = size;
        let mut carry: Vec<u8> = Vec::new();
        let mut seen_end = false;
        while end > 0 {
            let start = end.saturating_sub(BLOCK);
            block.resize(usize::try_from(end - start).unwrap_or(0), 0);
            file.read_exact_at(&mut block, start)?;
            let len = block.len();
            block.extend_from_slice(&carry);
            for i in (0..len).rev().filter(|i| block[*i] == b'\n') {
                let next = start + i as u64 + 1;
                if !seen_end {
                    seen_end = true;
                    if newest {
                        self.place = Some(Place { number, offset: next });
                    }
                    if next == size {
                        if self.lines == 0 {
                            return Ok(true);
                        }
                        continue;
                    }
                }
                if self.line(number, next, &block[i + 1..]) {
                    return Ok(true);
                }
            }
            carry = block[..len.min(HEADER)].to_vec();
            end = start;
        }
        if size > 0 && self.line(number, 0, &carry) {
            return Ok(true);
        }
        Ok(false)
    }

    /// A line begins here, with these bytes. Whether it is before the first one that is wanted.
    fn line(&mut self, number: u64, offset: u64, bytes: &[u8]) -> bool {
        let header = bytes.split(|b| *b == b'\n').next().unwrap_or_default();
        let partial = Parts::of(header).is_some_and(|p| p.partial);
        if !partial {
            if self.lines == 0 {
                return true;
            }
            self.lines -= 1;
        }
        self.place = Some(Place { number, offset });
        false
    }
}

/// The first file that can have a line of `since` or later, by the first lines of the files. Clocks can be set back, so a
/// file is left out only when the one behind it, and all before that, begin earlier.
pub(super) fn first_file(dir: &Path, numbers: &[u64], since: Timestamp) -> io::Result<Option<u64>> {
    let mut first = None;
    for number in numbers {
        match first_stamp(dir, *number) {
            Ok(Some(at)) if at > since => return Ok(first.or(Some(*number))),
            Ok(Some(_)) => first = Some(*number),
            Ok(None) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
    }
    Ok(first.or(numbers.first().copied()))
}

/// The time of a file's first line.
fn first_stamp(dir: &Path, number: u64) -> io::Result<Option<Timestamp>> {
    let mut header = [0; HEADER];
    let n = File::open(super::file(dir, number))?.read_at(&mut header, 0)?;
    let line = header[..n].split(|b| *b == b'\n').next().unwrap_or_default();
    Ok(super::LogLine::parse(line).at)
}
