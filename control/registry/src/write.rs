//! Create and update.

use std::sync::Arc;

use beeline_api::kinds::{NAMESPACE, POD};
use beeline_api::{ApiError, KindInfo, meta};
use serde_json::Value;

use crate::admission::asking;
use crate::admission::request::{By, Operation};
use crate::nodes::restriction;
use crate::object::Object;
use crate::options::{Caller, Subresource, Target, WriteOptions};
use crate::registry::Registry;
use crate::roles::escalation;
use crate::storing::{self, Place};
use crate::taken::{self, Taken};
use crate::{admission, certificates, managing, prepare, scale, views};

/// Names tried for one `generateName`.
const GENERATE_TRIES: usize = 8;
/// Writes tried when others keep writing too.
pub(crate) const CONFLICT_TRIES: usize = 16;

/// Creates an object.
pub(crate) async fn create(
    registry: &Registry,
    caller: &Caller,
    target: &Target,
    mut value: Value,
    o: &WriteOptions,
) -> Result<Arc<Object>, ApiError> {
    prepare::body(target, &mut value, o)?;
    let by = By::of(caller, target.kind, "CreateOptions");
    let (target, mut value) = views::stored(target, value)?;
    prepare::create(registry, target.kind, &mut value)?;
    (target.kind.prepare_caller)(&mut value, &caller.user, &caller.groups);
    let mut tries = 0;
    loop {
        let mut attempt = value.clone();
        let generated = prepare::generate_name(&mut attempt);
        tries += 1;
        match create_named(registry, by, &target, attempt, o).await {
            Err(e) if generated && e.is_already_exists() && tries < GENERATE_TRIES => {}
            Err(e) if generated && e.is_already_exists() => return Err(e.retry_after(1)),
            result => return result,
        }
    }
}

async fn create_named(
    registry: &Registry,
    by: By<'_>,
    target: &Target,
    mut value: Value,
    o: &WriteOptions,
) -> Result<Arc<Object>, ApiError> {
    let (kind, caller) = (target.kind, by.caller);
    let name = meta::name(&value).to_owned();
    defaults(kind, &mut value);
    managing::track(registry, caller, target, (&Value::Null, &mut value), o);
    (kind.prepare_create)(&mut value);
    if registry.kinds().is_terminating(kind) {
        let why = "create not allowed while custom resource definition is terminating";
        return Err(ApiError::new(405, "MethodNotAllowed", why));
    }
    if kind.namespaced {
        admission::namespace(registry, kind, meta::namespace(&value), &name)?;
    }
    admission::object(registry, kind, &mut value)?;
    let namespace = meta::namespace(&value).to_owned();
    let asking =
        asking::about(registry, by, target, (Operation::Create, &namespace, &name), None, o);
    if let Some(asking) = &asking {
        let again = |value: &mut Value| {
            defaults(kind, value);
            admission::object(registry, kind, value)
        };
        let before = value["metadata"].clone();
        asking.mutate(&mut value, &again).await?;
        prepare::keep_new(target, &mut value, &before)?;
    }
    restriction::check_new(registry, by.caller, kind, &value)?;
    prepare::validate_create(kind, &value)?;
    escalation::check(&registry.inner.access, caller, kind, &value, None)?;
    certificates::check_new(kind, &value)?;
    admission::limited(registry, kind, &value)?;
    admission::secure(registry, kind, &value, None, o)?;
    let namespace = target.namespace.as_deref();
    let key = registry.inner.cache.bucket(kind).key(namespace, &name);
    let place = Place { kind, key: &key, name: &name };
    let mut taken = Taken::reserve(registry, kind, &mut value, None)?;
    if let Some(asking) = &asking {
        asking.validate(Some(&value)).await?;
    }
    taken.claim(place, &value, None)?;
    if o.dry_run {
        if registry.cached(kind, namespace, &name).is_some() {
            return Err(ApiError::already_exists(kind, &name));
        }
        return Ok(Arc::new(Object::transient(value, registry.revision())));
    }
    taken::commit(registry, place, value, None, taken).await
}

