//! What an image says about its process: read from its configuration when it is imported, kept in a record, and read back by
//! the daemon.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Error, Result, digits};
use crate::probe::Kind;
use crate::sys::tree;
use crate::unit::health_pair;
use crate::unit::service::Probe;

/// The largest passwd or group file.
const ACCOUNTS_MAX: u64 = 1 << 20;

/// The configuration as OCI and Docker write it. Docker's has more, and `null` in most places.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Config {
    os: String,
    architecture: String,
    created: Option<String>,
    config: Option<Inner>,
    rootfs: RootFs,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Inner {
    user: Option<String>,
    env: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    working_dir: Option<String>,
    stop_signal: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    exposed_ports: Option<BTreeMap<String, serde_json::Value>>,
    volumes: Option<BTreeMap<String, serde_json::Value>>,
    healthcheck: Option<Health>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RootFs {
    #[serde(rename = "type")]
    kind: String,
    diff_ids: Vec<String>,
}

/// Docker's HEALTHCHECK; times in nanoseconds, 0 = the default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Health {
    test: Vec<String>,
    interval: u64,
    timeout: u64,
    start_period: u64,
    start_interval: u64,
    retries: u32,
}

/// What is kept of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Of this record; 1.
    pub version: u32,
    /// Digits of the digest of its configuration.
    pub id: String,
    /// Name of its tree: digits of a digest over its layers.
    pub chain: String,
    /// Bytes of its files.
    pub bytes: u64,
    /// When it was imported.
    pub imported: String,
    /// When it was made, as it says itself.
    pub created: Option<String>,
    /// What it is made for.
    pub architecture: String,
    /// Entrypoint and arguments; may be empty.
    pub command: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// Working directory.
    pub workdir: String,
    /// The user as it says.
    pub user: String,
    /// Who that is by its own files; else why nobody knows.
    pub ids: std::result::Result<Ids, String>,
    /// First signal of a stop.
    pub stop_signal: Option<String>,
    /// How it is looked at.
    pub health: Option<Health>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Ports that it says it listens on, `80/tcp`.
    pub ports: Vec<String>,
    /// Directories that it says are data.
    pub volumes: Vec<String>,
    /// Digits of the digests of its layers, lowest first.
    pub layers: Vec<String>,
    /// What was left out when it was unpacked, and how often.
    pub dropped: BTreeMap<String, u64>,
}

/// A user by numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ids {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Further groups.
    pub groups: Vec<u32>,
}

impl Config {
    /// Reads a configuration for this host.
    ///
    /// # Errors
    /// It is none, is for another system, or has something that no container can have.
    pub fn parse(text: &[u8]) -> Result<Config> {
        let config: Config =
            serde_json::from_slice(text).map_err(|e| Error::refused(format!("the configuration: {e}")))?;
        let want = oci_spec::image::Arch::default().to_string();
        if config.os != "linux" || config.architecture != want {
            let (os, arch) = (&config.os, &config.architecture);
            return Err(Error::refused(format!("an image for {os}/{arch}, this host is linux/{want}")));
        }
        if config.rootfs.kind != "layers" {
            return Err(Error::refused(format!("rootfs.type is {:?}, want layers", config.rootfs.kind)));
        }
        let inner = config.config.as_ref();
        let texts = |list: Option<&Option<Vec<String>>>| list.cloned().flatten().unwrap_or_default();
        let mut all = texts(inner.map(|i| &i.env));
        all.extend(texts(inner.map(|i| &i.entrypoint)));
        all.extend(texts(inner.map(|i| &i.cmd)));
        all.extend(inner.and_then(|i| i.working_dir.clone()));
        if all.iter().any(|t| t.contains('\0')) {
            return Err(Error::refused("the configuration: a zero byte in a text"));
        }
        if let Some(dir) = inner.and_then(|i| i.working_dir.as_ref()).filter(|d| !d.is_empty())
            && (!dir.starts_with('/') || dir.split('/').any(|p| p == ".."))
        {
            return Err(Error::refused(format!("the configuration: a working directory {dir:?}")));
        }
        Ok(config)
    }

    /// Digits of the digests of the layers' archives.
    ///
    /// # Errors
    /// One is no digest.
    pub fn diff_ids(&self) -> Result<Vec<String>> {
        self.rootfs.diff_ids.iter().map(|d| digits(d).map(str::to_owned)).collect()
    }

