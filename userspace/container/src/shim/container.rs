//! One container from created to removed. In: requests, bytes from its pipes, its exit. Out: its status.
//! Preparing calls libcontainer, which forks this process twice; nothing else here takes longer than a system call.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::OFlags;
use rustix::pipe::PipeFlags;

use super::cgroup::ContainerCgroups;
use super::exec::Exec;
use super::protocol::{Create, Refusal, ShimConfig};
use super::rootfs::RootFs;
use super::spec::{self, Context};
use super::{log, oom_score_adj_min, protect_from_oom, user};
use crate::logs::{LogWriter, Stream, container_dir};
use crate::rooted::Rooted;
use crate::runtime::{ContainerState, ContainerStatus, Exit};
use beeline_sys::process::{Ended, pidfd, signal_pidfd};

/// How long a program may take from the word to go until it has been executed or refused.
const EXEC_TIMEOUT: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };
/// Upstream's limit on a termination message.
const MESSAGE_BYTES_MAX: usize = 4096;
/// Upstream's exit code of a program that could not be started.
const CODE_START_ERROR: i32 = 128;

pub(super) struct Container {
    pub(super) status: ContainerStatus,
    pub(super) pid: u32,
    handle: OwnedFd,
    rootfs: RootFs,
    cgroups: ContainerCgroups,
    log: LogWriter,
    outputs: [Option<OwnedFd>; 2],
    report: OwnedFd,
    dirs: [PathBuf; 2],
    termination_log: PathBuf,
}

impl Container {
    /// Prepares a container up to the point where its program can start.
    pub(super) fn create(config: &ShimConfig, create: &Create) -> Result<Self, Refusal> {
        let short = create.id.short();
        let bundle = config.pod_dir.join("c").join(short);
        let rootfs = RootFs::mount(bundle.join("rootfs"), config.data_dir.join(short), create);
        let rootfs = rootfs.map_err(|why| refused(create, why))?;
        let cgroups = ContainerCgroups::of(config, short);
        match Self::prepare(config, create, &bundle, &rootfs) {
            Ok(ready) => Ok(ready.into_container(config, create, rootfs, cgroups, bundle)?),
            Err(refusal) => {
                rootfs.remove();
                cgroups.remove();
                for dir in [bundle, config.pod_dir.join("lc").join(short)] {
                    let _ = std::fs::remove_dir_all(dir);
                }
                Err(refusal)
            }
        }
    }

