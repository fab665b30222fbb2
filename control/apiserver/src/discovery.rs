//! What is served, told to clients: group lists, resource lists, and both at once in the aggregated form.
//!
//! In: the kinds. Out: documents, built once; their order is made when those of other servers are put among them. Pure.

use std::collections::BTreeMap;

use beeline_api::kinds::SubresourceInfo;
use beeline_api::{KindInfo, Kinds};
use serde_json::{Value, json};

use crate::review;

/// One resource of a group and version, stored or not.
struct Resource {
    plural: &'static str,
    singular: &'static str,
    kind: &'static str,
    namespaced: bool,
    verbs: Vec<&'static str>,
    short_names: &'static [&'static str],
    categories: &'static [&'static str],
    subresources: &'static [SubresourceInfo],
}

impl Resource {
    fn stored(kind: &'static KindInfo) -> Self {
        Self {
            plural: kind.plural,
            singular: kind.singular,
            kind: kind.kind,
            namespaced: kind.namespaced,
            verbs: kind.verbs.to_vec(),
            short_names: kind.short_names,
            categories: kind.categories,
            subresources: kind.subresources,
        }
    }

    fn review(info: &review::ReviewInfo) -> Self {
        Self {
            plural: info.plural,
            singular: info.singular,
            kind: info.kind,
            namespaced: info.namespaced,
            verbs: vec!["create"],
            short_names: &[],
            categories: &[],
            subresources: &[],
        }
    }
}

/// All documents.
pub(crate) struct Discovery {
    /// (group, version's rank, version) to resources.
    groups: BTreeMap<(&'static str, u32, &'static str), Vec<Resource>>,
}

impl Discovery {
    pub(crate) fn new(kinds: &Kinds) -> Self {
        let mut groups: BTreeMap<_, Vec<Resource>> = BTreeMap::new();
        let key = |group: &'static str, version: &'static str| (group, rank(version), version);
        for kind in kinds.served() {
            groups.entry(key(kind.group, kind.version)).or_default().push(Resource::stored(kind));
        }
        for info in review::REVIEWS {
            groups.entry(key(info.group, info.version)).or_default().push(Resource::review(info));
        }
        for resources in groups.values_mut() {
            resources.sort_by_key(|r| r.plural);
        }
        Self { groups }
    }

    /// `/api`
    pub(crate) fn legacy_versions(&self, address: &str) -> Value {
        json!({
            "kind": "APIVersions", "versions": ["v1"],
            "serverAddressByClientCIDRs": [{ "clientCIDR": "0.0.0.0/0", "serverAddress": address }],
        })
    }

    /// `/apis`
    pub(crate) fn group_list(&self) -> Value {
        let groups: Vec<Value> =
            self.named_groups().into_iter().filter_map(|g| self.group_fields(g)).collect();
        json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups })
    }

    fn named_groups(&self) -> Vec<&'static str> {
        let mut groups: Vec<_> =
            self.groups.keys().map(|(g, ..)| *g).filter(|g| !g.is_empty()).collect();
        groups.dedup();
        groups
    }

    fn group_fields(&self, group: &str) -> Option<Value> {
        let versions: Vec<Value> = self
            .groups
            .keys()
            .filter(|(g, ..)| *g == group && !g.is_empty())
            .map(|(g, _, v)| json!({ "groupVersion": format!("{g}/{v}"), "version": v }))
            .collect();
        let preferred = versions.first()?.clone();
        Some(json!({ "name": group, "versions": versions, "preferredVersion": preferred }))
    }

    /// `/api/v1` and `/apis/{group}/{version}`
    pub(crate) fn resources(&self, group: &str, version: &str) -> Option<Value> {
        let (_, resources) =
            self.groups.iter().find(|((g, _, v), _)| *g == group && *v == version)?;
        let list: Vec<Value> = resources.iter().flat_map(legacy_resource).collect();
        let group_version = group_version(group, version);
        Some(json!({
            "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": list,
        }))
    }

    /// `/api` (core alone) and `/apis` (all others) in the aggregated form.
    pub(crate) fn aggregated(&self, core: bool, version: &str) -> Value {
        let wanted = if core { vec![""] } else { self.named_groups() };
        let items: Vec<Value> =
            wanted.into_iter().map(|group| self.aggregated_group(group)).collect();
        json!({
            "kind": "APIGroupDiscoveryList", "apiVersion": format!("apidiscovery.k8s.io/{version}"),
            "metadata": {}, "items": items,
        })
    }

    fn aggregated_group(&self, group: &str) -> Value {
        let versions: Vec<Value> = self
            .groups
            .iter()
            .filter(|((g, ..), _)| *g == group)
            .map(|((g, _, v), resources)| {
                let list: Vec<Value> =
                    resources.iter().map(|r| aggregated_resource(r, g, v)).collect();
                json!({ "version": v, "freshness": "Current", "resources": list })
            })
            .collect();
        let metadata = if group.is_empty() { json!({}) } else { json!({ "name": group }) };
        json!({ "metadata": metadata, "versions": versions })
    }

    /// Groups and versions, for OpenAPI's index.
    pub(crate) fn group_versions(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.groups.keys().map(|(g, _, v)| (*g, *v))
    }
}

