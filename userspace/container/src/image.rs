//! Images on this node: a content-addressed store filled from archives.
//!
//! In: `docker save` archives and OCI layouts, plain or compressed with gzip or zstd. Out: [`Image`]s whose layers are directories
//! ready to be stacked. Refuses: content that does not match its digest or size, layers that reach outside themselves or hold
//! devices, and archives beyond [`Limits`]. Nothing is kept of an archive that fails.
//!
//! On disk: `blobs/sha256/<hex>` (configurations and layers as they came), `layers/<32 hex of the diff id>/` (unpacked),
//! `index.json` (which image has which references), `tmp/`, `lock`. One process at a
//! time changes a store: a second one may look, and does not see later changes.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

mod archive;
pub mod build;
mod config;
mod import;
mod reference;
mod unpack;

pub use config::ImageConfig;
pub use import::{Progress, Step};
pub use reference::normalise;

/// Results of the store.
pub type Result<T> = std::result::Result<T, ImageError>;

/// Why an image could not be imported, found or removed.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The archive is not an image, or it contradicts itself: the message names the part.
    #[error("image archive {archive}: {why}")]
    Archive {
        /// The file.
        archive: String,
        /// What is wrong with it.
        why: String,
    },
    /// The text is not an image reference.
    #[error("invalid image reference \"{reference}\": {why}")]
    Reference {
        /// The text.
        reference: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A container still uses the image.
    #[error("image {0} is in use by a container")]
    InUse(String),
    /// There is no such image.
    #[error("no image {0} in the store")]
    NotFound(String),
    /// A file or a system call.
    #[error("{attempt}")]
    Io {
        /// What was tried, on which file.
        attempt: String,
        /// What came back.
        #[source]
        source: io::Error,
    },
}

impl ImageError {
    pub(crate) fn io(attempt: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::Io { attempt: attempt.into(), source: source.into() }
    }
}

/// How much one archive may ask for. What lies beyond is refused before the disk is full.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of the archive's content, and separately of all its layers together once unpacked.
    pub bytes_max: u64,
    /// Entries of one layer.
    pub entries_max: u64,
    /// Layers of one image: their names must fit the one page that mount(2) takes.
    pub layers_max: usize,
    /// Bytes of one manifest or configuration.
    pub document_bytes_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes_max: 32 << 30,
            entries_max: 2_000_000,
            layers_max: 110,
            document_bytes_max: 4 << 20,
        }
    }
}

/// An image ready to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// `sha256:<hex>` of its configuration.
    pub id: String,
    /// Normalised references, such as `docker.io/library/hello:1`.
    pub references: BTreeSet<String>,
    /// Bytes of its layers once unpacked.
    pub size_bytes: u64,
    /// Its layers, lowest first.
    pub layers: Vec<Layer>,
    /// What it says about how to run it.
    pub config: ImageConfig,
}

/// One layer of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// `sha256:<hex>` of the blob as it came.
    pub digest: String,
    /// `sha256:<hex>` of the uncompressed archive.
    pub diff_id: String,
    /// Bytes of regular files once unpacked.
    pub size_bytes: u64,
}

impl Layer {
    /// The name of its directory in `layers/`: 128 bits of the diff id, short because mount options must fit a page.
    #[must_use]
    pub fn dir_name(&self) -> &str {
        self.diff_id.strip_prefix("sha256:").and_then(|hex| hex.get(..32)).unwrap_or(&self.diff_id)
    }
}

/// The store. Cheap to share behind an `Arc`; its methods block on the disk, so call them from a blocking thread.
#[derive(Debug)]
pub struct ImageStore {
    root: PathBuf,
    limits: Limits,
    state: Mutex<State>,
    importing: Mutex<()>,
    /// Held as long as the store is open, so that nobody takes our temporary files for old ones.
    _lock: std::fs::File,
}

#[derive(Debug, Default)]
struct State {
    images: BTreeMap<String, Image>,
    /// Who uses which image: kept by the runtime, in memory only.
    pins: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
struct Index {
    version: u32,
    images: Vec<Image>,
}

const INDEX_VERSION: u32 = 1;

impl ImageStore {
    /// Opens or creates a store in a directory, and forgets what an interrupted import left.
    pub fn open(dir: &Path) -> Result<Self> {
        Self::open_with(dir, Limits::default())
    }

