//! Properties of a unit that annotations of config.json ask systemd for: `org.systemd.property.NAME`.

use serde_json::{Value, json};

use super::systemd::{has, scope, unit};
use crate::case::Case;
use crate::trial::Trial;

/// All of this subject.
pub fn cases() -> Vec<Case> {
    let property = |name: &'static str, value: &'static str| {
        move |s: &mut Value| {
            s["annotations"][format!("org.systemd.property.{name}")] = json!(value);
        }
    };
    let shown = |name: &'static str, want: &'static str| {
        move |t: &mut Trial<'_>| {
            let unit = scope(t);
            has(t, &unit, name, want)
        }
    };
    vec![
        unit("annotation-seconds")
            .spec(property("TimeoutStopSec", "7"))
            .created(shown("TimeoutStopUSec", "7s")),
        unit("annotation-fraction")
            .spec(property("TimeoutStopSec", "1.5"))
            .created(shown("TimeoutStopUSec", "1.500000s")),
        unit("annotation-typed")
            .spec(property("TimeoutStopUSec", "uint64 9000000"))
            .created(shown("TimeoutStopUSec", "9s")),
        unit("annotation-text")
            .spec(property("Description", "'said by an annotation'"))
            .created(shown("Description", "said by an annotation")),
        unit("annotation-list")
            .spec(property("Documentation", "['man:a(1)', 'man:b(1)']"))
            .created(shown("Documentation", "\"man:a(1)\" \"man:b(1)\"")),
        unit("annotation-no-value")
            .wrong(property("TimeoutStopSec", "seven"))
            .refused("/annotations/org.systemd.property.TimeoutStopSec", "value parse error"),
        unit("annotation-no-seconds")
            .wrong(property("TimeoutStopSec", "'seven'"))
            .refused("/annotations/org.systemd.property.TimeoutStopSec", "seconds"),
        unit("annotation-no-name")
            .wrong(property("Timeout_Stop", "7"))
            .refused("/annotations/org.systemd.property.Timeout_Stop", "name of a property"),
        unit("annotation-unknown")
            .wrong(property("NoSuchThing", "7"))
            .refused("/linux/cgroupsPath", "NoSuchThing"),
    ]
}
