//! Addresses for Services of type LoadBalancer where there is no load balancer: those of the nodes themselves.
//!
//! In: Services, nodes, and where ready endpoints are. Out: `status.loadBalancer`, Events for ports that are taken. Pure.
//! Refuses: Services of a class, which are someone else's. A port of the nodes goes to the oldest Service that wants it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use beeline_api::kinds;
use k8s_openapi::api::core::v1::{LoadBalancerIngress, Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;

use crate::endpointslice::{families, is_of};
use crate::events;
use crate::objects::{self, Timestamp};
use crate::sources::{Key, SERVICE_NAME, key};
use crate::write::{ObjectId, Write};

const EXCLUDED: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

/// All that is decided from.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// The Services of type LoadBalancer.
    pub services: Vec<Arc<Service>>,
    /// Every node.
    pub nodes: Vec<Arc<Node>>,
    /// At least the slices of those Services whose external policy is Local.
    pub slices: Vec<Arc<EndpointSlice>>,
}

/// What has to be written now.
pub fn plan(state: &State, now: Timestamp) -> Vec<Write> {
    let mut services: Vec<&Arc<Service>> = state.services.iter().filter(|s| is_ours(s)).collect();
    services.sort_by_key(|service| {
        let meta = &service.metadata;
        (
            objects::created(meta),
            objects::namespace(meta).to_owned(),
            objects::name(meta).to_owned(),
        )
    });
    let nodes: Vec<&Arc<Node>> = state.nodes.iter().filter(|node| takes_traffic(node)).collect();
    let local = local_nodes(state);
    let mut taken: BTreeMap<(String, i32), Key> = BTreeMap::new();
    let mut writes = Vec::new();
    for service in services {
        let own = key(&service.metadata);
        if let Some((port, holder)) = clash(service, &taken) {
            writes.extend(give(service, Vec::new()));
            writes.push(refusal(service, &port, holder, now));
            continue;
        }
        for port in ports(service) {
            taken.insert(port, Arc::clone(&own));
        }
        let at = is_local(service).then(|| local.get(&own).cloned().unwrap_or_default());
        let here = nodes
            .iter()
            .filter(|node| at.as_ref().is_none_or(|at| at.contains(objects::name(&node.metadata))));
        let addresses: Vec<String> = families(service)
            .into_iter()
            .flat_map(|family| here.clone().filter_map(move |node| address(node, family)))
            .collect();
        writes.extend(give(service, addresses));
    }
    writes
}

fn is_ours(service: &Service) -> bool {
    service.spec.as_ref().is_some_and(|spec| {
        spec.type_.as_deref() == Some("LoadBalancer") && spec.load_balancer_class.is_none()
    }) && !objects::is_deleting(&service.metadata)
}

/// Whether only nodes with endpoints may take this Service's traffic.
pub(crate) fn is_local(service: &Service) -> bool {
    let spec = service.spec.as_ref();
    spec.and_then(|s| s.external_traffic_policy.as_deref()) == Some("Local")
}

fn takes_traffic(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|s| s.conditions.as_deref());
    let excluded = node.metadata.labels.as_ref().is_some_and(|l| l.contains_key(EXCLUDED));
    let ready =
        conditions.unwrap_or_default().iter().any(|c| c.type_ == "Ready" && c.status == "True");
    ready && !excluded && !objects::is_deleting(&node.metadata)
}

/// The nodes that have a ready endpoint, by Service.
fn local_nodes(state: &State) -> BTreeMap<Key, BTreeSet<String>> {
    let mut local: BTreeMap<Key, BTreeSet<String>> = BTreeMap::new();
    for slice in &state.slices {
        let Some(name) = slice.metadata.labels.as_ref().and_then(|l| l.get(SERVICE_NAME)) else {
            continue;
        };
        let service: Key = format!("{}/{name}", objects::namespace(&slice.metadata)).into();
        let ready =
            slice.endpoints.iter().flatten().filter(|endpoint| {
                endpoint.conditions.as_ref().and_then(|c| c.ready).unwrap_or(true)
            });
        local.entry(service).or_default().extend(ready.filter_map(|e| e.node_name.clone()));
    }
    local
}

fn ports(service: &Service) -> Vec<(String, i32)> {
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    let one = |port: &k8s_openapi::api::core::v1::ServicePort| {
        (port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()), port.port)
    };
    ports.map(one).collect()
}

fn clash<'a>(
    service: &Service,
    taken: &'a BTreeMap<(String, i32), Key>,
) -> Option<((String, i32), &'a Key)> {
    ports(service).into_iter().find_map(|port| Some((port.clone(), taken.get(&port)?)))
}

/// What others reach a node at: an external address before an internal one.
fn address(node: &Node, family: &str) -> Option<String> {
    let all = node.status.as_ref()?.addresses.as_deref()?;
    ["ExternalIP", "InternalIP"].into_iter().find_map(|kind| {
        let found = all.iter().find(|a| a.type_ == kind && is_of(&a.address, family))?;
        Some(found.address.clone())
    })
}

fn give(service: &Service, addresses: Vec<String>) -> Option<Write> {
    let ingress = addresses.into_iter().map(|ip| LoadBalancerIngress {
        ip: Some(ip),
        ip_mode: Some("VIP".to_owned()),
        ..LoadBalancerIngress::default()
    });
    let ingress: Vec<_> = ingress.collect();
    let old = service.status.clone().unwrap_or_default();
    let mut new = old.clone();
    let known = new.load_balancer.get_or_insert_default();
    if known.ingress.as_deref().unwrap_or_default() == ingress {
        return None;
    }
    known.ingress = (!ingress.is_empty()).then_some(ingress);
    Write::status(&kinds::SERVICE, ObjectId::of(&service.metadata), &old, &new)
}

