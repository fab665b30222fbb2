//! A layer's archive as a directory that overlayfs can stack: whiteouts become its own kind, ownership and modes stay.
//! In: a layer blob. Out: a directory that appears whole or not at all. Refuses: `..`, device nodes, ids that do not fit,
//! extended attributes that would steer overlayfs, content that does not hash to the diff id, layers beyond the limits.
//! Links are created as they are but never followed out of the directory.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use tar::{Entry, EntryType};

use super::Limits;
use super::archive::{Counted, Hashing, Member, decompressed};
use crate::rooted::{Place, Rooted};

type Outcome<T> = Result<T, String>;

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Unpacks a layer into `place` by way of `temporary`; returns the bytes of its files.
pub(super) fn layer(
    member: &Member,
    diff_id: &str,
    place: &Path,
    temporary: &Path,
    limits: &Limits,
    bytes_left: u64,
) -> Outcome<u64> {
    let clear = |path: &Path| super::remove_dir(path).map_err(|e| e.to_string());
    clear(temporary)?;
    std::fs::create_dir(temporary).map_err(|e| format!("create {}: {e}", temporary.display()))?;
    let outcome = unpack(member, diff_id, temporary, limits, bytes_left).and_then(|size| {
        // A directory of this name without an image that names it is what an import left that was cut short.
        clear(place)?;
        std::fs::rename(temporary, place)
            .map_err(|e| format!("rename to {}: {e}", place.display()))?;
        Ok(size)
    });
    if outcome.is_err() {
        clear(temporary)?;
    }
    outcome
}

fn unpack(
    member: &Member,
    diff_id: &str,
    dir: &Path,
    limits: &Limits,
    bytes_left: u64,
) -> Outcome<u64> {
    let text = |e: io::Error| e.to_string();
    let file = File::open(&member.path).map_err(text)?;
    let reader = decompressed(Box::new(BufReader::with_capacity(256 << 10, file))).map_err(text)?;
    let mut stream = Hashing::new(Counted { reader, left: bytes_left });
    let mut target = Target { root: Rooted::open(dir).map_err(text)?, dirs: Vec::new(), bytes: 0 };
    let mut archive = tar::Archive::new(&mut stream);
    for (number, entry) in archive.entries().map_err(text)?.enumerate() {
        if number as u64 >= limits.entries_max {
            return Err(format!("more than {} entries", limits.entries_max));
        }
        let mut entry = entry.map_err(|e| format!("not a readable tar: {e}"))?;
        let path = entry.path().map_err(text)?.into_owned();
        target.add(&mut entry, &path).map_err(|why| format!("{}: {why}", path.display()))?;
    }
    // Padding after the end of the archive is part of what is hashed.
    io::copy(&mut stream, &mut io::sink()).map_err(text)?;
    let (_, found) = stream.finish();
    if found != diff_id {
        return Err(format!(
            "its content has digest sha256:{found}, the configuration says sha256:{diff_id}"
        ));
    }
    target.finish().map_err(text)
}

/// Attributes that every kind of entry has.
struct Attributes {
    uid: Uid,
    gid: Gid,
    mode: Mode,
    modified: Timespec,
    extended: Vec<(String, Vec<u8>)>,
}

struct Target {
    root: Rooted,
    /// Directories whose times are set last, since filling them changes them.
    dirs: Vec<(PathBuf, Timespec)>,
    bytes: u64,
}

