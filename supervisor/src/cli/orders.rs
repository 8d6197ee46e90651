//! start, stop, restart, kill, rm: the same order for several names at once.
#![forbid(unsafe_code)]

use clap::ArgMatches;
use hyper::Method;
use serde::Serialize;
use tokio::task::JoinSet;

use super::client::segment;
use super::failure::Result;
use super::{Ctx, out, out_json};

/// What became of one name.
#[derive(Serialize)]
struct Outcome {
    name: String,
    done: bool,
    error: Option<String>,
}

/// The verbs that tell the daemon to do something with names. The exit code is the first failure's.
pub(super) async fn order(ctx: &Ctx, verb: &str, m: &ArgMatches) -> Result<u8> {
    // kill is done when it is sent.
    let wait = verb != "kill" && !m.get_flag("no-wait");
    let names: Vec<String> = m.get_many::<String>("name").into_iter().flatten().cloned().collect();
    let mut under_way = JoinSet::new();
    for (at, name) in names.iter().enumerate() {
        let part = segment(name);
        let (method, path) = match verb {
            "rm" => (Method::DELETE, format!("/v1/services/{part}?wait={wait}")),
            "kill" => {
                let signal = m.get_one::<String>("signal").map_or("TERM", String::as_str);
                (Method::POST, format!("/v1/services/{part}/kill?signal={}", segment(signal)))
            }
            verb => (Method::POST, format!("/v1/services/{part}/{verb}?wait={wait}")),
        };
        let client = ctx.client.clone();
        under_way.spawn(async move { (at, client.order(method, &path).await) });
    }
    let mut ended: Vec<_> = under_way.join_all().await;
    ended.sort_by_key(|(at, _)| *at);
    let json = m.get_flag("json");
    let mut code = 0;
    let mut outcomes = Vec::new();
    for ((_, result), name) in ended.into_iter().zip(names) {
        if let Err(failure) = &result {
            code = if code == 0 { failure.code } else { code };
            failure.print(ctx.style);
        } else if !json {
            out(&format!("{} {name}\n", word(verb, wait)))?;
        }
        let error = result.err().map(|f| f.text);
        outcomes.push(Outcome { name, done: error.is_none(), error });
    }
    if json {
        out_json(&outcomes)?;
    }
    Ok(code)
}

/// What was done.
fn word(verb: &str, wait: bool) -> &'static str {
    match (verb, wait) {
        ("start", true) => "started",
        ("stop", true) => "stopped",
        ("restart", true) => "restarted",
        ("rm", true) => "removed",
        ("start", false) => "starting",
        ("stop", false) => "stopping",
        ("restart", false) => "restarting",
        ("rm", false) => "removing",
        _ => "signalled",
    }
}
