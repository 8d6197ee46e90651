//! What a service file says about its container, as the container and the kernel see it.

use std::fs;
use std::os::unix::fs::MetadataExt;

use anyhow::{Context, Result, ensure};

use super::{SOON, sup};
use crate::case::Case;
use crate::daemon::Daemon;
use crate::host::Need;
use crate::trial::wait_for;

/// All of this subject.
pub fn cases() -> Vec<Case> {
    let mut all = inside();
    all.extend(secrets());
    all.extend(limits());
    all.extend(hooks());
    all
}

/// The policy of a program that looks around once.
const ONCE: &str = "[restart]\npolicy = 'no'\n";

/// Runs a program to its end and gives what it printed.
fn look(d: &Daemon<'_, '_>, command: &[&str], keys: &str) -> Result<Vec<String>> {
    d.service("look", command, &format!("{keys}\n{ONCE}"))?;
    let now = d.until("look.1", "exited|failed")?;
    let lines = d.log("look.1")?;
    ensure!(now["state"] == "exited", "{command:?} failed: {now}, it printed {lines:?}");
    Ok(lines)
}

fn has(lines: &[String], line: &str) -> Result<()> {
    ensure!(lines.iter().any(|l| l == line), "no line {line:?} in {lines:?}");
    Ok(())
}

fn inside() -> Vec<Case> {
    vec![
        sup("config.env", "environment").daemon(|d| {
            let file = d.t.dir.join("vars");
            fs::write(&file, "A=from the file\nB=from the file\n\n# a comment\n")?;
            let keys = format!("env_files = [{:?}]\nenv = {{ B = 'from the service', C = '' }}\n", file.display().to_string());
            let lines = look(d, &["env"], &keys)?;
            has(&lines, "A=from the file")?;
            has(&lines, "B=from the service")?;
            has(&lines, "C=")
        }),
        sup("config.env-file-read-at-each-start", "environment files").daemon(|d| {
            let file = d.t.dir.join("vars");
            fs::write(&file, "A=one\n")?;
            let keys = format!("env_files = [{:?}]\n", file.display().to_string());
            d.service("a", &["all", "env", "--", "trap", "TERM"], &keys)?;
            d.says("a.1", "A=one")?;
            fs::write(&file, "A=two\n")?;
            d.post("/v1/services/a/restart?wait=true")?;
            d.says("a.1", "A=two")
        }),
        sup("config.env-file-missing", "environment files").daemon(|d| {
            let file = d.t.dir.join("not-there");
            let keys = format!("env_files = [{:?}]\n{SOON}", file.display().to_string());
            d.service("a", &["trap", "TERM"], &keys)?;
            d.explains("a", &["not-there"])?;
            fs::write(&file, "A=1\n")?;
            d.until("a.1", "running").map(|_| ())
        }),
        sup("config.user-workdir-hostname", "user, working directory, host name").daemon(|d| {
            let keys = "user = '1000:1001'\nworkdir = '/tmp'\nhostname = 'box'\n";
            let lines = look(d, &["all", "id", "--", "cwd", "--", "hostname"], keys)?;
            ensure!(lines.iter().any(|l| l.starts_with("uid=1000 gid=1001")), "id: {lines:?}");
            has(&lines, "/tmp")?;
            has(&lines, "box")
        }),
        sup("config.safe-by-default", "safe defaults of a root directory").daemon(|d| {
            let lines = look(d, &["all", "status", "--", "net", "--", "caps"], "")?.join("\n");
            ensure!(lines.contains("NoNewPrivs:\t1") || lines.contains("NoNewPrivs: 1"), "new privileges are possible: {lines}");
            ensure!(lines.contains("Seccomp:\t2") || lines.contains("Seccomp: 2"), "no system call filter: {lines}");
            ensure!(!lines.contains("CAP_SYS_ADMIN"), "CAP_SYS_ADMIN: {lines}");
            Ok(())
        }),
        sup("config.capabilities", "capabilities").daemon(|d| {
            let lines = look(d, &["caps"], "[security]\ncapabilities_drop = ['ALL']\ncapabilities_add = ['CAP_NET_BIND_SERVICE']\n")?;
            // Bit 10 alone (capability.h).
            ensure!(lines.iter().any(|l| l.starts_with("CapEff") && l.ends_with("0000000000000400")), "caps: {lines:?}");
            Ok(())
        }),
        sup("config.mounts", "mounts").daemon(|d| {
            let data = d.t.host_dir("shared")?;
            fs::write(data.join("file"), "of the host\n")?;
            let keys = format!(
                "mounts = [{{ target = '/data', source = {:?}, read_only = true }}, {{ type = 'tmpfs', target = '/tmp', size = '1MiB' }}]\n",
                data.display().to_string()
            );
            let lines = look(d, &["all", "cat", "/data/file", "--", "open-write", "/data/file", "--", "mountinfo"], &keys)?;
            has(&lines, "of the host")?;
            ensure!(lines.iter().any(|l| l.contains("EROFS")), "a read-only mount can be written: {lines:?}");
            ensure!(lines.iter().any(|l| l.contains(" /tmp ") && l.contains("tmpfs")), "no tmpfs: {lines:?}");
            Ok(())
        }),
        sup("config.read-only-root", "read-only root").daemon(|d| {
            let lines = look(d, &["open-write", "/etc/marker"], "root_read_only = true\n")?;
            ensure!(lines.iter().any(|l| l.contains("EROFS")), "the root can be written: {lines:?}");
            Ok(())
        }),
        sup("config.bundle", "bundle").daemon(|d| {
            let bundle = d.t.dir.join("mine");
            super::restart::copy_bundle(d, &bundle)?;
            let before = fs::read(bundle.join("config.json"))?;
            d.write("a", &format!("bundle = {:?}\nhostname = 'changed'\n", bundle.display().to_string()))?;
            d.apply()?;
            d.ready("a.1")?;
            let out = d.ctl(&["exec", "a", "--", crate::base::PROBE, "hostname"])?.ok()?;
            ensure!(out.stdout == "changed\n", "host name {:?}", out.stdout);
            ensure!(fs::read(bundle.join("config.json"))? == before, "the operator's bundle was changed");
            Ok(())
        }),
        sup("config.network-host", "network").daemon(|d| {
            let lines = look(d, &["ns"], "network = 'host'\n")?;
            let host = fs::read_link("/proc/self/ns/net")?.display().to_string();
            ensure!(lines.iter().any(|l| l.contains(&host)), "not the host's network {host}: {lines:?}");
            Ok(())
        }),
    ]
}

