//! What only shows when all services are seen together: dependencies. Pure.
#![forbid(unsafe_code)]

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::api::model::Problem;
use crate::names::ServiceName;
use crate::unit::service::{Condition, Dependency, Service};

/// Dependencies on services that are not there, and cycles: a complaint to every member, each seen from itself. The file
/// of a problem is `NAME.toml` (see [`service_of`]), its key `depends_on[N]`; [`locate`](super::locate) finds the line.
pub fn check_set(services: &BTreeMap<ServiceName, Service>) -> Vec<Problem> {
    let mut services = services.clone();
    let implied = implied(services.values());
    for (name, service) in &mut services {
        service.depends_on.retain(|d| !d.implied);
        service.depends_on.extend(implied.get(name).into_iter().flatten().cloned());
    }
    let services = &services;
    let mut problems = Vec::new();
    for (name, service) in services {
        problems.extend(service.part_of.as_ref().and_then(|whole| part(services, name, whole)));
        for (i, dependency) in service.depends_on.iter().enumerate().filter(|(_, d)| !d.implied) {
            let to = &dependency.service;
            let message = if !services.contains_key(to) {
                let near =
                    super::parse::value::nearest(to.as_str(), services.keys().map(ServiceName::as_str));
                let near = near.map_or(String::new(), |n| format!("; did you mean {n:?}?"));
                format!("depends on {to}, and there is no such service{near}")
            } else if let Some(path) = path(services, to, name) {
                let names: Vec<&str> = path.into_iter().map(ServiceName::as_str).collect();
                format!("dependencies in a circle: {name} -> {}", names.join(" -> "))
            } else {
                continue;
            };
            let (file, key) = (format!("{name}.toml"), format!("depends_on[{i}]"));
            problems.push(Problem { file, line: 0, column: 0, key, message });
        }
    }
    problems
}

/// What is wrong with a part of a service.
fn part(
    services: &BTreeMap<ServiceName, Service>,
    name: &ServiceName,
    whole: &ServiceName,
) -> Option<Problem> {
    let message = match services.get(whole) {
        None => {
            let near = super::parse::value::nearest(whole.as_str(), services.keys().map(ServiceName::as_str));
            let near = near.map_or(String::new(), |n| format!("; did you mean {n:?}?"));
            format!("part of {whole}, and there is no such service{near}")
        }
        Some(Service { part_of: Some(other), .. }) => {
            format!("part of {whole}, which is itself part of {other}, want part_of = {:?}", other.as_str())
        }
        Some(_) => {
            let names: Vec<&str> =
                path(services, name, whole)?.into_iter().map(ServiceName::as_str).collect();
            format!("dependencies in a circle: {whole} -> {} (it is part of {whole})", names.join(" -> "))
        }
    };
    Some(Problem { file: format!("{name}.toml"), line: 0, column: 0, key: "part_of".into(), message })
}

/// What services depend on because others are part of them: on success of those that are jobs, else on their being ready.
pub fn implied<'a>(services: impl Iterator<Item = &'a Service>) -> BTreeMap<ServiceName, Vec<Dependency>> {
    let mut all: BTreeMap<ServiceName, Vec<Dependency>> = BTreeMap::new();
    for service in services {
        let Some(whole) = &service.part_of else { continue };
        let condition = if service.job.is_some() { Condition::Succeeded } else { Condition::Ready };
        let name = service.name.clone();
        let dependency =
            Dependency { service: name, condition, timeout: None, restart: false, implied: true };
        all.entry(whole.clone()).or_default().push(dependency);
    }
    all
}

/// The shortest way along dependencies, both ends included.
fn path<'a>(
    services: &'a BTreeMap<ServiceName, Service>,
    from: &'a ServiceName,
    to: &ServiceName,
) -> Option<Vec<&'a ServiceName>> {
    let mut came: BTreeMap<&ServiceName, &ServiceName> = BTreeMap::new();
    let mut seen = BTreeSet::from([from]);
    let mut next = VecDeque::from([from]);
    while let Some(at) = next.pop_front() {
        if at == to {
            let mut way = vec![at];
            let mut at = at;
            while let Some(before) = came.get(at) {
                way.push(before);
                at = before;
            }
            way.reverse();
            return Some(way);
        }
        for dependency in services.get(at).map(|s| s.depends_on.as_slice()).unwrap_or_default() {
            if seen.insert(&dependency.service) {
                came.insert(&dependency.service, at);
                next.push_back(&dependency.service);
            }
        }
    }
    None
}

/// Whose file a problem is about.
pub fn service_of(problem: &Problem) -> Option<ServiceName> {
    std::path::Path::new(&problem.file).file_name()?.to_str()?.strip_suffix(".toml")?.parse().ok()
}

