//! Containers from creation to removal.

use std::time::{Duration, Instant};

use beeline_container::Runtime;
use beeline_container::logs::LogOptions;
use beeline_container::runtime::*;

use crate::bench::{script, uid, with};

#[test]
fn runs_prints_and_exits() {
    with("runs_prints_and_exits", async |bench| {
        let pod = bench.sandbox("basic").await.pod_uid;
        let spec = ContainerSpec {
            env: vec![("GREETING".into(), "hello".into())],
            working_dir: Some("/made/here".into()),
            termination_message_path: Some("/dev/termination-log".into()),
            ..script(
                "main",
                "echo $GREETING; pwd; hostname; cat /etc/resolv.conf; id -u; echo oops >&2; echo bye > /dev/termination-log; exit 3",
            )
        };
        let (exit, log) = bench.run(&pod, spec).await;
        assert_eq!((exit.code, exit.signal, exit.oom, exit.reason()), (3, None, false, "Error"));
        assert_eq!(exit.message.as_deref(), Some("bye\n"));
        assert!(exit.started_at.unwrap() <= exit.finished_at);
        let (out, err): (Vec<_>, Vec<_>) = log.lines().partition(|l| *l != "oops");
        assert_eq!(out, ["hello", "/made/here", "basic", "nameserver 192.0.2.53", "0"]);
        assert_eq!(err.len(), 1);
        let (exit, _) = bench.run(&pod, script("other", "exit 0")).await;
        assert_eq!((exit.code, exit.reason()), (0, "Completed"));
        bench.runtime.remove_sandbox(&pod).await.unwrap();
        bench.runtime.remove_sandbox(&pod).await.unwrap();
        assert!(bench.runtime.sandboxes().await.unwrap().is_empty());
        let logs = bench.config.log_dir.join("default_basic_basic");
        assert!(logs.join("main/0.log").exists());
        bench.runtime.remove_logs("default", "basic", &pod).await.unwrap();
        assert!(!logs.exists());
    });
}

#[test]
fn signals_and_removal() {
    with("signals_and_removal", async |bench| {
        let pod = bench.sandbox("signals").await.pod_uid;
        let mut events = bench.runtime.events();
        let polite =
            script("polite", "trap 'echo stopping; exit 7' TERM; while :; do sleep 0.05; done");
        let id = bench.runtime.create_container(&pod, &polite).await.unwrap();
        assert_eq!(bench.state(&pod, &id).await, ContainerState::Created);
        bench.runtime.start_container(&pod, &id).await.unwrap();
        assert!(matches!(bench.state(&pod, &id).await, ContainerState::Running { .. }));
        let again = bench.runtime.start_container(&pod, &id).await.unwrap_err();
        assert!(matches!(again, RuntimeError::WrongState { .. }), "{again}");
        tokio::time::sleep(Duration::from_millis(200)).await;
        bench.runtime.kill_container(&pod, &id, 15).await.unwrap();
        let RuntimeEvent::Exited { exit, .. } = events.recv().await.unwrap() else {
            panic!("wrong event")
        };
        assert_eq!(exit.code, 7);
        bench.runtime.kill_container(&pod, &id, 15).await.unwrap();
        let stubborn =
            bench.runtime.create_container(&pod, &script("stubborn", "sleep 1000")).await.unwrap();
        bench.runtime.start_container(&pod, &stubborn).await.unwrap();
        bench.runtime.kill_container(&pod, &stubborn, 9).await.unwrap();
        let RuntimeEvent::Exited { exit, .. } = events.recv().await.unwrap() else {
            panic!("wrong event")
        };
        assert_eq!((exit.code, exit.signal, exit.oom), (137, Some(9), false));
        for id in [&id, &stubborn, &stubborn] {
            bench.runtime.remove_container(&pod, id).await.unwrap();
        }
        let running =
            bench.runtime.create_container(&pod, &script("running", "sleep 1000")).await.unwrap();
        bench.runtime.start_container(&pod, &running).await.unwrap();
        bench.runtime.remove_container(&pod, &running).await.unwrap();
        assert!(bench.runtime.sandboxes().await.unwrap()[0].containers.is_empty());
        let missing = bench.runtime.start_container(&pod, &running).await.unwrap_err();
        assert!(matches!(missing, RuntimeError::NoContainer { .. }), "{missing}");
    });
}