/// A service with one file from the host.
fn with_file(d: &mut Daemon<'_, '_>, kind: &str, more: &str) -> Result<std::path::PathBuf> {
    let source = d.t.dir.join("source");
    fs::write(&source, "one\n")?;
    let keys =
        format!("[[{kind}]]\nsource = {:?}\ntarget = '/data/file'\n{more}\n", source.display().to_string());
    d.service("a", &["all", "cat", "/data/file", "--", "trap", "TERM", "HUP"], &keys)?;
    d.says("a.1", "one")?;
    d.ready("a.1")?;
    Ok(source)
}

fn secrets() -> Vec<Case> {
    vec![
        sup("config.secret", "secrets").daemon(|d| {
            with_file(d, "secrets", "mode = '0440'\nuid = 12\ngid = 34")?;
            let out = d.ctl(&["exec", "a", "--", crate::base::PROBE, "stat", "/data/file"])?.ok()?.stdout;
            ensure!(out.contains("440") && out.contains("12") && out.contains("34"), "stat: {out}");
            let info = d.ctl(&["exec", "a", "--", crate::base::PROBE, "mountinfo"])?.ok()?.stdout;
            let line = info.lines().find(|l| l.contains(" /data/file ")).context("no mount of the secret")?;
            ensure!(line.contains(" ro,") || line.contains(" ro "), "the secret can be written: {line}");
            let copies = wait_for(1, || Ok(fs::metadata(d.run.join("files")).ok()))?;
            ensure!(copies.mode() & 0o077 == 0, "everybody may look at the copies: {:o}", copies.mode());
            Ok(())
        }),
        sup("config.secret-not-shown", "secrets").daemon(|d| {
            let source = with_file(d, "secrets", "")?;
            fs::write(source, "very-secret-word\n")?;
            for path in ["/v1/services/a", "/v1/explain/a", "/v1/events?since=0"] {
                let text = d.request("GET", path, None)?.body;
                ensure!(!text.contains("very-secret-word"), "{path} shows a secret");
            }
            let config = fs::read_to_string(d.run.join("bundles/a.1.1/config.json"))?;
            ensure!(!config.contains("one\\n"), "config.json has the secret");
            Ok(())
        }),
        sup("config.secret-on-tmpfs", "secrets").daemon(|d| {
            let source = with_file(d, "secrets", "")?;
            let _ = source;
            for (path, _) in crate::oracle::listing(&d.state) {
                let text = crate::trial::read_lossy(&path);
                let log = path.starts_with(d.state.join("logs"));
                ensure!(log || !text.contains("one\n"), "{} has the secret", path.display());
            }
            Ok(())
        }),
        sup("config.secret-change-restarts", "secrets: on_change restart").daemon(|d| {
            let source = with_file(d, "secrets", "on_change = 'restart'")?;
            let pid = d.pid_of("a.1")?;
            fs::write(source, "two\n")?;
            d.says("a.1", "two")?;
            ensure!(d.pid_of("a.1")? != pid, "the same process");
            super::life::restarts(&d.instance("a.1")?, 0)
        }),
        sup("config.file-change-signals", "config files: on_change signal").daemon(|d| {
            let source = with_file(d, "configs", "on_change = { signal = 'HUP' }")?;
            let pid = d.pid_of("a.1")?;
            fs::write(source, "two\n")?;
            d.says("a.1", "HUP").or_else(|_| d.says("a.1", "SIGHUP"))?;
            ensure!(crate::daemon::alive(pid) || d.instance("a.1")?["last_exit"] == 0, "killed and not told");
            Ok(())
        }),
        sup("config.file-change-ignored", "config files: on_change ignore").daemon(|d| {
            let source = with_file(d, "configs", "on_change = 'ignore'")?;
            let pid = d.pid_of("a.1")?;
            fs::write(source, "two\n")?;
            std::thread::sleep(std::time::Duration::from_millis(1200));
            ensure!(d.pid_of("a.1")? == pid, "restarted");
            d.post("/v1/services/a/restart?wait=true")?;
            d.says("a.1", "two")
        }),
    ]
}

