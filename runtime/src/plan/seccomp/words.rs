//! The words of a seccomp profile (actions, operators, flags) and their meaning for the kernel.
//! Plain data; may use: crate::error and the flag constants of crate::sys::seccomp.

use crate::error::{Error, Result, quoted};
use crate::sys::seccomp::flag;

/// Filter results, `SECCOMP_RET_*` of linux/seccomp.h. The low 16 bits of a result are its data.
pub(super) mod ret {
    pub(crate) const KILL_PROCESS: u32 = 0x8000_0000;
    pub(crate) const KILL_THREAD: u32 = 0;
    pub(crate) const TRAP: u32 = 0x0003_0000;
    pub(crate) const ERRNO: u32 = 0x0005_0000;
    pub(crate) const USER_NOTIF: u32 = 0x7fc0_0000;
    pub(crate) const TRACE: u32 = 0x7ff0_0000;
    pub(crate) const LOG: u32 = 0x7ffc_0000;
    pub(crate) const ALLOW: u32 = 0x7fff_0000;
    /// Everything but the data.
    pub(crate) const ACTION: u32 = 0xffff_0000;
    /// "No such call", which makes a C library fall back to an older one.
    pub(crate) const ENOSYS: u32 = ERRNO | 38;
}

/// Data of ERRNO and TRACE when the profile gives none: EPERM.
const DEFAULT_DATA: u32 = 1;
/// The kernel cuts greater error numbers down to this one; see seccomp(2).
const MAX_ERRNO: u32 = 4095;

/// Action names, sorted, with the filter result.
pub(super) const ACTIONS: [(&str, u32); 9] = [
    ("SCMP_ACT_ALLOW", ret::ALLOW),
    ("SCMP_ACT_ERRNO", ret::ERRNO),
    ("SCMP_ACT_KILL", ret::KILL_THREAD),
    ("SCMP_ACT_KILL_PROCESS", ret::KILL_PROCESS),
    ("SCMP_ACT_KILL_THREAD", ret::KILL_THREAD),
    ("SCMP_ACT_LOG", ret::LOG),
    ("SCMP_ACT_NOTIFY", ret::USER_NOTIF),
    ("SCMP_ACT_TRACE", ret::TRACE),
    ("SCMP_ACT_TRAP", ret::TRAP),
];

/// How an argument is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    Eq,
    Ge,
    Gt,
    Le,
    Lt,
    MaskedEq,
    Ne,
}

/// Operator names, sorted.
pub(super) const OPERATORS: [(&str, Op); 7] = [
    ("SCMP_CMP_EQ", Op::Eq),
    ("SCMP_CMP_GE", Op::Ge),
    ("SCMP_CMP_GT", Op::Gt),
    ("SCMP_CMP_LE", Op::Le),
    ("SCMP_CMP_LT", Op::Lt),
    ("SCMP_CMP_MASKED_EQ", Op::MaskedEq),
    ("SCMP_CMP_NE", Op::Ne),
];

/// Flag names, sorted, with the flag of seccomp(2).
pub(super) const FLAGS: [(&str, u32); 4] = [
    ("SECCOMP_FILTER_FLAG_LOG", flag::LOG),
    ("SECCOMP_FILTER_FLAG_SPEC_ALLOW", flag::SPEC_ALLOW),
    ("SECCOMP_FILTER_FLAG_TSYNC", flag::TSYNC),
    ("SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", flag::WAIT_KILLABLE_RECV),
];

/// Finds `word` in one of the tables above. `at` makes the JSON pointer of the word.
pub(super) fn known<T: Copy>(
    table: &[(&str, T)],
    what: &str,
    word: &str,
    at: impl FnOnce() -> String,
) -> Result<T> {
    match table.iter().find(|(name, _)| *name == word) {
        Some((_, value)) => Ok(*value),
        None => {
            let names: Vec<_> = table.iter().map(|(name, _)| *name).collect();
            let text = format!("unknown {what}, got {}, want one of {}", quoted(word), names.join(", "));
            Err(Error::spec(at(), text))
        }
    }
}

/// The filter result for an action. `at` is the JSON pointer of the object around it, `word_key` and
/// `data_key` name its two fields.
///
/// # Errors
/// Unknown action; error number with an action that has none (the spec demands an error) or out of range.
pub(super) fn action(
    at: impl Fn() -> String,
    (word_key, word): (&str, &str),
    (data_key, data): (&str, Option<u32>),
) -> Result<u32> {
    let action = known(&ACTIONS, "action", word, || format!("{}/{word_key}", at()))?;
    let limit = match action {
        ret::ERRNO => MAX_ERRNO,
        ret::TRACE => !ret::ACTION,
        _ => {
            let Some(data) = data else { return Ok(action) };
            let text = format!("{word} takes no error number, got {data}, want none");
            return Err(Error::spec(format!("{}/{data_key}", at()), text));
        }
    };
    match data.unwrap_or(DEFAULT_DATA) {
        data if data <= limit => Ok(action | data),
        data => {
            let text = format!("error number out of range, got {data}, want at most {limit}");
            Err(Error::spec(format!("{}/{data_key}", at()), text))
        }
    }
}
