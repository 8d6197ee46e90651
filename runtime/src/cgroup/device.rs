//! Device rules: the list of config.json and the runtime's own, checked and put in order. Everything is denied
//! first; later rules win, each access letter for itself. Pure. May use: `spec`, `error`.
#![forbid(unsafe_code)]

use super::limits::{self, at};
use crate::error::{Error, Result, quoted};
use crate::spec::DeviceRule;
use serde::Serialize;

/// mknod(2), as the kernel numbers the access kinds (`BPF_DEVCG_ACC_*`).
pub const MKNOD: u8 = 1;
/// Reading.
pub const READ: u8 = 2;
/// Writing.
pub const WRITE: u8 = 4;
/// All of them.
pub const ALL: u8 = 7;

/// What a rule is about, as the kernel numbers it (`BPF_DEVCG_DEV_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Node {
    /// Block devices.
    Block = 1,
    /// Character devices.
    Char = 2,
}

/// One rule; `None` stands for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// Allowed or denied.
    pub allow: bool,
    /// Block, character or both.
    pub node: Option<Node>,
    /// Major number.
    pub major: Option<u32>,
    /// Minor number.
    pub minor: Option<u32>,
    /// Union of [`MKNOD`], [`READ`] and [`WRITE`].
    pub access: u8,
    /// Place in `linux.resources.devices`; `None` for the runtime's own rules.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<usize>,
}

impl Rule {
    /// True when the rule speaks about every device and every access.
    pub fn is_total(&self) -> bool {
        self.node.is_none() && self.major.is_none() && self.minor.is_none() && self.access == ALL
    }

    /// True when the rule speaks about this device.
    pub fn matches(&self, node: Node, major: u32, minor: u32) -> bool {
        self.node.is_none_or(|n| n == node)
            && self.major.is_none_or(|n| n == major)
            && self.minor.is_none_or(|n| n == minor)
    }

    /// The field to blame.
    pub fn field(&self) -> String {
        match self.index {
            Some(i) => at(&format!("devices/{i}")),
            None => at("devices"),
        }
    }
}

/// Type, major, minor, access.
type Speaks = (Option<Node>, Option<u32>, Option<u32>, u8);

/// Devices that every container may use whatever config.json says: the ones the spec makes runtimes create,
/// terminals, the network tunnel that existing images rely on, and mknod of anything (which grants no access
/// to the device).
const DEFAULTS: [Speaks; 11] = [
    (Some(Node::Char), None, None, MKNOD),
    (Some(Node::Block), None, None, MKNOD),
    (Some(Node::Char), Some(1), Some(3), ALL),    // null
    (Some(Node::Char), Some(1), Some(5), ALL),    // zero
    (Some(Node::Char), Some(1), Some(7), ALL),    // full
    (Some(Node::Char), Some(1), Some(8), ALL),    // random
    (Some(Node::Char), Some(1), Some(9), ALL),    // urandom
    (Some(Node::Char), Some(5), Some(0), ALL),    // tty
    (Some(Node::Char), Some(5), Some(2), ALL),    // ptmx
    (Some(Node::Char), Some(136), None, ALL),     // pts/*
    (Some(Node::Char), Some(10), Some(200), ALL), // net/tun
];

/// Rules in order of evaluation: those of config.json, then the runtime's own, as runc orders them. Before the
/// first one everything is denied.
pub(super) fn rules(list: &[DeviceRule]) -> Result<Vec<Rule>> {
    let mut out = Vec::with_capacity(list.len() + DEFAULTS.len());
    for (i, rule) in list.iter().enumerate() {
        out.push(checked(i, rule)?);
    }
    out.extend(DEFAULTS.iter().map(|&(node, major, minor, access)| Rule {
        allow: true,
        node,
        major,
        minor,
        access,
        index: None,
    }));
    Ok(out)
}

