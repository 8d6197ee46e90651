//! Pods as a kubelet takes them from files (core/v1 Pod): the first container is the service, the others are parts of it.

use serde_json::{Map, Value, json};

use super::draft::{Draft, ENTRYPOINT};
use super::values::{cpus, quantity, text, texts};

/// One for each container.
///
/// # Errors
/// It is no pod.
pub(super) fn drafts(file: &Value) -> Result<Vec<Draft>, String> {
    if file.get("kind").and_then(Value::as_str) != Some("Pod") {
        return Err("want `kind: Pod`".into());
    }
    let spec = file.get("spec").and_then(Value::as_object).ok_or("no `spec` in it")?;
    let name = file.pointer("/metadata/name").and_then(Value::as_str).ok_or("no `metadata.name` in it")?;
    let list = |key: &str| spec.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let mut drafts = Vec::new();
    for (number, container) in list("containers").iter().enumerate() {
        let own = container.get("name").and_then(Value::as_str).unwrap_or_default();
        let mut d = Draft::new(&if number == 0 { name.to_owned() } else { format!("{name}-{own}") });
        if number == 0 {
            whole(&mut d, file, spec);
        } else {
            d.put("part_of", name);
        }
        take(&mut d, container, spec);
        drafts.push(d);
    }
    let mut before: Option<String> = None;
    for container in list("initContainers") {
        let own = container.get("name").and_then(Value::as_str).unwrap_or_default();
        let mut d = Draft::new(&format!("{name}-{own}"));
        d.put("part_of", name);
        // One that always restarts is a sidecar (since Kubernetes 1.29); the others are done one after the other.
        if container.get("restartPolicy").and_then(Value::as_str) != Some("Always") {
            d.put("job.attempts", 1000);
            if let Some(before) = before.replace(d.name.clone()) {
                d.push("depends_on", json!({"service": before, "condition": "succeeded"}));
            }
        }
        take(&mut d, &container, spec);
        drafts.push(d);
    }
    Ok(drafts)
}

/// What is of the pod and not of one container.
fn whole(d: &mut Draft, file: &Value, spec: &Map<String, Value>) {
    for (key, value) in file.get("metadata").and_then(Value::as_object).into_iter().flatten() {
        match &key[..] {
            "name" => {}
            "labels" => d.put("labels", value.clone()),
            other => d.leave(format!("metadata.{other}"), "for a cluster"),
        }
    }
    for (key, value) in spec {
        match (&key[..], value.as_str()) {
            (
                "containers" | "initContainers" | "volumes" | "securityContext" | "restartPolicy"
                | "hostNetwork",
                _,
            ) => {}
            ("hostname", Some(name)) => d.put("hostname", name),
            ("terminationGracePeriodSeconds", _) => {
                d.put("stop.grace", format!("{}s", text(value).unwrap_or_default()));
            }
            (other, _) => d.leave(format!("spec.{other}"), "no such key in a service file, or for a cluster"),
        }
    }
}

fn take(d: &mut Draft, container: &Value, spec: &Map<String, Value>) {
    match spec.get("restartPolicy").and_then(Value::as_str) {
        Some("Never") => d.put("restart.policy", "no"),
        Some("OnFailure") => d.put("restart.policy", "on-failure"),
        _ => d.put("restart.policy", "always"),
    }
    if spec.get("hostNetwork") == Some(&Value::Bool(true)) {
        d.put("network", "host");
    }
    command(d, container);
    // What the pod says holds where the container says nothing.
    let mut context = spec.get("securityContext").and_then(Value::as_object).cloned().unwrap_or_default();
    context.extend(container.get("securityContext").and_then(Value::as_object).cloned().unwrap_or_default());
    security(d, &context);
    for (key, value) in container.as_object().into_iter().flatten() {
        match &key[..] {
            "name" | "command" | "args" | "securityContext" | "restartPolicy" => {}
            "image" => d.put("image", value.clone()),
            "workingDir" => d.put("workdir", value.clone()),
            "tty" | "stdin" => d.put(key, value.clone()),
            "env" => environment(d, value),
            "resources" => resources(d, value),
            "ports" => ports(d, value),
            "volumeMounts" => mounts(d, value, spec.get("volumes")),
            "livenessProbe" => probe(d, "liveness", value),
            "readinessProbe" => probe(d, "readiness", value),
            "startupProbe" => probe(d, "startup", value),
            other => d.leave(other, "no such key in a service file, or for a cluster"),
        }
    }
}

