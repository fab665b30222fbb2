//! What agent and shim say to each other: frames of a 32-bit little-endian length and postcard.
//! Both ends are this program, though not always the same build of it: variants are only ever added at the end.

use std::path::PathBuf;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::image::ImageConfig;
use crate::logs::LogLimits;
use crate::runtime::{
    ContainerId, ContainerSpec, ContainerStatus, Exit, RuntimeError, SandboxSpec,
};

/// The longest frame: a specification with a large environment fits many times.
pub(crate) const FRAME_BYTES_MAX: usize = 4 << 20;

/// Everything a shim knows from its start: the file `config` in its directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ShimConfig {
    pub(crate) spec: SandboxSpec,
    /// `<run dir>/pods/<uid>`: socket, state, files to mount.
    pub(crate) pod_dir: PathBuf,
    /// `<data dir>/containers/<uid>`: writable layers.
    pub(crate) data_dir: PathBuf,
    /// The pod's log directory.
    pub(crate) log_dir: PathBuf,
    /// The pod's cgroup in the unified hierarchy.
    pub(crate) cgroup: PathBuf,
    /// The pod's cgroup as libcontainer wants it: relative to each v1 controller, or to the unified root.
    pub(crate) limits_path: String,
    /// The shim must not sit where controllers are handed down to containers.
    pub(crate) unified: bool,
    pub(crate) log_limits: (u64, u32),
}

impl ShimConfig {
    pub(crate) fn log_limits(&self) -> LogLimits {
        LogLimits { file_bytes_max: self.log_limits.0, files_max: self.log_limits.1 }
    }
}

/// What the shim writes to its standard output once: that it listens, or why not.
pub(crate) type Hello = Result<u32, String>;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClientFrame {
    pub(crate) id: u32,
    pub(crate) request: Request,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Request {
    Create(Box<Create>),
    Start(ContainerId),
    Signal(ContainerId, i32),
    Remove(ContainerId),
    State,
    Subscribe,
    /// Kill everything, clean up, answer, end.
    Shutdown,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Create {
    pub(crate) id: ContainerId,
    pub(crate) spec: ContainerSpec,
    pub(crate) image_id: String,
    pub(crate) image: ImageConfig,
    pub(crate) layers_dir: PathBuf,
    /// Lowest first, relative to `layers_dir`.
    pub(crate) layers: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ServerFrame {
    Reply { id: u32, result: Result<Reply, Refusal> },
    Exited { container: ContainerId, exit: Exit },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Reply {
    Done,
    State(ShimState),
    /// Since when a container runs.
    Started(SystemTime),
}

/// What the shim knows at any moment; also the file `state` in its directory, for an agent that finds the shim dead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ShimState {
    pub(crate) pid: u32,
    /// Clock ticks after boot at which the shim started: with the pid, its identity.
    pub(crate) start_ticks: u64,
    pub(crate) boot_id: String,
    pub(crate) created_at: SystemTime,
    pub(crate) containers: Vec<ContainerStatus>,
}

/// Why the shim did not do it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Refusal {
    NoContainer(String),
    WrongState { container: String, state: String },
    Invalid { field: String, why: String },
    Create { container: String, why: String },
    Start(String),
    RunAsNonRoot(String),
    Failed(String),
}

impl Refusal {
    pub(crate) fn into_error(self, pod: &str) -> RuntimeError {
        let pod = pod.to_owned();
        match self {
            Self::NoContainer(container) => RuntimeError::NoContainer { pod, container },
            Self::WrongState { container, state } => RuntimeError::WrongState { container, state },
            Self::Invalid { field, why } => RuntimeError::Invalid { field, why },
            Self::Create { container, why } => RuntimeError::Create { container, why },
            Self::Start(message) => RuntimeError::Start { message },
            Self::RunAsNonRoot(why) => RuntimeError::RunAsNonRoot(why),
            Self::Failed(why) => RuntimeError::Shim { pod, why },
        }
    }
}

/// A frame ready to be written.
pub(crate) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, String> {
    let bytes = postcard::to_extend(value, vec![0u8; 4]).map_err(|e| e.to_string())?;
    seal(bytes)
}

fn seal(mut bytes: Vec<u8>) -> Result<Vec<u8>, String> {
    let length = bytes.len() - 4;
    let prefix = u32::try_from(length).ok().filter(|_| length <= FRAME_BYTES_MAX);
    let prefix = prefix.ok_or_else(|| format!("a frame of {length} bytes is too long"))?;
    bytes[..4].copy_from_slice(&prefix.to_le_bytes());
    Ok(bytes)
}

/// Takes one whole frame off the front of what was read, if there is one.
pub(crate) fn take_frame(buffer: &mut Vec<u8>) -> Result<Option<Vec<u8>>, String> {
    let Some(prefix) = buffer.first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_le_bytes(*prefix) as usize;
    if length > FRAME_BYTES_MAX {
        return Err(format!("a frame of {length} bytes is announced"));
    }
    if buffer.len() < 4 + length {
        return Ok(None);
    }
    let rest = buffer.split_off(4 + length);
    let mut frame = std::mem::replace(buffer, rest);
    frame.drain(..4);
    Ok(Some(frame))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_being_cut_anywhere() {
        let frames = [
            ClientFrame { id: 1, request: Request::State },
            ClientFrame { id: 2, request: Request::Signal(ContainerId::of(&pod(), "c", 0), 15) },
        ];
        let stream: Vec<u8> = frames.iter().flat_map(|f| encode(f).unwrap()).collect();
        let mut buffer = Vec::new();
        let mut read: Vec<ClientFrame> = Vec::new();
        for byte in stream {
            buffer.push(byte);
            while let Some(frame) = take_frame(&mut buffer).unwrap() {
                read.push(postcard::from_bytes(&frame).unwrap());
            }
        }
        assert_eq!(read, frames);
        assert!(take_frame(&mut vec![0xff; 8]).is_err());
    }

    fn pod() -> crate::runtime::PodUid {
        crate::runtime::PodUid::new("p").unwrap()
    }
}
