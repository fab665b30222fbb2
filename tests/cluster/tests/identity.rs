//! What a program in a pod does to talk to the API: it reads its token and calls Service `kubernetes`.

use std::process::Command;

use beeline_test_cluster::{LIMIT, import_image, place};
use beeline_test_support::{Cluster, eventually, skip};

/// An account that may list the pods of its namespace, and a pod that tries that and more.
const CLIENT: &str = r#"
apiVersion: v1
kind: ServiceAccount
metadata: { name: reader }
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: { name: reads-pods }
rules: [{ apiGroups: [""], resources: [pods], verbs: [list] }]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: { name: reads-pods }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: Role, name: reads-pods }
subjects: [{ kind: ServiceAccount, name: reader, namespace: default }]
---
apiVersion: v1
kind: Pod
metadata: { name: client }
spec:
  serviceAccountName: reader
  terminationGracePeriodSeconds: 1
  containers:
    - name: c
      image: "hello:1"
      command:
        - sh
        - -c
        - |
          cd /var/run/secrets/kubernetes.io/serviceaccount
          echo x > mine || echo "nothing is written there"
          echo "namespace $(cat namespace), API $KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT"
          echo "token $(cat token)"
          cat ca.crt
          exec sleep 600
---
apiVersion: v1
kind: Pod
metadata: { name: without }
spec:
  automountServiceAccountToken: false
  restartPolicy: Never
  containers:
    - { name: c, image: "hello:1", command: [sh, -c, "ls /var/run/secrets/kubernetes.io || echo nothing"] }
"#;

#[test]
fn a_program_in_a_pod_is_its_service_account() -> anyhow::Result<()> {
    if skip() {
        return Ok(());
    }
    let cluster = Cluster::up(0)?;
    let node = &cluster.nodes[0];
    import_image(node, "hello:1")?;
    let kubectl = node.kubectl();
    kubectl.apply(CLIENT);
    kubectl.wait(LIMIT, &["get", "pod", "without"], |text| text.contains("Completed"));
    assert!(kubectl.run(&["logs", "without"]).contains("nothing"));
    kubectl.run(&["wait", "--for=condition=Ready", "pod/client", "--timeout=60s"]);
    let said =
        kubectl.wait(LIMIT, &["logs", "client"], |text| text.contains("-----END CERTIFICATE-----"));
    assert!(said.contains("nothing is written there"), "{said}");
    assert!(said.contains("namespace default, API 10.43.0.1:443"), "{said}");

    // The image has no client that speaks today's TLS: ours takes its place, in the pod's namespace and cgroup.
    let token = said.lines().find_map(|line| line.strip_prefix("token ")).unwrap_or_default();
    let ca = node.data_dir().join("ca-of-the-pod.crt");
    std::fs::write(&ca, &said[said.find("-----BEGIN").unwrap_or(said.len())..])?;
    let place = place(node, "client");
    let (netns, cgroup) = (text(&place["netns"]), text(&place["cgroup"]));
    let ask = |path: &str| {
        let script = format!(
            "echo $$ > {cgroup}/cgroup.procs && exec nsenter --net={netns} curl -s -m 10 --cacert {} \
             -H 'Authorization: Bearer {token}' -w '%{{http_code}}' https://10.43.0.1:443{path}",
            ca.display()
        );
        let output = Command::new("bash").args(["-c", &script]).output();
        output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let pods = ask("/api/v1/namespaces/default/pods")?;
    assert!(pods.ends_with("200") && pods.contains("\"name\":\"client\""), "{pods}");
    for path in ["/api/v1/namespaces/kube-system/pods", "/api/v1/namespaces/default/secrets"] {
        let refused = ask(path)?;
        assert!(refused.ends_with("403"), "{refused}");
        assert!(refused.contains("User \\\"system:serviceaccount:default:reader\\\""), "{refused}");
    }

    // The token is worth nothing without its pod.
    let review = serde_json::json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
        "spec": { "token": token } });
    let reviewed = || {
        let output = kubectl.pipe(&["create", "-o", "json", "-f", "-"], &review.to_string());
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let live = reviewed();
    assert!(live.contains("authentication.kubernetes.io/pod-name"), "{live}");
    assert!(live.contains("authentication.kubernetes.io/node-name"), "{live}");
    kubectl.run(&["delete", "pod", "client", "--timeout=60s"]);
    eventually(LIMIT, "the token ends with its pod", || !reviewed().contains("pod-name"));
    Ok(())
}

fn text(value: &serde_json::Value) -> &str {
    value.as_str().unwrap_or_default()
}
