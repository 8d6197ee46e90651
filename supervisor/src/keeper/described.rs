//! The options of knarr-keeper in words, for its manual page. The keeper itself does not read this.
#![forbid(unsafe_code)]

/// Name, value (empty for a switch) and what it says.
pub const OPTIONS: [(&str, &str, &str); 16] = [
    ("run", "RUN", "Whose keeper it is, such as web.1.17"),
    ("dir", "DIR", "Its directory in the daemon's run directory: its socket, and what the runtime says"),
    ("exit", "FILE", "Where the exit record is written when the container has ended"),
    ("log", "DIR", "Where the container's output is written"),
    ("log-size", "BYTES", "Size of a log file at which the next one begins, 65536 at least"),
    ("log-files", "N", "How many log files are kept, with the current one"),
    ("log-min-free", "PERCENT", "Nothing is logged while less of the file system is free [default: 10]"),
    ("tty", "", "The container has a terminal instead of pipes"),
    ("stdin", "", "Standard input of the container is kept open"),
    ("journald", "", "Each line goes to journald, too"),
    ("sealed", "", "One more descriptor, the last, is the program to execute in the place of RUNTIME"),
    ("cgroup", "DIR", "The keeper's own cgroup, which it enters"),
    (
        "pass",
        "N",
        "So many descriptors wait at standard input for the container, which gets them from number 3 on",
    ),
    (
        "hold",
        "DIR",
        "Be no keeper: hold listening sockets that outlive their services, with a socket in this directory",
    ),
    ("version", "", "Prints the version, and that of the protocol"),
    ("", "RUNTIME ARGS...", "After `--`: the runtime's create command"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keeper::args::{USAGE, parse};

    #[test]
    fn these_are_the_options_and_no_others() {
        for (name, value, _) in OPTIONS.iter().filter(|o| !o.0.is_empty() && o.0 != "version") {
            let said = if value.is_empty() { format!("--{name}") } else { format!("--{name} {value}") };
            assert!(USAGE.contains(&said), "{said}");
            let args = [format!("--{name}"), "x".into()].into_iter().take(2 - usize::from(value.is_empty()));
            let wrong = parse(args.map(Into::into)).map(|_| String::new()).unwrap_or_else(|e| e);
            assert!(!wrong.contains("unknown argument"), "{wrong}");
        }
        assert_eq!(
            USAGE.matches("--").count() - USAGE.matches("-- ").count(),
            OPTIONS.len() - 2 + 1,
            "--cgroup is there twice"
        );
    }
}
