//! The real [`NetPort`]: links over netlink, addresses from the node's pod range.

use std::{
    net::Ipv4Addr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use beeline_netdev::{Ipam, Net, NetError};
use ipnet::Ipv4Net;

use crate::ports::{Connected, NetPort, PortError};

/// The links and addresses of this node's Pods.
#[derive(Debug)]
pub struct NodeNetwork {
    net: Net,
    instance: String,
    ipam: Mutex<Ipam>,
}

impl NodeNetwork {
    /// Take over the links of an earlier agent with their addresses: the routes on the host are the record of who has
    /// which. Gives the node its own address in the range.
    pub async fn start(net: Net, instance: &str, range: Ipv4Net) -> Result<Self, NetError> {
        net.install_gateway(instance, range).await?;
        let mut ipam = Ipam::new(range);
        for link in net.list_owned_links(instance).await? {
            let (Some(uid), Some(address)) = (&link.pod_uid, link.address) else {
                tracing::warn!(link = link.name, "removing a link that was never finished");
                net.delete_owned_link(&link).await?;
                continue;
            };
            if let Err(error) = ipam.keep(uid, address) {
                tracing::warn!(link = link.name, %error, "removing a link whose address cannot be kept");
                net.delete_owned_link(&link).await?;
            }
        }
        Ok(Self { net, instance: instance.to_owned(), ipam: Mutex::new(ipam) })
    }

    /// The node's own address in its pod range.
    #[must_use]
    pub fn node_address(&self) -> Ipv4Addr {
        self.ipam().node_address()
    }

    fn ipam(&self) -> MutexGuard<'_, Ipam> {
        self.ipam.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl NetPort for NodeNetwork {
    async fn connect(&self, pod_uid: &str, netns_pid: u32) -> Result<Connected, PortError> {
        let address = self.ipam().allocate(pod_uid).map_err(text)?;
        let netns_cookie = self.net.netns_cookie(netns_pid).await.map_err(text)?;
        let known = self.net.adopt_pod_link(&self.instance, pod_uid, netns_pid, address).await;
        let link = match known.map_err(text)? {
            Some(link) => link,
            None => {
                let made =
                    self.net.create_pod_link(&self.instance, pod_uid, netns_pid, address).await;
                made.map_err(text)?
            }
        };
        Ok(Connected { address, link, netns_cookie })
    }

    async fn disconnect(&self, pod_uid: &str) -> Result<(), PortError> {
        self.net.delete_pod_link(&self.instance, pod_uid).await.map_err(text)?;
        self.ipam().release(pod_uid);
        Ok(())
    }

    async fn retain(&self, pod_uids: &[&str]) -> Result<(), PortError> {
        for link in self.net.list_owned_links(&self.instance).await.map_err(text)? {
            let uid = link.pod_uid.as_deref();
            if uid.is_some_and(|uid| pod_uids.contains(&uid)) {
                continue;
            }
            self.net.delete_owned_link(&link).await.map_err(text)?;
            if let Some(uid) = uid {
                self.ipam().release(uid);
            }
        }
        Ok(())
    }
}

fn text(error: impl std::fmt::Display) -> PortError {
    PortError(error.to_string())
}
