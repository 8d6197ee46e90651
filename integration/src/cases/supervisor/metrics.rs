//! Metrics: the text against a parser of others, the values against the files that this case reads itself, and who may ask on
//! the loopback address.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use prometheus_parse::{Scrape, Value};

use super::probes::{put, while_there};
use super::{SOON, sup};
use crate::case::Case;
use crate::daemon::{Answer, Daemon, parse_answer};
use crate::host::Need;
use crate::trial::wait_for;

/// All of this subject.
pub fn cases() -> Vec<Case> {
    let memory = [Need::CgroupAny("memory"), Need::CgroupAny("cpu")];
    vec![
        sup("metrics.values", "docs/metrics.md").needs(memory).seconds(40).daemon(values),
        sup("metrics.counted", "docs/metrics.md").seconds(40).daemon(counted),
        sup("metrics.both-forms", "docs/metrics.md").daemon(both_forms),
        sup("metrics.loopback", "docs/metrics.md").daemon(loopback),
        sup("metrics.loopback-refused", "docs/metrics.md").daemon(refused),
        sup("metrics.loopback-busy", "docs/metrics.md").daemon(busy),
    ]
}

fn scrape(d: &Daemon<'_, '_>) -> Result<Scrape> {
    let text = d.request("GET", "/metrics", None)?.is(200)?.body;
    parse(&text)
}

fn parse(text: &str) -> Result<Scrape> {
    strict(text)?;
    Scrape::parse(text.lines().map(|l| Ok(l.to_owned()))).context("prometheus-parse")
}

/// What the parser lets through: heads before samples, no metric in two places, no series twice, buckets that only grow.
fn strict(text: &str) -> Result<()> {
    let (mut heads, mut series) = (BTreeSet::new(), BTreeSet::new());
    let mut current = ("", "");
    let mut bucket: Option<(String, f64)> = None;
    ensure!(text.ends_with('\n'), "the last line is cut");
    for line in text.lines().filter(|l| *l != "# EOF") {
        if let Some(head) = line.strip_prefix("# TYPE ") {
            current = head.split_once(' ').with_context(|| line.to_owned())?;
            ensure!(heads.insert(current.0), "{} in two places", current.0);
            continue;
        }
        if line.starts_with("# HELP ") {
            continue;
        }
        let (id, value) = line.rsplit_once(' ').with_context(|| line.to_owned())?;
        ensure!(id.starts_with(current.0), "{line} below {}", current.0);
        ensure!(series.insert(id.to_owned()), "{id} twice");
        let value: f64 = value.parse().with_context(|| line.to_owned())?;
        ensure!(value.is_finite() && (current.1 == "gauge" || value >= 0.0), "{line}");
        let of = id.split_once("le=\"").map(|(of, _)| of.to_owned()).filter(|_| current.1 == "histogram");
        if let (Some((before, least)), Some(of)) = (&bucket, &of) {
            ensure!(before != of || *least <= value, "{line}: less than the bucket before");
        }
        bucket = of.map(|of| (of, value));
    }
    Ok(())
}

/// A sample of an instance, with these further labels.
fn sample(scrape: &Scrape, name: &str, instance: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let (service, replica) = instance.split_once('.').unwrap_or(("", ""));
    let found = scrape.samples.iter().find(|s| {
        let is = |k: &str, v: &str| v.is_empty() || s.labels.get(k) == Some(v);
        s.metric == name
            && is("service", service)
            && is("replica", replica)
            && labels.iter().all(|(k, v)| is(k, v))
    })?;
    match found.value {
        Value::Counter(v) | Value::Gauge(v) | Value::Untyped(v) => Some(v),
        Value::Histogram(_) | Value::Summary(_) => None,
    }
}

fn need(scrape: &Scrape, name: &str, instance: &str, labels: &[(&str, &str)]) -> Result<f64> {
    sample(scrape, name, instance, labels)
        .with_context(|| format!("no {name} of {instance:?} with {labels:?}"))
}

