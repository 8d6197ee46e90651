//! `conformance`: runs cases against any OCI runtime binary and prints what held.
//! One thread, own `main`: cases fork, wait and reap, which a threaded test runner would disturb.

mod base;
mod boundary;
mod case;
mod cases;
mod clients;
mod command;
mod daemon;
#[cfg(test)]
mod docs_tests;
mod host;
mod images;
mod oracle;
mod os;
mod report;
mod run;
mod screen;
mod soak;
mod soak_memory;
mod soak_probes;
mod trial;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail, ensure};
use clap::{Arg, ArgAction, ArgMatches, Command as Cli};

use crate::case::Case;
use crate::clients::Manager;
use crate::daemon::Programs;
use crate::host::Host;
use crate::report::{Column, Results, Row};
use crate::trial::{Runtime, Yard};

fn main() -> ExitCode {
    let matches = cli().get_matches();
    let done = match matches.subcommand() {
        Some(("run", m)) => run_cases(m, cases::all()),
        Some(("supervisor", m)) => run_cases(m, cases::supervisor()),
        Some(("clients", m)) => run_clients(m),
        Some(("clients-page", m)) => write_clients(m),
        Some(("soak", m)) => run_soak(m),
        Some(("boundary", m)) => run_boundary(m),
        Some(("list", m)) => list_cases(m),
        Some(("report", m)) => report_files(m),
        Some(("nothing", _)) => Ok(true),
        Some(("call", m)) => call(m),
        Some(("naive", m)) => boundary::naive::prepare(&path(m, "root")).map(|()| true),
        Some(("hammer", m)) => boundary::hammer_on(&path(m, "place"), &path(m, "twin")).map(|()| true),
        _ => Ok(false),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("conformance: {e:#}");
            ExitCode::from(2)
        }
    }
}

fn cli() -> Cli {
    Cli::new("conformance")
        .about("Runs a conformance suite against OCI runtimes")
        .subcommand_required(true)
        .subcommand(run_options(Cli::new("run").about("Run the cases of a runtime")).arg(own_machine()))
        .subcommand(supervisor_options(
            Cli::new("supervisor").about("Run the cases of a supervisor on top of runtimes"),
        ))
        .subcommand(
            run_options(Cli::new("clients").about("Run the operations of real clients on top of runtimes"))
                .arg(manager())
                .arg(one("write").value_name("FILE").help("Put the table into this page")),
        )
        .subcommand(
            Cli::new("clients-page")
                .about("Put the results of `clients`, written by --output, into a page")
                .arg(manager())
                .arg(one("write").required(true).value_name("FILE").help("The page"))
                .arg(Arg::new("file").required(true).num_args(1..).help("The results")),
        )
        .subcommand(
            supervisor_options(Cli::new("soak").about("Run the long loops of a supervisor and measure it"))
                .arg(number("kills", "500").help("How often the daemon is killed"))
                .arg(number("services", "300").help("How many services the figures are of"))
                .arg(number("seed", "1").help("Another seed, another order of things"))
                .arg(one("write").value_name("FILE").help("Write the figures there")),
        )
        .subcommand(
            run_options(Cli::new("boundary").about("Disturb a runtime at every system call of its commands"))
                .arg(
                    one("sample")
                        .value_name("N")
                        .value_parser(clap::value_parser!(u32))
                        .help("Only so many boundaries of each command"),
                )
                .arg(
                    Arg::new("every")
                        .long("every")
                        .action(ArgAction::SetTrue)
                        .help("Exchanges of paths also at calls that do not come by them"),
                )
                .arg(
                    one("part")
                        .value_name("N/M")
                        .value_parser(part)
                        .default_value("1/1")
                        .help("Exchanges of paths: only the Nth of M parts"),
                )
                .arg(number("seed", "1").help("Another seed, other boundaries")),
        )
        .subcommand(Cli::new("list").about("List cases").arg(filter()).arg(needing()))
        .subcommand(
            Cli::new("report")
                .about("Show results of several runs side by side")
                .arg(format())
                .arg(Arg::new("file").required(true).num_args(1..).help("Files written by --output")),
        )
        .subcommand(Cli::new("nothing").hide(true))
        .subcommand(Cli::new("naive").hide(true).arg(Arg::new("root").required(true)))
        .subcommand(
            Cli::new("hammer")
                .hide(true)
                .arg(Arg::new("place").required(true))
                .arg(Arg::new("twin").required(true)),
        )
        .subcommand(Cli::new("call").hide(true).arg(
            Arg::new("words").required(true).num_args(1..).allow_hyphen_values(true).trailing_var_arg(true),
        ))
}

