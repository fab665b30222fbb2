//! What becomes of requests when the server stops.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::future::join_all;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::oneshot;

use crate::fixture::{Fixture, LIMIT};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const GRACE: Duration = Duration::from_secs(20);

fn body(name: &str) -> String {
    json!({ "metadata": { "name": name } }).to_string()
}

/// Waits until so many writes are under way: their heads have arrived, their bodies not.
async fn under_way(fixture: &Fixture, count: usize) {
    let line = format!("apiserver_current_inflight_requests{{request_kind=\"mutating\"}} {count}");
    loop {
        let page = fixture.admin("GET", "/metrics", &[], "").await.text();
        if page.lines().any(|one| one == line) {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_requests_that_are_under_way_are_all_answered() {
    let fixture = Fixture::start().await;
    let admin = fixture.authority.admin(SystemTime::now()).unwrap();
    let mut begun = Vec::new();
    for i in 0..200 {
        let (mut stream, body) =
            (fixture.connect(Some(&admin), b"http/1.1").await, body(&format!("m-{i}")));
        let head =
            format!("POST {MAPS} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        begun.push((stream, body));
    }
    under_way(&fixture, 200).await;
    let stopping = fixture.server.stop(GRACE);
    let finishing = async {
        // Nobody is let in any more, so the stop has begun.
        while tokio::net::TcpStream::connect(fixture.address).await.is_ok() {}
        let answers = begun.into_iter().map(|(mut stream, body)| async move {
            stream.write_all(body.as_bytes()).await.unwrap();
            stream.flush().await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        });
        tokio::time::timeout(LIMIT, join_all(answers)).await.unwrap()
    };
    let ((), answers) = tokio::join!(stopping, finishing);
    assert_eq!(answers.len(), 200);
    for answer in answers {
        assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
        assert!(answer.to_ascii_lowercase().contains("\r\nconnection: close\r\n"), "{answer}");
    }
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_http2_are_finished_and_the_connection_ends() {
    let fixture = Fixture::start().await;
    let admin = fixture.authority.admin(SystemTime::now()).unwrap();
    let stream = fixture.connect(Some(&admin), b"h2").await;
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    let mut releases = Vec::new();
    let requests = (0..50).map(|i| {
        let (release, released) = oneshot::channel::<()>();
        releases.push(release);
        let body = StreamBody::new(futures::stream::once(async move {
            let _ = released.await;
            Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from(body(&format!("h-{i}")))))
        }));
        let request = http::Request::post(format!("https://localhost{MAPS}"))
            .header("content-type", "application/json")
            .body(Box::pin(body))
            .unwrap();
        let mut sender = sender.clone();
        async move {
            let (parts, body) = sender.send_request(request).await.unwrap().into_parts();
            body.collect().await.unwrap();
            parts.status.as_u16()
        }
    });
    let requests = join_all(requests);
    let stopping = async {
        under_way(&fixture, 50).await;
        let release = async {
            while tokio::net::TcpStream::connect(fixture.address).await.is_ok() {}
            for release in releases {
                release.send(()).unwrap();
            }
        };
        tokio::join!(fixture.server.stop(GRACE), release);
    };
    let all = async { tokio::join!(requests, connection, stopping) };
    let (codes, ended, ()) = tokio::time::timeout(LIMIT, all).await.unwrap();
    assert_eq!(codes, vec![201; 50]);
    assert!(ended.is_ok(), "{ended:?}");
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn during_the_delay_only_readiness_fails() {
    let delay = Duration::from_secs(3600);
    let fixture = Fixture::start_with(|options| options.shutdown_delay = delay).await;
    let stopping = fixture.server.stop(GRACE);
    let looking = async {
        while fixture.request(None, "GET", "/readyz", &[], "").await.code == 200 {}
        let got = fixture.request(None, "GET", "/readyz?verbose", &[], "").await;
        assert!(got.text().contains("[-]shutdown failed"), "{}", got.text());
        assert_eq!(fixture.request(None, "GET", "/livez", &[], "").await.code, 200);
        assert_eq!(fixture.admin("POST", MAPS, &[], body("late")).await.code, 201);
    };
    tokio::select! {
        () = stopping => panic!("the delay was not waited for"),
        () = looking => {}
    }
}
