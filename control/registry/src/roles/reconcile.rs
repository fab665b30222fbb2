//! Sees to the roles of [`policy`](super::policy) at the start: absent ones are made, and rules and subjects that one lacks are
//! added, as upstream does at each of its starts.

use beeline_api::kinds::{CLUSTER_ROLE, CLUSTER_ROLE_BINDING, ROLE};
use beeline_api::meta::{list, text};
use beeline_auth::rbac::Rule;
use serde_json::Value;

use super::{policy, rule};
use crate::bootstrap::standard::{self, Standard};
use crate::registry::{OpenError, Registry};

/// Brings all of them up to date.
pub(crate) async fn ensure(registry: &Registry) -> Result<(), OpenError> {
    let wanted = policy::cluster_roles()
        .map(|role| (&CLUSTER_ROLE, None, role))
        .chain(policy::cluster_role_bindings().map(|one| (&CLUSTER_ROLE_BINDING, None, one)))
        .chain(policy::system_roles().into_iter().map(|one| (&ROLE, Some("kube-system"), one)));
    let standard =
        |(kind, namespace, object)| Standard { kind, namespace, object, correct: corrected };
    standard::ensure_all(registry, wanted.map(standard)).await
}

/// What is its owner's is left alone.
fn corrected(stored: &Value, wanted: &Value) -> Option<Value> {
    let ours = stored["metadata"]["annotations"][policy::AUTOUPDATE] == "true";
    if ours { completed(stored, wanted) } else { None }
}

/// The stored object with what it lacks; `None` if it lacks nothing. Rules that aggregation fills in are not looked at.
fn completed(stored: &Value, wanted: &Value) -> Option<Value> {
    let mut new = stored.clone();
    let mut changed = false;
    if wanted["aggregationRule"].is_object() {
        changed |= add_selectors(&mut new, wanted);
    } else {
        changed |= add_rules(&mut new, wanted);
    }
    changed |= add_subjects(&mut new, wanted);
    changed.then_some(new)
}

fn add_selectors(new: &mut Value, wanted: &Value) -> bool {
    let missing = new["aggregationRule"].is_null();
    if missing {
        new["aggregationRule"] = wanted["aggregationRule"].clone();
    }
    missing
}

fn add_rules(new: &mut Value, wanted: &Value) -> bool {
    let held: Vec<Rule> = list(new, "rules").iter().map(rule).collect();
    let held: Vec<&Rule> = held.iter().collect();
    let is_missing = |one: &&Value| !rule(one).is_covered_by(&held);
    let missing: Vec<Value> = list(wanted, "rules").iter().filter(is_missing).cloned().collect();
    append(new, "rules", missing)
}

fn add_subjects(new: &mut Value, wanted: &Value) -> bool {
    let is_same = |a: &Value, b: &Value| {
        ["kind", "name", "namespace"].iter().all(|field| text(a, field) == text(b, field))
    };
    let is_missing = |one: &&Value| !list(new, "subjects").iter().any(|have| is_same(have, one));
    let missing: Vec<Value> = list(wanted, "subjects").iter().filter(is_missing).cloned().collect();
    append(new, "subjects", missing)
}

fn append(new: &mut Value, field: &str, more: Vec<Value>) -> bool {
    let any = !more.is_empty();
    if any {
        let mut all = list(new, field).to_vec();
        all.extend(more);
        new[field] = Value::Array(all);
    }
    any
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_lacks_nothing_is_left_alone() {
        for wanted in policy::cluster_roles().chain(policy::cluster_role_bindings()) {
            assert_eq!(completed(&wanted, &wanted), None, "{wanted}");
        }
    }

    #[test]
    fn what_a_user_added_stays_and_what_is_missing_comes() {
        let wanted =
            policy::cluster_roles().find(|role| role["metadata"]["name"] == "system:node").unwrap();
        let mut stored = wanted.clone();
        let own =
            json!({ "verbs": ["get"], "apiGroups": ["example.org"], "resources": ["wheels"] });
        stored["rules"] = json!([own, wanted["rules"][0]]);
        let new = completed(&stored, &wanted).unwrap();
        assert_eq!(new["rules"][0], own);
        assert_eq!(
            new["rules"].as_array().unwrap().len(),
            wanted["rules"].as_array().unwrap().len() + 1
        );
        assert_eq!(completed(&new, &wanted), None);
    }

    #[test]
    fn missing_subjects_come_back() {
        let wanted = policy::cluster_role_bindings().next().unwrap();
        let mut stored = wanted.clone();
        stored["subjects"] =
            json!([{ "kind": "User", "name": "bob", "apiGroup": super::super::GROUP }]);
        let new = completed(&stored, &wanted).unwrap();
        assert_eq!(list(&new, "subjects").len(), 2);
    }
}
