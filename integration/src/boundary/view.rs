//! What a container sees mounted, compared with what it was to see. Pure.

/// One line of mountinfo(5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    device: String,
    root: String,
    point: String,
    options: String,
    kind: String,
}

impl Line {
    /// The mount that was asked for, wherever it is. It may be read-only for another reason: a read-only path of the image that
    /// leads to the root makes everything so.
    fn is_like(&self, want: &Line) -> bool {
        let tighter = || want.options.strip_prefix("rw,").map(|rest| format!("ro,{rest}"));
        (&self.root, &self.kind) == (&want.root, &want.kind)
            && (self.options == want.options || Some(&self.options) == tighter().as_ref())
    }
}

/// The lines of a program's output that are of mountinfo.
pub fn parse(output: &str) -> Vec<Line> {
    let line = |text: &str| {
        let (left, right) = text.trim_end().split_once(" - ")?;
        let mut words = left.split(' ').skip(2);
        let mut word = || words.next().map(String::from);
        Some(Line {
            device: word()?,
            root: word()?,
            point: word()?,
            options: word()?,
            kind: right.split(' ').next()?.to_string(),
        })
    };
    output.lines().filter_map(line).collect()
}

/// What is wrong in a container in whose root one component was exchanged. `want` is what it sees otherwise; `twins` is where
/// on the same file system the exchanged thing went, beside the bundle.
pub fn complaints(want: &[Line], seen: &[Line], component: &str, twins: &str) -> Vec<String> {
    let Some(top) = want.iter().find(|l| l.point == "/") else { return vec!["no root is expected".into()] };
    let below =
        |path: &str, dir: &str| path.strip_prefix(dir).is_some_and(|r| r.is_empty() || r.starts_with('/'));
    let away = top.root.replace("/b/rootfs", twins);
    let own = |l: &Line| l.device == top.device && (below(&l.root, &top.root) || below(&l.root, &away));
    let wanted = |l: &Line| want.iter().any(|w| l.is_like(w));
    // Where a read-only path of the image leads into one of the container's own mounts, a part of it is made so.
    let part = |l: &Line| {
        l.options.starts_with("ro")
            && seen.iter().any(|o| (&o.device, &o.kind) == (&l.device, &l.kind) && wanted(o))
    };
    let strange = seen.iter().filter(|l| !own(l) && !wanted(l) && !part(l));
    let mut all: Vec<String> = strange.map(|l| format!("nobody has asked for this mount: {l:?}")).collect();
    // Where nobody has meddled, everything is in its place.
    let component = format!("/{component}");
    let missing = want.iter().filter(|w| !below(&w.point, &component));
    let missing = missing.filter(|w| !seen.iter().any(|l| l.point == w.point && l.is_like(w)));
    all.extend(missing.map(|w| format!("this mount is not there: {w:?}")));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANT: &str = "1 0 8:1 /x/b/rootfs / rw,relatime - ext4 d rw\n\
        2 1 0:9 / /proc rw,nosuid - proc proc rw\n3 2 0:9 /sys /proc/sys ro,nosuid - proc proc rw\n\
        4 1 0:10 / /data/a ro - tmpfs none rw\n";

    #[test]
    fn lines_are_read() {
        let lines = parse(&format!("{WANT}errno 2 ENOENT\nmarker\n"));
        assert_eq!(lines.len(), 4);
        assert_eq!((lines[2].root.as_str(), lines[2].point.as_str()), ("/sys", "/proc/sys"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let want = parse(WANT);
        let judge = |text: &str, component: &str| complaints(&want, &parse(text), component, "/twins").len();
        assert_eq!(judge(WANT, "data"), 0);
        // It went where the exchanged directory is, or is not to be seen any more.
        assert_eq!(judge(&WANT.replace("/data/a ro", "/other/a ro"), "data"), 0);
        assert_eq!(judge(&WANT.replace("4 1 0:10 / /data/a ro - tmpfs none rw\n", ""), "data/a"), 0);
        assert_eq!(judge(&WANT.replace("4 1 0:10 / /data/a ro - tmpfs none rw\n", ""), "etc"), 1);
        // It is writable, it is something of the host, a cover is missing.
        assert_eq!(judge(&WANT.replace("/proc rw", "/proc ro"), "data"), 0);
        assert_eq!(judge(&WANT.replace("/data/a ro", "/data/a rw"), "data"), 1);
        assert_eq!(judge(&format!("{WANT}5 1 8:1 /x/tripwire /data/b rw - ext4 d rw\n"), "data"), 1);
        assert_eq!(judge(&format!("{WANT}5 1 8:1 /x/twins/1 /data/b rw - ext4 d rw\n"), "data"), 0);
        assert_eq!(judge(&WANT.replace("3 2 0:9 /sys /proc/sys ro,nosuid - proc proc rw\n", ""), "data"), 1);
        assert_eq!(judge(&format!("{WANT}5 1 0:9 /1 /proc/1 ro - proc proc rw\n"), "data"), 0);
        assert_eq!(judge(&format!("{WANT}5 1 0:8 /1 /proc/1 ro - proc proc rw\n"), "data"), 1);
        assert_eq!(judge("", "data"), 3);
    }
}
