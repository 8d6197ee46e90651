//! Exchanges at boundaries: a runtime is stopped at the entry of a system call that takes a path, something below the
//! container's root changes places with a hostile twin, and the runtime goes on. The hammer exchanges without stopping it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::exchange::Exchange;
use super::scene::{Scene, Twin};
use super::sweep;
use super::tracer::{Deed, Order, Scope, Seen};
use super::view::{self, Line};
use crate::oracle::{self, Before};
use crate::os;
use crate::trial::{Out, Trial};

/// What is swept.
#[derive(Clone, Copy, Debug)]
pub struct SwapPlan {
    pub scene: Scene,
    /// Also exchanges that nothing can notice before the next one that is done anyhow, see `Point`.
    pub every: bool,
    /// Which of how many equal parts, in the order of the calls, the first is 1: parts may be done side by side.
    pub part: (usize, usize),
    /// How many exchanges of them; all without.
    pub sample: Option<usize>,
    pub seed: u64,
    /// Tell how far it is, and each violation as it comes.
    pub told: bool,
}

/// One exchange.
#[derive(Clone, Copy, Debug)]
struct Swap {
    at: usize,
    component: &'static str,
    twin: Twin,
    back: bool,
}

/// How long a command may take.
const LIMIT: u64 = 20;

/// Everything that is the same for all exchanges of a sweep.
struct Stage {
    scene: Scene,
    before: Before,
    /// Names in the host's root directory.
    top: Vec<String>,
    /// What the program sees when nobody meddles.
    want: Vec<Line>,
    /// The calls at which an exchange can matter.
    points: Vec<Point>,
}

/// A call that takes a path.
struct Point {
    /// Its number among all calls of the command.
    at: usize,
    /// The names in its path.
    names: Vec<String>,
    /// It works on a descriptor, or on whatever a link of procfs leads to.
    anywhere: bool,
    /// It takes two paths, of which one is known.
    two: bool,
}

impl Point {
    fn new(at: usize, call: &str, path: Option<&str>) -> Point {
        const TWO: [&str; 6] = ["mount", "pivot_root", "renameat", "renameat2", "linkat", "symlinkat"];
        let path = path.unwrap_or("");
        let names = path.split('/').filter(|n| !n.is_empty()).map(String::from).collect();
        let anywhere = path.is_empty() || path.starts_with("/proc/") || path.contains("..");
        Point { at, names, anywhere, two: TWO.contains(&call) }
    }

    /// Whether the call may have to do with this component. An exchange for good at a call that has not is the same as one at the
    /// next call that has.
    fn meets(&self, component: &str) -> bool {
        self.anywhere || self.comes_by(component)
    }

    /// Whether it looks up this component. For the time of a call that does not an exchange is nothing.
    fn comes_by(&self, component: &str) -> bool {
        let last = component.rsplit('/').next().unwrap_or(component);
        self.two || self.names.iter().any(|n| n == last)
    }
}

fn order(t: &Trial<'_>, at: usize, deed: Deed) -> Order {
    let seconds = LIMIT * u64::from(t.yard.patience);
    Order { scope: Scope::Tree, at, deed, caller: false, seconds }
}

impl Stage {
    /// Sets the scene and looks at what happens in it undisturbed.
    fn set(t: &mut Trial<'_>, scene: Scene) -> Result<Stage> {
        scene.configure(t)?;
        scene.furnish(t)?;
        let (before, top) = (Before::note(t)?, oracle::names(Path::new("/")));
        let nothing = Exchange::new(t.dir.join("nothing"), t.dir.join("nothing"));
        let (seen, out) = scene.play(t, &order(t, usize::MAX, Deed::Look), nothing)?;
        let out = out.ok().context("undisturbed, but followed")?;
        let want = view::parse(&out.stdout);
        ensure!(
            scene == Scene::Naive || want.len() > 10,
            "the program tells of {} mounts: {}",
            want.len(),
            out.stdout
        );
        let stage = Stage { scene, before, top, want, points: points(t, scene, &seen) };
        ensure!(!stage.points.is_empty(), "no call takes a path below the root");
        stage.left(t).context("undisturbed")?;
        Ok(stage)
    }

