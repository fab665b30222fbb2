//! A Pod is walked through its life; each test reads as the transcript of one.

mod adoption;

use std::{fmt::Write as _, net::Ipv4Addr, time::UNIX_EPOCH};

use beeline_container::runtime::PodUid;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::*;

struct Walk {
    state: State,
    now: Moment,
    begun: Instant,
}

fn pod(spec: Value) -> Pod {
    let mut pod = json!({"metadata": {"name": "web", "namespace": "shop", "uid": "u-1"}});
    pod["spec"] = spec;
    serde_json::from_value(pod).unwrap()
}

fn simple(policy: &str) -> Value {
    json!({"restartPolicy": policy, "containers": [{"name": "c", "image": "web:1"}]})
}

fn id(name: &str, attempt: u32) -> ContainerId {
    ContainerId::of(&PodUid::new("u-1").unwrap(), name, attempt)
}

const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 42, 0, 7);

impl Walk {
    fn new(spec: Value) -> Self {
        let begun = Instant::now();
        let now = Moment { wall: UNIX_EPOCH + Duration::from_secs(1_000_000), mono: begun };
        Self { state: State::new(Arc::new(Wanted::of(&pod(spec))), now), now, begun }
    }

    /// Step and describe what is to be done; notes as `reason: message`.
    fn step(&mut self, event: Event) -> Vec<String> {
        let (state, actions) = step(self.state.clone(), event, self.now);
        self.state = state;
        actions.iter().map(describe).collect()
    }

    /// Step, and only actions that are not notes.
    fn acts(&mut self, event: Event) -> Vec<String> {
        let mut acts = self.step(event);
        acts.retain(|act| !act.contains(": "));
        acts
    }

    fn wait(&mut self, seconds: u64) -> &mut Self {
        self.now.mono += Duration::from_secs(seconds);
        self.now.wall += Duration::from_secs(seconds);
        self
    }

    fn report(&mut self, slot: usize, report: Report) -> Vec<String> {
        let attempt = self.state.slots[slot].attempt;
        self.step(Event::Container { slot, attempt, report })
    }

    fn exit(&mut self, slot: usize, code: i32) -> Vec<String> {
        let attempt = self.state.slots[slot].attempt;
        let name = self.state.wanted.containers[slot].name.to_string();
        let ended = Ended {
            id: Some(id(&name, attempt)),
            code,
            signal: None,
            reason: if code == 0 { "Completed" } else { "Error" }.to_owned(),
            message: None,
            started_at: Some(self.now.wall),
            finished_at: self.now.wall,
            seen: self.now.mono,
        };
        self.report(slot, Report::Exited(ended))
    }

    /// From the image being looked for to running.
    fn bring_up(&mut self, slot: usize) -> Vec<String> {
        let name = self.state.wanted.containers[slot].name.to_string();
        let attempt = self.state.slots[slot].attempt;
        let mut told = self.step(Event::Image { slot, found: Some("sha256:a".into()) });
        told.extend(self.report(slot, Report::Created(id(&name, attempt))));
        told.extend(self.report(slot, Report::Started { at: self.now.wall }));
        told
    }

    fn up_to_sandbox(&mut self) -> Vec<String> {
        assert_eq!(self.step(Event::Tick), ["PrepareVolumes"]);
        assert_eq!(self.step(Event::VolumesReady), ["CreateSandbox"]);
        assert_eq!(self.step(Event::SandboxReady { pid: 9 }), ["Connect 9"]);
        self.step(Event::Connected { addresses: ADDRESS.into() })
    }

    fn running(spec: Value) -> Self {
        let mut walk = Self::new(spec);
        assert_eq!(walk.up_to_sandbox(), ["ResolveImage 0"]);
        walk.bring_up(0);
        walk
    }

    fn deadline(&self) -> Option<u64> {
        self.state.deadline(self.now.mono).map(|at| (at - self.begun).as_secs())
    }
}

fn describe(action: &Action) -> String {
    let mut text = String::new();
    let _ = match action {
        Action::Connect { pid } => write!(text, "Connect {pid}"),
        Action::ResolveImage { slot } => write!(text, "ResolveImage {slot}"),
        Action::Create { slot, attempt } => write!(text, "Create {slot}.{attempt}"),
        Action::Start { slot, attempt, .. } => write!(text, "Start {slot}.{attempt}"),
        Action::Signal { slot, how, .. } => write!(text, "{how:?} {slot}"),
        Action::Remove { .. } => write!(text, "Remove"),
        Action::Note(note) => write!(text, "{}: {}", note.reason, note.message),
        Action::PrepareVolumes
        | Action::CreateSandbox
        | Action::Drain
        | Action::TearDown
        | Action::ReportGone => write!(text, "{action:?}"),
    };
    text
}

