//! Patch: read, apply, write as an update; again when someone else was faster.

use std::sync::Arc;

use beeline_api::{ApiError, decode, patch as patches};
use serde_json::Value;

use crate::admission::request::By;
use crate::managing;
use crate::object::Object;
use crate::options::{Caller, Ownership, Patch, Subresource, Target, WriteOptions};
use crate::prepare;
use crate::registry::Registry;
use crate::scale;
use crate::views;
use crate::write::{self, CONFLICT_TRIES};

/// Patches an object, its status or its scale.
pub(crate) async fn patch(
    registry: &Registry,
    caller: &Caller,
    target: &Target,
    patch: Patch,
    o: &WriteOptions,
) -> Result<Arc<Object>, ApiError> {
    let name = target.name.clone().unwrap_or_default();
    if target.subresource == Some(Subresource::Scale) {
        return scale::patch(registry, caller, target, &patch, o).await;
    }
    let patch = checked(target, patch, o)?;
    let ownership = match patch {
        Patch::Apply(_) => Ownership::Applied,
        Patch::Json(_) | Patch::Merge(_) | Patch::Strategic(_) => Ownership::Written,
    };
    let o = &WriteOptions { ownership, ..o.clone() };
    let by = By::of(caller, target.kind, "PatchOptions");
    for _ in 0..CONFLICT_TRIES {
        let old = registry.newest(target.kind, target.namespace.as_deref(), &name).await?;
        let old = match (old, &patch) {
            (Some(old), _) => old,
            (None, Patch::Apply(config)) if target.subresource.is_none() => {
                return apply_new(registry, caller, target, config, o).await;
            }
            (None, _) => return Err(ApiError::not_found(target.kind, &name)),
        };
        let current = views::value(registry, target.kind, &old.value).await?;
        let mut new = patched(registry, caller, target, current, &patch, o)?;
        let pinned = new["metadata"]["resourceVersion"] != old.value["metadata"]["resourceVersion"]
            || named_version(&patch);
        prepare::preconditions(target.kind, &new, &old)?;
        decode::type_meta(target.kind, &mut new)?;
        prepare::fields(target.kind, &mut new, o)?;
        prepare::agree(target, &mut new)?;
        let (stored, new) = views::stored(target, new)?;
        match write::replace(registry, by, &stored, new, &old, o).await {
            Err(e) if e.is_conflict() && !pinned => {
                o.warnings.take();
            }
            result => return result,
        }
    }
    Err(ApiError::modified(target.kind, &name))
}

/// What can be said about a patch before there is an object.
fn checked(target: &Target, patch: Patch, o: &WriteOptions) -> Result<Patch, ApiError> {
    if let (Patch::Strategic(_), Some(_)) = (&patch, target.kind.custom) {
        let why = "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";
        return Err(ApiError::new(415, "UnsupportedMediaType", why));
    }
    let Patch::Apply(mut config) = patch else { return Ok(patch) };
    if o.field_manager.as_deref().unwrap_or_default().is_empty() {
        let cause = beeline_api::validate::required("fieldManager", "is required for apply patch");
        let message =
            format!("PatchOptions.meta.k8s.io \"\" is invalid: {}: {}", cause.field, cause.message);
        return Err(ApiError::new(422, "Invalid", message).with_causes(vec![cause]));
    }
    for field in ["apiVersion", "kind"] {
        if config[field].as_str().unwrap_or_default().is_empty() {
            return Err(ApiError::bad_request(format!(
                "error decoding patch: {field} must be set"
            )));
        }
    }
    decode::type_meta(target.kind, &mut config)?;
    prepare::fields(target.kind, &mut config, o)?;
    prepare::agree(target, &mut config)?;
    Ok(Patch::Apply(config))
}

/// Whether the patch itself says which version it is for.
fn named_version(patch: &Patch) -> bool {
    match patch {
        Patch::Json(_) => false,
        Patch::Merge(p) | Patch::Strategic(p) | Patch::Apply(p) => {
            p["metadata"]["resourceVersion"].is_string()
        }
    }
}

fn patched(
    registry: &Registry,
    caller: &Caller,
    target: &Target,
    current: Value,
    patch: &Patch,
    o: &WriteOptions,
) -> Result<Value, ApiError> {
    match patch {
        Patch::Json(p) => patches::json(current, p),
        Patch::Merge(p) => patches::merge(current, p),
        Patch::Strategic(p) => patches::strategic(current, p, target.kind.schema()),
        Patch::Apply(config) => managing::apply(registry, caller, target, (&current, config), o),
    }
}

async fn apply_new(
    registry: &Registry,
    caller: &Caller,
    target: &Target,
    config: &Value,
    o: &WriteOptions,
) -> Result<Arc<Object>, ApiError> {
    crate::access::check(&registry.inner.access, caller, "create", target)?;
    let named =
        config["metadata"]["uid"].is_string() || config["metadata"]["resourceVersion"].is_string();
    if named {
        return Err(ApiError::modified(target.kind, target.name.as_deref().unwrap_or_default()));
    }
    let new = managing::apply(registry, caller, target, (&Value::Null, config), o)?;
    write::create(registry, caller, target, new, o).await
}
