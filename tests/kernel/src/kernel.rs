//! The object, loaded once per test: programs verified, maps typed.

use std::collections::BTreeMap;
use std::io::ErrorKind;

use anyhow::{Context as _, Result, anyhow};
use aya::maps::{Array, HashMap, LpmTrie, MapData, PerCpuArray, PerCpuValues, RingBuf, lpm_trie};
use aya::programs::{
    CgroupAttachMode, Program, ProgramError, SchedClassifier, TestRun as _, TestRunOptions, Xdp,
    XdpMode,
};
use aya::util::nr_cpus;
use aya::{Ebpf, Pod, VerifierLogLevel};
use beeline_abi::{
    Addr, Backend, BackendCounters, BackendId, BackendState, Be16, Config, Connection, Counter,
    DropCount, DropReason, Endpoint, EndpointId, FlowEvent, FlowLink, FlowState, Frontend,
    FrontendKey, Identity, List, ListId, NetnsOwner, Proto, ServiceId, Slot, maps,
};

use crate::Cgroup;

/// Places kept apart for each list that a test makes, and lists for each Service.
const PLACES_EACH: u32 = 16;
const LISTS_EACH: u32 = 16;

/// The verifier gives up with EAGAIN when a signal arrives meanwhile; it is asked this often, as by the agent.
const VERIFY_ATTEMPTS: u32 = 10;

/// The programs and maps of one loaded object.
pub struct Kernel {
    /// The object.
    pub bpf: Ebpf,
}

/// A value that is kept once per CPU, summed.
pub trait Sum: Sized {
    /// Adds up what the CPUs hold.
    fn sum(values: &[Self]) -> Self;
}

impl Sum for u64 {
    fn sum(values: &[Self]) -> Self {
        values.iter().sum()
    }
}

impl Sum for DropCount {
    fn sum(values: &[Self]) -> Self {
        values.iter().fold(DropCount::default(), |sum, value| DropCount {
            packets: sum.packets + value.packets,
            bytes: sum.bytes + value.bytes,
            reported_ns: 0,
        })
    }
}

impl Kernel {
    /// Loads the object and has every program verified.
    pub fn load() -> Result<Self> {
        Self::load_with(|_| {})
    }

