//! The loop that keeps the picture of extension servers true.
//!
//! In: APIServices, and what they lead to. Out: their condition `Available`, and the newest [`Remote`]. A server is asked again
//! when its APIService or its addresses change, and every 30 s.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use beeline_api::kinds::{API_SERVICE, ENDPOINT_SLICE, SERVICE};
use beeline_api::meta::{list, text};
use beeline_api::time;
use beeline_auth::Certified;
use beeline_kit::Tasks;
use beeline_registry::{Caller, Object, Patch, Registry, Subresource, Target, WriteOptions};
use futures::StreamExt as _;
use serde_json::{Value, json};

use super::resolve::Unavailable;
use super::{ApiService, Entry, Remote, call, discovery, resolve};
use crate::app::App;

/// How often servers are asked although nothing changed.
const INTERVAL: Duration = Duration::from_secs(30);
/// Servers that are asked at once.
const AT_ONCE_MAX: usize = 8;
/// All forms of discovery, the best first.
const DISCOVERY: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
     application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";

/// What was found the last time.
struct Seen {
    at: Instant,
    addresses: Result<Vec<String>, Unavailable>,
    entry: Entry,
}

/// Follows until the server stops.
pub(crate) async fn follow(app: Arc<App>, client: Certified, tasks: Tasks) {
    let registry = app.registry().clone();
    let changed = registry.changed(&[&API_SERVICE, &SERVICE, &ENDPOINT_SLICE]);
    let mut seen: BTreeMap<String, Seen> = BTreeMap::new();
    loop {
        let wanted = wanted(&registry, &client, &seen);
        seen.retain(|name, _| wanted.iter().any(|(one, _)| one.name == *name));
        let mut due = Vec::new();
        for (service, object) in wanted {
            let addresses = resolve::addresses(&registry, &service);
            let fresh = |known: &Seen| {
                known.at.elapsed() < INTERVAL
                    && known.addresses == addresses
                    && Arc::ptr_eq(&known.entry.service, &service)
            };
            if !seen.get(&service.name).is_some_and(fresh) {
                let known = seen.remove(&service.name);
                due.push(Due { service, object, known, addresses });
            }
        }
        if !due.is_empty() || seen.len() != app.remote().entries.len() {
            let asked = futures::stream::iter(due).map(|due| ask(&registry, &tasks, due));
            let asked: Vec<Seen> = asked.buffer_unordered(AT_ONCE_MAX).collect().await;
            seen.extend(asked.into_iter().map(|one| (one.entry.service.name.clone(), one)));
            let entries = seen.values().map(|one| {
                let of = &one.entry.service;
                ((of.group.clone(), of.version.clone()), one.entry.clone())
            });
            app.set_remote(Remote { entries: entries.collect() });
        }
        let pause = if seen.is_empty() { Duration::MAX } else { INTERVAL };
        tokio::select! {
            () = app.stopping.cancelled() => return,
            () = changed.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// All that other servers stand behind; what did not change is not read again.
fn wanted(
    registry: &Registry,
    client: &Certified,
    seen: &BTreeMap<String, Seen>,
) -> Vec<(Arc<ApiService>, Arc<Object>)> {
    let all = registry.snapshot(&API_SERVICE, None);
    let one = |object: &Arc<Object>| {
        let known = seen.get(object.name()).map(|known| &known.entry.service);
        let service = match known.filter(|known| known.is_of(object)) {
            Some(known) => Arc::clone(known),
            None => Arc::new(ApiService::of(object, client)?),
        };
        Some((service, Arc::clone(object)))
    };
    all.iter().filter_map(one).collect()
}

/// One that has to be asked.
struct Due {
    service: Arc<ApiService>,
    object: Arc<Object>,
    known: Option<Seen>,
    addresses: Result<Vec<String>, Unavailable>,
}

async fn ask(registry: &Registry, tasks: &Tasks, due: Due) -> Seen {
    let Due { service, object, known, addresses } = due;
    let checked = match &addresses {
        Ok(_) => check(registry, tasks, &service).await,
        Err(why) => Err(why.clone()),
    };
    let known = known.map(|known| known.entry);
    let (mut resources, mut openapi) =
        known.map(|known| (known.resources, known.openapi)).unwrap_or_default();
    if let Ok(legacy) = &checked {
        let (group, version) = (service.group.as_str(), service.version.as_str());
        let newest = match aggregated(registry, tasks, &service).await {
            Some(aggregated) => Some(aggregated),
            None => discovery::of_legacy(legacy, group, version),
        };
        resources = newest.or(resources);
        openapi = openapi_of(registry, tasks, &service).await.or(openapi);
    }
    report(registry, &object, &checked).await;
    let entry = Entry { available: checked.is_ok(), resources, openapi, service };
    Seen { at: Instant::now(), addresses, entry }
}

/// Whether it answers for its version; its resource list if so.
async fn check(
    registry: &Registry,
    tasks: &Tasks,
    service: &ApiService,
) -> Result<Value, Unavailable> {
    let path = format!("/apis/{}/{}", service.group, service.version);
    let failed = |why: String| Unavailable {
        reason: "FailedDiscoveryCheck",
        message: format!(
            "failing or missing response from https://{}:{}{path}: {why}",
            service.host(),
            service.port
        ),
    };
    let answer = call::fetch(registry, service, tasks, &path, "application/json").await;
    let answer = answer.map_err(failed)?;
    if !answer.code.is_success() {
        return Err(failed(format!("bad status from it: {}", answer.code.as_u16())));
    }
    Ok(serde_json::from_slice(&answer.body).unwrap_or_default())
}

/// What it says of the version in the aggregated form, if it has that.
async fn aggregated(registry: &Registry, tasks: &Tasks, service: &ApiService) -> Option<Value> {
    let answer = call::fetch(registry, service, tasks, "/apis", DISCOVERY).await.ok()?;
    if !answer.code.is_success() || !answer.content_type.contains("as=APIGroupDiscoveryList") {
        return None;
    }
    let document: Value = serde_json::from_slice(&answer.body).ok()?;
    discovery::of_aggregated(&document, &service.group, &service.version)
}

/// Where it has the version's OpenAPI document, if it has one.
async fn openapi_of(registry: &Registry, tasks: &Tasks, service: &ApiService) -> Option<String> {
    let answer = call::fetch(registry, service, tasks, "/openapi/v3", "application/json").await;
    let answer = answer.ok().filter(|answer| answer.code.is_success())?;
    let index: Value = serde_json::from_slice(&answer.body).ok()?;
    let path = format!("apis/{}/{}", service.group, service.version);
    let url = text(&index["paths"][&path], "serverRelativeURL");
    // Elsewhere than under the path that is passed on, it could not be reached through this server.
    url.starts_with(&format!("/openapi/v3/{path}")).then(|| url.to_owned())
}

/// Writes the condition if it says something else than before.
async fn report(registry: &Registry, object: &Object, checked: &Result<Value, Unavailable>) {
    let (status, reason, message) = match checked {
        Ok(_) => ("True", "Passed", "all checks passed"),
        Err(why) => ("False", why.reason, why.message.as_str()),
    };
    let conditions = list(&object.value["status"], "conditions");
    let (own, mut others): (Vec<Value>, Vec<Value>) =
        conditions.iter().cloned().partition(|one| one["type"] == "Available");
    let old = own.first();
    let says = |field: &str| old.map_or("", |old| text(old, field));
    if (says("status"), says("reason"), says("message")) == (status, reason, message) {
        return;
    }
    let now = time::format(time::from_system(std::time::SystemTime::now()));
    let since = match says("status") == status {
        true => says("lastTransitionTime").to_owned(),
        false => now,
    };
    others.push(json!({ "type": "Available", "status": status, "lastTransitionTime": since,
        "reason": reason, "message": message }));
    let patch = json!({ "metadata": { "uid": object.uid() }, "status": { "conditions": others } });
    let target = Target::object(&API_SERVICE, None, object.name());
    let target = Target { subresource: Some(Subresource::Status), ..target };
    let caller = Caller::system("aggregator");
    let options = WriteOptions::default();
    let written = registry.patch(&caller, &target, Patch::Merge(patch), &options).await;
    if let Err(error) = written.map(|_| ()) {
        tracing::debug!(apiservice = object.name(), %error, "its condition was not written");
    }
}
