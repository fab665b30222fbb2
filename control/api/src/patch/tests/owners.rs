//! Who owns what after applies and other writes: examples as upstream has them, then laws that hold for any sequence.

use serde_json::{Value, json};

use super::super::fieldset::{Fields, is_key};
use super::super::schema::Schema;
use super::super::{Writer, apply, track};
use crate::kinds::{DEPLOYMENT, POD, SERVICE};
use crate::status::ApiError;

const EARLY: &str = "2025-01-01T00:00:00Z";
const LATE: &str = "2025-01-02T00:00:00Z";

fn by<'a>(manager: &'a str, time: &'a str) -> Writer<'a> {
    Writer { manager, api_version: "apps/v1", subresource: "", time }
}

fn applied(live: &Value, config: &Value, manager: &str, force: bool) -> Result<Value, ApiError> {
    apply(live, config, DEPLOYMENT.schema(), true, by(manager, EARLY), force)
}

/// `new` as an update of `old` would store it.
fn updated(old: &Value, mut new: Value, manager: &str) -> Value {
    track(old, &mut new, DEPLOYMENT.schema(), true, by(manager, LATE));
    new
}

fn fields(object: &Value, manager: &str, operation: &str) -> Value {
    let entries = object["metadata"]["managedFields"].as_array();
    let found = entries
        .into_iter()
        .flatten()
        .find(|entry| entry["manager"] == manager && entry["operation"] == operation);
    found.map(|entry| entry["fieldsV1"].clone()).unwrap_or_default()
}

fn deployment(replicas: i64) -> Value {
    json!({ "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": "x", "uid": "u", "labels": { "a": "b" } },
        "spec": { "replicas": replicas, "template": { "spec": { "containers": [{ "name": "c", "image": "1" }] } } } })
}

#[test]
fn apply_creates_merges_conflicts_and_forgets() {
    let first = applied(&Value::Null, &deployment(1), "one", false).unwrap();
    assert_eq!(
        fields(&first, "one", "Apply"),
        json!({
            "f:metadata": { "f:labels": { "f:a": {} } },
            "f:spec": { "f:replicas": {}, "f:template": { "f:spec": { "f:containers": {
                "k:{\"name\":\"c\"}": { ".": {}, "f:image": {}, "f:name": {} } } } } },
        })
    );
    let conflict = applied(&first, &deployment(2), "two", false).unwrap_err();
    assert_eq!(conflict.code, 409);
    let message = "Apply failed with 1 conflict: conflict with \"one\": .spec.replicas";
    assert_eq!(conflict.message, message);
    let forced = applied(&first, &deployment(2), "two", true).unwrap();
    assert_eq!(forced["spec"]["replicas"], 2);
    assert!(fields(&forced, "one", "Apply")["f:spec"]["f:replicas"].is_null());
    assert_eq!(applied(&first, &deployment(1), "one", false).unwrap(), first, "nothing to do");
    let bare = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "x" },
        "spec": { "replicas": 1 } });
    let shrunk = applied(&first, &bare, "one", false).unwrap();
    assert!(shrunk["metadata"]["labels"].is_null(), "{shrunk}");
    assert_eq!(shrunk["spec"], json!({ "replicas": 1 }));
}

#[test]
fn who_updates_owns_what_he_changes_alone() {
    let made = updated(&Value::Null, deployment(1), "kubectl-create");
    assert_eq!(
        fields(&made, "kubectl-create", "Update")["f:metadata"],
        json!({ "f:labels": { ".": {}, "f:a": {} } })
    );
    let mut scaled = made.clone();
    scaled["spec"]["replicas"] = json!(3);
    let scaled = updated(&made, scaled, "scaler");
    assert_eq!(fields(&scaled, "scaler", "Update"), json!({ "f:spec": { "f:replicas": {} } }));
    let first = fields(&scaled, "kubectl-create", "Update");
    assert!(first["f:spec"]["f:replicas"].is_null() && !first["f:spec"]["f:template"].is_null());
    let conflict = applied(&scaled, &deployment(1), "gitops", false).unwrap_err();
    let message =
        "Apply failed with 1 conflict: conflict with \"scaler\" using apps/v1: .spec.replicas";
    assert_eq!(conflict.message, message);
    let mut unlabelled = scaled.clone();
    unlabelled["metadata"]["labels"] = Value::Null;
    let unlabelled = updated(&scaled, unlabelled, "cleaner");
    assert!(fields(&unlabelled, "cleaner", "Update").is_null(), "who only removes owns nothing");
    assert!(fields(&unlabelled, "kubectl-create", "Update")["f:metadata"].is_null());
}

