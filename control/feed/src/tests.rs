//! What nodes are told, as text.

use std::sync::Arc;

use beeline_api::{KindInfo, kinds};
use beeline_kit::{SystemClock, Tasks};
use beeline_proto::feed as wire;
use beeline_proto::feed::change::Kind;
use beeline_registry::{Caller, DeleteOptions, Object, Options, Registry, Target, WriteOptions};
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
        self.make(kind, object, true).await
    }

    async fn make(&self, kind: &'static KindInfo, object: Value, dry_run: bool) -> Arc<Object> {
        let target = Target::collection(kind, Some("default"));
        let options = WriteOptions { dry_run, ..WriteOptions::default() };
        self.registry.create(&Caller::system("test"), &target, object, &options).await.unwrap()
    }

    async fn pod(&self, name: &str, map: &str) -> Arc<Object> {
        self.object(&kinds::POD, pod(name, map)).await
    }

    /// A pod whose end was asked for.
    async fn ending_pod(&self, name: &str, map: &str) -> Arc<Object> {
        self.make(&kinds::POD, pod(name, map), false).await;
        let (caller, target) =
            (Caller::system("test"), Target::object(&kinds::POD, Some("default"), name));
        let ended = self.registry.delete(&caller, &target, &DeleteOptions::default()).await;
        let ended = Arc::clone(ended.unwrap().object());
        assert!(ended.deleting());
        ended
    }
}

