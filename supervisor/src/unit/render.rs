//! A service in the words of its file, without what is default: what plans compare and versions are made of. Pure.
#![forbid(unsafe_code)]

use serde_json::{Map, Value, json};

use super::job::{Job, Overlap, Schedule};
use super::listen::{Listen, MODE};
use super::parse::{self, value::duration_text, value::size_text};
use super::pressure::{Pressure, Priority, Rung};
use super::service::{
    Condition, Dependency, FileMount, Hook, Hooks, Image, IoMax, Limits, Logs, Match, Mount, MountKind,
    Network, OnChange, OnCrashLoop, OnUnhealthy, Policy, Probe, Probes, Process, Restart, Role, Rule,
    RuleAction, Seccomp, Security, Service, Stop, Update,
};
use crate::memory::guard::AtHigh;
use crate::memory::limits::NEVER;
use crate::names::ServiceName;
use crate::probe::{Http, Kind, Tls};

/// A table that leaves out what is not there.
#[derive(Default)]
struct Table(Map<String, Value>);

impl Table {
    fn put(&mut self, key: &str, value: impl Into<Value>) {
        self.0.insert(key.to_owned(), value.into());
    }
    fn some(&mut self, key: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.put(key, value);
        }
    }
    /// A list or table that is left out when it is empty.
    fn full(&mut self, key: &str, value: impl Into<Value>) {
        let value = value.into();
        let empty =
            value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(Map::is_empty);
        if !empty {
            self.put(key, value);
        }
    }
    fn unless<T: PartialEq>(&mut self, key: &str, value: &T, default: &T, text: impl Fn(&T) -> Value) {
        if value != default {
            self.put(key, text(value));
        }
    }
}

impl From<Table> for Value {
    fn from(t: Table) -> Value {
        Value::Object(t.0)
    }
}

/// The service as its file would have it in one fixed spelling. Reading it back gives the same service.
pub(super) fn render(service: &Service) -> Value {
    let Service {
        name: _,
        description,
        labels,
        runtime,
        replicas,
        image,
        process,
        limits,
        security,
        mounts,
        files,
        network,
        ports,
        listen,
        restart,
        job,
        stop,
        pressure,
        probes,
        update,
        depends_on,
        part_of,
        hooks,
        logs,
    } = service;
    let mut t = Table::default();
    t.some("description", description.as_deref());
    t.full("labels", json!(labels));
    t.some("runtime", runtime.as_ref().map(|p| json!(p)));
    t.unless("replicas", replicas, &1, |n| json!(n));
    match image {
        Image::Bundle(path) => t.put("bundle", json!(path)),
        Image::Root { path, read_only } => {
            t.put("root", json!(path));
            t.unless("root_read_only", read_only, &false, |b| json!(b));
        }
        Image::Stored { name, id, read_only } => {
            let name = match id {
                Some(id) => format!("{name}@sha256:{id}"),
                None => name.clone(),
            };
            t.put("image", name);
            t.unless("root_read_only", read_only, &false, |b| json!(b));
        }
    }
    put_process(&mut t, process);
    t.full("limits", put_limits(limits));
    t.full("security", put_security(security));
    t.full("mounts", mounts.iter().map(mount).collect::<Vec<_>>());
    let kind = |secret| files.iter().filter(|f| f.secret == secret).map(file).collect::<Vec<_>>();
    t.full("secrets", kind(true));
    t.full("configs", kind(false));
    match network {
        Network::Default => {}
        Network::Host => t.put("network", "host"),
        Network::None => t.put("network", "none"),
        Network::Cni(names) => t.put("network", json!({ "cni": names })),
    }
    t.full("ports", json!(ports));
    t.full("listen", listen.iter().map(socket).collect::<Vec<_>>());
    t.full("restart", put_restart(restart));
    t.some("job", job.as_ref().map(put_job));
    t.full("stop", put_stop(stop));
    t.full("pressure", put_pressure(pressure));
    t.full("probes", put_probes(probes));
    t.full("update", put_update(update));
    t.full("depends_on", depends_on.iter().filter(|d| !d.implied).map(dependency).collect::<Vec<_>>());
    t.some("part_of", part_of.as_ref().map(ServiceName::as_str));
    t.full("hooks", put_hooks(hooks));
    t.full("logs", put_logs(logs));
    t.into()
}

fn put_process(t: &mut Table, process: &Process) {
    let Process { command, env, env_files, workdir, user, tty, stdin, hostname } = process;
    t.some("command", command.as_ref().map(|c| json!(c)));
    t.full("env", json!(env));
    t.full("env_files", json!(env_files));
    t.some("workdir", workdir.as_deref());
    if let Some(user) = user {
        t.put("user", format!("{}:{}", user.uid, user.gid));
        t.full("groups", json!(user.groups));
    }
    t.unless("tty", tty, &false, |b| json!(b));
    t.unless("stdin", stdin, &false, |b| json!(b));
    t.some("hostname", hostname.as_deref());
}

