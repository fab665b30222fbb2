//! Real containers from an image of Debian's static busybox, built on the spot. Needs root, overlayfs and cgroups; without them
//! each test says that it is skipped. Every test has its own instance, and checks at its end that nothing of it is left.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "helpers of tests, which panic and print"
)]

#[path = "containers/bench.rs"]
mod bench;
#[path = "containers/escapes.rs"]
mod escapes;
#[path = "containers/life.rs"]
mod life;
#[path = "containers/restart.rs"]
mod restart;
