//! Priority and fairness over HTTP: which way a request took, and what a full level answers.

use std::time::SystemTime;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use crate::fixture::{Fixture, Got};

const GROUP: &str = "/apis/flowcontrol.apiserver.k8s.io/v1";
const SCHEMA: &str = "x-kubernetes-pf-flowschema-uid";
const PODS: &str = "/api/v1/namespaces/default/pods";

async fn uid(fixture: &Fixture, plural: &str, name: &str) -> String {
    let got = fixture.admin("GET", &format!("{GROUP}/{plural}/{name}"), &[], "").await.json();
    got["metadata"]["uid"].as_str().unwrap().to_owned()
}

/// A level with one seat, nowhere to borrow more and nowhere to wait, for the requests of one user.
async fn one_seat_for(fixture: &Fixture, user: &str) {
    let limited = json!({ "nominalConcurrencyShares": 1, "borrowingLimitPercent": 0, "limitResponse": { "type": "Reject" } });
    let level = json!({ "metadata": { "name": "tiny" }, "spec": { "type": "Limited", "limited": limited } });
    let rule =
        json!({ "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"] });
    let subject = json!({ "kind": "User", "user": { "name": user } });
    let schema = json!({ "metadata": { "name": "tiny" }, "spec": {
        "priorityLevelConfiguration": { "name": "tiny" }, "matchingPrecedence": 3,
        "rules": [{ "subjects": [subject], "resourceRules": [rule] }],
    } });
    for (plural, body) in [("prioritylevelconfigurations", level), ("flowschemas", schema)] {
        let path = format!("{GROUP}/{plural}");
        let made = fixture.admin("POST", &path, &[], body.to_string()).await;
        assert_eq!(made.code, 201, "{}", made.text());
    }
}

fn reason(got: &Got) -> (u16, Value) {
    (got.code, got.json()["reason"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_level_turns_away_its_own_requests_only() {
    let fixture = Fixture::start_with(|options| options.requests_inflight_max = 40).await;
    let now = SystemTime::now();
    let bob = fixture.authority.client("bob", Some("system:nodes"), now).unwrap();
    let eve = fixture.authority.client("eve", Some("devs"), now).unwrap();
    one_seat_for(&fixture, "bob").await;
    let tiny = uid(&fixture, "flowschemas", "tiny").await;
    // The configuration is followed, not read: the first requests may still go the old way.
    loop {
        let got = fixture.request(Some(&bob), "GET", PODS, &[], "").await;
        if got.header(SCHEMA) == tiny {
            break;
        }
    }
    // A request whose body does not come keeps its seat.
    let mut held = fixture.connect(Some(&bob), b"http/1.1").await;
    let head =
        "POST /api/v1/namespaces/default/pods HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n";
    held.write_all(head.as_bytes()).await.unwrap();
    held.flush().await.unwrap();
    let refused = loop {
        let got = fixture.request(Some(&bob), "GET", PODS, &[], "").await;
        if got.code == 429 {
            break got;
        }
    };
    assert_eq!(reason(&refused), (429, "TooManyRequests".into()));
    assert_eq!(refused.json()["message"], "Too many requests, please try again later.");
    assert_eq!((refused.header("retry-after"), refused.header(SCHEMA)), ("1", &*tiny));
    // Others, his health checks and administrators have seats of their own.
    assert_eq!(fixture.request(Some(&eve), "GET", PODS, &[], "").await.code, 403);
    assert_eq!(fixture.request(Some(&bob), "GET", "/readyz", &[], "").await.code, 200);
    assert_eq!(fixture.admin("GET", PODS, &[], "").await.code, 200);
    let metrics = fixture.admin("GET", "/metrics", &[], "").await.text();
    let line = "apiserver_flowcontrol_current_executing_requests{priority_level=\"tiny\",flow_schema=\"tiny\"} 1\n";
    assert!(metrics.contains(line), "{metrics}");
    let line = "rejected_requests_total{priority_level=\"tiny\",flow_schema=\"tiny\",reason=\"concurrency-limit\"}";
    assert!(metrics.contains(line), "{metrics}");
    drop(held);
    while fixture.request(Some(&bob), "GET", PODS, &[], "").await.code == 429 {}
    // A schema whose level goes is told so.
    let path = format!("{GROUP}/prioritylevelconfigurations/tiny");
    assert_eq!(fixture.admin("DELETE", &path, &[], "").await.code, 200);
    let schema = format!("{GROUP}/flowschemas/tiny");
    loop {
        let got = fixture.admin("GET", &schema, &[], "").await.json();
        let condition = &got["status"]["conditions"][0];
        if condition["status"] == "True" {
            assert_eq!(
                (&condition["type"], &condition["reason"]),
                (&"Dangling".into(), &"NotFound".into())
            );
            break;
        }
    }
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_say_which_way_they_took() {
    let fixture = Fixture::start().await;
    let bob = fixture.authority.client("bob", Some("devs"), SystemTime::now()).unwrap();
    let way = |got: &Got| {
        (got.header(SCHEMA).to_owned(), got.header("x-kubernetes-pf-prioritylevel-uid").to_owned())
    };
    for (client, schema, level) in
        [(None, "exempt", "exempt"), (Some(&bob), "global-default", "global-default")]
    {
        let got = match client {
            None => fixture.admin("GET", PODS, &[], "").await,
            Some(client) => fixture.request(Some(client), "GET", PODS, &[], "").await,
        };
        let expected = (
            uid(&fixture, "flowschemas", schema).await,
            uid(&fixture, "prioritylevelconfigurations", level).await,
        );
        assert_eq!(way(&got), expected);
    }
    fixture.stop().await;
}
