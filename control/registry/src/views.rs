//! Kinds that are another version of a stored one: events of `events.k8s.io`, autoscalers of `autoscaling/v1`, and what
//! definitions make.
//!
//! In: what a caller sent or gets. Out: the same in the form that is stored, or in the caller's.

use std::borrow::Cow;
use std::sync::Arc;

use beeline_api::kinds::Causes;
use beeline_api::{ApiError, KindInfo, meta};
use serde_json::Value;

use crate::object::{Deleted, List, Object, WatchEvent};
use crate::options::Target;

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
pub(crate) fn value(kind: &KindInfo, stored: &Value) -> Value {
    match kind.view {
        _ if kind.custom.is_some() && stored["kind"] == kind.kind => kind.converted(stored),
        Some(view) if stored["kind"] == view.of.kind => (view.read)(stored),
        _ => stored.clone(),
    }
}

/// An object in the form of the caller's version.
pub(crate) fn object(kind: &KindInfo, stored: Arc<Object>) -> Arc<Object> {
    if kind.view.is_none() && kind.custom.is_none() {
        return stored;
    }
    if kind.custom.is_some() && !kind.must_convert(&stored.value) {
        return stored;
    }
    let seen = value(kind, &stored.value);
    Arc::new(Object::transient(seen, stored.revision))
}

/// The same of what a deletion left.
pub(crate) fn deleted(kind: &KindInfo, deleted: Deleted) -> Deleted {
    match deleted {
        Deleted::Gone(last) => Deleted::Gone(object(kind, last)),
        Deleted::Pending(held) => Deleted::Pending(object(kind, held)),
    }
}

/// The same of a list.
pub(crate) fn list(kind: &KindInfo, mut list: List) -> List {
    if kind.view.is_some() || kind.custom.is_some() {
        list.items = list.items.into_iter().map(|o| object(kind, o)).collect();
    }
    list
}

/// The same of an event.
pub(crate) fn event(kind: &KindInfo, event: WatchEvent) -> WatchEvent {
    WatchEvent { object: object(kind, event.object), ..event }
}
