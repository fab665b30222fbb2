//! apiextensions.k8s.io/v1 CustomResourceDefinition: the objects alone. What they define is made in `custom`.

use serde_json::{Value, json};

use super::rules::{self, BASE, NAME, date, status};
use super::{Causes, KindInfo};
use crate::custom;
use crate::meta::{self, list, or_set, text};
use crate::validate::{self, invalid, required};

/// CustomResourceDefinition.
pub static CUSTOM_RESOURCE_DEFINITION: KindInfo = KindInfo {
    group: "apiextensions.k8s.io",
    kind: "CustomResourceDefinition",
    plural: "customresourcedefinitions",
    singular: "customresourcedefinition",
    short_names: &["crd", "crds"],
    categories: &["api-extensions"],
    namespaced: false,
    status_subresource: true,
    generation: true,
    subresources: &[status("CustomResourceDefinition")],
    columns: &[NAME, date("Created At")],
    cells: |o, _| vec![rules::name_cell(o), rules::created_cell(o)],
    default,
    prepare_create: stored_versions,
    validate,
    validate_update,
    ..BASE
};

fn default(object: &mut Value) {
    if object["spec"].is_object() {
        let spec = meta::map(object, "spec");
        if let Some(names) = spec.get_mut("names").and_then(Value::as_object_mut) {
            let kind = names.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
            if !kind.is_empty() {
                or_set(names, "singular", kind.to_lowercase());
                or_set(names, "listKind", format!("{kind}List"));
            }
        }
        or_set(spec, "conversion", json!({ "strategy": "None" }));
        let service = spec
            .get_mut("conversion")
            .and_then(|c| c.pointer_mut("/webhook/clientConfig/service"))
            .and_then(Value::as_object_mut);
        if let Some(service) = service {
            or_set(service, "port", 443);
        }
    }
    let status = meta::map(object, "status");
    or_set(status, "conditions", json!([]));
    or_set(status, "acceptedNames", json!({ "kind": "", "plural": "" }));
    or_set(status, "storedVersions", json!([]));
}

/// From the start the store may hold objects of the version that is stored.
fn stored_versions(object: &mut Value) {
    let versions = list(&object["spec"], "versions").iter().filter(|v| v["storage"] == true);
    let names: Vec<Value> = versions.map(|v| v["name"].clone()).collect();
    meta::map(object, "status").insert("storedVersions".to_owned(), Value::Array(names));
}

fn validate(object: &Value, causes: &mut Causes) {
    let spec = &object["spec"];
    let (group, names) = (text(spec, "group"), &spec["names"]);
    let wanted = format!("{}.{group}", text(names, "plural"));
    let name = meta::name(object);
    if name != wanted {
        let message = "must be spec.names.plural+\".\"+spec.group";
        causes.push(invalid("metadata.name", name, message));
    }
    if rules::required(&spec["group"], "spec.group", "", causes) {
        rules::named(&spec["group"], "spec.group", validate::dns_subdomain, causes);
        if !group.contains('.') {
            let message = "should be a domain with at least one dot";
            causes.push(invalid("spec.group", group, message));
        }
    }
    let scopes = &["Cluster", "Namespaced"];
    rules::required_of(&spec["scope"], "spec.scope", scopes, causes);
    self::names(names, causes);
    versions(spec, causes);
    if spec["preserveUnknownFields"] == true {
        let message = "must be false in order to use defaults in the schema";
        causes.push(invalid("spec.preserveUnknownFields", true, message));
    }
    conversion(&spec["conversion"], causes);
}

fn names(names: &Value, causes: &mut Causes) {
    for field in ["plural", "singular"] {
        let at = format!("spec.names.{field}");
        if field == "singular" && text(names, field).is_empty() {
            continue;
        }
        if rules::required(&names[field], &at, "", causes) {
            rules::named(&names[field], &at, validate::dns_1035_label, causes);
        }
    }
    for field in ["kind", "listKind"] {
        let at = format!("spec.names.{field}");
        if rules::required(&names[field], &at, "", causes) {
            let shown = text(names, field);
            let problems = validate::dns_1035_label(&shown.to_lowercase(), false);
            let words = problems
                .iter()
                .map(|p| format!("may have mixed case, but should otherwise match: {p}"));
            causes.extend(words.map(|p| invalid(&at, shown, &p)));
        }
    }
    if text(names, "kind") == text(names, "listKind") && !text(names, "kind").is_empty() {
        let message = "kind and listKind may not be the same";
        causes.push(invalid("spec.names.listKind", text(names, "listKind"), message));
    }
}