/// The container's group in the hierarchy of a controller, and whether that is v2.
fn group(d: &Daemon<'_, '_>, controller: &str, run: &str) -> Result<(PathBuf, bool)> {
    let (mount, v2) = d.t.yard.host.controller(controller).with_context(|| format!("no {controller}"))?;
    Ok((mount.join(d.parent.trim_start_matches('/')).join("payload").join(run), v2))
}

fn number(dir: &Path, file: &str) -> Result<f64> {
    let path = dir.join(file);
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    text.trim().parse().with_context(|| format!("{}: {text:?}", path.display()))
}

/// What a file says does not change while the daemon is asked, and the daemon says the same.
fn same(d: &Daemon<'_, '_>, name: &str, read: impl Fn() -> Result<f64>) -> Result<()> {
    let mut last = String::new();
    wait_for(d.t.seconds(), || {
        let before = read()?;
        let told = need(&scrape(d)?, name, "web.1", &[])?;
        let after = read()?;
        last = format!("{before}, told {told}, then {after}");
        Ok((before == told && told == after).then_some(()))
    })
    .with_context(|| format!("{name}: {last}"))
}

/// What only grows lies between what was read before and after.
fn between(
    d: &Daemon<'_, '_>,
    name: &str,
    labels: &[(&str, &str)],
    read: impl Fn() -> Result<f64>,
) -> Result<f64> {
    let before = read()?;
    let told = need(&scrape(d)?, name, "web.1", labels)?;
    let after = read()?;
    ensure!(before <= told && told <= after, "{name} {labels:?}: {before}, told {told}, then {after}");
    Ok(told)
}

fn values(d: &mut Daemon<'_, '_>) -> Result<()> {
    d.resident("web", "[limits]\nmemory = '64MiB'\npids = 50\ncpus = 0.5\n")?;
    let (memory, v2) = group(d, "memory", "web.1.1")?;
    let (current, max, peak) = match v2 {
        true => ("memory.current", "memory.max", "memory.peak"),
        false => ("memory.usage_in_bytes", "memory.limit_in_bytes", "memory.max_usage_in_bytes"),
    };
    ensure!(need(&scrape(d)?, "knarr_memory_max_bytes", "web.1", &[])? == f64::from(64 << 20), "the limit");
    same(d, "knarr_memory_max_bytes", || number(&memory, max))?;
    same(d, "knarr_memory_current_bytes", || number(&memory, current))?;
    // Since Linux 5.19 on cgroup v2.
    if memory.join(peak).exists() {
        same(d, "knarr_memory_peak_bytes", || number(&memory, peak))?;
    }
    let (pids, _) = group(d, "pids", "web.1.1")?;
    same(d, "knarr_pids_current", || number(&pids, "pids.current"))?;
    ensure!(need(&scrape(d)?, "knarr_pids_max", "web.1", &[])? == 50.0, "the limit of processes");
    let (cpu, v2) = group(d, "cpu", "web.1.1")?;
    let field = |dir: &Path, file: &str, name: &str, unit: f64| -> Result<f64> {
        let path = dir.join(file);
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let value = text.lines().find_map(|l| l.strip_prefix(name)?.trim().parse::<f64>().ok());
        Ok(value.with_context(|| format!("no {name} in {text:?}"))? / unit)
    };
    let used = match v2 {
        true => {
            between(d, "knarr_cpu_usage_seconds_total", &[], || field(&cpu, "cpu.stat", "usage_usec ", 1e6))?
        }
        false => {
            let (acct, _) = group(d, "cpuacct", "web.1.1")?;
            between(d, "knarr_cpu_usage_seconds_total", &[], || Ok(number(&acct, "cpuacct.usage")? / 1e9))?
        }
    };
    ensure!(used > 0.0, "a program has run and used no processor");
    between(d, "knarr_cpu_periods_total", &[], || field(&cpu, "cpu.stat", "nr_periods ", 1.0))?;
    // Stalls are of the v2 tree, with or without its controllers.
    if let Some(tree) = &d.t.yard.host.v2 {
        let dir = tree.join(d.parent.trim_start_matches('/')).join("payload/web.1.1");
        let total = || {
            let text = fs::read_to_string(dir.join("memory.pressure"))?;
            let total = text.lines().next().and_then(|l| l.rsplit_once("total=")?.1.parse::<f64>().ok());
            Ok(total.with_context(|| text.clone())? / 1e6)
        };
        // Without PSI there is no such file, and no sample.
        if dir.join("memory.pressure").exists() {
            let labels = [("resource", "memory"), ("stall", "some")];
            between(d, "knarr_pressure_stalled_seconds_total", &labels, total)?;
        } else {
            ensure!(
                sample(&scrape(d)?, "knarr_pressure_stalled_seconds_total", "web.1", &[]).is_none(),
                "no PSI"
            );
        }
    }
    let files = || {
        let dir = d.state.join("logs/web.1");
        let all = fs::read_dir(&dir)?.map(|e| Ok(e?.metadata()?.len() as f64)).collect::<Result<Vec<_>>>()?;
        Ok(all.iter().sum())
    };
    same(d, "knarr_log_size_bytes", files)?;
    // Of the daemon itself.
    let all = scrape(d)?;
    let own = |name: &str| need(&all, name, "", &[]);
    ensure!(own("knarr_services")? == 1.0 && own("knarr_daemon_keepers")? == 1.0, "one service, one keeper");
    let fds = fs::read_dir(format!("/proc/{}/fd", d.pid()?))?.count() as f64;
    ensure!(
        (own("knarr_daemon_open_fds")? - fds).abs() <= 8.0,
        "{} descriptors, {fds}",
        own("knarr_daemon_open_fds")?
    );
    let process = procfs::process::Process::new(d.pid()?)?;
    let resident = (process.statm()?.resident * procfs::page_size()) as f64;
    let told = own("knarr_daemon_resident_memory_bytes")?;
    ensure!(told > resident / 2.0 && told < resident * 2.0, "{told} resident, {resident}");
    let journal = fs::metadata(d.state.join("journal/journal"))?.len() as f64;
    ensure!(own("knarr_daemon_journal_size_bytes")? == journal, "the journal has {journal} bytes");
    ensure!(own("knarr_daemon_journal_pending_records")? == 0.0, "pending");
    let total = fs::read_to_string("/proc/meminfo")?;
    let total = total
        .lines()
        .find_map(|l| l.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok());
    ensure!(Some(own("knarr_host_memory_total_bytes")? / 1024.0) == total, "{total:?}");
    // A container that is gone has no group, and so no figures.
    d.post("/v1/services/web/stop?wait=true")?;
    let all = scrape(d)?;
    ensure!(sample(&all, "knarr_memory_current_bytes", "web.1", &[]).is_none(), "memory of what is gone");
    ensure!(need(&all, "knarr_instance_state", "web.1", &[("state", "held")])? == 1.0, "held");
    Ok(())
}

