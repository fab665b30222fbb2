//! A Pod as the state machine needs it: wire types stop here.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use k8s_openapi::{
    api::core::v1::{Container, ContainerStatus, Pod, PodSpec, Probe},
    apimachinery::pkg::apis::meta::v1::Time,
};

use crate::lifecycle::{Prior, PriorContainer, PriorRun};

/// What is wanted of one Pod.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Its unique id.
    pub uid: Arc<str>,
    /// What follows the end of a container.
    pub restart: RestartPolicy,
    /// Time to end in after being asked to.
    pub grace: Duration,
    /// Uses the node's own network.
    pub host_network: bool,
    /// Init containers in their order, then the others.
    pub containers: Vec<WantedContainer>,
}

/// One container of a Pod.
#[derive(Clone, Debug, PartialEq)]
pub struct WantedContainer {
    /// Its name.
    pub name: Arc<str>,
    /// Its part in the Pod.
    pub role: Role,
    /// The image, as written.
    pub image: Arc<str>,
    /// When to look for a newer image.
    pub pull: PullPolicy,
    /// It counts as started only after a probe says so.
    pub startup_probe: bool,
    /// It counts as ready only while a probe says so.
    pub readiness_probe: bool,
    /// Sleep between the order to end and the signal.
    pub pre_stop_sleep: Duration,
}

/// A container's part in its Pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Runs to its end before the next one starts.
    Init,
    /// Started among the init containers, runs as long as the Pod.
    Sidecar,
    /// Runs beside the others.
    Main,
}

/// What follows the end of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartPolicy {
    /// Start it again.
    Always,
    /// Start it again if it failed.
    OnFailure,
    /// Nothing.
    Never,
}

/// When to look for an image elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullPolicy {
    /// Every time.
    Always,
    /// If it is not here.
    IfNotPresent,
    /// Never.
    Never,
}

/// Upstream's default.
const GRACE_DEFAULT: Duration = Duration::from_secs(30);

// === impl Wanted ===

impl Wanted {
    /// Read a Pod. Anything missing has its default; the API server has validated the rest.
    #[must_use]
    pub fn of(pod: &Pod) -> Self {
        let empty = PodSpec::default();
        let spec = pod.spec.as_ref().unwrap_or(&empty);
        let text = |value: &Option<String>| Arc::from(value.as_deref().unwrap_or_default());
        let inits = spec.init_containers.iter().flatten().map(|container| {
            let sidecar = container.restart_policy.as_deref() == Some("Always");
            WantedContainer::of(container, if sidecar { Role::Sidecar } else { Role::Init })
        });
        let mains =
            spec.containers.iter().map(|container| WantedContainer::of(container, Role::Main));
        Self {
            namespace: text(&pod.metadata.namespace),
            name: text(&pod.metadata.name),
            uid: text(&pod.metadata.uid),
            restart: match spec.restart_policy.as_deref() {
                Some("Never") => RestartPolicy::Never,
                Some("OnFailure") => RestartPolicy::OnFailure,
                _ => RestartPolicy::Always,
            },
            grace: spec
                .termination_grace_period_seconds
                .map_or(GRACE_DEFAULT, |s| Duration::from_secs(u64::try_from(s).unwrap_or(0))),
            host_network: spec.host_network.unwrap_or(false),
            containers: inits.chain(mains).collect(),
        }
    }
}

impl WantedContainer {
    fn of(container: &Container, role: Role) -> Self {
        let pre_stop =
            container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.pre_stop.as_ref());
        let sleep =
            pre_stop.and_then(|handler| handler.sleep.as_ref()).map_or(0, |sleep| sleep.seconds);
        let image = container.image.as_deref().unwrap_or_default();
        Self {
            name: container.name.as_str().into(),
            role,
            image: image.into(),
            pull: match container.image_pull_policy.as_deref() {
                Some("Always") => PullPolicy::Always,
                Some("Never") => PullPolicy::Never,
                _ => PullPolicy::IfNotPresent,
            },
            startup_probe: runs(container.startup_probe.as_ref()),
            readiness_probe: runs(container.readiness_probe.as_ref()),
            pre_stop_sleep: Duration::from_secs(u64::try_from(sleep).unwrap_or(0)),
        }
    }
}

/// Probes of other kinds are not run, and must not keep a container from being ready for ever.
fn runs(probe: Option<&Probe>) -> bool {
    probe.is_some_and(|probe| probe.http_get.is_some() || probe.tcp_socket.is_some())
}

/// The Pod's container of this name, wherever it is listed.
#[must_use]
pub fn container<'a>(pod: &'a Pod, name: &str) -> Option<&'a Container> {
    let spec = pod.spec.as_ref()?;
    let inits = spec.init_containers.iter().flatten();
    inits.chain(&spec.containers).find(|container| container.name == name)
}

/// What control knows of the Pod from before.
#[must_use]
pub fn prior(pod: &Pod) -> Prior {
    let Some(status) = &pod.status else { return Prior::default() };
    let inits = status.init_container_statuses.iter().flatten();
    let mains = status.container_statuses.iter().flatten();
    Prior {
        over: matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")),
        since: status.start_time.as_ref().map(system_time),
        containers: inits
            .chain(mains)
            .map(|status| (status.name.clone(), prior_container(status)))
            .collect(),
    }
}

fn prior_container(status: &ContainerStatus) -> PriorContainer {
    let state = status.state.as_ref();
    let running = state.and_then(|state| state.running.as_ref());
    let terminated = state
        .and_then(|state| state.terminated.as_ref())
        .or_else(|| status.last_state.as_ref().and_then(|state| state.terminated.as_ref()));
    let time = |time: &Option<Time>| time.as_ref().map(system_time);
    let ran = match (running, terminated) {
        (Some(running), _) => Some(PriorRun { started_at: time(&running.started_at), exit: None }),
        (None, Some(terminated)) => Some(PriorRun {
            started_at: time(&terminated.started_at),
            exit: Some((terminated.exit_code, terminated.reason.clone().unwrap_or_default())),
        }),
        (None, None) => None,
    };
    PriorContainer {
        restarts: u32::try_from(status.restart_count).unwrap_or(0),
        ready: status.ready,
        started: status.started.unwrap_or(false),
        ran,
    }
}

fn system_time(time: &Time) -> SystemTime {
    let seconds = u64::try_from(time.0.as_second()).unwrap_or(0);
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}
