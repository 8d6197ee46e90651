//! Jobs: which run of a schedule begins when, and attempts whose time is over. What is due is written down in one record with the
//! fact that it is dealt with, so that a daemon that is killed neither repeats nor loses a run.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use jiff::Timestamp;

use super::owner::{Owner, Slot};
use super::work::Done;
use crate::api::model::{JobInfo, JobResultInfo};
use crate::clock::Boot;
use crate::journal::record::{JobResult, Kept, KeptSchedule, Record};
use crate::logs::{LogReader, Query, Stream};
use crate::machine::{Event, State};
use crate::names::{Instance, RunId, ServiceName};
use crate::policy::span;
use crate::schedule::{Base, Look, Timetable, jitter, look};
use crate::unit::job::{Overlap, Schedule};
use crate::unit::service::Service;

/// So many lines of what a run printed last are kept with its result, and so many bytes.
const OUTPUT_LINES: usize = 10;
const OUTPUT_BYTES: usize = 2048;

/// What is known of the schedules in force. All of it follows from services, journal and clock.
#[derive(Default)]
pub(super) struct Jobs {
    tables: BTreeMap<ServiceName, Planned>,
    /// When instances began to wait for something else than their schedule.
    begun: BTreeMap<Instance, Boot>,
}

struct Planned {
    rule: String,
    table: Timetable,
    /// From when on times were looked for, and what was found.
    found: Option<(Timestamp, Look)>,
}

/// What a schedule is known by in the journal.
fn rule(schedule: &Schedule) -> String {
    format!("{} {}", schedule.cron, schedule.timezone)
}

fn schedule(service: &Service) -> Option<&Schedule> {
    service.job.as_ref()?.schedule.as_ref()
}

impl Owner {
    /// A run has ended: what it printed last is kept with the result of a job.
    pub(super) fn keep_output(&self, run: &RunId) {
        let Some(kept) = self.journal.image().instances.get(&run.instance) else { return };
        let bare = kept.results.back().is_some_and(|r| r.run == run.run && r.output.is_empty());
        let is_job = self.services.get(&run.instance.service).is_some_and(|f| f.service.job.is_some());
        let Some(exit) = kept.exits.back().filter(|e| bare && is_job && e.run == run.run) else { return };
        let Some(exit) = &exit.exit else { return };
        let ran = jiff::SignedDuration::try_from(exit.ended.since(exit.started)).unwrap_or_default();
        let Ok(since) = exit.ended_wall.checked_sub(ran) else { return };
        let (dir, done) = (self.options.dirs.logs().join(run.instance.to_string()), self.shop.done.clone());
        let run = run.clone();
        tokio::task::spawn_local(async move {
            match last_lines(dir, since).await {
                Ok(text) if text.is_empty() => {}
                // The loop is gone only when the daemon ends; the next one reads it.
                Ok(text) => drop(done.send(Done::Printed(run, text))),
                Err(e) => tracing::warn!("what {run} printed last cannot be read: {e}"),
            }
        });
    }

    /// The same for results of an earlier daemon that did not come to it.
    pub(super) fn keep_outputs(&self) {
        let of = |(instance, kept): (&Instance, &Kept)| {
            Some(RunId { instance: instance.clone(), run: kept.results.back()?.run })
        };
        let runs: Vec<_> = self.journal.image().instances.iter().filter_map(of).collect();
        runs.iter().for_each(|run| self.keep_output(run));
    }

    /// When the next attempt of a job has had its time.
    pub(super) fn overdue_at(&self) -> Option<Boot> {
        self.slots.values().filter_map(|s| self.deadline_of(s)).min()
    }

    fn deadline_of(&self, slot: &Slot) -> Option<Boot> {
        let State::Running { since, .. } = &slot.machine.state else { return None };
        let service = &self.services.get(&slot.machine.instance.service)?.service;
        service.job.as_ref()?.deadline.filter(|_| slot.machine.up).map(|d| since.after(d))
    }

