//! Planners that look only at what changed since they last looked.
//!
//! In: views of the registry's cache. Out: writes for the Services that are touched. What was decided and did not come
//! to be is decided again.

use std::collections::BTreeSet;
use std::sync::Arc;

use beeline_api::{KindInfo, kinds};
use beeline_registry::{Client, Difference, Object, View};
use serde::de::DeserializeOwned;

use crate::objects::Timestamp;
use crate::sources::{Change, Key, Sources};
use crate::write::Write;
use crate::{endpoints, endpointslice, mirroring};

/// What a reconciler's loop calls.
pub(crate) trait Planner: Send {
    /// What has to be written now.
    fn plan(&mut self, client: &Client, now: Timestamp) -> Vec<Write>;

    /// The writes of the last plan did not all come to be.
    fn failed(&mut self) {}
}

impl<F: FnMut(&Client, Timestamp) -> Vec<Write> + Send> Planner for F {
    fn plan(&mut self, client: &Client, now: Timestamp) -> Vec<Write> {
        self(client, now)
    }
}

/// Which writes follow from the sources of one Service.
type Decide = fn(&mut Sources, &Key) -> Vec<Write>;

/// Follows some kinds and decides Service by Service.
pub(crate) struct Follower {
    views: Vec<(&'static KindInfo, View)>,
    sources: Sources,
    decide: Decide,
    last: BTreeSet<Key>,
}

impl Follower {
    /// Slices of Services with selectors, and of Endpoints made by hand.
    pub(crate) fn slices() -> Self {
        // Services first: what is there without one is left over.
        let kinds =
            [&kinds::SERVICE, &kinds::NODE, &kinds::POD, &kinds::ENDPOINTS, &kinds::ENDPOINT_SLICE];
        Self::new(&kinds, |sources, key| {
            let mut writes = endpointslice::plan(sources, key);
            writes.extend(mirroring::plan(sources, key));
            writes
        })
    }

    /// Endpoints of Services with selectors.
    pub(crate) fn endpoints() -> Self {
        Self::new(&[&kinds::SERVICE, &kinds::POD, &kinds::ENDPOINTS], |sources, key| {
            let gone = sources.take_gone(key);
            endpoints::plan(sources, key, gone).into_iter().collect()
        })
    }

    fn new(kinds: &[&'static KindInfo], decide: Decide) -> Self {
        let views = kinds.iter().map(|kind| (*kind, View::default())).collect();
        Self { views, sources: Sources::default(), decide, last: BTreeSet::new() }
    }

    fn catch_up(&mut self, client: &Client) {
        for (kind, view) in &mut self.views {
            let newest = client.registry().view(kind);
            for difference in newest.since(view) {
                take(&mut self.sources, kind, difference);
            }
            *view = newest;
        }
    }
}

impl Planner for Follower {
    fn plan(&mut self, client: &Client, _now: Timestamp) -> Vec<Write> {
        self.catch_up(client);
        self.last = self.sources.take_dirty();
        let (sources, decide) = (&mut self.sources, self.decide);
        self.last.iter().flat_map(|key| decide(sources, key)).collect()
    }

    fn failed(&mut self) {
        self.sources.touch(std::mem::take(&mut self.last));
    }
}

fn take(sources: &mut Sources, kind: &KindInfo, difference: Difference) {
    match kind.kind {
        "Service" => sources.service(typed(difference)),
        "Pod" => sources.pod(typed(difference)),
        "EndpointSlice" => sources.slice(typed(difference)),
        "Endpoints" => sources.endpoints(typed(difference)),
        "Node" => sources.node(&typed(difference)),
        other => tracing::error!(kind = other, "no source of endpoints"),
    }
}

fn typed<T: DeserializeOwned + Send + Sync + 'static>((old, new): Difference) -> Change<T> {
    let typed = |object: Arc<Object>| {
        object.typed::<T>().inspect_err(|error| tracing::error!(%error, "not followed")).ok()
    };
    (old.and_then(typed), new.and_then(typed))
}

#[cfg(test)]
mod tests {
    use beeline_kit::Tasks;
    use beeline_registry::{Caller, Options, Patch, Registry, Subresource, Target, WriteOptions};
    use beeline_store::Memory;
    use serde_json::{Value, json};

    use super::*;

    const SERVICES: usize = 300;

    struct Bench {
        client: Client,
        _tasks: Tasks,
    }

