//! The pods of this node for `beeline status`.

use std::{path::PathBuf, sync::Arc};

use beeline_container::Runtime;
use beeline_pods::Pods;

use crate::status::{PodLine, PodLines};

/// Asks the runtime for sandboxes and the pods for their addresses.
pub struct Lines {
    /// Knows sandboxes.
    pub runtime: Arc<dyn Runtime>,
    /// Knows addresses.
    pub pods: Pods,
    /// Where the pods' cgroups are.
    pub cgroups: PathBuf,
}

#[async_trait::async_trait]
impl PodLines for Lines {
    async fn lines(&self) -> anyhow::Result<Vec<PodLine>> {
        let known = self.pods.list();
        let address = |uid: &str| {
            let pod = known.iter().find(|pod| pod.uid == uid)?;
            pod.status.as_ref()?.pod_ip.clone()
        };
        let sandboxes = self.runtime.sandboxes().await?;
        let line = |sandbox: beeline_container::runtime::SandboxStatus| PodLine {
            address: address(sandbox.pod_uid.as_str()).unwrap_or_default(),
            cgroup: self.cgroups.join(sandbox.pod_uid.as_str()),
            uid: sandbox.pod_uid.to_string(),
            namespace: sandbox.namespace,
            name: sandbox.name,
            pid: sandbox.pid,
        };
        Ok(sandboxes.into_iter().map(line).collect())
    }
}
