use super::*;
use crate::kinds::{DEPLOYMENT, POD, SECRET};
use serde_json::json;

fn deployment() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}})
}

fn refusal(kind: &KindInfo, mut value: Value) -> String {
    fields(kind, &mut value, &[]).unwrap_err().message
}

#[test]
fn unknown_fields_are_named_and_dropped() {
    let mut value = deployment();
    value["spec"]["replica"] = json!(3);
    value["spec"]["template"]["spec"]["containers"][0]["imag"] = json!("x");
    value["spec"]["paused"] = Value::Null;
    let problems = fields(&DEPLOYMENT, &mut value, &["spec.a".to_owned()]).unwrap();
    let mut sorted = problems.clone();
    sorted.sort();
    assert_eq!(
        sorted,
        [
            "duplicate field \"spec.a\"",
            "unknown field \"spec.replica\"",
            "unknown field \"spec.template.spec.containers[0].imag\"",
        ]
    );
    assert_eq!(value, deployment());
    let text = strict_error(&DEPLOYMENT, &["unknown field \"spec.replica\"".to_owned()]).message;
    assert_eq!(
        text,
        "Deployment in version \"v1\" cannot be handled as a Deployment: strict decoding error: unknown field \"spec.replica\""
    );
}

#[test]
fn type_errors_in_upstreams_words() {
    let head =
        "Deployment in version \"v1\" cannot be handled as a Deployment: json: cannot unmarshal";
    let mut value = deployment();
    value["spec"]["replicas"] = json!("3");
    assert_eq!(
        refusal(&DEPLOYMENT, value),
        format!("{head} string into Go struct field DeploymentSpec.spec.replicas of type int32")
    );
    let mut value = deployment();
    value["spec"]["template"]["spec"]["containers"] = json!({});
    assert_eq!(
        refusal(&DEPLOYMENT, value),
        format!(
            "{head} object into Go struct field PodSpec.spec.template.spec.containers of type []v1.Container"
        )
    );
    let mut value = deployment();
    value["spec"]["template"]["spec"]["containers"][0]["env"] = json!([{"name": "a", "value": 1}]);
    assert_eq!(
        refusal(&DEPLOYMENT, value),
        format!(
            "{head} number into Go struct field EnvVar.spec.template.spec.containers.env.value of type string"
        )
    );
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "data": {"a": "%%%"}});
    assert!(refusal(&SECRET, secret).contains("illegal base64 data at input byte 0"));
}

#[test]
fn json_duplicates_and_quantities() {
    let parsed = json(br#"{"spec": {"a": 1, "a": 2, "l": [{"b": 1, "b": 1}]}}"#).unwrap();
    assert_eq!(parsed.duplicates, ["spec.a", "spec.l[0].b"]);
    assert_eq!(parsed.value["spec"]["a"], 2);
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"creationTimestamp": null},
        "spec": {"containers": [{"name": "a", "resources": {"limits": {"cpu": 1}}}]}});
    assert!(fields(&POD, &mut pod, &[]).unwrap().is_empty());
    assert!(json(b"{").is_err());
}

#[test]
fn yaml_and_type_meta() {
    let mut value = yaml(b"metadata:\n  name: x\nspec:\n  on: yes\n").unwrap().value;
    type_meta(&POD, &mut value).unwrap();
    assert_eq!(value["apiVersion"], "v1");
    let mut other = json!({"apiVersion": "apps/v1", "kind": "Deployment"});
    assert!(type_meta(&POD, &mut other).is_err());
}
