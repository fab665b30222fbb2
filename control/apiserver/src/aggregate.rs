//! API groups that other servers serve, passed on to them: APIServices with a Service (`apiregistration.k8s.io/v1`).
//!
//! In: APIServices, Services and slices as the registry has them. Out: which group versions are elsewhere, whether they are
//! available, and what they serve; requests under them are passed on after they were authenticated and authorized here.
//!
//! ```text
//! follow ──> resolve ──> call: GET /apis/GROUP/VERSION ──> status Available, discovery, OpenAPI index ──> Remote
//! request ──> Remote ──> authorize ──> proxy ──> call ──> the extension server
//! ```

mod call;
mod discovery;
mod follow;
mod proxy;
mod resolve;

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use beeline_api::meta::text;
use beeline_auth::Certified;
use beeline_registry::Object;
use rustls::ClientConfig;
use serde_json::Value;

pub(crate) use discovery::merge_groups;
pub(crate) use follow::follow;
pub(crate) use proxy::handle;

/// An APIService that another server stands behind.
pub(crate) struct ApiService {
    /// Of the object.
    name: String,
    uid: String,
    group: String,
    version: String,
    group_priority: i64,
    version_priority: i64,
    /// Namespace and name of the Service.
    service: (String, String),
    port: u64,
    /// How to talk to it, or why that is not possible.
    tls: Result<Arc<ClientConfig>, String>,
    /// What all this was read from.
    spec: Value,
}

/// What is known of one.
#[derive(Clone)]
pub(crate) struct Entry {
    service: Arc<ApiService>,
    available: bool,
    /// The version as aggregated discovery tells it; none before it was heard for the first time.
    resources: Option<Value>,
    /// Where the server has the version's OpenAPI document, with its hash.
    openapi: Option<String>,
}

/// All of them, by group and version. Immutable: a change makes another.
#[derive(Default)]
pub(crate) struct Remote {
    entries: BTreeMap<(String, String), Entry>,
}

// === impl ApiService ===

impl ApiService {
    /// None if it is one of our own.
    fn of(object: &Object, client: &Certified) -> Option<Self> {
        let spec = &object.value["spec"];
        let service = spec.get("service").filter(|service| service.is_object())?;
        Some(Self {
            name: object.name().to_owned(),
            uid: object.uid().to_owned(),
            group: text(spec, "group").to_owned(),
            version: text(spec, "version").to_owned(),
            group_priority: spec["groupPriorityMinimum"].as_i64().unwrap_or(0),
            version_priority: spec["versionPriority"].as_i64().unwrap_or(0),
            service: (text(service, "namespace").to_owned(), text(service, "name").to_owned()),
            port: service["port"].as_u64().unwrap_or(443),
            tls: tls(spec, client),
            spec: spec.clone(),
        })
    }

    /// Whether it is still what the object says. The status is ours and changes nothing here.
    fn is_of(&self, object: &Object) -> bool {
        self.uid == object.uid() && self.spec == object.value["spec"]
    }

    /// The name that its certificate has to have.
    fn host(&self) -> String {
        format!("{}.{}.svc", self.service.1, self.service.0)
    }
}

/// A server proves itself to the bundle, or to nobody if the APIService says so.
fn tls(spec: &Value, client: &Certified) -> Result<Arc<ClientConfig>, String> {
    let made = if spec["insecureSkipTLSVerify"] == true {
        beeline_auth::unverified_client_config(Some(client))
    } else {
        let bundle = STANDARD.decode(text(spec, "caBundle")).unwrap_or_default();
        let pem = String::from_utf8_lossy(&bundle);
        if pem.is_empty() {
            return Err("spec.caBundle is empty, and no other authority is trusted".to_owned());
        }
        beeline_auth::client_config(&pem, Some(client))
    };
    let mut config = (*made.map_err(|error| error.to_string())?).clone();
    // Upgrades need it.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

// === impl Remote ===

impl Remote {
    /// The one that serves a path, if another server does: `/apis/GROUP/VERSION` and what is below, and its OpenAPI document.
    pub(crate) fn of_path(&self, path: &str) -> Option<&Entry> {
        if self.entries.is_empty() {
            return None;
        }
        let rest = path.strip_prefix("/openapi/v3").unwrap_or(path);
        let mut parts = rest.strip_prefix("/apis/")?.splitn(3, '/');
        let (group, version) = (parts.next()?, parts.next()?);
        self.entries.get(&(group.to_owned(), version.to_owned()))
    }

    /// Where their OpenAPI documents are: path in the index, and address.
    pub(crate) fn openapi(&self) -> impl Iterator<Item = (String, &str)> {
        self.entries.iter().filter_map(|((group, version), entry)| {
            Some((format!("apis/{group}/{version}"), entry.openapi.as_deref()?))
        })
    }
}
