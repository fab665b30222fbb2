//! The state of one agent's datapath and the steps that change it. Synchronous: the actor runs one at a time.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::{Duration, Instant},
};

use aya::maps::{MapData, RingBuf};
use beeline_abi::{
    Addr, BackendId, Be16, CONFIG_DSR, CONFIG_EVERY_CALLER, CONFIG_HOST_PORTS, CONFIG_LAZY_EVENTS,
    CONFIG_MASQUERADE, CONFIG_NO_FLOW_RECORDS, Config as KernelConfig, Epoch as AbiEpoch, Identity,
    LAYOUT_VERSION,
};
use beeline_compile::{Attached, Compiler, Facts, Overflow, Plan, Usage};
use beeline_tables::{Epoch, Snapshot};
use tokio::sync::watch;

use crate::{
    Config, DatapathError, EndpointAttach, Held, LbMode, endpoints,
    layout::{self, Found},
    maps::Maps,
    pins::Pins,
    programs::Programs,
    uplinks, view,
};

/// How long a removed backend keeps its counters when connections to it never end.
const DRAIN_MAX: Duration = Duration::from_secs(15 * 60);
/// From here on a map's fullness is worth a warning.
const PRESSURE_PERCENT: usize = 80;

/// Where Kubernetes gives node ports unless told otherwise. Others work too, at the price of one more look-up for each connection.
const NODE_PORTS: (u16, u16) = (30_000, 32_767);

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
    config: Config,
    draining: BTreeMap<BackendId, Instant>,
    /// Maps that are nearly full, for those who want to tell somebody.
    pub(crate) pressed: watch::Sender<BTreeMap<&'static str, Usage>>,
    /// How full the table of tracked connections was at the last look.
    tracked: Option<Usage>,
}

impl Kernel {
    /// Mounts, loads, adopts, replaces; returns with programs in force.
    pub(crate) fn open(config: &Config) -> Result<Self, DatapathError> {
        let pins = Pins::prepare(config)?;
        let found = layout::check(&pins)?;
        let programs = Programs::load(&pins, config)?;
        let maps = Maps::open(&pins)?;
        let entries = maps.entries()?;
        let mut facts = Facts {
            node: config.node.clone(),
            host_addresses: config.host_addresses.iter().copied().collect(),
            node_port_addresses: config.node_port_addresses.iter().copied().collect(),
            loopback_node_ports: config.loopback_node_ports,
            cluster_ranges: config.cluster_ranges.iter().copied().collect(),
            host_netns: Some(beeline_sys::netns::cookie_of_self()?),
            attached: Facts::attached_in(&entries),
        };
        let alive = endpoints::adopt(&programs, &pins)?;
        facts.attached.retain(|_, attached| alive.contains(&attached.ifindex));
        let (draining, pressed) = (BTreeMap::new(), watch::Sender::default());
        let compiler = Some(Compiler::adopt(&entries, maps.limits()));
        let config = config.clone();
        let mut kernel = Self {
            pins,
            programs,
            maps,
            compiler,
            facts,
            config,
            draining,
            pressed,
            tracked: None,
        };
        let epoch = kernel.maps.config()?.epoch;
        kernel.write_config(Epoch(epoch.0))?;
        kernel.place()?;
        kernel.programs.attach_cgroup(&kernel.pins, &kernel.config.cgroup_root)?;
        uplinks::attach(&kernel.programs, &kernel.pins, &kernel.config)?;
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
        let plan = ready(&mut self.compiler, &self.maps)?.update(snapshot, &self.facts);
        self.execute(&plan)?;
        self.write_config(plan.epoch)?;
        Ok(InForce { epoch: plan.epoch, writes: plan.writes(), took: start.elapsed() })
    }

    /// Who it is comes first, so that the first packet finds it; then the programs.
    pub(crate) fn attach(&mut self, endpoint: &EndpointAttach) -> Result<(), DatapathError> {
        for address in &endpoint.addresses {
            let known = self.facts.attached.get(address);
            let known = known.filter(|known| known.ifindex == endpoint.ifindex);
            let attached = Attached {
                uid: Some(endpoint.uid.clone()),
                ifindex: endpoint.ifindex,
                netns_cookie: endpoint.netns_cookie,
                pod_mac: endpoint.pod_mac,
                host_mac: endpoint.host_mac,
                identity: known.map_or(Identity::UNKNOWN, |known| known.identity),
            };
            self.facts.attached.insert(*address, attached);
        }
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
        let idle = ready(&mut self.compiler, &self.maps)?.draining();
        self.draining.retain(|id, _| idle.contains(id));
        let mut ended = Vec::new();
        for id in idle {
            let since = *self.draining.entry(id).or_insert(now);
            let open = view::open_connections(&self.maps.counters_of(id));
            if open == 0 || now.duration_since(since) > DRAIN_MAX {
                ended.push(id);
            }
        }
        if ended.is_empty() {
            return Ok(());
        }
        let plan = ready(&mut self.compiler, &self.maps)?.retire(&ended);
        self.execute(&plan)
    }

