//! Real engines on top of the runtime: Podman, Docker with a daemon of its own, containerd with `ctr`.
//! Each runs below the trial's directory in its own mount and network namespace, without any network.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use nix::sched::CloneFlags;

use crate::case::{Case, case};
use crate::host::Need;
use crate::oracle;
use crate::os;
use crate::trial::{Trial, wait_for};

const PRELUDE: &str = include_str!("engines/prelude.sh");
const PODMAN: &str = include_str!("engines/podman.sh");
const DOCKER: &str = include_str!("engines/docker.sh");
const CONTAINERD: &str = include_str!("engines/containerd.sh");

/// All of this subject.
pub fn cases() -> Vec<Case> {
    let mut all = podman();
    all.extend(docker());
    all.extend(containerd());
    all
}

/// Runs the engine's preparation and then the case's own lines; every wanted line must be printed.
fn engine(
    name: &str,
    checks: &str,
    setup: &'static str,
    programs: &[&'static str],
    script: &'static str,
    want: &'static [&'static str],
) -> Case {
    let needs: Vec<Need> = programs.iter().map(|p| Need::Program(p)).collect();
    case(format!("engines.{name}"))
        .checks(checks)
        .needs([Need::CgroupAny("memory")])
        .needs(needs)
        .seconds(120)
        .steps(move |t| {
            let text = start(t, "e", &format!("{PRELUDE}\n{setup}\n{script}"))?;
            for line in want {
                ensure!(
                    text.lines().any(|l| l == *line),
                    "no line {line:?} in what the engine printed: {text:?}"
                );
            }
            tidy(t)
        })
}

/// Prints the memory of the monitor of a container, found from the container's first process.
const MONITOR: &str = "monitor() { grep -E '^(Pss|Private_Clean|Private_Dirty):' \\
    /proc/$(sed -n 's/^PPid:[^0-9]*//p' /proc/$1/status)/smaps_rollup; }\n";

/// What conmon keeps in memory for one container of Podman, as lines of smaps_rollup.
pub fn conmon_memory(t: &mut Trial<'_>) -> Result<String> {
    let script = "p run -d --name one $run --log-driver k8s-file probe:1 /probe trap TERM >/dev/null; sleep 1\n\
                  monitor $(p inspect --format '{{.State.Pid}}' one)\n\
                  p rm -f -t 0 one >/dev/null\n";
    let text = start(t, "e", &format!("{PRELUDE}\n{PODMAN}\n{MONITOR}{script}"))?;
    tidy(t)?;
    Ok(text)
}

/// Has Podman make so many health checks of one container, one after the other.
pub fn podman_checks(t: &mut Trial<'_>, count: usize) -> Result<()> {
    let script = format!(
        "p run -d --name one $run --health-cmd 'CMD /probe true' --health-interval disable probe:1 /probe trap TERM >/dev/null\n\
         n=0; while [ $n -lt {count} ]; do p healthcheck run one >/dev/null; n=$((n + 1)); done\n\
         p rm -f -t 0 one >/dev/null\n"
    );
    start(t, &format!("e{count}"), &format!("{PRELUDE}\n{PODMAN}\n{script}"))?;
    tidy(t)
}

/// An image of the probe as Podman saves it, in each of its formats.
pub fn podman_saved(t: &mut Trial<'_>) -> Result<Vec<PathBuf>> {
    let script = "p save --quiet --format docker-archive -o $DIR/docker.tar probe:1\n\
                  p save --quiet --format oci-archive -o $DIR/oci.tar probe:1\n";
    start(t, "e", &format!("{PRELUDE}\n{PODMAN}\n{script}"))?;
    Ok(["docker.tar", "oci.tar"].map(|name| t.dir.join("e").join(name)).into())
}

/// The same as Docker saves it.
pub fn docker_saved(t: &mut Trial<'_>) -> Result<Vec<PathBuf>> {
    let script = "d save -o $DIR/docker.tar probe:1\n";
    start(t, "e", &format!("{PRELUDE}\n{DOCKER}\n{script}"))?;
    Ok(vec![t.dir.join("e/docker.tar")])
}

/// What containerd's shim keeps in memory for one container, as lines of smaps_rollup.
pub fn shim_memory(t: &mut Trial<'_>) -> Result<String> {
    let script = "c run -d $run --cgroup $PARENT/one suite/probe:1 one /probe trap TERM; sleep 1\n\
                  monitor $(c task ls | sed -n 's/^one *\\([0-9]*\\) .*/\\1/p')\n\
                  c task rm -f one >/dev/null 2>&1 || true; c container rm one\n";
    let text = start(t, "e", &format!("{PRELUDE}\n{CONTAINERD}\n{MONITOR}{script}"))?;
    tidy(t)?;
    Ok(text)
}

