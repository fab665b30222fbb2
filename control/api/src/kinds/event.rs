//! core/v1 Event, which is stored; that of events.k8s.io is another view of it.

mod v1;

use serde_json::Value;

use super::rules::{self, BASE, NAME, col, wide};
use super::{Causes, Column, KindInfo};
use crate::meta::text;
use crate::time::{self, Timestamp};
use crate::validate::{invalid, required};

pub use v1::EVENT_V1;

/// Event.
pub static EVENT: KindInfo = KindInfo {
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
        Column { priority: 1, ..NAME },
    ],
    cells,
    fields: &[
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source",
        "type",
    ],
    field: |object, path| match path {
        "source" => source(object).to_owned(),
        _ => rules::plain_field(object, path),
    },
    default,
    validate,
    ..BASE
};

fn source(object: &Value) -> &str {
    match text(&object["source"], "component") {
        "" => text(object, "reportingComponent"),
        given => given,
    }
}

/// MicroTime is kept with six digits.
fn default(object: &mut Value) {
    if let Some(at) = object["eventTime"].as_str().and_then(time::parse) {
        object["eventTime"] = Value::from(time::format_micro(at));
    }
    if let Some(at) = object["series"]["lastObservedTime"].as_str().and_then(time::parse) {
        object["series"]["lastObservedTime"] = Value::from(time::format_micro(at));
    }
}

fn validate(object: &Value, causes: &mut Causes) {
    let involved = &object["involvedObject"];
    let namespace = text(&object["metadata"], "namespace");
    let theirs = text(involved, "namespace");
    if theirs.is_empty() && namespace != "default" && namespace != "kube-system" {
        causes.push(invalid("involvedObject.namespace", theirs, "does not match event.namespace"));
    }
    if !theirs.is_empty() && theirs != namespace {
        causes.push(invalid("involvedObject.namespace", theirs, "does not match event.namespace"));
    }
    if text(involved, "kind").is_empty() && text(involved, "name").is_empty() {
        causes.push(required("involvedObject", ""));
    }
}

fn cells(o: &Value, now: Timestamp) -> Vec<Value> {
    let count = o["count"].as_i64().or(o["series"]["count"].as_i64()).unwrap_or(1).max(1);
    let age = |fields: [&Value; 2]| {
        let at = fields.into_iter().find_map(Value::as_str);
        time::age(at, now)
    };
    let first = age([&o["firstTimestamp"], &o["eventTime"]]);
    let last = match o["series"]["lastObservedTime"].as_str() {
        Some(at) => time::age(Some(at), now),
        None if o["lastTimestamp"].is_string() => age([&o["lastTimestamp"], &Value::Null]),
        None => first.clone(),
    };
    let involved = &o["involvedObject"];
    let target = match text(involved, "name") {
        "" => text(involved, "kind").to_lowercase(),
        name => format!("{}/{name}", text(involved, "kind").to_lowercase()),
    };
    let host = text(&o["source"], "host");
    let source =
        if host.is_empty() { source(o).to_owned() } else { format!("{}, {host}", source(o)) };
    vec![
        last.into(),
        text(o, "type").into(),
        text(o, "reason").into(),
        target.into(),
        text(involved, "fieldPath").into(),
        source.into(),
        text(o, "message").trim().into(),
        first.into(),
        count.into(),
        rules::name_cell(o),
    ]
}
