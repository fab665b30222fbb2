//! A whole cluster but for the kernel: registry, controllers, scheduler, feed and nodes, in one process over duplex
//! connections. The nodes' Pods are ready as soon as they are wanted.
#![expect(clippy::unwrap_used, reason = "a test may fail anywhere")]

#[path = "line/cluster.rs"]
mod cluster;
#[path = "line/streams.rs"]
mod streams;
#[path = "line/tokens.rs"]
mod tokens;
#[path = "line/workloads.rs"]
mod workloads;

use beeline_tables::{Epoch, ObjectName};
use beeline_uplink::{LineState, join};
use serde_json::json;

use cluster::{Cluster, eventually};

#[tokio::test]
async fn a_snapshot_then_changes_each_acknowledged() {
    let cluster = Cluster::new().await;
    let node = cluster.node("n1");
    eventually("snapshot", || node.tables().complete).await;
    assert!(node.tables().services.contains_key(&ObjectName::new("default", "kubernetes")));
    let welcome = node.uplink.welcome().borrow().clone().unwrap();
    assert_eq!(
        (welcome.pod_cidr.as_str(), welcome.service_cidr.as_str()),
        ("10.42.0.0/24", "10.43.0.0/16")
    );
    let first = node.tables().epoch;
    cluster.create("v1", "Service", &json!({
        "metadata": { "name": "web", "namespace": "default" }, "spec": { "ports": [{ "port": 80 }] },
    })).await;
    let web = ObjectName::new("default", "web");
    eventually("Service", || node.tables().services.contains_key(&web)).await;
    let now = node.tables().epoch;
    assert!(now > first);
    eventually("acknowledged", || cluster.feed.epochs()["n1"].in_force >= now.0).await;
    let epochs = cluster.feed.epochs()["n1"].clone();
    assert!(epochs.connected && epochs.apply_us == 7, "{epochs:?}");
    node.uplink.ack(Epoch(u64::MAX), 1);
    cluster
        .create("v1", "ConfigMap", &json!({ "metadata": { "name": "x", "namespace": "default" } }))
        .await;
    assert!(cluster.feed.epochs()["n1"].in_force < u64::MAX);
    cluster.stop().await;
}

#[tokio::test]
async fn a_broken_line_is_mended_and_brought_up_to_date() {
    let cluster = Cluster::new().await;
    let node = cluster.node("n1");
    eventually("snapshot", || node.tables().complete).await;
    node.cut();
    eventually("noticed here", || matches!(*node.uplink.state().borrow(), LineState::Down { .. }))
        .await;
    let kubernetes = ObjectName::new("default", "kubernetes");
    assert!(node.tables().services.contains_key(&kubernetes), "the last known state stays");
    eventually("noticed there", || !cluster.feed.is_connected("n1")).await;
    cluster.create("v1", "Service", &json!({
        "metadata": { "name": "late", "namespace": "default" }, "spec": { "ports": [{ "port": 80 }] },
    })).await;
    node.mend();
    let late = ObjectName::new("default", "late");
    eventually("brought up to date", || node.tables().services.contains_key(&late)).await;
    eventually("in force again", || {
        let epochs = cluster.feed.epochs()["n1"].clone();
        epochs.connected && epochs.sent > 0 && epochs.in_force == epochs.sent
    })
    .await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_node_speaks_only_for_itself() {
    let cluster = Cluster::new().await;
    let forger = cluster.node_as("n1", "n2");
    eventually("refused", || match &*forger.uplink.state().borrow() {
        LineState::Down { why } => why.contains("node \"n2\" cannot speak for node \"n1\""),
        _ => false,
    })
    .await;
    assert!(cluster.object("v1", "Node", None, "n1").is_none());
    cluster.stop().await;
}

#[tokio::test]
async fn a_token_is_traded_for_a_certificate() {
    let cluster = Cluster::new().await;
    let channel = cluster.channel("system:anonymous").await;
    let request = beeline_auth::node_request("n7").unwrap();
    let refused = join(channel.clone(), "bl1.00.wrong", "n7", request.csr_der.clone()).await;
    assert!(refused.unwrap_err().to_string().starts_with("join as n7: "));
    let joined = join(channel, &cluster.token, "n7", request.csr_der).await.unwrap();
    assert!(
        joined.certificate_pem.contains("BEGIN CERTIFICATE")
            && joined.ca_pem.contains("BEGIN CERTIFICATE")
    );
    cluster.stop().await;
}

#[tokio::test]
async fn a_newer_line_of_a_node_ends_the_older() {
    let cluster = Cluster::new().await;
    let older = cluster.node("n1");
    eventually("first", || older.tables().complete).await;
    older.refuse_more();
    let newer = cluster.node("n1");
    eventually("second", || newer.tables().complete).await;
    eventually("first ended", || matches!(*older.uplink.state().borrow(), LineState::Down { .. }))
        .await;
    assert!(cluster.feed.is_connected("n1"));
    cluster.stop().await;
}
