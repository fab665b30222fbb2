//! The cluster's own certificate authority, kept in `<dir>/pki`.
//!
//! In: a directory, names, the time. Out: the authority's certificate, and leaf certificates signed by it.
//! Made at the first start; leaves are made again when their names change or less than 30 days are left.
//! Refuses: replacing an authority that is there but damaged, since every node trusts the old one.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKey,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use crate::{AuthError, files, token};

const DAY: Duration = Duration::from_secs(86_400);
const CA_LIFETIME: Duration = Duration::from_secs(3_652 * 86_400);
pub(crate) const LEAF_LIFETIME: Duration = Duration::from_secs(365 * 86_400);
const RENEW_BEFORE: Duration = Duration::from_secs(30 * 86_400);
/// Clocks of nodes may be behind ours.
pub(crate) const BACKDATED: Duration = Duration::from_secs(3_600);

/// Who the API server is to extension servers.
pub const FRONT_PROXY_CLIENT: &str = "front-proxy-client";

/// Signs certificates. There is one per cluster, and one for what the API server says to extension servers.
pub struct Authority {
    dir: PathBuf,
    /// Of its files: `<stem>.crt` and `<stem>.key`.
    stem: &'static str,
    certificate_pem: String,
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, both in PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Certified {
    /// The certificate.
    pub certificate_pem: String,
    /// Its private key.
    pub key_pem: String,
}

/// The names and addresses clients may reach the server by.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServerNames {
    names: BTreeSet<String>,
}

/// What a leaf certificate says.
struct Leaf<'a> {
    what: &'static str,
    user: &'a str,
    group: Option<&'a str>,
    names: Vec<String>,
    usage: ExtendedKeyUsagePurpose,
}

// === impl Authority ===

impl Authority {
    /// Opens the authority under `<dir>/pki`, or makes one.
    pub fn open(dir: &Path, now: SystemTime) -> Result<Self, AuthError> {
        Self::open_stem(dir, "ca", now)
    }

    /// The other authority, which signs nobody but the API server itself: extension servers that trust it believe what the
    /// bearer of such a certificate says of its callers.
    pub fn open_front_proxy(dir: &Path, now: SystemTime) -> Result<Self, AuthError> {
        Self::open_stem(dir, "front-proxy-ca", now)
    }

    fn open_stem(dir: &Path, stem: &'static str, now: SystemTime) -> Result<Self, AuthError> {
        let dir = dir.join("pki");
        files::make_dir(&dir)?;
        let (crt, key) = (dir.join(format!("{stem}.crt")), dir.join(format!("{stem}.key")));
        match (files::read(&crt)?, files::read(&key)?) {
            (Some(certificate), Some(key)) => Self::load(dir, stem, certificate, &key),
            // The key is written first: with it alone the first start was cut short and nobody trusts it yet.
            (None, _) => Self::create(dir, stem, now),
            (Some(_), None) => {
                let reason = format!("the key of {stem}.crt is missing");
                Err(AuthError::Damaged { path: key, reason })
            }
        }
    }

    fn load(
        dir: PathBuf,
        stem: &'static str,
        certificate_pem: String,
        key_pem: &str,
    ) -> Result<Self, AuthError> {
        let damaged = |end: &str, reason: String| AuthError::Damaged {
            path: dir.join(format!("{stem}.{end}")),
            reason,
        };
        let key = KeyPair::from_pem(key_pem).map_err(|error| damaged("key", error.to_string()))?;
        let certificate = CertificateDer::from_pem_slice(certificate_pem.as_bytes())
            .map_err(|error| damaged("crt", error.to_string()))?;
        let parsed = parse(&certificate).map_err(|reason| damaged("crt", reason))?;
        if parsed.public_key().subject_public_key.data != key.public_key_raw() {
            return Err(damaged("key", format!("it is not the key of {stem}.crt")));
        }
        let issuer = Issuer::from_ca_cert_der(&certificate, key)
            .map_err(|error| damaged("crt", error.to_string()))?;
        Ok(Self { dir, stem, certificate_pem, certificate, issuer })
    }

