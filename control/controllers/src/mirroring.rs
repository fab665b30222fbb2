//! EndpointSlices for Endpoints that users wrote by hand, for Services without a selector.
//!
//! In: a Service, its Endpoints and its slices. Out: slices to create, change and delete. Pure.
//! Refuses: Endpoints that ask not to be mirrored, and slices that others made.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{EndpointAddress, EndpointSubset, Endpoints, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointSlice};

use crate::endpoints::is_ours;
use crate::endpointslice::pack::{Owner, Ports, delete, fill, identity};
use crate::endpointslice::{is_managed, is_of, mark};
use crate::objects;
use crate::sources::{Key, Sources, selector};
use crate::write::Write;

const MANAGER: &str = "endpointslicemirroring-controller.k8s.io";
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
/// Elections of old kept their leader in an annotation of Endpoints.
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
/// What upstream mirrors of one subset.
const ADDRESSES_MAX: usize = 1000;

/// What has to be written for the Service of this key now.
pub(crate) fn plan(sources: &Sources, key: &Key) -> Vec<Write> {
    let there: Vec<&Arc<EndpointSlice>> = sources
        .slices_of(key)
        .into_iter()
        .filter(|slice| is_managed(slice, MANAGER) && !objects::is_deleting(&slice.metadata))
        .collect();
    let mirrored = sources.get(key).zip(sources.endpoints_of(key));
    match mirrored.filter(|(service, endpoints)| wants(service, endpoints)) {
        Some((service, endpoints)) => mirror(service, endpoints, &there),
        None => there.into_iter().map(|slice| delete(slice)).collect(),
    }
}

fn wants(service: &Service, endpoints: &Endpoints) -> bool {
    let labels = endpoints.metadata.labels.as_ref();
    let skipped = labels.and_then(|l| l.get(SKIP)).is_some_and(|skip| skip == "true");
    selector(service).is_none()
        && !skipped
        && !is_ours(endpoints)
        && objects::annotation(&endpoints.metadata, LEADER).is_none()
        && !objects::is_deleting(&endpoints.metadata)
}

type Wanted = BTreeMap<Ports, BTreeMap<String, Endpoint>>;

fn mirror(service: &Service, endpoints: &Endpoints, there: &[&Arc<EndpointSlice>]) -> Vec<Write> {
    let mut names: BTreeSet<String> =
        there.iter().map(|slice| objects::name(&slice.metadata).to_owned()).collect();
    let labels = endpoints.metadata.labels.clone().unwrap_or_default();
    let mut writes = Vec::new();
    let mut odd = there.to_vec();
    for family in ["IPv4", "IPv6"] {
        let owner = Owner {
            meta: &endpoints.metadata,
            reference: objects::controller_reference("v1", "Endpoints", &endpoints.metadata),
            labels: mark(labels.clone(), objects::name(&service.metadata), MANAGER),
            family,
            size_max: ADDRESSES_MAX,
        };
        for (ports, mut wanted) in wanted(endpoints, family) {
            let fits = |slice: &&&Arc<EndpointSlice>| {
                slice.address_type == family && Ports::of(slice) == ports
            };
            let mine: Vec<_> = there.iter().filter(fits).copied().collect();
            odd.retain(|slice| !fits(&slice));
            writes.extend(fill(&owner, &ports, &mut wanted, &mine, &mut names));
        }
    }
    writes.extend(odd.into_iter().map(|slice| delete(slice)));
    writes
}

/// Endpoints of one family by their ports and address.
fn wanted(endpoints: &Endpoints, family: &str) -> Wanted {
    let mut wanted = Wanted::new();
    for subset in endpoints.subsets.iter().flatten() {
        let ready = subset.addresses.iter().flatten().map(|address| (address, true));
        let waiting = subset.not_ready_addresses.iter().flatten().map(|address| (address, false));
        let all = ready.chain(waiting).filter(|(address, _)| is_of(&address.ip, family));
        for (address, ready) in all.take(ADDRESSES_MAX) {
            let endpoint = endpoint(address, ready);
            let same = wanted.entry(ports(subset)).or_default();
            same.entry(identity(&endpoint)).or_insert(endpoint);
        }
    }
    wanted
}

fn ports(subset: &EndpointSubset) -> Ports {
    let ports = subset.ports.iter().flatten().map(|port| {
        let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
        let name = port.name.clone().unwrap_or_default();
        (name, protocol, port.port, port.app_protocol.clone())
    });
    let mut ports: Vec<_> = ports.collect();
    ports.sort();
    Ports(ports)
}

