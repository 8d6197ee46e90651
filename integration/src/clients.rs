//! Real clients as drop-in users see them: Podman, Docker, Swarm, containerd with its CRI plugin, Buildah. Each operation is a
//! row; the rows of a client share one start of it, in a mount and a network namespace of their own.

mod page;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use nix::sched::CloneFlags;

use crate::host::Need;
use crate::oracle::{self, Before};
use crate::os;
use crate::report::Row as Line;
use crate::run::{Outcome, Verdict};
use crate::trial::{Runtime, Trial, Yard, read_lossy, wait_for};

pub use page::put_in;

const COMMON: &str = include_str!("clients/common.sh");
const PREPARE: &str = include_str!("clients/prepare.sh");
const DRIVE: &str = include_str!("clients/drive.sh");
const CRI: &str = include_str!("clients/cri.py");

/// What a whole client may take, in seconds.
const SECONDS: u64 = 900;

/// Who makes the cgroups of containers: the runtime itself, or systemd when the runtime asks it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Manager {
    Cgroupfs,
    Systemd,
}

impl Manager {
    pub const ALL: [Manager; 2] = [Manager::Cgroupfs, Manager::Systemd];

    /// As clients call it.
    pub fn name(self) -> &'static str {
        match self {
            Manager::Cgroupfs => "cgroupfs",
            Manager::Systemd => "systemd",
        }
    }

    pub fn named(name: &str) -> Option<Manager> {
        Manager::ALL.into_iter().find(|m| m.name() == name)
    }

    /// Those that a row's script is for: the line `# manager: systemd` or `# manager: any`, else the runtime alone.
    fn of_script(script: &str) -> &'static [Manager] {
        match script.lines().find_map(|l| l.strip_prefix("# manager: ")) {
            Some("any") => &Manager::ALL,
            Some("systemd") => &[Manager::Systemd],
            _ => &[Manager::Cgroupfs],
        }
    }
}

/// One client: what starts it, and its operations.
pub struct Client {
    pub name: &'static str,
    /// Its program and version, as in Debian 12.
    title: &'static str,
    programs: &'static [&'static str],
    /// Functions that every row uses.
    env: &'static str,
    /// Starts the daemon, if there is one, and brings the image in.
    start: &'static str,
    pub rows: Vec<Row>,
}

/// One operation.
pub struct Row {
    /// With the client's name before it.
    pub name: String,
    /// What it shows, for people.
    pub what: &'static str,
    /// Lines that must be printed.
    wants: Vec<&'static str>,
    managers: &'static [Manager],
    script: &'static str,
}

/// The clients that have rows for this manager, with these rows, in the order of the table.
pub fn of(manager: Manager) -> Vec<Client> {
    let mut clients = all();
    for client in &mut clients {
        client.rows.retain(|r| r.managers.contains(&manager));
    }
    clients.retain(|c| !c.rows.is_empty());
    clients
}

/// All clients with all their rows, whoever the manager is.
pub fn all() -> Vec<Client> {
    let docker = &["dockerd", "docker", "containerd", "docker-init"];
    vec![
        parse(
            "podman",
            "Podman 4.3 with conmon",
            &["podman", "conmon", "docker-init"],
            include_str!("clients/podman.sh"),
        ),
        parse(
            "docker",
            "Docker Engine 20.10, the runtime as its default",
            docker,
            include_str!("clients/docker.sh"),
        ),
        parse(
            "swarm",
            "Swarm mode of Docker Engine 20.10, one node, services on the host network",
            docker,
            include_str!("clients/swarm.sh"),
        ),
        parse(
            "containerd",
            "containerd 1.6 with shim v2: `ctr`, and the CRI plugin as a kubelet calls it",
            &["containerd", "ctr", "sha256sum", "jq"],
            include_str!("clients/containerd.sh"),
        ),
        parse(
            "buildah",
            "Buildah 1.28, isolation `oci`",
            &["buildah", "script"],
            include_str!("clients/buildah.sh"),
        ),
    ]
}

