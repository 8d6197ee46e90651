//! The keepers of all runs: who is connected, what they and the jobs report, and when an end may be forgotten by its keeper.
#![forbid(unsafe_code)]

use tokio::sync::{mpsc, watch};
use tracing::warn;

use super::owner::{Owner, Slot};
use super::work::{Done, Rest};
use crate::journal::record::Record;
use crate::keeper::record::{End, ExitRecord};
use crate::keeper::{Keeper, Note, Order, Orders, Phase};
use crate::machine::{Event, State};
use crate::names::RunId;
use crate::policy::{Ending, signal_name};
use crate::runtime::logged_error;

/// The connection to one keeper.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) orders: Orders,
    /// It can be told to go on in another log file.
    pub(super) rotates: bool,
    /// Becomes true when the connection is over.
    gone: watch::Sender<bool>,
}

impl Owner {
    /// The way to the keeper of a run, while it is connected.
    pub(super) fn orders(&self, run: &RunId) -> Option<Orders> {
        self.keepers.get(run).map(|line| line.orders.clone())
    }

    /// Becomes true when the keeper of a run has gone; `None` = it is not connected.
    pub(super) fn gone(&self, run: &RunId) -> Option<watch::Receiver<bool>> {
        self.keepers.get(run).map(|line| line.gone.subscribe())
    }

    /// The end of a run is written, and its keeper may forget it. Unless something is not on disk yet: then its keeper keeps
    /// the record, and the keeper's directory stays, so that a daemon that comes after this one can ask again.
    pub(super) fn ack(&mut self, run: &RunId) {
        if self.journal.pending() > 0 {
            self.unacked.insert(run.clone());
            return;
        }
        let sent = self.orders(run).is_some_and(|o| o.send(Order::Ack).is_ok());
        if !sent {
            crate::keeper::remove_record(&self.options.dirs.exit_record(run));
        }
    }

    /// All is on disk: what keepers had to keep may go.
    pub(super) fn ack_late(&mut self) {
        for run in std::mem::take(&mut self.unacked) {
            self.ack(&run);
            let (cgroup, of_container) = (self.place.keeper(&run), self.place.container(&run));
            let rest = Rest { gone: self.gone(&run), cgroup, of_container, ..Rest::default() };
            let shop = self.shop.clone();
            tokio::task::spawn_local(async move { shop.bury(&run, rest).await });
        }
    }

    /// Takes over a keeper's connection.
    pub(super) fn connect(&mut self, run: &RunId, keeper: Keeper) {
        let gone = watch::Sender::new(false);
        self.keepers.insert(
            run.clone(),
            Line { orders: keeper.orders(), rotates: keeper.rotates(), gone: gone.clone() },
        );
        tokio::task::spawn_local(listen(keeper, run.clone(), self.shop.done.clone(), gone));
    }

    /// A report of a job.
    pub(super) fn report(&mut self, done: Done) {
        match done {
            Done::Prepared(run) => {
                if let Some(slot) = self.slot_of(&run) {
                    slot.cut = None;
                }
                self.feed_run(&run, Event::Prepared);
            }
            Done::Launched(run, keeper, hello) => self.launched(&run, keeper, hello.phase),
            Done::Started(run) => {
                self.feed_run(&run, Event::Started);
                if let Some(record) = self.start_over(&run) {
                    self.ended(&run, record);
                }
            }
            Done::NeverRan(run, code, text) => {
                let exit = self.start_over(&run);
                self.feed_run(&run, Event::NeverRan { code, text, exit });
            }
            Done::Said(run, Some(note)) => self.said(&run, note),
            Done::Said(run, None) => self.connection_over(&run),
            Done::KeeperGone(run) => self.keeper_gone(&run),
            Done::StartFailed(run, code, text) => match self.start_over(&run) {
                Some(record) => self.feed_run(&run, Event::NeverRan { code, text, exit: Some(record) }),
                None => {
                    if let Some(slot) = self.slot_of(&run) {
                        slot.start_failed = Some((code, text));
                    }
                }
            },
            Done::Cleaned(run, result) if self.strays.contains_key(&run) => self.stray_cleaned(run, result),
            Done::Cleaned(run, result) if self.is_behind(&run) => {
                self.feed(&run.instance, Event::Behind(result));
            }
            Done::Cleaned(run, Ok(())) => self.feed_run(&run, Event::Cleaned),
            Done::Cleaned(run, Err(text)) => self.feed_run(&run, Event::CleanFailed(text)),
            Done::Printed(run, text) => self.note(&[Record::Output { run, text }]),
            Done::Looked(run, role, outcome) => self.looked(&run, role, outcome),
            Done::Resized(run, result) => self.resized(&run, result),
            Done::Hears(run, socket) => self.hears(&run, socket),
            Done::Told(run, message) => self.told(&run, message),
            Done::Stalls(run) => self.stalls(run.as_ref()),
            Done::HolderGone => self.hold_again(true),
            Done::Tell(run, kind, text) => {
                self.tell(Some(&run.instance.service), Some(run.instance.replica), kind, text);
            }
        }
    }

