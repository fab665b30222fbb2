//! The datapath in a real kernel: in network namespaces, a cgroup and a bpffs of its own, all removed at the end.
//!
//! Skips, saying so, without root, cgroup v2 or a kernel object.

#[cfg(test)]
#[path = "live/clsact.rs"]
mod clsact;
#[cfg(test)]
#[path = "live/helper.rs"]
mod helper;
#[cfg(test)]
#[path = "live/world.rs"]
mod world;

use std::collections::BTreeSet;

use beeline_datapath::{Config, Datapath, DatapathError, EventBatch, charged_bytes};
use tokio::sync::mpsc::Receiver;
use world::World;

/// Not a test: the process that stands in a cgroup and a namespace and does as it is told.
#[test]
fn helper_process() {
    helper::serve();
}

#[test]
fn a_restart_changes_nothing_for_anybody() {
    let Some(mut world) = World::new("a1b2c3") else { return };
    let first = world.start(|world, datapath| async move {
        world.attach(&datapath).await;
        let in_force = datapath.reconcile(world.tables(1, &[8080])).await.unwrap();
        assert_eq!(in_force.epoch.0, 1);
        assert_eq!(datapath.in_force().borrow().epoch.0, 1);
    });
    assert_eq!(world.pod.ask("connect 10.43.0.10:80"), "peer=10.43.0.10:80");
    assert_eq!(world.pod.ask("talk 0"), "8080");
    assert_eq!(world.pod.ask("udp 10.43.0.10:53"), "from=10.43.0.10:53");
    let before = world.map_ids();
    assert_eq!(before.len(), beeline_abi::maps::PINNED.len());
    drop(first);

    // Nobody is there: what stands works on, and new connections are made.
    assert_eq!(world.pod.ask("talk 0"), "8080");
    assert_eq!(world.pod.ask("connect 10.43.0.10:80"), "peer=10.43.0.10:80");
    assert_eq!(world.pod.ask("talk 1"), "8080");

    let second = world.start(|world, datapath| async move {
        assert_eq!(datapath.in_force().borrow().epoch.0, 1, "the epoch is adopted");
        let held = datapath.services().await.unwrap();
        let backend = &held.services.iter().find(|s| s.protocol == "TCP").unwrap().backends[0];
        assert_eq!((backend.open, backend.opened), (2, 2), "counted while nobody watched");
        let again = datapath.reconcile(world.tables(1, &[8080])).await.unwrap();
        assert_eq!(again.writes, 0, "nothing changed, so nothing is written");
    });
    assert_eq!(world.map_ids(), before);
    assert_eq!(world.pod.ask("talk 0"), "8080");
    assert_eq!(world.pod.ask("connect 10.43.0.10:80"), "peer=10.43.0.10:80");
    assert_eq!(world.pod.ask("talk 2"), "8080");

    // Another backend: new connections go there, old ones stay, and the old backend drains.
    second.run(|world, datapath| async move {
        datapath.reconcile(world.tables(2, &[8081])).await.unwrap();
        let held = datapath.services().await.unwrap();
        assert_eq!(held.epoch, 2);
        let tcp = held.services.iter().find(|s| s.protocol == "TCP").unwrap();
        assert_eq!(tcp.service, "default/web");
        assert_eq!(tcp.backends.len(), 1);
        assert_eq!(tcp.backends[0].address.port(), 8081);
        assert!(
            held.draining.iter().any(|backend| backend.open == 3 && backend.address.port() == 8080)
        );
    });
    assert_eq!(world.pod.ask("talk 0"), "8080");
    assert_eq!(world.pod.ask("connect 10.43.0.10:80"), "peer=10.43.0.10:80");
    assert_eq!(world.pod.ask("talk 3"), "8081");
    for connection in 0..4 {
        world.pod.ask(&format!("close {connection}"));
    }
    second.run(|_, datapath| async move {
        datapath.collect().await.unwrap();
        let held = datapath.services().await.unwrap();
        assert!(held.draining.iter().all(|backend| backend.address.port() != 8080), "{held:?}");
    });
}

