//! Push probes: the notify socket of a run (sd_notify(3)), what is said on it, and who said it. The socket's directory is
//! bound into the container, so that a daemon that comes later can put a new socket there.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::Interest;
use tokio::net::UnixDatagram;

use super::net::is_in_group_of;
use crate::clock::Boot;
use crate::dirs::Dirs;
use crate::names::RunId;
use crate::sys;

/// Where [`directory`] is bound in the container, read-only.
pub const INSIDE_DIR: &str = "/run/knarr-notify";
/// What the container finds in `NOTIFY_SOCKET`.
pub const INSIDE: &str = "/run/knarr-notify/socket";
/// The socket in its directory.
const NAME: &str = "socket";
/// The longest message: `PIPE_BUF`, as with systemd.
const MESSAGE_MAX: usize = 4096;
/// Most characters of a status.
const STATUS_MAX: usize = 1000;
/// Most names of ignored fields that are told of one message, and most characters of one.
const IGNORED_MAX: usize = 8;
const FIELD_MAX: usize = 40;

/// The directory of a run's socket, below one that only the daemon's user can enter. What is bound has to be there before the
/// container: [`Socket::bind`] makes it.
pub fn directory(dirs: &Dirs, run: &RunId) -> PathBuf {
    dirs.run.join("notify").join(run.to_string())
}

/// Takes a run's socket and directory away; what is not there is gone.
///
/// # Errors
/// Those of unlink(2) and rmdir(2).
pub fn remove(dirs: &Dirs, run: &RunId) -> io::Result<()> {
    let said = said_file(dirs, run);
    gone(std::fs::remove_file(aside(&said)))?;
    gone(std::fs::remove_file(said))?;
    gone(std::fs::remove_dir_all(directory(dirs, run)))
}

/// What a run has said that a daemon which comes later cannot ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// `STATUS=`, the last one.
    pub status: Option<String>,
    /// It asked for time until then (`EXTEND_TIMEOUT_USEC=`).
    pub extended: Option<Boot>,
}

/// Beside the directory, which the container sees; gone with the boot, as the run is.
fn said_file(dirs: &Dirs, run: &RunId) -> PathBuf {
    directory(dirs, run).with_extension(format!("{}.said", run.run))
}

/// What a run has said to an earlier daemon; nothing, when that cannot be read.
pub fn said(dirs: &Dirs, run: &RunId) -> Said {
    let bytes = std::fs::read(said_file(dirs, run)).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

/// Keeps that for the next daemon. No sync: it is not to outlive the boot.
///
/// # Errors
/// Those of open(2), write(2) and rename(2).
pub fn keep_said(dirs: &Dirs, run: &RunId, said: &Said) -> io::Result<()> {
    let (file, bytes) = (said_file(dirs, run), serde_json::to_vec(said)?);
    let aside = aside(&file);
    std::fs::write(&aside, bytes)?;
    std::fs::rename(&aside, &file)
}

fn aside(file: &Path) -> PathBuf {
    file.with_extension("said-new")
}

fn gone(r: io::Result<()>) -> io::Result<()> {
    r.or_else(|e| if e.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(e) })
}

/// The notify socket of one run.
#[derive(Debug)]
pub struct Socket {
    socket: UnixDatagram,
    run: RunId,
}

impl Socket {
    /// Makes directory and socket, in place of those of an earlier daemon. Any user of the container may write to it.
    ///
    /// # Errors
    /// Those of mkdir(2) and bind(2).
    pub fn bind(dirs: &Dirs, run: &RunId) -> io::Result<Socket> {
        let dir = directory(dirs, run);
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir.parent().unwrap_or(&dir))?;
        match std::fs::DirBuilder::new().mode(0o755).create(&dir) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
            _ => {}
        }
        // Whatever the umask is.
        std::fs::set_permissions(&dir, PermissionsExt::from_mode(0o755))?;
        Socket::bind_in(&dir, run)
    }

    /// One that was made before, and held by somebody meanwhile.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn of(socket: OwnedFd, run: &RunId) -> io::Result<Socket> {
        Ok(Socket { socket: UnixDatagram::from_std(socket.into())?, run: run.clone() })
    }

    /// The same socket once more, to be held by somebody else.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn copy(&self) -> io::Result<OwnedFd> {
        self.socket.as_fd().try_clone_to_owned()
    }

    fn bind_in(dir: &Path, run: &RunId) -> io::Result<Socket> {
        let path = dir.join(NAME);
        gone(std::fs::remove_file(&path))?;
        let socket = sys::probe::bind_datagram(&sys::keeper::open_dir(dir)?, NAME)?;
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o666))?;
        sys::probe::want_senders(&socket)?;
        Socket::of(socket, run)
    }

    /// The next message of a process of the run. What others say is dropped, and so is what is longer than 4096 bytes. May be
    /// cancelled at any time.
    ///
    /// # Errors
    /// Those of recvmsg(2).
    pub async fn next(&self) -> io::Result<Message> {
        let mut bytes = [0; MESSAGE_MAX];
        loop {
            self.socket.readable().await?;
            match self.socket.try_io(Interest::READABLE, || sys::probe::receive(&self.socket, &mut bytes)) {
                Ok(got) if !got.cut && got.pid.is_some_and(|pid| is_process_of(pid, &self.run)) => {
                    return Ok(Message::parse(bytes.get(..got.len).unwrap_or_default()));
                }
                // Somebody may send without an end.
                Ok(_) => tokio::task::yield_now().await,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Err(e),
            }
        }
    }
}

