//! start, stop, restart, rm: one order about all names, so that the daemon can keep the order of their dependencies. kill.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::time::Duration;

use clap::ArgMatches;
use hyper::Method;
use serde::Serialize;
use tokio::task::JoinSet;

use super::client::segment;
use super::failure::{FAILED, Failure, Result};
use super::text::clean;
use super::{Ctx, out, out_json};
use crate::api::model::{InstanceStatus, OrderOutcome, OrderRequest, Verb};

/// How long an order may take before it is asked what it waits for, and then again.
const ASK: Duration = Duration::from_secs(1);

/// As long as a clock of this program can count.
const FOR_EVER: Duration = Duration::from_secs(30 * 365 * 86_400);

/// What became of one name.
#[derive(Serialize)]
struct Outcome {
    name: String,
    done: bool,
    error: Option<String>,
    /// What its instances waited for, by their names.
    waited_for: BTreeMap<String, String>,
}

/// The verbs that tell the daemon to do something with names. The exit code is the first failure's.
pub(super) async fn order(ctx: &Ctx, verb: Verb, m: &ArgMatches) -> Result<u8> {
    let wait = !m.get_flag("no-wait");
    let names = names(m);
    let request = OrderRequest { verb, targets: names.clone() };
    let path = format!("/v1/orders?wait={wait}");
    let mut done = std::pin::pin!(ctx.client.post::<Vec<OrderOutcome>>(&path, &request));
    let mut waits = BTreeMap::new();
    let outcomes = loop {
        let pause = tokio::time::sleep(ASK);
        tokio::select! {
            outcomes = &mut done => break outcomes?,
            () = pause, if wait && matches!(verb, Verb::Start | Verb::Restart) => {
                tell_waits(ctx, &names, &mut waits).await;
            }
        }
    };
    let ended = outcomes.into_iter().map(|o| (o.target, o.error.map(Failure::of)));
    report(ctx, m, word(verb, wait), ended, &waits)
}

/// `kill`: done when it is sent.
pub(super) async fn kill(ctx: &Ctx, m: &ArgMatches) -> Result<u8> {
    let names = names(m);
    let signal = segment(m.get_one::<String>("signal").map_or("TERM", String::as_str));
    let mut under_way = JoinSet::new();
    for (at, name) in names.iter().enumerate() {
        let path = format!("/v1/services/{}/kill?signal={signal}", segment(name));
        let client = ctx.client.clone();
        under_way.spawn(async move { (at, client.order(Method::POST, &path).await) });
    }
    let mut ended: Vec<_> = under_way.join_all().await;
    ended.sort_by_key(|(at, _)| *at);
    let ended = names.into_iter().zip(ended).map(|(name, (_, result))| (name, result.err()));
    report(ctx, m, "signalled", ended, &BTreeMap::new())
}

/// `wait`: returns when all names are as wanted.
pub(super) async fn wait(ctx: &Ctx, m: &ArgMatches) -> Result<u8> {
    let names = names(m);
    let sight = m.get_one::<String>("for").map_or("ready", String::as_str);
    let timeout = m
        .get_one::<String>("timeout")
        .map(|text| crate::unit::duration(text).map_err(|e| Failure::usage(format!("--timeout: {e}"))));
    let timeout = timeout.transpose()?;
    let until = tokio::time::Instant::now() + timeout.unwrap_or(FOR_EVER);
    let mut under_way = JoinSet::new();
    for (at, name) in names.iter().enumerate() {
        let path = format!("/v1/services/{}/wait?for={sight}", segment(name));
        let (client, name, sight) = (ctx.client.clone(), name.clone(), sight.to_owned());
        under_way.spawn(async move {
            let asked = tokio::time::timeout_at(until, client.order(Method::GET, &path)).await;
            let late = || Failure::new(FAILED, format!("{name} is not {sight} after {}", span(timeout)));
            (at, asked.unwrap_or_else(|_| Err(late())))
        });
    }
    let mut ended: Vec<_> = under_way.join_all().await;
    ended.sort_by_key(|(at, _)| *at);
    let ended = names.into_iter().zip(ended).map(|(name, (_, result))| (name, result.err()));
    report(ctx, m, sight, ended, &BTreeMap::new())
}

fn span(time: Option<Duration>) -> String {
    crate::policy::span(time.unwrap_or_default())
}

fn names(m: &ArgMatches) -> Vec<String> {
    m.get_many::<String>("name").into_iter().flatten().cloned().collect()
}

/// Says once of each instance that waits for another service what that is. An order goes on whether this works or not.
async fn tell_waits(ctx: &Ctx, names: &[String], told: &mut BTreeMap<String, String>) {
    let Ok(all) = ctx.client.get::<Vec<InstanceStatus>>("/v1/instances").await else { return };
    for instance in all.into_iter().filter(|i| names.iter().any(|n| is_of(n, i))) {
        let Some(waits) = instance.waits.filter(|_| !told.contains_key(&instance.instance)) else { continue };
        let limit = waits.seconds.map(|s| format!(", at most {} more", crate::policy::span(whole(s))));
        let text = format!("{} waits for {}{}", instance.instance, waits.on, limit.unwrap_or_default());
        eprintln!("knarrctl: {}", clean(&text));
        told.insert(instance.instance, waits.on);
    }
}

fn whole(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.max(1.0).round()).unwrap_or(Duration::MAX)
}

fn is_of(name: &str, instance: &InstanceStatus) -> bool {
    instance.instance == name || instance.service == name
}

fn report(
    ctx: &Ctx,
    m: &ArgMatches,
    word: &str,
    ended: impl Iterator<Item = (String, Option<Failure>)>,
    waits: &BTreeMap<String, String>,
) -> Result<u8> {
    let json = m.get_flag("json");
    let mut code = 0;
    let mut outcomes = Vec::new();
    for (name, failure) in ended {
        if let Some(failure) = &failure {
            code = if code == 0 { failure.code } else { code };
            failure.print(ctx.style);
        } else if !json {
            out(&format!("{word} {name}\n"))?;
        }
        let of = |i: &str| i == name || i.split('.').next() == Some(&name);
        let waited_for = waits.iter().filter(|(i, _)| of(i)).map(|(i, on)| (i.clone(), on.clone())).collect();
        let error = failure.map(|f| f.text);
        outcomes.push(Outcome { name, done: error.is_none(), error, waited_for });
    }
    if json {
        out_json(&outcomes)?;
    }
    Ok(code)
}

/// What was done.
fn word(verb: Verb, wait: bool) -> &'static str {
    match (verb, wait) {
        (Verb::Start, true) => "started",
        (Verb::Stop, true) => "stopped",
        (Verb::Restart, true) => "restarted",
        (Verb::Remove, true) => "removed",
        (Verb::Start, false) => "starting",
        (Verb::Stop, false) => "stopping",
        (Verb::Restart, false) => "restarting",
        (Verb::Remove, false) => "removing",
    }
}
