//! What the fuzz targets of `runtime/fuzz` do with their bytes, and a test that replays the corpora. In tests and in builds
//! for fuzzing only. Each body must end, without a panic, whatever it is given.
#![forbid(unsafe_code)]

use crate::cgroup;
use crate::cli;
use crate::init::payload;
use crate::link;
use crate::mountinfo;
use crate::ops::list;
use crate::plan::seccomp::{Arch, oracle};
use crate::rootfs::{Missing, RootDir};
use crate::spec::{DeviceRule, Seccomp, check, read};
use crate::state::record::{Record, sealed};
use crate::sys::{fs, process};
use std::ffi::OsString;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// What is done with one input.
pub type Body = fn(&[u8]);

/// Every target with its name, which is that of its corpus too.
pub const TARGETS: [(&str, Body); 12] = [
    ("config", config),
    ("record", record),
    ("process", process),
    ("resources", resources),
    ("arguments", arguments),
    ("mountinfo", mounts),
    ("stats", stats),
    ("passwd", passwd),
    ("seccomp", seccomp),
    ("devices", devices),
    ("messages", messages),
    ("paths", paths),
];

/// F1: config.json, read and checked. What is printed of a complaint is one line.
pub fn config(data: &[u8]) {
    match read::config(data) {
        Ok((spec, _)) => check::config(&spec).iter().for_each(one_line),
        Err(e) => one_line(&e),
    }
}

/// F2: a record, as it is and with the checksum that belongs to it; what is read is written the same.
pub fn record(data: &[u8]) {
    for bytes in [data, &sealed(data)] {
        let Ok(record) = Record::parse(bytes, "id") else { continue };
        same(&record);
    }
}

fn same(record: &Record) {
    let bytes = record.to_bytes().expect("a record that was read can be written");
    let again = Record::parse(&bytes, "id").expect("a record that was written can be read");
    assert_eq!(bytes, again.to_bytes().expect("as before"));
}

/// F3: process.json of `exec`.
pub fn process(data: &[u8]) {
    match read::process(data) {
        Ok(p) => check::process(&p, "/process").iter().for_each(one_line),
        Err(e) => one_line(&e),
    }
}

/// F4: resources of `update`.
pub fn resources(data: &[u8]) {
    match read::resources(data) {
        Ok(r) => check::resources(&r, "/resources").iter().for_each(one_line),
        Err(e) => one_line(&e),
    }
}

/// F5: a command line, its words separated by NUL or newline.
pub fn arguments(data: &[u8]) {
    let words = data.split(|b| *b == 0 || *b == b'\n').map(|w| OsString::from_vec(w.to_vec()));
    if let Err(fault) = cli::parse(words) {
        one_line(&fault.error);
    }
}

/// F6: mountinfo and the process's own groups, separated by a line `--`.
pub fn mounts(data: &[u8]) {
    mountinfo::points(data, &["proc", "sysfs"]);
    let at = data.windows(4).position(|w| w == b"\n--\n").unwrap_or(data.len());
    let (table, own) = data.split_at(at);
    let _ = cgroup::layout_of(table, own.get(4..).unwrap_or_default());
}

/// F6: the files of a cgroup2 directory, all with this text. What is read becomes JSON.
pub fn stats(data: &[u8]) {
    let top = std::env::temp_dir().join(format!("knarr-fuzz-stats-{}", std::process::id()));
    std::fs::create_dir_all(&top).expect("a directory");
    for name in [
        "cpu.stat",
        "memory.stat",
        "memory.max",
        "memory.current",
        "memory.swap.max",
        "pids.max",
        "io.stat",
        "hugetlb.2MB.events",
        "hugetlb.2MB.current",
        "memory.pressure",
    ] {
        std::fs::write(top.join(name), data).expect("a file");
    }
    let dir = fs::open_dir_path(&top).expect("a handle");
    if let Ok(stats) = cgroup::stats::of_directory(dir.as_fd()) {
        serde_json::to_string(&stats).expect("what `events --stats` prints");
    }
    std::fs::remove_dir_all(&top).expect("the directory goes");
}

/// F7: passwd(5), of an image for the home of its user, of the host for the names of owners.
pub fn passwd(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for (uid, name) in list::parse_passwd(&text) {
        assert!(!name.contains(char::is_control), "{uid} is {name:?}");
        assert!(payload::home_in(&text, uid).starts_with('/'));
    }
}

/// F8: a seccomp profile; the program does what the profile says.
pub fn seccomp(data: &[u8]) {
    let Ok(profile) = serde_json::from_slice::<Seccomp>(data) else { return };
    let small = profile.syscalls.len() <= 6
        && profile.syscalls.iter().all(|r| r.args.len() <= 4 && r.names.len() <= 8);
    if small && profile.architectures.len() <= 4 {
        [Arch::X86_64, Arch::Aarch64].into_iter().for_each(|native| oracle::agrees(&profile, native));
    }
}

