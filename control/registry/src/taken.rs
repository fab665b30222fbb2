//! What a write takes of what is scarce, and gives back unless it is stored: addresses and ports of
//! Services, and its part of quotas.
//!
//! In: objects about to be written. Out: the same with what they need, stored. Nothing stays taken without an object, whether
//! a write is refused, fails or is given up by its caller.

use std::sync::Arc;

use beeline_api::kinds::SERVICE;
use beeline_api::{ApiError, KindInfo};
use beeline_store::Revision;
use serde_json::Value;

use crate::allocation::Held;
use crate::object::Object;
use crate::quota::{self, Claim};
use crate::registry::Registry;
use crate::storing::{self, Place, PutError};

/// What one write has taken; dropping it gives it back.
pub(crate) struct Taken {
    registry: Registry,
    held: Option<Held>,
    claim: Option<Claim>,
}

impl Taken {
    /// Of writes that need nothing.
    pub(crate) fn nothing(registry: &Registry) -> Self {
        Self { registry: registry.clone(), held: None, claim: None }
    }

    /// What an object needs beyond what its old version has.
    pub(crate) fn reserve(
        registry: &Registry,
        kind: &KindInfo,
        value: &mut Value,
        old: Option<&Value>,
    ) -> Result<Self, ApiError> {
        let mut taken = Self::nothing(registry);
        if *kind == SERVICE {
            taken.held = Some(registry.inner.allocations.reserve(value, old)?);
        }
        Ok(taken)
    }

    /// Its part of the quotas of its namespace. The last that is asked of a write, since others wait for nothing.
    pub(crate) fn claim(
        &mut self,
        place: Place<'_>,
        value: &Value,
        old: Option<&Value>,
    ) -> Result<(), ApiError> {
        self.claim = quota::claim(&self.registry, place.kind, place.key, value, old)?;
        Ok(())
    }

    fn is_nothing(&self) -> bool {
        self.held.is_none() && self.claim.is_none()
    }

    /// The object is stored: what the cache shows of it counts from now on.
    fn keep(mut self) {
        self.held = None;
        if let Some(claim) = self.claim.take() {
            claim.keep();
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            self.registry.inner.allocations.release(&held);
        }
    }
}

/// Stores a value. A write that has taken something runs to its end even if the caller goes away.
pub(crate) async fn commit(
    registry: &Registry,
    place: Place<'_>,
    value: Value,
    expected: Option<Revision>,
    taken: Taken,
) -> Result<Arc<Object>, ApiError> {
    if taken.is_nothing() {
        return Ok(storing::put(registry, place, value, expected).await?);
    }
    let (kind, key, name) = (place.kind, place.key.to_owned(), place.name.to_owned());
    let (answer, answered) = tokio::sync::oneshot::channel();
    let registry = registry.clone();
    let tasks = registry.inner.tasks.clone();
    tasks.spawn("registry-write", async move {
        let place = Place { kind, key: &key, name: &name };
        let result = storing::put(&registry, place, value, expected).await;
        // What is in the store holds what it took, whether its writer was told so or not.
        match &result {
            Err(PutError::Refused(_)) => drop(taken),
            Ok(_) | Err(PutError::Unseen(_)) => taken.keep(),
        }
        let _ = answer.send(result.map_err(ApiError::from));
    });
    answered.await.unwrap_or_else(|_| Err(ApiError::unavailable("the server is shutting down")))
}
