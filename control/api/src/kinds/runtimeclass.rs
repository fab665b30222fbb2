//! node.k8s.io/v1 RuntimeClass.

use super::KindInfo;
use super::rules::{self, AGE, BASE, NAME, col};
use crate::meta::text;
use crate::validate;

/// RuntimeClass.
pub static RUNTIME_CLASS: KindInfo = KindInfo {
    group: "node.k8s.io",
    kind: "RuntimeClass",
    plural: "runtimeclasses",
    singular: "runtimeclass",
    namespaced: false,
    columns: &[NAME, col("Handler"), AGE],
    cells: |o, now| vec![rules::name_cell(o), text(o, "handler").into(), rules::age_cell(o, now)],
    validate: |object, causes| {
        // An empty handler is no label either, and that is what upstream says of it.
        for problem in validate::dns_label(text(object, "handler"), false) {
            causes.push(validate::invalid("handler", text(object, "handler"), &problem));
        }
        rules::quantities(&object["overhead"]["podFixed"], "overhead.podFixed", causes);
        let selector = &object["scheduling"]["nodeSelector"];
        validate::labels(selector, "scheduling.nodeSelector", causes);
    },
    validate_update: |new, old, causes| {
        rules::immutable(&new["handler"], &old["handler"], "handler", causes);
    },
    ..BASE
};
