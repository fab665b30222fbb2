//! What becomes of the traffic to one port of a Service: kube-proxy's choices, apart from how a rule is written.

use super::model::{Condition, Endpoint, Policy, ServicePort};

/// What becomes of traffic from inside or outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It reaches an endpoint.
    Serve,
    /// It vanishes: the policy is Local and the endpoints are elsewhere.
    Drop,
    /// It is refused: there is no endpoint anywhere.
    Refuse,
}

/// All choices for one port.
#[derive(Debug)]
pub struct Plan<'a> {
    /// The port.
    pub service: &'a ServicePort,
    /// Endpoints under policy Cluster.
    pub cluster: Vec<&'a Endpoint>,
    /// Endpoints under policy Local.
    pub local: Vec<&'a Endpoint>,
    /// Endpoints that some traffic can reach from here, each once.
    pub reachable: Vec<&'a Endpoint>,
    /// There is an endpoint, here or elsewhere.
    pub any: bool,
    /// For the cluster address.
    pub internal: Answer,
    /// For all other addresses.
    pub external: Answer,
}

impl<'a> Plan<'a> {
    /// Decide.
    pub fn new(service: &'a ServicePort) -> Self {
        let uses_cluster = service.internal_policy == Policy::Cluster || service.is_external();
        let uses_local = service.internal_policy == Policy::Local
            || (service.external_policy == Policy::Local && service.is_external());
        let cluster = if uses_cluster { usable(service, |_| true) } else { Vec::new() };
        let local =
            if uses_local { usable(service, |endpoint| endpoint.local) } else { Vec::new() };
        let any = if uses_local {
            service.endpoints.iter().any(|endpoint| endpoint.condition != Condition::NotReady)
        } else {
            !cluster.is_empty()
        };
        let answer = |policy: Policy| match policy {
            _ if !any => Answer::Refuse,
            Policy::Local if local.is_empty() => Answer::Drop,
            Policy::Local | Policy::Cluster => Answer::Serve,
        };
        let internal = answer(service.internal_policy);
        let external = answer(service.external_policy);
        let mut reachable = cluster.clone();
        reachable.extend(local.iter().filter(|endpoint| !cluster.contains(endpoint)));
        Self { service, cluster, local, reachable, any, internal, external }
    }

    /// There is a chain for traffic from outside. It is there even if such traffic is dropped, for the node's own.
    pub fn has_external_chain(&self) -> bool {
        self.any && self.service.is_external()
    }

    /// Not everybody may use the load balancer's addresses.
    pub fn is_restricted(&self) -> bool {
        !self.service.load_balancer_ips.is_empty() && !self.service.source_ranges.is_empty()
    }
}

/// Those that are ready; if none is, those that still answer while they go.
fn usable(service: &ServicePort, eligible: impl Fn(&Endpoint) -> bool) -> Vec<&Endpoint> {
    let with = |condition| {
        let endpoints = service.endpoints.iter();
        endpoints
            .filter(|endpoint| endpoint.condition == condition && eligible(endpoint))
            .collect::<Vec<_>>()
    };
    let ready = with(Condition::Ready);
    if ready.is_empty() { with(Condition::Terminating) } else { ready }
}
