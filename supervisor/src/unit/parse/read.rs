//! A typed reader over a TOML document that collects every complaint with its place. Pure.

use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::value::{self, nearest};
use crate::api::model::Problem;
use crate::unit::keys;
use crate::unit::service::Signal;

/// More complaints than this about one file are not collected.
const PROBLEMS_MAX: usize = 100;
/// The longest list.
const LIST_MAX: usize = 1024;
/// How much of a wrong value is repeated.
const SHOWN_MAX: usize = 60;

/// Collects complaints about one text.
pub(super) struct Reader<'t> {
    file: String,
    text: &'t str,
    problems: Vec<Problem>,
    /// Patterns of the keys that were asked for: a test holds them against the list of keys.
    #[cfg(test)]
    pub(super) asked: std::collections::BTreeSet<String>,
}

impl<'t> Reader<'t> {
    pub(super) fn new(file: String, text: &'t str) -> Reader<'t> {
        Reader {
            file,
            text,
            problems: Vec::new(),
            #[cfg(test)]
            asked: std::collections::BTreeSet::new(),
        }
    }

    /// A complaint about a part of the text; `None` = about the whole file.
    pub(super) fn say(&mut self, at: Option<Range<usize>>, key: &str, message: impl Into<String>) {
        if self.problems.len() >= PROBLEMS_MAX {
            return;
        }
        let (line, column) = at.map_or((0, 0), |at| place(self.text, at.start));
        let message = message.into();
        self.problems.push(Problem { file: self.file.clone(), line, column, key: key.to_owned(), message });
    }

    /// All complaints, in the order of the text.
    pub(super) fn problems(mut self) -> Vec<Problem> {
        self.problems.sort_by_key(|p| (p.line, p.column));
        self.problems
    }
}

/// Line and column of a byte, both from 1, the column in characters.
pub(super) fn place(text: &str, at: usize) -> (u32, u32) {
    let before = text.get(..at.min(text.len())).unwrap_or(text);
    let start = before.rfind('\n').map_or(0, |n| n + 1);
    let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
    let column = before.get(start..).unwrap_or("").chars().count() + 1;
    (u32::try_from(line).unwrap_or(u32::MAX), u32::try_from(column).unwrap_or(u32::MAX))
}

/// A text of outside, short and on one line.
pub(super) fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{:?}...", text.get(..end).unwrap_or("")),
        None => format!("{text:?}"),
    }
}

/// Why a string with control characters is refused, if it is.
fn control(text: &str) -> Option<String> {
    let c = text.chars().find(|c| c.is_control())?;
    Some(format!("control character {c:?} in {}", shown(text)))
}

/// A table whose keys have been checked against the list of known keys.
#[derive(Clone)]
pub(super) struct Table<'d, 'i> {
    /// As a person writes it, `mounts[2]`; empty for the whole file.
    path: String,
    /// As the list of keys has it, `mounts[]`.
    pattern: String,
    /// Where its first letter is; `None` for the whole file.
    at: Option<Range<usize>>,
    entries: &'d DeTable<'i>,
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

impl<'d, 'i> Table<'d, 'i> {
    /// The whole file.
    pub(super) fn file(r: &mut Reader, entries: &'d DeTable<'i>) -> Table<'d, 'i> {
        let table = Table { path: String::new(), pattern: String::new(), at: None, entries };
        table.check(r);
        table
    }

    /// Complains about every key that is not known here.
    fn check(&self, r: &mut Reader) {
        let known: Vec<&str> = keys::within(&self.pattern).collect();
        for name in self.entries.keys() {
            let (at, name): (_, &str) = (name.span(), name.get_ref());
            if known.contains(&name) {
                continue;
            }
            let key = join(&self.path, &short(name));
            let top = !self.pattern.is_empty() && keys::within("").any(|k| k == name);
            let hint = if let Some(near) = nearest(name, known.iter().copied()) {
                format!("; did you mean {near:?}?")
            } else if top {
                format!("; {name:?} is a key of the file itself: put it above the first [table]")
            } else {
                format!("; known here are {}", known.join(", "))
            };
            r.say(Some(at), &key, format!("unknown key {}{hint}", shown(name)));
        }
    }

