//! Whether a Pod may run on a node at all.
//!
//! In: a Pod and a node. Out: the first set of reasons against it, in upstream's order of filters. Pure.

use std::fmt;

use k8s_openapi::api::core::v1::{
    Node, NodeSelectorRequirement, NodeSelectorTerm, Pod, Taint, Toleration,
};

use crate::snapshot::{NodeState, Resources};

/// Why a node is out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// It is cordoned.
    Unschedulable,
    /// The Pod names another node.
    NodeName,
    /// A taint that the Pod does not tolerate.
    Taint {
        /// The taint's key.
        key: String,
        /// The taint's value.
        value: String,
    },
    /// `nodeSelector` or required affinity.
    Affinity,
    /// A host port is taken.
    HostPorts,
    /// `Too many pods`.
    TooManyPods,
    /// Not enough of this resource is left.
    Insufficient(String),
}

impl Reason {
    /// Whether ending other Pods on the node could make room.
    pub(crate) fn is_helped_by_preemption(&self) -> bool {
        match self {
            Self::HostPorts | Self::TooManyPods | Self::Insufficient(_) => true,
            Self::Unschedulable | Self::NodeName | Self::Taint { .. } | Self::Affinity => false,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unschedulable => f.write_str("node(s) were unschedulable"),
            Self::NodeName => f.write_str("node(s) didn't match the requested node name"),
            Self::Taint { key, value } if value.is_empty() => {
                write!(f, "node(s) had untolerated taint {{{key}: }}")
            }
            Self::Taint { key, value } => {
                write!(f, "node(s) had untolerated taint {{{key}: {value}}}")
            }
            Self::Affinity => f.write_str("node(s) didn't match Pod's node affinity/selector"),
            Self::HostPorts => {
                f.write_str("node(s) didn't have free ports for the requested pod ports")
            }
            Self::TooManyPods => f.write_str("Too many pods"),
            Self::Insufficient(resource) => write!(f, "Insufficient {resource}"),
        }
    }
}

/// Nothing, or what speaks against this node. All resources that lack are named; before them the first reason only.
pub(crate) fn against(pod: &Pod, wanted: &Resources, state: &NodeState) -> Vec<Reason> {
    let checks: [fn(&Pod, &NodeState) -> Option<Reason>; 5] =
        [unschedulable, node_name, taints, affinity, host_ports];
    if let Some(reason) = checks.iter().find_map(|check| check(pod, state)) {
        return vec![reason];
    }
    fit(wanted, state)
}

fn unschedulable(pod: &Pod, state: &NodeState) -> Option<Reason> {
    let cordoned = state.node.spec.as_ref().and_then(|s| s.unschedulable).unwrap_or(false);
    let taint = Taint {
        key: "node.kubernetes.io/unschedulable".to_owned(),
        effect: "NoSchedule".to_owned(),
        ..Taint::default()
    };
    (cordoned && !is_tolerated(pod, &taint)).then_some(Reason::Unschedulable)
}

fn node_name(pod: &Pod, state: &NodeState) -> Option<Reason> {
    let wanted = pod.spec.as_ref().and_then(|s| s.node_name.as_deref()).filter(|n| !n.is_empty());
    wanted
        .is_some_and(|name| state.node.metadata.name.as_deref() != Some(name))
        .then_some(Reason::NodeName)
}

fn taints(pod: &Pod, state: &NodeState) -> Option<Reason> {
    let taints = state.node.spec.as_ref().and_then(|s| s.taints.as_deref()).unwrap_or_default();
    let hard = |t: &&Taint| t.effect == "NoSchedule" || t.effect == "NoExecute";
    if let Some(taint) = taints.iter().filter(hard).find(|taint| !is_tolerated(pod, taint)) {
        let value = taint.value.clone().unwrap_or_default();
        return Some(Reason::Taint { key: taint.key.clone(), value });
    }
    // The taint follows readiness by a moment; the node's own word counts at once.
    let key = match readiness(&state.node) {
        "True" => return None,
        "False" => "node.kubernetes.io/not-ready",
        _ => "node.kubernetes.io/unreachable",
    };
    let implied =
        Taint { key: key.to_owned(), effect: "NoSchedule".to_owned(), ..Taint::default() };
    (!is_tolerated(pod, &implied))
        .then(|| Reason::Taint { key: key.to_owned(), value: String::new() })
}

