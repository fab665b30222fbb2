//! `beeline proxy` in the place of kube-proxy: an API server elsewhere, pods that are other people's, nothing of ours
//! but the dataplane.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener},
    process::Output,
};

use beeline_test_cluster::LIMIT;
use beeline_test_support::{Kubectl, Net, Node, NodeOptions, skip, within};

const SERVER: &str = "192.0.2.1";
const NODE: &str = "192.0.2.2";
const VIP: &str = "10.43.0.50";
const HEALTH_PORT: u16 = 31_500;
/// Pods of the node; the third calls.
const PODS: [Ipv4Addr; 3] =
    [Ipv4Addr::new(10, 9, 0, 2), Ipv4Addr::new(10, 9, 1, 2), Ipv4Addr::new(10, 9, 2, 2)];

const OBJECTS: &str = r#"
apiVersion: v1
kind: Service
metadata: { name: web }
spec:
  type: LoadBalancer
  clusterIP: 10.43.0.50
  externalTrafficPolicy: Local
  healthCheckNodePort: 31500
  ports: [{ name: http, port: 80, targetPort: 8080 }]
---
apiVersion: v1
kind: Service
metadata: { name: others, labels: { service.kubernetes.io/service-proxy-name: another } }
spec:
  clusterIP: 10.43.0.51
  ports: [{ port: 80 }]
"#;

/// An API server, a node with pods of somebody else's, and the proxy. The proxy goes first.
struct World {
    proxy: Node,
    pods: Vec<Net>,
    server: Node,
    _switch: Net,
}

impl World {
    fn new() -> anyhow::Result<Self> {
        let switch = Net::new()?;
        switch.bridge()?;
        let net = |number: u8| -> anyhow::Result<Net> {
            let net = Net::new()?;
            net.plug(&switch, &format!("p{number}"), &format!("192.0.2.{number}/24"))?;
            Ok(net)
        };
        let options = |name: &str, arguments: &[String]| NodeOptions {
            name: name.into(),
            command: name.into(),
            arguments: arguments.to_vec(),
        };
        let listen = [format!("--listen={SERVER}:6443")];
        let mut server = Node::new(net(1)?, options("server", &listen))?;
        server.start()?;
        let node = net(2)?;
        let pods = PODS
            .iter()
            .enumerate()
            .map(|(number, address)| pod(&node, number, *address))
            .collect::<anyhow::Result<Vec<Net>>>()?;
        let arguments = [
            format!("--kubeconfig={}", server.data_dir().join("admin.kubeconfig").display()),
            "--uplink=eth0".into(),
        ];
        let proxy = Node::new(node, options("proxy", &arguments))?;
        Ok(Self { proxy, pods, server, _switch: switch })
    }

    fn kubectl(&self) -> Kubectl {
        self.server.kubectl()
    }

    /// Calls the Service from the pod that serves nothing, once.
    fn call(&self) -> Output {
        let join = format!("echo $$ > {}/cgroup.procs", self.proxy.cgroup().display());
        let script = format!("{join} && curl -sS -m 3 http://{VIP}/");
        self.pods[2].command("bash").args(["-c", &script]).output().expect("bash is there")
    }

    #[track_caller]
    fn answers(&self, expected: Ipv4Addr) {
        within(LIMIT, "the Service answers", || {
            let output = self.call();
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            if said == expected.to_string() {
                return Ok(());
            }
            Err(format!("{said:?} {}", String::from_utf8_lossy(&output.stderr)))
        });
    }

    /// Status and body of one of the proxy's own ports, asked on its node.
    fn get(&self, host: &str, port: u16, path: &str) -> (u16, String) {
        let url = format!("http://{host}:{port}{path}");
        let mut curl = self.proxy.net.command("curl");
        let output = curl.args(["-s", "-m", "3", "-w", "\n%{http_code}", &url]).output();
        let text = String::from_utf8_lossy(&output.expect("curl is there").stdout).into_owned();
        let (body, code) = text.rsplit_once('\n').unwrap_or_default();
        (code.parse().unwrap_or(0), body.to_owned())
    }

    fn metric(&self, line: &str) -> f64 {
        let (code, text) = self.get("127.0.0.1", 10249, "/metrics");
        assert_eq!(code, 200, "{text}");
        let found = text.lines().find_map(|found| found.strip_prefix(line)?.trim().parse().ok());
        found.unwrap_or_else(|| panic!("{line} is not in\n{text}"))
    }
}

/// A namespace behind a link of the node, with a server that says where it is.
fn pod(node: &Net, number: usize, address: Ipv4Addr) -> anyhow::Result<Net> {
    let pod = Net::new()?;
    let gateway = Ipv4Addr::from(u32::from(address) - 1);
    let (ours, theirs) = (format!("{gateway}/24"), format!("{address}/24"));
    node.connect(&pod, &format!("pod{number}"), &ours, &theirs)?;
    pod.ip(&format!("route add 10.9.0.0/16 via {gateway}"))?;
    node.command("sysctl").args(["-qw", "net.ipv4.ip_forward=1"]).status()?;
    let listener =
        beeline_sys::netns::inside(&pod.path(), || Ok(TcpListener::bind((address, 8080))))??;
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let _ = stream.read(&mut [0; 1024]);
            let body = address.to_string();
            let length = body.len();
            let head =
                format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
            let _ = stream.write_all((head + &body).as_bytes());
        }
    });
    Ok(pod)
}

