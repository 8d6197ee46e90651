//! A group that systemd makes and keeps: its start before anybody is inside, changes, its end. What is asked for is in
//! `systemd_plan`. May use: `systemd_bus`, `sys`, `error`, the cgroup module's types.
#![forbid(unsafe_code)]

use super::plan::Write;
use super::systemd_bus::{Bus, Call, Pending, Which};
use super::systemd_plan::{majors, of_writes};
use super::systemd_value::Value;
use crate::error::{Code, Error, Result, quoted};
use crate::sys::process::{self, Child, sig};
use crate::sys::{OwnedFd, fs, poll, sock};
use serde::{Deserialize, Serialize};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::time::Duration;

/// How long all waits on systemd for one command may take together.
const DEADLINE: Duration = Duration::from_secs(30);
/// The same for what is done after one that failed.
const AFTERWARDS: Duration = Duration::from_secs(5);
/// Who sees to units.
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const OBJECT: &str = "/org/freedesktop/systemd1";

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
pub(super) fn number_of(version: &str) -> Result<u32> {
    let digits = version.trim_start_matches(|c: char| !c.is_ascii_digit());
    let digits = digits.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    digits.parse().map_err(|_| {
        Error::new(Code::Unsupported, format!("systemd's version is {}, want a number", quoted(version)))
    })
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
        let (mut bus, asked) = (Bus::connect(plan.unit.bus, DEADLINE)?, Cell::new(false));
        let started = Anchor::ask(&mut bus, plan, &asked);
        drop(bus);
        // Whose answer is lost may be there all the same, and nobody would know of it. systemd's refusal is an answer.
        if started.is_err() && asked.get() {
            let _ = Bus::connect(plan.unit.bus, AFTERWARDS)
                .and_then(|mut bus| plan.unit.stop_if_ours_over(&mut bus));
        }
        started
    }

    /// Whether it came so far that the unit may be there is in `asked`.
    fn ask(bus: &mut Bus, plan: &UnitPlan, asked: &Cell<bool>) -> Result<Anchor> {
        let UnitPlan { unit, properties } = plan;
        let child = if unit.name.ends_with(".slice") { None } else { Some(sleeper()?) };
        let mut properties = properties.clone();
        if let Some((child, _)) = &child {
            let pids = Value::Array("u".into(), vec![Value::U32(child.pid() as u32)]);
            properties.push(("PIDs".into(), pids));
        }
        let ready = [bus.watch_jobs(&unit.name), post(bus, "Subscribe", &[], "")];
        let args = [
            Value::Str(unit.name.clone()),
            Value::Str("replace".into()),
            settings(properties),
            Value::Array("(sa(sv))".into(), Vec::new()),
        ];
        let mut started = post(bus, "StartTransientUnit", &args, &unit.name);
        asked.set(true);
        for pending in ready {
            bus.answer(pending)?;
        }
        let mut answer = bus.answer(started);
        if answer.as_ref().is_err_and(|e| e.kind() == Code::Exists) {
            // It may be one that failed and is only remembered.
            reset(bus, unit);
            started = post(bus, "StartTransientUnit", &args, &unit.name);
            answer = bus.answer(started);
        }
        asked.set(answer.as_ref().err().is_none_or(|e| e.kind() != Code::Exists));
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
    /// Has systemd bring this process into the unit (systemd 238). The user's asks the system's where it may not itself.
    ///
    /// # Errors
    /// systemd's own, above all that the process is not ours.
    pub fn bring_us(&self) -> Result<()> {
        let mut bus = Bus::connect(self.bus, DEADLINE)?;
        // 0 is who asks; our own number may mean nothing outside of a pid namespace.
        let pids = Value::Array("u".into(), vec![Value::U32(0)]);
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
        self.stop_if_ours_over(&mut Bus::connect(self.bus, DEADLINE)?)
    }

    fn stop_if_ours_over(&self, bus: &mut Bus) -> Result<()> {
        let path = match get_unit(bus, self) {
            Err(e) if e.kind() == Code::NotFound => return Ok(()),
            path => path?,
        };
        let description = post_get(bus, &path, "org.freedesktop.systemd1.Unit", "Description");
        match bus.answer(description)?.text()? == self.description {
            true => self.stop_over(bus),
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
