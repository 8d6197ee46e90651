//! The reader against a writer that rotates, files that vanish, lines that are torn or no lines at all.
#![forbid(unsafe_code)]

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use jiff::Timestamp;
use tempfile::TempDir;

use super::{LogLine, LogReader, Query, Stream};

/// The stamp of the n-th line: one line a second.
fn at(n: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + n).unwrap()
}

fn line(n: i64) -> String {
    format!("{:.9} stdout F line {n}\n", at(n))
}

/// Files with these lines, from 00000001 on.
fn files(all: &[&[i64]]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (i, lines) in all.iter().enumerate() {
        let text: String = lines.iter().map(|n| line(*n)).collect();
        fs::write(super::file(dir.path(), i as u64 + 1), text).unwrap();
    }
    dir
}

fn add(dir: &Path, number: u64, bytes: &[u8]) {
    let mut file = OpenOptions::new().append(true).create(true).open(super::file(dir, number)).unwrap();
    file.write_all(bytes).unwrap();
}

async fn all(dir: &Path, query: Query) -> Vec<LogLine> {
    let mut reader = LogReader::open(dir, query).unwrap();
    let mut lines = Vec::new();
    while let Some(line) = reader.next().await.unwrap() {
        lines.push(line);
    }
    assert_eq!(reader.next().await.unwrap(), None, "the end is the end");
    lines
}

/// The numbers of the lines; -1 = not one of the numbered ones.
fn numbers(lines: &[LogLine]) -> Vec<i64> {
    lines.iter().map(number).collect()
}

fn number(line: &LogLine) -> i64 {
    String::from_utf8_lossy(&line.text).strip_prefix("line ").and_then(|n| n.parse().ok()).unwrap_or(-1)
}

async fn next(reader: &mut LogReader) -> Option<LogLine> {
    tokio::time::timeout(Duration::from_secs(10), reader.next()).await.expect("nothing came").unwrap()
}

async fn nothing(reader: &mut LogReader) {
    let more = tokio::time::timeout(Duration::from_millis(50), reader.next()).await;
    assert!(more.is_err(), "{more:?}");
}

#[tokio::test]
async fn all_lines_of_all_files_in_order() {
    let dir = files(&[&[1, 2, 3], &[], &[4, 5], &[6]]);
    fs::write(dir.path().join("notes.txt"), "not a log\n").unwrap();
    assert_eq!(numbers(&all(dir.path(), Query::default()).await), [1, 2, 3, 4, 5, 6]);
}

#[tokio::test]
async fn no_log_is_an_empty_log() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(all(dir.path(), Query::default()).await, []);
    assert_eq!(all(&dir.path().join("none"), Query { tail: Some(3), ..Query::default() }).await, []);
    assert_eq!(all(&dir.path().join("none"), Query { since: Some(at(0)), ..Query::default() }).await, []);
}

#[tokio::test]
async fn the_last_lines_over_files() {
    for (shape, name) in [
        (files(&[&[1, 2, 3], &[4, 5], &[6]]), "three files"),
        (files(&[&[1, 2, 3, 4, 5, 6]]), "one file"),
        (files(&[&[1, 2], &[], &[3, 4, 5, 6], &[]]), "empty files"),
    ] {
        for tail in 0..8 {
            let got = all(shape.path(), Query { tail: Some(tail), ..Query::default() }).await;
            let want: Vec<i64> = (1..=6).skip(6usize.saturating_sub(tail)).collect();
            assert_eq!(numbers(&got), want, "{name}, the last {tail}");
        }
        let got = all(shape.path(), Query { tail: Some(usize::MAX), ..Query::default() }).await;
        assert_eq!(got.len(), 6, "{name}");
    }
}

#[tokio::test]
async fn the_last_lines_of_a_long_file_whatever_falls_on_the_edge_of_a_block() {
    for pad in 0..70 {
        let dir = tempfile::tempdir().unwrap();
        let mut text = format!("{} stdout F {}\n", at(0), "x".repeat(64 * 1024 - 60 + pad));
        (1..=2000).for_each(|n| text.push_str(&line(n)));
        fs::write(super::file(dir.path(), 1), &text).unwrap();
        for tail in [1, 1300, 1500, 2000] {
            let got = numbers(&all(dir.path(), Query { tail: Some(tail), ..Query::default() }).await);
            let want: Vec<i64> = (1..=2000).skip(2000 - tail).collect();
            assert_eq!(got, want, "pad {pad}, the last {tail}");
        }
    }
}

