//! Rules for `hooks`: config.md, "POSIX-platform Hooks". Whether the program can be run is seen when it is. Pure.

use super::{Findings, process};
use crate::spec::at::At;
use crate::spec::types::*;

pub(super) fn check(f: &mut Findings, at: &At<'_>, hooks: &Hooks) {
    let Hooks { prestart, create_runtime, create_container, start_container, poststart, poststop } = hooks;
    for (kind, list) in [
        ("prestart", prestart),
        ("createRuntime", create_runtime),
        ("createContainer", create_container),
        ("startContainer", start_container),
        ("poststart", poststart),
        ("poststop", poststop),
    ] {
        for (i, hook) in list.iter().enumerate() {
            one(f, &at.key(kind).item(i), hook);
        }
    }
}

fn one(f: &mut Findings, at: &At<'_>, hook: &Hook) {
    // Arguments are the hook's own business, an empty list too.
    let Hook { path, args: _, env, timeout } = hook;
    f.absolute(&at.key("path"), path);
    process::environment(f, &at.key("env"), env);
    if let Some(seconds) = timeout
        && *seconds <= 0
    {
        f.fail(&at.key("timeout"), format!("must be positive: got {seconds}, want at least 1 second"));
    }
}
