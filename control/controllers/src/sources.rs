//! What endpoints are made of, by Service, and the Services whose share of it changed.
//!
//! In: single objects that appeared, changed or went. Out: what belongs to a Service, and which Services to look at.
//! Pure. The cost of a change is that of the Services that it touches, however many there are: Pods and selectors meet
//! by label.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Endpoints, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::objects::{self, Labels};

const ZONE: &str = "topology.kubernetes.io/zone";
/// The label of a slice that names its Service.
pub(crate) const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// `namespace/name` of an object.
pub(crate) type Key = Arc<str>;

/// One object as it was and as it is.
pub(crate) type Change<T> = (Option<Arc<T>>, Option<Arc<T>>);

/// The index.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    services: BTreeMap<Key, Arc<Service>>,
    pods: HashMap<Key, Arc<Pod>>,
    /// Pods under the hash of their namespace and of each of their labels.
    pods_by_label: HashMap<u64, BTreeSet<Key>>,
    /// Services under the hash of one pair of their selector.
    services_by_label: HashMap<u64, BTreeSet<Key>>,
    slices: HashMap<Key, BTreeMap<Key, Arc<EndpointSlice>>>,
    endpoints: HashMap<Key, Arc<Endpoints>>,
    zones: HashMap<String, String>,
    dirty: BTreeSet<Key>,
    /// Services that went since they were last looked at.
    gone: BTreeSet<Key>,
}

/// The key of an object.
pub(crate) fn key(meta: &ObjectMeta) -> Key {
    format!("{}/{}", objects::namespace(meta), objects::name(meta)).into()
}

fn under(namespace: &str, pair: (&String, &String)) -> u64 {
    objects::fnv(&[namespace.as_bytes(), pair.0.as_bytes(), pair.1.as_bytes()])
}

fn hashes(meta: &ObjectMeta, labels: Option<&Labels>) -> Vec<u64> {
    let namespace = objects::namespace(meta);
    labels.into_iter().flatten().map(|pair| under(namespace, pair)).collect()
}

impl Sources {
    /// A Service changed.
    pub(crate) fn service(&mut self, (old, new): Change<Service>) {
        if let Some(old) = &old {
            let key = key(&old.metadata);
            for hash in hashes(&old.metadata, selector(old)) {
                remove(&mut self.services_by_label, hash, &key);
            }
            self.services.remove(&key);
            if new.is_none() {
                self.gone.insert(Arc::clone(&key));
            }
            self.dirty.insert(key);
        }
        let Some(new) = new else { return };
        let key = key(&new.metadata);
        let crowd = |hash: &u64| self.services_by_label.get(hash).map_or(0, BTreeSet::len);
        if let Some(hash) = hashes(&new.metadata, selector(&new)).into_iter().min_by_key(crowd) {
            self.services_by_label.entry(hash).or_default().insert(Arc::clone(&key));
        }
        self.gone.remove(&key);
        self.dirty.insert(Arc::clone(&key));
        self.services.insert(key, new);
    }

    /// A Pod changed: all Services that select it, or did, are touched.
    pub(crate) fn pod(&mut self, (old, new): Change<Pod>) {
        for pod in [&old, &new].into_iter().flatten() {
            self.touch_selecting(pod);
        }
        let labels = |pod: &Option<Arc<Pod>>| {
            pod.as_ref().map(|p| hashes(&p.metadata, p.metadata.labels.as_ref()))
        };
        let (before, after) = (labels(&old), labels(&new));
        if let Some(old) = &old {
            let key = key(&old.metadata);
            if before != after {
                for hash in before.iter().flatten() {
                    remove(&mut self.pods_by_label, *hash, &key);
                }
            }
            self.pods.remove(&key);
        }
        let Some(new) = new else { return };
        let key = key(&new.metadata);
        if before != after {
            for hash in after.into_iter().flatten() {
                self.pods_by_label.entry(hash).or_default().insert(Arc::clone(&key));
            }
        }
        self.pods.insert(key, new);
    }

