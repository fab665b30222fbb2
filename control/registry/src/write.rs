//! Create and update.

use std::sync::Arc;

use beeline_api::kinds::{NAMESPACE, SERVICE};
use beeline_api::{ApiError, KindInfo, meta};
use serde_json::Value;

use crate::allocation::Held;
use crate::object::Object;
use crate::options::{Caller, Subresource, Target, WriteOptions};
use crate::registry::Registry;
use crate::roles::escalation;
use crate::storing::{self, Place, PutError};
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
    let (target, mut value) = views::stored(target, value)?;
    prepare::create(registry, target.kind, &mut value)?;
    (target.kind.prepare_caller)(&mut value, &caller.user, &caller.groups);
    let mut tries = 0;
    loop {
        let mut attempt = value.clone();
        let generated = prepare::generate_name(&mut attempt);
        tries += 1;
        match create_named(registry, caller, &target, attempt, o).await {
            Err(e) if generated && e.is_already_exists() && tries < GENERATE_TRIES => {}
            Err(e) if generated && e.is_already_exists() => return Err(e.retry_after(1)),
            result => return result,
        }
    }
}

async fn create_named(
    registry: &Registry,
    caller: &Caller,
    target: &Target,
    mut value: Value,
    o: &WriteOptions,
) -> Result<Arc<Object>, ApiError> {
    let kind = target.kind;
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
    prepare::validate_create(kind, &value)?;
    escalation::check(&registry.inner.access, caller, kind, &value, None)?;
    certificates::check_new(kind, &value)?;
    admission::secure(registry, kind, &value, None, o)?;
    let namespace = target.namespace.as_deref();
    let key = registry.inner.cache.bucket(kind).key(namespace, &name);
    let held = reserve(registry, target, &mut value, None)?;
    if o.dry_run {
        release(registry, held);
        if registry.cached(kind, namespace, &name).is_some() {
            return Err(ApiError::already_exists(kind, &name));
        }
        return Ok(Arc::new(Object::transient(value, registry.revision())));
    }
    commit(registry, target, key, name, value, None, held).await
}

/// Defaults; kinds with a status always show one.
fn defaults(kind: &KindInfo, value: &mut Value) {
    kind.fill(value);
    if kind.status_subresource && kind.custom.is_none() {
        meta::map(value, "status");
    }
}

/// Addresses and ports, for Services.
fn reserve(
    registry: &Registry,
    target: &Target,
    value: &mut Value,
    old: Option<&Value>,
) -> Result<Option<Held>, ApiError> {
    if !std::ptr::eq(target.kind, &raw const SERVICE) {
        return Ok(None);
    }
    registry.inner.allocations.reserve(value, old).map(Some)
}

fn release(registry: &Registry, held: Option<Held>) {
    if let Some(held) = held {
        registry.inner.allocations.release(&held);
    }
}

/// Stores a value. What was reserved for it goes back if that fails. A write that holds something runs to its end even
/// if the caller goes away, so that nothing stays reserved without an object.
async fn commit(
    registry: &Registry,
    target: &Target,
    key: String,
    name: String,
    value: Value,
    old: Option<Arc<Object>>,
    held: Option<Held>,
) -> Result<Arc<Object>, ApiError> {
    let kind = target.kind;
    let expected = old.map(|o| o.revision);
    let Some(held) = held else {
        let place = Place { kind, key: &key, name: &name };
        return Ok(storing::put(registry, place, value, expected).await?);
    };
    let (answer, answered) = tokio::sync::oneshot::channel();
    let registry = registry.clone();
    let tasks = registry.inner.tasks.clone();
    tasks.spawn("registry-write", async move {
        let result =
            storing::put(&registry, Place { kind, key: &key, name: &name }, value, expected).await;
        // What is in the store holds its addresses, whether its writer was told so or not.
        if let Err(PutError::Refused(_)) = &result {
            registry.inner.allocations.release(&held);
        }
        let _ = answer.send(result.map_err(ApiError::from));
    });
    answered.await.unwrap_or_else(|_| Err(ApiError::unavailable("the server is shutting down")))
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
        match replace(registry, caller, target, body.clone(), &old, o).await {
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
    caller: &Caller,
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
    managing::track(registry, caller, target, (&old.value, &mut new), o);
    let held = match target.subresource {
        None => {
            (kind.prepare_update)(&mut new, &old.value);
            let held = reserve(registry, target, &mut new, Some(&old.value))?;
            if let Err(refused) = prepare::validate_update(kind, &new, &old.value) {
                release(registry, held);
                return Err(refused);
            }
            escalation::check(&registry.inner.access, caller, kind, &new, Some(&old.value))?;
            admission::secure(registry, kind, &new, Some(&old.value), o)?;
            held
        }
        Some(Subresource::Status) => {
            prepare::validate_status(kind, &new, &old.value)?;
            None
        }
        Some(sub) => {
            prepare::validate_part(kind, sub, &new, &old.value)?;
            certificates::check_approval(&registry.inner.access, caller, target, &old.value)?;
            if sub == Subresource::EphemeralContainers {
                admission::secure(registry, kind, &new, Some(&old.value), o)?;
            }
            None
        }
    };
    if kind.generation && prepare::spec_differs(kind, &new, &old.value) {
        let generation = old.value["metadata"]["generation"].as_i64().unwrap_or(0);
        new["metadata"]["generation"] = Value::from(generation + 1);
    }
    // Writing what is there brings it to the version that is stored now.
    let current = kind.stored().api_version() == stored.value["apiVersion"];
    if prepare::same(&new, &old.value) && current {
        release(registry, held);
        return Ok(Arc::clone(stored));
    }
    if o.dry_run {
        release(registry, held);
        new["metadata"]["resourceVersion"] = Value::from(old.revision.0.to_string());
        return Ok(Arc::new(Object::transient(new, old.revision)));
    }
    let key = registry.inner.cache.bucket(kind).key(Some(old.namespace()), old.name());
    if finished(target, &new) {
        release(registry, held);
        let place = Place { kind, key: &key, name: old.name() };
        storing::remove(registry, place, old).await?;
        return Ok(Arc::new(Object::transient(new, old.revision)));
    }
    commit(registry, target, key, old.name().to_owned(), new, Some(Arc::clone(old)), held).await
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
