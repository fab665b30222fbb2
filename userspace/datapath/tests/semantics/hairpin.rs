//! A pod that reaches itself through its Service.

use crate::{
    answer, frontends,
    intent::Intent,
    world,
    world::{V4, V6},
};

#[test]
fn a_pod_reaches_itself_by_every_frontend_of_its_service() {
    let Some(world) = world("0c0001") else { return };
    for (epoch, family) in [(1, &V4), (2, &V6)] {
        let running = world.start(Intent::web(family, &[family.pod]).at(epoch));
        for (address, port) in frontends(family) {
            let seen = format!("pod {}", family.pod);
            assert_eq!(answer(&world, &world.pod, address, port), seen, "{address}:{port}");
        }
        assert_eq!(running.drops("spoofed_source"), 0);
    }
}