/// Whether a process is in the run's cgroups. Of one that has ended, as a program that only tells something has a moment later,
/// nobody can say where it was: it is believed, because below the directory that only the daemon's user can enter nobody but
/// the run reaches the socket.
fn is_process_of(pid: u32, run: &RunId) -> bool {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).ok();
    let Some(groups) = read("cgroup") else { return true };
    // A zombie has left its v1 cgroups.
    is_in_group_of(&groups, run) || read("stat").is_none_or(|stat| has_ended(&stat))
}

/// State and flags in /proc/PID/stat, after a name that may contain anything (proc_pid_stat(5)). One that is on its way out
/// leaves its groups before it is a zombie.
fn has_ended(stat: &str) -> bool {
    /// `PF_EXITING` of linux/sched.h.
    const EXITING: u32 = 0x4;
    let Some((_, rest)) = stat.rsplit_once(") ") else { return false };
    let flags = rest.split(' ').nth(6).and_then(|f| f.parse::<u32>().ok());
    rest.starts_with(['Z', 'X']) || flags.is_some_and(|f| f & EXITING != 0)
}

/// What one message says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// `READY=1`.
    pub ready: bool,
    /// `STOPPING=1`.
    pub stopping: bool,
    /// `WATCHDOG=1` or `WATCHDOG=trigger`.
    pub watchdog: Option<Watchdog>,
    /// `STATUS=`: one line without control characters, at most 1000 of others.
    pub status: Option<String>,
    /// `EXTEND_TIMEOUT_USEC=`.
    pub extend: Option<Duration>,
    /// Names of fields that have no effect here, such as MAINPID; at most 8.
    pub ignored: Vec<String>,
}

/// What a container says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watchdog {
    /// It is well.
    Alive,
    /// It is not.
    Trigger,
}

impl Message {
    /// Reads any bytes. Of a field that comes twice the last one counts; a line that is no field is left out.
    pub fn parse(bytes: &[u8]) -> Message {
        let mut message = Message::default();
        for line in String::from_utf8_lossy(bytes).split('\n') {
            if let Some((name, value)) = line.split_once('=') {
                message.take(name, value);
            }
        }
        message
    }

    fn take(&mut self, name: &str, value: &str) {
        match (name, value) {
            ("READY", "1") => self.ready = true,
            ("STOPPING", "1") => self.stopping = true,
            ("WATCHDOG", "1") => self.watchdog = Some(Watchdog::Alive),
            ("WATCHDOG", "trigger") => self.watchdog = Some(Watchdog::Trigger),
            ("STATUS", text) => {
                self.status = Some(text.chars().filter(|c| !c.is_control()).take(STATUS_MAX).collect());
            }
            ("EXTEND_TIMEOUT_USEC", text) if text.parse::<u64>().is_ok() => {
                self.extend = text.parse().ok().map(Duration::from_micros);
            }
            (other, _) if is_name(other) && self.ignored.len() < IGNORED_MAX => {
                self.ignored.push(other.to_owned())
            }
            _ => {}
        }
    }
}

