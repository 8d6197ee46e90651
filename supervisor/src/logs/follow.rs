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
    /// The directory is not there yet; its parent is watched.
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
        let watches = inotify.watches();
        let events = inotify.into_event_stream(vec![0; 4096])?;
        let mut watch = Watch { dir: dir.to_owned(), watches, events, state: State::Awaited };
        watch.enter(true)?;
        Ok(watch)
    }

    /// Watches the directory, or its parent until it is there.
    fn enter(&mut self, first: bool) -> io::Result<()> {
        let inside = WatchMask::MODIFY | WatchMask::CREATE | WatchMask::DELETE_SELF | WatchMask::ONLYDIR;
        if self.add(inside)? {
            self.state = State::Watched;
            return Ok(());
        }
        let Some(parent) = self.dir.parent().filter(|_| first) else { return Ok(()) };
        self.watches.add(parent, WatchMask::CREATE | WatchMask::MOVED_TO | WatchMask::ONLYDIR)?;
        // Made between the two.
        if self.add(inside)? {
            self.state = State::Watched;
        }
        Ok(())
    }

    fn add(&mut self, mask: WatchMask) -> io::Result<bool> {
        match self.watches.add(&self.dir, mask) {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Waits until something may have changed. `false` = nothing ever will: the directory was removed.
    pub(super) async fn changed(&mut self) -> io::Result<bool> {
        if self.state == State::Gone {
            return Ok(false);
        }
        let Some(event) = self.events.next().await else { return Ok(false) };
        let event = event?;
        match self.state {
            State::Awaited => self.enter(false)?,
            _ if event.mask.contains(EventMask::DELETE_SELF) => self.state = State::Gone,
            _ => {}
        }
        Ok(true)
    }
}
