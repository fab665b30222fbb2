//! The real [`NetPort`]: links over netlink, addresses from the node's pod ranges.

use std::{
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use beeline_netdev::{AddressPair, Ipam, IpamError, Net, NetError};
use ipnet::{Ipv4Net, Ipv6Net};

use crate::ports::{Connected, NetPort, PortError};

/// The links and addresses of this node's Pods.
#[derive(Debug)]
pub struct NodeNetwork {
    net: Net,
    instance: String,
    pools: Mutex<Pools>,
}

/// The node's pod ranges, of each family that the cluster has.
#[derive(Debug)]
struct Pools {
    v4: Ipam<Ipv4Net>,
    v6: Option<Ipam<Ipv6Net>>,
}

// === impl Pools ===

impl Pools {
    /// What a Pod has, or what is free. A Pod from before the cluster had its second family is given an address of it.
    fn allocate(&mut self, pod_uid: &str) -> Result<AddressPair, IpamError> {
        let v4 = self.v4.allocate(pod_uid)?;
        let v6 = self.v6.as_mut().map(|pool| pool.allocate(pod_uid)).transpose()?;
        Ok(AddressPair { v4, v6 })
    }

    fn keep(&mut self, pod_uid: &str, found: AddressPair) -> Result<(), IpamError> {
        self.v4.keep(pod_uid, found.v4)?;
        match (&mut self.v6, found.v6) {
            (Some(pool), Some(v6)) => pool.keep(pod_uid, v6),
            (Some(_), None) | (None, _) => Ok(()),
        }
    }

    fn release(&mut self, pod_uid: &str) {
        self.v4.release(pod_uid);
        if let Some(pool) = &mut self.v6 {
            pool.release(pod_uid);
        }
    }
}

// === impl NodeNetwork ===

impl NodeNetwork {
    /// Take over the links of an earlier agent with their addresses: the routes on the host are the record of who has
    /// which. Gives the node its own address in each range.
    pub async fn start(
        net: Net,
        instance: &str,
        range: Ipv4Net,
        range_v6: Option<Ipv6Net>,
    ) -> Result<Self, NetError> {
        net.install_gateway(instance, range).await?;
        if let Some(range) = range_v6 {
            net.install_gateway_ipv6(instance, range).await?;
        }
        let mut pools = Pools { v4: Ipam::new(range), v6: range_v6.map(Ipam::new) };
        for link in net.list_owned_links(instance).await? {
            let (Some(uid), Some(found)) = (&link.pod_uid, link.addresses) else {
                tracing::warn!(link = link.name, "removing a link that was never finished");
                net.delete_owned_link(&link).await?;
                continue;
            };
            if let Err(error) = pools.keep(uid, found) {
                tracing::warn!(link = link.name, %error, "removing a link whose address cannot be kept");
                pools.release(uid);
                net.delete_owned_link(&link).await?;
            }
        }
        Ok(Self { net, instance: instance.to_owned(), pools: Mutex::new(pools) })
    }

    /// The node's own addresses in its pod ranges.
    #[must_use]
    pub fn node_addresses(&self) -> Vec<IpAddr> {
        let pools = self.pools();
        let v6 = pools.v6.as_ref().map(|pool| pool.node_address().into());
        [Some(pools.v4.node_address().into()), v6].into_iter().flatten().collect()
    }

    fn pools(&self) -> MutexGuard<'_, Pools> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl NetPort for NodeNetwork {
    async fn connect(&self, pod_uid: &str, netns_pid: u32) -> Result<Connected, PortError> {
        let addresses = self.pools().allocate(pod_uid).map_err(text)?;
        let netns_cookie = self.net.netns_cookie(netns_pid).await.map_err(text)?;
        let known = self.net.adopt_pod_link(&self.instance, pod_uid, netns_pid, addresses).await;
        let link = match known.map_err(text)? {
            Some(link) => link,
            None => {
                let made =
                    self.net.create_pod_link(&self.instance, pod_uid, netns_pid, addresses).await;
                made.map_err(text)?
            }
        };
        Ok(Connected { addresses, link, netns_cookie })
    }

    async fn disconnect(&self, pod_uid: &str) -> Result<(), PortError> {
        self.net.delete_pod_link(&self.instance, pod_uid).await.map_err(text)?;
        self.pools().release(pod_uid);
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
                self.pools().release(uid);
            }
        }
        Ok(())
    }
}

fn text(error: impl std::fmt::Display) -> PortError {
    PortError(error.to_string())
}

#[cfg(test)]
mod tests {
    use std::{
        net::Ipv4Addr,
        process::{Child, Command},
    };

    use super::*;

    struct Sandbox(Child);

