//! Which ConfigMaps and Secrets a Pod needs on its node.
//!
//! In: a Pod. Out: names. Pure.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Container, Pod, Volume};

/// `ConfigMap` or `Secret`, and its name in the Pod's namespace.
pub(crate) type Reference = (&'static str, String);

const CONFIG_MAP: &str = "ConfigMap";
const SECRET: &str = "Secret";

/// All that the Pod names in volumes, environment and pull secrets.
pub(crate) fn of(pod: &Pod) -> BTreeSet<Reference> {
    let Some(spec) = &pod.spec else { return BTreeSet::new() };
    let mut found = BTreeSet::new();
    for volume in spec.volumes.iter().flatten() {
        of_volume(volume, &mut found);
    }
    for container in spec.containers.iter().chain(spec.init_containers.iter().flatten()) {
        of_container(container, &mut found);
    }
    let pull = spec.image_pull_secrets.iter().flatten();
    found.extend(pull.map(|reference| (SECRET, reference.name.clone())));
    found.retain(|(_, name)| !name.is_empty());
    found
}

fn of_volume(volume: &Volume, found: &mut BTreeSet<Reference>) {
    if let Some(source) = &volume.config_map {
        found.insert((CONFIG_MAP, source.name.clone()));
    }
    if let Some(name) = volume.secret.as_ref().and_then(|s| s.secret_name.clone()) {
        found.insert((SECRET, name));
    }
    let projected = volume.projected.iter().flat_map(|p| p.sources.iter().flatten());
    for source in projected {
        found.extend(source.config_map.as_ref().map(|s| (CONFIG_MAP, s.name.clone())));
        found.extend(source.secret.as_ref().map(|s| (SECRET, s.name.clone())));
    }
}

fn of_container(container: &Container, found: &mut BTreeSet<Reference>) {
    for source in container.env_from.iter().flatten() {
        found.extend(source.config_map_ref.as_ref().map(|r| (CONFIG_MAP, r.name.clone())));
        found.extend(source.secret_ref.as_ref().map(|r| (SECRET, r.name.clone())));
    }
    for from in container.env.iter().flatten().filter_map(|env| env.value_from.as_ref()) {
        found.extend(from.config_map_key_ref.as_ref().map(|r| (CONFIG_MAP, r.name.clone())));
        found.extend(from.secret_key_ref.as_ref().map(|r| (SECRET, r.name.clone())));
    }
}
