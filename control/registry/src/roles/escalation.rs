//! Nobody grants what he does not hold: checked when roles and bindings are written.
//!
//! In: the caller, the object as it was and as it would be. Out: nothing, or upstream's 403. Who may `escalate` a role or
//! `bind` it passes, and so does a write that changes no grant.

use beeline_api::meta::{list, text};
use beeline_api::{ApiError, KindInfo, meta};
use beeline_auth::rbac::Rule;
use beeline_auth::{Attributes, Authorizer as _, Target};
use serde_json::Value;

use super::{Access, GROUP, binding, rules};
use crate::options::Caller;

/// Checks a write to one of the four kinds; lets all others pass.
pub(crate) fn check(
    access: &Access,
    caller: &Caller,
    kind: &KindInfo,
    new: &Value,
    old: Option<&Value>,
) -> Result<(), ApiError> {
    if kind.group != GROUP {
        return Ok(());
    }
    match kind.plural {
        "roles" | "clusterroles" => role(access, caller, kind, new, old),
        "rolebindings" | "clusterrolebindings" => bound(access, caller, kind, new, old),
        _ => Ok(()),
    }
}

fn role(
    access: &Access,
    caller: &Caller,
    kind: &KindInfo,
    new: &Value,
    old: Option<&Value>,
) -> Result<(), ApiError> {
    let same = |field: &str| old.is_some_and(|old| old[field] == new[field]);
    let aggregates = new["aggregationRule"].is_object();
    if same("rules") && (same("aggregationRule") || !aggregates) {
        return Ok(());
    }
    let place = (meta::namespace(new), meta::name(new));
    if may(access, caller, "escalate", kind.plural, place) {
        return Ok(());
    }
    let mut granted = rules(&new["rules"]);
    if aggregates {
        // What will be in it is anybody's guess, so it takes everything.
        granted.extend(everything());
    }
    holds(access, caller, place.0, &granted).map_err(|why| ApiError::forbidden(kind, place.1, &why))
}

fn bound(
    access: &Access,
    caller: &Caller,
    kind: &KindInfo,
    new: &Value,
    old: Option<&Value>,
) -> Result<(), ApiError> {
    let same = |field: &str| old.is_some_and(|old| list(old, field) == list(new, field));
    if same("subjects") && old.is_some_and(|old| old["roleRef"] == new["roleRef"]) {
        return Ok(());
    }
    let namespace = meta::namespace(new);
    let of_cluster = text(&new["roleRef"], "kind") == "ClusterRole";
    let plural = if of_cluster { "clusterroles" } else { "roles" };
    let wanted = binding(new).role;
    if may(access, caller, "bind", plural, (namespace, &wanted.name)) {
        return Ok(());
    }
    let granted = access.rbac.read().role(&wanted).map(<[Rule]>::to_vec);
    let Some(granted) = granted else {
        // What it grants is unknown, so it cannot be held.
        let text = format!("{plural}.{GROUP} \"{}\" not found", wanted.name);
        return Err(ApiError::new(404, "NotFound", text));
    };
    holds(access, caller, namespace, &granted)
        .map_err(|why| ApiError::forbidden(kind, meta::name(new), &why))
}

fn everything() -> [Rule; 2] {
    let any = || vec!["*".to_owned()];
    let objects = Rule { verbs: any(), api_groups: any(), resources: any(), ..Rule::default() };
    let paths = Rule { verbs: any(), non_resource_urls: any(), ..Rule::default() };
    [objects, paths]
}

fn may(access: &Access, caller: &Caller, verb: &str, plural: &str, place: (&str, &str)) -> bool {
    let (namespace, name) = place;
    let target =
        Target::Resource { group: GROUP, resource: plural, subresource: "", namespace, name };
    access.allows(&caller.user, &caller.groups, &Attributes::new(verb, target))
}

/// Whether the caller holds all of this himself; upstream's sentence if not.
fn holds(
    access: &Access,
    caller: &Caller,
    namespace: &str,
    granted: &[Rule],
) -> Result<(), String> {
    let grants = access.rbac.read();
    let held: Vec<&Rule> = grants.rules(&caller.user, &caller.groups, namespace).collect();
    let missing: Vec<String> =
        granted.iter().filter(|rule| !rule.is_covered_by(&held)).map(ToString::to_string).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!(
        "user \"{}\" (groups={:?}) is attempting to grant RBAC permissions not currently held:\n{}",
        caller.user,
        caller.groups,
        missing.join("\n")
    ))
}
