//! The last steps: find the program, close what is ours, execve. Used by init and by `exec`.
//! May use: `sys`, plan types.

use super::identity;
use crate::error::{Code, Context, Error, Result, errno_text, quoted};
use crate::fds::Kept;
use crate::plan::process::{ProcessPlan, RLIMIT_NOFILE};
use crate::plan::seccomp::Filter;
use crate::sys::fs::{self, FileType};
use crate::sys::process::{self, CStrings};
use crate::sys::{errno, sched};
use crate::trace::{self, Step};
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::ffi::CString;
use std::path::{Path, PathBuf};

/// execvp(3)'s default when the environment has no PATH.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program that was found, and its vectors, made before the filter is in place.
pub struct Program {
    path: CString,
    argv: CStrings,
    envp: CStrings,
    field: String,
}

/// Looks `args[0]` up as the payload's user would. The texts are what callers of runc match.
pub fn find(p: &ProcessPlan, fds: Kept) -> Result<Program> {
    let field = format!("{}/args/0", p.base);
    let name = p.args.first().map(String::as_str).unwrap_or_default();
    let path = if name.contains('/') {
        match runnable(Path::new(name)) {
            Ok(()) => PathBuf::from(name),
            Err(e) => {
                let errno = e.errno().unwrap_or(errno::ENOENT);
                let text = match errno {
                    errno::EACCES => format!("exec: {}: {}", quoted(name), errno_text(errno)),
                    // Both what runc 1.1 and what runc 1.2 say: engines match either for exit code 126.
                    errno::EISDIR => format!("exec: {}: is a directory: permission denied", quoted(name)),
                    _ => format!("exec: {}: stat {name}: {}", quoted(name), errno_text(errno)),
                };
                return Err(Error::new(Code::Os, text).field(field.clone()));
            }
        }
    } else {
        search(p, name).ok_or_else(|| {
            let text = format!("exec: {}: executable file not found in $PATH", quoted(name));
            Error::new(Code::Os, text).field(field.clone())
        })?
    };
    let path = CString::new(path.to_string_lossy().as_bytes())
        .map_err(|_| Error::new(Code::Spec, "NUL in a path"))?;
    Ok(Program { path, argv: CStrings::new(&p.args)?, envp: CStrings::new(environment(p, fds))?, field })
}

/// The environment as configured; the last of several equal names wins. HOME is filled in when absent, and
/// sd_listen_fds(3)'s variables when descriptors are passed on.
fn environment(p: &ProcessPlan, fds: Kept) -> Vec<String> {
    let key = |e: &str| e.split('=').next().unwrap_or_default().to_string();
    // Ordered: a hashed set would ask the kernel for random bytes.
    let mut seen = BTreeSet::new();
    let mut out: Vec<String> = p.env.iter().rev().filter(|e| seen.insert(key(e))).cloned().collect();
    out.reverse();
    if !out.iter().any(|e| e.starts_with("HOME=")) {
        out.push(format!("HOME={}", home_of(p.uid)));
    }
    if fds.listen > 0 {
        out.retain(|e| !e.starts_with("LISTEN_FDS=") && !e.starts_with("LISTEN_PID="));
        out.push(format!("LISTEN_FDS={}", fds.listen));
        out.push("LISTEN_PID=1".to_string());
    }
    out
}

/// The home directory that the container's own passwd(5) gives this uid, "/" when it does not say. Read with a
/// limit and as plain bytes: no library of the container is ever loaded here.
fn home_of(uid: u32) -> String {
    const LIMIT: usize = 1 << 20;
    home_in(&String::from_utf8_lossy(&fs::read_regular("/etc/passwd", LIMIT).unwrap_or_default()), uid)
}

/// The same, of the text of that file.
pub(crate) fn home_in(text: &str, uid: u32) -> String {
    let uid = uid.to_string();
    text.lines()
        .map(|l| l.split(':').collect::<Vec<_>>())
        .find(|f| f.len() >= 6 && f[2] == uid && f[5].starts_with('/'))
        .map_or_else(|| "/".to_string(), |f| f[5].to_string())
}

fn search(p: &ProcessPlan, name: &str) -> Option<PathBuf> {
    let path = p.env.iter().rev().find_map(|e| e.strip_prefix("PATH=")).unwrap_or(DEFAULT_PATH);
    // Empty components would mean the working directory: never search that.
    path.split(':')
        .filter(|d| d.starts_with('/'))
        .map(|d| Path::new(d).join(name))
        .find(|f| runnable(f).is_ok())
}

