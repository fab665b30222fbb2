//! Every mistake gets one clear error that names the thing and what to do, and loses nothing that was stored.

mod cluster;
mod damage;
mod disk;
mod start;

use std::process::{Command, Output};

use beeline_test_support::{Node, beeline};

/// What a refusal must look like to somebody who has never seen the project: the words that name the thing and
/// the remedy, one error, no cause twice, no debug output.
#[track_caller]
fn refused(output: &Output, words: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "it succeeded: {text}");
    assert_ne!(output.status.code(), Some(TIMED_OUT), "it did not end: {text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
    let errors: Vec<_> = text.lines().filter(|line| line.starts_with("beeline: ")).collect();
    assert_eq!(errors.len(), 1, "not one error: {text}");
    for sign in ["panicked", "backtrace", "Some(", "Err(", "Error {", "Os {", "kind: "] {
        assert!(!text.contains(sign), "{sign:?} is for programmers: {text}");
    }
    for cause in errors[0].split(": ").filter(|part| part.contains("(os error")) {
        assert_eq!(errors[0].matches(cause).count(), 1, "{cause:?} is told twice: {text}");
    }
}

/// How timeout(1) says that it ended the command.
const TIMED_OUT: i32 = 124;

/// A command of beeline as typed, which is expected to end by itself.
fn run(arguments: &[&str]) -> Output {
    Command::new("timeout").arg("30").arg(beeline()).args(arguments).output().expect("timeout runs")
}

/// Start a node on the directories of a [`Node`], expecting it to end by itself. The last of two flags wins.
fn start(node: &Node, command: &str, changes: &[(&str, &str)]) -> Output {
    let owned = |path: std::path::PathBuf| path.display().to_string();
    let mut flags = vec![
        ("--data-dir", owned(node.data_dir())),
        ("--run-dir", owned(node.run_dir())),
        ("--netns", owned(node.net.path())),
        ("--bpf-root", owned(node.run_dir().join("bpf"))),
        ("--cgroup-root", owned(node.cgroup().to_path_buf())),
        ("--node-name", node.name.clone()),
    ];
    for (flag, value) in changes {
        flags.retain(|(known, _)| known != flag);
        flags.push((flag, (*value).to_owned()));
    }
    let flags: Vec<_> = flags.iter().map(|(flag, value)| format!("{flag}={value}")).collect();
    let mut words = vec![command];
    words.extend(flags.iter().map(String::as_str));
    run(&words)
}
