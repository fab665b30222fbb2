use std::{
    net::Ipv4Addr,
    sync::Arc,
    time::{Duration, Instant, UNIX_EPOCH},
};

use beeline_container::runtime::{ContainerId, PodUid};
use serde_json::{Value, json};

use super::*;
use crate::{
    lifecycle::{Backoff, Moment},
    wanted::Wanted,
};

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_767_225_600)
}

fn pod(policy: &str) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "shop", "uid": "u-1", "generation": 2},
        "spec": {"restartPolicy": policy, "containers": [{"name": "c", "image": "web:1"}]},
    }))
    .unwrap()
}

fn state(policy: &str) -> State {
    let moment = Moment { wall: now(), mono: Instant::now() };
    State::new(Arc::new(Wanted::of(&pod(policy))), moment)
}

fn id() -> ContainerId {
    ContainerId::of(&PodUid::new("u-1").unwrap(), "c", 0)
}

fn running(ready: bool) -> Run {
    Run::Running { id: id(), at: now(), started: true, ready, signalled: None, kill_at: None }
}

fn ended(code: i32) -> Ended {
    Ended {
        id: Some(id()),
        code,
        signal: None,
        reason: if code == 0 { "Completed" } else { "Error" }.to_owned(),
        message: None,
        started_at: Some(now()),
        finished_at: now(),
        seen: Instant::now(),
    }
}

fn shown(state: &State, policy: &str, before: Option<&PodStatus>) -> PodStatus {
    let facts = Facts { host_ips: Ipv4Addr::new(192, 168, 0, 2).into(), now: now() };
    pod_status(state, &pod(policy), before, facts)
}

fn json_of(status: &PodStatus) -> Value {
    serde_json::to_value(status).unwrap()
}

/// `Type=Status(reason)` for each condition.
fn conditions(status: &PodStatus) -> Vec<String> {
    let conditions = status.conditions.as_ref().unwrap();
    let one = |one: &k8s_openapi::api::core::v1::PodCondition| {
        let reason = one.reason.as_ref().map_or_else(String::new, |reason| format!("({reason})"));
        format!("{}={}{reason}", one.type_, one.status)
    };
    conditions.iter().map(one).collect()
}

#[test]
fn a_new_pod_is_pending_and_creating() {
    let status = shown(&state("Always"), "Always", None);
    let json = json_of(&status);
    assert_eq!(json["phase"], "Pending");
    assert_eq!(json["qosClass"], "BestEffort");
    assert_eq!(json["hostIP"], "192.168.0.2");
    assert_eq!(json["startTime"], "2026-01-01T00:00:00Z");
    assert_eq!(json["observedGeneration"], 2);
    assert!(json.get("podIP").is_none());
    let container = &json["containerStatuses"][0];
    assert_eq!(container["state"]["waiting"]["reason"], "ContainerCreating");
    assert_eq!((&container["ready"], &container["started"]), (&json!(false), &json!(false)));
    assert_eq!(
        conditions(&status),
        [
            "PodReadyToStartContainers=False",
            "Initialized=True",
            "Ready=False(ContainersNotReady)",
            "ContainersReady=False(ContainersNotReady)",
            "PodScheduled=True"
        ]
    );
    assert_eq!(json["conditions"][2]["message"], "containers with unready status: [c]");
}

#[test]
fn a_pod_of_both_families_shows_both_until_its_end() {
    let mut state = state("Always");
    let v6 = Some("fd42::7".parse().unwrap());
    let addresses = AddressPair { v4: Ipv4Addr::new(10, 42, 0, 7), v6 };
    state.sandbox = Sandbox::Ready { pid: 9, addresses };
    let v6 = Some("2001:db8::2".parse().unwrap());
    let host_ips = AddressPair { v4: Ipv4Addr::new(192, 168, 0, 2), v6 };
    let facts = Facts { host_ips, now: now() };
    let before = pod_status(&state, &pod("Always"), None, facts);
    let ips = serde_json::json!([{ "ip": "10.42.0.7" }, { "ip": "fd42::7" }]);
    assert_eq!((&json_of(&before)["podIP"], &json_of(&before)["podIPs"]), (&ips[0]["ip"], &ips));
    let hosts = serde_json::json!([{ "ip": "192.168.0.2" }, { "ip": "2001:db8::2" }]);
    assert_eq!(json_of(&before)["hostIPs"], hosts);
    state.sandbox = Sandbox::Connecting { pid: 9 };
    let again = json_of(&pod_status(&state, &pod("Always"), Some(&before), facts));
    assert_eq!(again["podIPs"], ips, "nobody forgets them while the agent starts anew");
}

