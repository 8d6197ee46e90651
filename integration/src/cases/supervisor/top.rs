//! `knarrctl top` and `graph`: the screen on a terminal of ours, as a person sees it, and the files.

use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result, ensure};
use flate2::read::ZlibDecoder;

use super::history::each_second;
use super::sup;
use crate::case::Case;
use crate::daemon::Daemon;
use crate::host::Need;
use crate::os;
use crate::screen::Screen;
use crate::trial::{Running, wait_for};

/// All of this subject.
pub fn cases() -> Vec<Case> {
    vec![
        sup("top.screen", "docs/knarrctl.md top").seconds(60).daemon(screen),
        sup("top.over-a-restart", "docs/knarrctl.md top, over a restart of the daemon")
            .seconds(60)
            .daemon(restart),
        sup("top.restored-on-sigterm", "docs/knarrctl.md top, the terminal").daemon(sigterm),
        sup("top.without-colours", "docs/knarrctl.md top, without colours").daemon(colors),
        sup("graph.terminal-and-files", "docs/knarrctl.md graph")
            .needs([Need::CgroupAny("memory")])
            .seconds(60)
            .daemon(graph),
        sup("top.dumb", "docs/knarrctl.md top, TERM=dumb").daemon(dumb),
    ]
}

/// A program on a terminal, and the person before it.
struct Seat {
    master: OwnedFd,
    /// Kept open, to see the mode that is left.
    slave: OwnedFd,
    mode: String,
    screen: Screen,
    program: Running,
    seconds: u64,
}

fn mode(terminal: &OwnedFd) -> Result<String> {
    Ok(format!("{:?}", rustix::termios::tcgetattr(terminal)?))
}

impl Seat {
    fn new(d: &mut Daemon<'_, '_>, args: &[&str], env: &[(&str, &str)]) -> Result<Seat> {
        let (rows, columns) = (24, 80);
        let (master, slave) = os::open_pty(rows, columns)?;
        let mode = mode(&slave)?;
        let line = d.ctl_line(args);
        let program = d.programs.knarrctl.clone();
        let seconds = d.t.seconds();
        let mut command = d.t.command(&program, &line).on_terminal(slave.try_clone()?)?;
        for (key, value) in env {
            command = command.env(key, value);
        }
        let program = command.spawn()?;
        Ok(Seat { master, slave, mode, screen: Screen::new(rows, columns), program, seconds })
    }

    fn press(&self, keys: &str) -> Result<()> {
        rustix::io::write(&self.master, keys.as_bytes()).context("press a key")?;
        Ok(())
    }

    fn until(&mut self, what: &str, fits: impl Fn(&Screen) -> bool) -> Result<()> {
        self.screen.until(&self.master, self.seconds, what, fits)
    }

    fn shows(&mut self, text: &str) -> Result<()> {
        self.until(text, |s| s.shows(text))
    }

    /// The program ends with this code, and the terminal is as it was before.
    fn ends(mut self, code: i32) -> Result<Screen> {
        self.program.wait()?.exits(code)?;
        self.screen.until(&self.master, self.seconds, "the old screen and the cursor", |s| {
            !s.alternate && s.cursor
        })?;
        ensure!(mode(&self.slave)? == self.mode, "the mode of the terminal was left changed");
        Ok(self.screen)
    }
}

const XTERM: (&str, &str) = ("TERM", "xterm");

/// Which line of the table comes first.
fn first(screen: &Screen) -> Option<String> {
    let lines = screen.lines();
    let at = lines.iter().position(|l| l.contains("NAME"))?;
    lines.get(at + 1)?.trim_start_matches('>').split_whitespace().next().map(str::to_owned)
}

