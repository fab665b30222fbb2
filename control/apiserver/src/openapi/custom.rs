//! Schemas of kinds that definitions make.
//!
//! In: a kind with the schema its definition has. Out: the same with the fields of every object, in each dialect.

use beeline_api::types::types;
use beeline_api::{KindInfo, custom};
use serde_json::{Map, Value, json};

use super::schema::{self, Form};

/// As documents name it: `com.example.v1.Widget`.
pub(super) fn name(group: &str, version: &str, kind: &str) -> String {
    let reversed: Vec<&str> = group.rsplit('.').collect();
    format!("{}.{version}.{kind}", reversed.join("."))
}

/// Adds a kind and its list.
pub(super) fn add(schemas: &mut Map<String, Value>, kind: &KindInfo, form: Form) {
    let meta = types().by_name("meta.v1.ObjectMeta").map(schema::name).unwrap_or_default();
    let Some(mut document) = custom::document(kind, &schema::reference(&meta, form)) else {
        return;
    };
    if form == Form::V2 {
        for property in document["properties"].as_object_mut().into_iter().flatten() {
            if property.0 != "metadata" {
                swagger(property.1);
            }
        }
    }
    let named = name(kind.group, kind.version, kind.kind);
    document["x-kubernetes-group-version-kind"] =
        json!([{ "group": kind.group, "version": kind.version, "kind": kind.kind }]);
    schemas.insert(format!("{named}List"), schema::list(kind, &named, form));
    schemas.insert(named, document);
}

/// Takes from a schema what Swagger 2.0 cannot say, and what would make older kubectls refuse fields that may be there
/// (`apiextensions-apiserver/pkg/controller/openapi/v2`).
fn swagger(schema: &mut Value) {
    let Some(map) = schema.as_object_mut() else { return };
    for unknown in ["oneOf", "anyOf", "allOf", "not", "nullable"] {
        map.remove(unknown);
    }
    let free = map.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true));
    if free {
        map.remove("properties");
        map.remove("items");
    }
    if free || map.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) {
        map.remove("type");
    }
    for (field, inner) in map.iter_mut() {
        match field.as_str() {
            "properties" => inner.as_object_mut().into_iter().flatten().for_each(|p| swagger(p.1)),
            "items" | "additionalProperties" => swagger(inner),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_reversed_groups() {
        assert_eq!(name("stable.example.com", "v1", "Widget"), "com.example.stable.v1.Widget");
    }

    #[test]
    fn swagger_says_less() {
        let mut schema = json!({ "type": "object", "properties": {
            "either": { "x-kubernetes-int-or-string": true, "type": "string", "anyOf": [{ "type": "integer" }] },
            "free": { "type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": { "a": {} } },
            "list": { "type": "array", "items": { "type": "string", "nullable": true } } } });
        swagger(&mut schema);
        assert_eq!(
            schema,
            json!({ "type": "object", "properties": {
            "either": { "x-kubernetes-int-or-string": true },
            "free": { "x-kubernetes-preserve-unknown-fields": true },
            "list": { "type": "array", "items": { "type": "string" } } } })
        );
    }
}
