//! The command line of knarr-keeper. Pure; by hand, because the daemon is the only one who writes it.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::path::PathBuf;

use super::record::VERSION;
use crate::names::RunId;
use crate::sys::held::FDS_MAX;

/// How the program is called.
pub const USAGE: &str = "knarr-keeper --run RUN --dir DIR --exit FILE --log DIR --log-size BYTES --log-files N \
[--log-min-free PERCENT] [--tty] [--stdin] [--journald] [--cgroup DIR] [--pass N] [--sealed] -- RUNTIME ARGS..., or \
knarr-keeper --hold DIR [--cgroup DIR]";

/// The smallest size of a log file in bytes: a few lines of full length.
pub const LOG_SIZE_MIN: u64 = 64 * 1024;

/// What a keeper is told at its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Args {
    /// Whose keeper it is.
    pub run: RunId,
    /// Its directory.
    pub dir: PathBuf,
    /// Where the exit record goes.
    pub exit: PathBuf,
    /// The log directory.
    pub log: PathBuf,
    /// Bytes of one log file.
    pub log_size: u64,
    /// How many are kept, with the current one.
    pub log_files: u32,
    /// Nothing is logged while less is free, in percent.
    pub log_min_free: u64,
    /// A terminal instead of pipes.
    pub tty: bool,
    /// Standard input is kept open.
    pub stdin: bool,
    /// Each line goes to journald, too.
    pub journald: bool,
    /// The keeper's own cgroup.
    pub cgroup: Option<PathBuf>,
    /// How many descriptors wait at standard input for the create command, which gets them from number 3 on.
    pub pass: usize,
    /// One more waits there, the last: the program to execute in the place of the create command's, in memory.
    pub sealed: bool,
    /// The create command.
    pub create: Vec<OsString>,
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// Be a keeper.
    Keep(Box<Args>),
    /// Hold sockets: [`crate::keeper::hold`].
    Hold {
        /// Its directory.
        dir: PathBuf,
        /// Its own cgroup.
        cgroup: Option<PathBuf>,
    },
    /// Say the version.
    Version,
}

/// Reads the arguments, without the program's own name.
///
/// # Errors
/// What is wrong with which, in one line.
pub fn parse(mut args: impl Iterator<Item = OsString>) -> Result<Asked, String> {
    let (mut run, mut dir, mut exit, mut log, mut cgroup) = (None, None, None, None, None);
    let (mut size, mut files, mut free, mut pass, mut hold) = (None, None, None, None, None);
    let (mut tty, mut stdin, mut journald, mut sealed) = (false, false, false, false);
    let mut create = Vec::new();
    while let Some(arg) = args.next() {
        let Some(name) = arg.to_str() else { return Err(format!("unknown argument {arg:?}")) };
        let slot = match name {
            "--" => {
                create.extend(args.by_ref());
                break;
            }
            "--version" => return Ok(Asked::Version),
            "--tty" => {
                tty = true;
                continue;
            }
            "--stdin" => {
                stdin = true;
                continue;
            }
            "--journald" => {
                journald = true;
                continue;
            }
            "--sealed" => {
                sealed = true;
                continue;
            }
            "--run" => &mut run,
            "--dir" => &mut dir,
            "--exit" => &mut exit,
            "--log" => &mut log,
            "--cgroup" => &mut cgroup,
            "--pass" => &mut pass,
            "--hold" => &mut hold,
            "--log-size" => &mut size,
            "--log-files" => &mut files,
            "--log-min-free" => &mut free,
            _ => return Err(format!("unknown argument {name:?}; usage: {USAGE}")),
        };
        let value = args.next().ok_or_else(|| format!("{name} needs a value"))?;
        if slot.replace(value).is_some() {
            return Err(format!("{name} is there twice"));
        }
    }
    let cgroup = cgroup.map(|cgroup| path("--cgroup", Some(cgroup))).transpose()?;
    if hold.is_some() {
        let others = [run, dir, exit, log, size, files, free, pass].iter().any(Option::is_some);
        if others || tty || stdin || journald || sealed || !create.is_empty() {
            return Err(format!("--hold goes with --cgroup only; usage: {USAGE}"));
        }
        return Ok(Asked::Hold { dir: path("--hold", hold)?, cgroup });
    }
    if create.is_empty() {
        return Err("no create command after --".into());
    }
    Ok(Asked::Keep(Box::new(Args {
        run: text("--run", run)?.parse().map_err(|e| format!("--run: {e}"))?,
        dir: path("--dir", dir)?,
        exit: path("--exit", exit)?,
        log: path("--log", log)?,
        log_size: number("--log-size", size, LOG_SIZE_MIN, u64::MAX / 2)?,
        log_files: u32::try_from(number("--log-files", files, 1, 10_000)?).unwrap_or(1),
        log_min_free: match free {
            None => 10,
            free => number("--log-min-free", free, 0, 99)?,
        },
        tty,
        stdin,
        journald,
        cgroup,
        pass: match pass {
            None => 0,
            pass => usize::try_from(number("--pass", pass, 1, FDS_MAX as u64)?).unwrap_or(0),
        },
        sealed,
        create,
    })))
}

