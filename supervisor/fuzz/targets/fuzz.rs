//! One program for all targets: `KNARR_FUZZ` names the one whose body gets the bytes.
#![no_main]

use knarrd::fuzz::{Body, TARGETS};
use std::sync::OnceLock;

static BODY: OnceLock<Body> = OnceLock::new();

fn body() -> Body {
    let wanted = std::env::var("KNARR_FUZZ").expect("KNARR_FUZZ names a target");
    let found = TARGETS.iter().find(|(name, _)| *name == wanted);
    found.unwrap_or_else(|| panic!("no target {wanted}")).1
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    BODY.get_or_init(body)(data);
});
