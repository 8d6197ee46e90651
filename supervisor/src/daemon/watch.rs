//! Tells when the services directory, or a directory of a secret or config file, changes. Reads only.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use inotify::{EventMask, EventStream, Inotify, WatchDescriptor, WatchMask};
use tokio_stream::StreamExt;
use tracing::warn;

/// inotify(7) on a changing set of directories.
pub(super) struct Watch {
    stream: Option<EventStream<Vec<u8>>>,
    watched: BTreeMap<PathBuf, WatchDescriptor>,
}

impl Watch {
    /// Without inotify (its instances are limited for each user) only the full passes are left, and that is said.
    pub(super) fn new() -> Watch {
        let stream = Inotify::init().and_then(|i| i.into_event_stream(vec![0; 4096]));
        let stream =
            stream.map_err(|e| warn!("no inotify, changes are seen by the full pass only: {e}")).ok();
        Watch { stream, watched: BTreeMap::new() }
    }

    /// Watches just these directories from now on.
    pub(super) fn set<'a>(&mut self, dirs: impl Iterator<Item = &'a Path>) {
        let Some(stream) = &self.stream else { return };
        let mut watches = stream.watches();
        let mut old = std::mem::take(&mut self.watched);
        let mask = WatchMask::CLOSE_WRITE
            | WatchMask::MOVE
            | WatchMask::DELETE
            | WatchMask::CREATE
            | WatchMask::ONLYDIR;
        for dir in dirs {
            if self.watched.contains_key(dir) {
                continue;
            }
            let descriptor = match old.remove(dir) {
                Some(d) => Ok(d),
                None => watches.add(dir, mask),
            };
            match descriptor {
                Ok(d) => {
                    self.watched.insert(dir.to_owned(), d);
                }
                Err(e) => warn!("{} is not watched, the full pass will see its changes: {e}", dir.display()),
            }
        }
        for (_, descriptor) in old {
            watches.remove(descriptor).ok();
        }
    }

    /// Comes back when something changed. Never, without inotify.
    pub(super) async fn changed(&mut self) {
        let Some(stream) = &mut self.stream else { return std::future::pending().await };
        loop {
            match stream.next().await {
                Some(Ok(event)) if event.mask.contains(EventMask::Q_OVERFLOW) => return,
                // A directory that went away and came back has another watch.
                Some(Ok(event)) if event.mask.contains(EventMask::IGNORED) => {
                    self.watched.retain(|_, d| *d != event.wd);
                    return;
                }
                Some(Ok(_)) => return,
                Some(Err(e)) => warn!("inotify: {e}"),
                None => std::future::pending::<()>().await,
            }
        }
    }
}
