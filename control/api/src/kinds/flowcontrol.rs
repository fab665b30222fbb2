//! flowcontrol.apiserver.k8s.io/v1: whose requests go first. The API server sorts requests by them.

mod defaults;

use serde_json::{Value, json};

use super::rules::{self, AGE, BASE, NAME, col, int, status};
use super::{Causes, KindInfo};
use crate::meta::{self, list, or_set, text};
use crate::time::Timestamp;
use crate::validate::{forbidden, invalid, not_supported, required};

pub use defaults::{AUTOUPDATE, CATCH_ALL, EXEMPT, is_mandatory, levels, schemas};

const GROUP: &str = "flowcontrol.apiserver.k8s.io";
/// Greatest matching precedence, and the one given where none is.
const PRECEDENCE_MAX: i64 = 10_000;
const PRECEDENCE: i64 = 1_000;

/// FlowSchema.
pub static FLOW_SCHEMA: KindInfo = KindInfo {
    group: GROUP,
    kind: "FlowSchema",
    plural: "flowschemas",
    singular: "flowschema",
    namespaced: false,
    status_subresource: true,
    generation: true,
    subresources: &[status("FlowSchema")],
    columns: &[
        NAME,
        col("PriorityLevel"),
        int("MatchingPrecedence"),
        col("DistinguisherMethod"),
        AGE,
        col("MissingPL"),
    ],
    cells: schema_cells,
    default: |object| {
        if object["spec"].is_object() {
            let spec = meta::map(object, "spec");
            if spec.get("matchingPrecedence").and_then(Value::as_i64).unwrap_or(0) == 0 {
                spec.insert("matchingPrecedence".to_owned(), json!(PRECEDENCE));
            }
        }
    },
    validate: validate_schema,
    ..BASE
};

/// PriorityLevelConfiguration.
pub static PRIORITY_LEVEL_CONFIGURATION: KindInfo = KindInfo {
    group: GROUP,
    kind: "PriorityLevelConfiguration",
    plural: "prioritylevelconfigurations",
    singular: "prioritylevelconfiguration",
    namespaced: false,
    status_subresource: true,
    generation: true,
    subresources: &[status("PriorityLevelConfiguration")],
    columns: &[
        NAME,
        col("Type"),
        col("NominalConcurrencyShares"),
        col("Queues"),
        col("HandSize"),
        col("QueueLengthLimit"),
        AGE,
    ],
    cells: level_cells,
    default: default_level,
    validate: validate_level,
    ..BASE
};

fn validate_schema(object: &Value, causes: &mut Causes) {
    let spec = &object["spec"];
    let precedence = spec["matchingPrecedence"].as_i64().unwrap_or(0);
    if precedence <= 0 {
        let message = "must be a positive value";
        causes.push(invalid("spec.matchingPrecedence", precedence, message));
    } else if precedence > PRECEDENCE_MAX {
        let message = format!("must not be greater than {PRECEDENCE_MAX}");
        causes.push(invalid("spec.matchingPrecedence", precedence, &message));
    } else if precedence == 1 && meta::name(object) != "exempt" {
        let message = "only the schema named 'exempt' may have matchingPrecedence 1";
        causes.push(invalid("spec.matchingPrecedence", precedence, message));
    }
    let method = &spec["distinguisherMethod"]["type"];
    let methods = &["ByNamespace", "ByUser"];
    rules::one_of(method, "spec.distinguisherMethod.type", methods, causes);
    let field = "spec.priorityLevelConfiguration.name";
    let message = "must reference a priority level";
    rules::required(&spec["priorityLevelConfiguration"]["name"], field, message, causes);
    for (i, rule) in list(spec, "rules").iter().enumerate() {
        let at = format!("spec.rules[{i}]");
        if list(rule, "subjects").is_empty() {
            causes.push(required(
                &format!("{at}.subjects"),
                "subjects must contain at least one value",
            ));
        }
        for (j, subject) in list(rule, "subjects").iter().enumerate() {
            self::subject(subject, &format!("{at}.subjects[{j}]"), causes);
        }
        if list(rule, "resourceRules").is_empty() && list(rule, "nonResourceRules").is_empty() {
            let message = "at least one of resourceRules and nonResourceRules has to be non-empty";
            causes.push(required(&at, message));
        }
        for (j, resource) in list(rule, "resourceRules").iter().enumerate() {
            for part in ["verbs", "apiGroups", "resources"] {
                if list(resource, part).is_empty() {
                    causes.push(required(&format!("{at}.resourceRules[{j}].{part}"), ""));
                }
            }
            if list(resource, "namespaces").is_empty() && resource["clusterScope"] != true {
                let field = format!("{at}.resourceRules[{j}].namespaces");
                let message =
                    "resource rules that are not cluster scoped must supply at least one namespace";
                causes.push(required(&field, message));
            }
        }
        for (j, path) in list(rule, "nonResourceRules").iter().enumerate() {
            for part in ["verbs", "nonResourceURLs"] {
                if list(path, part).is_empty() {
                    causes.push(required(&format!("{at}.nonResourceRules[{j}].{part}"), ""));
                }
            }
        }
    }
}

