//! What somebody may do, asked by himself or by others.

use std::collections::BTreeMap;

use beeline_api::ApiError;
use beeline_api::meta::{list, text};
use beeline_auth::rbac::Rule;
use beeline_auth::{Attributes, Target};
use beeline_registry::Caller;
use serde_json::{Value, json};

use crate::app::App;

/// `SelfSubjectAccessReview`
pub(super) fn own(app: &App, caller: &Caller, spec: &Value) -> Result<Value, ApiError> {
    decide(app, caller, spec)
}

/// `SubjectAccessReview` and `LocalSubjectAccessReview`
pub(super) fn of_another(app: &App, _: &Caller, spec: &Value) -> Result<Value, ApiError> {
    let texts = |value: &Value| -> Vec<String> {
        value
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect()
    };
    let groups = texts(&spec["groups"]);
    if text(spec, "user").is_empty() && groups.is_empty() {
        let why = "spec.user: Invalid value: \"\": at least one of user or group must be specified";
        return Err(ApiError::new(422, "Invalid", why));
    }
    let extra: BTreeMap<String, Vec<String>> = spec["extra"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, values)| (key.clone(), texts(values)))
        .collect();
    let other = Caller {
        user: text(spec, "user").to_owned(),
        groups,
        uid: text(spec, "uid").to_owned(),
        extra,
        ..Caller::default()
    };
    decide(app, &other, spec)
}

fn decide(app: &App, who: &Caller, spec: &Value) -> Result<Value, ApiError> {
    let (path, asked) = (&spec["nonResourceAttributes"], &spec["resourceAttributes"]);
    let (verb, target) = match (path.is_object(), asked.is_object()) {
        (true, false) => (text(path, "verb"), Target::Path(text(path, "path"))),
        (false, true) => (
            text(asked, "verb"),
            Target::Resource {
                group: text(asked, "group"),
                resource: text(asked, "resource"),
                subresource: text(asked, "subresource"),
                namespace: text(asked, "namespace"),
                name: text(asked, "name"),
            },
        ),
        _ => {
            let text = "spec.resourceAttributes: Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified";
            return Err(ApiError::new(422, "Invalid", text));
        }
    };
    let wanted =
        Attributes { node_selected: node_selected(asked), ..Attributes::new(verb, target) };
    Ok(match app.decide(who, &wanted) {
        Ok(()) => json!({ "allowed": true }),
        Err(why) if why.is_empty() => json!({ "allowed": false }),
        Err(why) => json!({ "allowed": false, "reason": why }),
    })
}

/// The one node that `fieldSelector.requirements` select.
fn node_selected(asked: &Value) -> &str {
    let is_node = |one: &&Value| {
        matches!(text(one, "key"), "spec.nodeName" | "nodeName") && one["operator"] == "In"
    };
    let found = list(&asked["fieldSelector"], "requirements").iter().find(is_node);
    match found.map(|one| list(one, "values")) {
        Some([one]) => one.as_str().unwrap_or_default(),
        _ => "",
    }
}

/// `SelfSubjectRulesReview`: what roles grant in a namespace. What is granted by fixed rules, to administrators and nodes,
/// shows as far as it can be said in rules.
pub(super) fn rules(app: &App, caller: &Caller, spec: &Value) -> Result<Value, ApiError> {
    let held = app.registry().rules(caller, text(spec, "namespace"));
    let (paths, objects): (Vec<&Rule>, Vec<&Rule>) =
        held.iter().partition(|rule| !rule.non_resource_urls.is_empty());
    let object = |rule: &Rule| {
        let mut one = json!({ "verbs": rule.verbs, "apiGroups": rule.api_groups, "resources": rule.resources });
        if !rule.resource_names.is_empty() {
            one["resourceNames"] = json!(rule.resource_names);
        }
        one
    };
    let path =
        |rule: &Rule| json!({ "verbs": rule.verbs, "nonResourceURLs": rule.non_resource_urls });
    let by_code = caller.groups.iter().any(|group| group == "system:nodes");
    Ok(json!({
        "resourceRules": objects.into_iter().map(object).collect::<Vec<_>>(),
        "nonResourceRules": paths.into_iter().map(path).collect::<Vec<_>>(),
        "incomplete": by_code,
    }))
}
