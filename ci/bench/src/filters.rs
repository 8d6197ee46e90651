//! The filter alone: how long it takes to build and to install it, by the runtime's own compiler and by libseccomp. Each
//! sample is a process of its own, as in a start. Starts itself and the helper in `libseccomp.c`.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

const SAMPLES: usize = 21;

/// Both side by side, in microseconds. `None` without a profile.
pub fn measure(profile: Option<&Value>, helper: Option<&Path>, dir: &Path) -> Result<Option<Value>> {
    let Some(profile) = profile else { return Ok(None) };
    let file = dir.join("profile.json");
    std::fs::write(&file, profile.to_string())?;
    let rules = for_helper(profile);
    let mut own = Vec::new();
    let mut other = Vec::new();
    for _ in 0..SAMPLES {
        let mut command = Command::new(std::env::current_exe()?);
        own.push(numbers(command.arg("filter").arg(&file), "")?);
        if let Some(helper) = helper {
            other.push(numbers(&mut Command::new(helper), &rules)?);
        }
    }
    let mut all = vec![of("knarr", &own)];
    if !other.is_empty() {
        all.push(of("libseccomp", &other));
    }
    Ok(Some(all.into()))
}

/// `knarr-bench filter FILE`: builds and installs once in this process, and says how long.
pub fn once(file: &Path) -> Result<String> {
    let text = std::fs::read(file).with_context(|| file.display().to_string())?;
    let profile: knarr::spec::types::Seccomp = serde_json::from_slice(&text)?;
    let begun = Instant::now();
    let filter = knarr::plan::seccomp::compile(&profile, knarr::plan::seccomp::Arch::NATIVE)?;
    let built = begun.elapsed();
    knarr::sys::cred::no_new_privs()?;
    let begun = Instant::now();
    knarr::sys::seccomp::install(&filter.program, filter.flags)?;
    let installed = begun.elapsed();
    let us = |d: std::time::Duration| d.as_secs_f64() * 1e6;
    Ok(format!("{:.1} {:.1} {}", us(built), us(installed), filter.program.len()))
}

fn numbers(command: &mut Command, input: &str) -> Result<[f64; 3]> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("filter")?;
    // Dropped at once: the end of the rules.
    child.stdin.take().context("stdin")?.write_all(input.as_bytes())?;
    let out = child.wait_with_output()?;
    ensure!(out.status.success(), "building a filter: {}", out.status);
    let text = String::from_utf8_lossy(&out.stdout);
    let list: Vec<f64> = text.split_whitespace().filter_map(|w| w.parse().ok()).collect();
    list.try_into().ok().with_context(|| format!("three numbers, got {text:?}"))
}

fn of(name: &str, samples: &[[f64; 3]]) -> Value {
    let middle = |n: usize| {
        let mut all: Vec<f64> = samples.iter().map(|s| s[n]).collect();
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    };
    json!({"name": name, "build_us": middle(0), "install_us": middle(1), "instructions": middle(2)})
}

/// The profile as the helper reads it: numbers as in seccomp.h.
fn for_helper(profile: &Value) -> String {
    let mut lines = Vec::new();
    let otherwise = action(&profile["defaultAction"], &profile["defaultErrnoRet"]);
    lines.push(format!("default {otherwise}"));
    for arch in profile["architectures"].as_array().into_iter().flatten() {
        let number: Option<u32> = match arch.as_str() {
            Some("SCMP_ARCH_X86") => Some(0x4000_0003),
            Some("SCMP_ARCH_X32") => Some(0x4000_003e),
            _ => None,
        };
        lines.extend(number.map(|n| format!("arch {n}")));
    }
    for rule in profile["syscalls"].as_array().into_iter().flatten() {
        let does = action(&rule["action"], &rule["errnoRet"]);
        let conditions: String = rule["args"].as_array().into_iter().flatten().map(condition).collect();
        for name in rule["names"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            lines.push(format!("{does} {name}{conditions}"));
        }
    }
    lines.join("\n") + "\n"
}

fn action(name: &Value, errno: &Value) -> u32 {
    const EPERM: u64 = 1;
    match name.as_str() {
        Some("SCMP_ACT_ALLOW") => 0x7fff_0000,
        Some("SCMP_ACT_LOG") => 0x7ffc_0000,
        Some("SCMP_ACT_KILL_PROCESS") => 0x8000_0000,
        Some("SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD") => 0,
        _ => 0x0005_0000 | errno.as_u64().unwrap_or(EPERM) as u32,
    }
}

fn condition(arg: &Value) -> String {
    let operators = [
        "SCMP_CMP_NE",
        "SCMP_CMP_LT",
        "SCMP_CMP_LE",
        "SCMP_CMP_EQ",
        "SCMP_CMP_GE",
        "SCMP_CMP_GT",
        "SCMP_CMP_MASKED_EQ",
    ];
    let number = |key: &str| arg[key].as_u64().unwrap_or(0);
    let operator = operators.iter().position(|o| arg["op"] == *o).map_or(4, |n| n + 1);
    format!(" {} {operator} {} {}", number("index"), number("value"), number("valueTwo"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_helper_gets_numbers() {
        let profile = json!({
            "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
            "syscalls": [{"names": ["personality"], "action": "SCMP_ACT_ALLOW",
                "args": [{"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}]}],
        });
        let text = for_helper(&profile);
        assert_eq!(text, "default 327718\narch 1073741827\n2147418112 personality 0 4 8 0\n");
    }
}
