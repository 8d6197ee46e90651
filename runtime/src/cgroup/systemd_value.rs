//! Values as D-Bus carries them (D-Bus specification, "Type System" and "Marshaling"). Pure. May use: `error`.
#![forbid(unsafe_code)]

use crate::error::quoted;
use serde::{Serialize, Serializer};
use std::fmt;

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Byte(u8),
    Bool(bool),
    I16(i16),
    U16(u16),
    I32(i32),
    U32(u32),
    I64(i64),
    U64(u64),
    F64(f64),
    Str(String),
    /// An object's path.
    Path(String),
    Sig(String),
    /// The elements' signature and the elements.
    Array(String, Vec<Value>),
    Struct(Vec<Value>),
    Variant(Box<Value>),
}

impl Value {
    /// Bytes, as sets of CPUs are told.
    pub fn bytes(bytes: Vec<u8>) -> Value {
        Value::Array("y".into(), bytes.into_iter().map(Value::Byte).collect())
    }

    /// Its type (D-Bus specification, "Summary of types").
    pub fn signature(&self) -> String {
        match self {
            Value::Array(of, _) => format!("a{of}"),
            Value::Struct(fields) => {
                format!("({})", fields.iter().map(Value::signature).collect::<String>())
            }
            plain => plain.letter().to_string(),
        }
    }

    fn letter(&self) -> char {
        match self {
            Value::Byte(_) => 'y',
            Value::Bool(_) => 'b',
            Value::I16(_) => 'n',
            Value::U16(_) => 'q',
            Value::I32(_) => 'i',
            Value::U32(_) => 'u',
            Value::I64(_) => 'x',
            Value::U64(_) => 't',
            Value::F64(_) => 'd',
            Value::Str(_) => 's',
            Value::Path(_) => 'o',
            Value::Sig(_) => 'g',
            Value::Array(..) => 'a',
            Value::Struct(_) => '(',
            Value::Variant(_) => 'v',
        }
    }

    /// A number as a floating one.
    pub fn number(&self) -> Option<f64> {
        Some(match self {
            Value::Byte(n) => (*n).into(),
            Value::I16(n) => (*n).into(),
            Value::U16(n) => (*n).into(),
            Value::I32(n) => (*n).into(),
            Value::U32(n) => (*n).into(),
            Value::I64(n) => *n as f64,
            Value::U64(n) => *n as f64,
            Value::F64(n) => *n,
            _ => return None,
        })
    }
}

/// In the text format, with types, so that a plan can be read.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, values: &[Value]| {
            values.iter().enumerate().try_for_each(|(i, v)| match i {
                0 => write!(f, "{v}"),
                _ => write!(f, ", {v}"),
            })
        };
        match self {
            Value::Byte(n) => write!(f, "byte {n}"),
            Value::Bool(b) => write!(f, "{b}"),
            Value::I16(n) => write!(f, "int16 {n}"),
            Value::U16(n) => write!(f, "uint16 {n}"),
            Value::I32(n) => write!(f, "{n}"),
            Value::U32(n) => write!(f, "uint32 {n}"),
            Value::I64(n) => write!(f, "int64 {n}"),
            Value::U64(n) => write!(f, "uint64 {n}"),
            Value::F64(n) => write!(f, "double {n}"),
            Value::Str(s) => write!(f, "{}", quoted(s)),
            Value::Path(s) => write!(f, "objectpath {}", quoted(s)),
            Value::Sig(s) => write!(f, "signature {}", quoted(s)),
            Value::Array(of, values) => {
                write!(f, "@a{of} [")?;
                list(f, values)?;
                f.write_str("]")
            }
            Value::Struct(values) => {
                f.write_str("(")?;
                list(f, values)?;
                f.write_str(")")
            }
            Value::Variant(v) => write!(f, "<{v}>"),
        }
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

/// Where a type's values begin (D-Bus specification, "Marshaling").
fn alignment(signature: &str) -> usize {
    match signature.as_bytes().first() {
        Some(b'y' | b'g' | b'v') => 1,
        Some(b'n' | b'q') => 2,
        Some(b'x' | b't' | b'd' | b'(' | b'{') => 8,
        _ => 4,
    }
}

/// Appends a value; `out` begins where a message or its body does.
pub(super) fn put(out: &mut Vec<u8>, value: &Value) {
    let mut number = |bytes: &[u8]| {
        out.resize(out.len().next_multiple_of(bytes.len()), 0);
        out.extend_from_slice(bytes);
    };
    match value {
        Value::Byte(n) => number(&[*n]),
        Value::Bool(b) => number(&u32::from(*b).to_ne_bytes()),
        Value::I16(n) => number(&n.to_ne_bytes()),
        Value::U16(n) => number(&n.to_ne_bytes()),
        Value::I32(n) => number(&n.to_ne_bytes()),
        Value::U32(n) => number(&n.to_ne_bytes()),
        Value::I64(n) => number(&n.to_ne_bytes()),
        Value::U64(n) => number(&n.to_ne_bytes()),
        Value::F64(n) => number(&n.to_ne_bytes()),
        Value::Str(s) | Value::Path(s) => {
            number(&(s.len() as u32).to_ne_bytes());
            out.extend_from_slice(s.as_bytes());
            out.push(0);
        }
        Value::Sig(s) => {
            out.push(s.len() as u8);
            out.extend_from_slice(s.as_bytes());
            out.push(0);
        }
        Value::Variant(v) => {
            put(out, &Value::Sig(v.signature()));
            put(out, v);
        }
        Value::Struct(fields) => {
            out.resize(out.len().next_multiple_of(8), 0);
            fields.iter().for_each(|f| put(out, f));
        }
        Value::Array(of, values) => {
            number(&[0; 4]);
            let length_at = out.len() - 4;
            // The padding before the first element does not count.
            out.resize(out.len().next_multiple_of(alignment(of)), 0);
            let begin = out.len();
            values.iter().for_each(|v| put(out, v));
            let length = (out.len() - begin) as u32;
            out[length_at..length_at + 4].copy_from_slice(&length.to_ne_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout() {
        let bytes = |v: &Value| {
            let mut out = vec![9];
            put(&mut out, v);
            out
        };
        assert_eq!(bytes(&Value::Bool(true)), [9, 0, 0, 0, 1, 0, 0, 0]);
        assert_eq!(bytes(&Value::Str("ab".into())), b"\x09\0\0\0\x02\0\0\0ab\0");
        // The length counts from the first element, which is aligned to 8.
        let list = Value::Array("t".into(), vec![Value::U64(3)]);
        assert_eq!(bytes(&list), [9, 0, 0, 0, 8, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0]);
        let none = Value::Array("(sv)".into(), vec![]);
        assert_eq!(bytes(&none), [9, 0, 0, 0, 0, 0, 0, 0]);
        let v = Value::Variant(Box::new(Value::U32(1)));
        assert_eq!(bytes(&v), [9, 1, b'u', 0, 1, 0, 0, 0]);
    }
}
