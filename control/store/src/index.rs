//! The index: which keys are live, at which revisions, and the fingerprints of their values, in sled. It can be thrown away.
//!
//! In: live entries as of some revision. Out: the hash of what it holds, after a restart too.
//! What it is for: a second witness of what the log should hold, kept by other code in other files.
//! Refuses: being trusted. Its contents count only if their hash is the one the log gives for the same revision.
//! Every call has a deadline and may panic: sled does both on damaged files.

use std::fs::{self, File};
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use crate::types::{Entry, Key, Revision};

/// sled reuses its file by segments; what it holds here is small.
const SEGMENT_BYTES: usize = 256 << 10;
/// How often sled writes out what it holds and reuses space. Each time it syncs its file, changed or not, and the disk's
/// cache with it, for which the log's own syncs then wait. What a crash takes from the index comes back from the log.
const TIDY_MS: u64 = 5_000;
/// How long closing may take. What matters was synced before; a sled that hangs is left to the process's end.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);
/// Prefix bytes of the one tree. The number is that of the format: another one is none of ours.
const META: &[u8] = b"\0meta2";
const ENTRY: u8 = b'e';

/// An open index.
#[derive(Clone)]
pub(crate) struct Index {
    db: Arc<Closing>,
    dir: PathBuf,
    deadline: Duration,
}

/// sled, which is closed on a thread of its own: after a failed write it may never come back from that.
struct Closing(Option<sled::Db>);

/// What the index says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) cluster: [u8; 16],
    pub(crate) revision: Revision,
    pub(crate) hash: u64,
    /// Under which boot of the machine it was written: sled does not sync, so after another one it may be torn.
    pub(crate) boot: u32,
    /// Whether it holds all of that revision; not while a large difference is being written.
    pub(crate) complete: bool,
}

/// Some of the difference between the index and the live keys.
#[derive(Debug)]
pub(crate) struct Difference {
    /// `None` where the key is gone.
    pub(crate) keys: Vec<(Key, Option<Entry>)>,
    /// What the index is once this is in.
    pub(crate) meta: Meta,
}

/// Why the index is not to be believed.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {reason}")]
pub(crate) struct Trouble {
    what: &'static str,
    reason: String,
}

// === impl Index ===

impl Index {
    pub(crate) fn open(
        dir: &Path,
        cache_bytes: u64,
        deadline: Duration,
    ) -> Result<(Self, Option<Meta>), Trouble> {
        let path = dir.to_owned();
        guarded("open the index", deadline, move || {
            let db = sled::Config::new()
                .path(&path)
                .cache_capacity(cache_bytes)
                .segment_size(SEGMENT_BYTES)
                .flush_every_ms(Some(TIDY_MS))
                .open()
                .map_err(|error| error.to_string())?;
            let meta = db.get(META).map_err(|error| error.to_string())?;
            let meta = meta.and_then(|bytes| Meta::decode(&bytes));
            Ok((Self { db: Arc::new(Closing(Some(db))), dir: path, deadline }, meta))
        })
    }

    /// Sets the directory aside under another name; the one set aside before is removed.
    pub(crate) fn set_aside(dir: &Path) -> std::io::Result<()> {
        let aside = dir.with_extension("set-aside");
        match fs::remove_dir_all(&aside) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        match fs::rename(dir, aside) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// Writes a difference.
    pub(crate) fn apply(&self, difference: Difference) -> Result<(), Trouble> {
        let index = self.clone();
        guarded("write the index", self.deadline, move || {
            let mut batch = sled::Batch::default();
            for (key, entry) in difference.keys {
                match entry {
                    Some(entry) => batch.insert(encode_key(&key), encode_entry(&entry)),
                    None => batch.remove(encode_key(&key)),
                }
            }
            batch.insert(META, difference.meta.encode());
            index.db.apply_batch(batch).map_err(|error| error.to_string())
        })
    }

    /// Reads everything for its hash.
    pub(crate) fn hash(&self) -> Result<u64, Trouble> {
        let index = self.clone();
        guarded("read the index", self.deadline, move || {
            let mut hash = 0_u64;
            for item in index.db.scan_prefix([ENTRY]) {
                let (key, value) = item.map_err(|error| error.to_string())?;
                let fingerprint =
                    decode_entry(&key, &value).ok_or("an entry that was not written like this")?;
                hash = hash.wrapping_add(fingerprint);
            }
            Ok(hash)
        })
    }

    /// Makes it durable, which sled's own flush does not.
    pub(crate) fn sync(&self) -> Result<(), Trouble> {
        let index = self.clone();
        guarded("sync the index", self.deadline, move || {
            index.db.flush().map_err(|error| error.to_string())?;
            let synced = File::open(index.dir.join("db")).and_then(|file| file.sync_all());
            synced.map_err(|error| error.to_string())
        })
    }
}

// === impl Closing ===

impl Deref for Closing {
    type Target = sled::Db;

