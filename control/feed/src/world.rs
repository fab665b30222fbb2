//! What nodes are told: the whole of it, and who has to hear of a change.
//!
//! In: objects that appeared, changed or went. Out: changes with their audience, and the full share of one node. Pure.
//! A change that makes no difference to nodes, such as a heartbeat or a Pod's own report, is no change.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use beeline_alloc::{Identities, canonical_labels};
use beeline_api::{KindInfo, kinds};
use beeline_proto::feed::{self as wire, change::Kind};
use beeline_registry::Object;
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::Value;

use crate::convert::{self, Key};
use crate::references::{self, Reference};

/// Who has to hear of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    /// Every node.
    All,
    /// One node.
    Node(String),
    /// One node, once every node has in force what the same batch says to all: a Pod is told to end only when
    /// nobody sends it new connections.
    NodeThen(String),
}

/// A change and who has to hear of it.
pub(crate) type Addressed = (Audience, Kind);

/// Everything that some node is told.
#[derive(Debug, Default)]
pub(crate) struct World {
    services: BTreeMap<Key, wire::Service>,
    /// Slices as nodes are told, and as they are in the API.
    slices: BTreeMap<Key, (wire::Slice, wire::Slice)>,
    /// Slices that name a Pod.
    slices_of: HashMap<Key, BTreeSet<Key>>,
    endpoints: BTreeMap<Key, wire::Endpoint>,
    nodes: BTreeMap<String, wire::Node>,
    /// Pods that are bound to a node.
    pods: BTreeMap<Key, Bound>,
    /// ConfigMaps and Secrets, whether referred to or not: they are shared with the registry's cache.
    objects: HashMap<(&'static str, Key), Arc<Object>>,
    /// Which Pods of which node refer to an object.
    users: HashMap<(&'static str, Key), BTreeMap<String, BTreeSet<Key>>>,
    identities: Identities,
}

#[derive(Debug)]
struct Bound {
    node: String,
    object: Arc<Object>,
    references: BTreeSet<Reference>,
    /// Text of the labels that its identity was acquired for.
    identity_of: Option<String>,
}

impl World {
    /// The kinds that it follows.
    pub(crate) fn kinds() -> [&'static KindInfo; 6] {
        [
            &kinds::NODE,
            &kinds::CONFIG_MAP,
            &kinds::SECRET,
            &kinds::SERVICE,
            &kinds::ENDPOINT_SLICE,
            &kinds::POD,
        ]
    }

    /// An object appeared or changed.
    pub(crate) fn put(&mut self, kind: &'static KindInfo, object: &Arc<Object>) -> Vec<Addressed> {
        let key = convert::key(object);
        match kind.kind {
            "Service" => self.put_service(key, object),
            "EndpointSlice" => self.put_slice(&key, object),
            "Node" => self.put_node(key.1, object),
            "Pod" => self.put_pod(&key, object),
            kind => self.put_object(kind, key, object),
        }
    }

    /// An object is gone.
    pub(crate) fn remove(&mut self, kind: &'static KindInfo, key: &Key) -> Vec<Addressed> {
        let all = |gone: Option<Kind>| gone.map(|kind| (Audience::All, kind)).into_iter().collect();
        match kind.kind {
            "Service" => {
                all(self.services.remove(key).map(|_| Kind::ServiceGone(convert::name(key))))
            }
            "EndpointSlice" => all(self.remove_slice(key)),
            "Node" => all(self.nodes.remove(&key.1).map(|_| Kind::NodeGone(convert::name(key)))),
            "Pod" => self.remove_pod(key),
            kind => self.remove_object(kind, key),
        }
    }

    /// The keys that it holds of a kind: what a new list does not name is gone.
    pub(crate) fn keys(&self, kind: &'static KindInfo) -> Vec<Key> {
        match kind.kind {
            "Service" => self.services.keys().cloned().collect(),
            "EndpointSlice" => self.slices.keys().cloned().collect(),
            "Node" => self.nodes.keys().map(|name| (String::new(), name.clone())).collect(),
            "Pod" => self.pods.keys().cloned().collect(),
            kind => self
                .objects
                .keys()
                .filter(|(k, _)| *k == kind)
                .map(|(_, key)| key.clone())
                .collect(),
        }
    }

    /// All that one node is told.
    pub(crate) fn share(&self, node: &str) -> Vec<Kind> {
        let mut share: Vec<Kind> = Vec::new();
        share.extend(self.nodes.values().cloned().map(Kind::Node));
        share.extend(self.services.values().cloned().map(Kind::Service));
        share.extend(self.slices.values().map(|(told, _)| Kind::Slice(told.clone())));
        share.extend(self.endpoints.values().cloned().map(Kind::Endpoint));
        for ((kind, key), users) in &self.users {
            if users.contains_key(node) {
                share.extend(self.message(kind, key));
            }
        }
        let pods = self.pods.values().filter(|bound| bound.node == node);
        share.extend(pods.map(|bound| Kind::Pod(convert::object("Pod", &bound.object))));
        share
    }

    fn put_service(&mut self, key: Key, object: &Object) -> Vec<Addressed> {
        let Some(service) = decode::<Service>(object) else { return Vec::new() };
        let service = convert::service(&service);
        if self.services.get(&key) == Some(&service) {
            return Vec::new();
        }
        self.services.insert(key, service.clone());
        vec![(Audience::All, Kind::Service(service))]
    }

    fn put_slice(&mut self, key: &Key, object: &Object) -> Vec<Addressed> {
        let slice = decode::<EndpointSlice>(object).and_then(|slice| convert::slice(&slice));
        let Some(slice) = slice else { return self.remove(&kinds::ENDPOINT_SLICE, key) };
        let told = self.told(&slice);
        let before = self.slices.insert(key.clone(), (told.clone(), slice));
        self.index_slice(key, before.as_ref().map(|(told, _)| told), Some(&told));
        if before.is_some_and(|(before, _)| before == told) {
            return Vec::new();
        }
        vec![(Audience::All, Kind::Slice(told))]
    }

    fn remove_slice(&mut self, key: &Key) -> Option<Kind> {
        let (told, _) = self.slices.remove(key)?;
        self.index_slice(key, Some(&told), None);
        Some(Kind::SliceGone(convert::name(key)))
    }

    fn index_slice(
        &mut self,
        key: &Key,
        before: Option<&wire::Slice>,
        after: Option<&wire::Slice>,
    ) {
        let pods = |slice: Option<&wire::Slice>| -> BTreeSet<Key> {
            let endpoints =
                slice.into_iter().flat_map(|s| &s.endpoints).filter(|e| !e.pod.is_empty());
            endpoints.map(|e| (key.0.clone(), e.pod.clone())).collect()
        };
        let (before, after) = (pods(before), pods(after));
        for pod in before.difference(&after) {
            if let Some(slices) = self.slices_of.get_mut(pod) {
                slices.remove(key);
                if slices.is_empty() {
                    self.slices_of.remove(pod);
                }
            }
        }
        for pod in after.difference(&before) {
            self.slices_of.entry(pod.clone()).or_default().insert(key.clone());
        }
    }

    /// A slice as nodes are told: Pods whose end was asked for are not ready, even before the slice says so.
    fn told(&self, slice: &wire::Slice) -> wire::Slice {
        let service = self.services.get(&(slice.namespace.clone(), slice.service.clone()));
        let anyway = service.is_some_and(|service| service.publish_not_ready);
        let mut told = slice.clone();
        for endpoint in &mut told.endpoints {
            let pod = self.pods.get(&(slice.namespace.clone(), endpoint.pod.clone()));
            if pod.is_some_and(|bound| bound.object.deleting()) {
                endpoint.terminating = true;
                endpoint.ready &= anyway;
            }
        }
        told
    }

    /// A Pod's end was asked for: say so in the slices that name it.
    fn retire(&mut self, pod: &Key) -> Vec<Addressed> {
        let slices = self.slices_of.get(pod).cloned().unwrap_or_default();
        let mut changes = Vec::new();
        for key in slices {
            let Some(told) = self.slices.get(&key).map(|(_, slice)| self.told(slice)) else {
                continue;
            };
            if let Some((before, _)) =
                self.slices.get_mut(&key).filter(|(before, _)| *before != told)
            {
                before.clone_from(&told);
                changes.push((Audience::All, Kind::Slice(told)));
            }
        }
        changes
    }

    fn put_node(&mut self, name: String, object: &Object) -> Vec<Addressed> {
        let Some(node) = decode::<Node>(object) else { return Vec::new() };
        let node = convert::node(&node);
        if self.nodes.get(&name) == Some(&node) {
            return Vec::new();
        }
        self.nodes.insert(name, node.clone());
        vec![(Audience::All, Kind::Node(node))]
    }

    fn put_pod(&mut self, key: &Key, object: &Arc<Object>) -> Vec<Addressed> {
        let Some(pod) = decode::<Pod>(object) else { return Vec::new() };
        let node = pod.spec.as_ref().and_then(|s| s.node_name.clone()).unwrap_or_default();
        if node.is_empty() {
            return self.remove_pod(key);
        }
        let mut changes = Vec::new();
        let same = self.pods.get(key).filter(|known| known.object.uid() == object.uid());
        if same.is_none() {
            changes.extend(self.remove_pod(key));
        }
        let told = self.pods.get(key).is_some_and(|known| same_intent(&known.object, object));
        let identity_of = self.identify(key, &pod, &mut changes);
        let references = references::of(&pod);
        let before = self.pods.get(key).map(|known| known.references.clone()).unwrap_or_default();
        for reference in references.difference(&before) {
            changes.extend(self.refer(&node, key, reference));
        }
        for reference in before.difference(&references) {
            changes.extend(self.unrefer(&node, key, reference));
        }
        let bound =
            Bound { node: node.clone(), object: Arc::clone(object), references, identity_of };
        self.pods.insert(key.clone(), bound);
        let retired = if object.deleting() { self.retire(key) } else { Vec::new() };
        if !told {
            let audience =
                if retired.is_empty() { Audience::Node(node) } else { Audience::NodeThen(node) };
            changes.push((audience, Kind::Pod(convert::object("Pod", object))));
        }
        changes.extend(retired);
        changes
    }

    /// See that the Pod's address, if it has one, is known with its identity. The labels that it stands for.
    fn identify(&mut self, key: &Key, pod: &Pod, changes: &mut Vec<Addressed>) -> Option<String> {
        let known = self.pods.get(key).and_then(|bound| bound.identity_of.clone());
        let wanted =
            (!convert::own_addresses(pod).is_empty()).then(|| identity_labels(&key.0, pod));
        let number = match (&known, &wanted) {
            (_, None) => None,
            (Some(known), Some(wanted)) if known == wanted => self.identities.number_of(wanted),
            (_, Some(wanted)) => self
                .identities
                .acquire(wanted)
                .inspect_err(|error| tracing::error!(pod = ?key, %error, "no identity"))
                .ok(),
        };
        if known != wanted
            && let Some(known) = &known
        {
            self.identities.release(known);
        }
        match number.and_then(|number| convert::endpoint(pod, number)) {
            Some(endpoint) if self.endpoints.get(key) != Some(&endpoint) => {
                self.endpoints.insert(key.clone(), endpoint.clone());
                changes.push((Audience::All, Kind::Endpoint(endpoint)));
            }
            Some(_) => {}
            None if self.endpoints.remove(key).is_some() => {
                changes.push((Audience::All, Kind::EndpointGone(convert::name(key))));
            }
            None => {}
        }
        number.and(wanted)
    }

    fn remove_pod(&mut self, key: &Key) -> Vec<Addressed> {
        let Some(bound) = self.pods.remove(key) else { return Vec::new() };
        let mut changes = Vec::new();
        if let Some(labels) = &bound.identity_of {
            self.identities.release(labels);
        }
        if self.endpoints.remove(key).is_some() {
            changes.push((Audience::All, Kind::EndpointGone(convert::name(key))));
        }
        changes.push((Audience::Node(bound.node.clone()), Kind::PodGone(convert::name(key))));
        for reference in &bound.references {
            changes.extend(self.unrefer(&bound.node, key, reference));
        }
        changes
    }

    fn put_object(&mut self, kind: &'static str, key: Key, object: &Arc<Object>) -> Vec<Addressed> {
        let id = (kind, key);
        let change = Kind::Object(convert::object(kind, object));
        self.objects.insert(id.clone(), Arc::clone(object));
        let users = self.users.get(&id).into_iter().flat_map(BTreeMap::keys);
        users.map(|node| (Audience::Node(node.clone()), change.clone())).collect()
    }

    fn remove_object(&mut self, kind: &'static str, key: &Key) -> Vec<Addressed> {
        let id = (kind, key.clone());
        if self.objects.remove(&id).is_none() {
            return Vec::new();
        }
        let users = self.users.get(&id).into_iter().flat_map(BTreeMap::keys);
        users.map(|node| (Audience::Node(node.clone()), object_gone(kind, key))).collect()
    }

    /// A Pod begins to refer to an object: its node may have to hear of it.
    fn refer(&mut self, node: &str, pod: &Key, (kind, name): &Reference) -> Option<Addressed> {
        let id = (*kind, (pod.0.clone(), name.clone()));
        let pods = self.users.entry(id.clone()).or_default().entry(node.to_owned()).or_default();
        let first = pods.is_empty();
        pods.insert(pod.clone());
        let message = if first { self.message(id.0, &id.1) } else { None };
        message.map(|message| (Audience::Node(node.to_owned()), message))
    }

    fn unrefer(&mut self, node: &str, pod: &Key, (kind, name): &Reference) -> Option<Addressed> {
        let id = (*kind, (pod.0.clone(), name.clone()));
        let nodes = self.users.get_mut(&id)?;
        let pods = nodes.get_mut(node)?;
        pods.remove(pod);
        if !pods.is_empty() {
            return None;
        }
        nodes.remove(node);
        if nodes.is_empty() {
            self.users.remove(&id);
        }
        let there = self.objects.contains_key(&id);
        there.then(|| (Audience::Node(node.to_owned()), object_gone(id.0, &id.1)))
    }

    fn message(&self, kind: &'static str, key: &Key) -> Option<Kind> {
        let object = self.objects.get(&(kind, key.clone()))?;
        Some(Kind::Object(convert::object(kind, object)))
    }
}

fn object_gone(kind: &str, key: &Key) -> Kind {
    Kind::ObjectGone(wire::Name { kind: kind.to_owned(), ..convert::name(key) })
}

fn decode<K: serde::de::DeserializeOwned + Send + Sync + 'static>(
    object: &Object,
) -> Option<Arc<K>> {
    object.typed().inspect_err(|error| tracing::error!(%error, "not sent to nodes")).ok()
}

/// Pods with the same labels in the same namespace are the same to policy.
fn identity_labels(namespace: &str, pod: &Pod) -> String {
    let labels = pod.metadata.labels.iter().flatten().map(|(k, v)| (k.as_str(), v.as_str()));
    // Revisions of one workload are one identity, or every rollout would make new ones.
    let labels = labels.filter(|(key, _)| *key != "pod-template-hash");
    canonical_labels(labels.chain([("io.kubernetes.pod.namespace", namespace)]))
}

/// A node's own report changes nothing that it has to hear again.
fn same_intent(old: &Object, new: &Object) -> bool {
    let (a, b) = (&old.value, &new.value);
    const META: [&str; 8] = [
        "uid",
        "labels",
        "annotations",
        "generation",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "finalizers",
        "ownerReferences",
    ];
    let meta = |value: &Value| META.map(|field| value["metadata"].get(field).cloned());
    a.get("spec") == b.get("spec") && meta(a) == meta(b)
}