/// Of several versions the most stable comes first, of these the newest: `v2`, `v1`, `v1beta2`, `v1alpha1`, then what
/// has no such name (`k8s.io/apimachinery/pkg/version`).
fn rank(version: &str) -> u32 {
    let parse = |text: &str| text.parse::<u32>().ok().map(|n| n.min(4095));
    let Some(rest) = version.strip_prefix('v') else { return u32::MAX };
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (major, rest) = rest.split_at(digits);
    let stage = match rest {
        "" => Some((3, 0)),
        _ => ["beta", "alpha"]
            .iter()
            .zip([2, 1])
            .find_map(|(name, stage)| Some((stage, parse(rest.strip_prefix(name)?)?))),
    };
    match (parse(major), stage) {
        (Some(major), Some((stage, minor))) => u32::MAX - (stage << 24 | major << 12 | minor),
        _ => u32::MAX,
    }
}

/// `v1` or `apps/v1`.
pub(crate) fn group_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

fn legacy_resource(resource: &Resource) -> Vec<Value> {
    let mut main = json!({
        "name": resource.plural, "singularName": resource.singular, "namespaced": resource.namespaced,
        "kind": resource.kind, "verbs": resource.verbs,
    });
    if !resource.short_names.is_empty() {
        main["shortNames"] = json!(resource.short_names);
    }
    if !resource.categories.is_empty() {
        main["categories"] = json!(resource.categories);
    }
    let mut all = vec![main];
    all.extend(resource.subresources.iter().map(|sub| {
        let mut entry = json!({
            "name": format!("{}/{}", resource.plural, sub.name), "singularName": "",
            "namespaced": resource.namespaced, "kind": sub.kind, "verbs": sub.verbs,
        });
        if let Some((group, version)) = sub.group_version {
            entry["group"] = group.into();
            entry["version"] = version.into();
        }
        entry
    }));
    all
}

fn aggregated_resource(resource: &Resource, group: &str, version: &str) -> Value {
    let mut entry = json!({
        "resource": resource.plural,
        "responseKind": { "group": group, "version": version, "kind": resource.kind },
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": resource.singular,
        "verbs": resource.verbs,
    });
    if !resource.short_names.is_empty() {
        entry["shortNames"] = json!(resource.short_names);
    }
    if !resource.categories.is_empty() {
        entry["categories"] = json!(resource.categories);
    }
    if !resource.subresources.is_empty() {
        let subs = resource.subresources.iter().map(|sub| {
            let (group, version) = sub.group_version.unwrap_or((group, version));
            json!({
                "subresource": sub.name, "verbs": sub.verbs,
                "responseKind": { "group": group, "version": version, "kind": sub.kind },
            })
        });
        entry["subresources"] = subs.collect();
    }
    entry
}

#[cfg(test)]
mod tests {
    use super::rank;

    #[test]
    fn versions_in_order_of_preference() {
        let mut versions = ["v1alpha1", "foo", "v1", "v1beta2", "v10", "v1beta1", "v2", "v2alpha1"];
        versions.sort_by_key(|v| rank(v));
        let wanted = ["v10", "v2", "v1", "v1beta2", "v1beta1", "v2alpha1", "v1alpha1", "foo"];
        assert_eq!(versions, wanted);
    }
}
