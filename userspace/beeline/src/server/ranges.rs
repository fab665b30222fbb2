//! The ranges that a cluster was made with. Its objects hold addresses of them, so others are refused later.

use std::fs;

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

use crate::config::{Cidrs, Config};

/// The name of the file in the data directory.
const FILE: &str = "cluster.json";

#[derive(PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Ranges {
    pod_cidr: Cidrs,
    service_cidr: Cidrs,
}

impl Ranges {
    fn extend(&self, kept: &Self) -> bool {
        self.pod_cidr.extends(kept.pod_cidr) && self.service_cidr.extends(kept.service_cidr)
    }
}

/// Keep the ranges at the first start, compare them at every other. A second family may come later, not go.
pub fn keep(config: &Config) -> anyhow::Result<()> {
    let given = Ranges { pod_cidr: config.pod_cidr, service_cidr: config.service_cidr };
    let path = config.data_dir.join(FILE);
    let kept = match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice::<Ranges>(&bytes).ok(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
    };
    match kept {
        Some(kept) if kept == given => Ok(()),
        Some(kept) if !given.extend(&kept) => bail!(
            "{} holds a cluster whose objects have addresses of --pod-cidr {} and --service-cidr {}: start it \
             with these, or make another with an empty --data-dir",
            config.data_dir.display(),
            kept.pod_cidr,
            kept.service_cidr
        ),
        _ => {
            let aside = path.with_extension("new");
            fs::write(&aside, serde_json::to_vec(&given)?)
                .and_then(|()| fs::rename(&aside, &path))
                .with_context(|| format!("write {}", path.display()))
        }
    }
}
