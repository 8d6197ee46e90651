//! Podman's quadlets, `NAME.container` (podman-systemd.unit(5)), in the syntax of systemd.syntax(7).

use serde_json::{Map, Value, json};

use super::draft::{Draft, ENTRYPOINT};
use super::values::{cpus, seconds, size, user, words};

const PUBLISHED: &str =
    "nothing is published: `listen` opens a port on the host, Network=host shares all of them";

/// The one service of it.
///
/// # Errors
/// It is no such file.
pub(super) fn draft(text: &str, name: &str) -> Result<Draft, String> {
    let lines = lines(text)?;
    if !lines.iter().any(|l| l.section == "Container") {
        return Err("no section [Container] in it".into());
    }
    let of =
        |key: &str| lines.iter().rev().find(|l| l.section == "Container" && l.key == key).map(|l| &l.value);
    let mut d = Draft::new(of("ContainerName").map_or(name, |n| n));
    let mut env = Map::new();
    let mut labels = Map::new();
    for line in &lines {
        let value = line.value.as_str();
        match (line.section.as_str(), line.key.as_str()) {
            ("Container", "Environment") => pairs(&mut d, line, &mut env),
            ("Container", "Label") => pairs(&mut d, line, &mut labels),
            ("Container", key) => container(&mut d, key, value),
            ("Service", key) => service(&mut d, key, value),
            ("Unit", "Description") => d.put("description", value),
            ("Unit", "After" | "Requires" | "BindsTo" | "PartOf") => depends(&mut d, line),
            ("Install", _) => d.leave(line.name(), "the daemon starts every service of its directory"),
            _ => d.leave(line.name(), "of systemd"),
        }
    }
    for (key, map) in [("env", env), ("labels", labels)] {
        if !map.is_empty() {
            d.put(key, map);
        }
    }
    command(&mut d, of("Entrypoint"), of("Exec"));
    health(&mut d, &lines);
    if !d.has("image") {
        return Err("no Image= in it".into());
    }
    Ok(d)
}

struct Line {
    section: String,
    key: String,
    value: String,
}

impl Line {
    fn name(&self) -> String {
        format!("[{}] {}", self.section, self.key)
    }
}

/// Keys with values; a backslash at the end of a line joins the next one, comments between them do not count.
fn lines(text: &str) -> Result<Vec<Line>, String> {
    let (mut all, mut section) = (Vec::new(), String::new());
    let mut whole = String::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.starts_with(['#', ';']) || whole.is_empty() && line.is_empty() {
            continue;
        }
        if let Some(begun) = line.strip_suffix('\\') {
            whole.push_str(begun.trim_end());
            whole.push(' ');
            continue;
        }
        whole.push_str(line);
        let line = std::mem::take(&mut whole);
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            section = name.to_owned();
            continue;
        }
        let (key, value) =
            line.split_once('=').ok_or(format!("line {}: want KEY=VALUE, got {line:?}", number + 1))?;
        all.push(Line { section: section.clone(), key: key.trim().into(), value: value.trim().into() });
    }
    Ok(all)
}

fn pairs(d: &mut Draft, line: &Line, into: &mut Map<String, Value>) {
    for word in words(&line.value).unwrap_or_default() {
        match word.split_once('=') {
            Some((name, value)) => drop(into.insert(name.into(), value.into())),
            None => d.leave(format!("{} {word}", line.name()), "want NAME=VALUE"),
        }
    }
}

fn container(d: &mut Draft, key: &str, value: &str) {
    let name = format!("[Container] {key}");
    let yes = matches!(value, "true" | "yes" | "1" | "on");
    let mut put = |to: &str, found: Option<Value>| match found {
        Some(found) => d.put(to, found),
        None => d.leave(&name, format!("{value:?} cannot be said in a service file")),
    };
    match key {
        // Each is read by who looks for it.
        "ContainerName" | "Exec" | "Entrypoint" => {}
        _ if key.starts_with("Health") => {}
        "Image" if value.ends_with(".image") || value.ends_with(".build") => {
            d.leave(name, "another quadlet: import the image, and name it here");
        }
        "Image" => put("image", Some(value.into())),
        "HostName" => put("hostname", Some(value.into())),
        "WorkingDir" => put("workdir", Some(value.into())),
        "EnvironmentFile" if value.starts_with('/') => d.push("env_files", value),
        "User" => put("user", user(value).map(Value::from)),
        "ReadOnly" => put("root_read_only", Some(yes.into())),
        "NoNewPrivileges" => put("security.no_new_privileges", Some(yes.into())),
        "SeccompProfile" => put("security.seccomp", Some(value.into())),
        "AddCapability" => put("security.capabilities_add", Some(upper(value))),
        "DropCapability" => put("security.capabilities_drop", Some(upper(value))),
        "PidsLimit" if value == "-1" => put("limits.pids", Some("unlimited".into())),
        "PidsLimit" => put("limits.pids", value.parse::<i64>().ok().map(Value::from)),
        "Memory" => put("limits.memory", size(value)),
        "StopSignal" => put("stop.signal", Some(value.into())),
        "StopTimeout" => put("stop.grace", seconds(value).map(Value::from)),
        "Notify" if yes => {
            put("probes.startup.push", Some(true.into()));
            put("probes.readiness.push", Some(true.into()));
        }
        "Network" if value == "host" || value == "none" => put("network", Some(value.into())),
        "Network" => d.leave(name, "networks are host, none or those of CNI"),
        "Ulimit" => match value.split_once('=') {
            Some(("nofile", limit)) => {
                put(
                    "limits.nofile",
                    limit.rsplit(':').next().and_then(|n| n.parse::<i64>().ok()).map(Value::from),
                );
            }
            _ => d.leave(name, "only nofile has a key; use a bundle"),
        },
        "Tmpfs" => {
            d.push("mounts", json!({"type": "tmpfs", "target": value.split(':').next().unwrap_or(value)}))
        }
        "Volume" => volume(d, &name, value),
        "PublishPort" => {
            let (ports, protocol) = value.split_once('/').unwrap_or((value, "tcp"));
            d.push("ports", format!("{}/{protocol}", ports.rsplit(':').next().unwrap_or(ports)));
            d.leave(name, PUBLISHED);
        }
        _ => d.leave(name, "no such key in a service file"),
    }
}

