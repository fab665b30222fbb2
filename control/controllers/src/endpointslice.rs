//! EndpointSlices: the addresses behind each Service that has a selector.
//!
//! In: a Service, its Pods, its slices and the nodes' zones. Out: slices to create, change and delete. Pure.
//! A Pod whose end was asked for is not ready from that write on, whatever its probes say: nodes may rely on the
//! change being ordered after the Pod's `deletionTimestamp` and act on both in either order.

pub(crate) mod pack;
mod ports;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use beeline_api::validate::address::special;
use k8s_openapi::api::core::v1::{ObjectReference, Pod, Service};
use k8s_openapi::api::discovery::v1::{
    Endpoint, EndpointConditions, EndpointHints, EndpointSlice, ForNode, ForZone,
};

pub(crate) use ports::resolve;

use crate::objects::{self, Labels};
use crate::sources::{Key, SERVICE_NAME, Sources, selector};
use crate::write::Write;
use pack::{Owner, Ports, delete, fill, identity};

/// Upstream's default: small enough that one change stays cheap to send.
const ENDPOINTS_PER_SLICE_MAX: usize = 100;
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const MANAGER: &str = "endpointslice-controller.k8s.io";
const HEADLESS: &str = "service.kubernetes.io/headless";

/// What has to be written for the Service of this key now.
pub(crate) fn plan(sources: &Sources, key: &Key) -> Vec<Write> {
    let there = sources.slices_of(key).into_iter().filter(|slice| is_managed(slice, MANAGER));
    match sources.get(key) {
        // Whoever takes the selector away looks after the slices from then on.
        Some(service) if is_headed(service) && selector(service).is_none() => Vec::new(),
        Some(service) if has_endpoints(service) => {
            let there: Vec<_> = there.collect();
            plan_one(service, &sources.pods_of(service), &there, sources.zones())
        }
        _ => there.filter(|s| !objects::is_deleting(&s.metadata)).map(|s| delete(s)).collect(),
    }
}

/// Slices without the mark are made by users or by other controllers.
pub(crate) fn is_managed(slice: &EndpointSlice, by: &str) -> bool {
    slice.metadata.labels.as_ref().and_then(|l| l.get(MANAGED_BY)).is_some_and(|it| it == by)
}

/// The marks of a slice: what it belongs to and who made it.
pub(crate) fn mark(mut labels: Labels, service: &str, manager: &str) -> Labels {
    labels.insert(SERVICE_NAME.to_owned(), service.to_owned());
    labels.insert(MANAGED_BY.to_owned(), manager.to_owned());
    labels
}

fn is_headed(service: &Service) -> bool {
    let kind = service.spec.as_ref().and_then(|s| s.type_.as_deref());
    kind != Some("ExternalName") && !objects::is_deleting(&service.metadata)
}

/// Whether the addresses of this Service come from a selector.
pub(crate) fn has_endpoints(service: &Service) -> bool {
    is_headed(service) && selector(service).is_some()
}

/// The families of a Service, its first one first.
pub(crate) fn families(service: &Service) -> Vec<&'static str> {
    let given = service.spec.as_ref().and_then(|s| s.ip_families.as_deref()).unwrap_or_default();
    let known = given.iter().filter_map(|f| ["IPv4", "IPv6"].into_iter().find(|known| known == f));
    let known: Vec<_> = known.collect();
    if known.is_empty() { vec!["IPv4"] } else { known }
}

fn plan_one(
    service: &Service,
    pods: &[&Arc<Pod>],
    there: &[&Arc<EndpointSlice>],
    zones: &HashMap<String, String>,
) -> Vec<Write> {
    let mut names: BTreeSet<String> =
        there.iter().map(|slice| objects::name(&slice.metadata).to_owned()).collect();
    let families = families(service);
    let mut writes = Vec::new();
    let mut odd = there.to_vec();
    for family in families {
        let mut wanted = wanted(service, pods, family, zones);
        if wanted.is_empty() {
            // An empty slice says: seen, and there is nothing.
            wanted.insert(Ports(Vec::new()), BTreeMap::new());
        }
        let fits = |slice: &EndpointSlice| {
            !objects::is_deleting(&slice.metadata)
                && slice.address_type == family
                && wanted.contains_key(&Ports::of(slice))
        };
        odd.retain(|slice| !fits(slice));
        let fitting: Vec<&Arc<EndpointSlice>> =
            there.iter().copied().filter(|slice| fits(slice)).collect();
        let owner = Owner {
            meta: &service.metadata,
            reference: objects::controller_reference("v1", "Service", &service.metadata),
            labels: labels(service),
            family,
            size_max: ENDPOINTS_PER_SLICE_MAX,
        };
        for (ports, mut endpoints) in wanted {
            let mine = fitting.iter().copied().filter(|slice| Ports::of(slice) == ports);
            let mine: Vec<_> = mine.collect();
            writes.extend(fill(&owner, &ports, &mut endpoints, &mine, &mut names));
        }
    }
    writes.extend(odd.iter().filter(|s| !objects::is_deleting(&s.metadata)).map(|s| delete(s)));
    writes
}

