//! LimitRanges: what containers get that ask for nothing, and how much containers, pods and claims may ask for.
//!
//! In: a new object and the LimitRanges of its namespace. Out: the object with defaults, or all that is wrong with it in the
//! words of upstream's LimitRanger. Pure.

use std::collections::BTreeMap;

use beeline_api::meta::{self, list, text};
use beeline_api::quantity::{self, Quantity};
use serde_json::{Map, Value, json};

/// Tells what was filled in.
const ANNOTATION: &str = "kubernetes.io/limit-ranger";

/// Amounts by resource.
type Amounts = BTreeMap<String, Quantity>;

/// Fills in what the containers of a new pod lack.
pub(crate) fn fill(ranges: &[&Value], pod: &mut Value) {
    let limits: Vec<&Value> = of_type(ranges, "Container").collect();
    let mut told = Vec::new();
    for containers in ["initContainers", "containers"] {
        let Some(all) = pod["spec"].get_mut(containers).and_then(Value::as_array_mut) else {
            continue;
        };
        let init = containers == "initContainers";
        for container in all {
            let name = text(container, "name").to_owned();
            for (side, from) in [("requests", "defaultRequest"), ("limits", "default")] {
                let added = add(&limits, container, side, from);
                if !added.is_empty() {
                    let what = side.trim_end_matches('s');
                    let kind = if init { "init container" } else { "container" };
                    told.push(format!("{} {what} for {kind} {name}", added.join(", ")));
                }
            }
        }
    }
    if !told.is_empty() {
        let annotations = meta::of(pod).entry("annotations").or_insert_with(|| json!({}));
        annotations[ANNOTATION] = json!(format!("LimitRanger plugin set: {}", told.join("; ")));
    }
}

fn add(limits: &[&Value], container: &mut Value, side: &str, from: &str) -> Vec<String> {
    let mut added = Vec::new();
    for limit in limits {
        for (resource, amount) in limit[from].as_object().into_iter().flatten() {
            let resources = meta::map(container, "resources");
            let all = resources.entry(side).or_insert_with(|| Value::Object(Map::new()));
            if all[resource.as_str()].is_null() {
                all[resource.as_str()] = amount.clone();
                added.push(resource.clone());
            }
        }
    }
    added.sort();
    added
}

/// What of a new pod is beyond the limits.
pub(crate) fn check_pod(ranges: &[&Value], pod: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    let spec = &pod["spec"];
    let containers = || list(spec, "containers").iter();
    let init = || list(spec, "initContainers").iter();
    for limit in of_type(ranges, "Container") {
        for container in containers().chain(init()) {
            let resources = &container["resources"];
            let (requests, limits) =
                (amounts(&resources["requests"]), amounts(&resources["limits"]));
            wrong.extend(compare(limit, "Container", &requests, &limits));
        }
    }
    for limit in of_type(ranges, "Pod") {
        let [requests, limits] = ["requests", "limits"].map(|side| total(pod, side));
        wrong.extend(compare(limit, "Pod", &requests, &limits));
    }
    wrong
}

/// What of a new claim is beyond the limits.
pub(crate) fn check_claim(ranges: &[&Value], claim: &Value) -> Vec<String> {
    let requests = amounts(&claim["spec"]["resources"]["requests"]);
    let of_claims = of_type(ranges, "PersistentVolumeClaim");
    of_claims
        .flat_map(|limit| {
            let low = least(limit, "PersistentVolumeClaim", &requests, &Amounts::new(), false);
            let high = most(limit, "PersistentVolumeClaim", &requests, &requests);
            low.into_iter().chain(high).collect::<Vec<_>>()
        })
        .collect()
}

fn of_type<'a>(ranges: &'a [&'a Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    ranges
        .iter()
        .flat_map(|range| list(&range["spec"], "limits"))
        .filter(move |limit| text(limit, "type") == kind)
}