    /// Ends attempts whose time is over.
    pub(super) fn end_overdue(&mut self, now: Boot) {
        let late = |s: &&Slot| self.deadline_of(s).is_some_and(|at| at <= now);
        let late: Vec<_> = self.slots.values().filter(late).map(|s| s.machine.instance.clone()).collect();
        for instance in late {
            let deadline = self.service(&instance).0.job.as_ref().and_then(|j| j.deadline);
            let why = format!("deadline of {} passed", span(deadline.unwrap_or_default()));
            self.feed(&instance, Event::Overdue { why });
        }
    }

    /// When the next run of a schedule is due, by the wall clock.
    pub(super) fn next_scheduled(&self) -> Option<Timestamp> {
        let due = |(name, planned): (&ServiceName, &Planned)| match planned.found?.1 {
            Look::Wait { due, .. } if !self.all_held(name) => Some(due),
            Look::Wait { .. } | Look::Due { .. } | Look::Never => None,
        };
        self.jobs.tables.iter().filter_map(due).min()
    }

    fn all_held(&self, name: &ServiceName) -> bool {
        self.slots.keys().filter(|i| i.service == *name).all(|i| self.journal.image().is_held(i))
    }

    /// Begins what is due by its schedule, and brings the journal up to the schedules that are in force.
    pub(super) fn begin_scheduled(&mut self) {
        let scheduled = self.services.values().filter(|f| schedule(&f.service).is_some());
        let scheduled: Vec<Rc<Service>> = scheduled.map(|f| f.service.clone()).collect();
        let is = |name: &ServiceName| scheduled.iter().any(|s| s.name == *name);
        self.jobs.tables.retain(|name, _| is(name));
        self.jobs.begun.retain(|instance, _| self.slots.contains_key(instance));
        let gone = |name: &&ServiceName| self.services.contains_key(*name) && !is(name);
        let gone: Vec<_> = self.journal.image().schedules.keys().filter(gone).cloned().collect();
        let now = Timestamp::now();
        for service in gone {
            self.write(&[Record::Schedule { service, rule: String::new(), base: Base::new(now) }]);
        }
        for service in scheduled {
            self.look_at_schedule(&service, now);
        }
    }

    fn look_at_schedule(&mut self, service: &Service, now: Timestamp) {
        let (name, Some(schedule)) = (&service.name, schedule(service)) else { return };
        let rule = rule(schedule);
        let kept = self.journal.image().schedules.get(name);
        let from = kept.filter(|k| k.rule == rule).and_then(|k| k.base.at(now));
        let from = match from {
            Some(from) => from,
            // It is new, or another one now, or the clock was set far back: it begins here.
            None => {
                let same = kept.filter(|k| k.rule == rule).map(|k| k.base);
                self.dealt_with(name, &rule, same.unwrap_or(Base::new(now)), now);
                now
            }
        };
        let Some(found) = self.find_next(name, schedule, rule, from, now) else { return };
        if let Look::Due { at, missed } = found
            && !self.all_held(name)
        {
            self.due_by_schedule(service, schedule, at, missed);
            // The next one, for the alarm. What is due now is dealt with.
            if let Some(KeptSchedule { rule, base }) = self.journal.image().schedules.get(name).cloned() {
                self.find_next(name, schedule, rule, base.at(now).unwrap_or(now), now);
            }
        }
    }

    /// Looks for the next time, unless that is known.
    fn find_next(
        &mut self,
        name: &ServiceName,
        schedule: &Schedule,
        rule: String,
        from: Timestamp,
        now: Timestamp,
    ) -> Option<Look> {
        let known = self.jobs.tables.get(name).filter(|p| p.rule == rule);
        if let Some((found_from, found @ Look::Wait { due, .. })) = known.and_then(|p| p.found)
            && found_from == from
            && now < due
        {
            return Some(found);
        }
        let table = match known {
            Some(planned) => planned.table.clone(),
            // Read before, with the file; only the host's zone database may have changed.
            None => Timetable::read(&schedule.cron, &schedule.timezone)
                .inspect_err(|e| tracing::warn!("{name}: its schedule cannot be read any more: {e}"))
                .ok()?,
        };
        let found = look(&table, from, now, |at| jitter(schedule.jitter, &self.boot_id, name.as_str(), at));
        self.jobs.tables.insert(name.clone(), Planned { rule, table, found: Some((from, found)) });
        Some(found)
    }

