//! What callers use: each method is one job on the kernel, run on a blocking worker.

mod gateway;
mod host;
mod pod_link;
mod routes;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::{AddressPair, Mac, NetError};

/// The network of the node in whose namespace the process runs. Clones share what they remember.
#[derive(Clone, Debug, Default)]
pub struct Net {
    known: Arc<Mutex<Known>>,
}

#[derive(Clone, Debug, Default)]
struct Known {
    gateways: Gateways,
}

/// The node's own addresses in its pod ranges: the sources of what the host sends to its pods.
#[derive(Clone, Copy, Debug, Default)]
struct Gateways {
    v4: Option<Ipv4Addr>,
    v6: Option<Ipv6Addr>,
}

/// The link of one pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodLink {
    /// The name of the end on the host.
    pub name: String,
    /// The index of the end on the host.
    pub host_ifindex: u32,
    /// The hardware address of the end on the host.
    pub host_mac: Mac,
    /// The hardware address of `eth0` in the pod.
    pub pod_mac: Mac,
}

/// A link that carries this instance's mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedLink {
    /// The name of the end on the host.
    pub name: String,
    /// Its index.
    pub ifindex: u32,
    /// The pod it was made for; `None` if the agent died between making and marking it.
    pub pod_uid: Option<String>,
    /// The addresses routed to it; `None` if the agent died before that.
    pub addresses: Option<AddressPair>,
}

/// An IPv4 address of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostAddress {
    /// The index of the interface that has it.
    pub ifindex: u32,
    /// The address.
    pub address: Ipv4Addr,
    /// The length of its network's prefix.
    pub prefix_len: u8,
    /// True for loopback addresses and for the node's address in its own pod range.
    pub internal: bool,
}

/// The interface that leads to the rest of the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uplink {
    /// Its name.
    pub name: String,
    /// Its index.
    pub ifindex: u32,
    /// The largest packet it takes.
    pub mtu_bytes: u32,
}

/// A peer that could not be given a route; the others were.
#[derive(Debug)]
pub struct PeerFailure {
    /// The peer's pod range.
    pub cidr: IpNet,
    /// The address of the peer.
    pub via: IpAddr,
    /// Why.
    pub error: NetError,
}

// === impl Net ===

impl Net {
    /// Nothing is opened or changed yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Unreachable routes for the Service ranges and the cluster's pod ranges, behind all other routes to them:
    /// what is not translated or not routed ends here and never leaves by the default route. Idempotent.
    pub async fn install_guards(&self, ranges: Vec<IpNet>) -> Result<(), NetError> {
        work("install guards", move || routes::install_guards(&ranges)).await
    }

    /// The node's own address in its pod range (the first one), on `lo`: what pods see as the source of
    /// connections from the host. Idempotent.
    pub async fn install_gateway(
        &self,
        instance: &str,
        range: Ipv4Net,
    ) -> Result<Ipv4Addr, NetError> {
        let instance = instance.to_owned();
        let address =
            work("install the node's pod address", move || gateway::install(&instance, range))
                .await?;
        self.known().gateways.v4 = Some(address);
        Ok(address)
    }

    /// The same in a range of IPv6.
    pub async fn install_gateway_ipv6(
        &self,
        instance: &str,
        range: Ipv6Net,
    ) -> Result<Ipv6Addr, NetError> {
        let instance = instance.to_owned();
        let job = move || gateway::install_ipv6(&instance, range);
        let address = work("install the node's IPv6 pod address", job).await?;
        self.known().gateways.v6 = Some(address);
        Ok(address)
    }

    /// Make the link of a pod: `eth0` in the namespace of the process `netns_pid`, its peer here, both up, with
    /// addresses, routes and fixed neighbours. A link left over from before is replaced.
    /// On failure nothing stays.
    pub async fn create_pod_link(
        &self,
        instance: &str,
        pod_uid: &str,
        netns_pid: u32,
        addresses: AddressPair,
    ) -> Result<PodLink, NetError> {
        let plan = self.plan(instance, pod_uid, netns_pid, addresses);
        work("create a pod link", move || plan.create()).await
    }

