//! Reads the state that each planner wants from the registry's cache.
//!
//! In: the cache. Out: states. Decides nothing.

mod dependents;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use beeline_api::{KindInfo, kinds};
use beeline_registry::{Client, Object, View};
use k8s_openapi::api::core::v1::Service;
use serde_json::Value;

use crate::write::ObjectId;
use crate::{
    apiservice, definition, deployment, disruption, loadbalancer, namespace, node, replicaset,
    resourcequota, serviceaccount,
};

pub(crate) use dependents::Dependents;

pub(crate) fn deployments(client: &Client) -> deployment::State {
    deployment::State {
        deployments: client.cached(),
        replica_sets: client.cached(),
        pods: client.cached(),
    }
}

pub(crate) fn replica_sets(client: &Client) -> replicaset::State {
    // ReplicaSets first: a Pod made for one that is not seen yet does no harm, the reverse would.
    replicaset::State { replica_sets: client.cached(), pods: client.cached() }
}

/// The few Services that are of type LoadBalancer, among all.
#[derive(Default)]
pub(crate) struct Balanced {
    seen: View,
    services: BTreeMap<(String, String), Arc<Object>>,
}

impl Balanced {
    pub(crate) fn read(&mut self, client: &Client) -> loadbalancer::State {
        let newest = client.registry().view(&kinds::SERVICE);
        for (old, new) in newest.since(&self.seen) {
            if let Some(old) = old {
                self.services.remove(&(old.namespace().to_owned(), old.name().to_owned()));
            }
            if let Some(new) = new.filter(|new| new.value["spec"]["type"] == "LoadBalancer") {
                let key = (new.namespace().to_owned(), new.name().to_owned());
                self.services.insert(key, new);
            }
        }
        self.seen = newest;
        let services: Vec<Arc<Service>> =
            self.services.values().filter_map(|service| service.typed().ok()).collect();
        let local: BTreeSet<&str> = services
            .iter()
            .filter(|service| loadbalancer::is_local(service))
            .filter_map(|service| service.metadata.namespace.as_deref())
            .collect();
        let slices = local.into_iter().flat_map(|namespace| client.cached_in(Some(namespace)));
        loadbalancer::State { slices: slices.collect(), nodes: client.cached(), services }
    }
}

pub(crate) fn disruptions(client: &Client) -> disruption::State {
    if client.registry().view(&kinds::POD_DISRUPTION_BUDGET).is_empty() {
        return disruption::State::default();
    }
    disruption::State {
        // Pods first: an eviction notes its pod in the budget before it deletes it.
        pods: client.cached(),
        budgets: client.cached(),
        replica_sets: client.cached(),
        deployments: client.cached(),
        stateful_sets: client.cached(),
        replication_controllers: client.cached(),
    }
}

pub(crate) fn quotas(client: &Client) -> resourcequota::State {
    resourcequota::State { quotas: client.cached(), uses: client.registry().quota_uses() }
}

pub(crate) fn accounts(client: &Client, ca_pem: Option<String>) -> serviceaccount::State {
    serviceaccount::State {
        namespaces: client.cached(),
        accounts: client.cached(),
        config_maps: client.cached(),
        ca_pem,
    }
}

/// Reviews are served, too, though none is stored; the group of APIServices is the one that is not told of.
pub(crate) fn api_services(
    client: &Client,
    authorities: Option<apiservice::Authorities>,
) -> apiservice::State {
    let registry = client.registry();
    let served = registry.kinds();
    let of =
        |kind: &KindInfo| (kind.group.to_owned(), kind.version.to_owned(), kind.custom.is_some());
    let reviews = ["authentication.k8s.io", "authorization.k8s.io"];
    let reviews = reviews.map(|group| (group.to_owned(), "v1".to_owned(), false));
    let told = served.served().filter(|kind| kind.group != kinds::API_SERVICE.group);
    let there = |object: &Arc<Object>| apiservice::There {
        object: id(object),
        value: object.value.clone(),
    };
    let config = registry.cached(
        &kinds::CONFIG_MAP,
        Some("kube-system"),
        "extension-apiserver-authentication",
    );
    apiservice::State {
        served: told.map(of).chain(reviews).collect(),
        services: registry.snapshot(&kinds::API_SERVICE, None).iter().map(there).collect(),
        config: config.as_ref().map(there),
        authorities,
    }
}

pub(crate) fn nodes(client: &Client, config: &crate::Config) -> node::State {
    node::State {
        // Pods first: a Pod is bound to a node that existed then.
        pods: client.cached(),
        nodes: client.cached(),
        leases: client.cached_in(Some("kube-node-lease")),
        started: config.started,
        networks: config.networks.clone(),
    }
}

pub(crate) fn namespaces(client: &Client) -> namespace::State {
    let namespaces = client.cached::<k8s_openapi::api::core::v1::Namespace>();
    let mut content = Vec::new();
    let kinds = client.registry().kinds();
    for ending in namespaces.iter().filter(|n| n.metadata.deletion_timestamp.is_some()) {
        let name = ending.metadata.name.as_deref();
        for kind in kinds.iter().filter(|kind| kind.namespaced) {
            content.extend(client.registry().snapshot(kind, name).iter().map(|object| {
                namespace::Content { kind, object: id(object), deleting: object.deleting() }
            }));
        }
    }
    namespace::State { namespaces, content }
}

/// All definitions.
pub(crate) fn definitions(client: &Client) -> definition::State {
    let all = client.registry().snapshot(&kinds::CUSTOM_RESOURCE_DEFINITION, None);
    let one = |object: &Arc<Object>| defined(object, Vec::new());
    definition::State { definitions: all.iter().map(one).collect() }
}

/// Definitions that are being deleted, and what is left of their kinds.
pub(crate) fn ending_definitions(client: &Client) -> definition::State {
    let registry = client.registry();
    let all = registry.snapshot(&kinds::CUSTOM_RESOURCE_DEFINITION, None);
    let served = registry.kinds();
    let one = |object: &Arc<Object>| {
        let group = &object.value["spec"]["group"];
        let plural = &object.value["spec"]["names"]["plural"];
        let own = served.defined().filter(|kind| *group == kind.group && *plural == kind.plural);
        let instances = own.flat_map(|kind| {
            let left = registry.snapshot(kind, None);
            left.iter().map(|o| (kind, id(o), o.deleting())).collect::<Vec<_>>()
        });
        defined(object, instances.collect())
    };
    let ending = all.iter().filter(|object| object.deleting());
    definition::State { definitions: ending.map(one).collect() }
}

fn defined(
    object: &Arc<Object>,
    instances: Vec<(&'static KindInfo, ObjectId, bool)>,
) -> definition::Defined {
    definition::Defined { object: id(object), value: object.value.clone(), instances }
}

fn id(object: &Object) -> ObjectId {
    ObjectId {
        namespace: object.namespace().to_owned(),
        name: object.name().to_owned(),
        uid: object.uid().to_owned(),
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn parse<T: serde::de::DeserializeOwned + Default>(value: &Value) -> T {
    T::deserialize(value).unwrap_or_default()
}
