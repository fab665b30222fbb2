//! The state of one agent's datapath and the steps that change it. Synchronous: the actor runs one at a time.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use aya::maps::{MapData, RingBuf};
use beeline_abi::{
    BackendId, CONFIG_LAZY_EVENTS, Config as KernelConfig, Epoch as AbiEpoch, Identity,
    LAYOUT_VERSION,
};
use beeline_compile::{Attached, Compiler, Facts, Plan};
use beeline_tables::{Epoch, Snapshot};

use crate::{
    Config, DatapathError, EndpointAttach, Held, endpoints,
    layout::{self, Found},
    maps::Maps,
    pins::Pins,
    programs::Programs,
    view,
};

/// How long a removed backend keeps its counters when connections to it never end.
const DRAIN_MAX: Duration = Duration::from_secs(15 * 60);
/// From here on a map's fullness is worth a warning.
const PRESSURE_PERCENT: usize = 80;

/// Intent that the kernel acts upon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InForce {
    /// Its version.
    pub epoch: Epoch,
    /// Entries written and removed to get there.
    pub writes: usize,
    /// From the start of compiling until the last write.
    pub took: Duration,
}

pub(crate) struct Kernel {
    pins: Pins,
    pub(crate) programs: Programs,
    maps: Maps,
    /// `None` after a failed write: what the maps hold must be read again.
    compiler: Option<Compiler>,
    facts: Facts,
    draining: BTreeMap<BackendId, Instant>,
    pressed: BTreeSet<&'static str>,
}

impl Kernel {
    /// Mounts, loads, adopts, replaces; returns with programs in force.
    pub(crate) fn open(config: &Config) -> Result<Self, DatapathError> {
        let pins = Pins::prepare(config)?;
        let found = layout::check(&pins)?;
        let programs = Programs::load(&pins)?;
        let mut maps = Maps::open(&pins)?;
        let entries = maps.entries()?;
        maps.repair_counters(&entries.backends)?;
        let mut facts = Facts {
            node: config.node.clone(),
            host_addresses: config.host_addresses.iter().copied().collect(),
            host_netns: Some(beeline_sys::netns::cookie_of_self()?),
            attached: Facts::attached_in(&entries),
        };
        let alive = endpoints::adopt(&programs, &pins)?;
        facts.attached.retain(|_, attached| alive.contains(&attached.ifindex));
        let (draining, pressed) = (BTreeMap::new(), BTreeSet::new());
        let compiler = Some(Compiler::adopt(entries));
        let mut kernel = Self { pins, programs, maps, compiler, facts, draining, pressed };
        let epoch = kernel.maps.config()?.epoch;
        kernel.write_config(Epoch(epoch.0))?;
        kernel.place()?;
        kernel.programs.attach_cgroup(&kernel.pins, &config.cgroup_root)?;
        let pods = kernel.facts.attached.len();
        tracing::info!(
            adopted = found == Found::Adopted,
            epoch = epoch.0,
            pods,
            "datapath in force"
        );
        Ok(kernel)
    }

    /// Brings the maps to a snapshot. Returns when they hold it.
    pub(crate) fn reconcile(&mut self, snapshot: &Snapshot) -> Result<InForce, DatapathError> {
        if !snapshot.complete {
            return Err(DatapathError::Incomplete);
        }
        let start = Instant::now();
        let facts = self.facts.clone();
        let plan = self.compiler()?.update(snapshot, &facts);
        self.execute(&plan)?;
        if self.maps.config()?.epoch.0 != plan.epoch.0 {
            self.write_config(plan.epoch)?;
        }
        Ok(InForce { epoch: plan.epoch, writes: plan.writes(), took: start.elapsed() })
    }

    /// Who it is comes first, so that the first packet finds it; then the programs.
    pub(crate) fn attach(&mut self, endpoint: &EndpointAttach) -> Result<(), DatapathError> {
        let known = self.facts.attached.get(&endpoint.address);
        let attached = Attached {
            uid: Some(endpoint.uid.clone()),
            ifindex: endpoint.ifindex,
            netns_cookie: endpoint.netns_cookie,
            pod_mac: endpoint.pod_mac,
            host_mac: endpoint.host_mac,
            identity: known
                .filter(|known| known.ifindex == endpoint.ifindex)
                .map_or(Identity::UNKNOWN, |known| known.identity),
        };
        self.facts.attached.insert(endpoint.address, attached);
        self.place()?;
        endpoints::attach(&self.programs, &self.pins, endpoint.ifindex)
    }

