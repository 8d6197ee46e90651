//! What an image is read from: a directory, or a tar archive whose members are found by their names. Nothing of it is
//! unpacked here, and nothing but its own files is opened.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use tar::EntryType;

use super::layer::{Space, decoder, sniff};
use super::{Error, Limits, Result, archive, shown};
use crate::sys::{file, tree};

/// More members than this no image archive has.
const MEMBERS_MAX: usize = 20_000;
/// Links from member to member.
const HOPS: usize = 4;

/// Files by name.
pub(super) enum Source {
    /// A directory.
    Directory(OwnedFd),
    /// An archive that is not compressed.
    Archive(File, BTreeMap<String, Member>),
}

/// Where a member is.
pub(super) enum Member {
    /// Its first byte and its size.
    At(u64, u64),
    /// The name of another one.
    Link(String),
}

/// A part of a file.
struct Part<'a> {
    file: &'a File,
    at: u64,
    left: u64,
}

impl Read for Part<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let n = self.file.read_at(buffer.get_mut(..most).unwrap_or_default(), self.at)?;
        if n == 0 && most > 0 {
            return Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "the archive is cut off"));
        }
        self.at += n as u64;
        self.left -= n as u64;
        Ok(n)
    }
}

impl Source {
    /// Opens a directory, or an archive; one that is compressed is decompressed to `scratch` first.
    ///
    /// # Errors
    /// It is neither, broken, or larger than the limits.
    pub(super) fn open(path: &Path, scratch: &Path, limits: Limits) -> Result<Source> {
        let kind = std::fs::metadata(path).map_err(|e| Error::at(path, e))?;
        if kind.is_dir() {
            // The directory is what the caller named, links and all; what is in it is not.
            let path = std::fs::canonicalize(path).map_err(|e| Error::at(path, e))?;
            return Ok(Source::Directory(tree::open_root(&path).map_err(|e| Error::at(&path, e))?));
        }
        if !kind.is_file() {
            return Err(Error::refused(format!("{}: neither a file nor a directory", path.display())));
        }
        let file = file::open_read(path).map_err(|e| Error::at(path, e))?;
        let file = match sniff(&file).map_err(|e| Error::at(path, e))? {
            None => file,
            Some(_) => decompress(&file, scratch, limits)?,
        };
        let members = index(&file)?;
        Ok(Source::Archive(file, members))
    }

    /// Whether there is such a file.
    pub(super) fn has(&self, name: &str) -> bool {
        match self {
            Source::Directory(dir) => tree::open_file_in(dir, Path::new(name)).is_ok(),
            Source::Archive(_, members) => members.contains_key(name),
        }
    }

    /// A file and its size.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn open_member(&self, name: &str) -> Result<(Box<dyn Read + '_>, u64)> {
        match self {
            Source::Directory(dir) => {
                let file = tree::open_file_in(dir, Path::new(name)).map_err(|e| missing(name, e))?;
                let size = file.metadata().map_err(|e| missing(name, e))?.len();
                Ok((Box::new(file), size))
            }
            Source::Archive(file, members) => {
                let mut name = name;
                for _ in 0..HOPS {
                    match members.get(name) {
                        Some(Member::At(at, size)) => {
                            return Ok((Box::new(Part { file, at: *at, left: *size }), *size));
                        }
                        Some(Member::Link(to)) => name = to,
                        None => return Err(missing(name, "not in the archive")),
                    }
                }
                Err(missing(name, "a link to a link to a link"))
            }
        }
    }

    /// A whole file of at most `max` bytes.
    ///
    /// # Errors
    /// There is none, or it is longer.
    pub(super) fn read(&self, name: &str, max: u64) -> Result<Vec<u8>> {
        let (reader, size) = self.open_member(name)?;
        if size > max {
            return Err(Error::refused(format!("{name}: {size} bytes, longer than {max}")));
        }
        let mut bytes = Vec::new();
        reader.take(max).read_to_end(&mut bytes).map_err(|e| missing(name, e))?;
        match bytes.len() as u64 == size {
            true => Ok(bytes),
            false => Err(missing(name, "cut off")),
        }
    }
}