    /// The same, after `adjust` lowered limits.
    pub fn load_with(adjust: impl FnOnce(&mut aya::EbpfLoader<'_>)) -> Result<Self> {
        let mut loader = aya::EbpfLoader::new();
        loader.verifier_log_level(VerifierLogLevel::STATS);
        adjust(&mut loader);
        let mut bpf = loader.load_file(crate::object()).context("load the object")?;
        for (name, program) in bpf.programs_mut() {
            let mut verify = || match &mut *program {
                Program::SchedClassifier(program) => Ok(program.load()),
                Program::CgroupSockAddr(program) => Ok(program.load()),
                Program::CgroupSock(program) => Ok(program.load()),
                Program::SockOps(program) => Ok(program.load()),
                Program::Xdp(program) => Ok(program.load()),
                other => {
                    Err(anyhow!("{name} is of a type nobody expects: {:?}", other.prog_type()))
                }
            };
            let mut verified = verify()?;
            for _ in 1..VERIFY_ATTEMPTS {
                match &verified {
                    Err(ProgramError::LoadError { io_error, .. })
                        if io_error.kind() == ErrorKind::WouldBlock =>
                    {
                        verified = verify()?;
                    }
                    _ => break,
                }
            }
            verified.with_context(|| format!("verify {name}"))?;
        }
        Ok(Kernel { bpf })
    }

    /// Attaches every socket program to a cgroup.
    pub fn attach_sockets(&mut self, cgroup: &Cgroup) -> Result<()> {
        let file = cgroup.open()?;
        for (name, program) in self.bpf.programs_mut() {
            let attempt = || format!("attach {name}");
            match program {
                Program::CgroupSockAddr(program) => {
                    program.attach(&file, CgroupAttachMode::Single).with_context(attempt)?;
                }
                Program::CgroupSock(program) => {
                    program.attach(&file, CgroupAttachMode::Single).with_context(attempt)?;
                }
                Program::SockOps(program) => {
                    program.attach(&file, CgroupAttachMode::Single).with_context(attempt)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A packet program.
    pub fn classifier(&mut self, name: &str) -> Result<&mut SchedClassifier> {
        Ok(self.bpf.program_mut(name).with_context(|| format!("find {name}"))?.try_into()?)
    }

    /// Sends one frame through a packet program as if at link `ifindex` of the calling thread's namespace.
    /// Gives the program's result and the frame afterwards.
    pub fn send(&mut self, program: &str, ifindex: u32, frame: &[u8]) -> Result<(i32, Vec<u8>)> {
        let mut context = vec![0u8; 192];
        context[40..44].copy_from_slice(&ifindex.to_ne_bytes());
        let mut out = vec![0u8; frame.len() + 64];
        let mut options = TestRunOptions::new();
        options.data_in = Some(frame);
        options.data_out = Some(&mut out);
        options.ctx_in = Some(&context);
        let result = self
            .classifier(program)?
            .test_run(options)
            .with_context(|| format!("run {program}"))?;
        out.truncate(usize::try_from(result.data_size_out)?);
        Ok((i32::from_ne_bytes(result.return_value.to_ne_bytes()), out))
    }

    /// Puts a driver program into a link of the calling thread's namespace: only such a link's frames may be sent through it.
    pub fn attach_driver(&mut self, program: &str, ifindex: u32) -> Result<()> {
        let attempt = || format!("attach {program} to the driver of link {ifindex}");
        self.driver(program)?.attach_to_if_index(ifindex, XdpMode::Driver).with_context(attempt)?;
        Ok(())
    }

    /// Sends one frame through a driver program as if it arrived by link `ifindex` of the calling thread's namespace.
    /// Gives the program's result and the frame afterwards.
    pub fn receive(&mut self, program: &str, ifindex: u32, frame: &[u8]) -> Result<(u32, Vec<u8>)> {
        // `struct xdp_md`: begin, end, metadata, link, queue.
        let context: Vec<u8> = [0, u32::try_from(frame.len())?, 0, ifindex, 0, 0]
            .into_iter()
            .flat_map(u32::to_ne_bytes)
            .collect();
        let mut out = vec![0u8; frame.len() + 64];
        let mut options = TestRunOptions::new();
        options.data_in = Some(frame);
        options.data_out = Some(&mut out);
        options.ctx_in = Some(&context);
        let result =
            self.driver(program)?.test_run(options).with_context(|| format!("run {program}"))?;
        out.truncate(usize::try_from(result.data_size_out)?);
        Ok((result.return_value, out))
    }

    fn driver(&mut self, name: &str) -> Result<&mut Xdp> {
        Ok(self.bpf.program_mut(name).with_context(|| format!("find {name}"))?.try_into()?)
    }

    /// Nanoseconds that one frame costs a packet program, over `repeat` runs.
    pub fn cost(&mut self, program: &str, ifindex: u32, frame: &[u8], repeat: u32) -> Result<u128> {
        let mut context = vec![0u8; 192];
        context[40..44].copy_from_slice(&ifindex.to_ne_bytes());
        let mut options = TestRunOptions::new();
        options.data_in = Some(frame);
        options.ctx_in = Some(&context);
        options.repeat = repeat;
        let result = self
            .classifier(program)?
            .test_run(options)
            .with_context(|| format!("run {program}"))?;
        Ok(result.duration.as_nanos())
    }

    /// A hash map.
    pub fn hash<K: Pod, V: Pod>(&mut self, name: &str) -> Result<HashMap<&mut MapData, K, V>> {
        Ok(self.bpf.map_mut(name).with_context(|| format!("find {name}"))?.try_into()?)
    }

    /// Empties a hash map.
    pub fn clear<K: Pod, V: Pod>(&mut self, name: &str) -> Result<()> {
        let mut map = self.hash::<K, V>(name)?;
        let keys: Vec<K> = map.keys().collect::<Result<_, _>>()?;
        Ok(keys.iter().try_for_each(|key| map.remove(key))?)
    }

    /// A prefix of a prefix trie: as many bits of what follows the length in its keys.
    pub fn prefix<K: Pod>(&mut self, name: &str, bits: u32, key: K, value: u32) -> Result<()> {
        let mut map: LpmTrie<_, K, u32> =
            self.bpf.map_mut(name).with_context(|| format!("find {name}"))?.try_into()?;
        Ok(map.insert(&lpm_trie::Key::new(bits, key), value, 0)?)
    }

    /// Empties a prefix trie.
    pub fn clear_prefixes<K: Pod>(&mut self, name: &str) -> Result<()> {
        let mut map: LpmTrie<_, K, u32> =
            self.bpf.map_mut(name).with_context(|| format!("find {name}"))?.try_into()?;
        let keys: Vec<_> = map.keys().collect::<Result<_, _>>()?;
        Ok(keys.iter().try_for_each(|key| map.remove(key))?)
    }

    /// Everything a hash map holds.
    pub fn dump<K: Pod, V: Pod>(&mut self, name: &str) -> Result<Vec<(K, V)>> {
        Ok(self.hash::<K, V>(name)?.iter().collect::<Result<_, _>>()?)
    }

    /// A frontend with its backends, as one new list; callers inside and outside have the same.
    pub fn service(
        &mut self,
        key: FrontendKey,
        service: u32,
        list: u32,
        backends: &[(BackendId, Addr, u16)],
    ) -> Result<()> {
        let list = self.list(key, service * LISTS_EACH + list, backends)?;
        let service_id = ServiceId(service);
        let frontend = Frontend { service_id, inside: list, outside: list, ..Frontend::default() };
        self.frontend(key, frontend)
    }

    /// A frontend as it is.
    pub fn frontend(&mut self, key: FrontendKey, frontend: Frontend) -> Result<()> {
        Ok(self.hash(maps::SERVICES)?.insert(key, frontend, 0)?)
    }

    /// A list of backends, in places of its own; the number decides which.
    pub fn list(
        &mut self,
        key: FrontendKey,
        number: u32,
        backends: &[(BackendId, Addr, u16)],
    ) -> Result<List> {
        let proto = Proto::from_raw(key.proto).context("a protocol that Services have")?;
        let first = number * PLACES_EACH;
        for (index, (id, addr, port)) in (first..).zip(backends) {
            let (port, identity) = (Be16::from_host(*port), Identity(400 + id.0));
            let backend = Backend::new(*addr, port, proto, BackendState::Active, identity);
            self.array::<Backend>(maps::BACKENDS)?.set(id.0, backend, 0)?;
            let slot = Slot { backend_id: *id, list_id: ListId(number) };
            self.array::<Slot>(maps::BACKEND_SLOTS)?.set(index, slot, 0)?;
        }
        Ok(List { first, count: u32::try_from(backends.len())?, id: ListId(number) })
    }

    /// An array map.
    pub fn array<V: Pod>(&mut self, name: &str) -> Result<Array<&mut MapData, V>> {
        Ok(self.bpf.map_mut(name).with_context(|| format!("find {name}"))?.try_into()?)
    }

    /// A network namespace that is ours.
    pub fn owns(&mut self, netns_cookie: u64, identity: u32, addr: Addr) -> Result<()> {
        let owner = NetnsOwner {
            identity: Identity(identity),
            endpoint_id: EndpointId(identity),
            addr,
            ..NetnsOwner::default()
        };
        Ok(self.hash(maps::NETNS)?.insert(netns_cookie, owner, 0)?)
    }

    /// An address with a name.
    pub fn endpoint(&mut self, addr: Addr, endpoint: Endpoint) -> Result<()> {
        Ok(self.hash(maps::ENDPOINTS)?.insert(addr, endpoint, 0)?)
    }

    /// Flags of the node.
    pub fn config(&mut self, config: Config) -> Result<()> {
        let mut map: Array<_, Config> =
            self.bpf.map_mut(maps::CONFIG).context("find the config")?.try_into()?;
        Ok(map.set(0, config, 0)?)
    }

    /// What was counted for a backend.
    pub fn backend(&mut self, id: BackendId) -> Result<BackendCounters> {
        Ok(self.array(maps::BACKEND_COUNTERS)?.get(&id.0, 0)?)
    }

    /// A counter.
    pub fn counter(&mut self, counter: Counter) -> Result<u64> {
        self.per_cpu(maps::COUNTERS, counter as u32)
    }

    /// Drops for a reason.
    pub fn drops(&mut self, reason: DropReason) -> Result<DropCount> {
        self.per_cpu(maps::DROPS, u32::from(reason as u16))
    }

    fn per_cpu<V: Pod + Sum>(&mut self, name: &str, index: u32) -> Result<V> {
        let map: PerCpuArray<_, V> =
            self.bpf.map_mut(name).with_context(|| format!("find {name}"))?.try_into()?;
        Ok(V::sum(&map.get(&index, 0)?))
    }

    /// Sets all of a per-CPU array to zero.
    pub fn zero<V: Pod + Default>(&mut self, name: &str) -> Result<()> {
        let mut map: PerCpuArray<_, V> =
            self.bpf.map_mut(name).with_context(|| format!("find {name}"))?.try_into()?;
        let cpus = nr_cpus().map_err(|(file, error)| anyhow!("count CPUs in {file}: {error}"))?;
        (0..map.len()).try_for_each(|index| {
            let zeroes = PerCpuValues::try_from(vec![V::default(); cpus])?;
            Ok(map.set(index, zeroes, 0)?)
        })
    }

    /// Every event that waits in the ring.
    pub fn events(&mut self) -> Result<Vec<FlowEvent>> {
        let mut ring: RingBuf<_> =
            self.bpf.map_mut(maps::EVENTS).context("find the ring")?.try_into()?;
        let mut events = Vec::new();
        while let Some(item) = ring.next() {
            events.push(FlowEvent::from_bytes(&item).context("an event of this layout")?);
        }
        Ok(events)
    }

    /// Records of translated sockets, by cookie.
    pub fn connections(&mut self) -> Result<BTreeMap<u64, Connection>> {
        Ok(self.dump(maps::CONNECTIONS)?.into_iter().collect())
    }

    /// States of all flows.
    pub fn flows(&mut self) -> Result<Vec<(beeline_abi::FlowKey, FlowState)>> {
        self.dump(maps::FLOWS)
    }

    /// Links of all flows.
    pub fn links(&mut self) -> Result<Vec<(beeline_abi::Tuple, FlowLink)>> {
        self.dump(maps::FLOW_LINKS)
    }

    /// Instructions the verifier walked, by program.
    pub fn verified(&self) -> Result<BTreeMap<String, (u32, u32)>> {
        self.bpf
            .programs()
            .map(|(name, program)| {
                let info = program.info()?;
                let size = info.size_translated().unwrap_or_default() / 8;
                Ok((name.to_owned(), (info.verified_instruction_count().unwrap_or_default(), size)))
            })
            .collect()
    }
}
