//! What must hold for the image after any records in any order, and for an image that went through a file.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use jiff::Timestamp;
use proptest::prelude::*;

use super::frame;
use super::record::{EXITS_KEPT, Event, FileId, Image, RETIRED_KEPT, Record};
use super::recover;
use crate::clock::Boot;
use crate::names::{Instance, RunId, ServiceName};
use crate::rollout::{Member, Rejected, Rollout, Updates};
use crate::schedule::Base;

fn service() -> impl Strategy<Value = ServiceName> {
    prop::sample::select(vec!["a", "b"]).prop_map(|s| s.parse().unwrap())
}

fn instance() -> impl Strategy<Value = Instance> {
    (service(), 1u32..4).prop_map(|(service, replica)| Instance { service, replica })
}

fn run() -> impl Strategy<Value = RunId> {
    (instance(), 1u32..9).prop_map(|(instance, run)| RunId { instance, run })
}

fn second(n: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_second(n).unwrap()
}

fn record() -> impl Strategy<Value = Record> {
    prop_oneof![
        4 => (service(), prop::option::of(1u32..4), any::<bool>())
            .prop_map(|(service, replica, held)| Record::Goal { service, replica, held }),
        4 => (run(), any::<u32>()).prop_map(|(run, restarts)| Record::Intent {
            run,
            boot_id: "boot".into(),
            version: "v".into(),
            restarts
        }),
        2 => (run(), any::<u32>())
            .prop_map(|(run, pid)| Record::Started { run, pid, at: Boot::default() }),
        2 => run().prop_map(|run| Record::Stopping { run, unwell: None }),
        1 => run().prop_map(|run| Record::Again { run }),
        4 => (run(), any::<u32>(), any::<Option<bool>>(), any::<String>()).prop_map(
            |(run, failures, finished, text)| Record::Ended {
                run,
                exit: None,
                at: "2026-11-21T12:00:00.000000001Z".parse().unwrap(),
                text,
                failures,
                finished
            }
        ),
        1 => (1u64..50, any::<String>()).prop_map(|(seq, text)| Record::Event(Event {
            seq,
            at: "2026-11-21T12:00:00Z".parse().unwrap(),
            service: None,
            replica: None,
            kind: "kind".into(),
            text,
            cause: None
        })),
        3 => (instance(), prop::option::of(0i64..90_000), 0i64..90_000).prop_map(|(instance, scheduled, at)| {
            Record::Begun { instance, scheduled: scheduled.map(second), at: second(at) }
        }),
        1 => (instance(), 1u32..4, any::<String>()).prop_map(|(instance, run, text)| Record::Output {
            run: RunId { instance, run },
            text,
        }),
        2 => (service(), any::<bool>(), 0i64..90_000).prop_map(|(service, gone, at)| Record::Schedule {
            service,
            rule: if gone { String::new() } else { "@daily UTC".into() },
            base: Base::new(second(at)),
        }),
        1 => service().prop_map(|service| Record::Forget { service }),
        1 => service().prop_map(|service| Record::Remove {
            service,
            file: Some(FileId { inode: 1, seconds: 2, nanoseconds: 3 })
        }),
        1 => service().prop_map(|service| Record::Keep { service }),
        1 => (service(), any::<u64>(), any::<u32>()).prop_map(|(service, current, replica)| {
            let mut rollout = Rollout::new(current, 2, Boot::default(), "boot");
            rollout.fresh.push(Member { replica, after: 3 });
            rollout.given_up.insert(replica);
            let rejected = Some(Rejected { version: "v".into(), generation: 2, why: "w".into(), at: Timestamp::UNIX_EPOCH });
            let updates = Updates { generations: Vec::new(), current, rollout: Some(rollout), rejected, single: Some(replica % 3) };
            Record::Updates { service, updates: Box::new(updates) }
        }),
        1 => instance().prop_map(|instance| Record::ForgetInstance { instance }),
    ]
}

/// Whether an instance is stopped by hand, told as people see it: the last word that was said of it counts, be it of the
/// whole service or of the instance alone.
#[derive(Default)]
struct Words(BTreeMap<Instance, bool>);

