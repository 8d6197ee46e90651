//! Tar archives, read one member after another: names of any length and PAX records, each within a bound, and nothing that
//! two readers could understand differently. Pure: it is given a stream.

use std::io::Read;

use tar::EntryType;

use super::{Error, Result, shown};

/// The longest name or list of PAX records of one member, in bytes.
const EXTENSION_MAX: u64 = 1 << 20;

/// What an archive says of one member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Its name as it stands there.
    pub name: Vec<u8>,
    /// What a link points to.
    pub link: Vec<u8>,
    /// What it is.
    pub kind: EntryType,
    /// Bytes of content.
    pub size: u64,
    /// Where its content begins in the archive.
    pub position: u64,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Seconds and nanoseconds of its last change.
    pub mtime: (i64, u32),
    /// Extended attributes.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What stands before a member and is about it.
#[derive(Default)]
struct Before {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    pax: Option<Vec<(Vec<u8>, Vec<u8>)>>,
}

impl Before {
    fn is_empty(&self) -> bool {
        self.name.is_none() && self.link.is_none() && self.pax.is_none()
    }
}

/// Tells of every member in its order. `each` may leave content unread.
///
/// # Errors
/// What is wrong with the archive, or what `each` said.
pub fn walk<R: Read>(reader: R, mut each: impl FnMut(&Head, &mut dyn Read) -> Result<()>) -> Result<()> {
    let mut archive = tar::Archive::new(reader);
    let entries = archive.entries().map_err(broken)?.raw(true);
    let mut before = Before::default();
    for entry in entries {
        let mut entry = entry.map_err(broken)?;
        let kind = entry.header().entry_type();
        let size = entry.size();
        match kind {
            EntryType::GNULongName => once(&mut before.name, text(extension(&mut entry, size)?))?,
            EntryType::GNULongLink => once(&mut before.link, text(extension(&mut entry, size)?))?,
            EntryType::XHeader => once(&mut before.pax, records(&extension(&mut entry, size)?)?)?,
            EntryType::XGlobalHeader => global(&records(&extension(&mut entry, size)?)?)?,
            _ => {
                let head = head(&entry, std::mem::take(&mut before))?;
                let mut content = (&mut entry).take(head.size);
                each(&head, &mut content)?;
            }
        }
    }
    if !before.is_empty() {
        return Err(Error::refused("the archive ends after the long name of a member that is not there"));
    }
    Ok(())
}

fn broken(e: std::io::Error) -> Error {
    Error::refused(format!("broken archive: {e}"))
}

fn once<T>(place: &mut Option<T>, value: T) -> Result<()> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(Error::refused("broken archive: two extended headers for one member")),
    }
}

fn extension(content: &mut impl Read, size: u64) -> Result<Vec<u8>> {
    if size > EXTENSION_MAX {
        let text = format!("an extended header of {size} bytes is longer than {EXTENSION_MAX}");
        return Err(Error::refused(text));
    }
    let mut bytes = Vec::new();
    content.take(EXTENSION_MAX).read_to_end(&mut bytes).map_err(broken)?;
    match bytes.len() as u64 == size {
        true => Ok(bytes),
        false => Err(Error::refused("broken archive: cut off within an extended header")),
    }
}

/// Up to the first zero byte.
fn text(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    bytes.truncate(end);
    bytes
}

/// `LENGTH KEY=VALUE\n`, again and again (pax(1)). The length decides: a value may have line ends in it.
fn records(mut bytes: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let bad = || Error::refused("broken archive: a PAX record that is none");
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let space = bytes.iter().take(20).position(|b| *b == b' ').ok_or_else(bad)?;
        let digits = bytes.get(..space).filter(|d| d.iter().all(u8::is_ascii_digit));
        let length = digits.and_then(|d| std::str::from_utf8(d).ok()).and_then(|d| d.parse::<usize>().ok());
        let length = length.filter(|n| *n > space + 1 && *n <= bytes.len()).ok_or_else(bad)?;
        let (record, rest) = bytes.split_at(length);
        let record = record.get(space + 1..).and_then(|r| r.strip_suffix(b"\n")).ok_or_else(bad)?;
        let equals = record.iter().position(|b| *b == b'=').ok_or_else(bad)?;
        let (key, value) = record.split_at(equals);
        all.push((key.to_vec(), value.get(1..).unwrap_or_default().to_vec()));
        bytes = rest;
    }
    Ok(all)
}

