//! Tokens of service accounts: JSON web tokens (RFC 7519) signed with ES256, as KEP-1205 lays them out.
//!
//! In: who the token is for, until when, for which audiences. Out: the token; of a presented one, what it claims, checked
//! for signature, issuer, audience and time. Whether the account and the Pod still exist is for those who know objects.
//! The key lies in `<dir>/pki/sa.key` and is made at the first start; its public half is published as a JSON web key set.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use rcgen::{KeyPair, PublicKeyData as _};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{AuthError, Authority, Identity, files};

/// As upstream calls the cluster itself.
pub const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
/// Every service account's user name begins so.
pub const USER_PREFIX: &str = "system:serviceaccount:";
/// Clocks may differ by this much.
const LEEWAY_SECONDS: u64 = 10;
/// Bytes of an uncompressed P-256 point: a tag and two coordinates.
const POINT_BYTES: usize = 65;

/// Makes and checks tokens.
pub struct Issuer {
    signing: EncodingKey,
    verifying: DecodingKey,
    key_id: String,
    point: [u8; POINT_BYTES],
}

/// An object by name and uid.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// Its name.
    pub name: String,
    /// Its uid.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
}

/// What a token says about its account and what it is bound to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    /// Of the account.
    pub namespace: String,
    /// Whose.
    pub serviceaccount: Reference,
    /// The Pod that it dies with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Reference>,
    /// Where that Pod runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Reference>,
    /// The Secret that it dies with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Reference>,
    /// Seconds since 1970 from which its use is remarked on: it was asked for a shorter life than it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warnafter: Option<u64>,
}

/// A token's contents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// For whom it is to be shown.
    pub aud: Vec<String>,
    /// Seconds since 1970 from which it is worth nothing.
    pub exp: u64,
    /// Seconds since 1970 at which it was made.
    pub iat: u64,
    /// Who made it.
    pub iss: String,
    /// Its own number.
    pub jti: String,
    /// Account and binding.
    #[serde(rename = "kubernetes.io")]
    pub bound: Bound,
    /// Seconds since 1970 from which it is good.
    pub nbf: u64,
    /// The user.
    pub sub: String,
}

/// The user name of an account.
#[must_use]
pub fn user_name(namespace: &str, name: &str) -> String {
    format!("{USER_PREFIX}{namespace}:{name}")
}

impl Claims {
    /// Who a token with these claims speaks for.
    #[must_use]
    pub fn identity(&self) -> Identity {
        let bound = &self.bound;
        let groups = [
            "system:serviceaccounts".to_owned(),
            format!("system:serviceaccounts:{}", bound.namespace),
        ];
        let mut extra = BTreeMap::new();
        let mut tell = |key: &str, value: &str| {
            if !value.is_empty() {
                extra.insert(format!("authentication.kubernetes.io/{key}"), vec![value.to_owned()]);
            }
        };
        for (kind, reference) in [("pod", &bound.pod), ("node", &bound.node)] {
            if let Some(reference) = reference {
                tell(&format!("{kind}-name"), &reference.name);
                tell(&format!("{kind}-uid"), &reference.uid);
            }
        }
        tell("credential-id", &format!("JTI={}", self.jti));
        let uid = bound.serviceaccount.uid.clone();
        Identity { user: self.sub.clone(), groups: groups.to_vec(), uid, extra }
    }
}

impl Issuer {
    /// The cluster's, or a new one at the first start.
    pub fn open(authority: &Authority) -> Result<Self, AuthError> {
        let path = authority.dir().join("sa.key");
        let text = match files::read(&path)? {
            Some(text) => text,
            None => {
                let made = KeyPair::generate()
                    .map_err(|source| AuthError::Issue { what: "service account", source })?;
                files::write(&path, &made.serialize_pem())?;
                made.serialize_pem()
            }
        };
        Self::from_pem(&text).map_err(|reason| AuthError::Damaged { path, reason })
    }

    fn from_pem(text: &str) -> Result<Self, String> {
        let key = KeyPair::from_pem(text).map_err(|error| error.to_string())?;
        let point: [u8; POINT_BYTES] = key
            .der_bytes()
            .try_into()
            .map_err(|_| "it is not a key of the curve P-256".to_owned())?;
        let signing =
            EncodingKey::from_ec_pem(text.as_bytes()).map_err(|error| error.to_string())?;
        let verifying = DecodingKey::from_ec_der(&point);
        let key_id = URL_SAFE_NO_PAD.encode(Sha256::digest(key.subject_public_key_info()));
        Ok(Self { signing, verifying, key_id, point })
    }

