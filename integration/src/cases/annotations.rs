//! Annotations that crun gave a meaning and that engines set. Others ignore them, as runtime-spec has it for strangers.

use std::os::unix::net::UnixListener;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::base::{self, PROBE};
use crate::case::{Case, case};
use crate::host::Need;
use crate::os;
use crate::trial::Trial;

const CHECKS: &str = "cli: annotations of crun";

/// All of this subject.
pub fn cases() -> Vec<Case> {
    let all = |name: &str| case(format!("annotation.{name}")).checks(CHECKS);
    let set =
        |key: &'static str, value: &'static str| move |s: &mut Value| s["annotations"][key] = json!(value);
    vec![
        all("keep-groups").probe(["id"]).spec(set("run.oci.keep_original_groups", "1")).steps(|t| {
            t.write_config()?;
            let args = ["run".to_string(), "--bundle".into(), t.bundle.display().to_string(), t.id.clone()];
            let with = |c: &mut std::process::Command| os::with_groups(c, vec![5, 77]);
            t.rt(&args).adjust(with).run()?.ok()?.prints("uid=0 gid=0 groups=5,77\n")?;
            Ok(())
        }),
        all("keep-groups-exec").spec(set("run.oci.keep_original_groups", "1")).steps(|t| {
            t.resident()?;
            let id = t.id.clone();
            let with = |c: &mut std::process::Command| os::with_groups(c, vec![5, 77]);
            let out = t.rt(&["exec", &id, PROBE, "id"]).adjust(with).run()?.ok()?;
            out.prints("uid=0 gid=0 groups=5,77\n")?;
            Ok(())
        }),
        all("keep-groups-off")
            .probe(["id"])
            .spec(set("run.oci.keep_original_groups", "0"))
            .stdout("uid=0 gid=0 groups=\n"),
        all("keep-groups-value")
            .wrong(set("run.oci.keep_original_groups", "perhaps"))
            .refused("/annotations/run.oci.keep_original_groups", "0 or 1"),
        all("hooks-output").probe(["echo", "ran"]).steps(|t| {
            let dir = t.host_dir("log")?;
            let (out, err) = (dir.join("out"), dir.join("err"));
            t.spec["annotations"] = json!({
                "run.oci.hooks.stdout": out.display().to_string(), "run.oci.hooks.stderr": err.display().to_string()
            });
            let hook = |word: &str| json!([{"path": "/bin/sh", "args": ["sh", "-c", format!("echo {word}; echo e-{word} >&2")]}]);
            t.spec["hooks"] = json!({
                "createRuntime": hook("a"), "createContainer": hook("b"), "poststart": hook("c"), "poststop": hook("d")
            });
            t.run()?.ok()?;
            let text = std::fs::read_to_string(&out)?;
            ensure!(text == "a\nb\nc\nd\n", "stdout of the hooks: {text:?}");
            let text = std::fs::read_to_string(&err)?;
            ensure!(text == "e-a\ne-b\ne-c\ne-d\n", "stderr of the hooks: {text:?}");
            Ok(())
        }),
        all("hooks-output-inside")
            .wrong(|s| {
                // A runtime that takes it leaves no file behind.
                s["annotations"] = json!({"run.oci.hooks.stdout": "/dev/null"});
                s["hooks"] = json!({"startContainer": [{"path": PROBE, "args": ["probe", "true"]}]});
            })
            .refused("/annotations/run.oci.hooks.stdout", "startContainer"),
        all("pidfd-receiver").probe(["echo", "x"]).steps(|t| {
            let path = t.dir.join("pidfd");
            let listener = UnixListener::bind(&path)?;
            t.spec["annotations"] = json!({"run.oci.pidfd_receiver": path.display().to_string()});
            t.create()?;
            let within = Duration::from_secs(t.seconds());
            let (_, fds) = os::receive_fds(&os::accept(&listener, within)?, within)?;
            ensure!(fds.len() == 1, "{} descriptors came", fds.len());
            use std::os::fd::AsRawFd;
            let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fds[0].as_raw_fd()))?;
            let pid = t.pid()?;
            ensure!(info.lines().any(|l| l == format!("Pid:\t{pid}")), "not a pidfd of {pid}: {info}");
            Ok(())
        }),
        all("seccomp-receiver").spec(|s| s["process"]["args"] = json!([PROBE, "true"])).steps(seccomp),
        all("delegate-cgroup").needs([Need::CgroupV2, Need::NoV1("memory")]).steps(|t| {
            base::namespace(&mut t.spec, "cgroup", None);
            t.spec["annotations"] = json!({"run.oci.delegate-cgroup": "payload"});
            let pid = t.resident()?;
            let seen = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
            let path = t.spec["linux"]["cgroupsPath"].as_str().unwrap_or("").to_string();
            ensure!(seen.lines().any(|l| l == format!("0::{path}/payload")), "{seen}");
            // The container's own view begins above it.
            let inside = t.exec_probe(&["cgroup"])?.ok()?.stdout;
            ensure!(inside.lines().any(|l| l == "0::/payload"), "{inside}");
            Ok(())
        }),
        all("delegate-cgroup-name")
            .wrong(set("run.oci.delegate-cgroup", "../above"))
            .refused("/annotations/run.oci.delegate-cgroup", "one name"),
        all("handler-refused")
            .wrong(set("run.oci.handler", "krun"))
            .refused("/annotations/run.oci.handler", "no handlers"),
        all("context-type")
            .wrong(set("run.oci.mount_context_type", "sometimes"))
            .refused("/annotations/run.oci.mount_context_type", "rootcontext"),
        all("criu-config").probe(["echo", "x"]).spec(set("org.criu.config", "/etc/criu.conf")).stdout("x\n"),
        all("strangers").probe(["echo", "x"]).spec(set("com.example.any", "thing")).stdout("x\n"),
        all("features").steps(|t| {
            let known = t.rt(&["features"]).run()?.ok()?.json()?;
            let list = known["potentiallyUnsafeConfigAnnotations"].as_array().context("no list")?.clone();
            for name in ["run.oci.", "org.systemd.property."] {
                ensure!(list.iter().any(|v| v == name), "{name} is not in {list:?}");
            }
            Ok(())
        }),
    ]
}

/// The agent gets a listener although the profile names none.
fn seccomp(t: &mut Trial<'_>) -> Result<()> {
    let path = t.dir.join("agent");
    let listener = UnixListener::bind(&path)?;
    t.spec["annotations"] = json!({"run.oci.seccomp.receiver": path.display().to_string()});
    t.spec["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["sethostname"], "action": "SCMP_ACT_NOTIFY"}]
    });
    // It comes with the filter, which some load when the program starts.
    let run = t.run_background()?;
    let within = Duration::from_secs(t.seconds());
    let (bytes, fds) = os::receive_fds(&os::accept(&listener, within)?, within)?;
    let told: Value = serde_json::from_slice(&bytes)?;
    ensure!(told["state"]["id"] == json!(t.id) && fds.len() == 1, "{told}");
    run.wait()?.ok().map(drop)
}
