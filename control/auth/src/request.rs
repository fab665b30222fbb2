//! Certificate requests of `certificates.k8s.io`: what each of Kubernetes' own signers signs, and what it refuses.
//!
//! In: a request in PEM (PKCS #10, RFC 2986), the signer's name, uses and a lifetime. Out: a certificate in PEM, or what is
//! wrong with the request in upstream's words. Refuses: being an authority, other extensions than names, several organizations
//! (the library that signs holds one).

use std::time::{Duration, SystemTime};

use rcgen::{
    CertificateParams, CertificateSigningRequestParams, ExtendedKeyUsagePurpose, IsCa,
    KeyUsagePurpose, SanType,
};
use x509_parser::prelude::{FromDer as _, X509CertificationRequest};

use crate::authority::{BACKDATED, LEAF_LIFETIME};
use crate::{AuthError, Authority};

/// Whose certificates these are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signer {
    /// Users and programs, any name.
    ApiClient,
    /// `system:node:NAME` in `system:nodes`.
    NodeClient,
    /// The same, to serve under its names and addresses.
    NodeServing,
}

/// What a request asks for besides its own contents.
#[derive(Debug, Clone)]
pub struct Asked<'a> {
    /// The request.
    pub pem: &'a str,
    /// Of the signer.
    pub signer: Signer,
    /// In the words of `spec.usages`.
    pub usages: Vec<&'a str>,
    /// At most so long; a year if it does not say.
    pub lifetime: Option<Duration>,
}

/// Whom a request wants a certificate for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subject {
    /// Its common name: the user.
    pub user: String,
    /// Its organizations: the groups.
    pub groups: Vec<String>,
}

impl Signer {
    /// From `spec.signerName`; `None` for signers of others.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "kubernetes.io/kube-apiserver-client" => Self::ApiClient,
            "kubernetes.io/kube-apiserver-client-kubelet" => Self::NodeClient,
            "kubernetes.io/kubelet-serving" => Self::NodeServing,
            _ => return None,
        })
    }

    /// What its certificates are for besides signing and agreeing on keys.
    fn purpose(self) -> (&'static str, ExtendedKeyUsagePurpose) {
        match self {
            Self::ApiClient | Self::NodeClient => {
                ("client auth", ExtendedKeyUsagePurpose::ClientAuth)
            }
            Self::NodeServing => ("server auth", ExtendedKeyUsagePurpose::ServerAuth),
        }
    }
}

/// Reads whom a request is for.
pub fn subject(pem: &str) -> Result<Subject, AuthError> {
    let der = der(pem)?;
    let request = parse(&der)?;
    let name = &request.certification_request_info.subject;
    let text = |part: &x509_parser::x509::AttributeTypeAndValue<'_>| {
        part.as_str().map(str::to_owned).map_err(|_| refused("a name in its subject is no text"))
    };
    let user = name.iter_common_name().next().map(text).transpose()?.unwrap_or_default();
    let groups = name.iter_organization().map(text).collect::<Result<_, _>>()?;
    Ok(Subject { user, groups })
}

impl Authority {
    /// Signs an approved request; the answer is the certificate in PEM.
    pub fn sign_request(&self, asked: &Asked<'_>, now: SystemTime) -> Result<String, AuthError> {
        let subject = subject(asked.pem)?;
        let request = CertificateSigningRequestParams::from_der(&der(asked.pem)?.into())
            .map_err(|error| AuthError::SigningRequest(error.to_string()))?;
        check(asked, &subject, &request.params)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = request.params.distinguished_name.clone();
        params.subject_alt_names = request.params.subject_alt_names.clone();
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        if asked.usages.contains(&"key encipherment") {
            params.key_usages.push(KeyUsagePurpose::KeyEncipherment);
        }
        params.extended_key_usages = vec![asked.signer.purpose().1];
        params.use_authority_key_identifier_extension = true;
        let lifetime = asked.lifetime.unwrap_or(LEAF_LIFETIME).min(LEAF_LIFETIME);
        params.not_before = (now - BACKDATED).into();
        params.not_after = (now + lifetime).into();
        self.sign_params(params, request.public_key)
    }
}

fn check(asked: &Asked<'_>, subject: &Subject, has: &CertificateParams) -> Result<(), AuthError> {
    let (purpose, _) = asked.signer.purpose();
    let usual = |usage: &&str| [purpose, "digital signature", "key encipherment"].contains(usage);
    let refuse = |broken: bool, why: &str| if broken { Err(refused(why)) } else { Ok(()) };
    refuse(
        !asked.usages.contains(&purpose) || !asked.usages.iter().all(usual),
        &format!("usages did not match {{{purpose},digital signature[,key encipherment]}}"),
    )?;
    refuse(!matches!(has.is_ca, IsCa::NoCa | IsCa::ExplicitNoCa), "it asks to be an authority")?;
    refuse(!has.custom_extensions.is_empty(), "it asks for extensions that are not signed here")?;
    refuse(subject.groups.len() > 1, "more than one organization is not signed here")?;
    let is_name = |name: &SanType| matches!(name, SanType::DnsName(_) | SanType::IpAddress(_));
    let names = &has.subject_alt_names;
    match asked.signer {
        Signer::ApiClient => refuse(subject.user.is_empty(), "its subject has no common name"),
        Signer::NodeClient => {
            node(subject)?;
            refuse(!names.is_empty(), "DNS, IP, email and URI subjectAltNames are not allowed")
        }
        Signer::NodeServing => {
            node(subject)?;
            refuse(names.is_empty(), "at least one DNS or IP subjectAltName is required")?;
            refuse(!names.iter().all(is_name), "email and URI subjectAltNames are not allowed")
        }
    }
}