#[tokio::test]
async fn from_a_time_on() {
    let dir = files(&[&[1, 2, 3], &[4, 5], &[6]]);
    for from in -1..9 {
        let got = all(dir.path(), Query { since: Some(at(from)), ..Query::default() }).await;
        assert_eq!(numbers(&got), (from.max(1)..=6).collect::<Vec<_>>(), "since {from}");
    }
    let both = Query { since: Some(at(2)), tail: Some(2), ..Query::default() };
    assert_eq!(numbers(&all(dir.path(), both).await), [5, 6]);
    let both = Query { since: Some(at(6)), tail: Some(4), ..Query::default() };
    assert_eq!(numbers(&all(dir.path(), both).await), [6]);
}

#[tokio::test]
async fn a_clock_that_was_set_back_hides_nothing() {
    let dir = files(&[&[100, 101], &[102, 5], &[6, 7]]);
    let got = all(dir.path(), Query { since: Some(at(101)), ..Query::default() }).await;
    assert_eq!(numbers(&got), [101, 102, 5, 6, 7], "what was written later is later");
}

#[tokio::test]
async fn parts_count_as_one_line_and_are_joined_on_request() {
    let dir = tempfile::tempdir().unwrap();
    let part = |tag: char, text: &str| format!("{} stdout {tag} {text}\n", at(1));
    let mut text = line(0);
    text += &part('P', &"a".repeat(16 << 10));
    text += &format!("{} stderr F between\n", at(1));
    text += &part('P', &"b".repeat(16 << 10));
    text += &part('F', "c");
    fs::write(super::file(dir.path(), 1), text).unwrap();
    let apart = all(dir.path(), Query::default()).await;
    assert_eq!(
        apart.iter().map(|l| (l.partial, l.text.len())).collect::<Vec<_>>(),
        [(false, 6), (true, 16 << 10), (false, 7), (true, 16 << 10), (false, 1)]
    );
    let joined = all(dir.path(), Query { join: true, ..Query::default() }).await;
    assert_eq!(
        joined.iter().map(|l| (l.stream, l.partial, l.text.len())).collect::<Vec<_>>(),
        [(Stream::Stdout, false, 6), (Stream::Stderr, false, 7), (Stream::Stdout, false, (32 << 10) + 1),]
    );
    assert!(joined[2].text.ends_with(b"bbc"));
    let last = all(dir.path(), Query { tail: Some(1), join: true, ..Query::default() }).await;
    assert_eq!((last.len(), last[0].text.len()), (1, (16 << 10) + 1), "back to the last whole line");
}

#[tokio::test]
async fn a_line_without_end_is_joined_to_a_bound() {
    let dir = tempfile::tempdir().unwrap();
    let part = format!("{} stdout P {}\n", at(1), "x".repeat(16 << 10));
    fs::write(super::file(dir.path(), 1), part.repeat(200)).unwrap();
    let got = all(dir.path(), Query { join: true, ..Query::default() }).await;
    assert!(got.iter().all(|l| l.partial && l.text.len() <= 1 << 20));
    assert_eq!(got.iter().map(|l| l.text.len()).sum::<usize>(), 200 * (16 << 10));
}

#[tokio::test]
async fn any_bytes_are_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let head = format!("{} stderr F ", at(1));
    let mut bytes = head.clone().into_bytes();
    bytes.extend_from_slice(b"\xff\x00\xfe\r\n");
    bytes.extend_from_slice(b"no line at all \x80\n\n");
    bytes.extend_from_slice(&vec![b'z'; 100_000]);
    bytes.push(b'\n');
    bytes.extend_from_slice(head.as_bytes());
    bytes.extend_from_slice(b"torn");
    fs::write(super::file(dir.path(), 1), &bytes).unwrap();
    let got = all(dir.path(), Query::default()).await;
    assert_eq!((got[0].stream, &got[0].text[..]), (Stream::Stderr, &b"\xff\x00\xfe\r"[..]));
    assert_eq!((got[1].stream, &got[1].text[..]), (Stream::Raw, &b"no line at all \x80"[..]));
    assert_eq!((got[2].stream, &got[2].text[..]), (Stream::Raw, &b""[..]));
    let long = &got[3..got.len() - 1];
    assert!(long.iter().all(|l| l.stream == Stream::Raw && l.text.len() <= 32 << 10), "in pieces");
    assert_eq!(long.iter().map(|l| l.text.len()).sum::<usize>(), 100_000);
    assert_eq!(got.last().map(|l| (l.stream, &l.text[..])), Some((Stream::Stderr, &b"torn"[..])));
}

