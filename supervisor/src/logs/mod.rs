//! Log files: written by keepers, read by everybody else. An instance has a directory of numbered files, the highest
//! number is the one being written, nothing is ever renamed.
#![forbid(unsafe_code)]

mod follow;
pub mod keep;
pub mod line;
pub mod read;
#[cfg(test)]
#[path = "tests.rs"]
mod reader_tests;
mod tail;

use std::io;
use std::path::{Path, PathBuf};

pub use keep::{Current, Removed, Usage, default_cap, enforce_cap, heaviest, remove, replace, usage};
pub use line::{LogLine, Stream};
pub use read::{LogReader, Query};

/// The path of a log file.
pub fn file(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:08}.log"))
}

/// The numbers of the log files in a directory, lowest first; none when there is no such directory.
///
/// # Errors
/// The directory cannot be read.
pub fn numbers(dir: &Path) -> io::Result<Vec<u64>> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut numbers = Vec::new();
    for entry in entries {
        numbers.extend(entry?.file_name().to_str().and_then(number));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// The number of a file's name in its only spelling; `None` = not a log file.
fn number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".log")?;
    let number = digits.parse().ok()?;
    (number > 0 && format!("{number:08}") == digits).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numbered_files_are_log_files() {
        assert_eq!(number("00000001.log"), Some(1));
        assert_eq!(number("123456789.log"), Some(123_456_789));
        for name in
            ["1.log", "00000000.log", "000000001.log", "+0000001.log", "00000001.log.gz", "00000001", ".log"]
        {
            assert_eq!(number(name), None, "{name}");
        }
    }
}
