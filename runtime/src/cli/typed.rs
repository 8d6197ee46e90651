//! Matched options to typed requests. The only file that knows which command takes which option by name. May
//! look at the environment and at /proc/self/uid_map for the default of `--root`.

use super::values::{self, usage};
use super::*;
use crate::error::quoted;
use crate::report::{Format as LogFormat, Level};
use crate::sys::process;
use clap::ArgMatches;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

/// Where state is kept for the host's root user.
const DEFAULT_ROOT: &str = "/run/knarr";
/// runc's default of `events --interval`.
const EVENTS_INTERVAL: Duration = Duration::from_secs(5);
/// PATH_MAX of limits.h, with its final NUL.
const PATH_MAX: usize = 4096;

/// Hands normalised words to clap.
pub(super) fn matches(table: clap::Command, words: Vec<OsString>) -> Result<ArgMatches> {
    let name = OsString::from("knarr");
    table.try_get_matches_from(std::iter::once(name).chain(words)).map_err(|e| {
        let text = e.to_string();
        usage(text.lines().next().unwrap_or("unusable command line"))
    })
}

fn word<'a>(m: &'a ArgMatches, name: &str) -> Option<&'a OsStr> {
    m.get_one::<OsString>(name).map(OsString::as_os_str)
}

fn text(name: &str, value: &OsStr) -> Result<String> {
    value
        .to_str()
        .map(str::to_string)
        .ok_or_else(|| usage(format!("{name}: not valid UTF-8, got {}", quoted(&value.to_string_lossy()))))
}

fn string(m: &ArgMatches, name: &str) -> Result<Option<String>> {
    word(m, name).map(|v| text(&format!("--{name}"), v)).transpose()
}

fn strings(m: &ArgMatches, name: &str) -> Result<Vec<String>> {
    let values = m.get_many::<OsString>(name).unwrap_or_default();
    values.map(|v| text(&format!("--{name}"), v)).collect()
}

/// A path of the host, made absolute so that a later change of directory does not move it.
fn path(m: &ArgMatches, name: &str) -> Result<Option<PathBuf>> {
    word(m, name).map(|v| absolute(name, v)).transpose()
}

fn absolute(name: &str, value: &OsStr) -> Result<PathBuf> {
    let bad = |why: &str| usage(format!("--{name}: {why}, got {}", quoted(&value.to_string_lossy())));
    if value.is_empty() {
        return Err(bad("must not be empty"));
    }
    if value.as_bytes().contains(&0) {
        return Err(bad("must not contain a NUL byte"));
    }
    let path = std::path::absolute(value).map_err(|e| Error::from(e).step(format!("--{name}")))?;
    if path.as_os_str().len() >= PATH_MAX {
        return Err(bad(&format!("longer than {} bytes", PATH_MAX - 1)));
    }
    Ok(path)
}

/// Global options. `words` are normalised.
pub(super) fn global(words: Vec<OsString>) -> Result<Global> {
    let m = matches(verbs::global(), words)?;
    let (root, root_explicit) = match word(&m, "root") {
        Some(v) => (state_root(v)?, true),
        None => (default_root(), false),
    };
    let cgroup_manager = match string(&m, "cgroup-manager")?.as_deref() {
        _ if m.get_flag("systemd-cgroup") => CgroupManager::Systemd,
        None | Some("cgroupfs") => CgroupManager::Cgroupfs,
        Some("systemd") => CgroupManager::Systemd,
        Some("disabled") => CgroupManager::Disabled,
        Some(other) => return Err(choice("cgroup-manager", other, "cgroupfs, systemd or disabled")),
    };
    let rootless = match string(&m, "rootless")?.as_deref() {
        None | Some("auto") => Rootless::Auto,
        Some(other) => match values::boolean(other) {
            Some(true) => Rootless::Yes,
            Some(false) => Rootless::No,
            None => return Err(choice("rootless", other, "true, false or auto")),
        },
    };
    let trace = path(&m, "trace")?;
    Ok(Global { root, root_explicit, log: log(&m)?, cgroup_manager, rootless, trace })
}

fn choice(name: &str, got: &str, want: &str) -> Error {
    usage(format!("invalid {name}: {}, want {want}", quoted(got)))
}

/// The log options of a line that failed elsewhere: what is unusable falls back to its default.
pub(super) fn log_options(words: Vec<OsString>) -> report::Options {
    let m = matches(verbs::global(), words).ok();
    m.and_then(|m| log(&m).ok()).unwrap_or_default()
}

