//! Names, digests, and archives that are cut or bent anywhere: a reason, never a panic, and nothing outside of the tree.

use std::io::Cursor;
use std::path::Path;

use super::store::{check_name, split_name};
use super::unpack::Tree;
use super::{Limits, digits};
use crate::unit::test_dir::TestDir;

#[test]
fn digests_are_sha256() {
    let good = format!("sha256:{}", "0a".repeat(32));
    assert_eq!(digits(&good).unwrap(), "0a".repeat(32));
    for bad in
        ["sha256:0a", "sha512:00", "sha256", &good.to_uppercase(), &format!("sha256:../{}", "0".repeat(61))]
    {
        assert!(digits(bad).is_err(), "{bad}");
    }
}

#[test]
fn names_are_references() {
    let id = "0a".repeat(32);
    assert_eq!(split_name("localhost:5000/a/web:1").unwrap(), ("localhost:5000/a/web:1", None));
    assert_eq!(split_name(&format!("web@sha256:{id}")).unwrap(), ("web", Some(&id[..])));
    for bad in ["", "/web", "web/", "a b", "../web", "web@sha256:1", "web\n", &"w".repeat(256)] {
        assert!(split_name(bad).is_err(), "{bad}");
    }
    assert!(check_name("web@x").is_err());
}

fn archive() -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut add = |name: &str, kind, data: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(data.len() as u64);
        builder.append_data(&mut header, name, data).unwrap();
    };
    add("dir", tar::EntryType::Directory, b"");
    add(&format!("dir/{}", "long".repeat(40)), tar::EntryType::Regular, b"x");
    add("dir/file", tar::EntryType::Regular, &[7; 1500]);
    builder.into_inner().unwrap()
}

/// Unpacks into a directory of its own; what was written elsewhere would be beside it.
fn unpack(dir: &Path, bytes: &[u8]) -> bool {
    let root = dir.join("root");
    std::fs::create_dir(&root).unwrap();
    let limits = Limits { bytes: 1 << 20, entries: 100 };
    let done = Tree::new(&root, limits).and_then(|mut t| t.add(&mut Cursor::new(bytes))).is_ok();
    std::fs::remove_dir_all(&root).unwrap();
    let beside = std::fs::read_dir(dir).unwrap().count();
    assert_eq!(beside, 0, "written outside of the tree");
    done
}

fn why(dir: &Path, bytes: &[u8]) -> String {
    let root = dir.join("why");
    std::fs::create_dir(&root).unwrap();
    let limits = Limits { bytes: 1 << 20, entries: 100 };
    format!("{:?}", Tree::new(&root, limits).and_then(|mut t| t.add(&mut Cursor::new(bytes))))
}

#[test]
fn bent_archives_have_a_reason() {
    if !crate::sys::tree::is_root() {
        eprintln!("not root: files of other owners cannot be made");
        return;
    }
    let whole = archive();
    let dir = TestDir::new("image-bent");
    let place = dir.join("place");
    std::fs::create_dir(&place).unwrap();
    assert!(unpack(&place, &whole), "{:?}", why(&place, &whole));
    // Cut anywhere in the last file, or within a header.
    for cut in [100, 600, 1700, 2000, 3000] {
        assert!(!unpack(&place, whole.get(..cut).unwrap()), "{cut}");
    }
    // The same changes in every run (xorshift64*).
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    };
    for _ in 0..300 {
        let mut bent = whole.clone();
        for _ in 0..=next() % 3 {
            let at = usize::try_from(next()).unwrap_or(0) % bent.len();
            if let Some(byte) = bent.get_mut(at) {
                *byte = next().to_le_bytes()[0];
            }
        }
        unpack(&place, &bent);
    }
}
