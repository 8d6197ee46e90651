//! A program beside us that dies with us: hooks. Not std's spawner, which ends the whole process by a panic when the kernel
//! refuses it the pipe on which it hears of a failed execve(2); then nobody takes back what `create` has made.

use super::process::{self, CStrings, Child};
use super::{Errno, fs};
use crate::error::{Error, Result, quoted};
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// What execve(2) wants.
pub struct Program {
    path: CString,
    argv: CStrings,
    env: CStrings,
}

impl Program {
    /// Copies everything; a NUL inside a string is EINVAL.
    pub fn new<A: AsRef<[u8]>, E: AsRef<[u8]>>(
        path: &str,
        argv: impl IntoIterator<Item = A>,
        env: impl IntoIterator<Item = E>,
    ) -> Result<Program> {
        let path = CString::new(path).map_err(|_| Error::os("execve", "a path with NUL", libc::EINVAL))?;
        Ok(Program { path, argv: CStrings::new(argv)?, env: CStrings::new(env)? })
    }

    /// Starts it in a process group of its own, with no signal blocked, and with these as its standard streams, none of
    /// which may have a number below 3. SIGKILL comes for it when the thread that calls this ends; a program with file
    /// capabilities or set-user-ID bits is out of reach, because execve clears the wish (prctl(2)).
    ///
    /// # Errors
    /// Also those of the new process up to its execve(2), which keep their errno.
    pub fn start(&self, streams: [BorrowedFd<'_>; 3]) -> Result<Child> {
        let (heard, told) = process::pipe()?;
        let parent = process::getpid();
        // Makes nothing on the heap: tests start programs from many threads.
        let body = || {
            let errno = self.become_it(streams, parent).raw_os_error().to_ne_bytes();
            // SAFETY: four bytes that live, to a descriptor of ours. Who cannot tell is seen to have ended.
            unsafe { libc::write(told.as_fd().as_raw_fd(), errno.as_ptr().cast(), errno.len()) };
            127
        };
        let mut child = process::clone3(0, None, body)?;
        drop(told);
        let mut errno = [0u8; 4];
        match fs::read_some(&heard, &mut errno)? {
            0 => Ok(child),
            _ => {
                child.wait()?;
                let call = format!("{}, started beside us", quoted(&self.path.to_string_lossy()));
                Err(Error::os("execve", call, i32::from_ne_bytes(errno)))
            }
        }
    }

    /// In the new process. Returns only on failure.
    fn become_it(&self, streams: [BorrowedFd<'_>; 3], parent: i32) -> Errno {
        // SAFETY: descriptors and vectors that live until the image is replaced, and numbers.
        unsafe {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong) != 0 {
                return Errno::last();
            }
            // Gone before we could ask; 0 is a parent in another pid namespace.
            let now = libc::getppid();
            if now != parent && now != 0 {
                return Errno(libc::ESRCH);
            }
            for (number, stream) in (0..).zip(streams) {
                if libc::dup2(stream.as_raw_fd(), number) < 0 {
                    return Errno::last();
                }
            }
            if libc::setpgid(0, 0) != 0 {
                return Errno::last();
            }
            // Our start ignores it (`sys::program`), and ignored signals survive execve.
            libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        }
        process::unblock_signals();
        process::execve_errno(&self.path, &self.argv, &self.env)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::process::Exit;

    fn start(path: &str, argv: &[&str]) -> Result<(Child, std::os::fd::OwnedFd)> {
        let null = fs::open("/dev/null", fs::OFlags::RDWR, 0)?;
        let (read, write) = process::pipe()?;
        let child = Program::new(path, argv, ["A=1"])?.start([null.as_fd(), write.as_fd(), null.as_fd()])?;
        Ok((child, read))
    }

    #[test]
    fn it_has_its_arguments_its_environment_and_a_group_of_its_own() {
        let script = "echo $0 $1 $A; test -z \"$HOME\" && kill -TERM 0";
        let (mut child, out) = start("/bin/sh", &["name", "-c", script, "zero", "one"]).unwrap();
        assert_eq!(child.wait().unwrap(), Exit::Signal(libc::SIGTERM));
        assert_eq!(fs::read_all(&out, 100).unwrap(), b"zero one 1\n");
    }

    #[test]
    fn a_failed_execve_says_why() {
        for (path, errno) in [("/no/such", libc::ENOENT), ("/", libc::EACCES), ("/etc/passwd", libc::EACCES)]
        {
            let e = start(path, &["x"]).unwrap_err();
            assert!(e.is(errno), "{e}");
        }
        assert!(start("/bin/sh\0", &[]).unwrap_err().is(libc::EINVAL));
    }
}
