//! The stream of one layer: compressed bytes are counted and hashed as they are, and again as they come out.

use std::cell::RefCell;
use std::fs::File;
use std::io::{BufReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::rc::Rc;

use sha2::{Digest, Sha256};

use super::source::Source;
use super::{Error, Result, hex};
use crate::sys::tree;

/// What follows the end of an archive in its file; tar(1) pads to 10 KiB, others to more.
const TRAILER_MAX: u64 = 16 << 20;
/// Compressed windows of more than this would cost a host its memory (RFC 8878, 3.1.1.1.2 recommends 8 MiB).
const WINDOW_MAX: u64 = 128 << 20;
/// The disk is looked at after so many bytes.
const LOOK_AFTER: u64 = 32 << 20;
/// So much of the file system stays free, or a twentieth of it where that is less.
const KEEP_FREE: u64 = 1 << 30;

/// How bytes are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    /// gzip(1), RFC 1952.
    Gzip,
    /// zstd(1), RFC 8878.
    Zstd,
}

fn coding(magic: &[u8]) -> Option<Coding> {
    match magic {
        [0x1f, 0x8b, ..] => Some(Coding::Gzip),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Coding::Zstd),
        _ => None,
    }
}

/// How a file is compressed, by its first bytes.
pub(super) fn sniff(file: &File) -> std::io::Result<Option<Coding>> {
    let mut magic = [0; 4];
    let n = file.read_at(&mut magic, 0)?;
    Ok(coding(magic.get(..n).unwrap_or_default()))
}

/// Decompresses by what the first bytes say; what is not compressed passes.
pub(super) fn decoder<'a>(mut reader: impl Read + 'a) -> Result<Box<dyn Read + 'a>> {
    let mut magic = Vec::new();
    (&mut reader).take(4).read_to_end(&mut magic).map_err(|e| Error::refused(e.to_string()))?;
    let found = coding(&magic);
    let whole = std::io::Cursor::new(magic).chain(reader);
    Ok(match found {
        None => Box::new(whole),
        Some(Coding::Gzip) => Box::new(flate2::read::MultiGzDecoder::new(BufReader::new(whole))),
        Some(Coding::Zstd) => Box::new(Zstd { reader: BufReader::new(whole), frame: None }),
    })
}

/// All frames of a zstd stream one after another.
struct Zstd<R: Read> {
    reader: BufReader<R>,
    frame: Option<Box<ruzstd::decoding::FrameDecoder>>,
}

impl<R: Read> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
        use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
        use std::io::{BufRead, Error};
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let Some(frame) = &mut self.frame else {
                if self.reader.fill_buf()?.is_empty() {
                    return Ok(0);
                }
                let mut frame = Box::new(FrameDecoder::new());
                frame.set_max_window_size(WINDOW_MAX);
                match frame.init(&mut self.reader) {
                    Ok(()) => self.frame = Some(frame),
                    // Indexes of some builders are in frames of their own, to be skipped (RFC 8878, 3.1.2).
                    Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                        length,
                        ..
                    })) => drop(std::io::copy(
                        &mut (&mut self.reader).take(length.into()),
                        &mut std::io::sink(),
                    )?),
                    Err(e) => return Err(Error::other(e)),
                }
                continue;
            };
            if frame.can_collect() == 0 && !frame.is_finished() {
                let some = BlockDecodingStrategy::UptoBytes(buffer.len());
                frame.decode_blocks(&mut self.reader, some).map_err(Error::other)?;
            }
            let n = frame.read(buffer)?;
            if n > 0 {
                return Ok(n);
            }
            if frame.is_finished() {
                if frame.get_checksum_from_data().is_some_and(|c| Some(c) != frame.get_calculated_checksum())
                {
                    return Err(Error::other("wrong checksum of a zstd frame"));
                }
                self.frame = None;
            }
        }
    }
}

/// What has passed.
#[derive(Default)]
struct Passed {
    hash: Sha256,
    bytes: u64,
}

