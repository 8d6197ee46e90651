//! Bytes to `Spec`: strict JSON, then typed data.
