//! Wrappers for this family of calls.
