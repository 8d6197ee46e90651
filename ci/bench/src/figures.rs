//! The figures that are times of single calls, and which figures there are at all. Calls runtimes through `runtime`; the
//! order is A B C, B C A, C A B, so that drift meets all alike.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::bundle::{Kind, Payload, Shape, Yard};
use crate::call::{self, Cost};
use crate::row::{Cell, Row};
use crate::runtime::{Held, Runtime, utf8};
use crate::{crowd, memory, operations};

/// A pause that lets the machine go idle: what a call waits for then is not hidden by the call before it.
pub const PAUSE: Duration = Duration::from_millis(200);
const WARM_UP: usize = 3;

/// How often, and what.
pub struct Wish {
    pub burst: usize,
    pub idle: usize,
    /// Containers that live while others are measured.
    pub crowds: Vec<usize>,
    /// Groups to measure; empty for all.
    pub only: Vec<String>,
}

/// What `--only` can name, and what it measures.
pub const GROUPS: [(&str, &str); 14] = [
    ("run", "run of a program that ends at once"),
    ("life", "create, start and delete, together and apart"),
    ("exec", "exec of a program that ends at once, without and with a terminal"),
    ("state", "state, list of one container, kill with a signal that the program ignores"),
    ("cluster", "run with forty mounts, as an orchestrator writes them"),
    ("parallel", "starts per second, four and eight at a time"),
    ("crowd", "create, exec, run and list while 1, 100 and 1,000 containers of the same runtime live"),
    ("peak", "peak memory of each command"),
    ("waiting", "memory kept while a container waits, and while run waits"),
    ("limit", "smallest memory limit under which run works"),
    ("calls", "system calls, processes made and programs started by each command; slow calls"),
    ("instructions", "instructions, where they can be counted"),
    ("size", "bytes of the program and of what it loads"),
    ("seccomp", "building and installing the filter, beside libseccomp"),
];

impl Wish {
    /// Whether a group was asked for.
    pub fn wants(&self, group: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|o| o == group)
    }
}

/// A figure that is a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Figure {
    Run,
    Life,
    Exec,
    ExecTerminal,
    State,
    List,
    Kill,
    Cluster,
}

impl Figure {
    const ALL: [Figure; 8] = [
        Figure::Run,
        Figure::Life,
        Figure::Exec,
        Figure::ExecTerminal,
        Figure::State,
        Figure::List,
        Figure::Kill,
        Figure::Cluster,
    ];

    fn group(self) -> &'static str {
        match self {
            Figure::Run => "run",
            Figure::Life => "life",
            Figure::Exec | Figure::ExecTerminal => "exec",
            Figure::State | Figure::List | Figure::Kill => "state",
            Figure::Cluster => "cluster",
        }
    }

    /// What a sample consists of.
    fn titles(self) -> &'static [&'static str] {
        match self {
            Figure::Run => &["run true"],
            Figure::Life => &["create + start + delete", "create", "start", "delete"],
            Figure::Exec => &["exec true"],
            Figure::ExecTerminal => &["exec -t true"],
            Figure::State => &["state"],
            Figure::List => &["list of 1"],
            Figure::Kill => &["kill"],
            Figure::Cluster => &["run true, 40 mounts"],
        }
    }

    /// With which filter and after which pause: what is asked of a record does not meet the filter, and the pause matters
    /// to what makes processes.
    fn conditions(self, has_filter: bool) -> Vec<(bool, bool)> {
        let all = match self {
            Figure::Run | Figure::Life | Figure::Exec => {
                vec![(false, false), (false, true), (true, false), (true, true)]
            }
            Figure::ExecTerminal | Figure::Cluster => vec![(true, false)],
            Figure::State => vec![(false, false), (false, true)],
            Figure::List | Figure::Kill => vec![(false, false)],
        };
        let mut all: Vec<_> = all.into_iter().map(|(filter, idle)| (filter && has_filter, idle)).collect();
        all.dedup();
        all
    }

    /// A container lives meanwhile.
    fn is_of_living(self) -> bool {
        match self {
            Figure::Exec | Figure::ExecTerminal | Figure::State | Figure::List | Figure::Kill => true,
            Figure::Run | Figure::Life | Figure::Cluster => false,
        }
    }

    /// Whether a runtime takes part.
    fn is_for(self, r: &Runtime) -> bool {
        !r.is_floor() || self == Figure::Run
    }

    fn sample(self, r: &mut Runtime, bundle: &Path, held: Option<&Held>) -> Result<Vec<Cost>> {
        let one = match (self, held) {
            (Figure::Run | Figure::Cluster, _) => {
                let id = r.fresh();
                r.call(&["run", "--bundle", utf8(bundle)?, &id])?
            }
            (Figure::Life, _) => return r.create_start_delete(bundle),
            (Figure::Exec, Some(h)) => r.call(&["exec", &h.id, "/probe", "true"])?,
            (Figure::ExecTerminal, Some(h)) => {
                r.call_on_terminal(&["exec", "-t", &h.id, "/probe", "true"])?
            }
            (Figure::State, Some(h)) => r.call(&["state", &h.id])?,
            (Figure::List, Some(_)) => r.call(&["list"])?,
            // Nobody handles it, and then it is ignored (signal(7)).
            (Figure::Kill, Some(h)) => r.call(&["kill", &h.id, "WINCH"])?,
            (_, None) => bail!("no container"),
        };
        Ok(vec![one])
    }
}