fn counted(d: &mut Daemon<'_, '_>) -> Result<()> {
    put(d, "well")?;
    d.resident("web", &while_there("readiness", "well", ""))?;
    d.service("dies", &["exit", "3"], SOON)?;
    let restarts = [("cause", "exit")];
    let after = |least: f64| {
        wait_for(d.t.seconds(), || {
            let all = scrape(d)?;
            let pass = [("probe", "readiness"), ("result", "pass")];
            let enough = sample(&all, "knarr_instance_restarts_total", "dies.1", &restarts) >= Some(least)
                && sample(&all, "knarr_probe_results_total", "web.1", &pass) >= Some(least);
            Ok(enough.then_some(all))
        })
    };
    let all = after(2.0).context("two restarts and two looks")?;
    ensure!(need(&all, "knarr_instance_ready", "web.1", &[])? == 1.0, "ready");
    ensure!(need(&all, "knarr_instance_last_exit_code", "dies.1", &[])? == 3.0, "exit code");
    let of = |cause| need(&all, "knarr_instance_exits_total", "dies.1", &[("cause", cause)]);
    ensure!(of("exit")? >= 2.0 && of("signal")? == 0.0 && of("oom")? == 0.0, "causes of ends");
    // Each look that was answered is in the histogram.
    let results = ["pass", "fail", "timed-out"].map(|result| {
        sample(&all, "knarr_probe_results_total", "web.1", &[("probe", "readiness"), ("result", result)])
            .unwrap_or(0.0)
    });
    let histogram = all
        .samples
        .iter()
        .find(|s| s.metric == "knarr_probe_duration_seconds" && s.labels.get("service") == Some("web"));
    let Some(Value::Histogram(buckets)) = histogram.map(|s| &s.value) else {
        bail!("no histogram: {histogram:?}")
    };
    let last = buckets.last().context("no bucket")?;
    ensure!(
        last.less_than.is_infinite() && last.count == results.iter().sum::<f64>(),
        "{last:?} of {results:?}"
    );
    let runs = need(&all, "knarr_instance_runs_total", "dies.1", &[])?;
    // A daemon that is killed begins to count anew, but for what is in the journal.
    d.crash_and_start()?;
    d.until("web.1", "running")?;
    let all = scrape(d)?;
    ensure!(need(&all, "knarr_instance_runs_total", "dies.1", &[])? >= runs, "runs went back");
    ensure!(need(&all, "knarr_daemon_uptime_seconds", "", &[])? >= 0.0, "uptime");
    // What somebody stops is no failure.
    d.post("/v1/services/web/stop?wait=true")?;
    let all = scrape(d)?;
    let of = |cause| need(&all, "knarr_instance_exits_total", "web.1", &[("cause", cause)]);
    ensure!(of("asked")? == 1.0 && of("exit")? == 0.0 && of("signal")? == 0.0, "asked to stop");
    ensure!(need(&all, "knarr_instance_wanted", "web.1", &[])? == 0.0, "wanted");
    Ok(())
}

