//! `knarr-floor`: the kernel work of `run` for the one bundle that `ci/bench` measures, with everything hard-wired. No
//! configuration is read or checked, no state is kept, no failure is explained, no race is looked for, no binary is
//! protected: it is a yardstick and not a runtime. What the container gets is the same: namespaces, cgroup and device
//! program, mounts with their options, masks, ids, capabilities, keyring, limits, filter.
//!
//! `knarr-floor run --bundle DIR ID`. `DIR/floor` has the paths that differ between two runs, one a line, a word in front:
//! `root`, `v2` and `v1` (directories of the container's groups), `view` (what /sys/fs/cgroup shows), `set` (a file of a
//! group and its value). `DIR/floor.filter` is the filter as the kernel takes it.
#![deny(unsafe_code)]
#![no_main]

#[allow(unsafe_code)]
mod sys;

use std::ffi::{CStr, CString};
use sys::{Done, attr};

/// What `ci/bench` wrote beside the configuration.
struct Given {
    root: CString,
    v2: Option<CString>,
    v1: Vec<CString>,
    view: Vec<CString>,
    set: Vec<(CString, Vec<u8>)>,
    filter: Vec<u64>,
}

/// Where a new file system goes, its type, flags of mount(2) and options.
const MOUNTS: [(&CStr, &CStr, u64, &CStr); 6] = [
    (c"proc", c"proc", 0, c""),
    (c"dev", c"tmpfs", libc::MS_NOSUID | libc::MS_STRICTATIME, c"mode=755,size=65536k"),
    (c"dev/pts", c"devpts", libc::MS_NOSUID | libc::MS_NOEXEC, c"newinstance,ptmxmode=0666,mode=0620,gid=5"),
    (c"dev/shm", c"tmpfs", NOTHING, c"mode=1777,size=65536k"),
    (c"dev/mqueue", c"mqueue", NOTHING, c""),
    (c"sys", c"sysfs", NOTHING | libc::MS_RDONLY, c""),
];
const NOTHING: u64 = libc::MS_NOSUID | libc::MS_NOEXEC | libc::MS_NODEV;
const NODES: [(&CStr, u32, u32); 6] = [
    (c"dev/null", 1, 3),
    (c"dev/zero", 1, 5),
    (c"dev/full", 1, 7),
    (c"dev/random", 1, 8),
    (c"dev/urandom", 1, 9),
    (c"dev/tty", 5, 0),
];
const LINKS: [(&CStr, &CStr); 5] = [
    (c"/proc/self/fd", c"dev/fd"),
    (c"/proc/self/fd/0", c"dev/stdin"),
    (c"/proc/self/fd/1", c"dev/stdout"),
    (c"/proc/self/fd/2", c"dev/stderr"),
    (c"pts/ptmx", c"dev/ptmx"),
];
const READ_ONLY: [&CStr; 5] = [c"proc/bus", c"proc/fs", c"proc/irq", c"proc/sys", c"proc/sysrq-trigger"];
const MASKED: [&CStr; 10] = [
    c"proc/acpi",
    c"proc/asound",
    c"proc/kcore",
    c"proc/keys",
    c"proc/latency_stats",
    c"proc/timer_list",
    c"proc/timer_stats",
    c"proc/sched_debug",
    c"sys/firmware",
    c"proc/scsi",
];
/// CAP_KILL, CAP_NET_BIND_SERVICE, CAP_AUDIT_WRITE.
const CAPABILITIES: u64 = 1 << 5 | 1 << 10 | 1 << 29;

sys::program!(command);

/// The exit code of the container's program; 120 and above say which part failed.
fn command(words: &[&CStr]) -> i32 {
    let Some(bundle) = words.windows(2).find(|w| w[0] == c"--bundle").map(|w| w[1]) else { return 120 };
    let Some(given) = given(bundle) else { return 121 };
    run(&given).unwrap_or(122)
}

