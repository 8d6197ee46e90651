//! The strict half of reading: one pass over the bytes that refuses every document two parsers could understand
//! differently, and every value of the wrong kind, with its place. Pure; may use std, `error`, `at`, `shape`.

use super::at::{At, Warning};
use super::shape::Shape;
use crate::error::{Code, Error, Result, quoted};
use std::borrow::Cow;

/// Arrays and objects inside each other. Real documents reach ten; the limit keeps the stack small.
pub const MAX_DEPTH: usize = 64;

/// Values in one document, of every kind together. A config.json with a thousand mounts has ten thousand; the
/// limit keeps the memory of a document that is all `{},{},{}` within some forty megabytes.
pub const MAX_VALUES: usize = 1 << 18;

/// Remarks about unknown keys kept from one document; the rest would only repeat the story.
const MAX_WARNINGS: usize = 32;

/// Checks `bytes` against JSON (RFC 8259) and `shape`, and gives them back as text.
///
/// Beyond plain JSON: UTF-8 without a byte order mark, an object at the top, nothing after it, no key twice, no
/// NUL and no lone surrogate in a string, `null` only where a field may be absent. Keys that `shape` does not
/// have become warnings, because the runtime-spec says that unknown properties must not be an error.
pub fn scan<'a>(bytes: &'a [u8], shape: &'static Shape) -> Result<(&'a str, Vec<Warning>)> {
    let text = utf8(bytes)?;
    let mut scan = Scan { text, pos: 0, values: 0, warnings: Vec::new() };
    let top = At::Base("");
    match scan.peek() {
        None => return Err(Error::new(Code::Spec, "empty document, want a JSON object")),
        Some(b'{') => scan.value(&top, shape, false, 0)?,
        Some(_) => {
            let got = scan.describe();
            return Err(Error::new(Code::Spec, format!("the document must be an object, got {got}")));
        }
    }
    match scan.peek() {
        None => Ok((text, scan.warnings)),
        Some(_) => {
            Err(Error::new(Code::Spec, format!("data after the document at {}", line_column(text, scan.pos))))
        }
    }
}

fn utf8(bytes: &[u8]) -> Result<&str> {
    let wrong = |text: String| Err(Error::new(Code::Spec, text));
    match bytes {
        [0xef, 0xbb, 0xbf, ..] => {
            return wrong("starts with a byte order mark, want plain UTF-8 JSON".into());
        }
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, _, ..] | [_, 0, ..] => {
            return wrong("not UTF-8 JSON (it looks like UTF-16 or binary data)".into());
        }
        _ => {}
    }
    std::str::from_utf8(bytes).or_else(|e| {
        let (good, _) = bytes.split_at(e.valid_up_to());
        let place = line_column(&String::from_utf8_lossy(good), good.len());
        wrong(format!("not UTF-8: invalid byte at {place}"))
    })
}

/// `line L column C` of a byte offset, both from 1; columns count characters.
fn line_column(text: &str, pos: usize) -> String {
    let before = text.get(..pos).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    format!("line {line} column {column}")
}

struct Scan<'a> {
    text: &'a str,
    pos: usize,
    values: usize,
    warnings: Vec<Warning>,
}