impl Words {
    fn hear(&mut self, record: &Record) {
        match record {
            Record::Goal { service, replica, held } => {
                for (_, word) in self
                    .0
                    .iter_mut()
                    .filter(|(i, _)| i.service == *service && replica.is_none_or(|r| r == i.replica))
                {
                    *word = *held;
                }
                if let Some(replica) = *replica {
                    self.0.insert(Instance { service: service.clone(), replica }, *held);
                }
            }
            Record::Forget { service } => self.0.retain(|i, _| i.service != *service),
            Record::ForgetInstance { instance } => drop(self.0.remove(instance)),
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_said_the_image_makes_sense(records in prop::collection::vec(record(), 0..60)) {
        let mut image = Image::default();
        let mut words = Words::default();
        for record in &records {
            let before = image.clone();
            image.apply(record);
            words.hear(record);
            for instance in before.instances.keys().chain(before.retired.keys()) {
                let (had, has) = (before.known(instance).last_run, image.known(instance).last_run);
                prop_assert!(has >= had, "the last run of {} goes back from {} to {}", instance, had, has);
            }
            for (instance, kept) in &image.instances {
                prop_assert!(kept.exits.len() <= EXITS_KEPT);
                if let Some(open) = &kept.open {
                    prop_assert!(open.run <= kept.last_run);
                    prop_assert!(open.pid.is_some() == open.started.is_some());
                }
                // What nobody has spoken of yet by its name is as its service was when it came.
                let known = words.0.entry(instance.clone()).or_insert_with(|| image.is_held(instance));
                prop_assert_eq!(image.is_held(instance), *known, "{} after {:?}", instance, record);
            }
            prop_assert!(image.next_seq >= before.next_seq);
            prop_assert!(image.events.iter().all(|e| e.seq < image.next_seq));
            if let Record::Ended { run, .. } = record {
                let kept = &image.instances[&run.instance];
                prop_assert!(kept.open.as_ref().is_none_or(|o| o.run != run.run), "an ended run is open");
                prop_assert_eq!(kept.exits.back().map(|e| e.run), Some(run.run));
            }
        }
    }

    #[test]
    fn an_image_and_its_records_come_back_from_a_file(records in prop::collection::vec(record(), 0..60)) {
        let mut image = Image::default();
        let mut file = Vec::new();
        frame::put_head(&mut file, 1);
        for record in &records {
            image.apply(record);
            frame::put_record(&mut file, record);
        }
        let found = recover::read(&file[..]);
        prop_assert_eq!((found.tail, found.damaged, found.unknown), (0, 0, 0));
        prop_assert_eq!(&found.image, &image);

        let mut fresh = Vec::new();
        let done: Result<(), ()> = frame::put_image(&image, image.next_seq, usize::MAX, |bytes| {
            fresh.extend_from_slice(bytes);
            Ok(())
        });
        prop_assert_eq!(done, Ok(()));
        let found = recover::read(&fresh[..]);
        prop_assert_eq!((found.tail, found.damaged, found.unknown), (0, 0, 0));
        prop_assert_eq!(found.image.instances, image.instances);
        prop_assert_eq!(found.image.held, image.held);
        prop_assert_eq!(found.image.removals, image.removals);
        prop_assert_eq!(found.image.updates, image.updates);
        prop_assert_eq!(found.image.retired, image.retired);
        prop_assert_eq!(found.image.highest_forgotten, image.highest_forgotten);
        prop_assert_eq!(found.image.events, image.events);
        prop_assert_eq!(found.reserved, image.next_seq);
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..4000)) {
        let found = recover::read(&bytes[..]);
        prop_assert_eq!(found.end + found.tail, bytes.len() as u64);
    }
}

#[test]
fn a_run_that_was_never_the_open_one_changes_nothing_of_it() {
    let mut image = Image::default();
    let intent = |run: &str| Record::Intent {
        run: run.parse().unwrap(),
        boot_id: "boot".into(),
        version: "v".into(),
        restarts: 0,
    };
    image.apply(&intent("web.1.5"));
    let before = image.clone();
    image.apply(&Record::Started { run: "web.1.4".parse().unwrap(), pid: 1, at: Boot::default() });
    image.apply(&Record::Stopping { run: "web.1.4".parse().unwrap(), unwell: None });
    image.apply(&Record::Started { run: "web.2.5".parse().unwrap(), pid: 1, at: Boot::default() });
    assert_eq!(image, before);
}

#[test]
fn numbers_of_runs_are_never_given_again() {
    let mut image = Image::default();
    let run = |name: &str, run| RunId { instance: name.parse().unwrap(), run };
    let intent = |run| Record::Intent { run, boot_id: "boot".into(), version: "v".into(), restarts: 0 };
    image.apply(&intent(run("web.2", 7)));
    image.apply(&Record::ForgetInstance { instance: "web.2".parse().unwrap() });
    assert_eq!(image.known(&"web.2".parse().unwrap()).last_run, 7);
    assert_eq!(image.known(&"web.1".parse().unwrap()).last_run, 0);
    image.apply(&intent(run("web.2", 8)));
    assert!(image.retired.is_empty());
    image.apply(&Record::Forget { service: "web".parse().unwrap() });
    assert_eq!(image.known(&"web.2".parse().unwrap()).last_run, 8);
    // Of very many only the highest are kept by name; the others count from one number on.
    for n in 1..=RETIRED_KEPT as u32 {
        image.apply(&intent(run(&format!("job{n}.1"), n)));
        image.apply(&Record::Forget { service: format!("job{n}").parse().unwrap() });
    }
    assert!(image.retired.len() <= RETIRED_KEPT);
    for n in 1..=RETIRED_KEPT as u32 {
        assert!(image.known(&format!("job{n}.1").parse().unwrap()).last_run >= n);
    }
    assert_eq!(image.known(&"never-seen.1".parse().unwrap()).last_run, image.highest_forgotten);
    assert!(image.highest_forgotten > 0 && image.highest_forgotten < 5);
}