    /// What is kept of it. `root` is the tree, in which the user is looked up.
    pub fn record(self, id: String, chain: String, root: &OwnedFd) -> Result<Record> {
        let layers = self.diff_ids()?;
        let inner = self.config.unwrap_or_default();
        let mut command = inner.entrypoint.unwrap_or_default();
        command.extend(inner.cmd.unwrap_or_default());
        let user = inner.user.unwrap_or_default();
        let ids = look_up(&user, root);
        let keys = |map: Option<BTreeMap<String, _>>| map.into_iter().flatten().map(|(k, _)| k).collect();
        Ok(Record {
            version: 1,
            id,
            chain,
            bytes: 0,
            imported: crate::clock::Moment::now().wall.to_string(),
            created: self.created,
            architecture: self.architecture,
            command,
            env: inner.env.unwrap_or_default().into_iter().filter(|e| e.contains('=')).collect(),
            workdir: inner.working_dir.filter(|d| !d.is_empty()).unwrap_or_else(|| "/".into()),
            user,
            ids,
            stop_signal: inner.stop_signal.filter(|s| !s.is_empty()),
            health: inner.healthcheck,
            labels: inner.labels.unwrap_or_default(),
            ports: keys(inner.exposed_ports),
            volumes: keys(inner.volumes),
            layers,
            dropped: BTreeMap::new(),
        })
    }
}

impl Health {
    /// The probes that it means, as `[healthcheck]` of a service file with the same words; `None` = none, or one that a
    /// layer took back.
    ///
    /// # Errors
    /// A test that is none.
    pub fn probes(&self) -> std::result::Result<Option<(Probe, Probe)>, String> {
        let command = match &self.test[..] {
            [] => return Ok(None),
            [none] if none == "NONE" => return Ok(None),
            [word, text] if word == "CMD-SHELL" => vec!["/bin/sh".into(), "-c".into(), text.clone()],
            [word, rest @ ..] if word == "CMD" && !rest.is_empty() => rest.to_vec(),
            [word, ..] => return Err(format!("the image's HEALTHCHECK begins with {word:?}")),
        };
        let time = |nanos: u64, default: u64| match nanos {
            0 => Duration::from_secs(default),
            n => Duration::from_nanos(n),
        };
        Ok(Some(health_pair(
            Kind::Exec { command },
            time(self.interval, 30).max(Duration::from_millis(100)),
            time(self.timeout, 30).min(Duration::from_secs(600)),
            Duration::from_nanos(self.start_period),
            time(self.start_interval, 5).max(Duration::from_millis(100)),
            if self.retries == 0 { 3 } else { self.retries },
        )))
    }
}

/// `USER` of an image: a number is a number, whatever its passwd says; a name is looked up there.
fn look_up(user: &str, root: &OwnedFd) -> std::result::Result<Ids, String> {
    let (name, group) = match user.split_once(':') {
        Some((name, group)) => (name, Some(group).filter(|g| !g.is_empty())),
        None => (user, None),
    };
    let name = if name.is_empty() { "0" } else { name };
    let passwd = file(root, "etc/passwd")?;
    let groups = file(root, "etc/group")?;
    let line = |text: &str, name: &str, field: usize| {
        let found = text.lines().map(|l| l.split(':').map(str::to_owned).collect::<Vec<_>>());
        found.into_iter().find(|f| f.get(field).is_some_and(|f| f == name))
    };
    let entry = match id(name)? {
        Some(_) => line(&passwd, name, 2),
        None => Some(line(&passwd, name, 0).ok_or_else(|| format!("its passwd has no user {name:?}"))?),
    };
    let field = |n: usize| {
        let text = entry.as_ref().and_then(|e| e.get(n));
        text.map(|t| id(t)?.ok_or_else(|| format!("its passwd has {t:?} for a number"))).transpose()
    };
    let uid = match id(name)? {
        Some(uid) => uid,
        None => field(2)?.unwrap_or(0),
    };
    let gid = match group {
        None => field(3)?.unwrap_or(0),
        Some(group) => match id(group)? {
            Some(gid) => gid,
            None => {
                let found =
                    line(&groups, group, 0).ok_or_else(|| format!("its group file has no {group:?}"))?;
                let text = found.get(2).map(String::as_str).unwrap_or_default();
                id(text)?.ok_or_else(|| format!("its group file has {text:?} for a number"))?
            }
        },
    };
    // As with Docker, the groups of a user come with it, unless a group was given.
    let member = entry.and_then(|e| e.into_iter().next()).filter(|_| group.is_none());
    let mut further = Vec::new();
    for fields in groups.lines().map(|l| l.split(':').collect::<Vec<_>>()) {
        let listed = fields.get(3).is_some_and(|m| m.split(',').any(|m| Some(m) == member.as_deref()));
        if let (true, Some(n)) = (listed, fields.get(2).and_then(|n| id(n).ok().flatten())) {
            further.push(n);
        }
    }
    further.retain(|g| *g != gid);
    further.sort_unstable();
    further.dedup();
    Ok(Ids { uid, gid, groups: further })
}

