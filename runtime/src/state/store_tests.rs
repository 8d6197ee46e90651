//! The store under good use, bad files and many hands.

use super::super::record::tests::sample;
use super::*;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::Barrier;

fn root() -> (tempfile::TempDir, PathBuf) {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("a/root");
    (tmp, path)
}

fn made(store_path: &Path, id: &str) -> Store {
    let r = Store::open(store_path, true).unwrap().reserve(id).unwrap();
    r.put_config(b"{}").unwrap();
    r.save(&sample(id)).unwrap();
    r.keep();
    Store::open(store_path, true).unwrap()
}

#[test]
fn reserve_load_remove() {
    let (_tmp, path) = root();
    let store = made(&path, "c1");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o700);
    let c = store.load("c1").unwrap();
    assert_eq!(c.record, sample("c1"));
    assert_eq!(c.config().unwrap(), b"{}");
    assert_eq!(c.status().unwrap(), Status::Stopped, "its boot id is not ours");
    let e = store.reserve("c1").unwrap_err();
    assert_eq!(e.kind(), Code::Exists);
    assert!(e.to_string().contains("container with given ID already exists"), "{e}");
    assert!(e.to_string().contains("status stopped"), "{e}");
    store.lock("c1", true).unwrap().remove().unwrap();
    assert!(!path.join("c1").exists());
    assert_eq!(store.load("c1").unwrap_err().kind(), Code::NotFound);
}

#[test]
fn a_dropped_reservation_leaves_nothing() {
    let (_tmp, path) = root();
    let store = Store::open(&path, true).unwrap();
    let r = store.reserve("c1").unwrap();
    r.save(&sample("c1")).unwrap();
    r.put("other", b"x").unwrap();
    std::fs::create_dir(path.join("c1/sub")).unwrap();
    std::fs::write(path.join("c1/sub/file"), "").unwrap();
    drop(r);
    assert_eq!(std::fs::read_dir(&path).unwrap().count(), 0);
}

