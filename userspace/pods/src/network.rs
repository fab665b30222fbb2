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
    ipam: Mutex<Ipam<Ipv4Net>>,
}

impl NodeNetwork {
    /// Take over the links of an earlier agent with their addresses: the routes on the host are the record of who has
    /// which. Gives the node its own address in the range.
    pub async fn start(net: Net, instance: &str, range: Ipv4Net) -> Result<Self, NetError> {
        net.install_gateway(instance, range).await?;
        let mut ipam = Ipam::new(range);
        for link in net.list_owned_links(instance).await? {
            let (Some(uid), Some(found)) = (&link.pod_uid, link.addresses) else {
                tracing::warn!(link = link.name, "removing a link that was never finished");
                net.delete_owned_link(&link).await?;
                continue;
            };
            if let Err(error) = ipam.keep(uid, found.v4) {
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

    fn ipam(&self) -> MutexGuard<'_, Ipam<Ipv4Net>> {
        self.ipam.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl NetPort for NodeNetwork {
    async fn connect(&self, pod_uid: &str, netns_pid: u32) -> Result<Connected, PortError> {
        let address = self.ipam().allocate(pod_uid).map_err(text)?;
        let netns_cookie = self.net.netns_cookie(netns_pid).await.map_err(text)?;
        let known =
            self.net.adopt_pod_link(&self.instance, pod_uid, netns_pid, address.into()).await;
        let link = match known.map_err(text)? {
            Some(link) => link,
            None => {
                let made = self
                    .net
                    .create_pod_link(&self.instance, pod_uid, netns_pid, address.into())
                    .await;
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

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

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
        let start = || NodeNetwork::start(Net::new(), "a1b2c3", range);
        let (one, two) = (Sandbox::start(), Sandbox::start());
        let network = start().await.unwrap();
        assert_eq!(network.node_address(), Ipv4Addr::new(10, 42, 3, 1));
        let first = network.connect("u1", one.0.id()).await.unwrap();
        let second = network.connect("u2", two.0.id()).await.unwrap();
        assert_eq!(first.address, Ipv4Addr::new(10, 42, 3, 2));
        assert_ne!(first.netns_cookie, second.netns_cookie);
        assert_eq!(network.connect("u1", one.0.id()).await.unwrap(), first, "again is the same");

        let network = start().await.unwrap();
        assert_eq!(network.connect("u2", two.0.id()).await.unwrap(), second, "the routes remember");
        network.retain(&["u2"]).await.unwrap();
        let third = Sandbox::start();
        let other = network.connect("u3", third.0.id()).await.unwrap();
        assert_eq!(
            other.address,
            Ipv4Addr::new(10, 42, 3, 4),
            "an address rests before it is used again"
        );

        // The sandbox died and was made again: the link of the dead one must not be taken for its own.
        let again = Sandbox::start();
        let moved = network.connect("u2", again.0.id()).await.unwrap();
        assert_eq!(moved.address, second.address);
        assert_ne!(moved.link.host_ifindex, second.link.host_ifindex);
        network.disconnect("u2").await.unwrap();
        network.disconnect("u2").await.unwrap();
    }

    #[test]
    fn addresses_outlive_the_agent() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIP addresses_outlive_the_agent: network namespaces need root");
            return;
        }
        let thread = std::thread::spawn(|| {
            beeline_sys::process::unshare(beeline_sys::process::Unshare::NET).unwrap();
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(restarts());
        });
        thread.join().unwrap();
    }
}
