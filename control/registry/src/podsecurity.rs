//! Pod Security: what a namespace's labels let its pods ask for (KEP-2579, `pod-security.kubernetes.io/*`).
//!
//! In: the labels of a namespace and a pod's spec. Out: what violates the level, in the words of upstream's admission. Pure.
//! The standards are those of the latest version, whatever version a label names.

mod baseline;
mod restricted;

use beeline_api::meta::{list, text};
use serde_json::{Map, Value};

const PREFIX: &str = "pod-security.kubernetes.io/";

/// How much pods may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Privileged,
    Baseline,
    Restricted,
}

/// What a namespace does with pods beyond a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Refuses them.
    Enforce,
    /// Says so to the caller.
    Warn,
}

/// One thing that is not allowed: what, and where.
pub(super) struct Violation {
    what: &'static str,
    detail: String,
}

/// What a pod of this spec violates in a namespace with these labels; `None` if nothing.
pub(crate) fn violations(
    labels: Option<&Map<String, Value>>,
    mode: Mode,
    pod: &Value,
) -> Option<String> {
    let name = match mode {
        Mode::Enforce => "enforce",
        Mode::Warn => "warn",
    };
    let label = |suffix: &str| {
        let key = format!("{PREFIX}{name}{suffix}");
        labels.and_then(|labels| labels.get(&key)).and_then(Value::as_str)
    };
    let level = level(label("")?);
    let version = label("-version").unwrap_or("latest");
    let found = check(level, pod);
    if found.is_empty() {
        return None;
    }
    let words: Vec<String> =
        found.iter().map(|one| format!("{} ({})", one.what, one.detail)).collect();
    let level = match level {
        Level::Restricted => "restricted",
        _ => "baseline",
    };
    Some(format!("PodSecurity \"{level}:{version}\": {}", words.join(", ")))
}

/// An unknown level is the strictest, as in upstream.
fn level(name: &str) -> Level {
    match name {
        "privileged" => Level::Privileged,
        "baseline" => Level::Baseline,
        _ => Level::Restricted,
    }
}

fn check(level: Level, pod: &Value) -> Vec<Violation> {
    let spec = &pod["spec"];
    match level {
        Level::Privileged => Vec::new(),
        Level::Baseline => baseline::check(pod).collect(),
        Level::Restricted => {
            // What restricts capabilities further says all that the weaker rule would.
            let weaker = baseline::check(pod).filter(|one| one.what != baseline::CAPABILITIES);
            weaker.chain(restricted::check(spec)).collect()
        }
    }
}

/// All containers of a spec, those that run before the others first.
fn containers(spec: &Value) -> impl Iterator<Item = &Value> {
    ["initContainers", "containers", "ephemeralContainers"]
        .into_iter()
        .flat_map(|field| list(spec, field))
}

/// `container "a"`, `containers "a", "b"`; `None` if there are none.
fn named<'a>(names: impl IntoIterator<Item = &'a Value>) -> Option<String> {
    let names: Vec<String> =
        names.into_iter().map(|one| format!("{:?}", text(one, "name"))).collect();
    let plural = if names.len() == 1 { "" } else { "s" };
    (!names.is_empty()).then(|| format!("container{plural} {}", names.join(", ")))
}

fn quoted(all: &[&str]) -> String {
    all.iter().map(|one| format!("{one:?}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
