//! What can go wrong, naming the attempt, the object and the remedy.

use std::{io, path::PathBuf};

use crate::Feature;

/// A datapath that could not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum DatapathError {
    /// The process may not load programs.
    #[error(
        "loading kernel programs needs root, or CAP_BPF, CAP_NET_ADMIN and CAP_SYS_ADMIN (for mounting bpffs)"
    )]
    Privilege,
    /// The kernel or its set-up lacks these.
    #[error("missing on this machine: {}", list(.0))]
    Missing(Vec<Feature>),
    /// The binary holds no kernel object.
    #[error(
        "this binary was built without kernel programs: run `cargo xtask build-ebpf`, then build it again"
    )]
    NoObject,
    /// The pinned maps are of another version, and pods or connections from outside depend on them.
    #[error(
        "the maps under {} have layout {found}, this version needs {wanted}, and {pods} pods and the connections of \
         {uplinks} uplinks depend on them: \
         drain the node and run `beeline stop --kill`, or start the version that made them", .directory.display()
    )]
    Layout {
        /// The instance's directory in the bpffs.
        directory: PathBuf,
        /// What the maps say.
        found: String,
        /// What this build needs.
        wanted: String,
        /// How many pods carry programs that use them.
        pods: usize,
        /// How many links carry programs that use them, if connections are tracked.
        uplinks: usize,
    },
    /// More entries than fit; nothing was written.
    #[error("map {map} holds at most {limit} entries and {wanted} are wanted: nothing was changed")]
    Full {
        /// The map.
        map: &'static str,
        /// Its limit.
        limit: u32,
        /// Entries there would be at the fullest moment.
        wanted: usize,
    },
    /// A map could not be read or written.
    #[error("{attempt} map {map}: {source}")]
    Map {
        /// Read, write, delete from, open.
        attempt: &'static str,
        /// The map.
        map: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The object could not be loaded.
    #[error("load the kernel object")]
    Load(#[source] Box<aya::EbpfError>),
    /// A program could not be loaded.
    #[error("load program {name}")]
    Program {
        /// The program.
        name: &'static str,
        /// Why; the verifier's log, if it refused.
        #[source]
        source: Box<aya::programs::ProgramError>,
    },
    /// The object lacks a program, or has one of another type.
    #[error(
        "the kernel object has no program {0} of the right type: run `cargo xtask build-ebpf`, then build again"
    )]
    NoProgram(&'static str),
    /// After a replacement a program would use other maps than those adopted.
    #[error(
        "program {program} uses another map than the pinned {map}: connections would be orphaned"
    )]
    Orphaned {
        /// The program.
        program: &'static str,
        /// The map.
        map: String,
    },
    /// A program could not be attached.
    #[error("attach program {program} to {target}: {source}")]
    Attach {
        /// The program.
        program: &'static str,
        /// A cgroup or a link.
        target: String,
        /// Why.
        source: io::Error,
    },
    /// Something about files and directories.
    #[error("{attempt} {}: {source}", .path.display())]
    File {
        /// Create, remove, open.
        attempt: &'static str,
        /// What.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A system call of the host layer.
    #[error(transparent)]
    Sys(#[from] beeline_sys::SysError),
    /// The first whole state has not arrived yet, and removing on half a state would cut connections.
    #[error("the tables are not complete yet")]
    Incomplete,
    /// The events have a reader already.
    #[error("the event ring has one reader, and it was handed out")]
    EventsTaken,
    /// The datapath was stopped.
    #[error("the datapath has stopped")]
    Stopped,
}

fn list(missing: &[Feature]) -> String {
    let line = |found: &Feature| format!("{} ({}): {}", found.name, found.why, found.remedy);
    missing.iter().map(line).collect::<Vec<_>>().join("; ")
}

/// Names a path on the way up.
pub(crate) trait At<T> {
    fn at(self, attempt: &'static str, path: &std::path::Path) -> Result<T, DatapathError>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, attempt: &'static str, path: &std::path::Path) -> Result<T, DatapathError> {
        self.map_err(|source| DatapathError::File { attempt, path: path.to_owned(), source })
    }
}
