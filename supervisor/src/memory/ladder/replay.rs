//! Recorded or made-up traces through the ladder: what it would have decided. JSON lines in, decisions out. Pure.
//!
//! A trace has one object a line: `{"thresholds": ...}` (first, or not at all), then either `{"made": ...}`, a whole host that
//! is made up, or looks `{"at": SECONDS, "host": ..., "services": [...]}` in the order of time. A service that a look does not
//! name is as it was; `"gone": true` ends it. Recorded figures do not change with what is decided: they are what was.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::sim::{Made, Sim};
use super::{Action, Host, Ladder, Terms, Thresholds, View};
use crate::clock::Boot;
use crate::names::Instance;
use crate::unit::pressure::{FREEZE_FOR, GRACE, PRIORITY_MAX, Pressure, Priority, Rung, Rungs};

/// One line of a trace.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    thresholds: Option<Given>,
    made: Option<Made>,
    at: Option<f64>,
    host: Option<Host>,
    #[serde(default)]
    services: Vec<Said>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    available: Option<u64>,
    pause: Option<f64>,
    hold: Option<f64>,
}

/// What a look says of one service.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    name: Instance,
    current: Option<u64>,
    request: Option<u64>,
    /// 0 to 1000, or `protected`.
    priority: Option<Rank>,
    rungs: Option<Vec<String>>,
    freeze_for: Option<f64>,
    grace: Option<f64>,
    #[serde(default)]
    gone: bool,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Rank {
    Level(u16),
    Word(String),
}

/// One decision.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Decided {
    /// Seconds from the beginning.
    pub at: f64,
    /// `level`, `warn`, `reclaim`, `throttle`, `unthrottle`, `freeze`, `thaw`, `evict`, `return`.
    pub action: &'static str,
    /// Which instance, if one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Bytes, seconds or words, whatever the action has.
    pub text: String,
}

/// What came of a trace.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Replayed {
    /// In their order.
    pub decisions: Vec<Decided>,
    /// How often was looked.
    pub looks: u64,
}

/// Feeds a trace to a ladder.
///
/// # Errors
/// The first line that is none, with its number.
pub fn replay(text: &str) -> Result<Replayed, String> {
    let mut state = State::default();
    for (n, line) in text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
        let failed = |why: String| format!("line {}: {why}", n + 1);
        let line: Line = serde_json::from_str(line).map_err(|e| failed(e.to_string()))?;
        state.take(line).map_err(failed)?;
    }
    Ok(state.out)
}

#[derive(Default)]
struct State {
    ladder: Ladder,
    views: BTreeMap<Instance, View>,
    last: Option<f64>,
    out: Replayed,
}

impl State {
    fn take(&mut self, line: Line) -> Result<(), String> {
        match line {
            Line { thresholds: Some(given), made: None, at: None, host: None, services }
                if services.is_empty() =>
            {
                if self.out.looks > 0 {
                    return Err("thresholds come first".into());
                }
                let usual = Thresholds::default();
                let time = |t: Option<f64>, usual| t.map_or(Ok(usual), |t| duration("a time", t));
                self.ladder = Ladder::new(Thresholds {
                    available: given.available,
                    pause: time(given.pause, usual.pause)?,
                    hold: time(given.hold, usual.hold)?,
                });
                Ok(())
            }
            Line { thresholds: None, made: Some(made), at: None, host: None, services }
                if services.is_empty() =>
            {
                self.make(&made)
            }
            Line { thresholds: None, made: None, at: Some(at), host: Some(host), services } => {
                self.look(at, &host, services)
            }
            _ => Err("want thresholds, or made, or at with host and services".into()),
        }
    }

