//! Per-interface kernel switches, in the network namespace of the calling thread.

use std::{fs, io};

use crate::NetError;

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

/// Which half of `/proc/sys/net`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

fn path(family: Family, link: &str, key: &str) -> String {
    let family = match family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    };
    format!("/proc/sys/net/{family}/conf/{link}/{key}")
}
