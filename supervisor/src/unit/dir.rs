//! The services directory: which files are services, and what is wrong with the others. Reads, never writes, never hangs.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::SIZE_MAX;
use crate::api::model::{Problem, ServiceFile};
use crate::names::ServiceName;
use crate::sys::file::open_read;
use crate::unit::service::Service;

/// More entries of the directory than this are not looked at.
const ENTRIES_MAX: usize = 10_000;

/// What lies in a services directory.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Loaded {
    /// The good files: the service and the text it was read from.
    pub services: BTreeMap<ServiceName, (Service, String)>,
    /// Names whose file is there and cannot be used: the last good version of each goes on.
    pub broken: BTreeSet<ServiceName>,
    /// Whether the directory could be listed to its end: if not, a name that is missing here is not removed.
    pub complete: bool,
    /// Everything that is wrong, also with files that are no services.
    pub problems: Vec<Problem>,
}

impl Loaded {
    fn say(&mut self, file: &Path, message: String) {
        let file = file.display().to_string();
        self.problems.push(Problem { file, line: 0, column: 0, key: String::new(), message });
    }

    fn add(&mut self, name: ServiceName, file: &Path, text: String) {
        match super::parse(&name, file, &text) {
            Ok(service) => {
                self.services.insert(name, (service, text));
            }
            Err(problems) => {
                self.broken.insert(name);
                self.problems.extend(problems);
            }
        }
    }
}

/// Reads all service files of a directory, in the order of their names.
pub fn load_dir(dir: &Path) -> Loaded {
    let mut loaded = Loaded { complete: true, ..Loaded::default() };
    for file in list(dir, &mut loaded) {
        let path = dir.join(&file);
        let bytes = file.as_bytes();
        let stem = bytes.strip_suffix(b".toml").unwrap_or(bytes);
        let name = std::str::from_utf8(stem).map_err(|_| "file name is not UTF-8".to_owned());
        let name: ServiceName = match name.and_then(str::parse) {
            Ok(name) => name,
            Err(e) => {
                loaded.say(&path, e);
                continue;
            }
        };
        match read_file(&path) {
            Ok(text) => loaded.add(name, &path, text),
            Err(e) => {
                loaded.broken.insert(name);
                loaded.say(&path, e);
            }
        }
    }
    loaded
}

/// Names of the files that claim to be services.
fn list(dir: &Path, loaded: &mut Loaded) -> Vec<OsString> {
    let mut names = Vec::new();
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) => {
            loaded.complete = false;
            loaded.say(dir, format!("the services directory cannot be read: {e}"));
            return names;
        }
    };
    for (i, entry) in entries.enumerate() {
        let entry = match entry {
            Ok(entry) if i < ENTRIES_MAX => entry.file_name(),
            Ok(_) => {
                loaded.complete = false;
                loaded.say(dir, format!("more than {ENTRIES_MAX} entries, the rest is not looked at"));
                break;
            }
            Err(e) => {
                loaded.complete = false;
                loaded.say(dir, format!("the services directory cannot be read to its end: {e}"));
                break;
            }
        };
        // What editors leave beside a file begins with one of these or does not end with .toml.
        if entry.as_bytes().ends_with(b".toml")
            && !entry.as_bytes().starts_with(b".")
            && !entry.as_bytes().starts_with(b"#")
        {
            names.push(entry);
        }
    }
    names.sort_unstable();
    names
}

/// Reads service files of a request: names that are none and names given twice are problems.
pub fn load_files(files: &[ServiceFile]) -> Loaded {
    let mut loaded = Loaded { complete: true, ..Loaded::default() };
    let mut seen = BTreeSet::new();
    for ServiceFile { name, text } in files {
        let path = std::path::PathBuf::from(format!("{}.toml", name.escape_default()));
        match name.parse::<ServiceName>() {
            Err(e) => loaded.say(&path, e),
            Ok(name) if !seen.insert(name.clone()) => {
                loaded.services.remove(&name);
                loaded.say(&path, format!("service {name} is given twice"));
                loaded.broken.insert(name);
            }
            Ok(name) => loaded.add(name, &path, text.clone()),
        }
    }
    loaded
}

/// Reads one service file as text: a regular file of at most [`SIZE_MAX`] bytes of UTF-8.
///
/// # Errors
/// What is wrong, one line.
pub fn read_file(path: &Path) -> Result<String, String> {
    let bytes = read_regular(path, SIZE_MAX)?;
    String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        let line = e.as_bytes().iter().take(at).filter(|b| **b == b'\n').count() + 1;
        format!("not UTF-8: byte {at}, line {line}")
    })
}

