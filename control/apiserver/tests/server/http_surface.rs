//! Headers, codes and forms that no kubectl output shows.

use std::time::SystemTime;

use beeline_auth::Identity;
use serde_json::json;

use crate::fixture::Fixture;

const AGGREGATED: &str =
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";

#[tokio::test(flavor = "multi_thread")]
async fn who_may_see_what() {
    let fixture = Fixture::start().await;
    for path in
        ["/healthz", "/livez", "/readyz", "/version", "/version/", "/cacerts", "/readyz?verbose"]
    {
        assert_eq!(fixture.request(None, "GET", path, &[], "").await.code, 200, "{path}");
    }
    let ca = fixture.request(None, "GET", "/cacerts", &[], "").await;
    assert_eq!(ca.text(), fixture.authority.certificate_pem());
    for path in ["/api", "/api/v1/pods", "/metrics", "/nothing", "/openapi/v3"] {
        let got = fixture.request(None, "GET", path, &[], "").await;
        assert_eq!(
            (got.code, got.json()["reason"].as_str()),
            (401, Some("Unauthorized")),
            "{path}"
        );
    }
    assert_eq!(fixture.admin("GET", "/metrics", &[], "").await.code, 200);
    let metrics = fixture.admin("GET", "/metrics", &[], "").await.text();
    let of = "group=\"\",version=\"v1\",resource=\"pods\",subresource=\"\",scope=\"cluster\"";
    let line = format!(
        "apiserver_request_total{{verb=\"LIST\",dry_run=\"\",{of},component=\"apiserver\",code=\"401\"}}"
    );
    assert!(metrics.contains(&line), "{metrics}");
    let bob = fixture.authority.client("bob", Some("devs"), SystemTime::now()).unwrap();
    assert_eq!(fixture.request(Some(&bob), "GET", "/apis/", &[], "").await.code, 200);
    let got = fixture.request(Some(&bob), "GET", "/metrics", &[], "").await;
    assert_eq!(got.json()["message"], "forbidden: User \"bob\" cannot get path \"/metrics\"");
    let review = json!({ "spec": { "resourceAttributes": { "verb": "get", "resource": "pods", "namespace": "x" } } });
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let got = fixture.request(Some(&bob), "POST", path, &[], review.to_string()).await;
    assert_eq!((got.code, got.json()["status"]["allowed"].as_bool()), (201, Some(false)));
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn discovery_documents() {
    let fixture = Fixture::start().await;
    let got = fixture.admin("GET", "/apis", &[("accept", AGGREGATED)], "").await;
    assert_eq!(
        got.header("content-type"),
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    );
    assert_eq!(got.header("vary"), "Accept");
    assert!(!got.header("audit-id").is_empty());
    let etag = got.header("etag").to_owned();
    assert!(etag.starts_with('"'));
    let groups = got.json()["items"].clone();
    let name = |at: usize| groups[at]["metadata"]["name"].clone();
    assert_eq!([name(0), name(1)], ["apiregistration.k8s.io", "apps"], "as upstream has them");
    let again = fixture
        .admin("GET", "/apis", &[("accept", AGGREGATED), ("if-none-match", &etag)], "")
        .await;
    assert_eq!((again.code, again.body.len()), (304, 0));
    let core = fixture.admin("GET", "/api", &[("accept", AGGREGATED)], "").await.json();
    assert_eq!(core["items"][0]["metadata"], json!({}));
    assert_eq!(fixture.admin("GET", "/api", &[], "").await.json()["versions"], json!(["v1"]));
    let resources = fixture.admin("GET", "/api/v1", &[], "").await.json()["resources"].clone();
    let eviction =
        resources.as_array().unwrap().iter().find(|r| r["name"] == "pods/eviction").unwrap();
    // Without a group of its own kubectl drain deletes instead of evicting.
    assert_eq!(
        (eviction["group"].as_str(), eviction["version"].as_str()),
        (Some("policy"), Some("v1"))
    );
    assert_eq!(fixture.admin("GET", "/apis/apps", &[], "").await.json()["kind"], "APIGroup");
    assert_eq!(fixture.admin("GET", "/apis/nope/v1", &[], "").await.text(), "404 page not found\n");
    let index = fixture.admin("GET", "/openapi/v3", &[], "").await.json();
    let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().unwrap().to_owned();
    let document = fixture.admin("GET", &url, &[], "").await;
    assert_eq!(document.header("cache-control"), "public, immutable");
    let patch = &document.json()["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]
        ["patch"];
    assert_eq!(patch["x-kubernetes-group-version-kind"]["kind"], "Deployment");
    assert!(patch["parameters"].as_array().unwrap().iter().any(|p| p["name"] == "fieldValidation"));
    let accept = [("accept", "application/com.github.proto-openapi.spec.v2@v1.0+protobuf")];
    assert!(
        fixture.admin("GET", "/openapi/v2", &accept, "").await.body.starts_with(b"\x0a\x032.0")
    );
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals() {
    let fixture = Fixture::start().await;
    let pods = "/api/v1/namespaces/default/pods";
    let code = async |method: &str, path: &str, headers: &[(&str, &str)], body: String| {
        let got = fixture.admin(method, path, headers, body).await;
        (got.code, got.json()["reason"].as_str().unwrap_or_default().to_owned())
    };
    let is = |code: u16, reason: &str| (code, reason.to_owned());
    assert_eq!(
        fixture.admin("GET", "/api/v1/widgets", &[], "").await.text(),
        "404 page not found\n"
    );
    assert_eq!(fixture.admin("GET", "/bogus", &[], "").await.text(), "404 page not found\n");
    assert_eq!(code("PUT", pods, &[], String::new()).await, is(405, "MethodNotAllowed"));
    assert_eq!(code("POST", "/version", &[], String::new()).await, is(405, "MethodNotAllowed"));
    assert_eq!(
        code("GET", pods, &[("accept", "text/html")], String::new()).await,
        is(406, "NotAcceptable")
    );
    let cbor = [("content-type", "application/cbor")];
    assert_eq!(code("POST", pods, &cbor, "x".into()).await, is(415, "UnsupportedMediaType"));
    assert_eq!(code("POST", pods, &[], "{".into()).await, is(400, "BadRequest"));
    let huge = format!("{{\"x\":\"{}\"}}", "a".repeat(3 * 1024 * 1024));
    assert_eq!(code("POST", pods, &[], huge).await, is(413, "RequestEntityTooLarge"));
    let future = format!("{pods}?resourceVersion=999999999&timeout=50ms");
    assert_eq!(code("GET", &future, &[], String::new()).await, is(504, "Timeout"));
    let selector = format!("{pods}?labelSelector=%21%21");
    assert_eq!(code("GET", &selector, &[], String::new()).await, is(400, "BadRequest"));
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forms_of_lists_and_watches() {
    let fixture = Fixture::start().await;
    let configmaps = "/api/v1/namespaces/default/configmaps";
    for name in ["a", "b"] {
        let body = json!({ "metadata": { "name": name }, "data": { "k": name } }).to_string();
        assert_eq!(fixture.admin("POST", configmaps, &[], body).await.code, 201);
    }
    let yaml = [("content-type", "application/yaml")];
    let got = fixture.admin("POST", configmaps, &yaml, "metadata: {name: c}\ndata: {k: c}\n").await;
    assert_eq!((got.code, got.json()["kind"].as_str()), (201, Some("ConfigMap")));
    let list = fixture.admin("GET", &format!("{configmaps}?limit=2"), &[], "").await.json();
    assert_eq!(
        (list["kind"].as_str(), list["items"].as_array().unwrap().len()),
        (Some("ConfigMapList"), 2)
    );
    let token = list["metadata"]["continue"].as_str().unwrap();
    let rest = fixture
        .admin("GET", &format!("{configmaps}?limit=2&continue={token}"), &[], "")
        .await
        .json();
    assert_eq!(rest["items"][0]["metadata"]["name"], "c");
    assert_eq!(rest["metadata"]["resourceVersion"], list["metadata"]["resourceVersion"]);
    let table = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let got = fixture.admin("GET", configmaps, &table, "").await.json();
    assert_eq!(
        (got["kind"].as_str(), got["rows"][0]["cells"][0].as_str()),
        (Some("Table"), Some("a"))
    );
    let partial = [("accept", "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io")];
    let got = fixture.admin("GET", configmaps, &partial, "").await.json();
    assert_eq!(got["kind"], "PartialObjectMetadataList");
    assert!(got["items"][0]["data"].is_null() && got["items"][0]["metadata"]["uid"].is_string());
    let watch = format!("{configmaps}?watch=true&timeoutSeconds=1");
    let got = fixture.admin("GET", &watch, &table, "").await.text();
    let events: Vec<serde_json::Value> =
        got.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(events.len(), 3, "{got}");
    assert!(events.iter().all(|e| e["type"] == "ADDED" && e["object"]["kind"] == "Table"));
    assert!(!events[0]["object"]["columnDefinitions"].as_array().unwrap().is_empty());
    assert!(events[1]["object"]["columnDefinitions"].as_array().unwrap().is_empty());
    let one = fixture
        .admin("GET", &format!("{configmaps}/b?watch=true&timeoutSeconds=1"), &[], "")
        .await
        .text();
    assert_eq!(one.lines().count(), 1, "{one}");
    assert!(one.contains("\"name\":\"b\""));
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_from_a_forgotten_revision_is_told_so_within_the_watch() {
    let fixture = Fixture::start_remembering(4).await;
    let configmaps = "/api/v1/namespaces/default/configmaps";
    let start = fixture.registry.revision().0;
    for number in 0..10 {
        let body = json!({ "metadata": { "name": format!("c{number}") } }).to_string();
        assert_eq!(fixture.admin("POST", configmaps, &[], body).await.code, 201);
    }
    let watch = format!("{configmaps}?watch=true&timeoutSeconds=1&resourceVersion={start}");
    let got = fixture.admin("GET", &watch, &[], "").await;
    assert_eq!((got.code, got.header("content-type")), (200, "application/json"));
    let event = got.json();
    assert_eq!(event["type"], "ERROR");
    let status = &event["object"];
    assert_eq!((&status["kind"], &status["code"]), (&json!("Status"), &json!(410)));
    assert_eq!(status["reason"], "Expired");
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_end_when_the_server_drains() {
    let fixture = Fixture::start().await;
    let path = "/api/v1/configmaps?watch=true";
    let watching = fixture.admin("GET", path, &[], "");
    let stopping = async {
        let opened = || async {
            fixture.admin("GET", "/metrics", &[], "").await.text().lines().any(|line| {
                line.starts_with("apiserver_longrunning_requests{verb=\"WATCH\"")
                    && line.ends_with(" 1")
            })
        };
        while !opened().await {}
        fixture.server.stop(std::time::Duration::from_secs(5)).await;
    };
    let (got, ()) = tokio::join!(watching, stopping);
    assert_eq!(got.code, 200);
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_shares_the_port_and_knows_who_calls() {
    let fixture = Fixture::start_with(|options| {
        let who = |request: axum::extract::Request| async move {
            request
                .extensions()
                .get::<Identity>()
                .map_or("nobody".to_owned(), |who| who.user.clone())
        };
        options.grpc = Some(axum::Router::new().fallback(who));
    })
    .await;
    let grpc = [("content-type", "application/grpc+proto")];
    assert_eq!(
        fixture.admin("POST", "/beeline.feed.v1.Feed/Join", &grpc, "").await.text(),
        "kubernetes-admin"
    );
    assert_eq!(
        fixture.request(None, "POST", "/beeline.feed.v1.Feed/Join", &grpc, "").await.text(),
        "nobody"
    );
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_in_this_process_needs_no_tls() {
    let fixture = Fixture::start().await;
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let identity = Identity::new("local", ["system:masters"]);
    fixture.server.attach(theirs, Some(identity));
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(ours)).await.unwrap();
    let request =
        http::Request::get("/api/v1/namespaces").header("host", "x").body(String::new()).unwrap();
    let answered = tokio::select! {
        answer = sender.send_request(request) => answer.unwrap().status(),
        _ = connection => panic!("the connection ended first"),
    };
    assert_eq!(answered, 200);
    drop(sender);
    fixture.stop().await;
}
