//! What an agent makes of Pods that another one left.

use beeline_container::runtime::{ContainerState as Found_, Exit};

use super::*;
use crate::wanted;

fn adopted(policy: &str, state: Found_, prior: &Prior) -> (Walk, Vec<String>) {
    let mut walk = Walk::new(simple(policy));
    let container = FoundContainer {
        name: "c".into(),
        attempt: 3,
        id: id("c", 3),
        image_id: "sha256:a".into(),
        state,
    };
    let found = Found { pid: 9, containers: vec![container] };
    let (state, actions) = adopt(Arc::clone(&walk.state.wanted), Some(found), prior, walk.now);
    walk.state = state;
    (walk, actions.iter().map(describe).collect())
}

#[test]
fn what_still_runs_is_adopted_untouched() {
    let running = Found_::Running { pid: 11, started_at: UNIX_EPOCH };
    let (mut walk, actions) = adopted("Always", running, &Prior::default());
    assert_eq!(actions, ["Connect 9"]);
    assert_eq!(walk.step(Event::Tick), ["PrepareVolumes"]);
    walk.step(Event::VolumesReady);
    assert_eq!(walk.step(Event::Connected { addresses: ADDRESS.into() }), [""; 0]);
    assert!(walk.state.slots[0].is_ready());
    assert_eq!(walk.state.slots[0].attempt, 3);
    assert_eq!(walk.exit(0, 1), ["Remove", "ResolveImage 0"]);
}

#[test]
fn an_agent_that_comes_back_takes_no_ready_pod_out_of_service() {
    let mut spec = simple("Always");
    spec["containers"][0]["readinessProbe"] = json!({"tcpSocket": {"port": 80}});
    let mut before = pod(spec.clone());
    let status = |restarts: u32| {
        json!({"phase": "Running", "containerStatuses": [{"name": "c", "image": "web:1", "imageID": "",
            "ready": true, "started": true, "restartCount": restarts,
            "state": {"running": {"startedAt": "2026-01-01T00:00:05Z"}}}]})
    };
    for (restarts, ready) in [(3, true), (2, false)] {
        before.status = Some(serde_json::from_value(status(restarts)).unwrap());
        let walk = Walk::new(spec.clone());
        let container = FoundContainer {
            name: "c".into(),
            attempt: 3,
            id: id("c", 3),
            image_id: "sha256:a".into(),
            state: Found_::Running { pid: 11, started_at: UNIX_EPOCH },
        };
        let found = Found { pid: 9, containers: vec![container] };
        let prior = wanted::prior(&before);
        let (state, _) = adopt(Arc::clone(&walk.state.wanted), Some(found), &prior, walk.now);
        assert_eq!(state.slots[0].is_ready(), ready, "{restarts}");
    }
}

#[test]
fn what_ended_while_nobody_looked_is_restarted_or_over() {
    let exit = Exit {
        code: 0,
        signal: None,
        oom: false,
        started_at: Some(UNIX_EPOCH),
        finished_at: UNIX_EPOCH,
        message: None,
    };
    let (mut walk, _) = adopted("Never", Found_::Exited(exit.clone()), &Prior::default());
    assert_eq!(walk.step(Event::Connected { addresses: ADDRESS.into() }), ["TearDown"]);
    let (mut walk, _) = adopted("Always", Found_::Exited(exit), &Prior::default());
    walk.step(Event::Connected { addresses: ADDRESS.into() });
    assert_eq!(walk.step(Event::VolumesReady), ["Remove", "ResolveImage 0"]);
    assert_eq!(walk.state.slots[0].attempt, 4);
}

#[test]
fn a_node_that_was_rebooted_knows_from_the_status() {
    let mut pod = pod(simple("Always"));
    let status = json!({"phase": "Running", "startTime": "2026-01-01T00:00:00Z", "containerStatuses": [{
        "name": "c", "image": "web:1", "imageID": "", "ready": true, "restartCount": 2,
        "state": {"running": {"startedAt": "2026-01-01T00:00:05Z"}}}]});
    pod.status = Some(serde_json::from_value(status).unwrap());
    let prior = wanted::prior(&pod);
    let mut walk = Walk::new(simple("Always"));
    walk.state = adopt(Arc::clone(&walk.state.wanted), None, &prior, walk.now).0;
    assert_eq!(walk.up_to_sandbox(), ["ResolveImage 0"]);
    assert_eq!(walk.state.slots[0].attempt, 3);
    assert_eq!(walk.state.slots[0].last.as_ref().unwrap().reason, "ContainerStatusUnknown");

    let mut walk = Walk::new(simple("Never"));
    walk.state = adopt(Arc::clone(&walk.state.wanted), None, &prior, walk.now).0;
    assert_eq!(walk.step(Event::Tick), ["TearDown"], "it cannot be started again");

    pod.status.as_mut().unwrap().phase = Some("Succeeded".into());
    let mut walk = Walk::new(simple("Never"));
    walk.state = adopt(Arc::clone(&walk.state.wanted), None, &wanted::prior(&pod), walk.now).0;
    assert_eq!(walk.state.stage, Stage::Over { restored: true });
    assert_eq!(walk.step(Event::Tick), [""; 0]);
    assert_eq!(walk.step(delete(30)), ["ReportGone"]);
}
