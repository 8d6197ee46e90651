//! Programs that take more than they may: memory, processes.
//! Each one reports what it got, so that a limit can be seen at work.

use crate::errno::Errno;
use crate::{Command, Failure, Run, act, sys};
use std::io::Write;
use std::time::{Duration, Instant};

/// Commands of this topic.
pub const COMMANDS: &[Command] = &[
    Command { name: "mem", args: "MB [hold [MS]]", run: mem },
    Command { name: "fork", args: "N", run: fork },
    Command { name: "orphan", args: "FILE", run: orphan },
    Command { name: "forkbomb", args: "[MS]", run: forkbomb },
];

fn mem(args: &[String], out: &mut dyn Write) -> Run {
    let usage = || Failure::usage("mem MB [hold [MS]]");
    let (mib, hold, pause) = match args {
        [mib] => (mib, false, 0),
        [mib, hold] if hold == "hold" => (mib, true, 0),
        [mib, hold, ms] if hold == "hold" => (mib, true, ms.parse().map_err(|_| usage())?),
        _ => return Err(usage()),
    };
    for step in 1..=mib.parse::<u64>().map_err(|_| usage())? {
        sys::take_mib()?;
        writeln!(out, "{step} MiB")?;
        // The next step may be the last; what was reached must be out by then.
        out.flush()?;
        // One that grows slowly.
        std::thread::sleep(Duration::from_millis(pause));
    }
    if hold {
        loop {
            sys::pause();
        }
    }
    Ok(0)
}

/// Forks sleeping children, says how many it got and what stopped it, and ends them.
fn fork(args: &[String], out: &mut dyn Write) -> Run {
    let wanted: usize = match args {
        [n] => n.parse().map_err(|_| Failure::usage("fork N"))?,
        _ => return Err(Failure::usage("fork N")),
    };
    let mut children = Vec::new();
    let mut stopped = None;
    while children.len() < wanted && stopped.is_none() {
        match sys::fork() {
            Ok(0) => loop {
                sys::pause();
            },
            Ok(child) => children.push(child),
            Err(e) => stopped = Some(e),
        }
    }
    for child in &children {
        sys::kill(*child, libc::SIGKILL)?;
        sys::wait(*child)?;
    }
    let reason = stopped.map(|e| format!(" {e}")).unwrap_or_default();
    writeln!(out, "forked {} of {wanted}{reason}", children.len())?;
    Ok(0)
}

/// Forks twice, so that a process is left that is nobody's child here, adds one byte to a file, and goes on for ever.
fn orphan(args: &[String], _: &mut dyn Write) -> Run {
    let [file] = args else { return Err(Failure::usage("orphan FILE")) };
    match sys::fork()? {
        0 => match sys::fork() {
            Ok(0) => loop {
                sys::pause();
            },
            left => sys::exit_now(i32::from(left.is_err())),
        },
        child => sys::wait(child)?,
    };
    std::fs::OpenOptions::new().append(true).create(true).open(file)?.write_all(b"x")?;
    loop {
        sys::pause();
    }
}

/// Every process forks as often as it can, for ever or for the given time; the first refusal is told.
/// Only as process 1 of a pid namespace, whose end takes all others with it: on the host it would not stop.
fn forkbomb(args: &[String], out: &mut dyn Write) -> Run {
    let limit = match args {
        [] => None,
        [ms] => Some(act::millis(ms)?),
        _ => return Err(Failure::usage("forkbomb [MS]")),
    };
    if sys::pids()[0] != 1 {
        return Err(Failure {
            status: 1,
            text: "refused: not process 1 of a pid namespace of its own".into(),
        });
    }
    let started = Instant::now();
    let (mut children, mut first, mut told) = (0, true, false);
    while limit.is_none_or(|limit| !first || started.elapsed() < limit) {
        match sys::fork() {
            Ok(0) => first = false,
            Ok(_) => children += 1,
            Err(Errno(_)) if told || !first => std::thread::sleep(Duration::from_millis(10)),
            Err(e) => {
                told = true;
                writeln!(out, "fork refused: {e}, {children} children of process 1 made")?;
                out.flush()?;
            }
        }
    }
    writeln!(out, "still here")?;
    Ok(0)
}