/// K12.
#[test]
fn of_32_threads_one_gets_the_id() {
    let (_tmp, path) = root();
    let barrier = Barrier::new(32);
    let winners: usize = std::thread::scope(|s| {
        let threads: Vec<_> = (0..32)
            .map(|_| {
                s.spawn(|| {
                    barrier.wait();
                    match Store::open(&path, true).unwrap().reserve("same") {
                        Ok(r) => {
                            r.save(&sample("same")).unwrap();
                            r.keep();
                            1
                        }
                        Err(e) => {
                            assert_eq!(e.kind(), Code::Exists, "{e}");
                            0
                        }
                    }
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).sum()
    });
    assert_eq!(winners, 1);
    assert_eq!(Store::open(&path, true).unwrap().load("same").unwrap().record.id, "same");
}

#[test]
fn creating_and_deleting_one_id_from_many_threads() {
    let (_tmp, path) = root();
    std::thread::scope(|s| {
        for _ in 0..4 {
            s.spawn(|| {
                for _ in 0..50 {
                    let store = Store::open(&path, true).unwrap();
                    if let Ok(r) = store.reserve("x") {
                        r.save(&sample("x")).unwrap();
                        r.keep();
                    }
                }
            });
            s.spawn(|| {
                for _ in 0..50 {
                    let store = Store::open(&path, false).unwrap();
                    match store.entry("x", Duration::from_secs(5)) {
                        Ok(entry) => entry.remove().unwrap(),
                        Err(e) => assert_eq!(e.kind(), Code::NotFound, "{e}"),
                    }
                    store.list().unwrap();
                }
            });
        }
    });
    if let Ok(entry) = Store::open(&path, true).unwrap().entry("x", Duration::ZERO) {
        entry.remove().unwrap();
    }
    assert_eq!(std::fs::read_dir(&path).unwrap().count(), 0);
}

#[test]
fn locks_exclude_and_end() {
    let (_tmp, path) = root();
    let store = made(&path, "c1");
    let shared = store.lock("c1", false).unwrap();
    let again = store.lock("c1", false).unwrap();
    let e = store.entry("c1", Duration::from_millis(5)).unwrap_err();
    assert_eq!(e.kind(), Code::Timeout);
    assert!(store.load("c1").is_ok(), "reading waits for nobody");
    drop((shared, again));
    store.entry("c1", Duration::from_millis(5)).unwrap();
}

#[test]
fn a_waiting_command_notices_the_delete() {
    let (_tmp, path) = root();
    let store = made(&path, "c1");
    let held = store.lock("c1", true).unwrap();
    std::thread::scope(|s| {
        let waiter = s.spawn(|| Store::open(&path, true).unwrap().lock("c1", true).map(|_| ()).unwrap_err());
        std::thread::sleep(Duration::from_millis(30));
        held.remove().unwrap();
        drop(held);
        assert_eq!(waiter.join().unwrap().kind(), Code::NotFound);
    });
}

/// B102.
#[test]
fn roots_that_are_refused() {
    let (tmp, path) = root();
    made(&path, "c1");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).unwrap();
    assert!(Store::open(&path, true).unwrap_err().to_string().contains("writable for everybody"));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
    let link = tmp.path().join("link");
    symlink(&path, &link).unwrap();
    assert!(Store::open(&link, true).unwrap_err().to_string().contains("state root"));
    let file = tmp.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert!(Store::open(&file, true).unwrap_err().is(errno::ENOTDIR));
    let below = Store::open(&file.join("x"), true);
    assert!(below.unwrap_err().is(errno::ENOTDIR));
    if process::euid() == 0 {
        std::os::unix::fs::chown(&path, Some(12345), None).unwrap();
        assert!(Store::open(&path, true).unwrap_err().to_string().contains("owned by uid 12345"));
    }
}

#[test]
fn a_missing_root_is_empty_unless_it_was_named() {
    let (_tmp, path) = root();
    assert!(Store::open(&path, false).unwrap().list().unwrap().is_empty());
    assert!(Store::open(&path, true).unwrap().list().unwrap_err().is(errno::ENOENT));
    assert_eq!(Store::open(&path, true).unwrap().load("x").unwrap_err().kind(), Code::NotFound);
    assert!(!path.exists(), "looking makes nothing");
}

/// B103, B104 and B106.
#[test]
fn damage_and_strangers() {
    let (tmp, path) = root();
    let store = made(&path, "good");
    let record = |id: &str| {
        std::fs::create_dir(path.join(id)).unwrap();
        path.join(id).join(RECORD)
    };
    std::fs::write(record("empty"), "").unwrap();
    let bytes = sample("cut").to_bytes().unwrap();
    std::fs::write(record("cut"), &bytes[..bytes.len() / 2]).unwrap();
    std::fs::write(tmp.path().join("target"), sample("linked").to_bytes().unwrap()).unwrap();
    symlink(tmp.path().join("target"), record("linked")).unwrap();
    std::fs::hard_link(tmp.path().join("target"), record("hard")).unwrap();
    std::fs::create_dir(record("dir")).unwrap();
    std::fs::File::create(record("big")).unwrap().set_len(1 << 30).unwrap();
    std::fs::create_dir(path.join("alien")).unwrap();
    std::fs::write(path.join("alien/file"), "").unwrap();
    std::fs::write(path.join("plain"), "").unwrap();
    std::fs::write(path.join(".hidden"), "").unwrap();
    std::fs::create_dir(path.join("early")).unwrap();

    let seen = store.list().unwrap();
    let ids: Vec<&str> = seen.iter().map(|l| l.id.as_str()).collect();
    assert_eq!(ids, ["big", "cut", "dir", "empty", "good", "hard", "linked"]);
    for l in &seen {
        match &l.seen {
            Ok((r, status)) => assert_eq!((r.id.as_str(), *status), ("good", Status::Stopped)),
            Err(e) => assert_eq!(e.kind(), Code::Damaged, "{e}"),
        }
    }
    for id in ["big", "cut", "dir", "empty", "hard", "linked"] {
        let e = store.lock(id, true).unwrap_err();
        assert!(e.to_string().contains("state damaged") && e.to_string().contains(id), "{e}");
        store.entry(id, Duration::ZERO).unwrap().remove().unwrap();
        assert!(!path.join(id).exists());
    }
    assert!(tmp.path().join("target").exists(), "only the link goes");
    store.entry("early", Duration::ZERO).unwrap().remove().unwrap();
    let e = store.entry("alien", Duration::ZERO).unwrap().remove().unwrap_err();
    assert_eq!(e.kind(), Code::NotFound);
    assert!(path.join("alien/file").exists());
    assert_eq!(store.entry("plain", Duration::ZERO).unwrap_err().kind(), Code::NotFound);
    for id in ["alien", "plain"] {
        assert_eq!(store.reserve(id).unwrap_err().kind(), Code::Exists);
    }
}
