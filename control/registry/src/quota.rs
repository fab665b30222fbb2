//! Quotas: how much of each is used, and claims of writes that are on their way.
//!
//! In: every change the cache sees, and objects about to be written. Out: a claim, or a refusal in upstream's words. What is
//! used follows from the stored objects alone, kept by what changes. A claim counts from before its write until the cache
//! shows that, so that two creates at once cannot both have the last place.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use beeline_api::kinds::{POD, RESOURCE_QUOTA};
use beeline_api::quota::{self, Amounts, Quota};
use beeline_api::{ApiError, KindInfo, meta};
use beeline_store::Key;
use serde_json::Value;

use crate::bucket::Step;
use crate::cache::Cache;
use crate::object::Object;
use crate::registry::Registry;

/// All quotas.
#[derive(Default)]
pub(crate) struct Quotas {
    /// Whether there is one: most clusters have none, and then nothing is locked.
    any: AtomicBool,
    spaces: Mutex<HashMap<String, Space>>,
}

/// Those of one namespace.
#[derive(Default)]
struct Space {
    quotas: BTreeMap<String, Tracked>,
    claims: BTreeMap<u64, Claimed>,
    next: u64,
}

struct Tracked {
    quota: Quota,
    used: Amounts,
}

/// What a write that is on its way will use.
struct Claimed {
    key: String,
    of: Vec<(String, Amounts)>,
}

/// One write's claim; dropping it gives it back, unless its object is stored.
pub(crate) struct Claim {
    registry: Registry,
    namespace: String,
    id: u64,
    stored: bool,
}

/// How much of a quota is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuotaUse {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// By the names of what it limits.
    pub used: BTreeMap<String, String>,
}

impl Claim {
    /// The object is in the store: it counts until the cache shows it.
    pub(crate) fn keep(mut self) {
        self.stored = true;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.stored {
            return;
        }
        if let Some(space) = self.registry.inner.quotas.spaces().get_mut(&self.namespace) {
            space.claims.remove(&self.id);
        }
    }
}

/// Claims what an object needs beyond what its old version has.
pub(crate) fn claim(
    registry: &Registry,
    kind: &'static KindInfo,
    key: &str,
    object: &Value,
    old: Option<&Value>,
) -> Result<Option<Claim>, ApiError> {
    let quotas = &registry.inner.quotas;
    if !kind.namespaced || !quotas.any.load(Ordering::Acquire) {
        return Ok(None);
    }
    let namespace = meta::namespace(object).to_owned();
    let mut spaces = quotas.spaces();
    let Some(space) = spaces.get_mut(&namespace) else { return Ok(None) };
    let refuse = |why: &str| Err(ApiError::forbidden(kind, meta::name(object), why));
    let mut of = Vec::new();
    for (name, tracked) in &space.quotas {
        if !tracked.quota.concerns(kind) {
            continue;
        }
        if *kind == POD
            && old.is_none()
            && let Some(why) = tracked.quota.uncountable(object)
        {
            return refuse(&format!("failed quota: {name}: {why}"));
        }
        let wanted = tracked.wanted(kind, object, old);
        if wanted.is_empty() {
            continue;
        }
        if let Some(why) = tracked.exceeded(&wanted, &space.claims) {
            return refuse(&why);
        }
        of.push((name.clone(), wanted));
    }
    if of.is_empty() {
        return Ok(None);
    }
    let id = space.next;
    space.next += 1;
    space.claims.insert(id, Claimed { key: key.to_owned(), of });
    Ok(Some(Claim { registry: registry.clone(), namespace, id, stored: false }))
}

impl Tracked {
    /// From all that is stored.
    fn counted(quota: Quota, namespace: &str, cache: &Cache) -> Self {
        let mut used = Amounts::new();
        for kind in cache.kinds().iter().filter(|kind| kind.namespaced && quota.concerns(kind)) {
            for object in cache.snapshot(kind, Some(namespace)) {
                quota::add(&mut used, &quota.used_by(kind, &object.glance()));
            }
        }
        Self { quota, used }
    }

    fn follow(&mut self, kind: &KindInfo, step: &Step) {
        if !self.quota.concerns(kind) {
            return;
        }
        let of = |object: &Object| self.quota.used_by(kind, &object.glance());
        let (before, after) = (step.previous.as_deref().map(of), step.new.as_deref().map(of));
        after.iter().for_each(|after| quota::add(&mut self.used, after));
        before.iter().for_each(|before| quota::subtract(&mut self.used, before));
    }

