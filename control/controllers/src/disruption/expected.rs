//! How many pods a budget expects, and how many of them have to stay healthy.
//!
//! In: a budget's spec, its pods, and how many pods the workloads behind them want. Out: two numbers, or why they are not
//! known. Pure.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use beeline_api::intstr::{Round, scaled};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudgetSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::State;
use crate::objects;
use crate::write;

/// What a budget asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) expected: i32,
    pub(super) healthy: i32,
}

/// How many pods each workload wants, by its uid.
pub(super) struct Scales<'a> {
    wanted: HashMap<&'a str, Scale<'a>>,
}

struct Scale<'a> {
    replicas: i32,
    /// Of a ReplicaSet that belongs to a Deployment.
    within: Option<&'a str>,
}

impl<'a> Scales<'a> {
    pub(super) fn new(state: &'a State) -> Self {
        let mut wanted = HashMap::new();
        let mut add = |meta: &'a ObjectMeta, replicas: Option<i32>, within: Option<&'a str>| {
            wanted.insert(objects::uid(meta), Scale { replicas: replicas.unwrap_or(1), within });
        };
        for set in &state.replica_sets {
            let owner = objects::controller_of(&set.metadata);
            let within = owner.filter(|o| o.kind == "Deployment").map(|o| o.uid.as_str());
            add(&set.metadata, set.spec.as_ref().and_then(|s| s.replicas), within);
        }
        for one in &state.deployments {
            add(&one.metadata, one.spec.as_ref().and_then(|s| s.replicas), None);
        }
        for one in &state.stateful_sets {
            add(&one.metadata, one.spec.as_ref().and_then(|s| s.replicas), None);
        }
        for one in &state.replication_controllers {
            add(&one.metadata, one.spec.as_ref().and_then(|s| s.replicas), None);
        }
        Self { wanted }
    }

    /// What the workloads behind these pods want together. Pods of nobody do not count.
    fn behind(&self, pods: &[&'a Arc<Pod>]) -> Result<i32, String> {
        let mut counted: BTreeMap<&str, i32> = BTreeMap::new();
        for pod in pods {
            let Some(owner) = objects::controller_of(&pod.metadata) else { continue };
            let found = self.wanted.get(owner.uid.as_str());
            let found = found.map(|scale| match scale.within {
                Some(above) => {
                    (above, self.wanted.get(above).map_or(scale.replicas, |s| s.replicas))
                }
                None => (owner.uid.as_str(), scale.replicas),
            });
            let name = objects::name(&pod.metadata);
            let (uid, replicas) =
                found.ok_or_else(|| format!("found no controller for pod {name:?}"))?;
            counted.insert(uid, replicas);
        }
        Ok(counted.values().copied().fold(0, i32::saturating_add))
    }
}

/// The numbers of a budget.
pub(super) fn wanted<'a>(
    spec: &PodDisruptionBudgetSpec,
    pods: &[&'a Arc<Pod>],
    scales: &Scales<'a>,
) -> Result<Wanted, String> {
    if let Some(most) = &spec.max_unavailable {
        let expected = scales.behind(pods)?;
        let healthy = expected.saturating_sub(of(most, expected)?).max(0);
        return Ok(Wanted { expected, healthy });
    }
    match &spec.min_available {
        None => Ok(Wanted { expected: 0, healthy: 0 }),
        Some(IntOrString::Int(healthy)) => {
            let expected = i32::try_from(pods.len()).unwrap_or(i32::MAX);
            Ok(Wanted { expected, healthy: *healthy })
        }
        Some(least @ IntOrString::String(_)) => {
            let expected = scales.behind(pods)?;
            Ok(Wanted { expected, healthy: of(least, expected)? })
        }
    }
}

/// A number, or so much of all.
fn of(share: &IntOrString, all: i32) -> Result<i32, String> {
    let value = write::value(share);
    let n = scaled(&value, i64::from(all), Round::Up).and_then(|n| i32::try_from(n).ok());
    n.ok_or_else(|| format!("invalid value for IntOrString: {value}"))
}