    fn touch_selecting(&mut self, pod: &Pod) {
        let labels = pod.metadata.labels.as_ref();
        for hash in hashes(&pod.metadata, labels) {
            for key in self.services_by_label.get(&hash).into_iter().flatten() {
                let wanted = self.services.get(key).and_then(|service| selector(service));
                if wanted
                    .zip(labels)
                    .is_some_and(|(wanted, has)| objects::contains_all(has, wanted))
                {
                    self.dirty.insert(Arc::clone(key));
                }
            }
        }
    }

    /// A slice changed.
    pub(crate) fn slice(&mut self, (old, new): Change<EndpointSlice>) {
        if let Some(old) = &old
            && let Some(service) = service_of(old)
        {
            if let Some(slices) = self.slices.get_mut(&service) {
                slices.remove(&key(&old.metadata));
                if slices.is_empty() {
                    self.slices.remove(&service);
                }
            }
            self.dirty.insert(service);
        }
        if let Some(new) = new
            && let Some(service) = service_of(&new)
        {
            self.dirty.insert(Arc::clone(&service));
            self.slices.entry(service).or_default().insert(key(&new.metadata), new);
        }
    }

    /// An Endpoints object changed.
    pub(crate) fn endpoints(&mut self, (old, new): Change<Endpoints>) {
        if let Some(old) = &old {
            let key = key(&old.metadata);
            self.endpoints.remove(&key);
            self.dirty.insert(key);
        }
        if let Some(new) = new {
            let key = key(&new.metadata);
            self.dirty.insert(Arc::clone(&key));
            self.endpoints.insert(key, new);
        }
    }

    /// A node changed: only its zone matters, and that hardly ever changes.
    pub(crate) fn node(&mut self, (old, new): &Change<Node>) {
        let (Some(any), before, after) = (new.as_ref().or(old.as_ref()), zone(old), zone(new))
        else {
            return;
        };
        if before == after {
            return;
        }
        let name = objects::name(&any.metadata).to_owned();
        match after {
            Some(zone) => drop(self.zones.insert(name, zone)),
            None => drop(self.zones.remove(&name)),
        }
        self.dirty.extend(self.services.keys().cloned());
    }

    /// The Services to look at; they are not named again until something of theirs changes.
    pub(crate) fn take_dirty(&mut self) -> BTreeSet<Key> {
        std::mem::take(&mut self.dirty)
    }

    /// Look at these again: what was decided for them did not come to be.
    pub(crate) fn touch(&mut self, keys: impl IntoIterator<Item = Key>) {
        self.dirty.extend(keys);
    }

    /// Whether a Service went since the last time that was asked.
    pub(crate) fn take_gone(&mut self, key: &Key) -> bool {
        self.gone.remove(key)
    }

    /// The Service of this key.
    pub(crate) fn get(&self, key: &Key) -> Option<&Arc<Service>> {
        self.services.get(key)
    }

    /// The Pods that a Service selects, by key.
    pub(crate) fn pods_of(&self, service: &Service) -> Vec<&Arc<Pod>> {
        let Some(wanted) = selector(service) else { return Vec::new() };
        let mut smallest: Option<&BTreeSet<Key>> = None;
        for hash in hashes(&service.metadata, Some(wanted)) {
            let Some(pods) = self.pods_by_label.get(&hash) else { return Vec::new() };
            if smallest.is_none_or(|known| pods.len() < known.len()) {
                smallest = Some(pods);
            }
        }
        let namespace = objects::namespace(&service.metadata);
        let pods = smallest.into_iter().flatten().filter_map(|key| self.pods.get(key));
        pods.filter(|pod| {
            objects::namespace(&pod.metadata) == namespace
                && pod
                    .metadata
                    .labels
                    .as_ref()
                    .is_some_and(|has| objects::contains_all(has, wanted))
        })
        .collect()
    }

    /// The slices that name this Service, whoever made them.
    pub(crate) fn slices_of(&self, key: &Key) -> Vec<&Arc<EndpointSlice>> {
        self.slices.get(key).into_iter().flat_map(BTreeMap::values).collect()
    }

    /// The Endpoints object of this name.
    pub(crate) fn endpoints_of(&self, key: &Key) -> Option<&Arc<Endpoints>> {
        self.endpoints.get(key)
    }

