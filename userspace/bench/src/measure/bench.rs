//! One mode at work in one world, with a client and a server.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::{Values, memory};
use crate::{
    BenchError,
    figure::Kind,
    mode::{self, Mode, ModeName},
    options::{ENDPOINTS, Options, Profile},
    rules::{model::Cluster, sample},
    worker::{Answer, Order, Worker},
    world::{Folder, World},
};

/// Services that clients connect to, in turn: those that come early and those that come late in a list.
const TARGETS_MAX: usize = 16;
/// A changed endpoint that is not used after this long is a failure.
const CHANGE_LIMIT_MS: u64 = 10_000;

/// One mode at work.
pub struct Bench {
    name: ModeName,
    // Processes end before the world that they are in.
    mode: Box<dyn Mode>,
    client: Worker,
    server: Worker,
    pub(super) world: World,
    /// What is loaded now, and what the next change brings.
    now: Cluster,
    next: Cluster,
    targets: Vec<SocketAddr>,
}

impl Bench {
    /// Make its world, and load nothing yet.
    pub fn new(
        name: ModeName,
        services: usize,
        options: &Options,
        folder: &Folder,
    ) -> Result<Self, BenchError> {
        let unavailable = |message| BenchError::Worker { place: name.name().to_owned(), message };
        let mode = mode::open(name, &options.launcher).map_err(unavailable)?;
        let world = World::new(&format!("{}-{services}", name.name()), folder)?;
        let [client_cpu, server_cpu] = cpus();
        let launcher = &options.launcher;
        let cgroup = world.cgroup.as_deref();
        let client = Worker::start(launcher, &world.client, cgroup, client_cpu)?;
        let mut server = Worker::start(launcher, &world.backend, None, server_cpu)?;
        server.tell(&Order::Listen { port: sample::ENDPOINT_PORT })?;
        let now = sample::measured(services, ENDPOINTS);
        let mut next = now.clone();
        next.services[0].endpoints = vec![sample::changed_endpoint(services, ENDPOINTS)];
        let step = services.div_ceil(TARGETS_MAX).max(1);
        let measured = now.services.iter().skip(2).step_by(step);
        let targets = measured.map(|service| mode.target(service)).collect();
        Ok(Self { name, mode, client, server, world, now, next, targets })
    }

    /// Which mode.
    pub fn name(&self) -> ModeName {
        self.name
    }

    pub(super) fn mode_mut(&mut self) -> &mut dyn Mode {
        self.mode.as_mut()
    }

    pub(super) fn mode(&self) -> &dyn Mode {
        self.mode.as_ref()
    }

    pub(super) fn cluster(&self) -> &Cluster {
        &self.now
    }

    /// Load everything, several times if that does not take long. It stays loaded.
    pub fn load(&mut self, options: &Options, values: &mut Values) -> Result<(), BenchError> {
        let Profile { loads, load_limit, .. } = options.profile;
        let start = Instant::now();
        for number in 0..loads.max(1) {
            if number > 0 {
                if start.elapsed() > load_limit {
                    break;
                }
                self.mode.unload(&self.world)?;
            }
            let before = memory::kernel_bytes()?;
            let took = self.mode.load(&self.world, &self.now)?;
            if self.name == ModeName::Direct {
                return Ok(());
            }
            values.push(Kind::Load, self.name, millis(took));
            let bytes = match self.mode.memory()? {
                Some(bytes) => bytes,
                None => memory::kernel_bytes()?.saturating_sub(before),
            };
            values.push(Kind::Memory, self.name, mebibytes(bytes));
        }
        Ok(())
    }

    /// Replace one endpoint and wait for the first connection to the new one.
    pub fn change(&mut self, values: &mut Values) -> Result<(), BenchError> {
        if self.name == ModeName::Direct {
            return Ok(());
        }
        let took = self.mode.change(&self.world, &self.now, &self.next)?;
        let service = &self.next.services[0];
        let order = Order::Await {
            target: self.mode.target(service),
            endpoint: service.endpoints[0].address,
            limit_millis: CHANGE_LIMIT_MS,
        };
        let Answer::Nanos(nanos) = self.client.tell(&order)? else {
            return Err(self.client.complain("no time for a change".to_owned()));
        };
        values.push(Kind::Change, self.name, millis(took + Duration::from_nanos(nanos)));
        std::mem::swap(&mut self.now, &mut self.next);
        Ok(())
    }

    /// Everything about connections.
    pub fn connections(
        &mut self,
        options: &Options,
        values: &mut Values,
    ) -> Result<(), BenchError> {
        let Profile { connects, round_trips, duration, .. } = options.profile;
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let order = Order::Connect { targets: self.targets.clone(), count: connects };
        let kinds = [Kind::ConnectP50, Kind::ConnectP99];
        self.latency(&order, kinds, values)?;
        self.exchanges(millis, values)?;
        let Some(target) = self.targets.last().copied() else { return Ok(()) };
        let order = Order::RoundTrips { target, count: round_trips };
        self.latency(&order, [Kind::RoundTripP50, Kind::RoundTripP99], values)?;
        let (bytes, seconds) = self.count(&Order::Bulk { target, millis })?;
        values.push(Kind::Bulk, self.name, bytes * 8.0 / seconds / 1e9);
        Ok(())
    }

    fn latency(
        &mut self,
        order: &Order,
        [p50, p99]: [Kind; 2],
        values: &mut Values,
    ) -> Result<(), BenchError> {
        let Answer::Latency(latency) = self.client.tell(order)? else {
            return Err(self.client.complain(format!("no latency for {order:?}")));
        };
        values.push(p50, self.name, latency.p50_us);
        values.push(p99, self.name, latency.p99_us);
        Ok(())
    }

    fn exchanges(&mut self, millis: u64, values: &mut Values) -> Result<(), BenchError> {
        let before = self.cpu_seconds()?;
        let order = Order::Exchange { targets: self.targets.clone(), millis };
        let (count, seconds) = self.count(&order)?;
        let busy = self.cpu_seconds()? - before;
        values.push(Kind::Exchanges, self.name, count / seconds);
        values.push(Kind::ExchangesPerCpu, self.name, count / busy);
        Ok(())
    }

    fn cpu_seconds(&mut self) -> Result<f64, BenchError> {
        let mut total = 0.0;
        for worker in [&mut self.client, &mut self.server] {
            let Answer::Nanos(nanos) = worker.tell(&Order::CpuTime)? else {
                return Err(worker.complain("no CPU time".to_owned()));
            };
            total += Duration::from_nanos(nanos).as_secs_f64();
        }
        Ok(total)
    }

    fn count(&mut self, order: &Order) -> Result<(f64, f64), BenchError> {
        let Answer::Count { count, nanos } = self.client.tell(order)? else {
            return Err(self.client.complain(format!("no count for {order:?}")));
        };
        Ok((super::values::to_f64(count), Duration::from_nanos(nanos).as_secs_f64()))
    }
}

/// One for the client, one for the server and for forwarding, of those that we may use; with a single one nobody is pinned.
pub(super) fn cpus() -> [Option<usize>; 2] {
    let Ok(allowed) = rustix::thread::sched_getaffinity(None) else { return [None, None] };
    let mut usable = (0..rustix::thread::CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu));
    match (usable.next(), usable.next()) {
        (Some(first), Some(second)) => [Some(first), Some(second)],
        _ => [None, None],
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn mebibytes(bytes: u64) -> f64 {
    super::values::to_f64(bytes) / 1024.0 / 1024.0
}
