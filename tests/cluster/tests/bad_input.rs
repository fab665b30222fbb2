//! Every mistake gets one clear error that names the thing and what to do.

use std::process::Command;

use beeline_test_cluster::{LIMIT, node_with_image};
use beeline_test_support::{Net, Node, NodeOptions, beeline, skip};

#[test]
fn kubectl_is_told_what_is_wrong() -> anyhow::Result<()> {
    if skip() {
        return Ok(());
    }
    let node = node_with_image()?;
    let kubectl = node.kubectl();
    let refused = |manifest: &str, words: &[&str]| {
        let output = kubectl.pipe(&["apply", "-f", "-"], manifest);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "accepted: {manifest}");
        for word in words {
            assert!(text.contains(word), "{word:?} is not in {text}");
        }
    };
    let pod =
        |spec: &str| format!("apiVersion: v1\nkind: Pod\nmetadata: {{ name: p }}\nspec: {spec}\n");
    refused(
        &pod("{ containers: [{ name: a, image: b, imag: c }] }"),
        &["unknown field \"spec.containers[0].imag\""],
    );
    refused(
        &pod("{ containers: [{ name: a, image: b, ports: [{ containerPort: http }] }] }"),
        &["containerPort"],
    );
    refused(
        &pod("{ containers: [{ name: A_B, image: b }] }"),
        &["spec.containers[0].name", "Invalid value"],
    );
    refused(&pod("{ containers: [] }"), &["spec.containers", "Required value"]);
    refused(
        "apiVersion: beeline.example/v1\nkind: Hive\nmetadata: { name: h }\n",
        &["no matches for kind \"Hive\""],
    );
    assert!(kubectl.fail(&["get", "pod", "nobody"]).contains("pods \"nobody\" not found"));

    kubectl.apply(&pod("{ containers: [{ name: a, image: 'nowhere:1' }] }"));
    kubectl.wait(LIMIT, &["get", "pod", "p"], |text| {
        text.contains("ErrImagePull") || text.contains("ImagePullBackOff")
    });
    let described =
        kubectl.wait(LIMIT, &["describe", "pod", "p"], |text| text.contains("nowhere:1"));
    assert!(described.contains("Failed"), "{described}");
    Ok(())
}

#[test]
fn starting_wrongly_names_the_thing_and_the_remedy() -> anyhow::Result<()> {
    if skip() {
        return Ok(());
    }
    let mut node = Node::up()?;
    // A second process with the same directories.
    let second = node.beeline(&["up"]);
    let text = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(text.contains(&format!("process {}", node.pid().unwrap_or_default())), "{text}");

    // A port that is taken: another node in the same namespace.
    let folder = tempfile_folder(&node);
    let taken = node
        .net
        .command(&beeline().to_string_lossy())
        .args(["server", "--data-dir", &folder, "--run-dir", &folder])
        .output()?;
    let text = String::from_utf8_lossy(&taken.stderr).into_owned();
    assert!(!taken.status.success() && text.contains("127.0.0.1:6443"), "{text}");
    assert!(text.contains("--listen"), "{text}");

    // A corrupt log: refused, with the place, and nothing is changed.
    node.terminate();
    let damaged = damage_store(&node)?;
    let output = start_once(&node, &[])?;
    assert!(output.contains(&damaged), "{output}");
    Ok(())
}

#[test]
fn without_root_or_with_a_bad_flag_it_says_so() -> anyhow::Result<()> {
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
        .output()?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    std::fs::remove_dir_all(&folder)?;
    assert!(!output.status.success() && text.contains("needs root"), "{text}");

    let output = Command::new(beeline()).args(["agent", "--node-name", "n"]).output()?;
    assert!(String::from_utf8_lossy(&output.stderr).contains("--server"));

    let net = Net::new()?;
    let options =
        NodeOptions { arguments: vec!["--cgroup-root=/tmp".into()], ..NodeOptions::default() };
    let node = Node::new(net, options)?;
    let text = start_once(&node, &["--cgroup-root=/tmp"])?;
    assert!(text.contains("cgroup v2") && text.contains("/tmp"), "{text}");
    Ok(())
}

/// Run `beeline up` on the node's directories, expecting it to end by itself; what it said.
fn start_once(node: &Node, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new("timeout")
        .arg("30")
        .arg(beeline())
        .arg("up")
        .arg(format!("--data-dir={}", node.data_dir().display()))
        .arg(format!("--run-dir={}", node.run_dir().display()))
        .arg(format!("--netns={}", node.net.path().display()))
        .arg(format!("--bpf-root={}/bpf", node.run_dir().display()))
        .args(arguments)
        .output()?;
    assert!(!output.status.success(), "it started");
    Ok(String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Flip a bit in the middle of the store's first segment; its file name.
fn damage_store(node: &Node) -> anyhow::Result<String> {
    let mut segments: Vec<_> = walk(&node.data_dir())
        .into_iter()
        .filter(|path| {
            path.to_string_lossy().contains("segment")
                || path.extension().is_some_and(|e| e == "log")
        })
        .collect();
    segments.sort();
    let path = segments
        .first()
        .ok_or_else(|| anyhow::anyhow!("no segment in {}", node.data_dir().display()))?;
    let mut bytes = std::fs::read(path)?;
    bytes[600] ^= 1;
    std::fs::write(path, bytes)?;
    Ok(path.file_name().unwrap_or_default().to_string_lossy().into_owned())
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .flat_map(|entry| match entry.path() {
            path if path.is_dir() => walk(&path),
            path => vec![path],
        })
        .collect()
}

fn tempfile_folder(node: &Node) -> String {
    let folder = node.data_dir().join("second");
    folder.to_string_lossy().into_owned()
}