fn both_forms(d: &mut Daemon<'_, '_>) -> Result<()> {
    d.resident("web", "")?;
    let request = |accept: &str| {
        let text =
            format!("GET /metrics HTTP/1.1\r\nHost: k\r\nAccept: {accept}\r\nConnection: close\r\n\r\n");
        crate::daemon::raw(&d.socket(), text.as_bytes())?.is(200)
    };
    let classic = request("text/plain")?.body;
    let open = request("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5")?.body;
    parse(&classic)?;
    strict(&open)?;
    ensure!(open.ends_with("\n# EOF\n") && !classic.contains("# EOF"), "the end of each");
    let names = |text: &str| -> BTreeSet<String> {
        let lines = text.lines().filter(|l| !l.starts_with('#'));
        lines.filter_map(|l| Some(l.split(['{', ' ']).next()?.to_owned())).collect()
    };
    ensure!(names(&classic) == names(&open), "they have other metrics");
    ensure!(
        open.contains("# TYPE knarr_instance_runs counter\n"),
        "OpenMetrics names a counter without its suffix"
    );
    ensure!(
        classic.contains("# TYPE knarr_instance_runs_total counter\n"),
        "the classic form names it as its sample"
    );
    // The other socket answers the same question.
    let other = d.run.join("knarrd-ro.sock");
    crate::daemon::http(&other, "GET", "/metrics", None)?.is(200)?;
    Ok(())
}

/// One request to a loopback address; head and answer.
pub fn tcp(port: u16, method: &str, path: &str, headers: &[&str]) -> Result<(String, Answer)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).context("connect")?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let lines: String = headers.iter().map(|h| format!("{h}\r\n")).collect();
    stream.write_all(format!("{method} {path} HTTP/1.1\r\n{lines}Connection: close\r\n\r\n").as_bytes())?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let head = text.split("\r\n\r\n").next().unwrap_or("").to_ascii_lowercase();
    Ok((head, parse_answer(&bytes)?))
}

/// Starts the daemon anew with a loopback address, and gives its port.
pub fn with_web(d: &mut Daemon<'_, '_>) -> Result<u16> {
    d.end()?;
    d.options = vec!["--web".into(), "127.0.0.1:0".into()];
    d.start()?;
    wait_for(d.t.seconds(), || {
        let words = d.words();
        let port = words
            .split("status page and metrics on http://127.0.0.1:")
            .nth(1)
            .and_then(|w| w.split('/').next());
        Ok(port.and_then(|p| p.parse().ok()))
    })
    .context("the daemon does not say its port")
}

