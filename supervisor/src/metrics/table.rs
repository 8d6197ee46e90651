//! Every metric: name, kind, labels, one sentence, and where its value comes from. docs/metrics.md is held to it by a test.
#![forbid(unsafe_code)]

use super::cgroup::{MEMORY_EVENTS, RESOURCES};
use super::psi::Psi;
use super::scene::{Scene, Seen};
use super::tally::{Cause, RESULTS};
use super::text::{Form, Head, Kind, Samples};
use crate::health::Standing;
use crate::unit::service::Role;

/// All states of an instance, as `ps` has them.
pub const STATES: [&str; 11] = [
    "held",
    "waiting",
    "creating",
    "starting",
    "running",
    "stopping",
    "exited",
    "backoff",
    "crashloop",
    "failed",
    "stuck",
];
/// What the memory ladder can do to what runs and has to undo.
pub const RUNGS: [&str; 2] = ["throttle", "freeze"];

const ONE: &[&str] = &["service", "replica"];

/// What a metric is about.
#[derive(Debug, Clone, Copy)]
pub enum Of {
    /// Each instance; the first two labels say which.
    Instance(fn(&Seen, &mut Samples<'_>)),
    /// The daemon and the host.
    Daemon(fn(&Scene, &mut Samples<'_>)),
}

/// One metric.
#[derive(Debug, Clone, Copy)]
pub struct Family {
    /// Its name and what is said of it.
    pub head: Head,
    /// Where its samples come from.
    pub of: Of,
}

const fn each(
    kind: Kind,
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
    of: fn(&Seen, &mut Samples<'_>),
) -> Family {
    Family { head: Head { name, kind, labels, help }, of: Of::Instance(of) }
}

const fn once(
    kind: Kind,
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
    of: fn(&Scene, &mut Samples<'_>),
) -> Family {
    Family { head: Head { name, kind, labels, help }, of: Of::Daemon(of) }
}

fn flag(value: bool) -> u8 {
    u8::from(value)
}

fn counts(of: &[u32], s: &mut Samples<'_>) {
    for (n, (_, word)) in of.iter().zip(Cause::ALL) {
        s.put(&[word], n);
    }
}

fn shares(of: &[Psi], s: &mut Samples<'_>) {
    for (psi, resource) in of.iter().zip(RESOURCES) {
        psi.stalls().for_each(|(stall, of)| s.put(&[resource, stall], of.avg10));
    }
}

fn stalls(of: &[Psi], s: &mut Samples<'_>) {
    for (psi, resource) in of.iter().zip(RESOURCES) {
        psi.stalls().for_each(|(stall, of)| s.put(&[resource, stall], of.total));
    }
}

/// Looks that were made, by the word of their probe.
fn probes(seen: &Seen) -> impl Iterator<Item = (&'static str, &super::tally::Looks)> {
    let all = seen.tally.probes.iter().zip(Role::ALL);
    all.filter_map(|(looks, role)| Some((role.word(), looks.as_deref()?)))
}

use Kind::{Counter, Gauge, Histogram};

/// All metrics, in the order in which they are written.
pub static FAMILIES: &[Family] = &[
    each(
        Gauge,
        "knarr_instance_state",
        &["service", "replica", "state"],
        "1 for the state that it is in, 0 for each other.",
        |i, s| {
            STATES.iter().for_each(|word| s.put(&[word], flag(*word == i.state)));
        },
    ),
    each(Gauge, "knarr_instance_wanted", ONE, "1 when it is wanted up.", |i, s| s.put(&[], flag(i.wanted))),
    each(Gauge, "knarr_instance_ready", ONE, "1 when it can be used.", |i, s| s.put(&[], flag(i.ready))),
    each(
        Gauge,
        "knarr_instance_healthy",
        ONE,
        "1 when it runs, has come up and does not fail its probes.",
        |i, s| {
            s.put(&[], flag(i.healthy));
        },
    ),
    each(
        Gauge,
        "knarr_instance_changed_timestamp_seconds",
        ONE,
        "Unix time of the last change of its state.",
        |i, s| {
            s.put(&[], i.changed);
        },
    ),
    each(
        Counter,
        "knarr_instance_runs_total",
        ONE,
        "Runs that were begun, over restarts of the daemon and of the host.",
        |i, s| {
            s.put(&[], i.runs);
        },
    ),
    each(
        Gauge,
        "knarr_instance_current_restarts",
        ONE,
        "Starts after an end, since it was last started by hand or changed.",
        |i, s| {
            s.put(&[], i.restarts);
        },
    ),
    each(
        Counter,
        "knarr_instance_exits_total",
        &["service", "replica", "cause"],
        "Ends, by what they were for.",
        |i, s| {
            counts(&i.tally.exits, s);
        },
    ),
    each(
        Counter,
        "knarr_instance_restarts_total",
        &["service", "replica", "cause"],
        "Ends that a restart followed, by what they were for.",
        |i, s| {
            counts(&i.tally.restarts, s);
        },
    ),
    each(
        Gauge,
        "knarr_instance_last_exit_code",
        ONE,
        "Exit code of the last end, 128 and the signal when one ended it.",
        |i, s| {
            s.maybe(&[], i.last_exit);
        },
    ),
    each(
        Gauge,
        "knarr_probe_passing",
        &["service", "replica", "probe"],
        "1 when the probe passes, 0 when it fails or never answered.",
        |i, s| {
            i.probes.iter().for_each(|(probe, at, _)| s.put(&[probe], flag(*at == Standing::Passing)));
        },
    ),
    each(
        Gauge,
        "knarr_probe_failures",
        &["service", "replica", "probe"],
        "Failures in a row that counted.",
        |i, s| {
            i.probes.iter().for_each(|(probe, _, failures)| s.put(&[probe], failures));
        },
    ),
    each(
        Counter,
        "knarr_probe_results_total",
        &["service", "replica", "probe", "result"],
        "Answers of a probe.",
        |i, s| {
            for (probe, looks) in probes(i) {
                looks.results.iter().zip(RESULTS).for_each(|(n, result)| s.put(&[probe, result], n));
            }
        },
    ),
    each(
        Histogram,
        "knarr_probe_duration_seconds",
        &["service", "replica", "probe"],
        "From the question of a probe to its answer.",
        |i, s| {
            probes(i).for_each(|(probe, looks)| s.durations(&[probe], &looks.took));
        },
    ),
    each(Gauge, "knarr_memory_current_bytes", ONE, "Memory in use, contents of files included.", |i, s| {
        s.maybe(&[], i.group.memory);
    }),
    each(Gauge, "knarr_memory_peak_bytes", ONE, "Most memory that this run had in use.", |i, s| {
        s.maybe(&[], i.group.memory_peak);
    }),
    each(Gauge, "knarr_memory_swap_bytes", ONE, "Memory that is swapped out.", |i, s| {
        s.maybe(&[], i.group.swap)
    }),
    each(Gauge, "knarr_memory_request_bytes", ONE, "Memory that the service asks for.", |i, s| {
        s.maybe(&[], i.memory_request);
    }),
    each(
        Gauge,
        "knarr_memory_high_bytes",
        ONE,
        "From here on it is slowed down; not there without such a limit.",
        |i, s| {
            s.maybe(&[], i.group.memory_high);
        },
    ),
    each(Gauge, "knarr_memory_max_bytes", ONE, "Its limit of memory; not there without one.", |i, s| {
        s.maybe(&[], i.group.memory_max);
    }),
    each(
        Counter,
        "knarr_memory_events_total",
        &["service", "replica", "event"],
        "How often this run felt a limit of memory, as the kernel counts.",
        |i, s| {
            i.group.memory_events.iter().zip(MEMORY_EVENTS).for_each(|(n, event)| s.maybe(&[event], *n));
        },
    ),
    each(
        Gauge,
        "knarr_memory_rung",
        &["service", "replica", "rung"],
        "1 while this is done to it because memory is short.",
        |i, s| {
            RUNGS.iter().for_each(|rung| s.put(&[rung], flag(i.rung == Some(rung))));
        },
    ),
    each(
        Gauge,
        "knarr_pressure_avg10_ratio",
        &["service", "replica", "resource", "stall"],
        "Share of the last 10 s in which some or all of its processes stalled.",
        |i, s| {
            shares(&i.group.pressure, s);
        },
    ),
    each(
        Counter,
        "knarr_pressure_stalled_seconds_total",
        &["service", "replica", "resource", "stall"],
        "Time in which some or all of its processes stalled.",
        |i, s| {
            stalls(&i.group.pressure, s);
        },
    ),
    each(Counter, "knarr_cpu_usage_seconds_total", ONE, "Processor time of this run.", |i, s| {
        s.maybe(&[], i.group.cpu[0])
    }),
    each(
        Counter,
        "knarr_cpu_mode_seconds_total",
        &["service", "replica", "mode"],
        "The same, in programs and in the kernel.",
        |i, s| {
            s.maybe(&["user"], i.group.cpu[1]);
            s.maybe(&["system"], i.group.cpu[2]);
        },
    ),
    each(Counter, "knarr_cpu_periods_total", ONE, "Periods of its limit of processor time.", |i, s| {
        s.maybe(&[], i.group.periods)
    }),
    each(
        Counter,
        "knarr_cpu_throttled_periods_total",
        ONE,
        "Those in which it had to wait for the next one.",
        |i, s| {
            s.maybe(&[], i.group.throttled);
        },
    ),
    each(
        Counter,
        "knarr_cpu_throttled_seconds_total",
        ONE,
        "How long it had to wait, all its processors together.",
        |i, s| {
            s.maybe(&[], i.group.throttled_seconds);
        },
    ),
    each(Counter, "knarr_io_read_bytes_total", ONE, "Bytes read from all block devices.", |i, s| {
        s.maybe(&[], i.group.io.map(|[read, _]| read));
    }),
    each(Counter, "knarr_io_written_bytes_total", ONE, "Bytes written to all block devices.", |i, s| {
        s.maybe(&[], i.group.io.map(|[_, written]| written));
    }),
    each(Gauge, "knarr_pids_current", ONE, "Processes and threads.", |i, s| s.maybe(&[], i.group.pids)),
    each(Gauge, "knarr_pids_max", ONE, "The limit of them; not there without one.", |i, s| {
        s.maybe(&[], i.group.pids_max)
    }),
    each(Counter, "knarr_pids_refused_total", ONE, "How often one was not made for that limit.", |i, s| {
        s.maybe(&[], i.group.pids_refused);
    }),
    each(Gauge, "knarr_log_size_bytes", ONE, "Bytes of its log files.", |i, s| s.maybe(&[], i.log)),
    each(
        Counter,
        "knarr_log_dropped_bytes_total",
        ONE,
        "Bytes of output that are in no log; known at the end of a run.",
        |i, s| {
            s.put(&[], i.tally.log_dropped);
        },
    ),
    once(
        Gauge,
        "knarr_host_pressure_avg10_ratio",
        &["resource", "stall"],
        "Share of the last 10 s in which some or all processes of the host stalled.",
        |d, s| {
            shares(&d.pressure, s);
        },
    ),
    once(
        Counter,
        "knarr_host_pressure_stalled_seconds_total",
        &["resource", "stall"],
        "Time in which some or all processes of the host stalled.",
        |d, s| {
            stalls(&d.pressure, s);
        },
    ),
    once(Gauge, "knarr_host_memory_total_bytes", &[], "Memory of the host.", |d, s| {
        s.maybe(&[], d.memory.map(|m| m.0))
    }),
    once(
        Gauge,
        "knarr_host_memory_available_bytes",
        &[],
        "Memory that can be had without swapping.",
        |d, s| {
            s.maybe(&[], d.memory.map(|m| m.1));
        },
    ),
    once(
        Gauge,
        "knarr_host_memory_reserve_bytes",
        &[],
        "Memory that requests of services leave for the host.",
        |d, s| {
            s.maybe(&[], d.reserve);
        },
    ),
    once(
        Gauge,
        "knarr_host_memory_requestable_bytes",
        &[],
        "Memory that all services together may ask for.",
        |d, s| {
            s.maybe(&[], d.requestable);
        },
    ),
    once(
        Gauge,
        "knarr_host_memory_ladder_level",
        &[],
        "0 enough memory, 1 services are warned, 2 services are shed.",
        |d, s| {
            s.put(&[], d.ladder);
        },
    ),
    once(Gauge, "knarr_services", &[], "Services in force.", |d, s| s.put(&[], d.services)),
    once(
        Gauge,
        "knarr_service_file_problems",
        &[],
        "Complaints about service files; their last good versions go on.",
        |d, s| {
            s.put(&[], d.problems);
        },
    ),
    once(
        Gauge,
        "knarr_daemon_build_info",
        &["version", "api", "keeper_protocol"],
        "Always 1; the labels say which daemon it is.",
        |_, s| {
            s.put(&[env!("CARGO_PKG_VERSION"), "1", &crate::keeper::record::VERSION.to_string()], 1u8);
        },
    ),
    once(Gauge, "knarr_daemon_start_time_seconds", &[], "Unix time of the daemon's start.", |d, s| {
        s.put(&[], d.started)
    }),
    once(Gauge, "knarr_daemon_uptime_seconds", &[], "Time since then, suspended time included.", |d, s| {
        s.put(&[], d.uptime)
    }),
    once(
        Gauge,
        "knarr_daemon_reconcile_age_seconds",
        &[],
        "Time since the service files were last compared with what is in force.",
        |d, s| {
            s.put(&[], d.reconciled);
        },
    ),
    once(
        Histogram,
        "knarr_daemon_loop_lag_seconds",
        &[],
        "How late the loop came to what was due.",
        |d, s| {
            s.durations(&[], &d.lag);
        },
    ),
    once(Counter, "knarr_daemon_loop_turns_total", &[], "How often the loop woke up.", |d, s| {
        s.put(&[], d.turns)
    }),
    once(Counter, "knarr_daemon_cpu_seconds_total", &[], "Processor time of the daemon.", |d, s| {
        s.maybe(&[], d.own.cpu)
    }),
    once(Gauge, "knarr_daemon_resident_memory_bytes", &[], "Resident memory of the daemon.", |d, s| {
        s.maybe(&[], d.own.resident);
    }),
    once(Gauge, "knarr_daemon_open_fds", &[], "Open descriptors of the daemon.", |d, s| {
        s.maybe(&[], d.own.fds)
    }),
    once(Gauge, "knarr_daemon_max_fds", &[], "The most descriptors that it may have open.", |d, s| {
        s.maybe(&[], d.own.fds_max)
    }),
    once(Gauge, "knarr_daemon_keepers", &[], "Keepers that are connected.", |d, s| s.put(&[], d.keepers)),
    once(Gauge, "knarr_daemon_journal_size_bytes", &[], "Bytes of the journal.", |d, s| {
        s.put(&[], d.journal)
    }),
    once(
        Gauge,
        "knarr_daemon_journal_pending_records",
        &[],
        "Records that the disk has not taken.",
        |d, s| {
            s.put(&[], d.journal_pending);
        },
    ),
    once(
        Counter,
        "knarr_daemon_events_total",
        &[],
        "The number of the last event; some numbers are left out after a crash.",
        |d, s| {
            s.put(&[], d.last_event);
        },
    ),
];

impl Family {
    /// Adds its samples about one instance; whether it has any by now.
    pub fn of_instance(&self, form: Form, seen: &Seen, begun: bool, out: &mut String) -> bool {
        let Of::Instance(of) = self.of else { return begun };
        let mut samples = Samples::new(self.head, form, [&seen.service, &seen.replica], begun, out);
        of(seen, &mut samples);
        samples.begun()
    }

    /// Adds its samples about the daemon.
    pub fn of_daemon(&self, form: Form, scene: &Scene, out: &mut String) {
        if let Of::Daemon(of) = self.of {
            of(scene, &mut Samples::new(self.head, form, ["", ""], false, out));
        }
    }
}