impl<'a> Scan<'a> {
    /// Skips white space; the byte there is not consumed.
    fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while let Some(b) = bytes.get(self.pos) {
            match b {
                b' ' | b'\n' | b'\r' | b'\t' => self.pos += 1,
                other => return Some(*other),
            }
        }
        None
    }

    /// The byte `ahead` of here, white space included.
    fn byte(&self, ahead: usize) -> Option<u8> {
        self.text.as_bytes().get(self.pos + ahead).copied()
    }

    /// What the next value is, in words, for messages.
    fn describe(&mut self) -> String {
        match self.peek() {
            None => "nothing".into(),
            Some(b'{') => "an object".into(),
            Some(b'[') => "an array".into(),
            Some(b'"') => match self.string(&At::Base("")) {
                Ok((raw, _)) => format!("the string {}", quoted(raw)),
                Err(_) => "a broken string".into(),
            },
            Some(_) => {
                let rest = self.text.get(self.pos..).unwrap_or("");
                let end = rest.find([',', ']', '}', ':', ' ', '\t', '\r', '\n']).unwrap_or(rest.len());
                short(rest.get(..end).unwrap_or(""))
            }
        }
    }

    fn syntax(&self, at: &At<'_>, text: &str) -> Error {
        if self.pos >= self.text.len() {
            at.error(format!("unexpected end of the document at {}", line_column(self.text, self.text.len())))
        } else {
            at.error(format!("{text} at {}", line_column(self.text, self.pos)))
        }
    }

    fn wrong_type(&mut self, at: &At<'_>, shape: &Shape) -> Error {
        at.error(format!("wrong type: got {}, want {}", self.describe(), shape.want()))
    }

    /// One value. `nullable` is true for the fields of an object, where `null` means absent, as in Go.
    fn value(&mut self, at: &At<'_>, shape: &'static Shape, nullable: bool, depth: usize) -> Result<()> {
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(at.error(format!("more than {MAX_VALUES} values in one document")));
        }
        let Some(first) = self.peek() else { return Err(self.syntax(at, "")) };
        if matches!(first, b'{' | b'[') && depth >= MAX_DEPTH {
            return Err(self.syntax(at, &format!("nested deeper than {MAX_DEPTH} levels")));
        }
        match (first, shape) {
            (b'{', Shape::Object(fields)) => self.object(at, fields, depth + 1),
            (b'{', Shape::Map(inner)) => self.map(at, inner, false, depth + 1),
            (b'{', Shape::Any) => self.map(at, &Shape::Any, true, depth + 1),
            (b'[', Shape::List(inner)) => self.list(at, inner, false, depth + 1),
            (b'[', Shape::Any) => self.list(at, &Shape::Any, true, depth + 1),
            (b'"', Shape::Text | Shape::Any) => self.string(at).map(drop),
            (b'-' | b'0'..=b'9', Shape::Int(min, max)) => self.integer(at, *min, *max),
            (b'-' | b'0'..=b'9', Shape::Any) => self.float(at),
            (b't', Shape::Bool | Shape::Any) => self.word(at, "true"),
            (b'f', Shape::Bool | Shape::Any) => self.word(at, "false"),
            (b'n', _) if nullable => self.word(at, "null"),
            (b'{' | b'[' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n', _) => {
                Err(self.wrong_type(at, shape))
            }
            _ => Err(self.syntax(at, &format!("{} is not JSON", self.describe_char()))),
        }
    }

    fn describe_char(&self) -> String {
        let next = self.text.get(self.pos..).and_then(|rest| rest.chars().next());
        next.map_or("nothing".into(), |c| quoted(c.encode_utf8(&mut [0; 4])))
    }

    fn word(&mut self, at: &At<'_>, word: &str) -> Result<()> {
        for want in word.bytes() {
            if self.byte(0) != Some(want) {
                return Err(self.syntax(at, &format!("{} is not JSON", self.describe_char())));
            }
            self.pos += 1;
        }
        Ok(())
    }

    /// An object whose keys are fields; a bit a field tells a second one.
    fn object(
        &mut self,
        at: &At<'_>,
        fields: &'static [(&'static str, &'static Shape)],
        depth: usize,
    ) -> Result<()> {
        let mut seen = 0u64;
        let mut unknown = Vec::new();
        let mut more = self.open(b'}');
        while more {
            let key = self.member(at)?;
            match fields.iter().enumerate().find(|(_, field)| field.0 == key) {
                Some((index, (name, shape))) => {
                    let here = at.key(name);
                    if seen & (1 << index) != 0 {
                        return Err(duplicate(&here));
                    }
                    seen |= 1 << index;
                    self.value(&here, shape, true, depth)?;
                }
                None => {
                    self.unknown(at, &key, fields);
                    self.value(&at.key(&key), &Shape::Any, true, depth)?;
                    unknown.push(key);
                }
            }
            more = self.next(at, b'}')?;
        }
        distinct(at, unknown)
    }

    /// An object whose keys are data.
    fn map(&mut self, at: &At<'_>, inner: &'static Shape, nullable: bool, depth: usize) -> Result<()> {
        let mut keys = Vec::new();
        let mut more = self.open(b'}');
        while more {
            let key = self.member(at)?;
            self.value(&at.key(&key), inner, nullable, depth)?;
            keys.push(key);
            more = self.next(at, b'}')?;
        }
        distinct(at, keys)
    }

    fn list(&mut self, at: &At<'_>, inner: &'static Shape, nullable: bool, depth: usize) -> Result<()> {
        let mut index = 0;
        let mut more = self.open(b']');
        while more {
            self.value(&at.item(index), inner, nullable, depth)?;
            index += 1;
            more = self.next(at, b']')?;
        }
        Ok(())
    }

    /// Steps over the opening bracket; false when the closing one follows at once.
    fn open(&mut self, close: u8) -> bool {
        self.pos += 1;
        let empty = self.peek() == Some(close);
        self.pos += usize::from(empty);
        !empty
    }

    /// After an element: true when another one follows, false after the closing bracket.
    fn next(&mut self, at: &At<'_>, close: u8) -> Result<bool> {
        let more = match self.peek() {
            Some(b',') => true,
            Some(b) if b == close => false,
            _ => {
                let text = format!(
                    "{}, want a comma or {}",
                    self.describe_char(),
                    quoted(&(close as char).to_string())
                );
                return Err(self.syntax(at, &text));
            }
        };
        self.pos += 1;
        Ok(more)
    }

    /// A key and the colon after it.
    fn member(&mut self, at: &At<'_>) -> Result<Cow<'a, str>> {
        if self.peek() != Some(b'"') {
            return Err(self.syntax(at, &format!("{}, want a key in double quotes", self.describe_char())));
        }
        let (raw, escaped) = self.string(at)?;
        let key = if escaped { Cow::Owned(unescape(at, raw)?) } else { Cow::Borrowed(raw) };
        if self.peek() != Some(b':') {
            return Err(self.syntax(&at.key(&key), &format!("{}, want a colon", self.describe_char())));
        }
        self.pos += 1;
        Ok(key)
    }

    /// A string: what stands between the quotes, and whether it holds escapes.
    fn string(&mut self, at: &At<'_>) -> Result<(&'a str, bool)> {
        self.pos += 1;
        let start = self.pos;
        let mut escaped = false;
        loop {
            match self.byte(0) {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    self.escape(at)?;
                }
                Some(0..=0x1f) => return Err(self.syntax(at, "unescaped control character in a string")),
                Some(_) => self.pos += 1,
                None => return Err(self.syntax(at, "")),
            }
        }
        let raw = self.text.get(start..self.pos).unwrap_or("");
        self.pos += 1;
        Ok((raw, escaped))
    }

    fn escape(&mut self, at: &At<'_>) -> Result<()> {
        match self.byte(1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.pos += 2,
            Some(b'u') => match self.hex(at, 0)? {
                0 => return Err(self.syntax(at, "NUL character in a string, not allowed anywhere")),
                0xd800..=0xdbff => {
                    let pair = self.byte(6) == Some(b'\\') && self.byte(7) == Some(b'u');
                    if !pair || !(0xdc00..=0xdfff).contains(&self.hex(at, 6)?) {
                        return Err(self.syntax(at, "lone surrogate in a string"));
                    }
                    self.pos += 12;
                }
                0xdc00..=0xdfff => return Err(self.syntax(at, "lone surrogate in a string")),
                _ => self.pos += 6,
            },
            Some(_) => return Err(self.syntax(at, "unknown escape in a string")),
            None => {
                self.pos += 1;
                return Err(self.syntax(at, ""));
            }
        }
        Ok(())
    }

    /// The four hexadecimal digits of the `\u` that stands `ahead` of here.
    fn hex(&mut self, at: &At<'_>, ahead: usize) -> Result<u32> {
        let mut value = 0;
        for i in ahead + 2..ahead + 6 {
            let Some(byte) = self.byte(i) else {
                self.pos = self.text.len();
                return Err(self.syntax(at, ""));
            };
            let Some(digit) = (byte as char).to_digit(16) else {
                return Err(self.syntax(at, "unknown escape in a string"));
            };
            value = value * 16 + digit;
        }
        Ok(value)
    }

    /// A number by the grammar of RFC 8259; the token and whether it is whole.
    fn number(&mut self, at: &At<'_>) -> Result<(&'a str, bool)> {
        let start = self.pos;
        self.pos += usize::from(self.byte(0) == Some(b'-'));
        if self.byte(0) == Some(b'0') {
            self.pos += 1;
        } else {
            self.digits(at)?;
        }
        let mut whole = true;
        if self.byte(0) == Some(b'.') {
            whole = false;
            self.pos += 1;
            self.digits(at)?;
        }
        if matches!(self.byte(0), Some(b'e' | b'E')) {
            whole = false;
            self.pos += 1;
            self.pos += usize::from(matches!(self.byte(0), Some(b'+' | b'-')));
            self.digits(at)?;
        }
        Ok((self.text.get(start..self.pos).unwrap_or(""), whole))
    }

    fn digits(&mut self, at: &At<'_>) -> Result<()> {
        if !matches!(self.byte(0), Some(b'0'..=b'9')) {
            return Err(self.syntax(at, &format!("{} in a number is not JSON", self.describe_char())));
        }
        while matches!(self.byte(0), Some(b'0'..=b'9')) {
            self.pos += 1;
        }
        Ok(())
    }

    fn integer(&mut self, at: &At<'_>, min: i128, max: i128) -> Result<()> {
        let (token, whole) = self.number(at)?;
        let want = || Shape::Int(min, max).want();
        // A fraction, an exponent and minus zero are refused by the typed parser too, whatever their value.
        if !whole || token == "-0" {
            return Err(at.error(format!("not a whole number: got {}, want {}", short(token), want())));
        }
        match token.parse::<i128>() {
            Ok(n) if (min..=max).contains(&n) => Ok(()),
            _ => Err(at.error(format!("out of range: got {}, want {}", short(token), want()))),
        }
    }

    /// A number nobody uses must still be one that a float can hold, or other readers would refuse it.
    fn float(&mut self, at: &At<'_>) -> Result<()> {
        let (token, _) = self.number(at)?;
        match token.parse::<f64>() {
            Ok(n) if n.is_finite() => Ok(()),
            _ => Err(at.error(format!("out of range: got {}, want a number below 1e308", short(token)))),
        }
    }

    fn unknown(&mut self, at: &At<'_>, key: &str, fields: &[(&'static str, &'static Shape)]) {
        if self.warnings.len() >= MAX_WARNINGS {
            return;
        }
        let text = match fields.iter().find(|field| field.0.eq_ignore_ascii_case(key)) {
            Some((name, _)) => {
                format!("unknown key, ignored (keys are case-sensitive: write {})", quoted(name))
            }
            None => "unknown key, ignored".into(),
        };
        self.warnings.push(at.key(key).warning(text));
    }
}

/// The beginning of a token, for messages.
fn short(token: &str) -> String {
    token.chars().take(40).collect()
}

fn duplicate(at: &At<'_>) -> Error {
    at.error("duplicate key: parsers disagree on which of the two counts, so neither does")
}

/// Refuses equal keys. A handful is compared in pairs, more are sorted.
fn distinct(at: &At<'_>, mut keys: Vec<Cow<'_, str>>) -> Result<()> {
    if keys.len() > 16 {
        keys.sort_unstable();
        return match keys.iter().zip(keys.iter().skip(1)).find(|(one, next)| one == next) {
            Some((twice, _)) => Err(duplicate(&at.key(twice))),
            None => Ok(()),
        };
    }
    for (i, key) in keys.iter().enumerate() {
        if keys.iter().take(i).any(|other| other == key) {
            return Err(duplicate(&at.key(key)));
        }
    }
    Ok(())
}

/// A scanned string with its escapes resolved.
fn unescape(at: &At<'_>, raw: &str) -> Result<String> {
    serde_json::from_str(&format!("\"{raw}\""))
        .map_err(|e| at.error(format!("broken key {}: {e}", quoted(raw))))
}
