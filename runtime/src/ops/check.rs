//! `check`: every problem of a bundle on this host, and with `--plan` what would be done, without doing it.

use crate::cli::{CgroupManager, CheckArgs, Global};
use crate::create;
use crate::error::{Code, Error, Result};
use crate::fds::Kept;
use crate::host::Host;
use crate::plan::{self, Request};
use crate::report;
use crate::resctrl;
use crate::spec;
use crate::sys::fs;

/// See `knarr check --help`. Needs no privilege. Exit code 1 when there is a problem.
pub fn run(global: &Global, args: &CheckArgs) -> Result<i32> {
    let bundle = create::absolute(&args.bundle)?;
    let path = bundle.join("config.json");
    let bytes = fs::read_regular(&path, spec::read::MAX_BYTES)?;
    let (spec, warnings) = spec::read::config(&bytes).map_err(|e| e.step(path.to_string_lossy()))?;
    let mut out = String::new();
    for w in &warnings {
        out.push_str(&format!("warning: {w}\n"));
    }
    let spec::check::Findings { errors: problems, warnings } = spec::check::findings(&spec);
    for w in &warnings {
        out.push_str(&format!("warning: {w}\n"));
    }
    for p in &problems {
        out.push_str(&format!("error: {p}\n"));
    }
    let mut failed = !problems.is_empty();
    let systemd = global.cgroup_manager == CgroupManager::Systemd;
    let host = Host {
        without_cgroup: global.cgroup_manager == CgroupManager::Disabled,
        ..Host::detect(systemd, global.rootless.choice(), plan::names_labels(&spec))?
    };
    let request = Request {
        id: "check",
        bundle: &bundle,
        no_pivot: false,
        no_new_keyring: false,
        fds: Kept::default(),
    };
    match plan::plan(&spec, &host, request) {
        // What the document's own rules found already is not said twice.
        Err(e) if problems.iter().any(|p| p.field_path() == e.field_path()) => {}
        Err(e) => {
            out.push_str(&format!("error: {e}\n"));
            failed = true;
        }
        Ok(plan) => {
            for w in &plan.warnings {
                out.push_str(&format!("warning: {w}\n"));
            }
            for e in on_this_host(&plan) {
                out.push_str(&format!("error: {e}\n"));
                failed = true;
            }
            if args.plan {
                let json = serde_json::to_string_pretty(&plan)
                    .map_err(|e| Error::new(Code::Internal, e.to_string()))?;
                out = format!("{json}\n");
            }
        }
    }
    if !failed && !args.plan {
        out.push_str("ok\n");
    }
    report::print(&out)?;
    Ok(i32::from(failed))
}

/// Things that only the file system can tell.
fn on_this_host(plan: &plan::Plan) -> Vec<Error> {
    let mut out = Vec::new();
    match fs::stat(&plan.root.path) {
        Ok(st) if st.is_dir() => {}
        Ok(_) => out.push(Error::spec("/root/path", "is not a directory")),
        Err(e) => out.push(e.field("/root/path")),
    }
    for op in &plan.mounts {
        if let plan::mounts::MountKind::Bind { source, .. } = &op.kind
            && let Err(e) = fs::stat(source)
        {
            out.push(e.field(format!("{}/source", op.field)));
        }
    }
    if plan.resctrl.is_some() {
        out.extend(resctrl::root().err());
    }
    for join in plan.launch.borrow.iter().chain(&plan.launch.user) {
        if let Err(e) = fs::stat(&join.path) {
            out.push(e.field(join.field.clone()));
        }
    }
    out
}
