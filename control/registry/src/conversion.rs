//! Objects of defined kinds in another of their versions: by their definition's webhook, else as they are.
//!
//! In: objects, and the version wanted. Out: the objects in it, in order.

use std::time::Duration;

use beeline_api::meta::text;
use beeline_api::{ApiError, KindInfo, decode};
use serde_json::{Value, json};

use crate::registry::Registry;
use crate::webhooks;

/// Upstream's limit for one conversion.
const CALL_MAX: Duration = Duration::from_secs(30);

/// Objects in the version of `kind`, defaults filled in. What is no object of that kind stays as it is.
pub(crate) async fn convert(
    registry: &Registry,
    kind: &KindInfo,
    mut values: Vec<Value>,
) -> Result<Vec<Value>, ApiError> {
    let wanted = kind.api_version();
    let foreign = |value: &Value| value["kind"] == kind.kind && value["apiVersion"] != *wanted;
    let hook = kind.custom.and_then(|custom| custom.webhook.as_ref());
    if let Some(hook) = hook.filter(|_| values.iter().any(foreign)) {
        let sent: Vec<Value> = values.iter().filter(|v| foreign(v)).cloned().collect();
        let from = sent.first().map(|v| text(v, "apiVersion").to_owned()).unwrap_or_default();
        let made = ask(registry, hook, &wanted, sent).await.map_err(|why| {
            let kind = kind.kind;
            ApiError::internal(format!("conversion webhook for {from}, Kind={kind} failed: {why}"))
        })?;
        for (value, made) in values.iter_mut().filter(|v| foreign(v)).zip(made) {
            take_over(value, made);
            decode::fields(kind, value, &[])?;
        }
    }
    for value in values.iter_mut().filter(|v| v["kind"] == kind.kind && kind.must_convert(v)) {
        *value = kind.converted(value);
    }
    Ok(values)
}

/// Everything but the metadata, of which a webhook may change labels and annotations.
fn take_over(value: &mut Value, mut made: Value) {
    let mut meta = value["metadata"].take();
    for field in ["labels", "annotations"] {
        match made["metadata"][field].take() {
            Value::Null => drop(meta.as_object_mut().and_then(|m| m.remove(field))),
            given => meta[field] = given,
        }
    }
    made["metadata"] = meta;
    *value = made;
}

async fn ask(
    registry: &Registry,
    hook: &Value,
    wanted: &str,
    objects: Vec<Value>,
) -> Result<Vec<Value>, String> {
    let Some(caller) = &registry.inner.options.webhooks else {
        return Err("no webhooks are called here".to_owned());
    };
    let endpoint = webhooks::endpoint(registry, &hook["clientConfig"], CALL_MAX)?;
    let (uid, count) = (uuid::Uuid::new_v4().to_string(), objects.len());
    let review = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview",
        "request": { "uid": uid, "desiredAPIVersion": wanted, "objects": objects },
    });
    let answer = caller.call(&endpoint, review.to_string().into_bytes()).await?;
    let mut answer: Value =
        serde_json::from_slice(&answer).map_err(|e| format!("its answer is no JSON: {e}"))?;
    let response = &mut answer["response"];
    if response["uid"] != *uid {
        return Err("expected response.uid to be that of the request".to_owned());
    }
    if response["result"]["status"] != "Success" {
        return Err(text(&response["result"], "message").to_owned());
    }
    let Value::Array(made) = response["convertedObjects"].take() else {
        return Err("expected response.convertedObjects".to_owned());
    };
    if made.len() != count {
        return Err(format!("returned {} objects, expected {count}", made.len()));
    }
    match made.iter().find(|m| m["apiVersion"] != wanted) {
        Some(other) => Err(format!("returned {}, expected {wanted}", other["apiVersion"])),
        None => Ok(made),
    }
}