#[test]
fn a_running_pod_has_an_address_and_is_ready_when_its_containers_are() {
    let mut state = state("Always");
    state.sandbox = Sandbox::Ready { pid: 9, addresses: Ipv4Addr::new(10, 42, 0, 7).into() };
    state.slots[0].image = Image::Present { id: "sha256:a".into() };
    state.slots[0].run = running(false);
    let before = shown(&state, "Always", None);
    assert_eq!(json_of(&before)["phase"], "Running");
    assert_eq!(json_of(&before)["podIPs"][0]["ip"], "10.42.0.7");
    assert!(conditions(&before).contains(&"Ready=False(ContainersNotReady)".to_owned()));
    state.slots[0].run = running(true);
    let facts =
        Facts { host_ips: Ipv4Addr::LOCALHOST.into(), now: now() + Duration::from_secs(60) };
    let status = pod_status(&state, &pod("Always"), Some(&before), facts);
    let json = json_of(&status);
    assert_eq!(json["containerStatuses"][0]["containerID"], format!("beeline://{}", id()));
    assert_eq!(json["containerStatuses"][0]["imageID"], "sha256:a");
    let time = |kind: &str, status: &PodStatus| {
        let all = status.conditions.as_ref().unwrap();
        all.iter()
            .find(|one| one.type_ == kind)
            .unwrap()
            .last_transition_time
            .clone()
            .unwrap()
            .0
            .as_second()
    };
    assert_eq!(time("Ready", &status) - time("Ready", &before), 60, "it changed now");
    assert_eq!(time("Initialized", &status), time("Initialized", &before), "it did not");
    assert_eq!(
        pod_status(&state, &pod("Always"), Some(&status), facts),
        status,
        "nothing new to tell"
    );
}

#[test]
fn a_crash_loop_reads_as_upstreams() {
    let mut state = state("Always");
    state.sandbox = Sandbox::Ready { pid: 9, addresses: Ipv4Addr::new(10, 42, 0, 7).into() };
    let slot = &mut state.slots[0];
    slot.attempt = 4;
    slot.run = Run::Ended(ended(1));
    slot.backoff = Some(Backoff { delay: Duration::from_secs(160), since: Instant::now() });
    slot.told = true;
    let json = json_of(&shown(&state, "Always", None));
    assert_eq!(json["phase"], "Running");
    let container = &json["containerStatuses"][0];
    assert_eq!(container["restartCount"], 4);
    assert_eq!(container["state"]["waiting"]["reason"], "CrashLoopBackOff");
    assert_eq!(
        container["state"]["waiting"]["message"],
        "back-off 2m40s restarting failed container=c pod=web_shop(u-1)"
    );
    assert_eq!(container["lastState"]["terminated"]["exitCode"], 1);
    assert_eq!(container["lastState"]["terminated"]["reason"], "Error");
}

#[test]
fn waiting_for_an_image_has_three_words() {
    let mut state = state("Always");
    state.sandbox = Sandbox::Ready { pid: 9, addresses: Ipv4Addr::new(10, 42, 0, 7).into() };
    let missing = |backing_off| Image::Missing {
        at: Instant::now(),
        delay: Duration::from_secs(10),
        backing_off,
    };
    let waiting = |state: &State| {
        let json = json_of(&shown(state, "Always", None));
        json["containerStatuses"][0]["state"]["waiting"].clone()
    };
    state.slots[0].image = missing(false);
    assert_eq!(waiting(&state)["reason"], "ErrImagePull");
    assert!(waiting(&state)["message"].as_str().unwrap().contains("not on this node"));
    state.slots[0].image = missing(true);
    assert_eq!(waiting(&state)["reason"], "ImagePullBackOff");
    let message = waiting(&state)["message"].as_str().unwrap().to_owned();
    assert!(
        message.starts_with("Back-off pulling image \"web:1\"")
            && message.contains("beeline image import")
    );
    Arc::make_mut(&mut state.wanted).containers[0].pull = PullPolicy::Never;
    assert_eq!(waiting(&state)["reason"], "ErrImageNeverPull");
}

#[test]
fn a_name_that_no_image_can_have_is_called_that() {
    let mut state = state("Always");
    Arc::make_mut(&mut state.wanted).containers[0].image = "Web:1".into();
    state.slots[0].image =
        Image::Missing { at: Instant::now(), delay: Duration::from_secs(10), backing_off: true };
    let waiting =
        json_of(&shown(&state, "Always", None))["containerStatuses"][0]["state"]["waiting"].clone();
    assert_eq!(waiting["reason"], "InvalidImageName");
    assert_eq!(
        waiting["message"],
        "Failed to apply default image tag \"Web:1\": couldn't parse image name \"Web:1\": \
         invalid reference format: repository name must be lowercase"
    );
}

