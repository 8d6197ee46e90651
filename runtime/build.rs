//! How the program `knarr` is linked: where it begins, and what it can do without. Its size counts, because each start
//! copies it (docs/decisions/0006-sealed-binary.md).

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let is = |name: &str, value: &str| std::env::var(name).is_ok_and(|v| v == value);
    let link = |argument: &str| println!("cargo::rustc-link-arg-bin=knarr=-Wl,{argument}");
    if !is("CARGO_CFG_TARGET_OS", "linux") || !is("CARGO_CFG_TARGET_ENV", "gnu") {
        return;
    }
    if is("CARGO_CFG_TARGET_ARCH", "x86_64") {
        // See src/sys/start.rs.
        link("--entry=knarr_start");
    }
}
