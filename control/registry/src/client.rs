//! Typed access for in-process callers: the same door, the same checks, `k8s-openapi` types.
//!
//! ```no_run
//! # async fn example(registry: beeline_registry::Registry) -> Result<(), beeline_api::ApiError> {
//! use beeline_registry::{Api, Caller};
//! use k8s_openapi::api::core::v1::Pod;
//! let pods: Api<Pod> = registry.client(Caller::system("scheduler")).api();
//! pods.bind("default", "web-0", "node-1").await?;
//! # Ok(())
//! # }
//! ```

use std::marker::PhantomData;
use std::sync::Arc;

use beeline_api::selectors::{FieldSelector, LabelSelector};
use beeline_api::{ApiError, KindInfo, Kinds};
use k8s_openapi::Resource;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::object::{Deleted, Object};
use crate::options::{
    Caller, DeleteOptions, ListOptions, Patch, Subresource, Target, WatchOptions, WriteOptions,
};
use crate::registry::Registry;
use crate::watch::ObjectWatch;

/// What a type needs to be used with [`Api`].
pub trait Kind: Resource + Serialize + DeserializeOwned + Send + Sync + 'static {}
impl<K: Resource + Serialize + DeserializeOwned + Send + Sync + 'static> Kind for K {}

/// The registry as one caller sees it.
#[derive(Clone)]
pub struct Client {
    registry: Registry,
    caller: Arc<Caller>,
}

impl Client {
    pub(crate) fn new(registry: Registry, caller: Caller) -> Self {
        Self { registry, caller: Arc::new(caller) }
    }

    /// The registry behind it.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Who this is.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Access to one kind. Panics if the type is not a served kind: that is a bug of the caller.
    pub fn api<K: Kind>(&self) -> Api<K> {
        Api { client: self.clone(), kind: kind_of::<K>(), of: PhantomData }
    }

    /// All objects of a kind as the cache has them now, decoded once per version.
    pub fn cached<K: Kind>(&self) -> Vec<Arc<K>> {
        self.cached_in::<K>(None)
    }

    /// The same, of one namespace.
    pub fn cached_in<K: Kind>(&self, namespace: Option<&str>) -> Vec<Arc<K>> {
        typed(&self.registry.snapshot(kind_of::<K>(), namespace))
    }

    /// One object as the cache has it now.
    pub fn cached_one<K: Kind>(&self, namespace: Option<&str>, name: &str) -> Option<Arc<K>> {
        self.registry.cached(kind_of::<K>(), namespace, name).and_then(|o| o.typed().ok())
    }

    /// A nudge after every change of any of these kinds: wait on `notified()`. Changes between two waits merge.
    pub fn changed(&self, kinds: &[&'static KindInfo]) -> Arc<Notify> {
        self.registry.changed(kinds)
    }

    /// The same, and after changes of kinds that definitions make, now or later.
    pub fn changed_or_defined(&self, kinds: &[&'static KindInfo]) -> Arc<Notify> {
        self.registry.changed_or_defined(kinds)
    }
}

fn kind_of<K: Kind>() -> &'static KindInfo {
    Kinds::builtin()
        .by_kind(K::GROUP, K::VERSION, K::KIND)
        .expect("typed clients are made for served kinds only")
}

fn typed<K: Kind>(objects: &[Arc<Object>]) -> Vec<Arc<K>> {
    objects.iter().filter_map(|o| o.typed().inspect_err(|e| tracing::error!("{e}")).ok()).collect()
}

/// One kind, typed. Namespaces are None for cluster-scoped kinds.
pub struct Api<K> {
    client: Client,
    kind: &'static KindInfo,
    of: PhantomData<fn() -> K>,
}

impl<K> Clone for Api<K> {
    fn clone(&self) -> Self {
        Self { client: self.client.clone(), kind: self.kind, of: PhantomData }
    }
}

impl<K: Kind> Api<K> {
    fn target(&self, namespace: Option<&str>, name: &str) -> Target {
        Target::object(self.kind, namespace, name)
    }

    fn target_of(&self, value: &Value) -> Target {
        let meta = &value["metadata"];
        self.target(meta["namespace"].as_str(), meta["name"].as_str().unwrap_or_default())
    }

    fn encode(&self, object: &K) -> Result<Value, ApiError> {
        serde_json::to_value(object)
            .map_err(|e| ApiError::internal(format!("encode {}: {e}", self.kind.kind)))
    }