#[test]
fn several_conflicts_are_told_by_manager() {
    let first = applied(&Value::Null, &deployment(1), "one", false).unwrap();
    let mut other = deployment(2);
    other["metadata"]["labels"]["a"] = json!("c");
    other["spec"]["template"]["spec"]["containers"][0]["image"] = json!("2");
    let conflict = applied(&first, &other, "two", false).unwrap_err();
    assert_eq!(
        conflict.message,
        "Apply failed with 3 conflicts: conflicts with \"one\":\n- .metadata.labels.a\n- .spec.replicas\n- .spec.template.spec.containers[name=\"c\"].image"
    );
}

#[test]
fn an_item_that_is_applied_twice_is_refused() {
    let mut twins = deployment(1);
    let containers = &mut twins["spec"]["template"]["spec"]["containers"];
    *containers = json!([{ "name": "c" }, { "name": "c", "image": "2" }]);
    let refused = applied(&Value::Null, &twins, "one", true).unwrap_err();
    assert_eq!(refused.code, 400);
    assert!(
        refused
            .message
            .ends_with(".spec.template.spec.containers: duplicate entries for key [name=\"c\"]"),
        "{refused}"
    );
}

#[test]
fn what_nobody_was_recorded_for_is_owned_by_before_first_apply() {
    let conflict = applied(&deployment(1), &deployment(2), "one", false).unwrap_err();
    assert!(conflict.message.contains("\"before-first-apply\" using apps/v1"), "{conflict}");
    let mut changed = deployment(1);
    changed["spec"]["replicas"] = json!(5);
    let changed = updated(&deployment(1), changed, "late");
    assert!(changed["metadata"]["managedFields"].is_null(), "managers that were cleared stay so");
}

#[test]
fn sets_and_keys_with_defaults_are_told_apart() {
    let by = Writer { manager: "m", api_version: "v1", subresource: "", time: EARLY };
    let service = json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "s", "finalizers": ["a/b"] },
        "spec": { "ports": [{ "port": 80, "protocol": "TCP" }, { "port": 80, "protocol": "UDP" }] } });
    let made = apply(&Value::Null, &service, SERVICE.schema(), true, by, false).unwrap();
    let owned = fields(&made, "m", "Apply");
    assert_eq!(owned["f:metadata"], json!({ "f:finalizers": { "v:\"a/b\"": {} } }));
    let keys: Vec<&String> = owned["f:spec"]["f:ports"].as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        ["k:{\"port\":80,\"protocol\":\"TCP\"}", "k:{\"port\":80,\"protocol\":\"UDP\"}"]
    );
    let mut one = service.clone();
    one["spec"]["ports"] = json!([{ "port": 80 }]);
    let left = apply(&made, &one, SERVICE.schema(), true, by, false).unwrap();
    assert_eq!(left["spec"]["ports"].as_array().unwrap().len(), 1, "{left}");
}

#[test]
fn status_and_the_rest_have_owners_of_their_own() {
    let by = Writer { manager: "kubelet", api_version: "v1", subresource: "status", time: LATE };
    let old = json!({ "metadata": { "name": "p", "uid": "u", "managedFields": [
        { "manager": "m", "operation": "Update", "apiVersion": "v1", "time": EARLY, "fieldsType": "FieldsV1",
          "fieldsV1": { "f:spec": { "f:nodeName": {} } } }] }, "spec": { "nodeName": "n" },
        "status": {} });
    let mut new = old.clone();
    new["status"] = json!({ "conditions": [{ "type": "Ready", "status": "True" }] });
    track(&old, &mut new, POD.schema(), true, by);
    let entry = &new["metadata"]["managedFields"][1];
    assert_eq!(entry["subresource"], "status");
    assert_eq!(
        entry["fieldsV1"],
        json!({ "f:status": { "f:conditions": { ".": {},
            "k:{\"type\":\"Ready\"}": { ".": {}, "f:status": {}, "f:type": {} } } } })
    );
}

#[test]
fn the_oldest_updates_become_one() {
    let mut object = updated(&Value::Null, deployment(0), "m0");
    for n in 1..15 {
        let mut next = object.clone();
        next["metadata"]["labels"][format!("l{n}")] = json!("x");
        let (manager, time) = (format!("m{n}"), format!("2025-02-{n:02}T00:00:00Z"));
        let by = Writer { manager: &manager, api_version: "apps/v1", subresource: "", time: &time };
        track(&object, &mut next, DEPLOYMENT.schema(), true, by);
        object = next;
    }
    let entries = object["metadata"]["managedFields"].as_array().unwrap();
    let names: Vec<&str> = entries.iter().map(|e| e["manager"].as_str().unwrap()).collect();
    assert_eq!(names.len(), 10, "{names:?}");
    assert_eq!(names[0], "ancient-changes");
    assert!(!fields(&object, "ancient-changes", "Update")["f:spec"].is_null(), "nothing is lost");
}

