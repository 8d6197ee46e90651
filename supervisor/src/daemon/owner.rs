//! The one owner of all state: services, instances, journal. A step of a machine is carried out here, in one place.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, watch};
use tracing::{info, warn};

use super::desired::InForce;
use super::endpoints::Endpoints;
use super::held::Held;
use super::hook_group::HookGroups;
use super::hooks::Cut;
use super::jobs::Jobs;
use super::keepers::Line;
use super::logcap::Cap;
use super::looks::{Looks, Watched};
use super::measures::Meter;
use super::options::Options;
use super::place::Place;
use super::pressure::Pressure;
use super::resize::Sized;
use super::rollouts::Rolling;
use super::shutdown::GoingDown;
use super::stats::Controllers;
use super::told::Heard;
use super::turns::Turns;
use super::waiters::Waiters;
use super::work::{Done, Job, Rest, Shop};
use crate::api::model::EventInfo;
use crate::clock::{Boot, Moment};
use crate::dirs::Dirs;
use crate::journal::Journal;
use crate::journal::record::{Event as Told, Record};
use crate::keeper::record::ExitRecord;
use crate::machine::{Counts, Effect, Event, Machine, Now, Rules, State};
use crate::memory::admission::Capacity;
use crate::metrics::history::History;
use crate::metrics::tally::Tally;
use crate::names::{Instance, RunId, ServiceName};
use crate::runtime::Runtime;
use crate::unit::bundle;
use crate::unit::service::{Hooks, Network, Service};

/// A runtime that has not made a container after this long has failed.
pub(super) const CREATE_DEADLINE: Duration = Duration::from_secs(60);
/// How often records are tried again that the disk did not take.
pub(super) const RETRY: Duration = Duration::from_secs(1);

/// One instance with what is connected to it.
#[derive(Debug)]
pub(super) struct Slot {
    /// Its life.
    pub(super) machine: Machine,
    /// The service its run was made from, and what that service makes runs from: [`unit::run_version`](crate::unit).
    pub(super) made_from: Option<(Rc<Service>, String)>,
    /// The runtime has not yet answered to the start.
    pub(super) starting: bool,
    /// The end that was known before that answer.
    pub(super) early_end: Option<Box<ExitRecord>>,
    /// The runtime's words, when the container ended instead of being started: code and text.
    pub(super) start_failed: Option<(String, String)>,
    /// The way to cut its pre-start hooks short, while they run.
    pub(super) cut: Option<watch::Sender<Cut>>,
    /// When the runtime must have made it.
    pub(super) create_by: Option<Boot>,
    /// The last event about it.
    pub(super) last_event: Option<u64>,
    /// It goes down as soon as those that depend on it have.
    pub(super) down_pending: Option<String>,
    /// Its run is replaced as soon as those of the same order that depend on it have ended; why.
    pub(super) again_pending: Option<String>,
    /// It comes up by an order about several, in a run later than this one: those of the same order that depend on it wait
    /// for that.
    pub(super) rising: Option<u32>,
    /// It is to be forgotten when it is down.
    pub(super) removed: bool,
    /// For the post-stop hooks: `KNARR_EXIT_CODE=3`.
    pub(super) ending: Option<String>,
    /// What its probes say of the last run that ran.
    pub(super) watched: Option<Watched>,
    /// The limits that its run has.
    pub(super) sized: Option<Sized>,
    /// The memory that there is none of, while its start waits for that.
    pub(super) no_room: Option<String>,
    /// When the restart budget of the host has a turn for it, while its start waits for that.
    pub(super) no_turn: Option<Boot>,
    /// Processes of this run that the kernel killed for memory while it went on: how many, and the last.
    pub(super) child_kills: Option<(RunId, u32, String)>,
    /// What is counted for metrics.
    pub(super) tally: Tally,
    /// What it has used.
    pub(super) history: History,
}

impl Slot {
    /// An instance without a run.
    pub(super) fn new(machine: Machine) -> Slot {
        Slot {
            machine,
            made_from: None,
            starting: false,
            early_end: None,
            start_failed: None,
            cut: None,
            create_by: None,
            last_event: None,
            down_pending: None,
            again_pending: None,
            rising: None,
            removed: false,
            ending: None,
            watched: None,
            sized: None,
            no_room: None,
            no_turn: None,
            child_kills: None,
            tally: Tally::default(),
            history: History::default(),
        }
    }

