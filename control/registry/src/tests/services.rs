//! What Services are given, keep and give back.

use std::collections::BTreeSet;

use beeline_store::Embedded;

use super::*;

fn dual() -> Options {
    let cidrs = ["10.43.0.0/24", "fd43::/112"].map(|cidr| cidr.parse().unwrap());
    Options { service_cidrs: cidrs.to_vec(), node_ports: (30_000, 30_009), ..Options::default() }
}

impl Bench {
    async fn service(&self, name: &str, spec: Value) -> Result<Arc<Object>, ApiError> {
        self.create(&SERVICE, service(name, &json!({ "spec": spec }))).await
    }

    async fn change(&self, name: &str, spec: Value) -> Result<Value, ApiError> {
        let changed = self.merge(&self.one(&SERVICE, name), json!({ "spec": spec })).await?;
        Ok(changed.value["spec"].clone())
    }

    fn held(&self) -> (usize, usize) {
        self.registry.inner.allocations.held()
    }
}

fn why(error: &ApiError) -> &str {
    error.message.split_once(" is invalid: ").map_or(&error.message, |(_, why)| why)
}

#[tokio::test]
async fn families_follow_policy_addresses_and_cluster() {
    let bench = Bench::with(dual()).await;
    let cases = [
        (json!({}), "SingleStack", "[\"IPv4\"]", 1),
        (
            json!({ "ipFamilyPolicy": "PreferDualStack" }),
            "PreferDualStack",
            "[\"IPv4\",\"IPv6\"]",
            2,
        ),
        (
            json!({ "ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv6"] }),
            "RequireDualStack",
            "[\"IPv6\",\"IPv4\"]",
            2,
        ),
        (json!({ "ipFamilies": ["IPv6"] }), "SingleStack", "[\"IPv6\"]", 1),
        (json!({ "clusterIP": "fd43::77" }), "SingleStack", "[\"IPv6\"]", 1),
        (
            json!({ "clusterIP": "fd43::78", "clusterIPs": ["fd43::78", "10.43.0.78"], "ipFamilyPolicy": "PreferDualStack" }),
            "PreferDualStack",
            "[\"IPv6\",\"IPv4\"]",
            2,
        ),
        (json!({ "clusterIP": "None" }), "RequireDualStack", "[\"IPv4\",\"IPv6\"]", 1),
        (json!({ "clusterIP": "None", "selector": { "a": "b" } }), "SingleStack", "[\"IPv4\"]", 1),
    ];
    for (i, (spec, policy, families, ips)) in cases.into_iter().enumerate() {
        let made = bench.service(&format!("s{i}"), spec.clone()).await.unwrap();
        let got = &made.value["spec"];
        assert_eq!(got["ipFamilyPolicy"], policy, "{spec}");
        assert_eq!(got["ipFamilies"].to_string(), families, "{spec}");
        assert_eq!(got["clusterIPs"].as_array().unwrap().len(), ips, "{spec}");
        assert_eq!(got["clusterIP"], got["clusterIPs"][0], "{spec}");
    }
    let refused = bench.service("x", json!({ "ipFamilies": ["IPv4", "IPv6"] })).await.unwrap_err();
    assert_eq!(
        why(&refused),
        "spec.ipFamilyPolicy: Invalid value: \"SingleStack\": must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified"
    );
}

#[tokio::test]
async fn a_cluster_of_one_family_says_so() {
    let bench = Bench::new().await;
    let prefers = bench.service("p", json!({ "ipFamilyPolicy": "PreferDualStack" })).await.unwrap();
    assert_eq!(prefers.value["spec"]["ipFamilies"], json!(["IPv4"]));
    let cases = [
        (
            json!({ "ipFamilyPolicy": "RequireDualStack" }),
            "spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": this cluster is not configured for dual-stack services",
        ),
        (
            json!({ "ipFamilies": ["IPv6"] }),
            "spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured on this cluster",
        ),
        (
            json!({ "clusterIP": "fd43::5" }),
            "spec.clusterIPs[0]: Invalid value: [\"fd43::5\"]: IPv6 is not configured on this cluster",
        ),
    ];
    for (spec, expected) in cases {
        let refused = bench.service("x", spec).await.unwrap_err();
        assert_eq!((refused.code, why(&refused)), (422, expected));
    }
    assert_eq!(bench.held().0, 2, "the API's and one more");
}

