//! Two paths whose objects change places, as somebody does who may write to the directories of both.

use std::path::PathBuf;

use rustix::fs::{CWD, RenameFlags, renameat_with};

/// A place and what is to be found there instead.
#[derive(Clone, Debug)]
pub struct Exchange {
    place: PathBuf,
    twin: PathBuf,
    /// With which flags the last move was done.
    done: Option<RenameFlags>,
}

impl Exchange {
    /// Both on one file system.
    pub fn new(place: PathBuf, twin: PathBuf) -> Exchange {
        Exchange { place, twin, done: None }
    }

    /// Exchanges both in one step; where nothing is yet, the twin comes first. `false` when there is no such directory.
    pub fn take_place(&mut self) -> bool {
        self.done = [RenameFlags::EXCHANGE, RenameFlags::NOREPLACE]
            .into_iter()
            .find(|flags| renameat_with(CWD, &self.twin, CWD, &self.place, *flags).is_ok());
        self.done.is_some()
    }

    /// The opposite, as far as it still is possible.
    pub fn take_back(&mut self) {
        if let Some(flags) = self.done.take() {
            let _ = renameat_with(CWD, &self.place, CWD, &self.twin, flags);
        }
    }
}
