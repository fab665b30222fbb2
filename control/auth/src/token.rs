//! Join tokens: `bl1.<sha256 of the authority's certificate>.<secret>`.
//!
//! The first half lets a node recognise the cluster before it trusts anything; the second lets the cluster
//! recognise the node. Refuses: comparing in a time that depends on the secret.

use std::fmt;
use std::path::Path;

use rand::RngCore as _;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use sha2::{Digest as _, Sha256};

use crate::{AuthError, Authority, files};

const PREFIX: &str = "bl1";
const SECRET_BYTES: usize = 24;

/// What a new node is given to join.
#[derive(Clone)]
pub struct JoinToken {
    fingerprint: String,
    secret: String,
}

impl JoinToken {
    /// The stored token of this authority, or a new one, kept in `join-token` beside the keys.
    pub fn open(authority: &Authority) -> Result<Self, AuthError> {
        let path = authority.dir().join("join-token");
        if let Some(text) = files::read(&path)? {
            let token = Self::parse(text.trim()).map_err(|error| AuthError::Damaged {
                path: path.clone(),
                reason: error.to_string(),
            })?;
            if token.fingerprint == authority.fingerprint() {
                return Ok(token);
            }
            tracing::warn!("the stored join token is of another authority, making a new one");
        }
        Self::replace(authority, &path)
    }

    /// Makes a new token; the old one is worth nothing from now on.
    pub fn rotate(authority: &Authority) -> Result<Self, AuthError> {
        Self::replace(authority, &authority.dir().join("join-token"))
    }

    fn replace(authority: &Authority, path: &Path) -> Result<Self, AuthError> {
        let mut bytes = [0; SECRET_BYTES];
        rand::rng().fill_bytes(&mut bytes);
        let token = Self { fingerprint: authority.fingerprint(), secret: hex(&bytes) };
        files::write(path, &format!("{}\n", token.reveal()))?;
        Ok(token)
    }

    /// Reads a token as the user pasted it.
    pub fn parse(text: &str) -> Result<Self, AuthError> {
        let mut parts = text.trim().split('.');
        let (Some(PREFIX), Some(fingerprint), Some(secret), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(AuthError::Token("it does not look like bl1.<hash>.<secret>"));
        };
        let is_hex = |text: &str| {
            text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
        };
        if fingerprint.len() != 64 || !is_hex(fingerprint) {
            return Err(AuthError::Token("its middle part must be 64 hex digits: was it cut off?"));
        }
        if secret.len() != 2 * SECRET_BYTES || !is_hex(secret) {
            return Err(AuthError::Token("its last part must be 48 hex digits: was it cut off?"));
        }
        Ok(Self { fingerprint: fingerprint.to_owned(), secret: secret.to_owned() })
    }

    /// The text to hand over. Named so that it is not printed by accident.
    #[must_use]
    pub fn reveal(&self) -> String {
        format!("{PREFIX}.{}.{}", self.fingerprint, self.secret)
    }

    /// The server's question: is this our token? Takes the same time whatever differs.
    pub fn verify(&self, presented: &str) -> Result<(), AuthError> {
        // Comparing digests hides the position of the first difference even from a clever clock.
        let [ours, theirs] = [self.reveal().as_str(), presented.trim()].map(Sha256::digest);
        let difference = ours.iter().zip(theirs.iter()).fold(0, |all, (a, b)| all | (a ^ b));
        if difference == 0 { Ok(()) } else { Err(AuthError::Token("it is not this cluster's")) }
    }

    /// The node's question: is the certificate fetched from an unverified server the one the token names?
    /// The answer is exactly that certificate, in PEM, to be trusted from here on.
    pub fn verify_authority(&self, fetched_pem: &[u8]) -> Result<String, AuthError> {
        let pem = std::str::from_utf8(fetched_pem)
            .map_err(|_| AuthError::Token("the server sent no certificate"))?;
        let mut all = CertificateDer::pem_slice_iter(fetched_pem);
        let (Some(Ok(der)), None) = (all.next(), all.next()) else {
            return Err(AuthError::Token("the server did not send exactly one certificate"));
        };
        if fingerprint(&der) != self.fingerprint {
            return Err(AuthError::Token(
                "the server's authority is another one: wrong address, or someone is in between",
            ));
        }
        Ok(pem.to_owned())
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinToken({PREFIX}.{}.***)", self.fingerprint)
    }
}

/// SHA-256 in hex.
pub(crate) fn fingerprint(der: &[u8]) -> String {
    hex(&Sha256::digest(der))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn a_token_lives_until_it_is_rotated() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::open(dir.path(), SystemTime::now()).unwrap();
        let first = JoinToken::open(&authority).unwrap();
        let again = JoinToken::open(&authority).unwrap();
        again.verify(&first.reveal()).unwrap();
        again.verify(&format!(" {}\n", first.reveal())).unwrap();
        let rotated = JoinToken::rotate(&authority).unwrap();
        assert!(rotated.verify(&first.reveal()).is_err());
        assert!(!format!("{rotated:?}").contains(&rotated.secret));
    }

    #[test]
    fn it_pins_the_authority() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let ours = Authority::open(one.path(), SystemTime::now()).unwrap();
        let other = Authority::open(two.path(), SystemTime::now()).unwrap();
        let token = JoinToken::parse(&JoinToken::open(&ours).unwrap().reveal()).unwrap();
        assert_eq!(
            token.verify_authority(ours.certificate_pem().as_bytes()).unwrap(),
            ours.certificate_pem()
        );
        assert!(token.verify_authority(other.certificate_pem().as_bytes()).is_err());
        let both = format!("{}{}", ours.certificate_pem(), other.certificate_pem());
        assert!(token.verify_authority(both.as_bytes()).is_err());
        assert!(token.verify_authority(b"").is_err());
    }

    #[test]
    fn what_is_no_token_is_explained() {
        for text in [
            "",
            "bl1",
            "bl2.a.b",
            "bl1.ab.cd",
            "bl1.ab.cd.ef",
            &format!("bl1.{}.x", "a".repeat(64)),
        ] {
            assert!(matches!(JoinToken::parse(text), Err(AuthError::Token(_))), "{text}");
        }
    }
}
