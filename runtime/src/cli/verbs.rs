//! The table of commands: names, options, argument counts and help. Each command's clap tables are built only
//! when that command is called. Touches nothing.

use clap::builder::{OsStringValueParser, ValueParser};
use clap::{Arg, ArgAction, Command};

/// One command as the user sees it.
pub(super) struct Verb {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    /// Shown after `knarr NAME [options]`.
    pub(super) arguments: &'static str,
    /// Fewest and most arguments.
    pub(super) count: (usize, usize),
    /// Options end at the first argument.
    pub(super) stop: bool,
    options: fn() -> Vec<Arg>,
    notes: &'static str,
}

const ID: &str = "<container-id>";
const MANY: usize = usize::MAX;

/// Commands that work.
pub(super) static VERBS: [Verb; 19] = [
    Verb {
        name: "check",
        about: "report every problem a bundle would have on this host",
        arguments: "[bundle]",
        count: (0, 1),
        stop: false,
        options: || vec![flag("plan", None, "print what would be done, as JSON")],
        notes: "Needs no privilege and changes nothing. The exit code is 0 when nothing was found.",
    },
    Verb {
        name: "create",
        about: "create a container",
        arguments: ID,
        count: (1, 1),
        stop: false,
        options: create_options,
        notes: "The program does not run before the start command. The bundle is a directory with a\n\
                specification file named \"config.json\" and a root filesystem.",
    },
    Verb {
        name: "delete",
        about: "delete any resources held by the container",
        arguments: ID,
        count: (1, 1),
        stop: false,
        options: || {
            vec![flag(
                "force",
                Some('f'),
                "kill the container first if it is still running; no error if unknown",
            )]
        },
        notes: "Works on containers whose creation was interrupted and whose records are damaged.",
    },
    Verb {
        name: "doctor",
        about: "report what of this host keeps containers from working or being safe, and the fix",
        arguments: "",
        count: (0, 0),
        stop: false,
        options: || vec![flag("json", None, "print the findings as JSON")],
        notes: "Changes nothing. The exit code is 1 when there is an error or a warning; notes are facts.",
    },
    Verb {
        name: "events",
        about: "display container events such as OOM notifications, cpu, memory, and IO usage statistics",
        arguments: ID,
        count: (1, 1),
        stop: false,
        options: || {
            vec![
                value("interval", None, "DURATION", "time between two statistics (default: 5s)"),
                flag("stats", None, "display the container's stats then exit"),
            ]
        },
        notes: "One JSON object a line, until the container ends. A duration is written as 500ms or 1m30s.",
    },
    Verb {
        name: "exec",
        about: "execute new process inside the container",
        arguments: "<container-id> <command> [command options]  || -p process.json <container-id>",
        count: (1, MANY),
        stop: true,
        options: exec_options,
        notes: "",
    },
    Verb {
        name: "features",
        about: "show the enabled features",
        arguments: "",
        count: (0, 0),
        stop: false,
        options: Vec::new,
        notes: "The result is the features document of the OCI runtime specification, in JSON.",
    },
    Verb {
        name: "kill",
        about: "kill sends the specified signal (default: SIGTERM) to the container's init process",
        arguments: "<container-id> [signal]",
        count: (1, 2),
        stop: true,
        options: || vec![flag("all", Some('a'), "no error if the container is not running").hide(true)],
        notes: "A signal is a number up to 64 or a name: TERM, SIGTERM, sigterm, RTMIN+3. 0 only asks whether the\n\
                container runs.",
    },
    Verb {
        name: "list",
        about: "lists containers started by knarr with the given root",
        arguments: "",
        count: (0, 0),
        stop: false,
        options: || vec![format_option(), flag("quiet", Some('q'), "display only container IDs")],
        notes: "",
    },
    Verb {
        name: "pause",
        about: "pause suspends all processes inside the container",
        arguments: ID,
        count: (1, 1),
        stop: false,
        options: Vec::new,
        notes: "",
    },
    Verb {
        name: "ps",
        about: "ps displays the processes running inside a container",
        arguments: "<container-id> [ps options]",
        count: (1, MANY),
        stop: true,
        options: || vec![format_option()],
        notes: "The ps options default to -ef.",
    },
    Verb {
        name: "resume",
        about: "resumes all processes that have been previously paused",
        arguments: ID,
        count: (1, 1),
        stop: false,
        options: Vec::new,
        notes: "",
    },
    Verb {
        name: "run",
        about: "create and run a container",
        arguments: ID,
        count: (1, 1),
        stop: false,
        options: run_options,
        notes: "In the foreground the exit code is that of the program, or 128 + n after signal n.",
    },
    Verb {
        name: "spec",
        about: "create a new specification file",
        arguments: "",
        count: (0, 0),
        stop: false,
        options: || {
            vec![
                value("bundle", Some('b'), "DIR", "path to the root of the bundle directory"),
                flag("rootless", None, "generate a configuration for a rootless container"),
            ]
        },
        notes: "Writes a starter \"config.json\" that runs \"sh\" with few capabilities.",
    },
    Verb {
        name: "start",
        about: "executes the user defined process in a created container",
        arguments: ID,
        count: (1, 1),
        stop: false,
        options: Vec::new,
        notes: "",
    },
    Verb {
        name: "state",
        about: "output the state of a container",
        arguments: ID,
        count: (1, 1),
        stop: false,
        options: Vec::new,
        notes: "The output is the state document of the OCI runtime specification, in JSON.",
    },
    Verb {
        name: "update",
        about: "update container resource constraints",
        arguments: ID,
        count: (1, 1),
        stop: false,
        options: update_options,
        notes: "What is not named stays. The file holds a \"resources\" object of config.json, in JSON; device\n\
                rules are never changed. Values written before one that is refused are taken back.",
    },
    Verb {
        name: "version",
        about: "print the version",
        arguments: "",
        count: (0, 0),
        stop: false,
        options: Vec::new,
        notes: "",
    },
    Verb {
        name: "help",
        about: "shows a list of commands or help for one command",
        arguments: "[command]",
        count: (0, MANY),
        stop: true,
        options: Vec::new,
        notes: "",
    },
];

