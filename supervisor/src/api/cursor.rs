//! What a reader of events that has come so far must get: whether something before is gone, and which events it wants. Pure.
#![forbid(unsafe_code)]

use super::core::Target;
use super::model::{EventInfo, GapReason, Lagged, Severity};
use crate::names::{Instance, ServiceName};

/// Which numbers there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Numbers {
    /// Of the oldest event that is kept.
    pub oldest: Option<u64>,
    /// That the next event will have: none from there on was ever given.
    pub next: u64,
}

impl Numbers {
    /// What stands for events that a reader who has seen `last` will not get. 0 = it has seen nothing and wants what is kept.
    pub(super) fn gap(self, last: u64) -> Option<Lagged> {
        if last == 0 {
            return None;
        }
        if last >= self.next {
            // The state directory was lost, or it is that of another daemon.
            return Some(Lagged { lagged: 0, oldest: self.oldest, reason: GapReason::NumbersBeganAnew });
        }
        // The oldest go first: while one is kept that the reader has seen, none that it has not seen is gone.
        let first = self.oldest.unwrap_or(self.next);
        let lagged = first.saturating_sub(last.saturating_add(1));
        (lagged > 0).then_some(Lagged { lagged, oldest: self.oldest, reason: GapReason::NotKept })
    }
}

/// Which events a reader wants: each part that is not empty has to fit.
#[derive(Debug, Default)]
pub(super) struct Filter {
    services: Vec<ServiceName>,
    instances: Vec<Instance>,
    kinds: Vec<String>,
    least: Severity,
}

impl Filter {
    /// From lists with commas.
    ///
    /// # Errors
    /// A name that cannot be one, for people.
    pub(super) fn parse(targets: &str, kinds: &str, least: Severity) -> Result<Filter, String> {
        let words = |list: &'static str, text: &str| -> Result<Vec<String>, String> {
            let all: Vec<_> = text.split(',').filter(|_| !text.is_empty()).map(str::to_owned).collect();
            match all.iter().any(String::is_empty) {
                true => Err(format!("{list}: got {text:?}, want names with commas between them")),
                false => Ok(all),
            }
        };
        let mut filter = Filter { kinds: words("kind", kinds)?, least, ..Filter::default() };
        for target in words("target", targets)? {
            match target.parse().map_err(|e| format!("target: {e}"))? {
                Target::Service(name) => filter.services.push(name),
                Target::Instance(instance) => filter.instances.push(instance),
            }
        }
        Ok(filter)
    }

    /// Whether an event is wanted. What is about a whole service is about its instances, too.
    pub(super) fn wants(&self, event: &EventInfo) -> bool {
        let everybody = self.services.is_empty() && self.instances.is_empty();
        let service = event.service.as_deref();
        let named = || {
            self.services.iter().any(|s| service == Some(s.as_str()))
                || self.instances.iter().any(|i| match &event.instance {
                    Some(instance) => *instance == i.to_string(),
                    None => service == Some(i.service.as_str()),
                })
        };
        (everybody || named())
            && (self.kinds.is_empty() || self.kinds.contains(&event.kind))
            && event.severity >= self.least
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::kinds::severity;

    const NUMBERS: Numbers = Numbers { oldest: Some(100), next: 200 };

    #[test]
    fn a_reader_is_told_what_it_will_not_get() {
        let gone = |last| NUMBERS.gap(last).map(|l| (l.lagged, l.reason));
        assert_eq!(gone(0), None, "it wants what is kept");
        assert_eq!(gone(50), Some((49, GapReason::NotKept)));
        assert_eq!(gone(98), Some((1, GapReason::NotKept)));
        for last in [99, 100, 150, 199] {
            assert_eq!(gone(last), None, "{last}");
        }
        for last in [200, 5000] {
            assert_eq!(gone(last), Some((0, GapReason::NumbersBeganAnew)), "{last}");
        }
    }

    #[test]
    fn numbers_that_a_crash_has_left_out_are_no_gap() {
        // 17 was seen; the daemon was killed, and goes on with 257.
        assert_eq!(Numbers { oldest: Some(1), next: 258 }.gap(17), None);
        assert_eq!(Numbers { oldest: None, next: 1 }.gap(0), None);
        assert_eq!(Numbers { oldest: None, next: 18 }.gap(17), None);
    }

    fn event(service: Option<&str>, instance: Option<&str>, kind: &str) -> EventInfo {
        EventInfo {
            seq: 1,
            at: String::new(),
            service: service.map(str::to_owned),
            instance: instance.map(str::to_owned),
            kind: kind.into(),
            severity: severity(kind),
            text: String::new(),
            cause: None,
        }
    }

    #[test]
    fn filters_are_all_of_their_parts() {
        let of = |targets: &str, kinds: &str, least| Filter::parse(targets, kinds, least).unwrap();
        let died = event(Some("web"), Some("web.1"), "exited");
        let applied = event(Some("web"), None, "applied");
        let loss = event(None, None, "journal-loss");
        let all = of("", "", Severity::Info);
        assert!([&died, &applied, &loss].iter().all(|e| all.wants(e)));
        let web = of("web,db", "", Severity::Info);
        assert!(web.wants(&died) && web.wants(&applied) && !web.wants(&loss));
        let second = of("web.2", "", Severity::Info);
        assert!(!second.wants(&died) && second.wants(&applied));
        let kinds = of("web.1", "exited,started", Severity::Info);
        assert!(kinds.wants(&died) && !kinds.wants(&applied));
        let bad = of("", "", Severity::Error);
        assert!(bad.wants(&loss) && !bad.wants(&died));
        for (targets, kinds) in [("web,", ""), ("We b", ""), ("", ",")] {
            assert!(Filter::parse(targets, kinds, Severity::Info).is_err(), "{targets:?} {kinds:?}");
        }
    }
}
