//! Events end an hour after they were last seen.
//!
//! In: all Events and `now`. Out: deletions. Pure.

use std::sync::Arc;
use std::time::Duration;

use beeline_api::kinds;
use k8s_openapi::api::core::v1::Event;

use crate::objects::{self, Timestamp};
use crate::write::{ObjectId, Removal, Write};

/// As upstream.
const TTL: Duration = Duration::from_secs(3600);

/// What has to be deleted now.
pub fn plan(events: &[Arc<Event>], now: Timestamp) -> Vec<Write> {
    let old = events
        .iter()
        .filter(|event| last_seen(event).is_some_and(|seen| objects::age(seen, now) >= TTL));
    old.map(|event| Write::delete(&kinds::EVENT, ObjectId::of(&event.metadata), Removal::Graceful))
        .collect()
}

fn last_seen(event: &Event) -> Option<Timestamp> {
    let series = event.series.as_ref().and_then(|s| s.last_observed_time.as_ref()).map(|t| t.0);
    let last = event.last_timestamp.as_ref().map(|t| t.0);
    let micro = event.event_time.as_ref().map(|t| t.0);
    series.or(last).or(micro).or(objects::created(&event.metadata))
}
