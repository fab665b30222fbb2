//! Mistakes told by the API, in upstream's words, and by the looking commands.

use beeline_test_cluster::{LIMIT, node_with_image};
use beeline_test_support::{Kubectl, skip};

use super::{refused, run, start};

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
        &["strict decoding error: unknown field \"spec.containers[0].imag\""],
    );
    refused(
        &pod("{ containers: [{ name: a, image: b, ports: [{ containerPort: http }] }] }"),
        &["containerPort", "cannot unmarshal string into", "of type int32"],
    );
    refused(
        &pod("{ containers: [{ name: a, image: b, env: { A: b } }] }"),
        &["spec.containers", "env", "cannot unmarshal object into"],
    );
    refused(
        &pod("{ containers: [{ name: A_B, image: b }] }"),
        &[
            "The Pod \"p\" is invalid",
            "spec.containers[0].name: Invalid value: \"A_B\"",
            "RFC 1123 label",
        ],
    );
    refused(&pod("{ containers: [] }"), &["spec.containers: Required value"]);
    refused(
        &pod("{ containers: [{ name: a, image: b, resources: { limits: { memory: much } } }] }"),
        &["quantities must match the regular expression"],
    );
    refused(
        "apiVersion: v1\nkind: Service\nmetadata: { name: s }\nspec: { ports: [{ port: 70000 }] }\n",
        &["spec.ports[0].port: Invalid value: 70000", "between 1 and 65535"],
    );
    refused(
        "apiVersion: v1\nkind: Service\nmetadata: { name: s }\nspec: { clusterIP: 10.9.9.9, ports: [{ port: 80 }] }\n",
        &["spec.clusterIPs", "10.9.9.9", "the range of valid IPs is 10.43.0.0/16"],
    );
    refused(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: { name: d }\nspec: { selector: { matchLabels: { a: b } }, template: { metadata: { labels: { a: c } }, spec: { containers: [{ name: a, image: b }] } } }\n",
        &[
            "spec.template.metadata.labels: Invalid value",
            "`selector` does not match template `labels`",
        ],
    );
    refused(
        "apiVersion: beeline.example/v1\nkind: Hive\nmetadata: { name: h }\n",
        &["no matches for kind \"Hive\" in version \"beeline.example/v1\""],
    );
    // Nothing of all that was stored.
    assert_eq!(kubectl.run(&["get", "pods,deployments", "-o", "name"]), "");
    unknown_things_are_named(&kubectl);
    a_missing_image_is_told_with_its_remedy(&kubectl, &pod);
    Ok(())
}

fn unknown_things_are_named(kubectl: &Kubectl) {
    assert!(kubectl.fail(&["get", "pod", "nobody"]).contains("pods \"nobody\" not found"));
    assert!(kubectl.fail(&["get", "hives"]).contains("doesn't have a resource type \"hives\""));
    let homeless = kubectl.fail(&["create", "configmap", "c", "-n", "nowhere"]);
    assert!(homeless.contains("namespaces \"nowhere\" not found"), "{homeless}");
}

fn a_missing_image_is_told_with_its_remedy(kubectl: &Kubectl, pod: &impl Fn(&str) -> String) {
    kubectl.apply(&pod("{ containers: [{ name: a, image: 'nowhere:1' }] }"));
    kubectl.wait(LIMIT, &["get", "pod", "p"], |text| {
        text.contains("ErrImagePull") || text.contains("ImagePullBackOff")
    });
    let described = kubectl
        .wait(LIMIT, &["describe", "pod", "p"], |text| text.contains("beeline image import"));
    for word in ["Failed to pull image \"nowhere:1\"", "Error: ErrImagePull"] {
        assert!(described.contains(word), "{word:?} is not in {described}");
    }
}

