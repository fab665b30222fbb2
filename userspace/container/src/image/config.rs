//! What an image says about how to run it: the fields of its configuration that matter here.
//! In: the configuration blob, whose other fields are ignored. Out: plain values.

use serde::{Deserialize, Serialize};

/// How to run an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ImageConfig {
    /// The program and its first arguments.
    pub entrypoint: Vec<String>,
    /// More arguments, or the program when there is no entry point.
    pub cmd: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// Where the program starts.
    pub working_dir: String,
    /// `user`, `uid`, `user:group` or `uid:gid`; empty means root.
    pub user: String,
    /// The signal that asks the program to end; empty means SIGTERM.
    pub stop_signal: String,
}

impl ImageConfig {
    /// The uid when the image names one by number; `None` when it names a user by name. Empty means root.
    #[must_use]
    pub fn numeric_uid(&self) -> Option<u32> {
        let user = self.user.split(':').next().unwrap_or_default();
        if user.is_empty() { Some(0) } else { user.parse().ok() }
    }
}

/// The configuration blob.
#[derive(Debug, Deserialize)]
pub(super) struct Document {
    #[serde(default)]
    pub(super) architecture: String,
    #[serde(default)]
    pub(super) os: String,
    #[serde(default)]
    config: Option<Written>,
    #[serde(default)]
    pub(super) rootfs: Rootfs,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Rootfs {
    #[serde(default)]
    pub(super) diff_ids: Vec<String>,
}

/// [`ImageConfig`] as builders write it: any field may be missing or null.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Written {
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    env: Option<Vec<String>>,
    working_dir: Option<String>,
    user: Option<String>,
    stop_signal: Option<String>,
}

impl Document {
    /// What it says about how to run the image.
    pub(super) fn into_config(self) -> ImageConfig {
        let Written { entrypoint, cmd, env, working_dir, user, stop_signal } =
            self.config.unwrap_or_default();
        ImageConfig {
            entrypoint: entrypoint.unwrap_or_default(),
            cmd: cmd.unwrap_or_default(),
            env: env.unwrap_or_default(),
            working_dir: working_dir.unwrap_or_default(),
            user: user.unwrap_or_default(),
            stop_signal: stop_signal.unwrap_or_default(),
        }
    }
}