/// Defaults; kinds with a status always show one.
fn defaults(kind: &KindInfo, value: &mut Value) {
    kind.fill(value);
    if kind.status_subresource && kind.custom.is_none() {
        meta::map(value, "status");
    }
}

/// Replaces an object, its status, its scale, or a namespace's finalizers.
pub(crate) async fn update(
    registry: &Registry,
    caller: &Caller,
    target: &Target,
    mut body: Value,
    o: &WriteOptions,
) -> Result<Arc<Object>, ApiError> {
    if target.subresource == Some(Subresource::Scale) {
        return scale::update(registry, caller, target, body, o).await;
    }
    prepare::body(target, &mut body, o)?;
    let by = By::of(caller, target.kind, "UpdateOptions");
    let (target, body) = views::stored(target, body)?;
    let target = &*target;
    let name = meta::name(&body).to_owned();
    prepare::names_version(target.kind, &body)?;
    let mut tries = 0;
    loop {
        tries += 1;
        let Some(old) = registry.newest(target.kind, target.namespace.as_deref(), &name).await?
        else {
            return update_absent(registry, caller, target, body, o, &name).await;
        };
        prepare::preconditions(target.kind, &body, &old)?;
        let pinned = body["metadata"]["resourceVersion"].as_str().is_some_and(|v| !v.is_empty());
        match replace(registry, by, target, body.clone(), &old, o).await {
            Err(e) if e.is_conflict() && !pinned && tries < CONFLICT_TRIES => {}
            result => return result,
        }
    }
}

async fn update_absent(
    registry: &Registry,
    caller: &Caller,
    target: &Target,
    mut body: Value,
    o: &WriteOptions,
    name: &str,
) -> Result<Arc<Object>, ApiError> {
    let versioned = body["metadata"]["resourceVersion"].as_str().is_some_and(|v| !v.is_empty());
    if !target.kind.create_on_update || target.subresource.is_some() || versioned {
        return Err(ApiError::not_found(target.kind, name));
    }
    crate::access::check(&registry.inner.access, caller, "create", target)?;
    meta::of(&mut body).remove("uid");
    create(registry, caller, target, body, o).await
}

/// Turns a full new version into what may be stored over `old`, and stores it.
pub(crate) async fn replace(
    registry: &Registry,
    by: By<'_>,
    target: &Target,
    body: Value,
    old: &Arc<Object>,
    o: &WriteOptions,
) -> Result<Arc<Object>, ApiError> {
    let kind = target.kind;
    let stored = old;
    let old = &views::object(registry, kind, Arc::clone(stored)).await?;
    let mut new = merged(target, body, &old.value);
    defaults(kind, &mut new);
    restriction::check_change(by.caller, target, &new, &old.value)?;
    managing::track(registry, by.caller, target, (&old.value, &mut new), o);
    let place = (Operation::Update, old.namespace(), old.name());
    let asking = asking::about(registry, by, target, place, Some(&old.value), o);
    if let Some(asking) = &asking {
        // What webhooks change belongs to nobody.
        let managers = new["metadata"]["managedFields"].clone();
        asking.mutate(&mut new, &|_| Ok(())).await?;
        new = merged(target, new, &old.value);
        defaults(kind, &mut new);
        prepare::keep_managers(&mut new, managers);
    }
    let mut taken = judge(registry, by.caller, target, (&mut new, &old.value), o)?;
    if kind.generation && prepare::spec_differs(kind, &new, &old.value) {
        let generation = old.value["metadata"]["generation"].as_i64().unwrap_or(0);
        new["metadata"]["generation"] = Value::from(generation + 1);
    }
    if let Some(asking) = &asking {
        asking.validate(Some(&new)).await?;
    }
    let key = registry.inner.cache.bucket(kind).key(Some(old.namespace()), old.name());
    let place = Place { kind, key: &key, name: old.name() };
    if claims(target) {
        taken.claim(place, &new, Some(&old.value))?;
    }
    // Writing what is there brings it to the version that is stored now, and to the key that encrypts now.
    let encryption = registry.inner.options.encryption.as_deref();
    let current = kind.stored().api_version() == stored.value["apiVersion"]
        && !encryption.is_some_and(|by| by.is_stale(&key));
    if prepare::same(&new, &old.value) && current {
        return Ok(Arc::clone(stored));
    }
    if o.dry_run {
        new["metadata"]["resourceVersion"] = Value::from(old.revision.0.to_string());
        return Ok(Arc::new(Object::transient(new, old.revision)));
    }
    if finished(target, &new) {
        storing::remove(registry, place, old).await?;
        return Ok(Arc::new(Object::transient(new, old.revision)));
    }
    taken::commit(registry, place, new, Some(old.revision), taken).await
}

