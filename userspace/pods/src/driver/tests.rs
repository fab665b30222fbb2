//! Whole lives on a node in memory, under a paused clock: waits take no time, and their length is exact.

mod fakes;

use std::{net::Ipv4Addr, os::unix::fs::PermissionsExt as _, sync::Arc, time::Duration};

use beeline_kit::Tasks;
use beeline_tables::{
    Backend, Change, Epoch, NodeName, ObjectKey, ObjectName, PodIntent, Referenced, Slice, Tables,
    Writer,
};
use serde_json::{Value, json};
use tokio::time::sleep;

use self::fakes::Node;
use crate::{Config, Dns, Pods};

struct World {
    node: Arc<Node>,
    writer: Writer,
    reader: beeline_tables::Reader,
    tasks: Tasks,
    pods: Option<Pods>,
    dir: tempfile::TempDir,
    epoch: u64,
}

impl World {
    async fn new() -> Self {
        let (writer, reader) = Tables::new();
        let dir = tempfile::tempdir().unwrap();
        let mut world = Self {
            node: Node::new(),
            writer,
            reader,
            tasks: Tasks::new(),
            pods: None,
            dir,
            epoch: 0,
        };
        world.start().await;
        world.writer.apply_snapshot(Epoch(0), Vec::new(), true);
        world
    }

    async fn start(&mut self) {
        self.tasks = Tasks::new();
        let config = Config {
            node_name: NodeName("n1".into()),
            host_ips: Ipv4Addr::new(192, 168, 0, 2).into(),
            pods_dir: self.dir.path().join("pods"),
            dns: Dns {
                server: Ipv4Addr::new(10, 43, 0, 10),
                domain: "cluster.local".into(),
                node_resolv_conf: String::new(),
            },
        };
        let pods =
            Pods::start(config, self.node.ports(), self.reader.clone(), &self.tasks).await.unwrap();
        self.pods = Some(pods);
    }

    /// The agent stops or dies; what runs, runs on.
    async fn stop(&mut self) {
        self.tasks.stop(Duration::from_secs(1)).await;
        self.pods = None;
    }

    fn apply(&mut self, change: Change) {
        self.epoch += 1;
        self.writer.apply(Epoch(self.epoch), vec![change]);
    }

    fn pod(&mut self, name: &str, uid: &str, spec: &Value, deleted: bool) {
        let mut pod =
            json!({"metadata": {"name": name, "namespace": "shop", "uid": uid}, "spec": spec});
        if deleted {
            pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
            pod["metadata"]["deletionGracePeriodSeconds"] = 30.into();
        }
        let pod = serde_json::from_value(pod).unwrap();
        let revision = self.epoch + 1;
        self.apply(Change::Pod(PodIntent {
            name: ObjectName::new("shop", name),
            revision,
            pod: Arc::new(pod),
        }));
    }

    fn slice(&mut self, ready: bool) {
        let backend = Backend {
            address: Ipv4Addr::new(10, 42, 0, 2).into(),
            ready,
            serving: true,
            terminating: !ready,
            node: None,
            pod: Some(ObjectName::new("shop", "web")),
            hints: None,
        };
        self.apply(Change::Slice(Slice {
            name: ObjectName::new("shop", "web-abc"),
            service: ObjectName::new("shop", "web"),
            ports: Vec::new(),
            backends: vec![backend],
        }));
    }

    fn phase(&self, uid: &str) -> String {
        self.node.status(uid).and_then(|status| status.phase).unwrap_or_default()
    }

    /// The reason for which the container waits.
    fn waiting(&self, uid: &str) -> Option<String> {
        let status = self.node.status(uid)?;
        status.container_statuses?.first()?.state.clone()?.waiting?.reason
    }
}

fn simple() -> Value {
    json!({"restartPolicy": "Always", "containers": [{"name": "c", "image": "web:1"}]})
}

async fn settle() {
    sleep(Duration::from_millis(300)).await;
}

const UP: [&str; 5] = ["sandbox u1", "connect u1", "attach u1", "create c.0", "start c"];

