use beeline_tables::{
    Change, Epoch, Protocol, Referenced, ServicePort, ServiceType, Tables, TrafficPolicy,
};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use std::net::Ipv4Addr;

use super::*;

fn snapshot() -> Arc<Snapshot> {
    let (mut writer, reader) = Tables::new();
    let object = |kind: &str, json: serde_json::Value| {
        Change::Object(Referenced {
            key: ObjectKey { kind: kind.into(), name: ObjectName::new("shop", "settings") },
            revision: 1,
            json: Arc::new(json),
        })
    };
    let service = Service {
        name: ObjectName::new("shop", "front-end"),
        service_type: ServiceType::ClusterIp,
        cluster_ips: vec![Ipv4Addr::new(10, 43, 0, 9).into()],
        ports: vec![ServicePort {
            name: "http".into(),
            protocol: Protocol::Tcp,
            port: 80,
            node_port: None,
        }],
        affinity_timeout_s: None,
        internal_policy: TrafficPolicy::Cluster,
        external_policy: TrafficPolicy::Cluster,
        external_ips: Vec::new(),
        load_balancer_ips: Vec::new(),
        source_ranges: Vec::new(),
        health_check_port: None,
        publish_not_ready: false,
    };
    writer.apply(
        Epoch(1),
        vec![
            object("ConfigMap", json!({"data": {"COLOUR": "green", "SIZE": "3"}})),
            object("Secret", json!({"data": {"PASSWORD": "aHVudGVyMg=="}})),
            Change::Service(service),
        ],
    );
    reader.snapshot()
}

#[expect(clippy::needless_pass_by_value, reason = "called with literals")]
fn pod(container: serde_json::Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "shop", "uid": "u-1", "labels": {"app": "web"}},
        "spec": {"containers": [container], "enableServiceLinks": false, "serviceAccountName": "default"},
    }))
    .unwrap()
}

fn run(container: serde_json::Value) -> Result<Vec<(String, String)>, EnvError> {
    let pod = pod(container);
    let v6 = Some("fd42::7".parse().unwrap());
    let facts = PodFacts {
        pod: &pod,
        pod_ips: Some(beeline_netdev::AddressPair { v4: Ipv4Addr::new(10, 42, 0, 7), v6 }),
        host_ips: Ipv4Addr::new(192, 168, 0, 2).into(),
        node_name: "n1",
    };
    let container = &pod.spec.as_ref().unwrap().containers[0];
    environment(container, facts, &snapshot())
}

fn texts(found: &[(String, String)]) -> Vec<String> {
    found.iter().map(|(name, value)| format!("{name}={value}")).collect()
}

#[test]
fn variables_come_from_everywhere_and_later_ones_win() {
    let found = run(json!({
        "name": "c",
        "resources": {"limits": {"cpu": "1500m", "memory": "64Mi"}},
        "envFrom": [{"prefix": "CFG_", "configMapRef": {"name": "settings"}}, {"secretRef": {"name": "settings"}},
                    {"configMapRef": {"name": "absent", "optional": true}}],
        "env": [
            {"name": "PLAIN", "value": "a"},
            {"name": "TWICE", "value": "$(PLAIN)-$(CFG_COLOUR)-$(NOT_SET)-$$(PLAIN)"},
            {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
            {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "IPS", "valueFrom": {"fieldRef": {"fieldPath": "status.podIPs"}}},
            {"name": "HOST", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}},
            {"name": "CPUS", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
            {"name": "MEMORY", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
            {"name": "SIZE", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "SIZE"}}},
            {"name": "NOTHING", "valueFrom": {"secretKeyRef": {"name": "settings", "key": "x", "optional": true}}},
            {"name": "PASSWORD", "value": "changed"}
        ]
    }))
    .unwrap();
    assert_eq!(
        texts(&found),
        [
            "CFG_COLOUR=green",
            "CFG_SIZE=3",
            "PASSWORD=changed",
            "PLAIN=a",
            "TWICE=a-green-$(NOT_SET)-$(PLAIN)",
            "NAME=web",
            "APP=web",
            "NODE=n1",
            "IP=10.42.0.7",
            "IPS=10.42.0.7,fd42::7",
            "HOST=192.168.0.2",
            "CPUS=2",
            "MEMORY=64",
            "SIZE=3",
        ]
    );
}

#[test]
fn what_is_missing_is_named_as_upstream_does() {
    let absent = json!({"name": "c", "envFrom": [{"secretRef": {"name": "absent"}}]});
    assert_eq!(run(absent).unwrap_err().to_string(), "secret \"absent\" not found");
    let key = json!({"name": "c", "env": [
        {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "x"}}}]});
    assert_eq!(run(key).unwrap_err().to_string(), "couldn't find key x in ConfigMap shop/settings");
    let field = json!({"name": "c", "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.x"}}}]});
    assert_eq!(run(field).unwrap_err().to_string(), "unsupported fieldPath: spec.x");
}

#[test]
fn dollars_expand_like_upstream() {
    let values =
        BTreeMap::from([("A".to_owned(), "x".to_owned()), ("EMPTY".to_owned(), String::new())]);
    for (text, expected) in [
        ("$(A)", "x"),
        ("a$(A)b$(A)", "axbx"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$x"),
        ("$(B)", "$(B)"),
        ("$(A", "$(A"),
        ("$A", "$A"),
        ("$(EMPTY)", ""),
        ("100$", "100$"),
        ("$()é$(A)", "$()éx"),
    ] {
        assert_eq!(expand(text, &values), expected, "{text}");
    }
}

#[test]
fn services_of_the_namespace_are_linked() {
    let found = services(&snapshot(), "shop", true);
    assert_eq!(found["FRONT_END_SERVICE_HOST"], "10.43.0.9");
    assert_eq!(found["FRONT_END_SERVICE_PORT_HTTP"], "80");
    assert_eq!(found["FRONT_END_PORT_80_TCP"], "tcp://10.43.0.9:80");
    assert!(services(&snapshot(), "other", true).is_empty());
}