fn screen(d: &mut Daemon<'_, '_>) -> Result<()> {
    each_second(d)?;
    d.resident("alpha", "[limits]\nmemory = '64MiB'\n")?;
    d.service("zeta", &["mem", "20", "hold"], "[stop]\ngrace = '100ms'\n")?;
    d.says("zeta.1", "20 MiB")?;
    d.until("zeta.1", "running")?;
    let mut seat = Seat::new(d, &["top"], &[XTERM])?;
    seat.until("both", |s| s.alternate && !s.cursor && s.shows("alpha.1") && s.shows("zeta.1"))?;
    for title in ["NAME", "STATE", "HEALTH", "CPU", "MEM", "q quit", "2 instances: 2 running"] {
        seat.shows(title)?;
    }
    seat.until("most memory first", |s| first(s).as_deref() == Some("zeta.1"))?;
    seat.press("n")?;
    seat.until("by name", |s| first(s).as_deref() == Some("alpha.1") && s.shows("by name"))?;
    seat.press("n")?;
    seat.until("turned around", |s| first(s).as_deref() == Some("zeta.1"))?;
    seat.press("/alph")?;
    seat.until("the filter", |s| s.shows("/alph") && !s.shows("zeta.1"))?;
    seat.press("\r")?;
    // What is told of the chosen one: the limit is the kernel's own.
    seat.shows("max 64M")?;
    seat.press("\r")?;
    seat.until("the reasons", |s| s.shows("[explain]") && s.shows("Esc back"))?;
    seat.shows("alpha.1")?;
    seat.press("l")?;
    seat.until("the log", |s| s.shows("[logs]") && s.lines().iter().any(|l| l.ends_with("  ready")))?;
    seat.press("v")?;
    seat.until("the events", |s| s.shows("[events]") && s.shows("started"))?;
    seat.press("\x1b")?;
    seat.until("the list", |s| s.shows("NAME") && s.shows("/alph"))?;
    // A smaller window: the last line is where it ends.
    os::set_winsize(seat.master.as_fd(), 15, 60)?;
    seat.screen.resize(15, 60);
    seat.until("all of it in the smaller window", |s| {
        let lines = s.lines();
        s.shows("NAME") && lines[13..].iter().any(|l| l.contains("q quit")) && s.shows("alpha.1")
    })?;
    let cleared = seat.screen.cleared;
    seat.press("\x1b")?;
    seat.until("all instances", |s| s.shows("zeta.1"))?;
    ensure!(seat.screen.cleared == cleared, "it is cleared between two pictures");
    seat.press("q")?;
    let seen = seat.ends(0)?;
    ensure!(seen.colors > 0, "a terminal that has colours, and none was used");
    Ok(())
}

fn restart(d: &mut Daemon<'_, '_>) -> Result<()> {
    d.resident("web", "")?;
    let mut seat = Seat::new(d, &["top"], &[XTERM])?;
    seat.shows("web.1")?;
    d.kill9()?;
    seat.shows("no daemon, as it was")?;
    ensure!(seat.screen.shows("web.1"), "what was there is gone\n{}", seat.screen.lines().join("\n"));
    d.start()?;
    seat.until("the daemon again", |s| s.shows("1 instance: 1 running"))?;
    // Ctrl-C is a key like any other.
    seat.press("\x03")?;
    seat.ends(0).map(drop)
}

fn sigterm(d: &mut Daemon<'_, '_>) -> Result<()> {
    d.resident("web", "")?;
    for (signal, code) in [(libc::SIGTERM, 143), (libc::SIGHUP, 129), (libc::SIGINT, 130)] {
        let mut seat = Seat::new(d, &["top"], &[XTERM])?;
        seat.until("the screen", |s| s.alternate && s.shows("web.1"))?;
        ensure!(mode(&seat.slave)? != seat.mode, "the screen is not in raw mode");
        os::kill(seat.program.pid() as i32, signal);
        seat.ends(code)?;
    }
    Ok(())
}

fn colors(d: &mut Daemon<'_, '_>) -> Result<()> {
    d.resident("web", "")?;
    let utf8 = ("LANG", "C.UTF-8");
    for (args, env, some) in [
        (&["top"][..], &[XTERM, utf8][..], true),
        (&["top"][..], &[XTERM, ("NO_COLOR", "1")][..], false),
        (&["--no-color", "top"][..], &[XTERM][..], false),
    ] {
        let mut seat = Seat::new(d, args, env)?;
        seat.until("the screen", |s| s.alternate && s.shows("web.1") && s.shows("q quit"))?;
        let ascii = seat.screen.lines().iter().all(|l| l.is_ascii());
        ensure!(ascii != env.contains(&utf8), "{env:?}: characters\n{}", seat.screen.lines().join("\n"));
        seat.press("q")?;
        let colors = seat.ends(0)?.colors;
        ensure!((colors > 0) == some, "{args:?} {env:?}: {colors} colours");
    }
    Ok(())
}

/// A terminal that cannot place its cursor is sent lines and nothing else.
fn dumb(d: &mut Daemon<'_, '_>) -> Result<()> {
    d.resident("web", "")?;
    let (master, slave) = os::open_pty(24, 80)?;
    let line = d.ctl_line(&["top"]);
    let program = d.programs.knarrctl.clone();
    let wait = std::time::Duration::from_secs(d.t.seconds());
    let running = d.t.command(&program, &line).on_terminal(slave)?.env("TERM", "dumb").spawn()?;
    let text = os::read_until(master.as_fd(), wait, "web.1")?;
    let text = text + &os::read_until(master.as_fd(), wait, "web.1").context("the second picture")?;
    ensure!(!text.contains('\x1b'), "{text:?}");
    os::kill(running.pid() as i32, libc::SIGTERM);
    running.wait()?.exits(143)?;
    Ok(())
}

