//! The registry itself: what it is made of, how it opens, and its methods, each a line that names who does the work.

use std::sync::Arc;

use beeline_api::{ApiError, KindInfo, Kinds};
use beeline_auth::rbac::{Rbac, Rule};
use beeline_auth::service_account::Issuer;
use beeline_auth::{Attributes, Authorizer, Target as Wanted};
use beeline_kit::Tasks;
use beeline_store::{Revision, Store, StoreError};
use serde_json::Value;
use tokio::sync::Notify;

use crate::access;
use crate::admission::index::Outside;
use crate::admission::request::By;
use crate::allocation::Allocations;
use crate::cache::Cache;
use crate::client::Client;
use crate::nodes;
use crate::object::{Deleted, List, Object};
use crate::options::{
    Caller, DeleteOptions, ListOptions, Options, Patch, Target, WatchOptions, WriteOptions,
};
use crate::quota::{QuotaUse, Quotas};
use crate::roles::{self, Access};
use crate::view::View;
use crate::views;
use crate::watch::ObjectWatch;

/// The door. Cheap to clone; all clones are one registry.
#[derive(Clone)]
pub struct Registry {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) options: Options,
    pub(crate) cache: Cache,
    pub(crate) allocations: Allocations,
    pub(crate) access: Access,
    pub(crate) outside: Outside,
    pub(crate) quotas: Quotas,
    pub(crate) tasks: Tasks,
}

/// Why a registry could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The first read failed.
    #[error("load objects from the store")]
    Load(#[source] StoreError),
    /// An object does not parse: the store holds something a registry did not write.
    #[error("decode stored object {key}: {why}")]
    Decode {
        /// Its key.
        key: String,
        /// The parser's words.
        why: String,
    },
    /// A default object could not be written.
    #[error("create {what}: {why}")]
    Bootstrap {
        /// Which.
        what: String,
        /// The refusal.
        why: ApiError,
    },
}

impl Registry {
    /// Loads the cache, starts following the store, and sees to the objects every cluster has.
    pub async fn open(
        store: Arc<dyn Store>,
        options: Options,
        tasks: &Tasks,
    ) -> Result<Registry, OpenError> {
        let (cache, loaded) = Cache::load(&store, &options).await?;
        let allocations = Allocations::rebuild(
            &options,
            cache.snapshot(&beeline_api::kinds::SERVICE, None).iter(),
        );
        let access = Access {
            fixed: Arc::clone(&options.authorizer),
            nodes: Arc::new(nodes::authorizer()),
            rbac: Arc::new(Rbac::default()),
        };
        cache.each(roles::GROUP, |kind, object| roles::load(&access.rbac, kind, object));
        for group in nodes::GROUPS {
            cache.each(group, |kind, object| nodes::load(&access.nodes, kind, object));
        }
        let tasks = tasks.clone();
        let (outside, quotas) = (Outside::default(), Quotas::default());
        quotas.load(&cache);
        let inner = Inner { store, options, cache, allocations, access, outside, quotas, tasks };
        let registry = Registry { inner: Arc::new(inner) };
        crate::cache::follow(&registry, loaded, &registry.inner.tasks);
        crate::bootstrap::ensure(&registry).await?;
        // Those outside may not be there yet, and a server that waited for them would never be.
        registry.inner.outside.rebuild(&registry.inner.cache);
        Ok(registry)
    }

    /// Creates an object, or a binding or eviction where the target says so.
    pub async fn create(
        &self,
        caller: &Caller,
        target: &Target,
        body: Value,
        o: &WriteOptions,
    ) -> Result<Arc<Object>, ApiError> {
        access::check(&self.inner.access, caller, "create", target)?;
        match target.subresource {
            None => {
                let made = crate::write::create(self, caller, target, body, o).await?;
                views::object(self, target.kind, made).await
            }
            Some(sub) => {
                nodes::restriction::check_part(self, caller, target, sub)?;
                crate::subresources::create(self, caller, target, sub, body, o).await
            }
        }
    }

    /// Replaces an object, its status or its scale.
    pub async fn update(
        &self,
        caller: &Caller,
        target: &Target,
        body: Value,
        o: &WriteOptions,
    ) -> Result<Arc<Object>, ApiError> {
        access::check(&self.inner.access, caller, "update", target)?;
        let made = crate::write::update(self, caller, target, body, o).await?;
        views::object(self, target.kind, made).await
    }

    /// Patches an object, its status or its scale; re-reads and retries where the patch names no version.
    pub async fn patch(
        &self,
        caller: &Caller,
        target: &Target,
        patch: Patch,
        o: &WriteOptions,
    ) -> Result<Arc<Object>, ApiError> {
        access::check(&self.inner.access, caller, "patch", target)?;
        let made = crate::patching::patch(self, caller, target, patch, o).await?;
        views::object(self, target.kind, made).await
    }

    /// Deletes an object, or begins to.
    pub async fn delete(
        &self,
        caller: &Caller,
        target: &Target,
        o: &DeleteOptions,
    ) -> Result<Deleted, ApiError> {
        access::check(&self.inner.access, caller, "delete", target)?;
        nodes::restriction::check_delete(self, caller, target)?;
        let deleted = crate::delete::delete(self, by(caller, target), &target.stored(), o).await?;
        views::deleted(self, target.kind, deleted).await
    }

