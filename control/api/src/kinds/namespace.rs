//! core/v1 Namespace.

use serde_json::{Value, json};

use super::rules::{self, AGE, BASE, NAME, col, part, status};
use super::{KindInfo, SubresourceInfo};
use crate::meta::{self, or_set};
use crate::validate;

/// Namespace.
pub static NAMESPACE: KindInfo = KindInfo {
    kind: "Namespace",
    plural: "namespaces",
    singular: "namespace",
    short_names: &["ns"],
    namespaced: false,
    status_subresource: true,
    verbs: &["create", "delete", "get", "list", "patch", "update", "watch"],
    subresources: &[
        SubresourceInfo {
            take: |new, body| new["spec"] = body["spec"].clone(),
            ..part("finalize", "Namespace", &["update"])
        },
        status("Namespace"),
    ],
    columns: &[NAME, col("Status"), AGE],
    cells: |o, now| {
        vec![rules::name_cell(o), o["status"]["phase"].clone(), rules::age_cell(o, now)]
    },
    fields: &["status.phase"],
    default,
    prepare_create: |o| o["spec"] = json!({ "finalizers": ["kubernetes"] }),
    prepare_update: |new, old| new["spec"] = old["spec"].clone(),
    name_rule: validate::dns_label,
    ..BASE
};

/// `spec.finalizers` is set on creation only: an absent list later means that deletion is through.
fn default(object: &mut Value) {
    let name = meta::name(object).to_owned();
    if !name.is_empty() {
        let labels = meta::map(&mut object["metadata"], "labels");
        labels.insert("kubernetes.io/metadata.name".to_owned(), Value::from(name));
    }
    if !object["spec"].is_object() {
        object["spec"] = json!({});
    }
    or_set(meta::map(object, "status"), "phase", "Active");
}
