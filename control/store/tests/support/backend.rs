//! The backends, each with 64 remembered changes and watchers that may be 4 batches behind.
#![expect(clippy::unwrap_used, reason = "helpers of tests, where a panic is the report")]

use std::sync::Arc;
use std::time::Duration;

use beeline_kit::Tasks;
use beeline_store::{Embedded, Etcd, EtcdOptions, Memory, Options, Store};

use crate::etcd::Member;

pub struct Backend {
    kind: Kind,
    tasks: Tasks,
}

enum Kind {
    Memory(Arc<Memory>),
    /// `None` while it is closed: the directory is locked as long as anybody holds the store.
    Embedded(Option<Arc<Embedded>>, tempfile::TempDir),
    Etcd(Arc<Etcd>, Member),
}

fn options() -> Options {
    Options {
        history_changes: 64,
        watch_queue: 4,
        segment_bytes: 4 << 20,
        reserve_bytes: 0,
        ..Options::default()
    }
}

async fn connect(member: &Member, tasks: &Tasks) -> Arc<Etcd> {
    let options = EtcdOptions { watch_queue: 4, ..EtcdOptions::new(vec![member.url()]) };
    Etcd::connect(options, tasks).await.unwrap()
}

impl Backend {
    pub async fn all() -> Vec<Self> {
        let memory = Kind::Memory(Arc::new(Memory::with_limits(64, 4)));
        let (tasks, dir) = (Tasks::new(), tempfile::tempdir().unwrap());
        let store = Embedded::open(dir.path(), options(), &tasks).await.unwrap();
        let embedded = Self { kind: Kind::Embedded(Some(store), dir), tasks };
        let (tasks, member) = (Tasks::new(), Member::start().await);
        let etcd = Self { kind: Kind::Etcd(connect(&member, &tasks).await, member), tasks };
        vec![Self { kind: memory, tasks: Tasks::new() }, embedded, etcd]
    }

    pub fn name(&self) -> &'static str {
        match self.kind {
            Kind::Memory(_) => "memory",
            Kind::Embedded(..) => "embedded",
            Kind::Etcd(..) => "etcd",
        }
    }

    pub fn store(&self) -> Arc<dyn Store> {
        match &self.kind {
            Kind::Memory(store) => Arc::clone(store) as Arc<dyn Store>,
            Kind::Embedded(store, _) => Arc::clone(store.as_ref().unwrap()) as Arc<dyn Store>,
            Kind::Etcd(store, _) => Arc::clone(store) as Arc<dyn Store>,
        }
    }

    /// etcd forgets by age, and so has to be told; the others remember no more anyway.
    pub async fn bound_history(&self, changes: u64) {
        if let Kind::Etcd(store, _) = &self.kind {
            store.trim(changes).await.unwrap();
        }
    }

    /// Ends the store, or the etcd behind it, and starts it again. `false`: it forgets everything.
    pub async fn restart(&mut self) -> bool {
        self.tasks.stop(Duration::from_secs(30)).await;
        self.tasks = Tasks::new();
        match &mut self.kind {
            Kind::Memory(_) => return false,
            Kind::Embedded(store, dir) => {
                *store = None;
                let opened = Embedded::open(dir.path(), options(), &self.tasks).await;
                *store = Some(opened.unwrap());
            }
            Kind::Etcd(store, member) => {
                member.restart().await;
                *store = connect(member, &self.tasks).await;
            }
        }
        true
    }

    pub async fn stop(self) {
        self.tasks.stop(Duration::from_secs(30)).await;
    }
}
