//! Hooks: six kinds, in order, in the right namespaces, with the state on stdin and exactly their environment.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::base::PROBE;
use crate::case::{Case, case};
use crate::host::Need;
use crate::trial::{Trial, wait_for};

const HOOKS: &str = "config.md#posix-platform-hooks";

const KINDS: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// Adds a hook that runs a shell script; `startContainer` sees the container's files, the others the host's.
fn hook(t: &mut Trial<'_>, kind: &str, script: &str) -> Result<()> {
    let busybox = t.yard.busybox.clone().context("busybox")?.display().to_string();
    let path = if kind == "startContainer" { "/bin/busybox".to_string() } else { busybox };
    let script = script.replace("@bb", &path);
    let entry = json!({"path": path, "args": ["sh", "-c", script]});
    match t.spec["hooks"][kind].as_array_mut() {
        Some(list) => list.push(entry),
        None => t.spec["hooks"][kind] = json!([entry]),
    }
    Ok(())
}

/// The same file, by its name on the host or in the container.
fn shared(t: &Trial<'_>, kind: &str, name: &str) -> String {
    if kind == "startContainer" {
        format!("/data/{name}")
    } else {
        t.rootfs().join("data").join(name).display().to_string()
    }
}

fn seen(t: &Trial<'_>, name: &str) -> String {
    crate::trial::read_lossy(&t.rootfs().join("data").join(name))
}

/// Runs the container by create, start, delete.
fn whole_life(t: &mut Trial<'_>) -> Result<()> {
    t.create()?;
    let pid = t.pid()?;
    t.start()?;
    t.ended(pid)?;
    t.verb("delete", &[])?.ok()?;
    Ok(())
}

/// All of this subject.
pub fn cases() -> Vec<Case> {
    let mut all = order();
    all.extend(surroundings());
    all.extend(failures());
    for c in &mut all {
        c.needs.push(Need::Busybox);
    }
    all
}

fn order() -> Vec<Case> {
    vec![
        case("hooks.order").checks(HOOKS).steps(|t| {
            for kind in KINDS {
                let file = shared(t, kind, "order");
                hook(t, kind, &format!("echo {kind} >> {file}"))?;
            }
            t.create()?;
            ensure!(
                seen(t, "order") == "prestart\ncreateRuntime\ncreateContainer\n",
                "after create: {:?}",
                seen(t, "order")
            );
            let pid = t.pid()?;
            t.start()?;
            t.ended(pid)?;
            ensure!(
                seen(t, "order").ends_with("startContainer\npoststart\n"),
                "after start: {:?}",
                seen(t, "order")
            );
            t.verb("delete", &[])?.ok()?;
            ensure!(seen(t, "order") == KINDS.map(|k| format!("{k}\n")).concat(), "{:?}", seen(t, "order"));
            Ok(())
        }),
        case("hooks.order-in-run").checks(HOOKS).steps(|t| {
            for kind in KINDS {
                let file = shared(t, kind, "order");
                hook(t, kind, &format!("echo {kind} >> {file}"))?;
            }
            t.run()?.ok()?;
            let got = seen(t, "order");
            ensure!(got == KINDS.map(|k| format!("{k}\n")).concat(), "{got:?}");
            Ok(())
        }),
        case("hooks.listed-order").checks(HOOKS).steps(|t| {
            let file = shared(t, "createRuntime", "order");
            for n in 1..=4 {
                hook(t, "createRuntime", &format!("echo {n} >> {file}"))?;
            }
            t.run()?.ok()?;
            ensure!(seen(t, "order") == "1\n2\n3\n4\n", "{:?}", seen(t, "order"));
            Ok(())
        }),
        case("hooks.start-container-before-program")
            .checks("config.md#startcontainer-hooks")
            .sh("cat /data/early; echo program")
            .steps(|t| {
                hook(t, "startContainer", "echo early > /data/early")?;
                t.run()?.ok()?.prints("early\nprogram\n")?;
                Ok(())
            }),
        case("hooks.created-before-start").checks("config.md#createruntime-hooks").steps(|t| {
            let file = shared(t, "poststart", "x");
            hook(t, "poststart", &format!("echo x > {file}"))?;
            t.create()?;
            ensure!(seen(t, "x").is_empty(), "poststart ran before start");
            t.start()?;
            ensure!(seen(t, "x") == "x\n", "poststart did not run");
            Ok(())
        }),
    ]
}

