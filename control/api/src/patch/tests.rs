use super::*;
use serde_json::json;

mod owners;

#[test]
fn strategic_merges_by_key() {
    let pod = json!({"spec": {"containers": [{"name": "a", "image": "1", "env": [{"name": "X", "value": "1"}]}, {"name": "b", "image": "1"}],
        "nodeSelector": {"x": "y"}, "tolerations": [{"key": "k"}]}});
    let cases = [
        (
            json!({"spec": {"containers": [{"name": "a", "image": "2"}]}}),
            "/spec/containers/0/image",
            json!("2"),
        ),
        (
            json!({"spec": {"containers": [{"name": "a", "image": "2"}]}}),
            "/spec/containers/0/env/0/value",
            json!("1"),
        ),
        (
            json!({"spec": {"containers": [{"name": "b", "$patch": "delete"}]}}),
            "/spec/containers",
            json!([pod["spec"]["containers"][0]]),
        ),
        (
            json!({"spec": {"containers": [{"$patch": "replace"}, {"name": "z"}]}}),
            "/spec/containers",
            json!([{"name": "z"}]),
        ),
        (json!({"spec": {"nodeSelector": {"x": null}}}), "/spec/nodeSelector", json!({})),
        (
            json!({"spec": {"nodeSelector": {"$patch": "replace", "q": "r"}}}),
            "/spec/nodeSelector",
            json!({"q": "r"}),
        ),
        (
            json!({"spec": {"tolerations": [{"key": "l"}]}}),
            "/spec/tolerations",
            json!([{"key": "l"}]),
        ),
        (
            json!({"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}}),
            "/spec/containers/0/name",
            json!("b"),
        ),
        (json!({"metadata": {"finalizers": ["x/y"]}}), "/metadata/finalizers", json!(["x/y"])),
    ];
    for (patch, pointer, wanted) in cases {
        let out = strategic(pod.clone(), &patch, crate::kinds::POD.schema()).unwrap();
        assert_eq!(out.pointer(pointer), Some(&wanted), "{patch}");
    }
    let bad = strategic(
        pod,
        &json!({"spec": {"containers": [{"image": "2"}]}}),
        crate::kinds::POD.schema(),
    )
    .unwrap_err();
    assert!(bad.message.contains("does not contain declared merge key: name"), "{bad}");
}

#[test]
fn strategic_directives() {
    let deploy = json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}, "metadata": {"finalizers": ["a/a", "b/b"]}});
    let patch = json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}, "metadata": {"$deleteFromPrimitiveList/finalizers": ["a/a"]}});
    let out = strategic(deploy, &patch, crate::kinds::DEPLOYMENT.schema()).unwrap();
    assert_eq!(
        out,
        json!({"spec": {"strategy": {"type": "Recreate"}}, "metadata": {"finalizers": ["b/b"]}})
    );
}

/// New items go before those that the patch does not name; what both sides know keeps its place or the given order.
#[test]
fn strategic_orders_lists_as_upstream() {
    let names = |all: &[&str]| Value::Array(all.iter().map(|n| json!({"name": n})).collect());
    type Case<'a> = (&'a [&'a str], Option<&'a [&'a str]>, &'a [&'a str]);
    let cases: [Case<'_>; 4] = [
        (&["new"], None, &["new", "a", "b"]),
        (&["b"], None, &["a", "b"]),
        (&["b", "new"], None, &["a", "b", "new"]),
        (&["new"], Some(&["b", "new"]), &["a", "b", "new"]),
    ];
    for (patch, order, wanted) in cases {
        let pod = json!({"spec": {"containers": names(&["a", "b"])}});
        let mut change = json!({"spec": {"containers": names(patch)}});
        if let Some(order) = order {
            change["spec"]["$setElementOrder/containers"] = names(order);
        }
        let out = strategic(pod, &change, crate::kinds::POD.schema()).unwrap();
        assert_eq!(out["spec"]["containers"], names(wanted), "{change}");
    }
}

#[test]
fn json_and_merge_patches() {
    let object = json!({"a": {"b": 1, "c": 2}});
    let ops = json!([{"op": "test", "path": "/a/b", "value": 1}, {"op": "replace", "path": "/a/b", "value": 3}]);
    assert_eq!(json(object.clone(), &ops).unwrap()["a"]["b"], 3);
    assert_eq!(
        json(object.clone(), &json!([{"op": "test", "path": "/a/b", "value": 2}]))
            .unwrap_err()
            .code,
        422
    );
    assert_eq!(merge(object, &json!({"a": {"c": null}})).unwrap(), json!({"a": {"b": 1}}));
}
