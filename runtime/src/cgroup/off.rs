//! A container without control groups: it stays in those of whoever makes it, and nothing can be limited. Pure.
#![forbid(unsafe_code)]

use super::limits::BASE;
use super::{Layout, Plan};
use crate::error::{Code, Error, Result};
use crate::spec::Resources;

/// What can be made of `resources` without a group.
///
/// # Errors
/// The first limit that is asked for. Device rules are a warning: every config has some, whether a group is wanted or not.
pub fn plan_without(layout: &Layout, resources: &Resources) -> Result<Plan> {
    let Resources { devices, memory, cpu, pids, block_io, hugepage_limits, network, rdma, unified } =
        resources;
    let asked = [
        ("memory", memory.clone().is_some_and(|m| m != Default::default())),
        ("cpu", cpu.clone().is_some_and(|c| c != Default::default())),
        ("pids", pids.clone().is_some_and(|p| p.limit.is_some_and(|n| n != -1))),
        ("blockIO", block_io.clone().is_some_and(|b| b != Default::default())),
        ("hugepageLimits", !hugepage_limits.is_empty()),
        ("network", network.clone().is_some_and(|n| n != Default::default())),
        ("rdma", !rdma.is_empty()),
        ("unified", !unified.is_empty()),
    ];
    if let Some((field, _)) = asked.into_iter().find(|(_, asked)| *asked) {
        let text = "cannot be limited without a cgroup, got --cgroup-manager disabled";
        return Err(Error::spec(format!("{BASE}/{field}"), text).code(Code::Unsupported));
    }
    let warning = format!("{BASE}/devices: no effect without a cgroup (--cgroup-manager disabled)");
    Ok(Plan {
        layout: layout.kind,
        groups: Vec::new(),
        named: false,
        writes: Vec::new(),
        needed: Vec::new(),
        wanted: Vec::new(),
        device_program: None,
        unit: None,
        warnings: (!devices.is_empty()).then_some(warning).into_iter().collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::Kind;
    use crate::spec::{DeviceRule, Memory, Pids};

    #[test]
    fn limits_are_refused_and_device_rules_a_warning() {
        let layout = Layout { kind: Kind::Unified, v2: None, v1: Vec::new() };
        let devices = vec![DeviceRule::default()];
        let plan = plan_without(&layout, &Resources { devices, ..Default::default() }).unwrap();
        assert!(plan.groups.is_empty() && plan.warnings.len() == 1);
        let empty = Resources {
            memory: Some(Memory::default()),
            pids: Some(Pids { limit: Some(-1) }),
            ..Default::default()
        };
        assert!(plan_without(&layout, &empty).unwrap().warnings.is_empty());
        let limited = Resources { pids: Some(Pids { limit: Some(7) }), ..Default::default() };
        let e = plan_without(&layout, &limited).unwrap_err();
        assert_eq!(e.field_path(), Some("/linux/resources/pids"), "{e}");
    }
}
