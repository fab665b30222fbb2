//! `beeline bench proxy`: resolves what was asked for, shows progress, prints, writes and compares.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::{Context as _, bail};
use beeline_bench::{ModeName, Options, Profile, Report, worker::Launcher};
use tokio::signal::unix::{SignalKind, signal};

use super::Progress;
use crate::{
    cli::BenchProxyArgs,
    output::{self, Table},
    process,
};

/// Carry out the command.
pub fn run(args: &BenchProxyArgs) -> anyhow::Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("namespaces, rules and programs need root: run it with sudo");
    }
    // Before minutes are spent on measuring.
    let baseline = args.baseline.as_deref().map(read).transpose()?;
    let options = options(args)?;
    process::block_on(async {
        let report = measure(options).await?;
        publish(args, &report)?;
        baseline.map_or(Ok(()), |baseline| compare(&report, &baseline))
    })
}

/// Print and write what was asked for.
fn publish(args: &BenchProxyArgs, report: &Report) -> anyhow::Result<()> {
    let json = report.to_json()?;
    match args.json.as_deref() {
        Some(path) if path == Path::new("-") => output::line(&json),
        Some(path) => write(path, &json)?,
        None => {}
    }
    if let Some(path) = args.html.as_deref() {
        write(path, &report.to_html()?)?;
    }
    if args.json.as_deref() != Some(Path::new("-")) {
        print(report);
    }
    Ok(())
}

fn options(args: &BenchProxyArgs) -> anyhow::Result<Options> {
    let services = match (args.services.as_slice(), args.quick) {
        ([], true) => Options::SERVICES_QUICK.to_vec(),
        ([], false) => Options::SERVICES.to_vec(),
        (chosen, _) => chosen.to_vec(),
    };
    let mut modes = args.modes.clone();
    if modes.is_empty() {
        let wanted = |mode: &ModeName| !args.quick || *mode != ModeName::BeelineNoFlows;
        modes.extend(ModeName::ALL.into_iter().filter(wanted));
    }
    // The limit first: others are measured against it.
    modes.sort_unstable();
    modes.dedup();
    let profile = if args.quick { Profile::quick() } else { Profile::full() };
    Ok(Options { services, modes, profile, launcher: Launcher::this_program()? })
}

/// On a thread of its own, so that a signal can ask it to stop: it then removes what it made.
async fn measure(options: Options) -> anyhow::Result<Report> {
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let mut work = tokio::task::spawn_blocking(move || {
        let progress = Progress::new(options.steps());
        let mut show = |_done: usize, _total: usize, what: &str| progress.step(what);
        let outcome = beeline_bench::run(&options, &mut show, &stopped);
        progress.finish();
        outcome
    });
    let outcome = tokio::select! {
        outcome = &mut work => outcome,
        _ = terminate.recv() => { stop.store(true, Ordering::Relaxed); work.await }
        _ = interrupt.recv() => { stop.store(true, Ordering::Relaxed); work.await }
    };
    Ok(outcome.context("the measuring thread panicked")??)
}

fn print(report: &Report) {
    for table in report.tables() {
        output::heading(&table.title);
        let headings: Vec<&str> = table.headings.iter().map(String::as_str).collect();
        let mut shown = Table::new(&headings);
        table.rows.into_iter().for_each(|row| shown.row(row));
        shown.print();
    }
    let conditions = &report.conditions;
    output::line(&format!(
        "\n{} build, {}, Linux {}, {} processors, {} rounds, packets by {}",
        conditions.build,
        crate::version::LONG,
        conditions.kernel,
        conditions.processors,
        conditions.rounds,
        conditions.generator
    ));
    for skipped in &report.skipped {
        output::line(&format!("skipped {}: {}", skipped.mode.name(), skipped.why));
    }
}

fn compare(report: &Report, baseline: &Report) -> anyhow::Result<()> {
    let found = report.regressions(baseline);
    if found.is_empty() {
        output::note("nothing of ours is worse than the baseline beyond the spread");
        return Ok(());
    }
    let lines: Vec<_> = found.iter().map(ToString::to_string).collect();
    bail!("worse than the baseline beyond the spread:\n  {}", lines.join("\n  "))
}

fn read(path: &Path) -> anyhow::Result<Report> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    Report::from_json(&text).with_context(|| format!("use {} as a baseline", path.display()))
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("write {}", path.display()))
}
