//! The screen at work: enters and leaves the terminal, draws, hears keys, signals and the daemon. However it ends, by a key,
//! a signal, an error or a panic, the terminal is as it was before.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::app::{App, Do};
use super::ask::{self, Told};
use super::backend::{ENTER, LEAVE, Terminal};
use super::keys::{Key, Keys};
use super::look::Look;
use super::{EVERY, detail, list};
use crate::cli::Ctx;
use crate::cli::failure::{FAILED, Failure, Result, UNREACHABLE};
use crate::cli::plot::text::Glyphs;
use crate::cli::show::Paper;
use crate::cli::text::Style;
use crate::sys::term;

/// The rest of a sequence that begins like the key Escape comes at once, or not at all.
const SEQUENCE: Duration = Duration::from_millis(50);
/// Services whose past is asked for with one picture.
const HISTORIES: usize = 16;

/// The terminal while the screen has it.
pub(super) struct Guard {
    raw: term::Raw,
    out: File,
    left: AtomicBool,
}

impl Guard {
    /// Takes the terminal; a panic gives it back before it says what it is about.
    pub(super) fn enter(input: impl AsFd, output: impl AsFd) -> io::Result<Arc<Guard>> {
        let out = File::from(output.as_fd().try_clone_to_owned()?);
        let guard = Arc::new(Guard { raw: term::Raw::enter(input)?, out, left: AtomicBool::new(false) });
        (&guard.out).write_all(ENTER.as_bytes())?;
        let of_panic = Arc::downgrade(&guard);
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if let Some(guard) = of_panic.upgrade() {
                guard.leave();
            }
            before(info);
        }));
        Ok(guard)
    }

    /// Gives it back, once.
    fn leave(&self) {
        if !self.left.swap(true, Ordering::Relaxed) {
            // A terminal that is gone needs nothing.
            let _ = (&self.out).write_all(LEAVE.as_bytes());
            self.raw.leave();
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Signals that end the screen, by their numbers.
struct Ends([(Signal, u8); 4]);

impl Ends {
    fn new() -> io::Result<Ends> {
        Ok(Ends([
            (signal(SignalKind::hangup())?, 1),
            (signal(SignalKind::interrupt())?, 2),
            (signal(SignalKind::quit())?, 3),
            (signal(SignalKind::terminate())?, 15),
        ]))
    }

    /// Comes back with the exit code, as a shell shows it. Cancel safe.
    async fn came(&mut self) -> u8 {
        let [(hangup, a), (interrupt, b), (quit, c), (terminate, d)] = &mut self.0;
        tokio::select! {
            _ = hangup.recv() => 128 + *a,
            _ = interrupt.recv() => 128 + *b,
            _ = quit.recv() => 128 + *c,
            _ = terminate.recv() => 128 + *d,
        }
    }
}

/// Draws until somebody leaves; the exit code.
pub(super) async fn run(ctx: &Ctx) -> Result<u8> {
    let broken = |e: io::Error| Failure::new(FAILED, format!("terminal: {e}"));
    // Without a daemon there is nothing to draw, and it is said as by any other command.
    let first = ask::round(&ctx.client).await?;
    let mut ends = Ends::new().map_err(broken)?;
    let mut resized = signal(SignalKind::window_change()).map_err(broken)?;
    let guard = Guard::enter(io::stdin(), io::stdout()).map_err(broken)?;
    let mut screen = Screen::new(ctx).map_err(broken)?;
    screen.hear(Told::Round(Ok(first)))?;
    let ended = tokio::select! {
        ended = screen.go_on(&mut resized) => ended,
        code = ends.came() => Ok(code),
    };
    drop(guard);
    ended
}

/// Everything that the loop needs.
struct Screen<'a> {
    ctx: &'a Ctx,
    app: App,
    look: Look,
    terminal: ratatui::terminal::Terminal<Terminal<io::Stdout>>,
    told: (mpsc::UnboundedSender<Told>, mpsc::UnboundedReceiver<Told>),
    /// When the daemon is asked next; `None` = it is being asked.
    next: Option<Instant>,
    keys: Keys,
}

impl<'a> Screen<'a> {
    fn new(ctx: &'a Ctx) -> io::Result<Screen<'a>> {
        Ok(Screen {
            ctx,
            app: App::new(),
            look: Look { color: ctx.style.has_colors(), glyphs: Glyphs::of_locale() },
            terminal: ratatui::terminal::Terminal::new(Terminal::new(io::stdout()))?,
            told: mpsc::unbounded_channel(),
            next: None,
            keys: Keys::default(),
        })
    }

    async fn go_on(&mut self, resized: &mut Signal) -> Result<u8> {
        let mut stdin = tokio::io::stdin();
        let mut bytes = [0; 256];
        loop {
            self.draw()?;
            let due = self.next.unwrap_or_else(|| Instant::now() + EVERY);
            tokio::select! {
                read = stdin.read(&mut bytes) => {
                    let n = read.map_err(Failure::output)?;
                    let pressed = self.keys.take(bytes.get(..n).unwrap_or_default());
                    // The end of input is the end of who could leave.
                    if n == 0 || self.press(pressed)? == Do::Quit {
                        return Ok(0);
                    }
                }
                () = tokio::time::sleep(SEQUENCE), if self.keys.waits() => {
                    let pressed = self.keys.give_up().into_iter().collect();
                    self.press(pressed)?;
                }
                told = self.told.1.recv() => {
                    if let Some(told) = told {
                        self.hear(told)?;
                    }
                }
                () = tokio::time::sleep_until(due), if self.next.is_some() => self.ask_round(),
                // The next picture is of the new size.
                _ = resized.recv() => {}
            }
        }
    }

    /// [`Do::Quit`] when one of the keys leaves.
    fn press(&mut self, keys: Vec<Key>) -> Result<Do> {
        for key in keys {
            match self.app.key(key) {
                Do::Quit => return Ok(Do::Quit),
                Do::Ask => self.ask_text(),
                Do::Redraw => self.terminal.clear().map_err(Failure::output)?,
                Do::Draw => {}
            }
        }
        Ok(Do::Draw)
    }

    fn hear(&mut self, told: Told) -> Result<()> {
        match told {
            Told::Round(Ok((all, usage))) => {
                self.app.update(now(), all, usage);
                self.next = Some(Instant::now() + EVERY);
                let services = self.app.unloaded(HISTORIES);
                if self.app.told && !services.is_empty() {
                    let (client, to) = (self.ctx.client.clone(), self.told.0.clone());
                    tokio::spawn(ask::histories(client, services, to));
                }
                self.ask_text();
            }
            // What was there stays until there is a daemon again.
            Told::Round(Err(f)) if f.code == UNREACHABLE => {
                self.app.note = Some(f.text);
                self.next = Some(Instant::now() + EVERY);
            }
            Told::Round(Err(f)) => return Err(f),
            Told::Histories(all) => all.iter().for_each(|history| self.app.load(history)),
            Told::Text { instance, tab, text } => self.app.told_of(&instance, tab, text),
        }
        Ok(())
    }

    fn ask_round(&mut self) {
        self.next = None;
        let (client, to) = (self.ctx.client.clone(), self.told.0.clone());
        tokio::spawn(async move {
            let round = ask::round(&client).await;
            // The screen may be gone.
            let _ = to.send(Told::Round(round));
        });
    }

    /// Asks for the text of the open tab.
    fn ask_text(&self) {
        let Some(detail) = &self.app.detail else { return };
        let paper = Paper { style: Style::plain(), width: None, ..Paper::of(self.ctx) };
        let (client, to) = (self.ctx.client.clone(), self.told.0.clone());
        tokio::spawn(ask::text(client, detail.instance.clone(), detail.tab, paper, to));
    }

    fn draw(&mut self) -> Result<()> {
        let paper = Paper::of(self.ctx);
        let clock = paper.now.to_zoned(paper.zone).strftime("%H:%M:%S").to_string();
        let (app, look) = (&mut self.app, self.look);
        let drawn = self.terminal.draw(|frame| match app.detail {
            Some(_) => detail::draw(frame, app, now(), look),
            None => list::draw(frame, app, &clock, look),
        });
        drawn.map(drop).map_err(Failure::output)
    }
}

/// Seconds of Unix time.
fn now() -> f64 {
    jiff::Timestamp::now().as_millisecond() as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::pty;

    /// What a terminal was sent, until it holds this.
    fn read_until(master: &impl AsFd, wanted: &str) -> String {
        let mut all = String::new();
        let mut bytes = [0; 1024];
        while !all.contains(wanted) {
            let n = pty::read(master, &mut bytes).unwrap();
            assert!(n > 0, "want {wanted:?}, got {all:?}");
            all.push_str(&String::from_utf8_lossy(&bytes[..n]));
        }
        all
    }

    /// The shipped programs abort in a panic: what has to be done is done before anything is dropped.
    #[test]
    fn a_panic_gives_the_terminal_back() {
        let (master, terminal) = pty::open().unwrap();
        let before = term::describe(&terminal);
        let guard = Guard::enter(&terminal, &terminal).unwrap();
        assert_ne!(term::describe(&terminal), before, "raw");
        let panicked = std::thread::spawn(|| panic!("on purpose")).join();
        assert!(panicked.is_err());
        assert_eq!(term::describe(&terminal), before, "the old mode");
        let sent = read_until(&master, "1049l");
        assert!(sent.starts_with(ENTER) && sent.ends_with(LEAVE), "{sent:?}");
        drop(guard);
    }

    #[test]
    fn the_end_gives_the_terminal_back_once() {
        let (master, terminal) = pty::open().unwrap();
        let before = term::describe(&terminal);
        let guard = Guard::enter(&terminal, &terminal).unwrap();
        guard.leave();
        drop(guard);
        assert_eq!(term::describe(&terminal), before);
        let sent = read_until(&master, "1049l");
        assert_eq!(sent.matches("1049l").count(), 1, "{sent:?}");
    }
}