    fn prepare(
        config: &ShimConfig,
        create: &Create,
        bundle: &std::path::Path,
        rootfs: &RootFs,
    ) -> Result<Ready, Refusal> {
        let fail = |why: String| refused(create, why);
        let spec = &create.spec;
        let root = Rooted::open(&rootfs.path).map_err(|e| fail(format!("open root: {e}")))?;
        let identity =
            user::resolve(&root, spec.user.as_ref(), &create.image.user).map_err(fail)?;
        if spec.run_as_non_root && identity.uid == 0 {
            return Err(Refusal::RunAsNonRoot(
                "container has runAsNonRoot and image will run as root".to_owned(),
            ));
        }
        let argv = Arc::new(spec::argv(spec, &create.image.entrypoint, &create.image.cmd));
        if argv.is_empty() {
            return Err(Refusal::Start("no command specified".to_owned()));
        }
        let env =
            Arc::new(spec::env(spec, &create.image.env, &config.spec.hostname, &identity.home));
        let cwd = spec.working_dir.as_deref().unwrap_or(&create.image.working_dir);
        let cwd = if cwd.is_empty() { "/" } else { cwd };
        if !cwd.starts_with('/') {
            return Err(Refusal::Invalid {
                field: "workingDir".to_owned(),
                why: format!("{cwd:?} is not absolute"),
            });
        }
        root.make_dir(cwd.as_ref()).map_err(|e| fail(format!("working directory {cwd}: {e}")))?;
        for mount in spec.mounts.iter().filter(|m| m.host_path.is_dir()) {
            // Made here, inside whatever links the image holds; libcontainer refuses a link to what is not there.
            root.make_dir(mount.container_path.as_ref())
                .map_err(|e| fail(format!("mount point {}: {e}", mount.container_path)))?;
        }
        let termination_log = bundle.join("termination-log");
        std::fs::write(&termination_log, "")
            .map_err(|e| fail(format!("create termination log: {e}")))?;
        let open_to_all = std::os::unix::fs::PermissionsExt::from_mode(0o666);
        std::fs::set_permissions(&termination_log, open_to_all).map_err(|e| fail(e.to_string()))?;
        let context = Context {
            rootfs: &rootfs.path,
            etc_dir: &config.pod_dir.join("etc"),
            shm_dir: &config.pod_dir.join("shm"),
            termination_log: spec
                .termination_message_path
                .is_some()
                .then_some(termination_log.as_path()),
            cgroups_path: &format!("{}/{}", config.limits_path, create.id.short()),
            cgroup_mounts: &super::cgroup::mounts_inside(config),
            argv: &argv,
            env: &env,
            cwd,
            oom_score_adj: spec.oom_score_adj.unwrap_or(0).max(oom_score_adj_min()),
            identity: &identity,
        };
        let document = spec::document(spec, &context)
            .map_err(|(field, why)| Refusal::Invalid { field, why })?;
        std::fs::write(bundle.join("config.json"), document.to_string())
            .map_err(|e| fail(format!("write config.json: {e}")))?;
        build(config, create, bundle, argv, env)
    }

    /// Lets the program start and waits until it has been executed or refused.
    pub(super) fn start(&mut self, config: &ShimConfig) -> Result<SystemTime, Refusal> {
        let name = self.status.name.clone();
        if self.status.state != ContainerState::Created {
            return Err(Refusal::WrongState {
                container: name,
                state: word(&self.status.state).to_owned(),
            });
        }
        let dir = config.pod_dir.join("lc").join(self.status.id.short());
        go(&dir).map_err(|e| Refusal::Failed(format!("start container {name}: {e}")))?;
        let message = wait_for_exec(&self.report)
            .map_err(|e| Refusal::Failed(format!("start container {name}: {e}")))?;
        if let Some(message) = message {
            let exit = Exit {
                code: CODE_START_ERROR,
                signal: None,
                oom: false,
                started_at: None,
                finished_at: SystemTime::now(),
                message: Some(message.clone()),
            };
            self.status.state = ContainerState::Exited(exit);
            return Err(Refusal::Start(message));
        }
        let started_at = SystemTime::now();
        self.status.state = ContainerState::Running { pid: self.pid, started_at };
        Ok(started_at)
    }

    /// True while a process of the container exists.
    pub(super) fn is_alive(&self) -> bool {
        self.pid != 0
    }

    pub(super) fn signal(&self, signal: i32) -> Result<(), String> {
        if !self.is_alive() {
            return Ok(());
        }
        match signal_pidfd(&self.handle, signal) {
            Err(error) if error.source.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            other => other.map_err(|e| e.to_string()),
        }
    }

    /// The container's first process has ended, and with it every process in its pid namespace.
    pub(super) fn ended(&mut self, how: Ended) -> Option<Exit> {
        self.pid = 0;
        for stream in [Stream::Stdout, Stream::Stderr] {
            self.drain(stream);
            self.close(stream);
        }
        if matches!(self.status.state, ContainerState::Exited(_)) {
            return None;
        }
        let (code, signal) = match how {
            Ended::Code(code) => (code, None),
            Ended::Signal(signal) => (128 + signal, Some(signal)),
        };
        let started_at = match self.status.state {
            ContainerState::Running { started_at, .. } => Some(started_at),
            _ => None,
        };
        // A kill elsewhere in the container matters only if the program failed as well.
        let oom = code != 0 && self.cgroups.oom_kills() > 0;
        let exit = Exit {
            code,
            signal,
            oom,
            started_at,
            finished_at: SystemTime::now(),
            message: self.message(),
        };
        self.status.state = ContainerState::Exited(exit.clone());
        Some(exit)
    }