#[tokio::test(start_paused = true)]
async fn a_pod_comes_up_with_its_endpoint_before_its_program_and_goes_without_a_trace() {
    let mut world = World::new().await;
    settle().await;
    assert_eq!(world.node.asked(), ["retain "]);
    world.pod("web", "u1", &simple(), false);
    settle().await;
    assert_eq!(world.node.asked(), UP);
    assert_eq!(world.phase("u1"), "Running");
    let status = world.node.status("u1").unwrap();
    assert_eq!(status.pod_ip.as_deref(), Some("10.42.0.2"));
    let ready = status.conditions.unwrap().into_iter().find(|one| one.type_ == "Ready").unwrap();
    assert_eq!(ready.status, "True");
    assert_eq!(
        world.node.state().events,
        [
            "Normal Pulled: Container image \"web:1\" already present on machine",
            "Normal Created: Created container: c",
            "Normal Started: Started container c"
        ]
    );
    world.pod("web", "u1", &simple(), true);
    world.node.in_force.send_replace(Epoch(world.epoch));
    settle().await;
    let down = ["kill c 3", "detach u1", "remove u1", "disconnect u1"];
    assert_eq!(world.node.asked(), down, "SIGQUIT is what the image asks for");
    assert_eq!(world.node.state().gone, ["u1"]);
    assert!(world.pods.as_ref().unwrap().list().is_empty());
    settle().await;
    assert_eq!(world.node.asked(), [""; 0], "still in the tables, but not started again");
}

#[tokio::test(start_paused = true)]
async fn a_crash_loop_keeps_upstreams_time() {
    let mut world = World::new().await;
    world.node.state().lifetime = Some(Duration::ZERO);
    world.pod("web", "u1", &simple(), false);
    sleep(Duration::from_secs(160)).await;
    let starts: Vec<u64> = {
        let state = world.node.state();
        state.journal.iter().filter(|(_, line)| line == "start c").map(|(at, _)| *at).collect()
    };
    assert_eq!(starts, [0, 0, 10, 30, 70, 150]);
    assert_eq!(world.waiting("u1").as_deref(), Some("CrashLoopBackOff"));
    assert_eq!(world.phase("u1"), "Running");
    let backed_off =
        world.node.state().events.iter().filter(|line| line.starts_with("Warning BackOff")).count();
    assert_eq!(backed_off, 5);
}

