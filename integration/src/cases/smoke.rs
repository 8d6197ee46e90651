//! smoke
use crate::case::{Case, case};
pub fn cases() -> Vec<Case> {
    vec![case("smoke.true").checks("x").probe(["true"]), case("smoke.sh").checks("x").sh("echo hi; exit 3").stdout("hi\n").exit(3)]
}
