//! The registry over HTTP: what kubectl talks to.
//!
//! In: connections on a bound listener, verified client certificates, requests in Kubernetes' REST dialect (JSON, YAML
//! or protobuf bodies). Out: objects, tables, event streams, discovery and OpenAPI documents, and errors in upstream's
//! shape and words; what extension servers answer to requests that are theirs. gRPC requests on the same port go to the router that the caller passed in.
//! Refuses: deciding what an object means or who may do what; those are the registry's and the authorizer's business.
//!
//! ```no_run
//! # async fn example(options: beeline_apiserver::Options, tls: std::sync::Arc<rustls::ServerConfig>,
//! #     tasks: beeline_kit::Tasks) -> std::io::Result<()> {
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:6443").await?;
//! let server = beeline_apiserver::Server::new(options, &tasks);
//! server.listen(listener, tls);
//! # Ok(()) }
//! ```

mod aggregate;
mod answer;
mod app;
mod audit;
mod authenticate;
mod body;
mod connection;
mod discovery;
mod documents;
mod fairness;
mod flows;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
mod grpc;
mod health;
mod held;
mod info;
mod labels;
mod logs;
mod media;
mod metrics;
mod nodes;
mod openapi;
mod protobuf;
mod query;
mod render;
mod resource;
mod review;
mod route;
mod service;
mod tokens;
mod watch;
mod webhooks;

pub use app::{Check, Options};
pub use audit::{AuditError, AuditLog, AuditOptions};
pub use connection::Server;
pub use metrics::StoreTimes;
pub use nodes::{ByteStream, LogQuery, NodeConnector};
pub use webhooks::Webhooks;
