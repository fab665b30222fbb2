//! The environment of a container, and `$(NAME)` in its command.
//!
//! In: the Pod, facts of the node, ConfigMaps and Secrets, Services. Out: names with values in upstream's order, or an
//! [`EnvError`] in upstream's words. Pure.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use std::{collections::BTreeMap, sync::Arc};

use beeline_tables::{ObjectKey, ObjectName, Service, Snapshot};
use k8s_openapi::api::core::v1::{Container, EnvVar, EnvVarSource};

use crate::fields::PodFacts;

/// Why a container has no environment: upstream's `CreateContainerConfigError`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvError {
    /// Something it refers to does not exist (yet).
    #[error("{kind} \"{name}\" not found")]
    NoObject {
        /// `configmap` or `secret`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// It exists, but without this key.
    #[error("couldn't find key {key} in {kind} {namespace}/{name}")]
    NoKey {
        /// `ConfigMap` or `Secret`.
        kind: &'static str,
        /// The namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The key.
        key: String,
    },
    /// A path that the downward API does not have.
    #[error("unsupported fieldPath: {0}")]
    NoField(String),
}

/// The variables of a container: Services, then `envFrom`, then `env`; later ones win.
pub fn environment(
    container: &Container,
    facts: PodFacts<'_>,
    snapshot: &Snapshot,
) -> Result<Vec<(String, String)>, EnvError> {
    let namespace = facts.pod.metadata.namespace.as_deref().unwrap_or_default();
    let links = facts.pod.spec.as_ref().and_then(|spec| spec.enable_service_links).unwrap_or(true);
    let mut values = services(snapshot, namespace, links);
    let mut order: Vec<String> = values.keys().cloned().collect();
    let mut set = |values: &mut BTreeMap<String, String>, name: String, value: String| {
        if values.insert(name.clone(), value).is_none() {
            order.push(name);
        }
    };
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        let (kind, name, optional) = match (&source.config_map_ref, &source.secret_ref) {
            (Some(map), _) => (Kind::ConfigMap, &map.name, map.optional),
            (None, Some(secret)) => (Kind::Secret, &secret.name, secret.optional),
            (None, None) => continue,
        };
        match data(snapshot, kind, namespace, name) {
            Some(data) => {
                for (key, value) in data {
                    set(
                        &mut values,
                        format!("{prefix}{key}"),
                        String::from_utf8_lossy(&value).into_owned(),
                    );
                }
            }
            None if optional == Some(true) => {}
            None => return Err(kind.not_found(name)),
        }
    }
    for variable in container.env.iter().flatten() {
        if let Some(value) = value(variable, container, facts, snapshot, &values)? {
            set(&mut values, variable.name.clone(), value);
        }
    }
    Ok(order.into_iter().filter_map(|name| values.remove_entry(&name)).collect())
}

fn value(
    variable: &EnvVar,
    container: &Container,
    facts: PodFacts<'_>,
    snapshot: &Snapshot,
    earlier: &BTreeMap<String, String>,
) -> Result<Option<String>, EnvError> {
    match &variable.value_from {
        None => Ok(Some(expand(variable.value.as_deref().unwrap_or_default(), earlier))),
        Some(source) => referenced(source, container, facts, snapshot),
    }
}

fn referenced(
    source: &EnvVarSource,
    container: &Container,
    facts: PodFacts<'_>,
    snapshot: &Snapshot,
) -> Result<Option<String>, EnvError> {
    if let Some(field) = &source.field_ref {
        let value = facts.field(&field.field_path);
        return value.map(Some).ok_or_else(|| EnvError::NoField(field.field_path.clone()));
    }
    if let Some(selector) = &source.resource_field_ref {
        let value = facts.resource(selector, container);
        return value.map(Some).ok_or_else(|| EnvError::NoField(selector.resource.clone()));
    }
    let (kind, name, key, optional) = match (&source.config_map_key_ref, &source.secret_key_ref) {
        (Some(map), _) => (Kind::ConfigMap, &map.name, &map.key, map.optional),
        (None, Some(secret)) => (Kind::Secret, &secret.name, &secret.key, secret.optional),
        (None, None) => return Ok(None),
    };
    let namespace = facts.pod.metadata.namespace.as_deref().unwrap_or_default();
    let optional = optional == Some(true);
    match data(snapshot, kind, namespace, name) {
        None if optional => Ok(None),
        None => Err(kind.not_found(name)),
        Some(mut data) => match data.remove(key) {
            Some(value) => Ok(Some(String::from_utf8_lossy(&value).into_owned())),
            None if optional => Ok(None),
            None => Err(EnvError::NoKey {
                kind: kind.word(),
                namespace: namespace.to_owned(),
                name: name.clone(),
                key: key.clone(),
            }),
        },
    }
}

