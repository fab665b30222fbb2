//! What placement is decided from: nodes with what their Pods take.
//!
//! In: Nodes and Pods. Out: [`Snapshot`]. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use beeline_api::quantity::Quantity;
use k8s_openapi::api::core::v1::{Container, Node, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;

/// Amounts by resource name, in thousandths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources(pub BTreeMap<String, i128>);

/// A node and what is on it.
#[derive(Clone, Debug)]
pub struct NodeState {
    /// The node.
    pub node: Arc<Node>,
    /// What Pods may take.
    pub allocatable: Resources,
    /// What they take, `pods` included.
    pub requested: Resources,
    /// Those that run there or will.
    pub pods: Vec<Arc<Pod>>,
}

/// All nodes, by name.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Nodes by name.
    pub nodes: BTreeMap<String, NodeState>,
}

impl Resources {
    /// From a list of quantities.
    pub fn from_list(list: Option<&BTreeMap<String, Text>>) -> Self {
        let amounts = list
            .into_iter()
            .flatten()
            .filter_map(|(name, text)| Some((name.clone(), milli(name, text)?)));
        Self(amounts.collect())
    }

    /// What a Pod asks for: the sum of its containers and sidecars, or its largest init container, and overhead.
    pub fn of(pod: &Pod) -> Self {
        let Some(spec) = &pod.spec else { return Self::default() };
        let mut total = Self::default();
        for container in &spec.containers {
            total.add(&requests(container));
        }
        // An init container runs beside the sidecars that were started before it.
        let (mut sidecars, mut peak) = (Self::default(), Self::default());
        for container in spec.init_containers.iter().flatten() {
            let mut now = requests(container);
            if container.restart_policy.as_deref() == Some("Always") {
                sidecars.add(&now);
                now = sidecars.clone();
            } else {
                now.add(&sidecars);
            }
            peak.raise_to(&now);
        }
        total.add(&sidecars);
        total.raise_to(&peak);
        total.add(&Self::from_list(spec.overhead.as_ref()));
        total.0.insert("pods".to_owned(), 1000);
        total
    }

    /// The amount of one resource.
    pub fn get(&self, name: &str) -> i128 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// Add all amounts of another.
    pub fn add(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            *self.0.entry(name.clone()).or_default() += amount;
        }
    }

    fn raise_to(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            let mine = self.0.entry(name.clone()).or_default();
            *mine = (*mine).max(*amount);
        }
    }
}

/// Only CPU comes in parts of one.
fn milli(name: &str, text: &Text) -> Option<i128> {
    let quantity = Quantity::parse(&text.0)?;
    if name == "cpu" {
        return Some(i128::from(quantity.milli()));
    }
    Some(i128::from(quantity.value()) * 1000)
}

fn requests(container: &Container) -> Resources {
    Resources::from_list(container.resources.as_ref().and_then(|r| r.requests.as_ref()))
}

impl Snapshot {
    /// Nodes with the Pods that are bound to them and have not ended.
    pub fn new(nodes: &[Arc<Node>], pods: &[Arc<Pod>]) -> Self {
        let mut snapshot = Self::default();
        for node in nodes {
            let status = node.status.as_ref();
            let amounts = status.and_then(|s| s.allocatable.as_ref().or(s.capacity.as_ref()));
            let state = NodeState {
                node: Arc::clone(node),
                allocatable: Resources::from_list(amounts),
                requested: Resources::default(),
                pods: Vec::new(),
            };
            snapshot.nodes.insert(node.metadata.name.clone().unwrap_or_default(), state);
        }
        for pod in pods {
            if let Some(name) = pod.spec.as_ref().and_then(|s| s.node_name.as_deref()) {
                snapshot.place(pod, name);
            }
        }
        snapshot
    }

    /// Count a Pod on a node, as if it were bound.
    pub fn place(&mut self, pod: &Arc<Pod>, node: &str) {
        let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
        if matches!(phase, Some("Succeeded" | "Failed")) {
            return;
        }
        if let Some(state) = self.nodes.get_mut(node) {
            state.requested.add(&Resources::of(pod));
            state.pods.push(Arc::clone(pod));
        }
    }
}