fn runnable(path: &Path) -> Result<()> {
    let st = fs::stat(path)?;
    match st.kind() {
        FileType::Directory => Err(Error::os("stat", quoted(&path.to_string_lossy()), errno::EISDIR)),
        FileType::RegularFile => process::may_execute(fs::CWD, path).and_then(|()| no_magic(path, st)),
        _ => Err(Error::os("stat", quoted(&path.to_string_lossy()), errno::EACCES)),
    }
}

/// Our own image, reached through a link to /proc/self/exe, is not a program of the container (CVE-2019-5736).
/// It is a sealed copy in any case; this gives a clear error instead of a strange program.
fn no_magic(path: &Path, st: fs::Stat) -> Result<()> {
    match fs::stat("/proc/self/exe") {
        Ok(own) if (own.dev, own.ino) == (st.dev, st.ino) => {
            Err(Error::os("stat", quoted(&path.to_string_lossy()), errno::EACCES))
        }
        _ => Ok(()),
    }
}

impl Program {
    /// execve(2). Returns only on failure.
    pub fn exec(&self) -> Error {
        let name = self.path.to_string_lossy();
        let e = process::execve(&self.path, &self.argv, &self.envp);
        let errno = e.errno().unwrap_or(0);
        let out =
            Error::new(Code::Os, format!("exec {name}: {}", errno_text(errno))).field(self.field.clone());
        match errno {
            errno::ENOEXEC => {
                out.hint("neither a binary of this architecture nor a script with an interpreter line")
            }
            errno::ENOENT => out.hint("its interpreter or dynamic loader is missing in the image"),
            _ => out,
        }
    }
}

/// The very last steps, the same for init and exec. Limits come after everything of ours that needs descriptors or
/// memory, the filter after everything else, so that a profile need not allow our own calls.
pub fn finish(
    p: &ProcessPlan,
    fds: Kept,
    nofile: Option<u64>,
    filter: Option<&Filter>,
    program: &Program,
) -> Result<Infallible> {
    keep_fds(fds)?;
    set_rlimits(p, nofile)?;
    process::reset_signals();
    trace::step(Step::Limits);
    if let Some(f) = filter {
        identity::filter(p, f)?;
        trace::step(Step::Filter);
    }
    Err(program.exec())
}

/// Sets `process.rlimits`; what had to be raised was raised from outside. `nofile` is the soft limit of descriptors
/// to go back to first.
fn set_rlimits(p: &ProcessPlan, nofile: Option<u64>) -> Result<()> {
    if let Some(soft) = nofile {
        let (_, hard) = sched::rlimit(RLIMIT_NOFILE);
        sched::set_rlimit(0, RLIMIT_NOFILE, soft, hard)?;
    }
    for limit in &p.rlimits {
        sched::set_rlimit(0, limit.resource, limit.soft, limit.hard)
            .field(&limit.field)
            .step_with(|| format!("set {}", limit.name))?;
    }
    Ok(())
}

/// Unmarks the descriptors that the payload gets. Everything else is close-on-exec already.
fn keep_fds(fds: Kept) -> Result<()> {
    for fd in 3..fds.end() as i32 {
        process::set_cloexec(fd, false)
            .step_with(|| format!("--preserve-fds: descriptor {fd} is not open"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(env: &[&str]) -> ProcessPlan {
        let p = crate::spec::Process {
            args: vec!["sh".into()],
            env: env.iter().map(|e| e.to_string()).collect(),
            cwd: "/".into(),
            ..Default::default()
        };
        crate::plan::process::plan(&p, "/process").unwrap()
    }

    #[test]
    fn the_last_of_equal_names_wins() {
        let env = environment(&plan(&["A=1", "HOME=/h", "A=2"]), Kept { listen: 2, total: 2 });
        assert_eq!(env, ["HOME=/h", "A=2", "LISTEN_FDS=2", "LISTEN_PID=1"]);
    }

    #[test]
    fn path_is_searched_and_misses_are_named() {
        assert!(find(&plan(&["PATH=/nowhere:/bin"]), Kept::default()).is_ok());
        let e = find(&plan(&["PATH=/nowhere"]), Kept::default()).err().unwrap().to_string();
        assert!(e.contains("executable file not found in $PATH"), "{e}");
    }
}
