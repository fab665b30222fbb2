//! Ways out of a container that others had to close, each tried.

use beeline_container::Runtime;
use beeline_container::runtime::*;

use crate::bench::{script, with};

/// CVE-2024-21626: a descriptor of the host that survives exec is a way to the host's files.
#[test]
fn no_descriptor_leaks_and_the_working_directory_is_inside() {
    with("no_descriptor_leaks_and_the_working_directory_is_inside", async |bench| {
        let pod = bench.sandbox("fds").await.pod_uid;
        // The first container keeps the shim's pipes, sockets and logs busy.
        let other =
            bench.runtime.create_container(&pod, &script("other", "sleep 1000")).await.unwrap();
        bench.runtime.start_container(&pod, &other).await.unwrap();
        let text = "for f in /proc/self/fd/*; do echo ${f##*/} $(busybox readlink $f); done; busybox readlink /proc/1/cwd; busybox readlink /proc/1/root";
        let (_, log) = bench.run(&pod, script("c", text)).await;
        let lines: Vec<_> = log.lines().collect();
        let (fds, links) = lines.split_at(lines.len() - 2);
        assert_eq!(links, ["/", "/"]);
        for line in fds {
            let (number, target) = line.split_once(' ').unwrap_or((line, ""));
            // The shell has the directory itself open while it expands the pattern.
            let fine = number.parse::<u32>().unwrap() <= 2
                || target.is_empty()
                || target.starts_with("/proc/");
            assert!(fine, "descriptor {line} in {log}");
        }
        let spec = ContainerSpec {
            working_dir: Some("/proc/self/fd/7".into()),
            ..script("cwd", "echo in $(pwd); ls")
        };
        match bench.runtime.create_container(&pod, &spec).await {
            Err(error) => assert!(!error.to_string().is_empty()),
            Ok(id) => {
                bench.runtime.start_container(&pod, &id).await.unwrap();
                assert!(
                    !bench
                        .log(
                            &pod,
                            "cwd",
                            beeline_container::logs::LogOptions {
                                follow: true,
                                ..Default::default()
                            }
                        )
                        .await
                        .contains("shim.sock")
                );
            }
        }
    });
}

/// CVE-2025-31133 and relatives: what the kernel shows of the host stays hidden or read-only.
#[test]
fn masked_and_read_only_paths_hold() {
    with("masked_and_read_only_paths_hold", async |bench| {
        let pod = bench.sandbox("masked").await.pod_uid;
        let text = "head -c 1 /proc/kcore | busybox wc -c; ls /proc/acpi /sys/firmware 2>/dev/null | busybox grep -c '^[a-z]'; \
            echo 1 > /proc/sys/kernel/printk; echo sys $?; echo b > /proc/sysrq-trigger; echo sysrq $?; \
            busybox mkdir /sys/fs/cgroup/memory/escape; echo cgroup $?; busybox mount -t tmpfs t /tmp; echo mount $?; \
            busybox mknod /tmp/sda b 8 0 && cat /tmp/sda > /dev/null; echo device $?";
        let (_, log) = bench.run(&pod, script("c", text)).await;
        let answers: Vec<_> = log.lines().filter(|l| !l.contains(':')).collect();
        assert_eq!(
            answers,
            ["0", "0", "sys 1", "sysrq 1", "cgroup 1", "mount 1", "device 1"],
            "{log}"
        );
    });
}

/// CVE-2019-5736: the runtime's own program, reached through /proc/self/exe, must not be writable.
#[test]
fn the_runtimes_program_cannot_be_overwritten() {
    with("the_runtimes_program_cannot_be_overwritten", async |bench| {
        let pod = bench.sandbox("exe").await.pod_uid;
        let program = std::path::PathBuf::from(&bench.config.shim_command[0]);
        let before = std::fs::metadata(&program).unwrap();
        // The shim's program, executed inside as the container's own, is then attacked from a second process.
        let spec = ContainerSpec {
            command: vec!["/proc/self/exe".into(), "shim".into()],
            ..script("c", "")
        };
        if let Ok(id) = bench.runtime.create_container(&pod, &spec).await {
            // It may run: it has no arguments that mean anything and ends at once.
            let _ = bench.runtime.start_container(&pod, &id).await;
        }
        let after = std::fs::metadata(&program).unwrap();
        assert_eq!(
            (before.len(), before.modified().unwrap()),
            (after.len(), after.modified().unwrap())
        );
        let shim = bench.runtime.sandboxes().await.unwrap()[0].pid;
        let exe = std::fs::OpenOptions::new()
            .write(true)
            .truncate(true)
            .open(format!("/proc/{shim}/exe"));
        let error = exe.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem, "{error}");
    });
}

