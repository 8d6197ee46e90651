//! Compose files (compose-spec, 05-services.md and following).

use std::path::Path;

use serde_json::{Map, Value, json};

use super::draft::{Draft, ENTRYPOINT};
use super::values::{cpus, seconds, size, text, texts, user, words};

const PUBLISHED: &str =
    "nothing is published: `listen` opens a port on the host, network = \"host\" shares all of them";

/// One for each service of the file.
///
/// # Errors
/// It is no Compose file.
pub(super) fn drafts(file: &Value, dir: &Path) -> Result<Vec<Draft>, String> {
    let services = file.get("services").and_then(Value::as_object).ok_or("no table `services` in it")?;
    let mut drafts: Vec<Draft> = Vec::new();
    for (name, service) in services {
        let mut draft = Draft::new(name);
        let Some(keys) = service.as_object() else {
            return Err(format!("services.{name}: want a table"));
        };
        let context = Context { file, dir, keys };
        for (key, value) in keys {
            if !value.is_null() {
                context.key(&mut draft, key, value);
            }
        }
        if !draft.has("image") {
            return Err(format!(
                "services.{name}: it has no image; build one elsewhere and bring it with knarrctl image import"
            ));
        }
        drafts.push(draft);
    }
    if let Some(first) = drafts.first_mut() {
        for key in file.as_object().into_iter().flat_map(Map::keys) {
            if !matches!(&key[..], "services" | "secrets" | "configs" | "version" | "name")
                && !key.starts_with("x-")
            {
                first.leave(
                    format!("{key} (of the whole file)"),
                    "service files have their own mounts and networks",
                );
            }
        }
    }
    Ok(drafts)
}

struct Context<'a> {
    file: &'a Value,
    dir: &'a Path,
    keys: &'a Map<String, Value>,
}

