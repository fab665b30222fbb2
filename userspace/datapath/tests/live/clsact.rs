//! A kernel without tcx, or one that is treated like it: filters of a clsact qdisc sit on the pod's link.

use beeline_datapath::LinkHook;

use crate::{hooks, world::World};

const FILTERS: [(&str, &str); 2] = [("ingress", "from_pod"), ("egress", "to_pod")];

/// The ids of the programs in our filters. Each direction has exactly one, of the name, place and handle that it should have.
fn programs(world: &World) -> Vec<u32> {
    let instance = world.config().instance;
    let id = |(direction, program): (&str, &str)| {
        let lines = world.tc(&["filter", "show", "dev", "pod0", direction]);
        let filters: Vec<_> = lines.iter().filter(|line| line.contains(" handle ")).collect();
        assert_eq!(filters.len(), 1, "{lines:#?}");
        assert!(filters[0].contains(" pref 190 bpf "), "{lines:#?}");
        let named = format!(" handle 0x1{instance} {program}-{instance} direct-action ");
        assert!(filters[0].contains(&named), "{lines:#?}");
        let text = lines.join(" ");
        let id = text.split(" id ").nth(1).and_then(|rest| rest.split(' ').next());
        id.unwrap().parse().unwrap()
    };
    FILTERS.into_iter().map(id).collect()
}

fn is_bare(world: &World) -> bool {
    world.tc(&["qdisc", "show", "dev", "pod0"]).iter().all(|line| !line.contains("clsact"))
}

#[test]
fn without_tcx_filters_do_the_work_and_another_version_replaces_them() {
    let Some(mut world) = World::with("a7b8c9", LinkHook::Clsact) else { return };
    let first = world.start(|world, datapath| async move {
        world.attach(&datapath).await;
        datapath.reconcile(world.tables(1, &[8080])).await.unwrap();
        let mut events = datapath.events(&world.tasks).await.unwrap();
        assert_eq!(world.pod.ask("connect 10.43.0.10:80"), "peer=10.43.0.10:80");
        assert_eq!(world.pod.ask("talk 0"), "8080");
        assert_eq!(hooks(&mut events, 3).await, ["connect", "from_pod", "to_pod"]);
    });
    let before = programs(&world);
    drop(first);
    assert_eq!(world.pod.ask("talk 0"), "8080");
    assert_eq!(programs(&world), before, "they outlive the process");
    drop(world.start(|_, _| async {}));
    assert_eq!(programs(&world), before, "and are taken over by one that has the same");

    world.forget_programs();

    let second = world.start(|world, datapath| async move {
        let feature = datapath.features().iter().find(|feature| feature.name == "tcx").unwrap();
        assert_eq!(feature.state, beeline_datapath::State::Substituted);
        let again = datapath.reconcile(world.tables(1, &[8080])).await.unwrap();
        assert_eq!(again.writes, 0, "the pod was adopted");
    });
    let after = programs(&world);
    assert!(before.iter().all(|id| !after.contains(id)), "{before:?} {after:?}");
    assert_eq!(world.pod.ask("talk 0"), "8080");

    second.run(|world, datapath| async move {
        world.attach(&datapath).await;
        datapath.detach_endpoint(world.ifindex).await.unwrap();
        assert!(world.link_pins().iter().all(|name| !name.contains("_pod-")));
    });
    assert!(is_bare(&world), "the last filter takes the qdisc along");
}

#[test]
fn filters_of_others_stay_and_ours_go_with_everything_else() {
    let Some(mut world) = World::with("b8c9da", LinkHook::Clsact) else { return };
    world.tc(&["qdisc", "add", "dev", "pod0", "clsact"]);
    let theirs = ["filter", "add", "dev", "pod0", "egress", "pref", "7", "bpf"];
    let matches_nothing = ["bytecode", "1,6 0 0 0", "flowid", "1:1"];
    world.tc(&[&theirs[..], &matches_nothing].concat());
    drop(world.start(|world, datapath| async move { world.attach(&datapath).await }));
    let pins = world.link_pins();
    assert_eq!(pins.iter().filter(|name| name.contains("_pod-")).count(), 2, "{pins:?}");
    world.clean_up();
    assert_eq!(world.tc(&["filter", "show", "dev", "pod0", "ingress"]), Vec::<String>::new());
    let left = world.tc(&["filter", "show", "dev", "pod0", "egress"]).join("\n");
    assert!(left.contains(" pref 7 ") && !left.contains(" pref 190 "), "{left}");
    assert!(!is_bare(&world));
}

#[test]
fn a_link_that_vanished_takes_its_filters_along() {
    let Some(mut world) = World::with("c9dae7", LinkHook::Clsact) else { return };
    drop(world.start(|world, datapath| async move { world.attach(&datapath).await }));
    world.delete_link();
    drop(world.start(|world, _| async move {
        assert!(world.link_pins().iter().all(|name| !name.contains("_pod-")));
    }));
}

#[test]
fn a_kernel_that_learned_tcx_gets_links_in_place_of_filters() {
    let Some(mut world) = World::with("dae7f8", LinkHook::Clsact) else { return };
    drop(world.start(|world, datapath| async move { world.attach(&datapath).await }));
    assert_eq!(programs(&world).len(), 2);
    world.set_link_hook(LinkHook::Newest);
    let running = world.start(|world, datapath| async move {
        world.attach(&datapath).await;
        datapath.reconcile(world.tables(1, &[8080])).await.unwrap();
    });
    let has_tcx = beeline_datapath::features(&world.config())
        .iter()
        .any(|feature| feature.name == "tcx" && feature.state == beeline_datapath::State::Used);
    assert_eq!(is_bare(&world), has_tcx);
    assert_eq!(world.pod.ask("connect 10.43.0.10:80"), "peer=10.43.0.10:80");
    drop(running);
}
