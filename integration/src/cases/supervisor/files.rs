//! Service files: plan, apply, what is wrong with one, what lies beside them, what an editor leaves.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::sup;
use crate::base::PROBE;
use crate::case::Case;
use crate::daemon::{Daemon, texts};
use crate::trial::wait_for;

/// Those that need no other service, by name.
const SAMPLES: [(&str, &str); 5] = [
    ("checked", include_str!("../../../../bundles/services/checked.toml")),
    ("told", include_str!("../../../../bundles/services/told.toml")),
    ("composed", include_str!("../../../../bundles/services/composed.toml")),
    ("rolled", include_str!("../../../../bundles/services/rolled.toml")),
    ("greeter", include_str!("../../../../bundles/services/greeter.toml")),
];

/// All of this subject.
pub fn cases() -> Vec<Case> {
    let mut all = applying();
    all.extend(broken());
    all.extend(many());
    all
}

/// A plan for one new text, which is never applied.
fn plan(d: &Daemon<'_, '_>, name: &str, text: &str) -> Result<Value> {
    let body = json!({"files": [{"name": name, "text": text}]}).to_string();
    d.request("POST", "/v1/plan", Some(&body))?.json()
}

fn applying() -> Vec<Case> {
    vec![
        sup("files.plan-changes-nothing", "plan").daemon(|d| {
            d.resident("a", "")?;
            let pid = d.pid_of("a.1")?;
            d.write(".aside", "not a service")?;
            fs::write(d.services.join("b.toml"), d.text(&["trap", "TERM"], ""))?;
            let plan = d.ctl(&["plan", "--json"])?;
            let plan = plan.json()?;
            ensure!(texts(&plan["changes"], "service").contains(&"b".to_string()), "plan: {plan}");
            let text = d.text(&["trap", "TERM"], "hostname = 'x'\n");
            let change = self::plan(d, "a", &text)?["changes"][0].clone();
            ensure!(change["service"] == "a" && change["action"] == "restart", "plan: {change}");
            ensure!(change["fields"].to_string().contains("hostname"), "plan: {change}");
            ensure!(d.pid_of("a.1")? == pid, "a plan restarted it");
            Ok(())
        }),
        sup("files.plan-words", "plan: actions").daemon(|d| {
            d.resident("a", "")?;
            let action = |name: &str, keys: &str| -> Result<Value> {
                Ok(self::plan(d, name, &d.text(&["trap", "TERM"], keys))?["changes"][0]["action"].clone())
            };
            ensure!(action("new", "")? == "add", "a new one: {}", action("new", "")?);
            ensure!(
                action("a", "replicas = 2\n")? == "update",
                "replicas: {}",
                action("a", "replicas = 2\n")?
            );
            ensure!(action("a", "")?.is_null(), "the same text: {}", action("a", "")?);
            ensure!(
                action("a", "env = { A = '1' }\n")? == "restart",
                "env: {}",
                action("a", "env = { A = '1' }\n")?
            );
            Ok(())
        }),
        sup("files.apply-over-the-api", "apply").daemon(|d| {
            let files = json!({"files": [
                {"name": "a", "text": d.text(&["trap", "TERM"], "")},
                {"name": "b", "text": d.text(&["trap", "TERM"], "")},
            ]});
            d.request("POST", "/v1/apply", Some(&files.to_string()))?.is(200)?;
            d.until("a.1", "running")?;
            d.until("b.1", "running")?;
            let kept = fs::read_to_string(d.services.join("a.toml"))?;
            ensure!(kept == d.text(&["trap", "TERM"], ""), "the file is not what was sent: {kept}");
            Ok(())
        }),
        sup("files.apply-cli", "apply").daemon(|d| {
            d.write("a", &d.text(&["trap", "TERM"], ""))?;
            d.ctl(&["apply"])?.ok()?;
            d.until("a.1", "running")?;
            d.write("a", "comand = ['x']\n")?;
            let out = d.ctl(&["apply"])?.fails()?;
            ensure!((out.stdout + &out.stderr).contains("command"), "the nearest key is not named");
            d.is("a.1", "running").map(|_| ())
        }),
        sup("files.validate", "validate").daemon(|d| {
            let (good, bad) = (d.t.dir.join("good.toml"), d.t.dir.join("bad.toml"));
            fs::write(&good, d.text(&["trap", "TERM"], ""))?;
            fs::write(&bad, d.text(&["trap", "TERM"], "[limits]\nmemroy = '1MiB'\n"))?;
            d.ctl(&["validate", &good.display().to_string()])?.ok()?;
            let out = d.ctl(&["validate", &bad.display().to_string()])?.fails()?;
            let said = out.stdout + &out.stderr;
            // Lines 1 and 2 are root and command.
            ensure!(said.contains("bad.toml:4:1") && said.contains("memory"), "validate said {said:?}");
            Ok(())
        }),
        sup("files.samples-come-up", "bundles/services").seconds(60).daemon(|d| {
            let root = d.t.rootfs();
            // A sample's root has a name for each command of the program.
            fs::create_dir_all(root.join("bin"))?;
            for name in ["activated", "all", "fetch", "serve"] {
                std::os::unix::fs::symlink(PROBE, root.join("bin").join(name))?;
            }
            let root = root.display().to_string();
            for (name, text) in SAMPLES {
                let port = super::listen::free_port()?.to_string();
                let text = text.replace("@BUNDLES@/hello/rootfs", &root);
                d.write(name, &text.replace("127.0.0.1:8082", &format!("127.0.0.1:{port}")))?;
            }
            d.apply()?;
            for instance in ["checked.1", "told.1", "composed.1", "rolled.1", "rolled.4"] {
                d.until_it(instance, "ready", |i| i["state"] == "running" && i["ready"] == true)?;
            }
            d.until_it("told.1", "its status", |i| i["detail"] == "says: serves")?;
            ensure!(d.find("greeter.1")?.is_none(), "{:?}", d.find("greeter.1")?);
            Ok(())
        }),
        sup("files.picked-up-by-itself", "the services directory is watched").daemon(|d| {
            d.write("a", &d.text(&["trap", "TERM"], ""))?;
            d.until("a.1", "running")?;
            d.write("a", &d.text(&["trap", "TERM"], "hostname = 'new'\n"))?;
            d.until_it("a.1", "running anew", |i| i["run"] == "a.1.2" && i["state"] == "running")?;
            fs::remove_file(d.services.join("a.toml"))?;
            wait_for(d.t.seconds(), || Ok(d.find("a.1")?.is_none().then_some(()))).context("a.1 is there")
        }),
        sup("files.unchanged-restarts-nothing", "apply").daemon(|d| {
            d.resident("a", "")?;
            let pid = d.pid_of("a.1")?;
            for _ in 0..3 {
                d.write("a", &d.text(&["trap", "TERM"], "# other words, same meaning\n"))?;
                d.apply()?;
            }
            ensure!(d.pid_of("a.1")? == pid, "restarted for a comment");
            Ok(())
        }),
        sup("files.removed-and-added-fast", "a service removed and added again").seconds(40).daemon(|d| {
            d.resident("a", "")?;
            let text = d.text(&["trap", "TERM"], "");
            for _ in 0..100 {
                fs::remove_file(d.services.join("a.toml"))?;
                std::thread::sleep(Duration::from_millis(5));
                d.write("a", &text)?;
                std::thread::sleep(Duration::from_millis(5));
            }
            d.apply()?;
            d.until("a.1", "running")?;
            let runs: Vec<_> = crate::oracle::names(&d.run.join("keepers"));
            ensure!(runs.len() == 1, "more than one run: {runs:?}");
            Ok(())
        }),
    ]
}

