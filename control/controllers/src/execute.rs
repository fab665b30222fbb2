//! The one executor of all plans.
//!
//! In: writes. Out: calls to the registry, several at once. Makes no choices: a write that lost a race is
//! dropped, since the next run plans from what is true then. An Event after a write tells of it, and is left out when the
//! write was not done; of a Pod that may not be made it tells why, and no more are tried for the same owner in this run.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use beeline_api::{ApiError, kinds};
use beeline_registry::{
    Client, DeleteOptions, Patch, Preconditions, Propagation, Subresource, Target, WriteOptions,
};
use futures::StreamExt as _;
use serde_json::Value;

use crate::events;
use crate::write::{ObjectId, Part, Removal, Write};

/// The store commits writes in groups: enough of them at once to fill one.
const AT_ONCE_MAX: usize = 32;
/// How long to wait for our own writes to come back before planning anyway.
const CATCH_UP_MAX: Duration = Duration::from_secs(5);

/// A write, and what tells of it.
struct Step {
    write: Write,
    event: Option<Write>,
}

/// Owners, by uid, for whom nothing more is made in this run.
#[derive(Default)]
struct Refused(Mutex<HashSet<String>>);

impl Refused {
    fn set(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Perform all writes of a plan, then wait until the cache shows them. Whether all of them succeeded.
pub(crate) async fn execute(client: &Client, writes: Vec<Write>) -> bool {
    let refused = &Refused::default();
    let outcomes: Vec<Result<u64, ()>> = futures::stream::iter(steps(writes))
        .map(|step| take(client, step, refused))
        .buffer_unordered(AT_ONCE_MAX)
        .collect()
        .await;
    let newest = outcomes.iter().filter_map(|o| o.as_ref().ok()).max().copied();
    if let Some(newest) = newest {
        catch_up(client, newest).await;
    }
    outcomes.iter().all(Result::is_ok)
}

fn steps(writes: Vec<Write>) -> Vec<Step> {
    let is_event =
        |write: &Write| matches!(write, Write::Create { kind, .. } if *kind == &kinds::EVENT);
    let mut steps: Vec<Step> = Vec::new();
    for write in writes {
        match steps.last_mut() {
            Some(last) if is_event(&write) && last.event.is_none() && !is_event(&last.write) => {
                last.event = Some(write);
            }
            _ => steps.push(Step { write, event: None }),
        }
    }
    steps
}

/// One write with its Event. Revision of the newest of both, none if there was nothing to do.
async fn take(client: &Client, step: Step, refused: &Refused) -> Result<u64, ()> {
    let Step { write, event } = step;
    let owner = owner(&write);
    if owner.is_some_and(|owner| refused.set().contains(owner)) {
        return Ok(0);
    }
    let error = match perform(client, &write).await {
        Ok(revision) => {
            let Some(event) = event else { return Ok(revision) };
            let told = perform(client, &event).await.map_err(|error| report(&event, &error))?;
            return Ok(told.max(revision));
        }
        Err(error) => error,
    };
    report(&write, &error);
    // What is not allowed now may be so later; trying at once again would only be refused again.
    let telling = event.as_ref().filter(|_| matches!(error.code, 400 | 403 | 422));
    let (Some(owner), Some(Write::Create { object, .. })) = (owner, telling) else {
        return Err(());
    };
    refused.set().insert(owner.to_owned());
    if let Some(event) = events::failed(object, &error.message) {
        let event = Write::create(&kinds::EVENT, &event);
        if let Err(error) = perform(client, &event).await {
            report(&event, &error);
        }
    }
    Ok(0)
}

/// Of an object that is to be made for another.
fn owner(write: &Write) -> Option<&str> {
    let Write::Create { object, .. } = write else { return None };
    let owners = object["metadata"]["ownerReferences"].as_array()?;
    owners.iter().find(|owner| owner["controller"] == true)?["uid"].as_str()
}

/// A plan made before our own writes are visible would repeat them.
async fn catch_up(client: &Client, revision: u64) {
    let registry = client.registry();
    let wait = async {
        while registry.revision().0 < revision {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    if tokio::time::timeout(CATCH_UP_MAX, wait).await.is_err() {
        tracing::warn!(revision, "the cache does not follow the store");
    }
}

async fn perform(client: &Client, write: &Write) -> Result<u64, ApiError> {
    let (registry, caller) = (client.registry(), client.caller());
    let options = WriteOptions::default();
    let object = match write {
        Write::Create { kind, namespace, name: _, object } => {
            let namespace = (!namespace.is_empty()).then_some(namespace.as_str());
            let target = Target::collection(kind, namespace);
            registry.create(caller, &target, Value::clone(object), &options).await?
        }
        Write::Patch { kind, object, part: Part::Finalize, patch } => {
            // `/finalize` takes whole objects only.
            let current = registry.get(caller, &target(kind, object)).await?;
            let mut body = current.value.clone();
            body["spec"]["finalizers"] = patch["spec"]["finalizers"].clone();
            let target = target(kind, object).sub(Subresource::Finalize);
            registry.update(caller, &target, body, &options).await?
        }
        Write::Patch { kind, object, part, patch } => {
            let mut target = target(kind, object);
            if *part == Part::Approval {
                target = target.sub(Subresource::Approval);
            }
            if *part == Part::Status {
                target = target.sub(Subresource::Status);
            }
            let mut patch = Value::clone(patch);
            patch["metadata"]["uid"] = Value::from(object.uid.clone());
            registry.patch(caller, &target, Patch::Merge(patch), &options).await?
        }
        Write::Delete { kind, object, how } => {
            let options = DeleteOptions {
                grace_period_seconds: (*how == Removal::Now).then_some(0),
                propagation: Some(match how {
                    Removal::Foreground => Propagation::Foreground,
                    Removal::Graceful | Removal::Now => Propagation::Background,
                }),
                preconditions: Preconditions {
                    uid: Some(object.uid.clone()),
                    resource_version: None,
                },
                ..DeleteOptions::default()
            };
            let deleted = registry.delete(caller, &target(kind, object), &options).await?;
            std::sync::Arc::clone(deleted.object())
        }
    };
    Ok(object.revision.0)
}

fn target(kind: &'static beeline_api::KindInfo, object: &ObjectId) -> Target {
    let namespace = (!object.namespace.is_empty()).then_some(object.namespace.as_str());
    Target::object(kind, namespace, &object.name)
}

fn report(write: &Write, error: &ApiError) {
    // Events in a Namespace that is going are refused; that is no news.
    let expected = error.is_conflict() || error.is_not_found() || error.is_already_exists();
    let refused = error.code == 403 && matches!(write, Write::Create { .. });
    if expected || refused {
        tracing::debug!(%write, %error, "lost a race");
    } else {
        tracing::warn!(%write, %error, "write refused");
    }
}
