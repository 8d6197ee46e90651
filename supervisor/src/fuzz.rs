//! What the fuzz targets of `supervisor/fuzz` do with their bytes, and a test that replays the corpora. In tests and in builds
//! for fuzzing only. Each body must end, without a panic, whatever it is given.
#![forbid(unsafe_code)]

use std::path::Path;

use jiff::Timestamp;

use crate::api::core::Target;
use crate::api::frames;
use crate::api::model::Control;
use crate::image;
use crate::journal;
use crate::keeper::protocol::{Order, Word};
use crate::keeper::record::ExitRecord;
use crate::logs::LogLine;
use crate::names::ServiceName;
use crate::probe::push::Message;
use crate::schedule::Timetable;
use crate::unit;

/// What is done with one input.
pub type Body = fn(&[u8]);

/// Every target with its name, which is that of its corpus too.
pub const TARGETS: [(&str, Body); 8] = [
    ("frames", frames),
    ("units", units),
    ("journal", journal),
    ("packets", packets),
    ("lines", lines),
    ("timetables", timetables),
    ("pushes", pushes),
    ("archives", archives),
];

/// F11: what a client sends after the upgrade of exec and attach. What is read is written the same; a control frame is read.
pub fn frames(data: &[u8]) {
    let one = tokio::runtime::Builder::new_current_thread().build().expect("a runtime without a driver");
    one.block_on(async {
        let mut rest = data;
        loop {
            let before = rest;
            let Ok(Some(frame)) = frames::read(&mut rest).await else { return };
            let mut again = Vec::new();
            frames::write(&mut again, &frame).await.expect("what was read is short enough");
            assert_eq!(again, before[..before.len() - rest.len()]);
            let _ = serde_json::from_slice::<Control>(&frame.bytes);
        }
    });
}

/// F18: a layer of an image, or its configuration. Members are read one after another within the archive, and no more of one
/// than it says.
pub fn archives(data: &[u8]) {
    let _ = image::archive::walk(data, |head, content| {
        let read = std::io::copy(content, &mut std::io::sink()).unwrap_or(0);
        assert!(read <= head.size && head.position <= data.len() as u64);
        Ok(())
    });
    let _ = image::config::Config::parse(data);
}

/// F12: a service file. What is wrong is told in lines that drive no terminal, at places of the file; what is right has the
/// same version when it is read again.
pub fn units(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let name: ServiceName = "fuzzed".parse().expect("a name");
    let read = || unit::parse(&name, Path::new("fuzzed.toml"), &text);
    match read() {
        Ok(service) => {
            let again = read().expect("it was right before");
            assert_eq!(unit::version(&service), unit::version(&again));
        }
        Err(problems) => {
            assert!(!problems.is_empty(), "refused without a reason");
            for p in problems {
                assert!(!p.message.contains(char::is_control), "{:?}", p.message);
                assert!(p.line as usize <= text.lines().count() + 1, "line {} of {text:?}", p.line);
            }
        }
    }
}

/// The journal's file: what is recovered of it, written as a whole image, says the same.
pub fn journal(data: &[u8]) {
    let found = journal::reread(data);
    assert_eq!(found.0, found.1);
}

/// A packet of a keeper, or of who speaks to it. What is read is written so that it reads the same.
pub fn packets(data: &[u8]) {
    if let Some(order) = Order::decode(data) {
        let (head, body) = order.encode();
        let again = [head.as_bytes(), body].concat();
        assert_eq!(format!("{:?}", Order::decode(&again)), format!("{:?}", Some(order)));
    }
    if let Some(word) = Word::decode(data) {
        let mut space = [0; 300];
        let (head, body) = word.encode(&mut space);
        let again = [head, body].concat();
        assert_eq!(format!("{:?}", Word::decode(&again)), format!("{:?}", Some(word)));
        if let Word::Ended(record) = word {
            let _ = serde_json::from_slice::<ExitRecord>(record);
        }
    }
}

/// F13: lines of a log file. Nothing of a text is lost: it is that of the line, or the whole line.
pub fn lines(data: &[u8]) {
    for line in data.split(|b| *b == b'\n') {
        let read = LogLine::parse(line);
        assert!(line.ends_with(&read.text), "{read:?} of {line:?}");
        assert!(read.at.is_some() || read.text == line, "{read:?} of {line:?}");
    }
}

/// A schedule, its zone on a second line: the times that follow come one after the other.
pub fn timetables(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (cron, zone) = text.split_once('\n').unwrap_or((&text, "UTC"));
    let Ok(table) = Timetable::read(cron, zone) else { return };
    let mut at = Timestamp::from_second(1_900_000_000).expect("a time of this century");
    for _ in 0..5 {
        let Some(next) = table.after(at) else { return };
        assert!(next > at, "{next} comes after {at}");
        at = next;
    }
}

/// A datagram to a notify socket, and names in a path of the API.
pub fn pushes(data: &[u8]) {
    let _ = Message::parse(data);
    if let Ok(target) = String::from_utf8_lossy(data).parse::<Target>() {
        let name = match &target {
            Target::Service(name) => name.to_string(),
            Target::Instance(instance) => instance.to_string(),
        };
        assert_eq!(name.parse::<Target>(), Ok(target));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corpora_are_replayed() {
        let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
        for (name, body) in TARGETS {
            let dir = std::fs::read_dir(top.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
            let files: Vec<_> = dir.map(|e| e.unwrap().path()).collect();
            assert!(files.len() > 1, "the corpus of {name} has {} files", files.len());
            files.iter().for_each(|file| body(&std::fs::read(file).unwrap()));
        }
    }
}
