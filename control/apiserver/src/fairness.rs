//! Whose requests go first: API priority and fairness (KEP 1040).
//!
//! In: stored FlowSchemas and PriorityLevelConfigurations, and requests with an identity. Out: a ticket for as long as a
//! request runs, or 429 when its level is full and its flow has waited enough. Seats are cut by shares; every ten seconds
//! levels borrow what others do not use. Requests that are streams do not take part, watches only until they run.
//! The loops of this process do not come here: they use the registry.

mod deal;
mod level;
mod metrics;
mod queues;
mod schema;
mod shares;
mod status;
mod work;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use beeline_api::kinds::{FLOW_SCHEMA, PRIORITY_LEVEL_CONFIGURATION, flowcontrol};
use beeline_api::{ApiError, KindInfo};
use beeline_kit::CancellationToken;
use beeline_registry::Registry;
use http::HeaderValue;
use serde_json::Value;

use crate::answer::Answer;
use crate::info::RequestInfo;
use crate::query::Query;
use level::{Counts, Level, Ticket};
use schema::{LevelSpec, Schema};

/// How often seats are lent anew. Upstream's.
const LENDING_INTERVAL: Duration = Duration::from_secs(10);
/// A request waits for at most this part of the time it has.
const PATIENCE_PART: u32 = 4;

/// The gate before all handlers.
#[derive(Debug)]
pub(crate) struct Fairness {
    seats: u32,
    current: ArcSwap<Current>,
    /// By schema and level, so that counters outlive a change of the configuration.
    counts: Mutex<HashMap<(String, String), Arc<Counts>>>,
}

/// The configuration in effect.
#[derive(Debug, Default)]
struct Current {
    /// In the order in which they are asked.
    schemas: Vec<Arc<Way>>,
    levels: BTreeMap<String, Arc<Level>>,
}

/// A schema and where it leads.
#[derive(Debug)]
struct Way {
    schema: Schema,
    level: Arc<Level>,
    counts: Arc<Counts>,
    headers: Option<Headers>,
}

/// What an answer says of the way its request took.
#[derive(Debug, Clone)]
struct Headers {
    schema: HeaderValue,
    level: HeaderValue,
}

/// Who asks, and how long it may take.
pub(crate) struct Arrival<'a> {
    pub(crate) user: &'a str,
    pub(crate) groups: &'a [String],
    pub(crate) info: RequestInfo<'a>,
    pub(crate) query: &'a Query,
    pub(crate) timeout: Duration,
}

/// A request that was let in, or not.
pub(crate) struct Admitted {
    /// For how long it stood in a queue.
    pub(crate) waited: Duration,
    headers: Option<Headers>,
    /// None for one that takes no part; an error for one that was turned away.
    pub(crate) ticket: Result<Option<Ticket>, ApiError>,
}

impl Fairness {
    /// With so many seats in all, and the mandatory objects until others are read.
    pub(crate) fn new(seats: u32) -> Self {
        let gate = Self { seats, current: ArcSwap::default(), counts: Mutex::default() };
        gate.configure(&[], &[]);
        gate
    }

    /// Waits for seats, if the request needs any.
    pub(crate) async fn enter(&self, registry: &Registry, arrival: &Arrival<'_>) -> Admitted {
        let info = &arrival.info;
        if info.is_long_running() && info.verb != "watch" {
            return Admitted { waited: Duration::ZERO, headers: None, ticket: Ok(None) };
        }
        let Some(way) = self.find(arrival) else {
            return Admitted { waited: Duration::ZERO, headers: None, ticket: Ok(None) };
        };
        let seats = match work::depends_on_objects(info, arrival.query) && !way.level.is_exempt() {
            true => {
                let stored = stored(registry, info);
                work::seats_of_list(arrival.query, stored, way.level.seats_max())
            }
            false => 1,
        };
        let flow = || deal::hash(&way.schema.name, way.schema.flow(arrival.user, info));
        let patience = arrival.timeout / PATIENCE_PART;
        let began = Instant::now();
        let entered = way.level.enter(&way.counts, seats, flow, patience).await;
        // A request that never waits would run to its end before the next is looked at, and all would stand in the
        // runtime's line, which is first come, first served. With a seat in hand it lets the others come to the gate.
        if entered.is_ok() && way.level.is_shared(seats) {
            tokio::task::yield_now().await;
        }
        Admitted {
            waited: began.elapsed(),
            headers: way.headers.clone(),
            ticket: entered.map(Some).map_err(|why| {
                tracing::debug!(?why, schema = way.schema.name, user = arrival.user, "turned away");
                too_many()
            }),
        }
    }

    /// The first schema that takes a request; whatever none takes goes the last way.
    fn find(&self, arrival: &Arrival<'_>) -> Option<Arc<Way>> {
        let current = self.current.load();
        let takes = |way: &&Arc<Way>| way.schema.takes(arrival.user, arrival.groups, &arrival.info);
        current.schemas.iter().find(takes).or(current.schemas.last()).cloned()
    }

