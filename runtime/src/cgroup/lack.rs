//! What happens to a container whose runtime may not make control groups: it does without those that nobody asked for.
//! Pure. May use: `error`, the plan.

use super::limits::at;
use super::{Group, Plan, Write};
use crate::error::{Code, Error, Result};
use crate::sys::errno;

/// Whether this says that the group is not ours to make.
pub(super) fn is_denied(e: &Error) -> bool {
    [errno::EACCES, errno::EPERM, errno::EROFS].iter().any(|n| e.is(*n))
}

/// Whether the container can do without `group`, which could not be made because of `e`: the config neither names it
/// nor has limits for it. Device rules do not count, because an ordinary user gets no device that it does not have.
/// Texts as runc's.
pub(super) fn without(plan: &Plan, group: &Group, e: Error) -> Result<()> {
    if plan.named {
        return Err(e.field("/linux/cgroupsPath"));
    }
    match plan.writes.iter().find(|w| w.key == group.key && !is_of_devices(w)) {
        None => Ok(()),
        Some(w) => {
            let text = match group.key.as_str() {
                "" => "rootless needs no limits + no cgrouppath when no permission is granted for cgroups"
                    .into(),
                key => format!("cannot set {key} limit: container could not join or create cgroup"),
            };
            Err(Error::spec(&w.field, text).code(Code::Unsupported).hint(e.to_string()))
        }
    }
}

/// Whether a refused write may be passed over when the runtime is not root: nobody may set device rules then.
pub(super) fn is_of_devices(w: &Write) -> bool {
    w.field.starts_with(&at("devices"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::{Layout, plan};
    use crate::spec::{DeviceRule, Pids, Resources};

    fn planned(path: &str, resources: &Resources) -> Plan {
        let own = b"0::/user.slice/session\n";
        let info = b"30 1 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        let mut layout: Layout = super::super::layout::parse(info, own).unwrap();
        layout.v2.as_mut().unwrap().controllers = vec!["pids".into()];
        plan(&layout, path, "id", resources).unwrap()
    }

    fn denied(path: &str, resources: &Resources) -> Result<()> {
        let plan = planned(path, resources);
        let e = Error::os("mkdirat", "dir", errno::EACCES);
        assert!(is_denied(&e));
        without(&plan, &plan.groups[0], e)
    }

    #[test]
    fn only_what_nobody_asked_for_can_be_missing() {
        assert!(denied("", &Resources::default()).is_ok());
        let devices = Resources {
            devices: vec![DeviceRule { access: "rwm".into(), ..Default::default() }],
            ..Default::default()
        };
        assert!(denied("", &devices).is_ok());
        let named = denied("/a", &Resources::default()).unwrap_err();
        assert_eq!(named.field_path(), Some("/linux/cgroupsPath"));
        let pids = Resources { pids: Some(Pids { limit: Some(5) }), ..Default::default() };
        let limited = denied("", &pids).unwrap_err();
        assert_eq!(limited.field_path(), Some("/linux/resources/pids/limit"));
        assert!(limited.to_string().contains("no limits + no cgrouppath"), "{limited}");
    }
}