/// A kernel file of an instance's cgroup: v1 and v2 names.
pub fn kernel(d: &Daemon<'_, '_>, instance: &str, controller: &str, v1: &str, v2: &str) -> Result<String> {
    let (top, unified) = d.t.yard.host.controller(controller).context("no such controller")?;
    let run = d.instance(instance)?["run"].as_str().unwrap_or("").to_string();
    let dir = top.join(d.parent.trim_start_matches('/')).join("payload").join(run);
    let file = dir.join(if unified { v2 } else { v1 });
    Ok(fs::read_to_string(&file).with_context(|| file.display().to_string())?.trim().to_string())
}

fn limits() -> Vec<Case> {
    vec![
        sup("config.limit-memory", "limits").needs([Need::CgroupAny("memory")]).daemon(|d| {
            d.resident("a", "[limits]\nmemory = '64MiB'\n")?;
            let got = kernel(d, "a.1", "memory", "memory.limit_in_bytes", "memory.max")?;
            ensure!(got == "67108864", "memory limit {got}");
            let now = d.instance("a.1")?;
            ensure!(now["memory_limit"] == 67_108_864, "ps: {now}");
            ensure!(now["memory"].as_u64().is_some_and(|m| m > 0), "ps: {now}");
            Ok(())
        }),
        sup("config.limit-pids", "limits").needs([Need::CgroupAny("pids")]).daemon(|d| {
            d.resident("a", "[limits]\npids = 33\n")?;
            let got = kernel(d, "a.1", "pids", "pids.max", "pids.max")?;
            ensure!(got == "33", "pids limit {got}");
            Ok(())
        }),
        sup("config.limit-cpu", "limits").needs([Need::CgroupAny("cpu")]).daemon(|d| {
            d.resident("a", "[limits]\ncpus = 0.5\n")?;
            let got = kernel(d, "a.1", "cpu", "cpu.cfs_quota_us", "cpu.max")?;
            ensure!(got == "50000" || got == "50000 100000", "cpu limit {got}");
            Ok(())
        }),
        sup("config.limit-nofile-oom", "limits").daemon(|d| {
            let lines =
                look(d, &["all", "limits", "--", "oom"], "[limits]\nnofile = 777\noom_score_adj = 123\n")?;
            ensure!(lines.iter().any(|l| l.contains("777")), "limits: {lines:?}");
            has(&lines, "123")
        }),
        sup("config.oom-score-is-not-the-daemons", "oom_score_adj").daemon(|d| {
            let lines = look(d, &["oom"], "")?;
            has(&lines, "0")
        }),
        sup("config.limit-change-restarts", "changes").needs([Need::CgroupAny("memory")]).daemon(|d| {
            d.resident("a", "[limits]\nmemory = '64MiB'\nnofile = 300\n")?;
            let run = d.instance("a.1")?["run"].clone();
            // One of them needs a restart, and the other comes with it.
            d.service("a", &["trap", "TERM"], "[limits]\nmemory = '48MiB'\nnofile = 301\n")?;
            d.until_it("a.1", "running anew", |i| i["run"] != run && i["state"] == "running")?;
            let got = kernel(d, "a.1", "memory", "memory.limit_in_bytes", "memory.max")?;
            ensure!(got == "50331648", "memory limit {got}");
            Ok(())
        }),
        sup("config.label-change-restarts-nothing", "changes").daemon(|d| {
            d.resident("a", "")?;
            let pid = d.pid_of("a.1")?;
            d.service("a", &["trap", "TERM"], "description = 'other words'\nlabels = { tier = 'front' }\n")?;
            std::thread::sleep(std::time::Duration::from_millis(300));
            ensure!(d.pid_of("a.1")? == pid, "restarted for a label");
            Ok(())
        }),
    ]
}