    fn message(&self) -> Option<String> {
        let last = last_bytes(&self.termination_log).ok().filter(|b| !b.is_empty())?;
        Some(String::from_utf8_lossy(&last).into_owned())
    }

    /// The pipe of a stream, while it is open.
    pub(super) fn output(&self, stream: Stream) -> Option<&OwnedFd> {
        self.outputs[stream as usize].as_ref()
    }

    /// Copies what a pipe holds to the log, but no more than one pipe's worth, so that others have their turn.
    pub(super) fn drain(&mut self, stream: Stream) {
        let mut buffer = [0u8; 64 << 10];
        for _ in 0..2 {
            let Some(pipe) = &self.outputs[stream as usize] else { return };
            match rustix::io::read(pipe, &mut buffer) {
                // A full disk loses log lines, never the program's progress.
                Ok(read) if read > 0 => {
                    let _ = self.log.feed(stream, &buffer[..read], SystemTime::now());
                }
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return,
                Ok(_) | Err(_) => return self.close(stream),
            }
        }
    }

    fn close(&mut self, stream: Stream) {
        if self.outputs[stream as usize].take().is_some() {
            let _ = self.log.end(stream, SystemTime::now());
        }
    }

    /// Removes everything but the log.
    pub(super) fn remove(&self) {
        self.rootfs.remove();
        self.cgroups.remove();
        for dir in &self.dirs {
            let _ = std::fs::remove_dir_all(dir);
        }
    }
}

/// What libcontainer's part left in our hands.
struct Ready {
    pid: u32,
    outputs: [Option<OwnedFd>; 2],
    report: OwnedFd,
}

impl Ready {
    fn into_container(
        self,
        config: &ShimConfig,
        create: &Create,
        rootfs: RootFs,
        cgroups: ContainerCgroups,
        bundle: PathBuf,
    ) -> Result<Container, Refusal> {
        let dir = container_dir(&config.log_dir, &create.spec.name);
        let log_path = dir.join(format!("{}.log", create.spec.attempt));
        let log = LogWriter::open(&dir, create.spec.attempt, config.log_limits());
        let handle = pidfd(self.pid).map_err(|e| refused(create, e.to_string()))?;
        let log = match log {
            Ok(log) => log,
            Err(error) => {
                let _ = signal_pidfd(&handle, libc::SIGKILL);
                return Err(refused(create, format!("open log {}: {error}", log_path.display())));
            }
        };
        Ok(Container {
            status: ContainerStatus {
                id: create.id.clone(),
                name: create.spec.name.clone(),
                attempt: create.spec.attempt,
                image: create.spec.image.clone(),
                image_id: create.image_id.clone(),
                state: ContainerState::Created,
                created_at: SystemTime::now(),
                log_path,
            },
            pid: self.pid,
            handle,
            rootfs,
            cgroups,
            log,
            outputs: self.outputs,
            report: self.report,
            termination_log: bundle.join("termination-log"),
            dirs: [bundle, config.pod_dir.join("lc").join(create.id.short())],
        })
    }
}

/// The end of a file that a container may have made as long as it likes.
fn last_bytes(path: &std::path::Path) -> std::io::Result<Vec<u8>> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = std::fs::File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(MESSAGE_BYTES_MAX as u64)))?;
    let mut bytes = Vec::new();
    file.take(MESSAGE_BYTES_MAX as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn refused(create: &Create, why: String) -> Refusal {
    Refusal::Create { container: create.spec.name.clone(), why }
}

fn word(state: &ContainerState) -> &'static str {
    match state {
        ContainerState::Created => "created",
        ContainerState::Running { .. } => "running",
        ContainerState::Exited(_) => "exited",
    }
}