fn delete(seconds: u64) -> Event {
    Event::Delete { grace: Duration::from_secs(seconds) }
}

#[test]
fn a_pod_comes_up_step_by_step() {
    let mut walk = Walk::new(simple("Always"));
    assert_eq!(walk.up_to_sandbox(), ["ResolveImage 0"]);
    assert_eq!(
        walk.step(Event::Image { slot: 0, found: Some("sha256:a".into()) }),
        ["Pulled: Container image \"web:1\" already present on machine", "Create 0.0"]
    );
    assert_eq!(
        walk.report(0, Report::Created(id("c", 0))),
        ["Created: Created container: c", "Start 0.0"]
    );
    assert_eq!(
        walk.report(0, Report::Started { at: walk.now.wall }),
        ["Started: Started container c"]
    );
    assert!(walk.state.slots[0].is_ready());
    assert_eq!(walk.step(Event::Tick), [""; 0]);
    assert_eq!(walk.deadline(), None);
}

#[test]
fn crashes_are_restarted_after_0_10_20_up_to_300_seconds() {
    let mut walk = Walk::running(simple("Always"));
    let mut waits = Vec::new();
    for _ in 0..8 {
        let ended = walk.now.mono;
        let mut acts = walk.exit(0, 1);
        if !acts.contains(&"ResolveImage 0".to_owned()) {
            assert_eq!(
                acts,
                ["BackOff: Back-off restarting failed container c in pod web_shop(u-1)"]
            );
            walk.now.mono = walk.state.deadline(walk.now.mono).unwrap();
            acts = walk.step(Event::Tick);
        }
        assert_eq!(acts, ["Remove", "ResolveImage 0"]);
        waits.push((walk.now.mono - ended).as_secs());
        walk.bring_up(0);
    }
    assert_eq!(waits, [0, 10, 20, 40, 80, 160, 300, 300]);
    assert_eq!(walk.state.slots[0].attempt, 8);
    walk.wait(601);
    assert_eq!(walk.exit(0, 1), ["Remove", "ResolveImage 0"], "ten good minutes wipe the slate");
    walk.bring_up(0);
    walk.exit(0, 1);
    let wait = walk.state.deadline(walk.now.mono).unwrap() - walk.now.mono;
    assert_eq!(wait, Duration::from_secs(10));
}

#[test]
fn the_policy_decides_what_follows_an_end() {
    for (policy, code, restarts) in [
        ("Always", 0, true),
        ("Always", 1, true),
        ("OnFailure", 0, false),
        ("OnFailure", 1, true),
        ("Never", 0, false),
        ("Never", 1, false),
    ] {
        let mut walk = Walk::running(simple(policy));
        let acts = walk.exit(0, code);
        let expected: &[&str] =
            if restarts { &["Remove", "ResolveImage 0"] } else { &["TearDown"] };
        assert_eq!(acts, expected, "{policy} {code}");
        if !restarts {
            assert_eq!(walk.step(Event::TornDown), [""; 0]);
            assert_eq!(walk.state.stage, Stage::Over { restored: false });
            assert_eq!(walk.step(delete(30)), ["ReportGone"]);
            assert_eq!(walk.state.stage, Stage::Gone);
        }
    }
}

#[test]
fn a_missing_image_is_an_error_then_waiting_then_looked_for_again() {
    let mut walk = Walk::new(simple("Always"));
    walk.up_to_sandbox();
    let told = walk.step(Event::Image { slot: 0, found: None });
    assert_eq!(told[0], "Pulling: Pulling image \"web:1\"");
    assert!(
        told[1].contains("Failed to pull image \"web:1\"")
            && told[1].contains("beeline image import")
    );
    assert_eq!(told[2], "Failed: Error: ErrImagePull");
    assert_eq!(walk.deadline(), Some(1));
    let told = walk.wait(1).step(Event::Tick);
    assert_eq!(
        told,
        ["BackOff: Back-off pulling image \"web:1\"", "Failed: Error: ImagePullBackOff"]
    );
    assert_eq!(walk.deadline(), Some(10));
    assert_eq!(walk.wait(9).step(Event::Tick), ["ResolveImage 0"]);
    walk.step(Event::Image { slot: 0, found: None });
    walk.wait(1).step(Event::Tick);
    assert_eq!(walk.deadline(), Some(30), "the wait doubles");
    assert_eq!(walk.step(Event::InputsChanged), ["ResolveImage 0"], "an import is noticed at once");
    assert_eq!(
        walk.step(Event::Image { slot: 0, found: Some("sha256:a".into()) }).pop().unwrap(),
        "Create 0.0"
    );
}

