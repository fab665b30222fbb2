//! Which writes a webhook or a policy is about: rules, and selectors over namespaces and objects.
//!
//! In: stored rules and selectors, parsed once; then writes. Out: yes or no, and in which version the object is wanted. Pure.

use beeline_api::kinds::NAMESPACE;
use beeline_api::meta::{list, text};
use beeline_api::selectors::LabelSelector;
use beeline_api::{KindInfo, Kinds};
use serde_json::{Map, Value};

use super::request::Operation;

/// What is matched by rules: a resource, a part of it, what is done, and to which name if that is known.
#[derive(Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) kind: &'static KindInfo,
    pub(crate) subresource: &'a str,
    pub(crate) operation: Operation,
    /// None: any.
    pub(crate) name: Option<&'a str>,
}

/// Rules and selectors of one webhook or policy.
#[derive(Debug, Default)]
pub(crate) struct Matcher {
    rules: Vec<Rule>,
    excluded: Vec<Rule>,
    /// A policy's binding without rules is about everything.
    everything: bool,
    equivalent: bool,
    namespaces: LabelSelector,
    objects: LabelSelector,
}

#[derive(Debug)]
struct Rule {
    operations: Vec<String>,
    groups: Vec<String>,
    versions: Vec<String>,
    /// Resource and part of it.
    resources: Vec<(String, String)>,
    scope: Scope,
    names: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    All,
    Cluster,
    Namespaced,
}

impl Matcher {
    /// Of a webhook.
    pub(crate) fn of_webhook(webhook: &Value) -> Self {
        Self::parse(webhook, "rules")
    }

    /// Of a policy's constraints.
    pub(crate) fn of_policy(constraints: &Value) -> Self {
        Self::parse(constraints, "resourceRules")
    }

    /// Of a binding, which may have none.
    pub(crate) fn of_binding(resources: &Value) -> Self {
        let parsed = Self::parse(resources, "resourceRules");
        Self { everything: parsed.rules.is_empty(), ..parsed }
    }

    fn parse(from: &Value, rules: &str) -> Self {
        let all = |field: &str| list(from, field).iter().map(Rule::parse).collect();
        let selector = |field: &str| LabelSelector::from_object(&from[field]).unwrap_or_default();
        Self {
            rules: all(rules),
            excluded: all("excludeResourceRules"),
            everything: false,
            equivalent: text(from, "matchPolicy") != "Exact",
            namespaces: selector("namespaceSelector"),
            objects: selector("objectSelector"),
        }
    }

    /// The version in which a write's object is wanted; None if no rule is about it.
    pub(crate) fn kind(&self, kinds: &Kinds, wanted: Wanted<'_>) -> Option<&'static KindInfo> {
        // Whether a name is excluded is known with the name only.
        if wanted.name.is_some() && self.of_rules(&self.excluded, kinds, wanted).is_some() {
            return None;
        }
        if self.everything {
            return Some(wanted.kind);
        }
        self.of_rules(&self.rules, kinds, wanted)
    }

    fn of_rules(
        &self,
        rules: &[Rule],
        kinds: &Kinds,
        wanted: Wanted<'_>,
    ) -> Option<&'static KindInfo> {
        if rules.is_empty() {
            return None;
        }
        if rules.iter().any(|rule| rule.fits(wanted)) {
            return Some(wanted.kind);
        }
        let mut others = kinds.served().filter(|kind| self.equivalent && same(kind, wanted.kind));
        others.find(|kind| rules.iter().any(|rule| rule.fits(Wanted { kind, ..wanted })))
    }

    /// Whether no namespace is left out.
    pub(crate) fn any_namespace(&self) -> bool {
        self.namespaces.is_empty()
    }

    /// Whether a namespace with these labels is meant.
    pub(crate) fn selects_namespace(&self, labels: Option<&Map<String, Value>>) -> bool {
        self.namespaces.matches(labels)
    }

    /// Whether the object is meant, as it was or as it will be.
    pub(crate) fn selects_object(&self, object: Option<&Value>, old: Option<&Value>) -> bool {
        let fits = |o: &Value| self.objects.matches(o["metadata"]["labels"].as_object());
        self.objects.is_empty() || object.is_some_and(fits) || old.is_some_and(fits)
    }
}

/// Whether two kinds are versions of one: objects of one can be had as the other.
fn same(one: &'static KindInfo, other: &'static KindInfo) -> bool {
    let (one, other) = (one.stored(), other.stored());
    std::ptr::eq(one, other) || (one.group == other.group && one.plural == other.plural)
}

impl Rule {
    fn parse(rule: &Value) -> Self {
        let texts = |field: &str| -> Vec<String> {
            list(rule, field).iter().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let resources = texts("resources").into_iter().map(|resource| {
            let parts = resource.split_once('/').map(|(a, b)| (a.to_owned(), b.to_owned()));
            parts.unwrap_or((resource, String::new()))
        });
        Self {
            operations: texts("operations"),
            groups: texts("apiGroups"),
            versions: texts("apiVersions"),
            resources: resources.collect(),
            scope: match text(rule, "scope") {
                "Cluster" => Scope::Cluster,
                "Namespaced" => Scope::Namespaced,
                _ => Scope::All,
            },
            names: texts("resourceNames"),
        }
    }

    fn fits(&self, wanted: Wanted<'_>) -> bool {
        let Wanted { kind, subresource, operation, name } = wanted;
        let any = |items: &[String], one: &str| items.iter().any(|item| item == "*" || item == one);
        let in_namespace = kind.namespaced && *kind != NAMESPACE;
        let scope = match self.scope {
            Scope::All => true,
            Scope::Cluster => !in_namespace,
            Scope::Namespaced => in_namespace,
        };
        let resource = |(resource, part): &(String, String)| {
            (resource == "*" || resource == kind.plural) && (part == "*" || part == subresource)
        };
        scope
            && any(&self.operations, operation.name())
            && any(&self.groups, kind.group)
            && any(&self.versions, kind.version)
            && self.resources.iter().any(resource)
            && (self.names.is_empty()
                || name.is_none_or(|name| self.names.iter().any(|n| n == name)))
    }
}

#[cfg(test)]
mod tests {
    use beeline_api::kinds::POD;
    use serde_json::json;

