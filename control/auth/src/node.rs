//! Certificates of nodes: what a node asks for, and what it gets.
//!
//! In: a request with the node's public key. Out: a client certificate for `system:node:NAME`, nothing more.
//! Refuses: requests that ask for another subject, for names, for being an authority, or for other uses.

use std::time::SystemTime;

use rcgen::{
    CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType, DnValue,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
};

use crate::{AuthError, Authority};

/// A node's fresh key and its request to have it signed.
#[derive(Clone)]
pub struct NodeRequest {
    /// Stays on the node.
    pub key_pem: String,
    /// Goes to the server (PKCS #10, DER).
    pub csr_der: Vec<u8>,
}

/// Makes a key and the request that `Authority::sign_node` grants.
pub fn node_request(node_name: &str) -> Result<NodeRequest, AuthError> {
    let issue = |source| AuthError::Issue { what: "node", source };
    let key = KeyPair::generate().map_err(issue)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = subject(node_name);
    let request = params.serialize_request(&key).map_err(issue)?;
    Ok(NodeRequest { key_pem: key.serialize_pem(), csr_der: request.der().to_vec() })
}

impl Authority {
    /// Signs a node's request; the answer is the client certificate in PEM. The caller has checked the join token.
    pub fn sign_node(
        &self,
        csr_der: &[u8],
        node_name: &str,
        now: SystemTime,
    ) -> Result<String, AuthError> {
        let refused = |reason: &str| AuthError::Request {
            node: node_name.to_owned(),
            reason: reason.to_owned(),
        };
        if !is_node_name(node_name) {
            return Err(refused("the name must be a lower-case DNS name"));
        }
        let request = CertificateSigningRequestParams::from_der(&csr_der.into())
            .map_err(|error| refused(&error.to_string()))?;
        check(&request.params, node_name).map_err(refused)?;
        self.sign_key(request, &format!("system:node:{node_name}"), "system:nodes", now)
    }
}

fn subject(node_name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationName, "system:nodes");
    subject.push(DnType::CommonName, format!("system:node:{node_name}"));
    subject
}

fn check(asked: &CertificateParams, node_name: &str) -> Result<(), &'static str> {
    let text = |name: &DistinguishedName| -> Vec<(DnType, String)> {
        let mut all: Vec<_> =
            name.iter().map(|(kind, value)| (kind.clone(), plain(value))).collect();
        all.sort_by(|a, b| a.1.cmp(&b.1));
        all
    };
    let uses = &asked.extended_key_usages;
    let key_uses = &asked.key_usages;
    let checks = [
        (
            text(&asked.distinguished_name) == text(&subject(node_name)),
            "its subject is not this node",
        ),
        (asked.subject_alt_names.is_empty(), "it asks for names"),
        (matches!(asked.is_ca, IsCa::NoCa | IsCa::ExplicitNoCa), "it asks to be an authority"),
        (
            asked.name_constraints.is_none() && asked.custom_extensions.is_empty(),
            "it asks for extensions",
        ),
        (
            uses.iter().all(|one| *one == ExtendedKeyUsagePurpose::ClientAuth),
            "it asks for more than client use",
        ),
        (
            key_uses.iter().all(|one| {
                matches!(one, KeyUsagePurpose::DigitalSignature | KeyUsagePurpose::KeyEncipherment)
            }),
            "it asks for more uses of its key",
        ),
    ];
    checks.into_iter().try_for_each(|(good, reason)| if good { Ok(()) } else { Err(reason) })
}

fn plain(value: &DnValue) -> String {
    match value {
        DnValue::Utf8String(text) => text.clone(),
        DnValue::PrintableString(text) => text.to_string(),
        DnValue::Ia5String(text) => text.to_string(),
        _ => String::new(),
    }
}

/// RFC 1123: what upstream takes as a node's name.
fn is_node_name(name: &str) -> bool {
    let label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(inner)
    };
    name.len() <= 253 && name.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use rcgen::BasicConstraints;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;

    use super::*;
    use crate::Identity;

    fn authority() -> (tempfile::TempDir, Authority) {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::open(dir.path(), SystemTime::now()).unwrap();
        (dir, authority)
    }

    #[test]
    fn a_node_gets_its_name_and_no_more() {
        let (_dir, authority) = authority();
        let request = node_request("worker-1").unwrap();
        let pem = authority.sign_node(&request.csr_der, "worker-1", SystemTime::now()).unwrap();
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        let identity = Identity::from_certificate(&der).unwrap();
        assert_eq!(
            (identity.user.as_str(), identity.node_name()),
            ("system:node:worker-1", Some("worker-1"))
        );
        assert_eq!(identity.groups, ["system:nodes"]);
    }

    #[test]
    fn requests_for_anything_else_are_refused() {
        let (_dir, authority) = authority();
        let ask = |change: &dyn Fn(&mut CertificateParams)| {
            let mut params = CertificateParams::default();
            params.distinguished_name = subject("n");
            change(&mut params);
            let csr = params.serialize_request(&KeyPair::generate().unwrap()).unwrap();
            authority.sign_node(csr.der(), "n", SystemTime::now())
        };
        assert!(ask(&|_| ()).is_ok());
        let refused: [&dyn Fn(&mut CertificateParams); 6] = [
            &|params| params.distinguished_name = subject("other"),
            &|params| params.distinguished_name.push(DnType::OrganizationName, "system:masters"),
            &|params| params.distinguished_name.push(DnType::CountryName, "XX"),
            &|params| {
                params.subject_alt_names =
                    CertificateParams::new(["a".to_owned()]).unwrap().subject_alt_names;
            },
            &|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained),
            &|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth],
        ];
        for (index, change) in refused.into_iter().enumerate() {
            assert!(matches!(ask(change), Err(AuthError::Request { .. })), "case {index}");
        }
    }

    #[test]
    fn forged_and_broken_requests_are_refused() {
        let (_dir, authority) = authority();
        let mut csr = node_request("n").unwrap().csr_der;
        assert!(authority.sign_node(&csr[..csr.len() - 9], "n", SystemTime::now()).is_err());
        assert!(authority.sign_node(b"", "n", SystemTime::now()).is_err());
        assert!(authority.sign_node(&csr, "N!", SystemTime::now()).is_err());
        let last = csr.len() - 1;
        csr[last] ^= 1;
        assert!(authority.sign_node(&csr, "n", SystemTime::now()).is_err());
    }
}
