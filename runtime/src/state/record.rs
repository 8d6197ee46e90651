//! The record of one container as it lies on disk: JSON with a version number, checked in full when read.
//! Pure text and data; the store does the files.

use crate::cgroup::Saved;
use crate::error::{Code, Error, Result, quoted};
use crate::resctrl::Groups;
use crate::spec::Resources;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The version this code writes. A reader keeps understanding the one before.
pub const VERSION: u32 = 1;

/// Largest record that is read, in bytes; annotations make up most of a big one.
pub const LIMIT: usize = 16 << 20;

/// Before the checksum, which ends a record.
const SUM: &[u8] = br#","checksum":""#;
/// After it.
const END: &[u8] = br#""}"#;
/// Its digits.
const DIGITS: usize = 16;

/// NAME_MAX of limits.h: an id is a directory's name.
const MAX_ID: usize = 255;

/// A process, safe against reuse of its number within one boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proc {
    pub pid: i32,
    /// Field 22 of /proc/PID/stat: ticks since boot.
    pub start_time: u64,
}

/// How far the creation got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Things named here may exist or not.
    Creating,
    /// All of it exists.
    Created,
}

/// Everything another command needs to know, written before the things it names are made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// [`VERSION`].
    pub version: u32,
    pub id: String,
    /// `ociVersion` of config.json.
    pub oci_version: String,
    /// Absolute.
    pub bundle: PathBuf,
    /// Absolute.
    pub rootfs: PathBuf,
    /// RFC 3339, UTC.
    pub created: String,
    /// The uid that ran `create`.
    pub owner: u32,
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// Of the boot in which the processes live; processes of another boot are gone.
    pub boot_id: String,
    pub phase: Phase,
    /// The `create` or `run` process.
    pub creator: Proc,
    /// The container's first process, once there is one.
    pub init: Option<Proc>,
    pub cgroup: Saved,
    /// Its groups of resctrl, with `linux.intelRdt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resctrl: Option<Groups>,
    /// The container has no pid namespace of its own, so that init's death does not end the others.
    pub shared_pidns: bool,
    /// Made with `--no-new-keyring`: further processes stay in the caller's session keyring too.
    #[serde(default)]
    pub no_new_keyring: bool,
    /// The limits in force since the last `update`; absent as long as those of config.json are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Whether the configuration has poststop hooks, so that `delete` need not read it; `None` in older records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poststop: Option<bool>,
}

impl Record {
    /// Reads and checks a record.
    ///
    /// # Errors
    /// [`Code::Damaged`] with what is wrong; the text names no id, the caller does.
    pub fn parse(bytes: &[u8], id: &str) -> Result<Record> {
        let damaged = |why: String| Error::new(Code::Damaged, format!("state damaged: {why}"));
        #[derive(Deserialize)]
        struct Head {
            version: u32,
        }
        if bytes.is_empty() {
            return Err(damaged("the record is empty".into()));
        }
        if let Some((body, sum)) = parts(bytes)
            && sum != checksum(body).as_bytes()
        {
            return Err(damaged("the checksum does not fit, somebody has changed it".into()));
        }
        let head: Head = serde_json::from_slice(bytes).map_err(|e| damaged(e.to_string()))?;
        if head.version != VERSION {
            return Err(damaged(format!("record version {}, want {VERSION}", head.version)));
        }
        let record: Record = serde_json::from_slice(bytes).map_err(|e| damaged(e.to_string()))?;
        if record.id != id {
            return Err(damaged(format!("the record is of {}", quoted(&record.id))));
        }
        if !record.bundle.is_absolute() || !record.rootfs.is_absolute() {
            return Err(damaged("bundle and rootfs must be absolute".into()));
        }
        Ok(record)
    }

    /// The record as bytes.
    ///
    /// # Errors
    /// A path that is not UTF-8, which JSON cannot hold.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut bytes =
            serde_json::to_vec(self).map_err(|e| Error::new(Code::Spec, format!("container record: {e}")))?;
        // The closing brace comes after the checksum.
        bytes.pop();
        let sum = checksum(&bytes);
        bytes.extend_from_slice(&[SUM, sum.as_bytes(), END].concat());
        Ok(bytes)
    }
}

/// A record of this body, without its closing brace, with the checksum that belongs to it.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn sealed(body: &[u8]) -> Vec<u8> {
    [body, SUM, checksum(body).as_bytes(), END].concat()
}

/// What the checksum is of, and the checksum; `None` for a record without one, as tools may write them.
fn parts(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (rest, sum) = bytes.strip_suffix(END)?.split_last_chunk::<DIGITS>()?;
    Some((rest.strip_suffix(SUM)?, sum))
}

/// FNV-1a: against broken disks and editors, not against somebody who can write here.
fn checksum(bytes: &[u8]) -> String {
    let step = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    format!("{:016x}", bytes.iter().fold(0xcbf2_9ce4_8422_2325, step))
}

