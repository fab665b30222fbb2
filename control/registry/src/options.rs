//! Who asks, for what, and how: the arguments of every call through the door.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use beeline_api::KindInfo;
use beeline_api::selectors::{FieldSelector, LabelSelector};
use beeline_auth::{Authorizer, IN_PROCESS_GROUP, StaticAuthorizer};
use beeline_kit::{Clock, SystemClock};
use ipnet::{IpNet, Ipv4Net};
use serde_json::Value;

use crate::encryption::Encryption;
use crate::webhooks::Webhooks;

/// Takes an operation of the store, the kind and the time.
pub type StoreObserver = Arc<dyn Fn(&'static str, &'static KindInfo, Duration) + Send + Sync>;

/// How a registry is opened.
#[derive(Clone)]
pub struct Options {
    /// Ranges of ClusterIPs, one of each family at most; the first is for Services that do not say.
    pub service_cidrs: Vec<IpNet>,
    /// Addresses in these ranges kept for fixed uses (cluster DNS) besides the first: never handed out, but may be asked for.
    pub reserved_ips: Vec<IpAddr>,
    /// Range of node ports, inclusive.
    pub node_ports: (u16, u16),
    /// Where the API server listens: backend of Service `default/kubernetes`. None: no such Service is kept.
    pub advertise: Option<(IpAddr, u16)>,
    /// Changes kept per kind for watches and continued lists.
    pub history_per_kind: usize,
    /// Events a watcher may lag behind before it is cut off.
    pub watch_buffer: usize,
    /// How often an idle watch that asked for bookmarks gets one.
    pub bookmark_interval: Duration,
    /// Decides what callers may do, HTTP and in-process ones alike.
    pub authorizer: Arc<dyn Authorizer>,
    /// Calls webhooks; without it, defined objects are there in the stored version only, and admission webhooks fail.
    pub webhooks: Option<Arc<dyn Webhooks>>,
    /// How values are encrypted in the store; without it they are not.
    pub encryption: Option<Arc<Encryption>>,
    /// Told how long the store took for a `create`, `update` or `delete`.
    pub store_observed: Option<StoreObserver>,
    /// Wall time for timestamps.
    pub clock: Arc<dyn Clock>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            service_cidrs: vec![Ipv4Net::new_assert([10, 43, 0, 0].into(), 16).into()],
            reserved_ips: vec![IpAddr::from([10, 43, 0, 10])],
            node_ports: (30_000, 32_767),
            advertise: None,
            history_per_kind: 1024,
            watch_buffer: 1024,
            bookmark_interval: Duration::from_secs(60),
            authorizer: Arc::new(StaticAuthorizer),
            webhooks: None,
            encryption: None,
            store_observed: None,
            clock: Arc::new(SystemClock),
        }
    }
}

/// An identity, and the field manager it writes as by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Caller {
    /// User name.
    pub user: String,
    /// Groups.
    pub groups: Vec<String>,
    /// Of the account behind a token; empty where there is none.
    pub uid: String,
    /// What else is known of the user.
    pub extra: BTreeMap<String, Vec<String>>,
    /// Field manager where a request names none.
    pub manager: String,
}

impl Caller {
    /// A loop of this process: `scheduler` and `controller-manager` get upstream's user names, others
    /// `system:<component>`; the group is one that no certificate can carry.
    pub fn system(component: &str) -> Self {
        let prefix = if matches!(component, "scheduler" | "controller-manager") {
            "system:kube-"
        } else {
            "system:"
        };
        Self {
            user: format!("{prefix}{component}"),
            groups: vec![IN_PROCESS_GROUP.to_owned(), "system:authenticated".to_owned()],
            manager: component.to_owned(),
            ..Self::default()
        }
    }

    /// A node's agent: user `system:node:<name>`, group `system:nodes`.
    pub fn node(name: &str) -> Self {
        Self {
            user: format!("system:node:{name}"),
            groups: vec!["system:nodes".to_owned(), "system:authenticated".to_owned()],
            manager: "agent".to_owned(),
            ..Self::default()
        }
    }

    /// The node that this is the agent of, if it is one: user and group must both say so.
    #[must_use]
    pub fn node_name(&self) -> Option<&str> {
        beeline_auth::nodes::node_name(&self.user, &self.groups)
    }
}

/// A part of an object with its own address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subresource {
    /// `/status`
    Status,
    /// `/scale`
    Scale,
    /// `pods/binding`
    Binding,
    /// `pods/eviction`
    Eviction,
    /// `namespaces/finalize`
    Finalize,
    /// `certificatesigningrequests/approval`
    Approval,
    /// `pods/ephemeralcontainers`
    EphemeralContainers,
    /// `pods/resize`
    Resize,
}

impl Subresource {
    /// From a URL segment; None for those that the registry does not hold (`log`, `exec`, ...).
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "status" => Self::Status,
            "scale" => Self::Scale,
            "binding" => Self::Binding,
            "eviction" => Self::Eviction,
            "finalize" => Self::Finalize,
            "approval" => Self::Approval,
            "ephemeralcontainers" => Self::EphemeralContainers,
            "resize" => Self::Resize,
            _ => return None,
        })
    }

    /// The URL segment.
    pub fn name(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Scale => "scale",
            Self::Binding => "binding",
            Self::Eviction => "eviction",
            Self::Finalize => "finalize",
            Self::Approval => "approval",
            Self::EphemeralContainers => "ephemeralcontainers",
            Self::Resize => "resize",
        }
    }
}

