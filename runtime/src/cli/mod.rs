//! argv in, `Request` out. Every bit of runc's command-line compatibility lives below this module, and nothing
//! else does. May use: `error`, `report` types, clap, the environment; no files beyond /proc/self/uid_map.
#![forbid(unsafe_code)]

mod argv;
mod described;
mod typed;
mod values;
mod verbs;

pub use described::described;
pub use values::{ExecUser, SIGKILL, SIGTERM, SubCgroup};

use crate::error::{Code, Error, Result, printable};
use crate::report;
use argv::{Grammar, Words};
use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;
use values::usage;
use verbs::Verb;

/// A whole command line.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    pub global: Global,
    pub command: Command,
}

/// Options that any command takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Global {
    /// Directory of container state; absolute, clean, not `/`.
    pub root: PathBuf,
    /// Whether `--root` was given, which makes a missing directory an error for `list`.
    pub root_explicit: bool,
    pub log: report::Options,
    pub cgroup_manager: CgroupManager,
    pub rootless: Rootless,
    /// `--trace`; absolute.
    pub trace: Option<PathBuf>,
}

/// Who makes control groups.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CgroupManager {
    #[default]
    Cgroupfs,
    Systemd,
    Disabled,
}

/// Whether missing permission on control groups is tolerated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Rootless {
    #[default]
    Auto,
    Yes,
    No,
}

impl Rootless {
    /// What was said; `None` to find out.
    pub fn choice(self) -> Option<bool> {
        match self {
            Rootless::Auto => None,
            Rootless::Yes => Some(true),
            Rootless::No => Some(false),
        }
    }
}

/// What to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    Check(CheckArgs),
    Create(CreateArgs),
    Delete(DeleteArgs),
    Doctor(DoctorArgs),
    Events(EventsArgs),
    Exec(ExecArgs),
    Features,
    /// Text to print.
    Help(String),
    Kill(KillArgs),
    List(ListArgs),
    Pause(IdArgs),
    Ps(PsArgs),
    Resume(IdArgs),
    Run(RunArgs),
    Spec(SpecArgs),
    Start(IdArgs),
    State(IdArgs),
    Update(Box<UpdateArgs>),
    Version,
}

impl Command {
    /// The exit code when the command itself fails: 255 for `exec`, so that it differs from the payload's.
    pub fn failure(&self) -> u8 {
        match self {
            Command::Exec(_) => EXEC_FAILURE,
            _ => FAILURE,
        }
    }

    /// For commands that make processes of a container, which must not get hold of this program's file or of its
    /// descriptors: the value of `--preserve-fds`.
    pub fn makes_processes(&self) -> Option<u32> {
        match self {
            Command::Create(args) => Some(args.preserve_fds),
            Command::Run(args) => Some(args.create.preserve_fds),
            Command::Exec(args) => Some(args.preserve_fds),
            _ => None,
        }
    }
}

const FAILURE: u8 = 1;
const EXEC_FAILURE: u8 = 255;
/// What runc's command line parser exits with when there is no such command.
const NO_SUCH_COMMAND: u8 = 3;

/// `check`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckArgs {
    pub bundle: PathBuf,
    /// Print the plan too.
    pub plan: bool,
}

/// `create`, and the part of `run` that is the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateArgs {
    pub id: String,
    /// Absolute, as written otherwise.
    pub bundle: PathBuf,
    pub console_socket: Option<PathBuf>,
    pub pidfd_socket: Option<PathBuf>,
    pub pid_file: Option<PathBuf>,
    pub no_pivot: bool,
    pub no_new_keyring: bool,
    /// Descriptors from 3 up, beside those of `LISTEN_FDS`.
    pub preserve_fds: u32,
}

/// `run`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunArgs {
    pub create: CreateArgs,
    pub detach: bool,
    pub keep: bool,
    pub no_subreaper: bool,
}

