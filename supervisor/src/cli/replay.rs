//! replay-pressure: a recorded or made-up trace through the ladder, and what it would have decided. Without a daemon.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use clap::ArgMatches;

use super::failure::{FAILED, Failure, Result};
use super::text::clean;
use super::{out, out_json};
use crate::memory::ladder::replay::{Decided, replay};

/// The longest trace that is read.
const TRACE_MAX: u64 = 256 << 20;

/// `replay-pressure`.
pub(super) fn replay_pressure(m: &ArgMatches) -> Result<u8> {
    let Some(path) = m.get_one::<PathBuf>("file") else { return Err(Failure::usage("which trace?")) };
    let failed = |why: String| Failure::new(FAILED, format!("{}: {why}", path.display()));
    let size = std::fs::metadata(path).map_err(|e| failed(e.to_string()))?.len();
    if size > TRACE_MAX {
        return Err(failed(format!("{size} bytes, more than {TRACE_MAX}")));
    }
    let text = std::fs::read_to_string(path).map_err(|e| failed(e.to_string()))?;
    let replayed = replay(&text).map_err(failed)?;
    for decided in &replayed.decisions {
        if m.get_flag("json") {
            out_json(decided)?;
        } else {
            out(&line(decided))?;
        }
    }
    if !m.get_flag("json") {
        out(&format!("{} decisions in {} looks\n", replayed.decisions.len(), replayed.looks))?;
    }
    Ok(0)
}

/// `   12.0 s  evict       hog.1  priority 100, ...`.
fn line(decided: &Decided) -> String {
    let Decided { at, action, instance, text } = decided;
    let name = instance.as_deref().unwrap_or("-");
    format!("{at:9.1} s  {action:<10}  {name}  {}", clean(text)).trim_end().to_owned() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_is_a_line() {
        let decided = Decided { at: 2.0, action: "warn", instance: Some("a.1".into()), text: String::new() };
        assert_eq!(line(&decided), "      2.0 s  warn        a.1\n");
    }
}
