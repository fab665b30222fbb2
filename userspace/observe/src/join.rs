//! One event and the tables to one record. Pure, but for the index of frontends that it keeps current.

use std::{collections::HashMap, net::Ipv4Addr, sync::Arc};

use beeline_abi::{self as abi, FlowEvent, FlowEventKind, Hook, Proto, RuleId};
use beeline_tables::{Diff as _, Difference, ObjectName, Protocol, Snapshot};

use crate::flow::{Event, Flow, L4, Peer, Service, Verdict};

/// A frontend: address, port, protocol number.
type Frontend = (Ipv4Addr, u16, u8);

/// Names for addresses, from the tables as they are now.
pub(crate) struct Joiner {
    node: String,
    seen: Arc<Snapshot>,
    frontends: HashMap<Frontend, (ObjectName, Arc<str>)>,
}

impl Joiner {
    pub(crate) fn new(node: &str) -> Self {
        Self { node: node.to_owned(), seen: Arc::default(), frontends: HashMap::new() }
    }

    /// Take over a newer state; costs what changed.
    pub(crate) fn update(&mut self, snapshot: &Arc<Snapshot>) {
        if Arc::ptr_eq(&self.seen, snapshot) {
            return;
        }
        for difference in self.seen.services.differences(&snapshot.services) {
            match difference {
                Difference::Added(_, service) => self.add(&service),
                Difference::Changed(_, old, service) => {
                    self.remove(&old);
                    self.add(&service);
                }
                Difference::Removed(_, service) => self.remove(&service),
            }
        }
        self.seen = Arc::clone(snapshot);
    }

    fn add(&mut self, service: &beeline_tables::Service) {
        for (frontend, port) in frontends(service) {
            self.frontends.insert(frontend, (service.name.clone(), port));
        }
    }

    fn remove(&mut self, service: &beeline_tables::Service) {
        for (frontend, _) in frontends(service) {
            self.frontends.remove(&frontend);
        }
    }

    /// The record of an event. `None` for one that this version does not understand.
    pub(crate) fn flow(&self, event: &FlowEvent, clock_offset_ns: u64) -> Option<Flow> {
        let kind = event.kind()?;
        let hook = event.hook()?;
        let time_ns = clock_offset_ns.wrapping_add(event.time_ns);
        let source =
            self.peer(event.tuple.source_addr, event.tuple.source_port, event.source_identity);
        let destination =
            self.peer(event.tuple.dest_addr, event.tuple.dest_port, event.dest_identity);
        Some(Flow {
            time: rfc3339(time_ns),
            time_ms: time_ns / 1_000_000,
            event: convert_kind(kind),
            flow_id: event.flow_id.0,
            verdict: convert_verdict(event.verdict()?),
            drop_reason: event.drop_reason().map(|reason| reason.name().to_owned()),
            rule_id: event.rule_id.0,
            rule: rule_name(event.rule_id),
            reply: event.flags & abi::FLOW_REPLY != 0,
            source,
            destination,
            l4: l4(event),
            service: self.service(event, hook),
            bytes: event.bytes,
            packets: event.packets,
            hook: hook.name().to_owned(),
            node_name: self.node.clone(),
        })
    }

    fn peer(&self, address: abi::Be32, port: abi::Be16, identity: abi::Identity) -> Peer {
        let ip = Ipv4Addr::from(address.to_host());
        let pod = self.seen.endpoints_at.get(&ip).map(|endpoint| &endpoint.pod);
        let node = match identity {
            abi::Identity::HOST => Some(self.node.clone()),
            _ => self
                .seen
                .nodes
                .values()
                .find(|node| node.internal_ip == ip)
                .map(|node| node.node.0.to_string()),
        };
        Peer {
            ip,
            port: port.to_host(),
            identity: identity.0,
            namespace: pod.map(|name| name.namespace.to_string()),
            pod_name: pod.map(|name| name.name.to_string()),
            node_name: if pod.is_some() { None } else { node },
        }
    }

