//! admissionregistration.k8s.io/v1: policies in expressions, and what they are bound to. Expressions have to compile;
//! evaluating them is not done here.

use serde_json::{Value, json};

use super::rules::{self, AGE, BASE, NAME, col, int, status};
use super::webhook;
use super::{Causes, KindInfo};
use crate::expression::Expression;
use crate::meta::{self, list, or_set, text};
use crate::validate::{self, forbidden, invalid, required};

const GROUP: &str = "admissionregistration.k8s.io";

/// Variables that the expressions of a policy may use.
pub const POLICY_VARIABLES: [&str; 7] =
    ["object", "oldObject", "request", "params", "namespaceObject", "variables", "authorizer"];

/// Reasons that a validation may give.
const REASONS: [&str; 4] = ["Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized"];

/// ValidatingAdmissionPolicy.
pub static VALIDATING_ADMISSION_POLICY: KindInfo = KindInfo {
    group: GROUP,
    kind: "ValidatingAdmissionPolicy",
    plural: "validatingadmissionpolicies",
    singular: "validatingadmissionpolicy",
    namespaced: false,
    status_subresource: true,
    generation: true,
    subresources: &[status("ValidatingAdmissionPolicy")],
    columns: &[NAME, int("Validations"), col("ParamKind"), AGE],
    cells: |o, now| {
        let spec = &o["spec"];
        let kind = match &spec["paramKind"] {
            Value::Object(_) => {
                let kind = &spec["paramKind"];
                format!("{}/{}", text(kind, "apiVersion"), text(kind, "kind"))
            }
            _ => "<unset>".to_owned(),
        };
        let count = list(spec, "validations").len();
        vec![rules::name_cell(o), count.into(), kind.into(), rules::age_cell(o, now)]
    },
    default: |object| {
        if object["spec"].is_object() {
            or_set(meta::map(object, "spec"), "failurePolicy", "Fail");
            default_matches(&mut object["spec"], "matchConstraints");
        }
    },
    validate,
    ..BASE
};

/// ValidatingAdmissionPolicyBinding.
pub static VALIDATING_ADMISSION_POLICY_BINDING: KindInfo = KindInfo {
    group: GROUP,
    kind: "ValidatingAdmissionPolicyBinding",
    plural: "validatingadmissionpolicybindings",
    singular: "validatingadmissionpolicybinding",
    namespaced: false,
    generation: true,
    columns: &[NAME, col("PolicyName"), col("ParamRef"), AGE],
    cells: |o, now| {
        let spec = &o["spec"];
        let reference = &spec["paramRef"];
        let shown = match (text(reference, "namespace"), text(reference, "name")) {
            ("", "") if reference.is_object() => "*".to_owned(),
            ("", "") => "<unset>".to_owned(),
            ("", name) => name.to_owned(),
            (namespace, name) => format!("{namespace}/{name}"),
        };
        let policy = text(spec, "policyName");
        vec![rules::name_cell(o), policy.into(), shown.into(), rules::age_cell(o, now)]
    },
    default: |object| {
        if let Some(spec) = object.get_mut("spec") {
            default_matches(spec, "matchResources");
        }
    },
    validate: validate_binding,
    ..BASE
};

fn default_matches(spec: &mut Value, field: &str) {
    let Some(resources) = spec.get_mut(field) else { return };
    for list in ["resourceRules", "excludeResourceRules"] {
        for rule in meta::items(resources, list) {
            if let Some(rule) = rule.as_object_mut() {
                or_set(rule, "scope", "*");
            }
        }
    }
    let Some(resources) = resources.as_object_mut() else { return };
    or_set(resources, "matchPolicy", "Equivalent");
    or_set(resources, "namespaceSelector", json!({}));
    or_set(resources, "objectSelector", json!({}));
}