fn readiness(node: &Node) -> &str {
    let conditions = node.status.as_ref().and_then(|s| s.conditions.as_deref());
    let ready = conditions.unwrap_or_default().iter().find(|c| c.type_ == "Ready");
    // A node that never said anything is not ready.
    ready.map_or("False", |c| c.status.as_str())
}

/// Whether the Pod tolerates a taint.
pub(crate) fn is_tolerated(pod: &Pod, taint: &Taint) -> bool {
    let all = pod.spec.as_ref().and_then(|s| s.tolerations.as_deref()).unwrap_or_default();
    all.iter().any(|toleration| tolerates(toleration, taint))
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let text = |t: &Option<String>| t.clone().unwrap_or_default();
    let (effect, key) = (text(&toleration.effect), text(&toleration.key));
    (effect.is_empty() || effect == taint.effect)
        && (key.is_empty() || key == taint.key)
        && (toleration.operator.as_deref() == Some("Exists")
            || (!key.is_empty() && text(&toleration.value) == text(&taint.value)))
}

fn affinity(pod: &Pod, state: &NodeState) -> Option<Reason> {
    let spec = pod.spec.as_ref()?;
    let labels = state.node.metadata.labels.clone().unwrap_or_default();
    let simple =
        spec.node_selector.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    let required = spec.affinity.as_ref().and_then(|a| a.node_affinity.as_ref());
    let required =
        required.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
    let matches = required
        .is_none_or(|r| r.node_selector_terms.iter().any(|term| term_matches(term, &state.node)));
    (!simple || !matches).then_some(Reason::Affinity)
}

/// All of a term's requirements; an empty term matches nothing.
pub(crate) fn term_matches(term: &NodeSelectorTerm, node: &Node) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    if expressions.is_empty() && fields.is_empty() {
        return false;
    }
    let label =
        |key: &str| node.metadata.labels.as_ref().and_then(|l| l.get(key)).map(String::as_str);
    let field = |key: &str| {
        (key == "metadata.name").then_some(node.metadata.name.as_deref().unwrap_or_default())
    };
    expressions.iter().all(|e| requirement(e, label(&e.key)))
        && fields.iter().all(|e| requirement(e, field(&e.key)))
}

fn requirement(wanted: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = wanted.values.as_deref().unwrap_or_default();
    let listed = value.is_some_and(|value| values.iter().any(|v| v == value));
    let numbers =
        || -> Option<(i64, i64)> { Some((value?.parse().ok()?, values.first()?.parse().ok()?)) };
    match wanted.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => numbers().is_some_and(|(has, than)| has > than),
        "Lt" => numbers().is_some_and(|(has, than)| has < than),
        _ => false,
    }
}

fn ports(pod: &Pod) -> impl Iterator<Item = (&str, &str, i32)> {
    let containers = pod.spec.iter().flat_map(|s| s.containers.iter());
    containers.flat_map(|c| c.ports.iter().flatten()).filter_map(|port| {
        let host = port.host_port.filter(|p| *p > 0)?;
        let address = port.host_ip.as_deref().filter(|ip| !ip.is_empty()).unwrap_or("0.0.0.0");
        Some((address, port.protocol.as_deref().unwrap_or("TCP"), host))
    })
}

fn host_ports(pod: &Pod, state: &NodeState) -> Option<Reason> {
    let any = |address: &str| address == "0.0.0.0" || address == "::";
    let clash = ports(pod).any(|(address, protocol, port)| {
        state.pods.iter().flat_map(|other| ports(other)).any(|(other, its_protocol, its_port)| {
            port == its_port
                && protocol == its_protocol
                && (address == other || any(address) || any(other))
        })
    });
    clash.then_some(Reason::HostPorts)
}

fn fit(wanted: &Resources, state: &NodeState) -> Vec<Reason> {
    let lacks = wanted.0.iter().filter(|(name, amount)| {
        **amount > 0 && state.requested.get(name) + **amount > state.allocatable.get(name)
    });
    lacks
        .map(|(name, _)| match name.as_str() {
            "pods" => Reason::TooManyPods,
            name => Reason::Insufficient(name.to_owned()),
        })
        .collect()
}
