//! System call numbers of every architecture a filter can be compiled for, looked up by name.
//! `table.txt` is the source; it is turned into flat arrays at compile time. May use: nothing.

use super::seccomp::Arch;

/// One line per name, one column per table; `regenerate` writes it.
const TEXT: &[u8] = include_bytes!("table.txt");

/// Number of names.
const NAMES: usize = parse_size().0;
/// Bytes of all names together.
const NAME_BYTES: usize = parse_size().1;
/// Number columns of the text.
const COLUMNS: usize = 12;
/// Marks a name that an architecture does not have.
const ABSENT: u16 = u16::MAX;
/// Arm keeps a few private calls from here on; see [`pack`].
const ARM_PRIVATE: u32 = 0xf_0000;

/// The text as arrays. Only the parts that become statics below reach the binary.
struct Table {
    bytes: [u8; NAME_BYTES],
    /// Where each name ends in `bytes`; it begins where the one before it ends.
    ends: [u16; NAMES],
    columns: [[u16; NAMES]; COLUMNS],
}

const TABLE: Table = parse();
static BYTES: [u8; NAME_BYTES] = TABLE.bytes;
static ENDS: [u16; NAMES] = TABLE.ends;

/// A known system call name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call(usize);

/// Finds a name, whether or not any particular architecture has it.
pub fn find(name: &str) -> Option<Call> {
    let (mut low, mut high) = (0, NAMES);
    while low < high {
        let mid = low + (high - low) / 2;
        match name_bytes(mid).cmp(name.as_bytes()) {
            std::cmp::Ordering::Less => low = mid + 1,
            std::cmp::Ordering::Greater => high = mid,
            std::cmp::Ordering::Equal => return Some(Call(mid)),
        }
    }
    None
}

/// The number that the kernel sees for `call` on `arch`, with the x32 bit where it belongs; `None` when that
/// architecture does not have the call.
pub fn number(call: Call, arch: Arch) -> Option<u32> {
    let packed = *column(arch)?.get(call.0)?;
    (packed != ABSENT).then(|| unpack(packed) | arch.number_bit())
}

/// Every call that `arch` has, in order of name.
#[cfg(any(test, feature = "fuzzing"))]
pub fn all(arch: Arch) -> impl Iterator<Item = (String, u32)> {
    (0..NAMES).filter_map(move |i| {
        let name = String::from_utf8_lossy(name_bytes(i)).into_owned();
        number(Call(i), arch).map(|nr| (name, nr))
    })
}

fn name_bytes(i: usize) -> &'static [u8] {
    let start = if i == 0 { 0 } else { usize::from(ENDS[i - 1]) };
    &BYTES[start..usize::from(ENDS[i])]
}

/// The numbers of one architecture. Architectures that this build's kernel cannot run have none, which keeps
/// their columns out of the binary; tests have all.
fn column(arch: Arch) -> Option<&'static [u16; NAMES]> {
    macro_rules! column {
        ($i:literal) => {{
            static COLUMN: [u16; NAMES] = TABLE.columns[$i];
            Some(&COLUMN)
        }};
    }
    if !cfg!(test) && !arch.runs_on(Arch::NATIVE) {
        return None;
    }
    match arch {
        Arch::X86_64 => column!(0),
        Arch::X86 => column!(1),
        Arch::X32 => column!(2),
        Arch::Aarch64 => column!(3),
        Arch::Arm => column!(4),
        Arch::Riscv64 => column!(5),
        Arch::Loongarch64 => column!(6),
        Arch::S390x => column!(7),
        Arch::Ppc64le | Arch::Ppc64 => column!(8),
        Arch::Ppc => column!(9),
        Arch::Mips | Arch::Mipsel => column!(10),
        Arch::Mips64 | Arch::Mipsel64 => column!(11),
    }
}

/// Two bytes are enough for every number but the private ones of Arm, which start at 0xf0000.
const fn pack(number: u32) -> u16 {
    let packed = if number >= ARM_PRIVATE { 0xf000 | (number - ARM_PRIVATE) } else { number };
    assert!(packed < ABSENT as u32 && unpack(packed as u16) == number);
    packed as u16
}

