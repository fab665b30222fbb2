//! Values that do not fit, and the words for it.

use serde_json::json;

use super::*;

fn said(schema: &Value, value: Value, old: Option<Value>) -> Vec<String> {
    let mut causes = Causes::new();
    let schema = Schema::parse(&json!({ "type": "object", "properties": { "spec": schema } }));
    let whole = |spec: Value| json!({ "metadata": { "name": "x" }, "spec": spec });
    let old = old.map(whole);
    check(&whole(value), old.as_ref(), &schema, &mut causes);
    causes.into_iter().map(|c| format!("{}: {}", c.field, c.message)).collect()
}

fn each(cases: &[(Value, Value, &str)]) {
    for (schema, value, wanted) in cases {
        assert_eq!(said(schema, value.clone(), None), [*wanted], "{schema}");
    }
}

#[test]
fn types_in_upstreams_words() {
    each(&[
        (
            json!({ "type": "integer" }),
            json!("a"),
            "spec: Invalid value: \"string\": spec in body must be of type integer: \"string\"",
        ),
        (
            json!({ "type": "integer" }),
            json!(1.5),
            "spec: Invalid value: \"number\": spec in body must be of type integer: \"number\"",
        ),
        (
            json!({ "type": "string" }),
            json!(null),
            "spec: Invalid value: \"null\": spec in body must be of type string: \"null\"",
        ),
        (
            json!({ "type": "array", "items": { "type": "string" } }),
            json!(["a", 1]),
            "spec[1]: Invalid value: \"integer\": spec[1] in body must be of type string: \"integer\"",
        ),
        (json!({ "type": "object", "required": ["a"] }), json!({}), "spec.a: Required value"),
        (
            json!({ "type": "object", "oneOf": [{ "required": ["a"] }, { "required": ["b"] }] }),
            json!({}),
            "spec: Invalid value: {}: spec in body must validate one and only one schema (oneOf). Found none valid",
        ),
    ]);
}

#[test]
fn numbers_and_text_in_upstreams_words() {
    each(&[
        (
            json!({ "type": "string", "enum": ["a", "b"] }),
            json!("c"),
            "spec: Unsupported value: \"c\": supported values: \"a\", \"b\"",
        ),
        (
            json!({ "type": "integer", "minimum": 1 }),
            json!(0),
            "spec: Invalid value: 0: spec in body should be greater than or equal to 1",
        ),
        (
            json!({ "type": "integer", "maximum": 10 }),
            json!(11),
            "spec: Invalid value: 11: spec in body should be less than or equal to 10",
        ),
        (
            json!({ "type": "number", "minimum": 0, "exclusiveMinimum": true }),
            json!(0),
            "spec: Invalid value: 0: spec in body should be greater than 0",
        ),
        (
            json!({ "type": "integer", "multipleOf": 5 }),
            json!(7),
            "spec: Invalid value: 7: spec in body should be a multiple of 5",
        ),
        (
            json!({ "type": "string", "minLength": 2 }),
            json!("a"),
            "spec: Invalid value: \"a\": spec in body should be at least 2 chars long",
        ),
        (
            json!({ "type": "string", "maxLength": 2 }),
            json!("abc"),
            "spec: Too long: may not be more than 2 bytes",
        ),
        (
            json!({ "type": "string", "pattern": "^[a-z]+$" }),
            json!("A1"),
            "spec: Invalid value: \"A1\": spec in body should match '^[a-z]+$'",
        ),
        (
            json!({ "type": "string", "format": "date-time" }),
            json!("now"),
            "spec: Invalid value: \"now\": spec in body must be of type date-time: \"now\"",
        ),
        (
            json!({ "type": "array", "minItems": 1 }),
            json!([]),
            "spec: Invalid value: 0: spec in body should have at least 1 items",
        ),
    ]);
}

