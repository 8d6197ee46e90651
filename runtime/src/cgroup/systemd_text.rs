//! Values as annotations write them (GLib's "GVariant Text Format"), without dictionaries, which no unit has.
//! Pure. May use: `error`.
#![forbid(unsafe_code)]

use super::systemd_value::Value;
use crate::error::{Code, Error, Result, quoted};

/// Reads a value in the text format. Types are those the format gives: whole numbers are 32-bit signed and others
/// double unless a type stands before them, as in `uint64 5` or `@at [5, 6]`.
///
/// # Errors
/// What is wrong, and where.
pub fn parse(text: &str) -> Result<Value> {
    let mut parser = Parser { text, at: 0, depth: 0 };
    let value = parser.value("")?;
    parser.space();
    match parser.rest().is_empty() {
        true => Ok(value),
        false => Err(parser.wrong("the end")),
    }
}

/// Deeper nesting than any property has.
const DEEPEST: usize = 16;

/// The words that name a type, and its letter.
const KEYWORDS: [(&str, &str); 12] = [
    ("boolean", "b"),
    ("byte", "y"),
    ("int16", "n"),
    ("uint16", "q"),
    ("int32", "i"),
    ("uint32", "u"),
    ("int64", "x"),
    ("uint64", "t"),
    ("double", "d"),
    ("string", "s"),
    ("objectpath", "o"),
    ("signature", "g"),
];

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn wrong(&self, want: &str) -> Error {
        let rest: String = self.rest().chars().take(40).collect();
        Error::new(Code::Spec, format!("at byte {}: got {}, want {want}", self.at, quoted(&rest)))
    }

    fn space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    fn eat(&mut self, token: &str) -> bool {
        self.space();
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    /// Letters and digits and whatever `more` says.
    fn word(&mut self, more: &str) -> &'a str {
        self.space();
        let rest = self.rest();
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && !more.contains(c)).unwrap_or(rest.len());
        self.at += end;
        rest.get(..end).unwrap_or_default()
    }

    /// A value of type `want`, which is empty when the text decides.
    fn value(&mut self, want: &str) -> Result<Value> {
        self.space();
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(self.wrong("less nesting"));
        }
        let value = match self.rest().chars().next() {
            Some('\'' | '"') => self.string(want),
            Some('[') => self.array(want),
            Some('(') => self.structure(want),
            Some('<') => {
                self.eat("<");
                let inner = self.value("")?;
                match self.eat(">") {
                    true => fit(Value::Variant(Box::new(inner)), want).ok_or_else(|| self.wrong(want)),
                    false => Err(self.wrong("\">\"")),
                }
            }
            Some('@') => {
                self.eat("@");
                let signature = self.word("(){}");
                // The longest signature there is.
                match signature.len() < 256 && is_type(signature) && (want.is_empty() || want == signature) {
                    true => self.value(signature),
                    false => Err(self.wrong("the type of a value, then the value")),
                }
            }
            Some(c) if c.is_ascii_alphabetic() => self.named(want),
            _ => self.number(want),
        };
        self.depth -= 1;
        value
    }

    /// `true`, `false`, or a value after the name of its type.
    fn named(&mut self, want: &str) -> Result<Value> {
        let begin = self.at;
        let word = self.word("");
        if let Some(b) = ["false", "true"].iter().position(|w| *w == word) {
            return fit(Value::Bool(b == 1), want).ok_or_else(|| self.wrong(want));
        }
        match KEYWORDS.iter().find(|(name, _)| *name == word) {
            Some((_, letter)) if want.is_empty() || want == *letter => self.value(letter),
            _ => {
                self.at = begin;
                Err(self.wrong("a value"))
            }
        }
    }

    fn number(&mut self, want: &str) -> Result<Value> {
        let begin = self.at;
        let digits = self.word("+-.");
        let kind = match want {
            "" if digits.contains(['.', 'e', 'E']) && !digits.starts_with("0x") => "d",
            "" => "i",
            kind => kind,
        };
        read_number(digits, kind).ok_or_else(|| {
            self.at = begin;
            self.wrong(if want.is_empty() { "a value" } else { "a value of its type" })
        })
    }

    fn string(&mut self, want: &str) -> Result<Value> {
        let begin = self.at;
        let mut chars = self.rest().char_indices();
        let quote = chars.next().map(|(_, c)| c);
        let mut out = String::new();
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => match chars.next().map(|(_, c)| c) {
                    Some('n') => out.push('\n'),
                    Some('t') => out.push('\t'),
                    Some(c @ ('\\' | '\'' | '"')) => out.push(c),
                    _ => return Err(self.wrong("only the escapes \\\\ \\' \\\" \\n \\t")),
                },
                '\0' => return Err(self.wrong("a string without zero bytes")),
                c if Some(c) == quote => {
                    self.at = begin + at + 1;
                    return match want {
                        "" | "s" => Ok(Value::Str(out)),
                        "o" => Ok(Value::Path(out)),
                        "g" => Ok(Value::Sig(out)),
                        _ => Err(self.wrong("a value of its type")),
                    };
                }
                c => out.push(c),
            }
        }
        Err(self.wrong("a string that ends"))
    }

    fn array(&mut self, want: &str) -> Result<Value> {
        self.eat("[");
        let mut of = match want {
            "" => String::new(),
            want => want.strip_prefix('a').ok_or_else(|| self.wrong(want))?.to_string(),
        };
        let mut values = Vec::new();
        while !self.eat("]") {
            if !values.is_empty() && !self.eat(",") {
                return Err(self.wrong("\",\" or \"]\""));
            }
            let value = self.value(&of)?;
            of = value.signature();
            values.push(value);
        }
        match of.is_empty() {
            true => Err(self.wrong("the type of an empty array, as in @as []")),
            false => Ok(Value::Array(of, values)),
        }
    }

    fn structure(&mut self, want: &str) -> Result<Value> {
        self.eat("(");
        let inner = want.strip_prefix('(').and_then(|w| w.strip_suffix(')'));
        let mut types = match (want, inner) {
            ("", _) => None,
            (_, Some(inner)) => Some(inner),
            _ => return Err(self.wrong(want)),
        };
        let mut values = Vec::new();
        while !self.eat(")") {
            if !values.is_empty() && !self.eat(",") {
                return Err(self.wrong("\",\" or \")\""));
            }
            if !values.is_empty() && self.eat(")") {
                break;
            }
            let first = types.map_or("", |t| t.get(..one_type(t).unwrap_or(0)).unwrap_or_default());
            if types.is_some() && first.is_empty() {
                return Err(self.wrong("fewer values"));
            }
            values.push(self.value(first)?);
            types = types.map(|t| t.get(first.len()..).unwrap_or_default());
        }
        match values.is_empty() || types.is_some_and(|t| !t.is_empty()) {
            true => Err(self.wrong("more values")),
            false => Ok(Value::Struct(values)),
        }
    }
}