const fn unpack(packed: u16) -> u32 {
    if packed >= 0xf000 { ARM_PRIVATE + (packed as u32 - 0xf000) } else { packed as u32 }
}

/// Position after the comment and the heading line.
const fn first_row() -> usize {
    let (mut i, mut lines) = (0, 0);
    while lines < 2 {
        lines += (TEXT[i] == b'\n') as usize;
        i += 1;
    }
    i
}

/// Number of names, and of their bytes.
const fn parse_size() -> (usize, usize) {
    let (mut names, mut bytes, mut in_name) = (0, 0, true);
    let mut i = first_row();
    while i < TEXT.len() {
        match TEXT[i] {
            b'\n' => {
                names += 1;
                in_name = true;
            }
            b' ' => in_name = false,
            _ => bytes += in_name as usize,
        }
        i += 1;
    }
    (names, bytes)
}

const fn parse() -> Table {
    let mut t = Table { bytes: [0; NAME_BYTES], ends: [0; NAMES], columns: [[ABSENT; NAMES]; COLUMNS] };
    let (mut i, mut row, mut end) = (first_row(), 0, 0);
    while i < TEXT.len() {
        while TEXT[i] != b' ' {
            t.bytes[end] = TEXT[i];
            end += 1;
            i += 1;
        }
        t.ends[row] = end as u16;
        let mut column = 0;
        while TEXT[i] != b'\n' {
            i += 1;
            if TEXT[i] == b'-' {
                i += 1;
            } else {
                let mut number = 0;
                while TEXT[i].is_ascii_digit() {
                    number = number * 10 + (TEXT[i] - b'0') as u32;
                    i += 1;
                }
                t.columns[column][row] = pack(number);
            }
            column += 1;
        }
        assert!(column == COLUMNS);
        i += 1;
        row += 1;
    }
    t
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Names of ours that the other source does not have for `arch`, and the other way round.
    fn compare(arch: Arch, theirs: impl Iterator<Item = (String, u32)>) -> (Vec<String>, Vec<String>) {
        let ours: BTreeMap<_, _> = all(arch).collect();
        let theirs: BTreeMap<_, _> = theirs.collect();
        assert!(ours.len() > 300, "{arch:?} has only {} calls", ours.len());
        for (name, nr) in &theirs {
            if let Some(own) = ours.get(name) {
                assert_eq!(own, nr, "{arch:?} {name}");
            }
        }
        let missing = |a: &BTreeMap<String, u32>, b: &BTreeMap<String, u32>| {
            a.keys().filter(|k| !b.contains_key(*k)).cloned().collect()
        };
        (missing(&ours, &theirs), missing(&theirs, &ours))
    }

    macro_rules! agrees_with_syscalls_crate {
        ($($test:ident: $arch:ident, $module:ident, only_ours $ours:expr, only_theirs $theirs:expr;)*) => {$(
            #[test]
            fn $test() {
                let theirs = (0..ARM_PRIVATE as usize + 16).filter_map(syscalls::$module::Sysno::new);
                let theirs = theirs.map(|s| (s.name().trim_start_matches("r#").to_string(), s as u32));
                let (ours, theirs) = compare(Arch::$arch, theirs);
                let theirs: Vec<_> = theirs.iter().filter(|n| !is_no_call(n, Arch::$arch)).collect();
                let ours: Vec<_> = ours.iter().filter(|n| !NEWEST.contains(&n.as_str())).collect();
                assert_eq!(ours, $ours as &[&str], "only ours");
                assert_eq!(theirs, $theirs as &[&str], "only theirs");
            }
        )*};
    }

    /// Calls of Linux 6.18 to 7.0, newer than the crate that we compare with.
    const NEWEST: &[&str] = &["listns", "rseq_slice_yield", "uprobe"];

    /// The other source lists place holders, and for two 64-bit machines calls such as `futex_time64`, which
    /// the kernel has on 32-bit machines only.
    fn is_no_call(name: &str, arch: Arch) -> bool {
        let base = name.strip_suffix("_time64").or_else(|| name.strip_suffix("64"));
        let on_64bit = matches!(arch, Arch::Aarch64 | Arch::Loongarch64);
        (on_64bit && base.and_then(find).and_then(|call| number(call, arch)).is_some())
            || name.starts_with("reserved")
            || name.starts_with("unused")
            || name == "syscall"
    }

    agrees_with_syscalls_crate! {
        x86_64: X86_64, x86_64, only_ours &[], only_theirs &[];
        x86: X86, x86, only_ours &[], only_theirs &[];
        aarch64: Aarch64, aarch64, only_ours &["newfstatat"], only_theirs &["fstatat"];
        arm: Arm, arm, only_ours &["breakpoint", "cacheflush", "get_tls", "set_tls", "sync_file_range2", "usr26", "usr32"], only_theirs &[];
        riscv64: Riscv64, riscv64, only_ours &[], only_theirs &[];
        loongarch64: Loongarch64, loongarch64, only_ours &["newfstatat"], only_theirs &["fstatat", "getrlimit", "renameat", "setrlimit"];
        s390x: S390x, s390x, only_ours &[], only_theirs &[];
        ppc64: Ppc64, powerpc64, only_ours &[], only_theirs &[];
        ppc: Ppc, powerpc, only_ours &[], only_theirs &[];
        mips: Mips, mips, only_ours &[], only_theirs &[];
        mips64: Mips64, mips64, only_ours &["set_mempolicy_home_node"], only_theirs &[];
    }

    /// The rules of the kernel's table for x32: it shares the numbers of x86_64, but for 36 calls that have
    /// their own from 512 on and exist under the shared number for x86_64 only.
    #[test]
    fn x32() {
        let wide: BTreeMap<_, _> = all(Arch::X86_64).collect();
        let mut own = Vec::new();
        for (name, nr) in all(Arch::X32) {
            assert_eq!(nr & 0x4000_0000, 0x4000_0000, "{name}");
            match nr & 0x3fff_ffff {
                nr @ 512.. => own.push(nr),
                nr => assert_eq!(wide.get(&name), Some(&nr), "{name}"),
            }
        }
        own.sort();
        assert_eq!(own, (512..=547).collect::<Vec<_>>());
        let only_wide: Vec<_> =
            wide.keys().filter(|n| find(n).and_then(|c| number(c, Arch::X32)).is_none()).collect();
        assert_eq!(
            only_wide,
            [
                "_sysctl",
                "create_module",
                "epoll_ctl_old",
                "epoll_wait_old",
                "get_kernel_syms",
                "get_thread_area",
                "nfsservctl",
                "query_module",
                "set_thread_area",
                "uselib",
                "vserver"
            ]
        );
    }

    /// The headers of the machine, where they are installed, must not contradict the table.
    #[test]
    fn installed_headers_agree() {
        let headers = [
            (Arch::X86_64, "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
            (Arch::X86, "/usr/include/x86_64-linux-gnu/asm/unistd_32.h"),
            (Arch::X32, "/usr/include/x86_64-linux-gnu/asm/unistd_x32.h"),
        ];
        for (arch, path) in headers {
            let Ok(text) = std::fs::read_to_string(path) else { continue };
            for line in text.lines() {
                let Some((name, nr)) = line.strip_prefix("#define __NR_").and_then(|l| l.split_once(' '))
                else {
                    continue;
                };
                let nr = nr.trim_start_matches("(__X32_SYSCALL_BIT + ").trim_end_matches(')');
                let nr = nr.parse::<u32>().unwrap() | arch.number_bit();
                assert_eq!(find(name).and_then(|c| number(c, arch)), Some(nr), "{arch:?} {name}");
            }
        }
    }

    #[test]
    fn names_are_sorted_and_found() {
        assert!((1..NAMES).all(|i| name_bytes(i - 1) < name_bytes(i)));
        for name in ["_llseek", "writev", "openat2", "file_setattr", "rseq_slice_yield", "cacheflush"] {
            assert!(find(name).is_some(), "{name}");
        }
        assert_eq!(find(""), None);
        assert_eq!(find("open_sesame"), None);
        assert_eq!(number(find("cacheflush").unwrap(), Arch::Arm), Some(0xf_0002));
    }
}
