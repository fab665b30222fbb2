//! Names and hardware addresses, computed so that they can be found again after a crash.

use std::fmt;

/// How much of a link's name is the instance's own: `bl` and four of its digits.
const PREFIX_LEN: usize = 6;
/// What the metrics of all agents' own addresses begin with.
const GATEWAY_METRIC: u8 = 0xbe;

/// A hardware address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// Which end of a pod's link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Host,
    Pod,
}

/// The name of a pod's link on the host: `bl`, four digits of the instance, eight of the pod.
/// 14 characters, one less than the kernel allows.
#[must_use]
pub fn link_name(instance: &str, pod_uid: &str) -> String {
    format!("{}{:08x}", link_prefix(instance), digest(&[pod_uid]) >> 32)
}

/// What the names of all links of an instance start with.
pub(crate) fn link_prefix(instance: &str) -> String {
    let digits = instance.get(..4).unwrap_or(instance);
    format!("bl{digits:0>4}")
}

/// True for a name that an agent, this one or another, gave to a pod's link.
pub(crate) fn is_pod_link(name: &str) -> bool {
    name.len() == PREFIX_LEN + 8
        && name.starts_with("bl")
        && name.bytes().skip(2).all(|byte| byte.is_ascii_hexdigit())
}

/// What `ip link` shows beside the name, and how an instance is told from one with the same four digits.
pub(crate) fn link_alias(instance: &str, pod_uid: &str) -> String {
    format!("beeline/{instance}/{pod_uid}")
}

/// The label of the node's own address in its pod range.
pub(crate) fn gateway_label(instance: &str) -> String {
    format!("lo:{}", link_prefix(instance))
}

/// The metric of the node's own IPv6 address in its pod range, by which it is found again: labels are for IPv4 alone.
pub(crate) fn gateway_metric(instance: &str) -> u32 {
    let [.., a, b, c] = digest(&[instance]).to_be_bytes();
    u32::from_be_bytes([GATEWAY_METRIC, a, b, c])
}

/// True for the metric that an agent, this one or another, gave to such an address.
pub(crate) fn is_gateway_metric(metric: u32) -> bool {
    metric.to_be_bytes().first() == Some(&GATEWAY_METRIC)
}

/// A locally administered unicast address, the same whenever it is asked for.
pub(crate) fn mac(instance: &str, pod_uid: &str, end: End) -> Mac {
    let side = match end {
        End::Host => "host",
        End::Pod => "pod",
    };
    let [a, b, c, d, e, ..] = digest(&[instance, pod_uid, side]).to_be_bytes();
    Mac([0x0a, a, b, c, d, e])
}

/// FNV-1a, finished with a mix so that the upper half is as good as the lower.
fn digest(parts: &[&str]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in parts.iter().flat_map(|part| part.bytes().chain([0xff])) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_the_kernel_and_are_recognised() {
        let name = link_name("a1b2c3", "5b0f5b5e-8a33-4b8e-8d0b-0a2b6c1f0001");
        assert_eq!(name.len(), 14);
        assert!(name.starts_with("bla1b2"), "{name}");
        assert!(is_pod_link(&name));
        assert!(!is_pod_link("blackhole0"));
        assert!(!is_pod_link("eth0"));
        assert!(gateway_label("a1b2c3").len() <= 15);
        assert!(is_gateway_metric(gateway_metric("a1b2c3")) && !is_gateway_metric(256));
        assert_ne!(gateway_metric("a1b2c3"), gateway_metric("a1b2c4"));
    }

    #[test]
    fn names_and_addresses_differ_between_pods_and_ends() {
        let uids: Vec<String> =
            (0..2000).map(|n| format!("5b0f5b5e-8a33-4b8e-8d0b-{n:012x}")).collect();
        let names: std::collections::BTreeSet<_> =
            uids.iter().map(|uid| link_name("a1b2c3", uid)).collect();
        assert_eq!(names.len(), uids.len());
        let host = mac("a1b2c3", &uids[0], End::Host);
        assert_ne!(host, mac("a1b2c3", &uids[0], End::Pod));
        assert_eq!(host, mac("a1b2c3", &uids[0], End::Host));
        assert_eq!(host.0[0] & 3, 2, "unicast, locally administered");
        assert_eq!(host.to_string().len(), 17);
    }
}
