//! Deletion: preconditions, grace, finalizers, and what holds an object for a while.

use std::sync::Arc;

use beeline_api::kinds::{CUSTOM_RESOURCE_DEFINITION, NAMESPACE, POD};
use beeline_api::{ApiError, custom, meta, time};
use serde_json::{Value, json};

use crate::admission::asking::Asking;
use crate::admission::request::{By, Operation, Request, delete_options};
use crate::list;
use crate::object::{Deleted, List, Object};
use crate::options::{DeleteOptions, ListOptions, Propagation, Target};
use crate::registry::Registry;
use crate::storing::{self, Place};
use crate::write::{self, CONFLICT_TRIES};

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";
const KEPT_NAMESPACES: [&str; 3] = ["default", "kube-system", "kube-public"];

/// Deletes one object.
pub(crate) async fn delete(
    registry: &Registry,
    by: By<'_>,
    target: &Target,
    o: &DeleteOptions,
) -> Result<Deleted, ApiError> {
    let kind = target.kind;
    let name = target.name.as_deref().unwrap_or_default();
    if std::ptr::eq(kind, &raw const NAMESPACE) && KEPT_NAMESPACES.contains(&name) {
        return Err(ApiError::forbidden(kind, name, "this namespace may not be deleted"));
    }
    for _ in 0..CONFLICT_TRIES {
        let old = registry.newest(kind, target.namespace.as_deref(), name).await?;
        let old = old.ok_or_else(|| ApiError::not_found(kind, name))?;
        preconditions(target, o, &old)?;
        ask(registry, by, target, o, &old).await?;
        match attempt(registry, target, o, &old).await {
            Err(e) if e.is_conflict() => {}
            result => return result,
        }
    }
    Err(ApiError::modified(kind, name))
}

/// Those outside may not want it to go.
async fn ask(
    registry: &Registry,
    by: By<'_>,
    target: &Target,
    o: &DeleteOptions,
    old: &Object,
) -> Result<(), ApiError> {
    let Some(asked) = by.asked else { return Ok(()) };
    let inner = &registry.inner;
    let chosen = inner.outside.chosen(&inner.cache, asked.kind, "", Operation::Delete);
    let Some(chosen) = chosen else { return Ok(()) };
    let itself = *target.kind == NAMESPACE;
    let request = Request {
        operation: Operation::Delete,
        caller: by.caller,
        resource: asked.kind,
        subresource: "",
        namespace: if itself { old.name() } else { old.namespace() },
        name: old.name(),
        options: delete_options(o),
        dry_run: o.dry_run,
        access: &inner.access,
    };
    let (form, old, warnings) = (target.kind, Some(&*old.value), &o.warnings);
    Asking { registry, request, chosen, form, old, warnings }.delete().await
}

fn preconditions(target: &Target, o: &DeleteOptions, old: &Object) -> Result<(), ApiError> {
    let fail = |what: &str, wanted: &str, have: &str| {
        let why = format!(
            "Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {have}"
        );
        Err(ApiError::conflict(target.kind, old.name(), &why))
    };
    if let Some(uid) = o.preconditions.uid.as_deref().filter(|u| *u != old.uid()) {
        return fail("UID", uid, old.uid());
    }
    let version = old.revision.0.to_string();
    if let Some(wanted) = o.preconditions.resource_version.as_deref().filter(|v| *v != version) {
        return fail("ResourceVersion", wanted, &version);
    }
    Ok(())
}

async fn attempt(
    registry: &Registry,
    target: &Target,
    o: &DeleteOptions,
    old: &Arc<Object>,
) -> Result<Deleted, ApiError> {
    let kind = target.kind;
    let new = marked(registry, target, o, &old.value);
    let gone = write::finished(target, &new);
    if o.dry_run {
        let object = Arc::new(Object::transient(new, old.revision));
        return Ok(if gone { Deleted::Gone(object) } else { Deleted::Pending(object) });
    }
    let key = registry.inner.cache.bucket(kind).key(Some(old.namespace()), old.name());
    let place = Place { kind, key: &key, name: old.name() };
    if gone {
        return storing::remove(registry, place, old).await.map(Deleted::Gone);
    }
    if new == *old.value {
        return Ok(Deleted::Pending(Arc::clone(old)));
    }
    Ok(Deleted::Pending(storing::put(registry, place, new, Some(old.revision)).await?))
}