fn path(m: &ArgMatches, name: &str) -> PathBuf {
    m.get_one::<String>(name).map(PathBuf::from).unwrap_or_default()
}

/// Runs a program that is killed when we are, as containerd's shim runs a runtime.
fn call(m: &ArgMatches) -> Result<bool> {
    let mut words = m.get_many::<String>("words").into_iter().flatten();
    let mut command = Command::new(words.next().context("no program")?);
    command.args(words);
    os::dies_with_us(&mut command);
    Ok(command.status().context("call")?.success())
}

fn one(name: &'static str) -> Arg {
    Arg::new(name).long(name)
}

fn number(name: &'static str, default: &'static str) -> Arg {
    one(name).value_name("N").value_parser(clap::value_parser!(u32)).default_value(default)
}

/// `N/M`, from 1/M to M/M.
fn part(text: &str) -> Result<(usize, usize)> {
    let (n, m) = text.split_once('/').context("want N/M")?;
    let (n, m) = (n.parse()?, m.parse()?);
    ensure!((1..=m).contains(&n), "there are {m} parts, of which the first is 1");
    Ok((n, m))
}

/// The options of a command that runs cases of a supervisor.
fn supervisor_options(command: Cli) -> Cli {
    run_options(command)
        .arg(own_machine())
        .arg(one("knarrd").required(true).value_name("PATH").help("The daemon"))
        .arg(one("knarrctl").required(true).value_name("PATH").help("Its command line"))
        .arg(one("keeper").required(true).value_name("PATH").help("Its keeper"))
}

fn own_machine() -> Arg {
    Arg::new("own-machine")
        .long("own-machine")
        .action(ArgAction::SetTrue)
        .help("Nothing else lives on this machine: its clock and schedulers may be changed")
}

fn filter() -> Arg {
    one("filter").value_name("WORDS").help("Only cases whose name or section contains one of these words, separated by commas; `!word` leaves out")
}

fn needing() -> Arg {
    one("needing").value_name("NEEDS").help("Also cases, whatever the filter says, that need one of these, as `list` shows them, separated by commas; `word*` is all that begins so")
}

fn manager() -> Arg {
    one("manager")
        .value_parser(Manager::ALL.map(Manager::name))
        .default_value(Manager::Cgroupfs.name())
        .help("Who makes the cgroups of containers")
}

fn managed(m: &ArgMatches) -> Result<Manager> {
    m.get_one::<String>("manager").and_then(|name| Manager::named(name)).context("--manager")
}

fn format() -> Arg {
    one("format").value_parser(["table", "tap", "junit", "json"]).default_value("table")
}

/// The options of a command that runs cases.
fn run_options(command: Cli) -> Cli {
    let many = |name: &'static str| one(name).action(ArgAction::Append);
    command
        .arg(
            many("runtime").required(true).value_name("NAME=PATH").help("A runtime; may be given several times"),
        )
        .arg(
            many("strict")
                .value_name("NAME")
                .help("Hold this runtime to the texts of refusals too (knarr always is)"),
        )
        .arg(
            many("known")
                .value_name("NAME=FILE")
                .help("Reviewed differences of a runtime: `case  reason` lines"),
        )
        .arg(one("lane").default_value("").help("A name for this environment, shown in the report"))
        .arg(filter())
        .arg(needing())
        .arg(format())
        .arg(one("output").value_name("FILE").help("Write the results there as JSON as well"))
        .arg(
            one("allow-skip").value_name("REASONS").help(
                "Skips for other reasons than these make the run fail; `word*` allows what begins so, `none` allows none",
            ),
        )
        .arg(
            one("probe")
                .value_name("PATH")
                .help("The static probe program; default: `probe` beside this program"),
        )
        .arg(
            one("dir").value_name("DIR").default_value("/tmp").help("Where the work directory is made"),
        )
        .arg(
            one("patience")
                .value_name("N")
                .value_parser(clap::value_parser!(u32))
                .default_value("1")
                .help("Multiply every time limit"),
        )
        .arg(Arg::new("verbose").long("verbose").action(ArgAction::SetTrue).help("Show every command"))
}

