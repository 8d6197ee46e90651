//! Secret and config files of everything that runs, when their sources change.
#![forbid(unsafe_code)]

use tracing::warn;

use super::owner::Owner;
use crate::machine::{Event, State};
use crate::names::RunId;
use crate::unit::bundle;
use crate::unit::service::OnChange;

impl Owner {
    /// Looks at the sources of secret and config files of everything that runs.
    pub(super) fn refresh_files(&mut self) {
        let running: Vec<_> = self
            .slots
            .values()
            .filter_map(|s| match &s.machine.state {
                State::Running { run, .. } => Some((run.clone(), s.made_from.as_ref()?.0.clone())),
                _ => None,
            })
            .filter(|(_, service)| !service.files.is_empty())
            .collect();
        for (run, service) in running {
            let found = bundle::refresh_files(&service, &run, &self.options.dirs);
            for failure in &found.failed {
                warn!("{run}: {}: {}", failure.code, failure.text);
            }
            if !found.changed.is_empty() {
                self.files_changed(&run, &found.changed);
            }
        }
    }

    fn files_changed(&mut self, run: &RunId, changed: &[bundle::Changed]) {
        let (name, replica) = (&run.instance.service, Some(run.instance.replica));
        if let Some(file) = changed.iter().find(|c| c.action == OnChange::Restart) {
            let why = format!("{} changed", file.target);
            self.tell(Some(name), replica, "file-changed", why.clone());
            return self.feed_run(run, Event::Again { why });
        }
        for file in changed {
            let OnChange::Signal(signal) = &file.action else { continue };
            self.tell(
                Some(name),
                replica,
                "file-changed",
                format!("{} changed: SIG{}", file.target, signal.name),
            );
            if let Some(job) = self.job(run) {
                tokio::task::spawn_local(self.shop.clone().signal(job, signal.number, self.orders(run)));
            }
        }
        if let Err(e) = bundle::refreshed(run, &self.options.dirs) {
            warn!("{run}: {e}");
        }
    }
}
