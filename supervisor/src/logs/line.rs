//! One line of a log file: `2026-11-21T12:00:00.123456789Z stdout F text`. Pure: bytes in, a line out.
#![forbid(unsafe_code)]

use std::fmt;

use jiff::Timestamp;

/// Where a line comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Standard output, or the terminal.
    Stdout,
    /// Standard error.
    Stderr,
    /// The keeper's own words, such as how much was dropped.
    Keeper,
    /// Not a valid line of a log file: the bytes as they are.
    Raw,
    /// The reader's own words, such as how many files were gone before they were read. In no file.
    Reader,
}

impl Stream {
    /// As it is written in the files and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
            Stream::Keeper => "keeper",
            Stream::Raw => "raw",
            Stream::Reader => "reader",
        }
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// When the keeper read it; `None` = the line says none.
    pub at: Option<Timestamp>,
    /// Where it comes from.
    pub stream: Stream,
    /// It goes on in the next line of the same stream.
    pub partial: bool,
    /// What was written, without the end of the line; any bytes.
    pub text: Vec<u8>,
}

/// The parts of a line before anything is made of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Parts<'a> {
    pub at: &'a [u8],
    pub stream: Stream,
    pub partial: bool,
    pub text: &'a [u8],
}

impl<'a> Parts<'a> {
    /// Takes a line without its end apart; `None` = not one.
    pub(super) fn of(line: &'a [u8]) -> Option<Parts<'a>> {
        let (at, rest) = word(line)?;
        let (stream, rest) = word(rest)?;
        // An empty text may or may not be preceded by its space.
        let (tag, text) = word(rest).unwrap_or((rest, &[]));
        let stream = match stream {
            b"stdout" => Stream::Stdout,
            b"stderr" => Stream::Stderr,
            b"keeper" => Stream::Keeper,
            _ => return None,
        };
        let partial = match tag {
            b"P" => true,
            b"F" => false,
            _ => return None,
        };
        let dated = at.len() >= 20 && at.last() == Some(&b'Z') && at.get(10) == Some(&b'T');
        dated.then_some(Parts { at, stream, partial, text })
    }
}

impl LogLine {
    /// Reads a line of a file, without its end. What is not valid is given as [`Stream::Raw`].
    pub fn parse(line: &[u8]) -> LogLine {
        let parsed = Parts::of(line).and_then(|p| Some((p, std::str::from_utf8(p.at).ok()?.parse().ok()?)));
        match parsed {
            Some((p, at)) => {
                LogLine { at: Some(at), stream: p.stream, partial: p.partial, text: p.text.to_vec() }
            }
            None => LogLine { at: None, stream: Stream::Raw, partial: false, text: line.to_vec() },
        }
    }

    /// Something that the reader has to say.
    pub(super) fn words(text: String) -> LogLine {
        LogLine {
            at: Some(Timestamp::now()),
            stream: Stream::Reader,
            partial: false,
            text: text.into_bytes(),
        }
    }
}

fn word(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|b| *b == b' ')?;
    Some((&bytes[..at], &bytes[at + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_taken_apart() {
        let l = LogLine::parse(b"2026-11-21T12:00:00.123456789Z stderr P a b \xff ");
        assert_eq!(l.at.unwrap().to_string(), "2026-11-21T12:00:00.123456789Z");
        assert_eq!((l.stream, l.partial, &l.text[..]), (Stream::Stderr, true, &b"a b \xff "[..]));
        let l = LogLine::parse(b"2026-11-21T12:00:00Z keeper F ");
        assert_eq!((l.stream, l.partial, &l.text[..]), (Stream::Keeper, false, &b""[..]));
        assert_eq!(LogLine::parse(b"2026-11-21T12:00:00Z stdout F").text, b"");
    }

    #[test]
    fn anything_else_is_raw() {
        for bad in [
            &b""[..],
            b"x",
            b"2026-11-21T12:00:00Z",
            b"2026-11-21T12:00:00Z stdout",
            b"2026-11-21T12:00:00Z stdout X text",
            b"2026-11-21T12:00:00Z stdin F text",
            b"2026-13-21T12:00:00Z stdout F text",
            b"2026-11-21T12:00:00+01:00 stdout F text",
            b"12:00 stdout F text",
            b"\0\0\0\0",
            b"2026-11-21T12:00:0\xffZ stdout F text",
        ] {
            let l = LogLine::parse(bad);
            assert_eq!((l.stream, l.at, &l.text[..]), (Stream::Raw, None, bad));
        }
    }
}
