//! The journal: intents, exits, goals and events, in order, on disk before anybody acts on them.
#![forbid(unsafe_code)]

mod frame;
pub mod lock;
pub mod record;
mod recover;
pub mod store;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_disk;
#[cfg(test)]
mod tests_image;
#[cfg(test)]
mod tests_jobs;

pub use lock::{Lock, lock};
pub use record::{Event, Image, Record};
pub use store::{Journal, Limits, Loss, Opened};

/// What some bytes say as a journal, and what the image that is written of it says.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn reread(bytes: &[u8]) -> (Image, Image) {
    let first = recover::read(bytes);
    let mut out = Vec::new();
    let whole = frame::put_image(&first.image, first.reserved, usize::MAX, |piece| {
        out.extend_from_slice(piece);
        Ok::<(), std::convert::Infallible>(())
    });
    let Ok(()) = whole;
    (first.image, recover::read(&out[..]).image)
}
