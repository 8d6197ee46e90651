//! What an instance gets to hear that memory is short: the FIFO of MEMORY_PRESSURE_WATCH, as systemd's service interface has it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{Failure, Host};
use crate::dirs::Dirs;
use crate::names::RunId;
use crate::unit::pressure::{Rung, Rungs};
use crate::unit::service::Service;

/// Where its directory is mounted.
const INSIDE: &str = "/run/knarr-pressure";
const FILE: &str = "watch";

/// The directory of a run's FIFO.
pub(super) fn directory(dirs: &Dirs, run: &RunId) -> PathBuf {
    dirs.run.join("pressure").join(run.to_string())
}

/// The FIFO of a run on the host.
pub fn watch_file(dirs: &Dirs, run: &RunId) -> PathBuf {
    directory(dirs, run).join(FILE)
}

/// There is no `MEMORY_PRESSURE_WRITE`: nothing has to be written to a FIFO.
pub(super) fn environment(service: &Service) -> Option<(String, String)> {
    service.pressure.watch.then(|| ("MEMORY_PRESSURE_WATCH".into(), format!("{INSIDE}/{FILE}")))
}

/// The directory with the FIFO, and the place where it is mounted.
pub(super) fn mount(
    service: &Service,
    run: &RunId,
    dirs: &Dirs,
) -> Result<Option<(&'static str, Value)>, Failure> {
    if !service.pressure.watch {
        return Ok(None);
    }
    let dir = directory(dirs, run);
    let file = dir.join(FILE);
    let made = std::fs::create_dir_all(&dir).and_then(|()| match crate::sys::pressure::fifo(&file) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()),
        made => made,
    });
    made.map_err(|e| Failure::write(&file, &e))?;
    let options = ["bind", "ro", "nosuid", "nodev", "noexec", "private"];
    let source = super::text_of(&dir)?;
    let mount = json!({ "destination": INSIDE, "type": "bind", "source": source, "options": options });
    Ok(Some((INSIDE, mount)))
}

/// What a file asks for by name must be possible here.
pub(super) fn check(service: &Service, host: Host) -> Result<(), Failure> {
    let tree = || has_tree(Path::new("/proc/self/mountinfo"));
    match lacking_rungs(service.pressure.rungs, host.unified, host.unified || tree()).into_iter().next() {
        Some(text) => Err(Failure::new("needs-cgroup-v2", text)),
        None => Ok(()),
    }
}

/// What is not possible of what a file asks for by name, one line each; `unified`: the controllers are those of cgroup v2,
/// `tree`: there is a v2 tree, with or without controllers.
pub fn lacking_rungs(rungs: Option<Rungs>, unified: bool, tree: bool) -> Vec<String> {
    let needs = |rung: Rung| match rung {
        Rung::Reclaim | Rung::Throttle if !unified => {
            Some("the controllers of cgroup v2, and those of this host are v1's")
        }
        Rung::Freeze if !tree => Some("a cgroup v2 tree, and none is mounted here"),
        Rung::Warn | Rung::Reclaim | Rung::Throttle | Rung::Freeze | Rung::Evict => None,
    };
    let asked = rungs.unwrap_or_default().iter();
    asked
        .filter_map(|rung| Some(format!("pressure.rungs: {:?} needs {}", rung.word(), needs(rung)?)))
        .collect()
}

/// A v2 tree without controllers is enough to freeze: hybrid hosts have one.
fn has_tree(mounts: &Path) -> bool {
    std::fs::read_to_string(mounts).is_ok_and(|text| text.lines().any(|l| l.contains(" - cgroup2 ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_asked_for_by_name_can_be_lacking() {
        let all = Some(Rungs::of(&[Rung::Warn, Rung::Reclaim, Rung::Throttle, Rung::Freeze, Rung::Evict]));
        let words = |rungs, unified, tree| {
            let named = |t: String| t.split('"').nth(1).map(String::from).unwrap_or_default();
            lacking_rungs(rungs, unified, tree).into_iter().map(named).collect::<Vec<_>>()
        };
        assert_eq!(words(all, false, false), ["reclaim", "throttle", "freeze"]);
        assert_eq!(words(all, false, true), ["reclaim", "throttle"]);
        assert_eq!(words(all, true, true), [""; 0]);
        assert_eq!(words(None, false, false), [""; 0]);
        assert_eq!(words(Some(Rungs::of(&[Rung::Evict])), false, false), [""; 0]);
    }
}