    impl Sandbox {
        fn start() -> Self {
            let sandbox =
                Self(Command::new("unshare").args(["--net", "sleep", "60"]).spawn().unwrap());
            let own = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
            let path = beeline_sys::netns::path_of_pid(sandbox.0.id());
            for _ in 0..5000 {
                if std::fs::read_link(&path).unwrap() != own {
                    return sandbox;
                }
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            panic!("unshare did not unshare");
        }
    }

    impl Drop for Sandbox {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    async fn restarts() {
        let range: Ipv4Net = "10.42.3.0/24".parse().unwrap();
        let start = || NodeNetwork::start(Net::new(), "a1b2c3", range, None);
        let (one, two) = (Sandbox::start(), Sandbox::start());
        let network = start().await.unwrap();
        assert_eq!(network.node_addresses(), [IpAddr::from([10, 42, 3, 1])]);
        let first = network.connect("u1", one.0.id()).await.unwrap();
        let second = network.connect("u2", two.0.id()).await.unwrap();
        assert_eq!(first.addresses, Ipv4Addr::new(10, 42, 3, 2).into());
        assert_ne!(first.netns_cookie, second.netns_cookie);
        assert_eq!(network.connect("u1", one.0.id()).await.unwrap(), first, "again is the same");

        let network = start().await.unwrap();
        assert_eq!(network.connect("u2", two.0.id()).await.unwrap(), second, "the routes remember");
        network.retain(&["u2"]).await.unwrap();
        let third = Sandbox::start();
        let other = network.connect("u3", third.0.id()).await.unwrap();
        assert_eq!(
            other.addresses,
            Ipv4Addr::new(10, 42, 3, 4).into(),
            "an address rests before it is used again"
        );

        // The sandbox died and was made again: the link of the dead one must not be taken for its own.
        let again = Sandbox::start();
        let moved = network.connect("u2", again.0.id()).await.unwrap();
        assert_eq!(moved.addresses, second.addresses);
        assert_ne!(moved.link.host_ifindex, second.link.host_ifindex);
        network.disconnect("u2").await.unwrap();
        network.disconnect("u2").await.unwrap();
    }

    /// A cluster of IPv4 that becomes one of both families, and the agent that is started again and again.
    async fn restarts_of_both_families() {
        let start = |six: Option<&str>| {
            let (four, six) = ("10.42.3.0/24".parse().unwrap(), six.map(|it| it.parse().unwrap()));
            NodeNetwork::start(Net::new(), "a1b2c3", four, six)
        };
        let (one, two) = (Sandbox::start(), Sandbox::start());
        let network = start(None).await.unwrap();
        let before = network.connect("u1", one.0.id()).await.unwrap();
        assert_eq!(before.addresses.v6, None);

        let network = start(Some("fd42:0:0:3::/64")).await.unwrap();
        let node: Vec<String> = network.node_addresses().iter().map(IpAddr::to_string).collect();
        assert_eq!(node, ["10.42.3.1", "fd42:0:0:3::1"]);
        let second = network.connect("u2", two.0.id()).await.unwrap();
        assert_eq!(second.addresses.to_string(), "10.42.3.3,fd42:0:0:3::2");
        let first = network.connect("u1", one.0.id()).await.unwrap();
        assert_eq!(first.addresses.to_string(), "10.42.3.2,fd42:0:0:3::3");
        assert_eq!(first.link, before.link, "it is the same link");

        for _ in 0..2 {
            let network = start(Some("fd42:0:0:3::/64")).await.unwrap();
            assert_eq!(network.connect("u1", one.0.id()).await.unwrap(), first);
            assert_eq!(network.connect("u2", two.0.id()).await.unwrap(), second);
        }
        let network = start(Some("fd42:0:0:3::/64")).await.unwrap();
        network.retain(&["u2"]).await.unwrap();
        let third = network.connect("u3", one.0.id()).await.unwrap();
        assert_eq!(third.addresses.to_string(), "10.42.3.4,fd42:0:0:3::4", "both rest");
    }

    #[test]
    fn addresses_outlive_the_agent() {
        in_namespace("addresses_outlive_the_agent", restarts);
    }

    #[test]
    fn addresses_of_both_families_outlive_the_agent() {
        in_namespace("addresses_of_both_families_outlive_the_agent", restarts_of_both_families);
    }

    fn in_namespace<F: Future<Output = ()>>(name: &str, test: impl FnOnce() -> F + Send + 'static) {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIP {name}: network namespaces need root");
            return;
        }
        let thread = std::thread::spawn(|| {
            beeline_sys::process::unshare(beeline_sys::process::Unshare::NET).unwrap();
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(test());
        });
        thread.join().unwrap();
    }
}
