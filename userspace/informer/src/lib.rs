//! Reads Services, EndpointSlices and Nodes from any Kubernetes API server into the tables.
//!
//! In: where the API server is and who we are to it. Out: a first whole state once all three kinds are listed, then small
//! batches with rising epochs that carry only what changed; whether this node is to receive traffic; what each batch held,
//! for those who measure. While the server is away the last known state stays. Refuses to know what any of it is for, and
//! writes nothing to the server.
//!
//! ```no_run
//! # async fn example() -> Result<(), beeline_informer::InformerError> {
//! use beeline_informer::{Access, Cluster, Config, Informer};
//! use beeline_tables::{NodeName, Tables};
//! let cluster = Cluster::reach(&Access::Kubeconfig("/etc/kubernetes/proxy.conf".into())).await?;
//! let (writer, reader) = Tables::new();
//! let tasks = beeline_kit::Tasks::new();
//! let informer = Informer::start(cluster, Config::new(NodeName("node-1".into())), writer, &tasks);
//! # let _ = (reader, informer);
//! # Ok(())
//! # }
//! ```

mod access;
mod convert;
mod follow;
mod gather;

pub use access::{Access, Cluster, InformerError};
pub use convert::Standing;
pub use follow::{Config, Informer};
pub use gather::Batch;
