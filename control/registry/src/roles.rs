//! Roles and bindings as stored objects, turned into what `beeline_auth::rbac` decides by.
//!
//! In: every change of the four kinds of `rbac.authorization.k8s.io`. Out: grants that are as new as the cache.

pub(crate) mod escalation;
pub(crate) mod policy;
pub(crate) mod reconcile;

use std::sync::Arc;

use beeline_api::KindInfo;
use beeline_api::meta::{list, text};
use beeline_auth::nodes::Nodes;
use beeline_auth::rbac::{Binding, Grants, Rbac, Rule, Scoped, Subject};
use beeline_auth::service_account::user_name;
use beeline_auth::{Attributes, Authorizer};
use serde_json::Value;

use crate::bucket::Step;
use crate::object::Object;

/// The API group of roles.
pub(crate) const GROUP: &str = "rbac.authorization.k8s.io";

/// What callers may: by rules that are built in, else by roles.
#[derive(Clone)]
pub(crate) struct Access {
    /// Asked first.
    pub(crate) fixed: Arc<dyn Authorizer>,
    /// What nodes may, by what their Pods refer to.
    pub(crate) nodes: Arc<Nodes>,
    /// What the stored roles say.
    pub(crate) rbac: Arc<Rbac>,
}

impl Authorizer for Access {
    fn allows(&self, user: &str, groups: &[String], wanted: &Attributes<'_>) -> bool {
        self.fixed.allows(user, groups, wanted)
            || self.nodes.allows(user, groups, wanted)
            || self.rbac.allows(user, groups, wanted)
    }

    fn reason(&self, user: &str, groups: &[String], wanted: &Attributes<'_>) -> Option<String> {
        self.nodes.reason(user, groups, wanted)
    }

    fn allowed_by(&self, user: &str, groups: &[String], wanted: &Attributes<'_>) -> String {
        let built_in =
            self.fixed.allows(user, groups, wanted) || self.nodes.allows(user, groups, wanted);
        if built_in { String::new() } else { self.rbac.allowed_by(user, groups, wanted) }
    }
}

/// Follows one change.
pub(crate) fn observe(rbac: &Rbac, kind: &KindInfo, step: &Step) {
    if kind.group != GROUP {
        return;
    }
    let Some(object) = step.new.as_ref().or(step.previous.as_ref()) else { return };
    let key = Scoped::within(object.namespace(), object.name());
    set(&mut rbac.write(), kind, key, step.new.as_deref());
}

/// One that was stored before this process began.
pub(crate) fn load(rbac: &Rbac, kind: &KindInfo, object: &Object) {
    let key = Scoped::within(object.namespace(), object.name());
    set(&mut rbac.write(), kind, key, Some(object));
}

fn set(grants: &mut Grants, kind: &KindInfo, key: Scoped, object: Option<&Object>) {
    match kind.plural {
        "roles" | "clusterroles" => grants.set_role(key, object.map(|o| rules(&o.value["rules"]))),
        "rolebindings" | "clusterrolebindings" => {
            grants.set_binding(key, object.map(|o| binding(&o.value)));
        }
        _ => {}
    }
}

/// Of a role, as stored.
pub(crate) fn rules(stored: &Value) -> Vec<Rule> {
    stored.as_array().into_iter().flatten().map(rule).collect()
}

fn rule(stored: &Value) -> Rule {
    let texts = |field: &str| {
        list(stored, field).iter().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    Rule {
        verbs: texts("verbs"),
        api_groups: texts("apiGroups"),
        resources: texts("resources"),
        resource_names: texts("resourceNames"),
        non_resource_urls: texts("nonResourceURLs"),
    }
}

/// A binding as stored.
pub(crate) fn binding(stored: &Value) -> Binding {
    let namespace = text(&stored["metadata"], "namespace");
    let reference = &stored["roleRef"];
    let name = text(reference, "name");
    let role = match text(reference, "kind") {
        "ClusterRole" => Scoped::cluster(name),
        _ => Scoped::within(namespace, name),
    };
    let subjects = list(stored, "subjects").iter().filter_map(|one| subject(one, namespace));
    Binding { subjects: subjects.collect(), role }
}

fn subject(stored: &Value, namespace: &str) -> Option<Subject> {
    let name = text(stored, "name");
    match text(stored, "kind") {
        "User" => Some(Subject::User(name.to_owned())),
        "Group" => Some(Subject::Group(name.to_owned())),
        "ServiceAccount" => {
            let own = text(stored, "namespace");
            let namespace = if own.is_empty() { namespace } else { own };
            Some(Subject::User(user_name(namespace, name)))
        }
        _ => None,
    }
}
