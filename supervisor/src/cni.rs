//! Attaches a container to CNI networks by the standard plugins (CNI specification 1.0). Runs programs, reads the networks'
//! configurations, and keeps what it did in the state directory: addresses are leased over a reboot, too.
#![forbid(unsafe_code)]

#[cfg(test)]
mod tests;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use crate::dirs::Dirs;
use crate::names::RunId;
use crate::unit::read_file;

/// More of a plugin's output than this is not read.
const OUTPUT_MAX: u64 = 1 << 20;

/// One network of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// Name of the network.
    pub network: String,
    /// Interface inside, `eth0`.
    pub interface: String,
    /// Its addresses with prefix, `10.1.0.5/24`.
    pub addresses: Vec<String>,
}

/// Where things are, and how long a plugin may take.
#[derive(Debug, Clone)]
struct Place {
    configs: PathBuf,
    plugins: Vec<PathBuf>,
    patience: Duration,
}

impl Default for Place {
    fn default() -> Place {
        Place {
            configs: "/etc/cni/net.d".into(),
            plugins: vec!["/opt/cni/bin".into(), "/usr/lib/cni".into()],
            patience: Duration::from_secs(30),
        }
    }
}

/// What is written about one network of one run, before its first plugin is called and after its last one.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    network: String,
    interface: String,
    /// The configuration as it was then: what is taken down is what was set up.
    config: Map<String, Value>,
    /// How many of its plugins have been called, counted before the call: these are called again to take it down.
    called: usize,
    /// The result of the last plugin.
    result: Option<Value>,
}

impl Record {
    /// With prefix, as the last plugin gave them.
    fn addresses(&self) -> Vec<String> {
        let ips = self.result.as_ref().and_then(|r| r.get("ips")).and_then(Value::as_array);
        let address = |ip: &Value| ip.get("address").and_then(Value::as_str).map(str::to_owned);
        ips.into_iter().flatten().filter_map(address).collect()
    }
}

/// Attaches the network namespace (`/proc/PID/ns/net` of the created container) to the networks in this order: `eth0`,
/// `eth1`, ... When one fails, it and those before it are detached again.
///
/// # Errors
/// One line: the network, the plugin and what it said.
pub async fn attach(
    networks: &[String],
    run: &RunId,
    netns: &Path,
    dirs: &Dirs,
) -> Result<Vec<Attached>, String> {
    attach_at(&Place::default(), networks, run, netns, dirs).await
}

/// Detaches a run from everything that [`attach`] recorded, in reverse. `netns` may be gone (`None`). Nothing recorded is
/// success; may be repeated.
///
/// # Errors
/// One line of all plugins that failed; what failed stays recorded.
pub async fn detach(run: &RunId, netns: Option<&Path>, dirs: &Dirs) -> Result<(), String> {
    detach_at(&Place::default(), run, netns, dirs).await
}

/// Runs that are attached to something, or were when everything ended: those that no longer live want a [`detach`].
pub fn recorded(dirs: &Dirs) -> Vec<RunId> {
    let entries = std::fs::read_dir(dirs.state.join("cni")).into_iter().flatten().flatten();
    let mut runs: Vec<RunId> = entries.filter_map(|e| e.file_name().to_str()?.parse().ok()).collect();
    runs.sort_unstable();
    runs
}

/// The addresses that a run's networks gave it, in their order, without prefix.
pub fn addresses(run: &RunId, dirs: &Dirs) -> Vec<String> {
    let entries = std::fs::read_dir(directory(run, dirs)).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|e| e.path()).collect();
    files.sort_unstable();
    let records = files.iter().filter_map(|f| serde_json::from_slice::<Record>(&std::fs::read(f).ok()?).ok());
    let plain = |a: String| a.split('/').next().unwrap_or_default().to_owned();
    records.flat_map(|r| r.addresses()).map(plain).collect()
}

async fn attach_at(
    place: &Place,
    networks: &[String],
    run: &RunId,
    netns: &Path,
    dirs: &Dirs,
) -> Result<Vec<Attached>, String> {
    // A daemon that was killed in the middle begins again.
    detach_at(place, run, Some(netns), dirs).await?;
    let mut done = Vec::new();
    for (i, network) in networks.iter().enumerate() {
        match one(place, network, i, run, netns, dirs).await {
            Ok(attached) => done.push(attached),
            Err(e) => {
                let undone = detach_at(place, run, Some(netns), dirs).await;
                return Err(match undone {
                    Ok(()) => e,
                    Err(u) => format!("{e}; and taking it down: {u}"),
                });
            }
        }
    }
    Ok(done)
}