/// The token that the daemon has made.
pub fn token(d: &Daemon<'_, '_>) -> Result<String> {
    let path = d.state.join("web-token");
    let mode = fs::metadata(&path).context("the token")?.mode() & 0o777;
    ensure!(mode == 0o600, "mode {mode:o} of the token");
    Ok(fs::read_to_string(&path)?.trim().to_owned())
}

fn loopback(d: &mut Daemon<'_, '_>) -> Result<()> {
    d.resident("web", "")?;
    let port = with_web(d)?;
    let token = token(d)?;
    ensure!(token.len() == 64, "{} characters", token.len());
    let host = format!("Host: localhost:{port}");
    let right = format!("Authorization: Bearer {token}");
    let (head, answer) = tcp(port, "GET", "/metrics", &[&host, &right])?;
    let all = parse(&answer.is(200)?.body)?;
    ensure!(need(&all, "knarr_instance_wanted", "web.1", &[])? == 1.0, "the text is of this daemon");
    for header in [
        "cache-control: no-store",
        "x-content-type-options: nosniff",
        "content-security-policy: default-src 'none'",
    ] {
        ensure!(head.contains(header), "no {header} in {head}");
    }
    let (head, answer) = tcp(port, "GET", "/metrics", &[&host])?;
    answer.is(401)?;
    ensure!(head.contains("www-authenticate: bearer"), "{head}");
    let wrong = format!("Authorization: Bearer {}0", &token[..63]);
    // The twin of each refusal is the first request: only one thing differs.
    let wrong = if wrong == right { right.replace(&token[..1], "x") } else { wrong };
    tcp(port, "GET", "/metrics", &[&host, &wrong])?.1.is(401)?;
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let (head, answer) = tcp(port, method, "/metrics", &[&host, &right])?;
        answer.is(405)?;
        ensure!(head.contains("allow: get, head"), "{head}");
    }
    for foreign in ["Host: evil.example", "Host: evil.example:9464", "Host: localhost"] {
        tcp(port, "GET", "/metrics", &[foreign, &right])?.1.is(421)?;
    }
    for path in ["/v1/plan", "/v1/exec/web", "/nothing"] {
        tcp(port, "GET", path, &[&host, &right])?.1.is(404)?;
    }
    // The same token, also for the next daemon.
    let port = with_web(d)?;
    let host = format!("Host: 127.0.0.1:{port}");
    tcp(port, "GET", "/metrics", &[&host, &right])?.1.is(200)?;
    Ok(())
}

/// The daemon does not start with these options, and says why.
fn does_not_start(d: &mut Daemon<'_, '_>, options: &[&str], why: &str) -> Result<()> {
    d.options = options.iter().map(|o| (*o).to_owned()).collect();
    let out = d.spawn()?.wait()?;
    ensure!(out.code == Some(1) && out.stderr.contains(why), "{options:?}: {out:?}");
    Ok(())
}

fn refused(d: &mut Daemon<'_, '_>) -> Result<()> {
    d.end()?;
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:9464"] {
        does_not_start(d, &["--web", address], "can be reached from other hosts, and there is no TLS")?;
    }
    let file = d.t.dir.join("token");
    fs::write(&file, "0123456789abcdef0123456789abcdef\n")?;
    let text = file.display().to_string();
    let options = ["--web", "127.0.0.1:0", "--web-token", text.as_str()];
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644))?;
    does_not_start(d, &options, "its mode is 644, want 600")?;
    // The twin: the same file, for nobody else.
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
    d.options = options.map(str::to_owned).to_vec();
    d.start()?;
    ensure!(!d.state.join("web-token").exists(), "a token was made beside the one that was given");
    Ok(())
}

/// Somebody else has the address: services are worth more than their metrics.
fn busy(d: &mut Daemon<'_, '_>) -> Result<()> {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    d.end()?;
    d.options = vec!["--web".into(), address.clone()];
    d.start()?;
    d.resident("web", "")?;
    let told = d.events()?;
    let text = told.iter().find(|e| e["kind"] == "web-failed").and_then(|e| e["text"].as_str());
    ensure!(text.is_some_and(|t| t.contains(&address) && t.contains("in use")), "{text:?}");
    Ok(())
}
