//! admissionregistration.k8s.io/v1: who outside is asked about objects. Asking is not done here.

use serde_json::{Value, json};

use super::rules::{self, AGE, BASE, NAME, int};
use super::{Causes, KindInfo};
use crate::expression::Expression;
use crate::meta::{self, list, or_set, text};
use crate::validate::{self, duplicate, forbidden, invalid, required};

/// Variables that the match conditions of a webhook may use.
pub const CONDITION_VARIABLES: [&str; 4] = ["object", "oldObject", "request", "authorizer"];

const WEBHOOK_BASE: KindInfo = KindInfo {
    group: "admissionregistration.k8s.io",
    namespaced: false,
    generation: true,
    columns: &[NAME, int("Webhooks"), AGE],
    cells: |o, now| {
        vec![rules::name_cell(o), list(o, "webhooks").len().into(), rules::age_cell(o, now)]
    },
    ..BASE
};

/// MutatingWebhookConfiguration.
pub static MUTATING_WEBHOOK_CONFIGURATION: KindInfo = KindInfo {
    kind: "MutatingWebhookConfiguration",
    plural: "mutatingwebhookconfigurations",
    singular: "mutatingwebhookconfiguration",
    default: |object| {
        default(object);
        for webhook in meta::items(object, "webhooks") {
            if let Some(webhook) = webhook.as_object_mut() {
                or_set(webhook, "reinvocationPolicy", "Never");
            }
        }
    },
    validate: |object, causes| {
        validate(object, causes);
        for (i, webhook) in list(object, "webhooks").iter().enumerate() {
            let field = format!("webhooks[{i}].reinvocationPolicy");
            let policies = &["IfNeeded", "Never"];
            rules::one_of(&webhook["reinvocationPolicy"], &field, policies, causes);
        }
    },
    ..WEBHOOK_BASE
};

/// ValidatingWebhookConfiguration.
pub static VALIDATING_WEBHOOK_CONFIGURATION: KindInfo = KindInfo {
    kind: "ValidatingWebhookConfiguration",
    plural: "validatingwebhookconfigurations",
    singular: "validatingwebhookconfiguration",
    default,
    validate,
    ..WEBHOOK_BASE
};

fn default(object: &mut Value) {
    for webhook in meta::items(object, "webhooks") {
        for rule in meta::items(webhook, "rules") {
            if let Some(rule) = rule.as_object_mut() {
                or_set(rule, "scope", "*");
            }
        }
        if let Some(service) =
            webhook.pointer_mut("/clientConfig/service").and_then(Value::as_object_mut)
        {
            or_set(service, "port", 443);
        }
        let Some(webhook) = webhook.as_object_mut() else { continue };
        or_set(webhook, "failurePolicy", "Fail");
        or_set(webhook, "matchPolicy", "Equivalent");
        or_set(webhook, "namespaceSelector", json!({}));
        or_set(webhook, "objectSelector", json!({}));
        or_set(webhook, "timeoutSeconds", 10);
    }
}

fn validate(object: &Value, causes: &mut Causes) {
    let mut names = Vec::new();
    for (i, webhook) in list(object, "webhooks").iter().enumerate() {
        let at = format!("webhooks[{i}]");
        let name = text(webhook, "name");
        if names.contains(&name) {
            causes.push(duplicate(&format!("{at}.name"), name));
        }
        names.push(name);
        self::webhook(webhook, &at, causes);
    }
}

fn webhook(webhook: &Value, at: &str, causes: &mut Causes) {
    qualified(text(webhook, "name"), &format!("{at}.name"), causes);
    let versions = list(webhook, "admissionReviewVersions");
    let field = format!("{at}.admissionReviewVersions");
    if versions.is_empty() {
        causes.push(required(&field, "must specify one of v1, v1beta1"));
    } else if !versions.iter().any(|v| *v == "v1" || *v == "v1beta1") {
        let message = "must include at least one of v1, v1beta1";
        causes.push(invalid(&field, webhook["admissionReviewVersions"].clone(), message));
    }
    for (i, rule) in list(webhook, "rules").iter().enumerate() {
        self::rule(rule, &format!("{at}.rules[{i}]"), causes);
    }
    let failure = &["Fail", "Ignore"];
    rules::one_of(&webhook["failurePolicy"], &format!("{at}.failurePolicy"), failure, causes);
    let matching = &["Equivalent", "Exact"];
    rules::one_of(&webhook["matchPolicy"], &format!("{at}.matchPolicy"), matching, causes);
    let effects = &["None", "NoneOnDryRun"];
    let field = format!("{at}.sideEffects");
    if webhook["sideEffects"].is_null() {
        causes.push(required(&field, "must specify one of None, NoneOnDryRun"));
    }
    rules::one_of(&webhook["sideEffects"], &field, effects, causes);
    let timeout = webhook["timeoutSeconds"].as_i64().unwrap_or(10);
    if !(1..=30).contains(&timeout) {
        let message = "the timeout value must be between 1 and 30 seconds";
        causes.push(invalid(&format!("{at}.timeoutSeconds"), timeout, message));
    }
    for field in ["namespaceSelector", "objectSelector"] {
        rules::selector(&webhook[field], &format!("{at}.{field}"), causes);
    }
    client(&webhook["clientConfig"], &format!("{at}.clientConfig"), causes);
    conditions(webhook, at, &CONDITION_VARIABLES, causes);
}