    impl Bench {
        async fn new() -> Self {
            let tasks = Tasks::new();
            let options = Options { node_ports: (30_000, 32_767), ..Options::default() };
            let registry = Registry::open(Arc::new(Memory::new()), options, &tasks).await.unwrap();
            Self { client: registry.client(Caller::system("controller-manager")), _tasks: tasks }
        }

        async fn create(&self, kind: &'static KindInfo, object: Value) {
            let target = Target::collection(kind, Some("default"));
            let (registry, by) = (self.client.registry(), Caller::system("test"));
            registry.create(&by, &target, object, &WriteOptions::default()).await.unwrap();
        }

        async fn status(&self, name: &str, status: Value) {
            let target =
                Target::object(&kinds::POD, Some("default"), name).sub(Subresource::Status);
            let (registry, by) = (self.client.registry(), Caller::system("test"));
            let patch = Patch::Merge(json!({ "status": status }));
            registry.patch(&by, &target, patch, &WriteOptions::default()).await.unwrap();
        }

        fn plan(&self, follower: &mut Follower) -> Vec<Write> {
            follower.plan(&self.client, Timestamp::UNIX_EPOCH)
        }
    }

    #[tokio::test]
    async fn one_change_among_many_services_is_one_look() {
        let bench = Bench::new().await;
        for n in 0..SERVICES {
            let (name, labels) =
                (format!("s{n}"), json!({ "app": format!("a{n}"), "tier": "web" }));
            let spec = json!({ "selector": labels, "ports": [{ "port": 80 }] });
            let service = json!({ "metadata": { "name": name }, "spec": spec });
            bench.create(&kinds::SERVICE, service).await;
            let spec = json!({ "containers": [{ "name": "c", "image": "i" }], "nodeName": "n1" });
            let pod = json!({ "metadata": { "name": name, "labels": labels }, "spec": spec });
            bench.create(&kinds::POD, pod).await;
        }
        let (mut slices, mut endpoints) = (Follower::slices(), Follower::endpoints());
        assert_eq!(bench.plan(&mut slices).len(), SERVICES);
        assert_eq!(bench.plan(&mut endpoints).len(), SERVICES);
        // Nothing was written, which the loops would have told the planners.
        slices.failed();
        endpoints.failed();
        for writes in [bench.plan(&mut slices), bench.plan(&mut endpoints)] {
            assert_eq!(writes.len(), SERVICES, "what did not come to be is planned again");
            assert!(crate::execute::execute(&bench.client, writes).await);
        }
        assert!(bench.plan(&mut slices).is_empty() && bench.plan(&mut endpoints).is_empty());
        assert!(bench.plan(&mut slices).is_empty() && slices.last.is_empty(), "nothing new");
        let conditions = json!([{ "type": "Ready", "status": "True" }]);
        let ready = json!({ "phase": "Running", "podIP": "10.42.0.7", "conditions": conditions });
        bench.status("s7", ready).await;
        for follower in [&mut slices, &mut endpoints] {
            let writes = bench.plan(follower);
            assert_eq!(follower.last.len(), 1, "just the one Service");
            let texts: Vec<String> = writes.iter().map(ToString::to_string).collect();
            // A slice with the port in the place of the one that said there is nothing.
            assert!(
                !texts.is_empty() && texts.iter().all(|t| t.contains("default/s7")),
                "{texts:?}"
            );
        }
    }

    #[tokio::test]
    async fn endpoints_by_hand_go_with_their_service() {
        let bench = Bench::new().await;
        let service =
            json!({ "metadata": { "name": "db" }, "spec": { "ports": [{ "port": 5432 }] } });
        let endpoints = json!({ "metadata": { "name": "db" }, "subsets": [{ "addresses": [{ "ip": "192.0.2.7" }] }] });
        let mut planner = Follower::endpoints();
        bench.create(&kinds::ENDPOINTS, endpoints).await;
        assert!(bench.plan(&mut planner).is_empty(), "they may come first");
        bench.create(&kinds::SERVICE, service).await;
        assert!(bench.plan(&mut planner).is_empty());
        let target = Target::object(&kinds::SERVICE, Some("default"), "db");
        let (registry, by) = (bench.client.registry(), Caller::system("test"));
        registry.delete(&by, &target, &beeline_registry::DeleteOptions::default()).await.unwrap();
        let writes = bench.plan(&mut planner);
        assert_eq!(writes.len(), 1);
        assert_eq!(writes[0].to_string(), "delete Endpoints default/db");
        assert!(crate::execute::execute(&bench.client, writes).await);
        assert!(bench.plan(&mut planner).is_empty());
    }
}