/// `home` is the engine's own directory: what one start of it has left is nothing for the next.
fn start(t: &mut Trial<'_>, home: &str, script: &str) -> Result<String> {
    let file = t.dir.join("engine.sh");
    std::fs::write(&file, script)?;
    let (top, v2) = t.yard.host.controller("memory").context("memory controller")?;
    let work = t.host_dir(home)?;
    let pairs = [
        ("DIR", work.display().to_string()),
        ("RUNTIME", t.runtime.path.display().to_string()),
        ("PROBE", t.yard.probe.display().to_string()),
        ("PARENT", t.spec["linux"]["cgroupsPath"].as_str().unwrap_or("").to_string()),
        ("MEMTOP", top.display().to_string()),
        ("MEMFILE", if v2 { "memory.max" } else { "memory.limit_in_bytes" }.to_string()),
    ];
    let mut cmd = t.command("/bin/sh".as_ref(), &[file.display().to_string()]);
    for (key, value) in &pairs {
        cmd = cmd.env(key, value);
    }
    let spaces = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET;
    Ok(cmd.adjust(|c| os::isolate(c, spaces)).run()?.ok()?.stdout)
}

/// Engines leave the parents of their cgroups, as they always do, and Podman's monitors end a moment after their
/// containers; only empty groups may be left.
fn tidy(t: &Trial<'_>) -> Result<()> {
    let removed = |dir: &PathBuf| Ok(std::fs::remove_dir(dir).is_ok().then_some(()));
    for dir in oracle::cgroups(t.yard) {
        wait_for(t.seconds().min(10), || removed(&dir))
            .with_context(|| format!("{} is left and in use", dir.display()))?;
    }
    Ok(())
}

fn podman() -> Vec<Case> {
    let engine = |name: &str, script, want| {
        engine(name, "cli: as Podman calls it", PODMAN, &["podman", "conmon"], script, want)
    };
    vec![
        engine(
            "podman-run",
            "p run --rm $run probe:1 /probe echo hello\n\
             code p run --rm $run probe:1 /probe exit 42\n\
             p run --rm $run --hostname box probe:1 /probe hostname\n",
            &["hello", "code 42", "box"],
        ),
        engine(
            "podman-limit-exec-stop",
            "p run -d --name one $run probe:1 /probe trap TERM >/dev/null\n\
             limit $(p inspect --format '{{.State.Pid}}' one)\n\
             p exec one /probe echo inside\n\
             code p exec one /probe exit 7\n\
             code p exec one /no/such/program 2>/dev/null\n\
             code p exec one /etc 2>/dev/null\n\
             p pause one >/dev/null; p inspect --format '{{.State.Status}}' one; p unpause one >/dev/null\n\
             p stop one >/dev/null; p wait one\n\
             p inspect --format '{{.State.Status}}' one\n\
             p rm one >/dev/null; p ps -aq | wc -l\n",
            &["67108864", "inside", "code 7", "code 127", "code 126", "paused", "exited", "0"],
        ),
        engine(
            "podman-kill-rm",
            "start() { p run -d --name one $run probe:1 /probe trap TERM >/dev/null\n\
             pid=$(p inspect --format '{{.State.Pid}}' one); dir=$(group $pid); id=$(p inspect --format '{{.Id}}' one); }\n\
             start; p kill one >/dev/null; p wait one; p rm one >/dev/null; gone $pid $dir $id\n\
             start; p pause one >/dev/null; p rm -f -t 0 one >/dev/null; echo paused $(gone $pid $dir $id)\n\
             p run --rm $run --cidfile $DIR/id probe:1 /orphan >/dev/null 2>&1 || echo orphan $(gone none none $(cat $DIR/id))\n",
            &["137", "gone", "paused gone", "orphan gone"],
        ),
        engine(
            "podman-userns",
            "map='--uidmap 0:100000:65536 --gidmap 0:100000:65536'\n\
             p run -d --name one $run $map probe:1 /probe trap TERM >/dev/null\n\
             p exec one /probe cat /proc/self/uid_map\n\
             code p run --rm $run --userns container:one --pid container:one probe:1 /probe exit 8\n\
             code p run --rm $run $map --privileged probe:1 /probe exit 9\n\
             p rm -f -t 0 one >/dev/null\n",
            &["         0     100000      65536", "code 8", "code 9"],
        ),
        engine(
            "podman-errors",
            "code p run --rm $run probe:1 /no/such/program 2>/dev/null\n\
             code p run --rm $run probe:1 /etc 2>/dev/null\n\
             code p run --rm $run --memory 32m --memory-swap 32m probe:1 /probe mem 100 >/dev/null 2>&1\n",
            &["code 127", "code 126"],
        ),
    ]
}

