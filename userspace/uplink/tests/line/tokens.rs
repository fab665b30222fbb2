//! Tokens for Pods: for those of the node that asks, and no others.

use std::time::SystemTime;

use beeline_auth::service_account::ISSUER;
use beeline_uplink::TokenRequest;
use serde_json::json;

use crate::cluster::{Cluster, eventually};

#[tokio::test]
async fn a_node_gets_tokens_for_its_own_pods_alone() {
    let cluster = Cluster::new().await;
    let (one, two) = (cluster.node("n1"), cluster.node("n2"));
    eventually("snapshots", || one.tables().complete && two.tables().complete).await;
    eventually("the account", || {
        cluster.object("v1", "ServiceAccount", Some("default"), "default").is_some()
    })
    .await;
    let pod = cluster
        .create(
            "v1",
            "Pod",
            &json!({
                "metadata": { "name": "web", "namespace": "default" },
                "spec": { "nodeName": "n1", "containers": [{ "name": "c", "image": "i" }] },
            }),
        )
        .await;
    eventually("the pod", || cluster.object("v1", "Pod", Some("default"), "web").is_some()).await;
    let wanted = TokenRequest {
        namespace: "default".into(),
        pod: "web".into(),
        uid: pod.uid().into(),
        account: "default".into(),
        audience: String::new(),
        seconds: 3607,
    };
    let given = one.uplink.token(wanted.clone()).await.unwrap();
    assert_eq!(given.seconds, 3607);
    let audience = [ISSUER.to_owned()];
    let claims = cluster.issuer.verify(&given.token, &audience, SystemTime::now()).unwrap();
    assert_eq!(claims.sub, "system:serviceaccount:default:default");
    assert_eq!(claims.bound.pod.unwrap().uid, pod.uid());
    assert_eq!(claims.bound.node.unwrap().name, "n1");

    let refused = two.uplink.token(wanted.clone()).await.unwrap_err().to_string();
    assert!(refused.contains("bound to a pod scheduled on a different node"), "{refused}");
    for (change, words) in [
        (TokenRequest { account: "other".into(), ..wanted.clone() }, "\"other\" not found"),
        (TokenRequest { uid: "u".into(), ..wanted.clone() }, "does not match the UID in record"),
        (TokenRequest { uid: String::new(), ..wanted.clone() }, "without a uid"),
        (TokenRequest { pod: String::new(), ..wanted.clone() }, "not bound to a pod"),
        (
            TokenRequest { audience: "vault".into(), ..wanted.clone() },
            "audience \"vault\" not found",
        ),
    ] {
        let refused = one.uplink.token(change).await.unwrap_err().to_string();
        assert!(refused.contains(words), "{words} in {refused}");
    }
    cluster
        .create(
            "v1",
            "ServiceAccount",
            &json!({
                "metadata": { "name": "other", "namespace": "default" },
            }),
        )
        .await;
    eventually("the other account", || {
        cluster.object("v1", "ServiceAccount", Some("default"), "other").is_some()
    })
    .await;
    let other = TokenRequest { account: "other".into(), ..wanted };
    let refused = one.uplink.token(other).await.unwrap_err().to_string();
    assert!(refused.contains("running with different serviceaccount name"), "{refused}");
    cluster.stop().await;
}
