//! Where the API server is, and who we are to it.
//!
//! In: a kubeconfig, or what a pod finds in itself. Out: a client. Certificates, tokens, token files and credential
//! plugins are all understood; a token file is read again as it is renewed.

use std::{net::IpAddr, path::PathBuf};

use beeline_tables::NodeName;
use k8s_openapi::api::core::v1::Node;
use kube::config::{KubeConfigOptions, Kubeconfig};

use crate::convert;

/// How to find the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// By the current context of this file.
    Kubeconfig(PathBuf),
    /// By the service account of the pod that this process runs in.
    ServiceAccount,
}

/// An API server that can be asked.
#[derive(Clone)]
pub struct Cluster {
    pub(crate) client: kube::Client,
    url: String,
}

/// Why the API server cannot even be asked.
#[derive(Debug, thiserror::Error)]
pub enum InformerError {
    /// The file is not there or is no kubeconfig.
    #[error("read the kubeconfig {path}")]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// Why.
        source: kube::config::KubeconfigError,
    },
    /// This process runs in no pod.
    #[error(
        "find the API server by this pod's service account: outside of a pod, give a kubeconfig"
    )]
    ServiceAccount(#[source] kube::config::InClusterError),
    /// The certificates or tokens make no sense.
    #[error("prepare a client for {url}")]
    Client {
        /// The server.
        url: String,
        /// Why.
        source: Box<kube::Error>,
    },
    /// The server did not answer, or refused to.
    #[error("read node {} from {url}", node.0)]
    Node {
        /// Which node.
        node: NodeName,
        /// The server.
        url: String,
        /// Why.
        source: Box<kube::Error>,
    },
}

impl Cluster {
    /// Prepare to ask. Nothing is sent yet, so the server may be away.
    pub async fn reach(access: &Access) -> Result<Self, InformerError> {
        let config = match access {
            Access::Kubeconfig(path) => {
                let failed = |source| InformerError::Kubeconfig { path: path.clone(), source };
                let file = Kubeconfig::read_from(path).map_err(failed)?;
                kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
                    .await
                    .map_err(failed)?
            }
            Access::ServiceAccount => {
                kube::Config::incluster().map_err(InformerError::ServiceAccount)?
            }
        };
        let url = config.cluster_url.to_string();
        match kube::Client::try_from(config) {
            Ok(client) => Ok(Self { client, url }),
            Err(source) => Err(InformerError::Client { url, source: Box::new(source) }),
        }
    }

    /// The addresses that a Node object names; none while there is no such node.
    pub async fn internal_ips(&self, node: &NodeName) -> Result<Vec<IpAddr>, InformerError> {
        let nodes = kube::Api::<Node>::all(self.client.clone());
        match nodes.get_opt(&node.0).await {
            Ok(found) => {
                let row = found.as_ref().and_then(convert::node);
                Ok(row.map(|row| row.internal_ips).unwrap_or_default())
            }
            Err(source) => Err(InformerError::Node {
                node: node.clone(),
                url: self.url.clone(),
                source: Box::new(source),
            }),
        }
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }
}