/// A name under a domain of somebody's.
fn qualified(name: &str, field: &str, causes: &mut Causes) {
    if name.is_empty() {
        causes.push(required(field, ""));
        return;
    }
    let problems = validate::dns_subdomain(name, false);
    causes.extend(problems.iter().map(|p| invalid(field, name, p)));
    if problems.is_empty() && name.split('.').count() < 3 {
        let message = "should be a domain with at least three segments separated by dots";
        causes.push(invalid(field, name, message));
    }
}

/// What is asked about.
pub(super) fn rule(rule: &Value, at: &str, causes: &mut Causes) {
    let operations = &["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
    if list(rule, "operations").is_empty() {
        causes.push(required(&format!("{at}.operations"), ""));
    }
    for (i, operation) in list(rule, "operations").iter().enumerate() {
        let field = format!("{at}.operations[{i}]");
        rules::one_of(operation, &field, operations, causes);
    }
    for field in ["apiGroups", "apiVersions", "resources"] {
        let items = list(rule, field);
        let at = format!("{at}.{field}");
        if items.is_empty() {
            causes.push(required(&at, ""));
        }
        if items.len() > 1 && items.iter().any(|i| i == "*") {
            let message = match field {
                "resources" => {
                    "if '*/*' is present, must not specify other resources without subresources"
                }
                _ => "if '*' is present, must not specify other API groups",
            };
            causes.push(invalid(&at, rule[field].clone(), message));
        }
    }
    let scopes = &["*", "Cluster", "Namespaced"];
    rules::one_of(&rule["scope"], &format!("{at}.scope"), scopes, causes);
}

fn client(client: &Value, at: &str, causes: &mut Causes) {
    let (url, service) = (&client["url"], &client["service"]);
    match (url.as_str(), service.is_object()) {
        (Some(_), true) | (None, false) => {
            causes.push(required(at, "exactly one of url or service is required"));
        }
        (Some(url), false) => {
            if !url.starts_with("https://") {
                let message =
                    "'https' is the only allowed URL scheme; desired format: https://host[/path]";
                causes.push(invalid(&format!("{at}.url"), url, message));
            }
        }
        (None, true) => {
            for field in ["name", "namespace"] {
                let at = format!("{at}.service.{field}");
                let message = format!("service {field} is required");
                rules::required(&service[field], &at, &message, causes);
            }
            if let Some(port) = service["port"].as_i64() {
                let message = "port is not valid: must be between 1 and 65535, inclusive";
                let problem = validate::port_number(port).map(|_| message);
                let field = format!("{at}.service.port");
                causes.extend(problem.map(|p| invalid(&field, port, p)));
            }
        }
    }
}

/// Names, and expressions over these variables.
pub(super) fn conditions(of: &Value, at: &str, variables: &[&str], causes: &mut Causes) {
    let mut names = Vec::new();
    for (i, condition) in list(of, "matchConditions").iter().enumerate() {
        let at = format!("{at}.matchConditions[{i}]");
        let expression = text(condition, "expression").trim();
        if expression.is_empty() {
            causes.push(required(&format!("{at}.expression"), ""));
        } else if let Err(why) = Expression::compile(expression, variables) {
            causes.push(invalid(&format!("{at}.expression"), expression, &why));
        }
        let name = text(condition, "name");
        if rules::required(&condition["name"], &format!("{at}.name"), "", causes) {
            let problems = validate::label_key(name);
            causes.extend(problems.iter().map(|p| invalid(&format!("{at}.name"), name, p)));
        }
        if names.contains(&name) {
            causes.push(duplicate(&format!("{at}.name"), name));
        }
        names.push(name);
    }
    if names.len() > 64 {
        causes.push(forbidden(&format!("{at}.matchConditions"), "must have at most 64 items"));
    }
}
