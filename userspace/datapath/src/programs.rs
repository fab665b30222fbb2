//! The programs: over pinned maps, put into links that outlive us.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    path::Path,
};

use aya::maps::MapInfo;

use crate::{
    Config, DatapathError, Edge,
    bpf::{self, AttachType, Target},
    clsact,
    error::At as _,
    features,
    load::{self, Standing},
    pins::{self, Pins},
};

/// Programs that hang on the cgroup. Those with a six serve dual-stack sockets, which write IPv4 as `::ffff:a.b.c.d`.
const SOCKETS: [(&str, AttachType); 10] = [
    ("connect4", AttachType::Connect4),
    ("connect6", AttachType::Connect6),
    ("sendmsg4", AttachType::Sendmsg4),
    ("sendmsg6", AttachType::Sendmsg6),
    ("recvmsg4", AttachType::Recvmsg4),
    ("recvmsg6", AttachType::Recvmsg6),
    ("getpeername4", AttachType::Getpeername4),
    ("getpeername6", AttachType::Getpeername6),
    ("sock_release", AttachType::SockRelease),
    ("sock_ops", AttachType::SockOps),
];

/// Programs that hang on the host-side link of every pod. What leaves the pod comes in there.
pub(crate) const LINKS: [(&str, AttachType); 2] =
    [("from_pod", AttachType::TcxIngress), ("to_pod", AttachType::TcxEgress)];

/// Programs that hang on the links by which the world is reached.
pub(crate) const UPLINKS: [(&str, AttachType); 2] =
    [("from_outside", AttachType::TcxIngress), ("to_outside", AttachType::TcxEgress)];

/// The program that hangs in the driver of such a link, where asked for.
pub(crate) const EDGE: &str = "edge";

/// The programs that a node needs: those in drivers only where they are asked for.
fn needed(config: &Config) -> Vec<&'static str> {
    let sockets = SOCKETS.iter().map(|(name, _)| *name);
    let links = LINKS.iter().map(|(name, _)| *name);
    let uplinks = UPLINKS.iter().map(|(name, _)| *name).filter(|_| !config.uplinks.is_empty());
    let edge = Some(EDGE).filter(|_| config.edge == Edge::Native);
    sockets.chain(links).chain(uplinks).chain(edge).collect()
}

/// The loaded programs.
pub(crate) struct Programs {
    standing: Standing,
    /// One that has something to say for itself, by its id.
    pub(crate) speaker: u32,
    clsact: bool,
}

impl Programs {
    /// Takes programs over or loads them; maps that are pinned are used, others are created and pinned.
    pub(crate) fn load(pins: &Pins, config: &Config) -> Result<Self, DatapathError> {
        let standing = load::load(&needed(config), pins, config)?;
        tell_kept_sizes(pins, &config.sizes);
        let clsact = features::why_clsact(config.link_hook).is_some();
        let [(speaker, _), ..] = SOCKETS;
        Ok(Self { standing, speaker: load::id(speaker, pins)?, clsact })
    }

    fn fd(&self, name: &'static str) -> Result<BorrowedFd<'_>, DatapathError> {
        self.standing.get(name).map(OwnedFd::as_fd).ok_or(DatapathError::NoProgram(name))
    }

    /// Puts the socket programs on the cgroup, in place of those that an earlier process left there.
    pub(crate) fn attach_cgroup(&self, pins: &Pins, cgroup: &Path) -> Result<(), DatapathError> {
        let directory = File::open(cgroup).at("open cgroup", cgroup)?;
        // The inode is the cgroup's id: links of another cgroup have other names and are removed below.
        let id = directory.metadata().at("look at cgroup", cgroup)?.ino();
        let name_of = |program: &str| format!("{program}-{id}");
        for (program, kind) in SOCKETS {
            let target = Target::Cgroup(directory.as_fd());
            self.ensure(program, kind, &target, &pins.link(&name_of(program)))
                .map_err(|source| attach(program, &cgroup.display(), source))?;
        }
        for name in pins.link_names()? {
            let ours = SOCKETS.iter().find(|(program, _)| name.starts_with(&format!("{program}-")));
            if let Some((program, _)) = ours
                && name != name_of(program)
            {
                pins::remove(&pins.link(&name))?;
            }
        }
        Ok(())
    }

    /// Puts a program on one pod's link, in place of what an earlier process left there.
    pub(crate) fn attach_link(
        &self,
        program: &'static str,
        kind: AttachType,
        ifindex: u32,
        pin: &Path,
    ) -> Result<(), DatapathError> {
        self.ensure(program, kind, &Target::Link(ifindex), pin)
            .map_err(|source| attach(program, &format!("link {ifindex}"), source))
    }

    /// Puts a program into the driver of a link.
    pub(crate) fn attach_driver(
        &self,
        program: &'static str,
        ifindex: u32,
        pin: &Path,
    ) -> Result<(), DatapathError> {
        self.ensure(program, AttachType::Xdp, &Target::Driver(ifindex), pin)
            .map_err(|source| attach(program, &format!("the driver of link {ifindex}"), source))
    }

    /// Replaces the program in a pinned link. `false` when what it was attached to is gone.
    pub(crate) fn replace(&self, program: &'static str, pin: &Path) -> Result<bool, DatapathError> {
        let fd = self.fd(program)?;
        let replace = if clsact::is_pin(pin) { clsact::replace } else { update };
        replace(fd, pin).map_err(|source| attach(program, &pin.display(), source))
    }

    fn ensure(
        &self,
        program: &'static str,
        kind: AttachType,
        target: &Target<'_>,
        pin: &Path,
    ) -> io::Result<()> {
        let fd = self.fd(program).map_err(io::Error::other)?;
        let by_filter = self.clsact && clsact::replaces(kind);
        if by_filter != clsact::is_pin(pin) {
            // What an earlier process left there is of the other sort, or nothing.
            pins::remove(pin).map_err(io::Error::other)?;
        }
        if by_filter {
            return clsact::attach(fd, kind, pin);
        }
        if update(fd, pin)? {
            return Ok(());
        }
        pins::remove(pin).map_err(io::Error::other)?;
        let link = bpf::link_create(fd, target, kind)?;
        bpf::pin(link.as_fd(), pin)
    }
}

/// `false` when there is no such link, or none that is still attached.
fn update(program: BorrowedFd<'_>, pin: &Path) -> io::Result<bool> {
    let link = match bpf::get(pin) {
        Ok(link) => link,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    match bpf::link_update(link.as_fd(), program) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOLINK) => Ok(false),
        Err(error) => Err(error),
    }
}

/// A map that exists keeps its size, whatever was asked for: making it anew would forget every connection.
fn tell_kept_sizes(pins: &Pins, sizes: &crate::Sizes) {
    for (map, wanted) in sizes.by_map() {
        let Ok(info) = MapInfo::from_pin(pins.map(map)) else { continue };
        let kept = info.max_entries();
        if kept != wanted {
            tracing::warn!(
                map,
                kept,
                wanted,
                "the map keeps its size: drain the node and run `beeline stop --kill` to have it made anew"
            );
        }
    }
}

fn attach(program: &'static str, target: &dyn ToString, source: io::Error) -> DatapathError {
    DatapathError::Attach { program, target: target.to_string(), source }
}
