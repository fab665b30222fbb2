//! Whether a definition's schema is a structural one (KEP 1111), in upstream's words.
//!
//! In: a version of a CustomResourceDefinition. Out: causes.

use regex::Regex;
use serde_json::Value;

use super::jsonpath::Path;
use super::schema::Schema;
use super::{check, prune, rules};
use crate::kinds::Causes;
use crate::meta::{list, text};
use crate::validate::{forbidden, invalid, not_supported, required};

/// Judges the schema and the paths of a version.
pub(crate) fn version(version: &Value, at: &str, causes: &mut Causes) {
    let schema = &version["schema"]["openAPIV3Schema"];
    let here = format!("{at}.schema.openAPIV3Schema");
    if schema.is_object() {
        metadata(&schema["properties"]["metadata"], &here, causes);
        node(schema, &here, Place::Root, causes);
    }
    for (i, column) in list(version, "additionalPrinterColumns").iter().enumerate() {
        let field = format!("{at}.additionalPrinterColumns[{i}].jsonPath");
        path(text(column, "jsonPath"), &field, causes);
    }
    let scale = &version["subresources"]["scale"];
    for (name, root) in [
        ("specReplicasPath", ".spec."),
        ("statusReplicasPath", ".status."),
        ("labelSelectorPath", "."),
    ] {
        let given = text(scale, name);
        if !given.is_empty() && !given.starts_with(root) {
            let field = format!("{at}.subresources.scale.{name}");
            let message = format!("should be a json path under {}", root.trim_end_matches('.'));
            causes.push(invalid(&field, given, &message));
        }
    }
}

fn path(given: &str, field: &str, causes: &mut Causes) {
    if !given.is_empty() && Path::parse(given).is_none() {
        let message = "is invalid: unrecognized JSONPath: fields, indexes, * and filters of one comparison are known";
        causes.push(invalid(field, given, message));
    }
}

/// Where in the schema a node is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Root,
    Field,
    Items,
    Others,
    /// In `allOf` and the like: validation only.
    Logical,
}

fn metadata(of: &Value, at: &str, causes: &mut Causes) {
    let restricted = of["properties"].as_object().into_iter().flatten().map(|(name, _)| name);
    if { restricted }.any(|name| name != "name" && name != "generateName") {
        let message = "must not specify anything other than name and generateName, but metadata is implicitly specified";
        causes.push(forbidden(&format!("{at}.properties[metadata]"), message));
    }
}

fn node(of: &Value, at: &str, place: Place, causes: &mut Causes) {
    shape(of, at, place, causes);
    not_structural(of, at, place, causes);
    if let Some(pattern) = of["pattern"].as_str()
        && let Err(why) = Regex::new(pattern)
    {
        let message = format!("must be a valid regular expression, but isn't: {why}");
        causes.push(invalid(&format!("{at}.pattern"), pattern, &message));
    }
    list_type(of, at, causes);
    default(of, at, causes);
    rules::check(list(of, "x-kubernetes-validations"), at, causes);
    for (name, of) in of["properties"].as_object().into_iter().flatten() {
        let here = format!("{at}.properties[{name}]");
        if !(place == Place::Root && name == "metadata") {
            node(of, &here, inner(place, Place::Field), causes);
        }
    }
    if of["items"].is_object() {
        node(&of["items"], &format!("{at}.items"), inner(place, Place::Items), causes);
    }
    if of["additionalProperties"].is_object() {
        let here = format!("{at}.additionalProperties");
        node(&of["additionalProperties"], &here, inner(place, Place::Others), causes);
    }
    for joined in ["allOf", "anyOf", "oneOf"] {
        for (i, of) in list(of, joined).iter().enumerate() {
            node(of, &format!("{at}.{joined}[{i}]"), Place::Logical, causes);
        }
    }
    if of["not"].is_object() {
        node(&of["not"], &format!("{at}.not"), Place::Logical, causes);
    }
}

fn inner(place: Place, within: Place) -> Place {
    if place == Place::Logical { Place::Logical } else { within }
}

/// Each node that is not in a logical one has a type.
fn shape(of: &Value, at: &str, place: Place, causes: &mut Causes) {
    let kind = text(of, "type");
    let known = ["array", "boolean", "integer", "number", "object", "string"];
    if !kind.is_empty() && !known.contains(&kind) {
        causes.push(not_supported(&format!("{at}.type"), kind, &known));
    }
    let free = of["x-kubernetes-preserve-unknown-fields"] == true
        || of["x-kubernetes-int-or-string"] == true;
    let why = match place {
        Place::Root | Place::Logical => None,
        Place::Field => Some("must not be empty for specified object fields"),
        Place::Items => Some("must not be empty for specified array items"),
        Place::Others => Some("must not be empty for additionalProperties"),
    };
    if let Some(why) = why.filter(|_| kind.is_empty() && !free) {
        causes.push(required(&format!("{at}.type"), why));
    }
    if kind == "array" && !of["items"].is_object() && place != Place::Logical {
        if of["items"].is_array() {
            let why = "items must be a schema object and not an array";
            causes.push(forbidden(&format!("{at}.items"), why));
        } else {
            causes.push(required(&format!("{at}.items"), "must be specified"));
        }
    }
    if of["x-kubernetes-embedded-resource"] == true && kind != "object" {
        let why = "must be object if x-kubernetes-embedded-resource is true";
        causes.push(invalid(&format!("{at}.type"), kind, why));
    }
}

