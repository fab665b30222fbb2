//! Who is evicted first: computed from requests and limits.

use std::collections::BTreeMap;

use beeline_api::quantity::Quantity as Amount;
use k8s_openapi::{
    api::core::v1::{Pod, ResourceRequirements},
    apimachinery::pkg::api::resource::Quantity,
};

pub(super) fn class(pod: &Pod) -> &'static str {
    if let Some(class) = pod.status.as_ref().and_then(|status| status.qos_class.as_deref()) {
        match class {
            "Guaranteed" => return "Guaranteed",
            "Burstable" => return "Burstable",
            "BestEffort" => return "BestEffort",
            _ => {}
        }
    }
    let Some(spec) = &pod.spec else { return "BestEffort" };
    let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
    let resources: Vec<Option<&ResourceRequirements>> =
        containers.map(|container| container.resources.as_ref()).collect();
    if resources.iter().all(|one| one.is_none_or(|one| !asks(one))) {
        return "BestEffort";
    }
    if resources.iter().all(|one| one.is_some_and(is_guaranteed)) {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

fn asks(resources: &ResourceRequirements) -> bool {
    ["cpu", "memory"].iter().any(|name| {
        amount(resources.requests.as_ref(), name).is_some()
            || amount(resources.limits.as_ref(), name).is_some()
    })
}

fn is_guaranteed(resources: &ResourceRequirements) -> bool {
    ["cpu", "memory"].iter().all(|name| {
        let limit = amount(resources.limits.as_ref(), name);
        limit.is_some()
            && amount(resources.requests.as_ref(), name)
                .is_none_or(|request| Some(request) == limit)
    })
}

fn amount(list: Option<&BTreeMap<String, Quantity>>, name: &str) -> Option<i64> {
    Some(Amount::parse(&list?.get(name)?.0)?.milli()).filter(|milli| *milli > 0)
}
