//! TLS configurations of both ends; the provider is named here, so no process-wide one is needed.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};

use crate::{AuthError, Certified};

/// Whether the server looks at client certificates. Those it looks at must be signed by the authority;
/// a client without one is let through as anonymous, and access decisions come later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCertificates {
    /// Asked for, verified if given.
    Optional,
    /// Not asked for.
    Ignored,
}

/// The server's end: HTTP/2 preferred, HTTP/1.1 spoken.
pub fn server_config(
    ca_pem: &str,
    server: &Certified,
    clients: ClientCertificates,
) -> Result<Arc<ServerConfig>, AuthError> {
    let failed = |reason: String| AuthError::Tls { what: "the server", reason };
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(error.to_string()))?;
    let builder = match clients {
        ClientCertificates::Ignored => builder.with_no_client_auth(),
        ClientCertificates::Optional => {
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots(ca_pem)?), provider())
                    .allow_unauthenticated()
                    .build()
                    .map_err(|error| failed(error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let (chain, key) = pair(server)?;
    let mut config =
        builder.with_single_cert(chain, key).map_err(|error| failed(error.to_string()))?;
    config.alpn_protocols = alpn();
    Ok(Arc::new(config))
}

/// The client's end: trusts only `ca_pem`, shows `client` if given.
pub fn client_config(
    ca_pem: &str,
    client: Option<&Certified>,
) -> Result<Arc<ClientConfig>, AuthError> {
    let failed = |reason: String| AuthError::Tls { what: "the client", reason };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(error.to_string()))?
        .with_root_certificates(roots(ca_pem)?);
    let mut config = match client {
        None => builder.with_no_client_auth(),
        Some(client) => {
            let (chain, key) = pair(client)?;
            builder.with_client_auth_cert(chain, key).map_err(|error| failed(error.to_string()))?
        }
    };
    config.alpn_protocols = alpn();
    Ok(Arc::new(config))
}

/// The client's end for one purpose: to fetch the authority's certificate before anything is trusted.
/// It believes any server, so send no secret over it, and pass what it brings to `JoinToken::verify_authority`.
pub fn bootstrap_client_config() -> Result<Arc<ClientConfig>, AuthError> {
    let mut config = (*unverified_client_config(None)?).clone();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The client's end where somebody said that the server need not prove itself. Shows `client` if given.
pub fn unverified_client_config(
    client: Option<&Certified>,
) -> Result<Arc<ClientConfig>, AuthError> {
    let failed = |reason: String| AuthError::Tls { what: "an unverified client", reason };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Unverified(provider())));
    let mut config = match client {
        None => builder.with_no_client_auth(),
        Some(client) => {
            let (chain, key) = pair(client)?;
            builder.with_client_auth_cert(chain, key).map_err(|error| failed(error.to_string()))?
        }
    };
    config.alpn_protocols = alpn();
    Ok(Arc::new(config))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn alpn() -> Vec<Vec<u8>> {
    vec![b"h2".to_vec(), b"http/1.1".to_vec()]
}

fn roots(ca_pem: &str) -> Result<RootCertStore, AuthError> {
    let failed = |reason: String| AuthError::Tls { what: "the authority's certificate", reason };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
        let certificate = certificate.map_err(|error| failed(error.to_string()))?;
        roots.add(certificate).map_err(|error| failed(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(failed("no certificate in it".into()));
    }
    Ok(roots)
}

type Pair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn pair(certified: &Certified) -> Result<Pair, AuthError> {
    let failed = |error: rustls::pki_types::pem::Error| AuthError::Tls {
        what: "a certificate",
        reason: error.to_string(),
    };
    let chain = CertificateDer::pem_slice_iter(certified.certificate_pem.as_bytes());
    let chain = chain.collect::<Result<_, _>>().map_err(failed)?;
    let key = PrivateKeyDer::from_pem_slice(certified.key_pem.as_bytes()).map_err(failed)?;
    Ok((chain, key))
}

/// Believes any certificate, but still checks that the server has its key.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use rustls::{ClientConnection, ServerConnection};

    use super::*;
    use crate::{Authority, Identity, ServerNames};

    /// Both ends in memory, until neither has anything more to say.
    fn shake(
        client: Arc<ClientConfig>,
        server: Arc<ServerConfig>,
        name: &str,
    ) -> Result<ServerConnection, rustls::Error> {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut client = ClientConnection::new(client, name).unwrap();
        let mut server = ServerConnection::new(server).unwrap();
        while client.is_handshaking() || server.is_handshaking() || client.wants_write() {
            let mut wire = Vec::new();
            client.write_tls(&mut wire).unwrap();
            server.read_tls(&mut wire.as_slice()).unwrap();
            server.process_new_packets()?;
            let mut wire = Vec::new();
            server.write_tls(&mut wire).unwrap();
            client.read_tls(&mut wire.as_slice()).unwrap();
            client.process_new_packets()?;
        }
        Ok(server)
    }

    fn open(dir: &tempfile::TempDir) -> (Authority, Arc<ServerConfig>) {
        let now = SystemTime::now();
        let authority = Authority::open(dir.path(), now).unwrap();
        let names = ServerNames::standard([10, 43, 0, 1].into(), "node-1");
        let server = authority.server(&names, now).unwrap();
        let config =
            server_config(authority.certificate_pem(), &server, ClientCertificates::Optional)
                .unwrap();
        (authority, config)
    }

    #[test]
    fn the_server_learns_who_calls() {
        let dir = tempfile::tempdir().unwrap();
        let (authority, server) = open(&dir);
        let admin = authority.admin(SystemTime::now()).unwrap();
        let client = client_config(authority.certificate_pem(), Some(&admin)).unwrap();
        for name in ["localhost", "127.0.0.1", "10.43.0.1", "kubernetes.default.svc", "node-1"] {
            let session = shake(Arc::clone(&client), Arc::clone(&server), name).unwrap();
            let identity =
                Identity::from_certificate(&session.peer_certificates().unwrap()[0]).unwrap();
            assert_eq!(identity.user, "kubernetes-admin");
            assert_eq!(session.alpn_protocol(), Some(&b"h2"[..]));
        }
        assert!(shake(client, server, "elsewhere.example").is_err());
    }

    #[test]
    fn strangers_are_anonymous_or_turned_away() {
        let (dir, other_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (authority, server) = open(&dir);
        let (other, _) = open(&other_dir);
        let anonymous = client_config(authority.certificate_pem(), None).unwrap();
        assert!(
            shake(anonymous, Arc::clone(&server), "localhost")
                .unwrap()
                .peer_certificates()
                .is_none()
        );
        let foreign = other.admin(SystemTime::now()).unwrap();
        let forged = client_config(authority.certificate_pem(), Some(&foreign)).unwrap();
        assert!(shake(forged, Arc::clone(&server), "localhost").is_err());
        let misled = client_config(other.certificate_pem(), None).unwrap();
        assert!(shake(misled, Arc::clone(&server), "localhost").is_err());
        assert!(shake(bootstrap_client_config().unwrap(), server, "anything").is_ok());
    }
}
