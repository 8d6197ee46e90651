//! The journal on disks that are full, tiny or read-only: a tmpfs in a mount namespace of its own. Only for root.
#![forbid(unsafe_code)]

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::Command;

use super::record::Record;
use super::store::{Journal, Limits};
use super::tests::{ended, event, intent};

const HELPER_DIR: &str = "KNARR_JOURNAL_TMPFS";

/// Runs one of the tests below, an ignored one, on a tmpfs of this size in a mount namespace of its own.
fn on_tmpfs(size: &str, test: &str) {
    if fs::metadata("/proc/self").map(|m| std::os::unix::fs::MetadataExt::uid(&m)).ok() != Some(0) {
        eprintln!("only root can mount: {test} is left out");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let exe = std::env::current_exe().unwrap();
    let script = format!(
        "mount -t tmpfs -o size={size} none {0} && exec {1} --exact journal::tests_disk::{test} --ignored --nocapture",
        dir.path().display(),
        exe.display()
    );
    let out = Command::new("unshare")
        .args(["-m", "--propagation", "private", "sh", "-c", &script])
        .env(HELPER_DIR, dir.path())
        .output()
        .unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success() && text.contains("1 passed"), "{text}");
}

/// The journal's directory on the tmpfs; `None` = not run by [`on_tmpfs`].
fn place() -> Option<std::path::PathBuf> {
    std::env::var_os(HELPER_DIR).map(|d| Path::new(&d).join("journal"))
}

/// Takes all blocks that are left.
fn fill(dir: &Path) -> fs::File {
    let mut hog = fs::File::create(dir.join("../hog")).unwrap();
    while hog.write_all(&[1; 4096]).is_ok() {}
    while hog.write_all(&[1]).is_ok() {}
    hog
}

fn limits() -> Limits {
    Limits { file: 256 << 10, ahead: 64 << 10, spare: 64 << 10 }
}

fn texts(journal: &Journal) -> Vec<String> {
    journal.image().events.iter().map(|e| e.text.clone()).collect()
}

#[test]
fn full_disk() {
    on_tmpfs("1m", "full_disk_inside");
}

#[test]
#[ignore = "run by full_disk"]
fn full_disk_inside() {
    let Some(dir) = place() else { return };
    let mut journal = Journal::open_with(&dir, limits()).unwrap().journal;
    journal.append(&[intent(1), event(1, "before")]).unwrap();
    let hog = fill(&dir);
    // More than the blocks that were set aside hold: the file is written anew in between, on the spare blocks.
    for run in 1..=1000 {
        let seq = journal.next_seq();
        journal.append(&[intent(run), ended(run, 3), event(seq, "while full")]).unwrap_or_else(|e| {
            panic!("run {run}: {e}");
        });
        assert_eq!((journal.pending(), journal.problem()), (0, None), "run {run}");
    }
    let kept = journal.image().instances[&"web.1".parse().unwrap()].clone();
    drop(journal);
    let opened = Journal::open_with(&dir, limits()).unwrap();
    assert_eq!(opened.loss, None);
    let mut journal = opened.journal;
    assert_eq!(journal.image().instances[&"web.1".parse().unwrap()], kept, "no durable record is lost");
    assert!(texts(&journal).len() < 1000, "events are left out");
    journal.append(&[event(journal.next_seq(), "still full")]).unwrap();
    drop(hog);
    fs::remove_file(dir.join("../hog")).unwrap();
    journal.append(&[event(journal.next_seq(), "room again")]).unwrap();
    let texts = texts(&journal);
    assert_eq!(texts[texts.len() - 2], "room again");
    assert!(texts[texts.len() - 1].ends_with("events were not written down: the disk was full"), "{texts:?}");
    assert!(
        journal.image().events.iter().zip(journal.image().events.iter().skip(1)).all(|(a, b)| a.seq < b.seq)
    );
}

#[test]
fn no_room_at_all() {
    on_tmpfs("64k", "no_room_at_all_inside");
}

#[test]
#[ignore = "run by no_room_at_all"]
fn no_room_at_all_inside() {
    let Some(dir) = place() else { return };
    let dir = &dir;
    fs::create_dir(dir).unwrap();
    let hog = fill(dir);
    // Not even the first line can be written.
    let opened = Journal::open_with(dir, limits()).unwrap();
    assert_eq!(opened.loss, None);
    let mut journal = opened.journal;
    assert!(journal.problem().is_some());
    assert_eq!(journal.append(&[intent(1)]).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(journal.try_append(&[intent(9)]).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(journal.pending(), 1);
    assert_eq!(
        journal.image().instances[&"web.1".parse().unwrap()].last_run,
        1,
        "taken in, the refused one not"
    );
    assert!(journal.retry().is_err());
    drop(hog);
    fs::remove_file(dir.join("../hog")).unwrap();
    journal.retry().unwrap();
    assert_eq!((journal.pending(), journal.problem()), (0, None));
    // What little there is can be used up, and everything that was acknowledged is there.
    let mut acknowledged = 1;
    for run in 2..2000 {
        if journal.append(&[intent(run), ended(run, 0)]).is_err() {
            break;
        }
        acknowledged = run;
    }
    drop(journal);
    let opened = Journal::open_with(dir, limits()).unwrap();
    let there = opened.journal.image().instances[&"web.1".parse().unwrap()].last_run;
    assert!(there >= acknowledged, "{there} is there, {acknowledged} was acknowledged: {:?}", opened.loss);
}

#[test]
fn read_only_disk() {
    on_tmpfs("4m", "read_only_disk_inside");
}

#[test]
#[ignore = "run by read_only_disk"]
fn read_only_disk_inside() {
    let Some(dir) = place() else { return };
    let remount = |how: &str| {
        let done =
            Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(dir.parent().unwrap()).status();
        assert!(done.unwrap().success());
    };
    let mut journal = Journal::open_with(&dir, limits()).unwrap().journal;
    journal.append(&[intent(1), event(1, "before")]).unwrap();
    drop(journal);
    remount("ro");
    let mut journal = Journal::open_with(&dir, limits()).unwrap().journal;
    assert_eq!(texts(&journal), ["before"]);
    assert!(journal.problem().unwrap().contains("ead-only"), "{:?}", journal.problem());
    let e = journal.append(&[ended(1, 5), event(journal.next_seq(), "unwritten")]).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::ReadOnlyFilesystem);
    let held = Record::Goal { service: "web".parse().unwrap(), replica: None, held: true };
    assert!(journal.try_append(&[held]).is_err());
    assert_eq!((journal.pending(), texts(&journal).len()), (2, 2));
    remount("rw");
    journal.append(&[event(journal.next_seq(), "writable")]).unwrap();
    assert_eq!((journal.pending(), journal.problem()), (0, None));
    drop(journal);
    let journal = Journal::open_with(&dir, limits()).unwrap().journal;
    assert_eq!(texts(&journal), ["before", "unwritten", "writable"]);
    let kept = &journal.image().instances[&"web.1".parse().unwrap()];
    assert_eq!((kept.exits.len(), kept.open.clone()), (1, None));
    assert!(!journal.image().is_held(&"web.1".parse().unwrap()), "what was refused does not come later");
}