    /// Takes the programs off a link and forgets who was behind it.
    pub(crate) fn detach(&mut self, ifindex: u32) -> Result<(), DatapathError> {
        endpoints::detach(&self.pins, ifindex)?;
        self.facts.attached.retain(|_, attached| attached.ifindex != ifindex);
        self.place()
    }

    /// Detaches every endpoint but these.
    pub(crate) fn retain(&mut self, ifindexes: &BTreeSet<u32>) -> Result<(), DatapathError> {
        let gone: Vec<u32> = self
            .facts
            .attached
            .values()
            .map(|attached| attached.ifindex)
            .filter(|ifindex| !ifindexes.contains(ifindex))
            .collect();
        gone.into_iter().try_for_each(|ifindex| self.detach(ifindex))
    }

    /// Removes backends that nobody is connected to any more, or for too long.
    pub(crate) fn collect(&mut self, now: Instant) -> Result<(), DatapathError> {
        let idle = self.compiler()?.draining();
        self.draining.retain(|id, _| idle.contains(id));
        let mut ended = Vec::new();
        for id in idle {
            let since = *self.draining.entry(id).or_insert(now);
            let open =
                self.maps.counters_of(id).map_or(0, |counters| view::open_connections(&counters));
            if open == 0 || now.duration_since(since) > DRAIN_MAX {
                ended.push(id);
            }
        }
        if ended.is_empty() {
            return Ok(());
        }
        let plan = self.compiler()?.retire(&ended);
        self.execute(&plan)
    }

    pub(crate) fn held(&self) -> Result<Held, DatapathError> {
        let entries = self.maps.entries()?;
        let epoch = self.maps.config()?.epoch.0;
        Ok(view::held(epoch, &entries, self.compiler.as_ref(), |id| self.maps.counters_of(id)))
    }

    pub(crate) fn maps(&self) -> &Maps {
        &self.maps
    }

    pub(crate) fn take_events(&mut self) -> Option<RingBuf<MapData>> {
        self.maps.take_events()
    }

    fn place(&mut self) -> Result<(), DatapathError> {
        let facts = self.facts.clone();
        let plan = self.compiler()?.place(&facts);
        self.execute(&plan)
    }

    fn compiler(&mut self) -> Result<&mut Compiler, DatapathError> {
        let compiler = match self.compiler.take() {
            Some(compiler) => compiler,
            None => Compiler::adopt(self.maps.entries()?),
        };
        Ok(self.compiler.insert(compiler))
    }

    /// Carries a plan out if all of it fits. After a failure what the maps hold is read anew before the next plan.
    fn execute(&mut self, plan: &Plan) -> Result<(), DatapathError> {
        let done = self.check_room(plan).and_then(|()| self.maps.execute(plan));
        if done.is_err() {
            self.compiler = None;
        }
        done
    }

    /// The fullest moment is between the last write and the first removal.
    fn check_room(&mut self, plan: &Plan) -> Result<(), DatapathError> {
        let Some(compiler) = &self.compiler else { return Ok(()) };
        let gone = &plan.gone;
        let leaving = [
            gone.frontends.len(),
            gone.slots.len(),
            gone.backends.len(),
            gone.endpoints.len(),
            gone.netns.len(),
        ];
        for (usage, leaving) in compiler.entries().usage().into_iter().zip(leaving) {
            let wanted = usage.entries + leaving;
            if wanted > usage.limit as usize {
                return Err(DatapathError::Full { map: usage.map, limit: usage.limit, wanted });
            }
            if usage.percent() < PRESSURE_PERCENT {
                self.pressed.remove(usage.map);
            } else if self.pressed.insert(usage.map) {
                tracing::warn!(
                    map = usage.map,
                    entries = usage.entries,
                    limit = usage.limit,
                    "map is nearly full"
                );
            }
        }
        Ok(())
    }

    fn write_config(&mut self, epoch: Epoch) -> Result<(), DatapathError> {
        self.maps.set_config(KernelConfig {
            layout_version: LAYOUT_VERSION,
            flags: CONFIG_LAZY_EVENTS,
            epoch: AbiEpoch(epoch.0),
        })
    }
}
