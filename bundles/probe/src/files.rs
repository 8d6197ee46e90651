//! What the file system of the container looks like and what it lets this process do.
//! May open, read and write what it is told to, nothing else.

use crate::errno::{Errno, answer};
use crate::{Command, Failure, Run, names, sys};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};

/// Commands of this topic.
pub const COMMANDS: &[Command] = &[
    Command { name: "cat", args: "FILE...", run: cat },
    Command { name: "write", args: "FILE TEXT", run: write },
    Command { name: "append", args: "FILE TEXT", run: append },
    Command { name: "fill", args: "FILE MB", run: fill },
    Command { name: "ls", args: "DIR", run: ls },
    Command { name: "stat", args: "FILE...", run: stat },
    Command { name: "readlink", args: "FILE", run: readlink },
    Command { name: "open-read", args: "FILE", run: |a, o| one(a, o, "open-read FILE", |f| open(f, "r")) },
    Command { name: "open-write", args: "FILE", run: |a, o| one(a, o, "open-write FILE", |f| open(f, "w")) },
    Command { name: "open-dev", args: "FILE r|w|rw", run: open_dev },
    Command { name: "mknod", args: "FILE c|b|p [MAJOR MINOR]", run: mknod },
];

fn cat(args: &[String], out: &mut dyn Write) -> Run {
    for name in args {
        io::copy(&mut File::open(name)?, out)?;
    }
    Ok(0)
}

fn write(args: &[String], _: &mut dyn Write) -> Run {
    let [name, text] = args else { return Err(Failure::usage("write FILE TEXT")) };
    // One write call: files of the kernel take a value whole or not at all.
    File::create(name)?.write_all(text.as_bytes())?;
    Ok(0)
}

fn append(args: &[String], _: &mut dyn Write) -> Run {
    let [name, text] = args else { return Err(Failure::usage("append FILE TEXT")) };
    // One write call: what others append at the same time stays whole.
    File::options().append(true).create(true).open(name)?.write_all(text.as_bytes())?;
    Ok(0)
}

/// One MiB after the other, then it waits: what is in a tmpfs stays in memory.
fn fill(args: &[String], out: &mut dyn Write) -> Run {
    let usage = || Failure::usage("fill FILE MB");
    let [name, mib] = args else { return Err(usage()) };
    let mut file = File::create(name)?;
    for step in 1..=mib.parse::<u64>().map_err(|_| usage())? {
        file.write_all(&[1; 1 << 20])?;
        writeln!(out, "{step} MiB")?;
        out.flush()?;
    }
    loop {
        sys::pause();
    }
}

fn ls(args: &[String], out: &mut dyn Write) -> Run {
    let [name] = args else { return Err(Failure::usage("ls DIR")) };
    let mut names = Vec::new();
    for entry in fs::read_dir(name)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    for name in names {
        writeln!(out, "{name}")?;
    }
    Ok(0)
}

/// `type mode uid gid major:minor size`, of a link itself and not of what it points to.
fn stat(args: &[String], out: &mut dyn Write) -> Run {
    for name in args {
        let meta = fs::symlink_metadata(name)?;
        let kind = meta.file_type();
        let kind = match () {
            () if kind.is_file() => "file",
            () if kind.is_dir() => "dir",
            () if kind.is_symlink() => "link",
            () if kind.is_char_device() => "char",
            () if kind.is_block_device() => "block",
            () if kind.is_fifo() => "fifo",
            () => "socket",
        };
        let (major, minor) = (libc::major(meta.rdev()), libc::minor(meta.rdev()));
        let mode = meta.mode() & 0o7777;
        writeln!(out, "{kind} {mode:04o} {} {} {major}:{minor} {}", meta.uid(), meta.gid(), meta.size())?;
    }
    Ok(0)
}

fn readlink(args: &[String], out: &mut dyn Write) -> Run {
    let [name] = args else { return Err(Failure::usage("readlink FILE")) };
    writeln!(out, "{}", fs::read_link(name)?.display())?;
    Ok(0)
}

/// Opens without making, emptying or waiting for anything.
fn open(name: &str, access: &str) -> Result<(), Errno> {
    OpenOptions::new()
        .read(access.contains('r'))
        .write(access.contains('w'))
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(name)
        .map(drop)
        .map_err(|e| Errno(e.raw_os_error().unwrap_or(libc::EINVAL)))
}

/// Tries something on one file and prints what came of it.
fn one(args: &[String], out: &mut dyn Write, usage: &str, f: impl Fn(&str) -> Result<(), Errno>) -> Run {
    let [name] = args else { return Err(Failure::usage(usage)) };
    writeln!(out, "{}", answer(f(name).map(|()| 0)))?;
    Ok(0)
}

fn open_dev(args: &[String], out: &mut dyn Write) -> Run {
    let [name, access] = args else { return Err(Failure::usage("open-dev FILE r|w|rw")) };
    writeln!(out, "{}", answer(open(name, access).map(|()| 0)))?;
    Ok(0)
}

fn mknod(args: &[String], out: &mut dyn Write) -> Run {
    let usage = || Failure::usage("mknod FILE c|b|p [MAJOR MINOR]");
    let (name, kind, numbers) = match args {
        [name, kind, numbers @ ..] => (name, kind.as_str(), numbers),
        _ => return Err(usage()),
    };
    let part = |i: usize| match numbers.get(i) {
        None => Ok(0),
        Some(text) => names::number(text).and_then(|n| u32::try_from(n).ok()).ok_or_else(usage),
    };
    let kind = match kind {
        "c" => libc::S_IFCHR,
        "b" => libc::S_IFBLK,
        "p" => libc::S_IFIFO,
        _ => return Err(usage()),
    };
    writeln!(out, "{}", answer(sys::mknod(name, kind | 0o600, part(0)?, part(1)?)))?;
    Ok(0)
}
