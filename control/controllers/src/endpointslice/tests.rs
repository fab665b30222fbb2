//! Plans as text, and plans applied until nothing is left to do.

use serde_json::{Value, json};

use super::*;

fn service(extra: &Value) -> Arc<Service> {
    let mut service = json!({
        "metadata": { "name": "web", "namespace": "default", "uid": "s" },
        "spec": { "selector": { "app": "web" }, "clusterIP": "10.43.0.7",
            "ports": [{ "name": "http", "port": 80, "protocol": "TCP", "targetPort": "web" }] },
    });
    for (key, value) in extra.as_object().unwrap() {
        service["spec"][key] = value.clone();
    }
    Arc::new(serde_json::from_value(service).unwrap())
}

fn pod(n: usize, port: i32, what: &str) -> Arc<Pod> {
    let mut pod = json!({
        "metadata": { "name": format!("p{n}"), "namespace": "default", "uid": format!("u{n:04}"), "labels": { "app": "web" } },
        "spec": { "nodeName": "n1", "containers": [{ "name": "c", "ports": [{ "name": "web", "containerPort": port }] }] },
        "status": { "phase": "Running", "podIP": format!("10.42.{}.{}", n / 250, n % 250 + 1),
            "conditions": [{ "type": "Ready", "status": "True" }] },
    });
    match what {
        "unready" => pod["status"]["conditions"] = json!([]),
        "deleting" => pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z"),
        "ended" => pod["status"]["phase"] = json!("Succeeded"),
        _ => {}
    }
    Arc::new(serde_json::from_value(pod).unwrap())
}

/// What is planned for one Service; nodes with their zones.
fn planned(
    service: &Arc<Service>,
    pods: &[Arc<Pod>],
    slices: &[Arc<EndpointSlice>],
    nodes: &[(&str, &str)],
) -> Vec<Write> {
    let mut sources = Sources::default();
    sources.service((None, Some(Arc::clone(service))));
    pods.iter().for_each(|pod| sources.pod((None, Some(Arc::clone(pod)))));
    slices.iter().for_each(|slice| sources.slice((None, Some(Arc::clone(slice)))));
    for (name, zone) in nodes {
        let labels = json!({ "topology.kubernetes.io/zone": zone });
        let node = json!({ "metadata": { "name": name, "labels": labels } });
        sources.node(&(None, Some(Arc::new(serde_json::from_value(node).unwrap()))));
    }
    plan(&sources, &crate::sources::key(&service.metadata))
}

/// Apply plans until there is nothing to do.
fn settle(service: &Arc<Service>, pods: &[Arc<Pod>], slices: &mut Vec<Arc<EndpointSlice>>) {
    for _ in 0..3 {
        let writes = planned(service, pods, slices, &[]);
        if writes.is_empty() {
            return;
        }
        for write in writes {
            match write {
                Write::Create { object, name, .. } => {
                    let mut slice: EndpointSlice = serde_json::from_value(*object).unwrap();
                    slice.metadata.uid = Some(name);
                    slices.push(Arc::new(slice));
                }
                Write::Delete { object, .. } => {
                    slices.retain(|s| objects::name(&s.metadata) != object.name);
                }
                Write::Patch { object, patch, .. } => {
                    let slice = slices
                        .iter_mut()
                        .find(|s| objects::name(&s.metadata) == object.name)
                        .unwrap();
                    let mut new = (**slice).clone();
                    new.endpoints = serde_json::from_value(patch["endpoints"].clone()).unwrap();
                    *slice = Arc::new(new);
                }
            }
        }
    }
    panic!("does not settle");
}

fn sizes(slices: &[Arc<EndpointSlice>]) -> Vec<usize> {
    let mut sizes: Vec<usize> =
        slices.iter().map(|s| s.endpoints.iter().flatten().count()).collect();
    sizes.sort_unstable();
    sizes
}

