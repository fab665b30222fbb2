//! Services as kubectl makes, changes and shows them.

use serde_json::json;

use crate::fixture::Fixture;
use crate::kubectl::Kubectl;

/// The words of one line of a table.
fn words(text: &str, line: usize) -> Vec<String> {
    let line = text.lines().nth(line).unwrap_or_default();
    line.split_whitespace().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exposed_changed_and_described() {
    let fixture = Fixture::start_with(|_| {}).await;
    let Some(kubectl) = Kubectl::new(&fixture) else { return fixture.stop().await };
    kubectl.run(&["create", "deployment", "web", "--image=nginx", "--port=80"]).await;
    kubectl
        .run(&["expose", "deployment", "web", "--type=LoadBalancer", "--target-port=http"])
        .await;
    let shown = words(&kubectl.run(&["get", "service", "web", "--no-headers"]).await, 0);
    assert_eq!((shown[1].as_str(), shown[3].as_str()), ("LoadBalancer", "<pending>"), "{shown:?}");
    let ports = shown[4].strip_prefix("80:").and_then(|p| p.strip_suffix("/TCP"));
    let node_port: u16 = ports.unwrap().parse().unwrap();
    assert!((30_000..=32_767).contains(&node_port));

    let ingress = json!({ "loadBalancer": { "ingress": [{ "ip": "192.0.2.1" }] } });
    fixture.set_status("", "services", "web", ingress).await;
    let shown = words(&kubectl.run(&["get", "service", "web", "--no-headers"]).await, 0);
    assert_eq!(shown[3], "192.0.2.1");

    let local = r#"{"spec":{"externalTrafficPolicy":"Local","sessionAffinity":"ClientIP","loadBalancerSourceRanges":["192.0.2.0/24"],"trafficDistribution":"PreferSameNode"}}"#;
    kubectl.run(&["patch", "service", "web", "-p", local]).await;
    let text = kubectl.run(&["describe", "service", "web"]).await;
    let value = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        line.map(|line| line[name.len()..].trim().to_owned()).unwrap_or_default()
    };
    assert_eq!(value("Type:"), "LoadBalancer", "{text}");
    assert_eq!(value("IP Families:"), "IPv4", "{text}");
    assert_eq!(value("Session Affinity:"), "ClientIP", "{text}");
    assert_eq!(value("External Traffic Policy:"), "Local", "{text}");
    let health: u16 = value("HealthCheck NodePort:").parse().unwrap();
    assert!((30_000..=32_767).contains(&health) && health != node_port, "{text}");
    assert_eq!(value("LoadBalancer Source Ranges:"), "192.0.2.0/24", "{text}");

    let narrow = r#"{"spec":{"type":"ClusterIP","loadBalancerSourceRanges":null}}"#;
    kubectl.run(&["patch", "service", "web", "-p", narrow]).await;
    let shown = words(&kubectl.run(&["get", "service", "web", "--no-headers"]).await, 0);
    assert_eq!((shown[1].as_str(), shown[4].as_str()), ("ClusterIP", "80/TCP"), "{shown:?}");
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_is_said_in_upstreams_words() {
    let fixture = Fixture::start_with(|_| {}).await;
    let Some(kubectl) = Kubectl::new(&fixture) else { return fixture.stop().await };
    kubectl.run(&["create", "service", "nodeport", "a", "--tcp=80", "--node-port=30080"]).await;
    let taken = ["create", "service", "nodeport", "b", "--tcp=80", "--node-port=30080"];
    let said = kubectl.fail(&taken, "").await;
    assert!(
        said.contains(
            "spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated"
        ),
        "{said}"
    );
    let range = r#"{"spec":{"loadBalancerSourceRanges":["192.0.2.0/24"]}}"#;
    let said = kubectl.fail(&["patch", "service", "a", "-p", range], "").await;
    assert!(
        said.contains("spec.LoadBalancerSourceRanges: Forbidden: may only be used when `type` is 'LoadBalancer'"),
        "{said}"
    );
    let dual = r#"{"spec":{"ipFamilyPolicy":"RequireDualStack"}}"#;
    let said = kubectl.fail(&["patch", "service", "a", "-p", dual], "").await;
    assert!(said.contains("this cluster is not configured for dual-stack services"), "{said}");
    kubectl.run(&["delete", "service", "a"]).await;
    kubectl.run(&taken).await;
    kubectl.run(&["create", "service", "externalname", "out", "--external-name=a.example"]).await;
    let shown = words(&kubectl.run(&["get", "service", "out", "--no-headers"]).await, 0);
    assert_eq!(shown[1..5], ["ExternalName", "<none>", "a.example", "<none>"]);
    fixture.stop().await;
}
