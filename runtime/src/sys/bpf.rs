//! bpf(2) for device programs on cgroup2 directories: load, attach, query, detach. Every call passes a whole
//! zeroed attribute block: kernels 6.17 to 7.1 write behind a short one (security finding on `BPF_PROG_QUERY`).

use super::{cvt, show};
use crate::error::Result;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// Larger than `union bpf_attr` of any kernel so far (144 bytes in Linux 6.18); the kernel accepts a longer
/// block when the part it does not know is zero.
const ATTR_BYTES: usize = 192;

const PROG_LOAD: u32 = 5;
const PROG_ATTACH: u32 = 8;
const PROG_DETACH: u32 = 9;
const PROG_GET_FD_BY_ID: u32 = 13;
const PROG_QUERY: u32 = 16;

/// `BPF_PROG_TYPE_CGROUP_DEVICE` (Linux 4.15).
const TYPE_CGROUP_DEVICE: u32 = 15;
/// `BPF_CGROUP_DEVICE`.
const ATTACH_DEVICE: u32 = 6;
/// `BPF_F_ALLOW_MULTI`: programs of parents and children all have a say.
const ALLOW_MULTI: u32 = 2;

/// `union bpf_attr`, written by byte offset; the offsets are stable kernel interface (linux/bpf.h).
#[repr(C, align(8))]
struct Attr([u8; ATTR_BYTES]);

impl Attr {
    fn new() -> Self {
        Attr([0; ATTR_BYTES])
    }
    fn u32(mut self, at: usize, value: u32) -> Self {
        self.0[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        self
    }
    fn ptr<T>(mut self, at: usize, value: *const T) -> Self {
        self.0[at..at + 8].copy_from_slice(&(value as u64).to_ne_bytes());
        self
    }
    fn get(&self, at: usize) -> u32 {
        let mut b = [0u8; 4];
        b.copy_from_slice(&self.0[at..at + 4]);
        u32::from_ne_bytes(b)
    }
    /// The call. Safe to the extent that the pointers put in by `ptr` live and have the sizes put in beside.
    fn call(&mut self, cmd: u32) -> libc::c_long {
        // SAFETY: the block is owned, aligned and of the stated size; the callers below keep the buffers that
        // it points at alive across the call and state their true lengths.
        unsafe { libc::syscall(libc::SYS_bpf, cmd, self.0.as_mut_ptr(), ATTR_BYTES) }
    }
}

/// `BPF_PROG_LOAD` of a device program; each element is one `struct bpf_insn`. Needs CAP_BPF or
/// CAP_SYS_ADMIN in the initial user namespace (bpf(2)).
pub fn load_device_program(insns: &[u64]) -> Result<OwnedFd> {
    let license = c"Apache-2.0";
    let mut attr = Attr::new()
        .u32(0, TYPE_CGROUP_DEVICE)
        .u32(4, insns.len() as u32)
        .ptr(8, insns.as_ptr())
        .ptr(16, license.as_ptr());
    let fd = sys!(
        "bpf",
        cvt(attr.call(PROG_LOAD)),
        "BPF_PROG_LOAD, BPF_PROG_TYPE_CGROUP_DEVICE, {} instructions",
        insns.len()
    )?;
    // SAFETY: the call succeeded and returned a new descriptor (close-on-exec by default), owned by nobody.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// `BPF_PROG_ATTACH` to a cgroup2 directory, beside whatever is attached (`BPF_F_ALLOW_MULTI`).
pub fn attach_device_program<C: AsFd, P: AsFd>(cgroup: C, program: P) -> Result<()> {
    let mut attr = Attr::new()
        .u32(0, cgroup.as_fd().as_raw_fd() as u32)
        .u32(4, program.as_fd().as_raw_fd() as u32)
        .u32(8, ATTACH_DEVICE)
        .u32(12, ALLOW_MULTI);
    sys!("bpf", cvt(attr.call(PROG_ATTACH)), "BPF_PROG_ATTACH, {}, BPF_CGROUP_DEVICE", show(&cgroup))
        .map(|_| ())
}

/// `BPF_PROG_DETACH` of one program.
pub fn detach_device_program<C: AsFd, P: AsFd>(cgroup: C, program: P) -> Result<()> {
    let mut attr = Attr::new()
        .u32(0, cgroup.as_fd().as_raw_fd() as u32)
        .u32(4, program.as_fd().as_raw_fd() as u32)
        .u32(8, ATTACH_DEVICE);
    sys!("bpf", cvt(attr.call(PROG_DETACH)), "BPF_PROG_DETACH, {}, BPF_CGROUP_DEVICE", show(&cgroup))
        .map(|_| ())
}

/// `BPF_PROG_QUERY`: ids of the device programs attached to this directory itself (at most 64, the kernel's
/// own limit for one cgroup).
pub fn query_device_programs<C: AsFd>(cgroup: C) -> Result<Vec<u32>> {
    let mut ids = [0u32; 64];
    let mut attr = Attr::new()
        .u32(0, cgroup.as_fd().as_raw_fd() as u32)
        .u32(4, ATTACH_DEVICE)
        .ptr(16, ids.as_mut_ptr())
        .u32(24, ids.len() as u32);
    sys!("bpf", cvt(attr.call(PROG_QUERY)), "BPF_PROG_QUERY, {}, BPF_CGROUP_DEVICE", show(&cgroup))?;
    let count = (attr.get(24) as usize).min(ids.len());
    Ok(ids[..count].to_vec())
}

/// `BPF_PROG_GET_FD_BY_ID`: a handle on a loaded program.
pub fn device_program_by_id(id: u32) -> Result<OwnedFd> {
    let mut attr = Attr::new().u32(0, id);
    let fd = sys!("bpf", cvt(attr.call(PROG_GET_FD_BY_ID)), "BPF_PROG_GET_FD_BY_ID, {id}")?;
    // SAFETY: as in `load_device_program`.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}
