//! The roles and bindings that every cluster has, as upstream's bootstrap policy names them.
//!
//! Rules are written as four words: verbs, group, resources, names; several alternatives are parted by spaces, `core` is the
//! core group. A stored role that lacks one of these rules gets it at the next start, unless its annotation
//! `rbac.authorization.kubernetes.io/autoupdate` is not `true`; what a user added to it stays.

use serde_json::{Value, json};

/// Makes upstream's controllers keep their hands off, or on.
pub(crate) const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

/// Verbs, group, resources.
type Grant = (&'static str, &'static str, &'static str);

/// A role of the cluster.
struct Role {
    name: &'static str,
    /// Its rules go into the role of that name, too.
    aggregate_to: Option<&'static str>,
    /// Its rules are those of all roles with this label.
    aggregates: Option<&'static str>,
    grants: &'static [Grant],
    paths: &'static str,
}

const fn role(name: &'static str, grants: &'static [Grant]) -> Role {
    Role { name, aggregate_to: None, aggregates: None, grants, paths: "" }
}

const READ: &str = "get list watch";
const WRITE: &str = "create delete deletecollection patch update";
const ALL: &str = "create delete deletecollection get list patch update watch";

const VIEW: &[Grant] = &[
    (
        READ,
        "core",
        "bindings configmaps endpoints events limitranges namespaces namespaces/status persistentvolumeclaims \
         persistentvolumeclaims/status pods pods/log pods/status replicationcontrollers replicationcontrollers/scale \
         replicationcontrollers/status resourcequotas resourcequotas/status serviceaccounts services services/status",
    ),
    (READ, "discovery.k8s.io", "endpointslices"),
    (
        READ,
        "apps",
        "controllerrevisions daemonsets daemonsets/status deployments deployments/scale deployments/status replicasets \
         replicasets/scale replicasets/status statefulsets statefulsets/scale statefulsets/status",
    ),
    (READ, "autoscaling", "horizontalpodautoscalers horizontalpodautoscalers/status"),
    (READ, "batch", "cronjobs cronjobs/status jobs jobs/status"),
    (READ, "policy", "poddisruptionbudgets poddisruptionbudgets/status"),
    (READ, "networking.k8s.io", "ingresses ingresses/status networkpolicies"),
    (READ, "resource.k8s.io", "resourceclaims resourceclaims/status resourceclaimtemplates"),
];

const EDIT: &[Grant] = &[
    (READ, "core", "pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy"),
    ("impersonate", "core", "serviceaccounts"),
    (WRITE, "core", "pods pods/attach pods/exec pods/portforward pods/proxy"),
    ("create", "core", "pods/eviction serviceaccounts/token"),
    (
        WRITE,
        "core",
        "configmaps events persistentvolumeclaims replicationcontrollers replicationcontrollers/scale secrets \
         serviceaccounts services services/proxy",
    ),
    (
        WRITE,
        "apps",
        "daemonsets deployments deployments/rollback deployments/scale replicasets replicasets/scale statefulsets \
         statefulsets/scale",
    ),
    (WRITE, "autoscaling", "horizontalpodautoscalers"),
    (WRITE, "batch", "cronjobs jobs"),
    (WRITE, "policy", "poddisruptionbudgets"),
    (WRITE, "networking.k8s.io", "ingresses networkpolicies"),
    (ALL, "coordination.k8s.io", "leases"),
    (WRITE, "resource.k8s.io", "resourceclaims resourceclaimtemplates"),
];

const ADMIN: &[Grant] = &[
    ("create", "authorization.k8s.io", "localsubjectaccessreviews"),
    (ALL, "rbac.authorization.k8s.io", "rolebindings roles"),
];

const NODE: &[Grant] = &[
    ("create", "authentication.k8s.io", "tokenreviews"),
    ("create", "authorization.k8s.io", "localsubjectaccessreviews subjectaccessreviews"),
    (READ, "core", "services"),
    ("create get list watch", "core", "nodes"),
    ("patch update", "core", "nodes nodes/status"),
    ("create patch update", "core", "events"),
    (READ, "core", "pods"),
    ("create delete", "core", "pods"),
    ("patch update", "core", "pods/status"),
    ("create", "core", "pods/eviction"),
    (READ, "core", "configmaps secrets"),
    ("get", "core", "persistentvolumeclaims persistentvolumes"),
    ("get", "core", "endpoints"),
    ("create get list watch", "certificates.k8s.io", "certificatesigningrequests"),
    ("create delete get patch update", "coordination.k8s.io", "leases"),
    ("get", "storage.k8s.io", "volumeattachments"),
    (READ, "storage.k8s.io", "csidrivers"),
    ("create delete get patch update", "storage.k8s.io", "csinodes"),
    ("create", "core", "serviceaccounts/token"),
    (READ, "node.k8s.io", "runtimeclasses"),
];

const SCHEDULER: &[Grant] = &[
    ("create patch update", "core events.k8s.io", "events"),
    ("create", "coordination.k8s.io", "leases"),
    ("get list update watch", "coordination.k8s.io", "leases"),
    (READ, "core", "nodes namespaces"),
    ("delete get list watch", "core", "pods"),
    ("create", "core", "bindings pods/binding"),
    ("patch update", "core", "pods/status"),
    (READ, "core", "replicationcontrollers services persistentvolumes"),
    (READ, "apps", "replicasets statefulsets"),
    (READ, "policy", "poddisruptionbudgets"),
    ("get list watch patch update", "core", "persistentvolumeclaims"),
    ("create", "authentication.k8s.io", "tokenreviews"),
    ("create", "authorization.k8s.io", "subjectaccessreviews"),
    (
        READ,
        "storage.k8s.io",
        "csinodes csidrivers csistoragecapacities storageclasses volumeattachments",
    ),
    (READ, "resource.k8s.io", "deviceclasses resourceslices resourceclaims"),
    ("patch update", "resource.k8s.io", "resourceclaims resourceclaims/status"),
];

const CONTROLLER_MANAGER: &[Grant] = &[
    ("create patch update", "core events.k8s.io", "events"),
    ("create get list update watch", "coordination.k8s.io", "leases"),
    ("create get update", "core", "secrets serviceaccounts"),
    ("delete", "core", "secrets"),
    ("get", "core", "configmaps namespaces"),
    ("create", "authentication.k8s.io", "tokenreviews"),
    ("create", "authorization.k8s.io", "subjectaccessreviews"),
    ("create", "core", "serviceaccounts/token"),
    ("list watch", "*", "*"),
];

const ROLES: &[Role] = &[
    Role { paths: "*|*", ..role("cluster-admin", &[("*", "*", "*")]) },
    Role { aggregates: Some("aggregate-to-admin"), ..role("admin", &[]) },
    Role {
        aggregates: Some("aggregate-to-edit"),
        aggregate_to: Some("aggregate-to-admin"),
        ..role("edit", &[])
    },
    Role {
        aggregates: Some("aggregate-to-view"),
        aggregate_to: Some("aggregate-to-edit"),
        ..role("view", &[])
    },
    Role { aggregate_to: Some("aggregate-to-admin"), ..role("system:aggregate-to-admin", ADMIN) },
    Role { aggregate_to: Some("aggregate-to-edit"), ..role("system:aggregate-to-edit", EDIT) },
    Role { aggregate_to: Some("aggregate-to-view"), ..role("system:aggregate-to-view", VIEW) },
    Role {
        paths: "get|/api /api/* /apis /apis/* /healthz /livez /openapi /openapi/* /readyz /version /version/",
        ..role("system:discovery", &[])
    },
    Role {
        paths: "get|/healthz /livez /readyz /version /version/",
        ..role("system:public-info-viewer", &[])
    },
    Role {
        paths: "get|/healthz /healthz/* /livez /livez/* /metrics /metrics/* /readyz /readyz/*",
        ..role("system:monitoring", &[])
    },
    Role {
        paths: "get|/.well-known/openid-configuration /.well-known/openid-configuration/ /openid/v1/jwks /openid/v1/jwks/",
        ..role("system:service-account-issuer-discovery", &[])
    },
    role(
        "system:basic-user",
        &[
            ("create", "authorization.k8s.io", "selfsubjectaccessreviews selfsubjectrulesreviews"),
            ("create", "authentication.k8s.io", "selfsubjectreviews"),
        ],
    ),
    role(
        "system:auth-delegator",
        &[
            ("create", "authentication.k8s.io", "tokenreviews"),
            ("create", "authorization.k8s.io", "subjectaccessreviews"),
        ],
    ),
    role("system:node", NODE),
    role(
        "system:node-proxier",
        &[
            ("list watch", "core", "endpoints services"),
            (READ, "core", "nodes"),
            ("create patch update", "core events.k8s.io", "events"),
            ("list watch", "discovery.k8s.io", "endpointslices"),
            ("list watch", "networking.k8s.io", "servicecidrs"),
        ],
    ),
    role(
        "system:node-bootstrapper",
        &[("create get list watch", "certificates.k8s.io", "certificatesigningrequests")],
    ),
    role(
        "system:kubelet-api-admin",
        &[
            (READ, "core", "nodes"),
            ("proxy", "core", "nodes"),
            ("*", "core", "nodes/log nodes/metrics nodes/proxy nodes/stats"),
        ],
    ),
    role("system:kube-scheduler", SCHEDULER),
    role(
        "system:volume-scheduler",
        &[
            ("get list patch update watch", "core", "persistentvolumes"),
            (READ, "storage.k8s.io", "storageclasses"),
            ("get list patch update watch", "core", "persistentvolumeclaims"),
        ],
    ),
    role("system:kube-controller-manager", CONTROLLER_MANAGER),
    role(
        "system:persistent-volume-provisioner",
        &[
            ("create delete get list watch", "core", "persistentvolumes"),
            ("get list update watch", "core", "persistentvolumeclaims"),
            (READ, "storage.k8s.io", "storageclasses"),
            ("watch", "core", "events"),
            ("create patch update", "core", "events"),
        ],
    ),
    role(
        "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
        &[("create", "certificates.k8s.io", "certificatesigningrequests/nodeclient")],
    ),
    role(
        "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
        &[("create", "certificates.k8s.io", "certificatesigningrequests/selfnodeclient")],
    ),
    // The name of the signer is the name of the resource that is approved.
    role("system:certificates.k8s.io:kube-apiserver-client-approver", &[]),
    role("system:certificates.k8s.io:kube-apiserver-client-kubelet-approver", &[]),
    role("system:certificates.k8s.io:kubelet-serving-approver", &[]),
    role("system:certificates.k8s.io:legacy-unknown-approver", &[]),
];

/// Which signer an approver's role is for.
fn signer(role: &str) -> Option<&'static str> {
    Some(match role.strip_prefix("system:certificates.k8s.io:")? {
        "kube-apiserver-client-approver" => "kubernetes.io/kube-apiserver-client",
        "kube-apiserver-client-kubelet-approver" => "kubernetes.io/kube-apiserver-client-kubelet",
        "kubelet-serving-approver" => "kubernetes.io/kubelet-serving",
        "legacy-unknown-approver" => "kubernetes.io/legacy-unknown",
        _ => return None,
    })
}

