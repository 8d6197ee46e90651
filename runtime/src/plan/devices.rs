//! Device nodes of a container: the runtime's defaults and `linux.devices`. Pure.

use crate::error::{Error, Result, quoted};
use crate::spec;
use crate::sys::fs::FileType;
use serde::Serialize;

/// A node to make, or to bind from the host where mknod is not allowed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DeviceNode {
    /// Absolute path in the container.
    pub path: String,
    #[serde(skip)]
    pub kind: FileType,
    pub major: u32,
    pub minor: u32,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// JSON pointer, for nodes that the config asked for.
    pub field: Option<String>,
}

/// config-linux.md, "Default Devices"; ptmx and console are links and binds.
const DEFAULTS: &[(&str, u32, u32)] = &[
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

/// Links that config-linux.md and POSIX programs expect under /dev.
pub const LINKS: &[(&str, &str)] = &[
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
    ("/proc/kcore", "/dev/core"),
    ("pts/ptmx", PTMX),
];

/// config-linux.md, "Default Devices": always the container's own /dev/pts/ptmx.
const PTMX: &str = "/dev/ptmx";

/// Defaults first; an entry of the config with the same path replaces its default.
pub fn plan(devices: &[spec::Device]) -> Result<Vec<DeviceNode>> {
    let default = |(path, major, minor): &(&str, u32, u32)| DeviceNode {
        path: path.to_string(),
        kind: FileType::CharacterDevice,
        major: *major,
        minor: *minor,
        mode: 0o666,
        uid: 0,
        gid: 0,
        field: None,
    };
    let mut out: Vec<DeviceNode> =
        DEFAULTS.iter().filter(|(p, _, _)| !devices.iter().any(|d| d.path == *p)).map(default).collect();
    for (i, d) in devices.iter().enumerate() {
        let field = format!("/linux/devices/{i}");
        let node = plan_one(d, field.clone())?;
        if node.path != PTMX {
            out.push(node);
        } else if (node.kind, node.major, node.minor) != (FileType::CharacterDevice, 5, 2) {
            return Err(Error::spec(
                format!("{field}/path"),
                format!("{PTMX} is the multiplexer of the container's own terminals, got another device"),
            ));
        }
        // An engine that passes on every device of the host lists ptmx too: the link below is that device.
    }
    Ok(out)
}

fn plan_one(d: &spec::Device, field: String) -> Result<DeviceNode> {
    let spec::Device { kind, path, major, minor, file_mode, uid, gid } = d;
    let kind = match kind.as_str() {
        "c" | "u" => FileType::CharacterDevice,
        "b" => FileType::BlockDevice,
        "p" => FileType::Fifo,
        other => {
            return Err(Error::spec(
                format!("{field}/type"),
                format!("got {}, want c, b, u or p", quoted(other)),
            ));
        }
    };
    let number = |v: i64, name: &str| {
        u32::try_from(v)
            .map_err(|_| Error::spec(format!("{field}/{name}"), format!("got {v}, want 0 to 4294967295")))
    };
    let (major, minor) =
        if kind == FileType::Fifo { (0, 0) } else { (number(*major, "major")?, number(*minor, "minor")?) };
    Ok(DeviceNode {
        path: path.clone(),
        kind,
        major,
        minor,
        mode: file_mode.unwrap_or(0o666) & 0o7777,
        uid: uid.unwrap_or(0),
        gid: gid.unwrap_or(0),
        field: Some(field),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(path: &str, major: i64, minor: i64) -> spec::Device {
        spec::Device { kind: "c".into(), path: path.into(), major, minor, ..Default::default() }
    }

    #[test]
    fn ptmx_of_the_host_is_the_link_and_no_node() {
        let nodes = plan(&[device("/dev/ptmx", 5, 2), device("/dev/fuse", 10, 229)]).unwrap();
        assert_eq!(nodes.len(), DEFAULTS.len() + 1);
        assert!(nodes.iter().all(|n| n.path != "/dev/ptmx"));
        let e = plan(&[device("/dev/ptmx", 1, 3)]).unwrap_err();
        assert_eq!(e.field_path(), Some("/linux/devices/0/path"));
    }

    #[test]
    fn an_entry_replaces_its_default() {
        let nodes = plan(&[device("/dev/null", 1, 3)]).unwrap();
        assert_eq!(nodes.len(), DEFAULTS.len());
        assert_eq!(nodes.iter().filter(|n| n.path == "/dev/null" && n.field.is_some()).count(), 1);
    }
}
