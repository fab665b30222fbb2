//! Certificates, tokens and access decisions.
//!
//! In: a directory for keys, the names of a server, requests of nodes, verified certificates. Out: certificates,
//! TLS configurations, identities, and yes or no. Refuses: signing what a request asks for beyond a node's own name,
//! keys that others can read, and knowing what an object means.
//!
//! ```
//! use beeline_auth::Identity;
//! let admin = Identity::new("kubernetes-admin", ["system:masters"]);
//! assert!(admin.groups.contains(&"system:masters".to_string()));
//! ```

mod access;
mod authority;
mod files;
mod identity;
mod kubeconfig;
mod node;
pub mod nodes;
pub mod rbac;
pub mod request;
pub mod service_account;
mod tls;
mod token;

pub use access::{Attributes, Authorizer, IN_PROCESS_GROUP, StaticAuthorizer, Target};
pub use authority::{Authority, Certified, FRONT_PROXY_CLIENT, ServerNames};
pub use identity::Identity;
pub use kubeconfig::kubeconfig;
pub use node::{NodeRequest, node_request};
pub use tls::{
    ClientCertificates, bootstrap_client_config, client_config, server_config,
    unverified_client_config,
};
pub use token::JoinToken;

use std::path::PathBuf;

/// Why something about trust could not be done.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The machine's: a file could not be read or written.
    #[error("{what} {path}")]
    File {
        /// The attempt.
        what: &'static str,
        /// The object.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The user's: a stored certificate, key or token cannot be used.
    #[error(
        "{path} is damaged or not ours ({reason}); move it away to have a new one made, or restore it from a backup"
    )]
    Damaged {
        /// The object.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A bug or an impossible name.
    #[error("make the {what} certificate")]
    Issue {
        /// Whose.
        what: &'static str,
        /// The cause.
        #[source]
        source: rcgen::Error,
    },
    /// The peer's: the request is not one for this node.
    #[error("certificate request of node {node} refused: {reason}")]
    Request {
        /// Who asked.
        node: String,
        /// Why not.
        reason: String,
    },
    /// The peer's: a certificate request that is not signed.
    #[error("certificate request refused: {0}")]
    SigningRequest(String),
    /// The peer's: not a certificate with a name in it.
    #[error("certificate refused: {0}")]
    Certificate(String),
    /// The user's: no join token, or of another cluster, or forged.
    #[error("join token refused: {0}")]
    Token(&'static str),
    /// The peer's: not a token of ours, or one that is no longer good.
    #[error("bearer token refused: {0}")]
    Bearer(String),
    /// TLS could not be set up.
    #[error("set up TLS for {what}: {reason}")]
    Tls {
        /// Which end.
        what: &'static str,
        /// What happened.
        reason: String,
    },
}
