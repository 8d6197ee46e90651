//! Seccomp profiles as people keep them, turned into the form of a config.json.
//! Pure: JSON in, JSON out.

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// The capabilities of the measured containers: those that `runc spec` writes.
pub const CAPABILITIES: [&str; 3] = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];

/// A profile in the form of containers-common (`archMap`, `includes`, `excludes`) as x86-64 containers with
/// [`CAPABILITIES`] get it; one that has the form of a config.json already is given back as it is.
pub fn plain(profile: &Value) -> Result<Value> {
    let Some(map) = profile.get("archMap").and_then(Value::as_array) else { return Ok(profile.clone()) };
    let native = map
        .iter()
        .find(|a| a["architecture"] == "SCMP_ARCH_X86_64")
        .context("archMap names no SCMP_ARCH_X86_64")?;
    let mut architectures = vec![native["architecture"].clone()];
    architectures.extend(native["subArchitectures"].as_array().into_iter().flatten().cloned());
    let rules = profile["syscalls"].as_array().context("syscalls is not a list")?;
    let rules: Vec<Value> = rules.iter().filter(|r| holds(r)).map(rule).collect();
    let mut plain =
        json!({"defaultAction": profile["defaultAction"], "architectures": architectures, "syscalls": rules});
    if let Some(errno) = profile.get("defaultErrnoRet") {
        plain["defaultErrnoRet"] = errno.clone();
    }
    Ok(plain)
}

/// Whether a rule is meant for this architecture, these capabilities and a recent kernel.
fn holds(rule: &Value) -> bool {
    let names = |v: &Value| -> Vec<String> {
        v.as_array().into_iter().flatten().filter_map(|s| s.as_str().map(String::from)).collect()
    };
    let (includes, excludes) = (&rule["includes"], &rule["excludes"]);
    let here = |list: &[String]| list.iter().any(|a| a == "amd64" || a == "x32" || a == "x86");
    let caps = names(&includes["caps"]);
    let arches = names(&includes["arches"]);
    (caps.is_empty() || caps.iter().all(|c| CAPABILITIES.contains(&c.as_str())))
        && (arches.is_empty() || here(&arches))
        && !names(&excludes["caps"]).iter().any(|c| CAPABILITIES.contains(&c.as_str()))
        && !here(&names(&excludes["arches"]))
}

/// The fields of a rule that a config.json knows.
fn rule(rule: &Value) -> Value {
    let mut plain = json!({"names": rule["names"], "action": rule["action"]});
    for key in ["args", "errnoRet"] {
        if let Some(v) = rule.get(key).filter(|v| !v.is_null() && v.as_array().is_none_or(|a| !a.is_empty()))
        {
            plain[key] = v.clone();
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_holds_here() {
        let rule = |name: &str, includes: Value, excludes: Value| json!({"names": [name], "action": "SCMP_ACT_ALLOW", "args": [], "comment": "", "includes": includes, "excludes": excludes});
        let profile = json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": 38,
            "archMap": [
                {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]},
                {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
            ],
            "syscalls": [
                rule("read", json!({}), json!({})),
                rule("kill", json!({"caps": ["CAP_KILL"]}), json!({})),
                rule("mount", json!({"caps": ["CAP_SYS_ADMIN"]}), json!({})),
                rule("ptrace", json!({}), json!({"caps": ["CAP_KILL"]})),
                rule("arch_prctl", json!({"arches": ["amd64"]}), json!({})),
                rule("s390_pci_mmio_read", json!({"arches": ["s390"]}), json!({})),
            ],
        });
        let plain = plain(&profile).unwrap();
        let names: Vec<&str> =
            plain["syscalls"].as_array().unwrap().iter().filter_map(|r| r["names"][0].as_str()).collect();
        assert_eq!(names, ["read", "kill", "arch_prctl"]);
        assert_eq!(plain["architectures"], json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]));
        assert_eq!(plain["defaultErrnoRet"], 38);
        assert_eq!(plain["syscalls"][0], json!({"names": ["read"], "action": "SCMP_ACT_ALLOW"}));
    }

    #[test]
    fn leaves_the_form_of_a_config_alone() {
        let profile = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": []});
        assert_eq!(plain(&profile).unwrap(), profile);
    }
}
