//! Encryption at rest: what the store is given of kinds that the configuration names, and how it is read again.
//!
//! In: objects as JSON, with their key in the store. Out: `k8s:enc:PROVIDER:v1:KEY:` and the ciphertext, as upstream writes
//! it, so that values on etcd can be read by either. The first provider writes, any reads; what is not read by the first
//! is *stale*, and written anew by the next write of its object, whether that changes it or not.
//! Nothing is encrypted here but values: the names of objects are keys, and stay readable.

mod config;
mod provider;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use beeline_api::{ApiError, KindInfo};
use bytes::Bytes;

use config::Rule;
use provider::Provider;

/// What every encrypted value begins with.
const MARK: &[u8] = b"k8s:enc:";

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EncryptionError {
    /// There is none, or it cannot be read.
    #[error("read the encryption configuration {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is wrong.
    #[error("the encryption configuration {path}: {why}")]
    Wrong {
        /// The file.
        path: PathBuf,
        /// Where, what, and what would do. Never a secret.
        why: String,
    },
}

/// Which kinds are encrypted, and by what.
#[derive(Debug)]
pub struct Encryption {
    rules: Vec<Rule>,
    /// Keys in the store whose values are not what would be written now.
    stale: Mutex<HashSet<String>>,
}

impl Encryption {
    /// Reads an `apiserver.config.k8s.io/v1` EncryptionConfiguration.
    pub fn open(path: &Path) -> Result<Self, EncryptionError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| EncryptionError::Read { path: path.to_owned(), source })?;
        Self::parse(&text).map_err(|why| EncryptionError::Wrong { path: path.to_owned(), why })
    }

    fn parse(text: &str) -> Result<Self, String> {
        Ok(Self { rules: config::parse(text)?, stale: Mutex::default() })
    }

    /// The providers of a kind: those of the first rule that names it.
    fn providers(&self, kind: &KindInfo) -> &[Provider] {
        let found = self.rules.iter().find(|rule| rule.names(kind.group, kind.plural));
        found.map_or(&[], |rule| &rule.providers)
    }

    fn stale(&self) -> MutexGuard<'_, HashSet<String>> {
        self.stale.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the value under a key would be written otherwise now.
    pub(crate) fn is_stale(&self, key: &str) -> bool {
        self.stale().contains(key)
    }

    /// Follows a value that came from the store, or has gone from it.
    pub(crate) fn note(&self, kind: &KindInfo, key: &str, value: Option<&[u8]>) {
        let stale = value.is_some_and(|value| match self.providers(kind).first() {
            Some(first) => !first.wrote(value),
            None => false,
        });
        let mut all = self.stale();
        if stale {
            all.insert(key.to_owned());
        } else if !all.is_empty() {
            all.remove(key);
        }
    }
}

/// What the store is given for a value.
pub(crate) fn seal(
    by: Option<&Encryption>,
    kind: &KindInfo,
    key: &str,
    value: &Bytes,
) -> Result<Bytes, ApiError> {
    match by.and_then(|by| by.providers(kind).first()) {
        None | Some(Provider::Identity) => Ok(value.clone()),
        Some(first) => first.seal(key, value).map(Bytes::from).ok_or_else(|| {
            ApiError::internal(format!("unable to transform key {key:?}: encryption failed"))
        }),
    }
}

/// The value that the store was given. An error says what is missing.
pub(crate) fn unseal(
    by: Option<&Encryption>,
    kind: &KindInfo,
    key: &str,
    value: &Bytes,
) -> Result<Bytes, String> {
    let providers = by.map_or(&[][..], |by| by.providers(kind));
    if !value.starts_with(MARK) {
        // Written before there was encryption, which only who says so may have read.
        return match providers.is_empty() || providers.contains(&Provider::Identity) {
            true => Ok(value.clone()),
            false => Err("it is not encrypted, and the encryption configuration has no provider \
                          identity for its kind: add `identity: {}` as the last one"
                .to_owned()),
        };
    }
    match providers.iter().find(|one| one.wrote(value)) {
        Some(one) => one.unseal(key, value).map(Bytes::from).ok_or_else(|| {
            format!(
                "it is encrypted by {} and does not open: the secret is another, or the value \
                 was changed or moved",
                provider::name_in(value)
            )
        }),
        None => Err(format!(
            "it is encrypted by {}, which the encryption configuration does not have for its \
             kind: give --encryption-config a file with that provider and key",
            provider::name_in(value)
        )),
    }
}

#[cfg(test)]
mod tests;