fn graph(d: &mut Daemon<'_, '_>) -> Result<()> {
    d.service("big", &["mem", "20", "hold"], "[limits]\nmemory = '64MiB'\n[stop]\ngrace = '100ms'\n")?;
    d.says("big.1", "20 MiB")?;
    // Nothing was sampled yet: that is said, and there is no file.
    let svg = d.t.dir.join("big.svg");
    let png = d.t.dir.join("big.png");
    let (svg_name, png_name) = (svg.display().to_string(), png.display().to_string());
    let none = d.ctl(&["graph", "big", "--svg", &svg_name])?.exits(6)?;
    ensure!(none.stderr.contains("no sample yet; the daemon takes one about each 60 s"), "{none:?}");
    ensure!(!svg.exists(), "a file about nothing");
    each_second(d)?;
    wait_for(d.t.seconds(), || {
        let all = d.get("/v1/services/big/history")?;
        Ok((all[0]["samples"].as_array().map_or(0, Vec::len) >= 3).then_some(()))
    })?;
    let text = d.ctl(&["graph", "big"])?.ok()?.stdout;
    ensure!(text.is_ascii(), "the locale has no other characters: {text}");
    for want in ["big.1\n", "memory: 2", "max 64M", "processor time: ", "stalls (PSI)"] {
        ensure!(text.contains(want), "no {want:?} in\n{text}");
    }
    let line = d.ctl_line(&["graph", "big.1"]);
    let program = d.programs.knarrctl.clone();
    let braille = d.t.command(&program, &line).env("LANG", "C.UTF-8").run()?.ok()?.stdout;
    ensure!(braille.chars().any(|c| ('\u{2801}'..='\u{28ff}').contains(&c)), "no dots in\n{braille}");
    d.ctl(&["graph", "big", "--svg", &svg_name])?.ok()?.prints("")?;
    let text = std::fs::read_to_string(&svg)?;
    let parsed = roxmltree::Document::parse(&text).context("the SVG is no XML")?;
    let names = |tag: &str| parsed.descendants().filter(|n| n.tag_name().name() == tag).count();
    ensure!(names("polyline") > 10 && names("text") > 10, "{text}");
    ensure!(parsed.descendants().any(|n| n.text() == Some("max 64M")), "no limit in {text}");
    d.ctl(&["graph", "big.1", "--png", &png_name])?.ok()?.prints("")?;
    let pixels = pixels(&std::fs::read(&png)?)?;
    let mut inks: Vec<u8> = pixels.iter().flatten().copied().collect();
    inks.sort_unstable();
    inks.dedup();
    ensure!(inks.len() >= 5, "curves, levels, text and grid have inks of their own: {inks:?}");
    // A file is about one instance.
    d.service("two", &["trap", "TERM"], "replicas = 2\n")?;
    let several = d.ctl(&["graph", "two", "--png", &png_name])?.exits(6)?;
    ensure!(several.stderr.contains("two.1, two.2"), "{several:?}");
    d.ctl(&["graph", "nobody"])?.exits(3)?;
    d.ctl(&["graph", "big", "--png", "/nowhere/big.png"])?.exits(1)?;
    Ok(())
}

/// The rows of a PNG with one byte a pixel and rows that are not filtered.
fn pixels(bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
    let mut rest = bytes.strip_prefix(b"\x89PNG\r\n\x1a\n").context("no PNG")?;
    let number = |bytes: &[u8]| u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
    let (mut size, mut packed, mut last) = ((0, 0), Vec::new(), String::new());
    while rest.len() >= 12 {
        let length = number(rest);
        let data = rest.get(8..8 + length).context("a chunk is cut")?;
        last = String::from_utf8_lossy(&rest[4..8]).into_owned();
        match last.as_str() {
            "IHDR" => {
                size = (number(data), number(&data[4..]));
                ensure!(data[8..] == [8, 3, 0, 0, 0], "{data:?}");
            }
            "IDAT" => packed.extend_from_slice(data),
            _ => {}
        }
        rest = &rest[12 + length..];
    }
    ensure!(last == "IEND" && rest.is_empty(), "the end is {last:?}");
    let mut all = Vec::new();
    ZlibDecoder::new(packed.as_slice()).read_to_end(&mut all)?;
    let rows: Vec<Vec<u8>> = all.chunks(size.0 + 1).map(<[u8]>::to_vec).collect();
    ensure!(rows.len() == size.1 && rows.iter().all(|r| r[0] == 0), "{} rows of {size:?}", rows.len());
    Ok(rows.into_iter().map(|r| r[1..].to_vec()).collect())
}
