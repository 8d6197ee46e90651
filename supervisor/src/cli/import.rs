//! import: what others write, as service files. Needs no daemon.
#![forbid(unsafe_code)]

use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use clap::{Arg, ArgMatches, Command, ValueHint, value_parser};

use super::args::{json, value};
use super::failure::{CONFLICT, FAILED, Failure, Result};
use super::text::clean;
use super::{Ctx, out, out_json};
use crate::import::{Imported, Kind, import};

/// The command line.
pub(super) fn command() -> Command {
    Command::new("import")
        .about("Makes service files of a Compose file, a quadlet, a static pod or a bundle, and lists what is left out; without a daemon")
        .arg(
            Arg::new("kind")
                .value_name("KIND")
                .required(true)
                .value_parser(Kind::WORDS)
                .help("What the file is"),
        )
        .arg(
            Arg::new("from")
                .value_name("FILE")
                .required(true)
                .value_parser(value_parser!(PathBuf))
                .value_hint(ValueHint::AnyPath)
                .help("The file; with runc-bundle the directory"),
        )
        .arg(
            value("to", None, "DIR", "Write NAME.toml files into this directory, none over another [default: print them]")
                .value_parser(value_parser!(PathBuf)),
        )
        .arg(json())
}

/// `import`.
pub(super) fn run(_: &Ctx, m: &ArgMatches) -> Result<u8> {
    let word = m.get_one::<String>("kind").map_or("", String::as_str);
    let kind = Kind::parse(word).ok_or_else(|| Failure::new(FAILED, format!("no such kind: {word}")))?;
    let from = m.get_one::<PathBuf>("from").map_or(Path::new(""), PathBuf::as_path);
    let found = import(kind, from).map_err(|e| Failure::new(FAILED, e))?;
    if let Some(dir) = m.get_one::<PathBuf>("to") {
        write(&found, dir)?;
    }
    if m.get_flag("json") {
        return out_json(&found).map(|()| 0);
    }
    if !m.contains_id("to") {
        for service in &found.services {
            out(&format!("# {}.toml\n{}\n", service.name, clean_lines(&service.text)))?;
        }
    }
    for left in &found.left_out {
        eprintln!("left out: {}: {}: {}", clean(&left.service), clean(&left.key), clean(&left.why));
    }
    Ok(0)
}

/// A terminal obeys no text of a file.
fn clean_lines(text: &str) -> String {
    text.lines().map(|l| clean(l) + "\n").collect()
}

/// All of them, or none that was not there before.
fn write(found: &Imported, dir: &Path) -> Result<()> {
    let path = |name: &str| dir.join(format!("{name}.toml"));
    for service in &found.services {
        if path(&service.name).symlink_metadata().is_ok() {
            let text = format!("{} is there already", path(&service.name).display());
            return Err(Failure::new(CONFLICT, text));
        }
    }
    for service in &found.services {
        let path = path(&service.name);
        let made = std::fs::File::options().write(true).create_new(true).open(&path);
        made.and_then(|mut f| f.write_all(service.text.as_bytes())).map_err(|e| {
            let code = if e.kind() == ErrorKind::AlreadyExists { CONFLICT } else { FAILED };
            Failure::new(code, format!("{}: {e}", path.display()))
        })?;
        out(&format!("{}\n", path.display()))?;
    }
    Ok(())
}
