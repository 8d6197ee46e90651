//! The journal against everything that can become of its file: cut, flipped, half replaced, killed while it is written.
#![forbid(unsafe_code)]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::frame;
use super::record::{Event, Image, Record};
use super::recover;
use super::store::{Journal, Limits, Loss};
use crate::clock::Boot;
use crate::keeper::record::{End, ExitRecord, Memory};

/// In memory where that is possible: thousands of files are made here.
pub(super) fn dir() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

pub(super) fn small() -> Limits {
    Limits { file: 64 << 10, ahead: 4096, spare: 4096 }
}

pub(super) fn open(dir: &Path) -> (Journal, Option<Loss>) {
    let opened = Journal::open_with(dir, small()).unwrap();
    (opened.journal, opened.loss)
}

pub(super) fn event(seq: u64, text: &str) -> Record {
    Record::Event(Event {
        seq,
        at: "2026-11-21T12:00:00.5Z".parse().unwrap(),
        service: Some("web".parse().unwrap()),
        replica: Some(1),
        kind: "exited".into(),
        text: text.into(),
        cause: None,
    })
}

pub(super) fn intent(run: u32) -> Record {
    Record::Intent {
        run: format!("web.1.{run}").parse().unwrap(),
        boot_id: "2f1b1f2e-8f6d-4a5a-9c57-0b6f6a1f6b11".into(),
        version: "0123456789abcdef".into(),
        restarts: run - 1,
    }
}

pub(super) fn ended(run: u32, code: u8) -> Record {
    let run: crate::names::RunId = format!("web.1.{run}").parse().unwrap();
    Record::Ended {
        run: run.clone(),
        exit: Some(ExitRecord {
            version: 1,
            run,
            boot_id: "2f1b1f2e-8f6d-4a5a-9c57-0b6f6a1f6b11".into(),
            end: End::Exited { code },
            pid: 4711,
            started: Boot::default(),
            ended: Boot::default(),
            ended_wall: "2026-11-21T12:00:00.25Z".parse().unwrap(),
            memory: Memory { oom_kills: Some(0), peak: Some(1 << 20), ..Memory::default() }.into(),
            log_dropped: 0,
            victim: None,
        }),
        at: "2026-11-21T12:00:00.5Z".parse().unwrap(),
        text: format!("exited {code}"),
        failures: u32::from(code != 0),
        finished: None,
    }
}

/// One life of web.1, its events included.
fn life(run: u32, seq: u64) -> Vec<Record> {
    vec![
        intent(run),
        Record::Started {
            run: format!("web.1.{run}").parse().unwrap(),
            pid: 4711,
            at: Boot(std::time::Duration::from_millis(u64::from(run))),
        },
        event(seq, &format!("started {run} \"quoted\" \u{e9}\n")),
        ended(run, u8::try_from(run % 7).unwrap()),
        event(seq + 1, &format!("ended {run}")),
    ]
}

/// A journal with this many lives, its file, and what the image is at the end of each record.
fn written(lives: u32) -> (Vec<u8>, Vec<(usize, Image)>) {
    let dir = dir();
    let (mut journal, _) = open(dir.path());
    let file = || fs::read(dir.path().join("journal")).unwrap();
    let mut images = vec![(file().len(), journal.image().clone())];
    for run in 1..=lives {
        for record in life(run, journal.next_seq()) {
            journal.append(std::slice::from_ref(&record)).unwrap();
            images.push((file().len(), journal.image().clone()));
        }
    }
    (file(), images)
}

/// The same but for the number of the next event, which jumps at each start.
fn same(a: &Image, b: &Image) -> bool {
    a.instances == b.instances && a.held == b.held && a.events == b.events
}

#[test]
fn what_was_written_is_there_at_the_next_start() {
    let dir = dir();
    let (mut journal, loss) = open(dir.path());
    assert_eq!((loss, journal.next_seq()), (None, 1));
    journal.append(&life(1, 1)).unwrap();
    journal
        .try_append(&[Record::Goal { service: "web".parse().unwrap(), replica: None, held: true }])
        .unwrap();
    let image = journal.image().clone();
    drop(journal);
    let (journal, loss) = open(dir.path());
    assert_eq!(loss, None);
    assert!(same(journal.image(), &image));
    assert!(journal.image().is_held(&"web.1".parse().unwrap()));
    assert!(journal.next_seq() > image.next_seq);
    assert_eq!((journal.pending(), journal.problem()), (0, None));
}

