//! Rule sets in kube-proxy's layouts, made from one simple model of Services.
//!
//! In: what a node knows of Services and endpoints. Out: text for `iptables-restore` and `nft -f`, whole or only what a
//! change needs, as kube-proxy itself would write it. Pure: nothing is run here. Refuses topology hints: the endpoints
//! of the model are those that the hints left.

pub mod iptables;
pub mod model;
pub mod nftables;
pub mod sample;

mod names;
mod plan;
#[cfg(test)]
mod tests;

/// The bit of the packet mark that asks for masquerading.
const MASQUERADE_MARK: &str = "0x4000";
