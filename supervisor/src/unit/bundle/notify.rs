//! What an instance gets to tell how it is: sd_notify(3).

use std::time::Duration;

use serde_json::{Value, json};

use super::Failure;
use crate::dirs::Dirs;
use crate::names::RunId;
use crate::probe::{Kind, push};
use crate::unit::service::{Probe, Role, Service};

fn told(service: &Service, role: Role) -> Option<&Probe> {
    service.probes.of(role).filter(|p| p.kind == Kind::Push)
}

fn is_told(service: &Service) -> bool {
    Role::ALL.into_iter().any(|role| told(service, role).is_some())
}

/// Where the socket is, and how often a sign of life is wanted (sd_watchdog_enabled(3)). There is no `WATCHDOG_PID`: any process
/// of the container may give it.
pub(super) fn environment(service: &Service) -> Vec<(String, String)> {
    let usec = |d: Duration| d.as_micros().to_string();
    let watchdog = told(service, Role::Liveness).map(|p| ("WATCHDOG_USEC".into(), usec(p.period)));
    let socket = is_told(service).then(|| ("NOTIFY_SOCKET".into(), push::INSIDE.into()));
    socket.into_iter().chain(watchdog).collect()
}

/// The directory of the socket, with the place where it is mounted.
pub(super) fn mount(
    service: &Service,
    run: &RunId,
    dirs: &Dirs,
) -> Result<Option<(&'static str, Value)>, Failure> {
    if !is_told(service) {
        return Ok(None);
    }
    let source = super::text_of(&push::directory(dirs, run))?;
    let options = ["bind", "ro", "nosuid", "nodev", "noexec", "private"];
    let mount =
        json!({ "destination": push::INSIDE_DIR, "type": "bind", "source": source, "options": options });
    Ok(Some((push::INSIDE_DIR, mount)))
}
