//! The ports on which a Pod serves a Service: named target ports are looked up in the Pod's containers.

use k8s_openapi::api::core::v1::{Pod, Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// Name, protocol, port, application protocol: sorted. Ports that the Pod does not have are left out.
pub(super) fn of(service: &Service, pod: &Pod) -> Vec<(String, String, i32, Option<String>)> {
    let ports = service.spec.iter().flat_map(|s| s.ports.iter().flatten());
    let mut found: Vec<_> = ports
        .filter_map(|port| {
            let number = resolve(port, pod)?;
            let name = port.name.clone().unwrap_or_default();
            Some((name, protocol(port).to_owned(), number, port.app_protocol.clone()))
        })
        .collect();
    found.sort();
    found
}

fn protocol(port: &ServicePort) -> &str {
    port.protocol.as_deref().unwrap_or("TCP")
}

/// The number behind `targetPort`.
pub(crate) fn resolve(port: &ServicePort, pod: &Pod) -> Option<i32> {
    match &port.target_port {
        None | Some(IntOrString::Int(0)) => Some(port.port),
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(name)) => {
            let spec = pod.spec.as_ref()?;
            let sidecars = spec.init_containers.iter().flatten();
            let sidecars = sidecars.filter(|c| c.restart_policy.as_deref() == Some("Always"));
            let all = spec.containers.iter().chain(sidecars);
            all.flat_map(|c| c.ports.iter().flatten())
                .find(|p| {
                    p.name.as_deref() == Some(name)
                        && p.protocol.as_deref().unwrap_or("TCP") == protocol(port)
                })
                .map(|p| p.container_port)
        }
    }
}
