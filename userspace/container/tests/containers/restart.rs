//! Agents and shims that go away.

use std::time::Duration;

use beeline_container::Runtime;
use beeline_container::runtime::*;

use crate::bench::{sandbox, script, uid, with};

#[test]
fn a_new_agent_adopts_and_learns_what_it_missed() {
    with("a_new_agent_adopts_and_learns_what_it_missed", async |bench| {
        let before = bench.sandbox("adopted").await;
        let pod = before.pod_uid;
        let long =
            bench.runtime.create_container(&pod, &script("long", "sleep 1000")).await.unwrap();
        let short = bench
            .runtime
            .create_container(&pod, &script("short", "sleep 0.3; exit 5"))
            .await
            .unwrap();
        bench.runtime.start_container(&pod, &long).await.unwrap();
        bench.runtime.start_container(&pod, &short).await.unwrap();
        bench.tasks.stop(Duration::from_secs(1)).await;
        tokio::time::sleep(Duration::from_millis(600)).await;
        let runtime = bench.reopen().await;
        let all = runtime.sandboxes().await.unwrap();
        assert_eq!((all.len(), all[0].pid, all[0].name.as_str()), (1, before.pid, "adopted"));
        let states: Vec<_> = all[0].containers.iter().map(|c| (&c.id, &c.state)).collect();
        assert!(
            matches!(states[0], (id, ContainerState::Running { .. }) if *id == long),
            "{states:?}"
        );
        assert!(
            matches!(states[1], (id, ContainerState::Exited(Exit { code: 5, .. })) if *id == short),
            "{states:?}"
        );
        assert_eq!(runtime.create_sandbox(&sandbox("adopted")).await.unwrap().pid, before.pid);
        let mut events = runtime.events();
        runtime.kill_container(&pod, &long, 9).await.unwrap();
        assert!(matches!(
            events.recv().await.unwrap(),
            RuntimeEvent::Exited { exit: Exit { code: 137, .. }, .. }
        ));
        assert!(
            bench.images.remove("hello:1").is_err(),
            "an adopted container's image must be pinned"
        );
        runtime.remove_sandbox(&pod).await.unwrap();
        bench.images.remove("hello:1").unwrap();
    });
}

#[test]
fn a_killed_shim_takes_its_containers_along() {
    with("a_killed_shim_takes_its_containers_along", async |bench| {
        let made = bench.sandbox("killed").await;
        let pod = made.pod_uid;
        let mut events = bench.runtime.events();
        let id = bench.runtime.create_container(&pod, &script("c", "sleep 1000")).await.unwrap();
        bench.runtime.start_container(&pod, &id).await.unwrap();
        let ContainerState::Running { pid, .. } = bench.state(&pod, &id).await else {
            panic!("not running")
        };
        let shim = beeline_sys::process::pidfd(made.pid).unwrap();
        beeline_sys::process::signal_pidfd(&shim, 9).unwrap();
        let event =
            tokio::time::timeout(Duration::from_secs(10), events.recv()).await.unwrap().unwrap();
        let RuntimeEvent::SandboxDied { pod: died, containers } = event else {
            panic!("{event:?}")
        };
        assert_eq!(died, pod);
        assert!(matches!(&containers[0].state, ContainerState::Exited(exit) if exit.code == 137));
        // Its new parent, pid 1 of this machine, may not have reaped it yet.
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        assert!(
            stat.is_empty() || stat.contains(") Z "),
            "the container outlived its shim: {stat}"
        );
        assert!(!bench.config.run_dir.join("pods").join(pod.as_str()).exists());
        assert!(!bench.config.data_dir.join("containers").join(pod.as_str()).exists());
        let again = bench.sandbox("killed").await;
        assert_ne!(again.pid, made.pid);
    });
}

#[test]
fn what_a_dead_shim_left_is_removed_at_the_next_start() {
    with("what_a_dead_shim_left_is_removed_at_the_next_start", async |bench| {
        let made = bench.sandbox("stale").await;
        let id = bench
            .runtime
            .create_container(&made.pod_uid, &script("c", "sleep 1000"))
            .await
            .unwrap();
        bench.runtime.start_container(&made.pod_uid, &id).await.unwrap();
        bench.tasks.stop(Duration::from_secs(1)).await;
        let shim = beeline_sys::process::pidfd(made.pid).unwrap();
        beeline_sys::process::signal_pidfd(&shim, 9).unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
        let pods = bench.config.run_dir.join("pods");
        assert!(pods.join("stale").exists());
        let runtime = bench.reopen().await;
        assert!(runtime.sandboxes().await.unwrap().is_empty());
        assert!(!pods.join("stale").exists());
    });
}

#[test]
fn cleanup_ends_living_pods() {
    with("cleanup_ends_living_pods", async |bench| {
        let made = bench.sandbox("living").await;
        let id = bench
            .runtime
            .create_container(&made.pod_uid, &script("c", "sleep 1000"))
            .await
            .unwrap();
        bench.runtime.start_container(&made.pod_uid, &id).await.unwrap();
        // The end of the test runs the clean-up and looks for what is left.
        assert!(beeline_sys::process::pidfd(made.pid).is_ok());
        assert_eq!(made.pod_uid, uid("living"));
    });
}
