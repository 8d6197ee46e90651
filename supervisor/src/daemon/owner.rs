//! The one owner of all state: services, instances, journal. A step of a machine is carried out here, in one place.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, watch};
use tracing::{info, warn};

use super::desired::InForce;
use super::options::Options;
use super::place::Place;
use super::stats::Controllers;
use super::turns::Turns;
use super::waiters::Waiters;
use super::work::{Done, Job, Rest, Shop};
use crate::api::model::EventInfo;
use crate::clock::{Boot, Moment};
use crate::journal::Journal;
use crate::journal::record::{Event as Told, Record};
use crate::keeper::record::{End, ExitRecord};
use crate::keeper::{Keeper, Note, Order, Orders, Phase};
use crate::machine::{Effect, Event, Machine, Now, Rules, State};
use crate::names::{Instance, RunId, ServiceName};
use crate::policy::Ending;
use crate::runtime::{Runtime, logged_error};
use crate::unit::bundle;
use crate::unit::service::{OnChange, Service};

/// A runtime that has not made a container after this long has failed.
const CREATE_DEADLINE: Duration = Duration::from_secs(60);
/// How often records are tried again that the disk did not take.
const RETRY: Duration = Duration::from_secs(1);

/// One instance with what is connected to it.
#[derive(Debug)]
pub(super) struct Slot {
    /// Its life.
    pub(super) machine: Machine,
    /// The service its run was made from, and what that service makes runs from: [`unit::run_version`](crate::unit).
    pub(super) made_from: Option<(Rc<Service>, String)>,
    /// The way to its keeper.
    pub(super) orders: Option<Orders>,
    /// Becomes true when the keeper's connection is over.
    pub(super) gone: Option<watch::Sender<bool>>,
    /// When the runtime must have made it.
    pub(super) create_by: Option<Boot>,
    /// The last event about it.
    pub(super) last_event: Option<u64>,
    /// It goes down as soon as those that depend on it have.
    pub(super) down_pending: Option<String>,
    /// It is to be forgotten when it is down.
    pub(super) removed: bool,
    /// For the post-stop hooks: `KNARR_EXIT_CODE=3`.
    pub(super) ending: Option<String>,
}

impl Slot {
    /// An instance without a run.
    pub(super) fn new(machine: Machine) -> Slot {
        Slot {
            machine,
            made_from: None,
            orders: None,
            gone: None,
            create_by: None,
            last_event: None,
            down_pending: None,
            removed: false,
            ending: None,
        }
    }
}

/// All state of one daemon.
pub(super) struct Owner {
    pub(super) options: Options,
    pub(super) boot_id: String,
    pub(super) place: Place,
    pub(super) controllers: Controllers,
    pub(super) journal: Journal,
    pub(super) services: BTreeMap<ServiceName, InForce>,
    /// Problems of files that are no service in force.
    pub(super) problems: Vec<crate::api::model::Problem>,
    pub(super) slots: BTreeMap<Instance, Slot>,
    pub(super) turns: Turns,
    pub(super) waiters: Waiters,
    pub(super) shop: Shop,
    pub(super) events: broadcast::Sender<EventInfo>,
    /// Ends that the journal has not taken: their keepers must not forget them.
    unacked: Vec<RunId>,
    retry_at: Option<Boot>,
    /// When the next token of the restart budget is there.
    turn_at: Option<Boot>,
    /// What runs without being anybody's: taken away.
    pub(super) strays: Vec<RunId>,
    /// Services whose logs go with them.
    pub(super) purge: BTreeSet<ServiceName>,
}

impl Owner {
    /// An owner of nothing yet, and where its jobs report.
    pub(super) fn new(
        options: Options,
        boot_id: String,
        place: Place,
        journal: Journal,
    ) -> (Owner, mpsc::UnboundedReceiver<Done>) {
        let (done, reports) = mpsc::unbounded_channel();
        let shop = Shop {
            done,
            dirs: Rc::new(options.dirs.clone()),
            keeper: Rc::from(options.keeper.clone()),
            log_min_free: options.log_min_free,
        };
        let turns =
            Turns::new(options.start_concurrency, options.restart_rate, options.restart_burst, Boot::now());
        let owner = Owner {
            options,
            boot_id,
            place,
            controllers: Controllers::find(),
            journal,
            services: BTreeMap::new(),
            problems: Vec::new(),
            slots: BTreeMap::new(),
            turns,
            waiters: Waiters::default(),
            shop,
            events: broadcast::channel(256).0,
            unacked: Vec::new(),
            retry_at: None,
            turn_at: None,
            strays: Vec::new(),
            purge: BTreeSet::new(),
        };
        (owner, reports)
    }

