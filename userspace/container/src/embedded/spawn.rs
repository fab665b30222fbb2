//! Starting a shim: its directory, its configuration, the process, and its first word.
//! In: a specification. Out: a shim that listens. Blocks for as long as that takes, a few milliseconds.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::{Config, pod_run_dir};
use crate::logs::pod_dir;
use crate::runtime::{PodUid, Result, RuntimeError, SandboxSpec};
use crate::shim::log::SHIM_LOG;
use crate::shim::protocol::{Hello, ShimConfig};

/// Where libcontainer looks for cgroups.
const CGROUP_MOUNT: &str = "/sys/fs/cgroup";

/// Checks that the root is where it can work; true if the host has only the unified hierarchy.
pub(super) fn check_cgroup_root(root: &Path) -> Result<bool> {
    let fail = |e: beeline_sys::SysError| RuntimeError::io(e.attempt, e.source);
    // A cgroup is made, an ordinary folder is not.
    let there = root.ancestors().find(|path| path.exists()).unwrap_or(root);
    if !root.exists() && beeline_sys::fs::is_cgroup2(there).map_err(fail)? {
        std::fs::create_dir_all(root)
            .map_err(|e| RuntimeError::io(format!("create cgroup {}", root.display()), e))?;
    }
    if !root.exists() || !beeline_sys::fs::is_cgroup2(root).map_err(fail)? {
        return Err(RuntimeError::invalid(
            "--cgroup-root",
            format!(
                "{} is not in a cgroup v2 mount: see `mount -t cgroup2` for those there are",
                root.display()
            ),
        ));
    }
    beeline_sys::fs::is_cgroup2(Path::new(CGROUP_MOUNT)).map_err(fail)
}

/// The instance's cgroup in the unified hierarchy.
pub(super) fn instance_cgroup(cgroup_root: &Path, instance: &str) -> std::path::PathBuf {
    cgroup_root.join(format!("beeline-{instance}"))
}

fn shim_config(config: &Config, spec: &SandboxSpec, unified: bool) -> ShimConfig {
    let uid = &spec.pod_uid;
    let cgroup =
        instance_cgroup(&config.cgroup_root, &config.instance).join("pods").join(uid.as_str());
    let limits_path = if unified {
        let below = cgroup.strip_prefix(CGROUP_MOUNT).unwrap_or(&cgroup);
        format!("/{}", below.display())
    } else {
        format!("/beeline-{}/pod{uid}", config.instance)
    };
    ShimConfig {
        spec: spec.clone(),
        pod_dir: pod_run_dir(&config.run_dir, uid),
        data_dir: config.data_dir.join("containers").join(uid.as_str()),
        log_dir: pod_dir(&config.log_dir, &spec.namespace, &spec.name, uid),
        cgroup,
        limits_path,
        unified,
        log_limits: (config.log_limits.file_bytes_max, config.log_limits.files_max),
    }
}

/// Starts the shim of a pod of which nothing is left.
pub(super) fn spawn(config: &Config, spec: &SandboxSpec, unified: bool) -> Result<()> {
    let shim = shim_config(config, spec, unified);
    prepare(&shim).map_err(|why| failed(&spec.pod_uid, why))?;
    start(config, &shim).map_err(|why| failed(&spec.pod_uid, why))
}

fn failed(pod: &PodUid, why: String) -> RuntimeError {
    RuntimeError::Sandbox { pod: pod.to_string(), why }
}

fn prepare(shim: &ShimConfig) -> std::result::Result<(), String> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    let hostname = &shim.spec.hostname;
    if hostname.is_empty() || hostname.len() > 63 {
        return Err(format!("host name {hostname:?} must have 1 to 63 characters"));
    }
    let make = |dir: &Path, mode: u32| {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(mode)
            .create(dir)
            .map_err(|e| format!("create {}: {e}", dir.display()))
    };
    let write = |path: &Path, bytes: &[u8]| {
        std::fs::write(path, bytes).map_err(|e| format!("write {}: {e}", path.display()))
    };
    make(&shim.pod_dir, 0o700)?;
    make(&shim.data_dir, 0o700)?;
    make(&shim.log_dir, 0o755)?;
    let etc = shim.pod_dir.join("etc");
    make(&etc, 0o755)?;
    let files = [
        ("hosts", shim.spec.hosts.clone()),
        ("hostname", format!("{hostname}\n")),
        ("resolv.conf", shim.spec.resolv_conf.clone()),
    ];
    for (name, content) in files {
        write(&etc.join(name), content.as_bytes())?;
        std::fs::set_permissions(etc.join(name), PermissionsExt::from_mode(0o644))
            .map_err(|e| e.to_string())?;
    }
    let bytes = postcard::to_stdvec(shim).map_err(|e| e.to_string())?;
    write(&shim.pod_dir.join("config"), &bytes)
}

fn start(config: &Config, shim: &ShimConfig) -> std::result::Result<(), String> {
    let (program, first) =
        config.shim_command.split_first().ok_or("no shim command is configured")?;
    let mut command = Command::new(program);
    command
        .arg0("beeline")
        .args(first)
        .arg(OsStr::new(shim.spec.pod_uid.as_str()))
        .arg(&shim.pod_dir);
    let log = shim.pod_dir.join(SHIM_LOG);
    let log = File::options()
        .append(true)
        .create(true)
        .open(&log)
        .map_err(|e| format!("open {}: {e}", log.display()))?;
    command.env_clear().current_dir("/").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
    protect(&mut command, program);
    // Until there is a shim, in its cgroup, nobody could find what an agent that dies leaves behind.
    beeline_sys::process::end_with_parent(&mut command);
    let mut child =
        command.spawn().map_err(|e| format!("execute {}: {e}", Path::new(program).display()))?;
    let mut said = Vec::new();
    let heard = child.stdout.take().map(|mut out| out.read_to_end(&mut said));
    // The process we started forks the shim and ends; only the shim holds the pipe's other end.
    let status = child.wait().map_err(|e| format!("wait for the shim: {e}"))?;
    if let Some(Err(error)) = heard {
        return Err(format!("read from the shim: {error}"));
    }
    match postcard::from_bytes::<Hello>(&said) {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(why)) => Err(why),
        Err(_) => Err(format!(
            "it said nothing ({status}): {}",
            crate::shim::log::since(&shim.pod_dir, 0)
        )),
    }
}

/// Keeps containers from overwriting our own program through `/proc/<pid>/exe`.
fn protect(command: &mut Command, program: &OsStr) {
    let real = std::fs::canonicalize(program)
        .ok()
        .and_then(|path| CString::new(path.as_os_str().as_bytes()).ok());
    match real {
        Some(path) => {
            beeline_sys::process::run_from_read_only(command, path);
        }
        None => {
            let program = Path::new(program).display();
            tracing::warn!(%program, "the program's file is gone: its shims cannot be protected from being overwritten");
        }
    }
}