fn put_limits(limits: &Limits) -> Table {
    let Limits {
        memory,
        swap,
        cpu_millis,
        cpu_weight,
        cpus,
        pids,
        nofile,
        oom_score_adj,
        memory_request,
        memory_high,
        memory_min,
        memory_low,
        zswap,
        oom_group,
        cpu_burst,
        io_weight,
        io_max,
    } = limits;
    let mut t = Table::default();
    t.some("memory", memory.map(size_text));
    t.some("swap", swap.map(size_text));
    t.some("cpus", cpu_millis.map(|n| format!("{}.{:03}", n / 1000, n % 1000)));
    t.some("cpu_weight", *cpu_weight);
    t.some("cpuset", cpus.as_deref());
    t.some("pids", pids.map(|n| if n == u64::MAX { json!("unlimited") } else { json!(n) }));
    t.some("nofile", *nofile);
    t.some("oom_score_adj", *oom_score_adj);
    t.some("memory_request", memory_request.map(size_text));
    t.some("memory_high", memory_high.map(|n| if n == NEVER { "none".into() } else { size_text(n) }));
    t.some("memory_min", memory_min.map(size_text));
    t.some("memory_low", memory_low.map(size_text));
    t.some("zswap", zswap.map(size_text));
    t.some("oom_group", *oom_group);
    t.some("cpu_burst", cpu_burst.map(duration_text));
    t.some("io_weight", *io_weight);
    t.full("io_max", io_max.iter().map(disk).collect::<Vec<_>>());
    t
}

fn disk(max: &IoMax) -> Value {
    let IoMax { device, read_bps, write_bps, read_iops, write_iops } = max;
    let mut t = Table::default();
    t.put("device", json!(device));
    t.some("read_bps", read_bps.map(size_text));
    t.some("write_bps", write_bps.map(size_text));
    t.some("read_iops", *read_iops);
    t.some("write_iops", *write_iops);
    t.into()
}

fn put_security(security: &Security) -> Table {
    let Security { capabilities_add, capabilities_drop, seccomp, no_new_privileges } = security;
    let mut t = Table::default();
    t.full("capabilities_add", json!(capabilities_add));
    t.full("capabilities_drop", json!(capabilities_drop));
    match seccomp {
        Seccomp::Default => {}
        Seccomp::Unconfined => t.put("seccomp", "unconfined"),
        Seccomp::File(path) => t.put("seccomp", json!(path)),
    }
    t.some("no_new_privileges", *no_new_privileges);
    t
}

fn mount(mount: &Mount) -> Value {
    let Mount { target, kind, read_only, options } = mount;
    let mut t = Table::default();
    match kind {
        MountKind::Bind(source) => t.put("source", json!(source)),
        MountKind::Tmpfs(size) => {
            t.put("type", "tmpfs");
            t.some("size", size.map(size_text));
        }
    }
    t.put("target", target.as_str());
    t.unless("read_only", read_only, &false, |b| json!(b));
    t.full("options", json!(options));
    t.into()
}

fn file(file: &FileMount) -> Value {
    let FileMount { secret: _, source, target, mode, uid, gid, on_change } = file;
    let mut t = Table::default();
    t.put("source", json!(source));
    t.put("target", target.as_str());
    t.put("mode", format!("{mode:04o}"));
    t.put("uid", *uid);
    t.put("gid", *gid);
    match on_change {
        OnChange::Ignore => {}
        OnChange::Restart => t.put("on_change", "restart"),
        OnChange::Signal(signal) => t.put("on_change", json!({ "signal": signal.name })),
    }
    t.into()
}

fn socket(listen: &Listen) -> Value {
    let Listen { address, name, mode } = listen;
    let mut t = Table::default();
    t.put("address", address.to_string());
    t.some("name", name.as_deref());
    t.unless("mode", mode, &MODE, |mode| json!(format!("{mode:04o}")));
    t.into()
}

