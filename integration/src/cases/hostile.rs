//! A state root that is not as it was left, streams and file systems that are full, a bus that never answers, and many
//! callers at once on one container.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use nix::mount::MsFlags;
use rustix::fs::{CWD, FileType, mknodat};
use rustix::process::Resource;
use serde_json::json;

use crate::base::PROBE;
use crate::case::{Case, case};
use crate::host::Need;
use crate::oracle;
use crate::os;
use crate::soak::Dice;
use crate::trial::{Trial, USER, wait_for};

/// All of this subject.
pub fn cases() -> Vec<Case> {
    let mut all = roots();
    all.extend(records());
    all.extend(full());
    all.extend(many());
    all.extend(bus());
    all
}

/// State roots that somebody else may write to, or that are none.
fn roots() -> Vec<Case> {
    let root = |name: &str, text: &'static str, spoil: fn(&Trial<'_>) -> Result<()>| {
        case(format!("fault.state-root-{name}")).checks("catalogue B102").steps(move |t| {
            t.works()?;
            let state = t.state_root();
            fs::remove_dir(&state)?;
            spoil(t)?;
            for args in [&["create", "--bundle", "b"][..], &["delete", "--force"], &["state"]] {
                let mut all: Vec<String> = args.iter().map(|a| a.to_string()).collect();
                if args[0] == "create" {
                    all[2] = t.bundle.display().to_string();
                }
                all.push(t.id.clone());
                let out = t.rt(&all).run()?;
                // Deleting what cannot be there may succeed.
                if args[0] != "delete" {
                    out.fails()?.says(text)?;
                }
            }
            let away = t.dir.join("elsewhere");
            ensure!(oracle::names(&away).is_empty(), "something was made in {}", away.display());
            if state.is_dir() && !state.is_symlink() {
                fs::remove_dir(&state)?
            } else {
                fs::remove_file(&state)?
            }
            Ok(())
        })
    };
    vec![
        root("is-a-file", "ot a directory", |t| Ok(fs::write(t.state_root(), "")?)),
        root("is-a-link", "state", |t| {
            t.host_dir("elsewhere")?;
            Ok(symlink(t.dir.join("elsewhere"), t.state_root())?)
        }),
        root("open-to-all", "state", |t| {
            fs::create_dir(t.state_root())?;
            Ok(fs::set_permissions(t.state_root(), fs::Permissions::from_mode(0o777))?)
        }),
        root("of-somebody-else", "state", |t| {
            fs::create_dir(t.state_root())?;
            Ok(chown(t.state_root(), Some(USER), Some(USER))?)
        }),
    ]
}

