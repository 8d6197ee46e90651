//! Error numbers with their names, because a case compares "errno 1 EPERM" and not a sentence.
//! Touches nothing.

use std::fmt;

/// A kernel error number; shown as `errno 13 EACCES`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Errno(pub i32);

impl Errno {
    /// What the last failed call of this thread left.
    pub fn last() -> Errno {
        Errno(std::io::Error::last_os_error().raw_os_error().unwrap_or(0))
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "errno {} {}", self.0, name(self.0))
    }
}

/// `ok RET` or `errno N NAME`: how a tried call is answered.
pub fn answer<T: fmt::Display>(result: Result<T, Errno>) -> String {
    match result {
        Ok(value) => format!("ok {value}"),
        Err(e) => e.to_string(),
    }
}

macro_rules! table {
    ($($name:ident)*) => {
        fn name(number: i32) -> &'static str {
            match number {
                $(libc::$name => stringify!($name),)*
                _ => "?",
            }
        }
    };
}

table! {
    EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG ENOEXEC EBADF ECHILD EAGAIN ENOMEM EACCES EFAULT ENOTBLK EBUSY
    EEXIST EXDEV ENODEV ENOTDIR EISDIR EINVAL ENFILE EMFILE ENOTTY ETXTBSY EFBIG ENOSPC ESPIPE EROFS EMLINK
    EPIPE EDOM ERANGE EDEADLK ENAMETOOLONG ENOLCK ENOSYS ENOTEMPTY ELOOP ENODATA EOVERFLOW EUSERS ENOTSOCK
    EMSGSIZE EPROTOTYPE ENOPROTOOPT EPROTONOSUPPORT ESOCKTNOSUPPORT EOPNOTSUPP EPFNOSUPPORT EAFNOSUPPORT
    EADDRINUSE EADDRNOTAVAIL ENETDOWN ENETUNREACH ECONNABORTED ECONNRESET ENOBUFS ENOTCONN ETIMEDOUT
    ECONNREFUSED EHOSTUNREACH EALREADY EINPROGRESS ESTALE EDQUOT ECANCELED ENOKEY EKEYEXPIRED EKEYREVOKED
    EKEYREJECTED
}
