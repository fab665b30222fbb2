//! What several reconcilers ask of objects: owners, selectors, readiness, short hashes.
//!
//! In: typed objects and `now`. Out: answers. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{
    LabelSelector, ObjectMeta, OwnerReference, Time,
};

pub(crate) use beeline_api::time::Timestamp;

/// Labels as objects carry them.
pub type Labels = BTreeMap<String, String>;

const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// The owner that controls an object.
pub fn controller_of(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.as_ref()?.iter().find(|owner| owner.controller == Some(true))
}

/// Whether the object with this uid controls the one with this metadata.
pub fn is_controlled_by(meta: &ObjectMeta, uid: &str) -> bool {
    controller_of(meta).is_some_and(|owner| owner.uid == uid)
}

/// A reference that makes `owner` the controller.
pub fn controller_reference(api_version: &str, kind: &str, owner: &ObjectMeta) -> OwnerReference {
    OwnerReference {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
        name: name(owner).to_owned(),
        uid: uid(owner).to_owned(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// The name; empty only before creation.
pub fn name(meta: &ObjectMeta) -> &str {
    meta.name.as_deref().unwrap_or_default()
}

/// The namespace; empty for cluster objects.
pub fn namespace(meta: &ObjectMeta) -> &str {
    meta.namespace.as_deref().unwrap_or_default()
}

/// The unique id.
pub fn uid(meta: &ObjectMeta) -> &str {
    meta.uid.as_deref().unwrap_or_default()
}

/// An annotation's value.
pub fn annotation<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(key).map(String::as_str)
}

/// Whether a selector matches. An empty one matches nothing: no workload may own everything.
pub fn selects(selector: &LabelSelector, labels: Option<&Labels>) -> bool {
    let empty = Labels::new();
    let labels = labels.unwrap_or(&empty);
    let wanted = selector.match_labels.as_ref().unwrap_or(&empty);
    let expressions = selector.match_expressions.as_deref().unwrap_or_default();
    if wanted.is_empty() && expressions.is_empty() {
        return false;
    }
    contains_all(labels, wanted)
        && expressions.iter().all(|e| {
            let value = labels.get(&e.key);
            let values = e.values.as_deref().unwrap_or_default();
            match e.operator.as_str() {
                "In" => value.is_some_and(|v| values.contains(v)),
                "NotIn" => !value.is_some_and(|v| values.contains(v)),
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                _ => false,
            }
        })
}

/// Whether `labels` has every pair of `wanted`.
pub fn contains_all(labels: &Labels, wanted: &Labels) -> bool {
    wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
}

/// Someone asked for the object's end.
pub fn is_deleting(meta: &ObjectMeta) -> bool {
    meta.deletion_timestamp.is_some()
}

/// The Pod's phase, `Pending` until it has one.
pub fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or("Pending")
}

/// The Pod has run to its end.
pub fn is_terminal(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// The Pod runs or will, and nobody asked for its end.
pub fn is_active(pod: &Pod) -> bool {
    !is_terminal(pod) && !is_deleting(&pod.metadata)
}

/// Since when the Pod has been ready.
pub fn ready_since(pod: &Pod) -> Option<Option<Timestamp>> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let ready = conditions.iter().find(|c| c.type_ == "Ready" && c.status == "True")?;
    Some(ready.last_transition_time.as_ref().map(|t| t.0))
}

/// The Pod's Ready condition is true.
pub fn is_ready(pod: &Pod) -> bool {
    ready_since(pod).is_some()
}

/// The Pod has been ready for at least `min_ready_s`.
pub fn is_available(pod: &Pod, min_ready_s: i32, now: Timestamp) -> bool {
    match ready_since(pod) {
        None => false,
        Some(_) if min_ready_s <= 0 => true,
        Some(since) => since.is_some_and(|since| age(since, now) >= seconds(min_ready_s)),
    }
}

/// How long ago, zero for the future.
pub fn age(then: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(then)).unwrap_or(Duration::ZERO)
}

/// A count of seconds, negative ones as zero.
pub fn seconds<N: TryInto<u64>>(n: N) -> Duration {
    Duration::from_secs(n.try_into().unwrap_or(0))
}

/// `now` as objects carry it: whole seconds.
pub fn stamp(now: Timestamp) -> Time {
    Time(Timestamp::from_second(now.as_second()).unwrap_or(now))
}

/// Creation time, for ordering.
pub fn created(meta: &ObjectMeta) -> Option<Timestamp> {
    meta.creation_timestamp.as_ref().map(|t| t.0)
}

/// 64-bit FNV-1a: stable over versions and machines, unlike the standard library's hasher.
pub fn fnv(parts: &[&[u8]]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for part in parts {
        for byte in part.iter().chain(&[0xff]) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash
}

/// A hash as name suffix of `length` letters that form no words.
pub fn suffix(hash: u64, length: usize) -> String {
    // The low bits of FNV are its weakest: fold the high ones in.
    let mut rest = hash ^ (hash >> 29);
    let mut text = String::with_capacity(length);
    for _ in 0..length {
        let index = usize::try_from(rest % 27).unwrap_or(0);
        text.push(char::from(ALPHABET[index]));
        rest /= 27;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_selector_selects_nothing() {
        let labels = Labels::from([("app".to_owned(), "web".to_owned())]);
        assert!(!selects(&LabelSelector::default(), Some(&labels)));
        let selector =
            LabelSelector { match_labels: Some(labels.clone()), ..LabelSelector::default() };
        assert!(selects(&selector, Some(&labels)));
        assert!(!selects(&selector, None));
    }

    #[test]
    fn suffixes_are_stable_and_differ() {
        assert_eq!(suffix(fnv(&[b"a", b"b"]), 5), suffix(fnv(&[b"a", b"b"]), 5));
        assert_ne!(suffix(fnv(&[b"a", b"b"]), 5), suffix(fnv(&[b"ab"]), 5));
        let all: std::collections::BTreeSet<String> =
            (0..2000_u32).map(|n| suffix(fnv(&[&n.to_le_bytes()]), 10)).collect();
        assert_eq!(all.len(), 2000);
    }
}
