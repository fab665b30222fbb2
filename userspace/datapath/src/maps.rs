//! The maps, opened by their pins: typed reading and writing, a plan carried out.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    marker::PhantomData,
    os::fd::{AsFd as _, OwnedFd},
};

use aya::{
    Pod,
    maps::{Array, Map, MapData, MapError, MapInfo, PerCpuArray, RingBuf},
};
use beeline_abi::{
    Addr, AffinityOkKey, Backend, BackendCounters, BackendId, Config, Connection, Counter,
    DropCount, DropReason, Endpoint, Frontend, FrontendKey, List, ListId, NetnsOwner, Proto,
    RangeKey, SOURCE_RANGE_BITS, Slot, SourceRangeKey, Track, Tuple, maps,
};
use beeline_compile::{Entries, Limits, Plan, Run, SourceRange, Usage};

use crate::{DatapathError, bpf, pins::Pins, shared::SharedArray, tracking};

/// A hash map or prefix trie that user space writes.
struct Table<K, V> {
    name: &'static str,
    fd: OwnedFd,
    limit: u32,
    types: PhantomData<(K, V)>,
}

/// Every map that this process reads or writes.
pub(crate) struct Maps {
    services: Table<FrontendKey, Frontend>,
    slots: SharedArray<Slot>,
    backends: SharedArray<Backend>,
    counts: SharedArray<BackendCounters>,
    endpoints: Table<Addr, Endpoint>,
    netns: Table<u64, NetnsOwner>,
    affinity_ok: Table<AffinityOkKey, u32>,
    source_ranges: Table<SourceRangeKey, u32>,
    ranges: Table<RangeKey, u32>,
    node_addresses: Table<Addr, u32>,
    conntrack: Table<Tuple, Track>,
    connections: Table<u64, Connection>,
    counters: PerCpuArray<MapData, u64>,
    drops: PerCpuArray<MapData, DropCount>,
    config: Array<MapData, Config>,
    events: Option<RingBuf<MapData>>,
}

impl<K: Pod + Default + Ord, V: Pod + Default> Table<K, V> {
    fn open(pins: &Pins, name: &'static str) -> Result<Self, DatapathError> {
        let fd = bpf::get(&pins.map(name)).map_err(|source| failed("open", name, source))?;
        Ok(Self { name, fd, limit: size_of_map(pins, name)?, types: PhantomData })
    }

    fn read(&self) -> Result<BTreeMap<K, V>, DatapathError> {
        let all =
            bpf::read_all(self.fd.as_fd()).map_err(|source| failed("read", self.name, source))?;
        Ok(all.into_iter().collect())
    }

    fn put(&self, entries: impl Iterator<Item = (K, V)>) -> Result<(), DatapathError> {
        let (keys, values): (Vec<K>, Vec<V>) = entries.unzip();
        if keys.is_empty() {
            return Ok(());
        }
        bpf::update(self.fd.as_fd(), &keys, &values)
            .map_err(|source| failed("write", self.name, source))
    }

    fn put_all(&self, entries: &BTreeMap<K, V>) -> Result<(), DatapathError> {
        self.put(entries.iter().map(|(key, value)| (*key, *value)))
    }

    fn remove(&self, keys: impl Iterator<Item = K>) -> Result<(), DatapathError> {
        let keys: Vec<K> = keys.collect();
        if keys.is_empty() {
            return Ok(());
        }
        bpf::delete(self.fd.as_fd(), &keys)
            .map_err(|source| failed("delete from", self.name, source))
    }
}

impl Maps {
    pub(crate) fn open(pins: &Pins) -> Result<Self, DatapathError> {
        Ok(Self {
            services: Table::open(pins, maps::SERVICES)?,
            slots: shared(pins, maps::BACKEND_SLOTS)?,
            backends: shared(pins, maps::BACKENDS)?,
            counts: shared(pins, maps::BACKEND_COUNTERS)?,
            endpoints: Table::open(pins, maps::ENDPOINTS)?,
            netns: Table::open(pins, maps::NETNS)?,
            affinity_ok: Table::open(pins, maps::AFFINITY_OK)?,
            source_ranges: Table::open(pins, maps::SOURCE_RANGES)?,
            ranges: Table::open(pins, maps::CLUSTER_RANGES)?,
            node_addresses: Table::open(pins, maps::NODE_ADDRESSES)?,
            conntrack: Table::open(pins, maps::CONNTRACK)?,
            connections: Table::open(pins, maps::CONNECTIONS)?,
            counters: typed(pins, maps::COUNTERS)?,
            drops: typed(pins, maps::DROPS)?,
            config: typed(pins, maps::CONFIG)?,
            events: Some(typed(pins, maps::EVENTS)?),
        })
    }

