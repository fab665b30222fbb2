//! The peer: an etcd of one member on the same disk, written to by as many clients.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use beeline_kit::Tasks;
use beeline_store::{Etcd, EtcdOptions, Store as _};
use beeline_test_support::Etcd as Member;

use crate::figures::{self, Latencies};

/// An etcd that runs. It ends with this.
pub(crate) struct Peer {
    _member: Member,
    store: Arc<Etcd>,
}

impl Peer {
    /// None if there is no etcd here.
    pub(crate) async fn start(data: &Path, tasks: &Tasks) -> anyhow::Result<Option<Self>> {
        let Some(member) = Member::start(data)? else { return Ok(None) };
        let start = Instant::now();
        let store = loop {
            match Etcd::connect(EtcdOptions::new(vec![member.url().to_owned()]), tasks).await {
                Ok(store) => break store,
                Err(error) => ensure!(start.elapsed() < Duration::from_secs(30), "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        Ok(Some(Self { _member: member, store }))
    }

    /// Creates by so many clients, per second, and how long each took.
    pub(crate) async fn creates(
        &self,
        round: usize,
        clients: usize,
        run: Duration,
        value: &[u8],
    ) -> anyhow::Result<(f64, Latencies)> {
        let start = Instant::now();
        let mut running = tokio::task::JoinSet::new();
        for client in 0..clients {
            let (store, value) = (Arc::clone(&self.store), value.to_vec());
            running.spawn(async move {
                let (mut all, mut n) = (Latencies::default(), 0);
                while start.elapsed() < run {
                    let asked = Instant::now();
                    let key = format!("/bench/{round}/{client}/{n}");
                    store.create(&key, value.clone().into()).await?;
                    all.push(asked.elapsed());
                    n += 1;
                }
                anyhow::Ok(all)
            });
        }
        let mut all = Latencies::default();
        while let Some(one) = running.join_next().await {
            all.extend(one??);
        }
        Ok((figures::per_second(all.len(), start.elapsed()), all))
    }
}