fn pod(name: &str, map: &str) -> Value {
    json!({
        "metadata": { "name": name }, "spec": { "nodeName": "n1", "containers": [{ "name": "c", "image": "i",
            "envFrom": [{ "configMapRef": { "name": map } }] }] },
    })
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

#[tokio::test]
async fn services_are_told_whole() {
    let (maker, mut world) = (Maker::new().await, World::default());
    let service = json!({
        "metadata": { "name": "web" },
        "spec": {
            "type": "LoadBalancer", "externalIPs": ["192.0.2.9", "2001:db8::9"], "externalTrafficPolicy": "Local",
            "loadBalancerSourceRanges": [" 192.0.2.0/24 ", "2001:db8::/64"], "healthCheckNodePort": 30_100,
            "sessionAffinity": "ClientIP", "ports": [{ "port": 80, "nodePort": 30_080, "protocol": "SCTP" }],
        },
    });
    let mut value = maker.object(&kinds::SERVICE, service).await.value.clone();
    value["status"] = json!({ "loadBalancer": { "ingress": [
        { "ip": "192.0.2.1", "ipMode": "VIP" }, { "ip": "192.0.2.2", "ipMode": "Proxy" },
        { "ip": "2001:db8::1", "ipMode": "VIP" }, { "hostname": "a.example" },
    ] } });
    value["spec"]["clusterIPs"] = json!(["10.43.0.5", "fd43::5"]);
    let told = crate::convert::service(&serde_json::from_value(value.clone()).unwrap());
    assert_eq!(told.cluster_ips, ["10.43.0.5", "fd43::5"]);
    assert_eq!(told.external_ips, ["192.0.2.9", "2001:db8::9"]);
    assert_eq!(told.load_balancer_ips, ["192.0.2.1", "2001:db8::1"]);
    assert_eq!(told.source_ranges, ["192.0.2.0/24", "2001:db8::/64"]);
    assert_eq!((told.health_check_port, told.affinity_timeout_s), (30_100, 10_800));
    assert_eq!((told.ports[0].node_port, told.ports[0].protocol.as_str()), (30_080, "SCTP"));
    // What belongs to a load balancer goes with the type, whatever the status still says.
    value["spec"]["type"] = json!("NodePort");
    let told = crate::convert::service(&serde_json::from_value(value).unwrap());
    assert!(told.load_balancer_ips.is_empty() && told.source_ranges.is_empty());
    assert_eq!(told.health_check_port, 0);
    let made = maker.object(
        &kinds::SERVICE,
        json!({ "metadata": { "name": "x" }, "spec": { "ports": [{ "port": 1 }] } }),
    );
    let made = made.await;
    assert_eq!(text(&world.put(&kinds::SERVICE, &made)), ["all: service x"]);
    assert!(world.put(&kinds::SERVICE, &made).is_empty(), "nothing changed");
}

#[tokio::test]
async fn slices_of_both_families_carry_hints() {
    let (maker, mut world) = (Maker::new().await, World::default());
    for (family, address) in [("IPv4", "192.0.2.7"), ("IPv6", "2001:db8::7"), ("FQDN", "a.example")]
    {
        let slice = json!({
            "metadata": { "name": family.to_lowercase(), "labels": { "kubernetes.io/service-name": "web" } },
            "addressType": family, "ports": [{ "name": "http", "port": 80 }],
            "endpoints": [{ "addresses": [address], "nodeName": "n1",
                "hints": { "forZones": [{ "name": "a" }], "forNodes": [{ "name": "n1" }] } }],
        });
        let slice = maker.object(&kinds::ENDPOINT_SLICE, slice).await;
        let changes = world.put(&kinds::ENDPOINT_SLICE, &slice);
        let Some((Audience::All, Kind::Slice(told))) = changes.first() else {
            assert_eq!(family, "FQDN", "names are nothing for the dataplane");
            continue;
        };
        let [endpoint] = told.endpoints.as_slice() else { panic!("{told:?}") };
        assert_eq!((endpoint.address.as_str(), endpoint.ready), (address, true));
        let hints = endpoint.hints.clone().unwrap();
        assert_eq!((hints.zones, hints.nodes), (vec!["a".to_owned()], vec!["n1".to_owned()]));
    }
}

/// `publishNotReadyAddresses` is about Pods that end, too.
#[tokio::test]
async fn pods_whose_end_was_asked_for_are_ready_only_where_that_does_not_matter() {
    for (publishes, ready) in [(false, false), (true, true)] {
        let (maker, mut world) = (Maker::new().await, World::default());
        let service = json!({
            "metadata": { "name": "web" },
            "spec": { "publishNotReadyAddresses": publishes, "ports": [{ "port": 80 }] },
        });
        world.put(&kinds::SERVICE, &maker.object(&kinds::SERVICE, service).await);
        let slice = json!({
            "metadata": { "name": "web-1", "labels": { "kubernetes.io/service-name": "web" } },
            "addressType": "IPv4", "ports": [{ "name": "", "port": 80 }],
            "endpoints": [{ "addresses": ["10.42.0.7"], "targetRef": { "kind": "Pod", "name": "p" },
                "conditions": { "ready": true, "serving": true, "terminating": false } }],
        });
        world.put(&kinds::ENDPOINT_SLICE, &maker.object(&kinds::ENDPOINT_SLICE, slice).await);
        world.put(&kinds::POD, &maker.pod("p", "m").await);
        let ending = maker.ending_pod("p", "m").await;
        let changes = world.put(&kinds::POD, &ending);
        let told = changes.iter().find_map(|(_, kind)| match kind {
            Kind::Slice(slice) => Some(slice.endpoints[0].clone()),
            _ => None,
        });
        let told = told.expect("the slice is told again");
        assert_eq!((told.ready, told.serving, told.terminating), (ready, true, true));
    }
}

#[test]
fn nodes_and_pods_have_several_addresses() {
    let node = json!({
        "metadata": { "name": "n1", "labels": { "topology.kubernetes.io/zone": "a" } },
        "spec": { "podCIDR": "10.42.0.0/24", "podCIDRs": ["10.42.0.0/24", "fd42::/64"] },
        "status": { "addresses": [
            { "type": "InternalIP", "address": "2001:db8::1" }, { "type": "InternalIP", "address": "192.0.2.1" },
            { "type": "Hostname", "address": "n1" },
        ] },
    });
    let told = crate::convert::node(&serde_json::from_value(node).unwrap());
    assert_eq!(told.internal_ips, ["2001:db8::1", "192.0.2.1"]);
    assert_eq!((told.internal_ip.as_str(), told.zone.as_str()), ("192.0.2.1", "a"));
    assert_eq!(told.pod_cidrs, ["10.42.0.0/24", "fd42::/64"]);
    let pod = |status: Value| {
        json!({ "metadata": { "name": "p", "namespace": "default", "uid": "u" },
            "spec": { "nodeName": "n1", "containers": [] }, "status": status })
    };
    let told = |status: Value| {
        crate::convert::endpoint(&serde_json::from_value(pod(status)).unwrap(), 300)
    };
    let both = told(
        json!({ "podIP": "10.42.0.5", "podIPs": [{ "ip": "10.42.0.5" }, { "ip": "fd42::5" }] }),
    );
    let both = both.unwrap();
    assert_eq!((both.address.as_str(), both.addresses.len()), ("10.42.0.5", 2));
    assert_eq!(told(json!({ "podIP": "10.42.0.5" })).unwrap().addresses, ["10.42.0.5"]);
    assert!(told(json!({ "phase": "Failed", "podIP": "10.42.0.5" })).is_none());
}
