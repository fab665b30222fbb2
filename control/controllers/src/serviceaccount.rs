//! What every Namespace has from the start: ServiceAccount `default` and ConfigMap `kube-root-ca.crt`.
//!
//! In: Namespaces, ServiceAccounts, ConfigMaps and the CA's certificate. Out: what is missing or differs. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use beeline_api::kinds;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::json;

use crate::objects;
use crate::write::{ObjectId, Part, Write};

const ROOT_CA: &str = "kube-root-ca.crt";

/// All that this is decided from.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Every Namespace.
    pub namespaces: Vec<Arc<Namespace>>,
    /// Every ServiceAccount.
    pub accounts: Vec<Arc<ServiceAccount>>,
    /// Every ConfigMap.
    pub config_maps: Vec<Arc<ConfigMap>>,
    /// The certificate that API clients in Pods trust; none: no ConfigMaps.
    pub ca_pem: Option<String>,
}

/// What has to be written now.
pub fn plan(state: &State) -> Vec<Write> {
    let has_account: BTreeSet<&str> = state
        .accounts
        .iter()
        .filter(|account| objects::name(&account.metadata) == "default")
        .map(|account| objects::namespace(&account.metadata))
        .collect();
    let ca_of: BTreeMap<&str, &Arc<ConfigMap>> = state
        .config_maps
        .iter()
        .filter(|map| objects::name(&map.metadata) == ROOT_CA)
        .map(|map| (objects::namespace(&map.metadata), map))
        .collect();
    let mut writes = Vec::new();
    for namespace in state.namespaces.iter().filter(|n| !objects::is_deleting(&n.metadata)) {
        let name = objects::name(&namespace.metadata);
        if !has_account.contains(name) {
            let account =
                ServiceAccount { metadata: meta(name, "default"), ..ServiceAccount::default() };
            writes.push(Write::create(&kinds::SERVICE_ACCOUNT, &account));
        }
        if let Some(pem) = &state.ca_pem {
            writes.extend(root_ca(name, pem, ca_of.get(name).copied()));
        }
    }
    writes
}

fn root_ca(namespace: &str, pem: &str, known: Option<&Arc<ConfigMap>>) -> Option<Write> {
    let data = BTreeMap::from([("ca.crt".to_owned(), pem.to_owned())]);
    let Some(known) = known else {
        let map = ConfigMap {
            metadata: meta(namespace, ROOT_CA),
            data: Some(data),
            ..ConfigMap::default()
        };
        return Some(Write::create(&kinds::CONFIG_MAP, &map));
    };
    if known.data.as_ref().and_then(|d| d.get("ca.crt")).is_some_and(|there| there == pem) {
        return None;
    }
    Some(Write::Patch {
        kind: &kinds::CONFIG_MAP,
        object: ObjectId::of(&known.metadata),
        part: Part::Main,
        patch: Box::new(json!({ "data": data })),
    })
}

fn meta(namespace: &str, name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(namespace.to_owned()),
        ..ObjectMeta::default()
    }
}
