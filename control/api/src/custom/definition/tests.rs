//! A definition as projects write them, and the kinds that come of it.

use super::*;
use crate::kinds::{CUSTOM_RESOURCE_DEFINITION, Causes};
use crate::time;

fn definition() -> Value {
    let version = |name: &str, stored: bool| {
        json!({
            "name": name, "served": true, "storage": stored,
            "schema": { "openAPIV3Schema": { "type": "object", "properties": {
                "spec": { "type": "object", "properties": {
                    "replicas": { "type": "integer", "default": 1, "minimum": 0 },
                    "color": { "type": "string" } } },
                "status": { "type": "object", "properties": {
                    "replicas": { "type": "integer" }, "selector": { "type": "string" } } } } } },
            "subresources": { "status": {}, "scale": { "specReplicasPath": ".spec.replicas",
                "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".status.selector" } },
            "selectableFields": [{ "jsonPath": ".spec.color" }],
            "additionalPrinterColumns": [
                { "name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas" },
                { "name": "Color", "type": "string", "jsonPath": ".spec.color", "priority": 1 },
                { "name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp" }],
        })
    };
    let names = json!({ "plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList",
                        "shortNames": ["wd"], "categories": ["all"] });
    json!({
        "metadata": { "name": "widgets.example.com" },
        "spec": { "group": "example.com", "scope": "Namespaced", "names": names, "conversion": { "strategy": "None" },
                  "versions": [version("v1beta1", false), version("v1", true)] },
        "status": { "acceptedNames": names, "conditions": [{ "type": "Established", "status": "True" }] },
    })
}

#[test]
fn each_version_is_a_kind_and_the_stored_one_is_first() {
    let rows = kinds(&definition());
    let versions: Vec<&str> = rows.iter().map(|k| k.version).collect();
    assert_eq!(versions, ["v1", "v1beta1"]);
    assert!(rows[0].view.is_none() && std::ptr::eq(rows[1].stored(), rows[0]));
    let kind = rows[0];
    assert_eq!(
        (kind.group, kind.kind, kind.plural, kind.singular),
        ("example.com", "Widget", "widgets", "widget")
    );
    assert_eq!(kind.key_prefix(), "/registry/example.com/widgets/");
    assert_eq!(kind.scale.expect("has it").spec_replicas, "/spec/replicas");
    assert_eq!(kind.fields, ["spec.color"]);
    let subresources: Vec<&str> = kind.subresources.iter().map(|s| s.name).collect();
    assert_eq!(subresources, ["status", "scale"]);
}

#[test]
fn the_same_content_makes_the_same_rows() {
    let mut again = definition();
    again["metadata"]["resourceVersion"] = json!("7");
    assert!(std::ptr::eq(kinds(&definition())[0], kinds(&again)[0]));
    again["spec"]["versions"][1]["schema"]["openAPIV3Schema"]["description"] = json!("new");
    assert!(!std::ptr::eq(kinds(&definition())[0], kinds(&again)[0]));
    again["status"]["conditions"] = json!([]);
    assert!(kinds(&again).is_empty());
}

#[test]
fn columns_show_what_the_paths_say() {
    let kind = kinds(&definition())[0];
    let now = time::parse("2025-01-01T01:00:00Z").expect("a time");
    let object = json!({ "metadata": { "name": "a", "creationTimestamp": "2025-01-01T00:00:00Z" },
                         "spec": { "replicas": 3, "color": "red" } });
    assert_eq!(kind.cells_of(&object, now), [json!("a"), json!(3), json!("red"), json!("60m")]);
    let names: Vec<(&str, u8)> = kind.columns.iter().map(|c| (c.name, c.priority)).collect();
    assert_eq!(names, [("Name", 0), ("Replicas", 0), ("Color", 1), ("Age", 0)]);
    let bare = json!({ "metadata": { "name": "b" } });
    assert_eq!(kind.cells_of(&bare, now), [json!("b"), Value::Null, Value::Null, Value::Null]);
}

#[test]
fn a_definition_like_this_is_valid_and_bad_schemas_are_named() {
    let judged = |definition: &Value| {
        let mut definition = definition.clone();
        CUSTOM_RESOURCE_DEFINITION.fill(&mut definition);
        let mut causes = Causes::new();
        CUSTOM_RESOURCE_DEFINITION.check(&definition, &mut causes);
        causes.into_iter().map(|c| format!("{}: {}", c.field, c.message)).collect::<Vec<_>>()
    };
    assert_eq!(judged(&definition()), Vec::<String>::new());
    let with = |field: &str, schema: Value| {
        let mut bad = definition();
        bad["spec"]["versions"][1]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
            ["bad"] = schema;
        let said = judged(&bad);
        let at = format!(
            "spec.versions[1].schema.openAPIV3Schema.properties[spec].properties[bad]{field}: "
        );
        assert!(said.iter().any(|s| s.starts_with(&at)), "{at} is not in {said:?}");
        said.join("\n")
    };
    assert!(
        with(".type", json!({ "description": "x" }))
            .contains("Required value: must not be empty for specified object fields")
    );
    with(".items", json!({ "type": "array" }));
    with(".pattern", json!({ "type": "string", "pattern": "(" }));
    with(".default", json!({ "type": "integer", "default": "a" }));
    with(".default", json!({ "type": "object", "default": { "no": 1 } }));
    with(
        ".uniqueItems",
        json!({ "type": "array", "uniqueItems": true, "items": { "type": "string" } }),
    );
    with(
        ".additionalProperties",
        json!({ "type": "object", "properties": { "a": { "type": "string" } }, "additionalProperties": { "type": "string" } }),
    );
    with(".$ref", json!({ "$ref": "#/definitions/x" }));
    with(".allOf[0].type", json!({ "type": "string", "allOf": [{ "type": "boolean" }] }));
    with(
        ".x-kubernetes-list-map-keys",
        json!({ "type": "array", "x-kubernetes-list-type": "map", "items": { "type": "object" } }),
    );
    with(
        ".x-kubernetes-validations[0].rule",
        json!({ "type": "string", "x-kubernetes-validations": [{ "rule": "self ==" }] }),
    );
}