/// All services, each after everything it depends on; otherwise by name. What is part of a cycle, or depends on one, comes
/// last, by name.
pub fn start_order<S: Borrow<Service>>(services: &BTreeMap<ServiceName, S>) -> Vec<ServiceName> {
    let mut waits: BTreeMap<&ServiceName, usize> = BTreeMap::new();
    let mut wanted_by: BTreeMap<&ServiceName, Vec<&ServiceName>> = BTreeMap::new();
    for (name, service) in services {
        let on = service.borrow().depends_on.iter().map(|d| &d.service);
        let on: BTreeSet<&ServiceName> = on.filter(|d| services.contains_key(d)).collect();
        waits.insert(name, on.len());
        for d in on {
            wanted_by.entry(d).or_default().push(name);
        }
    }
    let mut ready: BTreeSet<&ServiceName> = waits.iter().filter(|(_, n)| **n == 0).map(|(s, _)| *s).collect();
    let mut order = Vec::with_capacity(services.len());
    while let Some(name) = ready.pop_first() {
        waits.remove(name);
        order.push(name.clone());
        for waiting in wanted_by.get(name).into_iter().flatten() {
            if let Some(n) = waits.get_mut(waiting) {
                *n -= 1;
                if *n == 0 {
                    ready.insert(waiting);
                }
            }
        }
    }
    order.extend(waits.into_keys().cloned());
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn set(services: &[(&str, &[&str])]) -> BTreeMap<ServiceName, Service> {
        let one = |(name, on): &(&str, &[&str])| {
            let name: ServiceName = name.parse().unwrap();
            let text = format!("bundle = \"/b\"\ndepends_on = {on:?}\nports = [80]");
            let service = crate::unit::parse(&name, Path::new("x.toml"), &text).unwrap();
            (name, service)
        };
        services.iter().map(one).collect()
    }

    fn texts(services: &[(&str, &[&str])]) -> Vec<String> {
        let said = |p: Problem| format!("{} {}: {}", p.file, p.key, p.message);
        check_set(&set(services)).into_iter().map(said).collect()
    }

    #[test]
    fn good_sets_have_no_problems_and_the_same_port_is_none() {
        assert!(texts(&[]).is_empty());
        assert!(texts(&[("a", &["b", "c"]), ("b", &["c"]), ("c", &[])]).is_empty());
    }

    #[test]
    fn unknown_dependencies() {
        assert_eq!(
            texts(&[("web", &["bd"]), ("db", &[])]),
            ["web.toml depends_on[0]: depends on bd, and there is no such service; did you mean \"db\"?"]
        );
    }

    #[test]
    fn circles_are_told_to_every_member_and_to_nobody_else() {
        assert_eq!(
            texts(&[("a", &["b"]), ("b", &["c"]), ("c", &["a"]), ("d", &["a"])]),
            [
                "a.toml depends_on[0]: dependencies in a circle: a -> b -> c -> a",
                "b.toml depends_on[0]: dependencies in a circle: b -> c -> a -> b",
                "c.toml depends_on[0]: dependencies in a circle: c -> a -> b -> c",
            ]
        );
        assert_eq!(service_of(&check_set(&set(&[("a", &["x"])]))[0]), Some("a".parse().unwrap()));
    }

    #[test]
    fn parts() {
        let told = |files: &[(&str, &str)]| {
            let one = |(name, keys): &(&str, &str)| {
                let name: ServiceName = name.parse().unwrap();
                let text = format!("bundle = \"/b\"\n{keys}");
                (name.clone(), crate::unit::parse(&name, Path::new("x.toml"), &text).unwrap())
            };
            let set: BTreeMap<_, _> = files.iter().map(one).collect();
            let said = |p: Problem| format!("{} {}: {}", p.file, p.key, p.message);
            check_set(&set).into_iter().map(said).collect::<Vec<_>>()
        };
        assert!(
            told(&[("web", ""), ("log", "part_of = 'web'"), ("db", ""), ("init", "part_of = 'web'\n[job]")])
                .is_empty()
        );
        assert_eq!(
            told(&[("web", ""), ("log", "part_of = 'wbe'")]),
            ["log.toml part_of: part of wbe, and there is no such service; did you mean \"web\"?"]
        );
        assert_eq!(
            told(&[("web", ""), ("log", "part_of = 'web'"), ("more", "part_of = 'log'")]),
            ["more.toml part_of: part of log, which is itself part of web, want part_of = \"web\""]
        );
        assert_eq!(
            told(&[("web", ""), ("log", "part_of = 'web'\ndepends_on = ['web']")]),
            [
                "log.toml part_of: dependencies in a circle: web -> log -> web (it is part of web)",
                "log.toml depends_on[0]: dependencies in a circle: log -> web -> log",
            ]
        );
    }

    #[test]
    fn order_of_start() {
        let order = |s: &[(&str, &[&str])]| {
            start_order(&set(s)).iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(order(&[("a", &["c"]), ("b", &[]), ("c", &["d"]), ("d", &[])]), "b d c a");
        assert_eq!(order(&[("a", &["b"]), ("b", &["a"]), ("c", &["a"]), ("z", &["gone"])]), "z a b c");
        assert_eq!(order(&[]), "");
    }

    #[test]
    fn a_thousand_in_a_row() {
        let names: Vec<String> = (0..=1000).map(|i| format!("s{i:04}")).collect();
        let mut services = BTreeMap::new();
        for pair in names.windows(2) {
            services.extend(set(&[(&pair[0], &[pair[1].as_str()])]));
        }
        services.extend(set(&[("s1000", &[])]));
        assert!(check_set(&services).is_empty());
        assert_eq!(start_order(&services)[0].as_str(), "s1000");
    }
}