    /// Takes over a configuration. Levels that are there keep their seats and those who wait.
    fn configure(&self, schemas: &[Value], levels: &[Value]) {
        let held = self.current.load();
        let specs = with_mandatory(levels, flowcontrol::levels());
        let specs: Vec<LevelSpec> = specs.iter().map(LevelSpec::read).collect();
        let mut made = BTreeMap::new();
        for spec in &specs {
            let kept = held.levels.get(&spec.name).filter(|level| level.adopt(spec.shape));
            let level =
                kept.cloned().unwrap_or_else(|| Arc::new(Level::new(&spec.name, spec.shape)));
            made.insert(spec.name.clone(), level);
        }
        let limited: Vec<&LevelSpec> = specs.iter().filter(|spec| spec.shape.is_some()).collect();
        let wanted: Vec<shares::Share> = limited.iter().map(|spec| spec.share).collect();
        for (spec, bounds) in limited.iter().zip(shares::bounds(self.seats, &wanted)) {
            made[&spec.name].state().0 = bounds;
        }
        let mut ways: Vec<Arc<Way>> = with_mandatory(schemas, flowcontrol::schemas())
            .iter()
            .map(Schema::read)
            .filter_map(|schema| self.way(schema, &specs, &made).map(Arc::new))
            .collect();
        let order = |a: &Arc<Way>, b: &Arc<Way>| {
            (a.schema.precedence, &a.schema.name).cmp(&(b.schema.precedence, &b.schema.name))
        };
        ways.sort_by(order);
        self.counts().retain(|_, counts| ways.iter().any(|way| Arc::ptr_eq(&way.counts, counts)));
        let current = Current { schemas: ways, levels: made };
        lend(&current, self.seats, false);
        self.current.store(Arc::new(current));
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<(String, String), Arc<Counts>>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// None for a schema whose level is not there: it takes nothing until it is.
    fn way(
        &self,
        schema: Schema,
        specs: &[LevelSpec],
        levels: &BTreeMap<String, Arc<Level>>,
    ) -> Option<Way> {
        let level = Arc::clone(levels.get(&schema.level)?);
        let spec = specs.iter().find(|spec| spec.name == schema.level)?;
        let mut counts = self.counts();
        let key = (schema.name.clone(), schema.level.clone());
        let counts = Arc::clone(counts.entry(key).or_insert_with(|| Arc::new(Counts::new())));
        let value = |uid: &str| HeaderValue::from_str(uid).ok().filter(|uid| !uid.is_empty());
        let headers = value(&schema.uid)
            .zip(value(&spec.uid))
            .map(|(schema, level)| Headers { schema, level });
        Some(Way { schema, level, counts, headers })
    }

    /// Follows the stored objects, tells schemas whether their level is there, and lends seats, until the server ends.
    pub(crate) async fn run(&self, registry: &Registry, until: &CancellationToken) {
        let kinds = [&FLOW_SCHEMA, &PRIORITY_LEVEL_CONFIGURATION];
        let changed = registry.changed(&kinds);
        let first = tokio::time::Instant::now() + LENDING_INTERVAL;
        let mut round = tokio::time::interval_at(first, LENDING_INTERVAL);
        round.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            self.read(registry);
            // It may wait for the store, and must not hold up the end.
            if until.run_until_cancelled(status::write(registry)).await.is_none() {
                return;
            }
            loop {
                tokio::select! {
                    () = until.cancelled() => return,
                    () = changed.notified() => break,
                    _ = round.tick() => lend(&self.current.load(), self.seats, true),
                }
            }
        }
    }

    /// Takes over what is stored now.
    pub(crate) fn read(&self, registry: &Registry) {
        let all = |kind: &'static KindInfo| -> Vec<Value> {
            registry.snapshot(kind, None).iter().map(|object| object.value.clone()).collect()
        };
        self.configure(&all(&FLOW_SCHEMA), &all(&PRIORITY_LEVEL_CONFIGURATION));
    }
}

impl Admitted {
    /// Says on an answer which way its request took.
    pub(crate) fn mark(&self, answer: &mut Answer) {
        let Some(Headers { schema, level }) = &self.headers else { return };
        let headers = answer.headers_mut();
        headers.insert("x-kubernetes-pf-flowschema-uid", schema.clone());
        headers.insert("x-kubernetes-pf-prioritylevel-uid", level.clone());
    }
}

/// Stored objects, and the mandatory ones that are not among them. What somebody wrote into a mandatory one is not read.
fn with_mandatory(stored: &[Value], defaults: Vec<Value>) -> Vec<Value> {
    let name = |object: &Value| object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let mut all = stored.to_vec();
    for one in defaults.into_iter().filter(|one| flowcontrol::is_mandatory(&name(one))) {
        match all.iter_mut().find(|held| name(held) == name(&one)) {
            Some(held) => held["spec"] = one["spec"].clone(),
            None => all.push(one),
        }
    }
    all
}

/// Gives all levels the seats that they have until the next round. `measure`: a round of demand is over.
fn lend(current: &Current, seats: u32, measure: bool) {
    let limited: Vec<&Arc<Level>> =
        current.levels.values().filter(|level| !level.is_exempt()).collect();
    let states: Vec<_> = limited
        .iter()
        .map(|level| {
            let high = if measure { Some(level.take_demand()) } else { None };
            let mut state = level.state();
            if let Some(high) = high {
                state.1 = shares::smoothed(state.1, high);
            }
            *state
        })
        .collect();
    // Before anything was measured everybody has its share.
    let calm = states.iter().all(|(_, demand)| demand.high == 0 && demand.smooth < 1.0);
    let given = match calm {
        true => states.iter().map(|(bounds, _)| bounds.nominal).collect(),
        false => shares::allocate(seats, &states),
    };
    for (level, seats) in limited.iter().zip(given) {
        level.resize(seats);
    }
}

/// How many objects there are of a request's kind.
fn stored(registry: &Registry, info: &RequestInfo<'_>) -> usize {
    let Some(of) = info.resource else { return 0 };
    let kind = registry.kinds().by_resource(of.group, of.version, of.resource);
    kind.map_or(0, |kind| registry.view(kind).len())
}

/// Upstream's sentence; clients try again after the time it names.
fn too_many() -> ApiError {
    ApiError::new(429, "TooManyRequests", "Too many requests, please try again later.")
        .retry_after(1)
}

#[cfg(test)]
mod tests;
