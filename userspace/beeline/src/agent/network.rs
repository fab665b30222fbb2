//! The ranges that control gave this node, kept so that a restart without control finds them.

use anyhow::{Context as _, bail};
use beeline_kit::Tasks;
use beeline_uplink::{Uplink, Welcome};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use crate::config::Config;

/// The name of the file in the data directory.
const FILE: &str = "network.json";

/// The cluster's ranges and this node's piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// This node's pods get addresses from here.
    pub pod_cidr: Ipv4Net,
    /// All pods' addresses.
    pub cluster_pod_cidr: Ipv4Net,
    /// All Services' addresses.
    pub service_cidr: Ipv4Net,
    /// The ranges of the cluster's second family, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub v6: Option<Ipv6>,
}

/// The cluster's IPv6 ranges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ipv6 {
    /// This node's piece.
    pub pod_cidr: Ipv6Net,
    /// All pods' addresses.
    pub cluster_pod_cidr: Ipv6Net,
    /// All Services' addresses.
    pub service_cidr: Ipv6Net,
}

impl Network {
    /// What is known from before.
    pub fn known(config: &Config) -> anyhow::Result<Option<Self>> {
        let path = config.data_dir.join(FILE);
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Self::read(&bytes, &path)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
        }
    }

    /// What is known from before, else what the server says when the line comes up.
    pub async fn find(config: &Config, uplink: &Uplink) -> anyhow::Result<Self> {
        let path = config.data_dir.join(FILE);
        let known = Self::known(config)?;
        let mut welcome = uplink.welcome();
        let heard = welcome.borrow_and_update().clone();
        match (known, heard) {
            // With a second family among its own flags, the server that has it is in this process.
            (Some(known), None) if known.v6.is_some() || config.pod_cidr.v6.is_none() => Ok(known),
            (known, Some(heard)) => Self::agree(known, &heard, &path),
            (known, None) => {
                let heard =
                    welcome.wait_for(Option::is_some).await.context("wait for the server")?.clone();
                Self::agree(known, &heard.context("the server said nothing")?, &path)
            }
        }
    }

    /// Keep what the server says later, if it differs from what is known from before: for the next start.
    pub fn follow(self, config: &Config, uplink: &Uplink, tasks: &Tasks) {
        let (path, mut welcome) = (config.data_dir.join(FILE), uplink.welcome());
        let token = tasks.token();
        tasks.spawn("network", async move {
            let heard = token.run_until_cancelled(welcome.wait_for(Option::is_some)).await;
            let Some(heard) = heard.and_then(Result::ok).and_then(|heard| heard.clone()) else {
                return;
            };
            match Self::agree(Some(self), &heard, &path) {
                Ok(now) if now == self => {}
                Ok(_) => tracing::warn!(
                    "the cluster has an IPv6 range since this agent was last started: start it once more, and its pods \
                     get addresses of it"
                ),
                Err(error) => tracing::warn!(error = format!("{error:#}"), "the server's ranges"),
            }
        });
    }

    /// What the file says; a damaged one is as good as none, as the server knows it all and nothing is lost.
    fn read(bytes: &[u8], path: &std::path::Path) -> Option<Self> {
        let read = serde_json::from_slice(bytes);
        if let Err(error) = &read {
            tracing::warn!(path = %path.display(), %error, "damaged, asking the server again");
        }
        read.ok()
    }

    fn agree(known: Option<Self>, heard: &Welcome, path: &std::path::Path) -> anyhow::Result<Self> {
        let range = |text: &str| {
            text.parse::<Ipv4Net>()
                .with_context(|| format!("understand the range {text:?} that the server gave"))
        };
        let heard = Self {
            pod_cidr: range(&heard.pod_cidr)?,
            cluster_pod_cidr: range(&heard.cluster_pod_cidr)?,
            service_cidr: range(&heard.service_cidr)?,
            v6: Ipv6::of(heard),
        };
        match known {
            Some(known) if known == heard => Ok(known),
            Some(known) if (Self { v6: heard.v6, ..known }) != heard || known.v6.is_some() => {
                bail!(
                    "the server gives this node the pod range {}, but its pods have addresses of {}: it was part of \
                 another cluster. End them with `beeline stop --kill` and remove {}",
                    heard.pod_cidr,
                    known.pod_cidr,
                    path.display()
                )
            }
            // New, or a second family came.
            _ => {
                let aside = path.with_extension("new");
                std::fs::write(&aside, serde_json::to_vec(&heard)?)
                    .and_then(|()| std::fs::rename(&aside, path))
                    .with_context(|| format!("write {}", path.display()))?;
                Ok(heard)
            }
        }
    }

    /// What must never leave this machine by its default route.
    pub fn guarded(&self) -> Vec<IpNet> {
        let four = [self.service_cidr, self.cluster_pod_cidr].map(IpNet::V4);
        let six = self.v6.map(|v6| [v6.service_cidr, v6.cluster_pod_cidr].map(IpNet::V6));
        four.into_iter().chain(six.into_iter().flatten()).collect()
    }
}

impl Ipv6 {
    fn of(heard: &Welcome) -> Option<Self> {
        let six = |ranges: &[String]| ranges.iter().find_map(|range| range.parse().ok());
        Some(Self {
            pod_cidr: six(&heard.pod_cidrs)?,
            cluster_pod_cidr: six(&heard.cluster_pod_cidrs)?,
            service_cidr: six(&heard.service_cidrs)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(pods: &[&str], cluster: &[&str], services: &[&str]) -> Welcome {
        let texts = |all: &[&str]| -> Vec<String> { all.iter().map(ToString::to_string).collect() };
        Welcome {
            pod_cidr: pods[0].to_owned(),
            cluster_pod_cidr: cluster[0].to_owned(),
            service_cidr: services[0].to_owned(),
            pod_cidrs: texts(pods),
            cluster_pod_cidrs: texts(cluster),
            service_cidrs: texts(services),
        }
    }

    #[test]
    fn a_second_family_may_come_and_not_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let four = told(&["10.42.3.0/24"], &["10.42.0.0/16"], &["10.43.0.0/16"]);
        let both = told(
            &["10.42.3.0/24", "fd42:0:0:3::/64"],
            &["10.42.0.0/16", "fd42::/48"],
            &["10.43.0.0/16", "fd43::/108"],
        );
        let first = Network::agree(None, &four, &path).unwrap();
        assert_eq!(first.guarded().len(), 2);
        let second = Network::agree(Some(first), &both, &path).unwrap();
        assert_eq!(second.guarded().len(), 4);
        let kept = Network::read(&std::fs::read(&path).unwrap(), &path);
        assert_eq!(kept, Some(second), "the next start knows without asking");
        let error = Network::agree(kept, &four, &path).unwrap_err().to_string();
        assert!(error.contains("another cluster"), "{error}");
    }
}