    fn all(&self, every: bool) -> Vec<Swap> {
        let mut all = Vec::new();
        for (n, Point { at, .. }) in self.points.iter().enumerate() {
            let at = *at;
            // Calls of processes that run side by side are not in the same order each time: the one before counts, too.
            let here = &self.points[n..self.points.len().min(n + 2)];
            for &component in self.scene.components() {
                let [for_good, for_one] = if every {
                    [true, true]
                } else {
                    [here.iter().any(|p| p.meets(component)), here.iter().any(|p| p.comes_by(component))]
                };
                for twin in Twin::ALL {
                    let backs =
                        [(false, for_good), (true, for_one)].into_iter().filter(|(_, wanted)| *wanted);
                    all.extend(backs.map(|(back, _)| Swap { at, component, twin, back }));
                }
            }
        }
        all
    }

    /// Does it, and says whether it could be done and whether the command succeeded all the same.
    fn one(&self, t: &mut Trial<'_>, swap: Swap) -> Result<Done> {
        self.scene.furnish(t)?;
        let exchange = Exchange::new(t.rootfs().join(swap.component), swap.twin.make(t)?);
        let told = t.history.len();
        let (seen, out) = self.scene.play(t, &order(t, swap.at, Deed::Swap { back: swap.back }), exchange)?;
        let failed = out.code != Some(0);
        self.judge(t, swap.component, &out).with_context(|| format!("at {:?}", seen.done))?;
        t.history.truncate(told);
        Ok(Done { done: seen.done.is_some(), survived: !failed })
    }

    /// The container is as it should be or there is a clear error, and the host has not noticed.
    fn judge(&self, t: &mut Trial<'_>, component: &str, out: &Out) -> Result<()> {
        if self.scene == Scene::Naive {
            return self.left(t);
        }
        if out.code == Some(0) {
            let wrong = view::complaints(&self.want, &view::parse(&out.stdout), component, "/twins");
            // A program that cannot read its table of mounts has no /proc, which is what was exchanged.
            let blind = component == "proc" && view::parse(&out.stdout).is_empty();
            ensure!(wrong.is_empty() || blind, "{}", wrong.join("; "));
            ensure!(
                !out.stdout.lines().any(|l| l == "inner"),
                "a directory of the host is seen: {}",
                out.stdout
            );
        } else {
            sweep::explained(t, out)?;
        }
        self.left(t).with_context(|| format!("after exit {:?} ({})", out.code, out.stderr.trim()))
    }

    /// Nothing is, after one `delete --force`.
    fn left(&self, t: &mut Trial<'_>) -> Result<()> {
        if self.scene != Scene::Naive {
            t.remove()?;
        }
        let mut left = self.before.complaints(t);
        // Other work on this machine may make directories there, too; of other names.
        let ours = |name: &&String| {
            self.scene.components().iter().any(|c| c.split('/').any(|part| part == name.as_str()))
        };
        let top = oracle::names(Path::new("/"));
        left.extend(
            top.iter()
                .filter(ours)
                .filter(|n| !self.top.contains(n))
                .map(|n| format!("/{n} was made on the host")),
        );
        left.extend(oracle::traces(t));
        ensure!(left.is_empty(), "{}", left.join("; "));
        Ok(())
    }
}

/// What became of one exchange.
struct Done {
    done: bool,
    survived: bool,
}