    fn dealt_with(&mut self, name: &ServiceName, rule: &str, mut base: Base, with: Timestamp) {
        base.deal(with);
        self.write(&[Record::Schedule { service: name.clone(), rule: rule.to_owned(), base }]);
    }

    fn due_by_schedule(&mut self, service: &Service, schedule: &Schedule, at: Timestamp, missed: bool) {
        let name = &service.name;
        let run = format!("the run of {}", self.shown(name, at));
        let instance = match missed && !schedule.catch_up {
            true => Err(("job-missed", format!("{run} was missed"))),
            false => self.instance_for(name, schedule.overlap, &run),
        };
        let instance = match instance {
            Ok(instance) => instance,
            Err((kind, text)) => {
                if let Some(KeptSchedule { rule, base }) = self.journal.image().schedules.get(name).cloned() {
                    self.dealt_with(name, &rule, base, at);
                }
                return self.tell(Some(name), None, kind, text);
            }
        };
        let runs = self.slots.get(&instance).filter(|s| goes_on(s)).and_then(|s| s.machine.run().cloned());
        let mut records =
            vec![Record::Begun { instance: instance.clone(), scheduled: Some(at), at: Timestamp::now() }];
        records.extend(runs.clone().map(|run| Record::Again { run }));
        self.write(&records);
        let text = if missed { format!("{run} was missed and begins now") } else { format!("{run} begins") };
        self.tell(Some(name), Some(instance.replica), "job-begun", text);
        self.jobs.begun.insert(instance.clone(), Boot::now());
        match runs {
            Some(_) => self.replace_in_turn(&instance, &format!("replaced by {run}")),
            None => self.feed(&instance, Event::Up { fresh: true }),
        }
    }

    /// The instance that a run begins in, or why in none.
    fn instance_for(
        &self,
        name: &ServiceName,
        overlap: Overlap,
        run: &str,
    ) -> Result<Instance, (&'static str, String)> {
        let image = self.journal.image();
        let usable = self.slots.iter().filter(|(i, s)| i.service == *name && !s.removed && !image.is_held(i));
        let busy =
            |i: &Instance, s: &Slot| goes_on(s) || image.instances.get(i).is_some_and(|k| k.begun.is_some());
        let all: Vec<_> = usable.map(|(i, s)| (i, busy(i, s))).collect();
        let free = all.iter().find(|(_, busy)| !busy);
        let any = match overlap {
            Overlap::Skip | Overlap::Allow => free,
            Overlap::Replace => free.or(all.first()),
        };
        any.map(|(i, _)| (*i).clone()).ok_or_else(|| {
            let why = match (all.len(), overlap) {
                (0, _) => "there is no instance for it",
                (1, _) => "the one before goes on",
                (..) => "every instance has a run that goes on",
            };
            ("job-skipped", format!("{run} is left out: {why}"))
        })
    }

    fn shown(&self, name: &ServiceName, at: Timestamp) -> String {
        self.jobs.tables.get(name).map_or_else(|| at.to_string(), |p| p.table.shown(at))
    }

    /// `its schedule: 2026-11-30 04:30 UTC`: nothing of a scheduled job runs but what was begun.
    pub(super) fn waits_for_schedule(&self, instance: &Instance) -> Option<String> {
        schedule(&self.services.get(&instance.service)?.service)?;
        let kept = self.journal.image().instances.get(instance);
        if kept.is_some_and(|k| k.begun.is_some()) {
            return None;
        }
        let next = self.next_run(&instance.service);
        Some(next.map_or_else(|| "its schedule".into(), |next| format!("its schedule: {next}")))
    }

