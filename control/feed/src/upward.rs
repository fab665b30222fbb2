//! What nodes report, written to the registry.
//!
//! In: messages of one node, whose name is proven. Out: writes to what belongs to that node: its Node, its Lease,
//! its Pods, Events. Everything else is refused.

mod events;
mod merge;

use std::collections::HashMap;

use beeline_api::{ApiError, kinds, time};
use beeline_kit::Clock;
use beeline_proto::feed as wire;
use beeline_registry::{
    Client, DeleteOptions, Patch, Preconditions, Subresource, Target, WriteOptions,
};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

/// Why a report was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpwardError {
    /// The node's mistake.
    #[error("decode {what} of node {node}: {why}")]
    Decode { what: &'static str, node: String, why: serde_json::Error },
    /// The node speaks of what is not its own.
    #[error("node {node} reports on {what}, which is not its own")]
    Foreign { node: String, what: String },
    /// The registry's word.
    #[error("write {what} for node {node}")]
    Write {
        what: &'static str,
        node: String,
        #[source]
        source: ApiError,
    },
}

/// The reports of one node over one line.
pub(crate) struct Upward<'a> {
    pub(crate) client: &'a Client,
    pub(crate) clock: &'a dyn Clock,
    pub(crate) node: &'a str,
    /// What the node said last: said again when someone meanwhile declared it lost.
    pub(crate) said: Said,
}

/// A node's last words.
#[derive(Debug, Default)]
pub(crate) struct Said {
    node: Option<Value>,
    /// By uid.
    pods: HashMap<String, wire::PodStatus>,
}