#[test]
fn never_means_never() {
    let mut spec = simple("Always");
    spec["containers"][0]["imagePullPolicy"] = "Never".into();
    let mut walk = Walk::new(spec);
    walk.up_to_sandbox();
    assert_eq!(
        walk.step(Event::Image { slot: 0, found: None }),
        [
            "ErrImageNeverPull: Container image \"web:1\" is not present with pull policy of Never",
            "Failed: Error: ErrImageNeverPull"
        ]
    );
}

#[test]
fn init_containers_go_first_and_one_by_one_and_sidecars_only_have_to_start() {
    let mut walk = Walk::new(json!({
        "restartPolicy": "Never",
        "initContainers": [
            {"name": "i1", "image": "a"},
            {"name": "side", "image": "b", "restartPolicy": "Always"},
            {"name": "i2", "image": "c"}
        ],
        "containers": [{"name": "m1", "image": "d"}, {"name": "m2", "image": "e"}]
    }));
    assert_eq!(walk.up_to_sandbox(), ["ResolveImage 0"]);
    walk.bring_up(0);
    assert_eq!(walk.exit(0, 0), ["ResolveImage 1"]);
    assert!(walk.bring_up(1).contains(&"ResolveImage 2".to_owned()));
    walk.bring_up(2);
    assert_eq!(walk.exit(2, 0), ["ResolveImage 3", "ResolveImage 4"]);
    walk.bring_up(3);
    walk.bring_up(4);
    assert_eq!(
        walk.exit(1, 1),
        ["Remove", "ResolveImage 1"],
        "a sidecar is restarted whatever the policy"
    );
    walk.bring_up(1);
    assert_eq!(walk.exit(3, 0), [""; 0]);
    assert_eq!(
        walk.exit(4, 0),
        ["Killing: Stopping container side", "Stop 1"],
        "and ends after the others"
    );
    assert_eq!(walk.exit(1, 0), ["TearDown"]);
}

#[test]
fn an_init_container_that_fails_for_good_ends_the_pod() {
    let mut walk = Walk::new(json!({
        "restartPolicy": "Never",
        "initContainers": [{"name": "i", "image": "a"}],
        "containers": [{"name": "m", "image": "b"}]
    }));
    walk.up_to_sandbox();
    walk.bring_up(0);
    assert_eq!(walk.exit(0, 3), ["TearDown"]);
}

#[test]
fn deletion_drains_then_asks_then_kills() {
    let mut walk = Walk::running(simple("Always"));
    assert_eq!(walk.step(delete(30)), ["Drain"]);
    assert_eq!(walk.deadline(), Some(2), "the wait for Services is bounded");
    assert_eq!(walk.step(Event::Drained), ["Killing: Stopping container c", "Stop 0"]);
    assert_eq!(walk.deadline(), Some(30));
    assert_eq!(walk.wait(29).step(Event::Tick), [""; 0]);
    assert_eq!(walk.wait(1).step(Event::Tick), ["Kill 0"]);
    assert_eq!(walk.step(Event::Tick), [""; 0], "once");
    assert_eq!(walk.exit(0, 137), ["TearDown"]);
    assert_eq!(walk.step(Event::TornDown), ["ReportGone"]);
    assert_eq!(walk.state.stage, Stage::Gone);
}

#[test]
fn deletion_goes_on_without_answers() {
    let mut walk = Walk::running(simple("Always"));
    walk.step(delete(30));
    assert_eq!(
        walk.wait(2).step(Event::Tick),
        ["Killing: Stopping container c", "Stop 0"],
        "no word of draining"
    );
    assert_eq!(walk.wait(28).step(Event::Tick), ["Kill 0"]);
    assert_eq!(walk.wait(5).step(Event::Tick), ["TearDown"], "no word of the end");
    let told = walk.step(Event::TearDownFailed("busy".into()));
    assert_eq!(told, ["FailedKillPod: error killing pod: busy"]);
    assert_eq!(walk.wait(2).step(Event::Tick), ["TearDown"]);
    assert_eq!(walk.step(Event::TornDown), ["ReportGone"]);
}

