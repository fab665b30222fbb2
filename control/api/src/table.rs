//! Objects as tables: what `kubectl get` asks for.
//!
//! In: a kind, objects and `now`. Out: a `Table` object.

use std::borrow::Borrow;

use serde_json::{Value, json};

use crate::kinds::KindInfo;
use crate::time::Timestamp;

/// How much of each object a row carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Include {
    /// Nothing.
    None,
    /// Its metadata.
    #[default]
    Metadata,
    /// All of it.
    Object,
}

impl Include {
    /// From `includeObject`.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "None" => Self::None,
            "" | "Metadata" => Self::Metadata,
            "Object" => Self::Object,
            _ => return None,
        })
    }
}

/// A table of these objects. `meta` is the list's metadata; `columns` false leaves out the definitions (later events of
/// a watch).
pub fn table(
    kind: &KindInfo,
    objects: impl IntoIterator<Item = impl Borrow<Value>>,
    meta: &Value,
    include: Include,
    columns: bool,
    now: Timestamp,
) -> Value {
    let rows: Vec<Value> =
        objects.into_iter().map(|o| row(kind, o.borrow(), include, now)).collect();
    json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": meta,
        "columnDefinitions": if columns { definitions(kind) } else { Value::Array(Vec::new()) },
        "rows": rows,
    })
}

fn definitions(kind: &KindInfo) -> Value {
    let one = |c: &crate::kinds::Column| json!({ "name": c.name, "type": c.kind, "format": c.format, "description": "", "priority": c.priority });
    Value::Array(kind.columns.iter().map(one).collect())
}

fn row(kind: &KindInfo, object: &Value, include: Include, now: Timestamp) -> Value {
    let mut row = json!({ "cells": kind.cells_of(object, now) });
    match include {
        Include::None => {}
        Include::Metadata => row["object"] = partial(object),
        Include::Object => row["object"] = object.clone(),
    }
    if let Some(condition) = completed(object) {
        row["conditions"] = json!([condition]);
    }
    row
}

/// Pods that are through are marked, so that clients may leave them out.
fn completed(object: &Value) -> Option<Value> {
    if object["kind"] != "Pod" {
        return None;
    }
    let phase = object["status"]["phase"].as_str()?;
    let message = match phase {
        "Succeeded" => "The pod has completed successfully.",
        "Failed" => "The pod failed.",
        _ => return None,
    };
    Some(json!({ "type": "Completed", "status": "True", "reason": phase, "message": message }))
}

/// `PartialObjectMetadata` of an object.
pub fn partial(object: &Value) -> Value {
    json!({ "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"] })
}

#[cfg(test)]
mod tests;
