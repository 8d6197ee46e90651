//! The unit of the daemon, where there is a systemd.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::Finding;
use super::daemon::Seen;
use super::runtime::told;

const UNIT: &str = "knarrd.service";
/// Those that are looked at.
const WANTED: &str = "--property=LoadState,ActiveState,UnitFileState,KillMode,Delegate,WatchdogUSec,MainPID,FragmentPath,\
                      RuntimeDirectoryPreserve";

/// The unit's file, and what is wrong with the unit.
pub(super) async fn look(seen: &Seen) -> (Option<PathBuf>, Vec<Finding>) {
    // sd_booted(3).
    if !Path::new("/run/systemd/system").is_dir() {
        return (
            None,
            vec![Finding::note("unit", "systemd is not the first process here: the unit is not looked at")],
        );
    }
    let text = match told(Path::new("systemctl"), &["show", WANTED, UNIT]).await {
        Ok((_, text)) => text,
        Err(e) => return (None, vec![Finding::warning("unit", e, "systemctl show knarrd.service")]),
    };
    let unit: BTreeMap<&str, &str> = text.lines().filter_map(|l| l.split_once('=')).collect();
    let file = unit.get("FragmentPath").filter(|p| !p.is_empty()).map(PathBuf::from);
    (file, judge(&unit, seen.pid))
}

fn judge(unit: &BTreeMap<&str, &str>, daemon: Option<u32>) -> Vec<Finding> {
    let value = |name: &str| unit.get(name).copied().unwrap_or_default();
    if value("LoadState") != "loaded" {
        return vec![Finding::note(
            "unit",
            format!("{UNIT} is {}: whoever starts knarrd has to do it at boot", value("LoadState")),
        )];
    }
    let main: Option<u32> = value("MainPID").parse().ok().filter(|pid| *pid != 0);
    if daemon.is_some() && daemon != main {
        return vec![Finding::note("unit", format!("the daemon that answers is not that of {UNIT}"))];
    }
    let mut out = Vec::new();
    let shipped =
        "remove the line from the drop-in that sets it (systemctl cat knarrd), then systemctl daemon-reload";
    for (name, wrong, what) in [
        (
            "KillMode",
            &["control-group", "mixed"][..],
            "a stop or an upgrade of the daemon kills every container",
        ),
        ("Delegate", &["no", ""][..], "systemd may change or empty the groups of containers"),
        (
            "RuntimeDirectoryPreserve",
            &["no"][..],
            "a stop of the daemon removes what containers and keepers need",
        ),
    ] {
        if wrong.contains(&value(name)) {
            out.push(Finding::error("unit.settings", format!("{name}={}: {what}", value(name)), shipped));
        }
    }
    if ["0", "infinity"].contains(&value("WatchdogUSec")) {
        let what = "WatchdogSec= is off: a daemon that hangs is not started again";
        out.push(Finding::warning("unit.watchdog", what, shipped));
    }
    if value("UnitFileState") == "disabled" {
        let what = "the unit is not enabled: after a boot nothing starts the services";
        out.push(Finding::warning("unit.enabled", what, "systemctl enable knarrd"));
    }
    if daemon.is_none() && value("ActiveState") != "active" {
        let what = format!("the unit is {}", value("ActiveState"));
        out.push(Finding::error(
            "unit.active",
            what,
            "systemctl start knarrd; journalctl --unit knarrd says what it said",
        ));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit<'a>(changes: &[(&'a str, &'a str)]) -> BTreeMap<&'a str, &'a str> {
        let mut all = BTreeMap::from([
            ("LoadState", "loaded"),
            ("ActiveState", "active"),
            ("UnitFileState", "enabled"),
            ("KillMode", "process"),
            ("Delegate", "yes"),
            ("WatchdogUSec", "30s"),
            ("MainPID", "17"),
            ("RuntimeDirectoryPreserve", "yes"),
        ]);
        all.extend(changes.iter().copied());
        all
    }

    #[test]
    fn the_shipped_unit_is_fine_and_each_change_is_named() {
        assert_eq!(judge(&unit(&[]), Some(17)), Vec::new());
        for (name, value, check) in [
            ("KillMode", "control-group", "unit.settings"),
            ("Delegate", "no", "unit.settings"),
            ("RuntimeDirectoryPreserve", "no", "unit.settings"),
            ("WatchdogUSec", "infinity", "unit.watchdog"),
            ("UnitFileState", "disabled", "unit.enabled"),
        ] {
            let found = judge(&unit(&[(name, value)]), Some(17));
            assert_eq!(found.iter().map(|f| f.check.as_str()).collect::<Vec<_>>(), [check], "{name}");
            assert!(!found[0].fix.is_empty());
        }
        let down = judge(&unit(&[("ActiveState", "failed"), ("MainPID", "0")]), None);
        assert_eq!(down[0].check, "unit.active");
        let another = judge(&unit(&[("KillMode", "mixed")]), Some(18));
        assert!(another.len() == 1 && another[0].what.contains("is not that of"));
    }
}
