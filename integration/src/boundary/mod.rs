//! Boundaries: a command of a runtime is stopped at the entry of one of its system calls, and somebody is killed there, the
//! call fails, or a part of a path changes places with something hostile. Then the oracle looks at what `delete --force`
//! leaves, at a container that lived beside, and at what the host and the container see.

mod beside;
mod calls;
mod exchange;
pub mod naive;
mod scene;
mod swap;
mod sweep;
mod tracer;
mod unit;
mod view;

pub use scene::Scene;
pub use swap::{SwapPlan, bites, hammer, hammer_on, hammered, swap};
pub use sweep::{Plan, calls_of, sweep};
pub use tracer::{Scope, Seen, Victim};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tracer::{Deed, Order, Tree};

use crate::base::PROBE;
use crate::os;
use crate::trial::{Out, Running, Trial};

/// The commands that are stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Create,
    Start,
    Run,
    Exec,
    Update,
    Pause,
    Resume,
    Kill,
    Delete,
}

impl Verb {
    pub const ALL: [Verb; 9] = [
        Verb::Create,
        Verb::Start,
        Verb::Run,
        Verb::Exec,
        Verb::Update,
        Verb::Pause,
        Verb::Resume,
        Verb::Kill,
        Verb::Delete,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Verb::Create => "create",
            Verb::Start => "start",
            Verb::Run => "run",
            Verb::Exec => "exec",
            Verb::Update => "update",
            Verb::Pause => "pause",
            Verb::Resume => "resume",
            Verb::Kill => "kill",
            Verb::Delete => "delete",
        }
    }

    /// Brings the container to where the command begins.
    fn prepare(self, t: &mut Trial<'_>) -> Result<()> {
        match self {
            Verb::Create | Verb::Run => return t.write_config(),
            Verb::Start => t.create().map(drop)?,
            _ => t.run_detached().map(drop)?,
        }
        if self == Verb::Resume {
            t.verb("pause", &[])?.ok()?;
        }
        Ok(())
    }

    fn words(self, t: &Trial<'_>) -> Vec<String> {
        let (id, bundle) = (t.id.as_str(), t.bundle.display().to_string());
        let words = match self {
            Verb::Create | Verb::Run => vec![self.name(), "--bundle", &bundle, id],
            Verb::Exec => vec!["exec", id, PROBE, "true"],
            Verb::Update => vec!["update", "--pids-limit", "50", id],
            Verb::Kill => vec!["kill", id, "KILL"],
            Verb::Delete => vec!["delete", "--force", id],
            Verb::Start | Verb::Pause | Verb::Resume => vec![self.name(), id],
        };
        words.into_iter().map(String::from).collect()
    }

    /// The program of the container: one that stays, unless the command is to see its end.
    fn configure(self, t: &mut Trial<'_>) {
        let program = if self == Verb::Run { json!([PROBE, "true"]) } else { json!([PROBE, "trap", "TERM"]) };
        t.spec["process"]["args"] = program;
    }
}

/// Runs one command on a fresh container under the order. The container is left as it then is.
fn disturbed(t: &mut Trial<'_>, verb: Verb, order: &Order) -> Result<(Seen, Out)> {
    verb.prepare(t).context("preparing")?;
    let words = verb.words(t);
    let command = if order.caller { called(t, &words)? } else { t.rt(&words).adjust(os::traced).spawn()? };
    followed(t, command, order)
}

/// What a command, started with [`os::traced`], does until its end, and what everybody below it does until they execute another
/// program. Nobody is disturbed.
pub fn watched(t: &mut Trial<'_>, command: Running) -> Result<(Seen, Out)> {
    let seconds = 20 * u64::from(t.yard.patience);
    let order = Order { scope: Scope::Tree, at: usize::MAX, deed: Deed::Look, caller: false, seconds };
    followed(t, command, &order)
}

fn followed(t: &mut Trial<'_>, command: Running, order: &Order) -> Result<(Seen, Out)> {
    let mut tree = Tree::follow(command.pid())?;
    let seen = tree.run(order)?;
    let out = command.wait()?;
    tree.leave()?;
    if let Some(last) = t.history.last_mut() {
        *last = out.clone();
    }
    ensure!(!seen.hung, "`{}` hung for {} s after {:?}", out.line, order.seconds, seen.done);
    Ok((seen, out))
}

/// The runtime, called by a process that takes it along when it dies.
fn called(t: &mut Trial<'_>, words: &[String]) -> Result<Running> {
    let me = std::env::current_exe().context("own path")?;
    let mut all = vec!["call".to_string(), t.runtime.path.display().to_string()];
    all.extend(["--root".to_string(), t.state_root().display().to_string()]);
    all.extend_from_slice(words);
    t.command(&me, &all).adjust(os::traced).spawn()
}
