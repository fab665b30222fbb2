//! One process per pod: holds its namespaces, starts its containers, copies their output to log files, keeps their exit codes.
//!
//! In: a directory with a `config` written by the agent; then requests over a Unix socket there. Out: processes, logs, the file
//! `state`, exit events. Refuses threads (libcontainer forks it) and anything that would block its loop; it outlives the agent.

use std::ffi::{CString, OsString};
use std::io::Write;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::ExitCode;

use beeline_sys::process::{self, Forked, Unshare};
use beeline_sys::signal::SignalFd;
use rustix::fs::Mode;
use rustix::mount::{MountFlags, MountPropagationFlags};

mod cgroup;
mod container;
mod exec;
pub(crate) mod log;
pub(crate) mod protocol;
mod rootfs;
mod server;
mod spec;
mod user;

pub(crate) use cgroup::remove_tree as remove_cgroup_tree;
use protocol::{Hello, ShimConfig};

/// The name of the socket in the pod's directory.
pub(crate) const SOCKET: &str = "shim.sock";

/// Out-of-memory adjustment of the shim itself, as upstream gives its pause container.
const OOM_SCORE_ADJ: i32 = -998;
const OOM_SCORE_PATH: &str = "/proc/self/oom_score_adj";

/// Runs a shim: what the binary's hidden subcommand does, before any thread exists. `args` are those after the subcommand's own
/// name: the pod's uid (for people who look at the process list) and its directory.
#[must_use]
pub fn shim_main(args: &[OsString]) -> ExitCode {
    let [_, pod_dir] = args else {
        return ExitCode::from(2);
    };
    match begin(Path::new(pod_dir)) {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(mut server)) => {
            if hello(&Ok(std::process::id())).is_err() {
                return ExitCode::FAILURE;
            }
            server.run();
            ExitCode::SUCCESS
        }
        Err(why) => {
            // The agent may have gone meanwhile; then nobody wants to know.
            let _ = hello(&Err(why));
            ExitCode::FAILURE
        }
    }
}

/// Everything before the loop. `None` in the parent, whose child goes on.
fn begin(pod_dir: &Path) -> Result<Option<server::Server>, String> {
    process::close_inherited().map_err(text)?;
    let bytes = std::fs::read(pod_dir.join("config"))
        .map_err(|e| format!("read {}/config: {e}", pod_dir.display()))?;
    let config: ShimConfig = postcard::from_bytes(&bytes)
        .map_err(|e| format!("read {}/config: {e}", pod_dir.display()))?;
    // The agent is not our parent for long: it must be free to end without taking us along.
    if let Forked::Parent(_) = cgroup::fork_into(&config)? {
        return Ok(None);
    }
    process::new_session().map_err(text)?;
    log::install(pod_dir)?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    protect_from_oom();
    rustix::thread::set_name(c"beeline-shim").map_err(|e| e.to_string())?;
    process::become_subreaper().map_err(text)?;
    namespaces(&config)?;
    let signals = SignalFd::open(&[libc::SIGCHLD, libc::SIGTERM, libc::SIGINT, libc::SIGHUP])
        .map_err(text)?;
    std::env::set_current_dir(pod_dir).map_err(|e| format!("enter {}: {e}", pod_dir.display()))?;
    // Bound by its bare name: the full path may be longer than a socket address.
    let listener = UnixListener::bind(SOCKET)
        .map_err(|e| format!("bind {}/{SOCKET}: {e}", pod_dir.display()))?;
    std::fs::set_permissions(SOCKET, std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .map_err(|e| e.to_string())?;
    listener.set_nonblocking(true).map_err(|e| e.to_string())?;
    std::env::set_current_dir("/").map_err(|e| format!("enter /: {e}"))?;
    server::Server::new(config, signals, listener).map(Some)
}

#[expect(clippy::needless_pass_by_value, reason = "handed to map_err")]
fn text(error: beeline_sys::SysError) -> String {
    error.to_string()
}

fn namespaces(config: &ShimConfig) -> Result<(), String> {
    let shared = Unshare::UTS.and(Unshare::IPC).and(Unshare::MOUNT);
    let host_network = config.spec.host_network;
    process::unshare(if host_network { shared } else { shared.and(Unshare::NET) }).map_err(text)?;
    // Unmounting on the host still reaches us, so that we keep nothing busy; our mounts reach nobody.
    let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", slave).map_err(|e| format!("make mounts private: {e}"))?;
    rustix::system::sethostname(config.spec.hostname.as_bytes())
        .map_err(|e| format!("set host name {}: {e}", config.spec.hostname))?;
    if !host_network {
        beeline_sys::netns::loopback_up().map_err(text)?;
        // As containerd does: a port below 1024 protects nobody in a network of its own.
        std::fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0")
            .map_err(|e| format!("open low ports: {e}"))?;
    }
    for (name, value) in &config.spec.sysctls {
        sysctl(name, value, host_network)?;
    }
    let shm = config.pod_dir.join("shm");
    std::fs::create_dir_all(&shm).map_err(|e| format!("create {}: {e}", shm.display()))?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let data = CString::new("mode=1777,size=65536k").map_err(|e| e.to_string())?;
    rustix::mount::mount("shm", &shm, "tmpfs", flags, data.as_c_str())
        .map_err(|e| format!("mount {}: {e}", shm.display()))
}

/// Sets a kernel parameter that belongs to the pod's own namespaces; any other is refused (CVE-2022-0811).
fn sysctl(name: &str, value: &str, host_network: bool) -> Result<(), String> {
    const IPC: [&str; 7] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
    ];
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        && !name.contains("..");
    let ours = IPC.contains(&name)
        || name == "kernel.shm_rmid_forced"
        || name.starts_with("fs.mqueue.")
        || (name.starts_with("net.") && !host_network);
    if !plain || !ours {
        return Err(format!("sysctl {name:?} is not allowed: it is not the pod's own"));
    }
    let path = format!("/proc/sys/{}", name.replace('.', "/"));
    std::fs::write(&path, value).map_err(|e| format!("set sysctl {name} to {value:?}: {e}"))
}

/// Makes the shim the last to be killed for memory. Without the privilege to do so it stays as it is.
fn protect_from_oom() {
    let _ = std::fs::write(OOM_SCORE_PATH, OOM_SCORE_ADJ.to_string());
}

/// The lowest adjustment that a container can be given: any, or without privilege our own.
fn oom_score_adj_min() -> i32 {
    let own = std::fs::read_to_string(OOM_SCORE_PATH)
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0);
    if own == OOM_SCORE_ADJ { -1000 } else { own }
}

/// Tells the agent how the start went, and lets go of everything it gave us.
fn hello(hello: &Hello) -> std::io::Result<()> {
    let bytes = postcard::to_stdvec(hello).map_err(std::io::Error::other)?;
    std::io::stdout().write_all(&bytes)?;
    std::io::stdout().flush()?;
    process::stdio_to_null().map_err(std::io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_sysctls_are_refused() {
        for name in [
            "kernel.core_pattern",
            "vm.swappiness",
            "net.../../kernel.core_pattern",
            "net/ipv4",
            "kernel.shm_x",
        ] {
            assert!(sysctl(name, "1", false).unwrap_err().contains("not allowed"), "{name}");
        }
        assert!(sysctl("net.ipv4.ip_forward", "1", true).unwrap_err().contains("not allowed"));
    }
}