#[test]
fn what_the_kernel_charges_is_known_for_every_map() {
    const MIB: u64 = 1024 * 1024;
    let Some(mut world) = World::new("c4a26e") else { return };
    let running = world.start(|_, _| async {});
    let Config { bpf_root, instance, .. } = world.config();
    let empty = charged_bytes(&bpf_root, &instance).unwrap();
    if !world::counts_maps_as_they_are() {
        // The kernel tells what the maps may grow to.
        assert!(empty > 96 * MIB, "{empty}");
        return;
    }
    // The ring, three arrays and the LRU maps alone, which have their memory from the beginning.
    assert!((32 * MIB..96 * MIB).contains(&empty), "{empty}");
    running.run(|world, datapath| async move {
        datapath.reconcile(world.many(1, 1_000, 1)).await.unwrap();
    });
    let full = charged_bytes(&bpf_root, &instance).unwrap();
    assert!(full >= empty + 1_000 * 56, "a thousand frontends for {} bytes", full - empty);
}

/// Java, Node.js and others open IPv6 sockets for everything and dial IPv4 as `::ffff:a.b.c.d`.
#[test]
fn dual_stack_sockets_reach_services() {
    let Some(mut world) = World::new("d6d6d6") else { return };
    let running = world.start(|world, datapath| async move {
        world.attach(&datapath).await;
        datapath.reconcile(world.tables(1, &[8080])).await.unwrap();
    });
    let (tcp, udp) = ("[::ffff:10.43.0.10]:80", "[::ffff:10.43.0.10]:53");
    assert_eq!(world.pod.ask(&format!("connect {tcp}")), format!("peer={tcp}"));
    assert_eq!(world.pod.ask("talk 0"), "8080");
    assert_eq!(world.pod.ask(&format!("udp {udp}")), format!("from={udp}"));

    running.run(|world, datapath| async move {
        datapath.reconcile(world.tables(2, &[])).await.unwrap();
    });
    assert_eq!(world.pod.ask(&format!("connect {tcp}")), "error connection refused");
}

#[test]
fn nobody_else_is_touched_and_refusal_is_at_once() {
    let Some(mut world) = World::new("b2c3d4") else { return };
    let running = world.start(|world, datapath| async move {
        world.attach(&datapath).await;
        datapath.reconcile(world.tables(1, &[8080])).await.unwrap();
    });
    assert_eq!(
        world.host.ask("connect 10.43.0.10:80"),
        "peer=10.43.0.10:80",
        "the node itself is served"
    );
    let stranger = world.stranger.ask("connect 10.43.0.10:80");
    assert!(
        stranger.starts_with("error"),
        "a namespace that is not ours is left alone: {stranger}"
    );

    running.run(|world, datapath| async move {
        datapath.reconcile(world.tables(2, &[])).await.unwrap();
    });
    assert_eq!(world.pod.ask("connect 10.43.0.10:80"), "error connection refused");

    running.run(|world, datapath| async move {
        let drops = datapath.drops().await.unwrap();
        assert!(drops["no_backend"].packets >= 1, "{drops:?}");
        let counters = datapath.counters().await.unwrap();
        assert_eq!(counters["refused"] + counters["translated"], 2, "{counters:?}");
        // The endpoint leaves: its callers are strangers from now on, and its link carries nothing of ours.
        datapath.reconcile(world.tables(3, &[8080])).await.unwrap();
        datapath.detach_endpoint(world.ifindex).await.unwrap();
        assert!(world.link_pins().iter().all(|name| !name.contains("_pod-")));
    });
    let gone = world.pod.ask("connect 10.43.0.10:80");
    assert!(gone.starts_with("error") && gone != "error connection refused", "{gone}");
}

#[test]
fn events_name_what_happened() {
    let Some(mut world) = World::new("c3d4e5") else { return };
    let running = world.start(|world, datapath| async move {
        world.attach(&datapath).await;
        datapath.reconcile(world.tables(1, &[8080])).await.unwrap();
        let mut events = datapath.events(&world.tasks).await.unwrap();
        assert!(matches!(datapath.events(&world.tasks).await, Err(DatapathError::EventsTaken)));
        assert_eq!(world.pod.ask("connect 10.43.0.10:80"), "peer=10.43.0.10:80");
        assert_eq!(world.pod.ask("talk 0"), "8080");
        assert_eq!(hooks(&mut events, 3).await, ["connect", "from_pod", "to_pod"]);
    });
    drop(running);
}