/// `exec`. Without `process`, `args` has at least one word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecArgs {
    pub id: String,
    pub args: Vec<String>,
    pub console_socket: Option<PathBuf>,
    pub pidfd_socket: Option<PathBuf>,
    pub pid_file: Option<PathBuf>,
    pub cwd: Option<String>,
    pub env: Vec<String>,
    pub tty: bool,
    pub user: Option<ExecUser>,
    pub additional_gids: Vec<u32>,
    /// A file with a whole process object, which replaces the options about the process.
    pub process: Option<PathBuf>,
    pub detach: bool,
    pub process_label: Option<String>,
    pub apparmor: Option<String>,
    pub no_new_privs: bool,
    pub caps: Vec<String>,
    pub preserve_fds: u32,
    pub cgroups: Vec<SubCgroup>,
    pub ignore_paused: bool,
}

/// Commands that take nothing but an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdArgs {
    pub id: String,
}

/// `kill`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KillArgs {
    pub id: String,
    /// 1 to 64; 0 only asks whether there is somebody.
    pub signal: i32,
    /// Old callers' way to say that "not running" is fine.
    pub all: bool,
}

/// `delete`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteArgs {
    pub id: String,
    pub force: bool,
}

/// `doctor`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoctorArgs {
    /// For programs.
    pub json: bool,
}

/// `events`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventsArgs {
    pub id: String,
    /// Between two statistics; more than nothing.
    pub interval: Duration,
    /// Statistics once, and nothing else.
    pub stats: bool,
}

/// Form of `list` and `ps`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    #[default]
    Table,
    Json,
}

/// `list`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListArgs {
    pub format: Format,
    pub quiet: bool,
}

/// `ps`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PsArgs {
    pub id: String,
    pub format: Format,
    /// Arguments for the host's ps program.
    pub args: Vec<OsString>,
}

/// `spec`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecArgs {
    pub bundle: Option<PathBuf>,
    pub rootless: bool,
}

/// `update`. Absent limits stay as they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UpdateArgs {
    pub id: String,
    /// A document with limits, in place of the options below.
    pub resources: Option<Source>,
    pub limits: Limits,
    /// Options that were given and have no effect, with the reason.
    pub ignored: Vec<String>,
}

/// Where a document is read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    File(PathBuf),
    Stdin,
}

/// Limits as options of `update` name them. Sizes in bytes, times in microseconds, -1 means no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    pub blkio_weight: Option<u16>,
    pub cpu_period: Option<u64>,
    pub cpu_quota: Option<i64>,
    pub cpu_burst: Option<u64>,
    pub cpu_share: Option<u64>,
    pub cpu_rt_period: Option<u64>,
    pub cpu_rt_runtime: Option<i64>,
    pub cpu_idle: Option<i64>,
    pub cpuset_cpus: Option<String>,
    pub cpuset_mems: Option<String>,
    pub memory: Option<i64>,
    pub memory_reservation: Option<i64>,
    pub memory_swap: Option<i64>,
    pub pids_limit: Option<i64>,
    pub l3_cache_schema: Option<String>,
    pub mem_bw_schema: Option<String>,
}

/// A command line that asks for nothing that can be done.
#[derive(Debug)]
pub struct Fault {
    pub error: Error,
    /// Help to print on stdout in front of the error, as runc does.
    pub usage: Option<String>,
    /// The exit code.
    pub exit: u8,
    /// Where the error goes, as far as the line was understood.
    pub log: report::Options,
}

/// The commit this was built from, when the builder said so.
pub const COMMIT: &str = match option_env!("KNARR_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

/// What `--version` prints: three lines that machines parse.
pub fn version_text() -> String {
    format!("knarr version {}\ncommit: {COMMIT}\nspec: {}\n", crate::VERSION, crate::SPEC_VERSION)
}

/// Reads a command line, without the program's name.
///
/// # Errors
/// Whatever makes the line unusable, with the exit code that the command would have had.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Request, Box<Fault>> {
    let mut line =
        Line { words: Words::default(), verb: None, name: None, unknown: false, understood: false };
    match line.read(args.into_iter().collect()) {
        Ok(request) => Ok(request),
        Err(error) => Err(Box::new(line.fault(error))),
    }
}

