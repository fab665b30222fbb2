//! The downward API: facts of a Pod that its containers may ask for by path.

use std::collections::BTreeMap;

use beeline_api::quantity::Quantity as Amount;
use beeline_netdev::AddressPair;
use k8s_openapi::{
    api::core::v1::{Container, Pod, ResourceFieldSelector},
    apimachinery::pkg::api::resource::Quantity,
};

/// A Pod and where it runs.
#[derive(Clone, Copy, Debug)]
pub struct PodFacts<'a> {
    /// The object.
    pub pod: &'a Pod,
    /// Its addresses, once it has them.
    pub pod_ips: Option<AddressPair>,
    /// The node's addresses.
    pub host_ips: AddressPair,
    /// The node's name.
    pub node_name: &'a str,
}

impl PodFacts<'_> {
    /// The value at a path such as `metadata.labels['app']`; `None` for a path that does not exist.
    #[must_use]
    pub fn field(&self, path: &str) -> Option<String> {
        let meta = &self.pod.metadata;
        let spec = self.pod.spec.as_ref();
        let text = |value: &Option<String>| Some(value.clone().unwrap_or_default());
        match path {
            "metadata.name" => text(&meta.name),
            "metadata.namespace" => text(&meta.namespace),
            "metadata.uid" => text(&meta.uid),
            "metadata.labels" => Some(lines(meta.labels.as_ref())),
            "metadata.annotations" => Some(lines(meta.annotations.as_ref())),
            "spec.nodeName" => Some(self.node_name.to_owned()),
            "spec.serviceAccountName" => text(&spec?.service_account_name),
            "status.podIP" => Some(self.pod_ips.map_or_else(String::new, |ips| ips.v4.to_string())),
            "status.podIPs" => Some(self.pod_ips.map_or_else(String::new, |ips| ips.to_string())),
            "status.hostIP" => Some(self.host_ips.v4.to_string()),
            "status.hostIPs" => Some(self.host_ips.to_string()),
            _ => self.subscript(path),
        }
    }

    fn subscript(&self, path: &str) -> Option<String> {
        let (map, rest) = path.split_once("['")?;
        let key = rest.strip_suffix("']")?;
        let map = match map {
            "metadata.labels" => self.pod.metadata.labels.as_ref(),
            "metadata.annotations" => self.pod.metadata.annotations.as_ref(),
            _ => return None,
        };
        Some(map.and_then(|map| map.get(key)).cloned().unwrap_or_default())
    }

    /// A container's request or limit, divided and rounded up as upstream does.
    #[must_use]
    pub fn resource(
        &self,
        selector: &ResourceFieldSelector,
        container: &Container,
    ) -> Option<String> {
        let named = selector.container_name.as_deref().filter(|name| !name.is_empty());
        let container = match named {
            Some(name) => crate::wanted::container(self.pod, name)?,
            None => container,
        };
        let (list, name) = selector.resource.split_once('.')?;
        let resources = container.resources.as_ref();
        let list: Option<&BTreeMap<String, Quantity>> = match list {
            "limits" => resources.and_then(|resources| resources.limits.as_ref()),
            "requests" => resources.and_then(|resources| resources.requests.as_ref()),
            _ => return None,
        };
        let amount =
            list.and_then(|list| list.get(name)).and_then(|amount| Amount::parse(&amount.0));
        let divisor = selector.divisor.as_ref().and_then(|divisor| Amount::parse(&divisor.0));
        let divisor = divisor.map_or(1000, |divisor| divisor.milli()).max(1);
        let milli = amount.map_or(0, |amount| amount.milli());
        Some((milli.div_euclid(divisor) + i64::from(milli.rem_euclid(divisor) != 0)).to_string())
    }
}

/// One `key="value"` a line, as the downward API writes maps.
fn lines(map: Option<&BTreeMap<String, String>>) -> String {
    let lines: Vec<String> =
        map.into_iter().flatten().map(|(key, value)| format!("{key}={value:?}")).collect();
    lines.join("\n")
}