#[tokio::test]
async fn a_second_family_comes_and_goes_by_policy() {
    let bench = Bench::with(dual()).await;
    let first = bench.service("s", json!({})).await.unwrap().value["spec"]["clusterIP"].clone();
    let wide = bench.change("s", json!({ "ipFamilyPolicy": "PreferDualStack" })).await.unwrap();
    assert_eq!((wide["clusterIPs"][0].clone(), bench.held().0), (first.clone(), 2));
    assert!(wide["clusterIPs"][1].as_str().unwrap().starts_with("fd43::"));
    let narrow = json!({ "clusterIPs": [first], "ipFamilies": ["IPv4"] });
    let refused = bench.change("s", narrow).await.unwrap_err();
    assert!(
        why(&refused).contains("must be 'SingleStack' to release the secondary cluster IP"),
        "{refused}"
    );
    let narrow = bench.change("s", json!({ "ipFamilyPolicy": "SingleStack" })).await.unwrap();
    assert_eq!(
        (narrow["clusterIPs"].clone(), narrow["ipFamilies"].clone()),
        (json!([first]), json!(["IPv4"]))
    );
    assert_eq!(bench.held().0, 1);
    let named =
        json!({ "type": "ExternalName", "externalName": "a.example", "ipFamilyPolicy": null });
    let named = bench.change("s", named).await.unwrap();
    assert!(named["clusterIP"].is_null() && named["ipFamilies"].is_null(), "{named}");
    assert_eq!(bench.held(), (0, 0));
    let back =
        bench.change("s", json!({ "type": "ClusterIP", "externalName": null })).await.unwrap();
    assert_eq!((back["ipFamilyPolicy"].clone(), bench.held().0), (json!("SingleStack"), 1));
}

#[tokio::test]
async fn node_ports_are_one_pool_and_come_back() {
    let bench = Bench::with(dual()).await;
    let ports = json!([
        { "name": "t", "port": 53, "protocol": "TCP" },
        { "name": "u", "port": 53, "protocol": "UDP" },
        { "name": "s", "port": 54, "protocol": "SCTP", "nodePort": 30_007 },
    ]);
    let made = bench.service("dns", json!({ "type": "NodePort", "ports": ports })).await.unwrap();
    let got = &made.value["spec"]["ports"];
    assert_eq!(got[0]["nodePort"], got[1]["nodePort"], "one number for both protocols");
    assert_eq!((got[2]["nodePort"].clone(), bench.held().1), (json!(30_007), 2));
    let wish =
        |port: i64| json!({ "type": "NodePort", "ports": [{ "port": 80, "nodePort": port }] });
    let refused = bench.service("x", wish(30_007)).await.unwrap_err();
    assert_eq!(
        why(&refused),
        "spec.ports[0].nodePort: Invalid value: 30007: provided port is already allocated"
    );
    let refused = bench.service("x", wish(80)).await.unwrap_err();
    assert!(why(&refused).ends_with("The range of valid ports is 30000-30009"), "{refused}");
    let plain = bench.change("dns", json!({ "type": "ClusterIP" })).await.unwrap();
    assert!(plain["ports"][0]["nodePort"].is_null());
    assert_eq!(bench.held().1, 0);
    for i in 0..10 {
        bench.service(&format!("n{i}"), json!({ "type": "NodePort" })).await.unwrap();
    }
    let full = bench.service("x", json!({ "type": "NodePort" })).await.unwrap_err();
    assert!(why(&full).contains("range is full"), "{full}");
    assert_eq!(bench.held(), (11, 10));
}

#[tokio::test]
async fn load_balancers_get_a_health_check_port_while_they_are_local() {
    let bench = Bench::with(dual()).await;
    let local = json!({ "type": "LoadBalancer", "externalTrafficPolicy": "Local" });
    let made = bench.service("s", local.clone()).await.unwrap();
    let port = made.value["spec"]["healthCheckNodePort"].clone();
    assert!(port.is_i64() || port.is_u64());
    assert_eq!(bench.held().1, 2);
    let mut bare = service("s", &json!({ "spec": local }));
    bare["spec"]["allocateLoadBalancerNodePorts"] = json!(false);
    let kept = bench.update(&bench.one(&SERVICE, "s"), bare).await.unwrap();
    assert_eq!(kept.value["spec"]["healthCheckNodePort"], port);
    assert_eq!(bench.held().1, 2, "node ports that are there stay");
    let moved = bench.change("s", json!({ "healthCheckNodePort": 30_000 })).await;
    let moved = if port == 30_000 { None } else { Some(moved.unwrap_err()) };
    assert!(
        moved.is_none_or(|e| why(&e) == "spec.healthCheckNodePort: Forbidden: field is immutable")
    );
    let wide = bench.change("s", json!({ "externalTrafficPolicy": "Cluster" })).await.unwrap();
    assert!(wide["healthCheckNodePort"].is_null());
    assert_eq!(bench.held().1, 1);
    let none = json!({ "type": "LoadBalancer", "allocateLoadBalancerNodePorts": false });
    bench.service("t", none).await.unwrap();
    assert_eq!(bench.held().1, 1);
    let taken = json!({ "type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": wide["ports"][0]["nodePort"] });
    let refused = bench.service("u", taken).await.unwrap_err();
    assert!(
        why(&refused).contains("failed to allocate requested HealthCheck NodePort"),
        "{refused}"
    );
    assert_eq!(bench.held(), (2, 1));
}

