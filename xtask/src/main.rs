//! Project automation: `cargo xtask <command>`. One module per command.

use clap::{Parser, Subcommand};

mod build_ebpf;
mod ci;
mod deps;
mod exec;
mod fuzz;
mod kernel_test;
mod run;
mod setup;
mod test;

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "Build, run and test beeline",
    disable_help_subcommand = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what this machine lacks; does nothing the second time
    Setup,
    /// Build the kernel object into target/bpf
    BuildEbpf,
    /// Build everything and run `beeline up`; arguments after `--` go to it
    Run {
        /// Passed to `beeline up`
        #[arg(last = true)]
        args: Vec<String>,
    },
    /// Build everything and run `beeline demo`; arguments after `--` go to it
    Demo {
        /// Passed to `beeline demo`
        #[arg(last = true)]
        args: Vec<String>,
    },
    /// Build everything and run a benchmark: `boot`, `connect`, `proxy`, `store` or `api`
    Bench {
        /// Which one
        name: run::Bench,
        /// Passed to the benchmark
        #[arg(last = true)]
        args: Vec<String>,
    },
    /// Run all tests; as root for all of them, otherwise what runs without
    Test {
        /// Passed to `cargo test`, e.g. `-p beeline-store`
        #[arg(last = true)]
        args: Vec<String>,
    },
    /// Fuzz the packet logic and what the API decodes, every target for some seconds
    Fuzz {
        /// How long for each target
        #[arg(default_value_t = 60)]
        seconds: u32,
        /// Only this one
        #[arg(long)]
        target: Option<String>,
    },
    /// Every gate that a change has to pass
    Ci,
    /// Check who imports whom
    Deps,
    /// Run the dataplane's tests under other kernels, in virtual machines
    KernelTest(kernel_test::Options),
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Setup => setup::run(),
        Command::BuildEbpf => {
            setup::run()?;
            let object = build_ebpf::run()?;
            exec::say(&format!("kernel object: {}", object.display()));
            Ok(())
        }
        Command::Run { args } => run::beeline("up", &args),
        Command::Demo { args } => run::beeline("demo", &args),
        Command::Bench { name, args } => run::bench(name, &args),
        Command::Test { args } => test::run(&args),
        Command::Fuzz { seconds, target } => fuzz::run(seconds, target.as_deref()),
        Command::Ci => ci::run(),
        Command::Deps => deps::run(),
        Command::KernelTest(options) => kernel_test::run(&options),
    }
}