fn build(
    config: &ShimConfig,
    create: &Create,
    bundle: &std::path::Path,
    argv: Arc<Vec<String>>,
    env: Arc<Vec<(String, String)>>,
) -> Result<Ready, Refusal> {
    let fail = |why: String| refused(create, why);
    let pipe =
        || rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(|e| fail(format!("open pipe: {e}")));
    let (out, out_writer) = pipe()?;
    let (err, err_writer) = pipe()?;
    let (report, report_writer) = pipe()?;
    for reader in [&out, &err, &report] {
        rustix::fs::fcntl_setfl(reader, OFlags::NONBLOCK).map_err(|e| fail(e.to_string()))?;
    }
    let null =
        std::fs::File::open("/dev/null").map_err(|e| fail(format!("open /dev/null: {e}")))?;
    let states = config.pod_dir.join("lc");
    std::fs::create_dir_all(&states)
        .map_err(|e| fail(format!("create {}: {e}", states.display())))?;
    let executor = Exec { report: Arc::new(report_writer), argv, env };
    let logged = log::position(&config.pod_dir);
    let built = ContainerBuilder::new(create.id.short().to_owned(), SyscallType::default())
        .with_root_path(&states)
        .and_then(|builder| {
            let builder = builder
                .with_executor(executor)
                .with_stdin(null)
                .with_stdout(out_writer)
                .with_stderr(err_writer);
            builder.as_init(bundle).as_sibling(false).with_systemd(false).with_detach(true).build()
        });
    // libcontainer adjusts our own score on the way to the container's.
    protect_from_oom();
    let container = built.map_err(|error| match read_report(&report) {
        Some(message) => Refusal::Start(message),
        None => fail(format!("{}: {}", causes(&error), log::since(&config.pod_dir, logged))),
    })?;
    let pid = container
        .pid()
        .and_then(|p| u32::try_from(p.as_raw()).ok())
        .ok_or_else(|| fail("no process".to_owned()))?;
    Ok(Ready { pid, outputs: [Some(out), Some(err)], report })
}

/// An error with all that caused it, each said once.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = cause.source();
    }
    text
}

/// Tells the waiting process to go on, through the socket that libcontainer listens on. Reached by its bare name, as its path may
/// be longer than a socket address.
fn go(dir: &std::path::Path) -> std::io::Result<()> {
    use std::io::Write;
    std::env::set_current_dir(dir)?;
    let connected = UnixStream::connect("notify.sock");
    std::env::set_current_dir("/")?;
    connected?.write_all(b"start container")
}

/// Waits until exec closes the pipe; a message before that is why it failed.
fn wait_for_exec(report: &OwnedFd) -> Result<Option<String>, String> {
    let mut fds = [PollFd::new(report, PollFlags::IN)];
    match rustix::event::poll(&mut fds, Some(&EXEC_TIMEOUT)) {
        Ok(0) => Err(format!(
            "its program was not executed within {} s",
            Duration::from_secs(EXEC_TIMEOUT.tv_sec.unsigned_abs()).as_secs()
        )),
        Ok(_) => Ok(read_report(report)),
        Err(error) => Err(error.to_string()),
    }
}

fn read_report(report: &OwnedFd) -> Option<String> {
    let mut buffer = [0u8; MESSAGE_BYTES_MAX];
    let read = rustix::io::read(report.as_fd(), &mut buffer).ok().filter(|read| *read > 0)?;
    Some(String::from_utf8_lossy(&buffer[..read]).into_owned())
}

#[cfg(test)]
mod tests {
    use super::{MESSAGE_BYTES_MAX, last_bytes};

    #[test]
    fn of_a_long_termination_message_only_the_end_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("termination-log");
        std::fs::write(&path, "short").unwrap();
        assert_eq!(last_bytes(&path).unwrap(), b"short");
        // More than any machine has memory: a hole costs a container nothing.
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(1 << 42).unwrap();
        assert_eq!(last_bytes(&path).unwrap(), [0; MESSAGE_BYTES_MAX]);
    }
}