/// The cases that a filter selects.
fn selected(m: &ArgMatches, all: Vec<Case>) -> Result<Vec<Case>> {
    let mut seen = std::collections::BTreeSet::new();
    for c in &all {
        ensure!(seen.insert(c.name.clone()), "two cases are called {}", c.name);
        ensure!(c.can_fail(), "{} expects nothing that a runtime could miss", c.name);
        ensure!(!c.checks.is_empty(), "{} does not say what it checks", c.name);
    }
    Ok(all.into_iter().filter(|c| chosen(m, &c.name, &c.checks) || needs_one(m, c)).collect())
}

/// Whether --needing names something that this case needs.
fn needs_one(m: &ArgMatches, case: &Case) -> bool {
    let list = m.get_one::<String>("needing").map_or("", String::as_str);
    case.needs.iter().any(|need| in_list(list, &need.slug()))
}

/// Whether a list with commas has this word; `word*` in the list stands for all that begins so.
fn in_list(list: &str, word: &str) -> bool {
    list.split(',').any(|a| a.strip_suffix('*').map_or(word == a, |begin| word.starts_with(begin)))
}

/// Whether the filter takes a case of this name and section.
fn chosen(m: &ArgMatches, name: &str, checks: &str) -> bool {
    let words: Vec<&str> = m.get_one::<String>("filter").map(|f| f.split(',').collect()).unwrap_or_default();
    let (without, with): (Vec<&str>, Vec<&str>) = words.into_iter().partition(|w| w.starts_with('!'));
    let hit = |w: &str| name.contains(w) || checks.contains(w);
    (with.is_empty() || with.iter().any(|w| hit(w))) && !without.iter().any(|w| hit(&w[1..]))
}

fn list_cases(m: &ArgMatches) -> Result<bool> {
    let cases = selected(m, cases::all().into_iter().chain(cases::supervisor()).collect())?;
    for c in &cases {
        let needs: Vec<String> = c.needs.iter().map(|n| n.slug()).collect();
        println!("{:44} {:50} {}", c.name, c.checks, needs.join(" "));
    }
    println!("{} cases", cases.len());
    Ok(true)
}

fn report_files(m: &ArgMatches) -> Result<bool> {
    let all = read_results(m)?;
    print_all(&all, m);
    Ok(all.sum().failed == 0)
}

/// The results of the files that are named, side by side.
fn read_results(m: &ArgMatches) -> Result<Results> {
    let mut all = Results::default();
    for path in m.get_many::<String>("file").into_iter().flatten() {
        let text = fs::read_to_string(path).with_context(|| path.clone())?;
        let one = report::from_json(&serde_json::from_str(&text)?).with_context(|| path.clone())?;
        all.join(one);
    }
    Ok(all)
}

fn print_all(r: &Results, m: &ArgMatches) {
    match m.get_one::<String>("format").map(String::as_str) {
        Some("tap") => print!("{}", report::tap(r)),
        Some("junit") => print!("{}", report::junit(r)),
        Some("json") => println!("{:#}", report::to_json(r)),
        _ => {
            let width = r.width();
            print!("{}", report::table_head(r, width));
            r.rows.iter().for_each(|row| println!("{}", report::table_row(r, row, width)));
            print!("{}", report::table_foot(r));
            println!("{}", r.closing());
        }
    }
}

fn run_cases(m: &ArgMatches, all: Vec<Case>) -> Result<bool> {
    let cases = selected(m, all)?;
    let results = run_in_yard(m, |yard, runtimes| run_all(m, yard, runtimes, &cases))?;
    Ok(results.sum().failed == 0 && skips_allowed(m, &results))
}