    /// How much fits into the maps as they were made.
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            frontends: self.services.limit,
            slots: self.slots.count(),
            backends: self.backends.count().min(self.counts.count()),
            endpoints: self.endpoints.limit,
            netns: self.netns.limit,
            affinity_ok: self.affinity_ok.limit,
            source_ranges: self.source_ranges.limit,
            ranges: self.ranges.limit,
            node_addresses: self.node_addresses.limit,
        }
    }

    /// All that user space ever wrote and that still means something.
    pub(crate) fn entries(&self) -> Result<Entries, DatapathError> {
        let frontends = self.services.read()?;
        let (lists, last_list) = self.lists(&frontends);
        let source_ranges = self.source_ranges.read()?;
        let source_ranges = source_ranges.keys().map(|key| SourceRange {
            service_id: key.service_id,
            bits: key.bits - SOURCE_RANGE_BITS.min(key.bits),
            addr: key.addr,
        });
        Ok(Entries {
            lists,
            last_list,
            frontends,
            backends: self.standing_backends(),
            endpoints: self.endpoints.read()?,
            netns: self.netns.read()?,
            affinity_ok: self.affinity_ok.read()?.into_keys().collect(),
            source_ranges: source_ranges.collect(),
            ranges: self.ranges.read()?,
            node_addresses: self.node_addresses.read()?,
        })
    }

    /// The lists that frontends name and that are whole, and the highest number in any place.
    fn lists(
        &self,
        frontends: &BTreeMap<FrontendKey, Frontend>,
    ) -> (BTreeMap<ListId, Run>, ListId) {
        let named: BTreeSet<List> =
            frontends.values().flat_map(|it| [it.inside, it.outside]).collect();
        let whole = named.into_iter().filter(|list| list.count > 0).filter_map(|list| {
            let places = list.first..list.first.checked_add(list.count)?;
            let slots = places.map(|index| self.slots.get(index));
            let mine = slots.map(|slot| (slot.list_id == list.id).then_some(slot.backend_id));
            Some((list.id, Run { first: list.first, places: mine.collect::<Option<_>>()? }))
        });
        let lists = whole.collect();
        let numbers = (0..self.slots.count()).map(|index| self.slots.get(index).list_id);
        (lists, numbers.max().unwrap_or_default())
    }

    fn standing_backends(&self) -> BTreeMap<BackendId, Backend> {
        let all = (1..self.backends.count()).map(|id| (BackendId(id), self.backends.get(id)));
        all.filter(|(_, backend)| backend.state != 0).collect()
    }

    /// Carries a plan out, in its order. Stops at the first write that is refused.
    pub(crate) fn execute(&mut self, plan: &Plan) -> Result<(), DatapathError> {
        self.endpoints.put_all(&plan.endpoints)?;
        self.netns.put_all(&plan.netns)?;
        self.ranges.put_all(&plan.ranges)?;
        self.node_addresses.put_all(&plan.node_addresses)?;
        for id in &plan.fresh {
            self.counts.set(id.0, &BackendCounters::default());
        }
        for (id, backend) in &plan.backends {
            self.backends.set(id.0, backend);
        }
        for (id, run) in &plan.lists {
            for (index, backend_id) in (run.first..).zip(run.places.iter()) {
                self.slots.set(index, &Slot { backend_id: *backend_id, list_id: *id });
            }
        }
        self.affinity_ok.put(plan.affinity_ok.iter().map(|key| (*key, 1)))?;
        self.source_ranges.put(plan.source_ranges.iter().map(|range| (range_key(range), 1)))?;
        // A system call orders what was stored before it against what the programs read after it.
        self.services.put(plan.frontends.iter().copied())?;
        let gone = &plan.gone;
        self.services.remove(gone.frontends.iter().copied())?;
        self.source_ranges.remove(gone.source_ranges.iter().map(range_key))?;
        self.affinity_ok.remove(gone.affinity_ok.iter().copied())?;
        for id in &gone.backends {
            self.backends.set(id.0, &Backend::default());
        }
        self.node_addresses.remove(gone.node_addresses.iter().copied())?;
        self.ranges.remove(gone.ranges.iter().copied())?;
        self.netns.remove(gone.netns.iter().copied())?;
        self.endpoints.remove(gone.endpoints.iter().copied())
    }

    /// Ends tracked connections that are over, and says how full their table is then.
    pub(crate) fn collect_tracked(&self) -> Result<Usage, DatapathError> {
        let collected = tracking::collect(self.conntrack.fd.as_fd())?;
        let limit = self.conntrack.limit;
        Ok(Usage { map: maps::CONNTRACK, entries: collected.standing, limit })
    }

    /// Removes all tracked connections, and says how full their table is then: more may have begun meanwhile.
    pub(crate) fn forget_tracked(&self) -> Result<Usage, DatapathError> {
        let entries = tracking::forget(self.conntrack.fd.as_fd())?;
        Ok(Usage { map: maps::CONNTRACK, entries, limit: self.conntrack.limit })
    }

    /// Whether sockets of a datagram protocol may be connected to a backend.
    pub(crate) fn has_datagram_connections(&self, id: BackendId) -> bool {
        let BackendCounters { opened, closed, .. } = self.counts.get(id.0);
        self.backends.get(id.0).proto == Proto::Udp as u8 && opened != closed
    }

    /// Sockets whose datagrams go to one of these backends, by cookie.
    pub(crate) fn datagram_sockets_of(
        &self,
        backends: &BTreeSet<BackendId>,
    ) -> Result<BTreeSet<u64>, DatapathError> {
        let mut found = BTreeSet::new();
        let mut see = |cookie: &u64, connection: &Connection| {
            if connection.proto == Proto::Udp as u8 && backends.contains(&connection.backend_id) {
                found.insert(*cookie);
            }
        };
        bpf::scan(self.connections.fd.as_fd(), &mut see)
            .map_err(|source| failed("read", maps::CONNECTIONS, source))?;
        Ok(found)
    }

    /// The counters of one backend.
    pub(crate) fn counters_of(&self, id: BackendId) -> BackendCounters {
        self.counts.get(id.0)
    }

    /// The kernel's counters, by name.
    pub(crate) fn counters(&self) -> Result<BTreeMap<&'static str, u64>, DatapathError> {
        let sum = |counter: &Counter| {
            let values = self.counters.get(&(*counter as u32), 0);
            let values = values.map_err(|error| of_aya("read", maps::COUNTERS, error))?;
            Ok((counter.name(), values.iter().sum()))
        };
        Counter::ALL.iter().map(sum).collect()
    }

    /// Packets and bytes dropped, by reason.
    pub(crate) fn drops(&self) -> Result<BTreeMap<&'static str, DropCount>, DatapathError> {
        let sum = |reason: &DropReason| {
            let values = self.drops.get(&u32::from(*reason as u16), 0);
            let values = values.map_err(|error| of_aya("read", maps::DROPS, error))?;
            let total = values.iter().fold(DropCount::default(), |sum, one| DropCount {
                packets: sum.packets + one.packets,
                bytes: sum.bytes + one.bytes,
                reported_ns: sum.reported_ns.max(one.reported_ns),
            });
            Ok((reason.name(), total))
        };
        DropReason::ALL.iter().map(sum).collect()
    }

    pub(crate) fn config(&self) -> Result<Config, DatapathError> {
        self.config.get(&0, 0).map_err(|error| of_aya("read", maps::CONFIG, error))
    }

    pub(crate) fn set_config(&mut self, config: Config) -> Result<(), DatapathError> {
        self.config.set(0, config, 0).map_err(|error| of_aya("write", maps::CONFIG, error))
    }

    /// The ring, once.
    pub(crate) fn take_events(&mut self) -> Option<RingBuf<MapData>> {
        self.events.take()
    }
}