/// A small generator: the same seed makes the same sequence.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    /// A configuration with some of a few fields, lists and maps.
    fn config(&mut self) -> Value {
        let mut config =
            json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "x" } });
        for label in ["a", "b", "c"] {
            if self.roll(2) == 0 {
                config["metadata"]["labels"][label] = json!(format!("{}", self.roll(3)));
            }
        }
        if self.roll(2) == 0 {
            config["spec"]["replicas"] = json!(self.roll(3));
        }
        if self.roll(3) == 0 {
            config["metadata"]["finalizers"] = json!([format!("f/{}", self.roll(3))]);
        }
        let mut containers = Vec::new();
        for name in ["one", "two"] {
            if self.roll(2) == 0 {
                let mut container = json!({ "name": name, "image": format!("i{}", self.roll(3)) });
                if self.roll(2) == 0 {
                    container["ports"] = json!([{ "containerPort": 80 + self.roll(2) }]);
                }
                containers.push(container);
            }
        }
        if !containers.is_empty() {
            config["spec"]["template"]["spec"]["containers"] = json!(containers);
        }
        config
    }
}

/// Every value of the configuration is in the object.
fn contains(object: &Value, config: &Value, at: &str) {
    match (object, config) {
        (Value::Object(have), Value::Object(want)) => {
            for (field, value) in want {
                contains(have.get(field).unwrap_or(&Value::Null), value, &format!("{at}.{field}"));
            }
        }
        (Value::Array(have), Value::Array(want)) => {
            for item in want {
                let key = if item.is_object() { "name" } else { "" };
                let fits = |other: &&Value| match item.get(key).or(item.get("containerPort")) {
                    Some(wanted) => other.get(key).or(other.get("containerPort")) == Some(wanted),
                    None => *other == item,
                };
                let found = have.iter().find(fits);
                contains(found.unwrap_or(&Value::Null), item, &format!("{at}[{item}]"));
            }
        }
        (have, want) => assert_eq!(have, want, "at {at}"),
    }
}

fn owners_of_leaves(object: &Value, schema: Schema) {
    // An object without managers is not tracked until somebody applies.
    if object["metadata"]["managedFields"].is_null() {
        return;
    }
    let mut all = Fields::default();
    for entry in object["metadata"]["managedFields"].as_array().into_iter().flatten() {
        let fields = Fields::parse(&entry["fieldsV1"]);
        assert_eq!(fields.to_value(), entry["fieldsV1"], "the form is canonical");
        assert!(!fields.is_empty(), "nobody is listed for nothing");
        all.unite(&fields);
    }
    let mut held = super::super::compare::compare(&Value::Null, object, schema).added;
    super::super::managers::strip(&mut held, "", true);
    let (mut dangling, mut unowned) = (all.clone(), held.clone());
    dangling.subtract(&held);
    assert_eq!(dangling.paths(), Vec::<Vec<String>>::new(), "owned but not there: {object}");
    unowned.subtract(&all);
    let leaf = |path: &Vec<String>| {
        let mut at = &held;
        path.iter().for_each(|step| at = &at.below[step]);
        at.below.is_empty()
    };
    let key =
        |path: &Vec<String>| path.len() > 1 && is_key(&path[path.len() - 2], &path[path.len() - 1]);
    let left: Vec<Vec<String>> =
        unowned.paths().into_iter().filter(|path| leaf(path) && !key(path)).collect();
    assert_eq!(left, Vec::<Vec<String>>::new(), "there but nobody's: {object}");
}

/// Over random sequences of applies and updates: what is applied is there; applying again changes nothing; who loses a
/// conflict changes nothing; every field that is there has an owner, and every owner's field is there.
#[test]
fn laws_of_ownership() {
    let schema = DEPLOYMENT.schema();
    for seed in 1..=300 {
        let mut dice = Dice(seed);
        let mut live = Value::Null;
        for step in 0..12 {
            let manager = ["ann", "bob", "eve"][usize::try_from(dice.roll(3)).unwrap()];
            let config = dice.config();
            if live.is_null() || dice.roll(3) > 0 {
                let force = dice.roll(2) == 0;
                match applied(&live, &config, manager, force) {
                    Ok(next) => {
                        contains(&next, &config, &format!("seed {seed}, step {step}: "));
                        let again = applied(&next, &config, manager, false).unwrap();
                        assert_eq!(again, next, "seed {seed}, step {step}: applied twice");
                        live = next;
                    }
                    Err(conflict) => {
                        assert_eq!(conflict.code, 409);
                        assert!(!force, "seed {seed}, step {step}: {conflict}");
                        applied(&live, &config, manager, true).expect("force has no conflicts");
                    }
                }
            } else {
                let mut next = config;
                next["metadata"]["managedFields"] = live["metadata"]["managedFields"].clone();
                live = updated(&live, next, manager);
            }
            owners_of_leaves(&live, schema);
        }
    }
}