    /// The runtime of a service.
    pub(super) fn runtime(&self, service: &Service) -> Runtime {
        let program = service.runtime.clone().unwrap_or_else(|| self.options.runtime.clone());
        Runtime::new(program, self.options.dirs.clone())
    }

    /// The service in force, or a stand-in for the instances of one that is gone.
    pub(super) fn service(&self, instance: &Instance) -> (Rc<Service>, String) {
        match self.services.get(&instance.service) {
            Some(f) => (f.service.clone(), f.run_version.clone()),
            None => match self.slots.get(instance).and_then(|s| s.made_from.clone()) {
                Some(made_from) => made_from,
                None => (Rc::new(Service::unknown(&instance.service)), String::new()),
            },
        }
    }

    /// Feeds one event to one instance and carries out what follows.
    pub(super) fn feed(&mut self, instance: &Instance, event: Event) {
        let (service, version) = self.service(instance);
        let now = Now { moment: Moment::now(), jitter: crate::sys::random::unit() };
        let Some(slot) = self.slots.get_mut(instance) else { return };
        // A run is stopped by the rules it was made with, and followed by those in force now.
        let made = slot.made_from.as_ref().map_or_else(|| service.clone(), |(s, _)| s.clone());
        let rules =
            Rules { restart: &service.restart, stop: &made.stop, version: &version, boot_id: &self.boot_id };
        let effects = slot.machine.step(event, now, rules);
        self.carry_out(instance, effects, now.moment);
        if let Some(slot) = self.slots.get(instance) {
            self.waiters.look(&slot.machine);
        }
    }

    /// First everything is written, then everything else is done, in order.
    fn carry_out(&mut self, instance: &Instance, effects: Vec<Effect>, now: Moment) {
        let mut records = Vec::new();
        let mut acts = Vec::new();
        let mut seq = self.journal.next_seq();
        let mut cause = self.slots.get(instance).and_then(|s| s.last_event);
        for effect in effects {
            match effect {
                Effect::Journal(record) => records.push(*record),
                Effect::Tell(kind, text) => {
                    info!("{instance}: {kind}: {text}");
                    records.push(Record::Event(Told {
                        seq,
                        at: now.wall,
                        service: Some(instance.service.clone()),
                        replica: Some(instance.replica),
                        kind: kind.into(),
                        text,
                        cause,
                    }));
                    cause = Some(seq);
                    seq += 1;
                }
                act => acts.push(act),
            }
        }
        let written = self.write(&records);
        if let Some(slot) = self.slots.get_mut(instance) {
            slot.last_event = cause;
        }
        for act in acts {
            self.act(instance, act, written);
        }
    }

    /// Appends to the journal; what the disk does not take is tried again.
    pub(super) fn write(&mut self, records: &[Record]) -> bool {
        if records.is_empty() {
            return true;
        }
        let written = self.journal.append(records);
        if let Err(e) = &written {
            warn!("the journal cannot be written, tried again: {e}");
            self.retry_at = Some(Boot::now().after(RETRY));
        }
        for record in records {
            if let Record::Event(event) = record {
                // Nobody listening is no error.
                self.events.send(super::explain::info(event)).ok();
            }
        }
        written.is_ok()
    }

    /// One event that no machine told.
    pub(super) fn tell(
        &mut self,
        service: Option<&ServiceName>,
        replica: Option<u32>,
        kind: &str,
        text: String,
    ) {
        match service {
            Some(s) => info!("{s}: {kind}: {text}"),
            None => info!("{kind}: {text}"),
        }
        let instance = service.cloned().zip(replica).map(|(service, replica)| Instance { service, replica });
        let slot = instance.as_ref().and_then(|i| self.slots.get(i));
        let event = Told {
            seq: self.journal.next_seq(),
            at: Moment::now().wall,
            service: service.cloned(),
            replica,
            kind: kind.into(),
            text,
            cause: slot.and_then(|s| s.last_event),
        };
        let seq = event.seq;
        self.write(&[Record::Event(event)]);
        if let Some(slot) = instance.and_then(|i| self.slots.get_mut(&i)) {
            slot.last_event = Some(seq);
        }
    }

