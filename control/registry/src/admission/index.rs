//! Who outside is asked about which writes: webhooks and policies, chosen once per kind, part and operation.
//!
//! In: every change of the admission configurations. Out: those that a write may concern, or nobody. A cluster without any
//! pays for one load of a pointer per write. Refuses: asking about the configurations themselves, so that a wrong one can
//! always be removed.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use arc_swap::ArcSwap;
use beeline_api::kinds::{
    CUSTOM_RESOURCE_DEFINITION, MUTATING_WEBHOOK_CONFIGURATION, VALIDATING_ADMISSION_POLICY,
    VALIDATING_ADMISSION_POLICY_BINDING, VALIDATING_WEBHOOK_CONFIGURATION,
};
use beeline_api::meta::list;
use beeline_api::{KindInfo, Kinds};
use serde_json::Value;

use super::matching::{Matcher, Wanted};
use super::policy::Policy;
use super::request::Operation;
use super::webhook::{Sort, Webhook};
use crate::cache::Cache;

const GROUP: &str = "admissionregistration.k8s.io";

/// Everybody outside.
#[derive(Default)]
pub(crate) struct Outside(ArcSwap<Index>);

#[derive(Default)]
struct Index {
    all: Chosen,
    /// By address of the kind, part and operation. Kinds stay where they are.
    chosen: RwLock<HashMap<Key, Option<Arc<Chosen>>>>,
}

type Key = (usize, &'static str, Operation);

/// Those that a write may concern, in the order in which they are asked.
#[derive(Default, Clone)]
pub(crate) struct Chosen {
    pub(crate) mutating: Vec<Arc<Webhook>>,
    pub(crate) validating: Vec<Arc<Webhook>>,
    pub(crate) policies: Vec<Arc<Policy>>,
}

impl Outside {
    /// Those who may want to know of a write; None if nobody does.
    pub(crate) fn chosen(
        &self,
        cache: &Cache,
        kind: &'static KindInfo,
        subresource: &'static str,
        operation: Operation,
    ) -> Option<Arc<Chosen>> {
        let index = self.0.load();
        if index.all.is_empty() || kind.group == GROUP {
            return None;
        }
        let key = (std::ptr::from_ref(kind).addr(), subresource, operation);
        let known = index.chosen.read().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(known) = known {
            return known;
        }
        let wanted = Wanted { kind, subresource, operation, name: None };
        let made = index.all.about(&cache.kinds(), wanted).map(Arc::new);
        let mut chosen = index.chosen.write().unwrap_or_else(PoisonError::into_inner);
        chosen.insert(key, made.clone());
        made
    }

    /// Follows a change of this kind, which the cache shows already.
    pub(crate) fn observe(&self, cache: &Cache, kind: &KindInfo) {
        // Definitions decide which versions are the same.
        if kind.group == GROUP || *kind == CUSTOM_RESOURCE_DEFINITION {
            self.rebuild(cache);
        }
    }

    /// From all that is stored.
    pub(crate) fn rebuild(&self, cache: &Cache) {
        let hooks = |kind: &'static KindInfo, sort: Sort| {
            let mut stored = cache.snapshot(kind, None);
            stored.sort_by(|a, b| a.name().cmp(b.name()));
            let all =
                stored.iter().flat_map(|configuration| list(&configuration.value, "webhooks"));
            all.map(|one| Arc::new(Webhook::parse(one, sort))).collect()
        };
        let policies = cache.snapshot(&VALIDATING_ADMISSION_POLICY, None);
        let bindings = cache.snapshot(&VALIDATING_ADMISSION_POLICY_BINDING, None);
        let bindings: Vec<&Value> = bindings.iter().map(|binding| &*binding.value).collect();
        let bound = policies.iter().map(|policy| Policy::parse(&policy.value, &bindings));
        let all = Chosen {
            mutating: hooks(&MUTATING_WEBHOOK_CONFIGURATION, Sort::Mutating),
            validating: hooks(&VALIDATING_WEBHOOK_CONFIGURATION, Sort::Validating),
            policies: bound.filter(Policy::is_bound).map(Arc::new).collect(),
        };
        self.0.store(Arc::new(Index { all, chosen: RwLock::default() }));
    }
}

impl Chosen {
    fn is_empty(&self) -> bool {
        self.mutating.is_empty() && self.validating.is_empty() && self.policies.is_empty()
    }

    fn about(&self, kinds: &Kinds, wanted: Wanted<'_>) -> Option<Self> {
        let about = |matcher: &Matcher| matcher.kind(kinds, wanted).is_some();
        let hooks = |all: &[Arc<Webhook>]| {
            all.iter().filter(|hook| about(&hook.matcher)).map(Arc::clone).collect()
        };
        let policies = self.policies.iter().filter(|policy| about(&policy.matcher));
        let chosen = Self {
            mutating: hooks(&self.mutating),
            validating: hooks(&self.validating),
            policies: policies.map(Arc::clone).collect(),
        };
        (!chosen.is_empty()).then_some(chosen)
    }
}
