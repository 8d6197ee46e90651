//! Makes the directory of a bundle and the root file system in it: one static program, a link to it for each
//! of its words, and the few files a program may look for. Writes only below the bundle.

use crate::sample::{Kind, Sample};
use anyhow::{Context, Result, bail, ensure};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

const DIRECTORIES: [(&str, u32); 9] = [
    ("bin", 0o755),
    ("dev", 0o755),
    ("etc", 0o755),
    ("proc", 0o555),
    ("root", 0o700),
    ("run", 0o755),
    ("srv", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
];

const FILES: [(&str, &str); 3] = [
    ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"),
    ("etc/group", "root:x:0:\nnogroup:x:65534:\n"),
    ("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
];

/// Makes `bundle/rootfs` for a sample. A bundle that is there already is left alone and is an error.
pub fn make(sample: &Sample, bundle: &Path, program: &Path) -> Result<()> {
    ensure!(!bundle.exists(), "{} is there already", bundle.display());
    let root = bundle.join("rootfs");
    fs::create_dir_all(&root).with_context(|| root.display().to_string())?;
    // The umask of the caller must not decide whether the container's users can walk in.
    fs::set_permissions(&root, fs::Permissions::from_mode(0o755))?;
    for (name, mode) in DIRECTORIES {
        fs::create_dir(root.join(name))?;
        fs::set_permissions(root.join(name), fs::Permissions::from_mode(mode))?;
    }
    for (name, text) in FILES.iter().chain(sample.files) {
        fs::write(root.join(name), text)?;
        fs::set_permissions(root.join(name), fs::Permissions::from_mode(0o644))?;
    }
    let name = match sample.kind {
        Kind::Probe => "probe",
        Kind::Busybox => "busybox",
    };
    let inside = root.join("bin").join(name);
    fs::copy(program, &inside).with_context(|| format!("{} to {}", program.display(), inside.display()))?;
    fs::set_permissions(&inside, fs::Permissions::from_mode(0o755))?;
    for word in words(sample.kind, program)? {
        if word != name {
            symlink(name, root.join("bin").join(&word)).with_context(|| format!("link {word}"))?;
        }
    }
    Ok(())
}

/// The words a program answers to as its own name, asked from the program itself.
fn words(kind: Kind, program: &Path) -> Result<Vec<String>> {
    let flag = match kind {
        Kind::Probe => "help",
        Kind::Busybox => "--list",
    };
    let output = Command::new(program).arg(flag).output().with_context(|| program.display().to_string())?;
    ensure!(output.status.success(), "{} {flag}: {}", program.display(), output.status);
    let text = String::from_utf8(output.stdout).with_context(|| format!("{} {flag}", program.display()))?;
    let words: Vec<String> =
        text.lines().filter_map(|l| l.split_whitespace().next()).map(str::to_owned).collect();
    match words.iter().find(|w| Path::new(w).file_name() != Some(OsStr::new(w))) {
        Some(word) => bail!("{} {flag}: not a file name: {word:?}", program.display()),
        None => Ok(words),
    }
}

/// The busybox of the system, when it is one that runs without libraries.
pub fn system_busybox() -> Option<PathBuf> {
    ["/bin/busybox", "/usr/bin/busybox"]
        .into_iter()
        .map(PathBuf::from)
        .find(|p| is_static(p).unwrap_or(false))
}

/// Whether a 64-bit ELF program asks for no loader, elf(5).
pub fn is_static(path: &Path) -> Result<bool> {
    const PROGRAM_HEADER_TYPE_INTERP: u64 = 3;
    let bytes = fs::read(path).with_context(|| path.display().to_string())?;
    ensure!(
        bytes.starts_with(b"\x7fELF\x02\x01"),
        "{} is not a 64-bit little-endian ELF program",
        path.display()
    );
    let field = |offset: usize, size: usize| -> Result<u64> {
        let raw = bytes.get(offset..offset.saturating_add(size)).context("cut short")?;
        Ok(raw.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    };
    let (table, entry, count) = (field(32, 8)?, field(54, 2)?, field(56, 2)?);
    for i in 0..count {
        let at = table.checked_add(i * entry).context("bad program header offset")?;
        if field(usize::try_from(at)?, 4)? == PROGRAM_HEADER_TYPE_INTERP {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::SAMPLES;

    /// A directory that goes away with its owner.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Scratch {
            let dir = std::env::temp_dir().join(format!("knarr-bundles-{name}-{}", std::process::id()));
            fs::create_dir(&dir).unwrap();
            Scratch(dir)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// A program that lists the words of a probe.
    fn fake_probe(dir: &Path, words: &str) -> PathBuf {
        let path = dir.join("program");
        fs::write(&path, format!("#!/bin/sh\nprintf '{words}'\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[test]
    fn a_root_has_the_program_its_links_and_the_files() {
        let dir = Scratch::new("root");
        let program = fake_probe(&dir.0, "hello \\nserve PORT\\n");
        let web = SAMPLES.iter().find(|s| s.name == "web").unwrap();
        let bundle = dir.0.join("web");
        make(web, &bundle, &program).unwrap();
        let root = bundle.join("rootfs");
        assert_eq!(fs::read_link(root.join("bin/serve")).unwrap(), Path::new("probe"));
        assert_eq!(fs::metadata(root.join("bin/hello")).unwrap().permissions().mode() & 0o777, 0o755);
        assert_eq!(fs::metadata(root.join("tmp")).unwrap().permissions().mode() & 0o7777, 0o1777);
        assert!(fs::read_to_string(root.join("srv/index.html")).unwrap().contains("container"));
        let again = make(web, &bundle, &program).unwrap_err().to_string();
        assert!(again.contains("is there already"), "{again}");
    }

    #[test]
    fn a_word_that_leaves_the_directory_is_refused() {
        let dir = Scratch::new("word");
        for word in ["../out", "a/b", "/etc/x", ".."] {
            let program = fake_probe(&dir.0, &format!("{word}\\n"));
            let bundle = dir.0.join("bundle");
            let error = make(&SAMPLES[0], &bundle, &program).unwrap_err().to_string();
            assert!(error.contains("not a file name"), "{word}: {error}");
            fs::remove_dir_all(&bundle).unwrap();
        }
    }

    #[test]
    fn static_is_read_from_the_file() {
        let dir = Scratch::new("elf");
        // The test itself is linked like everything here.
        assert!(is_static(&std::env::current_exe().unwrap()).unwrap());
        let file = dir.0.join("file");
        let mut elf = vec![0; 64 + 56];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        elf[32] = 64;
        elf[54] = 56;
        elf[56] = 1;
        elf[64] = 3;
        fs::write(&file, &elf).unwrap();
        assert!(!is_static(&file).unwrap(), "one program header, of type INTERP");
        elf[64] = 1;
        fs::write(&file, &elf).unwrap();
        assert!(is_static(&file).unwrap(), "one program header, of type LOAD");
        elf[56] = 9;
        fs::write(&file, &elf).unwrap();
        assert!(is_static(&file).is_err(), "headers beyond the end");
        fs::write(&file, "#!/bin/sh\n").unwrap();
        assert!(is_static(&file).is_err(), "a script");
    }
}
