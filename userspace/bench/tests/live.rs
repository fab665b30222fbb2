//! In the real kernel, in network namespaces that end with the threads that made them.
//!
//! Skips, saying so, without root or without the peers' tools.

#[cfg(test)]
#[path = "live/rules.rs"]
mod rules;
#[cfg(test)]
#[path = "live/run.rs"]
mod run;

/// Why this cannot run here, if it cannot; said on stderr.
#[cfg(test)]
fn skip(tools: &[&str]) -> bool {
    let has = |tool: &&str| std::process::Command::new(tool).arg("--version").output().is_ok();
    let reason = if !rustix::process::geteuid().is_root() {
        "not root".to_owned()
    } else if let Some(missing) = tools.iter().find(|tool| !has(tool)) {
        format!("{missing} is not installed")
    } else {
        return false;
    };
    eprintln!("SKIPPED: {reason}");
    true
}
