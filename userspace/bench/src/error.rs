//! What can go wrong.

use std::{io, path::PathBuf};

/// A measurement did not come about.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A system call failed.
    #[error(transparent)]
    Sys(#[from] beeline_sys::SysError),
    /// A file or directory could not be used.
    #[error("access {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{} does not hold a number first: {text:?}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What it holds.
        text: String,
    },
    /// A program could not be started.
    #[error("run `{command}`: is it installed?")]
    Start {
        /// Which.
        command: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A program ended badly.
    #[error("`{command}` failed: {message}")]
    Tool {
        /// Which.
        command: String,
        /// What it said.
        message: String,
    },
    /// A worker process did not do as it was told.
    #[error("worker in {place}: {message}")]
    Worker {
        /// Where it works.
        place: String,
        /// What it said.
        message: String,
    },
    /// A result could not be read or written.
    #[error("{what}")]
    Json {
        /// What was being done.
        what: String,
        /// Why it failed.
        #[source]
        source: serde_json::Error,
    },
    /// A plot could not be drawn.
    #[error("draw the plot {plot}: {message}")]
    Plot {
        /// Which.
        plot: String,
        /// Why.
        message: String,
    },
    /// Somebody asked to stop.
    #[error("interrupted")]
    Interrupted,
}