    fn act(&mut self, instance: &Instance, act: Effect, written: bool) {
        match act {
            Effect::Ack(run) if written => self.ack(&run),
            Effect::Ack(run) => self.unacked.push(run),
            Effect::Launch(run) => self.launch(instance, run),
            Effect::Start(run) => {
                let Some(job) = self.job(&run) else { return };
                let pid = match self.slots.get(instance).map(|s| &s.machine.state) {
                    Some(State::Starting { pid, .. }) => *pid,
                    _ => return,
                };
                tokio::task::spawn_local(self.shop.clone().start(job, pid));
            }
            Effect::Stop(run, signal) => {
                let orders = self.orders(instance);
                let Some(job) = self.job(&run) else { return };
                tokio::task::spawn_local(self.shop.clone().stop(job, signal.number, orders));
            }
            Effect::Kill(run) => {
                let orders = self.orders(instance);
                let Some(job) = self.job(&run) else { return };
                tokio::task::spawn_local(self.shop.clone().kill(job, orders));
            }
            Effect::Clean(run) => {
                let Some(job) = self.job(&run) else { return };
                let Some(slot) = self.slots.get_mut(instance) else { return };
                let rest = Rest {
                    gone: slot.gone.as_ref().map(watch::Sender::subscribe),
                    cgroups: self.place.groups(&run),
                    ending: slot.ending.take(),
                };
                tokio::task::spawn_local(self.shop.clone().clean(job, rest));
            }
            // Written before.
            Effect::Journal(_) | Effect::Tell(..) => {}
        }
    }

    fn launch(&mut self, instance: &Instance, run: RunId) {
        let (service, version) = self.service(instance);
        let runtime = self.runtime(&service);
        let cgroups_path = self.place.payload(&run);
        let cgroup = self.place.keeper(&run);
        let Some(slot) = self.slots.get_mut(instance) else { return };
        slot.made_from = Some((service.clone(), version.clone()));
        slot.create_by = Some(Boot::now().after(CREATE_DEADLINE + hooks_time(&service)));
        (slot.orders, slot.gone) = (None, None);
        let job = Job { run, service, runtime };
        tokio::task::spawn_local(self.shop.clone().launch(job, version, cgroups_path, cgroup));
    }

    /// What the jobs of a run need.
    pub(super) fn job(&self, run: &RunId) -> Option<Job> {
        let slot = self.slots.get(&run.instance)?;
        let service = match &slot.made_from {
            Some((service, _)) => service.clone(),
            None => self.service(&run.instance).0,
        };
        Some(Job { run: run.clone(), runtime: self.runtime(&service), service })
    }

    fn orders(&self, instance: &Instance) -> Option<Orders> {
        self.slots.get(instance)?.orders.clone()
    }

    fn ack(&self, run: &RunId) {
        let sent = self.orders(&run.instance).is_some_and(|o| o.send(Order::Ack).is_ok());
        if !sent {
            crate::keeper::remove_record(&self.options.dirs.exit_record(run));
        }
    }

    /// Takes over a keeper's connection.
    pub(super) fn connect(&mut self, run: &RunId, keeper: Keeper) {
        let Some(slot) = self.slots.get_mut(&run.instance) else { return };
        slot.orders = Some(keeper.orders());
        let gone = watch::Sender::new(false);
        slot.gone = Some(gone.clone());
        tokio::task::spawn_local(listen(keeper, run.clone(), self.shop.done.clone(), gone));
    }