#[test]
fn a_killed_daemon_loses_nothing_that_has_not_been_synced() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(dir.path()).unwrap().journal;
    journal.append_unsynced(&[intent(1)]).unwrap();
    journal.append_unsynced(&[ended(1, 3), intent(2)]).unwrap();
    let read = Journal::open(dir.path()).unwrap();
    assert!(read.loss.is_none() && same(read.journal.image(), journal.image()));
    drop(read);
    // What may be refused is written behind it.
    journal.try_append(&[ended(2, 4)]).unwrap();
    journal.sync().unwrap();
    assert_eq!((journal.pending(), journal.problem()), (0, None));
    assert!(same(Journal::open(dir.path()).unwrap().journal.image(), journal.image()));
}

#[test]
fn cut_at_every_byte_it_recovers_to_the_last_whole_record() {
    let (bytes, images) = written(5);
    let last = images.last().unwrap().1.next_seq;
    let from = bytes.len() - 4096;
    assert!(images[0].0 < from, "the cut part must not reach the first line: {} bytes", bytes.len());
    for cut in from..=bytes.len() {
        let dir = dir();
        fs::write(dir.path().join("journal"), &bytes[..cut]).unwrap();
        let (journal, loss) = open(dir.path());
        let (end, image) = images.iter().rev().find(|(end, _)| *end <= cut).unwrap();
        assert!(same(journal.image(), image), "cut at {cut}");
        assert!(journal.next_seq() >= last, "cut at {cut}: number {} again", journal.next_seq());
        // A line that gives numbers free is a whole record as well, but none that shows in an image.
        match loss {
            None => assert!(cut == *end || bytes[cut - 1] == b'\n', "cut at {cut} and nothing said"),
            Some(loss) => {
                assert!(loss.tail > 0 && loss.tail <= (cut - end) as u64, "cut at {cut}: {loss}");
                assert_eq!(Loss { tail: loss.tail, ..Loss::default() }, loss);
            }
        }
        assert_eq!(journal.size(), fs::metadata(dir.path().join("journal")).unwrap().len());
    }
}

#[test]
fn after_a_cut_it_goes_on() {
    let (bytes, _) = written(3);
    let dir = dir();
    fs::write(dir.path().join("journal"), &bytes[..bytes.len() - 5]).unwrap();
    let (mut journal, loss) = open(dir.path());
    assert!(loss.unwrap().to_string().contains("bytes at its end were no whole record"));
    journal.append(&life(4, journal.next_seq())).unwrap();
    let image = journal.image().clone();
    drop(journal);
    let (journal, loss) = open(dir.path());
    assert_eq!(loss, None);
    assert!(same(journal.image(), &image));
}

#[test]
fn a_flipped_byte_loses_that_record_and_invents_none() {
    let (bytes, images) = written(4);
    let all = &images.last().unwrap().1;
    for at in bytes.len() - 1024..bytes.len() {
        for bit in 0..8 {
            let mut bad = bytes.clone();
            bad[at] ^= 1 << bit;
            let found = recover::read(&bad[..]);
            subsequence(&found.image, all, &format!("bit {bit} of byte {at}"));
            let missing = all.events.len() - found.image.events.len();
            assert!(missing <= 1, "bit {bit} of byte {at}: {missing} events are missing");
        }
        let dir = dir();
        let mut bad = bytes.clone();
        bad[at] ^= 0x01;
        fs::write(dir.path().join("journal"), &bad).unwrap();
        let (mut journal, loss) = open(dir.path());
        let loss = loss.unwrap_or_else(|| panic!("byte {at}: nothing said"));
        assert!(loss.damaged + loss.tail > 0, "byte {at}: {loss}");
        assert!(journal.next_seq() >= all.next_seq, "byte {at}");
        if loss.damaged > 0 {
            assert_eq!(fs::read(loss.copy.unwrap()).unwrap(), bad, "byte {at}: the copy");
        }
        journal.append(&[intent(100)]).unwrap();
        let image = journal.image().clone();
        drop(journal);
        let (journal, loss) = open(dir.path());
        assert_eq!(loss, None, "byte {at}: the damage is carried on");
        assert!(same(journal.image(), &image), "byte {at}");
    }
}

