//! What the kernel holds, as people read it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use beeline_abi::{
    Backend, BackendCounters, BackendId, BackendState, Frontend, FrontendKey, Proto,
};
use beeline_compile::{Audience, Compiler, Entries, Usage};
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
    pub frontend: SocketAddr,
    /// TCP or UDP.
    pub protocol: String,
    /// The Service port's id in the maps.
    pub service_id: u32,
    /// `cluster`, `external` or `host_port`; empty when no Service is known for the frontend.
    pub audience: String,
    /// Which list is in force for callers on this node; another number after every change, zero for an empty list.
    pub list: u32,
    /// Where callers on this node and in its pods go.
    pub backends: Vec<BackendView>,
    /// Ids of the backends where callers outside go.
    pub outside: Vec<u32>,
    /// Seconds for which a client stays with its backend; zero without affinity.
    pub affinity_s: u32,
}

/// One backend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackendView {
    /// Its id in the maps.
    pub id: u32,
    /// Where it listens.
    pub address: SocketAddr,
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
    counters: impl Fn(BackendId) -> BackendCounters,
) -> Held {
    let views: BTreeMap<BackendId, BackendView> = entries
        .backends
        .iter()
        .map(|(id, entry)| (*id, backend(*id, entry, counters(*id))))
        .collect();
    let mut services: Vec<ServiceView> = entries
        .frontends
        .iter()
        .map(|(key, value)| service(key, value, entries, compiler, &views))
        .collect();
    services.sort_by_key(|view| (view.frontend, view.protocol.clone()));
    let listed: BTreeSet<BackendId> =
        entries.lists.values().flat_map(|run| run.places.iter().copied()).collect();
    let draining =
        views.iter().filter(|(id, _)| !listed.contains(id)).map(|(_, view)| view.clone());
    let draining = draining.collect();
    let maps = compiler.iter().flat_map(|compiler| compiler.usage());
    Held { epoch, services, draining, maps: maps.map(|usage| self::usage(&usage)).collect() }
}

pub(crate) fn usage(usage: &Usage) -> UsageView {
    UsageView { map: usage.map.to_owned(), entries: usage.entries, limit: usage.limit }
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
        frontend: SocketAddr::new(IpAddr::from(key.addr), key.port.to_host()),
        protocol: Proto::from_raw(key.proto).map_or("?", Proto::name).to_owned(),
        service_id: value.service_id.0,
        audience: owner.map(|port| audience(port.audience).to_owned()).unwrap_or_default(),
        list: value.inside.id.0,
        backends: entries.inside(value).iter().filter_map(|id| views.get(id).cloned()).collect(),
        outside: entries.outside(value).into_iter().map(|id| id.0).collect(),
        affinity_s: value.affinity_s,
    }
}

fn audience(audience: Audience) -> &'static str {
    match audience {
        Audience::Cluster => "cluster",
        Audience::External => "external",
        Audience::HostPort => "host_port",
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
        address: SocketAddr::new(IpAddr::from(entry.addr), entry.port.to_host()),
        state: state.to_owned(),
        identity: entry.identity.0,
        open: open_connections(&counters),
        opened: counters.opened,
        tx_bytes: counters.tx_bytes,
        rx_bytes: counters.rx_bytes,
        rtt_us: counters.rtt_sum_us.checked_div(counters.rtt_samples),
    }
}
