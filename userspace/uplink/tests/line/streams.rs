//! Streams that the server asks for.

use beeline_proto::feed::Logs;
use futures::StreamExt as _;

use crate::cluster::{Cluster, eventually};

fn logs(pod: &str) -> Logs {
    Logs { namespace: "default".to_owned(), pod: pod.to_owned(), ..Logs::default() }
}

#[tokio::test]
async fn bytes_errors_and_absent_nodes() {
    let cluster = Cluster::new().await;
    let refused = cluster.feed.open_logs("n1", logs("p")).await.err().unwrap();
    assert_eq!((refused.code, refused.message.as_str()), (503, "node \"n1\" is not connected"));
    let node = cluster.node("n1");
    eventually("snapshot", || node.tables().complete).await;
    let stream = cluster.feed.open_logs("n1", logs("p")).await.unwrap();
    let chunks: Vec<_> = stream.collect().await;
    let text: Vec<u8> = chunks.into_iter().flat_map(|chunk| chunk.unwrap().to_vec()).collect();
    assert_eq!(String::from_utf8(text).unwrap().lines().count(), 1000);
    let missing = cluster.feed.open_logs("n1", logs("absent")).await.err().unwrap();
    assert_eq!((missing.code, missing.message.as_str()), (404, "no such container"));
    let mut flows = cluster.feed.open_flows("n1", b"{}".to_vec()).await.unwrap();
    assert_eq!(flows.next().await.unwrap().unwrap(), "{}");
    assert!(flows.next().await.is_none());
    cluster.stop().await;
}

#[tokio::test]
async fn a_stream_ends_with_an_error_when_the_line_breaks() {
    let cluster = Cluster::new().await;
    let node = cluster.node("n1");
    eventually("snapshot", || node.tables().complete).await;
    let mut endless = cluster.feed.open_logs("n1", logs("endless")).await.unwrap();
    node.cut();
    let end = endless.next().await.unwrap().unwrap_err();
    assert_eq!(end.code, 503);
    assert!(end.message.contains("the line to node \"n1\" broke"), "{end}");
    cluster.stop().await;
}
