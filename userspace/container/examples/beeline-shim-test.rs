//! The shim as a program of its own, for tests: `beeline-shim-test shim <uid> <dir>` does what `beeline shim` does.

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    match args.split_first() {
        Some((first, rest)) if first == "shim" => beeline_container::shim_main(rest),
        _ => ExitCode::from(2),
    }
}
