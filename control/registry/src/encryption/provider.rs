//! One key of one provider: bytes in, bytes out, in the formats of upstream's providers of these names.
//!
//! `aesgcm`: nonce of 12 bytes, ciphertext, tag; the key in the store is authenticated too, so values cannot change places.
//! `secretbox`: nonce of 24 bytes, then NaCl's box. `aescbc`: block of random bytes, then blocks with PKCS #7 padding, which
//! nothing authenticates. Every value has a nonce of its own, from the system's random numbers.

use aes::{Aes128, Aes192, Aes256};
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockDecryptMut as _, BlockEncryptMut as _, KeyIvInit as _};
use crypto_secretbox::XSalsa20Poly1305;
use crypto_secretbox::aead::{Aead as _, KeyInit as _};
use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::rand::{SecureRandom as _, SystemRandom};

use super::MARK;

const GCM_NONCE_BYTES: usize = 12;
const BOX_NONCE_BYTES: usize = 24;
const BLOCK_BYTES: usize = 16;

/// How a provider encrypts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cipher {
    AesGcm,
    AesCbc,
    Secretbox,
}

/// What reads and writes values.
pub(super) enum Provider {
    /// Leaves them as they are.
    Identity,
    Keyed {
        /// What its values begin with.
        prefix: Vec<u8>,
        key: Key,
    },
}

pub(super) enum Key {
    Gcm(Box<LessSafeKey>),
    Cbc(Vec<u8>),
    Secretbox(Box<XSalsa20Poly1305>),
}

impl Cipher {
    fn name(self) -> &'static str {
        match self {
            Self::AesGcm => "aesgcm",
            Self::AesCbc => "aescbc",
            Self::Secretbox => "secretbox",
        }
    }

    /// How long its keys may be.
    pub(super) fn lengths(self) -> &'static str {
        match self {
            Self::AesGcm => "16 or 32",
            Self::AesCbc => "16, 24 or 32",
            Self::Secretbox => "32",
        }
    }
}

impl Provider {
    /// None if the secret has a wrong length.
    pub(super) fn new(cipher: Cipher, name: &str, secret: &[u8]) -> Option<Self> {
        let key = match (cipher, secret.len()) {
            (Cipher::AesGcm, length @ (16 | 32)) => {
                let algorithm = if length == 16 { &AES_128_GCM } else { &AES_256_GCM };
                Key::Gcm(Box::new(LessSafeKey::new(UnboundKey::new(algorithm, secret).ok()?)))
            }
            (Cipher::AesCbc, 16 | 24 | 32) => Key::Cbc(secret.to_vec()),
            (Cipher::Secretbox, 32) => {
                Key::Secretbox(Box::new(XSalsa20Poly1305::new_from_slice(secret).ok()?))
            }
            _ => return None,
        };
        let mark = String::from_utf8_lossy(MARK);
        Some(Self::Keyed { prefix: format!("{mark}{}:v1:{name}:", cipher.name()).into(), key })
    }

    /// Whether a value is this key's.
    pub(super) fn wrote(&self, value: &[u8]) -> bool {
        match self {
            Self::Identity => !value.starts_with(MARK),
            Self::Keyed { prefix, .. } => value.starts_with(prefix),
        }
    }

    /// None only if there is no randomness.
    pub(super) fn seal(&self, place: &str, value: &[u8]) -> Option<Vec<u8>> {
        let Self::Keyed { prefix, key } = self else { return Some(value.to_vec()) };
        let mut out = Vec::with_capacity(prefix.len() + value.len() + 64);
        out.extend_from_slice(prefix);
        match key {
            Key::Gcm(key) => {
                let nonce = random::<GCM_NONCE_BYTES>()?;
                out.extend_from_slice(&nonce);
                let mut text = value.to_vec();
                let (nonce, place) =
                    (Nonce::assume_unique_for_key(nonce), Aad::from(place.as_bytes()));
                key.seal_in_place_append_tag(nonce, place, &mut text).ok()?;
                out.extend_from_slice(&text);
            }
            Key::Secretbox(key) => {
                let nonce = random::<BOX_NONCE_BYTES>()?;
                out.extend_from_slice(&nonce);
                out.extend_from_slice(&key.encrypt(&nonce.into(), value).ok()?);
            }
            Key::Cbc(secret) => {
                let first = random::<BLOCK_BYTES>()?;
                out.extend_from_slice(&first);
                out.extend_from_slice(&encrypt_blocks(secret, &first, value)?);
            }
        }
        Some(out)
    }

