use serde_json::json;

use super::*;

fn found(level: &str, spec: &Value) -> Option<String> {
    let labels = json!({ "pod-security.kubernetes.io/enforce": level });
    violations(labels.as_object(), Mode::Enforce, &json!({ "spec": spec }))
}

fn container(context: &Value) -> Value {
    json!({ "name": "c", "image": "i", "securityContext": context })
}

fn careful() -> Value {
    container(&json!({
        "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] }, "runAsNonRoot": true,
        "seccompProfile": { "type": "RuntimeDefault" },
    }))
}

#[test]
fn an_ordinary_pod_is_within_baseline_and_beyond_restricted() {
    let spec = json!({ "containers": [{ "name": "c", "image": "i" }] });
    assert_eq!(found("privileged", &spec), None);
    assert_eq!(found("baseline", &spec), None);
    assert_eq!(
        found("restricted", &spec).unwrap(),
        "PodSecurity \"restricted:latest\": allowPrivilegeEscalation != false (container \"c\" must set \
         securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container \"c\" must set \
         securityContext.capabilities.drop=[\"ALL\"]), seccompProfile (pod or container \"c\" must set \
         securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"), runAsNonRoot != true (pod or \
         container \"c\" must set securityContext.runAsNonRoot=true)"
    );
    assert_eq!(found("restricted", &json!({ "containers": [careful()] })), None);
}

#[test]
fn the_pod_speaks_for_containers_that_say_nothing() {
    let mut quiet = careful();
    quiet["securityContext"]
        .as_object_mut()
        .unwrap()
        .retain(|key, _| key.starts_with("allow") || key == "capabilities");
    let context = json!({ "runAsNonRoot": true, "seccompProfile": { "type": "Localhost", "localhostProfile": "p" } });
    assert_eq!(
        found("restricted", &json!({ "securityContext": context, "containers": [quiet] })),
        None
    );
}

#[test]
fn each_way_to_the_node_is_beyond_baseline() {
    let with = |mut spec: Value| {
        if spec["containers"].is_null() {
            spec["containers"] = json!([{ "name": "c", "image": "i" }]);
        }
        found("baseline", &spec).unwrap_or_default()
    };
    for (spec, wanted) in [
        (
            json!({ "hostNetwork": true, "hostPID": true }),
            "host namespaces (hostNetwork=true, hostPID=true)",
        ),
        (
            json!({ "containers": [container(&json!({ "privileged": true }))] }),
            "privileged (container \"c\" must not set securityContext.privileged=true)",
        ),
        (
            json!({ "initContainers": [container(&json!({ "capabilities": { "add": ["SYS_ADMIN", "CHOWN"] } }))] }),
            "non-default capabilities (container \"c\" must not include \"SYS_ADMIN\" in securityContext.capabilities.add)",
        ),
        (
            json!({ "volumes": [{ "name": "v", "hostPath": { "path": "/" } }] }),
            "hostPath volumes (volume \"v\")",
        ),
        (
            json!({ "containers": [{ "name": "c", "ports": [{ "hostPort": 80 }, { "hostPort": 81 }] }] }),
            "hostPort (container \"c\" uses hostPorts 80, 81)",
        ),
        (
            json!({ "containers": [container(&json!({ "procMount": "Unmasked" }))] }),
            "procMount (container \"c\" must not set securityContext.procMount to \"Unmasked\")",
        ),
        (
            json!({ "securityContext": { "seccompProfile": { "type": "Unconfined" } } }),
            "seccompProfile (pod must not set securityContext.seccompProfile.type to \"Unconfined\")",
        ),
        (
            json!({ "securityContext": { "sysctls": [{ "name": "kernel.msgmax", "value": "1" }] } }),
            "forbidden sysctls (kernel.msgmax)",
        ),
        (
            json!({ "securityContext": { "seLinuxOptions": { "role": "r" } } }),
            "seLinuxOptions (pod set forbidden securityContext.seLinuxOptions)",
        ),
    ] {
        let said = with(spec);
        assert_eq!(said, format!("PodSecurity \"baseline:latest\": {wanted}"));
    }
}

#[test]
fn modes_and_versions_come_from_labels_and_an_unknown_level_is_strict() {
    let spec = json!({ "spec": { "containers": [{ "name": "c" }] } });
    let labels = json!({ "pod-security.kubernetes.io/warn": "restrictive", "pod-security.kubernetes.io/warn-version": "v1.30" });
    let said = |mode| violations(labels.as_object(), mode, &spec);
    assert_eq!(said(Mode::Enforce), None);
    assert!(said(Mode::Warn).unwrap().starts_with("PodSecurity \"restricted:v1.30\": "));
    assert_eq!(violations(None, Mode::Warn, &spec), None);
}
