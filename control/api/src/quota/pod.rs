//! What a pod uses: what its containers ask for together, as the scheduler counts it.
//!
//! In: a pod. Out: amounts by the names that quotas have for them. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Amounts, add, amounts};
use crate::meta::{list, text};
use crate::quantity::Quantity;

/// Resources that each container has to name where a quota limits them.
const HAS_TO_BE_NAMED: [&str; 6] =
    ["cpu", "limits.cpu", "limits.memory", "memory", "requests.cpu", "requests.memory"];

/// Whether it is something that pods use.
pub(super) fn is_of_pods(name: &str) -> bool {
    let plain = matches!(name, "pods" | "cpu" | "memory" | "ephemeral-storage");
    let of_claims = name == "requests.storage" || name.contains(super::CLASS_SUFFIX);
    plain
        || name.starts_with("limits.")
        || name.starts_with("hugepages-")
        || (name.starts_with("requests.") && !of_claims)
}

/// Adds what it uses. One that has ended uses nothing but its place.
pub(super) fn usage(pod: &Value, used: &mut Amounts) {
    if matches!(text(&pod["status"], "phase"), "Succeeded" | "Failed") {
        return;
    }
    used.insert("pods".to_owned(), Quantity::whole(1));
    used.extend(named(&total(&pod["spec"], "requests"), &total(&pod["spec"], "limits")));
}

/// Requests and limits by the names that quotas have for them.
fn named(requests: &Amounts, limits: &Amounts) -> Amounts {
    let mut all = Amounts::new();
    for (resource, amount) in requests {
        let plain = matches!(resource.as_str(), "cpu" | "memory" | "ephemeral-storage")
            || resource.starts_with("hugepages-");
        if plain {
            all.insert(resource.clone(), *amount);
        }
        if plain || resource.contains('/') {
            all.insert(format!("requests.{resource}"), *amount);
        }
    }
    for (resource, amount) in limits {
        if matches!(resource.as_str(), "cpu" | "memory" | "ephemeral-storage") {
            all.insert(format!("limits.{resource}"), *amount);
        }
    }
    all
}

/// Of a whole pod: all that runs together, or the most that runs before it; and what the pod itself costs.
fn total(spec: &Value, side: &str) -> Amounts {
    let of = |container: &Value| amounts(&container["resources"][side]);
    let mut sums = Amounts::new();
    list(spec, "containers").iter().for_each(|container| add(&mut sums, &of(container)));
    let (mut beside, mut peak) = (Amounts::new(), Amounts::new());
    for container in list(spec, "initContainers") {
        let mut running = beside.clone();
        add(&mut running, &of(container));
        most(&mut peak, &running);
        // One that is started again runs on beside all later ones.
        if text(container, "restartPolicy") == "Always" {
            beside = running;
        }
    }
    add(&mut sums, &beside);
    most(&mut sums, &peak);
    // What a pod asks for as a whole counts instead.
    sums.extend(amounts(&spec["resources"][side]));
    let mut overhead = amounts(&spec["overhead"]);
    overhead.retain(|resource, _| side == "requests" || sums.contains_key(resource));
    add(&mut sums, &overhead);
    sums
}

fn most(to: &mut Amounts, than: &Amounts) {
    for (resource, amount) in than {
        let greater = to.get(resource).map_or(*amount, |there| *there.max(amount));
        to.insert(resource.clone(), greater);
    }
}

/// Which containers do not name what is limited, in upstream's words.
pub(super) fn unspecified(pod: &Value, hard: &Amounts) -> Option<String> {
    let mut missing: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for container in ["containers", "initContainers"].iter().flat_map(|f| list(&pod["spec"], f)) {
        let side = |side: &str| amounts(&container["resources"][side]);
        let given = named(&side("requests"), &side("limits"));
        for resource in HAS_TO_BE_NAMED {
            if hard.contains_key(resource) && !given.contains_key(resource) {
                missing.entry(resource).or_default().insert(text(container, "name"));
            }
        }
    }
    let said = missing.into_iter().map(|(resource, containers)| {
        format!("{resource} for: {}", containers.into_iter().collect::<Vec<_>>().join(","))
    });
    let said: Vec<String> = said.collect();
    (!said.is_empty()).then(|| format!("must specify {}", said.join("; ")))
}
