//! Fields of `linux` that stand alone: `memoryPolicy`, and `intelRdt` and `mountLabel` where the host has not got what they
//! need.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::case::{Case, case};
use crate::host::Need;

const POLICY: &str = "config-linux.md#memory-policy";

/// All of this subject.
pub fn cases() -> Vec<Case> {
    let mut all = policies();
    all.extend(refused());
    all
}

/// The stack has no policy of its own, so its line shows that of the process.
fn policy_of(maps: &str) -> Result<&str> {
    let stack = maps.lines().find(|l| l.contains(" stack ")).context("no stack in numa_maps")?;
    stack.split(' ').nth(1).context("a line without policy")
}

fn policies() -> Vec<Case> {
    let one = |name: &str, policy: Value, want: &'static str| {
        case(name)
            .checks(POLICY)
            .needs([Need::Numa])
            .spec(move |s| s["linux"]["memoryPolicy"] = policy.clone())
            .probe(["cat", "/proc/self/numa_maps"])
            .output(move |o| {
                let got = policy_of(o)?;
                ensure!(got == want, "the policy is {got}, want {want}");
                Ok(())
            })
    };
    vec![
        one("mempolicy.bind", json!({"mode": "MPOL_BIND", "nodes": "0"}), "bind:0"),
        one("mempolicy.interleave", json!({"mode": "MPOL_INTERLEAVE", "nodes": "0"}), "interleave:0"),
        one("mempolicy.preferred", json!({"mode": "MPOL_PREFERRED", "nodes": "0"}), "prefer:0"),
        one("mempolicy.local", json!({"mode": "MPOL_LOCAL"}), "local"),
        one(
            "mempolicy.static-nodes",
            json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}),
            "bind=static:0",
        ),
        one("mempolicy.default", json!({"mode": "MPOL_DEFAULT"}), "default"),
        case("mempolicy.exec").checks("catalogue: exec is as init").needs([Need::Numa]).steps(|t| {
            t.spec["linux"]["memoryPolicy"] = json!({"mode": "MPOL_BIND", "nodes": "0"});
            t.resident()?;
            let out = t.exec_probe(&["cat", "/proc/self/numa_maps"])?.ok()?.stdout;
            ensure!(policy_of(&out)? == "bind:0", "{out}");
            Ok(())
        }),
    ]
}

fn refused() -> Vec<Case> {
    let fault = |name: &str, field: &'static str, value: Value, at: &str, text: &str| {
        case(name)
            .checks("catalogue B093")
            .wrong(move |s| s["linux"][field] = value.clone())
            .refused(at, text)
    };
    vec![
        fault(
            "mempolicy.no-such-node",
            "memoryPolicy",
            json!({"mode": "MPOL_BIND", "nodes": "63"}),
            "/linux/memoryPolicy",
            "set_mempolicy",
        )
        .needs([Need::Numa]),
        fault(
            "lsm.mount-label-absent",
            "mountLabel",
            json!("system_u:object_r:container_file_t:s0"),
            "/linux/mountLabel",
            "SELinux is not enabled",
        )
        .needs([Need::NoLsm]),
        fault(
            "rdt.absent",
            "intelRdt",
            json!({"l3CacheSchema": "L3:0=f", "enableMonitoring": true}),
            "/linux/intelRdt",
            "no resctrl file system is mounted",
        )
        .needs([Need::NoResctrl]),
        fault(
            "rdt.class-outside",
            "intelRdt",
            json!({"closID": "../x"}),
            "/linux/intelRdt/closID",
            "directory in resctrl",
        ),
        fault(
            "mempolicy.no-such-mode",
            "memoryPolicy",
            json!({"mode": "MPOL_MAGIC", "nodes": "0"}),
            "/linux/memoryPolicy/mode",
            "invalid memory policy",
        ),
        fault(
            "mempolicy.no-such-flag",
            "memoryPolicy",
            json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_X"]}),
            "/linux/memoryPolicy/flags/0",
            "invalid memory policy",
        ),
        fault(
            "mempolicy.mode-without-nodes",
            "memoryPolicy",
            json!({"mode": "MPOL_BIND"}),
            "/linux/memoryPolicy",
            "set_mempolicy",
        )
        .needs([Need::Numa]),
    ]
}
