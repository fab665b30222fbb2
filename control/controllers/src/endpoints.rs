//! Endpoints: the old, single-object form of what EndpointSlices say, for clients that still read it.
//!
//! In: a Service, its Pods and its Endpoints. Out: what to create, change or delete. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use beeline_api::kinds;
use k8s_openapi::api::core::v1::{
    EndpointAddress, EndpointPort, EndpointSubset, Endpoints, Pod, Service,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::endpointslice::{
    address, families, has_endpoints, publishes_not_ready, resolve, target,
};
use crate::objects::{self, Labels};
use crate::sources::{Key, Sources, selector};
use crate::write::{ObjectId, Part, Removal, Write};

/// More than this upstream leaves out, too: whoever needs them reads slices.
const ADDRESSES_MAX: usize = 1000;
const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const MANAGER: &str = "endpoint-controller";

/// What has to be written for the Service of this key now; `gone`: it was there and is no more.
pub(crate) fn plan(sources: &Sources, key: &Key, gone: bool) -> Option<Write> {
    let there = sources.endpoints_of(key);
    match sources.get(key) {
        Some(service) if has_endpoints(service) => {
            let wanted = wanted(service, &sources.pods_of(service));
            match there {
                None => Some(Write::create(&kinds::ENDPOINTS, &wanted)),
                Some(known) => change(known, wanted),
            }
        }
        Some(service) if selector(service).is_none() => None,
        // Those that users made go with their Service as well.
        _ => there.filter(|e| gone || is_ours(e)).map(|e| {
            Write::delete(&kinds::ENDPOINTS, ObjectId::of(&e.metadata), Removal::Graceful)
        }),
    }
}

/// Made here, not by users.
pub(crate) fn is_ours(endpoints: &Endpoints) -> bool {
    let labels = endpoints.metadata.labels.as_ref();
    labels.and_then(|l| l.get(MANAGED_BY)).is_some_and(|by| by == MANAGER)
}

fn change(known: &Endpoints, wanted: Endpoints) -> Option<Write> {
    let mut new = known.clone();
    new.subsets = wanted.subsets;
    new.metadata.labels = wanted.metadata.labels;
    let object = ObjectId::of(&known.metadata);
    Write::change(&kinds::ENDPOINTS, object, Part::Main, known, &new)
}

type Port = (String, String, i32, Option<String>);

fn wanted(service: &Service, pods: &[&Arc<Pod>]) -> Endpoints {
    // Clients of old know one family.
    let family = families(service)[0];
    let mut subsets: BTreeMap<Vec<Port>, EndpointSubset> = BTreeMap::new();
    let mut pods: Vec<(&str, &&Arc<Pod>)> = pods
        .iter()
        .filter(|pod| publishes_not_ready(service) || !objects::is_deleting(&pod.metadata))
        .filter_map(|pod| Some((address(pod, family)?, pod)))
        .collect();
    pods.sort_by_key(|(ip, _)| *ip);
    for (ip, pod) in pods.into_iter().take(ADDRESSES_MAX) {
        let ports = ports(service, pod);
        if ports.is_empty() && service.spec.as_ref().is_some_and(|s| s.ports.is_some()) {
            continue;
        }
        let subset = subsets.entry(ports).or_default();
        let ready = publishes_not_ready(service) || objects::is_ready(pod);
        let list = if ready { &mut subset.addresses } else { &mut subset.not_ready_addresses };
        list.get_or_insert_default().push(EndpointAddress {
            ip: ip.to_owned(),
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