fn docker() -> Vec<Case> {
    let engine = |name: &str, script, want| {
        engine(name, "cli: as Docker calls it", DOCKER, &["dockerd", "docker", "containerd"], script, want)
    };
    vec![
        engine(
            "docker-run",
            "d run --rm $run probe:1 /probe echo hello\n\
             code d run --rm $run probe:1 /probe exit 42\n\
             d run --rm $run --hostname box probe:1 /probe hostname\n\
             d run --rm -t $run probe:1 /probe tty | tr -d '\\r'\n",
            &["hello", "code 42", "box"],
        ),
        engine(
            "docker-limit-exec-stop",
            "d run -d --name one $run probe:1 /probe trap TERM >/dev/null\n\
             limit $(d inspect --format '{{.State.Pid}}' one)\n\
             d exec one /probe echo inside\n\
             code d exec one /probe exit 7\n\
             code d exec one /etc 2>/dev/null\n\
             d pause one >/dev/null; d inspect --format '{{.State.Status}}' one; d unpause one >/dev/null\n\
             d stop one >/dev/null; d inspect --format 'ended {{.State.ExitCode}}' one\n\
             d rm one >/dev/null; d ps -aq | wc -l\n",
            &["67108864", "inside", "code 7", "code 126", "paused", "ended 0", "0"],
        ),
        engine(
            "docker-kill-rm",
            "start() { d run -d --name one $run probe:1 /probe trap TERM >/dev/null\n\
             pid=$(d inspect --format '{{.State.Pid}}' one); dir=$(group $pid); id=$(d inspect --format '{{.Id}}' one); }\n\
             start; d kill one >/dev/null; d wait one; d rm one >/dev/null; gone $pid $dir $id\n\
             start; d pause one >/dev/null; d rm -f one >/dev/null; echo paused $(gone $pid $dir $id)\n\
             d run --rm $run --cidfile $DIR/id probe:1 /orphan >/dev/null 2>&1 || echo orphan $(gone none none $(cat $DIR/id))\n",
            &["137", "gone", "paused gone", "orphan gone"],
        ),
        engine(
            "docker-oom",
            // The shim tells of the kill and of the end by two ways. Where the end comes first, the engine never puts them together.
            "for n in 1 2 3 4 5; do\n\
             code d run --name hog --runtime ours --network none --cgroup-parent $PARENT --memory 32m probe:1 /probe mem 200 >\"$DIR/out\" 2>&1\n\
             oom=$(d inspect --format 'oom {{.State.OOMKilled}} {{.State.ExitCode}}' hog)\n\
             d rm hog >/dev/null\n\
             case $oom in *true*) break;; esac\n\
             done\n\
             tail -n 1 \"$DIR/out\"; echo \"$oom\"\n",
            &["code 137", "oom true 137"],
        ),
        engine(
            "docker-errors",
            "code d run --rm $run probe:1 /no/such/program 2>/dev/null\n\
             code d run --rm $run probe:1 /etc 2>/dev/null\n\
             d ps -aq | wc -l\n",
            &["code 127", "code 126", "0"],
        ),
    ]
}

fn containerd() -> Vec<Case> {
    let engine = |name: &str, script, want| {
        engine(
            name,
            "cli: as containerd's shim calls it",
            CONTAINERD,
            &["containerd", "ctr", "sha256sum"],
            script,
            want,
        )
    };
    vec![
        engine(
            "containerd-run",
            "c run --rm $run --cgroup $PARENT/a suite/probe:1 a /probe echo hello\n\
             code c run --rm $run --cgroup $PARENT/b suite/probe:1 b /probe exit 42\n",
            &["hello", "code 42"],
        ),
        engine(
            "containerd-limit-exec-kill",
            "c run -d $run --cgroup $PARENT/one suite/probe:1 one /probe trap TERM\n\
             pid=$(c task ls | sed -n 's/^one *\\([0-9]*\\) .*/\\1/p')\n\
             limit $pid\n\
             c task exec --exec-id x one /probe echo inside\n\
             c task pause one; c task ls | grep -o PAUSED; c task resume one\n\
             c task kill --signal TERM one\n\
             stopped() { c task ls | grep -q STOPPED; }\n\
             until_ok 20 stopped; echo stopped\n\
             c task rm one >/dev/null 2>&1 || true\n\
             c container rm one; c container ls -q | wc -l\n",
            &["67108864", "inside", "PAUSED", "stopped", "0"],
        ),
        engine(
            "containerd-kill-rm",
            "start() { c run -d $run --cgroup $PARENT/one suite/probe:1 one /probe trap TERM\n\
             pid=$(c task ls | sed -n 's/^one *\\([0-9]*\\) .*/\\1/p'); dir=$(group $pid); }\n\
             start; code c task rm -f one 2>/dev/null; c container rm one; gone $pid $dir one\n\
             start; c task pause one; c task rm -f one >/dev/null 2>&1 || true; c container rm one; echo paused $(gone $pid $dir one)\n\
             c run --rm $run --cgroup $PARENT/two suite/probe:1 two /orphan >/dev/null 2>&1 || echo orphan $(gone none none two)\n",
            &["gone", "paused gone", "orphan gone"],
        ),
    ]
}