#[tokio::test]
async fn what_is_written_after_the_question_is_not_part_of_the_answer() {
    let dir = files(&[&[1], &[2, 3]]);
    let mut reader = LogReader::open(dir.path(), Query::default()).unwrap();
    add(dir.path(), 2, line(4).as_bytes());
    add(dir.path(), 3, line(5).as_bytes());
    let mut got = Vec::new();
    while let Some(line) = reader.next().await.unwrap() {
        got.push(number(&line));
    }
    assert_eq!(got, [1, 2, 3]);
}

#[tokio::test]
async fn following_waits_for_the_rest_of_a_line_and_for_the_next_file() {
    let dir = files(&[&[1]]);
    let query = Query { follow: true, tail: Some(0), ..Query::default() };
    let mut reader = LogReader::open(dir.path(), query).unwrap();
    nothing(&mut reader).await;
    let text = line(2);
    add(dir.path(), 1, &text.as_bytes()[..20]);
    nothing(&mut reader).await;
    add(dir.path(), 1, &text.as_bytes()[20..]);
    assert_eq!(number(&next(&mut reader).await.unwrap()), 2);
    add(dir.path(), 2, b"");
    nothing(&mut reader).await;
    add(dir.path(), 2, line(3).as_bytes());
    assert_eq!(number(&next(&mut reader).await.unwrap()), 3);
    nothing(&mut reader).await;
    // The service is removed: what is there is read to the end, then that is all.
    add(dir.path(), 2, b"torn");
    super::remove(dir.path()).unwrap();
    assert_eq!(next(&mut reader).await.unwrap().text, b"torn");
    assert_eq!(next(&mut reader).await, None);
}

#[tokio::test]
async fn following_waits_for_a_directory_that_is_not_there_yet() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("web.1");
    let mut reader = LogReader::open(&dir, Query { follow: true, ..Query::default() }).unwrap();
    nothing(&mut reader).await;
    fs::create_dir(root.path().join("other.1")).unwrap();
    nothing(&mut reader).await;
    fs::create_dir(&dir).unwrap();
    add(&dir, 1, line(1).as_bytes());
    assert_eq!(number(&next(&mut reader).await.unwrap()), 1);
}

#[tokio::test]
async fn files_that_are_removed_too_early_are_said() {
    let dir = files(&[&[1, 2]]);
    let mut reader = LogReader::open(dir.path(), Query { follow: true, ..Query::default() }).unwrap();
    assert_eq!(number(&next(&mut reader).await.unwrap()), 1);
    // The writer goes far ahead and removes what it must, the file that is being read included.
    add(dir.path(), 1, line(3).as_bytes());
    add(dir.path(), 5, line(9).as_bytes());
    fs::remove_file(super::file(dir.path(), 1)).unwrap();
    assert_eq!(number(&next(&mut reader).await.unwrap()), 2);
    assert_eq!(number(&next(&mut reader).await.unwrap()), 3, "an open file is read to its end");
    let words = next(&mut reader).await.unwrap();
    assert_eq!(words.stream, Stream::Reader);
    assert_eq!(String::from_utf8(words.text).unwrap(), "3 log files were removed before they could be read");
    assert_eq!(number(&next(&mut reader).await.unwrap()), 9);
}