    /// The next time of a schedule, for people.
    pub(super) fn next_run(&self, name: &ServiceName) -> Option<String> {
        let planned = self.jobs.tables.get(name)?;
        match planned.found?.1 {
            Look::Wait { at, .. } => Some(planned.table.shown(at)),
            Look::Due { .. } | Look::Never => None,
        }
    }

    /// Since when an instance waits for other things than its schedule.
    pub(super) fn begun_since(&self, instance: &Instance) -> Boot {
        self.jobs.begun.get(instance).copied().unwrap_or_default()
    }

    /// Somebody starts scheduled jobs: their runs begin now. `again` = also where one goes on.
    pub(super) fn begun_by_hand<'a>(
        &self,
        instances: impl Iterator<Item = &'a Instance>,
        again: bool,
    ) -> Vec<Record> {
        let image = self.journal.image();
        let scheduled = |i: &&Instance| {
            let service = self.services.get(&i.service);
            let goes_on = image.instances.get(i).is_some_and(|k| k.begun.is_some());
            service.is_some_and(|f| schedule(&f.service).is_some()) && (again || !goes_on)
        };
        let begun =
            |i: &Instance| Record::Begun { instance: i.clone(), scheduled: None, at: Timestamp::now() };
        instances.filter(scheduled).map(begun).collect()
    }

    /// What `status` says of a job.
    pub(super) fn job_info(&self, service: &Service) -> Option<JobInfo> {
        let job = service.job.as_ref()?;
        let image = self.journal.image();
        let of = image.instances.iter().filter(|(i, _)| i.service == service.name);
        let mut results: Vec<_> = of.flat_map(|(i, k)| k.results.iter().map(move |r| (i, r))).collect();
        results.sort_by_key(|(_, r)| std::cmp::Reverse(r.ended));
        Some(JobInfo {
            attempts: job.attempts,
            deadline: job.deadline.as_ref().map(Duration::as_secs_f64),
            schedule: job.schedule.as_ref().map(|s| s.cron.clone()),
            timezone: job.schedule.as_ref().map(|s| s.timezone.clone()),
            next: job.schedule.as_ref().and_then(|_| match self.jobs.tables.get(&service.name)?.found?.1 {
                Look::Wait { at, .. } if !self.all_held(&service.name) => Some(at.to_string()),
                Look::Wait { .. } | Look::Due { .. } | Look::Never => None,
            }),
            results: results.into_iter().map(|(i, r)| result_info(i, r)).collect(),
        })
    }
}

/// Whether a run of it has not ended. What is left of one that has is taken away first, and holds the next one up no longer.
fn goes_on(slot: &Slot) -> bool {
    slot.machine.run().is_some() && !matches!(slot.machine.state, State::Cleaning { .. })
}

fn result_info(instance: &Instance, result: &JobResult) -> JobResultInfo {
    let JobResult { run, scheduled, begun, ended, attempts, success, text, output } = result;
    JobResultInfo {
        run: (*run > 0).then(|| RunId { instance: instance.clone(), run: *run }.to_string()),
        scheduled: scheduled.map(|t| t.to_string()),
        begun: begun.map(|t| t.to_string()),
        ended: ended.to_string(),
        attempts: *attempts,
        result: match success {
            Some(true) => "succeeded",
            Some(false) => "failed",
            None => "stopped",
        }
        .into(),
        text: text.clone(),
        output: output.lines().map(str::to_owned).collect(),
    }
}

/// The last lines that a run has printed since a moment, those of its keeper left out.
async fn last_lines(dir: PathBuf, since: Timestamp) -> std::io::Result<String> {
    let query = Query { since: Some(since), tail: Some(OUTPUT_LINES), follow: false, join: false };
    let mut log = LogReader::open(&dir, query)?;
    let mut text = String::new();
    while let Some(line) = log.next().await? {
        if matches!(line.stream, Stream::Stdout | Stream::Stderr) {
            text.push_str(&String::from_utf8_lossy(&line.text));
            text.push('\n');
        }
    }
    let from = text.len().saturating_sub(OUTPUT_BYTES);
    Ok(text.split_off(text.ceil_char_boundary(from)))
}