    /// An event of a run counts only while it is the run that exists.
    pub(super) fn feed_run(&mut self, run: &RunId, event: Event) {
        if self.slots.get(&run.instance).is_some_and(|s| s.machine.run() == Some(run)) {
            self.feed(&run.instance, event);
        }
    }

    /// Whether it is the run before the one that exists.
    fn is_behind(&self, run: &RunId) -> bool {
        let behind = self.slots.get(&run.instance).and_then(|s| s.machine.behind.as_ref());
        behind.is_some_and(|b| b.run == *run)
    }

    /// The instance of a run, while it is the run that exists.
    fn slot_of(&mut self, run: &RunId) -> Option<&mut Slot> {
        self.slots.get_mut(&run.instance).filter(|s| s.machine.run() == Some(run))
    }

    /// The runtime has answered to the start of a run: its end, if that was known before.
    fn start_over(&mut self, run: &RunId) -> Option<ExitRecord> {
        let slot = self.slot_of(run)?;
        slot.starting = false;
        slot.early_end.take().map(|record| *record)
    }

    fn launched(&mut self, run: &RunId, keeper: Keeper, phase: Phase) {
        if self.slots.get(&run.instance).is_none_or(|s| s.machine.run() != Some(run)) {
            // The run was given up meanwhile: its clean-up ends the keeper.
            return;
        }
        self.connect(run, keeper);
        match phase {
            Phase::Creating => {
                // A stop that came while there was no keeper to tell.
                let stopping = matches!(
                    self.slots.get(&run.instance).map(|s| &s.machine.state),
                    Some(State::Stopping { .. })
                );
                if let Some(orders) = self.orders(run).filter(|_| stopping) {
                    orders.send(Order::Signal(9)).ok();
                }
            }
            Phase::Created { pid, .. } => self.feed_run(run, Event::Created { pid }),
            Phase::Ended(record) => self.said(run, Note::Ended(record)),
        }
    }

    fn said(&mut self, run: &RunId, note: Note) {
        match note {
            Note::Created { pid, .. } => {
                if let Some(slot) = self.slots.get_mut(&run.instance) {
                    slot.create_by = None;
                }
                self.feed_run(run, Event::Created { pid });
            }
            Note::Rotated(_) => self.cap.grew(),
            Note::Ended(record) => self.ended(run, *record),
        }
    }

    /// The keeper's record: a container that could not be made, or one that ended.
    pub(super) fn ended(&mut self, run: &RunId, record: ExitRecord) {
        self.take_end(run, record, false);
    }