/// The calls that take a path, from the first that names the container's root on; those that move a mount by descriptors, too.
fn points(t: &Trial<'_>, scene: Scene, seen: &Seen) -> Vec<Point> {
    let root = t.rootfs().display().to_string();
    let named = |path: &Option<String>| path.as_ref().is_some_and(|p| p.starts_with(&root));
    // `exec` never names it: it enters a container's own.
    let first = if scene == Scene::Exec { 0 } else { seen.paths.iter().position(named).unwrap_or(0) };
    let takes = |(call, path): (&String, &Option<String>)| {
        path.as_ref().is_some_and(|p| !p.is_empty()) || ["move_mount", "open_tree"].contains(&call.as_str())
    };
    (1..)
        .zip(seen.calls.iter().zip(&seen.paths))
        .skip(first)
        .filter(|(_, both)| takes(*both))
        .map(|(at, (call, path))| Point::new(at, call, path.as_deref()))
        .collect()
}

/// Does everything that the plan says.
pub fn swap(t: &mut Trial<'_>, plan: &SwapPlan) -> Result<sweep::Tally> {
    let stage = Stage::set(t, plan.scene)?;
    let mut all = stage.all(plan.every);
    let (part, parts) = plan.part;
    all = all[all.len() * (part - 1) / parts..all.len() * part / parts].to_vec();
    let some = match plan.sample {
        Some(count) => sweep::spread(&all, count, plan.seed),
        None => all,
    };
    let mut tally = sweep::Tally { boundaries: stage.points.len(), ..sweep::Tally::default() };
    for (number, swap) in some.iter().enumerate() {
        ensure!(!os::asked_to_end(), "asked to end");
        match stage.one(t, *swap) {
            Ok(done) => {
                tally.done += usize::from(done.done);
                if done.done && done.survived {
                    *tally.survived.entry(format!("{:?}", swap.twin)).or_default() += 1;
                }
            }
            Err(e) => {
                tally.done += 1;
                tally.violations.push(format!("{swap:?}: {e:#}"));
                if plan.told {
                    eprintln!("{}: {}", plan.scene.name(), tally.violations.last().map_or("", |v| v));
                }
                sweep::scrub(t, &stage.before)?;
                mend(t)?;
            }
        }
        t.forget_files()?;
        if plan.told && number % 500 == 499 {
            eprintln!("{}: {} of {}", plan.scene.name(), number + 1, some.len());
        }
    }
    Ok(tally)
}

/// Takes away what was made in the tripwire's directory.
fn mend(t: &Trial<'_>) -> Result<()> {
    let dir = t.dir.join("tripwire/dir");
    for name in oracle::names(&dir).into_iter().filter(|n| n != "inner") {
        let path = dir.join(name);
        if path.is_dir() { fs::remove_dir_all(path)? } else { fs::remove_file(path)? }
    }
    Ok(())
}

/// The control: a resolver that looks first and believes the path then is led to the host by an exchange at some boundary,
/// and only by that.
pub fn bites(t: &mut Trial<'_>) -> Result<()> {
    let stage = Stage::set(t, Scene::Naive)?;
    // A link that is there before is refused.
    stage.scene.furnish(t)?;
    let mut exchange = Exchange::new(t.rootfs().join("data/a"), Twin::LinkToHost.make(t)?);
    ensure!(exchange.take_place(), "the exchange is not possible");
    let nothing = Exchange::new(t.dir.join("nothing"), t.dir.join("nothing"));
    let (_, out) = stage.scene.play(t, &order(t, usize::MAX, Deed::Look), nothing)?;
    out.fails()?.says("is a symbolic link")?;
    stage.left(t).context("a link that was there before")?;
    let mut fallen = 0;
    for &Point { at, .. } in &stage.points {
        for (component, twin) in
            [("data/a", Twin::LinkToHost), ("data/a", Twin::LinkUp), ("data/f", Twin::Directory)]
        {
            for back in [false, true] {
                fallen += usize::from(stage.one(t, Swap { at, component, twin, back }).is_err());
                mend(t)?;
            }
        }
    }
    let count = stage.points.len() * 6;
    ensure!(fallen >= 6, "the exchange leads it astray {fallen} times of {count}");
    ensure!(fallen < count, "every exchange leads it astray: the oracle does not tell them apart");
    stage.left(t).context("after the control")
}