#[test]
fn between_two_attempts_users_see_how_the_first_ended() {
    let mut state = state("Always");
    state.sandbox = Sandbox::Ready { pid: 9, addresses: Ipv4Addr::new(10, 42, 0, 7).into() };
    state.slots[0].attempt = 1;
    state.slots[0].last = Some(ended(3));
    for run in [Run::Idle, Run::Creating, Run::Starting { id: id() }] {
        state.slots[0].run = run;
        let container = json_of(&shown(&state, "Always", None))["containerStatuses"][0].clone();
        assert_eq!(container["state"]["terminated"]["exitCode"], 3);
        assert_eq!(container["restartCount"], 1);
    }
}

#[test]
fn ends_make_phases() {
    for (policy, code, stage, phase) in [
        ("Always", 0, Stage::Starting, "Running"),
        ("OnFailure", 1, Stage::Starting, "Running"),
        ("OnFailure", 0, Stage::Over { restored: false }, "Succeeded"),
        ("Never", 0, Stage::Over { restored: false }, "Succeeded"),
        ("Never", 2, Stage::Over { restored: false }, "Failed"),
        ("Always", 137, Stage::Gone, "Running"),
    ] {
        let mut state = state(policy);
        state.stage = stage;
        state.slots[0].run = Run::Ended(ended(code));
        let status = shown(&state, policy, None);
        assert_eq!(status.phase.as_deref(), Some(phase), "{policy} {code}");
        let terminated = &json_of(&status)["containerStatuses"][0]["state"]["terminated"];
        assert_eq!(terminated["exitCode"], code);
        if phase == "Succeeded" {
            assert!(conditions(&status).contains(&"Ready=False(PodCompleted)".to_owned()));
            assert!(conditions(&status).contains(&"Initialized=True".to_owned()));
        }
    }
}

#[test]
fn init_containers_hold_the_others_back() {
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "shop", "uid": "u-1"},
        "spec": {
            "initContainers": [{"name": "i", "image": "a"}],
            "containers": [{"name": "m", "image": "b",
                "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1", "memory": "1Gi"}}}],
        },
    }))
    .unwrap();
    let mut state =
        State::new(Arc::new(Wanted::of(&pod)), Moment { wall: now(), mono: Instant::now() });
    state.slots[0].run = running(true);
    let facts = Facts { host_ips: Ipv4Addr::LOCALHOST.into(), now: now() };
    let status = pod_status(&state, &pod, None, facts);
    let json = json_of(&status);
    assert_eq!(json["phase"], "Pending");
    assert_eq!(json["qosClass"], "Burstable", "the init container asks for nothing");
    assert_eq!(json["containerStatuses"][0]["state"]["waiting"]["reason"], "PodInitializing");
    assert!(json["initContainerStatuses"][0]["state"].get("running").is_some());
    let mut done = state.clone();
    done.slots[0].run = Run::Ended(ended(0));
    let main = json_of(&pod_status(&done, &pod, None, facts))["containerStatuses"][0].clone();
    assert_eq!(main["state"]["waiting"]["reason"], "PodInitializing", "until it runs itself");
    assert!(
        conditions(&status).contains(&"Initialized=False(ContainersNotInitialized)".to_owned())
    );
}

#[test]
fn readiness_gates_and_what_others_say_are_kept() {
    let mut gated = pod("Always");
    gated.spec.as_mut().unwrap().readiness_gates =
        Some(serde_json::from_value(json!([{"conditionType": "example.com/lb"}])).unwrap());
    let mut state = state("Always");
    state.sandbox = Sandbox::Ready { pid: 9, addresses: Ipv4Addr::new(10, 42, 0, 7).into() };
    state.slots[0].run = running(true);
    let facts = Facts { host_ips: Ipv4Addr::LOCALHOST.into(), now: now() };
    let status = pod_status(&state, &gated, None, facts);
    assert!(conditions(&status).contains(&"Ready=False(ReadinessGatesNotReady)".to_owned()));
    gated.status = Some(
        serde_json::from_value(
            json!({"conditions": [{"type": "example.com/lb", "status": "True"}]}),
        )
        .unwrap(),
    );
    let status = pod_status(&state, &gated, None, facts);
    assert!(conditions(&status).contains(&"Ready=True".to_owned()));
    assert!(conditions(&status).contains(&"example.com/lb=True".to_owned()));
}

#[test]
fn a_sandbox_that_is_looked_over_again_was_ready_all_the_time() {
    let mut state = state("Always");
    state.sandbox = Sandbox::Connecting { pid: 7 };
    let first = conditions(&shown(&state, "Always", None));
    assert!(first.contains(&"PodReadyToStartContainers=False".to_owned()), "{first:?}");
    state.slots[0].run = running(true);
    let adopted = conditions(&shown(&state, "Always", None));
    assert!(adopted.contains(&"PodReadyToStartContainers=True".to_owned()), "{adopted:?}");
}
