//! Who may do what: roles, escalation, tokens of service accounts, bootstrap tokens, impersonation.

use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use serde_json::{Value, json};

use crate::fixture::{Fixture, Got};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

async fn post(fixture: &Fixture, path: &str, body: Value) -> Got {
    fixture.admin("POST", path, &[], body.to_string()).await
}

async fn made(fixture: &Fixture, path: &str, body: Value) -> Value {
    let got = post(fixture, path, body).await;
    assert_eq!(got.code, 201, "{path}: {}", got.text());
    got.json()
}

fn role(name: &str, verbs: &[&str], resources: &[&str]) -> Value {
    json!({
        "metadata": { "name": name },
        "rules": [{ "verbs": verbs, "apiGroups": [""], "resources": resources }],
    })
}

fn binding(name: &str, role: (&str, &str), subject: &Value) -> Value {
    let (kind, role) = role;
    json!({
        "metadata": { "name": name }, "subjects": [subject],
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role },
    })
}

fn user(name: &str) -> Value {
    json!({ "kind": "User", "name": name, "apiGroup": "rbac.authorization.k8s.io" })
}

/// A token from `serviceaccounts/NAME/token`.
async fn token(fixture: &Fixture, name: &str, spec: Value) -> String {
    let path = format!("/api/v1/namespaces/default/serviceaccounts/{name}/token");
    let got = made(fixture, &path, json!({ "spec": spec })).await;
    got["status"]["token"].as_str().unwrap().to_owned()
}

