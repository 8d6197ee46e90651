//! rollout: how far one is, and what people want of it.
#![forbid(unsafe_code)]

use clap::ArgMatches;
use hyper::Method;
use serde::Serialize;

use super::client::segment;
use super::failure::{Failure, Result};
use super::table::{Cell, Column, render};
use super::text::clean;
use super::{Ctx, out, out_json};
use crate::api::rollouts::{GenerationInfo, RolloutInfo};

/// What was done.
#[derive(Serialize)]
struct Outcome<'a> {
    service: &'a str,
    done: &'a str,
}

/// `rollout status|pause|resume|undo|history NAME`.
pub(super) async fn rollout(ctx: &Ctx, m: &ArgMatches) -> Result<u8> {
    let Some((verb, m)) = m.subcommand() else { return Err(Failure::usage("what of the rollout?")) };
    let name = m.get_one::<String>("name").map_or("", String::as_str);
    let path = format!("/v1/services/{}/rollout", segment(name));
    match verb {
        "status" | "history" => {
            let info = ctx.client.get::<RolloutInfo>(&path).await?;
            match (m.get_flag("json"), verb) {
                (true, "history") => out_json(&info.generations)?,
                (true, _) => out_json(&info)?,
                (false, "history") => out(&history(&info, ctx))?,
                (false, _) => out(&status(&info))?,
            }
        }
        _ => {
            let to = m.try_get_one::<u64>("to").ok().flatten();
            let query = to.map_or_else(String::new, |n| format!("?generation={n}"));
            ctx.client.order(Method::POST, &format!("{path}/{verb}{query}")).await?;
            let done = match verb {
                "pause" => "paused",
                "resume" => "resumed",
                _ => "undoing",
            };
            if m.get_flag("json") {
                out_json(&Outcome { service: name, done })?;
            } else {
                out(&format!("{done} {name}\n"))?;
            }
        }
    }
    Ok(0)
}

fn status(info: &RolloutInfo) -> String {
    let mut out = format!("{}: {}\n", clean(&info.service), clean(&info.state));
    let mut line = |name: &str, text: &str| {
        if !text.is_empty() {
            out.push_str(&format!("  {name:<12} {}\n", clean(text)));
        }
    };
    line("", &info.text);
    line("generation", &info.generation.to_string());
    line("replaced", &info.updated.join(" "));
    line("in its step", &info.step.join(" "));
    line("left", &info.left.join(" "));
    out
}

fn history(info: &RolloutInfo, ctx: &Ctx) -> String {
    let columns = [
        Column::figure("GENERATION", 0),
        Column::note("VERSION", 2),
        Column::note("SINCE", 1),
        Column::word("GOOD"),
        Column::word("IN FORCE"),
        Column::text("NOTE", 0),
    ];
    let word = |yes: bool| Cell::new(if yes { "yes" } else { "no" });
    let row = |g: &GenerationInfo| {
        let number = Cell::new(&g.generation.to_string());
        vec![
            number,
            Cell::new(&g.version),
            Cell::new(&g.at),
            word(g.good),
            word(g.in_force),
            Cell::new(&g.note),
        ]
    };
    let rows: Vec<_> = info.generations.iter().map(row).collect();
    render(&columns, &rows, ctx.width, ctx.style)
}
