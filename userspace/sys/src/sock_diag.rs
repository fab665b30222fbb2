//! Ending sockets of other processes: `SOCK_DESTROY` of sock_diag(7), for datagram sockets whose peer is gone.
//! In: socket cookies. Out: how many sockets were ended; their owners get ECONNABORTED and connect again.
//! Refuses to touch a socket that is not named by its cookie, whose number the kernel never uses for another.

use std::{collections::BTreeSet, fs, io, path::PathBuf};

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};

use crate::{Attempt as _, Result, netns};

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const SOCK_DESTROY: u16 = 21;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const REQUEST: u16 = 1;
const ACK: u16 = 4;
const DUMP: u16 = 0x300;
const UDP: u8 = 17;
const FAMILIES: [u8; 2] = [2, 10];
const HEADER_BYTES: usize = 16;
/// `inet_diag_sockid` of linux/inet_diag.h: ports, addresses, link, cookie.
const ID_BYTES: usize = 48;
/// Where the id begins in `inet_diag_msg`, and its cookie in the id.
const ID_AT: usize = 4;
const COOKIE_AT: usize = 40;

/// Ends UDP sockets with these cookies, in whatever network namespace of a process on this machine they are.
pub fn end_datagram_sockets(cookies: &BTreeSet<u64>) -> Result<usize> {
    let mut ended = 0;
    for namespace in namespaces()? {
        // A namespace may go while it is entered; what was in it is then gone too.
        if let Ok(found) = netns::inside(&namespace, || end_here(cookies)) {
            ended += found;
        }
        if ended >= cookies.len() {
            break;
        }
    }
    Ok(ended)
}

/// One path for each network namespace in which some process is.
fn namespaces() -> Result<Vec<PathBuf>> {
    let processes = fs::read_dir("/proc").attempt(|| "list processes in /proc".to_owned())?;
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for process in processes.flatten() {
        let path = process.path().join("ns/net");
        if let Ok(name) = fs::read_link(&path)
            && seen.insert(name)
        {
            found.push(path);
        }
    }
    Ok(found)
}

fn end_here(cookies: &BTreeSet<u64>) -> Result<usize> {
    let mut ended = 0;
    for family in FAMILIES {
        for id in udp_sockets(family)? {
            if cookies.contains(&cookie(&id)) && destroy(family, &id)? {
                ended += 1;
            }
        }
    }
    Ok(ended)
}

fn cookie(id: &[u8; ID_BYTES]) -> u64 {
    let word =
        |at: usize| u64::from(u32::from_ne_bytes([id[at], id[at + 1], id[at + 2], id[at + 3]]));
    word(COOKIE_AT) | word(COOKIE_AT + 4) << 32
}

/// The ids of all UDP sockets of one family in this network namespace.
fn udp_sockets(family: u8) -> Result<Vec<[u8; ID_BYTES]>> {
    let what = || "list UDP sockets (sock_diag)".to_owned();
    let message = request(SOCK_DIAG_BY_FAMILY, REQUEST | DUMP, family, &[0; ID_BYTES]);
    let mut found = Vec::new();
    talk(&message, |kind, body| {
        if kind == SOCK_DIAG_BY_FAMILY
            && let Some(id) = body.get(ID_AT..ID_AT + ID_BYTES)
            && let Ok(id) = id.try_into()
        {
            found.push(id);
        }
    })
    .attempt(what)?;
    Ok(found)
}

/// `false` when it is gone already.
fn destroy(family: u8, id: &[u8; ID_BYTES]) -> Result<bool> {
    let message = request(SOCK_DESTROY, REQUEST | ACK, family, id);
    match talk(&message, |_, _| {}) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).attempt(|| "end a UDP socket (SOCK_DESTROY)".to_owned()),
    }
}

/// `nlmsghdr` and `inet_diag_req_v2`.
fn request(kind: u16, flags: u16, family: u8, id: &[u8; ID_BYTES]) -> Vec<u8> {
    let length = u32::try_from(HEADER_BYTES + 8 + ID_BYTES).unwrap_or(0);
    let mut message = Vec::new();
    message.extend(length.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend([0; 8]);
    message.extend([family, UDP, 0, 0]);
    message.extend(u32::MAX.to_ne_bytes());
    message.extend(id);
    message
}

/// Sends one request and shows every answer's kind and body, until the last.
fn talk(message: &[u8], mut see: impl FnMut(u16, &[u8])) -> io::Result<()> {
    let (kind, flags) = (SocketType::RAW, SocketFlags::CLOEXEC);
    let socket = socket_with(AddressFamily::NETLINK, kind, flags, Some(netlink::SOCK_DIAG))?;
    send(&socket, message, SendFlags::empty())?;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let (length, _) = recv(&socket, &mut buffer[..], RecvFlags::empty())?;
        let mut rest = buffer.get(..length).unwrap_or_default();
        while let Some((kind, body, after)) = next(rest) {
            match kind {
                NLMSG_DONE => return Ok(()),
                NLMSG_ERROR => return answer(body),
                kind => see(kind, body),
            }
            rest = after;
        }
    }
}

/// Zero means done, anything else an errno below zero.
fn answer(body: &[u8]) -> io::Result<()> {
    let code = body.get(..4).and_then(|code| code.try_into().ok()).map_or(0, i32::from_ne_bytes);
    if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(-code)) }
}

/// The first message in a buffer: kind, body, and what follows.
fn next(buffer: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let header = buffer.get(..HEADER_BYTES)?;
    let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
    let kind = u16::from_ne_bytes([header[4], header[5]]);
    let body = buffer.get(HEADER_BYTES..length)?;
    Some((kind, body, buffer.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

/// Whether a path names the calling thread's own network namespace.
#[cfg(test)]
fn is_own(path: &std::path::Path) -> bool {
    fs::read_link(path)
        .is_ok_and(|name| fs::read_link("/proc/self/ns/net").is_ok_and(|own| own == name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_one_after_the_other() {
        let first = request(SOCK_DIAG_BY_FAMILY, 0, 2, &[1; ID_BYTES]);
        let both = [first.clone(), request(NLMSG_DONE, 0, 2, &[2; ID_BYTES])].concat();
        let (kind, body, rest) = next(&both).unwrap();
        assert_eq!((kind, body), (SOCK_DIAG_BY_FAMILY, &first[HEADER_BYTES..]));
        assert_eq!(next(rest).unwrap().0, NLMSG_DONE);
        assert!(next(&both[..10]).is_none(), "cut short");
    }

    #[test]
    fn this_process_is_in_some_namespace() {
        assert!(namespaces().unwrap().iter().any(|path| is_own(path)));
    }
}
