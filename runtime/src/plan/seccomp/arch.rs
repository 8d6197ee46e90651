//! The architectures of a seccomp profile, and what seccomp(2) tells a filter about each.
//! Plain data; may use: nothing.

/// An architecture (more exactly, a calling convention) that filters can be compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arch {
    X86_64,
    X86,
    X32,
    Aarch64,
    Arm,
    Riscv64,
    Loongarch64,
    S390x,
    Ppc64le,
    Ppc64,
    Ppc,
    Mips,
    Mipsel,
    Mips64,
    Mipsel64,
}

/// Every architecture name of runtime-spec 1.3 (config-linux.md, "Seccomp"), sorted. `None`: the name is
/// valid, but there is no system call table for it.
pub(super) const NAMES: [(&str, Option<Arch>); 23] = [
    ("SCMP_ARCH_AARCH64", Some(Arch::Aarch64)),
    ("SCMP_ARCH_ARM", Some(Arch::Arm)),
    ("SCMP_ARCH_LOONGARCH64", Some(Arch::Loongarch64)),
    ("SCMP_ARCH_M68K", None),
    ("SCMP_ARCH_MIPS", Some(Arch::Mips)),
    ("SCMP_ARCH_MIPS64", Some(Arch::Mips64)),
    ("SCMP_ARCH_MIPS64N32", None),
    ("SCMP_ARCH_MIPSEL", Some(Arch::Mipsel)),
    ("SCMP_ARCH_MIPSEL64", Some(Arch::Mipsel64)),
    ("SCMP_ARCH_MIPSEL64N32", None),
    ("SCMP_ARCH_PARISC", None),
    ("SCMP_ARCH_PARISC64", None),
    ("SCMP_ARCH_PPC", Some(Arch::Ppc)),
    ("SCMP_ARCH_PPC64", Some(Arch::Ppc64)),
    ("SCMP_ARCH_PPC64LE", Some(Arch::Ppc64le)),
    ("SCMP_ARCH_RISCV64", Some(Arch::Riscv64)),
    ("SCMP_ARCH_S390", None),
    ("SCMP_ARCH_S390X", Some(Arch::S390x)),
    ("SCMP_ARCH_SH", None),
    ("SCMP_ARCH_SHEB", None),
    ("SCMP_ARCH_X32", Some(Arch::X32)),
    ("SCMP_ARCH_X86", Some(Arch::X86)),
    ("SCMP_ARCH_X86_64", Some(Arch::X86_64)),
];

/// Set in the numbers of x32 calls, which share the audit value of x86_64.
pub(super) const X32_BIT: u32 = 0x4000_0000;

impl Arch {
    /// The architecture of this build.
    pub const NATIVE: Arch = if cfg!(target_arch = "x86_64") {
        Arch::X86_64
    } else if cfg!(target_arch = "aarch64") {
        Arch::Aarch64
    } else if cfg!(target_arch = "arm") {
        Arch::Arm
    } else if cfg!(target_arch = "x86") {
        Arch::X86
    } else if cfg!(target_arch = "riscv64") {
        Arch::Riscv64
    } else if cfg!(target_arch = "loongarch64") {
        Arch::Loongarch64
    } else if cfg!(target_arch = "s390x") {
        Arch::S390x
    } else if cfg!(all(target_arch = "powerpc64", target_endian = "little")) {
        Arch::Ppc64le
    } else if cfg!(target_arch = "powerpc64") {
        Arch::Ppc64
    } else {
        panic!("no system call table for this target")
    };

    /// True when a kernel for `host` can report this architecture, and so a filter there must know it.
    pub fn runs_on(self, host: Arch) -> bool {
        self == host
            || matches!(
                (host, self),
                (Arch::X86_64, Arch::X86 | Arch::X32)
                    | (Arch::Aarch64, Arch::Arm)
                    | (Arch::Ppc64, Arch::Ppc)
                    | (Arch::Mips64, Arch::Mips)
                    | (Arch::Mipsel64, Arch::Mipsel)
            )
    }

    /// The value of `seccomp_data.arch`: `AUDIT_ARCH_*` of linux/audit.h.
    pub(super) fn audit(self) -> u32 {
        const B64: u32 = 0x8000_0000;
        const LITTLE: u32 = 0x4000_0000;
        match self {
            Arch::X86_64 | Arch::X32 => 62 | B64 | LITTLE,
            Arch::X86 => 3 | LITTLE,
            Arch::Aarch64 => 183 | B64 | LITTLE,
            Arch::Arm => 40 | LITTLE,
            Arch::Riscv64 => 243 | B64 | LITTLE,
            Arch::Loongarch64 => 258 | B64 | LITTLE,
            Arch::S390x => 22 | B64,
            Arch::Ppc64le => 21 | B64 | LITTLE,
            Arch::Ppc64 => 21 | B64,
            Arch::Ppc => 20,
            Arch::Mips => 8,
            Arch::Mipsel => 8 | LITTLE,
            Arch::Mips64 => 8 | B64,
            Arch::Mipsel64 => 8 | B64 | LITTLE,
        }
    }

    /// What every number of this architecture has set.
    pub(in crate::plan) fn number_bit(self) -> u32 {
        if self == Arch::X32 { X32_BIT } else { 0 }
    }

    /// True when only the low half of an argument belongs to the calling convention.
    pub(super) fn is_32bit(self) -> bool {
        matches!(self, Arch::X86 | Arch::X32 | Arch::Arm | Arch::Ppc | Arch::Mips | Arch::Mipsel)
    }

    /// True when the high half of a 64-bit word comes first in memory.
    pub(super) fn is_big_endian(self) -> bool {
        matches!(self, Arch::S390x | Arch::Ppc64 | Arch::Ppc | Arch::Mips | Arch::Mips64)
    }
}
