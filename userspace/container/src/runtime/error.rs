//! What can go wrong, in words and reasons that a Pod's status shows as upstream would.

use std::io;

use crate::image::ImageError;
use crate::logs::LogError;

/// Why the runtime could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The specification cannot be carried out whatever happens: the user's to change.
    #[error("invalid {field}: {why}")]
    Invalid {
        /// Which part of it.
        field: String,
        /// What is wrong with it.
        why: String,
    },
    /// The image is not in the store (`ErrImageNeverPull` or `ErrImagePull`, whichever the pull policy makes of it).
    #[error(
        "image \"{reference}\" is not present on this node: import it with `beeline image import`"
    )]
    ImageNotPresent {
        /// The reference, as written.
        reference: String,
    },
    /// The image store failed.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The container must not run as root but would (`CreateContainerConfigError`).
    #[error("{0}")]
    RunAsNonRoot(String),
    /// The program could not be executed (`StartError`, exit code 128): upstream's text, such as
    /// `exec: "foo": executable file not found in $PATH`.
    #[error("{message}")]
    Start {
        /// Upstream's text.
        message: String,
    },
    /// The container could not be prepared (`CreateContainerError`).
    #[error("create container {container}: {why}")]
    Create {
        /// The container's name.
        container: String,
        /// What failed.
        why: String,
    },
    /// The pod's shim could not be started (`CreatePodSandboxError`).
    #[error("start the shim of pod {pod}: {why}")]
    Sandbox {
        /// The pod's uid.
        pod: String,
        /// What failed.
        why: String,
    },
    /// There is no such sandbox.
    #[error("pod {0} has no sandbox here")]
    NoSandbox(String),
    /// There is no such container.
    #[error("pod {pod} has no container {container}")]
    NoContainer {
        /// The pod's uid.
        pod: String,
        /// The container's id or name.
        container: String,
    },
    /// The container is not in the state that the request needs.
    #[error("container {container} is {state}")]
    WrongState {
        /// The container's name.
        container: String,
        /// What it is.
        state: String,
    },
    /// The shim went away, or did not answer in time.
    #[error("talk to the shim of pod {pod}: {why}")]
    Shim {
        /// The pod's uid.
        pod: String,
        /// What happened.
        why: String,
    },
    /// Logs could not be read.
    #[error(transparent)]
    Logs(#[from] LogError),
    /// A file or a system call.
    #[error("{attempt}")]
    Io {
        /// What was tried, on which object.
        attempt: String,
        /// What came back.
        #[source]
        source: io::Error,
    },
}

impl RuntimeError {
    pub(crate) fn invalid(field: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Invalid { field: field.into(), why: why.into() }
    }

    pub(crate) fn io(attempt: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::Io { attempt: attempt.into(), source: source.into() }
    }

    /// Upstream's word for the reason of a waiting or terminated container (or of the event about it).
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Invalid { .. } | Self::RunAsNonRoot(_) => "CreateContainerConfigError",
            Self::ImageNotPresent { .. } => "ErrImagePull",
            Self::Image(_) => "ImageInspectError",
            Self::Start { .. } => "StartError",
            Self::Create { .. } => "CreateContainerError",
            Self::Sandbox { .. } | Self::NoSandbox(_) => "CreatePodSandboxError",
            Self::NoContainer { .. }
            | Self::WrongState { .. }
            | Self::Shim { .. }
            | Self::Logs(_)
            | Self::Io { .. } => "RunContainerError",
        }
    }

    /// True when the same request may succeed later without anybody changing it.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        !matches!(self, Self::Invalid { .. } | Self::RunAsNonRoot(_) | Self::WrongState { .. })
    }
}
