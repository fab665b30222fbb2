//! Metrics in Prometheus text: kube-proxy's names for what it has, ours for what it does not.
//!
//! In: the ledger, the tables, what the kernel counted. Out: the text of `/metrics`. Pure.

use std::{
    collections::BTreeMap,
    fmt::{Display, Write as _},
    time::{Duration, SystemTime},
};

use beeline_datapath::UsageView;
use beeline_tables::{NodeName, Service, Snapshot, TrafficPolicy};

use super::ledger::Ledger;

/// Counts under bounds, as Prometheus wants them.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [f64],
    buckets: Vec<u64>,
    count: u64,
    sum_s: f64,
}

/// What the kernel says.
#[derive(Debug, Default)]
pub struct Kernel {
    /// Counters by name.
    pub counters: BTreeMap<&'static str, u64>,
    /// Packets and bytes by reason.
    pub drops: BTreeMap<&'static str, (u64, u64)>,
    /// How full the maps are.
    pub maps: Vec<UsageView>,
}

/// Answers given, by their code.
#[derive(Debug, Default)]
pub struct Answered {
    /// Of `/healthz`.
    pub healthz: BTreeMap<u16, u64>,
    /// Of `/livez`.
    pub livez: BTreeMap<u16, u64>,
}

/// Services with policy Local that have endpoints, but none on this node: their traffic here goes nowhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoLocal {
    /// For clients inside.
    pub internal: usize,
    /// For clients outside.
    pub external: usize,
}

// === impl Histogram ===

impl Histogram {
    /// Nothing observed yet.
    pub fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, buckets: vec![0; bounds.len()], count: 0, sum_s: 0.0 }
    }

    /// One more.
    pub fn observe(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        for (bucket, bound) in self.buckets.iter_mut().zip(self.bounds) {
            *bucket += u64::from(seconds <= *bound);
        }
        self.count += 1;
        self.sum_s += seconds;
    }

    /// Its lines.
    pub fn render(&self, name: &str) -> String {
        let mut out = String::new();
        for (count, bound) in self.buckets.iter().zip(self.bounds) {
            let _ = writeln!(out, "{name}_bucket{{le=\"{bound}\"}} {count}");
        }
        let _ = writeln!(out, "{name}_bucket{{le=\"+Inf\"}} {}", self.count);
        let _ = writeln!(out, "{name}_sum {}", self.sum_s);
        let _ = writeln!(out, "{name}_count {}", self.count);
        out
    }
}

// === impl NoLocal ===

impl NoLocal {
    /// Looks at Services with policy Local only.
    pub fn count(snapshot: &Snapshot, node: &NodeName) -> Self {
        let mut found = Self::default();
        for service in snapshot.services.values() {
            let internal = service.internal_policy == TrafficPolicy::Local;
            let external = service.external_policy == TrafficPolicy::Local && seen_outside(service);
            if (internal || external) && elsewhere_only(snapshot, service, node) {
                found.internal += usize::from(internal);
                found.external += usize::from(external);
            }
        }
        found
    }
}

fn seen_outside(service: &Service) -> bool {
    !service.external_ips.is_empty()
        || !service.load_balancer_ips.is_empty()
        || service.ports.iter().any(|port| port.node_port.is_some())
}

fn elsewhere_only(snapshot: &Snapshot, service: &Service, node: &NodeName) -> bool {
    let mut any = false;
    for backend in snapshot.slices_for(&service.name).iter().flat_map(|slice| &slice.backends) {
        if backend.ready || (backend.serving && backend.terminating) {
            if backend.node.as_ref() == Some(node) {
                return false;
            }
            any = true;
        }
    }
    any
}

// === the text ===

/// All of it.
pub fn render(ledger: &Ledger, no_local: NoLocal, kernel: &Kernel, answered: &Answered) -> String {
    let mut out = Text(String::with_capacity(8 * 1024));
    kube_proxys(&mut out, ledger, no_local, answered);
    ours(&mut out, kernel);
    out.0
}

