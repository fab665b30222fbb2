//! The audit log of a server: what is in the file after requests of every sort.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use beeline_apiserver::{AuditLog, AuditOptions};
use serde_json::{Value, json};

use crate::fixture::Fixture;

const POLICY: &str = "
apiVersion: audit.k8s.io/v1
kind: Policy
rules:
- level: None
  nonResourceURLs: ['/readyz*']
- level: Metadata
  omitStages: [RequestReceived]
  resources: [{group: '', resources: [secrets]}]
- level: RequestResponse
  omitManagedFields: true
  resources: [{group: '', resources: [configmaps]}]
- level: Request
";

fn log(folder: &Path) -> (PathBuf, Arc<AuditLog>) {
    let (policy, log) = (folder.join("policy.yaml"), folder.join("audit.log"));
    std::fs::write(&policy, POLICY).unwrap();
    let options = AuditOptions {
        policy,
        log: log.clone(),
        size_max_mib: 100,
        backups_max: 1,
        age_max_days: 0,
    };
    (log, Arc::new(AuditLog::open(&options).unwrap()))
}

fn events(log: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(log).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_is_recorded_as_far_as_the_policy_says() {
    let folder = tempfile::tempdir().unwrap();
    let (path, audit) = log(folder.path());
    let fixture = Fixture::start_with(|options| options.audit = Some(audit)).await;
    let at = "/api/v1/namespaces/default";
    let secret =
        json!({ "metadata": { "name": "s" }, "stringData": { "k": "hidden" } }).to_string();
    let made =
        fixture.admin("POST", &format!("{at}/secrets"), &[("audit-id", "mine")], secret).await;
    assert_eq!((made.code, made.header("audit-id")), (201, "mine"));
    let map = json!({ "metadata": { "name": "m" }, "data": { "k": "v" } }).to_string();
    let apply = "application/apply-patch+yaml";
    let url = format!("{at}/configmaps/m?fieldManager=me");
    let body = map.replacen('{', "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",", 1);
    assert_eq!(fixture.admin("PATCH", &url, &[("content-type", apply)], body).await.code, 201);
    let bob = fixture.authority.client("bob", Some("devs"), SystemTime::now()).unwrap();
    assert_eq!(
        fixture.request(Some(&bob), "GET", &format!("{at}/pods/p"), &[], "").await.code,
        403
    );
    let as_bob = [("impersonate-user", "carol"), ("user-agent", "tester/1")];
    assert_eq!(fixture.admin("GET", &format!("{at}/secrets/none"), &as_bob, "").await.code, 403);
    let bad = [("authorization", "Bearer nonsense")];
    assert_eq!(fixture.request(None, "GET", "/api", &bad, "").await.code, 401);
    assert_eq!(fixture.admin("GET", "/readyz", &[], "").await.code, 200);
    let watch = format!("{at}/configmaps?watch=1&timeoutSeconds=1&resourceVersion=0");
    assert_eq!(fixture.admin("GET", &watch, &[], "").await.code, 200);
    let metrics = fixture.admin("GET", "/metrics", &[], "").await.text();
    assert!(metrics.contains("apiserver_audit_level_total{level=\"None\"} 1\n"), "{metrics}");
    fixture.stop().await;

    let all = events(&path);
    let find = |verb: &str, resource: &str, stage: &str| {
        let fits = |e: &&Value| {
            e["verb"] == verb && e["stage"] == stage && e["objectRef"]["resource"] == resource
        };
        all.iter().find(fits).unwrap_or_else(|| panic!("{verb} {resource} {stage}: {all:#?}"))
    };
    let created = find("create", "secrets", "ResponseComplete");
    assert_eq!((&created["auditID"], &created["level"]), (&json!("mine"), &json!("Metadata")));
    assert_eq!(created["objectRef"]["name"], "s");
    assert_eq!(created["responseStatus"], json!({ "metadata": {}, "code": 201 }));
    assert_eq!(created["annotations"]["authorization.k8s.io/decision"], "allow");
    assert_eq!(created["sourceIPs"], json!(["127.0.0.1"]));
    assert!(created["requestObject"].is_null() && !created.to_string().contains("hidden"));

    let applied = find("patch", "configmaps", "ResponseComplete");
    assert_eq!(applied["requestObject"]["data"]["k"], "v");
    assert_eq!(applied["responseObject"]["metadata"]["name"], "m");
    assert!(applied["responseObject"]["metadata"]["managedFields"].is_null());

    let refused = find("get", "pods", "ResponseComplete");
    assert_eq!(refused["user"]["username"], "bob");
    assert_eq!(refused["responseStatus"]["reason"], "Forbidden");
    assert_eq!(refused["annotations"]["authorization.k8s.io/decision"], "forbid");
    find("get", "pods", "RequestReceived");

    let other = find("get", "secrets", "ResponseComplete");
    assert_eq!(other["user"]["username"], "kubernetes-admin");
    assert_eq!(other["impersonatedUser"]["username"], "carol");
    assert_eq!(other["userAgent"], "tester/1");

    let nobody = all.iter().find(|e| e["responseStatus"]["code"] == 401).unwrap();
    assert_eq!(
        (&nobody["stage"], &nobody["requestURI"]),
        (&json!("ResponseStarted"), &json!("/api"))
    );
    find("watch", "configmaps", "ResponseStarted");
    find("watch", "configmaps", "ResponseComplete");
    assert!(!all.iter().any(|e| e["requestURI"] == "/readyz"));
    assert!(!all.iter().any(|e| e["stage"] == "RequestReceived" && e["level"] == "Metadata"));
}
