//! CustomResourceDefinitions: their names are accepted or refused, and they go after the objects of their kinds.
//!
//! In: every definition, and what is left of the kinds of those that are being deleted. Out: status, deletions and,
//! when nothing is left, the removal of the finalizer. Pure.
//!
//! ```text
//! new ──> names are free ──> NamesAccepted, Established   (for ever: names of others that come later are refused)
//!     └─> names are taken ─> NamesAccepted=False, tried again when a definition changes
//! deleted ──> its objects are deleted ──> none left ──> without its finalizer
//! ```

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use beeline_api::meta::{list, text};
use beeline_api::time::{self, Timestamp};
use beeline_api::{KindInfo, custom, kinds, meta};
use serde_json::{Map, Value, json};

use crate::write::{ObjectId, Part, Removal, Write, merge_patch};

/// One definition.
#[derive(Clone, Debug)]
pub struct Defined {
    /// Which one.
    pub object: ObjectId,
    /// The whole of it.
    pub value: Value,
    /// Objects of its kind, if it is being deleted, and whether they are.
    pub instances: Vec<(&'static KindInfo, ObjectId, bool)>,
}

/// All that this is decided from.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Every definition.
    pub definitions: Vec<Defined>,
}

/// What has to be written of names: for when a definition has changed.
pub fn plan(state: &State, now: Timestamp) -> Vec<Write> {
    let mut all: Vec<(&Defined, Value)> =
        state.definitions.iter().map(|d| (d, d.value["status"].clone())).collect();
    // Of two that want the same name the older one gets it.
    all.sort_by_key(|(d, _)| {
        (text(&d.value["metadata"], "creationTimestamp").to_owned(), d.object.name.clone())
    });
    for at in 0..all.len() {
        let others = all.iter().enumerate().filter(|(other, _)| *other != at);
        let taken = Taken::of(others.map(|(_, (d, status))| (&d.value, status)), &all[at].0.value);
        let (definition, status) = &mut all[at];
        if !meta::deleting(&definition.value) {
            accept(&definition.value, status, &taken, now);
        }
    }
    all.iter().filter_map(|(definition, status)| status_patch(definition, status)).collect()
}

/// What has to be written of definitions that are being deleted: for when any object of a defined kind has changed.
pub fn endings(state: &State, now: Timestamp) -> Vec<Write> {
    let ending = state.definitions.iter().filter(|d| meta::deleting(&d.value));
    ending.flat_map(|definition| self::ending(definition, now)).collect()
}

fn status_patch(definition: &Defined, status: &Value) -> Option<Write> {
    let patch = merge_patch(
        &json!({ "status": definition.value["status"] }),
        &json!({ "status": status }),
    )?;
    Some(patch_of(definition, Part::Status, patch))
}

fn patch_of(definition: &Defined, part: Part, patch: Value) -> Write {
    let (kind, object) = (&kinds::CUSTOM_RESOURCE_DEFINITION, definition.object.clone());
    Write::Patch { kind, object, part, patch: Box::new(patch) }
}

/// Names that other definitions of the group have.
#[derive(Default)]
struct Taken {
    resources: BTreeSet<String>,
    kinds: BTreeSet<String>,
}

impl Taken {
    fn of<'a>(others: impl Iterator<Item = (&'a Value, &'a Value)>, own: &Value) -> Self {
        let mut taken = Self::default();
        let group = &own["spec"]["group"];
        for (_, status) in others.filter(|(other, _)| other["spec"]["group"] == *group) {
            let names = &status["acceptedNames"];
            let short = list(names, "shortNames").iter().filter_map(Value::as_str);
            let resources = ["plural", "singular"].map(|f| text(names, f));
            taken.resources.extend(resources.into_iter().chain(short).map(str::to_owned));
            taken.kinds.extend(["kind", "listKind"].map(|f| text(names, f).to_owned()));
        }
        taken
    }
}