fn subject(subject: &Value, at: &str, causes: &mut Causes) {
    let field = match text(subject, "kind") {
        "User" => "user",
        "Group" => "group",
        "ServiceAccount" => "serviceAccount",
        other => {
            let kinds = &["Group", "ServiceAccount", "User"];
            causes.push(not_supported(&format!("{at}.kind"), other, kinds));
            return;
        }
    };
    let of = &subject[field];
    let message = format!("{field} is required when subject kind is '{}'", text(subject, "kind"));
    if !of.is_object() {
        causes.push(required(&format!("{at}.{field}"), &message));
        return;
    }
    rules::required(&of["name"], &format!("{at}.{field}.name"), "", causes);
    if field == "serviceAccount" {
        rules::required(&of["namespace"], &format!("{at}.{field}.namespace"), "", causes);
    }
}

fn default_level(object: &mut Value) {
    let Some(spec) = object.get_mut("spec").filter(|s| s.is_object()) else { return };
    match text(spec, "type") {
        "Exempt" => {
            let exempt = meta::map(spec, "exempt");
            or_set(exempt, "nominalConcurrencyShares", 0);
            or_set(exempt, "lendablePercent", 0);
        }
        "Limited" => {
            let limited = meta::map(spec, "limited");
            or_set(limited, "nominalConcurrencyShares", 30);
            or_set(limited, "lendablePercent", 0);
            let Some(response) = limited.get_mut("limitResponse") else { return };
            let queues = response["type"] == "Queue";
            let queuing = queues.then(|| response.get_mut("queuing")).flatten();
            if let Some(queuing) = queuing.and_then(Value::as_object_mut) {
                or_set(queuing, "queues", 64);
                or_set(queuing, "handSize", 8);
                or_set(queuing, "queueLengthLimit", 50);
            }
        }
        _ => {}
    }
}

fn validate_level(object: &Value, causes: &mut Causes) {
    let spec = &object["spec"];
    let kind = text(spec, "type");
    let types = &["Exempt", "Limited"];
    match kind {
        "Exempt" if spec["limited"].is_object() => {
            causes.push(forbidden("spec.limited", "must be nil if the type is not Limited"));
        }
        "Limited" if spec["exempt"].is_object() => {
            causes.push(forbidden("spec.exempt", "must be nil if the type is Limited"));
        }
        "Exempt" | "Limited" => {}
        other => causes.push(not_supported("spec.type", other, types)),
    }
    let limited = &spec["limited"];
    if kind == "Limited" {
        rules::not_negative(
            &limited["nominalConcurrencyShares"],
            "spec.limited.nominalConcurrencyShares",
            causes,
        );
        let response = &limited["limitResponse"];
        let field = "spec.limited.limitResponse";
        match text(response, "type") {
            "Reject" if response["queuing"].is_object() => {
                let message = "must be nil if limited.limitResponse.type is not Limited";
                causes.push(forbidden(&format!("{field}.queuing"), message));
            }
            "Queue" if !response["queuing"].is_object() => {
                let message = "must not be empty if limited.limitResponse.type is Limited";
                causes.push(required(&format!("{field}.queuing"), message));
            }
            "Reject" | "Queue" => {}
            other => {
                causes.push(not_supported(&format!("{field}.type"), other, &["Queue", "Reject"]));
            }
        }
        queuing(&response["queuing"], &format!("{field}.queuing"), causes);
    }
}

fn queuing(queuing: &Value, at: &str, causes: &mut Causes) {
    if !queuing.is_object() {
        return;
    }
    for field in ["queueLengthLimit", "queues", "handSize"] {
        let n = queuing[field].as_i64().unwrap_or(0);
        if n <= 0 {
            causes.push(invalid(&format!("{at}.{field}"), n, "must be positive"));
        }
    }
    let (hand, queues) = (queuing["handSize"].as_i64(), queuing["queues"].as_i64());
    if hand > queues {
        let message = format!("should not be greater than queues ({})", queues.unwrap_or_default());
        causes.push(invalid(&format!("{at}.handSize"), hand.unwrap_or_default(), &message));
    }
}

fn schema_cells(o: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &o["spec"];
    let dangling = list(&o["status"], "conditions").iter().find(|c| c["type"] == "Dangling");
    let method = rules::or_none(text(&spec["distinguisherMethod"], "type").to_owned());
    vec![
        rules::name_cell(o),
        text(&spec["priorityLevelConfiguration"], "name").into(),
        spec["matchingPrecedence"].as_i64().unwrap_or(0).into(),
        method.into(),
        rules::age_cell(o, now),
        dangling.map_or("?", |c| text(c, "status")).into(),
    ]
}

fn level_cells(o: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &o["spec"];
    let shown = |value: &Value| match value {
        Value::Null => "<none>".to_owned(),
        other => other.to_string(),
    };
    let queuing = &spec["limited"]["limitResponse"]["queuing"];
    vec![
        rules::name_cell(o),
        text(spec, "type").into(),
        shown(&spec["limited"]["nominalConcurrencyShares"]).into(),
        shown(&queuing["queues"]).into(),
        shown(&queuing["handSize"]).into(),
        shown(&queuing["queueLengthLimit"]).into(),
        rules::age_cell(o, now),
    ]
}
