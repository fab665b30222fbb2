//! events.k8s.io/v1 Event: the same objects as core's, under other names (KEP-383).

use serde_json::{Map, Value, json};

use super::super::rules::{BASE, col, wide};
use super::super::{Causes, Column, KindInfo, View, rules};
use super::EVENT;
use crate::meta::text;
use crate::validate::{self, invalid};

/// Longest reason and action, and longest note.
const WORD_MAX: usize = 128;
const NOTE_MAX: usize = 1024;

/// Fields and what they are in core/v1.
const NAMES: [(&str, &str); 7] = [
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
];

/// Event of events.k8s.io.
pub static EVENT_V1: KindInfo = KindInfo {
    group: "events.k8s.io",
    kind: "Event",
    plural: "events",
    singular: "event",
    short_names: &["ev"],
    create_on_update: true,
    columns: &[
        col("Last Seen"),
        col("Type"),
        col("Reason"),
        col("Object"),
        wide("Subobject"),
        wide("Source"),
        col("Message"),
        wide("First Seen"),
        wide("Count"),
        Column { priority: 1, ..rules::NAME },
    ],
    cells: |o, now| (EVENT.cells)(&write(o), now),
    fields: &[
        "regarding.kind",
        "regarding.namespace",
        "regarding.name",
        "regarding.uid",
        "regarding.apiVersion",
        "regarding.resourceVersion",
        "regarding.fieldPath",
        "reason",
        "reportingController",
        "type",
    ],
    validate,
    view: Some(View {
        of: &EVENT,
        read,
        write,
        fields: &[
            ("regarding.kind", "involvedObject.kind"),
            ("regarding.namespace", "involvedObject.namespace"),
            ("regarding.name", "involvedObject.name"),
            ("regarding.uid", "involvedObject.uid"),
            ("regarding.apiVersion", "involvedObject.apiVersion"),
            ("regarding.resourceVersion", "involvedObject.resourceVersion"),
            ("regarding.fieldPath", "involvedObject.fieldPath"),
            ("reportingController", "reportingComponent"),
        ],
    }),
    ..BASE
};

fn read(stored: &Value) -> Value {
    renamed(stored, "events.k8s.io/v1", |name| {
        NAMES.iter().find(|(_, core)| *core == name).map(|(new, _)| *new)
    })
}

fn write(object: &Value) -> Value {
    renamed(object, "v1", |name| NAMES.iter().find(|(new, _)| *new == name).map(|(_, core)| *core))
}

fn renamed(
    object: &Value,
    api_version: &str,
    new_name: impl Fn(&str) -> Option<&'static str>,
) -> Value {
    let fields = object.as_object().into_iter().flatten();
    let mut all: Map<String, Value> = fields
        .map(|(name, value)| (new_name(name).unwrap_or(name).to_owned(), value.clone()))
        .collect();
    all.insert("apiVersion".to_owned(), json!(api_version));
    Value::Object(all)
}

/// What core's events may leave out.
fn validate(object: &Value, causes: &mut Causes) {
    if object["eventTime"].is_null() {
        causes.push(validate::required("eventTime", ""));
    }
    rules::required(&object["reportingController"], "reportingController", "", causes);
    let controller = &object["reportingController"];
    rules::named(controller, "reportingController", |s, _| validate::label_key(s), causes);
    rules::required(&object["reportingInstance"], "reportingInstance", "", causes);
    for field in ["reportingInstance", "action", "reason"] {
        if text(object, field).len() > WORD_MAX {
            let message = format!("can have at most {WORD_MAX} characters");
            causes.push(invalid(field, "", &message));
        }
    }
    rules::required(&object["action"], "action", "", causes);
    rules::required(&object["reason"], "reason", "", causes);
    if !matches!(text(object, "type"), "Normal" | "Warning") {
        causes.push(invalid("type", "", "has invalid value: "));
    }
    if text(object, "note").len() > NOTE_MAX {
        causes.push(invalid("note", "", &format!("can have at most {NOTE_MAX} bytes")));
    }
    if object["series"].is_object() {
        let count = object["series"]["count"].as_i64().unwrap_or(0);
        if count < 2 {
            causes.push(invalid("series.count", "", "should be at least 2"));
        }
        if object["series"]["lastObservedTime"].is_null() {
            causes.push(validate::required("series.lastObservedTime", ""));
        }
    }
}