#[test]
fn slices_hold_a_hundred_and_stay_put() {
    let service = service(&json!({}));
    let mut pods: Vec<_> = (0..250).map(|n| pod(n, 8080, "")).collect();
    let mut slices = Vec::new();
    settle(&service, &pods, &mut slices);
    assert_eq!(sizes(&slices), [50, 100, 100]);
    let before = slices.clone();
    pods.remove(3);
    pods.push(pod(300, 8080, ""));
    settle(&service, &pods, &mut slices);
    assert_eq!(sizes(&slices), [50, 100, 100]);
    let changed = before.iter().zip(&slices).filter(|(a, b)| a != b).count();
    assert!(changed <= 2, "{changed} slices changed");
    settle(&service, &[], &mut slices);
    assert_eq!(sizes(&slices), [0]);
}

#[test]
fn conditions_follow_the_pod() {
    let cases = [
        ("", [true, true, false]),
        ("unready", [false, false, false]),
        ("deleting", [false, true, true]),
    ];
    for (what, expected) in cases {
        let mut slices = Vec::new();
        settle(&service(&json!({})), &[pod(1, 80, what)], &mut slices);
        let endpoint = slices[0].endpoints.as_ref().unwrap()[0].clone();
        let c = endpoint.conditions.unwrap();
        assert_eq!(
            [c.ready.unwrap(), c.serving.unwrap(), c.terminating.unwrap()],
            expected,
            "{what}"
        );
        assert_eq!(endpoint.target_ref.unwrap().name.unwrap(), "p1");
    }
    let mut slices = Vec::new();
    settle(&service(&json!({})), &[pod(1, 80, "ended")], &mut slices);
    assert_eq!(sizes(&slices), [0]);
    let mut slices = Vec::new();
    settle(
        &service(&json!({ "publishNotReadyAddresses": true })),
        &[pod(1, 80, "unready")],
        &mut slices,
    );
    let endpoint = slices[0].endpoints.as_ref().unwrap()[0].clone();
    assert_eq!(endpoint.conditions.unwrap().ready, Some(true));
}

#[test]
fn named_ports_are_resolved_per_pod() {
    let mut slices = Vec::new();
    settle(&service(&json!({})), &[pod(1, 8080, ""), pod(2, 9090, "")], &mut slices);
    let mut ports: Vec<i32> =
        slices.iter().map(|s| s.ports.as_ref().unwrap()[0].port.unwrap()).collect();
    ports.sort_unstable();
    assert_eq!(ports, [8080, 9090]);
    let labels = slices[0].metadata.labels.clone().unwrap();
    assert_eq!(labels[SERVICE_NAME], "web");
    assert_eq!(labels[MANAGED_BY], MANAGER);
}

#[test]
fn slices_without_a_service_go_and_those_of_others_stay() {
    let mut slices = Vec::new();
    settle(&service(&json!({})), &[pod(1, 80, "")], &mut slices);
    let mut foreign = (*slices[0]).clone();
    foreign.metadata.labels.as_mut().unwrap().remove(MANAGED_BY);
    foreign.metadata.name = Some("by-hand".to_owned());
    slices.push(Arc::new(foreign));
    let mut sources = Sources::default();
    slices.iter().for_each(|slice| sources.slice((None, Some(Arc::clone(slice)))));
    let keys = sources.take_dirty();
    let writes: Vec<Write> = keys.iter().flat_map(|key| plan(&sources, key)).collect();
    assert_eq!(writes.len(), 1);
    assert!(writes[0].to_string().starts_with("delete EndpointSlice default/web-"));
}

fn created(writes: &[Write]) -> Vec<EndpointSlice> {
    let object = |write: &Write| match write {
        Write::Create { object, .. } => Some(serde_json::from_value(Value::clone(object)).unwrap()),
        _ => None,
    };
    writes.iter().filter_map(object).collect()
}