/// Everything that `part` has is in `all`, in the same order.
fn subsequence(part: &Image, all: &Image, what: &str) {
    let mut events = all.events.iter();
    for event in &part.events {
        assert!(events.any(|e| e == event), "{what}: event {event:?} was never written");
    }
    for (instance, kept) in &part.instances {
        let whole = &all.instances[instance];
        let mut exits = whole.exits.iter();
        // The older ones are no longer kept in the whole image when fewer are there in the part.
        for exit in kept.exits.iter().filter(|e| e.run >= whole.exits[0].run) {
            assert!(exits.any(|e| e == exit), "{what}: exit {exit:?} was never written");
        }
        assert!(kept.last_run <= whole.last_run, "{what}");
    }
}

#[test]
fn damage_in_the_middle_costs_what_is_damaged() {
    let (mut bytes, images) = written(12);
    let all = &images.last().unwrap().1;
    let (from, to) = (images[20].0, images[23].0);
    bytes[from + 30..to - 10].fill(0);
    let dir = dir();
    fs::write(dir.path().join("journal"), &bytes).unwrap();
    let (journal, loss) = open(dir.path());
    let loss = loss.unwrap();
    assert_eq!((loss.damaged, loss.tail), ((to - from) as u64, 0), "{loss}");
    assert!(loss.to_string().contains("damaged and left out; the file is kept as"), "{loss}");
    subsequence(journal.image(), all, "zeroes");
    assert_eq!(journal.image().instances[&"web.1".parse().unwrap()].last_run, 12, "later records count");
}

#[test]
fn any_rubbish_is_a_journal_with_a_loss() {
    let (bytes, _) = written(2);
    let zeroes = vec![0u8; 10_000];
    let lines = vec![b'\n'; 10_000];
    let mut headless = bytes.clone();
    headless.drain(..headless.iter().position(|b| *b == b'\n').unwrap() + 1);
    for (name, content) in
        [("zeroes", &zeroes[..]), ("lines", &lines), ("text", b"hello\n"), ("headless", &headless)]
    {
        let dir = dir();
        fs::write(dir.path().join("journal"), content).unwrap();
        let (mut journal, loss) = open(dir.path());
        assert!(loss.is_some() || name == "headless", "{name}");
        let copy = dir.path().join("journal.bad-1");
        assert_eq!(fs::read(copy).unwrap(), content, "{name}");
        assert!(journal.next_seq() > 0);
        journal.append(&[intent(7)]).unwrap();
        drop(journal);
        let (journal, loss) = open(dir.path());
        assert_eq!(loss, None, "{name}");
        assert_eq!(journal.image().instances[&"web.1".parse().unwrap()].last_run, 7, "{name}");
    }
}

#[test]
fn damaged_files_are_kept_but_not_without_end() {
    let dir = dir();
    for n in 0..8 {
        fs::write(dir.path().join("journal"), format!("rubbish {n}\n")).unwrap();
        let (_, loss) = open(dir.path());
        assert_eq!(loss.unwrap().copy.unwrap(), dir.path().join(format!("journal.bad-{}", n + 1)));
    }
    let bad = fs::read_dir(dir.path())
        .unwrap()
        .filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().starts_with("journal.bad-"));
    assert_eq!(bad.count(), 4);
}

#[test]
fn a_file_of_a_newer_version_is_refused_and_left_alone() {
    let dir = dir();
    drop(open(dir.path()));
    let path = dir.path().join("journal");
    let json = r#"{"version":2,"program":"9.0","reserved":5,"new":true}"#;
    let mut crc = crc32fast::Hasher::new();
    crc.update(b"h");
    crc.update(json.as_bytes());
    let line = format!("h {:08x} {:08x} {json}\nq what follows\n", json.len(), crc.finalize());
    fs::write(&path, &line).unwrap();
    let e = Journal::open(dir.path()).unwrap_err();
    assert_eq!(e.kind(), std::io::ErrorKind::Unsupported);
    assert!(e.to_string().contains("of version 2, and this program reads up to 1"), "{e}");
    assert_eq!(fs::read_to_string(&path).unwrap(), line);
}

