//! `sessionAffinity: ClientIP`: a client stays with its backend until it has been silent for long enough.

use std::{collections::BTreeSet, sync::Arc};

use aya::maps::{HashMap, Map, MapData};
use beeline_abi::{Affinity, AffinityKey};
use beeline_tables::{Service, Snapshot};
use beeline_test_support::Net;

use crate::{
    intent::{Intent, service, slice},
    world,
    world::{V4, World},
};

/// Longer than sixteen calls take on a busy machine, shorter than any machine has been up.
const PATIENCE_S: u32 = 30;

fn sticky(epoch: u64, backends: &[&str]) -> Arc<Snapshot> {
    let service = Service { affinity_timeout_s: Some(PATIENCE_S), ..service(&[&V4]) };
    Intent::new().service(service).slice(slice("web-1", backends)).at(epoch)
}

/// Makes bonds look as if nothing had been heard of their clients since the machine started.
fn age(world: &World) {
    let path = world.config.bpf_root.join(&world.config.instance).join("maps/AFFINITY");
    let map = Map::LruHashMap(MapData::from_pin(path).unwrap());
    let mut map: HashMap<_, AffinityKey, Affinity> = map.try_into().unwrap();
    let all: Vec<(AffinityKey, Affinity)> = map.iter().map(Result::unwrap).collect();
    for (client, bond) in all {
        map.insert(client, Affinity { used_ns: 0, ..bond }, 0).unwrap();
    }
}

fn name(answer: &str) -> &str {
    answer.split(' ').next().unwrap()
}

/// Both backends in turn, if silence ends the bond: chosen evenly each time, so that one alone is as good as impossible.
fn met_after_silence(world: &World, caller: &Net, address: &str) -> BTreeSet<String> {
    let call = |_| {
        age(world);
        name(&world.call(caller, address, 80)).to_owned()
    };
    (0..48).map(call).collect()
}

#[test]
fn clients_everywhere_stay_until_they_were_silent() {
    let Some(world) = world("0c0015") else { return };
    let running = world.start(sticky(1, &[V4.pod, V4.other]));
    for caller in [&world.pod, &world.node, &world.client] {
        for address in [V4.cluster_ip, V4.external] {
            let first = world.call(caller, address, 80);
            for _ in 0..16 {
                assert_eq!(world.call(caller, address, 80), first, "{address}");
            }
            let met = met_after_silence(&world, caller, address);
            assert_eq!(met, ["other", "pod"].map(str::to_owned).into(), "{address}");
        }
    }
    assert!(running.counter("affinity_hits") >= 6 * 16);
}

#[test]
fn a_pod_moves_on_when_its_backend_leaves() {
    let Some(world) = world("0c0016") else { return };
    let running = world.start(sticky(1, &[V4.pod, V4.other]));
    let first = world.call(&world.pod, V4.cluster_ip, 80);
    let left = if name(&first) == "pod" { V4.other } else { V4.pod };
    running.reconcile(sticky(2, &[left]));
    let second = world.call(&world.pod, V4.cluster_ip, 80);
    assert_ne!(first, second);
    // And stays where it went when the first is back.
    running.reconcile(sticky(3, &[V4.pod, V4.other]));
    for _ in 0..16 {
        assert_eq!(world.call(&world.pod, V4.cluster_ip, 80), second);
    }
}