    fn deref(&self) -> &sled::Db {
        self.0.as_ref().expect("it is taken by drop alone")
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        let Some(db) = self.0.take() else { return };
        let closed = guarded("close the index", CLOSE_LIMIT, move || {
            drop(db);
            Ok(())
        });
        if let Err(trouble) = closed {
            tracing::warn!(%trouble, "the index stays open until this process ends");
        }
    }
}

/// Runs `work` on a thread of its own. One that does not come back in time is left behind: there is no way to end it.
fn guarded<T, F>(what: &'static str, deadline: Duration, work: F) -> Result<T, Trouble>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, String> + Send + 'static,
{
    let (sender, receiver) = mpsc::sync_channel(1);
    let trouble = |reason: &str| Trouble { what, reason: reason.to_owned() };
    let run = move || {
        let result = catch_unwind(AssertUnwindSafe(work))
            .unwrap_or_else(|_| Err("sled panicked".to_owned()));
        let _ = sender.send(result);
    };
    let started = std::thread::Builder::new().name("store-index".into()).spawn(run);
    started.map_err(|error| trouble(&error.to_string()))?;
    match receiver.recv_timeout(deadline) {
        Ok(result) => result.map_err(|reason| trouble(&reason)),
        Err(_) => Err(trouble("no answer in time")),
    }
}

// === impl Meta ===

impl Meta {
    fn encode(&self) -> Vec<u8> {
        let Self { cluster, revision, hash, boot, complete } = self;
        let mut out = cluster.to_vec();
        out.extend_from_slice(&revision.0.to_le_bytes());
        out.extend_from_slice(&hash.to_le_bytes());
        out.extend_from_slice(&boot.to_le_bytes());
        out.push(u8::from(*complete));
        let checksum = crc32fast::hash(&out);
        out.extend_from_slice(&checksum.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, checksum) = bytes.split_last_chunk::<4>()?;
        if crc32fast::hash(body) != u32::from_le_bytes(*checksum) {
            return None;
        }
        let (cluster, rest) = body.split_first_chunk::<16>()?;
        let (revision, rest) = rest.split_first_chunk::<8>()?;
        let (hash, rest) = rest.split_first_chunk::<8>()?;
        let (boot, rest) = rest.split_first_chunk::<4>()?;
        Some(Self {
            cluster: *cluster,
            revision: Revision(u64::from_le_bytes(*revision)),
            hash: u64::from_le_bytes(*hash),
            boot: u32::from_le_bytes(*boot),
            complete: rest == [1],
        })
    }
}

fn encode_key(key: &Key) -> Vec<u8> {
    let mut out = Vec::with_capacity(key.len() + 1);
    out.push(ENTRY);
    out.extend_from_slice(key.as_bytes());
    out
}

/// Revisions of creation and of the last write, fingerprint, and a checksum of all that with the key.
fn encode_entry(entry: &Entry) -> Vec<u8> {
    let mut out = Vec::with_capacity(28);
    out.extend_from_slice(&entry.create_revision.0.to_le_bytes());
    out.extend_from_slice(&entry.mod_revision.0.to_le_bytes());
    out.extend_from_slice(&entry.fingerprint().to_le_bytes());
    let checksum = checksum(&encode_key(&entry.key), &out);
    out.extend_from_slice(&checksum.to_le_bytes());
    out
}

/// The fingerprint, if the checksum is right.
fn decode_entry(key: &[u8], value: &[u8]) -> Option<u64> {
    let (body, expected) = value.split_last_chunk::<4>()?;
    let (_, fingerprint) = body.split_last_chunk::<8>()?;
    let sound = body.len() == 24 && checksum(key, body) == u32::from_le_bytes(*expected);
    sound.then_some(u64::from_le_bytes(*fingerprint))
}

fn checksum(key: &[u8], value: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(value);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_secs(30);

    #[test]
    fn it_holds_what_was_put_in() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index");
        let entry = Entry {
            key: "/a".into(),
            value: "one".into(),
            create_revision: Revision(1),
            mod_revision: Revision(2),
        };
        let meta = Meta {
            cluster: [1; 16],
            revision: Revision(3),
            hash: entry.fingerprint(),
            boot: 5,
            complete: true,
        };
        let (index, found) = Index::open(&path, 1 << 20, DEADLINE).unwrap();
        assert_eq!(found, None);
        let keys = vec![("/a".into(), Some(entry.clone())), ("/b".into(), None)];
        index.apply(Difference { keys, meta }).unwrap();
        index.sync().unwrap();
        drop(index);
        let (index, found) = Index::open(&path, 1 << 20, DEADLINE).unwrap();
        assert_eq!(found, Some(meta));
        assert_eq!(index.hash().unwrap(), meta.hash);
        // A change that leaves the fingerprint alone is found too.
        let mut changed = encode_entry(&entry);
        changed[3] ^= 1;
        index.db.insert(encode_key(&entry.key), changed).unwrap();
        assert!(index.hash().is_err());
    }

    #[test]
    fn panics_and_silence_are_trouble_but_no_more() {
        let panicked = guarded::<(), _>("test", DEADLINE, || panic!("on purpose"));
        assert!(panicked.unwrap_err().to_string().contains("panicked"));
        let silent = guarded::<(), _>("test", Duration::from_millis(10), || {
            std::thread::park_timeout(Duration::from_secs(1));
            Ok(())
        });
        assert!(silent.unwrap_err().to_string().contains("in time"));
    }
}
