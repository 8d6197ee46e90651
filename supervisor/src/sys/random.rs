//! Chance.

use std::io;

use rustix::rand::{GetRandomFlags, getrandom};

/// A number from 0 to 1; 0.5 should the kernel have none to give.
pub fn unit() -> f64 {
    let mut bytes = [0u8; 4];
    match getrandom(&mut bytes, GetRandomFlags::NONBLOCK) {
        Ok(4) => f64::from(u32::from_ne_bytes(bytes)) / f64::from(u32::MAX),
        _ => 0.5,
    }
}

/// Bytes that nobody can guess.
///
/// # Errors
/// getrandom(2).
pub fn bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0u8; N];
    // Up to 256 bytes are never given in part (getrandom(2)).
    const { assert!(N <= 256) };
    getrandom(&mut bytes, GetRandomFlags::empty())?;
    Ok(bytes)
}