fn put_restart(restart: &Restart) -> Table {
    let Restart { policy, rules, delay, max_delay, reset, crash_failures, crash_window, on_crash_loop } =
        restart;
    let default = parse::default_restart();
    let mut t = Table::default();
    // That of a job is there by its attempts.
    t.unless("policy", policy, &default.policy, |p| match p {
        Policy::Attempts(_) => Value::Null,
        Policy::No => json!("no"),
        Policy::OnFailure(None) => json!("on-failure"),
        Policy::OnFailure(Some(n)) => json!(format!("on-failure:{n}")),
        Policy::Always => json!("always"),
        Policy::UnlessStopped => json!("unless-stopped"),
    });
    t.0.retain(|_, value| !value.is_null());
    t.full("rules", rules.iter().map(rule).collect::<Vec<_>>());
    t.unless("delay", delay, &default.delay, |d| json!(duration_text(*d)));
    t.unless("max_delay", max_delay, &default.max_delay, |d| json!(duration_text(*d)));
    t.unless("reset", reset, &default.reset, |d| json!(duration_text(*d)));
    t.unless("crash_failures", crash_failures, &default.crash_failures, |n| json!(n));
    t.unless("crash_window", crash_window, &default.crash_window, |d| json!(duration_text(*d)));
    t.unless("on_crash_loop", on_crash_loop, &default.on_crash_loop, |o| match o {
        OnCrashLoop::Keep => json!("keep"),
        OnCrashLoop::Hold => json!("hold"),
    });
    t
}

fn rule(rule: &Rule) -> Value {
    let Rule { when: Match { codes, signals, oom, not }, action } = rule;
    let range = |(a, b): &(u8, u8)| if a == b { json!(a) } else { json!(format!("{a}-{b}")) };
    let mut t = Table::default();
    t.full("codes", codes.iter().map(range).collect::<Vec<_>>());
    t.full("signals", json!(signals));
    t.unless("oom", oom, &false, |b| json!(b));
    t.unless("not", not, &false, |b| json!(b));
    t.put(
        "action",
        match action {
            RuleAction::Restart => "restart",
            RuleAction::Complete => "complete",
            RuleAction::Fail => "fail",
        },
    );
    t.into()
}

fn put_job(job: &Job) -> Table {
    let Job { attempts, deadline, schedule } = job;
    let mut t = Table::default();
    // Never empty: that there is a job at all is the point.
    t.put("attempts", *attempts);
    t.some("deadline", deadline.map(duration_text));
    if let Some(Schedule { cron, timezone, catch_up, overlap, jitter }) = schedule {
        t.put("schedule", cron.as_str());
        t.unless("timezone", timezone, &parse::TIMEZONE.to_owned(), |z| json!(z));
        t.unless("catch_up", catch_up, &true, |b| json!(b));
        t.unless("overlap", overlap, &Overlap::Skip, |o| json!(o));
        t.unless("jitter", jitter, &std::time::Duration::ZERO, |d| json!(duration_text(*d)));
    }
    t
}

fn put_stop(stop: &Stop) -> Table {
    let Stop { signal, grace } = stop;
    let default = parse::default_stop();
    let mut t = Table::default();
    t.unless("signal", signal, &default.signal, |s| json!(s.name));
    t.unless("grace", grace, &default.grace, |d| json!(duration_text(*d)));
    t
}

fn put_pressure(pressure: &Pressure) -> Table {
    let Pressure { priority, rungs, freeze_for, grace, signal, watch, restart_above, at_high } = pressure;
    let mut t = Table::default();
    t.unless("priority", priority, &Priority::default(), |p| match p {
        Priority::Level(n) => json!(n),
        Priority::Protected => json!("protected"),
    });
    t.some("rungs", rungs.map(|r| json!(r.iter().map(Rung::word).collect::<Vec<_>>())));
    t.some("freeze_for", freeze_for.map(duration_text));
    t.some("grace", grace.map(duration_text));
    t.some("signal", signal.as_ref().map(|s| s.name.as_str()));
    t.unless("watch", watch, &false, |b| json!(b));
    t.unless("at_high", at_high, &AtHigh::default(), |a| json!(a.word()));
    t.some("restart_above", restart_above.map(|a| format!("{}% for {}", a.percent, duration_text(a.lasts))));
    t
}

fn put_update(update: &Update) -> Table {
    let Update { order, parallelism, min_healthy, progress_deadline, watch, on_failure } = update;
    let default = Update::default();
    let mut t = Table::default();
    t.unless("order", order, &default.order, |o| json!(o));
    t.unless("parallelism", parallelism, &default.parallelism, |n| json!(n));
    t.unless("min_healthy", min_healthy, &default.min_healthy, |d| json!(duration_text(*d)));
    t.unless("progress_deadline", progress_deadline, &default.progress_deadline, |d| {
        json!(duration_text(*d))
    });
    t.some("watch", watch.map(duration_text));
    t.unless("on_failure", on_failure, &default.on_failure, |o| json!(o));
    t
}