/// Takes a client's file apart: `## env`, `## start`, then `## name: what it shows` with `# want: line` below.
fn parse(
    name: &'static str,
    title: &'static str,
    programs: &'static [&'static str],
    text: &'static str,
) -> Client {
    let mut client = Client { name, title, programs, env: "", start: "", rows: Vec::new() };
    for (head, script) in text.split("\n## ").skip(1).filter_map(|part| part.split_once('\n')) {
        match head.split_once(": ") {
            None if head == "env" => client.env = script,
            None => client.start = script,
            Some((row, what)) => client.rows.push(Row {
                name: format!("{name}.{row}"),
                what,
                managers: Manager::of_script(script),
                wants: script.lines().filter_map(|l| l.strip_prefix("# want: ")).collect(),
                script,
            }),
        }
    }
    client
}

/// Runs the rows of one client on each runtime and gives the lines of the table.
pub fn run(
    yard: &Yard,
    runtimes: &[Runtime],
    client: &Client,
    manager: Manager,
    number: &mut u32,
) -> Vec<Line> {
    let mut lines: Vec<Line> = client
        .rows
        .iter()
        .map(|r| Line { name: r.name.clone(), checks: r.what.to_string(), verdicts: Vec::new() })
        .chain([Line {
            name: format!("{}.leaves-nothing", client.name),
            checks: LEAVES_NOTHING.to_string(),
            verdicts: Vec::new(),
        }])
        .collect();
    for runtime in runtimes {
        *number += 1;
        for (line, verdict) in lines.iter_mut().zip(session(yard, runtime, client, manager, *number)) {
            line.verdicts.push(Some(known(runtime, &line.name, verdict)));
        }
    }
    lines
}

const LEAVES_NOTHING: &str = "no process, mount, cgroup or file is left when the client has ended";

/// What a reviewed difference says of a failure.
fn known(runtime: &Runtime, row: &str, mut verdict: Verdict) -> Verdict {
    if let (Outcome::Failed(_), Some((_, why))) =
        (&verdict.outcome, runtime.known.iter().find(|(name, _)| name == row))
    {
        verdict.outcome = Outcome::Differs(why.clone());
        verdict.story.clear();
    }
    verdict
}

/// A verdict for each row and one for what is left at the end.
fn session(yard: &Yard, runtime: &Runtime, client: &Client, manager: Manager, number: u32) -> Vec<Verdict> {
    let all = |outcome: Outcome| {
        let verdict = Verdict { outcome, seconds: 0.0, story: String::new() };
        vec![verdict; client.rows.len() + 1]
    };
    let mut needs = vec![Need::Root, Need::Busybox, Need::CgroupAny("pids"), Need::CgroupAny("memory")];
    needs.extend(client.programs.iter().map(|p| Need::Program(p)));
    if manager == Manager::Systemd {
        needs.push(Need::Systemd);
    }
    if let Some(need) = yard.host.lacks(&needs) {
        return all(Outcome::Skipped(need.slug()));
    }
    let mut trial = match Trial::new(yard, runtime, number, SECONDS) {
        Ok(trial) => trial,
        Err(e) => return all(Outcome::Failed(format!("preparing: {e:#}"))),
    };
    let verdicts = started(&mut trial, client, manager);
    if let Err(e) = oracle::clean(&mut trial) {
        eprintln!("conformance: after {}: {e:#}", client.name);
    }
    verdicts.unwrap_or_else(|e| all(Outcome::Failed(format!("{e:#}"))))
}

