use std::time::{Duration, SystemTime};

use beeline_tables::{
    Epoch, NodeAddress, NodeName, ObjectName, Protocol, Reader, Service, ServicePort, ServiceType,
    Slice, Tables, TrafficPolicy,
};

use super::{Batch, Gather, Heard};

fn name(name: &str) -> ObjectName {
    ObjectName::new("shop", name)
}

fn service(of: &str, port: u16) -> Service {
    Service {
        name: name(of),
        service_type: ServiceType::ClusterIp,
        cluster_ips: vec![[10, 96, 0, 1].into()],
        external_ips: vec![],
        load_balancer_ips: vec![],
        source_ranges: vec![],
        ports: vec![ServicePort {
            name: "".into(),
            protocol: Protocol::Tcp,
            port,
            node_port: None,
        }],
        affinity_timeout_s: None,
        internal_policy: TrafficPolicy::Cluster,
        external_policy: TrafficPolicy::Cluster,
        publish_not_ready: false,
        health_check_port: None,
    }
}

fn slice(of: &str, service: &str) -> Slice {
    Slice { name: name(of), service: name(service), ports: vec![], backends: vec![] }
}

fn node(of: &str) -> NodeAddress {
    NodeAddress { node: NodeName(of.into()), internal_ips: vec![], pod_cidrs: vec![], zone: None }
}

fn row(of: &str, port: u16) -> Heard<ObjectName, Service> {
    Heard::Row(name(of), Some(service(of, port)))
}

fn flush(gather: &mut Gather) -> Option<Batch> {
    let mut batch = None;
    gather.flush(|written| batch = Some(written.clone()));
    batch
}

/// One Service, one slice, one node; written.
fn begun() -> (Gather, Reader) {
    let (writer, reader) = Tables::new();
    let mut gather = Gather::new(writer, Epoch(40));
    gather.service(Heard::Begin);
    gather.service(row("web", 80));
    gather.service(Heard::End);
    gather.slice(Heard::Begin, None);
    gather.slice(Heard::Row(name("web-1"), Some(slice("web-1", "web"))), Some(SystemTime::now()));
    assert_eq!(flush(&mut gather), None, "slices are not whole, nodes were not named");
    gather.slice(Heard::End, None);
    gather.node(Heard::Begin);
    gather.node(Heard::Row(NodeName("n1".into()), Some(node("n1"))));
    gather.node(Heard::End);
    assert!(!reader.snapshot().complete);
    let batch = Batch { epoch: Epoch(41), services: 1, slices: 1, triggers: vec![] };
    assert_eq!(flush(&mut gather), Some(batch));
    (gather, reader)
}

#[test]
fn nothing_is_published_before_every_kind_was_listed() {
    let (_, reader) = begun();
    let snapshot = reader.snapshot();
    assert!(snapshot.complete);
    assert_eq!(snapshot.epoch, Epoch(41));
    assert_eq!((snapshot.services.len(), snapshot.slices.len(), snapshot.nodes.len()), (1, 1, 1));
}

#[test]
fn an_empty_cluster_is_a_whole_state_too() {
    let (writer, reader) = Tables::new();
    let mut gather = Gather::new(writer, Epoch(0));
    gather.service(Heard::Begin);
    gather.service(Heard::End);
    gather.slice(Heard::Begin, None);
    gather.slice(Heard::End, None);
    gather.node(Heard::Begin);
    gather.node(Heard::End);
    assert_eq!(flush(&mut gather).unwrap().epoch, Epoch(1));
    assert!(reader.snapshot().complete);
}

#[test]
fn a_batch_carries_what_changed_and_no_more() {
    let (mut gather, reader) = begun();
    gather.node(Heard::Row(NodeName("n1".into()), Some(node("n1"))));
    gather.service(row("web", 80));
    assert_eq!(flush(&mut gather), None, "nothing differs");
    gather.service(row("web", 81));
    gather.service(row("web", 80));
    assert_eq!(flush(&mut gather), None, "there and back");
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(5);
    gather.service(row("api", 90));
    gather.slice(Heard::Row(name("api-1"), Some(slice("api-1", "api"))), Some(then));
    gather.slice(
        Heard::Row(name("web-1"), Some(slice("web-1", "web"))),
        Some(SystemTime::UNIX_EPOCH),
    );
    let batch = Batch { epoch: Epoch(42), services: 1, slices: 1, triggers: vec![then] };
    assert_eq!(flush(&mut gather), Some(batch));
    gather.service(Heard::Row(name("api"), None));
    assert_eq!(flush(&mut gather).unwrap().epoch, Epoch(43));
    assert!(!reader.snapshot().services.contains_key(&name("api")));
}

#[test]
fn a_list_that_comes_again_removes_what_it_does_not_name() {
    let (mut gather, reader) = begun();
    gather.service(row("late", 70)); // heard, not written yet, and gone by the time of the list
    gather.service(Heard::Begin);
    gather.service(row("api", 90));
    assert_eq!(flush(&mut gather).unwrap().services, 2, "half a list removes nothing");
    gather.service(Heard::End);
    assert_eq!(flush(&mut gather).unwrap().services, 2);
    let names: Vec<String> = reader.snapshot().services.keys().map(ToString::to_string).collect();
    assert_eq!(names, ["shop/api"]);
    assert_eq!(reader.snapshot().slices.len(), 1);
}

#[test]
fn a_first_list_that_broke_off_leaves_nothing_behind() {
    let (writer, reader) = Tables::new();
    let mut gather = Gather::new(writer, Epoch(0));
    gather.service(Heard::Begin);
    gather.service(row("old", 80));
    gather.service(Heard::Begin);
    gather.service(row("new", 80));
    gather.service(Heard::End);
    gather.slice(Heard::Begin, None);
    gather.slice(Heard::End, None);
    gather.node(Heard::Begin);
    gather.node(Heard::End);
    assert_eq!(flush(&mut gather).unwrap().services, 1);
    assert_eq!(reader.snapshot().services.len(), 1);
}