fn hooks() -> Vec<Case> {
    vec![
        sup("config.hooks", "hooks").daemon(|d| {
            let seen = d.t.dir.join("seen");
            let hook = |word: &str| {
                format!("{{ command = ['/bin/sh', '-c', 'echo {word} $KNARR_SERVICE $KNARR_INSTANCE $KNARR_RUN $KNARR_EXIT_CODE >> {}'] }}", seen.display())
            };
            let keys: Vec<String> = ["pre_start", "post_start", "pre_stop", "post_stop"]
                .iter()
                .map(|h| format!("{h} = [{}]", hook(h)))
                .collect();
            d.resident("a", &format!("[hooks]\n{}\n", keys.join("\n")))?;
            d.ready("a.1")?;
            d.ctl(&["stop", "a"])?.ok()?;
            let want = "pre_start a a.1 a.1.1\npost_start a a.1 a.1.1\npre_stop a a.1 a.1.1\npost_stop a a.1 a.1.1 0\n";
            wait_for(5, || Ok((fs::read_to_string(&seen).unwrap_or_default() == want).then_some(())))
                .with_context(|| format!("the hooks wrote {:?}", fs::read_to_string(&seen)))
        }),
        sup("config.hook-fails-start", "hooks").daemon(|d| {
            let keys = "[hooks]\npre_start = [{ command = ['/bin/false'] }]\n[restart]\npolicy = 'no'\n";
            d.service("a", &["trap", "TERM"], keys)?;
            d.until("a.1", "failed")?;
            d.explains("a", &["/bin/false"])
        }),
        sup("config.hook-timeout", "hooks").daemon(|d| {
            let keys = "[hooks]\npre_start = [{ command = ['/bin/sleep', '1000'], timeout = '300ms' }]\n[restart]\npolicy = 'no'\n";
            d.service("a", &["trap", "TERM"], keys)?;
            d.until("a.1", "failed").map(|_| ())
        }),
    ]
}