#[test]
fn a_record_of_an_unknown_kind_is_left_out_and_said() {
    let dir = dir();
    drop(open(dir.path()));
    let path = dir.path().join("journal");
    let json = r#"{"record":"of-tomorrow","run":"web.1.1"}"#;
    let mut crc = crc32fast::Hasher::new();
    crc.update(b"r");
    crc.update(json.as_bytes());
    let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
    writeln!(file, "r {:08x} {:08x} {json}", json.len(), crc.finalize()).unwrap();
    let (_, loss) = open(dir.path());
    assert_eq!(loss.unwrap().unknown, 1);
}

#[test]
fn what_a_crash_leaves_of_writing_it_anew_does_no_harm() {
    let (bytes, images) = written(12);
    let all = &images.last().unwrap().1;
    let mut fresh = Vec::new();
    frame::put_image(all, 5000, usize::MAX, |b| {
        fresh.extend_from_slice(b);
        Ok::<(), ()>(())
    })
    .unwrap();
    // Before the rename the old file counts, whatever there is of the new one.
    for aside in [&b""[..], b"h 000", &fresh[..fresh.len() / 2], &fresh] {
        let dir = dir();
        fs::write(dir.path().join("journal"), &bytes).unwrap();
        fs::write(dir.path().join("journal.new"), aside).unwrap();
        let (journal, loss) = open(dir.path());
        assert_eq!(loss, None);
        assert!(same(journal.image(), all));
        assert!(!dir.path().join("journal.new").exists());
    }
    // After it the new one does.
    let dir = dir();
    fs::write(dir.path().join("journal"), &fresh).unwrap();
    let (journal, loss) = open(dir.path());
    assert_eq!(loss, None);
    assert!(same(journal.image(), all));
    assert!(journal.next_seq() >= 5000);
}

#[test]
fn it_is_written_anew_when_it_is_long_and_loses_nothing() {
    let dir = dir();
    let (mut journal, _) = open(dir.path());
    let mut largest = 0;
    for run in 1..600 {
        journal.append(&life(run, journal.next_seq())).unwrap();
        largest = largest.max(journal.size());
    }
    let image = journal.image().clone();
    assert_eq!(image.events.len(), 1198);
    // 64 KiB, or half as much again as the image, and one append.
    assert!(largest < 500_000, "{largest} bytes");
    drop(journal);
    let (journal, loss) = open(dir.path());
    assert_eq!(loss, None);
    assert!(same(journal.image(), &image));
}

#[test]
fn events_are_bounded_in_number_and_in_bytes() {
    let dir = dir();
    let mut journal = Journal::open(dir.path()).unwrap().journal;
    let long = "x".repeat(10_000);
    let mut largest = 0;
    for _ in 0..20 {
        let from = journal.next_seq();
        let records: Vec<_> = (0..100).map(|i| event(from + i, &long)).collect();
        journal.append(&records).unwrap();
        largest = largest.max(journal.size());
    }
    let kept = journal.image().events.len();
    assert!((300..430).contains(&kept), "{kept} events of 10 kB");
    assert!(largest < 10 << 20, "{largest} bytes");
    for _ in 0..110 {
        let from = journal.next_seq();
        let records: Vec<_> = (0..100).map(|i| event(from + i, "short")).collect();
        journal.append(&records).unwrap();
    }
    assert_eq!(journal.image().events.len(), super::record::EVENTS_KEPT);
    assert!(
        journal.image().events.iter().zip(journal.image().events.iter().skip(1)).all(|(a, b)| a.seq < b.seq)
    );
}

#[test]
fn nothing_is_written_when_nothing_happens() {
    use std::os::unix::fs::MetadataExt;
    let dir = dir();
    let (mut journal, _) = open(dir.path());
    journal.append(&life(1, 1)).unwrap();
    let look = || {
        let mut all: Vec<_> = fs::read_dir(dir.path())
            .unwrap()
            .map(|e| {
                let m = e.as_ref().unwrap().metadata().unwrap();
                (e.unwrap().file_name(), m.ino(), m.len(), m.mtime_nsec(), m.ctime_nsec())
            })
            .collect();
        all.sort();
        all
    };
    let before = look();
    journal.append(&[]).unwrap();
    journal.retry().unwrap();
    assert_eq!(look(), before);
}

const HELPER_DIR: &str = "KNARR_JOURNAL_WRITER";

