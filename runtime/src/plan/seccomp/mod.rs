//! The seccomp filter: from `linux.seccomp` of config.json to the program and flags of seccomp(2).
//! May use: spec types, crate::error, and the plain data of crate::sys::seccomp. Pure: asks the kernel nothing.
//!
//! A filter is a decision tree over architecture, call number and arguments. `words` knows the vocabulary,
//! `rules` decides which rule speaks for which number (`mux`: also by a detour), `code` writes the program.

mod arch;
mod code;
mod mux;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod oracle;
mod rules;
#[cfg(test)]
mod tests;
mod words;

pub use crate::sys::seccomp::Insn;
pub use arch::Arch;

use crate::error::{Error, Result, quoted};
use crate::spec::types::Seccomp;
use crate::sys::seccomp::flag;
use serde::{Deserialize, Serialize};
use words::ret;

/// A compiled profile, ready for `sys::seccomp::install`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// The program. It looks at nothing but its input, so one program serves init and every exec.
    pub program: Vec<Insn>,
    /// Flags for seccomp(2), `NEW_LISTENER` included when [`Filter::notify`] is set.
    pub flags: u32,
    /// True when the profile uses `SCMP_ACT_NOTIFY`: installing gives a descriptor for `listenerPath`.
    pub notify: bool,
    /// What was read but has no effect, one line each with the JSON pointer in front.
    pub warnings: Vec<String>,
}

/// Action names of the spec that a profile may use, sorted.
pub const ACTIONS: [&str; words::ACTIONS.len()] = first_of(&words::ACTIONS);
/// Operator names, sorted.
pub const OPERATORS: [&str; words::OPERATORS.len()] = first_of(&words::OPERATORS);
/// Architecture names, sorted.
pub const ARCHS: [&str; arch::NAMES.len()] = first_of(&arch::NAMES);
/// Flag names, sorted.
pub const FLAGS: [&str; words::FLAGS.len()] = first_of(&words::FLAGS);

/// The flag of seccomp(2) that a name of [`FLAGS`] stands for, for asking the kernel whether it has it.
pub fn flag_bits(name: &str) -> Option<u32> {
    words::FLAGS.iter().find(|(n, _)| *n == name).map(|(_, bits)| *bits)
}

/// The kernel's number of a name of [`ACTIONS`], for the same question.
pub fn action_bits(name: &str) -> Option<u32> {
    words::ACTIONS.iter().find(|(n, _)| *n == name).map(|(_, bits)| *bits)
}

const fn first_of<T: Copy, const N: usize>(table: &[(&'static str, T); N]) -> [&'static str; N] {
    let mut out = [""; N];
    let mut i = 0;
    while i < N {
        out[i] = table[i].0;
        i += 1;
    }
    out
}

/// Compiles a profile for a host of architecture `native` (on the real host: [`Arch::NATIVE`]).
///
/// The native architecture is always part of the filter. A call from any architecture that is not in the
/// list kills its thread. Unless the default action lets calls through (ALLOW, LOG, TRACE), numbers above
/// the newest one that the profile mentions answer ENOSYS, so that C libraries fall back to older calls.
///
/// # Errors
/// Words or values that the spec does not have, rules that contradict each other, NOTIFY where it would block
/// the start, a program above the kernel's limit of 4096 instructions: each with its JSON pointer.
pub fn compile(profile: &Seccomp, native: Arch) -> Result<Filter> {
    let rules = rules::read(profile)?;
    let mut warnings = rules.unknown.clone();
    let flags = read_flags(profile, rules.notify, &mut warnings)?;
    check_listener(profile, rules.notify, &mut warnings)?;
    let mut sections = Vec::new();
    for arch in architectures(profile, native, &mut warnings)? {
        sections.push(code::Section { arch, calls: rules.calls(arch)? });
    }
    let stub = !matches!(rules.default & ret::ACTION, ret::ALLOW | ret::LOG | ret::TRACE);
    let program = code::program(&sections, rules.default, stub);
    if program.len() > rules::MAX_INSNS {
        return Err(rules::too_long("/linux/seccomp/syscalls", program.len()));
    }
    Ok(Filter { program, flags, notify: rules.notify, warnings })
}

/// The architectures to write, native first.
fn architectures(profile: &Seccomp, native: Arch, warnings: &mut Vec<String>) -> Result<Vec<Arch>> {
    let mut out = vec![native];
    for (i, name) in profile.architectures.iter().enumerate() {
        let at = || format!("/linux/seccomp/architectures/{i}");
        match words::known(&arch::NAMES, "architecture", name, at)? {
            Some(arch) if out.contains(&arch) => {}
            Some(arch) if arch.runs_on(native) => out.push(arch),
            Some(_) => warnings.push(format!("{}: {name} cannot run on this host", at())),
            None => warnings.push(format!("{}: {name} is not supported, its programs are killed", at())),
        }
    }
    Ok(out)
}

/// Flags for seccomp(2). An absent list means SPEC_ALLOW, an empty one means none.
fn read_flags(profile: &Seccomp, notify: bool, warnings: &mut Vec<String>) -> Result<u32> {
    let mut out = if notify { flag::NEW_LISTENER } else { 0 };
    let Some(names) = &profile.flags else { return Ok(out | flag::SPEC_ALLOW) };
    for (i, name) in names.iter().enumerate() {
        let at = || format!("/linux/seccomp/flags/{i}");
        match words::known(&words::FLAGS, "flag", name, at)? {
            flag::WAIT_KILLABLE_RECV if !notify => {
                warnings.push(format!("{}: {name} has no effect without SCMP_ACT_NOTIFY", at()));
            }
            // A plain TSYNC reports failure through the return value, which a listener occupies.
            flag::TSYNC if notify => out |= flag::TSYNC | flag::TSYNC_ESRCH,
            bits => out |= bits,
        }
    }
    Ok(out)
}

/// A notifying profile needs someone to notify.
fn check_listener(profile: &Seccomp, notify: bool, warnings: &mut Vec<String>) -> Result<()> {
    const AT: &str = "/linux/seccomp/listenerPath";
    let path = profile.listener_path.as_str();
    match (notify, path) {
        (true, "") => {
            let text = "missing, want the absolute path of a socket, because a rule uses SCMP_ACT_NOTIFY";
            Err(Error::spec(AT, text))
        }
        (true, path) if !path.starts_with('/') => {
            Err(Error::spec(AT, format!("relative path, got {}, want an absolute one", quoted(path))))
        }
        (false, path) if !path.is_empty() => {
            warnings.push(format!("{AT}: no effect, because no rule uses SCMP_ACT_NOTIFY"));
            Ok(())
        }
        _ => Ok(()),
    }
}
