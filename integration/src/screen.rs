//! A terminal as a person sees it: what a program has sent (ECMA-48, and the private modes of xterm that full-screen programs
//! use) becomes lines of characters.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::os;

/// What is on a screen now.
#[derive(Debug, Clone)]
pub struct Screen {
    columns: usize,
    cells: Vec<Vec<char>>,
    /// Row and column of the cursor, from 0.
    at: (usize, usize),
    /// Bytes of a sequence or a character that is not there as a whole.
    rest: Vec<u8>,
    /// The screen beside the one with the scrollback.
    pub alternate: bool,
    /// The cursor is shown.
    pub cursor: bool,
    /// How often a colour was set.
    pub colors: usize,
    /// How often all of it was cleared.
    pub cleared: usize,
}

impl Screen {
    /// An empty one.
    pub fn new(rows: u16, columns: u16) -> Screen {
        let columns = usize::from(columns);
        Screen {
            columns,
            cells: vec![vec![' '; columns]; usize::from(rows)],
            at: (0, 0),
            rest: Vec::new(),
            alternate: false,
            cursor: true,
            colors: 0,
            cleared: 0,
        }
    }

    /// The person makes its window larger or smaller.
    pub fn resize(&mut self, rows: u16, columns: u16) {
        self.columns = usize::from(columns);
        self.cells.resize(usize::from(rows), Vec::new());
        self.cells.iter_mut().for_each(|row| row.resize(usize::from(columns), ' '));
    }

    /// Its lines without blanks at their ends.
    pub fn lines(&self) -> Vec<String> {
        self.cells.iter().map(|row| row.iter().collect::<String>().trim_end().to_owned()).collect()
    }

    /// Whether a text is in one of its lines.
    pub fn shows(&self, text: &str) -> bool {
        self.lines().iter().any(|line| line.contains(text))
    }

    /// The program has sent these bytes.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<()> {
        self.rest.extend_from_slice(bytes);
        let all = std::mem::take(&mut self.rest);
        let mut from = 0;
        while from < all.len() {
            match self.one(&all[from..])? {
                0 => break,
                used => from += used,
            }
        }
        self.rest = all[from..].to_vec();
        Ok(())
    }

    /// The first character or sequence; of how many bytes it is, 0 when its end is missing.
    fn one(&mut self, bytes: &[u8]) -> Result<usize> {
        match bytes[0] {
            0x1b => return self.sequence(bytes),
            b'\r' => self.at.1 = 0,
            b'\n' => self.at.0 += 1,
            first => {
                let length = match first {
                    0xc0..0xe0 => 2,
                    0xe0..0xf0 => 3,
                    0xf0.. => 4,
                    _ => 1,
                };
                let Some(whole) = bytes.get(..length) else { return Ok(0) };
                let text = std::str::from_utf8(whole).context("not UTF-8")?;
                self.put(text.chars().next().unwrap_or(' '));
                return Ok(length);
            }
        }
        Ok(1)
    }

    fn put(&mut self, c: char) {
        let (row, column) = self.at;
        if let Some(cell) = self.cells.get_mut(row).and_then(|r| r.get_mut(column)) {
            *cell = c;
        }
        self.at.1 += 1;
    }

    fn sequence(&mut self, bytes: &[u8]) -> Result<usize> {
        let Some(kind) = bytes.get(1) else { return Ok(0) };
        ensure!(*kind == b'[', "an escape sequence that is none of this terminal: {kind:#x}");
        let Some(end) = bytes.iter().skip(2).position(|b| (0x40..0x7f).contains(b)).map(|n| n + 2) else {
            return Ok(0);
        };
        let text = std::str::from_utf8(&bytes[2..end])?;
        let number = |n: usize| text.split(';').nth(n).and_then(|t| t.parse::<usize>().ok());
        match (text, bytes[end]) {
            ("?1049", last) => self.alternate = last == b'h',
            ("?25", last) => self.cursor = last == b'h',
            (_, b'H') => {
                self.at = (number(0).unwrap_or(1).max(1) - 1, number(1).unwrap_or(1).max(1) - 1);
            }
            ("2", b'J') => {
                self.cleared += 1;
                self.cells.iter_mut().for_each(|row| row.fill(' '));
            }
            (_, b'm') => {
                let color = |t: &&str| {
                    t.parse::<u32>().is_ok_and(|n| (30..50).contains(&n) || (90..108).contains(&n))
                };
                self.colors += text.split(';').filter(color).count();
            }
            other => anyhow::bail!("a sequence that is none of this terminal: {other:?}"),
        }
        Ok(end + 1)
    }

    /// Reads what comes until the screen is as wanted.
    pub fn until(
        &mut self,
        master: &OwnedFd,
        seconds: u64,
        what: &str,
        fits: impl Fn(&Screen) -> bool,
    ) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(seconds);
        while !fits(self) {
            ensure!(Instant::now() < deadline, "never on the screen: {what}\n{}", self.lines().join("\n"));
            let read = self.read(master).with_context(|| format!("waiting for {what}"))?;
            ensure!(read, "the program ended before {what}\n{}", self.lines().join("\n"));
        }
        Ok(())
    }

    /// Reads what is there; `false` = the other end is closed.
    fn read(&mut self, master: &OwnedFd) -> Result<bool> {
        os::reap_orphans();
        ensure!(!os::asked_to_end(), "asked to end");
        if !os::readable(master.as_fd(), Duration::from_millis(50))? {
            return Ok(true);
        }
        let mut bytes = [0; 4096];
        match rustix::io::read(master, &mut bytes) {
            // EIO: the last slave of a terminal was closed, which is its end of file.
            Ok(0) | Err(rustix::io::Errno::IO) => Ok(false),
            Ok(n) => self.feed(&bytes[..n]).map(|()| true),
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => Ok(true),
            Err(e) => Err(e).context("read"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_sees() {
        let mut screen = Screen::new(3, 10);
        screen.feed(b"\x1b[?1049h\x1b[?25l\x1b[2J\x1b[2;3H\x1b[0;1;31mhal").unwrap();
        screen.feed("lö\x1b[".as_bytes()).unwrap();
        screen.feed(b"0m\r\nx\xc3").unwrap();
        screen.feed(b"\xa4").unwrap();
        assert_eq!(screen.lines(), ["", "  hallö", "xä"]);
        assert_eq!((screen.alternate, screen.cursor, screen.colors, screen.cleared), (true, false, 1, 1));
        screen.feed(b"\x1b[?25h\x1b[?1049l\x1b[3;1Hmuch too long for it\x1b[9;9Hx").unwrap();
        assert_eq!((screen.alternate, screen.cursor, screen.shows("much too l")), (false, true, true));
        screen.resize(1, 4);
        assert_eq!(screen.lines(), [""]);
        assert!(screen.feed(b"\x1b]0;title\x07").is_err());
    }
}
