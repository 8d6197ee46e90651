//! Chance.

use rustix::rand::{GetRandomFlags, getrandom};

/// A number from 0 to 1; 0.5 should the kernel have none to give.
pub fn unit() -> f64 {
    let mut bytes = [0u8; 4];
    match getrandom(&mut bytes, GetRandomFlags::NONBLOCK) {
        Ok(4) => f64::from(u32::from_ne_bytes(bytes)) / f64::from(u32::MAX),
        _ => 0.5,
    }
}
