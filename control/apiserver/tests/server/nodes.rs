//! Logs and flows come from nodes; here from nodes that only pretend.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use beeline_api::ApiError;
use beeline_apiserver::{ByteStream, LogQuery, NodeConnector};
use bytes::Bytes;
use futures::stream;
use serde_json::json;

use crate::fixture::{Fixture, LIMIT};
use crate::kubectl::Kubectl;

#[derive(Default)]
struct Pretend {
    asked: Mutex<Vec<(String, LogQuery)>>,
    /// The other end of the last followed log.
    following: Mutex<Option<tokio::sync::mpsc::Sender<Result<Bytes, ApiError>>>>,
}

#[async_trait]
impl NodeConnector for Pretend {
    async fn logs(&self, node: &str, query: LogQuery) -> Result<ByteStream, ApiError> {
        let follow = query.follow;
        self.asked.lock().unwrap().push((node.to_owned(), query));
        if follow {
            let (lines, receiver) = tokio::sync::mpsc::channel(1);
            lines.try_send(Ok(Bytes::from_static(b"first\n"))).unwrap();
            *self.following.lock().unwrap() = Some(lines);
            return Ok(Box::pin(stream::unfold(receiver, async |mut r| {
                r.recv().await.map(|line| (line, r))
            })));
        }
        let lines = ["one\n", "two\n"].map(|line| Ok(Bytes::from_static(line.as_bytes())));
        Ok(Box::pin(stream::iter(lines)))
    }

    async fn flows(&self, node: &str, query: Bytes) -> Result<ByteStream, ApiError> {
        if node == "n2" {
            return Err(ApiError::unavailable("node n2 is not connected"));
        }
        let line =
            format!("{{\"node\":\"{node}\",\"query\":{}}}\n", String::from_utf8_lossy(&query));
        Ok(Box::pin(stream::iter([Ok(Bytes::from(line))])))
    }

    fn known(&self) -> Vec<String> {
        vec!["n1".to_owned(), "n2".to_owned()]
    }
}

const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  nodeName: n1
  containers: [{name: a, image: x}, {name: b, image: x}]
";

#[tokio::test(flavor = "multi_thread")]
async fn logs_of_a_container() {
    let nodes = Arc::new(Pretend::default());
    let fixture = Fixture::start_with_nodes(Arc::<Pretend>::clone(&nodes)).await;
    let Some(kubectl) = Kubectl::new(&fixture) else { return };
    kubectl.pipe(&["create", "-f", "-"], POD).await;
    let log = async |query: &str| {
        fixture
            .admin("GET", &format!("/api/v1/namespaces/default/pods/p/log{query}"), &[], "")
            .await
    };
    let got = log("").await;
    assert_eq!(
        got.json()["message"],
        "a container name must be specified for pod p, choose one of: [a b]"
    );
    let got = log("?container=c").await;
    assert_eq!(got.json()["message"], "container c is not valid for pod p");
    let got = log("?container=a").await;
    assert_eq!(
        got.json()["message"],
        "container \"a\" in pod \"p\" is waiting to start: ContainerCreating"
    );
    let running = json!({ "name": "a", "image": "x", "imageID": "x", "ready": true, "restartCount": 0,
        "state": { "running": { "startedAt": "2025-01-01T00:00:00Z" } } });
    fixture
        .set_status("", "pods", "p", json!({ "phase": "Running", "containerStatuses": [running] }))
        .await;
    assert_eq!(
        kubectl.run(&["logs", "p", "-c", "a", "--tail=5", "--timestamps"]).await,
        "one\ntwo\n"
    );
    let asked = nodes.asked.lock().unwrap().pop().unwrap();
    assert_eq!((asked.0.as_str(), asked.1.tail_lines, asked.1.timestamps), ("n1", Some(5), true));
    let mut follower = kubectl.follow(&["logs", "-f", "p", "-c", "a"]);
    follower.until("first").await;
    let node_end = nodes.following.lock().unwrap().take().unwrap();
    node_end.send(Ok(Bytes::from_static(b"second\n"))).await.unwrap();
    follower.until("second").await;
    drop(follower);
    // Nobody reads any more: the node is told, so that it stops sending.
    tokio::time::timeout(LIMIT, node_end.closed())
        .await
        .expect("the stream is dropped with its reader");
    let said = kubectl.fail(&["logs", "p", "-c", "a", "--previous"], "").await;
    assert!(said.contains("previous terminated container \"a\" in pod \"p\" not found"), "{said}");
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flows_of_all_nodes() {
    let fixture = Fixture::start_with_nodes(Arc::new(Pretend::default())).await;
    let got = fixture.admin("GET", "/beeline/v1/flows?query=%7B%22last%22%3A1%7D", &[], "").await;
    let mut lines: Vec<String> = got.text().lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(
        lines,
        [
            r#"{"error":"node n2 is not connected","node":"n2"}"#,
            r#"{"node":"n1","query":{"last":1}}"#,
        ]
    );
    let now = std::time::SystemTime::now();
    let stranger = fixture.authority.client("bob", Some("devs"), now).unwrap();
    assert_eq!(
        fixture.request(Some(&stranger), "GET", "/beeline/v1/flows", &[], "").await.code,
        403
    );
    fixture.stop().await;
}