    fn make(&mut self, made: &Made) -> Result<(), String> {
        if self.out.looks > 0 {
            return Err("made is alone in its trace".into());
        }
        if made.services > 100_000 || made.seconds > 86_400 || made.step_ms == 0 || made.hogs > made.services
        {
            return Err(
                "want at most 100000 services, 86400 seconds, hogs among the services, and a step".into()
            );
        }
        let mut sim = Sim::make(made);
        let step = Duration::from_millis(made.step_ms.into());
        let looks = u64::from(made.seconds) * 1000 / u64::from(made.step_ms);
        for _ in 0..looks {
            let actions = sim.look(&mut self.ladder, step);
            self.out.looks += 1;
            self.out.decisions.extend(actions.iter().map(|a| decided(sim.now, a)));
        }
        Ok(())
    }

    fn look(&mut self, at: f64, host: &Host, services: Vec<Said>) -> Result<(), String> {
        if self.last.is_some_and(|last| at <= last) {
            return Err(format!("at {at} is not after the look before"));
        }
        self.last = Some(at);
        let now = Boot(duration("at", at)?);
        for said in services {
            if said.gone {
                self.views.remove(&said.name);
                continue;
            }
            let old = self.views.get(&said.name);
            let view = said.view(old)?;
            self.views.insert(view.instance.clone(), view);
        }
        let views: Vec<_> = self.views.values().cloned().collect();
        let actions = self.ladder.step(now, host, &views);
        self.out.looks += 1;
        self.out.decisions.extend(actions.iter().map(|a| decided(now, a)));
        Ok(())
    }
}

impl Said {
    fn view(self, old: Option<&View>) -> Result<View, String> {
        let usual = |priority| Terms::of(&Pressure { priority, ..Pressure::default() }, GRACE);
        let priority = match self.priority {
            Some(Rank::Level(n)) if n <= PRIORITY_MAX => Some(Priority::Level(n)),
            Some(Rank::Word(word)) if word == "protected" => Some(Priority::Protected),
            None => None,
            Some(Rank::Level(_) | Rank::Word(_)) => {
                return Err("priority: want 0 to 1000, or protected".into());
            }
        };
        let mut terms = match (old, priority) {
            (Some(old), None) => old.terms,
            (_, priority) => usual(priority.unwrap_or_default()),
        };
        if let Some(words) = &self.rungs {
            let rung = |word: &String| {
                let known = Rung::WORDS.into_iter().find(|(w, _)| w == word);
                known.map(|(_, rung)| rung).ok_or_else(|| format!("no such rung: {word:?}"))
            };
            terms.rungs = Rungs::of(&words.iter().map(rung).collect::<Result<Vec<_>, _>>()?);
        }
        terms.freeze_for = match self.freeze_for {
            Some(t) => duration("freeze_for", t)?,
            None => old.map_or(FREEZE_FOR, |v| v.terms.freeze_for),
        };
        if let Some(t) = self.grace {
            terms.grace = duration("grace", t)?;
        }
        Ok(View {
            current: self.current.or(old.map(|v| v.current)).unwrap_or(0),
            request: self.request.or(old.map(|v| v.request)).unwrap_or(0),
            instance: self.name,
            terms,
        })
    }
}

fn duration(what: &str, seconds: f64) -> Result<Duration, String> {
    Duration::try_from_secs_f64(seconds).map_err(|e| format!("{what}: {e}"))
}

fn decided(now: Boot, action: &Action) -> Decided {
    use crate::policy::{size, span};
    let (word, text) = match action {
        Action::Level(level, why) => ("level", format!("{}: {why}", level.word())),
        Action::Warn(_) => ("warn", String::new()),
        Action::Reclaim(_, bytes) => ("reclaim", size(*bytes)),
        Action::Throttle(_, high) => ("throttle", format!("above {}", size(*high))),
        Action::Unthrottle(_) => ("unthrottle", String::new()),
        Action::Freeze(_, until) => ("freeze", format!("for {} at most", span(until.since(now)))),
        Action::Thaw(_, why) => ("thaw", (*why).to_owned()),
        Action::Evict(_, grace, why) => ("evict", format!("{why}; grace {}", span(*grace))),
        Action::Return(_, why) => ("return", why.clone()),
    };
    Decided {
        at: now.0.as_secs_f64(),
        action: word,
        instance: action.instance().map(ToString::to_string),
        text,
    }
}
