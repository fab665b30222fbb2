//! What pods need of the dataplane, the links and the line to control, joined to the real ones.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use beeline_datapath::{Datapath, EndpointAttach};
use beeline_kit::Tasks;
use beeline_netdev::Net;
use beeline_pods::{
    NodeNetwork,
    ports::{Connected, DatapathPort, Endpoint, NetPort, PortError, Reporter, TokenWanted, Tokens},
};
use beeline_tables::{Epoch, ObjectName};
use beeline_uplink::{TokenRequest, Uplink};
use k8s_openapi::api::core::v1::{Event, NodeStatus, PodStatus};
use tokio::sync::watch;

/// The error's whole chain, for the person who reads the pod's events.
fn text(error: impl std::error::Error + 'static) -> PortError {
    PortError(beeline_kit::chain(&error))
}

/// The dataplane, and the epoch that it has in force, told to pods and to control.
pub struct DatapathAdapter {
    datapath: Datapath,
    links: Mutex<HashMap<Arc<str>, u32>>,
    in_force: watch::Receiver<Epoch>,
}

impl DatapathAdapter {
    /// Acknowledge every epoch that comes into force.
    pub fn start(datapath: Datapath, uplink: Uplink, tasks: &Tasks) -> Self {
        let mut from = datapath.in_force();
        let (sender, in_force) = watch::channel(from.borrow().epoch);
        let token = tasks.token();
        tasks.spawn("acknowledge", async move {
            loop {
                let now = *from.borrow_and_update();
                let took_us = u64::try_from(now.took.as_micros()).unwrap_or(u64::MAX);
                if now.epoch.0 > 0 {
                    uplink.ack(now.epoch, took_us);
                }
                sender.send_replace(now.epoch);
                if !matches!(token.run_until_cancelled(from.changed()).await, Some(Ok(()))) {
                    return;
                }
            }
        });
        Self { datapath, links: Mutex::default(), in_force }
    }

    fn links(&self) -> MutexGuard<'_, HashMap<Arc<str>, u32>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl DatapathPort for DatapathAdapter {
    async fn attach_endpoint(&self, endpoint: &Endpoint) -> Result<(), PortError> {
        let attach = EndpointAttach {
            uid: Arc::clone(&endpoint.uid),
            addresses: endpoint.addresses.all().collect(),
            ifindex: endpoint.host_ifindex,
            pod_mac: endpoint.pod_mac.0,
            host_mac: endpoint.host_mac.0,
            netns_cookie: endpoint.netns_cookie,
        };
        self.datapath.attach_endpoint(attach).await.map_err(text)?;
        self.links().insert(Arc::clone(&endpoint.uid), endpoint.host_ifindex);
        Ok(())
    }

    async fn detach_endpoint(&self, pod_uid: &str) -> Result<(), PortError> {
        let Some(ifindex) = self.links().remove(pod_uid) else { return Ok(()) };
        self.datapath.detach_endpoint(ifindex).await.map_err(text)
    }

    fn in_force(&self) -> watch::Receiver<Epoch> {
        self.in_force.clone()
    }
}

/// The links, and with them what the dataplane may forget.
pub struct NetAdapter {
    links: NodeNetwork,
    net: Net,
    instance: String,
    datapath: Datapath,
}

impl NetAdapter {
    /// Over these.
    pub fn new(links: NodeNetwork, net: Net, instance: &str, datapath: Datapath) -> Self {
        Self { links, net, instance: instance.to_owned(), datapath }
    }
}

#[async_trait]
impl NetPort for NetAdapter {
    async fn connect(&self, pod_uid: &str, netns_pid: u32) -> Result<Connected, PortError> {
        self.links.connect(pod_uid, netns_pid).await
    }

    async fn disconnect(&self, pod_uid: &str) -> Result<(), PortError> {
        self.links.disconnect(pod_uid).await
    }

    async fn retain(&self, pod_uids: &[&str]) -> Result<(), PortError> {
        self.links.retain(pod_uids).await?;
        // What is left are links of pods that are wanted; endpoints of others found in adopted maps may go.
        let links = self.net.list_owned_links(&self.instance).await.map_err(text)?;
        let ifindexes = links.iter().map(|link| link.ifindex).collect();
        self.datapath.retain_endpoints(ifindexes).await.map_err(text)
    }
}

/// The line to control.
pub struct UplinkReporter {
    uplink: Uplink,
}

impl UplinkReporter {
    /// Over this line, which keeps what it cannot send.
    pub fn new(uplink: Uplink) -> Self {
        Self { uplink }
    }
}

#[async_trait]
impl Reporter for UplinkReporter {
    async fn pod_status(&self, pod: &ObjectName, uid: &str, status: PodStatus) {
        self.uplink.pod_status(pod, uid, &status);
    }

    async fn pod_gone(&self, pod: &ObjectName, uid: &str) {
        self.uplink.pod_gone(pod, uid);
    }

    async fn event(&self, event: Event) {
        self.uplink.event(&event);
    }

    async fn node_status(&self, status: NodeStatus) {
        self.uplink.node_status(&status);
    }

    async fn heartbeat(&self) {
        // The line itself says that the node lives, for as long as it is up.
    }
}

#[async_trait]
impl Tokens for UplinkReporter {
    async fn token(&self, wanted: TokenWanted) -> Result<String, PortError> {
        let TokenWanted { pod, uid, account, audience, seconds } = wanted;
        let (namespace, pod) = (pod.namespace.to_string(), pod.name.to_string());
        let request = TokenRequest { namespace, pod, uid, account, audience, seconds };
        self.uplink.token(request).await.map(|answer| answer.token).map_err(text)
    }
}
