//! knarrctl: what a person types and scripts call. Everything goes through the API; only `validate`, `image`, `import`,
//! `replay-pressure`, `doctor`, `completions` and `openapi` work without a daemon.
#![forbid(unsafe_code)]

mod args;
mod client;
mod doctor;
mod failure;
mod graph;
mod images;
mod import;
mod jobs;
mod orders;
mod plans;
mod plot;
mod replay;
mod rollouts;
mod show;
mod streams;
mod table;
mod terminal;
mod text;
mod top;
mod validate;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::ArgMatches;

use self::client::Client;
use self::failure::{Failure, Result};
use self::text::Style;
use crate::api::model::Verb;

pub use self::args::command;

/// What every verb may use.
struct Ctx {
    client: Client,
    style: Style,
    /// Width of the terminal that is written to; `None` = a file or a pipe, as wide as it takes.
    width: Option<usize>,
}

/// Runs one command line; the exit code is documented in docs/knarrctl.md.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    ExitCode::from(run(args))
}

fn run(args: impl IntoIterator<Item = OsString>) -> u8 {
    let matches = match command().try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(e) => {
            // Help goes to standard output with 0, a wrong usage to standard error with 2.
            let code = u8::try_from(e.exit_code()).unwrap_or(failure::USAGE);
            return if e.print().is_ok() { code } else { failure::PIPE };
        }
    };
    let style = Style::new(matches.get_flag("no-color"));
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            eprintln!("knarrctl: {e}");
            return failure::FAILED;
        }
    };
    let ctx = Ctx {
        client: Client::new(matches.get_one::<PathBuf>("socket").cloned()),
        style,
        width: crate::sys::term::size(std::io::stdout()).map(|(_, cols)| usize::from(cols)),
    };
    let ended = runtime.block_on(dispatch(&ctx, &matches));
    // A thread may still wait for a key.
    runtime.shutdown_background();
    match ended {
        Ok(code) => code,
        Err(failure) => {
            failure.print(style);
            failure.code
        }
    }
}

/// The verb's exit code.
async fn dispatch(ctx: &Ctx, matches: &ArgMatches) -> Result<u8> {
    let Some((verb, m)) = matches.subcommand() else { return Err(Failure::usage("no command")) };
    match verb {
        "ps" => show::ps(ctx, m).await,
        "status" => show::status(ctx, m).await,
        "explain" => show::explain(ctx, m).await,
        "doctor" => doctor::doctor(ctx, m).await,
        "version" => show::version(ctx, m).await,
        "plan" => plans::plan(ctx, m).await,
        "apply" => plans::apply(ctx, m).await,
        "rollout" => rollouts::rollout(ctx, m).await,
        "set" => plans::set(ctx, m).await,
        "validate" => validate::validate(ctx, m),
        "image" => images::image(ctx, m),
        "import" => import::run(ctx, m),
        "replay-pressure" => replay::replay_pressure(m),
        "start" => orders::order(ctx, Verb::Start, m).await,
        "stop" => orders::order(ctx, Verb::Stop, m).await,
        "restart" => orders::order(ctx, Verb::Restart, m).await,
        "rm" => orders::order(ctx, Verb::Remove, m).await,
        "wait" => orders::wait(ctx, m).await,
        "kill" => orders::kill(ctx, m).await,
        "logs" => streams::logs(ctx, m).await,
        "events" => streams::events(ctx, m).await,
        "exec" => terminal::exec(ctx, m).await,
        "attach" => terminal::attach(ctx, m).await,
        "top" => top::top(ctx, m).await,
        "graph" => graph::graph(ctx, m).await,
        "completions" => completions(m),
        "openapi" => out(&format!("{}\n", crate::api::document())).map(|()| 0),
        other => Err(Failure::usage(format!("no such command: {other}"))),
    }
}

fn completions(m: &ArgMatches) -> Result<u8> {
    let Some(shell) = m.get_one::<clap_complete::Shell>("shell") else {
        return Err(Failure::usage("which shell?"));
    };
    let mut script = Vec::new();
    clap_complete::generate(*shell, &mut command(), "knarrctl", &mut script);
    out_bytes(&script).map(|()| 0)
}

/// Writes to standard output. Nobody reading there any more ends the program quietly.
fn out(text: &str) -> Result<()> {
    out_bytes(text.as_bytes())
}

fn out_bytes(bytes: &[u8]) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(Failure::output)
}

/// One JSON document.
fn out_json<T: serde::Serialize>(value: &T) -> Result<()> {
    let text =
        serde_json::to_string_pretty(value).map_err(|e| Failure::new(failure::FAILED, e.to_string()))?;
    out(&format!("{text}\n"))
}
