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

fn run(volumes: serde_json::Value, dir: &Path) -> Result<Places, VolumeError> {
    run_as(volumes, json!({}), "t1", dir)
}

#[expect(clippy::needless_pass_by_value, reason = "called with literals")]
fn run_as(
    volumes: serde_json::Value,
    security: serde_json::Value,
    token: &str,
    dir: &Path,
) -> Result<Places, VolumeError> {
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "shop", "uid": "u-1", "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "image": "i"}], "volumes": volumes, "securityContext": security},
    }))
    .unwrap();
    let facts = PodFacts {
        pod: &pod,
        pod_ips: None,
        host_ips: Ipv4Addr::LOCALHOST.into(),
        node_name: "n1",
    };
    let key = Key { audience: String::new(), seconds: 3600 };
    prepare(facts, &snapshot(), &Texts::from([(key, token.to_owned())]), dir)
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
    assert_eq!(fs::read_to_string(places["api"].join("token")).unwrap(), "t1");
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
    let place = dir.path().join("volumes/pages");
    fs::create_dir_all(&place).unwrap();
    let victim = host.path().join("victim");
    fs::write(&victim, "untouched").unwrap();
    for name in ["b", "..data_tmp", "stray"] {
        link(&victim, place.join(name));
    }
    link(host.path(), place.join("x"));
    run(volumes.clone(), dir.path()).unwrap();
    assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
    assert_eq!(fs::read_to_string(place.join("b")).unwrap(), "2");
    assert_eq!(fs::read_to_string(place.join("x/y")).unwrap(), "2");
    assert!(!host.path().join("y").exists() && !place.join("stray").exists());
}

#[test]
fn what_is_shown_changes_all_at_once_and_only_if_it_differs() {
    let dir = tempfile::tempdir().unwrap();
    let volumes = json!([{"name": "api", "projected": {"sources": [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}},
        {"configMap": {"name": "pages"}},
    ]}}]);
    let place = run(volumes.clone(), dir.path()).unwrap()["api"].clone();
    let version = || fs::read_link(place.join("..data")).unwrap();
    let first = version();
    run(volumes.clone(), dir.path()).unwrap();
    assert_eq!(version(), first, "nothing differs");
    run_as(volumes.clone(), json!({}), "t2", dir.path()).unwrap();
    assert_ne!(version(), first);
    assert_eq!(fs::read_link(place.join("token")).unwrap(), Path::new("..data/token"));
    assert_eq!(fs::read_to_string(place.join("token")).unwrap(), "t2");
    assert_eq!(fs::read_to_string(place.join("b")).unwrap(), "2");
    assert!(!place.join(first).exists(), "the old version is gone");
    let fewer =
        json!([{"name": "api", "projected": {"sources": [{"configMap": {"name": "pages"}}]}}]);
    run(fewer, dir.path()).unwrap();
    assert!(fs::symlink_metadata(place.join("token")).is_err());
}

#[test]
fn a_token_is_for_those_that_the_pod_names() {
    use std::os::unix::fs::MetadataExt as _;
    let own = fs::metadata("/proc/self").unwrap();
    let (user, group) = (own.uid(), own.gid());
    for (security, mode) in [
        (json!({}), 0o644),
        (json!({"runAsUser": user}), 0o600),
        (json!({"fsGroup": group}), 0o640),
        (json!({"runAsUser": user, "fsGroup": group}), 0o640),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let volumes = json!([{"name": "api", "projected": {"defaultMode": 420, "sources": [
            {"serviceAccountToken": {"path": "token"}}, {"configMap": {"name": "pages"}},
        ]}}]);
        let places = run_as(volumes, security.clone(), "t", dir.path()).unwrap();
        let of = |name: &str| fs::metadata(places["api"].join(name)).unwrap();
        assert_eq!(of("token").mode() & 0o777, mode, "{security}");
        assert_eq!(of("b").mode() & 0o777, 0o644, "{security}");
        assert_eq!((of("token").uid(), of("token").gid()), (user, group));
    }
}

#[test]
fn a_volume_waits_for_its_token() {
    let dir = tempfile::tempdir().unwrap();
    let volumes = json!([{"name": "v", "projected": {"sources": [
        {"serviceAccountToken": {"path": "token", "audience": "vault"}}]}}]);
    let error = run(volumes, dir.path()).unwrap_err().to_string();
    assert!(error.contains("no service account token yet"), "{error}");
}
