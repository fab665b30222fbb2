//! Which store a server keeps its objects in.

use std::{fmt, path::PathBuf, str::FromStr};

use anyhow::{Context as _, bail};
use beeline_store::{EtcdOptions, EtcdTls};
use clap::Args;
use serde::{Deserialize, Serialize, Serializer};

/// The engine: `embedded`, or `etcd=` and where it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Engine {
    /// In the data directory.
    #[default]
    Embedded,
    /// The URLs of an etcd's members.
    Etcd(Vec<String>),
}

/// The same as flags of commands that are no node.
#[derive(Clone, Debug, Default, Args)]
pub struct StoreArgs {
    /// The store: `embedded`, in the data directory, or `etcd=URL,..` [default: embedded]
    #[arg(long, value_name = "STORE")]
    pub store: Option<Engine>,
    /// Who vouches for etcd's certificate: a PEM file
    #[arg(long, value_name = "FILE")]
    pub store_ca: Option<PathBuf>,
    /// The certificate to show to etcd: a PEM file
    #[arg(long, value_name = "FILE")]
    pub store_cert: Option<PathBuf>,
    /// Its key: a PEM file
    #[arg(long, value_name = "FILE")]
    pub store_key: Option<PathBuf>,
}

impl StoreArgs {
    /// How etcd is reached, if it is the store.
    pub fn etcd(&self) -> anyhow::Result<Option<EtcdOptions>> {
        let Some(Engine::Etcd(urls)) = &self.store else {
            let files = [&self.store_ca, &self.store_cert, &self.store_key];
            if files.iter().any(|file| file.is_some()) {
                bail!(
                    "--store-ca, --store-cert and --store-key are for etcd: give --store etcd=https://HOST:2379 too"
                );
            }
            return Ok(None);
        };
        let secure = urls.iter().any(|url| url.starts_with("https://"));
        let tls = match (secure, &self.store_ca) {
            (false, None) => None,
            (false, Some(_)) => bail!("--store-ca is for https, and --store names http alone"),
            (true, None) => {
                bail!("--store names https: give --store-ca, the PEM file of who vouches for etcd")
            }
            (true, Some(ca)) => {
                Some(EtcdTls { ca: read("--store-ca", ca)?, identity: self.identity()? })
            }
        };
        Ok(Some(EtcdOptions { tls, ..EtcdOptions::new(urls.clone()) }))
    }

    fn identity(&self) -> anyhow::Result<Option<(Vec<u8>, Vec<u8>)>> {
        match (&self.store_cert, &self.store_key) {
            (None, None) => Ok(None),
            (Some(cert), Some(key)) => {
                Ok(Some((read("--store-cert", cert)?, read("--store-key", key)?)))
            }
            _ => bail!("--store-cert and --store-key go together: give both or neither"),
        }
    }
}

fn read(flag: &str, path: &PathBuf) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("read {flag} {}", path.display()))
}

impl FromStr for Engine {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "embedded" {
            return Ok(Self::Embedded);
        }
        let urls = text.strip_prefix("etcd=").ok_or("give `embedded` or `etcd=URL,..`")?;
        let urls: Vec<String> = urls.split(',').map(str::to_owned).collect();
        let wrong = |url: &&String| {
            !["http://", "https://"].iter().any(|scheme| {
                url.strip_prefix(scheme).is_some_and(|host| !host.is_empty() && !host.contains('/'))
            })
        };
        match urls.iter().find(wrong) {
            Some(url) => Err(format!("{url:?} is not a URL such as http://127.0.0.1:2379")),
            None => Ok(Self::Etcd(urls)),
        }
    }
}

impl TryFrom<String> for Engine {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded => f.write_str("embedded"),
            Self::Etcd(urls) => write!(f, "etcd={}", urls.join(",")),
        }
    }
}

impl Serialize for Engine {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_have_two_names() {
        assert_eq!("embedded".parse(), Ok(Engine::Embedded));
        let urls = vec!["http://a:1".to_owned(), "http://b:2".to_owned()];
        assert_eq!("etcd=http://a:1,http://b:2".parse(), Ok(Engine::Etcd(urls)));
        for wrong in ["", "etcd", "etcd=", "etcd=a:1", "etcd=http://a:1/x", "etcd=http://a:1,"] {
            assert!(wrong.parse::<Engine>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn https_needs_to_know_whom_to_believe() {
        let args = |store: &str| StoreArgs { store: store.parse().ok(), ..StoreArgs::default() };
        assert!(args("embedded").etcd().unwrap().is_none());
        assert!(args("etcd=http://a:1").etcd().unwrap().unwrap().tls.is_none());
        let error = |args: &StoreArgs| args.etcd().err().unwrap().to_string();
        assert!(error(&args("etcd=https://a:1")).contains("--store-ca"));
        let alone = StoreArgs { store_ca: Some("x".into()), ..args("embedded") };
        assert!(error(&alone).contains("--store etcd="));
    }
}