    /// A report of a job.
    pub(super) fn report(&mut self, done: Done) {
        match done {
            Done::Launched(run, keeper, hello) => self.launched(&run, keeper, hello.phase),
            Done::Started(run) => self.feed_run(&run, Event::Started),
            Done::NeverRan(run, code, text) => {
                self.feed_run(&run, Event::NeverRan { code, text, exit: None })
            }
            Done::Said(run, Some(note)) => self.said(&run, note),
            Done::Said(run, None) => self.connection_over(&run),
            Done::Cleaned(run, Ok(())) if self.strays.contains(&run) => self.strays.retain(|r| *r != run),
            Done::Cleaned(run, Ok(())) => self.feed_run(&run, Event::Cleaned),
            Done::Cleaned(run, Err(text)) => self.feed_run(&run, Event::CleanFailed(text)),
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
                if let Some(orders) = self.orders(&run.instance).filter(|_| stopping) {
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
            Note::Rotated(_) => self.cap_logs(),
            Note::Ended(record) => self.ended(run, *record),
        }
    }

    /// The keeper's record: a container that could not be made, or one that ended.
    pub(super) fn ended(&mut self, run: &RunId, record: ExitRecord) {
        if self.slots.get(&run.instance).is_none_or(|s| s.machine.run() != Some(run)) {
            return self.ack(run);
        }
        if let Some(slot) = self.slots.get_mut(&run.instance) {
            slot.ending = match record.end {
                End::Exited { code } => Some(format!("KNARR_EXIT_CODE={code}")),
                End::Signaled { signal, .. } => Some(format!("KNARR_EXIT_SIGNAL={signal}")),
                End::CreateFailed { .. } => None,
            };
        }
        if record.log_dropped > 0 {
            let text = format!("{} bytes of output of {run} are not in its log", record.log_dropped);
            self.tell(Some(&run.instance.service), Some(run.instance.replica), "output-dropped", text);
        }
        let event = match &record.end {
            End::CreateFailed { text, .. } => {
                let logged = logged_error(&self.options.dirs.keeper(run).join("runtime.log"));
                let (code, text) = match logged {
                    Some((code, text)) => (code.unwrap_or_else(|| "runtime-error".into()), text),
                    None => ("runtime-error".into(), text.clone()),
                };
                Event::NeverRan { code, text, exit: Some(record) }
            }
            End::Exited { .. } | End::Signaled { .. } => Event::Ended(record),
        };
        self.feed_run(run, event);
    }

    /// The keeper is gone; it may have left a record.
    fn connection_over(&mut self, run: &RunId) {
        let Some(slot) = self.slots.get_mut(&run.instance) else { return };
        if slot.machine.run() != Some(run) {
            return;
        }
        slot.orders = None;
        if matches!(slot.machine.state, State::Cleaning { .. }) {
            return;
        }
        match super::adopt::read_record(&self.options.dirs.exit_record(run)) {
            Some(record) if record.run == *run => self.ended(run, record),
            _ => self.feed_run(run, Event::Lost(Ending::MonitorLost)),
        }
    }

    fn cap_logs(&mut self) {
        let root = self.options.dirs.logs();
        let total = self.options.log_total.map_or_else(|| crate::logs::default_cap(&root), Ok);
        match total.and_then(|total| crate::logs::enforce_cap(&root, total)) {
            Ok(removed) if removed.files > 0 => {
                let text = format!(
                    "{} log files removed, {} bytes: the cap for all logs",
                    removed.files, removed.bytes
                );
                self.tell(None, None, "logs-capped", text);
            }
            Ok(_) => {}
            Err(e) => warn!("the cap for all logs: {e}"),
        }
    }

    /// Looks at the sources of secret and config files of everything that runs.
    pub(super) fn refresh_files(&mut self) {
        let running: Vec<_> = self
            .slots
            .values()
            .filter_map(|s| match &s.machine.state {
                State::Running { run, .. } => {
                    Some((run.clone(), s.made_from.as_ref()?.0.clone(), s.orders.clone()))
                }
                _ => None,
            })
            .filter(|(_, service, _)| !service.files.is_empty())
            .collect();
        for (run, service, orders) in running {
            let found = bundle::refresh_files(&service, &run, &self.options.dirs);
            for failure in &found.failed {
                warn!("{run}: {}: {}", failure.code, failure.text);
            }
            if !found.changed.is_empty() {
                self.files_changed(&run, &found.changed, orders);
            }
        }
    }

    fn files_changed(&mut self, run: &RunId, changed: &[bundle::Changed], orders: Option<Orders>) {
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
                tokio::task::spawn_local(self.shop.clone().signal(job, signal.number, orders.clone()));
            }
        }
        if let Err(e) = bundle::refreshed(run, &self.options.dirs) {
            warn!("{run}: {e}");
        }
    }

    /// When the next thing is due by itself.
    pub(super) fn next_due(&self) -> Option<Boot> {
        let slots = self.slots.values().flat_map(|s| [s.machine.deadline(), s.create_by]).flatten();
        slots.chain(self.retry_at).chain(self.turn_at).min()
    }

    /// Does what is due.
    pub(super) fn due(&mut self) {
        let now = Boot::now();
        if self.retry_at.is_some_and(|t| t <= now) {
            self.retry_at = None;
            self.retry();
        }
        self.turn_at.take_if(|t| *t <= now);
        let late = |t: Option<Boot>| t.is_some_and(|t| t <= now);
        let due: Vec<_> = self
            .slots
            .values()
            .filter(|s| late(s.machine.deadline()))
            .map(|s| s.machine.instance.clone())
            .collect();
        for instance in due {
            self.feed(&instance, Event::Due);
        }
        let hung: Vec<_> = self
            .slots
            .iter_mut()
            .filter_map(|(_, s)| s.create_by.take_if(|t| *t <= now).and(s.machine.run().cloned()))
            .collect();
        for run in hung {
            let state = self.slots.get(&run.instance).map(|s| &s.machine.state);
            if matches!(state, Some(State::Creating { .. })) {
                if let Some(orders) = self.orders(&run.instance) {
                    orders.send(Order::Signal(9)).ok();
                }
                let text =
                    format!("the runtime did not make it within {}", crate::policy::span(CREATE_DEADLINE));
                self.feed_run(&run, Event::NeverRan { code: "runtime-timeout".into(), text, exit: None });
            }
        }
    }

    fn retry(&mut self) {
        match self.journal.retry() {
            Ok(()) => {
                for run in std::mem::take(&mut self.unacked) {
                    self.ack(&run);
                }
                self.tell(None, None, "journal-recovered", "the journal can be written again".into());
            }
            Err(_) => self.retry_at = Some(Boot::now().after(RETRY)),
        }
    }

    /// Moves on whatever can move: stops in order, met dependencies, turns. Ends when nothing moves any more.
    pub(super) fn settle(&mut self) {
        while self.settle_downs() | self.settle_dependencies() | self.settle_turns() | self.settle_removed() {
        }
    }

    fn settle_downs(&mut self) -> bool {
        let ready: Vec<_> = self
            .slots
            .iter()
            .filter(|(i, s)| s.down_pending.is_some() && !self.dependents_in_the_way(i))
            .map(|(i, _)| i.clone())
            .collect();
        for instance in &ready {
            let why = self.slots.get_mut(instance).and_then(|s| s.down_pending.take());
            if let Some(why) = why {
                self.feed(instance, Event::Down { why });
            }
        }
        !ready.is_empty()
    }

    fn settle_dependencies(&mut self) -> bool {
        let mut moved = false;
        let waiting: Vec<_> = self
            .slots
            .iter()
            .filter(|(_, s)| matches!(s.machine.state, State::Waiting { .. } | State::Queued))
            .map(|(i, _)| i.clone())
            .collect();
        for instance in waiting {
            let unmet = self.unmet(&instance);
            let Some(slot) = self.slots.get(&instance) else { continue };
            match (unmet, &slot.machine.state) {
                (None, State::Waiting { .. }) => {
                    moved = true;
                    self.feed(&instance, Event::DependenciesMet);
                }
                (Some((on, deadline)), State::Waiting { on: old, deadline: limit })
                    if on != *old || deadline != *limit =>
                {
                    self.feed(&instance, Event::DependenciesUnmet { on, deadline });
                }
                (Some((on, deadline)), State::Queued) => {
                    self.feed(&instance, Event::DependenciesUnmet { on, deadline });
                }
                _ => {}
            }
        }
        moved
    }

    fn settle_turns(&mut self) -> bool {
        let queued: Vec<_> = self
            .slots
            .iter()
            .filter(|(_, s)| s.machine.state == State::Queued)
            .map(|(i, _)| i.clone())
            .collect();
        if queued.is_empty() {
            return false;
        }
        let mut starting = self
            .slots
            .values()
            .filter(|s| matches!(s.machine.state, State::Creating { .. } | State::Starting { .. }))
            .count();
        let mut moved = false;
        for instance in self.in_start_order(queued) {
            if !self.turns.place(starting) {
                break;
            }
            let restarts = self.slots.get(&instance).map_or(0, |s| s.machine.restarts);
            if restarts > 0
                && let Err(at) = self.turns.restart(Boot::now())
            {
                self.turn_at = Some(at);
                continue;
            }
            starting += 1;
            moved = true;
            self.feed(&instance, Event::Turn);
        }
        moved
    }

    fn settle_removed(&mut self) -> bool {
        let gone: Vec<_> = self
            .slots
            .iter()
            .filter(|(_, s)| s.removed && s.machine.state == State::Down && s.down_pending.is_none())
            .map(|(i, _)| i.clone())
            .collect();
        for instance in &gone {
            self.slots.remove(instance);
            self.forget(instance);
            self.waiters.gone(instance);
        }
        !gone.is_empty()
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
        let mut note = keeper.next().await.unwrap_or_else(|e| {
            warn!("the keeper of {run}: {e}");
            None
        });
        if let Some(Note::Ended(record)) = &mut note {
            super::oom::add_victim(record);
        }
        let over = note.is_none();
        if over {
            gone.send_replace(true);
        }
        if done.send(Done::Said(run.clone(), note)).is_err() || over {
            return;
        }
    }
}

fn hooks_time(service: &Service) -> Duration {
    service.hooks.pre_start.iter().map(|h| h.timeout).sum()
}