fn kube_proxys(out: &mut Text, ledger: &Ledger, no_local: NoLocal, answered: &Answered) {
    let name = "kubeproxy_sync_proxy_rules_duration_seconds";
    out.head(name, "histogram", "Time to bring a change of the tables into force in the kernel.");
    out.0.push_str(&ledger.sync.render(name));
    let name = "kubeproxy_network_programming_duration_seconds";
    out.head(name, "histogram", "Time from a change of endpoints in the cluster to the kernel.");
    out.0.push_str(&ledger.programming.render(name));
    let name = "kubeproxy_sync_proxy_rules_last_timestamp_seconds";
    out.head(name, "gauge", "When the kernel last held what the cluster wants.");
    out.value(name, seconds(ledger.in_force));
    let name = "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds";
    out.head(name, "gauge", "When the cluster last wanted something else.");
    out.value(name, seconds(ledger.queued));
    let (services, slices) = ledger.pending();
    for (kind, what, total, pending) in [
        ("service", "Services", ledger.services_total, services),
        ("endpoint", "EndpointSlices", ledger.slices_total, slices),
    ] {
        let name = format!("kubeproxy_sync_proxy_rules_{kind}_changes_total");
        out.head(&name, "counter", &format!("Changes of {what}."));
        out.value(&name, total);
        let name = format!("kubeproxy_sync_proxy_rules_{kind}_changes_pending");
        out.head(&name, "gauge", &format!("Changes of {what} that the kernel does not hold yet."));
        out.value(&name, pending);
    }
    let name = "kubeproxy_sync_proxy_rules_no_local_endpoints";
    out.head(
        name,
        "gauge",
        "Services with policy Local that have endpoints, but none on this node.",
    );
    out.labelled(name, "traffic_policy", "internal", no_local.internal);
    out.labelled(name, "traffic_policy", "external", no_local.external);
    for (path, codes) in [("healthz", &answered.healthz), ("livez", &answered.livez)] {
        let name = format!("kubeproxy_proxy_{path}_total");
        out.head(&name, "counter", &format!("Answers of /{path} by code."));
        for (code, count) in codes {
            out.labelled(&name, "code", code, count);
        }
    }
}

fn ours(out: &mut Text, kernel: &Kernel) {
    for (counter, count) in &kernel.counters {
        let name = format!("beeline_datapath_{counter}_total");
        out.head(&name, "counter", "Counted by the kernel programs.");
        out.value(&name, count);
    }
    let name = "beeline_datapath_drops_total";
    out.head(name, "counter", "Packets dropped and connections refused, by reason.");
    for (reason, (packets, _)) in &kernel.drops {
        out.labelled(name, "reason", reason, packets);
    }
    let name = "beeline_datapath_drop_bytes_total";
    out.head(name, "counter", "Bytes of dropped packets, by reason.");
    for (reason, (_, bytes)) in &kernel.drops {
        out.labelled(name, "reason", reason, bytes);
    }
    let name = "beeline_datapath_map_entries";
    out.head(name, "gauge", "Entries of a kernel map.");
    for usage in &kernel.maps {
        out.labelled(name, "map", &usage.map, usage.entries);
    }
    let name = "beeline_datapath_map_limit";
    out.head(name, "gauge", "Entries that fit into a kernel map.");
    for usage in &kernel.maps {
        out.labelled(name, "map", &usage.map, usage.limit);
    }
}

struct Text(String);

impl Text {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn value(&mut self, name: &str, value: impl Display) {
        let _ = writeln!(self.0, "{name} {value}");
    }

    fn labelled(&mut self, name: &str, label: &str, which: impl Display, value: impl Display) {
        let _ = writeln!(self.0, "{name}{{{label}=\"{which}\"}} {value}");
    }
}

