//! Rungs that a file asks for by name and this host does not have. A start with one fails; what runs when its file comes to ask
//! for one goes on without it, and says so.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};

use crate::api::model::ServiceChange;
use crate::daemon::owner::{Owner, Slot};
use crate::names::RunId;
use crate::unit::bundle::lacking_rungs;
use crate::unit::pressure::Rungs;
use crate::unit::service::Service;

/// What each run was told to lack, with the rungs that it was about.
pub(super) type Lacking = BTreeMap<RunId, (Rungs, String)>;

impl Owner {
    /// Tells of those that have come to ask for what is not there.
    pub(super) fn settle_lacking(&mut self, running: &BTreeSet<RunId>) {
        self.pressure.lacking.retain(|run, _| running.contains(run));
        for run in running {
            let service = self.service(&run.instance).0;
            let Some(rungs) = service.pressure.rungs else {
                self.pressure.lacking.remove(run);
                continue;
            };
            if self.pressure.lacking.get(run).is_some_and(|(of, _)| *of == rungs) {
                continue;
            }
            let text = self.rungs_not_here(&service).join(", ");
            if !text.is_empty() {
                let text = format!("{text}: it goes on without, and does not start again with it");
                self.tell_of(&run.instance, "rungs-left-out", text);
            }
            self.pressure.lacking.insert(run.clone(), (rungs, text));
        }
    }

    fn rungs_not_here(&self, service: &Service) -> Vec<String> {
        lacking_rungs(service.pressure.rungs, self.place.has_controllers(), self.place.has_tree())
    }

    /// For `ps` and `explain`.
    pub(in crate::daemon) fn lacks_rungs(&self, slot: &Slot) -> Option<String> {
        let (_, text) = self.pressure.lacking.get(slot.machine.run()?)?;
        (!text.is_empty()).then(|| format!("without a rung of its file: {text}"))
    }

    /// For `plan` and `apply`.
    pub(in crate::daemon) fn note_rungs(&self, change: &mut ServiceChange, new: &Service) {
        let then = match change.action.as_str() {
            "update" => "what runs goes on without, and does not start again with it",
            _ => "it cannot start",
        };
        change.notes.extend(self.rungs_not_here(new).into_iter().map(|text| format!("{text}: {then}")));
    }
}