fn given(bundle: &CStr) -> Option<Given> {
    let dir = bundle.to_str().ok()?;
    let text = std::fs::read_to_string(format!("{dir}/floor")).ok()?;
    let filter = std::fs::read(format!("{dir}/floor.filter")).unwrap_or_default();
    let mut given = Given {
        root: CString::default(),
        v2: None,
        v1: Vec::new(),
        view: Vec::new(),
        set: Vec::new(),
        filter: filter.chunks_exact(8).filter_map(|c| c.try_into().ok().map(u64::from_ne_bytes)).collect(),
    };
    for line in text.lines() {
        let (word, rest) = line.split_once(' ')?;
        let (path, value) = rest.split_once(' ').unwrap_or((rest, ""));
        let path = CString::new(path).ok()?;
        match word {
            "root" => given.root = path,
            "v2" => given.v2 = Some(path),
            "v1" => given.v1.push(path),
            "view" => given.view.push(path),
            "set" => given.set.push((path, value.as_bytes().to_vec())),
            _ => return None,
        }
    }
    Some(given)
}

fn run(g: &Given) -> Done<i32> {
    let mut group = None;
    if let Some(dir) = &g.v2 {
        sys::mkdir(dir, 0o755)?;
        let fd = sys::open(dir, libc::O_RDONLY | libc::O_DIRECTORY)?;
        sys::attach_devices(fd, &device_program())?;
        group = Some(fd);
    }
    for dir in &g.v1 {
        sys::mkdir(dir, 0o755)?;
    }
    for (file, value) in &g.set {
        sys::write_file(file, value)?;
    }
    let namespaces =
        libc::CLONE_NEWNS | libc::CLONE_NEWUTS | libc::CLONE_NEWIPC | libc::CLONE_NEWPID | libc::CLONE_NEWNET;
    let init = sys::clone3(namespaces as u64, group, || i32::from(live(g).is_none()) * 123)?;
    let code = sys::wait(init)?;
    for dir in g.v1.iter().chain(&g.v2) {
        sys::rmdir(dir)?;
    }
    Some(code)
}

/// What a container may do with devices: make nodes of any, use these characters (major, minor; -1 is any).
const USABLE: [(i32, i32); 9] =
    [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2), (136, -1), (10, 200)];

/// The rules as a program of type BPF_PROG_TYPE_CGROUP_DEVICE (linux/bpf.h, `struct bpf_cgroup_dev_ctx`).
fn device_program() -> Vec<u64> {
    const CHARACTER: i32 = 2;
    let op = |code: u8, to: u8, from: u8, skip: u16, value: i32| {
        u64::from(code)
            | u64::from(to | from << 4) << 8
            | u64::from(skip) << 16
            | u64::from(value.cast_unsigned()) << 32
    };
    let mut out = vec![
        op(0x61, 2, 1, 0, 0),
        op(0x61, 5, 1, 4, 0),
        op(0x61, 6, 1, 8, 0),
        op(0xbf, 4, 2, 0, 0),
        op(0x77, 4, 0, 0, 16),
        op(0x57, 2, 0, 0, 0xffff),
        op(0xb7, 0, 0, 0, 1),
        // Neither read nor write: allowed.
        op(0x45, 4, 0, 1, 6),
        op(0x95, 0, 0, 0, 0),
    ];
    for (major, minor) in USABLE {
        let minors: &[u64] = if minor < 0 { &[] } else { &[op(0x55, 6, 0, 1, minor)] };
        out.push(op(0x55, 2, 0, 2 + minors.len() as u16, CHARACTER));
        out.push(op(0x55, 5, 0, 1 + minors.len() as u16, major));
        out.extend(minors);
        out.push(op(0x95, 0, 0, 0, 0));
    }
    out.extend([op(0xb7, 0, 0, 0, 0), op(0x95, 0, 0, 0, 0)]);
    out
}

