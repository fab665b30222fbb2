//! A directory that paths cannot leave: every lookup goes through `openat2` with `RESOLVE_IN_ROOT`, so that symbolic links and
//! `..` inside it lead nowhere else.
//! In: paths written by strangers. Out: descriptors and changes below the root. Refuses names that climb.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// The most components in one path: the kernel's own limit on its length allows no more than 2048 useful ones.
const DEPTH_MAX: usize = 1024;

/// Links followed while making directories: the kernel's own limit.
const LINKS_MAX: u32 = 40;

const DIR: OFlags = OFlags::DIRECTORY.union(OFlags::PATH);

/// An open directory that acts as the root of everything looked up through it.
#[derive(Debug)]
pub(crate) struct Rooted {
    dir: OwnedFd,
}

/// A directory inside the root, and the last name of a path in it.
#[derive(Debug)]
pub(crate) struct Place {
    /// The directory, resolved.
    pub(crate) parent: OwnedFd,
    /// One plain component.
    pub(crate) name: PathBuf,
}

impl Rooted {
    /// Opens a directory of our own.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::PATH;
        Ok(Self { dir: rustix::fs::openat(CWD, path, flags, Mode::empty())? })
    }

    /// Opens something inside, as if the root were `/`.
    pub(crate) fn open_at(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        loop {
            match rustix::fs::openat2(
                &self.dir,
                path,
                flags | OFlags::CLOEXEC,
                Mode::empty(),
                resolve,
            ) {
                // The kernel could not prove that no rename moved us out; it asks for another try.
                Err(Errno::AGAIN) => {}
                other => return other.map_err(io::Error::from),
            }
        }
    }

    /// Reads a small file inside, following links as the container would.
    pub(crate) fn read(&self, path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
        use std::io::Read;
        let file = std::fs::File::from(self.open_at(path, OFlags::RDONLY | OFlags::NONBLOCK)?);
        let mut bytes = Vec::new();
        file.take(bytes_max).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Resolves the directory that holds the path's last component, making missing directories (mode 0755) on the way.
    pub(crate) fn place(&self, path: &Path) -> io::Result<Option<Place>> {
        let mut components = plain_components(path)?;
        let Some(name) = components.pop() else { return Ok(None) };
        Ok(Some(Place { parent: self.make_dirs(&components)?, name: name.into() }))
    }

    /// Like [`Self::place`], but of something that must exist already.
    pub(crate) fn existing_place(&self, path: &Path) -> io::Result<Option<Place>> {
        let mut components = plain_components(path)?;
        let Some(name) = components.pop() else { return Ok(None) };
        let dir: PathBuf = components.iter().collect();
        Ok(Some(Place {
            parent: self.open_at(&dir, OFlags::DIRECTORY | OFlags::PATH)?,
            name: name.into(),
        }))
    }

    /// Makes a directory and those above it.
    pub(crate) fn make_dir(&self, path: &Path) -> io::Result<OwnedFd> {
        self.make_dirs(&plain_components(path)?)
    }

    fn make_dirs(&self, components: &[&OsStr]) -> io::Result<OwnedFd> {
        self.make_dirs_through(components, 0)
    }

    fn make_dirs_through(&self, components: &[&OsStr], links: u32) -> io::Result<OwnedFd> {
        let whole: PathBuf = components.iter().collect();
        match self.open_at(&whole, DIR) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
        let mut here = PathBuf::new();
        let mut dir = self.open_at(&here, DIR)?;
        for component in components {
            let above = here.clone();
            here.push(component);
            dir = match self.open_at(&here, DIR) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    match rustix::fs::mkdirat(
                        &dir,
                        Path::new(component),
                        Mode::from_raw_mode(0o755),
                    ) {
                        // A link to what is not there yet, such as /var/run before /run: make what it means, inside.
                        Err(Errno::EXIST) if links < LINKS_MAX => {
                            let target =
                                rustix::fs::readlinkat(&dir, Path::new(component), Vec::new())?;
                            let target =
                                meant(&above, Path::new(OsStr::from_bytes(target.to_bytes())));
                            self.make_dirs_through(&plain_components(&target)?, links + 1)?;
                        }
                        made => made?,
                    }
                    self.open_at(&here, DIR)?
                }
                other => other?,
            };
        }
        Ok(dir)
    }
}

/// What a link in `dir` means below the root, by its text.
fn meant(dir: &Path, target: &Path) -> PathBuf {
    let mut path = if target.is_absolute() { PathBuf::new() } else { dir.to_owned() };
    for component in target.components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::ParentDir => {
                path.pop();
            }
            _ => {}
        }
    }
    path
}

impl Place {
    /// Removes what is there, a whole tree if need be. Links are removed, never followed.
    pub(crate) fn remove(&self) -> io::Result<()> {
        remove_tree(self.parent.as_fd(), &self.name, 0)
    }

    /// The kind of what is there, if anything; links are not followed.
    pub(crate) fn kind(&self) -> io::Result<Option<FileType>> {
        match rustix::fs::statat(&self.parent, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

fn remove_tree(parent: BorrowedFd<'_>, name: &Path, depth: usize) -> io::Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) if depth < DEPTH_MAX => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
    let dir = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    for entry in rustix::fs::Dir::read_from(&dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            let name: &OsStr = OsStr::from_bytes(name.to_bytes());
            remove_tree(dir.as_fd(), Path::new(name), depth + 1)?;
        }
    }
    Ok(rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?)
}

/// The components below the root. A leading `/` and `.` mean nothing; `..` is refused, since no honest archive needs it.
fn plain_components(path: &Path) -> io::Result<Vec<&OsStr>> {
    let mut found = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => found.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                let why = format!("path {} climbs with ..", path.display());
                return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
            }
        }
    }
    if found.len() > DEPTH_MAX {
        let why = format!("path of {} components (at most {DEPTH_MAX})", found.len());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_stay_inside() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        std::fs::create_dir(&root).unwrap();
        std::fs::write(dir.path().join("secret"), "outside").unwrap();
        std::os::unix::fs::symlink(dir.path(), root.join("absolute")).unwrap();
        std::os::unix::fs::symlink("../..", root.join("up")).unwrap();
        let rooted = Rooted::open(&root).unwrap();
        assert!(rooted.read(Path::new("up/secret"), 100).is_err());
        assert!(rooted.read(Path::new("absolute/secret"), 100).is_err());
        assert!(
            rooted.place(Path::new("a/../../secret")).unwrap_err().to_string().contains("climbs")
        );
        // A directory made through the climbing link lands inside.
        rooted.make_dir(Path::new("up/made")).unwrap();
        assert!(root.join("made").is_dir());
    }

    #[test]
    fn removing_a_tree_leaves_what_links_point_at() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        std::fs::create_dir_all(root.join("tree/deep")).unwrap();
        std::fs::create_dir(dir.path().join("kept")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("kept"), root.join("tree/deep/link")).unwrap();
        let rooted = Rooted::open(&root).unwrap();
        rooted.place(Path::new("/tree")).unwrap().unwrap().remove().unwrap();
        assert!(!root.join("tree").exists());
        assert!(dir.path().join("kept").is_dir());
    }
}