fn not_structural(of: &Value, at: &str, place: Place, causes: &mut Causes) {
    let mut no = |field: &str, why: &str| causes.push(forbidden(&format!("{at}.{field}"), why));
    for field in
        ["$ref", "definitions", "dependencies", "patternProperties", "additionalItems", "id"]
    {
        if of.get(field).is_some() {
            no(field, &format!("{field} is not supported"));
        }
    }
    if of["uniqueItems"] == true {
        let why =
            "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        no("uniqueItems", why);
    }
    if of.get("additionalProperties").is_some_and(|a| !a.is_null()) {
        if of["properties"].as_object().is_some_and(|p| !p.is_empty()) {
            no("additionalProperties", "additionalProperties and properties are mutual exclusive");
        }
        if of["additionalProperties"] == false {
            no("additionalProperties", "additionalProperties cannot be set to false");
        }
    }
    if of.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(false)) {
        no("x-kubernetes-preserve-unknown-fields", "must be true or undefined");
    }
    // In an alternative for a number or text these two types are what it is made of.
    if place == Place::Logical {
        let part_of_either = matches!(text(of, "type"), "integer" | "string")
            && of.as_object().is_some_and(|o| o.len() == 1);
        if !text(of, "type").is_empty() && !part_of_either {
            no("type", "must be empty to be structural");
        }
        for field in ["description", "default", "title", "nullable", "additionalProperties"] {
            if of.get(field).is_some_and(|v| !v.is_null()) {
                no(field, "must be empty to be structural");
            }
        }
    }
}

fn list_type(of: &Value, at: &str, causes: &mut Causes) {
    let keys = list(of, "x-kubernetes-list-map-keys");
    let field = format!("{at}.x-kubernetes-list-map-keys");
    let kind = text(of, "x-kubernetes-list-type");
    if !kind.is_empty() && text(of, "type") != "array" {
        let why = "must be array if x-kubernetes-list-type is specified";
        causes.push(invalid(&format!("{at}.type"), text(of, "type"), why));
    }
    match kind {
        "" | "atomic" | "set" if keys.is_empty() => {}
        "map" if keys.is_empty() => {
            causes.push(required(&field, "must not be empty if x-kubernetes-list-type is map"));
        }
        "map" => map_keys(of, &field, keys, causes),
        "" | "atomic" | "set" => {
            let why = "must be map if x-kubernetes-list-map-keys is non-empty";
            causes.push(invalid(&format!("{at}.x-kubernetes-list-type"), kind, why));
        }
        other => {
            let known = ["atomic", "map", "set"];
            causes.push(not_supported(&format!("{at}.x-kubernetes-list-type"), other, &known));
        }
    }
}

fn map_keys(of: &Value, field: &str, keys: &[Value], causes: &mut Causes) {
    let items = &of["items"];
    for (i, key) in keys.iter().enumerate() {
        let name = key.as_str().unwrap_or_default();
        let Some(property) = items["properties"].get(name) else {
            let why = "entries must all be names of item properties";
            causes.push(invalid(&format!("{field}[{i}]"), key.clone(), why));
            continue;
        };
        let needed = list(items, "required").contains(key) || property.get("default").is_some();
        if !needed {
            let why = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
            causes.push(required(&format!("{field}[{i}].default"), why));
        }
    }
}

/// A default is a value of its schema, with nothing that would be pruned.
fn default(of: &Value, at: &str, causes: &mut Causes) {
    let Some(default) = of.get("default").filter(|d| !d.is_null()) else { return };
    let field = format!("{at}.default");
    let schema = Schema::parse(of);
    let whole = Schema { properties: [("default".to_owned(), schema)].into(), ..Schema::default() };
    let mut value = serde_json::json!({ "default": default });
    if !prune::prune(&mut value, &whole).is_empty() {
        causes.push(invalid(&field, default.clone(), "must not have unknown fields"));
        return;
    }
    prune::fill(&mut value, &whole);
    let mut found = Causes::new();
    check::check(&value, None, &whole, &mut found);
    causes.extend(found.into_iter().map(|mut cause| {
        cause.field = format!("{at}.{}", cause.field);
        cause
    }));
}