/// `None` when the value is not of the type asked for.
fn fit(value: Value, want: &str) -> Option<Value> {
    (want.is_empty() || value.signature() == want).then_some(value)
}

fn read_number(text: &str, kind: &str) -> Option<Value> {
    if kind == "d" {
        return text.parse().ok().filter(|n: &f64| n.is_finite()).map(Value::F64);
    }
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let size = match digits.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok()?,
        None if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().ok()?,
        None => return None,
    };
    let n = if negative { -i128::from(size) } else { i128::from(size) };
    Some(match kind {
        "y" => Value::Byte(n.try_into().ok()?),
        "n" => Value::I16(n.try_into().ok()?),
        "q" => Value::U16(n.try_into().ok()?),
        "i" => Value::I32(n.try_into().ok()?),
        "u" => Value::U32(n.try_into().ok()?),
        "x" => Value::I64(n.try_into().ok()?),
        "t" => Value::U64(n.try_into().ok()?),
        _ => return None,
    })
}

/// True for exactly one type.
fn is_type(signature: &str) -> bool {
    one_type(signature) == Some(signature.len())
}

/// How long the first type of a signature is. No property of a unit has dictionaries, so they are not known here.
fn one_type(signature: &str) -> Option<usize> {
    match signature.chars().next()? {
        'y' | 'b' | 'n' | 'q' | 'i' | 'u' | 'x' | 't' | 'd' | 's' | 'o' | 'g' | 'v' => Some(1),
        'a' => one_type(signature.get(1..)?).map(|n| n + 1),
        '(' => {
            let mut at = 1;
            while !signature.get(at..)?.starts_with(')') {
                at += one_type(signature.get(at..)?)?;
            }
            (at > 1).then_some(at + 1)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(of: &str, values: Vec<Value>) -> Value {
        Value::Array(of.into(), values)
    }

    #[test]
    fn texts() {
        let s = |t: &str| Value::Str(t.into());
        for (text, want) in [
            ("true", Value::Bool(true)),
            (" 5 ", Value::I32(5)),
            ("-5", Value::I32(-5)),
            ("0x10", Value::I32(16)),
            ("1.5", Value::F64(1.5)),
            ("1e3", Value::F64(1000.0)),
            ("uint64 5000000", Value::U64(5_000_000)),
            ("uint64 18446744073709551615", Value::U64(u64::MAX)),
            ("byte 0xff", Value::Byte(255)),
            ("@t 7", Value::U64(7)),
            ("'inactive-or-failed'", s("inactive-or-failed")),
            ("\"a'b\\\"c\\n\"", s("a'b\"c\n")),
            ("objectpath '/a'", Value::Path("/a".into())),
            ("['a', 'b']", list("s", vec![s("a"), s("b")])),
            ("@as []", list("s", vec![])),
            ("@at [1,2]", list("t", vec![Value::U64(1), Value::U64(2)])),
            ("[byte 1, 2]", list("y", vec![Value::Byte(1), Value::Byte(2)])),
            (
                "[('/dev/null', uint64 4)]",
                list("(st)", vec![Value::Struct(vec![s("/dev/null"), Value::U64(4)])]),
            ),
            ("@a(ss) [('a', 'b')]", list("(ss)", vec![Value::Struct(vec![s("a"), s("b")])])),
            ("<1>", Value::Variant(Box::new(Value::I32(1)))),
        ] {
            assert_eq!(parse(text).unwrap(), want, "{text}");
        }
    }

    #[test]
    fn texts_that_are_none() {
        for text in [
            "",
            "tru",
            "5 6",
            "uint64 -1",
            "byte 256",
            "2147483648",
            "'a",
            "[1, 'a']",
            "[]",
            "()",
            "(1",
            "[1",
            "[1,",
            "@z 1",
            "@ 1",
            "uint64",
            "uint64 'a'",
            "@as [1]",
            "boolean 1",
            "1.5.5",
            "--5",
            "nan",
            "@(ss) ('a')",
            "@(s) ('a', 'b')",
            "<1",
            "'\\x'",
            "{'a': 1}",
            "inf",
        ] {
            let e = parse(text).expect_err(text);
            assert!(e.to_string().contains("want"), "{e}");
        }
        assert!(parse(&"[".repeat(100_000)).is_err());
        assert!(parse(&("@".to_string() + &"a".repeat(10_000) + "s 1")).is_err());
    }

    /// What is printed can be read again.
    #[test]
    fn round_trip() {
        for text in ["uint64 5", "@as [\"a\", \"b\"]", "(1, true)", "<\"x\">", "byte 7", "double 2.5"] {
            let value = parse(text).unwrap();
            assert_eq!(value.to_string(), text);
            assert_eq!(parse(&value.to_string()).unwrap(), value);
        }
    }

    #[test]
    fn signatures() {
        for good in ["s", "as", "a(sv)", "a(st)", "(a(ss)t)", "aay"] {
            assert!(is_type(good), "{good}");
        }
        for bad in ["", "a", "ss", "(", "()", "(s", "a)", "{sv}", "z"] {
            assert!(!is_type(bad), "{bad}");
        }
    }
}
