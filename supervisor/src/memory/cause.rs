//! Who broke which limit when the kernel killed for memory: from its log where that can be read, else from the counters of
//! the cgroup. Exit code 137 alone says nothing: any SIGKILL gives it. Pure.
#![forbid(unsafe_code)]

use crate::keeper::record::{ExitRecord, Memory, Short, Victim};
use crate::names::RunId;
use crate::policy::size;

/// A line of the kernel's log about a kill for memory, as `dump_oom_victim` in mm/oom_kill.c has it since Linux 5.0.
#[derive(Debug, Clone, PartialEq)]
pub struct Kill {
    /// The cgroup of the process.
    pub cgroup: String,
    /// Whose it was, when the cgroup is one of a container of ours.
    pub run: RunId,
    /// Which process, and what had run out.
    pub victim: Victim,
}

/// Reads one record of /dev/kmsg; `None` = it is about something else.
pub fn kill(record: &str) -> Option<Kill> {
    let line = record.split_once(";oom-kill:")?.1.lines().next()?;
    let (about, rest) = line.split_once(",task_memcg=")?;
    // A process chooses its name, so it is what is between the first and the last of these.
    let (cgroup, rest) = rest.split_once(",task=")?;
    let (name, rest) = rest.rsplit_once(",pid=")?;
    let pid = rest.split(',').next()?.parse().ok()?;
    let (above, own) = cgroup.rsplit_once("/payload/")?;
    let id = own.split('/').next()?;
    let run: RunId = id.parse().ok()?;
    let short = match about.split_once(",oom_memcg=") {
        None if about.ends_with(",global_oom") => Some(Short::Host),
        None => None,
        Some((_, limited)) => {
            let container = format!("{above}/payload/{id}");
            let below = limited.strip_prefix(&container);
            let own = below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
            Some(if own { Short::Own } else { Short::Above })
        }
    };
    Some(Kill { cgroup: cgroup.to_owned(), run, victim: Victim { pid, name: name.to_owned(), short } })
}

/// What had run out when a container was killed for memory.
pub fn short(memory: &Memory, victim: Option<&Victim>) -> Option<Short> {
    memory.oom_kills.filter(|n| *n > 0)?;
    if let Some(said) = victim.and_then(|v| v.short) {
        return Some(said);
    }
    match (memory.limit, memory.oom_events) {
        (None, _) => Some(Short::Host),
        // Its own limit was never hit (cgroup v2 counts that); it was above it, or the host: nobody knows which.
        (Some(_), Some(0)) => None,
        (Some(_), _) => Some(Short::Own),
    }
}

/// Whether a kill for memory was for want of that of the host, or of a group above the container, and not for its own limit.
pub fn ran_out(memory: &Memory, victim: Option<&Victim>) -> bool {
    memory.oom_kills.is_some_and(|n| n > 0) && short(memory, victim) != Some(Short::Own)
}

/// The same in words.
pub fn words(short: Option<Short>, limit: Option<u64>) -> String {
    match (short, limit) {
        (Some(Short::Own), Some(bytes)) => format!("the memory limit of {} was hit", size(bytes)),
        (Some(Short::Own), None) => "a memory limit below its own was hit".to_owned(),
        (Some(Short::Above), _) => "a memory limit above its own was hit".to_owned(),
        (Some(Short::Host), _) => "the memory of the host ran out".to_owned(),
        (None, _) => "not its own memory limit was hit, but one above or that of the host".to_owned(),
    }
}

/// Whose doing it was that memory ran out, as far as its own figures say: who broke its own limit or went beyond its request is a
/// culprit, who was killed within its request a bystander.
pub fn verdict(short: Short, peak: Option<u64>, request: Option<u64>) -> String {
    let used = |peak| format!("it used up to {}", size(peak));
    match (short, peak, request.filter(|n| *n > 0)) {
        (Short::Own, ..) => "culprit: it hit its own limit".to_owned(),
        (_, Some(peak), Some(request)) if peak <= request => {
            format!("bystander: {}, within its request of {}", used(peak), size(request))
        }
        (_, Some(peak), Some(request)) => {
            format!("culprit: {}, beyond its request of {}", used(peak), size(request))
        }
        (_, Some(peak), None) => format!("culprit or bystander: {} and requested none", used(peak)),
        (_, None, _) => "culprit or bystander: what it used is not known".to_owned(),
    }
}

/// One line about a kill for memory; `None` = there was none, whatever ended it.
pub fn text(record: &ExitRecord) -> Option<String> {
    let kills = record.memory.oom_kills.filter(|n| *n > 0)?;
    let what = words(short(&record.memory, record.victim.as_deref()), record.memory.limit);
    let peak = record.memory.peak.map_or_else(String::new, |bytes| format!(", peak {}", size(bytes)));
    let processes = match (&record.victim, kills) {
        (Some(victim), 1) => process(victim),
        (Some(victim), _) => {
            format!("{kills} processes, the last was {}", process(victim).replacen("process ", "", 1))
        }
        (None, 1) => "1 process".to_owned(),
        (None, _) => format!("{kills} processes"),
    };
    let swap = no_swap(&record.memory);
    Some(format!("{what}, the kernel killed {processes}{peak}{swap}"))
}

