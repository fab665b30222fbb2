//! From a stored CustomResourceDefinition to the kinds it makes.
//!
//! In: the object. Out: a row for each version, the stored one first. Rows live as long as the process: they are made
//! once for each content that definitions have had, so the memory they take is bounded by how many different
//! definitions were ever accepted, not by how often they were written.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};

use serde_json::{Value, json};

use super::jsonpath::Path;
use super::schema::Schema;
use super::{Custom, merging};
use crate::kinds::rules::{AGE, BASE, NAME, SCALE, status};
use crate::kinds::{Column, KindInfo, ScalePaths, View};
use crate::meta::{self, list, text};

type Rows = Vec<&'static KindInfo>;

/// What an established definition makes.
#[derive(Debug, Clone)]
pub struct Defined {
    /// All its versions, served or not, the stored one first.
    pub(crate) rows: Rows,
    /// Its objects are on their way out, and new ones are refused.
    pub(crate) terminating: bool,
}

impl Defined {
    /// `None` before it is established.
    pub fn of(definition: &Value) -> Option<Self> {
        let rows = kinds(definition);
        let terminating = is_terminating(definition);
        (!rows.is_empty()).then_some(Self { rows, terminating })
    }

    /// Whether it makes the very same rows; equal content gives the same ones.
    pub fn is_same(&self, other: &Self) -> bool {
        let pairs = self.rows.iter().zip(&other.rows);
        self.terminating == other.terminating
            && self.rows.len() == other.rows.len()
            && pairs.into_iter().all(|(a, b)| std::ptr::eq(*a, *b))
    }
}

/// Whether its kinds may be used: it has all its names.
pub fn is_established(definition: &Value) -> bool {
    condition(definition, "Established")
}

/// Whether its objects are on their way out, and new ones are refused.
pub fn is_terminating(definition: &Value) -> bool {
    meta::deleting(definition)
}

fn condition(definition: &Value, kind: &str) -> bool {
    let all = list(&definition["status"], "conditions");
    all.iter().any(|c| c["type"] == kind && c["status"] == "True")
}

/// The kinds that a definition makes; none before it is established.
pub(super) fn kinds(definition: &Value) -> Rows {
    static KNOWN: OnceLock<Mutex<HashMap<String, Rows>>> = OnceLock::new();
    if !is_established(definition) {
        return Vec::new();
    }
    let content = json!([definition["spec"], definition["status"]["acceptedNames"]]);
    let mut known =
        KNOWN.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    known.entry(content.to_string()).or_insert_with(|| make(definition)).clone()
}

fn make(definition: &Value) -> Rows {
    let versions = list(&definition["spec"], "versions");
    let Some(stored) = versions.iter().find(|v| v["storage"] == true) else { return Vec::new() };
    let stored_row = row(definition, stored, None);
    let others = versions.iter().filter(|v| v["storage"] != true);
    let mut rows = vec![stored_row];
    rows.extend(others.map(|version| row(definition, version, Some(stored_row))));
    rows
}

fn kept(text: &str) -> &'static str {
    text.to_owned().leak()
}

fn kept_list(of: &Value, field: &str) -> &'static [&'static str] {
    let all: Vec<&'static str> =
        list(of, field).iter().filter_map(Value::as_str).map(kept).collect();
    all.leak()
}

fn row(
    definition: &Value,
    version: &Value,
    stored: Option<&'static KindInfo>,
) -> &'static KindInfo {
    let (spec, names) = (&definition["spec"], &definition["status"]["acceptedNames"]);
    let kind = kept(text(names, "kind"));
    let schema = Schema::parse(&version["schema"]["openAPIV3Schema"]);
    let scale = scale(&version["subresources"]["scale"]);
    let has_status = version["subresources"]["status"].is_object();
    let mut subresources = Vec::new();
    if has_status {
        subresources.push(status(kind));
    }
    if scale.is_some() {
        subresources.push(SCALE);
    }
    let (columns, paths) = columns(version);
    let custom = Custom {
        served: version["served"] == true,
        webhook: (spec["conversion"]["strategy"] == "Webhook")
            .then(|| spec["conversion"]["webhook"].clone()),
        list_kind: kept(text(names, "listKind")),
        document: version["schema"]["openAPIV3Schema"].clone(),
        merging: merging::of_object(&schema),
        columns: paths,
        schema,
    };
    let row = KindInfo {
        group: kept(text(spec, "group")),
        version: kept(text(version, "name")),
        kind,
        plural: kept(text(names, "plural")),
        singular: kept(text(names, "singular")),
        short_names: kept_list(names, "shortNames"),
        categories: kept_list(names, "categories"),
        namespaced: text(spec, "scope") == "Namespaced",
        status_subresource: has_status,
        generation: true,
        scale,
        subresources: subresources.leak(),
        columns: columns.leak(),
        fields: fields(version),
        view: stored.map(|of| View { of, read: Value::clone, write: Value::clone, fields: &[] }),
        custom: Some(Box::leak(Box::new(custom))),
        ..BASE
    };
    Box::leak(Box::new(row))
}

/// Name, then what the definition says; age where it says nothing.
fn columns(version: &Value) -> (Vec<Column>, Vec<(&'static str, Path)>) {
    let mut columns = vec![NAME];
    let mut paths = Vec::new();
    for wanted in list(version, "additionalPrinterColumns") {
        let Some(path) = Path::parse(text(wanted, "jsonPath")) else { continue };
        let kind = kept(text(wanted, "type"));
        columns.push(Column {
            name: kept(text(wanted, "name")),
            kind,
            format: kept(text(wanted, "format")),
            priority: wanted["priority"].as_u64().and_then(|p| u8::try_from(p).ok()).unwrap_or(0),
        });
        paths.push((kind, path));
    }
    if paths.is_empty() {
        columns.push(AGE);
        paths.extend(Path::parse(".metadata.creationTimestamp").map(|path| ("date", path)));
    }
    (columns, paths)
}

fn scale(of: &Value) -> Option<ScalePaths> {
    let pointer = |field: &str| {
        let path = Path::parse(text(of, field)).and_then(|path| path.pointer());
        path.map(|path| &*path.leak())
    };
    Some(ScalePaths {
        spec_replicas: pointer("specReplicasPath")?,
        status_replicas: pointer("statusReplicasPath")?,
        selector: pointer("labelSelectorPath").unwrap_or_default(),
    })
}

/// `spec.color` of `.spec.color`.
fn fields(version: &Value) -> &'static [&'static str] {
    let selectable = list(version, "selectableFields").iter();
    let all: Vec<&'static str> =
        selectable.map(|f| kept(text(f, "jsonPath").trim_start_matches('.'))).collect();
    all.leak()
}

#[cfg(test)]
mod tests;