/// What a request is about.
#[derive(Debug, Clone)]
pub struct Target {
    /// The kind.
    pub kind: &'static KindInfo,
    /// Namespace; None for cluster-scoped kinds and for lists over all namespaces.
    pub namespace: Option<String>,
    /// Name; None for collections.
    pub name: Option<String>,
    /// Part of the object.
    pub subresource: Option<Subresource>,
}

impl Target {
    /// All objects of a kind, or those of one namespace.
    pub fn collection(kind: &'static KindInfo, namespace: Option<&str>) -> Self {
        Self { kind, namespace: namespace.map(str::to_owned), name: None, subresource: None }
    }

    /// One object. `namespace` is ignored for cluster-scoped kinds.
    pub fn object(kind: &'static KindInfo, namespace: Option<&str>, name: &str) -> Self {
        let namespace = if kind.namespaced { namespace.map(str::to_owned) } else { None };
        Self { kind, namespace, name: Some(name.to_owned()), subresource: None }
    }

    /// The same, as it is stored: kinds of another version are stored as one.
    #[must_use]
    pub(crate) fn stored(&self) -> Cow<'_, Self> {
        match self.kind.view {
            None => Cow::Borrowed(self),
            Some(view) => Cow::Owned(Self { kind: view.of, ..self.clone() }),
        }
    }

    /// The same object's part.
    #[must_use]
    #[expect(clippy::should_implement_trait, reason = "nobody subtracts targets")]
    pub fn sub(mut self, subresource: Subresource) -> Self {
        self.subresource = Some(subresource);
        self
    }
}

/// What happens to unknown and duplicate fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FieldValidation {
    /// Dropped.
    Ignore,
    /// Dropped, and said in [`Warnings`].
    #[default]
    Warn,
    /// Refused.
    Strict,
}

/// Collects warnings for the `Warning` header.
#[derive(Debug, Clone, Default)]
pub struct Warnings(Arc<Mutex<Vec<String>>>);

impl Warnings {
    /// Adds one.
    pub fn push(&self, text: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    }

    /// Takes them all.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// How a write comes to own fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ownership {
    /// Who changes a field owns it.
    #[default]
    Written,
    /// The body says it itself, being the result of an apply.
    Applied,
    /// As with `Written`; the write came through `/scale`.
    Scaled,
}

/// Options of create, update and patch.
#[derive(Debug, Clone, Default)]
pub struct WriteOptions {
    /// Run everything, store nothing.
    pub dry_run: bool,
    /// Who owns the written fields; default: the caller's.
    pub field_manager: Option<String>,
    /// What happens to unknown fields.
    pub field_validation: FieldValidation,
    /// Duplicate fields that parsing the body found.
    pub duplicates: Vec<String>,
    /// Server-side apply: take over fields of others.
    pub force: bool,
    /// Set by the registry itself.
    pub ownership: Ownership,
    /// Where warnings go; keep a clone to read them.
    pub warnings: Warnings,
}

/// A patch of one of the four types.
#[derive(Debug, Clone)]
pub enum Patch {
    /// RFC 6902.
    Json(Value),
    /// RFC 7386.
    Merge(Value),
    /// Kubernetes' own, for built-in kinds.
    Strategic(Value),
    /// Server-side apply.
    Apply(Value),
}

/// What must hold for a deletion.
#[derive(Debug, Clone, Default)]
pub struct Preconditions {
    /// The object's UID.
    pub uid: Option<String>,
    /// Its resourceVersion.
    pub resource_version: Option<String>,
}

/// What happens to dependents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// Collected afterwards.
    Background,
    /// Collected before.
    Foreground,
    /// Left alone.
    Orphan,
}

/// Options of delete and delete_collection.
#[derive(Debug, Clone, Default)]
pub struct DeleteOptions {
    /// Run everything, store nothing.
    pub dry_run: bool,
    /// Seconds until the object may go; None: the kind's default.
    pub grace_period_seconds: Option<i64>,
    /// What happens to dependents; None: Background.
    pub propagation: Option<Propagation>,
    /// What must hold.
    pub preconditions: Preconditions,
    /// Where warnings go; keep a clone to read them.
    pub warnings: Warnings,
}

/// Meaning of a list's resourceVersion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionMatch {
    /// At least that one.
    NotOlderThan,
    /// Just that one, or 410.
    Exact,
}

/// Options of list.
#[derive(Debug, Clone, Default)]
pub struct ListOptions {
    /// Label selector.
    pub labels: LabelSelector,
    /// Field selector.
    pub fields: FieldSelector,
    /// Most items to return; 0: all.
    pub limit: usize,
    /// Where to go on.
    pub continue_token: Option<String>,
    /// As the client sent it.
    pub resource_version: Option<String>,
    /// As the client sent it.
    pub version_match: Option<VersionMatch>,
}

/// Options of watch.
#[derive(Debug, Clone, Default)]
pub struct WatchOptions {
    /// Label selector.
    pub labels: LabelSelector,
    /// Field selector.
    pub fields: FieldSelector,
    /// As the client sent it; None or `0`: current objects first.
    pub resource_version: Option<String>,
    /// As the client sent it.
    pub version_match: Option<VersionMatch>,
    /// Send bookmarks.
    pub bookmarks: bool,
    /// `sendInitialEvents`.
    pub send_initial_events: Option<bool>,
    /// End the stream after this long, a bookmark before it.
    pub timeout: Option<Duration>,
}
