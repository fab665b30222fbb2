//! What nodes may do: their own objects, and what the Pods bound to them refer to.
//!
//! In: who refers to what, as it changes, and what a node wants. Out: an [`Authorizer`], and the reason of a refusal in the words
//! of upstream's node authorizer. Pure data behind one lock; what an object refers to is the registry's business, and what a
//! write of a node may change, too.

mod graph;

use std::borrow::Cow;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

pub use graph::{Graph, Named, Referred, Volume};

use crate::access::{Attributes, Authorizer, Target};
use crate::rbac::Rule;

/// The group of nodes.
const GROUP: &str = "system:nodes";
const USER_PREFIX: &str = "system:node:";

/// Why not; empty if there is nothing to say.
type Refusal = Cow<'static, str>;

/// All nodes, asked and changed from many threads.
#[derive(Debug, Default)]
pub struct Nodes {
    graph: RwLock<Graph>,
    /// For what is not divided among nodes.
    rules: Vec<Rule>,
}

/// The node that a user is, if it is one: name and group must both say so.
#[must_use]
pub fn node_name<'a>(user: &'a str, groups: &[String]) -> Option<&'a str> {
    let name = user.strip_prefix(USER_PREFIX).filter(|name| !name.is_empty())?;
    groups.iter().any(|group| group == GROUP).then_some(name)
}

impl Nodes {
    /// With rules for all that every node may.
    #[must_use]
    pub fn new(rules: Vec<Rule>) -> Self {
        Self { graph: RwLock::default(), rules }
    }

    /// To look at.
    pub fn read(&self) -> RwLockReadGuard<'_, Graph> {
        self.graph.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// To change.
    pub fn write(&self) -> RwLockWriteGuard<'_, Graph> {
        self.graph.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn decide(&self, node: &str, wanted: &Attributes<'_>) -> Result<(), Refusal> {
        let asked = Asked { node, verb: wanted.verb, target: wanted.target };
        let Target::Resource { group, resource, subresource, .. } = wanted.target else {
            return self.by_rules(wanted);
        };
        match (group, resource) {
            ("", "secrets") => self.read_named(&asked, Referred::Secret),
            ("", "configmaps") => self.read_named(&asked, Referred::ConfigMap),
            ("", "persistentvolumeclaims") if subresource == "status" => self.claim_status(&asked),
            ("", "persistentvolumeclaims") => self.get(&asked, Referred::Claim),
            ("", "persistentvolumes") => self.get(&asked, Referred::Volume),
            ("resource.k8s.io", "resourceclaims") => self.get(&asked, Referred::ResourceClaim),
            ("storage.k8s.io", "volumeattachments") => self.get(&asked, Referred::Attachment),
            ("", "serviceaccounts") => self.create_token(&asked),
            ("coordination.k8s.io", "leases") => asked.lease(),
            ("storage.k8s.io", "csinodes") => asked.csi_node(),
            ("resource.k8s.io", "resourceslices") => self.slice(&asked, wanted.node_selected),
            ("", "nodes") => asked.node(),
            ("", "pods") => self.pod(&asked, wanted.node_selected),
            _ => self.by_rules(wanted),
        }
    }

    fn by_rules(&self, wanted: &Attributes<'_>) -> Result<(), Refusal> {
        if self.rules.iter().any(|rule| rule.allows(wanted)) { Ok(()) } else { refuse("") }
    }

    fn related(&self, asked: &Asked<'_>, kind: Referred) -> Result<(), Refusal> {
        let (namespace, name) = asked.object();
        if name.is_empty() {
            return refuse("No Object name found");
        }
        let object = Named::new(kind, namespace, name);
        if self.read().leads(&object, asked.node) {
            return Ok(());
        }
        let node = asked.node;
        Err(format!("no relationship found between node '{node}' and this object").into())
    }

    fn get(&self, asked: &Asked<'_>, kind: Referred) -> Result<(), Refusal> {
        if asked.verb != "get" {
            return refuse("can only get individual resources of this type");
        }
        if !asked.subresource().is_empty() {
            return refuse("cannot get subresource");
        }
        self.related(asked, kind)
    }

    fn read_named(&self, asked: &Asked<'_>, kind: Referred) -> Result<(), Refusal> {
        if !matches!(asked.verb, "get" | "list" | "watch") {
            return refuse("can only read resources of this type");
        }
        if !asked.subresource().is_empty() {
            return refuse("cannot read subresource");
        }
        if asked.object().0.is_empty() {
            return refuse("can only read namespaced object of this type");
        }
        self.related(asked, kind)
    }

    fn claim_status(&self, asked: &Asked<'_>) -> Result<(), Refusal> {
        if !matches!(asked.verb, "update" | "patch") {
            return refuse("can only get/update/patch this type");
        }
        self.related(asked, Referred::Claim)
    }

