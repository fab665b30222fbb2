//! Callers outside the cluster, on the same switch as its nodes: node ports, load balancer addresses, health checks, refusal.

use std::collections::BTreeSet;

use beeline_test_cluster::{HELLO, LIMIT, import_image};
use beeline_test_support::{Cluster, Net, Node, eventually, skip, within};

/// The example app on both nodes, and Services for the world.
fn deploy(cluster: &Cluster) -> anyhow::Result<()> {
    for node in &cluster.nodes {
        import_image(node, "hello:1")?;
    }
    let kubectl = cluster.nodes[0].kubectl();
    kubectl.apply(HELLO);
    kubectl.run(&["rollout", "status", "deploy/hello", "--timeout=90s"]);
    kubectl.apply(
        r"
apiVersion: v1
kind: Service
metadata: { name: everywhere }
spec:
  type: NodePort
  selector: { app: hello }
  ports: [{ port: 80, targetPort: 8080 }]
---
apiVersion: v1
kind: Service
metadata: { name: balanced }
spec:
  type: LoadBalancer
  externalTrafficPolicy: Local
  selector: { app: hello }
  ports: [{ port: 8000, targetPort: 8080 }]
",
    );
    Ok(())
}

/// One request: the answer, or curl's exit code.
fn request(from: &Net, url: &str) -> String {
    let output = from.command("curl").args(["-s", "-m", "5", url]).output().expect("curl runs");
    match output.status.code() {
        Some(0) => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        code => format!("curl {code:?}"),
    }
}

fn path(node: &Node, service: &str, path: &str) -> String {
    node.kubectl().run(&["get", "service", service, "-o", &format!("jsonpath={{{path}}}")])
}

#[test]
fn the_world_reaches_services_by_any_node() -> anyhow::Result<()> {
    if skip() {
        return Ok(());
    }
    let cluster = Cluster::up(1)?;
    let world = cluster.outsider("192.0.2.200/24")?;
    deploy(&cluster)?;
    let server = &cluster.nodes[0];
    let port = path(server, "everywhere", ".spec.ports[0].nodePort");
    for address in ["192.0.2.1", "192.0.2.2"] {
        let url = format!("http://{address}:{port}/");
        within(LIMIT, &format!("three pods behind {url}"), || {
            let answers: BTreeSet<String> = (0..12).map(|_| request(&world, &url)).collect();
            let good = answers.len() == 3 && answers.iter().all(|it| it.starts_with("hello-"));
            if good { Ok(()) } else { Err(format!("{answers:?}")) }
        });
    }
    // The nodes' own addresses are the balancer's; each serves from its own pods only, and says whether it has any.
    let addresses = within(LIMIT, "the balancer's addresses", || {
        let found = path(server, "balanced", ".status.loadBalancer.ingress[*].ip");
        if found.is_empty() { Err(found) } else { Ok(found) }
    });
    let check = path(server, "balanced", ".spec.healthCheckNodePort");
    for address in addresses.split_whitespace() {
        let url = format!("http://{address}:8000/");
        eventually(LIMIT, &url, || request(&world, &url).starts_with("hello-"));
        let health = request(&world, &format!("http://{address}:{check}/"));
        assert!(health.contains("\"serviceProxyHealthy\":true"), "{health}");
    }
    // Nobody left: refused at once, which is curl's 7.
    server.kubectl().run(&["scale", "deploy/hello", "--replicas=0"]);
    let url = format!("http://192.0.2.2:{port}/");
    within(LIMIT, "a refusal", || match request(&world, &url) {
        refused if refused == "curl Some(7)" => Ok(()),
        other => Err(other),
    });
    Ok(())
}
