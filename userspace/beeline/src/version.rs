//! What this is.

/// The version of beeline.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The Kubernetes API level that it speaks.
pub const KUBERNETES: &str = "v1.36.0";
/// Both, for `--version`.
pub const LONG: &str = concat!(env!("CARGO_PKG_VERSION"), " (Kubernetes v1.36.0)");