/// The object with its deletion begun (or begun again with less grace).
fn marked(registry: &Registry, target: &Target, o: &DeleteOptions, old: &Value) -> Value {
    let mut new = old.clone();
    let grace = grace(target, o, old);
    let begun = meta::deleting(old);
    let current = old["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
    if !begun || grace < current {
        let now = registry.now();
        let at = time::Timestamp::from_second(now.as_second().saturating_add(grace)).unwrap_or(now);
        new["metadata"]["deletionTimestamp"] = Value::from(time::format(at));
        new["metadata"]["deletionGracePeriodSeconds"] = Value::from(grace);
    }
    if !begun {
        if target.kind.generation {
            let generation = old["metadata"]["generation"].as_i64().unwrap_or(0);
            new["metadata"]["generation"] = Value::from(generation + 1);
        }
        if std::ptr::eq(target.kind, &raw const NAMESPACE) {
            new["status"]["phase"] = Value::from("Terminating");
        }
        // One that was never established has no objects to wait for.
        if std::ptr::eq(target.kind, &raw const CUSTOM_RESOURCE_DEFINITION)
            && custom::is_established(old)
        {
            held_by_instances(&mut new, &time::format(registry.now()));
        }
    }
    propagate(&mut new, o.propagation);
    new
}

/// A definition goes after the objects of its kinds; a controller sees to these.
fn held_by_instances(definition: &mut Value, now: &str) {
    let mut held: Vec<Value> = meta::list(&definition["metadata"], "finalizers").to_vec();
    if !held.iter().any(|f| f == custom::CLEANUP) {
        held.push(Value::from(custom::CLEANUP));
        definition["metadata"]["finalizers"] = Value::Array(held);
    }
    let conditions =
        meta::map(definition, "status").entry("conditions").or_insert_with(|| json!([]));
    if let Some(all) = conditions.as_array_mut() {
        all.retain(|c| c["type"] != "Terminating");
        all.push(json!({
            "type": "Terminating", "status": "True", "lastTransitionTime": now, "reason": "InstanceDeletionPending",
            "message": "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
        }));
    }
}

/// Foreground and Orphan leave work to the collector, said by a finalizer.
fn propagate(new: &mut Value, how: Option<Propagation>) {
    let Some(how) = how else { return };
    let wanted = match how {
        Propagation::Background => None,
        Propagation::Foreground => Some(FOREGROUND),
        Propagation::Orphan => Some(ORPHAN),
    };
    let mut all: Vec<String> = meta::finalizers(new).into_iter().map(str::to_owned).collect();
    all.retain(|f| (f != FOREGROUND && f != ORPHAN) || Some(f.as_str()) == wanted);
    if let Some(wanted) = wanted.filter(|w| !all.iter().any(|f| f == w)) {
        all.push(wanted.to_owned());
    }
    if all.is_empty() {
        meta::of(new).remove("finalizers");
    } else {
        new["metadata"]["finalizers"] = json!(all);
    }
}

/// Seconds a pod gets to end; nothing else has grace.
fn grace(target: &Target, o: &DeleteOptions, old: &Value) -> i64 {
    if !std::ptr::eq(target.kind, &raw const POD) {
        return 0;
    }
    let unscheduled = meta::text(&old["spec"], "nodeName").is_empty();
    let terminal = matches!(meta::text(&old["status"], "phase"), "Succeeded" | "Failed");
    if unscheduled || terminal {
        return 0;
    }
    let wanted = o.grace_period_seconds.or(old["spec"]["terminationGracePeriodSeconds"].as_i64());
    wanted.unwrap_or(30).max(0)
}

/// Deletes what a list returns.
pub(crate) async fn delete_collection(
    registry: &Registry,
    by: By<'_>,
    target: &Target,
    o: &DeleteOptions,
    which: &ListOptions,
) -> Result<List, ApiError> {
    let found = list::list(registry, target, which).await?;
    for object in &found.items {
        let one = Target::object(target.kind, Some(object.namespace()), object.name());
        match delete(registry, by, &one, o).await {
            Err(e) if !e.is_not_found() => return Err(e),
            _ => {}
        }
    }
    Ok(found)
}
