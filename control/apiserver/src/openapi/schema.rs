//! Types as JSON schemas, with the extensions by which kubectl merges lists.

use beeline_api::types::{Field, Of, Shape, Type, describe, types};
use serde_json::{Map, Value, json};

use super::{Served, custom};

/// Which dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// OpenAPI 3.0.
    V3,
    /// Swagger 2.0.
    V2,
}

const QUANTITY: &str = "io.k8s.apimachinery.pkg.api.resource.Quantity";
const INT_OR_STRING: &str = "io.k8s.apimachinery.pkg.util.intstr.IntOrString";

/// Schemas of everything a document refers to.
pub(super) fn all(served: &Served, form: Form) -> Map<String, Value> {
    let mut schemas = Map::new();
    for of in served.types() {
        schemas.insert(name(of), object(of, form, &kinds_of(of, served)));
    }
    for kind in &served.kinds {
        custom::add(&mut schemas, kind, form);
        if kind.custom.is_some() {
            continue;
        }
        let Some(of) = types().of_kind(&kind.api_version(), kind.kind) else { continue };
        schemas.insert(format!("{}List", name(of)), list(kind, &name(of), form));
    }
    let number_or_text = match form {
        Form::V3 => json!({ "oneOf": [{ "type": "string" }, { "type": "number" }] }),
        Form::V2 => json!({ "type": "string" }),
    };
    schemas
        .insert(QUANTITY.to_owned(), described(number_or_text, "An amount, such as 100m or 1Gi."));
    let either = match form {
        Form::V3 => {
            json!({ "format": "int-or-string", "oneOf": [{ "type": "integer" }, { "type": "string" }] })
        }
        Form::V2 => json!({ "format": "int-or-string", "type": "string" }),
    };
    schemas.insert(INT_OR_STRING.to_owned(), described(either, "A number, or text such as 25%."));
    schemas
}

/// As documents name it: `io.k8s.api.core.v1.Pod`.
pub(super) fn name(of: &Type) -> String {
    let package = match of.name.split('.').next().unwrap_or_default() {
        "meta" => "io.k8s.apimachinery.pkg.apis",
        "apiextensions" => "io.k8s.apiextensions-apiserver.pkg.apis",
        "apiregistration" => "io.k8s.kube-aggregator.pkg.apis",
        _ => "io.k8s.api",
    };
    format!("{package}.{}", of.name)
}

