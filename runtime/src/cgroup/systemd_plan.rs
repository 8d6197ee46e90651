//! `slice:prefix:name` and limits turned into a unit and its properties: pure data, as `knarr check --plan` prints it.
//! May use: `spec`, `error`, the cgroup module's types.
#![forbid(unsafe_code)]

use super::plan::{Plan, Write, plan};
use super::systemd::{Manager, Unit, UnitPlan};
use super::systemd_bus::Which;
use super::systemd_text as text;
use super::systemd_value::Value;
use super::{Layout, limits};
use crate::error::{Code, Context, Error, Result, quoted};
use crate::spec::Resources;
use std::collections::BTreeMap;

/// Annotations that are properties of the unit.
const PREFIX: &str = "org.systemd.property.";
/// UNIT_NAME_MAX of systemd is 256 with the final zero.
const LONGEST_NAME: usize = 255;
/// The least version that knows `AllowedCPUs` and `AllowedMemoryNodes`, and `CPUQuotaPeriodUSec` (242).
const SETS_SINCE: u32 = 244;
const PERIOD_SINCE: u32 = 242;

/// As [`plan`], for a unit of systemd: `cgroups_path` is `slice:prefix:name`, and without one the unit is
/// `knarr-ID.scope` in the system's slice (`user.slice` for a user's systemd).
///
/// # Errors
/// Those of [`plan`]; a path of another form; an annotation that is no property.
pub fn plan_unit(
    layout: &Layout,
    manager: &Manager,
    (cgroups_path, id): (&str, &str),
    resources: &Resources,
    annotations: &BTreeMap<String, String>,
) -> Result<Plan> {
    let place = Place::of(cgroups_path, id, manager.bus)?;
    let path = format!("{}{}/{}", manager.home, expand(&place.slice)?, place.name);
    let mut plan = plan(layout, &path, id, resources)?;
    let mut properties = place.properties(id);
    let version = if layout.v1.is_empty() { "IO" } else { "BlockIO" };
    for what in ["CPU", "Memory", "Tasks", version] {
        properties.push((format!("{what}Accounting"), Value::Bool(true)));
    }
    properties.extend(of_writes(&plan.writes, manager.version));
    if !layout.v1.is_empty() {
        properties.extend(of_devices(&plan.writes, manager, &mut plan.warnings));
    }
    properties.extend(of_annotations(annotations)?);
    let unit = Unit { name: place.name, bus: manager.bus, description: description(id) };
    plan.unit = Some(UnitPlan { unit, properties });
    Ok(plan)
}

/// The text in `systemctl status`.
fn description(id: &str) -> String {
    format!("knarr container {id}")
}

/// Slice and unit.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    slice: String,
    name: String,
}

impl Place {
    fn of(cgroups_path: &str, id: &str, bus: Which) -> Result<Place> {
        let wrong = |text: String| Err(Error::spec("/linux/cgroupsPath", text));
        let default = match bus {
            Which::System => "system.slice",
            Which::User => "user.slice",
        };
        let parts: Vec<&str> = cgroups_path.split(':').collect();
        let (slice, prefix, name) = match parts.as_slice() {
            [""] => ("", "knarr", id),
            [slice, prefix, name] => (*slice, *prefix, *name),
            // runc's words, which callers know.
            _ => {
                return wrong(format!(
                    "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got {} instead",
                    quoted(cgroups_path)
                ));
            }
        };
        let slice = if slice.is_empty() { default } else { slice };
        let unit = match name.ends_with(".slice") {
            true => name.to_string(),
            false => format!("{prefix}-{name}.scope"),
        };
        // systemd.unit(5): ASCII letters, digits and ":-_.\"; "@" has a meaning that no container wants.
        let fine = |c: char| c.is_ascii_alphanumeric() || ":-_.\\".contains(c);
        if name.is_empty() || !unit.chars().all(fine) || unit.len() > LONGEST_NAME {
            return wrong(format!(
                "not the name of a unit: {}, want at most {LONGEST_NAME} letters, digits and \":-_.\\\"",
                quoted(&unit)
            ));
        }
        expand(slice)?;
        if unit.ends_with(".slice") {
            expand(&unit)?;
        }
        Ok(Place { slice: slice.to_string(), name: unit })
    }

    fn is_slice(&self) -> bool {
        self.name.ends_with(".slice")
    }

