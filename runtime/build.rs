//! How the program `knarr` is linked: where it begins, and what it can do without. Its size counts, because each start
//! copies it (docs/decisions/0006-sealed-binary.md).

fn main() {
    println!("cargo::rerun-if-changed=release.ld");
    let is = |name: &str, value: &str| std::env::var(name).is_ok_and(|v| v == value);
    let link = |argument: &str| println!("cargo::rustc-link-arg-bin=knarr=-Wl,{argument}");
    if !is("CARGO_CFG_TARGET_OS", "linux") || !is("CARGO_CFG_TARGET_ENV", "gnu") {
        return;
    }
    // Relocations as a bitmap, a hundredth of their size (glibc 2.36).
    link("-z,pack-relative-relocs");
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
