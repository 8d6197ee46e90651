//! Who the program is: user, groups, umask, capabilities, limits, keyring, personality, scheduling.
//! Every value is read from inside and compared with config.json.

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::base;
use crate::case::{Case, case};
use crate::host::Need;
use crate::os;

const USER: &str = "config.md#user";
const CAPS: &str = "config.md#linux-process capabilities";

/// All of this subject.
pub fn cases() -> Vec<Case> {
    let mut all = user();
    all.extend(capability_matrix());
    all.extend(limits());
    all.extend(few_descriptors());
    all.extend(process());
    all.extend(scheduling());
    all
}

fn user() -> Vec<Case> {
    vec![
        case("user.ids")
            .checks(USER)
            .probe(["id"])
            .spec(|s| s["process"]["user"] = json!({"uid": 1000, "gid": 1001}))
            .stdout("uid=1000 gid=1001 groups=\n"),
        case("user.groups-exact")
            .checks(USER)
            .probe(["id"])
            .spec(|s| s["process"]["user"] = json!({"uid": 5, "gid": 6, "additionalGids": [10, 2000]}))
            .stdout("uid=5 gid=6 groups=10,2000\n"),
        case("user.caller-groups-dropped").checks("catalogue S32").probe(["id"]).steps(|t| {
            t.write_config()?;
            let (bundle, id) = (t.bundle.display().to_string(), t.id.clone());
            t.rt(&["run", "--bundle", &bundle, &id])
                .adjust(|c| os::with_groups(c, (100..120).collect()))
                .run()?
                .ok()?
                .prints("uid=0 gid=0 groups=\n")?;
            Ok(())
        }),
        case("user.caller-groups-dropped-exec").checks("catalogue S32").steps(|t| {
            t.resident()?;
            let id = t.id.clone();
            t.rt(&["exec", &id, "/probe", "id"])
                .adjust(|c| os::with_groups(c, (100..120).collect()))
                .run()?
                .ok()?
                .prints("uid=0 gid=0 groups=\n")?;
            Ok(())
        }),
        case("user.highest-id")
            .checks("catalogue S40")
            .probe(["id"])
            .spec(|s| s["process"]["user"] = json!({"uid": 4294967294u32, "gid": 2147483648u32}))
            .stdout("uid=4294967294 gid=2147483648 groups=\n"),
        case("user.numbers-are-not-names")
            .checks("catalogue S40")
            .probe(["id"])
            .prepare(|t| {
                t.put("etc/passwd", "1000:x:0:0::/:/bin/sh\nroot:x:0:0::/:/bin/sh\n", 0o644)?;
                t.put("etc/group", "1000:x:0:root\nwheel:x:77:1000\n", 0o644)?;
                Ok(())
            })
            .spec(|s| s["process"]["user"] = json!({"uid": 1000, "gid": 1000}))
            .output(|o| {
                ensure!(o.starts_with("uid=1000 gid=1000 "), "{o}");
                Ok(())
            }),
        case("user.umask-default")
            .checks("config.md#posix-platform-user umask")
            .probe(["umask"])
            .stdout("0022\n"),
        case("user.umask-set")
            .checks("config.md#posix-platform-user umask")
            .probe(["umask"])
            .spec(|s| s["process"]["user"]["umask"] = 63.into())
            .stdout("0077\n"),
        case("user.stdio-usable")
            .checks("cli: stdio of another user")
            .spec(|s| s["process"]["user"] = json!({"uid": 1000, "gid": 1000}))
            .sh("echo hello > /dev/stdout")
            .stdout("hello\n"),
    ]
}

/// Lines of `caps` for the five sets.
fn sets(inh: u64, prm: u64, eff: u64, bnd: u64, amb: u64) -> String {
    format!(
        "CapInh: {inh:016x}\nCapPrm: {prm:016x}\nCapEff: {eff:016x}\nCapBnd: {bnd:016x}\nCapAmb: {amb:016x}\n"
    )
}

