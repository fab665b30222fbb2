//! The maps, opened by their pins: typed reading and writing, a plan carried out.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    marker::PhantomData,
    os::fd::{AsFd as _, OwnedFd},
};

use aya::{
    Pod,
    maps::{Array, Map, MapData, MapError, PerCpuArray, PerCpuHashMap, PerCpuValues, RingBuf},
    util::nr_cpus,
};
use beeline_abi::{
    Backend, BackendCounters, BackendId, Be32, Config, Counter, DropCount, DropReason, Endpoint,
    Frontend, FrontendKey, NetnsOwner, SlotKey, maps,
};
use beeline_compile::{Entries, Plan};

use crate::{DatapathError, bpf, pins::Pins};

/// A hash map that user space writes.
struct Table<K, V> {
    name: &'static str,
    fd: OwnedFd,
    types: PhantomData<(K, V)>,
}

/// Every map that this process reads or writes.
pub(crate) struct Maps {
    services: Table<FrontendKey, Frontend>,
    slots: Table<SlotKey, BackendId>,
    backends: Table<BackendId, Backend>,
    endpoints: Table<Be32, Endpoint>,
    netns: Table<u64, NetnsOwner>,
    counts: PerCpuHashMap<MapData, BackendId, BackendCounters>,
    counters: PerCpuArray<MapData, u64>,
    drops: PerCpuArray<MapData, DropCount>,
    config: Array<MapData, Config>,
    events: Option<RingBuf<MapData>>,
    cpus: usize,
}

impl<K: Pod + Default + Ord, V: Pod + Default> Table<K, V> {
    fn open(pins: &Pins, name: &'static str) -> Result<Self, DatapathError> {
        let fd = bpf::get(&pins.map(name)).map_err(|source| failed("open", name, source))?;
        Ok(Self { name, fd, types: PhantomData })
    }

    fn read(&self) -> Result<BTreeMap<K, V>, DatapathError> {
        let all =
            bpf::read_all(self.fd.as_fd()).map_err(|source| failed("read", self.name, source))?;
        Ok(all.into_iter().collect())
    }

    fn put(&self, entries: &BTreeMap<K, V>) -> Result<(), DatapathError> {
        if entries.is_empty() {
            return Ok(());
        }
        let keys: Vec<K> = entries.keys().copied().collect();
        let values: Vec<V> = entries.values().copied().collect();
        bpf::update(self.fd.as_fd(), &keys, &values)
            .map_err(|source| failed("write", self.name, source))
    }

    fn remove(&self, keys: &BTreeSet<K>) -> Result<(), DatapathError> {
        if keys.is_empty() {
            return Ok(());
        }
        let keys: Vec<K> = keys.iter().copied().collect();
        bpf::delete(self.fd.as_fd(), &keys)
            .map_err(|source| failed("delete from", self.name, source))
    }
}

impl Maps {
    pub(crate) fn open(pins: &Pins) -> Result<Self, DatapathError> {
        let cpus = nr_cpus().map_err(|(_, source)| failed("size", maps::COUNTERS, source))?;
        Ok(Self {
            services: Table::open(pins, maps::SERVICES)?,
            slots: Table::open(pins, maps::BACKEND_SLOTS)?,
            backends: Table::open(pins, maps::BACKENDS)?,
            endpoints: Table::open(pins, maps::ENDPOINTS)?,
            netns: Table::open(pins, maps::NETNS)?,
            counts: typed(pins, maps::BACKEND_COUNTERS)?,
            counters: typed(pins, maps::COUNTERS)?,
            drops: typed(pins, maps::DROPS)?,
            config: typed(pins, maps::CONFIG)?,
            events: Some(typed(pins, maps::EVENTS)?),
            cpus,
        })
    }

    /// All that user space ever wrote.
    pub(crate) fn entries(&self) -> Result<Entries, DatapathError> {
        Ok(Entries {
            frontends: self.services.read()?,
            slots: self.slots.read()?,
            backends: self.backends.read()?,
            endpoints: self.endpoints.read()?,
            netns: self.netns.read()?,
        })
    }

    /// Carries a plan out, in its order. Stops at the first write that is refused.
    pub(crate) fn execute(&mut self, plan: &Plan) -> Result<(), DatapathError> {
        let Plan { epoch: _, endpoints, netns, backends, slots, frontends, gone } = plan;
        self.endpoints.put(endpoints)?;
        self.netns.put(netns)?;
        for id in backends.keys() {
            self.start_counting(*id)?;
        }
        self.backends.put(backends)?;
        self.slots.put(slots)?;
        self.services.put(frontends)?;
        self.services.remove(&gone.frontends)?;
        self.slots.remove(&gone.slots)?;
        self.backends.remove(&gone.backends)?;
        for id in &gone.backends {
            self.stop_counting(*id)?;
        }
        self.netns.remove(&gone.netns)?;
        self.endpoints.remove(&gone.endpoints)
    }

    /// Gives a backend its zeroed counters, unless it has some already.
    pub(crate) fn start_counting(&mut self, id: BackendId) -> Result<(), DatapathError> {
        const NOEXIST: u64 = 1;
        let zero = vec![BackendCounters::default(); self.cpus];
        let zero = PerCpuValues::try_from(zero)
            .map_err(|source| failed("write", maps::BACKEND_COUNTERS, source))?;
        match self.counts.insert(id, zero, NOEXIST) {
            Err(MapError::SyscallError(error))
                if error.io_error.raw_os_error() == Some(libc::EEXIST) =>
            {
                Ok(())
            }
            answer => answer.map_err(|error| of_aya("write", maps::BACKEND_COUNTERS, error)),
        }
    }

    fn stop_counting(&mut self, id: BackendId) -> Result<(), DatapathError> {
        match self.counts.remove(&id) {
            Err(MapError::KeyNotFound) => Ok(()),
            Err(MapError::SyscallError(error))
                if error.io_error.kind() == io::ErrorKind::NotFound =>
            {
                Ok(())
            }
            answer => answer.map_err(|error| of_aya("delete from", maps::BACKEND_COUNTERS, error)),
        }
    }

    /// Gives counters to backends without, and takes those away that belong to none: what a crash between two writes leaves.
    pub(crate) fn repair_counters(
        &mut self,
        backends: &BTreeMap<BackendId, Backend>,
    ) -> Result<(), DatapathError> {
        let counted: BTreeSet<BackendId> = self.counts.keys().filter_map(Result::ok).collect();
        for id in backends.keys().filter(|id| !counted.contains(id)) {
            self.start_counting(*id)?;
        }
        for id in counted.iter().filter(|id| !backends.contains_key(id)) {
            self.stop_counting(*id)?;
        }
        Ok(())
    }

    /// The counters of one backend over all CPUs. `None` when it has none.
    pub(crate) fn counters_of(&self, id: BackendId) -> Option<BackendCounters> {
        let values = self.counts.get(&id, 0).ok()?;
        Some(values.iter().fold(BackendCounters::default(), |sum, one| BackendCounters {
            opened: sum.opened.wrapping_add(one.opened),
            closed: sum.closed.wrapping_add(one.closed),
            tx_bytes: sum.tx_bytes.wrapping_add(one.tx_bytes),
            rx_bytes: sum.rx_bytes.wrapping_add(one.rx_bytes),
            rtt_sum_us: sum.rtt_sum_us.wrapping_add(one.rtt_sum_us),
            rtt_samples: sum.rtt_samples.wrapping_add(one.rtt_samples),
        }))
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