fn compare(limit: &Value, kind: &str, requests: &Amounts, limits: &Amounts) -> Vec<String> {
    let mut wrong = least(limit, kind, requests, limits, true);
    wrong.extend(most(limit, kind, requests, limits));
    wrong.extend(ratio(limit, kind, requests, limits));
    wrong
}

fn least(
    limit: &Value,
    kind: &str,
    requests: &Amounts,
    limits: &Amounts,
    both: bool,
) -> Vec<String> {
    let mut wrong = Vec::new();
    for (resource, min) in amounts(&limit["min"]) {
        let least = min.canonical();
        let start = format!("minimum {resource} usage per {kind} is {least}");
        match requests.get(&resource) {
            None => wrong.push(format!("{start}.  No request is specified")),
            Some(given) if *given < min => {
                wrong.push(format!("{start}, but request is {}", given.canonical()));
                continue;
            }
            Some(_) => {}
        }
        let below = limits.get(&resource).filter(|given| both && **given < min);
        if let Some(given) = below {
            wrong.push(format!("{start}, but limit is {}", given.canonical()));
        }
    }
    wrong
}

fn most(limit: &Value, kind: &str, requests: &Amounts, limits: &Amounts) -> Vec<String> {
    let mut wrong = Vec::new();
    for (resource, max) in amounts(&limit["max"]) {
        let start = format!("maximum {resource} usage per {kind} is {}", max.canonical());
        match limits.get(&resource) {
            None => wrong.push(format!("{start}.  No limit is specified")),
            Some(given) if *given > max => {
                let what = if kind == "PersistentVolumeClaim" { "request" } else { "limit" };
                wrong.push(format!("{start}, but {what} is {}", given.canonical()));
                continue;
            }
            Some(_) => {}
        }
        if let Some(given) = requests.get(&resource).filter(|given| **given > max) {
            wrong.push(format!("{start}, but request is {}", given.canonical()));
        }
    }
    wrong
}

fn ratio(limit: &Value, kind: &str, requests: &Amounts, limits: &Amounts) -> Vec<String> {
    let mut wrong = Vec::new();
    for (resource, max) in amounts(&limit["maxLimitRequestRatio"]) {
        let start =
            format!("{resource} max limit to request ratio per {kind} is {}", max.canonical());
        let given = (requests.get(&resource), limits.get(&resource));
        match given {
            (Some(request), Some(limit)) if request.milli() > 0 => {
                #[expect(clippy::cast_precision_loss, reason = "a ratio that is printed")]
                let (is, most) =
                    (limit.milli() as f64 / request.milli() as f64, max.milli() as f64 / 1_000.0);
                if is > most {
                    wrong.push(format!("{start}, but provided ratio is {is:.6}"));
                }
            }
            _ => wrong.push(format!("{start}, but no request is specified or request is 0")),
        }
    }
    wrong
}

fn amounts(stored: &Value) -> Amounts {
    let all = stored.as_object().into_iter().flatten();
    all.filter_map(|(resource, amount)| Some((resource.clone(), quantity::of(amount)?))).collect()
}

/// Of a whole pod: its containers together, or the greatest of those that run before them. A resource that one container
/// does not name is not counted, as upstream has it.
fn total(pod: &Value, side: &str) -> Amounts {
    let of = |containers: &str| -> Vec<Amounts> {
        let all = list(&pod["spec"], containers).iter();
        all.map(|container| amounts(&container["resources"][side])).collect()
    };
    let (running, before) = (of("containers"), of("initContainers"));
    let mut sums = Amounts::new();
    for (resource, amount) in running.iter().flatten() {
        let sum = sums.get(resource).map_or(*amount, |sum| sum.plus(*amount));
        sums.insert(resource.clone(), sum);
    }
    sums.retain(|resource, _| running.iter().all(|one| one.contains_key(resource)));
    for (resource, amount) in before.iter().flatten() {
        let sum = sums.get(resource).map_or(*amount, |sum| *sum.max(amount));
        sums.insert(resource.clone(), sum);
    }
    sums
}

