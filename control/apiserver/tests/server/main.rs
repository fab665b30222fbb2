//! The server over a real registry, driven by real clients: the kubectls that are installed, and plain HTTP.

mod errors;
mod everyday;
mod fixture;
mod http_surface;
mod kubectl;
mod nodes;
mod versions;