/// CVE-2021-30465: a mount's destination that is a link in the image must not lead out of it.
#[test]
fn mounts_do_not_follow_links_out() {
    with("mounts_do_not_follow_links_out", async |bench| {
        let pod = bench.sandbox("links").await.pod_uid;
        let host = bench.dir.path().join("host");
        std::fs::create_dir(&host).unwrap();
        std::fs::write(host.join("file"), "mounted").unwrap();
        let archive = bench.dir.path().join("evil.tar");
        let mut entries = beeline_container::image::build::busybox_entries(
            std::path::Path::new(crate::bench::BUSYBOX),
            &["sh", "cat"],
        );
        let target = bench.dir.path().join("victim");
        std::fs::create_dir(&target).unwrap();
        let link =
            |path: &str, to: &str| beeline_container::image::build::BuildEntry::symlink(path, to);
        entries.push(link("data", target.to_str().unwrap()));
        entries.push(link("up", "../../../../../../../../.."));
        beeline_container::image::build::archive(&archive, "evil:1", &entries, &Default::default())
            .unwrap();
        bench.images.import(&archive, &mut |_| {}).unwrap();
        let at = format!("/up{}", target.display());
        let mounts = ["/data", &at].map(|path| Mount {
            host_path: host.clone(),
            container_path: path.into(),
            read_only: true,
        });
        let spec = ContainerSpec {
            image: "evil:1".into(),
            mounts: mounts.into(),
            ..script("c", "cat /data/file")
        };
        let (exit, log) = bench.run(&pod, spec).await;
        assert_eq!((exit.code, log.as_str()), (0, "mounted"));
        assert!(std::fs::read_dir(&target).unwrap().next().is_none(), "something was made outside");
    });
}

/// Programs that are not root hold nothing, and cannot become more.
#[test]
fn users_and_privileges() {
    with("users_and_privileges", async |bench| {
        let pod = bench.sandbox("users").await.pod_uid;
        let text = "id -u; id -g; id -G; busybox grep -E 'Cap(Eff|Inh|Amb)|NoNewPrivs|SigIgn|SigBlk' /proc/self/status | busybox awk '{print $2}'; echo $HOME";
        let spec = ContainerSpec {
            user: Some(User { uid: Some(65534), gid: Some(7), supplementary: vec![8] }),
            run_as_non_root: true,
            no_new_privileges: true,
            ..script("c", text)
        };
        let none = "0000000000000000";
        let (_, log) = bench.run(&pod, spec).await;
        let lines: Vec<_> = log.lines().collect();
        assert_eq!(lines[..3], ["65534", "7", "7 8"], "{log}");
        // SigBlk, SigIgn, CapInh, CapEff, CapAmb. The C library's spawn ignores its own signal 32, which programs cannot see.
        let ignored = u64::from_str_radix(lines[4], 16).unwrap() & 0x7fff_ffff;
        assert_eq!(ignored, 0, "{log}");
        assert_eq!(
            [&lines[3..4], &lines[5..]].concat(),
            [none, none, none, none, "1", "/"],
            "{log}"
        );
        let spec = ContainerSpec {
            read_only_root: true,
            ..script("ro", "echo x > /file || echo refused; cat /proc/self/oom_score_adj")
        };
        let (_, log) = bench.run(&pod, spec).await;
        // The two outputs are two pipes: their order to each other is nobody's promise.
        let out: Vec<_> = log.lines().filter(|l| !l.starts_with("sh:")).collect();
        assert_eq!(out, ["refused", "0"], "{log}");
    });
}
