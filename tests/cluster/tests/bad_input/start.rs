//! Mistakes in how a node is started, and machines that cannot run one.

use std::process::Command;

use beeline_test_support::{Net, Node, NodeOptions, beeline, skip};

use super::{refused, run, start};

#[test]
fn flags_and_files_are_refused_by_name() -> anyhow::Result<()> {
    if skip() {
        return Ok(());
    }
    let node = Node::new(Net::new()?, NodeOptions::default())?;
    let with = |flag: &str, value: &str| start(&node, "up", &[(flag, value)]);
    refused(&with("--cgroup-root", "/tmp"), &["--cgroup-root", "/tmp", "cgroup v2"]);
    refused(&with("--cgroup-root", "/none"), &["--cgroup-root", "/none", "cgroup v2"]);
    assert!(!std::path::Path::new("/none").exists(), "a mistyped cgroup was made");
    refused(&with("--bpf-root", "/proc/none"), &["--bpf-root /proc/none", "No such file"]);
    refused(&with("--bpf-root", "/etc/passwd/x"), &["--bpf-root /etc/passwd/x"]);
    refused(&with("--netns", "none"), &["--netns", "/run/netns/none", "ip netns add"]);
    refused(&with("--netns", "/etc/passwd"), &["--netns", "/etc/passwd"]);
    refused(&with("--data-dir", "/proc/none"), &["/proc/none", "--data-dir"]);
    refused(&with("--run-dir", "/proc/none"), &["/proc/none", "--run-dir"]);
    refused(&with("--listen", "192.0.2.9:6443"), &["192.0.2.9:6443", "--listen"]);
    refused(&with("--pod-cidr", "10.43.0.0/20"), &["--pod-cidr", "--service-cidr", "overlap"]);
    refused(&with("--node-name", "a_b"), &["--node-name \"a_b\"", "RFC 1123"]);
    refused(&start(&node, "agent", &[]), &["--server https://HOST:6443", "--token"]);
    let agent = [("--server", "https://127.0.0.1:1")];
    refused(&start(&node, "agent", &agent), &["node has not joined", "beeline token"]);

    let path = node.run_dir().join("config.yaml");
    std::fs::write(&path, "node-nam: x\n")?;
    let path = path.to_string_lossy().into_owned();
    refused(&with("--config", &path), &[&path, "unknown field `node-nam`", "node-name", "line 1"]);
    std::fs::write(&path, "listen: here\n")?;
    refused(&with("--config", &path), &[&path, "invalid socket address", "line 1"]);
    refused(&with("--config", "/none.yaml"), &["/none.yaml", "No such file"]);
    // What `beeline config` prints can be read again.
    let printed = run(&["config", "--node-name=somebody"]);
    std::fs::write(&path, &printed.stdout)?;
    assert_eq!(run(&["config", "--config", &path]).stdout, printed.stdout);
    Ok(())
}

#[test]
fn what_others_hold_is_named() -> anyhow::Result<()> {
    if skip() {
        return Ok(());
    }
    let node = Node::up()?;
    let holder = format!("process {}", node.pid().unwrap_or_default());
    refused(&start(&node, "up", &[]), &[&holder, "beeline stop", "--run-dir"]);
    let second = node.data_dir().join("second").to_string_lossy().into_owned();
    let elsewhere = [("--data-dir", &*second), ("--run-dir", &*second)];
    refused(&start(&node, "up", &elsewhere), &["listen on 127.0.0.1:6443", "--listen"]);
    let data = node.data_dir().to_string_lossy().into_owned();
    let shared = [("--run-dir", &*second), ("--listen", "127.0.0.1:7443")];
    refused(&start(&node, "up", &shared), &[&data]);
    // The node that was there first has noticed nothing.
    assert!(node.ask(&["status", "-o", "json"]).contains("\"ready\":true"));
    Ok(())
}

#[test]
fn without_the_right_to_it_all_that_is_missing_is_listed() -> anyhow::Result<()> {
    if skip() {
        return Ok(());
    }
    let folder = std::env::temp_dir().join(format!("beeline-bad-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let copy = folder.join("beeline");
    std::fs::copy(beeline(), &copy)?;
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&copy)
        .arg("up")
        .output();
    std::fs::remove_dir_all(&folder)?;
    refused(&output?, &["needs root", "sudo", "beeline server"]);

    // Root in a container that keeps some of root's rights back.
    let output = Command::new("setpriv")
        .args([
            "--bounding-set=-net_admin,-sys_admin,-bpf",
            "--inh-caps=-net_admin,-sys_admin,-bpf",
        ])
        .arg(beeline())
        .arg("up")
        .output()?;
    let lacks = ["CAP_NET_ADMIN", "CAP_SYS_ADMIN", "CAP_BPF", "make links and routes", "container"];
    refused(&output, &lacks);
    Ok(())
}
