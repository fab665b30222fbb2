//! A small language: objects in, plans and entries out. Lines with `> ` are commands; what follows is their output.

use std::{fmt::Write as _, str::FromStr, sync::Arc};

use beeline_abi::Identity as AbiIdentity;
use beeline_tables::{
    Backend, Change, EndpointIdentity, Epoch, Hints, Identity, NodeAddress, NodeName, ObjectName,
    PodIntent, Protocol, Reader, Service, ServicePort, ServiceType, Slice, SlicePort, Tables,
    TrafficPolicy, Writer,
};
use k8s_openapi::api::core::v1::{Container, ContainerPort, Pod, PodSpec};

use crate::{Attached, Compiler, Entries, Facts, Limits, Plan};

struct World {
    writer: Writer,
    reader: Reader,
    pending: Vec<Change>,
    epoch: u64,
    facts: Facts,
    compiler: Compiler,
}

pub(super) fn run(text: &str) -> String {
    let (writer, reader) = Tables::new();
    let facts = Facts { node: NodeName("n1".into()), ..Facts::default() };
    let compiler = Compiler::adopt(&Entries::default(), Limits::default());
    let mut world = World { writer, reader, pending: Vec::new(), epoch: 0, facts, compiler };
    let mut out = String::new();
    for line in text.lines() {
        if line.starts_with('#') {
            writeln!(out, "{line}").unwrap();
        } else if let Some(command) = line.strip_prefix("> ") {
            writeln!(out, "{line}").unwrap();
            out.push_str(&world.command(command));
        }
    }
    out
}

pub(super) fn object(text: &str) -> ObjectName {
    let (namespace, name) = text.split_once('/').unwrap();
    ObjectName::new(namespace, name)
}

fn parse<T: FromStr>(text: &str) -> T {
    text.parse().ok().unwrap_or_else(|| panic!("not understood: {text}"))
}

/// `name:80/TCP`
fn port(text: &str) -> (String, u16, Protocol) {
    let (name, rest) = text.split_once(':').unwrap();
    let (number, protocol) = rest.split_once('/').unwrap();
    let protocol = match protocol {
        "TCP" => Protocol::Tcp,
        "UDP" => Protocol::Udp,
        _ => Protocol::Sctp,
    };
    (name.to_owned(), parse(number), protocol)
}

impl World {
    fn command(&mut self, line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["update"] => return self.update(),
            ["place"] => return shown(&self.compiler.place(&self.facts)),
            ["entries"] => return self.compiler.entries().to_string(),
            ["drained"] => {
                let idle = self.compiler.draining();
                return self.compiler.retire(&idle).to_string();
            }
            ["restart"] => {
                let limits = *self.compiler.limits();
                let entries = self.compiler.entries();
                self.compiler = Compiler::adopt(&entries, limits);
                self.facts.attached = Facts::attached_in(&entries);
            }
            ["limit", "slots", count] => {
                let limits = Limits { slots: parse(count), ..*self.compiler.limits() };
                self.compiler = Compiler::adopt(&self.compiler.entries(), limits);
            }
            ["node-ports", "loopback"] => self.facts.loopback_node_ports = true,
            ["node-ports", address] => {
                self.facts.node_port_addresses.insert(parse(address));
            }
            ["host", address, cookie] => {
                self.facts.host_addresses.insert(parse(address));
                self.facts.host_netns = Some(parse(cookie));
            }
            ["attach", address, link, cookie] => self.attach(address, link, cookie),
            ["detach", address] => {
                self.facts.attached.remove(&parse(address));
            }
            words => self.pending.push(change(words)),
        }
        String::new()
    }

    fn update(&mut self) -> String {
        self.epoch += 1;
        let changes = std::mem::take(&mut self.pending);
        self.writer.apply(Epoch(self.epoch), changes);
        let plan = self.compiler.update(&self.reader.snapshot(), &self.facts);
        assert_eq!(plan.epoch, Epoch(self.epoch));
        shown(&plan)
    }

    fn attach(&mut self, address: &str, link: &str, cookie: &str) {
        let attached = Attached {
            uid: None,
            ifindex: parse(link),
            netns_cookie: parse(cookie),
            pod_mac: [2, 0, 0, 0, 0, 1],
            host_mac: [2, 0, 0, 0, 0, 2],
            identity: AbiIdentity::UNKNOWN,
        };
        self.facts.attached.insert(parse(address), attached);
    }
}

fn shown(plan: &Plan) -> String {
    if let Some(overflow) = plan.overflow {
        return format!("refused: {} holds {}\n", overflow.map, overflow.limit);
    }
    if plan.writes() == 0 { "nothing\n".to_owned() } else { plan.to_string() }
}

