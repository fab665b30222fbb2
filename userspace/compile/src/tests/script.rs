//! A small language: objects in, plans and entries out. Lines with `> ` are commands; what follows is their output.

use std::{fmt::Write as _, net::Ipv4Addr, str::FromStr};

use beeline_abi::Identity as AbiIdentity;
use beeline_tables::{
    Backend, Change, EndpointIdentity, Epoch, Identity, NodeAddress, NodeName, ObjectName,
    Protocol, Reader, Service, ServicePort, ServiceType, Slice, SlicePort, Tables, TrafficPolicy,
    Writer,
};

use crate::{Attached, Compiler, Entries, Facts, Plan};

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
    let compiler = Compiler::adopt(Entries::default());
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
                self.compiler = Compiler::adopt(self.compiler.entries().clone());
                self.facts.attached = Facts::attached_in(self.compiler.entries());
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
    if plan.writes() == 0 { "nothing\n".to_owned() } else { plan.to_string() }
}

fn change(words: &[&str]) -> Change {
    match words {
        ["service", name, addresses, rest @ ..] => Change::Service(service(name, addresses, rest)),
        ["slice", name, "of", service, rest @ ..] => Change::Slice(slice(name, service, rest)),
        ["endpoint", name, address, identity, node] => Change::Endpoint(EndpointIdentity {
            pod: object(name),
            uid: "uid".into(),
            address: parse(address),
            identity: Identity(parse(identity)),
            node: NodeName((*node).into()),
        }),
        ["node", name, address] => Change::Node(NodeAddress {
            node: NodeName((*name).into()),
            internal_ip: parse(address),
            pod_cidr: None,
        }),
        ["delete", "service", name] => Change::ServiceGone(object(name)),
        ["delete", "slice", name] => Change::SliceGone(object(name)),
        ["delete", "endpoint", name] => Change::EndpointGone(object(name)),
        ["delete", "node", name] => Change::NodeGone(NodeName((*name).into())),
        other => panic!("unknown command {other:?}"),
    }
}

fn service(name: &str, addresses: &str, rest: &[&str]) -> Service {
    let flag = |flag: &str| rest.contains(&flag);
    let ports = rest.iter().filter(|word| word.contains(':')).map(|word| {
        let (name, port, protocol) = port(word);
        ServicePort { name: name.into(), protocol, port, node_port: None }
    });
    Service {
        name: object(name),
        service_type: ServiceType::ClusterIp,
        cluster_ips: addresses.split(',').filter(|a| *a != "none").map(parse).collect(),
        ports: ports.collect(),
        affinity_timeout_s: None,
        internal_policy: if flag("local") { TrafficPolicy::Local } else { TrafficPolicy::Cluster },
        external_policy: TrafficPolicy::Cluster,
        publish_not_ready: flag("publish"),
    }
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
    Backend {
        address: parse::<Ipv4Addr>(words[0]),
        ready: !conditions,
        serving: !conditions || has("serving"),
        terminating: has("terminating"),
        node: node.map(|name| NodeName(name.into())),
        pod: None,
    }
}
