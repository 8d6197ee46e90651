//! Swap: what a service with some of it can do, and ends for memory when none was left. The swap of the whole machine is made and
//! taken away again, so only machines that have nothing else take part.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::sup;
use crate::case::Case;
use crate::daemon::Daemon;
use crate::host::{Need, find_program};

const NEEDS: [Need; 5] = [
    Need::OwnMachine,
    Need::CgroupV2Controller("memory"),
    Need::Program("mkswap"),
    Need::Program("swapon"),
    Need::Program("swapoff"),
];
/// Bytes of swap that the machine has during a case.
const SIZE: u64 = 16 << 20;

/// All of this subject.
pub fn cases() -> Vec<Case> {
    vec![
        sup("memory.swap-full", "who broke which limit").needs(NEEDS).seconds(40).daemon(|d| {
            let file = d.t.dir.join("swap");
            fs::write(&file, vec![0; SIZE as usize])?;
            set_mode(&file)?;
            let swap = Swap::on(&file, None)?;
            full(d).and(swap.off()).context("a swap file")
        }),
        sup("memory.zram-full", "who broke which limit").needs(NEEDS).needs([Need::Zram]).seconds(40).daemon(
            |d| {
                let device = Path::new("/sys/block/zram0");
                fs::write(device.join("disksize"), SIZE.to_string()).context("disksize")?;
                let swap = Swap::on(Path::new("/dev/zram0"), Some(device.join("reset")))?;
                full(d).and(swap.off()).context("zram")
            },
        ),
    ]
}

/// Swap that is there until it is taken away.
struct Swap {
    place: PathBuf,
    /// What gives a compressed device its memory back.
    reset: Option<PathBuf>,
    on: bool,
}

impl Swap {
    fn on(place: &Path, reset: Option<PathBuf>) -> Result<Swap> {
        let before = fs::read_to_string("/proc/swaps")?;
        ensure!(before.lines().count() < 2, "there is other swap: {before}");
        call("mkswap", place)?;
        // From here on whatever comes takes it away.
        let swap = Swap { place: place.to_owned(), reset, on: true };
        call("swapon", place)?;
        Ok(swap)
    }

    fn off(mut self) -> Result<()> {
        self.on = false;
        call("swapoff", &self.place)?;
        self.reset.take().map_or(Ok(()), |file| fs::write(file, "1").context("reset"))
    }
}

impl Drop for Swap {
    fn drop(&mut self) {
        if self.on {
            call("swapoff", &self.place).ok();
        }
    }
}

fn set_mode(file: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    Ok(fs::set_permissions(file, fs::Permissions::from_mode(0o600))?)
}

fn call(program: &str, place: &Path) -> Result<()> {
    let path = find_program(program).context(program.to_owned())?;
    let out = Command::new(path).arg(place).stdin(Stdio::null()).output().context(program.to_owned())?;
    ensure!(out.status.success(), "{program} {}: {}", place.display(), String::from_utf8_lossy(&out.stderr));
    Ok(())
}

/// Bytes of swap that a service uses.
fn swapped(d: &Daemon<'_, '_>, instance: &str) -> Result<u64> {
    Ok(super::config::kernel(d, instance, "memory", "", "memory.swap.current")?.parse()?)
}

/// What swap there is takes what does not fit, up to its limit or to its end, and the end says which of both it was.
fn full(d: &mut Daemon<'_, '_>) -> Result<()> {
    let no = "[restart]\npolicy = 'no'\n[pressure]\nrungs = []\n[stop]\ngrace = '0s'\n";
    let limits = |swap: &str| format!("[limits]\nmemory = '24MiB'\nswap = {swap}\n{no}");
    // The twin: with the swap that there is it goes on.
    d.service("modest", &["mem", "32", "hold"], &limits("'64MiB'"))?;
    d.says("modest.1", "32 MiB")?;
    ensure!(swapped(d, "modest.1")? > 4 << 20, "only {} bytes in swap", swapped(d, "modest.1")?);
    d.is("modest.1", "running")?;
    d.ctl(&["stop", "modest"])?.ok()?;
    says_of_swap(d, "greedy", &limits("'64MiB'"), "no swap was left", "its swap limit was hit")?;
    // Its own limit of swap, while the host has more.
    says_of_swap(d, "limited", &limits("'4148KiB'"), "its swap limit was hit", "no swap was left")?;
    // And none at all: nothing is said of swap.
    d.service("without", &["mem", "200", "hold"], &limits("0"))?;
    d.until("without.1", "failed")?;
    let why = d.why("without")?["summary"].to_string();
    ensure!(why.contains("the memory limit of 24 MiB was hit") && !why.contains("swap"), "{why}");
    Ok(())
}

/// The end of a service that takes more than there is names `what` of swap, and never `other`. The kernel counts what it tries
/// beyond the end of swap, and tries nothing when a round of 32 pages happens to end there: some tries, and a limit that is no
/// multiple of that.
fn says_of_swap(d: &mut Daemon<'_, '_>, name: &str, keys: &str, what: &str, other: &str) -> Result<()> {
    const TRIES: u32 = 5;
    let mut why = String::new();
    for n in 1..=TRIES {
        let name = format!("{name}{n}");
        d.service(&name, &["mem", "200", "hold"], keys)?;
        d.until(&format!("{name}.1"), "failed")?;
        why = d.why(&name)?["summary"].to_string();
        ensure!(why.contains("the memory limit of 24 MiB was hit"), "{why}");
        ensure!(!why.contains(other), "it was not that: {why}");
        if why.contains(what) {
            return Ok(());
        }
    }
    anyhow::bail!("{TRIES} times not a word of {what:?}: {why}")
}
