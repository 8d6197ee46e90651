//! A group that systemd makes and keeps: the unit's name and place, what systemd is told about limits, its start before
//! anybody is inside, its end. May use: `systemd_bus`, `sys`, `spec`, `error`, the cgroup module's types.
#![forbid(unsafe_code)]

use super::plan::{Plan, Write, plan};
use super::systemd_bus::{Bus, Call, Pending, Which};
use super::systemd_value::{self as value, Value};
use super::{Layout, limits};
use crate::error::{Code, Context, Error, Result, quoted};
use crate::spec::Resources;
use crate::sys::process::{self, Child, sig};
use crate::sys::{OwnedFd, fs, poll, sock};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::time::Duration;

/// How long all waits on systemd for one command may take together.
const DEADLINE: Duration = Duration::from_secs(30);
/// Who sees to units.
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const OBJECT: &str = "/org/freedesktop/systemd1";
/// Annotations that are properties of the unit.
const PREFIX: &str = "org.systemd.property.";
/// UNIT_NAME_MAX of systemd is 256 with the final zero.
const LONGEST_NAME: usize = 255;
/// The least version that knows `AllowedCPUs` and `AllowedMemoryNodes`, and `CPUQuotaPeriodUSec` (242).
const SETS_SINCE: u32 = 244;
const PERIOD_SINCE: u32 = 242;

/// What the container's record keeps of a unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// `prefix-name.scope`, or the name of a slice.
    pub name: String,
    /// Whose systemd has it.
    pub bus: Which,
    /// What systemd shows of it; by this it is known as the container's.
    pub description: String,
}

/// A unit to make: pure data.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct UnitPlan {
    #[serde(flatten)]
    pub unit: Unit,
    /// In this order; of two with one name systemd takes the later.
    pub properties: Vec<(String, Value)>,
}

/// A systemd that was reached: facts about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manager {
    pub bus: Which,
    pub version: u32,
    /// The cgroup below which its slices are, "" for the root.
    pub home: String,
    /// Names of drivers, by which systemd knows devices: `char` or `block` and a major number.
    pub majors: BTreeMap<(String, u32), String>,
}

impl Manager {
    /// Asks the systemd that may change our cgroups.
    ///
    /// # Errors
    /// There is none, or it does not answer.
    pub fn reach() -> Result<Manager> {
        let which = Which::ours();
        let mut bus = Bus::connect(which, DEADLINE)?;
        let version = post_get(&mut bus, OBJECT, MANAGER, "Version");
        let home = post_get(&mut bus, OBJECT, MANAGER, "ControlGroup");
        let version = number_of(&bus.answer(version)?.text()?)?;
        let home = bus.answer(home)?.text()?;
        let drivers = fs::read_regular("/proc/devices", 1 << 20)?;
        Ok(Manager {
            bus: which,
            version,
            home: home.trim_end_matches('/').to_string(),
            majors: majors(&String::from_utf8_lossy(&drivers)),
        })
    }
}