impl Context<'_> {
    fn key(&self, d: &mut Draft, key: &str, value: &Value) {
        match key {
            "image" | "hostname" => put_text(d, key, key, value),
            "working_dir" => put_text(d, key, "workdir", value),
            "command" => self.command(d),
            "entrypoint" if !self.keys.contains_key("command") => self.command(d),
            "entrypoint" => {}
            "environment" => environment(d, value),
            "env_file" => self.env_files(d, value),
            "user" => match text(value).as_deref().and_then(user) {
                Some(ids) => d.put("user", ids),
                None => d.leave(key, "a name is for the image to know: want numbers, UID:GID"),
            },
            "group_add" => d.put("groups", numbers(value)),
            "tty" | "labels" => copy(d, key, key, value),
            "stdin_open" => copy(d, key, "stdin", value),
            "read_only" => copy(d, key, "root_read_only", value),
            "restart" => put_text(d, key, "restart.policy", value),
            "stop_signal" => put_text(d, key, "stop.signal", value),
            "stop_grace_period" => put_time(d, key, "stop.grace", value),
            "scale" => copy(d, key, "replicas", value),
            "oom_score_adj" => copy(d, key, "limits.oom_score_adj", value),
            "cpuset" => put_text(d, key, "limits.cpuset", value),
            "pids_limit" if value == &json!(-1) => d.put("limits.pids", "unlimited"),
            "pids_limit" => copy(d, key, "limits.pids", value),
            "cpus" => put_cpus(d, key, value),
            "mem_limit" => put_size(d, key, "limits.memory", value),
            "mem_reservation" => put_size(d, key, "limits.memory_request", value),
            "ports" | "expose" => ports(d, key, value),
            "network_mode" => match value.as_str() {
                Some(mode @ ("host" | "none")) => d.put("network", mode),
                _ => d.leave(key, "want host or none; a CNI network is network = { cni = [...] }"),
            },
            "cap_add" => d.put("security.capabilities_add", capabilities(value)),
            "cap_drop" => d.put("security.capabilities_drop", capabilities(value)),
            "security_opt" => self.security(d, value),
            "ulimits" => ulimits(d, value),
            "volumes" => value.as_array().into_iter().flatten().for_each(|v| self.volume(d, v)),
            "tmpfs" => texts(value).iter().for_each(|t| tmpfs(d, t)),
            "secrets" => self.files(d, key, value, "/run/secrets/"),
            "configs" => self.files(d, key, value, "/"),
            "depends_on" => depends_on(d, value),
            "healthcheck" => healthcheck(d, value),
            "deploy" => deploy(d, value),
            other => d.leave(other, reason(other)),
        }
    }

    /// Entrypoint and command are one list here.
    fn command(&self, d: &mut Draft) {
        let list = |key: &str| match self.keys.get(key) {
            None | Some(Value::Null) => Some(Vec::new()),
            Some(Value::String(line)) => words(line),
            Some(other) => Some(texts(other)),
        };
        let (Some(mut all), Some(command)) = (list("entrypoint"), list("command")) else {
            return d.leave("command", "a quote in it is not closed");
        };
        if all.is_empty() && !command.is_empty() {
            d.leave("command", ENTRYPOINT);
        }
        all.extend(command);
        // A dollar sign of its own is written twice (compose-spec, 12-interpolation.md).
        if all.iter().any(|w| w.replace("$$", "").contains('$')) {
            d.leave("command", "variables in it are not replaced: they stand there as they are");
        }
        d.put("command", all.iter().map(|w| w.replace("$$", "$")).collect::<Vec<_>>());
    }

    fn at(&self, path: &str) -> String {
        self.dir.join(path.strip_prefix("./").unwrap_or(path)).display().to_string()
    }

    fn env_files(&self, d: &mut Draft, value: &Value) {
        let list = if let Value::Array(list) = value { list.clone() } else { vec![value.clone()] };
        for entry in &list {
            match entry.as_str().or_else(|| entry.get("path").and_then(Value::as_str)) {
                Some(path) => d.push("env_files", self.at(path)),
                None => d.leave("env_file", "want a path"),
            }
        }
    }

    fn security(&self, d: &mut Draft, value: &Value) {
        for word in texts(value) {
            match word.replacen('=', ":", 1).split_once(':').unwrap_or((&word, "true")) {
                ("no-new-privileges", yes) => d.put("security.no_new_privileges", yes != "false"),
                ("seccomp", "unconfined") => d.put("security.seccomp", "unconfined"),
                ("seccomp", path) => d.put("security.seccomp", self.at(path)),
                _ => d.leave(format!("security_opt {word}"), "no such key in a service file; use a bundle"),
            }
        }
    }

    fn volume(&self, d: &mut Draft, value: &Value) {
        let of = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        let (kind, source, target, read_only) = match value.as_str() {
            Some(short) => {
                let mut parts = short.split(':');
                match (parts.next(), parts.next(), parts.next()) {
                    (Some(source), Some(target), mode) => {
                        let path = source.starts_with(['/', '.', '~']);
                        let read_only = mode.is_some_and(|m| m.split(',').any(|w| w == "ro"));
                        let kind = if path { "bind" } else { "volume" };
                        (kind.to_owned(), Some(source.to_owned()), Some(target.to_owned()), read_only)
                    }
                    (target, ..) => ("volume".to_owned(), None, target.map(str::to_owned), false),
                }
            }
            None => (
                of("type").unwrap_or_default(),
                of("source"),
                of("target"),
                value.get("read_only") == Some(&Value::Bool(true)),
            ),
        };
        let name = format!("volumes {}", target.clone().unwrap_or_default());
        match (&kind[..], source, target) {
            ("bind", Some(source), Some(target)) if !source.starts_with('~') => {
                let mut mount = json!({"source": self.at(&source), "target": target});
                if read_only {
                    mount["read_only"] = true.into();
                }
                d.push("mounts", mount);
            }
            ("tmpfs", _, Some(target)) => tmpfs(d, &target),
            _ => d.leave(name, "a volume that an engine keeps: make a directory, and mount that"),
        }
    }

    /// Files that the whole file has a table for.
    fn files(&self, d: &mut Draft, kind: &str, value: &Value, default: &str) {
        for entry in value.as_array().into_iter().flatten() {
            let of = |key: &str| entry.get(key).and_then(text);
            let Some(name) = entry.as_str().map(str::to_owned).or_else(|| of("source")) else {
                d.leave(kind, "it has no source");
                continue;
            };
            let table = self.file.get(kind).and_then(|t| t.get(&name));
            let Some(path) = table.and_then(|t| t.get("file")).and_then(Value::as_str) else {
                d.leave(format!("{kind} {name}"), "only files of the host can be mounted");
                continue;
            };
            let target = of("target").unwrap_or_else(|| name.clone());
            let target = if target.starts_with('/') { target } else { format!("{default}{target}") };
            let mut file = json!({"source": self.at(path), "target": target});
            for (key, text) in ["mode", "uid", "gid"].into_iter().filter_map(|k| Some((k, of(k)?))) {
                file[key] = match (key, text.parse::<i64>()) {
                    // YAML 1.1 reads 0440 as a number of base 8, and 1.2 as one of base 10.
                    ("mode", _) => text.into(),
                    (_, Ok(id)) => id.into(),
                    (_, Err(_)) => text.into(),
                };
            }
            d.push(kind, file);
        }
    }
}