    /// None if it is another key's, or not what was written in that place.
    pub(super) fn unseal(&self, place: &str, value: &[u8]) -> Option<Vec<u8>> {
        let Self::Keyed { prefix, key } = self else { return Some(value.to_vec()) };
        let sealed = value.strip_prefix(prefix.as_slice())?;
        match key {
            Key::Gcm(key) => {
                let (nonce, sealed) = sealed.split_at_checked(GCM_NONCE_BYTES)?;
                let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
                let mut text = sealed.to_vec();
                let place = Aad::from(place.as_bytes());
                let length = key.open_in_place(nonce, place, &mut text).ok()?.len();
                text.truncate(length);
                Some(text)
            }
            Key::Secretbox(key) => {
                let (nonce, sealed) = sealed.split_at_checked(BOX_NONCE_BYTES)?;
                let nonce: [u8; BOX_NONCE_BYTES] = nonce.try_into().ok()?;
                key.decrypt(&nonce.into(), sealed).ok()
            }
            Key::Cbc(secret) => {
                let (first, sealed) = sealed.split_at_checked(BLOCK_BYTES)?;
                decrypt_blocks(secret, first, sealed)
            }
        }
    }
}

impl PartialEq for Provider {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Identity, Self::Identity) => true,
            (Self::Keyed { prefix: one, .. }, Self::Keyed { prefix: other, .. }) => one == other,
            _ => false,
        }
    }
}

/// Without the key.
impl std::fmt::Debug for Provider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Identity => f.write_str("identity"),
            Self::Keyed { prefix, .. } => f.write_str(&String::from_utf8_lossy(prefix)),
        }
    }
}

/// Provider and key of an encrypted value, as far as it can be read.
pub(super) fn name_in(value: &[u8]) -> String {
    let mut parts = value.get(MARK.len()..).unwrap_or_default().splitn(4, |byte| *byte == b':');
    let mut text = || String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
    let (provider, _version, key) = (text(), text(), text());
    format!("provider {provider}, key {key}")
}

fn random<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(bytes)
}

fn encrypt_blocks(secret: &[u8], first: &[u8], text: &[u8]) -> Option<Vec<u8>> {
    Some(match secret.len() {
        16 => cbc::Encryptor::<Aes128>::new_from_slices(secret, first)
            .ok()?
            .encrypt_padded_vec_mut::<Pkcs7>(text),
        24 => cbc::Encryptor::<Aes192>::new_from_slices(secret, first)
            .ok()?
            .encrypt_padded_vec_mut::<Pkcs7>(text),
        _ => cbc::Encryptor::<Aes256>::new_from_slices(secret, first)
            .ok()?
            .encrypt_padded_vec_mut::<Pkcs7>(text),
    })
}

fn decrypt_blocks(secret: &[u8], first: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    match secret.len() {
        16 => cbc::Decryptor::<Aes128>::new_from_slices(secret, first)
            .ok()?
            .decrypt_padded_vec_mut::<Pkcs7>(sealed)
            .ok(),
        24 => cbc::Decryptor::<Aes192>::new_from_slices(secret, first)
            .ok()?
            .decrypt_padded_vec_mut::<Pkcs7>(sealed)
            .ok(),
        _ => cbc::Decryptor::<Aes256>::new_from_slices(secret, first)
            .ok()?
            .decrypt_padded_vec_mut::<Pkcs7>(sealed)
            .ok(),
    }
}
