//! The program's `main` as C calls it. std's own start-up is left out: it reads /proc/self/maps and makes a second stack,
//! to report an overflow of the first one, which costs more than many a command. What a program that handles
//! descriptors needs of it is here. Other C libraries than glibc hand no arguments to std without its start-up: there it
//! stays.

use super::process::is_open;

/// Makes `$main`, a function without arguments that gives the exit code, the program's `main`. Goes with
/// `#![cfg_attr(target_env = "gnu", no_main)]`.
#[macro_export]
macro_rules! program {
    ($main:path) => {
        #[cfg(not(target_env = "gnu"))]
        fn main() -> std::process::ExitCode {
            $crate::sys::program::start($main).into()
        }

        #[cfg(target_env = "gnu")]
        #[unsafe(no_mangle)]
        extern "C" fn main(_: i32, _: *const *const u8) -> i32 {
            $crate::sys::program::start($main).into()
        }
    };
}

/// Numbers of the standard streams, when one of them is closed; one poll(2) tells.
fn closed_streams() -> std::ops::Range<u32> {
    let mut all = [0, 1, 2].map(|fd| libc::pollfd { fd, events: 0, revents: 0 });
    // SAFETY: three structures, which live until the call returns; a timeout of 0 does not wait.
    let asked = unsafe { libc::poll(all.as_mut_ptr(), 3, 0) } >= 0;
    let open = asked && all.iter().all(|p| p.revents & libc::POLLNVAL == 0);
    if open { 0..0 } else { 0..3 }
}

/// Runs `main` with three open standard streams and without SIGPIPE.
pub fn start(main: fn() -> u8) -> u8 {
    for fd in closed_streams() {
        if !is_open(fd) {
            // Or a file of ours would get this number, and be read or written as the stream.
            // SAFETY: a constant path that ends with NUL; the lowest free number is the one that is missing.
            let got = unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) };
            if got < 0 {
                super::process::exit_now(1);
            }
        }
    }
    // A reader that is gone is an error of the write. Payloads get the default back (`reset_signals`), hooks too (`sys::spawn`).
    // SAFETY: no handler is involved.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    main()
}