/// Role, then who has it in the whole cluster.
const BINDINGS: &[(&str, &[(&str, &str)])] = &[
    ("cluster-admin", &[("Group", "system:masters")]),
    ("system:discovery", &[("Group", "system:authenticated")]),
    (
        "system:public-info-viewer",
        &[("Group", "system:authenticated"), ("Group", "system:unauthenticated")],
    ),
    ("system:monitoring", &[("Group", "system:monitoring")]),
    ("system:basic-user", &[("Group", "system:authenticated")]),
    ("system:service-account-issuer-discovery", &[("Group", "system:serviceaccounts")]),
    // Nodes have their own authorizer; the binding is there for those who look for it.
    ("system:node", &[]),
    ("system:node-proxier", &[("User", "system:kube-proxy")]),
    ("system:kube-scheduler", &[("User", "system:kube-scheduler")]),
    ("system:volume-scheduler", &[("User", "system:kube-scheduler")]),
    ("system:kube-controller-manager", &[("User", "system:kube-controller-manager")]),
    (
        "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
        &[("Group", "system:bootstrappers")],
    ),
    (
        "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
        &[("Group", "system:nodes")],
    ),
    ("system:node-bootstrapper", &[("Group", "system:bootstrappers")]),
];

/// All ClusterRoles.
pub(crate) fn cluster_roles() -> impl Iterator<Item = Value> {
    ROLES.iter().map(cluster_role)
}

