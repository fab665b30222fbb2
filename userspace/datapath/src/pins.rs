//! The bpffs and the names in it: `<bpf-root>/<instance>/{maps,links,programs}/`.
//!
//! A bpffs that we mounted is marked by a directory in it, so that mark and mount live and end together. Names in a
//! bpffs cannot hold dots.

use std::{
    fs, io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use beeline_sys::fs as mounts;

use crate::{Config, DatapathError, clsact, config::instance_directory, error::At as _};

const LINKS: &str = "links";
const SYSFS_BPF: &str = "/sys/fs/bpf";
/// How long a mount may be busy that nobody should be using.
const BUSY_MAX: Duration = Duration::from_secs(2);
const BUSY_PAUSE: Duration = Duration::from_millis(10);

/// The directories of one instance.
#[derive(Clone, Debug)]
pub(crate) struct Pins {
    pub(crate) directory: PathBuf,
    pub(crate) maps: PathBuf,
    pub(crate) links: PathBuf,
    pub(crate) programs: PathBuf,
}

impl Pins {
    /// Mounts the bpffs where there is none and makes the directories.
    pub(crate) fn prepare(config: &Config) -> Result<Self, DatapathError> {
        mount(&config.bpf_root, &config.instance)?;
        let directory = config.directory();
        let [maps, links, programs] = ["maps", LINKS, "programs"].map(|kind| directory.join(kind));
        let pins = Self { directory, maps, links, programs };
        for path in [&pins.maps, &pins.links] {
            fs::create_dir_all(path).at("create", path)?;
        }
        Ok(pins)
    }

    pub(crate) fn map(&self, name: &str) -> PathBuf {
        self.maps.join(name)
    }

    pub(crate) fn link(&self, name: &str) -> PathBuf {
        self.links.join(name)
    }

    /// The names of pinned links.
    pub(crate) fn link_names(&self) -> Result<Vec<String>, DatapathError> {
        let entries = fs::read_dir(&self.links).at("list", &self.links)?;
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
        names.sort();
        Ok(names)
    }

    /// Removes what is pinned; programs detach, maps go with their last user.
    pub(crate) fn clear(&self) -> Result<(), DatapathError> {
        remove_tree(&self.directory)?;
        for path in [&self.maps, &self.links] {
            fs::create_dir_all(path).at("create", path)?;
        }
        Ok(())
    }
}

/// Where a bpffs has to be mounted so that `root` lies in one; `None` if it does already.
pub(crate) fn mount_point(root: &Path) -> Result<Option<PathBuf>, DatapathError> {
    let standing = root.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    if mounts::is_bpffs(standing)? {
        return Ok(None);
    }
    // Nothing can be created in sysfs, so there the mount is where the kernel made the directory for it.
    let place = if root.starts_with(SYSFS_BPF) { Path::new(SYSFS_BPF) } else { root };
    Ok(Some(place.to_owned()))
}

fn mount(root: &Path, instance: &str) -> Result<(), DatapathError> {
    if let Some(place) = mount_point(root)? {
        fs::create_dir_all(&place).at("create", &place)?;
        mounts::mount_bpffs(&place, &[&entry_name(&mark(&place, instance))])?;
        tracing::info!(at = %place.display(), "mounted a bpffs");
    }
    Ok(())
}

fn mark(place: &Path, instance: &str) -> PathBuf {
    place.join(format!("mounted-by-{instance}"))
}

/// Removes everything that an instance pinned, which detaches its programs, and unmounts the bpffs if this instance
/// mounted it and nobody else uses it. Must be called in the network namespace of the links, if that is still there. What is
/// not there is not an error.
pub fn cleanup(bpf_root: &Path, instance: &str) -> Result<(), DatapathError> {
    if !bpf_root.exists() || !mounts::is_bpffs(bpf_root)? {
        return Ok(());
    }
    let directory = instance_directory(bpf_root, instance);
    // Filters do not end with their pins, unlike links.
    for entry in fs::read_dir(directory.join(LINKS)).into_iter().flatten().flatten() {
        remove(&entry.path())?;
    }
    remove_tree(&directory)?;
    for place in bpf_root.ancestors() {
        if !mark(place, instance).is_dir() {
            continue;
        }
        if used_by_others(place, bpf_root, instance)? {
            tracing::warn!(at = %place.display(), "the bpffs stays mounted: others use it");
            return Ok(());
        }
        unmount(place)?;
        tracing::info!(at = %place.display(), "unmounted the bpffs");
        return Ok(());
    }
    Ok(())
}

/// A child that this process is just starting holds copies of our descriptors until it becomes what it is to be; so long the
/// mount is busy.
fn unmount(place: &Path) -> Result<(), DatapathError> {
    let begin = Instant::now();
    loop {
        match mounts::umount(place) {
            Err(error)
                if error.kind() == io::ErrorKind::ResourceBusy && begin.elapsed() < BUSY_MAX =>
            {
                thread::sleep(BUSY_PAUSE);
            }
            done => return Ok(done?),
        }
    }
}

/// Whether a mount holds anything beside our mark and the empty way to our directory.
fn used_by_others(place: &Path, bpf_root: &Path, instance: &str) -> Result<bool, DatapathError> {
    for path in bpf_root.ancestors().take_while(|path| path.starts_with(place)) {
        for entry in fs::read_dir(path).at("list", path)? {
            let found = entry.at("list", path)?.path();
            // Names with dots are the kernel's own: it puts `maps.debug` and `progs.debug` into every bpffs.
            let kernels = entry_name(&found).contains('.');
            if !kernels && found != mark(place, instance) && !bpf_root.starts_with(&found) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

fn entry_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Removes a directory with all that is in it; one that is not there is fine.
pub(crate) fn remove_tree(path: &Path) -> Result<(), DatapathError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).at("remove", path),
        _ => Ok(()),
    }
}

/// Removes one pin, and with it what it holds in place; one that is not there is fine.
pub(crate) fn remove(path: &Path) -> Result<(), DatapathError> {
    if clsact::is_pin(path) {
        return clsact::detach(path).at("take the filter off", path);
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).at("remove", path),
        _ => Ok(()),
    }
}