impl Upward<'_> {
    fn target(kind: &'static beeline_api::KindInfo, namespace: &str, name: &str) -> Target {
        Target::object(kind, (!namespace.is_empty()).then_some(namespace), name)
    }

    /// What a node sends is an object, so that fields can be set in it.
    fn decode(&self, what: &'static str, json: &[u8]) -> Result<Value, UpwardError> {
        let object: Result<serde_json::Map<String, Value>, _> = serde_json::from_slice(json);
        object.map(Value::Object).map_err(|why| UpwardError::Decode {
            what,
            node: self.node.to_owned(),
            why,
        })
    }

    fn failed(&self, what: &'static str) -> impl Fn(ApiError) -> UpwardError + use<> {
        let node = self.node.to_owned();
        move |source| UpwardError::Write { what, node: node.clone(), source }
    }

    async fn patch(
        &self,
        target: Target,
        what: &'static str,
        patch: Value,
    ) -> Result<(), UpwardError> {
        let registry = self.client.registry();
        let options =
            WriteOptions { field_manager: Some("agent".to_owned()), ..WriteOptions::default() };
        registry
            .patch(self.client.caller(), &target, Patch::Merge(patch), &options)
            .await
            .map(drop)
            .or_else(|error| if error.is_not_found() { Ok(()) } else { Err(error) })
            .map_err(self.failed(what))
    }

    async fn create(
        &self,
        target: Target,
        what: &'static str,
        body: Value,
    ) -> Result<bool, UpwardError> {
        let registry = self.client.registry();
        let target = Target { name: None, ..target };
        match registry.create(self.client.caller(), &target, body, &WriteOptions::default()).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_already_exists() => Ok(false),
            Err(error) => Err(self.failed(what)(error)),
        }
    }

    /// The node introduces itself: create or update its Node.
    pub(crate) async fn hello(&mut self, hello: &wire::Hello) -> Result<(), UpwardError> {
        let mut node = self.decode("Node", &hello.node_json)?;
        node["apiVersion"] = Value::from("v1");
        node["kind"] = Value::from("Node");
        beeline_api::meta::of(&mut node).insert("name".to_owned(), Value::from(self.node));
        let status = node["status"].clone();
        let target = Self::target(&kinds::NODE, "", self.node);
        let created = self.create(target.clone(), "Node", node.clone()).await?;
        if !created {
            let metadata = json!({
                "labels": node["metadata"].get("labels").cloned().unwrap_or(json!({})),
                "annotations": node["metadata"].get("annotations").cloned().unwrap_or(json!({})),
            });
            self.patch(target, "Node", json!({ "metadata": metadata })).await?;
        }
        if status.is_object() { self.node_status(status).await } else { Ok(()) }
    }

    /// One message.
    pub(crate) async fn take(&mut self, up: wire::up::Kind) -> Result<(), UpwardError> {
        use wire::up::Kind;
        match up {
            Kind::PodStatus(status) => self.pod_status(status).await,
            Kind::PodGone(gone) => self.pod_gone(&gone).await,
            Kind::NodeStatus(status) => {
                let status = self.decode("NodeStatus", &status.status_json)?;
                self.node_status(status).await
            }
            Kind::Event(event) => {
                let event = self.decode("Event", &event.event_json)?;
                self.event(event).await
            }
            Kind::Heartbeat(wire::Heartbeat {}) => self.heartbeat().await,
            // Handled by the line itself; a second Hello changes nothing.
            Kind::Hello(_) | Kind::Ack(_) => Ok(()),
        }
    }

    async fn pod_status(&mut self, report: wire::PodStatus) -> Result<(), UpwardError> {
        let Some(known) = self.own_pod(&report.namespace, &report.name, &report.uid).await? else {
            self.said.pods.remove(&report.uid);
            return Ok(());
        };
        let status = self.decode("PodStatus", &report.status_json)?;
        let old = known["status"].clone();
        let new = merge::pod_status(&old, status);
        let target =
            Self::target(&kinds::POD, &report.namespace, &report.name).sub(Subresource::Status);
        let uid = report.uid.clone();
        self.said.pods.insert(uid.clone(), report);
        match merge::patch(&old, &new) {
            Some(patch) => {
                let patch = json!({ "metadata": { "uid": uid }, "status": patch });
                self.patch(target, "PodStatus", patch).await
            }
            None => Ok(()),
        }
    }

    /// The Pod as the store has it, if it is the one that is meant. It must be bound to this node.
    async fn own_pod(
        &self,
        namespace: &str,
        name: &str,
        uid: &str,
    ) -> Result<Option<Value>, UpwardError> {
        let target = Self::target(&kinds::POD, namespace, name);
        let object = match self.client.registry().get(self.client.caller(), &target).await {
            Ok(object) => object,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(self.failed("Pod")(error)),
        };
        if object.uid() != uid {
            return Ok(None);
        }
        let pod = object.typed::<Pod>().map_err(self.failed("Pod"))?;
        if pod.spec.as_ref().and_then(|s| s.node_name.as_deref()) != Some(self.node) {
            return Err(UpwardError::Foreign {
                node: self.node.to_owned(),
                what: format!("Pod {namespace}/{name}"),
            });
        }
        Ok(Some(object.value.clone()))
    }

    async fn pod_gone(&mut self, gone: &wire::PodGone) -> Result<(), UpwardError> {
        self.said.pods.remove(&gone.uid);
        let Some(pod) = self.own_pod(&gone.namespace, &gone.name, &gone.uid).await? else {
            return Ok(());
        };
        if pod["metadata"].get("deletionTimestamp").is_none() {
            let what =
                format!("the end of Pod {}/{} that nobody asked for", gone.namespace, gone.name);
            return Err(UpwardError::Foreign { node: self.node.to_owned(), what });
        }
        let options = DeleteOptions {
            grace_period_seconds: Some(0),
            preconditions: Preconditions { uid: Some(gone.uid.clone()), resource_version: None },
            ..DeleteOptions::default()
        };
        let target = Self::target(&kinds::POD, &gone.namespace, &gone.name);
        match self.client.registry().delete(self.client.caller(), &target, &options).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() || error.is_conflict() => Ok(()),
            Err(error) => Err(self.failed("the end of a Pod")(error)),
        }
    }

    async fn node_status(&mut self, status: Value) -> Result<(), UpwardError> {
        let target = Self::target(&kinds::NODE, "", self.node);
        let known = match self.client.registry().get(self.client.caller(), &target).await {
            Ok(object) => object,
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(self.failed("NodeStatus")(error)),
        };
        let old = known.value["status"].clone();
        let new = merge::node_status(&old, status.clone());
        self.said.node = Some(status);
        match merge::patch(&old, &new) {
            Some(patch) => {
                let target = target.sub(Subresource::Status);
                self.patch(target, "NodeStatus", json!({ "status": patch })).await
            }
            None => Ok(()),
        }
    }

    async fn heartbeat(&mut self) -> Result<(), UpwardError> {
        let now = time::format_micro(time::from_system(self.clock.now()));
        let target = Self::target(&kinds::LEASE, "kube-node-lease", self.node);
        let node = self.client.registry().cached(&kinds::NODE, None, self.node);
        if self
            .client
            .registry()
            .cached(&kinds::LEASE, Some("kube-node-lease"), self.node)
            .is_none()
        {
            let owner = node.as_ref().map(|node| {
                json!([{ "apiVersion": "v1", "kind": "Node", "name": self.node, "uid": node.uid() }])
            });
            let lease = json!({
                "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                "metadata": { "name": self.node, "namespace": "kube-node-lease", "ownerReferences": owner },
                "spec": { "holderIdentity": self.node, "leaseDurationSeconds": 40, "renewTime": now },
            });
            if self.create(target.clone(), "Lease", lease).await? {
                return self.repeat(node.as_deref()).await;
            }
        }
        self.patch(target, "Lease", json!({ "spec": { "renewTime": now } })).await?;
        self.repeat(node.as_deref()).await
    }

    /// Someone declared this node lost, or its Pods; they are not: say again what it said.
    async fn repeat(&mut self, node: Option<&beeline_registry::Object>) -> Result<(), UpwardError> {
        let conditions =
            node.and_then(|node| node.value["status"]["conditions"].as_array().cloned());
        let unknown = |c: &Value| c["type"] == "Ready" && c["status"] == "Unknown";
        let node_is_lost = conditions.unwrap_or_default().iter().any(unknown);
        if let (true, Some(status)) = (node_is_lost, self.said.node.clone()) {
            self.node_status(status).await?;
        }
        let said = self.said.pods.values();
        let pods: Vec<wire::PodStatus> =
            said.filter(|pod| node_is_lost || self.is_declared_lost(pod)).cloned().collect();
        for pod in pods {
            self.pod_status(pod).await?;
        }
        Ok(())
    }

    /// The word of the node controller, which may have come after the node was back.
    fn is_declared_lost(&self, pod: &wire::PodStatus) -> bool {
        let registry = self.client.registry();
        let known = registry.cached(&kinds::POD, Some(&pod.namespace), &pod.name);
        let lost = |c: &Value| c["type"] == "Ready" && c["reason"] == "NodeNotReady";
        known.is_some_and(|known| {
            known.uid() == pod.uid
                && known.value["status"]["conditions"]
                    .as_array()
                    .is_some_and(|conditions| conditions.iter().any(lost))
        })
    }

    async fn event(&self, event: Value) -> Result<(), UpwardError> {
        let now = time::format(time::from_system(self.clock.now()));
        let (namespace, name, event) = events::named(event, self.node, &now);
        let target = Self::target(&kinds::EVENT, &namespace, &name);
        if self.create(target.clone(), "Event", event).await? {
            return Ok(());
        }
        let known = self.client.registry().get(self.client.caller(), &target).await;
        let count = known.ok().and_then(|known| known.value["count"].as_i64()).unwrap_or(1);
        self.patch(target, "Event", json!({ "count": count + 1, "lastTimestamp": now })).await
    }
}
