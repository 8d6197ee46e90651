//! What the service file says, put over a configuration. Works on JSON, so that nothing the bundle has is lost on the way.
//! Reads only environment files.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::{Failure, Host, env, limits, listen, notify, pressure, root};
use crate::names::RunId;
use crate::unit::service::{FileMount, MountKind, Network, Process, Seccomp, Security, Service, User};

type Object = Map<String, Value>;

/// The object at a key, made when it is missing.
pub(super) fn object<'a>(parent: &'a mut Object, key: &str) -> Result<&'a mut Object, Failure> {
    let value = parent.entry(key).or_insert_with(|| json!({}));
    if value.is_null() {
        *value = json!({});
    }
    value.as_object_mut().ok_or_else(|| wrong(key, "an object"))
}

/// The list at a key, made when it is missing.
pub(super) fn list<'a>(parent: &'a mut Object, key: &str) -> Result<&'a mut Vec<Value>, Failure> {
    let value = parent.entry(key).or_insert_with(|| json!([]));
    if value.is_null() {
        *value = json!([]);
    }
    value.as_array_mut().ok_or_else(|| wrong(key, "a list"))
}

fn wrong(key: &str, want: &str) -> Failure {
    Failure::new("bundle-invalid", format!("config.json: {key} is not {want}"))
}

/// Everything but the mounts.
pub(super) fn apply(
    config: &mut Value,
    service: &Service,
    run: &RunId,
    cgroups_path: &str,
    profile: Option<Value>,
    host: Host,
) -> Result<(), Failure> {
    let config = config.as_object_mut().ok_or_else(|| wrong("the whole", "an object"))?;
    if !config.contains_key("process") && service.process.command.is_none() {
        return Err(Failure::new(
            "bundle-invalid",
            "config.json has no process, and the service file no command",
        ));
    }
    let from_root = service.image.has_defaults();
    let hostname = service.process.hostname.as_deref();
    if let Some(name) = hostname {
        config.insert("hostname".into(), json!(name));
    }
    let process = object(config, "process")?;
    put_process(process, &service.process)?;
    put_environment(process, service, run, hostname)?;
    put_security(process, &service.security, from_root)?;
    limits::put_process(process, &service.limits, host)?;
    let linux = object(config, "linux")?;
    linux.insert("cgroupsPath".into(), json!(cgroups_path));
    match service.security.seccomp {
        Seccomp::Default => {}
        Seccomp::Unconfined => drop(linux.remove("seccomp")),
        Seccomp::File(_) => drop(profile.map(|p| linux.insert("seccomp".into(), p))),
    }
    let namespaces = list(linux, "namespaces")?;
    put_network(namespaces, &service.network);
    listen::check(namespaces, service)?;
    if hostname.is_some() && !namespaces.iter().any(|n| n["type"] == "uts") {
        namespaces.push(json!({ "type": "uts" }));
    }
    limits::put_resources(object(linux, "resources")?, service, host)
}

fn put_process(process: &mut Object, wanted: &Process) -> Result<(), Failure> {
    let Process { command, env: _, env_files: _, workdir, user, tty, stdin: _, hostname: _ } = wanted;
    if let Some(command) = command {
        process.insert("args".into(), json!(command));
        // Means the program on other systems; two programs would be given.
        process.remove("commandLine");
    }
    if let Some(dir) = workdir {
        process.insert("cwd".into(), json!(dir));
    }
    process.entry("cwd").or_insert_with(|| json!("/"));
    if let Some(User { uid, gid, groups }) = user {
        let user = object(process, "user")?;
        user.insert("uid".into(), json!(uid));
        user.insert("gid".into(), json!(gid));
        user.remove("username");
        match groups.is_empty() {
            true => drop(user.remove("additionalGids")),
            false => drop(user.insert("additionalGids".into(), json!(groups))),
        }
    }
    if *tty {
        process.insert("terminal".into(), json!(true));
    }
    Ok(())
}

/// The bundle's environment, then files, then the service file's, then the daemon's own words.
fn put_environment(
    process: &mut Object,
    service: &Service,
    run: &RunId,
    hostname: Option<&str>,
) -> Result<(), Failure> {
    let mut new: Vec<(String, String)> = Vec::new();
    if let Some(name) = hostname {
        new.push(("HOSTNAME".into(), name.into()));
    }
    for file in &service.process.env_files {
        new.extend(env::read(file)?);
    }
    new.extend(service.process.env.clone());
    new.extend(listen::environment(service));
    new.extend(notify::environment(service));
    new.extend(pressure::environment(service));
    new.push(("KNARR_SERVICE".into(), run.instance.service.to_string()));
    new.push(("KNARR_INSTANCE".into(), run.instance.to_string()));
    let terminal = process.get("terminal").and_then(Value::as_bool).unwrap_or(false);
    let env = list(process, "env")?;
    for (name, value) in new {
        set(env, &name, &value);
    }
    let has = |env: &[Value], name: &str| env.iter().filter_map(Value::as_str).any(|e| env::is(e, name));
    if !has(env, "PATH") {
        env.push(json!(root::PATH));
    }
    if terminal && !has(env, "TERM") {
        env.push(json!("TERM=xterm"));
    }
    Ok(())
}

