//! What all requests share.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use beeline_api::Kinds;
use beeline_auth::service_account::Issuer;
use beeline_auth::{Attributes, Authorizer, Identity, Target};
use beeline_kit::CancellationToken;
use beeline_registry::{Caller, Registry};

use crate::discovery::Discovery;
use crate::documents::Documents;
use crate::metrics::Metrics;
use crate::nodes::NodeConnector;
use crate::openapi::OpenApi;

/// How a server is made.
#[derive(Clone)]
pub struct Options {
    /// What it serves.
    pub registry: Registry,
    /// Makes and checks tokens of service accounts; without it there are none.
    pub tokens: Option<Arc<Issuer>>,
    /// Given to joining nodes at `/cacerts`.
    pub ca_pem: String,
    /// As `/version` tells it: `v1.36.0+beeline.0.1.0`.
    pub git_version: String,
    /// `host:port` that clients reach.
    pub address: String,
    /// The way to nodes; without it logs and flows are unavailable.
    pub nodes: Option<Arc<dyn NodeConnector>>,
    /// Takes the gRPC requests of this port. The verified [`Identity`] is among a request's extensions.
    pub grpc: Option<axum::Router>,
    /// What `/readyz` looks at beside the server itself.
    pub checks: Vec<Check>,
    /// After this a request that is no stream is answered with 504.
    pub request_timeout: Duration,
}

/// One named condition of readiness.
#[derive(Clone)]
pub struct Check {
    /// For instance `store`.
    pub name: &'static str,
    /// Whether it holds now. Must not block.
    pub holds: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl Options {
    /// Sixty seconds per request, no nodes, no gRPC, no checks.
    #[must_use]
    pub fn new(registry: Registry, ca_pem: String) -> Self {
        Self {
            registry,
            tokens: None,
            ca_pem,
            git_version: format!("v1.36.0+beeline.{}", env!("CARGO_PKG_VERSION")),
            address: String::new(),
            nodes: None,
            grpc: None,
            checks: Vec::new(),
            request_timeout: Duration::from_secs(60),
        }
    }
}

/// The server as its handlers see it.
pub(crate) struct App {
    pub(crate) options: Options,
    described: ArcSwap<Described>,
    pub(crate) metrics: Metrics,
    authorizer: Arc<dyn Authorizer>,
    /// Cancelled when streams have to end.
    pub(crate) stopping: CancellationToken,
}

/// What clients are told of the kinds that are served.
pub(crate) struct Described {
    kinds: Arc<Kinds>,
    pub(crate) documents: Documents,
    pub(crate) openapi: OpenApi,
}

impl Described {
    fn new(options: &Options) -> Self {
        let kinds = options.registry.kinds();
        let discovery = Discovery::new(&kinds);
        let openapi = OpenApi::new(Arc::clone(&kinds), &discovery, &options.git_version);
        let documents = Documents::new(&discovery, options);
        Self { kinds, documents, openapi }
    }
}

impl App {
    pub(crate) fn new(options: Options, stopping: CancellationToken) -> Self {
        let described = ArcSwap::from_pointee(Described::new(&options));
        let authorizer = options.registry.authorizer();
        Self { options, authorizer, described, metrics: Metrics::default(), stopping }
    }

    /// Descriptions of the kinds that are served now: made anew by the first who asks after these have changed.
    pub(crate) fn described(&self) -> Arc<Described> {
        let held = self.described.load_full();
        if Arc::ptr_eq(&held.kinds, &self.options.registry.kinds()) {
            return held;
        }
        let made = Arc::new(Described::new(&self.options));
        self.described.store(Arc::clone(&made));
        made
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.options.registry
    }

    /// Whether `who` may do that; the reason if not.
    pub(crate) fn authorize(
        &self,
        who: &Caller,
        verb: &str,
        target: Target<'_>,
    ) -> Result<(), String> {
        let wanted = Attributes::new(verb, target);
        let allowed = self.authorizer.allows(&who.user, &who.groups, &wanted);
        if allowed {
            Ok(())
        } else {
            Err(wanted.denial_by(&*self.authorizer, &who.user, &who.groups))
        }
    }
}

/// The caller behind an identity; `user_agent` names its field manager.
pub(crate) fn caller(identity: Identity, user_agent: Option<&str>) -> Caller {
    let manager = user_agent
        .and_then(|agent| agent.split('/').next())
        .filter(|m| !m.is_empty())
        .unwrap_or("unknown");
    let Identity { user, groups, uid, extra } = identity;
    Caller { user, groups, uid, extra, manager: manager.to_owned() }
}