    /// The same; it may be of a boot before this one, which no daemon of that boot took note of.
    pub(super) fn take_end(&mut self, run: &RunId, mut record: ExitRecord, earlier: bool) {
        if self.slots.get(&run.instance).is_none_or(|s| s.machine.run() != Some(run)) {
            return self.ack(run);
        }
        let mut start_failed = None;
        if let Some(slot) = self.slot_of(run) {
            // Its process is faster than the runtime: whether it was started is known in a moment, and told first.
            if slot.starting && matches!(slot.machine.state, State::Starting { .. }) {
                slot.early_end = Some(Box::new(record));
                return;
            }
            slot.ending = ending_variable(&record);
            start_failed = slot.start_failed.take();
        }
        if record.log_dropped > 0 {
            let text = format!("{} bytes of output of {run} are not in its log", record.log_dropped);
            self.tell(Some(&run.instance.service), Some(run.instance.replica), "output-dropped", text);
        }
        super::oom::add_victim(&mut record);
        self.ran_out(run, &record);
        let event = match &record.end {
            End::CreateFailed { text, .. } => {
                let logged = logged_error(&self.options.dirs.keeper(run).join("runtime.log"));
                let (code, text) = match logged {
                    Some((code, text)) => (code.unwrap_or_else(|| "runtime-error".into()), text),
                    None => ("runtime-error".into(), text.clone()),
                };
                Event::NeverRan { code, text, exit: Some(record) }
            }
            End::Exited { code: 0 } => Event::Ended(record),
            _ if earlier && by_the_host(&record) => Event::Lost(Ending::Reboot(Some(Box::new(record)))),
            End::Exited { .. } | End::Signaled { .. } => match start_failed {
                Some((code, text)) => Event::NeverRan { code, text, exit: Some(record) },
                None => Event::Ended(record),
            },
        };
        self.feed_run(run, event);
    }

    /// A connection to a keeper is over. That is not yet its end: one that could not say all it had to a daemon that was held
    /// up has closed it, too.
    fn connection_over(&mut self, run: &RunId) {
        self.keepers.remove(run);
        if self.is_open(run) && !self.ended_by_record(run) {
            self.reach(run);
        }
    }

    /// Asks a keeper again, for as long as there is one.
    pub(super) fn reach(&self, run: &RunId) {
        tokio::task::spawn_local(self.shop.clone().reach(run.clone()));
    }

    /// The keeper is gone; it may have left a record.
    fn keeper_gone(&mut self, run: &RunId) {
        if self.is_open(run) && !self.keepers.contains_key(run) && !self.ended_by_record(run) {
            self.feed_run(run, Event::Lost(Ending::MonitorLost));
        }
    }

    /// Whether a run exists whose end is not known: neither written nor in hand.
    fn is_open(&self, run: &RunId) -> bool {
        self.slots.get(&run.instance).is_some_and(|s| {
            let over = matches!(s.machine.state, State::Cleaning { .. }) || s.early_end.is_some();
            s.machine.run() == Some(run) && !over
        })
    }

    /// Takes in the record that a keeper has left, if there is one.
    fn ended_by_record(&mut self, run: &RunId) -> bool {
        let record = super::adopt::read_record(&self.options.dirs.exit_record(run));
        match record.filter(|r| r.run == *run) {
            Some(record) => {
                self.ended(run, record);
                true
            }
            None => false,
        }
    }
}

/// Signals by which a host that goes down ends what is left (systemd-shutdown(8), killall5(8)).
const FAREWELL: [&str; 3] = ["TERM", "KILL", "HUP"];

/// An end that no daemon of its boot took note of looks like that of a host that goes down: nobody else is there to blame.
fn by_the_host(record: &ExitRecord) -> bool {
    let starved = record.memory.oom_kills.is_some_and(|n| n > 0);
    let signal = match record.end {
        End::Signaled { signal, .. } => signal,
        // Shells and language runtimes tell a signal this way.
        End::Exited { code } => i32::from(code) - 128,
        End::CreateFailed { .. } => return false,
    };
    !starved && FAREWELL.contains(&signal_name(signal).as_str())
}

/// What the post-stop hooks are told about an end: `KNARR_EXIT_CODE=3`.
pub(super) fn ending_variable(record: &ExitRecord) -> Option<String> {
    match record.end {
        End::Exited { code } => Some(format!("KNARR_EXIT_CODE={code}")),
        End::Signaled { signal, .. } => Some(format!("KNARR_EXIT_SIGNAL={signal}")),
        End::CreateFailed { .. } => None,
    }
}

/// Hands a keeper's notes to the loop until the connection is over.
async fn listen(
    mut keeper: Keeper,
    run: RunId,
    done: mpsc::UnboundedSender<Done>,
    gone: watch::Sender<bool>,
) {
    loop {
        let note = keeper.next().await.unwrap_or_else(|e| {
            warn!("the keeper of {run}: {e}");
            None
        });
        let over = note.is_none();
        if over {
            gone.send_replace(true);
        }
        if done.send(Done::Said(run.clone(), note)).is_err() || over {
            return;
        }
    }
}
