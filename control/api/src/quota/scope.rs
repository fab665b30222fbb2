//! Scopes of quotas: which pods one is about. A quota with scopes is about nothing else.
//!
//! In: a quota's scopes and a pod. Out: whether it counts. Pure.

use serde_json::Value;

use crate::meta::{list, text};
use crate::selectors::{Operator, Requirement};

/// One term.
#[derive(Debug, Clone)]
pub(super) struct Scope {
    name: String,
    term: Requirement,
}

impl Scope {
    /// All terms of a quota's spec.
    pub(super) fn all(spec: &Value) -> Vec<Self> {
        let plain = list(spec, "scopes").iter().filter_map(Value::as_str);
        let plain = plain.map(|name| Self::new(name, Operator::Exists, Vec::new()));
        let terms = list(&spec["scopeSelector"], "matchExpressions").iter().map(|term| {
            let operator = match text(term, "operator") {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "DoesNotExist" => Operator::DoesNotExist,
                _ => Operator::Exists,
            };
            let values = list(term, "values").iter().filter_map(Value::as_str).map(str::to_owned);
            Self::new(text(term, "scopeName"), operator, values.collect())
        });
        plain.chain(terms).collect()
    }

    fn new(name: &str, operator: Operator, values: Vec<String>) -> Self {
        Self { name: name.to_owned(), term: Requirement { key: name.to_owned(), operator, values } }
    }

    pub(super) fn covers(&self, pod: &Value) -> bool {
        let spec = &pod["spec"];
        match self.name.as_str() {
            "Terminating" => spec["activeDeadlineSeconds"].is_i64(),
            "NotTerminating" => !spec["activeDeadlineSeconds"].is_i64(),
            "BestEffort" => is_best_effort(spec),
            "NotBestEffort" => !is_best_effort(spec),
            "PriorityClass" => {
                let class = text(spec, "priorityClassName");
                self.term.matches((!class.is_empty()).then_some(class))
            }
            "CrossNamespacePodAffinity" => looks_elsewhere(&spec["affinity"]),
            _ => false,
        }
    }
}

/// No container asks for processor or memory.
fn is_best_effort(spec: &Value) -> bool {
    let asks = |of: &Value| {
        ["requests", "limits"].iter().any(|side| {
            let side = &of["resources"][side];
            !side["cpu"].is_null() || !side["memory"].is_null()
        })
    };
    let containers = ["containers", "initContainers"].iter().flat_map(|field| list(spec, field));
    !asks(spec) && !{ containers }.any(asks)
}

/// A term about pods of other namespaces.
fn looks_elsewhere(affinity: &Value) -> bool {
    let elsewhere =
        |term: &Value| !list(term, "namespaces").is_empty() || !term["namespaceSelector"].is_null();
    ["podAffinity", "podAntiAffinity"].iter().any(|side| {
        let side = &affinity[side];
        let required = list(side, "requiredDuringSchedulingIgnoredDuringExecution").iter();
        let preferred = list(side, "preferredDuringSchedulingIgnoredDuringExecution").iter();
        required.chain(preferred.map(|term| &term["podAffinityTerm"])).any(elsewhere)
    })
}
