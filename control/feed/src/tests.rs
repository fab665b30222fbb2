//! What nodes are told, as text.

use std::sync::Arc;

use beeline_api::{KindInfo, kinds};
use beeline_kit::{SystemClock, Tasks};
use beeline_proto::feed as wire;
use beeline_proto::feed::change::Kind;
use beeline_registry::{Caller, Object, Options, Registry, Target, WriteOptions};
use beeline_store::Memory;
use serde_json::{Value, json};

use crate::upward::{Said, Upward, UpwardError};
use crate::world::{Addressed, Audience, World};

/// Makes objects by a real registry.
struct Maker {
    registry: Registry,
    _tasks: Tasks,
}

impl Maker {
    async fn new() -> Self {
        let tasks = Tasks::new();
        let registry =
            Registry::open(Arc::new(Memory::new()), Options::default(), &tasks).await.unwrap();
        Self { registry, _tasks: tasks }
    }

    async fn object(&self, kind: &'static KindInfo, object: Value) -> Arc<Object> {
        let target = Target::collection(kind, Some("default"));
        let options = WriteOptions { dry_run: true, ..WriteOptions::default() };
        self.registry.create(&Caller::system("test"), &target, object, &options).await.unwrap()
    }

    async fn pod(&self, name: &str, map: &str) -> Arc<Object> {
        let pod = json!({
            "metadata": { "name": name }, "spec": { "nodeName": "n1", "containers": [{ "name": "c", "image": "i",
                "envFrom": [{ "configMapRef": { "name": map } }] }] },
        });
        self.object(&kinds::POD, pod).await
    }
}

fn text(changes: &[Addressed]) -> Vec<String> {
    let one = |(audience, kind): &Addressed| {
        let who = match audience {
            Audience::All => "all".to_owned(),
            Audience::Node(node) => node.clone(),
            Audience::NodeThen(node) => format!("then {node}"),
        };
        let what = match kind {
            Kind::Pod(object) => format!("pod {}", object.name),
            Kind::PodGone(name) => format!("pod {} gone", name.name),
            Kind::Object(object) => format!("{} {}", object.kind, object.name),
            Kind::ObjectGone(name) => format!("{} {} gone", name.kind, name.name),
            Kind::Service(service) => format!("service {}", service.name),
            other => format!("{other:?}"),
        };
        format!("{who}: {what}")
    };
    changes.iter().map(one).collect()
}

#[tokio::test]
async fn nodes_hear_of_just_what_their_pods_refer_to() {
    let (maker, mut world) = (Maker::new().await, World::default());
    let map = maker.object(&kinds::CONFIG_MAP, json!({ "metadata": { "name": "a" } })).await;
    let secret = maker.object(&kinds::SECRET, json!({ "metadata": { "name": "s" } })).await;
    assert!(world.put(&kinds::CONFIG_MAP, &map).is_empty());
    assert!(world.put(&kinds::SECRET, &secret).is_empty());
    let (one, two) = (maker.pod("one", "a").await, maker.pod("two", "a").await);
    assert_eq!(text(&world.put(&kinds::POD, &one)), ["n1: ConfigMap a", "n1: pod one"]);
    assert_eq!(text(&world.put(&kinds::POD, &two)), ["n1: pod two"]);
    assert!(world.put(&kinds::POD, &two).is_empty(), "nothing changed");
    assert_eq!(text(&world.put(&kinds::CONFIG_MAP, &map)), ["n1: ConfigMap a"]);
    assert_eq!(world.share("n1").len(), 3);
    assert!(world.share("n2").is_empty());
    let key = |name: &str| ("default".to_owned(), name.to_owned());
    assert_eq!(text(&world.remove(&kinds::POD, &key("one"))), ["n1: pod one gone"]);
    assert_eq!(
        text(&world.remove(&kinds::POD, &key("two"))),
        ["n1: pod two gone", "n1: ConfigMap a gone"]
    );
    assert!(world.share("n1").is_empty());
}

#[tokio::test]
async fn a_pod_that_comes_before_its_config_map_gets_it_later() {
    let (maker, mut world) = (Maker::new().await, World::default());
    let pod = maker.pod("one", "late").await;
    assert_eq!(text(&world.put(&kinds::POD, &pod)), ["n1: pod one"]);
    let map = maker.object(&kinds::CONFIG_MAP, json!({ "metadata": { "name": "late" } })).await;
    assert_eq!(text(&world.put(&kinds::CONFIG_MAP, &map)), ["n1: ConfigMap late"]);
    assert_eq!(
        text(&world.remove(&kinds::CONFIG_MAP, &("default".to_owned(), "late".to_owned()))),
        ["n1: ConfigMap late gone"]
    );
}

#[tokio::test]
async fn a_node_that_sends_something_else_than_objects_is_told_so() {
    let maker = Maker::new().await;
    let client = maker.registry.client(Caller::system("feed"));
    let mut upward =
        Upward { client: &client, clock: &SystemClock, node: "n1", said: Said::default() };
    for json in ["[]", "1", "\"n1\"", "null"] {
        let node_json = json.as_bytes().to_vec();
        let hello = wire::Hello { node_name: "n1".into(), node_json, ..wire::Hello::default() };
        let refused = upward.hello(&hello).await.unwrap_err();
        assert!(matches!(refused, UpwardError::Decode { .. }), "{json}: {refused}");
        let event = wire::Event { event_json: json.as_bytes().to_vec() };
        let refused = upward.take(wire::up::Kind::Event(event)).await.unwrap_err();
        assert!(matches!(refused, UpwardError::Decode { .. }), "{json}: {refused}");
    }
    let node_json = br#"{ "metadata": 1, "status": { "conditions": [5] } }"#.to_vec();
    let hello = wire::Hello { node_name: "n1".into(), node_json, ..wire::Hello::default() };
    let _ = upward.hello(&hello).await;
    let _ = upward.hello(&hello).await;
}