fn refusal(
    service: &Service,
    (protocol, port): &(String, i32),
    holder: &Key,
    now: Timestamp,
) -> Write {
    let about = events::about("v1", "Service", &service.metadata);
    let hour = Timestamp::from_second(now.as_second() / 3600 * 3600).unwrap_or(now);
    let text = format!("port {port}/{protocol} of the nodes belongs to Service {holder}");
    // The same name for an hour: it is said once, not on every run.
    events::write(&events::event(about, "Warning", "PortTaken", &text, "service-lb", hour))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn typed<T: serde::de::DeserializeOwned>(value: Value) -> Arc<T> {
        Arc::new(serde_json::from_value(value).unwrap())
    }

    fn service(name: &str, spec: &Value) -> Arc<Service> {
        let mut service = json!({
            "metadata": { "name": name, "namespace": "d", "uid": name, "creationTimestamp": format!("2026-01-01T00:00:0{}Z", name.len()) },
            "spec": { "type": "LoadBalancer", "ipFamilies": ["IPv4"], "ports": [{ "port": 80 }] },
            "status": { "loadBalancer": {} },
        });
        for (field, value) in spec.as_object().unwrap() {
            service["spec"][field] = value.clone();
        }
        typed(service)
    }

    fn node(name: &str, ready: &str, labels: &Value, addresses: &[(&str, &str)]) -> Arc<Node> {
        let addresses: Vec<Value> =
            addresses.iter().map(|(kind, ip)| json!({ "type": kind, "address": ip })).collect();
        typed(json!({
            "metadata": { "name": name, "labels": labels },
            "status": { "conditions": [{ "type": "Ready", "status": ready }], "addresses": addresses },
        }))
    }

    fn planned(state: &State) -> Vec<String> {
        plan(state, Timestamp::UNIX_EPOCH).iter().map(ToString::to_string).collect()
    }

    fn nodes() -> Vec<Arc<Node>> {
        vec![
            node(
                "a",
                "True",
                &json!({}),
                &[("InternalIP", "192.0.2.1"), ("InternalIP", "2001:db8::1")],
            ),
            node(
                "b",
                "True",
                &json!({}),
                &[("InternalIP", "192.0.2.2"), ("ExternalIP", "198.51.100.2")],
            ),
            node("c", "False", &json!({}), &[("InternalIP", "192.0.2.3")]),
            node("e", "True", &json!({ EXCLUDED: "" }), &[("InternalIP", "192.0.2.4")]),
        ]
    }

    fn ips(writes: &[String]) -> Vec<Vec<&str>> {
        writes
            .iter()
            .map(|w| {
                w.split("\"ip\":\"").skip(1).map(|part| part.split('"').next().unwrap()).collect()
            })
            .collect()
    }

    #[test]
    fn ready_nodes_stand_in_for_the_load_balancer() {
        let dual = json!({ "ipFamilies": ["IPv4", "IPv6"] });
        let state =
            State { services: vec![service("s", &dual)], nodes: nodes(), slices: Vec::new() };
        let writes = planned(&state);
        assert_eq!(ips(&writes), [["192.0.2.1", "198.51.100.2", "2001:db8::1"]]);
        assert!(writes[0].starts_with("patch Service/status d/s"), "{writes:?}");
        let others = vec![
            service("s", &json!({ "loadBalancerClass": "a.example/x" })),
            service("s", &json!({ "type": "NodePort" })),
        ];
        assert!(planned(&State { services: others, ..state }).is_empty());
    }

    #[test]
    fn local_ones_are_where_their_endpoints_are() {
        let local = service("s", &json!({ "externalTrafficPolicy": "Local" }));
        let slice = typed(json!({
            "metadata": { "name": "s-1", "namespace": "d", "labels": { SERVICE_NAME: "s" } }, "addressType": "IPv4",
            "endpoints": [
                { "addresses": ["10.42.0.2"], "nodeName": "a", "conditions": { "ready": false } },
                { "addresses": ["10.42.1.2"], "nodeName": "b", "conditions": { "ready": true } },
            ],
        }));
        let state = State { services: vec![local], nodes: nodes(), slices: vec![slice] };
        assert_eq!(ips(&planned(&state)), [["198.51.100.2"]]);
        assert!(planned(&State { slices: Vec::new(), ..state }).is_empty(), "none, as before");
    }

    #[test]
    fn a_port_goes_to_the_oldest_service() {
        let old = service("s", &json!({}));
        let young = service("ss", &json!({ "ports": [{ "port": 443 }, { "port": 80 }] }));
        let udp = service("sss", &json!({ "ports": [{ "port": 80, "protocol": "UDP" }] }));
        let state = State { services: vec![young, old, udp], nodes: nodes(), slices: Vec::new() };
        let writes = planned(&state);
        assert_eq!(writes.len(), 3, "{writes:?}");
        assert!(writes[0].starts_with("patch Service/status d/s "), "{writes:?}");
        assert!(writes[1].starts_with("create Event d/ss."), "{writes:?}");
        assert!(writes[2].starts_with("patch Service/status d/sss "), "{writes:?}");
    }
}