/// Checks a container id: letters, digits and `_+.-`, starting with a letter or digit, at most 255 bytes. That
/// keeps it one plain path component, never hidden, never an option.
pub fn check_id(id: &str) -> Result<()> {
    let bad = |why: &str| {
        let text = format!("invalid container ID format: {}: {why}", quoted(id));
        Err(Error::new(Code::Usage, text))
    };
    let Some(first) = id.bytes().next() else {
        return Err(Error::new(Code::Usage, "container id cannot be empty"));
    };
    if id.len() > MAX_ID {
        return bad(&format!("{} bytes, want at most {MAX_ID}", id.len()));
    }
    if !first.is_ascii_alphanumeric() {
        return bad("want a letter or digit first");
    }
    if !id.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+.-".contains(&b)) {
        return bad("want letters, digits, '_', '+', '.' and '-' only");
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn sample(id: &str) -> Record {
        Record {
            version: VERSION,
            id: id.into(),
            oci_version: "1.2.0".into(),
            bundle: "/b".into(),
            rootfs: "/b/rootfs".into(),
            created: "2026-11-21T09:05:49.2Z".into(),
            owner: 0,
            annotations: [("a".to_string(), "b\n\u{1b}".to_string())].into(),
            boot_id: "x".into(),
            phase: Phase::Created,
            creator: Proc { pid: 10, start_time: 5 },
            init: Some(Proc { pid: 11, start_time: 6 }),
            cgroup: Saved {
                paths: [(String::new(), PathBuf::from("/sys/fs/cgroup/x"))].into(),
                created: true,
                ..Saved::default()
            },
            shared_pidns: false,
            resctrl: None,
            no_new_keyring: false,
            resources: None,
            poststop: None,
        }
    }

    #[test]
    fn round_trip() {
        let mut record = sample("c1");
        for phase in [Phase::Creating, Phase::Created] {
            for init in [None, Some(Proc { pid: 1 << 22, start_time: u64::MAX })] {
                record.phase = phase;
                record.init = init;
                assert_eq!(Record::parse(&record.to_bytes().unwrap(), "c1").unwrap(), record);
            }
        }
    }

    /// A record of version 1 as the first release wrote it; it must stay readable.
    #[test]
    fn reads_version_1() {
        let text = br#"{"version":1,"id":"c1","oci_version":"1.0.2","bundle":"/b","rootfs":"/b/r",
            "created":"2026-01-01T00:00:00Z","owner":1000,"annotations":{},"boot_id":"x","phase":"creating",
            "creator":{"pid":2,"start_time":3},"init":null,
            "cgroup":{"paths":{"":"/sys/fs/cgroup/c1"},"created":false},"shared_pidns":true}"#;
        let record = Record::parse(text, "c1").unwrap();
        assert_eq!((record.phase, record.owner, record.shared_pidns), (Phase::Creating, 1000, true));
    }

    #[test]
    fn damage_is_named() {
        let good = String::from_utf8(sample("c1").to_bytes().unwrap()).unwrap();
        let bare = serde_json::to_string(&sample("c1")).unwrap();
        assert_eq!(Record::parse(bare.as_bytes(), "c1").unwrap(), sample("c1"), "a checksum is no must");
        for (bytes, want) in [
            (String::new(), "empty"),
            (good[..good.len() / 2].to_string(), "EOF"),
            ("\u{0}\u{1}\u{2}".into(), "state damaged"),
            ("[]".into(), "state damaged"),
            ("{}".into(), "version"),
            (good.replace("\"pid\":11", "\"pid\":12"), "checksum"),
            (good.replace("\"/b\"", "\"/c\""), "checksum"),
            (bare.replace("\"version\":1", "\"version\":99"), "record version 99"),
            (bare.replace("\"id\":\"c1\"", "\"id\":\"c2\""), "\"c2\""),
            (bare.replace("\"pid\":11", "\"pid\":\"11\""), "invalid type"),
            (bare.replace("\"/b\"", "\"b\""), "absolute"),
        ] {
            let e = Record::parse(bytes.as_bytes(), "c1").unwrap_err();
            assert_eq!(e.kind(), Code::Damaged);
            assert!(e.to_string().contains(want), "{bytes}: {e}");
        }
    }

    /// B100.
    #[test]
    fn ids() {
        let long = "x".repeat(256);
        let longer = "x".repeat(1025);
        for id in [
            "",
            ".",
            "..",
            ".x",
            "a/b",
            "a b",
            "-x",
            "ä",
            "a\0",
            "a\n",
            "\u{1b}[m",
            &long,
            &longer,
            "_x",
            "+x",
            "a\u{fffd}",
            "/",
            "a:b",
        ] {
            let e = check_id(id).unwrap_err();
            assert_eq!(e.kind(), Code::Usage);
            assert!(!e.to_string().contains('\n'));
        }
        for id in ["a", "0", "A_b+c.d-e", "a..b", &long[..255], "cri-o_1.2+3"] {
            check_id(id).unwrap();
        }
    }
}
