//! The bpf(2) commands that aya offers for some program types only, or not at all: links by descriptor and index,
//! their replacement, and batches of map entries.
#![expect(unsafe_code, reason = "a system call with a union of structures as its argument")]

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use aya::Pod;

const MAP_LOOKUP_ELEM: i32 = 1;
const OBJ_PIN: i32 = 6;
const OBJ_GET: i32 = 7;
const MAP_LOOKUP_BATCH: i32 = 24;
const MAP_UPDATE_BATCH: i32 = 26;
const MAP_DELETE_BATCH: i32 = 27;
const LINK_CREATE: i32 = 28;
const LINK_UPDATE: i32 = 29;

/// `enum bpf_attach_type` of linux/bpf.h, those that we use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AttachType {
    SockOps = 3,
    Connect4 = 10,
    Connect6 = 11,
    Sendmsg4 = 14,
    Sendmsg6 = 15,
    Recvmsg4 = 19,
    Recvmsg6 = 20,
    Getpeername4 = 29,
    Getpeername6 = 30,
    SockRelease = 34,
    Xdp = 37,
    TcxIngress = 46,
    TcxEgress = 47,
}

/// What a link ties a program to.
pub(crate) enum Target<'a> {
    Cgroup(BorrowedFd<'a>),
    Link(u32),
    /// The driver of a link.
    Driver(u32),
}

/// `XDP_FLAGS_DRV_MODE` of linux/if_link.h: in the driver or not at all.
const IN_DRIVER: u32 = 1 << 2;

/// The argument of `LINK_CREATE` up to the fields of tcx, which stay zero: append, whatever the revision.
#[repr(C)]
struct LinkCreate {
    prog_fd: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
    relative_fd: u32,
    pad: u32,
    expected_revision: u64,
}

#[repr(C)]
struct LinkUpdate {
    link_fd: u32,
    new_prog_fd: u32,
    flags: u32,
    old_prog_fd: u32,
}