/// Writes numbered lines into small files as fast as it can, never more than two files ahead of the reader.
fn writer(dir: &Path, lines: i64, read: &AtomicU64) {
    let mut number = 1;
    let mut file = File::create(super::file(dir, 1)).unwrap();
    for n in 1..=lines {
        let text = line(n);
        // Also torn lines, every now and then.
        let cut = usize::try_from(n).unwrap() % text.len();
        if n % 3 == 0 {
            file.write_all(&text.as_bytes()[..cut]).unwrap();
            file.write_all(&text.as_bytes()[cut..]).unwrap();
        } else {
            file.write_all(text.as_bytes()).unwrap();
        }
        if n % 40 == 0 && n < lines {
            number += 1;
            file = File::create(super::file(dir, number)).unwrap();
            if number > 3 {
                fs::remove_file(super::file(dir, number - 3)).unwrap();
            }
        }
        while read.load(Ordering::Acquire) + 80 < u64::try_from(n).unwrap() {
            std::thread::yield_now();
        }
    }
}

#[tokio::test]
async fn no_line_is_missed_or_doubled_while_files_come_and_go() {
    const LINES: i64 = 20_000;
    let dir = tempfile::tempdir().unwrap();
    let read = Arc::new(AtomicU64::new(0));
    let mut reader = LogReader::open(dir.path(), Query { follow: true, ..Query::default() }).unwrap();
    let (path, seen) = (dir.path().to_owned(), read.clone());
    let (done, ended) = mpsc::channel();
    std::thread::spawn(move || {
        writer(&path, LINES, &seen);
        let _ = done.send(());
    });
    for n in 1..=LINES {
        let line = next(&mut reader).await.unwrap();
        assert_eq!(number(&line), n, "{line:?}");
        read.store(u64::try_from(n).unwrap(), Ordering::Release);
    }
    ended.recv_timeout(Duration::from_secs(10)).unwrap();
    nothing(&mut reader).await;
}

#[test]
fn the_cap_takes_the_oldest_files_of_the_largest_and_never_the_current_ones() {
    let root = tempfile::tempdir().unwrap();
    let make = |name: &str, sizes: &[usize]| {
        let dir = root.path().join(name);
        fs::create_dir(&dir).unwrap();
        for (i, size) in sizes.iter().enumerate() {
            fs::write(super::file(&dir, i as u64 + 1), vec![b'x'; *size]).unwrap();
        }
    };
    make("big.1", &[400, 400, 400, 400]);
    make("small.1", &[100, 100]);
    make("current.1", &[900]);
    fs::write(root.path().join("stray"), "left alone").unwrap();
    fs::write(root.path().join("small.1/notes.txt"), vec![0; 5000]).unwrap();
    let left = |name: &str| super::numbers(&root.path().join(name)).unwrap();
    let usage = super::usage(root.path()).unwrap();
    assert_eq!((usage["big.1"].files, usage["big.1"].bytes, usage["small.1"].bytes), (4, 1600, 200));

    let removed = super::enforce_cap(root.path(), 2700).unwrap();
    assert_eq!(removed, super::Removed { files: 0, bytes: 0, left: 2700 });
    let removed = super::enforce_cap(root.path(), 2000).unwrap();
    assert_eq!(removed, super::Removed { files: 2, bytes: 800, left: 1900 });
    assert_eq!((left("big.1"), left("small.1"), left("current.1")), (vec![3, 4], vec![1, 2], vec![1]));
    // All that is left is being written: more than the cap, and it stays.
    let removed = super::enforce_cap(root.path(), 10).unwrap();
    assert_eq!(removed, super::Removed { files: 2, bytes: 500, left: 1400 });
    assert_eq!((left("big.1"), left("small.1"), left("current.1")), (vec![4], vec![2], vec![1]));
    // The files that are written, or were last: one that nobody writes makes room for an empty one with the next number.
    let heaviest = super::heaviest(root.path()).unwrap();
    assert!(heaviest.is_sorted_by(|a, b| a.bytes >= b.bytes) && heaviest.len() == 3, "{heaviest:?}");
    let big = heaviest.iter().find(|c| c.instance.to_string() == "big.1").unwrap();
    assert_eq!(big.number, 4);
    super::replace(root.path(), big).unwrap();
    assert_eq!(left("big.1"), vec![5]);
    assert_eq!(super::heaviest(root.path()).unwrap().len(), 2);
    assert!(root.path().join("stray").exists() && root.path().join("small.1/notes.txt").exists());
    assert!(super::default_cap(root.path()).unwrap() > 0);
    assert_eq!(super::enforce_cap(&root.path().join("none"), 1).unwrap(), super::Removed::default());
}
