//! Every kind of event: how much it matters, and what it says. docs/events.md has the same table. Pure data.
#![forbid(unsafe_code)]

use super::model::Severity::{self, Error, Info, Warning};

/// One kind.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// Its word.
    pub name: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// What it says, for people.
    pub what: &'static str,
}

const fn kind(name: &'static str, severity: Severity, what: &'static str) -> Kind {
    Kind { name, severity, what }
}

/// How much an event matters. What an earlier daemon has told and this one does not know is as it should be.
pub fn severity(name: &str) -> Severity {
    KINDS.iter().find(|k| k.name == name).map_or(Info, |k| k.severity)
}

/// All of them, by their subjects.
pub const KINDS: &[Kind] = &[
    // The daemon.
    kind(
        "daemon-started",
        Info,
        "the daemon began: its version and process; its cause is how the one before ended",
    ),
    kind("daemon-ended", Info, "the daemon ends, and why; what runs goes on, unless the host goes down"),
    kind("host-shutdown", Info, "the host goes down: all instances are stopped in order, within a time"),
    kind(
        "daemon-killed",
        Warning,
        "the daemon before did not end by itself: it was killed, or the host went down",
    ),
    kind("daemon-failed", Error, "the daemon cannot go on with its start, and why"),
    kind("journal", Warning, "so many events were not written because the disk was full"),
    kind("journal-loss", Error, "what of the journal could not be read"),
    kind("journal-recovered", Info, "the journal can be written again"),
    kind("logs-capped", Warning, "old log files were removed because all logs together were too large"),
    kind("endpoints-failed", Error, "the list of ready instances cannot be written"),
    kind("web-failed", Error, "the loopback address of `--web` cannot be had"),
    // Files and what is wanted.
    kind("applied", Info, "a service file is in force: which keys changed"),
    kind("file-refused", Error, "a service file is wrong; its last good version goes on"),
    kind("file-changed", Info, "a service file was changed by `knarrctl set`"),
    kind("apply-failed", Error, "a version could not be kept on disk, so it is not in force"),
    kind("wanted-up", Info, "an instance is wanted up"),
    kind("wanted-down", Info, "an instance is not wanted any more, and why"),
    kind("removed", Info, "a service is gone, with its logs and history"),
    kind("remove-failed", Error, "what of a removed service could not be taken away"),
    // Starts.
    kind("waiting", Info, "a start waits for a dependency, or for memory of the host: which"),
    kind(
        "admission-refused",
        Warning,
        "a start waits because requests leave no room for its own: what is missing, who holds it",
    ),
    kind("restart-waits", Warning, "a restart waits for the restart budget of the host, and for how long"),
    kind("creating", Info, "a run is begun"),
    kind("image-root", Info, "the root of a run is made of an image, and how"),
    kind("network", Info, "the addresses that a run got"),
    kind("started", Info, "a run's process runs"),
    kind(
        "start-failed",
        Error,
        "a run did not come up: the runtime, a hook, a network, a dependency that did not come",
    ),
    kind("hook-failed", Error, "a hook after a start or around a stop failed"),
    kind(
        "sockets-unkept",
        Warning,
        "a socket that is listened on could not be given to the process that holds it",
    ),
    kind("adopted", Info, "a run that went on without a daemon, or before this one"),
    // Ends.
    kind("stopping", Info, "a run is told to end: why, by which signal, and when it is killed"),
    kind("stop-extended", Info, "a run that is stopped says that it needs longer, and is not killed before"),
    kind("killed-at-shutdown", Warning, "what had not ended in time when the host went down was killed"),
    kind("signal", Info, "a signal that somebody sent"),
    kind("signal-failed", Error, "a signal that could not be sent"),
    kind("killed", Warning, "a run did not end within its grace"),
    kind("stuck", Error, "a run does not end after several kills"),
    kind("stopped", Info, "a run ended that was to end"),
    kind("exited", Info, "a run ended that was not to: how"),
    kind("monitor-lost", Error, "nobody saw the end: the keeper was killed"),
    kind("reboot", Info, "the host was booted while it ran"),
    kind("interrupted", Warning, "the daemon was killed while it was made"),
    kind(
        "restart-scheduled",
        Warning,
        "what the policy says after a failure: the pause before the next start, and why",
    ),
    kind("crash-loop", Error, "the same for one that fails again and again: the pause before the next start"),
    kind("completed", Info, "it ended with success and is not started again"),
    kind("failed", Error, "it failed and is not started again"),
    kind("output-dropped", Error, "bytes of output that are in no log"),
    kind("clean-failed", Error, "what is left of a run cannot be taken away; tried again"),
    kind("network-left", Error, "what a network plugin left behind"),
    // Probes.
    kind("startup-passed", Info, "the startup probe has passed"),
    kind("healthy", Info, "the liveness probe passes again"),
    kind("unhealthy", Warning, "the startup or liveness probe has failed so often that it counts"),
    kind("ready", Info, "it can be used"),
    kind("unready", Warning, "it cannot be used any more, and why"),
    kind("probe-error", Warning, "a look itself could not be made"),
    kind(
        "probe-excused",
        Warning,
        "a timeout of a probe does not count, and why: the host was under pressure",
    ),
    // Memory.
    kind("oom-killed", Error, "the kernel killed for memory, and whose limit it was"),
    kind("oom-child-killed", Warning, "the kernel killed a process for memory, and its container goes on"),
    kind("memory-verdict", Warning, "what a victim of others' memory used, beside its request"),
    kind("memory-high-raised", Info, "a run that stood still at its memory_high was given more"),
    kind("memory-high-stalls", Info, "a run stands still at its memory_high"),
    kind("memory-high-restart", Info, "a run that stands still at its memory_high is restarted"),
    kind("restart-above", Warning, "it is restarted because it uses more than `pressure.restart_above`"),
    kind("resized", Info, "limits of a run were changed while it runs"),
    kind("resize-refused", Warning, "limits of a run could not be changed while it runs, and why"),
    kind(
        "rungs-left-out",
        Warning,
        "rungs of the ladder that its file asks for and this host lacks, and why",
    ),
    kind("pressure-warn", Warning, "the host has little memory: services are warned"),
    kind("pressure-act", Error, "the host has so little memory that services are shed"),
    kind("pressure-over", Info, "the host has enough again"),
    kind("pressure-warned", Warning, "an instance was told that memory is short"),
    kind("pressure-failed", Error, "what was to be done about memory could not be done"),
    kind("reclaimed", Info, "memory that an instance did not need was taken back"),
    kind("throttled", Warning, "an instance is slowed down because memory is short"),
    kind("unthrottled", Info, "an instance is not slowed down any more"),
    kind("frozen", Warning, "an instance stands still because memory is short"),
    kind("thawed", Info, "an instance that stood still goes on"),
    kind(
        "evicted",
        Warning,
        "an instance is stopped because memory is short: who else was looked at, and why it",
    ),
    kind("returns", Info, "there is memory again for one that was evicted"),
    // Rollouts.
    kind("rollout-started", Info, "a changed file is rolled out"),
    kind("rollout-step", Info, "the next instances are replaced"),
    kind("rollout-watch", Info, "all are replaced, and are watched now"),
    kind("rollout-complete", Info, "the new version is the one to keep"),
    kind("rollout-failed", Error, "an instance of the new version is not well: why, and what follows"),
    kind("rolled-back", Warning, "the version before is in force again, and why"),
    kind("rollback-late", Warning, "an instance is not ready in time on the way back"),
    kind("rollout-paused", Warning, "nothing more is replaced, by hand"),
    kind("rollout-resumed", Info, "a rollout goes on by hand"),
    kind("rollout-undone", Warning, "a version before is put in force by hand"),
    kind("rollout-lost", Error, "a version that a rollout needs is not there any more"),
    // Jobs.
    kind("job-begun", Info, "a run of a schedule begins"),
    kind("job-missed", Warning, "the time of a schedule passed while no daemon was there"),
    kind("job-skipped", Warning, "a run of a schedule is left out because the one before goes on"),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    fn source(dir: &Path, all: &mut String) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                source(&path, all);
            } else if !path.ends_with("api/kinds.rs") {
                all.push_str(&std::fs::read_to_string(path).unwrap());
            }
        }
    }

    #[test]
    fn each_kind_is_there_once_and_told_somewhere() {
        let names: BTreeSet<_> = KINDS.iter().map(|k| k.name).collect();
        assert_eq!(names.len(), KINDS.len(), "one is there twice");
        let mut all = String::new();
        source(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut all);
        let unknown: Vec<_> = names.iter().filter(|name| !all.contains(&format!("\"{name}\""))).collect();
        assert!(unknown.is_empty(), "told by nobody: {unknown:?}");
    }

    #[test]
    fn what_is_told_is_in_the_table() {
        let mut all = String::new();
        source(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut all);
        let names: BTreeSet<_> = KINDS.iter().map(|k| k.name).collect();
        let mut told = BTreeSet::new();
        for way in ["Effect::Tell(\"", "Decision::Tell(\"", "tell(None, None, \""] {
            told.extend(all.split(way).skip(1).filter_map(|rest| rest.split('"').next()));
        }
        for way in ["Done::Tell(", "Act::Tell(", ".tell_of(", ".tell(Some("] {
            // The kind is the first literal with nothing but names before it.
            for call in all.split(way).skip(1).filter_map(|rest| rest.split(';').next()) {
                let kind = call.split('"').nth(1).filter(|k| !call.starts_with('"') && !k.contains(' '));
                told.extend(kind);
            }
        }
        assert!(told.len() > 50, "{told:?}");
        let unknown: Vec<_> = told.difference(&names).collect();
        assert!(unknown.is_empty(), "not in the table: {unknown:?}");
    }

    #[test]
    fn the_page_has_the_table() {
        let page = include_str!("../../../docs/events.md");
        for Kind { name, severity, what } in KINDS {
            let word = serde_json::to_value(severity).unwrap();
            let row = format!("| `{name}` | {} | {what} |", word.as_str().unwrap());
            assert!(page.lines().any(|l| l == row), "docs/events.md lacks {row}");
        }
        let rows = page.lines().filter(|l| l.starts_with("| `")).count();
        assert_eq!(rows, KINDS.len(), "docs/events.md has a row of no kind");
    }
}