async fn one(
    place: &Place,
    network: &str,
    number: usize,
    run: &RunId,
    netns: &Path,
    dirs: &Dirs,
) -> Result<Attached, String> {
    let config = find(&place.configs, network)?;
    let interface = format!("eth{number}");
    let mut record = Record { network: network.to_owned(), interface, config, called: 0, result: None };
    let file = directory(run, dirs).join(format!("{number:03}"));
    for plugin in plugins(&record)? {
        program(place, &record, &plugin)?;
        record.called += 1;
        write(&file, &record)?;
        let result = call(place, "ADD", &record, &plugin, run, Some(netns)).await?;
        let result: Value = serde_json::from_slice(&result)
            .map_err(|e| format!("network {network}: {} answered no result: {e}", kind(&plugin)))?;
        record.result = Some(result);
    }
    write(&file, &record)?;
    let addresses = record.addresses();
    Ok(Attached { network: network.to_owned(), interface: record.interface, addresses })
}

async fn detach_at(place: &Place, run: &RunId, netns: Option<&Path>, dirs: &Dirs) -> Result<(), String> {
    let dir = directory(run, dirs);
    let mut files: Vec<PathBuf> = match std::fs::read_dir(&dir) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(format!("{}: {e}", dir.display())),
        Ok(entries) => entries.flatten().map(|e| e.path()).collect(),
    };
    files.sort_unstable();
    let mut failed = Vec::new();
    for file in files.iter().rev() {
        let said = match take_down(place, file, run, netns).await {
            Ok(()) => std::fs::remove_file(file).map_err(|e| format!("{}: {e}", file.display())),
            Err(e) => Err(e),
        };
        failed.extend(said.err());
    }
    if !failed.is_empty() {
        return Err(failed.join("; "));
    }
    std::fs::remove_dir(&dir).map_err(|e| format!("{}: {e}", dir.display()))
}

async fn take_down(place: &Place, file: &Path, run: &RunId, netns: Option<&Path>) -> Result<(), String> {
    let text = std::fs::read(file).map_err(|e| format!("{}: {e}", file.display()))?;
    // Killed while it was written: before its name was in place, so before any plugin was called.
    let aside = file.extension().is_some();
    if aside {
        return Ok(());
    }
    let record: Record = serde_json::from_slice(&text).map_err(|e| format!("{}: {e}", file.display()))?;
    for plugin in plugins(&record)?.iter().take(record.called).rev() {
        call(place, "DEL", &record, plugin, run, netns).await?;
    }
    Ok(())
}

fn directory(run: &RunId, dirs: &Dirs) -> PathBuf {
    dirs.state.join("cni").join(run.to_string())
}

fn write(file: &Path, record: &Record) -> Result<(), String> {
    let aside = file.with_extension("new");
    let parent = file.parent().unwrap_or(file);
    let text = serde_json::to_vec(record).map_err(|e| e.to_string())?;
    let written = std::fs::create_dir_all(parent)
        .and_then(|()| std::fs::write(&aside, text))
        .and_then(|()| std::fs::File::open(&aside)?.sync_all())
        .and_then(|()| std::fs::rename(&aside, file));
    written.map_err(|e| format!("{}: {e}", file.display()))
}

/// The `.conflist` file whose `name` this is; the first in the order of file names, as other users of CNI take it.
fn find(configs: &Path, network: &str) -> Result<Map<String, Value>, String> {
    let entries =
        std::fs::read_dir(configs).map_err(|e| format!("network {network}: {}: {e}", configs.display()))?;
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.extension().is_some_and(|e| e == "conflist"))
        .collect();
    files.sort_unstable();
    let mut bad = Vec::new();
    for file in files {
        let parsed = read_file(&file)
            .and_then(|text| serde_json::from_str::<Map<String, Value>>(&text).map_err(|e| e.to_string()));
        match parsed {
            Ok(config) if config.get("name").and_then(Value::as_str) == Some(network) => return Ok(config),
            Ok(_) => {}
            Err(e) => bad.push(format!("{}: {e}", file.display())),
        }
    }
    let bad = if bad.is_empty() { String::new() } else { format!(" ({})", bad.join("; ")) };
    Err(format!("network {network}: no .conflist of this name in {}{bad}", configs.display()))
}