/// Makes the place where everything happens, runs there, shows the results and takes the place away.
fn run_in_yard(m: &ArgMatches, run: impl FnOnce(&Yard, &[Runtime]) -> Result<Results>) -> Result<Results> {
    let runtimes = runtimes(m)?;
    if rustix::process::geteuid().is_root() {
        os::private_mounts()?;
    }
    os::become_subreaper()?;
    os::end_on_request()?;
    let yard = make_yard(m)?;
    let results = run(&yard, &runtimes);
    let cleaned = remove_yard(&yard);
    let results = results?;
    if let Some(file) = m.get_one::<String>("output") {
        fs::write(file, report::to_json(&results).to_string()).with_context(|| file.clone())?;
    }
    match m.get_one::<String>("format").map(String::as_str) {
        // The rows of a table were printed as they came.
        Some("table") => {
            print!("{}", report::table_foot(&results));
            println!("{}", results.closing());
        }
        _ => print_all(&results, m),
    }
    // Results first: what cannot be cleaned up is a failure of its own.
    cleaned?;
    Ok(results)
}

fn run_clients(m: &ArgMatches) -> Result<bool> {
    let manager = managed(m)?;
    let mut clients = clients::of(manager);
    for client in &mut clients {
        client.rows.retain(|r| chosen(m, &r.name, r.what));
    }
    clients.retain(|c| !c.rows.is_empty());
    let results = run_in_yard(m, |yard, runtimes| {
        let mut results = Results { columns: columns(m, runtimes)?, rows: Vec::new() };
        let names = clients.iter().flat_map(|c| &c.rows).map(|r| r.name.len());
        let width = names.max().unwrap_or(4).max("containerd.leaves-nothing".len());
        let table = m.get_one::<String>("format").is_some_and(|f| f == "table");
        if table {
            print!("{}", report::table_head(&results, width));
        }
        let mut number = 0;
        for client in &clients {
            ensure!(!os::asked_to_end(), "asked to end before {}", client.name);
            for row in clients::run(yard, runtimes, client, manager, &mut number) {
                if table {
                    println!("{}", report::table_row(&results, &row, width));
                }
                results.rows.push(row);
            }
        }
        Ok(results)
    })?;
    if let Some(file) = m.get_one::<String>("write") {
        update_page(Path::new(file), manager, &results)?;
    }
    Ok(results.sum().failed == 0 && skips_allowed(m, &results))
}

fn write_clients(m: &ArgMatches) -> Result<bool> {
    let page = m.get_one::<String>("write").context("--write")?;
    update_page(Path::new(page), managed(m)?, &read_results(m)?)?;
    Ok(true)
}

fn update_page(file: &Path, manager: Manager, results: &Results) -> Result<()> {
    let before = if file.exists() { fs::read_to_string(file)? } else { String::new() };
    fs::write(file, clients::put_in(&before, manager, results)).with_context(|| file.display().to_string())
}

/// The head of the page with the figures.
const PAGE: &str = "# Numbers of the supervisor\n\n\
    Written by `ci/soak --write` as root, which anybody may repeat (`--kills N --services N --seed N`); do not edit. What is\n\
    measured and how: `integration/src/soak.rs`. Release builds, the state directory on a disk, knarrd started with\n\
    `--full-pass 3600` so that the look at all service files every minute is no part of idleness. Times are of this machine;\n\
    ratios, **in bold**, are between figures of this one run: below 1 is less than the peer.\n\n";