/// `None` = a name.
fn id(text: &str) -> std::result::Result<Option<u32>, String> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return match text.starts_with('-') {
            true => Err(format!("{text} is no id")),
            false => Ok(None),
        };
    }
    match text.parse::<u32>() {
        Ok(id) if id != u32::MAX => Ok(Some(id)),
        _ => Err(format!("{text} is no id: out of range")),
    }
}

/// A file of the tree; none is an empty one.
fn file(root: &OwnedFd, name: &str) -> std::result::Result<String, String> {
    let file = match tree::open_file_in(root, Path::new(name)) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(String::new()),
        file => file.map_err(|e| format!("its {name}: {e}"))?,
    };
    let mut bytes = Vec::new();
    file.take(ACCOUNTS_MAX).read_to_end(&mut bytes).map_err(|e| format!("its {name}: {e}"))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::test_dir::TestDir;

    #[test]
    fn users_are_those_of_the_image() {
        let dir = TestDir::new("image-users");
        std::fs::create_dir(dir.join("etc")).unwrap();
        let passwd =
            "root:x:0:0::/:/bin/sh\nweb:x:101:102::/:/bin/sh\n33:x:7:7::/:/\nbig:x:4294967296:0::/:/\n";
        std::fs::write(dir.join("etc/passwd"), passwd).unwrap();
        std::fs::write(dir.join("etc/group"), "web:x:102:\nlog:x:4:web,x\nplugdev:x:46:x,web\n").unwrap();
        let root = tree::open_root(&dir.join(".")).unwrap();
        let ids = |user: &str| look_up(user, &root).map(|i| (i.uid, i.gid, i.groups));
        assert_eq!(ids(""), Ok((0, 0, vec![])));
        assert_eq!(ids("web"), Ok((101, 102, vec![4, 46])));
        assert_eq!(ids("web:log"), Ok((101, 4, vec![])));
        assert_eq!(ids("101"), Ok((101, 102, vec![4, 46])));
        assert_eq!(ids("2000"), Ok((2000, 0, vec![])));
        // A number is never a name.
        assert_eq!(ids("33"), Ok((33, 0, vec![])));
        assert_eq!(ids("33:44"), Ok((33, 44, vec![])));
        for bad in ["nobody", "web:nogroup", "4294967295", "4294967296", "-1", "big"] {
            assert!(ids(bad).is_err(), "{bad}");
        }
        // The file is that of the image, wherever a link in it points.
        std::fs::remove_file(dir.join("etc/passwd")).unwrap();
        std::os::unix::fs::symlink("/../../../../../../etc/hostname", dir.join("etc/passwd")).unwrap();
        assert!(ids("web").is_err());
    }

    #[test]
    fn configurations_of_docker_have_nulls() {
        let text = br#"{"os":"linux","architecture":"ARCH","config":{"User":"","Env":null,"Entrypoint":null,"Cmd":["/x"],
            "Volumes":null,"ExposedPorts":{"80/tcp":{}},"Healthcheck":{"Test":["CMD","/c"],"Interval":1000000000}},
            "rootfs":{"type":"layers","diff_ids":[]}}"#;
        let arch = oci_spec::image::Arch::default().to_string();
        let text = String::from_utf8_lossy(text).replace("ARCH", &arch);
        let dir = TestDir::new("image-nulls");
        let root = tree::open_root(&dir.join(".")).unwrap();
        let record = Config::parse(text.as_bytes()).unwrap().record("1".into(), "2".into(), &root).unwrap();
        assert_eq!((record.command, record.ports), (vec!["/x".to_owned()], vec!["80/tcp".to_owned()]));
        let (startup, liveness) = record.health.unwrap().probes().unwrap().unwrap();
        assert_eq!((startup.failure_threshold, liveness.period), (3, Duration::from_secs(1)));
        for (bad, why) in [
            (text.replace("linux", "windows"), "this host is linux"),
            (text.replace(&arch, "pdp11"), "an image for linux/pdp11"),
            (text.replace("layers", "cows"), "rootfs.type"),
            ("[]x".into(), "the configuration"),
        ] {
            let e = Config::parse(bad.as_bytes()).map(drop).unwrap_err();
            assert!(e.text.contains(why), "{e}");
        }
    }
}
