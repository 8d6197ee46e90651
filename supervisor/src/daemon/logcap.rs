//! The cap for the logs of the whole host: looked at a moment after a keeper said that its log grew, and never otherwise.
#![forbid(unsafe_code)]

use std::time::Duration;

use tracing::warn;

use super::owner::Owner;
use crate::clock::Boot;
use crate::keeper::Order;
use crate::logs::{self, Removed};

/// From a keeper's word to the look at all logs; what else grows meanwhile is seen by the same look.
const PAUSE: Duration = Duration::from_secs(1);
/// Removals are told no more often than this, all of them together.
const TELL: Duration = Duration::from_secs(60);

/// What is under way.
#[derive(Debug, Default)]
pub(super) struct Cap {
    /// When to look.
    at: Option<Boot>,
    /// When removals were told last.
    told: Option<Boot>,
    /// What was removed since.
    removed: Removed,
}

impl Cap {
    /// When to look.
    pub(super) fn due(&self) -> Option<Boot> {
        self.at
    }

    /// A log grew.
    pub(super) fn grew(&mut self) {
        self.at.get_or_insert(Boot::now().after(PAUSE));
    }
}

impl Owner {
    /// Looks at all logs when it is time to.
    pub(super) fn cap_logs_in_time(&mut self) {
        if self.cap.at.take_if(|t| *t <= Boot::now()).is_some()
            && let Err(e) = self.cap_logs()
        {
            warn!("the cap for all logs: {e}");
        }
    }

    fn cap_logs(&mut self) -> std::io::Result<()> {
        let root = self.options.dirs.logs();
        let total = self.options.log_total.map_or_else(|| logs::default_cap(&root), Ok)?;
        let mut removed = logs::enforce_cap(&root, total)?;
        let mut excess = removed.left.saturating_sub(total);
        // What is left are the files that are written now: the largest are ended, and go when the next ones are begun.
        for current in logs::heaviest(&root)? {
            if excess == 0 {
                break;
            }
            let run = self.slots.get(&current.instance).and_then(|s| s.machine.run());
            let ended = match run {
                Some(run) => self.end_log_file(run),
                // Nobody writes it.
                None => logs::replace(&root, &current).map(|()| {
                    removed.files += 1;
                    removed.bytes += current.bytes;
                    true
                })?,
            };
            excess = excess.saturating_sub(if ended { current.bytes } else { 0 });
        }
        self.cap.removed.files += removed.files;
        self.cap.removed.bytes += removed.bytes;
        let now = Boot::now();
        if self.cap.removed.files > 0 && self.cap.told.is_none_or(|at| now.since(at) >= TELL) {
            let Removed { files, bytes, left: _ } = std::mem::take(&mut self.cap.removed);
            self.cap.told = Some(now);
            let text = format!("{files} log files removed, {bytes} bytes: the cap for all logs");
            self.tell(None, None, "logs-capped", text);
        }
        Ok(())
    }

    /// Whether the keeper of a run was told to go on in another file; one of an earlier version cannot.
    fn end_log_file(&self, run: &crate::names::RunId) -> bool {
        self.keepers.get(run).is_some_and(|line| line.rotates && line.orders.send(Order::Rotate).is_ok())
    }
}
