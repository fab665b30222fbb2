//! A full disk: writes are refused, reads are served, and all goes on when there is room again.

use std::{fs, path::Path, process::Command};

use beeline_test_cluster::LIMIT;
use beeline_test_support::{Net, Node, NodeOptions, busybox_image, eventually, skip};
use serde_json::json;

/// Set in the copy of this test that has mounts of its own.
const PRIVATE: &str = "BEELINE_TEST_PRIVATE_MOUNTS";
/// The data directory's file system: a segment of the log, the reserve, and little else.
const DISK: &str = "size=40m";
/// As small as a segment may be: it is full sooner.
const SEGMENT: &str = "--store-segment-mib=4";
/// More than what a segment of the log takes, in objects of this size.
const OBJECTS: usize = 8;
const OBJECT_BYTES: usize = 900_000;

#[test]
fn a_full_disk_refuses_writes_and_loses_nothing() -> anyhow::Result<()> {
    if skip() {
        return Ok(());
    }
    if std::env::var_os(PRIVATE).is_some() {
        return on_a_small_disk();
    }
    // The small disk is mounted where nobody else sees it, and is gone with the process.
    let status = Command::new("unshare")
        .args(["--mount", "--propagation", "private"])
        .arg(std::env::current_exe()?)
        .args(["--exact", "disk::a_full_disk_refuses_writes_and_loses_nothing", "--nocapture"])
        .env(PRIVATE, "1")
        .status()?;
    assert!(status.success(), "see above");
    Ok(())
}

fn on_a_small_disk() -> anyhow::Result<()> {
    let options = NodeOptions { arguments: vec![SEGMENT.into()], ..NodeOptions::default() };
    let mut node = Node::new(Net::new()?, options)?;
    let data = node.data_dir();
    fs::create_dir(&data)?;
    mount(&["-t", "tmpfs", "-o", DISK, "beeline-test", &data.to_string_lossy()]);
    fs::create_dir_all(node.run_dir())?;
    let archive = busybox_image(&node.run_dir(), "hello:1")?;
    node.start()?;
    let kubectl = node.kubectl();
    kubectl.run(&["create", "configmap", "before", "--from-literal=a=b"]);

    fill(&data);
    let mut accepted = write_until_refused(&node)?;
    assert!(accepted.len() > 1, "the log has room that was set aside for it: {accepted:?}");
    all_there(&node, &accepted);
    // Smaller writes fit into what is left of the segment, and then no longer.
    let text = format!("--from-literal=a={}", "x".repeat(100_000));
    let mut number = 0;
    eventually(LIMIT, "the status tells of it", || {
        number += 1;
        let name = format!("small{number}");
        let output = kubectl.output(&["create", "configmap", &name, &text]);
        if output.status.success() {
            accepted.push(format!("configmap/{name}"));
        }
        let status = node.ask(&["status"]);
        status.contains("the disk is full: writes are refused, reads are served")
    });
    let output = node.beeline(&["image", "import", &archive.to_string_lossy()]);
    let folder = data.join("images").to_string_lossy().into_owned();
    super::refused(&output, &["No space left on device", &folder]);

    empty(&data);
    eventually(LIMIT, "writes are taken again", || {
        kubectl.output(&["create", "configmap", "after", "--from-literal=a=b"]).status.success()
    });
    all_there(&node, &accepted);
    node.ask(&["image", "import", &archive.to_string_lossy()]);

    // A start on a full disk serves what there is.
    node.terminate();
    fill(&data);
    node.start()?;
    all_there(&node, &accepted);
    kubectl.run(&["get", "configmap", "after"]);
    empty(&data);
    node.terminate();
    node.start()?;
    all_there(&node, &accepted);

    // The harness looks for mounts that are left.
    node.terminate();
    node.ask(&["stop", "--kill"]);
    let status = Command::new("umount").arg(&data).status()?;
    assert!(status.success());
    Ok(())
}

/// Create large objects until one is refused; the names of those that were taken.
fn write_until_refused(node: &Node) -> anyhow::Result<Vec<String>> {
    let text = "x".repeat(OBJECT_BYTES);
    let object = |number: usize| {
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": format!("c{number}") },
            "data": { "text": text } })
    };
    let objects: Vec<_> = (0..OBJECTS).map(object).collect();
    let path = node.run_dir().join("objects.json");
    fs::write(&path, json!({ "apiVersion": "v1", "kind": "List", "items": objects }).to_string())?;
    let output = node.kubectl().output(&["create", "-f", &path.to_string_lossy()]);
    fs::remove_file(&path)?;
    let refusal = String::from_utf8_lossy(&output.stderr).into_owned();
    for word in ["database space exceeded", "free space on", "reads go on"] {
        assert!(refusal.contains(word), "{word:?} is not in {refusal}");
    }
    let taken = String::from_utf8_lossy(&output.stdout).into_owned();
    let names = taken.lines().filter_map(|line| line.strip_suffix(" created"));
    Ok(names.map(str::to_owned).collect())
}

/// Everything that was acknowledged is served.
#[track_caller]
fn all_there(node: &Node, accepted: &[String]) {
    let names = node.kubectl().run(&["get", "configmaps", "-o", "name"]);
    let lost: Vec<_> = accepted.iter().filter(|name| !names.contains(*name)).collect();
    assert!(lost.is_empty() && names.contains("configmap/before"), "lost: {lost:?}");
}

fn fill(folder: &Path) {
    let path = folder.join("ballast").to_string_lossy().into_owned();
    let script = format!("cat /dev/zero > {path} 2>/dev/null");
    let status = Command::new("sh").args(["-c", &script]).status().expect("sh is there");
    assert!(!status.success(), "the disk is larger than zero is long");
}

fn empty(folder: &Path) {
    fs::remove_file(folder.join("ballast")).expect("it is there");
}

#[track_caller]
fn mount(arguments: &[&str]) {
    let status = Command::new("mount").args(arguments).status().expect("mount is there");
    assert!(status.success(), "mount {arguments:?}");
}
