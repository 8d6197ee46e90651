//! Runs of jobs in the image: when one is wanted, when it is over, what came of it.
#![forbid(unsafe_code)]

use jiff::Timestamp;

use super::record::{Image, JobResult, RESULTS_KEPT, Record};
use crate::names::{Instance, RunId};
use crate::schedule::Base;

fn at(minute: u32) -> Timestamp {
    format!("2026-01-01T10:{minute:02}:00Z").parse().unwrap()
}

fn instance() -> Instance {
    "job.1".parse().unwrap()
}

fn run(run: u32) -> RunId {
    RunId { instance: instance(), run }
}

fn intent(n: u32) -> Record {
    Record::Intent { run: run(n), boot_id: "b".into(), version: "v".into(), restarts: 0 }
}

fn ended(n: u32, failures: u32, finished: Option<bool>) -> Record {
    Record::Ended { run: run(n), exit: None, at: at(59), text: format!("end {n}"), failures, finished }
}

fn begun(minute: u32) -> Record {
    Record::Begun { instance: instance(), scheduled: Some(at(minute)), at: at(minute) }
}

fn image(records: &[Record]) -> Image {
    let mut image = Image::default();
    image.apply(&Record::Schedule {
        service: "job".parse().unwrap(),
        rule: "r".into(),
        base: Base::new(at(0)),
    });
    records.iter().for_each(|r| image.apply(r));
    image
}

fn results(image: &Image) -> Vec<JobResult> {
    image.instances[&instance()].results.iter().cloned().collect()
}

#[test]
fn a_run_is_wanted_until_the_policy_is_done_with_it() {
    let wanted = |records: &[Record]| image(records).instances[&instance()].begun.is_some();
    assert!(wanted(&[begun(1)]));
    assert!(wanted(&[begun(1), intent(1), ended(1, 1, None)]));
    assert!(!wanted(&[begun(1), intent(1), ended(1, 1, None), intent(2), ended(2, 0, Some(true))]));
    assert!(!wanted(&[begun(1), intent(1), ended(1, 1, Some(false))]));
    let hold = || Record::Goal { service: "job".parse().unwrap(), replica: None, held: true };
    assert!(!wanted(&[begun(1), hold()]));
    assert!(wanted(&[begun(1), intent(1), hold()]));
    assert!(!wanted(&[begun(1), intent(1), hold(), ended(1, 0, None)]));
}

#[test]
fn that_it_is_wanted_and_that_its_time_is_dealt_with_is_one_record() {
    let kept = |records: &[Record]| image(records).schedules[&"job".parse().unwrap()].base;
    assert_eq!(kept(&[]), Base::new(at(0)));
    assert_eq!(kept(&[begun(5)]), Base::new(at(5)));
    let by_hand = Record::Begun { instance: instance(), scheduled: None, at: at(7) };
    assert_eq!(kept(&[begun(5), by_hand]), Base::new(at(7)));
    let gone =
        Record::Schedule { service: "job".parse().unwrap(), rule: String::new(), base: Base::new(at(9)) };
    assert!(image(&[begun(5), gone]).schedules.is_empty());
    let forgotten = image(&[begun(5), Record::Forget { service: "job".parse().unwrap() }]);
    assert!(forgotten.schedules.is_empty() && forgotten.instances.is_empty());
}

#[test]
fn results_have_their_time_and_their_attempts() {
    let image = image(&[
        begun(1),
        intent(1),
        ended(1, 1, None),
        intent(2),
        ended(2, 2, Some(false)),
        begun(2),
        begun(3),
    ]);
    let all = results(&image);
    assert_eq!(all.len(), 2);
    assert_eq!(
        (all[0].run, all[0].scheduled, all[0].attempts, all[0].success),
        (2, Some(at(1)), 2, Some(false))
    );
    assert_eq!(all[0].text, "end 2");
    // The next one took its place before it ran.
    assert_eq!(
        (all[1].scheduled, all[1].success, all[1].text.as_str()),
        (Some(at(2)), None, "replaced by the next run")
    );
    // A new one begins without the failures of the one before.
    let kept = &image.instances[&instance()];
    assert_eq!((kept.finished, kept.failures), (None, 0));
}

#[test]
fn results_are_bounded() {
    let records: Vec<_> = (1..60).flat_map(|n| [begun(n), intent(n), ended(n, 0, Some(true))]).collect();
    let all = results(&image(&records));
    assert_eq!((all.len(), all.last().unwrap().run), (RESULTS_KEPT, 59));
}

#[test]
fn output_goes_to_the_result_of_its_run() {
    let output = |n: u32| Record::Output { run: run(n), text: format!("said {n}\n") };
    let all = results(&image(&[
        intent(1),
        ended(1, 0, Some(true)),
        output(1),
        intent(2),
        ended(2, 0, Some(true)),
        output(2),
        output(3),
        Record::Output { run: "other.1.1".parse().unwrap(), text: "nobody's".into() },
    ]));
    assert_eq!(all.iter().map(|r| r.output.as_str()).collect::<Vec<_>>(), ["said 1\n", "said 2\n"]);
}