fn plugins(record: &Record) -> Result<Vec<Map<String, Value>>, String> {
    let list = record.config.get("plugins").and_then(Value::as_array);
    let all: Option<Vec<_>> = list.into_iter().flatten().map(|p| p.as_object().cloned()).collect();
    match all {
        Some(all) if !all.is_empty() => Ok(all),
        _ => Err(format!("network {}: its configuration has no list of plugins", record.network)),
    }
}

fn kind(plugin: &Map<String, Value>) -> &str {
    plugin.get("type").and_then(Value::as_str).unwrap_or("")
}

/// Where a plugin is.
fn program(place: &Place, record: &Record, plugin: &Map<String, Value>) -> Result<PathBuf, String> {
    let (network, name) = (&record.network, kind(plugin));
    if name.is_empty() || name.contains('/') || name.starts_with('.') {
        return Err(format!("network {network}: {name:?} is not the type of a plugin"));
    }
    let found = place.plugins.iter().map(|d| d.join(name)).find(|p| p.is_file());
    found.ok_or_else(|| {
        let dirs: Vec<_> = place.plugins.iter().map(|d| d.display().to_string()).collect();
        format!("network {network}: no plugin {name} in {}", dirs.join(" or "))
    })
}

/// Runs one plugin (specification, section 3); its standard output.
async fn call(
    place: &Place,
    verb: &str,
    record: &Record,
    plugin: &Map<String, Value>,
    run: &RunId,
    netns: Option<&Path>,
) -> Result<Vec<u8>, String> {
    let program = program(place, record, plugin)?;
    let what = |e: String| format!("network {}: {} {verb}: {e}", record.network, kind(plugin));
    let mut config = plugin.clone();
    let version = record.config.get("cniVersion").cloned().unwrap_or_else(|| "0.1.0".into());
    config.insert("cniVersion".into(), version);
    config.insert("name".into(), record.network.as_str().into());
    if let Some(result) = &record.result {
        config.insert("prevResult".into(), result.clone());
    }
    let path = std::env::join_paths(&place.plugins).map_err(|e| what(e.to_string()))?;
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("CNI_COMMAND", verb)
        .env("CNI_CONTAINERID", run.to_string())
        .env("CNI_NETNS", netns.unwrap_or(Path::new("")))
        .env("CNI_IFNAME", &record.interface)
        .env("CNI_PATH", path)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let done = tokio::time::timeout(place.patience, talk(command, Value::Object(config).to_string())).await;
    let (good, output, errors) = match done {
        Err(_) => return Err(what(format!("no answer within {} s, killed", place.patience.as_secs_f32()))),
        Ok(result) => result.map_err(|e| what(e.to_string()))?,
    };
    if good { Ok(output) } else { Err(what(complaint(&output, &errors))) }
}

/// The configuration goes in, output and errors come out, all at once: none of the pipes can fill up.
async fn talk(mut command: Command, config: String) -> std::io::Result<(bool, Vec<u8>, Vec<u8>)> {
    let mut child = command.spawn()?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let feed = async move {
        match stdin {
            // A plugin that does not want its configuration says so by its exit code.
            Some(mut pipe) => pipe.write_all(config.as_bytes()).await.or(Ok(())),
            None => Ok(()),
        }
    };
    let (fed, output, errors): (std::io::Result<()>, _, _) = tokio::join!(feed, all(stdout), all(stderr));
    fed?;
    Ok((child.wait().await?.success(), output?, errors?))
}

async fn all(pipe: Option<impl AsyncRead + Unpin>) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(OUTPUT_MAX).read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

/// What a plugin that failed says: `msg` and `details` of its JSON (specification, section 5), else its standard error.
fn complaint(output: &[u8], errors: &[u8]) -> String {
    let json: Option<Value> = serde_json::from_slice(output).ok();
    let field = |name: &str| json.as_ref()?.get(name)?.as_str().filter(|t| !t.is_empty()).map(str::to_owned);
    let text = match (field("msg"), field("details")) {
        (Some(msg), Some(details)) => format!("{msg}: {details}"),
        (Some(msg), None) => msg,
        _ => String::from_utf8_lossy(if errors.is_empty() { output } else { errors }).into_owned(),
    };
    let line: String = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(500).collect();
    if line.is_empty() { "failed without a word".into() } else { line }
}
