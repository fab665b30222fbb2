//! rbac.authorization.k8s.io/v1: roles and who has them. What they allow is decided elsewhere.

use serde_json::{Value, json};

use super::rules::{self, AGE, BASE, NAME, col, date, wide};
use super::{Causes, Column, KindInfo};
use crate::meta::{self, list, or_set, text};
use crate::time::Timestamp;
use crate::validate::{self, invalid, not_supported, required};

const GROUP: &str = "rbac.authorization.k8s.io";

const ROLE_BASE: KindInfo = KindInfo {
    group: GROUP,
    create_on_update: true,
    columns: &[NAME, date("Created At")],
    cells: |o, _| vec![rules::name_cell(o), rules::created_cell(o)],
    default: |object| {
        if let Some(role) = object.as_object_mut() {
            or_set(role, "rules", json!([]));
        }
    },
    name_rule: validate::path_segment,
    ..BASE
};

const BINDING_COLUMNS: &[Column] =
    &[NAME, col("Role"), AGE, wide("Users"), wide("Groups"), wide("ServiceAccounts")];

const BINDING_BASE: KindInfo = KindInfo {
    group: GROUP,
    create_on_update: true,
    columns: BINDING_COLUMNS,
    cells: binding_cells,
    default: default_binding,
    name_rule: validate::path_segment,
    validate_update: |new, old, causes| {
        if new["roleRef"] != old["roleRef"] {
            causes.push(invalid("roleRef", new["roleRef"].clone(), "cannot change roleRef"));
        }
    },
    ..BASE
};

/// Role.
pub static ROLE: KindInfo = KindInfo {
    kind: "Role",
    plural: "roles",
    singular: "role",
    validate: |object, causes| policy_rules(object, true, causes),
    ..ROLE_BASE
};

/// ClusterRole.
pub static CLUSTER_ROLE: KindInfo = KindInfo {
    kind: "ClusterRole",
    plural: "clusterroles",
    singular: "clusterrole",
    namespaced: false,
    validate: |object, causes| {
        policy_rules(object, false, causes);
        let aggregation = &object["aggregationRule"];
        if !aggregation.is_object() {
            return;
        }
        if list(aggregation, "clusterRoleSelectors").is_empty() {
            let message = "at least one clusterRoleSelector required if aggregationRule is non-nil";
            causes.push(required("aggregationRule.clusterRoleSelectors", message));
        }
        for (i, selector) in list(aggregation, "clusterRoleSelectors").iter().enumerate() {
            let at = format!("aggregationRule.clusterRoleSelectors[{i}]");
            rules::selector(selector, &at, causes);
        }
    },
    ..ROLE_BASE
};

/// RoleBinding.
pub static ROLE_BINDING: KindInfo = KindInfo {
    kind: "RoleBinding",
    plural: "rolebindings",
    singular: "rolebinding",
    validate: |object, causes| binding(object, &["ClusterRole", "Role"], causes),
    ..BINDING_BASE
};

/// ClusterRoleBinding.
pub static CLUSTER_ROLE_BINDING: KindInfo = KindInfo {
    kind: "ClusterRoleBinding",
    plural: "clusterrolebindings",
    singular: "clusterrolebinding",
    namespaced: false,
    validate: |object, causes| binding(object, &["ClusterRole"], causes),
    ..BINDING_BASE
};

/// Users and groups are of RBAC, accounts of the core group.
fn default_binding(object: &mut Value) {
    if object["roleRef"].is_object() {
        or_set(meta::map(object, "roleRef"), "apiGroup", GROUP);
    }
    for subject in meta::items(object, "subjects") {
        let Some(subject) = subject.as_object_mut() else { continue };
        if matches!(subject.get("kind").and_then(Value::as_str), Some("User" | "Group")) {
            or_set(subject, "apiGroup", GROUP);
        }
    }
}

fn policy_rules(object: &Value, namespaced: bool, causes: &mut Causes) {
    for (i, rule) in list(object, "rules").iter().enumerate() {
        let at = format!("rules[{i}]");
        let none = |field: &str| list(rule, field).is_empty();
        if none("verbs") {
            let message = "verbs must contain at least one value";
            causes.push(required(&format!("{at}.verbs"), message));
        }
        if !none("nonResourceURLs") {
            let field = format!("{at}.nonResourceURLs");
            let shown = rule["nonResourceURLs"].clone();
            if namespaced {
                let message = "namespaced rules cannot apply to non-resource URLs";
                causes.push(invalid(&field, shown.clone(), message));
            }
            if !none("apiGroups") || !none("resources") || !none("resourceNames") {
                let message = "rules cannot apply to both regular resources and non-resource URLs";
                causes.push(invalid(&field, shown, message));
            }
            continue;
        }
        if none("apiGroups") {
            let message = "resource rules must supply at least one api group";
            causes.push(required(&format!("{at}.apiGroups"), message));
        }
        if none("resources") {
            let message = "resource rules must supply at least one resource";
            causes.push(required(&format!("{at}.resources"), message));
        }
    }
}

fn binding(object: &Value, kinds: &[&str], causes: &mut Causes) {
    let role = &object["roleRef"];
    if text(role, "apiGroup") != GROUP {
        causes.push(not_supported("roleRef.apiGroup", text(role, "apiGroup"), &[GROUP]));
    }
    if !kinds.contains(&text(role, "kind")) {
        causes.push(not_supported("roleRef.kind", text(role, "kind"), kinds));
    }
    if rules::required(&role["name"], "roleRef.name", "", causes) {
        rules::named(&role["name"], "roleRef.name", validate::path_segment, causes);
    }
    for (i, subject) in list(object, "subjects").iter().enumerate() {
        self::subject(subject, object, &format!("subjects[{i}]"), causes);
    }
}

fn subject(subject: &Value, binding: &Value, at: &str, causes: &mut Causes) {
    rules::required(&subject["name"], &format!("{at}.name"), "", causes);
    let group = text(subject, "apiGroup");
    let of_group = |wanted: &str, causes: &mut Causes| {
        if group != wanted {
            causes.push(not_supported(&format!("{at}.apiGroup"), group, &[wanted]));
        }
    };
    match text(subject, "kind") {
        "ServiceAccount" => {
            if !text(subject, "name").is_empty() {
                let field = format!("{at}.name");
                rules::named(&subject["name"], &field, validate::dns_subdomain, causes);
            }
            of_group("", causes);
            // Of a RoleBinding it is that of the binding, in old objects.
            if meta::namespace(binding).is_empty() || subject["namespace"].is_null() {
                rules::required(&subject["namespace"], &format!("{at}.namespace"), "", causes);
            }
        }
        "User" | "Group" => of_group(GROUP, causes),
        other => {
            let kinds = &["Group", "ServiceAccount", "User"];
            causes.push(not_supported(&format!("{at}.kind"), other, kinds));
        }
    }
}

fn binding_cells(o: &Value, now: Timestamp) -> Vec<Value> {
    let role = &o["roleRef"];
    let of = |kind: &str| {
        let found = list(o, "subjects").iter().filter(|s| s["kind"] == kind);
        let names = found.map(|s| match (kind, text(s, "namespace")) {
            ("ServiceAccount", namespace) if !namespace.is_empty() => {
                format!("{namespace}/{}", text(s, "name"))
            }
            _ => text(s, "name").to_owned(),
        });
        Value::from(names.collect::<Vec<_>>().join(", "))
    };
    vec![
        rules::name_cell(o),
        format!("{}/{}", text(role, "kind"), text(role, "name")).into(),
        rules::age_cell(o, now),
        of("User"),
        of("Group"),
        of("ServiceAccount"),
    ]
}