impl Target {
    fn add(&mut self, entry: &mut Entry<'_, impl Read>, path: &Path) -> Outcome<()> {
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::XGlobalHeader) {
            return Ok(());
        }
        if let EntryType::Char | EntryType::Block = kind {
            return Err("device nodes are refused".to_owned());
        }
        let attributes = attributes(entry)?;
        let Some(place) = self.root.place(path).map_err(|e| e.to_string())? else {
            return self.root_dir(&attributes).map_err(|e| e.to_string());
        };
        if place.name.as_os_str().as_bytes().starts_with(WHITEOUT) {
            return whiteout(&place).map_err(|e| format!("whiteout: {e}"));
        }
        self.make(entry, path, &place, kind, &attributes).map_err(|e| e.to_string())
    }

    fn root_dir(&self, attributes: &Attributes) -> io::Result<()> {
        let dir = self.root.open_at(Path::new("."), OFlags::DIRECTORY | OFlags::RDONLY)?;
        apply(&dir, attributes)
    }

    fn make(
        &mut self,
        entry: &mut Entry<'_, impl Read>,
        path: &Path,
        at: &Place,
        kind: EntryType,
        a: &Attributes,
    ) -> io::Result<()> {
        let existing = at.kind()?;
        if existing.is_some_and(|old| !(old == FileType::Directory && kind.is_dir())) {
            at.remove()?;
        }
        match kind {
            EntryType::Directory => {
                if existing != Some(FileType::Directory) {
                    rustix::fs::mkdirat(&at.parent, &at.name, Mode::from_raw_mode(0o700))?;
                }
                let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
                apply(&rustix::fs::openat(&at.parent, &at.name, flags, Mode::empty())?, a)?;
                self.dirs.push((path.to_owned(), a.modified));
                Ok(())
            }
            EntryType::Symlink => {
                let target = link_name(entry)?;
                rustix::fs::symlinkat(target.as_path(), &at.parent, &at.name)?;
                own(at, a)
            }
            EntryType::Link => self.hard_link(&link_name(entry)?, at),
            EntryType::Fifo => {
                rustix::fs::mknodat(
                    &at.parent,
                    &at.name,
                    FileType::Fifo,
                    Mode::from_raw_mode(0o600),
                    0,
                )?;
                own(at, a)?;
                Ok(rustix::fs::chmodat(&at.parent, &at.name, a.mode, AtFlags::empty())?)
            }
            _ => {
                let flags = OFlags::CREATE
                    | OFlags::EXCL
                    | OFlags::WRONLY
                    | OFlags::NOFOLLOW
                    | OFlags::CLOEXEC;
                let file =
                    rustix::fs::openat(&at.parent, &at.name, flags, Mode::from_raw_mode(0o600))?;
                let mut file = File::from(file);
                self.bytes += io::copy(entry, &mut file)?;
                apply(&OwnedFd::from(file), a)
            }
        }
    }

    fn hard_link(&self, target: &Path, at: &Place) -> io::Result<()> {
        let missing = || {
            io::Error::other(format!(
                "hard link to {}, which this layer does not hold",
                target.display()
            ))
        };
        let from = self.root.existing_place(target).map_err(|_| missing())?.ok_or_else(missing)?;
        match from.kind()? {
            None => Err(missing()),
            Some(FileType::Directory) => Err(io::Error::other("hard link to a directory")),
            // A whiteout is a device of ours, not content.
            Some(FileType::CharacterDevice) => Err(missing()),
            Some(_) => Ok(rustix::fs::linkat(
                &from.parent,
                &from.name,
                &at.parent,
                &at.name,
                AtFlags::empty(),
            )?),
        }
    }

    fn finish(self) -> io::Result<u64> {
        for (path, modified) in self.dirs.iter().rev() {
            // A later entry may have replaced the directory; its time is then not ours to set.
            let Ok(Some(at)) = self.root.existing_place(path) else { continue };
            if at.kind()? == Some(FileType::Directory) {
                let times = Timestamps { last_access: *modified, last_modification: *modified };
                rustix::fs::utimensat(&at.parent, &at.name, &times, AtFlags::SYMLINK_NOFOLLOW)?;
            }
        }
        Ok(self.bytes)
    }
}

