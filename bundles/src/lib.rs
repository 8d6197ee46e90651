//! The confinement that the popular engines give a container by default, for whoever makes a config.json: the sample
//! bundles here and the services of the supervisor. Pure.
#![forbid(unsafe_code)]

pub mod defaults;
