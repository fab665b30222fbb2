use std::{net::Ipv4Addr, sync::Arc};

use beeline_tables::{Change, Epoch, ObjectKey, ObjectName, Referenced, Tables};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use super::*;

fn snapshot() -> Arc<Snapshot> {
    let (mut writer, reader) = Tables::new();
    let key = ObjectKey { kind: "ConfigMap".into(), name: ObjectName::new("shop", "pages") };
    let json = Arc::new(json!({"data": {"index.html": "<h1>hi</h1>", "b": "2"}}));
    writer.apply(Epoch(1), vec![Change::Object(Referenced { key, revision: 1, json })]);
    reader.snapshot()
}

#[expect(clippy::needless_pass_by_value, reason = "called with literals")]
fn run(volumes: serde_json::Value, dir: &Path) -> Result<Places, VolumeError> {
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "shop", "uid": "u-1", "labels": {"app": "web"}},
        "spec": {"containers": [], "volumes": volumes},
    }))
    .unwrap();
    let facts = PodFacts {
        pod: &pod,
        pod_ips: None,
        host_ips: Ipv4Addr::LOCALHOST.into(),
        node_name: "n1",
    };
    prepare(facts, &snapshot(), dir)
}

#[test]
fn each_kind_lies_where_it_says() {
    let dir = tempfile::tempdir().unwrap();
    let places = run(
        json!([
            {"name": "scratch", "emptyDir": {}},
            {"name": "pages", "configMap": {"name": "pages", "defaultMode": 0o400}},
            {"name": "some", "configMap": {"name": "pages", "items": [{"key": "b", "path": "x/y"}]}},
            {"name": "host", "hostPath": {"path": "/etc", "type": "Directory"}},
            {"name": "facts", "downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
            {"name": "api", "projected": {"sources": [
                {"serviceAccountToken": {"path": "token"}},
                {"configMap": {"name": "kube-root-ca.crt", "optional": true}},
                {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}}
            ]}},
        ]),
        dir.path(),
    )
    .unwrap();
    assert!(places["scratch"].is_dir());
    let page = places["pages"].join("index.html");
    assert_eq!(fs::read_to_string(&page).unwrap(), "<h1>hi</h1>");
    assert_eq!(fs::metadata(&page).unwrap().permissions().mode() & 0o777, 0o400);
    assert_eq!(fs::read_to_string(places["some"].join("x/y")).unwrap(), "2");
    assert_eq!(places["host"], Path::new("/etc"));
    assert_eq!(fs::read_to_string(places["facts"].join("labels")).unwrap(), "app=\"web\"");
    assert_eq!(fs::read_to_string(places["api"].join("namespace")).unwrap(), "shop");
    remove(dir.path()).unwrap();
    remove(dir.path()).unwrap();
    assert!(!dir.path().exists());
}

#[test]
fn what_cannot_be_made_is_named() {
    let dir = tempfile::tempdir().unwrap();
    for (volume, words) in [
        (
            json!({"name": "v", "configMap": {"name": "absent"}}),
            "volume \"v\" : configmap \"absent\" not found",
        ),
        (
            json!({"name": "v", "nfs": {"server": "s", "path": "/"}}),
            "volumes of kind nfs are not supported",
        ),
        (
            json!({"name": "v", "hostPath": {"path": "/etc/passwd", "type": "Directory"}}),
            "is not a Directory",
        ),
        (
            json!({"name": "v", "configMap": {"name": "pages", "items": [{"key": "b", "path": "../../b"}]}}),
            "must stay within the volume",
        ),
    ] {
        let error = run(json!([volume]), dir.path()).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn sub_paths_do_not_lead_out() {
    let dir = tempfile::tempdir().unwrap();
    assert!(sub_path(dir.path(), "a/b").unwrap().is_dir());
    assert!(sub_path(dir.path(), "../x").is_err());
    assert!(sub_path(dir.path(), "/etc").is_err());
    std::os::unix::fs::symlink("/etc", dir.path().join("link")).unwrap();
    assert!(sub_path(dir.path(), "link").unwrap_err().contains("leads out"));
}

#[test]
fn nothing_is_made_or_written_where_a_container_put_a_link() {
    let (dir, host) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let link = |to: &Path, at: PathBuf| std::os::unix::fs::symlink(to, at).unwrap();
    link(host.path(), dir.path().join("out"));
    assert!(sub_path(dir.path(), "out/made").unwrap_err().contains("leads out"));
    assert!(!host.path().join("made").exists());

    let volumes = json!([{"name": "pages", "configMap": {"name": "pages", "items": [
        {"key": "b", "path": "b"}, {"key": "b", "path": "x/y"}]}}]);
    let place = run(volumes.clone(), dir.path()).unwrap()["pages"].clone();
    let victim = host.path().join("victim");
    fs::write(&victim, "untouched").unwrap();
    link(&victim, place.join("b.beeline-draft"));
    run(volumes.clone(), dir.path()).unwrap();
    assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
    assert_eq!(fs::read_to_string(place.join("b")).unwrap(), "2");

    fs::remove_dir_all(place.join("x")).unwrap();
    link(host.path(), place.join("x"));
    assert!(run(volumes, dir.path()).unwrap_err().to_string().contains("leads out"));
    assert!(!host.path().join("y").exists());
}