    /// What of a write uses more than before.
    fn wanted(&self, kind: &KindInfo, object: &Value, old: Option<&Value>) -> Amounts {
        let mut wanted = self.quota.used_by(kind, object);
        if let Some(old) = old {
            quota::subtract(&mut wanted, &self.quota.used_by(kind, old));
        }
        wanted.retain(|_, amount| amount.milli() > 0);
        wanted
    }

    /// Why that is too much; nothing if it is not.
    fn exceeded(&self, wanted: &Amounts, claims: &BTreeMap<u64, Claimed>) -> Option<String> {
        let name = &self.quota.name;
        let mut used = self.used.clone();
        let claimed = claims.values().flat_map(|claim| &claim.of);
        claimed.filter(|(of, _)| of == name).for_each(|(_, more)| quota::add(&mut used, more));
        let of =
            |amounts: &Amounts, resource: &str| amounts.get(resource).copied().unwrap_or_default();
        let too_much: Vec<&String> = wanted
            .iter()
            .filter(|(resource, more)| {
                of(&used, resource).plus(**more) > of(&self.quota.hard, resource)
            })
            .map(|(resource, _)| resource)
            .collect();
        let shown = |amounts: &Amounts| {
            quota::printed(too_much.iter().map(|resource| (*resource, of(amounts, resource))))
        };
        (!too_much.is_empty()).then(|| {
            format!(
                "exceeded quota: {name}, requested: {}, used: {}, limited: {}",
                shown(wanted),
                shown(&used),
                shown(&self.quota.hard)
            )
        })
    }
}

/// Whether a quota is another than before: its status changes with all that it counts, and makes no difference.
fn limits_differ(step: &Step) -> bool {
    match (&step.previous, &step.new) {
        (Some(old), Some(new)) => old.value["spec"] != new.value["spec"],
        _ => true,
    }
}

impl Quotas {
    fn spaces(&self) -> MutexGuard<'_, HashMap<String, Space>> {
        self.spaces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those that were stored before this process began.
    pub(crate) fn load(&self, cache: &Cache) {
        for stored in cache.snapshot(&RESOURCE_QUOTA, None) {
            self.set(cache, stored.namespace(), stored.name(), Some(&stored));
        }
    }

    /// Follows one change, which the cache shows already.
    pub(crate) fn observe(&self, cache: &Cache, kind: &KindInfo, step: &Step) {
        let is_quota = *kind == RESOURCE_QUOTA;
        if !kind.namespaced || (!is_quota && !self.any.load(Ordering::Acquire)) {
            return;
        }
        let Some(object) = step.new.as_ref().or(step.previous.as_ref()) else { return };
        // Most objects stay undecoded: no quota is a reason to keep them so.
        let seen = object.glance();
        let namespace = meta::namespace(&seen);
        if let Some(space) = self.spaces().get_mut(namespace) {
            space.quotas.values_mut().for_each(|tracked| tracked.follow(kind, step));
            let key: &Key = &step.key;
            space.claims.retain(|_, claim| *claim.key != **key);
        }
        if is_quota && limits_differ(step) {
            self.set(cache, namespace, meta::name(&seen), step.new.as_deref());
        }
    }

    fn set(&self, cache: &Cache, namespace: &str, name: &str, stored: Option<&Object>) {
        let made = stored.map(|o| Tracked::counted(Quota::parse(&o.glance()), namespace, cache));
        let mut spaces = self.spaces();
        let space = spaces.entry(namespace.to_owned()).or_default();
        match made {
            Some(tracked) => drop(space.quotas.insert(name.to_owned(), tracked)),
            None => drop(space.quotas.remove(name)),
        }
        if space.quotas.is_empty() {
            spaces.remove(namespace);
        }
        self.any.store(!spaces.is_empty(), Ordering::Release);
    }

    /// How much of each is used by what is stored.
    pub(crate) fn uses(&self) -> Vec<QuotaUse> {
        let spaces = self.spaces();
        let all = spaces.iter().flat_map(|(namespace, space)| {
            space.quotas.values().map(move |tracked| {
                let limited = tracked.quota.hard.keys();
                let used = limited.map(|resource| {
                    let used = tracked.used.get(resource).copied().unwrap_or_default();
                    (resource.clone(), used.canonical())
                });
                let name = tracked.quota.name.clone();
                QuotaUse { namespace: namespace.clone(), name, used: used.collect() }
            })
        });
        all.collect()
    }
}