/// Creates so many containers while something exchanges one component all the time; gives the exchanges.
pub fn hammer(t: &mut Trial<'_>, scene: Scene, component: &str, seed: usize, times: usize) -> Result<u64> {
    let stage = Stage::set(t, scene)?;
    let twin = Twin::ALL[seed % Twin::ALL.len()];
    stage.scene.furnish(t)?;
    hammering(t, component, twin, |t| {
        for _ in 0..times {
            let nothing = Exchange::new(t.dir.join("nothing"), t.dir.join("nothing"));
            // The deed is none and comes after no call: nothing is stopped.
            let (_, out) = stage.scene.play(t, &order(t, 0, Deed::Swap { back: false }), nothing)?;
            let told = t.history.len();
            stage.judge(t, component, &out).with_context(|| format!("{component} and {twin:?}"))?;
            t.history.truncate(told.saturating_sub(1));
        }
        Ok(())
    })
}

/// The control of the hammer: it leads the naive resolver astray, in the end.
pub fn hammered(t: &mut Trial<'_>) -> Result<()> {
    let stage = Stage::set(t, Scene::Naive)?;
    let mut fallen = 0;
    hammering(t, "data/a", Twin::LinkToHost, |t| {
        for _ in 0..3000 {
            let nothing = Exchange::new(t.dir.join("nothing"), t.dir.join("nothing"));
            stage.scene.play(t, &order(t, 0, Deed::Swap { back: false }), nothing)?;
            if oracle::names(&t.dir.join("tripwire/dir")).len() > 1 {
                fallen += 1;
                mend(t)?;
                return Ok(());
            }
            let _ = fs::remove_dir_all(t.rootfs().join("data/a/b"));
            t.history.truncate(4);
        }
        Ok(())
    })?;
    ensure!(fallen > 0, "the hammer never hits");
    stage.left(t)
}

/// Does something while a helper exchanges; gives how often it did.
fn hammering(
    t: &mut Trial<'_>,
    component: &str,
    twin: Twin,
    work: impl FnOnce(&mut Trial<'_>) -> Result<()>,
) -> Result<u64> {
    let (place, twin) = (t.rootfs().join(component), twin.make(t)?);
    let me = std::env::current_exe().context("own path")?;
    let words = ["hammer".to_string(), place.display().to_string(), twin.display().to_string()];
    let helper = t.command(&me, &words).adjust(os::dies_with_us).spawn()?;
    let done = work(t);
    os::kill(helper.pid() as i32, libc::SIGTERM);
    let out = helper.wait()?.ok()?;
    done?;
    let count: u64 = out.stdout.trim().parse().context("what the hammer counted")?;
    ensure!(count > 100, "the hammer has exchanged {count} times only");
    Ok(count)
}

/// The helper: exchanges until it is asked to end, and says how often.
pub fn hammer_on(place: &Path, twin: &Path) -> Result<()> {
    os::end_on_request()?;
    let mut exchange = Exchange::new(place.to_path_buf(), twin.to_path_buf());
    let mut count = 0u64;
    while !os::asked_to_end() {
        count += u64::from(exchange.take_place());
        // Where there is nothing yet, the twin comes and goes.
        exchange.leave_again();
    }
    println!("{count}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_meets_what_its_path_names() {
        let point = |call, path| Point::new(1, call, path);
        assert!(point("openat", Some("data/a/b")).meets("data/a"));
        assert!(point("openat", Some("a")).meets("data/a"));
        assert!(!point("openat", Some("data/b")).meets("data/a"));
        assert!(!point("openat", Some("data/ab")).meets("data/a"));
        // What is not known, may be: for good; but a descriptor is no name.
        for (call, path) in [("statx", Some("")), ("move_mount", None), ("openat", Some("/proc/self/fd/3"))] {
            assert!(point(call, path).meets("data/a"), "{call} {path:?}");
            assert!(!point(call, path).comes_by("data/a"), "{call} {path:?}");
        }
        assert!(point("openat", Some("/proc/self/fd/3")).comes_by("proc"));
        assert!(point("linkat", Some("x")).comes_by("data/a"));
    }
}
