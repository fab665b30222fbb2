//! What all requests share.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use beeline_api::Kinds;
use beeline_auth::service_account::Issuer;
use beeline_auth::{Attributes, Authorizer, Certified, Identity, Target};
use beeline_kit::{CancellationToken, Tasks};
use beeline_registry::{Caller, Registry};

use crate::aggregate::Remote;
use crate::audit::AuditLog;
use crate::discovery::Discovery;
use crate::documents::Documents;
use crate::fairness::Fairness;
use crate::info::RequestInfo;
use crate::metrics::{self, Metrics, Page, StoreTimes};
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
    /// What this server shows to extension servers; without it nothing is passed on to any.
    pub front_proxy: Option<Certified>,
    /// What `/readyz` looks at beside the server itself.
    pub checks: Vec<Check>,
    /// After this a request that is no stream is answered with 504.
    pub request_timeout: Duration,
    /// For how long requests are still taken after `/readyz` has begun to fail.
    pub shutdown_delay: Duration,
    /// What the registry's store calls took, to be shown.
    pub store_times: Option<Arc<StoreTimes>>,
    /// Where requests are recorded; without it they are not.
    pub audit: Option<Arc<AuditLog>>,
    /// Seats for requests that run at once, shared out among priority levels.
    pub requests_inflight_max: u32,
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
    /// Sixty seconds per request, six hundred at once, no nodes, no gRPC, no checks.
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
            front_proxy: None,
            checks: Vec::new(),
            request_timeout: Duration::from_secs(60),
            shutdown_delay: Duration::ZERO,
            store_times: None,
            audit: None,
            requests_inflight_max: 600,
        }
    }
}

/// The server as its handlers see it.
pub(crate) struct App {
    pub(crate) options: Options,
    described: ArcSwap<Described>,
    pub(crate) metrics: Metrics,
    pub(crate) fairness: Fairness,
    authorizer: Arc<dyn Authorizer>,
    remote: ArcSwap<Remote>,
    /// Runs what outlives a request.
    pub(crate) tasks: Tasks,
    /// Cancelled when nobody should come any more: `/readyz` fails.
    pub(crate) leaving: CancellationToken,
    /// Cancelled after that, when streams and connections have to end.
    pub(crate) stopping: CancellationToken,
}

/// What clients are told of the kinds that are served.
pub(crate) struct Described {
    kinds: Arc<Kinds>,
    remote: Arc<Remote>,
    pub(crate) documents: Documents,
    pub(crate) openapi: OpenApi,
}

impl Described {
    fn new(options: &Options, remote: Arc<Remote>) -> Self {
        let kinds = options.registry.kinds();
        let discovery = Discovery::new(&kinds);
        let openapi = OpenApi::new(Arc::clone(&kinds), &discovery, &remote, &options.git_version);
        let documents = Documents::new(&discovery, &remote, options);
        Self { kinds, remote, documents, openapi }
    }
}

impl App {
    pub(crate) fn new(options: Options, tasks: &Tasks) -> Self {
        let remote = Arc::new(Remote::default());
        let described = ArcSwap::from_pointee(Described::new(&options, Arc::clone(&remote)));
        let authorizer = options.registry.authorizer();
        let (metrics, remote) = (Metrics::default(), ArcSwap::from(remote));
        let owner = tasks.token();
        let (tasks, leaving, stopping) = (tasks.child(), owner.child_token(), owner.child_token());
        let fairness = Fairness::new(options.requests_inflight_max);
        fairness.read(&options.registry);
        Self { options, authorizer, described, metrics, fairness, remote, tasks, leaving, stopping }
    }

    /// The group versions that other servers serve.
    pub(crate) fn remote(&self) -> Arc<Remote> {
        self.remote.load_full()
    }

    pub(crate) fn set_remote(&self, remote: Remote) {
        self.remote.store(Arc::new(remote));
    }

    /// Descriptions of the kinds that are served now: made anew by the first who asks after these have changed.
    pub(crate) fn described(&self) -> Arc<Described> {
        let held = self.described.load_full();
        let remote = self.remote();
        if Arc::ptr_eq(&held.kinds, &self.options.registry.kinds())
            && Arc::ptr_eq(&held.remote, &remote)
        {
            return held;
        }
        let made = Arc::new(Described::new(&self.options, remote));
        self.described.store(Arc::clone(&made));
        made
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.options.registry
    }

    /// The text of `/metrics`.
    pub(crate) fn metrics_page(&self) -> String {
        let mut page = Page::default();
        self.metrics.render(&mut page);
        metrics::objects(self.registry(), &mut page);
        if let Some(store) = &self.options.store_times {
            store.render(&mut page);
        }
        self.fairness.render(&mut page);
        if let Some(audit) = &self.options.audit {
            audit.render(&mut page);
        }
        page.finish()
    }

    /// Whether a request is allowed, and by what; for the audit log, which asks again.
    pub(crate) fn decision(&self, who: &Caller, info: &RequestInfo<'_>) -> (bool, String) {
        let target = match &info.resource {
            Some(of) => Target::Resource {
                group: of.group,
                resource: of.resource,
                subresource: of.subresource,
                namespace: of.namespace,
                name: of.name,
            },
            None => Target::Path(info.path),
        };
        let wanted = Attributes::new(info.verb, target);
        match self.decide(who, &wanted) {
            Ok(()) => (true, self.authorizer.allowed_by(&who.user, &who.groups, &wanted)),
            Err(reason) => (false, reason),
        }
    }

    /// Whether `who` may do that; the reason if not.
    pub(crate) fn authorize(
        &self,
        who: &Caller,
        verb: &str,
        target: Target<'_>,
    ) -> Result<(), String> {
        let wanted = Attributes::new(verb, target);
        if self.authorizer.allows(&who.user, &who.groups, &wanted) {
            return Ok(());
        }
        Err(wanted.denial_by(&*self.authorizer, &who.user, &who.groups))
    }

    /// The same; what more there is to say of a no.
    pub(crate) fn decide(&self, who: &Caller, wanted: &Attributes<'_>) -> Result<(), String> {
        if self.authorizer.allows(&who.user, &who.groups, wanted) {
            return Ok(());
        }
        Err(self.authorizer.reason(&who.user, &who.groups, wanted).unwrap_or_default())
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