/// Endpoints by the ports they serve on and by Pod.
fn wanted(
    service: &Service,
    pods: &[&Arc<Pod>],
    family: &str,
    zones: &HashMap<String, String>,
) -> BTreeMap<Ports, BTreeMap<String, Endpoint>> {
    let mut wanted: BTreeMap<Ports, BTreeMap<String, Endpoint>> = BTreeMap::new();
    for pod in pods {
        let Some(endpoint) = endpoint(service, pod, family, zones) else { continue };
        let ports = Ports(ports::of(service, pod));
        wanted.entry(ports).or_default().insert(identity(&endpoint), endpoint);
    }
    wanted
}

/// The Pod's address of this family, unless it has run to its end or means another host to each who reads it: a node
/// without a network has nothing but loopback.
pub(crate) fn address<'a>(pod: &'a Pod, family: &str) -> Option<&'a str> {
    if objects::is_terminal(pod) {
        return None;
    }
    let status = pod.status.as_ref()?;
    let several = status.pod_ips.iter().flatten().map(|ip| ip.ip.as_str());
    let mut all = several.chain(status.pod_ip.as_deref());
    all.find(|ip| is_of(ip, family) && ip.parse().ok().and_then(special).is_none())
}

/// Whether an address is of this family.
pub(crate) fn is_of(ip: &str, family: &str) -> bool {
    ip.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv4() == (family == "IPv4"))
}

/// The address counts even before it is ready.
pub(crate) fn publishes_not_ready(service: &Service) -> bool {
    let spec = service.spec.as_ref();
    spec.and_then(|s| s.publish_not_ready_addresses).unwrap_or(false)
}

fn endpoint(
    service: &Service,
    pod: &Pod,
    family: &str,
    zones: &HashMap<String, String>,
) -> Option<Endpoint> {
    let spec = pod.spec.as_ref()?;
    let terminating = objects::is_deleting(&pod.metadata);
    let serving = objects::is_ready(pod);
    let ready = publishes_not_ready(service) || (serving && !terminating);
    let named = spec.hostname.as_ref().filter(|_| {
        spec.subdomain.as_deref() == service.metadata.name.as_deref()
            && pod.metadata.namespace == service.metadata.namespace
    });
    let zone = spec.node_name.as_ref().and_then(|node| zones.get(node)).cloned();
    Some(Endpoint {
        addresses: vec![address(pod, family)?.to_owned()],
        conditions: Some(EndpointConditions {
            ready: Some(ready),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hints: if ready {
            hints(service, zone.as_deref(), spec.node_name.as_deref())
        } else {
            None
        },
        hostname: named.cloned(),
        node_name: spec.node_name.clone(),
        target_ref: Some(target(pod)),
        zone,
        ..Endpoint::default()
    })
}

/// Whose callers a ready endpoint is meant for, as `trafficDistribution` asks.
fn hints(service: &Service, zone: Option<&str>, node: Option<&str>) -> Option<EndpointHints> {
    let zones = || zone.map(|name| vec![ForZone { name: name.to_owned() }]);
    let hints = match service.spec.as_ref()?.traffic_distribution.as_deref()? {
        "PreferClose" | "PreferSameZone" => EndpointHints { for_zones: zones(), for_nodes: None },
        "PreferSameNode" => EndpointHints {
            for_zones: zones(),
            for_nodes: node.map(|name| vec![ForNode { name: name.to_owned() }]),
        },
        _ => return None,
    };
    (hints != EndpointHints::default()).then_some(hints)
}

/// A reference to the Pod behind an address.
pub(crate) fn target(pod: &Pod) -> ObjectReference {
    ObjectReference {
        kind: Some("Pod".to_owned()),
        name: pod.metadata.name.clone(),
        namespace: pod.metadata.namespace.clone(),
        uid: pod.metadata.uid.clone(),
        ..ObjectReference::default()
    }
}

fn labels(service: &Service) -> Labels {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.remove(HEADLESS);
    if service.spec.as_ref().and_then(|s| s.cluster_ip.as_deref()) == Some("None") {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    mark(labels, objects::name(&service.metadata), MANAGER)
}
