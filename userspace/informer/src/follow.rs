//! The watches of the three kinds, followed for as long as the process runs.
//!
//! In: a client. Out: what is heard, batch by batch. A watch resumes where it broke off, is kept current by bookmarks,
//! lists again where the server no longer remembers, and waits longer after each failure (0.8 to 30 s).

use std::{fmt, sync::Arc, time::SystemTime};

use beeline_kit::Tasks;
use beeline_tables::{self as tables, Epoch, NodeName, ObjectName, Writer};
use futures::{
    StreamExt as _,
    stream::{BoxStream, select_all},
};
use k8s_openapi::api::{
    core::v1::{Node, Service},
    discovery::v1::EndpointSlice,
};
use kube::{
    Api,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event, watcher},
    },
};
use tokio::sync::watch;

use crate::{
    access::Cluster,
    convert::{self, Standing},
    gather::{Batch, Gather, Heard},
};

/// How much of what is there already is taken together: one page of a list.
const TOGETHER: usize = 500;

/// Called with each batch just before readers of the tables see it.
type OnBatch = Arc<dyn Fn(&Batch) + Send + Sync>;

/// Whom to read for.
#[derive(Clone)]
pub struct Config {
    /// This node.
    pub node: NodeName,
    /// The number before the first batch: what the kernel may hold from an earlier process.
    pub after: Epoch,
    /// Told of each batch just before readers of the tables see it.
    pub on_batch: OnBatch,
}

/// A handle on the running watches.
#[derive(Clone, Debug)]
pub struct Informer {
    standing: watch::Receiver<Standing>,
}

/// Anything that one of the watches says.
enum Said {
    Service(Heard<ObjectName, tables::Service>),
    Slice(Heard<ObjectName, tables::Slice>, Option<SystemTime>),
    Node(Heard<NodeName, tables::NodeAddress>, Standing),
    Failed { kind: &'static str, error: watcher::Error },
}

impl Config {
    /// For a node, from the first epoch on, with nobody who measures.
    pub fn new(node: NodeName) -> Self {
        Self { node, after: Epoch(0), on_batch: Arc::new(|_| {}) }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config").field("node", &self.node).field("after", &self.after).finish()
    }
}

impl Informer {
    /// Follow the cluster in a task of its own until `tasks` stop.
    pub fn start(cluster: Cluster, config: Config, writer: Writer, tasks: &Tasks) -> Self {
        let (sender, standing) = watch::channel(Standing::default());
        let token = tasks.token();
        tasks.spawn("informer", async move {
            let _ = token.run_until_cancelled(follow(cluster, config, writer, sender)).await;
        });
        Self { standing }
    }

    /// Whether this node is to receive traffic.
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.clone()
    }
}

async fn follow(
    cluster: Cluster,
    config: Config,
    writer: Writer,
    standing: watch::Sender<Standing>,
) {
    let mut gather = Gather::new(writer, config.after);
    let mut said = select_all(watches(&cluster)).ready_chunks(TOGETHER);
    while let Some(chunk) = said.next().await {
        for said in chunk {
            match said {
                Said::Service(heard) => gather.service(heard),
                Said::Slice(heard, trigger) => gather.slice(heard, trigger),
                Said::Node(heard, now) => {
                    own_node(&heard, now, &config.node, &standing);
                    gather.node(heard);
                }
                Said::Failed { kind, error } => {
                    let error = beeline_kit::chain(&error);
                    tracing::warn!(kind, error, url = cluster.url(), "watch failed, tried again");
                }
            }
        }
        gather.flush(|batch| (config.on_batch)(batch));
    }
}

fn watches(cluster: &Cluster) -> [BoxStream<'static, Said>; 3] {
    let all = watcher::Config::default();
    // The server leaves out what `convert` would: on some clusters most slices are of headless Services.
    let with_address = all.clone().labels("!service.kubernetes.io/headless");
    [
        said(cluster, all.clone(), "Services", service),
        said(cluster, with_address, "EndpointSlices", slice),
        said(cluster, all, "Nodes", node),
    ]
}

/// Objects become rows as they come, so that a whole list of them is never held.
fn said<K>(
    cluster: &Cluster,
    config: watcher::Config,
    kind: &'static str,
    convert: fn(&Event<K>) -> Option<Said>,
) -> BoxStream<'static, Said>
where
    K: kube::Resource<DynamicType = ()>
        + Clone
        + fmt::Debug
        + serde::de::DeserializeOwned
        + Send
        + 'static,
{
    let api = Api::<K>::all(cluster.client.clone());
    let said = watcher(api, config).default_backoff().filter_map(move |event| {
        std::future::ready(match event {
            Ok(event) => convert(&event),
            Err(error) => Some(Said::Failed { kind, error }),
        })
    });
    said.boxed()
}

fn service(event: &Event<Service>) -> Option<Said> {
    let name = |object: &Service| convert::object_name(&object.metadata);
    heard(event, name, convert::service).map(Said::Service)
}

fn slice(event: &Event<EndpointSlice>) -> Option<Said> {
    let name = |object: &EndpointSlice| convert::object_name(&object.metadata);
    let trigger = match event {
        Event::Apply(object) => convert::trigger_time(object),
        Event::Delete(_) | Event::Init | Event::InitApply(_) | Event::InitDone => None,
    };
    Some(Said::Slice(heard(event, name, convert::slice)?, trigger))
}

fn node(event: &Event<Node>) -> Option<Said> {
    let name = |object: &Node| object.metadata.name.as_deref().map(|name| NodeName(name.into()));
    let standing = match event {
        Event::Apply(object) | Event::InitApply(object) => convert::standing(object),
        Event::Delete(_) => Standing::Leaving,
        Event::Init | Event::InitDone => Standing::Eligible,
    };
    Some(Said::Node(heard(event, name, convert::node)?, standing))
}

/// An object without a name is one that no API server sends.
fn heard<O, K, V>(
    event: &Event<O>,
    name: impl Fn(&O) -> Option<K>,
    convert: impl Fn(&O) -> Option<V>,
) -> Option<Heard<K, V>> {
    Some(match event {
        Event::Init => Heard::Begin,
        Event::Apply(object) | Event::InitApply(object) => {
            Heard::Row(name(object)?, convert(object))
        }
        Event::Delete(object) => Heard::Row(name(object)?, None),
        Event::InitDone => Heard::End,
    })
}

fn own_node(
    heard: &Heard<NodeName, tables::NodeAddress>,
    now: Standing,
    own: &NodeName,
    standing: &watch::Sender<Standing>,
) {
    match heard {
        Heard::Row(name, _) if name == own => {
            standing.send_if_modified(|held| std::mem::replace(held, now) != now);
        }
        Heard::Row(..) | Heard::Begin | Heard::End => {}
    }
}