fn started(t: &mut Trial<'_>, client: &Client, manager: Manager) -> Result<Vec<Verdict>> {
    let before = Before::note(t)?;
    let dir = t.host_dir("e")?;
    write_scripts(&dir, client)?;
    let out = start(t, &dir, manager)?;
    ensure!(
        dir.join("started").exists(),
        "the client did not start: {}\n{}",
        out.trim(),
        last_lines(&read_lossy(&dir.join("daemon.log")), 15)
    );
    let mut verdicts: Vec<Verdict> =
        client.rows.iter().enumerate().map(|(n, row)| judge(&row_file(&dir, n), row)).collect();
    let left = match manager {
        Manager::Cgroupfs => empty_groups(t),
        Manager::Systemd => empty_slice(t),
    };
    let left = left.err().map(|e| format!("{e:#}"));
    let complaints: Vec<String> = before.complaints(t).into_iter().chain(left).collect();
    let outcome = match complaints.is_empty() {
        true => Outcome::Passed,
        false => Outcome::Failed(complaints.join("; ")),
    };
    verdicts.push(Verdict { outcome, seconds: 0.0, story: out });
    Ok(verdicts)
}

fn row_file(dir: &Path, number: usize) -> std::path::PathBuf {
    dir.join("rows").join(format!("{number:03}"))
}

fn write_scripts(dir: &Path, client: &Client) -> Result<()> {
    fs::create_dir(dir.join("rows"))?;
    fs::write(dir.join("common.sh"), COMMON)?;
    fs::write(dir.join("cri.py"), CRI)?;
    fs::write(dir.join("env.sh"), client.env)?;
    let head = ". \"$DIR/common.sh\"\n. \"$DIR/env.sh\"\n";
    for (n, row) in client.rows.iter().enumerate() {
        fs::write(row_file(dir, n), format!("{head}{}\n", row.script))?;
    }
    let main = format!(". \"$DIR/common.sh\"\n{PREPARE}\n. \"$DIR/env.sh\"\n{}\n{DRIVE}", client.start);
    fs::write(dir.join("main.sh"), main)?;
    Ok(())
}

/// Runs the whole of it; gives what the main script itself complained about.
fn start(t: &mut Trial<'_>, dir: &Path, manager: Manager) -> Result<String> {
    let host = &t.yard.host;
    let names = host.v1.keys().chain(&host.v2_controllers);
    let cgroups: String =
        names.filter_map(|n| Some(format!("{n} {}\n", host.controller(n)?.0.display()))).collect();
    let pairs = [
        ("DIR", dir.display().to_string()),
        ("RUNTIME", t.runtime.path.display().to_string()),
        ("NAME", t.runtime.name.clone()),
        ("PROBE", t.yard.probe.display().to_string()),
        ("BUSYBOX", t.yard.busybox.as_ref().context("busybox")?.display().to_string()),
        ("MANAGER", manager.name().to_string()),
        ("PARENT", parent(t, manager)),
        ("CGROUPS", cgroups),
        ("PATIENCE", t.yard.patience.to_string()),
    ];
    let mut cmd = t.command("/bin/sh".as_ref(), &[dir.join("main.sh").display().to_string()]);
    for (key, value) in &pairs {
        cmd = cmd.env(key, value);
    }
    let spaces = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET;
    Ok(cmd.adjust(|c| os::isolate(c, spaces)).run()?.stderr)
}

/// What a row came to: its exit code, its lines, or the reason why it cannot be shown here.
fn judge(file: &Path, row: &Row) -> Verdict {
    let read = |ending| read_lossy(&file.with_extension(ending));
    let (out, err, end) = (read("out"), read("err"), read("end"));
    let mut numbers = end.split_whitespace().map(str::parse::<u32>);
    let (code, millis) = (numbers.next(), numbers.next());
    let missing: Vec<&&str> = row.wants.iter().filter(|w| !out.lines().any(|l| l == **w)).collect();
    let outcome = match (out.lines().find_map(|l| l.strip_prefix("skip: ")), code) {
        (Some(reason), _) => Outcome::Skipped(reason.to_string()),
        (None, Some(Ok(0))) if missing.is_empty() => Outcome::Passed,
        (None, Some(Ok(code))) => {
            Outcome::Failed(format!("exit {code}, lines that are missing: {missing:?}"))
        }
        _ => Outcome::Failed("the client ended before this row was through".to_string()),
    };
    let mut story = String::new();
    if let Outcome::Failed(_) = outcome {
        for (name, text) in [("script", row.script), ("stdout", &out), ("stderr", &err)] {
            for line in last_lines(text, 40).lines() {
                let _ = writeln!(story, "{name}: {line}");
            }
        }
    }
    let seconds = millis.and_then(Result::ok).map_or(0.0, |m| f64::from(m) / 1000.0);
    Verdict { outcome, seconds, story }
}

