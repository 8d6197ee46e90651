//! Environment files: lines of `NAME=value`, taken literally.

use std::path::Path;

use super::Failure;
use crate::unit::dir::read_regular;
use crate::unit::parse::env_name;

/// The largest environment file.
const SIZE_MAX: usize = 1 << 20;

/// Whether an entry of an environment has this name.
pub(super) fn is(entry: &str, name: &str) -> bool {
    entry.strip_prefix(name).is_some_and(|rest| rest.starts_with('='))
}

/// All of a file's variables in its order.
pub(super) fn read(path: &Path) -> Result<Vec<(String, String)>, Failure> {
    let bad = |e: String| Failure::new("env-file", format!("{}: {e}", path.display()));
    let text =
        String::from_utf8(read_regular(path, SIZE_MAX).map_err(bad)?).map_err(|_| bad("not UTF-8".into()))?;
    parse(&text).map_err(bad)
}

/// Empty lines and those that begin with `#` say nothing; quotes are part of the value. Errors name the line and never
/// repeat a value: it may be a password.
fn parse(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut all = Vec::new();
    for (i, line) in text.lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let n = i + 1;
        let (name, value) =
            line.split_once('=').ok_or_else(|| format!("line {n}: no \"=\", want NAME=value"))?;
        env_name(name).map_err(|e| format!("line {n}: {e}"))?;
        if value.contains('\0') {
            return Err(format!("line {n}: NUL in the value of {name}"));
        }
        all.push((name.to_owned(), value.to_owned()));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_an_environment_file() {
        let text = "# note\n\nA=1\n  B=\"q\" # no note\r\nC=\nD=a=b\n";
        let all = parse(text).unwrap();
        let pairs: Vec<_> = all.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        assert_eq!(pairs, [("A", "1"), ("B", "\"q\" # no note"), ("C", ""), ("D", "a=b")]);
        for (text, why) in [
            ("A=1\nexport B\n", "line 2: no \"=\""),
            ("=x", "line 1: empty name"),
            ("A B=secret", "line 1: bad name"),
            ("KNARR_X=1", "the daemon's"),
            ("A=secret\0", "NUL in the value of A"),
        ] {
            let e = parse(text).unwrap_err();
            assert!(e.contains(why) && !e.contains("secret"), "{e}");
        }
    }

    #[test]
    fn a_name_is_matched_whole() {
        assert!(is("A=1", "A") && !is("AB=1", "A") && !is("A", "A"));
    }
}
