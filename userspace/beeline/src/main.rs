//! The single binary: parse, resolve, build, run, drain.
fn main() {}