    fn service(&self, event: &FlowEvent, hook: Hook) -> Option<Service> {
        // A refused connection was never translated: what it dialled is its destination.
        let refused = event.service_id.0 == 0 && matches!(hook, Hook::Connect | Hook::Sendmsg);
        let (address, port) = match event.frontend_addr.to_host() {
            0 if refused => (event.tuple.dest_addr, event.tuple.dest_port),
            0 => return None,
            _ => (event.frontend_addr, event.frontend_port),
        };
        let frontend_ip = Ipv4Addr::from(address.to_host());
        let found = self.frontends.get(&(frontend_ip, port.to_host(), event.tuple.proto));
        let (namespace, name, port_name) = match found {
            Some((name, port)) => {
                (name.namespace.to_string(), name.name.to_string(), port.to_string())
            }
            None => Default::default(),
        };
        Some(Service { namespace, name, port_name, frontend_ip, frontend_port: port.to_host() })
    }
}

fn frontends(service: &beeline_tables::Service) -> impl Iterator<Item = (Frontend, Arc<str>)> + '_ {
    service.cluster_ips.iter().flat_map(|ip| {
        service
            .ports
            .iter()
            .map(|port| ((*ip, port.port, number(port.protocol)), Arc::clone(&port.name)))
    })
}

const fn number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => Proto::Tcp as u8,
        Protocol::Udp => Proto::Udp as u8,
        Protocol::Sctp => Proto::Sctp as u8,
    }
}

const fn convert_kind(kind: FlowEventKind) -> Event {
    match kind {
        FlowEventKind::New => Event::New,
        FlowEventKind::Update => Event::Update,
        FlowEventKind::End => Event::End,
        FlowEventKind::Drop => Event::Drop,
    }
}

const fn convert_verdict(verdict: abi::Verdict) -> Verdict {
    match verdict {
        abi::Verdict::Forward => Verdict::Forwarded,
        abi::Verdict::Translate => Verdict::Translated,
        abi::Verdict::Redirect => Verdict::Redirected,
        abi::Verdict::Drop => Verdict::Dropped,
        abi::Verdict::Refuse => Verdict::Refused,
    }
}

fn rule_name(rule: RuleId) -> String {
    match rule {
        RuleId::NONE => "none".into(),
        RuleId::DEFAULT_ALLOW => "default-allow".into(),
        RuleId::DEFAULT_DENY => "default-deny".into(),
        RuleId::SOURCE_CHECK => "source-check".into(),
        RuleId::SERVICE => "service".into(),
        RuleId(number) => number.to_string(),
    }
}

fn l4(event: &FlowEvent) -> L4 {
    const FLAGS: [(u8, &str); 6] = [
        (abi::TCP_SYN, "SYN"),
        (abi::TCP_ACK, "ACK"),
        (abi::TCP_PSH, "PSH"),
        (abi::TCP_FIN, "FIN"),
        (abi::TCP_RST, "RST"),
        (abi::TCP_URG, "URG"),
    ];
    let set = FLAGS.iter().filter(|(bit, _)| event.tcp_flags & bit != 0);
    L4 {
        protocol: event
            .proto()
            .map_or_else(|| event.tuple.proto.to_string(), |proto| proto.name().to_owned()),
        tcp_flags: set.map(|(_, name)| (*name).to_owned()).collect(),
    }
}

/// RFC 3339 in UTC with microseconds. The calendar is Howard Hinnant's `civil_from_days`.
fn rfc3339(ns: u64) -> String {
    let (seconds, micros) = (ns / 1_000_000_000, ns / 1000 % 1_000_000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}.{micros:06}Z", second % 60)
}

#[cfg(test)]
mod tests {
    use super::rfc3339;

    #[test]
    fn times_are_utc() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(rfc3339(951_826_154_000_001_000), "2000-02-29T12:09:14.000001Z");
        assert_eq!(rfc3339(1_767_225_599_999_999_999), "2025-12-31T23:59:59.999999Z");
    }
}
