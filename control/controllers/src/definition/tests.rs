//! Names, and ends.

use super::*;

fn now() -> Timestamp {
    time::parse("2025-01-01T00:00:00Z").expect("a time")
}

fn definition(plural: &str, kind: &str, created: u8) -> Defined {
    let name = format!("{plural}.example.com");
    let value = json!({
        "metadata": { "name": name, "uid": plural, "resourceVersion": "1",
                      "creationTimestamp": format!("2025-01-01T00:00:0{created}Z") },
        "spec": {
            "group": "example.com", "versions": [{ "name": "v1", "storage": true, "served": true }],
            "names": { "plural": plural, "singular": kind.to_lowercase(), "kind": kind,
                       "listKind": format!("{kind}List"), "shortNames": ["x"] },
        },
        "status": { "conditions": [], "acceptedNames": { "plural": "", "kind": "" }, "storedVersions": ["v1"] },
    });
    let object = ObjectId { namespace: String::new(), name, uid: plural.to_owned() };
    Defined { object, value, instances: Vec::new() }
}

fn patched(writes: &[Write], name: &str) -> Value {
    let found = writes.iter().find_map(|w| match w {
        Write::Patch { object, patch, .. } if object.name == name => Some(Value::clone(patch)),
        _ => None,
    });
    found.unwrap_or_else(|| panic!("nothing for {name} in {writes:?}"))
}

fn said(patch: &Value) -> Vec<String> {
    let all = list(&patch["status"], "conditions").iter();
    all.map(|c| {
        format!(
            "{}={} {}: {}",
            text(c, "type"),
            text(c, "status"),
            text(c, "reason"),
            text(c, "message")
        )
    })
    .collect()
}

#[test]
fn free_names_are_accepted_once() {
    let mut first = definition("as", "A", 1);
    let writes = plan(&State { definitions: vec![first.clone()] }, now());
    let patch = patched(&writes, "as.example.com");
    assert_eq!(
        said(&patch),
        [
            "NamesAccepted=True NoConflicts: no conflicts found",
            "Established=True InitialNamesAccepted: the initial names have been accepted",
        ]
    );
    assert_eq!(patch["status"]["acceptedNames"]["shortNames"], json!(["x"]));
    first.value["status"]["conditions"] = patch["status"]["conditions"].clone();
    first.value["status"]["acceptedNames"] = first.value["spec"]["names"].clone();
    assert_eq!(plan(&State { definitions: vec![first] }, now()), Vec::<Write>::new());
}

#[test]
fn of_two_that_want_a_name_the_older_one_gets_it() {
    let (older, newer) = (definition("as", "A", 1), definition("bs", "B", 2));
    let writes = plan(&State { definitions: vec![newer.clone(), older] }, now());
    assert_eq!(said(&patched(&writes, "as.example.com")).len(), 2);
    let patch = patched(&writes, "bs.example.com");
    assert_eq!(
        said(&patch),
        [
            "NamesAccepted=False ShortNamesConflict: \"x\" is already in use",
            "Established=False NotAccepted: not all names are accepted",
        ]
    );
    let alone = plan(&State { definitions: vec![newer] }, now());
    assert!(said(&patched(&alone, "bs.example.com"))[1].starts_with("Established=True"));
}

#[test]
fn a_new_stored_version_is_remembered_beside_the_old() {
    let mut changed = definition("as", "A", 1);
    changed.value["spec"]["versions"][0]["name"] = json!("v2");
    let writes = plan(&State { definitions: vec![changed] }, now());
    assert_eq!(patched(&writes, "as.example.com")["status"]["storedVersions"], json!(["v1", "v2"]));
}

#[test]
fn objects_go_before_their_definition() {
    let mut ending = definition("as", "A", 1);
    ending.value["metadata"]["deletionTimestamp"] = json!("2025-01-01T00:00:05Z");
    ending.value["metadata"]["finalizers"] = json!(["example.com/mine", custom::CLEANUP]);
    let id =
        |name: &str| ObjectId { namespace: "default".into(), name: name.into(), uid: name.into() };
    ending.instances = vec![(&kinds::POD, id("one"), false), (&kinds::POD, id("two"), true)];
    assert_eq!(plan(&State { definitions: vec![ending.clone()] }, now()), Vec::<Write>::new());
    let writes = endings(&State { definitions: vec![ending.clone()] }, now());
    let deleted: Vec<String> =
        writes.iter().map(ToString::to_string).filter(|w| w.starts_with("delete")).collect();
    assert_eq!(deleted, ["delete Pod default/one"]);
    assert!(said(&patched(&writes, "as.example.com"))[0].contains("InstanceDeletionInProgress"));
    ending.instances.clear();
    let writes = endings(&State { definitions: vec![ending] }, now());
    let patch = patched(&writes, "as.example.com");
    assert_eq!(
        patch["metadata"],
        json!({ "finalizers": ["example.com/mine"], "resourceVersion": "1" })
    );
}
