//! Small things a container's program does: end, say, wait, catch a signal.
//! May print and sleep; makes nothing.

use crate::{Command, Failure, Run, names, sys};
use std::io::Write;
use std::time::Duration;

/// Commands of this topic.
pub const COMMANDS: &[Command] = &[
    Command { name: "true", args: "", run: |_, _| Ok(0) },
    Command { name: "false", args: "", run: |_, _| Ok(1) },
    Command { name: "exit", args: "N", run: exit },
    Command { name: "echo", args: "ARGS", run: echo },
    Command { name: "lines", args: "COUNT [BYTES [MS]]", run: lines },
    Command { name: "sleep", args: "MS", run: sleep },
    Command { name: "trap", args: "SIG...", run: trap },
    Command { name: "ignore-term", args: "", run: ignore_term },
    Command { name: "notify", args: "ASSIGNMENT...", run: notify },
    Command { name: "crash", args: "[abort|segv|exit N] [MS]", run: crash },
];

fn exit(args: &[String], _: &mut dyn Write) -> Run {
    match args {
        [n] => n.parse().map_err(|_| Failure::usage("exit N, N from 0 to 255")),
        _ => Err(Failure::usage("exit N")),
    }
}

fn echo(args: &[String], out: &mut dyn Write) -> Run {
    writeln!(out, "{}", args.join(" "))?;
    Ok(0)
}

/// Numbered lines, so that one which is missing, doubled or torn can be seen: `BYTES` long each, `MS` apart.
fn lines(args: &[String], out: &mut dyn Write) -> Run {
    let usage = || Failure::usage("lines COUNT [BYTES [MS]]");
    let number = |at: usize| args.get(at).map_or(Ok(0), |n| n.parse::<u64>().map_err(|_| usage()));
    if !(1..=3).contains(&args.len()) {
        return Err(usage());
    }
    let (count, bytes, pause) = (number(0)?, number(1)?, Duration::from_millis(number(2)?));
    for n in 1..=count {
        let text = format!("line {n}");
        // The line feed is one of them.
        let filling = (bytes as usize).saturating_sub(text.len() + 1);
        writeln!(out, "{text}{:.<filling$}", "")?;
        out.flush()?;
        std::thread::sleep(pause);
    }
    Ok(0)
}

/// Milliseconds from the first argument.
pub fn millis(text: &str) -> Result<Duration, Failure> {
    text.parse()
        .map(Duration::from_millis)
        .map_err(|_| Failure::usage("a time is a whole number of milliseconds"))
}

/// sd_notify(3): tells whoever waits, and fails when nobody does.
fn notify(args: &[String], _: &mut dyn Write) -> Run {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else {
        return Err(Failure { status: 1, text: "NOTIFY_SOCKET is not set".into() });
    };
    std::os::unix::net::UnixDatagram::unbound()?.send_to(args.join("\n").as_bytes(), name)?;
    Ok(0)
}

fn sleep(args: &[String], _: &mut dyn Write) -> Run {
    match args {
        [time] => std::thread::sleep(millis(time)?),
        _ => return Err(Failure::usage("sleep MS")),
    }
    Ok(0)
}

/// Blocked signals are kept even for the first process of a pid namespace, which ignores those without a
/// handler; so waiting works there as well.
fn trap(args: &[String], out: &mut dyn Write) -> Run {
    let signals: Option<Vec<i32>> = args.iter().map(|a| names::signal(a)).collect();
    let signals = signals.filter(|s| !s.is_empty()).ok_or_else(|| Failure::usage("trap SIG..."))?;
    let mut told = Ok(());
    let got = sys::wait_signal(&signals, || told = writeln!(out, "ready").and_then(|()| out.flush()))?;
    told?;
    writeln!(out, "{}", names::signal_name(got))?;
    Ok(0)
}

fn ignore_term(_: &[String], out: &mut dyn Write) -> Run {
    sys::ignore(libc::SIGTERM, true);
    writeln!(out, "ready")?;
    out.flush()?;
    loop {
        sys::pause();
    }
}

fn crash(args: &[String], out: &mut dyn Write) -> Run {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let (how, rest) = match words.as_slice() {
        ["exit", n, rest @ ..] => (Crash::Exit(n.parse().map_err(|_| Failure::usage("crash exit N"))?), rest),
        ["abort", rest @ ..] => (Crash::Abort, rest),
        ["segv", rest @ ..] => (Crash::Segv, rest),
        rest => (Crash::Exit(3), rest),
    };
    let moment = match rest {
        [] => Duration::from_millis(200),
        [ms] => millis(ms)?,
        _ => return Err(Failure::usage("crash [abort|segv|exit N] [MS]")),
    };
    writeln!(out, "something is about to go wrong")?;
    out.flush()?;
    std::thread::sleep(moment);
    match how {
        Crash::Exit(status) => Ok(status),
        Crash::Abort => sys::abort(),
        Crash::Segv => {
            sys::segfault();
            Ok(3)
        }
    }
}

enum Crash {
    Exit(u8),
    Abort,
    Segv,
}
