//! What Pods and volumes name. In: objects as stored. Out: names of others. Pure.

use beeline_api::meta::{list, name, namespace, text};
use beeline_auth::nodes::{Named, Referred, Volume};
use serde_json::Value;

/// Volumes of Pods with a Secret of the Pod's namespace: the source, and where in it the name is.
const POD_VOLUME_SECRETS: [(&str, &str); 10] = [
    ("azureFile", "/secretName"),
    ("cephfs", "/secretRef/name"),
    ("cinder", "/secretRef/name"),
    ("csi", "/nodePublishSecretRef/name"),
    ("flexVolume", "/secretRef/name"),
    ("iscsi", "/secretRef/name"),
    ("rbd", "/secretRef/name"),
    ("scaleIO", "/secretRef/name"),
    ("secret", "/secretName"),
    ("storageos", "/secretRef/name"),
];

/// Volumes of the cluster with a Secret that nodes need.
const VOLUME_SECRETS: [(&str, &str); 10] = [
    ("cephfs", "secretRef"),
    ("cinder", "secretRef"),
    ("csi", "nodePublishSecretRef"),
    ("csi", "nodeStageSecretRef"),
    ("csi", "nodeExpandSecretRef"),
    ("flexVolume", "secretRef"),
    ("iscsi", "secretRef"),
    ("rbd", "secretRef"),
    ("scaleIO", "secretRef"),
    ("storageos", "secretRef"),
];

/// All that a node needs to run a Pod. A mirror Pod gives its node nothing: it was the node that made it.
pub(super) fn of_pod(pod: &Value) -> Vec<Named> {
    if is_mirror(pod) {
        return Vec::new();
    }
    let (spec, space) = (&pod["spec"], namespace(pod));
    let mut found = Vec::new();
    let mut add = |kind, name: &str| {
        if !name.is_empty() {
            found.push(Named::new(kind, space, name));
        }
    };
    add(Referred::Account, text(spec, "serviceAccountName"));
    secrets(pod).for_each(|name| add(Referred::Secret, name));
    config_maps(pod).for_each(|name| add(Referred::ConfigMap, name));
    for volume in list(spec, "volumes") {
        add(Referred::Claim, text(&volume["persistentVolumeClaim"], "claimName"));
        if volume["ephemeral"].is_object() {
            add(Referred::Claim, &format!("{}-{}", name(pod), text(volume, "name")));
        }
    }
    for claim in list(spec, "resourceClaims") {
        add(Referred::ResourceClaim, text(claim, "resourceClaimName"));
    }
    for claim in list(&pod["status"], "resourceClaimStatuses") {
        add(Referred::ResourceClaim, text(claim, "resourceClaimName"));
    }
    found
}

/// Whether a node made it, to show what it runs by itself.
pub(super) fn is_mirror(pod: &Value) -> bool {
    !pod["metadata"]["annotations"]["kubernetes.io/config.mirror"].is_null()
}

/// Names of the Secrets that a Pod names.
pub(super) fn secrets(pod: &Value) -> impl Iterator<Item = &str> {
    let spec = &pod["spec"];
    let pull = list(spec, "imagePullSecrets").iter().map(|one| text(one, "name"));
    let volumes = list(spec, "volumes").iter().flat_map(|volume| {
        let own = POD_VOLUME_SECRETS
            .iter()
            .filter_map(|(source, at)| volume.get(*source)?.pointer(at).and_then(Value::as_str));
        let projected = list(&volume["projected"], "sources");
        own.chain(projected.iter().map(|source| text(&source["secret"], "name")))
    });
    let named = pull.chain(volumes).chain(of_containers(spec, "secretRef", "secretKeyRef"));
    named.filter(|name| !name.is_empty())
}

/// Names of the ConfigMaps that a Pod names.
pub(super) fn config_maps(pod: &Value) -> impl Iterator<Item = &str> {
    let spec = &pod["spec"];
    let volumes = list(spec, "volumes").iter().flat_map(|volume| {
        let projected = list(&volume["projected"], "sources");
        let projected = projected.iter().map(|source| text(&source["configMap"], "name"));
        projected.chain([text(&volume["configMap"], "name")])
    });
    let named = volumes.chain(of_containers(spec, "configMapRef", "configMapKeyRef"));
    named.filter(|name| !name.is_empty())
}

/// What the environment of all containers names.
fn of_containers<'a>(
    spec: &'a Value,
    whole: &'static str,
    key: &'static str,
) -> impl Iterator<Item = &'a str> {
    let containers = ["initContainers", "containers", "ephemeralContainers"];
    let containers = containers.into_iter().flat_map(move |field| list(spec, field));
    containers.flat_map(move |container| {
        let from = list(container, "envFrom").iter().map(move |one| text(&one[whole], "name"));
        let own = list(container, "env").iter();
        from.chain(own.map(move |one| text(&one["valueFrom"][key], "name")))
    })
}

/// What nodes need of a volume.
pub(super) fn of_volume(volume: &Value) -> Volume {
    let spec = &volume["spec"];
    let claim = &spec["claimRef"];
    let pair = |namespace: &str, name: &str| (namespace.to_owned(), name.to_owned());
    let claimed = (!text(claim, "name").is_empty())
        .then(|| pair(text(claim, "namespace"), text(claim, "name")));
    let within = |given: &str| {
        let space = if given.is_empty() { text(claim, "namespace") } else { given };
        space.to_owned()
    };
    let named = VOLUME_SECRETS.iter().map(|(source, field)| &spec[*source][*field]);
    let mut secrets: Vec<(String, String)> = named
        .filter(|one| !text(one, "name").is_empty())
        .map(|one| (within(text(one, "namespace")), text(one, "name").to_owned()))
        .collect();
    let file = &spec["azureFile"];
    if !text(file, "secretName").is_empty() {
        secrets.push((within(text(file, "secretNamespace")), text(file, "secretName").to_owned()));
    }
    Volume { claim: claimed, secrets }
}