fn put_probes(probes: &Probes) -> Table {
    let Probes { startup, liveness, readiness, on_unhealthy } = probes;
    let mut t = Table::default();
    let all = [
        ("startup", Role::Startup, startup),
        ("liveness", Role::Liveness, liveness),
        ("readiness", Role::Readiness, readiness),
    ];
    for (name, role, probe) in all {
        t.some(name, probe.as_ref().map(|p| put_probe(p, role)));
    }
    t.unless("on_unhealthy", on_unhealthy, &OnUnhealthy::Restart, |o| json!(o));
    t
}

fn put_probe(probe: &Probe, role: Role) -> Table {
    let default = parse::default_probe(role, probe.kind.clone());
    let Probe { kind, initial_delay, period, timeout, success_threshold, failure_threshold, grace } = probe;
    let mut t = Table::default();
    match kind {
        Kind::Exec { command } => t.put("exec", json!(command)),
        Kind::Http(http) => t.put("http", put_http(http)),
        Kind::Tcp { host, port } => t.put("tcp", put_address(host, *port)),
        Kind::Grpc { host, port, service } => {
            let mut grpc = put_address(host, *port);
            grpc.unless("service", service, &String::new(), |s| json!(s));
            t.put("grpc", grpc);
        }
        Kind::Push => t.put("push", true),
    }
    let time = |d: &std::time::Duration| json!(duration_text(*d));
    t.unless("initial_delay", initial_delay, &default.initial_delay, time);
    t.unless("period", period, &default.period, time);
    t.unless("timeout", timeout, &default.timeout, time);
    t.unless("success_threshold", success_threshold, &default.success_threshold, |n| json!(n));
    t.unless("failure_threshold", failure_threshold, &default.failure_threshold, |n| json!(n));
    t.some("grace", grace.map(duration_text));
    t
}

fn put_address(host: &String, port: u16) -> Table {
    let mut t = Table::default();
    t.put("port", port);
    t.unless("host", host, &parse::HOST.to_owned(), |h| json!(h));
    t
}

fn put_http(http: &Http) -> Table {
    let Http { host, port, path, method, headers, status, tls } = http;
    let mut t = put_address(host, *port);
    t.unless("path", path, &parse::PATH.to_owned(), |p| json!(p));
    t.unless("method", method, &parse::METHOD.to_owned(), |m| json!(m));
    let headers: Map<String, Value> = headers.iter().map(|(name, v)| (name.clone(), json!(v))).collect();
    t.full("headers", headers);
    let range = |(a, b): &(u16, u16)| if a == b { json!(a) } else { json!(format!("{a}-{b}")) };
    t.unless("status", status, &parse::STATUS.to_vec(), |all| all.iter().map(range).collect());
    t.some("tls", tls.as_ref().map(put_tls));
    t
}

fn put_tls(tls: &Tls) -> Value {
    let Tls { verify, name, ca } = tls;
    let mut t = Table::default();
    t.unless("verify", verify, &true, |b| json!(b));
    t.some("name", name.as_deref());
    t.some("ca", ca.as_ref().map(|p| json!(p)));
    if t.0.is_empty() { json!(true) } else { t.into() }
}

fn dependency(dependency: &Dependency) -> Value {
    let Dependency { service, condition, timeout, restart, implied: _ } = dependency;
    let mut t = Table::default();
    t.put("service", service.as_str());
    t.unless("condition", condition, &Condition::Started, |c| match c {
        Condition::Started => json!("started"),
        Condition::Ready => json!("ready"),
        Condition::Completed => json!("completed"),
        Condition::Succeeded => json!("succeeded"),
    });
    t.some("timeout", timeout.map(duration_text));
    t.unless("restart", restart, &false, |b| json!(b));
    t.into()
}

fn put_hooks(hooks: &Hooks) -> Table {
    let Hooks { pre_start, post_start, pre_stop, post_stop } = hooks;
    let mut t = Table::default();
    for (name, hooks) in [
        ("pre_start", pre_start),
        ("post_start", post_start),
        ("pre_stop", pre_stop),
        ("post_stop", post_stop),
    ] {
        t.full(name, hooks.iter().map(hook).collect::<Vec<_>>());
    }
    t
}

fn hook(hook: &Hook) -> Value {
    let Hook { command, timeout } = hook;
    let mut t = Table::default();
    t.put("command", json!(command));
    t.unless("timeout", timeout, &parse::HOOK_TIMEOUT, |d| json!(duration_text(*d)));
    t.into()
}

fn put_logs(logs: &Logs) -> Table {
    let Logs { max_size, max_files, journald } = logs;
    let default = parse::default_logs();
    let mut t = Table::default();
    t.unless("max_size", max_size, &default.max_size, |n| json!(size_text(*n)));
    t.unless("max_files", max_files, &default.max_files, |n| json!(n));
    t.unless("journald", journald, &false, |b| json!(b));
    t
}