/// Replace `$(NAME)` by its value; unknown names stay as they are, `$$` is a dollar sign.
#[must_use]
pub fn expand(text: &str, values: &BTreeMap<String, String>) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        expanded.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let end = after.strip_prefix('(').and_then(|inner| inner.find(')'));
        match (after.chars().next(), end) {
            (Some('$'), _) => {
                expanded.push('$');
                rest = &after[1..];
            }
            (Some('('), Some(end)) => {
                let name = &after[1..=end];
                match values.get(name) {
                    Some(value) => expanded.push_str(value),
                    None => expanded.push_str(&rest[at..=at + end + 2]),
                }
                rest = &after[end + 2..];
            }
            _ => {
                expanded.push('$');
                rest = after;
            }
        }
    }
    expanded.push_str(rest);
    expanded
}

/// What holds configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    ConfigMap,
    Secret,
}

impl Kind {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
        }
    }

    fn not_found(self, name: &str) -> EnvError {
        let kind = match self {
            Self::ConfigMap => "configmap",
            Self::Secret => "secret",
        };
        EnvError::NoObject { kind, name: name.to_owned() }
    }
}

/// The keys of a ConfigMap or Secret, decoded; `None` if there is no such object.
pub(crate) fn data(
    snapshot: &Snapshot,
    kind: Kind,
    namespace: &str,
    name: &str,
) -> Option<BTreeMap<String, Vec<u8>>> {
    let key = ObjectKey { kind: kind.word().into(), name: ObjectName::new(namespace, name) };
    let object = snapshot.objects.get(&key)?;
    let plain = |field: &str| {
        object.json.get(field).and_then(|data| data.as_object()).into_iter().flatten()
    };
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let coded = |value: &serde_json::Value| STANDARD.decode(text(value)).unwrap_or_default();
    Some(match kind {
        Kind::ConfigMap => plain("data")
            .map(|(key, value)| (key.clone(), text(value).into_bytes()))
            .chain(plain("binaryData").map(|(key, value)| (key.clone(), coded(value))))
            .collect(),
        Kind::Secret => plain("data").map(|(key, value)| (key.clone(), coded(value))).collect(),
    })
}

/// Variables for the Services of the namespace, and for `kubernetes` always.
fn services(snapshot: &Snapshot, namespace: &str, links: bool) -> BTreeMap<String, String> {
    let master = snapshot.services.get(&ObjectName::new("default", "kubernetes"));
    let first = ObjectName::new(namespace, "");
    let own = snapshot
        .services
        .range(first..)
        .take_while(|(name, _)| &*name.namespace == namespace)
        .map(|(_, service)| service)
        .filter(|_| links);
    master.into_iter().chain(own).filter_map(variables).flatten().collect()
}

fn variables(service: &Arc<Service>) -> Option<Vec<(String, String)>> {
    let ip = *service.cluster_ips.iter().find(|address| address.is_ipv4())?;
    let upper = |text: &str| text.to_uppercase().replace('-', "_");
    let name = upper(&service.name.name);
    let first = service.ports.first()?;
    let url = |protocol: &str, port: u16| format!("{}://{ip}:{port}", protocol.to_lowercase());
    let word = |port: &beeline_tables::ServicePort| match port.protocol {
        beeline_tables::Protocol::Tcp => "TCP",
        beeline_tables::Protocol::Udp => "UDP",
        beeline_tables::Protocol::Sctp => "SCTP",
    };
    let mut found = vec![
        (format!("{name}_SERVICE_HOST"), ip.to_string()),
        (format!("{name}_SERVICE_PORT"), first.port.to_string()),
        (format!("{name}_PORT"), url(word(first), first.port)),
    ];
    for port in &service.ports {
        let prefix = format!("{name}_PORT_{}_{}", port.port, word(port));
        if !port.name.is_empty() {
            found.push((
                format!("{name}_SERVICE_PORT_{}", upper(&port.name)),
                port.port.to_string(),
            ));
        }
        found.push((prefix.clone(), url(word(port), port.port)));
        found.push((format!("{prefix}_PROTO"), word(port).to_lowercase()));
        found.push((format!("{prefix}_PORT"), port.port.to_string()));
        found.push((format!("{prefix}_ADDR"), ip.to_string()));
    }
    Some(found)
}

#[cfg(test)]
mod tests;