/// Records for all members that follow: only a remark is taken, because tools differ on the rest.
fn global(records: &[(Vec<u8>, Vec<u8>)]) -> Result<()> {
    match records.iter().find(|(key, _)| key != b"comment") {
        None => Ok(()),
        Some((key, _)) => Err(Error::refused(format!("a global PAX header with {}", shown(key)))),
    }
}

fn head<R: Read>(entry: &tar::Entry<'_, R>, before: Before) -> Result<Head> {
    let header = entry.header();
    let mut head = Head {
        name: before.name.unwrap_or_else(|| header.path_bytes().into_owned()),
        link: before
            .link
            .unwrap_or_else(|| header.link_name_bytes().map(|l| l.into_owned()).unwrap_or_default()),
        kind: header.entry_type(),
        size: entry.size(),
        position: entry.raw_file_position(),
        mode: header.mode().map_err(broken)?,
        uid: header.uid().map_err(broken)?,
        gid: header.gid().map_err(broken)?,
        mtime: (header.mtime().ok().and_then(|t| i64::try_from(t).ok()).unwrap_or(0), 0),
        xattrs: Vec::new(),
    };
    for (key, value) in before.pax.unwrap_or_default() {
        record(&mut head, &key, value)?;
    }
    if head.kind == EntryType::GNUSparse {
        return Err(sparse(&head.name));
    }
    Ok(head)
}

fn sparse(name: &[u8]) -> Error {
    let why = "stored as a sparse file, which is not read; write the archive without --sparse";
    Error::refused(format!("{}: {why}", shown(name)))
}

fn record(head: &mut Head, key: &[u8], value: Vec<u8>) -> Result<()> {
    let number = |value: &[u8]| {
        let n = std::str::from_utf8(value).ok().and_then(|v| v.parse::<u64>().ok());
        n.ok_or_else(|| Error::refused(format!("PAX record {}: not a number", shown(key))))
    };
    match key {
        b"path" => head.name = value,
        b"linkpath" => head.link = value,
        b"uid" => head.uid = number(&value)?,
        b"gid" => head.gid = number(&value)?,
        b"mtime" => {
            head.mtime = time(&value).ok_or_else(|| Error::refused("PAX record mtime: not a time"))?
        }
        // Where header and record differ, readers differ on where the next member is.
        b"size" if number(&value)? != head.size => {
            return Err(Error::refused(format!(
                "{}: its two sizes differ; files from 8 GiB on are not read from PAX records",
                shown(&head.name)
            )));
        }
        _ => {
            if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                head.xattrs.push((name.to_vec(), value));
            } else if key.starts_with(b"GNU.sparse.") {
                return Err(sparse(&head.name));
            } else if key.starts_with(b"LIBARCHIVE.xattr.") && head.xattrs.is_empty() {
                return Err(Error::refused("extended attributes in LIBARCHIVE records, want SCHILY.xattr"));
            }
        }
    }
    Ok(())
}

/// `1234.5678`, also before 1970.
fn time(value: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(value).ok()?;
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let secs: i64 = whole.parse().ok()?;
    if !part.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let nanos: u32 = format!("{part:0<9}").get(..9)?.parse().ok()?;
    match (whole.starts_with('-'), nanos) {
        (true, 1..) => Some((secs.checked_sub(1)?, 1_000_000_000 - nanos)),
        _ => Some((secs, nanos)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_as_long_as_they_say() {
        let all = records(b"12 a=x\ny\nz\n\n7 b=12\n").unwrap();
        assert_eq!(all, [(b"a".to_vec(), b"x\ny\nz\n".to_vec()), (b"b".to_vec(), b"12".to_vec())]);
        for bad in [&b"x"[..], b"5 a=", b"99 a=1\n", b"6 abc\n", b"0 a=1\n", b"6 a=12"] {
            assert!(records(bad).is_err(), "{}", shown(bad));
        }
    }

    #[test]
    fn times_have_fractions() {
        assert_eq!(time(b"12.5"), Some((12, 500_000_000)));
        assert_eq!(time(b"-1.25"), Some((-2, 750_000_000)));
        assert_eq!(time(b"7"), Some((7, 0)));
        assert_eq!(time(b"7.x"), None);
    }
}
