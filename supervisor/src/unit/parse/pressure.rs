//! `[pressure]`: what a service pays when memory runs short.

use std::time::Duration;

use super::read::{Reader, Table};
use super::value::duration;
use crate::memory::guard::AtHigh;
use crate::memory::leak::Above;
use crate::unit::pressure::{PRIORITY_MAX, Pressure, Priority, Rung, Rungs};

const FREEZE_MIN: Duration = Duration::from_secs(1);
const FREEZE_MAX: Duration = Duration::from_secs(600);
const ABOVE_MIN: Duration = Duration::from_secs(1);
const ABOVE_MAX: Duration = Duration::from_secs(7 * 86_400);
const GRACE_MAX: Duration = Duration::from_secs(60);

/// Reads it; what contradicts itself is said where it does. `limited`: there is a limit of memory, or a bundle may have one. `slowed`: there may be
/// a `memory.high`.
pub(super) fn pressure(r: &mut Reader, t: &Table, limited: bool, slowed: bool) -> Pressure {
    let mut pressure = Pressure::default();
    if let Some(v) = t.get(r, "priority") {
        let priority = match v.is_string() {
            true => v.word(r, &[("protected", Priority::Protected)]),
            false => v.natural(r, 0..=i64::from(PRIORITY_MAX)).map(Priority::Level),
        };
        pressure.priority = priority.unwrap_or_default();
    }
    let place = t.get(r, "rungs");
    if let Some(place) = &place {
        let list = place.each(r, |r, v| v.word(r, &Rung::WORDS));
        if let Some(twice) = list.iter().enumerate().find_map(|(i, x)| list[..i].contains(x).then_some(x)) {
            place.say(r, format!("a rung twice, got {:?}", twice.word()));
        }
        if let Some(rung) = list.iter().find(|rung| rung.sheds())
            && pressure.priority == Priority::Protected
        {
            place.say(r, format!("what is protected is never shed, got {:?} for it", rung.word()));
        }
        pressure.rungs = Some(Rungs::of(&list));
    }
    let rungs = pressure.rungs();
    let mut needs = |name: &str, rung: Rung| {
        let v = t.get(r, name)?;
        if !rungs.has(rung) {
            v.say(r, format!("{name} is about the rung {:?}, which this service does not have", rung.word()));
        }
        Some(v)
    };
    let (freeze_for, grace) = (needs("freeze_for", Rung::Freeze), needs("grace", Rung::Evict));
    let (signal, watch) = (needs("signal", Rung::Warn), needs("watch", Rung::Warn));
    pressure.freeze_for = freeze_for.and_then(|v| v.duration(r, FREEZE_MIN..=FREEZE_MAX));
    pressure.grace = grace.and_then(|v| v.duration(r, Duration::ZERO..=GRACE_MAX));
    pressure.signal = signal.and_then(|v| v.signal(r));
    pressure.watch = watch.and_then(|v| v.boolean(r)).unwrap_or(false);
    pressure.restart_above = t.get(r, "restart_above").and_then(|v| {
        if !limited {
            v.say(r, "restart_above is about limits.memory, which is not given");
        }
        v.parsed(r, above)
    });
    if let Some(v) = t.get(r, "at_high") {
        if !slowed {
            v.say(r, "at_high is about limits.memory_high, and there is none, nor a memory_request that would give one");
        }
        pressure.at_high = v.word(r, &AtHigh::WORDS).unwrap_or_default();
    }
    pressure
}

/// `80% for 10m`.
fn above(text: &str) -> Result<Above, String> {
    let want = || format!("want a share of the limit and a time, such as \"80% for 10m\", got {text:?}");
    let (share, time) = text.split_once("% for ").ok_or_else(want)?;
    let percent = share.parse::<u8>().ok().filter(|n| (1..=100).contains(n) && n.to_string() == share);
    let lasts = duration(time)?;
    if !(ABOVE_MIN..=ABOVE_MAX).contains(&lasts) {
        return Err(format!("out of range, want 1s to 7d, got {time:?}"));
    }
    Ok(Above { percent: percent.ok_or_else(want)?, lasts })
}
