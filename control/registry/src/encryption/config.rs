//! `apiserver.config.k8s.io/v1` EncryptionConfiguration: its file into rules.
//!
//! Refuses: unknown fields and providers, keys of a wrong length, key management services. Errors say where, and never
//! contain a secret.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use beeline_api::decode;
use serde::Deserialize;
use serde_json::Value;

use super::provider::{Cipher, Provider};

/// One entry of `resources`.
#[derive(Debug)]
pub(super) struct Rule {
    /// Plural and group; either may be `*`.
    resources: Vec<(String, String)>,
    pub(super) providers: Vec<Provider>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawConfig {
    api_version: String,
    kind: String,
    #[serde(default)]
    resources: Vec<RawRule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    providers: Vec<serde_json::Map<String, Value>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKeys {
    #[serde(default)]
    keys: Vec<RawKey>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKey {
    #[serde(default)]
    name: String,
    #[serde(default)]
    secret: String,
}

impl Rule {
    pub(super) fn names(&self, group: &str, plural: &str) -> bool {
        let fits = |(of, in_group): &(String, String)| {
            (of == "*" || of == plural) && (in_group == "*" || in_group == group)
        };
        self.resources.iter().any(fits)
    }
}

/// The rules of a file's text.
pub(super) fn parse(text: &str) -> Result<Vec<Rule>, String> {
    let value = decode::yaml(text.as_bytes()).map_err(|e| e.message)?.value;
    let raw: RawConfig = serde_json::from_value(value).map_err(|e| {
        format!("{e}; it has apiVersion, kind, and resources with resources and providers")
    })?;
    let is = (raw.api_version.as_str(), raw.kind.as_str());
    if is != ("apiserver.config.k8s.io/v1", "EncryptionConfiguration") {
        return Err(format!(
            "it is {} {}: give apiVersion apiserver.config.k8s.io/v1 and kind EncryptionConfiguration",
            is.0, is.1
        ));
    }
    if raw.resources.is_empty() {
        return Err("resources: there are none: name at least secrets, and a provider".to_owned());
    }
    raw.resources.iter().enumerate().map(|(i, rule)| self::rule(i, rule)).collect()
}

fn rule(i: usize, raw: &RawRule) -> Result<Rule, String> {
    if raw.resources.is_empty() {
        return Err(format!("resources[{i}].resources: there are none: name at least one"));
    }
    if raw.providers.is_empty() {
        return Err(format!("resources[{i}].providers: there are none: give at least one"));
    }
    let resources = raw.resources.iter().map(|text| {
        let (plural, group) = text.split_once('.').unwrap_or((text, ""));
        match (plural, group, text.contains('.')) {
            ("", ..) | ("*", "", false) => Err(format!(
                "resources[{i}].resources: {text:?}: give PLURAL, PLURAL.GROUP, *.GROUP, `*.` for the core group, \
                 or *.* for everything"
            )),
            _ => Ok((plural.to_owned(), group.to_owned())),
        }
    });
    let resources = resources.collect::<Result<_, String>>()?;
    let mut providers = Vec::new();
    for (j, provider) in raw.providers.iter().enumerate() {
        let at = format!("resources[{i}].providers[{j}]");
        let mut parts = provider.iter();
        match (parts.next(), parts.next()) {
            (Some((name, value)), None) => providers.extend(self::provider(&at, name, value)?),
            _ => return Err(format!("{at}: it must be exactly one provider")),
        }
    }
    Ok(Rule { resources, providers })
}

/// One for each key.
fn provider(at: &str, name: &str, value: &Value) -> Result<Vec<Provider>, String> {
    let cipher = match name {
        "identity" => return Ok(vec![Provider::Identity]),
        "aesgcm" => Cipher::AesGcm,
        "aescbc" => Cipher::AesCbc,
        "secretbox" => Cipher::Secretbox,
        "kms" => {
            return Err(format!(
                "{at}: key management services are not supported: give secretbox, aesgcm or aescbc with keys"
            ));
        }
        other => {
            return Err(format!(
                "{at}: {other:?} is no provider: give identity, secretbox, aesgcm or aescbc"
            ));
        }
    };
    // Serde's own words may quote what they stumble over, which may be a secret.
    let raw = RawKeys::deserialize(value)
        .map_err(|_| format!("{at}.{name}: it must have keys, each with a name and a secret"))?;
    if raw.keys.is_empty() {
        return Err(format!("{at}.{name}.keys: there are none: give at least one"));
    }
    let key = |(k, key): (usize, &RawKey)| {
        let at = format!("{at}.{name}.keys[{k}]");
        if key.name.is_empty() || key.name.contains(':') {
            return Err(format!("{at}.name: it must not be empty or have a colon"));
        }
        let secret =
            STANDARD.decode(&key.secret).map_err(|_| format!("{at}.secret: it must be base64"))?;
        Provider::new(cipher, &key.name, &secret).ok_or_else(|| {
            format!(
                "{at}.secret: it has {} bytes: give {} random ones in base64",
                secret.len(),
                cipher.lengths()
            )
        })
    };
    raw.keys.iter().enumerate().map(key).collect()
}
