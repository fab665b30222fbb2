//! Where webhooks are, and who calls them.
//!
//! In: the `clientConfig` of a definition or an admission configuration. Out: an [`Endpoint`]. The call itself is made by
//! whoever is given in [`Options`](crate::Options): it speaks HTTP, the registry does not.

use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use beeline_api::kinds::SERVICE;
use beeline_api::meta::text;
use serde_json::Value;

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
    /// How long it may take.
    pub timeout: Duration,
}

/// Calls webhooks over HTTPS.
#[async_trait]
pub trait Webhooks: Send + Sync {
    /// Posts JSON, and gives the body of the answer; the reason if there is none.
    async fn call(&self, endpoint: &Endpoint, body: Vec<u8>) -> Result<Vec<u8>, String>;
}

/// The webhook of a `clientConfig`.
pub(crate) fn endpoint(
    registry: &Registry,
    config: &Value,
    timeout: Duration,
) -> Result<Endpoint, String> {
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
            timeout,
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
    Ok(Endpoint { address: joined(&host, port), host, path: format!("/{path}"), ca_pem, timeout })
}

fn joined(host: &str, port: impl std::fmt::Display) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}