fn broken() -> Vec<Case> {
    vec![
        sup("files.broken-stops-nobody", "broken files").daemon(|d| {
            d.resident("a", "")?;
            d.write("b", "this is no TOML [\n")?;
            d.write("c", &d.text(&["trap", "TERM"], ""))?;
            let answer = d.try_apply()?;
            ensure!(answer["problems"][0]["line"] == 1, "problems: {answer}");
            d.until("c.1", "running")?;
            d.is("a.1", "running").map(|_| ())
        }),
        sup("files.last-good-goes-on", "broken files").daemon(|d| {
            d.resident("a", super::SOON)?;
            let pid = d.pid_of("a.1")?;
            d.write("a", "root = 7\n")?;
            let answer = d.try_apply()?;
            ensure!(answer["problems"].to_string().contains("root"), "problems: {answer}");
            ensure!(d.pid_of("a.1")? == pid, "a broken file restarted it");
            let problems = d.get("/v1/services/a")?["problems"].clone();
            ensure!(problems[0]["key"] == "root", "status shows no problem: {problems}");
            // It is kept up by the version that was good, also by a daemon that never saw it on disk.
            d.crash_and_start()?;
            ensure!(d.pid_of("a.1")? == pid, "restarted");
            crate::os::kill(pid, libc::SIGKILL);
            d.until_it("a.1", "restarted", |i| i["restarts"] == 1 && i["state"] == "running")?;
            d.reboot()?;
            d.start()?;
            d.until("a.1", "running").map(|_| ())
        }),
        sup("files.repaired", "broken files").daemon(|d| {
            d.write("a", "root = 7\n")?;
            d.try_apply()?;
            d.resident("a", "")?;
            let problems = d.get("/v1/services/a")?["problems"].clone();
            ensure!(problems.as_array().is_some_and(Vec::is_empty), "problems that are solved: {problems}");
            Ok(())
        }),
        sup("files.droppings", "what editors leave").daemon(|d| {
            d.resident("a", "")?;
            for name in [
                ".a.toml.swp",
                "a.toml~",
                "#a.toml#",
                "a.toml.bak",
                "4913",
                "a.tmp",
                ".hidden.toml",
                "b.toml.swp",
            ] {
                fs::write(d.services.join(name), "nothing that could be read \0 as TOML")?;
            }
            fs::create_dir(d.services.join("directory"))?;
            d.apply()?;
            let all = texts(&d.get("/v1/instances")?, "instance");
            ensure!(all == ["a.1"], "instances: {all:?}");
            Ok(())
        }),
        sup("files.strange-files", "what is no regular file").daemon(|d| {
            d.resident("a", "")?;
            fs::create_dir(d.services.join("b.toml"))?;
            std::os::unix::fs::symlink("/dev/zero", d.services.join("c.toml"))?;
            std::os::unix::fs::symlink("/no/such", d.services.join("d.toml"))?;
            nix::unistd::mkfifo(&d.services.join("e.toml"), nix::sys::stat::Mode::S_IRWXU)?;
            let begun = Instant::now();
            let answer = d.try_apply()?;
            ensure!(begun.elapsed() < Duration::from_secs(5), "took {:?}", begun.elapsed());
            ensure!(answer["problems"].as_array().map_or(0, Vec::len) >= 4, "problems: {answer}");
            d.is("a.1", "running")?;
            for name in ["c.toml", "d.toml", "e.toml"] {
                fs::remove_file(d.services.join(name))?;
            }
            fs::remove_dir(d.services.join("b.toml"))?;
            d.apply()
        }),
        sup("files.written-byte-by-byte", "half-written files").daemon(|d| {
            let text = d.text(&["trap", "TERM"], "hostname = 'whole'\n");
            let mut file = fs::File::create(d.services.join("a.toml"))?;
            for byte in text.as_bytes() {
                std::io::Write::write_all(&mut file, &[*byte])?;
                std::thread::sleep(Duration::from_millis(1));
            }
            drop(file);
            d.until("a.1", "running")?;
            let out = d.ctl(&["exec", "a", "--", crate::base::PROBE, "hostname"])?.ok()?;
            ensure!(out.stdout == "whole\n", "host name {:?}", out.stdout);
            Ok(())
        }),
        sup("files.wrong-values", "wrong values").daemon(|d| {
            let root = d.t.rootfs().display().to_string();
            let head = format!("root = {root:?}\ncommand = ['/probe', 'trap', 'TERM']\n");
            let events = d.events()?;
            // The twin without a fault.
            let good = plan(d, "b", &head)?;
            ensure!(good["problems"].as_array().is_some_and(Vec::is_empty), "refused: {good}");
            let mut missed = Vec::new();
            for (text, key) in WRONG {
                let whole = text.strip_prefix('=').map_or_else(|| format!("{head}{text}\n"), String::from);
                missed.extend(complaint(&plan(d, "b", &whole)?, text, key));
            }
            ensure!(missed.is_empty(), "{}", missed.join("\n"));
            ensure!(d.find("b.1")?.is_none() && d.events()? == events, "a wrong value changed something");
            Ok(())
        }),
        sup("files.wrong-names", "wrong names").daemon(|d| {
            d.service("a", &["trap", "TERM"], "")?;
            for name in ["A", "a b", "a.b", "-a", "a-", "ä", &"x".repeat(64)] {
                fs::write(d.services.join(format!("{name}.toml")), d.text(&["trap", "TERM"], ""))?;
            }
            let answer = d.try_apply()?;
            ensure!(answer["problems"].as_array().map_or(0, Vec::len) >= 7, "problems: {answer}");
            let all = texts(&d.get("/v1/instances")?, "service");
            ensure!(all == ["a"], "services: {all:?}");
            Ok(())
        }),
    ]
}