#[test]
fn what_cannot_run_says_so_in_upstreams_words() {
    with("what_cannot_run_says_so_in_upstreams_words", async |bench| {
        let pod = bench.sandbox("refused").await.pod_uid;
        let create = async |spec: ContainerSpec| {
            let error = bench.runtime.create_container(&pod, &spec).await.unwrap_err();
            (error.to_string(), error.reason())
        };
        let command = |words: &[&str]| ContainerSpec {
            command: words.iter().map(|w| (*w).to_owned()).collect(),
            ..script("c", "")
        };
        let not_found = r#"exec: "foo": executable file not found in $PATH"#;
        assert_eq!(create(command(&["foo"])).await, (not_found.into(), "StartError"));
        let missing = r#"exec: "/foo": stat /foo: no such file or directory"#;
        assert_eq!(create(command(&["/foo"])).await, (missing.into(), "StartError"));
        assert_eq!(
            create(command(&["/etc/passwd"])).await.0,
            r#"exec: "/etc/passwd": permission denied"#
        );
        let (text, reason) =
            create(ContainerSpec { image: "hello:2".into(), ..script("c", "") }).await;
        assert!(text.contains("\"hello:2\" is not present") && reason == "ErrImagePull", "{text}");
        let root = create(ContainerSpec { run_as_non_root: true, ..script("c", "") }).await;
        assert_eq!(
            root,
            (
                "container has runAsNonRoot and image will run as root".into(),
                "CreateContainerConfigError"
            )
        );
        let (text, _) =
            create(ContainerSpec { capabilities_add: vec!["FLY".into()], ..script("c", "") }).await;
        assert!(text.contains("unknown capability \"FLY\""), "{text}");
        // The shell is there, its interpreter line is not: only exec itself can tell.
        let broken = "printf nonsense > /tmp/x; chmod 755 /tmp/x; exec /tmp/x";
        let (exit, _) = bench.run(&pod, script("d", broken)).await;
        assert_ne!(exit.code, 0);
        assert!(
            bench.runtime.sandboxes().await.unwrap()[0].containers.iter().all(|c| c.name == "d")
        );
    });
}

#[test]
fn memory_limits_kill_and_tell() {
    with("memory_limits_kill_and_tell", async |bench| {
        let pod = bench.sandbox("oom").await.pod_uid;
        let limits = Limits {
            memory_limit_bytes: Some(16 << 20),
            cpu_limit_millis: Some(500),
            cpu_request_millis: Some(100),
            pids_limit: Some(64),
        };
        let spec = ContainerSpec { limits, ..script("hog", "tail /dev/zero") };
        let (exit, _) = bench.run(&pod, spec).await;
        assert!(exit.oom && exit.code == 137 && exit.reason() == "OOMKilled", "{exit:?}");
        let spec = ContainerSpec {
            limits,
            ..script(
                "good",
                "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/cpu/cpu.shares /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/pids/pids.max",
            )
        };
        let (exit, log) = bench.run(&pod, spec).await;
        assert!(!exit.oom, "{exit:?}");
        if exit.code == 0 {
            assert_eq!(log.lines().collect::<Vec<_>>(), ["16777216", "102", "50000", "64"]);
        } else {
            eprintln!("SKIP half of memory_limits_kill_and_tell: no v1 controllers here: {log}");
        }
    });
}

