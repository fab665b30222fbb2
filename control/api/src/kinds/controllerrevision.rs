//! apps/v1 ControllerRevision: a state that a workload can go back to. It never changes.

use serde_json::Value;

use super::rules::{self, AGE, BASE, NAME, col, int};
use super::{Causes, KindInfo};
use crate::meta::{list, text};
use crate::validate::required;

/// ControllerRevision.
pub static CONTROLLER_REVISION: KindInfo = KindInfo {
    group: "apps",
    kind: "ControllerRevision",
    plural: "controllerrevisions",
    singular: "controllerrevision",
    columns: &[NAME, col("Controller"), int("Revision"), AGE],
    cells: |o, now| {
        vec![
            rules::name_cell(o),
            controller(o).into(),
            o["revision"].as_i64().unwrap_or(0).into(),
            rules::age_cell(o, now),
        ]
    },
    validate,
    validate_update: |new, old, causes| {
        rules::immutable(&new["data"], &old["data"], "data", causes);
    },
    ..BASE
};

fn validate(object: &Value, causes: &mut Causes) {
    rules::not_negative(&object["revision"], "revision", causes);
    if object["data"].is_null() {
        causes.push(required("data", "data is mandatory"));
    }
}

/// `statefulset.apps/web`
fn controller(object: &Value) -> String {
    let owners = list(&object["metadata"], "ownerReferences");
    let Some(owner) = owners.iter().find(|o| o["controller"] == true) else {
        return "<none>".to_owned();
    };
    let kind = text(owner, "kind").to_lowercase();
    match text(owner, "apiVersion").split_once('/') {
        Some((group, _)) => format!("{kind}.{group}/{}", text(owner, "name")),
        None => format!("{kind}/{}", text(owner, "name")),
    }
}
