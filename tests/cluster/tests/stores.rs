//! A server's objects: saved while it serves, restored, and carried to an etcd and back.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};

use beeline_test_cluster::LIMIT;
use beeline_test_support::{Net, Node, NodeOptions, beeline, eventually, skip};

const ETCD: &str = "--store=etcd=http://127.0.0.1:2379";

#[test]
fn objects_are_saved_restored_and_carried_to_etcd_and_back() -> anyhow::Result<()> {
    if skip() {
        return Ok(());
    }
    let options = NodeOptions { command: "server".into(), ..NodeOptions::default() };
    let mut node = Node::new(Net::new()?, options)?;
    node.start()?;
    node.kubectl().run(&["create", "configmap", "before", "--from-literal=a=b"]);
    let folder = tempfile::tempdir()?;
    let saved = folder.path().join("saved");
    let saved = saved.to_str().unwrap_or_default();
    let said = node.ask(&["snapshot", "save", saved]);
    assert!(said.starts_with("saved ") && said.contains(" keys at revision "), "{said}");
    let over = node.beeline(&["snapshot", "save", saved]);
    assert!(!over.status.success() && text(&over.stderr).contains("exists"), "{over:?}");
    let over = node.beeline(&["snapshot", "restore", saved]);
    assert!(text(&over.stderr).contains("`beeline stop` first"), "{over:?}");
    node.kubectl().run(&["create", "configmap", "later", "--from-literal=a=b"]);
    node.terminate();

    // Of a server that does not run: what it holds, what the file holds, and back to the file.
    assert!(node.ask(&["snapshot", "verify"]).starts_with("sound: "));
    assert!(node.ask(&["snapshot", "verify", saved]).starts_with("sound: "));
    let over = node.beeline(&["snapshot", "restore", saved]);
    assert!(text(&over.stderr).contains("move it away first"), "{over:?}");
    fs::rename(node.data_dir().join("store"), folder.path().join("aside"))?;
    node.ask(&["snapshot", "restore", saved]);
    node.start()?;
    node.kubectl().run(&["get", "configmap", "before"]);
    node.kubectl().fail(&["get", "configmap", "later"]);
    let version = newest(&node);
    node.kubectl().run(&["create", "configmap", "again", "--from-literal=a=b"]);
    node.terminate();

    // To etcd.
    let moved = folder.path().join("moved");
    let moved = moved.to_str().unwrap_or_default();
    node.ask(&["snapshot", "save", moved]);
    let etcd = Etcd::start(&node.net, folder.path())?;
    eventually(LIMIT, "etcd is restored to", || {
        let output = inside(&node, &["snapshot", "restore", moved, ETCD]);
        output.status.success()
    });
    node.set_arguments(&[ETCD]);
    node.start()?;
    node.kubectl().run(&["get", "configmap", "before", "again"]);
    node.kubectl().run(&["create", "configmap", "in-etcd", "--from-literal=a=b"]);
    assert!(newest(&node) > version, "revisions only rise");
    assert!(node.ask(&["status"]).contains("etcd, revision"));
    let back = folder.path().join("back");
    let back = back.to_str().unwrap_or_default();
    let output = inside(&node, &["snapshot", "save", back, ETCD]);
    assert!(output.status.success(), "{output:?}");
    let version = newest(&node);
    node.terminate();
    drop(etcd);

    // And back.
    fs::rename(node.data_dir().join("store"), folder.path().join("aside-too"))?;
    node.ask(&["snapshot", "restore", back]);
    node.set_arguments(&[]);
    node.start()?;
    node.kubectl().run(&["get", "configmap", "before", "again", "in-etcd"]);
    assert!(newest(&node) > version, "revisions only rise");
    node.terminate();
    Ok(())
}

/// The revision of a list.
fn newest(node: &Node) -> u64 {
    let list = node.kubectl().run(&["get", "--raw", "/api/v1/configmaps?limit=1"]);
    let list: serde_json::Value = serde_json::from_str(&list).expect("a list is JSON");
    let version = list["metadata"]["resourceVersion"].as_str();
    version.and_then(|version| version.parse().ok()).unwrap_or_default()
}

/// A command of beeline's where the node is.
fn inside(node: &Node, arguments: &[&str]) -> std::process::Output {
    let program = beeline();
    let mut command = node.net.command(program.to_str().unwrap_or_default());
    command.args(arguments).arg("--data-dir").arg(node.data_dir());
    command.arg("--run-dir").arg(node.run_dir());
    command.output().expect("beeline runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// An etcd in the node's namespace, gone with the test.
struct Etcd(Child);

impl Etcd {
    fn start(net: &Net, folder: &Path) -> anyhow::Result<Self> {
        let mut command = net.command("etcd");
        command.arg("--data-dir").arg(folder.join("etcd"));
        command.args(["--log-level", "error", "--logger", "zap"]);
        Ok(Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?))
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