fn run_soak(m: &ArgMatches) -> Result<bool> {
    let number = |name| *m.get_one::<u32>(name).unwrap_or(&1);
    let page = std::rc::Rc::default();
    let cases = cases::long_supervisor(
        number("kills") as usize,
        number("services") as usize,
        u64::from(number("seed")),
        &page,
    );
    let before = first_line("/proc/loadavg");
    let passed = run_cases(m, cases)?;
    let processors = std::thread::available_parallelism().map_or(1, |n| n.get());
    let date = Command::new("date").args(["-u", "+%F %H:%M UTC"]).output().context("date")?;
    let machine = format!(
        "{}: Linux {}, {processors} processors, load average before `{before}`, after `{}` (what else ran on this \
         machine is in it, and in all times below). Percentiles are in brackets: the tenth to the ninetieth.\n\n",
        String::from_utf8_lossy(&date.stdout).trim(),
        first_line("/proc/sys/kernel/osrelease"),
        first_line("/proc/loadavg"),
    );
    let text = format!("{PAGE}{machine}| figure | value |\n|---|---|\n{}", page.borrow());
    eprintln!("\n{text}");
    if let Some(file) = m.get_one::<String>("write") {
        fs::write(file, &text).with_context(|| file.clone())?;
    }
    Ok(passed)
}

fn run_boundary(m: &ArgMatches) -> Result<bool> {
    let page = std::rc::Rc::default();
    let sample = m.get_one::<u32>("sample").map(|n| *n as usize);
    let seed = u64::from(*m.get_one::<u32>("seed").unwrap_or(&1));
    let mut cases = cases::long_boundary(sample, seed, &page);
    let every = m.get_flag("every");
    let part = *m.get_one::<(usize, usize)>("part").unwrap_or(&(1, 1));
    let plan = |scene| boundary::SwapPlan { scene, every, part, sample, seed, told: true };
    cases.extend(cases::long_swap(plan, &page));
    let passed = run_cases(m, cases)?;
    eprintln!(
        "\n| runtime | case | boundaries | disturbed | survived | violations |\n|---|---|---|---|---|---|\n{}",
        page.borrow()
    );
    Ok(passed)
}

/// The first line of a file of procfs.
fn first_line(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().lines().next().unwrap_or("").to_string()
}

fn skips_allowed(m: &ArgMatches, results: &Results) -> bool {
    let Some(list) = m.get_one::<String>("allow-skip") else { return true };
    let bad: Vec<String> =
        results.skips().into_iter().map(|(why, _)| why).filter(|w| !in_list(list, w)).collect();
    if !bad.is_empty() {
        eprintln!("conformance: skips that are not allowed here: {}", bad.join(", "));
    }
    bad.is_empty()
}

/// A column for each runtime.
fn columns(m: &ArgMatches, runtimes: &[Runtime]) -> Result<Vec<Column>> {
    let lane = m.get_one::<String>("lane").cloned().unwrap_or_default();
    let column =
        |r: &Runtime| Ok(Column { runtime: r.name.clone(), version: version(&r.path)?, lane: lane.clone() });
    runtimes.iter().map(column).collect()
}

fn run_all(m: &ArgMatches, yard: &Yard, runtimes: &[Runtime], cases: &[Case]) -> Result<Results> {
    let table = m.get_one::<String>("format").is_some_and(|f| f == "table");
    let mut results = Results { columns: columns(m, runtimes)?, rows: Vec::new() };
    let width = cases.iter().map(|c| c.name.len()).max().unwrap_or(4).max(4);
    if table {
        println!("kernel {}.{}, cgroups {}", yard.host.kernel.0, yard.host.kernel.1, yard.host.layout());
        print!("{}", report::table_head(&results, width));
    }
    let mut number = 0;
    for case in cases {
        ensure!(!os::asked_to_end(), "asked to end before {}", case.name);
        let mut row = Row { name: case.name.clone(), checks: case.checks.clone(), verdicts: Vec::new() };
        for runtime in runtimes {
            number += 1;
            row.verdicts.push(Some(run::run(yard, runtime, case, number)));
        }
        if table {
            println!("{}", report::table_row(&results, &row, width));
        }
        results.rows.push(row);
    }
    Ok(results)
}

/// `NAME=PATH`, or a path whose last part is the name.
fn named(text: &str) -> (String, PathBuf) {
    match text.split_once('=') {
        Some((n, p)) => (n.to_string(), PathBuf::from(p)),
        None => {
            let name = Path::new(text).file_name().map(|n| n.to_string_lossy().into_owned());
            (name.unwrap_or_default(), PathBuf::from(text))
        }
    }
}