#[test]
fn deletion_can_be_hurried() {
    let mut walk = Walk::running(simple("Always"));
    walk.step(delete(30));
    walk.step(Event::Drained);
    assert_eq!(walk.step(delete(0)), ["Kill 0"]);
    let mut walk = Walk::running(simple("Always"));
    assert_eq!(
        walk.step(delete(0)),
        ["Killing: Stopping container c", "Kill 0"],
        "no grace, no draining"
    );
}

#[test]
fn a_sleeping_hook_delays_the_signal() {
    let mut spec = simple("Always");
    spec["containers"][0]["lifecycle"] = json!({"preStop": {"sleep": {"seconds": 5}}});
    let mut walk = Walk::running(spec);
    walk.step(delete(30));
    assert_eq!(walk.wait(1).step(Event::Drained), [""; 0]);
    assert_eq!(walk.deadline(), Some(6));
    assert_eq!(walk.wait(5).step(Event::Tick), ["Killing: Stopping container c", "Stop 0"]);
    assert_eq!(walk.deadline(), Some(30));
}

#[test]
fn deletion_before_anything_runs_waits_for_what_is_under_way() {
    let mut walk = Walk::new(simple("Always"));
    assert_eq!(walk.step(delete(30)), ["TearDown"]);
    assert_eq!(walk.step(Event::TornDown), ["ReportGone"]);

    let mut walk = Walk::new(simple("Always"));
    walk.step(Event::Tick);
    walk.step(Event::VolumesReady);
    assert_eq!(walk.step(delete(30)), [""; 0], "the sandbox is being made");
    assert_eq!(
        walk.step(Event::SandboxReady { pid: 9 }),
        ["TearDown"],
        "and is not connected any more"
    );

    let mut walk = Walk::new(simple("Always"));
    walk.up_to_sandbox();
    assert_eq!(walk.step(delete(30)), ["TearDown"], "an image is being looked for");

    let mut walk = Walk::new(simple("Always"));
    walk.up_to_sandbox();
    walk.step(Event::Image { slot: 0, found: Some("sha256:a".into()) });
    assert_eq!(walk.step(delete(30)), [""; 0]);
    assert_eq!(
        walk.report(0, Report::Created(id("c", 0))),
        ["Created: Created container: c", "Start 0.0"]
    );
    let told = walk.report(0, Report::Started { at: walk.now.wall });
    assert_eq!(told, ["Started: Started container c", "Killing: Stopping container c", "Stop 0"]);
}

#[test]
fn what_cannot_be_made_is_tried_again() {
    let mut walk = Walk::new(simple("Always"));
    walk.step(Event::Tick);
    let told = walk.step(Event::VolumesFailed("MountVolume.SetUp failed".into()));
    assert_eq!(told, ["FailedMount: MountVolume.SetUp failed"]);
    assert_eq!(walk.step(Event::Tick), [""; 0]);
    assert_eq!(walk.step(Event::InputsChanged), ["PrepareVolumes"]);
    walk.step(Event::VolumesReady);
    let told = walk.step(Event::SandboxFailed("no memory".into()));
    assert_eq!(told, ["FailedCreatePodSandBox: Failed to create pod sandbox: no memory"]);
    assert_eq!(walk.wait(1).step(Event::Tick), ["CreateSandbox"]);
    walk.step(Event::SandboxFailed("no memory".into()));
    assert_eq!(walk.wait(1).step(Event::Tick), [""; 0]);
    assert_eq!(walk.wait(1).step(Event::Tick), ["CreateSandbox"]);
    walk.step(Event::SandboxReady { pid: 9 });
    walk.step(Event::ConnectFailed("no address".into()));
    assert_eq!(walk.wait(30).step(Event::Tick), ["Connect 9"]);
    walk.step(Event::Connected { addresses: ADDRESS.into() });
    walk.step(Event::Image { slot: 0, found: Some("sha256:a".into()) });
    let failed = Report::CreateFailed {
        reason: "CreateContainerConfigError",
        message: "secret \"s\" not found".into(),
    };
    assert_eq!(walk.report(0, failed), ["Failed: Error: secret \"s\" not found"]);
    assert_eq!(walk.deadline(), Some(43));
    assert_eq!(walk.step(Event::InputsChanged), ["ResolveImage 0"]);
    walk.step(Event::Image { slot: 0, found: Some("sha256:a".into()) });
    walk.report(0, Report::Created(id("c", 0)));
    let failed = Report::StartFailed { message: "exec: \"x\": not found".into() };
    assert_eq!(
        walk.report(0, failed),
        ["Failed: Error: exec: \"x\": not found", "Remove", "ResolveImage 0"]
    );
    assert_eq!(walk.state.slots[0].last.as_ref().unwrap().code, 128);
}

