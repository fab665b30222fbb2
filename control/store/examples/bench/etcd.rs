//! The peer: an etcd of one member on the same disk, with as many clients as there are writers.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use beeline_kit::Tasks;
use beeline_store::{Etcd, EtcdOptions, Store};
use beeline_test_support::Etcd as Member;

/// The same puts as ours, per second; `None` if there is no etcd here.
pub async fn puts(dir: &Path, writers: u64) -> anyhow::Result<Option<f64>> {
    let data = tempfile::tempdir_in(dir)?;
    let Some(member) = Member::start(data.path())? else { return Ok(None) };
    let tasks = Tasks::new();
    let store = connect(member.url(), &tasks).await?;
    let rate = crate::puts(store as Arc<dyn Store>, writers).await?;
    tasks.stop(Duration::from_secs(5)).await;
    Ok(Some(rate))
}

async fn connect(url: &str, tasks: &Tasks) -> anyhow::Result<Arc<Etcd>> {
    let start = Instant::now();
    loop {
        match Etcd::connect(EtcdOptions::new(vec![url.to_owned()]), tasks).await {
            Ok(store) => return Ok(store),
            Err(error) => ensure!(start.elapsed() < Duration::from_secs(30), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
