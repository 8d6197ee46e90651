//! Pictures of the screen on ratatui's test terminal, and their escape sequences on ours.

use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::style::{Color, Modifier};

use super::app::{App, Tab};
use super::keys::Key;
use super::look::Look;
use super::{detail, list};
use crate::api::usage::{HostUsage, InstanceUsage, Usage};
use crate::cli::plot::text::Glyphs;

const PLAIN: Look = Look { color: false, glyphs: Glyphs::Ascii };
const CLOCK: &str = "12:02:30";

/// What the daemon says the second time, so that there are rates.
fn usage(memory: u64, cpu: f64, max: Option<u64>) -> InstanceUsage {
    InstanceUsage {
        run: 7,
        healthy: true,
        memory: Some(memory << 20),
        memory_request: Some(16 << 20),
        memory_high: max.map(|m| (m - 6) << 20),
        memory_max: max.map(|m| m << 20),
        cpu_seconds: Some(cpu),
        cpu_pressure: Some(0.01),
        memory_pressure: Some(0.25),
        io_pressure: Some(0.0),
        io_read: Some((cpu * 1000.0) as u64),
        io_written: Some(0),
        pids: Some(3),
        pids_max: Some(100),
        log: Some(12 << 10),
        ..InstanceUsage::default()
    }
}

fn app() -> App {
    let mut app = App::new();
    let now = crate::cli::plot::unix("2026-11-21T12:02:28Z").unwrap();
    for (n, at) in [(0.0, now), (1.0, now + 2.0)] {
        let mut all = vec![
            crate::api::tests::instance("database", 1, "running"),
            crate::api::tests::instance("web", 1, "running"),
            crate::api::tests::instance("web", 2, "backoff"),
        ];
        all[0].detail = "says: 12 clients".into();
        all[1].detail = String::new();
        all[1].ready = false;
        all[2].memory = None;
        let mut instances = vec![usage(48, 10.0 + n, Some(64)), usage(12, 1.0 + 0.1 * n, None)];
        instances[0].log_dropped = 2048;
        for (usage, name) in instances.iter_mut().zip(["database.1", "web.1"]) {
            usage.instance = name.into();
        }
        instances[1].healthy = false;
        instances.push(InstanceUsage { instance: "web.2".into(), run: 3, ..InstanceUsage::default() });
        let host = HostUsage {
            memory: Some(8 << 30),
            memory_available: Some(5 << 30),
            cpu_pressure: Some(0.02),
            memory_pressure: Some(0.0),
            io_pressure: None,
        };
        app.update(at, all, Some(Usage { host, instances }));
    }
    app.load(&crate::api::tests::history("database.1"));
    app
}

fn draw(app: &mut App, width: u16, height: u16, look: Look) -> Buffer {
    let mut terminal = ratatui::terminal::Terminal::new(TestBackend::new(width, height)).unwrap();
    let now = crate::cli::plot::unix("2026-11-21T12:02:30Z").unwrap();
    terminal
        .draw(|frame| match app.detail {
            Some(_) => detail::draw(frame, app, now, look),
            None => list::draw(frame, app, CLOCK, look),
        })
        .unwrap();
    terminal.backend().buffer().clone()
}

/// The picture as lines without blanks at their ends.
fn lines(buffer: &Buffer) -> Vec<String> {
    let width = usize::from(buffer.area.width);
    let rows = buffer.content.chunks(width);
    rows.map(|row| row.iter().map(|c| c.symbol()).collect::<String>().trim_end().to_owned()).collect()
}

#[test]
fn a_list_at_80_by_24() {
    let picture = lines(&draw(&mut app(), 80, 24, PLAIN));
    assert_eq!(
        picture,
        [
            "12:02:30  3 instances: 1 backoff, 2 running; by memory",
            "host: memory 3G of 8G  psi cpu 2.0% memory 0% io -  all: cpu 55% memory 60M",
            "  NAME       STATE   HEALTH   RST   CPU   MEM OF MAX      PAST      PSI       IO",
            "> database.1 running ready      3   50%   48M ##r#####.h.      .-*  25%    500/s",
            "  web.1      running unwell     3  5.0%   12M ##r........        *  25%     50/s",
            "  web.2      backoff -          3     -     -                         -        -",
            "",
            "",
            "",
            "",
            "",
            "",
            "",
            "",
            "",
            "",
            "",
            "",
            "database.1  running for 1m15s  ready  restarts 3  says: 12 clients",
            "memory 48M (request 16M, high 58M, max 64M)  cpu 50%",
            "psi cpu 1.0% memory 25% io 0%  io read 500/s written 0/s  pids 3 of 100",
            "log 12K dropped 2K",
            "q quit  Enter details  / filter  arrows choose  sort by: n name  s state",
            "r restarts  c cpu  m memory  p psi  i io  d drops",
        ]
    );
}

#[test]
fn nothing_is_lost_where_it_is_narrow() {
    for (width, height) in [(200, 50), (80, 24), (60, 15), (40, 12), (20, 6), (10, 3), (1, 1)] {
        let picture = lines(&draw(&mut app(), width, height, PLAIN));
        let all = picture.join("\n");
        if width >= 40 {
            for want in ["database.1", "web.2", "backoff", "48M"] {
                assert!(all.contains(want), "{width}x{height}: no {want}\n{all}");
            }
        }
        if height >= 15 {
            for want in ["psi cpu 1.0% memory 25% io 0%", "max 64M", "q quit"] {
                assert!(all.contains(want), "{width}x{height}: no {want}\n{all}");
            }
        }
        if width >= 200 {
            for title in
                ["NAME", "STATE", "HEALTH", "RST", "CPU", "MEM", "OF MAX", "PAST", "PSI", "IO", "DROPS"]
            {
                assert!(all.contains(title), "no {title}\n{all}");
            }
        }
        let mut opened = app();
        opened.key(Key::Enter);
        opened.told_of("database.1", Tab::Explain, vec!["the reason".into()]);
        let all = lines(&draw(&mut opened, width, height, PLAIN)).join("\n");
        assert!(width < 20 || height < 6 || all.contains("the reason"), "{width}x{height}\n{all}");
    }
}