#[tokio::test(start_paused = true)]
async fn deletion_while_an_image_is_missing_and_an_import_that_helps() {
    let mut world = World::new().await;
    let mut spec = simple();
    spec["containers"][0]["image"] = "absent:1".into();
    world.pod("web", "u1", &spec, false);
    settle().await;
    assert_eq!(world.waiting("u1").as_deref(), Some("ErrImagePull"));
    sleep(Duration::from_secs(2)).await;
    assert_eq!(world.waiting("u1").as_deref(), Some("ImagePullBackOff"));
    world.pod("web", "u1", &spec, true);
    settle().await;
    assert_eq!(world.node.state().gone, ["u1"]);
    assert!(!world.node.asked().iter().any(|line| line.starts_with("create")));

    world.pod("other", "u2", &spec, false);
    sleep(Duration::from_secs(5)).await;
    world.node.state().images.insert("absent:1".into());
    world.pods.as_ref().unwrap().images_changed();
    settle().await;
    assert_eq!(world.phase("u2"), "Running");
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_comes_back_adopts_and_removes_only_once_it_knows() {
    let mut world = World::new().await;
    world.pod("web", "u1", &simple(), false);
    world.pod("old", "u2", &simple(), false);
    world.pod("done", "u3", &simple(), false);
    settle().await;
    assert_eq!(world.phase("u3"), "Running");
    world.stop().await;
    world.node.asked();
    world.node.exit("u3", "c", 1);

    let (writer, reader) = Tables::new();
    (world.writer, world.reader) = (writer, reader);
    world.start().await;
    settle().await;
    assert_eq!(world.node.asked(), [""; 0], "nothing is known, nothing is touched");
    world.pod("web", "u1", &simple(), false);
    settle().await;
    assert_eq!(world.node.asked(), ["connect u1", "attach u1"], "adopted without a restart");
    assert_eq!(world.phase("u1"), "Running");

    let intents: Vec<Change> = [("web", "u1"), ("done", "u3")]
        .into_iter()
        .map(|(name, uid)| {
            let pod = json!({"metadata": {"name": name, "namespace": "shop", "uid": uid}, "spec": simple()});
            Change::Pod(PodIntent {
                name: ObjectName::new("shop", name),
                revision: 99,
                pod: Arc::new(serde_json::from_value(pod).unwrap()),
            })
        })
        .collect();
    world.writer.apply_snapshot(Epoch(100), intents, true);
    settle().await;
    let asked = world.node.asked();
    for line in ["detach u2", "remove u2", "disconnect u2", "retain u1 u3", "create c.1", "start c"]
    {
        assert!(asked.contains(&line.to_owned()), "{line}: {asked:?}");
    }
    assert!(!asked.contains(&"remove u1".to_owned()) && !asked.contains(&"create c.0".to_owned()));
    let status = world.node.status("u3").unwrap().container_statuses.unwrap().remove(0);
    assert_eq!(status.restart_count, 1, "it ended while nobody looked");
}

#[tokio::test(start_paused = true)]
async fn a_sandbox_that_dies_is_made_again() {
    let mut world = World::new().await;
    world.pod("web", "u1", &simple(), false);
    settle().await;
    world.node.asked();
    world.node.sandbox_dies("u1");
    settle().await;
    let again = ["detach u1", "sandbox u1", "connect u1", "attach u1", "create c.1", "start c"];
    assert_eq!(world.node.asked(), again);
    let status = world.node.status("u1").unwrap();
    assert_eq!(status.pod_ip.as_deref(), Some("10.42.0.3"));
    assert_eq!(status.container_statuses.unwrap()[0].restart_count, 1);
}

#[tokio::test(start_paused = true)]
async fn no_signal_before_services_have_forgotten_the_pod() {
    let mut world = World::new().await;
    world.pod("web", "u1", &simple(), false);
    world.slice(true);
    settle().await;
    world.node.asked();
    world.pod("web", "u1", &simple(), true);
    sleep(Duration::from_millis(500)).await;
    assert_eq!(world.node.asked(), [""; 0], "still a ready backend");
    world.slice(false);
    sleep(Duration::from_millis(500)).await;
    assert_eq!(world.node.asked(), [""; 0], "not in force yet");
    world.node.in_force.send_replace(Epoch(world.epoch));
    sleep(Duration::from_millis(100)).await;
    assert_eq!(world.node.asked(), [""; 0], "a moment for requests under way");
    sleep(Duration::from_millis(150)).await;
    assert_eq!(world.node.asked()[0], "kill c 3");
}

#[tokio::test(start_paused = true)]
async fn the_wait_for_services_is_bounded_and_stubborn_containers_are_killed() {
    let mut world = World::new().await;
    world.node.state().stubborn = true;
    world.pod("web", "u1", &simple(), false);
    world.slice(true);
    settle().await;
    world.node.asked();
    let begun = tokio::time::Instant::now();
    world.pod("web", "u1", &simple(), true);
    while world.node.state().gone.is_empty() {
        sleep(Duration::from_millis(10)).await;
        assert!(begun.elapsed() < Duration::from_secs(60));
    }
    assert_eq!(
        world.node.asked(),
        ["kill c 3", "kill c 9", "detach u1", "remove u1", "disconnect u1"]
    );
    assert_eq!(begun.elapsed().as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn a_name_used_again_is_another_pod_and_a_vanished_one_ends() {
    let mut world = World::new().await;
    world.node.state().stubborn = true;
    world.pod("web", "u1", &simple(), false);
    settle().await;
    world.node.asked();
    world.pod("web", "u2", &simple(), false);
    settle().await;
    let asked = world.node.asked();
    assert!(asked.contains(&"start c".to_owned()), "the new one does not wait: {asked:?}");
    sleep(Duration::from_secs(3)).await;
    assert_eq!(world.node.state().gone, ["u1"]);
    assert_eq!(world.phase("u2"), "Running");
    world.apply(Change::PodGone(ObjectName::new("shop", "web")));
    sleep(Duration::from_secs(3)).await;
    assert_eq!(world.node.state().gone, ["u1", "u2"]);
    assert!(world.node.state().sandboxes.is_empty());
}

#[tokio::test(start_paused = true)]
async fn configuration_that_arrives_late_is_waited_for() {
    let mut world = World::new().await;
    let mut spec = simple();
    spec["volumes"] = json!([{"name": "v", "configMap": {"name": "late"}}]);
    world.pod("web", "u1", &spec, false);
    settle().await;
    let told = world.node.state().events.first().cloned().unwrap_or_default();
    assert_eq!(
        told,
        "Warning FailedMount: MountVolume.SetUp failed for volume \"v\" : configmap \"late\" not found"
    );
    assert_eq!(world.phase("u1"), "Pending");
    let key = ObjectKey { kind: "ConfigMap".into(), name: ObjectName::new("shop", "late") };
    let json = Arc::new(json!({"data": {"a": "1"}}));
    world.apply(Change::Object(Referenced { key, revision: 1, json }));
    settle().await;
    assert_eq!(world.phase("u1"), "Running");
    assert!(world.dir.path().join("pods/u1/volumes/v/a").exists());
}

#[tokio::test(start_paused = true)]
async fn everything_is_said_again_after_the_line_was_down() {
    let mut world = World::new().await;
    world.pod("web", "u1", &simple(), false);
    world.pod("old", "u2", &simple(), true);
    settle().await;
    world.node.state().statuses.clear();
    world.node.state().gone.clear();
    world.pods.as_ref().unwrap().resend();
    settle().await;
    assert_eq!(world.phase("u1"), "Running");
    assert_eq!(world.node.state().gone, ["u2"]);
}

/// A Pod whose volume shows a token that is good for 1,000 seconds.
fn with_token() -> Value {
    json!({
        "serviceAccountName": "robot",
        "containers": [{"name": "c", "image": "web:1"}],
        "volumes": [{"name": "api", "projected": {"sources": [
            {"serviceAccountToken": {"path": "token", "expirationSeconds": 1000}}]}}],
    })
}

#[tokio::test(start_paused = true)]
async fn tokens_are_there_before_containers_and_replaced_in_time() {
    let mut world = World::new().await;
    world.node.state().no_tokens = true;
    world.pod("web", "u-1", &with_token(), false);
    sleep(Duration::from_secs(1)).await;
    let events = world.node.state().events.join("\n");
    assert!(events.contains("failed to fetch token: no line to the server"), "{events}");
    assert_eq!(world.phase("u-1"), "Pending");
    world.node.state().no_tokens = false;
    let token = world.dir.path().join("pods/u-1/volumes/api/token");
    let shown = |text: &str| std::fs::read_to_string(&token).is_ok_and(|now| now == text);
    let becomes = async |text: &str, limit: u64| {
        for _ in 0..limit {
            if shown(text) {
                return true;
            }
            sleep(Duration::from_secs(1)).await;
        }
        false
    };
    assert!(becomes("robot for \"\", number 1", 30).await);
    sleep(Duration::from_secs(5)).await;
    assert_eq!(world.phase("u-1"), "Running");
    sleep(Duration::from_secs(700)).await;
    assert!(shown("robot for \"\", number 1"));
    // The server is away when it is due, and comes back while the old one is good.
    world.node.state().no_tokens = true;
    sleep(Duration::from_secs(150)).await;
    assert!(shown("robot for \"\", number 1"));
    assert_eq!(world.phase("u-1"), "Running");
    world.node.state().no_tokens = false;
    assert!(becomes("robot for \"\", number 2", 60).await);
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn volumes_of_a_running_pod_follow_their_objects() {
    let mut world = World::new().await;
    let map = |text: &str, revision| {
        let key = ObjectKey { kind: "ConfigMap".into(), name: ObjectName::new("shop", "pages") };
        let json = Arc::new(json!({"data": {"page": text}}));
        Change::Object(Referenced { key, revision, json })
    };
    world.apply(map("old", 1));
    let spec = json!({
        "containers": [{"name": "c", "image": "web:1"}],
        "volumes": [{"name": "v", "configMap": {"name": "pages"}}, {"name": "w", "emptyDir": {}}],
    });
    world.pod("web", "u-1", &spec, false);
    sleep(Duration::from_secs(5)).await;
    assert_eq!(world.phase("u-1"), "Running");
    let volumes = world.dir.path().join("pods/u-1/volumes");
    let shown = || std::fs::read_to_string(volumes.join("v/page")).unwrap();
    assert_eq!(shown(), "old");
    let mode = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(volumes.join("w"), mode).unwrap();
    world.apply(map("new", 2));
    for _ in 0..30 {
        sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(shown(), "new");
    let own = std::fs::metadata(volumes.join("w")).unwrap().permissions().mode() & 0o777;
    assert_eq!(own, 0o700, "what belongs to the containers is left alone");
    world.stop().await;
}