fn capability_matrix() -> Vec<Case> {
    const KILL: u64 = 1 << 5;
    const CHOWN: u64 = 1;
    const BIND: u64 = 1 << 10;
    let all = |names: &[&str]| names.iter().map(|n| json!(n)).collect::<Vec<_>>();
    let three = all(&["CAP_CHOWN", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    let one = all(&["CAP_KILL"]);
    let every = CHOWN | KILL | BIND;
    let (t1, t2, t3, t4) = (three.clone(), three.clone(), three.clone(), three.clone());
    let (o1, o2) = (one.clone(), one);
    let user = |uid: u32| json!({"uid": uid, "gid": uid});
    vec![
        case("caps.root").checks(CAPS).probe(["caps"]).spec(move |s| s["process"]["capabilities"] = json!({"bounding": t1, "effective": t1, "permitted": t1})).stdout(sets(0, every, every, every, 0)),
        case("caps.user-without-ambient").checks(CAPS).probe(["caps"]).spec(move |s| {
            s["process"]["user"] = user(1000);
            s["process"]["capabilities"] = json!({"bounding": t2, "effective": t2, "permitted": t2});
        }).stdout(sets(0, 0, 0, every, 0)),
        case("caps.user-with-ambient").checks(CAPS).probe(["caps"]).spec(move |s| {
            s["process"]["user"] = user(1000);
            s["process"]["capabilities"] = json!({"bounding": t3, "effective": t3, "permitted": t3, "inheritable": o1, "ambient": o1});
        }).stdout(sets(KILL, KILL, KILL, every, KILL)),
        case("caps.bounding-only").checks(CAPS).probe(["caps"]).spec(move |s| {
            s["process"]["user"] = user(1000);
            s["process"]["capabilities"] = json!({"bounding": o2});
        }).stdout(sets(0, 0, 0, KILL, 0)),
        case("caps.empty").checks(CAPS).probe(["caps"]).spec(|s| s["process"]["capabilities"] = json!({"bounding": [], "effective": [], "permitted": []})).stdout(sets(0, 0, 0, 0, 0)),
        case("caps.absent").checks("catalogue S33").probe(["caps"]).spec(|s| {
            if let Some(p) = s["process"].as_object_mut() {
                p.remove("capabilities");
            }
        }).stdout(sets(0, 0, 0, 0, 0)),
        case("caps.inheritable").checks(CAPS).probe(["caps"]).spec(move |s| s["process"]["capabilities"] = json!({"bounding": t4, "effective": t4, "permitted": t4, "inheritable": t4})).stdout(sets(every, every, every, every, 0)),
        case("caps.all-of-the-host").checks(CAPS).probe(["caps"]).prepare(|t| {
            base::capabilities(&mut t.spec, &["CAP_SYS_ADMIN", "CAP_MKNOD", "CAP_CHECKPOINT_RESTORE", "CAP_BPF", "CAP_PERFMON"]);
            Ok(())
        }).output(|o| {
            let want = (1u64 << 21) | (1 << 27) | (1 << 38) | (1 << 39) | (1 << 40);
            ensure!(o == sets(0, want, want, want, 0), "{o}");
            Ok(())
        }),
        case("caps.no-new-privs-on").checks("config.md#linux-process noNewPrivileges").probe(["status"]).line("NoNewPrivs:\t1"),
        case("caps.no-new-privs-off").checks("config.md#linux-process noNewPrivileges").probe(["status"]).spec(|s| s["process"]["noNewPrivileges"] = false.into()).line("NoNewPrivs:\t0"),
        case("caps.exec-cap-flag").checks("cli: exec --cap").steps(|t| {
            t.resident()?;
            let id = t.id.clone();
            let out = t.rt(&["exec", "--cap", "CAP_KILL", &id, "/probe", "caps"]).run()?.ok()?.stdout;
            ensure!(out.contains(&format!("CapBnd: {:016x}", KILL | 1 << 29 | BIND)) , "{out}");
            Ok(())
        }),
    ]
}

fn limits() -> Vec<Case> {
    vec![
        case("rlimit.nofile")
            .checks("config.md#posix-process rlimits")
            .probe(["limits"])
            .spec(|s| s["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 500, "hard": 600}]))
            .line("RLIMIT_NOFILE 500 600"),
        case("rlimit.raised-hard")
            .checks("config.md#posix-process rlimits")
            .needs([Need::CapSysResource])
            .probe(["limits"])
            .spec(|s| {
                s["process"]["rlimits"] =
                    json!([{"type": "RLIMIT_MEMLOCK", "soft": 1024, "hard": 1099511627776u64}]);
            })
            .line("RLIMIT_MEMLOCK 1024 1099511627776"),
        case("rlimit.several")
            .checks("config.md#posix-process rlimits")
            .probe(["limits"])
            .spec(|s| {
                s["process"]["rlimits"] = json!([
                    {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
                    {"type": "RLIMIT_NPROC", "soft": 100, "hard": 200},
                    {"type": "RLIMIT_STACK", "soft": 4194304, "hard": 8388608},
                    {"type": "RLIMIT_FSIZE", "soft": 1048576, "hard": 1048576}
                ]);
            })
            .line("RLIMIT_CORE 0 0")
            .line("RLIMIT_NPROC 100 200")
            .line("RLIMIT_STACK 4194304 8388608")
            .line("RLIMIT_FSIZE 1048576 1048576"),
        case("rlimit.as-small")
            .checks("config.md#posix-process rlimits")
            .probe(["limits"])
            .spec(|s| {
                s["process"]["rlimits"] = json!([{"type": "RLIMIT_AS", "soft": 67108864, "hard": 67108864}])
            })
            .line("RLIMIT_AS 67108864 67108864"),
        case("rlimit.not-given-stay")
            .checks("config.md#posix-process rlimits")
            .probe(["limits"])
            .spec(|s| s["process"]["rlimits"] = json!([]))
            .output(|o| {
                let own = std::fs::read_to_string("/proc/self/limits")?;
                let line = own.lines().find(|l| l.starts_with("Max processes")).context("no such line")?;
                let words: Vec<&str> = line.split_whitespace().collect();
                let want = format!("RLIMIT_NPROC {} {}", words[2], words[3]);
                ensure!(o.lines().any(|l| l == want), "want {want:?} in {o}");
                Ok(())
            }),
        case("rlimit.above-the-callers")
            .checks("config.md#posix-process rlimits")
            .needs([Need::CapSysResource])
            .probe(["limits"])
            .spec(|s| {
                s["process"]["rlimits"] =
                    json!([{"type": "RLIMIT_NPROC", "soft": 3_000_000, "hard": 4_000_000}]);
            })
            .line("RLIMIT_NPROC 3000000 4000000"),
        case("rlimit.exec-same")
            .checks("cli: exec")
            .spec(|s| s["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 500, "hard": 600}]))
            .steps(|t| {
                t.resident()?;
                let out = t.exec_probe(&["limits"])?.ok()?.stdout;
                ensure!(out.lines().any(|l| l == "RLIMIT_NOFILE 500 600"), "{out}");
                Ok(())
            }),
    ]
}

/// Fewer descriptors than a runtime has open: a limit is the program's, not the runtime's.
fn few_descriptors() -> Vec<Case> {
    let few = |n: u64| {
        case(format!("rlimit.nofile-{n}"))
            .checks("config.md#posix-process rlimits")
            .spec(move |s| {
                s["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": n, "hard": n}]);
                s["process"]["args"] = json!([crate::base::PROBE, "limits"]);
            })
            .created(|_| Ok(()))
            .line(format!("RLIMIT_NOFILE {n} {n}"))
    };
    vec![few(3), few(8)]
}

fn process() -> Vec<Case> {
    vec![
        case("process.args-exact")
            .checks("config.md#process args")
            .probe(["argv"])
            .spec(|s| s["process"]["args"] = json!(["/probe", "argv", "a b", "", "-x", "\u{e4}"]))
            .stdout("0 /probe\n1 argv\n2 a b\n3 \n4 -x\n5 \u{e4}\n"),
        case("process.env-exact")
            .checks("config.md#process env")
            .probe(["env"])
            .spec(|s| s["process"]["env"] = json!(["A=1", "B=two words", "C="]))
            .output(env_of(&["A=1", "B=two words", "C="])),
        case("process.path-lookup")
            .checks("config.md#process args")
            .spec(|s| {
                s["process"]["env"] = json!(["PATH=/nowhere:/"]);
                s["process"]["args"] = json!(["probe", "echo", "found"]);
            })
            .stdout("found\n"),
        case("process.cwd")
            .checks("config.md#process cwd")
            .probe(["cwd"])
            .spec(|s| s["process"]["cwd"] = "/data".into())
            .stdout("/data\n"),
        case("process.cwd-is-made")
            .checks("cli: cwd that does not exist")
            .probe(["cwd"])
            .spec(|s| s["process"]["cwd"] = "/not/yet".into())
            .stdout("/not/yet\n"),
        case("process.pid-1").checks("config-linux.md#namespaces pid").probe(["pid"]).stdout("1\n"),
        case("process.oom-score")
            .checks("config.md#linux-process oomScoreAdj")
            .probe(["oom"])
            .spec(|s| s["process"]["oomScoreAdj"] = 500.into())
            .stdout("500\n"),
        case("process.oom-score-lowered")
            .checks("config.md#linux-process oomScoreAdj")
            .needs([Need::CapSysResource])
            .probe(["oom"])
            .spec(|s| s["process"]["oomScoreAdj"] = (-500).into())
            .stdout("-500\n"),
        case("process.oom-score-inherited")
            .checks("config.md#linux-process oomScoreAdj")
            .probe(["oom"])
            .output(|o| {
                ensure!(o == std::fs::read_to_string("/proc/self/oom_score_adj")?, "{o}");
                Ok(())
            }),
        case("process.keyring-new").checks("catalogue S39").probe(["keyring"]).steps(|t| {
            let out = t.run()?.ok()?.stdout;
            ensure!(out.contains(&t.id), "the session keyring is not the container's: {out}");
            Ok(())
        }),
        case("process.keyring-kept").checks("cli: --no-new-keyring").probe(["keyring"]).steps(|t| {
            t.flags.push("--no-new-keyring".into());
            let out = t.run()?.ok()?.stdout;
            ensure!(
                out.contains("keyring;") && !out.contains(&t.id),
                "a new session keyring was made: {out}"
            );
            Ok(())
        }),
        case("process.personality")
            .checks("config-linux.md#personality")
            .needs([Need::X86_64])
            .probe(["personality"])
            .spec(|s| s["linux"]["personality"] = json!({"domain": "LINUX32"}))
            .stdout("0x8\n"),
        case("process.signals-clean")
            .checks("config.md#process")
            .probe(["status"])
            .line("SigBlk:\t0000000000000000")
            .output(|o| {
                // What the caller ignores is inherited; std gives SIGPIPE back to children.
                let field = |text: &str| -> Option<u64> {
                    u64::from_str_radix(text.lines().find_map(|l| l.strip_prefix("SigIgn:"))?.trim(), 16).ok()
                };
                let own = field(&std::fs::read_to_string("/proc/self/status")?).context("SigIgn")?;
                let got = field(o).context("SigIgn")?;
                ensure!(
                    got & !own == 0 && got & (1 << (libc::SIGPIPE - 1)) == 0,
                    "ignored signals {got:x}, ours {own:x}"
                );
                Ok(())
            }),
        case("process.of-another-platform").checks("config.md#process: username, commandLine").steps(|t| {
            t.spec["process"]["user"]["username"] = "somebody".into();
            t.spec["process"]["commandLine"] = "probe.exe".into();
            let out = t.run()?.ok()?;
            if t.runtime.strict {
                for field in ["/process/user/username", "/process/commandLine"] {
                    ensure!(out.log.contains(field), "no word about {field}: {}", out.log);
                }
            }
            Ok(())
        }),
        case("process.dumpable-parent-death").checks("config.md#process").probe(["posture"]).output(|o| {
            let p: serde_json::Value = serde_json::from_str(o)?;
            ensure!(p["parentDeathSignal"] == 0, "parentDeathSignal is {}", p["parentDeathSignal"]);
            ensure!(p["childSubreaper"] == 0, "childSubreaper is {}", p["childSubreaper"]);
            ensure!(p["securebits"] == 0, "securebits is {}", p["securebits"]);
            Ok(())
        }),
        case("process.commandline-hidden")
            .checks("catalogue S06")
            .probe(["cat", "/proc/1/status"])
            .stdout_has("Pid:\t1"),
    ]
}

fn env_of(want: &'static [&'static str]) -> impl Fn(&str) -> Result<()> + 'static {
    move |o| {
        let mut got: Vec<&str> = o.lines().filter(|l| !l.starts_with("HOME=")).collect();
        got.sort_unstable();
        let mut want = want.to_vec();
        want.sort_unstable();
        ensure!(got == want, "environment is {got:?}, want {want:?}");
        Ok(())
    }
}

fn scheduling() -> Vec<Case> {
    vec![
        case("sched.batch")
            .checks("config.md#linux-process scheduler")
            .probe(["sched"])
            .spec(|s| s["process"]["scheduler"] = json!({"policy": "SCHED_BATCH", "nice": 5}))
            .stdout_has("policy=SCHED_BATCH nice=5 "),
        case("sched.other-nice")
            .checks("config.md#linux-process scheduler")
            .probe(["sched"])
            .spec(|s| s["process"]["scheduler"] = json!({"policy": "SCHED_OTHER", "nice": 7}))
            .stdout_has("policy=SCHED_OTHER nice=7 "),
        case("sched.idle")
            .checks("config.md#linux-process scheduler")
            .probe(["sched"])
            .spec(|s| s["process"]["scheduler"] = json!({"policy": "SCHED_IDLE"}))
            .stdout_has("policy=SCHED_IDLE "),
        case("sched.deadline")
            .checks("config.md#linux-process scheduler runtime, deadline, period")
            .probe(["sched"])
            .spec(|s| {
                s["process"]["scheduler"] = json!({"policy": "SCHED_DEADLINE", "runtime": 1_000_000,
                    "deadline": 20_000_000, "period": 30_000_000});
            })
            .stdout_has("policy=SCHED_DEADLINE nice=0 priority=0 flags=0x0 runtime=1000000 deadline=20000000 period=30000000"),
        case("sched.untouched")
            .checks("config.md#linux-process scheduler")
            .probe(["sched"])
            .stdout_has(format!("policy=SCHED_OTHER nice={} ", own_nice())),
        case("sched.reset-on-fork")
            .checks("config.md#linux-process scheduler flags")
            .probe(["sched"])
            .spec(|s| {
                s["process"]["scheduler"] =
                    json!({"policy": "SCHED_BATCH", "nice": 1, "flags": ["SCHED_FLAG_RESET_ON_FORK"]})
            })
            .stdout_has("policy=SCHED_BATCH nice=1 priority=0 flags=0x1"),
        case("ioprio.best-effort")
            .checks("config.md#linux-process ioPriority")
            .probe(["ioprio"])
            .spec(|s| s["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_BE", "priority": 6}))
            .stdout("class=IOPRIO_CLASS_BE level=6\n"),
        case("ioprio.idle")
            .checks("config.md#linux-process ioPriority")
            .probe(["ioprio"])
            .spec(|s| s["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_IDLE", "priority": 0}))
            .stdout_has("class=IOPRIO_CLASS_IDLE"),
    ]
}

/// The suite's own: who says nothing about it hands it on.
fn own_nice() -> i64 {
    procfs::process::Process::myself().and_then(|me| me.stat()).map_or(0, |stat| stat.nice)
}