    /// Like [`Self::open`], with other limits.
    pub fn open_with(dir: &Path, limits: Limits) -> Result<Self> {
        std::fs::create_dir_all(dir)
            .map_err(|e| ImageError::io(format!("create {}", dir.display()), e))?;
        let lock = lock(dir)?;
        for part in ["tmp", "layers", "blobs/sha256"] {
            let path = dir.join(part);
            std::fs::create_dir_all(&path)
                .map_err(|e| ImageError::io(format!("create {}", path.display()), e))?;
        }
        let images = read_index(&dir.join("index.json"))?;
        let root = dir
            .canonicalize()
            .map_err(|e| ImageError::io(format!("resolve {}", dir.display()), e))?;
        let state = Mutex::new(State { images, pins: BTreeMap::new() });
        Ok(Self { root, limits, state, importing: Mutex::new(()), _lock: lock })
    }

    /// Imports every image of an archive and returns them. `progress` is told about each step.
    pub fn import(&self, archive: &Path, progress: Progress<'_>) -> Result<Vec<Image>> {
        let _one_at_a_time = self.importing.lock().unwrap_or_else(PoisonError::into_inner);
        import::run(self, archive, progress)
    }

    /// All images, in order of their ids.
    #[must_use]
    pub fn list(&self) -> Vec<Image> {
        self.state().images.values().cloned().collect()
    }

    /// The image that a Pod's `image:` means, by reference or by id.
    #[must_use]
    pub fn resolve(&self, reference: &str) -> Option<Image> {
        let state = self.state();
        if let Some(image) = state.images.get(reference) {
            return Some(image.clone());
        }
        let wanted = normalise(reference).ok()?;
        state.images.values().find(|image| image.references.contains(&wanted)).cloned()
    }

    /// Bytes on disk of all layers, each counted once.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        let state = self.state();
        let layers: BTreeMap<&str, u64> = state
            .images
            .values()
            .flat_map(|i| &i.layers)
            .map(|l| (l.diff_id.as_str(), l.size_bytes))
            .collect();
        layers.values().sum()
    }

    /// Takes a reference away; the image goes with its last one, unless a container uses it.
    pub fn remove(&self, reference: &str) -> Result<()> {
        let _not_while_importing = self.importing.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = || ImageError::NotFound(reference.to_owned());
        let mut state = self.state();
        let by_id = state.images.contains_key(reference);
        let wanted = if by_id { reference.to_owned() } else { normalise(reference)? };
        let holds = |image: &&Image| image.id == wanted || image.references.contains(&wanted);
        let mut image = state.images.values().find(holds).cloned().ok_or_else(missing)?;
        image.references.remove(&wanted);
        if by_id || image.references.is_empty() {
            if state.pins.values().any(|id| *id == image.id) {
                return Err(ImageError::InUse(reference.to_owned()));
            }
            state.images.remove(&image.id);
        } else {
            state.images.insert(image.id.clone(), image);
        }
        self.write_index(&state)?;
        self.collect_garbage(&state)
    }

    /// The directories of an image's layers, lowest first, relative to [`Self::layers_dir`].
    #[must_use]
    pub fn layer_names(image: &Image) -> Vec<String> {
        image.layers.iter().map(|layer| layer.dir_name().to_owned()).collect()
    }

    /// Where unpacked layers lie.
    #[must_use]
    pub fn layers_dir(&self) -> PathBuf {
        self.root.join("layers")
    }

    /// Keeps an image from being removed while `user` (a container's id) exists.
    pub(crate) fn pin(&self, user: &str, image_id: &str) {
        self.state().pins.insert(user.to_owned(), image_id.to_owned());
    }

    /// Ends [`Self::pin`].
    pub(crate) fn unpin(&self, user: &str) {
        self.state().pins.remove(user);
    }

