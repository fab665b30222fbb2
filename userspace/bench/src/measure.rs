//! Carries out a run: makes worlds, loads them, measures round by round, each round one mode after the other.

mod bench;
mod forward;
mod memory;
mod values;

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

pub use bench::Bench;
use values::Values;

use crate::{
    BenchError,
    figure::Figure,
    mode::{self, ModeName},
    options::Options,
    report::{Conditions, Report, Skipped},
    world::Folder,
};

/// Told what is done: how many steps of how many, and which one begins.
pub type Progress<'a> = dyn FnMut(usize, usize, &str) + 'a;

/// Measure. Must be called from the only thread that starts processes, and ends after the step at hand once `stop` is
/// set.
///
/// # Errors
/// When something cannot be made or measured, or when it was stopped. Whatever was made is removed all the same.
pub fn run(
    options: &Options,
    progress: &mut Progress<'_>,
    stop: &AtomicBool,
) -> Result<Report, BenchError> {
    let folder = Folder::new()?;
    let mut steps = Steps { done: 0, total: options.steps(), progress, stop };
    let mut skipped = Vec::new();
    let mut figures: Vec<Figure> = Vec::new();
    let mut notes = Vec::new();
    let modes = available(options, &mut skipped);
    for services in &options.services {
        let mut values = Values::new(*services);
        measure_size(options, &modes, &folder, &mut values, &mut steps)?;
        notes.extend(values.notes());
        figures.extend(values.figures());
    }
    let conditions = Conditions::here(options);
    Ok(Report::new(conditions, figures, skipped, notes))
}

fn available(options: &Options, skipped: &mut Vec<Skipped>) -> Vec<ModeName> {
    let is_there = |name: &ModeName| match mode::open(*name, &options.launcher) {
        Ok(_) => true,
        Err(why) => {
            skipped.push(Skipped { mode: *name, why });
            false
        }
    };
    options.modes.iter().copied().filter(is_there).collect()
}

/// Where we are, and whether to go on.
struct Steps<'a, 'b> {
    done: usize,
    total: usize,
    progress: &'a mut Progress<'b>,
    stop: &'a AtomicBool,
}

impl Steps<'_, '_> {
    fn next(&mut self, what: &str) -> Result<(), BenchError> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(BenchError::Interrupted);
        }
        (self.progress)(self.done, self.total, what);
        self.done += 1;
        Ok(())
    }
}

fn measure_size(
    options: &Options,
    modes: &[ModeName],
    folder: &Folder,
    values: &mut Values,
    steps: &mut Steps<'_, '_>,
) -> Result<(), BenchError> {
    let services = values.services();
    let start = Instant::now();
    let mut benches = Vec::new();
    for name in modes {
        steps.next(&format!("{services} Services: {}: load", name.name()))?;
        let mut bench = Bench::new(*name, services, options, folder)?;
        bench.load(options, values)?;
        benches.push(bench);
    }
    let profile = &options.profile;
    for round in 1..=profile.rounds {
        if round > 1 && start.elapsed() > profile.size_limit {
            values.cut_short(round - 1);
            break;
        }
        // The one who was first is the last next time.
        let mut order: Vec<usize> = (0..benches.len()).collect();
        if round % 2 == 0 {
            order.reverse();
        }
        for index in order {
            let bench = &mut benches[index];
            let mode = bench.name().name();
            steps.next(&format!("{services} Services, round {round}: {mode}"))?;
            bench.change(values)?;
            bench.connections(options, values)?;
            bench.forward(options, values)?;
        }
    }
    Ok(())
}
