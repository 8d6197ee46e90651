//! top: all instances by memory, drawn again and again in place.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::time::Duration;

use clap::ArgMatches;
use tokio::io::AsyncReadExt;

use super::failure::{Result, UNREACHABLE};
use super::show::{Paper, instances};
use super::text::{Color, clean, cut, size};
use super::{Ctx, out};
use crate::api::model::InstanceStatus;
use crate::sys::term;

/// Between two pictures.
const EVERY: Duration = Duration::from_secs(2);

/// `top`.
pub(super) async fn top(ctx: &Ctx, m: &ArgMatches) -> Result<u8> {
    let (once, json) = (m.get_flag("once"), m.get_flag("json"));
    let mut all: Vec<InstanceStatus> = ctx.client.get("/v1/instances").await?;
    let mut note = None;
    let mut first = true;
    let mut keys = Keys::new(!once && !json && term::is_terminal(std::io::stdout()));
    loop {
        let screen = term::size(std::io::stdout());
        let paper = Paper { width: screen.map(|(_, cols)| usize::from(cols)), ..Paper::of(ctx) };
        if json {
            // A document of plain values: cannot fail.
            out(&format!("{}\n", serde_json::to_string(&all).unwrap_or_default()))?;
        } else {
            let text = picture(all.clone(), &paper, note.as_deref());
            match screen.filter(|_| !once) {
                Some((rows, _)) => {
                    out(&in_place(&text, usize::from(if rows == 0 { 24 } else { rows }), first))?
                }
                None if first => out(&text)?,
                None => out(&format!("\n{text}"))?,
            }
        }
        if once {
            return Ok(0);
        }
        first = false;
        if tokio::time::timeout(EVERY, keys.leave()).await.is_ok() {
            return Ok(0);
        }
        match ctx.client.get("/v1/instances").await {
            Ok(new) => (all, note) = (new, None),
            // The last picture stays until there is a daemon again.
            Err(f) if f.code == UNREACHABLE => note = Some(f.text),
            Err(f) => return Err(f),
        }
    }
}

/// The keys that leave: q, Ctrl-C, and the end of input.
struct Keys {
    stdin: tokio::io::Stdin,
    /// The terminal's old mode comes back with the end of this.
    raw: Option<term::Raw>,
}

impl Keys {
    fn new(wanted: bool) -> Keys {
        // Without a terminal to read from it is left as any other program is.
        let raw = wanted.then(|| term::Raw::enter(std::io::stdin()).ok()).flatten();
        Keys { stdin: tokio::io::stdin(), raw }
    }

    /// Comes back when one was pressed. Cancel safe.
    async fn leave(&mut self) {
        let mut key = [0; 1];
        while self.raw.is_some() {
            match self.stdin.read(&mut key).await {
                Ok(1) if !matches!(key, [b'q' | b'Q' | 3]) => {}
                _ => return,
            }
        }
        std::future::pending().await
    }
}

/// One picture: a line of sums, the table, most memory first.
pub(super) fn picture(mut all: Vec<InstanceStatus>, paper: &Paper, note: Option<&str>) -> String {
    all.sort_by(|a, b| b.memory.cmp(&a.memory).then_with(|| a.instance.cmp(&b.instance)));
    let mut states: BTreeMap<&str, usize> = BTreeMap::new();
    for i in &all {
        *states.entry(&i.state).or_default() += 1;
    }
    let memory: u64 = all.iter().filter_map(|i| i.memory).sum();
    let states: Vec<String> = states.iter().map(|(state, n)| format!("{n} {state}")).collect();
    let sums = match all.len() {
        0 => "no instances".to_owned(),
        n => format!("{n} instances: {}; memory {}", states.join(", "), size(memory)),
    };
    let now = paper.now.to_zoned(paper.zone.clone()).strftime("%H:%M:%S").to_string();
    let head = note.map_or(sums, |n| format!("no daemon, as it was: {}", clean(n)));
    let head = format!("{now}  {head}");
    let head = paper.width.map_or(head.as_str().into(), |w| cut(&head, w));
    let head = paper.style.paint(if note.is_some() { Color::Red } else { Color::Bold }, &head);
    format!("{head}\n{}", instances(&all, paper))
}

/// The picture over the last one: from the top left, each line cleared behind its end, the rest of the screen cleared. All
/// in one write, so nothing flickers.
pub(super) fn in_place(text: &str, rows: usize, first: bool) -> String {
    let mut out = String::from(if first { "\x1b[2J\x1b[H" } else { "\x1b[H" });
    // The last line stays free: a line end there would scroll.
    for line in text.lines().take(rows.saturating_sub(1).max(1)) {
        out.push_str(line);
        // A terminal in raw mode does not add the return.
        out.push_str("\x1b[K\r\n");
    }
    out.push_str("\x1b[J");
    out
}