/// `, no swap was left after 16 MiB of it`: of the host, or of a group above, when its own swap limit was never hit.
fn no_swap(memory: &Memory) -> String {
    if memory.swap_full.is_none_or(|n| n == 0) {
        return String::new();
    }
    let after = memory.swap_peak.map_or_else(String::new, |bytes| format!(" after {} of it", size(bytes)));
    match memory.swap_limited {
        Some(n) if n > 0 => format!(", its swap limit was hit{after}"),
        Some(_) | None => format!(", no swap was left{after}"),
    }
}

/// `process 12 (java)`.
pub fn process(victim: &Victim) -> String {
    format!("process {} ({})", victim.pid, victim.name.escape_debug())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(about: &str, task: &str) -> String {
        format!(
            "6,1234,27900387534,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=x,mems_allowed=0,{about},\
             task_memcg={task},task=ja,pid=7,va,pid=18003,uid=0\n SUBSYSTEM=memory\n"
        )
    }

    #[test]
    fn a_kill_is_of_a_run_and_of_a_limit() {
        let task = "/knarrd/payload/web.1.2/sub";
        for (about, short) in [
            ("oom_memcg=/knarrd/payload/web.1.2", Some(Short::Own)),
            ("oom_memcg=/knarrd/payload/web.1.2/sub", Some(Short::Own)),
            ("oom_memcg=/knarrd/payload/web.1.20", Some(Short::Above)),
            ("oom_memcg=/knarrd", Some(Short::Above)),
            ("oom_memcg=/", Some(Short::Above)),
            ("global_oom", Some(Short::Host)),
            ("something_new", None),
        ] {
            let kill = kill(&line(about, task)).unwrap();
            assert_eq!((kill.run.to_string().as_str(), kill.cgroup.as_str()), ("web.1.2", task));
            assert_eq!(kill.victim, Victim { pid: 18003, name: "ja,pid=7,va".into(), short }, "{about}");
        }
        for other in ["/user.slice/payload/x", "/kubepods/pod7", "/payload"] {
            assert_eq!(kill(&line("global_oom", other)), None, "{other}");
        }
        assert_eq!(kill("6,1,2,-;Memory cgroup out of memory: Killed process 12 (java)\n"), None);
    }

    #[test]
    fn without_the_log_counters_decide() {
        let memory = |kills, events, limit| Memory {
            oom_kills: kills,
            oom_events: events,
            limit,
            ..Memory::default()
        };
        for (memory, want) in [
            (memory(None, None, Some(9)), None),
            (memory(Some(0), Some(3), Some(9)), None),
            (memory(Some(1), Some(1), Some(9)), Some(Short::Own)),
            (memory(Some(1), None, Some(9)), Some(Short::Own)),
            (memory(Some(1), Some(0), Some(9)), None),
            (memory(Some(1), Some(0), None), Some(Short::Host)),
        ] {
            assert_eq!(short(&memory, None), want, "{memory:?}");
            let killed = memory.oom_kills.is_some_and(|n| n > 0);
            assert_eq!(ran_out(&memory, None), killed && want != Some(Short::Own), "{memory:?}");
        }
        let said = Victim { pid: 1, name: "x".into(), short: Some(Short::Above) };
        assert_eq!(short(&memory(Some(1), Some(1), Some(9)), Some(&said)), Some(Short::Above));
        assert_eq!(short(&memory(Some(0), None, None), Some(&said)), None, "no count, no kill");
        assert!(words(None, Some(9)).starts_with("not its own"));
    }

    #[test]
    fn who_keeps_to_its_request_is_a_bystander() {
        let of = |short, peak, request| verdict(short, peak, request).split(':').next().unwrap().to_owned();
        assert_eq!(of(Short::Own, None, None), "culprit");
        assert_eq!(of(Short::Host, Some(5), Some(5)), "bystander");
        assert_eq!(of(Short::Above, Some(6), Some(5)), "culprit");
        assert_eq!(of(Short::Above, Some(6), Some(0)), "culprit or bystander");
        assert_eq!(of(Short::Host, None, Some(5)), "culprit or bystander");
    }

    #[test]
    fn that_no_swap_was_left_is_said() {
        let of = |swap_full, swap_limited, swap_peak| {
            no_swap(&Memory { swap_full, swap_limited, swap_peak, ..Memory::default() })
        };
        assert_eq!(of(None, None, Some(9 << 20)), "");
        assert_eq!(of(Some(0), Some(0), Some(9 << 20)), "");
        assert_eq!(of(Some(3), Some(0), Some(9 << 20)), ", no swap was left after 9 MiB of it");
        // A keeper of an earlier version did not look.
        assert_eq!(of(Some(3), None, None), ", no swap was left");
        assert_eq!(of(Some(3), Some(2), Some(9 << 20)), ", its swap limit was hit after 9 MiB of it");
    }

    #[test]
    fn a_record_of_an_earlier_daemon_is_read() {
        let old: Victim = serde_json::from_str(r#"{"pid":7,"name":"x"}"#).unwrap();
        assert_eq!(old.short, None);
        let new = serde_json::to_string(&Victim { short: Some(Short::Host), ..old }).unwrap();
        assert_eq!(new, r#"{"pid":7,"name":"x","short":"host"}"#);
    }
}