/// Zero where it never was.
fn seconds(time: Option<SystemTime>) -> f64 {
    let since = time.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
    since.map_or(0.0, |since| since.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use beeline_datapath::InForce;
    use beeline_informer::Batch;
    use beeline_tables::{
        Backend, Change, Epoch, NodeName, ObjectName, Service, ServicePort, ServiceType, Slice,
        Tables, TrafficPolicy,
    };

    use super::{Answered, Kernel, NoLocal, UsageView, render};
    use crate::proxy::ledger::{Ledger, Now};

    #[test]
    fn the_text_has_kube_proxys_names_and_ours() {
        let mut ledger = Ledger::new();
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let now = Now { wall, ..Now::read() };
        let batch = |epoch| Batch { epoch: Epoch(epoch), services: 2, slices: 3, triggers: vec![] };
        ledger.queue(&batch(1), now);
        let took = Duration::from_micros(700);
        ledger.hold(&InForce { epoch: Epoch(1), writes: 9, took }, now);
        ledger.queue(&batch(2), now);
        let mut answered = Answered::default();
        answered.healthz.insert(200, 5);
        let kernel = Kernel {
            counters: [("translated", 7)].into(),
            drops: [("no_backend", (4, 240))].into(),
            maps: vec![UsageView { map: "SERVICES".into(), entries: 1, limit: 10 }],
        };
        let text = render(&ledger, NoLocal { internal: 1, external: 2 }, &kernel, &answered);
        for line in [
            "# TYPE kubeproxy_sync_proxy_rules_duration_seconds histogram",
            "kubeproxy_sync_proxy_rules_duration_seconds_bucket{le=\"0.0005\"} 0",
            "kubeproxy_sync_proxy_rules_duration_seconds_bucket{le=\"0.001\"} 1",
            "kubeproxy_sync_proxy_rules_duration_seconds_count 1",
            "kubeproxy_network_programming_duration_seconds_count 0",
            "kubeproxy_sync_proxy_rules_last_timestamp_seconds 1700000000",
            "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds 1700000000",
            "kubeproxy_sync_proxy_rules_service_changes_total 4",
            "kubeproxy_sync_proxy_rules_service_changes_pending 2",
            "kubeproxy_sync_proxy_rules_endpoint_changes_total 6",
            "kubeproxy_sync_proxy_rules_endpoint_changes_pending 3",
            "kubeproxy_sync_proxy_rules_no_local_endpoints{traffic_policy=\"internal\"} 1",
            "kubeproxy_sync_proxy_rules_no_local_endpoints{traffic_policy=\"external\"} 2",
            "kubeproxy_proxy_healthz_total{code=\"200\"} 5",
            "beeline_datapath_translated_total 7",
            "beeline_datapath_drops_total{reason=\"no_backend\"} 4",
            "beeline_datapath_drop_bytes_total{reason=\"no_backend\"} 240",
            "beeline_datapath_map_entries{map=\"SERVICES\"} 1",
            "beeline_datapath_map_limit{map=\"SERVICES\"} 10",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn only_services_with_policy_local_and_endpoints_elsewhere_lack_local_ones() {
        let (mut writer, reader) = Tables::new();
        let service = |name: &str, internal_policy, external_policy, node_port| {
            Change::Service(Service {
                name: ObjectName::new("a", name),
                service_type: ServiceType::NodePort,
                cluster_ips: vec![],
                external_ips: vec![],
                load_balancer_ips: vec![],
                source_ranges: vec![],
                ports: vec![ServicePort {
                    name: "".into(),
                    protocol: beeline_tables::Protocol::Tcp,
                    port: 80,
                    node_port,
                }],
                affinity_timeout_s: None,
                internal_policy,
                external_policy,
                publish_not_ready: false,
                health_check_port: None,
            })
        };
        let slice = |name: &str, node: &str| {
            let backend = Backend {
                address: [10, 1, 0, 1].into(),
                ready: true,
                serving: true,
                terminating: false,
                node: Some(NodeName(node.into())),
                pod: None,
                hints: None,
            };
            let (name, ports, backends) = (ObjectName::new("a", name), vec![], vec![backend]);
            Change::Slice(Slice { service: name.clone(), name, ports, backends })
        };
        let (local, cluster) = (TrafficPolicy::Local, TrafficPolicy::Cluster);
        let changes = vec![
            service("both", local, local, Some(30000)),
            slice("both", "n2"),
            service("inside", local, local, None),
            slice("inside", "n2"),
            service("here", local, local, Some(30001)),
            slice("here", "n1"),
            service("empty", local, local, Some(30002)),
            service("anywhere", cluster, cluster, Some(30003)),
            slice("anywhere", "n2"),
        ];
        writer.apply_snapshot(Epoch(1), changes, true);
        let found = NoLocal::count(&reader.snapshot(), &NodeName("n1".into()));
        assert_eq!(found, NoLocal { internal: 2, external: 1 });
    }
}
