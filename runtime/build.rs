//! How the program `knarr` is linked: where it begins, and what it can do without. Its size counts, because each start
//! copies it (docs/decisions/0006-sealed-binary.md). Only glibc: with another C library everything is as usual.

use std::env::var;
use std::process::Command;

/// The first glibc whose start-up code reads relocations in the form of a bitmap. A static program that holds them and
/// an older one would crash before its first line.
const PACKED_SINCE: (u32, u32) = (2, 36);

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=release.ld");
    let is = |name: &str, value: &str| var(name).is_ok_and(|v| v == value);
    let link = |argument: &str| println!("cargo::rustc-link-arg-bin=knarr=-Wl,{argument}");
    if !is("CARGO_CFG_TARGET_OS", "linux") || !is("CARGO_CFG_TARGET_ENV", "gnu") {
        return;
    }
    match libc_version() {
        // A hundredth of their size. A linker that does not know it warns and goes on without.
        Ok(version) if version >= PACKED_SINCE => link("-z,pack-relative-relocs"),
        Ok((major, minor)) => larger(&format!("glibc {major}.{minor} is older than 2.36")),
        Err(why) => larger(&why),
    }
    if is("CARGO_CFG_TARGET_ARCH", "x86_64") {
        // See src/sys/start.rs.
        link("--entry=knarr_start");
    }
    // The profile in which a panic ends the program.
    if is("PROFILE", "release") {
        link("--no-eh-frame-hdr");
        link(concat!("-T,", env!("CARGO_MANIFEST_DIR"), "/release.ld"));
    }
}

fn larger(why: &str) {
    println!("cargo::warning=knarr is linked without packed relocations and gets larger: {why}");
}

/// The version of the glibc that the program is linked with, which is the build host's own or not known.
fn libc_version() -> Result<(u32, u32), String> {
    if var("HOST") != var("TARGET") {
        return Err("the version of another machine's glibc is not known".into());
    }
    let out = Command::new("getconf").arg("GNU_LIBC_VERSION").output();
    let out = out.map_err(|e| format!("getconf, which knows glibc's version: {e}"))?;
    let text = String::from_utf8_lossy(&out.stdout);
    let version = text.trim().strip_prefix("glibc ").and_then(|v| {
        let mut parts = v.split('.').map(str::parse);
        Some((parts.next()?.ok()?, parts.next()?.ok()?))
    });
    version.ok_or_else(|| format!("getconf GNU_LIBC_VERSION says {:?}", text.trim()))
}
