//! core/v1 ResourceQuota.

use serde_json::Value;

use super::rules::{self, AGE, BASE, NAME, col, status};
use super::{Causes, KindInfo};
use crate::meta::{self, list, text};
use crate::quantity;
use crate::time::Timestamp;
use crate::validate::{self, invalid, required};

/// Resources that a quota may name without a domain; besides, counts of objects: `count/<resource>.<group>`.
const STANDARD: [&str; 19] = [
    "configmaps",
    "cpu",
    "ephemeral-storage",
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "memory",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
    "requests.storage",
    "resourcequotas",
    "secrets",
    "services",
    "services.loadbalancers",
    "services.nodeports",
];
/// Those that have to be whole numbers.
const WHOLE: [&str; 9] = [
    "configmaps",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "services",
    "services.loadbalancers",
    "services.nodeports",
];
const SCOPES: [&str; 7] = [
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "PriorityClass",
    "Terminating",
    "VolumeAttributesClass",
];

/// ResourceQuota.
pub static RESOURCE_QUOTA: KindInfo = KindInfo {
    kind: "ResourceQuota",
    plural: "resourcequotas",
    singular: "resourcequota",
    short_names: &["quota"],
    status_subresource: true,
    subresources: &[status("ResourceQuota")],
    columns: &[NAME, col("Request"), col("Limit"), AGE],
    cells,
    default: |object| {
        let list = object.get_mut("spec").and_then(|s| s.get_mut("hard"));
        if let Some(list) = list.and_then(Value::as_object_mut) {
            quantity::canonicalize(list);
        }
        meta::map(object, "status");
    },
    validate,
    validate_update: |new, old, causes| {
        let (new, old) = (&new["spec"]["scopes"], &old["spec"]["scopes"]);
        rules::immutable(new, old, "spec.scopes", causes);
    },
    ..BASE
};

fn validate(object: &Value, causes: &mut Causes) {
    let spec = &object["spec"];
    for (name, amount) in spec["hard"].as_object().into_iter().flatten() {
        let field = format!("spec.hard[{name}]");
        resource(name, &field, causes);
        rules::quantity(amount, &field, causes);
        let counted = WHOLE.contains(&name.as_str()) || name.starts_with("count/");
        if counted && quantity::of(amount).is_some_and(|q| q.milli() % 1000 != 0) {
            causes.push(invalid(&field, amount.clone(), "must be an integer"));
        }
    }
    for scope in list(spec, "scopes") {
        if scope.as_str().is_none_or(|s| !SCOPES.contains(&s)) {
            let message = "unsupported scope";
            causes.push(invalid("spec.scopes", spec["scopes"].clone(), message));
        }
    }
    for (i, term) in list(&spec["scopeSelector"], "matchExpressions").iter().enumerate() {
        let at = format!("spec.scopeSelector.matchExpressions[{i}]");
        let name = text(term, "scopeName");
        if !SCOPES.contains(&name) {
            causes.push(invalid(&format!("{at}.scopeName"), name, "unsupported scope"));
        }
        let operator = text(term, "operator");
        if matches!(operator, "In" | "NotIn") && list(term, "values").is_empty() {
            let message =
                "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
            causes.push(required(&format!("{at}.values"), message));
        } else if !matches!(operator, "In" | "NotIn" | "Exists" | "DoesNotExist") {
            let message = "not a valid selector operator";
            causes.push(invalid(&format!("{at}.operator"), operator, message));
        }
    }
}

fn resource(name: &str, field: &str, causes: &mut Causes) {
    causes.extend(validate::label_key(name).iter().map(|p| invalid(field, name, p)));
    let known = STANDARD.contains(&name)
        || name.contains('/')
        || name.starts_with("requests.hugepages-")
        || name.starts_with("hugepages-")
        || name.contains(".storageclass.storage.k8s.io");
    if !known {
        causes.push(invalid(field, name, "must be a standard resource for quota"));
    }
}

fn cells(o: &Value, now: Timestamp) -> Vec<Value> {
    let (mut requests, mut limits) = (Vec::new(), Vec::new());
    let shown = |side: &str, name: &str| match text(&o["status"][side], name) {
        "" => "0".to_owned(),
        amount => amount.to_owned(),
    };
    for name in o["status"]["hard"].as_object().into_iter().flat_map(serde_json::Map::keys) {
        let pair = format!("{name}: {}/{}", shown("used", name), shown("hard", name));
        let side = if name.starts_with("limits.") { &mut limits } else { &mut requests };
        side.push(pair);
    }
    vec![
        rules::name_cell(o),
        requests.join(", ").into(),
        limits.join(", ").into(),
        rules::age_cell(o, now),
    ]
}