fn missing(name: &str, e: impl std::fmt::Display) -> Error {
    Error::refused(format!("{name}: {e}"))
}

fn decompress(file: &File, scratch: &Path, limits: Limits) -> Result<File> {
    let mut reader = decoder(BufReader::new(file))?;
    let mut space = Space::of(scratch)?;
    let path = scratch.join("archive.tar");
    let mut options = File::options();
    let target =
        options.read(true).write(true).create_new(true).open(&path).map_err(|e| Error::at(&path, e))?;
    let mut writer = BufWriter::new(&target);
    let mut total = 0u64;
    let mut buffer = vec![0; 1 << 16];
    loop {
        let n =
            reader.read(&mut buffer).map_err(|e| Error::refused(format!("cannot be decompressed: {e}")))?;
        if n == 0 {
            break;
        }
        total += n as u64;
        if total > limits.bytes {
            return Err(Error::refused(format!(
                "decompressed more than {} bytes (--max-bytes)",
                limits.bytes
            )));
        }
        space.take(n as u64)?;
        writer.write_all(buffer.get(..n).unwrap_or_default()).map_err(|e| Error::at(&path, e))?;
    }
    writer.flush().map_err(|e| Error::at(&path, e))?;
    drop(writer);
    Ok(target)
}

/// Where everything is; what the archive says twice is refused.
fn index(file: &File) -> Result<BTreeMap<String, Member>> {
    let end = file.metadata().map_err(|e| Error::failed(e.to_string()))?.len();
    let reader = BufReader::new(Part { file, at: 0, left: end });
    let mut members = BTreeMap::new();
    archive::walk(reader, |head, _| {
        let member = match head.kind {
            EntryType::Directory => return Ok(()),
            EntryType::Regular | EntryType::Continuous => Member::At(head.position, head.size),
            EntryType::Symlink | EntryType::Link => {
                let base = if head.kind == EntryType::Symlink { &head.name[..] } else { b"" };
                Member::Link(target(base, &head.link)?)
            }
            _ => return Err(Error::refused(format!("{}: no file, directory or link", shown(&head.name)))),
        };
        let name = join(b"", &head.name)
            .ok_or_else(|| Error::refused(format!("{}: not a name in an archive", shown(&head.name))))?;
        if head.position.saturating_add(head.size) > end {
            return Err(Error::refused(format!("{name}: the archive is cut off")));
        }
        if members.len() >= MEMBERS_MAX {
            return Err(Error::refused(format!("more than {MEMBERS_MAX} members")));
        }
        match members.insert(name.clone(), member) {
            None => Ok(()),
            Some(_) => Err(Error::refused(format!("{name} is there twice"))),
        }
    })?;
    Ok(members)
}

/// Archives of some engines have the same layer once, and links to it.
fn target(name: &[u8], link: &[u8]) -> Result<String> {
    let parent =
        name.iter().rposition(|b| *b == b'/').map_or(&b""[..], |i| name.get(..i).unwrap_or_default());
    join(parent, link).ok_or_else(|| {
        Error::refused(format!("{}: a link out of the archive, to {}", shown(name), shown(link)))
    })
}

/// A name from the top of the archive; `None` = it leads out, is absolute or no text.
fn join(parent: &[u8], name: &[u8]) -> Option<String> {
    if name.starts_with(b"/") {
        return None;
    }
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in parent.split(|b| *b == b'/').chain(name.split(|b| *b == b'/')) {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    String::from_utf8(parts.join(&b'/')).ok().filter(|n| !n.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_in_the_archive() {
        assert_eq!(join(b"", b"./blobs//sha256/x").as_deref(), Some("blobs/sha256/x"));
        assert_eq!(join(b"a/b", b"../c/layer.tar").as_deref(), Some("a/c/layer.tar"));
        for (parent, name) in
            [(&b""[..], &b"/etc/passwd"[..]), (b"", b"../x"), (b"a", b"../../x"), (b"", b".")]
        {
            assert_eq!(join(parent, name), None);
        }
    }
}