fn command(d: &mut Draft, container: &Value) {
    let list = |key: &str| container.get(key).map(texts).unwrap_or_default();
    let (command, args) = (list("command"), list("args"));
    if command.is_empty() && args.is_empty() {
        return;
    }
    if command.is_empty() {
        d.leave("args", ENTRYPOINT);
    }
    let all = [command, args].concat();
    if all.iter().any(|w| w.contains("$(")) {
        d.leave("command", "variables in it are not replaced: they stand there as they are");
    }
    d.put("command", all);
}

fn environment(d: &mut Draft, value: &Value) {
    let mut env = Map::new();
    for entry in value.as_array().into_iter().flatten() {
        let name = entry.get("name").and_then(text).unwrap_or_default();
        match entry.get("valueFrom") {
            None => drop(env.insert(name, entry.get("value").and_then(text).unwrap_or_default().into())),
            Some(_) => {
                d.leave(format!("env {name}"), "a value of the cluster: write it down, or use env_files")
            }
        }
    }
    d.put("env", env);
}

fn resources(d: &mut Draft, value: &Value) {
    for (kind, table) in value.as_object().into_iter().flatten() {
        for (name, value) in table.as_object().into_iter().flatten() {
            let from = format!("resources.{kind}.{name}");
            let found = text(value);
            let found = found.as_deref();
            let (to, found) = match (&kind[..], &name[..]) {
                ("limits", "memory") => ("limits.memory", found.and_then(quantity)),
                ("requests", "memory") => ("limits.memory_request", found.and_then(quantity)),
                ("limits", "cpu") => ("limits.cpus", found.and_then(cpus)),
                _ => ("", None),
            };
            match found {
                Some(found) => d.put(to, found),
                None => d.leave(from, "no such key in a service file"),
            }
        }
    }
}

fn security(d: &mut Draft, context: &Map<String, Value>) {
    let id = |key: &str| context.get(key).and_then(Value::as_i64);
    match (id("runAsUser"), id("runAsGroup")) {
        (None, None) => {}
        (uid, gid) => d.put("user", format!("{}:{}", uid.unwrap_or(0), gid.unwrap_or(0))),
    }
    for (key, value) in context {
        match &key[..] {
            "runAsUser" | "runAsGroup" | "runAsNonRoot" => {}
            "readOnlyRootFilesystem" => d.put("root_read_only", value.clone()),
            "allowPrivilegeEscalation" => d.put("security.no_new_privileges", value != &Value::Bool(true)),
            "supplementalGroups" if id("runAsUser").is_some() => d.put("groups", value.clone()),
            "capabilities" => {
                for (list, to) in [("add", "capabilities_add"), ("drop", "capabilities_drop")] {
                    if let Some(names) = value.get(list) {
                        d.put(&format!("security.{to}"), names.clone());
                    }
                }
            }
            "seccompProfile" => match value.get("type").and_then(Value::as_str) {
                Some("RuntimeDefault") => d.put("security.seccomp", "default"),
                Some("Unconfined") => d.put("security.seccomp", "unconfined"),
                _ => d.leave("securityContext.seccompProfile", "name the file in security.seccomp"),
            },
            other => {
                d.leave(format!("securityContext.{other}"), "no such key in a service file; use a bundle")
            }
        }
    }
}

fn ports(d: &mut Draft, value: &Value) {
    for entry in value.as_array().into_iter().flatten() {
        let port = entry.get("containerPort").and_then(text).unwrap_or_default();
        let protocol = entry.get("protocol").and_then(text).unwrap_or_else(|| "TCP".into());
        d.push("ports", format!("{port}/{}", protocol.to_ascii_lowercase()));
        if entry.get("hostPort").is_some() {
            d.leave("ports hostPort", "nothing is published: `listen` opens a port on the host");
        }
    }
}