fn is_name(name: &str) -> bool {
    let good = |c: u8| c.is_ascii_uppercase() || c.is_ascii_digit() || c == b'_';
    (1..=FIELD_MAX).contains(&name.len()) && name.bytes().all(good)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn messages() {
        let read = Message::parse(
            b"READY=1\nSTATUS=up \x1b[1mand\trunning\nEXTEND_TIMEOUT_USEC=1500\nMAINPID=7\nx\n",
        );
        let want = Message {
            ready: true,
            status: Some("up [1mandrunning".into()),
            extend: Some(Duration::from_micros(1500)),
            ignored: vec!["MAINPID".into()],
            ..Message::default()
        };
        assert_eq!(read, want);
        assert_eq!(Message::parse(b"WATCHDOG=1").watchdog, Some(Watchdog::Alive));
        assert_eq!(Message::parse(b"WATCHDOG=1\nWATCHDOG=trigger\n").watchdog, Some(Watchdog::Trigger));
        assert!(Message::parse(b"STOPPING=1\0").ignored == ["STOPPING"]);
        assert_eq!(
            Message::parse(b"EXTEND_TIMEOUT_USEC=-1\nREADY=yes").ignored,
            ["EXTEND_TIMEOUT_USEC", "READY"]
        );
        let none = [&b""[..], b"=", b"\n\n", b"ready=1", b"READY", b"\xff=1", b"A B=1"];
        assert!(none.iter().all(|m| Message::parse(m) == Message::default()));
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_bounded_message(bytes in proptest::collection::vec(any::<u8>(), 0..5000)) {
            let read = Message::parse(&bytes);
            prop_assert!(read.ignored.len() <= IGNORED_MAX);
            prop_assert!(read.status.is_none_or(|s| s.chars().count() <= STATUS_MAX));
        }

        #[test]
        fn fields_in_any_order(names in proptest::collection::vec("(READY|WATCHDOG|STATUS|STOPPING|[A-Z_]{1,45})=.{0,3}\n", 0..20)) {
            let read = Message::parse(names.concat().as_bytes());
            prop_assert_eq!(read.ready, names.iter().any(|n| n == "READY=1\n"));
        }
    }

    #[test]
    fn zombies_have_ended() {
        for (stat, ended) in [
            ("7 (a) Z) S 1 7", false),
            ("7 (sh) Z 1 7", true),
            ("7 (sh) R 1 7", false),
            ("", false),
            ("7 (sh) R 1 7 7 0 -1 4194308 0", true),
            ("7 (sh) R 1 7 7 0 -1 4194304 0", false),
        ] {
            assert_eq!(has_ended(stat), ended, "{stat}");
        }
    }

    #[tokio::test]
    async fn only_the_run_is_heard() {
        let dir = tempfile::tempdir().unwrap();
        // Longer than an address may be.
        let dirs = Dirs { run: dir.path().join("r".repeat(100)), ..Dirs::default() };
        std::fs::create_dir(&dirs.run).unwrap();
        let run: RunId = "web.1.1".parse().unwrap();
        drop(Socket::bind(&dirs, &run).unwrap());
        let socket = Socket::bind(&dirs, &run).unwrap();
        let place = directory(&dirs, &run);
        let mode = |p: &Path| std::fs::metadata(p).unwrap().permissions().mode() & 0o777;
        let modes = (mode(place.parent().unwrap()), mode(&place), mode(&place.join(NAME)));
        assert_eq!(modes, (0o700, 0o755, 0o666));
        let link = dir.path().join("l");
        std::os::unix::fs::symlink(place.join(NAME), &link).unwrap();
        // This process is in no group of that name.
        std::os::unix::net::UnixDatagram::unbound().unwrap().send_to(b"READY=1", &link).unwrap();
        let heard = tokio::time::timeout(Duration::from_millis(200), socket.next()).await;
        assert!(heard.is_err(), "{heard:?}");
        if let Some(group) = Group::new(&run) {
            let mut sender = send(&group, &link, "STATUS=inside");
            let heard = tokio::time::timeout(Duration::from_secs(20), socket.next()).await;
            sender.kill().unwrap();
            sender.wait().unwrap();
            assert_eq!(heard.unwrap().unwrap().status.as_deref(), Some("inside"));
        }
        remove(&dirs, &run).unwrap();
        remove(&dirs, &run).unwrap();
        assert!(!place.exists());
    }

    /// A control group with the name of a run.
    struct Group(PathBuf);

    impl Group {
        fn new(run: &RunId) -> Option<Group> {
            let trees = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup", "/sys/fs/cgroup/pids"].map(Path::new);
            let tree = trees.into_iter().find(|t| t.join("cgroup.procs").exists())?;
            let group = tree.join(format!("knarr-test-push-{}", std::process::id())).join(run.to_string());
            match std::fs::create_dir_all(&group) {
                Ok(()) => Some(Group(group)),
                Err(e) => {
                    eprintln!("skipped: {}: {e}", group.display());
                    None
                }
            }
        }
    }

    impl Drop for Group {
        fn drop(&mut self) {
            // A process that was reaped a moment ago is still in it.
            for dir in self.0.ancestors().take(2) {
                let until = std::time::Instant::now() + Duration::from_secs(5);
                while std::fs::remove_dir(dir).is_err() && std::time::Instant::now() < until {
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        }
    }

    /// This program again, which does `sender` below.
    fn send(group: &Group, socket: &Path, words: &str) -> std::process::Child {
        std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "probe::push::tests::sender", "--ignored"])
            .env("KNARR_TEST_SEND", words)
            .env("KNARR_TEST_SOCKET", socket)
            .env("KNARR_TEST_GROUP", group.0.join("cgroup.procs"))
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap()
    }

    #[test]
    #[ignore = "a part of only_the_run_is_heard, which starts it"]
    fn sender() {
        let of = |name: &str| std::env::var(name).ok();
        let (Some(words), Some(socket), Some(group)) =
            (of("KNARR_TEST_SEND"), of("KNARR_TEST_SOCKET"), of("KNARR_TEST_GROUP"))
        else {
            return;
        };
        std::fs::write(group, std::process::id().to_string()).unwrap();
        std::os::unix::net::UnixDatagram::unbound().unwrap().send_to(words.as_bytes(), socket).unwrap();
        std::thread::sleep(Duration::from_secs(30));
    }
}