fn endpoint(address: &EndpointAddress, ready: bool) -> Endpoint {
    Endpoint {
        addresses: vec![address.ip.clone()],
        conditions: Some(EndpointConditions {
            ready: Some(ready),
            ..EndpointConditions::default()
        }),
        hostname: address.hostname.clone().filter(|name| !name.is_empty()),
        node_name: address.node_name.clone(),
        target_ref: address.target_ref.clone(),
        ..Endpoint::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::sources::key;

    fn run(service: Value, endpoints: Value, slices: Vec<Value>) -> Vec<Write> {
        let mut sources = Sources::default();
        let service: Arc<Service> = Arc::new(serde_json::from_value(service).unwrap());
        let key = key(&service.metadata);
        sources.service((None, Some(service)));
        let endpoints: Arc<Endpoints> = Arc::new(serde_json::from_value(endpoints).unwrap());
        sources.endpoints((None, Some(endpoints)));
        for slice in slices {
            sources.slice((None, Some(Arc::new(serde_json::from_value(slice).unwrap()))));
        }
        plan(&sources, &key)
    }

    fn service(selector: &Value) -> Value {
        json!({ "metadata": { "name": "db", "namespace": "d", "uid": "s" }, "spec": { "selector": selector } })
    }

    fn endpoints(meta: &Value) -> Value {
        let mut endpoints = json!({
            "metadata": { "name": "db", "namespace": "d", "uid": "e", "labels": { "a": "b" } },
            "subsets": [{
                "addresses": [{ "ip": "192.0.2.7" }, { "ip": "2001:db8::7" }],
                "notReadyAddresses": [{ "ip": "192.0.2.8" }],
                "ports": [{ "name": "sql", "port": 5432 }],
            }],
        });
        for (field, value) in meta.as_object().unwrap() {
            endpoints["metadata"][field] = value.clone();
        }
        endpoints
    }

    fn created(writes: &[Write]) -> Vec<Value> {
        let object = |write: &Write| match write {
            Write::Create { object, .. } => Some(Value::clone(object)),
            _ => None,
        };
        writes.iter().filter_map(object).collect()
    }

    #[test]
    fn endpoints_by_hand_become_slices_of_each_family() {
        let made = created(&run(service(&json!(null)), endpoints(&json!({})), Vec::new()));
        let [four, six] = made.as_slice() else { panic!("{made:?}") };
        assert_eq!(
            (four["addressType"].as_str(), six["addressType"].as_str()),
            (Some("IPv4"), Some("IPv6"))
        );
        assert_eq!(four["endpoints"][0]["conditions"], json!({ "ready": true }));
        assert_eq!(four["endpoints"][1]["conditions"], json!({ "ready": false }));
        assert_eq!(four["ports"][0]["port"], 5432);
        let labels = &four["metadata"]["labels"];
        assert_eq!(
            (labels["a"].as_str(), labels["kubernetes.io/service-name"].as_str()),
            (Some("b"), Some("db"))
        );
        assert_eq!(four["metadata"]["ownerReferences"][0]["kind"], "Endpoints");
        let again = run(service(&json!({})), endpoints(&json!({})), made.clone());
        assert!(again.is_empty(), "{again:?}");
        // A selector takes over; what was mirrored goes.
        let gone = run(service(&json!({ "a": "b" })), endpoints(&json!({})), made);
        assert_eq!(gone.len(), 2);
    }

    #[test]
    fn who_does_not_want_it_is_left_alone() {
        for meta in [
            json!({ "labels": { SKIP: "true" } }),
            json!({ "annotations": { LEADER: "{}" } }),
            json!({ "labels": { "endpoints.kubernetes.io/managed-by": "endpoint-controller" } }),
        ] {
            assert!(run(service(&json!(null)), endpoints(&meta), Vec::new()).is_empty(), "{meta}");
        }
        let manual = json!({
            "metadata": { "name": "mine", "namespace": "d", "labels": { "kubernetes.io/service-name": "db" } },
            "addressType": "IPv4", "endpoints": [],
        });
        let writes = run(
            service(&json!(null)),
            endpoints(&json!({ "labels": { SKIP: "true" } })),
            vec![manual],
        );
        assert!(writes.is_empty(), "{writes:?}");
    }
}