/// "252.39-1~deb12u2", "v239": the first number of a version.
fn number_of(version: &str) -> Result<u32> {
    let digits = version.trim_start_matches(|c: char| !c.is_ascii_digit());
    let digits = digits.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    digits.parse().map_err(|_| {
        Error::new(Code::Unsupported, format!("systemd's version is {}, want a number", quoted(version)))
    })
}

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
fn majors(text: &str) -> BTreeMap<(String, u32), String> {
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

fn property(name: &str, text: &str) -> Result<(String, Value)> {
    if name.len() < 3 || !name.bytes().all(|b| b.is_ascii_alphabetic()) {
        let text = format!("not the name of a property, got {}, want three letters or more", quoted(name));
        return Err(Error::new(Code::Spec, text));
    }
    let value = value::parse(text).step("value parse error")?;
    let stem = name.strip_suffix("Sec").filter(|s| s.ends_with(|c: char| c.is_ascii_lowercase()));
    let Some(stem) = stem else { return Ok((name.to_string(), value)) };
    match value.number() {
        // The cast saturates: what is too long is for ever.
        Some(seconds) if seconds >= 0.0 => Ok((format!("{stem}USec"), Value::U64((seconds * 1e6) as u64))),
        _ => Err(Error::new(Code::Spec, format!("got {}, want a number of seconds", quoted(text)))),
    }
}

/// A unit that was started: for as long as this lives a process of ours is inside, because systemd ends a scope that is
/// empty. Init is born beside it; then it goes.
#[derive(Debug)]
pub(super) struct Anchor {
    child: Option<(Child, OwnedFd)>,
}

impl Anchor {
    /// Starts the unit and waits until systemd has it.
    ///
    /// # Errors
    /// systemd's own; [`Code::Exists`] when a unit of that name lives; what the job came to if not `done`.
    pub(super) fn start(plan: &UnitPlan) -> Result<Anchor> {
        let UnitPlan { unit, properties } = plan;
        let child = if unit.name.ends_with(".slice") { None } else { Some(sleeper()?) };
        let mut properties = properties.clone();
        if let Some((child, _)) = &child {
            let pids = Value::Array("u".into(), vec![Value::U32(child.pid() as u32)]);
            properties.push(("PIDs".into(), pids));
        }
        let mut bus = Bus::connect(unit.bus, DEADLINE)?;
        let ready = [bus.watch_jobs(&unit.name), post(&mut bus, "Subscribe", &[], "")];
        let args = [
            Value::Str(unit.name.clone()),
            Value::Str("replace".into()),
            settings(properties),
            Value::Array("(sa(sv))".into(), Vec::new()),
        ];
        let mut started = post(&mut bus, "StartTransientUnit", &args, &unit.name);
        for pending in ready {
            bus.answer(pending)?;
        }
        let mut answer = bus.answer(started);
        if answer.as_ref().is_err_and(|e| e.kind() == Code::Exists) {
            // It may be one that failed and is only remembered.
            reset(&mut bus, unit);
            started = post(&mut bus, "StartTransientUnit", &args, &unit.name);
            answer = bus.answer(started);
        }
        let what = format!("StartTransientUnit {}", unit.name);
        match bus.job(&answer?.text()?, &what)?.as_str() {
            "done" => Ok(Anchor { child }),
            result => Err(Error::new(Code::Os, format!("the job's result is {}", quoted(result)))
                .step(format!("systemd over the {}: {what}", unit.bus))
                .hint(format!("systemctl status {}", unit.name))),
        }
    }

    /// Lets the process inside end, and waits until the kernel does not count it any more.
    pub(super) fn lift(self) -> Result<()> {
        let Some((mut child, end)) = self.child else { return Ok(()) };
        drop(end);
        child.wait().map(drop)
    }
}

/// A process that does nothing until we let go of the socket, by will or by death.
fn sleeper() -> Result<(Child, OwnedFd)> {
    let (ours, theirs) = sock::pair()?;
    let child = process::clone3(0, None, || {
        let _ = process::set_pdeathsig(Some(sig::SIGKILL));
        process::unblock_signals();
        // Above all our copy of the end that wakes us.
        let _ = process::close_all_but(0, &[theirs.as_fd()]);
        let _ = poll::wait_readable(&theirs, None);
        0
    })?;
    Ok((child, ours))
}

impl Unit {
    /// Has systemd bring a process of ours into the unit (systemd 238). The user's asks the system's where it may not.
    ///
    /// # Errors
    /// systemd's own, above all that the process is not ours.
    pub fn bring(&self, pid: i32) -> Result<()> {
        let mut bus = Bus::connect(self.bus, DEADLINE)?;
        let pids = Value::Array("u".into(), vec![Value::U32(pid as u32)]);
        let args = [Value::Str(self.name.clone()), Value::Str(String::new()), pids];
        let brought = post(&mut bus, "AttachProcessesToUnit", &args, &self.name);
        bus.answer(brought).map(drop)
    }

    /// Stops the unit and makes systemd forget it. One that is gone is fine.
    pub(super) fn stop(&self) -> Result<()> {
        let mut bus = Bus::connect(self.bus, DEADLINE)?;
        self.stop_over(&mut bus)
    }

    /// The same, only if the unit is the container's: what a `create` that was killed had named may be somebody else's.
    pub(super) fn stop_if_ours(&self) -> Result<()> {
        let mut bus = Bus::connect(self.bus, DEADLINE)?;
        let path = match get_unit(&mut bus, self) {
            Err(e) if e.kind() == Code::NotFound => return Ok(()),
            path => path?,
        };
        let description = post_get(&mut bus, &path, "org.freedesktop.systemd1.Unit", "Description");
        match bus.answer(description)?.text()? == self.description {
            true => self.stop_over(&mut bus),
            false => Ok(()),
        }
    }

    fn stop_over(&self, bus: &mut Bus) -> Result<()> {
        let ready = [bus.watch_jobs(&self.name), post(bus, "Subscribe", &[], "")];
        let args = [Value::Str(self.name.clone()), Value::Str("replace".into())];
        let stopped = post(bus, "StopUnit", &args, &self.name);
        for pending in ready {
            bus.answer(pending)?;
        }
        let job = match bus.answer(stopped) {
            Err(e) if e.kind() == Code::NotFound => return Ok(()),
            job => job?.text()?,
        };
        let what = format!("StopUnit {}", self.name);
        let result = bus.job(&job, &what)?;
        reset(bus, self);
        match result.as_str() {
            "done" => Ok(()),
            result => Err(Error::new(Code::Os, format!("the job's result is {}", quoted(result)))
                .step(format!("systemd over the {}: {what}", self.bus))),
        }
    }

    /// Changes limits of the running unit, until the next boot: the values of `writes` that systemd has a property for.
    /// To be called before the files are written, which is what counts.
    ///
    /// # Errors
    /// systemd's own.
    pub fn update(&self, writes: &[Write]) -> Result<()> {
        let mut bus = Bus::connect(self.bus, DEADLINE)?;
        let version = post_get(&mut bus, OBJECT, MANAGER, "Version");
        let version = number_of(&bus.answer(version)?.text()?)?;
        let properties = of_writes(writes, version);
        if properties.is_empty() {
            return Ok(());
        }
        let args = [Value::Str(self.name.clone()), Value::Bool(true), settings(properties)];
        let set = post(&mut bus, "SetUnitProperties", &args, &self.name);
        bus.answer(set).map(drop)
    }
}

/// A method of the manager.
fn post(bus: &mut Bus, member: &str, args: &[Value], about: &str) -> Pending {
    bus.post(&Call { path: OBJECT, interface: MANAGER, member, args, about })
}

/// A property of an object.
fn post_get(bus: &mut Bus, path: &str, interface: &str, name: &str) -> Pending {
    let args = [Value::Str(interface.to_string()), Value::Str(name.to_string())];
    bus.post(&Call {
        path,
        interface: "org.freedesktop.DBus.Properties",
        member: "Get",
        args: &args,
        about: name,
    })
}

/// The object of a unit that systemd has loaded.
fn get_unit(bus: &mut Bus, unit: &Unit) -> Result<String> {
    let args = [Value::Str(unit.name.clone())];
    let pending = post(bus, "GetUnit", &args, &unit.name);
    bus.answer(pending)?.text()
}

/// Forgets that the unit failed, if it did; the usual answer is that there is nothing to forget.
fn reset(bus: &mut Bus, unit: &Unit) {
    let args = [Value::Str(unit.name.clone())];
    let pending = post(bus, "ResetFailedUnit", &args, &unit.name);
    let _ = bus.answer(pending);
}

/// Properties as systemd takes them.
fn settings(properties: Vec<(String, Value)>) -> Value {
    let one = |(name, v)| Value::Struct(vec![Value::Str(name), Value::Variant(Box::new(v))]);
    Value::Array("(sv)".into(), properties.into_iter().map(one).collect())
}

#[cfg(test)]
#[path = "systemd_tests.rs"]
mod tests;