    /// Ends tracked connections that are over.
    pub(crate) fn collect_tracked(&mut self) -> Result<(), DatapathError> {
        let usage = self.maps.collect_tracked()?;
        self.press(&usage);
        self.tracked = Some(usage);
        Ok(())
    }

    /// Removes all tracked connections.
    pub(crate) fn forget_tracked(&mut self) -> Result<(), DatapathError> {
        let usage = self.maps.forget_tracked()?;
        self.press(&usage);
        self.tracked = Some(usage);
        Ok(())
    }

    /// Sockets whose datagrams go to a backend that no list names any more; each backend is looked at once.
    pub(crate) fn left_sockets(&mut self) -> Result<BTreeSet<u64>, DatapathError> {
        let left = ready(&mut self.compiler, &self.maps)?.take_left();
        let of_datagrams = left.into_iter().filter(|id| self.maps.has_datagram_connections(*id));
        let backends: BTreeSet<BackendId> = of_datagrams.collect();
        if backends.is_empty() {
            return Ok(BTreeSet::new());
        }
        self.maps.datagram_sockets_of(&backends)
    }

    pub(crate) fn held(&self) -> Result<Held, DatapathError> {
        let entries = self.maps.entries()?;
        let epoch = self.maps.config()?.epoch.0;
        let counters = |id| self.maps.counters_of(id);
        let mut held = view::held(epoch, &entries, self.compiler.as_ref(), counters);
        held.maps.extend(self.tracked.as_ref().map(view::usage));
        Ok(held)
    }

    pub(crate) fn maps(&self) -> &Maps {
        &self.maps
    }

    pub(crate) fn take_events(&mut self) -> Option<RingBuf<MapData>> {
        self.maps.take_events()
    }

    fn place(&mut self) -> Result<(), DatapathError> {
        let plan = ready(&mut self.compiler, &self.maps)?.place(&self.facts);
        self.execute(&plan)
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
        if let Some(Overflow { map, limit, wanted }) = plan.overflow {
            return Err(DatapathError::Full { map, limit, wanted });
        }
        let Some(compiler) = &self.compiler else { return Ok(()) };
        let usages = compiler.usage();
        for usage in &usages {
            let wanted = usage.entries + plan.gone.leaving(usage.map);
            if wanted > usage.limit as usize {
                return Err(DatapathError::Full { map: usage.map, limit: usage.limit, wanted });
            }
        }
        for usage in &usages {
            self.press(usage);
        }
        Ok(())
    }

    /// Warns once when a map becomes nearly full.
    fn press(&self, usage: &Usage) {
        let Usage { map, entries, limit } = *usage;
        self.pressed.send_if_modified(|pressed| {
            if usage.percent() < PRESSURE_PERCENT {
                return pressed.remove(map).is_some();
            }
            let fresh = pressed.insert(map, *usage).is_none();
            if fresh {
                tracing::warn!(map, entries, limit, "map is nearly full");
            }
            fresh
        });
    }

    /// What the programs need to know of this node; written only when it changed.
    fn write_config(&mut self, epoch: Epoch) -> Result<(), DatapathError> {
        let mut flags = CONFIG_LAZY_EVENTS;
        let host_ports = self.compiler.as_ref().is_some_and(Compiler::has_host_ports);
        for (set, flag) in [
            (self.config.every_caller, CONFIG_EVERY_CALLER),
            (self.config.lb_mode == LbMode::Dsr, CONFIG_DSR),
            (self.config.masquerade, CONFIG_MASQUERADE),
            (!self.config.flow_records, CONFIG_NO_FLOW_RECORDS),
            (host_ports, CONFIG_HOST_PORTS),
        ] {
            flags |= if set { flag } else { 0 };
        }
        let known = self.maps.config()?;
        let own = |ipv4| {
            let told = self.compiler.as_ref().and_then(|compiler| compiler.own_address(ipv4));
            // Until the tables come, the address that stands is as good as it was: callers must not see another for a moment.
            let stands = IpAddr::from(if ipv4 { known.node_addr } else { known.node_addr6 });
            let kept = self.facts.host_addresses.contains(&stands).then_some(stands);
            let found = self.facts.host_addresses.iter().find(|it| it.is_ipv4() == ipv4).copied();
            told.or(kept).or(found).map_or(Addr::NONE, Addr::from)
        };
        let (first, last) = self.config.snat_ports;
        let wanted = KernelConfig {
            layout_version: LAYOUT_VERSION,
            flags,
            epoch: AbiEpoch(epoch.0),
            node_addr: own(true),
            node_addr6: own(false),
            snat_port_first: Be16::from_host(first),
            snat_port_last: Be16::from_host(last),
            node_port_first: Be16::from_host(NODE_PORTS.0),
            node_port_last: Be16::from_host(NODE_PORTS.1),
        };
        if known == wanted { Ok(()) } else { self.maps.set_config(wanted) }
    }
}

/// The compiler, which after a failed write has to begin with what the maps hold.
fn ready<'a>(
    compiler: &'a mut Option<Compiler>,
    maps: &Maps,
) -> Result<&'a mut Compiler, DatapathError> {
    match compiler {
        Some(compiler) => Ok(compiler),
        None => Ok(compiler.insert(Compiler::adopt(&maps.entries()?, maps.limits()))),
    }
}