fn slice(addresses: &[Ipv4Addr]) -> String {
    let endpoints = addresses
        .iter()
        .map(|address| format!("  - {{ addresses: [\"{address}\"], nodeName: proxy }}\n"))
        .collect::<String>();
    format!(
        "
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{ name: web-1, labels: {{ kubernetes.io/service-name: web }} }}
addressType: IPv4
ports: [{{ name: http, port: 8080 }}]
endpoints:
{endpoints}"
    )
}

#[test]
fn a_proxy_alone_does_what_kube_proxy_does() -> anyhow::Result<()> {
    if skip() {
        return Ok(());
    }
    let mut world = World::new()?;
    let kubectl = world.kubectl();
    kubectl.apply(OBJECTS);
    kubectl.apply(&slice(&PODS[..1]));
    world.proxy.start()?;

    world.answers(PODS[0]);
    kubectl.apply(&slice(&PODS[1..2]));
    world.answers(PODS[1]);
    let services = world.proxy.ask(&["services"]);
    assert!(services.contains("default/web") && !services.contains("default/others"), "{services}");

    // The ports that kube-proxy has.
    let (code, body) = world.get(NODE, 10256, "/healthz");
    assert_eq!(code, 200, "{body}");
    let body: serde_json::Value = serde_json::from_str(&body)?;
    assert_eq!(body["nodeEligible"], true);
    assert_eq!(body["lastUpdated"], body["currentTime"]);
    assert_eq!(world.get(NODE, 10256, "/livez").0, 200);
    assert_eq!(world.get("127.0.0.1", 10249, "/proxyMode"), (200, "ebpf".into()));
    assert_eq!(world.get("127.0.0.1", 10249, "/healthz"), (200, "ok".into()));
    assert_eq!(world.metric("kubeproxy_proxy_healthz_total{code=\"200\"} "), 1.0);
    assert!(world.metric("kubeproxy_sync_proxy_rules_duration_seconds_count ") >= 2.0);
    assert!(world.metric("kubeproxy_sync_proxy_rules_endpoint_changes_total ") >= 2.0);
    assert_eq!(world.metric("kubeproxy_sync_proxy_rules_endpoint_changes_pending "), 0.0);
    assert!(world.metric("kubeproxy_sync_proxy_rules_last_timestamp_seconds ") > 1.0e9);
    assert!(world.metric("beeline_datapath_translated_total ") >= 2.0);
    asked_by_load_balancers(&world, &kubectl);
    leaves(&world, &kubectl);
    alone(&mut world)
}

fn asked_by_load_balancers(world: &World, kubectl: &Kubectl) {
    let asked = |expected: (u16, &str)| {
        within(LIMIT, "the health check answers", || {
            let (code, body) = world.get(NODE, HEALTH_PORT, "/");
            let ok = code == expected.0 && body.contains(expected.1);
            if ok { Ok(()) } else { Err(format!("{code} {body}")) }
        });
    };
    asked((200, r#""localEndpoints":1,"serviceProxyHealthy":true"#));
    kubectl.apply(&slice(&[]));
    asked((503, r#""localEndpoints":0"#));
    // Nobody is left: refused at once (curl's 7), not left waiting until the limit (28).
    within(LIMIT, "refusal", || match world.call().status.code() {
        Some(7) => Ok(()),
        other => Err(format!("curl ended with {other:?}")),
    });
    kubectl.apply(&slice(&PODS[..1]));
    asked((200, r#""localEndpoints":1"#));
    world.answers(PODS[0]);
}

/// A node that the autoscaler is about to remove is to get no more traffic.
fn leaves(world: &World, kubectl: &Kubectl) {
    kubectl.apply("apiVersion: v1\nkind: Node\nmetadata: { name: proxy }\n");
    let taint = "ToBeDeletedByClusterAutoscaler=1:NoSchedule";
    let health = |expected: u16, eligible: &str| {
        within(LIMIT, "health follows the node", || {
            let (code, body) = world.get(NODE, 10256, "/healthz");
            let ok = code == expected && body.contains(eligible);
            if ok { Ok(()) } else { Err(format!("{code} {body}")) }
        });
        assert_eq!(world.get(NODE, 10256, "/livez").0, 200, "the proxy itself is well");
    };
    kubectl.run(&["taint", "node", "proxy", taint]);
    health(503, "\"nodeEligible\":false");
    kubectl.run(&["taint", "node", "proxy", &format!("{taint}-")]);
    health(200, "\"nodeEligible\":true");
}

/// First the API server goes, then the proxy, then the proxy comes back; calls go on all the while.
fn alone(world: &mut World) -> anyhow::Result<()> {
    world.server.kill();
    world.answers(PODS[0]);
    assert_eq!(world.get(NODE, 10256, "/healthz").0, 200, "nothing waits for the kernel");
    world.proxy.kill();
    for _ in 0..20 {
        let output = world.call();
        assert_eq!(String::from_utf8_lossy(&output.stdout), PODS[0].to_string());
    }
    world.proxy.spawn()?;
    within(LIMIT, "the proxy is back", || {
        let (code, _) = world.get(NODE, 10256, "/livez");
        if code == 200 { Ok(()) } else { Err(world.proxy.log()) }
    });
    world.answers(PODS[0]);
    assert!(world.proxy.log().contains("adopted=true"), "{}", world.proxy.log());
    // The server is back: what it says now holds.
    world.server.start()?;
    world.kubectl().apply(&slice(&PODS[1..2]));
    world.answers(PODS[1]);
    Ok(())
}
