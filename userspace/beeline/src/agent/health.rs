//! Health checks of Services with external policy Local: where they are answered, whether the dataplane is well, and what is
//! told when a port cannot be had.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use beeline_datapath::Datapath;
use beeline_healthcheck::{Addresses, HealthChecks, Refusal, Refusals};
use beeline_kit::Tasks;
use beeline_tables::{Epoch, NodeName, ObjectName, Reader};
use beeline_uplink::Uplink;
use k8s_openapi::api::core::v1::{Event, ObjectReference};
use tokio::sync::watch;

use super::warning::Warning;

/// A change that waits longer for the kernel makes the node unwell, as it does kube-proxy.
const BEHIND_MAX: Duration = Duration::from_secs(60);
const COMPONENT: &str = "beeline-healthcheck";
/// Upstream's words.
const REASON: &str = "FailedToStartServiceHealthcheck";

/// Answer until `tasks` stop.
pub fn start(
    node: &str,
    addresses: Addresses,
    reader: &Reader,
    datapath: &Datapath,
    uplink: Uplink,
    tasks: &Tasks,
) {
    let watched = Mutex::new(KeepsUp::default());
    let (in_force, tables) = (datapath.in_force(), reader.clone());
    let healthy = move || {
        let (held, wanted) = (in_force.borrow().epoch, tables.snapshot().epoch);
        watched.lock().unwrap_or_else(PoisonError::into_inner).is_well(held, wanted, Instant::now())
    };
    let config = beeline_healthcheck::Config {
        node: NodeName(node.into()),
        addresses,
        healthy: Arc::new(healthy),
    };
    let refusals = HealthChecks::start(config, reader.clone(), tasks);
    tell(refusals, uplink, node, tasks);
}

/// Since when the kernel has made no progress towards what is wanted.
#[derive(Debug, Default)]
struct KeepsUp {
    behind: Option<(Epoch, Instant)>,
}

impl KeepsUp {
    fn is_well(&mut self, held: Epoch, wanted: Epoch, now: Instant) -> bool {
        if held >= wanted {
            self.behind = None;
            return true;
        }
        let since = match self.behind {
            Some((epoch, since)) if epoch == held => since,
            _ => now,
        };
        self.behind = Some((held, since));
        now.duration_since(since) < BEHIND_MAX
    }
}

/// An Event about the Service, once each time.
fn tell(mut refusals: watch::Receiver<Refusals>, uplink: Uplink, node: &str, tasks: &Tasks) {
    let (node, token) = (node.to_owned(), tasks.token());
    tasks.spawn("health-check-events", async move {
        let mut told = BTreeSet::new();
        while let Some(Ok(())) = token.run_until_cancelled(refusals.changed()).await {
            let now = refusals.borrow_and_update().clone();
            told.retain(|service| now.contains_key(service));
            for (service, refusal) in &now {
                if told.insert(service.clone()) {
                    uplink.event(&event(service, refusal, &node, SystemTime::now()));
                }
            }
        }
    });
}

fn event(service: &ObjectName, refusal: &Refusal, node: &str, now: SystemTime) -> Event {
    let (port, why) = (refusal.at.port(), &refusal.why);
    let about = ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Service".to_owned()),
        namespace: Some(service.namespace.to_string()),
        name: Some(service.name.to_string()),
        ..ObjectReference::default()
    };
    let message =
        format!("node {node} failed to start healthcheck \"{service}\" on port {port}: {why}");
    Warning { about, reason: REASON, message, component: COMPONENT, node }.event(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_without_progress_makes_the_node_unwell_after_a_minute() {
        let (mut watched, start) = (KeepsUp::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        assert!(watched.is_well(Epoch(3), Epoch(4), start));
        assert!(watched.is_well(Epoch(3), Epoch(9), after(59)));
        assert!(!watched.is_well(Epoch(3), Epoch(9), after(60)));
        assert!(watched.is_well(Epoch(4), Epoch(9), after(61)), "slow, but it comes along");
        assert!(watched.is_well(Epoch(9), Epoch(9), after(200)));
    }

    #[test]
    fn the_event_names_service_port_and_cause() {
        let refusal = Refusal { at: "0.0.0.0:31000".parse().unwrap(), why: "taken".to_owned() };
        let service = ObjectName::new("default", "web");
        let event = event(&service, &refusal, "n1", SystemTime::UNIX_EPOCH);
        let message = event.message.unwrap();
        assert_eq!(
            message,
            "node n1 failed to start healthcheck \"default/web\" on port 31000: taken"
        );
        assert_eq!(event.metadata.namespace.as_deref(), Some("default"));
    }
}
