//! APIServices of what is served here, and what extension servers read about their callers.
//!
//! In: the group versions that are served, the APIServices there are, and the authorities. Out: an APIService without a Service for each
//! group version that nobody else claims, its condition, and ConfigMap `kube-system/extension-apiserver-authentication`. Pure.
//! APIServices with a Service are the API server's to judge: it talks to what is behind them.

use std::collections::{BTreeMap, BTreeSet};

use beeline_api::kinds::{self, api_priority};
use beeline_api::meta::{self, text};
use beeline_api::time::{self, Timestamp};
use serde_json::{Value, json};

use crate::write::{ObjectId, Part, Removal, Write, merge_patch};

/// Marks what this makes: `onstart` for groups that are always there, `true` for those that definitions make.
const MANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";
const CONFIG: &str = "extension-apiserver-authentication";
/// Upstream's priorities of defined kinds.
const DEFINED: (i64, i64) = (1_000, 100);

/// A group, a version, and whether a definition makes it.
pub type Served = (String, String, bool);

/// An object that is there.
#[derive(Clone, Debug)]
pub struct There {
    /// Which one.
    pub object: ObjectId,
    /// The whole of it.
    pub value: Value,
}

/// Whom extension servers may believe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorities {
    /// Signs clients.
    pub clients_pem: String,
    /// Signs the front proxy.
    pub front_proxy_pem: String,
    /// The name in the front proxy's certificate.
    pub front_proxy_name: String,
}

/// All that this is decided from.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// What is served here.
    pub served: BTreeSet<Served>,
    /// Every APIService.
    pub services: Vec<There>,
    /// The ConfigMap, if it is there.
    pub config: Option<There>,
    /// None: no ConfigMap.
    pub authorities: Option<Authorities>,
}

/// What has to be written now.
pub fn plan(state: &State, now: Timestamp) -> Vec<Write> {
    let known: BTreeMap<&str, &There> =
        state.services.iter().map(|there| (there.object.name.as_str(), there)).collect();
    let wanted: BTreeMap<String, &Served> =
        state.served.iter().map(|served| (format!("{}.{}", served.1, served.0), served)).collect();
    let mut writes = Vec::new();
    for (name, served) in &wanted {
        match known.get(name.as_str()) {
            None => writes.push(Write::create(&kinds::API_SERVICE, &local(name, served))),
            Some(there) if !there.value["spec"]["service"].is_object() => {
                writes.extend(available(there, now));
            }
            Some(_) => {}
        }
    }
    for there in known.values() {
        let managed = !text(&there.value["metadata"]["labels"], MANAGED).is_empty();
        if managed && !wanted.contains_key(&there.object.name) && !meta::deleting(&there.value) {
            let object = there.object.clone();
            writes.push(Write::delete(&kinds::API_SERVICE, object, Removal::Graceful));
        }
    }
    writes.extend(config(state));
    writes
}

fn local(name: &str, (group, version, defined): &Served) -> Value {
    let (group_priority, newest) = api_priority(group).filter(|_| !defined).unwrap_or(DEFINED);
    let priority = match (group.as_str(), version.as_str()) {
        // The older of the two.
        ("autoscaling", "v1") => 15,
        _ => newest,
    };
    json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": { "name": name, "labels": { MANAGED: if *defined { "true" } else { "onstart" } } },
        "spec": {
            "group": group, "version": version,
            "groupPriorityMinimum": group_priority, "versionPriority": priority,
        },
    })
}

fn available(there: &There, now: Timestamp) -> Option<Write> {
    let own = json!({ "type": "Available", "status": "True", "reason": "Local",
        "message": "Local APIServices are always available" });
    let conditions = there.value["status"]["conditions"].as_array();
    let says = |one: &Value| {
        ["type", "status", "reason", "message"].iter().all(|field| one[*field] == own[*field])
    };
    if conditions.is_some_and(|all| all.iter().any(says)) {
        return None;
    }
    let mut own = own;
    own["lastTransitionTime"] = time::format(now).into();
    let patch = Box::new(json!({ "status": { "conditions": [own] } }));
    let object = there.object.clone();
    Some(Write::Patch { kind: &kinds::API_SERVICE, object, part: Part::Status, patch })
}