/// Measures what was asked for on every runtime.
pub fn all(runtimes: &mut [Runtime], yard: &Yard, wish: &Wish) -> Result<Vec<Row>> {
    // Orphans come to us: the program of a created container is nobody's child when `create` has ended.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).context("subreaper")?;
    // On a shared machine; without the right to do so it is only noisier.
    let _ = rustix::process::nice(-20);
    let mut rows = Vec::new();
    for figure in Figure::ALL.into_iter().filter(|f| wish.wants(f.group())) {
        for (filter, idle) in figure.conditions(yard.has_filter()) {
            rows.extend(timed(figure, runtimes, yard, (filter, idle), wish)?);
            eprintln!("measured: {}, filter {filter}, idle {idle}", figure.titles()[0]);
        }
    }
    rows.extend(crowd::rows(runtimes, yard, wish)?);
    rows.extend(memory::rows(runtimes, yard, wish));
    rows.extend(operations::rows(runtimes, yard, wish));
    Ok(rows)
}

fn timed(
    figure: Figure,
    runtimes: &mut [Runtime],
    yard: &Yard,
    (filter, idle): (bool, bool),
    wish: &Wish,
) -> Result<Vec<Row>> {
    let mut turns = Vec::new();
    for r in runtimes.iter_mut() {
        turns.push(Turn::new(figure, r, yard, filter)?);
    }
    let count = if idle { wish.idle } else { wish.burst };
    for round in 0..WARM_UP + count {
        for turn in 0..runtimes.len() {
            let i = (round + turn) % runtimes.len();
            if !turns[i].goes_on() {
                continue;
            }
            if idle {
                std::thread::sleep(PAUSE);
            }
            turns[i].take(figure, &mut runtimes[i], round >= WARM_UP);
            // A held container's program is ours too, so it is never waited for by chance: only the ended are.
            if !figure.is_of_living() {
                call::reap();
            }
        }
    }
    for (turn, r) in turns.iter_mut().zip(runtimes.iter()) {
        turn.end(r, yard);
    }
    let names = [if filter { ", filtered" } else { "" }, if idle { ", idle" } else { ", burst" }].concat();
    let row = |(part, title): (usize, &&str)| {
        let cells = turns.iter().map(|t| t.cell(part)).collect();
        Row::new(figure.group(), format!("{title}{names}"), "ms", cells)
    };
    Ok(figure.titles().iter().enumerate().map(row).collect())
}

/// One runtime in one series.
struct Turn {
    bundle: PathBuf,
    held: Option<Held>,
    /// `None` for a runtime that takes no part.
    samples: Option<Result<Vec<Vec<Cost>>, String>>,
}

impl Turn {
    fn new(figure: Figure, r: &mut Runtime, yard: &Yard, filter: bool) -> Result<Turn> {
        let shape = if figure == Figure::Cluster { Shape::Cluster } else { Shape::Plain };
        let kind = Kind { shape, ..Kind::of(Payload::True).filtered(filter) };
        if !figure.is_for(r) {
            return Ok(Turn { bundle: PathBuf::new(), held: None, samples: None });
        }
        let mut turn = Turn { bundle: r.bundle(yard, kind)?, held: None, samples: Some(Ok(Vec::new())) };
        if figure.is_of_living() {
            match r.hold(yard, kind) {
                Ok(held) => turn.held = Some(held),
                Err(e) => turn.samples = Some(Err(format!("{e:#}"))),
            }
        }
        Ok(turn)
    }

    fn goes_on(&self) -> bool {
        matches!(self.samples, Some(Ok(_)))
    }

    fn take(&mut self, figure: Figure, r: &mut Runtime, counts: bool) {
        match (figure.sample(r, &self.bundle, self.held.as_ref()), &mut self.samples) {
            (Ok(costs), Some(Ok(all))) if counts => all.push(costs),
            (Err(e), _) => self.samples = Some(Err(format!("{e:#}"))),
            _ => {}
        }
    }

    fn end(&mut self, r: &Runtime, yard: &Yard) {
        let released = self.held.as_ref().map_or(Ok(()), |h| r.release(h));
        if let Err(e) = released.and_then(|()| r.left_nothing(yard))
            && self.goes_on()
        {
            self.samples = Some(Err(format!("{e:#}")));
        }
    }

    fn cell(&self, part: usize) -> Cell {
        match &self.samples {
            None => Cell::Absent,
            Some(Err(why)) => Cell::Invalid(why.clone()),
            Some(Ok(all)) => Cell::Times(all.iter().map(|costs| costs[part]).collect()),
        }
    }
}
