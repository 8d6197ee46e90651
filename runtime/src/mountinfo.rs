//! The text of /proc/PID/mountinfo (proc_pid_mountinfo(5)). Pure: callers read the file. May use: std.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// Undoes the `\ooo` escapes of mountinfo.
pub fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&b, tail)) = rest.split_first() {
        match (b, tail) {
            (b'\\', [x @ b'0'..=b'3', y @ b'0'..=b'7', z @ b'0'..=b'7', more @ ..]) => {
                out.push((x - b'0') << 6 | (y - b'0') << 3 | (z - b'0'));
                rest = more;
            }
            _ => {
                out.push(b);
                rest = tail;
            }
        }
    }
    out
}

/// Mount points of the file systems of these types, the latest mount first.
pub fn points(file: &[u8], types: &[&str]) -> Vec<PathBuf> {
    let point = |line: &[u8]| {
        let mut fields = line.split(|b| *b == b' ');
        let point = fields.nth(4)?;
        fields.find(|f| *f == b"-")?;
        let kind = fields.next()?;
        let wanted = types.iter().any(|t| t.as_bytes() == kind);
        wanted.then(|| PathBuf::from(OsString::from_vec(unescape(point))))
    };
    file.split(|b| *b == b'\n').rev().filter_map(point).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_by_type_latest_first() {
        let file = b"22 27 0:21 / /proc rw - proc proc rw\n\
            23 27 0:22 / /sys rw,relatime shared:7 - sysfs sysfs rw\n\
            24 27 0:6 / /dev rw - devtmpfs proc rw\n\
            25 24 0:21 / /a\\040b rw -  proc rw\n\
            26 24 0:21 / /c\\040d rw - proc  rw\n";
        let found = points(file, &["proc", "sysfs"]);
        assert_eq!(found, ["/c d", "/sys", "/proc"].map(PathBuf::from));
    }
}
