//! The store that the server has opened, whichever it is.

use std::{path::Path, sync::Arc};

use anyhow::Context as _;
use beeline_kit::Tasks;
use beeline_store::{
    Embedded, Etcd, Store,
    backup::{self, Contents},
};

use crate::{config::Config, output};

/// An open store.
#[derive(Clone)]
pub enum Engine {
    /// In the data directory.
    Embedded(Arc<Embedded>),
    /// Somewhere else.
    Etcd(Arc<Etcd>),
}

impl Engine {
    /// Open the one that the configuration names.
    pub async fn open(config: &Config, tasks: &Tasks) -> anyhow::Result<Self> {
        if let Some(options) = config.store.etcd()? {
            let store = Etcd::connect(options, tasks).await.context("open the store")?;
            store.hold(&config.node_name).await.context("have the store for this server alone")?;
            return Ok(Self::Etcd(store));
        }
        let folder = config.data_dir.join("store");
        let mut options = beeline_store::Options::default();
        if let Some(mib) = config.store_segment_mib {
            options.segment_bytes = mib << 20;
        }
        if let Some(mib) = config.store_size_mib {
            options.live_bytes_max = mib << 20;
        }
        let store = Embedded::open(&folder, options, tasks).await;
        Ok(Self::Embedded(
            store.with_context(|| format!("open the store in {}", folder.display()))?,
        ))
    }

    /// As all see it.
    pub fn store(&self) -> Arc<dyn Store> {
        match self {
            Self::Embedded(store) => Arc::clone(store) as Arc<dyn Store>,
            Self::Etcd(store) => Arc::clone(store) as Arc<dyn Store>,
        }
    }

    /// Resolves only if the store failed for good.
    pub async fn fatal(&self) -> beeline_store::StoreError {
        match self {
            Self::Embedded(store) => store.fatal().await,
            Self::Etcd(store) => store.fatal().await,
        }
    }

    /// Whether it does its work.
    pub fn holds(&self) -> bool {
        match self {
            Self::Embedded(store) => store.status().failed.is_none(),
            Self::Etcd(store) => store.answers(),
        }
    }

    /// Whether all is well, and what there is to say.
    pub fn look(&self) -> (bool, String) {
        match self {
            Self::Embedded(store) => embedded(&store.status()),
            Self::Etcd(store) => {
                let answers = store.answers();
                let trouble = if answers { "" } else { "; it does not answer" };
                (answers, format!("etcd, revision {}{trouble}", store.revision()))
            }
        }
    }

    /// Save all that it holds now in a file.
    pub async fn save(&self, file: &Path) -> anyhow::Result<Contents> {
        let saved = backup::save(&*self.store(), file, &mut |_| ()).await;
        saved.context("save the store")
    }

    /// Close it, so that the next start need not check it.
    pub async fn close(&self) {
        if let Self::Embedded(store) = self {
            store.close().await;
        }
    }
}

fn embedded(store: &beeline_store::Status) -> (bool, String) {
    let low = store.space.filter(|space| space.low);
    let trouble = match (&store.failed, store.full, low) {
        (Some(reason), ..) => format!("; FAILED: {reason}"),
        (None, true, _) => "; the disk is full: writes are refused, reads are served".to_owned(),
        (None, false, Some(space)) => {
            format!("; the disk is nearly full: {} are free", output::bytes(space.free_bytes))
        }
        (None, false, None) => String::new(),
    };
    let detail = format!(
        "revision {}, {} objects of {}, log of {}{trouble}",
        store.revision.0,
        store.keys,
        output::bytes(store.live_bytes),
        output::bytes(store.log_bytes)
    );
    (store.failed.is_none() && !store.full && low.is_none(), detail)
}
