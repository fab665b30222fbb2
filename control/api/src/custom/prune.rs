//! What a schema does not know of an object goes, and what is absent gets its default.
//!
//! In: an object and its schema. Out: the object, and the paths of what was dropped. Refuses: judging values.

use serde_json::{Map, Value};

use super::schema::Schema;

/// Fields that every object has.
const OWN: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// Drops unknown fields of a whole object; their paths.
pub(super) fn prune(object: &mut Value, schema: &Schema) -> Vec<String> {
    let mut unknown = Vec::new();
    if let Value::Object(map) = object {
        fields(map, schema, true, "", &mut unknown);
    }
    unknown
}

fn walk(value: &mut Value, schema: &Schema, at: &str, unknown: &mut Vec<String>) {
    match value {
        Value::Object(map) => fields(map, schema, schema.embedded, at, unknown),
        Value::Array(items) => {
            let Some(schema) = &schema.items else { return };
            for (i, item) in items.iter_mut().enumerate() {
                walk(item, schema, &format!("{at}[{i}]"), unknown);
            }
        }
        _ => {}
    }
}

fn fields(
    map: &mut Map<String, Value>,
    schema: &Schema,
    whole: bool,
    at: &str,
    unknown: &mut Vec<String>,
) {
    map.retain(|name, value| {
        let here = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
        if whole && OWN.contains(&name.as_str()) {
            return true;
        }
        match schema.field(name) {
            Some(schema) => walk(value, schema, &here, unknown),
            None if schema.preserve => {}
            None => {
                unknown.push(here);
                return false;
            }
        }
        true
    });
}

/// Whether there is nothing that [`fill`] would change.
pub(super) fn is_full(value: &Value, schema: &Schema) -> bool {
    match value {
        Value::Object(map) => {
            let given = |(name, schema): (&String, &Schema)| {
                schema.default.is_none() || map.contains_key(name)
            };
            schema.properties.iter().all(given)
                && map.iter().all(|(name, value)| match schema.field(name) {
                    Some(schema) => !schema.drops(value) && is_full(value, schema),
                    None => true,
                })
        }
        Value::Array(items) => {
            schema.items.as_deref().is_none_or(|of| items.iter().all(|item| is_full(item, of)))
        }
        _ => true,
    }
}

/// Puts defaults where nothing is, and drops nulls that are no values: first the nulls, so that they get defaults, too.
pub(super) fn fill(value: &mut Value, schema: &Schema) {
    match value {
        Value::Object(map) => {
            map.retain(|name, value| !schema.field(name).is_some_and(|s| s.drops(value)));
            for (name, schema) in &schema.properties {
                if !map.contains_key(name)
                    && let Some(default) = &schema.default
                {
                    map.insert(name.clone(), default.clone());
                }
            }
            for (name, value) in map.iter_mut() {
                if let Some(schema) = schema.field(name) {
                    fill(value, schema);
                }
            }
        }
        Value::Array(items) => {
            let Some(schema) = &schema.items else { return };
            items.iter_mut().for_each(|item| fill(item, schema));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn schema() -> Schema {
        Schema::parse(&json!({
            "type": "object",
            "properties": {
                "spec": {
                    "type": "object",
                    "default": {},
                    "properties": {
                        "size": { "type": "integer", "default": 3 },
                        "note": { "type": "string", "nullable": true, "default": "n" },
                        "free": { "type": "object", "x-kubernetes-preserve-unknown-fields": true,
                                  "properties": { "known": { "type": "object", "properties": {} } } },
                        "labels": { "type": "object", "additionalProperties": { "type": "string" } },
                        "list": { "type": "array", "items": { "type": "object", "properties": {
                            "name": { "type": "string" }, "mode": { "type": "string", "default": "rw" } } } },
                        "template": { "type": "object", "x-kubernetes-embedded-resource": true,
                                      "properties": { "spec": { "type": "object" } } }
                    }
                }
            }
        }))
    }

    #[test]
    fn unknown_fields_go_and_are_named() {
        let mut object = json!({
            "apiVersion": "a/v1", "kind": "A", "metadata": { "name": "x", "anything": 1 }, "other": 1,
            "spec": {
                "size": 1, "extra": 2, "labels": { "a": "b" },
                "free": { "kept": { "deep": 1 }, "known": { "gone": 1 } },
                "list": [{ "name": "a" }, { "name": "b", "wrong": true }],
                "template": { "apiVersion": "v1", "metadata": { "name": "t" }, "spec": { "no": 1 }, "bad": 1 },
            },
        });
        let mut unknown = prune(&mut object, &schema());
        unknown.sort();
        let wanted = [
            "other",
            "spec.extra",
            "spec.free.known.gone",
            "spec.list[1].wrong",
            "spec.template.bad",
            "spec.template.spec.no",
        ];
        assert_eq!(unknown, wanted);
        assert_eq!(object["spec"]["free"], json!({ "kept": { "deep": 1 }, "known": {} }));
        assert_eq!(object["spec"]["template"]["metadata"]["name"], "t");
        assert!(prune(&mut object, &schema()).is_empty());
    }

    #[test]
    fn defaults_fill_what_is_absent_at_every_depth() {
        let mut object = json!({});
        assert!(!is_full(&object, &schema()));
        fill(&mut object, &schema());
        assert!(is_full(&object, &schema()));
        assert_eq!(object, json!({ "spec": { "size": 3, "note": "n" } }));
        let mut object =
            json!({ "spec": { "size": null, "note": null, "list": [{ "name": "a" }] } });
        assert!(!is_full(&object, &schema()));
        fill(&mut object, &schema());
        assert_eq!(
            object,
            json!({ "spec": { "size": 3, "note": null, "list": [{ "name": "a", "mode": "rw" }] } })
        );
    }
}
