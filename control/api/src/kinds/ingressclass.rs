//! networking.k8s.io/v1 IngressClass.

use serde_json::Value;

use super::rules::{self, AGE, BASE, NAME, col};
use super::{Causes, KindInfo};
use crate::meta::text;
use crate::validate::{self, forbidden, invalid, required};

/// IngressClass.
pub static INGRESS_CLASS: KindInfo = KindInfo {
    group: "networking.k8s.io",
    kind: "IngressClass",
    plural: "ingressclasses",
    singular: "ingressclass",
    namespaced: false,
    generation: true,
    columns: &[NAME, col("Controller"), col("Parameters"), AGE],
    cells: |o, now| {
        vec![
            rules::name_cell(o),
            text(&o["spec"], "controller").into(),
            parameters(&o["spec"]["parameters"]).into(),
            rules::age_cell(o, now),
        ]
    },
    default: |object| {
        if let Some(parameters) =
            object.pointer_mut("/spec/parameters").and_then(Value::as_object_mut)
        {
            crate::meta::or_set(parameters, "scope", "Cluster");
        }
    },
    validate,
    validate_update: |new, old, causes| {
        let (new, old) = (&new["spec"]["controller"], &old["spec"]["controller"]);
        rules::immutable(new, old, "spec.controller", causes);
    },
    ..BASE
};

fn validate(object: &Value, causes: &mut Causes) {
    let spec = &object["spec"];
    let controller = text(spec, "controller");
    if rules::required(&spec["controller"], "spec.controller", "", causes) {
        domain_path(controller, "spec.controller", causes);
    }
    let parameters = &spec["parameters"];
    if !parameters.is_object() {
        return;
    }
    for field in ["kind", "name"] {
        rules::required(&parameters[field], &format!("spec.parameters.{field}"), "", causes);
    }
    let scopes = &["Cluster", "Namespace"];
    rules::one_of(&parameters["scope"], "spec.parameters.scope", scopes, causes);
    let namespaced = !text(parameters, "namespace").is_empty();
    match text(parameters, "scope") {
        "Namespace" if !namespaced => {
            let message = "`parameters.scope` is set to 'Namespace'";
            causes.push(required("spec.parameters.namespace", message));
        }
        "Cluster" if namespaced => {
            let message = "`parameters.scope` is set to 'Cluster'";
            causes.push(forbidden("spec.parameters.namespace", message));
        }
        _ => {}
    }
}

/// `acme.io/foo`
pub(super) fn domain_path(text: &str, field: &str, causes: &mut Causes) {
    match text.split_once('/') {
        Some((domain, path)) if !path.is_empty() => {
            let problems = validate::dns_subdomain(domain, false);
            causes.extend(problems.iter().map(|p| invalid(field, domain, p)));
        }
        _ => {
            let message = "must be a domain-prefixed path (such as \"acme.io/foo\")";
            causes.push(invalid(field, text, message));
        }
    }
}

fn parameters(parameters: &Value) -> String {
    if !parameters.is_object() {
        return "<none>".to_owned();
    }
    let group = match text(parameters, "apiGroup") {
        "" => String::new(),
        group => format!(".{group}"),
    };
    format!("{}{group}/{}", text(parameters, "kind"), text(parameters, "name"))
}