fn whiteout(at: &Place) -> io::Result<()> {
    let name = at.name.as_os_str().as_bytes();
    if name == OPAQUE {
        // The directory is resolved already; open it for reading, since attributes cannot be set through O_PATH.
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
        let dir = rustix::fs::openat(&at.parent, Path::new("."), flags, Mode::empty())?;
        return Ok(rustix::fs::fsetxattr(
            &dir,
            "trusted.overlay.opaque",
            b"y",
            XattrFlags::empty(),
        )?);
    }
    let hidden = &name[WHITEOUT.len()..];
    if hidden.is_empty() || hidden == b"." || hidden == b".." || hidden.starts_with(WHITEOUT) {
        return Err(io::Error::other("names nothing"));
    }
    let hidden =
        Place { parent: at.parent.try_clone()?, name: PathBuf::from(OsStr::from_bytes(hidden)) };
    hidden.remove()?;
    Ok(rustix::fs::mknodat(
        &hidden.parent,
        &hidden.name,
        FileType::CharacterDevice,
        Mode::empty(),
        0,
    )?)
}

fn attributes(entry: &mut Entry<'_, impl Read>) -> Outcome<Attributes> {
    let header = entry.header();
    let id = |what: &str, id: io::Result<u64>| -> Outcome<u32> {
        let id = id.map_err(|e| format!("{what}: {e}"))?;
        // The largest value means "no id" to the kernel (CVE-2024-40635 came from ids that wrap).
        u32::try_from(id)
            .ok()
            .filter(|id| *id != u32::MAX)
            .ok_or_else(|| format!("{what} {id} does not fit"))
    };
    let (mut uid, mut gid) = (header.uid(), header.gid());
    let mode = header.mode().map_err(|e| format!("mode: {e}"))?;
    let seconds = header.mtime().unwrap_or(0);
    let mut extended = Vec::new();
    for extension in entry.pax_extensions().map_err(|e| e.to_string())?.into_iter().flatten() {
        let extension = extension.map_err(|e| e.to_string())?;
        let Ok(key) = extension.key() else { continue };
        let number = || {
            extension
                .value()
                .ok()
                .and_then(|v| v.parse().ok())
                .ok_or(io::Error::other("not a number"))
        };
        match key {
            "uid" => uid = number(),
            "gid" => gid = number(),
            _ => {
                let name = key
                    .strip_prefix("SCHILY.xattr.")
                    .filter(|n| *n == "security.capability" || n.starts_with("user."));
                extended
                    .extend(name.map(|name| (name.to_owned(), extension.value_bytes().to_vec())));
            }
        }
    }
    let seconds =
        i64::try_from(seconds).map_err(|_| format!("modification time {seconds} does not fit"))?;
    Ok(Attributes {
        uid: Uid::from_raw(id("uid", uid)?),
        gid: Gid::from_raw(id("gid", gid)?),
        mode: Mode::from_raw_mode(mode & 0o7777),
        modified: Timespec { tv_sec: seconds, tv_nsec: 0 },
        extended,
    })
}

/// Owner first: changing it clears setuid bits and file capabilities.
fn apply(fd: &OwnedFd, a: &Attributes) -> io::Result<()> {
    rustix::fs::fchown(fd, Some(a.uid), Some(a.gid))?;
    rustix::fs::fchmod(fd, a.mode)?;
    for (name, value) in &a.extended {
        rustix::fs::fsetxattr(fd.as_fd(), name.as_str(), value, XattrFlags::empty())?;
    }
    let times = Timestamps { last_access: a.modified, last_modification: a.modified };
    Ok(rustix::fs::futimens(fd, &times)?)
}

fn own(at: &Place, a: &Attributes) -> io::Result<()> {
    rustix::fs::chownat(&at.parent, &at.name, Some(a.uid), Some(a.gid), AtFlags::SYMLINK_NOFOLLOW)?;
    let times = Timestamps { last_access: a.modified, last_modification: a.modified };
    Ok(rustix::fs::utimensat(&at.parent, &at.name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

fn link_name(entry: &Entry<'_, impl Read>) -> io::Result<PathBuf> {
    let name = entry.link_name()?.ok_or_else(|| io::Error::other("a link without a target"))?;
    Ok(name.into_owned())
}