    /// The zone of each node that has one.
    pub(crate) fn zones(&self) -> &HashMap<String, String> {
        &self.zones
    }
}

/// The selector of a Service, if it selects anything.
pub(crate) fn selector(service: &Service) -> Option<&Labels> {
    service.spec.as_ref()?.selector.as_ref().filter(|selector| !selector.is_empty())
}

fn service_of(slice: &EndpointSlice) -> Option<Key> {
    let name = slice.metadata.labels.as_ref()?.get(SERVICE_NAME)?;
    Some(format!("{}/{name}", objects::namespace(&slice.metadata)).into())
}

fn zone(node: &Option<Arc<Node>>) -> Option<String> {
    node.as_ref()?.metadata.labels.as_ref()?.get(ZONE).filter(|zone| !zone.is_empty()).cloned()
}

fn remove(map: &mut HashMap<u64, BTreeSet<Key>>, hash: u64, key: &Key) {
    if let Some(keys) = map.get_mut(&hash) {
        keys.remove(key);
        if keys.is_empty() {
            map.remove(&hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn object<T: serde::de::DeserializeOwned>(value: Value) -> Option<Arc<T>> {
        Some(Arc::new(serde_json::from_value(value).unwrap()))
    }

    fn pod(name: &str, labels: &Value) -> Option<Arc<Pod>> {
        object(json!({ "metadata": { "name": name, "namespace": "d", "labels": labels } }))
    }

    fn service(name: &str, selector: &Value) -> Option<Arc<Service>> {
        object(
            json!({ "metadata": { "name": name, "namespace": "d" }, "spec": { "selector": selector } }),
        )
    }

    fn dirty(sources: &mut Sources) -> Vec<String> {
        sources.take_dirty().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_pod_touches_just_the_services_that_select_it() {
        let mut sources = Sources::default();
        sources.service((None, service("a", &json!({ "app": "a", "tier": "web" }))));
        sources.service((None, service("b", &json!({ "app": "b", "tier": "web" }))));
        sources.service((None, service("none", &json!({}))));
        assert_eq!(dirty(&mut sources), ["d/a", "d/b", "d/none"]);
        let one = pod("p", &json!({ "app": "a", "tier": "web", "x": "y" }));
        sources.pod((None, one.clone()));
        assert_eq!(dirty(&mut sources), ["d/a"]);
        let moved = pod("p", &json!({ "app": "b", "tier": "web" }));
        sources.pod((one, moved.clone()));
        assert_eq!(dirty(&mut sources), ["d/a", "d/b"]);
        let b = Arc::from("d/b");
        assert_eq!(sources.pods_of(sources.get(&b).unwrap()).len(), 1);
        sources.pod((moved, None));
        assert_eq!(dirty(&mut sources), ["d/b"]);
        assert!(sources.pods_of(sources.get(&b).unwrap()).is_empty());
        sources.service((service("b", &json!({ "app": "b", "tier": "web" })), None));
        assert!(sources.take_gone(&b) && !sources.take_gone(&b));
        sources.pod((None, pod("q", &json!({ "app": "b", "tier": "web" }))));
        assert_eq!(dirty(&mut sources), ["d/b"], "only for the Service itself");
    }

    #[test]
    fn a_zone_touches_all_and_other_news_of_a_node_none() {
        let node = |zone: &str, more: &str| -> Option<Arc<Node>> {
            let labels = json!({ ZONE: zone, "more": more });
            object(json!({ "metadata": { "name": "n", "labels": labels } }))
        };
        let mut sources = Sources::default();
        sources.service((None, service("a", &json!({ "app": "a" }))));
        dirty(&mut sources);
        sources.node(&(None, node("z", "1")));
        assert_eq!(dirty(&mut sources), ["d/a"]);
        sources.node(&(node("z", "1"), node("z", "2")));
        assert!(dirty(&mut sources).is_empty());
        sources.node(&(node("z", "2"), None));
        assert_eq!(dirty(&mut sources), ["d/a"]);
        assert!(sources.zones().is_empty());
    }
}
