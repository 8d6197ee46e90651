//! A service file in the making: keys by their dotted names, and what was left out.

use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value};
use toml_edit::{Array, ArrayOfTables, DocumentMut, InlineTable, Item, Table};

use crate::names::ServiceName;
use crate::unit;

/// So often the parser may complain about something else; each time what it names goes.
const ROUNDS: usize = 200;

/// What is said of a command that was only the arguments of an image's entrypoint.
pub(super) const ENTRYPOINT: &str =
    "`command` stands for all of it here: put the image's entrypoint in front, if it has one";

/// Something that no service file has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Left {
    /// The service that it was of.
    pub service: String,
    /// As the file calls it.
    pub key: String,
    /// Why, and what to do instead where there is something.
    pub why: String,
}

/// A service file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Written {
    /// `NAME.toml` without its ending.
    pub name: String,
    /// What to write into it.
    pub text: String,
}

/// One that is not finished.
pub(super) struct Draft {
    pub(super) name: String,
    keys: Map<String, Value>,
    left: Vec<Left>,
}

impl Draft {
    /// One without keys. A name that no service can have is changed, which is listed.
    pub(super) fn new(name: &str) -> Draft {
        let fit = fit(name);
        let mut draft = Draft { name: fit.clone(), keys: Map::new(), left: Vec::new() };
        if fit != name {
            draft.leave("name", format!("{name:?} is no name of a service: it is {fit} here"));
        }
        draft
    }

    /// Sets a key such as `limits.memory`.
    pub(super) fn put(&mut self, key: &str, value: impl Into<Value>) {
        let mut at = &mut self.keys;
        let mut parts = key.split('.').peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                at.insert(part.to_owned(), value.into());
                return;
            }
            let below = at.entry(part).or_insert_with(|| Value::Object(Map::new()));
            let Value::Object(below) = below else { return };
            at = below;
        }
    }

    /// Adds to a list.
    pub(super) fn push(&mut self, key: &str, value: impl Into<Value>) {
        let list = self.keys.entry(key).or_insert_with(|| Value::Array(Vec::new()));
        if let Value::Array(list) = list {
            list.push(value.into());
        }
    }

    /// Whether a key of the first level is there.
    pub(super) fn has(&self, key: &str) -> bool {
        self.keys.contains_key(key)
    }

    /// Lists what is not taken over.
    pub(super) fn leave(&mut self, key: impl Into<String>, why: impl Into<String>) {
        self.left.push(Left { service: self.name.clone(), key: key.into(), why: why.into() });
    }

    /// The text. What the parser of service files does not take is left out with its words.
    ///
    /// # Errors
    /// It is refused as a whole.
    pub(super) fn finish(mut self) -> Result<(Written, Vec<Left>), String> {
        let name: ServiceName = self.name.parse().map_err(|e| format!("{}: {e}", self.name))?;
        for _ in 0..ROUNDS {
            let text = document(&self.keys).to_string();
            let Err(problems) = unit::parse(&name, Path::new("it"), &text) else {
                return Ok((Written { name: self.name, text }, self.left));
            };
            let Some(problem) = problems.into_iter().next() else { break };
            if !remove(&mut self.keys, &problem.key) {
                return Err(format!("{}: {}", self.name, problem.message));
            }
            self.leave(problem.key, problem.message);
        }
        Err(format!("{}: nothing of it can be said in a service file", self.name))
    }
}

/// Lower case letters, digits, `-` and `_`, as near as can be.
fn fit(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c.to_ascii_lowercase() } else { '-' };
    let name: String = name.chars().map(plain).take(63).collect();
    let name = name.trim_matches(|c| c == '-' || c == '_');
    if name.is_empty() { "service".into() } else { name.to_owned() }
}

/// Removes what a key such as `mounts[1].options` names; the table or list element around it when the key itself is not there.
fn remove(keys: &mut Map<String, Value>, key: &str) -> bool {
    let mut path = Vec::new();
    for part in key.split('.') {
        let (name, index) = match part.split_once('[') {
            Some((name, index)) => (name, index.trim_end_matches(']').parse::<usize>().ok()),
            None => (part, None),
        };
        path.push(Step::Name(name.to_owned()));
        path.extend(index.map(Step::Index));
    }
    while !path.is_empty() {
        if take(keys, &path) {
            return true;
        }
        path.pop();
    }
    false
}

enum Step {
    Name(String),
    Index(usize),
}

fn take(keys: &mut Map<String, Value>, path: &[Step]) -> bool {
    let Some((Step::Name(first), rest)) = path.split_first() else { return false };
    if rest.is_empty() {
        return keys.remove(first).is_some();
    }
    let Some(value) = keys.get_mut(first) else { return false };
    below(value, rest)
}

fn below(value: &mut Value, path: &[Step]) -> bool {
    match (value, path) {
        (Value::Array(list), [Step::Index(i)]) if *i < list.len() => {
            list.remove(*i);
            true
        }
        (Value::Array(list), [Step::Index(i), rest @ ..]) => list.get_mut(*i).is_some_and(|v| below(v, rest)),
        (Value::Object(map), rest) => take(map, rest),
        _ => false,
    }
}

/// Tables become sections, lists of tables sections in double brackets.
fn document(keys: &Map<String, Value>) -> DocumentMut {
    let mut document = DocumentMut::new();
    for (key, value) in keys {
        if let Some(item) = item(key, value) {
            document.insert(key, item);
        }
    }
    document
}

fn item(key: &str, value: &Value) -> Option<Item> {
    match value {
        // Names of one's own are read more easily in one line each, and there may be many.
        Value::Object(map) if map.is_empty() => None,
        Value::Object(map) if key == "network" => Some(Item::Value(inline(map).into())),
        Value::Object(map) => {
            let mut table = Table::new();
            for (name, value) in map {
                if let Some(item) = item(name, value) {
                    table.insert(name, item);
                }
            }
            // A section with sections only needs no line of its own.
            table.set_implicit(map.values().all(Value::is_object));
            Some(Item::Table(table))
        }
        Value::Array(list) if list.iter().any(Value::is_object) && list.iter().all(Value::is_object) => {
            let mut tables = ArrayOfTables::new();
            for value in list {
                if let Some(Item::Table(table)) = item("", value) {
                    tables.push(table);
                }
            }
            Some(Item::ArrayOfTables(tables))
        }
        other => plain(other).map(Item::Value),
    }
}

fn inline(map: &Map<String, Value>) -> InlineTable {
    let mut table = InlineTable::new();
    for (name, value) in map {
        if let Some(value) = plain(value) {
            table.insert(name, value);
        }
    }
    table
}

fn plain(value: &Value) -> Option<toml_edit::Value> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(b) => (*b).into(),
        Value::Number(n) => match n.as_i64() {
            Some(n) => n.into(),
            None => n.as_f64()?.into(),
        },
        Value::String(s) => s.as_str().into(),
        Value::Array(list) => list.iter().filter_map(plain).collect::<Array>().into(),
        Value::Object(map) => inline(map).into(),
    })
}
