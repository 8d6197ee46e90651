//! Credentials of the calling thread: ids, groups, capabilities, no_new_privs, session keyring.

use super::cvt;
use super::process::prctl;
use crate::error::Result;
use rustix::thread as rt;
use std::ffi::CStr;

/// setresuid(2), all three.
pub fn set_uid(uid: u32) -> Result<()> {
    let u = rt::Uid::from_raw(uid);
    sys!("setresuid", rt::set_thread_res_uid(u, u, u), "{uid}, {uid}, {uid}")
}

/// setresgid(2), all three.
pub fn set_gid(gid: u32) -> Result<()> {
    let g = rt::Gid::from_raw(gid);
    sys!("setresgid", rt::set_thread_res_gid(g, g, g), "{gid}, {gid}, {gid}")
}

/// setgroups(2): exactly this list.
pub fn set_groups(groups: &[u32]) -> Result<()> {
    let list: Vec<rt::Gid> = groups.iter().map(|g| rt::Gid::from_raw(*g)).collect();
    sys!("setgroups", rt::set_thread_groups(&list), "{groups:?}")
}

/// prctl(PR_SET_KEEPCAPS): permitted capabilities survive the next change to a non-zero uid.
pub fn keep_caps(on: bool) -> Result<()> {
    prctl("PR_SET_KEEPCAPS", libc::PR_SET_KEEPCAPS, on as usize, 0)
}

/// prctl(PR_CAPBSET_DROP).
pub fn drop_bounding(cap: u32) -> Result<()> {
    prctl("PR_CAPBSET_DROP", libc::PR_CAPBSET_DROP, cap as usize, 0)
}

/// prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE).
pub fn raise_ambient(cap: u32) -> Result<()> {
    prctl(
        "PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE",
        libc::PR_CAP_AMBIENT,
        libc::PR_CAP_AMBIENT_RAISE as usize,
        cap as usize,
    )
}

/// prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL).
pub fn clear_ambient() -> Result<()> {
    prctl(
        "PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL",
        libc::PR_CAP_AMBIENT,
        libc::PR_CAP_AMBIENT_CLEAR_ALL as usize,
        0,
    )
}

/// prctl(PR_SET_NO_NEW_PRIVS): cannot be undone.
pub fn no_new_privs() -> Result<()> {
    prctl("PR_SET_NO_NEW_PRIVS", libc::PR_SET_NO_NEW_PRIVS, 1, 0)
}

/// Three capability sets as bit masks, bit n = capability n.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CapSets {
    pub effective: u64,
    pub permitted: u64,
    pub inheritable: u64,
}

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Default, Clone, Copy)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const VERSION_3: u32 = 0x2008_0522;

/// capset(2), all three sets in one call, so there is no moment between.
pub fn set_caps(sets: CapSets) -> Result<()> {
    let mut header = Header { version: VERSION_3, pid: 0 };
    let half = |shift: u32| Data {
        effective: (sets.effective >> shift) as u32,
        permitted: (sets.permitted >> shift) as u32,
        inheritable: (sets.inheritable >> shift) as u32,
    };
    let data = [half(0), half(32)];
    // SAFETY: header and both data words are laid out as capset(2) version 3 wants them.
    let r = unsafe { libc::syscall(libc::SYS_capset, &raw mut header, data.as_ptr()) };
    sys!(
        "capset",
        cvt(r),
        "effective={:#x}, permitted={:#x}, inheritable={:#x}",
        sets.effective,
        sets.permitted,
        sets.inheritable
    )
    .map(|_| ())
}

/// capget(2) of the calling thread.
pub fn get_caps() -> Result<CapSets> {
    let mut header = Header { version: VERSION_3, pid: 0 };
    let mut data = [Data::default(); 2];
    // SAFETY: as in `set_caps`; data has room for both words.
    let r = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) };
    sys!("capget", cvt(r), "")?;
    let join = |lo: u32, hi: u32| u64::from(lo) | u64::from(hi) << 32;
    Ok(CapSets {
        effective: join(data[0].effective, data[1].effective),
        permitted: join(data[0].permitted, data[1].permitted),
        inheritable: join(data[0].inheritable, data[1].inheritable),
    })
}

/// prctl(PR_CAPBSET_READ): false also for a capability that this kernel does not have.
pub fn in_bounding(cap: u32) -> bool {
    // SAFETY: integers only.
    unsafe { libc::prctl(libc::PR_CAPBSET_READ, cap as libc::c_ulong, 0, 0, 0) == 1 }
}

/// keyctl(KEYCTL_JOIN_SESSION_KEYRING): makes a new session keyring of that name and returns its serial.
pub fn join_session_keyring(name: &CStr) -> Result<i32> {
    const KEYCTL_JOIN_SESSION_KEYRING: i32 = 1;
    // SAFETY: name is NUL-terminated.
    let r = unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) };
    sys!("keyctl", cvt(r), "KEYCTL_JOIN_SESSION_KEYRING, {name:?}").map(|v| v as i32)
}

/// keyctl(KEYCTL_DESCRIBE) and keyctl(KEYCTL_SETPERM): adds permission bits to a key.
pub fn add_key_permission(serial: i32, bits: u32) -> Result<()> {
    const KEYCTL_SETPERM: i32 = 5;
    const KEYCTL_DESCRIBE: i32 = 6;
    let mut buf = [0u8; 256];
    // SAFETY: buf is valid for its length.
    let r = unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_DESCRIBE, serial, buf.as_mut_ptr(), buf.len()) };
    sys!("keyctl", cvt(r), "KEYCTL_DESCRIBE, {serial}")?;
    // "keyring;uid;gid;perm;name"
    let text = String::from_utf8_lossy(&buf);
    let perm = text.split(';').nth(3).and_then(|p| u32::from_str_radix(p, 16).ok()).unwrap_or(0x3f13_0000);
    // SAFETY: integers only.
    let r = unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_SETPERM, serial, perm | bits) };
    sys!("keyctl", cvt(r), "KEYCTL_SETPERM, {serial}, {:#x}", perm | bits).map(|_| ())
}