/// What `--version` prints.
pub fn version() -> String {
    format!("knarr-keeper {} (protocol {VERSION})", env!("CARGO_PKG_VERSION"))
}

fn text(name: &str, value: Option<OsString>) -> Result<String, String> {
    let value = value.ok_or_else(|| format!("{name} is missing; usage: {USAGE}"))?;
    value.into_string().map_err(|v| format!("{name}: {v:?} is no text"))
}

fn path(name: &str, value: Option<OsString>) -> Result<PathBuf, String> {
    let path = PathBuf::from(value.ok_or_else(|| format!("{name} is missing; usage: {USAGE}"))?);
    if path.is_absolute() { Ok(path) } else { Err(format!("{name}: want an absolute path, got {path:?}")) }
}

fn number(name: &str, value: Option<OsString>, min: u64, max: u64) -> Result<u64, String> {
    let value = text(name, value)?;
    let n = value.parse().ok().filter(|n| (min..=max).contains(n));
    n.ok_or_else(|| format!("{name}: want a number from {min} to {max}, got {value:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keeper::Launch;

    fn launch() -> Launch {
        Launch {
            program: "/bin/knarr-keeper".into(),
            run: "web.1.17".parse().unwrap(),
            dir: "/run/k/web.1.17".into(),
            exit: "/var/k/exits/web.1.17".into(),
            log: "/var/k/logs/web.1".into(),
            log_size: 10 << 20,
            log_files: 5,
            log_min_free: 10,
            tty: true,
            stdin: true,
            journald: true,
            cgroup: Some("/sys/fs/cgroup/k".into()),
            pass: 2,
            sealed: true,
            create: vec!["runc".into(), "create".into(), "--tty".into(), "web.1.17".into()],
        }
    }

    #[test]
    fn what_the_daemon_writes_is_what_the_keeper_reads() {
        let l = launch();
        let Ok(Asked::Keep(a)) = parse(l.args().into_iter()) else { panic!("not understood") };
        let Args {
            run,
            dir,
            exit,
            log,
            log_size,
            log_files,
            log_min_free,
            tty,
            stdin,
            journald,
            cgroup,
            pass,
            sealed,
            create,
        } = *a;
        assert_eq!((run, dir, exit, log, cgroup, create), (l.run, l.dir, l.exit, l.log, l.cgroup, l.create));
        assert_eq!((log_size, log_files, log_min_free), (l.log_size, l.log_files, l.log_min_free.into()));
        assert!(tty && stdin && journald && pass == 2 && sealed);
        let hold = |s: &str| parse(s.split(' ').map(OsString::from));
        let want = Asked::Hold { dir: "/run/k/held".into(), cgroup: Some("/c".into()) };
        assert_eq!(hold("--hold /run/k/held --cgroup /c"), Ok(want));
        assert!(hold("--hold /d --tty").unwrap_err().contains("--hold") && hold("--hold d").is_err());
    }

    #[test]
    fn each_wrong_argument_is_named() {
        let good = launch().args();
        let with = |name: &str, value: &str| {
            let mut args = good.clone();
            let at = args.iter().position(|a| a == name).unwrap();
            args[at + 1] = value.into();
            parse(args.into_iter()).unwrap_err()
        };
        for (name, value) in [
            ("--run", "web"),
            ("--dir", "relative"),
            ("--exit", ""),
            ("--log", "x"),
            ("--cgroup", "x"),
            ("--log-size", "65535"),
            ("--log-files", "0"),
            ("--log-min-free", "100"),
            ("--pass", "33"),
        ] {
            assert!(with(name, value).starts_with(name), "{name}: {}", with(name, value));
        }
        for name in ["--run", "--dir", "--exit", "--log", "--log-size", "--log-files"] {
            let mut args = good.clone();
            let at = args.iter().position(|a| a == name).unwrap();
            args.drain(at..at + 2);
            assert!(parse(args.into_iter()).unwrap_err().starts_with(name));
        }
        let all = |s: &str| parse(s.split(' ').map(OsString::from)).unwrap_err();
        assert!(all("--frob").contains("--frob"));
        assert!(all("--run").contains("needs a value"));
        assert!(all("--dir /a --dir /b").contains("twice"));
        assert!(all("--tty").contains("no create command"));
    }
}
