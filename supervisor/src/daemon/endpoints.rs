//! The file that tells proxies who is ready: written anew when that changes, and only then.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::owner::{Owner, Slot};
use crate::cni;
use crate::dirs::Dirs;
use crate::machine::State;
use crate::names::RunId;

/// One ready instance, as far as it is compared.
#[derive(Debug, Clone, PartialEq)]
struct Ready {
    run: RunId,
    pid: u32,
    ports: Vec<String>,
}

/// The whole file.
#[derive(Debug, Serialize)]
struct Document {
    instances: Vec<Endpoint>,
}

/// One ready instance, as the file has it.
#[derive(Debug, Serialize)]
struct Endpoint {
    service: String,
    instance: String,
    state: &'static str,
    /// Its first process on the host.
    pid: u32,
    /// Its first address without the prefix, where a CNI network gave one.
    address: Option<String>,
    /// As its service file has them, `8080/tcp`.
    ports: Vec<String>,
}

/// The file and what was written last.
#[derive(Debug)]
pub(super) struct Endpoints {
    path: PathBuf,
    written: Option<Vec<Ready>>,
    /// What was said when it could not be written.
    failure: Option<String>,
}

impl Endpoints {
    /// Nothing is written yet.
    pub(super) fn new(path: PathBuf) -> Endpoints {
        Endpoints { path, written: None, failure: None }
    }

    /// Writes what is ready now, when that is something else than what was ready before. What went wrong, once.
    fn update(&mut self, ready: Vec<Ready>, dirs: &Dirs) -> Option<String> {
        if self.written.as_ref() == Some(&ready) {
            return None;
        }
        match write(&self.path, &document(&ready, dirs)) {
            Ok(()) => {
                (self.written, self.failure) = (Some(ready), None);
                None
            }
            Err(e) => {
                let text = format!("{}: {e}", self.path.display());
                let new = self.failure.as_ref() != Some(&text);
                self.failure = Some(text.clone());
                new.then_some(text)
            }
        }
    }
}

impl Owner {
    /// Brings the file of endpoints up to date.
    pub(super) fn tell_endpoints(&mut self) {
        if self.endpoints.is_none() {
            return;
        }
        let ready = self.slots.values().filter_map(|s| self.ready_endpoint(s)).collect();
        let failed = self.endpoints.as_mut().and_then(|e| e.update(ready, &self.options.dirs));
        if let Some(text) = failed {
            self.tell(None, None, "endpoints-failed", text);
        }
    }

    fn ready_endpoint(&self, slot: &Slot) -> Option<Ready> {
        let State::Running { run, pid, .. } = &slot.machine.state else { return None };
        // What is about to be stopped or replaced gets no more work.
        let leaves = slot.down_pending.is_some() || slot.again_pending.is_some() || !slot.machine.up;
        let ready = !leaves && self.fitness(slot).ready;
        let service = self.services.get(&run.instance.service)?;
        ready.then(|| Ready { run: run.clone(), pid: *pid, ports: service.service.ports.clone() })
    }
}

fn document(ready: &[Ready], dirs: &Dirs) -> Vec<u8> {
    let endpoint = |Ready { run, pid, ports }: &Ready| Endpoint {
        service: run.instance.service.to_string(),
        instance: run.instance.to_string(),
        state: "running",
        pid: *pid,
        address: cni::addresses(run, dirs).into_iter().next(),
        ports: ports.clone(),
    };
    let document = Document { instances: ready.iter().map(endpoint).collect() };
    // Plain texts and numbers: this cannot fail.
    let mut text = serde_json::to_vec_pretty(&document).unwrap_or_default();
    text.push(b'\n');
    text
}

/// Aside and renamed: a reader sees the old file or the new one. It is made anew by every daemon, so no disk is waited for.
fn write(path: &Path, text: &[u8]) -> std::io::Result<()> {
    let name = path.file_name().ok_or(std::io::ErrorKind::InvalidInput)?.to_string_lossy();
    let aside = path.with_file_name(format!(".{name}.new"));
    std::fs::write(&aside, text)?;
    std::fs::rename(&aside, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::test_dir::TestDir;

    #[test]
    fn it_is_written_on_change_only_and_a_failure_is_told_once() {
        let dir = TestDir::in_memory("endpoints");
        let file = dir.join("endpoints.json");
        let dirs = Dirs { state: dir.join("state"), ..Dirs::default() };
        let ready = || vec![Ready { run: "web.1.3".parse().unwrap(), pid: 7, ports: vec!["80/tcp".into()] }];
        let mut endpoints = Endpoints::new(file.clone());
        assert_eq!(endpoints.update(vec![], &dirs), None);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "{\n  \"instances\": []\n}\n");
        assert_eq!(endpoints.update(ready(), &dirs), None);
        let json: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        let want = serde_json::json!({ "service": "web", "instance": "web.1", "state": "running", "pid": 7,
            "address": null, "ports": ["80/tcp"] });
        assert_eq!(json["instances"], serde_json::json!([want]));
        std::fs::remove_file(&file).unwrap();
        assert_eq!(endpoints.update(ready(), &dirs), None);
        assert!(!file.exists(), "nothing changed");
        std::fs::create_dir(&file).unwrap();
        std::fs::write(file.join("x"), "").unwrap();
        assert!(endpoints.update(vec![], &dirs).is_some() && endpoints.update(vec![], &dirs).is_none());
    }
}
