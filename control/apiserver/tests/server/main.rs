//! The server over a real registry, driven by real clients: the kubectls that are installed, and plain HTTP.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "tests fail by panicking and say so when they skip"
)]

mod access;
mod admission;
mod aggregated;
mod audit;
mod custom;
mod drain;
mod errors;
mod everyday;
mod eviction;
mod fairness;
mod fixture;
mod hook;
mod http_surface;
mod kinds;
mod kubectl;
mod metrics;
mod nodes;
mod policies;
mod quota;
mod runtimeclass;
mod services;
mod versions;
