//! ClusterRoles that gather others: their rules are those of all roles that their `aggregationRule` selects.
//!
//! In: every ClusterRole. Out: new rules where they differ. Pure. A role that is gathered may gather itself, so it takes one
//! run per level until nothing differs.

use std::sync::Arc;

use beeline_api::kinds;
use beeline_api::selectors::LabelSelector;
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector as Selector;
use serde_json::json;

use crate::objects;
use crate::write::{ObjectId, Part, Write, value};

/// What has to be written now.
pub fn plan(roles: &[Arc<ClusterRole>]) -> Vec<Write> {
    let mut sorted: Vec<&Arc<ClusterRole>> = roles.iter().collect();
    // Upstream gathers by name, too: the order of rules does not depend on that of creation.
    sorted.sort_by_key(|role| objects::name(&role.metadata).to_owned());
    sorted.iter().filter_map(|role| gathered(role, &sorted)).collect()
}

fn gathered(role: &ClusterRole, all: &[&Arc<ClusterRole>]) -> Option<Write> {
    let selectors = role.aggregation_rule.as_ref()?.cluster_role_selectors.as_ref()?;
    let mut rules: Vec<&PolicyRule> = Vec::new();
    for other in all.iter().filter(|other| other.metadata.name != role.metadata.name) {
        if !selectors.iter().any(|selector| selects(selector, other)) {
            continue;
        }
        for rule in other.rules.iter().flatten() {
            if !rules.contains(&rule) {
                rules.push(rule);
            }
        }
    }
    if role.rules.iter().flatten().eq(rules.iter().copied()) {
        return None;
    }
    let patch = json!({
        "metadata": { "resourceVersion": role.metadata.resource_version },
        "rules": rules.into_iter().map(value).collect::<Vec<_>>(),
    });
    Some(Write::Patch {
        kind: &kinds::CLUSTER_ROLE,
        object: ObjectId::of(&role.metadata),
        part: Part::Main,
        patch: Box::new(patch),
    })
}

/// An empty selector selects every role, as in upstream.
fn selects(selector: &Selector, role: &ClusterRole) -> bool {
    let labels = json!({ "metadata": { "labels": role.metadata.labels } });
    LabelSelector::from_object(&value(selector))
        .is_some_and(|selector| selector.matches(beeline_api::selectors::labels_of(&labels)))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::rbac::v1::AggregationRule;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    use super::*;

    fn role(name: &str, label: Option<&str>, verbs: &[&str]) -> ClusterRole {
        let rule = PolicyRule {
            verbs: verbs.iter().map(|&verb| verb.to_owned()).collect(),
            resources: Some(vec!["pods".to_owned()]),
            api_groups: Some(vec![String::new()]),
            ..PolicyRule::default()
        };
        let labels = label.map(|label| [(label.to_owned(), "true".to_owned())].into());
        ClusterRole {
            metadata: ObjectMeta { name: Some(name.to_owned()), labels, ..ObjectMeta::default() },
            rules: (!verbs.is_empty()).then(|| vec![rule]),
            aggregation_rule: None,
        }
    }

    fn gathering(mut role: ClusterRole, label: &str) -> ClusterRole {
        let match_labels = Some([(label.to_owned(), "true".to_owned())].into());
        let selector = Selector { match_labels, ..Selector::default() };
        role.aggregation_rule =
            Some(AggregationRule { cluster_role_selectors: Some(vec![selector]) });
        role
    }

    fn patched(roles: &[ClusterRole]) -> Vec<(String, Vec<String>)> {
        let roles: Vec<_> = roles.iter().cloned().map(Arc::new).collect();
        let written = plan(&roles).into_iter().map(|write| match write {
            Write::Patch { object, patch, .. } => {
                let rules = patch["rules"].as_array().cloned().unwrap_or_default();
                (object.name, rules.iter().map(|rule| rule["verbs"][0].to_string()).collect())
            }
            other => panic!("{other}"),
        });
        written.collect()
    }

    #[test]
    fn rules_come_from_the_selected_roles_by_name() {
        let all = [
            gathering(role("view", None, &[]), "to-view"),
            role("b", Some("to-view"), &["watch"]),
            role("a", Some("to-view"), &["get"]),
            role("c", Some("to-view"), &["get"]),
            role("other", Some("to-edit"), &["delete"]),
        ];
        let wanted = vec![("view".to_owned(), vec!["\"get\"".to_owned(), "\"watch\"".to_owned()])];
        assert_eq!(patched(&all), wanted);
    }

    #[test]
    fn what_is_gathered_already_is_left_alone_and_what_is_gone_goes() {
        let mut view = gathering(role("view", None, &["get"]), "to-view");
        let source = role("a", Some("to-view"), &["get"]);
        assert!(patched(&[view.clone(), source.clone()]).is_empty());
        view.metadata.labels = Some([("to-view".to_owned(), "true".to_owned())].into());
        assert!(patched(&[view.clone(), source]).is_empty(), "it does not gather itself");
        assert_eq!(patched(&[view]), vec![("view".to_owned(), vec![])]);
    }
}