/// The types that a type's fields have.
pub(super) fn referenced(of: &'static Type) -> Vec<&'static Type> {
    let fields = of.fields();
    let unions = fields
        .iter()
        .any(|f| matches!(f.of, Of::SchemaOrArray | Of::SchemaOrBool | Of::SchemaOrStrings));
    let mut all: Vec<_> = fields.into_iter().filter_map(Field::target).collect();
    if unions {
        all.extend(types().by_name("apiextensions.v1.JSONSchemaProps"));
    }
    all
}

fn kinds_of(of: &Type, served: &Served) -> Vec<Value> {
    let gvk = |group: &str, version: &str, kind: &str| json!({ "group": group, "version": version, "kind": kind });
    let is = |api_version: &str, kind: &str| {
        types().of_kind(api_version, kind).is_some_and(|t| std::ptr::eq(t, of))
    };
    let kinds = served.kinds.iter().filter(|k| k.custom.is_none() && is(&k.api_version(), k.kind));
    let reviews = served.reviews.iter().filter(|r| is(&r.api_version(), r.kind));
    let mut all: Vec<Value> = kinds.map(|k| gvk(k.group, k.version, k.kind)).collect();
    all.extend(reviews.map(|r| gvk(r.group, r.version, r.kind)));
    let parts = [
        ("autoscaling", "v1", "Scale"),
        ("policy", "v1", "Eviction"),
        ("", "v1", "Binding"),
        ("", "v1", "DeleteOptions"),
        ("", "v1", "Status"),
    ];
    for (group, version, kind) in parts {
        if is(&crate::discovery::group_version(group, version), kind) {
            all.push(gvk(group, version, kind));
        }
    }
    all
}

fn object(of: &'static Type, form: Form, kinds: &[Value]) -> Value {
    let mut properties = Map::new();
    if of.object {
        properties.insert("apiVersion".into(), described(json!({ "type": "string" }), API_VERSION));
        properties.insert("kind".into(), described(json!({ "type": "string" }), KIND));
    }
    let fields = of.fields();
    for field in &fields {
        let text = describe(of.name, field.name);
        properties.insert(field.name.to_owned(), described(self::field(field, form), text));
    }
    let required: Vec<&str> = fields.iter().filter(|f| f.required).map(|f| f.name).collect();
    let mut schema = json!({ "type": "object" });
    if !properties.is_empty() {
        schema["properties"] = Value::Object(properties);
    }
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    if of.atomic {
        schema["x-kubernetes-map-type"] = "atomic".into();
    }
    if !kinds.is_empty() {
        schema["x-kubernetes-group-version-kind"] = json!(kinds);
    }
    described(schema, describe(of.name, ""))
}

const API_VERSION: &str = "Group and version of this object's form.";
const KIND: &str = "What this object is.";

pub(super) fn list(kind: &beeline_api::KindInfo, of: &str, form: Form) -> Value {
    let meta = types().by_name("meta.v1.ListMeta").map(name).unwrap_or_default();
    let text = json!({ "type": "string" });
    json!({
        "description": format!("A list of objects of kind {}.", kind.kind),
        "type": "object",
        "properties": {
            "apiVersion": described(text.clone(), API_VERSION), "kind": described(text, KIND),
            "metadata": reference(&meta, form),
            "items": { "type": "array", "items": reference(of, form), "description": "The objects." },
        },
        "required": ["items"],
        "x-kubernetes-group-version-kind":
            [{ "group": kind.group, "version": kind.version, "kind": kind.list_kind() }],
    })
}

fn described(mut schema: Value, text: &str) -> Value {
    if !text.is_empty() {
        schema["description"] = text.into();
    }
    schema
}

/// In OpenAPI 3.0 nothing may stand beside a `$ref`.
pub(super) fn reference(name: &str, form: Form) -> Value {
    match form {
        Form::V3 => json!({ "allOf": [{ "$ref": format!("#/components/schemas/{name}") }] }),
        Form::V2 => json!({ "$ref": format!("#/definitions/{name}") }),
    }
}

fn field(field: &Field, form: Form) -> Value {
    let mut schema = match field.shape {
        Shape::Single => value(field, form),
        Shape::List => json!({ "type": "array", "items": value(field, form) }),
        Shape::Map => json!({ "type": "object", "additionalProperties": value(field, form) }),
    };
    if let Some(default) = field.default {
        schema["default"] = default.into();
    }
    merging(field, &mut schema);
    schema
}

fn merging(field: &Field, schema: &mut Value) {
    if let Some(key) = field.patch_key {
        schema["x-kubernetes-patch-merge-key"] = key.into();
    }
    let merges = field.patch_key.is_some() || field.merges;
    let strategy = match (merges, field.retains, field.replaces) {
        (true, true, _) => "merge,retainKeys",
        (true, false, _) => "merge",
        (false, true, _) => "retainKeys",
        (false, false, true) => "replace",
        (false, false, false) => "",
    };
    if !strategy.is_empty() {
        schema["x-kubernetes-patch-strategy"] = strategy.into();
    }
    if field.shape == Shape::List {
        let kind = match (field.apply_keys.is_empty(), field.set) {
            (false, _) => "map",
            (true, true) => "set",
            (true, false) => "atomic",
        };
        schema["x-kubernetes-list-type"] = kind.into();
        if !field.apply_keys.is_empty() {
            schema["x-kubernetes-list-map-keys"] = json!(field.apply_keys);
        }
    }
    if field.atomic {
        schema["x-kubernetes-map-type"] = "atomic".into();
    }
}

fn value(field: &Field, form: Form) -> Value {
    match field.of {
        Of::String | Of::Duration => json!({ "type": "string" }),
        Of::Bool => json!({ "type": "boolean" }),
        Of::Int32 => json!({ "type": "integer", "format": "int32" }),
        Of::Int64 => json!({ "type": "integer", "format": "int64" }),
        Of::Double => json!({ "type": "number", "format": "double" }),
        Of::Bytes => json!({ "type": "string", "format": "byte" }),
        Of::Time | Of::MicroTime => json!({ "type": "string", "format": "date-time" }),
        Of::Quantity => reference(QUANTITY, form),
        Of::IntOrString => reference(INT_OR_STRING, form),
        Of::FieldsV1 | Of::RawExtension => json!({ "type": "object" }),
        Of::Items => json!({ "type": "array", "items": { "type": "string" } }),
        Of::Json | Of::SchemaOrArray | Of::SchemaOrBool | Of::SchemaOrStrings => json!({}),
        Of::Type(_) => field.target().map_or(json!({}), |t| reference(&name(t), form)),
    }
}
