//! What objects use of what quotas limit.
//!
//! In: a ResourceQuota and objects. Out: amounts by the names that quotas have for them. Pure.

mod pod;
mod scope;

use std::collections::BTreeMap;

use serde_json::Value;

use crate::kinds::{KindInfo, PERSISTENT_VOLUME_CLAIM, POD, SERVICE};
use crate::meta::{self, list, text};
use crate::quantity::{self, Quantity};
use scope::Scope;

/// Amounts by resource.
pub type Amounts = BTreeMap<String, Quantity>;

/// Kinds whose number has a name without `count/`.
const COUNTED: [&str; 7] = [
    "configmaps",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "services",
];
const CLASS_SUFFIX: &str = ".storageclass.storage.k8s.io/";

/// A ResourceQuota, read once.
#[derive(Debug, Clone)]
pub struct Quota {
    /// Its name.
    pub name: String,
    /// What it limits, and to how much.
    pub hard: Amounts,
    scopes: Vec<Scope>,
}

impl Quota {
    /// From a stored one.
    pub fn parse(stored: &Value) -> Self {
        let spec = &stored["spec"];
        Self {
            name: meta::name(stored).to_owned(),
            hard: amounts(&spec["hard"]),
            scopes: Scope::all(spec),
        }
    }

    /// Whether objects of a kind can use any of it.
    pub fn concerns(&self, kind: &KindInfo) -> bool {
        if !self.scopes.is_empty() && *kind != POD {
            return false;
        }
        let named = |name: &str| self.hard.contains_key(name);
        if named(&format!("count/{}", kind.qualified()))
            || (kind.group.is_empty() && named(kind.plural))
        {
            return true;
        }
        let mut all = self.hard.keys().map(String::as_str);
        if *kind == POD {
            return all.any(pod::is_of_pods);
        }
        if *kind == SERVICE {
            return all.any(|name| name.starts_with("services."));
        }
        *kind == PERSISTENT_VOLUME_CLAIM
            && all.any(|name| name == "requests.storage" || name.contains(CLASS_SUFFIX))
    }

    /// What an object uses of it.
    pub fn used_by(&self, kind: &KindInfo, object: &Value) -> Amounts {
        if !self.concerns(kind) || !self.covers(object) {
            return Amounts::new();
        }
        let mut used = usage(kind, object);
        used.retain(|name, _| self.hard.contains_key(name));
        used
    }

    /// Why a new pod cannot be counted by it, in upstream's words.
    pub fn uncountable(&self, pod: &Value) -> Option<String> {
        if !self.covers(pod) {
            return None;
        }
        pod::unspecified(pod, &self.hard)
    }

    fn covers(&self, object: &Value) -> bool {
        self.scopes.iter().all(|scope| scope.covers(object))
    }
}

/// All that an object uses, by every name that quotas have for it.
pub fn usage(kind: &KindInfo, object: &Value) -> Amounts {
    let one = Quantity::whole(1);
    let mut used = Amounts::from([(format!("count/{}", kind.qualified()), one)]);
    if kind.group.is_empty() && COUNTED.contains(&kind.plural) && *kind != POD {
        used.insert(kind.plural.to_owned(), one);
    }
    if *kind == POD {
        pod::usage(object, &mut used);
    } else if *kind == SERVICE {
        service(object, &mut used);
    } else if *kind == PERSISTENT_VOLUME_CLAIM {
        claim(object, &mut used);
    }
    used
}

fn service(service: &Value, used: &mut Amounts) {
    let spec = &service["spec"];
    let ports = list(spec, "ports");
    let mut set = |name: &str, n: usize| {
        let n = Quantity::whole(i64::try_from(n).unwrap_or(i64::MAX));
        used.insert(format!("services.{name}"), n);
    };
    match text(spec, "type") {
        "NodePort" => set("nodeports", ports.len()),
        "LoadBalancer" => {
            let all = spec["allocateLoadBalancerNodePorts"] != false;
            let given = |port: &&Value| all || port["nodePort"].as_i64().is_some_and(|n| n != 0);
            set("nodeports", ports.iter().filter(given).count());
            set("loadbalancers", 1);
        }
        _ => {}
    }
}

fn claim(claim: &Value, used: &mut Amounts) {
    let old = &claim["metadata"]["annotations"]["volume.beta.kubernetes.io/storage-class"];
    let class = old.as_str().unwrap_or_else(|| text(&claim["spec"], "storageClassName"));
    let wanted = quantity::of(&claim["spec"]["resources"]["requests"]["storage"]);
    if !class.is_empty() {
        let count = format!("{class}{CLASS_SUFFIX}persistentvolumeclaims");
        used.insert(count, Quantity::whole(1));
    }
    if let Some(size) = wanted {
        if !class.is_empty() {
            used.insert(format!("{class}{CLASS_SUFFIX}requests.storage"), size);
        }
        used.insert("requests.storage".to_owned(), size);
    }
}

/// A resource list as stored.
pub fn amounts(stored: &Value) -> Amounts {
    let all = stored.as_object().into_iter().flatten();
    all.filter_map(|(resource, amount)| Some((resource.clone(), quantity::of(amount)?))).collect()
}

/// Adds each amount.
pub fn add(to: &mut Amounts, more: &Amounts) {
    for (resource, amount) in more {
        let sum = to.get(resource).map_or(*amount, |there| there.plus(*amount));
        to.insert(resource.clone(), sum);
    }
}

/// Takes each amount away.
pub fn subtract(from: &mut Amounts, less: &Amounts) {
    for (resource, amount) in less {
        let there = from.get(resource).copied().unwrap_or_default();
        from.insert(resource.clone(), there.minus(*amount));
    }
}

/// As upstream prints it: `cpu=1,pods=2`.
pub fn printed<'a>(amounts: impl Iterator<Item = (&'a String, Quantity)>) -> String {
    let all: Vec<String> = amounts.map(|(name, of)| format!("{name}={}", of.canonical())).collect();
    all.join(",")
}

#[cfg(test)]
mod tests;