    /// Find the link of a pod again after a restart, and repair it. `None`: there is no link with its other end in the
    /// namespace of `netns_pid`; one that leads elsewhere is replaced by [`Net::create_pod_link`].
    pub async fn adopt_pod_link(
        &self,
        instance: &str,
        pod_uid: &str,
        netns_pid: u32,
        addresses: AddressPair,
    ) -> Result<Option<PodLink>, NetError> {
        let plan = self.plan(instance, pod_uid, netns_pid, addresses);
        work("adopt a pod link", move || plan.adopt()).await
    }

    /// Remove the link of a pod; both ends and their routes go with it. Fine if there is none.
    pub async fn delete_pod_link(&self, instance: &str, pod_uid: &str) -> Result<(), NetError> {
        let name = crate::link_name(instance, pod_uid);
        work("delete a pod link", move || pod_link::delete(&name)).await
    }

    /// The links that carry this instance's mark.
    pub async fn list_owned_links(&self, instance: &str) -> Result<Vec<OwnedLink>, NetError> {
        let instance = instance.to_owned();
        work("list pod links", move || pod_link::owned(&instance)).await
    }

    /// Remove one owned link by its name.
    pub async fn delete_owned_link(&self, link: &OwnedLink) -> Result<(), NetError> {
        let name = link.name.clone();
        work("delete a pod link", move || pod_link::delete(&name)).await
    }

    /// Exactly these routes to the pod ranges of other nodes, and forwarding on the interfaces that lead there.
    /// A peer that cannot be reached does not keep the others from their routes.
    pub async fn set_peer_routes(
        &self,
        peers: Vec<(IpNet, IpAddr)>,
    ) -> Result<Vec<PeerFailure>, NetError> {
        work("set peer routes", move || routes::set_peers(&peers)).await
    }

    /// Remove every link, route and address that this instance made in this namespace.
    pub async fn cleanup(&self, instance: &str) -> Result<(), NetError> {
        let instance = instance.to_owned();
        self.known().gateways = Gateways::default();
        work("clean up", move || {
            for link in pod_link::owned(&instance)? {
                pod_link::delete(&link.name)?;
            }
            routes::remove_all()?;
            gateway::remove(&instance)
        })
        .await
    }

    /// The IPv4 addresses of the node.
    pub async fn host_addresses(&self) -> Result<Vec<HostAddress>, NetError> {
        work("list addresses", host::addresses).await
    }

    /// The addresses of the node at which others may reach it, of both families.
    pub async fn outside_ips(&self) -> Result<Vec<IpAddr>, NetError> {
        work("list addresses", host::outside_ips).await
    }

    /// The address at which other nodes reach this one: of the interface with the default route, else the first
    /// that is not internal, else 127.0.0.1.
    pub async fn internal_ip(&self) -> Result<Ipv4Addr, NetError> {
        work("choose the node's address", host::internal_ip).await
    }

    /// The IPv6 address at which other nodes reach this one: a lasting one of the interface that has its IPv4 address.
    pub async fn internal_ipv6(&self, beside: Ipv4Addr) -> Result<Option<Ipv6Addr>, NetError> {
        work("choose the node's IPv6 address", move || host::internal_ipv6(beside)).await
    }

    /// The interface of the default route, else the first with an address that others can use.
    pub async fn uplink(&self) -> Result<Option<Uplink>, NetError> {
        work("find the uplink", host::uplink).await
    }

    /// The cookie of the network namespace that a process is in.
    pub async fn netns_cookie(&self, pid: u32) -> Result<u64, NetError> {
        work("read a namespace cookie", move || Ok(beeline_sys::netns::cookie_of_pid(pid)?)).await
    }

    /// The cookie of the network namespace that this process is in.
    pub fn netns_cookie_of_self(&self) -> Result<u64, NetError> {
        Ok(beeline_sys::netns::cookie_of_self()?)
    }

    fn plan(
        &self,
        instance: &str,
        pod_uid: &str,
        netns_pid: u32,
        addresses: AddressPair,
    ) -> pod_link::Plan {
        pod_link::Plan::new(instance, pod_uid, netns_pid, addresses, self.known().gateways)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Netlink answers in microseconds, but creating a link waits for the kernel's lock: keep it off the async threads.
/// Cancelling the caller does not stop work that has begun.
async fn work<T: Send + 'static>(
    attempt: &'static str,
    job: impl FnOnce() -> Result<T, NetError> + Send + 'static,
) -> Result<T, NetError> {
    tokio::task::spawn_blocking(job).await.map_err(|_| NetError::Worker { attempt })?
}

#[cfg(test)]
mod tests;