#[repr(C)]
struct Object {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

#[repr(C)]
struct Element {
    map_fd: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
struct Batch {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// One system call; `attr` is one of the structures above, all of whose fields are initialised and without padding.
fn bpf<T>(command: i32, attr: &mut T) -> io::Result<libc::c_long> {
    let size = size_of::<T>();
    // SAFETY: `attr` is live, exclusive and `size` bytes long; what its fields point to is upheld by each caller below.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}

fn owned(fd: libc::c_long) -> io::Result<OwnedFd> {
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel has just returned this descriptor to us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn raw(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().unsigned_abs()
}

/// Attaches a program. The link detaches when its last descriptor is closed, unless it is pinned.
pub(crate) fn link_create(
    program: BorrowedFd<'_>,
    target: &Target<'_>,
    attach_type: AttachType,
) -> io::Result<OwnedFd> {
    let (target, flags) = match target {
        Target::Cgroup(fd) => (raw(*fd), 0),
        Target::Link(index) => (*index, 0),
        Target::Driver(index) => (*index, IN_DRIVER),
    };
    let mut attr = LinkCreate {
        prog_fd: raw(program),
        target,
        attach_type: attach_type as u32,
        flags,
        relative_fd: 0,
        pad: 0,
        expected_revision: 0,
    };
    owned(bpf(LINK_CREATE, &mut attr)?)
}

/// Replaces the program of a link; packets see the old one or the new one, never none.
pub(crate) fn link_update(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr =
        LinkUpdate { link_fd: raw(link), new_prog_fd: raw(program), flags: 0, old_prog_fd: 0 };
    bpf(LINK_UPDATE, &mut attr).map(drop)
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)
}

/// Gives an object a name in a bpffs.
pub(crate) fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    let mut attr =
        Object { pathname: path.as_ptr().addr() as u64, bpf_fd: raw(object), file_flags: 0 };
    bpf(OBJ_PIN, &mut attr).map(drop)
}

/// Opens an object by its name in a bpffs.
pub(crate) fn get(path: &Path) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    let mut attr = Object { pathname: path.as_ptr().addr() as u64, bpf_fd: 0, file_flags: 0 };
    owned(bpf(OBJ_GET, &mut attr)?)
}

/// Writes entries, in order, until all are written or one is refused.
pub(crate) fn update<K: Pod, V: Pod>(
    map: BorrowedFd<'_>,
    keys: &[K],
    values: &[V],
) -> io::Result<()> {
    assert_eq!(keys.len(), values.len());
    let mut attr = Batch {
        in_batch: 0,
        out_batch: 0,
        keys: keys.as_ptr().addr() as u64,
        values: values.as_ptr().addr() as u64,
        count: u32::try_from(keys.len()).map_err(io::Error::other)?,
        map_fd: raw(map),
        elem_flags: 0,
        flags: 0,
    };
    bpf(MAP_UPDATE_BATCH, &mut attr).map(drop)
}

/// Deletes entries. Those that are not there are skipped.
pub(crate) fn delete<K: Pod>(map: BorrowedFd<'_>, mut keys: &[K]) -> io::Result<()> {
    while !keys.is_empty() {
        let mut attr = Batch {
            in_batch: 0,
            out_batch: 0,
            keys: keys.as_ptr().addr() as u64,
            values: 0,
            count: u32::try_from(keys.len()).map_err(io::Error::other)?,
            map_fd: raw(map),
            elem_flags: 0,
            flags: 0,
        };
        match bpf(MAP_DELETE_BATCH, &mut attr) {
            Ok(_) => return Ok(()),
            // The kernel stops at the missing one and says how many it deleted before.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
                let done = (attr.count as usize).saturating_add(1);
                keys = keys.get(done..).unwrap_or_default();
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads every entry of a hash map. Entries that others add or remove meanwhile may or may not be seen.
pub(crate) fn read_all<K: Pod + Default, V: Pod + Default>(
    map: BorrowedFd<'_>,
) -> io::Result<Vec<(K, V)>> {
    let mut all = Vec::new();
    scan(map, |key: &K, value: &V| all.push((*key, *value)))?;
    Ok(all)
}

/// Shows every entry of a hash map to `see`, some thousand at a time.
pub(crate) fn scan<K: Pod + Default, V: Pod + Default>(
    map: BorrowedFd<'_>,
    mut see: impl FnMut(&K, &V),
) -> io::Result<()> {
    let mut position = 0u32;
    let mut started = false;
    let mut room = 4096usize;
    let (mut keys, mut values) = (vec![K::default(); room], vec![V::default(); room]);
    loop {
        let mut next = 0u32;
        let mut attr = Batch {
            in_batch: if started { std::ptr::from_mut(&mut position).addr() as u64 } else { 0 },
            out_batch: std::ptr::from_mut(&mut next).addr() as u64,
            keys: keys.as_mut_ptr().addr() as u64,
            values: values.as_mut_ptr().addr() as u64,
            count: u32::try_from(room).map_err(io::Error::other)?,
            map_fd: raw(map),
            elem_flags: 0,
            flags: 0,
        };
        let answer = bpf(MAP_LOOKUP_BATCH, &mut attr);
        let last = match answer {
            Ok(_) => false,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
            // One bucket alone holds more than there is room for.
            Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => {
                room *= 2;
                keys.resize(room, K::default());
                values.resize(room, V::default());
                continue;
            }
            Err(error) => return Err(error),
        };
        for (key, value) in keys.iter().zip(&values).take(attr.count as usize) {
            see(key, value);
        }
        if last {
            return Ok(());
        }
        position = next;
        started = true;
    }
}

/// One entry of a hash map.
pub(crate) fn lookup<K: Pod, V: Pod + Default>(
    map: BorrowedFd<'_>,
    key: &K,
) -> io::Result<Option<V>> {
    let mut value = V::default();
    let mut attr = Element {
        map_fd: raw(map),
        pad: 0,
        key: std::ptr::from_ref(key).addr() as u64,
        value: std::ptr::from_mut(&mut value).addr() as u64,
        flags: 0,
    };
    match bpf(MAP_LOOKUP_ELEM, &mut attr) {
        Ok(_) => Ok(Some(value)),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}