fn mounts(d: &mut Draft, value: &Value, volumes: Option<&Value>) {
    for entry in value.as_array().into_iter().flatten() {
        let of = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
        let (name, target) = (of("name"), of("mountPath"));
        let mut all = volumes.and_then(Value::as_array).into_iter().flatten();
        let volume = all.find(|v| v.get("name").and_then(Value::as_str) == Some(name));
        let path = volume.and_then(|v| v.pointer("/hostPath/path")).and_then(Value::as_str);
        let empty = volume.and_then(|v| v.get("emptyDir"));
        let mut mount = match (path, empty) {
            (Some(path), _) => json!({"source": path, "target": target}),
            (None, Some(dir)) if dir.get("medium").and_then(Value::as_str) == Some("Memory") => {
                let mut mount = json!({"type": "tmpfs", "target": target});
                if let Some(size) = dir.get("sizeLimit").and_then(text).as_deref().and_then(quantity) {
                    mount["size"] = size;
                }
                mount
            }
            _ => {
                d.leave(
                    format!("volumeMounts {target}"),
                    "only hostPath and emptyDir in memory can be mounted",
                );
                continue;
            }
        };
        if entry.get("readOnly") == Some(&Value::Bool(true)) {
            mount["read_only"] = true.into();
        }
        if entry.get("subPath").is_some() {
            d.leave(format!("volumeMounts {target} subPath"), "mount the directory itself");
        }
        d.push("mounts", mount);
    }
}

/// The words are the kubelet's; what a service file takes otherwise is said otherwise.
fn probe(d: &mut Draft, kind: &str, value: &Value) {
    let to = |key: &str| format!("probes.{kind}.{key}");
    for (key, value) in value.as_object().into_iter().flatten() {
        let from = format!("{kind}Probe.{key}");
        let time = || format!("{}s", text(value).unwrap_or_default());
        match &key[..] {
            "exec" => d.put(&to("exec"), value.get("command").cloned().unwrap_or_default()),
            "tcpSocket" => endpoint(d, &to("tcp"), &from, value),
            "grpc" => endpoint(d, &to("grpc"), &from, value),
            "httpGet" => {
                endpoint(d, &to("http"), &from, value);
                let mut headers = Map::new();
                for header in value.get("httpHeaders").and_then(Value::as_array).into_iter().flatten() {
                    let of = |key: &str| header.get(key).and_then(text).unwrap_or_default();
                    headers.insert(of("name"), of("value").into());
                }
                if !headers.is_empty() {
                    d.put(&to("http.headers"), headers);
                }
                if value.get("scheme").and_then(Value::as_str) == Some("HTTPS") {
                    // The kubelet looks at no certificate.
                    d.put(&to("http.tls.verify"), false);
                }
            }
            "initialDelaySeconds" => d.put(&to("initial_delay"), time()),
            "periodSeconds" => d.put(&to("period"), time()),
            "timeoutSeconds" => d.put(&to("timeout"), time()),
            "terminationGracePeriodSeconds" => d.put(&to("grace"), time()),
            "successThreshold" => d.put(&to("success_threshold"), value.clone()),
            "failureThreshold" => d.put(&to("failure_threshold"), value.clone()),
            _ => d.leave(from, "no such key in a service file"),
        }
    }
}

fn endpoint(d: &mut Draft, to: &str, from: &str, value: &Value) {
    for (key, value) in value.as_object().into_iter().flatten() {
        match &key[..] {
            "port" if value.is_string() => {
                d.leave(format!("{from}.port"), "a name of a port: want its number")
            }
            "port" | "path" | "host" | "service" => d.put(&format!("{to}.{key}"), value.clone()),
            "scheme" | "httpHeaders" => {}
            other => d.leave(format!("{from}.{other}"), "no such key in a service file"),
        }
    }
}
