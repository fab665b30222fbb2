//! Kinds that are another version of a stored one: events of `events.k8s.io`, autoscalers of `autoscaling/v1`, and what
//! definitions make.
//!
//! In: what a caller sent or gets. Out: the same in the form that is stored, or in the caller's.

use std::borrow::Cow;
use std::sync::Arc;

use beeline_api::kinds::Causes;
use beeline_api::{ApiError, KindInfo, meta};
use serde_json::Value;

use crate::conversion;
use crate::object::{Deleted, List, Object, WatchEvent};
use crate::options::Target;
use crate::registry::Registry;

/// A body and its target in the stored form. What only that version asks of its objects is checked here.
pub(crate) fn stored(target: &Target, value: Value) -> Result<(Cow<'_, Target>, Value), ApiError> {
    let kind = target.kind;
    let (Some(view), None) = (kind.view, kind.custom) else {
        return Ok((Cow::Borrowed(target), value));
    };
    let mut causes = Causes::new();
    if target.subresource.is_none() {
        (kind.validate)(&value, &mut causes);
    }
    if !causes.is_empty() {
        return Err(ApiError::invalid(kind, meta::name(&value), causes));
    }
    Ok((target.stored(), (view.write)(&value)))
}

/// A stored value in the form of the caller's version.
pub(crate) async fn value(
    registry: &Registry,
    kind: &KindInfo,
    stored: &Value,
) -> Result<Value, ApiError> {
    if kind.custom.is_some() {
        let mut made = conversion::convert(registry, kind, vec![stored.clone()]).await?;
        return Ok(made.pop().unwrap_or_default());
    }
    Ok(match kind.view {
        Some(view) if stored["kind"] == view.of.kind => (view.read)(stored),
        _ => stored.clone(),
    })
}

/// Whether an object is in that form already.
fn is_same(kind: &KindInfo, stored: &Object) -> bool {
    match kind.custom {
        Some(_) => stored.value["kind"] != kind.kind || !kind.must_convert(&stored.value),
        None => kind.view.is_none(),
    }
}

/// An object in the form of the caller's version.
pub(crate) async fn object(
    registry: &Registry,
    kind: &KindInfo,
    stored: Arc<Object>,
) -> Result<Arc<Object>, ApiError> {
    if is_same(kind, &stored) {
        return Ok(stored);
    }
    let seen = value(registry, kind, &stored.value).await?;
    Ok(Arc::new(Object::transient(seen, stored.revision)))
}

/// The same of what a deletion left.
pub(crate) async fn deleted(
    registry: &Registry,
    kind: &KindInfo,
    deleted: Deleted,
) -> Result<Deleted, ApiError> {
    Ok(match deleted {
        Deleted::Gone(last) => Deleted::Gone(object(registry, kind, last).await?),
        Deleted::Pending(held) => Deleted::Pending(object(registry, kind, held).await?),
    })
}

/// The same of a list; a webhook is called once for all.
pub(crate) async fn list(
    registry: &Registry,
    kind: &KindInfo,
    mut list: List,
) -> Result<List, ApiError> {
    if kind.custom.is_none() {
        for item in list.items.iter_mut().filter(|o| !is_same(kind, o)) {
            *item = object(registry, kind, Arc::clone(item)).await?;
        }
        return Ok(list);
    }
    let others = list.items.iter().filter(|o| !is_same(kind, o));
    let values: Vec<Value> = others.map(|o| o.value.clone()).collect();
    let made = conversion::convert(registry, kind, values).await?;
    for (item, seen) in list.items.iter_mut().filter(|o| !is_same(kind, o)).zip(made) {
        *item = Arc::new(Object::transient(seen, item.revision));
    }
    Ok(list)
}

/// The same of an event.
pub(crate) async fn event(
    registry: &Registry,
    kind: &KindInfo,
    event: WatchEvent,
) -> Result<WatchEvent, ApiError> {
    let object = object(registry, kind, Arc::clone(&event.object)).await?;
    Ok(WatchEvent { object, ..event })
}
