//! Rules for `linux.devices` and for device rules of the cgroup: config-linux.md, mknod(2). Pure.

use super::{Findings, climbs, tidy};
use crate::error::quoted;
use crate::spec::at::At;
use crate::spec::types::*;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Device numbers have twelve and twenty bits inside the kernel (linux/kdev_t.h).
pub(super) const MAX_MAJOR: i128 = (1 << 12) - 1;
pub(super) const MAX_MINOR: i128 = (1 << 20) - 1;

pub(super) fn check(f: &mut Findings, at: &At<'_>, devices: &[Device]) {
    let mut first: BTreeMap<Cow<'_, str>, (usize, &Device)> = BTreeMap::new();
    for (i, device) in devices.iter().enumerate() {
        one(f, &at.item(i), device);
        // The same line twice is harmless; engines add what a plugin asks for and the user too.
        let (before, other) = *first.entry(tidy(&device.path)).or_insert((i, device));
        if other != device {
            let earlier = at.item(before).pointer();
            let text =
                format!("duplicate: {} is in {earlier} already, with other values", quoted(&device.path));
            f.fail(&at.item(i).key("path"), text);
        }
    }
}

fn one(f: &mut Findings, at: &At<'_>, device: &Device) {
    let Device { kind, path, major, minor, file_mode, uid, gid } = device;
    f.one_of(&at.key("type"), "device type", kind, &["c", "u", "b", "p"]);
    if f.absolute(&at.key("path"), path) && (climbs(path) || tidy(path) == "/") {
        f.fail(&at.key("path"), format!("got {}, want an absolute path of a file, without ..", quoted(path)));
    }
    f.within(&at.key("major"), *major, 0, MAX_MAJOR);
    f.within(&at.key("minor"), *minor, 0, MAX_MINOR);
    if let Some(mode) = file_mode {
        // Some engines leave the type bits of stat(2) in the mode.
        let type_bits = match kind.as_str() {
            "b" => 0o060000,
            "p" => 0o010000,
            _ => 0o020000,
        };
        if mode & !0o7777 != 0 && mode & !0o7777 != type_bits {
            f.fail(&at.key("fileMode"), format!("out of range: got 0{mode:o}, want permissions up to 07777"));
        }
    }
    for (key, id) in [("uid", uid), ("gid", gid)] {
        if let Some(id) = id {
            f.identity(&at.key(key), *id);
        }
    }
}

/// One rule of the device controller. -1 is the wildcard that engines write for `*`.
pub(super) fn rule(f: &mut Findings, at: &At<'_>, rule: &DeviceRule) {
    let DeviceRule { allow: _, kind, major, minor, access } = rule;
    f.one_of(&at.key("type"), "device type", kind, &["", "a", "c", "b"]);
    for (key, number) in [("major", major), ("minor", minor)] {
        if let Some(number) = number {
            f.within(&at.key(key), *number, -1, u32::MAX.into());
        }
    }
    if access.is_empty() || access.contains(|c| !"rwm".contains(c)) {
        f.fail(&at.key("access"), format!("got {}, want one or more of the letters r, w, m", quoted(access)));
    }
}
