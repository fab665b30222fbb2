//! What pods get from their account.

use beeline_api::kinds::SERVICE_ACCOUNT;

use super::*;

const PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Mounts of a container at the token's path, as `name:readOnly`.
fn mounts(container: &Value) -> Vec<String> {
    let all = container["volumeMounts"].as_array().into_iter().flatten();
    let here = all.filter(|mount| mount["mountPath"] == PATH);
    here.map(|m| format!("{}:{}", m["name"].as_str().unwrap_or("?"), m["readOnly"])).collect()
}

#[tokio::test]
async fn every_container_that_has_none_gets_a_token() {
    let bench = Bench::new().await;
    let made = bench
        .create(&POD, json!({ "metadata": { "name": "p" }, "spec": {
            "initContainers": [{ "name": "i", "image": "b" }],
            "containers": [
                { "name": "a", "image": "b" },
                { "name": "own", "image": "b", "volumeMounts": [{ "name": "v", "mountPath": PATH }] },
            ],
            "volumes": [{ "name": "v", "emptyDir": {} }],
        } }))
        .await
        .unwrap();
    let spec = &made.value["spec"];
    let volume = &spec["volumes"][1];
    let name = volume["name"].as_str().unwrap();
    assert!(name.len() == "kube-api-access-".len() + 5 && name.starts_with("kube-api-access-"));
    let token = json!({ "expirationSeconds": 3607, "path": "token" });
    assert_eq!(volume["projected"]["sources"][0]["serviceAccountToken"], token);
    assert_eq!(volume["projected"]["sources"][1]["configMap"]["name"], "kube-root-ca.crt");
    assert_eq!(volume["projected"]["sources"][2]["downwardAPI"]["items"][0]["path"], "namespace");
    let ours = vec![format!("{name}:true")];
    assert_eq!(mounts(&spec["initContainers"][0]), ours);
    assert_eq!(mounts(&spec["containers"][0]), ours);
    assert_eq!(mounts(&spec["containers"][1]), ["v:null"], "what is there stays");
}

#[tokio::test]
async fn the_pod_says_whether_it_wants_one_else_its_account_does() {
    let bench = Bench::new().await;
    for (name, automount) in [("plain", Value::Null), ("shy", json!(false)), ("open", json!(true))]
    {
        let account = json!({ "metadata": { "name": name }, "automountServiceAccountToken": automount,
            "imagePullSecrets": [{ "name": "pull" }] });
        bench.create(&SERVICE_ACCOUNT, account).await.unwrap();
    }
    for (account, own, gets) in [
        ("plain", Value::Null, true),
        ("shy", Value::Null, false),
        ("shy", json!(true), true),
        ("open", json!(false), false),
    ] {
        let mut wanted = pod(&format!("{account}-{own}"));
        wanted["spec"]["serviceAccountName"] = account.into();
        wanted["spec"]["automountServiceAccountToken"] = own.clone();
        let made = bench.create(&POD, wanted).await.unwrap();
        let spec = &made.value["spec"];
        assert_eq!(spec["volumes"].is_array(), gets, "{account}, {own}");
        assert_eq!(mounts(&spec["containers"][0]).len(), usize::from(gets), "{account}, {own}");
        assert_eq!(spec["serviceAccount"], account);
        assert_eq!(spec["imagePullSecrets"][0]["name"], "pull");
    }
}

#[tokio::test]
async fn mirror_pods_get_nothing_and_name_nothing() {
    let bench = Bench::new().await;
    let mut mirror = pod("m");
    mirror["metadata"]["annotations"] = json!({ "kubernetes.io/config.mirror": "x" });
    let made = bench.create(&POD, mirror.clone()).await.unwrap();
    assert!(made.value["spec"]["volumes"].is_null());
    mirror["metadata"]["name"] = "n".into();
    mirror["spec"]["serviceAccountName"] = "default".into();
    let refused = bench.create(&POD, mirror).await.unwrap_err();
    assert_eq!(
        refused.message,
        "pods \"n\" is forbidden: a mirror pod may not reference service accounts"
    );
}