/// The hooks that tell something, until so many did.
async fn hooks(events: &mut Receiver<EventBatch>, count: usize) -> Vec<&'static str> {
    let mut hooks = BTreeSet::new();
    while hooks.len() < count {
        let wait = std::time::Duration::from_secs(5);
        let batch = tokio::time::timeout(wait, events.recv()).await.expect("events in time");
        let batch = batch.expect("more events");
        let year = (batch.clock_offset_ns + batch.events[0].time_ns) / 1_000_000_000 / 31_556_952;
        assert!(year >= 54, "stamps become wall-clock time");
        hooks.extend(batch.events.iter().filter_map(|event| Some(event.hook()?.name())));
    }
    hooks.into_iter().collect()
}

#[test]
fn another_layout_is_replaced_without_pods_and_refused_with_them() {
    let Some(mut world) = World::new("d4e5f6") else { return };
    drop(world.start(|world, datapath| async move {
        datapath.reconcile(world.tables(7, &[8080])).await.unwrap();
    }));
    let before = world.map_ids();
    world.set_layout(999);
    drop(world.start(|world, datapath| async move {
        assert_eq!(datapath.in_force().borrow().epoch.0, 0);
        world.attach(&datapath).await;
    }));
    assert_ne!(world.map_ids(), before);
    world.set_layout(999);
    let error = world.try_start().unwrap_err().to_string();
    assert!(error.contains("layout version 999") && error.contains("1 pods"), "{error}");
    world.set_layout(beeline_abi::LAYOUT_VERSION);
    drop(world.start(|_, datapath: Datapath| async move {
        datapath.retain_endpoints(BTreeSet::new()).await.unwrap();
    }));
    assert!(world.link_pins().iter().all(|name| !name.contains("_pod-")));
}

#[test]
fn a_link_that_vanished_while_nobody_watched_is_forgotten() {
    let Some(mut world) = World::new("e5f6a7") else { return };
    drop(world.start(|world, datapath| async move {
        world.attach(&datapath).await;
        datapath.reconcile(world.tables(1, &[8080])).await.unwrap();
    }));
    world.delete_link();
    let running = world.start(|world, datapath| async move {
        assert!(world.link_pins().iter().all(|name| !name.contains("_pod-")));
        let plan = datapath.reconcile(world.tables(1, &[8080])).await.unwrap();
        assert_eq!(plan.writes, 2, "the address loses its link, the namespace its owner");
    });
    drop(running);
}

#[test]
fn ten_thousand_services_are_adopted_and_one_change_stays_small() {
    let Some(mut world) = World::new("f6a7b8") else { return };
    drop(world.start(|world, datapath| async move {
        let first = datapath.reconcile(world.many(1, 10_000, 1)).await.unwrap();
        assert_eq!(
            first.writes, 30_001,
            "frontend, place and backend of each, and the node's address"
        );
        eprintln!("10,000 Services in force after {:?}", first.took);
    }));
    drop(world.start(|world, datapath| async move {
        let again = datapath.reconcile(world.many(1, 10_000, 1)).await.unwrap();
        assert_eq!(again.writes, 0);
        let change = datapath.reconcile(world.many(2, 10_000, 2)).await.unwrap();
        assert_eq!(change.writes, 4);
        eprintln!("one endpoint among them after {:?}", change.took);
        let held = datapath.services().await.unwrap();
        assert_eq!(held.services.len(), 10_000);
        assert_eq!(held.services[0].backends.len(), 2);
    }));
}

#[test]
fn a_process_without_privilege_is_told_so() {
    let config = Config::new("/sys/fs/bpf/x", "/proc", "000000", "n");
    let features = beeline_datapath::features(&config);
    let cgroup = features.iter().find(|feature| feature.name == "cgroup v2").unwrap();
    assert!(cgroup.why.contains("/proc"), "{cgroup:?}");
    assert!(cgroup.remedy.contains("--cgroup-root"));
}