#[test]
fn each_family_has_its_slices() {
    let dual =
        service(&json!({ "ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "PreferDualStack" }));
    let mut both = (*pod(1, 8080, "")).clone();
    let ips = json!([{ "ip": "10.42.0.2" }, { "ip": "fd42::2" }]);
    both.status.as_mut().unwrap().pod_ips = serde_json::from_value(ips).unwrap();
    let pods = [Arc::new(both), pod(2, 8080, "")];
    let mut made = created(&planned(&dual, &pods, &[], &[]));
    made.sort_by(|a, b| a.address_type.cmp(&b.address_type));
    let addresses = |slice: &EndpointSlice| -> Vec<String> {
        slice.endpoints.iter().flatten().flat_map(|e| e.addresses.clone()).collect()
    };
    let [four, six] = made.as_slice() else { panic!("{made:?}") };
    assert_eq!((four.address_type.as_str(), six.address_type.as_str()), ("IPv4", "IPv6"));
    assert_eq!(addresses(four), ["10.42.0.2", "10.42.0.3"]);
    assert_eq!(addresses(six), ["fd42::2"]);
    assert_ne!(four.metadata.name, six.metadata.name);
    let there: Vec<_> = made.into_iter().map(Arc::new).collect();
    assert!(planned(&dual, &pods, &there, &[]).is_empty());
    // Back to one family: the other's slices go.
    let writes = planned(&service(&json!({ "ipFamilies": ["IPv4"] })), &pods, &there, &[]);
    assert_eq!(writes.len(), 1);
    assert!(writes[0].to_string().starts_with("delete EndpointSlice"), "{}", writes[0]);
}

#[test]
fn hints_follow_traffic_distribution_and_zones() {
    let hints = |distribution: &str, what: &str, nodes: &[(&str, &str)]| {
        let service = service(&json!({ "trafficDistribution": distribution }));
        let slices = created(&planned(&service, &[pod(1, 8080, what)], &[], nodes));
        let endpoint = slices[0].endpoints.clone().unwrap().remove(0);
        (endpoint.zone.clone(), serde_json::to_value(&endpoint.hints).unwrap())
    };
    let zoned: &[(&str, &str)] = &[("n1", "a")];
    let same_zone = json!({ "forZones": [{ "name": "a" }] });
    assert_eq!(hints("PreferClose", "", zoned), (Some("a".to_owned()), same_zone.clone()));
    assert_eq!(hints("PreferSameZone", "", zoned).1, same_zone);
    let node = json!({ "forNodes": [{ "name": "n1" }], "forZones": [{ "name": "a" }] });
    assert_eq!(hints("PreferSameNode", "", zoned).1, node);
    assert_eq!(hints("PreferSameNode", "", &[]).1, json!({ "forNodes": [{ "name": "n1" }] }));
    assert_eq!(hints("PreferSameZone", "", &[]), (None, Value::Null));
    assert_eq!(hints("PreferSameZone", "unready", zoned).1, Value::Null, "only ready ones");
    assert_eq!(hints("", "", zoned), (Some("a".to_owned()), Value::Null));
}

#[test]
fn headless_services_need_no_ports() {
    let headless = service(&json!({ "clusterIP": "None", "ports": null }));
    let slices = created(&planned(&headless, &[pod(1, 8080, "")], &[], &[]));
    assert_eq!(slices.len(), 1);
    assert_eq!(slices[0].metadata.labels.as_ref().unwrap()[HEADLESS], "");
    assert_eq!(slices[0].ports.as_deref(), Some(&[][..]));
    assert_eq!(slices[0].endpoints.as_ref().unwrap().len(), 1);
}

#[test]
fn whoever_takes_the_selector_away_keeps_the_slices() {
    let mut slices = Vec::new();
    settle(&service(&json!({})), &[pod(1, 80, "")], &mut slices);
    assert!(planned(&service(&json!({ "selector": null })), &[], &slices, &[]).is_empty());
    let named = service(&json!({ "type": "ExternalName", "externalName": "a.example" }));
    assert_eq!(planned(&named, &[pod(1, 80, "")], &slices, &[]).len(), 1, "names have none");
}
