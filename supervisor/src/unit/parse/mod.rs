//! From the text of a service file to a checked [`Service`], with the place of every complaint. Pure.

mod image;
mod job;
mod listen;
mod parts;
mod policy;
mod pressure;
mod probes;
mod read;
mod update;
pub(in crate::unit) mod value;

#[cfg(test)]
mod bad_tests;
#[cfg(test)]
mod tests;

use std::path::Path;

use toml::de::{DeTable, DeValue};

pub(in crate::unit) use self::image::env_name;
pub(in crate::unit) use self::job::TIMEZONE;
pub(in crate::unit) use self::parts::CAPABILITIES;
pub(in crate::unit) use self::policy::{HOOK_TIMEOUT, default_logs, default_restart, default_stop};
pub(crate) use self::probes::health_pair;
pub(in crate::unit) use self::probes::{HOST, METHOD, PATH, STATUS, default_probe};
use self::read::{Reader, Table, place};
use crate::api::model::Problem;
use crate::names::ServiceName;
use crate::unit::service::{Hooks, Image, Network, Service};

/// The largest service file in bytes.
pub const SIZE_MAX: usize = 1 << 20;
/// The most instances of one service.
const REPLICAS_MAX: i64 = 1000;

/// Reads a service file. `file` is only named in the problems.
///
/// # Errors
/// Everything that is wrong with the text, in the order of its lines. A text that is not TOML at all has only the
/// complaints of its syntax.
pub fn parse(name: &ServiceName, file: &Path, text: &str) -> Result<Service, Vec<Problem>> {
    let mut r = Reader::new(file.display().to_string(), text);
    let service = whole(&mut r, name, text);
    let problems = r.problems();
    match service {
        Some(service) if problems.is_empty() => Ok(service),
        _ => Err(problems),
    }
}

/// `None` only with a complaint.
fn whole(r: &mut Reader, name: &ServiceName, text: &str) -> Option<Service> {
    if text.len() > SIZE_MAX {
        r.say(None, "", format!("file of {} bytes is longer than {SIZE_MAX}", text.len()));
        return None;
    }
    if control_bytes(r, text) {
        return None;
    }
    let (document, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        for e in errors {
            r.say(e.span().or(Some(0..0)), "", format!("not TOML: {}", e.message()));
        }
        return None;
    }
    let table = Table::file(r, document.get_ref());
    service(r, name, &table)
}

/// Where the value of a key, `depends_on[1].service`, is in a service file: line and column from 1.
pub fn locate(text: &str, key: &str) -> Option<(u32, u32)> {
    let document = DeTable::parse(text).ok()?;
    let mut at = document.span();
    let mut value: Option<&DeValue> = None;
    for step in key.split(['.', '[']) {
        let next = match (step.strip_suffix(']'), value) {
            (Some(index), Some(DeValue::Array(list))) => list.get(index.parse::<usize>().ok()?)?,
            (None, Some(DeValue::Table(table))) => table.get(step)?,
            (None, None) => document.get_ref().get(step)?,
            _ => return None,
        };
        at = next.span();
        value = Some(next.get_ref());
    }
    Some(place(text, at.start))
}

/// Complains about the first control character that is no tab or line end.
fn control_bytes(r: &mut Reader, text: &str) -> bool {
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let line_end = c == '\r' && chars.peek().is_some_and(|(_, next)| *next == '\n');
        if c.is_control() && c != '\n' && c != '\t' && !line_end {
            r.say(Some(at..at), "", format!("control character {c:?} in the file"));
            return true;
        }
    }
    false
}

fn service(r: &mut Reader, name: &ServiceName, t: &Table) -> Option<Service> {
    let description = t.get(r, "description").and_then(|v| v.text(r));
    let labels = t.get(r, "labels").map(|v| parts::labels(r, &v)).unwrap_or_default();
    let runtime = t.get(r, "runtime").and_then(|v| image::runtime(r, &v));
    let replicas = t.get(r, "replicas").and_then(|v| v.natural(r, 0..=REPLICAS_MAX)).unwrap_or(1);
    let process = image::process(r, t);
    let image = image::image(r, t, process.command.is_some());
    let limits = parts::section(r, t, "limits", |r, t| {
        parts::limits(r, t, image.as_ref().is_some_and(Image::has_defaults))
    });
    let security = parts::section(r, t, "security", parts::security);
    let owner = process.user.as_ref().map_or((0, 0), |u| (u.uid, u.gid));
    let mut targets = parts::Targets::default();
    let mounts = t.get(r, "mounts").map(|v| v.each(r, |r, v| parts::mount(r, v))).unwrap_or_default();
    let secrets = t.get(r, "secrets").map(|v| v.each(r, |r, v| parts::file(r, v, true, owner)));
    let configs = t.get(r, "configs").map(|v| v.each(r, |r, v| parts::file(r, v, false, owner)));
    let mounts = targets.take(r, mounts, |m| &m.target, false);
    let files = secrets.into_iter().chain(configs).flatten().collect();
    let files = targets.take(r, files, |f| &f.target, true);
    let network = t.get(r, "network").and_then(|v| parts::network(r, &v)).unwrap_or(Network::Default);
    let ports = t.get(r, "ports").map(|v| v.each(r, parts::port)).unwrap_or_default();
    let listen = t.get(r, "listen").map(|v| listen::listen(r, &v)).unwrap_or_default();
    let mut restart = policy::restart(r, t);
    let job = job::job(r, t, &mut restart, replicas);
    let stop = policy::stop(r, t);
    let pressure = {
        let limited = limits.memory.is_some() || matches!(image, Some(Image::Bundle(_)));
        let slowed = crate::memory::limits::may_be_slowed(&limits);
        parts::section(r, t, "pressure", |r, t| pressure::pressure(r, t, limited, slowed))
    };
    let probes = probes::probes(r, t);
    let update = update::update(r, t, &probes);
    let depends_on = t.get(r, "depends_on").map(|v| policy::dependencies(r, &v, name)).unwrap_or_default();
    let part_of = t.get(r, "part_of").and_then(|v| policy::part_of(r, &v, name, job.as_ref()));
    let hooks: Hooks = parts::section(r, t, "hooks", policy::hooks);
    let logs = policy::logs(r, t);
    Some(Service {
        name: name.clone(),
        description,
        labels,
        runtime,
        replicas,
        image: image?,
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
    })
}
