//! A server on sockets that it is given (sd_listen_fds(3)): pages on TCP and unix sockets, an echo on UDP ones. On SIGTERM it
//! takes no further connection, ends the one it has, and leaves the others in the queue to whoever else has the socket.

use crate::{Command, Failure, Run, serve, sys};
use std::io::{self, Write};
use std::time::Duration;

/// Commands of this topic.
pub const COMMANDS: &[Command] = &[Command { name: "activated", args: "[READY_MS]", run }];

/// The first descriptor, as sd_listen_fds(3) has it.
const FIRST: i32 = 3;

fn run(args: &[String], out: &mut dyn Write) -> Run {
    let late = match args {
        [] => Duration::ZERO,
        [ms] => crate::act::millis(ms)?,
        _ => return Err(Failure::usage("activated [READY_MS]")),
    };
    let count = count().map_err(|text| Failure { status: 1, text })?;
    let ended = sys::flag_on(libc::SIGTERM);
    let fds: Vec<i32> = (FIRST..FIRST + count).collect();
    for fd in &fds {
        // Another one may have taken what poll(2) saw.
        sys::non_blocking(*fd)?;
    }
    std::thread::sleep(late);
    writeln!(out, "{count} sockets: {}\nready", std::env::var("LISTEN_FDNAMES").unwrap_or_default())?;
    out.flush()?;
    while !ended() {
        for fd in sys::readable(&fds, Duration::from_millis(20)) {
            if !ended() {
                one(fd, out)?;
            }
        }
    }
    writeln!(out, "ended")?;
    Ok(0)
}

/// `LISTEN_FDS`, when `LISTEN_PID` is this process.
fn count() -> Result<i32, String> {
    let var = |name: &str| std::env::var(name).map_err(|_| format!("{name} is not set"));
    let pid = var("LISTEN_PID")?;
    if pid != std::process::id().to_string() {
        return Err(format!("LISTEN_PID is {pid}, this is {}", std::process::id()));
    }
    var("LISTEN_FDS")?.parse().map_err(|_| "LISTEN_FDS is no number".to_owned())
}

/// Whatever waits at one socket.
fn one(fd: i32, out: &mut dyn Write) -> io::Result<()> {
    if sys::echo_datagram(fd) {
        return Ok(());
    }
    match sys::accept(fd) {
        Ok(stream) => {
            let said = serve::answer(stream, None);
            match said {
                Ok(line) => writeln!(out, "{line}")?,
                Err(e) => writeln!(out, "client: {e}")?,
            }
            out.flush()
        }
        Err(_) => Ok(()),
    }
}