fn surroundings() -> Vec<Case> {
    let status = |kind: &'static str, want: &'static [&'static str]| {
        case(format!("hooks.state-{kind}")).checks("config.md#posix-platform-hooks state on stdin").steps(
            move |t| {
                let file = shared(t, kind, "state");
                hook(t, kind, &format!("cat > {file}"))?;
                t.spec["annotations"] = json!({"key": "value"});
                whole_life(t)?;
                let text = seen(t, "state");
                let state: Value =
                    serde_json::from_str(&text).with_context(|| format!("the state is {text:?}"))?;
                ensure!(state["id"] == *t.id, "{state}");
                ensure!(
                    want.iter().any(|w| state["status"] == *w),
                    "status {}, want {want:?}",
                    state["status"]
                );
                ensure!(state["bundle"] == *t.bundle.display().to_string(), "{state}");
                ensure!(state["ociVersion"].as_str().is_some_and(|v| v.starts_with("1.")), "{state}");
                ensure!(state["annotations"]["key"] == "value", "{state}");
                if kind != "poststop" {
                    ensure!(state["pid"].as_i64().is_some_and(|p| p > 0), "{state}");
                }
                Ok(())
            },
        )
    };
    let namespace = |kind: &'static str, inside: bool| {
        case(format!("hooks.namespace-{kind}")).checks("config.md#summary of hook namespaces").steps(
            move |t| {
                let file = shared(t, kind, "ns");
                hook(t, kind, &format!("@bb readlink /proc/self/ns/mnt > {file}"))?;
                whole_life(t)?;
                let text = seen(t, "ns");
                let own = std::fs::read_link("/proc/self/ns/mnt")?.display().to_string();
                let mnt = text.trim();
                ensure!(mnt.starts_with("mnt:"), "no namespace in {text:?}");
                ensure!((mnt != own) == inside, "{kind} ran with {mnt}, the caller has {own}");
                Ok(())
            },
        )
    };
    vec![
        status("prestart", &["creating", "created"]),
        status("createRuntime", &["creating", "created"]),
        status("createContainer", &["creating", "created"]),
        status("startContainer", &["created", "creating"]),
        status("poststart", &["running"]),
        status("poststop", &["stopped"]),
        namespace("prestart", false),
        namespace("createRuntime", false),
        namespace("createContainer", true),
        namespace("startContainer", true),
        namespace("poststart", false),
        namespace("poststop", false),
        case("hooks.env-exact").checks("config.md#posix-platform-hooks env").steps(|t| {
            for kind in ["createRuntime", "createContainer", "startContainer"] {
                let file = shared(t, kind, kind);
                hook(t, kind, &format!("@bb tr '\\0' '\\n' < /proc/self/environ > {file}; echo end >> {file}"))?;
                t.spec["hooks"][kind][0]["env"] = json!(["ONE=1", "TWO=a b"]);
            }
            t.run()?.ok()?;
            for kind in ["createRuntime", "createContainer", "startContainer"] {
                ensure!(seen(t, kind) == "ONE=1\nTWO=a b\nend\n", "{kind}: {:?}", seen(t, kind));
            }
            Ok(())
        }),
        case("hooks.env-empty").checks("catalogue S46").steps(|t| {
            let file = shared(t, "createRuntime", "env");
            hook(t, "createRuntime", &format!("@bb tr '\\0' '\\n' < /proc/self/environ > {file}; echo end >> {file}"))?;
            t.write_config()?;
            let (bundle, id) = (t.bundle.display().to_string(), t.id.clone());
            t.rt(&["run", "--bundle", &bundle, &id]).env("SECRET_OF_CALLER", "x").run()?.ok()?;
            ensure!(seen(t, "env") == "end\n", "{:?}", seen(t, "env"));
            Ok(())
        }),
        case("hooks.cwd-is-bundle").checks("catalogue S46").steps(|t| {
            let file = shared(t, "createRuntime", "cwd");
            hook(t, "createRuntime", &format!("@bb readlink /proc/$$/cwd > {file}"))?;
            t.run()?.ok()?;
            let want = format!("{}\n", t.bundle.display());
            ensure!(seen(t, "cwd") == want, "{:?}, want {want:?}", seen(t, "cwd"));
            Ok(())
        }),
        case("hooks.args-exact").checks(HOOKS).steps(|t| {
            let file = shared(t, "createRuntime", "args");
            let busybox = t.yard.busybox.clone().context("busybox")?.display().to_string();
            t.spec["hooks"]["createRuntime"] = json!([{"path": busybox, "args": ["sh", "-c", format!("echo \"$0|$1|$2\" > {file}"), "zero", "a b", ""]}]);
            t.run()?.ok()?;
            ensure!(seen(t, "args") == "zero|a b|\n", "{:?}", seen(t, "args"));
            Ok(())
        }),
        case("hooks.pid-is-init").checks(HOOKS).steps(|t| {
            let file = shared(t, "createRuntime", "state");
            hook(t, "createRuntime", &format!("cat > {file}"))?;
            t.create()?;
            let pid = t.pid()?;
            let state: Value = serde_json::from_str(&seen(t, "state"))?;
            ensure!(state["pid"] == pid, "hook saw {}, state says {pid}", state["pid"]);
            Ok(())
        }),
        case("hooks.runtime-sees-container-namespaces").checks("cli: network hooks use the pid").steps(|t| {
            let file = shared(t, "createRuntime", "net");
            hook(t, "createRuntime", &format!("pid=$(@bb sed -n 's/.*\"pid\": *\\([0-9]*\\).*/\\1/p'); @bb readlink /proc/$pid/ns/net > {file}"))?;
            t.create()?;
            let pid = t.pid()?;
            let want = std::fs::read_link(format!("/proc/{pid}/ns/net"))?.display().to_string();
            ensure!(seen(t, "net").trim() == want, "{:?}, want {want}", seen(t, "net"));
            ensure!(want != std::fs::read_link("/proc/self/ns/net")?.display().to_string(), "the caller's network");
            Ok(())
        }),
    ]
}

