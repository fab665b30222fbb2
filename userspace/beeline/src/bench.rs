//! `beeline bench`: figures of this host, each in a throwaway world like the demo's.

use std::io::IsTerminal as _;

use anyhow::{Context as _, bail};
use futures::FutureExt as _;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    cli::{BenchCommand, Output},
    output::{self, Table},
    process,
};

mod boot;
mod connect;
mod proxy;
mod usage;

/// Carry out the command.
pub fn run(command: &BenchCommand) -> anyhow::Result<()> {
    let work = match *command {
        BenchCommand::Boot { runs, pods, output } => {
            boot::run(runs.max(1), pods, output).boxed_local()
        }
        BenchCommand::Connect { connects, output } => connect::run(connects, output).boxed_local(),
        // Not a future to be dropped: it removes what it made.
        BenchCommand::Proxy(ref args) => return proxy::run(args),
    };
    process::block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
        // Whatever ends first: the world goes with the future that made it.
        tokio::select! {
            outcome = work => outcome,
            _ = terminate.recv() => bail!("ended by SIGTERM"),
            _ = interrupt.recv() => bail!("interrupted"),
        }
    })
}

/// One thing measured, once in each run.
#[derive(Debug, Serialize)]
struct Figure {
    name: String,
    unit: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    at_most: Option<f64>,
    median: f64,
    min: f64,
    max: f64,
    values: Vec<f64>,
}

impl Figure {
    /// From at least one value.
    fn new(
        name: impl Into<String>,
        unit: &'static str,
        at_most: Option<f64>,
        values: Vec<f64>,
    ) -> Self {
        let mut sorted = values.clone();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
        Self {
            name: name.into(),
            unit,
            at_most,
            median: at(sorted.len() / 2),
            min: at(0),
            max: at(sorted.len().saturating_sub(1)),
            values,
        }
    }
}

/// Where figures come from; without it they say nothing.
#[derive(Debug, Serialize)]
struct Conditions {
    version: &'static str,
    build: &'static str,
    kernel: String,
    processors: usize,
    runs: usize,
}

/// All figures of a benchmark.
#[derive(Debug, Serialize)]
struct Report {
    benchmark: &'static str,
    conditions: Conditions,
    figures: Vec<Figure>,
}

impl Report {
    fn new(benchmark: &'static str, runs: usize, figures: Vec<Figure>) -> Self {
        let uname = rustix::system::uname();
        let conditions = Conditions {
            version: crate::version::LONG,
            build: if cfg!(debug_assertions) { "debug" } else { "release" },
            kernel: uname.release().to_string_lossy().into_owned(),
            processors: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            runs,
        };
        Self { benchmark, conditions, figures }
    }

    fn print(&self, how: Output) -> anyhow::Result<()> {
        if how == Output::Json {
            output::line(&serde_json::to_string(self).context("write the figures as JSON")?);
            return Ok(());
        }
        let Conditions { version, build, kernel, processors, runs } = &self.conditions;
        let mut table = Table::new(&["FIGURE", "UNIT", "MEDIAN", "MIN", "MAX", "WANTED"]);
        for figure in &self.figures {
            let wanted = figure.at_most.map_or_else(String::new, |most| format!("<= {most}"));
            let text = |value: f64| match value {
                value if value.abs() >= 100.0 => format!("{value:.0}"),
                value => format!("{value:.3}"),
            };
            table.row(vec![
                figure.name.clone(),
                figure.unit.into(),
                text(figure.median),
                text(figure.min),
                text(figure.max),
                wanted,
            ]);
        }
        table.print();
        output::line(&format!(
            "{build} build, {version}, Linux {kernel}, {processors} processors, {runs} runs"
        ));
        Ok(())
    }
}

/// Says on standard error what is being done: a bar on a terminal, lines elsewhere.
struct Progress {
    bar: indicatif::ProgressBar,
    plain: bool,
}

impl Progress {
    fn new(steps: usize) -> Self {
        let plain = !std::io::stderr().is_terminal();
        let bar = indicatif::ProgressBar::new(steps as u64);
        if let Ok(style) = indicatif::ProgressStyle::with_template("{bar:24} {pos}/{len} {msg}") {
            bar.set_style(style);
        }
        if !plain {
            bar.enable_steady_tick(std::time::Duration::from_millis(100));
        }
        Self { bar, plain }
    }

    /// The next step begins.
    fn step(&self, text: &str) {
        if self.plain {
            output::note(text);
        }
        self.bar.set_message(text.to_owned());
        self.bar.inc(1);
    }

    fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::Figure;

    #[test]
    fn a_figure_has_the_median_and_the_ends_of_its_values() {
        let figure = Figure::new("x", "s", None, vec![3.0, 1.0, 2.0]);
        assert_eq!((figure.median, figure.min, figure.max), (2.0, 1.0, 3.0));
        assert_eq!(figure.values, [3.0, 1.0, 2.0]);
    }
}
