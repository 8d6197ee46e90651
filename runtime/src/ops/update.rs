//! `knarr update`: new limits for a container that lives, from options or from a document. The limits in force are in
//! the record afterwards; when one is refused, or the record cannot be saved, all are as before.

use super::{refuse, store};
use crate::cgroup::{self, Cgroup, Layout};
use crate::cli::{Global, Limits, Source, UpdateArgs};
use crate::error::{Code, Context, Error, Result};
use crate::plan;
use crate::report;
use crate::resctrl::{self, Groups};
use crate::spec::{self, BlockIo, Cpu, Memory, Pids, Resources, read};
use crate::state::{Container, Status};
use crate::sys::fs;
use std::io::Read;

/// Changes the limits.
pub fn run(global: &Global, args: &UpdateArgs) -> Result<i32> {
    let mut container = store(global)?.lock(&args.id, true)?;
    match container.status()? {
        Status::Created | Status::Running | Status::Paused => {}
        status @ (Status::Creating | Status::Stopped) => {
            return Err(refuse("update", &args.id, &format!("container not running (status {status})")));
        }
    }
    args.ignored.iter().for_each(report::warn);
    let new = wanted(args)?;
    let schemata = schemata(&args.limits)?;
    let old = in_force(&container)?;
    let step = || format!("update container {}", args.id);
    let back = divide(&mut container, &schemata).step_with(step)?;
    let done = apply(&mut container, &old, new).step_with(step);
    if let (Err(_), Some(groups)) = (&done, &container.record.resctrl)
        && let Err(e) = groups.set(&back)
    {
        report::warn(e.step("take the new schemata back"));
    }
    done.map(|()| 0)
}

/// The limits that the caller asks for.
fn wanted(args: &UpdateArgs) -> Result<Resources> {
    let new = match &args.resources {
        Some(source) => {
            let (new, warnings) = read::document(&document(source)?).step("the document of --resources")?;
            warnings.iter().for_each(report::warn);
            new
        }
        None => from_options(&args.limits),
    };
    match spec::check::resources(&new, "").into_iter().next() {
        Some(problem) => Err(problem),
        None => Ok(new),
    }
}

/// The lines for resctrl that the options ask for, which come with a document, too.
fn schemata(limits: &Limits) -> Result<Vec<String>> {
    let Limits { l3_cache_schema, mem_bw_schema, .. } = limits;
    let mut lines = Vec::new();
    for (schema, option, resource, text) in [
        (l3_cache_schema, "l3-cache-schema", "L3", "Intel RDT/CAT: l3 cache schema is not enabled"),
        (mem_bw_schema, "mem-bw-schema", "MB", "Intel RDT/MBA: memory bandwidth schema is not enabled"),
    ] {
        let Some(schema) = schema else { continue };
        if !resctrl::root().is_ok_and(|root| resctrl::divides(&root, resource)) {
            return Err(Error::new(Code::Unsupported, text));
        }
        lines.extend(resctrl::lines_about(option, resource, schema)?);
    }
    Ok(lines)
}

/// Sets schemata, in a class of service that is made now if the container has none, and gives the old ones.
fn divide(container: &mut Container, lines: &[String]) -> Result<Vec<String>> {
    if lines.is_empty() {
        return Ok(Vec::new());
    }
    if let Some(groups) = &container.record.resctrl {
        return groups.set(lines);
    }
    let plan = resctrl::plan(&spec::IntelRdt::default(), container.id());
    let groups = Groups::of(&plan, &resctrl::root()?);
    // Recorded first, so that it goes with the container whatever happens.
    container.record.resctrl = Some(groups.clone());
    container.save()?;
    groups.make(&plan)?;
    let back = groups.set(lines)?;
    groups.take(&Cgroup::open(&container.record.cgroup)?.pids()?)?;
    Ok(back)
}

fn document(source: &Source) -> Result<Vec<u8>> {
    match source {
        Source::File(path) => fs::read_regular(path, read::MAX_BYTES),
        Source::Stdin => {
            let mut bytes = Vec::new();
            // One byte more than is taken, so that too much is seen as that.
            let limit = read::MAX_BYTES as u64 + 1;
            let read = std::io::stdin().lock().take(limit).read_to_end(&mut bytes);
            read.map_err(|e| Error::from(e).step("read standard input"))?;
            Ok(bytes)
        }
    }
}

fn from_options(limits: &Limits) -> Resources {
    let Limits {
        blkio_weight,
        cpu_period,
        cpu_quota,
        cpu_burst,
        cpu_share,
        cpu_rt_period,
        cpu_rt_runtime,
        cpu_idle,
        cpuset_cpus,
        cpuset_mems,
        memory,
        memory_reservation,
        memory_swap,
        pids_limit,
        // Of resctrl, not of a cgroup.
        l3_cache_schema: _,
        mem_bw_schema: _,
    } = limits.clone();
    Resources {
        memory: Some(Memory {
            limit: memory,
            reservation: memory_reservation,
            swap: memory_swap,
            ..Memory::default()
        }),
        cpu: Some(Cpu {
            shares: cpu_share,
            quota: cpu_quota,
            burst: cpu_burst,
            period: cpu_period,
            realtime_runtime: cpu_rt_runtime,
            realtime_period: cpu_rt_period,
            cpus: cpuset_cpus.unwrap_or_default(),
            mems: cpuset_mems.unwrap_or_default(),
            idle: cpu_idle,
        }),
        // The number that callers' programs have when the option is not given.
        pids: Some(Pids { limit: pids_limit.filter(|n| *n != 0) }),
        block_io: Some(BlockIo { weight: blkio_weight, ..BlockIo::default() }),
        ..Resources::default()
    }
}

/// The limits of the last update, or those of config.json.
fn in_force(container: &Container) -> Result<Resources> {
    if let Some(resources) = &container.record.resources {
        return Ok(resources.clone());
    }
    let (spec, _) = read::config(&container.config()?)?;
    let mut resources = spec.linux.and_then(|l| l.resources).unwrap_or_default();
    plan::pids_of_old_configs(&mut resources, &container.record.oci_version);
    Ok(resources)
}

fn apply(container: &mut Container, old: &Resources, mut new: Resources) -> Result<()> {
    plan::pids_of_old_configs(&mut new, &container.record.oci_version);
    if !new.devices.is_empty() && new.devices != old.devices {
        report::warn("/devices: not applied, device rules of a container stay as they were made");
    }
    let merged = cgroup::merge(old, &new);
    let layout = Layout::detect()?;
    let plan = cgroup::limits_plan(&layout, &container.record.cgroup, &cgroup::linked(&new, &merged))?;
    let cgroup = Cgroup::open(&container.record.cgroup)?;
    let applied = cgroup.update(&layout, &plan)?;
    applied.warnings.iter().for_each(report::warn);
    container.record.resources = Some(merged);
    container.save().inspect_err(|_| {
        if let Err(e) = cgroup.roll_back(&applied) {
            report::warn(e.step("take the new limits back"));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_option_asks_for_nothing() {
        let new = from_options(&Limits::default());
        let old = read::resources(br#"{"memory":{"limit":5000},"pids":{"limit":3}}"#).unwrap();
        let merged = cgroup::merge(&old, &new);
        assert_eq!((merged.memory, merged.pids), (old.memory, old.pids));
    }
}
