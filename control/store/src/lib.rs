//! Revisioned key-values with watches.
//!
//! In: creates, updates and deletes, each conditional on a revision. Out: one rising revision without gaps,
//! consistent reads from memory, and watches that resume from any revision that is still remembered.
//! Refuses: acknowledging what is not durable, going on after a failed write, and knowing what a value means.
//!
//! ```
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use beeline_store::{Memory, Store};
//! let store = Memory::new();
//! let first = store.create("/registry/pods/default/a", "one".into()).await?;
//! let mut watch = store.watch("/registry/pods/", first).await?;
//! store.update("/registry/pods/default/a", "two".into(), first).await?;
//! assert_eq!(watch.next().await?.len(), 1);
//! # Ok(())
//! # }
//! ```

pub mod backup;
mod directory;
mod disk;
mod embedded;
mod error;
mod etcd;
mod index;
mod log;
mod memory;
mod snapshot;
mod state;
mod types;
mod watch;

use async_trait::async_trait;
use bytes::Bytes;

pub use embedded::{Embedded, Options, Space, Status};
pub use error::{OpenError, StoreError};
pub use etcd::{Etcd, EtcdOptions, EtcdTls};
pub use memory::Memory;
pub use types::{Change, Entry, Key, Revision};
pub use watch::{Watch, WatchEnd};

/// The largest value: upstream's limit of a request.
pub const VALUE_BYTES_MAX: usize = 1_572_864;
/// The longest key.
pub const KEY_BYTES_MAX: usize = 4_096;

/// What every backend does, with etcd's meaning.
///
/// Writes have just these three shapes and `compact`; each successful one takes the next revision, and
/// returns only once it is durable. Dropping the future of a write does not undo it.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Puts a key that must not exist (`Exists`).
    async fn create(&self, key: &str, value: Bytes) -> Result<Revision, StoreError>;

    /// Replaces a key that must exist (`NotFound`) and be at `expected` (`Conflict`).
    async fn update(
        &self,
        key: &str,
        value: Bytes,
        expected: Revision,
    ) -> Result<Revision, StoreError>;

    /// Removes a key that must exist (`NotFound`) and be at `expected` (`Conflict`). Answers with the revision of the removal.
    async fn delete(&self, key: &str, expected: Revision) -> Result<Revision, StoreError>;

    /// Forgets the changes up to and including `to`: watches can start after it, no earlier. Live keys stay.
    async fn compact(&self, to: Revision) -> Result<(), StoreError>;

    /// One key, as of now.
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError>;

    /// All keys that start with `prefix`, in order, and the revision at which this was all of them.
    async fn range(&self, prefix: &str) -> Result<(Vec<Entry>, Revision), StoreError>;

    /// All changes to keys that start with `prefix` with a revision above `after`, without a gap.
    /// `Compacted` when they are no longer all remembered: list, and watch from the list's revision.
    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError>;

    /// The revision of the newest durable write.
    fn revision(&self) -> Revision;
}
