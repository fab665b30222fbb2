//! EndpointSlices: the addresses behind each Service that has a selector.
//!
//! In: all Services, Pods and EndpointSlices. Out: slices to create, change and delete. Pure.
//! A Pod whose end was asked for is not ready from that write on, whatever its probes say: nodes may rely on the
//! change being ordered after the Pod's `deletionTimestamp` and act on both in either order.

mod ports;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use beeline_api::kinds;
use k8s_openapi::api::core::v1::{ObjectReference, Pod, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

pub(crate) use ports::resolve;

use crate::objects::{self, Labels};
use crate::write::{ObjectId, Part, Removal, Write};

/// Upstream's default: small enough that one change stays cheap to send.
const ENDPOINTS_PER_SLICE_MAX: usize = 100;
const SERVICE_NAME: &str = "kubernetes.io/service-name";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const MANAGER: &str = "endpointslice-controller.k8s.io";
const HEADLESS: &str = "service.kubernetes.io/headless";

/// All that slices are decided from.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Every Service.
    pub services: Vec<Arc<Service>>,
    /// Every Pod.
    pub pods: Vec<Arc<Pod>>,
    /// Every EndpointSlice.
    pub slices: Vec<Arc<EndpointSlice>>,
}

/// What has to be written now.
pub fn plan(state: &State) -> Vec<Write> {
    let mut pods: HashMap<&str, Vec<&Arc<Pod>>> = HashMap::new();
    for pod in &state.pods {
        pods.entry(objects::namespace(&pod.metadata)).or_default().push(pod);
    }
    let mut slices: HashMap<(&str, &str), Vec<&Arc<EndpointSlice>>> = HashMap::new();
    for slice in state.slices.iter().filter(|slice| is_ours(slice)) {
        let key = (objects::namespace(&slice.metadata), service_of(slice));
        slices.entry(key).or_default().push(slice);
    }
    let mut writes = Vec::new();
    for service in state.services.iter().filter(|service| has_endpoints(service)) {
        let namespace = objects::namespace(&service.metadata);
        let there = slices.remove(&(namespace, objects::name(&service.metadata)));
        let nearby = pods.get(namespace).map(Vec::as_slice).unwrap_or_default();
        writes.extend(plan_one(service, nearby, there.unwrap_or_default()));
    }
    // What is left belongs to no Service that wants slices.
    let mut left: Vec<_> = slices.into_values().flatten().map(|s| delete(s)).collect();
    left.sort_by_key(ToString::to_string);
    writes.extend(left);
    writes
}

/// Slices without our mark are made by users or by other controllers.
fn is_ours(slice: &EndpointSlice) -> bool {
    slice.metadata.labels.as_ref().and_then(|l| l.get(MANAGED_BY)).is_some_and(|by| by == MANAGER)
}

fn service_of(slice: &EndpointSlice) -> &str {
    slice.metadata.labels.as_ref().and_then(|l| l.get(SERVICE_NAME)).map_or("", String::as_str)
}

/// Whether the addresses of this Service come from a selector.
pub(crate) fn has_endpoints(service: &Service) -> bool {
    let Some(spec) = &service.spec else { return false };
    spec.type_.as_deref() != Some("ExternalName")
        && spec.selector.as_ref().is_some_and(|s| !s.is_empty())
        && !objects::is_deleting(&service.metadata)
}

fn plan_one(
    service: &Service,
    nearby: &[&Arc<Pod>],
    there: Vec<&Arc<EndpointSlice>>,
) -> Vec<Write> {
    let mut wanted: BTreeMap<Ports, BTreeMap<String, Endpoint>> = BTreeMap::new();
    for pod in members(service, nearby) {
        let Some(endpoint) = endpoint(service, pod) else { continue };
        let ports = Ports(ports::of(service, pod));
        wanted.entry(ports).or_default().insert(objects::uid(&pod.metadata).to_owned(), endpoint);
    }
    if wanted.is_empty() {
        // An empty slice says: seen, and there is nothing.
        wanted.insert(Ports(Vec::new()), BTreeMap::new());
    }
    let mut names: BTreeSet<String> =
        there.iter().map(|slice| objects::name(&slice.metadata).to_owned()).collect();
    let (fitting, odd): (Vec<_>, Vec<_>) = there.into_iter().partition(|slice| {
        !objects::is_deleting(&slice.metadata)
            && slice.address_type == "IPv4"
            && wanted.contains_key(&Ports::of(slice))
    });
    let mut writes = Vec::new();
    for (ports, mut endpoints) in wanted {
        let mine: Vec<_> = fitting.iter().filter(|slice| Ports::of(slice) == ports).collect();
        writes.extend(fill(service, &ports, &mut endpoints, &mine, &mut names));
    }
    writes.extend(odd.iter().filter(|s| !objects::is_deleting(&s.metadata)).map(|s| delete(s)));
    writes
}

/// The Pods that the Service selects and that have an address.
pub(crate) fn members<'a>(
    service: &'a Service,
    nearby: &'a [&'a Arc<Pod>],
) -> impl Iterator<Item = &'a Arc<Pod>> {
    let selector = service.spec.as_ref().and_then(|s| s.selector.as_ref());
    nearby.iter().copied().filter(move |pod| {
        let labels = pod.metadata.labels.as_ref();
        !objects::is_terminal(pod)
            && address(pod).is_some()
            && selector.zip(labels).is_some_and(|(wanted, has)| objects::contains_all(has, wanted))
    })
}

/// The Pod's IPv4 address.
pub(crate) fn address(pod: &Pod) -> Option<&str> {
    pod.status.as_ref()?.pod_ip.as_deref().filter(|ip| ip.parse::<std::net::Ipv4Addr>().is_ok())
}