    /// The value of a key.
    pub(super) fn get(&self, r: &mut Reader, name: &str) -> Option<Value<'d, 'i>> {
        let pattern = join(&self.pattern, name);
        debug_assert!(keys::within(&self.pattern).any(|k| k == name), "{pattern} is not in the list of keys");
        #[cfg(test)]
        r.asked.insert(pattern.clone());
        let _ = r;
        let (_, value) = self.entries.iter().find(|(k, _)| *k.get_ref() == name)?;
        Some(Value::new(join(&self.path, name), pattern, value))
    }

    /// The value of a key that must be there.
    pub(super) fn need(&self, r: &mut Reader, name: &str) -> Option<Value<'d, 'i>> {
        let found = self.get(r, name);
        if found.is_none() {
            r.say(self.at.clone(), &join(&self.path, name), format!("missing key {name:?}"));
        }
        found
    }

    /// A complaint about the whole table.
    pub(super) fn say(&self, r: &mut Reader, name: &str, message: impl Into<String>) {
        r.say(self.at.clone(), &join(&self.path, name), message);
    }
}

/// A key of outside as part of a path.
fn short(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !name.is_empty() && name.chars().all(plain) && name.len() <= SHOWN_MAX {
        name.into()
    } else {
        shown(name)
    }
}

/// One value and where it is.
#[derive(Clone)]
pub(super) struct Value<'d, 'i> {
    pub(super) key: String,
    pattern: String,
    pub(super) at: Range<usize>,
    value: &'d DeValue<'i>,
}

impl<'d, 'i> Value<'d, 'i> {
    fn new(key: String, pattern: String, value: &'d Spanned<DeValue<'i>>) -> Value<'d, 'i> {
        Value { key, pattern, at: value.span(), value: value.get_ref() }
    }

    /// A complaint about this value.
    pub(super) fn say(&self, r: &mut Reader, message: impl Into<String>) {
        r.say(Some(self.at.clone()), &self.key, message);
    }

