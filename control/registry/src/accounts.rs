//! What pods get from their service account: a token for the API in every container, and secrets to pull images with.
//!
//! In: a new pod, and the accounts that the cache shows. Out: the pod with its volume and mounts, or a refusal in the
//! words of upstream's ServiceAccount admission. Tokens themselves are made when a node asks for them.

use beeline_api::kinds::{POD, SERVICE_ACCOUNT};
use beeline_api::meta::{self, list, or_set, text};
use beeline_api::{ApiError, KindInfo};
use serde_json::{Map, Value, json};

use crate::prepare;
use crate::registry::Registry;

/// Where clients in pods look for their token.
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Names of the volume begin so.
const VOLUME_PREFIX: &str = "kube-api-access-";
/// What nodes ask for; the seven seconds tell such tokens from those that somebody asked for himself.
const TOKEN_SECONDS: i64 = 3_607;
const DEFAULT_ACCOUNT: &str = "default";

/// Completes a new pod.
pub(crate) fn admit(registry: &Registry, pod: &mut Value) -> Result<(), ApiError> {
    let (namespace, name) = (meta::namespace(pod).to_owned(), meta::name(pod).to_owned());
    if !pod["metadata"]["annotations"]["kubernetes.io/config.mirror"].is_null() {
        return mirror(&POD, &name, &pod["spec"]);
    }
    let spec = meta::map(pod, "spec");
    or_set(spec, "serviceAccountName", DEFAULT_ACCOUNT);
    let wanted = spec["serviceAccountName"].as_str().unwrap_or_default().to_owned();
    spec.insert("serviceAccount".to_owned(), Value::from(wanted.as_str()));
    let account = registry.cached(&SERVICE_ACCOUNT, Some(&namespace), &wanted);
    // `default` is made by a controller soon after the namespace; no pod has to wait for that.
    if account.is_none() && wanted != DEFAULT_ACCOUNT {
        let why = format!(
            "error looking up service account {namespace}/{wanted}: serviceaccount \"{wanted}\" not found"
        );
        return Err(ApiError::forbidden(&POD, &name, &why));
    }
    let account = account.as_ref().map_or(&Value::Null, |account| &account.value);
    if automounts(spec, account) {
        mount(spec);
    }
    if spec.get("imagePullSecrets").is_none_or(|own| own.as_array().is_none_or(Vec::is_empty))
        && !list(account, "imagePullSecrets").is_empty()
    {
        spec.insert("imagePullSecrets".to_owned(), account["imagePullSecrets"].clone());
    }
    Ok(())
}

/// What the pod says counts, else what its account says.
fn automounts(spec: &Map<String, Value>, account: &Value) -> bool {
    const FIELD: &str = "automountServiceAccountToken";
    let own = spec.get(FIELD).and_then(Value::as_bool);
    own.or_else(|| account[FIELD].as_bool()).unwrap_or(true)
}

/// Containers that mount something of their own at that path keep it.
fn mount(spec: &mut Map<String, Value>) {
    let known = spec.get("volumes").and_then(Value::as_array).into_iter().flatten();
    let known = known.map(|volume| text(volume, "name"));
    let known = known.into_iter().find(|name| name.starts_with(VOLUME_PREFIX)).map(str::to_owned);
    let name =
        known.clone().unwrap_or_else(|| format!("{VOLUME_PREFIX}{}", prepare::random_suffix()));
    let mut mounted = false;
    for field in ["initContainers", "containers"] {
        for container in spec.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten() {
            let taken =
                list(container, "volumeMounts").iter().any(|m| text(m, "mountPath") == MOUNT_PATH);
            let Some(container) = container.as_object_mut().filter(|_| !taken) else { continue };
            let mounts = container.entry("volumeMounts").or_insert_with(|| json!([]));
            if mounts.is_null() {
                *mounts = json!([]);
            }
            if let Some(mounts) = mounts.as_array_mut() {
                mounts.push(json!({ "name": name, "readOnly": true, "mountPath": MOUNT_PATH }));
                mounted = true;
            }
        }
    }
    if known.is_some() || !mounted {
        return;
    }
    let volumes = spec.entry("volumes").or_insert_with(|| json!([]));
    if volumes.is_null() {
        *volumes = json!([]);
    }
    if let Some(volumes) = volumes.as_array_mut() {
        volumes.push(volume(&name));
    }
}

fn volume(name: &str) -> Value {
    json!({ "name": name, "projected": { "defaultMode": 420, "sources": [
        { "serviceAccountToken": { "expirationSeconds": TOKEN_SECONDS, "path": "token" } },
        { "configMap": { "name": "kube-root-ca.crt", "items": [{ "key": "ca.crt", "path": "ca.crt" }] } },
        { "downwardAPI": { "items": [
            { "path": "namespace", "fieldRef": { "apiVersion": "v1", "fieldPath": "metadata.namespace" } },
        ] } },
    ] } })
}

/// A mirror pod is what a node runs already: it gets nothing, and may name nothing that the API would have to give.
fn mirror(kind: &KindInfo, name: &str, spec: &Value) -> Result<(), ApiError> {
    let refuse = |why: &str| Err(ApiError::forbidden(kind, name, why));
    if !text(spec, "serviceAccountName").is_empty() {
        return refuse("a mirror pod may not reference service accounts");
    }
    let projected = list(spec, "volumes").iter().flat_map(|v| list(&v["projected"], "sources"));
    if projected.into_iter().any(|source| source["serviceAccountToken"].is_object()) {
        return refuse("a mirror pod may not use ServiceAccountToken volume projections");
    }
    Ok(())
}