    /// The number before that of the run that is being made or comes next.
    pub(super) fn before_next(&self) -> u32 {
        let made = matches!(self.machine.state, State::Creating { .. } | State::Starting { .. });
        self.machine.last_run - u32::from(made)
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
    /// The memory that the host has for requests.
    pub(super) capacity: Option<Capacity>,
    pub(super) waiters: Waiters,
    pub(super) shop: Shop,
    pub(super) events: broadcast::Sender<EventInfo>,
    /// The keepers that are connected.
    pub(super) keepers: BTreeMap<RunId, Line>,
    /// What follows from what is written, when that is on disk.
    pub(super) acts: Vec<(Instance, Effect)>,
    /// Ends that the journal has not taken: their keepers must not forget them.
    pub(super) unacked: BTreeSet<RunId>,
    /// When the journal is tried again.
    pub(super) retry_at: Option<Boot>,
    /// When the next token of the restart budget is there.
    pub(super) turn_at: Option<Boot>,
    /// What runs without being anybody's: taken away. True while that is under way.
    pub(super) strays: BTreeMap<RunId, bool>,
    /// The cap for all logs.
    pub(super) cap: Cap,
    /// Looks at what runs.
    pub(super) looks: Looks,
    /// What runs tell by themselves.
    pub(super) told: BTreeMap<RunId, Heard>,
    /// The file that lists what is ready.
    pub(super) endpoints: Option<Endpoints>,
    /// Schedules of jobs.
    pub(super) jobs: Jobs,
    /// The last pass found a version that it could not keep.
    pub(super) refused_by_disk: bool,
    /// Memory that runs short.
    pub(super) pressure: Pressure,
    /// Services that are being rolled out.
    pub(super) rolling: BTreeMap<ServiceName, Rolling>,
    /// Names and ids of the images that services had when they were last applied by somebody.
    pub(super) images: BTreeMap<ServiceName, (String, String)>,
    /// The host goes down.
    pub(super) going_down: Option<GoingDown>,
    /// What the daemon counts of itself.
    pub(super) meter: Meter,
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
        let keeper: Rc<Path> = Rc::from(options.keeper.clone());
        let shop = Shop {
            held: Held::new(options.dirs.held(), keeper.clone(), &place, done.clone()),
            done,
            dirs: Rc::new(options.dirs.clone()),
            keeper,
            log_min_free: options.log_min_free,
            hook_groups: HookGroups::new(place.hooks()),
            image_root: options.image_root,
        };
        let turns =
            Turns::new(options.start_concurrency, options.restart_rate, options.restart_burst, Boot::now());
        let capacity = super::admission::capacity(&options);
        let controllers = Controllers::find();
        let pressure = Pressure::new(options.pressure, controllers.below(&place.payloads()));
        let endpoints = options.endpoints.clone().map(Endpoints::new);
        let owner = Owner {
            options,
            boot_id,
            place,
            controllers,
            journal,
            services: BTreeMap::new(),
            problems: Vec::new(),
            slots: BTreeMap::new(),
            turns,
            capacity,
            waiters: Waiters::default(),
            shop,
            events: broadcast::channel(256).0,
            keepers: BTreeMap::new(),
            acts: Vec::new(),
            unacked: BTreeSet::new(),
            retry_at: None,
            turn_at: None,
            strays: BTreeMap::new(),
            cap: Cap::default(),
            looks: Looks::default(),
            told: BTreeMap::new(),
            endpoints,
            jobs: Jobs::default(),
            refused_by_disk: false,
            pressure,
            rolling: BTreeMap::new(),
            images: BTreeMap::new(),
            going_down: None,
            meter: Meter::new(),
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
        match self.in_force(instance) {
            Some(f) => (f.service.clone(), f.run_version.clone()),
            None => match self.slots.get(instance).and_then(|s| s.made_from.clone()) {
                Some(made_from) => made_from,
                None => (Rc::new(Service::unknown(&instance.service)), String::new()),
            },
        }
    }

    /// Feeds one event to one instance and carries out what follows.
    pub(super) fn feed(&mut self, instance: &Instance, event: Event) {
        // Whatever else is wanted waits for the next boot.
        if self.going_down.is_some() && matches!(event, Event::Up { .. } | Event::Again { .. }) {
            return;
        }
        let (service, version) = self.service(instance);
        let now = Now { moment: Moment::now(), jitter: crate::sys::random::unit() };
        let counts = self.slots.get(instance).map_or(Counts::Started, |s| self.counts(s));
        let Some(slot) = self.slots.get_mut(instance) else { return };
        // A run is stopped by the rules it was made with, and followed by those in force now.
        let made = slot.made_from.as_ref().map_or_else(|| service.clone(), |(s, _)| s.clone());
        let apart = match &event {
            Event::Ended(exit) => is_apart(&made, &exit.run, &self.options.dirs, &self.place),
            _ => false,
        };
        let rules = Rules {
            restart: &service.restart,
            stop: &made.stop,
            hooks: !service.hooks.pre_start.is_empty(),
            version: &version,
            boot_id: &self.boot_id,
            apart,
            counts,
        };
        let effects = slot.machine.step(event, now, rules);
        self.carry_out(instance, effects, now.moment);
        self.look_for_waiters(instance);
    }

    /// Everything is written down; everything else waits for [`Owner::commit`], in order.
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
        self.count(instance, &records);
        self.note(&records);
        for record in &records {
            if let Record::Ended { run, .. } = record {
                self.keep_output(run);
            }
        }
        if let Some(slot) = self.slots.get_mut(instance) {
            slot.last_event = cause;
        }
        self.acts.extend(acts.into_iter().map(|act| (instance.clone(), act)));
    }

