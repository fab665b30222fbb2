//! The single binary: parse, resolve, build, run, drain.

use clap::Parser as _;

mod agent;
mod bench;
mod cli;
mod client;
mod config;
mod connector;
mod demo;
mod image;
mod instance;
mod local;
mod look;
mod output;
mod privilege;
mod probe;
mod process;
mod proxy;
mod server;
mod snapshot;
mod status;
mod stop;
mod up;
mod version;

use cli::{Cli, Command};
use config::{Config, Role};

fn main() -> std::process::ExitCode {
    // Helpers of ours are this binary too. They enter namespaces, which only a single thread can, so they
    // go their own way before anything else.
    let mut words = std::env::args_os().skip(1);
    let outcome = match words.next().as_deref().and_then(std::ffi::OsStr::to_str) {
        Some("shim") => return beeline_container::shim_main(&words.collect::<Vec<_>>()),
        Some(demo::world::HOLD) => demo::world::hold(),
        Some(beeline_bench::worker::ARGUMENT) => {
            beeline_bench::worker::serve().map_err(anyhow::Error::new)
        }
        Some(probe::PROBE) => probe::run(&words.next().unwrap_or_default().to_string_lossy()),
        _ => run(Cli::parse()),
    };
    match outcome {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            output::note(&format!("beeline: {}", beeline_kit::chain(error.as_ref())));
            std::process::ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Up(options) => process::run(Config::resolve(Role::Up, options)?),
        Command::Server(options) => process::run(Config::resolve(Role::Server, options)?),
        Command::Agent(options) => process::run(Config::resolve(Role::Agent, options)?),
        Command::Proxy(args) => proxy::run(args),
        Command::Demo(args) => demo::run(&args),
        Command::Flows(args) => process::block_on(look::flows(args)),
        Command::Services(args) => process::block_on(look::services(args)),
        Command::Status(args) => process::block_on(look::status(args)),
        Command::Image { command } => image::run(command),
        Command::Snapshot { command } => snapshot::run(command),
        Command::Token(look) => look::token(&look),
        Command::Kubeconfig(look) => look::kubeconfig(&look),
        Command::Stop(args) => stop::run(&args),
        Command::Config(options) => look::config(&Config::resolve(Role::Up, options)?),
        Command::Bench { command } => bench::run(&command),
        Command::Version { output } => look::version(output),
        Command::Completion { shell } => look::completion(shell),
        Command::Man { folder } => look::man(&folder),
    }
}