/// A command line on its way.
struct Line {
    words: Words,
    verb: Option<&'static Verb>,
    name: Option<String>,
    /// No command has the name that was asked for.
    unknown: bool,
    /// The words are those of the command; what is wrong now is what one of them says. The help page would not help, and
    /// an `exec` fails as one that was begun, both as in runc.
    understood: bool,
}

impl Line {
    fn read(&mut self, mut rest: VecDeque<OsString>) -> Result<Request> {
        let global = verbs::global();
        argv::walk(&mut rest, &Grammar { global: &global, own: None, stop: true }, &mut self.words)?;
        if self.words.help {
            return self.request(Command::Help(verbs::program_help()));
        }
        if self.words.version {
            return self.request(Command::Version);
        }
        let Some(name) = self.words.arguments.pop() else {
            return self.request(Command::Help(verbs::program_help()));
        };
        let verb = self.choose(name.to_string_lossy().into_owned())?;
        let table = verb.table();
        let grammar = Grammar { global: &global, own: Some(&table), stop: verb.stop };
        argv::walk(&mut rest, &grammar, &mut self.words)?;
        if self.words.help {
            return self.request(Command::Help(verb.help()));
        }
        self.counted(verb)?;
        if verb.name == "help" {
            let text = self.help_text()?;
            return self.request(Command::Help(text));
        }
        let words = std::mem::take(&mut self.words.own);
        let arguments = std::mem::take(&mut self.words.arguments);
        let matches = typed::matches(table, words)?;
        typed::numbers(verb.name, &matches)?;
        self.understood = true;
        let command = typed::command(verb.name, &matches, arguments)?;
        self.request(command)
    }

    fn choose(&mut self, name: String) -> Result<&'static Verb> {
        if verbs::REFUSED.contains(&name.as_str()) {
            let text = format!("{name}: not supported by this version of knarr");
            return Err(Error::new(Code::Unsupported, text));
        }
        let Some(verb) = verbs::find(&name) else {
            self.unknown = true;
            return Err(usage(format!("No help topic for '{}'", printable(&name))).hint("see knarr --help"));
        };
        self.verb = Some(verb);
        self.name = Some(name);
        Ok(verb)
    }

    fn counted(&self, verb: &Verb) -> Result<()> {
        let (least, most) = verb.count;
        let n = self.words.arguments.len();
        let want = match (n < least, n > most) {
            (false, false) => return Ok(()),
            _ if least == most => format!("exactly {least}"),
            (true, _) => format!("a minimum of {least}"),
            (_, true) => format!("a maximum of {most}"),
        };
        Err(usage(format!("knarr: \"{}\" requires {want} argument(s)", verb.name)))
    }

    fn help_text(&mut self) -> Result<String> {
        match self.words.arguments.first() {
            None => Ok(verbs::program_help()),
            Some(topic) => {
                let topic = topic.to_string_lossy().into_owned();
                self.verb = None;
                self.choose(topic).map(Verb::help)
            }
        }
    }

    fn request(&mut self, command: Command) -> Result<Request> {
        let global = typed::global(std::mem::take(&mut self.words.global))?;
        Ok(Request { global, command })
    }

    fn fault(mut self, error: Error) -> Fault {
        let usage = match (error.kind(), self.verb) {
            (Code::Usage, Some(verb)) if !self.understood => {
                Some(format!("Incorrect Usage: {error}\n\n{}\n", verb.help()))
            }
            _ => None,
        };
        let exit = match self.name.as_deref() {
            _ if self.unknown => NO_SUCH_COMMAND,
            Some("exec") if self.understood => EXEC_FAILURE,
            _ => FAILURE,
        };
        let log = typed::log_options(std::mem::take(&mut self.words.global));
        Fault { error, usage, exit, log }
    }
}

#[cfg(test)]
mod tests;
