//! A datapath that is stopped and started again under load: nobody notices. Maps of another layout: refused while in use.
//!
//! Skips, saying so, without root, cgroup v2 or a kernel object.

#![expect(clippy::unwrap_used, reason = "a test whose world cannot be made fails")]

#[cfg(test)]
#[path = "restart/owner.rs"]
mod owner;
#[cfg(test)]
#[path = "outside/world.rs"]
#[expect(dead_code, reason = "shared with the tests of callers outside, which do more with it")]
mod world;

use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpStream, UdpSocket},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use aya::maps::{Array, HashMap, Map, MapData, MapInfo};
use beeline_abi::{LAYOUT_VERSION, Track, Tuple, maps};
use beeline_datapath::{Config, Datapath};
use beeline_sys::netns;
use beeline_tables::Snapshot;
use beeline_test_support::Net;
use owner::Owner;
use world::{NODE_PORT, PATIENCE, SERVER_PORT, Shape, V4, World, address, ask, tables, talk};

/// How often the datapath is replaced. An emulated machine takes half a minute to verify the programs.
fn restarts() -> u32 {
    if std::env::var_os("BEELINE_EMULATED").is_some() { 10 } else { 100 }
}

/// Every so many, of each kind, the programs are of another version: loaded anew, and put in the place of those that stand.
const VERSION: u32 = 9;
/// Times the number of the restart: those that are killed while they start have come from nowhere to nearly all the way.
const KILLED_AFTER: Duration = Duration::from_millis(1);
/// Between two requests of one caller.
const PAUSE: Duration = Duration::from_millis(10);

/// Who asks again and again until told to stop; each answer must come, and be `expected`.
struct Load {
    stop: Arc<AtomicBool>,
    callers: Vec<thread::JoinHandle<Result<(), String>>>,
    answers: Vec<Arc<AtomicU32>>,
}

impl Load {
    fn new() -> Self {
        Self { stop: Arc::default(), callers: Vec::new(), answers: Vec::new() }
    }

    fn caller(
        &mut self,
        what: &'static str,
        net: &Net,
        expected: &'static str,
        mut request: impl FnMut() -> String + Send + 'static,
    ) {
        let (path, stop, answers) = (net.path(), Arc::clone(&self.stop), Arc::default());
        self.answers.push(Arc::clone(&answers));
        self.callers.push(thread::spawn(move || {
            netns::enter(&path).unwrap();
            while !stop.load(Ordering::Relaxed) {
                let answer = request();
                if answer != expected {
                    let number = answers.load(Ordering::Relaxed);
                    return Err(format!("{what}: answer {number} is {answer:?}"));
                }
                answers.fetch_add(1, Ordering::Relaxed);
                thread::sleep(PAUSE);
            }
            Ok(())
        }));
    }

    /// One long connection, new connections, datagrams of one socket and of new ones.
    fn from(&mut self, net: &Net, to: SocketAddr, expected: &'static str) {
        let mut stream = None;
        self.caller("a long connection", net, expected, move || {
            talk(stream.get_or_insert_with(|| TcpStream::connect_timeout(&to, PATIENCE).unwrap()))
        });
        self.caller("new connections", net, expected, move || {
            match TcpStream::connect_timeout(&to, PATIENCE) {
                Ok(mut stream) => talk(&mut stream),
                Err(error) => format!("error {}", error.kind()),
            }
        });
        let mut socket = None;
        self.caller("datagrams of one socket", net, expected, move || {
            ask(socket.get_or_insert_with(|| datagrams(to)))
        });
        self.caller("datagrams of new sockets", net, expected, move || ask(&datagrams(to)));
    }

    /// Answers of each caller; fails with the complaint of the first that has one.
    fn end(self) -> Vec<u32> {
        self.stop.store(true, Ordering::Relaxed);
        for caller in self.callers {
            caller.join().unwrap().unwrap();
        }
        self.answers.iter().map(|answers| answers.load(Ordering::Relaxed)).collect()
    }

    fn is_well(&self) -> bool {
        self.callers.iter().all(|caller| !caller.is_finished())
    }
}

fn datagrams(to: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.connect(to).unwrap();
    socket
}

fn map_ids(world: &World) -> BTreeMap<&'static str, u32> {
    let id = |name: &&'static str| (*name, MapInfo::from_pin(pin(world, name)).unwrap().id());
    maps::PINNED.iter().map(id).collect()
}

fn pin(world: &World, map: &str) -> PathBuf {
    world.config.bpf_root.join(&world.config.instance).join("maps").join(map)
}

/// Not a test: the process that owns the datapath.
#[test]
fn owner_process() {
    owner::serve();
}