fn range_key(range: &SourceRange) -> SourceRangeKey {
    let SourceRange { service_id, bits, addr } = *range;
    SourceRangeKey { bits: SOURCE_RANGE_BITS + bits, service_id, addr }
}

fn size_of_map(pins: &Pins, name: &'static str) -> Result<u32, DatapathError> {
    let info = MapInfo::from_pin(pins.map(name)).map_err(|error| of_aya("look at", name, error))?;
    Ok(info.max_entries())
}

fn shared<V: Pod + Default>(
    pins: &Pins,
    name: &'static str,
) -> Result<SharedArray<V>, DatapathError> {
    let fd = bpf::get(&pins.map(name)).map_err(|source| failed("open", name, source))?;
    SharedArray::map(fd.as_fd(), size_of_map(pins, name)?)
        .map_err(|source| failed("map into memory", name, source))
}

fn typed<T: TryFrom<Map, Error = MapError>>(
    pins: &Pins,
    name: &'static str,
) -> Result<T, DatapathError> {
    let open = || T::try_from(Map::from_map_data(MapData::from_pin(pins.map(name))?)?);
    open().map_err(|error| of_aya("open", name, error))
}

fn failed(attempt: &'static str, map: &'static str, source: io::Error) -> DatapathError {
    DatapathError::Map { attempt, map, source }
}

fn of_aya(attempt: &'static str, map: &'static str, error: MapError) -> DatapathError {
    let source = match error {
        MapError::SyscallError(error) => error.io_error,
        other => io::Error::other(other),
    };
    failed(attempt, map, source)
}