/// What is found in the place of the record.
fn records() -> Vec<Case> {
    let record = |name: &str, spoil: fn(&Trial<'_>, &Path) -> Result<()>| {
        case(format!("fault.record-{name}")).checks("catalogue B104: a record that is not ours").steps(
            move |t| {
                let pid = t.resident()?;
                let file = super::faults::record(t)?;
                let kept = t.dir.join("kept");
                fs::rename(&file, &kept)?;
                spoil(t, &file)?;
                t.verb("state", &[])?.fails()?;
                t.verb("kill", &["KILL"])?.fails()?;
                ensure!(
                    Path::new(&format!("/proc/{pid}")).exists(),
                    "process {pid} was killed by a record that is not ours"
                );
                let list = t.rt(&["list", "--format", "json"]).run()?;
                ensure!(list.code.is_some(), "list hangs");
                t.remove()?;
                wait_for(t.seconds(), || Ok((!Path::new(&format!("/proc/{pid}")).exists()).then_some(())))
                    .context("the program lives")?;
                ensure!(oracle::names(&t.state_root()).is_empty(), "the record is left");
                ensure!(kept.metadata()?.len() > 100, "the file that a link led to was changed");
                Ok(())
            },
        )
    };
    vec![
        record("is-a-link", |t, file| Ok(symlink(t.dir.join("kept"), file)?)),
        record("has-two-names", |t, file| Ok(fs::hard_link(t.dir.join("kept"), file)?)),
        record("is-a-fifo", |_, file| Ok(mknodat(CWD, file, FileType::Fifo, 0o600.into(), 0)?)),
        record("is-a-directory", |_, file| Ok(fs::create_dir(file)?)),
        record("is-noise", |_, file| Ok(fs::write(file, [0u8, 255, 10, 34, 123].repeat(500))?)),
        record("of-somebody-else", |t, file| {
            fs::copy(t.dir.join("kept"), file)?;
            Ok(chown(file, Some(USER), Some(USER))?)
        }),
        case("fault.record-of-another").checks("catalogue B104: a record that is not ours").steps(|t| {
            t.resident()?;
            let twin = t.twin("-other", |s| s["process"]["args"] = json!([PROBE, "trap", "TERM"]))?;
            t.rt(&["run", "--detach", "--bundle", &twin.bundle, &twin.id]).run()?.ok()?;
            let file = super::faults::record(t)?;
            let name = file.file_name().context("name")?.to_owned();
            fs::copy(t.state_root().join(&twin.id).join(name), &file)?;
            t.verb("kill", &["KILL"])?.fails()?;
            t.remove()?;
            let other = t.rt(&["state", &twin.id]).run()?.ok()?.json()?;
            ensure!(other["status"] == "running", "the other container is {}", other["status"]);
            t.rt(&["delete", "--force", &twin.id]).run()?.ok().map(drop)
        }),
    ]
}

/// The state root as a small file system of its own.
fn small(t: &mut Trial<'_>, flags: MsFlags) -> Result<()> {
    let state = t.host_dir("state")?;
    let none: Option<&str> = None;
    nix::mount::mount(none, &state, Some("tmpfs"), flags, Some("size=64k,mode=700"))
        .context("mount a tmpfs")?;
    t.mounted.push(state);
    Ok(())
}

/// Fills the state root's file system up; gives the file to remove.
fn fill(t: &Trial<'_>) -> Result<()> {
    use std::io::Write;
    let mut file = fs::File::create(t.state_root().join(".filler"))?;
    while file.write_all(&[0; 4096]).is_ok() {}
    Ok(())
}

