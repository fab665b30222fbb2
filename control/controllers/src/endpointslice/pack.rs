//! How endpoints are spread over slices: as few changes of as few slices as possible.
//!
//! In: the endpoints wanted with one set of ports, and the slices there are. Out: slices to create, change and delete.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use beeline_api::kinds;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use crate::objects::{self, Labels};
use crate::write::{ObjectId, Part, Removal, Write};

/// Whose slices these are, and what all of them carry.
pub(crate) struct Owner<'a> {
    pub(crate) meta: &'a ObjectMeta,
    pub(crate) reference: OwnerReference,
    pub(crate) labels: Labels,
    pub(crate) family: &'static str,
    /// Most endpoints in a slice.
    pub(crate) size_max: usize,
}

/// The ports of a slice, comparable.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ports(pub(crate) Vec<(String, String, i32, Option<String>)>);

impl Ports {
    pub(crate) fn of(slice: &EndpointSlice) -> Self {
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

/// What makes an endpoint the same one in two versions of a slice.
pub(crate) fn identity(endpoint: &Endpoint) -> String {
    let uid = endpoint.target_ref.as_ref().and_then(|target| target.uid.as_deref());
    let address = endpoint.addresses.first().map(String::as_str).unwrap_or_default();
    format!("{}/{address}", uid.unwrap_or_default())
}

/// Keep endpoints where they are, put new ones where there is room, and make slices for the rest.
pub(crate) fn fill(
    owner: &Owner<'_>,
    ports: &Ports,
    endpoints: &mut BTreeMap<String, Endpoint>,
    there: &[&Arc<EndpointSlice>],
    names: &mut BTreeSet<String>,
) -> Vec<Write> {
    let mut kept: Vec<(&EndpointSlice, Vec<Endpoint>)> = Vec::new();
    for slice in there {
        let known = slice.endpoints.iter().flatten();
        kept.push((slice, known.filter_map(|e| endpoints.remove(&identity(e))).collect()));
    }
    let mut rest = std::mem::take(endpoints).into_values();
    // The fullest first: then slices that empty can go.
    kept.sort_by_key(|(_, endpoints)| std::cmp::Reverse(endpoints.len()));
    for (_, endpoints) in &mut kept {
        let room = owner.size_max.saturating_sub(endpoints.len());
        endpoints.extend(rest.by_ref().take(room));
    }
    let mut writes = Vec::new();
    let mut first = true;
    for (slice, endpoints) in kept {
        if endpoints.is_empty() && !first {
            writes.push(delete(slice));
        } else {
            writes.extend(change(owner, slice, endpoints));
        }
        first = false;
    }
    loop {
        let some: Vec<Endpoint> = rest.by_ref().take(owner.size_max).collect();
        if some.is_empty() && !first {
            return writes;
        }
        first = false;
        writes.push(create(owner, ports, some, names));
    }
}

fn change(owner: &Owner<'_>, slice: &EndpointSlice, endpoints: Vec<Endpoint>) -> Option<Write> {
    let mut new = slice.clone();
    new.endpoints = Some(endpoints);
    new.metadata.labels = Some(owner.labels.clone());
    let mut old = slice.clone();
    old.endpoints.get_or_insert_default();
    let object = ObjectId::of(&slice.metadata);
    Write::change(&kinds::ENDPOINT_SLICE, object, Part::Main, &old, &new)
}

fn create(
    owner: &Owner<'_>,
    ports: &Ports,
    endpoints: Vec<Endpoint>,
    names: &mut BTreeSet<String>,
) -> Write {
    let meta = owner.meta;
    // The same state gives the same name, so that a plan made twice makes one slice.
    let free = (0_u32..).map(|n| {
        let hash = objects::fnv(&[objects::uid(meta).as_bytes(), &n.to_le_bytes()]);
        format!("{}-{}", objects::name(meta), objects::suffix(hash, 5))
    });
    let name = free.into_iter().find(|name| !names.contains(name)).unwrap_or_default();
    names.insert(name.clone());
    let slice = EndpointSlice {
        address_type: owner.family.to_owned(),
        endpoints: Some(endpoints),
        metadata: ObjectMeta {
            name: Some(name),
            generate_name: Some(format!("{}-", objects::name(meta))),
            namespace: meta.namespace.clone(),
            labels: Some(owner.labels.clone()),
            owner_references: Some(vec![owner.reference.clone()]),
            ..ObjectMeta::default()
        },
        ports: Some(ports.to_api()),
    };
    Write::create(&kinds::ENDPOINT_SLICE, &slice)
}

/// The end of a slice.
pub(crate) fn delete(slice: &EndpointSlice) -> Write {
    Write::delete(&kinds::ENDPOINT_SLICE, ObjectId::of(&slice.metadata), Removal::Graceful)
}
