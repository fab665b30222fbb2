//! Objects that every cluster has: made where they are absent, else changed as each of them says.

use beeline_api::{ApiError, KindInfo, meta};
use futures::future::try_join_all;
use serde_json::Value;

use crate::options::{Caller, Target, WriteOptions};
use crate::registry::{OpenError, Registry};
use crate::write;

/// What is stored and what this version has; the new one, or nothing to leave it as it is.
pub(crate) type Correct = fn(&Value, &Value) -> Option<Value>;

/// One of them.
pub(crate) struct Standard {
    pub(crate) kind: &'static KindInfo,
    pub(crate) namespace: Option<&'static str>,
    pub(crate) object: Value,
    pub(crate) correct: Correct,
}

/// One that is left alone once it is there.
pub(crate) fn once(_stored: &Value, _wanted: &Value) -> Option<Value> {
    None
}

/// One that is always what this version has.
pub(crate) fn always(_stored: &Value, wanted: &Value) -> Option<Value> {
    Some(wanted.clone())
}

/// Sees to some of them. Together, so that the store makes them durable in a few commits.
pub(crate) async fn ensure_all(
    registry: &Registry,
    all: impl IntoIterator<Item = Standard>,
) -> Result<(), OpenError> {
    try_join_all(all.into_iter().map(|one| ensure(registry, one))).await.map(drop)
}

/// Sees to one of them.
pub(crate) async fn ensure(registry: &Registry, one: Standard) -> Result<(), OpenError> {
    let (kind, namespace) = (one.kind, one.namespace);
    let name = meta::name(&one.object).to_owned();
    let place = namespace.map(|namespace| format!("{namespace}/")).unwrap_or_default();
    let failed = |why| OpenError::Bootstrap { what: format!("{} {place}{name}", kind.kind), why };
    put(registry, &name, one).await.map_err(failed)
}

async fn put(registry: &Registry, name: &str, one: Standard) -> Result<(), ApiError> {
    let Standard { kind, namespace, object, correct } = one;
    let (caller, options) = (Caller::system("registry"), WriteOptions::default());
    let Some(found) = registry.cached(kind, namespace, name) else {
        let target = Target::collection(kind, namespace);
        return match write::create(registry, &caller, &target, object, &options).await {
            Err(e) if !e.is_already_exists() => Err(e),
            _ => Ok(()),
        };
    };
    let Some(new) = correct(&found.value, &object) else { return Ok(()) };
    let target = Target::object(kind, namespace, name);
    write::update(registry, &caller, &target, new, &options).await.map(drop)
}