#[test]
fn without_colours_there_are_none() {
    let colors = |look| {
        let buffer = draw(&mut app(), 80, 24, look);
        let cells = buffer.content.iter();
        cells.filter(|c| c.fg != Color::Reset || c.bg != Color::Reset).count()
    };
    assert_eq!(colors(PLAIN), 0);
    assert!(colors(Look { color: true, ..PLAIN }) > 20);
    // What is chosen is seen without them as well.
    let buffer = draw(&mut app(), 80, 24, PLAIN);
    let row = usize::from(buffer.area.width) * 3;
    assert_eq!(buffer.content[row].symbol(), ">");
    assert!(buffer.content[row].modifier.contains(Modifier::REVERSED));
}

#[test]
fn ascii_is_ascii() {
    let mut app = app();
    for _ in 0..2 {
        let plain = lines(&draw(&mut app, 120, 40, PLAIN)).join("");
        assert!(plain.is_ascii(), "{plain}");
        let other = lines(&draw(&mut app, 120, 40, Look { glyphs: Glyphs::Unicode, ..PLAIN })).join("");
        assert!(!other.is_ascii(), "{other}");
        app.key(Key::Enter);
    }
}

#[test]
fn many_instances_scroll() {
    let mut app = App::new();
    let all = (1..=100).map(|n| crate::api::tests::instance("web", n, "running")).collect();
    app.update(0.0, all, None);
    app.key(Key::Char('n'));
    let first = lines(&draw(&mut app, 80, 24, PLAIN));
    assert!(first.iter().any(|l| l.starts_with("> web.1 ")), "{first:#?}");
    app.key(Key::End);
    let last = lines(&draw(&mut app, 80, 24, PLAIN));
    assert!(last.iter().any(|l| l.starts_with("> web.99 ")), "{last:#?}");
    // An older daemon does not tell what instances use.
    assert!(!last.iter().any(|l| l.contains("PAST") || l.contains("CPU")), "{last:#?}");
}

#[test]
fn a_daemon_that_is_gone_is_said() {
    let mut app = app();
    app.note = Some("connection refused\x1b[2J".into());
    let picture = lines(&draw(&mut app, 80, 24, PLAIN));
    assert!(picture[0].contains("no daemon, as it was: connection refused\\u{1b}[2J"), "{picture:#?}");
    assert!(picture.iter().any(|l| l.contains("database.1")), "{picture:#?}");
    app.key(Key::Enter);
    assert!(lines(&draw(&mut app, 80, 24, PLAIN)).iter().any(|l| l.contains("no daemon")), "in the details");
}

#[test]
fn details_show_the_end_of_a_text_and_scroll() {
    let mut app = app();
    app.key(Key::Enter);
    app.key(Key::Char('l'));
    let waiting = lines(&draw(&mut app, 80, 24, PLAIN));
    assert!(waiting.iter().any(|l| l == "..."), "{waiting:#?}");
    app.told_of("database.1", Tab::Logs, (1..=50).map(|n| format!("line {n}")).collect());
    let end = lines(&draw(&mut app, 80, 24, PLAIN));
    assert!(end.iter().any(|l| l == "line 50") && !end.iter().any(|l| l == "line 1"), "{end:#?}");
    for want in ["memory, last 10 min", "processor time, last 10 min", "[logs]", " e explain", "Esc back"] {
        assert!(end.iter().any(|l| l.contains(want)), "{want}: {end:#?}");
    }
    app.key(Key::Home);
    let begin = lines(&draw(&mut app, 80, 24, PLAIN));
    assert!(begin.iter().any(|l| l == "line 1") && !begin.iter().any(|l| l == "line 50"), "{begin:#?}");
    // It was as far back as there is text, and no further.
    app.key(Key::Down);
    let next = lines(&draw(&mut app, 80, 24, PLAIN));
    assert!(!next.iter().any(|l| l == "line 1"), "{next:#?}");
}

/// What a terminal was sent.
#[derive(Clone, Default)]
struct Sent(std::rc::Rc<std::cell::RefCell<Vec<u8>>>);

impl std::io::Write for Sent {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_picture_that_is_the_same_writes_nothing() {
    let (mut app, sent) = (app(), Sent::default());
    let mut terminal = ratatui::terminal::Terminal::new(super::backend::Terminal::new(sent.clone())).unwrap();
    let mut picture = |app: &mut App| {
        terminal.draw(|frame| list::draw(frame, app, CLOCK, PLAIN)).unwrap();
        std::mem::take(&mut *sent.0.borrow_mut())
    };
    let first = picture(&mut app);
    assert!(String::from_utf8_lossy(&first).contains("database.1"), "{first:?}");
    assert_eq!(picture(&mut app), b"", "nothing is new");
    app.key(Key::Down);
    let moved = picture(&mut app);
    assert!(!moved.is_empty() && moved.len() < first.len(), "{} of {}", moved.len(), first.len());
    assert!(!String::from_utf8_lossy(&moved).contains("\x1b[2J"), "nothing is cleared");
}
