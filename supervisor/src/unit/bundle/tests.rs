//! Bundles of runs.
