//! ResourceQuotas: what their status says of how much is used.
//!
//! In: all quotas, and how much of each is used as the registry counts it. Out: status. Pure.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use beeline_api::kinds;
use beeline_registry::QuotaUse;
use k8s_openapi::api::core::v1::{ResourceQuota, ResourceQuotaStatus};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::objects;
use crate::write::{ObjectId, Write};

/// All that the status of quotas is decided from.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Every quota.
    pub quotas: Vec<Arc<ResourceQuota>>,
    /// How much of each is used.
    pub uses: Vec<QuotaUse>,
}

/// What has to be written now.
pub fn plan(state: &State) -> Vec<Write> {
    let uses: HashMap<(&str, &str), &QuotaUse> =
        state.uses.iter().map(|of| ((of.namespace.as_str(), of.name.as_str()), of)).collect();
    let one = |quota: &Arc<ResourceQuota>| {
        let meta = &quota.metadata;
        let of = uses.get(&(objects::namespace(meta), objects::name(meta)))?;
        status(quota, of)
    };
    state.quotas.iter().filter_map(one).collect()
}

fn status(quota: &ResourceQuota, of: &QuotaUse) -> Option<Write> {
    let hard = quota.spec.as_ref().and_then(|spec| spec.hard.clone()).unwrap_or_default();
    let known = |resource: &String| {
        let amount = of.used.get(resource).cloned().unwrap_or_else(|| "0".to_owned());
        (resource.clone(), Quantity(amount))
    };
    let used: BTreeMap<String, Quantity> = hard.keys().map(known).collect();
    let old = quota.status.clone().unwrap_or_default();
    let new = ResourceQuotaStatus { hard: Some(hard), used: Some(used) };
    Write::status(&kinds::RESOURCE_QUOTA, ObjectId::of(&quota.metadata), &old, &new)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn status_follows_what_is_limited_and_used() {
        let quota = |status: serde_json::Value| -> Arc<ResourceQuota> {
            let quota = json!({ "metadata": { "name": "q", "namespace": "ns" },
                "spec": { "hard": { "pods": "2", "cpu": "1" } }, "status": status });
            Arc::new(serde_json::from_value(quota).unwrap())
        };
        let planned = |status| {
            let used = BTreeMap::from([("pods".to_owned(), "1".to_owned())]);
            let of = QuotaUse { namespace: "ns".to_owned(), name: "q".to_owned(), used };
            let writes = plan(&State { quotas: vec![quota(status)], uses: vec![of] });
            writes.iter().map(Write::to_string).collect::<Vec<_>>()
        };
        assert_eq!(
            planned(json!({})),
            [
                r#"patch ResourceQuota/status ns/q {"status":{"hard":{"cpu":"1","pods":"2"},"used":{"cpu":"0","pods":"1"}}}"#
            ]
        );
        let current =
            json!({ "hard": { "pods": "2", "cpu": "1" }, "used": { "pods": "1", "cpu": "0" } });
        assert!(planned(current).is_empty());
        let stale =
            json!({ "hard": { "pods": "9", "gone": "1" }, "used": { "pods": "1", "gone": "1" } });
        assert_eq!(
            planned(stale),
            [
                r#"patch ResourceQuota/status ns/q {"status":{"hard":{"cpu":"1","gone":null,"pods":"2"},"used":{"cpu":"0","gone":null}}}"#
            ]
        );
    }
}
