//! apps/v1 StatefulSet.

use serde_json::{Value, json};

use super::rules::{self, AGE, BASE, NAME, SCALE, col, status, wide};
use super::workload::{self, number};
use super::{Causes, KindInfo, persistentvolumeclaim};
use crate::meta::{self, list, or_set};
use crate::time::Timestamp;
use crate::validate::{self, forbidden, invalid};

/// What an update may change of the spec.
const MUTABLE: [&str; 7] = [
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];

/// StatefulSet.
pub static STATEFUL_SET: KindInfo = KindInfo {
    group: "apps",
    kind: "StatefulSet",
    plural: "statefulsets",
    singular: "statefulset",
    short_names: &["sts"],
    categories: &["all"],
    status_subresource: true,
    generation: true,
    scale: Some(workload::SCALE_PATHS),
    subresources: &[SCALE, status("StatefulSet")],
    columns: &[NAME, col("Ready"), AGE, wide("Containers"), wide("Images")],
    cells,
    default,
    validate,
    validate_update,
    ..BASE
};

fn default(object: &mut Value) {
    workload::default_template(object);
    let Some(spec) = object.get_mut("spec").filter(|s| s.is_object()) else { return };
    for claim in meta::items(spec, "volumeClaimTemplates") {
        persistentvolumeclaim::default(claim);
        if let Some(claim) = claim.as_object_mut() {
            or_set(claim, "apiVersion", "v1");
            or_set(claim, "kind", "PersistentVolumeClaim");
        }
    }
    let spec = meta::map(object, "spec");
    or_set(spec, "podManagementPolicy", "OrderedReady");
    or_set(spec, "replicas", 1);
    or_set(spec, "revisionHistoryLimit", 10);
    or_set(spec, "updateStrategy", json!({}));
    or_set(spec, "persistentVolumeClaimRetentionPolicy", json!({}));
    if let Some(policy) =
        spec.get_mut("persistentVolumeClaimRetentionPolicy").and_then(Value::as_object_mut)
    {
        or_set(policy, "whenDeleted", "Retain");
        or_set(policy, "whenScaled", "Retain");
    }
    let Some(strategy) = spec.get_mut("updateStrategy") else { return };
    if let Some(strategy) = strategy.as_object_mut() {
        or_set(strategy, "type", "RollingUpdate");
    }
    if strategy["type"] == "RollingUpdate" {
        or_set(meta::map(strategy, "rollingUpdate"), "partition", 0);
    }
    or_set(meta::map(object, "status"), "replicas", 0);
    or_set(meta::map(object, "status"), "availableReplicas", 0);
}

fn validate(object: &Value, causes: &mut Causes) {
    let spec = &object["spec"];
    let policy = &spec["podManagementPolicy"];
    if *policy != "OrderedReady" && *policy != "Parallel" {
        let message = "must be 'OrderedReady' or 'Parallel'";
        causes.push(invalid("spec.podManagementPolicy", policy.clone(), message));
    }
    let strategy = &spec["updateStrategy"];
    let kind = strategy["type"].as_str().unwrap_or_default();
    match kind {
        "OnDelete" if strategy["rollingUpdate"].is_object() => {
            let message = "only allowed for updateStrategy 'RollingUpdate'";
            let shown = strategy["rollingUpdate"].clone();
            causes.push(invalid("spec.updateStrategy.rollingUpdate", shown, message));
        }
        "OnDelete" | "RollingUpdate" => {}
        other => {
            let message = "must be 'RollingUpdate' or 'OnDelete'";
            causes.push(invalid("spec.updateStrategy", json!({ "type": other }), message));
        }
    }
    let partition = &strategy["rollingUpdate"]["partition"];
    rules::not_negative(partition, "spec.updateStrategy.rollingUpdate.partition", causes);
    let retention = &spec["persistentVolumeClaimRetentionPolicy"];
    for when in ["whenDeleted", "whenScaled"] {
        let field = format!("spec.persistentVolumeClaimRetentionPolicy.{when}");
        rules::one_of(&retention[when], &field, &["Retain", "Delete"], causes);
    }
    rules::not_negative(&spec["replicas"], "spec.replicas", causes);
    rules::not_negative(&spec["ordinals"]["start"], "spec.ordinals.start", causes);
    for (i, claim) in list(spec, "volumeClaimTemplates").iter().enumerate() {
        let at = format!("spec.volumeClaimTemplates[{i}]");
        persistentvolumeclaim::validate_spec(&claim["spec"], &format!("{at}.spec"), causes);
    }
    workload::validate_lasting(object, "StatefulSet", causes);
    if let Some(service) = spec["serviceName"].as_str().filter(|s| !s.is_empty()) {
        let problems = validate::dns_1035_label(service, false);
        causes.extend(problems.iter().map(|p| invalid("spec.serviceName", service, p)));
    }
}

fn validate_update(new: &Value, old: &Value, causes: &mut Causes) {
    if rules::without(&new["spec"], &MUTABLE) != rules::without(&old["spec"], &MUTABLE) {
        causes.push(forbidden("spec", "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"));
    }
}

fn cells(o: &Value, now: Timestamp) -> Vec<Value> {
    let ready =
        format!("{}/{}", number(o, "status", "readyReplicas"), number(o, "spec", "replicas"));
    let [containers, images, _] = workload::wide_cells(o);
    vec![rules::name_cell(o), ready.into(), rules::age_cell(o, now), containers, images]
}
