//! Links, addresses and routes of one node, over netlink.
//!
//! In: the instance id of the agent, pod uids, pids, addresses and ranges. Out: links with their indexes and
//! hardware addresses, or a [`NetError`] that names the link and what to do.
//! Works in the network namespace of the calling process and, for the inner end of a pod's link, in the pod's.
//! Refuses to touch what does not carry its instance id or its route protocol, and global switches such as `ip_forward`:
//! except that IPv6 forwarding has no other on kernels before 6.17.
//!
//! ```no_run
//! # async fn example() -> Result<(), beeline_netdev::NetError> {
//! let net = beeline_netdev::Net::new();
//! let services = "10.43.0.0/16".parse().expect("a range");
//! let pods = "10.42.0.0/16".parse().expect("a range");
//! net.install_guards(vec![services, pods]).await?;
//! let v6 = Some("fd42::7".parse().expect("an address"));
//! let addresses = beeline_netdev::AddressPair { v4: "10.42.0.7".parse().expect("an address"), v6 };
//! let link = net.create_pod_link("a1b2c3", "4f9d…", 4711, addresses).await?;
//! assert!(link.host_ifindex > 0);
//! # Ok(())
//! # }
//! ```

mod addresses;
mod error;
mod ipam;
mod names;
mod net;
mod sysctl;
mod wire;

pub use addresses::AddressPair;
pub use error::NetError;
pub use ipam::{Ipam, IpamError, Range};
pub use names::{Mac, link_name};
pub use net::{HostAddress, Net, OwnedLink, PeerFailure, PodLink, Uplink};

/// The number in `rtm_protocol` of every route that beeline makes; see `ip route show proto 190`.
pub const ROUTE_PROTOCOL: u8 = 190;

/// The address that pods know as their gateway. It exists on no interface: pods hold a fixed neighbour entry for it.
pub const POD_GATEWAY: std::net::Ipv4Addr = std::net::Ipv4Addr::new(169, 254, 1, 1);

/// The same for IPv6.
pub const POD_GATEWAY_V6: std::net::Ipv6Addr = std::net::Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