/// The kernel ends a write between two pages when the process is killed in it. Such a record was not acknowledged.
fn only_torn(loss: &Option<Loss>) -> bool {
    loss.as_ref().is_none_or(|l| *l == Loss { tail: l.tail, ..Loss::default() })
}

/// Not a test: the process that the next one kills. Says each number after it is written.
#[test]
#[ignore = "run by a_killed_writer_loses_nothing_that_it_acknowledged"]
fn writer_that_is_killed() {
    let Some(dir) = std::env::var_os(HELPER_DIR) else { return };
    let (mut journal, loss) = open(Path::new(&dir));
    assert!(only_torn(&loss), "{loss:?}");
    let from = journal.image().instances.get(&"web.1".parse().unwrap()).map_or(0, |k| k.last_run);
    for run in from + 1.. {
        let seq = journal.next_seq();
        journal.append(&[intent(run), event(seq, &run.to_string())]).unwrap();
        println!("=== {run} {seq}");
    }
}

#[test]
fn a_killed_writer_loses_nothing_that_it_acknowledged() {
    let dir = dir();
    let mut seed = 12345u32;
    let (mut last, mut last_seq) = (0u32, 0u64);
    let mut cut: Vec<u32> = Vec::new();
    for round in 0..25 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "journal::tests::writer_that_is_killed", "--ignored", "--nocapture"])
            .env(HELPER_DIR, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let mut left = seed >> 22;
        let mut told = |line: &str| {
            let mut words = line.split("=== ").nth(1)?.split(' ');
            let run: u32 = words.next()?.parse().ok()?;
            let seq: u64 = words.next()?.parse().ok()?;
            assert_eq!(run, last + 1, "round {round}");
            assert!(seq > last_seq, "round {round}: number {seq} after {last_seq}");
            (last, last_seq) = (run, seq);
            Some(())
        };
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            told(&line.unwrap());
            if left == 0 {
                child.kill().unwrap();
            }
            left = left.saturating_sub(1);
        }
        assert!(!child.wait().unwrap().success());
        assert!(last > 0);
        let (journal, loss) = open(dir.path());
        assert!(only_torn(&loss), "round {round}: {loss:?}");
        let there = journal.image().instances[&"web.1".parse().unwrap()].last_run;
        // One more may have been written and not said any more.
        assert!(
            there == last || there == last + 1,
            "round {round}: {there} is there, {last} was acknowledged"
        );
        assert!(journal.next_seq() > last_seq);
        let mut texts: Vec<u32> = journal.image().events.iter().map(|e| e.text.parse().unwrap()).collect();
        // A kill can cut a write(2) short between two pages: then the first of two records that nobody was told of is whole,
        // and the second one is not.
        if there == last + 1 && texts.last() == Some(&last) {
            cut.push(there);
        }
        texts.extend(
            cut.iter().filter(|run| texts.first().is_some_and(|first| first < *run)).collect::<Vec<_>>(),
        );
        texts.sort_unstable();
        assert!(texts.windows(2).all(|w| w[1] == w[0] + 1), "round {round}: a gap in the events");
        assert_eq!(texts.last(), Some(&there), "round {round}");
        last = there;
    }
}

/// Not a test: prints what docs/decisions/0011-journal.md compares. Run it with `--release --ignored --nocapture`, with
/// `TMPDIR` on the disk that is meant.
#[test]
#[ignore = "prints figures and checks none"]
fn measure() {
    use std::time::Instant;
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(dir.path()).unwrap().journal;
    let mut took = Vec::new();
    let from = journal.size();
    for run in 1..=1000 {
        for records in [vec![ended(run, 1)], vec![intent(run)]] {
            let records =
                [records, vec![event(journal.next_seq(), "exited 1 after 12 s; restart 3")]].concat();
            let start = Instant::now();
            journal.append(&records).unwrap();
            took.push(start.elapsed());
        }
    }
    took.sort();
    println!("1000 restarts: {} KiB, synced append {:?} (median)", (journal.size() - from) >> 10, took[1000]);
    while journal.image().events.len() < super::record::EVENTS_KEPT {
        journal.append(&[event(journal.next_seq(), "exited 1 after 12 s; restart 3")]).unwrap();
    }
    let size = journal.size();
    drop(journal);
    let start = Instant::now();
    drop(Journal::open(dir.path()).unwrap());
    println!("start with 10000 events, {} KiB: {:?}", size >> 10, start.elapsed());
}