    fn properties(&self, id: &str) -> Vec<(String, Value)> {
        let text = |s: &str| Value::Str(s.to_string());
        let mut all = vec![("Description", Value::Str(description(id)))];
        match self.is_slice() {
            // A slice's parent follows from its name; it only has to be there.
            true => all.push(("Wants", Value::Array("s".into(), vec![text(&self.slice)]))),
            // The groups below are ours: systemd neither moves processes in them nor changes their files.
            false => all.extend([("Slice", text(&self.slice)), ("Delegate", Value::Bool(true))]),
        }
        // It goes when nobody is inside, also when it failed, or its name would stay taken.
        all.push(("CollectMode", text("inactive-or-failed")));
        // Or it would wait for, and conflict with, what ordinary services do.
        all.push(("DefaultDependencies", Value::Bool(false)));
        all.into_iter().map(|(n, v)| (n.to_string(), v)).collect()
    }
}

/// Where a slice's group is: `a-b.slice` is `/a.slice/a-b.slice`, `-.slice` is the root (systemd.slice(5)).
fn expand(slice: &str) -> Result<String> {
    let wrong = || {
        let text = format!("invalid slice name: {}, want a form such as \"a-b.slice\"", quoted(slice));
        Err(Error::spec("/linux/cgroupsPath", text))
    };
    let Some(name) = slice.strip_suffix(".slice") else { return wrong() };
    if name == "-" {
        return Ok(String::new());
    }
    let fine = |c: char| c.is_ascii_alphanumeric() || ":_.\\".contains(c);
    let mut path = String::new();
    let mut so_far = String::new();
    for part in name.split('-') {
        if part.is_empty() || !part.chars().all(fine) || part.starts_with('.') {
            return wrong();
        }
        so_far.push_str(part);
        path.push_str(&format!("/{so_far}.slice"));
        so_far.push('-');
    }
    match slice.len() > LONGEST_NAME {
        true => wrong(),
        false => Ok(path),
    }
}

/// What systemd has a property for, of the values that are written to files. It is told so that it writes the same when
/// it writes, after `systemctl set-property` or when it is reloaded. All values are written to the files as well.
pub fn of_writes(writes: &[Write], version: u32) -> Vec<(String, Value)> {
    let mut out: Vec<(&str, Value)> = Vec::new();
    let (mut quota, mut period) = (None, None);
    for (file, text) in writes.iter().flat_map(|w| &w.files) {
        let number = || match text.as_str() {
            "max" | "-1" => Some(Value::U64(u64::MAX)),
            text => text.parse().ok().map(Value::U64),
        };
        let (name, value) = match file.as_str() {
            "memory.max" => ("MemoryMax", number()),
            "memory.high" => ("MemoryHigh", number()),
            "memory.low" => ("MemoryLow", number()),
            "memory.min" => ("MemoryMin", number()),
            "memory.swap.max" => ("MemorySwapMax", number()),
            "memory.limit_in_bytes" => ("MemoryLimit", number()),
            "pids.max" => ("TasksMax", number()),
            "cpu.weight" => ("CPUWeight", number()),
            "cpu.shares" => ("CPUShares", number()),
            "io.weight" => ("IOWeight", text.trim_start_matches("default ").parse().ok().map(Value::U64)),
            "blkio.weight" => ("BlockIOWeight", number()),
            "cpuset.cpus" if version >= SETS_SINCE => ("AllowedCPUs", bits(text)),
            "cpuset.mems" if version >= SETS_SINCE => ("AllowedMemoryNodes", bits(text)),
            "cpu.max" => {
                let mut words = text.split_whitespace();
                quota = words.next().and_then(|w| w.parse::<u64>().ok());
                period = words.next().and_then(|w| w.parse::<u64>().ok());
                continue;
            }
            "cpu.cfs_quota_us" => {
                quota = text.parse().ok();
                continue;
            }
            "cpu.cfs_period_us" => {
                period = text.parse().ok();
                continue;
            }
            _ => continue,
        };
        out.extend(value.map(|v| (name, v)));
    }
    if let Some(period) = period.filter(|_| version >= PERIOD_SINCE) {
        out.push(("CPUQuotaPeriodUSec", Value::U64(period)));
    }
    if quota.is_some() || period.is_some() {
        out.push(("CPUQuotaPerSecUSec", Value::U64(per_second(quota, period.unwrap_or(100_000)))));
    }
    out.into_iter().map(|(n, v)| (n.to_string(), v)).collect()
}

/// Microseconds of CPU time in a second. systemd counts in whole percents, so it must not come out below the limit.
fn per_second(quota: Option<u64>, period: u64) -> u64 {
    match quota {
        Some(quota) if period > 0 => {
            let exact = u128::from(quota) * 1_000_000 / u128::from(period);
            u64::try_from(exact.next_multiple_of(10_000)).unwrap_or(u64::MAX)
        }
        _ => u64::MAX,
    }
}

