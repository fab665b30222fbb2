//! Network namespaces: entering one, working inside one for a moment, and the kernel's cookie of one.
//! In: paths such as `/run/netns/a` or `/proc/12/ns/net`, and pids. Out: cookies and results.
//! Refuses to create links or addresses: that is netlink, and another crate.
#![expect(unsafe_code, reason = "SO_NETNS_COOKIE and SIOCSIFFLAGS have no safe wrapper")]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::process::{self, Unshare};
use crate::{Attempt, Result, SysError};

/// The path through which a process's network namespace can be opened.
#[must_use]
pub fn path_of_pid(pid: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/ns/net"))
}

/// Moves the *calling thread* into the network namespace at `path`.
/// Threads started later from this one inherit it: call it before the async runtime starts.
pub fn enter(path: &Path) -> Result<()> {
    let what = || format!("enter network namespace {}", path.display());
    let file = File::open(path).attempt(what)?;
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).attempt(what)
}

/// Runs `work` on a fresh thread inside the network namespace at `path` and waits for it.
/// Sockets that `work` opens and returns stay in that namespace.
pub fn inside<T: Send>(path: &Path, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let what = || format!("work inside network namespace {}", path.display());
    on_a_thread(|| enter(path), work, what)
}

/// The same, inside a new namespace that ends with the work.
pub fn inside_new<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let leave = || process::unshare(Unshare::NET);
    on_a_thread(leave, work, || "work inside a new network namespace".to_owned())
}

fn on_a_thread<T: Send>(
    go_there: impl FnOnce() -> Result<()> + Send,
    work: impl FnOnce() -> Result<T> + Send,
    what: impl Fn() -> String,
) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            go_there()?;
            work()
        });
        thread.join().unwrap_or_else(|_| {
            Err(SysError::new(what(), io::Error::other("the worker thread panicked")))
        })
    })
}

/// The cookie of the calling thread's network namespace: what a BPF program sees from `bpf_get_netns_cookie`.
/// Never reused while the kernel runs.
pub fn cookie_of_self() -> Result<u64> {
    let socket = probe_socket()?;
    let mut cookie = 0u64;
    let mut size = libc::socklen_t::try_from(size_of::<u64>()).unwrap_or(8);
    // SAFETY: the pointers are to live locals of the sizes given; the kernel writes at most `size` bytes.
    let answer = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut size,
        )
    };
    if answer != 0 {
        return Err(io::Error::last_os_error()).attempt(|| "read SO_NETNS_COOKIE".to_owned());
    }
    Ok(cookie)
}

/// The cookie of the network namespace that a process is in.
pub fn cookie_of_pid(pid: u32) -> Result<u64> {
    cookie_of_path(&path_of_pid(pid))
}

/// The cookie of the network namespace at `path`.
pub fn cookie_of_path(path: &Path) -> Result<u64> {
    inside(path, cookie_of_self)
}

/// Brings `lo` up in the calling thread's network namespace.
pub fn loopback_up() -> Result<()> {
    let what = || "bring lo up".to_owned();
    let socket = probe_socket()?;
    // SAFETY: ifreq is plain data for which all zeroes is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (slot, byte) in request.ifr_name.iter_mut().zip(b"lo\0") {
        *slot = libc::c_char::from_ne_bytes([*byte]);
    }
    request.ifr_ifru.ifru_flags = i16::try_from(libc::IFF_UP | libc::IFF_RUNNING).unwrap_or(0x41);
    // SAFETY: the request is a live, fully initialised ifreq and SIOCSIFFLAGS only reads it.
    let answer = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    if answer != 0 {
        return Err(io::Error::last_os_error()).attempt(what);
    }
    Ok(())
}

/// Switches generic receive offload of a link in the calling thread's network namespace. With it a veth takes frames that
/// an XDP program sends to it.
pub fn set_receive_offload(link: &str, on: bool) -> Result<()> {
    /// From linux/ethtool.h.
    const ETHTOOL_SGRO: u32 = 0x2c;
    /// `struct ethtool_value`.
    #[repr(C)]
    struct Value {
        command: u32,
        data: u32,
    }
    let what = || format!("set receive offload of {link}");
    let socket = probe_socket()?;
    let mut value = Value { command: ETHTOOL_SGRO, data: u32::from(on) };
    // SAFETY: ifreq is plain data for which all zeroes is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let room = request.ifr_name.len() - 1;
    for (slot, byte) in request.ifr_name.iter_mut().zip(link.bytes().take(room)) {
        *slot = libc::c_char::from_ne_bytes([byte]);
    }
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: the request is a live, fully initialised ifreq that points to a live ethtool_value.
    let answer = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw const request) };
    if answer != 0 {
        return Err(io::Error::last_os_error()).attempt(what);
    }
    Ok(())
}

fn probe_socket() -> Result<OwnedFd> {
    rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
        .attempt(|| "open a probe socket".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookie_is_stable_and_same_through_a_pid() {
        let mine = cookie_of_self().unwrap();
        assert_ne!(mine, 0);
        if rustix::process::geteuid().is_root() {
            assert_eq!(cookie_of_pid(std::process::id()).unwrap(), mine);
        } else {
            eprintln!("SKIP half of cookie_is_stable_and_same_through_a_pid: setns needs root");
        }
    }

    #[test]
    fn a_missing_namespace_is_named() {
        let error = enter(Path::new("/no/such/netns")).unwrap_err();
        assert!(error.to_string().contains("/no/such/netns"), "{error}");
    }

    #[test]
    fn a_new_namespace_has_another_cookie_and_its_own_lo() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIP a_new_namespace_has_another_cookie_and_its_own_lo: needs root");
            return;
        }
        let mine = cookie_of_self().unwrap();
        let other = inside_new(|| {
            loopback_up()?;
            cookie_of_self()
        });
        assert_ne!(other.unwrap(), mine);
        assert_eq!(cookie_of_self().unwrap(), mine);
    }
}
