//! What the floor is told: the few paths and the filter that the runtime's own plan has for the same bundle.
//! Runs `knarr check --plan`, writes beside a bundle's configuration.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Name of the column, and of the runtime on the command line.
pub const NAME: &str = "floor";

/// Writes `floor` and `floor.filter` into a bundle.
pub fn prepare(knarr: &Path, bundle: &Path) -> Result<()> {
    let said = Command::new(knarr).args(["check", "--plan"]).arg(bundle).output().context("knarr check")?;
    ensure!(said.status.success(), "knarr check: {}", String::from_utf8_lossy(&said.stderr).trim());
    let plan: Value = serde_json::from_slice(&said.stdout).context("the plan")?;
    fs::write(bundle.join("floor"), paths(&plan)?)?;
    let program = plan["seccomp"]["program"].as_array();
    let words: Vec<u8> =
        program.into_iter().flatten().filter_map(Value::as_u64).flat_map(in_kernel_form).collect();
    fs::write(bundle.join("floor.filter"), words).context("floor.filter")
}

/// See the floor's own page. The plan names each group by hierarchy, mount and path.
fn paths(plan: &Value) -> Result<String> {
    let mut lines = vec![format!("root {}", plan["root"]["path"].as_str().context("no root")?)];
    let groups = plan["cgroup"]["groups"].as_array().context("no groups")?;
    let place = |g: &Value| format!("{}/{}", text(g, "mount"), text(g, "path"));
    let unified = groups.len() == 1;
    for group in groups {
        let v2 = text(group, "key").is_empty();
        lines.push(format!("{} {}", if v2 { "v2" } else { "v1" }, place(group)));
        if unified {
            lines.push(format!("view {}", text(group, "mount")));
        } else if !v2 {
            lines.push(format!("view {}", place(group)));
        }
    }
    for group in groups.iter().filter(|g| text(g, "key").split(',').any(|k| k == "cpuset")) {
        // A new group of this v1 controller takes nobody in before it has processors and memory nodes (cpuset(7)).
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let value = fs::read_to_string(Path::new(text(group, "mount")).join(file)).context("cpuset")?;
            lines.push(format!("set {}/{file} {}", place(group), value.trim()));
        }
    }
    for write in plan["cgroup"]["writes"].as_array().into_iter().flatten() {
        let group = groups.iter().find(|g| text(g, "key").split(',').any(|k| k == text(write, "key")));
        let Some(group) = group else { continue };
        for file in write["files"].as_array().into_iter().flatten() {
            let (name, value) = (file[0].as_str().unwrap_or(""), file[1].as_str().unwrap_or(""));
            lines.push(format!("set {}/{name} {value}", place(group)));
        }
    }
    Ok(lines.join("\n") + "\n")
}

fn text<'a>(of: &'a Value, key: &str) -> &'a str {
    of[key].as_str().unwrap_or("")
}

/// The plan's number of an instruction (code, two jumps, operand from the top) as `struct sock_filter` lies in memory.
fn in_kernel_form(word: u64) -> [u8; 8] {
    let mut out = [0; 8];
    out[..2].copy_from_slice(&((word >> 48) as u16).to_ne_bytes());
    out[2] = (word >> 40) as u8;
    out[3] = (word >> 32) as u8;
    out[4..].copy_from_slice(&(word as u32).to_ne_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn one_tree_is_shown_whole_and_several_by_their_groups() {
        let group = |key: &str| json!({"key": key, "mount": format!("/sys/fs/cgroup/{key}"), "path": "x"});
        let plan = |groups: Vec<Value>, writes: Value| json!({"root": {"path": "/r"}, "cgroup": {"groups": groups, "writes": writes}});
        let one = plan(vec![json!({"key": "", "mount": "/sys/fs/cgroup", "path": "x"})], json!([]));
        assert_eq!(paths(&one).unwrap(), "root /r\nv2 /sys/fs/cgroup/x\nview /sys/fs/cgroup\n");
        let many = plan(vec![group("pids")], json!([{"key": "pids", "files": [["pids.max", "1"]]}]));
        let many_text = paths(&{
            let mut m = many;
            m["cgroup"]["groups"].as_array_mut().unwrap().push(group(""));
            m
        });
        let text = many_text.unwrap();
        assert!(text.contains("v1 /sys/fs/cgroup/pids/x\nview /sys/fs/cgroup/pids/x\n"), "{text}");
        assert!(text.ends_with("set /sys/fs/cgroup/pids/x/pids.max 1\n"), "{text}");
    }

    #[test]
    fn an_instruction_keeps_its_parts() {
        let word = 0x15_u64 << 48 | 1 << 40 | 2 << 32 | 0xc000_003e;
        assert_eq!(in_kernel_form(word), [0x15, 0, 1, 2, 0x3e, 0, 0, 0xc0]);
    }
}
