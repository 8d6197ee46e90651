//! The samples: what each one runs, what it may use, what lies in its root file system. Data only.

/// What the root file system is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// The workspace's own static program and links to it.
    Probe,
    /// Debian's static busybox and links to it.
    Busybox,
}

/// One sample bundle.
#[derive(Debug)]
pub struct Sample {
    /// Directory and host name.
    pub name: &'static str,
    /// One line for people.
    pub about: &'static str,
    /// What the root file system is made of.
    pub kind: Kind,
    /// The program and its arguments.
    pub args: &'static [&'static str],
    /// Wants a terminal.
    pub terminal: bool,
    /// Memory limit in MiB, swap included: the container gets no swap on top.
    pub memory_mib: i64,
    /// Most processes and threads at one time. The runtime's own threads count until the program is started.
    pub pids: i64,
    /// Most CPU time, in per cent of one CPU.
    pub cpu_percent: i64,
    /// Files beside the program: path in the root and text.
    pub files: &'static [(&'static str, &'static str)],
}

/// All of them, in the order a newcomer would try them.
pub const SAMPLES: &[Sample] = &[
    Sample {
        name: "hello",
        about: "says who and where it is, and ends",
        kind: Kind::Probe,
        args: &["/bin/hello"],
        terminal: false,
        memory_mib: 64,
        pids: 32,
        cpu_percent: 50,
        files: &[],
    },
    Sample {
        name: "shell",
        about: "an interactive shell of few words on a terminal",
        kind: Kind::Probe,
        args: &["/bin/sh"],
        terminal: true,
        memory_mib: 128,
        pids: 64,
        cpu_percent: 100,
        files: &[],
    },
    Sample {
        name: "web",
        about: "a static web server on port 8080 with a health endpoint at /health",
        kind: Kind::Probe,
        args: &["/bin/serve", "8080", "/srv"],
        terminal: false,
        memory_mib: 64,
        pids: 32,
        cpu_percent: 50,
        files: &[(
            "srv/index.html",
            "<!doctype html>\n<title>knarr</title>\n<p>A page from inside a container.\n",
        )],
    },
    Sample {
        name: "memory-hog",
        about: "takes memory, one MiB after another, until the limit ends it",
        kind: Kind::Probe,
        args: &["/bin/mem", "256", "hold"],
        terminal: false,
        memory_mib: 32,
        pids: 32,
        cpu_percent: 100,
        files: &[],
    },
    Sample {
        name: "crasher",
        about: "ends with status 3 after a moment",
        kind: Kind::Probe,
        args: &["/bin/crash", "exit", "3"],
        terminal: false,
        memory_mib: 64,
        pids: 32,
        cpu_percent: 50,
        files: &[],
    },
    Sample {
        name: "fork-bomb",
        about: "forks without end for three seconds; the limit on processes holds it",
        kind: Kind::Probe,
        args: &["/bin/forkbomb", "3000"],
        terminal: false,
        memory_mib: 64,
        pids: 32,
        cpu_percent: 20,
        files: &[],
    },
    Sample {
        name: "busybox",
        about: "a real shell on a terminal, from Debian's busybox-static",
        kind: Kind::Busybox,
        args: &["/bin/sh"],
        terminal: true,
        memory_mib: 128,
        pids: 64,
        cpu_percent: 100,
        files: &[],
    },
];