/// Several as one, as upstream joins them.
pub(crate) fn joined(wrong: &[String]) -> Option<String> {
    match wrong {
        [] => None,
        [one] => Some(one.clone()),
        all => Some(format!("[{}]", all.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(limit: &Value) -> Value {
        json!({ "spec": { "limits": [limit] } })
    }

    fn pod(resources: &[Value]) -> Value {
        let containers: Vec<Value> = resources
            .iter()
            .enumerate()
            .map(|(i, resources)| json!({ "name": format!("c{i}"), "resources": resources }))
            .collect();
        json!({ "metadata": { "name": "p" }, "spec": { "containers": containers } })
    }

    #[test]
    fn containers_get_what_they_lack_and_it_is_told() {
        let range = range(&json!({
            "type": "Container", "default": { "cpu": "1", "memory": "1Gi" },
            "defaultRequest": { "cpu": "100m" },
        }));
        let mut pod =
            pod(&[json!({}), json!({ "limits": { "cpu": "2" }, "requests": { "cpu": "2" } })]);
        fill(&[&range], &mut pod);
        let first = &pod["spec"]["containers"][0]["resources"];
        assert_eq!(
            first,
            &json!({ "requests": { "cpu": "100m" }, "limits": { "cpu": "1", "memory": "1Gi" } })
        );
        let second = &pod["spec"]["containers"][1]["resources"]["limits"];
        assert_eq!(second, &json!({ "cpu": "2", "memory": "1Gi" }));
        assert_eq!(
            pod["metadata"]["annotations"][ANNOTATION],
            "LimitRanger plugin set: cpu request for container c0; cpu, memory limit for container c0; memory limit for container c1"
        );
    }

    #[test]
    fn what_is_beyond_is_named_in_upstreams_words() {
        let range = range(&json!({
            "type": "Container", "min": { "cpu": "100m" }, "max": { "cpu": "1" },
            "maxLimitRequestRatio": { "cpu": "2" },
        }));
        let wrong = |requests: &Value, limits: &Value| {
            check_pod(&[&range], &pod(&[json!({ "requests": requests, "limits": limits })]))
        };
        assert_eq!(
            wrong(&json!({ "cpu": "50m" }), &json!({ "cpu": "2" })),
            [
                "minimum cpu usage per Container is 100m, but request is 50m",
                "maximum cpu usage per Container is 1, but limit is 2",
                "cpu max limit to request ratio per Container is 2, but provided ratio is 40.000000",
            ]
        );
        assert_eq!(
            wrong(&json!({}), &json!({}))[..2],
            [
                "minimum cpu usage per Container is 100m.  No request is specified",
                "maximum cpu usage per Container is 1.  No limit is specified",
            ]
        );
        assert!(wrong(&json!({ "cpu": "500m" }), &json!({ "cpu": "1" })).is_empty());
    }

    #[test]
    fn pods_are_judged_by_their_sum() {
        let range = range(&json!({ "type": "Pod", "max": { "memory": "1Gi" } }));
        let half = json!({ "limits": { "memory": "600Mi" }, "requests": { "memory": "600Mi" } });
        let wrong = check_pod(&[&range], &pod(&[half.clone(), half.clone()]));
        assert_eq!(wrong, ["maximum memory usage per Pod is 1Gi, but limit is 1200Mi"]);
        assert!(check_pod(&[&range], &pod(&[half])).is_empty());
    }

    #[test]
    fn claims_are_judged_by_what_they_request() {
        let range = range(&json!({
            "type": "PersistentVolumeClaim", "min": { "storage": "1Gi" }, "max": { "storage": "10Gi" },
        }));
        let wrong = |size: &str| {
            check_claim(
                &[&range],
                &json!({ "spec": { "resources": { "requests": { "storage": size } } } }),
            )
        };
        assert_eq!(
            wrong("500Mi"),
            ["minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 500Mi"]
        );
        assert_eq!(
            wrong("20Gi"),
            ["maximum storage usage per PersistentVolumeClaim is 10Gi, but request is 20Gi"]
        );
        assert!(wrong("5Gi").is_empty());
    }
}