/// Commands that callers of runc know and that are refused. They take no options, so that nobody who asks
/// with `--help` concludes that they work.
pub(super) static REFUSED: [&str; 2] = ["checkpoint", "restore"];

/// Looks a command up by its exact name.
pub(super) fn find(name: &str) -> Option<&'static Verb> {
    let name = if name == "h" { "help" } else { name };
    VERBS.iter().find(|v| v.name == name)
}

fn flag(long: &'static str, short: Option<char>, help: &'static str) -> Arg {
    let arg = Arg::new(long).long(long).help(help).action(ArgAction::SetTrue);
    match short {
        Some(c) => arg.short(c),
        None => arg,
    }
}

fn value(long: &'static str, short: Option<char>, kind: &'static str, help: &'static str) -> Arg {
    let arg = Arg::new(long)
        .long(long)
        .help(help)
        .value_name(kind)
        .value_parser(ValueParser::new(OsStringValueParser::new()))
        .allow_hyphen_values(true);
    match short {
        Some(c) => arg.short(c),
        None => arg,
    }
}

fn many(long: &'static str, short: Option<char>, kind: &'static str, help: &'static str) -> Arg {
    value(long, short, kind, help).action(ArgAction::Append)
}

fn format_option() -> Arg {
    value("format", Some('f'), "FORMAT", "select one of: table or json (default: \"table\")")
}

fn console_options() -> [Arg; 3] {
    [
        value("console-socket", None, "PATH", "AF_UNIX socket that receives the master end of the terminal"),
        value("pidfd-socket", None, "PATH", "AF_UNIX socket that receives a pidfd of the process"),
        value("pid-file", None, "FILE", "file to write the process id to"),
    ]
}

fn preserve_option() -> Arg {
    value("preserve-fds", None, "N", "pass N more descriptors (3 + $LISTEN_FDS and up) to the container")
}

fn create_options() -> Vec<Arg> {
    let mut out =
        vec![value("bundle", Some('b'), "DIR", "bundle directory (default: the current directory)")];
    out.extend(console_options());
    out.extend([
        flag("no-pivot", None, "move the root with MS_MOVE and chroot, for a rootfs on a ramdisk"),
        flag("no-new-keyring", None, "do not join a new session keyring; keep the caller's"),
        preserve_option(),
    ]);
    out
}

fn run_options() -> Vec<Arg> {
    let mut out = create_options();
    out.extend([
        flag("detach", Some('d'), "return once the container runs"),
        flag("keep", None, "do not delete the container after it exits"),
        flag("no-subreaper", None, "do not reap processes that the container leaves behind"),
    ]);
    out
}

fn exec_options() -> Vec<Arg> {
    let mut out = Vec::from(console_options());
    out.extend([
        value("cwd", None, "DIR", "current working directory in the container"),
        many("env", Some('e'), "NAME=VALUE", "set environment variables"),
        flag("tty", Some('t'), "allocate a pseudo-TTY"),
        value("user", Some('u'), "UID[:GID]", "user and group, as numbers"),
        many("additional-gids", Some('g'), "GID", "additional gids"),
        value("process", Some('p'), "FILE", "process.json; replaces all options about the process"),
        flag("detach", Some('d'), "return once the process runs"),
        value("process-label", None, "LABEL", "SELinux label of the process"),
        value("apparmor", None, "PROFILE", "AppArmor profile of the process"),
        flag("no-new-privs", None, "set no_new_privs for the process"),
        many("cap", Some('c'), "CAP", "add a capability to the bounding set of the process"),
        preserve_option(),
        many("cgroup", None, "[CONTROLLER,..:]PATH", "run the process in an existing sub-cgroup"),
        flag("ignore-paused", None, "allow exec in a paused container"),
    ]);
    out
}

