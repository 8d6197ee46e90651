//! Tries one system call or socket and prints what the kernel or a seccomp filter answered.
//! Arguments are register values, or `str:TEXT` and `buf:SIZE` for memory that lives during the call.

use crate::errno::answer;
use crate::{Command, Failure, Run, names, sys};
use std::io::Write;

/// Commands of this topic.
pub const COMMANDS: &[Command] = &[
    Command { name: "syscall", args: "NAME|NR [ARG...]", run: syscall },
    Command { name: "syscall32", args: "NR [ARG...]", run: syscall32 },
    Command { name: "socket", args: "FAMILY [TYPE [PROTOCOL]]", run: socket },
];

/// Register values and the memory behind them.
fn arguments<const N: usize>(args: &[String]) -> Option<([i64; N], Vec<Vec<u8>>)> {
    let mut values = [0; N];
    let mut memory = Vec::new();
    if args.len() > N {
        return None;
    }
    for (value, text) in values.iter_mut().zip(args) {
        *value = if let Some(text) = text.strip_prefix("str:") {
            memory.push([text.as_bytes(), b"\0"].concat());
            memory.last()?.as_ptr() as i64
        } else if let Some(size) = text.strip_prefix("buf:") {
            memory.push(vec![0; size.parse::<u16>().ok()?.into()]);
            memory.last()?.as_ptr() as i64
        } else {
            names::number(text)?
        };
    }
    Some((values, memory))
}

fn syscall(args: &[String], out: &mut dyn Write) -> Run {
    let usage = || Failure::usage("syscall NAME|NR [NUMBER|str:TEXT|buf:SIZE]...");
    let (name, rest) = args.split_first().ok_or_else(usage)?;
    let number = names::syscall(name).ok_or_else(usage)?;
    let (values, memory) = arguments(rest).ok_or_else(usage)?;
    out.flush()?;
    let result = sys::raw(number, values);
    drop(memory);
    writeln!(out, "{}", answer(result))?;
    Ok(0)
}

fn syscall32(args: &[String], out: &mut dyn Write) -> Run {
    let usage = || Failure::usage("syscall32 NR [NUMBER]...");
    let (number, rest) = args.split_first().ok_or_else(usage)?;
    let number = names::number(number).ok_or_else(usage)?;
    let (values, memory) = arguments(rest).ok_or_else(usage)?;
    out.flush()?;
    let result = sys::raw32(number, values);
    drop(memory);
    writeln!(out, "{}", answer(result))?;
    Ok(0)
}

fn socket(args: &[String], out: &mut dyn Write) -> Run {
    let usage = || Failure::usage("socket FAMILY [TYPE [PROTOCOL]]");
    let (family, rest) = args.split_first().ok_or_else(usage)?;
    let part = |i: usize, default: i32| match rest.get(i) {
        None => Ok(default),
        Some(text) => names::number(text).and_then(|n| i32::try_from(n).ok()).ok_or_else(usage),
    };
    let family =
        names::family(&family.to_ascii_uppercase()).and_then(|n| i32::try_from(n).ok()).ok_or_else(usage)?;
    // Some families only know raw or datagram sockets.
    let kind = match family {
        libc::AF_NETLINK | libc::AF_PACKET => libc::SOCK_RAW,
        libc::AF_ALG => libc::SOCK_SEQPACKET,
        _ => libc::SOCK_STREAM,
    };
    writeln!(out, "{}", answer(sys::socket(family, part(0, kind)?, part(1, 0)?)))?;
    Ok(0)
}
