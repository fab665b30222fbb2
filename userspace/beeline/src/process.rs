//! One process of beeline: enter its namespace, take its locks, build, run, drain.

use std::{future::Future, path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use beeline_kit::{Tasks, telemetry};

use crate::{
    agent::Agent,
    config::{Config, Role},
    instance::Instance,
    local, output, privilege,
    server::Server,
    status::Looking,
    up,
};

/// How long tasks may take to end before they are ended.
pub const DRAIN: Duration = Duration::from_secs(10);

/// Run until a signal says to stop. Pods and connections outlive the process.
pub fn run(config: Config) -> anyhow::Result<()> {
    telemetry::init(config.log_format.into(), &config.log);
    if config.role.works() {
        privilege::check(privilege::Work::Node)?;
    }
    if let Some(parent) = config.die_with_parent {
        end_with(parent)?;
    }
    enter(config.netns.as_deref())?;
    let instance = Instance::open(&config.data_dir, &config.run_dir)?;
    on_threads(serve(Arc::new(config), instance))
}

/// Run in a namespace, if one was named. They are a property of threads, so this comes before the runtime makes any.
pub fn enter(netns: Option<&Path>) -> anyhow::Result<()> {
    let Some(netns) = netns else { return Ok(()) };
    beeline_sys::netns::enter(netns).with_context(|| {
        format!(
            "run in the namespace of --netns {}: create one with `ip netns add NAME`",
            netns.display()
        )
    })
}

/// Run the future of a long-lived process.
pub fn on_threads(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    beeline_sys::process::frugal_allocator(processors());
    let runtime = runtime()?;
    let outcome = runtime.block_on(work);
    // Work that blocks, on a disk that hangs perhaps, has had its time.
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}

fn end_with(parent: u32) -> anyhow::Result<()> {
    let signal = Some(rustix::process::Signal::TERM);
    rustix::process::set_parent_process_death_signal(signal)
        .context("ask to end with the parent")?;
    // It may have ended before it was asked for: then no signal ever comes.
    let now = rustix::process::getppid().map(rustix::process::Pid::as_raw_nonzero);
    anyhow::ensure!(
        now.is_some_and(|pid| u32::try_from(pid.get()) == Ok(parent)),
        "process {parent}, which started this one, has ended"
    );
    Ok(())
}

/// Run a future of a short command.
pub fn block_on(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("start the async runtime")?.block_on(work)
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(2, std::num::NonZero::get)
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(processors().clamp(2, 8))
        .max_blocking_threads(64)
        .enable_all()
        .build();
    runtime.context("start the async runtime")
}

async fn serve(config: Arc<Config>, instance: Instance) -> anyhow::Result<()> {
    let started = std::time::Instant::now();
    let tasks = Tasks::new();
    let mut stop = StopSignal::new()?;
    let looking = Arc::new(Looking::new(&config, &instance));
    local::serve(&config.socket(), Arc::clone(&looking) as Arc<dyn local::Answerer>, &tasks)?;

    let built = tokio::select! {
        built = build(&config, &instance, &looking, &tasks) => built,
        reason = stop.wait() => {
            tracing::info!(reason, "stopped while starting");
            tasks.stop(DRAIN).await;
            return Ok(());
        }
    };
    let (server, agent) = match built {
        Ok(parts) => parts,
        Err(error) => {
            tasks.stop(Duration::from_secs(1)).await;
            return Err(error);
        }
    };
    up::announce(&config, agent.as_ref(), started);

    let fatal = async {
        match &server {
            Some(server) => server.fatal().await,
            None => std::future::pending().await,
        }
    };
    let outcome = tokio::select! {
        reason = stop.wait() => {
            tracing::info!(reason, "stopping; pods and connections stay");
            Ok(())
        }
        error = fatal => Err(error),
    };
    up::notify("STOPPING=1");
    if let Some(server) = &server {
        server.drain().await;
    }
    tasks.stop(DRAIN).await;
    if let Some(server) = server {
        server.close().await;
    }
    let _ = std::fs::remove_file(config.socket());
    outcome
}

async fn build(
    config: &Arc<Config>,
    instance: &Instance,
    looking: &Arc<Looking>,
    tasks: &Tasks,
) -> anyhow::Result<(Option<Server>, Option<Agent>)> {
    let server = match config.role.serves() {
        true => Some(Server::start(Arc::clone(config), tasks).await?),
        false => None,
    };
    if let Some(server) = &server {
        looking.set_server(server);
    }
    let agent = match config.role {
        Role::Server => None,
        Role::Up | Role::Agent => {
            Some(Agent::start(Arc::clone(config), instance, server.as_ref(), tasks).await?)
        }
    };
    if let Some(agent) = &agent {
        looking.set_agent(agent);
        agent.ready().await?;
    }
    Ok((server, agent))
}

/// SIGTERM, which is also what `beeline stop` sends, or SIGINT.
pub struct StopSignal {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl StopSignal {
    /// Listen from now on.
    pub fn new() -> anyhow::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("listen for SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("listen for SIGINT")?,
        })
    }

    /// Which one came.
    pub async fn wait(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => {
                output::note("");
                "SIGINT"
            }
        }
    }
}
