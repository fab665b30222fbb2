//! Network links by name.
//! In: names of links in the calling thread's network namespace. Out: indexes.
//! Refuses to change links: that is netlink, and another crate.

use rustix::net::{AddressFamily, SocketType, netdevice::name_to_index};

use crate::{Attempt, Result};

/// The index of the link with that name.
pub fn index_of(name: &str) -> Result<u32> {
    let what = || format!("find link {name}: `ip link` lists those there are");
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None).attempt(what)?;
    name_to_index(socket, name).attempt(what)
}
