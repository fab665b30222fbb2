//! Creates under an object's name: binding a pod, evicting a pod.

use std::sync::Arc;

use beeline_api::kinds::POD;
use beeline_api::{ApiError, decode, meta, time};
use serde_json::{Value, json};

use crate::admission::asking;
use crate::admission::request::{By, Operation};
use crate::delete;
use crate::disruption::{self, Leave};
use crate::object::Object;
use crate::options::{Caller, DeleteOptions, Preconditions, Subresource, Target, WriteOptions};
use crate::registry::Registry;
use crate::write::{self, CONFLICT_TRIES};

/// How those outside are told of it.
const ASKED: (Operation, &str) = (Operation::Create, "CreateOptions");

/// POST to a subresource.
pub(crate) async fn create(
    registry: &Registry,
    caller: &Caller,
    target: &Target,
    sub: Subresource,
    body: Value,
    o: &WriteOptions,
) -> Result<Arc<Object>, ApiError> {
    match sub {
        Subresource::Binding => bind(registry, caller, target, body, o).await,
        Subresource::Eviction => evict(registry, caller, target, body, o).await,
        Subresource::Status
        | Subresource::Scale
        | Subresource::Finalize
        | Subresource::Approval
        | Subresource::EphemeralContainers
        | Subresource::Resize => Err(ApiError::method_not_allowed()),
    }
}

fn done(registry: &Registry) -> Arc<Object> {
    let status = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201 });
    Arc::new(Object::transient(status, registry.revision()))
}

/// Sets the node of a pod that has none.
async fn bind(
    registry: &Registry,
    caller: &Caller,
    target: &Target,
    mut body: Value,
    o: &WriteOptions,
) -> Result<Arc<Object>, ApiError> {
    decode::expect(&mut body, "v1", "Binding")?;
    asking::ask_about(registry, caller, target, ASKED, (&mut body, None), o).await?;
    let name = target.name.as_deref().unwrap_or_default();
    let node = body["target"]["name"].as_str().unwrap_or_default().to_owned();
    let kind = body["target"]["kind"].as_str().unwrap_or_default();
    if node.is_empty() || !matches!(kind, "" | "Node") {
        return Err(ApiError::bad_request("a binding needs target.kind Node and target.name"));
    }
    let main = Target { subresource: Some(Subresource::Binding), ..target.clone() };
    for _ in 0..CONFLICT_TRIES {
        let old = registry.newest(&POD, target.namespace.as_deref(), name).await?;
        let old = old.ok_or_else(|| ApiError::not_found(&POD, name))?;
        let new = bound(registry, &old, &body, &node)?;
        match write::replace(registry, By::itself(caller), &main, new, &old, o).await {
            Err(e) if e.is_conflict() => {}
            result => return result.map(|_| done(registry)),
        }
    }
    Err(ApiError::modified(&POD, name))
}

fn bound(registry: &Registry, old: &Object, body: &Value, node: &str) -> Result<Value, ApiError> {
    let refuse = |why: String| Err(ApiError::conflict(&POD, old.name(), &why));
    let uid = meta::uid(body);
    if !uid.is_empty() && uid != old.uid() {
        let have = old.uid();
        return refuse(format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {have}"
        ));
    }
    if old.deleting() {
        return refuse(format!(
            "pod {} is being deleted, cannot be assigned to a host",
            old.name()
        ));
    }
    let current = meta::text(&old.value["spec"], "nodeName");
    if !current.is_empty() {
        return refuse(format!("pod {} is already assigned to node \"{current}\"", old.name()));
    }
    if !meta::list(&old.value["spec"], "schedulingGates").is_empty() {
        return refuse(format!("pod {} has non-empty .spec.schedulingGates", old.name()));
    }
    let mut new = old.value.clone();
    new["spec"]["nodeName"] = Value::from(node);
    let scheduled = json!({
        "type": "PodScheduled", "status": "True", "lastProbeTime": null,
        "lastTransitionTime": time::format(registry.now()),
    });
    let mut scheduled = scheduled;
    decode::drop_nulls(&mut scheduled);
    let conditions = meta::map(&mut new, "status").entry("conditions").or_insert_with(|| json!([]));
    if let Some(all) = conditions.as_array_mut() {
        all.retain(|c| c["type"] != "PodScheduled");
        all.push(scheduled);
    }
    Ok(new)
}

/// Deletes a pod if its disruption budget allows that.
async fn evict(
    registry: &Registry,
    caller: &Caller,
    target: &Target,
    mut body: Value,
    o: &WriteOptions,
) -> Result<Arc<Object>, ApiError> {
    decode::expect(&mut body, "policy/v1", "Eviction")?;
    asking::ask_about(registry, caller, target, ASKED, (&mut body, None), o).await?;
    let name = target.name.as_deref().unwrap_or_default();
    if ![name, ""].contains(&meta::name(&body)) {
        let why = "name in URL does not match name in Eviction object";
        return Err(ApiError::bad_request(why));
    }
    let wanted = &body["deleteOptions"];
    let text = |field: &str| wanted["preconditions"][field].as_str().map(str::to_owned);
    let dry_run = o.dry_run || !meta::list(wanted, "dryRun").is_empty();
    let pod = Target { subresource: None, ..target.clone() };
    for _ in 0..CONFLICT_TRIES {
        let seen = registry.newest(&POD, target.namespace.as_deref(), name).await?;
        let seen = seen.ok_or_else(|| ApiError::not_found(&POD, name))?;
        let mut options = DeleteOptions {
            dry_run,
            grace_period_seconds: wanted["gracePeriodSeconds"].as_i64(),
            preconditions: Preconditions {
                uid: text("uid"),
                resource_version: text("resourceVersion"),
            },
            warnings: o.warnings.clone(),
            ..DeleteOptions::default()
        };
        let leave = disruption::ask(registry, &seen, dry_run).await?;
        // One that does not count now may count in its next version.
        let pinned = leave == Leave::AsSeen && options.preconditions.resource_version.is_none();
        if pinned {
            options.preconditions.resource_version = Some(seen.revision.0.to_string());
        }
        match delete::delete(registry, By::itself(caller), &pod, &options).await {
            Err(e) if e.is_conflict() && pinned => {}
            result => return result.map(|_| done(registry)),
        }
    }
    Err(ApiError::modified(&POD, name))
}