#[test]
fn restarts_under_load_lose_nothing() {
    let Some(world) = World::new("0b0001") else { return };
    world.serve(&world.other, "other", SERVER_PORT);
    world.join_pods();
    let state = tables(1, &V4, &[V4.other], Shape::default());
    let first = world.start(Arc::clone(&state));
    let before = map_ids(&world);

    let mut load = Load::new();
    // From a pod by its sockets, from outside under the node's address.
    load.from(&world.pod, address(V4.cluster_ip, 80), "other 10.42.0.2");
    load.from(&world.client, address(V4.node, NODE_PORT), "other 192.0.2.1");
    drop(first);
    let (begin, restarts) = (Instant::now(), restarts());
    for number in 0..restarts {
        if number % VERSION == 0 {
            forget_programs(&world);
        }
        restart(&world, &state, number);
        if !load.is_well() {
            break;
        }
    }
    let took = begin.elapsed();
    let answers = load.end();
    eprintln!("{restarts} restarts in {took:?}; answers by caller: {answers:?}");
    assert!(answers.iter().all(|answers| *answers >= restarts), "{answers:?}");
    assert_eq!(map_ids(&world), before, "every program went on with the maps of the first");
    // Whatever the last one left undone, the next does.
    let running = world.start(state);
    assert_eq!(running.drops("conntrack_full"), 0);
    let [ours] = objects(&world).try_into().unwrap();
    assert!(!ours.ends_with("another"), "what another version left is gone");
}

/// A half ends as a process does that is told to; a quarter is killed at work, and a quarter while it starts.
fn restart(world: &World, state: &Arc<Snapshot>, number: u32) {
    match number % 4 {
        0 | 2 => drop(world.start(Arc::clone(state))),
        1 => assert!(Owner::start(world).is_in_force()),
        _ => {
            let _owner = Owner::start(world);
            thread::sleep(KILLED_AFTER * number);
        }
    }
}

/// What stands in the kernel seems to be of another version of the programs: under the fingerprint of another object.
fn forget_programs(world: &World) {
    let [ours] = objects(world).try_into().unwrap();
    std::fs::rename(&ours, ours.with_file_name("another")).unwrap();
}

/// Where programs are pinned, by the object that they are from.
fn objects(world: &World) -> Vec<PathBuf> {
    let Config { bpf_root, instance, .. } = &world.config;
    let entries = std::fs::read_dir(bpf_root.join(instance).join("programs")).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// Starts without a pod and without tables.
fn start_bare(world: &World) -> Result<(), String> {
    let start = || {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.unwrap();
        let started = runtime.block_on(Datapath::start(world.config.clone(), &world.tasks));
        let started = started.map(drop).map_err(|error| error.to_string());
        runtime.shutdown_timeout(Duration::from_secs(2));
        Ok(started)
    };
    netns::inside(&world.node.path(), start).unwrap()
}

#[test]
fn another_layout_is_refused_while_connections_from_outside_are_tracked() {
    let Some(world) = World::new("0b0002") else { return };
    world.serve(&world.other, "other", SERVER_PORT);
    let running = world.start(tables(1, &V4, &[V4.other], Shape::default()));
    let (socket, answer) = world.datagram(&world.client, V4.node, NODE_PORT);
    assert_eq!(answer, "other 192.0.2.1");
    running.wait(running.datapath.retain_endpoints([].into())).unwrap();
    drop(running);
    let before = map_ids(&world);

    let map = Map::Array(MapData::from_pin(pin(&world, maps::CONFIG)).unwrap());
    let mut config: Array<_, beeline_abi::Config> = map.try_into().unwrap();
    let ours = config.get(&0, 0).unwrap();
    config.set(0, beeline_abi::Config { layout_version: 999, ..ours }, 0).unwrap();
    let error = start_bare(&world).unwrap_err();
    for part in ["layout version 999", &format!("version {LAYOUT_VERSION}"), "0 pods", "2 uplinks"]
    {
        assert!(error.contains(part), "{part} is not in: {error}");
    }
    assert_eq!(map_ids(&world), before);
    assert_eq!(ask(&socket), "other 192.0.2.1", "what was refused changed nothing");

    // Nothing is tracked any more: nothing is lost.
    let map = Map::HashMap(MapData::from_pin(pin(&world, maps::CONNTRACK)).unwrap());
    let mut table: HashMap<_, Tuple, Track> = map.try_into().unwrap();
    let keys: Vec<Tuple> = table.keys().map(Result::unwrap).collect();
    for key in keys {
        table.remove(&key).unwrap();
    }
    start_bare(&world).unwrap();
    assert_ne!(map_ids(&world), before);
}
