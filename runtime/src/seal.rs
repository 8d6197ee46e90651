//! Runs the rest of the program from a sealed copy of its own binary, so that no process of a container can ever
//! reach the file on the host through /proc/PID/exe (CVE-2019-5736). The copy is a memfd: another inode, other
//! pages, and nobody can write to it. May use: `sys`.
#![forbid(unsafe_code)]

use crate::error::{Context, Error, Result};
use crate::sys::fs::{self, OFlags};
use crate::sys::process::{self, CStrings};
use std::os::unix::ffi::OsStrExt;

/// Does nothing when this process runs from a sealed copy already; else makes one and executes it with the same
/// arguments and environment.
///
/// # Errors
/// When no sealed copy can be made: going on unsealed is not an option.
pub fn ensure() -> Result<()> {
    // execveat of a memfd names the process after a descriptor number.
    if process::runs_sealed() {
        return process::set_name(c"knarr");
    }
    let own = fs::open("/proc/self/exe", OFlags::RDONLY, 0).step("protect the runtime's own binary")?;
    if process::is_sealed(&own) {
        return process::set_name(c"knarr");
    }
    Err(reexec(&own)).step("protect the runtime's own binary")
}

fn reexec(own: &crate::sys::OwnedFd) -> Error {
    let make = || {
        let size = fs::fstat(own)?.size;
        let copy = process::sealed_copy(c"knarr", own, size)?;
        let argv = CStrings::new(std::env::args_os().map(|a| a.as_bytes().to_vec()))?;
        let envp = CStrings::new(std::env::vars_os().map(|(k, v)| {
            let mut e = k.as_bytes().to_vec();
            e.push(b'=');
            e.extend_from_slice(v.as_bytes());
            e
        }))?;
        Ok((copy, argv, envp))
    };
    match make() {
        Ok((copy, argv, envp)) => process::execveat(&copy, &argv, &envp),
        Err(e) => e,
    }
}
