//! Keys of a person from the bytes of a terminal in raw mode (ECMA-48 and what xterm sends). Pure.
#![forbid(unsafe_code)]

/// One key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    /// A character that can be seen, or a blank.
    Char(char),
    Enter,
    Escape,
    Tab,
    Erase,
    Up,
    Down,
    Left,
    Right,
    PageUp,
    PageDown,
    Home,
    End,
    /// Ctrl-C.
    Interrupt,
    /// Ctrl-L.
    Redraw,
}

/// Puts bytes together to keys.
#[derive(Debug, Default)]
pub(super) struct Keys {
    rest: Vec<u8>,
}

impl Keys {
    /// What these bytes complete, in order.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Vec<Key> {
        self.rest.extend_from_slice(bytes);
        let mut keys = Vec::new();
        while let Some((key, used)) = next(&self.rest) {
            keys.extend(key);
            self.rest.drain(..used);
        }
        keys
    }

    /// Whether the beginning of a key is there, whose end should come at once.
    pub(super) fn waits(&self) -> bool {
        !self.rest.is_empty()
    }

    /// Nothing more came: the beginning of a sequence was the key Escape itself.
    pub(super) fn give_up(&mut self) -> Option<Key> {
        let escape = self.rest.first() == Some(&0x1b);
        self.rest.clear();
        escape.then_some(Key::Escape)
    }
}

/// The first key, and of how many bytes it is; a sequence that nobody knows is no key. `None` = more has to come.
fn next(bytes: &[u8]) -> Option<(Option<Key>, usize)> {
    match *bytes.first()? {
        0x1b => escaped(bytes),
        b'\r' | b'\n' => Some((Some(Key::Enter), 1)),
        b'\t' => Some((Some(Key::Tab), 1)),
        0x7f | 0x08 => Some((Some(Key::Erase), 1)),
        0x03 => Some((Some(Key::Interrupt), 1)),
        0x0c => Some((Some(Key::Redraw), 1)),
        0..0x20 => Some((None, 1)),
        first => {
            let length = match first {
                0xc0..0xe0 => 2,
                0xe0..0xf0 => 3,
                0xf0..0xf8 => 4,
                _ => 1,
            };
            let whole = bytes.get(..length)?;
            let char = std::str::from_utf8(whole).ok().and_then(|s| s.chars().next());
            Some((char.filter(|c| !c.is_control()).map(Key::Char), length))
        }
    }
}

/// `ESC [ ... final`, `ESC O final`, or Escape.
fn escaped(bytes: &[u8]) -> Option<(Option<Key>, usize)> {
    match *bytes.get(1)? {
        b'[' => {
            let end = bytes.iter().skip(2).position(|b| (0x40..0x7f).contains(b))? + 2;
            let key = match (bytes[end], &bytes[2..end]) {
                (b'~', b"1" | b"7") => Some(Key::Home),
                (b'~', b"4" | b"8") => Some(Key::End),
                (b'~', b"5") => Some(Key::PageUp),
                (b'~', b"6") => Some(Key::PageDown),
                (last, _) => arrow(last),
            };
            Some((key, end + 1))
        }
        b'O' => Some((arrow(*bytes.get(2)?), 3)),
        // A key for itself, and then the next one.
        _ => Some((Some(Key::Escape), 1)),
    }
}

fn arrow(last: u8) -> Option<Key> {
    Some(match last {
        b'A' => Key::Up,
        b'B' => Key::Down,
        b'C' => Key::Right,
        b'D' => Key::Left,
        b'H' => Key::Home,
        b'F' => Key::End,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_bytes() {
        let take = |bytes: &[u8]| Keys::default().take(bytes);
        assert_eq!(
            take(b"q/\r\x7f\t\x03"),
            [Key::Char('q'), Key::Char('/'), Key::Enter, Key::Erase, Key::Tab, Key::Interrupt]
        );
        assert_eq!(
            take(b"\x1b[A\x1bOB\x1b[5~\x1b[6~\x1b[1;5H\x1b[200~x"),
            [Key::Up, Key::Down, Key::PageUp, Key::PageDown, Key::Home, Key::Char('x')]
        );
        assert_eq!(take("ü€".as_bytes()), [Key::Char('ü'), Key::Char('€')]);
        assert_eq!(take(b"\xff\x01"), []);
    }

    #[test]
    fn a_sequence_may_come_in_pieces() {
        let mut keys = Keys::default();
        assert_eq!(keys.take(b"\x1b"), []);
        assert!(keys.waits());
        assert_eq!(keys.take(b"["), []);
        assert_eq!(keys.take(b"B"), [Key::Down]);
        assert!(!keys.waits());
        assert_eq!(keys.take(b"\x1b"), []);
        assert_eq!((keys.give_up(), keys.waits()), (Some(Key::Escape), false));
        assert_eq!(keys.take(b"\xe2\x82"), []);
        assert_eq!(keys.take(b"\xac"), [Key::Char('€')]);
    }
}
