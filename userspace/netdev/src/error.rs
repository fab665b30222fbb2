//! What can go wrong, named by attempt and object, with the way out where there is one.

use std::io;

use beeline_sys::SysError;

/// An attempt to change or read the node's network that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// No netlink socket.
    #[error(
        "open a netlink socket: {source}; the agent needs a kernel with rtnetlink and, to change links, CAP_NET_ADMIN"
    )]
    Socket {
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel refused a change.
    #[error("{attempt}: {source}{}", remedy(source))]
    Refused {
        /// What was tried, with the object's name.
        attempt: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// Something that was just made, or must exist, is not there.
    #[error("{attempt}: there is no link {link}; was it removed by hand?")]
    NoLink {
        /// What was tried.
        attempt: String,
        /// The missing link.
        link: String,
    },
    /// A kernel switch could not be written.
    #[error("write {value} to {path}: {source}; is /proc/sys mounted read-only?")]
    Sysctl {
        /// The file.
        path: String,
        /// What should be in it.
        value: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// Another namespace could not be entered.
    #[error(transparent)]
    Namespace(#[from] SysError),
    /// The kernel sent something that is no netlink message.
    #[error("{attempt}: the kernel's answer cannot be read: {problem}")]
    Garbled {
        /// What was tried.
        attempt: String,
        /// What is wrong with the answer.
        problem: String,
    },
    /// The worker that talks to the kernel ended early: the process is shutting down, or a bug.
    #[error("{attempt}: the worker ended before it could answer")]
    Worker {
        /// What was tried.
        attempt: &'static str,
    },
}

impl NetError {
    /// The kernel's error number, where there is one.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Socket { source }
            | Self::Refused { source, .. }
            | Self::Sysctl { source, .. } => source.raw_os_error(),
            Self::Namespace(error) => error.source.raw_os_error(),
            Self::NoLink { .. } | Self::Garbled { .. } | Self::Worker { .. } => None,
        }
    }
}

fn remedy(source: &io::Error) -> &'static str {
    match source.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => "; run the agent as root or with CAP_NET_ADMIN",
        Some(libc::EOPNOTSUPP | libc::EAFNOSUPPORT) => {
            "; the kernel lacks veth (modprobe veth), or has IPv6 switched off, which pods of both families need"
        }
        Some(libc::ENETUNREACH | libc::EHOSTUNREACH) => {
            "; the next hop is on no segment of this node, and routes between segments need an overlay"
        }
        Some(libc::ENFILE | libc::EMFILE) => "; raise the limit of open files",
        Some(libc::ESRCH) => "; the process whose namespace it was has ended",
        _ => "",
    }
}
