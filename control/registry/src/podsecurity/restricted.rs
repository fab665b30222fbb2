//! The level `restricted`: what a pod that needs nothing special does of its own accord.

use beeline_api::meta::{list, text};
use serde_json::Value;

use super::{Violation, containers, named, quoted};

const VOLUMES: [&str; 9] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

/// What of a spec is beyond it, besides what is beyond `baseline`. Pods of Windows have no such things to set.
pub(super) fn check(spec: &Value) -> impl Iterator<Item = Violation> {
    let is_windows = spec["os"]["name"] == "windows";
    let linux = [escalation(spec), capabilities(spec), seccomp(spec)];
    let all = [volumes(spec), root(spec), root_user(spec)];
    linux.into_iter().flatten().filter(move |_| !is_windows).chain(all.into_iter().flatten())
}

fn escalation(spec: &Value) -> Option<Violation> {
    let may = |c: &&Value| c["securityContext"]["allowPrivilegeEscalation"] != false;
    let bad = named(containers(spec).filter(may))?;
    let detail = format!("{bad} must set securityContext.allowPrivilegeEscalation=false");
    Some(Violation { what: "allowPrivilegeEscalation != false", detail })
}

fn capabilities(spec: &Value) -> Option<Violation> {
    let of = |c: &Value, side: &str| list(&c["securityContext"]["capabilities"], side).to_vec();
    let keeps = |c: &&Value| !of(c, "drop").iter().any(|name| name == "ALL");
    let adds = |c: &&Value| of(c, "add").iter().any(|name| name != "NET_BIND_SERVICE");
    let mut parts = Vec::new();
    if let Some(bad) = named(containers(spec).filter(keeps)) {
        parts.push(format!("{bad} must set securityContext.capabilities.drop=[\"ALL\"]"));
    }
    if let Some(bad) = named(containers(spec).filter(adds)) {
        let mut names: Vec<String> = containers(spec)
            .flat_map(|c| of(c, "add"))
            .filter_map(|name| name.as_str().map(str::to_owned))
            .filter(|name| name != "NET_BIND_SERVICE")
            .collect();
        names.sort();
        names.dedup();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let names = quoted(&names);
        parts.push(format!("{bad} must not include {names} in securityContext.capabilities.add"));
    }
    let detail = parts.join("; ");
    (!detail.is_empty()).then_some(Violation { what: "unrestricted capabilities", detail })
}

fn volumes(spec: &Value) -> Option<Violation> {
    let allowed = |volume: &Value| VOLUMES.iter().any(|kind| !volume[*kind].is_null());
    let bad: Vec<&Value> = list(spec, "volumes").iter().filter(|v| !allowed(v)).collect();
    let names: Vec<&str> = bad.iter().map(|volume| text(volume, "name")).collect();
    let mut kinds: Vec<&str> = bad
        .iter()
        .filter_map(|volume| volume.as_object())
        .flat_map(|volume| volume.keys())
        .map(String::as_str)
        .filter(|kind| *kind != "name")
        .collect();
    kinds.sort_unstable();
    kinds.dedup();
    let plural = |n: usize| if n == 1 { "" } else { "s" };
    (!bad.is_empty()).then(|| Violation {
        what: "restricted volume types",
        detail: format!(
            "volume{} {} use{} restricted volume type{} {}",
            plural(names.len()),
            quoted(&names),
            if names.len() == 1 { "s" } else { "" },
            plural(kinds.len()),
            quoted(&kinds)
        ),
    })
}

/// What a container does not say, the pod says for it.
fn says<'a>(spec: &'a Value, container: &'a Value, field: &str) -> &'a Value {
    match &container["securityContext"][field] {
        Value::Null => &spec["securityContext"][field],
        own => own,
    }
}

fn root(spec: &Value) -> Option<Violation> {
    let field = "runAsNonRoot";
    let bad = named(containers(spec).filter(|c| says(spec, c, field) != true))?;
    let detail = format!("pod or {bad} must set securityContext.runAsNonRoot=true");
    Some(Violation { what: "runAsNonRoot != true", detail })
}

fn root_user(spec: &Value) -> Option<Violation> {
    let pod = (spec["securityContext"]["runAsUser"] == 0).then(|| "pod".to_owned());
    let bad = named(containers(spec).filter(|c| c["securityContext"]["runAsUser"] == 0));
    let who = pod.into_iter().chain(bad).collect::<Vec<_>>().join(" and ");
    (!who.is_empty()).then(|| Violation {
        what: "runAsUser=0",
        detail: format!("{who} must not set runAsUser=0"),
    })
}

fn seccomp(spec: &Value) -> Option<Violation> {
    let confined = |c: &&Value| {
        let profile = says(spec, c, "seccompProfile");
        matches!(text(profile, "type"), "RuntimeDefault" | "Localhost")
    };
    let bad = named(containers(spec).filter(|c| !confined(c)))?;
    let detail = format!(
        "pod or {bad} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\""
    );
    Some(Violation { what: "seccompProfile", detail })
}
