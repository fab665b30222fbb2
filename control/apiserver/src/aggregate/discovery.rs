//! What extension servers serve, put among what is served here.
//!
//! In: a server's aggregated discovery, or the resource list of one version; our own groups. Out: one version in the aggregated
//! form, and all groups in the order of their priority. Pure.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use beeline_api::kinds::api_priority;
use beeline_api::meta::{list, text};
use serde_json::{Value, json};

use super::{Entry, Remote};

/// The version of a group in an `APIGroupDiscoveryList`.
pub(super) fn of_aggregated(document: &Value, group: &str, version: &str) -> Option<Value> {
    let named = |item: &&Value| text(&item["metadata"], "name") == group;
    let found = list(document, "items").iter().find(named)?;
    let found = list(found, "versions").iter().find(|one| text(one, "version") == version)?;
    Some(json!({ "version": version, "resources": found["resources"] }))
}

/// The same from an `APIResourceList`: what servers have that know no other form.
pub(super) fn of_legacy(document: &Value, group: &str, version: &str) -> Option<Value> {
    let resources = document.get("resources")?.as_array()?;
    let kind = |one: &Value| {
        let or = |field: &str, own: &str| {
            let given = text(one, field);
            if given.is_empty() { own.to_owned() } else { given.to_owned() }
        };
        json!({ "group": or("group", group), "version": or("version", version), "kind": one["kind"] })
    };
    let mut made: BTreeMap<&str, Value> = BTreeMap::new();
    for one in resources.iter().filter(|one| !text(one, "name").contains('/')) {
        let mut entry = json!({
            "resource": one["name"], "responseKind": kind(one), "verbs": one["verbs"],
            "scope": if one["namespaced"] == true { "Namespaced" } else { "Cluster" },
            "singularResource": text(one, "singularName"),
        });
        for field in ["shortNames", "categories"] {
            if !list(one, field).is_empty() {
                entry[field] = one[field].clone();
            }
        }
        made.insert(text(one, "name"), entry);
    }
    for one in resources {
        let Some((main, part)) = text(one, "name").split_once('/') else { continue };
        let Some(entry) = made.get_mut(main) else { continue };
        let part = json!({ "subresource": part, "responseKind": kind(one), "verbs": one["verbs"] });
        match entry["subresources"].as_array_mut() {
            Some(parts) => parts.push(part),
            None => entry["subresources"] = json!([part]),
        }
    }
    let resources: Vec<Value> = made.into_values().collect();
    Some(json!({ "version": version, "resources": resources }))
}

/// The form of one version among others.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Of an `APIGroup`.
    Plain,
    /// Of an `APIGroupDiscovery`.
    Aggregated,
}

/// Our own groups, and those of other servers, in the order of their priority. `field` names where a group has its name.
pub(crate) fn merge_groups(own: Vec<Value>, remote: &Remote, aggregated: bool) -> Vec<Value> {
    let form = if aggregated { Form::Aggregated } else { Form::Plain };
    let mut groups: BTreeMap<(Reverse<i64>, String), Value> = BTreeMap::new();
    let mut others: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
    for ((group, _), entry) in &remote.entries {
        others.entry(group).or_default().push(entry);
    }
    for group in own {
        let name = name_of(&group, form).to_owned();
        let entries = others.remove(name.as_str()).unwrap_or_default();
        let priority = priority(&name, &entries);
        groups.insert((Reverse(priority), name), with_versions(group, &entries, form));
    }
    for (name, entries) in others {
        let empty = match form {
            Form::Plain => json!({ "name": name, "versions": [] }),
            Form::Aggregated => json!({ "metadata": { "name": name }, "versions": [] }),
        };
        let priority = entries.iter().map(|entry| entry.service.group_priority).max().unwrap_or(0);
        let group = with_versions(empty, &entries, form);
        groups.insert((Reverse(priority), name.to_owned()), group);
    }
    groups.into_values().collect()
}

fn name_of(group: &Value, form: Form) -> &str {
    match form {
        Form::Plain => text(group, "name"),
        Form::Aggregated => text(&group["metadata"], "name"),
    }
}

fn priority(group: &str, entries: &[&Entry]) -> i64 {
    let others = entries.iter().map(|entry| entry.service.group_priority).max().unwrap_or(0);
    api_priority(group).map_or(1_000, |(group, _)| group).max(others)
}

/// Versions of other servers take the place of ours of that name; of all, the one of highest priority comes first.
fn with_versions(mut group: Value, entries: &[&Entry], form: Form) -> Value {
    if entries.is_empty() {
        return group;
    }
    let name = name_of(&group, form).to_owned();
    let own_priority = api_priority(&name).map_or(100, |(_, version)| version);
    let taken = |version: &Value| {
        entries.iter().any(|entry| entry.service.version == text(version, "version"))
    };
    let own = list(&group, "versions").iter().filter(|version| !taken(version)).cloned();
    let mut versions: Vec<(i64, Value)> = own.map(|version| (own_priority, version)).collect();
    versions.extend(
        entries.iter().map(|entry| (entry.service.version_priority, shown(entry, &name, form))),
    );
    versions.sort_by_key(|(priority, _)| Reverse(*priority));
    let versions: Vec<Value> = versions.into_iter().map(|(_, version)| version).collect();
    if form == Form::Plain {
        group["preferredVersion"] = versions.first().cloned().unwrap_or_default();
    }
    group["versions"] = Value::Array(versions);
    group
}

fn shown(entry: &Entry, group: &str, form: Form) -> Value {
    let version = entry.service.version.as_str();
    match form {
        Form::Plain => json!({ "groupVersion": format!("{group}/{version}"), "version": version }),
        Form::Aggregated => {
            let empty = || json!({ "version": version, "resources": [] });
            let mut known = entry.resources.clone().unwrap_or_else(empty);
            let fresh = entry.available && entry.resources.is_some();
            known["freshness"] = (if fresh { "Current" } else { "Stale" }).into();
            known
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resource_lists_become_aggregated() {
        let legacy = json!({ "resources": [
            { "name": "things/scale", "kind": "Scale", "group": "autoscaling", "version": "v1", "verbs": ["get"] },
            { "name": "things", "singularName": "thing", "kind": "Thing", "namespaced": true, "verbs": ["get", "list"],
              "shortNames": ["th"] },
        ] });
        let made = of_legacy(&legacy, "x.test", "v1").unwrap();
        let thing = &made["resources"][0];
        assert_eq!(
            thing["responseKind"],
            json!({ "group": "x.test", "version": "v1", "kind": "Thing" })
        );
        assert_eq!((&thing["scope"], &thing["shortNames"]), (&json!("Namespaced"), &json!(["th"])));
        assert_eq!(thing["subresources"][0]["responseKind"]["group"], "autoscaling");
        let document = json!({ "items": [{ "metadata": { "name": "x.test" }, "versions": [
            { "version": "v1", "resources": [{ "resource": "things" }] }] }] });
        assert!(of_aggregated(&document, "x.test", "v2").is_none());
        let found = of_aggregated(&document, "x.test", "v1").unwrap();
        assert_eq!(found["resources"][0]["resource"], "things");
    }

    #[test]
    fn own_groups_come_in_upstreams_order() {
        let own = ["batch", "made.example.com", "apps", "events.k8s.io"];
        let own = own.map(|name| json!({ "name": name, "versions": [] })).to_vec();
        let merged = merge_groups(own, &Remote::default(), false);
        let names: Vec<&str> = merged.iter().map(|group| text(group, "name")).collect();
        assert_eq!(names, ["apps", "events.k8s.io", "batch", "made.example.com"]);
    }
}
