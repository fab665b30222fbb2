//! coordination.k8s.io/v1 Lease.

use serde_json::Value;

use super::rules::{self, AGE, BASE, NAME, col};
use super::{Causes, KindInfo};
use crate::time;
use crate::validate::invalid;

/// Lease.
pub static LEASE: KindInfo = KindInfo {
    group: "coordination.k8s.io",
    kind: "Lease",
    plural: "leases",
    singular: "lease",
    create_on_update: true,
    columns: &[NAME, col("Holder"), AGE],
    cells: |o, now| {
        vec![rules::name_cell(o), o["spec"]["holderIdentity"].clone(), rules::age_cell(o, now)]
    },
    default,
    validate,
    ..BASE
};

/// MicroTime is kept with six digits, whatever came in.
fn default(object: &mut Value) {
    for field in ["acquireTime", "renewTime"] {
        if let Some(at) = object["spec"][field].as_str().and_then(time::parse) {
            object["spec"][field] = Value::from(time::format_micro(at));
        }
    }
}

fn validate(object: &Value, causes: &mut Causes) {
    if let Some(n) = object["spec"]["leaseDurationSeconds"].as_i64().filter(|n| *n <= 0) {
        causes.push(invalid("spec.leaseDurationSeconds", n, "must be greater than 0"));
    }
    rules::not_negative(&object["spec"]["leaseTransitions"], "spec.leaseTransitions", causes);
}
