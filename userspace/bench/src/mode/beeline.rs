//! Ours: an agent in a process of its own, in the node's namespace.

use std::{path::PathBuf, time::Duration};

use beeline_datapath::{Config, State, cleanup, embedded, features};
use beeline_sys::netns;

use super::Mode;
use crate::{
    BenchError,
    options::ENDPOINTS,
    rules::model::Cluster,
    worker::{AgentPlace, Answer, Launcher, Order, Worker},
    world::{CLIENT, CLIENT_MAC, NODE, POD0_MAC, World},
};

/// The name of everything that the agent makes; each world has a bpffs of its own.
const INSTANCE: &str = "be0c40";

/// What an agent does beyond translating connections.
#[derive(Clone, Copy, Debug)]
pub struct Extras {
    /// Packets from outside are translated in the link's driver, not at its tc hook.
    pub in_driver: bool,
    /// Flows are recorded.
    pub flow_records: bool,
}

/// An agent, once there is something to load.
pub struct Beeline {
    launcher: Launcher,
    extras: Extras,
    agent: Option<Worker>,
    bpf_root: Option<PathBuf>,
}

impl Beeline {
    /// If the kernel has what the datapath needs.
    pub fn open(launcher: &Launcher, extras: Extras) -> Result<Box<dyn Mode>, String> {
        if !embedded() {
            return Err(
                "this build has no kernel object: cargo xtask build-ebpf, then build again"
                    .to_owned(),
            );
        }
        let cgroup = beeline_sys::cgroup::find_v2_mount().map_err(|error| error.to_string())?;
        let config = Config::new("/sys/fs/bpf/beeline", cgroup, INSTANCE, "node");
        let missing = features(&config)
            .into_iter()
            .find(|feature| feature.required && feature.state == State::Missing);
        if let Some(feature) = missing {
            return Err(format!("{}: {}: {}", feature.name, feature.why, feature.remedy));
        }
        Ok(Box::new(Self { launcher: launcher.clone(), extras, agent: None, bpf_root: None }))
    }

    fn start(&self, world: &World, services: usize) -> Result<Worker, BenchError> {
        let mut agent = Worker::start(&self.launcher, &world.node, None, None)?;
        let Some(cgroup_root) = world.cgroup.clone() else {
            return Err(agent.complain("no cgroup v2 is mounted".to_owned()));
        };
        let place = AgentPlace {
            bpf_root: world.folder.join("bpf"),
            cgroup_root,
            instance: INSTANCE.to_owned(),
            node: NODE,
            uplink: "up0".to_owned(),
            in_driver: self.extras.in_driver,
            backends: room_for(services),
            flow_records: self.extras.flow_records,
            client: CLIENT,
            client_cookie: netns::cookie_of_path(&world.client.path())?,
            client_macs: [CLIENT_MAC, POD0_MAC],
            client_ifindex: world.node.ifindex("pod0")?,
        };
        agent.tell(&Order::AgentStart(place))?;
        Ok(agent)
    }

    /// End the agent and remove all that it pinned.
    fn stop(&mut self) -> Result<(), BenchError> {
        self.agent = None;
        let Some(bpf_root) = self.bpf_root.take() else { return Ok(()) };
        cleanup(&bpf_root, INSTANCE)
            .map_err(|error| no_agent(format!("remove what it pinned: {error}")))
    }

    fn time(&mut self, order: &Order) -> Result<Duration, BenchError> {
        match self.tell(order)? {
            Answer::Nanos(nanos) => Ok(Duration::from_nanos(nanos)),
            other => Err(no_agent(format!("{other:?} instead of a time"))),
        }
    }

    fn tell(&mut self, order: &Order) -> Result<Answer, BenchError> {
        match &mut self.agent {
            Some(agent) => agent.tell(order),
            None => Err(no_agent("it was not started".to_owned())),
        }
    }
}

impl Drop for Beeline {
    fn drop(&mut self) {
        // What cannot be removed now goes with the run's folder.
        let _ = self.stop();
    }
}

/// Backends of so many Services, and of changes whose backends still drain.
fn room_for(services: usize) -> u32 {
    const DRAINING: usize = 4096;
    u32::try_from(services.saturating_mul(ENDPOINTS) + DRAINING).unwrap_or(u32::MAX)
}

fn no_agent(message: String) -> BenchError {
    BenchError::Worker { place: "agent".to_owned(), message }
}

impl Mode for Beeline {
    fn load(&mut self, world: &World, cluster: &Cluster) -> Result<Duration, BenchError> {
        self.bpf_root = Some(world.folder.join("bpf"));
        let services = cluster.services.len().saturating_sub(2);
        self.agent = Some(self.start(world, services)?);
        self.time(&Order::AgentLoad { services, endpoints: ENDPOINTS })
    }

    fn change(
        &mut self,
        _world: &World,
        _old: &Cluster,
        new: &Cluster,
    ) -> Result<Duration, BenchError> {
        let endpoint = new.services[0].endpoints[0].address;
        self.time(&Order::AgentChange { endpoint })
    }

    fn unload(&mut self, _world: &World) -> Result<(), BenchError> {
        self.stop()
    }

    fn forget(&mut self) -> Result<(), BenchError> {
        match self.tell(&Order::AgentForget)? {
            Answer::Done => Ok(()),
            other => Err(no_agent(format!("{other:?} instead of having forgotten"))),
        }
    }

    fn memory(&mut self) -> Result<Option<u64>, BenchError> {
        match self.tell(&Order::AgentMemory)? {
            Answer::Bytes(bytes) => Ok(Some(bytes)),
            other => Err(no_agent(format!("{other:?} instead of a size"))),
        }
    }
}
