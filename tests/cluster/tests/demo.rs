//! `beeline demo`: it shows what it promises, and nothing of it stays, however it ends.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use beeline_test_cluster::LIMIT;
use beeline_test_support::{beeline, eventually, skip, within};

/// Where demos keep what they make.
const BASE: &str = "/tmp/beeline-demo";

/// Demos of one test at a time: what is left on the machine is looked at as a whole.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A demo under way, and the lines that it printed so far.
struct Demo {
    child: Child,
    /// `None` once nobody reads any more.
    output: Option<BufReader<std::process::ChildStdout>>,
    text: String,
}

impl Demo {
    fn start(arguments: &[&str]) -> anyhow::Result<Self> {
        let mut child = Command::new(beeline())
            .args(["demo", "--requests=60", "--connects=100"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().map(BufReader::new);
        Ok(Self { child, output, text: String::new() })
    }

    /// Read until a line holds a text.
    #[track_caller]
    fn until(&mut self, wanted: &str) {
        loop {
            let mut line = String::new();
            let output = self.output.as_mut().expect("somebody reads");
            let read = output.read_line(&mut line).expect("the demo prints text");
            assert!(read > 0, "the demo ended before {wanted:?}:\n{}", self.text);
            self.text.push_str(&line);
            if line.contains(wanted) {
                return;
            }
        }
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.pid().to_string()]).status();
        assert!(status.expect("kill is everywhere").success());
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Read to the end: the exit code, all that was printed, and what was said on standard error.
    fn end(mut self) -> anyhow::Result<(Option<i32>, String, String)> {
        if let Some(output) = &mut self.output {
            output.read_to_string(&mut self.text)?;
        }
        let mut complaint = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            stderr.read_to_string(&mut complaint)?;
        }
        let status = self.child.wait()?;
        Ok((status.code(), std::mem::take(&mut self.text), complaint))
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // It removes what it made when it is asked to end.
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal("-TERM");
            let _ = self.child.wait();
        }
    }
}

/// What of the demo with this process id is on the machine, and what of the machine's own changed.
fn left_of(pid: u32, links_before: &BTreeSet<String>) -> Vec<String> {
    let folder = format!("{BASE}/{pid}");
    let mut left = Vec::new();
    if Path::new(&folder).exists() {
        left.push(format!("folder: {folder}"));
    }
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    left.extend(mounts.lines().filter(|line| line.contains(&folder)).map(str::to_owned));
    for controller in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
        let inside = fs::read_dir(controller.path()).into_iter().flatten().flatten();
        let name = format!("beeline-demo-{pid}-");
        left.extend(
            inside
                .filter(|entry| entry.file_name().to_string_lossy().starts_with(&name))
                .map(|entry| format!("cgroup: {}", entry.path().display())),
        );
    }
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(&folder) {
            left.push(format!("process: {line}"));
        }
    }
    left.extend(links().difference(links_before).map(|link| format!("link: {link}")));
    left
}

