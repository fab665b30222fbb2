//! Endpoints: the old, single-object form of what EndpointSlices say, for clients that still read it.
//!
//! In: all Services, Pods and Endpoints. Out: Endpoints to create, change and delete. Pure.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use beeline_api::kinds;
use k8s_openapi::api::core::v1::{
    EndpointAddress, EndpointPort, EndpointSubset, Endpoints, Pod, Service,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::endpointslice::{address, has_endpoints, members, publishes_not_ready, resolve, target};
use crate::objects::{self, Labels};
use crate::write::{ObjectId, Part, Removal, Write};

/// More than this upstream leaves out, too: whoever needs them reads slices.
const ADDRESSES_MAX: usize = 1000;
const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const MANAGER: &str = "endpoint-controller";

/// All that Endpoints are decided from.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Every Service.
    pub services: Vec<Arc<Service>>,
    /// Every Pod.
    pub pods: Vec<Arc<Pod>>,
    /// Every Endpoints object.
    pub endpoints: Vec<Arc<Endpoints>>,
}

/// What has to be written now.
pub fn plan(state: &State) -> Vec<Write> {
    let mut pods: HashMap<&str, Vec<&Arc<Pod>>> = HashMap::new();
    for pod in &state.pods {
        pods.entry(objects::namespace(&pod.metadata)).or_default().push(pod);
    }
    let mut there: HashMap<ObjectId, &Arc<Endpoints>> =
        state.endpoints.iter().map(|e| (key(&e.metadata), e)).collect();
    let mut writes = Vec::new();
    for service in state.services.iter().filter(|service| has_endpoints(service)) {
        let nearby = pods.get(objects::namespace(&service.metadata));
        let wanted = wanted(service, nearby.map(Vec::as_slice).unwrap_or_default());
        match there.remove(&key(&service.metadata)) {
            None => writes.push(Write::create(&kinds::ENDPOINTS, &wanted)),
            Some(known) => writes.extend(change(known, wanted)),
        }
    }
    let abandoned = there.into_values().filter(|e| {
        e.metadata.labels.as_ref().and_then(|l| l.get(MANAGED_BY)).is_some_and(|by| by == MANAGER)
    });
    let mut left: Vec<Write> = abandoned
        .map(|e| Write::delete(&kinds::ENDPOINTS, ObjectId::of(&e.metadata), Removal::Graceful))
        .collect();
    left.sort_by_key(ToString::to_string);
    writes.extend(left);
    writes
}

fn key(meta: &ObjectMeta) -> ObjectId {
    ObjectId { uid: String::new(), ..ObjectId::of(meta) }
}

fn change(known: &Endpoints, wanted: Endpoints) -> Option<Write> {
    let mut new = known.clone();
    new.subsets = wanted.subsets;
    new.metadata.labels = wanted.metadata.labels;
    let object = ObjectId::of(&known.metadata);
    Write::change(&kinds::ENDPOINTS, object, Part::Main, known, &new)
}

type Port = (String, String, i32, Option<String>);

fn wanted(service: &Service, nearby: &[&Arc<Pod>]) -> Endpoints {
    let mut subsets: BTreeMap<Vec<Port>, EndpointSubset> = BTreeMap::new();
    let mut pods: Vec<&Arc<Pod>> = members(service, nearby)
        .filter(|pod| publishes_not_ready(service) || !objects::is_deleting(&pod.metadata))
        .collect();
    pods.sort_by_key(|pod| address(pod));
    for pod in pods.into_iter().take(ADDRESSES_MAX) {
        let ports = ports(service, pod);
        if ports.is_empty() && service.spec.as_ref().is_some_and(|s| s.ports.is_some()) {
            continue;
        }
        let subset = subsets.entry(ports).or_default();
        let ready = publishes_not_ready(service) || objects::is_ready(pod);
        let list = if ready { &mut subset.addresses } else { &mut subset.not_ready_addresses };
        list.get_or_insert_default().push(EndpointAddress {
            ip: address(pod).unwrap_or_default().to_owned(),
            node_name: pod.spec.as_ref().and_then(|s| s.node_name.clone()),
            target_ref: Some(target(pod)),
            hostname: None,
        });
    }
    let subsets: Vec<EndpointSubset> = subsets
        .into_iter()
        .map(|(ports, subset)| {
            let ports =
                ports.into_iter().map(|(name, protocol, port, app_protocol)| EndpointPort {
                    name: (!name.is_empty()).then_some(name),
                    protocol: Some(protocol),
                    port,
                    app_protocol,
                });
            EndpointSubset { ports: Some(ports.collect()), ..subset }
        })
        .collect();
    Endpoints {
        metadata: ObjectMeta {
            name: service.metadata.name.clone(),
            namespace: service.metadata.namespace.clone(),
            labels: Some(labels(service)),
            ..ObjectMeta::default()
        },
        subsets: (!subsets.is_empty()).then_some(subsets),
    }
}

fn ports(service: &Service, pod: &Pod) -> Vec<Port> {
    let ports = service.spec.iter().flat_map(|s| s.ports.iter().flatten());
    let found = ports.filter_map(|port| {
        let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
        let number = resolve(port, pod)?;
        Some((port.name.clone().unwrap_or_default(), protocol, number, port.app_protocol.clone()))
    });
    found.collect()
}

fn labels(service: &Service) -> Labels {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    labels
}