    use super::*;

    fn kind(plural: &str, group: &str, version: &str) -> &'static KindInfo {
        Kinds::builtin().by_resource(group, version, plural).unwrap()
    }

    fn webhook(resources: &[&str], more: &Value) -> Matcher {
        let mut hook = json!({ "rules": [{ "operations": ["CREATE"], "apiGroups": [""],
            "apiVersions": ["v1"], "resources": resources, "scope": "*" }] });
        beeline_api::patch::merge(hook.take(), more).map(|h| Matcher::of_webhook(&h)).unwrap()
    }

    fn fits(matcher: &Matcher, kind: &'static KindInfo, subresource: &str) -> bool {
        let wanted = Wanted { kind, subresource, operation: Operation::Create, name: Some("x") };
        matcher.kind(Kinds::builtin(), wanted).is_some()
    }

    #[test]
    fn resources_and_their_parts() {
        let cases: [(&[&str], &str, &str, bool); 9] = [
            (&["pods"], "pods", "", true),
            (&["pods"], "pods", "status", false),
            (&["pods/*"], "pods", "status", true),
            (&["pods/*"], "pods", "", true),
            (&["*"], "services", "", true),
            (&["*"], "services", "status", false),
            (&["*/status"], "services", "status", true),
            (&["*/*"], "services", "status", true),
            (&["pods/binding"], "pods", "eviction", false),
        ];
        for (resources, plural, part, wanted) in cases {
            let matcher = webhook(resources, &json!({}));
            assert_eq!(
                fits(&matcher, kind(plural, "", "v1"), part),
                wanted,
                "{resources:?} {plural}/{part}"
            );
        }
        let matcher = webhook(&["*"], &json!({}));
        assert!(!fits(&matcher, kind("deployments", "apps", "v1"), ""), "another group");
        let update =
            Wanted { kind: &POD, subresource: "", operation: Operation::Update, name: None };
        assert!(matcher.kind(Kinds::builtin(), update).is_none(), "another operation");
    }

    #[test]
    fn scope_tells_namespaces_from_what_is_in_them() {
        for (scope, pods, namespaces) in
            [("*", true, true), ("Cluster", false, true), ("Namespaced", true, false)]
        {
            let rules = json!([{ "operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"],
                "resources": ["*"], "scope": scope }]);
            let matcher = Matcher::of_webhook(&json!({ "rules": rules }));
            assert_eq!(fits(&matcher, &POD, ""), pods, "{scope}");
            assert_eq!(fits(&matcher, &NAMESPACE, ""), namespaces, "{scope}");
        }
    }

    #[test]
    fn equivalent_versions_are_found_unless_exact_ones_are_wanted() {
        let rules = json!([{ "operations": ["CREATE"], "apiGroups": ["autoscaling"],
            "apiVersions": ["v2"], "resources": ["horizontalpodautoscalers"] }]);
        let asked = kind("horizontalpodautoscalers", "autoscaling", "v1");
        let of = |policy: &str| {
            let hook = json!({ "matchPolicy": policy, "rules": rules });
            let wanted = Wanted {
                kind: asked,
                subresource: "",
                operation: Operation::Create,
                name: Some("x"),
            };
            Matcher::of_webhook(&hook).kind(Kinds::builtin(), wanted).map(|k| k.version)
        };
        assert_eq!(of("Equivalent"), Some("v2"));
        assert_eq!(of("Exact"), None);
    }

    #[test]
    fn selectors_over_namespaces_and_objects() {
        let selector = json!({ "matchLabels": { "a": "b" } });
        let matcher = webhook(
            &["pods"],
            &json!({ "namespaceSelector": selector, "objectSelector": selector }),
        );
        let (with, without) =
            (json!({ "metadata": { "labels": { "a": "b" } } }), json!({ "metadata": {} }));
        assert!(matcher.selects_namespace(with["metadata"]["labels"].as_object()));
        assert!(!matcher.selects_namespace(None) && !matcher.any_namespace());
        assert!(matcher.selects_object(Some(&without), Some(&with)), "as it was");
        assert!(!matcher.selects_object(Some(&without), None));
    }

    #[test]
    fn policies_leave_out_and_name_names() {
        let rule = |names: &[&str]| {
            json!({ "operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"],
            "resources": ["pods"], "resourceNames": names })
        };
        let only = Matcher::of_policy(&json!({ "resourceRules": [rule(&["x"])] }));
        let but = Matcher::of_policy(
            &json!({ "resourceRules": [rule(&[])], "excludeResourceRules": [rule(&["x"])] }),
        );
        let of = |matcher: &Matcher, name| {
            let wanted = Wanted { kind: &POD, subresource: "", operation: Operation::Create, name };
            matcher.kind(Kinds::builtin(), wanted).is_some()
        };
        assert_eq!(
            [of(&only, Some("x")), of(&only, Some("y")), of(&only, None)],
            [true, false, true]
        );
        assert_eq!([of(&but, Some("x")), of(&but, Some("y")), of(&but, None)], [false, true, true]);
        assert!(of(&Matcher::of_binding(&json!({})), Some("z")));
    }
}
