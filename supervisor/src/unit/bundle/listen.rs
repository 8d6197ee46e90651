//! What an instance is told about the sockets that are passed to it: sd_listen_fds(3).

use serde_json::Value;

use super::Failure;
use crate::unit::service::Service;

/// The variables, in the words of sd_listen_fds_with_names(3). The first process of a pid namespace is number 1.
pub(super) fn environment(service: &Service) -> Vec<(String, String)> {
    if service.listen.is_empty() {
        return Vec::new();
    }
    let names = service.listen.iter().map(|l| l.name.as_deref().unwrap_or(service.name.as_str()));
    vec![
        ("LISTEN_FDS".into(), service.listen.len().to_string()),
        ("LISTEN_PID".into(), "1".into()),
        ("LISTEN_FDNAMES".into(), names.collect::<Vec<_>>().join(":")),
    ]
}

/// Whether the first process will have the number that it is told. Without that it would take the sockets for somebody else's.
pub(super) fn check(namespaces: &[Value], service: &Service) -> Result<(), Failure> {
    let path = |n: &Value| n["path"].as_str().is_some_and(|p| !p.is_empty());
    match service.listen.is_empty() || namespaces.iter().any(|n| n["type"] == "pid" && !path(n)) {
        true => Ok(()),
        false => Err(Failure::new(
            "bundle-invalid",
            "config.json has no pid namespace of its own: with listen the first process must be number 1 (LISTEN_PID)",
        )),
    }
}