#[test]
fn a_dead_sandbox_is_made_again_and_init_containers_run_again() {
    let mut walk = Walk::new(json!({
        "initContainers": [{"name": "i", "image": "a"}],
        "containers": [{"name": "m", "image": "b"}]
    }));
    walk.up_to_sandbox();
    walk.bring_up(0);
    walk.exit(0, 0);
    walk.bring_up(1);
    assert_eq!(
        walk.step(Event::SandboxDied),
        ["SandboxChanged: Pod sandbox changed, it will be killed and re-created.", "CreateSandbox"]
    );
    walk.step(Event::SandboxReady { pid: 10 });
    assert_eq!(walk.step(Event::Connected { addresses: ADDRESS.into() }), ["ResolveImage 0"]);
    walk.bring_up(0);
    assert_eq!(walk.exit(0, 0), ["Remove", "ResolveImage 1"]);
    assert_eq!((walk.state.slots[0].attempt, walk.state.slots[1].attempt), (1, 1));

    let mut walk = Walk::running(simple("Never"));
    let acts = walk.acts(Event::SandboxDied);
    assert_eq!(acts, ["TearDown"], "nothing to start again");
}

#[test]
fn probes_gate_readiness_and_kill_what_is_stuck() {
    let mut spec = simple("Always");
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        spec["containers"][0][probe] = json!({"tcpSocket": {"port": 80}});
    }
    let mut walk = Walk::running(spec);
    let probe =
        |kind, failure: Option<&str>| Report::Probe { kind, failure: failure.map(str::to_owned) };
    assert!(!walk.state.slots[0].is_started());
    walk.report(0, probe(ProbeKind::Startup, None));
    assert!(walk.state.slots[0].is_started() && !walk.state.slots[0].is_ready());
    walk.report(0, probe(ProbeKind::Readiness, None));
    assert!(walk.state.slots[0].is_ready());
    let told = walk.report(0, probe(ProbeKind::Readiness, Some("refused")));
    assert_eq!(told, ["Unhealthy: Readiness probe failed: refused"]);
    assert!(!walk.state.slots[0].is_ready());
    let told = walk.report(0, probe(ProbeKind::Liveness, Some("refused")));
    assert_eq!(
        told,
        [
            "Unhealthy: Liveness probe failed: refused",
            "Killing: Container c failed liveness probe, will be restarted",
            "Stop 0"
        ]
    );
    assert_eq!(walk.wait(30).step(Event::Tick), ["Kill 0"]);
    assert_eq!(walk.exit(0, 137), ["Remove", "ResolveImage 0"]);
}

#[test]
fn late_reports_of_earlier_attempts_are_nothing() {
    let mut walk = Walk::running(simple("Always"));
    walk.exit(0, 1);
    walk.bring_up(0);
    let before = walk.state.clone();
    let late =
        Event::Container { slot: 0, attempt: 0, report: Report::Started { at: walk.now.wall } };
    assert_eq!(walk.step(late), [""; 0]);
    let absurd =
        Event::Container { slot: 7, attempt: 0, report: Report::Started { at: walk.now.wall } };
    assert_eq!(walk.step(absurd), [""; 0]);
    assert_eq!(walk.step(Event::Image { slot: 0, found: None }), [""; 0]);
    assert_eq!(walk.state.slots, before.slots);
}

#[test]
fn a_new_image_replaces_the_container_without_waiting() {
    let mut walk = Walk::running(simple("Always"));
    let mut spec = simple("Always");
    spec["containers"][0]["image"] = "web:2".into();
    assert_eq!(
        walk.step(Event::Update(Arc::new(Wanted::of(&pod(spec))))),
        ["Killing: Container c definition changed, will be restarted", "Stop 0"]
    );
    assert_eq!(walk.exit(0, 0), ["Remove", "ResolveImage 0"]);
}
