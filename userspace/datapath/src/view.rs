//! What the kernel holds, as people read it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddrV4},
};

use beeline_abi::{
    Backend, BackendCounters, BackendId, BackendState, Frontend, FrontendKey, Proto,
};
use beeline_compile::{Compiler, Entries};
use serde::{Deserialize, Serialize};

/// Everything at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Held {
    /// The version of intent that the maps hold.
    pub epoch: u64,
    /// Frontends in the order of their addresses.
    pub services: Vec<ServiceView>,
    /// Backends in no list any more, whose connections go on.
    pub draining: Vec<BackendView>,
    /// How full the maps are.
    pub maps: Vec<UsageView>,
}

/// One frontend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceView {
    /// Namespace and name of the Service; empty when no Service is known for the frontend.
    pub service: String,
    /// What callers dial.
    pub frontend: SocketAddrV4,
    /// TCP or UDP.
    pub protocol: String,
    /// The Service port's id in the maps.
    pub service_id: u32,
    /// Which list is in force; rises with every swap.
    pub generation: u32,
    /// The list.
    pub backends: Vec<BackendView>,
}

/// One backend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackendView {
    /// Its id in the maps.
    pub id: u32,
    /// Where it listens.
    pub address: SocketAddrV4,
    /// `active`, `terminating` or `draining`.
    pub state: String,
    /// Who it is.
    pub identity: u32,
    /// Connections open now.
    pub open: u64,
    /// Connections opened since the backend came.
    pub opened: u64,
    /// Bytes that the backend acknowledged, of connections that have ended.
    pub tx_bytes: u64,
    /// Bytes received from the backend, of connections that have ended.
    pub rx_bytes: u64,
    /// Mean smoothed round-trip time in microseconds, once there is a sample.
    pub rtt_us: Option<u64>,
}

/// How full one map is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UsageView {
    /// Its name.
    pub map: String,
    /// Entries in it.
    pub entries: usize,
    /// Entries that fit.
    pub limit: u32,
}

/// Open connections: sums over CPUs are read one after the other, so a close may be seen before its open.
pub(crate) fn open_connections(counters: &BackendCounters) -> u64 {
    counters.opened.saturating_sub(counters.closed)
}

/// Puts entries, counters and names together.
pub(crate) fn held(
    epoch: u64,
    entries: &Entries,
    compiler: Option<&Compiler>,
    counters: impl Fn(BackendId) -> Option<BackendCounters>,
) -> Held {
    let views: BTreeMap<BackendId, BackendView> = entries
        .backends
        .iter()
        .map(|(id, entry)| (*id, backend(*id, entry, counters(*id).unwrap_or_default())))
        .collect();
    let mut services: Vec<ServiceView> = entries
        .frontends
        .iter()
        .map(|(key, value)| service(key, value, entries, compiler, &views))
        .collect();
    services.sort_by_key(|view| (view.frontend, view.protocol.clone()));
    let listed: BTreeSet<BackendId> = entries.slots.values().copied().collect();
    let draining =
        views.iter().filter(|(id, _)| !listed.contains(id)).map(|(_, view)| view.clone());
    let draining = draining.collect();
    let maps = entries.usage().map(|usage| UsageView {
        map: usage.map.to_owned(),
        entries: usage.entries,
        limit: usage.limit,
    });
    Held { epoch, services, draining, maps: maps.into() }
}

fn service(
    key: &FrontendKey,
    value: &Frontend,
    entries: &Entries,
    compiler: Option<&Compiler>,
    views: &BTreeMap<BackendId, BackendView>,
) -> ServiceView {
    let owner = compiler.and_then(|compiler| compiler.owner(value.service_id));
    ServiceView {
        service: owner.map(|port| port.service.to_string()).unwrap_or_default(),
        frontend: SocketAddrV4::new(Ipv4Addr::from(key.addr), key.port.to_host()),
        protocol: Proto::from_raw(key.proto).map_or("?", Proto::name).to_owned(),
        service_id: value.service_id.0,
        generation: value.generation,
        backends: entries.list_of(value).iter().filter_map(|id| views.get(id).cloned()).collect(),
    }
}

fn backend(id: BackendId, entry: &Backend, counters: BackendCounters) -> BackendView {
    let state = match BackendState::from_raw(entry.state) {
        Some(BackendState::Active) => "active",
        Some(BackendState::Terminating) => "terminating",
        Some(BackendState::Draining) => "draining",
        None => "unknown",
    };
    BackendView {
        id: id.0,
        address: SocketAddrV4::new(Ipv4Addr::from(entry.addr), entry.port.to_host()),
        state: state.to_owned(),
        identity: entry.identity.0,
        open: open_connections(&counters),
        opened: counters.opened,
        tx_bytes: counters.tx_bytes,
        rx_bytes: counters.rx_bytes,
        rtt_us: counters.rtt_sum_us.checked_div(counters.rtt_samples),
    }
}