fn upper(value: &str) -> Value {
    value.split_whitespace().map(str::to_ascii_uppercase).collect::<Vec<_>>().into()
}

fn volume(d: &mut Draft, name: &str, value: &str) {
    let mut parts = value.split(':');
    match (parts.next(), parts.next()) {
        (Some(source), Some(target)) if source.starts_with('/') => {
            let mut mount = json!({"source": source, "target": target});
            if parts.next().is_some_and(|o| o.split(',').any(|w| w == "ro")) {
                mount["read_only"] = true.into();
            }
            d.push("mounts", mount);
        }
        _ => {
            d.leave(format!("{name} {value}"), "a volume that Podman keeps: make a directory, and mount that")
        }
    }
}

fn service(d: &mut Draft, key: &str, value: &str) {
    let name = format!("[Service] {key}");
    let policy = match value {
        "no" => Some("no"),
        "always" => Some("always"),
        // A signal that is none of a clean end, a time-out and a watchdog are failures here, too.
        "on-failure" | "on-abnormal" | "on-abort" | "on-watchdog" => Some("on-failure"),
        _ => None,
    };
    let time = |d: &mut Draft, to: &str| match seconds(value) {
        Some(time) => d.put(to, time),
        None => d.leave(&name, "not a time"),
    };
    match (key, policy) {
        ("Restart", Some(policy)) => d.put("restart.policy", policy),
        ("RestartSec", _) => time(d, "restart.delay"),
        ("TimeoutStopSec", _) => time(d, "stop.grace"),
        ("MemoryMax", _) if size(value).is_some() => d.put("limits.memory", size(value)),
        ("MemoryHigh", _) if size(value).is_some() => d.put("limits.memory_high", size(value)),
        ("TasksMax", _) if value.parse::<i64>().is_ok() => d.put("limits.pids", value.parse::<i64>().ok()),
        ("CPUWeight", _) if value.parse::<i64>().is_ok() => {
            d.put("limits.cpu_weight", value.parse::<i64>().ok())
        }
        ("CPUQuota", _) => match value.strip_suffix('%').and_then(|p| p.parse::<f64>().ok()) {
            Some(percent) => d.put("limits.cpus", cpus(&(percent / 100.0).to_string())),
            None => d.leave(name, "not a share"),
        },
        _ => d.leave(name, "of systemd"),
    }
}

/// Other quadlets become services of their names; targets and what else systemd starts is not waited for.
fn depends(d: &mut Draft, line: &Line) {
    for unit in line.value.split_whitespace() {
        match unit.strip_suffix(".service").or_else(|| unit.strip_suffix(".container")) {
            Some(name) if line.key != "After" => d.push("depends_on", json!({"service": name})),
            _ => d.leave(
                format!("{} {unit}", line.name()),
                "not a service of this directory, or only an order",
            ),
        }
    }
}

fn command(d: &mut Draft, entrypoint: Option<&String>, exec: Option<&String>) {
    let list = |line: Option<&String>| match line {
        None => Some(Vec::new()),
        // Podman takes a list in JSON as well.
        Some(line) if line.starts_with('[') => serde_json::from_str(line).ok(),
        Some(line) => words(line),
    };
    let (Some(mut all), Some(exec)) = (list(entrypoint), list(exec)) else {
        return d.leave("[Container] Exec", "a quote in it is not closed");
    };
    if all.is_empty() && exec.is_empty() {
        return;
    }
    if all.is_empty() {
        d.leave("[Container] Exec", ENTRYPOINT);
    }
    all.extend(exec);
    d.put("command", all);
}

/// Podman's words for the health check of Compose.
fn health(d: &mut Draft, lines: &[Line]) {
    for line in lines.iter().filter(|l| l.section == "Container" && l.key.starts_with("Health")) {
        let time = |d: &mut Draft, to: &str| match seconds(&line.value) {
            Some(time) => d.put(to, time),
            None => d.leave(line.name(), "not a time"),
        };
        match line.key.as_str() {
            "HealthCmd" if line.value == "none" => d.put("healthcheck.disable", true),
            "HealthCmd" if line.value.starts_with('[') => {
                match serde_json::from_str::<Vec<String>>(&line.value) {
                    Ok(words) => d.put("healthcheck.test", [vec!["CMD".to_owned()], words].concat()),
                    Err(e) => d.leave(line.name(), e.to_string()),
                }
            }
            "HealthCmd" => d.put("healthcheck.test", line.value.as_str()),
            "HealthInterval" => time(d, "healthcheck.interval"),
            "HealthTimeout" => time(d, "healthcheck.timeout"),
            "HealthStartPeriod" => time(d, "healthcheck.start_period"),
            "HealthRetries" => d.put("healthcheck.retries", line.value.parse::<i64>().ok()),
            "HealthOnFailure" => match line.value.as_str() {
                "none" => d.put("probes.on_unhealthy", "none"),
                "stop" => d.put("probes.on_unhealthy", "stop"),
                // What is the default here.
                "kill" | "restart" => {}
                _ => d.leave(line.name(), "want none, kill, restart or stop"),
            },
            _ => d.leave(line.name(), "no such key in a service file"),
        }
    }
}