fn versions(spec: &Value, causes: &mut Causes) {
    let versions = list(spec, "versions");
    if versions.is_empty() {
        causes.push(required("spec.versions", "must have at least one version"));
        return;
    }
    let mut seen: Vec<&str> = Vec::new();
    for (i, version) in versions.iter().enumerate() {
        let at = format!("spec.versions[{i}]");
        let name = text(version, "name");
        let problems = validate::dns_1035_label(name, false);
        causes.extend(problems.iter().map(|p| invalid(&format!("{at}.name"), name, p)));
        if seen.contains(&name) {
            causes.push(validate::duplicate(&format!("{at}.name"), name));
        }
        seen.push(name);
        let schema = &version["schema"]["openAPIV3Schema"];
        let field = format!("{at}.schema.openAPIV3Schema");
        if !schema.is_object() {
            causes.push(required(&field, "schemas are required"));
        } else if text(schema, "type").is_empty() {
            causes.push(required(&format!("{field}.type"), "must not be empty at the root"));
        } else if text(schema, "type") != "object" {
            let (field, kind) = (format!("{field}.type"), text(schema, "type"));
            causes.push(invalid(&field, kind, "must be object at the root"));
        }
        custom::check_version(version, &at, causes);
        let scale = &version["subresources"]["scale"];
        if scale.is_object() {
            for part in ["specReplicasPath", "statusReplicasPath"] {
                let field = format!("{at}.subresources.scale.{part}");
                rules::required(&scale[part], &field, "", causes);
            }
        }
        for (j, column) in list(version, "additionalPrinterColumns").iter().enumerate() {
            let at = format!("{at}.additionalPrinterColumns[{j}]");
            let types = &["boolean", "date", "integer", "number", "string"];
            rules::required(&column["name"], &format!("{at}.name"), "", causes);
            rules::required_of(&column["type"], &format!("{at}.type"), types, causes);
            rules::required(&column["jsonPath"], &format!("{at}.jsonPath"), "", causes);
        }
    }
    if versions.iter().filter(|v| v["storage"] == true).count() != 1 {
        let message = "must have exactly one version marked as storage version";
        causes.push(invalid("spec.versions", spec["versions"].clone(), message));
    }
}

fn conversion(conversion: &Value, causes: &mut Causes) {
    let strategies = &["None", "Webhook"];
    let field = "spec.conversion.strategy";
    rules::required_of(&conversion["strategy"], field, strategies, causes);
    let webhook = &conversion["webhook"];
    if conversion["strategy"] == "Webhook" {
        if !webhook["clientConfig"].is_object() {
            let message = "required when strategy is set to Webhook";
            causes.push(required("spec.conversion.webhook.clientConfig", message));
        }
        if list(webhook, "conversionReviewVersions").is_empty() {
            let field = "spec.conversion.webhook.conversionReviewVersions";
            causes.push(required(field, ""));
        }
    }
}

/// Once its names are accepted, a definition keeps what its objects' addresses are made of.
fn validate_update(new: &Value, old: &Value, causes: &mut Causes) {
    let (new, before) = (&new["spec"], &old["spec"]);
    rules::immutable(&new["group"], &before["group"], "spec.group", causes);
    rules::immutable(
        &new["names"]["plural"],
        &before["names"]["plural"],
        "spec.names.plural",
        causes,
    );
    let established = list(&old["status"], "conditions")
        .iter()
        .any(|c| c["type"] == "Established" && c["status"] == "True");
    if established {
        rules::immutable(&new["scope"], &before["scope"], "spec.scope", causes);
        let (new, before) = (&new["names"]["kind"], &before["names"]["kind"]);
        rules::immutable(new, before, "spec.names.kind", causes);
    }
    for version in list(&old["status"], "storedVersions") {
        let still = list(new, "versions").iter().any(|v| v["name"] == *version);
        if !still {
            let message = "must appear in spec.versions";
            let shown = version.clone();
            causes.push(invalid("status.storedVersions[0]", shown, message));
        }
    }
}