/// In the place of the last one of this name, or at the end.
fn set(env: &mut Vec<Value>, name: &str, value: &str) {
    let place = env.iter().rposition(|e| e.as_str().is_some_and(|e| env::is(e, name)));
    let entry = json!(format!("{name}={value}"));
    match place.and_then(|i| env.get_mut(i)) {
        Some(old) => *old = entry,
        None => env.push(entry),
    }
}

fn put_security(process: &mut Object, security: &Security, from_root: bool) -> Result<(), Failure> {
    let Security { capabilities_add, capabilities_drop, seccomp: _, no_new_privileges } = security;
    if let Some(value) = no_new_privileges.or(from_root.then_some(true)) {
        process.insert("noNewPrivileges".into(), json!(value));
    }
    let plain_user = process.get("user").and_then(|u| u.get("uid")).and_then(Value::as_u64).unwrap_or(0) != 0;
    let change = !capabilities_add.is_empty() || !capabilities_drop.is_empty();
    if change && process.get("capabilities").is_none_or(Value::is_null) {
        let default = root::default_capabilities().map_err(|e| Failure::new("internal", e.to_string()))?;
        process.insert("capabilities".into(), default);
    }
    if !process.contains_key("capabilities") {
        return Ok(());
    }
    let sets = object(process, "capabilities")?;
    for name in ["bounding", "effective", "permitted", "inheritable", "ambient"] {
        // execve(2) takes all but the ambient ones from a user other than 0; what is asked for by name shall arrive.
        let given = plain_user || !["inheritable", "ambient"].contains(&name);
        let set = list(sets, name)?;
        set.retain(|c| !has(capabilities_drop, c.as_str().unwrap_or("")));
        for wanted in capabilities_add.iter().filter(|_| given) {
            match wanted.as_str() {
                "ALL" => {
                    set.extend(crate::unit::parse::CAPABILITIES.iter().map(|c| json!(format!("CAP_{c}"))))
                }
                one => set.push(json!(one)),
            }
        }
        set.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
        set.dedup();
    }
    Ok(())
}

fn has(list: &[String], capability: &str) -> bool {
    list.iter().any(|c| c == "ALL" || c == capability)
}

fn put_network(namespaces: &mut Vec<Value>, network: &Network) {
    match network {
        Network::Default => {}
        Network::Host => namespaces.retain(|n| n["type"] != "network"),
        Network::None | Network::Cni(_) => {
            namespaces.retain(|n| n["type"] != "network");
            namespaces.push(json!({ "type": "network" }));
        }
    }
}

/// The service's mounts and files, each in the place of a mount of the bundle at the same path; parents come first.
pub(super) fn mounts(
    config: &mut Value,
    service: &Service,
    copies: &[PathBuf],
    told: Vec<(&str, Value)>,
) -> Result<(), Failure> {
    let mut new: Vec<(&str, Value)> = told;
    for mount in &service.mounts {
        let mut options = vec![if mount.read_only { "ro" } else { "rw" }.to_owned()];
        let (kind, source) = match &mount.kind {
            MountKind::Bind(source) => {
                exists(source)?;
                options.extend(["rbind".into(), "rprivate".into()]);
                ("bind", super::text_of(source)?)
            }
            MountKind::Tmpfs(size) => {
                options.extend(["nosuid".into(), "nodev".into()]);
                // Without a word runtimes disagree, and some leave it to root alone.
                if !mount.options.iter().any(|o| o.starts_with("mode=")) {
                    options.push("mode=1777".into());
                }
                options.extend(size.map(|n| format!("size={n}")));
                ("tmpfs", json!("tmpfs"))
            }
        };
        options.extend(mount.options.iter().cloned());
        let value =
            json!({ "destination": mount.target, "type": kind, "source": source, "options": options });
        new.push((&mount.target, value));
    }
    for (FileMount { target, .. }, copy) in service.files.iter().zip(copies) {
        let options = ["bind", "ro", "nosuid", "nodev", "noexec", "private"];
        let source = super::text_of(copy)?;
        new.push((
            target,
            json!({ "destination": target, "type": "bind", "source": source, "options": options }),
        ));
    }
    new.sort_by_key(|(target, _)| target.matches('/').count());
    let config = config.as_object_mut().ok_or_else(|| wrong("the whole", "an object"))?;
    let mounts = list(config, "mounts")?;
    let plain = |v: &Value| v.as_str().unwrap_or("").trim_end_matches('/').to_owned();
    mounts.retain(|m| !new.iter().any(|(target, _)| *target == plain(&m["destination"])));
    mounts.extend(new.into_iter().map(|(_, value)| value));
    Ok(())
}

fn exists(source: &Path) -> Result<(), Failure> {
    let found = std::fs::metadata(source);
    found.map(drop).map_err(|e| Failure::new("mount-missing", format!("{}: {e}", source.display())))
}
