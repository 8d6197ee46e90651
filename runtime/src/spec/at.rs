//! A place in a document, kept on the stack and written as a JSON pointer only when there is something to say
//! about it. Pure data; may use std and `error`.

use crate::error::{Code, Error, printable};
use std::fmt;

/// Characters of one key in a pointer; the rest of a longer one is cut, because messages are one line.
const MAX_NAME: usize = 200;

/// A place in a JSON document: a chain of borrowed steps back to the document that was given.
#[derive(Debug, Clone, Copy)]
pub enum At<'a> {
    /// Where the walk began, as a JSON pointer; "" is the whole document.
    Base(&'a str),
    /// A member of the object at the first place.
    Key(&'a At<'a>, &'a str),
    /// An element of the array at the first place.
    Item(&'a At<'a>, usize),
}

impl At<'_> {
    /// The member `name` of this object.
    pub fn key<'b>(&'b self, name: &'b str) -> At<'b> {
        At::Key(self, name)
    }

    /// The element `index` of this array.
    pub fn item(&self, index: usize) -> At<'_> {
        At::Item(self, index)
    }

    /// The JSON pointer (RFC 6901) of this place.
    pub fn pointer(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) {
        match self {
            At::Base(base) => out.push_str(base),
            At::Key(parent, name) => {
                parent.write(out);
                out.push('/');
                for c in name.chars().take(MAX_NAME) {
                    match c {
                        '~' => out.push_str("~0"),
                        '/' => out.push_str("~1"),
                        other => out.push(other),
                    }
                }
                if name.chars().nth(MAX_NAME).is_some() {
                    out.push_str("...");
                }
            }
            At::Item(parent, index) => {
                parent.write(out);
                out.push('/');
                out.push_str(&index.to_string());
            }
        }
    }

    /// An error about this place; without a field when the whole document is to blame.
    pub fn error(&self, text: impl Into<String>) -> Error {
        match self.pointer() {
            whole if whole.is_empty() => Error::new(Code::Spec, text),
            pointer => Error::spec(pointer, text),
        }
    }

    /// A remark about this place.
    pub fn warning(&self, text: impl Into<String>) -> Warning {
        Warning { pointer: self.pointer(), text: text.into() }
    }
}

/// Something in a document that has no effect, or not the effect one might expect, and is no reason to refuse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// JSON pointer of the place.
    pub pointer: String,
    /// What is the matter with it.
    pub text: String,
}

/// One line, control characters escaped.
impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", printable(&self.pointer), printable(&self.text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_escape_what_rfc_6901_asks_for() {
        let root = At::Base("/linux");
        let sysctl = root.key("sysctl");
        assert_eq!(sysctl.key("net/ipv4~x").pointer(), "/linux/sysctl/net~1ipv4~0x");
        assert_eq!(At::Base("").key("mounts").item(3).pointer(), "/mounts/3");
    }

    #[test]
    fn a_key_cannot_flood_the_message() {
        let long = "k".repeat(1 << 20);
        assert_eq!(At::Base("").key(&long).pointer().len(), 1 + MAX_NAME + 3);
    }

    #[test]
    fn the_whole_document_is_no_field() {
        assert_eq!(At::Base("").error("empty").to_string(), "empty");
        assert_eq!(At::Base("").key("root").error("empty").to_string(), "/root: empty");
    }
}