#[test]
fn lists_and_combinations_in_upstreams_words() {
    each(&[
        (
            json!({ "type": "array", "maxItems": 1 }),
            json!([1, 2]),
            "spec: Too many: 2: must have at most 1 items",
        ),
        (
            json!({ "type": "object", "minProperties": 1 }),
            json!({}),
            "spec: Invalid value: 0: spec in body should have at least 1 properties",
        ),
        (
            json!({ "type": "array", "x-kubernetes-list-type": "set", "items": { "type": "string" } }),
            json!(["a", "a"]),
            "spec[1]: Duplicate value: \"a\"",
        ),
        (
            json!({ "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n"], "items": { "type": "object" } }),
            json!([{ "n": "a" }, { "n": "a", "x": 1 }]),
            "spec[1]: Duplicate value: {\"n\":\"a\"}",
        ),
        (
            json!({ "x-kubernetes-int-or-string": true }),
            json!(true),
            "spec: Invalid value: \"boolean\": spec in body must be of type integer,string: \"boolean\"",
        ),
        (
            json!({ "type": "object", "anyOf": [{ "required": ["a"] }] }),
            json!({}),
            "spec: Invalid value: {}: spec in body must validate at least one schema (anyOf)",
        ),
        (
            json!({ "type": "string", "not": { "enum": ["a"] } }),
            json!("a"),
            "spec: Invalid value: \"a\": spec in body must not validate the schema (not)",
        ),
        (
            json!({ "type": "string", "allOf": [{ "maxLength": 1 }] }),
            json!("ab"),
            "spec: Too long: may not be more than 1 bytes",
        ),
    ]);
}

#[test]
fn what_fits_is_not_complained_about() {
    for (schema, value) in [
        (json!({ "type": "number" }), json!(1)),
        (json!({ "type": "integer" }), json!(2.0)),
        (json!({ "type": "string", "nullable": true }), json!(null)),
        (json!({ "x-kubernetes-int-or-string": true }), json!("25%")),
        (json!({ "x-kubernetes-preserve-unknown-fields": true }), json!({ "a": [1, null] })),
        (
            json!({ "type": "object", "additionalProperties": { "type": "string" } }),
            json!({ "a": "b" }),
        ),
        (
            json!({ "type": "object", "oneOf": [{ "required": ["a"] }, { "required": ["b"] }] }),
            json!({ "b": 1 }),
        ),
    ] {
        assert_eq!(said(&schema, value, None), Vec::<String>::new(), "{schema}");
    }
}

#[test]
fn what_an_update_leaves_alone_is_not_judged_again() {
    let schema = json!({ "type": "object", "properties": {
        "old": { "type": "integer", "minimum": 5 }, "new": { "type": "integer", "minimum": 5 },
        "ports": { "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n"],
            "items": { "type": "object", "properties": { "n": { "type": "string" }, "p": { "type": "integer", "maximum": 9 } } } } } });
    let old = json!({ "old": 1, "new": 6, "ports": [{ "n": "a", "p": 10 }] });
    let new = json!({ "old": 1, "new": 7, "ports": [{ "n": "b", "p": 3 }, { "n": "a", "p": 10 }] });
    assert_eq!(said(&schema, new, Some(old.clone())), Vec::<String>::new());
    let worse = json!({ "old": 2, "new": 7, "ports": [{ "n": "a", "p": 11 }] });
    assert_eq!(said(&schema, worse, Some(old)).len(), 2);
}

#[test]
fn rules_run_when_the_values_are_right() {
    let schema = json!({ "type": "object", "properties": { "a": { "type": "integer" } },
        "x-kubernetes-validations": [{ "rule": "self.a < 3", "message": "a is big" }] });
    assert_eq!(
        said(&schema, json!({ "a": 3 }), None),
        ["spec: Invalid value: \"object\": a is big"]
    );
    let wrong = said(&schema, json!({ "a": "x" }), None);
    assert!(wrong.len() == 1 && wrong[0].starts_with("spec.a:"), "{wrong:?}");
    assert_eq!(said(&schema, json!({ "a": 3 }), Some(json!({ "a": 3 }))), Vec::<String>::new());
}
