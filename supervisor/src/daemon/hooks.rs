//! Hooks: programs on the host, one after the other, each in a cgroup and a process group of its own and with a limit of time.
//! Those before the start can be cut short. A hook is over when its program has ended, and then nothing of it goes on. Starts
//! programs and signals their groups.
#![forbid(unsafe_code)]

use std::future::pending;
use std::process::{ExitStatus, Stdio};

use tokio::process::Command;
use tokio::sync::watch;

use super::hook_group::{HookGroup, HookGroups};
use super::work::Job;
use crate::runtime::{AFTER_END, last_line, read};
use crate::sys::keeper::signal_group;
use crate::sys::process;
use crate::sys::pty::watched;
use crate::unit::service::Hook;

/// Whether hooks are to end before they are done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// No.
    No,
    /// By SIGTERM.
    Asked,
    /// By SIGKILL.
    Killed,
}

/// Runs hooks of one kind; the first failure ends it. `ending` is for those after the end: `KNARR_EXIT_CODE=3`.
///
/// # Errors
/// Which hook, why it ended, and its last words.
pub(super) async fn run(
    groups: &HookGroups,
    job: &Job,
    kind: &str,
    hooks: &[Hook],
    ending: Option<String>,
    cut: Option<watch::Receiver<Cut>>,
) -> Result<(), String> {
    let mut cut = cut;
    for hook in hooks {
        let Some((program, args)) = hook.command.split_first() else { continue };
        let mut command = Command::new(program);
        command
            .args(args)
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("KNARR_SERVICE", job.run.instance.service.as_str())
            .env("KNARR_INSTANCE", job.run.instance.to_string())
            .env("KNARR_RUN", job.run.to_string())
            .env("KNARR_HOOK", kind);
        if let Some((name, value)) = ending.as_deref().and_then(|e| e.split_once('=')) {
            command.env(name, value);
        }
        let wrong = |what: String| format!("{kind} hook {program}: {what}");
        let group = groups.make(&job.run, kind).map(|(group, procs)| {
            process::enter(command.as_std_mut(), procs);
            group
        });
        let (ended, words) =
            one(&mut command, group, hook, &mut cut).await.map_err(|e| wrong(e.to_string()))?;
        let said = last_line(&words).map_or_else(String::new, |l| format!(": {l}"));
        match ended {
            Ended::Late => {
                return Err(wrong(format!(
                    "no end within {}, killed{said}",
                    crate::policy::span(hook.timeout)
                )));
            }
            Ended::By(status) if is_cut(cut.as_ref()) => {
                return Err(wrong(format!("cut short by the stop, {status}{said}")));
            }
            Ended::By(status) if !status.success() => return Err(wrong(format!("{status}{said}"))),
            Ended::By(_) => {}
        }
    }
    // A stop that came between two looks, or after the last hook.
    if is_cut(cut.as_ref()) {
        return Err(format!("{kind} hooks: stopped before the container was made"));
    }
    Ok(())
}

/// How one hook ended.
enum Ended {
    By(ExitStatus),
    /// It was killed for its time.
    Late,
}

/// Runs one hook. Gives its end and its error output.
async fn one(
    command: &mut Command,
    cgroup: Option<HookGroup>,
    hook: &Hook,
    cut: &mut Option<watch::Receiver<Cut>>,
) -> std::io::Result<(Ended, Vec<u8>)> {
    let mut child = command
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let group = child.id().unwrap_or(0);
    // The daemon is the last to die for want of memory, what it calls is not. Gone already is good, too.
    std::fs::write(format!("/proc/{group}/oom_score_adj"), "0").ok();
    let end = watched(process::handle(group)?)?;
    let (stderr, mut words) = (child.stderr.take(), Vec::new());
    let mut late = false;
    {
        let mut reading = std::pin::pin!(read(stderr, &mut words));
        let mut time = std::pin::pin!(tokio::time::sleep(hook.timeout));
        let mut read_all = false;
        loop {
            tokio::select! {
                _ = end.readable() => break,
                _ = &mut reading, if !read_all => read_all = true,
                () = &mut time, if !late => {
                    late = true;
                    kill(group, cgroup.as_ref());
                }
                wish = wish(cut) => match wish {
                    Cut::Killed => kill(group, cgroup.as_ref()),
                    Cut::Asked | Cut::No => drop(signal_group(group, 15)),
                }
            }
        }
        kill(group, cgroup.as_ref());
        if !read_all {
            // Where there is no cgroup, what has left its session may hold its output open for ever.
            tokio::time::timeout(AFTER_END, reading).await.ok();
        }
    }
    let status = child.wait().await?;
    if let Some(cgroup) = cgroup {
        cgroup.end().await;
    }
    Ok((if late { Ended::Late } else { Ended::By(status) }, words))
}

/// Ends all of a hook. Until its first process is reaped, the number of the process group is its own.
fn kill(group: u32, cgroup: Option<&HookGroup>) {
    signal_group(group, 9).ok();
    if let Some(cgroup) = cgroup {
        cgroup.kill();
    }
}

/// The next wish to end.
async fn wish(cut: &mut Option<watch::Receiver<Cut>>) -> Cut {
    if let Some(cut) = cut
        && cut.changed().await.is_ok()
    {
        return *cut.borrow();
    }
    // Nobody can wish any more.
    pending().await
}

fn is_cut(cut: Option<&watch::Receiver<Cut>>) -> bool {
    cut.is_some_and(|c| *c.borrow() != Cut::No)
}