/// More CPUs than any kernel is built for: a list may name any number.
const MOST_CPUS: u32 = 1 << 16;

/// A list of CPUs as a set, bit 0 of byte 0 first.
fn bits(list: &str) -> Option<Value> {
    let mut bytes = Vec::new();
    for (first, last) in limits::ranges(list)? {
        if last >= MOST_CPUS {
            return None;
        }
        for n in first..=last {
            let at = (n / 8) as usize;
            if bytes.len() <= at {
                bytes.resize(at + 1, 0u8);
            }
            bytes[at] |= 1 << (n % 8);
        }
    }
    Some(Value::bytes(bytes))
}

/// The device lists of cgroup v1, where systemd writes its own whenever it writes anything: a list that allows all needs no
/// words. What systemd has no words for is in the warnings.
fn of_devices(writes: &[Write], manager: &Manager, warnings: &mut Vec<String>) -> Vec<(String, Value)> {
    let mut lists = writes.iter().flat_map(|w| &w.files).filter(|(f, _)| f.starts_with("devices."));
    if lists.next().is_none_or(|(file, _)| file != "devices.deny") {
        return Vec::new();
    }
    let mut allowed = Vec::new();
    for (_, line) in lists {
        match device(line, manager) {
            Some(entry) => allowed.push(entry),
            None => warnings.push(format!(
                "{}: systemd has no words for {line}; the container loses it when systemd is reloaded",
                limits::at("devices")
            )),
        }
    }
    vec![
        ("DevicePolicy".into(), Value::Str("strict".into())),
        ("DeviceAllow".into(), Value::Array("(ss)".into(), allowed)),
    ]
}

/// `c 1:3 rwm` as systemd names it (systemd.resource-control(5)).
fn device(line: &str, manager: &Manager) -> Option<Value> {
    let mut words = line.split_whitespace();
    let kind = match words.next()? {
        "c" => "char",
        "b" => "block",
        _ => return None,
    };
    let (major, minor) = words.next()?.split_once(':')?;
    let node = match (major, minor) {
        ("*", "*") => format!("{kind}-*"),
        ("*", _) => return None,
        (major, "*") => {
            let name = manager.majors.get(&(kind.to_string(), major.parse().ok()?))?;
            format!("{kind}-{name}")
        }
        _ => format!("/dev/{kind}/{major}:{minor}"),
    };
    Some(Value::Struct(vec![Value::Str(node), Value::Str(words.next()?.to_string())]))
}

/// The drivers of a /proc/devices file: `char` or `block` and major number, and their first name.
pub(super) fn majors(text: &str) -> BTreeMap<(String, u32), String> {
    let mut out = BTreeMap::new();
    let mut kind = "";
    for line in text.lines() {
        match (line, line.trim().split_once(' ')) {
            ("Character devices:", _) => kind = "char",
            ("Block devices:", _) => kind = "block",
            (_, Some((number, name))) => {
                if let Ok(n) = number.parse() {
                    out.entry((kind.to_string(), n)).or_insert_with(|| name.to_string());
                }
            }
            _ => {}
        }
    }
    out
}

/// `org.systemd.property.NAME` annotations. Names in `Sec` are times in seconds, which systemd has in microseconds under
/// a name in `USec`.
fn of_annotations(annotations: &BTreeMap<String, String>) -> Result<Vec<(String, Value)>> {
    let one = |(key, text): (&String, &String)| {
        let name = key.strip_prefix(PREFIX)?;
        let field = format!("/annotations/{}", limits::pointer_step(key));
        Some(property(name, text).map_err(|e| e.field(field)))
    };
    annotations.iter().filter_map(one).collect()
}

fn property(name: &str, words: &str) -> Result<(String, Value)> {
    if name.len() < 3 || !name.bytes().all(|b| b.is_ascii_alphabetic()) {
        let text = format!("not the name of a property, got {}, want three letters or more", quoted(name));
        return Err(Error::new(Code::Spec, text));
    }
    let value = text::parse(words).step("value parse error")?;
    let stem = name.strip_suffix("Sec").filter(|s| s.ends_with(|c: char| c.is_ascii_lowercase()));
    let Some(stem) = stem else { return Ok((name.to_string(), value)) };
    match value.number() {
        // The cast saturates: what is too long is for ever.
        Some(seconds) if seconds >= 0.0 => Ok((format!("{stem}USec"), Value::U64((seconds * 1e6) as u64))),
        _ => Err(Error::new(Code::Spec, format!("got {}, want a number of seconds", quoted(words)))),
    }
}

#[cfg(test)]
#[path = "systemd_tests.rs"]
mod tests;