fn update_options() -> Vec<Arg> {
    let obsolete = "(obsoleted; do not use)";
    vec![
        value(
            "resources",
            Some('r'),
            "FILE",
            "read the limits from FILE, or - for standard input; the others are ignored",
        ),
        value("blkio-weight", None, "N", "block I/O weight, 10 to 1000"),
        value("cpu-period", None, "US", "length of a CPU period in microseconds"),
        value("cpu-quota", None, "US", "CPU time in a period in microseconds; -1 for no limit"),
        value("cpu-burst", None, "US", "unused CPU time that may be used later, in microseconds"),
        value("cpu-share", None, "N", "CPU shares (relative weight vs. other containers)"),
        value("cpu-rt-period", None, "US", "length of a realtime CPU period in microseconds"),
        value("cpu-rt-runtime", None, "US", "realtime CPU time in a period in microseconds"),
        value("cpu-idle", None, "N", "1: run when nobody else wants to, 0: as usual"),
        value("cpuset-cpus", None, "LIST", "CPUs to use, such as 0-3,7"),
        value("cpuset-mems", None, "LIST", "memory nodes to use"),
        value("kernel-memory", None, "BYTES", obsolete).hide(true),
        value("kernel-memory-tcp", None, "BYTES", obsolete).hide(true),
        value(
            "memory",
            None,
            "BYTES",
            "memory limit; b, k, m, g, t and p may follow the number; -1 for no limit",
        ),
        value("memory-reservation", None, "BYTES", "memory reservation or soft limit"),
        value("memory-swap", None, "BYTES", "limit of memory and swap together; -1 for unlimited swap"),
        value("pids-limit", None, "N", "greatest number of tasks; -1 for no limit"),
        value("l3-cache-schema", None, "TEXT", "Intel RDT/CAT L3 cache schema"),
        value("mem-bw-schema", None, "TEXT", "Intel RDT/MBA memory bandwidth schema"),
    ]
}

/// The table of global options.
pub(super) fn global() -> Command {
    table("knarr").args([
        flag("debug", None, "log each step with the time since the command began"),
        value("log", None, "FILE", "append log records to FILE (default: stderr)"),
        value("log-format", None, "FORMAT", "text or json (default: \"text\")"),
        value("log-level", None, "LEVEL", "error, warning or debug (default: \"warning\")"),
        value("root", None, "DIR", "directory of container state, best on tmpfs (default: \"/run/knarr\")"),
        flag("systemd-cgroup", None, "let systemd manage cgroups (same as --cgroup-manager systemd)"),
        value("cgroup-manager", None, "NAME", "cgroupfs, systemd or disabled (default: \"cgroupfs\")"),
        value("rootless", None, "WHEN", "tolerate missing cgroup permission: true, false or auto"),
        value(
            "trace",
            None,
            "FILE",
            "write a time line of the command to FILE, in Chrome's trace event format",
        ),
    ])
}

fn table(name: &'static str) -> Command {
    Command::new(name).disable_help_flag(true).disable_version_flag(true).args_override_self(true)
}

impl Verb {
    /// What its help says beside the options.
    pub(super) fn notes(&self) -> &'static str {
        self.notes
    }

    /// The table of the command's own options.
    pub(super) fn table(&self) -> Command {
        table(self.name).args((self.options)())
    }

    /// Help in the shape that readers of runc's help know.
    pub(super) fn help(&self) -> String {
        let mut out =
            format!("NAME:\n   knarr {} - {}\n\nUSAGE:\n   knarr {}", self.name, self.about, self.name);
        let mut table = self.table();
        if table.get_arguments().next().is_some() {
            out.push_str(" [command options]");
        }
        if !self.arguments.is_empty() {
            out.push(' ');
            out.push_str(self.arguments);
        }
        out.push('\n');
        if !self.notes.is_empty() {
            out.push_str("\nDESCRIPTION:\n   ");
            out.push_str(&self.notes.replace('\n', "\n   "));
            out.push('\n');
        }
        options_help(&mut table, "OPTIONS", &mut out);
        out
    }
}

fn options_help(table: &mut Command, title: &str, out: &mut String) {
    if table.get_arguments().all(Arg::is_hide_set) {
        return;
    }
    let text = std::mem::take(table).help_template("{options}").render_help().to_string();
    out.push_str(&format!("\n{title}:\n{}\n", text.trim_end()));
}

/// Help of the program.
pub(super) fn program_help() -> String {
    let mut out = String::from(
        "NAME:\n   knarr - Open Container Initiative runtime\n\n\
         USAGE:\n   knarr [global options] command [command options] [arguments...]\n\n\
         Containers are configured using bundles. A bundle is a directory that includes a\n\
         specification file named \"config.json\" and a root filesystem.\n\nVERSION:\n",
    );
    for line in super::version_text().lines() {
        out.push_str(&format!("   {line}\n"));
    }
    out.push_str("\nCOMMANDS:\n");
    for verb in &VERBS {
        out.push_str(&format!("   {:<10}  {}\n", verb.name, verb.about));
    }
    options_help(&mut global(), "GLOBAL OPTIONS", &mut out);
    out.push_str("  -h, --help                   show help, of the program or of a command\n");
    out.push_str("  -v, --version                print the version\n");
    out
}