fn node(subject: &Subject) -> Result<(), AuthError> {
    if subject.groups != ["system:nodes"] {
        return Err(refused("subject organization is not system:nodes"));
    }
    if !subject.user.starts_with("system:node:") {
        return Err(refused("subject common name does not begin with system:node: prefix"));
    }
    Ok(())
}

fn der(pem: &str) -> Result<Vec<u8>, AuthError> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes())
        .map_err(|_| refused("PEM block type must be CERTIFICATE REQUEST"))?;
    Ok(pem.contents)
}

fn parse(der: &[u8]) -> Result<X509CertificationRequest<'_>, AuthError> {
    let (_, request) = X509CertificationRequest::from_der(der)
        .map_err(|error| AuthError::SigningRequest(error.to_string()))?;
    Ok(request)
}

fn refused(why: &str) -> AuthError {
    AuthError::SigningRequest(why.to_owned())
}

#[cfg(test)]
mod tests {
    use rcgen::{DistinguishedName, DnType, KeyPair};
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;

    use super::*;
    use crate::Identity;

    fn authority() -> (tempfile::TempDir, Authority) {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::open(dir.path(), SystemTime::now()).unwrap();
        (dir, authority)
    }

    fn request(user: &str, group: &str, names: &[&str]) -> String {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, group);
        params.distinguished_name.push(DnType::CommonName, user);
        let key = KeyPair::generate().unwrap();
        params.serialize_request(&key).unwrap().pem().unwrap()
    }

    fn sign(
        authority: &Authority,
        signer: Signer,
        pem: &str,
        usages: &[&str],
    ) -> Result<String, String> {
        let asked = Asked { pem, signer, usages: usages.to_vec(), lifetime: None };
        authority.sign_request(&asked, SystemTime::now()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_user_gets_a_certificate_with_name_and_group() {
        let (_dir, authority) = authority();
        let pem = request("bob", "devs", &[]);
        assert_eq!(
            subject(&pem).unwrap(),
            Subject { user: "bob".into(), groups: vec!["devs".into()] }
        );
        let signed = sign(&authority, Signer::ApiClient, &pem, &["client auth"]).unwrap();
        let der = CertificateDer::from_pem_slice(signed.as_bytes()).unwrap();
        assert_eq!(Identity::from_certificate(&der).unwrap(), Identity::new("bob", ["devs"]));
    }

    #[test]
    fn its_life_is_what_was_asked_for_and_a_year_at_most() {
        let (_dir, authority) = authority();
        let pem = request("bob", "devs", &[]);
        let life = |lifetime| {
            let asked = Asked {
                pem: &pem,
                signer: Signer::ApiClient,
                usages: vec!["client auth"],
                lifetime: Some(lifetime),
            };
            let now = SystemTime::now();
            let signed = authority.sign_request(&asked, now).unwrap();
            let der = CertificateDer::from_pem_slice(signed.as_bytes()).unwrap();
            let (_, parsed) = x509_parser::certificate::X509Certificate::from_der(&der).unwrap();
            let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
            parsed.validity().not_after.timestamp() - i64::try_from(since).unwrap()
        };
        assert_eq!(life(Duration::from_secs(600)), 600);
        assert_eq!(life(Duration::from_secs(1 << 40)), 365 * 86_400);
    }

    #[test]
    fn an_empty_part_of_a_subject_is_no_panic() {
        // SEQUENCE { info { 0, subject { SET {} }, key of no bits, [0] }, algorithm, signature }: enough to be read.
        let spki = [
            0x30, 0x0f, 0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02,
            0x03, 0x01, 0x00,
        ];
        let mut info = vec![0x02, 0x01, 0x00, 0x30, 0x02, 0x31, 0x00];
        info.extend(spki);
        info.extend([0xa0, 0x00]);
        let algorithm = [0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
        let mut body = vec![0x30, u8::try_from(info.len()).unwrap()];
        body.extend(info);
        body.extend(algorithm);
        body.extend([0x03, 0x01, 0x00]);
        let mut der = vec![0x30, u8::try_from(body.len()).unwrap()];
        der.extend(body);
        // The parser ends the name before it, so the library that signs, which takes a value for granted, never sees it.
        let read = parse(&der).unwrap();
        assert_eq!(read.certification_request_info.subject.iter().count(), 0);
        let (_dir, authority) = authority();
        assert!(authority.sign_node(&der, "n", SystemTime::now()).is_err());
    }

    #[test]
    fn each_signer_signs_its_own_kind_only() {
        let (_dir, authority) = authority();
        let client = ["client auth", "digital signature"];
        let serving = ["server auth", "digital signature", "key encipherment"];
        let node = request("system:node:a", "system:nodes", &[]);
        let served = request("system:node:a", "system:nodes", &["a.example", "192.0.2.1"]);
        assert!(sign(&authority, Signer::NodeClient, &node, &client).is_ok());
        assert!(sign(&authority, Signer::NodeServing, &served, &serving).is_ok());
        for (signer, pem, usages) in [
            (Signer::NodeClient, &served, &client[..]),
            (Signer::NodeClient, &request("bob", "system:nodes", &[]), &client[..]),
            (Signer::NodeClient, &request("system:node:a", "devs", &[]), &client[..]),
            (Signer::NodeServing, &node, &serving[..]),
            (Signer::NodeServing, &served, &client[..]),
            (Signer::ApiClient, &node, &["server auth"][..]),
            (Signer::ApiClient, &node, &["client auth", "cert sign"][..]),
            (Signer::ApiClient, &"nonsense".to_owned(), &client[..]),
        ] {
            assert!(sign(&authority, signer, pem, usages).is_err(), "{signer:?} {usages:?}");
        }
    }
}
