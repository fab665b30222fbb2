//! One network namespace, held by a descriptor.

use std::{fs::File, os::fd::AsRawFd as _, path::PathBuf};

use beeline_sys::{SysError, netns};

use super::tools;
use crate::BenchError;

/// A network namespace; gone with all that is in it when dropped.
#[derive(Debug)]
pub struct Namespace {
    name: &'static str,
    file: File,
}

impl Namespace {
    /// Make one with a loopback device that is up.
    pub fn new(name: &'static str) -> Result<Self, BenchError> {
        let hold = || {
            netns::loopback_up()?;
            File::open("/proc/thread-self/ns/net")
                .map_err(|error| SysError::new(format!("hold the namespace {name}"), error))
        };
        // It lives on, since somebody holds it.
        Ok(Self { name, file: netns::inside_new(hold)? })
    }

    /// What it is for.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The path through which any process can enter it.
    pub fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd()).into()
    }

    /// Run something on a thread of its own inside.
    pub fn inside<T: Send>(
        &self,
        work: impl FnOnce() -> Result<T, SysError> + Send,
    ) -> Result<T, BenchError> {
        Ok(netns::inside(&self.path(), work)?)
    }

    /// The same for work that fails in our own ways.
    pub fn run<T: Send>(
        &self,
        work: impl FnOnce() -> Result<T, BenchError> + Send,
    ) -> Result<T, BenchError> {
        netns::inside(&self.path(), || Ok(work()))?
    }

    /// Run `ip` inside, with one command in each line.
    pub fn ip(&self, commands: &str) -> Result<(), BenchError> {
        let tool = tools::Tool { program: "ip", arguments: &["-batch", "-"] };
        self.run(|| tools::run(&tool, commands)).map(drop)
    }

    /// Set a switch of this namespace: a path below `/proc/sys`.
    pub fn sysctl(&self, name: &str, value: &str) -> Result<(), BenchError> {
        let path = PathBuf::from("/proc/sys").join(name);
        // Which namespace's value this is follows from who opens it.
        self.run(|| {
            std::fs::write(&path, value).map_err(|source| BenchError::File { path, source })
        })
    }

    /// The index of a link.
    pub fn ifindex(&self, link: &str) -> Result<u32, BenchError> {
        use rustix::net::{AddressFamily, SocketType, netdevice, socket};
        let find = || {
            let any = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
            netdevice::name_to_index(any, link)
        };
        self.inside(|| find().map_err(|error| SysError::new(format!("find link {link}"), error)))
    }
}