/// What containers of a client are put below.
fn parent(t: &Trial<'_>, manager: Manager) -> String {
    match manager {
        Manager::Cgroupfs => t.spec["linux"]["cgroupsPath"].as_str().unwrap_or("").to_string(),
        // `a-b.slice` is below `a.slice`: one slice for the run, one below for this session.
        Manager::Systemd => format!("{}.slice", t.id.replacen('-', "", 1)),
    }
}

/// The slice has nothing in it any more, and goes: systemd keeps an empty one until it is stopped.
fn empty_slice(t: &mut Trial<'_>) -> Result<()> {
    let slice = parent(t, Manager::Systemd);
    // Nothing when systemd has not heard of it.
    let group = systemctl(t, &["show", "--value", "--property", "ControlGroup", "--", &slice])?;
    if group.is_empty() {
        return Ok(());
    }
    let top = t.yard.host.v2.clone().context("no cgroup2")?;
    let dir = top.join(group.trim_start_matches('/'));
    let left = || oracle::below(&dir);
    let emptied = wait_for(t.seconds(), || Ok(left().is_empty().then_some(())));
    let names: Vec<String> = left().iter().map(|d| d.display().to_string()).collect();
    let run = slice.split('-').next().unwrap_or(&slice);
    systemctl(t, &["stop", "--", &format!("{run}.slice")])?;
    emptied.with_context(|| format!("left in {slice}: {}", names.join(" ")))
}

fn systemctl(t: &mut Trial<'_>, args: &[&str]) -> Result<String> {
    let args: Vec<String> = args.iter().map(|a| a.to_string()).collect();
    Ok(t.command(Path::new("systemctl"), &args).run()?.ok()?.stdout.trim().to_string())
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// Clients leave the parents of their cgroups, as they always do, and monitors end a moment after their containers.
fn empty_groups(t: &Trial<'_>) -> Result<()> {
    for dir in oracle::cgroups(t.yard) {
        let removed = || Ok((fs::remove_dir(&dir).is_ok() || !dir.exists()).then_some(()));
        wait_for(10, removed).with_context(|| format!("{} is left and in use", dir.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_wants_something() {
        let mut seen = std::collections::BTreeSet::new();
        for client in all() {
            assert!(!client.env.is_empty() && !client.start.is_empty(), "{}", client.name);
            for row in &client.rows {
                assert!(!row.wants.is_empty(), "{} expects nothing", row.name);
                assert!(seen.insert(row.name.clone()), "two rows are called {}", row.name);
            }
        }
        assert!(seen.len() > 100, "{} rows", seen.len());
    }

    #[test]
    fn a_row_needs_its_lines_and_its_exit_code() {
        let dir = std::env::temp_dir().join(format!("knarr-clients-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let file = dir.join("000");
        let row =
            Row { name: "c.r".into(), what: "w", wants: vec!["one"], managers: &Manager::ALL, script: "" };
        let tried = |out: &str, end: &str| {
            fs::write(file.with_extension("out"), out).unwrap();
            fs::write(file.with_extension("end"), end).unwrap();
            judge(&file, &row).outcome.word()
        };
        assert_eq!(tried("one\n", "0 5"), "pass");
        assert_eq!(tried("one more\n", "0 5"), "FAIL");
        assert_eq!(tried("one\n", "1 5"), "FAIL");
        assert_eq!(tried("one\n", ""), "FAIL");
        assert_eq!(tried("skip: disk\n", "0 5"), "skip");
        fs::remove_dir_all(dir).unwrap();
    }
}
