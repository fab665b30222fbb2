//! `/scale`: one number of a workload, as an object of its own.

use std::sync::Arc;

use beeline_api::kinds::ScalePaths;
use beeline_api::selectors::LabelSelector;
use beeline_api::validate::invalid;
use beeline_api::{ApiError, decode, patch as patches};
use serde_json::{Value, json};

use crate::admission::asking;
use crate::admission::request::{By, Operation};
use crate::object::Object;
use crate::options::{Caller, Ownership, Patch, Target, WriteOptions};
use crate::prepare;
use crate::registry::Registry;
use crate::views;
use crate::write::{self, CONFLICT_TRIES};

/// The `Scale` of an object.
pub(crate) async fn of(
    registry: &Registry,
    target: &Target,
    object: &Object,
) -> Result<Arc<Object>, ApiError> {
    let paths = paths(target)?;
    let value = &views::value(registry, target.kind, &object.value).await?;
    let number = |path: &str| value.pointer(path).and_then(Value::as_i64).unwrap_or(0);
    let selector = value.pointer(paths.selector).filter(|_| !paths.selector.is_empty());
    // Kinds that definitions make hold it as text.
    let selector = selector.and_then(|found| match found.as_str() {
        Some(text) => Some(text.to_owned()),
        None => LabelSelector::from_object(found).map(|s| s.to_text()),
    });
    let meta = &value["metadata"];
    let scale = json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": {
            "name": meta["name"], "namespace": meta["namespace"], "uid": meta["uid"],
            "resourceVersion": meta["resourceVersion"], "creationTimestamp": meta["creationTimestamp"],
        },
        "spec": { "replicas": number(paths.spec_replicas) },
        "status": { "replicas": number(paths.status_replicas), "selector": selector.unwrap_or_default() },
    });
    Ok(Arc::new(Object::transient(scale, object.revision)))
}

fn paths(target: &Target) -> Result<ScalePaths, ApiError> {
    target.kind.scale.ok_or_else(ApiError::no_such_resource)
}

/// PUT of a `Scale`.
pub(crate) async fn update(
    registry: &Registry,
    caller: &Caller,
    target: &Target,
    mut body: Value,
    o: &WriteOptions,
) -> Result<Arc<Object>, ApiError> {
    decode::expect(&mut body, "autoscaling/v1", "Scale")?;
    change(registry, caller, target, ("UpdateOptions", o), |_| Ok(body.clone())).await
}

/// PATCH of a `Scale`.
pub(crate) async fn patch(
    registry: &Registry,
    caller: &Caller,
    target: &Target,
    patch: &Patch,
    o: &WriteOptions,
) -> Result<Arc<Object>, ApiError> {
    change(registry, caller, target, ("PatchOptions", o), |scale| match patch {
        Patch::Json(p) => patches::json(scale, p),
        Patch::Merge(p) | Patch::Strategic(p) | Patch::Apply(p) => patches::merge(scale, p),
    })
    .await
}

async fn change(
    registry: &Registry,
    caller: &Caller,
    target: &Target,
    (options, o): (&'static str, &WriteOptions),
    make: impl Fn(Value) -> Result<Value, ApiError>,
) -> Result<Arc<Object>, ApiError> {
    let paths = paths(target)?;
    let name = target.name.as_deref().unwrap_or_default();
    let o = &WriteOptions { ownership: Ownership::Scaled, ..o.clone() };
    for _ in 0..CONFLICT_TRIES {
        let old = registry.newest(target.kind, target.namespace.as_deref(), name).await?;
        let old = old.ok_or_else(|| ApiError::not_found(target.kind, name))?;
        let before = of(registry, target, &old).await?;
        let mut scale = make(before.value.clone())?;
        prepare::preconditions(target.kind, &scale, &old)?;
        let pinned = scale["metadata"]["resourceVersion"].is_string()
            && scale["metadata"]["resourceVersion"] != before.value["metadata"]["resourceVersion"];
        let seen = (&mut scale, Some(&*before.value));
        asking::ask_about(registry, caller, target, (Operation::Update, options), seen, o).await?;
        let replicas = replicas(&scale, name)?;
        let mut new = views::value(registry, target.kind, &old.value).await?;
        set(&mut new, paths.spec_replicas, replicas);
        let main = Target { subresource: None, ..target.clone() };
        match write::replace(registry, By::itself(caller), &main, new, &old, o).await {
            Err(e) if e.is_conflict() && !pinned => {}
            result => return of(registry, target, &*result?).await,
        }
    }
    Err(ApiError::modified(target.kind, name))
}

/// Sets what a pointer made of fields leads to, with the objects on its way.
fn set(object: &mut Value, pointer: &str, value: Value) {
    let fields: Vec<&str> = pointer.split('/').skip(1).collect();
    let Some((last, parents)) = fields.split_last() else { return };
    let mut at = object;
    for field in parents {
        at = &mut at[*field];
        if !at.is_object() && !at.is_null() {
            return;
        }
    }
    at[*last] = value;
}

fn replicas(scale: &Value, name: &str) -> Result<Value, ApiError> {
    let wanted = &scale["spec"]["replicas"];
    match wanted.as_i64().or(wanted.is_null().then_some(0)) {
        Some(n) if i32::try_from(n).is_ok_and(|n| n >= 0) => Ok(Value::from(n)),
        Some(n) => {
            let cause = invalid("spec.replicas", n, "must be greater than or equal to 0");
            let message = format!(
                "Scale.autoscaling \"{name}\" is invalid: {}: {}",
                cause.field, cause.message
            );
            Err(ApiError::new(422, "Invalid", message).with_causes(vec![cause]))
        }
        None => Err(ApiError::bad_request(
            "Scale in version \"v1\" cannot be handled as a Scale: json: cannot unmarshal into Go struct field ScaleSpec.spec.replicas of type int32",
        )),
    }
}