/// F9: a list of device rules; the program does what the list says.
pub fn devices(data: &[u8]) {
    let Ok(list) = serde_json::from_slice::<Vec<DeviceRule>>(data) else { return };
    if list.len() <= 16 {
        cgroup::device_oracle::agrees(&list);
    }
}

/// F10: packets, separated by newline, that the other end of the link sends.
pub fn messages(data: &[u8]) {
    let (parent, init) = link::pair().expect("a socket pair");
    let Ok(me) = process::pidfd_open(process::getpid()) else { return };
    let Ok(parent) = parent.build() else { return };
    for packet in data.split(|b| *b == b'\n').take(16) {
        let _ = fs::write_all(init.fd(), packet);
    }
    let end = UnixStream::from(fs::dup(init.fd()).expect("a descriptor"));
    end.shutdown(std::net::Shutdown::Write).expect("a socket");
    let Ok(parent) = parent.root_ready() else { return };
    if let Ok(parent) = parent.enter(1) {
        let _ = parent.ready(None, me.as_fd(), |_| Ok(()));
    }
}

/// F14: a tree of directories, files and links, then paths that are opened or made below it; nothing outside changes. One
/// step a line: `d PATH`, `f PATH`, `l PATH TARGET` of the image, `D PATH`, `F PATH` and `P PATH` of the runtime.
pub fn paths(data: &[u8]) {
    let top = std::env::temp_dir().join(format!("knarr-fuzz-{}", std::process::id()));
    let (root, away) = (top.join("a/b/root"), top.join("away"));
    let _ = std::fs::remove_dir_all(&top);
    std::fs::create_dir_all(&root).expect("a directory");
    std::fs::create_dir_all(&away).expect("a directory");
    let handle = RootDir::new(fs::open_dir_path(&root).expect("a handle"));
    for line in String::from_utf8_lossy(data).lines().take(24) {
        step(&root, &handle, line);
    }
    let names = |dir: &Path| {
        std::fs::read_dir(dir).expect("it is there").flatten().map(|e| e.file_name()).collect::<Vec<_>>()
    };
    assert_eq!(names(&away), Vec::<OsString>::new(), "something was made outside");
    for (dir, only) in [(top.join("a"), "b"), (top.join("a/b"), "root")] {
        assert_eq!(names(&dir), [only], "something was made above");
    }
    assert_eq!(names(&top).len(), 2, "something was made above");
    std::fs::remove_dir_all(&top).expect("the tree goes");
}

/// The image's own steps are done by this program, which must stay inside: plain names only.
fn step(root: &Path, handle: &RootDir, line: &str) {
    let mut words = line.split(' ');
    let (Some(what), Some(path)) = (words.next(), words.next()) else { return };
    let plain = |p: &str| {
        let mut at = root.to_path_buf();
        for part in p.split('/').filter(|c| !c.is_empty()) {
            if part == "." || part == ".." || part.contains('\0') || at.is_symlink() {
                return None;
            }
            at.push(part);
        }
        (at != root && !at.parent().is_some_and(Path::is_symlink)).then_some(at)
    };
    match (what, plain(path)) {
        ("d", Some(at)) => drop(std::fs::create_dir(at)),
        ("f", Some(at)) if !at.is_symlink() => drop(std::fs::write(at, "")),
        ("l", Some(at)) => {
            let target = words.next().unwrap_or("../../../away").replace('\0', "");
            let _ = std::os::unix::fs::symlink(target, at);
        }
        ("D", _) => drop(handle.open_or_create(path, Missing::Dir)),
        ("F", _) => drop(handle.open_or_create(path, Missing::File)),
        ("P", _) => {
            if let Ok((dir, name)) = handle.parent_of(path) {
                let _ = fs::symlinkat("/", &dir, &name);
            }
        }
        _ => {}
    }
}

/// A complaint is one line that drives no terminal.
fn one_line(e: &crate::error::Error) {
    let text = e.to_string();
    assert!(!text.contains(char::is_control), "{text:?}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corpora_are_replayed() {
        let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
        for (name, body) in TARGETS {
            let dir = std::fs::read_dir(top.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
            let files: Vec<_> = dir.map(|e| e.unwrap().path()).collect();
            assert!(files.len() > 1, "the corpus of {name} has {} files", files.len());
            files.iter().for_each(|file| body(&std::fs::read(file).unwrap()));
        }
        for entry in std::fs::read_dir(top.join("../../tests/corpus")).unwrap() {
            config(&std::fs::read(entry.unwrap().path()).unwrap());
        }
    }
}