    /// The newest committed state, None if there is none.
    pub async fn get(
        &self,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<Option<Arc<K>>, ApiError> {
        match self.client.registry.get(&self.client.caller, &self.target(namespace, name)).await {
            Ok(object) => object.typed().map(Some),
            Err(e) if e.is_not_found() => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The newest committed state of all that match.
    pub async fn list(
        &self,
        namespace: Option<&str>,
        labels: &LabelSelector,
    ) -> Result<Vec<Arc<K>>, ApiError> {
        let options = ListOptions { labels: labels.clone(), ..ListOptions::default() };
        let target = Target::collection(self.kind, namespace);
        Ok(typed(&self.client.registry.list(&self.client.caller, &target, &options).await?.items))
    }

    /// Creates it, in `metadata.namespace`.
    pub async fn create(&self, object: &K) -> Result<Arc<K>, ApiError> {
        let value = self.encode(object)?;
        let mut target = self.target_of(&value);
        target.name = None;
        let made = self
            .client
            .registry
            .create(&self.client.caller, &target, value, &WriteOptions::default())
            .await?;
        made.typed()
    }

    /// Replaces it. With a resourceVersion in it, only if nobody wrote since.
    pub async fn update(&self, object: &K) -> Result<Arc<K>, ApiError> {
        let value = self.encode(object)?;
        let target = self.target_of(&value);
        self.client
            .registry
            .update(&self.client.caller, &target, value, &WriteOptions::default())
            .await?
            .typed()
    }

    /// Replaces its status.
    pub async fn update_status(&self, object: &K) -> Result<Arc<K>, ApiError> {
        let value = self.encode(object)?;
        let target = self.target_of(&value).sub(Subresource::Status);
        self.client
            .registry
            .update(&self.client.caller, &target, value, &WriteOptions::default())
            .await?
            .typed()
    }

    /// RFC 7386 patch.
    pub async fn patch_merge(
        &self,
        namespace: Option<&str>,
        name: &str,
        patch: Value,
    ) -> Result<Arc<K>, ApiError> {
        self.patch(self.target(namespace, name), Patch::Merge(patch)).await
    }

    /// RFC 7386 patch of the status: `{"status": {...}}`.
    pub async fn patch_status(
        &self,
        namespace: Option<&str>,
        name: &str,
        patch: Value,
    ) -> Result<Arc<K>, ApiError> {
        self.patch(self.target(namespace, name).sub(Subresource::Status), Patch::Merge(patch)).await
    }

    async fn patch(&self, target: Target, patch: Patch) -> Result<Arc<K>, ApiError> {
        self.client
            .registry
            .patch(&self.client.caller, &target, patch, &WriteOptions::default())
            .await?
            .typed()
    }

    /// Deletes it; `Ok(None)` if it was not there.
    pub async fn delete(
        &self,
        namespace: Option<&str>,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<Option<Deleted>, ApiError> {
        match self
            .client
            .registry
            .delete(&self.client.caller, &self.target(namespace, name), options)
            .await
        {
            Ok(deleted) => Ok(Some(deleted)),
            Err(e) if e.is_not_found() => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Sets `spec.replicas` through `/scale`.
    pub async fn scale(
        &self,
        namespace: Option<&str>,
        name: &str,
        replicas: i32,
    ) -> Result<(), ApiError> {
        let target = self.target(namespace, name).sub(Subresource::Scale);
        let patch = Patch::Merge(json!({ "spec": { "replicas": replicas } }));
        self.client
            .registry
            .patch(&self.client.caller, &target, patch, &WriteOptions::default())
            .await
            .map(drop)
    }

    /// Binds a pod to a node. 409 if it is bound already.
    pub async fn bind(&self, namespace: &str, pod: &str, node: &str) -> Result<(), ApiError> {
        let target = self.target(Some(namespace), pod).sub(Subresource::Binding);
        let body = json!({
            "apiVersion": "v1", "kind": "Binding", "metadata": { "name": pod, "namespace": namespace },
            "target": { "apiVersion": "v1", "kind": "Node", "name": node },
        });
        self.client
            .registry
            .create(&self.client.caller, &target, body, &WriteOptions::default())
            .await
            .map(drop)
    }

    /// Events of this kind; see [`WatchOptions`].
    pub async fn watch(
        &self,
        namespace: Option<&str>,
        fields: FieldSelector,
        options: WatchOptions,
    ) -> Result<ObjectWatch, ApiError> {
        let options = WatchOptions { fields, ..options };
        self.client
            .registry
            .watch(&self.client.caller, &Target::collection(self.kind, namespace), &options)
            .await
    }
}