#[test]
fn looking_commands_say_what_they_cannot_do() -> anyhow::Result<()> {
    if skip() {
        return Ok(());
    }
    let folder = std::env::temp_dir().join(format!("beeline-none-{}", std::process::id()));
    let nowhere = folder.to_string_lossy().into_owned();
    let at = [format!("--run-dir={nowhere}"), format!("--data-dir={nowhere}")];
    let asked = |words: &[&str]| run(&[words, &[&at[0], &at[1]]].concat());
    for command in ["flows", "services", "status"] {
        let socket = format!("{nowhere}/beeline.sock");
        refused(&asked(&[command]), &[&socket, "is beeline running here", "beeline up"]);
    }
    refused(&asked(&["token"]), &[&nowhere, "run this on the server", "--data-dir"]);
    refused(&asked(&["kubeconfig"]), &[&nowhere, "run this on the server", "--data-dir"]);
    refused(&asked(&["flows", "--verdict=lost"]), &["verdict \"lost\"", "forwarded"]);
    refused(&asked(&["flows", "--protocol=http"]), &["protocol \"http\"", "tcp"]);
    refused(&asked(&["flows", "--since=soon"]), &["--since \"soon\"", "5m"]);
    refused(&asked(&["flows", "--kubeconfig=/none/config"]), &["kubeconfig /none/config"]);

    // No archive, none at all, and not an image's; nothing is kept of any.
    std::fs::create_dir_all(&folder)?;
    let file = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let (text, other) = (file("text.tar"), file("other.tar"));
    std::fs::write(&text, "this is no image".repeat(100))?;
    let made = std::process::Command::new("tar")
        .args(["-cf", &other, "-C", &nowhere, "text.tar"])
        .status()?;
    assert!(made.success());
    refused(&asked(&["image", "import", &text]), &[&text, "not a readable tar", "docker save"]);
    refused(&asked(&["image", "import", &other]), &[&other, "manifest.json", "index.json"]);
    refused(&asked(&["image", "import", &nowhere]), &[&nowhere, "is a directory", "docker save"]);
    refused(&asked(&["image", "import", "/none.tar"]), &["/none.tar", "No such file"]);
    refused(&asked(&["image", "remove", "hello:9"]), &["hello:9", "no image"]);
    let listed = asked(&["image", "list"]);
    assert_eq!(String::from_utf8_lossy(&listed.stdout).lines().count(), 1, "{listed:?}");
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}

#[test]
fn an_agent_that_may_not_join_is_told_why() -> anyhow::Result<()> {
    if skip() {
        return Ok(());
    }
    let server = beeline_test_support::Node::up()?;
    let token = server.ask(&["token"]).trim().to_owned();
    let parts: Vec<_> = token.split('.').collect();
    let second = server.data_dir().join("second").to_string_lossy().into_owned();
    let join = |url: &str, token: &str| {
        let places = [("--data-dir", &*second), ("--run-dir", &*second)];
        let who = [("--node-name", "n2"), ("--server", url), ("--token", token)];
        start(&server, "agent", &[&places[..], &who[..]].concat())
    };
    let url = "https://127.0.0.1:6443";
    refused(&join(url, "x"), &["--token", "beeline token", "bl1.<hash>.<secret>"]);
    let wrong_secret = format!("bl1.{}.{}", parts[1], "0".repeat(parts[2].len()));
    refused(&join(url, &wrong_secret), &["join as n2", "token", "not this cluster's"]);
    let wrong_authority = format!("bl1.{}.{}", "0".repeat(64), parts[2]);
    refused(&join(url, &wrong_authority), &["127.0.0.1:6443", "authority is another one"]);
    refused(&join("https://nowhere.invalid:6443", &token), &["nowhere.invalid", "look up"]);

    // A server that does not answer may be on its way: the agent says so, and goes on asking.
    let log = format!("{second}.log");
    let options = [
        format!("--data-dir={second}"),
        format!("--run-dir={second}"),
        format!("--netns={}", server.net.path().display()),
        format!("--cgroup-root={}", server.cgroup().display()),
        format!("--bpf-root={second}/bpf"),
        format!("--token={token}"),
    ];
    let mut waiting = std::process::Command::new(beeline_test_support::beeline())
        .args(["agent", "--node-name=n2", "--server=https://127.0.0.1:1"])
        .args(&options)
        .stderr(std::fs::File::create(&log)?)
        .spawn()?;
    beeline_test_support::eventually(LIMIT, "the agent says that nobody answers", || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        text.matches("127.0.0.1:1: Connection refused").count() >= 2
    });
    assert!(waiting.try_wait()?.is_none(), "it gave up");
    waiting.kill()?;
    waiting.wait()?;
    let stop = [&["stop", "--kill"][..], &[&options[0], &options[1]]].concat();
    assert!(run(&stop).status.success());
    Ok(())
}