/// Links of the machine's own namespace.
fn links() -> BTreeSet<String> {
    let entries = fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// v1 cgroups of the instances of a demo; they are named after instances, not after the demo.
fn instances(pid: u32) -> Vec<String> {
    let nodes = fs::read_dir(format!("{BASE}/{pid}")).into_iter().flatten().flatten();
    nodes
        .filter_map(|node| fs::read_to_string(node.path().join("data/instance")).ok())
        .map(|id| id.trim().to_owned())
        .collect()
}

fn cgroups_of(instances: &[String]) -> Vec<String> {
    let controllers: Vec<_> =
        fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().collect();
    let paths = controllers.iter().flat_map(|controller| {
        instances.iter().map(|id| controller.path().join(format!("beeline-{id}")))
    });
    paths.filter(|path| path.exists()).map(|path| path.display().to_string()).collect()
}

#[test]
fn it_shows_every_section_and_leaves_nothing() -> anyhow::Result<()> {
    if skip() {
        return Ok(());
    }
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let links = links();
    let mut demo = Demo::start(&[])?;
    let pid = demo.pid();
    demo.until("deploying hello");
    let instances = instances(pid);
    assert_eq!(instances.len(), 3, "each node is an instance");
    let (code, text, complaint) = demo.end()?;
    assert_eq!(code, Some(0), "{text}{complaint}");
    assert_eq!(complaint, "", "a demo that works says nothing on standard error");
    let mut rest = text.as_str();
    for section in ["Nodes", "Pods", "Balance", "Flows", "Kernel", "Latency", "removing everything"]
    {
        let found =
            rest.find(section).unwrap_or_else(|| panic!("no {section}, in order, in:\n{text}"));
        rest = &rest[found..];
    }
    let too_wide: Vec<_> = text.lines().filter(|line| line.chars().count() > 100).collect();
    assert!(too_wide.is_empty(), "wider than 100 columns: {too_wide:#?}");
    assert!(text.contains("default-allow"), "no rule in:\n{text}");
    // Requests were answered by all three, each on another node.
    let shares: Vec<_> = text.lines().filter(|line| line.contains(" %  #")).collect();
    assert_eq!(shares.len(), 3, "{text}");
    let left = left_of(pid, &links);
    assert!(left.is_empty(), "{left:#?}");
    assert_eq!(cgroups_of(&instances), Vec::<String>::new());
    Ok(())
}

#[test]
fn a_signal_at_any_time_removes_everything() -> anyhow::Result<()> {
    if skip() {
        return Ok(());
    }
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let links = links();
    for (moment, signal, code) in [
        ("Three nodes", "-INT", 130),
        ("building the example image", "-INT", 130),
        ("importing the image", "-HUP", 129),
        ("deploying hello", "-INT", 130),
        ("sending 60 requests", "-TERM", 143),
    ] {
        let mut demo = Demo::start(&[])?;
        let pid = demo.pid();
        demo.until(moment);
        demo.signal(signal);
        let (ended, text, complaint) = demo.end()?;
        assert_eq!(ended, Some(code), "{signal} after {moment:?}:\n{text}{complaint}");
        assert!(complaint.contains("interrupted"), "{complaint}");
        let left = left_of(pid, &links);
        assert!(left.is_empty(), "{signal} after {moment:?}: {left:#?}");
    }
    Ok(())
}

#[test]
fn what_a_killed_demo_left_is_removed_by_the_next() -> anyhow::Result<()> {
    if skip() {
        return Ok(());
    }
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let links = links();
    let mut killed = Vec::new();
    for moment in ["Three nodes", "importing the image", "sending 60 requests"] {
        let mut demo = Demo::start(&[])?;
        demo.until(moment);
        killed.push((demo.pid(), instances(demo.pid())));
        demo.signal("-KILL");
        let (code, ..) = demo.end()?;
        assert_eq!(code, None, "a signal ended it");
    }
    let (code, text, complaint) = Demo::start(&[])?.end()?;
    assert_eq!(code, Some(0), "{text}{complaint}");
    for (pid, instances) in killed {
        let left = left_of(pid, &links);
        assert!(left.is_empty(), "{left:#?}");
        assert_eq!(cgroups_of(&instances), Vec::<String>::new());
    }
    Ok(())
}

#[test]
fn two_demos_at_once_do_not_disturb_each_other() -> anyhow::Result<()> {
    if skip() {
        return Ok(());
    }
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let links = links();
    let demos = [Demo::start(&[])?, Demo::start(&[])?];
    let pids = demos.each_ref().map(Demo::pid);
    for demo in demos {
        let (code, text, complaint) = demo.end()?;
        assert_eq!(code, Some(0), "{text}{complaint}");
        assert_eq!(complaint, "", "neither takes the other for a leftover");
    }
    for pid in pids {
        let left = left_of(pid, &links);
        assert!(left.is_empty(), "{left:#?}");
    }
    Ok(())
}

#[test]
fn a_reader_that_goes_away_is_no_reason_to_leave_anything() -> anyhow::Result<()> {
    if skip() {
        return Ok(());
    }
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let links = links();
    let mut demo = Demo::start(&[])?;
    let pid = demo.pid();
    demo.until("starting three nodes");
    demo.output = None;
    demo.child.stderr = None;
    let (code, ..) = demo.end()?;
    assert_eq!(code, Some(0));
    let left = left_of(pid, &links);
    assert!(left.is_empty(), "{left:#?}");
    Ok(())
}

#[test]
fn a_demo_that_is_kept_says_how_to_use_it() -> anyhow::Result<()> {
    if skip() {
        return Ok(());
    }
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let links = links();
    let mut demo = Demo::start(&["--keep"])?;
    let pid = demo.pid();
    demo.until("# how node-1 is");
    demo.until("status");
    let text = demo.text.clone();
    let commands: Vec<_> = text
        .lines()
        .skip_while(|line| !line.contains("until Ctrl-C"))
        .filter_map(|line| line.strip_prefix("  "))
        .filter(|line| !line.starts_with('#'))
        .collect();
    assert!(commands.len() >= 8, "{text}");
    for command in &commands {
        if command.contains("--follow") {
            follow(command)?;
            continue;
        }
        let output = Command::new("bash").args(["-c", command]).stdin(Stdio::null()).output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && !said.is_empty(), "{command}\n{said}{complaint}");
    }
    let pods =
        commands.iter().find(|command| command.contains("get pods")).expect("one lists pods");
    eventually(LIMIT, "the five replicas that were asked for", || {
        let output = Command::new("bash").args(["-c", pods]).output();
        output.is_ok_and(|output| {
            String::from_utf8_lossy(&output.stdout).matches("hello-").count() >= 5
        })
    });
    demo.signal("-INT");
    let (code, text, complaint) = demo.end()?;
    assert_eq!(code, Some(0), "{text}{complaint}");
    let left = left_of(pid, &links);
    assert!(left.is_empty(), "{left:#?}");
    Ok(())
}

/// A command that goes on until it is ended: it must not end by itself, and print what comes.
fn follow(command: &str) -> anyhow::Result<()> {
    let mut child = Command::new("bash")
        .args(["-c", &format!("exec {command}")])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut output = BufReader::new(child.stdout.take().expect("it was piped"));
    let mut line = String::new();
    // Probes of the kubelet come every second.
    while line.split_whitespace().count() < 8 || line.starts_with("TIME") {
        line.clear();
        assert!(output.read_line(&mut line)? > 0, "{command} ended by itself");
    }
    within(Duration::from_secs(5), "it follows on", || match child.try_wait() {
        Ok(None) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    child.kill()?;
    child.wait()?;
    Ok(())
}