fn failures() -> Vec<Case> {
    let mut all: Vec<Case> = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart"]
        .into_iter()
        .map(|kind| {
            case(format!("hooks.fail-{kind}"))
                .checks("config.md#posix-platform-hooks errors")
                .prepare(move |t| hook(t, kind, "exit 0"))
                .fault(move |t| {
                    t.spec["hooks"][kind][0]["args"] = json!(["sh", "-c", "echo the reason >&2; exit 7"]);
                    Ok(())
                })
                .refused(format!("/hooks/{kind}/0"), "7")
        })
        .collect();
    all.extend([
        case("hooks.fail-second").checks("cli: error running HOOK hook #1").prepare(|t| {
            hook(t, "createRuntime", "exit 0")?;
            hook(t, "createRuntime", "exit 0")
        }).fault(|t| {
            t.spec["hooks"]["createRuntime"][1]["args"] = json!(["sh", "-c", "exit 1"]);
            Ok(())
        }).refused("/hooks/createRuntime/1", "hook #1"),
        case("hooks.fail-poststop-still-deletes").checks("config.md#poststop").steps(|t| {
            let file = shared(t, "poststop", "after");
            hook(t, "poststop", "exit 1")?;
            hook(t, "poststop", &format!("echo second > {file}"))?;
            t.create()?;
            t.remove()?;
            t.verb("state", &[])?.exits(1)?.says("does not exist")?;
            Ok(())
        }),
        case("hooks.timeout").checks("config.md#posix-platform-hooks timeout").steps(|t| {
            hook(t, "createRuntime", "exit 0")?;
            let busybox = t.yard.busybox.clone().context("busybox")?.display().to_string();
            t.spec["hooks"]["createRuntime"][0] = json!({"path": busybox, "args": ["sleep", "60"], "timeout": 1});
            let begun = Instant::now();
            t.try_create()?.exits(1)?.fails()?;
            let took = begun.elapsed();
            let limit = Duration::from_secs(4 * u64::from(t.yard.patience));
            ensure!(took >= Duration::from_millis(900) && took < limit, "it took {took:?}");
            wait_for(2, || Ok(crate::oracle::children().is_empty().then_some(()))).context("the hook is left")?;
            Ok(())
        }),
        case("hooks.state-not-read").checks("config.md#posix-platform-hooks timeout").steps(|t| {
            // More than a pipe holds, for a hook that reads nothing of it.
            t.spec["annotations"] = json!({"large": "v".repeat(1 << 20)});
            hook(t, "createRuntime", "sleep 60")?;
            t.spec["hooks"]["createRuntime"][0]["timeout"] = 1.into();
            let begun = Instant::now();
            t.try_create()?.exits(1)?.fails()?;
            let took = begun.elapsed();
            ensure!(took < Duration::from_secs(5 * u64::from(t.yard.patience)), "it took {took:?}");
            wait_for(2, || Ok(crate::oracle::children().is_empty().then_some(()))).context("the hook is left")
        }),
        case("hooks.ends-init").checks("cli: the reason is named").steps(|t| {
            t.works()?;
            hook(t, "createRuntime", r#"p=$(sed 's/.*"pid":\([0-9]*\).*/\1/'); kill -9 $p; sleep 0.2"#)?;
            let out = t.try_create()?.exits(1)?.fails()?;
            if t.runtime.strict {
                out.says("init ended")?;
            }
            Ok(())
        }),
        case("hooks.end-with-the-runtime").checks("fault K08: killed while a hook runs").steps(|t| {
            t.works()?;
            for kind in ["prestart", "createRuntime", "createContainer"] {
                let sign = shared(t, kind, kind);
                t.spec["hooks"] = json!({});
                hook(t, kind, &format!("echo > {sign}; exec @bb sleep 60"))?;
                t.write_config()?;
                let (bundle, id) = (t.bundle.display().to_string(), t.id.clone());
                let running = t.rt(&["create", "--bundle", &bundle, &id]).spawn()?;
                wait_for(t.seconds(), || Ok(Path::new(&sign).exists().then_some(())))?;
                crate::os::kill(running.pid() as i32, libc::SIGKILL);
                running.wait()?.exits(137)?;
                wait_for(2, || Ok(crate::oracle::children().is_empty().then_some(())))
                    .with_context(|| format!("{kind}: left is {:?}", crate::oracle::children()))?;
                t.remove()?;
            }
            Ok(())
        }),
        case("hooks.timeout-huge").checks("config.md#posix-platform-hooks timeout").probe(["echo", "ran"]).prepare(|t| {
            hook(t, "createRuntime", "exit 0")?;
            hook(t, "createContainer", "exit 0")?;
            for kind in ["createRuntime", "createContainer"] {
                t.spec["hooks"][kind][0]["timeout"] = i64::MAX.into();
            }
            Ok(())
        }).stdout("ran\n"),
        case("hooks.timeout-not-reached").checks("config.md#posix-platform-hooks timeout").steps(|t| {
            let file = shared(t, "createRuntime", "x");
            hook(t, "createRuntime", &format!("echo x > {file}"))?;
            t.spec["hooks"]["createRuntime"][0]["timeout"] = 10.into();
            t.run()?.ok()?;
            ensure!(seen(t, "x") == "x\n", "the hook did not run");
            Ok(())
        }),
        case("hooks.killed").checks("catalogue B097").prepare(|t| hook(t, "createRuntime", "exit 0")).fault(|t| {
            t.spec["hooks"]["createRuntime"][0]["args"] = json!(["sh", "-c", "kill -9 $$"]);
            Ok(())
        }).refused("/hooks/createRuntime/0", "signal 9"),
        case("hooks.not-executable").checks("catalogue B096").prepare(|t| hook(t, "createRuntime", "exit 0")).fault(|t| {
            let path = t.dir.join("plain");
            std::fs::write(&path, "not a program")?;
            t.spec["hooks"]["createRuntime"][0]["path"] = path.display().to_string().into();
            Ok(())
        }).refused("/hooks/createRuntime/0", "permission denied"),
        case("hooks.no-interpreter").checks("catalogue B096").prepare(|t| hook(t, "createRuntime", "exit 0")).fault(|t| {
            // execve(2) knows no such format; nobody guesses that it is for /bin/sh.
            let path = t.dir.join("script");
            std::fs::write(&path, "exit 0\n")?;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
            t.spec["hooks"]["createRuntime"][0]["path"] = path.display().to_string().into();
            Ok(())
        }).refused("/hooks/createRuntime/0", "exec format error"),
        case("hooks.missing").checks("catalogue B096").prepare(|t| hook(t, "createRuntime", "exit 0")).wrong(|s| s["hooks"]["createRuntime"][0]["path"] = "/not/there".into()).refused("/hooks/createRuntime/0", "/not/there"),
        case("hooks.relative").checks("catalogue B096").prepare(|t| hook(t, "createRuntime", "exit 0")).wrong(|s| s["hooks"]["createRuntime"][0]["path"] = "bin/true".into()).refused("/hooks/createRuntime/0/path", "absolute"),
        case("hooks.timeout-zero").checks("catalogue B098").prepare(|t| hook(t, "createRuntime", "exit 0")).wrong(|s| s["hooks"]["createRuntime"][0]["timeout"] = 0.into()).refused("/hooks/createRuntime/0/timeout", "0"),
        case("hooks.timeout-negative").checks("catalogue B098").prepare(|t| hook(t, "createRuntime", "exit 0")).wrong(|s| s["hooks"]["createRuntime"][0]["timeout"] = (-5).into()).refused("/hooks/createRuntime/0/timeout", "-5"),
        case("hooks.loud-stderr").checks("catalogue B097").prepare(|t| hook(t, "createRuntime", "exit 0")).fault(|t| {
            let busybox = t.yard.busybox.clone().context("busybox")?.display().to_string();
            t.spec["hooks"]["createRuntime"][0]["args"] = json!(["sh", "-c", format!("{busybox} dd if=/dev/zero bs=1k count=1024 2>/dev/null | {busybox} tr '\\0' x >&2; exit 3")]);
            Ok(())
        }).refused("/hooks/createRuntime/0", "exit status 3"),
        case("hooks.nothing-from-the-root").checks("catalogue S46").steps(|t| {
            // A file of the hook's name in the root must not be taken for it.
            let busybox = t.yard.busybox.clone().context("busybox")?.display().to_string();
            let fake = Path::new(&busybox).strip_prefix("/")?.to_path_buf();
            t.put(&fake.display().to_string(), "#!/bin/sh\necho fake > /data/fake\n", 0o755)?;
            for kind in ["prestart", "createRuntime", "createContainer", "poststart", "poststop"] {
                hook(t, kind, "exit 0")?;
            }
            t.spec["process"]["args"] = json!([PROBE, "echo", "ran"]);
            t.run()?.ok()?.prints("ran\n")?;
            ensure!(seen(t, "fake").is_empty(), "a file of the root was run as a hook");
            // The control: it would have been noticed.
            t.unprotected(|s| s["process"]["args"] = json!([format!("/{}", fake.display())]), "")?;
            ensure!(!seen(t, "fake").is_empty(), "the control: the file says nothing when it is run");
            Ok(())
        }),
    ]);
    all
}