    fn create_token(&self, asked: &Asked<'_>) -> Result<(), Refusal> {
        if asked.verb != "create" || asked.object().1.is_empty() {
            return refuse("can only create tokens for individual service accounts");
        }
        if asked.subresource() != "token" {
            return refuse("can only create token subresource of serviceaccount");
        }
        self.related(asked, Referred::Account)
    }

    fn slice(&self, asked: &Asked<'_>, selected: &str) -> Result<(), Refusal> {
        if !asked.subresource().is_empty() {
            return refuse("cannot authorize ResourceSlice subresources");
        }
        match asked.verb {
            // Whose it is to be is looked at when it is written.
            "create" => Ok(()),
            "get" | "update" | "patch" | "delete" => self.related(asked, Referred::Slice),
            "watch" | "list" | "deletecollection" if selected == asked.node => Ok(()),
            "watch" | "list" | "deletecollection" => refuse(
                "can only list/watch/deletecollection resourceslices with nodeName field selector",
            ),
            _ => refuse(
                "only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch, delete, deletecollection",
            ),
        }
    }

    fn pod(&self, asked: &Asked<'_>, selected: &str) -> Result<(), Refusal> {
        match (asked.subresource(), asked.verb) {
            ("", "get") => self.get(asked, Referred::Pod),
            ("", "list" | "watch") if selected == asked.node => Ok(()),
            ("", "list" | "watch") if !asked.object().1.is_empty() => {
                self.related(asked, Referred::Pod)
            }
            ("", "list" | "watch") => {
                refuse("can only list/watch pods with spec.nodeName field selector")
            }
            // Which pods is looked at when they are written.
            ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => {
                Ok(())
            }
            _ => refuse(""),
        }
    }
}

impl Authorizer for Nodes {
    fn allows(&self, user: &str, groups: &[String], wanted: &Attributes<'_>) -> bool {
        node_name(user, groups).is_some_and(|node| self.decide(node, wanted).is_ok())
    }

    fn reason(&self, user: &str, groups: &[String], wanted: &Attributes<'_>) -> Option<String> {
        let why = self.decide(node_name(user, groups)?, wanted).err()?;
        (!why.is_empty()).then(|| why.into_owned())
    }
}

fn refuse(why: &'static str) -> Result<(), Refusal> {
    Err(Cow::Borrowed(why))
}

/// A node's wish, when it is about objects.
struct Asked<'a> {
    node: &'a str,
    verb: &'a str,
    target: Target<'a>,
}

// === impl Asked ===

impl<'a> Asked<'a> {
    /// Namespace and name.
    fn object(&self) -> (&'a str, &'a str) {
        match self.target {
            Target::Resource { namespace, name, .. } => (namespace, name),
            Target::Path(_) => ("", ""),
        }
    }

    fn subresource(&self) -> &'a str {
        match self.target {
            Target::Resource { subresource, .. } => subresource,
            Target::Path(_) => "",
        }
    }

    /// Names of new objects are not known here; they are looked at when these are written.
    fn is_another(&self) -> bool {
        self.verb != "create" && self.object().1 != self.node
    }

    fn lease(&self) -> Result<(), Refusal> {
        if !matches!(self.verb, "get" | "create" | "update" | "patch" | "delete") {
            return refuse("can only get, create, update, patch, or delete a node lease");
        }
        if self.object().0 != "kube-node-lease" {
            return refuse("can only access leases in the \"kube-node-lease\" system namespace");
        }
        if self.is_another() {
            return refuse("can only access node lease with the same name as the requesting node");
        }
        Ok(())
    }

    fn csi_node(&self) -> Result<(), Refusal> {
        if !matches!(self.verb, "get" | "create" | "update" | "patch" | "delete") {
            return refuse("can only get, create, update, patch, or delete a CSINode");
        }
        if !self.subresource().is_empty() {
            return refuse("cannot authorize CSINode subresources");
        }
        if self.is_another() {
            return refuse("can only access CSINode with the same name as the requesting node");
        }
        Ok(())
    }

    fn node(&self) -> Result<(), Refusal> {
        let (node, (_, name)) = (self.node, self.object());
        match (self.subresource(), self.verb) {
            // Which node is looked at when it is written.
            ("", "create" | "update" | "patch") | ("status", "update" | "patch") => Ok(()),
            ("", "get" | "list" | "watch") if name == node => Ok(()),
            ("", "get" | "list" | "watch") if name.is_empty() => {
                Err(format!("node '{node}' cannot read all nodes, only its own Node object").into())
            }
            ("", "get" | "list" | "watch") => {
                Err(format!("node '{node}' cannot read '{name}', only its own Node object").into())
            }
            _ => refuse(""),
        }
    }
}

#[cfg(test)]
mod tests;