fn full() -> Vec<Case> {
    let mut all: Vec<Case> = vec![
        case("fault.state-full-at-create").checks("fault K06").steps(|t| {
            small(t, MsFlags::empty())?;
            t.works()?;
            fill(t)?;
            let out = t.try_create()?.fails()?;
            if t.runtime.strict {
                out.says("no space left")?;
            }
            ensure!(oracle::names(&t.state_root()) == [".filler"], "{:?}", oracle::names(&t.state_root()));
            fs::remove_file(t.state_root().join(".filler"))?;
            Ok(())
        }),
        case("fault.state-full-at-delete").checks("fault K06: going away needs no room").steps(|t| {
            small(t, MsFlags::empty())?;
            let pid = t.resident()?;
            fill(t)?;
            t.is("running")?;
            t.verb("kill", &["KILL"])?.ok()?;
            t.ended(pid)?;
            t.verb("delete", &[])?.ok()?;
            ensure!(oracle::names(&t.state_root()) == [".filler"], "{:?}", oracle::names(&t.state_root()));
            fs::remove_file(t.state_root().join(".filler"))?;
            Ok(())
        }),
        case("fault.state-read-only").checks("fault K07").steps(|t| {
            small(t, MsFlags::empty())?;
            t.works()?;
            let none: Option<&str> = None;
            let flags = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
            nix::mount::mount(none, &t.state_root(), none, flags, none).context("remount")?;
            t.try_create()?.fails()?.says("ead-only file system").map(drop)
        }),
        case("fault.stdout-full").checks("catalogue B116").steps(|t| {
            t.resident()?;
            let id = t.id.clone();
            for args in [&["state", &id][..], &["list"], &["ps", &id], &["features"], &["--version"]] {
                t.rt(args).run()?.ok().context("the control")?;
                let full = fs::OpenOptions::new().write(true).open("/dev/full")?;
                // On the numbers themselves: what the harness gives are files.
                t.rt(args).fds(vec![(full.into(), 1)]).run()?.fails().with_context(|| args.join(" "))?;
            }
            t.is("running")
        }),
        case("fault.run-with-closed-streams").checks("catalogue B116").probe(["true"]).steps(|t| {
            t.write_config()?;
            let (bundle, id) = (t.bundle.display().to_string(), t.id.clone());
            let full =
                || Ok::<_, anyhow::Error>(fs::OpenOptions::new().write(true).open("/dev/full")?.into());
            let args = ["run", "--bundle", &bundle, &id];
            t.rt(&args).fds(vec![(full()?, 1), (full()?, 2)]).run()?.ok()?;
            t.spec["process"]["args"] = json!(["/no-such-program"]);
            t.write_config()?;
            t.rt(&args).fds(vec![(full()?, 1), (full()?, 2)]).run()?.fails().map(drop)
        }),
        case("fault.delete-frozen").checks("fault K16").needs([Need::CgroupAny("freezer")]).steps(|t| {
            let pid = t.resident()?;
            let group = t.cgroup("freezer")?;
            let (file, word) = if group.v2 { ("cgroup.freeze", "1") } else { ("freezer.state", "FROZEN") };
            fs::write(group.dir.join(file), word)?;
            t.is("paused").context("the control")?;
            t.remove()?;
            t.ended(pid).map(drop)
        }),
    ];
    // What a command needs, and below that a clear error: never half a thing.
    all.extend([4u64, 5, 8, 12, 16, 24].into_iter().map(|n| {
        case(format!("life.exec-nofile-{n}")).checks("fault K08").steps(move |t| {
            let pid = t.resident()?;
            let id = t.id.clone();
            let args = ["exec", &id, PROBE, "true"];
            let out = t.rt(&args).adjust(|c| os::with_limit(c, Resource::Nofile, n)).run()?;
            if out.code != Some(0) {
                out.fails()?;
            }
            let all = t.ps()?;
            ensure!(all == json!([pid]), "processes: {all}, want only {pid}");
            let gone =
                t.rt(&["delete", "--force", &id]).adjust(|c| os::with_limit(c, Resource::Nofile, n)).run()?;
            if gone.code != Some(0) {
                gone.fails()?;
            }
            t.remove().map(drop)
        })
    }));
    all
}

/// Verbs of a storm, with what comes after the id.
const STORM: [(&[&str], &[&str]); 9] = [
    (&["create"], &[]),
    (&["start"], &[]),
    (&["exec"], &[PROBE, "true"]),
    (&["kill"], &["KILL"]),
    (&["kill"], &["TERM"]),
    (&["delete"], &[]),
    (&["delete", "--force"], &[]),
    (&["pause"], &[]),
    (&["resume"], &[]),
];

