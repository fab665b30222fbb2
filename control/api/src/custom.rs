//! Kinds that CustomResourceDefinitions define, as the same rows that built-in kinds are.
//!
//! In: stored definitions. Out: a [`KindInfo`] for each version, whose [`Custom`] part prunes, defaults, validates and
//! prints by the version's schema. Refuses: deciding whether a definition is accepted; its status says that.

mod check;
mod definition;
pub(crate) mod format;
mod jsonpath;
mod merging;
mod prune;
mod rules;
mod schema;
mod structural;

use serde_json::{Map, Value, json};

pub use definition::{Defined, is_established, is_terminating};
pub(crate) use structural::version as check_version;

use crate::decode::{self, strict};
use crate::kinds::{Causes, KindInfo};
use crate::time::{self, Timestamp};
use crate::types::{Type, types};
use jsonpath::Path;
use schema::Schema;

/// Finalizer of a definition whose objects are still there.
pub const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

/// What a definition says of a version beyond names.
#[derive(Debug)]
pub struct Custom {
    /// Requests may name this version.
    pub served: bool,
    /// `listKind`
    pub list_kind: &'static str,
    /// `spec.conversion.webhook`, where that converts.
    pub webhook: Option<Value>,
    /// The schema as it was written, for OpenAPI documents.
    pub document: Value,
    /// How its fields merge.
    pub merging: &'static Type,
    /// Types and paths of the columns after the name.
    columns: Vec<(&'static str, Path)>,
    schema: Schema,
}

/// Compiles an expression about `self`, and has it judge a value.
#[cfg(any(test, feature = "fuzz"))]
pub(crate) fn evaluate(expression: &str, value: &Value) {
    rules::evaluate(expression, value);
}

impl Custom {
    /// Drops what the schema does not know; the paths of that. An error where the metadata is not what it has to be.
    pub(crate) fn prune(&self, object: &mut Value) -> Result<Vec<String>, String> {
        let mut unknown = metadata(object)?;
        unknown.extend(prune::prune(object, &self.schema));
        Ok(unknown)
    }

    fn fill(&self, object: &mut Value) {
        prune::fill(object, &self.schema);
    }

    fn check(&self, object: &Value, old: Option<&Value>, causes: &mut Causes) {
        check::check(object, old, &self.schema, causes);
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let of = |(kind, path): &(&str, Path)| cell(kind, path.first(object), now);
        let name = object["metadata"]["name"].clone();
        std::iter::once(name).chain(self.columns.iter().map(of)).collect()
    }
}

/// Unknown fields of the metadata go; nulls, too.
fn metadata(object: &mut Value) -> Result<Vec<String>, String> {
    let (Some(meta), Some(of)) =
        (object.get_mut("metadata"), types().by_name("meta.v1.ObjectMeta"))
    else {
        return Ok(Vec::new());
    };
    let checked = strict::check(meta, of);
    if let Some(why) = checked.error {
        return Err(why);
    }
    for path in &checked.unknown {
        decode::remove(meta, path);
    }
    decode::drop_nulls(meta);
    Ok(checked.unknown.iter().map(|path| format!("metadata.{}", strict::dotted(path))).collect())
}

/// A value as its column's type shows it; nothing where it has another type.
fn cell(kind: &str, value: Option<&Value>, now: Timestamp) -> Value {
    let Some(value) = value.filter(|v| !v.is_null()) else { return Value::Null };
    match (kind, value) {
        ("string", Value::String(_)) => value.clone(),
        ("string", other) => Value::from(other.to_string()),
        ("integer", Value::Number(n)) => {
            n.as_i64().map_or_else(|| n.as_f64().map(f64::trunc).into(), Value::from)
        }
        ("number", Value::Number(_)) | ("boolean", Value::Bool(_)) => value.clone(),
        ("date", Value::String(at)) if time::parse(at).is_some() => {
            Value::from(time::age(Some(at), now))
        }
        ("date", _) => Value::from("<invalid>"),
        _ => Value::Null,
    }
}

// === impl KindInfo: what is asked of any kind, answered by its definition or by its functions ===

impl KindInfo {
    /// Fills in defaults.
    pub fn fill(&self, object: &mut Value) {
        match self.custom {
            Some(custom) => custom.fill(object),
            None => (self.default)(object),
        }
    }

    /// Validates a new object, its metadata aside.
    pub fn check(&self, object: &Value, causes: &mut Causes) {
        match self.custom {
            Some(custom) => custom.check(object, None, causes),
            None => (self.validate)(object, causes),
        }
    }

    /// Validates what an update of the main resource makes of an object, its metadata aside: new, old.
    pub fn check_update(&self, new: &Value, old: &Value, causes: &mut Causes) {
        match self.custom {
            Some(custom) => custom.check(new, Some(old), causes),
            None => {
                (self.validate)(new, causes);
                (self.validate_update)(new, old, causes);
            }
        }
    }

    /// Validates what a write of `/status` makes of an object: new, old.
    pub fn check_status(&self, new: &Value, old: &Value, causes: &mut Causes) {
        match self.custom {
            Some(custom) => custom.check(new, Some(old), causes),
            None => (self.validate_status)(new, causes),
        }
    }

    /// Table cells of one object, as many as columns.
    pub fn cells_of(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        match self.custom {
            Some(custom) => custom.cells(object, now),
            None => (self.cells)(object, now),
        }
    }

    /// Whether a stored object has to be [`converted`](Self::converted) to be one of this version: it was stored as
    /// another one, or before the schema had a default.
    pub fn must_convert(&self, object: &Value) -> bool {
        self.custom.is_some_and(|custom| {
            object["apiVersion"] != self.api_version().as_str()
                || !prune::is_full(object, &custom.schema)
        })
    }

    /// An object in this version, whichever version of its kind it is in, as far as versions differ in nothing but their
    /// schemas. Only for kinds that a definition makes.
    pub fn converted(&self, object: &Value) -> Value {
        let mut object = object.clone();
        let Some(custom) = self.custom else { return object };
        if object["apiVersion"] != self.api_version().as_str() {
            object["apiVersion"] = Value::from(self.api_version());
            prune::prune(&mut object, &custom.schema);
        }
        custom.fill(&mut object);
        object
    }

    /// `PodList`
    pub fn list_kind(&self) -> String {
        match self.custom {
            Some(custom) => custom.list_kind.to_owned(),
            None => format!("{}List", self.kind),
        }
    }
}

/// The schema that documents show: with the fields that every object has.
pub fn document(kind: &KindInfo, metadata: &Value) -> Option<Value> {
    let custom = kind.custom?;
    let mut document = custom.document.clone();
    let properties = document.as_object_mut()?.entry("properties").or_insert_with(|| json!({}));
    if let Some(properties) = properties.as_object_mut() {
        own_fields(properties, metadata);
    }
    Some(document)
}

fn own_fields(properties: &mut Map<String, Value>, metadata: &Value) {
    let text = |what: &str| json!({ "type": "string", "description": what });
    properties.insert("apiVersion".into(), text("Group and version of this object's form."));
    properties.insert("kind".into(), text("What this object is."));
    properties.insert("metadata".into(), metadata.clone());
}