async fn bearing(fixture: &Fixture, token: &str, method: &str, path: &str) -> Got {
    let bearer = format!("Bearer {token}");
    fixture.request(None, method, path, &[("authorization", &bearer)], "").await
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_grant_where_they_are_bound() {
    let fixture = Fixture::start().await;
    let bob = fixture.authority.client("bob", Some("devs"), SystemTime::now()).unwrap();
    let pods = "/api/v1/namespaces/default/pods";
    let ask = async |path: &str| fixture.request(Some(&bob), "GET", path, &[], "").await;
    assert_eq!(
        ask(pods).await.json()["message"],
        "pods is forbidden: User \"bob\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\""
    );
    let roles = format!("{RBAC}/namespaces/default/roles");
    let bindings = format!("{RBAC}/namespaces/default/rolebindings");
    made(&fixture, &roles, role("reader", &["get", "list"], &["pods"])).await;
    made(&fixture, &bindings, binding("reader", ("Role", "reader"), &user("bob"))).await;
    assert_eq!(ask(pods).await.code, 200);
    assert_eq!(ask("/api/v1/namespaces/kube-system/pods").await.code, 403);
    assert_eq!(ask("/api/v1/pods").await.code, 403);
    assert_eq!(ask(&format!("{pods}?watch=1")).await.code, 403);

    // A role of the cluster, for a group, everywhere.
    let group = json!({ "kind": "Group", "name": "devs", "apiGroup": "rbac.authorization.k8s.io" });
    let everywhere = binding("devs", ("ClusterRole", "view"), &group);
    made(&fixture, &format!("{RBAC}/clusterrolebindings"), everywhere).await;
    assert_eq!(ask("/api/v1/services").await.code, 200);
    assert_eq!(ask("/api/v1/secrets").await.code, 403);

    fixture.admin("DELETE", &format!("{RBAC}/clusterrolebindings/devs"), &[], "").await;
    fixture.admin("DELETE", &format!("{bindings}/reader"), &[], "").await;
    assert_eq!((ask("/api/v1/services").await.code, ask(pods).await.code), (403, 403));
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_in_a_rule_admit_lists_of_that_name() {
    let fixture = Fixture::start().await;
    let bob = fixture.authority.client("bob", None, SystemTime::now()).unwrap();
    let mut only = role("one", &["get", "list", "watch"], &["configmaps"]);
    only["rules"][0]["resourceNames"] = json!(["one"]);
    made(&fixture, &format!("{RBAC}/namespaces/default/roles"), only).await;
    let bound = binding("one", ("Role", "one"), &user("bob"));
    made(&fixture, &format!("{RBAC}/namespaces/default/rolebindings"), bound).await;
    let maps = "/api/v1/namespaces/default/configmaps";
    let ask = async |path: String| fixture.request(Some(&bob), "GET", &path, &[], "").await.code;
    assert_eq!(ask(format!("{maps}/one")).await, 404);
    assert_eq!(ask(format!("{maps}/two")).await, 403);
    assert_eq!(ask(maps.to_owned()).await, 403);
    assert_eq!(ask(format!("{maps}?fieldSelector=metadata.name%3Done")).await, 200);
    assert_eq!(ask(format!("{maps}?fieldSelector=metadata.name%3Dtwo")).await, 403);
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_grants_what_he_does_not_hold() {
    let fixture = Fixture::start().await;
    let bob = fixture.authority.client("bob", None, SystemTime::now()).unwrap();
    let bound = binding("bob", ("ClusterRole", "admin"), &user("bob"));
    made(&fixture, &format!("{RBAC}/namespaces/default/rolebindings"), bound).await;
    let roles = format!("{RBAC}/namespaces/default/roles");
    let bindings = format!("{RBAC}/namespaces/default/rolebindings");
    let send = async |path: &str, body: Value| {
        fixture.request(Some(&bob), "POST", path, &[], body.to_string()).await
    };
    assert_eq!(send(&roles, role("own", &["get"], &["pods"])).await.code, 201);
    let refused = send(&roles, role("more", &["get"], &["nodes"])).await;
    let message = refused.json()["message"].as_str().unwrap().to_owned();
    assert_eq!(refused.code, 403);
    assert_eq!(
        message,
        "roles.rbac.authorization.k8s.io \"more\" is forbidden: user \"bob\" (groups=[\"system:authenticated\"]) is \
         attempting to grant RBAC permissions not currently held:\n{APIGroups:[\"\"], Resources:[\"nodes\"], Verbs:[\"get\"]}"
    );
    let eve = user("eve");
    assert_eq!(send(&bindings, binding("v", ("ClusterRole", "view"), &eve)).await.code, 201);
    let root = send(&bindings, binding("root", ("ClusterRole", "cluster-admin"), &eve)).await;
    assert_eq!(root.code, 403);
    assert_eq!(send(&bindings, binding("none", ("Role", "none"), &eve)).await.code, 404);

    // With the verb `bind` on one role he may hand out that one.
    let mut may_bind = role("binder", &["bind"], &["clusterroles"]);
    may_bind["rules"][0]["apiGroups"] = json!(["rbac.authorization.k8s.io"]);
    may_bind["rules"][0]["resourceNames"] = json!(["cluster-admin"]);
    made(&fixture, &roles, may_bind).await;
    made(&fixture, &bindings, binding("binder", ("Role", "binder"), &user("bob"))).await;
    let root = send(&bindings, binding("root", ("ClusterRole", "cluster-admin"), &eve)).await;
    assert_eq!(root.code, 201, "{}", root.text());
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_lives_as_long_as_its_account() {
    let fixture = Fixture::start().await;
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    made(&fixture, accounts, json!({ "metadata": { "name": "robot" } })).await;
    let token = token(&fixture, "robot", json!({ "expirationSeconds": 600 })).await;
    let who = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let bearer = format!("Bearer {token}");
    let got = fixture.request(None, "POST", who, &[("authorization", &bearer)], "{}").await;
    let info = &got.json()["status"]["userInfo"];
    assert_eq!(info["username"], "system:serviceaccount:default:robot");
    let groups =
        ["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"];
    assert_eq!(info["groups"], json!(groups));

    let pods = "/api/v1/namespaces/default/pods";
    assert_eq!(bearing(&fixture, &token, "GET", pods).await.code, 403);
    let account = json!({ "kind": "ServiceAccount", "name": "robot", "namespace": "default" });
    let bound = binding("robot", ("ClusterRole", "view"), &account);
    made(&fixture, &format!("{RBAC}/namespaces/default/rolebindings"), bound).await;
    assert_eq!(bearing(&fixture, &token, "GET", pods).await.code, 200);

    let review = json!({ "spec": { "token": token } });
    let path = "/apis/authentication.k8s.io/v1/tokenreviews";
    let status = made(&fixture, path, review.clone()).await["status"].clone();
    assert_eq!(
        (&status["authenticated"], &status["user"]["username"]),
        (&json!(true), &info["username"])
    );

    // The account of the same name that comes after it is another one.
    fixture.admin("DELETE", &format!("{accounts}/robot"), &[], "").await;
    assert_eq!(bearing(&fixture, &token, "GET", pods).await.code, 401);
    made(&fixture, accounts, json!({ "metadata": { "name": "robot" } })).await;
    assert_eq!(bearing(&fixture, &token, "GET", pods).await.code, 401);
    let status = made(&fixture, path, review).await["status"].clone();
    assert!(status["authenticated"].is_null() && status["error"].is_string(), "{status}");
    assert_eq!(bearing(&fixture, "not.a.token", "GET", "/version").await.code, 401);
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_can_be_bound_to_a_pod() {
    let fixture = Fixture::start().await;
    let pods = "/api/v1/namespaces/default/pods";
    let pod = json!({
        "metadata": { "name": "web" },
        "spec": { "containers": [{ "name": "c", "image": "i" }] },
    });
    let uid = made(&fixture, pods, pod).await["metadata"]["uid"].clone();
    let reference = json!({ "apiVersion": "v1", "kind": "Pod", "name": "web", "uid": uid });
    let spec = json!({ "boundObjectRef": reference, "audiences": ["vault"] });
    let token = token(&fixture, "default", spec).await;
    // For another audience than the API itself.
    assert_eq!(bearing(&fixture, &token, "GET", "/api").await.code, 401);
    let path = "/apis/authentication.k8s.io/v1/tokenreviews";
    let review = json!({ "spec": { "token": token, "audiences": ["vault", "other"] } });
    let status = made(&fixture, path, review.clone()).await["status"].clone();
    assert_eq!(status["audiences"], json!(["vault"]));
    assert_eq!(status["user"]["extra"]["authentication.kubernetes.io/pod-name"], json!(["web"]));
    let gone = format!("{pods}/web?gracePeriodSeconds=0");
    assert_eq!(fixture.admin("DELETE", &gone, &[], "").await.code, 200);
    assert!(made(&fixture, path, review).await["status"]["authenticated"].is_null());

    let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let short = post(&fixture, path, json!({ "spec": { "expirationSeconds": 10 } })).await;
    assert_eq!(short.code, 422);
    assert!(short.text().contains("may not specify a duration less than 10 minutes"));
    let absent = json!({ "spec": { "boundObjectRef": reference } });
    assert_eq!(post(&fixture, path, absent).await.code, 404);
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_issuer_tells_its_keys() {
    let fixture = Fixture::start().await;
    let token = token(&fixture, "default", json!({})).await;
    let issuer = bearing(&fixture, &token, "GET", "/.well-known/openid-configuration").await.json();
    assert_eq!(issuer["issuer"], "https://kubernetes.default.svc.cluster.local");
    let keys = bearing(&fixture, &token, "GET", "/openid/v1/jwks").await.json();
    assert_eq!((&keys["keys"][0]["kty"], &keys["keys"][0]["alg"]), (&json!("EC"), &json!("ES256")));
    assert_eq!(fixture.request(None, "GET", "/openid/v1/jwks", &[], "").await.code, 401);
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bootstrap_tokens_are_secrets_of_the_system() {
    let fixture = Fixture::start().await;
    let secret = |expiration: &str| {
        json!({
            "metadata": { "name": "bootstrap-token-abcdef" },
            "type": "bootstrap.kubernetes.io/token",
            "stringData": {
                "token-id": "abcdef", "token-secret": "0123456789abcdef", "expiration": expiration,
                "usage-bootstrap-authentication": "true",
                "auth-extra-groups": "system:bootstrappers:workers,not-a-bootstrapper",
            },
        })
    };
    let secrets = "/api/v1/namespaces/kube-system/secrets";
    made(&fixture, secrets, secret("2999-01-01T00:00:00Z")).await;
    let who = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let ask = async |token: &str| {
        let bearer = format!("Bearer {token}");
        fixture.request(None, "POST", who, &[("authorization", &bearer)], "{}").await
    };
    let info = ask("abcdef.0123456789abcdef").await.json()["status"]["userInfo"].clone();
    assert_eq!(info["username"], "system:bootstrap:abcdef");
    let groups = ["system:bootstrappers", "system:bootstrappers:workers", "system:authenticated"];
    assert_eq!(info["groups"], json!(groups));
    assert_eq!(ask("abcdef.0123456789abcdee").await.code, 401);
    assert_eq!(ask("abcdeg.0123456789abcdef").await.code, 401);
    let old = secret("2001-01-01T00:00:00Z").to_string();
    let path = format!("{secrets}/bootstrap-token-abcdef");
    let replaced = fixture.admin("PUT", &path, &[], old).await;
    assert_eq!(replaced.code, 200, "{}", replaced.text());
    assert_eq!(ask("abcdef.0123456789abcdef").await.code, 401);
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_impersonate_is_taken_for_another() {
    let fixture = Fixture::start().await;
    let who = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let as_bob = [
        ("impersonate-user", "bob"),
        ("impersonate-group", "devs"),
        ("impersonate-extra-team", "a"),
    ];
    let info = fixture.admin("POST", who, &as_bob, "{}").await.json()["status"]["userInfo"].clone();
    let wanted = json!({ "username": "bob", "groups": ["devs", "system:authenticated"], "extra": { "team": ["a"] } });
    assert_eq!(info, wanted);
    let account = [("impersonate-user", "system:serviceaccount:default:default")];
    let info =
        fixture.admin("POST", who, &account, "{}").await.json()["status"]["userInfo"].clone();
    assert_eq!(info["groups"][1], "system:serviceaccounts:default");
    // What the other may not, the administrator may not in his name.
    let path = "/api/v1/namespaces/default/pods";
    assert_eq!(fixture.admin("GET", path, &as_bob, "").await.code, 403);
    let bob = fixture.authority.client("bob", None, SystemTime::now()).unwrap();
    let refused =
        fixture.request(Some(&bob), "GET", path, &[("impersonate-user", "eve")], "").await;
    assert_eq!(
        refused.json()["message"],
        "users \"eve\" is forbidden: User \"bob\" cannot impersonate resource \"users\" in API group \"\" at the cluster scope"
    );
    // The group of beeline's own loops is nobody else's, whoever asks.
    let inside = [("impersonate-user", "bob"), ("impersonate-group", "beeline:in-process")];
    assert_eq!(fixture.admin("GET", path, &inside, "").await.code, 403);
    let nobody = fixture.admin("GET", path, &[("impersonate-group", "devs")], "").await;
    assert_eq!(nobody.code, 500);
    fixture.stop().await;
}

fn signing_request(name: &str, user: &str, group: &str) -> Value {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, group);
    params.distinguished_name.push(DnType::CommonName, user);
    let pem = params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap();
    json!({
        "metadata": { "name": name },
        "spec": {
            "request": STANDARD.encode(pem), "signerName": "kubernetes.io/kube-apiserver-client",
            "usages": ["client auth"],
        },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_approved_by_those_who_may_and_never_for_administrators() {
    let fixture = Fixture::start().await;
    let requests = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let bob = fixture.authority.client("bob", None, SystemTime::now()).unwrap();
    let master = post(&fixture, requests, signing_request("m", "eve", "system:masters")).await;
    assert_eq!(master.code, 403);
    assert!(
        master.text().contains("with system:masters group is not allowed"),
        "{}",
        master.text()
    );

    let one = made(&fixture, requests, signing_request("one", "carol", "devs")).await;
    assert_eq!(one["spec"]["username"], "kubernetes-admin");
    let mut rule = role(
        "approver",
        &["get", "update"],
        &["certificatesigningrequests", "certificatesigningrequests/approval"],
    );
    rule["rules"][0]["apiGroups"] = json!(["certificates.k8s.io"]);
    made(&fixture, &format!("{RBAC}/clusterroles"), rule).await;
    let bindings = format!("{RBAC}/clusterrolebindings");
    made(&fixture, &bindings, binding("approver", ("ClusterRole", "approver"), &user("bob"))).await;
    let mut approved = one;
    approved["status"]["conditions"] =
        json!([{ "type": "Approved", "status": "True", "reason": "Test", "message": "" }]);
    let path = format!("{requests}/one/approval");
    let send = async || fixture.request(Some(&bob), "PUT", &path, &[], approved.to_string()).await;
    let refused = send().await;
    assert_eq!(
        refused.json()["message"],
        "certificatesigningrequests.certificates.k8s.io \"one\" is forbidden: user not permitted to approve requests \
         with signerName \"kubernetes.io/kube-apiserver-client\""
    );
    let signer = "system:certificates.k8s.io:kube-apiserver-client-approver";
    made(&fixture, &bindings, binding("signer", ("ClusterRole", signer), &user("bob"))).await;
    let done = send().await;
    assert_eq!(done.code, 200, "{}", done.text());
    assert_eq!(done.json()["status"]["conditions"][0]["type"], "Approved");
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn namespaces_say_what_their_pods_may() {
    let fixture = Fixture::start().await;
    let labels = json!({
        "pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/warn": "restricted",
    });
    let namespace = json!({ "metadata": { "name": "careful", "labels": labels } });
    made(&fixture, "/api/v1/namespaces", namespace).await;
    let pods = "/api/v1/namespaces/careful/pods";
    let pod = |name: &str, network: bool| {
        json!({
            "metadata": { "name": name },
            "spec": { "hostNetwork": network, "containers": [{ "name": "c", "image": "i" }] },
        })
    };
    let refused = post(&fixture, pods, pod("a", true)).await;
    assert_eq!(
        (refused.code, refused.json()["message"].as_str().unwrap()),
        (
            403,
            "pods \"a\" is forbidden: violates PodSecurity \"baseline:latest\": host namespaces (hostNetwork=true)"
        )
    );
    let warned = post(&fixture, pods, pod("b", false)).await;
    assert_eq!(warned.code, 201);
    assert!(
        warned.header("warning").contains("would violate PodSecurity \\\"restricted:latest\\\""),
        "{:?}",
        warned.headers
    );

    // Limits, too, are the namespace's.
    let limits = json!({
        "metadata": { "name": "l" },
        "spec": { "limits": [{ "type": "Container", "max": { "cpu": "1" } }] },
    });
    made(&fixture, "/api/v1/namespaces/careful/limitranges", limits).await;
    let filled = made(&fixture, pods, pod("c", false)).await;
    assert_eq!(
        filled["spec"]["containers"][0]["resources"],
        json!({ "limits": { "cpu": "1" }, "requests": { "cpu": "1" } })
    );
    let mut greedy = pod("d", false);
    greedy["spec"]["containers"][0]["resources"] = json!({ "limits": { "cpu": "2" } });
    let refused = post(&fixture, pods, greedy).await;
    assert_eq!(
        (refused.code, refused.json()["message"].as_str().unwrap()),
        (403, "pods \"d\" is forbidden: maximum cpu usage per Container is 1, but limit is 2")
    );
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_told_why_it_may_not() {
    let fixture = Fixture::start().await;
    let reviewed = async |attributes: Value| {
        let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
        let body = json!({ "spec": { "user": "system:node:a", "groups": ["system:nodes"],
            "resourceAttributes": attributes } });
        made(&fixture, path, body).await["status"].clone()
    };
    let secret =
        json!({ "verb": "get", "resource": "secrets", "namespace": "default", "name": "s" });
    let why = "no relationship found between node 'a' and this object";
    assert_eq!(reviewed(secret).await, json!({ "allowed": false, "reason": why }));
    let mut pods = json!({ "verb": "list", "resource": "pods" });
    assert_eq!(reviewed(pods.clone()).await["allowed"], false);
    pods["fieldSelector"] =
        json!({ "requirements": [{ "key": "spec.nodeName", "operator": "In", "values": ["a"] }] });
    assert_eq!(reviewed(pods).await, json!({ "allowed": true }));
    let node = fixture.authority.client("system:node:a", Some("system:nodes"), SystemTime::now());
    let node = node.unwrap();
    let get = async |path: &str| fixture.request(Some(&node), "GET", path, &[], "").await;
    assert_eq!(get("/api/v1/pods?fieldSelector=spec.nodeName%3Da").await.code, 200);
    let refused = get("/api/v1/namespaces/default/secrets/s").await;
    assert_eq!(refused.code, 403);
    assert!(refused.text().contains(why), "{}", refused.text());
    fixture.stop().await;
}