fn log(m: &ArgMatches) -> Result<report::Options> {
    let format = match string(m, "log-format")?.as_deref() {
        None | Some("" | "text") => LogFormat::Text,
        Some("json") => LogFormat::Json,
        Some(other) => return Err(choice("log-format", other, "text or json")),
    };
    let level = match string(m, "log-level")?.as_deref() {
        _ if m.get_flag("debug") => Level::Debug,
        None => Level::default(),
        Some("error") => Level::Error,
        Some("warning" | "warn") => Level::Warning,
        Some("debug") => Level::Debug,
        Some(other) => return Err(choice("log-level", other, "error, warning or debug")),
    };
    // Empty and /dev/stderr are runc's ways to write the default.
    let file = match word(m, "log") {
        Some(v) if v.is_empty() || v == "/dev/stderr" => None,
        Some(v) => Some(absolute("log", v)?),
        None => None,
    };
    Ok(report::Options { file, format, level })
}

/// `--root`, absolute and without `.` and `..`, as Go's filepath.Abs makes it.
fn state_root(value: &OsStr) -> Result<PathBuf> {
    let mut clean = PathBuf::new();
    for part in absolute("root", value)?.components() {
        match part {
            Component::ParentDir => {
                clean.pop();
            }
            Component::CurDir => {}
            part => clean.push(part),
        }
    }
    if clean == Path::new("/") {
        return Err(usage("--root: must not be the root directory \"/\""));
    }
    Ok(clean)
}

/// Without `--root`: the host's root user keeps state in /run, everybody else below XDG_RUNTIME_DIR. uid 0 of
/// a user namespace counts as everybody else unless it calls itself root, as in runc.
fn default_root() -> PathBuf {
    let euid = process::euid();
    let own = euid != 0 || (in_user_namespace() && std::env::var_os("USER").is_none_or(|u| u != "root"));
    match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(dir) if own && Path::new(&dir).is_absolute() => Path::new(&dir).join("knarr"),
        _ => PathBuf::from(DEFAULT_ROOT),
    }
}

fn in_user_namespace() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let numbers: Vec<&str> = map.split_ascii_whitespace().collect();
    !numbers.is_empty() && numbers != ["0", "0", "4294967295"]
}

/// The command `name` from its options and arguments, whose number was checked.
pub(super) fn command(name: &str, m: &ArgMatches, arguments: Vec<OsString>) -> Result<Command> {
    let mut arguments = arguments.into_iter();
    // Ids are checked where they are used; bytes that are not UTF-8 become U+FFFD, which no id may contain.
    let mut id = || arguments.next().unwrap_or_default().to_string_lossy().into_owned();
    Ok(match name {
        "check" => {
            let bundle = arguments.next().unwrap_or_else(|| ".".into());
            Command::Check(CheckArgs { bundle: absolute("bundle", &bundle)?, plan: m.get_flag("plan") })
        }
        "create" => Command::Create(create(m, id())?),
        "delete" => Command::Delete(DeleteArgs { id: id(), force: m.get_flag("force") }),
        "doctor" => Command::Doctor(DoctorArgs { json: m.get_flag("json") }),
        "events" => {
            let interval = string(m, "interval")?.map(|v| values::duration("interval", &v)).transpose()?;
            let interval = interval.unwrap_or(EVENTS_INTERVAL);
            Command::Events(EventsArgs { id: id(), interval, stats: m.get_flag("stats") })
        }
        "exec" => {
            let id = id();
            Command::Exec(exec(m, id, arguments)?)
        }
        "features" => Command::Features,
        "kill" => {
            let id = id();
            let signal = match arguments.next() {
                Some(word) => values::signal(&word.to_string_lossy())?,
                None => SIGTERM,
            };
            Command::Kill(KillArgs { id, signal, all: m.get_flag("all") })
        }
        "list" => Command::List(ListArgs { format: format(m)?, quiet: m.get_flag("quiet") }),
        "pause" => Command::Pause(IdArgs { id: id() }),
        "ps" => {
            let id = id();
            Command::Ps(PsArgs { id, format: format(m)?, args: arguments.collect() })
        }
        "resume" => Command::Resume(IdArgs { id: id() }),
        "run" => Command::Run(RunArgs {
            create: create(m, id())?,
            detach: m.get_flag("detach"),
            keep: m.get_flag("keep"),
            no_subreaper: m.get_flag("no-subreaper"),
        }),
        "spec" => Command::Spec(SpecArgs { bundle: path(m, "bundle")?, rootless: m.get_flag("rootless") }),
        "start" => Command::Start(IdArgs { id: id() }),
        "state" => Command::State(IdArgs { id: id() }),
        "update" => Command::Update(Box::new(update(m, id())?)),
        "version" => Command::Version,
        other => {
            return Err(Error::new(Code::Internal, format!("command {other} has a table and no reader")));
        }
    })
}

fn format(m: &ArgMatches) -> Result<Format> {
    match string(m, "format")?.as_deref() {
        None | Some("table") => Ok(Format::Table),
        Some("json") => Ok(Format::Json),
        Some(other) => Err(usage(format!("invalid format option: {}, want table or json", quoted(other)))),
    }
}

fn preserve_fds(m: &ArgMatches) -> Result<u32> {
    string(m, "preserve-fds")?.map_or(Ok(0), |n| values::count("preserve-fds", &n))
}

