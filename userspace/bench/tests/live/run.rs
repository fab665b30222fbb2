//! A whole run, as small as it can be.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::Command,
    sync::{Mutex, PoisonError, atomic::AtomicBool},
};

use beeline_bench::{BenchError, Kind, ModeName, Options, Profile, run, worker::Launcher};

use crate::skip;

/// Set for the processes that are workers.
const WORKER: &str = "BEELINE_BENCH_WORKER";

/// One run at a time: each looks at what this process left behind.
static ALONE: Mutex<()> = Mutex::new(());

/// Not a test: the process that stands in a namespace and does as it is told.
#[test]
fn worker_process() {
    if std::env::var_os(WORKER).is_some() {
        beeline_bench::worker::serve().unwrap();
    }
}

fn options(services: &[usize]) -> Options {
    let arguments = ["run::worker_process", "--exact", "--nocapture", "--test-threads=1"];
    Options {
        services: services.to_vec(),
        modes: ModeName::ALL.to_vec(),
        profile: Profile::tiny(),
        launcher: Launcher {
            program: std::env::current_exe().unwrap().into(),
            arguments: arguments.map(Into::into).to_vec(),
            environment: vec![(WORKER.into(), "1".into())],
        },
    }
}

/// Everything of root's network that a benchmark could disturb, and what it could leave.
fn surroundings() -> Vec<String> {
    let run = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let mount = beeline_sys::cgroup::find_v2_mount().unwrap();
    let names = |path: &Path| {
        let own = format!("{}", std::process::id());
        let entries = fs::read_dir(path).map(|entries| entries.flatten().collect::<Vec<_>>());
        let names = entries.unwrap_or_default().into_iter().map(|entry| entry.file_name());
        let ours = names.filter(|name| name.to_string_lossy().contains(&own));
        ours.map(|name| name.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
    };
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let own = format!("/run/beeline-bench/{}-", std::process::id());
    vec![
        run("nft", &["list", "ruleset"]),
        run("ip", &["-o", "route", "show", "table", "all"]),
        names(&mount),
        names(Path::new("/run/beeline-bench")),
        mounts.lines().filter(|line| line.contains(&own)).collect(),
    ]
}

#[test]
fn every_mode_gives_every_figure_and_nothing_is_left() {
    if skip(&["iptables-legacy-restore", "iptables-nft-restore", "nft"]) {
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let before = surroundings();
    let mut said = Vec::new();
    let stop = AtomicBool::new(false);
    let options = options(&[1, 50]);
    let report = run(&options, &mut |_, _, what| said.push(what.to_owned()), &stop).unwrap();
    assert_eq!(surroundings(), before);
    assert_eq!(said.len(), options.steps() - report.skipped.len() * 2 * 2);
    for skipped in &report.skipped {
        eprintln!("SKIPPED: {}: {}", skipped.mode.name(), skipped.why);
        assert!(skipped.mode.is_ours(), "the peers are installed");
    }
    let has = |kind, mode, services| {
        let found = report
            .figures
            .iter()
            .find(|figure| (figure.kind, figure.mode, figure.services) == (kind, mode, services));
        assert!(found.is_none_or(|figure| figure.median.is_finite()), "{found:?}");
        found.is_some()
    };
    let skipped: BTreeSet<_> = report.skipped.iter().map(|skipped| skipped.mode).collect();
    for mode in ModeName::ALL.into_iter().filter(|mode| !skipped.contains(mode)) {
        for services in [1, 50] {
            let missing: Vec<_> =
                Kind::ALL.into_iter().filter(|kind| !has(*kind, mode, services)).collect();
            let expected: &[Kind] = match mode {
                ModeName::Direct => {
                    &[Kind::Load, Kind::Change, Kind::Memory, Kind::AddedP50, Kind::AddedP99]
                }
                _ => &[],
            };
            assert_eq!(missing, expected, "{}", mode.name());
        }
    }
    assert!(report.to_html().unwrap().contains("</svg>"));
}

#[test]
fn whoever_is_stopped_leaves_nothing_either() {
    if skip(&["iptables-legacy-restore", "iptables-nft-restore", "nft"]) {
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let before = surroundings();
    let stop = AtomicBool::new(false);
    let mut steps = 0;
    let outcome = run(
        &options(&[1]),
        &mut |_, _, _| {
            steps += 1;
            stop.store(steps == 6, std::sync::atomic::Ordering::Relaxed);
        },
        &stop,
    );
    assert!(matches!(outcome, Err(BenchError::Interrupted)), "{outcome:?}");
    assert_eq!(surroundings(), before);
}