fn checked(i: usize, rule: &DeviceRule) -> Result<Rule> {
    let DeviceRule { allow, kind, major, minor, access } = rule;
    let here = format!("devices/{i}");
    let node = match kind.as_str() {
        "" | "a" => None,
        "b" => Some(Node::Block),
        "c" => Some(Node::Char),
        other => {
            let text = format!("not a device type, got {}, want \"a\", \"b\" or \"c\"", quoted(other));
            return Err(Error::spec(at(&format!("{here}/type")), text));
        }
    };
    let mut bits = 0;
    for c in access.chars() {
        bits |= match c {
            'r' => READ,
            'w' => WRITE,
            'm' => MKNOD,
            _ => 0x80,
        };
    }
    if bits == 0 || bits > ALL {
        let text = format!("want some of the letters r, w and m, got {}", quoted(access));
        return Err(Error::spec(at(&format!("{here}/access")), text));
    }
    let number = |n: &Option<i64>, name: &str, end: i64| match n {
        None | Some(-1) => Ok(None),
        Some(n) => limits::check_number(&format!("{here}/{name}"), *n, end).map(|()| Some(*n as u32)),
    };
    Ok(Rule {
        allow: *allow,
        node,
        major: number(major, "major", limits::MAJORS)?,
        minor: number(minor, "minor", limits::MINORS)?,
        access: bits,
        index: Some(i),
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::device_oracle::naive;
    use super::*;

    pub(in crate::cgroup) fn rule(
        allow: bool,
        kind: &str,
        major: i64,
        minor: i64,
        access: &str,
    ) -> DeviceRule {
        DeviceRule { allow, kind: kind.into(), major: Some(major), minor: Some(minor), access: access.into() }
    }

    /// Lists worth trying: none, all, only-allow, only-deny, holes, letters, late resets.
    pub(in crate::cgroup) fn lists() -> Vec<Vec<DeviceRule>> {
        let deny_all = rule(false, "a", -1, -1, "rwm");
        let allow_all = rule(true, "a", -1, -1, "rwm");
        vec![
            vec![],
            vec![deny_all.clone()],
            vec![allow_all.clone()],
            vec![rule(true, "c", 10, 229, "rwm"), rule(true, "b", 8, -1, "r")],
            vec![rule(false, "c", 1, 3, "w"), rule(false, "b", 8, 0, "rwm")],
            vec![allow_all.clone(), rule(false, "b", 8, 0, "w"), rule(false, "c", -1, 3, "r")],
            vec![rule(true, "c", 10, 229, "rw"), rule(false, "c", 10, 229, "w")],
            vec![rule(true, "b", 8, 0, "rw"), rule(false, "b", -1, -1, "w"), rule(true, "b", 8, 1, "w")],
            vec![rule(true, "b", 8, 0, "rw"), deny_all, rule(true, "b", 8, 1, "r")],
            vec![rule(true, "a", 8, -1, "r"), rule(true, "", -1, 1, "w")],
            vec![rule(false, "b", 8, 0, "w"), allow_all],
        ]
    }

    pub(in crate::cgroup) const GRID: [(u32, u32); 10] =
        [(1, 3), (1, 4), (5, 0), (8, 0), (8, 1), (8, 2), (10, 200), (10, 229), (136, 7), (250, 3)];

    #[test]
    fn nothing_but_the_defaults_without_rules() {
        let rules = rules(&[]).unwrap();
        assert!(naive(&rules, Node::Char, 1, 3, ALL));
        assert!(naive(&rules, Node::Char, 10, 200, READ | WRITE));
        assert!(naive(&rules, Node::Char, 136, 9, READ | WRITE));
        assert!(naive(&rules, Node::Block, 8, 0, MKNOD));
        assert!(!naive(&rules, Node::Block, 8, 0, READ));
        assert!(!naive(&rules, Node::Char, 1, 1, READ));
    }

    #[test]
    fn bad_rules_name_their_field() {
        let cases = [
            (rule(true, "z", 1, 1, "r"), "/linux/resources/devices/0/type"),
            (rule(true, "c", -2, 1, "r"), "/linux/resources/devices/0/major"),
            (rule(true, "c", 4096, 1, "r"), "/linux/resources/devices/0/major"),
            (rule(true, "c", 1, 1 << 20, "r"), "/linux/resources/devices/0/minor"),
            (rule(true, "c", 1, 1, "rwx"), "/linux/resources/devices/0/access"),
            (rule(true, "c", 1, 1, ""), "/linux/resources/devices/0/access"),
        ];
        for (r, field) in cases {
            assert_eq!(rules(&[r]).unwrap_err().field_path(), Some(field));
        }
    }
}