fn change(words: &[&str]) -> Change {
    match words {
        ["service", name, addresses, rest @ ..] => Change::Service(service(name, addresses, rest)),
        ["slice", name, "of", service, rest @ ..] => Change::Slice(slice(name, service, rest)),
        ["endpoint", name, address, identity, node] => Change::Endpoint(EndpointIdentity {
            pod: object(name),
            uid: "uid".into(),
            addresses: address.split(',').map(parse).collect(),
            identity: Identity(parse(identity)),
            node: NodeName((*node).into()),
        }),
        ["node", name, addresses, rest @ ..] => Change::Node(NodeAddress {
            node: NodeName((*name).into()),
            internal_ips: addresses.split(',').map(parse).collect(),
            pod_cidrs: valued(rest, "pods").map(parse).collect(),
            zone: valued(rest, "zone").next().map(Into::into),
        }),
        ["pod", name, rest @ ..] => Change::Pod(pod(name, rest)),
        ["delete", "service", name] => Change::ServiceGone(object(name)),
        ["delete", "slice", name] => Change::SliceGone(object(name)),
        ["delete", "endpoint", name] => Change::EndpointGone(object(name)),
        ["delete", "pod", name] => Change::PodGone(object(name)),
        ["delete", "node", name] => Change::NodeGone(NodeName((*name).into())),
        other => panic!("unknown command {other:?}"),
    }
}

/// The values of `key=value` words, each split at commas.
fn valued<'a>(words: &[&'a str], key: &str) -> impl Iterator<Item = &'a str> {
    let prefix = format!("{key}=");
    let found = words.iter().find_map(|word| word.strip_prefix(prefix.as_str()));
    found.into_iter().flat_map(|values| values.split(','))
}

/// `service default/web 10.43.0.10,fd43::10 local external-local :80/TCP@30080 external=.. lb=.. ranges=.. affinity=10800`
fn service(name: &str, addresses: &str, rest: &[&str]) -> Service {
    let policy = |local: &str| {
        if rest.contains(&local) { TrafficPolicy::Local } else { TrafficPolicy::Cluster }
    };
    let ports = rest.iter().filter(|word| word.contains(':') && !word.contains('='));
    let ports = ports.map(|word| {
        let (word, node_port) = match word.split_once('@') {
            Some((word, node_port)) => (word, Some(parse(node_port))),
            None => (*word, None),
        };
        let (name, port, protocol) = port(word);
        ServicePort { name: name.into(), protocol, port, node_port }
    });
    Service {
        name: object(name),
        service_type: if addresses == "name" {
            ServiceType::ExternalName
        } else {
            ServiceType::ClusterIp
        },
        cluster_ips: addresses.split(',').filter_map(|a| a.parse().ok()).collect(),
        external_ips: valued(rest, "external").map(parse).collect(),
        load_balancer_ips: valued(rest, "lb").map(parse).collect(),
        source_ranges: valued(rest, "ranges").map(parse).collect(),
        ports: ports.collect(),
        affinity_timeout_s: valued(rest, "affinity").next().map(parse),
        internal_policy: policy("local"),
        external_policy: policy("external-local"),
        publish_not_ready: false,
        health_check_port: None,
    }
}

/// `pod default/web 8080/TCP@80 8443/TCP@192.168.0.1:443`: container port, then the host port
fn pod(name: &str, rest: &[&str]) -> PodIntent {
    let ports = rest.iter().map(|word| {
        let (container, host) = word.split_once('@').unwrap();
        let (container_port, protocol) = container.split_once('/').unwrap();
        let (host_ip, host_port) = host.rsplit_once(':').unwrap_or(("", host));
        ContainerPort {
            container_port: parse(container_port),
            host_port: Some(parse(host_port)),
            host_ip: Some(host_ip.to_owned()).filter(|ip| !ip.is_empty()),
            protocol: Some(protocol.to_owned()),
            ..ContainerPort::default()
        }
    });
    let container = Container { ports: Some(ports.collect()), ..Container::default() };
    let spec = PodSpec { containers: vec![container], ..PodSpec::default() };
    let pod = Pod { spec: Some(spec), ..Pod::default() };
    PodIntent { name: object(name), revision: 1, pod: Arc::new(pod) }
}

/// `slice default/web-1 of default/web http:8080/TCP = 10.42.0.5 10.42.0.6,serving,terminating,@n1`
fn slice(name: &str, service: &str, rest: &[&str]) -> Slice {
    let cut = rest.iter().position(|word| *word == "=").unwrap();
    let ports = rest[..cut].iter().map(|word| {
        let (name, port, protocol) = port(word);
        SlicePort { name: name.into(), protocol, port }
    });
    Slice {
        name: object(name),
        service: object(service),
        ports: ports.collect(),
        backends: rest[cut + 1..].iter().map(|word| backend(word)).collect(),
    }
}

fn backend(text: &str) -> Backend {
    let words: Vec<&str> = text.split(',').collect();
    let has = |word: &str| words.contains(&word);
    let conditions = has("serving") || has("terminating") || has("unready");
    let node = words.iter().find_map(|word| word.strip_prefix('@'));
    let hinted = |prefix: &str| words.iter().filter_map(|word| word.strip_prefix(prefix)).collect();
    let (zones, nodes): (Vec<&str>, Vec<&str>) = (hinted("zone="), hinted("node="));
    let hints = Hints {
        zones: zones.into_iter().map(Into::into).collect(),
        nodes: nodes.into_iter().map(|name| NodeName(name.into())).collect(),
    };
    Backend {
        address: parse(words[0]),
        ready: !conditions,
        serving: !conditions || has("serving"),
        terminating: has("terminating"),
        node: node.map(|name| NodeName(name.into())),
        pod: None,
        hints: Some(hints).filter(|it| *it != Hints::default()).map(Arc::new),
    }
}