    fn wrong_type<T>(&self, r: &mut Reader, want: &str) -> Option<T> {
        let got = match self.value {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a decimal number",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.say(r, format!("wrong type, got {got}, want {want}"));
        None
    }

    fn or_say<T>(&self, r: &mut Reader, result: Result<T, String>) -> Option<T> {
        result.map_err(|e| self.say(r, e)).ok()
    }

    pub(super) fn is_string(&self) -> bool {
        self.value.is_str()
    }

    /// Whether it is this word.
    pub(super) fn is(&self, word: &str) -> bool {
        self.value.as_str() == Some(word)
    }

    pub(super) fn is_table(&self) -> bool {
        self.value.is_table()
    }

    /// Any text without NUL: what an argument can be.
    pub(super) fn raw(&self, r: &mut Reader) -> Option<String> {
        let Some(text) = self.value.as_str() else { return self.wrong_type(r, "a string") };
        if text.contains('\0') {
            self.say(r, format!("NUL in {}", shown(text)));
            return None;
        }
        Some(text.to_owned())
    }

    /// The same for a value of the environment. Complaints are shown to those who may only look, it is not.
    pub(super) fn unshown(&self, r: &mut Reader) -> Option<String> {
        if self.value.as_str().is_some_and(|text| text.contains('\0')) {
            self.say(r, "NUL in the value");
            return None;
        }
        self.raw(r)
    }

    /// A text of one line, not empty.
    pub(super) fn text(&self, r: &mut Reader) -> Option<String> {
        let Some(text) = self.value.as_str() else { return self.wrong_type(r, "a string") };
        if let Some(what) = control(text) {
            self.say(r, what);
            return None;
        }
        if text.is_empty() {
            self.say(r, "empty string");
            return None;
        }
        Some(text.to_owned())
    }

    /// A text that `check` turns into something.
    pub(super) fn parsed<T>(&self, r: &mut Reader, check: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let text = self.text(r)?;
        if text.len() > 4 * SHOWN_MAX {
            self.say(r, format!("too long, got {}", shown(&text)));
            return None;
        }
        self.or_say(r, check(&text))
    }

    /// One of these words.
    pub(super) fn word<T: Clone>(&self, r: &mut Reader, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(r)?;
        if let Some((_, t)) = words.iter().find(|(w, _)| *w == text) {
            return Some(t.clone());
        }
        let all: Vec<String> = words.iter().map(|(w, _)| format!("{w:?}")).collect();
        let near = nearest(&text, words.iter().map(|(w, _)| *w));
        let near = near.map_or(String::new(), |n| format!("; did you mean {n:?}?"));
        self.say(r, format!("unknown word, got {}, want {}{near}", shown(&text), all.join(" or ")));
        None
    }

    /// A path of the host or of the container: absolute.
    pub(super) fn path(&self, r: &mut Reader) -> Option<String> {
        let text = self.text(r)?;
        if !text.starts_with('/') {
            self.say(r, format!("not an absolute path, got {}", shown(&text)));
            return None;
        }
        if text.len() >= 4096 {
            self.say(r, "path longer than 4095 bytes");
            return None;
        }
        Some(text)
    }

    /// A path inside the container: absolute, without `..`, not a place that the runtime owns. Comes back without `.`,
    /// doubled and trailing slashes.
    pub(super) fn target(&self, r: &mut Reader) -> Option<String> {
        let text = self.path(r)?;
        let parts: Vec<&str> = text.split('/').filter(|p| !p.is_empty() && *p != ".").collect();
        let wrong = match parts.first() {
            _ if parts.contains(&"..") => Some("a path inside must not have \"..\""),
            None => Some("the root itself cannot be mounted over"),
            Some(&"proc") => Some("nothing can be mounted on /proc"),
            Some(_) => None,
        };
        if let Some(wrong) = wrong {
            self.say(r, format!("{wrong}, got {}", shown(&text)));
            return None;
        }
        Some(format!("/{}", parts.join("/")))
    }

    /// True or false.
    pub(super) fn boolean(&self, r: &mut Reader) -> Option<bool> {
        match self.value.as_bool() {
            Some(b) => Some(b),
            None => self.wrong_type(r, "true or false"),
        }
    }

    fn number(&self) -> Option<Result<i64, &str>> {
        let i = self.value.as_integer()?;
        Some(i64::from_str_radix(i.as_str(), i.radix()).map_err(|_| i.as_str()))
    }

    /// A whole number within a range.
    pub(super) fn integer(&self, r: &mut Reader, range: RangeInclusive<i64>) -> Option<i64> {
        let Some(number) = self.number() else { return self.wrong_type(r, "a whole number") };
        let want = format!("want {} to {}", range.start(), range.end());
        match number {
            Ok(n) if range.contains(&n) => Some(n),
            Ok(n) => {
                self.say(r, format!("out of range, got {n}, {want}"));
                None
            }
            Err(text) => {
                self.say(r, format!("out of range, got {}, {want}", shown(text)));
                None
            }
        }
    }

    /// The same as a number without a sign.
    pub(super) fn natural<T: TryFrom<i64>>(&self, r: &mut Reader, range: RangeInclusive<i64>) -> Option<T> {
        T::try_from(self.integer(r, range)?).ok()
    }

    /// Bytes, as a number or with a unit.
    pub(super) fn size(&self, r: &mut Reader, range: RangeInclusive<u64>) -> Option<u64> {
        let bytes = match self.number() {
            Some(Ok(n)) if n >= 0 => n.unsigned_abs(),
            Some(Ok(n)) => {
                return self.or_say(r, Err(format!("out of range, got {n}, want bytes from 0 on")));
            }
            Some(Err(text)) => return self.or_say(r, Err(format!("out of range, got {}", shown(text)))),
            None if self.is_string() => self.parsed(r, value::size)?,
            None => return self.wrong_type(r, "bytes or a size such as \"64MiB\""),
        };
        if range.contains(&bytes) {
            return Some(bytes);
        }
        let (low, high) = (value::size_text(*range.start()), value::size_text(*range.end()));
        self.say(r, format!("out of range, got {} bytes, want {low} to {high}", bytes));
        None
    }

    /// A time.
    pub(super) fn duration(&self, r: &mut Reader, range: RangeInclusive<Duration>) -> Option<Duration> {
        if let Some(Ok(n)) = self.number() {
            self.say(r, format!("a time without a unit, got {n}, want such as \"{n}s\""));
            return None;
        }
        if !self.is_string() {
            return self.wrong_type(r, "a time such as \"10s\"");
        }
        let time = self.parsed(r, value::duration)?;
        if range.contains(&time) {
            return Some(time);
        }
        let text = value::duration_text;
        let (low, high) = (text(*range.start()), text(*range.end()));
        self.say(r, format!("out of range, got {}, want {low} to {high}", text(time)));
        None
    }

    /// A signal by name or number.
    pub(super) fn signal(&self, r: &mut Reader) -> Option<Signal> {
        match self.number() {
            Some(Ok(n)) => self.or_say(r, value::signal_number(n).map_err(|e| format!("{e}, got {n}"))),
            Some(Err(text)) => self.or_say(r, Err(format!("no such signal, got {}", shown(text)))),
            None if self.is_string() => self.parsed(r, value::signal),
            None => self.wrong_type(r, "a signal such as \"TERM\" or 15"),
        }
    }

    /// Permission bits: a string of octal digits, or a number written as `0o400`.
    pub(super) fn mode(&self, r: &mut Reader) -> Option<u32> {
        let Some(number) = self.value.as_integer() else {
            return if self.is_string() {
                self.parsed(r, value::mode)
            } else {
                self.wrong_type(r, "a mode such as \"0400\"")
            };
        };
        if number.radix() != 8 {
            let message =
                format!("not octal, got {}, want such as \"0400\" or 0o400", shown(number.as_str()));
            return self.or_say(r, Err(message));
        }
        let result = value::mode(number.as_str().trim_start_matches('0'))
            .or_else(|e| if number.as_str().bytes().all(|b| b == b'0') { Ok(0) } else { Err(e) });
        self.or_say(r, result)
    }

    /// A decimal number of thousandths, as a number or a string.
    pub(super) fn thousandths(&self, r: &mut Reader, range: RangeInclusive<u64>) -> Option<u64> {
        let text = match self.value {
            DeValue::String(s) => s.as_ref(),
            DeValue::Integer(i) if i.radix() == 10 => i.as_str(),
            DeValue::Float(f) => f.as_str(),
            _ => return self.wrong_type(r, "a number such as 1.5"),
        };
        let number = value::millis(text).filter(|n| range.contains(n));
        if number.is_none() {
            let three = |n: u64| n as f64 / 1000.0;
            let (low, high) = (three(*range.start()), three(*range.end()));
            let want = format!("want {low} to {high} with at most three decimals");
            self.say(r, format!("out of range, got {}, {want}", shown(text)));
        }
        number
    }

    /// The elements of a list.
    pub(super) fn list(&self, r: &mut Reader) -> Vec<Value<'d, 'i>> {
        let Some(array) = self.value.as_array() else {
            self.wrong_type::<()>(r, "a list");
            return Vec::new();
        };
        if array.len() > LIST_MAX {
            self.say(r, format!("too long a list, got {}, want at most {LIST_MAX}", array.len()));
            return Vec::new();
        }
        let element = |(i, v)| Value::new(format!("{}[{i}]", self.key), format!("{}[]", self.pattern), v);
        array.iter().enumerate().map(element).collect()
    }

    /// A list of which `read` makes each element.
    pub(super) fn each<T>(
        &self,
        r: &mut Reader,
        read: impl Fn(&mut Reader, &Value<'d, 'i>) -> Option<T>,
    ) -> Vec<T> {
        let list = self.list(r);
        list.iter().filter_map(|v| read(r, v)).collect()
    }

    /// A table whose keys are known.
    pub(super) fn table(&self, r: &mut Reader) -> Option<Table<'d, 'i>> {
        self.table_like(r, &self.pattern)
    }

    /// The same for one of several tables whose keys are listed once.
    pub(super) fn table_like(&self, r: &mut Reader, pattern: &str) -> Option<Table<'d, 'i>> {
        let Some(entries) = self.value.as_table() else { return self.wrong_type(r, "a table") };
        let (path, pattern) = (self.key.clone(), pattern.to_owned());
        let table = Table { path, pattern, at: Some(self.at.clone()), entries };
        table.check(r);
        Some(table)
    }

    /// A table whose keys are the operator's: name, where the name is, value.
    pub(super) fn map(&self, r: &mut Reader) -> Vec<(String, Range<usize>, Value<'d, 'i>)> {
        let Some(entries) = self.value.as_table() else {
            self.wrong_type::<()>(r, "a table of strings");
            return Vec::new();
        };
        if entries.len() > LIST_MAX {
            self.say(r, format!("too large a table, got {}, want at most {LIST_MAX}", entries.len()));
            return Vec::new();
        }
        let entry = |(k, v): (&Spanned<_>, _)| {
            let name: &std::borrow::Cow<str> = k.get_ref();
            let value = Value::new(join(&self.key, &short(name)), format!("{}.*", self.pattern), v);
            (name.to_string(), k.span(), value)
        };
        entries.iter().map(entry).collect()
    }
}