#[tokio::test]
async fn the_status_holds_addresses_with_a_mode() {
    let bench = Bench::new().await;
    bench.service("s", json!({ "type": "LoadBalancer" })).await.unwrap();
    let target = bench.one(&SERVICE, "s").sub(Subresource::Status);
    let status = |ingress: Value| json!({ "status": { "loadBalancer": { "ingress": ingress } } });
    let made = bench.merge(&target, status(json!([{ "ip": "192.0.2.1" }]))).await.unwrap();
    let ingress = &made.value["status"]["loadBalancer"]["ingress"];
    assert_eq!(*ingress, json!([{ "ip": "192.0.2.1", "ipMode": "VIP" }]));
    let refused = bench.merge(&target, status(json!([{ "ip": "x" }]))).await.unwrap_err();
    assert!(
        why(&refused).starts_with("status.loadBalancer.ingress[0].ip: Invalid value"),
        "{refused}"
    );
    let target = bench.one(&SERVICE, "s");
    let plain = bench.merge(&target, json!({ "spec": { "type": "ClusterIP" } })).await;
    assert_eq!(plain.unwrap().value["status"]["loadBalancer"], json!({}));
}

/// Random writes, some refused and some in a race; then what is held must be what a reopened registry finds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_leaks_over_refusals_races_and_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let tasks = Tasks::new();
    let store =
        Embedded::open(dir.path(), beeline_store::Options::default(), &tasks).await.unwrap();
    let registry = Registry::open(store.clone(), dual(), &tasks).await.unwrap();
    let mut writers = Vec::new();
    for writer in 0..4_usize {
        let registry = registry.clone();
        writers.push(async move {
            let bench = Bench { registry, caller: Caller::system("test"), _tasks: Tasks::new() };
            for step in 0..60_usize {
                let name = format!("s{}", (writer + step) % 5);
                let target = bench.one(&SERVICE, &name);
                let done = match (step + writer) % 6 {
                    0 => bench.service(&name, json!({ "type": "NodePort" })).await.err(),
                    1 => bench
                        .change(&name, json!({ "ipFamilyPolicy": "PreferDualStack" }))
                        .await
                        .err(),
                    2 => bench
                        .change(
                            &name,
                            json!({ "type": "LoadBalancer", "externalTrafficPolicy": "Local" }),
                        )
                        .await
                        .err(),
                    3 => bench
                        .change(&name, json!({ "type": "NodePort", "ports": [{ "port": 0 }] }))
                        .await
                        .err(),
                    4 => bench.change(&name, json!({ "type": "ClusterIP" })).await.err(),
                    _ => bench.delete(&target, DeleteOptions::default()).await.err(),
                };
                drop(done);
            }
        });
    }
    futures::future::join_all(writers).await;
    let live = registry.inner.allocations.held();
    let stored = registry.snapshot(&SERVICE, None);
    let ips: BTreeSet<String> = stored
        .iter()
        .flat_map(|s| s.value["spec"]["clusterIPs"].as_array().cloned().unwrap_or_default())
        .map(|ip| ip.to_string())
        .collect();
    assert_eq!(live.0, ips.len());
    store.close().await;
    tasks.stop(Duration::from_secs(5)).await;
    drop((registry, store));
    let tasks = Tasks::new();
    let store =
        Embedded::open(dir.path(), beeline_store::Options::default(), &tasks).await.unwrap();
    let registry = Registry::open(store.clone(), dual(), &tasks).await.unwrap();
    assert_eq!(registry.inner.allocations.held(), live);
    store.close().await;
    tasks.stop(Duration::from_secs(5)).await;
}