/// How an extension server knows the API server, and what this says of who calls.
fn config(state: &State) -> Option<Write> {
    let Authorities { clients_pem, front_proxy_pem, front_proxy_name } =
        state.authorities.as_ref()?;
    let texts = |all: &[&str]| json!(all).to_string();
    let data = json!({
        "client-ca-file": clients_pem,
        "requestheader-client-ca-file": front_proxy_pem,
        "requestheader-allowed-names": texts(&[front_proxy_name.as_str()]),
        "requestheader-extra-headers-prefix": texts(&["X-Remote-Extra-"]),
        "requestheader-group-headers": texts(&["X-Remote-Group"]),
        "requestheader-uid-headers": texts(&["X-Remote-Uid"]),
        "requestheader-username-headers": texts(&["X-Remote-User"]),
    });
    let Some(there) = &state.config else {
        let map = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": { "namespace": "kube-system", "name": CONFIG }, "data": data,
        });
        return Some(Write::create(&kinds::CONFIG_MAP, &map));
    };
    let patch = merge_patch(&json!({ "data": there.value["data"] }), &json!({ "data": data }))?;
    Some(Write::Patch {
        kind: &kinds::CONFIG_MAP,
        object: there.object.clone(),
        part: Part::Main,
        patch: Box::new(patch),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served(group: &str, version: &str, defined: bool) -> Served {
        (group.to_owned(), version.to_owned(), defined)
    }

    fn there(name: &str, value: Value) -> There {
        let name = name.to_owned();
        There { object: ObjectId { name, ..ObjectId::default() }, value }
    }

    fn text_of(state: &State) -> Vec<String> {
        let now = time::parse("2025-01-01T00:00:00Z").expect("a time");
        plan(state, now).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_served_here_is_local() {
        let made =
            [served("", "v1", false), served("x.test", "v1", true), served("y.test", "v1", true)];
        let managed = json!({ "metadata": { "labels": { MANAGED: "true" } }, "spec": {} });
        let state = State {
            served: made.into(),
            services: vec![
                there("v1.y.test", json!({ "spec": { "service": { "name": "s" } } })),
                there("v1.gone.test", managed.clone()),
                there("v2.gone.test", json!({ "spec": {} })),
                there("v1.x.test", managed),
            ],
            ..State::default()
        };
        let writes = text_of(&state);
        assert_eq!(writes.len(), 3, "{writes:?}");
        assert_eq!(writes[0], "create APIService v1.");
        assert!(writes[1].starts_with("patch APIService/status v1.x.test"), "{writes:?}");
        assert!(writes[1].contains("Local APIServices are always available"), "{writes:?}");
        assert_eq!(writes[2], "delete APIService v1.gone.test");
    }

    #[test]
    fn priorities_are_upstreams() {
        let spec =
            |group, version, defined| local("n", &served(group, version, defined))["spec"].clone();
        let of =
            |spec: Value| (spec["groupPriorityMinimum"].clone(), spec["versionPriority"].clone());
        assert_eq!(of(spec("", "v1", false)), (json!(18_000), json!(1)));
        assert_eq!(of(spec("autoscaling", "v1", false)), (json!(17_500), json!(15)));
        assert_eq!(of(spec("autoscaling", "v2", false)), (json!(17_500), json!(30)));
        assert_eq!(of(spec("x.test", "v1", true)), (json!(1_000), json!(100)));
    }

    #[test]
    fn extension_servers_are_told_whom_to_believe() {
        let authorities = Authorities {
            clients_pem: "A".into(),
            front_proxy_pem: "B".into(),
            front_proxy_name: "proxy".into(),
        };
        let mut state = State { authorities: Some(authorities), ..State::default() };
        assert_eq!(text_of(&state), [format!("create ConfigMap kube-system/{CONFIG}")]);
        let Some(Write::Create { object, .. }) = config(&state) else { panic!("no map") };
        assert_eq!(object["data"]["requestheader-allowed-names"], r#"["proxy"]"#);
        state.config = Some(there(CONFIG, Value::clone(&object)));
        assert!(text_of(&state).is_empty());
    }
}