#[test]
fn containers_of_a_pod_share_network_and_nothing_else() {
    with("containers_of_a_pod_share_network_and_nothing_else", async |bench| {
        let sandbox = bench.sandbox("shared").await;
        let pod = sandbox.pod_uid;
        let mine = std::fs::read_link("/proc/self/ns/net").unwrap();
        let pods = std::fs::read_link(&sandbox.netns_path).unwrap();
        assert_ne!(mine, pods);
        let links = "for n in net ipc uts pid mnt cgroup; do busybox readlink /proc/self/ns/$n; done; cat /proc/net/dev | tail -n +3 | head -1";
        let (_, first) = bench.run(&pod, script("a", links)).await;
        let (_, second) = bench.run(&pod, script("b", links)).await;
        let (first, second): (Vec<_>, Vec<_>) = (first.lines().collect(), second.lines().collect());
        assert_eq!(first[0], pods.to_str().unwrap());
        assert_eq!(first[..3], second[..3]);
        // Not compared to each other: the number of a namespace that is gone may be given again.
        for (inside, kind) in first[3..6].iter().zip(["pid", "mnt", "cgroup"]) {
            let shims = std::fs::read_link(format!("/proc/{}/ns/{kind}", sandbox.pid)).unwrap();
            assert_ne!(*inside, shims.to_str().unwrap());
        }
        assert!(first[6].trim().starts_with("lo:"), "{first:?}");
        let shm = bench.run(&pod, script("w", "echo shared > /dev/shm/x")).await.0;
        assert_eq!(shm.code, 0);
        assert_eq!(bench.run(&pod, script("r", "cat /dev/shm/x")).await.1, "shared\n");
        bench.runtime.set_hosts(&pod, "192.0.2.7 shared\n").await.unwrap();
        assert_eq!(bench.run(&pod, script("h", "cat /etc/hosts")).await.1, "192.0.2.7 shared\n");
    });
}

#[test]
fn logs_follow_rotate_and_keep_every_line() {
    with("logs_follow_rotate_and_keep_every_line", async |bench| {
        let pod = bench.sandbox("logs").await.pod_uid;
        let text = "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done";
        let id = bench.runtime.create_container(&pod, &script("talk", text)).await.unwrap();
        bench.runtime.start_container(&pod, &id).await.unwrap();
        let followed =
            bench.log(&pod, "talk", LogOptions { follow: true, ..LogOptions::default() }).await;
        let wanted: String = (0..3000).map(|n| format!("line {n}\n")).collect();
        assert_eq!(followed, wanted);
        let tail = LogOptions { tail_lines: Some(2), ..LogOptions::default() };
        assert_eq!(bench.log(&pod, "talk", tail).await, "line 2998\nline 2999\n");
        let second = ContainerSpec { attempt: 1, ..script("talk", "echo again") };
        assert_eq!(bench.run(&pod, second).await.1, "again\n");
        let previous = LogOptions { previous: true, ..LogOptions::default() };
        assert_eq!(bench.log(&pod, "talk", previous).await, wanted);
    });
}

#[test]
fn starting_is_quick() {
    with("starting_is_quick", async |bench| {
        let begin = Instant::now();
        let pod = bench.sandbox("quick").await.pod_uid;
        let sandbox = begin.elapsed();
        let mut times = Vec::new();
        for attempt in 0..20 {
            let begin = Instant::now();
            let spec = ContainerSpec { attempt, ..script("c", "exit 0") };
            let id = bench.runtime.create_container(&pod, &spec).await.unwrap();
            let created = begin.elapsed();
            bench.runtime.start_container(&pod, &id).await.unwrap();
            times.push((begin.elapsed(), created));
            bench.runtime.remove_container(&pod, &id).await.unwrap();
        }
        times.sort();
        let pid = bench.runtime.sandboxes().await.unwrap()[0].pid;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let memory: Vec<_> =
            status.lines().filter(|l| l.starts_with("VmRSS") || l.starts_with("RssAnon")).collect();
        // Printed, not asserted: a figure for whoever looks, on whatever machine this is.
        eprintln!(
            "sandbox {sandbox:?}; create + start p50 {:?} max {:?}; shim {memory:?}",
            times[10], times[19]
        );
        assert_eq!(uid("quick"), pod);
    });
}