fn validate(object: &Value, causes: &mut Causes) {
    let spec = &object["spec"];
    let policies = &["Fail", "Ignore"];
    rules::one_of(&spec["failurePolicy"], "spec.failurePolicy", policies, causes);
    if spec["paramKind"].is_object() {
        for field in ["apiVersion", "kind"] {
            let at = format!("spec.paramKind.{field}");
            rules::required(&spec["paramKind"][field], &at, "", causes);
        }
    }
    if !spec["matchConstraints"].is_object() {
        causes.push(required("spec.matchConstraints", ""));
    } else if list(&spec["matchConstraints"], "resourceRules").is_empty() {
        causes.push(required("spec.matchConstraints.resourceRules", ""));
    }
    for (i, rule) in list(&spec["matchConstraints"], "resourceRules").iter().enumerate() {
        webhook::rule(rule, &format!("spec.matchConstraints.resourceRules[{i}]"), causes);
    }
    if list(spec, "validations").is_empty() && list(spec, "auditAnnotations").is_empty() {
        let message = "validations or auditAnnotations must contain at least one item";
        causes.push(required("spec.validations", message));
    }
    for (i, validation) in list(spec, "validations").iter().enumerate() {
        self::validation(validation, &format!("spec.validations[{i}]"), causes);
    }
    for (i, variable) in list(spec, "variables").iter().enumerate() {
        let at = format!("spec.variables[{i}]");
        rules::required(&variable["name"], &format!("{at}.name"), "", causes);
        if rules::required(&variable["expression"], &format!("{at}.expression"), "", causes) {
            compiles(variable, "expression", &at, causes);
        }
    }
    for (i, annotation) in list(spec, "auditAnnotations").iter().enumerate() {
        let at = format!("spec.auditAnnotations[{i}]");
        rules::required(&annotation["key"], &format!("{at}.key"), "", causes);
        let (value, field) = (&annotation["valueExpression"], format!("{at}.valueExpression"));
        if rules::required(value, &field, "", causes) {
            compiles(annotation, "valueExpression", &at, causes);
        }
    }
    webhook::conditions(spec, "spec", &POLICY_VARIABLES, causes);
}

fn validation(validation: &Value, at: &str, causes: &mut Causes) {
    if text(validation, "expression").trim().is_empty() {
        causes.push(required(&format!("{at}.expression"), "expression is not specified"));
    } else {
        compiles(validation, "expression", at, causes);
    }
    let (message, says) = (text(validation, "message"), text(validation, "messageExpression"));
    if !says.trim().is_empty() {
        compiles(validation, "messageExpression", at, causes);
    } else if !validation["messageExpression"].is_null() {
        let why = "must be non-empty if specified";
        causes.push(invalid(&format!("{at}.messageExpression"), says, why));
    }
    if message.contains('\n') {
        let why = "message must not contain line breaks";
        causes.push(invalid(&format!("{at}.message"), message, why));
    } else if message.is_empty() && text(validation, "expression").trim().contains('\n') {
        let why = "message must be specified if expression contains line breaks";
        causes.push(required(&format!("{at}.message"), why));
    }
    rules::one_of(&validation["reason"], &format!("{at}.reason"), &REASONS, causes);
}

fn compiles(of: &Value, field: &str, at: &str, causes: &mut Causes) {
    let expression = text(of, field);
    if let Err(why) = Expression::compile(expression, &POLICY_VARIABLES) {
        causes.push(invalid(&format!("{at}.{field}"), expression, &why));
    }
}

fn validate_binding(object: &Value, causes: &mut Causes) {
    let spec = &object["spec"];
    if rules::required(&spec["policyName"], "spec.policyName", "", causes) {
        rules::named(&spec["policyName"], "spec.policyName", validate::dns_subdomain, causes);
    }
    let actions = list(spec, "validationActions");
    if actions.is_empty() {
        causes
            .push(required("spec.validationActions", "at least one validation action is required"));
    }
    for action in actions {
        let known = &["Audit", "Deny", "Warn"];
        rules::one_of(action, "spec.validationActions", known, causes);
    }
    let has = |action: &str| actions.iter().any(|a| a == action);
    if has("Deny") && has("Warn") {
        let message = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)";
        let shown = spec["validationActions"].clone();
        causes.push(invalid("spec.validationActions", shown, message));
    }
    let reference = &spec["paramRef"];
    if reference.is_object() {
        let (named, selected) =
            (!text(reference, "name").is_empty(), reference["selector"].is_object());
        if named && selected {
            let message = "name and selector are mutually exclusive";
            causes.push(forbidden("spec.paramRef.name", message));
        } else if !named && !selected {
            causes.push(required("spec.paramRef", "one of name or selector must be specified"));
        }
        let actions = &["Allow", "Deny"];
        let field = "spec.paramRef.parameterNotFoundAction";
        rules::required_of(&reference["parameterNotFoundAction"], field, actions, causes);
    }
}
