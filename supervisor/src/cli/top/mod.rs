//! top: all instances and what they use. On a terminal a screen ([`screen`]); elsewhere, with `--once` or with `--json`, one
//! picture or document after the other.
#![forbid(unsafe_code)]

mod app;
mod ask;
mod backend;
mod detail;
mod keys;
mod list;
mod look;
mod screen;
#[cfg(test)]
mod tests;
mod trail;

use std::collections::BTreeMap;
use std::time::Duration;

use clap::ArgMatches;

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
    let terminal = term::is_terminal(std::io::stdout()) && term::is_terminal(std::io::stdin());
    // A terminal that cannot place its cursor gets one picture after the other.
    if !once && !json && terminal && !super::text::is_dumb() {
        return screen::run(ctx).await;
    }
    let mut all: Vec<InstanceStatus> = ctx.client.get("/v1/instances").await?;
    let mut note = None;
    let mut first = true;
    loop {
        let width = term::size(std::io::stdout()).map(|(_, cols)| usize::from(cols));
        let paper = Paper { width, ..Paper::of(ctx) };
        if json {
            // A document of plain values: cannot fail.
            out(&format!("{}\n", serde_json::to_string(&all).unwrap_or_default()))?;
        } else {
            let text = picture(all.clone(), &paper, note.as_deref());
            out(&if first { text } else { format!("\n{text}") })?;
        }
        if once {
            return Ok(0);
        }
        first = false;
        tokio::time::sleep(EVERY).await;
        match ctx.client.get("/v1/instances").await {
            Ok(new) => (all, note) = (new, None),
            // The last picture stays until there is a daemon again.
            Err(f) if f.code == UNREACHABLE => note = Some(f.text),
            Err(f) => return Err(f),
        }
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