fn storm(t: &mut Trial<'_>, rounds: usize, seed: u64) -> Result<()> {
    t.spec["process"]["args"] = json!([PROBE, "trap", "TERM"]);
    t.write_config()?;
    let mut dice = Dice::new(seed);
    let (bundle, id) = (t.bundle.display().to_string(), t.id.clone());
    let mut won = 0;
    for _ in 0..rounds {
        let mut commands = Vec::new();
        for n in 0..10 {
            // Somebody always makes it, or there is nothing to fight for.
            let roll = if n < 2 { n } else { dice.roll(STORM.len() as u64) };
            let (verb, rest) = STORM[roll as usize];
            let mut args: Vec<&str> = verb.to_vec();
            if verb == ["create"] {
                args.extend(["--bundle", &bundle]);
            }
            args.push(&id);
            args.extend(rest);
            commands.push((matches!(verb, ["exec"] | ["start"]), t.rt(&args).spawn()?));
        }
        // Who is in the container waits for as long as somebody has it paused: those come last, after it goes on.
        let (inside, others): (Vec<_>, Vec<_>) = commands.into_iter().partition(|(waits, _)| *waits);
        let mut done = Vec::new();
        for (_, command) in others {
            done.push(command.wait()?);
        }
        if !inside.is_empty() {
            t.rt(&["resume", &id]).run()?;
        }
        for (_, command) in inside {
            done.push(command.wait()?);
        }
        for out in done {
            ensure!(out.code.is_some(), "`{}` hangs", out.line);
            match out.code {
                Some(0) => won += 1,
                // A program that another command kills, or that was killed in its namespace.
                Some(137 | 143) if out.line.contains(" exec ") => {}
                _ => drop(out.fails()?),
            }
        }
    }
    ensure!(won > rounds, "only {won} commands of {rounds} rounds succeeded");
    t.remove().map(drop)
}

fn many() -> Vec<Case> {
    vec![
        case("life.create-race").checks("fault K12").steps(|t| {
            t.spec["process"]["args"] = json!([PROBE, "trap", "TERM"]);
            t.write_config()?;
            let (bundle, id) = (t.bundle.display().to_string(), t.id.clone());
            let all = (0..12).map(|_| t.rt(&["create", "--bundle", &bundle, &id]).spawn());
            let mut won = 0;
            for command in all.collect::<Result<Vec<_>>>()? {
                let out = command.wait()?;
                match out.code {
                    Some(0) => won += 1,
                    _ => drop(out.fails()?.says("exist")?),
                }
            }
            ensure!(won == 1, "{won} of 12 have made the container");
            t.is("created")?;
            t.remove().map(drop)
        }),
        case("life.storm").checks("fault K13").seconds(40).steps(|t| {
            let twin = t.twin("-calm", |s| s["process"]["args"] = json!([PROBE, "trap", "TERM"]))?;
            t.rt(&["run", "--detach", "--bundle", &twin.bundle, &twin.id]).run()?.ok()?;
            storm(t, 12, 5)?;
            let calm = t.rt(&["state", &twin.id]).run()?.ok()?.json()?;
            ensure!(calm["status"] == "running", "the container beside is {}", calm["status"]);
            t.rt(&["delete", "--force", &twin.id]).run()?.ok().map(drop)
        }),
    ]
}

/// A bus that takes the connection and then says nothing.
fn bus() -> Vec<Case> {
    vec![case("fault.bus-silent").checks("fault K20").seconds(60).steps(|t| {
        t.works()?;
        let path = t.dir.join("bus");
        let listener = UnixListener::bind(&path)?;
        t.global = vec!["--systemd-cgroup".into()];
        t.spec["linux"]["cgroupsPath"] = format!("system.slice:knarr:{}", t.id).into();
        t.write_config()?;
        let (bundle, id) = (t.bundle.display().to_string(), t.id.clone());
        let address = format!("unix:path={}", path.display());
        let create = ["create", "--bundle", &bundle, &id];
        let out = t.rt(&create).env("DBUS_SYSTEM_BUS_ADDRESS", &address).run()?.fails()?;
        if t.runtime.strict {
            out.says("bus")?.says("30s")?;
        }
        ensure!(oracle::names(&t.state_root()).is_empty(), "state is left");
        // The control: nobody listens, which is known at once.
        drop(listener);
        let begun = std::time::Instant::now();
        t.rt(&create).env("DBUS_SYSTEM_BUS_ADDRESS", &address).run()?.fails()?;
        ensure!(begun.elapsed().as_secs() < 15, "a bus that is not there takes {:?}", begun.elapsed());
        Ok(())
    })]
}