/// What is wrong with the answer to a wrong text: it must be refused, with the key, in one line, with its place.
fn complaint(answer: &Value, text: &str, key: &str) -> Option<String> {
    let said = &answer["problems"];
    let problems = said.as_array()?;
    let hit = problems.iter().any(|p| p["key"].as_str().is_some_and(|k| k.starts_with(key)));
    let clear = |p: &Value| p["message"].as_str().is_some_and(|m| !m.is_empty() && !m.contains('\n'));
    // What is missing, and what shows only beside other files, has no place in this one.
    let placed = !text.starts_with('=') && !text.starts_with("depends_on");
    let what = match () {
        () if problems.is_empty() => "was accepted".to_string(),
        () if !hit => format!("no problem of {key:?}: {said}"),
        () if !problems.iter().all(clear) => format!("not one clear line: {said}"),
        () if placed && !problems.iter().all(|p| p["line"].as_u64() > Some(2)) => format!("no place: {said}"),
        () => return None,
    };
    Some(format!("{text:?}: {what}"))
}

/// What follows a good head, or `=` and the whole text; and the key that must be complained about.
const WRONG: [(&str, &str); 70] = [
    ("=", ""),
    ("=root = '/'", "root"),
    ("=command = ['/x']", ""),
    ("=root = '/a'\nbundle = '/b'\ncommand = ['/x']", ""),
    ("=root = 'relative'\ncommand = ['/x']", "root"),
    ("=root = '/a'\ncommand = []", "command"),
    ("=root = '/a'\ncommand = '/x'", "command"),
    ("=root = '/a'\ncommand = [7]", "command"),
    ("=root = '/a'\ncommand = ['/x']\ncommand = ['/y']", ""),
    ("=root = \"/a\\u0000b\"\ncommand = ['/x']", "root"),
    ("bundel = '/x'", "bundel"),
    ("health = {}", "health"),
    ("replicas = -1", "replicas"),
    ("replicas = 1001", "replicas"),
    ("replicas = '2'", "replicas"),
    ("replicas = 1.5", "replicas"),
    ("replicas = 99999999999999999999", ""),
    ("env = 'A=1'", "env"),
    ("env = { A = 1 }", "env"),
    ("env = { 'A=B' = 'x' }", "env"),
    ("env = { '' = 'x' }", "env"),
    ("env = { KNARR_RUN = 'x' }", "env"),
    ("env_files = ['relative']", "env_files"),
    ("workdir = 'relative'", "workdir"),
    ("user = 'nobody'", "user"),
    ("user = '-1:0'", "user"),
    ("user = 0", "user"),
    ("groups = [1]", "groups"),
    ("tty = 'yes'", "tty"),
    ("hostname = 'a/b'", "hostname"),
    ("hostname = ''", "hostname"),
    ("network = 'bridge'", "network"),
    ("network = { cni = ['../x'] }", "network"),
    ("ports = ['80/quic']", "ports"),
    ("ports = ['99999/tcp']", "ports"),
    ("limits = 7", "limits"),
    ("[limits]\nmemory = '64 apples'", "limits.memory"),
    ("[limits]\nmemory = -1", "limits.memory"),
    ("[limits]\nmemory = '1KiB'", "limits.memory"),
    ("[limits]\nswap = '1MiB'", "limits.swap"),
    ("[limits]\ncpus = 0", "limits.cpus"),
    ("[limits]\ncpus = 'all'", "limits.cpus"),
    ("[limits]\ncpu_weight = 0", "limits.cpu_weight"),
    ("[limits]\ncpuset = '3-1'", "limits.cpuset"),
    ("[limits]\npids = 0", "limits.pids"),
    ("[limits]\nnofile = 0", "limits.nofile"),
    ("[limits]\noom_score_adj = 1001", "limits.oom_score_adj"),
    ("[security]\ncapabilities_add = ['CAP_EVERYTHING']", "security.capabilities_add"),
    ("[security]\nseccomp = 'relative.json'", "security.seccomp"),
    ("restart = 'sometimes'", "restart"),
    ("[restart]\npolicy = 'on-failure:x'", "restart.policy"),
    ("[restart]\ndelay = 5", "restart.delay"),
    ("[restart]\ndelay = '-1s'", "restart.delay"),
    ("[restart]\ndelay = '1y'", "restart.delay"),
    ("[restart]\ndelay = '10s'\nmax_delay = '1s'", "restart"),
    ("[restart]\nrules = [{ codes = [256], action = 'fail' }]", "restart.rules[0].codes"),
    ("[restart]\nrules = [{ codes = [1] }]", "restart.rules[0]"),
    ("[restart]\nrules = [{ action = 'fail' }]", "restart.rules[0]"),
    ("[stop]\nsignal = 'SIGNOTHING'", "stop.signal"),
    ("[stop]\nsignal = 65", "stop.signal"),
    ("[stop]\ngrace = '100d'", "stop.grace"),
    ("[logs]\nmax_size = 1", "logs.max_size"),
    ("[logs]\nmax_files = 0", "logs.max_files"),
    ("mounts = [{ target = '/x' }]", "mounts[0]"),
    ("mounts = [{ source = '/x', target = '/a/../../b' }]", "mounts[0].target"),
    ("mounts = [{ source = '/x', target = '/proc/sys' }]", "mounts[0].target"),
    ("secrets = [{ source = '/x', target = '/y', mode = '999' }]", "secrets[0].mode"),
    ("depends_on = ['not-there']", "depends_on"),
    ("depends_on = ['b']", "depends_on"),
    ("hooks = { pre_start = [{ command = ['relative'] }] }", "hooks.pre_start[0].command"),
];

fn many() -> Vec<Case> {
    vec![sup("files.thousand", "1,000 service files").seconds(60).daemon(|d| {
        d.end()?;
        let text = d.text(&["trap", "TERM"], "replicas = 0\n");
        for n in 0..1000 {
            fs::write(d.services.join(format!("s{n}.toml")), &text)?;
        }
        d.write("a", &d.text(&["trap", "TERM"], ""))?;
        let begun = Instant::now();
        d.start()?;
        d.until("a.1", "running")?;
        let took = begun.elapsed();
        ensure!(
            took < Duration::from_secs(10 * u64::from(d.t.yard.patience)),
            "took {took:?} until the first ran"
        );
        let begun = Instant::now();
        d.apply()?;
        ensure!(
            begun.elapsed() < Duration::from_secs(5 * u64::from(d.t.yard.patience)),
            "a full pass took {:?}",
            begun.elapsed()
        );
        for n in 0..1000 {
            fs::remove_file(d.services.join(format!("s{n}.toml")))?;
        }
        d.apply()
    })]
}