fn cluster_role(role: &Role) -> Value {
    let mut labels = json!({ "kubernetes.io/bootstrapping": "rbac-defaults" });
    if let Some(target) = role.aggregate_to {
        labels[label(target)] = json!("true");
    }
    let mut value = json!({ "metadata": metadata(role.name, &labels), "rules": role_rules(role) });
    if let Some(selected) = role.aggregates {
        value["aggregationRule"] =
            json!({ "clusterRoleSelectors": [{ "matchLabels": { label(selected): "true" } }] });
    }
    value
}

/// What the role of nodes says, as its rules are stored.
pub(crate) fn node_rules() -> Value {
    Value::Array(role_rules(&role("system:node", NODE)))
}

/// What the controller will find, so that these roles are whole from the first moment: by name, each rule once.
fn gathered(selected: &str) -> Vec<Value> {
    let mut sources: Vec<&Role> =
        ROLES.iter().filter(|role| role.aggregate_to == Some(selected)).collect();
    sources.sort_by_key(|role| role.name);
    let mut all: Vec<Value> = Vec::new();
    for rule in sources.into_iter().flat_map(role_rules) {
        if !all.contains(&rule) {
            all.push(rule);
        }
    }
    all
}

fn role_rules(role: &Role) -> Vec<Value> {
    if let Some(selected) = role.aggregates {
        return gathered(selected);
    }
    let words = |text: &str| -> Vec<String> {
        let word = |word| if word == "core" { String::new() } else { String::from(word) };
        text.split_whitespace().map(word).collect()
    };
    let grant = |&(verbs, groups, resources): &Grant| json!({ "verbs": words(verbs), "apiGroups": words(groups), "resources": words(resources) });
    let mut rules: Vec<Value> = role.grants.iter().map(grant).collect();
    if let Some((verbs, paths)) = role.paths.split_once('|') {
        rules.push(json!({ "verbs": words(verbs), "nonResourceURLs": words(paths) }));
    }
    if let Some(signer) = signer(role.name) {
        rules.push(json!({
            "verbs": ["approve"], "apiGroups": ["certificates.k8s.io"], "resources": ["signers"],
            "resourceNames": [signer],
        }));
    }
    rules
}