/// The content of a regular file (or a link to one) of at most `max` bytes. Never waits for anything but a disk.
pub(super) fn read_regular(path: &Path, max: usize) -> Result<Vec<u8>, String> {
    // Looked at first: opening a device can already do something.
    let kind = std::fs::metadata(path).map_err(|e| match std::fs::symlink_metadata(path) {
        Ok(link) if link.is_symlink() => format!("dangling symbolic link: {e}"),
        _ => e.to_string(),
    })?;
    regular(&kind)?;
    let mut file = open_read(path).map_err(|e| format!("cannot be opened: {e}"))?;
    let kind = file.metadata().map_err(|e| e.to_string())?;
    regular(&kind)?;
    let too_large = |n: u64| Err(format!("file of {n} bytes is longer than {max}"));
    if kind.len() > max as u64 {
        return too_large(kind.len());
    }
    let mut bytes = Vec::new();
    (&mut file).take(max as u64 + 1).read_to_end(&mut bytes).map_err(|e| format!("cannot be read: {e}"))?;
    if bytes.len() > max { too_large(bytes.len() as u64) } else { Ok(bytes) }
}

fn regular(kind: &std::fs::Metadata) -> Result<(), String> {
    if kind.is_file() {
        return Ok(());
    }
    let what = if kind.is_dir() { "a directory" } else { "a fifo, socket or device" };
    Err(format!("{what}, want a regular file"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::test_dir::TestDir;
    use std::os::unix::fs::symlink;

    const GOOD: &str = "bundle = \"/b\"\n";

    #[test]
    fn a_directory_of_everything() {
        let dir = TestDir::new("everything");
        let put = |name: &str, text: &[u8]| std::fs::write(dir.join(name), text).unwrap();
        put("web.toml", GOOD.as_bytes());
        put("db.toml", b"bundle = 3\n");
        put("latin.toml", b"# caf\xe9\n");
        for dropping in
            [".web.toml.swp", ".#web.toml", "#web.toml#", "web.toml~", "web.toml.tmp", "4913", ".x.toml"]
        {
            put(dropping, b"not toml");
        }
        put("README", b"text");
        put("Bad Name.toml", GOOD.as_bytes());
        put("huge.toml", &vec![b'#'; SIZE_MAX + 1]);
        std::fs::create_dir(dir.join("dir.toml")).unwrap();
        symlink("/nowhere/at/all", dir.join("dangling.toml")).unwrap();
        symlink("web.toml", dir.join("link.toml")).unwrap();
        symlink("/dev/zero", dir.join("zero.toml")).unwrap();
        let fifo = std::process::Command::new("mkfifo").arg(dir.join("fifo.toml")).status().unwrap();
        assert!(fifo.success());
        let loaded = load_dir(&dir);
        let names =
            |n: &mut dyn Iterator<Item = &ServiceName>| n.map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(names(&mut loaded.services.keys()), ["link", "web"]);
        assert_eq!(
            names(&mut loaded.broken.iter()),
            ["dangling", "db", "dir", "fifo", "huge", "latin", "zero"]
        );
        assert!(loaded.complete);
        let said = |file: &str| {
            let file = dir.join(file).display().to_string();
            loaded.problems.iter().find(|p| p.file == file).map(|p| p.message.clone()).unwrap_or_default()
        };
        for (file, why) in [
            ("db.toml", "want a string"),
            ("latin.toml", "not UTF-8: byte 5, line 1"),
            ("Bad Name.toml", "must begin and end"),
            ("huge.toml", "longer than"),
            ("dir.toml", "a directory"),
            ("dangling.toml", "dangling symbolic link"),
            ("zero.toml", "fifo, socket or device"),
            ("fifo.toml", "fifo, socket or device"),
        ] {
            assert!(said(file).contains(why), "{file}: {:?}", said(file));
        }
        assert_eq!(loaded.problems.len(), 8, "{:#?}", loaded.problems);
    }

    #[test]
    fn a_directory_that_is_not_there_removes_nothing() {
        let loaded = load_dir(Path::new("/nowhere/at/all"));
        assert!(!loaded.complete && loaded.problems.len() == 1 && loaded.services.is_empty());
    }

    #[test]
    fn a_thousand_files() {
        let dir = TestDir::new("thousand");
        for i in 0..1000 {
            std::fs::write(dir.join(format!("s{i}.toml")), GOOD).unwrap();
        }
        let loaded = load_dir(&dir);
        assert_eq!((loaded.services.len(), loaded.problems.len()), (1000, 0));
    }

    #[test]
    fn files_of_a_request() {
        let file = |name: &str, text: &str| ServiceFile { name: name.into(), text: text.into() };
        let loaded = load_files(&[
            file("web", GOOD),
            file("db", GOOD),
            file("web", GOOD),
            file("a/b", GOOD),
            file("x\u{1b}y", GOOD),
            file("bad", "nope = 1"),
        ]);
        assert_eq!(loaded.services.keys().map(ServiceName::as_str).collect::<Vec<_>>(), ["db"]);
        assert_eq!(loaded.broken.iter().map(ServiceName::as_str).collect::<Vec<_>>(), ["bad", "web"]);
        let said: Vec<_> = loaded.problems.iter().map(|p| (p.file.as_str(), p.message.as_str())).collect();
        assert!(said.contains(&("web.toml", "service web is given twice")), "{said:?}");
        assert!(said.iter().any(|(f, m)| *f == "a/b.toml" && m.contains("'/'")), "{said:?}");
        assert!(said.iter().all(|(f, m)| !f.contains('\u{1b}') && !m.contains('\u{1b}')), "{said:?}");
    }
}