/// The child. Comes back only with a failure.
fn live(g: &Given) -> Done<()> {
    for dir in &g.v1 {
        let tasks = CString::new([dir.as_bytes(), b"/tasks"].concat()).ok()?;
        sys::write_file(&tasks, b"0")?;
    }
    sys::setsid()?;
    sys::loopback_up()?;
    sys::sethostname(b"bench")?;
    let null = sys::open(c"/dev/null", libc::O_PATH)?;
    // Before the host's tree is out of sight.
    let view: Done<Vec<i32>> = g.view.iter().map(|dir| sys::copy(libc::AT_FDCWD, dir, 0)).collect();
    build(g, &view?)?;
    masks(null)?;
    sys::set_attr(sys::open(c".", libc::O_PATH)?, attr::RDONLY)?;
    sys::pivot_here()?;
    confine()?;
    sys::close_from(3)?;
    sys::limit_descriptors(1024)?;
    if !g.filter.is_empty() {
        sys::filter(&g.filter)?;
    }
    sys::execve(c"/probe", &[c"/probe", c"true"], &[PATH, c"TERM=xterm", c"HOME=/"])
}

const PATH: &CStr = c"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

fn build(g: &Given, view: &[i32]) -> Done<()> {
    sys::mount(None, c"/", None, libc::MS_REC | libc::MS_SLAVE, c"")?;
    sys::mount(Some(&g.root), &g.root, None, libc::MS_BIND | libc::MS_REC, c"")?;
    sys::chdir(&g.root)?;
    for (at, kind, flags, options) in MOUNTS {
        if at.to_bytes().starts_with(b"dev/") {
            sys::mkdir(at, 0o755)?;
        }
        sys::mount(Some(kind), at, Some(kind), flags, options)?;
    }
    let own = attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC;
    match (view, g.view.as_slice()) {
        ([one], _) if g.v1.is_empty() => {
            sys::set_attr(*one, own)?;
            sys::attach(*one, c"sys/fs/cgroup")?;
        }
        (all, paths) => {
            let options = c"mode=755";
            sys::mount(Some(c"tmpfs"), c"sys/fs/cgroup", Some(c"tmpfs"), NOTHING, options)?;
            for (tree, path) in all.iter().zip(paths) {
                // The hierarchy's own name: the directory above that of the container.
                let name = path.to_bytes().split(|b| *b == b'/').rev().nth(1)?;
                let at = CString::new([b"sys/fs/cgroup/", name].concat()).ok()?;
                sys::mkdir(&at, 0o755)?;
                sys::set_attr(*tree, own)?;
                sys::attach(*tree, &at)?;
            }
            sys::set_attr(sys::open(c"sys/fs/cgroup", libc::O_PATH)?, attr::RDONLY)?;
        }
    }
    sys::umask(0);
    for (at, major, minor) in NODES {
        sys::mknod(at, major, minor)?;
    }
    for (target, at) in LINKS {
        sys::symlink(target, at)?;
    }
    sys::umask(0o022);
    Some(())
}

fn masks(null: i32) -> Done<()> {
    for path in READ_ONLY {
        let Some(place) = sys::open(path, libc::O_PATH) else { continue };
        let copy = sys::copy(place, c"", sys::RECURSIVE)?;
        sys::set_attr(copy, attr::RDONLY)?;
        sys::attach_on(copy, place)?;
    }
    let mut empty = None;
    for path in MASKED {
        let Some(place) = sys::open(path, libc::O_PATH) else { continue };
        let cover = if !sys::is_dir(place)? {
            let copy = sys::copy(null, c"", 0)?;
            sys::set_attr(copy, attr::RDONLY | attr::NOSUID | attr::NOEXEC)?;
            copy
        } else if let Some(first) = empty {
            sys::copy(first, c"", 0)?
        } else {
            let made = sys::empty_dir()?;
            empty = Some(made);
            made
        };
        sys::attach_on(cover, place)?;
    }
    Some(())
}

fn confine() -> Done<()> {
    sys::all_processors();
    sys::new_keyring(c"_ses.floor")?;
    sys::own_null()?;
    for cap in (0..sys::CAPABILITIES).filter(|cap| CAPABILITIES & 1 << cap == 0) {
        // The first that this kernel does not know ends the list.
        if sys::drop_bounding(cap).is_none() {
            break;
        }
    }
    sys::root_without_groups()?;
    sys::set_caps(CAPABILITIES)?;
    sys::no_new_privs()
}