    /// Waits once for the disk, whatever was written since the last time, and then does what follows from it. An end and the
    /// next start are one wait, and so are the ends of a hundred services.
    pub(super) fn commit(&mut self) {
        let synced = self.journal.sync();
        self.written(synced);
        for (instance, act) in std::mem::take(&mut self.acts) {
            self.act(&instance, act);
        }
    }

    /// Appends to the journal, on to the disk; what that does not take is tried again.
    pub(super) fn write(&mut self, records: &[Record]) {
        self.note(records);
        let synced = self.journal.sync();
        self.written(synced);
    }

    /// Appends to the journal.
    pub(super) fn note(&mut self, records: &[Record]) {
        if records.is_empty() {
            return;
        }
        let from = self.journal.next_seq();
        let done = self.journal.append_unsynced(records);
        self.written(done);
        self.publish(from);
    }

    fn written(&mut self, done: std::io::Result<()>) {
        if let Err(e) = done {
            warn!("the journal cannot be written, tried again: {e}");
            self.retry_at = Some(Boot::now().after(RETRY));
        }
    }

    /// Tells those who follow what is new in the journal, its own words included.
    pub(super) fn publish(&self, from: u64) {
        let events = &self.journal.image().events;
        let first = events.iter().rposition(|e| e.seq < from).map_or(0, |last| last + 1);
        for event in events.range(first..) {
            // Nobody listening is no error.
            self.events.send(super::explain::info(event)).ok();
        }
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

    /// Carries out one effect, of which everything is on disk that has to be. Nothing here waits.
    pub(super) fn act(&mut self, instance: &Instance, act: Effect) {
        if let Effect::Stop(run, _) | Effect::Kill(run) = &act {
            self.end_under_pressure(run, matches!(act, Effect::Kill(_)));
        }
        match act {
            Effect::Ack(run) => self.ack(&run),
            Effect::Launch(run) => self.launch(instance, run),
            Effect::Start(run) => {
                let Some(job) = self.job(&run) else { return };
                let Some(slot) = self.slots.get_mut(instance) else { return };
                let State::Starting { pid, .. } = slot.machine.state else { return };
                slot.starting = true;
                tokio::task::spawn_local(self.shop.clone().start(job, pid));
            }
            Effect::Stop(run, signal) => {
                let orders = self.orders(&run);
                let Some(job) = self.job(&run) else { return };
                tokio::task::spawn_local(self.shop.clone().stop(job, signal.number, orders));
            }
            Effect::Cut(run) => self.cut(&run, Cut::Asked),
            Effect::Kill(run) if self.slots.get(instance).is_some_and(|s| s.cut.is_some()) => {
                self.cut(&run, Cut::Killed);
            }
            Effect::Kill(run) => {
                let orders = self.orders(&run);
                let Some(job) = self.job(&run) else { return };
                tokio::task::spawn_local(self.shop.clone().kill(job, orders));
            }
            Effect::Clean(run) => {
                let Some(job) = self.job(&run) else { return };
                self.told.remove(&run);
                let ending = self.slots.get_mut(instance).and_then(|s| s.ending.take());
                let unwritten = self.unacked.contains(&run);
                let (cgroup, of_container) = (self.place.keeper(&run), self.place.container(&run));
                let (gone, looks) = (self.gone(&run), self.end_looks(&run));
                let rest = Rest { gone, cgroup, of_container, ending, unwritten, looks };
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
        slot.sized = Some(Sized::made(run.clone(), service.limits.clone()));
        slot.made_from = Some((service.clone(), version.clone()));
        slot.create_by = Some(Boot::now().after(CREATE_DEADLINE + hooks_time(&service)));
        (slot.starting, slot.early_end, slot.start_failed) = (false, None, None);
        let hooks = (!service.hooks.pre_start.is_empty()).then(|| watch::channel(Cut::No));
        let (cut, wish) = hooks.unzip();
        slot.cut = cut;
        let job = Job { run, service, runtime };
        tokio::task::spawn_local(self.shop.clone().launch(job, version, cgroups_path, cgroup, wish));
    }

    /// Has the pre-start hooks of a run end.
    fn cut(&self, run: &RunId, how: Cut) {
        let slot = self.slots.get(&run.instance).filter(|s| s.machine.run() == Some(run));
        if let Some(cut) = slot.and_then(|s| s.cut.as_ref()) {
            cut.send_replace(how);
        }
    }

    /// What the jobs of a run need.
    pub(super) fn job(&self, run: &RunId) -> Option<Job> {
        let slot = self.slots.get(&run.instance)?;
        let service = match &slot.made_from {
            Some((service, _)) if slot.machine.run() == Some(run) => service.clone(),
            // The run before, or one of an earlier daemon.
            _ => self.made_from(run, "").0,
        };
        Some(Job { run: run.clone(), runtime: self.runtime(&service), service })
    }
}

/// Whether nothing of a run that has ended can be in the way of the next one: no hook and no network plugin has to hear of
/// its end first, its configuration gives it nothing that lasts, and no process of it is left.
fn is_apart(service: &Service, run: &RunId, dirs: &Dirs, place: &Place) -> bool {
    let Hooks { pre_start, post_start: _, pre_stop: _, post_stop } = &service.hooks;
    let alone = pre_start.is_empty() && post_stop.is_empty();
    alone
        && !matches!(service.network, Network::Cni(_))
        && bundle::is_apart(run, dirs)
        && are_empty(&place.container(run))
}

/// Whether cgroups have no process. That of v2 knows what is below it, and one of v1 is as good as the others; without any
/// nobody knows.
fn are_empty(groups: &[PathBuf]) -> bool {
    let empty = |dir: &PathBuf| match std::fs::read_to_string(dir.join("cgroup.events")) {
        Ok(events) => Some(events.lines().any(|l| l == "populated 0")),
        Err(_) => std::fs::read(dir.join("cgroup.procs")).ok().map(|pids| pids.is_empty()),
    };
    let mut all = groups.iter().filter_map(empty).take(2).peekable();
    all.peek().is_some() && all.all(|empty| empty)
}

fn hooks_time(service: &Service) -> Duration {
    service.hooks.pre_start.iter().map(|h| h.timeout).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::test_dir::TestDir;

    #[test]
    fn groups_are_empty_when_no_process_is_in_them() {
        let dir = TestDir::in_memory("groups");
        let group = |name: &str, file: &str, text: &str| {
            std::fs::create_dir(dir.join(name)).unwrap();
            std::fs::write(dir.join(name).join(file), text).unwrap();
            dir.join(name)
        };
        let (none, idle, busy) = (
            dir.join("none"),
            group("idle", "cgroup.events", "populated 0\nfrozen 0\n"),
            group("busy", "cgroup.events", "populated 1\nfrozen 0\n"),
        );
        let (old, old_busy) = (group("old", "cgroup.procs", ""), group("old-busy", "cgroup.procs", "7\n"));
        assert!(
            are_empty(&[none.clone(), idle.clone(), old.clone()]) && are_empty(std::slice::from_ref(&old))
        );
        for bad in [vec![], vec![none], vec![busy], vec![idle, old_busy.clone()], vec![old_busy, old]] {
            assert!(!are_empty(&bad), "{bad:?}");
        }
    }
}