fn put_text(d: &mut Draft, from: &str, to: &str, value: &Value) {
    match text(value) {
        Some(text) => d.put(to, text),
        None => d.leave(from, "want a text"),
    }
}

fn put_time(d: &mut Draft, from: &str, to: &str, value: &Value) {
    match text(value).as_deref().and_then(seconds) {
        Some(time) => d.put(to, time),
        None => d.leave(from, "not a time"),
    }
}

fn put_size(d: &mut Draft, from: &str, to: &str, value: &Value) {
    match text(value).as_deref().and_then(size) {
        Some(size) => d.put(to, size),
        None => d.leave(from, "not a size"),
    }
}

fn put_cpus(d: &mut Draft, from: &str, value: &Value) {
    match text(value).as_deref().and_then(cpus) {
        Some(cpus) => d.put("limits.cpus", cpus),
        None => d.leave(from, "not a number of processors"),
    }
}

/// As it is, but for lists of `NAME=value`, which are tables here.
fn copy(d: &mut Draft, from: &str, to: &str, value: &Value) {
    match value {
        Value::Array(list) => {
            let pairs = list.iter().filter_map(Value::as_str).map(|p| p.split_once('=').unwrap_or((p, "")));
            d.put(to, pairs.map(|(k, v)| (k.to_owned(), v.into())).collect::<Map<_, Value>>());
        }
        Value::Object(map) => {
            let pairs = map.iter().map(|(k, v)| (k.clone(), text(v).unwrap_or_default().into()));
            d.put(to, pairs.collect::<Map<_, Value>>());
        }
        Value::Null => d.leave(from, "it has no value"),
        plain => d.put(to, plain.clone()),
    }
}

fn numbers(value: &Value) -> Vec<Value> {
    let number = |t: String| t.parse::<i64>().map_or(Value::String(t), Value::from);
    texts(value).into_iter().map(number).collect()
}

fn capabilities(value: &Value) -> Vec<String> {
    texts(value).into_iter().map(|c| c.to_ascii_uppercase()).collect()
}

fn environment(d: &mut Draft, value: &Value) {
    let pairs: Vec<(String, Option<String>)> = match value {
        Value::Object(map) => map.iter().map(|(k, v)| (k.clone(), text(v))).collect(),
        other => texts(other)
            .iter()
            .map(|p| p.split_once('=').map_or((p.clone(), None), |(k, v)| (k.into(), Some(v.into()))))
            .collect(),
    };
    let mut env = Map::new();
    for (name, value) in pairs {
        match value {
            Some(v) if v.replace("$$", "").contains('$') => {
                d.leave(format!("environment {name}"), "variables in it are not replaced");
                env.insert(name, v.into());
            }
            Some(v) => drop(env.insert(name, v.replace("$$", "$").into())),
            None => d.leave(
                format!("environment {name}"),
                "the value of who calls: write it down, or use env_files",
            ),
        }
    }
    d.put("env", env);
}

/// What is listened to; `ports` of Compose would publish it, too.
fn ports(d: &mut Draft, key: &str, value: &Value) {
    for entry in value.as_array().into_iter().flatten() {
        let (port, protocol) = match entry {
            Value::Object(map) => {
                let of = |k: &str| map.get(k).and_then(text);
                (of("target").unwrap_or_default(), of("protocol").unwrap_or_else(|| "tcp".into()))
            }
            plain => {
                let all = text(plain).unwrap_or_default();
                let (all, protocol) = all.split_once('/').unwrap_or((&all, "tcp"));
                (all.rsplit(':').next().unwrap_or(all).to_owned(), protocol.to_owned())
            }
        };
        d.push("ports", format!("{port}/{protocol}"));
    }
    if key == "ports" {
        d.leave(key, PUBLISHED);
    }
}

fn ulimits(d: &mut Draft, value: &Value) {
    for (name, limit) in value.as_object().into_iter().flatten() {
        let hard = limit.get("hard").unwrap_or(limit);
        match &name[..] {
            "nofile" => d.put("limits.nofile", hard.clone()),
            _ => d.leave(format!("ulimits {name}"), "only nofile has a key; use a bundle"),
        }
    }
}

fn tmpfs(d: &mut Draft, text: &str) {
    let (target, options) = text.split_once(':').unwrap_or((text, ""));
    let mut mount = json!({"type": "tmpfs", "target": target});
    let (sizes, others): (Vec<_>, Vec<_>) =
        options.split(',').filter(|o| !o.is_empty()).partition(|o| o.starts_with("size="));
    if let Some(bytes) = sizes.first().and_then(|s| size(s.trim_start_matches("size="))) {
        mount["size"] = bytes;
    }
    if !others.is_empty() {
        mount["options"] = others.into();
    }
    d.push("mounts", mount);
}