fn create(m: &ArgMatches, id: String) -> Result<CreateArgs> {
    Ok(CreateArgs {
        id,
        bundle: absolute("bundle", word(m, "bundle").unwrap_or(OsStr::new(".")))?,
        console_socket: path(m, "console-socket")?,
        pidfd_socket: path(m, "pidfd-socket")?,
        pid_file: path(m, "pid-file")?,
        no_pivot: m.get_flag("no-pivot"),
        no_new_keyring: m.get_flag("no-new-keyring"),
        preserve_fds: preserve_fds(m)?,
    })
}

/// The options that runc's command line parser itself reads as numbers.
pub(super) fn numbers(name: &str, m: &ArgMatches) -> Result<()> {
    if name == "exec" {
        additional_gids(m)?;
    }
    if matches!(name, "create" | "exec" | "run") {
        preserve_fds(m)?;
    }
    Ok(())
}

fn additional_gids(m: &ArgMatches) -> Result<Vec<u32>> {
    strings(m, "additional-gids")?.iter().map(|g| values::id("additional-gids", g)).collect()
}

fn exec(m: &ArgMatches, id: String, arguments: impl Iterator<Item = OsString>) -> Result<ExecArgs> {
    let args: Vec<String> = arguments
        .enumerate()
        .map(|(n, word)| text(&format!("argument {n} of the command"), &word))
        .collect::<Result<_>>()?;
    let process = path(m, "process")?;
    if args.is_empty() && process.is_none() {
        return Err(usage("process args cannot be empty: want a command or --process"));
    }
    Ok(ExecArgs {
        id,
        args,
        console_socket: path(m, "console-socket")?,
        pidfd_socket: path(m, "pidfd-socket")?,
        pid_file: path(m, "pid-file")?,
        cwd: string(m, "cwd")?,
        env: strings(m, "env")?,
        tty: m.get_flag("tty"),
        user: string(m, "user")?.map(|u| values::exec_user(&u)).transpose()?,
        additional_gids: additional_gids(m)?,
        process,
        detach: m.get_flag("detach"),
        process_label: string(m, "process-label")?,
        apparmor: string(m, "apparmor")?,
        no_new_privs: m.get_flag("no-new-privs"),
        caps: strings(m, "cap")?,
        preserve_fds: preserve_fds(m)?,
        cgroups: values::sub_cgroups(&strings(m, "cgroup")?)?,
        ignore_paused: m.get_flag("ignore-paused"),
    })
}

fn update(m: &ArgMatches, id: String) -> Result<UpdateArgs> {
    let resources = match word(m, "resources") {
        // runc takes an empty name for none.
        None => None,
        Some(v) if v.is_empty() => None,
        Some(v) if v == "-" => Some(Source::Stdin),
        Some(v) => Some(Source::File(absolute("resources", v)?)),
    };
    let limits = limits(m)?;
    let mut ignored: Vec<String> = ["kernel-memory", "kernel-memory-tcp"]
        .iter()
        .filter(|name| word(m, name).is_some_and(|v| !v.is_empty()))
        .map(|name| format!("--{name}: not applied, the kernel has no separate kernel memory limit"))
        .collect();
    // Schemata are no part of such a document.
    let beside = Limits { l3_cache_schema: None, mem_bw_schema: None, ..limits.clone() };
    if resources.is_some() && beside != Limits::default() {
        ignored.push("--resources: the limits given as options beside it are not applied".into());
    }
    Ok(UpdateArgs { id, resources, limits, ignored })
}

fn limits(m: &ArgMatches) -> Result<Limits> {
    // An empty value is one that was not given, as for runc.
    let given = |name: &'static str| string(m, name).map(|v| v.filter(|v| !v.is_empty()));
    let number = |name| given(name)?.map(|v| values::number(name, &v)).transpose();
    let signed = |name| given(name)?.map(|v| values::signed(name, &v)).transpose();
    let size = |name| given(name)?.map(|v| values::size(name, &v)).transpose();
    Ok(Limits {
        blkio_weight: given("blkio-weight")?.map(|v| values::weight("blkio-weight", &v)).transpose()?,
        cpu_period: number("cpu-period")?,
        cpu_quota: signed("cpu-quota")?,
        cpu_burst: number("cpu-burst")?,
        cpu_share: number("cpu-share")?,
        cpu_rt_period: number("cpu-rt-period")?,
        cpu_rt_runtime: signed("cpu-rt-runtime")?,
        cpu_idle: signed("cpu-idle")?,
        cpuset_cpus: given("cpuset-cpus")?,
        cpuset_mems: given("cpuset-mems")?,
        memory: size("memory")?,
        memory_reservation: size("memory-reservation")?,
        memory_swap: size("memory-swap")?,
        pids_limit: signed("pids-limit")?,
        l3_cache_schema: given("l3-cache-schema")?,
        mem_bw_schema: given("mem-bw-schema")?,
    })
}
