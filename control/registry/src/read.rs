//! Reading one object.

use std::sync::Arc;

use beeline_api::time::{self, Timestamp};
use beeline_api::{ApiError, KindInfo};

use crate::object::Object;
use crate::options::{Subresource, Target};
use crate::registry::Registry;
use crate::scale;

/// The newest committed state of one object, or its scale.
pub(crate) async fn get(registry: &Registry, target: &Target) -> Result<Arc<Object>, ApiError> {
    let name = target.name.as_deref().unwrap_or_default();
    let found = registry.newest(target.kind, target.namespace.as_deref(), name).await?;
    let object = found.ok_or_else(|| ApiError::not_found(target.kind, name))?;
    match target.subresource {
        Some(Subresource::Scale) => scale::of(registry, target, &object).await,
        _ => Ok(object),
    }
}

impl Registry {
    /// One object, after waiting for all writes acknowledged until now.
    pub(crate) async fn newest(
        &self,
        kind: &'static KindInfo,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<Option<Arc<Object>>, ApiError> {
        self.inner.cache.reach(self.inner.store.revision()).await?;
        Ok(self.cached(kind, namespace, name))
    }

    /// Now.
    pub(crate) fn now(&self) -> Timestamp {
        time::from_system(self.inner.options.clock.now())
    }
}