    /// Deletes what a list with these selectors returns; gives back that list.
    pub async fn delete_collection(
        &self,
        caller: &Caller,
        target: &Target,
        o: &DeleteOptions,
        which: &ListOptions,
    ) -> Result<List, ApiError> {
        access::check(&self.inner.access, caller, "deletecollection", target)?;
        let stored = target.stored();
        let list =
            crate::delete::delete_collection(self, by(caller, target), &stored, o, which).await?;
        views::list(self, target.kind, list).await
    }

    /// The newest committed state of one object (or its scale).
    pub async fn get(&self, caller: &Caller, target: &Target) -> Result<Arc<Object>, ApiError> {
        access::check(&self.inner.access, caller, "get", target)?;
        views::object(self, target.kind, crate::read::get(self, target).await?).await
    }

    /// One page of a consistent snapshot.
    pub async fn list(
        &self,
        caller: &Caller,
        target: &Target,
        o: &ListOptions,
    ) -> Result<List, ApiError> {
        access::check_all(&self.inner.access, caller, "list", target, &o.fields)?;
        let found = crate::list::list(self, &target.stored(), o).await?;
        views::list(self, target.kind, found).await
    }

    /// Events from a revision on, or current objects first and then events.
    pub async fn watch(
        &self,
        caller: &Caller,
        target: &Target,
        o: &WatchOptions,
    ) -> Result<ObjectWatch, ApiError> {
        access::check_all(&self.inner.access, caller, "watch", target, &o.fields)?;
        crate::watch::watch(self, target, o).await
    }

    /// How much of each quota is used, as the cache has it now.
    pub fn quota_uses(&self) -> Vec<QuotaUse> {
        self.inner.quotas.uses()
    }

    /// A token of the account `(namespace, name)`, as a TokenRequest asks for it. The caller was asked whether he may before;
    /// nodes get only what their Pods need.
    pub fn issue_token(
        &self,
        caller: &Caller,
        issuer: &Issuer,
        account: (&str, &str),
        request: Value,
    ) -> Result<Value, ApiError> {
        if let Some(node) = caller.node_name() {
            crate::tokens::check_node(self, node, account, &request)?;
        }
        crate::tokens::issue(self, issuer, account, request)
    }

    /// A typed client with that identity.
    pub fn client(&self, caller: Caller) -> Client {
        Client::new(self.clone(), caller)
    }

    /// What the cache holds of a kind now, without waiting for writes in flight. For reconcilers.
    pub fn snapshot(&self, kind: &'static KindInfo, namespace: Option<&str>) -> Vec<Arc<Object>> {
        self.inner.cache.snapshot(kind, namespace)
    }

    /// The same, to be compared with a later one.
    pub fn view(&self, kind: &'static KindInfo) -> View {
        self.inner.cache.view(kind)
    }

    /// One object as the cache has it now.
    pub fn cached(
        &self,
        kind: &'static KindInfo,
        namespace: Option<&str>,
        name: &str,
    ) -> Option<Arc<Object>> {
        self.inner.cache.get(kind, namespace, name)
    }

    /// A nudge after every change of any of these kinds; changes between two waits merge into one.
    pub fn changed(&self, kinds: &[&'static KindInfo]) -> Arc<Notify> {
        self.inner.cache.changed(kinds)
    }

    /// The same, and after changes of kinds that definitions make, now or later.
    pub fn changed_or_defined(&self, kinds: &[&'static KindInfo]) -> Arc<Notify> {
        self.inner.cache.changed_or_defined(kinds)
    }

    /// Revision up to which the cache has followed the store.
    pub fn revision(&self) -> Revision {
        self.inner.cache.applied()
    }

    /// Who may do what here: the built-in rules, and the roles that are stored.
    pub fn authorizer(&self) -> Arc<dyn Authorizer> {
        Arc::new(self.inner.access.clone())
    }

    /// Whether somebody may do that to a resource of the cluster.
    pub fn may(
        &self,
        (user, groups): (&str, &[String]),
        verb: &str,
        group: &str,
        resource: (&str, &str),
    ) -> bool {
        let (resource, subresource) = resource;
        let target = Wanted::Resource { group, resource, subresource, namespace: "", name: "" };
        let wanted = Attributes::new(verb, target);
        self.inner.access.allows(user, groups, &wanted)
    }

    /// What stored roles grant somebody in a namespace.
    pub fn rules(&self, caller: &Caller, namespace: &str) -> Vec<Rule> {
        let grants = self.inner.access.rbac.read();
        grants.rules(&caller.user, &caller.groups, namespace).cloned().collect()
    }

    /// The kinds served now; another `Arc` when that changes.
    pub fn kinds(&self) -> Arc<Kinds> {
        self.inner.cache.kinds()
    }
}

/// A deletion as its caller names it.
fn by<'a>(caller: &'a Caller, target: &Target) -> By<'a> {
    By::of(caller, target.kind, "DeleteOptions")
}
