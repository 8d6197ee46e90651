//! The limits of a run that lies ready or runs: what its service wants now, and what its configuration says. After a resize
//! the configuration is written anew, so that a daemon that comes later sees what is in force.

use std::io;

use serde_json::{Value, json};

use super::apply::object;
use super::{Failure, Host, base, limits, write_aside};
use crate::dirs::Dirs;
use crate::names::RunId;
use crate::unit::service::Service;

/// `linux.resources` as a run made now would have them.
///
/// # Errors
/// The bundle cannot be read; a limit that this host does not have.
pub fn wanted(service: &Service, run: &RunId, dirs: &Dirs) -> Result<Value, Failure> {
    let mut config = base(service, run, dirs)?;
    let mut nothing = serde_json::Map::new();
    let config = config.as_object_mut().unwrap_or(&mut nothing);
    let resources = object(object(config, "linux")?, "resources")?;
    limits::put_resources(resources, service, Host::look())?;
    Ok(Value::Object(std::mem::take(resources)))
}

/// `linux.resources` that a run was made with, or was given since.
///
/// # Errors
/// The configuration is not there or is no JSON.
pub fn in_force(run: &RunId, dirs: &Dirs) -> io::Result<Value> {
    let mut config = read(run, dirs)?;
    Ok(config.pointer_mut("/linux/resources").map(Value::take).unwrap_or(json!({})))
}

/// Keeps what a running container was given.
///
/// # Errors
/// The configuration cannot be read or written.
pub fn keep(run: &RunId, dirs: &Dirs, resources: Value) -> io::Result<()> {
    let mut config = read(run, dirs)?;
    if let Some(linux) = config.get_mut("linux").and_then(Value::as_object_mut) {
        linux.insert("resources".into(), resources);
    }
    let text = serde_json::to_vec(&config)?;
    write_aside(&dirs.bundle(run).join("config.json"), &text).map_err(|f| io::Error::other(f.text))
}

fn read(run: &RunId, dirs: &Dirs) -> io::Result<Value> {
    Ok(serde_json::from_slice(&std::fs::read(dirs.bundle(run).join("config.json"))?)?)
}