/// A stream that is hashed as it passes.
struct Hashed<R> {
    reader: R,
    passed: Rc<RefCell<Passed>>,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.reader.read(buffer)?;
        let mut passed = self.passed.borrow_mut();
        passed.hash.update(buffer.get(..n).unwrap_or_default());
        passed.bytes += n as u64;
        Ok(n)
    }
}

/// One layer of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layer {
    /// Its file in the source.
    pub(super) file: String,
    /// Digits of the digest and size of that file, where the manifest has them.
    pub(super) blob: Option<(String, u64)>,
    /// Digits of the digest of the archive in it.
    pub(super) diff_id: String,
}

/// Gives the archive of a layer to `use_it`, and then checks that it was what the manifest and the configuration say.
///
/// # Errors
/// What `use_it` says, or which digest is another one.
pub(super) fn read(
    source: &Source,
    layer: &Layer,
    use_it: impl FnOnce(&mut dyn Read) -> Result<()>,
) -> Result<()> {
    let (reader, size) = source.open_member(&layer.file)?;
    if let Some((_, want)) = &layer.blob
        && *want != size
    {
        return Err(Error::refused(format!("{}: {size} bytes, the manifest says {want}", layer.file)));
    }
    let raw = Rc::new(RefCell::new(Passed::default()));
    let plain = Rc::new(RefCell::new(Passed::default()));
    let reader = Hashed { reader: BufReader::with_capacity(1 << 16, reader), passed: Rc::clone(&raw) };
    let mut reader = Hashed { reader: decoder(reader)?, passed: Rc::clone(&plain) };
    let used = use_it(&mut reader);
    used.map_err(|e| e.within(&layer.file))?;
    let mut rest = (&mut reader).take(TRAILER_MAX + 1);
    let trailer = std::io::copy(&mut rest, &mut std::io::sink())
        .map_err(|e| Error::refused(format!("{}: {e}", layer.file)))?;
    if trailer > TRAILER_MAX {
        return Err(Error::refused(format!("{}: goes on after the end of the archive", layer.file)));
    }
    drop(reader);
    let found = |passed: Rc<RefCell<Passed>>| {
        let passed = passed.take();
        (hex(passed.hash), passed.bytes)
    };
    let (diff_id, _) = found(plain);
    let (digest, bytes) = found(raw);
    match &layer.blob {
        Some((want, size)) if *want != digest || *size != bytes => {
            let text = format!("{}: its digest is sha256:{digest}, want sha256:{want}", layer.file);
            return Err(Error::refused(text));
        }
        _ => {}
    }
    if diff_id != layer.diff_id {
        let want = &layer.diff_id;
        return Err(Error::refused(format!(
            "{}: the digest of its archive is sha256:{diff_id}, the configuration says sha256:{want}",
            layer.file
        )));
    }
    Ok(())
}

/// The room on the disk that is written to.
pub(super) struct Space {
    dir: OwnedFd,
    since: u64,
}

impl Space {
    /// Of the file system of a directory; looks at once.
    ///
    /// # Errors
    /// There is not enough room even now.
    pub(super) fn of(dir: &Path) -> Result<Space> {
        let dir = tree::open_root(dir).map_err(|e| Error::at(dir, e))?;
        let mut space = Space { dir, since: LOOK_AFTER };
        space.take(0)?;
        Ok(space)
    }

    /// So much more is about to be written.
    ///
    /// # Errors
    /// The disk would be full.
    pub(super) fn take(&mut self, bytes: u64) -> Result<()> {
        self.since = self.since.saturating_add(bytes);
        if self.since < LOOK_AFTER {
            return Ok(());
        }
        let ahead = bytes.max(if self.since == LOOK_AFTER { 0 } else { LOOK_AFTER });
        self.since = 0;
        let (free, all) = tree::space(&self.dir).map_err(|e| Error::failed(e.to_string()))?;
        let keep = KEEP_FREE.min(all / 20);
        match free >= keep.saturating_add(ahead) {
            true => Ok(()),
            false => {
                Err(Error::refused(format!("the disk is nearly full: {free} bytes free, {keep} are kept")))
            }
        }
    }
}
