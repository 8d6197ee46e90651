//! The end of the host. Whoever stops or restarts the daemon means the daemon; who shuts the host down means the containers, too:
//! then they are stopped in the order of their dependencies, each with its own grace, before anything below them goes. What is
//! wanted stays as it is, so that the next boot brings all of them up again.
#![forbid(unsafe_code)]

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;
use tracing::{info, warn};

use super::owner::Owner;
use crate::clock::Boot;
use crate::machine::{Event, State};
use crate::policy::span;

/// How long the service manager may take to answer: one that ends the host has other things to do.
const ANSWER: Duration = Duration::from_secs(5);
/// From the kill of what is left to the end of the daemon.
const LAST: Duration = Duration::from_secs(5);
const WHY: &str = "the host goes down";

/// A host that goes down.
#[derive(Debug, Clone, Copy)]
pub(super) struct GoingDown {
    /// Then what is left is killed, or then the daemon ends.
    by: Boot,
    killed: bool,
}

/// Whether the host goes down, and not the daemon alone. Only systemd can be asked; where it is not there is nobody to ask.
pub(super) async fn host_goes_down() -> bool {
    let mut ask = Command::new("systemctl");
    ask.arg("is-system-running").stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    match timeout(ANSWER, ask.output()).await {
        Ok(Ok(out)) => out.stdout.trim_ascii() == b"stopping",
        Ok(Err(e)) if e.kind() == std::io::ErrorKind::NotFound => false,
        Ok(Err(e)) => {
            warn!("systemctl is-system-running: {e}; containers go on");
            false
        }
        Err(_) => {
            warn!("systemctl is-system-running did not answer within {}; containers go on", span(ANSWER));
            false
        }
    }
}

impl Owner {
    /// Begins to stop everything; `false` = the operator leaves that to others.
    pub(super) fn begin_shutdown(&mut self) -> bool {
        let total = self.options.shutdown_total;
        if total.is_zero() {
            return false;
        }
        let run = self.slots.values().filter(|s| s.machine.run().is_some()).count();
        self.tell(
            None,
            None,
            "host-shutdown",
            format!("{WHY}: {run} instances are stopped within {}", span(total)),
        );
        self.going_down = Some(GoingDown { by: Boot::now().after(total), killed: false });
        let instances: Vec<_> = self.slots.keys().cloned().collect();
        instances.iter().for_each(|i| self.bring_down_in_turn(i, WHY));
        true
    }

    /// When something has to be done about it.
    pub(super) fn shutdown_due(&self) -> Option<Boot> {
        self.going_down.map(|g| g.by)
    }

    /// Kills what has had its time.
    pub(super) fn hurry_shutdown(&mut self, now: Boot) {
        let Some(going) = self.going_down.filter(|g| g.by <= now && !g.killed) else { return };
        self.going_down = Some(GoingDown { by: going.by.after(LAST), killed: true });
        let left: Vec<_> = self
            .slots
            .values()
            .filter(|s| s.machine.run().is_some())
            .map(|s| s.machine.instance.clone())
            .collect();
        for instance in left {
            let Some(slot) = self.slots.get_mut(&instance) else { continue };
            if let Some(why) = slot.down_pending.take() {
                self.feed(&instance, Event::Down { why });
            }
            let Some(slot) = self.slots.get_mut(&instance) else { continue };
            if let State::Stopping { kill_at, .. } = &mut slot.machine.state {
                *kill_at = now;
                let text = format!("{WHY}, and {} for all are over", span(self.options.shutdown_total));
                self.tell(Some(&instance.service), Some(instance.replica), "killed-at-shutdown", text);
                self.feed(&instance, Event::Due);
            }
        }
    }

    /// Whether nothing is left to wait for.
    pub(super) fn has_gone_down(&self) -> bool {
        let Some(going) = self.going_down else { return false };
        let left: Vec<_> =
            self.slots.values().filter_map(|s| s.machine.run()).map(|r| r.to_string()).collect();
        if left.is_empty() {
            info!("{WHY}, and all containers are down");
        } else if going.killed && going.by <= Boot::now() {
            warn!("{WHY}, and these are left: {}", left.join(", "));
        } else {
            return false;
        }
        true
    }
}