    fn create(dir: PathBuf, stem: &'static str, now: SystemTime) -> Result<Self, AuthError> {
        let issue = |source| AuthError::Issue { what: "authority", source };
        let key = KeyPair::generate().map_err(issue)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, format!("beeline-{stem}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        params.not_before = (now - BACKDATED).into();
        params.not_after = (now + CA_LIFETIME).into();
        let certificate = params.self_signed(&key).map_err(issue)?;
        files::write(&dir.join(format!("{stem}.key")), &key.serialize_pem())?;
        files::write(&dir.join(format!("{stem}.crt")), &certificate.pem())?;
        tracing::info!(dir = %dir.display(), stem, "made a certificate authority");
        Ok(Self {
            dir,
            stem,
            certificate_pem: certificate.pem(),
            certificate: certificate.der().clone(),
            issuer: Issuer::new(params, key),
        })
    }

    /// What clients must trust, in PEM.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The SHA-256 of the authority's certificate, in hex: what a join token pins.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        token::fingerprint(&self.certificate)
    }

    /// Where keys and certificates are.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The server's certificate: the stored one while it has exactly these names and time left.
    pub fn server(&self, names: &ServerNames, now: SystemTime) -> Result<Certified, AuthError> {
        let leaf = Leaf {
            what: "server",
            user: "beeline-apiserver",
            group: None,
            names: names.names.iter().cloned().collect(),
            usage: ExtendedKeyUsagePurpose::ServerAuth,
        };
        self.stored("server", &leaf, now)
    }

    /// The certificate of the cluster's administrator, as stored or made anew.
    pub fn admin(&self, now: SystemTime) -> Result<Certified, AuthError> {
        let leaf = Leaf {
            what: "admin",
            user: "kubernetes-admin",
            group: Some("system:masters"),
            names: Vec::new(),
            usage: ExtendedKeyUsagePurpose::ClientAuth,
        };
        self.stored("admin", &leaf, now)
    }

    /// What the API server shows to extension servers, as stored or made anew.
    pub fn front_proxy_client(&self, now: SystemTime) -> Result<Certified, AuthError> {
        let leaf = Leaf {
            what: "front proxy",
            user: FRONT_PROXY_CLIENT,
            group: None,
            names: Vec::new(),
            usage: ExtendedKeyUsagePurpose::ClientAuth,
        };
        self.stored(FRONT_PROXY_CLIENT, &leaf, now)
    }

    /// A client certificate with a fresh key, not stored.
    pub fn client(
        &self,
        user: &str,
        group: Option<&str>,
        now: SystemTime,
    ) -> Result<Certified, AuthError> {
        let usage = ExtendedKeyUsagePurpose::ClientAuth;
        self.issue(&Leaf { what: "client", user, group, names: Vec::new(), usage }, now)
    }

    /// The kubeconfig of the administrator for a server at `server_url`.
    pub fn admin_kubeconfig(&self, server_url: &str, now: SystemTime) -> Result<String, AuthError> {
        Ok(crate::kubeconfig(
            server_url,
            &self.certificate_pem,
            "kubernetes-admin",
            &self.admin(now)?,
        ))
    }

    /// Signs `request`'s key under the given name, with nothing of what the request says.
    pub(crate) fn sign_key(
        &self,
        request: CertificateSigningRequestParams,
        user: &str,
        group: &str,
        now: SystemTime,
    ) -> Result<String, AuthError> {
        let usage = ExtendedKeyUsagePurpose::ClientAuth;
        let leaf = Leaf { what: "node", user, group: Some(group), names: Vec::new(), usage };
        let issue = |source| AuthError::Issue { what: leaf.what, source };
        let params = leaf.params(now).map_err(issue)?;
        let request = CertificateSigningRequestParams { params, public_key: request.public_key };
        Ok(request.signed_by(&self.issuer).map_err(issue)?.pem())
    }

    /// Signs a key under all that `params` say; the caller has checked them.
    pub(crate) fn sign_params(
        &self,
        params: CertificateParams,
        public_key: PublicKey,
    ) -> Result<String, AuthError> {
        let request = CertificateSigningRequestParams { params, public_key };
        let signed = request
            .signed_by(&self.issuer)
            .map_err(|source| AuthError::Issue { what: "requested", source })?;
        Ok(signed.pem())
    }

