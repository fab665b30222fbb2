//! The names of chains and sets: kube-proxy's own hashes, so that its tools and documents fit.

use sha2::{Digest as _, Sha256};

use super::model::{Endpoint, ServicePort};

/// nftables' limit for a name, less the longest of kube-proxy's prefixes.
const NFT_BASE_LENGTH_MAX: usize = 256 - 16;
/// Characters of an iptables chain's hash: with the prefix it has to stay under 29.
const IPTABLES_HASH_LENGTH: usize = 16;
/// Characters of an nftables chain's hash; the rest of the name is readable.
const NFT_HASH_LENGTH: usize = 8;

/// `namespace/service:port`.
pub fn service_port(service: &ServicePort) -> String {
    let ServicePort { namespace, service: name, port_name, .. } = service;
    match port_name.as_str() {
        "" => format!("{namespace}/{name}"),
        port => format!("{namespace}/{name}:{port}"),
    }
}

/// `KUBE-SVC-`, `-SVL-`, `-EXT-`, `-FW-` and a hash of the Service's port.
pub fn iptables_chain(kind: &str, service: &ServicePort) -> String {
    let name = service_port(service);
    format!("KUBE-{kind}-{}", hash(&[&name, service.protocol.name()], IPTABLES_HASH_LENGTH))
}

/// `KUBE-SEP-` and a hash of the Service's port and the endpoint.
pub fn iptables_endpoint(service: &ServicePort, endpoint: &Endpoint) -> String {
    let name = service_port(service);
    let address = endpoint.address.to_string();
    let parts = [name.as_str(), service.protocol.name(), &address];
    format!("KUBE-SEP-{}", hash(&parts, IPTABLES_HASH_LENGTH))
}

/// `service-`, `local-`, `external-`, `firewall-` and a name.
pub fn nft_chain(kind: &str, service: &ServicePort) -> String {
    format!("{kind}-{}", nft_base(&nft_service(service)))
}

/// `endpoint-` or `affinity-` and a name.
pub fn nft_endpoint(kind: &str, service: &ServicePort, endpoint: &Endpoint) -> String {
    // Colons may not be in a name.
    let ip = endpoint.address.ip().to_string().replace(':', ".");
    let name = format!("{}__{ip}/{}", nft_service(service), endpoint.address.port());
    format!("{kind}-{}", nft_base(&name))
}

fn nft_service(service: &ServicePort) -> String {
    let ServicePort { namespace, service: name, port_name, protocol, .. } = service;
    format!("{namespace}/{name}/{}/{port_name}", protocol.name())
}

fn nft_base(name: &str) -> String {
    let mut base = format!("{}-{name}", hash(&[name], NFT_HASH_LENGTH));
    if base.len() > NFT_BASE_LENGTH_MAX {
        base.truncate(NFT_BASE_LENGTH_MAX - 3);
        base.push_str("...");
    }
    base
}

/// The beginning of a SHA-256 in base 32 (RFC 4648).
fn hash(parts: &[&str], length: usize) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut digest = Sha256::new();
    for part in parts {
        digest.update(part.as_bytes());
    }
    let digest = digest.finalize();
    let symbol = |index: usize| {
        let bit = index * 5;
        let pair = u16::from_be_bytes([digest[bit / 8], digest[bit / 8 + 1]]);
        char::from(ALPHABET[usize::from(pair >> (11 - bit % 8) & 31)])
    };
    (0..length).map(symbol).collect()
}