fn depends_on(d: &mut Draft, value: &Value) {
    if let Value::Array(_) = value {
        return texts(value).into_iter().for_each(|name| d.push("depends_on", json!({"service": name})));
    }
    for (name, how) in value.as_object().into_iter().flatten() {
        let mut on = json!({"service": name});
        match how.get("condition").and_then(Value::as_str) {
            Some("service_healthy") => on["condition"] = "healthy".into(),
            Some("service_completed_successfully") => on["condition"] = "succeeded".into(),
            _ => {}
        }
        if how.get("restart") == Some(&Value::Bool(true)) {
            on["restart"] = true.into();
        }
        if how.get("required") == Some(&Value::Bool(false)) {
            d.leave(format!("depends_on {name} required"), "a dependency is always required");
        }
        d.push("depends_on", on);
    }
}

fn healthcheck(d: &mut Draft, value: &Value) {
    for (key, value) in value.as_object().into_iter().flatten() {
        let to = format!("healthcheck.{key}");
        match &key[..] {
            "interval" | "timeout" | "start_period" | "start_interval" => put_time(d, &to, &to, value),
            _ => d.put(&to, value.clone()),
        }
    }
}

fn deploy(d: &mut Draft, value: &Value) {
    for (key, value) in value.as_object().into_iter().flatten() {
        match &key[..] {
            "replicas" => d.put("replicas", value.clone()),
            "labels" => copy(d, "deploy labels", "labels", value),
            "resources" => resources(d, value),
            "restart_policy" => restart(d, value),
            "update_config" => update(d, value),
            other => d.leave(format!("deploy {other}"), "for a cluster"),
        }
    }
}

fn resources(d: &mut Draft, value: &Value) {
    for (kind, table) in value.as_object().into_iter().flatten() {
        for (name, value) in table.as_object().into_iter().flatten() {
            let from = format!("deploy resources {kind} {name}");
            match (&kind[..], &name[..]) {
                ("limits", "cpus") => put_cpus(d, &from, value),
                ("limits", "memory") => put_size(d, &from, "limits.memory", value),
                ("limits", "pids") => d.put("limits.pids", value.clone()),
                ("reservations", "memory") => put_size(d, &from, "limits.memory_request", value),
                _ => d.leave(from, "no such key in a service file"),
            }
        }
    }
}

fn restart(d: &mut Draft, value: &Value) {
    for (key, value) in value.as_object().into_iter().flatten() {
        match (&key[..], value.as_str()) {
            ("condition", Some("none")) => d.put("restart.policy", "no"),
            ("condition", Some("on-failure")) => d.put("restart.policy", "on-failure"),
            ("condition", Some("any")) => d.put("restart.policy", "always"),
            ("delay", _) => put_time(d, "deploy restart_policy delay", "restart.delay", value),
            (other, _) => d.leave(
                format!("deploy restart_policy {other}"),
                "`restart` of a service file counts otherwise",
            ),
        }
    }
}

fn update(d: &mut Draft, value: &Value) {
    for (key, value) in value.as_object().into_iter().flatten() {
        let from = format!("deploy update_config {key}");
        match (&key[..], value.as_str()) {
            ("order" | "parallelism", _) => d.put(&format!("update.{key}"), value.clone()),
            ("monitor", _) => put_time(d, &from, "update.min_healthy", value),
            _ => d.leave(from, "`update` of a service file rolls back by itself"),
        }
    }
}

fn reason(key: &str) -> &'static str {
    match key {
        "container_name" => "an instance is called NAME.1",
        "build" | "pull_policy" | "platform" => "images are brought by knarrctl image import",
        "networks" | "links" | "external_links" | "dns" | "dns_search" | "extra_hosts" | "mac_address" => {
            "networks are network = \"host\", \"none\" or those of CNI"
        }
        "logging" => "logs are always kept, see [logs]",
        "init" => "a first process that reaps is the image's business",
        "privileged" | "devices" | "sysctls" | "shm_size" | "ipc" | "pid" | "userns_mode"
        | "cgroup_parent" => "no such key in a service file; use a bundle",
        "memswap_limit" | "mem_swappiness" => "`limits.swap` counts without the memory",
        "cpu_shares" | "cpu_quota" | "cpu_period" => "`limits.cpus` and `limits.cpu_weight` count otherwise",
        "profiles" => "every file in the directory is in force",
        key if key.starts_with("x-") => "an extension of somebody",
        _ => "not known here",
    }
}
