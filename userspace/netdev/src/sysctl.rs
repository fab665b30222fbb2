//! Per-interface kernel switches, in the network namespace of the calling thread.

use std::{fs, io, path::Path};

use crate::NetError;

/// The folder of the IPv6 switches.
const V6_ROOT: &str = "/proc/sys/net/ipv6/conf";

/// Writes one switch of one interface: `set(Family::V4, "eth0", "forwarding", "1")`.
pub(crate) fn set(
    family: Family,
    link: &str,
    key: &str,
    value: &'static str,
) -> Result<(), NetError> {
    let path = path(family, link, key);
    match fs::write(&path, value) {
        Ok(()) => Ok(()),
        // A kernel without IPv6 has nothing to switch off.
        Err(error) if family == Family::V6 && error.kind() == io::ErrorKind::NotFound => Ok(()),
        // A read-only /proc/sys is fine where the value already stands.
        Err(_) if fs::read_to_string(&path).is_ok_and(|now| now.trim() == value) => Ok(()),
        Err(source) => Err(NetError::Sysctl { path, value, source }),
    }
}

/// Let what arrives on a link through to others.
pub(crate) fn forward(family: Family, link: &str) -> Result<(), NetError> {
    match family {
        Family::V4 => set(family, link, "forwarding", "1"),
        Family::V6 if Path::new(&path(family, link, "force_forwarding")).exists() => {
            set(family, link, "force_forwarding", "1")
        }
        Family::V6 => forward_everything(),
    }
}

/// Before Linux 6.17 IPv6 has one switch for the whole namespace: `forwarding` of one link only says whether it behaves as
/// a router. A router does not listen to other routers unless `accept_ra` is 2, and so would lose the routes that an uplink
/// has from them.
pub(crate) fn forward_everything() -> Result<(), NetError> {
    if is(&path(Family::V6, "all", "forwarding"), "1") {
        return Ok(());
    }
    for link in fs::read_dir(V6_ROOT).into_iter().flatten().flatten() {
        let link = link.file_name().to_string_lossy().into_owned();
        if is(&path(Family::V6, &link, "accept_ra"), "1") {
            set(Family::V6, &link, "accept_ra", "2")?;
        }
    }
    set(Family::V6, "all", "forwarding", "1")
}

fn is(path: &str, value: &str) -> bool {
    fs::read_to_string(path).is_ok_and(|now| now.trim() == value)
}

/// Which half of `/proc/sys/net`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

fn path(family: Family, link: &str, key: &str) -> String {
    match family {
        Family::V4 => format!("/proc/sys/net/ipv4/conf/{link}/{key}"),
        Family::V6 => format!("{V6_ROOT}/{link}/{key}"),
    }
}