fn runtimes(m: &ArgMatches) -> Result<Vec<Runtime>> {
    let strict: Vec<&String> = m.get_many::<String>("strict").into_iter().flatten().collect();
    let mut all = Vec::new();
    for text in m.get_many::<String>("runtime").into_iter().flatten() {
        let (name, path) = named(text);
        let path = fs::canonicalize(&path).with_context(|| format!("runtime {}", path.display()))?;
        let mut known = cases::known(&name)?;
        for (n, file) in m.get_many::<String>("known").into_iter().flatten().map(|t| named(t)) {
            if n == name {
                let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
                known.extend(cases::parse_known(&text)?);
            }
        }
        let strict = name == "knarr" || strict.contains(&&name);
        all.push(Runtime { name, path, strict, known });
    }
    Ok(all)
}

/// First line of `--version`.
fn version(path: &Path) -> Result<String> {
    let out = Command::new(path).arg("--version").stdin(Stdio::null()).output().context("--version")?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    Ok(text.lines().next().unwrap_or("no version").to_string())
}

/// The supervisor under test: its three programs, by full paths.
fn programs(m: &ArgMatches) -> Result<Option<Programs>> {
    let given = |name| m.try_get_one::<String>(name).ok().flatten().cloned();
    let (Some(knarrd), Some(knarrctl), Some(keeper)) = (given("knarrd"), given("knarrctl"), given("keeper"))
    else {
        return Ok(None);
    };
    let full = |path: String| fs::canonicalize(&path).with_context(|| path.clone());
    Ok(Some(Programs { knarrd: full(knarrd)?, knarrctl: full(knarrctl)?, keeper: full(keeper)? }))
}

fn make_yard(m: &ArgMatches) -> Result<Yard> {
    // Process ids repeat in the pid namespaces of lanes that run side by side; the clock does not.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let name = format!("kn-{:x}", now.as_micros());
    let top = m.get_one::<String>("dir").context("dir")?;
    let dir = fs::canonicalize(top).with_context(|| top.clone())?.join(&name);
    let probe = match m.get_one::<String>("probe") {
        Some(p) => PathBuf::from(p),
        None => std::env::current_exe()?.with_file_name("probe"),
    };
    if !probe.is_file() {
        bail!("no probe program at {} (build it, or give --probe)", probe.display());
    }
    fs::create_dir(&dir).with_context(|| dir.display().to_string())?;
    let mut host = Host::look()?;
    host.own_machine = m.try_get_one::<bool>("own-machine").ok().flatten().copied().unwrap_or(false);
    let mut yard = Yard {
        host,
        probe: dir.join("probe"),
        busybox: None,
        cgroup: name,
        patience: *m.get_one::<u32>("patience").unwrap_or(&1),
        verbose: m.get_flag("verbose"),
        supervisor: programs(m)?,
        dir,
    };
    fs::copy(&probe, &yard.probe).context("copy the probe")?;
    if let Some(busybox) = &yard.host.busybox {
        let copy = yard.dir.join("busybox");
        fs::copy(busybox, &copy).context("copy busybox")?;
        yard.busybox = Some(copy);
    }
    Ok(yard)
}

/// Removes the work directory and our cgroup parents.
fn remove_yard(yard: &Yard) -> Result<()> {
    for top in yard.host.hierarchies() {
        let dir = top.join(&yard.cgroup);
        if dir.exists() {
            oracle::release(&dir, &top);
            fs::remove_dir(&dir).with_context(|| dir.display().to_string())?;
        }
    }
    // A relative path counts from our own group, and runtimes leave what is above the container's.
    let ours = fs::read_to_string("/proc/self/cgroup")?;
    for path in ours.lines().filter_map(|l| l.splitn(3, ':').nth(2)) {
        for top in yard.host.hierarchies() {
            let dir = top.join(path.trim_start_matches('/')).join(&yard.cgroup);
            if dir.exists() {
                fs::remove_dir(&dir).with_context(|| dir.display().to_string())?;
            }
        }
    }
    oracle::remove_tree(&yard.dir)
}