    /// Makes a token that is good from `now` for `lifetime`.
    pub fn issue(
        &self,
        bound: Bound,
        audiences: Vec<String>,
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<(String, Claims), AuthError> {
        let now = seconds(now);
        let mut number = [0; 16];
        rand::RngCore::fill_bytes(&mut rand::rng(), &mut number);
        let claims = Claims {
            aud: if audiences.is_empty() { vec![ISSUER.to_owned()] } else { audiences },
            exp: now + lifetime.as_secs(),
            iat: now,
            iss: ISSUER.to_owned(),
            jti: uuid(number),
            nbf: now,
            sub: user_name(&bound.namespace, &bound.serviceaccount.name),
            bound,
        };
        let header = Header { kid: Some(self.key_id.clone()), ..Header::new(Algorithm::ES256) };
        let token = jsonwebtoken::encode(&header, &claims, &self.signing)
            .map_err(|error| AuthError::Bearer(format!("sign it: {error}")))?;
        Ok((token, claims))
    }

    /// What a token claims, if it is ours, for one of `audiences`, and good at `now`.
    pub fn verify(
        &self,
        token: &str,
        audiences: &[String],
        now: SystemTime,
    ) -> Result<Claims, AuthError> {
        let mut wanted = Validation::new(Algorithm::ES256);
        wanted.set_audience(audiences);
        wanted.set_issuer(&[ISSUER]);
        // The library only knows the machine's clock; the times are compared below.
        wanted.validate_exp = false;
        let claims: Claims = jsonwebtoken::decode(token, &self.verifying, &wanted)
            .map_err(|error| AuthError::Bearer(error.to_string()))?
            .claims;
        let now = seconds(now);
        if now >= claims.exp + LEEWAY_SECONDS {
            return Err(AuthError::Bearer("it has expired".to_owned()));
        }
        if now + LEEWAY_SECONDS < claims.nbf {
            return Err(AuthError::Bearer("it is not good yet".to_owned()));
        }
        let bound = &claims.bound;
        if claims.sub != user_name(&bound.namespace, &bound.serviceaccount.name) {
            return Err(AuthError::Bearer("its subject is not its account".to_owned()));
        }
        Ok(claims)
    }

    /// Whether it looks like a token of this kind: three parts, as bootstrap tokens have two.
    #[must_use]
    pub fn looks_like_one(token: &str) -> bool {
        token.split('.').count() == 3
    }

    /// Public keys as a JSON web key set (RFC 7517), for `/openid/v1/jwks`.
    #[must_use]
    pub fn key_set(&self) -> KeySet {
        let (x, y) = self.point[1..].split_at(POINT_BYTES / 2);
        KeySet {
            keys: vec![PublicKey {
                usage: "sig",
                kty: "EC",
                kid: self.key_id.clone(),
                crv: "P-256",
                alg: "ES256",
                x: URL_SAFE_NO_PAD.encode(x),
                y: URL_SAFE_NO_PAD.encode(y),
            }],
        }
    }
}

impl std::fmt::Debug for Issuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issuer").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

/// A JSON web key set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeySet {
    keys: Vec<PublicKey>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct PublicKey {
    #[serde(rename = "use")]
    usage: &'static str,
    kty: &'static str,
    kid: String,
    crv: &'static str,
    alg: &'static str,
    x: String,
    y: String,
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// RFC 9562, version 4.
fn uuid(mut bytes: [u8; 16]) -> String {
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    fn at(seconds: u64) -> SystemTime {
        NOW + Duration::from_secs(1_700_000_000 + seconds)
    }

    fn issuer() -> (tempfile::TempDir, Authority, Issuer) {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::open(dir.path(), SystemTime::now()).unwrap();
        let issuer = Issuer::open(&authority).unwrap();
        (dir, authority, issuer)
    }

    fn bound() -> Bound {
        let reference = |name: &str| Reference { name: name.into(), uid: format!("uid-of-{name}") };
        Bound {
            namespace: "ns".into(),
            serviceaccount: reference("robot"),
            pod: Some(reference("web-0")),
            ..Bound::default()
        }
    }

    #[test]
    fn a_token_is_good_for_its_time_and_audience() {
        let (_dir, authority, issuer) = issuer();
        let hour = Duration::from_secs(3_600);
        let (token, made) = issuer.issue(bound(), vec!["vault".into()], hour, at(0)).unwrap();
        assert!(Issuer::looks_like_one(&token));
        let vault = ["vault".to_owned()];
        let seen = issuer.verify(&token, &vault, at(3_599)).unwrap();
        assert_eq!(seen, made);
        assert_eq!(seen.sub, "system:serviceaccount:ns:robot");
        assert!(issuer.verify(&token, &vault, at(3_700)).is_err());
        assert!(issuer.verify(&token, &[ISSUER.to_owned()], at(1)).is_err());
        // The same key after a restart.
        let again = Issuer::open(&authority).unwrap();
        again.verify(&token, &vault, at(1)).unwrap();
        assert_eq!(again.key_set(), issuer.key_set());
    }

    #[test]
    fn who_it_speaks_for() {
        let (_dir, _, issuer) = issuer();
        let (_, claims) = issuer.issue(bound(), vec![], Duration::from_secs(1), at(0)).unwrap();
        let identity = claims.identity();
        assert_eq!(identity.user, "system:serviceaccount:ns:robot");
        assert_eq!(identity.groups, ["system:serviceaccounts", "system:serviceaccounts:ns"]);
        assert_eq!(identity.uid, "uid-of-robot");
        assert_eq!(identity.extra["authentication.kubernetes.io/pod-name"], ["web-0"]);
    }

    #[test]
    fn forged_tokens_are_refused() {
        let (_one, _, ours) = issuer();
        let (_two, _, theirs) = issuer();
        let hour = Duration::from_secs(3_600);
        let audience = [ISSUER.to_owned()];
        let (foreign, _) = theirs.issue(bound(), vec![], hour, at(0)).unwrap();
        let (mut good, _) = ours.issue(bound(), vec![], hour, at(0)).unwrap();
        assert!(ours.verify(&foreign, &audience, at(1)).is_err());
        let unsigned = {
            let (head, rest) = good.split_once('.').unwrap();
            let (body, _) = rest.split_once('.').unwrap();
            assert!(!head.is_empty());
            format!("{}.{body}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#))
        };
        assert!(ours.verify(&unsigned, &audience, at(1)).is_err());
        let last = good.pop().unwrap();
        assert!(ours.verify(&good, &audience, at(1)).is_err());
        good.push(if last == 'A' { 'Q' } else { 'A' });
        assert!(ours.verify(&good, &audience, at(1)).is_err());
        for text in ["", "a.b.c", "...", "eyJ.eyJ.x"] {
            assert!(ours.verify(text, &audience, at(1)).is_err(), "{text}");
        }
    }
}