/// All ClusterRoleBindings.
pub(crate) fn cluster_role_bindings() -> impl Iterator<Item = Value> {
    BINDINGS.iter().map(|(role, subjects)| {
        let labels = json!({ "kubernetes.io/bootstrapping": "rbac-defaults" });
        let subject = |&(kind, name): &(&str, &str)| {
            json!({ "kind": kind, "name": name, "apiGroup": super::GROUP })
        };
        json!({
            "metadata": metadata(role, &labels),
            "roleRef": { "apiGroup": super::GROUP, "kind": "ClusterRole", "name": role },
            "subjects": subjects.iter().map(subject).collect::<Vec<_>>(),
        })
    })
}

/// Roles of `kube-system`: what servers that ask the API about their callers read.
pub(crate) fn system_roles() -> [Value; 1] {
    let labels = json!({ "kubernetes.io/bootstrapping": "rbac-defaults" });
    [json!({
        "metadata": metadata("extension-apiserver-authentication-reader", &labels),
        "rules": [{
            "verbs": READ.split(' ').collect::<Vec<_>>(), "apiGroups": [""], "resources": ["configmaps"],
            "resourceNames": ["extension-apiserver-authentication"],
        }],
    })]
}

fn metadata(name: &str, labels: &Value) -> Value {
    json!({ "name": name, "labels": labels, "annotations": { AUTOUPDATE: "true" } })
}

fn label(target: &str) -> String {
    format!("rbac.authorization.k8s.io/{target}")
}