    fn stored(&self, name: &str, leaf: &Leaf<'_>, now: SystemTime) -> Result<Certified, AuthError> {
        let (crt, key) =
            (self.dir.join(format!("{name}.crt")), self.dir.join(format!("{name}.key")));
        if let (Some(certificate_pem), Some(key_pem)) = (files::read(&crt)?, files::read(&key)?) {
            match self.still_good(&certificate_pem, &key_pem, leaf, now) {
                Ok(()) => return Ok(Certified { certificate_pem, key_pem }),
                Err(why) => tracing::info!(certificate = name, why, "making a new certificate"),
            }
        }
        let made = self.issue(leaf, now)?;
        files::write(&key, &made.key_pem)?;
        files::write(&crt, &made.certificate_pem)?;
        Ok(made)
    }

    fn issue(&self, leaf: &Leaf<'_>, now: SystemTime) -> Result<Certified, AuthError> {
        let issue = |source| AuthError::Issue { what: leaf.what, source };
        let key = KeyPair::generate().map_err(issue)?;
        let params = leaf.params(now).map_err(issue)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(issue)?;
        Ok(Certified { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }

    /// Why a stored leaf must be made anew, if it must.
    fn still_good(
        &self,
        pem: &str,
        key_pem: &str,
        leaf: &Leaf<'_>,
        now: SystemTime,
    ) -> Result<(), String> {
        let der =
            CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| error.to_string())?;
        let certificate = parse(&der)?;
        let key = KeyPair::from_pem(key_pem).map_err(|error| error.to_string())?;
        if certificate.public_key().subject_public_key.data != key.public_key_raw() {
            return Err("its key is another's".into());
        }
        let ca = parse(&self.certificate)?;
        certificate
            .verify_signature(Some(ca.public_key()))
            .map_err(|_| "it is not signed by this authority".to_owned())?;
        let end = certificate.validity().not_after.timestamp();
        let start = certificate.validity().not_before.timestamp();
        let renew = seconds(now + RENEW_BEFORE);
        if end < renew || start > seconds(now) {
            return Err("less than 30 days are left".into());
        }
        let wanted: BTreeSet<String> = leaf.names.iter().cloned().collect();
        if names_of(&certificate) != wanted {
            return Err("its names have changed".into());
        }
        Ok(())
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("dir", &self.dir)
            .field("stem", &self.stem)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Certified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certified")
            .field("certificate_pem", &self.certificate_pem)
            .finish_non_exhaustive()
    }
}

// === impl ServerNames ===

impl ServerNames {
    /// What every server answers to: localhost, the in-cluster names, and `service_address` (10.43.0.1 by default).
    #[must_use]
    pub fn standard(service_address: IpAddr, node_name: &str) -> Self {
        let names = [
            "localhost",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
            "127.0.0.1",
            node_name,
        ];
        let mut all = Self::default();
        all.names.extend(names.map(str::to_owned));
        all.with([service_address.to_string()])
    }

    /// More names or addresses.
    #[must_use]
    pub fn with(mut self, extra: impl IntoIterator<Item = String>) -> Self {
        self.names.extend(extra);
        self
    }
}

// === impl Leaf ===

impl Leaf<'_> {
    fn params(&self, now: SystemTime) -> Result<CertificateParams, rcgen::Error> {
        let mut params = CertificateParams::new(self.names.clone())?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        if let Some(group) = self.group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.distinguished_name.push(DnType::CommonName, self.user);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![self.usage.clone()];
        params.use_authority_key_identifier_extension = true;
        params.not_before = (now - BACKDATED).into();
        params.not_after = (now + LEAF_LIFETIME + DAY).into();
        Ok(params)
    }
}

fn parse<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, String> {
    X509Certificate::from_der(der)
        .map(|(_, certificate)| certificate)
        .map_err(|error| error.to_string())
}

fn names_of(certificate: &X509Certificate<'_>) -> BTreeSet<String> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else {
        return BTreeSet::new();
    };
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => address(bytes),
        _ => None,
    };
    extension.value.general_names.iter().filter_map(name).collect()
}

fn address(bytes: &[u8]) -> Option<String> {
    let four = <[u8; 4]>::try_from(bytes).map(|bytes| IpAddr::from(bytes).to_string());
    let sixteen = <[u8; 16]>::try_from(bytes).map(|bytes| IpAddr::from(bytes).to_string());
    four.or(sixteen).ok()
}

fn seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
