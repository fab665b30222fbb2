use beeline_tables::{
    Backend, Hints, NodeAddress, NodeName, ObjectName, Protocol, Service, ServicePort, ServiceType,
    SlicePort, TrafficPolicy,
};
use k8s_openapi::api::{
    core::v1::{self, Node},
    discovery::v1::EndpointSlice,
};

use super::{Standing, standing, trigger_time};

fn parse<T: serde::de::DeserializeOwned>(yaml: &str) -> T {
    serde_saphyr::from_str(yaml).unwrap()
}

fn service(yaml: &str) -> Option<Service> {
    let head = "metadata: {namespace: shop, name: web}\n";
    let yaml = if yaml.contains("metadata:") { yaml.to_owned() } else { format!("{head}{yaml}") };
    super::service(&parse::<v1::Service>(&yaml))
}

fn web(spec: &str) -> Service {
    service(&format!("spec: {{clusterIP: 10.96.0.1, {spec}}}")).unwrap()
}

#[test]
fn a_service_with_everything() {
    let found = service(
        "
metadata: {namespace: shop, name: web}
spec:
  type: LoadBalancer
  clusterIP: 10.96.0.1
  clusterIPs: [10.96.0.1, 'fd00::1']
  externalIPs: [192.0.2.7, 'not an address']
  externalTrafficPolicy: Local
  internalTrafficPolicy: Local
  healthCheckNodePort: 31000
  loadBalancerSourceRanges: [' 198.51.100.0/24', '2001:db8::/32']
  publishNotReadyAddresses: true
  sessionAffinity: ClientIP
  sessionAffinityConfig: {clientIP: {timeoutSeconds: 60}}
  ports:
  - {name: http, port: 80, nodePort: 30080, targetPort: web}
  - {name: dns, port: 53, protocol: UDP}
  - {name: odd, port: 54, protocol: QUIC}
status:
  loadBalancer:
    ingress:
    - {ip: 203.0.113.1}
    - {ip: 203.0.113.2, ipMode: VIP}
    - {ip: 203.0.113.3, ipMode: Proxy}
    - {hostname: lb.example}
",
    );
    let port = |name: &str, protocol, port, node_port| ServicePort {
        name: name.into(),
        protocol,
        port,
        node_port,
    };
    let expected = Service {
        name: ObjectName::new("shop", "web"),
        service_type: ServiceType::LoadBalancer,
        cluster_ips: vec![[10, 96, 0, 1].into(), "fd00::1".parse().unwrap()],
        external_ips: vec![[192, 0, 2, 7].into()],
        load_balancer_ips: vec![[203, 0, 113, 1].into(), [203, 0, 113, 2].into()],
        source_ranges: vec!["198.51.100.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
        ports: vec![
            port("http", Protocol::Tcp, 80, Some(30080)),
            port("dns", Protocol::Udp, 53, None),
        ],
        affinity_timeout_s: Some(60),
        internal_policy: TrafficPolicy::Local,
        external_policy: TrafficPolicy::Local,
        publish_not_ready: true,
        health_check_port: Some(31000),
    };
    assert_eq!(found, Some(expected));
}

#[test]
fn what_is_not_said_has_the_apis_defaults() {
    let found = web("sessionAffinity: ClientIP, ports: [{port: 80}]");
    assert_eq!(found.service_type, ServiceType::ClusterIp);
    assert_eq!(found.affinity_timeout_s, Some(10_800));
    assert_eq!(found.internal_policy, TrafficPolicy::Cluster);
    assert_eq!(found.external_policy, TrafficPolicy::Cluster);
    assert_eq!(&*found.ports[0].name, "");
    assert_eq!((found.ports[0].protocol, found.ports[0].node_port), (Protocol::Tcp, None));
    assert!(found.source_ranges.is_empty() && !found.publish_not_ready);
    assert_eq!(web("sessionAffinity: None").affinity_timeout_s, None);
}

#[test]
fn a_health_check_port_needs_a_load_balancer_with_policy_local() {
    let checked = "healthCheckNodePort: 31000";
    let port = |spec: &str| web(&format!("{checked}, {spec}")).health_check_port;
    assert_eq!(port("type: LoadBalancer, externalTrafficPolicy: Local"), Some(31000));
    assert_eq!(port("type: LoadBalancer, externalTrafficPolicy: Cluster"), None);
    assert_eq!(port("type: NodePort, externalTrafficPolicy: Local"), None);
}

#[test]
fn source_ranges_that_nobody_understands_admit_nobody() {
    let found = web("loadBalancerSourceRanges: [everyone]");
    let ranges: Vec<String> = found.source_ranges.iter().map(ToString::to_string).collect();
    assert_eq!(ranges, ["0.0.0.0/32", "::/128"]);
}

#[test]
fn services_that_are_nothing_to_this_proxy() {
    assert_eq!(service("spec: {clusterIP: None, ports: [{port: 80}]}"), None);
    assert_eq!(service("spec: {ports: [{port: 80}]}"), None);
    assert_eq!(service("spec: {type: ExternalName, externalName: example.org}"), None);
    let labelled = |proxy: &str| {
        service(&format!(
            "
metadata:
  namespace: shop
  name: web
  labels: {{service.kubernetes.io/service-proxy-name: {proxy}}}
spec: {{clusterIP: 10.96.0.1}}
"
        ))
    };
    assert_eq!(labelled("another"), None);
    assert!(labelled("beeline").is_some());
}

fn slice(family: &str, labels: &str, rest: &str) -> EndpointSlice {
    parse(&format!(
        "
metadata:
  namespace: shop
  name: web-x7k
  labels: {{kubernetes.io/service-name: web{labels}}}
  annotations: {{endpoints.kubernetes.io/last-change-trigger-time: '2026-01-02T03:04:05Z'}}
addressType: {family}
{rest}
"
    ))
}

#[test]
fn a_slice_with_everything() {
    let object = slice(
        "IPv4",
        "",
        "
ports:
- {name: http, port: 8080}
- {name: dns, port: 5353, protocol: UDP}
- {name: every}
endpoints:
- addresses: [10.1.0.5, 10.1.0.6]
  nodeName: n1
  targetRef: {kind: Pod, name: web-1}
  hints: {forZones: [{name: a}, {name: b}], forNodes: [{name: n2}]}
- addresses: [10.1.0.7]
  conditions: {ready: false, serving: true, terminating: true}
  targetRef: {kind: VM, name: metal}
  hints: {}
- addresses: ['fd00::7']
- addresses: []
",
    );
    let found = super::slice(&object).unwrap();
    assert_eq!(found.name, ObjectName::new("shop", "web-x7k"));
    assert_eq!(found.service, ObjectName::new("shop", "web"));
    let port = |name: &str, protocol, port| SlicePort { name: name.into(), protocol, port };
    assert_eq!(found.ports, [port("http", Protocol::Tcp, 8080), port("dns", Protocol::Udp, 5353)]);
    let hints = Hints { zones: vec!["a".into(), "b".into()], nodes: vec![NodeName("n2".into())] };
    let first = Backend {
        address: [10, 1, 0, 5].into(),
        ready: true,
        serving: true,
        terminating: false,
        node: Some(NodeName("n1".into())),
        pod: Some(ObjectName::new("shop", "web-1")),
        hints: Some(hints.into()),
    };
    let second = Backend {
        address: [10, 1, 0, 7].into(),
        ready: false,
        serving: true,
        terminating: true,
        node: None,
        pod: None,
        hints: None,
    };
    assert_eq!(found.backends, [first, second]);
    let seconds = trigger_time(&object).unwrap().duration_since(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(seconds.as_secs(), 1_767_323_045);
}

#[test]
fn slices_of_both_families_but_not_of_names_or_headless_services() {
    let six = slice("IPv6", "", "endpoints: [{addresses: ['fd00::7']}, {addresses: [10.1.0.1]}]");
    let found = super::slice(&six).unwrap();
    assert_eq!(found.backends.len(), 1);
    assert_eq!(found.backends[0].address, "fd00::7".parse::<std::net::IpAddr>().unwrap());
    let name = slice("FQDN", "", "endpoints: [{addresses: [db.example]}]");
    assert_eq!(super::slice(&name), None);
    let headless = slice("IPv4", ", service.kubernetes.io/headless: ''", "endpoints: []");
    assert_eq!(super::slice(&headless), None);
    let others = slice("IPv4", ", service.kubernetes.io/service-proxy-name: x", "endpoints: []");
    assert_eq!(super::slice(&others), None);
    let nobodys: EndpointSlice =
        parse("metadata: {namespace: a, name: b}\naddressType: IPv4\nendpoints: []");
    assert_eq!(super::slice(&nobodys), None);
}

#[test]
fn a_node_and_its_standing() {
    let yaml = "
metadata:
  name: n1
  labels: {topology.kubernetes.io/zone: a}
spec:
  podCIDR: 10.1.0.0/24
  podCIDRs: [10.1.0.0/24, 'fd00:1::/64']
status:
  addresses:
  - {type: Hostname, address: n1}
  - {type: InternalIP, address: 192.0.2.1}
  - {type: ExternalIP, address: 198.51.100.1}
  - {type: InternalIP, address: '2001:db8::1'}
";
    let found = super::node(&parse(yaml)).unwrap();
    assert_eq!(
        found,
        NodeAddress {
            node: NodeName("n1".into()),
            internal_ips: vec![[192, 0, 2, 1].into(), "2001:db8::1".parse().unwrap()],
            pod_cidrs: vec!["10.1.0.0/24".parse().unwrap(), "fd00:1::/64".parse().unwrap()],
            zone: Some("a".into()),
        }
    );
    let plain: Node = parse("metadata: {name: n2}\nspec: {podCIDR: 10.1.1.0/24}");
    let found = super::node(&plain).unwrap();
    assert_eq!((found.pod_cidrs.len(), found.zone), (1, None));
    assert_eq!(standing(&plain), Standing::Eligible);
    let tainted = "
metadata: {name: n2}
spec: {taints: [{key: ToBeDeletedByClusterAutoscaler, effect: NoSchedule}]}
";
    assert_eq!(standing(&parse(tainted)), Standing::Leaving);
    let deleted = "metadata: {name: n2, deletionTimestamp: '2026-01-02T03:04:05Z'}";
    assert_eq!(standing(&parse(deleted)), Standing::Leaving);
}