    /// Ends every [`Self::pin`] by users whose names begin so.
    pub(crate) fn unpin_all(&self, prefix: &str) {
        self.state().pins.retain(|user, _| !user.starts_with(prefix));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn blob_path(&self, hex: &str) -> PathBuf {
        self.root.join("blobs/sha256").join(hex)
    }

    fn temporary(&self, name: &str) -> PathBuf {
        self.root.join("tmp").join(format!("{name}.{}", std::process::id()))
    }

    /// Records images; a reference that another image had moves to the new one.
    fn record(&self, images: &[Image]) -> Result<Vec<Image>> {
        let mut state = self.state();
        for image in images {
            for other in state.images.values_mut() {
                other.references.retain(|reference| !image.references.contains(reference));
            }
            let known = state.images.entry(image.id.clone()).or_insert_with(|| image.clone());
            known.references.extend(image.references.iter().cloned());
        }
        self.write_index(&state)?;
        Ok(images.iter().filter_map(|image| state.images.get(&image.id).cloned()).collect())
    }

    fn write_index(&self, state: &State) -> Result<()> {
        let index =
            Index { version: INDEX_VERSION, images: state.images.values().cloned().collect() };
        let path = self.root.join("index.json");
        let attempt = || format!("write {}", path.display());
        let bytes = serde_json::to_vec(&index)
            .map_err(|e| ImageError::io(attempt(), io::Error::other(e)))?;
        write_durably(&self.temporary("index.json"), &path, &bytes)
            .map_err(|e| ImageError::io(attempt(), e))
    }

    /// Removes blobs and layers that no image names.
    fn collect_garbage(&self, state: &State) -> Result<()> {
        let layers: BTreeSet<&str> =
            state.images.values().flat_map(|i| &i.layers).map(Layer::dir_name).collect();
        let blobs: BTreeSet<&str> = state
            .images
            .values()
            .flat_map(|i| i.layers.iter().map(|l| l.digest.as_str()).chain([i.id.as_str()]))
            .filter_map(|digest| digest.strip_prefix("sha256:"))
            .collect();
        for (dir, wanted) in [(self.layers_dir(), layers), (self.root.join("blobs/sha256"), blobs)]
        {
            let list = std::fs::read_dir(&dir)
                .map_err(|e| ImageError::io(format!("list {}", dir.display()), e))?;
            for entry in list.flatten() {
                if !entry.file_name().to_str().is_some_and(|name| wanted.contains(name)) {
                    remove_dir(&entry.path())?;
                }
            }
        }
        Ok(())
    }
}

/// Marks the store as open. Whoever is alone with it first removes what an interrupted import left.
fn lock(dir: &Path) -> Result<std::fs::File> {
    use rustix::fs::{FlockOperation, flock};
    let path = dir.join("lock");
    let fail = |e: io::Error| ImageError::io(format!("lock {}", path.display()), e);
    let file = std::fs::File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(fail)?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
        remove_dir(&dir.join("tmp"))?;
    }
    flock(&file, FlockOperation::LockShared).map_err(|e| fail(e.into()))?;
    Ok(file)
}

fn read_index(path: &Path) -> Result<BTreeMap<String, Image>> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(ImageError::io(format!("read {}", path.display()), error)),
    };
    let attempt =
        || format!("read {} (remove it to start with an empty image store)", path.display());
    let index: Index = serde_json::from_slice(&bytes)
        .map_err(|e| ImageError::io(attempt(), io::Error::other(e)))?;
    if index.version != INDEX_VERSION {
        let why = io::Error::other(format!("version {} is not {INDEX_VERSION}", index.version));
        return Err(ImageError::io(attempt(), why));
    }
    Ok(index.images.into_iter().map(|image| (image.id.clone(), image)).collect())
}

/// Temporary file, fsync, rename, fsync of the directory: the new content or the old one, never something between.
fn write_durably(temporary: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::io::Write;
    let mut file = std::fs::File::create(temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(temporary, path)?;
    if let Some(dir) = path.parent() {
        std::fs::File::open(dir)?.sync_all()?;
    }
    Ok(())
}

/// Removes a file or a tree; absent is fine.
fn remove_dir(path: &Path) -> Result<()> {
    let is_dir = std::fs::symlink_metadata(path).is_ok_and(|m| m.is_dir());
    let removed = if is_dir { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(ImageError::io(format!("remove {}", path.display()), error))
        }
        _ => Ok(()),
    }
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests;
