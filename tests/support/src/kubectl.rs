//! The kubectl that is installed, talking to one node.

use std::{
    io::Write as _,
    path::PathBuf,
    process::{Command, Output, Stdio},
    time::Duration,
};

use serde_json::Value;

use crate::wait::within;

/// kubectl with a kubeconfig and a cache of its own, inside a node's namespace.
#[derive(Debug)]
pub struct Kubectl {
    /// What to enter.
    pub netns: PathBuf,
    /// What to talk to.
    pub kubeconfig: PathBuf,
    /// Where discovery is cached.
    pub cache: PathBuf,
}

impl Kubectl {
    /// A command, to be started by the caller.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={}", self.netns.display()))
            .arg("kubectl")
            .arg(format!("--kubeconfig={}", self.kubeconfig.display()))
            .arg(format!("--cache-dir={}", self.cache.display()))
            .args(arguments)
            .stdin(Stdio::null());
        command
    }

    /// Run it and return what happened.
    pub fn output(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("kubectl was found before")
    }

    /// Run it, expect success, return what it printed.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kubectl {}: {stdout}{stderr}", arguments.join(" "));
        stdout
    }

    /// Run it, expect failure, return what it printed on standard error.
    #[track_caller]
    pub fn fail(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        assert!(!output.status.success(), "kubectl {} succeeded", arguments.join(" "));
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// Apply a manifest given as text.
    #[track_caller]
    pub fn apply(&self, manifest: &str) -> String {
        let output = self.pipe(&["apply", "-f", "-"], manifest);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kubectl apply: {stderr}\n{manifest}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Run it with a text on standard input.
    pub fn pipe(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kubectl was found before");
        let mut stdin = child.stdin.take().expect("it was piped");
        stdin.write_all(input.as_bytes()).expect("kubectl reads its input");
        drop(stdin);
        child.wait_with_output().expect("kubectl ends")
    }

    /// Objects as JSON.
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Value {
        let text = self.run(&[arguments, &["-o", "json"]].concat());
        serde_json::from_str(&text).expect("kubectl prints JSON")
    }

    /// Wait until the output of a command passes a check.
    #[track_caller]
    pub fn wait(
        &self,
        limit: Duration,
        arguments: &[&str],
        check: impl Fn(&str) -> bool,
    ) -> String {
        within(limit, &format!("kubectl {}", arguments.join(" ")), || {
            let output = self.output(arguments);
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            if output.status.success() && check(&text) {
                return Ok(text);
            }
            Err(format!("{text}{}", String::from_utf8_lossy(&output.stderr)))
        })
    }
}
