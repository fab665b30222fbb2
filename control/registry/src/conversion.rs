//! Objects of defined kinds in another of their versions: by their definition's webhook, else as they are.
//!
//! In: objects, and the version wanted. Out: the objects in it, in order. The call itself is made by whoever is given in
//! [`Options`](crate::Options): it speaks HTTP, the registry does not.

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use beeline_api::kinds::SERVICE;
use beeline_api::meta::text;
use beeline_api::{ApiError, KindInfo, decode};
use serde_json::{Value, json};

use crate::registry::Registry;

/// Where a webhook is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The name that its certificate has to have.
    pub host: String,
    /// `address:port` to connect to.
    pub address: String,
    /// Path of the request.
    pub path: String,
    /// Who has to have signed its certificate.
    pub ca_pem: String,
}

/// Calls webhooks over HTTPS.
#[async_trait]
pub trait Webhooks: Send + Sync {
    /// Posts JSON, and gives the body of the answer; the reason if there is none.
    async fn call(&self, endpoint: &Endpoint, body: Vec<u8>) -> Result<Vec<u8>, String>;
}

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
    let Some(webhooks) = &registry.inner.options.webhooks else {
        return Err("no webhooks are called here".to_owned());
    };
    let endpoint = endpoint(registry, &hook["clientConfig"])?;
    let (uid, count) = (uuid::Uuid::new_v4().to_string(), objects.len());
    let review = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview",
        "request": { "uid": uid, "desiredAPIVersion": wanted, "objects": objects },
    });
    let answer = webhooks.call(&endpoint, review.to_string().into_bytes()).await?;
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

fn endpoint(registry: &Registry, config: &Value) -> Result<Endpoint, String> {
    let bundle = STANDARD.decode(text(config, "caBundle"));
    let ca_pem = bundle.ok().and_then(|b| String::from_utf8(b).ok()).unwrap_or_default();
    if ca_pem.is_empty() {
        return Err("clientConfig.caBundle is empty, and no other authority is trusted".to_owned());
    }
    let service = &config["service"];
    if service.is_object() {
        let (namespace, name) = (text(service, "namespace"), text(service, "name"));
        let known = registry.cached(&SERVICE, Some(namespace), name);
        let known = known.ok_or_else(|| format!("service \"{name}\" not found"))?;
        let port = service["port"].as_u64().unwrap_or(443);
        return Ok(Endpoint {
            host: format!("{name}.{namespace}.svc"),
            address: joined(text(&known.value["spec"], "clusterIP"), port),
            path: format!("/{}", text(service, "path").trim_start_matches('/')),
            ca_pem,
        });
    }
    let url = text(config, "url");
    let rest = url.strip_prefix("https://").ok_or_else(|| format!("{url:?} is no https URL"))?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|c| c.is_ascii_digit()) => (host, port),
        _ => (authority, "443"),
    };
    let host = host.trim_matches(['[', ']']).to_owned();
    Ok(Endpoint { address: joined(&host, port), host, path: format!("/{path}"), ca_pem })
}

fn joined(host: &str, port: impl std::fmt::Display) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}