/// Whether a replacement may need more of a quota: the scopes of a pod are judged once, its size again.
fn claims(target: &Target) -> bool {
    match target.subresource {
        None => *target.kind != POD,
        Some(part) => part == Subresource::Resize,
    }
}

/// Whether a replacement may be, by rules that are built in; what it takes of what is scarce.
fn judge(
    registry: &Registry,
    caller: &Caller,
    target: &Target,
    (new, old): (&mut Value, &Value),
    o: &WriteOptions,
) -> Result<Taken, ApiError> {
    let kind = target.kind;
    match target.subresource {
        None => {
            (kind.prepare_update)(new, old);
            let taken = Taken::reserve(registry, kind, new, Some(old))?;
            prepare::validate_update(kind, new, old)?;
            escalation::check(&registry.inner.access, caller, kind, new, Some(old))?;
            admission::secure(registry, kind, new, Some(old), o)?;
            return Ok(taken);
        }
        Some(Subresource::Status) => prepare::validate_status(kind, new, old)?,
        Some(sub) => {
            prepare::validate_part(kind, sub, new, old)?;
            certificates::check_approval(&registry.inner.access, caller, target, old)?;
            if sub == Subresource::EphemeralContainers {
                admission::secure(registry, kind, new, Some(old), o)?;
            }
        }
    }
    Ok(Taken::nothing(registry))
}

/// Which parts come from the body, and which stay.
fn merged(target: &Target, body: Value, old: &Value) -> Value {
    match target.subresource {
        Some(Subresource::Status) => {
            let mut new = old.clone();
            if let Some(map) = new.as_object_mut() {
                match body.get("status") {
                    Some(status) => drop(map.insert("status".to_owned(), status.clone())),
                    None => drop(map.remove("status")),
                }
            }
            new
        }
        Some(
            sub @ (Subresource::Finalize
            | Subresource::Approval
            | Subresource::EphemeralContainers
            | Subresource::Resize),
        ) => {
            let mut new = old.clone();
            if let Some(part) = target.kind.subresource(sub.name()) {
                (part.take)(&mut new, &body);
            }
            new
        }
        // Made from the old version by the server itself: node and condition in one write.
        Some(Subresource::Binding) => body,
        None | Some(Subresource::Scale | Subresource::Eviction) => {
            let mut new = body;
            prepare::keep_metadata(&mut new, old);
            if target.kind.status_subresource
                && let Some(map) = new.as_object_mut()
            {
                map.remove("status");
                if let Some(status) = old.get("status") {
                    map.insert("status".to_owned(), status.clone());
                }
            }
            new
        }
    }
}

/// Whether nothing holds an object any more whose deletion has begun.
pub(crate) fn finished(target: &Target, new: &Value) -> bool {
    if !meta::deleting(new) || !meta::finalizers(new).is_empty() {
        return false;
    }
    if std::ptr::eq(target.kind, &raw const NAMESPACE) {
        return meta::list(&new["spec"], "finalizers").is_empty();
    }
    new["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) == 0
}