/// Takes over what is free of the names wanted, and says in the conditions what came of it.
fn accept(definition: &Value, status: &mut Value, taken: &Taken, now: Timestamp) {
    let wanted = &definition["spec"]["names"];
    let mut accepted: Map<String, Value> =
        status["acceptedNames"].as_object().cloned().unwrap_or_default();
    let mut refused: Option<(&str, Vec<String>)> = None;
    let mut refuse = |reason: &'static str, name: &str| {
        let message = format!("\"{name}\" is already in use");
        let mut messages = refused.take().map(|(_, m)| m).unwrap_or_default();
        messages.push(message);
        refused = Some((reason, messages));
    };
    for (field, reason, names) in [
        ("plural", "PluralConflict", &taken.resources),
        ("singular", "SingularConflict", &taken.resources),
        ("kind", "KindConflict", &taken.kinds),
        ("listKind", "ListKindConflict", &taken.kinds),
    ] {
        let name = text(wanted, field);
        if names.contains(name) && !name.is_empty() {
            refuse(reason, name);
        } else {
            accepted.insert(field.to_owned(), wanted[field].clone());
        }
    }
    let short: Vec<&str> = list(wanted, "shortNames").iter().filter_map(Value::as_str).collect();
    let in_use = short.iter().filter(|name| taken.resources.contains(**name));
    match in_use.copied().next() {
        Some(name) => refuse("ShortNamesConflict", name),
        None => copy(wanted, "shortNames", &mut accepted),
    }
    copy(wanted, "categories", &mut accepted);
    accepted.retain(|_, v| !v.is_null());
    status["acceptedNames"] = Value::Object(accepted);
    stored_versions(definition, status);
    let established = custom::is_established(&json!({ "status": status }));
    match refused {
        Some((reason, messages)) => {
            condition(status, "NamesAccepted", false, reason, &messages.join(", "), now);
            if !established {
                condition(
                    status,
                    "Established",
                    false,
                    "NotAccepted",
                    "not all names are accepted",
                    now,
                );
            }
        }
        None => {
            condition(status, "NamesAccepted", true, "NoConflicts", "no conflicts found", now);
            if !established {
                let message = "the initial names have been accepted";
                condition(status, "Established", true, "InitialNamesAccepted", message, now);
            }
        }
    }
}

fn copy(from: &Value, field: &str, to: &mut Map<String, Value>) {
    match from.get(field).filter(|v| !v.is_null()) {
        Some(value) => drop(to.insert(field.to_owned(), value.clone())),
        None => drop(to.remove(field)),
    }
}

/// The store may hold objects of every version that was ever the stored one.
fn stored_versions(definition: &Value, status: &mut Value) {
    let versions = list(&definition["spec"], "versions");
    let Some(stored) = versions.iter().find(|v| v["storage"] == true) else { return };
    let mut known = list(status, "storedVersions").to_vec();
    if !known.contains(&stored["name"]) {
        known.push(stored["name"].clone());
        status["storedVersions"] = Value::Array(known);
    }
}

/// Sets a condition; its time only if its status changes.
fn condition(
    status: &mut Value,
    kind: &str,
    holds: bool,
    reason: &str,
    message: &str,
    now: Timestamp,
) {
    let text = if holds { "True" } else { "False" };
    let mut made = json!({
        "type": kind, "status": text, "lastTransitionTime": time::format(now), "reason": reason, "message": message,
    });
    if !status["conditions"].is_array() {
        status["conditions"] = json!([]);
    }
    let Some(all) = status["conditions"].as_array_mut() else { return };
    match all.iter_mut().find(|c| c["type"] == kind) {
        Some(old) => {
            if old["status"] == text && old["lastTransitionTime"].is_string() {
                made["lastTransitionTime"] = old["lastTransitionTime"].clone();
            }
            *old = made;
        }
        None => all.push(made),
    }
}

/// Objects first, then the finalizer.
fn ending(definition: &Defined, now: Timestamp) -> Vec<Write> {
    let finalizers = meta::finalizers(&definition.value);
    if !finalizers.contains(&custom::CLEANUP) {
        return Vec::new();
    }
    if definition.instances.is_empty() {
        let rest: Vec<&&str> = finalizers.iter().filter(|f| **f != custom::CLEANUP).collect();
        let version = &definition.value["metadata"]["resourceVersion"];
        let patch = json!({ "metadata": { "finalizers": rest, "resourceVersion": version } });
        return vec![patch_of(definition, Part::Main, patch)];
    }
    let mut status = definition.value["status"].clone();
    let message = "CustomResource deletion is in progress";
    condition(&mut status, "Terminating", true, "InstanceDeletionInProgress", message, now);
    let left = definition.instances.iter().filter(|(.., deleting)| !deleting);
    let deletions =
        left.map(|(kind, object, _)| Write::delete(kind, object.clone(), Removal::Graceful));
    status_patch(definition, &status).into_iter().chain(deletions).collect()
}
