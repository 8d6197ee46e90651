//! Waits for a log directory to change, with inotify and without ever polling. Touches its own inotify descriptor alone.
#![forbid(unsafe_code)]

use std::io;
use std::path::{Path, PathBuf};

use inotify::{EventMask, EventStream, Inotify, WatchMask, Watches};
use tokio_stream::StreamExt;

/// Watches one log directory.
pub(super) struct Watch {
    dir: PathBuf,
    watches: Watches,
    events: EventStream<Vec<u8>>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The directory is not there yet.
    Awaited,
    /// It is watched.
    Watched,
    /// It was removed.
    Gone,
}

impl Watch {
    /// Begins to watch. What happens from here on is seen. Needs a tokio runtime.
    pub(super) fn new(dir: &Path) -> io::Result<Watch> {
        let inotify = Inotify::init()?;
        let mut watches = inotify.watches();
        let events = inotify.into_event_stream(vec![0; 4096])?;
        // That the directory goes is seen in its parent: as long as a file of it is open it does not tell itself.
        if let Some(parent) = dir.parent() {
            let mask = WatchMask::CREATE
                | WatchMask::MOVED_TO
                | WatchMask::DELETE
                | WatchMask::MOVED_FROM
                | WatchMask::ONLYDIR;
            watches.add(parent, mask)?;
        }
        let mut watch = Watch { dir: dir.to_owned(), watches, events, state: State::Awaited };
        watch.enter()?;
        Ok(watch)
    }

    /// Watches the directory if it is there.
    fn enter(&mut self) -> io::Result<()> {
        let mask = WatchMask::MODIFY | WatchMask::CREATE | WatchMask::ONLYDIR;
        match self.watches.add(&self.dir, mask) {
            Ok(_) => self.state = State::Watched,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
        Ok(())
    }

    /// Waits until something may have changed. `false` = nothing ever will: the directory was removed.
    pub(super) async fn changed(&mut self) -> io::Result<bool> {
        if self.state == State::Gone {
            return Ok(false);
        }
        let Some(event) = self.events.next().await else { return Ok(false) };
        let event = event?;
        let gone = event.mask.intersects(EventMask::DELETE | EventMask::MOVED_FROM);
        match self.state {
            State::Awaited => self.enter()?,
            // Of its own files it tells no removals, and none of them has its name.
            _ if gone && event.name.as_deref() == self.dir.file_name() => self.state = State::Gone,
            _ => {}
        }
        Ok(true)
    }
}
