//! The example app: a Deployment behind a Service, a client pod, and a Service with a single backend.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use crate::client::ApiClient;

/// The image that is built on the spot.
pub const IMAGE: &str = "hello:1";
/// How many pods serve it.
const REPLICAS: u64 = 3;
/// How long a step may take.
const LIMIT: Duration = Duration::from_secs(60);
/// How long each request may take on top of that: the client sends one after the other.
const REQUEST_LIMIT: Duration = Duration::from_millis(100);

/// The app in a cluster.
pub struct App {
    /// The cluster's API.
    pub client: ApiClient,
    requests: u32,
}

impl App {
    /// Not deployed yet.
    pub fn new(client: ApiClient, requests: u32) -> Self {
        Self { client, requests }
    }

    /// Create everything and wait until all replicas are ready.
    pub async fn deploy(&self) -> anyhow::Result<()> {
        self.deploy_one("hello", REPLICAS).await?;
        self.deploy_one("single", 1).await
    }

    /// Create a Deployment and its Service, and wait until all replicas are ready.
    pub async fn deploy_one(&self, name: &str, replicas: u64) -> anyhow::Result<()> {
        self.client
            .post("/apis/apps/v1/namespaces/default/deployments", &deployment(name, replicas))
            .await?;
        let mut service = service(name);
        if replicas == 1 {
            // A second port, for measuring.
            let port = json!({ "name": "probe", "port": 9999, "targetPort": 9999 });
            service["spec"]["ports"].as_array_mut().context("the Service's ports")?.push(port);
        }
        self.client.post("/api/v1/namespaces/default/services", &service).await?;
        self.available(name, replicas).await
    }

    /// Create a Deployment of pods that nobody asks for anything, probes neither, and wait until all are ready.
    pub async fn deploy_idle(&self, name: &str, replicas: u64) -> anyhow::Result<()> {
        let mut idle = deployment(name, replicas);
        let container = idle.pointer_mut("/spec/template/spec/containers/0");
        let container = container.and_then(Value::as_object_mut).context("the container")?;
        container.remove("readinessProbe");
        self.client.post("/apis/apps/v1/namespaces/default/deployments", &idle).await?;
        self.available(name, replicas).await
    }

    /// Delete a Deployment and wait until its pods are gone.
    pub async fn remove(&self, name: &str) -> anyhow::Result<()> {
        let path = format!("/apis/apps/v1/namespaces/default/deployments/{name}");
        self.client.send(http::Method::DELETE, &path, crate::client::JSON, None).await?;
        wait(&format!("the end of deployment {name}"), || async {
            let pods = self.pods().await?;
            let left = pods.iter().any(|pod| pod["metadata"]["labels"]["app"] == name);
            Ok((!left).then_some(()))
        })
        .await
    }

    /// Send the requests from a pod, and wait until it is done.
    pub async fn send_requests(&self) -> anyhow::Result<()> {
        let address = self.service_address("hello").await?;
        let script = format!(
            "for i in $(seq {}); do wget -q -O - http://{address}/ || echo failed; done",
            self.requests
        );
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": "client", "labels": { "app": "client" } },
            "spec": {
                "restartPolicy": "Never",
                "containers": [{
                    "name": "client", "image": IMAGE, "imagePullPolicy": "IfNotPresent",
                    "command": ["sh", "-c", script],
                }],
            },
        });
        self.client.post("/api/v1/namespaces/default/pods", &pod).await?;
        let limit = LIMIT + REQUEST_LIMIT * self.requests;
        wait_for(limit, "the client pod", || async {
            let pod = self.client.get("/api/v1/namespaces/default/pods/client").await?;
            match pod["status"]["phase"].as_str() {
                Some("Succeeded") => Ok(Some(())),
                Some("Failed") => bail!("the client pod failed: {}", pod["status"]),
                _ => Ok(None),
            }
        })
        .await
    }

    /// What the client pod printed: a line for each answer, the name of the pod that gave it.
    pub async fn answers(&self) -> anyhow::Result<Vec<String>> {
        let log = self.client.text("/api/v1/namespaces/default/pods/client/log").await?;
        Ok(log.lines().map(str::to_owned).collect())
    }

    /// All pods.
    pub async fn pods(&self) -> anyhow::Result<Vec<Value>> {
        let list = self.client.get("/api/v1/namespaces/default/pods").await?;
        Ok(list["items"].as_array().cloned().unwrap_or_default())
    }

    /// The address and port of a Service.
    pub async fn service_address(&self, name: &str) -> anyhow::Result<String> {
        let service =
            self.client.get(&format!("/api/v1/namespaces/default/services/{name}")).await?;
        let ip = service["spec"]["clusterIP"].as_str().context("the Service has no address")?;
        Ok(format!("{ip}:{}", service["spec"]["ports"][0]["port"]))
    }

    /// The address and port at which the Service of one backend leads to the latency probe.
    pub async fn probe_address(&self) -> anyhow::Result<String> {
        let service = self.client.get("/api/v1/namespaces/default/services/single").await?;
        let ip = service["spec"]["clusterIP"].as_str().context("the Service has no address")?;
        Ok(format!("{ip}:9999"))
    }

    async fn available(&self, name: &str, replicas: u64) -> anyhow::Result<()> {
        let path = format!("/apis/apps/v1/namespaces/default/deployments/{name}");
        wait(&format!("deployment {name}"), || async {
            let deployment = self.client.get(&path).await?;
            Ok((deployment["status"]["availableReplicas"].as_u64() == Some(replicas)).then_some(()))
        })
        .await
    }
}

/// Ask until there is an answer.
pub async fn wait<T, F, A>(what: &str, ask: F) -> anyhow::Result<T>
where
    F: FnMut() -> A,
    A: Future<Output = anyhow::Result<Option<T>>>,
{
    wait_for(LIMIT, what, ask).await
}

async fn wait_for<T, F, A>(limit: Duration, what: &str, mut ask: F) -> anyhow::Result<T>
where
    F: FnMut() -> A,
    A: Future<Output = anyhow::Result<Option<T>>>,
{
    let start = Instant::now();
    while start.elapsed() < limit {
        if let Some(found) = ask().await? {
            return Ok(found);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    bail!("{what}: still not ready after {limit:?}")
}

/// A Deployment of the example image.
pub fn deployment(name: &str, replicas: u64) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": name, "labels": { "app": name } },
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": { "app": name } },
            "template": {
                "metadata": { "labels": { "app": name } },
                "spec": {
                    "containers": [{
                        "name": "hello", "image": IMAGE, "imagePullPolicy": "IfNotPresent",
                        "ports": [{ "name": "http", "containerPort": 8080 }],
                        "readinessProbe": { "httpGet": { "path": "/", "port": "http" }, "periodSeconds": 1 },
                    }],
                },
            },
        },
    })
}

/// The Service in front of it.
pub fn service(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": name },
        "spec": {
            "selector": { "app": name },
            "ports": [{ "name": "http", "port": 80, "targetPort": "http" }],
        },
    })
}
