//! The one door to the store: the meaning of objects.
//!
//! In: callers with an identity, objects and patches as JSON. Out: stored objects encoded once and shared, lists of a
//! consistent snapshot, resumable watches, and [`beeline_api::ApiError`] in upstream's words.
//! Refuses: HTTP, and any write that its kind's validation does not pass, whoever sends it.

mod access;
mod accounts;
mod admission;
mod allocation;
mod bootstrap;
mod bucket;
mod cache;
mod certificates;
mod classes;
mod client;
mod conversion;
mod delete;
mod disruption;
mod encryption;
mod limits;
mod list;
mod managing;
mod nodes;
mod object;
mod options;
mod patching;
mod podsecurity;
mod prepare;
mod quota;
mod read;
mod registry;
mod roles;
mod scale;
mod storing;
mod subresources;
mod taken;
mod tokens;
mod view;
mod views;
mod watch;
mod webhooks;
mod write;

#[cfg(test)]
mod tests;

pub use beeline_auth::Authorizer;
pub use beeline_store::Revision;
pub use client::{Api, Client, Kind};
pub use encryption::{Encryption, EncryptionError};
pub use object::{Deleted, EventKind, List, Object, WatchEvent};
pub use options::{
    Caller, DeleteOptions, FieldValidation, ListOptions, Options, Ownership, Patch, Preconditions,
    Propagation, StoreObserver, Subresource, Target, VersionMatch, Warnings, WatchOptions,
    WriteOptions,
};
pub use quota::QuotaUse;
pub use registry::{OpenError, Registry};
pub use view::{Difference, View};
pub use watch::ObjectWatch;
pub use webhooks::{Endpoint, Webhooks};