/// The address counts even before it is ready.
pub(crate) fn publishes_not_ready(service: &Service) -> bool {
    let spec = service.spec.as_ref();
    spec.and_then(|s| s.publish_not_ready_addresses).unwrap_or(false)
}

fn endpoint(service: &Service, pod: &Pod) -> Option<Endpoint> {
    let spec = pod.spec.as_ref()?;
    let terminating = objects::is_deleting(&pod.metadata);
    let serving = objects::is_ready(pod);
    let named = spec.hostname.as_ref().filter(|_| {
        spec.subdomain.as_deref() == service.metadata.name.as_deref()
            && pod.metadata.namespace == service.metadata.namespace
    });
    Some(Endpoint {
        addresses: vec![address(pod)?.to_owned()],
        conditions: Some(EndpointConditions {
            ready: Some(publishes_not_ready(service) || (serving && !terminating)),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hostname: named.cloned(),
        node_name: spec.node_name.clone(),
        target_ref: Some(target(pod)),
        ..Endpoint::default()
    })
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

/// The ports of a slice, comparable.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Ports(Vec<(String, String, i32, Option<String>)>);

impl Ports {
    fn of(slice: &EndpointSlice) -> Self {
        let ports = slice.ports.iter().flatten().map(|port| {
            let text = |t: &Option<String>| t.clone().unwrap_or_default();
            (
                text(&port.name),
                text(&port.protocol),
                port.port.unwrap_or(0),
                port.app_protocol.clone(),
            )
        });
        let mut ports: Vec<_> = ports.collect();
        ports.sort();
        Self(ports)
    }

    fn to_api(&self) -> Vec<EndpointPort> {
        let port =
            |(name, protocol, port, app): &(String, String, i32, Option<String>)| EndpointPort {
                name: Some(name.clone()),
                protocol: Some(protocol.clone()),
                port: Some(*port),
                app_protocol: app.clone(),
            };
        self.0.iter().map(port).collect()
    }
}

/// Keep endpoints where they are, put new ones where there is room, and make slices for the rest.
fn fill(
    service: &Service,
    ports: &Ports,
    endpoints: &mut BTreeMap<String, Endpoint>,
    there: &[&&Arc<EndpointSlice>],
    names: &mut BTreeSet<String>,
) -> Vec<Write> {
    let mut kept: Vec<(&EndpointSlice, Vec<Endpoint>)> = Vec::new();
    for slice in there {
        let known = slice.endpoints.iter().flatten();
        let uids = known.filter_map(|e| e.target_ref.as_ref()?.uid.clone());
        kept.push((slice, uids.filter_map(|uid| endpoints.remove(&uid)).collect()));
    }
    let mut rest = std::mem::take(endpoints).into_values();
    // The fullest first: then slices that empty can go.
    kept.sort_by_key(|(_, endpoints)| std::cmp::Reverse(endpoints.len()));
    for (_, endpoints) in &mut kept {
        let room = ENDPOINTS_PER_SLICE_MAX.saturating_sub(endpoints.len());
        endpoints.extend(rest.by_ref().take(room));
    }
    let mut writes = Vec::new();
    let mut first = true;
    for (slice, endpoints) in kept {
        if endpoints.is_empty() && !first {
            writes.push(delete(slice));
        } else {
            writes.extend(change(service, slice, endpoints));
        }
        first = false;
    }
    loop {
        let some: Vec<Endpoint> = rest.by_ref().take(ENDPOINTS_PER_SLICE_MAX).collect();
        if some.is_empty() && !first {
            return writes;
        }
        first = false;
        writes.push(create(service, ports, some, names));
    }
}

fn labels(service: &Service) -> Labels {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.remove(HEADLESS);
    if service.spec.as_ref().and_then(|s| s.cluster_ip.as_deref()) == Some("None") {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    labels.insert(SERVICE_NAME.to_owned(), objects::name(&service.metadata).to_owned());
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    labels
}

fn change(service: &Service, slice: &EndpointSlice, endpoints: Vec<Endpoint>) -> Option<Write> {
    let mut new = slice.clone();
    new.endpoints = Some(endpoints);
    new.metadata.labels = Some(labels(service));
    let mut old = slice.clone();
    old.endpoints.get_or_insert_default();
    let object = ObjectId::of(&slice.metadata);
    Write::change(&kinds::ENDPOINT_SLICE, object, Part::Main, &old, &new)
}

fn create(
    service: &Service,
    ports: &Ports,
    endpoints: Vec<Endpoint>,
    names: &mut BTreeSet<String>,
) -> Write {
    let meta = &service.metadata;
    // The same state gives the same name, so that a plan made twice makes one slice.
    let free = (0_u32..).map(|n| {
        let hash = objects::fnv(&[objects::uid(meta).as_bytes(), &n.to_le_bytes()]);
        format!("{}-{}", objects::name(meta), objects::suffix(hash, 5))
    });
    let name = free.into_iter().find(|name| !names.contains(name)).unwrap_or_default();
    names.insert(name.clone());
    let slice = EndpointSlice {
        address_type: "IPv4".to_owned(),
        endpoints: Some(endpoints),
        metadata: ObjectMeta {
            name: Some(name),
            generate_name: Some(format!("{}-", objects::name(meta))),
            namespace: meta.namespace.clone(),
            labels: Some(labels(service)),
            owner_references: Some(vec![objects::controller_reference("v1", "Service", meta)]),
            ..ObjectMeta::default()
        },
        ports: Some(ports.to_api()),
    };
    Write::create(&kinds::ENDPOINT_SLICE, &slice)
}

fn delete(slice: &EndpointSlice) -> Write {
    Write::delete(&kinds::ENDPOINT_SLICE, ObjectId::of(&slice.metadata), Removal::Graceful)
}
